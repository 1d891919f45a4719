"""Every example of the README, in its order and in its own words, against a system that the README's command started.

Shell blocks run in a shell, Python blocks in an interpreter, both in an empty home. Two things differ from what a
reader does: ports are free ones, and where no redis-cli or curl is installed a stand-in sends the same words. `make
demo` and `make test` are not run from within the tests: what make would do is looked at here, the demo runs in
`tests/e2e`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import redis

from e2e.conftest import UP_SECONDS, clean_environment, stop
from servers import plain_client, wait_until
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.schema.allocation import Allocation
from trimtab.schema.keys import ExperimentKeys

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PORT, GATEWAY_PORT = "6380", "8080"  # the README's
BLOCK_SECONDS = 60
SENT = 2003  # 2,000 visitors from Python, one by OpenFeature, one from redis-cli, one over HTTP

REDIS_CLI = """\
import sys
import redis

dash_p, port, *words = sys.argv[1:]
assert dash_p == "-p", sys.argv
with redis.Redis(port=int(port), protocol=3, legacy_responses=False, decode_responses=True) as client:
    print(client.execute_command(*words))
"""

CURL = """\
import sys
import urllib.error
import urllib.request

shown, url, *options = sys.argv[1:]
given = dict(zip(options[::2], options[1::2], strict=True))
body = given["-d"].encode() if "-d" in given else None
headers = dict([given["-H"].split(": ", 1)]) if "-H" in given else {}
try:
    answer = urllib.request.urlopen(urllib.request.Request(url, body, headers))
except urllib.error.HTTPError as error:
    answer = error
if shown == "-sSi":
    print(f"HTTP/1.1 {answer.status} {answer.reason}", answer.headers, sep="\\n", end="")
print(answer.read().decode(), end="")
"""


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, and the line of the README that it begins at."""

    language: str
    text: str
    line: int

    def follows(self, other: Block) -> bool:
        """Whether nothing but a blank line stands between this block and `other`."""
        return self.line == other.line + other.text.count("\n") + 3

    def __str__(self) -> str:
        return f"README.md, line {self.line}:\n{self.text}"


def blocks() -> list[Block]:
    text = README.read_text(encoding="utf-8")
    return [
        Block(found[1], found[2], text.count("\n", 0, found.start()) + 1)
        for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def is_for_make(block: Block) -> bool:
    return block.text.startswith("make ")


def starts_the_system(block: Block) -> bool:
    return "trimtab up" in block.text


def starts_the_gateway(block: Block) -> bool:
    return block.text == "trimtab serve\n"


@dataclass
class Reader:
    """Somebody who types what the README says, in a folder that looks like a clone."""

    home: Path
    port: str
    gateway_port: str

    @property
    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), str(self.home / "bin")])  # the stand-in comes last
        own = {"TRIMTAB_DRAIN_PARK_SECONDS": "1", "TRIMTAB_GATEWAY__PORT": self.gateway_port}
        return {**clean_environment(), "HOME": str(self.home), "PATH": path, **own}

    def words(self, block: Block) -> str:
        return block.text.replace(PORT, self.port).replace(GATEWAY_PORT, self.gateway_port)

    def run(self, block: Block) -> str:
        """What the block printed. Its shell has activated the environment, as the reader did in the first block."""
        command = {
            "sh": ["sh", "-euc", f". .venv/bin/activate\n{self.words(block)}"],
            "python": [sys.executable, "-W", "error", "-c", self.words(block)],
        }[block.language]
        done = subprocess.run(
            command, cwd=self.home, env=self.environment, capture_output=True, text=True, timeout=BLOCK_SECONDS
        )
        assert done.returncode == 0, f"{block}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, f"{block}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def system(self, block: Block) -> Iterator[redis.Redis]:
        """What the block starts, while it runs; a client of its data server."""
        url = f"redis://127.0.0.1:{self.port}/0"
        with self.running(block, "trimtab up", says="Trimtab is up"), plain_client(url) as client:
            yield client

    @contextmanager
    def running(self, block: Block, command: str, *, says: str) -> Iterator[None]:
        """The block's last command, in the background from when it says that it is ready."""
        output = self.home / f"{command.replace(' ', '-')}.log"
        words = self.words(block).replace(command, f"exec {command}")  # one process, to be ended by its id
        with output.open("wb") as out:
            process = subprocess.Popen(
                ["sh", "-euc", f". .venv/bin/activate\n{words}"], cwd=self.home, env=self.environment,
                stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        try:
            wait_until(lambda: process.poll() is not None or says in output.read_text(), UP_SECONDS, what=command)
            assert process.poll() is None, output.read_text()
            yield
        finally:
            stop(process)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "bin").mkdir()
    for name, program in (("redis-cli", REDIS_CLI), ("curl", CURL)):
        (tmp_path / f"{name}.py").write_text(program)
        stand_in = tmp_path / "bin" / name
        command = shlex.join([sys.executable, str(tmp_path / f"{name}.py")])
        stand_in.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        stand_in.chmod(0o755)
    return Reader(tmp_path, free_port(), free_port())


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.mark.timeout(240)
def test_every_example_of_the_readme_does_what_it_says(reader: Reader) -> None:
    (start,) = filter(starts_the_system, blocks())
    (serve,) = filter(starts_the_gateway, blocks())
    with reader.system(start) as client, reader.running(serve, "trimtab serve", says="Listening"):
        printed = [reader.run(block) for block in examples(client)]
        check_the_outcome(reader, client, "\n".join(printed))


def test_what_the_readme_says_a_library_prints_is_what_it_prints(reader: Reader) -> None:
    """A text block right behind an example is its output."""
    pairs = [(block, shown) for block, shown in pairwise(blocks()) if shown.language == "text" and shown.follows(block)]
    assert pairs
    for block, shown in pairs:
        assert reader.run(block) == shown.text, shown


@pytest.mark.parametrize(("target", "command"), [("demo", "trimtab demo --seconds 60"), ("test", "-m pytest")])
def test_make_knows_the_two_commands_of_the_readme(target: str, command: str) -> None:
    (block,) = filter(is_for_make, blocks())
    assert re.search(rf"^make {target} +# ", block.text, re.MULTILINE)
    dry_run = ["make", "--dry-run", target]
    done = subprocess.run(dry_run, cwd=ROOT, capture_output=True, text=True, timeout=BLOCK_SECONDS)
    assert done.returncode == 0, done.stderr
    assert command in done.stdout


def examples(client: redis.Redis) -> Iterator[Block]:
    """Every block to run, each once what the one before has sent is folded."""
    for block in blocks():
        elsewhere = is_for_make(block) or starts_the_system(block) or starts_the_gateway(block)
        if block.language in ("sh", "python") and not elsewhere:
            wait_until(no_recompute_is_near, 10, what="a moment without the periodic recompute")
            yield block
            wait_until(lambda: everything_is_folded(client), 30, what="what was sent, folded")


def no_recompute_is_near() -> bool:
    """The periodic one comes at the full minute; the example's own would lose, or win, a race against it."""
    return 3 < time.time() % 60 < 56


def everything_is_folded(client: redis.Redis) -> bool:
    partition = RedisPartition(client, 0)
    return partition.load().cursor.id == partition.ends().last_id


def check_the_outcome(reader: Reader, client: redis.Redis, printed: str) -> None:
    """The examples did more than to end without an error."""
    stats = json.loads(reader.run(Block("sh", "trimtab stats checkout --json", 0)))
    assert (stats["folded"], stats["duplicates"], stats["dead"]) == (SENT, 0, {})
    assert stats["unstamped"] == 1, "the one from redis-cli names no epoch"
    documents = [line for line in printed.splitlines() if line.startswith('{"v":1,"experiment_id":"checkout"')]
    polled, fetched = (Allocation.model_validate_json(line.partition('{"key"')[0]) for line in documents)
    assert polled.weights["b"] > 500_000, "b is better, and the weights follow"
    assert fetched.revision >= polled.revision
    assert re.search(r'"variant":"(control|b)","reason":"SPLIT".*\{"accepted":1\}$', printed, re.MULTILINE), "over HTTP"
    assert re.search(r"^HTTP/1.1 (304|200) ", printed, re.MULTILINE), "a conditional question"
    assert re.search(r"^(control|b) \d+ 0\.\d+ SPLIT$", printed, re.MULTILINE), "the answer of the flag client"
    assert "Resumed: they are fine" in printed
    wait_until(lambda: orders(client)[-1] == ("hold", "celery:incident-43", "Held: incident 43"), 30, what="the task")
    given = orders(client)
    assert ("hold", "on call", "Held: a look at the numbers") in given
    assert [(act, said) for act, _, said in given if act == "halt"] == [("halt", "Halted b: errors in b")]


def orders(client: redis.Redis) -> list[tuple[str, str, str]]:
    """What was ordered, by whom and in which words, oldest first."""
    entries = [json.loads(fields[b"entry"]) for _, fields in client.xrange(ExperimentKeys("checkout").ledger)]
    return [(entry["act"], entry["by"], entry["sentence"]) for entry in entries if entry["kind"] == "act"]
