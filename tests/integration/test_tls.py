"""TLS to data server and broker: who has not the right certificate is not talked to, on either side.

The embedded server is built without TLS, so a proxy speaks it before that server, as an ingress would.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from kombu import Connection
from kombu.exceptions import OperationalError

from faults.proxy import Proxy
from trimtab.adapters.redis.connection import connect, connect_async, reaching
from trimtab.errors import Unavailable
from trimtab_worker.embedded import EmbeddedServer


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    """What a client of ours has: the authority's certificate, its own, and its key."""
    mine = authority.issue_cert("client.example")
    paths = {name: str(tmp_path / f"{name}.pem") for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(paths["ca"])
    mine.cert_chain_pems[0].write_to_path(paths["cert"])
    mine.private_key_pem.write_to_path(paths["key"])
    return paths


@pytest.fixture
def secured(server: EmbeddedServer, authority: trustme.CA) -> Iterator[Proxy]:
    """The server behind TLS, which asks its clients for certificates."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with Proxy(server.url, tls=context) as proxy:
        yield proxy


def query(files: dict[str, str]) -> str:
    return f"?ssl_ca_certs={files['ca']}&ssl_certfile={files['cert']}&ssl_keyfile={files['key']}"


def test_both_clients_talk_over_tls(secured: Proxy, files: dict[str, str]) -> None:
    with connect(secured.url + query(files)) as client:
        assert client.ping()

    async def asked() -> bool:
        async with connect_async(secured.url + query(files)) as client:
            return bool(await client.ping())

    assert asyncio.run(asked())


def test_a_server_without_the_right_certificate_is_not_talked_to(secured: Proxy, files: dict[str, str]) -> None:
    """Of an authority that is not ours; or of ours, but for another name."""
    elsewhere = secured.url.replace("127.0.0.1", "localhost")
    for url in (secured.url, elsewhere + query(files)):
        with connect(url) as client, pytest.raises(Unavailable), reaching(client):
            client.ping()


def test_a_client_without_a_certificate_is_not_talked_to(secured: Proxy, files: dict[str, str]) -> None:
    with connect(f"{secured.url}?ssl_ca_certs={files['ca']}") as client, pytest.raises(Unavailable), reaching(client):
        client.ping()


def test_the_broker_is_reached_over_tls(secured: Proxy, files: dict[str, str]) -> None:
    with Connection(secured.url + query(files) + "&ssl_cert_reqs=required") as broker:
        assert broker.ensure_connection(max_retries=1, timeout=10)
        assert broker.default_channel.client.ping()
    strange = f"{secured.url}?ssl_cert_reqs=required"
    with Connection(strange) as broker, pytest.raises(OperationalError):
        broker.ensure_connection(max_retries=1, timeout=10, interval_start=0.1)
