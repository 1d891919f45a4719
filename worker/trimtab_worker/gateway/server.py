"""The gateway as a process: a socket, uvicorn's loop, an end in order."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from trimtab.errors import Unavailable
from trimtab_worker.bootstrap import Services
from trimtab_worker.gateway.access import check_exposure
from trimtab_worker.gateway.app import build
from trimtab_worker.gateway.heads import BoundedHead

STOP_SECONDS = 10  # for requests under way; those that wait for a change are answered at once
KEEP_ALIVE_SECONDS = 65  # longer than load balancers keep a silent connection, so that they close it and not we
BACKLOG = 1024


class Server(uvicorn.Server):
    """uvicorn that lets waiting requests go when it is asked to stop, and says where it listens."""

    def __init__(self, config: uvicorn.Config, release: Callable[[], None], started: Callable[[], None]) -> None:
        super().__init__(config)
        self._release, self._started = release, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._started()

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._release()
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end the loop in order; being asked to stop is no failure, so neither is raised again."""
        loop, numbers = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)


def serve(services: Services, host: str, port: int, say: Callable[[str, bool], None]) -> None:
    """Run until a signal; `say` is told when it listens: the address, and whether everybody may do everything there.

    Raises:
        ConfigurationError: it would be open to other machines, or a key cannot be one.
        Unavailable: the address cannot be taken, or no data server is known.
    """
    app, desk = build(services)
    check_exposure(host, desk.gate.keys)
    listener = _listen(host, port)
    name, bound = listener.getsockname()[:2]
    address = f"http://{f'[{name}]' if ':' in name else name}:{bound}"
    config = uvicorn.Config(
        app,
        http=BoundedHead,
        lifespan="on",
        log_config=None,  # records go through telemetry
        access_log=False,  # a line per poll says nothing, and GrowthBook's addresses hold keys
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        ws="none",
    )
    server = Server(config, desk.board.release, lambda: say(address, desk.gate.keys.open))
    with listener:
        server.run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise Unavailable(f"{host}:{port} cannot be listened on ({error.strerror}): choose another port.") from None
