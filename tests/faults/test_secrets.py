"""SE-11: canary secrets in addresses and settings, every process at the level that shows most, and nothing shows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from faults.reporting import Check
from logs import definition
from servers import plain_client, wait_until
from trimtab.adapters.redis.connection import connect
from trimtab.client.control import Control
from trimtab.schema.signing import Keyring
from trimtab_worker import health
from trimtab_worker.embedded import EmbeddedServer

PASSWORD = "canary-password-in-an-address"
SECRET = "canary-signing-secret-of-many-characters"
KEY = Keyring.parse(SECRET).key("canary-key")
CANARIES = (PASSWORD, SECRET, KEY.secret.hex())
CLI = (sys.executable, "-c", "from trimtab_worker.cli import main; main()")
COMMANDS = (
    ("doctor",),
    ("doctor", "--json"),
    ("metrics",),
    ("experiment", "list"),
    ("dead", "list", "--json"),
    ("keys", "list"),
    ("hold", "checkout", "--reason", "a look"),
    ("hold", "nowhere", "--reason", "there is none"),
    ("rebuild", "checkout", "--verify"),
    ("send", "/nowhere"),
)


@pytest.fixture
def environment(own_server: EmbeddedServer, broker: EmbeddedServer, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Both servers with a user whose password is a canary, and signing canaries."""
    urls = {}
    for name, server in (("REDIS_URL", own_server), ("BROKER_URL", broker)):
        with plain_client(server.url) as admin:
            rules = ("ON", f">{PASSWORD}", "~*", "&*", "+@all")
            admin.execute_command("ACL", "SETUSER", "canary-user", *rules)
        urls[name] = server.url.replace("//", f"//canary-user:{PASSWORD}@")
    secrets = {"TRIMTAB_SIGNING_SECRET": SECRET, "TRIMTAB_SIGNING_KEY": KEY.text()}
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TRIMTAB_")}
    yield {**plain, **urls, **secrets, "TRIMTAB_LOG_LEVEL": "DEBUG", "TRIMTAB_DATA_DIR": str(tmp_path)}
    with plain_client(broker.url) as admin:
        admin.execute_command("ACL", "DELUSER", "canary-user")


def run(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run([*CLI, *arguments], env=environment, capture_output=True, text=True, timeout=90, check=False)
    return done.stdout + done.stderr


def test_no_canary_shows_in_any_output(
    environment: dict[str, str], own_server: EmbeddedServer, own_client: redis.Redis, tmp_path: Path, check: Check
) -> None:
    Control(environment["REDIS_URL"], by="tester", signing_secret=SECRET).create(definition())
    said = {" ".join(command): run(environment, *command) for command in COMMANDS}
    wrong = environment | {"REDIS_URL": environment["REDIS_URL"].replace(":" + PASSWORD, f":{PASSWORD}-wrong")}
    broken = environment | {"REDIS_URL": f"redis://canary-user:{PASSWORD}@[broken"}
    said |= {"wrong password": run(wrong, "doctor"), "no address": run(broken, "doctor")}
    said |= {"no key": run(environment | {"TRIMTAB_SIGNING_KEY": SECRET}, "send", "/dev/null")}
    said |= {"worker and beat": _worker(environment, own_server, own_client, tmp_path)}
    assert "task_refused" in said["worker and beat"] or "Traceback" in said["worker and beat"], "it was in trouble"
    said |= {"letters": _letters(own_server)}
    assert all(said.values()), "each of them says something"
    shown = {where for where, text in said.items() if any(canary in text for canary in CANARIES)}
    check("SE-11", "0 of the outputs", f"{len(shown)} of the outputs", shown == set())


def _letters(server: EmbeddedServer) -> str:
    server.start()
    with plain_client(server.url) as client:
        return repr(client.xrange("trimtab:{p0}:dead"))


def _worker(environment: dict[str, str], server: EmbeddedServer, client: redis.Redis, directory: Path) -> str:
    """What a worker says that is well, then has no data server, then ends."""
    log = directory / "worker.log"
    command = [sys.executable, "-m", "celery", "-A", "trimtab_worker.app", "worker", "-Q", "ingest,decide", "-c", "1"]
    with log.open("w") as out, subprocess.Popen(
        [*command, "-B", "-s", str(directory / "beat"), "--without-gossip", "--without-mingle", "-l", "DEBUG"],
        env=environment, stdout=out, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            with connect(environment["REDIS_URL"]) as known:
                wait_until(lambda: health.alive(known, "ingest"), 90, what="a sign of life")
            wait_until(lambda: client.exists("trimtab:{p0}:drain"), 90, what="a drain")
            server.kill()

            def in_trouble() -> bool:
                text = log.read_text(errors="replace")
                return "task_refused" in text or "Traceback" in text

            wait_until(in_trouble, 90, what="trouble")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(90)
    return log.read_text(errors="replace")
