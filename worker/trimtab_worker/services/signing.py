"""Keys: which may sign, said in every partition's log, so that each entry is judged by the rules at its own place."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pydantic import ValidationError

from trimtab.errors import InvalidInput
from trimtab.ports import PartitionStore
from trimtab.schema.control import CONTROL_KEY, Signing, control_entries
from trimtab.schema.event import CONTROL_FIELD
from trimtab.schema.signing import Keyring, SigningKey

AT_ONCE = 1000


def in_force(store: PartitionStore) -> Signing | None:
    """The rules at the end of the partition's log, folded or not yet; None where signatures are not looked at."""
    state = store.peek()
    rules, after = state.signing, state.cursor.id
    while entries := store.read(after, AT_ONCE):
        after = entries[-1].id
        for entry in entries:
            order = _as_rules(entry.fields.get(CONTROL_FIELD.encode()))
            if order and not (rules and store.keyring.verifier(rules).objection(entry.fields, order=True)):
                rules = order
    return rules


def issue(stores: Iterable[PartitionStore], keyring: Keyring, key_id: str) -> SigningKey:
    """Put a key into force; whoever is given it may sign.

    Raises:
        ConfigurationError: there is no secret to derive it from.
        InvalidInput: the name is taken by the installation itself.
    """
    if key_id == CONTROL_KEY:
        raise InvalidInput(f"{key_id!r} is the key of orders, which no producer is given; choose another name.")
    key = keyring.key(key_id)
    _change(stores, keyring, lambda ids, required: ({*ids, key_id}, required))
    return key


def revoke(stores: Iterable[PartitionStore], keyring: Keyring, key_id: str) -> None:
    """Take a key out of force: what is signed with it from here on is refused."""
    _change(stores, keyring, lambda ids, required: (ids - {key_id}, required))


def require(stores: Iterable[PartitionStore], keyring: Keyring, required: bool) -> None:
    """Refuse entries without a signature from here on, or take them again."""
    _change(stores, keyring, lambda ids, _: (ids, required))


Change = Callable[[set[str], bool], tuple[set[str], bool]]


def _change(stores: Iterable[PartitionStore], keyring: Keyring, change: Change) -> None:
    keyring.key(CONTROL_KEY)  # without a secret nothing is written
    for store in stores:
        rules = in_force(store)
        # Keys derived from another secret are others, even under the same name.
        same = rules is not None and rules.fingerprint == keyring.fingerprint
        ids, required = change(set(rules.key_ids) if rules and same else set(), bool(rules and rules.required))
        order = Signing(
            at=store.now(), fingerprint=keyring.fingerprint, key_ids=tuple(sorted(ids)), required=required
        )
        store.append(CONTROL_FIELD, order.model_dump_json().encode())


def _as_rules(raw: bytes | None) -> Signing | None:
    try:
        order = control_entries.validate_json(raw) if raw is not None else None
    except ValidationError:
        return None
    return order if isinstance(order, Signing) else None
