"""Copies on the disk: whole or none, and never a reason to fail."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_allocations import NOW, allocation
from trimtab.client._disk import Copy, DiskCache

COPY = Copy(saved_at=NOW + 500, server_at=NOW, allocation=allocation(3))


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache(tmp_path / "flags")


def only_file(cache: DiskCache) -> Path:
    (path,) = cache.directory.iterdir()
    return path


def test_what_is_saved_is_loaded_and_belongs_to_this_user_alone(cache: DiskCache) -> None:
    cache.save(COPY)
    assert cache.load("checkout") == COPY
    assert stat.S_IMODE(only_file(cache).stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.directory.stat().st_mode) == 0o700


def test_a_later_copy_replaces_the_earlier_one_and_leaves_no_draft(cache: DiskCache) -> None:
    cache.save(COPY)
    cache.save(COPY.model_copy(update={"allocation": allocation(4)}))
    loaded = cache.load("checkout")
    assert loaded is not None
    assert loaded.allocation.revision == 4
    assert only_file(cache)


def test_where_nothing_was_saved_nothing_is_loaded(cache: DiskCache) -> None:
    assert cache.load("checkout") is None


@pytest.mark.parametrize("at", range(0, 600, 60))
def test_a_copy_with_one_wrong_byte_is_refused(cache: DiskCache, at: int) -> None:
    cache.save(COPY)
    raw = bytearray(only_file(cache).read_bytes())
    raw[at] ^= 1
    only_file(cache).write_bytes(raw)
    with pytest.raises(ValueError, match="digest"):
        cache.load("checkout")


@pytest.mark.parametrize("length", [0, 10, 64, 65, 300])
def test_a_cut_copy_is_refused(cache: DiskCache, length: int) -> None:
    cache.save(COPY)
    only_file(cache).write_bytes(only_file(cache).read_bytes()[:length])
    with pytest.raises(ValueError, match=r"digest|copy"):
        cache.load("checkout")


def test_the_copy_of_another_experiment_is_refused(cache: DiskCache) -> None:
    cache.save(COPY)
    only_file(cache).rename(cache.directory / "search.allocation")
    with pytest.raises(ValueError, match="another"):
        cache.load("search")


def test_a_copy_that_cannot_be_written_leaves_the_one_before(cache: DiskCache) -> None:
    """A directory in the way of the rename: the write fails, and no draft stays behind."""
    cache.save(COPY)
    only_file(cache).unlink()
    (cache.directory / "checkout.allocation").mkdir()
    with pytest.raises(OSError, match="checkout"):
        cache.save(COPY)
    assert [path.name for path in cache.directory.iterdir()] == ["checkout.allocation"]


@given(st.integers(-600_000, 600_000), st.integers(0, 10**9))
def test_the_time_since_a_copy_is_told_whatever_this_machines_clock_is_wrong_by(wrong: int, passed: int) -> None:
    """FC-07: the same error at both ends cancels."""
    copy = Copy(saved_at=NOW + wrong, server_at=NOW, allocation=allocation())
    assert copy.server_ms(NOW + wrong + passed) == NOW + passed


def test_a_clock_set_back_counts_as_no_time() -> None:
    assert COPY.server_ms(COPY.saved_at - 5000) == NOW
