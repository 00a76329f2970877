"Backtests agree with vectorbt to 1e-9: on our fills, and where vectorbt sizes and fills the orders by itself."

import math

import numpy as np
import pytest
from markets import gapped, mock, ticks, walk, wanting

from rrr.backtest.run import backtest
from rrr.backtest.vbt import crosscheck, to_vectorbt
from rrr.data.files import read_bars
from rrr.data.quality import check_bars
from rrr.execution.kernel import Costs

CASES = {
    "hours": (mock(3_000), "sma_cross", {}, Costs()),
    "minutes": (mock(20_000, 60, "1m"), "sma_cross", dict(fast=5, slow=20), Costs()),
    "near ruin by thousands of trades": (mock(30_000, 60, "1m"), "sma_cross", dict(fast=2, slow=5), Costs()),
    "slippage and fee": (walk(2_000), "sma_cross", dict(fast=3, slow=9), Costs(7.5, 12.0)),
    "no costs": (walk(2_000), "sma_cross", dict(fast=3, slow=9), Costs(0.0, 0.0)),
    "tiny prices": (walk(2_000, price=1e-5), "sma_cross", dict(fast=3, slow=9), Costs()),
    "huge prices": (walk(2_000, price=1e6), "sma_cross", dict(fast=3, slow=9), Costs()),
    "coarse ticks": (ticks(2_000), "sma_cross", dict(fast=2, slow=5), Costs()),
    "missing bars": (gapped(walk(3_000)), "sma_cross", dict(fast=3, slow=9), Costs()),
    "buy and hold": (walk(500), "buy_and_hold", {}, Costs()),
    "partial targets": (walk(1_000), wanting([0.3, math.nan, 0.7, 0.7, 0.1, 0.0, 1.0]), {}, Costs()),
}


def assert_agreement(run, limit=1e-9):
    table = crosscheck(run)
    differences = table.filter(like="difference")
    assert differences.shape == (8, 2) and np.isfinite(differences.to_numpy()).all()
    assert (differences < limit).all().all(), table.to_string()


@pytest.mark.parametrize("name", CASES)
def test_figures_and_equity_curve_agree(name):
    bars, strategy, params, costs = CASES[name]
    run = backtest(strategy, bars, params, costs)
    assert run.metrics["fills"] >= 1
    assert_agreement(run)


@pytest.mark.parametrize("capital", [50.0, 12_345.67, 5e8])
def test_figures_agree_at_any_capital(capital):
    assert_agreement(backtest("sma_cross", mock(2_000), capital=capital))


def test_the_portfolio_has_the_same_orders_and_round_trips():
    run = backtest("sma_cross", walk(1_000), dict(fast=3, slow=9), Costs(5, 5))
    p = to_vectorbt(run)
    orders, trips = p.orders.records_readable, p.positions.records_readable
    assert list(orders["Timestamp"]) == list(run.fills.index.tz_localize(None))
    assert list(orders["Side"].str.lower()) == list(run.fills.side)
    np.testing.assert_allclose(orders["Size"], run.fills.quantity.abs(), rtol=1e-12)
    np.testing.assert_allclose(orders["Price"], run.fills.price, rtol=1e-12)
    np.testing.assert_allclose(orders["Fees"], run.fills.fee, rtol=1e-12)
    assert list(trips["Status"].str.lower()) == list(run.trades.status)
    np.testing.assert_allclose(trips["PnL"], run.trades.pnl, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(trips["Return"] * 100, run.trades.return_pct, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(trips["Avg Entry Price"], run.trades.entry_price, rtol=1e-12)


def test_a_difference_is_seen():
    "The check is not blind: other costs are another run."
    run = backtest("sma_cross", walk(500), dict(fast=3, slow=9))
    object.__setattr__(run, "costs", Costs(fee_bps=10.001))
    assert crosscheck(run)["vectorbt alone: difference"]["Final equity"] > 1e-7


@pytest.mark.parametrize(
    "file",
    [
        "ohlcv/binance_spot_BTCUSDT_1h.parquet",
        "raw/binance_um_klines_csv/AVAXUSDT-1m-2024-02.csv",
        "ohlcv/bitfinex_BTCUSD_1m_2018-01_2019-02.parquet",
    ],
)
def test_real_files_agree(shared_data, file):
    bars = read_bars(shared_data / file).frame
    assert_agreement(backtest("sma_cross", bars, interval=check_bars(bars).interval, symbol="REAL-USD"))
