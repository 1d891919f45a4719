"""Tags, waits and keys as pure rules."""

from __future__ import annotations

import string
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from client_allocations import allocation
from trimtab.errors import ConfigurationError
from trimtab.settings import Gateway
from trimtab_worker.gateway.access import Keys, Role, check_exposure, presented
from trimtab_worker.gateway.board import Shown, etag_of, has_seen
from trimtab_worker.gateway.bodies import MAX_DEPTH, parse_json
from trimtab_worker.gateway.pressure import Pressure
from trimtab_worker.gateway.problems import Refusal
from trimtab_worker.gateway.weights import MAX_WAIT_SECONDS, wanted_wait

revisions = st.integers(1, 2**53)
key_texts = st.text(string.ascii_letters + string.digits + "_.~+/=-", min_size=16, max_size=64)


def shown(revision: int, incarnation: str = "one") -> Shown:
    found = allocation(revision, incarnation=incarnation)
    return Shown(found, b"", etag_of(found))


@given(revisions, revisions)
def test_a_client_is_answered_anew_exactly_if_what_it_has_is_older(mine: int, its: int) -> None:
    assert has_seen(shown(mine), shown(its).etag) is (its >= mine)


@given(revisions, revisions)
def test_another_life_of_the_key_is_always_answered_anew(mine: int, its: int) -> None:
    assert not has_seen(shown(mine), shown(its, "two").etag)


@given(st.text())
def test_no_text_breaks_the_comparison_of_tags(tags: str) -> None:
    assert has_seen(shown(1), tags) in (True, False)


@given(st.integers(0, 10**9 - 1))
def test_a_preferred_wait_is_bounded_and_confirmed(seconds: int) -> None:
    bounded = min(seconds, MAX_WAIT_SECONDS)
    assert wanted_wait(None, f"wait={seconds}") == (bounded, {"Preference-Applied": f"wait={bounded}"})


@given(st.text())
def test_no_preference_breaks_it_and_none_waits_too_long(prefer: str) -> None:
    assert 0 <= wanted_wait(None, prefer)[0] <= MAX_WAIT_SECONDS


@given(st.text())
def test_a_wait_in_the_address_is_whole_seconds_or_refused(query: str) -> None:
    with suppress(Refusal):
        assert wanted_wait(query, None)[0] == int(query) <= MAX_WAIT_SECONDS


@pytest.mark.parametrize("depth", range(1, 12))
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_json_may_be_so_deep_and_no_deeper(depth: int, opening: str, closing: str) -> None:
    body = (opening * depth + "1" + closing * depth).encode()
    if depth <= MAX_DEPTH:
        parse_json(body)
    else:
        with pytest.raises(ValueError, match="nests deeper than 8"):
            parse_json(body)


@given(key_texts, key_texts, key_texts)
def test_a_key_has_the_roles_it_stands_under_and_no_others(reader: str, producer: str, other: str) -> None:
    keys = Keys.of(Gateway(reader_keys=SecretStr(f" {reader} ,"), producer_keys=SecretStr(producer)))
    for key in (reader, producer, other):
        roles = {Role.READER} if key == reader else set()
        assert keys.roles(key) == roles | ({Role.PRODUCER} if key == producer else set())


@given(st.text())
def test_no_presented_key_breaks_the_comparison(key: str) -> None:
    assert Keys.of(Gateway(reader_keys=SecretStr("0123456789abcdef"))).roles(key) in (frozenset(), {Role.READER})


@pytest.mark.parametrize("word", ["short", "sha256:00", "a key with blanks 0123456789", "ключ-0123456789abcdef"])
def test_what_cannot_be_a_key_is_refused_and_not_repeated(word: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Keys.of(Gateway(reader_keys=SecretStr(word)))
    assert word not in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_without_keys_loopback_is_open(host: str) -> None:
    check_exposure(host, Keys.of(Gateway()))


def test_without_keys_nothing_else_is_and_with_keys_everything() -> None:
    with pytest.raises(ConfigurationError, match="READER_KEYS"):
        check_exposure("0.0.0.0", Keys.of(Gateway()))
    check_exposure("0.0.0.0", Keys.of(Gateway(reader_keys=SecretStr("0123456789abcdef"))))


def test_a_key_is_found_wherever_clients_put_it() -> None:
    assert presented({"x-api-key": "k"}) == "k"
    for given_as in ("Bearer k", "bearer  k", "k"):
        assert presented({"authorization": given_as}) == "k"
    assert presented({}) is None
    assert presented({"authorization": "Bearer "}) is None


@given(st.integers(0, 10**7), st.floats(0, 1))
def test_pressure_is_relieved_only_below_both_limits(unread: int, memory: float) -> None:
    relief = Pressure(unread, memory).relief(500_000)
    assert (relief is None) is (unread <= 500_000 and memory <= 0.85)
