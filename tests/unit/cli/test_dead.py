"""`trimtab dead`: what a person sees, and what goes back."""

from __future__ import annotations

import json
from collections.abc import Callable

import redis

from logs import Log, event
from trimtab.adapters.redis.connection import connect
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.adapters.redis.publication import RedisPublications
from trimtab_worker.embedded import EmbeddedServer

Cli = Callable[..., tuple[int, str, str]]


def running(server: EmbeddedServer) -> Log:
    client = connect(server.url)
    RedisPublications(client).create_log(1)
    log = Log(RedisPartition(client, 0), RedisPublications(client))
    now = log.store.now()
    log.row(event(occurred_at=now, variant="c"))
    log.row(b"{nope")
    log.drain()
    return log


def test_letters_are_listed_shown_and_sent_back(cli: Cli, server: EmbeddedServer, redis_client: redis.Redis) -> None:
    log = running(server)
    code, out, _ = cli("dead", "list")
    assert code == 0
    assert "unknown_variant" in out
    assert "Partition 0 keeps 2 letters" in out
    (listed,) = json.loads(cli("dead", "list", "--experiment", "checkout", "--json")[1])
    assert (listed["code"], listed["n"]) == ("unknown_variant", 1)
    code, out, _ = cli("dead", "show", listed["letter"])
    assert code == 0
    assert '"variant": "c"' in out
    log.control.add_variant("checkout", "c")
    code, out, _ = cli("dead", "redrive", listed["letter"])
    assert (code, out) == (0, "1 letters with 1 events went back to the log.\n")
    code, out, _ = cli("dead", "redrive", listed["letter"])
    assert (code, out) == (0, "0 letters with 0 events went back to the log; 1 were no longer there.\n")
    log.drain()
    assert log.cell("c").n == 1
    redis_client.xadd("trimtab:{p0}:events", {"surprise": "1"})
    log.drain()
    code, out, _ = cli("dead", "redrive", "--all", "--json")
    assert code == 1
    assert json.loads(out) == {"letters": 1, "events": 1, "gone": 0, "stayed": {"there is no event in them": 1}}


def test_what_names_no_letter_is_wrong_usage(cli: Cli, server: EmbeddedServer) -> None:
    running(server)
    assert cli("dead", "redrive")[0] == 2
    for name in ("1", "0/", "0/1", "0/a-b", "x/1-1"):
        code, _, err = cli("dead", "show", name)
        assert code == 2
        assert "PARTITION/ID" in err
    assert cli("dead", "show", "0/1-1")[0] == 1
    assert cli("dead", "list", "--partition", "7")[0] == 1
