"""Finds by one look whether the trail says that a grant was revoked, whatever the grant's row says."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    revoked = sa.text("kind = 'grant_revoked'")
    op.create_index("trail_revoked", "trail", ["grant_id"], sqlite_where=revoked, postgresql_where=revoked)
