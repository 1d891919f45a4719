"""All measurements in one run: a table on the screen and `build/bench.json`. `make bench` calls this.

Rates with a bar are the best of three of one worker process, with a real server beside it; the ratio to one Celery
task per event is of the same run. Timings never decide a test: they are here to be read.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import structlog
from rich.console import Console
from rich.table import Table

from benchmarks import bars, celery_task, client, decisions, gateway, ingest, latency, p_best

OUTPUT = Path("build/bench.json")
MEASUREMENTS = (ingest, celery_task, latency, decisions, p_best, client, gateway)


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    console, figures = Console(), dict[str, float]()
    for module in MEASUREMENTS:
        with console.status(f"measuring: {module.__doc__}".splitlines()[0]):
            figures |= module.measure()
    per_task = figures["celery_tasks_per_second"]
    figures["columnar_vs_celery_task_ratio"] = figures["columnar_events_per_second"] / per_task
    table = Table("figure", "measured", "bar", title="Trimtab, one worker process")
    for name, value in figures.items():
        met, bar = bars.judge(name, value)
        table.add_row(name, f"{value:,.4g}" if value < 1000 else f"{value:,.0f}", f"[{'green' if met else 'red'}]{bar}")
    console.print(table)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(figures, indent=2) + "\n")
    console.print(f"written to {OUTPUT}")


main()
