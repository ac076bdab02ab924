"""The next version of Tidegate, as real code: a copy of the tree with what a later release may bring.

Nothing of the copy is edited: each addition is appended to a module, so that it replaces what that module gave to
the others. It has a step of the schema with columns in five tables, a kind of the feed that ends and one that
informs, a key in each decision, a field of a grant that must be understood and one that need not, an event of the
trail, a status of sessions, and a setting with a default.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.script import ScriptDirectory

ROOT = Path(__file__).parents[2]
VERSIONS = "proxy/adapters/store/migrations/versions"
REVISION = "9000"
TABLES = ("requests", "grants", "sessions", "nodes", "locks")

STEP = '''"""What the next version adds."""
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"
additive = {additive}


def upgrade():
    for table in {tables}:
        op.add_column(table, sa.Column("later", sa.Text(), nullable=False, server_default=""))
    for name in ("mask", "note"):
        op.add_column("grants", sa.Column(name, sa.Text(), nullable=False, server_default=""))
    op.create_table("witnesses", sa.Column("name", sa.Text(), primary_key=True))
'''

ADDED: Mapping[str, str] = {
    "proxy/core/feed.py": """
FeedKind = StoredWord(
    "FeedKind", {**{each.name: each.value for each in FeedKind}, "PAUSED": "paused", "WITNESSED": "witnessed"}
)
EFFECTS = {FeedKind(str(kind)): effect for kind, effect in EFFECTS.items()}
EFFECTS |= {FeedKind.PAUSED: Effect.ENDS, FeedKind.WITNESSED: Effect.INFORMS}
Scope = StoredWord("Scope", {**{each.name: each.value for each in Scope}, "TEAM": "team"})
""",
    "proxy/core/access.py": """
_Decision, _Grant = Decision, Grant


@dataclass(frozen=True, slots=True)
class Decision(_Decision):
    quorum: int = 2


@dataclass(frozen=True, slots=True)
class Grant(_Grant):
    mask: str = field(default="", metadata={"must": True})
    note: str = ""
""",
    "proxy/adapters/store/tables.py": """
grants.append_column(word("mask"))
grants.append_column(word("note"))
""",
    "proxy/adapters/store/rows.py": """
from dataclasses import replace

_grant_values, _to_grant = grant_values, to_grant


def grant_values(grant):
    return _grant_values(grant) | {"mask": grant.mask, "note": grant.note}


def to_grant(row):
    return replace(_to_grant(row), mask=row.mask, note=row.note)
""",
    "proxy/core/events.py": """

@dataclass(frozen=True, slots=True)
class TrailWitnessed(Event):
    witness: str = public()
""",
    "gateway_config/runtime.py": """
_Tokens = Tokens


class Tokens(_Tokens):
    proof: bool = setting("Whether a token must be bound to a key.", "restart", False)
""",
}

UNIT = """
import asyncio, json, sys
from dataclasses import replace
from pathlib import Path
from proxy.access.seals import Seals
from proxy.adapters.clock import SystemClock
from proxy.adapters.keys import FileSeal, KeyFolder
from proxy.adapters.store.opening import open_store
from proxy.core.events import TrailWitnessed
from proxy.core.feed import FeedKind, Scope
from proxy.core.vocabulary import everybody_speaks

url, keys, asked = sys.argv[1:]
seals = Seals(FileSeal(KeyFolder(Path(keys))))


def unit(writer):
{body}


async def main():
    async with open_store(url, node="next-9", clock=SystemClock()) as store:
        return await store.commit(unit)


asked = json.loads(asked)
print(json.dumps(asyncio.run(main())))
"""


def next_version(folder: Path, *, additive: bool = True) -> Path:
    """Make the tree in ``folder``; where ``proxy`` and ``gateway_config`` of the next version are."""
    for name in ("proxy", "gateway_config"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in ADDED.items():
        with (folder / name).open("a") as module:
            module.write(text)
    config = Config()
    config.set_main_option("script_location", str(ROOT / VERSIONS).removesuffix("/versions").replace("%", "%%"))
    before = ScriptDirectory.from_config(config).get_current_head()
    step = STEP.format(revision=REVISION, before=before, additive=additive, tables=TABLES)
    (folder / VERSIONS / f"{REVISION}_next.py").write_text(step)
    return folder


def write(tree: Path, url: str, keys: Path, body: str, **asked: Any) -> Any:
    """Commit a unit with the code of the version in ``tree``: ``body`` are the lines of ``unit(writer)``, which may
    use ``asked`` and ``seals`` and gives back what JSON holds. Opening the store brings its schema up to date."""
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    code = UNIT.format(body=lines)
    command = [sys.executable, "-c", code, url, str(keys), json.dumps(asked)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
