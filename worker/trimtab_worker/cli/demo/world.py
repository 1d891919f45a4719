"""What is true in the demo: three variants, one of them best, while everybody's rate drifts together."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass, field
from typing import Any

METRIC = "converted"


@dataclass(frozen=True, slots=True)
class World:
    """Conversion rates by variant and time; differences stay, the common level swings.

    The gaps are such that some thousand outcomes a second tell the variants apart within half a minute, not at once.
    """

    experiment_id: str = field(default_factory=lambda: f"demo-{secrets.token_hex(3)}")
    rates: dict[str, float] = field(default_factory=lambda: {"control": 0.100, "green": 0.106, "blue": 0.114})
    swing: float = 0.03
    period_seconds: float = 40.0

    @property
    def best(self) -> str:
        return max(self.rates, key=self.rates.__getitem__)

    def rate(self, variant: str, seconds: float) -> float:
        """The true rate of `variant`, `seconds` after the start."""
        return self.rates[variant] + self.swing * math.sin(2 * math.pi * seconds / self.period_seconds)

    def definition(self) -> dict[str, Any]:
        """The experiment: a decision a second, in steps so small that a minute shows the whole way."""
        return {
            "id": self.experiment_id,
            "description": "The live demo: outcomes are drawn from a known truth.",
            "variants": [{"id": variant} for variant in self.rates],
            "metrics": [{"name": METRIC, "kind": "binary", "primary": True}],
            "strategy": "thompson",
            "constraints": {"preset": "explore_defaults", "max_step": 0.02, "min_weight": 0.02, "cooldown_seconds": 0},
            "recompute_seconds": 1,
        }
