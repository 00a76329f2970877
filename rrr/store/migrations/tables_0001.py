"The tables of revision 0001. Frozen: they never change again."

import sqlalchemy as sa

NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
TIME = sa.DateTime(timezone=True)
LONG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
EXACT = sa.Numeric(38, 18).with_variant(sa.String(64), "sqlite")
metadata = sa.MetaData(naming_convention=NAMES)


def has(name: str, kind, *more, **options) -> sa.Column:
    return sa.Column(name, kind, *more, nullable=False, **options)


def may(name: str, kind, *more, **options) -> sa.Column:
    return sa.Column(name, kind, *more, nullable=True, **options)


def key(name: str, kind, *more) -> sa.Column:
    return sa.Column(name, kind, *more, primary_key=True)


def symbol() -> sa.ForeignKey:
    return sa.ForeignKey("symbols.symbol")


sa.Table(
    "symbols",
    metadata,
    key("symbol", sa.String(41)),
    has("base", sa.String),
    has("quote", sa.String),
)
sa.Table(
    "market_data",
    metadata,
    key("symbol", sa.String, symbol()),
    key("interval", sa.String(8)),
    key("timestamp", sa.BigInteger),
    *(has(name, sa.Float) for name in ("open", "high", "low", "close", "volume")),
)
sa.Table(
    "series",
    metadata,
    key("symbol", sa.String, symbol()),
    key("interval", sa.String(8)),
    has("source", sa.String),
    has("synthetic", sa.Boolean),
    has("rows", sa.Integer),
    has("first_ms", sa.BigInteger),
    has("last_ms", sa.BigInteger),
    has("data_hash", sa.String),
    has("quality", sa.JSON),
    has("imported_at", TIME),
)
sa.Table(
    "orders",
    metadata,
    key("order_id", sa.String(36)),
    has("account", sa.String, index=True),
    has("symbol", sa.String, symbol()),
    has("side", sa.String),
    has("order_type", sa.String),
    has("status", sa.String, index=True),
    has("quantity", EXACT),
    has("filled_quantity", EXACT),
    may("average_fill_price", EXACT),
    has("target", EXACT),
    has("strategy_id", sa.String),
    has("created_at", TIME),
    may("filled_at", TIME),
    has("reason", sa.String),
)
sa.Table(
    "trades",
    metadata,
    key("account", sa.String),
    key("fill_id", sa.String),
    has("order_id", sa.String, sa.ForeignKey("orders.order_id"), index=True),
    has("symbol", sa.String, symbol()),
    has("side", sa.String),
    *(has(name, EXACT) for name in ("quantity", "price", "value", "fee")),
    has("timestamp", TIME, index=True),
)
sa.Table(
    "positions",
    metadata,
    key("account", sa.String),
    key("symbol", sa.String, symbol()),
    *(has(name, EXACT) for name in ("quantity", "cost", "entry_price", "current_price")),
    *(has(name, EXACT) for name in ("unrealized_pnl", "realized_pnl", "fees")),
    may("opened_at", TIME),
    has("updated_at", TIME),
)
sa.Table(
    "portfolio_snapshots",
    metadata,
    key("snapshot_id", LONG),
    has("account", sa.String),
    has("cause", sa.String),
    has("timestamp", TIME),
    has("cash", EXACT),
    has("equity", EXACT),
    sa.Index("ix_portfolio_snapshots_account_snapshot_id", "account", "snapshot_id"),
    sa.Index(
        "uq_portfolio_snapshots_open",
        "account",
        unique=True,
        sqlite_where=sa.text("cause = 'open'"),
        postgresql_where=sa.text("cause = 'open'"),
    ),
)
sa.Table(
    "backtest_runs",
    metadata,
    key("run_id", sa.String),
    has("created_at", TIME, index=True),
    has("strategy", sa.String),
    has("params", sa.JSON),
    has("symbol", sa.String, symbol()),
    has("interval", sa.String),
    has("first_ms", sa.BigInteger),
    has("last_ms", sa.BigInteger),
    has("bars", sa.Integer),
    has("capital", EXACT),
    has("costs", sa.JSON),
    has("metrics", sa.JSON),
    has("equity", sa.JSON),
    has("data_hash", sa.String),
    has("code_hash", sa.String),
    has("synthetic", sa.Boolean),
)
sa.Table(
    "backtest_trades",
    metadata,
    key("run_id", sa.String, sa.ForeignKey("backtest_runs.run_id")),
    key("number", sa.Integer),
    has("entry_ms", sa.BigInteger),
    may("exit_ms", sa.BigInteger),
    *(has(name, sa.Float) for name in ("quantity", "entry_price", "exit_price", "fees", "pnl", "return_pct")),
    has("status", sa.String),
)
sa.Table(
    "job_runs",
    metadata,
    key("run_id", sa.String),
    has("job", sa.String, index=True),
    has("params", sa.JSON),
    has("status", sa.String),
    has("started_at", TIME, index=True),
    may("finished_at", TIME),
    *(may(name, sa.String) for name in ("notebook", "report", "error", "failed_cell")),
)
