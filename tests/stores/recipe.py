"""How ``tests/stores/2881ff7`` was made: by the code of that commit, with a real PostgreSQL, psql and people.

``python tests/stores/recipe.py`` in a checkout that has the commit writes the folder anew. What is in it is what
2881ff7 left after a stop: its store, its recordings, its keys (made for this, good for nothing else), and
``facts.json`` with what the API of then said of all of it. ``test_before.py`` opens a copy.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

COMMIT = "2881ff7"
HERE = Path(__file__).resolve()
OUT = HERE.parent / COMMIT

INSIDE = """
import sys
sys.path.insert(0, {recipe!r})
from recipe import make
make({out!r})
"""


def main() -> None:
    """Check the commit out beside this tree and run ``make`` with its code."""
    root = HERE.parents[2]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "worktree", "add", "--detach", str(tree), COMMIT], cwd=root, check=True)
        try:
            shutil.rmtree(OUT, ignore_errors=True)
            code = INSIDE.format(recipe=str(HERE.parent), out=str(OUT))
            environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
            subprocess.run([sys.executable, "-c", code], cwd=tree, env=environment, check=True)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=root, check=True)


def make(out: str) -> None:
    """Live through a little of everything, then stop. Runs with the old tree's ``proxy`` and ``tests``."""
    import psycopg

    from tests.peers.gateway import gateway
    from tests.peers.postgres import cluster

    with cluster("15") as target, gateway(target, head='node = "old"') as gate:
        grants = {
            "plain": gate.grant("readonly", "alice", 900),
            "watched": gate.grant("readonly", "eve", 900),
            "approved": gate.grant("owner", "alice", 900),
            "revoked": gate.grant("readonly", "alice", 900),
            "extended": gate.grant("readonly", "eve", 900),
        }
        gate.call("POST", f"/v1/grants/{grants['extended']}/extend", {"duration": 300, "reason": "é"}, user="eve")
        for name, user, account in (
            ("plain", "alice", "readonly"),
            ("watched", "eve", "readonly"),
            ("approved", "alice", "owner"),
        ):
            token = gate.token(account, user, grants[name])
            with closing(psycopg.connect(gate.dsn(account, user=user, token=token), autocommit=True)) as connection:
                connection.execute("select %s::text, n from generate_series(1, 3) n", ["“quoted” é"])
                connection.execute("select 1 as one")
            gate.ended(grants[name])
        with closing(psycopg.connect(gate.dsn(token=gate.token(grant=grants["revoked"])))) as connection:
            gate.revoke(grants["revoked"])
            gate.ended(grants["revoked"])
        asked = {"resource": "shop", "account": "owner", "duration": 600, "reason": "left open"}
        pending = gate.call("POST", "/v1/requests", asked, user="eve")["request"]
        gate.call("POST", "/v1/locks", {"scope": "identity", "key": "eve", "reason": "on leave"})
        token = gate.call("POST", f"/v1/grants/{grants['plain']}/token", {}, user="alice")
        facts = {
            "grants": {name: gate.call("GET", f"/v1/grants/{each}", user="carol") for name, each in grants.items()},
            "pending": pending,
            "token": token,
            "sessions": gate.sessions(),
            "statements": {each["id"]: gate.statements(each["id"]) for each in gate.sessions()},
        }
        gate.stop()
        keep(gate.folder, Path(out), facts)


def keep(folder: Path, out: Path, facts: dict[str, object]) -> None:
    """Copy what a backup would hold: the store whole, in one file."""
    (out / "state").mkdir(parents=True)
    store = folder / "state" / "tidegate.db"
    with closing(sqlite3.connect(store)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (facts["at"],) = database.execute("SELECT max(at) FROM trail").fetchone()
        (facts["rows"],) = database.execute("SELECT max(seq) FROM trail").fetchone()
        database.execute("PRAGMA journal_mode = DELETE")
        database.execute("VACUUM")
    shutil.copy(store, out / "state")
    for name in ("keys", "recordings"):
        shutil.copytree(
            folder / "state" / name, out / "state" / name, ignore=shutil.ignore_patterns("live", ".lock")
        )
    (out / "facts.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
