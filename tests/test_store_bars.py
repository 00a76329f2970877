"Bars come out of the store as they went in, once, whole or not at all, on both databases."

import hashlib
import struct
import time
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import dump

from rrr.core.errors import DataError, ParameterError, StoreError
from rrr.core.market import OHLCV
from rrr.store import db as db_module
from rrr.store import writer
from rrr.store.bars import (
    bars_frame,
    data_hash,
    epoch_ms,
    get_series,
    hash_of_years,
    iter_bars,
    list_series,
    read_bars,
    year_hashes,
)
from rrr.store.checks import BatchError
from rrr.store.db import Database
from rrr.store.schema import BarRow, SymbolRow
from rrr.store.writer import BarWriter, drop_series, write_bars

MINUTE = 60_000
START = 1_704_067_200_000  # 2024-01-01
per_store = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def bars(first: int, count: int, version: int = 0) -> pd.DataFrame:
    "Minute bars whose values tell their place and version."
    at = np.arange(first, first + count)
    values = np.column_stack([at + k + version / 8 for k in (100.1, 103.3, 97.7, 101.9, 0.3)])
    return bars_frame(START + MINUTE * at, values)


def same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    stamps = epoch_ms(one.index).tolist() == epoch_ms(other.index).tolist()
    return stamps and one.to_numpy().tolist() == other.to_numpy().tolist()


def write(db: Database, frame: pd.DataFrame, symbol: str = "BTC-USD", **more):
    return write_bars(db, symbol, "1m", frame, **({"source": "file.csv"} | more))


def counts(written) -> tuple[int, int, int]:
    return written.new, written.changed, written.same


@pytest.fixture
def take(db, monkeypatch):
    "Choose the path that bulk data takes in SQLite."

    def take(path: str) -> None:
        if path == "plain" and db.is_sqlite:
            monkeypatch.setattr(db_module, "sqlite_library", lambda: None)
            db.engine.dispose()  # connections that know their handle

    return take


def test_the_same_bars_twice_are_stored_once(db):
    first, again = write(db, bars(0, 50)), write(db, bars(0, 50))
    assert counts(first) == (50, 0, 0) and counts(again) == (0, 0, 50)
    assert (again.rows, again.data_hash) == (50, first.data_hash) and same(read_bars(db, "BTC-USD", "1m"), bars(0, 50))


def test_restated_bars_are_counted_and_replaced(db):
    write(db, bars(0, 50))
    restated = bars(40, 20)
    restated.iloc[:4, 3] += 0.5  # closes of four known bars
    written = write(db, restated, source="later.csv")
    assert counts(written) == (10, 4, 6) and written.rows == 60
    stored = read_bars(db, "BTC-USD", "1m")
    assert same(stored, pd.concat([bars(0, 40), restated]))
    series = get_series(db, "BTC-USD", "1m")
    assert (series["rows"], series["source"]) == (60, "later.csv")
    assert (series["first_ms"], series["last_ms"]) == (START, START + 59 * MINUTE)
    assert series["data_hash"] == written.data_hash == data_hash(stored)


fresh = count()


@settings(per_store, max_examples=25)
@given(writes=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 15), st.integers(0, 1)), min_size=1, max_size=5))
def test_any_ranges_in_any_order_add_up_to_what_was_written_last(db, writes):
    symbol, model = f"N{next(fresh)}-USD", {}
    for first, n, version in writes:
        asked = {i: version for i in range(first, first + n)}
        expected = (
            sum(i not in model for i in asked),
            sum(i in model and model[i] != v for i, v in asked.items()),
            sum(i in model and model[i] == v for i, v in asked.items()),
        )
        model |= asked
        written = write(db, bars(first, n, version), symbol)
        assert counts(written) == expected and written.rows == len(model)
    union = pd.concat([bars(i, 1, version) for i, version in sorted(model.items())])
    stored = read_bars(db, symbol, "1m")
    assert same(stored, union) and data_hash(stored) == written.data_hash == data_hash(union)


def test_synthetic_bars_are_refused_over_real_ones_and_replaced_by_them(db):
    write(db, bars(0, 30), source="MockDataSource(seed=7)", synthetic=True)
    assert read_bars(db, "BTC-USD", "1m").attrs["synthetic"] is True
    written = write(db, bars(20, 30, version=1), source="real.csv")
    assert (written.dropped_synthetic, *counts(written), written.rows) == (30, 30, 0, 0, 30)
    stored = read_bars(db, "BTC-USD", "1m")
    assert same(stored, bars(20, 30, version=1)) and stored.attrs["synthetic"] is False
    before = dump(db)
    with pytest.raises(DataError, match=r"BTC-USD 1m holds real bars \(real.csv\): synthetic bars are not mixed in"):
        write(db, bars(50, 5), source="MockDataSource(seed=7)", synthetic=True)
    assert dump(db) == before


def test_bars_of_two_synthetic_sources_do_not_mix(db):
    write(db, bars(0, 30), source="MockDataSource(seed=7)", synthetic=True)
    longer = write(db, bars(0, 40), source="MockDataSource(seed=7)", synthetic=True)
    assert (longer.dropped_synthetic, *counts(longer)) == (0, 10, 0, 30)
    other = write(db, bars(20, 10, version=1), source="MockDataSource(seed=8)", synthetic=True)
    assert (other.dropped_synthetic, other.rows) == (40, 10)
    assert same(read_bars(db, "BTC-USD", "1m"), bars(20, 10, version=1))


def test_bounds_take_the_start_and_leave_the_end(db):
    write(db, bars(0, 10))
    read = lambda **span: epoch_ms(read_bars(db, "BTC-USD", "1m", **span).index).tolist()  # noqa: E731
    at = [START + MINUTE * i for i in range(10)]
    assert read(start_ms=at[3], end_ms=at[7]) == at[3:7]
    assert read(start_ms=at[3] + 1) == at[4:] and read(end_ms=at[7] + 1) == at[:8]
    assert read(start_ms=at[9]) == at[9:] and read() == at
    for span in (dict(start_ms=at[9] + 1), dict(end_ms=at[0]), dict(start_ms=at[5], end_ms=at[5])):
        with pytest.raises(DataError, match="the store holds 2024-01-01 00:00 to 2024-01-01 00:09 UTC"):
            read(**span)


def test_an_unknown_series_is_refused_naming_those_there_are(db):
    with pytest.raises(
        DataError, match="no bars of BTC-USD 1m in the store. It holds nothing yet; try: rrr data import"
    ):
        read_bars(db, "BTC-USD", "1m")
    write(db, bars(0, 5))
    write_bars(db, "ETH-USD", "1h", bars(0, 5), "file.csv")
    for symbol, interval in (("BTC-USD", "1h"), ("ETH-USD", "1m"), ("XRP-USD", "1m")):
        with pytest.raises(DataError, match=f"no bars of {symbol} {interval} in the store. It holds BTC-USD 1m, ETH-"):
            read_bars(db, symbol, interval)
    assert [(s["symbol"], s["interval"]) for s in list_series(db)] == [("BTC-USD", "1m"), ("ETH-USD", "1h")]


def test_series_of_a_symbol_do_not_see_each_other(db):
    write(db, bars(0, 5))
    write_bars(db, "BTC-USD", "1h", bars(100, 3), "file.csv")
    assert same(read_bars(db, "BTC-USD", "1m"), bars(0, 5)) and same(read_bars(db, "BTC-USD", "1h"), bars(100, 3))


@given(row=st.integers(0, 9), column=st.sampled_from(range(-1, 5)), up=st.booleans())
def test_the_hash_changes_with_any_value_and_any_stamp(row, column, up):
    frame = bars(0, 10)
    other = frame.copy()
    if column < 0:
        stamps = epoch_ms(frame.index).copy()
        stamps[row] += 1 if up else -1
        other = bars_frame(stamps, frame.to_numpy())
    else:
        other.iloc[row, column] = np.nextafter(other.iloc[row, column], np.inf if up else -np.inf)
    assert data_hash(other) != data_hash(frame) == data_hash(frame.copy())


def test_the_hash_knows_content_and_nothing_else():
    frame = bars(0, 10)
    records = [struct.pack("<q5d", ms, *bar) for ms, bar in zip(epoch_ms(frame.index), frame.to_numpy(), strict=True)]
    year = hashlib.sha256(b"".join(records)).hexdigest()[:16]
    assert data_hash(frame) == hashlib.sha256(f"2024 10 {year}\n".encode()).hexdigest()[:16]
    for same_content in (
        frame.set_axis(frame.index.as_unit("ns")),
        frame.set_axis(frame.index.tz_convert("Asia/Tokyo").rename(None)),
        frame[["volume", *OHLCV[:4]]].assign(vwap=1.0),
        pd.concat([frame[:4], frame[4:]]),
    ):
        assert data_hash(same_content) == data_hash(frame)
    assert data_hash(frame[:9]) != data_hash(frame)
    assert data_hash(frame.assign(volume=0.0)) == data_hash(frame.assign(volume=-0.0))


positive = st.floats(min_value=5e-324, allow_nan=False, allow_infinity=False)


@st.composite
def possible(draw) -> tuple[float, ...]:  # open, high, low, close, volume
    low, a, b, high = sorted(draw(st.lists(positive, min_size=4, max_size=4)))
    open_, close = draw(st.permutations([a, b]))
    return open_, high, low, close, draw(st.floats(min_value=0, allow_nan=False, allow_infinity=False))


@settings(per_store, max_examples=40)
@given(rows=st.dictionaries(st.integers(-(2**40), 2**42), possible(), min_size=1, max_size=8))
@pytest.mark.parametrize("path", ["compiled", "plain"])
def test_every_float_and_every_millisecond_comes_back_as_it_was(db, path, rows, take):
    take(path)
    symbol = f"F{next(fresh)}-USD"
    stamps = sorted(rows)
    frame = bars_frame(np.array(stamps), np.array([rows[s] for s in stamps]))
    written = write(db, frame, symbol)
    stored = read_bars(db, symbol, "1m")
    assert same(stored, frame) and data_hash(stored) == written.data_hash
    assert counts(write(db, frame, symbol)) == (0, 0, len(frame))


def test_a_failing_assessment_leaves_the_store_as_it_was(db):
    def refuse(rows, blocks):
        assert rows == sum(map(len, blocks)) == 30
        raise DataError("not these")

    for _ in range(2):  # into an empty store, then into one that holds bars
        before = dump(db)
        with pytest.raises(DataError, match="not these"):
            write(db, bars(0, 30, version=1), assess=refuse)
        assert dump(db) == before
        write(db, bars(5, 10))


def test_the_assessment_sees_the_series_as_it_will_stand_and_is_kept(db):
    def told(rows, blocks):
        assert rows == 15
        return {"rows": sum(map(len, blocks)), "nested": [{"last": None}]}

    write(db, bars(0, 10))
    write(db, bars(5, 10, version=1), assess=told)
    assert get_series(db, "BTC-USD", "1m")["quality"] == {"rows": 15, "nested": [{"last": None}]}


SPOILT = [
    (lambda f: f[:0], "there are no bars to store"),
    (lambda f: f.drop(columns="close"), "lack close"),
    (lambda f: f.reset_index(drop=True), "need a DatetimeIndex, not RangeIndex"),
    (lambda f: pd.concat([f, f[["close"]]], axis=1), "two columns of one name"),
]


def test_what_is_no_frame_of_bars_is_refused_and_changes_nothing(db):
    write(db, bars(0, 5))
    before = dump(db)
    for spoil, says in SPOILT:
        with pytest.raises(DataError, match=says):
            write(db, spoil(bars(0, 5, version=1)))
    assert dump(db) == before


def cell(row: int, column: str, value: float):
    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.copy()
        frame.iloc[row, frame.columns.get_loc(column)] = value
        return frame

    return spoil


BAD_ROWS = {
    "not a number": (cell(2, "close", np.nan), 2, "close", "close is not a finite number"),
    "infinite": (cell(4, "volume", np.inf), 4, "volume", "volume is not a finite number"),
    "negative price": (cell(0, "low", -1.0), 0, "low", "low is not above zero"),
    "zero price": (cell(3, "open", 0.0), 3, "open", "open is not above zero"),
    "negative volume": (cell(1, "volume", -1.0), 1, "volume", "volume is negative"),
    "high below low": (cell(1, "high", 1.0), 1, "high", "high is below low"),
    "high below close": (cell(1, "close", 104.5), 1, "high", "high is below open or close"),
    "low above open": (cell(1, "open", 98.5), 1, "low", "low is above open or close"),
    "naive time": (lambda f: f.set_axis(f.index.tz_localize(None)), 0, "timestamp", "naive time 2024-01-01 00:00:00"),
    "backwards": (lambda f: f.iloc[[0, 2, 1, 3]], 2, "timestamp", "time is not after the row before"),
    "twice": (lambda f: f.iloc[[0, 1, 1]], 2, "timestamp", "time is not after the row before"),
    "nanosecond": (
        lambda f: f.set_axis(f.index.as_unit("ns") + pd.Timedelta(1, "ns")), 0, "timestamp", "not in whole milliseconds",
    ),
    "no time": (lambda f: f.set_axis(f.index.where(np.arange(5) != 3)), 3, "timestamp", "time is missing"),
    "text": (lambda f: f.astype({"close": object}).pipe(cell(2, "close", "abc")), 2, "close", "close is not a finite number"),
    "complex": (lambda f: f.assign(open=f["open"] + 1j), 0, "open", "open is not a finite number"),
    "NA": (lambda f: f.astype({"low": "Float64"}).pipe(cell(1, "low", pd.NA)), 1, "low", "low is not a finite number"),
    "year 12000": (
        lambda f: f.set_axis(f.index.as_unit("s") + pd.Timedelta(10_000 * 365, "D").as_unit("s")), 0, "timestamp",
        "time is after the year 9999",
    ),
    "half a trade": (lambda f: f.assign(trade_count=[1, 2, 3, 1.5, 5]), 3, "trade_count", "not a whole number"),
    "too many trades": (lambda f: f.assign(trade_count=1e19), 0, "trade_count", "not a whole number"),
    "infinite vwap": (lambda f: f.assign(vwap=[1, 2, np.inf, 4, 5]), 2, "vwap", "vwap is not a finite number from 0 on"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_batch_with_a_bad_row_is_refused_naming_row_and_reason(db, case):
    spoil, row, column, reason = BAD_ROWS[case]
    write(db, bars(0, 5), "ETH-USD")
    before = dump(db)
    for symbol in ("BTC-USD", "ETH-USD"):
        with pytest.raises(BatchError) as caught:
            write(db, spoil(bars(0, 5, version=1)), symbol)
        first = caught.value.problems[0]
        assert (first.row, first.column) == (row, column) and reason in str(first)
        assert f"row {row}: " in str(caught.value) and f"bars of {symbol} 1m: " in str(caught.value)
    assert dump(db) == before


def test_all_bad_rows_are_counted_and_a_thousand_are_named(db):
    frame = bars(0, 5000).assign(close=np.nan)
    with pytest.raises(BatchError, match="1000 of 5000 rows refused, none written .*and 997 more") as caught:
        write(db, frame)
    assert len(caught.value.problems) == 1000


# Years, parts, kinds


def test_the_hash_of_a_series_is_kept_year_by_year(db):
    new_year = bars_frame(1_735_689_600_000 + MINUTE * np.arange(-5, 5), np.tile([10.0, 12.0, 9.0, 11.0, 1.0], (10, 1)))
    write(db, new_year)
    before = get_series(db, "BTC-USD", "1m")
    assert {y: v["rows"] for y, v in before["years"].items()} == {"2024": 5, "2025": 5}
    write(db, new_year.iloc[7:8].assign(close=11.5))
    after = get_series(db, "BTC-USD", "1m")
    assert after["years"]["2024"] == before["years"]["2024"] and after["years"]["2025"] != before["years"]["2025"]
    stored = read_bars(db, "BTC-USD", "1m")
    assert after["data_hash"] == data_hash(stored) == hash_of_years(after["years"]) != before["data_hash"]
    assert after["years"] == year_hashes([stored.iloc[:3], stored.iloc[3:6], stored.iloc[6:]])


def test_a_series_whose_import_was_cut_off_is_not_taken_for_a_whole_one(db):
    whole = bars(0, 30)
    write(db, whole.iloc[:10], source="long.csv", more=True)
    for use in (lambda: read_bars(db, "BTC-USD", "1m"), lambda: get_series(db, "BTC-USD", "1m")):
        with pytest.raises(
            DataError,
            match="the import of long.csv into BTC-USD 1m is still going on, or was cut off after 10 bars: run it",
        ):
            use()
    with pytest.raises(DataError, match="the import of long.csv .* is not finished: finish it before other.csv"):
        write(db, whole, source="other.csv")
    for first, more in ((0, True), (10, True), (20, False)):
        written = write(db, whole.iloc[first : first + 10], source="long.csv", more=more)
    assert same(read_bars(db, "BTC-USD", "1m"), whole) and written.data_hash == data_hash(whole)


def test_bars_of_a_symbol_that_is_not_named_are_refused_whoever_writes_them(db):
    write(db, bars(0, 3))
    row = dict(
        symbol="BTC-USD", interval="1h", timestamp=0, open=1.0, high=1.0, low=1.0, close=1.0, volume=0.0, available_ms=1
    )
    t, symbols = BarRow.__table__, SymbolRow.__table__
    with db.write() as c:
        c.execute(sa.insert(t), row)
    of_btc = t.c.symbol == "BTC-USD"
    for statement in (
        sa.insert(t).values(row | dict(symbol="ETH-USD")),
        sa.update(t).where(of_btc, t.c.interval == "1h").values(symbol="ETH-USD"),
        sa.delete(symbols).where(symbols.c.symbol == "BTC-USD"),
        sa.update(symbols).where(symbols.c.symbol == "BTC-USD").values(symbol="ETH-USD"),
    ):
        before = dump(db)
        with pytest.raises(StoreError, match="(?i)foreign key"), db.write() as c:
            c.execute(statement)
        assert dump(db) == before
    if not db.is_sqlite:
        with pytest.raises(StoreError, match="(?i)foreign key"), db.write() as c:
            c.exec_driver_sql("TRUNCATE symbols CASCADE")
        with db.write() as c:
            c.execute(sa.insert(symbols), dict(symbol="XRP-USD", base="XRP", quote="USD"))
            c.execute(sa.insert(t), row | dict(symbol="XRP-USD"))
        foreign = sa.create_engine(db.url, isolation_level="REPEATABLE READ")
        with pytest.raises(sa.exc.IntegrityError, match="read committed only"), foreign.begin() as c:
            c.execute(sa.delete(symbols).where(symbols.c.symbol == "XRP-USD"))
        foreign.dispose()
        with db.write() as c:
            c.execute(sa.delete(t).where(t.c.symbol == "XRP-USD"))
            c.execute(sa.delete(symbols).where(symbols.c.symbol == "XRP-USD"))
        with db.write() as c:
            c.exec_driver_sql("SET LOCAL search_path = pg_catalog")
            c.exec_driver_sql("UPDATE public.market_data SET volume = 1 WHERE symbol = 'BTC-USD' AND interval = '1h'")
    drop_series(db, "BTC-USD", "1m")
    with db.write() as c:
        c.execute(sa.delete(t).where(of_btc))
        c.execute(sa.delete(symbols).where(symbols.c.symbol == "BTC-USD"))
    assert dump(db)["symbols"] == []


@pytest.fixture
def clock(monkeypatch) -> list[int]:
    "The time that the store sees, in ms; a test sets it."
    at = [START + 10**9]

    class Clock:
        now = staticmethod(lambda zone: datetime.fromtimestamp(at[0] / 1000, UTC))

    monkeypatch.setattr(writer, "datetime", Clock)
    return at


def known_at(db, moment: int, **span) -> pd.DataFrame:
    return read_bars(db, "BTC-USD", "1m", as_of_ms=moment, **span)


def test_bars_as_of_a_moment_are_those_that_were_known_then(db, clock):
    first = bars(0, 10)
    write(db, first)
    closed = START + 5 * MINUTE
    assert same(known_at(db, closed), first.iloc[:5]) and same(known_at(db, closed - 1), first.iloc[:4])
    with pytest.raises(DataError, match="no bars of BTC-USD 1m in the asked span that were known at 2024-01-01 00:00:"):
        known_at(db, START)
    clock[0] += 1000
    later = first.assign(close=first["close"] + 0.25)
    assert counts(write(db, later.iloc[3:6])) == (0, 3, 0) and counts(write(db, later.iloc[3:6])) == (0, 0, 3)
    both = pd.concat([first.iloc[:3], later.iloc[3:6], first.iloc[6:]])
    assert same(known_at(db, clock[0] - 1), first) and same(known_at(db, clock[0]), both)
    assert same(read_bars(db, "BTC-USD", "1m"), both) and known_at(db, clock[0]).attrs["as_of_ms"] == clock[0]
    span = dict(start_ms=START + 2 * MINUTE, end_ms=START + 5 * MINUTE)
    assert same(known_at(db, clock[0] - 1, **span), first.iloc[2:5])


def test_a_bar_that_was_absent_is_known_from_when_it_came(db, clock):
    whole = bars(0, 10)
    holed = whole.drop(whole.index[4])
    write(db, holed)
    clock[0] += 1000
    write(db, whole.iloc[:6])
    write(db, bars(10, 5))
    assert same(known_at(db, clock[0] - 1), pd.concat([holed, bars(10, 5)]))
    assert same(known_at(db, clock[0]), bars(0, 15))


changes = st.lists(st.dictionaries(st.integers(1, 6), st.integers(0, 3), min_size=1), min_size=1, max_size=5)


@settings(per_store, max_examples=20)
@given(steps=changes)
def test_every_state_that_a_series_was_ever_in_can_be_read_again(db, steps):
    at = [START + 10**9]
    if list_series(db):
        drop_series(db, "BTC-USD", "1m")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            writer, "datetime", type("Clock", (), dict(now=lambda _: datetime.fromtimestamp(at[0] / 1000, UTC)))
        )
        states, held = [], {0: 0, 7: 0}
        for step in [{}, *steps]:
            held |= step
            frame = pd.concat([bars(minute, 1, held[minute]) for minute in sorted(held)])
            write(db, frame)
            states.append((at[0], frame))
            at[0] += 1
    for moment, frame in states:
        assert same(known_at(db, moment), frame)


parts = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 12), st.integers(0, 2), st.booleans(), st.booleans()),
    min_size=1,
    max_size=7,
)


@settings(per_store, max_examples=25)
@given(parts=parts)
def test_hashes_hold_however_parts_follow_overlap_and_are_taken_up_by_another_writer(db, parts):
    if list_series(db):
        drop_series(db, "BTC-USD", "1m")
    shift, held, one = 1_735_689_600_000 - START - 15 * MINUTE, {}, BarWriter(db, "BTC-USD", "1m", "long.csv")
    for first, length, version, same_writer, more in [*parts, (0, 1, 0, True, False)]:
        frame = bars(first, length, version)
        frame.index = (frame.index + pd.Timedelta(shift, "ms")).as_unit("ms")  # over the turn of a year
        held |= {stamp: frame.loc[[stamp]] for stamp in frame.index}
        (one if same_writer else BarWriter(db, "BTC-USD", "1m", "long.csv")).write(frame, more)
        if not more:
            whole = pd.concat([held[stamp] for stamp in sorted(held)])
            series = get_series(db, "BTC-USD", "1m")
            assert same(read_bars(db, "BTC-USD", "1m"), whole) and series["years"] == year_hashes([whole])
            assert series["rows"] == len(whole) and series["data_hash"] == data_hash(whole)


def test_bars_that_come_one_by_one_cost_no_look_back(db):
    write(db, bars(0, 50))
    one, read = BarWriter(db, "BTC-USD", "1m", "feed"), []
    reader = writer.stored_bars
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "stored_bars", lambda *a: (read.extend(got := list(reader(*a))), iter(got))[1])
        for minute in range(50, 61):
            one.write(bars(minute, 1))
    assert sum(map(len, read)) == 51  # once, at the first
    assert get_series(db, "BTC-USD", "1m")["data_hash"] == data_hash(bars(0, 61))


def test_a_series_can_be_dropped_whole_and_alone(db):
    write(db, bars(0, 10))
    write(db, bars(0, 20), "ETH-USD")
    assert drop_series(db, "btc/usd", "1m") == 10
    assert [s["symbol"] for s in list_series(db)] == ["ETH-USD"] and len(read_bars(db, "ETH-USD", "1m")) == 20
    with pytest.raises(DataError, match="no bars of BTC-USD 1m"):
        drop_series(db, "BTC-USD", "1m")


def test_bars_come_as_pandas_polars_or_arrow(db):
    frame = bars(0, 20).assign(vwap=np.where(np.arange(20) % 2, np.nan, 1.5), trade_count=np.arange(20.0))
    frame.iloc[3, frame.columns.get_loc("trade_count")] = np.nan
    write(db, frame)
    extra = ["vwap", "trade_count"]
    pd.testing.assert_frame_equal(read_bars(db, "BTC-USD", "1m", extra=extra), frame, check_freq=False)
    arrow = read_bars(db, "BTC-USD", "1m", extra=extra, kind="arrow")
    polars = read_bars(db, "BTC-USD", "1m", extra=extra, kind="polars")
    assert arrow.column_names == polars.columns == ["timestamp", *OHLCV, *extra]
    assert arrow["vwap"].null_count == polars["vwap"].null_count() == 10
    assert polars["trade_count"].to_list() == [None if i == 3 else i for i in range(20)]
    assert (
        arrow["close"].to_pylist() == frame["close"].tolist()
        and str(arrow.schema.field("timestamp").type) == "timestamp[ms, tz=UTC]"
    )
    assert read_bars(db, "BTC-USD", "1m", kind="arrow").column_names == ["timestamp", *OHLCV]
    with pytest.raises(ParameterError, match="pandas, polars or arrow"):
        read_bars(db, "BTC-USD", "1m", kind="parquet")
    with pytest.raises(ParameterError, match="no column spread"):
        read_bars(db, "BTC-USD", "1m", extra=["spread"])


def test_columns_that_only_some_imports_bring_keep_what_they_were_given(db):
    write(db, bars(0, 4))
    assert counts(write(db, bars(2, 4).assign(vwap=101.0))) == (2, 2, 0)
    assert counts(write(db, bars(4, 4).assign(trade_count=7))) == (2, 2, 0)
    assert counts(write(db, bars(0, 8))) == (0, 0, 8)
    stored = read_bars(db, "BTC-USD", "1m", extra=["vwap", "trade_count"])
    assert stored["vwap"].fillna(0).tolist() == [0, 0, 101, 101, 101, 101, 0, 0]
    assert stored["trade_count"].fillna(0).tolist() == [0, 0, 0, 0, 7, 7, 7, 7]


def test_decimal_prices_are_numbers(db):
    write(db, bars(0, 4))
    assert counts(write(db, bars(0, 4).map(lambda x: Decimal(str(x))))) == (0, 0, 4)


def test_blocks_of_bars_make_up_the_series(db):
    write(db, bars(0, 25))
    blocks = list(iter_bars(db, "btc/usd", "1m", size=10))
    assert [len(b) for b in blocks] == [10, 10, 5] and same(pd.concat(blocks), bars(0, 25))
    with pytest.raises(ParameterError, match="at least one row, not 0"):
        list(iter_bars(db, "BTC-USD", "1m", size=0))


def test_a_symbol_that_is_none_is_refused(db):
    with pytest.raises(ParameterError, match="'BTCUSD' is not BASE-QUOTE"):
        write(db, bars(0, 5), "BTCUSD")
    assert dump(db)["symbols"] == []


def test_other_zones_and_units_are_stored_as_utc_milliseconds(db):
    frame = bars(0, 5)
    write(db, frame.set_axis(frame.index.tz_convert("Europe/Berlin").as_unit("ns")))
    assert counts(write(db, frame)) == (0, 0, 5)
    stored = read_bars(db, "BTC-USD", "1m")
    assert (
        stored.equals(frame) and str(stored.index.dtype) == "datetime64[ms, UTC]" and stored.index.name == "timestamp"
    )


def test_fifty_thousand_bars_go_in_and_out_in_seconds(db):
    frame = bars(0, 50_000)
    began = time.monotonic()
    write(db, frame)
    written = write(db, bars(25_000, 50_000, version=1))
    stored = read_bars(db, "BTC-USD", "1m")
    assert time.monotonic() - began < 30
    assert counts(written) == (25_000, 25_000, 0) and same(stored, pd.concat([frame[:25_000], bars(25_000, 50_000, 1)]))


def test_a_vwap_does_not_outlive_the_prices_that_it_belonged_to(db):
    write(db, bars(0, 4).assign(vwap=101.0, trade_count=7))
    write(db, bars(1, 2, version=1))
    stored = read_bars(db, "BTC-USD", "1m", extra=["vwap", "trade_count"])
    assert stored["vwap"].fillna(0).tolist() == [101, 0, 0, 101] and stored["trade_count"].fillna(0).tolist() == [
        7,
        0,
        0,
        7,
    ]


def test_a_bar_that_is_not_over_may_be_restated_any_number_of_times(db, clock):
    clock[0] = START + 30_000
    for version in range(4):
        clock[0] += 5
        write(db, bars(0, 1, version))
    assert read_bars(db, "BTC-USD", "1m")["close"].iloc[0] == bars(0, 1, 3)["close"].iloc[0]
    assert dump(db)["bar_versions"] == []  # nobody could have known them


def test_an_import_in_parts_is_known_by_the_same_rule_as_in_one(db, clock):
    for symbol, size in (("BTC-USD", 40), ("ETH-USD", 7)):
        write(db, bars(30, 5), symbol)
        clock[0] += 1000
        whole, one = bars(0, 40), BarWriter(db, symbol, "1m", "long.csv")
        for first in range(0, 40, size):
            if first == 21:  # taken up by another process
                one = BarWriter(db, symbol, "1m", "long.csv")
            one.write(whole.iloc[first : first + size], first + size < 40)
        assert len(read_bars(db, symbol, "1m", as_of_ms=clock[0] - 1)) == 40


def test_another_file_of_the_same_name_does_not_end_an_import(db):
    BarWriter(db, "BTC-USD", "1m", "data.csv", content="a1" * 32).write(bars(0, 5), more=True)
    with pytest.raises(DataError, match=r"the import of data.csv \[a1a1a1a1a1a1\] .* finish it before data.csv \[b2"):
        BarWriter(db, "BTC-USD", "1m", "data.csv", content="b2" * 32).write(bars(0, 9))


def test_bars_say_as_of_when_they_are_known(db, clock):
    write(db, bars(0, 5))
    first = read_bars(db, "BTC-USD", "1m").attrs["as_of_ms"]
    clock[0] += 1000
    write(db, bars(0, 5, version=1))
    assert first == clock[0] - 1000 and read_bars(db, "BTC-USD", "1m").attrs["as_of_ms"] == clock[0]
    assert same(known_at(db, first), bars(0, 5)) and known_at(db, 4 * 10**12).attrs["as_of_ms"] == clock[0]
    write(db, bars(0, 5, version=2))  # within the same millisecond
    assert same(known_at(db, clock[0]), bars(0, 5, version=1))
