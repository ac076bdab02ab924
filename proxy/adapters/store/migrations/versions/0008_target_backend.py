"""Which process of a target serves a session: by its pid a cancel finds the session, and so do people."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
additive = True


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("sessions", sa.Column("pid", number, nullable=False, server_default="0"))
    op.add_column("sessions", sa.Column("backend_start", sa.Double(), nullable=True))
    op.create_index("sessions_pid", "sessions", ["pid", "id"])
