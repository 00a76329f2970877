"""Replaced versions of bars; on PostgreSQL the symbols of bars are checked once a statement, not once a row.

A foreign key costs PostgreSQL a look-up a row, more than the bar itself; the triggers refuse what the key refused.
"""

import sqlalchemy as sa
from alembic import op

from rrr.store.migrations.tables_0001 import has, may
from rrr.store.migrations.tables_0002 import WORD, all_of

revision, down_revision = "0003", "0002"

KEY = "fk_market_data_symbol_symbols"
TRIGGERS = (
    """CREATE FUNCTION market_data_symbol_is_known() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE stranger text;
BEGIN
    PERFORM 1 FROM symbols WHERE symbol IN (SELECT DISTINCT symbol FROM written) FOR KEY SHARE;
    SELECT symbol INTO stranger FROM (SELECT DISTINCT symbol FROM written) w
        WHERE NOT EXISTS (SELECT 1 FROM symbols s WHERE s.symbol = w.symbol) LIMIT 1;
    IF FOUND THEN
        RAISE foreign_key_violation USING MESSAGE =
            format('market_data violates its foreign key: symbol %s is not in symbols', stranger);
    END IF;
    RETURN NULL;
END $$""",
    "CREATE TRIGGER market_data_symbol_insert AFTER INSERT ON market_data REFERENCING NEW TABLE AS written "
    "FOR EACH STATEMENT EXECUTE FUNCTION market_data_symbol_is_known()",
    "CREATE TRIGGER market_data_symbol_update AFTER UPDATE ON market_data REFERENCING NEW TABLE AS written "
    "FOR EACH STATEMENT EXECUTE FUNCTION market_data_symbol_is_known()",
    """CREATE FUNCTION symbol_has_bars() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE foreign_key_violation USING MESSAGE =
            'symbols violates a foreign key: bars that came meanwhile are seen in read committed only';
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        IF EXISTS (SELECT 1 FROM market_data) THEN
            RAISE foreign_key_violation USING MESSAGE = 'symbols violates a foreign key: market_data has bars';
        END IF;
    ELSIF EXISTS (SELECT 1 FROM market_data WHERE symbol = OLD.symbol) THEN
        RAISE foreign_key_violation USING MESSAGE =
            format('symbols violates a foreign key: market_data has bars of %s', OLD.symbol);
    END IF;
    RETURN NULL;
END $$""",
    "CREATE TRIGGER market_data_symbol_delete AFTER DELETE ON symbols FOR EACH ROW EXECUTE FUNCTION symbol_has_bars()",
    "CREATE TRIGGER market_data_symbol_rename AFTER UPDATE OF symbol ON symbols FOR EACH ROW "
    "WHEN (OLD.symbol <> NEW.symbol) EXECUTE FUNCTION symbol_has_bars()",
    "CREATE TRIGGER market_data_symbol_truncate BEFORE TRUNCATE ON symbols "
    "FOR EACH STATEMENT EXECUTE FUNCTION symbol_has_bars()",
)


def upgrade() -> None:
    "Make the table; keep all rows."
    op.create_table(
        "bar_versions",
        *all_of(has, WORD, "symbol interval"),
        *all_of(has, sa.BigInteger, "timestamp available_ms"),
        *all_of(has, sa.Float, "open high low close volume"),
        may("vwap", sa.Float),
        may("trade_count", sa.BigInteger),
        has("replaced_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("symbol", "interval", "timestamp", "available_ms", name="pk_bar_versions"),
        sa.ForeignKeyConstraint(["symbol"], ["symbols.symbol"], name="fk_bar_versions_symbol_symbols"),
        sqlite_with_rowid=False,
    )
    op.add_column("backtest_runs", may("read_from_ms", sa.BigInteger))
    if op.get_bind().dialect.name == "postgresql":
        for statement in TRIGGERS:
            op.execute(statement)
        op.drop_constraint(KEY, "market_data", type_="foreignkey")


def downgrade() -> None:
    "Lost are the replaced versions of bars, and from where runs read them."
    if op.get_bind().dialect.name == "postgresql":
        op.create_foreign_key(KEY, "market_data", "symbols", ["symbol"], ["symbol"])
        for name in ("market_data_symbol_delete", "market_data_symbol_rename", "market_data_symbol_truncate"):
            op.execute(f"DROP TRIGGER {name} ON symbols")
        for name in ("market_data_symbol_insert", "market_data_symbol_update"):
            op.execute(f"DROP TRIGGER {name} ON market_data")
        op.execute("DROP FUNCTION symbol_has_bars()")
        op.execute("DROP FUNCTION market_data_symbol_is_known()")
    op.drop_table("bar_versions")
    op.drop_column("backtest_runs", "read_from_ms")
