"""One partition in Redis: its log, the state folded from it, and the scripts that move both."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from redis import Redis
from redis.exceptions import ResponseError

from trimtab.adapters.redis.scripts import source
from trimtab.adapters.redis.stream import RedisLog, text, texts
from trimtab.errors import Conflict, CorruptState
from trimtab.fold import Commit, Entry, ExperimentState, PartitionState
from trimtab.fold.commit import LOG_START, Cursor, IdArray
from trimtab.fold.dedupe import Mask, all_buckets
from trimtab.fold.state import counter_field
from trimtab.ports import SCRATCH_MS, DeadSize, FiledLetter, LogEnds, PartitionStore
from trimtab.schema.dead_letter import MAX_DEAD_BYTES, DeadLetter
from trimtab.schema.keys import PartitionKeys
from trimtab.schema.signing import NO_KEYS, Keyring

_STATE = ("cur", "experiments", "producers", "seen")


class RedisPartition(RedisLog, PartitionStore):
    """`PartitionStore` over a Redis client that answers in bytes (see `connection.connect`)."""

    def __init__(self, client: Redis, partition: int, space: str = "", keyring: Keyring = NO_KEYS) -> None:
        super().__init__(client, partition, keyring)
        self.keys = PartitionKeys(partition, space)
        # The library turns each entry into a dictionary twice as slowly as `read` does.
        client.set_response_callback("XREAD", lambda reply, **_: reply)
        self._load = client.register_script(source("load"))
        self._commit = client.register_script(source("commit"))
        self._copy = client.register_script(source("copy"))
        self._redrive = client.register_script(source("redrive"))
        self._lease = client.register_script(source("lease"))
        self._report = client.register_script(source("report"))
        self._attempt = client.register_script(source("attempt"))
        self._renew = client.register_script(source("renew"))
        self._quarantine = client.register_script(source("quarantine"))

    # ── the log ──────────────────────────────────────────────────────────────────────────────────────────────────

    def read(self, after: str, count: int, block_ms: int | None = None) -> list[Entry]:
        waiting = [] if block_ms is None else ["BLOCK", block_ms]
        reply = self._client.execute_command("XREAD", "COUNT", count, *waiting, "STREAMS", self.keys.events, after)
        found = next(iter(reply.values())) if reply else []
        return [Entry(entry_id.decode(), _fields(words or ())) for entry_id, words in found]

    def ends(self) -> LogEnds:
        try:
            info = self._client.xinfo_stream(self.keys.events)
        except ResponseError:  # "no such key": nothing was ever written, or the stream was deleted
            return LogEnds(0, LOG_START, LOG_START, LOG_START, 0)
        info = {text(name): value for name, value in info.items()}
        first = info["first-entry"]
        return LogEnds(
            length=int(info["length"]),
            first_id=text(first[0]) if first else LOG_START,
            last_id=text(info["last-generated-id"]),
            deleted_id=text(info["max-deleted-entry-id"]),
            entries_added=int(info["entries-added"]),
        )

    def trim(self, before: str) -> int:
        # Approximate: whole nodes of some hundred entries. Without `limit=0` it would stop after 10,000 entries.
        return int(self._client.xtrim(self.keys.events, minid=before, approximate=True, limit=0))

    # ── the state ────────────────────────────────────────────────────────────────────────────────────────────────

    def load(self) -> PartitionState:
        keys = self.keys
        read = [keys.cur, keys.producers, keys.seen, keys.quarantined, keys.experiments]
        with self._of_the_folds_making():
            cur, producers, seen, quarantined = self._load(keys=read, args=[_new_run(), LOG_START])
            hashes = texts(cur), texts(producers), texts(seen)
            return PartitionState.parse(self.partition, *hashes, map(text, quarantined))

    def stands(self) -> Cursor:
        try:
            run, entry_id = self._client.hmget(self.keys.cur, "run", "id")
            return Cursor(text(run or b""), text(entry_id or b""))
        except (ResponseError, UnicodeDecodeError):  # the key is of another type, or holds what nobody of ours wrote
            return Cursor("", "")

    def peek(self) -> PartitionState:
        with self._of_the_folds_making():
            fields = self._client.hgetall(self.keys.cur)
            cur = {text(name): text(value) for name, value in fields.items()}
            return PartitionState.parse(self.partition, cur, {}, {})

    def counters(self, names: Iterable[str], wanted: Sequence[str]) -> dict[str, Counter[str]]:
        known = list(names)
        pipe = self._client.pipeline(transaction=False)
        for name in known:
            pipe.hmget(self.keys.stats(name), [counter_field(counter) for counter in wanted])
        with self._of_the_folds_making():
            replies = pipe.execute() if known else []
        return {
            name: Counter({counter: int(n or 0) for counter, n in zip(wanted, found, strict=True)})
            for name, found in zip(known, replies, strict=True)
        }

    def load_experiments(self, names: Iterable[str], at: Cursor | None = None) -> dict[str, ExperimentState | None]:
        wanted = list(names)
        if not wanted:
            return {}
        pipe = self._client.pipeline(transaction=False)
        pipe.smismember(self.keys.experiments, wanted)  # first: what is known there has statistics from then on
        for name in wanted:
            pipe.hgetall(self.keys.stats(name))
        known, *replies = self._read_at(at, pipe)
        with self._of_the_folds_making():
            states = [{text(key): text(value) for key, value in fields.items()} for fields in replies]
            gone = [name for name, listed, fields in zip(wanted, known, states, strict=True) if listed and not fields]
            if gone:
                raise ValueError(f"CORRUPT the statistics of {', '.join(gone)} are gone")
        return {
            name: ExperimentState.parse(name, fields) if fields else None
            for name, fields in zip(wanted, states, strict=True)
        }

    def experiments(self) -> list[str]:
        with self._of_the_folds_making():
            return sorted(text(name) for name in self._client.smembers(self.keys.experiments))

    def seen(self, lookups: Mapping[str, IdArray], at: Cursor | None = None) -> dict[str, Mask]:
        pipe = self._client.pipeline(transaction=False)
        for bucket, marks in lookups.items():
            pipe.smismember(self.keys.marks(bucket), marks.astype("S19").tolist())
        return {
            bucket: np.array(answer, dtype=np.bool_)
            for bucket, answer in zip(lookups, self._read_at(at, pipe) if lookups else [], strict=True)
        }

    def mark_encodings(self, most: int = 100) -> list[str]:
        """How the server stores some of the sets of marks: `intset` is what the memory of the dedupe rests on."""
        scopes = self.load().scopes
        buckets = [bucket for scope, n in sorted(scopes.items()) for bucket in all_buckets(scope, n)][:most]
        pipe = self._client.pipeline(transaction=False)
        for bucket in buckets:
            pipe.object("ENCODING", self.keys.marks(bucket))
        return [text(found) for found in (pipe.execute() if buckets else []) if found is not None]

    def _read_at(self, at: Cursor | None, pipe: Any) -> list[Any]:
        """The pipeline's answers, all of the state at the cursor `at`.

        No transaction, which a full server refuses even around reads. The cursor is asked last, on the same
        connection: the commit alone would not notice a state that moved on, was read, and fell back with its server.
        """
        pipe.hmget(self.keys.cur, "run", "id")
        with self._of_the_folds_making():
            replies: list[Any] = pipe.execute()
        cursor = replies.pop()
        if at is not None and Cursor(*(text(part or b"") for part in cursor)) != at:
            raise Conflict(f"The state of partition {self.partition} moved on while it was read. Read it again.")
        return replies

    def commit(self, commit: Commit) -> bool:
        keys = self.keys
        shared = [keys.cur, keys.experiments, keys.producers, keys.seen, keys.dead, keys.dead_size]
        stats = [keys.stats(name) for name in commit.experiments]
        buckets = [keys.marks(bucket) for bucket in commit.marks]
        expired = [keys.marks(bucket) for bucket in commit.expired_buckets]
        args: list[Any] = [commit.expected.run, commit.expected.id, json.dumps(_plan(commit)), len(stats), len(buckets)]
        packed = [_packed(marks) for marks in commit.marks.values()]
        with self._of_the_folds_making():
            return bool(self._commit(keys=[*shared, *stats, *buckets, *expired], args=[*args, *packed]))

    @contextmanager
    def _of_the_folds_making(self) -> Iterator[None]:
        """Turn an answer that only a damaged state gives into `CorruptState`."""
        try:
            yield
        except (ResponseError, ValueError) as error:
            said = str(error)
            if isinstance(error, ResponseError) and "CORRUPT" not in said and "WRONGTYPE" not in said:
                raise
            found = said.partition("CORRUPT ")[2] or "it has a key or a value that the fold does not write"
            raise CorruptState(
                f"The state of partition {self.partition} was left as it is: {found}. "
                f"Run: trimtab rebuild {self.partition}"
            ) from error

    def dead_letters(self, count: int) -> list[DeadLetter]:
        return [letter for _, letter in self.letters(count)]

    def letters(self, count: int, before: str = "") -> list[FiledLetter]:
        entries = self._client.xrevrange(self.keys.dead, max=f"({before}" if before else "+", count=count)
        return [FiledLetter(text(found), _letter(fields)) for found, fields in entries]

    def letter(self, letter_id: str) -> DeadLetter | None:
        found = self._client.xrange(self.keys.dead, min=letter_id, max=letter_id)
        return _letter(found[0][1]) if found else None

    def dead_size(self) -> DeadSize:
        size, dropped = self._client.hmget(self.keys.dead_size, "bytes", "dropped")
        return DeadSize(self._client.xlen(self.keys.dead), int(size or 0), int(dropped or 0))

    def entry(self, entry_id: str) -> Entry | None:
        found = self._client.xrange(self.keys.events, min=entry_id, max=entry_id)
        return Entry(entry_id, found[0][1]) if found else None

    def redrive(self, letter_id: str, field: str, payload: bytes) -> bool:
        keys = [self.keys.events, self.keys.dead, self.keys.dead_size]
        return bool(self._redrive(keys=keys, args=[letter_id, *self._signed(field, payload)]))

    # ── spaces: the live state, its snapshot, a rebuild ──────────────────────────────────────────────────────────

    def space(self, name: str) -> RedisPartition:
        return RedisPartition(self._client, self.partition, name, self.keyring)

    def scratch(self) -> RedisPartition:
        now = self.now()
        for name in self._client.zrangebyscore(self.keys.rebuilds, "-inf", now - SCRATCH_MS):
            self.space(text(name)).clear()
        space = self.space(f"rebuild-{secrets.token_hex(8)}")
        self._client.zadd(self.keys.rebuilds, {space.keys.space: now})  # before anything is written there
        return space

    def copy_from(self, source: PartitionStore, over: Cursor | None = None) -> bool:
        if not isinstance(source, RedisPartition):
            raise TypeError("a space is copied from a space of the same partition")
        state, left = source.load(), self._names_left()
        over = over or self.stands()
        names = source._state_names(state)
        pairs = [key for name in names for key in (source.keys.prefix + name, self.keys.prefix + name)]
        gone = sorted(set(left) - set(names))
        own = [self.keys.cur, self.keys.dead, self.keys.dead_size]
        keys = [source.keys.cur, *own, *pairs, *(self.keys.prefix + name for name in gone)]
        expected = [state.cursor.run, state.cursor.id, over.run, over.id]
        return bool(self._copy(keys=keys, args=[*expected, len(names), _new_run()]))

    def clear(self) -> None:
        # One command, so that no copy and no fold ever finds a part of the state.
        names = self._names_left()
        self._client.unlink(self.keys.dead, self.keys.dead_size, *(self.keys.prefix + name for name in names))
        self._client.zrem(self.keys.rebuilds, self.keys.space)

    def dump(self) -> dict[str, object]:
        state = self.load()
        dump: dict[str, object] = {
            "cur": state.cur_fields(),
            "producers": {name: str(known) for name, known in sorted(state.producers.items())},
            "scopes": dict(sorted(state.scopes.items())),
        }
        for name, experiment in self.load_experiments(self.experiments()).items():
            dump[f"stats:{name}"] = dict(sorted(experiment.fields().items())) if experiment else {}
        for scope, count in sorted(state.scopes.items()):
            for bucket in all_buckets(scope, count):
                with self._of_the_folds_making():
                    members = self._client.smembers(self.keys.marks(bucket))
                    dump[f"seen:{bucket}"] = sorted(int(mark) for mark in members)
        return dump

    def _state_names(self, state: PartitionState) -> list[str]:
        """The state's keys, without prefix."""
        stats = [f"stats:{name}" for name in self.experiments()]
        marks = [f"seen:{bucket}" for scope, n in sorted(state.scopes.items()) for bucket in all_buckets(scope, n)]
        return [*_STATE, *stats, *marks]

    def _names_left(self) -> list[str]:
        """The state's keys, without prefix; of a damaged one those that every state has, for others it cannot name."""
        try:
            return self._state_names(self.load())
        except CorruptState:
            return list(_STATE)

    # ── the drain's courtesies ───────────────────────────────────────────────────────────────────────────────────

    def take_lease(self, holder: str, seconds: float) -> bool:
        return bool(self._lease(keys=[self.keys.lease], args=[holder, int(seconds * 1000)]))

    def leave_lease(self, holder: str) -> None:
        # Not atomic, and need not be: whoever drains without the lease loses at most a commit.
        if self._client.get(self.keys.lease) == holder.encode():
            self._client.unlink(self.keys.lease)

    def renew_log(self, at: Cursor, behind: str = "") -> bool:
        keys = [self.keys.cur, self.keys.events]
        return bool(self._renew(keys=keys, args=[at.run, at.id, _new_run(), behind or LOG_START, int(not behind)]))

    def note_attempt(self, note: str, *, keep: bool = False) -> str:
        return text(self._attempt(keys=[self.keys.attempt], args=[note, int(keep)]))

    def end_attempt(self) -> None:
        self._client.unlink(self.keys.attempt)

    def quarantine(self, entry_id: str, at: Cursor) -> bool:
        keys = [self.keys.cur, self.keys.quarantined]
        return bool(self._quarantine(keys=keys, args=[at.run, at.id, entry_id, _new_run()]))

    def report_drain(self) -> None:
        self._report(keys=[self.keys.drain], args=[self.now()])

    def drained_at(self) -> int | None:
        reported = self._client.get(self.keys.drain)
        return int(reported) if reported else None


def _fields(words: Sequence[bytes]) -> dict[bytes, bytes]:
    """Names and values in turn, which are always as many; an entry has one field, or three where it is signed."""
    match len(words):
        case 2:
            return {words[0]: words[1]}
        case 6:
            return {words[0]: words[1], words[2]: words[3], words[4]: words[5]}
    return dict(zip(words[::2], words[1::2], strict=True))


def _letter(fields: Mapping[bytes, bytes]) -> DeadLetter:
    return DeadLetter.model_validate_json(fields[b"letter"])


def _new_run() -> str:
    return secrets.token_hex(8)


def _plan(commit: Commit) -> dict[str, Any]:
    """The commit but for its marks, as lists that Lua hands on to Redis."""
    return {
        "partition": _flat(commit.partition),
        "experiments": list(commit.experiments),
        "stats": [_flat(fields) for fields in commit.experiments.values()],
        "removed": [commit.removed.get(name, []) for name in commit.experiments],
        "producers": _flat(commit.producers),
        "forgotten": commit.forgotten,
        "scopes": _flat(commit.scopes),
        "expired_scopes": commit.expired_scopes,
        "dead": [letter.model_dump_json() for letter in commit.dead],
        "max_dead_bytes": str(MAX_DEAD_BYTES),
    }


def _flat(fields: Mapping[str, str]) -> list[str]:
    return [word for pair in fields.items() for word in pair]


def _packed(marks: IdArray) -> bytes:
    """Marks as 19 digits each, joined."""
    return marks.astype("S19").tobytes()
