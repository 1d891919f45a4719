"""Processes as the kernel sees them."""

from __future__ import annotations

from pathlib import Path


def alive(pid: int | None) -> int:
    """`pid` while it runs; 0 once it has ended, reaped or not."""
    state, _ = status(pid or 0)
    return pid if pid and state not in ("", "Z") else 0


def children(parent: int) -> list[int]:
    """The living children of `parent`."""
    pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())
    return [pid for pid in pids if status(pid)[1] == parent and alive(pid)]


def status(pid: int) -> tuple[str, int]:
    """State and parent of a process, as the kernel tells them; empty where there is none."""
    try:
        state, parent, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return "", 0
    return state, int(parent)


def resident_mib(pid: int) -> float:
    """The memory that a process holds, in MiB."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
