"""`POST /v1/events`: what is answered with 202 is in the log; what cannot be taken now is sent back with a time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import redis.asyncio
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError
from starlette.requests import Request
from starlette.responses import Response

from trimtab import telemetry
from trimtab.adapters.redis.connection import UNREACHABLE
from trimtab.clock import system_clock
from trimtab.ids import partition_of
from trimtab.schema.control import Signing
from trimtab.schema.dead_letter import DeadLetterCode
from trimtab.schema.event import OutcomeEvent
from trimtab.schema.keys import LOG, ExperimentKeys, PartitionKeys
from trimtab.schema.signing import SigningKey
from trimtab_worker.gateway.board import Board
from trimtab_worker.gateway.bodies import JSON, read_body
from trimtab_worker.gateway.events import check, entries, read_rows, refused
from trimtab_worker.gateway.pressure import MEMORY_RETRY_SECONDS, Gauge
from trimtab_worker.gateway.problems import Reason, Refusal, invalid, slow_down, unavailable
from trimtab_worker.gateway.signatures import check_key, without_token

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,200}").fullmatch
_RESULT_UNKNOWN = "Some events may be in the log: send them again under the same event ids."

log = telemetry.get_logger(__name__)


class Intake:
    """Checks and writes events; one for one event loop."""

    def __init__(
        self, client: redis.asyncio.Redis, board: Board, gauge: Gauge, max_unread: int, key: SigningKey | None = None
    ) -> None:
        self._client: Any = client
        self._board = board
        self.gauge = gauge
        self._max_unread = max_unread
        self._key = key

    async def take(self, request: Request) -> Response:
        """202 once everything is in the log.

        Raises:
            Refusal: 400, 413 or 415 for what is sent; 429 or 503 for when it is sent.
        """
        if trouble := self.gauge.newest.relief(self._max_unread):
            raise slow_down(f"{trouble[0]}: send these events again in {trouble[1]} s.", trouble[1])
        rows = read_rows(request.headers.get("content-type", ""), request.headers, await read_body(request))
        events = check(rows, _idempotency_key(request))
        await self._check_experiments(events)
        await self._write(events)
        return Response(orjson.dumps({"accepted": len(events)}), 202, media_type=JSON)

    async def _check_experiments(self, events: Sequence[OutcomeEvent]) -> None:
        """Events of experiments that were never created would only fill the dead letters."""
        names = {event.experiment_id for event in events}
        unknown = {name for name in names if not await self._board.exists(name)}
        if unknown and not self._board.is_fresh():
            raise _away()
        reasons = [
            Reason(
                row=place,
                code=DeadLetterCode.UNKNOWN_EXPERIMENT,
                detail=f"there is no experiment {event.experiment_id!r}",
            )
            for place, event in enumerate(events)
            if event.experiment_id in unknown
        ]
        if reasons:
            raise refused(reasons, len(events))

    async def _check_signatures(
        self, events: Sequence[OutcomeEvent], parted: Mapping[int, Sequence[OutcomeEvent]]
    ) -> None:
        """What the fold would refuse as not signed, or as without a token, is refused here, as far as it shows."""
        homes = {event.experiment_id: partition for partition, own in parted.items() for event in own}
        pipeline = self._client.pipeline(transaction=False)
        for partition in parted:
            pipeline.hget(PartitionKeys(partition).cur, "signing")
        for name in homes:
            pipeline.hget(ExperimentKeys(name).definition, "definition")
        replies = await pipeline.execute()
        rules = {partition: _rules(raw) for partition, raw in zip(parted, replies, strict=False)}
        for found in rules.values():
            check_key(found, self._key)
        demanding = {
            name
            for name, raw in zip(homes, replies[len(parted) :], strict=True)
            if raw and orjson.loads(raw).get("exposure_tokens")
        }
        reasons = without_token(events, demanding)
        if reasons:
            raise refused(reasons, len(events))

    def _signature(self, field: str, payload: bytes) -> dict[str, bytes]:
        return self._key.sign(field, payload) if self._key else {}

    async def _write(self, events: Sequence[OutcomeEvent]) -> None:
        """All entries in one transaction: a server that refuses one takes none."""
        try:
            partitions = int(await self._client.hget(LOG, "partitions") or 0)
            if not partitions:
                raise unavailable("There is no event log yet: create an experiment first.")
            parted = _by_partition(events, partitions)
            await self._check_signatures(events, parted)
            commands = [
                (PartitionKeys(partition).events, {field: payload, **self._signature(field, payload)})
                for partition, own in parted.items()
                for field, payload in entries(own, system_clock())
            ]
            pipeline = self._client.pipeline(transaction=len(commands) > 1)
            for stream, entry in commands:
                pipeline.xadd(stream, entry)
            await pipeline.execute()
        except OutOfMemoryError:
            raise slow_down(
                f"The data server's memory is full: send these events again in {MEMORY_RETRY_SECONDS} s.",
                MEMORY_RETRY_SECONDS,
            ) from None
        except (*UNREACHABLE, OSError):
            raise _away() from None
        except ResponseError as error:  # no disk, no right, a replica: nothing was written, and a person must look
            log.error("events_refused", error=str(error).rpartition("caused error: ")[2])
            raise unavailable("The data server refuses to write; the gateway's log says why.", 10) from None
        except RedisError as error:
            log.error("events_failed", error=type(error).__name__)
            raise _away() from None


def _away() -> Refusal:
    return unavailable(f"The data server did not answer. {_RESULT_UNKNOWN}")


def _rules(raw: bytes | None) -> Signing | None:
    return Signing.model_validate_json(raw) if raw else None


def _by_partition(events: Sequence[OutcomeEvent], partitions: int) -> dict[int, list[OutcomeEvent]]:
    found: dict[int, list[OutcomeEvent]] = {}
    for event in events:
        found.setdefault(partition_of(event.experiment_id, partitions), []).append(event)
    return found


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not _IDEMPOTENCY_KEY(key):
        raise invalid("An Idempotency-Key has 1 to 200 visible ASCII characters.")
    return key
