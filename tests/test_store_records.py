"Rows of every table go in whole or not at all, come back as they were, and a refusal names row and reason."

import multiprocessing
import pickle
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from stores import KINDS, dump, store_url

from rrr.core.errors import DataError, NotFoundError, ParameterError, StoreError
from rrr.store import records, registry
from rrr.store.checks import BatchError, Problem, column_names
from rrr.store.db import Database
from rrr.store.records import add_records, add_symbol, count_records, find_records, list_symbols, records_frame
from rrr.store.schema import (
    AuditRow,
    BacktestInputRow,
    BacktestRunRow,
    BacktestTradeRow,
    BarRow,
    BarVersionRow,
    JobRow,
    ModelRow,
    OnchainRow,
    OrderRow,
    PerformanceRow,
    PositionRow,
    PredictionRow,
    QuoteRow,
    ReleaseRow,
    RiskEventRow,
    RiskLimitRow,
    SentimentRow,
    SeriesRow,
    SnapshotRow,
    SymbolRow,
    SystemEventRow,
    Table,
    TickRow,
    TradeRow,
    TrialRow,
)  # fmt: skip

NOW = datetime(2024, 1, 2, 3, 4, 5, 678901, UTC)
HOUR, TICK = timedelta(hours=1), timedelta(microseconds=1)
ID = "0b0b9d6e-8f5a-4a53-9a55-0d7b7a3c1e01"
X = Decimal("12.340000000000000001")
BTC = dict(symbol="BTC-USD", base="BTC", quote="USD")
ON = dict(symbol="BTC-USD", interval="1h")
HASHES = dict(data_hash="d" * 16, code_hash="c" * 16)

ROWS = {
    SymbolRow: BTC,
    BarRow: ON | dict(timestamp=2**42, open=1.0, high=2.5, low=0.5, close=0.1 + 0.2, volume=1e-9, available_ms=2**42),
    BarVersionRow: ON | dict(
        timestamp=2**42, open=1.0, high=2.5, low=0.5, close=1.5, volume=1e-9, available_ms=2**42, replaced_ms=2**43
    ),
    SeriesRow: ON | dict(source="x.csv", synthetic=False, rows=2, first_ms=0, last_ms=2**42, data_hash="d",
                         quality={"gaps": 0}, imported_at=NOW),
    TickRow: dict(symbol="BTC-USD", venue="cb", trade_id="7", timestamp=2**62, price=0.1, size=3.0, available_ns=2**62),
    QuoteRow: dict(symbol="BTC-USD", venue="cb", timestamp=2**62, sequence=0, bid=1.0, bid_size=2.0, ask=1.1,
                   ask_size=0.5, available_ns=2**62),
    SentimentRow: dict(asset="BTC", source="news", timestamp=NOW, label="bullish", score=-1.0, confidence=1.0,
                       available_at=NOW),
    OnchainRow: dict(asset="BTC", metric="fees", source="node", timestamp=NOW, value=5e-324, available_at=NOW),
    OrderRow: dict(order_id=ID, account="a", symbol="BTC-USD", side="buy", order_type="limit", quantity=X, price=X,
                   status="open", metadata={"why": [1, "ä€😀"]}, created_at=NOW),
    TradeRow: dict(account="a", fill_id="f1", order_id=ID, symbol="BTC-USD", side="sell", quantity=X, price=X, value=X,
                   fee=-X, timestamp=NOW),
    PositionRow: dict(position_id=ID, account="a", symbol="BTC-USD", side="long", status="open", quantity=X, cost=-X,
                      entry_price=X, current_price=X, unrealized_pnl=-X, realized_pnl=X, total_pnl=X, fees=X,
                      open_order_id=ID, metadata={"b": 1, "a": 2}, opened_at=NOW, updated_at=NOW),
    SnapshotRow: dict(account="a", cause="mark", timestamp=NOW, total_value=X, cash=-X, equity=X, total_pnl=X,
                      daily_pnl=-X, total_return=0.1, daily_return=-0.1),
    RiskLimitRow: dict(account="a", name="max_drawdown", set_at=NOW, value=X, actor="ann", reason="first week"),
    RiskEventRow: dict(account="a", timestamp=NOW, limit_name="max_drawdown", severity="critical", action="halted",
                       symbol="BTC-USD", order_id=ID, observed=-X, allowed=X),
    ModelRow: dict(model_name="trend", version="1", model_type="lstm", file_path="m.pt", trained_at=NOW, active=True),
    PredictionRow: ON | dict(model_name="trend", version="1", timestamp=NOW, value=-0.5, available_at=NOW),
    BacktestRunRow: ON | HASHES | dict(run_id="r1", created_at=NOW, strategy="s", params={"fast": 10}, first_ms=0,
                                       last_ms=2**42, bars=3, capital=X, costs={}, metrics={"sharpe": None},
                                       equity=[[0, 1.5]], synthetic=True, seed=2**62, as_of_ms=2**42),
    BacktestInputRow: ON | dict(run_id="r1", number=1, first_ms=0, last_ms=1),
    BacktestTradeRow: dict(run_id="r1", number=1, symbol="BTC-USD", entry_ms=0, quantity=1.0, entry_price=1.0, exit_price=2.0, fees=0.0,
                           pnl=-1.5, return_pct=0.1, status="open"),
    TrialRow: HASHES | dict(study="st", number=0, strategy="s", params={}, status="pruned", run_id="r1", created_at=NOW),
    ReleaseRow: ON | HASHES | dict(release_id="l1", strategy="s", params={}, status="paper", gates={"sharpe": 1.5},
                                   run_id="r1", actor="ann", created_at=NOW),
    JobRow: dict(run_id="j1", job="backtest", params={}, status="running", started_at=NOW),
    SystemEventRow: dict(timestamp=NOW, level="warning", component="feed", message="late"),
    PerformanceRow: dict(account="a", metric="sharpe", window="30d", timestamp=NOW, value=1.25),
    AuditRow: dict(seq=1, timestamp=NOW, actor="ann", action="start", cause="test", prev_hash="0" * 64, hash="1" * 64),
}  # fmt: skip
PARENTS = [SymbolRow, OrderRow, ModelRow, BacktestRunRow]
IN_ORDER = [*PARENTS, *(c for c in ROWS if c not in PARENTS)]  # that others refer to first


def full(row_class: type[Table]) -> dict:  # column -> value, those that the row leaves out included
    names, skip = column_names(row_class), counted(row_class)
    defaults = {names[k]: f.get_default(call_default_factory=True) for k, f in row_class.model_fields.items()}
    return {k: v for k, v in (defaults | ROWS[row_class]).items() if k != skip}


@pytest.fixture
def store(db) -> Database:
    "A store with a row in every table that others refer to."
    for parent in PARENTS:
        add_records(db, parent, [ROWS[parent]])
    return db


@pytest.fixture(scope="module", params=KINDS)
def steady(request, tmp_path_factory) -> Database:
    "One store with a row in every table, for tests that leave it as it is."
    with store_url(request.param, request, tmp_path_factory.mktemp("store"), tables=True) as url:
        database = Database(url)
        for row_class in IN_ORDER:
            assert add_records(database, row_class, [ROWS[row_class]]) == 1
        yield database
        database.close()


def test_there_is_a_row_here_for_every_table_and_its_rules_stand_in_the_annotations():
    assert {c.__table__ for c in ROWS} == set(Table.metadata.tables.values())
    for c in ROWS:  # a validator elsewhere would not be seen by the checks
        d = c.__pydantic_decorators__
        assert not (d.validators or d.field_validators or d.root_validators or d.model_validators)


# In and out


def counted(row_class: type[Table]) -> str | None:  # the column that the database counts
    column = row_class.__table__.autoincrement_column
    return None if column is None else column.name


@pytest.mark.parametrize("row_class", ROWS, ids=lambda c: c.__tablename__)
def test_a_row_of_any_table_is_found_again_as_it_was(steady, row_class):
    (found,) = find_records(steady, row_class)
    assert list(found) == row_class.__table__.c.keys() and count_records(steady, row_class) == 1
    assert found.pop(counted(row_class), 1) == 1
    assert found == full(row_class) and str(found) == str({k: full(row_class)[k] for k in found})


def test_a_row_may_be_an_object_of_its_class(db):
    for row_class in IN_ORDER:
        attributes = {column: name for name, column in column_names(row_class).items() if name != "metadata"}
        add_records(db, row_class, [row_class(**{attributes[k]: v for k, v in ROWS[row_class].items()})])
        (found,) = find_records(db, row_class)
        assert {k: v for k, v in found.items() if k != counted(row_class)} == full(row_class)
        with pytest.raises(BatchError, match="is missing"):
            add_records(db, row_class, [row_class()])


def test_a_table_gives_a_frame_with_the_types_of_its_columns_also_without_rows(db):
    empty = {row_class: records_frame(db, row_class) for row_class in ROWS}
    for row_class in IN_ORDER:
        add_records(db, row_class, [ROWS[row_class]])
        frame = records_frame(db, row_class)
        assert list(frame) == row_class.__table__.c.keys() and (frame.dtypes == empty[row_class].dtypes).all()
        for name, value in full(row_class).items():
            got = frame[name].iloc[0]
            assert pd.isna(got) if value is None else got == value, name
            if isinstance(value, datetime):
                assert str(frame[name].dtype) == "datetime64[us, UTC]"
            if isinstance(value, Decimal):
                assert type(got) is Decimal and str(got) == str(value)


def test_metadata_may_be_given_as_details_and_comes_back_as_metadata(store):
    order = ROWS[OrderRow] | dict(order_id=str(uuid.uuid4()))
    order["details"] = order.pop("metadata")
    add_records(store, OrderRow, [order])
    assert all(r["metadata"] == {"why": [1, "ä€😀"]} and "details" not in r for r in find_records(store, OrderRow))


def test_values_are_stored_in_one_spelling(store):
    order = ROWS[OrderRow] | dict(
        order_id="0B0B9D6E-8F5A-4A53-9A55-0D7B7A3C1E02", quantity="1.50", price=0.1, filled_quantity=np.float64(0.3),
        created_at="2024-01-02T04:04:05.678901+01:00", filled_at=pd.Timestamp(NOW),
    )  # fmt: skip
    add_records(store, OrderRow, [order])
    (found,) = find_records(store, OrderRow, order_id="0b0b9d6e-8f5a-4a53-9a55-0d7b7a3c1e02")
    assert [str(found[k]) for k in ("quantity", "price", "filled_quantity")] == ["1.50", "0.1", "0.3"]
    assert found["created_at"] == found["filled_at"] == NOW


# Refused


MISSING = object()
NEW = {  # what makes the row another one
    OrderRow: dict(order_id=str(uuid.UUID(int=9))), TradeRow: dict(fill_id="f9"), PredictionRow: dict(horizon=9),
    SentimentRow: dict(source="x"), OnchainRow: dict(source="x"), BarRow: dict(timestamp=9), BarVersionRow: dict(available_ms=9),
    TrialRow: dict(number=9),
    RiskEventRow: {}, AuditRow: dict(seq=9, hash="9" * 64),
}  # fmt: skip
BAD = [
    (OrderRow, dict(quantity=Decimal("NaN")), "quantity NaN should be a finite number"),
    (OrderRow, dict(quantity=float("inf")), "quantity inf should be a finite number"),
    (OrderRow, dict(price=Decimal("-Infinity")), "price -Infinity should be a finite number"),
    (OrderRow, dict(quantity=-1), "quantity -1 should be greater than 0"),
    (OrderRow, dict(quantity=0), "quantity 0 should be greater than 0"),
    (OrderRow, dict(quantity=True), "quantity True should be an integer, float, string or Decimal object"),
    (OrderRow, dict(quantity="1,5"), "quantity 1,5 should be a valid decimal"),
    (OrderRow, dict(price=Decimal("-0.01")), "price -0.01 should be greater than or equal to 0"),
    (OrderRow, dict(price=Decimal(10) ** 20), "price 100000000000000000000: amount 100000000000000000000 is too large"),
    (OrderRow, dict(created_at=NOW.replace(tzinfo=None)), "created_at 2024-01-02 03:04:05.678901 should have timezone"),
    (OrderRow, dict(created_at="2024-01-02T03:04"), "created_at 2024-01-02T03:04 should have timezone info"),
    (OrderRow, dict(created_at=1704164645), "created_at 1704164645 should be a time with a zone"),
    (OrderRow, dict(created_at="1704164645"), "created_at 1704164645 should be a time with a zone"),
    (OrderRow, dict(created_at=date(2024, 1, 2)), "created_at 2024-01-02 should be a time with a zone"),
    (OrderRow, dict(filled_at=pd.NaT), "filled_at NaT should be a time with a zone"),
    (OrderRow, dict(filled_at=pd.Timestamp(1, unit="ns", tz="UTC")), "should be in whole microseconds"),
    (OrderRow, dict(created_at=None), "created_at None should be a valid datetime"),
    (OrderRow, dict(symbol="DOGE-USD"), "unknown symbol DOGE-USD: add it first"),
    (OrderRow, dict(symbol="btc-usd"), "unknown symbol btc-usd: add it first"),
    (OrderRow, dict(side="hold"), "side hold should be 'buy' or 'sell'"),
    (OrderRow, dict(account=""), "account '' should have at least 1 character"),
    (OrderRow, dict(account="a\0"), "account 'a\\x00' should be text without NUL and half characters"),
    (OrderRow, dict(reason="\ud800"), "reason '\\ud800' should be text without NUL and half characters"),
    (OrderRow, dict(account=MISSING), "account is missing"),
    (OrderRow, dict(prise=1), "prise is no column of orders, did you mean price?"),
    (OrderRow, dict(order_id="x1"), "order_id x1: badly formed hexadecimal UUID string"),
    (OrderRow, dict(order_id=ID), f"order_id {ID} is in the store already"),
    (OrderRow, dict(metadata={"x": float("nan")}), "metadata {'x': nan}: JSON takes plain values and finite numbers"),
    (OrderRow, dict(metadata=[1]), "metadata [1] should be a valid dictionary"),
    (TradeRow, dict(order_id=str(uuid.UUID(int=1))), f"unknown order_id {uuid.UUID(int=1)}: add it first"),
    (PredictionRow, dict(version="2"), "unknown model_name, version trend, 2: add it first"),
    (PredictionRow, dict(horizon=0), "horizon 0 should be greater than or equal to 1"),
    (PredictionRow, dict(confidence=float("nan")), "confidence nan should be a finite number"),
    (SentimentRow, dict(score=1.0000001), "score 1.0000001 should be less than or equal to 1"),
    (SentimentRow, dict(confidence=-0.1), "confidence -0.1 should be greater than or equal to 0"),
    (SentimentRow, dict(label="moon"), "label moon should be 'bullish', 'bearish' or 'neutral'"),
    (SentimentRow, dict(bullish_count=2**31), "bullish_count 2147483648 should be a whole number below 2147483648"),
    (OnchainRow, dict(value=float("-inf")), "value -inf should be a finite number"),
    (BarRow, dict(close=float("nan")), "close nan should be a finite number"),
    (BarRow, dict(available_ms=2**63), "available_ms 9223372036854775808 should be a whole number below"),
    (BarRow, dict(interval="123456789"), "interval 123456789 should have at most 8 characters"),
    (RiskEventRow, dict(event_id=7), "event_id is counted by the database and cannot be given"),
    (TrialRow, dict(number=-1), "number -1 should be greater than or equal to 0"),
    (AuditRow, dict(prev_hash=5), "prev_hash 5 should be a valid string"),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=lambda b: f"{b[0].__tablename__}-{b[2][:40].encode('ascii', 'replace')}")
def test_a_bad_row_is_refused_by_name_and_nothing_of_its_batch_stays(steady, bad):
    row_class, change, reason = bad
    table = row_class.__table__
    good = full(row_class) | NEW[row_class]
    row = {k: v for k, v in (good | change).items() if v is not MISSING}
    before = dump(steady)
    with pytest.raises(BatchError) as e:
        add_records(steady, row_class, [good, row])
    told = [p for p in e.value.problems if "repeats row 0" not in p.reason]
    assert [p.row for p in told] == [1] and reason in told[0].reason
    assert set(told[0].column.split(", ")) & set(change) and (e.value.what, e.value.rows) == (table.name, 2)
    assert str(e.value).startswith(f"{table.name}: 1 of 2 rows refused, none written (row 1: ")
    assert dump(steady) == before


def test_every_bad_row_of_a_batch_is_told_with_all_that_is_wrong(db):
    rows = [ROWS[OnchainRow] | dict(source=str(i)) for i in range(6)]
    rows[1] |= dict(value=float("nan"), asset="")
    rows[4] = "fees"
    rows[5] |= dict(source="0")
    with pytest.raises(BatchError) as e:
        add_records(db, OnchainRow, iter(rows))
    assert [(p.row, p.column, p.value) for p in e.value.problems] == [
        (1, "asset", ""), (1, "value", "nan"), (4, "", ""), (5, "asset, metric, source, timestamp", str(NOW)),
    ]  # fmt: skip
    assert "3 of 6 rows" in str(e.value) and str(e.value).endswith("; and 1 more).")
    assert "row 4: fees should be a dict or a OnchainRow" in str(e.value)
    assert find_records(db, OnchainRow) == []


def test_both_spellings_of_metadata_at_once_are_refused(store):
    with pytest.raises(BatchError, match="row 0: metadata and details are the same column, and both are given"):
        add_records(store, OrderRow, [ROWS[OrderRow] | dict(details={})])


def test_the_same_row_twice_in_a_batch_is_refused_whatever_its_spelling(store):
    order = ROWS[OrderRow] | dict(order_id=str(uuid.uuid4()))
    for on_conflict in records.CONFLICTS:
        with pytest.raises(BatchError, match="row 1: order_id .* repeats row 0"):
            add_records(store, OrderRow, [order, order | dict(order_id=order["order_id"].upper())], on_conflict)
    audit = ROWS[AuditRow]
    with pytest.raises(BatchError, match="row 1: hash 1{39}… repeats row 0"):
        add_records(store, AuditRow, [audit, audit | dict(seq=2)])


def test_a_batch_error_says_it_in_one_sentence_and_survives_a_process():
    problems = [Problem(i, "high", f"high {i} is below low 9", "x" * 100) for i in range(5)]
    e = pickle.loads(pickle.dumps(BatchError("BTC-USD 1h", problems, 9)))
    assert isinstance(e, DataError) and e.problems == problems and len(problems[0].value) == 40
    assert str(e) == (
        "BTC-USD 1h: 5 of 9 rows refused, none written (row 0: high 0 is below low 9; row 1: high 1 is below low 9; "
        "row 2: high 2 is below low 9; and 2 more)."
    )


# Conflicts and transactions


def test_ignore_keeps_what_is_stored_and_replace_puts_the_new_row_in_its_place(db):
    first, second = ROWS[OnchainRow], ROWS[OnchainRow] | dict(metric="hashrate")
    assert add_records(db, OnchainRow, [first]) == 1
    changed = [second, first | dict(value=2.0)]
    assert add_records(db, OnchainRow, changed, on_conflict="ignore") == 1
    assert [r["value"] for r in find_records(db, OnchainRow)] == [5e-324, 5e-324]
    assert add_records(db, OnchainRow, changed, on_conflict="replace") == 2
    assert [(r["metric"], r["value"]) for r in find_records(db, OnchainRow)] == [("fees", 2.0), ("hashrate", 5e-324)]
    assert add_records(db, OnchainRow, changed, on_conflict="ignore") == 0
    with pytest.raises(BatchError, match="2 of 2 rows refused"):
        add_records(db, OnchainRow, changed)


def test_a_conflict_other_than_of_the_key_is_never_ignored(db):
    two = [ROWS[ModelRow], ROWS[ModelRow] | dict(version="2")]  # both active
    before = dump(db)
    for on_conflict in records.CONFLICTS:
        with pytest.raises(StoreError, match="(?i)unique"):
            add_records(db, ModelRow, two, on_conflict)
        assert dump(db) == before


def test_what_cannot_be_done_on_a_conflict_is_refused(db):
    with pytest.raises(ParameterError, match="unknown on_conflict 'replce'; did you mean 'replace'"):
        add_records(db, SymbolRow, [BTC], on_conflict="replce")
    for on_conflict in ("ignore", "replace"):
        with pytest.raises(ParameterError, match="system_events numbers its rows itself"):
            add_records(db, SystemEventRow, [ROWS[SystemEventRow]], on_conflict)


def test_rows_are_part_of_the_transaction_that_the_connection_is_in(db):
    before = dump(db)
    with pytest.raises(ZeroDivisionError), db.write() as c:
        add_symbol(c, "BTC-USD")
        assert add_records(c, OrderRow, [ROWS[OrderRow]]) == 1
        raise ZeroDivisionError
    assert dump(db) == before
    with db.write() as c:
        add_symbol(c, "BTC-USD")
        with pytest.raises(BatchError):
            add_records(c, OrderRow, [ROWS[OrderRow] | dict(side="hold")])
        with pytest.raises(sa.exc.IntegrityError):
            add_records(c, ModelRow, [ROWS[ModelRow], ROWS[ModelRow] | dict(version="2")])
    assert list_symbols(db) == ["BTC-USD"] and find_records(db, OrderRow) == find_records(db, ModelRow) == []


def test_many_rows_take_few_statements(db):
    rows = [ROWS[OnchainRow] | dict(timestamp=NOW + i * TICK) for i in range(5000)]
    said = []
    sa.event.listen(db.engine, "before_cursor_execute", lambda *a: said.append(a[2]))
    assert add_records(db, OnchainRow, rows) == 5000 and len(said) < 15
    assert add_records(db, OnchainRow, rows, on_conflict="ignore") == 0 and len(said) < 25
    assert add_records(db, OnchainRow, []) == 0 and count_records(db, OnchainRow) == 5000
    with pytest.raises(BatchError, match="5000 of 5000 rows refused"):
        add_records(db, OnchainRow, rows)


def test_a_foreign_key_holds_where_the_row_goes_round_the_checks(store):
    for t, where in ((SymbolRow, "BTC-USD"), (OrderRow, ID), (BacktestRunRow, "r1")):
        add_records(store, TradeRow, [ROWS[TradeRow]], "ignore")
        add_records(store, BacktestTradeRow, [ROWS[BacktestTradeRow]], "ignore")
        (key,) = t.__table__.primary_key
        with pytest.raises(StoreError, match="(?i)foreign key"), store.write() as c:
            c.execute(sa.delete(t).where(key == where))


def batch(worker: int) -> list[dict]:  # half of it is also the next worker's, in another order
    numbers = [(worker * 50 + i) % 200 for i in range(100)]
    rows = [ROWS[OnchainRow] | dict(timestamp=NOW + i * HOUR, value=float(i)) for i in numbers]
    return rows if worker % 2 else rows[::-1]


def ingest(url: str, worker: int) -> int:
    db = Database(url)
    try:
        return sum(add_records(db, OnchainRow, batch(worker), on_conflict="ignore") for _ in range(5))
    finally:
        db.close()


def test_threads_and_processes_that_add_overlapping_batches_leave_each_row_once(db):
    with ThreadPoolExecutor(4) as pool:
        written = pool.map(lambda w: add_records(db, OnchainRow, batch(w), on_conflict="ignore"), [0, 1, 0, 1] * 5)
        assert sum(written) == 150
    url = db.url.render_as_string(hide_password=False)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert sum(pool.starmap(ingest, [(url, w) for w in range(4)])) == 50
    assert [r["value"] for r in find_records(db, OnchainRow)] == [float(i) for i in range(200)]


# Found


@pytest.fixture
def orders(store) -> Database:
    with store.write() as c:
        c.execute(sa.delete(OrderRow))
    add_symbol(store, "ETH-USD")
    rows = [
        ROWS[OrderRow] | dict(
            order_id=str(uuid.UUID(int=i)), account="ab"[i % 2], symbol=["BTC-USD", "ETH-USD"][i % 2],
            created_at=NOW + i // 2 * HOUR, signal_id=None if i < 3 else str(i),
        ) for i in range(6)
    ]  # fmt: skip
    add_records(store, OrderRow, rows[::-1])
    return store


def test_rows_are_found_by_column_time_and_page(orders):
    def found(**asked):
        ids = [uuid.UUID(r["order_id"]).int for r in find_records(orders, OrderRow, **asked)]
        if not {"limit", "offset", "newest"} & set(asked):
            assert count_records(orders, OrderRow, **asked) == len(ids) == len(records_frame(orders, OrderRow, **asked))
        return ids

    assert found() == [0, 1, 2, 3, 4, 5] and found(newest=True) == [5, 4, 3, 2, 1, 0]
    assert found(account="a") == [0, 2, 4] and found(account="a", symbol="ETH-USD") == []
    assert found(account=["a", "b"]) == found() and found(account=[]) == []
    assert found(signal_id=None) == [0, 1, 2] and found(signal_id=[None, "4"]) == [0, 1, 2, 4]
    assert found(order_id=str(uuid.UUID(int=3)).upper()) == [3]
    assert found(since=NOW + HOUR) == [2, 3, 4, 5] and found(until=NOW + HOUR) == [0, 1]
    assert found(since="2024-01-02T04:04:05.678902Z", until=NOW + 2 * HOUR) == []
    assert found(created_at=NOW) == [0, 1]
    assert found(limit=2) == [0, 1] and found(limit=2, offset=4) == [4, 5] and found(offset=5) == [5]
    assert found(limit=2, offset=1, newest=True) == [4, 3] and found(limit=0) == []


def test_rows_are_found_as_they_could_be_known_at_a_moment(db):
    later = dict(metric="hashrate", available_at=NOW + HOUR)
    add_records(db, OnchainRow, [ROWS[OnchainRow], ROWS[OnchainRow] | later])
    for as_of, known in ((NOW - TICK, 0), (NOW, 1), (NOW + HOUR - TICK, 1), (NOW + HOUR, 2)):
        assert count_records(db, OnchainRow, as_of=as_of) == known == len(find_records(db, OnchainRow, as_of=as_of))


@pytest.mark.parametrize(
    ("row_class", "asked", "refusal"),
    [
        (OrderRow, dict(acount="a"), "unknown column 'acount' in orders; did you mean 'account'"),
        (OrderRow, dict(side="hold"), "orders: side hold should be 'buy' or 'sell'"),
        (OrderRow, dict(side=["buy", None]), "orders: side None should be"),
        (OrderRow, dict(account=5), "orders: account 5 should be a valid string"),
        (OrderRow, dict(since=NOW.replace(tzinfo=None)), "created_at 2024-01-02 03:04:05.678901 should have timezone"),
        (OrderRow, dict(until=5), "orders: created_at 5 should be a time with a zone"),
        (BarRow, dict(since=NOW), "market_data: timestamp .* should be a valid integer"),
        (OrderRow, dict(as_of=NOW), "orders has no time to search by as_of"),
        (SymbolRow, dict(since=NOW), "symbols has no time to search by since"),
        (OrderRow, dict(quantity=1), "orders cannot be searched by quantity: amounts and JSON are not compared"),
        (OrderRow, dict(details={}), "orders cannot be searched by details"),
        (OrderRow, dict(metadata={}), "orders cannot be searched by metadata"),
        (OrderRow, dict(limit=-1), "limit -1 and offset 0 count rows"),
        (OrderRow, dict(offset=-1), "limit None and offset -1 count rows"),
    ],
)
def test_what_cannot_be_asked_is_refused_and_does_not_find_nothing(steady, row_class, asked, refusal):
    with pytest.raises(ParameterError, match=refusal):
        find_records(steady, row_class, **asked)


def test_rows_of_bars_and_ticks_are_found_by_their_whole_numbers(store):
    add_records(store, BarRow, [ROWS[BarRow] | dict(timestamp=i) for i in range(4)])
    assert [r["timestamp"] for r in find_records(store, BarRow, since=1, until=3)] == [1, 2]
    add_records(store, SystemEventRow, [ROWS[SystemEventRow]] * 3)
    assert [r["event_id"] for r in find_records(store, SystemEventRow, event_id=[1, 3])] == [1, 3]


# Symbols, limits, models


def test_a_symbol_is_added_once_in_one_spelling(db):
    assert [add_symbol(db, s) for s in ("eth/usd", "BTC-USD", "btc_usd", "BTC-USD")] == ["ETH-USD", *["BTC-USD"] * 3]
    assert list_symbols(db) == ["BTC-USD", "ETH-USD"] and find_records(db, SymbolRow, symbol="BTC-USD") == [BTC]
    with pytest.raises(ParameterError, match="is not BASE-QUOTE"):
        add_symbol(db, "BTCUSD")


def test_the_limit_set_last_is_in_force_and_the_history_stays(db):
    assert registry.limits_in_force(db, "a") == {}
    old = dict(account="a", actor="ann", reason="start")
    add_records(db, RiskLimitRow, [
        old | dict(name="max_drawdown", set_at=NOW, value="0.20"),
        old | dict(name="max_drawdown", set_at=NOW + HOUR, value="0.10"),
        old | dict(name="max_position", set_at=NOW, value="5"),
        old | dict(name="max_position", set_at=datetime.now(UTC) + timedelta(days=999), value="9"),
        old | dict(name="max_drawdown", set_at=NOW, value="0.99", account="b"),
    ])  # fmt: skip

    def force(at=None):
        return {name: str(row["value"]) for name, row in registry.limits_in_force(db, "a", at).items()}

    assert force(NOW - TICK) == {} and force(NOW) == {"max_drawdown": "0.20", "max_position": "5"}
    assert force(NOW + HOUR - TICK)["max_drawdown"] == "0.20" and force(NOW + HOUR)["max_drawdown"] == "0.10"
    before = datetime.now(UTC)
    registry.set_limit(db, "a", "max_drawdown", Decimal("0.05"), "bob", "volatile")
    assert force() == {"max_drawdown": "0.05", "max_position": "5"} and force(before - HOUR)["max_drawdown"] == "0.10"
    row = registry.limits_in_force(db, "a")["max_drawdown"]
    assert (row["actor"], row["reason"]) == ("bob", "volatile") and before <= row["set_at"] <= datetime.now(UTC)
    with pytest.raises(BatchError, match="row 0: value nan should be a finite number"):
        registry.set_limit(db, "a", "max_drawdown", float("nan"), "bob", "oops")
    with pytest.raises(BatchError, match="row 0: reason ''"):
        registry.set_limit(db, "a", "max_drawdown", Decimal(1), "bob", "")
    assert count_records(db, RiskLimitRow) == 6


def register(db, name: str, version: str) -> None:
    registry.register_model(db, name, version, "lstm", f"{name}-{version}.pt", NOW, metrics={"auc": 0.6})


def test_one_version_of_a_model_is_active(db):
    assert registry.active_model(db, "trend") is None
    for name, version in (("trend", "1"), ("trend", "2"), ("other", "1")):
        register(db, name, version)
    assert registry.active_model(db, "trend") is None
    for name, version in (("trend", "1"), ("other", "1"), ("trend", "2"), ("trend", "2")):
        registry.activate_model(db, name, version)
    assert registry.active_model(db, "trend")["version"] == "2" and registry.active_model(db, "other")["version"] == "1"
    with pytest.raises(NotFoundError, match="unknown version '3' in model trend. Known: 1, 2"):
        registry.activate_model(db, "trend", "3")
    with pytest.raises(NotFoundError, match="Known: none"):
        registry.activate_model(db, "none", "1")
    with pytest.raises(BatchError, match="model_name, version trend, 2 is in the store already"):
        register(db, "trend", "2")
    active = find_records(db, ModelRow, active=True)
    assert [(m["model_name"], m["version"], m["metrics"]) for m in active] == [
        ("other", "1", {"auc": 0.6}), ("trend", "2", {"auc": 0.6}),
    ]  # fmt: skip


def test_threads_that_activate_versions_at_once_leave_exactly_one(db):
    versions = [str(i) for i in range(6)]
    for version in versions:
        register(db, "trend", version)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda v: registry.activate_model(db, "trend", v), versions * 10))
    assert count_records(db, ModelRow, model_name="trend", active=True) == 1
