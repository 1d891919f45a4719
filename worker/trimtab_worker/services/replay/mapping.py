"""Which column of the file holds what."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Mapping:
    """Which column holds what; `variants` maps values of the file to variant ids where they differ."""

    variant: str
    metrics: dict[str, str]
    unit: str | None = None
    time: str | None = None
    epoch: str | None = None
    variants: dict[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """Every column that is read, once each."""
        named = [self.variant, *self.metrics.values(), self.unit, self.time, self.epoch]
        return list(dict.fromkeys(name for name in named if name is not None))
