"The ten tables that stores had before they carried a revision."

from alembic import op

from rrr.store.migrations.tables_0001 import metadata

revision, down_revision = "0001", None


def upgrade() -> None:
    "Make the tables."
    metadata.create_all(op.get_bind(), checkfirst=False)


def downgrade() -> None:
    "Drop the tables with all they hold."
    metadata.drop_all(op.get_bind(), checkfirst=False)
