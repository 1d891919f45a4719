"""The writing end of a partition's log: what an application needs, without the fold."""

from __future__ import annotations

from typing import Any

from redis import Redis

from trimtab.adapters.redis.scripts import source
from trimtab.ports import EventLog
from trimtab.schema.event import CONTROL_FIELD
from trimtab.schema.keys import PartitionKeys
from trimtab.schema.signing import NO_KEYS, Keyring, check_signature


class RedisLog(EventLog):
    """`EventLog` over a Redis client that answers in bytes (see `connection.connect`)."""

    def __init__(self, client: Redis, partition: int, keyring: Keyring = NO_KEYS) -> None:
        self.partition = partition
        self.keyring = keyring
        self.keys = PartitionKeys(partition)
        # redis-py's annotations join the reply shapes of every protocol version; ours is one (see `connection`).
        self._client: Any = client
        self._append = client.register_script(source("append"))
        self._announce = client.register_script(source("announce"))

    def now(self) -> int:
        seconds, micros = self._client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def append(self, field: str, payload: bytes) -> str:
        self._check_signature()
        if field == CONTROL_FIELD:
            return text(self._append(keys=[self.keys.events], args=self._signed(field, payload)))
        return text(self._client.xadd(self.keys.events, {field: payload, **self.keyring.sign(field, payload)}))

    def announce(self, experiment_id: str, epoch: int, payload: bytes, life: str = "") -> bool:
        self._check_signature()
        keys = [self.keys.events, self.keys.epochs]
        return bool(self._announce(keys=keys, args=[experiment_id, epoch, life, *self._signed(CONTROL_FIELD, payload)]))

    def announced(self, experiment_id: str) -> int:
        return int(self._client.hget(self.keys.epochs, experiment_id) or 0)

    def _check_signature(self) -> None:
        rules = self._client.hget(f"{self.keys.tag}cur", "signing")
        check_signature(self.keyring, text(rules) if rules else "")

    def _signed(self, field: str, payload: bytes) -> list[str | bytes]:
        """Names and values in turn, with the signature if there is one."""
        fields: dict[str, bytes] = {field: payload, **self.keyring.sign(field, payload)}
        return [word for pair in fields.items() for word in pair]


def text(value: Any) -> str:
    """A reply's bytes as text."""
    return value.decode() if isinstance(value, bytes) else str(value)


def texts(words: list[bytes]) -> dict[str, str]:
    """A hash as a script returns it: names and values in turn."""
    return {text(name): text(value) for name, value in zip(words[::2], words[1::2], strict=True)}
