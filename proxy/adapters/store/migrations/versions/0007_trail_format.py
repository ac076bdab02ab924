"""Rows of the trail that can be erased without breaking its chain: how each is hashed, and over what. And with each
signed head the trail's origin, which changes when a store is put back; and on what grounds a node admits nobody.

Additive: older code reads and writes the same tables. A row without a format is of format 1.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
additive = True

Word = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Seq = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("trail", sa.Column("format", Seq, nullable=True))
    op.add_column("trail", sa.Column("body_digest", Word, nullable=True))
    op.add_column("trail", sa.Column("salt", Word, nullable=True))
    op.add_column("trail_heads", sa.Column("origin", Seq, nullable=False, server_default="1"))
    op.create_index("trail_heads_newest", "trail_heads", ["origin", "seq"])
    op.add_column("nodes", sa.Column("refuses", Word, nullable=False, server_default=""))
