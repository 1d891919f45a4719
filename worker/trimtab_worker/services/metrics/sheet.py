"""A sheet of measured values, and its form as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from trimtab_worker.services.metrics.catalogue import MAX_SERIES, M


class Sheet(Collector):
    """Values of one moment, by metric and labels."""

    def __init__(self) -> None:
        self._values: dict[M, dict[tuple[str, ...], float]] = {metric: {} for metric in M}
        self._dropped: Counter[M] = Counter()

    def put(self, metric: M, value: float, *labels: object) -> None:
        """Note a value; of a metric with too many series the rest is only counted."""
        series = self._values[metric]
        if len(series) >= MAX_SERIES:
            self._dropped[metric] += 1
        else:
            series[tuple(map(str, labels))] = float(value)

    def collect(self) -> Iterator[Metric]:
        for metric in M:
            name, kind, text, labels = metric.value
            build = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
            family = build(name, text, labels=labels)
            for series, value in self._values[metric].items():
                family.add_metric(series, value)
            if metric is M.SERIES_DROPPED:
                for dropped, n in self._dropped.items():
                    family.add_metric([dropped.value.name], n)
            if family.samples:
                yield family

    def text(self) -> str:
        """The text exposition format that Prometheus scrapes."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry).decode()
