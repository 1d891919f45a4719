"""Keys: which may sign, said in every partition's log, so that each entry is judged by the rules at its own place."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pydantic import ValidationError

from trimtab.errors import Conflict, InvalidInput
from trimtab.ports import PartitionStore
from trimtab.schema.control import CONTROL_KEY, Signing, control_entries
from trimtab.schema.event import CONTROL_FIELD
from trimtab.schema.signing import Keyring, SigningKey

AT_ONCE = 1000
ATTEMPTS = 20  # people change keys


def in_force(store: PartitionStore) -> Signing | None:
    """The rules at the end of the partition's log, folded or not yet; None where signatures are not looked at."""
    state = store.peek()
    rules, after = state.signing, state.cursor.id
    while entries := store.read(after, AT_ONCE):
        after = entries[-1].id
        for entry in entries:
            order = _as_rules(entry.fields.get(CONTROL_FIELD.encode()))
            if not (order and order.follows(rules)):
                continue
            if not (rules and store.keyring.verifier(rules).objection(entry.fields, order=True)):
                rules = order
    return rules


def issue(
    stores: Iterable[PartitionStore], keyring: Keyring, key_id: str, *, newest: bool = False
) -> SigningKey:
    """Put a key into force; whoever is given it may sign.

    It is derived from the secret in force; `newest` goes on to the newest one, and ends all keys of the one before.

    Raises:
        ConfigurationError: there is no secret to derive it from.
        InvalidInput: the name is taken by the installation itself.
        Conflict: others change keys at the same time.
    """
    if key_id == CONTROL_KEY:
        raise InvalidInput(f"{key_id!r} is the key of orders, which no producer is given; choose another name.")
    return _change(stores, keyring, lambda ids, required: ({*ids, key_id}, required), newest).key(key_id)


def revoke(stores: Iterable[PartitionStore], keyring: Keyring, key_id: str) -> None:
    """Take a key out of force: what is signed with it from here on is refused."""
    _change(stores, keyring, lambda ids, required: (ids - {key_id}, required))


def require(stores: Iterable[PartitionStore], keyring: Keyring, required: bool) -> None:
    """Refuse entries without a signature from here on, or take them again."""
    _change(stores, keyring, lambda ids, _: (ids, required))


Change = Callable[[set[str], bool], tuple[set[str], bool]]


def _change(stores: Iterable[PartitionStore], keyring: Keyring, change: Change, newest: bool = False) -> Keyring:
    """Change the rules of every partition; returns the one secret that keys are derived from now."""
    keyring.key(CONTROL_KEY)  # without a secret nothing is written
    targets = list(stores)
    known = {rules.fingerprint for rules in map(in_force, targets) if rules}
    # To go on to another secret ends every key of the one before, so nobody does that by the way.
    rings = [Keyring((secret,)) for secret in keyring.secrets]
    ring = next((ring for ring in rings if not newest and ring.fingerprint in known), rings[0])
    for store in targets:
        _write(store, ring, change)
    return ring


def _write(store: PartitionStore, ring: Keyring, change: Change) -> None:
    for _ in range(ATTEMPTS):
        rules = in_force(store)
        # Keys derived from another secret are others, even under the same name.
        same = rules is not None and rules.fingerprint == ring.fingerprint
        ids, required = change(set(rules.key_ids) if rules and same else set(), bool(rules and rules.required))
        order = Signing(
            at=max(store.now(), rules.at + 1 if rules else 0),
            fingerprint=ring.fingerprint,
            key_ids=tuple(sorted(ids)),
            required=required,
        )
        store.append(CONTROL_FIELD, order.model_dump_json().encode())
        if in_force(store) == order:  # else somebody else's came between, which did not know of this
            return
    raise Conflict(f"The keys of partition {store.partition} are being changed by others; try again.")


def _as_rules(raw: bytes | None) -> Signing | None:
    try:
        order = control_entries.validate_json(raw) if raw is not None else None
    except ValidationError:
        return None
    return order if isinstance(order, Signing) else None
