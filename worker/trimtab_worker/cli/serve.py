"""The HTTP gateway in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from trimtab_worker.cli import options, render, session


def serve(
    host: Annotated[str | None, typer.Option(help="Where to listen; default: TRIMTAB_GATEWAY__HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one; default: TRIMTAB_GATEWAY__PORT.")
    ] = None,
    data_dir: options.DataDir = None,
) -> None:
    """Serve weights, flags and payloads over HTTP, and take events."""
    from trimtab.errors import require

    for module in ("starlette", "uvicorn", "limits"):
        require(module, extra="gateway")
    from trimtab_worker.gateway import server

    services = session.services()
    found = services.settings.gateway
    server.serve(services, host or found.host, found.port if port is None else port, _say)


def _say(address: str, open_to_all: bool) -> None:
    """The address goes to standard output, so that a script that took any port can read it."""
    render.say(f"Listening on {address}")
    if open_to_all:
        render.note("No API keys are set: everybody on this machine may read weights and send events.")
