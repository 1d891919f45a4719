"""Dead letters: look through them, and send them back to the log once their cause is removed.

A letter goes back by *moving*: the same step adds its events to the log and takes it away, so it goes back once however
often that is asked for. The fold then judges it like any other entry, at its new place: an event that is too late by
now becomes a letter again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from trimtab.errors import NotFound
from trimtab.ports import FiledLetter, PartitionStore
from trimtab.schema.dead_letter import DeadLetter, DeadLetterCode
from trimtab.schema.event import CONTROL_FIELD, EVENT_FIELD, OPTIONAL_COLUMNS

PAGE = 500

STAY = {
    DeadLetterCode.TOO_LATE: "they grow only later",
    DeadLetterCode.CRASHED: "reading them ended the process that read; if it no longer does, ask for code crashed",
    DeadLetterCode.UNKNOWN_ENTRY: "there is no event in them",
    DeadLetterCode.AUTH: "nobody vouches for them; their producer sends them again",
}
"""Codes whose letters do not go back, and why; of `crashed`, unless asked for by that name."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters: of a code, of an experiment, or both; None: any."""

    code: DeadLetterCode | None = None
    experiment_id: str | None = None

    def matches(self, letter: DeadLetter) -> bool:
        return self.code in (None, letter.code) and self.experiment_id in (None, letter.experiment_id)


@dataclass(slots=True)
class Redriven:
    """What a redrive did: letters and events that went back, letters that were gone, and why others stayed."""

    letters: int = 0
    events: int = 0
    gone: int = 0
    stayed: Counter[str] = field(default_factory=Counter)


def browse(store: PartitionStore, wanted: Wanted) -> Iterator[FiledLetter]:
    """The partition's letters that match, newest first."""
    before = ""
    while page := store.letters(PAGE, before):
        yield from (filed for filed in page if wanted.matches(filed.letter))
        before = page[-1].id


def find(store: PartitionStore, letter_id: str) -> DeadLetter:
    """One letter.

    Raises:
        NotFound: it was never there, went back to the log, or made room for newer ones.
    """
    letter = store.letter(letter_id)
    if letter is None:
        raise NotFound(
            f"Partition {store.partition} has no dead letter {letter_id!r} (any more): "
            "it went back to the log, or made room for newer ones."
        )
    return letter


def redrive(store: PartitionStore, letter_ids: Iterable[str], *, crashed: bool = False) -> Redriven:
    """Send letters back to the log, in the order given; oldest first keeps the order in which they came.

    `crashed` says that those of this code may go too: an entry that kills its reader once more is isolated once more.
    """
    done = Redriven()
    for letter_id in letter_ids:
        letter = store.letter(letter_id)
        if letter is None:
            done.gone += 1
            continue
        payload = _payload(store, letter, crashed)
        if isinstance(payload, str):
            done.stayed[payload] += 1
        elif store.redrive(letter_id, str(letter.field), payload):
            done.letters += 1
            done.events += letter.n
        else:
            done.gone += 1
    return done


def _payload(store: PartitionStore, letter: DeadLetter, crashed: bool) -> bytes | str:
    """What to add to the log in the letter's field, or why the letter stays."""
    stays = letter.code in STAY and not (crashed and letter.code is DeadLetterCode.CRASHED)
    if stays or letter.field in (None, CONTROL_FIELD):
        return STAY.get(letter.code, "orders are given again, not sent again")
    source = store.entry(letter.source)
    if source is not None:
        raw = source.fields[str(letter.field).encode()]
    elif letter.complete:
        raw = letter.raw.encode()
    else:
        return "their entries were trimmed from the log, and the letters do not quote all of them"
    return raw if letter.field == EVENT_FIELD else _part(raw, letter)


def _part(raw: bytes, letter: DeadLetter) -> bytes:
    """The refused rows of a batch as a batch of their own.

    Without the publisher's number, which the fold has seen: it would drop them as repeated. A batch whose number was
    not taken keeps it, for its publisher may have sent it again since: one refused for its number, or never read.
    """
    try:
        document = json.loads(raw)
    except ValueError:
        return raw
    if not isinstance(document, dict):
        return raw
    if letter.code not in (DeadLetterCode.SEQUENCE_GAP, DeadLetterCode.CRASHED):
        document = {name: value for name, value in document.items() if name not in ("producer", "sequence")}
    if letter.rows is not None:
        _cut(document, list(places(letter.rows)))
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _cut(document: dict[str, Any], rows: list[int]) -> None:
    for name in ("variant", *OPTIONAL_COLUMNS):
        if document.get(name) is not None:
            document[name] = [document[name][row] for row in rows]
    document["metrics"] = {name: [column[row] for row in rows] for name, column in document["metrics"].items()}
    document["n"] = len(rows)


def places(ranges: str) -> Iterator[int]:
    """The places that `3,17-40` names."""
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
