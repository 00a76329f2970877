"Every strategy of the library trades made-up and real markets: no error, no look ahead, no unexplained number."

import math

import numpy as np
import pandas as pd
import pytest
from markets import gapped, mock

from rrr.backtest.metrics import METRICS
from rrr.backtest.run import backtest
from rrr.data.files import read_bars
from rrr.execution.costs import Costs
from rrr.execution.risk import Risk
from rrr.features.causal import assert_causal
from rrr.features.timeframes import join_available
from rrr.strategy.contract import REGISTRY, get_strategy
from rrr.strategy.library import _all_ as NAMES

COSTS = Costs(fee_bps=10, slippage_bps=2)
SHORT = {
    "chandelier": dict(entry=20, n=10),
    "momentum_long_short": dict(n=100, calm=1.0),
    "volatility_target": dict(n=48, percent=0.5),
    "rsi_pullback": dict(trend=100),
    "grid": dict(n=100),
    "pairs": dict(n=50, enter=1.5),
    "strongest": dict(n=48, hold=24),
    "calm_trend": dict(n=100),
    "ridge_forecast": dict(train=500, refit=48),
}
NEEDS_A_LOSS = {"profit_factor", "payoff"}  # undefined without a lost trip
NEEDS_A_TRIP = {"hit_rate", "profit_factor", "payoff", "expectancy", "holding_days"}
NEEDS_SPREAD = {
    "sharpe",
    "sharpe_error",
    "probabilistic_sharpe",
    "sortino",
    "calmar",
    "omega",
    "tail_ratio",
    "skew",
    "kurtosis",
}
MAY_BE_INFINITE = {"annual_return", "calmar", "turnover"}


def made_up(name: str, n=1500, seed=7):
    "Bars as the strategy needs them: one symbol, several, with sentiment"
    s = get_strategy(name)
    if s.panel:
        symbols = ("BTC-USD", "ETH-USD", "SOL-USD")[: 2 if name == "pairs" else 3]
        return {k: mock(n, symbol=k, seed=seed + i) for i, k in enumerate(symbols)}
    bars = mock(n, seed=seed)
    if s.fields:
        mood = np.random.default_rng(seed).integers(10, 95, len(bars)).astype(float)
        attrs = bars.attrs
        bars = bars.assign(sentiment=mood)
        bars.attrs = attrs
    return bars


def assert_conserved(b):
    "Equity at every close is the capital, what prices gave at reference prices, less fees, slippage, and carry"
    fills, n, names = b.books.fills, len(b.bars), len(b.symbols)
    mark = np.nan_to_num(b.close.to_numpy(dtype=float).reshape(n, names))
    held = b.position.to_numpy().reshape(n, names)
    moved = np.zeros((n, names))
    np.add.at(moved, (fills["bar"], fills["symbol"]), fills["quantity"])
    np.testing.assert_allclose(moved.cumsum(axis=0), held, rtol=1e-9, atol=1e-9 * np.abs(held).max(initial=1e-9))
    value = (held * mark).sum(axis=1)
    scale = 1e-9 * max(b.capital, np.abs(value).max(), b.books.fills["value"].sum())
    np.testing.assert_allclose(b.cash.to_numpy() + value, b.equity.to_numpy(), rtol=1e-12, atol=scale)
    reference = fills["price"] - np.sign(fills["quantity"]) * fills["slippage"] / np.abs(fills["quantity"])
    gross, fees, slipped = np.zeros(n), np.zeros(n), np.zeros(n)
    np.add.at(gross, fills["bar"], -fills["quantity"] * reference)
    np.add.at(fees, fills["bar"], fills["fee"])
    np.add.at(slipped, fills["bar"], fills["slippage"])
    carry = b._balances.carry
    told = b.capital + gross.cumsum() + value - fees.cumsum() - slipped.cumsum() - carry
    np.testing.assert_allclose(told, b.equity.to_numpy(), rtol=1e-9, atol=scale)
    paid = b.costs_paid
    assert paid["fees"] == pytest.approx(fees.sum()) and paid["slippage"] == pytest.approx(slipped.sum())
    assert paid["funding"] + paid["interest"] == pytest.approx(carry[-1], abs=1e-9)


def assert_explained(b):
    "Every figure is a number, or undefined for the reason that its formula gives"
    m = b.metrics
    assert m.keys() == METRICS.keys()
    undefined, infinite = {k for k, v in m.items() if math.isnan(v)}, {k for k, v in m.items() if math.isinf(v)}
    allowed = set()
    if m["trades"] == 0:
        allowed |= NEEDS_A_TRIP
    elif m["hit_rate"] == 1:
        allowed |= NEEDS_A_LOSS
    elif m["hit_rate"] == 0:
        allowed |= {"payoff"}  # undefined without a won trip
    if m["annual_volatility"] == 0 or b.equity.min() <= 0:
        allowed |= NEEDS_SPREAD | {"value_at_risk", "expected_shortfall", "alpha", "beta", "annual_volatility"}
    if m["value_at_risk"] == 0:  # in the market so rarely that the worst twentieth of the bars is idle
        allowed |= {"tail_ratio"}
    assert undefined <= allowed and infinite <= MAY_BE_INFINITE, (
        b.title,
        undefined - allowed,
        infinite - MAY_BE_INFINITE,
    )
    assert -1 <= m["max_drawdown"] <= 0 <= m["exposure"] <= 1 and m["fills"] == len(b.fills)
    assert m["total_return"] == pytest.approx(b.equity.iloc[-1] / b.capital - 1)
    trips = b.trades
    assert m["trades"] == (trips.status == "closed").sum()
    if not len(b.books.orders) or b.books.carry is None or not b.books.carry[-1]:
        last = b.capital + trips.pnl.sum()
        assert b.equity.iloc[-1] == pytest.approx(last, rel=1e-9, abs=1e-6 * b.capital)


def test_the_library_is_the_registry_and_holds_ten_ideas():
    assert len(NAMES) >= 10 and set(NAMES) <= set(REGISTRY)
    assert sum(get_strategy(k).panel for k in NAMES) >= 2 and any(get_strategy(k).fields for k in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_strategy_trades_a_made_up_market(name):
    b = backtest(name, made_up(name), SHORT.get(name), COSTS)
    assert len(b.fills) > 0, "it never traded"
    assert_conserved(b)
    assert_explained(b)
    assert b.plot() is not None if b.data.bars.single else True
    assert b.title.split("(")[0] in b._repr_html_()


@pytest.mark.parametrize("name", NAMES)
def test_every_strategy_takes_missing_bars_and_says_so(name):
    bars = made_up(name)
    holed = (
        {k: gapped(v, 0.05, i) for i, (k, v) in enumerate(bars.items())}
        if isinstance(bars, dict)
        else gapped(bars, 0.05)
    )
    b = backtest(name, holed, SHORT.get(name), COSTS, risk=Risk(max_drawdown=0.5))
    assert "gap" in {f.code for f in b.findings}
    assert_conserved(b)
    assert_explained(b)


@pytest.mark.parametrize("name", NAMES)
def test_no_strategy_looks_ahead(name):
    bars = made_up(name, 900)
    assert_causal(get_strategy(name), bars, SHORT.get(name), most=60)


@pytest.mark.parametrize("name", NAMES)
def test_every_strategy_repeats_itself(name):
    a, b = (backtest(name, made_up(name), SHORT.get(name), COSTS) for _ in range(2))
    assert a.equity.to_numpy().tobytes() == b.equity.to_numpy().tobytes()
    assert a.books.orders.tobytes() == b.books.orders.tobytes() and a.metrics.keys() == b.metrics.keys()


# Real markets


COINS = ("BTC", "ETH", "SOL", "AVAX")


@pytest.fixture(scope="module")
def hourly(shared_data) -> dict[str, pd.DataFrame]:
    "Hourly bars of four coins"
    out = {}
    for coin in COINS:
        frame = read_bars(shared_data / f"ohlcv/binance_spot_{coin}USDT_1h.parquet").frame
        frame.attrs = dict(symbol=f"{coin}-USDT", interval="1h")
        out[f"{coin}-USDT"] = frame
    return out


def feared(bars: pd.DataFrame, shared_data) -> pd.DataFrame:
    "The bars with the index of fear and greed as it was known, as far as it goes: a strategy is blind after that"
    daily = pd.read_csv(shared_data / "alt/fear_greed_2018-02_2023-06.csv", parse_dates=["date"], index_col="date")
    mood = daily["value"].astype(float)
    mood.index = pd.DatetimeIndex(mood.index.tz_localize("UTC")).as_unit("ms").rename("timestamp")
    out = bars.assign(sentiment=join_available(mood, "1d", bars.index, "1h", max_age="2d"))
    out = out[: out["sentiment"].last_valid_index()]
    out.attrs = bars.attrs
    return out


@pytest.mark.parametrize("name", NAMES)
def test_every_strategy_trades_real_hours(name, hourly, shared_data):
    s = get_strategy(name)
    if s.panel:
        symbols = list(hourly)
        chosen = [symbols[:2], symbols[2:]] if name == "pairs" else [symbols]
        cases = [{k: hourly[k] for k in part} for part in chosen]
    else:
        cases = [feared(bars, shared_data) if s.fields else bars for bars in hourly.values()]
    for bars in cases:
        b = backtest(name, bars, costs=COSTS)
        assert len(b.fills) > 0
        assert_conserved(b)
        assert_explained(b)
