"A corpus judges the causality check: every planted leak is found, no clean function is accused, and both labels hold by brute force."

import os

import numpy as np
import pandas as pd
import pytest
from causal_clean import CLEAN
from causal_leaks import LEAKS

from rrr.features.causal import LookAheadError, assert_causal, check_causal

HOUR, DAY = pd.Timedelta("1h"), pd.Timedelta("1D")
BINANCE = "ohlcv/binance_spot_{}USDT_1h.parquet"
THOROUGH = bool(os.environ.get("CORPUS_THOROUGH"))  # minutes instead of one: at every bar, and on both markets
EVERY = 1 if THOROUGH else 48  # brute force on a clean function: at every so many bars
REAL = "2023-03-19", "2023-04-03"  # a month end; a bar without volume and a missing bar on 24 March


def synthetic(seed=0, n=360, start="2024-01-20") -> pd.DataFrame:
    "Hourly bars over a month end, some without volume, some missing, one spike"
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.006, n)))
    close[230] *= 1.12
    open_ = np.append(100.0, close[:-1]) * np.exp(rng.normal(0, 0.001, n))
    high = np.maximum(open_, close) * np.exp(np.abs(rng.normal(0, 0.002, n)))
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0, 0.002, n)))
    volume = rng.lognormal(3, 0.8, n)
    volume[[40, 90, 91, 160, 221, 300, 333]] = 0.0
    index = pd.date_range(start, periods=n, freq="1h", tz="UTC", name="timestamp").as_unit("ms")
    bars = pd.DataFrame({"open": open_, "high": high, "low": low, "close": close, "volume": volume}, index)
    return labelled(bars.drop(bars.index[[30, 31, 100, 180, 181, 182, 260, 320]]), "TEST-USD")


def labelled(bars, symbol, interval="1h") -> pd.DataFrame:
    bars.attrs = {"symbol": symbol, "interval": interval, "synthetic": True}
    return bars


def kinds(symbols: dict[str, pd.DataFrame]) -> dict:
    "Each kind of input made of the bars of some symbols"
    first = next(iter(symbols.values()))
    daily = first.resample("1D").agg({"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"})
    frames = {s: f.copy() for s, f in list(symbols.items())[:4]}
    last = list(frames)[-1]
    frames[last] = labelled(frames[last].iloc[:250], last)
    panel = pd.DataFrame({s: f["close"] for s, f in symbols.items()})
    panel.iloc[:110, 2] = np.nan
    panel.iloc[260:, -1] = np.nan
    return {
        "bars": first,
        "panel": panel,
        "frames": frames,
        "timeframes": {
            "1h": first,
            "1d": labelled(daily[daily.index + DAY <= first.index[-1] + HOUR], "TEST-USD", "1d"),
        },
    }


@pytest.fixture(scope="module")
def made() -> dict:
    return kinds({f"S{k}": synthetic(k) for k in range(7)})


@pytest.fixture(scope="module")
def real(shared_data) -> dict:
    symbols = {}
    for coin in ("BTC", "ETH", "SOL", "AVAX"):
        bars = pd.read_parquet(shared_data / BINANCE.format(coin)).set_index("ts").rename_axis("timestamp")
        bars = bars.loc[REAL[0] : REAL[1], ["open", "high", "low", "close", "volume"]]
        symbols[coin] = labelled(bars, f"{coin}-USDT")
    return kinds(symbols)


@pytest.fixture(params=["made", "real"])
def market(request) -> dict:
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["made", "real"] if THOROUGH else ["made"])
def proven(request) -> dict:
    return request.getfixturevalue(request.param)


# The brute force: slow, plain, and without the tool


def main(bars) -> pd.DatetimeIndex:
    "Times of the bars; of the finest timeframe or of all symbols"
    if isinstance(bars, pd.DataFrame):
        return bars.index
    if "1h" in bars:
        return bars["1h"].index
    return sorted_union([f.index for f in bars.values()])


def sorted_union(indexes):
    out = indexes[0]
    for other in indexes[1:]:
        out = out.union(other)
    return out


def length(name) -> pd.Timedelta:
    return DAY if name == "1d" else HOUR


def known(bars, t):
    "What is known at the close of the bar stamped t"
    if isinstance(bars, pd.DataFrame):
        return bars[bars.index <= t].copy()
    return {k: f[f.index + length(k) <= t + HOUR].copy() for k, f in bars.items()}


def another_future(bars, t, rng):
    "The same bars up to the close of t, other prices and volumes after it"

    def change(f, name):
        f, later = f.copy(), np.flatnonzero(f.index + length(name) > t + HOUR)
        if len(later):
            move = np.exp(rng.normal(0.01, 0.01, len(later)).cumsum())
            for c in f.columns:
                x = f[c].to_numpy(copy=True)
                x[later] *= rng.lognormal(0.3, 0.5, len(later)) if c == "volume" else move
                if c not in ("open", "high", "low", "close", "volume"):
                    x[later] *= np.exp(rng.normal(0, 0.01, len(later)))
                f[c] = x
        return f

    return change(bars, "1h") if isinstance(bars, pd.DataFrame) else {k: change(f, k) for k, f in bars.items()}


def leaves(out, times, path=""):
    "Every column of an output: its path, its times, its values"
    if hasattr(out, "target"):
        if out.target is not None:
            yield from leaves(out.target, times, f"{path}.target")
        if out.orders is not None:
            yield from leaves(out.orders.set_index("decided").sort_index(kind="stable"), times, f"{path}.orders")
    elif isinstance(out, pd.DataFrame):
        if "timestamp" in out:
            out = out.set_index("timestamp")
        for c in out.columns:
            yield from leaves(out[c], times, f"{path}[{c}]")
    elif isinstance(out, pd.Series):
        index = out.index
        if isinstance(index, pd.MultiIndex):
            for symbol, part in out.groupby(level=1):
                yield from leaves(part.droplevel(1), times, f"{path}[{symbol}]")
        elif isinstance(index, pd.DatetimeIndex):
            yield path, index.tz_localize("UTC") if index.tz is None else index, out.array
        else:
            yield path, times[len(times) - len(out) :], out.array
    elif isinstance(out, np.ndarray):
        columns = {path: out} if out.ndim == 1 else {f"{path}[{k}]": out[:, k] for k in range(out.shape[1])}
        for p, values in columns.items():
            yield p, times[len(times) - len(values) :], values
    elif isinstance(out, dict):
        for k, v in out.items():
            yield from leaves(v, times, f"{path}[{k}]")
    elif isinstance(out, list) and (not out or isinstance(out[0], tuple)):
        yield path, pd.DatetimeIndex([t for t, _ in out], tz="UTC"), np.array([v for _, v in out])
    elif isinstance(out, list):
        yield path, times, np.array(out)
    elif isinstance(out, tuple):
        for k, v in enumerate(out):
            yield from leaves(v, times, f"{path}[{k}]")
    else:
        raise TypeError(f"{path}: {type(out)}")


def same(a, b) -> bool:
    "Whether two columns are equal, numbers to one part in a million, or ten thousand in single precision"
    if len(a) != len(b):
        return False
    try:
        x, y = (np.asarray(pd.Series(v), dtype=float) if str(v.dtype) != "category" else None for v in (a, b))
    except (TypeError, ValueError):
        x = y = None
    if x is not None and y is not None and "datetime" not in str(a.dtype) and "timedelta" not in str(a.dtype):
        finite, single = np.abs(x[np.isfinite(x)]), "float32" in str(a.dtype)
        rounding = (1e-5 if single else 1e-9) * finite.max() if len(finite) else 0.0
        return np.allclose(x, y, rtol=1e-4 if single else 1e-6, atol=max(rounding, 1e-10), equal_nan=True)
    a, b = pd.Series(a).astype(object), pd.Series(b).astype(object)
    return bool(((a == b) | (a.isna() & b.isna())).all())


def differ(one, other, t) -> bool:
    "Whether two lists of columns say different things up to t"
    blank = (pd.DatetimeIndex([], tz="UTC"), np.array([]))
    for path in one.keys() | other.keys():
        (ta, a), (tb, b) = one.get(path, blank), other.get(path, blank)
        ka, kb = ta <= t, tb <= t
        if list(ta[ka]) != list(tb[kb]) or not same(a[ka], b[kb]):
            return True
    return False


def columns(f, bars):
    return {path: (t, values) for path, t, values in leaves(f(bars), main(bars))}


def looks_ahead(f, bars, every=1) -> pd.Timestamp | None:
    "The first bar found, in a scattered order, whose output changes with what comes later"
    whole, times, judged = columns(f, known(bars, main(bars)[-1])), main(bars), 0
    order = np.concatenate([np.arange(k, len(times), 16) for k in np.random.default_rng(0).permutation(16)])
    for i in order[::-1][::every]:
        t, rng = times[i], np.random.default_rng(int(i))
        try:
            short = columns(f, known(bars, t))
        except (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError, np.linalg.LinAlgError):
            short = None
        if short is not None:
            judged += 1
            if differ(short, whole, t):
                return t
        before_next = times[i + 1] - pd.Timedelta("1ms") if i + 1 < len(times) else t  # rows in a gap are known too
        if i % 3 == 0 and differ(columns(f, another_future(bars, t, rng)), whole, before_next):
            return t
    assert judged > 5, "hardly a bar at which the function gives an answer"
    return None


@pytest.mark.parametrize("name", LEAKS)
def test_brute_force_finds_the_leak(name, proven):
    f, kind = LEAKS[name]
    assert looks_ahead(f, proven[kind]) is not None


@pytest.mark.parametrize("name", CLEAN)
def test_brute_force_finds_no_leak(name, proven):
    f, kind = CLEAN[name]
    assert looks_ahead(f, proven[kind], every=EVERY) is None


def test_the_corpus_is_large_and_its_names_differ():
    assert len(LEAKS) >= 60 and len(CLEAN) >= 60
    assert not LEAKS.keys() & CLEAN.keys()


# The tool


@pytest.mark.parametrize("name", LEAKS)
def test_every_planted_leak_is_found(name, market):
    f, kind = LEAKS[name]
    with pytest.raises(LookAheadError):
        assert_causal(f, market[kind])


@pytest.mark.parametrize("name", CLEAN)
def test_no_clean_function_is_accused(name, proven):
    f, kind = CLEAN[name]
    assert check_causal(f, proven[kind], warmup=False).causal
