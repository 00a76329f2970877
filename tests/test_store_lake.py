"The lake gives the bars of the store, whatever was restated, killed, doubled, damaged or compacted in between."

import os
import random
import shutil
import signal
import threading
import tracemalloc
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from children import ended, in_child
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rrr.core.errors import DataError, ParameterError, RRRError, StoreError
from rrr.core.market import OHLCV, interval_ms, parse_time
from rrr.core.settings import get_settings
from rrr.store import bars as store_bars
from rrr.store import lake, parts
from rrr.store.bars import bars_frame, data_hash, epoch_ms, get_series, read_bars
from rrr.store.checks import BatchError
from rrr.store.db import Database
from rrr.store.lake import LakeReport, append_lake, bars, compact_lake, drop_lake, export_lake, read_lake
from rrr.store.parts import Part, year_span
from rrr.store.schema import SeriesRow
from rrr.store.writer import drop_series, write_bars

SIX_HOURS = interval_ms("6h")
per_store = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25, print_blob=True
)
fresh = count()


def some(ms, version: float = 0) -> pd.DataFrame:
    "Bars whose values tell their place and version, some without vwap or trade count."
    ms = np.asarray(ms, dtype=np.int64)
    at = ms % 86_400_000 / 60_000
    frame = bars_frame(ms, np.column_stack([at + k + version / 8 for k in (100.1, 103.3, 97.7, 101.9, 0.3)]))
    frame["vwap"] = np.where(ms % 7 == 0, np.nan, at + 100)
    frame["trade_count"] = np.where(ms % 11 == 0, np.nan, np.floor(at))
    return frame


def days(first: str, n: int, version: float = 0) -> pd.DataFrame:
    return some(parse_time(first) + SIX_HOURS * np.arange(4 * n), version)


def write(db: Database, frame: pd.DataFrame, symbol: str = "BTC-USD", source: str = "file.csv", **more):
    return write_bars(db, symbol, "6h", frame, source, **more)


def tree(root: Path) -> dict[str, bytes]:
    "What lies in a lake, by path."
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.parquet"))


def outcome(read: Callable):
    "What a reader gives: a frame, or the words of its refusal."
    try:
        return read()
    except DataError as e:
        return str(e)


def agree(one, other) -> None:
    if isinstance(one, str) or isinstance(other, str):
        assert one == other
    else:
        pd.testing.assert_frame_equal(one, other)
        assert one.attrs | dict(as_of_ms=0) == other.attrs | dict(as_of_ms=0)


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    "The folder of a lake that has small row groups."
    for module in (lake, parts):
        monkeypatch.setattr(module, "ROWS", 50)
    return tmp_path / "lake"


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    "Where bars were read from, in order."
    seen: list[str] = []

    def told(module, name: str, where: str):
        call = getattr(module, name)

        def noted(*args, **kwargs):
            seen.append(where)
            return call(*args, **kwargs)

        monkeypatch.setattr(module, name, noted)

    told(lake, "select_blocks", "store")
    told(lake, "read_bars", "store")
    told(Part, "read", "lake")
    return seen


# ---- the same bars from lake and store ----

YEARS = st.sampled_from([1969, 1970, 1999, 2019, 2020, 2023, 2024])  # leap years, and both sides of 1970
MOMENTS = st.builds(lambda year, at: year_span(year)[0] + SIX_HOURS * at, YEARS, st.integers(-60, 1470))
SPANS = st.lists(st.tuples(st.none() | MOMENTS, st.none() | MOMENTS, st.integers(-1, 1)), min_size=3, max_size=6)


@per_store
@given(runs=st.lists(st.tuples(MOMENTS, st.integers(1, 150)), min_size=1, max_size=5), spans=SPANS, data=st.data())
def test_lake_and_store_give_the_same_frame_for_any_span(db, root, runs, spans, data):
    symbol = f"A{next(fresh)}-USD"
    stamps = sorted({first + SIX_HOURS * i for first, n in runs for i in range(n)})
    write(db, some(stamps), symbol)
    exported = export_lake(db, root, symbol)
    assert exported.rows == len(stamps) and exported.written == len(get_series(db, symbol, "6h")["years"])
    if data.draw(st.booleans(), label="restate"):
        restated = data.draw(st.lists(st.sampled_from(stamps), min_size=1, max_size=3, unique=True))
        write(db, some(sorted(restated), version=1), symbol)
    extra = data.draw(st.sampled_from([[], ["vwap"], ["trade_count", "vwap"]]))
    for start, end, off in spans:
        start, end = start and start + off, end and end + off
        stored = outcome(lambda s=start, e=end: read_bars(db, symbol, "6h", s, e, extra))
        agree(outcome(lambda s=start, e=end: bars(symbol, "6h", s, e, extra, db=db, lake=root)), stored)
    export_lake(db, root, symbol)
    for start, end, _ in spans:
        stored = outcome(lambda s=start, e=end: read_bars(db, symbol, "6h", s, e, extra))
        agree(outcome(lambda s=start, e=end: bars(symbol, "6h", s, e, extra, db=db, lake=root)), stored)
        alone = outcome(lambda s=start, e=end: read_lake(root, symbol, "6h", s, e, extra))
        if isinstance(stored, str):
            assert f"no bars of {symbol} 6h in the asked span in the lake" in alone
        else:
            agree(alone, stored)


def test_spans_that_end_at_the_edges_of_row_groups_and_years_are_exact(root):
    frame = days("2023-12-02", 60)
    append_lake(root, "BTC-USD", "6h", frame)
    assert [Part(p).counts for p in files(root)] == [[50, 50, 20], [50, 50, 20]]
    at = epoch_ms(frame.index)
    edges = [i + k for i in (0, 50, 100, 120, 170, 220, 239) for k in (-1, 0, 1) if 0 <= i + k < 240]
    moments = [None, *(int(at[i]) + k for i in edges for k in (-1, 0, 1))]
    for start in moments:
        for end in moments:
            inside = (at >= (at[0] if start is None else start)) & (at < (at[-1] + 1 if end is None else end))
            if inside.any():
                assert read_lake(root, "BTC-USD", "6h", start, end).equals(frame[OHLCV][inside])


def test_polars_and_arrow_are_the_same_too(db, root):
    write(db, days("2023-12-20", 30))
    export_lake(db, root)
    write(db, days("2024-01-05", 1, version=1))
    for extra in ([], ["vwap", "trade_count"]):
        for kind in ("polars", "arrow"):
            ours = bars("BTC-USD", "6h", extra=extra, kind=kind, db=db, lake=root)
            assert ours.equals(read_bars(db, "BTC-USD", "6h", extra=extra, kind=kind))
            assert type(ours).__module__.startswith(kind.replace("arrow", "pyarrow"))
    with pytest.raises(ParameterError, match="pandas, polars or arrow"):
        bars("BTC-USD", "6h", kind="csv", db=db, lake=root)
    for call in (
        lambda **k: bars("BTC-USD", "6h", db=db, lake=root, **k),
        lambda **k: read_lake(root, "BTC-USD", "6h", **k),
    ):
        with pytest.raises(ParameterError, match="no column spread"):
            call(extra=["spread"])


def test_the_files_are_named_by_the_hashes_that_the_store_keeps(db, root):
    write(db, days("2022-12-25", 400))
    export_lake(db, root)
    series = get_series(db, "BTC-USD", "6h")
    assert list(series["years"]) == ["2022", "2023", "2024"]
    expected = [f"symbol=BTC-USD/interval=6h/year={y}/part-{v['hash']}.parquet" for y, v in series["years"].items()]
    assert [p.relative_to(root).as_posix() for p in files(root)] == expected
    assert data_hash(read_lake(root, "BTC-USD", "6h")) == series["data_hash"]
    assert [Part(p).rows for p in files(root)] == [v["rows"] for v in series["years"].values()]


def test_attributes_say_what_bars_they_are_and_do_not_stand_in_the_way_of_comparison(db, root):
    write(db, days("2024-01-01", 3), source="mock", synthetic=True)
    export_lake(db, root)
    for frame in (bars("btc/usd", "6h", db=db, lake=root), read_lake(root, "BTC_USD", "6h")):
        assert frame.attrs | dict(as_of_ms=0) == dict(
            symbol="BTC-USD", interval="6h", synthetic=True, blocked=(), as_of_ms=0
        )
        pd.testing.assert_frame_equal(frame, days("2024-01-01", 3)[OHLCV], check_freq=False)
        assert frame.equals(days("2024-01-01", 3)[OHLCV])
    frame.iloc[0, 0] = 5.0  # may be written to
    assert frame.iloc[0, 0] == 5.0


# ---- which of the two ----


def test_a_restated_bar_is_read_from_the_store_until_the_next_export(db, root, asked):
    write(db, days("2023-12-20", 30))
    export_lake(db, root)
    asked.clear()
    first = bars("BTC-USD", "6h", db=db, lake=root)
    assert set(asked) == {"lake"}
    asked.clear()
    write(db, days("2024-01-05", 1, version=1))
    mixed = bars("BTC-USD", "6h", db=db, lake=root)
    assert set(asked) == {"lake", "store"} and not mixed.equals(first)
    asked.clear()
    assert bars("BTC-USD", "6h", "2024-01-01", db=db, lake=root).equals(mixed["2024":]) and asked == ["store"]
    asked.clear()
    assert bars("BTC-USD", "6h", end="2024-01-01", db=db, lake=root).equals(mixed[:"2023"]) and set(asked) == {"lake"}
    report = export_lake(db, root)
    assert (report.written, report.kept, report.removed) == (1, 1, 1)
    asked.clear()
    assert bars("BTC-USD", "6h", db=db, lake=root).equals(mixed) and set(asked) == {"lake"}


def test_without_a_lake_all_comes_from_the_store(db, root):
    write(db, days("2023-12-20", 30))
    agree(bars("BTC-USD", "6h", db=db, lake=root), read_bars(db, "BTC-USD", "6h"))
    assert not root.exists()


def test_a_vwap_that_was_restated_alone_is_never_read_from_an_old_part(db, root, asked):
    frame = days("2023-12-20", 30)
    write(db, frame)
    export_lake(db, root)
    hashes = [p.name for p in files(root)]
    asked.clear()
    agree(bars("BTC-USD", "6h", extra=["vwap"], db=db, lake=root), read_bars(db, "BTC-USD", "6h", extra=["vwap"]))
    assert "lake" in asked
    frame.loc["2024-01-03", "vwap"] = 55.5
    write(db, frame["2024":])
    assert [y["hash"] in p for y, p in zip(get_series(db, "BTC-USD", "6h")["years"].values(), hashes, strict=True)]
    stored = read_bars(db, "BTC-USD", "6h", extra=["vwap", "trade_count"])
    assert (stored.loc["2024-01-03", "vwap"] == 55.5).all()
    agree(bars("BTC-USD", "6h", extra=["vwap", "trade_count"], db=db, lake=root), stored)
    asked.clear()
    assert bars("BTC-USD", "6h", db=db, lake=root).equals(stored[OHLCV]) and set(asked) == {"lake"}
    report = export_lake(db, root)
    assert (report.written, report.kept) == (1, 1) and [p.name for p in files(root)] == hashes
    assert read_lake(root, "BTC-USD", "6h", extra=["vwap", "trade_count"]).equals(stored)
    assert export_lake(db, root).written == 0


def test_an_import_that_was_cut_off_is_refused_and_not_exported(db, root):
    write(db, days("2024-01-01", 5))
    export_lake(db, root)
    before = tree(root)
    write(db, days("2025-01-06", 5), more=True)
    report = export_lake(db, root)
    assert report == LakeReport(skipped=("BTC-USD 6h: the import of file.csv was cut off, run it again",))
    assert tree(root) == before
    agree(outcome(lambda: bars("BTC-USD", "6h", db=db, lake=root)), outcome(lambda: read_bars(db, "BTC-USD", "6h")))


def test_a_series_of_an_older_version_is_skipped_and_read_from_the_store(db, root):
    write(db, days("2024-01-01", 5))
    with db.write() as c:
        c.execute(sa.update(SeriesRow.__table__).values(years={}))
    assert export_lake(db, root).skipped == ("BTC-USD 6h: stored by an older version, import file.csv again",)
    agree(bars("BTC-USD", "6h", db=db, lake=root), read_bars(db, "BTC-USD", "6h"))
    write(db, days("2024-01-01", 5))
    assert export_lake(db, root).written == 1


def test_a_series_that_the_store_does_not_hold_is_read_from_the_lake(db, root, tmp_path):
    other = Database(f"sqlite:///{tmp_path}/colleague.db")
    write(other, days("2023-12-20", 30))
    export_lake(other, root)
    agree(
        bars("BTC-USD", "6h", "2024-01-01", db=db, lake=root), bars("BTC-USD", "6h", "2024-01-01", db=other, lake=root)
    )
    before = tree(root)
    write(db, days("2024-01-01", 3), "ETH-USD")
    export_lake(db, root)
    assert before.items() <= tree(root).items()  # stays a colleague's
    drop_series(db, "ETH-USD", "6h")
    assert drop_lake(root, "eth/usd", "6h") == 1 == drop_lake(root, "BTC-USD", "6h") - 1
    assert drop_lake(root, "BTC-USD", "6h") == 0 == drop_lake(tmp_path / "none", "BTC-USD", "6h")
    for read in (lambda: bars("ETH-USD", "6h", db=db, lake=root), lambda: read_bars(db, "ETH-USD", "6h")):
        assert "no bars of ETH-USD 6h in the store. It holds nothing yet" in outcome(read)
    other.close()


def test_a_lake_without_the_asked_bars_says_what_it_holds(db, root):
    assert "in the lake" in outcome(lambda: read_lake(root, "BTC-USD", "6h")) and not root.exists()
    for symbol in ("BTC-USD", "ETH-USD"):
        write(db, days("2023-12-30", 4), symbol)
    export_lake(db, root)
    said = outcome(lambda: read_lake(root, "SOL-USD", "6h"))
    assert said == f"no bars of SOL-USD 6h in the lake {root}. It holds BTC-USD 6h, ETH-USD 6h."
    assert "no bars of BTC-USD 6h in the asked span" in outcome(lambda: read_lake(root, "BTC-USD", "6h", 0, 5))


def test_start_and_end_are_taken_in_any_spelling(db, root):
    write(db, days("2023-12-20", 30))
    export_lake(db, root)
    ms = parse_time("2024-01-02")
    naive = datetime(2024, 1, 2)
    tokyo = naive.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=9)))
    texts = ["2024-01-02", "2024-01-02T00:00", "2024-01-02T01:00+01:00"]
    spellings = [*texts, date(2024, 1, 2), naive, tokyo, pd.Timestamp(naive), pd.Timestamp(tokyo), ms, np.int64(ms)]
    expected = read_bars(db, "BTC-USD", "6h", ms, ms + 86_400_000)
    for start in spellings:
        agree(bars("BTC_USD", "6h", start, "2024-01-03", db=db, lake=root), expected)
    for wrong in ("yesterday", "", 1.5, pd.NaT):
        with pytest.raises(ParameterError, match="not an ISO date or time"):
            bars("BTC-USD", "6h", wrong, db=db, lake=root)


def test_the_settings_name_store_and_lake(tmp_path, monkeypatch):
    monkeypatch.setenv("RRR_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    get_settings.cache_clear()
    try:
        db = lake.get_db()
        write(db, days("2024-01-01", 5))
        assert export_lake(db, tmp_path / "data" / "lake").written == 1
        agree(bars("BTC-USD", "6h"), read_bars(db, "BTC-USD", "6h"))
        files(tmp_path)[0].write_bytes(b"x" * 100)
        with pytest.raises(DataError, match="is damaged"):
            bars("BTC-USD", "6h")
        db.close()
    finally:
        get_settings.cache_clear()


# ---- export ----


def test_an_export_tells_each_part_and_does_nothing_the_second_time(db, root):
    write(db, days("2022-12-30", 370))
    write(db, days("2024-01-01", 2), "ETH-USD")
    told = []
    report = export_lake(db, root, on_part=lambda *part: told.append(part))
    names = ["BTC-USD 6h 2022", "BTC-USD 6h 2023", "BTC-USD 6h 2024", "ETH-USD 6h 2024"]
    assert told == [(i, 4, name) for i, name in enumerate(names, start=1)]
    assert (report.written, report.rows, report.kept, report.removed) == (4, 1488, 0, 0)
    assert report.size == sum(len(v) for v in tree(root).values())
    stamps = {p: p.stat().st_mtime_ns for p in files(root)}
    assert export_lake(db, root) == LakeReport(kept=4) and {p: p.stat().st_mtime_ns for p in files(root)} == stamps


def test_an_export_of_one_series_leaves_the_others(db, root):
    for symbol in ("BTC-USD", "ETH-USD"):
        write(db, days("2024-01-01", 2), symbol)
    write_bars(db, "ETH-USD", "1d", some(parse_time("2024-01-01") + 86_400_000 * np.arange(5)), "d.csv")
    assert export_lake(db, root, "eth/usd", "6h").written == 1
    assert export_lake(db, root, "ETH-USD").written == 1
    assert export_lake(db, root, interval="6h").written == 1
    with pytest.raises(DataError, match="no bars of ETH-USD 1m in the store. It holds BTC-USD 6h, ETH-USD 1d, ETH-"):
        export_lake(db, root, "ETH-USD", "1m")
    with pytest.raises(DataError, match="no bars of SOL-USD in the store"):
        export_lake(db, root, "SOL-USD")
    with pytest.raises(ParameterError, match="is not BASE-QUOTE"):
        export_lake(db, root, "../../etc")


def test_an_empty_store_exports_nothing(db, root):
    assert export_lake(db, root) == LakeReport() == compact_lake(root) and not root.exists()


def test_years_that_the_store_holds_no_more_leave_the_lake(db, root):
    write(db, days("2022-12-20", 400), source="mock 1", synthetic=True)
    export_lake(db, root)
    write(db, days("2024-01-01", 3, version=1))  # real bars take the place of made-up ones
    report = export_lake(db, root)
    assert (report.written, report.removed) == (1, 3)
    assert [p.parent.name for p in files(root)] == ["year=2024"]
    assert not (root / "symbol=BTC-USD" / "interval=6h" / "year=2022").exists()
    assert read_lake(root, "BTC-USD", "6h").equals(days("2024-01-01", 3, version=1)[OHLCV])
    assert read_lake(root, "BTC-USD", "6h").attrs["synthetic"] is False


def test_bars_that_are_not_those_that_were_hashed_are_not_exported(db, root):
    write(db, days("2024-01-01", 3))
    with db.write() as c:
        c.exec_driver_sql(f"UPDATE market_data SET close = close + 0.5 WHERE timestamp = {parse_time('2024-01-02')}")
    with pytest.raises(StoreError, match="bars of BTC-USD 6h 2024 are not those that the store has counted and hashed"):
        export_lake(db, root)
    assert list(tree(root)) == [".lock"]


def test_a_folder_that_cannot_be_written_is_named(db, root):
    write(db, days("2024-01-01", 3))
    root.mkdir()
    root.chmod(0o555)
    with pytest.raises(StoreError, match="is read-only"):
        export_lake(db, root)
    root.chmod(0o755)


def test_a_full_disk_leaves_what_was_there(db, root, monkeypatch):
    write(db, days("2024-01-01", 3))
    export_lake(db, root)
    before = tree(root)
    write(db, days("2024-01-02", 3, version=1))

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="cannot write to .*year=2024: No space left on device"):
            export_lake(db, root)
    assert tree(root) == before
    assert export_lake(db, root).written == 1


def test_other_readers_understand_the_folder(db, root):
    import polars

    write(db, days("2023-12-20", 30))
    write(db, days("2024-01-01", 2), "ETH-USD")
    export_lake(db, root)
    year = root / "symbol=BTC-USD" / "interval=6h" / "year=2024"
    (year / ".part-0.tmp").write_bytes(b"left over")
    scan = polars.scan_parquet(root / "**" / "*.parquet", hive_partitioning=True)
    asked = (polars.col("symbol") == "BTC-USD") & (polars.col("year") == 2024)
    frame = scan.filter(asked).sort("timestamp").select("timestamp", *OHLCV).collect()
    assert frame.equals(read_bars(db, "BTC-USD", "6h", parse_time("2024-01-01"), kind="polars"))
    dataset = pyarrow.dataset.dataset(root, partitioning="hive")
    assert {"symbol", "interval", "year", *parts.SCHEMA.names} == set(dataset.schema.names)
    assert dataset.count_rows(filter=pyarrow.dataset.field("symbol") == "ETH-USD") == 8
    assert dataset.schema.field("timestamp").type == pa.timestamp("ms", tz="UTC")
    table = pq.read_table(files(root)[0], partitioning=None)
    assert table.column_names == parts.SCHEMA.names and len(table) == 48
    assert pd.read_parquet(root / "symbol=ETH-USD")["close"].tolist() == days("2024-01-01", 2)["close"].tolist()


def test_only_the_row_groups_of_the_span_are_unpacked(db, root, monkeypatch):
    write(db, days("2023-01-01", 500))
    export_lake(db, root)
    unpacked = []
    read = Part.read
    monkeypatch.setattr(Part, "read", lambda self, groups, names: unpacked.extend(groups) or read(self, groups, names))
    monkeypatch.setattr(lake, "Part", lambda path: opened.append(path.parent.name) or Part(path))
    opened: list[str] = []
    frame = bars("BTC-USD", "6h", "2023-06-01", "2023-06-03", db=db, lake=root)
    assert len(frame) == 8 and len(unpacked) == 1 and opened == ["year=2023"]
    unpacked.clear()
    assert len(bars("BTC-USD", "6h", db=db, lake=root)) == 2000 and len(unpacked) == 30 + 11


def test_memory_stays_flat_while_a_long_year_is_exported(db, tmp_path):
    first, n = parse_time("2023-01-01"), 600_000
    for k in range(0, n, 200_000):
        ms = first + 30_000 * np.arange(k, k + 200_000)
        frame = bars_frame(ms, np.column_stack([ms % 1000 + v for v in (10.0, 12.0, 9.0, 11.0, 1.0)]))
        write_bars(db, "BTC-USD", "30s", frame, "long.csv", more=k + 200_000 < n)
    del frame
    before, allocated = pa.total_allocated_bytes(), []
    tracemalloc.start()
    try:
        original = pq.ParquetWriter.write_table
        with pytest.MonkeyPatch.context() as m:
            m.setattr(
                pq.ParquetWriter,
                "write_table",
                lambda *a, **k: (original(*a, **k), allocated.append(pa.total_allocated_bytes() - before)),
            )
            assert export_lake(db, tmp_path / "lake").rows == n
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    whole = n * 9 * 8
    assert len(allocated) > 9 and max(allocated) < whole / 2 and peak < whole / 1.5, (max(allocated), peak, whole)


# ---- damage ----


def test_a_damaged_file_is_named_and_written_anew(db, root):
    write(db, days("2023-12-20", 30))
    export_lake(db, root)
    clean, path = tree(root), files(root)[1]
    for cut in (0, 3, 7, 100, len(path.read_bytes()) - 1):
        path.write_bytes(path.read_bytes()[:cut])
        for read in (lambda: bars("BTC-USD", "6h", db=db, lake=root), lambda: read_lake(root, "BTC-USD", "6h")):
            with pytest.raises(DataError, match=r"is damaged \(.*\): delete it, and `rrr data export` writes it") as e:
                read()
            assert str(path) in str(e.value)
        assert len(bars("BTC-USD", "6h", end="2024-01-01", db=db, lake=root)) == 48
        assert export_lake(db, root).written == 1 and tree(root) == clean


def test_no_damage_anywhere_in_a_file_gives_other_bars(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "ROWS", 50)
    root, frame, rng = tmp_path / "lake", days("2024-01-01", 55), random.Random(7)
    append_lake(root, "BTC-USD", "6h", frame)
    path = files(root)[0]
    good, found = path.read_bytes(), 0
    for _ in range(1500):
        spoilt, at = bytearray(good), rng.randrange(len(good))
        spoilt[at : at + rng.choice([1, 1, 8])] = rng.randbytes(1)
        path.write_bytes(spoilt)
        for low, high in ((None, None), (epoch_ms(frame.index)[60], epoch_ms(frame.index)[140])):
            try:
                read = read_lake(root, "BTC-USD", "6h", low, high, extra=["vwap"])
            except DataError as e:
                assert str(path) in str(e)
                found += 1
            else:
                expected = frame if low is None else frame[60:140]
                assert read.equals(expected[[*OHLCV, "vwap"]]), at
    assert found > 500


def test_a_file_that_is_none_of_ours_is_refused(db, root):
    write(db, days("2024-01-01", 3))
    export_lake(db, root)
    stranger = files(root)[0].with_name("part-0123456789abcdef.parquet")
    days("2024-01-01", 3).reset_index().to_parquet(stranger)
    with pytest.raises(DataError, match="part-0123456789abcdef.parquet"):
        read_lake(root, "BTC-USD", "6h")
    assert len(bars("BTC-USD", "6h", db=db, lake=root)) == 12
    assert export_lake(db, root) == LakeReport(kept=1, removed=1)


def test_a_name_that_leads_elsewhere_is_refused(root):
    for symbol, interval in (("../../x", "6h"), ("BTC-USD", "../6h"), ("BTC-USD", "6h/../.."), ("B*-USD", "6h")):
        for call in (read_lake, drop_lake, lambda *a: append_lake(*a, days("2024-01-01", 1)), compact_lake):
            with pytest.raises(ParameterError):
                call(root, symbol, interval)


# ---- several parts of a year ----


@per_store
@given(
    pieces=st.lists(
        st.tuples(st.integers(-90, 90), st.integers(1, 120), st.integers(0, 3)), min_size=1, max_size=5, unique=True
    )
)
def test_compaction_keeps_the_last_available_version_of_every_bar(tmp_path_factory, pieces):
    root, begin, model = tmp_path_factory.mktemp("lake"), parse_time("2024-01-01"), {}
    for first, n, version in pieces:
        ms = begin + SIX_HOURS * np.arange(first, first + n)
        append_lake(root, "BTC-USD", "6h", some(ms, version).assign(available_ms=ms + SIX_HOURS * (version + 1)))
        for stamp in ms.tolist():
            model[stamp] = max(model.get(stamp, 0), version)
    expected = pd.concat([some([stamp], version) for stamp, version in sorted(model.items())])
    extra = ["vwap", "trade_count"]
    before = read_lake(root, "BTC-USD", "6h", extra=extra)
    assert before.equals(expected)
    years = len(set(before.index.year))
    report = compact_lake(root)
    assert report.written + report.kept == years == len(files(root)) and len(tree(root)) == years + 1
    after = read_lake(root, "BTC-USD", "6h", extra=extra)
    assert after.equals(expected) and [p.stem for p in files(root)] == [
        f"part-{next(iter(store_bars.year_hashes([frame]).values()))['hash']}"
        for _, frame in after.groupby(after.index.year)
    ]
    done = tree(root)
    assert compact_lake(root) == LakeReport(kept=years) and tree(root) == done


def test_compaction_streams_and_tells_each_year(root):
    append_lake(root, "BTC-USD", "6h", days("2023-01-01", 400))
    append_lake(root, "BTC-USD", "6h", days("2023-03-01", 100, version=1).assign(available_ms=parse_time("2030-01-01")))
    append_lake(root, "ETH-USD", "6h", days("2023-03-01", 1))
    before, told = read_lake(root, "BTC-USD", "6h"), []
    report = compact_lake(root, "btc/usd", "6h", on_part=lambda *part: told.append(part))
    assert told == [(1, 2, "BTC-USD 6h 2023"), (2, 2, "BTC-USD 6h 2024")]
    assert (report.written, report.rows, report.kept, report.removed) == (1, 1460, 1, 2)
    assert read_lake(root, "BTC-USD", "6h").equals(before)
    assert len(Part(files(root)[0]).counts) >= 1460 / 65
    assert compact_lake(root).kept == 3


def test_bars_that_are_added_must_be_bars(root):
    with pytest.raises(BatchError, match="high is below low"):
        append_lake(root, "BTC-USD", "6h", days("2024-01-01", 2).assign(high=1.0))
    assert not root.exists()


def test_synthetic_and_real_parts_of_a_year_are_not_mixed(root):
    append_lake(root, "BTC-USD", "6h", days("2024-01-01", 2))
    append_lake(root, "BTC-USD", "6h", days("2024-01-03", 2), synthetic=True)
    for call in (lambda: read_lake(root, "BTC-USD", "6h"), lambda: compact_lake(root)):
        with pytest.raises(DataError, match="holds synthetic and real bars"):
            call()


def test_added_bars_are_the_lakes_alone_and_an_export_takes_them_away(db, root):
    write(db, days("2024-01-01", 5))
    export_lake(db, root)
    append_lake(root, "BTC-USD", "6h", days("2024-01-06", 1))
    assert len(read_lake(root, "BTC-USD", "6h")) == 24 and len(bars("BTC-USD", "6h", db=db, lake=root)) == 20
    stored_at = [p.stored_at for p in map(Part, files(root)) if p.stored_at]
    compact_lake(root)
    assert len(read_lake(root, "BTC-USD", "6h")) == 24 and [Part(p).stored_at for p in files(root)] == stored_at
    agree(bars("BTC-USD", "6h", db=db, lake=root), read_bars(db, "BTC-USD", "6h"))
    write(db, days("2024-01-06", 1))  # the store hears of them too: the compacted part is current
    assert len(bars("BTC-USD", "6h", db=db, lake=root)) == 24
    export_lake(db, root)
    agree(read_lake(root, "BTC-USD", "6h"), read_bars(db, "BTC-USD", "6h"))


def test_an_added_year_is_read_when_the_store_has_the_same_bars_and_exported_for_its_other_columns(db, root, asked):
    append_lake(root, "BTC-USD", "6h", days("2024-01-01", 5)[OHLCV])
    write(db, days("2024-01-01", 5))
    stored = read_bars(db, "BTC-USD", "6h", extra=["vwap"])
    assert bars("BTC-USD", "6h", db=db, lake=root).equals(stored[OHLCV]) and set(asked) == {"lake"}
    assert bars("BTC-USD", "6h", extra=["vwap"], db=db, lake=root).equals(stored)
    assert export_lake(db, root).written == 1
    assert read_lake(root, "BTC-USD", "6h", extra=["vwap"]).equals(stored)


# ---- killed, and two at once ----


def killed_at(moment: int, work: Callable[[], None]) -> int:
    "Be killed as the given step at the disk starts; the status."

    def run():
        seen = count(1)

        def before(module, name: str):
            call = getattr(module, name)

            def step(*args, **kwargs):
                if next(seen) == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **kwargs)

            setattr(module, name, step)

        for place in (
            (os, "fsync"),
            (os, "replace"),
            (Path, "unlink"),
            (Path, "rmdir"),
            (pq.ParquetWriter, "write_table"),
        ):
            before(*place)
        before(pq.ParquetWriter, "close")
        work()

    return ended(in_child(run))


def whole(root: Path) -> bool:
    "Every part in sight holds what its name says."
    return all(
        f"part-{v['hash']}" == p.stem and p.parent.name == f"year={y}"
        for p in files(root)
        for y, v in parts._content(Part(p)).items()
    )


def test_an_export_killed_at_any_step_goes_on_where_it_was(db_url, root, tmp_path):
    db = Database(db_url)
    write(db, days("2021-12-30", 3), source="mock", synthetic=True)
    export_lake(db, root)
    write(db, days("2022-11-01", 430))
    shutil.copytree(root, tmp_path / "before")
    stored, old = read_bars(db, "BTC-USD", "6h"), read_lake(root, "BTC-USD", "6h")
    allowed = [f for frame in (old, stored) for _, f in frame.groupby(frame.index.year)]
    first = export_lake(db, root)
    clean = tree(root)
    assert (first.written, first.removed) == (3, 2) and list(clean)[0] == ".lock"
    db.close()
    killed = 0
    for moment in range(1, 200):
        shutil.rmtree(root)
        shutil.copytree(tmp_path / "before", root)
        status = killed_at(moment, lambda: export_lake(Database(db_url), root))
        assert whole(root)
        db = Database(db_url)
        agree(bars("BTC-USD", "6h", db=db, lake=root), stored)
        alone = read_lake(root, "BTC-USD", "6h")
        for _, year in alone.groupby(alone.index.year):
            assert any(year.equals(f) for f in allowed)
        again = export_lake(db, root)
        assert tree(root) == clean and again.written <= 3
        db.close()
        if status == 0:
            break
        assert status == -signal.SIGKILL
        killed += 1
    assert status == 0 and killed > 40


def test_a_compaction_killed_at_any_step_loses_and_doubles_nothing(root, tmp_path):
    append_lake(root, "BTC-USD", "6h", days("2023-11-01", 90))
    for i in range(3):
        more = days(f"2023-12-2{i}", 20, version=i + 1)
        append_lake(root, "BTC-USD", "6h", more.assign(available_ms=epoch_ms(more.index) + SIX_HOURS * (i + 2)))
    shutil.copytree(root, tmp_path / "before")
    expected = read_lake(root, "BTC-USD", "6h")
    assert compact_lake(root).written == 2
    clean, killed = tree(root), 0
    for moment in range(1, 200):
        shutil.rmtree(root)
        shutil.copytree(tmp_path / "before", root)
        status = killed_at(moment, lambda: compact_lake(root))
        assert whole(root) and read_lake(root, "BTC-USD", "6h").equals(expected)
        compact_lake(root)
        assert tree(root) == clean
        if status == 0:
            break
        killed += 1
    assert status == 0 and killed > 20


def test_processes_that_export_at_once_leave_what_one_leaves(db_url, root, tmp_path):
    db = Database(db_url)
    write(db, days("2012-01-01", 365 * 8))
    export_lake(db, tmp_path / "one")
    db.close()
    assert [ended(pid) for pid in [in_child(lambda: export_lake(Database(db_url), root)) for _ in range(3)]] == [0] * 3
    assert tree(root) == tree(tmp_path / "one")


def test_a_reader_never_meets_a_gap_while_bars_are_restated_and_exported(db, root):
    versions = [days("2023-12-01", 60, version=v) for v in range(2)]
    write(db, versions[0])
    export_lake(db, root)
    valid = {tuple(f["close"]) for f in versions}
    stop, seen, wrong = threading.Event(), [0, 0], []

    def read():
        while not stop.is_set():
            try:
                ours, alone = bars("BTC-USD", "6h", db=db, lake=root), read_lake(root, "BTC-USD", "6h")
            except RRRError as e:
                return wrong.append(str(e))
            if tuple(ours["close"]) not in valid:
                return wrong.append("neither of the versions")
            years = [tuple(f["close"]) for _, f in alone.groupby(alone.index.year)]
            for year, got in zip((2023, 2024), years, strict=True):
                if got not in {tuple(f.loc[str(year), "close"]) for f in versions}:
                    return wrong.append(f"neither of the versions of {year}")
            seen[0] += 1

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for i in range(25):
            write(db, versions[(i + 1) % 2])
            export_lake(db, root)
            compact_lake(root)
            if wrong:
                break
    finally:
        stop.set()
        reader.join()
    assert wrong == [] and seen[0] > 3


def test_a_file_that_is_replaced_between_looking_and_opening_is_looked_for_again(db, root, monkeypatch):
    write(db, days("2024-01-01", 5))
    export_lake(db, root)
    versions = count(1)

    def replaced(path: Path) -> Part:
        if next(versions) == 1:
            write(db, days("2024-01-01", 5, version=1))
            export_lake(db, root)
        return Part(path)

    monkeypatch.setattr(parts, "Part", replaced)
    assert read_lake(root, "BTC-USD", "6h").equals(days("2024-01-01", 5, version=1)[OHLCV])

    def gone(path: Path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(parts, "Part", gone)
    with pytest.raises(StoreError, match="are gone as soon as they are there"):
        read_lake(root, "BTC-USD", "6h")
