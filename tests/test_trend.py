"Trend indicators are TA-Lib's; SuperTrend and Ichimoku, which it lacks, are those of their published rules."

import math

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import ParameterError
from rrr.features.trend import adx, aroon, aroon_oscillator, directional, ichimoku, parabolic_sar, supertrend

NAN = math.nan


def talib_directional(high, low, close, n):
    return talib.ADX(high, low, close, n), talib.PLUS_DI(high, low, close, n), talib.MINUS_DI(high, low, close, n)


TALIB = {
    adx: talib.ADX,
    directional: talib_directional,
    aroon: lambda high, low, n: talib.AROON(high, low, n)[::-1],
    aroon_oscillator: talib.AROONOSC,
    parabolic_sar: talib.SAR,
}
WINDOWS = [(2,), (3,), (5,), (14,), (15,), (16,), (50,), (300,)]
PARAMS = {f: WINDOWS for f in TALIB} | {
    parabolic_sar: [(0.02, 0.2), (0.1, 0.5), (0.3, 0.1), (0.0, 0.2), (1.0, 2.0)],
    supertrend: [(10, 3.0), (1, 1.0), (5, 0.0), (40, 2.5)],
    ichimoku: [(9, 26, 52, 26), (2, 3, 4, 1), (1, 1, 1, 1), (30, 20, 10, 40)],
}
ALL = list(PARAMS)
CASES = [pytest.param(f, p, id=f"{f.__name__}{p}") for f in TALIB for p in PARAMS[f]]
EACH = pytest.mark.parametrize("f", ALL, ids=lambda f: f.__name__)


def bars(n=1500, seed=0, price=100.0) -> dict[str, np.ndarray]:
    "A market with ties: prices on a grid of a thousandth."
    rng = np.random.default_rng(seed)
    close = np.round(100 + np.cumsum(rng.normal(0, 0.5, n)), 1)
    spread = np.round(rng.exponential(0.5, (2, n)) * (rng.random((2, n)) < 0.9), 1)
    return {
        "high": (close + spread[0]) * price / 100,
        "low": (close - spread[1]) * price / 100,
        "close": close * price / 100,
    }


def lines(value) -> np.ndarray:
    "Outputs as rows."
    return np.atleast_2d(np.array(value))


def ask(f, market: dict, *params) -> np.ndarray:
    return lines(f(*(market[name] for name in f.inputs), *params))


@pytest.mark.parametrize(("f", "params"), CASES)
@pytest.mark.parametrize("price", [1e-6, 100.0, 6e4])
@pytest.mark.parametrize("seed", [0, 1])
def test_values_and_their_beginning_are_those_of_talib(f, params, price, seed):
    market = bars(price=price, seed=seed)
    own, peer = ask(f, market, *params), lines(TALIB[f](*(market[name] for name in f.inputs), *params))
    np.testing.assert_allclose(own, peer, rtol=1e-9, atol=1e-9 if f is not parabolic_sar else 0.0)


@EACH
def test_the_first_value_of_all_outputs_is_where_it_says(f):
    for params in PARAMS[f]:
        known = np.isfinite(ask(f, bars(), *params)).all(axis=0)
        assert np.flatnonzero(known)[0] == f.first(**dict(zip(f.params, params))), params  # noqa: B905


# Definitions, bar by bar


def wilder_mean(moves: list[float], n: int) -> list[float]:
    out = []
    for i, move in enumerate(moves):
        out.append(NAN if i < n - 1 else math.fsum(moves[:n]) / n if i == n - 1 else out[-1] + (move - out[-1]) / n)
    return out


def supertrend_by_definition(market: dict, n: int, factor: float) -> np.ndarray:
    "The rules as TradingView states them: bands first, then the direction from the band the line was on."
    high, low, close = (market[k].tolist() for k in ("high", "low", "close"))
    size = len(close)
    moves = [max(high[i] - low[i], abs(high[i] - close[i - 1]), abs(low[i] - close[i - 1])) for i in range(1, size)]
    reach = [NAN, *wilder_mean(moves, n)] if size else []
    line, side, upper, lower = [NAN] * size, [NAN] * size, [NAN] * size, [NAN] * size
    for i in range(n, size):
        upper[i] = (high[i] + low[i]) / 2 + factor * reach[i]
        lower[i] = (high[i] + low[i]) / 2 - factor * reach[i]
        if i == n:
            side[i] = 1 if close[i] > upper[i] else -1
        else:
            if not (lower[i] > lower[i - 1] or close[i - 1] < lower[i - 1]):
                lower[i] = lower[i - 1]
            if not (upper[i] < upper[i - 1] or close[i - 1] > upper[i - 1]):
                upper[i] = upper[i - 1]
            if line[i - 1] == upper[i - 1] and side[i - 1] == -1:
                side[i] = 1 if close[i] > upper[i] else -1
            else:
                side[i] = -1 if close[i] < lower[i] else 1
        line[i] = lower[i] if side[i] == 1 else upper[i]
    return np.array([line, side])


def ichimoku_by_definition(market: dict, conversion: int, base: int, span: int, ahead: int) -> np.ndarray:
    def middle(n: int) -> pd.Series:
        return (pd.Series(market["high"]).rolling(n).max() + pd.Series(market["low"]).rolling(n).min()) / 2

    lead = (middle(conversion) + middle(base)) / 2
    return np.array([middle(conversion), middle(base), lead.shift(ahead), middle(span).shift(ahead)])


@settings(deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 9999), size=st.integers(0, 200), n=st.integers(1, 30), factor=st.sampled_from([0.5, 1, 2, 3.3])
)
def test_supertrend_follows_the_rules(seed, size, n, factor):
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, size)))
    market = {"high": close * (1 + rng.random(size) / 50), "low": close * (1 - rng.random(size) / 50), "close": close}
    own, reference = ask(supertrend, market, n, float(factor)), supertrend_by_definition(market, n, factor)
    np.testing.assert_array_equal(own[1], reference[1])
    np.testing.assert_allclose(own[0], reference[0], rtol=1e-9)


def test_supertrend_turns_both_ways_on_a_market_that_does():
    close = np.concatenate([np.linspace(100, 150, 80), np.linspace(150, 90, 80), np.linspace(90, 140, 80)])
    trend = supertrend(close + 1, close - 1, close)
    assert trend.direction[79] == 1 and trend.direction[159] == -1 and trend.direction[239] == 1
    assert (trend.line[40:80] < close[40:80]).all() and (trend.line[120:160] > close[120:160]).all()


@settings(deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 9999),
    size=st.integers(0, 150),
    windows=st.tuples(*[st.integers(1, 40)] * 3),
    ahead=st.integers(1, 60),
)
def test_ichimoku_is_the_middle_of_ranges_and_its_cloud_comes_later(seed, size, windows, ahead):
    market = bars(size, seed)
    own = ask(ichimoku, market, *windows, ahead)
    np.testing.assert_allclose(own, ichimoku_by_definition(market, *windows, ahead), rtol=1e-12)


@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 9999), size=st.integers(0, 120), n=st.integers(1, 130))
def test_aroon_counts_bars_since_the_extremes(seed, size, n):
    market = bars(size, seed)
    reference = np.full((2, size), NAN)
    for t in range(n, size):
        high, low = market["high"][t - n : t + 1][::-1], market["low"][t - n : t + 1][::-1]
        reference[:, t] = 100 * (n - np.argmax(high)) / n, 100 * (n - np.argmin(low)) / n
    np.testing.assert_allclose(ask(aroon, market, n), reference, rtol=1e-12)
    np.testing.assert_allclose(ask(aroon_oscillator, market, n)[0], reference[0] - reference[1], rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 9999), size=st.integers(0, 150), n=st.integers(2, 40))
def test_directional_movement_is_that_of_wilders_sums(seed, size, n):
    market = bars(size, seed)
    high, low, close = (market[k] for k in ("high", "low", "close"))
    out, sums = np.full((3, size), NAN), np.zeros(3)
    strengths: list[float] = []
    for t in range(1, size):
        rise, fall = high[t] - high[t - 1], low[t - 1] - low[t]
        reach = max(high[t], close[t - 1]) - min(low[t], close[t - 1])
        now = np.array([rise if rise > max(fall, 0) else 0.0, fall if fall > max(rise, 0) else 0.0, reach])
        sums = sums + now if t < n else sums * (1 - 1 / n) + now
        if t >= n:
            out[1:, t] = 100 * sums[:2] / sums[2] if sums[2] else 0.0
            both = out[1, t] + out[2, t]
            share = 100 * abs(out[1, t] - out[2, t]) / both if both else None
            before = out[0, t - 1]
            strengths.append(share or 0.0)
            if t == 2 * n - 1:
                out[0, t] = sum(strengths) / n
            elif t >= 2 * n:
                out[0, t] = before if share is None else before + (share - before) / n
    np.testing.assert_allclose(ask(directional, market, n), out, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(ask(adx, market, n)[0], ask(directional, market, n)[0])


def test_a_parabolic_stop_never_stands_inside_a_bar_it_survived():
    market = bars(seed=4)
    stop = parabolic_sar(market["high"], market["low"])[1:]
    high, low = market["high"][1:], market["low"][1:]
    assert ((stop <= low) | (stop >= high)).all()
    assert (stop <= low).any() and (stop >= high).any()


# A market that stops, the future, holes, little input


def test_a_market_that_stands_still_has_no_trend():
    x = np.full(300, 60_000.1)
    assert (adx(x, x, x)[27:] == 0).all() and all((di[14:] == 0).all() for di in directional(x, x, x)[1:])
    assert (aroon(x, x).up[14:] == 100).all() and (aroon_oscillator(x, x)[14:] == 0).all()
    assert (parabolic_sar(x, x)[1:] == x[1:]).all()
    for line in ichimoku(x, x):
        assert (line[77:] == 60_000.1).all()
    assert (supertrend(x, x, x).line[10:] == 60_000.1).all()


def test_the_adx_of_a_market_that_stops_is_that_of_talib():
    moving = bars(200)
    stopped = [np.concatenate([v, np.full(900, v[-1])]) for v in moving.values()]
    np.testing.assert_allclose(lines(directional(*stopped, 14)), lines(talib_directional(*stopped, 14)), atol=1e-7)


@settings(deadline=None, max_examples=120)
@given(f=st.sampled_from(ALL), pick=st.integers(0, 3), cut=st.integers(0, 1500), seed=st.integers(0, 9))
def test_the_future_changes_no_bit(f, pick, cut, seed):
    market, params = bars(seed=seed), PARAMS[f][pick]
    short = {k: v[:cut] for k, v in market.items()}
    np.testing.assert_array_equal(ask(f, short, *params), ask(f, market, *params)[:, :cut])


@EACH
@pytest.mark.parametrize("hole", [NAN, math.inf, -math.inf])
def test_a_hole_in_any_input_begins_a_new_history(f, hole):
    before, after = bars(120), bars(1100, 1)
    for name in f.inputs:
        market = {k: np.concatenate([before[k], [hole if k == name else 100.0], after[k]]) for k in before}
        own = ask(f, market)
        expected = np.hstack([ask(f, before), np.full((len(own), 1), NAN), ask(f, after)])
        np.testing.assert_array_equal(own, expected)


@EACH
def test_a_hole_anywhere_is_seen_and_begins_a_new_history(f):
    market = bars(90)
    for name in f.inputs:
        for at in range(90):
            holed = dict(market, **{name: np.where(np.arange(90) == at, NAN, market[name])})
            parts = [ask(f, {k: v[part] for k, v in market.items()}) for part in (slice(at), slice(at + 1, None))]
            expected = np.hstack([parts[0], np.full((len(parts[0]), 1), NAN), parts[1]])
            np.testing.assert_array_equal(ask(f, holed), expected, err_msg=f"{name} {at}")


@EACH
def test_too_little_is_undefined(f):
    for size in (0, 1, 2, f.first()):
        out = ask(f, bars(size))
        assert out.shape[1] == size and (size <= f.first()) == np.isnan(out).any(axis=0).all()
    assert np.isfinite(ask(f, bars(f.first() + 1))[:, -1]).all()


@EACH
def test_negative_prices_integers_and_strides_are_numbers_like_others(f):
    close = np.random.default_rng(6).integers(-40, 40, 300)
    whole = {"high": close + 3, "low": close - 2, "close": close}
    plain = ask(f, {k: v[::3].astype(float) for k, v in whole.items()})
    np.testing.assert_array_equal(ask(f, {k: v[::3] for k, v in whole.items()}), plain)
    assert np.isfinite(plain[:, f.first() :]).all()
    panel = {k: pd.DataFrame({"A": v, "B": v * 2.0}) for k, v in whole.items()}
    value = f(*(panel[name] for name in f.inputs))
    for out in value if isinstance(value, tuple) else (value,):
        assert type(out) is pd.DataFrame and list(out.columns) == ["A", "B"]


@pytest.mark.parametrize(
    ("f", "params", "message"),
    [
        (adx, (1,), "adx: n must be a whole number of bars from 2"),
        (directional, (0,), "directional: n must be"),
        (aroon, (0,), "aroon: n must be"),
        (aroon_oscillator, (2.5,), "aroon_oscillator: n must be"),
        (parabolic_sar, (-0.1, 0.2), "parabolic_sar: step must be a number"),
        (parabolic_sar, (0.1, NAN), "parabolic_sar: most must be a number"),
        (supertrend, (0, 3.0), "supertrend: n must be"),
        (supertrend, (10, -1.0), "supertrend: factor must be a number"),
        (ichimoku, (9, 0, 52, 26), "ichimoku: base must be"),
        (ichimoku, (9, 26, 52, 0), "ichimoku: displacement must be"),
    ],
)
def test_wrong_parameters_are_named(f, params, message):
    with pytest.raises(ParameterError, match=message):
        ask(f, bars(50), *params)
