"A file or a mock source goes into the store whole, checked and named, or leaves it as it was."

import gzip
import json
import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import dump

from rrr.backtest.run import backtest
from rrr.core.errors import DataError, ParameterError, RRRError, StoreError
from rrr.data import ingest
from rrr.data.files import read_bars as read_bars_of_file
from rrr.data.ingest import Spool, import_file, import_mock, import_ticks, overlay
from rrr.data.pipeline import Broadcast
from rrr.store.bars import bars_frame, data_hash, get_series, list_series, read_bars
from rrr.store.checks import BatchError
from rrr.store.ticks import read_trades
from rrr.store.writer import BarWriter

HEADER = "timestamp,open,high,low,close,volume"


def row(minute: int, bar: str = "") -> str:
    return f"2024-01-01 {minute // 60:02}:{minute % 60:02},{bar or f'10,12,9,11,{100 + minute % 7}'}"


def minutes(first: int, count: int) -> list[str]:
    return [row(m) for m in range(first, first + count)]


@pytest.fixture
def write(tmp_path):
    def write(rows: list[str] | bytes, name: str = "bars.csv"):
        path = tmp_path / name
        path.write_bytes(rows if isinstance(rows, bytes) else "\n".join([HEADER, *rows, ""]).encode())
        return path

    return write


BAD = {
    "missing": (None, "there is no such file"),
    "empty": (b"", "the file is empty"),
    "only a header": ([], "no rows"),
    "text price": ([row(0), row(1, "10,12,9,eleven,100")], "line 3, column 'close': 'eleven' is not a finite number"),
    "no price": ([row(0), row(1, "10,12,9,,100")], "the cell is empty"),
    "NaN": ([row(0), row(1, "10,12,9,nan,100")], "line 3, column 'close'"),
    "high below low": ([row(0), row(1, "10,9,12,11,100")], "high below low in 1 row, first in row 2"),
    "negative price": ([row(0), row(1, "-1,12,-2,11,100")], "price not above zero"),
    "duplicate stamps": ([row(0), row(1), row(1)], "duplicate time stamps in 1 row"),
    "unsorted rows": ([row(0), row(2), row(1)], "a time earlier than the row before"),
    "one bar": ([row(0)], "does not tell the interval"),
    "no bars at all": (b"PAR1 and then nothing that is Parquet", "cut off or damaged"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "neither Parquet nor CSV"),
    "a missing column": (b"timestamp,open,high,low,close\n2024-01-01,1,1,1,1\n", "no column for volume"),
}


def test_every_bad_file_leaves_the_store_as_it_was(db, write, tmp_path):
    import_file(db, write(minutes(0, 10)), "BTC-USD")
    import_mock(db, "ETH-USD", "1h", 20)
    before = dump(db)
    for content, says in BAD.values():
        path = tmp_path / "absent.csv" if content is None else write(content, "bad.csv")
        for symbol in ("BTC-USD", "ETH-USD", "SOL-USD"):
            with pytest.raises(DataError) as caught:
                import_file(db, path, symbol)
            text = str(caught.value)
            assert says in text and text.startswith(f"{path}: ") and text.endswith(".") and "\n" not in text
        assert dump(db) == before


def test_a_file_that_does_not_fit_the_stored_bars_is_refused(db, write):
    import_file(db, write(minutes(0, 4)), "BTC-USD")
    before = dump(db)
    between = write([r.replace(",", ":30,", 1) for r in minutes(0, 4)])
    with pytest.raises(DataError, match="BTC-USD 1m together with the stored bars: interval 1m was given but .* 30s"):
        import_file(db, between, "BTC-USD")
    assert dump(db) == before


def test_files_that_continue_a_series_become_one(db, write):
    one = import_file(db, write(minutes(0, 30), "a.csv"), "BTC-USD")
    two = import_file(db, write(minutes(25, 30), "b.csv"), "BTC-USD")
    late = import_file(db, write(minutes(60, 10), "c.csv.gz"), "BTC-USD")
    assert [(i.written.new, i.written.same, i.written.rows) for i in (one, two, late)] == [
        (30, 0, 30), (25, 5, 55), (10, 0, 65),
    ]  # fmt: skip
    series = get_series(db, "BTC-USD", "1m")
    assert (series["rows"], series["source"], series["synthetic"]) == (65, "c.csv.gz", False)
    whole = series["quality"]  # not that of the last file
    assert (whole["gaps"], whole["missing_bars"]) == (1, 5)
    assert series["data_hash"] == late.written.data_hash == data_hash(read_bars(db, "BTC-USD", "1m"))
    assert late.quality.rows == 10 and late.quality.gaps == 0


def test_the_order_of_files_does_not_matter(db, write):
    files = [write(minutes(k, 20), f"{k}.csv") for k in (0, 15, 30)]
    for path in files:
        import_file(db, path, "BTC-USD")
    for path in reversed(files):
        import_file(db, path, "ETH-USD")
    hashes = {s["data_hash"] for s in list_series(db)}
    assert len(hashes) == 1 and len(read_bars(db, "ETH-USD", "1m")) == 50


def test_the_same_file_under_its_gzip_changes_nothing(db, write):
    path = write(minutes(0, 10))
    import_file(db, path, "BTC-USD")
    again = import_file(db, write(gzip.compress(path.read_bytes()), "bars.csv.gz"), "BTC-USD").written
    assert (again.new, again.changed, again.same) == (0, 0, 10)


def test_an_interval_that_disagrees_is_refused_and_one_that_agrees_has_one_name(db, write):
    path, before = write(minutes(0, 10)), dump(db)
    with pytest.raises(DataError, match="interval 1h was given but the most common step is 1m"):
        import_file(db, path, "BTC-USD", "1h")
    for wrong in ("", "1", "1 minute", "0m", "-1m", "1M", "1h "):
        with pytest.raises(ParameterError, match="is not a count and a unit"):
            import_file(db, path, "BTC-USD", wrong)
    assert dump(db) == before
    assert import_file(db, path, "BTC-USD", "60s").interval == "1m"
    assert [(s["symbol"], s["interval"]) for s in list_series(db)] == [("BTC-USD", "1m")]
    assert import_file(db, write([row(0)]), "ETH-USD", "1h").interval == "1h"  # one bar, told what it is


def test_symbols_have_one_spelling(db, write):
    path = write(minutes(0, 10))
    for spelling in ("BTC-USD", "btc-usd", " btc/usd ", "BTC_USD"):
        assert import_file(db, path, spelling).symbol == "BTC-USD"
    assert import_mock(db, "eth/usd", "60m", 20).symbol == "ETH-USD"
    assert [(s["symbol"], s["interval"]) for s in list_series(db)] == [("BTC-USD", "1m"), ("ETH-USD", "1h")]
    before = dump(db)
    for wrong in ("", "BTCUSD", "BTC-", "BTC-USD-PERP", "BTC-USD; DROP TABLE symbols", "BTC-ÜSD", "B\0C-USD"):
        with pytest.raises(ParameterError, match="is not BASE-QUOTE"):
            import_file(db, path, wrong)
    assert dump(db) == before


def test_a_file_whose_name_is_not_utf8_is_imported(db, write, tmp_path):
    path = write(minutes(0, 10))
    odd = os.fsencode(tmp_path) + b"/b\xe4rs.csv"
    try:
        os.rename(path, odd)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert import_file(db, os.fsdecode(odd), "BTC-USD").source == "b�rs.csv"


def test_what_was_imported_is_json(db, write):
    done = import_file(db, write([*minutes(0, 10), row(12, "10,12,9,11,0")], "my bars.csv"), "BTC-USD")
    told = json.loads(json.dumps(done.to_dict(), allow_nan=False))
    assert told == done.to_dict()
    facts = dict(symbol="BTC-USD", interval="1m", source="my bars.csv", synthetic=False)
    assert {k: told[k] for k in facts} == facts
    assert told["written"] == {"new": 11, "changed": 0, "same": 0, "dropped_synthetic": 0}
    assert told["series"] == {"rows": 11, "data_hash": get_series(db, "BTC-USD", "1m")["data_hash"]}
    assert (told["quality"]["gaps"], told["quality"]["zero_volume"]) == (1, 1)
    assert told["notes"] == ["time stamps carry no zone: read as UTC"]
    assert json.loads(json.dumps(import_mock(db, "ETH-USD", "1h", 30).to_dict()))["synthetic"] is True


def test_real_bars_replace_synthetic_ones_and_are_never_mixed_with_them(db, write):
    mock = import_mock(db, "BTC-USD", "1m", 50)
    assert mock.synthetic and get_series(db, "BTC-USD", "1m")["synthetic"] is True
    real = import_file(db, write(minutes(0, 10), "real.csv"), "BTC-USD")
    assert (real.written.dropped_synthetic, real.written.new, real.written.rows, real.synthetic) == (50, 10, 10, False)
    assert len(read_bars(db, "BTC-USD", "1m")) == 10 and read_bars(db, "BTC-USD", "1m").attrs["synthetic"] is False
    before = dump(db)
    with pytest.raises(DataError) as caught:
        import_mock(db, "BTC-USD", "1m", 50)
    assert str(caught.value) == "BTC-USD 1m holds real bars (real.csv): synthetic bars are not mixed in."
    assert dump(db) == before


def test_a_bad_file_does_not_cost_the_synthetic_bars(db, write):
    import_mock(db, "BTC-USD", "1m", 50)
    before = dump(db)
    with pytest.raises(DataError):
        import_file(db, write([row(0), row(1, "10,9,12,11,100")]), "BTC-USD")
    assert dump(db) == before


def test_the_mock_source_is_the_same_every_time_and_one_seed_at_a_time(db):
    first = import_mock(db, "BTC-USD", "1h", 40)
    assert first.source == "MockDataSource(seed=7)" and first.written.new == 40
    assert import_mock(db, "BTC-USD", "1h", 40).written.same == 40
    longer = import_mock(db, "BTC-USD", "1h", 60).written
    assert (longer.new, longer.same, longer.dropped_synthetic) == (20, 40, 0)
    other = import_mock(db, "BTC-USD", "1h", 30, seed=8).written
    assert (other.dropped_synthetic, other.rows) == (60, 30)
    before = dump(db)
    for wrong in (lambda: import_mock(db, "XXX-USD", "1h", 10), lambda: import_mock(db, "BTC-USD", "1h", 0)):
        with pytest.raises(RRRError):
            wrong()
    assert dump(db) == before


@pytest.fixture
def short_parts(monkeypatch):
    "Imports in parts of ten bars."
    monkeypatch.setattr(ingest, "PART", 10)


def stored(db, symbol="BTC-USD", interval="1m"):
    return read_bars(db, symbol, interval)


@pytest.mark.parametrize("backwards", [False, True], ids=["oldest first", "newest first"])
def test_a_long_file_goes_in_by_parts_and_is_one_series(db, write, short_parts, backwards):
    rows = [*minutes(0, 37), *minutes(45, 18)]
    told, news = [], Broadcast()
    with news.listen("market") as listener:
        path = write(rows[::-1] if backwards else rows)
        done = import_file(db, path, "BTC-USD", on_progress=lambda *said: told.append(said), news=news)
        heard = listener.taken()
    want = read_bars_of_file(write(rows)).frame
    assert stored(db).equals(want) and done.written.new == done.written.rows == 55
    assert done.written.data_hash == data_hash(want) == get_series(db, "BTC-USD", "1m")["data_hash"]
    assert get_series(db, "BTC-USD", "1m")["quality"] == done.quality.to_dict() | dict(accepted=[], repairs=[])
    assert sum(item["rows"] for item in heard) == 55 and heard[0]["symbol"] == "BTC-USD" and len(heard) == 6
    shares = [share for share, what in told if what == "storing"]
    assert shares == sorted(shares) and shares[-1] == 1 and told[0][1] == "reading"


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_overlay_is_what_writing_over_would_give(data):
    def series(name):
        at = data.draw(st.lists(st.integers(0, 30), unique=True).map(sorted), label=name)
        frame = bars_frame(60_000 * np.array(at, dtype=np.int64), np.full((len(at), 5), float(len(name))))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(at)), max_size=3)))
        return frame, [frame.iloc[a:b] for a, b in zip([0, *cuts], [*cuts, len(at)], strict=True) if b > a]

    (old, old_blocks), (new, new_blocks) = series("old"), series("newer")
    want = pd.concat([old[~old.index.isin(new.index)], new]).sort_index()
    got = [*overlay(old_blocks, new_blocks)]
    assert (pd.concat(got) if got else old[:0]).equals(want if len(want) else old[:0])


def test_an_import_cut_off_between_parts_is_finished_by_the_next_one(db, write, short_parts):
    path = write(minutes(0, 47))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StoreError, match="the disk is gone"):
        cut_off(patch, 2)
        import_file(db, path, "BTC-USD")
    with pytest.raises(DataError, match="cut off after 20 bars: run it again"):
        stored(db)
    done = import_file(db, path, "BTC-USD").written
    assert (done.new, done.same, done.rows) == (27, 20, 47) and stored(db).equals(read_bars_of_file(path).frame)
    assert get_series(db, "BTC-USD", "1m")["quality"]["rows"] == 47


def test_a_bad_row_in_the_last_part_leaves_the_store_as_it_was(db, write, short_parts):
    before = dump(db)
    with pytest.raises(DataError, match="high below low in 1 row, first in row 41"):
        import_file(db, write([*minutes(0, 40), row(40, "10,9,12,11,100")]), "BTC-USD")
    assert dump(db) == before


def test_repairs_are_made_when_named_and_recorded_with_the_series(db, write, short_parts):
    rows = [*minutes(0, 20), row(20, "10,9,12,11,100"), *minutes(21, 4), row(24), *minutes(27, 10)]
    with pytest.raises(DataError, match="drop-duplicates.*drop-bad"):
        import_file(db, write(rows), "BTC-USD")
    done = import_file(db, write(rows), "BTC-USD", repair=["drop-bad", "drop-duplicates", "fill-flat"])
    assert [(r.name, r.rows) for r in done.repairs] == [("drop-duplicates", 1), ("drop-bad", 1), ("fill-flat", 3)]
    bars, kept = stored(db), get_series(db, "BTC-USD", "1m")["quality"]
    assert len(bars) == 37 and bars["volume"].iloc[20] == 0 and bars["close"].iloc[20] == bars["close"].iloc[19]
    assert [r["name"] for r in kept["repairs"]] == ["drop-duplicates", "drop-bad", "fill-flat"] and kept["gaps"] == 0
    import_file(db, write(minutes(37, 5), "more.csv"), "BTC-USD")
    assert get_series(db, "BTC-USD", "1m")["quality"]["repairs"] == kept["repairs"]
    with pytest.raises(ParameterError, match="unknown repair 'mend'"):
        import_file(db, write(rows), "BTC-USD", repair=["mend"])


def test_a_problem_let_through_by_name_stamps_the_series_for_good(db, write):
    path = write(reused_rows())
    with pytest.raises(DataError, match="another asset under the same symbol.*--accept symbol_reuse"):
        import_file(db, path, "BTC-USD")
    assert list_series(db) == []
    done = import_file(db, path, "BTC-USD", accept=["symbol_reuse"])
    assert done.accepted == ("symbol_reuse",) and stored(db).attrs["blocked"] == ("symbol_reuse",)
    series = get_series(db, "BTC-USD", "1m")
    assert series["quality"]["accepted"] == ["symbol_reuse"] and series["quality"]["blocked"] == ["symbol_reuse"]
    import_file(db, write(later_rows(), "later.csv"), "BTC-USD")  # what was accepted once stays accepted, and stamped
    assert stored(db).attrs["blocked"] == ("symbol_reuse",)
    with pytest.raises(DataError, match=r"have problems that bar them from use \(symbol_reuse\)"):
        backtest("buy_and_hold", stored(db))
    assert backtest("buy_and_hold", stored(db), accept_blocked=True).blocked == ("symbol_reuse",)
    with pytest.raises(ParameterError, match="duplicate cannot be accepted"):
        import_file(db, path, "BTC-USD", accept=["duplicate"])


def reused_rows() -> list[str]:
    rng = np.random.default_rng(1)
    first = dict(timestamp=np.arange(400), price=0.0001 * np.exp(np.cumsum(rng.normal(0, 1e-3, 400))))
    second = dict(timestamp=np.arange(400) + 40_000, price=8 * np.exp(np.cumsum(rng.normal(0, 1e-3, 400))))
    return [line for part in (first, second) for line in lines_of(part["timestamp"], part["price"])]


def later_rows() -> list[str]:
    return lines_of(np.arange(40_400, 40_450), np.full(50, 8.0))


def lines_of(at, price) -> list[str]:
    stamps = pd.to_datetime(1_704_067_200_000 + 60_000 * np.asarray(at), unit="ms")
    return [
        f"{t:%Y-%m-%d %H:%M},{p},{p * 1.001},{p * 0.999},{p},{100 + k % 7}"
        for k, (t, p) in enumerate(zip(stamps, price, strict=True))
    ]


def test_the_symbol_is_what_the_content_says_or_the_user(db, write, tmp_path):
    polygon = {"ticker": "X:BTCUSD", "status": "OK", "results": [
        dict(v=1.0, vw=10.5, o=10, c=11, h=12, l=9, t=1_704_067_200_000 + 60_000 * k, n=3) for k in range(5)]}  # fmt: skip
    path = tmp_path / "ETHUSD-by-name.json"
    path.write_text(json.dumps(polygon))
    assert import_file(db, path).symbol == "BTC-USD"
    with pytest.raises(DataError, match="the file says that it holds .*BTC"):
        import_file(db, path, "ETH-USD")
    with pytest.raises(DataError, match="does not say whose bars they are"):
        import_file(db, write(minutes(0, 5), "BTC-USD.csv"))


def test_trades_and_quotes_of_a_file_are_stored_once(db, tmp_path):
    trades = "id,price,qty,base_qty,time,is_buyer_maker\n" + "".join(
        f"{k},{100 + k},{1 + k / 8},1,{1_704_067_200_000 + 100 * k},{k % 2 == 0}\n" for k in range(20)
    )
    quotes = "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount\n" + "".join(
        f"binance,BTCUSDT,{1_704_067_200_000_000 + k},{1_704_067_200_000_500 + k},1,101,100,2\n" for k in range(20)
    )
    (tmp_path / "t.csv").write_text(trades)
    (tmp_path / "q.csv").write_text(quotes)
    first = import_ticks(db, tmp_path / "t.csv", "trades", "BTC-USDT", "binance")
    again = import_ticks(db, tmp_path / "t.csv", "trades", "BTC-USDT", "binance")
    assert (first["new"], again["new"], again["same"]) == (20, 0, 20)
    assert import_ticks(db, tmp_path / "q.csv", "quotes")["new"] == 20
    tape = read_trades(db, "BTC-USDT", "binance")
    assert tape["price"].tolist() == [100.0 + k for k in range(20)] and tape["side"].iloc[0] == "sell"
    with pytest.raises(DataError, match="does not say"):
        import_ticks(db, tmp_path / "t.csv", "trades")
    with pytest.raises(ParameterError, match="trades or quotes, not 'bars'"):
        import_ticks(db, tmp_path / "t.csv", "bars")


def test_laying_aside_without_room_is_told(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with Spool() as aside:
        monkeypatch.setattr(ingest.pa.ipc, "new_file", full)
        with pytest.raises(StoreError, match="no room to lay bars aside .*set TMPDIR"):
            aside.add(bars_frame([0], [[1, 1, 1, 1, 1]]))


def test_a_bad_vwap_is_found_before_anything_is_written(db, tmp_path, short_parts):
    good = bars_frame(1_704_067_200_000 + 60_000 * np.arange(35), np.tile([10.0, 12, 9, 11, 1], (35, 1)))
    good.assign(vwap=10.5).to_parquet(tmp_path / "good.parquet")
    vwap = np.full(35, 10.5)
    vwap[25] = -1
    good.assign(vwap=vwap).to_parquet(tmp_path / "bad.parquet")
    before = dump(db)
    with pytest.raises(BatchError, match="row 25: vwap is not"):
        import_file(db, tmp_path / "bad.parquet", "BTC-USD")
    assert dump(db) == before
    assert import_file(db, tmp_path / "good.parquet", "BTC-USD").written.new == 35


def cut_off(monkeypatch, after: int):
    "An import that ends after some parts."
    real, calls = BarWriter.write, []

    def dies(self, *args, **named):
        calls.append(1)
        if len(calls) > after:
            raise StoreError("the disk is gone")
        return real(self, *args, **named)

    monkeypatch.setattr(BarWriter, "write", dies)


def test_an_import_that_is_taken_up_keeps_the_stamps_and_the_gate(db, write, short_parts):
    import_file(db, write([*minutes(0, 20), row(19)], "a.csv"), "BTC-USD", repair=["drop-duplicates"])
    kept = get_series(db, "BTC-USD", "1m")["quality"]["repairs"]
    assert len(kept) == 1
    longer = write(minutes(10, 40), "b.csv")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StoreError, match="disk is gone"):
        cut_off(patch, 2)
        import_file(db, longer, "BTC-USD")
    import_file(db, longer, "BTC-USD")
    assert get_series(db, "BTC-USD", "1m")["quality"]["repairs"] == kept
    import_file(db, write([*minutes(0, 20), row(19)], "a.csv"), "BTC-USD", repair=["drop-duplicates"])
    assert get_series(db, "BTC-USD", "1m")["quality"]["repairs"] == kept  # the same again is the same
    between = write([f"2024-01-01 {m // 60:02}:{m % 60:02}:30,10,12,9,11,100" for m in range(40)], "c.csv")
    with pytest.raises(DataError, match="together with the stored bars"):
        import_file(db, between, "BTC-USD", "1m")


def test_another_file_of_the_same_name_does_not_take_up_an_import(db, write, tmp_path, short_parts):
    (tmp_path / "jan").mkdir()
    (tmp_path / "feb").mkdir()
    for folder, first in (("jan", 0), ("feb", 100)):
        write(minutes(first, 30)).rename(tmp_path / folder / "data.csv")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StoreError):
        cut_off(patch, 1)
        import_file(db, tmp_path / "jan" / "data.csv", "BTC-USD")
    with pytest.raises(DataError, match="the import of data.csv .* is not finished: finish it before data.csv"):
        import_file(db, tmp_path / "feb" / "data.csv", "BTC-USD")
    assert import_file(db, tmp_path / "jan" / "data.csv", "BTC-USD").written.rows == 30


def test_an_interval_that_disagrees_is_not_let_through(db, write):
    with pytest.raises(DataError):
        import_file(db, write(minutes(0, 10)), "BTC-USD", "1h", accept=["interval"])
    with pytest.raises(DataError, match="does not tell the interval"):
        import_file(db, write([row(0)]), "BTC-USD", accept=["interval"])


def test_columns_that_begin_in_the_middle_are_refused():
    one = bars_frame([0], [[1, 1, 1, 1, 1]])
    with Spool() as aside:
        aside.add(one.assign(vwap=1.0))
        aside.add(one)
        assert [list(b.columns)[-1] for b in aside.blocks()] == ["vwap", "vwap"]
    with Spool() as aside, pytest.raises(DataError, match="column vwap begins in the middle"):
        aside.add(one)
        aside.add(one.assign(vwap=1.0))
