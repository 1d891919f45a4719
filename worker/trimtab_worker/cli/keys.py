"""Signing keys on the command line: `keys list`, `keys issue`, `keys revoke`, `keys require`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trimtab_worker.cli import options, render, session

if TYPE_CHECKING:
    from trimtab.ports import PartitionStore
    from trimtab.schema.signing import Keyring

app = typer.Typer(help="Who may sign events, and whether they must be signed.", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(metavar="KEY", help="Name of the key: a producer's, say.")]


@app.command("list")
def list_(data_dir: options.DataDir = None, json: options.Json = False) -> None:
    """List the keys in force."""
    from trimtab_worker.services.signing import in_force

    stores, _ = _all()
    found = {store.partition: in_force(store) for store in stores}
    if json:
        render.show_json({str(n): rules.model_dump(mode="json") if rules else None for n, rules in found.items()})
        return
    for number, rules in found.items():
        if rules is None:
            render.say(f"Partition {number}: signatures are not looked at.")
            continue
        unsigned = "refused" if rules.required else "taken"
        keys = ", ".join(rules.key_ids) or "none"
        render.say(f"Partition {number}: keys {keys}; unsigned entries are {unsigned}; secret {rules.fingerprint}.")


@app.command()
def issue(
    key: KeyId,
    newest: Annotated[
        bool, typer.Option("--newest", help="Derive it from the newest secret; all keys of the one before end.")
    ] = False,
    data_dir: options.DataDir = None,
) -> None:
    """Put a key into force and print it; give it to its producer as TRIMTAB_SIGNING_KEY."""
    from trimtab_worker.services.signing import issue as service

    stores, keyring = _all()
    before = _in_force(stores)
    render.say(service(stores, keyring, _checked(key), newest=newest).text())
    if ended := before - _in_force(stores):
        render.note(f"Keys of the secret before sign nothing any more; issue each anew: {', '.join(sorted(ended))}.")


@app.command()
def revoke(key: KeyId, data_dir: options.DataDir = None) -> None:
    """Take a key out of force; what it signs from now on is refused."""
    from trimtab_worker.services.signing import revoke as service

    service(*_all(), _checked(key))
    render.say(f"Key {key} may not sign any more.")


@app.command()
def require(
    off: Annotated[bool, typer.Option("--off", help="Take unsigned entries again.")] = False,
    data_dir: options.DataDir = None,
) -> None:
    """Refuse what is not signed, orders included."""
    from trimtab_worker.services.signing import require as service

    service(*_all(), not off)
    render.say("Unsigned entries are taken." if off else "Unsigned entries are refused from now on.")


def _all() -> tuple[list[PartitionStore], Keyring]:
    services = session.services()
    return [services.partition(number) for number in range(services.partition_count())], services.keyring


def _in_force(stores: list[PartitionStore]) -> set[str]:
    """Names of the keys in force in any partition."""
    from trimtab_worker.services.signing import in_force

    return {name for rules in map(in_force, stores) if rules for name in rules.key_ids}


def _checked(key: str) -> str:
    import re

    from trimtab.ids import SLUG_PATTERN

    if not re.fullmatch(SLUG_PATTERN, key):
        raise typer.BadParameter(f"{key!r} must match {SLUG_PATTERN}")
    return key
