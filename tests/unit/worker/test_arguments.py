"""Arguments from the broker: whoever can write to a queue can send anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import InvalidInput
from trimtab_worker.tasks import arguments

HOSTILE = ["", "a}:x{", "*", "../x", "\r\nFLUSHALL", "a\n", "a" * 65, "Ａ", "é", None, 3, True, ["a"], {"a": 1}, b"a"]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("parse", [arguments.experiment_id, arguments.variant_id])
def test_what_is_no_id_is_refused_in_one_short_sentence(parse: object, value: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(value)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@given(st.from_regex(arguments.SLUG_PATTERN, fullmatch=True).filter(lambda text: "\n" not in text))
def test_what_the_grammar_allows_is_taken_as_it_is(name: str) -> None:
    assert arguments.experiment_id(name) == name


@pytest.mark.parametrize("value", ["a\nb", "x" * 1001, 3, None, "\x1b[2J"])
def test_a_reason_is_one_printable_line(value: object) -> None:
    with pytest.raises(InvalidInput, match="one line"):
        arguments.reason_text(value)


def test_a_task_id_of_celery_is_a_command_id() -> None:
    text = "5d6e1257-7a2a-4000-8818-721d0839e1ff"
    assert arguments.command_id(text) == text
