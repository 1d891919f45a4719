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
from hashlib import sha256
from typing import Self

from trimtab.errors import ConfigurationError
from trimtab.schema.control import CONTROL_KEY, Signing

KEY_FIELD, MAC_FIELD = "key", "mac"
MIN_SECRET_LENGTH, MAX_SECRETS = 32, 4
_KEY_TEXT = re.compile(r"(?P<id>[a-z0-9][a-z0-9_-]{0,63}):(?P<secret>[0-9a-f]{64})")
_TOKEN = re.compile(r"(?P<id>[a-z0-9][a-z0-9_-]{0,63})\.(?P<at>[0-9]{1,15})\.(?P<mac>[0-9a-f]{64})")


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
        mac = _mac(self.secret, name.encode() + b"\n" + payload)
        return {KEY_FIELD: self.key_id.encode(), MAC_FIELD: mac.encode()}

    def token(self, experiment_id: str, variant: str, epoch: int, unit_id: str, at: int) -> str:
        """Says that the unit was served the variant in the epoch, `at` milliseconds."""
        return f"{self.key_id}.{at}.{_mac(self.secret, _exposure(experiment_id, variant, epoch, unit_id, str(at)))}"


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

    def objection(self, rules: Signing, entry: Mapping[bytes, bytes], *, order: bool) -> str | None:
        """Why the rules do not admit an entry of the log, in words; None if they do.

        `order` marks control entries, which the installation's own key alone may sign.
        """
        key_id, mac = entry.get(b"key"), entry.get(b"mac")
        if key_id is None and mac is None:
            return "the entry is not signed" if rules.required else None
        name = (key_id or b"").decode(errors="replace")[:64]
        if (order and name != CONTROL_KEY) or name not in (CONTROL_KEY, *rules.key_ids):
            return f"key {name!r} may not sign it here"
        payload = next(((field, raw) for field, raw in entry.items() if field not in (b"key", b"mac")), None)
        if payload is None or len(entry) != 3:
            return "a signed entry has one field beside its key and mac"
        expected = _mac(self._secret_of(rules, name), payload[0] + b"\n" + payload[1]).encode()
        fits = [hmac.compare_digest(expected, one) for one in (mac or b"").split(b",")[:MAX_SECRETS]]
        return None if any(fits) else "its signature does not fit its payload"

    def admits(self, rules: Signing, token: object, experiment_id: str, variant: str, epoch: int, unit_id: str) -> bool:
        """Whether a token was issued for just this exposure, by a key in force."""
        found = _TOKEN.fullmatch(token) if isinstance(token, str) else None
        if found is None or found["id"] not in (CONTROL_KEY, *rules.key_ids):
            return False
        exposure = _exposure(experiment_id, variant, epoch, unit_id, found["at"])
        return hmac.compare_digest(_mac(self._secret_of(rules, found["id"]), exposure), found["mac"])

    def _secret_of(self, rules: Signing, key_id: str) -> bytes:
        secret = next(secret for secret in self.secrets if fingerprint(secret) == rules.fingerprint)
        return derived(secret, key_id)


NO_KEYS = Keyring()


def check_signature(keyring: Keyring, rules: str) -> None:
    """Make sure that what `keyring` signs is admitted under these rules, JSON of a `Signing` (empty: no rules).

    Raises:
        ConfigurationError: it would be refused, and whoever ordered it would not hear of that.
    """
    found = Signing.model_validate_json(rules) if rules else None
    if found is not None and found.required and not keyring.holds(found):
        raise ConfigurationError(
            "This log takes signed entries only: name in TRIMTAB_SIGNING_SECRET the secret with the fingerprint "
            f"{found.fingerprint}.",
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


def _mac(secret: bytes, message: bytes) -> str:
    return hmac.digest(secret, message, sha256).hex()


def _exposure(experiment_id: str, variant: str, epoch: int, unit_id: str, at: str) -> bytes:
    # Ids of experiments and variants hold no newline; the unit's, which may, comes last.
    return _lines(["token", experiment_id, variant, str(epoch), at, unit_id])


def _lines(parts: Iterable[str]) -> bytes:
    return "\n".join(parts).encode("utf-8", "surrogatepass")
