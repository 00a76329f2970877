"What Alembic runs for every command: the steps, inside the transaction that `rrr.store.migrate` has opened."

from alembic import context

context.configure(**context.config.attributes["options"])
context.run_migrations()
