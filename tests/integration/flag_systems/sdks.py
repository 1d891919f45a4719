"""Real SDKs of flag systems, each serving documents to many units: a program of its own.

    python sdks.py SDK EXPERIMENT UNITS SOURCE…

prints, for each source, the variants of user-0, user-1, … as one JSON list of lists. A source is a document's file, or
for growthbook and unleash a gateway's address. A process per SDK, because they start threads, keep global state and
warn as they like; in here any connection that would leave this machine is refused and is an error.
`flag_systems.served` runs it.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[str], Any]
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@contextmanager
def growthbook(source: str, experiment: str) -> Iterator[Answer]:
    from growthbook import GrowthBook

    with served(source, "/api/features/key") as address:
        client = GrowthBook(api_host=address, client_key="key", cache_ttl=3600)
        client.load_features()

        def answer(unit: str) -> Any:
            client.set_attributes({"id": unit})
            return client.get_feature_value(experiment, None)

        yield answer
        client.destroy()


@contextmanager
def unleash(source: str, experiment: str) -> Iterator[Answer]:
    from UnleashClient import UnleashClient
    from UnleashClient.cache import FileCache

    with served(source, "/api/client/features") as address, tempfile.TemporaryDirectory() as cache:
        client = UnleashClient(
            url=f"{address}/api",
            app_name="test",
            disable_metrics=True,
            disable_registration=True,
            cache=FileCache("test", directory=cache),
        )
        client.initialize_client()
        yield lambda unit: client.get_variant(experiment, {"userId": unit})["name"]
        client.destroy()


@contextmanager
def flagd(source: str, experiment: str) -> Iterator[Answer]:
    from openfeature import api
    from openfeature.contrib.provider.flagd import FlagdProvider
    from openfeature.contrib.provider.flagd.config import ResolverType
    from openfeature.evaluation_context import EvaluationContext

    api.set_provider_and_wait(
        FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=source, deadline_ms=10_000)
    )
    client = api.get_client()
    yield lambda unit: client.get_string_value(experiment, "none", EvaluationContext(targeting_key=unit))
    api.shutdown()


@contextmanager
def launchdarkly(source: str, experiment: str) -> Iterator[Answer]:
    from ldclient import Context, LDClient
    from ldclient.config import Config
    from ldclient.integrations import Files

    source = Files.new_data_source(paths=[source])
    with LDClient(Config("key", update_processor_class=source, send_events=False, diagnostic_opt_out=True)) as client:
        yield lambda unit: client.variation(experiment, Context.create(unit), "none")


@contextmanager
def configcat(source: str, experiment: str) -> Iterator[Answer]:
    from configcatclient import ConfigCatClient, ConfigCatOptions, PollingMode
    from configcatclient.localfiledatasource import LocalFileFlagOverrides
    from configcatclient.overridedatasource import OverrideBehaviour
    from configcatclient.user import User

    overrides = LocalFileFlagOverrides(source, OverrideBehaviour.LocalOnly)
    options = ConfigCatOptions(flag_overrides=overrides, polling_mode=PollingMode.manual_poll())
    client = ConfigCatClient.get("local", options)
    yield lambda unit: client.get_value(experiment, "none", User(unit))
    client.close()


@contextmanager
def flagsmith(source: str, experiment: str) -> Iterator[Answer]:
    from flagsmith import Flagsmith
    from flagsmith.offline_handlers import LocalFileHandler

    client = Flagsmith(offline_mode=True, offline_handler=LocalFileHandler(source))
    yield lambda unit: client.get_identity_flags(unit).get_feature_value(experiment)


@contextmanager
def split(source: str, experiment: str) -> Iterator[Answer]:
    from splitio import get_factory

    config = {
        "splitFile": source,
        "localhostRefreshEnabled": False,
        "impressionsMode": "none",
        "IPAddressesEnabled": False,
    }
    factory = get_factory("localhost", config=config)
    factory.block_until_ready(10)
    client = factory.client()
    yield lambda unit: client.get_treatment(unit, experiment)
    factory.destroy()


SDKS = {sdk.__name__: sdk for sdk in (growthbook, unleash, flagd, launchdarkly, configcat, flagsmith, split)}


@contextmanager
def served(source: str, path: str) -> Iterator[str]:
    """`source` if it is an address, else that of a server on this machine whose one resource is the file, at `path`."""
    if source.startswith("http:"):
        yield source
        return

    class Handler(SimpleHTTPRequestHandler):
        def translate_path(self, requested: str) -> str:
            return source if requested.partition("?")[0] == path else "/nowhere"

        def guess_type(self, _path: object) -> str:
            return "application/json"

        def log_message(self, *_arguments: object) -> None:
            """Nobody reads along."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def stay_here(refused: list[str]) -> None:
    """Refuse, and note, whatever would leave this machine."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("socket.connect", "socket.getaddrinfo"):
            return
        host = arguments[1] if event == "socket.connect" else arguments[0]
        name = str(host[0] if isinstance(host, tuple) else host)
        if name not in LOOPBACK and not name.startswith("/"):
            refused.append(name)
            raise ConnectionRefusedError(f"{event} to {name}")

    sys.addaudithook(hook)


def main(sdk: str, experiment: str, units: str, *sources: str) -> int:
    refused: list[str] = []
    stay_here(refused)
    found = []
    for source in sources:
        with SDKS[sdk](source, experiment) as answer:
            found.append([answer(f"user-{number}") for number in range(int(units))])
    sys.stdout.write(json.dumps(found))
    if refused:
        sys.stderr.write(f"{sdk} wanted to reach {sorted(set(refused))}\n")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
