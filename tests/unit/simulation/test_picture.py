"""Pictures: written where they were asked for, or refused in one sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trimtab.errors import InvalidInput, MissingExtra
from trimtab.simulation import Uniform, draw_comparison, draw_weights, make_world, simulate

PNG = b"\x89PNG\r\n"


@pytest.mark.parametrize("variants", [1, 3, 12])
@pytest.mark.parametrize("policies", [1, 4])
def test_a_comparison_is_a_picture_whatever_it_compares(variants: int, policies: int, tmp_path: Path) -> None:
    world = make_world("drift", [.05 + .001 * k for k in range(variants)], steps=4, batch=50)
    draw_comparison([simulate(world, Uniform(), runs=3)] * policies, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(PNG)


def test_the_suffix_chooses_the_format(tmp_path: Path) -> None:
    history = simulate(make_world("late", [.05, .06], steps=4, batch=50), Uniform())
    draw_weights(history, tmp_path / "w.svg")
    assert "<svg" in (tmp_path / "w.svg").read_text(encoding="utf-8")


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    history = simulate(make_world("drift", [.05, .06], steps=2, batch=50), Uniform())
    with pytest.raises(InvalidInput, match="cannot be written: No such file or directory"):
        draw_weights(history, tmp_path / "nowhere" / "w.png")
    with pytest.raises(InvalidInput, match="cannot be written: Format 'xyz' is not supported"):
        draw_weights(history, tmp_path / "w.xyz")
    with pytest.raises(InvalidInput, match="no run 1 among 1"):
        draw_weights(history, tmp_path / "w.png", run=1)
    with pytest.raises(InvalidInput, match="no history"):
        draw_comparison([], tmp_path / "w.png")


def test_without_matplotlib_the_sentence_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = simulate(make_world("drift", [.05, .06], steps=2, batch=50), Uniform())
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"pip install 'trimtab\[plot\]'"):
        draw_weights(history, tmp_path / "w.png")
