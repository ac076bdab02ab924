"""Brings a store's schema up to date when the program starts. Called by the databases of this package.

The caller gives a connection inside a transaction; on PostgreSQL an advisory lock, on SQLite that transaction
itself, keeps other processes that start at the same moment waiting, and everything is kept or nothing.
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from proxy.core.errors import Unavailable

# Any number that no one else takes on the same database: "tidegate" in ASCII.
ADVISORY_LOCK = int.from_bytes(b"tidegate", "big") >> 1


def current(connection: sa.Connection) -> bool:
    """Whether the schema is the one this program knows. ``Unavailable`` if it is a later program's."""
    script = ScriptDirectory.from_config(_config(connection))
    applied = set(MigrationContext.configure(connection).get_current_heads())
    known = {step.revision for step in script.walk_revisions()}
    if applied - known:
        raise Unavailable(
            "the store was made by a later version of Tidegate",
            hint="upgrade this node before starting it",
            detail=f"schema {', '.join(sorted(applied))}; known up to {script.get_current_head()}",
            code="store_newer",
        )
    return applied == set(script.get_heads())


def migrate(connection: sa.Connection) -> None:
    """Run the steps that are missing. Errors: ``Unavailable`` as in ``current``."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ADVISORY_LOCK})
    if not current(connection):
        command.upgrade(_config(connection), "head")


def _config(connection: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
