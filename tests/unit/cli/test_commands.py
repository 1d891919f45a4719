"""Every command against a real server, in this process: what it prints, and its exit code."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from servers import plain_client, wait_until
from trimtab import FlagClient
from trimtab.adapters.redis.partition import RedisPartition
from trimtab_worker.bootstrap import Services
from trimtab_worker.cli import outcomes, run
from trimtab_worker.embedded import EmbeddedServer

DEFINITION = {
    "id": "checkout",
    "variants": [{"id": "control"}, {"id": "b"}],
    "metrics": [{"name": "converted", "kind": "binary", "primary": True}],
    "strategy": "thompson",
    "constraints": {"min_trials": 300, "max_step": 0.2, "min_weight": 0.005, "cooldown_seconds": 0},
}


class Result:
    """What a command left behind."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Result]


@pytest.fixture
def cli(
    server: EmbeddedServer, broker: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    """Runs a command with the shared servers in its environment."""
    monkeypatch.setenv("REDIS_URL", server.url)
    monkeypatch.setenv("BROKER_URL", broker.url)

    def call(*arguments: str, stdin: str = "") -> Result:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = run(arguments)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return Result(code, printed.out, printed.err)

    return call


@pytest.fixture
def running(cli: Cli) -> Cli:
    """The same, with the experiment `checkout` running."""
    assert cli("experiment", "create", "-", "--start", stdin=json.dumps(DEFINITION)).code == 0
    return cli


@pytest.fixture
def alone(cli: Cli, own_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The same on a server of its own."""
    monkeypatch.setenv("REDIS_URL", own_server.url)
    assert cli("experiment", "create", "-", "--start", stdin=json.dumps(DEFINITION)).code == 0
    return cli


def drain() -> None:
    """What an ingest worker would do."""
    services = Services()
    services.ingest(0).drain(holder="test")
    services.close()


def event(n: int, **changes: object) -> str:
    fields = {
        "experiment_id": "checkout",
        "variant": "control" if n % 2 else "b",
        "unit_id": f"u{n}",
        "metrics": {"converted": int(n % 2 == 0)},
        "occurred_at": _now(),
    }
    return json.dumps({**fields, **changes})


def _now() -> int:
    from trimtab.clock import system_clock

    return system_clock()


def test_an_experiment_goes_its_whole_way_by_commands(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "checkout.json"
    file.write_text(json.dumps(DEFINITION))
    created = cli("experiment", "create", str(file))
    assert (created.code, created.out) == (
        0,
        "Created checkout as a draft; next: trimtab experiment start checkout\n",
    )
    assert cli("experiment", "start", "checkout").out.startswith("Started checkout: revision ")
    assert cli("hold", "checkout", "--reason", "a look").code == 0
    assert cli("experiment", "show", "checkout", "--json").json["paused"] == "a look"
    assert cli("resume", "checkout").code == 0
    assert cli("halt", "checkout", "--variant", "b", "--reason", "errors").code == 0
    assert cli("weights", "checkout", "--json").json["weights"] == {"control": 1_000_000, "b": 0}
    assert cli("resume", "checkout", "--reason", "fixed").code == 0
    assert cli("experiment", "stop", "checkout").code == 0
    assert cli("experiment", "conclude", "checkout", "b").code == 0
    (listed,) = cli("experiment", "list", "--json").json
    assert (listed["status"], listed["weights"]) == ("concluded", {"control": 0, "b": 1_000_000})
    assert "concluded" in cli("experiment", "list").out
    explained = cli("explain", "checkout", "--json").json
    assert (explained["kind"], explained["act"]) == ("act", "conclude")


def test_variants_are_added_and_retired_by_name(running: Cli) -> None:
    assert running("experiment", "add-variant", "checkout", "c", "--reason", "a better idea").code == 0
    assert running("weights", "checkout", "--json").json["weights"]["c"] == 0
    assert running("experiment", "retire-variant", "checkout", "b").code == 0
    assert running("weights", "checkout", "--json").json["weights"] == {"control": 1_000_000, "b": 0, "c": 0}
    assert running("experiment", "retire-variant", "checkout", "nobody").code == 1


def test_definitions_are_read_from_toml_and_from_flags(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "pricing.toml"
    file.write_text(
        'id = "pricing"\nconstraints = "safe_defaults"\n[[variants]]\nid = "a"\n[[variants]]\nid = "b"\n'
        '[[metrics]]\nname = "paid"\nkind = "revenue"\n'
    )
    assert cli("experiment", "create", str(file)).code == 0
    assert cli("experiment", "show", "pricing", "--json").json["experiment"]["constraints"]["min_trials"] == 2000
    flags = ("--id", "quick", "--variants", "x,y", "--metric", "won", "--metric", "paid:revenue", "--start")
    made = cli("experiment", "create", *flags, "--preset", "explore_defaults", "--json").json
    assert [(m["name"], m["kind"], m["primary"]) for m in made["experiment"]["metrics"]] == [
        ("won", "binary", True),
        ("paid", "revenue", False),
    ]
    assert (made["status"], made["weights"]) == ("running", {"x": 500_000, "y": 500_000})
    text = cli("experiment", "create", "-", stdin='id = "piped"\nvariants = [{id = "a"}]\n').err
    assert "metrics" in text


def test_an_update_keeps_the_constraints_it_does_not_name(running: Cli) -> None:
    done = running("experiment", "update", "checkout", "--set", "constraints.max_step=0.05", "--set", "description=hm")
    assert done.code == 0
    limits = running("experiment", "show", "checkout", "--json").json["experiment"]["constraints"]
    assert (limits["max_step"], limits["min_trials"], limits["min_weight"]) == (0.05, 300, 0.005)
    refused = running("experiment", "update", "checkout", "--set", "salt=x")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "salt cannot change" in refused.err


def test_good_lines_are_sent_and_bad_ones_named_by_line_and_reason(running: Cli) -> None:
    lines = [event(1), "{not json", "", "[1]", event(2), event(3, variant="no such id!"), event(4, colour="red")]
    sent = running("send", "-", stdin="\n".join(lines))
    assert (sent.code, sent.out) == (1, "Sent 3 events; 3 bad lines were left out.\n")
    first, second, third = sent.err.splitlines()
    assert first.startswith("line 2: not JSON")
    assert second.startswith("line 4: a JSON list")
    assert third.startswith("line 6: event: variant")
    drain()
    stats = running("stats", "checkout", "--json").json
    assert stats["trials"] == {"control": 1, "b": 2}
    assert stats["totals"]["b"]["converted"]["mean"] == 1.0


def test_all_good_lines_exit_with_0(running: Cli, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(map(event, range(10))))
    sent = running("send", str(file), "--json")
    assert (sent.code, sent.json) == (0, {"sent": 10, "bad": 0})


def test_a_server_that_takes_no_events_ends_send_with_a_sentence(
    own_server: EmbeddedServer, alone: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "PATIENCE_SECONDS", 0.5)
    with plain_client(own_server.url) as client:
        client.config_set("maxmemory", 1)
        sent = alone("send", "-", stdin=event(1))
        full = alone("experiment", "create", "--id", "other", "--variants", "a,b", "--metric", "c")
    assert (sent.code, sent.out, sent.err.count("\n")) == (1, "", 1)
    assert "1 events are unconfirmed" in sent.err
    assert (full.code, full.err.count("\n")) == (1, 1)
    assert "maxmemory" in full.err


def test_the_command_that_a_gap_names_works_as_it_stands(own_server: EmbeddedServer, alone: Cli) -> None:
    with plain_client(own_server.url) as client:
        alone("send", "-", stdin=event(1))
        drain()
        client.delete("trimtab:{p0}:events")
    found = {finding["name"]: finding for finding in alone("doctor", "--json").json}["log of partition 0"]
    command = found["found"].partition("then run: trimtab ")[2].split()
    assert command == ["accept-loss", "0"]
    done = alone(*command)
    assert done.code == 0
    assert "it was deleted" in done.out
    assert alone("rebuild", "0", "--verify").code == 0
    found = {finding["name"]: finding for finding in alone("doctor", "--json").json}["log of partition 0"]
    assert found["ok"]


def test_statistics_that_stop_the_fold_are_found_with_the_command_that_mends_them(
    running: Cli, server: EmbeddedServer
) -> None:
    running("send", "-", stdin="\n".join(map(event, range(4))))
    drain()
    with plain_client(server.url) as client:
        client.hset("trimtab:{p0}:stats:checkout", "count:folded", 'x"y')
    found = {finding["name"]: finding for finding in running("doctor", "--json").json}["statistics of partition 0"]
    assert not found["ok"]
    assert "trimtab rebuild 0" in found["remedy"]
    assert running("rebuild", "0").code == 0
    found = {finding["name"]: finding for finding in running("doctor", "--json").json}["statistics of partition 0"]
    assert found["ok"]
    assert running("rebuild", "0", "--verify").code == 0


def test_weights_that_nobody_renews_say_so(running: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    running("recompute", "checkout")
    assert "Nobody has renewed them" not in running("weights", "checkout").out
    until = running("weights", "checkout", "--json").json["valid_until"]
    monkeypatch.setattr(RedisPartition, "now", lambda _: until + 1)
    assert "run `trimtab doctor`" in running("weights", "checkout").out


def test_a_log_is_replayed_and_explained_and_recomputed(running: Cli, tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text("arm,y\n" + "0,0\n0,1\n1,1\n1,1\n" * 300 + ",1\n")
    options = ("--experiment", "checkout", "--variant-column", "arm", "--metric", "converted=y")
    unmapped = running("replay", str(file), *options)
    assert (unmapped.code, unmapped.out) == (1, "")
    assert "'0' (600 rows), '1' (600 rows)" in unmapped.err
    mapping = ("--map-variant", "0=control", "--map-variant", "1=b")
    done = running("replay", str(file), *options, *mapping)
    assert done.code == 0
    assert "1,201 rows read, 1 of them left out" in done.out
    assert "1,200 outcomes sent" in done.out
    drain()
    assert "1,200 outcomes" in running("stats", "checkout").out

    dry = running("recompute", "checkout", "--dry-run")
    assert "nothing was published" in dry.out
    assert running("weights", "checkout", "--json").json["epoch"] == 1
    decided = running("recompute", "checkout", "--json").json
    assert (decided["outcome"], decided["parts"]) == ("move", {"b": 700_000, "control": 300_000})
    shown = running("explain", "checkout").out
    for part in ("What was known", "What was decided", "max_step", "+20.0 pp", ">99.9%", "To move (further)"):
        assert part in shown
    assert running("explain", "checkout", "--decision", "1", "--json").json["act"] == "start"
    assert "70.0%" in running("weights", "checkout").out

    verified = running("verify", "checkout", "--json").json
    assert (verified["identical"], verified["replaced"]) == (True, False)
    assert running("rebuild", "0").code == 0
    assert "1,200 outcomes" in running("stats", "checkout").out


def test_the_weights_as_json_are_the_polled_document(running: Cli, server: EmbeddedServer) -> None:
    import redis

    with redis.Redis.from_url(server.url) as client:
        polled = json.loads(client.get("trimtab:{checkout}:weights"))
    assert running("weights", "checkout", "--json").json == polled


def test_who_serves_the_weights_is_told_and_who_serves_old_ones(running: Cli, server: EmbeddedServer) -> None:
    assert "No flag client says that it serves them." in running("weights", "checkout").out
    with (
        FlagClient(server.url, experiments=["checkout"], name="web-1", poll_seconds=0.05) as current,
        FlagClient(server.url, experiments=["checkout"], name="web-2", poll_seconds=3600, wake_up=False) as late,
    ):
        wait_until(lambda: current.counts.reports and late.counts.reports)
        assert "Served by 2 clients: 2 current." in running("weights", "checkout").out
        running("halt", "checkout", "--variant", "b", "--reason", "errors")
        wait_until(lambda: current.counts.reports > 1)
        listed = {note["name"]: note for note in running("weights", "checkout", "--clients", "--json").json}
        assert {name: (note["state"], note["epoch"]) for name, note in listed.items()} == {
            "web-1": ("current", 2),
            "web-2": ("behind", 1),
        }
        table = running("weights", "checkout", "--clients").out
        assert "web-2" in table
        assert "Served by 2 clients: 1 current, 1 behind." in table


def test_the_stream_key_is_one_line_fit_for_redis_cli(running: Cli) -> None:
    assert running("stream-key", "checkout").out == "trimtab:{p0}:events\n"
    assert running("stream-key", "nowhere").code == 1


def test_health_and_doctor_say_what_is_missing_with_exit_code_1(running: Cli) -> None:
    sick = running("health", "ingest")
    assert (sick.code, sick.out) == (1, "ingest has shown no sign of life lately.\n")
    assert running("health", "nobody").code == 1
    findings = {finding["name"]: finding for finding in running("doctor", "--json").json}
    assert findings["noeviction"]["ok"] is True
    assert "celery" in findings["heartbeat of ingest"]["remedy"]
    assert running("doctor").code == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("weights", "nowhere"), 1, "There is no experiment 'nowhere'"),
        (("stats", "nowhere"), 1, "There is no experiment 'nowhere'"),
        (("rebuild", "9"), 1, "There is no partition 9"),
        (("explain", "checkout", "--decision", "99"), 1, "no decision 99"),
        (("experiment", "start", "checkout"), 1, "cannot become running"),
        (("experiment", "conclude", "checkout", "z"), 1, "no variant"),
        (("halt", "checkout", "--variant", "control", "--reason", "x"), 1, "cannot be halted"),
        (("experiment", "create", "/nowhere.json"), 1, "cannot be read: No such file"),
        (("send", "/nowhere.jsonl"), 1, "cannot be read: No such file"),
        (("hold", "checkout"), 2, "--reason"),
        (("wieghts",), 2, "No such command 'wieghts'"),
        (("weights",), 2, "Missing argument 'EXPERIMENT'"),
        (("experiment", "create"), 2, "--variants"),
        (("experiment", "update", "checkout", "--set", "x"), 2, "FIELD=VALUE"),
        (("demo", "--seconds", "1"), 2, "--seconds"),
    ],
)
def test_every_error_is_one_sentence_on_stderr(running: Cli, arguments: tuple[str, ...], code: int, words: str) -> None:
    result = running(*arguments)
    assert (result.code, result.out, result.err.count("\n")) == (code, "", 1)
    assert words in result.err


@pytest.mark.parametrize(
    ("definition", "field"),
    [
        ({**DEFINITION, "strategy": "psychic"}, "strategy"),
        ({**DEFINITION, "variants": [{"id": "a"}, {"id": "a"}]}, "variants"),
        ({**DEFINITION, "constraints": {"min_weight": 0.6}}, "min_weight"),
        ({**DEFINITION, "id": "No Good"}, "id"),
    ],
)
def test_a_bad_definition_is_one_sentence_that_names_the_field(cli: Cli, definition: Any, field: str) -> None:
    result = cli("experiment", "create", "-", stdin=json.dumps(definition))
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert field in result.err


def test_no_command_shows_the_help_with_exit_code_2(cli: Cli) -> None:
    for arguments in ((), ("experiment",)):
        shown = cli(*arguments)
        assert (shown.code, shown.err) == (2, "")
        assert "Commands:" in shown.out


def test_before_anything_exists_the_lists_say_what_to_do(cli: Cli) -> None:
    assert "create one: trimtab experiment create" in cli("experiment", "list").out
    assert cli("experiment", "list", "--json").json == []
    cli("experiment", "create", "-", stdin=json.dumps(DEFINITION))
    draft = cli("weights", "checkout")
    assert (draft.code, draft.out) == (1, "")
    assert "run: trimtab experiment start checkout" in draft.err
