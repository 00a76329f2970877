"Moving statistics are TA-Lib's and those of the definition, and nothing outside the window leaves a trace in them."

import math

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import ParameterError
from rrr.features.statistics import hurst, linreg_slope, stddev, window_sums, zscore

NAN = math.nan
PRICES = st.lists(st.floats(1e-4, 1e7), min_size=0, max_size=60).map(np.array)
CASES = {
    "stddev": lambda x: stddev(x, 12),
    "stddev, short": lambda x: stddev(x, 4, 1),
    "zscore": lambda x: zscore(x, 12),
    "linreg_slope": lambda x: linreg_slope(x, 12),
    "linreg_slope, short": lambda x: linreg_slope(x, 4),
    "hurst": lambda x: hurst(x, 40),
}
FIRST = {"stddev": 11, "stddev, short": 3, "zscore": 11, "linreg_slope": 11, "linreg_slope, short": 3, "hurst": 39}
EACH = pytest.mark.parametrize("name", CASES)


def walk(n=700, seed=0, price=100.0):
    return price * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.01, n)))


# Independent references, written from the definitions.


def by_windows(f, x: np.ndarray, n: int) -> np.ndarray:
    out = np.full(len(x), NAN)
    for i in range(n - 1, len(x)):
        out[i] = f(np.asarray(x[i - n + 1 : i + 1], dtype=float))
    return out


def spread(w: np.ndarray, ddof: int = 0) -> float:
    mean = math.fsum(w) / len(w)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in w) / (len(w) - ddof)) if w.min() < w.max() else 0.0


def score(w: np.ndarray, ddof: int = 0) -> float:
    return (w[-1] - math.fsum(w) / len(w)) / spread(w, ddof) if spread(w) else NAN


def slope(w: np.ndarray) -> float:
    return float(np.polyfit(np.arange(len(w)), w - w[0], 1)[0])


def roughness(w: np.ndarray) -> float:
    lags = np.array([1, 2, 4, 8, 16])
    moves = np.array([np.mean((w[k:] - w[:-k]) ** 2) for k in lags])
    return float(np.polyfit(np.log(lags), np.log(moves), 1)[0] / 2)


@pytest.mark.parametrize("n", [2, 3, 5, 7, 8, 9, 14, 50, 300])
@pytest.mark.parametrize("price", [1e-6, 100.0, 6e4])
def test_values_are_those_of_talib(n, price):
    x = walk(price=price)
    # TA-Lib's own running sums of squares lose digits where the price is large and the window is calm.
    np.testing.assert_allclose(stddev(x, n), talib.STDDEV(x, n), rtol=1e-7 if n < 5 else 1e-9)
    np.testing.assert_allclose(linreg_slope(x, n), talib.LINEARREG_SLOPE(x, n), rtol=1e-9, atol=1e-11 * price)


@settings(deadline=None, max_examples=150)
@given(x=PRICES, n=st.integers(2, 70), ddof=st.integers(0, 1))
def test_any_prices_give_the_value_of_the_definition(x, n, ddof):
    for own, f in ((stddev(x, n, ddof), spread), (zscore(x, n, ddof), score)):
        np.testing.assert_allclose(own, by_windows(lambda w, f=f: f(w, ddof), x, n), rtol=1e-9, atol=1e-9)
    ranges = by_windows(np.ptp, x, n)
    reference = by_windows(slope, x, n)
    assert (np.isnan(linreg_slope(x, n)) == np.isnan(reference)).all()
    assert (np.abs(linreg_slope(x, n) - reference) <= 1e-9 * ranges)[n - 1 :].all()


@pytest.mark.parametrize("n", [4, 5, 12, 40])
def test_what_left_the_window_leaves_no_trace(n):
    quiet = 60_000 + 0.01 * (np.arange(3 * n) % 2)
    x = np.concatenate([[1e9, 1e-3, 5e8], quiet])
    np.testing.assert_allclose(stddev(x, n)[n + 2 :], by_windows(spread, quiet, n)[n - 1 :], rtol=1e-9)
    flat = np.concatenate([walk(50), np.full(2 * n, 0.1)])
    assert (stddev(flat, n)[-n:] == 0).all() and np.isnan(zscore(flat, n)[-n:]).all()
    assert (linreg_slope(flat, n)[-n:] == 0).all()


@pytest.mark.parametrize("n", [32, 50, 100, 333])
@pytest.mark.parametrize("price", [1e-6, 100.0, 6e4])
def test_hurst_is_half_the_slope_of_the_log_moves(n, price):
    x = walk(price=price)
    np.testing.assert_allclose(hurst(x, n), by_windows(roughness, x, n), rtol=1e-9, atol=1e-9)


def test_hurst_knows_lines_walks_and_noise():
    noise = np.random.default_rng(1).normal(size=30_000)
    assert hurst(np.arange(200.0), 100)[-1] == pytest.approx(1, abs=1e-12)
    assert hurst(noise.cumsum(), 30_000)[-1] == pytest.approx(0.5, abs=0.03)
    assert hurst(noise, 30_000)[-1] == pytest.approx(0, abs=0.03)
    assert np.isnan(hurst(np.full(200, 3.0))).all()
    assert np.isnan(hurst(np.arange(200.0) % 2)).all()  # moves over two bars are always zero


def test_a_zscore_stays_within_its_bounds():
    x = np.concatenate([np.zeros(50), [1e6], np.zeros(50)])
    assert zscore(x, 20)[50] == pytest.approx(math.sqrt(19), rel=1e-12)
    assert np.nanmax(np.abs(zscore(walk(), 20))) <= math.sqrt(19) + 1e-9


@EACH
def test_the_future_changes_nothing(name):
    f, x = CASES[name], walk(1500, price=6e4)
    whole = f(x)
    for cut in (0, 1, 3, 39, 40, 41, 255, 256, 259, 500, 511, 777, 1031, 1499):
        np.testing.assert_array_equal(f(x[:cut]), whole[:cut])


@EACH
@pytest.mark.parametrize("hole", [NAN, math.inf, -math.inf])
def test_a_hole_starts_a_new_history(name, hole):
    f, x = CASES[name], walk(300)
    for at in (0, 50, 131, 299):
        broken = x.copy()
        broken[at] = hole
        expected = np.concatenate([f(x[:at]), [NAN], f(x[at + 1 :])])
        np.testing.assert_array_equal(f(broken), expected)


@EACH
def test_the_first_value_is_where_it_says(name):
    out = CASES[name](walk(60))
    assert np.isnan(out[: FIRST[name]]).all() and np.isfinite(out[FIRST[name] :]).all()


@EACH
def test_little_strange_and_labelled_input(name):
    f, x = CASES[name], walk(90)
    for few in ([], [1.0], [1.0, 2.0], [NAN] * 50, [math.inf] * 50):
        assert np.isnan(f(np.array(few))).all() and len(f(np.array(few))) == len(few)
    np.testing.assert_array_equal(f(np.arange(80) % 7), f(np.arange(80) % 7 * 1.0))
    np.testing.assert_array_equal(f(x[::-1]), f(x[::-1].copy()))
    np.testing.assert_allclose(f(-x)[50:], f(x)[50:] * (-1 if name[0] in "zl" else 1), rtol=1e-9)
    panel = f(pd.DataFrame({"A": x, "B": x[::-1]}))
    np.testing.assert_array_equal(panel["B"], f(x[::-1].copy()))


def test_each_says_its_first_bar():
    assert (stddev.first(n=12), zscore.first(), linreg_slope.first(), hurst.first()) == (11, 19, 13, 99)


def test_wrong_parameters_are_refused():
    for call in (lambda: stddev(walk(), 1), lambda: zscore(walk(), 1), lambda: linreg_slope(walk(), 1)):
        with pytest.raises(ParameterError, match="n must be a whole number of bars from 2"):
            call()
    for ddof in (2, -1, 0.5, True):
        with pytest.raises(ParameterError, match="stddev: ddof"):
            stddev(walk(), 5, ddof)
    with pytest.raises(ParameterError, match="from 32"):
        hurst(walk(), 31)


@settings(deadline=None, max_examples=60)
@given(x=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=80).map(np.array), n=st.integers(1, 30))
def test_window_sums_are_sums_of_windows(x, n):
    if len(x) < n:
        return
    sums = np.empty(len(x) - n + 1)
    window_sums(x, n, n - 1, sums, np.empty(n))
    scale = by_windows(lambda w: np.abs(w).sum(), x, n)[n - 1 :]
    assert (np.abs(sums - by_windows(math.fsum, x, n)[n - 1 :]) <= 1e-14 * scale).all()
