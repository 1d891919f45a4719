"""Rebuild: fold the log again, beside the live state, and compare or replace it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256

from trimtab.errors import CorruptState, LogGap
from trimtab.fold.commit import LOG_START, Cursor
from trimtab.ports import PartitionStore, entry_order
from trimtab_worker.services.ingest import DrainReport, Ingest

SWAPS = 50  # the live fold may move on between catching up and swapping; each try leaves less to catch up with

UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What a rebuild found: digests of both states at the same cursor, and whether the live one was replaced."""

    partition: int
    cursor: str
    from_snapshot: str
    entries: int
    state_digest: str
    replay_digest: str
    replaced: bool

    @property
    def identical(self) -> bool:
        return self.state_digest == self.replay_digest


def rebuild(store: PartitionStore, *, verify: bool) -> RebuildReport:
    """Fold the partition's log from its start (or its last snapshot) up to where the live state stands.

    With `verify` the live state is only compared; without, it is replaced by the rebuilt one.

    Raises:
        LogGap: the log was trimmed and no snapshot reaches back to the trim.
    """
    work = store.scratch()
    try:
        return _rebuild(store, work, verify=verify)
    finally:
        work.clear()


def digest(store: PartitionStore) -> str:
    """SHA-256, in hex, of all of a state."""
    return sha256(json.dumps(store.dump(), sort_keys=True).encode()).hexdigest()


def _digest_of_anything(store: PartitionStore) -> str:
    """`digest`, or a word where the state cannot even be read: that is what a rebuild is there for."""
    try:
        return digest(store)
    except CorruptState:
        return UNREADABLE


def _rebuild(store: PartitionStore, work: PartitionStore, *, verify: bool) -> RebuildReport:
    start = _start_from_snapshot(store, work)
    report = DrainReport()
    for _ in range(SWAPS):
        live = store.stands()
        _fold_up_to(work, _place_of(live, store), report)
        state_digest, replay_digest = _digest_of_anything(store), digest(work)
        if store.stands() != live:
            continue  # the live fold moved on while we looked; catch up with it
        replaced = not verify and store.copy_from(work, over=live)
        if verify or replaced:
            return RebuildReport(
                partition=store.partition,
                cursor=work.stands().id,
                from_snapshot=start,
                entries=report.entries,
                state_digest=state_digest,
                replay_digest=replay_digest,
                replaced=replaced,
            )
    raise LogGap(
        f"Partition {store.partition} is written faster than it can be compared; stop its ingest worker and try again."
    )


def _start_from_snapshot(store: PartitionStore, work: PartitionStore) -> str:
    """Put the newest snapshot into `work`, if there is one; returns the cursor to fold from."""
    snapshot = store.space("snapshot")
    if _digest_of_anything(snapshot) != UNREADABLE and snapshot.stands().id != LOG_START:
        while not work.copy_from(snapshot):
            pass  # a trim has just replaced it, which it does once in many drains
        return work.load().cursor.id
    if removed := store.ends().removed:
        raise LogGap(
            f"{removed} entries of partition {store.partition} were trimmed from its log and there is no snapshot that "
            "can be read: what they said cannot be folded again."
        )
    return LOG_START


def _place_of(live: Cursor, store: PartitionStore) -> str:
    """Where to fold up to: where the live state stands, or the log's end where it does not say."""
    try:
        entry_order(live.id)
    except ValueError:
        return store.ends().last_id
    return live.id


def _fold_up_to(work: PartitionStore, target: str, report: DrainReport) -> None:
    """Fold into `work` until its cursor is `target`, and not an entry further."""
    fold = Ingest(work, stop_at=target)
    while fold.step(report, None):
        pass
    reached = work.load().cursor.id
    if entry_order(reached) < entry_order(target):
        raise LogGap(
            f"The log of partition {work.partition} ends at {reached}, before {target}, where the live state stands."
        )
