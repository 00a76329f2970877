"""Backtests over several symbols: what a run read, symbol by symbol, and the symbol of each round trip."""

import sqlalchemy as sa
from alembic import op

from rrr.core.errors import StoreError
from rrr.store.migrations.tables_0001 import has, may
from rrr.store.migrations.tables_0002 import WORD, all_of

revision, down_revision = "0004", "0003"

RUN_KEY, TRADE_KEY = "fk_backtest_runs_symbol_symbols", "fk_backtest_trades_symbol_symbols"


def upgrade() -> None:
    "Make the table; what the runs read and traded is what they say of themselves."
    op.create_table(
        "backtest_inputs",
        has("run_id", WORD),
        has("number", sa.Integer),
        *all_of(has, WORD, "symbol interval"),
        *all_of(has, sa.BigInteger, "first_ms last_ms"),
        may("as_of_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("run_id", "number", name="pk_backtest_inputs"),
        sa.ForeignKeyConstraint(["run_id"], ["backtest_runs.run_id"], name="fk_backtest_inputs_run_id_backtest_runs"),
        sa.ForeignKeyConstraint(["symbol"], ["symbols.symbol"], name="fk_backtest_inputs_symbol_symbols"),
    )
    op.execute(
        "INSERT INTO backtest_inputs (run_id, number, symbol, interval, first_ms, last_ms, as_of_ms) "
        "SELECT run_id, 1, symbol, interval, coalesce(read_from_ms, first_ms), last_ms, as_of_ms FROM backtest_runs"
    )
    op.add_column("backtest_trades", may("symbol", WORD))
    op.execute(
        "UPDATE backtest_trades SET symbol = "
        "(SELECT r.symbol FROM backtest_runs r WHERE r.run_id = backtest_trades.run_id)"
    )
    with op.batch_alter_table("backtest_trades") as table:
        table.alter_column("symbol", existing_type=WORD, nullable=False)
        table.create_foreign_key(TRADE_KEY, "symbols", ["symbol"], ["symbol"])
    with op.batch_alter_table("backtest_runs") as table:
        table.drop_constraint(RUN_KEY, type_="foreignkey")


def downgrade() -> None:
    """Go back to runs of one symbol.

    Lost are the finer bars that runs name. A run over several symbols is refused.
    """
    many = "SELECT run_id, symbol FROM backtest_runs WHERE symbol NOT IN (SELECT symbol FROM symbols) ORDER BY run_id"
    if found := op.get_bind().execute(sa.text(many)).first():
        raise StoreError(
            f"backtest run {found.run_id!r} is over {found.symbol}: revision {down_revision} has one symbol a run."
        )
    with op.batch_alter_table("backtest_runs") as table:
        table.create_foreign_key(RUN_KEY, "symbols", ["symbol"], ["symbol"])
    with op.batch_alter_table("backtest_trades") as table:
        table.drop_constraint(TRADE_KEY, type_="foreignkey")
        table.drop_column("symbol")
    op.drop_table("backtest_inputs")
