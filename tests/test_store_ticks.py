"Trades and quotes come out as they went in, once, however often they come, on both databases."

from itertools import count

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import dump

from rrr.core.errors import DataError, ParameterError
from rrr.store import db as db_module
from rrr.store.bulk import Merged
from rrr.store.checks import BatchError
from rrr.store.ticks import iter_trades, read_quotes, read_trades, write_quotes, write_trades

per_store = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
fresh = count()
START = 1_704_067_200_000_000_001  # the first nanosecond of 2024 and one
BTC = ("BTC-USD", "coinbase")


def index(ns) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(np.asarray(ns, dtype="datetime64[ns]"), tz="UTC", name="timestamp")


def tape(first: int, count: int) -> pd.DataFrame:
    "Trades that tell their place."
    at = np.arange(first, first + count)
    sides = np.array(["buy", "sell", None], dtype=object)[at % 3]
    data = {"trade_id": [f"{i}" for i in at], "price": 100 + at / 4, "size": 1 + at / 8, "side": sides}
    return pd.DataFrame(data, index=index(START + at // 2))


def book(first: int, count: int) -> pd.DataFrame:
    at = np.arange(first, first + count)
    data = {"bid": 100 + at / 4, "bid_size": at / 8, "ask": 100.125 + at / 4, "ask_size": 2.0}
    return pd.DataFrame(data, index=index(START + at // 2))


def same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    rows = lambda f: [[None if v != v else v for v in row] for row in f.to_numpy(dtype=object).tolist()]  # noqa: E731
    return one.index.as_unit("ns").asi8.tolist() == other.index.as_unit("ns").asi8.tolist() and rows(one) == rows(other)


@pytest.fixture(params=["compiled", "plain"])
def path(request, db, monkeypatch):
    "The two paths that bulk data takes in SQLite; PostgreSQL has one."
    if request.param == "plain":
        if not db.is_sqlite:
            pytest.skip("one path")
        monkeypatch.setattr(db_module, "sqlite_library", lambda: None)
        db.engine.dispose()  # connections that know their handle


def test_the_same_trades_twice_are_stored_once(db, path):
    assert write_trades(db, *BTC, tape(0, 50)) == Merged(new=50)
    assert write_trades(db, *BTC, tape(0, 50)) == Merged(same=50)
    assert write_trades(db, "btc/usd", " Coinbase ", tape(40, 30)) == Merged(new=20, same=10)
    assert same(read_trades(db, *BTC), tape(0, 70).iloc[sorted(range(70), key=lambda i: (i // 2, str(i)))])


def test_the_same_quotes_twice_are_stored_once_and_keep_their_order(db, path):
    assert write_quotes(db, *BTC, book(0, 50)) == Merged(new=50)
    assert write_quotes(db, *BTC, book(0, 50)) == Merged(same=50)
    assert same(read_quotes(db, *BTC), book(0, 50))


ids = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=16)
amount = st.floats(min_value=5e-324, allow_nan=False, allow_infinity=False)


@per_store
@given(
    rows=st.lists(
        st.tuples(ids, st.integers(0, 2**62), amount, amount, st.sampled_from(["buy", "sell", None])),
        min_size=1, max_size=20, unique_by=lambda r: r[0],
    )
)  # fmt: skip
def test_every_id_time_and_amount_comes_back_as_it_was(db, path, rows):
    rows = sorted(rows, key=lambda r: (r[1], r[0].encode()))
    frame = pd.DataFrame([(r[0], *r[2:]) for r in rows], columns=["trade_id", "price", "size", "side"])
    frame = frame.set_axis(index([r[1] for r in rows]))
    venue = f"v{next(fresh)}"
    assert write_trades(db, "BTC-USD", venue, frame) == Merged(new=len(rows))
    assert same(read_trades(db, "BTC-USD", venue), frame)
    assert write_trades(db, "BTC-USD", venue, frame) == Merged(same=len(rows))


def test_numbers_and_text_name_the_same_trade(db):
    frame = tape(0, 10)
    assert write_trades(db, *BTC, frame.assign(trade_id=range(10))) == Merged(new=10)
    assert write_trades(db, *BTC, frame) == Merged(same=10)


def test_venues_and_symbols_are_kept_apart(db):
    write_trades(db, *BTC, tape(0, 10))
    assert write_trades(db, "BTC-USD", "kraken", tape(0, 10)) == Merged(new=10)
    assert write_trades(db, "ETH-USD", "coinbase", tape(5, 10)) == Merged(new=10)
    assert len(read_trades(db, *BTC)) == len(read_trades(db, "BTC-USD", "kraken")) == 10
    assert read_trades(db, "ETH-USD", "coinbase")["trade_id"].iloc[0] == "5"


def test_an_id_that_comes_again_with_other_content_is_refused_and_named(db, path):
    write_trades(db, *BTC, tape(0, 10))
    before = dump(db)
    other = tape(5, 10)
    other.iloc[2, other.columns.get_loc("price")] = 1.0
    with pytest.raises(DataError, match=r"1 rows are stored already with other content, the first .*'7'.*101.75.*1.0"):
        write_trades(db, *BTC, other)
    moved = tape(5, 10)
    with pytest.raises(DataError, match="other content"):
        write_trades(db, *BTC, moved.set_axis(moved.index + pd.Timedelta(1, "ns")))
    quotes = book(0, 10)
    write_quotes(db, *BTC, quotes)
    kept = dump(db)["quotes"]
    with pytest.raises(DataError, match="other content"):
        write_quotes(db, *BTC, quotes.assign(ask=200.0))
    after = dump(db)
    assert after["trades_data"] == before["trades_data"] and after["quotes"] == kept


def spoilt(column: str, value, row: int = 2):
    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.copy()
        frame.iloc[row, frame.columns.get_loc(column)] = value
        return frame

    return spoil


def odd_id(value):
    return lambda frame: spoilt("trade_id", value)(frame.astype({"trade_id": object}))


BAD_TRADES = {
    "negative price": (spoilt("price", -1.0), 2, "price", "price is not a finite number above zero"),
    "zero size": (spoilt("size", 0.0), 2, "size", "size is not a finite number above zero"),
    "not a number": (spoilt("price", np.nan), 2, "price", "not a finite number"),
    "infinite": (spoilt("size", np.inf), 2, "size", "not a finite number"),
    "no id": (spoilt("trade_id", None), 2, "trade_id", "trade_id is missing"),
    "the id above": (spoilt("trade_id", "1"), 2, "trade_id", "trade_id repeats one above"),
    "a float for an id": (odd_id(7.0), 2, "trade_id", "neither plain text nor a whole number"),
    "a zero byte": (odd_id("b\0"), 2, "trade_id", "neither plain text nor a whole number"),
    "half a character": (odd_id("\ud800"), 2, "trade_id", "neither plain text nor a whole number"),
    "a list for an id": (lambda f: f.assign(trade_id=[[i] for i in range(10)]), 0, "trade_id", "neither plain text"),
    "a word for a price": (lambda f: f.assign(price=["a"] * 10), 0, "price", "price is not a finite number"),
    "year 2500": (
        lambda f: f.set_axis(f.index.as_unit("s") + pd.Timedelta(200_000, "D").as_unit("s")),
        0,
        "timestamp",
        "time does not count in nanoseconds",
    ),
    "a long id": (spoilt("trade_id", "x" * 65), 2, "trade_id", "longer than 64 bytes"),
    "an odd side": (spoilt("side", "maker"), 2, "side", "neither buy nor sell"),
    "naive time": (lambda f: f.set_axis(f.index.tz_localize(None)), 0, "timestamp", "naive time"),
    "backwards": (lambda f: f.iloc[[0, 4, 1]], 2, "timestamp", "before that of the row above"),
    "no time": (lambda f: f.set_axis(f.index.where(np.arange(10) != 3)), 3, "timestamp", "time is missing"),
}


@pytest.mark.parametrize("case", BAD_TRADES)
def test_a_batch_with_a_bad_trade_is_refused_naming_row_and_reason(db, case):
    spoil, row, column, reason = BAD_TRADES[case]
    write_trades(db, *BTC, tape(100, 5))
    before = dump(db)
    with pytest.raises(BatchError) as caught:
        write_trades(db, *BTC, spoil(tape(0, 10)))
    first = caught.value.problems[0]
    assert (first.row, first.column) == (row, column) and reason in str(caught.value)
    assert str(caught.value).startswith("trades_data of BTC-USD at coinbase: ") and dump(db) == before


@pytest.mark.parametrize(("column", "value"), [("bid", 0.0), ("ask", np.nan), ("bid_size", -1.0), ("ask_size", np.inf)])
def test_a_batch_with_a_bad_quote_is_refused(db, column, value):
    before = dump(db)
    with pytest.raises(BatchError, match=f"row 2: {column} is not a finite number"):
        write_quotes(db, *BTC, spoilt(column, value)(book(0, 10)))
    assert dump(db) == before


def test_what_is_no_frame_of_ticks_is_refused(db):
    for wrong, says in (
        (tape(0, 0), "no ticks"),
        (tape(0, 5).drop(columns="price"), "lack price"),
        (tape(0, 5).reset_index(drop=True), "need a DatetimeIndex"),
    ):
        with pytest.raises(DataError, match=says):
            write_trades(db, *BTC, wrong)
    for venue in ("", "a b", "x'; drop table quotes", "börse"):
        with pytest.raises(ParameterError, match="is not a word"):
            write_trades(db, "BTC-USD", venue, tape(0, 5))
    with pytest.raises(DataError, match="no trades_data of BTC-USD at kraken"):
        read_trades(db, "BTC-USD", "kraken")


def test_a_span_starts_with_its_start_and_ends_before_its_end(db, path):
    write_trades(db, *BTC, tape(0, 20))
    read = read_trades(db, *BTC, START + 2, START + 5)
    assert read["trade_id"].tolist() == ["4", "5", "6", "7", "8", "9"]


def test_ticks_come_as_pandas_polars_or_arrow_and_in_blocks(db):
    write_trades(db, *BTC, tape(0, 9))
    arrow, polars = read_trades(db, *BTC, kind="arrow"), read_trades(db, *BTC, kind="polars")
    assert arrow.column_names == polars.columns == ["timestamp", "trade_id", "price", "size", "side"]
    assert str(arrow.schema.field("timestamp").type) == "timestamp[ns, tz=UTC]" and polars["side"].null_count() == 3
    assert same(pd.concat(iter_trades(db, *BTC)), read_trades(db, *BTC))
    write_quotes(db, *BTC, book(0, 3))
    with pytest.raises(ParameterError, match="pandas, polars or arrow"):
        read_quotes(db, *BTC, kind="csv")
