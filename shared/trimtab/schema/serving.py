"""Who serves what: the note that a flag client leaves beside the allocation, so that stale ones can be seen."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from trimtab.schema.base import Schema

CLIENT_NAME_LENGTH = 128


class ServingClient(Schema):
    """One flag client's note on one experiment."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer client may say more

    client: Annotated[str, Field(pattern=r"^[0-9a-f]{1,32}$")]
    name: Annotated[str, Field(max_length=CLIENT_NAME_LENGTH, description="By default host and process id.")]
    incarnation: str
    revision: int
    epoch: int
    stale: bool = Field(description="Whether its answers say STALE.")
