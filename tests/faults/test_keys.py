"""RC-15, RC-17: what marks cost, and that every script names its keys, all of one slot."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from faults.reporting import Check
from logs import Log, event
from trimtab.adapters.redis.connection import connect
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.adapters.redis.publication import RedisPublications
from trimtab.fold import Commit
from trimtab.fold.dedupe import Scope, all_buckets, hour_scope, marks_of
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.accept_loss import accept_loss
from trimtab_worker.services.maintain import Maintain
from trimtab_worker.services.reallocate import Reallocate
from trimtab_worker.services.rebuild import rebuild

IDS = 1_000_000
AT_ONCE = 50_000
SCRIPTS = sorted(path.name for path in (files("trimtab.adapters.redis") / "lua").iterdir() if path.name.endswith("lua"))
_CALLS = re.compile(r"redis\.p?call\(\s*'([A-Z]+)'\s*(?:,\s*([^,)]+))?")
_WITHOUT_A_KEY = {"INFO", "TIME", "PUBLISH"}


@pytest.mark.timeout(180)
def test_a_million_marks_cost_at_most_twelve_bytes_each(
    own_server: EmbeddedServer, own_client: redis.Redis, check: Check
) -> None:
    with connect(own_server.url) as client:
        store = RedisPartition(client, 0)
        before, name, count = own_client.info("memory")["used_memory"], hour_scope("x", 1), 0
        store.load()
        for first in range(0, IDS, AT_ONCE):
            marks = marks_of(f"event-{number}" for number in range(first, first + AT_ONCE))
            place = Scope(name, count, list(range(AT_ONCE)), marks).place(marks)  # type: ignore[arg-type]
            count += AT_ONCE
            commit = Commit(store.load().cursor, {"id": f"{first + 1}-0"}, marks=place, scopes={name: str(count)})
            assert store.commit(commit)
        own_client.memory_purge()
        used = own_client.info("memory")["used_memory"] - before
        buckets = [store.keys.marks(bucket) for bucket in all_buckets(name, count)]
        kinds = [own_client.object("encoding", bucket) for bucket in buckets]
        share = kinds.count(b"intset") / len(kinds)
    check("RC-15", "≤ 12 bytes an id, intset ≥ 99 %", f"{used / IDS:.1f} bytes an id, intset {share:.1%}",
          used / IDS <= 12 and share >= 0.99)  # fmt: skip


@pytest.fixture
def scripts_seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Every script that runs while the test does: its text, and its keys."""
    seen: list[tuple[str, list[str]]] = []
    run = redis.commands.core.Script.__call__

    def watched(script: Any, keys: Any = None, args: Any = None, client: Any = None) -> Any:
        seen.append((script.script, list(keys or ())))
        return run(script, keys, args, client)

    monkeypatch.setattr(redis.commands.core.Script, "__call__", watched)
    return seen


def test_every_script_that_runs_keeps_to_one_slot(
    server: EmbeddedServer, redis_client: redis.Redis, scripts_seen: list[tuple[str, list[str]]], check: Check
) -> None:
    with connect(server.url) as client:
        publications = RedisPublications(client)
        publications.create_log(1)
        log = Log(RedisPartition(client, 0), publications)
        for number in range(50):
            log.row(event(variant="b", event_id=f"e{number}", occurred_at=log.store.now()))
        log.drain()
        Maintain(log.store, 100).run()
        rebuild(log.store, verify=False)
        publications.claim_tick("checkout", 1, 1)
        Reallocate(publications, lambda _: log.store).recompute("checkout")
        log.store.quarantine("7-7", log.store.load().cursor)
        log.store.renew_log(log.store.load().cursor)
        accept_loss(log.store, "a test")
    ran = {text.partition("\n")[2].partition("\n")[0] for text, _ in scripts_seen}
    slots = [len({key_slot(str(key).encode()) for key in keys}) for _, keys in scripts_seen]
    observed = f"{len(ran)} scripts, {len(slots)} runs, at most {max(slots)} slot"
    check("RC-17", "one slot each", observed, set(slots) == {1})


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_calls_only_keys_that_it_declares(name: str) -> None:
    """A cluster, and an access rule, know a script's keys by their declaration only."""
    source = (files("trimtab.adapters.redis") / "lua" / name).read_text()
    for command, key in _CALLS.findall(source):
        if command not in _WITHOUT_A_KEY:
            assert key.strip().startswith(("KEYS[", "key")), f"{name}: {command} {key}"
    assert re.search(r"^-- KEYS ", source, re.MULTILINE), name
