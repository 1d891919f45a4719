"""Signatures: what they admit, what they refuse, and that rules hold at their place of the log and nowhere else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logs import HOUR, NOW, Log, batch, event, forged
from trimtab.adapters.memory import MemoryPartition
from trimtab.errors import ConfigurationError, InvalidInput
from trimtab.schema.control import ClockTick, Compaction, Signing
from trimtab.schema.signing import NO_KEYS, Keyring, SigningKey
from trimtab_worker.services.dead import Wanted, browse, redrive
from trimtab_worker.services.ingest import DrainReport, Ingest
from trimtab_worker.services.rebuild import rebuild
from trimtab_worker.services.signing import in_force, issue, require, revoke

RING = Keyring((b"s" * 32,))


def signing(**changes: Any) -> Log:
    """A log that takes signed entries only."""
    log = Log(**changes)
    log.store.keyring = RING
    require([log.store], RING, required=True)
    log.drain()
    return log


def signed(log: Log, key: SigningKey, document: dict[str, Any], field: str = "event") -> None:
    raw = json.dumps(document).encode()
    forged(log, raw, field, **key.sign(field, raw))


@given(st.binary(max_size=50), st.binary(max_size=50), st.sampled_from(["event", "batch"]))
def test_a_signature_fits_one_key_one_field_and_one_payload(payload: bytes, other: bytes, name: str) -> None:
    rules = Signing(at=NOW, fingerprint=RING.fingerprint, key_ids=("web", "app"))
    key = RING.key("web")

    def objection(raw: bytes, field: str = name, signature: dict[str, bytes] | None = None) -> str | None:
        beside = key.sign(name, payload) if signature is None else signature
        entry = {field.encode(): raw, **{n.encode(): v for n, v in beside.items()}}
        return RING.verifier(rules).objection(entry)

    assert objection(payload) is None
    assert (objection(other) is None) is (other == payload)
    assert objection(payload, {"event": "batch", "batch": "event"}[name])
    assert objection(payload, signature={**key.sign(name, payload), "key": b"app"})
    assert objection(payload, signature={"mac": key.sign(name, payload)["mac"]})
    assert objection(payload, signature={"key": b"web"})
    assert objection(payload, signature=RING.key("nobody").sign(name, payload))
    assert objection(payload, signature=Keyring((b"t" * 32,)).key("web").sign(name, payload))


def test_producers_with_a_key_are_counted_and_nobody_else() -> None:
    log = signing()
    key = issue([log.store], RING, "web")
    signed(log, key, event())
    signed(log, key, batch([event()] * 5), "batch")
    forged(log, event())
    forged(log, batch([event()] * 3), "batch")
    forged(log, b"{nope")
    forged(log, event(variant="control"), **key.sign("event", json.dumps(event()).encode()))
    report = log.drain()
    assert (report.folded, report.dead) == (6, 6)
    assert set(log.dead_codes()) == {"auth"}
    assert log.state().counters["dead:auth"] == 5
    assert log.store.load().counters["dead:auth"] == 1, "the one that names no experiment"


def test_a_key_that_was_revoked_signs_nothing_from_there_on() -> None:
    log = signing()
    old = issue([log.store], RING, "old")
    new = issue([log.store], RING, "new")
    for key in (old, new):
        signed(log, key, event())
    revoke([log.store], RING, "old")
    for key in (old, new):
        signed(log, key, event())
    assert log.drain().folded == 3
    assert log.dead_codes() == ["auth"]
    assert in_force(log.store) == log.store.load().signing
    assert rebuild(log.store, verify=True).identical, "what it signed before still counts"


def seen_in(log: Log, kind: str) -> list[dict[bytes, bytes]]:
    """The control entries of a kind as whoever may read the log sees them, signatures and all."""
    entries = log.store.read("0-0", 10_000)
    return [dict(e.fields) for e in entries if f'"kind":"{kind}"'.encode() in e.fields.get(b"control", b"")]


def send_again(log: Log, entry: dict[bytes, bytes]) -> None:
    beside = {name: entry[name.encode()] for name in ("key", "mac") if name.encode() in entry}
    forged(log, entry[b"control"], "control", **beside)
    log.drain()


def test_rules_that_somebody_saw_and_sends_again_bring_no_key_back_and_lift_nothing() -> None:
    log = Log()
    log.store.keyring = RING
    key = issue([log.store], RING, "web")
    require([log.store], RING, required=True)
    revoke([log.store], RING, "web")
    log.drain()
    for entry in seen_in(log, "signing"):
        send_again(log, entry)
        rules = in_force(log.store)
        assert rules is not None
        assert (rules.key_ids, rules.required) == ((), True)
    signed(log, key, event())
    forged(log, event())
    assert (log.drain().folded, log.dead_codes()) == (0, ["auth", "auth"])


def test_an_epoch_that_somebody_saw_and_announces_again_is_not_in_force_once_more() -> None:
    """Not even one that was merged since, of which the fold knows the number alone."""
    log = signing()
    for _ in range(2):
        log.control.halt("checkout", "b", reason="a look")
        log.control.resume("checkout")
        log.control.update("checkout", {"constraints": {"floors": {"b": .3}}})
        log.control.halt("checkout", reason="all")
        log.control.resume("checkout")
    log.drain()
    merging = Compaction(at=log.store.now(), experiment_id="checkout", into={1: 2})
    log.store.append("control", merging.model_dump_json().encode())
    log.drain()
    before = log.state()
    for entry in seen_in(log, "epoch"):
        send_again(log, entry)
    assert log.state().epochs == before.epochs
    assert log.state().merged == before.merged == {1: 2}
    assert rebuild(log.store, verify=True).identical


def test_orders_are_signed_with_the_installations_own_key_only() -> None:
    log = signing()
    key = issue([log.store], RING, "web")
    log.drain()
    before = log.store.load().clock
    tick = json.loads(ClockTick(at=before + 1).model_dump_json())
    off = json.loads(Signing(at=NOW, fingerprint=RING.fingerprint).model_dump_json())
    forged(log, tick, "control")
    signed(log, key, tick, "control")
    signed(log, key, off, "control")
    forged(log, off, "control")
    log.drain()
    assert log.dead_codes() == ["auth"] * 4
    assert log.store.load().clock == before
    rules = in_force(log.store)
    assert rules is not None
    assert rules.required
    log.control.hold("checkout", reason="a signed order")
    log.drain()
    assert log.state().status == "held"


def test_a_process_without_the_secret_gives_no_order_that_would_be_refused() -> None:
    log = signing()
    log.store.keyring = NO_KEYS
    with pytest.raises(ConfigurationError, match="TRIMTAB_SIGNING_SECRET"):
        log.control.hold("checkout", reason="unsigned")
    assert log.control.show("checkout").status == "running"


def test_a_process_with_another_secret_gives_no_order_either_though_unsigned_ones_are_taken() -> None:
    log = Log()
    log.store.keyring = RING
    issue([log.store], RING, "web")
    log.drain()
    log.store.keyring = Keyring((b"another secret, of thirty-two characters",))
    with pytest.raises(ConfigurationError, match=f"signed under another secret.*{RING.fingerprint}"):
        log.control.halt("checkout", "b", reason="its epoch would be refused, its weights served")
    assert log.control.show("checkout").parts["b"] == 500_000
    log.store.keyring = NO_KEYS
    log.control.hold("checkout", reason="unsigned")
    log.store.keyring = RING
    log.drain()
    assert (log.state().status, log.dead_codes()) == ("held", [])


def test_a_worker_without_the_secret_refuses_to_fold_and_blames_no_entry() -> None:
    log = signing()
    signed(log, RING.key("control"), event())
    for keyring in (NO_KEYS, Keyring((b"another secret, of thirty-two characters",))):
        log.store.keyring = keyring
        for _ in range(3):
            with pytest.raises(ConfigurationError, match=RING.fingerprint):
                log.drain()
    log.store.keyring = RING
    assert log.drain().folded == 1


def test_forgery_neither_holds_the_weights_nor_moves_the_clock_nor_takes_a_publishers_number() -> None:
    log = signing()
    key = issue([log.store], RING, "web")
    log.drain()
    before = log.store.load().clock
    for _ in range(150):
        forged(log, event(variant="stranger"))
    log.clock.now += 47 * HOUR
    forged(log, event())
    forged(log, batch([event()], producer="p", sequence=1), "batch")
    log.drain()
    assert log.store.load().clock == before
    assert not log.state().refusals.excessive
    signed(log, key, batch([event(occurred_at=NOW)], producer="p", sequence=1, sent_at=log.clock.now), "batch")
    assert log.drain().folded == 1


def test_the_id_of_a_forged_entry_moves_no_clock_through_the_good_ones_that_follow_it() -> None:
    """The server gives them its milliseconds: up to two days with each, and soon every outcome would be too late."""
    log = signing()
    key = issue([log.store], RING, "web")
    log.drain()
    before = log.store.load().clock
    for hours in (10, 20, 30, 40):
        log.store._append({b"event": b"{}"}, NOW + hours * HOUR)  # type: ignore[attr-defined]
        signed(log, key, event())
        signed(log, key, batch([event()]), "batch")
        assert log.drain().folded == 2
    assert (log.store.load().clock, log.dead_codes()) == (before, ["auth"] * 4)
    log.clock.now = NOW + 41 * HOUR
    signed(log, key, event(occurred_at=log.clock.now))
    assert log.drain().folded == 1
    assert log.store.load().clock == log.clock.now, "once time has passed what was forged, it counts again"


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["event", "batch"]), st.integers(0, 2)), max_size=20))
def test_good_and_forged_entries_fold_to_one_state_however_they_were_read(
    history: list[tuple[bool, str, int]]
) -> None:
    log = signing()
    key = issue([log.store], RING, "web")
    for good, field, later in history:
        log.clock.now += later
        document = event() if field == "event" else batch([event()])
        signed(log, key, document, field) if good else forged(log, document, field)
    log.drain()
    assert isinstance(log.store, MemoryPartition)
    for count in (1, 3):
        store, report = log.store.space(f"by-{count}"), DrainReport()
        while True:
            fold = Ingest(store, watch_gaps=False)
            fold._count = count
            if not fold.step(report, None):
                break
        assert store.dump() == log.store.dump()


def test_without_rules_signatures_are_not_looked_at_and_optional_ones_must_fit() -> None:
    log = Log()
    forged(log, event(), key=b"web", mac=b"nonsense")
    assert log.drain().folded == 1
    log.store.keyring = RING
    key = issue([log.store], RING, "web")
    forged(log, event())
    signed(log, key, event())
    forged(log, event(), key=b"web", mac=b"nonsense")
    assert (log.drain().folded, log.dead_codes()) == (2, ["auth"])


def test_a_secret_may_be_replaced_and_the_old_log_stays_readable() -> None:
    log = signing()
    signed(log, issue([log.store], RING, "web"), event())
    both = Keyring((b"n" * 32, *RING.secrets))
    log.store.keyring = both
    key = issue([log.store], both, "web", newest=True)
    assert key == Keyring((b"n" * 32,)).key("web")
    signed(log, key, event())
    log.control.hold("checkout", reason="admitted on both sides")
    signed(log, RING.key("web"), event())
    log.drain()
    assert (log.cell("b").n, log.dead_codes()) == (2, ["auth"])
    assert log.state().status == "held"
    assert rebuild(log.store, verify=True).identical


@pytest.mark.parametrize("change", ["issue", "revoke", "require"])
def test_a_newer_secret_in_the_setting_ends_no_key_by_the_way(change: str) -> None:
    """Else what all other producers send from then on would be refused, and lost, because one of them changed."""
    log = signing()
    keys = [issue([log.store], RING, name) for name in ("web", "app")]
    both = Keyring((b"n" * 32, *RING.secrets))
    log.store.keyring = both
    match change:
        case "issue":
            keys.append(issue([log.store], both, "mobile"))
        case "revoke":
            revoke([log.store], both, keys.pop().key_id)
        case "require":
            require([log.store], both, required=True)
    for key in keys:
        signed(log, key, event())
    assert (log.drain().folded, log.dead_codes()) == (len(keys), [])


def test_of_two_who_change_keys_at_once_neither_undoes_what_the_other_did() -> None:
    log = signing()

    class Slow(MemoryPartition):
        """Gives somebody else time to change keys before what it was told to append."""

        def append(self, field: str, payload: bytes) -> str:
            if not meanwhile:
                meanwhile.append(issue([log.store], RING, "app"))
            return super().append(field, payload)

    meanwhile: list[SigningKey] = []
    slow = Slow(clock=log.clock, keyring=RING)
    slow._all = log.store._all  # type: ignore[attr-defined]
    issue([slow], RING, "web")
    rules = in_force(log.store)
    assert rules is not None
    assert rules.key_ids == ("app", "web")


def test_letters_go_back_under_the_installations_signature_and_forged_ones_stay() -> None:
    log = signing()
    key = issue([log.store], RING, "web")
    signed(log, key, event(variant="c"))
    signed(log, key, batch([event(variant="c"), event()]), "batch")
    forged(log, event())
    log.drain()
    log.control.add_variant("checkout", "c")
    done = redrive(log.store, [filed.id for filed in browse(log.store, Wanted())])
    assert (done.events, sum(done.stayed.values())) == (2, 1)
    log.drain()
    assert (log.cell("c").n, log.cell("b").n) == (2, 1)


# ── exposure tokens ──────────────────────────────────────────────────────────────────────────────────────────────────


def exposed(log: Log, key: SigningKey, **changes: Any) -> dict[str, Any]:
    """An outcome with the token of its exposure; `changes` come after it was issued."""
    plain = event(unit_id="u1", epoch=1)
    token = key.token("checkout", plain["variant"], 1, "u1", NOW)
    return {**plain, "token": token, **changes}


@pytest.mark.parametrize("form", ["row", "columns"])
def test_an_outcome_counts_for_the_exposure_its_token_names_and_no_other(form: str) -> None:
    log = Log(exposure_tokens=True)
    log.store.keyring = RING
    key = issue([log.store], RING, "flags")
    log.control.halt("checkout", "b", reason="a second epoch")
    others = [
        exposed(log, key, variant="control"),
        exposed(log, key, epoch=2),
        exposed(log, key, epoch=None),
        exposed(log, key, unit_id="u2"),
        exposed(log, key, unit_id=None),
        exposed(log, key, token=None),
        exposed(log, key, token="flags.1." + "0" * 32),
        exposed(log, key, token="flags.1.é"),
        exposed(log, key, token=key.token("checkout", "b", 1, "7\nu1", 5).replace(".5.", ".5\n7.")),
        exposed(log, key, token=RING.key("nobody").token("checkout", "b", 1, "u1", NOW)),
        exposed(log, key, token=key.token("other", "b", 1, "u1", NOW)),
        exposed(log, key, origin="import", variant="control"),
    ]
    for one in (exposed(log, key), *others):
        log.row(one) if form == "row" else log.columns(batch([one], epoch=one["epoch"]))
    report = log.drain()
    assert (report.folded, report.dead) == (1, len(others))
    assert set(log.dead_codes()) == {"auth"}
    assert log.state().refusals.seen == 1, "what nobody vouches for says nothing of the producer"


def test_tokens_of_a_revoked_key_and_tokens_without_rules_are_worth_nothing() -> None:
    log = Log(exposure_tokens=True)
    log.row(exposed(log, RING.key("flags")))
    log.drain()
    log.store.keyring = RING
    key = issue([log.store], RING, "flags")
    log.row(exposed(log, key))
    revoke([log.store], RING, "flags")
    log.row(exposed(log, key))
    log.drain()
    assert (log.cell("b").n, log.dead_codes()) == (1, ["auth", "auth"])


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_keys_and_secrets_do_not_show() -> None:
    key = RING.key("web")
    assert SigningKey.parse(key.text()) == key
    assert key.secret.hex() not in repr(key)
    assert "ssss" not in repr(RING)
    assert RING.secrets[0].hex() not in repr(RING)
    for wrong in (key.text()[:-1], "web", "", "web:" + "g" * 64):
        with pytest.raises(ConfigurationError) as refused:
            SigningKey.parse(wrong)
        assert key.secret.hex()[:32] not in str(refused.value)
    with pytest.raises(ConfigurationError, match="32 characters"):
        Keyring.parse("too short")
    with pytest.raises(ConfigurationError, match="at most 4"):
        Keyring.parse(",".join(["s" * 32] * 5))
    assert Keyring.parse(" ") == NO_KEYS


def test_the_key_of_orders_is_given_to_nobody() -> None:
    with pytest.raises(InvalidInput):
        issue([Log().store], RING, "control")
    with pytest.raises(ConfigurationError):
        issue([Log().store], NO_KEYS, "web")


def test_an_order_from_the_future_is_refused_and_the_clock_stays() -> None:
    """Its instant may be behind its entry's id by any time, and ahead of it by the tolerance for clocks."""
    log = Log()
    log.drain()
    log.store.append("control", ClockTick(at=NOW + 400 * 24 * HOUR).model_dump_json().encode())
    log.drain()
    assert log.store.load().clock == NOW
    assert log.dead_codes() == ["future"]
    log.clock.now += 400 * 24 * HOUR
    log.store.append("control", ClockTick(at=log.clock.now).model_dump_json().encode())
    log.drain()
    assert log.store.load().clock == log.clock.now, "a log may have been quiet for more than a year"
