"Bar files are read exactly as they stand, or refused with one sentence that names the place."

import gzip
import re
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rrr.core.errors import DataError, ParameterError, RRRError
from rrr.core.market import OHLCV, parse_time
from rrr.data.files import read_bars, symbol_from_name
from rrr.data.quality import check_bars

HEADER = "timestamp,open,high,low,close,volume"
ROWS = ["2024-01-01 00:00,10,12,9,11,100", "2024-01-01 01:00,11,13,10,12,0", "2024-01-01 02:00,12,14,11,13,5.5"]
fixtures_last = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def csv(*rows: str, header: str = HEADER) -> str:
    return "\n".join([header, *(rows or ROWS)]) + "\n"


@pytest.fixture
def write(tmp_path):
    "Write content to a file and give its path."

    def write(content: str | bytes, name: str = "bars.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def refusal(write):
    "The sentence that content is refused with; it starts with the path and is one line."

    def refusal(content: str | bytes, name: str = "bars.csv", **options) -> str:
        path = write(content, name)
        with pytest.raises(DataError) as caught:
            read_bars(path, **options)
        text = str(caught.value)
        assert text.startswith(f"{path}: ") and "\n" not in text and text.endswith(".") and len(text) < 600
        return text.removeprefix(f"{path}: ")

    return refusal


def frame(rows: int = 3) -> pd.DataFrame:
    index = pd.date_range("2024-01-01", periods=rows, freq="h", tz="UTC", unit="ms", name="timestamp")
    values = np.column_stack([np.arange(rows) + k for k in (10.0, 12.0, 9.0, 11.0, 100.0)])
    return pd.DataFrame(values, index=index, columns=OHLCV)


def assert_same(got: pd.DataFrame, expected: pd.DataFrame):
    assert (
        list(got.columns) == OHLCV and got.index.name == "timestamp" and str(got.index.dtype) == "datetime64[ms, UTC]"
    )
    assert (got.dtypes == "float64").all()
    assert (got.index == expected.index).all() and got.to_numpy().tobytes() == expected[OHLCV].to_numpy().tobytes()


# What is read


def test_csv_bars_are_read_with_their_format_hash_and_notes(write):
    bars = read_bars(write(csv()))
    assert_same(bars.frame, bars.frame)
    assert bars.frame.close.tolist() == [11, 12, 13] and bars.frame.index[0] == pd.Timestamp("2024-01-01", tz="UTC")
    assert bars.format == "csv" and re.fullmatch("[0-9a-f]{64}", bars.sha256)
    assert bars.notes == ("time stamps carry no zone: read as UTC",)


@pytest.mark.parametrize("name", ["bars.parquet", "bars.csv", "bars"])
def test_content_not_the_name_tells_the_format(write, name):
    assert read_bars(write(csv(), name)).format == "csv"
    assert read_bars(write(gzip.compress(csv().encode()), name)).format == "csv.gz"


def test_a_parquet_file_written_by_pandas_with_a_time_index_is_read(tmp_path):
    for index_name in ("timestamp", "Date", None):
        path = tmp_path / "bars"
        frame().rename_axis(index_name).to_parquet(path)
        bars = read_bars(path)
        assert_same(bars.frame, frame())
        assert bars.format == "parquet" and bars.notes == ()


def test_a_csv_written_by_pandas_without_an_index_name_is_read(write):
    assert_same(read_bars(write(frame().rename_axis(None).to_csv())).frame, frame())


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", None])
def test_parquet_times_of_any_resolution_and_zone_are_read(tmp_path, unit, zone):
    index = frame().index.as_unit(unit)
    stored = (
        frame().set_index(index.tz_convert(zone) if zone else index.tz_localize(None)).rename_axis("ts").reset_index()
    )
    stored.to_parquet(tmp_path / "bars")
    bars = read_bars(tmp_path / "bars")
    assert_same(bars.frame, frame())
    assert bool(bars.notes) == (zone is None)


def test_parquet_numbers_of_other_types_are_read(tmp_path):
    table = pa.table(
        {
            "t": pa.array(["2024-01-01T00:00Z"]).dictionary_encode(),
            "o": pa.array(["10.5"], pa.large_string()),
            "h": pa.array([12], pa.int32()),
            "l": pa.array([9.5], pa.float32()),
            "c": pa.array([11], pa.decimal128(10, 2)),
            "v": pa.array([100], pa.uint64()),
        }
    )
    pq.write_table(table, tmp_path / "bars")
    assert read_bars(tmp_path / "bars").frame.to_numpy().tolist() == [[10.5, 12, 9.5, 11, 100]]


@pytest.mark.parametrize(
    "header",
    [
        "ts,open,high,low,close,volume",
        "Time,Open,High,Low,Close,Volume",
        "DATE,OPEN,HIGH,LOW,CLOSE,VOL",
        "Open Time,o,h,l,c,v",
        "open_time,O,H,L,C,V",
        "datetime, open, high, low, close, volume",
        "<unix>,<open>,<high>,<low>,<close>,<vol>",
        '"t","open","high","low","close","volume"',
        ",open,high,low,close,volume",
    ],
)
def test_column_names_are_known_in_their_usual_spellings(write, header):
    assert read_bars(write(csv(header=header))).frame.volume.tolist() == [100, 0, 5.5]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n\n"])
def test_separators_line_ends_and_byte_order_marks_are_understood(write, separator, line_end, start):
    text = start + csv().replace(",", separator).replace("\n", line_end)
    assert read_bars(write(text)).frame.high.tolist() == [12, 13, 14]


def test_a_binance_futures_csv_takes_open_time_and_base_volume(write):
    text = csv(
        "1706745600000,33.1730,33.2780,33.1480,33.2640,31584,1706745659999,1048736.6860,2093,15886,527484.6350,0",
        header="open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore",
    )
    bars = read_bars(write(text))
    assert bars.frame.volume.tolist() == [31584] and bars.frame.index[0] == pd.Timestamp("2024-02-01", tz="UTC")
    assert bars.frame.vwap.tolist() == [1048736.6860 / 31584] and bars.frame.trade_count.tolist() == [2093]
    assert bars.interval == "1m" and bars.format == "binance csv"
    assert bars.notes == (
        "vwap is quote volume / volume",
        "columns left out: taker_buy_volume, taker_buy_quote_volume, ignore",
    )


def test_rows_keep_the_order_of_the_file_and_duplicates_stay(write):
    bars = read_bars(write(csv(ROWS[1], ROWS[2], ROWS[0], ROWS[0])))
    assert bars.frame.open.tolist() == [11, 12, 10, 10]


def test_a_file_that_runs_newest_first_is_turned_round_with_a_note(write):
    bars = read_bars(write(csv(ROWS[2], ROWS[1], ROWS[1], ROWS[0])))
    assert bars.frame.open.tolist() == [10, 11, 11, 12]
    assert bars.notes[-1] == "rows run newest first: turned round to oldest first"


prices = st.floats(1e-9, 1e9, allow_subnormal=False)


@fixtures_last
@given(values=st.lists(st.tuples(prices, prices, prices, prices, st.floats(0, 1e15)), min_size=1, max_size=30))
def test_what_is_written_is_read_back_to_the_last_bit(tmp_path_factory, values):
    bars = frame(len(values))
    bars[:] = np.array(values)
    folder = tmp_path_factory.mktemp("bars")
    bars.to_csv(folder / "a")
    bars.to_parquet(folder / "b")
    assert_same(read_bars(folder / "a").frame, bars)
    assert_same(read_bars(folder / "b").frame, bars)


# Times


@pytest.mark.parametrize(
    "stamp", ["1704067200", "1704067200.0", "1704067200000", "1704067200000000", "1704067200000000000"]
)
def test_epochs_are_told_apart_by_size(write, stamp):
    bars = read_bars(write(csv(stamp + ",1,1,1,1,1")), tz="Asia/Tokyo")
    assert bars.frame.index[0] == pd.Timestamp("2024-01-01", tz="UTC") and bars.notes == ()


@given(
    ms=st.integers(parse_time("2000-01-01"), parse_time("2100-01-01") - 1),
    unit=st.sampled_from(["s", "ms", "us", "ns"]),
)
@fixtures_last
def test_an_epoch_of_any_unit_is_the_same_moment(tmp_path_factory, ms, unit):
    ms = ms // 1000 * 1000
    size = {"s": 1000, "ms": 1, "us": 1e-3, "ns": 1e-6}[unit]
    path = tmp_path_factory.mktemp("t") / "a"
    stamp = round(ms / size) if unit == "s" else ms * round(1 / size)
    path.write_text(csv(f"{stamp},1,1,1,1,1"))
    assert read_bars(path).frame.index.asi8[0] == ms


@pytest.mark.parametrize("stamp", ["2024-01-01T01:00+01:00", "2024-01-01T00:00:00Z", "2023-12-31 19:00:00.000000-0500"])
def test_an_offset_is_heeded(write, stamp):
    bars = read_bars(write(csv(stamp + ",1,1,1,1,1")), tz="Asia/Tokyo")
    assert bars.frame.index[0] == pd.Timestamp("2024-01-01", tz="UTC") and bars.notes == ()


def test_stamps_without_a_zone_are_read_in_the_zone_asked_for(write):
    bars = read_bars(write(csv("2024-07-01 02:00,1,1,1,1,1")), tz="Europe/Berlin")
    assert bars.frame.index[0] == pd.Timestamp("2024-07-01", tz="UTC")
    assert bars.notes == ("time stamps carry no zone: read as Europe/Berlin",)


@pytest.mark.parametrize("stamp", ["2024-03-31 02:30", "2024-10-27 02:30"])
def test_local_times_that_do_not_exist_once_are_refused(refusal, stamp):
    text = refusal(csv("2024-01-01 00:00,1,1,1,1,1", stamp + ",1,1,1,1,1"), tz="Europe/Berlin")
    assert text.startswith("line 3, column 'timestamp'") and stamp in text and "Europe/Berlin" in text


def test_an_unknown_time_zone_is_refused(write):
    with pytest.raises(ParameterError, match="'Berlin/Europe' is unknown"):
        read_bars(write(csv()), tz="Berlin/Europe")


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("1704067200", "1704070800000", "times change from s to ms"),
        ("1704067200000", "1704070800", "times change from ms to s"),
        ("2024-01-01 00:00", "1704070800", "'1704070800' is not a time written as the first is"),
        ("2024-01-01 00:00", "2024-01-01 01:00Z", "'2024-01-01 01:00Z' is not a time written as"),
        ("2024-01-01 00:00", "01/01/2024 01:00", "'01/01/2024 01:00' is not a time written as"),
        ("1704067200000", "", "the cell is empty"),
        ("1704067200000", "17040672000", "'17040672000' is not an ISO time"),
        ("2024-01-01 00:00", "1970-01-20 00:00", "'1970-01-20 00:00' is not an ISO time"),
        ("2024-01-01 00:00", "2024-01-01 00:00:00.0005", "is not a whole millisecond"),
        ("1704067200.5", "1704067200.5005", "is not a whole millisecond"),
    ],
)
def test_the_first_stamp_that_does_not_fit_is_named(refusal, first, second, said):
    text = refusal(csv(f"{first},1,1,1,1,1", f"{second},1,1,1,1,1"))
    assert said in text and text.startswith("line 3, column 'timestamp'")


@pytest.mark.parametrize("stamp", ["20240101", "45292", "01/02/2024", "2024-1-1", "yesterday", "nan", "-1704067200"])
def test_a_stamp_that_could_mean_several_things_is_refused(refusal, stamp):
    assert f"{stamp!r} is not an ISO time such as" in refusal(csv(stamp + ",1,1,1,1,1"))


# Columns


def test_two_time_columns_that_agree_are_one(write):
    text = csv("1704067200,2024-01-01 00:00:00,1,1,1,1,1", header="unix,date,open,high,low,close,volume")
    assert read_bars(write(text)).frame.index[0] == pd.Timestamp("2024-01-01", tz="UTC")


def test_two_columns_that_could_be_the_same_and_differ_are_refused_by_name(refusal):
    text = csv("2024-01-01 00:00,2024-01-01,1,1,1,1,1", "2024-01-01 01:00,2024-01-02,1,1,1,1,1")
    said = refusal(text.replace("timestamp,", "timestamp,date,"))
    assert "'timestamp' and 'date'" in said and "line 3" in said
    split = refusal(csv("2024-01-01,noon,1,1,1,1,1", header="date,time,open,high,low,close,volume"))
    assert "'date' and 'time'" in split
    volumes = refusal(csv("2024-01-01,1,1,1,1,1,2", header="date,o,h,l,c,vol,volume"))
    assert "'vol' and 'volume'" in volumes and "line 2" in volumes


def test_missing_columns_are_refused_with_what_was_found(refusal):
    said = refusal(csv("2024-01-01,1,1,1,1,7", header="date,open,high,low,close,Volume USD"))
    assert "no column for volume" in said and "'Volume USD'" in said
    said = refusal(csv("1704067259999,1,1,1,1,7", header="close_time,open,high,low,close,volume"))
    assert "no column for timestamp" in said and "'close_time' holds close times" in said


@pytest.mark.parametrize("content", ["https://www.example.com\n" + csv(), "Bars of Bitcoin\n" + csv()])
def test_a_file_that_begins_with_free_text_is_refused(refusal, content):
    assert "a header row such as timestamp,open,high,low,close,volume is needed" in refusal(content)


def test_rows_without_a_header_are_read_where_only_one_order_of_columns_fits(write):
    bars = read_bars(write("\n".join(ROWS)))
    assert_same(bars.frame, read_bars(write(csv())).frame)
    assert bars.notes[0].startswith(
        "no column names: columns read as time, open, high, low, close, volume, which 3 rows"
    )
    assert read_bars(write("1704067200000,1,1,1,1,1")).frame.iloc[0].tolist() == [1] * 5


def test_several_symbols_in_one_file_are_refused_and_one_is_noted(refusal, write):
    header = HEADER + ",symbol"
    said = refusal(csv(ROWS[0] + ",BTC/USD", ROWS[1] + ",ETH/USD", header=header))
    assert "holds 2 symbols (BTC/USD, ETH/USD)" in said
    assert "column 'symbol' says BTC/USD" in read_bars(write(csv(ROWS[0] + ",BTC/USD", header=header))).notes


# Cells


@pytest.mark.parametrize(
    "cell", ["abc", "1,000.5", "$12", "12 USD", "0x10", "1_000", "--", "nan", "inf", "-inf", "1e999"]
)
def test_a_price_that_is_no_number_is_named_with_line_and_column(refusal, cell):
    quoted = f'"{cell}"' if "," in cell else cell
    text = refusal(csv(ROWS[0], ROWS[1], f"2024-01-01 02:00,12,14,{quoted},13,5"))
    assert text == f"line 4, column 'low': {cell!r} is not a finite number such as 27123.5."


@pytest.mark.parametrize("column", range(6))
def test_an_empty_cell_is_named(refusal, column):
    cells = ROWS[1].split(",")
    cells[column] = " "
    text = refusal(csv(ROWS[0], ",".join(cells), ROWS[2]))
    assert text == f"line 3, column '{HEADER.split(',')[column]}': the cell is empty."


def test_blank_lines_and_quotes_do_not_shift_the_line_that_is_named(refusal):
    text = "\n" + csv(ROWS[0], "", "", '"2024-01-01 01:00",11,13,10,12,0', "2024-01-01 02:00,12,oops,11,13,5")
    assert refusal(text).startswith("line 7, column 'high': 'oops'")


def test_bad_cells_of_a_parquet_file_are_named_by_row(tmp_path):
    for bad, said in [
        (frame().assign(close=["11", "x", "13"]), "row 2, column 'close': 'x' is not a finite number"),
        (frame().assign(volume=[1, np.nan, 2]), "row 2, column 'volume': the cell is empty"),
        (frame().assign(open=[1, 2, np.inf]), "row 3, column 'open': 'inf' is not a finite number"),
        (frame().assign(open=[True, False, True]), "column 'open' holds bool, not numbers"),
        (frame().assign(low=frame().index), "column 'low' holds timestamp[ms, tz=UTC], not numbers"),
        (frame().set_index(pd.Index([True, False, True], name="ts")), "column 'ts' holds bool, not times"),
        (frame().set_index(pd.RangeIndex(3, name="ts")), "no column for timestamp"),
    ]:
        bad.to_parquet(tmp_path / "bars")
        with pytest.raises(DataError) as caught:
            read_bars(tmp_path / "bars")
        assert said in str(caught.value)


@given(row=st.integers(0, 199), column=st.integers(1, 5))
@fixtures_last
def test_the_bad_cell_is_found_wherever_it_is(tmp_path_factory, row, column):
    bars = frame(200).reset_index().astype(str)
    bars.iloc[row, column] = "bad"
    path = tmp_path_factory.mktemp("cell") / "a"
    bars.to_csv(path, index=False)
    with pytest.raises(DataError, match=f"line {row + 2}, column '{OHLCV[column - 1]}': 'bad' is not"):
        read_bars(path)


# Files that cannot be read


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match="none.csv: there is no such file"):
        read_bars(tmp_path / "none.csv")
    with pytest.raises(DataError, match="this is not a file but a folder"):
        read_bars(tmp_path)
    if sys.platform != "win32":
        with pytest.raises(DataError, match="not a file but a folder or device"):
            read_bars("/dev/null")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (gzip.compress(b"", mtime=0), "the file is empty inside its gzip wrapping"),
        (HEADER.encode(), "has a header"),
        (csv().encode("utf-16"), "is UTF-16 text: save the file as UTF-8"),
        (csv(header=HEADER + ",größe").encode("latin-1"), "line 1 is not UTF-8 text (byte 0xf6)"),
        (csv(*(row + ",größe" for row in ROWS), header=HEADER + ",x").encode("latin-1"), "line 2 is not UTF-8 text"),
        (bytes(range(256)) * 50, "neither Parquet nor CSV text"),
        (b"PK\x03\x04\x00\x00", "begins as ZIP but is cut off or damaged"),
        (b'[[1704067200000,"1","1","1","1","1"]', "begins as JSON but is cut off or damaged"),
        (b"ARROW1\x00\x00", "begins as Arrow but is cut off or damaged"),
        (b"PAR1", "begins as Parquet but is cut off or damaged"),
        (gzip.compress(csv().encode(), mtime=0)[:-9], "begins as gzip but is cut off or damaged"),
        (csv()[:-10].encode(), "line 4 has 4 cells, not the 6 that the header names"),
        (csv(ROWS[0], ROWS[1] + ",1").encode(), "line 3 has 7 cells, not the 6 that the header names"),
        (b"a" * 200_000 + b",b\n1,2", "cannot be read as CSV"),
        (csv(ROWS[0], "2024-01-01 01:00,11,13,10,12," + "x" * 200_000).encode(), "row 2, column 'volume': 'xxx"),
        (csv(ROWS[0] + ',"note', ROWS[1] + ",x", header=HEADER + ",note").encode(), "quoted cell that spans lines"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_reason(refusal, content, said):
    assert said in refusal(content)


def test_a_parquet_file_cut_off_anywhere_is_refused(tmp_path, refusal):
    frame(500).to_parquet(tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    for size in range(4, len(content), 97):
        assert "begins as Parquet but is cut off or damaged" in refusal(content[:size])
    frame(0).to_parquet(tmp_path / "none")
    assert "but no rows" in refusal((tmp_path / "none").read_bytes())


WHOLE = {"csv": csv().encode(), "csv.gz": gzip.compress(csv().encode(), mtime=0)}


@given(kind=st.sampled_from(["csv", "csv.gz", "parquet"]), data=st.data())
@settings(fixtures_last, max_examples=300)
def test_damaged_files_are_read_or_refused_and_never_crash(tmp_path_factory, kind, data):
    path = tmp_path_factory.mktemp("damaged") / "a"
    if "parquet" not in WHOLE:
        frame(20).to_parquet(path)
        WHOLE["parquet"] = path.read_bytes()
    content = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    path.write_bytes(content)
    try:
        bars = read_bars(path).frame
    except RRRError as e:
        assert "\n" not in str(e).replace("\\n", "")
    else:
        assert len(bars) and np.isfinite(bars.to_numpy()).all()


# Names


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("binance_spot_BTCUSDT_1h.parquet", "BTC-USDT"),
        ("bitfinex_BTCUSD_1m_2018-01_2019-02.parquet", "BTC-USD"),
        ("AVAXUSDT-1m-2024-02.csv", "AVAX-USDT"),
        ("some/BTCUSD/folder/eth_eur.csv.gz", "ETH-EUR"),
        ("btc-usd.csv", "BTC-USD"),
        ("XRP_ETH-1m.feather", "XRP-ETH"),
        ("binance_spot_universe_1d.parquet", None),
        ("BTCUSD_ETHUSD.csv", None),
        ("BTC_ETH_USDT.csv", None),
        ("bars_usd.csv", None),
        ("amateur.csv", None),
        ("BTC.csv", None),
        ("", None),
    ],
)
def test_a_name_tells_a_symbol_only_where_it_names_one_pair(name, symbol):
    assert symbol_from_name(name) == symbol


# Real files


def test_real_files_agree_with_their_published_figures(shared_data):
    pattern = (
        r"\| `(ohlcv/\S+\.parquet)` .*? (\d+) rows, (\S+ \S+) \.\. (\S+ \S+); missing (\d+) in (\d+) gaps"
        r".*dup (\d+), off-grid (\d+), NaN 0, zero-vol (\d+), OHLC violations 0"
    )
    figures = re.findall(pattern, (shared_data / "README.md").read_text())
    assert {name for name, *_ in figures} == {
        f"ohlcv/{path.name}" for path in (shared_data / "ohlcv").glob("*.parquet") if "universe" not in path.name
    }
    for name, *expected in figures:
        bars = read_bars(shared_data / name)
        quality = check_bars(bars.frame, re.search(r"_(1m|15m|1h|1d)[_.]", name)[1])
        counts = (quality.missing, quality.gaps, quality.count("duplicate"), quality.count("off_grid"))
        span = [str(pd.Timestamp(ms, unit="ms"))[:16] for ms in (quality.first_ms, quality.last_ms)]
        assert [quality.rows, *span, *counts, quality.count("zero_volume")] == [
            int(value) if value.isdigit() else value for value in expected
        ], name
        assert quality.problems == () and symbol_from_name(name), name


def test_a_long_table_of_many_symbols_is_refused(shared_data):
    with pytest.raises(DataError, match="column 'symbol' holds 107 symbols"):
        read_bars(shared_data / "ohlcv" / "binance_spot_universe_1d_2017_2022H1.parquet")


def test_a_real_binance_futures_month_is_complete(shared_data):
    bars = read_bars(shared_data / "raw" / "binance_um_klines_csv" / "AVAXUSDT-1m-2024-02.csv")
    quality = check_bars(bars.frame, "1m")
    assert bars.format == "binance csv" and quality.rows == 41760 == 29 * 1440
    assert quality.problems == ()
    assert bars.frame.iloc[0][OHLCV].tolist() == [33.173, 33.278, 33.148, 33.264, 31584]
