"""How long a head may be, or a trailer: uvicorn's fast parser takes any length of them, from anybody."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 65_536  # what most servers take; what the parser is handed at once, 256 KiB at most, may pass
_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class BoundedHead(HttpToolsProtocol):
    """Ends a connection that sends more than the limit with neither a head's end nor a part of a body in it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._steps, self._bytes = 0, 0  # what the parser came by; how much it has taken since

    def data_received(self, data: bytes) -> None:
        before = self._steps
        super().data_received(data)
        self._bytes = self._bytes + len(data) if self._steps == before else 0
        if self._bytes > MAX_HEAD_BYTES:
            self.transport.write(_TOO_LONG)
            self.transport.close()

    def on_message_begin(self) -> None:
        self._steps += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._steps += 1
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._steps += 1
        super().on_body(body)
