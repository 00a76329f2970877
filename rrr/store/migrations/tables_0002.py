"The tables of revision 0002. Frozen: they never change again."

from collections.abc import Callable, Iterator

import sqlalchemy as sa

from .tables_0001 import LONG, NAMES, TIME, has, key, may, symbol

WORD = sa.String().with_variant(sa.String(collation="C"), "postgresql")
EXACT = sa.Numeric().with_variant(sa.String(64), "sqlite")
metadata = sa.MetaData(naming_convention=NAMES)


def table(name: str, *parts, **options) -> sa.Table:
    return sa.Table(name, metadata, *parts, **options)


def order() -> sa.ForeignKey:
    return sa.ForeignKey("orders.order_id")


def run() -> sa.ForeignKey:
    return sa.ForeignKey("backtest_runs.run_id")


def all_of(make: Callable, kind, names: str) -> Iterator[sa.Column]:
    return (make(name, kind) for name in names.split())


def only(condition: str, on_sqlite: str = "") -> dict:
    return dict(postgresql_where=sa.text(condition), sqlite_where=sa.text(on_sqlite or condition))


table("symbols", key("symbol", WORD), has("base", WORD), has("quote", WORD))
table(
    "market_data",
    key("symbol", WORD, symbol()),
    key("interval", WORD),
    key("timestamp", sa.BigInteger),
    *all_of(has, sa.Float, "open high low close volume"),
    may("vwap", sa.Float),
    may("trade_count", sa.BigInteger),
    has("available_ms", sa.BigInteger),
    sqlite_with_rowid=False,
)
table(
    "series",
    key("symbol", WORD, symbol()),
    key("interval", WORD),
    has("source", sa.String),
    has("synthetic", sa.Boolean),
    has("rows", sa.Integer),
    has("first_ms", sa.BigInteger),
    has("last_ms", sa.BigInteger),
    has("data_hash", sa.String),
    has("years", sa.JSON),
    has("quality", sa.JSON),
    may("unfinished", sa.String),
    has("imported_at", TIME),
)
table(
    "trades_data",
    key("symbol", WORD, symbol()),
    key("venue", WORD),
    key("trade_id", WORD),
    has("timestamp", sa.BigInteger),
    has("price", sa.Float),
    has("size", sa.Float),
    may("side", WORD),
    has("available_ns", sa.BigInteger),
    sa.Index("ix_trades_data_symbol_venue_timestamp_trade_id", "symbol", "venue", "timestamp", "trade_id"),
    sqlite_with_rowid=False,
)
table(
    "quotes",
    key("symbol", WORD, symbol()),
    key("venue", WORD),
    key("timestamp", sa.BigInteger),
    key("sequence", sa.BigInteger),
    *all_of(has, sa.Float, "bid bid_size ask ask_size"),
    has("available_ns", sa.BigInteger),
    sqlite_with_rowid=False,
)
table(
    "market_sentiment",
    key("asset", WORD),
    key("source", WORD),
    key("timestamp", TIME),
    has("label", WORD),
    has("score", sa.Float),
    has("confidence", sa.Float),
    has("text", sa.String),
    *all_of(has, sa.Integer, "bullish_count bearish_count source_count"),
    has("available_at", TIME),
)
table(
    "onchain_metrics",
    key("asset", WORD),
    key("metric", WORD),
    key("source", WORD),
    key("timestamp", TIME),
    has("value", sa.Float),
    has("available_at", TIME),
)
table(
    "orders",
    key("order_id", WORD),
    may("exchange_id", WORD),
    has("account", WORD),
    has("symbol", WORD, symbol()),
    has("side", WORD),
    has("order_type", WORD),
    has("quantity", EXACT),
    may("price", EXACT),
    may("stop_price", EXACT),
    has("time_in_force", WORD),
    has("status", WORD, index=True),
    has("filled_quantity", EXACT),
    may("average_fill_price", EXACT),
    may("target", EXACT),
    has("strategy_id", WORD),
    may("signal_id", WORD),
    has("metadata", sa.JSON),
    has("created_at", TIME),
    may("filled_at", TIME),
    may("cancelled_at", TIME),
    has("reason", sa.String),
    sa.Index("ix_orders_account_created_at", "account", "created_at"),
)
table(
    "trades",
    key("account", WORD),
    key("fill_id", WORD),
    has("order_id", WORD, order(), index=True),
    has("symbol", WORD, symbol()),
    has("side", WORD),
    *all_of(has, EXACT, "quantity price value fee"),
    has("timestamp", TIME, index=True),
    sa.Index("ix_trades_account_timestamp", "account", "timestamp"),
)
table(
    "positions",
    key("position_id", WORD),
    has("account", WORD),
    has("symbol", WORD, symbol()),
    has("side", WORD),
    has("status", WORD),
    *all_of(has, EXACT, "quantity cost entry_price current_price unrealized_pnl realized_pnl total_pnl fees"),
    has("strategy_id", WORD),
    may("open_order_id", WORD, order()),
    may("close_order_id", WORD, order()),
    has("metadata", sa.JSON),
    has("opened_at", TIME),
    may("closed_at", TIME),
    has("updated_at", TIME),
    sa.Index("ix_positions_account_symbol", "account", "symbol"),
)
table(
    "portfolio_snapshots",
    key("snapshot_id", LONG),
    has("account", WORD),
    has("cause", WORD),
    has("timestamp", TIME),
    *all_of(has, EXACT, "total_value cash equity total_pnl daily_pnl"),
    *all_of(has, sa.Float, "total_return daily_return"),
    sa.Index("ix_portfolio_snapshots_account_snapshot_id", "account", "snapshot_id"),
    sa.Index("uq_portfolio_snapshots_open", "account", unique=True, **only("cause = 'open'")),
)
table(
    "risk_limits",
    key("account", WORD),
    key("name", WORD),
    key("set_at", TIME),
    has("value", EXACT),
    has("actor", WORD),
    has("reason", sa.String),
)
table(
    "risk_events",
    key("event_id", LONG),
    has("account", WORD),
    has("timestamp", TIME),
    *all_of(has, WORD, "limit_name severity action"),
    may("symbol", WORD, symbol()),
    may("order_id", WORD, order()),
    *all_of(may, EXACT, "observed allowed"),
    has("message", sa.String),
    sa.Index("ix_risk_events_account_timestamp", "account", "timestamp"),
)
table(
    "ml_models",
    key("model_name", WORD),
    key("version", WORD),
    has("model_type", WORD),
    has("file_path", sa.String),
    *all_of(has, WORD, "file_hash features_hash data_hash"),
    *all_of(has, sa.JSON, "metrics hyperparameters"),
    has("trained_at", TIME),
    has("active", sa.Boolean),
    sa.Index("uq_ml_models_active", "model_name", unique=True, **only("active", on_sqlite="active = 1")),
)
table(
    "ml_predictions",
    key("model_name", WORD),
    key("version", WORD),
    key("symbol", WORD, symbol()),
    key("interval", WORD),
    key("timestamp", TIME),
    key("horizon", sa.Integer),
    has("value", sa.Float),
    may("confidence", sa.Float),
    has("available_at", TIME),
    sa.ForeignKeyConstraint(
        ["model_name", "version"], ["ml_models.model_name", "ml_models.version"], name="fk_ml_predictions_model"
    ),
    sa.Index("ix_ml_predictions_symbol_timestamp", "symbol", "timestamp"),
)
table(
    "backtest_runs",
    key("run_id", WORD),
    has("created_at", TIME, index=True),
    has("strategy", WORD, index=True),
    has("params", sa.JSON),
    has("symbol", WORD, symbol()),
    has("interval", WORD),
    has("first_ms", sa.BigInteger),
    has("last_ms", sa.BigInteger),
    may("as_of_ms", sa.BigInteger),
    has("bars", sa.Integer),
    has("capital", EXACT),
    has("costs", sa.JSON),
    may("seed", sa.BigInteger),
    has("metrics", sa.JSON),
    has("equity", sa.JSON),
    *all_of(has, WORD, "data_hash code_hash"),
    has("synthetic", sa.Boolean),
)
table(
    "backtest_trades",
    key("run_id", WORD, run()),
    key("number", sa.Integer),
    has("entry_ms", sa.BigInteger),
    may("exit_ms", sa.BigInteger),
    *all_of(has, sa.Float, "quantity entry_price exit_price fees pnl return_pct"),
    has("status", sa.String),
)
table(
    "trials",
    key("study", WORD),
    key("number", sa.Integer),
    has("strategy", WORD),
    *all_of(has, sa.JSON, "params metrics"),
    *all_of(has, WORD, "status data_hash code_hash"),
    may("run_id", WORD, run()),
    has("created_at", TIME),
    sa.Index("ix_trials_strategy_created_at", "strategy", "created_at"),
)
table(
    "releases",
    key("release_id", WORD),
    has("strategy", WORD, index=True),
    has("params", sa.JSON),
    has("symbol", WORD, symbol()),
    has("interval", WORD),
    has("status", WORD, index=True),
    *all_of(has, WORD, "code_hash data_hash"),
    may("seed", sa.BigInteger),
    has("gates", sa.JSON),
    may("run_id", WORD, run()),
    has("actor", WORD),
    has("reason", sa.String),
    has("created_at", TIME),
)
table(
    "job_runs",
    key("run_id", WORD),
    has("job", WORD, index=True),
    has("params", sa.JSON),
    has("status", WORD),
    has("started_at", TIME, index=True),
    may("finished_at", TIME),
    *all_of(may, sa.String, "notebook report error failed_cell"),
)
table(
    "system_events",
    key("event_id", LONG),
    has("timestamp", TIME, index=True),
    *all_of(has, WORD, "level component"),
    has("message", sa.String),
    has("details", sa.JSON),
)
table(
    "performance_metrics",
    key("account", WORD),
    key("metric", WORD),
    key("window", WORD),
    key("timestamp", TIME),
    has("value", sa.Float),
)
table(
    "audit_log",
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    has("timestamp", TIME),
    has("actor", WORD),
    has("action", WORD, index=True),
    has("subject", WORD, index=True),
    has("cause", sa.String),
    has("details", sa.JSON),
    has("prev_hash", WORD),
    has("hash", WORD, unique=True),
)
