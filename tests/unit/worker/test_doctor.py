"""The doctor finds each fault by itself, says what it found and what to do (OB-02)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from faults.reporting import Check
from servers import plain_client
from trimtab.clock import system_clock
from trimtab.errors import ConfigurationError, CorruptState, LogGap, Unavailable
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.doctor import Finding, Surroundings, examine, server_checks, version
from trimtab_worker.services.rights import rights
from users import start_with_users, url_of


class FakeServer:
    """A server that says of itself what a test tells it to."""

    def __init__(self, **info: object) -> None:
        self._info = info

    def info(self, _: str) -> dict[str, object]:
        return self._info


@pytest.fixture
def around(own_client: redis.Redis, broker: EmbeddedServer) -> Iterator[Surroundings]:
    """Surroundings in which all is well."""
    with plain_client(broker.url) as broker_client:
        yield Surroundings(
            data=own_client,
            broker=broker_client,
            partitions=lambda: 2,
            check_gap=lambda _: None,
            check_secret=lambda _: None,
            check_statistics=lambda _: None,
            encodings=lambda _: ["intset"] * 100,
            alive=lambda _: True,
            visibility_seconds=120,
            time_limit_seconds=30,
        )


def wrong(around: Surroundings) -> list[Finding]:
    return [finding for finding in examine(around) if not finding.ok]


def raising(error: Exception) -> Callable[[int], None]:
    def check(number: int) -> None:
        if number == 1:
            raise error

    return check


def test_where_all_is_well_nothing_is_found(around: Surroundings, check: Check) -> None:
    findings = examine(around)
    bad = [finding.name for finding in findings if not finding.ok]
    check("OB-02", "all well: 0 of 21 faults found", f"{len(bad)} of {len(findings)}", (bad, len(findings)) == ([], 21))
    assert all(finding.found.endswith(".") for finding in findings)


@pytest.mark.parametrize(
    ("setting", "value", "name", "fatal"),
    [
        ("maxmemory-policy", "allkeys-lru", "noeviction", True),
        ("appendonly", "no", "append-only file", False),
    ],
)
def test_a_server_that_may_forget_is_found(
    setting: str, value: str, name: str, fatal: bool, around: Surroundings
) -> None:
    around.data.config_set(setting, value)
    (finding,) = wrong(around)
    assert (finding.name, finding.fatal) == (name, fatal)
    assert setting in finding.remedy


@pytest.mark.parametrize(
    ("info", "ok"),
    [
        ({"redis_version": "6.2.14"}, False),
        ({"redis_version": "7.0.15"}, True),
        ({"redis_version": "10.0.0"}, True),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, True),
    ],
)
def test_redis_begins_at_seven_and_valkey_anywhere(info: dict[str, object], ok: bool, check: Check) -> None:
    finding = version(FakeServer(**info))  # type: ignore[arg-type]
    words = {True: "taken", False: "refused"}
    check("RC-06", f"{finding.found} {words[ok]}", words[finding.ok], finding.ok is ok and (finding.fatal or ok))


def test_a_broker_on_the_data_server_is_found_even_in_another_database(
    around: Surroundings, own_server: EmbeddedServer
) -> None:
    with plain_client(own_server.url.removesuffix("/0") + "/1") as same:
        (finding,) = wrong(replace(around, broker=same))
    assert finding.name == "broker apart"


def test_a_short_visibility_timeout_is_found(around: Surroundings) -> None:
    (finding,) = wrong(replace(around, visibility_seconds=119))
    assert finding.name == "visibility timeout"


@pytest.mark.parametrize("skew_ms", [-2000, 2000])
def test_a_clock_that_is_off_is_found(skew_ms: int, around: Surroundings) -> None:
    (finding,) = wrong(replace(around, clock=lambda: system_clock() + skew_ms))
    assert finding.name == "clock skew"


@pytest.mark.parametrize("error", [LogGap("Entries are gone."), CorruptState("A value is odd.")])
def test_a_gap_is_found_in_the_partition_that_has_it(error: Exception, around: Surroundings) -> None:
    (finding,) = wrong(replace(around, check_gap=raising(error)))
    assert finding.name == "log of partition 1"
    assert finding.found == str(error)


def test_marks_that_outgrew_their_form_are_found(around: Surroundings) -> None:
    wide = lambda number: ["intset"] * 98 + ["hashtable"] * 2 * number  # noqa: E731
    (finding,) = wrong(replace(around, encodings=wide))
    assert finding.name == "marks of partition 1"
    assert "set-max-intset-entries" in finding.remedy


def test_a_secret_that_is_missing_here_is_found(around: Surroundings) -> None:
    (finding,) = wrong(replace(around, check_secret=raising(ConfigurationError("The secret is another."))))
    assert finding.name == "signatures of partition 1"


def test_the_users_that_are_shipped_have_neither_too_many_nor_too_few_rights(tmp_path: Path) -> None:
    with start_with_users(tmp_path) as server:
        with plain_client(server.url) as admin:
            assert rights(admin).ok, "only this machine reaches it"
            admin.config_set("protected-mode", "no")
            admin.execute_command("ACL", "SETUSER", "everything", "on", "nopass", "~*", "&*", "+@all")
            admin.execute_command("ACL", "SETUSER", "trimtab-worker", "-xtrim")
        verdicts = {}
        for role in ("operator", "worker", "producer", "monitor"):
            with plain_client(url_of(server, role)) as client:
                verdicts[role] = rights(client)
        with plain_client(server.url.replace("//", "//everything:x@")) as client:
            everything = rights(client)
    assert {role: finding.ok for role, finding in verdicts.items()} == {
        "operator": True, "worker": False, "producer": False, "monitor": False,
    }  # fmt: skip
    assert "XTRIM" in verdicts["worker"].found
    assert not everything.ok
    assert "FLUSHALL" in everything.found


@pytest.mark.parametrize(
    ("protected", "password", "ok", "said"),
    [
        ("no", False, False, "Whoever reaches the data server may do everything"),
        ("yes", False, True, "it is in protected mode"),
        ("no", True, False, "Whoever has the data server's one password may do everything"),
        ("yes", True, False, "Whoever has the data server's one password may do everything"),
    ],
)
def test_a_server_whose_users_have_no_names_is_found(
    protected: str, password: bool, ok: bool, said: str, own_server: EmbeddedServer
) -> None:
    """Protected mode keeps nobody out who has the password: the server lifts it then."""

    class Elsewhere:
        def __init__(self, client: redis.Redis) -> None:
            self.acl_whoami, self.execute_command = client.acl_whoami, client.execute_command

        def config_get(self, *_: str) -> dict[str, str]:
            return {"bind": "* -::*", "protected-mode": protected}

    with plain_client(own_server.url) as client:
        if password:
            client.config_set("requirepass", "one for all")
        finding = rights(Elsewhere(client))
    assert finding.ok is ok
    assert said in finding.found
    assert ok or "users.acl" in finding.remedy


@pytest.mark.parametrize("dead", ["ingest", "decide", "beat"])
def test_a_silent_role_is_found_with_the_command_that_starts_it(dead: str, around: Surroundings) -> None:
    (finding,) = wrong(replace(around, alive=lambda role: role != dead))
    assert finding.name == f"heartbeat of {dead}"
    assert "celery -A trimtab_worker.app" in finding.remedy


def test_who_only_cannot_show_a_sign_of_life_is_not_to_be_started(around: Surroundings) -> None:
    """Beat's is noted by decide, and without a broker nobody shows one."""
    decide, beat = wrong(replace(around, alive=lambda role: role == "ingest"))
    assert "worker -Q decide" in decide.remedy
    assert "decide first" in beat.remedy
    assert "celery" not in beat.remedy


def test_a_lost_broker_is_named_with_its_own_setting(around: Surroundings) -> None:
    with plain_client("redis://127.0.0.1:1/0") as nowhere:
        lost, *silent = wrong(replace(around, broker=nowhere, alive=lambda _: False))
    assert lost.name == "broker"
    assert lost.found.startswith("The broker at ")
    assert "BROKER_URL" in lost.found
    assert "REDIS_URL" not in lost.found + lost.remedy
    assert len(silent) == 3
    assert all("broker" in finding.remedy and "celery" not in finding.remedy for finding in silent)


def test_a_server_that_is_almost_full_is_found(around: Surroundings) -> None:
    used = around.data.info("memory")["used_memory"]
    around.data.config_set("maxmemory", 2 * used)
    assert not wrong(around)
    around.data.config_set("maxmemory", used + 1)
    (finding,) = wrong(around)
    assert finding.name == "memory"
    assert "maxmemory" in finding.remedy
    around.data.config_set("maxmemory", 0)
    assert not wrong(around)


def test_only_the_sentence_of_a_gap_names_the_command_against_it(around: Surroundings) -> None:
    """What a rebuild mends, an accepted loss would make final."""
    (finding,) = wrong(replace(around, check_gap=raising(LogGap("The state is older. Run: trimtab rebuild 1"))))
    assert "trimtab rebuild 1" in finding.found
    assert "accept-loss" not in finding.remedy


def test_a_misspelled_setting_is_found(around: Surroundings) -> None:
    (finding,) = wrong(replace(around, unknown_settings=("TRIMTAB_PARTITION",)))
    assert "TRIMTAB_PARTITION" in finding.found


def test_without_a_data_server_only_what_needs_none_is_asked(around: Surroundings, own_server: EmbeddedServer) -> None:
    own_server.kill()
    findings = examine(around)
    assert [(finding.name, finding.ok) for finding in findings] == [
        ("data server", False),
        ("broker", True),
        ("visibility timeout", True),
    ]
    with pytest.raises(Unavailable):
        list(server_checks(around.data))
