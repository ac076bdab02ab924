"""Until when a node that takes nobody new waits for the sessions it has."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("nodes", sa.Column("drains", sa.Double(), nullable=False, server_default="0"))
