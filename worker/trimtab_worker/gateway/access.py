"""Who may ask: API keys, each for one role, kept as digests only."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from ipaddress import ip_address
from typing import Self

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from pydantic import SecretStr
from starlette.requests import Request

from trimtab.errors import ConfigurationError
from trimtab.settings import Gateway
from trimtab_worker.gateway.problems import ProblemCode, Refusal, slow_down

HASHED = "sha256:"
CLIENT_KEY = "client_key"  # the part of an address that holds a key
MIN_KEY_LENGTH = 16  # a key that people can remember is one that they can guess
_DIGEST = re.compile(r"[0-9a-f]{64}").fullmatch
_KEY = re.compile(r"[A-Za-z0-9_.~+/=-]+").fullmatch  # what fits a header, a path and a list


class Role(StrEnum):
    """What a key is good for."""

    ANYONE = "anyone"  # no key needed
    READER = "reader"
    PRODUCER = "producer"


@dataclass(frozen=True, slots=True)
class Keys:
    """Digests of the keys of each role; without any, everybody may do everything."""

    digests: Mapping[Role, frozenset[bytes]]

    @classmethod
    def of(cls, settings: Gateway) -> Self:
        """The keys that the settings name.

        Raises:
            ConfigurationError: one of them cannot be a key; the sentence does not repeat it.
        """
        return cls(
            {
                Role.READER: _digests("reader_keys", settings.reader_keys),
                Role.PRODUCER: _digests("producer_keys", settings.producer_keys),
            }
        )

    @property
    def open(self) -> bool:
        return not any(self.digests.values())

    def roles(self, key: str) -> frozenset[Role]:
        """Roles of a presented key, found in the same time for every key; none of an unknown one."""
        digest = _digest(key)
        # No early end: how long it takes says nothing about how much of a digest was right.
        found = [
            role
            for role, known in self.digests.items()
            if sum(hmac.compare_digest(digest, each) for each in known)
        ]
        return frozenset(found)


class Gate:
    """Lets a request pass, or refuses it; counts each caller's requests where a limit is set."""

    def __init__(self, keys: Keys, requests_per_second: int | None = None) -> None:
        self.keys, self._open = keys, keys.open
        self._limit = RateLimitItemPerSecond(requests_per_second) if requests_per_second else None
        self._limiter = FixedWindowRateLimiter(MemoryStorage()) if requests_per_second else None

    def admit(self, role: Role, request: Request) -> None:
        """Let a request into what `role` may do.

        Raises:
            Refusal: 401 without a known key, 403 with one of another role, 429 above the limit.
        """
        if role is Role.ANYONE or (self._open and self._limiter is None):
            return
        key = presented(request.headers) or request.path_params.get(CLIENT_KEY)
        if not self._open:
            self._check(role, key)
        address = request.client.host if request.client else ""
        self._count(address if self._open or key is None else _digest(key).hex())

    def _check(self, role: Role, key: str | None) -> None:
        roles = self.keys.roles(key) if key else frozenset()
        if not roles:
            said = "is unknown" if key else "is missing"
            raise Refusal(
                401,
                ProblemCode.UNAUTHORIZED,
                f"The API key {said}: send one as `Authorization: Bearer KEY` or `X-API-Key: KEY`.",
                headers={"WWW-Authenticate": 'Bearer realm="trimtab"'},
            )
        if role not in roles:
            raise Refusal(403, ProblemCode.FORBIDDEN, f"This API key may not do that: use one of the role {role}.")

    def _count(self, caller: str) -> None:
        if self._limiter and self._limit and not self._limiter.hit(self._limit, caller):
            raise slow_down(f"More than {self._limit.amount} requests a second: ask again in a moment.", 1)


def presented(headers: Mapping[str, str]) -> str | None:
    """The key of a request: `X-API-Key`, or `Authorization` with or without the word Bearer (Unleash sends it bare)."""
    if key := headers.get("x-api-key"):
        return key
    given = headers.get("authorization", "").strip()
    scheme, _, rest = given.partition(" ")
    return (rest.strip() if scheme.lower() == "bearer" else given) or None


def check_exposure(host: str, keys: Keys) -> None:
    """An open gateway serves this machine only.

    Raises:
        ConfigurationError: `host` is reachable from elsewhere and there are no keys.
    """
    if keys.open and not _is_loopback(host):
        raise ConfigurationError(
            f"The gateway would listen on {host} for everybody: set TRIMTAB_GATEWAY__READER_KEYS and "
            "TRIMTAB_GATEWAY__PRODUCER_KEYS, or listen on 127.0.0.1.",
            field="gateway.host",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _digests(name: str, given: SecretStr | None) -> frozenset[bytes]:
    words = given.get_secret_value().split(",") if given else []
    return frozenset(_parse(name, word.strip()) for word in words if word.strip())


def _parse(name: str, word: str) -> bytes:
    if word.startswith(HASHED):
        if not _DIGEST(word.removeprefix(HASHED).lower()):
            raise ConfigurationError(f"gateway.{name}: after {HASHED} stand 64 hexadecimal digits.", field=name)
        return bytes.fromhex(word.removeprefix(HASHED))
    if len(word) < MIN_KEY_LENGTH or not _KEY(word):
        raise ConfigurationError(
            f"gateway.{name}: a key has at least {MIN_KEY_LENGTH} characters, letters, digits and _.~+/=- only.",
            field=name,
        )
    return _digest(word)


def _digest(key: str) -> bytes:
    return sha256(key.encode(errors="surrogateescape")).digest()
