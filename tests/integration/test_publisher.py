"""Publishers against a real server, with its real faults: killed and restarted, out of memory, absent.

The checker reads the stream and keeps the distinct batches by (producer, sequence): they must be exactly what was
published, numbered from 1 without a gap, first copies in order, and every copy equal to the first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import redis

from client_events import event
from servers import wait_until
from trimtab import Control
from trimtab.adapters.redis.connection import connect
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.client._outbox import RESEND_MILLISECONDS
from trimtab.client.publisher import AsyncPublisher, Publisher
from trimtab.clock import system_clock
from trimtab.errors import BufferFull, InvalidInput, NotFound, PublishFailed, Unavailable
from trimtab.schema.event import BATCH_FIELD, EventBatch
from trimtab.schema.keys import LOG, PartitionKeys
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.ingest import DrainReport, Ingest

LONG = 30.0


@pytest.fixture
def log(redis_client: redis.Redis) -> redis.Redis:
    """The shared server with a log of one partition."""
    redis_client.hset(LOG, "partitions", 1)
    return redis_client


@pytest.fixture
def own_log(own_client: redis.Redis) -> redis.Redis:
    """A log on a server that the test may kill."""
    own_client.hset(LOG, "partitions", 1)
    return own_client


def read_log(client: redis.Redis, partition: int = 0) -> Iterator[bytes]:
    for _, fields in client.xrange(PartitionKeys(partition).events):
        yield fields[BATCH_FIELD.encode()]


def distinct_batches(client: redis.Redis, partition: int = 0) -> list[EventBatch]:
    """What the fold would count: first copies in order, having checked the laws of the log."""
    first: dict[tuple[str | None, int | None], bytes] = {}
    last: dict[str | None, int] = {}
    for payload in read_log(client, partition):
        batch = EventBatch.model_validate_json(payload)
        name = (batch.producer, batch.sequence)
        if name in first:
            assert first[name] == payload, "a batch sent again must have the same bytes"
            continue
        assert batch.sequence == last.get(batch.producer, 0) + 1, "first copies must be in order, without a gap"
        last[batch.producer] = batch.sequence
        first[name] = payload
    return [EventBatch.model_validate_json(payload) for payload in first.values()]


def units(batches: list[EventBatch]) -> list[Any]:
    return [unit for batch in batches for unit in batch.unit_id or []]


def published(numbers: range) -> list[str]:
    return [f"user-{number}" for number in numbers]


def test_events_arrive_in_order_in_few_batches(log: redis.Redis, server: EmbeddedServer) -> None:
    with Publisher(server.url) as publisher:
        for number in range(5000):
            publisher.publish(event(number))
    batches = distinct_batches(log)
    assert units(batches) == published(range(5000))
    assert len(batches) < 500
    assert (publisher.sent, publisher.failed, publisher.pending) == (5000, 0, 0)


def test_threads_may_share_a_publisher(log: redis.Redis, server: EmbeddedServer) -> None:
    with Publisher(server.url, max_buffered_events=500) as publisher:

        def work(start: int) -> None:
            for number in range(start, start + 1000):
                publisher.publish(event(number))

        threads = [threading.Thread(target=work, args=(start,)) for start in range(0, 4000, 1000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(units(distinct_batches(log))) == sorted(published(range(4000)))


def test_experiments_and_epochs_travel_apart_each_in_its_partition(log: redis.Redis, server: EmbeddedServer) -> None:
    log.hset(LOG, "partitions", 3)
    with Publisher(server.url) as publisher:
        for number in range(60):
            publisher.publish(event(number, experiment_id=f"e{number % 5}", epoch=1 + number % 2))
    batches = [batch for partition in range(3) for batch in distinct_batches(log, partition)]
    assert sum(batch.n for batch in batches) == 60
    for batch in batches:
        assert {int(unit[5:]) % 5 for unit in batch.unit_id or []} == {int(batch.experiment_id[1:])}
        assert {1 + int(unit[5:]) % 2 for unit in batch.unit_id or []} == {batch.epoch}


def test_an_event_alone_leaves_after_the_linger_time_without_being_flushed(
    log: redis.Redis, server: EmbeddedServer
) -> None:
    with Publisher(server.url, linger_seconds=0.05) as publisher:
        publisher.publish(event(1))
        wait_until(lambda: publisher.pending == 0)
        assert units(distinct_batches(log)) == ["user-1"]


def test_flush_does_not_wait_for_the_linger_time(log: redis.Redis, server: EmbeddedServer) -> None:
    with Publisher(server.url, linger_seconds=60) as publisher:
        publisher.publish(event(1))
        publisher.flush(timeout=LONG)
        assert publisher.sent == 1


def test_without_a_log_the_first_event_says_what_to_do(server: EmbeddedServer) -> None:
    publisher = Publisher(server.url)
    with pytest.raises(NotFound, match="create an experiment or run `trimtab up`"):
        publisher.publish(event(1))
    assert publisher.pending == 0
    publisher.close()


def test_without_a_server_the_first_event_says_what_to_do() -> None:
    publisher = Publisher("redis://:canary@127.0.0.1:1/0")
    with pytest.raises(Unavailable, match="start it") as caught:
        publisher.publish(event(1))
    assert "canary" not in str(caught.value)
    publisher.close()


def test_a_bad_event_is_refused_at_once_and_disturbs_nobody(log: redis.Redis, server: EmbeddedServer) -> None:
    with Publisher(server.url) as publisher:
        publisher.publish(event(1))
        with pytest.raises(InvalidInput, match="variant"):
            publisher.publish(experiment_id="checkout", variant="", metrics={"converted": 1.0}, occurred_at=1)
        publisher.publish(event(2))
    assert units(distinct_batches(log)) == ["user-1", "user-2"]


def test_a_closed_publisher_takes_nothing(log: redis.Redis, server: EmbeddedServer) -> None:
    publisher = Publisher(server.url)
    publisher.publish(event(1))
    publisher.close()
    publisher.close()
    with pytest.raises(PublishFailed, match="closed"):
        publisher.publish(event(2))


def test_a_restart_takes_a_new_producer_id(log: redis.Redis, server: EmbeddedServer) -> None:
    for number in range(2):
        with Publisher(server.url) as publisher:
            publisher.publish(event(number))
    batches = distinct_batches(log)
    assert len({batch.producer for batch in batches}) == 2
    assert [batch.sequence for batch in batches] == [1, 1]


def test_a_client_of_the_callers_own_is_used_and_left_open(log: redis.Redis) -> None:
    with Publisher(client=log) as publisher:
        publisher.publish(event(1))
    assert units(distinct_batches(log)) == ["user-1"]


def test_killing_the_server_loses_and_doubles_nothing(own_server: EmbeddedServer, own_log: redis.Redis) -> None:
    """Four kills -9 while events flow: distinct batches = events published, in order, no gap."""
    numbers, done = count(), threading.Event()
    with Publisher(own_server.url, linger_seconds=0.001, max_batch_events=20) as publisher:

        def work() -> None:
            while not done.is_set():
                publisher.publish(event(next(numbers)), timeout=LONG)

        worker = threading.Thread(target=work)
        worker.start()
        for _ in range(4):
            enough = publisher.sent + 1000
            wait_until(lambda enough=enough: publisher.sent > enough, LONG)  # type: ignore[misc]
            retries = publisher.retries
            own_server.kill()
            wait_until(lambda retries=retries: publisher.retries > retries, LONG)  # type: ignore[misc]
            own_server.start()
        enough = publisher.sent + 1000
        wait_until(lambda: publisher.sent > enough, LONG)
        done.set()
        worker.join(LONG)
        publisher.flush(timeout=LONG)
        total = next(numbers)
        assert (publisher.sent, publisher.pending, publisher.failed) == (total, 0, 0)
    assert units(distinct_batches(own_log)) == published(range(total))


def test_a_server_out_of_memory_holds_producers_up_and_loses_nothing(
    own_server: EmbeddedServer, own_log: redis.Redis
) -> None:
    with Publisher(own_server.url, max_buffered_events=100) as publisher:
        publisher.publish(event(0))
        publisher.flush(timeout=LONG)
        own_log.config_set("maxmemory-policy", "noeviction")
        own_log.config_set("maxmemory", 1)
        for number in range(1, 101):
            publisher.publish(event(number), timeout=LONG)
        with pytest.raises(BufferFull, match=r"100 unconfirmed events.*\(.*(OOM|memory|maxmemory).*\): slow down"):
            publisher.publish(event(101), timeout=wait_for_refusal(publisher))
        with pytest.raises(PublishFailed, match="100 events are unconfirmed"):
            publisher.flush(timeout=0.05)
        own_log.config_set("maxmemory", 0)
        publisher.publish(event(101), timeout=LONG)
    assert units(distinct_batches(own_log)) == published(range(102))


def wait_for_refusal(publisher: Publisher | AsyncPublisher) -> float:
    """Wait until the server refused something; then there is no more to wait for."""
    wait_until(lambda: publisher.last_error)
    return 0.0


def test_a_refusal_does_not_quote_events(own_server: EmbeddedServer, own_log: redis.Redis) -> None:
    publisher = Publisher(own_server.url)
    publisher.publish(event(0))
    publisher.flush(timeout=LONG)
    own_log.config_set("maxmemory", 1)
    for number in range(5000):
        publisher.publish(event(number, unit_id="canary"))
    wait_for_refusal(publisher)
    with pytest.raises(PublishFailed, match="5,000 events are unconfirmed") as caught:
        publisher.close(timeout=0.05)
    assert "canary" not in str(caught.value)
    assert "XADD" not in str(caught.value)


def test_closing_in_an_outage_names_how_many_events_are_unconfirmed(
    own_server: EmbeddedServer, own_log: redis.Redis
) -> None:
    publisher = Publisher(own_server.url)
    publisher.publish(event(0))
    publisher.flush(timeout=LONG)
    own_server.kill()
    for number in range(1, 8):
        publisher.publish(event(number))
    with pytest.raises(PublishFailed, match=r"7 events are unconfirmed after 0\.2 s.*send them again"):
        publisher.close(timeout=0.2)
    assert (publisher.sent, publisher.failed, publisher.pending) == (1, 7, 0)


def test_closing_wakes_a_thread_that_waits_for_room(own_server: EmbeddedServer, own_log: redis.Redis) -> None:
    publisher, failures = Publisher(own_server.url, max_buffered_events=1), []
    publisher.publish(event(0))
    publisher.flush(timeout=LONG)
    own_server.kill()
    publisher.publish(event(1))

    def work() -> None:
        try:
            publisher.publish(event(2))
        except PublishFailed as failure:
            failures.append(str(failure))

    worker = threading.Thread(target=work)
    worker.start()
    with pytest.raises(PublishFailed):
        publisher.close(timeout=0.1)
    worker.join(LONG)
    assert "closed" in failures[0]


def test_a_forked_child_publishes_under_its_own_name(log: redis.Redis, server: EmbeddedServer) -> None:
    """The parent's buffered event must arrive once, the child's too, from different producers."""
    publisher = Publisher(server.url, linger_seconds=60)
    publisher.publish(event(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on: forking beside threads is what is tested
        child = os.fork()
    if child == 0:
        try:
            publisher.publish(event(2))
            publisher.close()
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    publisher.close()
    batches = distinct_batches(log)
    assert sorted(units(batches)) == ["user-1", "user-2"]
    assert len({batch.producer for batch in batches}) == 2


def test_what_is_pending_at_exit_is_delivered(log: redis.Redis, server: EmbeddedServer) -> None:
    code = (
        "import sys; from trimtab.client.publisher import Publisher\n"
        "Publisher(sys.argv[1], linger_seconds=60).publish(experiment_id='checkout', variant='a', unit_id='last',"
        " metrics={'converted': 1.0}, occurred_at=1763700000000)"
    )
    subprocess.run([sys.executable, "-c", code, server.url], check=True, timeout=LONG)
    assert units(distinct_batches(log)) == ["last"]


def test_an_idle_publisher_takes_a_new_producer_id_before_the_fold_forgets_the_old_one(
    log: redis.Redis, server: EmbeddedServer
) -> None:
    now = [1_763_700_000_000]
    with Publisher(server.url, clock=lambda: now[0]) as publisher:
        for idle_hours in (0, 11, 13):
            now[0] += idle_hours * 3_600_000
            publisher.publish(event(idle_hours))
            publisher.flush(timeout=LONG)
    first, second, third = distinct_batches(log)
    assert first.producer == second.producer != third.producer
    assert third.sequence == 1


def run(main: Callable[[], Any]) -> None:
    asyncio.run(main())


def test_async_events_arrive_in_order_in_few_batches(log: redis.Redis, server: EmbeddedServer) -> None:
    async def main() -> None:
        async with AsyncPublisher(server.url, max_buffered_events=700) as publisher:
            for number in range(5000):
                await publisher.publish(event(number))
            await publisher.flush(timeout=LONG)
            assert (publisher.sent, publisher.pending) == (5000, 0)

    run(main)
    batches = distinct_batches(log)
    assert units(batches) == published(range(5000))
    assert len(batches) < 500


def test_async_an_event_alone_leaves_after_the_linger_time(log: redis.Redis, server: EmbeddedServer) -> None:
    async def main() -> None:
        async with AsyncPublisher(server.url, linger_seconds=0.02) as publisher:
            await publisher.publish(event(1))
            deadline = time.monotonic() + LONG
            while publisher.pending and time.monotonic() < deadline:
                await asyncio.sleep(0.005)
            assert publisher.sent == 1

    run(main)


def test_async_killing_the_server_loses_and_doubles_nothing(own_server: EmbeddedServer, own_log: redis.Redis) -> None:
    async def main() -> int:
        numbers = count()
        async with AsyncPublisher(own_server.url, linger_seconds=0.001, max_batch_events=20) as publisher:
            for _ in range(2):
                enough = publisher.sent + 500
                while publisher.sent < enough:
                    await publisher.publish(event(next(numbers)), timeout=LONG)
                own_server.kill()
                retries = publisher.retries
                while publisher.retries == retries:
                    await publisher.publish(event(next(numbers)), timeout=LONG)
                    await asyncio.sleep(0)
                own_server.start()
            await publisher.flush(timeout=LONG)
            return publisher.sent

    total = asyncio.run(main())
    assert units(distinct_batches(own_log)) == published(range(total))


def test_async_refusals_hold_up_and_closing_names_what_is_unconfirmed(
    own_server: EmbeddedServer, own_log: redis.Redis
) -> None:
    async def main() -> None:
        publisher = AsyncPublisher(own_server.url, max_buffered_events=3)
        await publisher.publish(event(0))
        await publisher.flush(timeout=LONG)
        own_log.config_set("maxmemory", 1)
        for number in range(1, 4):
            await publisher.publish(event(number))
        with pytest.raises(BufferFull, match="3 unconfirmed"):
            await publisher.publish(event(4), timeout=0.05)
        with pytest.raises(PublishFailed, match="3 events are unconfirmed"):
            await publisher.flush(timeout=0.05)
        with pytest.raises(PublishFailed, match="3 events are unconfirmed"):
            await publisher.close(timeout=0.05)
        assert (publisher.sent, publisher.failed, publisher.pending) == (1, 3, 0)
        with pytest.raises(PublishFailed, match="closed"):
            await publisher.publish(event(5))

    run(main)


def test_async_without_a_log_or_a_server_the_first_event_says_what_to_do(server: EmbeddedServer) -> None:
    async def main() -> None:
        async with AsyncPublisher(server.url) as publisher:
            with pytest.raises(NotFound, match="create an experiment"):
                await publisher.publish(event(1))
        async with AsyncPublisher("redis://127.0.0.1:1/0") as publisher:
            with pytest.raises(Unavailable, match="start it"):
                await publisher.publish(event(1))

    run(main)


def test_an_event_that_cannot_be_written_fails_alone_and_closing_is_quiet(
    log: redis.Redis, server: EmbeddedServer
) -> None:
    with Publisher(server.url, linger_seconds=60) as publisher:
        spoiled = event(2, features={"plan": "pro"})
        for found in (event(1), spoiled, event(3)):
            publisher.publish(found)
        assert spoiled.features is not None
        spoiled.features["\ud800"] = 1
        publisher.flush(timeout=LONG)
        assert (publisher.sent, publisher.failed, publisher.pending) == (2, 1, 0)
    assert units(distinct_batches(log)) == ["user-1", "user-3"]


def broken_clock() -> int:
    raise RuntimeError("a clock that fails stands for any fault of our own")


def test_a_publisher_that_broke_says_so_on_closing_and_is_quiet_at_exit(
    log: redis.Redis, server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    publishers = [Publisher(server.url, clock=broken_clock) for _ in range(2)]
    for publisher in publishers:
        publisher.publish(event(1))
    with pytest.raises(PublishFailed, match=r"RuntimeError.*with 1 events unconfirmed"):
        publishers[0].close(timeout=LONG)
    assert (publishers[0].sent, publishers[0].failed, publishers[0].pending) == (0, 1, 0)
    publishers[1].at_exit()
    assert "stopped at an error of its own" in caplog.text


def test_at_exit_nothing_is_raised_whatever_goes_wrong(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = Publisher("redis://127.0.0.1:1/0")
    monkeypatch.setattr(publisher, "close", broken_clock)
    publisher.at_exit()
    assert "could not be closed" in caplog.text


def test_async_a_publisher_that_broke_says_so_on_closing_and_one_bad_event_fails_alone(
    log: redis.Redis, server: EmbeddedServer
) -> None:
    async def main() -> None:
        async with AsyncPublisher(server.url, linger_seconds=60) as publisher:
            spoiled = event(2, features={"plan": "pro"})
            for found in (event(1), spoiled, event(3)):
                await publisher.publish(found)
            assert spoiled.features is not None
            spoiled.features["\ud800"] = 1
            await publisher.flush(timeout=LONG)
            assert (publisher.sent, publisher.failed, publisher.pending) == (2, 1, 0)
        broken = AsyncPublisher(server.url, clock=broken_clock)
        await broken.publish(event(4))
        with pytest.raises(PublishFailed, match="RuntimeError"):
            await broken.close(timeout=LONG)
        assert (broken.sent, broken.failed) == (0, 1)

    run(main)
    assert units(distinct_batches(log)) == ["user-1", "user-3"]


def start_experiment(url: str) -> None:
    control = Control(url)
    metrics = [{"name": "converted", "kind": "binary", "primary": True}]
    control.create(
        {"id": "checkout", "variants": [{"id": "a"}, {"id": "b"}], "metrics": metrics, "unit": "event",
         "constraints": "explore_defaults"}
    )  # fmt: skip
    control.start("checkout")


def outcome(number: int) -> dict[str, Any]:
    return {**event(number).model_dump(), "occurred_at": system_clock()}


def publish_all(publisher: Publisher, numbers: range) -> None:
    for number in numbers:
        publisher.publish(outcome(number))
    publisher.flush(timeout=LONG)


def drain(url: str) -> DrainReport:
    client = connect(url)
    try:
        return Ingest(RedisPartition(client, 0)).drain(holder="test")
    finally:
        client.close()


def increment(server: EmbeddedServer) -> Path:
    """The file that the server appends its writes to."""
    (found,) = (server.directory / "appendonlydir").glob("*.incr.aof")
    return found


def lose_the_end(server: EmbeddedServer, since: int, *, of: float = 0.5) -> None:
    """A power loss: the file ends somewhere behind its first `since` bytes, most likely amid a command."""
    server.kill()
    path = increment(server)
    size = path.stat().st_size
    assert size > since
    os.truncate(path, since + int((size - since) * (1 - of)))
    server.start()


@pytest.mark.parametrize("of", [0.1, 0.5, 1.0])
def test_a_server_that_lost_its_last_second_gets_it_again(own_server: EmbeddedServer, of: float) -> None:
    """Confirmed events that vanished are sent again under their numbers, and what follows is in sequence."""
    start_experiment(own_server.url)
    with Publisher(own_server.url, linger_seconds=0.001, max_batch_events=20) as publisher:
        publish_all(publisher, range(300))
        since = increment(own_server).stat().st_size
        publish_all(publisher, range(300, 900))
        lose_the_end(own_server, since, of=of)
        publish_all(publisher, range(900, 1500))
        assert (publisher.sent, publisher.failed, publisher.pending) == (1500, 0, 0)
    report = drain(own_server.url)
    assert (report.folded, report.dead) == (1500, 0)


def test_a_server_restored_from_an_older_copy_gets_what_it_had_confirmed_since(
    own_server: EmbeddedServer, tmp_path: Path
) -> None:
    """Drained before and after: the fold's state goes back with the log."""
    start_experiment(own_server.url)
    directory = own_server.directory / "appendonlydir"
    with Publisher(own_server.url, linger_seconds=0.001, max_batch_events=20) as publisher:
        publish_all(publisher, range(300))
        drain(own_server.url)
        shutil.copytree(directory, tmp_path / "copy")
        publish_all(publisher, range(300, 600))
        drain(own_server.url)
        own_server.kill()
        shutil.rmtree(directory)
        shutil.copytree(tmp_path / "copy", directory)
        own_server.start()
        publish_all(publisher, range(600, 900))
    drain(own_server.url)
    assert folded_and_dead(own_server.url) == (900, 0)


def folded_and_dead(url: str) -> tuple[int, int]:
    """What the stored state counts, over all drains."""
    client = connect(url)
    try:
        counters = RedisPartition(client, 0).load().counters
        return counters["folded"], counters["dead"]
    finally:
        client.close()


def test_flushed_data_get_what_is_kept_again(own_server: EmbeddedServer, own_client: redis.Redis) -> None:
    """No connection fails and no process changes: the mark on the data tells."""
    start_experiment(own_server.url)
    with Publisher(own_server.url, linger_seconds=0.001, max_batch_events=20) as publisher:
        publish_all(publisher, range(500))
        own_client.flushall()
        start_experiment(own_server.url)
        publish_all(publisher, range(500, 1100))
    report = drain(own_server.url)
    assert (report.folded, report.dead) == (1100, 0)


def test_a_loss_older_than_the_window_costs_what_was_lost_and_nothing_that_follows(
    own_server: EmbeddedServer, own_client: redis.Redis
) -> None:
    ahead = [0]
    start_experiment(own_server.url)
    with Publisher(own_server.url, clock=lambda: system_clock() + ahead[0]) as publisher:
        publish_all(publisher, range(500))
        ahead[0] = RESEND_MILLISECONDS + 10_000
        publish_all(publisher, range(500, 501))
        own_client.flushall()
        start_experiment(own_server.url)
        publish_all(publisher, range(501, 502))  # sealed before the server is asked: still under the old name
        publish_all(publisher, range(502, 1100))
    report = drain(own_server.url)
    assert (report.folded, report.dead) == (600, 0)


def test_a_user_who_may_not_ask_who_answers_resends_after_a_failed_connection(own_server: EmbeddedServer) -> None:
    start_experiment(own_server.url)
    rights = own_server.directory / "users.acl"
    rights.write_text("user default on nopass ~* &* +@all\nuser shop on >secret ~* -@all +xadd +hget +multi +exec\n")
    own_server.stop()
    own_server.options["aclfile"] = str(rights)
    own_server.start()
    url = own_server.url.replace("//", "//shop:secret@")
    with Publisher(url, linger_seconds=0.001, max_batch_events=20) as publisher:
        publish_all(publisher, range(300))
        since = increment(own_server).stat().st_size
        publish_all(publisher, range(300, 600))
        own_server.kill()
        publisher.publish(outcome(600))
        wait_until(lambda: publisher.retries)
        lose_the_end(own_server, since)
        publish_all(publisher, range(601, 900))
        assert publisher.sent == 900
    report = drain(own_server.url)
    assert (report.folded, report.dead) == (900, 0)


def test_async_a_server_that_lost_its_last_second_gets_it_again(own_server: EmbeddedServer) -> None:
    start_experiment(own_server.url)

    async def main() -> None:
        async with AsyncPublisher(own_server.url, linger_seconds=0.001, max_batch_events=20) as publisher:

            async def publish_some(numbers: range) -> None:
                for number in numbers:
                    await publisher.publish(outcome(number))
                await publisher.flush(timeout=LONG)

            await publish_some(range(300))
            since = increment(own_server).stat().st_size
            await publish_some(range(300, 900))
            lose_the_end(own_server, since)
            await publish_some(range(900, 1500))
            assert (publisher.sent, publisher.failed, publisher.pending) == (1500, 0, 0)

    run(main)
    report = drain(own_server.url)
    assert (report.folded, report.dead) == (1500, 0)


def test_async_closing_ends_a_sender_whose_cancellation_was_swallowed(
    own_server: EmbeddedServer, own_log: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `asyncio.wait_for` does before Python 3.12 where what it waits for is done at that moment."""

    async def main() -> None:
        publisher = AsyncPublisher(own_server.url)
        await publisher.publish(event(0))
        await publisher.flush(timeout=LONG)
        asking, ask = asyncio.Event(), publisher._ask

        async def swallow_once(*arguments: Any) -> Any:
            if not asking.is_set():
                asking.set()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
            return await ask(*arguments)

        monkeypatch.setattr(publisher, "_ask", swallow_once)
        await publisher.publish(event(1))
        await asking.wait()
        with pytest.raises(PublishFailed, match="1 events are unconfirmed"):
            await asyncio.wait_for(publisher.close(timeout=0.01), LONG)
        assert (publisher.sent, publisher.failed, publisher.pending) == (1, 1, 0)

    run(main)
