"""After a log gap: fold what is left, and write down that a person accepts the loss of the rest."""

from __future__ import annotations

from trimtab.errors import LogGap
from trimtab.fold.commit import LOG_FULL
from trimtab.ports import PartitionStore, entry_order
from trimtab.schema.control import LossAccepted
from trimtab.schema.event import CONTROL_FIELD
from trimtab_worker.services.ingest import DrainReport, Ingest, older_than_its_snapshot

ATTEMPTS = 100  # each folds what producers wrote during the one before


def accept_loss(store: PartitionStore, reason: str) -> int:
    """Let the partition go on; returns how many entries the log lost (negative: the log was replaced by a shorter one).

    What is left of the log is folded without looking for gaps, from the last snapshot on where that is newer than the
    state. A log whose ids are used up is begun anew, and in one that took the place of another the fold goes on where
    its clock stands. Then a control entry says how many entries are missing, and a snapshot is taken, since the log can
    no longer be folded from its start.
    """
    fold, report = Ingest(store, watch_gaps=False), DrainReport()
    for _ in range(ATTEMPTS):
        if older_than_its_snapshot(store):
            store.copy_from(store.space("snapshot"))
            fold = Ingest(store, watch_gaps=False)
        while fold.step(report, None):
            pass
        state, ends = store.load(), store.ends()
        if entry_order(ends.last_id) < entry_order(state.cursor.id):
            store.renew_log(state.cursor, behind=min(ends.last_id, f"{state.clock}-{2**64 - 1}", key=entry_order))
            fold = Ingest(store, watch_gaps=False)
        elif state.cursor.id == ends.last_id or ends.length == 0:
            break
    else:
        raise LogGap(f"Partition {store.partition} is written faster than it can be folded; stop its producers first.")
    if ends.last_id == LOG_FULL:
        if not store.renew_log(state.cursor):
            raise LogGap(f"Partition {store.partition} moved on meanwhile; try again.")
        state, ends = store.load(), store.ends()
        fold = Ingest(store, watch_gaps=False)
    lost = ends.entries_added - state.counters["entries"] - state.counters["lost"]
    entry = LossAccepted(at=store.now(), lost=lost, reason=reason)
    store.append(CONTROL_FIELD, entry.model_dump_json().encode())
    while fold.step(report, None):
        pass
    for _ in range(ATTEMPTS):
        if store.space("snapshot").copy_from(store):
            return lost
    raise LogGap(f"Partition {store.partition} goes on, but without a snapshot: it is folded faster than it is copied.")
