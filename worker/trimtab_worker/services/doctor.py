"""The doctor: what must be true around Trimtab for its promises to hold, asked one by one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import redis
from redis.exceptions import ResponseError

from trimtab.adapters.redis.connection import UNREACHABLE, unavailable
from trimtab.clock import Clock, system_clock
from trimtab.errors import ConfigurationError, LogGap, TrimtabError
from trimtab_worker import health
from trimtab_worker.services.finding import Finding
from trimtab_worker.services.rights import rights

MIN_REDIS_MAJOR = 7  # script flags (`allow-oom`) and stream counters came with 7.0; Valkey began as 7.2
MAX_ODD_SETS = 0.01  # chance makes no set outgrow the limit; one in a hundred is a limit that was lowered
MAX_SKEW_MS = 1000  # horizons are days; a second shows a clock that is not kept at all
MAX_MEMORY_SHARE = 0.85  # where the gateway takes no more events, and an alert pages somebody


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the doctor looks at; functions are called only where the server answers.

    `check_gap` raises `LogGap` for a partition with one, `check_secret` `ConfigurationError` for one whose signatures
    cannot be verified here, `check_statistics` `CorruptState` where those of an experiment cannot be read; `encodings`
    gives those of some of a partition's sets of marks, `alive` tells whether a role shows signs of life.
    """

    data: redis.Redis
    broker: redis.Redis
    partitions: Callable[[], int]
    check_gap: Callable[[int], None]
    check_secret: Callable[[int], None]
    check_statistics: Callable[[int], None]
    encodings: Callable[[int], Collection[str]]
    alive: Callable[[str], bool]
    visibility_seconds: float
    time_limit_seconds: float
    unknown_settings: tuple[str, ...] = ()
    clock: Clock = system_clock


def examine(around: Surroundings) -> list[Finding]:
    """All findings, in the order in which they should be repaired."""
    findings = [reachable("data server", around.data), reachable("broker", around.broker)]
    findings.append(visibility(around.visibility_seconds, around.time_limit_seconds))
    findings.extend(misspelled(around.unknown_settings))
    if not findings[0].ok:
        return findings
    findings.extend(server_checks(around.data))
    findings.append(memory_left(around.data))
    if findings[1].ok:
        findings.append(broker_apart(around.data, around.broker))
    findings.append(clock_skew(around.data, around.clock))
    findings.append(rights(around.data))
    for number in range(around.partitions()):
        findings.append(log_gap(number, around.check_gap))
        findings.append(statistics(number, around.check_statistics))
        findings.append(marks(number, around.encodings))
        findings.append(secret(number, around.check_secret))
    findings.extend(heartbeats(around.alive, broker_answers=findings[1].ok))
    return findings


def server_checks(data: redis.Redis) -> Iterator[Finding]:
    """What the data server itself must be like; a worker asks the same before it starts.

    Raises:
        Unavailable: the server does not answer.
    """
    try:
        yield version(data)
        yield memory_policy(data)
        yield append_only(data)
    except UNREACHABLE as error:
        raise unavailable(error, data) from error


def reachable(name: str, client: redis.Redis) -> Finding:
    """Whether a server answers."""
    try:
        client.ping()
    except UNREACHABLE as error:
        sentence, setting = str(unavailable(error, client)), "REDIS_URL"
        if name == "broker":  # the sentence is made for the data server, and the broker's address is another setting
            setting = "BROKER_URL"
            sentence = sentence.replace("data server", name).replace("REDIS_URL", setting)
        return Finding(name, False, sentence, f"`trimtab up` starts one, but only where {setting} names none.")
    return Finding(name, True, f"The {name} answers.")


def version(data: redis.Redis) -> Finding:
    """Redis 7.0 or any Valkey."""
    info = data.info("server")
    if "valkey_version" in info:
        return Finding("version", True, f"The data server is Valkey {info['valkey_version']}.")
    text = str(info.get("redis_version", "0"))
    ok = int(text.partition(".")[0]) >= MIN_REDIS_MAJOR
    found = f"The data server is Redis {text}."
    return Finding("version", ok, found, "" if ok else "Use Redis 7.0 or newer, or Valkey.", fatal=True)


def memory_policy(data: redis.Redis) -> Finding:
    """A full server must refuse, not forget: an evicted statistic would be a silent lie."""
    policy = data.info("memory").get("maxmemory_policy", "unknown")
    ok = policy == "noeviction"
    remedy = "" if ok else "Set maxmemory-policy to noeviction, so that a full server refuses writes."
    return Finding("noeviction", ok, f"The data server's memory policy is {policy}.", remedy, fatal=True)


def memory_left(data: redis.Redis) -> Finding:
    """A full server refuses events, new experiments and rebuilds; what is said then is only that it refused."""
    info = data.info("memory")
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not most:
        return Finding("memory", True, "The data server's memory has no limit of its own.")
    found = f"The data server uses {used / most:.0%} of its memory limit of {most / 2**20:,.0f} MiB."
    if used <= MAX_MEMORY_SHARE * most:
        return Finding("memory", True, found)
    remedy = (
        "Raise maxmemory, or lower TRIMTAB_LOG_RETENTION_BYTES: beyond the limit it refuses events, which wait with "
        "their publishers, and new experiments; what came before is still folded and decided on."
    )
    return Finding("memory", False, found, remedy)


def append_only(data: redis.Redis) -> Finding:
    """Without an append-only file a restart brings back an older state, or none."""
    ok = bool(data.info("persistence").get("aof_enabled", 0))
    found = f"The append-only file is {'on' if ok else 'off'}."
    return Finding("append-only file", ok, found, "" if ok else "Set appendonly to yes, or a crash loses outcomes.")


def broker_apart(data: redis.Redis, broker: redis.Redis) -> Finding:
    """Another database of the same server is not enough: memory is shared."""
    same = data.info("server").get("run_id") == broker.info("server").get("run_id")
    if same:
        return Finding(
            "broker apart",
            False,
            "Broker and data server are the same server.",
            "Set BROKER_URL to a server of its own: a full shared one refuses the nudges that empty it.",
        )
    return Finding("broker apart", True, "Broker and data server are two servers.")


def visibility(timeout: float, limit: float) -> Finding:
    """A message is not delivered again while it may still run."""
    ok = timeout >= 4 * limit
    found = f"The visibility timeout is {timeout:g} s for a task time limit of {limit:g} s."
    remedy = "" if ok else "Raise visibility_timeout to four time limits; running tasks are delivered twice."
    return Finding("visibility timeout", ok, found, remedy)


def clock_skew(data: redis.Redis, clock: Clock) -> Finding:
    """This machine's clock against the data server's, half the round trip allowed for."""
    before = clock()
    seconds, micros = data.time()
    skew = (before + clock()) / 2 - (seconds * 1000 + micros / 1000)
    ok = abs(skew) < MAX_SKEW_MS
    remedy = "" if ok else "Let both machines keep their clocks by NTP."
    return Finding("clock skew", ok, f"This machine's clock is {skew / 1000:+.3f} s off the data server's.", remedy)


def log_gap(number: int, check_gap: Callable[[int], None]) -> Finding:
    """Nothing unread was removed from a partition's log."""
    name = f"log of partition {number}"
    try:
        check_gap(number)
    except LogGap as gap:
        # Which command helps depends on what is gone, so only the gap's own sentence names it.
        return Finding(name, False, str(gap), "Do what it says, in that order; weights wait for it.")
    except TrimtabError as error:
        return Finding(name, False, str(error), f"Run `trimtab rebuild {number}` once the cause is removed.")
    return Finding(name, True, "Nothing unread was removed from it.")


def statistics(number: int, check_statistics: Callable[[int], None]) -> Finding:
    """What a partition has counted of each experiment can be read: the fold stops at outcomes of one that cannot."""
    name = f"statistics of partition {number}"
    try:
        check_statistics(number)
    except TrimtabError as error:
        return Finding(name, False, str(error), f"Run `trimtab rebuild {number}` once the cause is removed.")
    return Finding(name, True, "Those of every experiment can be read.")


def marks(number: int, encodings: Callable[[int], Collection[str]]) -> Finding:
    """Dedupe marks lie in sets of integers: in any other form they take eight times the memory."""
    name = f"marks of partition {number}"
    try:
        found = encodings(number)
    except ResponseError:
        return Finding(name, True, "How they are stored cannot be asked by this user.")
    except TrimtabError as error:
        return Finding(name, False, str(error), f"Run `trimtab rebuild {number}` once the cause is removed.")
    odd = sum(encoding != "intset" for encoding in found)
    if odd > len(found) * MAX_ODD_SETS:
        remedy = "Set set-max-intset-entries to 512 or more; new sets of marks are small again."
        return Finding(name, False, f"{odd} of {len(found)} sets of marks are no integer sets.", remedy)
    return Finding(name, True, "They are stored as small sets of integers.")


def secret(number: int, check_secret: Callable[[int], None]) -> Finding:
    """Signatures in a partition's log can be verified with this process's settings."""
    name = f"signatures of partition {number}"
    try:
        check_secret(number)
    except ConfigurationError as error:
        return Finding(name, False, str(error), "Set TRIMTAB_SIGNING_SECRET to it, for workers and operators alike.")
    except TrimtabError as error:
        return Finding(name, False, str(error), f"Run `trimtab rebuild {number}` once the cause is removed.")
    return Finding(name, True, "They can be verified, or none are looked at.")


def heartbeats(alive: Callable[[str], bool], *, broker_answers: bool) -> Iterator[Finding]:
    """Somebody in each role showed a sign of life; who cannot show one is not taken for dead."""
    shown = {role: alive(role) for role in ("ingest", "decide", health.BEAT)}
    for role, lives in shown.items():
        name = f"heartbeat of {role}"
        if lives:
            yield Finding(name, True, f"{role} is alive.")
            continue
        remedy = _start(role)
        if not broker_answers:  # workers wait for it, and beat's sign of life is a message
            remedy = "Bring the broker back first: without it nobody shows a sign of life."
        elif role == health.BEAT and not shown["decide"]:
            remedy = "Start decide first: it is decide that notes beat's signs of life."
        yield Finding(name, False, f"{role} has shown no sign of life lately.", remedy)


def _start(role: str) -> str:
    what = (
        health.BEAT if role == health.BEAT else f"worker -Q {role} -c 1 --without-gossip --without-mingle -n {role}@%h"
    )
    return f"Start it with `celery -A trimtab_worker.app {what}`, or everything with `trimtab up`."


def misspelled(names: tuple[str, ...]) -> Iterator[Finding]:
    """Environment variables with our prefix that nobody reads."""
    for name in names:
        yield Finding("settings", False, f"{name} is no setting.", "Correct its name, or remove it.")
