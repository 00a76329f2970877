"A feature set is one object: the same rows in training, backtest and live, and a hash that tells its code."

import importlib
import json
import math
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markets import gapped, mock, walk

from rrr.core.errors import ParameterError
from rrr.features.definitions import as_feature, inputs_of, measure_warmup, sample_bars
from rrr.features.indicators import atr, ema, rsi, sma, zscore
from rrr.features.labels import forward_return, triple_barrier
from rrr.features.matrix import FeatureSet, feature, log_returns, on, returns
from rrr.features.timeframes import Panel, as_bars
from rrr.strategy.contract import Bars

NAN = math.nan


class Bands(NamedTuple):
    upper: pd.Series
    lower: pd.Series


def bands(high, low, n=5):
    return Bands(high.rolling(n).max(), low.rolling(n).min())


def trend(bars):
    return bars.close / sma(bars.close, 3) - 1


def tomorrow(bars):
    return bars.close.shift(-1) / bars.close - 1


def rich(**options) -> FeatureSet:
    "A set that uses all there is"
    features = {
        "rsi": (rsi, 14),
        "atr": (atr, 14),
        "ema": (ema, {"n": 10}),
        "ret": feature(returns, 1, lags=(1, 3)),
        "smooth": feature(sma, 5, source=(log_returns, 2)),
        "volume": feature(sma, 3, source="volume", standardise=30, clip=2),
        "bands": (bands, 4),
        "trend": trend,
        "day": on("1d", feature(trend, lags=1)),
        "four": on("4h", (rsi, 3), max_age="1d"),
    }
    return FeatureSet("rich", 1, features, interval="1h", **options)


def panel(n=700) -> Panel:
    a, b, c = (mock(n, seed=i) for i in (1, 2, 3))
    return as_bars({"A": a, "B": gapped(b.iloc[200:], 0.01), "C": c.iloc[:-50]})


# Three built-in functions, against their definitions.


def score(x: np.ndarray, n: int, ddof: int) -> np.ndarray:
    out = np.full(len(x), NAN)
    for i in range(n - 1, len(x)):
        part = x[i - n + 1 : i + 1]
        if np.isfinite(part).all() and len(set(part)) > 1:
            out[i] = (x[i] - np.mean(part)) / np.std(part, ddof=ddof)
    return out


@settings(deadline=None, max_examples=60)
@given(
    x=st.lists(st.one_of(st.floats(0.1, 1e6), st.just(NAN)), max_size=40).map(lambda v: np.array(v, dtype=float)),
    n=st.integers(2, 8),
    ddof=st.integers(0, 1),
)
def test_zscore_is_the_distance_from_the_mean_in_deviations(x, n, ddof):
    np.testing.assert_allclose(zscore(x, n, ddof), score(x, n, ddof), rtol=1e-6, atol=1e-6)


def test_zscore_of_a_constant_is_undefined_and_of_a_far_offset_exact():
    assert np.isnan(zscore(np.full(50, 0.1), 7)).all()
    x = np.random.default_rng(0).integers(0, 100, 200).astype(float)
    np.testing.assert_allclose(zscore(x + 2.0**20, 10, ddof=1), score(x, 10, 1), rtol=1e-9, atol=1e-9)


def test_scores_are_cut_off_either_way_and_stay_undefined_where_they_were():
    bars = sample_bars(12).assign(close=[1.0, 1, 1, 9, 1, 1, 1, -9, NAN, 1, 1, 1])
    standard = {"x": (lambda close: close * 1.0,)}
    cut, free = (FeatureSet("x", 1, standard, standardise=4, clip=c)(bars)["x"] for c in (1.2, None))
    np.testing.assert_array_equal(np.isnan(cut), np.isnan(free))
    assert cut.max() == 1.2 == -cut.min() and free.max() == pytest.approx(1.5)


def test_a_hole_ends_the_history_of_returns_too():
    x = np.arange(1.0, 13.0)
    x[5] = NAN
    for f in (returns, log_returns):
        np.testing.assert_array_equal(f(x, 3), np.concatenate([f(x[:5], 3), [NAN], f(x[6:], 3)]))


@settings(deadline=None, max_examples=60)
@given(x=st.lists(st.floats(1e-3, 1e6), max_size=30).map(lambda v: np.array(v, dtype=float)), n=st.integers(1, 35))
def test_returns_are_ratios_of_prices(x, n):
    wanted = np.full(len(x), NAN)
    wanted[n:] = x[n:] / x[: max(len(x) - n, 0)] - 1
    np.testing.assert_allclose(returns(x, n), wanted, rtol=1e-12, atol=1e-15)
    wanted[n:] = np.log(x[n:] / x[: max(len(x) - n, 0)])  # not log1p of a return that lies near -1
    np.testing.assert_allclose(log_returns(x, n), wanted, rtol=1e-9, atol=1e-12)


def test_returns_from_no_price_are_undefined_and_a_hole_begins_anew():
    x = np.array([1.0, 0, 2, 4, NAN, 8, 16])
    np.testing.assert_array_equal(returns(x, 1), [NAN, -1, NAN, 1, NAN, NAN, 1])
    np.testing.assert_array_equal(np.isnan(log_returns(x, 1)), [1, 1, 1, 0, 1, 1, 0])


# One object for training, backtest and live.


def test_live_rows_are_the_rows_of_the_backtest():
    bars, fs = mock(1500), rich(lags=(2,))
    matrix = fs(bars)
    assert 300 < fs.warmup < 1000
    for row in [fs.warmup - 1, *range(fs.warmup, 1500, 61), 1499]:
        live = fs.last(bars.iloc[: row + 1])
        window = fs(bars.iloc[row + 1 - fs.warmup : row + 1])
        np.testing.assert_allclose(live, matrix.iloc[row], rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(live, window.iloc[-1])
    assert matrix.iloc[fs.warmup :].notna().all().all()


def test_live_rows_of_a_panel_are_the_rows_of_the_backtest():
    bars, fs = panel(1200), rich()
    matrix = fs(bars)
    for row in range(fs.warmup, 1200, 97):
        part = Panel({k: v.iloc[: row + 1] for k, v in bars.fields.items()}, bars.interval)
        live = fs.last(part)
        assert list(live.index) == bars.symbols and list(live.columns) == list(matrix["A"].columns)
        np.testing.assert_allclose(live.to_numpy().ravel(), matrix.iloc[row], rtol=1e-9, atol=1e-9)


def test_live_rows_hold_where_bars_are_missing():
    bars, fs = gapped(mock(1800), 0.15), rich()
    matrix = fs(bars)
    for row in range(fs.warmup, len(bars), 83):
        np.testing.assert_allclose(fs.last(bars.iloc[: row + 1]), matrix.iloc[row], rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 300), seed=st.integers(0, 3), many=st.booleans())
def test_no_feature_knows_what_comes_later(n, seed, many):
    fs, bars = rich(lags=(2,)), gapped(walk(300, seed), 0.1, seed)
    if many:
        bars = as_bars({"A": walk(300, seed), "B": gapped(walk(250, seed + 9), 0.2)})
        part = Panel({k: v.iloc[:n] for k, v in bars.fields.items()}, bars.interval)
    else:
        part = bars.iloc[:n]
    np.testing.assert_allclose(fs(part), fs(bars).iloc[: len(part)], rtol=1e-12)


def test_the_matrix_passes_the_causality_check():
    causal = pytest.importorskip("rrr.features.causal")
    rich(check=True)
    with pytest.raises(causal.LookAheadError):
        FeatureSet("cheat", 1, {"tomorrow": tomorrow}, check=True)
    with pytest.raises(causal.LookAheadError):
        FeatureSet("cheat", 1, {"tomorrow": on("1d", tomorrow)}, interval="1h", check=True)


@pytest.mark.parametrize(
    ("spec", "bars"),
    [
        ((sma, 20), 20),
        (returns, 2),
        (feature(returns, 3, lags=(1, 5)), 9),
        (feature(sma, 5, standardise=10), 14),
        (feature(zscore, 10, source=(sma, 5)), 14),
        (feature(trend, warmup=50, lags=2), 52),
        (on("1d", (sma, 3)), (3 + 2) * 24),
    ],
)
def test_warmup_is_counted_where_the_window_is_finite(spec, bars):
    assert FeatureSet("x", 1, {"x": spec}, interval="1h").warmup == bars


@pytest.mark.parametrize(("function", "n"), [(ema, 20), (rsi, 14), (ema, 300)])
def test_warmup_is_as_long_as_the_start_is_remembered(function, n):
    decay = 1 - (2 / (n + 1) if function is ema else 1 / n)
    w = FeatureSet("x", 1, {"x": (function, n)}).warmup
    assert n + math.log(1e-11) / math.log(decay) < w < n + math.log(1e-16) / math.log(decay) + 50


def test_what_never_forgets_must_declare_its_warmup():
    def total(volume):
        return volume.cumsum()

    with pytest.raises(ParameterError, match="declare warmup"):
        measure_warmup(lambda bars: {"x": total(bars.volume)}, most=600)
    fs = FeatureSet("x", 1, {"x": feature(total, warmup=10)})
    assert fs.warmup == 10


# What comes out, for one symbol and for many.


def test_columns_are_named_by_feature_output_and_lag():
    assert list(rich()(mock(60)).columns) == [
        *("rsi", "atr", "ema", "ret", "ret_lag1", "ret_lag3", "smooth", "volume", "bands_upper", "bands_lower"),
        *("trend", "day", "day_lag1", "four"),
    ]
    fs = FeatureSet("x", 1, {"upper": (bands, 3)}, lags=(1,))
    assert list(fs(mock(9)).columns) == ["upper", "upper_lower", "upper_lag1", "upper_lower_lag1"]


def test_values_are_those_of_the_functions():
    bars = mock(300)
    matrix = rich(standardise=None)(bars)
    own = {
        "rsi": rsi(bars.close, 14),
        "atr": atr(bars.high, bars.low, bars.close, 14),
        "ema": ema(bars.close, 10),
        "ret_lag3": bars.close.pct_change().shift(3),
        "smooth": sma(log_returns(bars.close, 2), 5),
        "volume": zscore(sma(bars.volume, 3), 30, ddof=1).clip(-2, 2),
        "bands_lower": bars.low.rolling(4).min(),
        "trend": trend(bars),
        "day": on("1d", trend)(bars),
        "day_lag1": on("1d", lambda b: trend(b).shift(1))(bars),
        "four": on("4h", lambda b: rsi(b.close, 3))(bars),
    }
    for name, wanted in own.items():
        pd.testing.assert_series_equal(matrix[name], wanted, check_names=False, check_freq=False, rtol=1e-12)


def test_the_set_standardises_and_lags_what_does_not_say_otherwise():
    bars = mock(100)
    features = {"a": returns, "b": feature(returns, standardise=0, lags=()), "c": feature(returns, clip=0.5)}
    matrix = FeatureSet("x", 1, features, lags=(2,), standardise=20, clip=3)(bars)
    assert list(matrix.columns) == ["a", "a_lag2", "b", "c", "c_lag2"]
    pd.testing.assert_series_equal(matrix["b"], returns(bars.close), check_names=False, check_freq=False)
    pd.testing.assert_series_equal(matrix["a"], zscore(returns(bars.close), 20, ddof=1).clip(-3, 3), check_names=False)
    pd.testing.assert_series_equal(matrix["c_lag2"], matrix["a"].clip(-0.5, 0.5).shift(2), check_names=False)


def test_each_symbol_of_a_panel_is_what_it_is_alone():
    bars, fs = panel(), rich()
    wide, long = fs(bars), fs(bars, stack=True)
    assert wide.columns.names == ["symbol", "feature"]
    pd.testing.assert_frame_equal(wide["A"], fs(bars.of("A")), check_names=False, check_freq=False)
    assert len(long) == bars.close.notna().to_numpy().sum()
    for symbol in bars.symbols:
        own = long.xs(symbol, level="symbol")
        pd.testing.assert_frame_equal(own, wide[symbol].loc[own.index], check_names=False, check_freq=False)
    assert long.index.get_level_values(0).is_monotonic_increasing


def test_bars_of_a_strategy_give_the_same_matrix():
    one, many = mock(120), {"A": mock(120, seed=1), "B": mock(120, seed=2)}
    fs = rich()
    pd.testing.assert_frame_equal(fs(Bars(one)), fs(one), check_freq=False)
    pd.testing.assert_frame_equal(fs(Bars(many)), fs(many), check_freq=False)


def test_infinities_are_undefined():
    def ratio(volume):
        return 1 / (volume - volume.iloc[0])

    assert np.isnan(FeatureSet("x", 1, {"x": ratio})(mock(5))["x"].iloc[0])


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_bars_or_none_give_rows_of_nothing(n):
    fs, bars = rich(), mock(48).iloc[:n]
    assert fs(bars).shape == (n, 14)
    wide = fs({"A": bars, "B": bars})
    assert wide.shape == (n, 28) and wide.drop(columns="trend", level=1).isna().to_numpy()[:1].all()


def test_constant_bars_and_holes_spread_no_further_than_their_windows():
    flat = mock(200)
    flat[["open", "high", "low", "close"]] = 100.0
    matrix = rich()(flat)
    assert (matrix["ret"].iloc[1:] == 0).all() and (matrix["trend"].iloc[2:] == 0).all()
    holed = mock(200)
    holed.iloc[100] = NAN
    matrix = FeatureSet("x", 1, {"sma": (sma, 5), "ret": returns})(holed)
    assert list(np.flatnonzero(matrix["sma"].isna())) == [0, 1, 2, 3, 100, 101, 102, 103, 104]
    assert list(np.flatnonzero(matrix["ret"].isna())) == [0, 100, 101]


# The hash and storing.

PROGRAM = """
import json, sys
from rrr.features.matrix import FeatureSet
print(FeatureSet.from_dict(json.loads(sys.argv[1])).hash)
"""


def storable() -> FeatureSet:
    features = {
        "rsi": feature(rsi, 14, lags=(1,)),
        "atr": (atr, {"n": 7}),
        "vol": feature(sma, 3, source="volume", standardise=9, clip=1.5),
        "score": feature(zscore, 5, source=(returns, 2)),
        "range": feature(atr, source={"close": "vwap"}, warmup=99),
        "day": on("1d", feature(rsi, 3), max_age="2d", coverage=0.5),
    }
    return FeatureSet("store", "2024.1", features, interval="1h")


def test_a_stored_set_comes_back_in_another_process():
    fs = storable()
    text = json.dumps(fs.to_dict())
    again = FeatureSet.from_dict(json.loads(text))
    assert again.features == fs.features and again.hash == fs.hash
    pd.testing.assert_frame_equal(again(mock(60).assign(vwap=1.0)), fs(mock(60).assign(vwap=1.0)))
    out = subprocess.run([sys.executable, "-c", PROGRAM, text], capture_output=True, text=True, check=True).stdout
    assert out.strip() == fs.hash


def module(tmp_path, monkeypatch, text):
    "The module `desk_features` with this text"
    (tmp_path / "desk_features.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    sys.modules.pop("desk_features", None)
    importlib.invalidate_caches()
    import linecache

    linecache.clearcache()
    return importlib.import_module("desk_features")


CODE = """
WIDTH = 3

def inner(x):
    return x * 2

def mine(close, n=1):
    return inner(close).shift(n) * WIDTH
"""


@pytest.mark.parametrize(
    ("old", "new"), [(".shift(n)", ".shift(n + 1)"), ("x * 2", "x * 3"), ("WIDTH = 3", "WIDTH = 4")]
)
def test_other_code_is_another_hash_and_is_refused(tmp_path, monkeypatch, old, new):
    def made():
        return FeatureSet("desk", 1, {"mine": (sys.modules["desk_features"].mine, 1), "rsi": rsi})

    module(tmp_path, monkeypatch, CODE)
    before = made().to_dict()
    assert FeatureSet.from_dict(before).hash == before["hash"]
    module(tmp_path, monkeypatch, CODE.replace(old, new))
    assert made().hash != before["hash"]
    assert made().hashes["rsi"] == before["features"]["rsi"]["hash"]
    with pytest.raises(ParameterError, match=r"code or definition of mine changed"):
        FeatureSet.from_dict(before)
    sys.modules.pop("desk_features", None)


def test_every_part_of_a_definition_is_in_the_hash():
    def made(name="x", version=1, spec=(rsi, 14), key="rsi", **options):
        return FeatureSet(name, version, {key: spec}, **options).hash

    others = [
        made(name="y"),
        made(version=2),
        made(spec=(rsi, 15)),
        made(spec=(ema, 14)),
        made(key="r"),
        made(lags=(1,)),
        made(standardise=5),
        made(standardise=5, clip=1),
        made(interval="1h"),
        made(spec=feature(rsi, 14, source="open")),
        made(spec=on("1d", (rsi, 14)), interval="1h"),
        made(spec=on("4h", (rsi, 14)), interval="1h"),
        made(spec=on("4h", (rsi, 14), max_age="1d"), interval="1h"),
        made(spec=(lambda close: close * 2,)),
        made(spec=(lambda close: close * 3,)),
    ]
    assert len({made(), *others}) == len(others) + 1
    assert made(version="1") == made()


def test_a_changed_entry_of_a_stored_set_is_refused():
    stored = storable().to_dict()
    stored["features"]["rsi"]["args"] = [15]
    with pytest.raises(ParameterError, match="definition of rsi changed"):
        FeatureSet.from_dict(stored)


def test_functions_that_no_process_can_import_are_not_stored():
    with pytest.raises(ParameterError, match="cannot be imported"):
        FeatureSet("x", 1, {"x": lambda close: close}).to_dict()
    stored = storable().to_dict()
    stored["features"]["rsi"]["function"] = "rrr.features.momentum:rsi_of_old"
    with pytest.raises(ParameterError, match="rsi_of_old cannot be imported"):
        FeatureSet.from_dict(stored)


def test_the_table_tells_what_is_in_the_set():
    table = rich().describe()
    assert table.loc["atr", "reads"] == "high, low, close" and table.loc["volume", "reads"] == "volume"
    assert table.loc["four", "feature"] == "rsi(3) on 4h" and table.loc["smooth", "reads"] == "log_returns(2)"
    assert table.loc["trend", "reads"] == "bars" and table.loc["ret", "lags"] == "1, 3"
    text = rich()._repr_html_()
    assert rich().hash in text and "rsi(14)" in text


# What is refused.


def test_inputs_are_told_by_attribute_or_by_name():
    def plain(open_, volume, n):
        return open_

    def marked(a, n):
        return a

    marked.inputs = ("a",)
    assert inputs_of(plain) == ("open_", "volume") and inputs_of(trend) == () and inputs_of(marked) == ("a",)
    bars = mock(5)
    pd.testing.assert_series_equal(
        FeatureSet("x", 1, {"x": (plain, 1)})(bars)["x"], bars.open, check_names=False, check_freq=False
    )


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ((rsi, 14, 15), "rsi cannot be called"),
        ((rsi, {"window": 3}), "rsi cannot be called"),
        ((forward_return, 3), "forward_return is a label: it looks ahead"),
        ((triple_barrier, 1, 1, 3), "triple_barrier is a label"),
        (on("1d", (forward_return, 3)), "is a label"),
        (("rsi", 14), "Python function, not str"),
        (np.log, "Python function, not ufunc"),
        ((), "not an empty one"),
        ((sma, sma), "number, text or tuple, not function"),
        ((rsi, {"lags": 0}), "lags must be a whole number"),
        ((rsi, {"standardise": 1.5}), "standardise must be"),
        ((atr, {"source": "open"}), "atr reads high, low, close: a source for it is a dict"),
        ((atr, {"source": {"x": "open"}}), "unknown input 'x'"),
        ((atr, {"source": {"high": 3}}), "names a field"),
        ((sma, 3, {"source": on("1d", rsi)}), "put both into on"),
        ((sma, 3, {"source": (forward_return, 1)}), "is a label"),
        (on("1w", on("1d", rsi)), "within on"),
        ((on("1d", rsi), 3), "belong to the feature within"),
        (on("90m", rsi), "do not make bars of 90m"),
    ],
)
def test_a_wrong_definition_is_refused_when_it_is_made(spec, text):
    with pytest.raises(ParameterError, match=text):
        FeatureSet("x", 1, {"x": spec}, interval="1h")


@pytest.mark.parametrize(
    ("features", "options", "text"),
    [
        ({}, {}, "no features"),
        ({"a": feature(rsi, lags=1), "a_lag1": rsi}, {}, "column a_lag1 is defined twice"),
        ({"a": on("1d", feature(rsi, lags=1))}, {"interval": "1h", "lags": (1,)}, "a_lag1 is defined twice"),
        ({"a": on("1d", rsi)}, {}, 'interval="1h"'),
        ({"a": rsi}, {"lags": (-1,)}, "lags must be a whole number"),
    ],
)
def test_a_wrong_set_is_refused_when_it_is_made(features, options, text):
    with pytest.raises(ParameterError, match=text):
        FeatureSet("x", 1, features, **options)


def test_what_only_shows_in_the_bars_is_refused_there():
    bars = mock(30)
    with pytest.raises(ParameterError, match="unknown field 'funding'"):
        FeatureSet("x", 1, {"x": feature(sma, 3, source="funding")})(bars)
    with pytest.raises(ParameterError, match="unknown field 'vwap'"):
        FeatureSet("x", 1, {"x": feature(sma, 3, source="vwap")})({"A": bars})
    with pytest.raises(ParameterError, match="bands_upper is defined twice"):
        FeatureSet("x", 1, {"bands": bands, "bands_upper": rsi})(bars)
    with pytest.raises(ParameterError, match="must return a Series"):
        FeatureSet("x", 1, {"x": lambda close: close.iloc[1:]})(bars)
    with pytest.raises(ParameterError, match="must return a DataFrame"):
        FeatureSet("x", 1, {"x": lambda close: close["A"]})({"A": bars})
    with pytest.raises(ParameterError, match="reads one column"):
        FeatureSet("x", 1, {"x": feature(sma, 3, source=bands)})(bars)


def test_the_sample_that_warmup_is_measured_on_is_possible():
    bars = sample_bars(500)
    assert (bars.high >= bars[["open", "close"]].max(axis=1)).all() and (bars.low > 0).all()
    assert (bars.low <= bars[["open", "close"]].min(axis=1)).all() and bars.equals(sample_bars(500))
    assert as_feature((sma, 3)).label == "sma(3)"
