"""What an older reader needs to know of a later one's rows: whether an item of the feed ends something, what each
worker knows, which steps of the schema it may overlook, and the text that a seal is over."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
additive = True

Word = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

COLUMNS = (
    ("feed", "effect", "informs"),  # asked of kinds that a reader does not know, of which there are none yet
    ("nodes", "speaks", "[]"),
    ("grants", "sealed", ""),
    ("requests", "sealed", ""),
    ("requests", "mac", ""),
)


def upgrade() -> None:
    for table, column, default in COLUMNS:
        op.add_column(table, sa.Column(column, Word, nullable=False, server_default=default))
    op.create_table(
        "schema_steps",
        sa.Column("revision", Word, nullable=False),
        sa.Column("additive", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("revision"),
    )
