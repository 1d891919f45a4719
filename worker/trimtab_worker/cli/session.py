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
    from trimtab import telemetry
    from trimtab_worker.bootstrap import Services

    found = Services()
    telemetry.hide(found.settings.secrets())
    # Records go to stderr, and only those a person should see: standard output belongs to the answer.
    level = "DEBUG" if found.settings.log_level == "DEBUG" else "WARNING"
    telemetry.configure(log_format=found.settings.log_format, level=level)
    return found


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
