"""Every metric: its name, kind, labels, and what it says, in which unit.

Labels hold closed sets, partitions, experiments and variants; of one metric at most `MAX_SERIES` series are told, and
how many more there are.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal, NamedTuple

MAX_SERIES = 10_000
"""What a Prometheus server takes from one target without complaint; a thousand experiments of ten variants."""


class Metric(NamedTuple):
    """One metric; counters end in `_total`."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...] = ()


_P, _E = ("partition",), ("experiment",)


class M(Enum):
    """All metrics, in the order in which they are told."""

    UP = Metric("trimtab_up", "gauge", "1 if the data server answers, else 0, and nothing else is told.")
    SERIES_DROPPED = Metric(
        "trimtab_series_dropped", "gauge", "Series not told, because their metric has too many.", ("metric",)
    )
    # ── the data server ──
    MEMORY = Metric("trimtab_server_memory_bytes", "gauge", "Memory that the data server uses.")
    MEMORY_MAX = Metric("trimtab_server_memory_max_bytes", "gauge", "Its limit; 0 for none.")
    DURABLE = Metric("trimtab_server_append_only", "gauge", "1 if the data server writes an append-only file, else 0.")
    # ── who is alive ──
    ALIVE = Metric(
        "trimtab_alive", "gauge", "1 if somebody in this role showed a sign of life lately, else 0.", ("role",)
    )
    HEARTBEAT_AGE = Metric(
        "trimtab_heartbeat_age_seconds", "gauge",
        "Since the last sign of life of this role, while it is alive.", ("role",),
    )
    DRAIN_AGE = Metric("trimtab_drain_age_seconds", "gauge", "Since a drain of the partition last reported.", _P)
    # ── the log ──
    LOG_ENTRIES = Metric("trimtab_log_entries_total", "counter", "Entries ever added to the log.", _P)
    LOG_KEPT = Metric("trimtab_log_kept_entries", "gauge", "Entries that the log still has.", _P)
    LOG_REMOVED = Metric("trimtab_log_removed_entries_total", "counter", "Entries trimmed or deleted.", _P)
    LOG_LOST = Metric("trimtab_log_lost_entries", "gauge", "Entries that vanished unread and were given up.", _P)
    PROBLEM = Metric(
        "trimtab_partition_problem", "gauge", "1 for what stops the partition's fold.", ("partition", "code")
    )
    LAG_ENTRIES = Metric("trimtab_lag_entries", "gauge", "Entries that the fold has not read.", _P)
    LAG_SECONDS = Metric("trimtab_lag_seconds", "gauge", "Age of the oldest of them; 0 without.", _P)
    # ── the fold ──
    FOLDED = Metric("trimtab_events_folded_total", "counter", "Events counted.", _P)
    DUPLICATES = Metric("trimtab_events_duplicate_total", "counter", "Events recognised as counted before.", _P)
    SKIPPED = Metric(
        "trimtab_batches_skipped_total", "counter", "Batches that a publisher's numbers passed over: lost, or late.", _P
    )
    LATE = Metric("trimtab_batches_late_total", "counter", "Those of them that came after all.", _P)
    CAPPED = Metric(
        "trimtab_events_capped_total", "counter", "Events beyond what one unit may add in an hour, not counted.", _P
    )
    IMPLAUSIBLE = Metric(
        "trimtab_implausible_ids_total", "counter",
        "Entry ids too far ahead to be believed: forged, or a wrong clock.", _P,
    )
    STRAY = Metric(
        "trimtab_dead_stray_total", "counter", "Refused events of no known experiment.", ("partition", "code")
    )
    DEAD_KEPT = Metric("trimtab_dead_kept", "gauge", "Dead letters kept.", _P)
    DEAD_BYTES = Metric("trimtab_dead_kept_bytes", "gauge", "Their size.", _P)
    DEAD_DROPPED = Metric("trimtab_dead_dropped_total", "counter", "Dead letters that made room for newer ones.", _P)
    # ── each experiment ──
    DEAD = Metric("trimtab_dead_total", "counter", "Refused events, by reason.", ("experiment", "code"))
    OUTCOMES = Metric("trimtab_outcomes_total", "counter", "Events counted.", _E)
    REPEATED = Metric("trimtab_outcomes_duplicate_total", "counter", "Events recognised as counted before.", _E)
    BEYOND_CAP = Metric(
        "trimtab_outcomes_capped_total", "counter", "Events beyond what one unit may add in an hour, not counted.", _E
    )
    CONFLICTS = Metric(
        "trimtab_outcomes_conflict_total", "counter", "Repetitions in one batch that said something else.", _E
    )
    UNSTAMPED = Metric(
        "trimtab_outcomes_unstamped_total", "counter", "Events that named neither epoch nor exposure.", _E
    )
    STATUS = Metric(
        "trimtab_experiment_status", "gauge", "1 for the status it has, or `unreadable`.", ("experiment", "status")
    )
    REVISION = Metric("trimtab_revision", "gauge", "Revision published.", _E)
    EPOCH = Metric("trimtab_epoch", "gauge", "Epoch in force.", _E)
    WEIGHT = Metric("trimtab_weight", "gauge", "Share of traffic, 0 to 1.", ("experiment", "variant"))
    HALTED = Metric(
        "trimtab_halted", "gauge", "1 for a variant of a live experiment that was taken out, for harm or by a person.",
        ("experiment", "variant"),
    )
    ALLOCATION_AGE = Metric("trimtab_allocation_age_seconds", "gauge", "Since the allocation was computed.", _E)
    OVERDUE = Metric(
        "trimtab_allocation_overdue_seconds", "gauge",
        "Since the allocation of a live experiment ceased to be valid.", _E,
    )
    HOLD = Metric(
        "trimtab_hold", "gauge", "1 for each reason why the last decision kept the weights.", ("experiment", "code")
    )
    BOUND = Metric(
        "trimtab_bound", "gauge", "1 for each guardrail that bound the weights of the last decision.",
        ("experiment", "code"),
    )
    LEDGER = Metric("trimtab_ledger_entries_total", "counter", "Decisions and acts in the ledger.", _E)
