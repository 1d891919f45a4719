"""The checks of the fault suite, by id, and what is expected of each.

A row is checked where a test, here or anywhere below `tests`, calls the fixture `check` with its id and what it has
observed; `PENDING` says why a row is not. `test_catalogue.py` fails where a row is neither.
"""

from __future__ import annotations

MUST = {
    # ── exactly once, and the log ──
    "EO-01": "worker kill -9, 5 % producer duplicates: lost 0, double 0",
    "EO-02": "Celery parent and children killed: lost 0, double 0",
    "EO-03": "prefork child killed in mid-commit ×10: 0/0, worker alive",
    "EO-04": "data server kill -9 ×6 under load: acknowledged lost 0, double 0",
    "EO-05": "append-only file cut at 100 bytes: state == fold(log ≤ cur) in 100",
    "EO-06": "tail lost, window resent: lost 0, double 0",
    "EO-07": "1 % of replies lost on both sides: exactly 60,000",
    "EO-08": "a library that repeats by itself: the log may hold more, counted N",
    "EO-09": "zombie between read and commit: its commit is refused, double 0",
    "EO-10": "four workers on one partition without a lease: exact",
    "EO-11": "a message delivered again: effect once",
    "EO-12": "duplicates in a batch, across batches, hours, 47 h: once",
    "EO-13": "duplicate after 49 h: too_late, counted 0",
    "EO-15": "a field of the wrong type: nothing applied, exact after repair",
    "EO-16": "rebuild from the start and from a snapshot: bit-identical",
    "EO-17": "20 orders of the same events: identical state",
    "EO-18": "trim while the worker is stopped: unread lost 0",
    "EO-19": "foreign trim: found within one drain, weights held",
    "EO-21": "simulation, 2,000 seeds: 0 violations; mutants caught",
    # ── Redis and Celery ──
    "RC-01": "broker kill -9 ×6: consumption resumes ≤ 10 s",
    "RC-02": "broker stopped 15 s: resumes ≤ 5 s; mutex TTL ≤ 10 s",
    "RC-03": "half-open broker: publish fails ≤ 10 s, worker back ≤ 30 s",
    "RC-05": "memory full: refused, drain + trim + publish work, recovers ≤ 10 s",
    "RC-06": "policy drift: boot check refuses or warns",
    "RC-07": "two beats: gapless, one publication a slot",
    "RC-08": "no beat: the drain recomputes, alarm ≤ 3 periods",
    "RC-09": "backlog of 20 ticks: ≤ 2 recomputes",
    "RC-10": "settings: as measured; no ETA, no canvas",
    "RC-12": "SIGTERM under load: exit ≤ 20 s, 0/0",
    "RC-15": "dedupe marks: ≤ 12 bytes an id",
    "RC-17": "every script's keys are declared and in one slot",
    # ── decisions ──
    "DP-01": "racing recomputes: revisions gapless and distinct",
    "DP-02": "slow recompute: refused",
    "DP-03": "100,000 reads beside a writer: 0 torn, 0 backward",
    "DP-04": "halt while four publish: the halt stands",
    "DP-05": "published parts of any state: sum, floors, ids, digest",
    "DP-06": "silent drain: weights unchanged, reason stale",
    "DP-07": "a jump of the posterior: no part moves more than max_step",
    "DP-08": "floors beyond 1: an error that names the largest that fits",
    "DP-09": "one variant: 1,000,000",
    "DP-10": "variant removed: 0 in the next revision, history kept",
    "DP-11": "variant added: its floor first, no jump beyond the step",
    "DP-12": "same inputs: identical bytes",
    # ── flag clients ──
    "FC-01": "server killed: last known weights in 100 % of calls",
    "FC-02": "no server at the start: default, or the cache",
    "FC-03": "frozen publisher: STALE ≤ 1 poll after its time and grace",
    "FC-04": "damaged documents: ignored, counted, previous kept",
    "FC-05": "older revision: ignored",
    "FC-06": "buckets: uniform; a change moves its total variation",
    # ── input ──
    "IN-01": "14 malformed entries among 10,000: 10,000 counted, 14 letters",
    "IN-02": "an entry that kills its reader: isolated in ≤ 12 deliveries",
    "IN-03": "dead letters beyond 5 %: that experiment held, others not",
    "IN-04": "a day ahead, three days behind: future, too_late",
    "IN-05": "schema version v+1, v−1, v−2: as documented",
    "IN-06": "outcome 30 epochs late: the same cells as in order",
    "IN-07": "outcome without exposure: parked, then dropped and counted",
    "IN-08": "−5, 0, cap + 1: refused, kept, clipped and counted",
    # ── security ──
    "SE-01": "pickled task: no code run, worker alive",
    "SE-02": "unknown task, bad arguments: no state change",
    "SE-03": "roles × commands: exact allow table",
    "SE-04": "forged event: counted 0",
    "SE-05": "one unit, 10,000 outcomes: adds at most its cap, alert",
    "SE-07": "ids with keys, globs, newlines in them: refused, keys unchanged",
    "SE-08": "oversize and deep nesting: refused < 5 ms, memory stable",
    "SE-09": "injections into texts for a language model: no change",
    "SE-10": "hostile output of a language model: escaped, clamped",
    "SE-11": "canary secrets: 0 occurrences in logs",
    "SE-12": "console without session, role or token: refused",
    "SE-13": "kill and undo by a viewer: refused and recorded",
    # ── watching ──
    "OB-01": "every hold, halt and letter has a metric and a code",
    "OB-02": "doctor: exit code 1 on each injected fault",
}
"""The rows that must hold, with what is expected."""

SHOULD = {
    "EO-14": "same event_id, other payload: first wins, conflict counted",
    "EO-20": "largest possible entry id: named, recovered by one command",
    "DP-13": "older dataset restored: new incarnation, weights held",
    "DP-14": "every decision replays from the ledger",
    "FC-07": "client clock ±10 min: staleness by the server's, no flapping",
    "IN-09": "letters sent back after the fix: counts exact, second time 0",
    "SE-06": "a fifth of traffic from 3 units: weights move ≤ 20,000 parts",
    "RC-11": "20,000 drains: parent grows ≤ 20 MiB, child within its limit",
    "RC-13": "flood: recompute latency p99 ≤ 2 periods, memory within budget",
    "RC-14": "lag in entries and seconds: the true one",
    "OB-03": "append-only file on another server: counts exact, ≤ 60 s for 1 M events",
    "RC-04": "200 ms latency: no double effect",
    "RC-16": "end to end: ≥ 10,000 events a second",
    "SE-14": "dependencies as pinned, no registry's address (hashes, audit: need the network)",
}
"""Rows that serve and are checked too."""

PENDING: dict[str, str] = {
    "IN-07": "the join of exposures and outcomes does not exist yet",
    "SE-09": "no language model is called yet",
    "SE-10": "no language model is called yet",
    "SE-12": "there is no console yet",
    "SE-13": "there is no console yet",
}
"""Rows that cannot be checked yet, each with the reason."""
