"""A data server with the users of `deploy/redis/users.acl`, each with its own name for a password."""

from __future__ import annotations

import re
from pathlib import Path

from servers import start_server
from trimtab_worker.embedded import EmbeddedServer

ACL = Path(__file__).parents[1] / "deploy" / "redis" / "users.acl"
ROLES = ("producer", "flags", "worker", "operator", "gateway", "monitor")


def start_with_users(directory: Path) -> EmbeddedServer:
    """The shipped users with passwords; the default user stays, for the test to prepare and to look."""
    directory.mkdir(parents=True, exist_ok=True)
    shipped = ACL.read_text(encoding="utf-8").splitlines()
    assert shipped[0] == "user default off nopass resetchannels -@all"
    users = [re.sub(r"^user trimtab-(\w+) on", r"user trimtab-\1 on >\1", line) for line in shipped[1:]]
    file = directory / "users.acl"
    file.write_text("\n".join(["user default on nopass ~* &* +@all", *users, ""]), encoding="utf-8")
    return start_server(directory / "server", options={"aclfile": str(file)})


def url_of(server: EmbeddedServer, role: str) -> str:
    """The server's address with a role's login."""
    return server.url.replace("//", f"//trimtab-{role}:{role}@")
