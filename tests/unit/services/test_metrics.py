"""Metrics: true to what the server holds, bounded, and every alert about something that exists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from logs import Log, batch, event
from trimtab.errors import Unavailable
from trimtab.schema.dead_letter import DeadLetterCode
from trimtab.schema.decision import HoldCode, VerdictCode
from trimtab.schema.experiment import Status
from trimtab_worker import health
from trimtab_worker.services.ingest import DrainReport, Ingest
from trimtab_worker.services.metrics import UNREADABLE, M, Sheet, Sources, measure
from trimtab_worker.services.metrics import sheet as sheets

ALERTS = Path(__file__).parents[3] / "deploy" / "prometheus" / "alerts.yml"
Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def sources(log: Log, **changes: Any) -> Sources:
    given: dict[str, Any] = {
        "publications": log.publications,
        "partition": lambda _: log.store,
        "server": lambda: {"used_memory": 1, "maxmemory": 0, "aof_enabled": 1},
        "ages": lambda: {"ingest": 3.0, "beat": None},
    }
    return Sources(**(given | changes))


def told(log: Log, **changes: Any) -> Values:
    """Every sample of the exposition, read back by Prometheus' own parser."""
    return samples(measure(sources(log, **changes)).text())


def samples(text: str) -> Values:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(values: Mapping[Any, float], metric: M, /, **labels: str) -> float | None:
    return values.get((metric.value.name, tuple(sorted(labels.items()))))


@settings(max_examples=30)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(0, 80), st.booleans())
def test_the_lag_is_the_true_one(sizes: list[int], folded: int, trimmed: bool) -> None:
    """RC-14: entries and seconds behind, whatever was folded or trimmed, read one by one from the log itself."""
    log = Log()
    for size in sizes:
        log.clock.now += 1000
        for _ in range(size):
            log.row(event(occurred_at=log.clock.now))
    fold = Ingest(log.store)
    while log.store.load().counters["entries"] < folded:
        fold._count = 3
        if not fold.step(DrainReport(), None):
            break
    state = log.store.load()
    if trimmed:
        log.store.trim(state.cursor.id)
    log.clock.now += 500
    unread = log.store.read(state.cursor.id, 10_000)
    values = told(log)
    assert value(values, M.LAG_ENTRIES, partition="0") == len(unread)
    oldest = (log.clock.now - unread[0].milliseconds) / 1000 if unread else 0
    assert value(values, M.LAG_SECONDS, partition="0") == oldest


def test_counts_weights_and_lives_are_told() -> None:
    log = Log()
    log.columns(batch([event(event_id="e"), event(event_id="e"), event(event_id="f", variant="stranger")]))
    log.row(event(experiment_id="nowhere"))
    log.drain()
    log.clock.now += 5000
    values = told(log)
    assert value(values, M.UP) == 1
    assert value(values, M.OUTCOMES, experiment="checkout") == 1
    assert value(values, M.REPEATED, experiment="checkout") == 1
    assert value(values, M.DEAD, experiment="checkout", code="unknown_variant") == 1
    assert value(values, M.STRAY, partition="0", code="unknown_experiment") == 1
    assert value(values, M.DEAD_KEPT, partition="0") == 2
    assert value(values, M.WEIGHT, experiment="checkout", variant="b") == 0.5
    assert value(values, M.ALLOCATION_AGE, experiment="checkout") == 5
    assert value(values, M.STATUS, experiment="checkout", status="running") == 1
    assert value(values, M.ALIVE, role="beat") == 0
    assert value(values, M.HEARTBEAT_AGE, role="ingest") == 3
    assert value(values, M.HEARTBEAT_AGE, role="beat") is None
    assert value(values, M.DRAIN_AGE, partition="0") == 5


def test_looking_writes_nothing() -> None:
    log = Log()
    assert value(told(log), M.LAG_ENTRIES, partition="0") == log.store.ends().length
    assert log.store._state.cur == {}  # type: ignore[attr-defined]


def test_an_overdue_allocation_and_a_halted_variant_are_told() -> None:
    log = Log()
    log.control.halt("checkout", "b", reason="a look")
    allocation = log.control.show("checkout").allocation
    assert allocation is not None
    assert allocation.valid_until is not None
    log.clock.now = allocation.valid_until + 7000
    values = told(log)
    assert value(values, M.OVERDUE, experiment="checkout") == 7
    assert value(values, M.HALTED, experiment="checkout", variant="b") == 1
    log.control.stop("checkout")
    ended = told(log)
    assert value(ended, M.OVERDUE, experiment="checkout") is None
    assert value(ended, M.HALTED, experiment="checkout", variant="b") is None, "nobody could resume it any more"


def test_a_gap_is_a_problem_of_its_partition() -> None:
    log = Log()
    assert value(told(log), M.PROBLEM, partition="0", code="log_gap") is None
    log.drain()
    for _ in range(3):
        log.row(event())
    log.store.trim(log.store.ends().last_id)
    assert value(told(log), M.PROBLEM, partition="0", code="log_gap") == 1


def test_a_server_that_is_away_is_a_value_too() -> None:
    def away() -> Mapping[str, Any]:
        raise Unavailable("The data server is away.")

    assert told(Log(), server=away) == {("trimtab_up", ()): 0.0}


def test_series_are_bounded_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "MAX_SERIES", 5)
    sheet = Sheet()
    for number in range(9):
        sheet.put(M.WEIGHT, 0.1, "checkout", f"v{number}")
    values = samples(sheet.text())
    assert sum(name == M.WEIGHT.value.name for name, _ in values) == 5
    assert value(values, M.SERIES_DROPPED, metric="trimtab_weight") == 4


# ── alerts ───────────────────────────────────────────────────────────────────────────────────────────────────────────

RULES = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"][0]["rules"]
LABELS = {metric.value.name: set(metric.value.labels) for metric in M}
CLOSED = {
    ("trimtab_hold", "code"): {code.value for code in HoldCode},
    ("trimtab_bound", "code"): {code.value for code in VerdictCode},
    ("trimtab_dead_total", "code"): {code.value for code in DeadLetterCode},
    ("trimtab_dead_stray_total", "code"): {code.value for code in DeadLetterCode},
    ("trimtab_alive", "role"): set(health.ROLES),
    ("trimtab_experiment_status", "status"): {*Status, UNREADABLE},
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_is_about_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "description"}
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
    expr = rule["expr"]
    assert all(expr.count(left) == expr.count(right) for left, right in ("()", "[]", "{}"))
    used = re.findall(r"(trimtab_\w+)(?:\{([^}]*)\})?", expr)
    assert used
    for name, matchers in used:
        assert name in LABELS
        for label, values in re.findall(r'(\w+)=~?"([^"]*)"', matchers):
            assert label in LABELS[name]
            assert set(values.split("|")) <= CLOSED[name, label]
    shown = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    assert shown <= set.union(*(LABELS[name] for name, _ in used))


def test_an_alert_on_an_increase_sees_the_first_one() -> None:
    """Prometheus knows no increase where a series begins, so what is asked for one begins at 0, before it happens."""
    values = told(Log())
    increase = re.compile(r'increase\((trimtab_\w+)(?:\{code="(\w+)"\})?')
    asked = {found for rule in RULES for found in increase.findall(rule["expr"])}
    assert len(asked) > 5
    for name, code in asked:
        labels = [dict(labels) for metric, labels in values if metric == name]
        assert labels, name
        codes = {code} if code else CLOSED.get((name, "code"), set())
        assert codes <= {each.get("code") for each in labels}, name


def test_alerts_have_names_of_their_own_and_prometheus_finds_them() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    config = yaml.safe_load((ALERTS.parent / "prometheus.yml").read_text(encoding="utf-8"))
    assert config["rule_files"] == [ALERTS.name]
    compose = yaml.safe_load((ALERTS.parents[2] / "docker-compose.yml").read_text(encoding="utf-8"))
    (target,) = config["scrape_configs"][0]["static_configs"][0]["targets"]
    service, port = target.split(":")
    assert port in compose["services"][service]["command"]


def test_every_metric_says_what_it_is() -> None:
    for metric in M:
        name, kind, text, _ = metric.value
        assert name.startswith("trimtab_")
        assert name.endswith("_total") is (kind == "counter")
        assert text.endswith(".")
