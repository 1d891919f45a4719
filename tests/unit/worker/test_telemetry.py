"""Logging: one renderer for everybody, context bound, no secret in any line."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from faults.reporting import Check
from trimtab import telemetry

SECRET = "canary-password"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What a freshly configured process writes; the test run's own logging is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    out = io.StringIO()
    telemetry.configure(log_format="auto", level="DEBUG", stream=out)
    yield out
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_is_one_json_line_with_what_was_bound(stream: io.StringIO) -> None:
    with telemetry.bound(experiment="checkout", partition=0):
        telemetry.get_logger("ours").info("decided", decision=7)
    (line,) = lines(stream)
    assert line["event"] == "decided"
    assert (line["experiment"], line["partition"], line["decision"]) == ("checkout", 0, 7)
    assert (line["level"], line["logger"]) == ("info", "ours")
    assert line["timestamp"].endswith("Z")


def test_records_of_other_libraries_come_out_the_same_way(stream: io.StringIO) -> None:
    logging.getLogger("celery.worker").warning("lost %s", "it", extra={"queue": "ingest"})
    (line,) = lines(stream)
    assert (line["event"], line["logger"], line["queue"]) == ("lost it", "celery.worker", "ingest")


def test_no_password_leaves_in_messages_arguments_context_or_tracebacks(stream: io.StringIO, check: Check) -> None:
    url = f"redis://user:{SECRET}@db:6379/0"
    log = telemetry.get_logger("ours")
    logging.getLogger("kombu").error("cannot reach %s", url)
    log.info(f"connected to {url}", url=url, nested={"broker": [url]}, password=SECRET, api_key=SECRET)
    log.info("signed", headers={"Authorization": SECRET}, raw=url.encode())
    try:
        raise ConnectionError(f"refused by {url}")
    except ConnectionError as error:
        log.exception("failed", cause=error)
        logging.getLogger("kombu").exception("failed")
    assert len(lines(stream)) == 5
    check("SE-11", "0 in records of every kind", f"{stream.getvalue().count(SECRET)} in records of every kind")
    assert "redis://***@db:6379/0" in stream.getvalue()


def test_a_terminal_gets_readable_lines() -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    out = Terminal()
    try:
        telemetry.configure(stream=out)
        telemetry.get_logger("ours").info("decided", decision=7)
    finally:
        root.handlers[:], root.level = handlers, level
        structlog.reset_defaults()
    assert "decided" in out.getvalue()
    assert not out.getvalue().startswith("{")


def test_configuring_twice_does_not_write_twice(stream: io.StringIO) -> None:
    telemetry.configure(stream=stream)
    telemetry.get_logger("ours").info("once")
    assert len(lines(stream)) == 1


@given(
    user=st.text(alphabet="abc:%", max_size=5),
    password=st.text(alphabet="xyz@:?#%", min_size=1, max_size=12),
    around=st.sampled_from(["", "see ", "a=redis://b:1/0, then ", "'"]),
)
def test_whatever_a_password_looks_like_it_does_not_survive(user: str, password: str, around: str) -> None:
    """Nothing between `//` and the last `@` of an address is kept."""
    assert telemetry.redact(f"{around}redis://{user}:{password}@host/0") == f"{around}redis://***@host/0"


def test_an_endless_nesting_is_cut() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert str(telemetry.redact(loop)).count("[") == telemetry.MAX_DEPTH


def test_secrets_of_the_settings_show_nowhere_whatever_they_look_like(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the text of an exception, which nothing but our settings gives away as a secret."""
    monkeypatch.setattr(telemetry, "_hidden", set())
    telemetry.hide(["words that look like any others", ""])
    try:
        raise ValueError("it held words that look like any others, in a sentence")
    except ValueError:
        telemetry.get_logger("ours").exception("failed", keys=["words that look like any others"])
    text = stream.getvalue()
    assert "ValueError" in text
    assert "look like any" not in text


def test_a_signing_key_shows_its_name_only() -> None:
    key = "web:" + "0123456789abcdef" * 4
    assert telemetry.redact(f"the key {key}, and a digest {'0' * 64}") == f"the key web:***, and a digest {'0' * 64}"
