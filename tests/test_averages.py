"Averages and what is built from them are TA-Lib's values, or those of their definition; nothing old or later shows."

import math

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import ParameterError
from rrr.features.averages import dema, ema, hma, kama, rma, session_vwap, sma, tema, vwap, vwma, wma
from rrr.features.convergence import MACD, apo, macd, ppo, trix

NAN = math.nan
PRICES = st.lists(st.integers(1, 20_000).map(lambda ticks: ticks / 100), max_size=60).map(np.array)
MANY = settings(deadline=None, max_examples=60)


def walk(n=3000, seed=0, price=100.0, spread=0.01):
    return price * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, spread, n)))


def bars(n=500, seed=0):
    rng, close = np.random.default_rng(seed), walk(n, seed)
    return close * (1 + rng.random(n) / 100), close * (1 - rng.random(n) / 100), close, rng.gamma(0.5, 10, n).round(1)


# References, written from the definitions


def windows(x, n, of) -> np.ndarray:
    return np.array([of(x[i - n + 1 : i + 1]) if i >= n - 1 else NAN for i in range(len(x))], dtype=float)


def slow_wma(x, n):
    return windows(x, n, lambda w: math.fsum((j + 1) * v for j, v in enumerate(w)) * 2 / n / (n + 1))


def slow_hma(x, n):
    return slow_wma(2 * slow_wma(x, n // 2) - slow_wma(x, n), math.isqrt(n))


def recursive(x, n, gain, start=None):
    "An exponential mean of x, which may begin with NaN, seeded by the n values that end at `start`."
    out, lead = np.full(len(x), NAN), int(np.isnan(x).sum())
    start = lead + n - 1 if start is None else start
    if start < len(x):
        out[start] = math.fsum(x[start - n + 1 : start + 1]) / n
    for i in range(start + 1, len(x)):
        out[i] = out[i - 1] + gain * (x[i] - out[i - 1])
    return out


def slow_ema(x, n, start=None):
    return recursive(x, n, 2 / (n + 1), start)


def slow_dema(x, n):
    return 2 * slow_ema(x, n) - slow_ema(slow_ema(x, n), n)


def slow_tema(x, n):
    once = slow_ema(x, n)
    twice = slow_ema(once, n)
    return 3 * once - 3 * twice + slow_ema(twice, n)


def slow_kama(x, n):
    out, last = np.full(len(x), NAN), x[n - 1] if len(x) >= n else NAN
    for i in range(n, len(x)):
        path = math.fsum(abs(x[j] - x[j - 1]) for j in range(i - n + 1, i + 1))
        share = abs(x[i] - x[i - n]) / path if path else 1
        last += (share * (2 / 3 - 2 / 31) + 2 / 31) ** 2 * (x[i] - last)
        out[i] = last
    return out


def slow_vwma(x, volume, n):
    both = [windows(v, n, math.fsum) for v in (x * volume, volume)]
    return np.where(both[1] == 0, NAN, both[0] / np.where(both[1] == 0, 1, both[1]))


def slow_macd(x, fast, slow, signal):
    line = slow_ema(x, fast, slow - 1) - slow_ema(x, slow)
    smoothed = slow_ema(line, signal)
    return np.where(np.isnan(smoothed), NAN, line), smoothed, line - smoothed


def slow_ppo(x, fast, slow):
    calm = slow_ema(x, slow)
    return 100 * (slow_ema(x, fast) - calm) / calm


def slow_trix(x, n):
    thrice = slow_ema(slow_ema(slow_ema(x, n), n), n)
    return np.concatenate([[NAN], 100 * (thrice[1:] / thrice[:-1] - 1)])[: len(x)]


SLOW = {
    "sma": (sma, lambda x, n: windows(x, n, lambda w: math.fsum(w) / n)),
    "wma": (wma, slow_wma),
    "hma": (hma, slow_hma),
    "ema": (ema, slow_ema),
    "rma": (rma, lambda x, n: recursive(x, n, 1 / n)),
    "dema": (dema, slow_dema),
    "tema": (tema, slow_tema),
    "kama": (kama, slow_kama),
    "trix": (trix, slow_trix),
}
TALIB = ["sma", "wma", "ema", "dema", "tema", "kama", "trix"]


# Values


@pytest.mark.parametrize("name", TALIB)
@pytest.mark.parametrize("n", [2, 3, 10, 30, 301])
@pytest.mark.parametrize("price", [1e-6, 100.0, 6e4])
def test_values_and_their_start_are_those_of_talib(name, n, price):
    x = walk(price=price)
    own, peer = SLOW[name][0](x, n), getattr(talib, name.upper())(x, n)
    np.testing.assert_allclose(own, peer, rtol=1e-9, atol=1e-11 if name == "trix" else 0)
    assert np.flatnonzero(~np.isnan(own))[0] == SLOW[name][0].first(n=n)


@pytest.mark.parametrize("spans", [(12, 26, 9), (2, 3, 1), (3, 10, 16), (50, 201, 7)])
@pytest.mark.parametrize("price", [1e-6, 100.0, 6e4])
def test_differences_of_averages_are_those_of_talib(spans, price):
    x, (fast, slow, signal) = walk(price=price), spans
    for own, peer in zip(macd(x, fast, slow, signal), talib.MACD(x, *spans), strict=True):
        np.testing.assert_allclose(own, peer, rtol=1e-9, atol=1e-12 * price)
        assert np.flatnonzero(~np.isnan(own))[0] == macd.first(slow=slow, signal=signal)
    np.testing.assert_allclose(ppo(x, fast, slow), talib.PPO(x, fast, slow, 1), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(apo(x, fast, slow), talib.APO(x, fast, slow, 1), rtol=1e-9, atol=1e-12 * price)
    assert np.isnan(ppo(x, fast, slow)).sum() == ppo.first(slow=slow) == apo.first(slow=slow)


@pytest.mark.parametrize("name", SLOW)
@MANY
@given(x=PRICES, n=st.integers(2, 20))
def test_any_prices_give_the_value_of_the_definition(name, x, n):
    own, reference = SLOW[name][0](x, n), SLOW[name][1](x, n)
    np.testing.assert_allclose(own, reference, rtol=1e-9, atol=1e-9)
    assert np.isnan(own).sum() == min(SLOW[name][0].first(n=n), len(x))


@MANY
@given(x=PRICES, fast=st.integers(1, 8), more=st.integers(1, 8), signal=st.integers(1, 8))
def test_any_prices_give_the_differences_of_the_definition(x, fast, more, signal):
    own, slow = macd(x, fast, fast + more, signal), fast + more
    for mine, reference in zip(own, slow_macd(x, fast, slow, signal), strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ppo(x, fast, slow), slow_ppo(x, fast, slow), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(apo(x, fast, slow), slow_ema(x, fast) - slow_ema(x, slow), rtol=1e-9, atol=1e-9)


@MANY
@given(x=PRICES, n=st.integers(1, 20), seed=st.integers(0, 99))
def test_any_volumes_give_the_weighted_mean_of_the_definition(x, n, seed):
    rng = np.random.default_rng(seed)
    volume = 10.0 ** rng.integers(-6, 7, len(x)) * (rng.random(len(x)) < 0.4)
    np.testing.assert_allclose(vwma(x, volume, n), slow_vwma(x, volume, n), rtol=1e-12)
    high, low = x + 0.3, x - 0.1
    np.testing.assert_allclose(vwap(high, low, x, volume, n), slow_vwma((high + low + x) / 3, volume, n), rtol=1e-12)


@pytest.mark.parametrize("n", [2, 3, 16, 49, 300])
def test_long_histories_give_the_values_of_the_definition_too(n):
    "Longer than a block of the running sums, at a price where small moves are many digits away."
    x = walk(price=60_000, spread=1e-7)
    for name in ("sma", "wma", "hma", "kama"):
        np.testing.assert_allclose(SLOW[name][0](x, n), SLOW[name][1](x, n), rtol=1e-12, err_msg=name)
    high, low, close, volume = bars(3000)
    np.testing.assert_allclose(vwma(close, volume, n), slow_vwma(close, volume, n), rtol=1e-12)


@pytest.mark.parametrize("name", ["sma", "wma", "hma", "kama"])
def test_high_prices_of_long_ago_leave_no_trace(name):
    x, (f, slow) = np.concatenate([walk(2000, price=1e6), walk(2500, price=1e-6)]), SLOW[name]
    np.testing.assert_allclose(f(x, 16)[-400:], slow(x, 16)[-400:], rtol=1e-12)


def test_one_large_trade_leaves_no_trace_in_later_windows():
    x, volume = walk(200), np.full(200, 1e-4)
    volume[20] = 1e9
    np.testing.assert_allclose(vwma(x, volume, 7)[27:], vwma(x[21:], volume[21:], 7)[6:], rtol=1e-14)
    volume[100:120] = 0
    assert np.isnan(vwma(x, volume, 7)[106:120]).all() and np.isfinite(vwma(x, volume, 7)[120:]).all()


def test_where_nothing_moves_an_adaptive_mean_is_as_fast_as_in_a_trend():
    for seed in range(20):  # what a running sum of moves leaves behind is above zero in some, below in others
        x = np.concatenate([walk(200, seed, spread=0.1), np.full(11, 77.7), walk(30)])
        np.testing.assert_allclose(kama(x, 10), slow_kama(x, 10), rtol=1e-9)
    np.testing.assert_allclose(kama(np.full(30, 5.0), 4)[4:], 5.0, rtol=1e-15)


def test_a_mean_of_zero_gives_no_change_in_percent():
    assert (ppo(np.zeros(40))[25:] == 0).all() and (trix(np.zeros(40), 5)[13:] == 0).all()
    x = np.concatenate([[1.0, -1.0], np.zeros(10)])
    np.testing.assert_array_equal(ppo(x, 1, 2)[1:3], [0, 0])


# The past alone


def everything(x):
    volume = np.abs(np.sin(np.arange(len(x)))).round(1) * (np.arange(len(x)) % 5 > 1)
    index = pd.date_range("2024-01-01", periods=len(x), freq="7h", tz="UTC")
    found = {name: f(x, n) for name, (f, _) in SLOW.items() for n in [4]}
    found |= macd(x, 3, 5, 4)._asdict() | {"ppo": ppo(x, 3, 5), "apo": apo(x, 3, 5), "vwma": vwma(x, volume, 4)}
    found["vwap"] = vwap(x * 1.01, x * 0.98, x, volume, 4)
    high, low, close, traded = (pd.Series(v, index) for v in (x * 1.01, x * 0.98, x, volume))
    return found | {"session_vwap": session_vwap(high, low, close, traded).to_numpy()}


@pytest.mark.parametrize("cut", [*range(33), 1027, 1028, 1029, 1030, 1031, 2500, 2501, 2503])
def test_the_future_changes_no_digit(cut):
    x = walk()
    whole = everything(x)
    for name, part in everything(x[:cut]).items():
        np.testing.assert_array_equal(part, whole[name][:cut], err_msg=name)


@pytest.mark.parametrize("hole", [NAN, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, 2, 7, 30, 1500, 2998, 2999])
def test_a_hole_starts_a_new_history(hole, at):
    x = walk()
    broken = x.copy()
    broken[at] = hole
    before, after = everything(x[:at]), {name: f(x[at + 1 :], 4) for name, (f, _) in SLOW.items()}
    after |= macd(x[at + 1 :], 3, 5, 4)._asdict() | {"ppo": ppo(x[at + 1 :], 3, 5), "apo": apo(x[at + 1 :], 3, 5)}
    for name, out in everything(broken).items():
        np.testing.assert_array_equal(out[:at], before[name], err_msg=name)
        assert np.isnan(out[at]), name
        if name in after:
            np.testing.assert_array_equal(out[at + 1 :], after[name], err_msg=name)


@pytest.mark.parametrize("at", range(4))
def test_a_hole_in_any_input_counts(at):
    inputs = [v.copy() for v in bars(60)]
    inputs[at][30] = NAN
    out, clean = vwap(*inputs, 5), bars(60)
    assert np.isnan(out[30:35]).all() and np.isfinite(out[4:30]).all() and np.isfinite(out[35:]).all()
    np.testing.assert_array_equal(out[31:], vwap(*(v[31:] for v in clean), 5))


# Sessions


def sessions(freq="6h", n=40, start="2024-01-01 05:00", unit="ns", tz="UTC"):
    index = pd.date_range(start, periods=n, freq=freq, tz="UTC").tz_convert(tz).as_unit(unit)
    return [pd.Series(v, index) for v in bars(n, 1)]


def slow_session(high, low, close, volume, ids):
    money, out = (high + low + close) / 3 * volume, []
    for i in range(len(close)):
        same = [j for j in range(i + 1) if ids[j] == ids[i]]
        weight = math.fsum(volume.iloc[same])
        out.append(math.fsum(money.iloc[same]) / weight if weight else NAN)
    return np.array(out)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("tz", ["UTC", "America/New_York"])
def test_a_session_begins_at_midnight_utc(unit, tz):
    inputs = sessions(unit=unit, tz=tz)
    days = inputs[0].index.tz_convert("UTC").floor("D")
    own = session_vwap(*inputs)
    np.testing.assert_allclose(own, slow_session(*inputs, days), rtol=1e-12)
    assert own.index is inputs[0].index and own.notna().iloc[0] and session_vwap.first() == 0


def test_sessions_of_other_lengths_and_starts():
    inputs = sessions("3h", 120)
    index = inputs[0].index
    for session, offset, ids in [
        ("1d", "22h", (index - pd.Timedelta("22h")).floor("D")),
        ("8h", None, index.floor("8h")),
        ("1w", None, index.tz_localize(None).to_period("W-SUN")),  # weeks from Monday on
    ]:
        np.testing.assert_allclose(session_vwap(*inputs, session, offset), slow_session(*inputs, ids), rtol=1e-12)


def test_a_session_has_no_price_before_it_trades():
    high, low, close, volume = sessions("1h", 48, "2024-01-01")
    volume[:] = 1.0
    volume.iloc[24:30] = 0.0
    own = session_vwap(high, low, close, volume)
    assert own.iloc[24:30].isna().all() and own.drop(own.index[24:30]).notna().all()
    assert own.iloc[30] == pytest.approx((high.iloc[30] + low.iloc[30] + close.iloc[30]) / 3, rel=1e-14)


def test_panels_have_sessions_too():
    inputs = sessions()
    frames = [pd.DataFrame({"A": v, "B": v * 2}) for v in inputs]
    own = session_vwap(*frames)
    np.testing.assert_array_equal(own["A"], session_vwap(*inputs))
    np.testing.assert_allclose(own["B"], 2 * own["A"], rtol=1e-14)
    mixed = session_vwap(inputs[0].to_numpy(), *inputs[1:])  # one input with times is enough
    assert isinstance(mixed, np.ndarray)
    np.testing.assert_array_equal(mixed, own["A"])


def test_a_session_needs_times():
    inputs = sessions()
    with pytest.raises(ParameterError, match="arrays without times; pass Series or DataFrames with a UTC"):
        session_vwap(*(v.to_numpy() for v in inputs))
    with pytest.raises(ParameterError, match="index without time zone"):
        session_vwap(*(v.tz_localize(None) for v in inputs))
    with pytest.raises(ParameterError, match="index without time zone"):
        session_vwap(*(v.reset_index(drop=True) for v in inputs))
    with pytest.raises(ParameterError, match="times of the bars must rise"):
        session_vwap(*(v[::-1] for v in inputs))
    with pytest.raises(ParameterError, match="share one shape"):
        session_vwap(inputs[0].to_numpy()[1:], *inputs[1:])
    with pytest.raises(ParameterError, match="interval 'day'"):
        session_vwap(*inputs, "day")


# Little, odd and wrong input


@pytest.mark.parametrize("x", [[], [1.0], [1.0, 2.0], [NAN], [NAN] * 9, [math.inf] * 9], ids=str)
def test_too_little_is_undefined_and_no_error(x):
    x = np.array(x)
    times = pd.date_range("2024-01-01", periods=len(x), tz="UTC")
    for f, _ in SLOW.values():
        np.testing.assert_array_equal(f(x, 5), np.full(len(x), NAN))
    for out in (*macd(x), ppo(x), apo(x), vwma(x, x, 5), vwap(x, x, x, x, 5)):
        np.testing.assert_array_equal(out, np.full(len(x), NAN))
    series = pd.Series(x, times)
    assert (session_vwap(series, series, series, series).isna() == ~np.isfinite(x)).all()


def test_prices_may_be_negative_integers_or_strided():
    whole = np.random.default_rng(1).integers(-50, 50, 200)
    for name, (f, slow) in SLOW.items():
        if name != "trix":
            np.testing.assert_allclose(f(whole[::2], 5), slow(whole[::2].astype(float), 5), rtol=1e-9, atol=1e-9)


def test_several_outputs_keep_their_kind():
    x = walk(60)
    series = pd.Series(x, pd.date_range("2024-01-01", periods=60, tz="UTC"), name="close")
    panel = macd(pd.DataFrame({"A": series, "B": 2 * series}))
    assert isinstance(panel, MACD) and list(panel.signal.columns) == ["A", "B"]
    np.testing.assert_array_equal(panel.histogram["A"], macd(x).histogram)
    assert macd(series).signal.name == "close" and macd.outputs == ("macd", "signal", "histogram")


def test_wrong_spans_are_refused_in_a_sentence():
    x = walk(50)
    for f in (macd, ppo, apo):
        with pytest.raises(ParameterError, match=f"{f.__name__}: slow must be a whole number of bars from 13"):
            f(x, 12, 12)
        with pytest.raises(ParameterError, match=f"{f.__name__}: fast must be"):
            f(x, 0, 12)
    with pytest.raises(ParameterError, match="macd: signal must be"):
        macd(x, signal=0)
    for f in (hma, kama):
        with pytest.raises(ParameterError, match="from 2"):
            f(x, 1)
    for f in (sma, wma, ema, rma, dema, tema):
        np.testing.assert_allclose(f(x, 1), x, rtol=1e-15)
        with pytest.raises(ParameterError, match=f"{f.__name__}: n must be a whole number"):
            f(x, 2.5)
