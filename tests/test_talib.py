"Every indicator that TA-Lib has gives TA-Lib's values from TA-Lib's first bar on: many windows, made-up and real bars."

import numpy as np
import pandas as pd
import pytest
import talib as t
from markets import ticks, walk

from rrr.features.indicators import INDICATORS

WINDOWS = [(n,) for n in (2, 3, 5, 7, 8, 9, 10, 14, 15, 20, 30, 50, 100, 200, 333, 1000)]
FROM_ONE = [(1,), *WINDOWS]
SPANS = [(3, 10), (12, 26), (2, 3), (50, 200)]


def directional(high, low, close, n):
    return t.ADX(high, low, close, n), t.PLUS_DI(high, low, close, n), t.MINUS_DI(high, low, close, n)


PEERS = {  # name -> TA-Lib's call with our parameters, the parameters
    "ad": (t.AD, [()]),
    "adosc": (t.ADOSC, [*SPANS, (10, 3)]),
    "adx": (t.ADX, WINDOWS),
    "apo": (lambda x, fast, slow: t.APO(x, fast, slow, 1), SPANS),
    "aroon": (lambda high, low, n: t.AROON(high, low, n)[::-1], WINDOWS),
    "aroon_oscillator": (t.AROONOSC, WINDOWS),
    "atr": (t.ATR, FROM_ONE),
    "bollinger": (lambda x, n, k: t.BBANDS(x, n, k, k, 0), [(*n, k) for n in WINDOWS for k in (0.5, 2.0, 3.0)]),
    "cci": (t.CCI, WINDOWS[3:]),
    "cmo": (t.CMO, WINDOWS),
    "dema": (t.DEMA, WINDOWS),
    "directional": (directional, WINDOWS),
    "ema": (t.EMA, WINDOWS),
    "highest": (t.MAX, WINDOWS),
    "kama": (t.KAMA, WINDOWS),
    "linreg_slope": (t.LINEARREG_SLOPE, WINDOWS),
    "lowest": (t.MIN, WINDOWS),
    "macd": (t.MACD, [(*s, d) for s in SPANS for d in (2, 9, 30)]),
    "mfi": (t.MFI, WINDOWS),
    "momentum": (t.MOM, FROM_ONE),
    "natr": (t.NATR, WINDOWS),  # with 1 bar, TA-Lib's is no percentage
    "obv": (t.OBV, [()]),
    "parabolic_sar": (t.SAR, [(0.02, 0.2), (0.01, 0.1), (0.1, 0.5), (0.3, 0.2)]),
    "ppo": (lambda x, fast, slow: t.PPO(x, fast, slow, 1), SPANS),
    "roc": (t.ROC, FROM_ONE),
    "rsi": (t.RSI, WINDOWS),
    "sma": (t.SMA, WINDOWS),
    "stddev": (lambda x, n: t.STDDEV(x, n, 1), WINDOWS),
    "stochastic": (lambda h, l, c, k, s, d: t.STOCH(h, l, c, k, s, 0, d, 0), [(5, 3, 3), (14, 1, 1), (14, 3, 3), (90, 20, 30)]),  # fmt: skip  # noqa: E741
    "stochastic_fast": (lambda h, l, c, k, d: t.STOCHF(h, l, c, k, d, 0), [(1, 1), (5, 3), (14, 3), (200, 50)]),  # noqa: E741
    "stochastic_rsi": (lambda x, n, k, d: t.STOCHRSI(x, n, k, d, 0), [(14, 14, 3), (14, 5, 3), (7, 30, 5), (99, 99, 20)]),
    "tema": (t.TEMA, WINDOWS),
    "trix": (t.TRIX, FROM_ONE[1:]),
    "true_range": (t.TRANGE, [()]),
    "ultimate_oscillator": (t.ULTOSC, [(7, 14, 28), (3, 5, 9), (28, 14, 7), (10, 100, 300)]),
    "williams_r": (t.WILLR, WINDOWS),
    "wma": (t.WMA, WINDOWS),
}  # fmt: skip
EACH = pytest.mark.parametrize("name", sorted(PEERS))
TRACES = {"apo", "linreg_slope", "macd"}  # TA-Lib's leave traces of 1e-12 of the price, which differences show


def compare(name: str, bars: pd.DataFrame, note: str = "") -> None:
    "1e-9 of the value, or of the usual size of all where it is next to nothing, or a trace of rounding; the same NaN."
    columns = {"open_": "open", "x": "close"}
    own, (peer, many) = INDICATORS[name], PEERS[name]
    inputs = [bars[columns.get(k, k)].to_numpy(dtype=float).copy() for k in own.inputs]
    trace = 1e-12 * (bars.close.abs().max() if name in TRACES else 1.0 if name in ("ppo", "trix") else 0.0)
    for params in many:
        ours, theirs = own(*inputs, *params), peer(*inputs, *params)
        if len(own.outputs) == 1:
            ours, theirs = [ours], [theirs]
        for out, a, b in zip(own.outputs, ours, theirs, strict=True):
            size = np.nanmedian(np.abs(b)) if np.isfinite(b).any() else 0.0
            np.testing.assert_allclose(
                a, b, rtol=1e-9, atol=1e-9 * size + trace, err_msg=f"{note} {name}{params} {out}"
            )


def coarse(n=4_000, seed=0, tick=0.001) -> pd.DataFrame:
    "Bars of few ticks: typical prices that are equal on paper differ by rounding, and often nothing moves at all."
    rng = np.random.default_rng(seed)
    close = 2_300 + np.cumsum(rng.integers(-1, 2, n) * (rng.random(n) < 0.7))
    up, down = rng.integers(0, 3, n), rng.integers(0, 3, n)
    prices = {"open": close, "high": close + up, "low": close - down, "close": close}
    return pd.DataFrame({k: v * tick for k, v in prices.items()}).assign(volume=rng.integers(0, 900, n) * 1.0)


@EACH
@pytest.mark.parametrize("price", [1e-6, 100.0, 6e4])
def test_on_a_walk(name, price):
    compare(name, walk(3_000, price=price).assign(volume=np.random.default_rng(1).gamma(1, 50, 3_000)))


@EACH
@pytest.mark.parametrize("tick", [0.001, 0.1, 1.0])
def test_on_coarse_ticks(name, tick):
    compare(name, coarse(tick=tick))
    compare(name, ticks(1_500))


@EACH
@pytest.mark.parametrize("change", ["flat", "rising", "falling", "jump"])
def test_on_markets_of_one_kind(name, change):
    path = {
        "flat": np.full(1_200, 7.3), "rising": 5 + 0.01 * np.arange(1_200), "falling": 50 - 0.01 * np.arange(1_200),
        "jump": np.where(np.arange(1_200) < 600, 1.0, 90.0) + np.sin(np.arange(1_200)) / 100,
    }[change]  # fmt: skip
    bars = pd.DataFrame({k: path for k in ("open", "high", "low", "close")})
    if (name, change) != ("cci", "flat"):
        compare(name, bars.assign(high=path * 1.001, low=path * 0.998, volume=3.0))


@pytest.mark.parametrize("name", sorted(set(PEERS) - {"cci"}))
def test_on_a_market_without_range(name):
    flat = np.full(1_200, 7.3)
    compare(name, pd.DataFrame({k: flat for k in ("open", "high", "low", "close", "volume")}))


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("tick", [0.001, 0.1, 1.0])
def test_short_channel_indices_are_those_of_talib_but_for_its_rounded_mean(n, tick):
    prices = [coarse(tick=tick)[k].to_numpy() for k in ("high", "low", "close")]
    np.testing.assert_allclose(INDICATORS["cci"](*prices, n), t.CCI(*prices, n), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n", [2, 3, 14, 100, 1000])
def test_a_channel_index_of_a_flat_market_is_zero_where_talibs_rounding_may_give_67(n):
    assert not np.nan_to_num(INDICATORS["cci"](*[np.full(1_200, 7.3)] * 3, n)).any()


def test_a_price_that_did_not_change_has_no_rate_of_change():
    x = np.random.default_rng(0).uniform(50, 300, 4_000).round(2).repeat(2)
    assert (INDICATORS["roc"](x, 1)[1::2] == 0.0).all()


FILES = [
    "binance_spot_BTCUSDT_1d",
    "binance_spot_ETHUSDT_1h",
    "binance_spot_SOLUSDT_15m",
    "binance_um_NEARUSDT_1m_2023_02-08_4of7months",
    "bitfinex_BTCUSD_1m_2018-01_2019-02",
    "bybit_linear_SOLUSDT_1m_2025-06",
]


@pytest.mark.parametrize("file", FILES)
def test_on_real_bars(shared_data, file):
    bars = pd.read_parquet(shared_data / "ohlcv" / f"{file}.parquet").tail(12_000)
    for name in PEERS:
        compare(name, bars, file)
