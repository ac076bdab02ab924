"""The tables, as SQLAlchemy sees them; portable between SQLite and PostgreSQL.

Instants are float epoch seconds; JSON is text; ids compare by bytes on both (PostgreSQL would otherwise sort them
by the database's locale, and a page "older than this id" would skip rows). The migrations make them; a test holds
the two together. ``rows`` turns rows into core types and back.
"""

import sqlalchemy as sa

METADATA = sa.MetaData()

Word = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Seq = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Instant: sa.Double[float] = sa.Double()


def word(name: str, *, key: bool = False, null: bool = False) -> "sa.Column[str]":
    """A text compared by its bytes: ids, names, status words, JSON."""
    return sa.Column(name, Word, primary_key=key, nullable=null)


def instant(name: str, *, null: bool = False) -> "sa.Column[float]":
    """Epoch seconds, UTC (or, for ``duration``, seconds)."""
    return sa.Column(name, Instant, nullable=null)


def number(name: str) -> "sa.Column[int]":
    return sa.Column(name, Seq, nullable=False)


def sequence(name: str) -> "sa.Column[int]":
    """A number that the store gives out itself: see ``heads``."""
    return sa.Column(name, Seq, primary_key=True, autoincrement=False)


requests = sa.Table(
    "requests",
    METADATA,
    word("id", key=True),
    word("identity"),
    word("groups"),
    word("resource"),
    word("account"),
    instant("duration"),
    word("reason"),
    word("status"),
    instant("created"),
    instant("expires"),
    word("decision"),
    word("approvals"),
    instant("decided", null=True),
    word("grant_id", null=True),
    word("extends", null=True),
    word("source"),
    word("identity_name"),
    word("sealed"),
    word("mac"),
    word("approvers"),  # out of ``decision``, to find by
    sa.Index("requests_identity", "identity", "id"),
    sa.Index("requests_approvers", "approvers", "id"),
    sa.Index("requests_resource", "resource", "id"),
    sa.Index("requests_status", "status", "id"),
)

# Who said yes to which request: out of ``requests.approvals``, to find by; the row of the request is what counts.
approvals = sa.Table(
    "approvals",
    METADATA,
    word("request_id", key=True),
    word("by", key=True),
    sa.Index("approvals_by", "by", "request_id"),
)

grants = sa.Table(
    "grants",
    METADATA,
    word("id", key=True),
    word("request"),
    word("identity"),
    word("resource"),
    word("account"),
    instant("starts"),
    instant("ends"),
    word("networks"),
    word("databases"),
    word("conditions"),
    word("rule"),
    instant("revoked", null=True),
    word("revoked_by"),
    word("revoked_reason"),
    word("mac"),
    word("identity_name"),
    word("revoked_by_name"),
    word("sealed"),
    sa.Index("grants_identity", "identity", "id"),
    sa.Index("grants_resource", "resource", "id"),
    sa.Index("grants_ends", "ends"),
    sa.Index("grants_request", "request"),
)

revoked_tokens = sa.Table(
    "revoked_tokens",
    METADATA,
    word("jti", key=True),
    instant("until"),
    word("by"),
    word("reason"),
)

locks = sa.Table(
    "locks",
    METADATA,
    word("scope", key=True),
    word("key", key=True),
    word("by"),
    word("reason"),
    instant("at"),
    word("name"),
    word("by_name"),
)

sessions = sa.Table(
    "sessions",
    METADATA,
    word("id", key=True),
    word("node"),
    word("protocol"),
    word("grant_id"),
    word("identity"),
    word("resource"),
    word("account"),
    word("database"),
    word("source"),
    word("client"),
    instant("started"),
    word("status"),
    word("recording"),
    instant("ended", null=True),
    word("end_reason", null=True),
    word("detail"),
    word("totals"),
    word("receipt", null=True),
    word("recording_digest"),
    word("identity_name"),
    number("pid"),  # as the client was told; the target's own where ``backend_start`` is known
    instant("backend_start", null=True),
    sa.Index("sessions_identity", "identity", "id"),
    sa.Index("sessions_resource", "resource", "id"),
    sa.Index("sessions_grant", "grant_id", "status", "id"),
    sa.Index("sessions_node", "node", "status", "id"),
    sa.Index("sessions_status", "status", "id"),
    sa.Index("sessions_pid", "pid", "id"),
)

nodes = sa.Table(
    "nodes",
    METADATA,
    word("id", key=True),
    word("host"),
    instant("started"),
    instant("heartbeat"),
    number("feed_seen"),
    word("digest"),
    instant("drains"),
    word("refuses"),
    word("speaks"),
)

# One row, locked by every writer before anything else: it gives out the numbers of trail and feed, so that both are
# without gaps and in the order of commits (a sequence is not: a reader could pass a number whose commit comes
# later). ``feed_cutoff``: items of the feed older than this may be deleted; its trigger refuses all others.
heads = sa.Table(
    "heads",
    METADATA,
    sequence("id"),
    number("trail_seq"),
    word("trail_digest"),
    number("feed_seq"),
    instant("feed_cutoff"),
)

REVOKED = "kind = 'grant_revoked'"
"""As a constant, not a parameter: only so is the index of these rows used."""

trail = sa.Table(
    "trail",
    METADATA,
    sequence("seq"),
    instant("at"),
    word("node"),
    word("kind"),
    word("actor"),
    word("request_id", null=True),
    word("grant_id", null=True),
    word("session_id", null=True),
    word("identity", null=True),
    word("resource", null=True),
    word("body"),
    word("previous"),
    word("digest"),
    sa.Column("format", Seq, nullable=True),  # none: 1
    word("body_digest", null=True),
    word("salt", null=True),
    sa.Index("trail_kind", "kind", "seq"),
    sa.Index("trail_actor", "actor", "seq"),
    sa.Index("trail_request", "request_id", "seq"),
    sa.Index("trail_grant", "grant_id", "seq"),
    sa.Index("trail_session", "session_id", "seq"),
    sa.Index("trail_identity", "identity", "seq"),
    sa.Index("trail_resource", "resource", "seq"),
    sa.Index("trail_revoked", "grant_id", sqlite_where=sa.text(REVOKED), postgresql_where=sa.text(REVOKED)),
)

trail_heads = sa.Table(
    "trail_heads",
    METADATA,
    sequence("seq"),
    word("digest"),
    instant("at"),
    word("kid"),
    word("signature"),
    number("origin"),
    sa.Index("trail_heads_newest", "origin", "seq"),
)

feed = sa.Table(
    "feed",
    METADATA,
    sequence("seq"),
    instant("at"),
    word("kind"),
    word("scope"),
    word("key"),
    word("by"),
    word("reason"),
    word("data"),
    word("effect"),
)

# Which steps made this schema, and which of them a program that does not know them may overlook: see ``migrate``.
schema_steps = sa.Table(
    "schema_steps",
    METADATA,
    word("revision", key=True),
    sa.Column("additive", sa.Boolean(), nullable=False),
)
