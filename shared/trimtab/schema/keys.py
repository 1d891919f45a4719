"""Every Redis key of Trimtab, spelled once.

======================================  ========  ====================================================================
key                                     type      what it holds
======================================  ========  ====================================================================
trimtab:log                             hash      `partitions`: how many, for ever; `life`: a mark that a flush loses
trimtab:experiments                     set       ids of all experiments
trimtab:fence                           string    a gateway's last write, to wait for the disk with
trimtab:heartbeat:<role>:<name>         string    last sign of life of a worker or beat, expiring
trimtab:{p<N>}:events                   stream    the log: fields `event`, `batch` or `control`, JSON each
trimtab:{p<N>}:epochs                   hash      experiment → last epoch announced in the log (head of the log)
trimtab:{p<N>}:cur                      hash      where the fold stands: `id`, `clock`, `run`, counters
trimtab:{p<N>}:experiments              set       experiments whose definition the fold has read
trimtab:{p<N>}:stats:<experiment>       hash      definition, status, epochs, cells and counters, as the fold wrote them
trimtab:{p<N>}:producers                hash      producer → last sequence and when it was read
trimtab:{p<N>}:seen                     hash      index of dedupe marks: scope → how many
trimtab:{p<N>}:seen:<scope>:<level>:<b> set       dedupe marks: 63-bit digests in small integer sets
trimtab:{p<N>}:dead                     stream    dead letters, the newest of them
trimtab:{p<N>}:dead-size                hash      `bytes` of the dead letters kept, `dropped`: how many made room
trimtab:{p<N>}:lease                    string    which drain reads at present (an economy, never a safety)
trimtab:{p<N>}:drain                    string    when a drain last reported, in milliseconds
trimtab:{p<N>}:attempt                  string    what a drain tries at present; found again after its death
trimtab:{p<N>}:quarantined              set       ids of entries that kill whoever reads them
trimtab:{p<N>}:snapshot:…               as above  copy of cur, experiments, stats, producers, seen at a trim
trimtab:{p<N>}:rebuild-<token>:…        as above  the same, while one rebuild folds the log again
trimtab:{p<N>}:rebuilds                 zset      spaces of rebuilds → when each began, in milliseconds
trimtab:{<experiment>}:weights          string    the allocation: the polled key, public API
trimtab:{<experiment>}:definition       hash      definition, status, revision and what the next decision needs
trimtab:{<experiment>}:ledger           stream    decisions and acts, id `<decision>-<repeats>`
trimtab:{<experiment>}:tick:<slot>      string    which recompute slot was claimed already, expiring
trimtab:{<experiment>}:clients          zset      who serves which revision → when it said so; expiring
trimtab:{<experiment>}:notices          channel   the new revision, at every publication
======================================  ========  ====================================================================

All keys of a partition, and all keys of an experiment, share one hash tag: each script touches one slot.
"""

from __future__ import annotations

from dataclasses import dataclass

LOG = "trimtab:log"
EXPERIMENTS = "trimtab:experiments"
FENCE = "trimtab:fence"
NOTICES_PATTERN = "trimtab:{*}:notices"


def heartbeat(role: str, name: str) -> str:
    return f"trimtab:heartbeat:{role}:{name}"


@dataclass(frozen=True, slots=True)
class PartitionKeys:
    """Keys of one partition; `space` is empty for the live state, else `snapshot` or `rebuild-<token>`."""

    partition: int
    space: str = ""

    @property
    def tag(self) -> str:
        return f"trimtab:{{p{self.partition}}}:"

    @property
    def prefix(self) -> str:
        return f"{self.tag}{self.space}:" if self.space else self.tag

    @property
    def events(self) -> str:
        return f"{self.tag}events"

    @property
    def epochs(self) -> str:
        return f"{self.tag}epochs"

    @property
    def rebuilds(self) -> str:
        return f"{self.tag}rebuilds"

    @property
    def lease(self) -> str:
        return f"{self.tag}lease"

    @property
    def drain(self) -> str:
        return f"{self.tag}drain"

    @property
    def attempt(self) -> str:
        return f"{self.tag}attempt"

    @property
    def quarantined(self) -> str:
        return f"{self.tag}quarantined"

    @property
    def dead(self) -> str:
        return f"{self.prefix}dead"

    @property
    def dead_size(self) -> str:
        return f"{self.prefix}dead-size"

    @property
    def cur(self) -> str:
        return f"{self.prefix}cur"

    @property
    def experiments(self) -> str:
        return f"{self.prefix}experiments"

    @property
    def producers(self) -> str:
        return f"{self.prefix}producers"

    @property
    def seen(self) -> str:
        return f"{self.prefix}seen"

    def stats(self, experiment_id: str) -> str:
        return f"{self.prefix}stats:{experiment_id}"

    def marks(self, bucket: str) -> str:
        return f"{self.prefix}seen:{bucket}"


@dataclass(frozen=True, slots=True)
class ExperimentKeys:
    """Keys of one experiment's public side."""

    experiment_id: str

    @property
    def tag(self) -> str:
        return f"trimtab:{{{self.experiment_id}}}:"

    @property
    def weights(self) -> str:
        return f"{self.tag}weights"

    @property
    def definition(self) -> str:
        return f"{self.tag}definition"

    @property
    def ledger(self) -> str:
        return f"{self.tag}ledger"

    @property
    def clients(self) -> str:
        return f"{self.tag}clients"

    @property
    def notices(self) -> str:
        return f"{self.tag}notices"

    def tick(self, slot: int) -> str:
        return f"{self.tag}tick:{slot}"
