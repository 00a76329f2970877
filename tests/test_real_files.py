"Every real file is read as an independent reading says, or refused for what it is; skipped where the files are absent."

import csv
import gzip
import io
import json
import re
import zipfile
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from rrr.core.errors import DataError
from rrr.core.market import OHLCV
from rrr.data.files import open_bars, read_bars, symbol_from_name

REFUSED = {
    "alt/coinmetrics_btc.csv": ("on-chain metrics", "read_onchain"),
    "alt/coinmetrics_metrics.csv": ("a list of metrics", "describes the columns"),
    "alt/fear_greed_2018-02_2023-06.csv": ("a sentiment index", "read_sentiment"),
    "raw/coinbase_json/advanced_trade_product_book.json": ("an order book", "read_books"),
    "raw/freqtrade/XRP_ETH-trades.feather": ("trades", "read_trades"),
    "raw/freqtrade/futures_XRP_USDT_USDT-8h-funding_rate.feather": ("funding rates", "read_funding"),
    "raw/kraken_rest_json/Trades_XBTUSDT.json": ("trades", "read_trades"),
    "raw/lean_zip/coinbase_minute_btcusd_20180404_quote.zip": ("quotes", "read_quotes"),
    "raw/lean_zip/coinbase_minute_btcusd_20180405_quote.zip": ("quotes", "read_quotes"),
    "raw/polygon_json/crypto_book_X_BTCUSD.json": ("an order book", "read_books"),
    "ticks/binance_spot_BTCUSDT_20240808-09_bbo.parquet": ("quotes", "read_quotes"),
    "ticks/binance_spot_BTCUSDT_20240808-09_trades.parquet": ("trades", "read_trades"),
    "ticks/raw_ws/cryptofeed_OKX.ws.1.0.txt": ("a websocket capture", "read_capture"),
    "ticks/raw_ws/spot_btcusdt_20240808.gz": ("a websocket capture", "read_capture"),
    "ticks/raw_ws/spot_btcusdt_20240809.gz": ("a websocket capture", "read_capture"),
    "ticks/raw_ws/usdm_btcusdt_20240808.gz": ("a websocket capture", "read_capture"),
    "ticks/samples/binance-futures_book_snapshot_5_BTCUSDT.csv": ("an order book", "read_books"),
    "ticks/samples/btcusdt-depth-snap.csv": ("an order book", "read_books"),
    "ticks/samples/btcusdt-depth-update.csv": ("an order book", "read_books"),
    "ticks/samples/btcusdt-quotes.parquet": ("quotes", "read_quotes"),
    "ticks/samples/btcusdt-trades.parquet": ("trades", "read_trades"),
}
UNIVERSE = "ohlcv/binance_spot_universe_1d_2017_2022H1.parquet"


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def rows_of(name: str, path) -> list[tuple]:
    "Bars (time, open, high, low, close, volume) by the vendor's own description, without the reader under test."
    if "lean_zip" in name:
        with zipfile.ZipFile(path) as z:
            [entry] = z.namelist()
            day = datetime.strptime(entry[:8], "%Y%m%d").replace(tzinfo=UTC)
            rows = csv.reader(io.StringIO(z.read(entry).decode()))
        return [(day + timedelta(milliseconds=int(t)), *map(float, prices)) for t, *prices in rows]
    if name.endswith(".zip"):
        with zipfile.ZipFile(path) as z:
            text = z.read(z.namelist()[0]).decode()
    else:
        text = path.read_text()
    if "binance" in name:
        rows = (
            json.loads(text)
            if name.endswith(".json")
            else [r for r in csv.reader(io.StringIO(text)) if r[0] != "open_time"]
        )
        return [(at(int(t) / 1000), *map(float, prices[:5])) for t, *prices in rows]
    if "kraken_ohlcvt" in name:
        return [(at(int(t)), *map(float, prices[:5])) for t, *prices in csv.reader(io.StringIO(text))]
    if "cryptodata" in name:
        rows = list(csv.DictReader(io.StringIO(text.split("\n", 1)[1])))[::-1]
        return [
            (at(int(r["unix"])), *(float(r[n]) for n in OHLCV[:4]), float(r["Volume BTC" if r["date"] > "2018-02-27 12" else "Volume USD"]))
            for r in rows
        ]  # fmt: skip
    doc = json.loads(text)
    if "bitfinex" in name:
        return [(at(t / 1000), o, h, lo, c, v) for t, o, c, h, lo, v in doc]
    if "exchange_candles" in name:
        return [(at(t), o, h, lo, c, v) for t, lo, h, o, c, v in doc][::-1]
    if "advanced_trade" in name:
        return [(at(int(r["start"])), *(float(r[n]) for n in OHLCV)) for r in doc["candles"]][::-1]
    if "polygon" in name:
        return [(at(r["t"] / 1000), *(float(r[n]) for n in "ohlcv")) for r in doc["results"]]
    if "kraken_rest" in name:
        rows, last = doc["result"]["XBTUSDT"], doc["result"]["last"]
        return [
            (at(t), float(o), float(h), float(lo), float(c), float(v)) for t, o, h, lo, c, _, v, _ in rows if t <= last
        ]
    return [(at(t / 1000), *prices) for t, *prices in doc]


@pytest.fixture(scope="module")
def names(shared_data) -> list[str]:
    paths = (p for p in shared_data.rglob("*") if p.is_file() and p.name != "README.md")
    return sorted(p.relative_to(shared_data).as_posix() for p in paths)


def test_every_real_file_of_bars_is_read_as_an_independent_reading_says(shared_data, names):
    read = [name for name in names if name not in REFUSED and name != UNIVERSE]
    assert len(read) == 59
    for name in read:
        path = shared_data / name
        bars = read_bars(path)
        if name.endswith((".parquet", ".feather")):
            table = (pq if name.endswith(".parquet") else pyarrow.feather).read_table(path)
            want = np.column_stack([table[column].to_numpy() for column in OHLCV])
            stamps = table["ts" if "ts" in table.column_names else "date"].to_numpy().astype("datetime64[ms]")
        else:
            rows = rows_of(name, path)
            want = np.array([row[1:] for row in rows], dtype=float)
            stamps = np.array([row[0].timestamp() * 1000 for row in rows]).round().astype("datetime64[ms]")
        assert len(want) == len(bars.frame), name
        assert (bars.frame[OHLCV].to_numpy() == want).all(), name
        assert (bars.frame.index.asi8 == stamps.astype(np.int64)).all(), name
        assert bars.frame.index.is_monotonic_increasing, name
        said = symbol_from_name(path)
        assert bars.symbol is None or said is None or bars.symbol == said, name
        told = re.search(r"_(\d+[mhd])[_.]", name)
        assert bars.interval is None or told is None or bars.interval == told[1], name


def test_every_real_file_of_something_else_is_refused_for_what_it_is(shared_data, names):
    assert set(REFUSED) <= set(names)
    for name, (what, reader) in REFUSED.items():
        with pytest.raises(DataError) as caught:
            read_bars(shared_data / name)
        assert f"the file holds {what}, not bars" in str(caught.value) and reader in str(caught.value), name


def test_real_files_say_what_they_are_whatever_they_are_called(shared_data, tmp_path):
    raw = shared_data / "raw"
    expected = {
        "binance_api_klines_json/BTCUSDT_1h_2023-03-01.json": ("binance json", None, "1h"),
        "binance_spot_klines_csv/ADABTC-1m-2021-11-27.csv": ("binance csv", None, "1m"),
        "binance_um_klines_csv/AVAXUSDT-1m-2024-02.csv": ("binance csv", None, "1m"),
        "binance_um_klines_zip/NEARUSDT-1m-2023-04.zip": ("binance csv.zip", None, "1m"),
        "bitfinex_candles_json/18-12-24_00-00-00.json": ("bitfinex json", None, None),
        "coinbase_json/advanced_trade_candles_BTC-USD_1h.json": ("coinbase json", None, None),
        "coinbase_json/exchange_candles_BTC-USDT_1h_1row.json": ("coinbase-exchange json", None, None),
        "cryptodatadownload_csv/Bitstamp_BTCUSD_d.csv": ("cryptodatadownload csv", "BTC-USD", None),
        "freqtrade/UNITTEST_BTC-1m.json": ("freqtrade json", None, None),
        "freqtrade/XRP_ETH-1m.feather": ("arrow", None, None),
        "kraken_ohlcvt_csv/XBTUSD_60.csv": ("kraken csv", None, None),
        "kraken_rest_json/OHLC_XBTUSDT_1m.json": ("kraken json", "BTC-USDT", None),
        "lean_zip/coinbase_second_btcusd_20161007_trade.zip": ("lean csv.zip", "BTC-USD", "1s"),
        "polygon_json/aggs_AAPL_1day_envelope.json": ("polygon json", None, None),
        "reshaped/coinbase_exchange_candles_BTCUSD_20180405_p1.json": ("coinbase-exchange json", None, None),
        "reshaped/polygon_aggs_X_BTCUSD_15m_2025-03.json": ("polygon json", "BTC-USD", None),
    }
    for name, (format, symbol, interval) in expected.items():
        path = tmp_path / "unnamed"
        path.write_bytes((raw / name).read_bytes())
        bars = read_bars(path)
        assert (bars.format, bars.symbol, bars.interval) == (format, symbol, interval), name


def test_cryptodatadownload_volumes_are_exchanged_in_as_many_rows_as_was_counted(shared_data):
    bars = read_bars(shared_data / "raw/cryptodatadownload_csv/Bitstamp_BTCUSD_d.csv")
    assert any("are exchanged in 1180 of 2823 rows" in note for note in bars.notes)
    assert (bars.frame.volume == 0).sum() == 8
    assert bars.frame.volume.max() < 200_000  # bitcoins a day; in dollars it would be millions


def test_real_trade_counts_and_vwaps_are_kept(shared_data):
    for name in (
        "raw/kraken_rest_json/OHLC_XBTUSDT_1m.json",
        "raw/reshaped/polygon_aggs_X_BTCUSD_15m_2025-03.json",
        "raw/binance_um_klines_zip/NEARUSDT-1m-2023-04.zip",
        "ohlcv/binance_spot_BTCUSDT_1h.parquet",
    ):
        bars = read_bars(shared_data / name).frame
        traded = bars[bars.volume > 0]
        assert ((traded.vwap >= traded.low * 0.999) & (traded.vwap <= traded.high * 1.001)).all(), name
        assert (traded.trade_count > 0).all() and (bars[bars.volume == 0].trade_count == 0).all(), name
    kraken = read_bars(shared_data / "raw/kraken_ohlcvt_csv/XBTUSD_60.csv").frame
    assert list(kraken.columns) == [*OHLCV, "trade_count"] and kraken.trade_count.iloc[-1] == 325


def test_the_last_bar_of_kraken_is_left_out_as_the_vendor_marks_it(shared_data):
    bars = read_bars(shared_data / "raw/kraken_rest_json/OHLC_XBTUSDT_1m.json")
    assert len(bars.frame) == 720 and bars.frame.index[-1] == pd.Timestamp("2025-11-11 00:16", tz="UTC")
    assert bars.notes[0].startswith("1 unfinished bar left out")


def test_one_pair_of_the_real_universe_is_picked_out(shared_data):
    path = shared_data / UNIVERSE
    with pytest.raises(DataError, match="column 'symbol' holds 107 symbols"):
        read_bars(path)
    bars = read_bars(path, symbol="BTC-USDT")
    table = pq.read_table(path).to_pandas()
    want = table[table.symbol == "BTC/USDT"]
    assert bars.symbol == "BTC-USDT" and (bars.frame.close.to_numpy() == want.close.to_numpy()).all()


def test_real_blocks_are_the_real_whole(shared_data):
    for name in (
        "raw/binance_um_klines_csv/AVAXUSDT-1m-2024-02.csv",
        "raw/cryptodatadownload_csv/Bitstamp_BTCUSD_d.csv",
    ):
        whole, stream = read_bars(shared_data / name), open_bars(shared_data / name, size=1000)
        blocks = list(stream.blocks())
        got = pd.concat(blocks[::-1] if stream.descending else blocks)
        pd.testing.assert_frame_equal(got, whole.frame)
        assert (stream.sha256, stream.notes) == (whole.sha256, whole.notes)


def test_real_files_wrapped_once_more_or_put_together_stay_the_same(shared_data, tmp_path):
    lean = shared_data / "raw/lean_zip"
    with zipfile.ZipFile(tmp_path / "days", "w") as z:
        for day in ("20180406", "20180405"):
            with zipfile.ZipFile(lean / f"coinbase_minute_btcusd_{day}_trade.zip") as part:
                z.writestr(part.namelist()[0], part.read(part.namelist()[0]))
    bars = read_bars(tmp_path / "days")
    assert len(bars.frame) == 2880 and (np.diff(bars.frame.index.asi8) == 60_000).all()
    parquet = shared_data / "ohlcv/bybit_linear_BTCUSDT_1m_2025-06.parquet"
    (tmp_path / "p").write_bytes(gzip.compress(parquet.read_bytes(), 1))
    pd.testing.assert_frame_equal(read_bars(tmp_path / "p").frame, read_bars(parquet).frame)
