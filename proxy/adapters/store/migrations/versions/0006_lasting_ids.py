"""The names that went with ids when rows were made. Ids are the names of before, so nothing that is there moves.

Additive: older code neither reads nor writes them, and for it every name is its id.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
additive = True

WORD = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
COLUMNS = (
    ("requests", "identity_name"),
    ("grants", "identity_name"),
    ("grants", "revoked_by_name"),
    ("sessions", "identity_name"),
    ("locks", "name"),
    ("locks", "by_name"),
)


def upgrade() -> None:
    for table, column in COLUMNS:
        op.add_column(table, sa.Column(column, WORD, nullable=False, server_default=""))
