"""DP-02, DP-14: a decision from what is no longer so is refused; each that was published can be made again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from faults.deciding import outcomes, published
from faults.reporting import Check
from logs import Log
from trimtab.adapters.redis.connection import connect
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.adapters.redis.publication import RedisPublications
from trimtab.engine import decide
from trimtab.errors import Conflict
from trimtab.ports import Publication
from trimtab.schema.allocation import Allocation
from trimtab.schema.decision import Decision, Outcome
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.reallocate import Reallocate


@pytest.fixture
def log(eager_log: Log) -> Log:
    return eager_log


class Interrupted(RedisPublications):
    """Something happens between the look at what is published and the publication, however long that takes."""

    meanwhile: Callable[[], object]

    def publish(self, publication: Publication) -> None:
        self.meanwhile()
        super().publish(publication)


def test_a_slow_recompute_loses_to_whatever_was_published_meanwhile(
    log: Log, server: EmbeddedServer, check: Check
) -> None:
    """Another decision, a person's order, a decision from newer outcomes."""
    outcomes(log)
    fast = Reallocate(log.publications, lambda _: log.store)
    meanwhile: dict[str, Callable[[], object]] = {
        "decision": lambda: fast.recompute("checkout"),
        "order": lambda: log.control.halt("checkout", "b", reason="harm"),
        "newer outcomes": lambda: (outcomes(log), fast.recompute("checkout")),
    }
    refused, stands = [], []
    with connect(server.url) as client:
        publications = Interrupted(client)
        slow = Reallocate(publications, lambda _: RedisPartition(client, 0))
        for what, act in meanwhile.items():
            seen: list[Allocation] = []
            publications.meanwhile = lambda act=act, seen=seen: (act(), seen.append(published(log)))  # type: ignore[misc]
            try:
                slow.recompute("checkout")
            except Conflict:
                refused.append(what)
            stands += [what] if published(log) == seen[0] else []
    names = ", ".join(meanwhile)
    check("DP-02", f"refused after {names}; each of these stands",
          f"refused after {', '.join(refused)}; each of these stands",
          list(meanwhile) == refused == stands)  # fmt: skip


def test_every_decision_in_the_ledger_replays_to_the_same_parts(log: Log, check: Check) -> None:
    """From its entry alone: what was known, what it wanted, what bound it, what came out."""
    reallocate = Reallocate(log.publications, lambda _: log.store)
    log.drain()
    acts: dict[int, Callable[[], object]] = {
        4: lambda: log.control.hold("checkout", reason="a look"),
        6: lambda: log.control.resume("checkout"),
        8: lambda: log.control.add_variant("checkout", "c"),
        16: lambda: log.control.halt("checkout", "b", reason="harm"),
        20: lambda: log.control.retire_variant("checkout", "c"),
    }
    for turn in range(24):
        acts.get(turn, lambda: None)()
        outcomes(log) if turn else None
        reallocate.recompute("checkout")
    entries = [entry for entry in log.publications.ledger("checkout", 1000) if isinstance(entry, Decision)]
    same, kinds = 0, Counter(entry.outcome.value for entry in entries)
    for entry in entries:
        again = decide(entry.inputs)
        same += {name: again.parts.get(name, 0) for name in entry.parts} == entry.parts
        assert entry.outcome is not Outcome.MOVE or (entry.data_until and entry.posterior and entry.verdicts)
        assert entry.outcome is Outcome.MOVE or entry.reasons or entry.inputs.halted
    assert kinds.keys() >= {"move", "hold"}
    assert min(kinds.values()) > 1
    observed = f"{same} of {len(entries)} to the same parts ({', '.join(f'{n} {kind}' for kind, n in kinds.items())})"
    check("DP-14", f"{len(entries)} of {len(entries)} to the same parts", observed, same == len(entries))
