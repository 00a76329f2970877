"Every vendor's file is told by its content, whatever it is called, and read as the vendor means it, or refused."

import gzip
import io
import json
import pickle
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rrr.core.errors import DataError, ParameterError
from rrr.core.market import OHLCV
from rrr.data.files import open_bars, read_bars

START = 1_704_067_200_000  # 2024-01-01, ms


def walk(rows: int = 40, seed: int = 3, step_ms: int = 60_000, price: float = 40_000.0) -> pd.DataFrame:
    "Bars of a random walk that open where the last one closed, to the cent."
    rng = np.random.default_rng(seed)
    close = np.round(price * np.exp(np.cumsum(rng.normal(0, 0.002, rows))), 2)
    open_ = np.r_[price, close[:-1]]
    high = np.round(np.maximum(open_, close) * (1 + rng.random(rows) * 0.001), 2)
    low = np.round(np.minimum(open_, close) * (1 - rng.random(rows) * 0.001), 2)
    index = pd.DatetimeIndex((START + step_ms * np.arange(rows)).view("datetime64[ms]"), tz="UTC", name="timestamp")
    volume = np.round(0.5 + rng.random(rows) * 10, 5)
    frame = pd.DataFrame(dict(open=open_, high=high, low=low, close=close, volume=volume), index=index)
    frame["quote"] = np.round(frame.volume * (frame.high + frame.low) / 2, 6)
    frame["count"] = rng.integers(1, 500, rows)
    return frame


BARS = walk()
MS = BARS.index.asi8


def cells(columns: str, unit: str = "ms", frame: pd.DataFrame = BARS) -> list[list]:
    "Rows of the columns named, the time first: `t o h l c v`, q quote volume, n trades, T close time, w vwap."
    ms = frame.index.asi8
    step = int(ms[1] - ms[0]) if len(ms) > 1 else 60_000
    scale = {"s": lambda t: t // 1000, "ms": lambda t: t, "us": lambda t: t * 1000, "ns": lambda t: t * 10**6}[unit]
    close = {"s": lambda t: (t + step) // 1000 - 1, "ms": lambda t: t + step - 1, "us": lambda t: (t + step) * 1000 - 1}
    made = {
        "t": [int(scale(t)) for t in ms],
        "T": [int(close.get(unit, scale)(t)) for t in ms],
        **{c: frame[n].tolist() for c, n in zip("ohlcv", OHLCV, strict=True)},
        "q": frame.quote.tolist(),
        "n": [int(n) for n in frame["count"]],
        "w": (frame.quote / frame.volume).round(2).tolist(),
        "0": [0] * len(ms),
    }
    return [list(row) for row in zip(*(made[c] for c in columns.split()), strict=True)]


def lines(rows: list[list], header: str = "", sep: str = ",") -> str:
    return "\n".join([*([header] if header else []), *(sep.join(str(c) for c in row) for row in rows)]) + "\n"


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes, name: str = "a"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def refusal(write):
    "What content is refused with, without the path."

    def refusal(content: str | bytes, name: str = "a", **options) -> str:
        path = write(content, name)
        with pytest.raises(DataError) as caught:
            for _ in open_bars(path, **options).blocks():
                pass
        text = str(caught.value)
        assert text.startswith(f"{path}: ") and text.endswith(".") and "\n" not in text and len(text) < 900
        return text.removeprefix(f"{path}: ")

    return refusal


def assert_bars(got: pd.DataFrame, want: pd.DataFrame = BARS):
    assert (got.index == want.index).all() and str(got.index.dtype) == "datetime64[ms, UTC]"
    assert got[OHLCV].to_numpy().tolist() == want[OHLCV].to_numpy().tolist()
    assert list(got.columns) == [*OHLCV, *(c for c in ("vwap", "trade_count") if c in got)]


BINANCE = "t o h l c v T q n 0 0 0"
BINANCE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


def strings(rows: list[list]) -> list[list]:
    "All but the time as strings, as most venues send them."
    return [[row[0], *(str(c) for c in row[1:])] for row in rows]


def objects(rows: list[list], names: str) -> list[dict]:
    return [dict(zip(names.split(), row, strict=True)) for row in rows]


def kraken(rows, last):
    return json.dumps({"error": [], "result": {"XXBTZUSD": rows, "last": last}})


VENDORS = {
    "binance csv": (lines(cells(BINANCE)), "binance csv", None, "1m"),
    "binance csv in µs": (lines(cells(BINANCE, "us")), "binance csv", None, "1m"),
    "binance csv with header": (lines(cells(BINANCE), BINANCE_HEADER), "binance csv", None, "1m"),
    "binance rest": (json.dumps(strings(cells(BINANCE))), "binance json", None, "1m"),
    "kraken csv": (lines(cells("t o h l c v n", "s")), "kraken csv", None, None),
    "bitfinex rest": (json.dumps(cells("t o c h l v")), "bitfinex json", None, None),
    "bitfinex newest first": (json.dumps(cells("t o c h l v")[::-1]), "bitfinex json", None, None),
    "bitfinex by channel": (
        json.dumps({"trade:1m:tBTCUSD": cells("t o c h l v")}), "bitfinex json", "BTC-USD", "1m",
    ),
    "coinbase exchange": (json.dumps(cells("t l h o c v", "s")[::-1]), "coinbase-exchange json", None, None),
    "coinbase advanced": (
        json.dumps({"candles": objects(strings(cells("t l h o c v", "s"))[::-1], "start low high open close volume")}),
        "coinbase json", None, None,
    ),
    "bybit rest": (
        json.dumps({"retCode": 0, "retMsg": "OK", "result": {"category": "linear", "symbol": "BTCUSDT",
                    "list": [[str(c) for c in row] for row in cells("t o h l c v q")[::-1]]}}),
        "bybit json", "BTC-USDT", None,
    ),
    "bybit csv": (lines(cells("t o h l c v q"), "startTime,openPrice,highPrice,lowPrice,closePrice,volume,turnover"),
                  "csv", None, None),
    "okx rest": (
        json.dumps({"code": "0", "msg": "", "data": [[*map(str, row), "1"] for row in cells("t o h l c v q q")[::-1]]}),
        "okx json", None, None,
    ),
    "okx csv": (
        lines([["BTC-USDT", *row[1:], row[0], 1] for row in cells("t o h l c v q q")],
              "instrument_name,open,high,low,close,vol,vol_ccy,vol_quote,open_time,confirm"),
        "okx csv", "BTC-USDT", None,
    ),
    "kucoin rest": (
        json.dumps({"code": "200000", "data": [[*map(str, r)] for r in cells("t o c h l v q", "s")[::-1]]}),
        "kucoin json", None, None,
    ),
    "kucoin csv": (lines(cells("t o c h l v q", "s"), "time,open,close,high,low,volume,turnover"), "csv", None, None),
    "kucoin futures": (json.dumps({"code": "200000", "data": cells("t o h l c v")}), "kucoin json", None, None),
    "gate rest": (
        json.dumps([[*map(str, row), "true"] for row in cells("t q c h l o v", "s")]), "gate json", None, None
    ),
    "gate csv": (lines(cells("t v c h l o", "s")), "gate csv", None, None),
    "bitget rest": (
        json.dumps({"code": "00000", "msg": "success", "data": [[*map(str, r)] for r in cells("t o h l c v q q")]}),
        "bitget json", None, None,
    ),
    "mexc rest": (json.dumps(strings(cells("t o h l c v T q"))), "mexc json", None, "1m"),
    "bitstamp": (
        json.dumps({"data": {"pair": "BTC/USD", "ohlc": objects(
            [[*map(str, r)] for r in cells("t o h l c v", "s")], "timestamp open high low close volume")}}),
        "bitstamp json", "BTC-USD", None,
    ),
    "gemini": (json.dumps(cells("t o h l c v")[::-1]), "freqtrade json", None, None),
    "freqtrade": (json.dumps(cells("t o h l c v")), "freqtrade json", None, None),
    "htx": (
        json.dumps({"status": "ok", "ch": "market.btcusdt.kline.1min", "data": objects(
            cells("t o c l h v q n", "s")[::-1], "id open close low high amount vol count")}),
        "htx json", "BTC-USDT", "1m",
    ),
    "cryptocompare": (
        json.dumps({"Response": "Success", "Data": {"Data": objects(
            cells("t h l o c v q", "s"), "time high low open close volumefrom volumeto")}}),
        "cryptocompare json", None, None,
    ),
    "polygon": (
        json.dumps({"ticker": "X:BTCUSD", "status": "OK", "resultsCount": len(BARS),
                    "next_url": "https://api.polygon.io/v2/aggs/ticker/X:BTCUSD/range/1/minute/1/2?cursor=a",
                    "results": objects(cells("v w o c h l t n"), "v vw o c h l t n")}),
        "polygon json", "BTC-USD", "1m",
    ),
    "polygon flat file": (
        lines([["X:BTC-USD", *row] for row in cells("v o c h l t n", "ns")],
              "ticker,volume,open,close,high,low,window_start,transactions"),
        "polygon csv", "BTC-USD", None,
    ),
    "tradingview": (
        lines([[*row, 40_000.5, "NaN"] for row in cells("t o h l c v", "s")],
              "time,open,high,low,close,Volume,Basis,Plot"),
        "csv", None, None,
    ),
    "tradingview udf": (
        json.dumps({"s": "ok", **{k: list(v) for k, v in zip("tohlcv", zip(*cells("t o h l c v", "s"), strict=True),
                                                             strict=True)}}),
        "json", None, None,
    ),
    "hyperliquid": (
        json.dumps([dict(t=t, T=T, s="BTC", i="1m", o=str(o), c=str(c), h=str(h), l=str(lo), v=str(v), n=n)
                    for t, T, o, h, lo, c, v, n in cells("t T o h l c v n")]),
        "json", None, "1m",
    ),
    "dydx": (
        json.dumps({"candles": [dict(startedAt=pd.Timestamp(t, unit="ms").strftime("%Y-%m-%dT%H:%M:%S.000Z"),
                    ticker="BTC-USD", resolution="1MIN", low=lo, high=h, open=o, close=c, baseTokenVolume=v, trades=n)
                    for t, o, h, lo, c, v, n in cells("t o h l c v n")][::-1]}),
        "json", "BTC-USD", None,
    ),
    "kraken rest": (kraken(strings(cells("t o h l c w v n", "s")), int(MS[-1] // 1000)), "kraken json", "BTC-USD", None),
}  # fmt: skip


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("wrapping", ["", ".gz", ".zip"])
def test_a_vendors_file_is_read_by_its_content_alone(write, vendor, wrapping):
    text, format, symbol, interval = VENDORS[vendor]
    content = text.encode()
    if wrapping == ".gz":
        content = gzip.compress(content)
    elif wrapping:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as z:
            z.writestr("x", content)
        content = buffer.getvalue()
    bars = read_bars(write(content, "no name that says anything"))
    assert_bars(bars.frame)
    assert (bars.format, bars.symbol, bars.interval) == (format + wrapping, symbol, interval)


@pytest.mark.parametrize("vendor", VENDORS)
def test_what_a_vendor_counts_beside_prices_is_kept(write, vendor):
    got = read_bars(write(VENDORS[vendor][0])).frame
    if "trade_count" in got:
        assert got.trade_count.tolist() == BARS["count"].tolist()
    if "vwap" in got:
        assert np.allclose(got.vwap, BARS.quote / BARS.volume, rtol=1e-6)
    known = {
        "binance csv",
        "binance rest",
        "polygon",
        "kraken rest",
        "mexc rest",
        "bybit rest",
        "okx rest",
        "gate rest",
    }
    assert ("vwap" in got) >= (vendor in known)


def test_the_unfinished_bar_that_a_vendor_marks_is_left_out_with_a_note(write):
    rows = strings(cells("t o h l c w v n", "s"))
    bars = read_bars(write(kraken(rows, int(MS[-2] // 1000))))
    assert_bars(bars.frame, BARS[:-1])
    assert bars.notes[0].startswith("1 unfinished bar left out")
    okx = [[*map(str, row), "1" if i else "0"] for i, row in enumerate(cells("t o h l c v q q")[::-1])]
    bars = read_bars(write(json.dumps({"code": "0", "msg": "", "data": okx})))
    assert_bars(bars.frame, BARS[:-1])


# Evidence


def test_orders_that_flat_bars_cannot_tell_apart_are_one_reading_where_all_rows_are_seen(refusal, write):
    rows = [[START // 1000 + 60 * k, 5, 5, 5, 5, 1] for k in range(9)]
    assert read_bars(write(json.dumps(rows)), format="coinbase-exchange").format == "coinbase-exchange json"
    assert read_bars(write(json.dumps(rows))).frame.open.tolist() == [5] * 9
    said = refusal(lines([[START // 1000 + 60 * k, 5, 5, 5, 5, 1] for k in range(60_000)]))
    assert "coinbase-exchange (time, low, high, open, close, volume)" in said
    assert "plain (time, open, high, low, close, volume)" in said


def test_an_order_that_no_vendor_writes_is_refused_with_what_speaks_against_each(refusal):
    said = refusal(json.dumps(cells("t h o l c v")))
    assert "no known order of columns fits" in said and "freqtrade: the high is not the highest price" in said
    said = refusal(json.dumps(cells("t c h l o v")))
    assert "freqtrade: bars do not connect" in said
    assert "writes 5 columns" in refusal(json.dumps(cells("t o h l c")))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(12, 60),
    order=st.sampled_from(["t o h l c v", "t o c h l v", "t l h o c v", "t o h l c v n", "t o c h l v q"]),
    down=st.booleans(),
)
def test_no_random_walk_is_read_in_a_wrong_order(tmp_path_factory, seed, rows, order, down):
    frame = walk(rows, seed)
    unit = "s" if order in ("t l h o c v", "t o h l c v n", "t o c h l v q") else "ms"
    path = tmp_path_factory.mktemp("walk") / "a"
    path.write_text(lines(cells(order, unit, frame)[:: -1 if down else 1]))
    assert_bars(read_bars(path).frame, frame)


def test_a_forced_format_must_fit_the_content(write, refusal):
    rows = json.dumps(cells("t o h l c v"))
    assert "bitfinex: the high is not the highest price" in refusal(rows, format="bitfinex")
    assert "the content is json, not parquet" in refusal(rows, format="parquet")
    with pytest.raises(ParameterError, match="did you mean 'bitfinex'"):
        read_bars(write(rows), format="bitfinx")
    for path in (write(lines(cells(BINANCE))), write(gzip.compress(rows.encode()), "b")):
        assert read_bars(path, format=read_bars(path).format).format == read_bars(path).format


def test_days_and_months_are_told_by_the_rows_or_refused_with_both_readings(write, refusal):
    def dates(pattern, start, rows, freq="D"):
        index = pd.date_range(start, periods=rows, freq=freq)
        return lines(
            [[d.strftime(pattern), 1, 2, 0.5, 1.5, 9] for d in index], "date,open,high,low,close,volume"
        ), index

    for pattern in ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%m-%d-%Y %I:%M %p", "%d.%m.%Y %H:%M:%S.000"):
        text, index = dates(pattern, "2024-01-01", 20)
        assert (read_bars(write(text)).frame.index.tz_localize(None) == index).all(), pattern
    text, index = dates("%d/%m/%Y %H:%M", "2024-02-29 12:00", 20, "h")
    assert (read_bars(write(text)).frame.index.tz_localize(None) == index).all()
    text, index = dates("%d/%m/%Y", "2024-04-03", 1)
    said = refusal(text)
    assert "2024-04-03 (day first) or 2024-03-04 (month first)" in said
    assert read_bars(write(text), format="dmy").frame.index[0] == index[0].tz_localize("UTC")
    assert read_bars(write(text), format="csv mdy").frame.index[0].month == 3
    text, _ = dates("%d/%m/%Y", "2024-01-01", 3)
    assert "(day first) or" in refusal(text)  # three days of January, or the first of three months
    assert "line 3" in refusal(lines([["13/01/2024", 1, 1, 1, 1, 1], ["01/13/2024", 1, 1, 1, 1, 1]], "t,o,h,l,c,v"))


@pytest.mark.parametrize(
    ("pattern", "zoned"),
    [
        ("%Y-%m-%d %I-%p", False),  # CryptoDataDownload's hours
        ("%Y%m%d %H:%M", False),  # Lean's hours and days
        ("%Y.%m.%d %H:%M", False),  # MetaTrader, Bybit
        ("%Y/%m/%d %H:%M:%S", False),
        ("%Y-%m-%d %H:%M:%S UTC", True),
        ("%Y-%m-%dT%H:%M:%SZ", True),
        ("%Y-%m-%d %H:%M:%S+00:00", True),
    ],
)
def test_dates_of_other_customs_are_read(write, pattern, zoned):
    frame = walk(30, step_ms=3_600_000)
    rows = [
        [t.strftime(pattern), *row[1:]] for t, row in zip(frame.index, cells("t o h l c v", frame=frame), strict=True)
    ]
    for header in ("time,open,high,low,close,volume", ""):
        bars = read_bars(write(lines(rows, header)))
        assert_bars(bars.frame, frame)
        assert any("carry no zone" in note for note in bars.notes) != zoned


def test_close_times_are_turned_to_open_times_only_where_the_header_says_so(write, refusal):
    header = "close_time,open,high,low,close,volume"
    bars = read_bars(write(lines([[row[0], *row[1:]] for row in cells("T o h l c v")], header)))
    assert_bars(bars.frame)
    assert "stamps are close times: 60000 ms were taken off to give open times" in bars.notes
    both = read_bars(write(lines(cells("T t o h l c v"), "close_time,open_time,open,high,low,close,volume")))
    assert_bars(both.frame)
    assert both.interval == "1m" and not any("taken off" in note for note in both.notes)
    said = refusal(lines(cells("T o h l c v")[:1], header))
    assert "no column for timestamp" in said and "how long a bar is" in said


def test_bitmex_labels_bars_by_their_close_and_counts_contracts(write):
    rows = [
        dict(timestamp=pd.Timestamp(t + 60_000, unit="ms").strftime("%Y-%m-%dT%H:%M:%S.000Z"), symbol="XBTUSD",
             open=o, high=h, low=lo, close=c, trades=n, volume=round(q), homeNotional=v, foreignNotional=q)
        for t, o, h, lo, c, n, v, q in cells("t o h l c n v q")
    ]  # fmt: skip
    bars = read_bars(write(json.dumps(rows)))
    assert_bars(bars.frame)
    assert (bars.format, bars.symbol) == ("bitmex json", "BTC-USD")


# CryptoDataDownload

URL = "https://www.CryptoDataDownload.com\n"


def cdd(rows, header="Unix,Date,Symbol,Open,High,Low,Close,Volume BTC,Volume USDT,tradecount", url=URL):
    return url + lines(rows, header)


def cdd_rows(swapped=(), units=None, frame=BARS):
    rows = []
    for i, (t, o, h, lo, c, v, q, n) in enumerate(cells("t o h l c v q n", frame=frame)):
        pair = (q, v) if i in swapped else (v, q)
        unit = 1 if units is None or units(i) == "ms" else 1000
        rows.append([t // unit, str(pd.Timestamp(t, unit="ms")), "BTC/USDT", o, h, lo, c, *pair, n])
    return rows[::-1]


def test_cryptodatadownload_is_turned_round_and_each_row_tells_its_volumes(write):
    bars = read_bars(write(cdd(cdd_rows(swapped=range(15)))))
    assert_bars(bars.frame)
    assert (bars.format, bars.symbol) == ("cryptodatadownload csv", "BTC-USDT")
    assert (
        "columns 'Volume BTC' and 'Volume USDT' are exchanged in 15 of 40 rows: volume x price tells each row"
        in bars.notes
    )
    assert bars.frame.trade_count.tolist() == BARS["count"].tolist()
    old = [[*row[1:9]] for row in cdd_rows()]
    bars = read_bars(write(cdd(old, "Date,Symbol,Open,High,Low,Close,Volume From,Volume To")))
    assert_bars(bars.frame)
    note = "Timestamps are UTC timezone,https://www.CryptoDataDownload.com\n"
    assert_bars(read_bars(write(cdd(cdd_rows(), url=note))).frame)


def test_contradictory_volumes_are_refused_by_line(refusal):
    rows = cdd_rows()
    rows[4][7:9] = [3.0, 3.0]
    assert refusal(cdd(rows)).startswith("line 7: volumes 3 and 3 at a close of")


def test_a_time_column_may_change_its_unit_where_another_one_agrees(write, refusal):
    mixed = cdd_rows(units=lambda i: "s" if i < 20 else "ms")
    bars = read_bars(write(cdd(mixed)))
    assert_bars(bars.frame)
    assert "a time column changes its unit; each row agrees with the other time column" in bars.notes
    mixed[5][0] += 60_000
    assert "'Unix' and 'Date' could be the same thing but differ at line 8" in refusal(cdd(mixed))
    alone = [[row[0], *row[3:8]] for row in cdd_rows(units=lambda i: "s" if i < 20 else "ms")]
    assert "times change from ms to s" in refusal(lines(alone, "unix,open,high,low,close,volume"))


# Contracts


def test_inverse_contracts_are_counted_in_base_currency(write):
    frame = BARS.copy()
    usd = [[row[0], *row[1:5], round(row[5] * row[6] / row[6] * 1000) * 100] for row in cells("t o h l c v q")]
    rows = [[t, o, h, lo, c, dollars, round(dollars / ((h + lo) / 2), 8)] for t, o, h, lo, c, dollars in usd]
    bars = read_bars(write(json.dumps({"retCode": 0, "result": {"symbol": "BTCUSD", "list": rows}})))
    assert bars.frame.volume.tolist() == [row[6] for row in rows] and (bars.frame.index == frame.index).all()
    assert any("counts contracts of 1 in quote currency" in note for note in bars.notes)


def test_contracts_of_okx_are_told_from_the_base_volume_beside_them(write):
    rows = [[str(t), o, h, lo, c, v * 100, v, q, "1"] for t, o, h, lo, c, v, q in cells("t o h l c v q")]
    bars = read_bars(write(json.dumps({"code": "0", "msg": "", "data": rows})))
    assert_bars(bars.frame)
    assert "volume counts contracts: the base volume is taken from the column beside it" in bars.notes
    header = "instrument_name,open,high,low,close,vol,vol_ccy,vol_quote,open_time,confirm"
    text = lines([["BTC-USDT-SWAP", *row[1:8], row[0], 1] for row in rows], header)
    assert_bars(read_bars(write(text)).frame)


def test_months_of_binance_in_ms_and_us_may_stand_in_one_file(write, refusal):
    rows = cells(BINANCE)[:20] + cells(BINANCE, "us")[20:]
    bars = read_bars(write(lines(rows, BINANCE_HEADER)))
    assert_bars(bars.frame)
    assert "a time column changes its unit; each row agrees with the other time column" in bars.notes
    assert_bars(read_bars(write(zipped({"m1.csv": lines(rows[:20]), "m2.csv": lines(rows[20:])}))).frame)
    rows[30][6] += 60_000_000
    assert "times change from ms to µs" in refusal(lines(rows, BINANCE_HEADER))


def test_stamps_of_kaggle_and_coinmarketcap_are_read(write):
    stamp = lambda ms, us: f"{pd.Timestamp(ms, unit='ms'):%Y-%m-%d %H:%M:%S}.{us:06d} UTC"  # noqa: E731
    rows = [[stamp(r[0], 0), *r[1:6], stamp(r[0] + 59_000, 999_999), *r[7:9]] for r in cells(BINANCE)]
    header = "Open time,Open,High,Low,Close,Volume,Close time,Quote asset volume,Number of trades"
    bars = read_bars(write(lines(rows, header)), tz="Asia/Tokyo")
    assert_bars(bars.frame)
    assert (bars.interval, bars.format) == ("1m", "binance csv")
    iso = lambda ms: f'"{pd.Timestamp(ms, unit="ms").isoformat(timespec="milliseconds")}Z"'  # noqa: E731
    rows = [[iso(r[0]), iso(r[6]), *r[1:6], iso(r[6])] for r in cells(BINANCE)]
    bars = read_bars(write(lines(rows, "timeOpen;timeClose;open;high;low;close;volume;timestamp", ";")))
    assert_bars(bars.frame)


def test_a_column_or_vendor_that_says_utc_needs_no_zone(write):
    rows = [[str(t)[:19], *row[1:]] for t, row in zip(BARS.index, cells("t o h l c v"), strict=True)]
    bars = read_bars(
        write(lines(rows, "Date (UTC),open,high,low,close,volume").replace("Date (UTC)", "Date UTC")), tz="Asia/Tokyo"
    )
    assert_bars(bars.frame)
    assert bars.notes == ()


# Lean


def lean(rows, entry, name="20240101_trade.zip"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as z:
        z.writestr(entry, lines(rows))
    return buffer.getvalue(), name


def lean_rows(columns="t o h l c v"):
    return [[row[0] - START, *row[1:]] for row in cells(columns)]


def test_lean_counts_from_the_midnight_in_its_name(write, refusal):
    bars = read_bars(write(*lean(lean_rows(), "20240101_btcusd_minute_trade.csv")))
    assert_bars(bars.frame)
    assert (bars.format, bars.symbol, bars.interval) == ("lean csv.zip", "BTC-USD", "1m")
    assert "no name tells the day" in refusal(*lean(lean_rows(), "btcusd.csv", "b.zip"))
    assert "Lean scales other prices" in refusal(*lean(lean_rows(), "20240101_aapl_minute_trade.csv"))
    quotes = lean_rows("t o h l c v o h l c v")
    assert refusal(*lean(quotes, "20240101_btcusd_minute_quote.csv")).startswith("the file holds quotes, not bars")


# Several symbols, several parts


def test_rows_of_one_symbol_are_picked_out_of_many(write, refusal):
    other = walk(40, 9, price=2000.0)
    rows = [
        row for a, b in zip(cells("t o h l c v"), cells("t o h l c v", frame=other), strict=True)
        for row in ([*a, "BTC/USDT"], [*b, "ETHUSDT"])
    ]  # fmt: skip
    text = lines(rows, "time,open,high,low,close,volume,symbol")
    bars = read_bars(write(text), symbol="eth/usdt")
    assert_bars(bars.frame, other)
    assert bars.symbol == "ETH-USDT" and "column 'symbol' says 2 symbols, of which ETH-USDT was read" in bars.notes
    assert "holds 2 symbols (BTC/USDT, ETHUSDT)" in refusal(text)
    assert "holds no rows of SOL-USDT; it holds BTC/USDT, ETHUSDT" in refusal(text, symbol="SOL-USDT")
    rows[7][3] = "x"
    assert refusal(lines(rows, "time,open,high,low,close,volume,symbol"), symbol="ETH-USDT").startswith(
        "line 9, column 'low': 'x'"
    )


def test_a_file_of_another_symbol_than_asked_for_is_refused(refusal, write):
    assert "it holds BTC-USD, not ETH-USD" in refusal(VENDORS["bitstamp"][0], symbol="ETH-USD").replace("BTC/", "BTC-")
    assert read_bars(write(VENDORS["bitstamp"][0]), symbol="BTC-USD").symbol == "BTC-USD"


def zipped(parts: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as z:
        for name, text in parts.items():
            z.writestr(name, text)
    return buffer.getvalue()


@pytest.mark.parametrize("down", [False, True])
def test_the_parts_of_a_series_are_put_together_in_the_order_of_time(write, down):
    rows = cells(BINANCE)
    parts = [rows[:15], rows[15:30], rows[30:]]
    turn = -1 if down else 1
    names = ["BTCUSDT-1m-2024-10.csv", "BTCUSDT-1m-2024-2.csv", "BTCUSDT-1m-2024-3.csv"]
    content = zipped({name: lines(part[::turn]) for name, part in zip(names, parts, strict=True)} | {"a.CHECKSUM": "x"})
    bars = read_bars(write(content))
    assert_bars(bars.frame)
    assert bars.notes[0] == "3 parts put together in the order of time" and bars.format == "binance csv.zip"
    stream = open_bars(write(content), size=7)
    blocks = list(stream.blocks())
    assert stream.descending == down
    assert_bars(pd.concat(blocks[::turn]))


def test_files_in_a_zip_that_are_no_parts_of_one_series_are_refused_by_name(refusal):
    rows = cells(BINANCE)
    said = refusal(zipped({"BTC.csv": lines(rows), "ETH.csv": lines(rows)}))
    assert "holds 2 files (BTC.csv, ETH.csv)" in said
    assert "overlaps another one in time" in refusal(zipped({"b1.csv": lines(rows[:20]), "b2.csv": lines(rows[10:])}))
    assert "not made alike" in refusal(zipped({"b1.csv": lines(rows[:20]), "b2.csv": lines(cells("t o h l c v")[20:])}))
    assert "the part 'b2.csv' is empty" in refusal(zipped({"b1.csv": lines(rows), "b2.csv": ""}))
    assert "part 'b2.csv' of 2 in the ZIP: the first line" in refusal(zipped({"b1.csv": lines(rows), "b2.csv": "x\n"}))
    assert "holds no data file" in refusal(zipped({"readme.md": "x"}))


# Other things


OTHER = {
    "trades by name": ("timestamp,price,amount,side\n1704067200,1,1,buy\n", "trades, not bars", "read_trades"),
    "binance trades": ("1,40000.1,0.5,20000,1704067200000,True,True\n2,40000.1,0.5,20000,1704067200001,False,True\n",
                       "trades", "read_trades"),
    "binance aggTrades": ("1,40000.1,0.5,1,2,1704067200000,True,True\n", "trades", "read_trades"),
    "freqtrade trades": ('[[1704067200000,"1",null,"buy",40000.1,0.5,20000.05]]', "trades", "read_trades"),
    "kraken trades": ("1704067200,40000.1,0.5\n1704067201,40000.2,0.5\n", "trades", "read_trades"),
    "quotes": ("timestamp,bid,bid_size,ask,ask_size\n1704067200,1,1,2,1\n", "quotes", "read_quotes"),
    "book": ('{"pricebook": {"bids": [{"price": "1"}], "asks": [{"price": "2"}]}}', "an order book", "read_books"),
    "funding": ("calc_time,funding_interval_hours,last_funding_rate\n1704067200000,8,0.0001\n", "funding", "read_funding"),
    "freqtrade funding": ("date,open,high,low,close,volume\n2024-01-01,0.0001,0,0,0,0\n", "funding", "read_funding"),
    "index": ("date,value,classification\n2018-02-01,30,Fear\n", "a sentiment index", "read_sentiment"),
    "index json": ('{"name": "Fear and Greed Index", "data": [{"value": "30", "value_classification": "Fear", '
                   '"timestamp": "1517443200"}], "metadata": {"error": null}}', "a sentiment index", "read_sentiment"),
    "chain": ("time,AdrActCnt,PriceUSD,SplyCur\n2020-01-01,1,1,1\n", "on-chain metrics", "read_onchain"),
    "capture": ('1723161253937085768 {"stream":"btcusdt@trade","data":{}}\n', "a websocket capture", "read_capture"),
    "capture lines": ('{"ev":"XT","p":1}\n{"ev":"XT","p":2}\n', "a websocket capture", "read_capture"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER)
def test_what_is_no_bars_is_named_with_the_reader_that_takes_it(refusal, name):
    content, what, reader = OTHER[name]
    said = refusal(content)
    assert f"the file holds {what}" in said and reader in said


ERRORS = {
    "kraken": ({"error": ["EQuery:Unknown asset pair"]}, "EQuery:Unknown asset pair"),
    "binance": ({"code": -1121, "msg": "Invalid symbol."}, "-1121 Invalid symbol."),
    "polygon": ({"status": "ERROR", "request_id": "1", "error": "Unknown API Key"}, "Unknown API Key"),
    "polygon plan": ({"status": "NOT_AUTHORIZED", "message": "You are not entitled to this data."}, "not entitled"),
    "bitfinex": (["error", 10020, "symbol: invalid"], "10020 symbol: invalid"),
    "bybit": ({"retCode": 10001, "retMsg": "Not supported symbols", "result": {}}, "Not supported symbols"),
    "okx": ({"code": "51001", "msg": "Instrument ID does not exist", "data": []}, "Instrument ID does not exist"),
    "kucoin": ({"code": "400100", "msg": "symbol not exists"}, "symbol not exists"),
    "coinbase": ({"message": "NotFound"}, "NotFound"),
    "htx": ({"status": "error", "err-code": "invalid-parameter", "err-msg": "invalid symbol"}, "invalid symbol"),
    "gemini": ({"result": "error", "reason": "InvalidSymbol", "message": "bad"}, "bad"),
    "cryptocompare": ({"Response": "Error", "Message": "fsym is a required param."}, "fsym is a required"),
}


@pytest.mark.parametrize("vendor", ERRORS)
def test_an_error_is_refused_in_the_vendors_own_words(refusal, vendor):
    body, words = ERRORS[vendor]
    said = refusal(json.dumps(body))
    assert said.startswith("the file holds an error of the vendor, not data") and words in said


@pytest.mark.parametrize(
    "body",
    ['{"ticker":"X:A","status":"OK","resultsCount":0,"queryCount":0}', "[]", '{"candles": []}', '{"retCode":0,"result":{"list":[]}}'],
)  # fmt: skip
def test_an_answer_without_bars_is_no_error_but_holds_none(refusal, body):
    assert "the answer holds no bars" in refusal(body)


def test_a_ticker_that_is_no_pair_is_told_and_refused_for_another_symbol(write, refusal):
    text = VENDORS["polygon"][0].replace("X:BTCUSD", "AAPL")
    bars = read_bars(write(text))
    assert bars.symbol is None and "the vendor names it AAPL" in bars.notes
    assert "it holds AAPL, not BTC-USD" in refusal(text, symbol="BTC-USD")


class Bomb:
    def __reduce__(self):
        return print, ("loaded",)


FOREIGN = {
    "pickle": (pickle.dumps(Bomb()), "Python pickle, which can run code"),
    "html": (b"\n<!DOCTYPE html><html><title>403 Forbidden</title>", "'403 Forbidden'"),
    "xlsx": (
        zipped({"[Content_Types].xml": "", "xl/workbook.xml": ""}),
        "Excel or Office document (XLSX): save the sheet",
    ),
    "utf-16": ("timestamp,open\n".encode("utf-16-le"), "UTF-16"),
    "sqlite": (b"SQLite format 3\0" + bytes(100), "SQLite"),
    "xz": (b"\xfd7zXZ\0" + bytes(20), "xz: unpack"),
    "zip in gzip": (gzip.compress(zipped({"a": "b,c\n1,2"})), "ZIP inside another wrapping"),
    "cut gzip": (gzip.compress(lines(cells(BINANCE)).encode())[:-20], "begins as gzip but is cut off"),
    "cut zip": (zipped({"a": lines(cells(BINANCE))})[:-30], "begins as ZIP but is cut off"),
    "cut json": (json.dumps(cells(BINANCE))[:-5].encode(), "begins as JSON but is cut off or damaged"),
    "nul": ((lines(cells(BINANCE)) + "17040\0").encode(), "line 41 holds a NUL byte"),
    "ragged json": (json.dumps([*cells("t o h l c v"), [1, 2]]).encode(), "candle 41 has 2 cells, not 6"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_that_is_no_data_is_refused_with_its_reason(refusal, capsys, name):
    content, words = FOREIGN[name]
    assert words in refusal(content)
    assert capsys.readouterr().out == ""


def test_an_encrypted_zip_and_a_bomb_are_refused(write, refusal, tmp_path):
    content = bytearray(zipped({"a.csv": lines(cells(BINANCE))}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + at] |= 1
    assert "is encrypted" in refusal(bytes(content))
    head = "time,open,high,low,close,volume\n" + lines(cells("t o h l c v"))
    with gzip.open(tmp_path / "bomb", "wb", compresslevel=9) as f:
        f.write(head.encode())
        for _ in range(10):
            f.write(b"\n" * (8 << 20))
    assert "swells to more than 250 times" in refusal((tmp_path / "bomb").read_bytes())


# Text


def test_traps_of_text_are_read_or_refused_by_line(write, refusal):
    header, rows = "time,open,high,low,close,volume", cells("t o h l c v")
    body = lines(rows)
    assert_bars(read_bars(write("\ufeff" + (header + "\n" + body).replace("\n", "\r\n"))).frame)
    assert_bars(read_bars(write("# made by hand\n\n" + header + "\n" + body)).frame)
    assert_bars(read_bars(write("# " + header + "\n" + body)).frame)
    assert_bars(read_bars(write(header + "\n" + body.replace("\n", ",\n"))).frame)
    assert_bars(read_bars(write(header + ",\n" + body.replace("\n", ",\n"))).frame)
    assert_bars(read_bars(write(header + "\n\n" + body.replace("\n", "\n\n"))).frame)
    quoted = lines([[f'"{c}"' for c in row] for row in rows], header)
    assert_bars(read_bars(write(quoted)).frame)
    science = lines([[row[0], *(f"{c:.12e}" for c in row[1:])] for row in rows], header)
    assert_bars(read_bars(write(science)).frame)
    shuffled = lines(cells("v c t l o h"), "Volume\tClose\tTime\tLow\tOpen\tHigh", "\t")
    assert_bars(read_bars(write(shuffled)).frame)
    again = lines([*rows[:9], header.split(","), *rows[9:]], header)
    assert refusal(again).startswith("line 11 repeats the header")
    cut = refusal(header + "\n" + body[: body.rindex(",")])
    assert cut == "line 41 has 5 cells, not the 6 that the header names: it may be cut off."
    assert_bars(read_bars(write("sep=;\n" + lines(rows, header.replace(",", ";"), ";"))).frame)
    noted = lines([*rows[:3], ["# comment"], *rows[3:]], header)
    assert refusal(noted).startswith("line 5 has 1 cell, not the 6")


def test_a_decimal_comma_is_told_by_the_cells_or_refused(write, refusal):
    header, rows = "time;open;high;low;close;volume", cells("t o h l c v")
    comma = [[row[0], *(str(c).replace(".", ",") for c in row[1:])] for row in rows]
    bars = read_bars(write(lines(comma, header, ";")))
    assert_bars(bars.frame)
    assert bars.notes[0] == "numbers are written with a decimal comma"
    assert_bars(read_bars(write(lines(comma, "", ";"))).frame)
    doubt = lines([[START, "1,234", "1,235", "1,233", "1,234", 5]], header, ";")
    assert "'1,234' could be a decimal comma or thousands" in refusal(doubt)


# Streams


def test_blocks_of_any_size_are_the_whole_file(write):
    path = write(lines(cells(BINANCE), BINANCE_HEADER))
    whole = read_bars(path)
    for size in (1, 7, 39, 40, 41, 1000):
        stream = open_bars(path, size=size)
        assert stream.sha256 is None
        blocks = list(stream.blocks())
        assert {len(b) for b in blocks[:-1]} <= {size} and len(blocks[-1]) <= size
        pd.testing.assert_frame_equal(pd.concat(blocks), whole.frame)
        assert (stream.sha256, stream.notes, stream.progress) == (whole.sha256, whole.notes, 1.0)


def test_a_bad_cell_deep_in_a_long_file_is_named_by_its_line(write, refusal):
    rows = 120_000
    body = [f"{START + 60_000 * k},1.5,2.5,0.5,1.5,{k}" for k in range(rows)]
    header = "time,open,high,low,close,volume"
    good = "\n".join([header, *body]) + "\n"
    stream = open_bars(write(gzip.compress(good.encode(), 1)), size=50_000)
    assert [len(b) for b in stream.blocks()] == [50_000, 50_000, 20_000]
    body[110_000] = body[110_000].replace("2.5", "2.5x")
    body[50] += "\n"
    assert refusal("\n".join([header, *body]) + "\n").startswith("line 110003, column 'high': '2.5x'")
    body[110_000] = body[110_000].replace("2.5x", "nan")
    assert refusal("\n".join([header, *body]) + "\n").startswith("line 110003, column 'high': 'nan'")


def test_a_file_that_changes_while_it_is_read_is_refused(write):
    path = write(lines(cells(BINANCE), BINANCE_HEADER))
    stream = open_bars(path, size=5)
    blocks = stream.blocks()
    next(blocks)
    path.write_text(path.read_text() + "\n")
    with pytest.raises(DataError, match="changed while it was read"):
        list(blocks)


def test_parquet_and_arrow_come_in_blocks_in_file_and_stream_form(tmp_path):
    table = pa.table({"t": MS, "o": BARS.open, "h": BARS.high, "l": BARS.low, "c": BARS.close, "v": BARS.volume})
    pq.write_table(table, tmp_path / "p", row_group_size=11)
    with pa.OSFile(str(tmp_path / "f"), "wb") as f, pa.ipc.new_file(f, table.schema) as w:
        w.write_table(table, max_chunksize=13)
    with pa.OSFile(str(tmp_path / "s"), "wb") as f, pa.ipc.new_stream(f, table.schema) as w:
        w.write_table(table, max_chunksize=13)
    for name, kind in (("p", "parquet"), ("f", "arrow"), ("s", "arrow")):
        path = tmp_path / name
        assert_bars(pd.concat(open_bars(path, size=9).blocks()))
        packed = tmp_path / f"{name}.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        assert_bars(read_bars(packed).frame)
        assert (read_bars(path).format, read_bars(packed).format) == (kind, kind + ".gz")


@given(kind=st.sampled_from(sorted(VENDORS)), data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=250)
def test_damaged_vendor_files_are_read_or_refused_and_never_crash(tmp_path_factory, kind, data):
    content = bytearray(VENDORS[kind][0].encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
    path = tmp_path_factory.mktemp("damaged") / "a"
    path.write_bytes(content)
    try:
        bars = read_bars(path).frame
    except DataError as e:
        assert "\n" not in str(e)
    else:
        assert len(bars) and np.isfinite(bars[OHLCV].to_numpy()).all()


# ---- vendor_files tests
def test_a_point_in_a_file_of_decimal_commas_is_no_decimal_point(refusal):
    head, day = "Date;open;high;low;close;volume", "29.03.2025 12:00"
    said = refusal(f"{head}\n{day};82.294;82.528;82.145;82.463;634,08\n")
    assert "line 2, column 'open': '82.294' has a point, and other cells have a decimal comma" in said
    assert "'1.234,5' has a point" in refusal(f"{head}\n{day};1.234,5;1.300,5;1.200,5;1.234,5;634,08\n")


def test_points_in_the_dates_of_a_file_of_decimal_commas_are_no_numbers(write):
    text = "Date;open;high;low;close;volume\n31.12.2023;82294,5;82528,5;82145,5;82463,5;634,08\n"
    assert read_bars(write(text)).frame.open.tolist() == [82294.5]


def test_a_point_that_comes_late_in_a_file_of_decimal_commas_is_refused_too(refusal):
    row = "29.03.2025 12:00;82294,5;82528,5;82145,5;82463,5;634,08\n"
    late = "Date;open;high;low;close;volume\n" + row * 150_000 + row.replace("82294,5", "82.294")
    assert "line 150002, column 'open': '82.294' has a point" in refusal(late)


def test_prices_that_could_all_be_thousands_are_refused_until_the_point_is_settled(write, refusal):
    text = "Date;open;high;low;close;volume\n29.03.2025 12:00;82.294;82.528;82.145;82.463;634\n"
    assert "'82.294' could be 82294 or 82.294 with a decimal point" in refusal(text)
    assert read_bars(write(text), format="point").frame.open.iloc[0] == 82.294


def test_tardis_bars_are_stamped_by_their_end_and_not_by_their_first_trade(write, refusal):
    stamps = lambda ms: pd.Timestamp(ms, unit="ms", tz="UTC").isoformat()  # noqa: E731
    header = "timestamp,openTimestamp,closeTimestamp,localTimestamp,open,high,low,close,volume"
    rows = [
        [stamps(t + 60_000), stamps(t + 700), stamps(t + 59_000), stamps(t + 60_090), *r[1:]]
        for t, r in zip(MS, cells("t o h l c v"), strict=True)
    ]
    assert_bars(read_bars(write(lines(rows, header))).frame)
    wrong = [[r[1], *r[1:]] for r in rows]
    wrong[3][0] = stamps(MS[3] - 60_000)
    assert "is no end of a bar that 'openTimestamp' lies in" in refusal(lines(wrong, header))


@pytest.mark.parametrize("unit", ["s", "us"])
def test_close_times_that_lack_the_last_second_or_microsecond_give_open_times_on_the_grid(write, unit):
    assert_bars(read_bars(write(lines(cells("T o h l c v", unit), "close_time,open,high,low,close,volume"))).frame)


def test_iso_close_times_that_end_at_59_seconds_give_open_times_on_the_grid(write):
    rows = [[str(pd.Timestamp(r[0], unit="s")), *r[1:]] for r in cells("T o h l c v", "s")]
    assert_bars(read_bars(write(lines(rows, "close_time,open,high,low,close,volume"))).frame)


def test_okx_rows_that_are_not_confirmed_are_left_out(write):
    rows = [[*r, 1] for r in cells("t o h l c v")]
    rows[-1][-1] = 0
    bars = read_bars(write(lines(rows, "open_time,open,high,low,close,vol,confirm")))
    assert len(bars.frame) == len(BARS) - 1
    assert "1 unfinished bar left out: column 'confirm' is 0" in bars.notes


def test_volume_in_quote_currency_by_the_vendors_convention_is_said(write):
    rows = [[*r, 5] for r in cells("t o h l c v")]
    for name, vendor in {"marketCap": "CoinMarketCap", "Adj Close": "Yahoo"}.items():
        bars = read_bars(write(lines(rows, f"timestamp,open,high,low,close,volume,{name}")))
        assert any("quote currency by the convention of " + vendor in note for note in bars.notes)


@pytest.mark.parametrize(
    "doc",
    [
        [[]],
        {"columns": ["a", "b"], "index": [1], "data": [[1, 2, 3]]},
        {"columns": ["a"], "index": [1], "data": [1]},
        {"columns": ["a", "b"], "data": [[1, 2, 3]]},
        {"error": [], "result": {"XXBTZUSD": [[1, 1, 1, 1, 1, 1, 1, 1]], "last": "abc"}},
        {"error": [], "result": {"XXBTZUSD": [["x", 1, 1, 1, 1, 1, 1, 1]], "last": 5}},
        {"error": [], "result": {"XXBTZUSD": [None], "last": 5}},
        {"ch": "market.btcusdt.kline.60min", "data": [[1]]},
    ],
)
def test_json_that_begins_like_a_vendors_and_is_not_made_like_it_is_refused_with_a_sentence(refusal, doc):
    assert refusal(json.dumps(doc))


def test_what_pandas_writes_as_json_by_default_is_read(write):
    frame = BARS[OHLCV]
    stamps = frame.index.asi8
    for orient in ("columns", "index"):
        assert_bars(read_bars(write(frame.set_axis(stamps.astype(str)).to_json(orient=orient))).frame)
        numbered = frame.assign(timestamp=stamps).reset_index(drop=True)
        assert_bars(read_bars(write(numbered.to_json(orient=orient))).frame)
    one = frame.assign(timestamp=stamps).reset_index(drop=True).head(1).to_json(orient="records", lines=True)
    assert len(read_bars(write(one)).frame) == 1


def test_rows_without_a_header_that_hardly_ever_move_are_told_by_those_that_do(write):
    rows = [[START + i * 60_000, 10.0, 10.0, 10.0, 10.0, 1.0] for i in range(400)]
    moving = [*rows[:-1], [rows[-1][0], 10.0, 12.0, 9.0, 11.0, 1.0]]
    assert read_bars(write(lines(moving, ""))).frame.iloc[-1].tolist() == [10, 12, 9, 11, 1]
    assert (read_bars(write(lines(rows, ""))).frame[OHLCV] == [10, 10, 10, 10, 1]).all().all()


def test_mark_prices_of_binance_count_rows_without_a_volume(write):
    rows = [[*r[:5], 0, r[5], 0, 60, 0, 0, 0] for r in cells("t o h l c T")]
    assert (read_bars(write(lines(rows, ""))).frame.volume == 0).all()


def test_futures_of_kucoin_are_read(write):
    rows = [[*r[:5], round(r[5] * 1000), r[6]] for r in cells("t o h l c v q")]
    bars = read_bars(write(json.dumps({"code": "200000", "data": rows})))
    assert (bars.frame.close.to_numpy() == BARS.close).all() and any("contracts" in n for n in bars.notes)


@pytest.mark.parametrize("names", ["Volume 1INCH,Volume USDT", "Volume USDT,Volume 1INCH"])
def test_a_currency_that_begins_with_a_digit_names_a_volume(write, names):
    rows = [
        [r[0], "1INCH/USDT", *r[1:]]
        for r in cells("t o h l c v q" if names.startswith("Volume 1") else "t o h l c q v")
    ]
    assert_bars(read_bars(write(lines(rows, f"unix,symbol,open,high,low,close,{names}"))).frame)


def test_a_lone_volume_that_names_its_coin_is_the_volume(write, refusal):
    rows = cells("t o h l c v")
    assert_bars(read_bars(write(lines(rows, "timestamp,open,high,low,close,Volume (BTC)"))).frame)
    assert "no column for volume" in refusal(lines(rows, "timestamp,open,high,low,close,Volume (USDT)"))


def test_dates_of_cryptodatadownload_in_two_forms_do_not_hide_a_good_unix_column(write):
    frame = walk(step_ms=3_600_000)
    rows = cells("t o h l c v q", frame=frame)
    dates = [f"{t:%Y-%m-%d %I-%p}" if i >= 20 else f"{t:%Y-%m-%d %H:%M:%S}" for i, t in enumerate(frame.index)]
    text = lines(
        [[r[0], d, "BTC/USDT", *r[1:]] for r, d in zip(rows, dates, strict=True)],
        "unix,date,symbol,open,high,low,close,Volume BTC,Volume USDT",
    )
    bars = read_bars(write(text))
    assert (bars.frame.index == frame.index).all()
    assert "dates are written in several ways: the unix column gives the time" in bars.notes


def test_a_column_of_days_beside_the_time_is_left_out(write):
    rows = [["2024-01-01", *r] for r in cells("t o h l c v")]
    bars = read_bars(write(lines(rows, "date,timestamp,open,high,low,close,volume")))
    assert_bars(bars.frame)
    assert "a column of days says the same as the time: left out" in bars.notes


def test_date_and_time_of_metatrader_are_joined(write):
    rows = [[f"{t:%Y.%m.%d}", f"{t:%H:%M:%S}", *r[1:]] for t, r in zip(BARS.index, cells("t o h l c v"), strict=True)]
    assert_bars(read_bars(write(lines(rows, "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<VOL>", "\t"))).frame)
    later = read_bars(write(lines(rows, "Date,Time,Open,High,Low,Close,Volume")), tz="Europe/Athens")
    assert (later.frame.index == BARS.index - pd.Timedelta("2h")).all()


def test_a_zip_of_months_of_which_one_has_a_header_is_read(write):
    rows, stream = cells("t o h l c v T q n v q 0"), io.BytesIO()
    header = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
    with zipfile.ZipFile(stream, "w") as z:
        z.writestr("BTCUSDT-1m-2024-01.csv", lines(rows[:20], ""))
        z.writestr("BTCUSDT-1m-2024-02.csv", lines(rows[20:], header))
    assert_bars(read_bars(write(stream.getvalue())).frame)


def test_the_three_header_lines_of_yfinance_are_read(write, refusal):
    rows = [[f"{t:%Y-%m-%d %H:%M:%S}", *r[1:]] for t, r in zip(BARS.index, cells("t c h l o v"), strict=True)]
    top = "Price,Close,High,Low,Open,Volume\nTicker," + ",".join(["BTC-USD"] * 5)
    bars = read_bars(write(top + "\n" + lines(rows, "Date,,,,,")))
    assert_bars(bars.frame)
    assert bars.symbol == "BTC-USD"
    assert "line 2 names several tickers" in refusal(
        top.replace("BTC-USD", "ETH-USD", 1) + "\n" + lines(rows, "Date,,,,,")
    )
    assert "'null' is not" in refusal("Date,Open,High,Low,Close,Volume\n2024-01-01,null,null,null,null,null\n")


def test_pivots_of_tradingview_do_not_hide_the_prices(write):
    rows = [[*r, 1, 2, 3] for r in cells("t o h l c v", "s")]
    assert_bars(read_bars(write(lines(rows, "time,open,high,low,close,Volume,O,H,L"))).frame)


def test_funding_rates_of_freqtrade_as_arrays_are_told(refusal):
    assert "funding rates" in refusal(json.dumps([[START + i * 28_800_000, 0.0001, 0, 0, 0, 0] for i in range(5)]))


def test_quotes_of_lean_are_told_whatever_their_width(refusal):
    assert "quotes" in refusal("1000,42000,1,42001,2\n2000,42000,1,42001,2\n", "20240101_quote.csv")
