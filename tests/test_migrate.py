"A store goes up and down with its rows, whole or not at all, and only where it is ours to alter."

import hashlib
import itertools
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from rrr.core.errors import StoreError
from rrr.core.trading import Position
from rrr.store.accounts import position_id
from rrr.store.db import Database, make_engine
from rrr.store.migrate import (
    FOLDER,
    VERSION_TABLE,
    current,
    differences,
    downgrade,
    head,
    open_schema,
    revisions,
    upgrade,
)  # fmt: skip
from rrr.store.migrations.tables_0001 import metadata as first_tables
from rrr.store.schema import Table

D = Decimal
NOON = datetime(2024, 1, 30, 12, tzinfo=UTC)
MOST = "99999999999999999999.999999999999999999"
LEAST = "0.000000000000000001"


@pytest.fixture
def engine(url) -> sa.Engine:
    "An empty database, once SQLite and once PostgreSQL."
    engine = make_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def old(engine) -> sa.Engine:
    "A store as it was before there were revisions, with rows in every table."
    fill_first_tables(engine)
    return engine


def execute(engine: sa.Engine, *statements: str) -> None:
    with engine.connect().execution_options(write=True) as c, c.begin():
        for statement in statements:
            c.exec_driver_sql(statement)


def fill_first_tables(engine: sa.Engine) -> None:
    "Make the tables of revision 0001 as its code did, and a row or more in each."

    def at(**later) -> datetime:
        moment = NOON + timedelta(**later)
        return moment.replace(tzinfo=None) if engine.dialect.name == "sqlite" else moment

    def amounts(**given: str) -> dict:
        return {name: format(D(text), ".18f") for name, text in given.items()}  # as they were written, padded

    def order(number: int, symbol: str, side: str, **more) -> dict:
        return dict(
            order_id=f"o{number}", account="a", symbol=symbol, side=side, order_type="market", status="filled",
            strategy_id=f"s{number}", created_at=at(minutes=number), filled_at=at(minutes=number), reason="",
            **amounts(quantity="2", filled_quantity="2", average_fill_price="100", target="0.5"),
        ) | more  # fmt: skip

    def trade(number: int, symbol: str, side: str) -> dict:
        sums = amounts(quantity="2", price="100", value="200", fee="0.2")
        return dict(
            account="a", fill_id=f"f{number}", order_id=f"o{number}", symbol=symbol, side=side,
            timestamp=at(minutes=number), **sums,
        )  # fmt: skip

    def position(account: str, symbol: str, **more) -> dict:
        held = dict(quantity="2", cost="200", entry_price="100", current_price="99", unrealized_pnl="-2")
        sums = amounts(**held | dict(realized_pnl="10", fees="0.5"))
        return dict(account=account, symbol=symbol, opened_at=None, updated_at=at(days=2), **sums) | more

    def snapshot(number: int, account: str, cause: str, equity: str, **later) -> dict:
        sums = amounts(cash="7", equity=equity)
        return dict(snapshot_id=number, account=account, cause=cause, timestamp=at(**later), **sums)

    def run(name: str) -> dict:
        return dict(
            run_id=name, created_at=at(), strategy="sma_cross", params={"fast": 5}, symbol="BTC-USD", interval="1h",
            first_ms=0, last_ms=1, bars=2, costs={}, metrics={"sharpe": None}, equity=[[0, 1.5]], data_hash="d",
            code_hash="c", synthetic=True, **amounts(capital=MOST),
        )  # fmt: skip

    ohlcv = dict(open=1.1, high=2.0, low=0.3, close=1.5, volume=1e-9)
    flat = amounts(quantity="0", cost="0", entry_price="0", unrealized_pnl="0")
    rows = {
        "symbols": [dict(symbol=f"{x}-USD", base=x, quote="USD") for x in ("BTC", "ETH", "SOL")],
        "market_data": [
            dict(symbol="BTC-USD", interval=interval, timestamp=k * 60_000, **ohlcv)
            for interval in ("1m", "15m", "1h", "1d", "1w", "9999w")
            for k in range(3)
        ],
        "series": [
            dict(symbol="BTC-USD", interval="1m", source="x.csv", synthetic=False, rows=3, first_ms=0, last_ms=120_000,
                 data_hash="h", quality={"gaps": []}, imported_at=at()),
        ],
        "orders": [
            order(1, "BTC-USD", "buy"), order(2, "BTC-USD", "sell"), order(3, "BTC-USD", "buy"),
            order(4, "ETH-USD", "buy"), order(5, "ETH-USD", "sell"),
            order(6, "ETH-USD", "buy", status="rejected", average_fill_price=None, filled_at=None, reason="no cash"),
        ],
        "trades": [
            trade(1, "BTC-USD", "buy"), trade(2, "BTC-USD", "sell"), trade(3, "BTC-USD", "buy"),
            trade(4, "ETH-USD", "buy"), trade(5, "ETH-USD", "sell"),
        ],
        "positions": [
            position("a", "BTC-USD", opened_at=at(minutes=3)),
            position("a", "ETH-USD", **flat),
            position("b", "SOL-USD", **flat),
            position("b", "BTC-USD", **amounts(unrealized_pnl=MOST, realized_pnl="-" + LEAST)),
        ],
        "portfolio_snapshots": [
            snapshot(1, "a", "open", "1000"),
            snapshot(2, "b", "open", MOST),
            snapshot(3, "a", "fill", "999.8", hours=1),
            snapshot(4, "a", "mark", "1100", hours=11, minutes=59),
            snapshot(5, "a", "mark", "1210", hours=12),
            snapshot(6, "a", "mark", "605", hours=13),
            snapshot(7, "a", "mark", "1000", days=9),
            snapshot(9, "b", "mark", LEAST, days=1),
            snapshot(11, "c", "open", "0"),
            snapshot(12, "c", "mark", "0", days=1),
        ],
        "backtest_runs": [run("r1"), run("r2")],
        "backtest_trades": [
            dict(run_id="r1", number=1, entry_ms=0, exit_ms=None, quantity=1.0, entry_price=0.1, exit_price=0.3, fees=0.0,
                 pnl=0.2, return_pct=2.0, status="open"),
        ],
        "job_runs": [
            dict(run_id="j", job="import", params={"a": [1, None]}, status="done", started_at=at(), finished_at=None,
                 notebook=None, report="r.html", error=None, failed_cell=None),
        ],
    }  # fmt: skip
    with engine.connect().execution_options(write=True) as c, c.begin():
        first_tables.create_all(c)
        for table in first_tables.sorted_tables:
            c.execute(sa.insert(table), rows[table.name])
        if engine.dialect.name == "postgresql":
            c.exec_driver_sql("SELECT setval('portfolio_snapshots_snapshot_id_seq', 12)")


def make(c: sa.Connection) -> list[tuple]:
    "How all tables are made, as the database itself says it."
    if c.dialect.name == "sqlite":
        return sorted(
            map(tuple, c.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql <> ''"))
        )
    queries = (
        "SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, attcollation::regcollation::text,"
        " pg_get_expr(adbin, adrelid) FROM pg_attribute JOIN pg_class r ON r.oid = attrelid"
        " LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
        " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped",
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND contype <> 'n'",
        "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
        "SELECT relname, relkind::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind <> 'i'",
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    )
    return sorted(tuple(map(str, row)) for query in queries for row in c.exec_driver_sql(query))


def parts(thing: tuple) -> tuple:
    "The words of a statement that makes a table: a column that was added later stands at its end, a name may be quoted."
    return (*thing[:-1], tuple(sorted(re.split(r"[,()\"\s]+", thing[-1])))) if thing[0] == "table" else thing


def state(engine: sa.Engine) -> tuple[list, dict]:
    "All that a database holds: how its tables are made, and their rows."
    with engine.connect() as c:
        if engine.dialect.name == "postgresql":  # waits until the server has undone what a killed client left
            c.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('rrr tables'))")
        names = sa.inspect(c).get_table_names()
        return make(c), {x: sorted(map(repr, c.exec_driver_sql(f'SELECT * FROM "{x}"').fetchall())) for x in names}


def rows(engine: sa.Engine, table: str) -> list[dict]:
    "Rows as the models read them, in the order of their key."
    t = Table.metadata.tables[table]
    with engine.connect() as c:
        return [dict(row) for row in c.execute(sa.select(t).order_by(*t.primary_key)).mappings()]


def sound(engine: sa.Engine) -> bool:
    "Whether an SQLite file is whole, in itself and in its references."
    if engine.dialect.name == "postgresql":
        return True
    with engine.connect() as c:
        flags = [c.exec_driver_sql(f"PRAGMA {x}").scalar() for x in ("foreign_keys", "legacy_alter_table")]
        broken = c.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        return (c.exec_driver_sql("PRAGMA integrity_check").scalar(), broken, flags) == ("ok", [], [1, 0])


def files(engine: sa.Engine) -> dict[str, str]:  # name -> hash of the content; none for PostgreSQL
    if engine.dialect.name == "postgresql":
        return {}
    folder = os.path.dirname(engine.url.database)
    return {x: hashlib.sha256(open(f"{folder}/{x}", "rb").read()).hexdigest() for x in os.listdir(folder)}


# Models and migrations agree


FUNCTIONS = [("audit_log_append_only",), ("market_data_symbol_is_known",), ("symbol_has_bars",)]


class TestAgreement:
    def test_after_upgrade_from_nothing(self, engine):
        assert current(engine) is None and "table orders is missing." in differences(engine)
        assert upgrade(engine) == ["0001", "0002", "0003", "0004"] == revisions()
        assert current(engine) == head() == "0004"
        assert differences(engine) == [] and sound(engine)
        assert upgrade(engine) == []

    def test_after_adoption_of_an_old_store(self, old):
        assert current(old) is None
        assert upgrade(old) == ["0002", "0003", "0004"]
        assert current(old) == head() and differences(old) == [] and sound(old)

    def test_after_down_and_up(self, old):
        upgrade(old)
        assert downgrade(old, "0001") == ["0004", "0003", "0002"]
        assert current(old) == "0001" and differences(old) != [] and sound(old)
        assert upgrade(old) == ["0002", "0003", "0004"] and differences(old) == [] and sound(old)
        assert downgrade(old, "base") == ["0004", "0003", "0002", "0001"] and current(old) is None
        with old.connect() as c:
            assert sa.inspect(c).get_table_names() == [VERSION_TABLE]
        assert upgrade(old) == revisions() and differences(old) == [] and sound(old)

    def test_to_the_letter(self, engine, url, postgres, tmp_path):
        "The database says the same of migrated tables as of tables that the models make."
        upgrade(engine)
        downgrade(engine, "0001")
        upgrade(engine)
        on_sqlite = engine.dialect.name == "sqlite"
        other = make_engine(f"sqlite:///{tmp_path}/other.db" if on_sqlite else postgres.url(postgres.create()))
        with other.connect().execution_options(write=True) as c, c.begin():
            Table.metadata.create_all(c)
            wanted = make(c)
        with engine.connect() as c:
            found = [x for x in make(c) if VERSION_TABLE not in str(x)]
        guards = [x for x in found if "TRIGGER" in str(x) or x in FUNCTIONS]
        assert len(guards) == (3 if on_sqlite else 11)
        assert sorted(map(parts, set(found) - set(guards))) == sorted(map(parts, wanted))
        other.dispose()

    def test_adoption_alters_nothing(self, old):
        before = state(old)
        upgrade(old, "0001")
        after = state(old)
        del after[1][VERSION_TABLE]
        assert after[1] == before[1]
        assert [x for x in after[0] if VERSION_TABLE not in str(x)] == before[0]

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ("DROP INDEX ix_orders_status", "index ix_orders_status of orders is missing."),
            ("CREATE INDEX more ON orders (side)", "index more of orders should not be there."),
            ("ALTER TABLE orders ADD COLUMN note FLOAT", "column note of orders should not be there."),
            ("ALTER TABLE series DROP COLUMN unfinished", "column unfinished of series is missing."),
            ("DROP TABLE quotes", "table quotes is missing."),
            ("DROP TRIGGER audit_log_no_update", "trigger audit_log_no_update of audit_log is missing."),
        ],
    )
    def test_a_difference_is_named(self, engine, change, sentence):
        upgrade(engine)
        if "TRIGGER" in change and engine.dialect.name == "postgresql":
            change += " ON audit_log"
        execute(engine, change)
        assert sentence in differences(engine)

    def test_revisions_stand_in_one_line_as_alembic_sees_them(self):
        script = ScriptDirectory(str(FOLDER))
        assert [x.revision for x in script.walk_revisions()][::-1] == revisions()
        assert script.get_heads() == [head()]


SQLITE_CHANGES = [
    ("DROP TABLE quotes; CREATE TABLE quotes (symbol VARCHAR NOT NULL REFERENCES symbols (symbol), venue VARCHAR NOT NULL,"
     " timestamp BIGINT NOT NULL, sequence BIGINT NOT NULL, bid FLOAT NOT NULL, bid_size FLOAT NOT NULL, ask FLOAT NOT NULL,"
     " ask_size TEXT, available_ns BIGINT NOT NULL, PRIMARY KEY (venue, symbol, timestamp, sequence))",
     ["quotes.ask_size has nullable True, not False.", "quotes.ask_size has type TEXT, not FLOAT.",
      "primary key of quotes is venue, symbol, timestamp, sequence, not symbol, venue, timestamp, sequence.",
      "quotes is not kept in the order of its primary key."]),
    ("DROP INDEX uq_ml_models_active; CREATE UNIQUE INDEX uq_ml_models_active ON ml_models (model_name)",
     ["index uq_ml_models_active of ml_models is not limited to some rows."]),
]  # fmt: skip
POSTGRESQL_CHANGES = [
    ("ALTER TABLE orders ALTER COLUMN account TYPE varchar", ['orders.account has type VARCHAR, not VARCHAR COLLATE "C".']),
    ("ALTER TABLE trades ALTER COLUMN fee TYPE numeric(38, 18)", ["trades.fee has type NUMERIC(38, 18), not NUMERIC."]),
    ("ALTER TABLE series ALTER COLUMN unfinished SET NOT NULL", ["series.unfinished has nullable False, not True."]),
    ("ALTER TABLE trades DROP CONSTRAINT fk_trades_order_id_orders",
     ["foreign key fk_trades_order_id_orders of trades is missing."]),
    ("ALTER TABLE trades DROP CONSTRAINT pk_trades", ["primary key of trades is missing, not account, fill_id."]),
    ("ALTER TABLE audit_log DROP CONSTRAINT uq_audit_log_hash", ["constraint uq_audit_log_hash of audit_log is missing."]),
    ("DROP INDEX uq_ml_models_active; CREATE UNIQUE INDEX uq_ml_models_active ON ml_models (model_name)",
     ["index uq_ml_models_active of ml_models is not limited to some rows."]),
    ("ALTER TABLE audit_log DISABLE TRIGGER audit_log_no_truncate", ["trigger audit_log_no_truncate of audit_log is missing."]),
    ("ALTER TABLE market_data DISABLE TRIGGER market_data_symbol_insert",
     ["trigger market_data_symbol_insert of market_data is missing."]),
    ("DROP TRIGGER market_data_symbol_delete ON symbols", ["trigger market_data_symbol_delete of symbols is missing."]),
]  # fmt: skip


@pytest.mark.parametrize(("change", "sentences"), SQLITE_CHANGES)
def test_differences_on_sqlite_are_found_to_the_letter(tmp_path, change, sentences):
    engine = make_engine(f"sqlite:///{tmp_path}/trading.db")
    upgrade(engine)
    execute(engine, *change.split("; "))
    assert set(sentences) <= set(differences(engine))


def test_differences_on_postgresql_are_found_to_the_letter(postgres):
    engine = make_engine(postgres.url(name := postgres.create(postgres.with_tables)))
    execute(engine, *(statement for change, _ in POSTGRESQL_CHANGES for statement in change.split("; ")))
    assert sorted(differences(engine)) == sorted(sentence for _, found in POSTGRESQL_CHANGES for sentence in found)
    engine.dispose()
    postgres.drop(name)


# Rows


class TestRows:
    def test_all_that_was_there_is_there_and_nothing_else(self, old):
        before = {t.name: old_rows(old, t) for t in first_tables.sorted_tables}
        upgrade(old)
        for table in first_tables.sorted_tables:
            names = [x.name for x in table.c if (table.name, x.name) != ("positions", "opened_at")]
            found = [{x: row[x] for x in names} for row in old_rows(old, table)]
            assert found == [{x: row[x] for x in names} for row in before[table.name]], table.name
        for name in set(Table.metadata.tables) - set(first_tables.tables) - {"backtest_inputs"}:
            assert rows(old, name) == []

    def test_bars_could_be_known_when_they_closed(self, old):
        upgrade(old)
        step = {"1m": 60_000, "15m": 900_000, "1h": 3_600_000, "1d": 86_400_000, "1w": 604_800_000}
        step["9999w"] = 9999 * 604_800_000
        found = rows(old, "market_data")
        assert len(found) == 18
        for bar in found:
            assert bar["available_ms"] == bar["timestamp"] + step[bar["interval"]]
            assert bar["vwap"] is None and bar["trade_count"] is None
        (series,) = rows(old, "series")
        assert (series["years"], series["unfinished"], series["quality"]) == ({}, None, {"gaps": []})

    def test_runs_read_and_traded_the_symbol_that_they_name(self, old):
        upgrade(old, "0003")
        execute(old, "UPDATE backtest_runs SET symbol = 'ETH-USD', read_from_ms = -5, as_of_ms = 7 WHERE run_id = 'r2'")
        trip = dict(
            zip("number entry_ms quantity entry_price exit_price fees pnl return_pct".split(), [1.0] * 8, strict=True)
        )
        names, values = ", ".join(trip), ", ".join(map(str, trip.values()))
        execute(old, f"INSERT INTO backtest_trades (run_id, status, {names}) VALUES ('r2', 'closed', {values})")
        with old.connect() as c:
            before = [
                c.exec_driver_sql(f"SELECT * FROM {x} ORDER BY 1").all() for x in ("backtest_runs", "backtest_trades")
            ]
        upgrade(old)
        assert [tuple(x.values()) for x in rows(old, "backtest_inputs")] == [
            ("r1", 1, "BTC-USD", "1h", 0, 1, None), ("r2", 1, "ETH-USD", "1h", -5, 1, 7),
        ]  # fmt: skip
        assert [(x["run_id"], x["symbol"]) for x in rows(old, "backtest_trades")] == [
            ("r1", "BTC-USD"),
            ("r2", "ETH-USD"),
        ]
        assert differences(old) == [] and sound(old)
        downgrade(old, "0003")
        with old.connect() as c:
            after = [
                c.exec_driver_sql(f"SELECT * FROM {x} ORDER BY 1").all() for x in ("backtest_runs", "backtest_trades")
            ]
        assert after == before and sound(old)

    @pytest.mark.parametrize("table", ["backtest_inputs", "backtest_trades"])
    def test_a_run_names_symbols_that_there_are(self, old, table):
        upgrade(old)
        execute(old, "UPDATE backtest_runs SET symbol = 'BTC-USD,ETH-USD'", f"UPDATE {table} SET symbol = 'ETH-USD'")
        with pytest.raises(sa.exc.IntegrityError):
            execute(old, f"UPDATE {table} SET symbol = 'XRP-USD'")

    def test_orders_are_good_till_cancelled(self, old):
        upgrade(old)
        found = rows(old, "orders")
        assert {x["time_in_force"] for x in found} == {"gtc"} and all(x["metadata"] == {} for x in found)
        empty = ("exchange_id", "price", "stop_price", "signal_id", "cancelled_at")
        assert {x[name] for x in found for name in empty} == {None}
        assert found[5]["status"] == "rejected" and found[5]["reason"] == "no cash"

    def test_positions_know_when_they_began_and_ended(self, old):
        upgrade(old)
        found = {(x["account"], x["symbol"]): x for x in rows(old, "positions")}
        later = [NOON + timedelta(minutes=k) for k in range(6)]
        names = "status side opened_at closed_at open_order_id close_order_id strategy_id total_pnl".split()
        assert {held: [x[name] for name in names] for held, x in found.items()} == {
            ("a", "BTC-USD"): ["open", "long", later[3], None, "o3", None, "s3", 8],
            ("a", "ETH-USD"): ["closed", "long", later[4], later[5], "o4", "o5", "s5", 10],
            ("b", "SOL-USD"): ["closed", "long", NOON + timedelta(days=2), NOON + timedelta(days=2), None, None, "", 10],
            ("b", "BTC-USD"): ["open", "long", NOON + timedelta(days=2), None, None, None, "", D("99999999999999999999.999999999999999998")],
        }  # fmt: skip
        assert all(x["metadata"] == {} for x in found.values()) and len({x["position_id"] for x in found.values()}) == 4
        assert found["a", "BTC-USD"]["position_id"] == position_id("a", Position("BTC-USD", opened_by="o3"))

    def test_snapshots_count_gains_from_the_opening_and_from_midnight(self, old):
        upgrade(old)
        names = "snapshot_id total_pnl daily_pnl total_return daily_return".split()
        found = rows(old, "portfolio_snapshots")
        assert [[x[name] for name in names] for x in found] == [
            [1, 0, 0, 0, 0],
            [2, 0, 0, 0, 0],
            [3, D("-0.2"), D("-0.2"), -0.0002, -0.0002],
            [4, 100, 100, 0.1, 0.1],
            [5, 210, 110, 0.21, 0.1],
            [6, -395, -495, -0.395, -0.45],
            [7, 0, 395, 0, pytest.approx(395 / 605, rel=1e-15)],
            [9, D("-99999999999999999999.999999999999999998"), D("-99999999999999999999.999999999999999998"), -1, -1],
            [11, 0, 0, 0, 0],
            [12, 0, 0, 0, 0],
        ]
        assert all(x["total_value"] == x["equity"] for x in found)
        with old.connect().execution_options(write=True) as c, c.begin():
            t = Table.metadata.tables["portfolio_snapshots"]
            row = dict(found[0], account="d")
            del row["snapshot_id"]
            assert c.execute(sa.insert(t), row).inserted_primary_key[0] == 13

    def test_many_snapshots_are_taken_in_parts(self, engine):
        with engine.connect().execution_options(write=True) as c, c.begin():
            first_tables.create_all(c)
            when = NOON.replace(tzinfo=None) if engine.dialect.name == "sqlite" else NOON
            t = first_tables.tables["portfolio_snapshots"]
            marks = [dict(account="a", cause="mark", timestamp=when, cash="1", equity=str(k)) for k in range(12_345)]
            c.execute(sa.insert(t), marks)
        upgrade(engine)
        assert [x["total_pnl"] for x in rows(engine, "portfolio_snapshots")] == list(range(12_345))

    def test_down_and_up_keeps_what_both_can_hold(self, old):
        before = {t.name: old_rows(old, t) for t in first_tables.sorted_tables}
        for held in before["positions"]:  # a flat position has no opening, an open one always has
            if held["account"] == "b" and held["symbol"] == "BTC-USD":
                held["opened_at"] = held["updated_at"]
        upgrade(old)
        up = state(old)
        downgrade(old, "0001")
        assert {t.name: old_rows(old, t) for t in first_tables.sorted_tables} == before
        upgrade(old)
        assert state(old) == up
        with old.connect().execution_options(write=True) as c, c.begin():
            row = dict(rows(old, "portfolio_snapshots")[0], account="d")
            del row["snapshot_id"]
            assert c.execute(sa.insert(Table.metadata.tables["portfolio_snapshots"]), row).inserted_primary_key[0] == 13

    def test_down_gathers_the_holdings_of_a_symbol_in_one_row(self, old):
        upgrade(old)
        execute(
            old,
            "UPDATE positions SET opened_at = '2024-01-30 00:00:00.000000', symbol = 'BTC-USD' WHERE symbol = 'ETH-USD'",
            "UPDATE orders SET target = NULL WHERE order_id = 'o1'",
        )
        downgrade(old, "0001")
        gathered = next(x for x in old_rows(old, first_tables.tables["positions"]) if x["account"] == "a")
        assert D(gathered["quantity"]) == 2 and D(gathered["realized_pnl"]) == 20 and D(gathered["fees"]) == 1
        assert D(old_rows(old, first_tables.tables["orders"])[0]["target"]) == 0

    @pytest.mark.parametrize("change", ["side = 'short'", "status = 'open'"])
    def test_down_is_refused_where_a_position_has_no_place(self, old, change):
        upgrade(old)
        execute(old, f"UPDATE positions SET {change}, symbol = 'BTC-USD', account = 'a'")
        before = state(old)
        with pytest.raises(
            StoreError, match="account 'a' holds BTC-USD short or twice: revision 0001 has no place for it"
        ):
            downgrade(old, "0001")
        assert state(old) == before and sound(old)

    def test_down_is_refused_where_a_run_is_over_several_symbols(self, old):
        upgrade(old)
        execute(old, "UPDATE backtest_runs SET symbol = 'BTC-USD,ETH-USD' WHERE run_id = 'r2'")
        before = state(old)
        with pytest.raises(StoreError, match="'r2' is over BTC-USD,ETH-USD: revision 0003 has one symbol a run"):
            downgrade(old, "0003")
        assert state(old) == before and sound(old)


def old_rows(engine: sa.Engine, table: sa.Table) -> list[dict]:
    "Rows in the columns of the first revision, in the order of its key, amounts as numbers."
    with engine.connect() as c:
        found = c.execute(sa.select(table).order_by(*table.primary_key)).mappings()
        exact = {x.name for x in table.c if isinstance(x.type, sa.Numeric) and x.type.scale == 18}
        return [{k: D(v) if k in exact and v is not None else v for k, v in row.items()} for row in found]


# Whose store it is


class TestRefusals:
    def test_a_newer_store_is_refused_and_left_alone(self, old):
        upgrade(old)
        execute(old, f"UPDATE {VERSION_TABLE} SET version_num = '0999'")
        before, content = state(old), files(old)
        for act in (current, open_schema, upgrade, lambda e: upgrade(e, "0001"), lambda e: downgrade(e, "0001")):
            with pytest.raises(
                StoreError, match="written by a newer RRR: its tables are at revision 0999 .* 0004 at most"
            ):
                act(old)
        assert state(old) == before and files(old) == content

    def test_opening_brings_sqlite_up_and_asks_for_a_command_on_postgresql(self, old):
        if old.dialect.name == "sqlite":
            open_schema(old)
            assert current(old) == head() and len(rows(old, "orders")) == 6
        else:
            before = state(old)
            with pytest.raises(
                StoreError, match="revision none of its tables and this RRR needs 0004: run `rrr db upgrade`"
            ):
                open_schema(old)
            assert state(old) == before
            upgrade(old, "0001")
            with pytest.raises(StoreError, match="revision 0001 of its tables and this RRR needs 0004"):
                open_schema(old)
            upgrade(old)
        content = files(old)
        open_schema(old)
        assert files(old) == content

    @pytest.mark.parametrize(
        ("made", "said"),
        [
            (
                "CREATE TABLE orders (id INTEGER PRIMARY KEY, what VARCHAR)",
                "orders, named as tables of RRR but not made by it",
            ),
            ("CREATE TABLE quotes (id INTEGER PRIMARY KEY)", "quotes, named as"),
        ],
    )
    def test_tables_of_our_names_that_are_not_ours_are_refused_and_left_alone(self, engine, made, said):
        execute(engine, made)
        before, content = state(engine), files(engine)
        for act in (upgrade, lambda e: upgrade(e, "0001"), lambda e: downgrade(e, "base")):
            with pytest.raises(StoreError, match=said):
                act(engine)
        assert state(engine) == before and files(engine) == content

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ("DROP INDEX ix_orders_status", "index ix_orders_status of orders is missing"),
            ("ALTER TABLE orders ADD COLUMN note VARCHAR", "column note of orders should not be there"),
            ("DROP TABLE backtest_trades", "table backtest_trades is missing"),
            ("CREATE TABLE quotes (id INTEGER PRIMARY KEY)", "table quotes should not be there"),
        ],
    )
    def test_an_old_store_that_was_altered_is_refused_and_left_alone(self, old, change, said):
        execute(old, change)
        before, content = state(old), files(old)
        with pytest.raises(StoreError, match=f"not made by it \\({said}\\): rename them, or use another database"):
            upgrade(old)
        assert state(old) == before and files(old) == content

    def test_tables_of_others_and_the_revision_of_optuna_are_left_alone(self, engine):
        execute(
            engine,
            "CREATE TABLE studies (study_id INTEGER PRIMARY KEY, name VARCHAR)",
            "CREATE TABLE trial_values (id INTEGER PRIMARY KEY, study_id INTEGER REFERENCES studies (study_id))",
            "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)",
            "CREATE VIEW names AS SELECT name FROM studies",
            "CREATE INDEX of_others ON studies (name)",
            "INSERT INTO alembic_version VALUES ('v3.2.0.a')",
            "INSERT INTO studies VALUES (1, 'sma')",
            "INSERT INTO trial_values VALUES (1, 1)",
        )
        before = state(engine)
        upgrade(engine)
        assert differences(engine) == []
        downgrade(engine, "0001")
        upgrade(engine)
        downgrade(engine, "base")
        form, content = state(engine)
        assert content.pop(VERSION_TABLE) == []
        assert content == before[1] and [x for x in form if VERSION_TABLE not in str(x)] == before[0]

    def test_a_view_of_the_user_on_sqlite_still_works(self, tmp_path):
        engine = make_engine(f"sqlite:///{tmp_path}/trading.db")
        fill_first_tables(engine)
        execute(engine, "CREATE VIEW mine AS SELECT order_id FROM orders", "CREATE TABLE notes (o REFERENCES orders (order_id))",
                "INSERT INTO notes VALUES ('o1')")  # fmt: skip
        upgrade(engine)
        with engine.connect() as c:
            assert len(c.exec_driver_sql("SELECT * FROM mine").all()) == 6
        with pytest.raises(sa.exc.IntegrityError):
            execute(engine, "INSERT INTO notes VALUES ('o99')")
        assert sound(engine)

    def test_what_a_view_on_postgresql_stands_in_the_way_of_is_refused_whole(self, postgres):
        engine = make_engine(postgres.url(name := postgres.create()))
        fill_first_tables(engine)
        execute(engine, "CREATE VIEW mine AS SELECT order_id FROM orders")
        before = state(engine)
        with pytest.raises(StoreError, match="other objects depend on it"):
            upgrade(engine)
        assert state(engine) == before
        engine.dispose()
        postgres.drop(name)

    def test_a_revision_or_direction_that_makes_no_sense_is_refused(self, engine):
        upgrade(engine)
        before = state(engine)
        with pytest.raises(StoreError, match="unknown revision '0005'.* Known: 0001, 0002, 0003, 0004, base, head"):
            upgrade(engine, "0005")
        with pytest.raises(StoreError, match="is at revision 0004: downgrade leads to 0001"):
            upgrade(engine, "0001")
        downgrade(engine, "0001")
        with pytest.raises(StoreError, match="is at revision 0001: upgrade leads to 0002"):
            downgrade(engine, "0002")
        upgrade(engine)
        assert state(engine) == before

    def test_each_step_is_told(self, old):
        said = []
        upgrade(old, say=said.append)
        downgrade(old, "base", say=said.append)
        assert [x.split(":")[0] for x in said] == [
            "0001 found", "0002 applied", "0003 applied", "0004 applied", "0004 undone", "0003 undone", "0002 undone",
            "0001 undone",
        ]  # fmt: skip


class TestAuditLog:
    AGAIN = "INSERT INTO audit_log VALUES (1, '2024-01-01', 'x', 'b', '', 'c', '{}', '', 'h')"
    CHANGES = {
        "sqlite": (
            "UPDATE OR IGNORE audit_log SET actor = 'x'",
            AGAIN.replace("INSERT", "INSERT OR REPLACE").replace("'h'", "'i'"),
            AGAIN.replace("INSERT", "INSERT OR REPLACE").replace("1,", "2,", 1),
        ),
        "postgresql": ("TRUNCATE audit_log", "TRUNCATE symbols, audit_log CASCADE"),
    }

    def test_takes_no_change(self, engine):
        upgrade(engine)
        execute(
            engine, "INSERT INTO audit_log VALUES (1, '2024-01-01 00:00:00.000000', 'a', 'b', '', 'c', '{}', '', 'h')"
        )
        before = state(engine)
        for change in (
            "UPDATE audit_log SET actor = 'x'",
            "DELETE FROM audit_log",
            f"{self.AGAIN} ON CONFLICT (seq) DO UPDATE SET actor = 'x'",
            *self.CHANGES[engine.dialect.name],
        ):
            with pytest.raises(sa.exc.DBAPIError, match="append-only"):
                execute(engine, change)
            assert state(engine) == before


# Whole or not at all


def in_child(job: Callable[[], object]) -> int:  # the exit status, negative for a signal
    "Run in a fork of this process."
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            job()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed_at(number: int, engine: sa.Engine, job: Callable[[sa.Engine], object]) -> int:
    "Run in a process that is killed just before its n-th statement that alters something, or its commit."

    def run():
        mine, count = make_engine(engine.url), itertools.count(1)

        def step(*told):
            looks = len(told) > 2 and told[2].lstrip().startswith(("SELECT", "PRAGMA"))
            if not looks and next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        sa.event.listen(mine, "before_cursor_execute", step)
        sa.event.listen(mine, "commit", step)
        job(mine)

    engine.dispose()
    return in_child(run)


def down(engine: sa.Engine) -> None:
    downgrade(engine, "0001")


class TestCrash:
    @pytest.mark.parametrize("case", ["from nothing", "from an old store", "down"])
    def test_at_any_statement_leaves_the_old_store_and_the_next_run_finishes(self, engine, case, capfd):
        if case != "from nothing":
            fill_first_tables(engine)
        if case == "down":
            upgrade(engine)
        job = down if case == "down" else upgrade
        before = state(engine)
        for number in range(1, 2000):
            died = killed_at(number, engine, job)
            if died != -signal.SIGKILL:
                break
            assert state(engine) == before, f"killed at statement {number}"
        assert died == 0, capfd.readouterr().err
        assert number > 50 and sound(engine)
        assert current(engine) == ("0001" if case == "down" else head())
        if case == "down":
            upgrade(engine)
        assert differences(engine) == []

    def test_a_full_disk_leaves_the_old_store(self, tmp_path):
        engine = make_engine(f"sqlite:///{tmp_path}/trading.db")
        fill_first_tables(engine)
        before = state(engine)
        with engine.connect() as c:
            pages = c.exec_driver_sql("PRAGMA page_count").scalar()
        engine.dispose()

        @sa.event.listens_for(engine, "connect")
        def _small(connection, _record):
            connection.execute(f"PRAGMA max_page_count = {limit}")

        refused = 0
        for limit in range(pages, 10 * pages, 5):  # noqa: B007
            try:
                upgrade(engine)
                break
            except StoreError as e:
                assert str(e).endswith("trading.db refused: database or disk is full.")
                assert state(engine) == before and sound(engine)
                refused += 1
                engine.dispose()
        assert refused >= 5 and differences(engine) == [] and sound(engine)

    def test_a_row_without_what_it_refers_to_stops_the_upgrade(self, tmp_path):
        engine = make_engine(f"sqlite:///{tmp_path}/trading.db")
        fill_first_tables(engine)
        with engine.connect() as c:
            c.connection.driver_connection.execute("PRAGMA foreign_keys = OFF")
            c.connection.driver_connection.execute("PRAGMA query_only = OFF")
            c.connection.driver_connection.execute("DELETE FROM orders WHERE order_id = 'o1'")
            c.connection.driver_connection.execute("PRAGMA foreign_keys = ON")
        before = state(engine)
        with pytest.raises(StoreError, match="a row of trades refers to a row of orders that is not there"):
            upgrade(engine)
        assert state(engine) == before


def at_once(*jobs: Callable[[], object]) -> list:
    "Run in processes of their own that start together; return what they return."
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(len(jobs)), context.SimpleQueue()

    def run(job):
        barrier.wait(60)
        answers.put(job())

    started = [context.Process(target=run, args=(job,)) for job in jobs]
    for process in started:
        process.start()
    found = [answers.get() for _ in jobs] if all(not process.join(120) for process in started) else []
    assert [process.exitcode for process in started] == [0] * len(jobs)
    return found


class TestAtOnce:
    @pytest.mark.parametrize("behind", [False, True], ids=["new", "behind"])
    def test_all_succeed_and_each_revision_runs_once(self, engine, behind):
        if behind:
            fill_first_tables(engine)
        engine.dispose()

        def job():
            mine = make_engine(engine.url)
            applied = upgrade(mine)
            open_schema(mine)
            return applied

        ran = at_once(job, job, job)
        assert sorted(itertools.chain(*ran)) == (revisions()[1:] if behind else revisions())
        assert differences(engine) == [] and sound(engine)
        assert len(rows(engine, "orders")) == (6 if behind else 0)

    def test_stores_opened_by_threads_are_made_one_after_the_other(self, tmp_path):
        from concurrent.futures import ThreadPoolExecutor

        def job(number: int) -> list[str]:
            engine = make_engine(f"sqlite:///{tmp_path}/{number % 4}.db")
            open_schema(engine)
            return differences(engine)

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(job, range(8))) == [[]] * 8


def test_a_read_only_folder_is_named_and_its_store_left_alone(tmp_path):
    engine = make_engine(f"sqlite:///{tmp_path}/trading.db")
    fill_first_tables(engine)
    engine.dispose()
    content = files(engine)
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(StoreError, match=f"{tmp_path}"):
            open_schema(engine)
        assert files(engine) == content
        tmp_path.chmod(0o755)
        open_schema(engine)
        tmp_path.chmod(0o555)
        content = files(engine)
        open_schema(engine)
        assert files(engine) == content
    finally:
        tmp_path.chmod(0o755)


def test_a_store_is_opened_without_loading_alembic(db_url):
    Database(db_url).close()
    code = (
        "import sys\nfrom rrr.store.db import Database\n"
        "Database(sys.argv[1]).close()\nprint(*[x for x in ('alembic', 'mako') if x in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code, db_url], check=True, capture_output=True, text=True).stdout
    assert out.strip() == ""


def test_a_password_is_not_told(postgres):
    name = postgres.create()
    url = postgres.url(name).replace("postgres:@", "postgres:hunter2secret@")
    engine = make_engine(url)
    for act in (open_schema, lambda e: upgrade(e, "0009")):
        with pytest.raises(StoreError) as caught:
            act(engine)
        assert "hunter2" not in str(caught.value)
    upgrade(engine)
    execute(engine, f"UPDATE {VERSION_TABLE} SET version_num = '0999'")
    with pytest.raises(StoreError) as caught:
        upgrade(engine)
    assert "hunter2" not in str(caught.value) and "***" in str(caught.value)
    engine.dispose()
    postgres.drop(name)
