"""What the user of this process may do on the data server: enough for its work, and nothing that could undo it."""

from __future__ import annotations

from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from trimtab.schema.keys import EXPERIMENTS, LOG, ExperimentKeys, PartitionKeys
from trimtab_worker.services.finding import Finding

USERS = "deploy/redis/users.acl"
_LOCAL = ("127.", "::1", "-::1", "localhost")

TOO_MUCH = (
    ("FLUSHALL",),
    ("KEYS", "*"),
    ("SHUTDOWN",),
    ("CONFIG", "SET", "appendonly", "no"),
    ("ACL", "SETUSER", "somebody"),
    ("SCRIPT", "FLUSH"),
)
"""What nobody of ours ever does, and what would undo the work of all."""

_PARTITION, _EXPERIMENT = PartitionKeys(0), ExperimentKeys("any")
ENOUGH = (
    ("INFO", "server"),
    ("TIME",),
    ("SCRIPT", "LOAD", "return 1"),
    ("XADD", _PARTITION.events, "*", "control", "{}"),
    ("XREAD", "STREAMS", _PARTITION.events, "0"),
    ("XTRIM", _PARTITION.events, "MINID", "0"),
    ("XINFO", "STREAM", _PARTITION.events),
    ("HSET", _PARTITION.cur, "id", "0-0"),
    ("SADD", _PARTITION.marks("any"), "1"),
    ("COPY", _PARTITION.cur, PartitionKeys(0, "snapshot").cur),
    ("UNLINK", _PARTITION.lease),
    ("HGET", LOG, "partitions"),
    ("SADD", EXPERIMENTS, "any"),
    ("SET", _EXPERIMENT.weights, "{}"),
    ("HSET", _EXPERIMENT.definition, "revision", "1"),
    ("XADD", _EXPERIMENT.ledger, "*", "entry", "{}"),
    ("PUBLISH", _EXPERIMENT.notices, "1"),
)
"""What a worker does, one command of each kind and key."""


def rights(data: Any) -> Finding:
    """Neither too wide nor too narrow; asked without doing anything."""
    try:
        user = _text(data.acl_whoami())
    except NoPermissionError:
        return _narrow("The user of this process may not even ask who it is", "trimtab-operator")
    if user == "default":
        return _without_users(data)
    try:
        refused = [command for command in ENOUGH if not _may(data, user, command)]
        granted = [command for command in TOO_MUCH if _may(data, user, command)]
    except NoPermissionError:
        return _narrow(f"User {user} may not ask what it may do", "trimtab-operator")
    if granted:
        what = ", ".join(" ".join(command[:2]) for command in granted)
        return Finding("rights", False, f"User {user} may do too much: {what}.", f"Give it the rights in {USERS}.")
    if refused:
        what = ", ".join(" ".join(command[:2]) for command in refused)
        return _narrow(f"User {user} may do too little: it lacks {what}", user)
    return Finding("rights", True, f"User {user} may do what it needs and no more.")


def _narrow(found: str, user: str) -> Finding:
    return Finding("rights", False, f"{found}.", f"Give it the rights of {user} in {USERS}.")


def _without_users(data: Any) -> Finding:
    """Everybody is the default user: harmless where nobody else can reach the server."""
    try:
        settings = {_text(k): _text(v) for k, v in data.config_get("bind", "protected-mode").items()}
    except NoPermissionError:
        return Finding("rights", True, "The default user is restricted.")
    addresses = settings.get("bind", "").split()
    if addresses and all(address.startswith(_LOCAL) for address in addresses):
        return Finding("rights", True, "Only this machine reaches the data server; everybody here may do everything.")
    open_to_all = _needs_no_password(data)
    if open_to_all and settings.get("protected-mode") == "yes":  # which a password switches off
        return Finding("rights", True, "The data server takes nobody from other machines: it is in protected mode.")
    whoever = "Whoever reaches the data server" if open_to_all else "Whoever has the data server's one password"
    found = f"{whoever} may do everything: there are no users."
    return Finding("rights", False, found, f"Give each role its user from {USERS}, and switch the default one off.")


def _needs_no_password(data: Any) -> bool:
    """Whether the default user has none."""
    try:
        described = data.execute_command("ACL", "GETUSER", "default")
    except NoPermissionError:
        return True  # the worse case
    return "nopass" in map(_text, described[b"flags"])


def _may(data: Any, user: str, command: tuple[str, ...]) -> bool:
    try:
        return _text(data.execute_command("ACL", "DRYRUN", user, *command)) == "OK"
    except NoPermissionError:
        raise
    except ResponseError:
        return False


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
