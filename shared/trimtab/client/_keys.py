"""Keys as applications are given them: by argument, else by the environment."""

from __future__ import annotations

import os

from trimtab.schema.signing import Keyring, SigningKey


def signing_key_of(given: str | None) -> SigningKey | None:
    """The key given, else that of TRIMTAB_SIGNING_KEY; None where there is neither.

    Raises:
        ConfigurationError: it is no key.
    """
    text = given or os.environ.get("TRIMTAB_SIGNING_KEY")
    return SigningKey.parse(text) if text else None


def keyring_of(given: str | None) -> Keyring:
    """The secrets given, else those of TRIMTAB_SIGNING_SECRET.

    Raises:
        ConfigurationError: one is too short.
    """
    return Keyring.parse(given or os.environ.get("TRIMTAB_SIGNING_SECRET"))
