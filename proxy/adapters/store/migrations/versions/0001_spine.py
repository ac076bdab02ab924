"""The spine: requests, grants, tokens, locks, sessions, nodes, and the append-only trail and feed.

Triggers refuse what the program never does, so that a slip or a curious hand on the database fails loudly. They do
not stop the database's owner: the chain, the signed heads and the grants' MACs tell of that.
"""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Word = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Seq = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Instant: sa.Double[float] = sa.Double()

APPEND_ONLY = ("trail", "feed")


def upgrade() -> None:
    access_tables()
    session_tables()
    log_tables()
    op.execute("INSERT INTO heads (id, trail_seq, trail_digest, feed_seq, feed_cutoff) VALUES (1, 0, '', 0, 0)")
    triggers = sqlite_triggers() if op.get_context().dialect.name == "sqlite" else postgresql_triggers()
    for trigger in triggers:
        op.execute(trigger)


def table(name: str, *columns: "sa.Column[object]", key: tuple[str, ...]) -> None:
    op.create_table(name, *columns, sa.PrimaryKeyConstraint(*key))


def words(names: str, *, null: bool = False) -> "Iterator[sa.Column[object]]":
    return (sa.Column(name, Word, nullable=null) for name in names.split())


def instants(names: str, *, null: bool = False) -> "Iterator[sa.Column[object]]":
    return (sa.Column(name, Instant, nullable=null) for name in names.split())


def numbers(names: str) -> "Iterator[sa.Column[object]]":
    return (sa.Column(name, Seq, nullable=False, autoincrement=False) for name in names.split())


def indexes(name: str, **columns: tuple[str, ...]) -> None:
    for suffix, indexed in columns.items():
        op.create_index(f"{name}_{suffix}", name, list(indexed))


def access_tables() -> None:
    table(
        "requests",
        *words("id identity groups resource account"),
        *instants("duration"),
        *words("reason status"),
        *instants("created expires"),
        *words("decision approvals"),
        *instants("decided", null=True),
        *words("grant_id extends", null=True),
        *words("source"),
        key=("id",),
    )
    indexes("requests", identity=("identity", "id"), resource=("resource", "id"), status=("status", "id"))
    table(
        "grants",
        *words("id request identity resource account"),
        *instants("starts ends"),
        *words("networks databases conditions rule"),
        *instants("revoked", null=True),
        *words("revoked_by revoked_reason mac"),
        key=("id",),
    )
    indexes("grants", identity=("identity", "id"), resource=("resource", "id"), ends=("ends",))
    table("revoked_tokens", *words("jti"), *instants("until"), *words("by reason"), key=("jti",))
    table("locks", *words("scope key by reason"), *instants("at"), key=("scope", "key"))


def session_tables() -> None:
    table(
        "sessions",
        *words("id node protocol grant_id identity resource account database source client"),
        *instants("started"),
        *words("status recording"),
        *instants("ended", null=True),
        *words("end_reason", null=True),
        *words("detail totals"),
        *words("receipt", null=True),
        *words("recording_digest"),
        key=("id",),
    )
    indexes("sessions", identity=("identity", "id"), resource=("resource", "id"), status=("status", "id"))
    indexes("sessions", grant=("grant_id", "status", "id"), node=("node", "status", "id"))
    table(
        "nodes",
        *words("id host"),
        *instants("started heartbeat"),
        *numbers("feed_seen"),
        *words("digest"),
        key=("id",),
    )


def log_tables() -> None:
    table(
        "heads",
        *numbers("id trail_seq"),
        *words("trail_digest"),
        *numbers("feed_seq"),
        *instants("feed_cutoff"),
        key=("id",),
    )
    table(
        "trail",
        *numbers("seq"),
        *instants("at"),
        *words("node kind actor"),
        *words("request_id grant_id session_id identity resource", null=True),
        *words("body previous digest"),
        key=("seq",),
    )
    indexes("trail", kind=("kind", "seq"), actor=("actor", "seq"), request=("request_id", "seq"))
    indexes("trail", grant=("grant_id", "seq"), session=("session_id", "seq"))
    indexes("trail", identity=("identity", "seq"), resource=("resource", "seq"))
    table("trail_heads", *numbers("seq"), *words("digest"), *instants("at"), *words("kid signature"), key=("seq",))
    table("feed", *numbers("seq"), *instants("at"), *words("kind scope key by reason data"), key=("seq",))


def sqlite_triggers() -> Iterator[str]:
    """Insertions are checked too: ``INSERT OR REPLACE`` deletes without telling a delete trigger."""
    for name in APPEND_ONLY:
        yield refuse_on_sqlite(f"{name}_keeps", f"UPDATE ON {name}", f"{name} is append-only")
    yield refuse_on_sqlite("trail_stays", "DELETE ON trail", "trail is append-only")
    yield refuse_on_sqlite(
        "trail_continues",
        "INSERT ON trail",
        "trail has no gaps",
        "NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM trail)"
        " OR NEW.previous IS NOT coalesce((SELECT digest FROM trail ORDER BY seq DESC LIMIT 1), '')",
    )
    yield refuse_on_sqlite(
        "feed_stays", "DELETE ON feed", "feed is append-only", "OLD.at >= (SELECT feed_cutoff FROM heads)"
    )
    yield refuse_on_sqlite(
        "feed_continues", "INSERT ON feed", "feed has no gaps", "EXISTS (SELECT 1 FROM feed WHERE seq >= NEW.seq)"
    )
    yield refuse_on_sqlite(
        "heads_grow",
        "UPDATE ON heads",
        "heads only grow",
        "NEW.id <> OLD.id OR NEW.trail_seq < OLD.trail_seq OR NEW.feed_seq < OLD.feed_seq"
        " OR NEW.feed_cutoff < OLD.feed_cutoff",
    )
    yield refuse_on_sqlite("heads_stay", "DELETE ON heads", "heads only grow")
    yield refuse_on_sqlite("heads_are_one", "INSERT ON heads", "heads is one row")


def refuse_on_sqlite(name: str, when: str, why: str, where: str = "1") -> str:
    return f"CREATE TRIGGER {name} BEFORE {when} WHEN {where} BEGIN SELECT RAISE(ABORT, '{why}'); END"


def postgresql_triggers() -> Iterator[str]:
    yield (
        "CREATE FUNCTION tidegate_refuse() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege'; END $$"
    )
    yield (
        "CREATE FUNCTION tidegate_keep_feed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF OLD.at >= (SELECT feed_cutoff FROM heads) THEN"
        " RAISE EXCEPTION 'feed is append-only' USING ERRCODE = 'insufficient_privilege';"
        " END IF; RETURN OLD; END $$"
    )
    yield (
        "CREATE FUNCTION tidegate_grow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.id <> OLD.id OR NEW.trail_seq < OLD.trail_seq OR NEW.feed_seq < OLD.feed_seq"
        " OR NEW.feed_cutoff < OLD.feed_cutoff THEN"
        " RAISE EXCEPTION 'heads only grow' USING ERRCODE = 'insufficient_privilege';"
        " END IF; RETURN NEW; END $$"
    )
    for name in APPEND_ONLY:
        yield trigger_on_postgresql(f"{name}_keeps", f"UPDATE ON {name} FOR EACH ROW", "tidegate_refuse")
        yield trigger_on_postgresql(f"{name}_whole", f"TRUNCATE ON {name} FOR EACH STATEMENT", "tidegate_refuse")
    yield trigger_on_postgresql("trail_stays", "DELETE ON trail FOR EACH ROW", "tidegate_refuse")
    yield trigger_on_postgresql("feed_stays", "DELETE ON feed FOR EACH ROW", "tidegate_keep_feed")
    yield trigger_on_postgresql("heads_grow", "UPDATE ON heads FOR EACH ROW", "tidegate_grow")
    yield trigger_on_postgresql("heads_stay", "INSERT OR DELETE ON heads FOR EACH ROW", "tidegate_refuse")
    yield trigger_on_postgresql("heads_whole", "TRUNCATE ON heads FOR EACH STATEMENT", "tidegate_refuse")


def trigger_on_postgresql(name: str, when: str, function: str) -> str:
    return f"CREATE TRIGGER {name} BEFORE {when} EXECUTE FUNCTION {function}()"
