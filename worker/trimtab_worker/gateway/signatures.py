"""What the log demands of signatures and tokens, asked before events are taken: 202 must not mean a dead letter. Pure.

A gateway holds a producer's key and no secret. So it knows whether its key is in force, and which events lack a token;
whether a token is genuine, and its key in force at that place of the log, the fold alone finds out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from trimtab.schema.control import Signing
from trimtab.schema.dead_letter import DeadLetterCode
from trimtab.schema.event import OutcomeEvent
from trimtab.schema.signing import SigningKey
from trimtab_worker.gateway.problems import Reason, unavailable

RETRY_SECONDS = 30  # a person must give the gateway a key

_TOKEN = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\.\d+\.[0-9a-f]{32}").fullmatch
_NO_TOKEN = "token: the experiment counts outcomes only with the token that their exposure was given"


def check_key(rules: Signing | None, key: SigningKey | None) -> None:
    """Make sure that what is signed with `key` (None: nothing is) is admitted under these rules (None: there are none).

    Raises:
        Refusal: 503, it would become a dead letter.
    """
    if rules is None or (key is None and not rules.required) or (key and key.key_id in rules.key_ids):
        return
    what = f"its key {key.key_id!r} is not in force" if key else "it has no key"
    raise unavailable(
        f"The log takes signed events only from this gateway, and {what}: an operator issues one with "
        "`trimtab keys issue`, as its TRIMTAB_SIGNING_KEY. Nothing was written.",
        RETRY_SECONDS,
    )


def without_token(events: Sequence[OutcomeEvent], demanding: Collection[str]) -> list[Reason]:
    """Reasons for events of the experiments that are `demanding` tokens and have none."""
    return [
        Reason(row=place, code=DeadLetterCode.AUTH, detail=_NO_TOKEN)
        for place, event in enumerate(events)
        if event.experiment_id in demanding and not _TOKEN(event.token or "")
    ]
