"""Orders as Celery tasks: the same service as everywhere, carried out once however often they are delivered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from trimtab.client.control import Control
from trimtab.schema.experiment import Status
from trimtab_worker import bootstrap
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.tasks import orders

EXPERIMENT = {
    "id": "checkout",
    "variants": [{"id": "a"}, {"id": "b"}],
    "metrics": [{"name": "bought", "kind": "binary", "primary": True}],
}


@pytest.fixture(autouse=True)
def _current_app() -> Iterator[None]:
    """Tasks belong to some app; this one sends nothing anywhere."""
    with Celery("test", broker="memory://", set_as_current=True):
        yield


@pytest.fixture
def control(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    monkeypatch.setenv("REDIS_URL", server.url)
    bootstrap.reset()
    control = bootstrap.current().control("tester")
    control.create(EXPERIMENT)
    yield control
    bootstrap.reset()


def call(task: Any, *args: Any, **kwargs: Any) -> None:
    """Run a task as a worker would, here."""
    task.apply(args=args, kwargs=kwargs, throw=True)


def test_orders_lead_through_the_life_of_an_experiment(control: Control) -> None:
    call(orders.start, "checkout")
    assert control.show("checkout").status is Status.RUNNING
    call(orders.hold, "checkout", reason="incident 42")
    assert control.show("checkout").paused == "incident 42"
    call(orders.resume, "checkout")
    call(orders.halt, "checkout", variant="b")
    assert control.show("checkout").parts == {"a": 1_000_000, "b": 0}
    call(orders.stop, "checkout")
    call(orders.conclude, "checkout", "b")
    assert control.show("checkout").parts == {"a": 0, "b": 1_000_000}


def test_a_redelivered_order_is_carried_out_once_even_after_its_opposite(control: Control) -> None:
    call(orders.start, "checkout")
    call(orders.hold, "checkout", command_id="one")
    call(orders.resume, "checkout", command_id="two")
    call(orders.hold, "checkout", command_id="three")
    before = control.show("checkout")
    call(orders.resume, "checkout", command_id="two")
    assert control.show("checkout") == before
    assert before.status is Status.HELD


def test_the_ledger_says_which_command_it_was(control: Control) -> None:
    call(orders.start, "checkout", command_id="release-7")
    entry = control.explain("checkout")
    assert entry.kind == "act"
    assert entry.by == "celery:release-7"


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("a}:x{",), {}),
        (("checkout",), {"reason": "two\nlines"}),
        (("checkout",), {"command_id": "*"}),
        (("absent",), {}),
        ((3,), {}),
    ],
)
def test_what_cannot_be_carried_out_is_logged_and_changes_nothing(
    args: tuple[Any, ...], kwargs: dict[str, Any], control: Control
) -> None:
    before = control.show("checkout")
    call(orders.start, *args, **kwargs)
    assert control.show("checkout") == before
