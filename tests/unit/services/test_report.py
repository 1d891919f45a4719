"""The report: what it claims, what it refuses to claim, and that it can always be read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logs import Log, definition, event
from trimtab.adapters.memory import MemoryPartition
from trimtab.errors import NotFound
from trimtab.fold import Cell, ExperimentState
from trimtab.fold.state import EpochRecord
from trimtab.inference import Advice, DecisionThresholds
from trimtab.inference.contract import believes_in_shipping
from trimtab.ports import Published
from trimtab.schema.experiment import Experiment, Status
from trimtab_worker.services import evidence
from trimtab_worker.services.reallocate import Reallocate
from trimtab_worker.services.report import Report, TreatmentReport, report

CONVERTED = {"name": "converted", "kind": "binary", "primary": True}
KINDS: list[dict[str, Any]] = [
    CONVERTED,
    {"name": "clicks", "kind": "count"},
    {"name": "rating", "kind": "continuous"},
    {"name": "amount", "kind": "revenue", "cap": 100},
    {"name": "crashed", "kind": "binary", "direction": "decrease", "harm_limit": .01},
]
EASY = {"min_trials": 300}

Sums = tuple[int, int, int]  # n, Σ, Σ² in the metric's scaled unit


class Kept(MemoryPartition):
    """A partition that keeps one state, whatever the log says."""

    def __init__(self, state: ExperimentState | None) -> None:
        super().__init__()
        self.kept = state

    def load_experiments(self, names: Any) -> dict[str, ExperimentState | None]:
        return dict.fromkeys(names, self.kept)


@dataclass
class World:
    """An experiment with its statistics."""

    experiment: Experiment
    state: ExperimentState

    @classmethod
    def of(
        cls, epochs: Sequence[Mapping[str, Mapping[str, Sums]]], parts: Sequence[Mapping[str, int]] = (), **changes: Any
    ) -> World:
        """Epochs from 1 on: variant → metric → sums; parts as the units of the first metric split, if not given."""
        experiment = Experiment.parse(
            definition(**{"metrics": [CONVERTED], "unit": "unit", "constraints": EASY} | changes)
        )
        state = ExperimentState(experiment, Status.RUNNING)
        first = experiment.metrics[0].name
        for epoch, variants in enumerate(epochs, 1):
            units = {variant: metrics[first][0] for variant, metrics in variants.items() if first in metrics}
            served = dict(parts[epoch - 1]) if parts else split(units, experiment.variant_ids)
            state.epochs[epoch] = EpochRecord(epoch * 60_000, served)
            for variant, metrics in variants.items():
                state.trials[epoch, variant] = state.stamped[epoch, variant] = units.get(variant, 0)
                for metric, sums in metrics.items():
                    state.cells[epoch, variant, metric] = Cell(*sums)
        return cls(experiment, state)

    def report(
        self, thresholds: DecisionThresholds | None = None, status: Status = Status.RUNNING, claims: str = ""
    ) -> Report:
        return report(Kept(self.state), Published(self.experiment, status, claims=claims), thresholds)


def split(units: Mapping[str, int], variants: Sequence[str]) -> dict[str, int]:
    """Parts in the ratio of units; equal ones where there are none."""
    total = sum(units.values())
    shares = {v: (units.get(v, 0) * 1_000_000 // total if total else 1_000_000 // len(variants)) for v in variants}
    shares[variants[0]] += 1_000_000 - sum(shares.values())
    return shares


def rates(**found: tuple[int, int]) -> dict[str, dict[str, Sums]]:
    """variant=(units, successes) of the metric `converted`."""
    return {variant: {"converted": (n, y, y)} for variant, (n, y) in found.items()}


def against(found: Report, treatment: str = "b", metric: str = "converted") -> TreatmentReport:
    row = next(each for each in found.metrics if each.name == metric)
    return next(each for each in row.treatments if each.treatment == treatment)


def advice(found: Report, treatment: str = "b", metric: str = "converted") -> Advice:
    return against(found, treatment, metric).recommendation.advice


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for inner in value.values() for number in numbers(inner)]
    if isinstance(value, list):
        return [number for inner in value for number in numbers(inner)]
    return [value] if isinstance(value, float) else []


# --- advice ---------------------------------------------------------------------------------------------------------


def test_a_clear_winner_is_shipped() -> None:
    found = World.of([rates(control=(5000, 500), b=(5000, 700))]).report()
    assert advice(found) is Advice.SHIP
    assert found.sentence.startswith("Ship b")
    assert against(found).effect.effect_size == pytest.approx(.04)
    assert against(found).rel_effect_size == pytest.approx(.4)
    assert found.primary.p_best["b"] > .999


@pytest.mark.parametrize("successes", range(500, 700, 10))
def test_nothing_is_shipped_without_the_always_valid_claim(successes: int) -> None:
    """Beliefs alone would ship from 555 on; the claim comes at about 575."""
    world = World.of([rates(control=(5000, 500), b=(5000, successes))])
    found = against(world.report())
    claim = found.recommendation.claim
    assert claim is not None
    if found.recommendation.advice is Advice.SHIP:
        assert claim.favours_treatment("increase")
    without = World.of([rates(control=(5000, 500), b=(5000, successes))], unit="event").report()
    assert advice(without) is not Advice.SHIP, "events make no claim"


def test_what_looks_better_but_is_not_proven_is_continued_and_the_sentence_says_so() -> None:
    found = World.of([rates(control=(5000, 500), b=(5000, 562))]).report()
    assert found.sentence == "Continue: b looks better, but not yet clearly enough to allow for many looks."


def test_equal_variants_are_hardly_ever_shipped_however_often_one_looks() -> None:
    """A/A, 20 runs of 10 recorded looks: a run ever ships with probability ≤ .025, so 3 of 20 do in ≤ .013 of cases.

    Teeth: beliefs alone ship in about a quarter of such runs.
    """
    rng = np.random.default_rng(20)
    shipped, believed = 0, 0
    for _ in range(20):
        epochs: list[dict[str, dict[str, Sums]]] = []
        claims, looks = "", []
        for _ in range(10):
            base = float(rng.uniform(.05, .15))
            epochs.append(rates(control=(500, int(rng.binomial(500, base))), b=(500, int(rng.binomial(500, base)))))
            world = World.of(epochs)
            cells = evidence.gather_cells(world.experiment, evidence.split_sums(world.experiment, world.state))
            looked = evidence.look_again(world.experiment, cells, evidence.parse_tests(claims))
            claims = evidence.tests_json(looked)
            looks.append(against(world.report(claims=claims)).recommendation)
        shipped += any(look.advice is Advice.SHIP for look in looks)
        believed += any(believes_in_shipping(look.assessment, DecisionThresholds()) for look in looks)
    assert shipped <= 2
    assert believed >= 3


def test_a_treatment_that_cannot_be_better_by_what_matters_is_stopped() -> None:
    found = World.of([rates(control=(400_000, 40_000), b=(400_000, 40_000))]).report()
    assert advice(found) is Advice.STOP
    assert "better by as much as matters" in found.sentence


def test_a_harmful_treatment_is_stopped() -> None:
    found = World.of([rates(control=(5000, 700), b=(5000, 500))]).report()
    assert found.sentence == "Stop b: it is harmful with probability above .999."


def test_before_the_least_evidence_nothing_is_said() -> None:
    found = World.of([rates(control=(299, 10), b=(299, 60))]).report()
    assert advice(found) is Advice.CONTINUE
    assert "not enough evidence" in found.sentence


def test_without_any_outcome_nothing_is_said_even_where_no_evidence_is_asked_for() -> None:
    for metric in KINDS:
        found = World.of([], metrics=[metric | {"primary": True}], constraints={"min_trials": 0}).report()
        assert "not enough evidence" in found.sentence, metric["name"]


def test_a_variant_that_still_waits_for_its_evidence_does_not_silence_the_others() -> None:
    variants = [{"id": "control"}, {"id": "b"}, {"id": "late"}]
    found = World.of([rates(control=(5000, 500), b=(5000, 700), late=(20, 1))], variants=variants).report()
    assert (advice(found), advice(found, "late")) == (Advice.SHIP, Advice.CONTINUE)
    assert found.sentence.startswith("Ship b")


def test_where_lower_is_better_the_lower_one_is_shipped() -> None:
    metric = CONVERTED | {"direction": "decrease"}
    found = World.of([rates(control=(5000, 700), b=(5000, 500))], metrics=[metric]).report()
    assert advice(found) is Advice.SHIP
    assert against(found).effect.effect_size == pytest.approx(-.04)
    assert found.primary.p_best["b"] > .999
    worse = World.of([rates(control=(5000, 500), b=(5000, 700))], metrics=[metric]).report()
    assert advice(worse) is Advice.STOP


@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
def test_lower_is_better_is_higher_is_better_of_the_negative(seed: int) -> None:
    """Everything mirrors: effects change sign, probabilities, losses and advice stay."""
    rng = np.random.default_rng(seed)
    up, down = (
        World.of(
            [
                {
                    variant: {"rating": (n, sign * total, squares)}
                    for variant, (n, total, squares) in (
                        ("control", (400, 1_200 * 10**6, 4_100 * 10**12)),
                        ("b", (400, int(rng_total) * 10**6, 4_300 * 10**12)),
                    )
                }
            ],
            metrics=[{"name": "rating", "kind": "continuous", "primary": True, "direction": direction}],
        ).report()
        for rng_total in [rng.integers(1_100, 1_300)]
        for sign, direction in ((1, "increase"), (-1, "decrease"))
    )
    a, b = against(up, metric="rating"), against(down, metric="rating")
    assert a.effect.effect_size == pytest.approx(-(b.effect.effect_size or 0))
    assert up.primary.p_best == pytest.approx(down.primary.p_best)
    assert a.recommendation.assessment.expected_loss == pytest.approx(b.recommendation.assessment.expected_loss)
    assert a.recommendation.sentence == b.recommendation.sentence


def test_an_absolute_margin_is_one_of_the_primary_metric_alone() -> None:
    """It is in that metric's unit: 0.05 means nothing to an amount in cents."""
    metrics = [CONVERTED, {"name": "clicks", "kind": "count"}]
    cells = {v: {"converted": (5000, y, y), "clicks": (5000, y, y)} for v, y in (("control", 500), ("b", 700))}
    found = World.of([cells], metrics=metrics).report(DecisionThresholds.absolute(min_practical_effect=.05))
    margins = {each.name: each.treatments[0].recommendation.assessment.margin for each in found.metrics}
    assert margins == {"converted": .05, "clicks": pytest.approx(.02 * .1, rel=.01)}
    assert advice(found) is not Advice.SHIP


def test_an_experiments_own_thresholds_decide_by_its_primary_metric() -> None:
    """3.0 % → 3.3 % beyond doubt is shipped; by the seed's absolute margin of .02 it is futile."""
    cells = [rates(control=(2_000_000, 60_000), b=(2_000_000, 66_000))]
    assert advice(World.of(cells).report()) is Advice.SHIP
    assert advice(World.of(cells, thresholds="absolute").report()) is Advice.STOP
    strict = World.of(cells, thresholds={"min_relative_effect": .2}).report()
    assert against(strict).recommendation.assessment.margin == pytest.approx(.2 * .03, rel=.01)
    given = World.of(cells, thresholds="absolute").report(DecisionThresholds())
    assert advice(given) is Advice.SHIP, "those handed in come first"


def test_a_control_that_never_converted_can_be_beaten() -> None:
    found = World.of([rates(control=(1000, 0), b=(1000, 60))]).report()
    assert advice(found) is Advice.SHIP
    assert against(found).recommendation.assessment.tolerance > 0


def test_what_going_on_is_still_worth_shrinks_as_outcomes_come_in() -> None:
    few, many = (World.of([rates(control=(500 * n, 50 * n), b=(500 * n, 51 * n))]).report() for n in (1, 100))
    assert few.primary.remaining is not None
    assert many.primary.remaining is not None
    assert few.primary.remaining.value > 5 * many.primary.remaining.value > 0
    assert World.of([rates(control=(500, 50), b=(0, 0))]).report().primary.remaining is None


# --- epochs ---------------------------------------------------------------------------------------------------------

SIMPSON = {
    "STATISTICS §4": [rates(control=(2_000, 100), b=(8_000, 480)), rates(control=(8_000, 800), b=(2_000, 220))],
    "Crook 2009, Friday and Saturday": [
        rates(control=(990_000, 20_000), b=(10_000, 230)),
        rates(control=(500_000, 5_000), b=(500_000, 6_000)),
    ],
}


@pytest.mark.parametrize("epochs", SIMPSON.values(), ids=SIMPSON.keys())
def test_where_pooled_means_point_the_wrong_way_the_report_points_the_right_one(
    epochs: list[dict[str, dict[str, Sums]]],
) -> None:
    found = World.of(epochs).report()
    pooled = {group.variant: group.mean or 0 for group in found.primary.groups}
    means = {variant: mean or 0 for variant, mean in found.primary.means.items()}
    assert pooled["b"] < pooled["control"], "the trap"
    assert means["b"] > means["control"]
    assert (against(found).effect.effect_size or 0) > 0
    assert (against(found).effect_aipw.effect_size or 0) > 0
    assert found.primary.p_best["b"] > .95
    assert advice(found) is not Advice.STOP


def test_with_one_epoch_the_means_are_the_plain_ones() -> None:
    found = World.of([rates(control=(1000, 100), b=(500, 60))]).report()
    assert found.primary.means == pytest.approx({"control": .1, "b": .12})


def test_both_effects_agree_where_units_split_exactly_as_served_and_a_retired_variant_changes_nothing() -> None:
    """Teeth: the shares served count retired variants too; with them, b's effect would come out doubled."""
    three = [{"id": "control"}, {"id": "b"}, {"id": "c", "retired": True}]
    parts = [{"control": 250_000, "b": 250_000, "c": 500_000}]
    cells = rates(control=(5000, 500), b=(5000, 600), c=(10_000, 100))
    found = against(World.of([cells], parts, variants=three).report())
    assert found.effect.effect_size == pytest.approx(.02)
    assert found.effect_aipw.effect_size == pytest.approx(.02, rel=1e-3)
    alone = against(World.of([{v: cells[v] for v in ("control", "b")}]).report())
    assert found.recommendation == alone.recommendation
    notes = World.of([cells], parts, variants=three).report().notes
    assert "Retired variants are left out: c." in notes


# --- the split ------------------------------------------------------------------------------------------------------

HALVES = [{"control": 500_000, "b": 500_000}]


@pytest.mark.parametrize("strategy", ["thompson", "fixed"])
def test_a_split_that_is_not_the_one_served_is_the_sentence_and_nothing_is_recommended(strategy: str) -> None:
    cells = rates(control=(5000, 500), b=(4000, 600))
    found = World.of([cells], HALVES, strategy=strategy).report()
    assert found.sample_ratio is not None
    assert found.sample_ratio.alarm
    assert found.sample_ratio.sentence in found.sentence
    assert {advice(found), found.ab.winner if found.ab else None} == {Advice.CONTINUE, None}
    assert against(found).recommendation.sentence == found.sentence
    trusted = World.of([cells], strategy=strategy).report()
    assert trusted.sentence.startswith("Ship b"), "teeth: without the alarm it would be shipped"


@pytest.mark.parametrize("strategy", ["thompson", "fixed"])
def test_a_leak_blocks_recommendations_too(strategy: str) -> None:
    cells = [rates(control=(5000, 500), b=(5000, 700)), rates(control=(1000, 100), b=(40, 4))]
    found = World.of(cells, [*HALVES, {"control": 1_000_000, "b": 0}], strategy=strategy).report()
    assert found.leaks
    assert "no traffic" in found.sentence
    assert advice(found) is Advice.CONTINUE
    assert found.ab is None or found.ab.winner is None


# --- A/B tests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("b", "sentence"),
    [
        ((5000, 700), "Ship b: converted is 40 % (p < .001) better."),
        ((5000, 300), "Keep control control: converted is 40 % (p < .001) worse with b."),
        ((5000, 510), "No significant difference in converted (p = 1.000)."),
        ((200, 30), "Insufficient data (need 300 per group): the smallest group has 200."),
    ],
)
def test_an_ab_test_ends_in_one_of_four_sentences(b: tuple[int, int], sentence: str) -> None:
    found = World.of([rates(control=(5000, 500), b=b)], strategy="fixed").report()
    assert found.sentence == sentence
    assert found.ab is not None
    assert found.ab.recommendation == sentence


def test_an_ab_test_may_name_its_own_sample_size() -> None:
    cells = [rates(control=(150, 15), b=(150, 60))]
    assert World.of(cells, strategy="fixed").report().sentence.startswith("Insufficient data (need 300 per group)")
    named = World.of(cells, strategy="fixed", min_sample_size=150).report()
    assert named.sentence.startswith("Ship b")
    assert advice(named) is Advice.SHIP
    more = World.of(cells, strategy="fixed", min_sample_size=151).report()
    assert more.sentence == "Insufficient data (need 151 per group): the smallest group has 150."
    assert advice(more) is Advice.CONTINUE


def test_before_its_test_has_its_least_evidence_an_ab_test_says_so() -> None:
    found = World.of([rates(control=(400, 2), b=(400, 9))], strategy="fixed").report()
    assert found.sentence == (
        "No difference in converted can be claimed yet: its test takes at least 10 of the rarer outcome in the "
        "smaller group."
    )


def test_only_fixed_experiments_are_ab_tests() -> None:
    assert World.of([rates(control=(5000, 500), b=(5000, 700))]).report().ab is None


# --- events ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["thompson", "fixed"])
def test_where_events_are_counted_nothing_is_always_valid_and_the_report_says_why(strategy: str) -> None:
    found = World.of([rates(control=(5000, 500), b=(5000, 900))], unit="event", strategy=strategy).report()
    assert against(found).recommendation.claim is None
    assert found.sample_ratio is None
    assert advice(found) is Advice.CONTINUE
    (note,) = found.notes
    assert note.startswith("There are no always-valid claims: one trial is an event here")
    if strategy == "fixed":
        assert found.sentence.startswith("No significant difference in converted can be claimed: one trial is an event")


# --- reading --------------------------------------------------------------------------------------------------------


def running() -> tuple[Log, Reallocate]:
    log = Log(metrics=[CONVERTED], unit="unit", constraints=EASY | {"cooldown_seconds": 0})
    return log, Reallocate(log.publications, lambda _: log.store)


def outcomes(log: Log, n: int, successes: Mapping[str, int], start: int = 0) -> None:
    for variant, hits in successes.items():
        for k in range(n):
            changes = {"variant": variant, "unit_id": f"{variant}{start + k}", "metrics": {"converted": int(k < hits)}}
            log.row(event(**changes))
    log.drain()


def read(log: Log) -> Report:
    current = log.publications.read("checkout")
    assert current is not None
    return report(log.store, current)


def test_reading_a_report_records_no_look_and_changes_nothing() -> None:
    log, reallocate = running()
    outcomes(log, 400, {"control": 40, "b": 60})
    reallocate.recompute("checkout")
    before = log.publications.read("checkout"), log.publications.ledger("checkout", 100), log.store.dump()
    first, second = read(log), read(log)
    assert first == second
    after = log.publications.read("checkout"), log.publications.ledger("checkout", 100), log.store.dump()
    assert after == before


def test_between_recomputes_the_claim_is_the_recorded_one() -> None:
    log, reallocate = running()
    outcomes(log, 400, {"control": 40, "b": 60})
    reallocate.recompute("checkout")
    claim = against(read(log)).recommendation.claim
    outcomes(log, 400, {"control": 0, "b": 400}, start=400)
    assert against(read(log)).recommendation.claim == claim
    assert read(log).primary.groups[0].n_units == 800


def test_after_the_end_the_last_outcomes_are_in_the_claim() -> None:
    """No recompute will come to look at what came after the last one."""
    log, reallocate = running()
    outcomes(log, 400, {"control": 40, "b": 60})
    reallocate.recompute("checkout")
    recorded = against(read(log)).recommendation.claim
    outcomes(log, 400, {"control": 0, "b": 400}, start=400)
    log.control.stop("checkout")
    log.drain()
    claim = against(read(log)).recommendation.claim
    assert recorded is not None
    assert claim is not None
    assert (claim.n_looks, claim.alpha) == (recorded.n_looks + 1, recorded.alpha)
    assert claim.pvalue < recorded.pvalue
    assert read(log) == read(log)


def test_before_the_first_recompute_the_report_says_that_its_claims_are_not_recorded() -> None:
    found = World.of([rates(control=(5000, 500), b=(5000, 700))]).report()
    assert found.notes == ("No recompute has recorded a look yet: always-valid claims are of the data as they stand.",)


@pytest.mark.parametrize(
    ("status", "words"), [(Status.DRAFT, "trimtab experiment start checkout"), (Status.RUNNING, "is a worker running?")]
)
def test_without_statistics_the_sentence_says_what_to_do(status: Status, words: str) -> None:
    experiment = Experiment.parse(definition())
    with pytest.raises(NotFound, match=words.replace("?", r"\?")):
        report(Kept(None), Published(experiment, status))


def test_clipped_and_unstamped_values_are_noted() -> None:
    world = World.of([rates(control=(500, 50), b=(500, 50))], unit="event")
    world.state.counters.update({"unstamped": 1234, "clipped:amount": 7, "clipped:other": 0})
    notes = " ".join(world.report().notes)
    assert "1,234 outcomes named no epoch" in notes
    assert "7 values of amount were clipped" in notes
    assert "values of other" not in notes


# --- every number is one --------------------------------------------------------------------------------------------


def check_readable(found: Report) -> None:
    document = found.document()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert all(math.isfinite(number) for number in numbers(document))
    assert found.sentence
    for metric in found.metrics:
        assert sum(metric.p_best.values()) == pytest.approx(1, abs=1e-6)


def large(value: Callable[[np.random.Generator, str, int], np.ndarray[Any, Any]]) -> World:
    """512 epochs × 10 variants × 5 metrics."""
    rng = np.random.default_rng(1)
    variants = [f"v{k}" for k in range(10)]
    names = [metric["name"] for metric in KINDS]
    epochs = []
    for _ in range(512):
        n = [int(count) for count in rng.multinomial(400, np.full(10, .1))]
        counts = zip(variants, n, strict=True)
        epochs.append({variant: {name: sums(value(rng, name, k)) for name in names} for variant, k in counts})
    return World.of(epochs, variants=[{"id": variant} for variant in variants], metrics=KINDS)


def sums(values: np.ndarray[Any, Any]) -> Sums:
    whole = [int(value) for value in values]
    return len(whole), sum(whole), sum(value * value for value in whole)


def drawn(rng: np.random.Generator, name: str, n: int) -> np.ndarray[Any, Any]:
    match name:
        case "converted":
            return rng.random(n) < .1
        case "crashed":
            return rng.random(n) < .01
        case "clicks":
            return rng.poisson(1.5, n)
        case "rating":
            return rng.normal(-3, 1, n) * 1e6
        case _:
            return np.minimum(rng.lognormal(1, 1.5, n), 100) * 1e6


EXTREMES: dict[str, Callable[[], World]] = {
    "512 epochs, 10 variants, 5 metrics": lambda: large(drawn),
    "the same, all zeros": lambda: large(lambda rng, name, n: np.zeros(n)),
    "the same, all ones": lambda: large(lambda rng, name, n: np.ones(n)),
    "no epoch": lambda: World.of([], metrics=KINDS),
    "no outcomes": lambda: World.of([{}], HALVES, metrics=KINDS),
    "one variant": lambda: World.of([rates(control=(5000, 500))], variants=[{"id": "control"}], metrics=KINDS),
    "control alone": lambda: World.of([rates(control=(5000, 500))], HALVES, metrics=KINDS),
    "treatment alone": lambda: World.of([rates(b=(5000, 500))], HALVES, metrics=KINDS),
    "never met": lambda: World.of([rates(control=(5000, 500)), rates(b=(5000, 500))], HALVES * 2, metrics=KINDS),
    "one unit": lambda: World.of([rates(b=(1, 1))], HALVES),
    "all successes against none": lambda: World.of([rates(control=(5000, 0), b=(5000, 5000))]),
    "the largest values": lambda: World.of(
        [{v: {"rating": (2, 2**53, 2**105 + 2)} for v in ("control", "b")}] * 3,
        metrics=[{"name": "rating", "kind": "continuous", "scale": 1}],
    ),
}


@pytest.mark.parametrize("make", EXTREMES.values(), ids=EXTREMES.keys())
def test_every_number_is_finite_or_null(make: Callable[[], World]) -> None:
    check_readable(make().report())


@pytest.mark.parametrize("make", list(EXTREMES.values())[3:], ids=list(EXTREMES)[3:])
@pytest.mark.parametrize("changes", [{"strategy": "fixed"}, {"unit": "event"}, {"strategy": "fixed", "unit": "event"}])
def test_so_they_are_for_ab_tests_and_events(make: Callable[[], World], changes: dict[str, Any]) -> None:
    world = make()
    world.experiment = world.experiment.model_copy(update=changes)
    check_readable(world.report())


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Up to four variants in up to four epochs, every kind of metric, cells missing here and there."""
    variants = ["control", "b", "c", "d"][: draw(st.integers(1, 4))]
    seed, sizes = draw(st.integers(0, 2**32 - 1)), st.sampled_from([0, 0, 1, 2, 30, 400])
    rng = np.random.default_rng(seed)
    epochs = []
    for _ in range(draw(st.integers(0, 4))):
        present = {variant: n for variant in variants if (n := draw(sizes))}
        epochs.append(
            {
                variant: {metric["name"]: sums(drawn(rng, metric["name"], n)) for metric in KINDS}
                for variant, n in present.items()
            }
        )
    strategy, unit = draw(st.sampled_from(["thompson", "fixed"])), draw(st.sampled_from(["unit", "event"]))
    least = draw(st.sampled_from([0, 1, 300]))
    return World.of(
        epochs,
        variants=[{"id": variant} for variant in variants],
        metrics=KINDS,
        strategy=strategy,
        unit=unit,
        constraints={"min_trials": least},
    )


@settings(max_examples=40)
@given(worlds(), st.sampled_from(list(Status)[1:]))
def test_any_experiment_has_a_report(world: World, status: Status) -> None:
    check_readable(world.report(status=status))
