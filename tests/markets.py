"Made-up markets for tests: bars of any shape, and a strategy that wants what it is told to."

import numpy as np
import pandas as pd

from rrr.core.market import OHLCV, interval_ms
from rrr.data.mock import MockDataSource
from rrr.store.db import Database
from rrr.store.writer import write_bars
from rrr.strategy.contract import Signal, Strategy

START = "2024-01-01"


def frame(opens, closes, interval="1h", symbol="TEST-USD", start=START) -> pd.DataFrame:
    "Bars from opens and closes, in sequence"
    opens, closes = np.asarray(opens, dtype=float), np.asarray(closes, dtype=float)
    step = pd.Timedelta(milliseconds=interval_ms(interval))
    index = pd.date_range(start, periods=len(opens), freq=step, tz="UTC", name="timestamp").as_unit("ms")
    high, low = np.maximum(opens, closes), np.minimum(opens, closes)
    bars = pd.DataFrame(dict(zip(OHLCV, [opens, high, low, closes, np.ones(len(opens))], strict=True)), index)
    bars.attrs = dict(symbol=symbol, interval=interval, synthetic=True)
    return bars


def walk(n=300, seed=0, price=100.0, spread=0.01, interval="1h") -> pd.DataFrame:
    "A random walk with gaps between close and next open"
    rng = np.random.default_rng(seed)
    closes = price * np.exp(np.cumsum(rng.normal(0, spread, n)))
    return frame(closes * np.exp(rng.normal(0, spread / 5, n)), closes, interval)


def ticks(n=300, seed=0, tick=0.5, price=20.0, interval="1h") -> pd.DataFrame:
    "Prices that move by at most one coarse tick: means are often exactly equal"
    rng = np.random.default_rng(seed)
    count = np.abs(np.cumsum(rng.integers(-1, 2, n)) + round(price / tick)) + 1
    closes = count * tick
    return frame(np.concatenate([closes[:1], closes[:-1]]), closes, interval)


def mock(n=300, seconds=3600, interval="1h", symbol="BTC-USD", seed=7) -> pd.DataFrame:
    "Bars of the mock source"
    bars = MockDataSource(seed=seed).get_historical_data(symbol, n, seconds)
    bars.attrs["interval"] = interval
    return bars


def gapped(bars: pd.DataFrame, share=0.3, seed=0) -> pd.DataFrame:
    "The bars with a random share of them missing"
    keep = np.random.default_rng(seed).random(len(bars)) > share
    keep[[0, -1]] = True
    return bars[keep]


def wanting(targets, interval="1h", start=START) -> Strategy:
    "A strategy that wants `targets[k]` at the close of the k-th interval from the start, and again from the first"
    first, step = pd.Timestamp(start, tz="UTC"), pd.Timedelta(milliseconds=interval_ms(interval))
    wishes = np.asarray(targets, dtype=float)

    def wishful(bars) -> Signal:
        "What it is told."
        return Signal(pd.Series(wishes[(bars.index - first) // step % len(wishes)], bars.index))

    return Strategy(wishful, lambda: 1, {})


def store(bars: pd.DataFrame, url="sqlite://") -> Database:
    "A database that holds the bars"
    db = Database(url)
    write_bars(db, bars.attrs["symbol"], bars.attrs["interval"], bars, "made up", synthetic=True)
    return db
