"""The end of the fold: duplicates out, sums in, everything that changed in one `Commit`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

from trimtab.fold.accept import Accepted
from trimtab.fold.aggregate import exact_cells
from trimtab.fold.commit import Commit, IdArray
from trimtab.fold.dedupe import Integers, Mask, Scope, all_buckets, expires_at
from trimtab.fold.findings import Findings
from trimtab.fold.questions import Questions
from trimtab.fold.state import (
    Cell,
    ExperimentState,
    PartitionState,
    TrialKey,
    cell_field,
    cell_value,
    counter_field,
    stamped_field,
    trial_field,
)
from trimtab.fold.survey import HORIZON


def settle(found: Findings, questions: Questions, known: Mapping[str, Mask]) -> Commit:
    """Count what is new, and gather all that changed; `found.state` is then the state after the commit.

    `known` are the answers to the questions: for each of their scopes, which of its unique marks are set already.
    """
    state = found.state
    commit = Commit(expected=found.start.cursor, partition={}, dead=found.letters)
    for name, tables in found.accepted.items():
        owner = state.experiments[name]
        assert owner is not None, "the survey accepts events of defined experiments only"
        n = sum(table.n for table in tables)
        fresh = _fresh_rows(name, n, questions, known, state, commit)
        within = _rows_within_caps(name, n, fresh, questions, state, commit)
        owner.counters["conflicts"] += questions.conflicts[name]
        _count(owner, state, tables, fresh, within, commit.experiments.setdefault(name, {}))
    _write_heads(found, commit)
    _forget(found, commit)
    commit.producers = {name: str(state.producers[name]) for name in found.numbered if name in state.producers}
    commit.partition = state.cur_fields()
    return commit


def _fresh_rows(
    name: str, n: int, questions: Questions, known: Mapping[str, Mask], state: PartitionState, commit: Commit
) -> Mask | None:
    """The rows that were not counted before, None for all; their marks go into the commit."""
    fresh: Mask | None = None
    if name in questions.events:
        fresh = np.ones(n, dtype=np.bool_)
        for scope in questions.events[name]:
            rows, marks = scope.first_seen(known[scope.name])
            fresh[scope.rows] = False
            fresh[rows] = True
            _mark(scope, marks, state, commit)
    if name in questions.units:
        scope = questions.units[name]
        rows, marks = scope.first_seen(known[scope.name], among=fresh)
        fresh = np.zeros(n, dtype=np.bool_)
        fresh[rows] = True
        _mark(scope, marks, state, commit)
    return fresh


def _rows_within_caps(
    name: str, n: int, fresh: Mask | None, questions: Questions, state: PartitionState, commit: Commit
) -> Mask | None:
    """Of the fresh rows those that count, None for all; the slots that they take go into the commit."""
    if name not in questions.slots:
        return fresh
    within = np.ones(n, dtype=np.bool_) if fresh is None else fresh.copy()
    for slots in questions.slots[name]:
        rows, marks = slots.admit(fresh)
        within[slots.asked.rows] = False
        within[rows] = True
        _mark(slots.asked, marks, state, commit)
    return within


def _mark(scope: Scope, marks: IdArray, state: PartitionState, commit: Commit) -> None:
    if len(marks):
        commit.marks.update(scope.place(marks))
        commit.new_marks[scope.name] = marks
        state.scopes[scope.name] = scope.count + len(marks)
        commit.scopes[scope.name] = str(state.scopes[scope.name])


def _count(
    owner: ExperimentState,
    state: PartitionState,
    tables: list[Accepted],
    fresh: Mask | None,
    within: Mask | None,
    changed: dict[str, str],
) -> None:
    """Add the rows of each table that are fresh and within the cap to the experiment's cells, trials and counters."""
    before = owner.counters.copy()
    start = 0
    for table in tables:
        place = slice(start, start + table.n)
        start += table.n
        rows = None if within is None else within[place]
        counted = table.n if rows is None else int(rows.sum())
        first_seen = table.n if fresh is None else int(fresh[place].sum())
        for counters in (owner.counters, state.counters):
            counters["folded"] += counted
            counters["duplicates"] += table.n - first_seen
            counters["capped"] += first_seen - counted
        if counted:
            _add_trials(owner, table, rows, changed)
            _add_values(owner, table, rows, changed)
            unstamped = counted if table.unstamped is True else _how_many(table.unstamped, rows)
            owner.counters["unstamped"] += unstamped
    changed.update({counter_field(k): str(n) for k, n in owner.counters.items() if n != before[k]})


def _add_trials(owner: ExperimentState, table: Accepted, rows: Mask | None, changed: dict[str, str]) -> None:
    _add_counts(owner.trials, table, rows, trial_field, changed)
    if table.imported or table.unstamped is True:
        return  # their split is not one that our weights made
    if table.unstamped is not False:
        rows = ~table.unstamped if rows is None else rows & ~table.unstamped
    _add_counts(owner.stamped, table, rows, stamped_field, changed)


def _add_counts(
    counts: dict[TrialKey, int],
    table: Accepted,
    rows: Mask | None,
    name: Callable[[int, str], str],
    changed: dict[str, str],
) -> None:
    added = np.bincount(_rows_of(table.cell, rows), minlength=len(table.cells)).tolist()
    for key, n in zip(table.cells, added, strict=True):
        if n:
            counts[key] = counts.get(key, 0) + n
            changed[name(*key)] = str(counts[key])


def _add_values(owner: ExperimentState, table: Accepted, rows: Mask | None, changed: dict[str, str]) -> None:
    for metric, values in table.values.items():
        given = table.present[metric]
        chosen = given if rows is None else rows if given is None else rows & given
        cell, column = _rows_of(table.cell, chosen), _rows_of(values, chosen)
        if metric in table.clipped:
            owner.counters[f"clipped:{metric}"] += _how_many(table.clipped[metric], chosen)
        if not len(column):
            continue
        sums_of_cells = exact_cells(cell, column, len(table.cells))
        for (epoch, variant), sums in zip(table.cells, sums_of_cells, strict=True):
            if sums.n:
                key = (epoch, variant, metric)
                owner.cells[key] = owner.cells.get(key, Cell()) + sums
                changed[cell_field(*key)] = cell_value(owner.cells[key])


def _rows_of(column: Integers, rows: Mask | None) -> Integers:
    return column if rows is None else column[rows]


def _how_many(flags: Mask | bool, rows: Mask | None) -> int:
    if isinstance(flags, bool):
        return 0
    return int(np.sum(flags if rows is None else flags & rows))


def _write_heads(found: Findings, commit: Commit) -> None:
    """Definitions, statuses and epochs that control entries changed; all fields where cells were compacted."""
    for name in found.touched:
        owner, before = found.state.experiments[name], found.start.experiments.get(name)
        assert owner is not None, "only defined experiments are touched"
        fields = commit.experiments.setdefault(name, {})
        if name in found.redefined:
            whole = name in found.regrouped
            old = (before.fields() if whole else before.head_fields()) if before else {}
            new = owner.fields() if whole else owner.head_fields()
            fields.update({key: value for key, value in new.items() if old.get(key) != value})
            commit.removed[name] = sorted(old.keys() - new.keys())
        known = before.counters if before else Counter[str]()
        fields.update({counter_field(k): str(n) for k, n in owner.counters.items() if n != known[k]})
        if before is None or owner.refusals != before.refusals:
            fields["refusals"] = str(owner.refusals)


def _forget(found: Findings, commit: Commit) -> None:
    """Drop what the log's clock has passed: producers, and marks that no event can reach any more."""
    state = found.state
    commit.forgotten = sorted(name for name, known in state.producers.items() if known.forgotten_at(state.clock))
    for producer in commit.forgotten:
        del state.producers[producer]
    for scope in sorted(scope for scope in state.scopes if _is_over(scope, state.clock, found.closed)):
        commit.expired_scopes.append(scope)
        commit.expired_buckets += all_buckets(scope, state.scopes.pop(scope))
        commit.scopes.pop(scope, None)
        commit.new_marks.pop(scope, None)
    over = set(commit.expired_buckets)
    if over:
        commit.marks = {name: marks for name, marks in commit.marks.items() if name not in over}


def _is_over(scope: str, clock: int, closed: set[str]) -> bool:
    end = expires_at(scope, HORIZON)
    return scope.rpartition(":")[0] in closed or (end is not None and end < clock)
