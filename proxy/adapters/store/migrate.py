"""Brings a store's schema up to date when the program starts. Called by the databases of this package.

The caller gives a connection inside a transaction; on PostgreSQL an advisory lock, on SQLite that transaction
itself, keeps other processes that start at the same moment waiting, and everything is kept or nothing.

An upgrade goes node by node, so a program may open a store whose schema has steps that it does not know. A step
that only adds (tables, columns with defaults, indexes) says ``additive = True``; that is written into
``schema_steps``, and a program that finds nothing but such steps beyond its own serves. Any other step keeps it
out.
"""

from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from proxy.adapters.store import tables
from proxy.core.errors import Unavailable

# Any number that no one else takes on the same database: "tidegate" in ASCII.
ADVISORY_LOCK = int.from_bytes(b"tidegate", "big") >> 1


def current(connection: sa.Connection) -> bool:
    """Whether this program can serve with the schema as it is: it knows all of it, or what it does not know is
    additive. ``Unavailable`` if a later program's steps changed more."""
    script = ScriptDirectory.from_config(_config(connection))
    applied = set(MigrationContext.configure(connection).get_current_heads())
    known = {step.revision for step in script.walk_revisions()}
    unknown = applied - known
    if not unknown:
        return applied == set(script.get_heads())
    beyond = {revision: additive for revision, additive in _steps(connection).items() if revision not in known}
    if unknown <= set(beyond) and all(beyond.values()):
        return True
    raise Unavailable(
        "the store was made by a later version of Tidegate, in a way that this version cannot serve",
        hint="upgrade this node before starting it",
        detail=f"schema {', '.join(sorted(applied))}; known up to {script.get_current_head()}",
        code="store_newer",
    )


def migrate(connection: sa.Connection) -> None:
    """Run the steps that are missing. Errors: ``Unavailable`` as in ``current``."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ADVISORY_LOCK})
    if not current(connection):
        config = _config(connection)
        command.upgrade(config, "head")
        _note_steps(connection, ScriptDirectory.from_config(config))


def _steps(connection: sa.Connection) -> Mapping[str, bool]:
    """The steps that made the schema, and whether each is additive; none where that was not yet written down."""
    if not sa.inspect(connection).has_table(tables.schema_steps.name):
        return {}
    return {row.revision: bool(row.additive) for row in connection.execute(sa.select(tables.schema_steps))}


def _note_steps(connection: sa.Connection, script: ScriptDirectory) -> None:
    noted = _steps(connection)
    rows = [
        {"revision": step.revision, "additive": getattr(step.module, "additive", False) is True}
        for step in script.walk_revisions()
        if step.revision not in noted
    ]
    connection.execute(sa.insert(tables.schema_steps), rows)


def _config(connection: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
