"""Metrics: once on standard output, or for a Prometheus server that comes by."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from trimtab_worker.cli import options, render, session


def metrics(
    serve: Annotated[
        int | None, typer.Option("--serve", metavar="PORT", min=0, max=65535, help="Answer on this port until Ctrl-C.")
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen with --serve; 0.0.0.0 is everywhere.")] = "127.0.0.1",
    data_dir: options.DataDir = None,
) -> None:
    """Print metrics for Prometheus, or serve them.

    All of them are computed from the data server when they are asked for: it does not matter where this runs.
    """
    services = session.services()
    if serve is None:
        sys.stdout.write(services.metrics().text())
        return
    from prometheus_client import CollectorRegistry, start_http_server

    from trimtab_worker.cli.operate import interrupted

    registry = CollectorRegistry(auto_describe=False)
    registry.register(services.metrics_now())
    with interrupted() as stop:
        server, thread = start_http_server(serve, host, registry)
        render.note(f"Metrics are at http://{host}:{server.server_port}/metrics; Ctrl-C ends it.")
        stop.wait()
        server.shutdown()
        thread.join()
