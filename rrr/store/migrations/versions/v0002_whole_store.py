"""All table groups: market data, trading, risk, models, research and system.

Tables that were there are made anew beside their former selves, filled from them, and the former ones dropped.
"""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, localcontext

import sqlalchemy as sa
from alembic import op

from rrr.core.errors import StoreError
from rrr.core.market import interval_ms
from rrr.store.migrations.tables_0001 import metadata as before
from rrr.store.migrations.tables_0002 import EXACT, WORD, metadata

revision, down_revision = "0002", "0001"

POSITIONS = uuid.UUID("5d1a3a5e-6f0c-4a39-9d53-0c8a4f3f2b71")  # namespace of their ids

# From one set of tables to the other

Copy = Callable[[sa.Connection, dict[str, sa.Table], sa.Table], None]


def set_aside(table: sa.Table, on_postgresql: bool) -> sa.Table:
    "Rename a table, and what would stand in the way of its successor; drop its indexes."
    name = f"before_{table.name}"
    for index in table.indexes:
        op.drop_index(index.name, table.name)
    op.rename_table(table.name, name)
    if on_postgresql:
        op.execute(f"ALTER TABLE {name} RENAME CONSTRAINT pk_{table.name} TO pk_{name}")
        if (counted := table.autoincrement_column) is not None:
            op.execute(f"ALTER SEQUENCE {table.name}_{counted.name}_seq RENAME TO {name}_{counted.name}_seq")
    return sa.Table(name, sa.MetaData(), *(sa.Column(c.name, c.type) for c in table.c))


def copy(c: sa.Connection, was: sa.Table, now: sa.Table, **made: sa.ColumnElement) -> None:
    "Fill a table from its former self, and the columns that it lacked from what is given."
    values = {x.name: was.c[x.name] for x in now.c if x.name in was.c} | made
    c.execute(sa.insert(now).from_select(list(values), sa.select(*values.values())))


def rebuild(old: sa.MetaData, new: sa.MetaData, copies: dict[str, Copy]) -> None:
    "Make the new tables and fill those that were there before."
    c = op.get_bind()
    on_postgresql = c.dialect.name == "postgresql"
    was = {t.name: set_aside(t, on_postgresql) for t in old.sorted_tables if t.name in new.tables}
    for table in reversed(old.sorted_tables):
        if table.name not in was:
            table.drop(c)
    new.create_all(c, checkfirst=False)
    for table in new.sorted_tables:
        if table.name in was:
            if table.name in copies:
                copies[table.name](c, was, table)
            else:
                copy(c, was[table.name], table)
            if on_postgresql and (counted := table.autoincrement_column) is not None:
                sequence = f"pg_get_serial_sequence('{table.name}', '{counted.name}')"
                op.execute(f"SELECT setval({sequence}, max({counted.name})) FROM {table.name}")
    for table in reversed(old.sorted_tables):
        if table.name in was:
            was[table.name].drop(c)


def text(amount: Decimal) -> str:
    return format(amount, "f")


# Up


def bars_up(c: sa.Connection, was: dict[str, sa.Table], now: sa.Table) -> None:
    "A bar could be known when it closed."
    old = was["market_data"]
    lengths = {
        x: sa.literal(interval_ms(x), sa.BigInteger) for x in c.execute(sa.select(old.c.interval).distinct()).scalars()
    }
    if lengths:
        copy(c, old, now, available_ms=old.c.timestamp + sa.case(lengths, value=old.c.interval))


def series_up(c: sa.Connection, was: dict[str, sa.Table], now: sa.Table) -> None:
    copy(c, was["series"], now, years=sa.literal({}, sa.JSON))


def orders_up(c: sa.Connection, was: dict[str, sa.Table], now: sa.Table) -> None:
    copy(c, was["orders"], now, time_in_force=sa.literal("gtc", WORD), metadata=sa.literal({}, sa.JSON))


def positions_up(c: sa.Connection, was: dict[str, sa.Table], now: sa.Table) -> None:
    "One row stood for all holdings of an account in a symbol: its fills tell when it began and ended."
    trades, orders = was["trades"], was["orders"]
    fills = sa.select(trades.c.account, trades.c.symbol, trades.c.timestamp, trades.c.order_id, orders.c.strategy_id)
    first, last, opening = {}, {}, {}
    for fill in c.execute(
        fills.join(orders, trades.c.order_id == orders.c.order_id).order_by(trades.c.timestamp, trades.c.fill_id)
    ):
        first.setdefault(fill[:2], fill)
        last[fill[:2]] = fill
        opening.setdefault(fill[:3], fill.order_id)
    for row in c.execute(sa.select(was["positions"])).mappings().all():
        held = row["account"], row["symbol"]
        unknown = (*held, row["updated_at"], None, "")
        _, _, began, open_order, _ = first.get(held, unknown)
        _, _, ended, close_order, strategy = last.get(held, unknown)
        if Decimal(row["quantity"]):
            began, ended, close_order = row["opened_at"] or row["updated_at"], None, None
            open_order = opening.get((*held, began))
        made = dict(
            position_id=str(uuid.uuid5(POSITIONS, "|".join((*held, open_order or "")))), side="long",
            status="closed" if ended else "open", strategy_id=strategy, metadata={},
            total_pnl=text(Decimal(row["unrealized_pnl"]) + Decimal(row["realized_pnl"])),
            open_order_id=open_order, close_order_id=close_order, opened_at=began, closed_at=ended,
        )  # fmt: skip
        c.execute(sa.insert(now), dict(row) | made)


def day(moment: datetime) -> object:
    return (moment.astimezone(UTC) if moment.tzinfo else moment).date()


def snapshots_up(c: sa.Connection, was: dict[str, sa.Table], now: sa.Table) -> None:
    "Gains since the first snapshot of the account, and since the last one of an earlier day."
    old = was["portfolio_snapshots"]
    query = sa.select(old).order_by(old.c.account, old.c.snapshot_id).execution_options(yield_per=5000)
    last = None
    for rows in c.execute(query).mappings().partitions():
        made = []
        for row in rows:
            equity, today = Decimal(row["equity"]), day(row["timestamp"])
            if last is None or row["account"] != last["account"]:
                opening, base, latest = equity, equity, today
            elif today > latest:
                base, latest = Decimal(last["equity"]), today
            gain, daily = equity - opening, equity - base
            made.append(dict(row) | dict(
                total_value=text(equity), total_pnl=text(gain), daily_pnl=text(daily),
                total_return=float(gain / opening) if opening else 0.0,
                daily_return=float(daily / base) if base else 0.0,
            ))  # fmt: skip
            last = row
        c.execute(sa.insert(now), made)


APPEND_ONLY = {
    "sqlite": (
        "CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log "
        "BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END",
        "CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log "
        "BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END",
        "CREATE TRIGGER audit_log_no_replace BEFORE INSERT ON audit_log "
        "WHEN EXISTS (SELECT 1 FROM audit_log WHERE seq = NEW.seq OR hash = NEW.hash) "
        "BEGIN SELECT RAISE(ABORT, 'audit_log is append-only: the row is there already (UNIQUE)'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION audit_log_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'audit_log is append-only'; END $$",
        "CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log "
        "FOR EACH ROW EXECUTE FUNCTION audit_log_append_only()",
        "CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log "
        "FOR EACH ROW EXECUTE FUNCTION audit_log_append_only()",
        "CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON audit_log "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_log_append_only()",
    ),
}


def upgrade() -> None:
    "Make all tables, keep all rows."
    made = dict(
        market_data=bars_up,
        series=series_up,
        orders=orders_up,
        positions=positions_up,
        portfolio_snapshots=snapshots_up,
    )
    with localcontext(prec=60):
        rebuild(before, metadata, made)
    for statement in APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(statement)


# Down


def orders_down(c: sa.Connection, was: dict[str, sa.Table], now: sa.Table) -> None:
    old = was["orders"]
    copy(c, old, now, target=sa.func.coalesce(old.c.target, sa.literal("0", EXACT)))


def positions_down(c: sa.Connection, was: dict[str, sa.Table], now: sa.Table) -> None:
    "One row for all holdings: the open or last one, with the gains and fees of all."
    old, kept = was["positions"], {}
    for row in c.execute(sa.select(old).order_by(old.c.status, old.c.opened_at, old.c.position_id)).mappings():
        held, is_open = (row["account"], row["symbol"]), row["status"] == "open"
        earlier = kept.get(held, dict(realized_pnl=0, fees=0, opened_at=None))
        if row["side"] != "long" or earlier["opened_at"]:
            raise StoreError(
                f"account {held[0]!r} holds {held[1]} short or twice: revision {down_revision} has no place for it."
            )
        sums = {name: text(Decimal(row[name]) + Decimal(earlier[name])) for name in ("realized_pnl", "fees")}
        kept[held] = {x.name: row[x.name] for x in now.c} | sums | dict(opened_at=row["opened_at"] if is_open else None)
    if kept:
        c.execute(sa.insert(now), list(kept.values()))


def downgrade() -> None:
    """Go back to the ten tables.

    Lost are all other tables with what they hold, the audit log among them, and every column that those ten did not
    have. Holdings of one symbol become one row with the sum of their gains and fees; an order without a target gets 0.
    A short position, or two open ones in a symbol, is refused.
    """
    with localcontext(prec=60):
        rebuild(metadata, before, dict(orders=orders_down, positions=positions_down))
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_log_append_only()")
