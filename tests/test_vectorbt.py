"Vectorbt agrees with every run to 1e-9: accounting for our fills, and sizing and filling by itself."

import math

import numpy as np
import pandas as pd
import pytest
from markets import gapped, mock, ticks, walk, wanting

from rrr.backtest import vbt
from rrr.backtest.run import backtest
from rrr.backtest.sheet import crosscheck_table
from rrr.backtest.vbt import crosscheck, independent, to_vectorbt
from rrr.core.errors import ParameterError
from rrr.data.files import read_bars
from rrr.execution.costs import Costs
from rrr.execution.sizing import Sizing
from rrr.strategy.contract import Signal, Strategy

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")  # vectorbt's own calls
NAN = math.nan
PARTIAL = [1, NAN, 0.3, 0.7, NAN, 0, 0.5, 0.5, NAN, 0.9, 0.2, 0]


def assert_agree(b, alone=True) -> pd.DataFrame:
    "Both ways, or with our fills only where a lot makes the quantities ours"
    check = crosscheck(b)
    ways = ["vectorbt, our fills: difference", "vectorbt alone: difference"][: 2 if alone else 1]
    assert check[ways].notna().all(axis=None) and (check[ways] < 1e-9).all(axis=None), check.to_string()
    return check


def naive(times) -> list[pd.Timestamp]:
    "Times as vectorbt records them, without a zone"
    return pd.DatetimeIndex(times).tz_localize(None).tolist()


@pytest.mark.parametrize("params", [dict(fast=10, slow=50), dict(fast=5, slow=20), dict(fast=2, slow=3)], ids=str)
@pytest.mark.parametrize(
    "bars", [mock(4000), mock(4000, 60, "1m"), mock(1500, 86_400, "1d", "SOL-USD")], ids=["1h", "1m", "1d"]
)
def test_the_crossover_on_mock_bars(bars, params):
    b = backtest("sma_cross", bars, params)
    assert assert_agree(b).loc["Fills", "rrr"] == len(b.fills) > 5


@pytest.mark.parametrize("fee", [0, 10, 500])
@pytest.mark.parametrize("slippage", [0, 7.5, 300])
def test_fees_and_slippage(fee, slippage):
    costs = Costs(fee_bps=fee, slippage_bps=slippage)
    assert_agree(backtest("sma_cross", walk(800, seed=5), dict(fast=5, slow=20), costs))
    assert_agree(backtest(wanting(PARTIAL), walk(300, seed=6), costs=costs))


@pytest.mark.parametrize("price", [1e-5, 1.0, 1e5])
@pytest.mark.parametrize("capital", [50.0, 100_000.0, 5e7])
def test_cheap_and_dear_markets_small_and_large_accounts(price, capital):
    bars = walk(600, seed=7, price=price, spread=0.03)
    assert_agree(backtest("sma_cross", bars, dict(fast=5, slow=20), Costs(slippage_bps=5), capital))
    assert_agree(backtest(wanting(PARTIAL), bars, capital=capital))


@pytest.mark.parametrize("seed", range(5))
def test_partial_targets_that_are_left_and_taken_up(seed):
    wishes = np.random.default_rng(seed).choice([0, 0.1, 0.3, 0.7, 1, NAN, NAN], 200)
    assert_agree(backtest(wanting(wishes), walk(500, seed=seed)))


@pytest.mark.parametrize(
    "bars", [ticks(600, seed=1), ticks(600, seed=2, tick=1e-5, price=1e-3)], ids=["coarse", "cheap"]
)
def test_coarse_prices(bars):
    assert_agree(backtest("sma_cross", bars, dict(fast=3, slow=8)))


@pytest.mark.parametrize("bars", [gapped(mock(3000)), gapped(walk(3000, interval="1m"), 0.9)], ids=["some", "most"])
def test_missing_bars(bars):
    assert_agree(backtest("sma_cross", bars, dict(fast=5, slow=20)))
    assert_agree(backtest(wanting(PARTIAL, bars.attrs["interval"]), bars))


def test_a_start_in_mid_history_and_an_order_left_open():
    bars = walk(500, seed=9)
    b = backtest("sma_cross", bars, dict(fast=5, slow=20), start_ms=int(bars.index[200].timestamp() * 1000))
    assert_agree(b)
    still = backtest(wanting([*[NAN] * 9, 1]), walk(10))
    assert still.orders.status.tolist() == ["open"]
    assert_agree(still)


def test_buy_and_hold():
    assert_agree(backtest("buy_and_hold", mock(500)))


def test_a_run_without_a_trade():
    check = assert_agree(backtest(wanting([NAN]), walk(50)))
    assert check.loc["Fills"].eq(0).all() and check.loc["Total return"].eq(0).all()


@pytest.mark.parametrize("lot", [1e-8, 0.001, 0.1])
def test_with_a_lot_the_accounts_agree_and_the_sizes_differ_by_the_lot(lot):
    b = backtest(wanting(PARTIAL), walk(300, seed=3), costs=Costs(lot=lot))
    assert_agree(b, alone=False)
    p = independent(b)
    assert p.orders.count() == len(b.fills)
    assert (p.orders.values["size"] - b.fills.quantity.abs().to_numpy() < 2 * lot + 1e-9).all()


# The bridge and what it shows


def test_the_portfolio_has_our_fills_cash_and_positions():
    b = backtest(wanting(PARTIAL), walk(300, seed=4), costs=Costs(slippage_bps=20))
    p = b.to_vectorbt()
    orders = p.orders.records_readable
    assert (
        naive(orders["Timestamp"]) == naive(b.fills.index)
        and orders["Side"].str.lower().tolist() == b.fills.side.tolist()
    )
    for column, ours in (("Size", b.fills.quantity.abs()), ("Price", b.fills.price), ("Fees", b.fills.fee)):
        np.testing.assert_allclose(orders[column], ours, rtol=1e-12)
    np.testing.assert_allclose(p.cash(), b.cash, rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(p.assets(), b.position, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(p.drawdown(), b.drawdown, atol=1e-12)


@pytest.mark.parametrize("last", [0.0, NAN])
def test_round_trips_are_vectorbts_positions(last):
    bars = walk(361 if math.isnan(last) else 362, seed=4)
    b = backtest(wanting(PARTIAL), bars)
    theirs, ours = to_vectorbt(b).positions.records_readable, b.trades
    assert ours.status.iloc[-1] == ("open" if b.position.iloc[-1] else "closed")
    assert theirs["Status"].str.lower().tolist() == ours.status.tolist() and len(ours) > 20
    for column, name in (("Size", "quantity"), ("Avg Entry Price", "entry_price"), ("PnL", "pnl")):
        np.testing.assert_allclose(ours[name], theirs[column], rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(ours.fees, theirs["Entry Fees"] + theirs["Exit Fees"], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours.return_pct, 100 * theirs["Return"], rtol=1e-9, atol=1e-9)
    assert naive(ours.entry_time) == naive(theirs["Entry Timestamp"])
    closed = ours.status == "closed"
    assert naive(ours.exit_time[closed]) == naive(theirs["Exit Timestamp"][closed])


def test_more_metrics_are_vectorbts():
    b = backtest("sma_cross", mock(3000), dict(fast=5, slow=20))
    p, m = to_vectorbt(b), b.metrics
    assert m["sortino"] == pytest.approx(p.sortino_ratio(), rel=1e-9)
    assert m["annual_volatility"] == pytest.approx(p.annualized_volatility(), rel=1e-9)
    assert m["annual_return"] == pytest.approx(p.annualized_return(), rel=1e-9)
    assert m["calmar"] == pytest.approx(p.calmar_ratio(), rel=1e-9)
    assert m["hit_rate"] == pytest.approx(p.positions.closed.win_rate())
    assert m["profit_factor"] == pytest.approx(p.positions.closed.profit_factor(), rel=1e-9)
    assert m["expectancy"] == pytest.approx(p.positions.closed.expectancy(), rel=1e-9)
    assert b.benchmark.metrics["total_return"] == pytest.approx(to_vectorbt(b.benchmark).total_return(), rel=1e-9)


def test_a_planted_difference_shows(monkeypatch):
    b = backtest("sma_cross", walk(300), dict(fast=5, slow=20))
    other = backtest("sma_cross", walk(300), dict(fast=5, slow=20), Costs(fee_bps=10.001))
    monkeypatch.setattr(vbt, "to_vectorbt", lambda _: to_vectorbt(other))
    check = crosscheck(b)
    assert check.loc["Fees paid", "vectorbt, our fills: difference"] > 1e-5
    assert "DIFFER" in crosscheck_table(check)


def test_a_figure_that_only_one_side_defines_is_a_difference(monkeypatch):
    b = backtest("sma_cross", walk(300), dict(fast=5, slow=20))
    b.metrics["sharpe"] = NAN
    check = crosscheck(b)
    assert check.loc["Sharpe ratio", "vectorbt, our fills: difference"] == math.inf
    assert "DIFFER" in crosscheck_table(check)


# Shorts, exits inside the bar, several symbols


@pytest.mark.parametrize("seed", range(4))
def test_shorts_and_turns_are_accounted_alike(seed):
    wishes = np.random.default_rng(seed).choice([-1, -0.5, 0, 0.5, 1, NAN], 100)
    b = backtest(wanting(wishes), walk(300, seed=seed), costs=Costs(slippage_bps=5))
    assert (b.position < 0).any() and "vectorbt alone" not in assert_agree_on_fills(b)


def assert_agree_on_fills(b) -> pd.DataFrame:
    "Vectorbt's accounting of our fills only"
    check = crosscheck(b)
    assert (check["vectorbt, our fills: difference"] < 1e-9).all(), check.to_string()
    return check


def test_an_exit_inside_the_bar_of_its_entry_is_a_second_column():
    rule = Strategy(
        lambda bars: Signal((bars.close * 0 + 1).where(bars.close > bars.open, 0.0), stop_loss=0.004), lambda: 1, {}
    )
    bars = walk(400, seed=5, spread=0.02)
    b = backtest(rule, bars, costs=Costs(slippage_bps=5))
    twice = b.fills.index.duplicated().sum()
    assert twice > 5 and to_vectorbt(b).orders.count() == len(b.fills)
    check = assert_agree_on_fills(b)
    assert "Round trips" not in check.index


def test_several_symbols_share_the_cash_in_the_order_of_our_fills():
    bars = {k: mock(900, symbol=k, seed=i) for i, k in enumerate(("BTC-USD", "ETH-USD", "SOL-USD"))}
    bars["SOL-USD"] = bars["SOL-USD"].iloc[200:]
    for name, params, part in (
        ("pairs", dict(n=50, enter=1.0), ["BTC-USD", "SOL-USD"]),
        ("strongest", dict(n=48, hold=24), list(bars)),
    ):
        b = backtest(name, {k: bars[k] for k in part}, params, Costs(slippage_bps=2))
        assert len(b.fills) > 20
        assert_agree_on_fills(b)


def test_what_vectorbt_does_not_know_is_refused():
    bars = walk(60)
    with pytest.raises(ParameterError, match="funding or interest"):
        to_vectorbt(backtest(wanting([-1]), bars, costs=Costs(borrow_bps_year=500)))
    with pytest.raises(ParameterError, match="borrows cash"):
        to_vectorbt(backtest("buy_and_hold", bars, sizing=Sizing(fraction=2, cap=2), leverage=2))
    with pytest.raises(ParameterError, match="only do long targets"):
        independent(backtest(wanting([-1]), bars))


# Real markets


@pytest.mark.parametrize(
    ("name", "interval", "most"),
    [
        ("ohlcv/binance_spot_BTCUSDT_1h.parquet", "1h", None),
        ("raw/binance_um_klines_csv/AVAXUSDT-1m-2024-02.csv", "1m", None),
        ("ohlcv/bitfinex_BTCUSD_1m_2018-01_2019-02.parquet", "1m", 100_000),
    ],
)
def test_real_bars(shared_data, name, interval, most):
    bars = read_bars(shared_data / name).frame.iloc[:most]
    b = backtest("sma_cross", bars, interval=interval, symbol="REAL-USD", synthetic=False)
    assert len(b.fills) > 100
    assert_agree(b)
