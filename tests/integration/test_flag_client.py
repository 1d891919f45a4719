"""The flag client against a real server: what it accepts, what it hears and tells, how fast it answers."""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from client_allocations import document
from faults.reporting import Check
from servers import wait_until
from trimtab.adapters.redis.serving import MAX_CLIENTS, leave, serving
from trimtab.client.bucketing import bucket
from trimtab.client.flags import Assignment, Exposure, FlagClient, FlagEvent, FlagEventKind, Reason
from trimtab.clock import system_clock
from trimtab.errors import ConfigurationError
from trimtab.schema.keys import ExperimentKeys
from trimtab_worker.embedded import EmbeddedServer

KEYS = ExperimentKeys("checkout")
OFTEN: dict[str, Any] = {"poll_seconds": 0.05}
SELDOM: dict[str, Any] = {"poll_seconds": 3600}
DEFAULT = Assignment("a", None, None, Reason.DEFAULT, None)


@pytest.fixture
def flags(server: EmbeddedServer, redis_client: redis.Redis) -> Iterator[FlagClient]:
    """A client that knows revision 1 and polls twenty times a second."""
    redis_client.set(KEYS.weights, document(1))
    with FlagClient(server.url, experiments=["checkout"], **OFTEN) as client:
        yield client


def test_a_unit_sees_what_the_bucket_rule_says(flags: FlagClient) -> None:
    for number in range(1000):
        expected = "a" if bucket("0123456789abcdef", f"user-{number}") < 500_000 else "b"
        assert flags.variant("checkout", f"user-{number}") == Assignment(expected, 1, 0.5, Reason.SPLIT, 1)


def test_many_units_at_once_see_what_each_sees_alone(flags: FlagClient) -> None:
    units = [f"user-{number}" for number in range(1000)]
    assert flags.assignments("checkout", units) == [flags.variant("checkout", unit) for unit in units]


def test_a_new_revision_is_served_after_a_poll(flags: FlagClient, redis_client: redis.Redis) -> None:
    redis_client.set(KEYS.weights, document(2, {"a": 0.0, "b": 1.0}, epoch=2))
    wait_until(lambda: flags.variant("checkout", "user-1").revision == 2)
    assert {flags.variant("checkout", f"user-{n}") for n in range(100)} == {Assignment("b", 2, 1.0, Reason.SPLIT, 2)}
    assert flags.counts.accepted == 2


def test_an_experiment_nobody_named_is_read_at_the_first_question_and_polled_from_then_on(
    server: EmbeddedServer, redis_client: redis.Redis
) -> None:
    redis_client.set(KEYS.weights, document(1))
    with FlagClient(server.url, **OFTEN) as flags:
        assert flags.experiments == ()
        assert flags.variant("checkout", "user-1").reason is Reason.SPLIT
        redis_client.set(KEYS.weights, document(2))
        wait_until(lambda: flags.variant("checkout", "user-1").revision == 2)


def test_watching_an_experiment_says_whether_there_is_an_allocation(
    server: EmbeddedServer, redis_client: redis.Redis
) -> None:
    redis_client.set(KEYS.weights, document(1))
    with FlagClient(server.url) as flags:
        assert flags.watch("checkout")
        assert not flags.watch("search")
        assert flags.experiments == ("checkout", "search")
        with pytest.raises(ConfigurationError, match="cannot be an experiment's id"):
            flags.watch("A b")


def test_many_threads_asking_first_all_get_the_answer(server: EmbeddedServer, redis_client: redis.Redis) -> None:
    redis_client.set(KEYS.weights, document(1))
    answers: list[Assignment] = []
    with FlagClient(server.url) as flags:
        threads = [
            threading.Thread(target=lambda: answers.append(flags.variant("checkout", "user-1"))) for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {answer.reason for answer in answers} == {Reason.SPLIT}
        assert flags.counts.accepted == 1


def test_where_nothing_is_published_the_default_is_served_until_something_is(
    server: EmbeddedServer, redis_client: redis.Redis
) -> None:
    with FlagClient(server.url, experiments=["checkout"], **OFTEN) as flags:
        assert flags.variant("checkout", "user-1", "a") == DEFAULT
        redis_client.set(KEYS.weights, document(1))
        wait_until(lambda: flags.variant("checkout", "user-1", "a").reason is Reason.SPLIT)


def test_backward_and_damaged_documents_are_ignored_and_counted_once(
    flags: FlagClient, redis_client: redis.Redis
) -> None:
    redis_client.set(KEYS.weights, document(3))
    assert flags.refresh()
    for raw in (document(2), document(4)[:-1]):
        redis_client.set(KEYS.weights, raw)
        assert flags.refresh()
        assert flags.refresh()
        assert flags.variant("checkout", "user-1").revision == 3
    assert (flags.counts.ignored_backward, flags.counts.ignored_damaged) == (1, 1)
    redis_client.delete(KEYS.weights)
    assert flags.refresh()
    assert flags.variant("checkout", "user-1").revision == 3
    assert flags.counts.ignored_missing == 1


def test_a_key_of_another_type_is_an_error_of_that_experiment_alone(
    flags: FlagClient, redis_client: redis.Redis
) -> None:
    redis_client.set(ExperimentKeys("search").weights, document(1, experiment_id="search"))
    redis_client.delete(KEYS.weights)
    redis_client.lpush(KEYS.weights, "x")
    assert not flags.refresh()
    assert flags.variant("search", "user-1").reason is Reason.SPLIT
    assert flags.variant("checkout", "user-1").revision == 1


def test_listeners_hear_of_changes_new_incarnations_and_what_was_ignored(
    server: EmbeddedServer, redis_client: redis.Redis
) -> None:
    heard: list[FlagEvent] = []
    redis_client.set(KEYS.weights, document(9, epoch=4))
    with FlagClient(server.url, experiments=["checkout"], on_event=heard.append, **SELDOM) as flags:
        for raw in (document(8), document(1, incarnation="two", epoch=5)):
            redis_client.set(KEYS.weights, raw)
            flags.refresh()
        assert flags.counts.new_incarnations == 1
        stop = flags.listen(lambda event: 1 / 0)
        redis_client.set(KEYS.weights, document(2, incarnation="two"))
        flags.refresh()
        stop()
        redis_client.set(KEYS.weights, document(3, incarnation="two"))
        flags.refresh()
        assert (flags.counts.hook_errors, flags.counts.accepted) == (1, 4)
    assert [(event.kind, event.revision, event.previous_epoch) for event in heard[:3]] == [
        (FlagEventKind.CHANGED, 9, None),
        (FlagEventKind.IGNORED, 9, 4),
        (FlagEventKind.NEW_INCARNATION, 1, 4),
    ]
    assert heard[1].detail == "revision 8 is not above 9"


def test_a_listener_may_ask_the_client_again_and_close_it(server: EmbeddedServer, redis_client: redis.Redis) -> None:
    with FlagClient(server.url, experiments=["checkout"], **OFTEN) as flags:
        seen: list[Any] = []

        def once(event: FlagEvent) -> None:
            seen.append((flags.refresh(), flags.variant("checkout", "user-1").revision))
            flags.close()

        flags.listen(once)
        redis_client.set(KEYS.weights, document(1))
        wait_until(lambda: seen)
        assert seen == [(True, 1)]
    assert flags.counts.hook_errors == 0


def test_past_its_time_an_allocation_is_served_as_stale_and_a_renewal_ends_that(
    server: EmbeddedServer, redis_client: redis.Redis
) -> None:
    """FC-03: at once in the answers, at the next poll to listeners."""
    now, heard = system_clock(), list[FlagEventKind]()
    redis_client.set(KEYS.weights, document(1, valid_until=now + 60_000))
    with FlagClient(
        server.url,
        experiments=["checkout"],
        grace_seconds=10,
        on_event=lambda event: heard.append(event.kind),
        **OFTEN,
    ) as flags:
        fresh = flags.variant("checkout", "user-1")
        redis_client.set(KEYS.weights, document(2, valid_until=now - 20_000))
        wait_until(lambda: flags.variant("checkout", "user-1").reason is Reason.STALE)
        assert flags.is_stale("checkout")
        assert flags.variant("checkout", "user-1") == fresh._replace(reason=Reason.STALE, revision=2)
        wait_until(lambda: FlagEventKind.STALE in heard)
        redis_client.set(KEYS.weights, document(3, valid_until=now + 60_000))
        wait_until(lambda: flags.variant("checkout", "user-1").reason is Reason.SPLIT)
        wait_until(lambda: heard[-1] is FlagEventKind.FRESH)


def test_with_on_stale_default_everybody_gets_the_default_past_its_time(
    server: EmbeddedServer, redis_client: redis.Redis
) -> None:
    redis_client.set(KEYS.weights, document(1, valid_until=system_clock() - 120_000))
    with FlagClient(server.url, experiments=["checkout"], on_stale="default") as flags:
        assert flags.variant("checkout", "user-1", "z") == Assignment("z", None, None, Reason.STALE, None)


def test_a_killed_server_changes_no_answer_and_a_restarted_one_is_read_again(
    own_server: EmbeddedServer, own_client: redis.Redis
) -> None:
    """FC-01."""
    own_client.set(KEYS.weights, document(1))
    with FlagClient(own_server.url, experiments=["checkout"], **OFTEN) as flags:
        before = [flags.variant("checkout", f"user-{n}") for n in range(500)]
        own_server.kill()
        wait_until(lambda: flags.counts.errors > 0)
        assert [flags.variant("checkout", f"user-{n}") for n in range(500)] == before
        assert not flags.refresh()
        own_server.start()
        own_client.set(KEYS.weights, document(2))
        wait_until(lambda: flags.variant("checkout", "user-1").revision == 2)


def test_without_a_server_the_default_is_served_and_building_the_client_does_not_raise(check: Check) -> None:
    """FC-02."""
    default = Assignment("a", None, None, Reason.NOT_READY, None)
    with FlagClient("redis://127.0.0.1:1/0", experiments=["checkout"]) as flags:
        answers = [flags.variant(experiment_id, "user-1", "a") for experiment_id in ("checkout", "another")]
        assert flags.counts.errors == 2
    check("FC-02", "no copy: the default 2 of 2 times", f"no copy: the default {answers.count(default)} of 2 times")


def test_without_a_server_a_copy_on_the_disk_is_served(
    server: EmbeddedServer, redis_client: redis.Redis, tmp_path: Path, check: Check
) -> None:
    """FC-02: of named experiments and of those asked for later; a damaged copy counts as none."""
    for name in ("checkout", "search", "cart"):
        redis_client.set(ExperimentKeys(name).weights, document(7, experiment_id=name))
    with FlagClient(server.url, experiments=["checkout", "search", "cart"], cache_dir=tmp_path) as flags:
        units = [f"user-{n}" for n in range(100)]
        known = {name: flags.assignments(name, units) for name in flags.experiments}
    (tmp_path / "cart.allocation").write_bytes(b"x")
    with FlagClient("redis://127.0.0.1:1/0", experiments=["checkout", "cart"], cache_dir=tmp_path) as flags:
        found = {name: flags.assignments(name, units) for name in ("checkout", "search")}
        same = sum(a == b for name, answers in found.items() for a, b in zip(answers, known[name], strict=True))
        check("FC-02", "from the disk: 200 of 200 as before", f"from the disk: {same} of 200 as before")
        assert flags.variant("cart", "user-1").reason is Reason.NOT_READY
        assert (flags.counts.cache_loaded, flags.counts.cache_damaged) == (2, 1)


def test_a_disk_that_takes_nothing_is_counted_and_changes_no_answer(
    server: EmbeddedServer, redis_client: redis.Redis, tmp_path: Path
) -> None:
    redis_client.set(KEYS.weights, document(1))
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    with FlagClient(server.url, experiments=["checkout"], cache_dir=in_the_way / "flags") as flags:
        assert flags.variant("checkout", "user-1").reason is Reason.SPLIT
        assert flags.counts.cache_errors == 1


# ── pub/sub ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_notice_brings_a_publication_long_before_the_next_poll(
    server: EmbeddedServer, redis_client: redis.Redis
) -> None:
    with FlagClient(server.url, experiments=["checkout"], **SELDOM) as flags:
        wait_until(lambda: redis_client.pubsub_numsub(KEYS.notices)[0][1] == 1)
        redis_client.set(KEYS.weights, document(1))
        redis_client.publish(KEYS.notices, 1)
        wait_until(lambda: flags.variant("checkout", "user-1").revision == 1)
        wait_until(lambda: flags.counts.notices == 1)


def test_a_subscription_survives_lost_connections(server: EmbeddedServer, redis_client: redis.Redis) -> None:
    """What was published in between is read as soon as it is back, not at the next poll."""
    with FlagClient(server.url, experiments=["checkout"], **SELDOM) as flags:
        for revision in (1, 2):
            wait_until(lambda: redis_client.pubsub_numsub(KEYS.notices)[0][1] == 1)
            redis_client.set(KEYS.weights, document(revision))
            redis_client.client_kill_filter(_type="pubsub")
            wait_until(lambda revision=revision: flags.variant("checkout", "user-1").revision == revision)
        assert flags.counts.subscription_errors >= 2


def test_an_experiment_asked_for_later_is_subscribed_to_as_well(
    server: EmbeddedServer, redis_client: redis.Redis
) -> None:
    with FlagClient(server.url, **SELDOM) as flags:
        assert flags.variant("checkout", "user-1", "a") == DEFAULT
        wait_until(lambda: redis_client.pubsub_numsub(KEYS.notices)[0][1] == 1)


def test_without_waking_up_there_is_no_subscription_and_polls_suffice(
    server: EmbeddedServer, redis_client: redis.Redis
) -> None:
    redis_client.set(KEYS.weights, document(1))
    with FlagClient(server.url, experiments=["checkout"], wake_up=False, **OFTEN) as flags:
        redis_client.set(KEYS.weights, document(2))
        wait_until(lambda: flags.variant("checkout", "user-1").revision == 2)
        assert redis_client.pubsub_numsub(KEYS.notices)[0][1] == 0


# ── reports ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_server_knows_who_serves_which_revision_until_the_client_closes(
    server: EmbeddedServer, redis_client: redis.Redis
) -> None:
    redis_client.set(KEYS.weights, document(1, epoch=3))
    with FlagClient(server.url, experiments=["checkout", "search"], name="web-1", **OFTEN) as flags:
        ((_, note),) = wait_until(lambda: serving(redis_client, "checkout"))
        assert (note.name, note.revision, note.epoch, note.stale) == ("web-1", 1, 3, False)
        redis_client.set(KEYS.weights, document(2, epoch=4, valid_until=1))
        wait_until(lambda: [(n.revision, n.stale) for _, n in serving(redis_client, "checkout")] == [(2, True)])
        assert serving(redis_client, "search") == []
        assert 0 < redis_client.pttl(KEYS.clients) <= 90_000
        wait_until(lambda: flags.counts.reports >= 2)  # counted after the server has it
    assert serving(redis_client, "checkout") == []


def test_notes_are_bounded_in_number_and_age(redis_client: redis.Redis) -> None:
    note = '{{"client": "{:x}", "name": "n", "incarnation": "one", "revision": 1, "epoch": 1, "stale": false}}'
    pipeline = redis_client.pipeline()
    leave(pipeline, "checkout", note.format(0), None, now=1000, keep_ms=500)
    for number in range(1, MAX_CLIENTS + 50):
        leave(pipeline, "checkout", note.format(number), None, now=2000 + number, keep_ms=5000)
    pipeline.execute()
    found = serving(redis_client, "checkout")
    assert len(found) == MAX_CLIENTS
    assert found[0][0] == 2000 + MAX_CLIENTS + 49
    redis_client.zadd(KEYS.clients, {b"garbage": 10**15})
    assert len(serving(redis_client, "checkout")) == MAX_CLIENTS


def readme_rights() -> list[str]:
    """The rights that the README gives a flag client's user: to read, to be woken, to be seen."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    return re.search(r"```text\n(%R~trimtab.*?)```", readme, re.DOTALL)[1].splitlines()  # type: ignore[index]


@pytest.mark.parametrize(("lines", "may"), [(1, False), (3, True)])
def test_a_user_with_few_rights_reads_and_the_rest_is_counted_as_refused(
    server: EmbeddedServer, redis_client: redis.Redis, lines: int, may: bool
) -> None:
    rights = " ".join(readme_rights()[:lines]).split()
    redis_client.execute_command("ACL", "SETUSER", "flags", "reset", "on", ">secret", *rights)
    try:
        redis_client.set(KEYS.weights, document(1, valid_until=system_clock() + 60_000))
        url = server.url.replace("redis://", "redis://flags:secret@")
        with FlagClient(url, experiments=["checkout"], **OFTEN) as flags:
            assert flags.variant("checkout", "user-1").reason is Reason.SPLIT
            wait_until(lambda: flags.counts.polls > 3)
            if may:
                wait_until(lambda: serving(redis_client, "checkout"))
                wait_until(lambda: redis_client.pubsub_numsub(KEYS.notices)[0][1] == 1)
                assert (flags.counts.subscription_errors, flags.counts.reports_refused) == (0, 0)
            else:
                wait_until(lambda: flags.counts.subscription_errors and flags.counts.reports_refused)
                assert flags.counts.reports == 0
            assert (flags.counts.errors, flags.counts.ignored_damaged) == (0, 0)
    finally:
        redis_client.acl_deluser("flags")


# ── odd questions, hooks, life and death of a process ────────────────────────────────────────────────────────────


class Evil(str):
    """A text that answers every question with an exception."""

    def __bool__(self) -> bool:
        raise RuntimeError

    encode = __hash__ = __len__ = __eq__ = __bool__  # type: ignore[assignment]


@pytest.mark.parametrize("unit_id", ["", None, 7, 0.5, b"user-1", [], "\ud800", Evil("x")], ids=repr)
def test_an_odd_unit_gets_the_default(flags: FlagClient, unit_id: Any) -> None:
    """All units without an id would share one bucket, and so one variant."""
    invalid = Assignment("a", None, None, Reason.INVALID_UNIT, None)
    assert flags.variant("checkout", unit_id, "a") == invalid
    found = flags.assignments("checkout", ["user-1", unit_id, "user-2"], "a") if not isinstance(unit_id, Evil) else []
    assert found == [] or (found[1], found[0].reason, found[2].reason) == (invalid, Reason.SPLIT, Reason.SPLIT)


def test_a_huge_unit_is_a_unit(flags: FlagClient) -> None:
    assert flags.variant("checkout", "x" * 10_000_000).reason is Reason.SPLIT


@pytest.mark.parametrize("experiment_id", ["", None, 7, [], "a}:x{", "../", "x" * 65, "\ud800", Evil("x")], ids=repr)
def test_an_odd_experiment_gets_the_default_and_is_not_asked_for(flags: FlagClient, experiment_id: Any) -> None:
    assert flags.variant(experiment_id, "user-1", "a").epoch is None
    assert flags.experiments == ("checkout",)


def test_the_exposure_hook_is_handed_what_an_outcome_event_needs(
    server: EmbeddedServer, redis_client: redis.Redis
) -> None:
    seen: list[Exposure] = []
    redis_client.set(KEYS.weights, document(2, {"a": 0.0, "b": 1.0}, epoch=3))
    before = system_clock()
    with FlagClient(server.url, experiments=["checkout"], on_exposure=seen.append) as flags:
        flags.variant("checkout", "user-1", context={"country": "NZ"})
        flags.assignments("checkout", ["user-2", "", "user-3"])
        flags.variant("search", "user-1", "a")
    assert [exposure[:7] for exposure in seen] == [
        ("checkout", f"user-{n}", "b", 3, 1.0, 2, Reason.SPLIT) for n in (1, 2, 3)
    ]
    assert seen[0].context == {"country": "NZ"}
    assert before - 2000 <= seen[0].exposed_at <= system_clock() + 2000


def test_a_hook_that_raises_changes_no_answer(server: EmbeddedServer, redis_client: redis.Redis) -> None:
    redis_client.set(KEYS.weights, document(1))
    with FlagClient(server.url, experiments=["checkout"], on_exposure=lambda exposure: 1 / 0) as flags:
        assert flags.variant("checkout", "user-1").reason is Reason.SPLIT
        assert flags.counts.hook_errors == 1


@pytest.mark.parametrize("options", [{"decode_responses": True}, {"protocol": 2}, {"protocol": 3}], ids=str)
def test_somebody_elses_client_serves_the_same(
    server: EmbeddedServer, redis_client: redis.Redis, options: dict[str, Any]
) -> None:
    redis_client.set(KEYS.weights, document(1))
    with (
        redis.Redis.from_url(server.url, **options) as client,
        FlagClient(client=client, experiments=["checkout"], **SELDOM) as flags,
    ):
        assert flags.variant("checkout", "user-1").reason is Reason.SPLIT
        redis_client.set(KEYS.weights, b"\xff\xfe")
        assert flags.refresh()
        assert flags.counts.ignored_damaged == 1
        wait_until(lambda: redis_client.pubsub_numsub(KEYS.notices)[0][1] == 1)
        redis_client.set(KEYS.weights, document(2))
        redis_client.publish(KEYS.notices, 2)
        wait_until(lambda: flags.variant("checkout", "user-1").revision == 2)


def test_after_closing_the_last_answer_stays(flags: FlagClient) -> None:
    flags.close()
    flags.close()
    assert flags.variant("checkout", "user-1").reason is Reason.SPLIT
    assert flags.variant("never-asked", "user-1").reason is Reason.NOT_READY


def test_a_closed_client_says_stale_on_time(server: EmbeddedServer, redis_client: redis.Redis) -> None:
    now = [0.0]
    redis_client.set(KEYS.weights, document(1, valid_until=system_clock() + 60_000))
    flags = FlagClient(server.url, experiments=["checkout"], monotonic=lambda: now[0])
    flags.close()
    assert flags.variant("checkout", "user-1").reason is Reason.SPLIT
    now[0] = 130.0
    assert flags.variant("checkout", "user-1").reason is Reason.STALE


def test_a_forked_child_knows_what_the_parent_knew_and_polls_for_itself(
    flags: FlagClient, redis_client: redis.Redis
) -> None:
    """And the parent's subscription is not disturbed when the child ends."""
    wait_until(lambda: flags.counts.polls > 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on: forking beside threads is what is tested
        child = os.fork()
    if child == 0:
        try:
            assert flags.variant("checkout", "user-1").reason is Reason.SPLIT
            wait_until(lambda: flags.variant("checkout", "user-1").revision == 2)
            flags.close()
            os._exit(0)
        except BaseException:
            os._exit(1)
    redis_client.set(KEYS.weights, document(2))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert flags.counts.subscription_errors == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"poll_seconds": 0},
        {"jitter": 2},
        {"grace_seconds": -1},
        {"report_seconds": float("nan")},
        {"on_stale": "raise"},
        {"experiments": ["A b"]},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_outside_their_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"choose|cannot be an experiment"):
        FlagClient("redis://127.0.0.1:1/0", **settings)
