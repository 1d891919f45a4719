"""What a command needs to reach the running system, built when it is asked for."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.client.control import Control
    from trimtab.ports import PartitionStore
    from trimtab_worker.bootstrap import Services


def services() -> Services:
    """Everything, over the addresses now in force; `--data-dir` has put its choice into the environment before."""
    from trimtab_worker.bootstrap import Services

    return Services()


def redis_url() -> str:
    """Where the data server is.

    Raises:
        Unavailable: nothing names one.
    """
    return services().addresses.redis_url


def control() -> Control:
    """Orders and reads, in the name of the user."""
    return services().control(by=getpass.getuser())


def store_of(experiment_id: str) -> PartitionStore:
    """The partition that an experiment lives in.

    Raises:
        NotFound: there is no such experiment.
    """
    found = services()
    found.control(by="").show(experiment_id)
    return found.partition_of(experiment_id)
