"""Which requests a group decides, and who said yes to which: so that a list of what somebody may see is read by its
indexes, and ends where it ends."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

Word = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

ROWS = 1000


def upgrade() -> None:
    op.add_column("requests", sa.Column("approvers", Word, nullable=False, server_default=""))
    op.create_index("requests_approvers", "requests", ["approvers", "id"])
    op.create_index("grants_request", "grants", ["request"])
    op.create_table(
        "approvals",
        sa.Column("request_id", Word, nullable=False),
        sa.Column("by", Word, nullable=False),
        sa.PrimaryKeyConstraint("request_id", "by"),
    )
    op.create_index("approvals_by", "approvals", ["by", "request_id"])
    fill()


def fill() -> None:
    """From what every request says of itself."""
    connection = op.get_bind()
    columns = [sa.column(name, Word) for name in ("id", "decision", "approvals", "approvers")]
    requests = sa.table("requests", *columns)
    approvals = sa.table("approvals", sa.column("request_id", Word), sa.column("by", Word))
    named = sa.update(requests).where(requests.c.id == sa.bindparam("request_id"))
    after = ""
    while True:
        page = sa.select(requests).where(requests.c.id > after).order_by(requests.c.id).limit(ROWS)
        rows = connection.execute(page).all()
        if not rows:
            return
        after = rows[-1].id
        groups = [
            {"request_id": row.id, "group": group}
            for row in rows
            if (group := json.loads(row.decision)["approvers"])
        ]
        said = ((row.id, each) for row in rows for each in json.loads(row.approvals))
        yes = sorted({(request, each["by"]) for request, each in said if each["approved"]})
        if groups:
            connection.execute(named.values(approvers=sa.bindparam("group")), groups)
        if yes:
            connection.execute(sa.insert(approvals), [{"request_id": request, "by": by} for request, by in yes])
