"""The composition root: settings → adapters → services, built when first used, anew in each process.

A connection that two processes share after a fork mixes up their replies; `current` notices the fork by the process id.
"""

from __future__ import annotations

import importlib
import os
from functools import cached_property
from typing import TYPE_CHECKING

import redis
import redis.asyncio

from trimtab.adapters.redis.connection import connect, connect_async, reaching
from trimtab.addresses import Addresses
from trimtab.errors import InvalidInput, Unavailable
from trimtab.schema.signing import Keyring, SigningKey
from trimtab.settings import Settings, plain, resolve_addresses

# Services bring numpy with them. They are imported where they are built, so that beat, a health check and `--help` do
# without; `preload` loads them into a worker before it forks.
if TYPE_CHECKING:
    from trimtab.adapters.redis.partition import RedisPartition
    from trimtab.adapters.redis.publication import RedisPublications
    from trimtab.client.control import Control
    from trimtab_worker.services.ingest import Ingest
    from trimtab_worker.services.maintain import Maintain
    from trimtab_worker.services.metrics import Now, Sheet, Sources
    from trimtab_worker.services.reallocate import Reallocate

_SERVICES = ("ingest", "maintain", "reallocate")


class Services:
    """Everything one process works with, over one connection pool."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings.load()
        self._partitions: dict[int, RedisPartition] = {}
        self._ingests: dict[int, Ingest] = {}

    @cached_property
    def addresses(self) -> Addresses:
        return resolve_addresses(self.settings)

    @cached_property
    def client(self) -> redis.Redis:
        """The data server's client; replies may take as long as the longest blocking read and 5 s more."""
        return connect(self.addresses.redis_url, read_timeout=self.settings.drain_block_ms / 1000 + 5)

    @cached_property
    def keyring(self) -> Keyring:
        """The secrets that this process verifies with, and signs its own entries with."""
        return Keyring.parse(plain(self.settings.signing_secret))

    @cached_property
    def signing_key(self) -> SigningKey | None:
        """The key that this process signs events with, where it is a producer."""
        text = plain(self.settings.signing_key)
        return SigningKey.parse(text) if text else None

    @cached_property
    def async_client(self) -> redis.asyncio.Redis:
        """The data server's client for one event loop, which closes it: the gateway's."""
        return connect_async(self.addresses.redis_url)

    @cached_property
    def publications(self) -> RedisPublications:
        from trimtab.adapters.redis.publication import RedisPublications

        return RedisPublications(self.client)

    def partition_count(self) -> int:
        """How many partitions the log has; before it exists, as many as the settings would give it."""
        return self.publications.partitions() or self.settings.partitions

    def known_partitions(self) -> int:
        """`partition_count`, or what the settings say where the data server does not answer."""
        try:
            with reaching(self.client):
                return self.partition_count()
        except Unavailable:
            return self.settings.partitions

    def partition(self, number: int) -> RedisPartition:
        """One partition's log and state.

        Raises:
            InvalidInput: the log has no such partition.
        """
        from trimtab.adapters.redis.partition import RedisPartition

        if type(number) is not int or number < 0:  # not even a bool, which a dict would take for 0 or 1
            raise InvalidInput(f"{number!r} is no partition: partitions are whole numbers from 0.")
        if number not in self._partitions:
            count = self.partition_count()
            if number >= count:
                raise InvalidInput(f"There is no partition {number!r}; the log has 0 to {count - 1}.")
            self._partitions[number] = RedisPartition(self.client, number, keyring=self.keyring)
        return self._partitions[number]

    def partition_of(self, experiment_id: str) -> RedisPartition:
        """The partition in which an experiment's events live."""
        from trimtab.ids import partition_of

        return self.partition(partition_of(experiment_id, self.partition_count()))

    def ingest(self, number: int) -> Ingest:
        """The drain of one partition; it remembers state between drains."""
        from trimtab_worker.services.ingest import Ingest

        store = self.partition(number)
        if number not in self._ingests:
            self._ingests[number] = Ingest(store)
        return self._ingests[number]

    def maintain(self, number: int) -> Maintain:
        from trimtab_worker.services.maintain import Maintain

        return Maintain(self.partition(number), self.settings.log_retention_bytes)

    @cached_property
    def reallocate(self) -> Reallocate:
        from trimtab_worker.services.reallocate import Reallocate

        return Reallocate(self.publications, self.partition_of)

    def metrics(self) -> Sheet:
        """Everything worth watching, measured now."""
        from trimtab_worker.services.metrics import measure

        return measure(self._sources())

    def metrics_now(self) -> Now:
        """The same, measured whenever Prometheus asks."""
        from trimtab_worker.services.metrics import Now

        return Now(self._sources())

    def _sources(self) -> Sources:
        from trimtab_worker import health
        from trimtab_worker.services.metrics import Sources

        period = self.settings.periods.heartbeat_seconds
        return Sources(
            publications=self.publications,
            partition=self.partition,
            server=lambda: {**self.client.info("memory"), **self.client.info("persistence")},
            ages=lambda: health.ages(self.client, period),
        )

    def control(self, by: str) -> Control:
        """Orders in the name of `by`."""
        from trimtab.client.control import Control

        return Control.over(self.publications, self.partition, by=by)

    def now(self) -> int:
        """The data server's clock in milliseconds."""
        return self.partition(0).now()

    def close(self) -> None:
        """Give the connections back."""
        if "client" in self.__dict__:
            self.client.close()


_current: tuple[int, Services] | None = None


def current() -> Services:
    """This process's services; a child gets its own after a fork, and never closes its parent's."""
    global _current
    if _current is None or _current[0] != os.getpid():
        _current = (os.getpid(), Services())
    return _current[1]


def reset() -> None:
    """Close this process's services; the next `current` builds them anew."""
    global _current
    if _current is not None and _current[0] == os.getpid():
        _current[1].close()
    _current = None


def preload() -> None:
    """Import the services before the worker forks: its children then share their memory and start at once."""
    for name in _SERVICES:
        importlib.import_module(f"trimtab_worker.services.{name}")
