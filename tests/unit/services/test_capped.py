"""What was beyond its unit's cap is told wherever duplicates are."""

from __future__ import annotations

from logs import Log, batch, event
from trimtab_worker.cli.weights import _remarks
from trimtab_worker.services.metrics import M, Sources, measure
from trimtab_worker.services.report import report
from trimtab_worker.services.statistics import statistics


def test_statistics_metrics_report_and_drain_tell_how_many_were_beyond_their_cap() -> None:
    log = Log(max_outcomes_per_unit_hour=2)
    log.columns(batch([event(unit_id="u")] * 1237))
    drained = log.drain()
    assert (drained.folded, drained.duplicates, drained.capped) == (2, 0, 1235)
    found = statistics(log.store, "checkout")
    assert (found.folded, found.capped) == (2, 1235)
    sentence = "1,235 outcomes were beyond their unit's cap for the hour and not counted."
    assert sentence in _remarks(found)
    assert sentence in report(log.store, log.control.show("checkout")).notes
    sheet = measure(Sources(log.publications, lambda _: log.store, server=dict, ages=dict))
    told = {sample.name: sample.value for metric in sheet.collect() for sample in metric.samples}
    assert [told[metric.value.name] for metric in (M.CAPPED, M.BEYOND_CAP)] == [1235, 1235]
