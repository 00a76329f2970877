"Ranges, bands and volatilities are TA-Lib's and those of the definition, whatever the scale of the price."

import math

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import ParameterError
from rrr.features.indicators import (
    atr,
    band_width,
    bollinger,
    donchian,
    garman_klass,
    keltner,
    natr,
    parkinson,
    percent_b,
    realised_volatility,
    true_range,
    yang_zhang,
)

NAN = math.nan
SCALES = pytest.mark.parametrize("price", [1e-6, 100.0, 6e4])
WINDOWS = pytest.mark.parametrize("n", [2, 3, 5, 8, 9, 14, 50, 300])
CASES = {  # of open, high, low, close
    "true_range": lambda o, h, low, c: true_range(h, low, c),
    "atr": lambda o, h, low, c: atr(h, low, c, 12),
    "natr": lambda o, h, low, c: natr(h, low, c, 12),
    "upper": lambda o, h, low, c: bollinger(c, 12, 2.5).upper,
    "middle": lambda o, h, low, c: bollinger(c, 4).middle,
    "lower": lambda o, h, low, c: bollinger(c, 12).lower,
    "percent_b": lambda o, h, low, c: percent_b(c, 12),
    "band_width": lambda o, h, low, c: band_width(c, 12),
    "keltner upper": lambda o, h, low, c: keltner(h, low, c, 12, 2.0, 9).upper,
    "keltner middle": lambda o, h, low, c: keltner(h, low, c, 7, 2.0, 11).middle,
    "keltner lower": lambda o, h, low, c: keltner(h, low, c, 12, 2.0, 9).lower,
    "donchian upper": lambda o, h, low, c: donchian(h, low, 12).upper,
    "donchian middle": lambda o, h, low, c: donchian(h, low, 12).middle,
    "donchian lower": lambda o, h, low, c: donchian(h, low, 12).lower,
    "realised_volatility": lambda o, h, low, c: realised_volatility(c, 12),
    "parkinson": lambda o, h, low, c: parkinson(h, low, 12),
    "garman_klass": lambda o, h, low, c: garman_klass(o, h, low, c, 12, 252),
    "yang_zhang": lambda o, h, low, c: yang_zhang(o, h, low, c, 12),
}
AFTER_N = {"atr", "natr", "realised_volatility", "yang_zhang"}
EACH = pytest.mark.parametrize("name", CASES)
LOGARITHMIC = ["realised_volatility", "parkinson", "garman_klass", "yang_zhang"]


def first_of(name: str) -> int:
    return 1 if name == "true_range" else 3 if name == "middle" else 12 if name in AFTER_N else 11


def bars(n=700, seed=0, price=100.0):
    rng = np.random.default_rng(seed)
    close = price * np.exp(np.cumsum(rng.normal(0, 0.01, n)))
    open_ = np.concatenate([[price], close[:-1]]) * np.exp(rng.normal(0, 0.003, n))
    high = np.maximum(open_, close) * np.exp(np.abs(rng.normal(0, 0.005, n)))
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0, 0.005, n)))
    return open_, high, low, close


def cut(arrays, stop):
    return [a[:stop] for a in arrays]


# Independent references, written from the definitions.


def rolling(f, first: int, n: int, *arrays) -> np.ndarray:
    "f of the last n values of each array, from bar `first` on."
    out = np.full(len(arrays[0]), NAN)
    for i in range(first, len(out)):
        out[i] = f(*(a[i - n + 1 : i + 1] for a in arrays))
    return out


def by_closes(c, n):
    r = np.concatenate([[NAN], np.diff(np.log(c))])
    return rolling(lambda w: np.std(w, ddof=1), n, n, r)


def by_parkinson(h, low, n):
    return rolling(lambda w: math.sqrt(np.mean(w**2) / (4 * math.log(2))), n - 1, n, np.log(h / low))


def by_garman_klass(o, h, low, c, n):
    terms = 0.5 * np.log(h / low) ** 2 - (2 * math.log(2) - 1) * np.log(c / o) ** 2
    return rolling(lambda w: math.sqrt(np.mean(w)), n - 1, n, terms)


def by_yang_zhang(o, h, low, c, n):
    gap = np.concatenate([[NAN], np.log(o[1:] / c[:-1])])
    u, d, m = np.log(h / o), np.log(low / o), np.log(c / o)
    k = 0.34 / (1.34 + (n + 1) / (n - 1))

    def estimate(g, m, rs):
        return math.sqrt(np.var(g, ddof=1) + k * np.var(m, ddof=1) + (1 - k) * np.mean(rs))

    return rolling(estimate, n, n, gap, m, u * (u - m) + d * (d - m))


@WINDOWS
@SCALES
def test_ranges_and_bands_are_those_of_talib(n, price):
    o, h, low, c = bars(price=price)
    np.testing.assert_allclose(true_range(h, low, c), talib.TRANGE(h, low, c), rtol=1e-9)
    np.testing.assert_allclose(atr(h, low, c, n), talib.ATR(h, low, c, n), rtol=1e-9)
    np.testing.assert_allclose(natr(h, low, c, n), talib.NATR(h, low, c, n), rtol=1e-9)
    for own, peer in zip(bollinger(c, n, 2.5), talib.BBANDS(c, n, 2.5, 2.5), strict=True):
        np.testing.assert_allclose(own, peer, rtol=1e-9)
    top, middle, bottom = donchian(h, low, n)
    np.testing.assert_array_equal(top, talib.MAX(h, n))
    np.testing.assert_array_equal(bottom, talib.MIN(low, n))
    np.testing.assert_allclose(middle, (top + bottom) / 2, rtol=1e-15)
    channel, m = keltner(h, low, c, n, 1.5, n + 3), n + 3
    assert np.isnan(channel.middle[:m]).all()
    np.testing.assert_allclose(channel.middle[m:], talib.EMA(c, n)[m:], rtol=1e-9)
    np.testing.assert_allclose(channel.upper - channel.middle, 1.5 * talib.ATR(h, low, c, m), rtol=1e-9)
    np.testing.assert_allclose(channel.middle - channel.lower, 1.5 * talib.ATR(h, low, c, m), rtol=1e-9)


@WINDOWS
@SCALES
def test_volatilities_are_those_of_the_definition(n, price):
    o, h, low, c = bars(price=price)
    np.testing.assert_allclose(realised_volatility(c, n), by_closes(c, n), rtol=1e-9)
    np.testing.assert_allclose(parkinson(h, low, n), by_parkinson(h, low, n), rtol=1e-9)
    np.testing.assert_allclose(garman_klass(o, h, low, c, n), by_garman_klass(o, h, low, c, n), rtol=1e-9)
    np.testing.assert_allclose(yang_zhang(o, h, low, c, n), by_yang_zhang(o, h, low, c, n), rtol=1e-9)


@settings(deadline=None, max_examples=120)
@given(x=st.lists(st.floats(1e-4, 1e7), min_size=0, max_size=60).map(np.array), n=st.integers(2, 70))
def test_any_prices_give_the_bands_of_the_definition(x, n):
    spread = rolling(lambda w: np.std(w - w[0]), n - 1, n, x)
    mean = rolling(lambda w: math.fsum(w) / n, n - 1, n, x)
    band = bollinger(x, n, 2.0)
    reach = rolling(lambda w: np.abs(w).max(), n - 1, n, x)
    known = slice(n - 1, None)
    for own, right in zip(band, (mean + 2 * spread, mean, mean - 2 * spread), strict=True):
        assert (np.isnan(own) == np.isnan(right)).all() and (np.abs(own - right) <= 1e-9 * reach)[known].all()
    np.testing.assert_allclose(band_width(x, n), 4 * spread / mean, rtol=1e-9, atol=1e-12)
    moved = spread > 1e-6 * reach
    place, score = percent_b(x, n), (x - mean)[moved] / spread[moved]
    np.testing.assert_allclose(place[moved], 0.5 + score / 4, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=80)
@given(logs=st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=50), n=st.integers(2, 20), seed=st.integers(0, 9))
def test_any_bars_give_the_volatility_of_the_definition(logs, n, seed):
    c = 100 * np.exp(np.cumsum(logs))
    o, reach = np.concatenate([[100.0], c[:-1]]), 1 + np.random.default_rng(seed).uniform(0, 0.1, len(c))
    h, low = np.maximum(o, c) * reach, np.minimum(o, c) / reach
    pairs = [(realised_volatility(c, n), by_closes(c, n)), (parkinson(h, low, n), by_parkinson(h, low, n))]
    pairs += [(garman_klass(o, h, low, c, n), by_garman_klass(o, h, low, c, n))]
    pairs += [(yang_zhang(o, h, low, c, n), by_yang_zhang(o, h, low, c, n))]
    for own, reference in pairs:
        np.testing.assert_allclose(own, reference, rtol=1e-9, atol=1e-12)


def test_a_calm_window_is_right_after_a_crash():
    calm = 60_000 + 0.01 * (np.arange(60) % 2)
    x = np.concatenate([[1e9, 1e-3], calm])
    for n in (5, 12):
        upper, middle, lower = (line[n + 1 :] for line in bollinger(x, n))
        mean, spread = (rolling(f, n - 1, n, calm - 60_000)[n - 1 :] for f in (np.mean, np.std))
        np.testing.assert_allclose(middle - 60_000, mean, atol=2e-11)
        np.testing.assert_allclose(upper - 60_000, mean + 2 * spread, atol=3e-11)
        np.testing.assert_allclose(lower - 60_000, mean - 2 * spread, atol=3e-11)


@pytest.mark.parametrize("name", LOGARITHMIC)
def test_a_price_that_is_not_above_zero_makes_its_windows_undefined(name):
    for bad in (0.0, -5.0):
        for which in range(4):
            columns = bars(80)
            used = {"realised_volatility": (3,), "parkinson": (1, 2)}.get(name, (0, 1, 2, 3))
            columns[which][30] = bad
            out = CASES[name](*columns)
            lasting = 13 if which == 3 and name in AFTER_N else 12  # the close also makes the next bar's return
            expected = np.zeros(80, dtype=bool)
            expected[: first_of(name)] = True
            if which in used:
                expected[30 : 30 + lasting] = True
            np.testing.assert_array_equal(np.isnan(out), expected, err_msg=f"{bad} {which}")


def test_a_year_is_the_root_of_its_bars():
    o, h, low, c = bars(100)
    for f, inputs in (
        (realised_volatility, (c,)),
        (parkinson, (h, low)),
        (garman_klass, (o, h, low, c)),
        (yang_zhang, (o, h, low, c)),
    ):
        np.testing.assert_allclose(f(*inputs, 10, 252), f(*inputs, 10) * math.sqrt(252), rtol=1e-12)
        for wrong in (0, -1, "252", NAN):
            with pytest.raises(ParameterError, match=f"{f.__name__}: bars_per_year"):
                f(*inputs, 10, wrong)


def test_estimators_find_the_volatility_that_made_the_bars():
    steps = np.random.default_rng(5).normal(0, 0.01 / math.sqrt(1000), (4000, 1000))
    path = np.exp(np.cumsum(steps).reshape(4000, 1000))
    open_ = np.concatenate([[1.0], path[:-1, -1]])
    high, low = np.maximum(path.max(1), open_), np.minimum(path.min(1), open_)
    columns = open_, high, low, path[:, -1]
    for f, inputs in (
        (realised_volatility, (3,)),
        (parkinson, (1, 2)),
        (garman_klass, range(4)),
        (yang_zhang, range(4)),
    ):
        assert f(*(columns[i] for i in inputs), 3999)[-1] == pytest.approx(0.01, rel=0.05)


@EACH
def test_the_future_changes_nothing(name):
    f, columns = CASES[name], bars(1500, price=6e4)
    whole = f(*columns)
    for stop in (0, 1, 2, 11, 12, 13, 24, 255, 256, 263, 264, 300, 512, 777, 1037, 1499):
        np.testing.assert_array_equal(f(*cut(columns, stop)), whole[:stop])


@EACH
@pytest.mark.parametrize("hole", [NAN, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, 7, 60, 131, 279])
def test_a_hole_in_any_input_starts_a_new_history(name, hole, at):
    f, clean = CASES[name], bars(280)
    whole, read = f(*clean), 0
    split = np.concatenate([f(*cut(clean, at)), [NAN], f(*(a[at + 1 :] for a in clean))])
    for which in range(4):
        columns = [a.copy() for a in clean]
        columns[which][at] = hole
        out = f(*columns)
        if np.array_equal(out, whole, equal_nan=True) and at != 0:
            continue  # this input is not read
        read += 1
        if at or not np.array_equal(out, whole, equal_nan=True):
            np.testing.assert_array_equal(out, split)
    assert read


@EACH
def test_the_first_value_is_where_it_says(name):
    out = CASES[name](*bars(60))
    assert np.isnan(out[: first_of(name)]).all() and np.isfinite(out[first_of(name) :]).all()


def test_each_says_its_first_bar():
    assert [f.first() for f in (true_range, atr, natr, bollinger, percent_b, band_width)] == [1, 14, 14, 19, 19, 19]
    assert [f.first() for f in (donchian, realised_volatility, parkinson, garman_klass, yang_zhang)] == [
        19,
        20,
        19,
        19,
        20,
    ]
    assert keltner.first() == 19 and keltner.first(n=5) == 10 and keltner.first(n=11, n_atr=11) == 11


@EACH
def test_constant_prices_are_calm(name):
    flat = np.full(60, 0.1)
    out = CASES[name](flat, flat, flat, flat)[first_of(name) :]
    if name == "percent_b":
        assert np.isnan(out).all()
    else:
        level = 0.1 if name in ("upper", "middle", "lower") or " " in name else 0.0
        np.testing.assert_allclose(out, level, rtol=1e-14, atol=0)


@EACH
def test_little_strange_and_labelled_input(name):
    f, columns = CASES[name], bars(60)
    for few in ([], [1.0], [NAN] * 30, [math.inf] * 30):
        out = f(*[np.array(few)] * 4)
        assert len(out) == len(few) and np.isnan(out).all()
    whole = [np.round(a).astype(int) for a in columns]
    np.testing.assert_array_equal(f(*whole), f(*(a.astype(float) for a in whole)))
    wide = np.column_stack(columns)
    np.testing.assert_array_equal(f(*(wide[:, i] for i in range(4))), f(*columns))
    days = pd.date_range("2024-01-01", periods=60, tz="UTC")
    panel = f(*(pd.DataFrame({"A": a, "B": a[::-1]}, days) for a in columns))
    assert type(panel) is pd.DataFrame and panel.index.equals(days)
    np.testing.assert_array_equal(panel["B"], f(*(a[::-1].copy() for a in columns)))


def test_negative_and_zero_prices_have_ranges_and_bands_too():
    c = np.sin(np.arange(80) / 3.0)
    c[40] = 0.0
    h, low = c + 0.5, c - 0.5
    np.testing.assert_allclose(atr(h, low, c, 5), talib.ATR(h, low, c, 5), rtol=1e-9)
    np.testing.assert_allclose(natr(h, low, c, 5), talib.NATR(h, low, c, 5), rtol=1e-9)
    assert natr(h, low, c, 5)[40] == 0
    assert np.isnan(band_width(np.tile([1.0, -1.0], 10), 2)[1:]).all()


def test_wrong_parameters_are_refused():
    o, h, low, c = bars(30)
    with pytest.raises(ParameterError, match="bollinger: n must be a whole number of bars from 2"):
        bollinger(c, 1)
    with pytest.raises(ParameterError, match="keltner: n_atr"):
        keltner(h, low, c, n_atr=0)
    for call, name in ((lambda k: bollinger(c, 5, k), "bollinger"), (lambda k: keltner(h, low, c, 5, k), "keltner")):
        for k in (-1.0, NAN, "2"):
            with pytest.raises(ParameterError, match=f"{name}: k must be a number from 0"):
                call(k)
    with pytest.raises(ParameterError, match="percent_b: k"):
        percent_b(c, 5, 0)
