"""Signatures: who wrote an entry of the log, and which variant a unit was really served.

An entry is signed beside its payload: field `key` names the key, `mac` is HMAC-SHA256 in hex over the name of the
payload's field, a newline, and the payload's bytes as they are. Keys are derived from one secret that the workers and
the operators' processes share, so that a producer is given a key and nobody need store it. Which keys are in force
where is said by control entries of the log (`Signing`); the secret itself never enters it.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b, sha256
from typing import Any, Self

from trimtab.errors import ConfigurationError
from trimtab.schema.control import CONTROL_KEY, Signing

KEY_FIELD, MAC_FIELD = "key", "mac"
Served = tuple[str, int]
"""A variant and an epoch."""

Exposure = tuple[Any, Served, Any]
"""A token, and what should have been served to which unit when it was issued."""

MIN_SECRET_LENGTH, MAX_SECRETS = 32, 4
_KEY_TEXT = re.compile(r"(?P<id>[a-z0-9][a-z0-9_-]{0,63}):(?P<secret>[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One producer's key; its text form is `<id>:<64 hex digits>`."""

    key_id: str
    secret: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """A key from its text form.

        Raises:
            ConfigurationError: it is none; the message does not repeat it.
        """
        found = _KEY_TEXT.fullmatch(text.strip())
        if found is None:
            raise ConfigurationError(
                "The signing key is not of the form that `trimtab keys issue` prints, <id>:<64 hex digits>.",
                field="signing_key",
            )
        return cls(found["id"], bytes.fromhex(found["secret"]))

    def text(self) -> str:
        """The text form: whoever has it can sign as this key."""
        return f"{self.key_id}:{self.secret.hex()}"

    def sign(self, name: str, payload: bytes) -> dict[str, bytes]:
        """The two fields that go beside an entry's payload in the field `name`."""
        mac = hmac.digest(self.secret, name.encode() + b"\n" + payload, "sha256").hex()
        return {KEY_FIELD: self.key_id.encode(), MAC_FIELD: mac.encode()}

    def token(self, experiment_id: str, variant: str, epoch: int, unit_id: str, at: int) -> str:
        """Says that the unit was served the variant in the epoch, `at` milliseconds."""
        keyed = _token_mac(self.secret)
        keyed.update(_what(experiment_id, (variant, epoch)))
        keyed.update(_when_to_whom(str(at), unit_id))
        return f"{self.key_id}.{at}.{keyed.hexdigest()}"


@dataclass(frozen=True, slots=True)
class Keyring:
    """The secrets a process knows, newest first; without any it can neither sign nor verify."""

    secrets: tuple[bytes, ...] = field(default=(), repr=False)

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Secrets with commas between; None or an empty text for none.

        Raises:
            ConfigurationError: one is shorter than 32 characters, or there are too many; the message repeats none.
        """
        secrets = tuple(part.strip().encode() for part in (text or "").split(",") if part.strip())
        if len(secrets) > MAX_SECRETS:
            raise ConfigurationError(
                f"There are {len(secrets)} signing secrets; name at most {MAX_SECRETS}, the newest first.",
                field="signing_secret",
            )
        if any(len(secret) < MIN_SECRET_LENGTH for secret in secrets):
            raise ConfigurationError(
                f"The signing secret is shorter than {MIN_SECRET_LENGTH} characters; make one with "
                "`openssl rand -hex 32`.",
                field="signing_secret",
            )
        return cls(secrets)

    @property
    def fingerprint(self) -> str:
        """Names the newest secret without telling it; empty for none."""
        return fingerprint(self.secrets[0]) if self.secrets else ""

    def holds(self, rules: Signing) -> bool:
        """Whether the secret that the rules speak of is among them."""
        return any(fingerprint(secret) == rules.fingerprint for secret in self.secrets)

    def key(self, key_id: str) -> SigningKey:
        """The key of this name under the newest secret.

        Raises:
            ConfigurationError: there is no secret.
        """
        if not self.secrets:
            raise ConfigurationError("Set TRIMTAB_SIGNING_SECRET: keys are derived from it.", field="signing_secret")
        return SigningKey(key_id, derived(self.secrets[0], key_id))

    def sign(self, name: str, payload: bytes) -> dict[str, bytes]:
        """What goes beside an entry that this installation itself writes; nothing without a secret.

        There is one mac for each secret, so that the entry is admitted on both sides of a change of secrets.
        """
        if not self.secrets:
            return {}
        macs = [SigningKey(CONTROL_KEY, derived(secret, CONTROL_KEY)).sign(name, payload) for secret in self.secrets]
        return {KEY_FIELD: CONTROL_KEY.encode(), MAC_FIELD: b",".join(signed[MAC_FIELD] for signed in macs)}

    def verifier(self, rules: Signing) -> Verifier:
        """What judges entries and tokens by these rules; without their secret it admits nothing that is signed."""
        secret = next((secret for secret in self.secrets if fingerprint(secret) == rules.fingerprint), None)
        names = (CONTROL_KEY, *rules.key_ids) if secret else ()
        return Verifier(rules.required, {name: derived(secret or b"", name) for name in names})


class Verifier:
    """What rules admit: entries signed, and tokens issued, by a key in force."""

    def __init__(self, required: bool, secrets: Mapping[str, bytes]) -> None:
        self._required = required
        self._entry_macs = {name.encode(): _Hmac(secret) for name, secret in secrets.items()}
        self._token_macs = {name: _token_mac(secret) for name, secret in secrets.items()}

    def objection(self, entry: Mapping[bytes, bytes], *, order: bool = False) -> str | None:
        """Why an entry of the log is not admitted, in words; None if it is.

        `order` marks control entries, which the installation's own key alone may sign.
        """
        key_id, mac = entry.get(b"key", b""), entry.get(b"mac", b"")
        if not key_id and not mac:
            return "the entry is not signed" if self._required else None
        keyed = self._entry_macs.get(key_id)
        if keyed is None or (order and key_id != CONTROL_KEY.encode()):
            return f"key {key_id.decode(errors='replace')[:64]!r} may not sign it here"
        if len(entry) != 3:
            return "a signed entry has one field beside its key and mac"
        name = b"event" if b"event" in entry else next(name for name in entry if name not in (b"key", b"mac"))
        expected = keyed.hexdigest(name + b"\n" + entry[name])
        if hmac.compare_digest(expected, mac):
            return None
        # An order has a mac for each secret that who wrote it has.
        fits = [hmac.compare_digest(expected, one) for one in mac.split(b",", MAX_SECRETS)[:MAX_SECRETS]]
        return None if any(fits) else "its signature does not fit its payload"

    def vouched(self, experiment_id: str, exposures: Iterable[Exposure]) -> list[bool]:
        """Of each exposure, whether its token was issued for just this one."""
        verdicts = []
        begun: dict[tuple[str, Served], blake2b] = {}  # what many tokens begin with is taken in once
        for token, served, unit_id in exposures:
            try:
                key_id, at, mac = token.split(".")
                start = begun.get((key_id, served))
                if start is None:
                    start = begun[key_id, served] = self._token_macs[key_id].copy()
                    start.update(_what(experiment_id, served))
                keyed = start.copy()
                keyed.update(_when_to_whom(at, unit_id))
                verdicts.append(hmac.compare_digest(keyed.hexdigest(), mac) and at.isdigit() and type(unit_id) is str)
            except (AttributeError, KeyError, TypeError, ValueError):  # no text, no such key, no such form
                verdicts.append(False)
        return verdicts


class _Hmac:
    """HMAC-SHA256 with its key taken in beforehand (RFC 2104, section 4), in half of `hmac.digest`'s time for a row."""

    def __init__(self, key: bytes) -> None:
        """`key` has at most 64 bytes."""
        block = key.ljust(64, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in block))

    def hexdigest(self, message: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.hexdigest().encode()


NO_KEYS = Keyring()


def check_signature(keyring: Keyring, rules: str) -> None:
    """Make sure that what `keyring` signs is admitted under these rules, JSON of a `Signing` (empty: no rules).

    Raises:
        ConfigurationError: it would be refused, and whoever ordered it would not hear of that.
    """
    found = Signing.model_validate_json(rules) if rules else None
    if found is None or keyring.holds(found):
        return
    if found.required or keyring.secrets:
        takes = "takes signed entries only" if found.required else "refuses what is signed under another secret"
        raise ConfigurationError(
            f"This log {takes}: name in TRIMTAB_SIGNING_SECRET the secret with the fingerprint {found.fingerprint}.",
            field="signing_secret",
        )


@lru_cache(maxsize=1024)
def derived(secret: bytes, key_id: str) -> bytes:
    """The key's own secret; from it nothing follows about any other's."""
    return hmac.digest(secret, b"trimtab key " + key_id.encode(), sha256)


@lru_cache(maxsize=64)
def fingerprint(secret: bytes) -> str:
    """16 hex digits by which a secret is known and from which it does not follow."""
    return hmac.new(secret, b"trimtab fingerprint", sha256).hexdigest()[:16]


def _token_mac(secret: bytes) -> blake2b:
    """Keyed BLAKE2b (RFC 7693) of 128 bits: a third of HMAC-SHA256's time, and each outcome has its token."""
    return blake2b(key=secret, digest_size=16)


def _what(experiment_id: str, served: Served) -> bytes:
    return f"{experiment_id}\n{served[0]}\n{served[1]}\n".encode()


def _when_to_whom(at: str, unit_id: str) -> bytes:
    # Ids of experiments and variants and numbers hold no newline; the unit's id, which may, comes last.
    return f"{at}\n{unit_id}".encode()
