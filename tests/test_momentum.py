"Oscillators and window extremes are TA-Lib's, and those of their definitions where it is not to be trusted."

import math

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import ParameterError
from rrr.features.columns import INDICATORS
from rrr.features.extremes import highest, lowest, middle_kernel
from rrr.features.momentum import (
    cci,
    cmo,
    momentum,
    roc,
    rsi,
    stochastic,
    stochastic_fast,
    stochastic_rsi,
    ultimate_oscillator,
    williams_r,
)

NAN = math.nan
TALIB = {
    rsi: talib.RSI,
    cmo: talib.CMO,
    momentum: talib.MOM,
    roc: talib.ROC,
    highest: talib.MAX,
    lowest: talib.MIN,
    williams_r: talib.WILLR,
    cci: talib.CCI,
    stochastic_fast: talib.STOCHF,
    stochastic: lambda high, low, close, k, smooth, d: talib.STOCH(high, low, close, k, smooth, 0, d, 0),
    stochastic_rsi: talib.STOCHRSI,
    ultimate_oscillator: talib.ULTOSC,
}
WINDOWS = [(2,), (3,), (5,), (14,), (16,), (17,), (50,), (65,)]
PARAMS = {f: WINDOWS for f in TALIB} | {
    stochastic_fast: [(5, 3), (14, 3), (3, 1), (1, 4), (40, 20)],
    stochastic: [(5, 3, 3), (14, 3, 3), (3, 1, 1), (1, 2, 5), (30, 12, 9)],
    stochastic_rsi: [(14, 5, 3), (14, 14, 3), (2, 1, 1), (5, 30, 12)],
    ultimate_oscillator: [(7, 14, 28), (28, 7, 14), (1, 2, 3), (5, 5, 5), (2, 40, 90)],
}
CASES = [pytest.param(f, p, id=f"{f.__name__}{p}") for f in TALIB for p in PARAMS[f]]
EACH = pytest.mark.parametrize("f", TALIB, ids=lambda f: f.__name__)


def bars(n=1500, seed=0, price=100.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    close = price * np.exp(np.cumsum(rng.normal(0, 0.02, n)))
    spread = price * rng.exponential(0.01, (2, n)) * (rng.random((2, n)) < 0.9)
    return {"high": close + spread[0], "low": close - spread[1], "close": close, "x": close}


def lines(value) -> np.ndarray:
    "Outputs as rows."
    return np.atleast_2d(np.array(value))


def ask(f, market: dict, *params) -> np.ndarray:
    return lines(f(*(market[name] for name in f.inputs), *params))


def peer(f, market: dict, *params) -> np.ndarray:
    return lines(TALIB[f](*(market[name] for name in f.inputs), *params))


def scale_of(f, market: dict) -> float:
    return float(np.max(market["close"], initial=0.0)) if f in (momentum, highest, lowest) else 100.0


@pytest.mark.parametrize(("f", "params"), CASES)
@pytest.mark.parametrize("price", [1e-6, 100.0, 6e4])
def test_values_and_their_beginning_are_those_of_talib(f, params, price):
    market = bars(price=price)
    own, other = ask(f, market, *params), peer(f, market, *params)
    np.testing.assert_allclose(own, other, rtol=1e-9, atol=1e-11 * scale_of(f, market))
    assert np.isfinite(own).sum(axis=1).min() == len(market["close"]) - f.first(**dict(zip(f.params, params)))  # noqa: B905


@pytest.mark.parametrize("n", [256, 1000, 1499, 1500, 1501])
@pytest.mark.parametrize("f", [highest, lowest, williams_r, cci, momentum], ids=lambda f: f.__name__)
def test_long_windows_are_those_of_talib_too(f, n):
    market = bars()
    np.testing.assert_allclose(ask(f, market, n), peer(f, market, n), rtol=1e-9, atol=1e-9)


# Definitions, bar by bar


def by_definition(f, market: dict, *params) -> np.ndarray:
    x, size = market["close"], len(market["close"])
    names = ["", ""] if f in (stochastic_fast, stochastic, stochastic_rsi) else [""]
    out = np.full((len(names), size), NAN)
    for t in range(size):
        if f in (highest, lowest) and t >= params[0] - 1:
            out[0, t] = (max if f is highest else min)(x[t - params[0] + 1 : t + 1])
        elif f in (momentum, roc) and t >= params[0]:
            old = x[t - params[0]]
            out[0, t] = x[t] - old if f is momentum else 100 * (x[t] - old) / old
        elif f is williams_r and t >= params[0] - 1:
            out[0, t] = place(market, params[0], t) - 100
        elif f is cci and t >= params[0] - 1:
            out[0, t] = exact_cci(market, params[0], t)
        elif f is ultimate_oscillator and t >= max(params):
            shares = [pressure(market, n, t) for n in sorted(params)]
            out[0, t] = 100 * (4 * shares[0] + 2 * shares[1] + shares[2]) / 7
    return out


def place(market: dict, n: int, t: int) -> float:
    window = slice(t - n + 1, t + 1)
    top, bottom = max(market["high"][window]), min(market["low"][window])
    return 100 * (market["close"][t] - bottom) / (top - bottom)


def exact_cci(market: dict, n: int, t: int) -> float:
    moves = [
        math.fsum([market[k][j] for k in ("high", "low", "close")] + [-market[k][t] for k in ("high", "low", "close")])
        for j in range(t - n + 1, t + 1)
    ]
    mean = math.fsum(moves) / n
    spread = math.fsum(abs(m - mean) for m in moves) / n
    return -mean / (0.015 * spread) if spread else 0.0


def pressure(market: dict, n: int, t: int) -> float:
    high, low, close = market["high"], market["low"], market["close"]
    floors = [min(low[j], close[j - 1]) for j in range(t - n + 1, t + 1)]
    bought = math.fsum(close[t - n + 1 + j] - floor for j, floor in enumerate(floors))
    moved = math.fsum(max(high[t - n + 1 + j], close[t - n + j]) - floor for j, floor in enumerate(floors))
    return bought / moved


DEFINED = [highest, lowest, momentum, roc, williams_r, cci, ultimate_oscillator]


@settings(deadline=None, max_examples=150)
@given(
    f=st.sampled_from(DEFINED), n=st.integers(2, 40), seed=st.integers(0, 999), size=st.integers(0, 90), data=st.data()
)
def test_any_market_gives_the_value_of_the_definition(f, n, seed, size, data):
    market = bars(size, seed, data.draw(st.sampled_from([1e-6, 1.0, 6e4])))
    params = (n, data.draw(st.integers(2, 40)), data.draw(st.integers(2, 40))) if f is ultimate_oscillator else (n,)
    own, reference = ask(f, market, *params), by_definition(f, market, *params)
    np.testing.assert_allclose(own, reference, rtol=1e-9, atol=1e-9 * scale_of(f, market))


@settings(deadline=None, max_examples=60)
@given(k=st.integers(1, 30), smooth=st.integers(1, 12), d=st.integers(1, 12), seed=st.integers(0, 999))
def test_a_stochastic_is_the_mean_of_places_in_the_range(k, smooth, d, seed):
    market = bars(90, seed)
    raw = pd.Series(
        [place(market, k, t) if t >= k - 1 and market["high"][t] > market["low"][t] else NAN for t in range(90)]
    )
    raw = raw.where(raw.index < k - 1, williams_r(*(market[name] for name in ("high", "low", "close")), k) + 100)
    flat = pd.Series(market["high"]).rolling(k).max() == pd.Series(market["low"]).rolling(k).min()
    raw[flat] = 0.0
    slow = raw.rolling(smooth).mean()
    signal = slow.rolling(d).mean()
    own = stochastic(market["high"], market["low"], market["close"], k, smooth, d)
    np.testing.assert_allclose(own.d, signal, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(own.k, slow.where(signal.notna()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("f", [highest, lowest], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "x", [np.arange(3000.0), -np.arange(3000.0), np.full(3000, -7.0)], ids=["rise", "fall", "flat"]
)
def test_extremes_hold_on_one_way_streets(f, x):
    for n in (1, 2, 4, 13, 700):
        expected = getattr(pd.Series(x).rolling(n), "max" if f is highest else "min")()
        np.testing.assert_array_equal(f(x, n), expected)


def test_the_middle_is_that_of_the_extremes():
    market, out = bars(), np.empty(1500)
    for n in (1, 9, 1500, 1501):
        middle_kernel(market["high"], market["low"], n, out)
        np.testing.assert_array_equal(out, (highest(market["high"], n) + lowest(market["low"], n)) / 2)


# Rounding


def test_tiny_moves_of_a_high_price_keep_their_digits():
    rng = np.random.default_rng(2)
    close = 60_000 + rng.integers(-3, 4, 3000) / 1024
    market = {"high": close + 2 / 1024, "low": close - 1 / 1024, "close": close}
    for f, params in {cci: (20,), ultimate_oscillator: (7, 14, 28), williams_r: (14,)}.items():
        own, reference = ask(f, market, *params), by_definition(f, market, *params)
        np.testing.assert_allclose(own, reference, rtol=1e-9, atol=1e-9, err_msg=f.__name__)


@pytest.mark.parametrize("price", [0.1, 60_000.1, -3.3, 0.0])
def test_a_price_that_stands_still_gives_zero(price):
    x = np.full(700, price)
    market = {"high": x, "low": x, "close": x, "x": x}
    for f in TALIB:
        own = ask(f, market)
        expected = price if f in (highest, lowest) else 0.0
        assert (own[:, f.first() :] == expected).all() and np.isnan(own[:, : f.first(**{})].min(axis=0)).all(), f


@pytest.mark.parametrize("n", [3, 14])
def test_a_price_that_stops_moving_stops_the_index_within_the_window(n):
    moving = bars(600)
    flat = {k: np.concatenate([v, np.full(900, moving["close"][-1])]) for k, v in moving.items()}
    assert (ask(cci, flat, n)[0, 600 + n :] == 0).all()
    assert (ask(ultimate_oscillator, flat, n, 2 * n, 4 * n)[0, 601 + 4 * n :] == 0).all()


# The future, holes and little input


@settings(deadline=None, max_examples=120)
@given(f=st.sampled_from(list(TALIB)), pick=st.integers(0, 3), cut=st.integers(0, 1500), seed=st.integers(0, 9))
def test_the_future_changes_no_bit(f, pick, cut, seed):
    market, params = bars(seed=seed), PARAMS[f][pick]
    short = {k: v[:cut] for k, v in market.items()}
    np.testing.assert_array_equal(ask(f, short, *params), ask(f, market, *params)[:, :cut])


@EACH
@pytest.mark.parametrize("hole", [NAN, math.inf, -math.inf])
def test_a_hole_in_any_input_begins_a_new_history(f, hole):
    before, after = bars(120), bars(1100, 1)
    for name in f.inputs:
        market = {k: np.concatenate([before[k], [hole if k == name else 1.0], after[k]]) for k in before}
        own = ask(f, market)
        expected = np.hstack([ask(f, before), np.full((len(own), 1), NAN), ask(f, after)])
        np.testing.assert_array_equal(own, expected)


@EACH
def test_a_hole_anywhere_is_seen_and_begins_a_new_history(f):
    market = bars(60)
    for name in f.inputs:
        for at in range(60):
            holed = dict(market, **{name: np.where(np.arange(60) == at, NAN, market[name])})
            parts = [ask(f, {k: v[part] for k, v in market.items()}) for part in (slice(at), slice(at + 1, None))]
            expected = np.hstack([parts[0], np.full((len(parts[0]), 1), NAN), parts[1]])
            np.testing.assert_array_equal(ask(f, holed), expected, err_msg=f"{name} {at}")


@EACH
def test_too_little_is_undefined(f):
    for size in (0, 1, 2, f.first()):
        out = ask(f, bars(size))
        assert out.shape[1] == size and np.isnan(out).any(axis=0).all()
    assert np.isfinite(ask(f, bars(f.first() + 1))[:, -1]).all()


@EACH
def test_negative_prices_integers_and_strides_are_numbers_like_others(f):
    rng = np.random.default_rng(6)
    close = rng.integers(-40, 40, 300)
    whole = {"high": close + 3, "low": close - 2, "close": close, "x": close}
    plain = ask(f, {k: v[::3].astype(float) for k, v in whole.items()})
    np.testing.assert_array_equal(ask(f, {k: v[::3] for k, v in whole.items()}), plain)
    assert np.isfinite(plain[:, f.first() :]).all()
    panel = {k: pd.DataFrame({"A": v, "B": v * 2.0}) for k, v in whole.items()}
    value = f(*(panel[name] for name in f.inputs))
    for out in value if isinstance(value, tuple) else (value,):
        assert type(out) is pd.DataFrame and list(out.columns) == ["A", "B"]


def test_roc_of_nothing_is_zero_as_in_talib():
    x = np.array([0.0, 1, 2, 0, 5, 6])
    np.testing.assert_allclose(roc(x, 1), talib.ROC(x, 1), rtol=1e-12)
    assert roc(x, 1)[4] == 0


def test_a_change_too_large_for_a_float_is_undefined():
    assert np.isnan(roc(np.array([1e-300, 1e9, 1e9]), 1)[1]) and roc(np.array([1e-300, 1e9, 1e9]), 1)[2] == 0


def test_several_outputs_have_names():
    market = bars(80)
    fast = stochastic_fast(market["high"], market["low"], market["close"], k=5, d=3)
    assert fast._fields == ("k", "d") == stochastic_fast.outputs
    assert INDICATORS["stochastic_fast"] is stochastic_fast and stochastic_rsi.inputs == ("x",)


@pytest.mark.parametrize(
    ("f", "params", "message"),
    [
        (rsi, (1,), "rsi: n must be a whole number of bars from 2"),
        (cci, (1,), "cci: n must be a whole number of bars from 2"),
        (roc, (0,), "roc: n must be"),
        (stochastic, (5, 0, 3), "stochastic: smooth must be"),
        (stochastic_fast, (5, 1.5), "stochastic_fast: d must be"),
        (stochastic_rsi, (14, -1, 3), "stochastic_rsi: k must be"),
        (ultimate_oscillator, (7, 0, 28), "ultimate_oscillator: medium must be"),
    ],
)
def test_wrong_windows_are_named(f, params, message):
    with pytest.raises(ParameterError, match=message):
        ask(f, bars(50), *params)


@pytest.mark.parametrize("tiny", [5e-324, 1e-300])
def test_bars_that_contradict_themselves_give_no_infinity(tiny):
    rng = np.random.default_rng(0)
    for _ in range(50):
        market = {k: rng.choice([0.0, tiny, -tiny, 1e9, -1e9], 40) for k in ("high", "low", "close")}
        market["x"] = market["close"]
        for f in TALIB:
            params = (2, 3, 4) if f is ultimate_oscillator else ()
            assert not np.isinf(ask(f, market, *params)).any(), f.__name__
