"Indicators are TA-Lib's values, causal, and honest about what is not defined."

import math
import warnings

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import ParameterError
from rrr.features.indicators import LONGEST, atr, ema, rsi, sma

NAN = math.nan
PRICES = st.lists(st.floats(1e-4, 1e7), min_size=0, max_size=60).map(np.array)


def true_atr(x, n):
    return atr(x * 1.01, x * 0.98, x, n)


SINGLE = {"sma": sma, "ema": ema, "rsi": rsi, "atr": true_atr}
FIRST = {"sma": lambda n: n - 1, "ema": lambda n: n - 1, "rsi": lambda n: n, "atr": lambda n: n}
EACH = pytest.mark.parametrize("name", SINGLE)


def walk(n=400, seed=0, price=100.0):
    return price * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.02, n)))


# Independent references, written from the definitions.


def wilder(moves: np.ndarray, n: int) -> np.ndarray:
    "Mean of the first n moves, then each new one weighs 1 / n."
    out = np.full(len(moves), NAN)
    for i in range(n - 1, len(moves)):
        out[i] = np.mean(moves[:n]) if i == n - 1 else (out[i - 1] * (n - 1) + moves[i]) / n
    return out


def by_definition(name: str, x: np.ndarray, n: int) -> np.ndarray:
    out = np.full(len(x), NAN)
    if name == "sma":
        for i in range(n - 1, len(x)):
            out[i] = math.fsum(x[i - n + 1 : i + 1]) / n
    elif name == "ema" and len(x) >= n:
        out[n - 1] = math.fsum(x[:n]) / n
        for i in range(n, len(x)):
            out[i] = out[i - 1] + 2 / (n + 1) * (x[i] - out[i - 1])
    elif name == "rsi" and len(x) > 1:
        up, down = wilder(np.maximum(np.diff(x), 0), n), wilder(np.maximum(-np.diff(x), 0), n)
        both = up + down
        out[1:] = np.where(np.isnan(both), NAN, 100 * up / np.where(both == 0, 1, both))
    elif name == "atr" and len(x) > 1:
        high, low, before = x[1:] * 1.01, x[1:] * 0.98, x[:-1]
        reach = np.maximum(high, before) - np.minimum(low, before)
        out[1:] = wilder(reach, n)
    return out


@EACH
@pytest.mark.parametrize("n", [2, 3, 14, 50])
@pytest.mark.parametrize("price", [1e-6, 100.0, 1e6])
def test_values_are_those_of_talib_and_of_the_definition(name, n, price):
    x = walk(price=price)
    own = SINGLE[name](x, n)
    peer = talib.ATR(x * 1.01, x * 0.98, x, n) if name == "atr" else getattr(talib, name.upper())(x, n)
    np.testing.assert_allclose(own, peer, rtol=1e-10)
    np.testing.assert_allclose(own, by_definition(name, x, n), rtol=1e-9)


@settings(deadline=None, max_examples=100)
@given(x=PRICES, n=st.integers(2, 70), name=st.sampled_from(list(SINGLE)))
def test_any_prices_give_the_value_of_the_definition(x, n, name):
    own, reference = SINGLE[name](x, n), by_definition(name, x, n)
    assert own.shape == x.shape and (np.isnan(own) == np.isnan(reference)).all()
    scale = {"sma": 0, "rsi": 1}.get(name, x.max(initial=0))
    np.testing.assert_allclose(own, reference, rtol=1e-9, atol=1e-9 * scale)


@settings(deadline=None, max_examples=100)
@given(x=PRICES, n=st.integers(2, 20), cut=st.integers(0, 60), name=st.sampled_from(list(SINGLE)))
def test_the_future_changes_nothing(x, n, cut, name):
    np.testing.assert_array_equal(SINGLE[name](x[:cut], n), SINGLE[name](x, n)[:cut])


@pytest.mark.parametrize("n", [2, 10, 50])
def test_a_window_gives_the_same_mean_whatever_came_before_it(n):
    rng = np.random.default_rng(3)
    ticks = np.concatenate([rng.integers(9_999_000, 10_000_000, 800) / 100, rng.integers(1, 9, 800) / 1e6])
    whole = sma(ticks, n)
    for end in range(n, len(ticks)):
        assert sma(ticks[end - n : end], n)[-1] == whole[end - 1], end


# Kinds and labels


@EACH
def test_the_same_kind_comes_back(name):
    f, x = SINGLE[name], walk(40)
    days = pd.date_range("2024-01-01", periods=40, tz="UTC", name="timestamp")
    plain, series = f(x, 5), f(pd.Series(x, days, name="close"), 5)
    panel = f(pd.DataFrame({"BTC-USD": x, "ETH-USD": x * 3}, days), 5)
    assert type(plain) is np.ndarray and type(series) is pd.Series and type(panel) is pd.DataFrame
    assert series.index is days or series.index.equals(days)
    assert series.name == "close" and list(panel.columns) == ["BTC-USD", "ETH-USD"] and panel.index.equals(days)
    np.testing.assert_array_equal(series, plain)
    np.testing.assert_array_equal(panel["BTC-USD"], plain)
    np.testing.assert_allclose(panel["ETH-USD"], plain * (1 if name == "rsi" else 3), rtol=1e-12)
    np.testing.assert_array_equal(f(np.column_stack([x, x * 3]), 5), panel)


@EACH
def test_integers_strides_and_order_in_memory_do_not_matter(name):
    f, whole = SINGLE[name], np.random.default_rng(1).integers(50, 150, 80)
    expected = f(whole[::2].astype(float), 5)
    np.testing.assert_array_equal(f(whole[::2], 5), expected)
    np.testing.assert_array_equal(f(np.array(whole[::2], dtype=np.float64)[::-1][::-1], 5), expected)
    np.testing.assert_array_equal(f(np.asfortranarray(np.column_stack([whole[::2]] * 2)), 5)[:, 1], expected)


@EACH
def test_the_input_is_left_as_it_was(name):
    x = walk(30)
    before = x.copy()
    SINGLE[name](x, 5)
    np.testing.assert_array_equal(x, before)


def test_inputs_of_one_range_must_belong_together():
    x = pd.Series(walk(30), pd.date_range("2024-01-01", periods=30, tz="UTC"))
    panel = pd.DataFrame({"A": x, "B": x * 2})
    with pytest.raises(ParameterError, match="shape"):
        atr(x, x, x.iloc[1:], 5)
    with pytest.raises(ParameterError, match="labels"):
        atr(x, x, x.shift(freq="1D"), 5)
    with pytest.raises(ParameterError, match="labels"):
        atr(panel, panel[["B", "A"]], panel, 5)
    with pytest.raises(ParameterError, match="shape"):
        sma(np.zeros((2, 2, 2)), 2)
    np.testing.assert_array_equal(atr(x, x.to_numpy(), x, 5), atr(x, x, x, 5))


# Little and bad input


@EACH
@pytest.mark.parametrize("x", [[], [1.0], [1.0, 2.0], [NAN], [NAN] * 9, [math.inf] * 9], ids=str)
def test_too_little_is_undefined_and_no_error(name, x):
    x = np.array(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = SINGLE[name](x, 5)
    assert out.shape == x.shape and np.isnan(out).all()


@EACH
def test_empty_panels_stay_empty(name):
    f = SINGLE[name]
    assert f(pd.DataFrame({"A": [], "B": []}, dtype=float), 5).shape == (0, 2)
    assert f(pd.DataFrame(index=range(4), dtype=float), 5).shape == (4, 0)
    assert f(np.empty((0, 3)), 5).shape == (0, 3)


@EACH
@pytest.mark.parametrize("lead", [NAN, math.inf])
def test_what_is_missing_at_the_start_only_delays(name, lead):
    f, x = SINGLE[name], walk(40)
    out = f(np.concatenate([[lead] * 7, x]), 5)
    assert np.isnan(out[: 7 + FIRST[name](5)]).all()
    np.testing.assert_array_equal(out[7:], f(x, 5))


@EACH
@pytest.mark.parametrize("hole", [NAN, math.inf, -math.inf])
@pytest.mark.parametrize("at", [12, 39])
def test_a_hole_makes_everything_after_it_undefined(name, hole, at):
    "TA-Lib answers an RSI of 0, the strongest of signals, for ever after a NaN."
    f, x = SINGLE[name], walk(40)
    broken = x.copy()
    broken[at] = hole
    out = f(broken, 5)
    np.testing.assert_array_equal(out[:at], f(x, 5)[:at])
    assert np.isnan(out[at:]).all()


def test_a_hole_in_one_input_of_a_range_counts():
    x = walk(40)
    low = x * 0.98
    low[20] = NAN
    out = atr(x, low, x, 5)
    assert np.isfinite(out[5:20]).all() and np.isnan(out[20:]).all()


def test_a_hole_in_one_symbol_leaves_the_others_alone():
    panel = pd.DataFrame({"A": walk(40), "B": walk(40, 1)})
    panel.loc[20, "A"] = NAN
    out = ema(panel, 5)
    assert out["A"].iloc[20:].isna().all() and out["B"].iloc[4:].notna().all()


@EACH
@pytest.mark.parametrize("n", [0, -1, 1.5, True, None, "5", NAN, 5.0, LONGEST + 1, 10**30], ids=str)
def test_wrong_windows_are_refused_in_a_sentence(name, n):
    with pytest.raises(ParameterError, match=f"{name}: n must be a whole number of bars from [12] to {LONGEST}"):
        SINGLE[name](walk(10), n)


def test_the_shortest_windows():
    x = walk(10)
    np.testing.assert_allclose(sma(x, 1), x, rtol=1e-15)
    np.testing.assert_allclose(ema(x, 1), x, rtol=1e-15)
    np.testing.assert_allclose(atr(x * 1.01, x * 0.98, x, 1)[1:], by_definition("atr", x, 1)[1:], rtol=1e-12)
    with pytest.raises(ParameterError, match="from 2"):
        rsi(x, 1)


def test_numpy_integers_are_windows_too():
    np.testing.assert_array_equal(sma(walk(10), np.int64(3)), sma(walk(10), 3))


def test_the_range_of_an_rsi():
    assert (rsi(np.arange(1.0, 30), 5)[5:] == 100).all() and (rsi(np.arange(30.0, 1, -1), 5)[5:] == 0).all()
    assert (rsi(np.full(30, 7.0), 5)[5:] == 0).all()  # TA-Lib's word for no move at all
    assert np.nanmin(rsi(walk(), 14)) >= 0 and np.nanmax(rsi(walk(), 14)) <= 100
