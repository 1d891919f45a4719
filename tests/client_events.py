"""Events for the client's tests, as hypothesis strategies and as plain ones."""

from __future__ import annotations

from hypothesis import strategies as st

from trimtab.schema.event import OutcomeEvent

NOW = 1_763_700_000_000

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
metric_values = st.one_of(
    st.integers(-3, 3).map(float), st.floats(allow_nan=False, allow_infinity=False), st.just(2.0**53), st.just(-0.0)
)
feature_values = st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(-1e9, 1e9), texts)


def maybe(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.none() | strategy


events: st.SearchStrategy[OutcomeEvent] = st.builds(
    OutcomeEvent,
    experiment_id=st.sampled_from(["checkout", "search", "mail"]),
    variant=st.sampled_from(["a", "b", "C.1"]),
    metrics=st.dictionaries(st.sampled_from(["converted", "revenue", "m-3"]), metric_values, min_size=1),
    unit_id=maybe(texts),
    event_id=maybe(texts),
    occurred_at=st.integers(NOW - 1000, NOW + 1000),
    epoch=maybe(st.integers(1, 3)),
    exposed_at=maybe(st.integers(NOW - 5000, NOW)),
    segment=maybe(texts),
    cell=maybe(texts),
    propensity=maybe(st.floats(0.01, 1)),
    features=maybe(st.dictionaries(texts, feature_values, max_size=3)),
    origin=st.sampled_from(["live", "import"]),
)


def event(number: int = 1, *, experiment_id: str = "checkout", epoch: int | None = 1, **fields: object) -> OutcomeEvent:
    """A lean event, recognisable by its number."""
    return OutcomeEvent.model_validate(
        {
            "experiment_id": experiment_id,
            "variant": "ab"[number % 2],
            "metrics": {"converted": float(number % 3 == 0)},
            "unit_id": f"user-{number}",
            "occurred_at": NOW + number,
            "epoch": epoch,
            **fields,
        }
    )
