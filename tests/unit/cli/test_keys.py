"""`trimtab keys`: a producer's key from its issue to its end."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from trimtab.schema.signing import Keyring, SigningKey
from trimtab_worker.bootstrap import Services
from trimtab_worker.embedded import EmbeddedServer

Cli = Callable[..., tuple[int, str, str]]
SECRET = "a secret of at least thirty-two characters"


def test_a_key_is_issued_listed_required_and_revoked(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("keys", "list")[1] == "Partition 0: signatures are not looked at.\n"
    code, _, err = cli("keys", "issue", "web")
    assert (code, err) == (1, "Set TRIMTAB_SIGNING_SECRET: keys are derived from it.\n")
    monkeypatch.setenv("TRIMTAB_SIGNING_SECRET", SECRET)
    code, out, _ = cli("keys", "issue", "web")
    assert code == 0
    assert SigningKey.parse(out) == Keyring.parse(SECRET).key("web")
    assert cli("keys", "issue", "app")[1] != out, "and what is not folded yet counts, too"
    assert cli("keys", "require")[0] == 0
    assert "keys app, web; unsigned entries are refused" in cli("keys", "list")[1]
    assert cli("keys", "revoke", "app")[0] == 0
    rules = json.loads(cli("keys", "list", "--json")[1])["0"]
    assert (rules["key_ids"], rules["required"]) == (["web"], True)
    assert cli("keys", "require", "--off")[0] == 0
    assert "unsigned entries are taken" in cli("keys", "list")[1]
    assert cli("keys", "issue", "Not a Slug")[0] == 2
    assert cli("keys", "issue", "control")[0] == 1


def test_another_secret_is_gone_on_to_only_when_that_is_asked_for_and_who_loses_a_key_is_named(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIMTAB_SIGNING_SECRET", SECRET)
    for name in ("web", "app"):
        cli("keys", "issue", name)
    newer = f"newer: {SECRET}"
    monkeypatch.setenv("TRIMTAB_SIGNING_SECRET", f"{newer},{SECRET}")
    _, out, err = cli("keys", "issue", "mobile")
    assert (SigningKey.parse(out), err) == (Keyring.parse(SECRET).key("mobile"), "")
    _, out, err = cli("keys", "issue", "web", "--newest")
    assert SigningKey.parse(out) == Keyring.parse(newer).key("web")
    assert "issue each anew: app, mobile." in err
    assert SigningKey.parse(cli("keys", "issue", "app")[1]) == Keyring.parse(newer).key("app")
    assert "keys app, web;" in cli("keys", "list")[1]


def test_orders_go_on_once_everything_must_be_signed(
    cli: Cli, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIMTAB_SIGNING_SECRET", SECRET)
    definition = ("--id", "checkout", "--variants", "a,b", "--metric", "m:binary", "--start")
    assert cli("keys", "require")[0] == 0
    assert cli("experiment", "create", *definition)[0] == 0
    services = Services()
    services.ingest(0).drain(holder="test")
    assert cli("hold", "checkout", "--reason", "a look")[0] == 0
    monkeypatch.delenv("TRIMTAB_SIGNING_SECRET")
    code, _, err = cli("resume", "checkout")
    assert code == 1
    assert "takes signed entries only" in err
    services.ingest(0).drain(holder="test")
    assert services.partition(0).dead_letters(10) == []
    services.close()
