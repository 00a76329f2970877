"Charts are thinned but keep what matters: extremes, ends, every month, every shown fill."

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markets import frame, gapped, mock, walk, wanting

from rrr.backtest import trade_charts
from rrr.backtest.charts import drawdown_chart, envelope, equity_chart, overview, returns_chart, rolling_chart, tail_of
from rrr.backtest.metrics import bar_returns
from rrr.backtest.periods import (
    contributions,
    monthly_returns,
    period_returns,
    regimes,
    rolling_sharpe,
    worst_drawdowns,
)
from rrr.backtest.run import backtest
from rrr.backtest.trade_charts import coarser, cost_steps, costs_chart, exposure_chart, fill_marks, price_chart
from rrr.execution.costs import Costs
from rrr.strategy.contract import Signal, Strategy

NAN = math.nan


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.integers(1, 20))
def test_an_envelope_keeps_extremes_ends_and_order(values, buckets):
    curve = pd.Series(values, pd.date_range("2024-01-01", periods=len(values), freq="1min"))
    short = envelope(curve, buckets)
    assert len(short) <= 3 * buckets or len(short) == len(curve) <= 3 * buckets
    assert short.max() == curve.max() and short.min() == curve.min() and short.index[-1] == curve.index[-1]
    assert short.index.is_monotonic_increasing and short.index.is_unique and (curve[short.index] == short).all()


def test_every_part_of_an_envelope_keeps_its_own_extremes():
    curve = pd.Series(np.random.default_rng(0).normal(size=1000))
    short = envelope(curve, 10)
    for part in range(10):
        here = range(100 * part, 100 * part + 100)
        kept = short[[i for i in short.index if i in here]]
        assert kept.max() == curve[here].max() and kept.min() == curve[here].min() and kept.index[-1] == here[-1]


def test_few_bars_are_shown_as_they_are():
    bars = walk(50)
    assert coarser(bars, "1h", 50)[0] is bars and coarser(bars, "1h", 50)[1] == "1h"


def test_coarser_bars_open_first_reach_farthest_close_last_and_add_up():
    bars = mock(24 * 40)
    days, interval = coarser(bars, "1h", 60)
    assert interval == "1d" and len(days) == 40
    for day, part in bars.groupby(bars.index.floor("1D")):
        whole = [part.open.iloc[0], part.high.max(), part.low.min(), part.close.iloc[-1], part.volume.sum()]
        assert days.loc[day].tolist() == pytest.approx(whole)


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(2, 3000), most=st.integers(10, 500), start=st.integers(0, 59), share=st.sampled_from([0.0, 0.5, 0.95])
)
def test_at_most_as_many_bars_as_asked_for_are_left(n, most, start, share):
    bars = frame(np.full(n, 5.0), np.full(n, 5.0), "1m", start=f"2024-01-01 03:{start:02}")
    shown, interval = coarser(gapped(bars, share) if share else bars, "1m", most)
    assert len(shown) <= most and shown.notna().all(axis=None) and pd.Timedelta(interval) >= pd.Timedelta("1min")


def test_a_gap_stays_a_gap():
    bars = walk(3000, interval="1m")
    shown, interval = coarser(pd.concat([bars.iloc[:1400], bars.iloc[1600:]]), "1m", 400)
    assert (
        interval == "15m" and shown.notna().all(axis=None) and shown.index.to_series().diff().max() > pd.Timedelta("3h")
    )


@pytest.mark.parametrize(
    "bars", [walk(3000, spread=0.005), gapped(walk(3000, interval="1d", spread=0.02), 0.9), walk(2)]
)
def test_months_compound_to_the_total_return(bars):
    b = backtest("buy_and_hold", bars)
    table = monthly_returns(b)
    assert np.nanprod(1 + table.to_numpy()) == pytest.approx(1 + b.metrics["total_return"], rel=1e-12)
    assert table.columns.tolist() == list(range(1, 13))


def test_months_by_hand():
    "Three bars a month: a month's return runs from the last bar of the month before, the first from the capital."
    bars = frame([100] * 9, [100, 110, 120, 120, 130, 90, 90, 60, 180], "1d")
    bars.index = pd.DatetimeIndex(
        [f"2023-{m}-{d}" for m in (11, 12) for d in (10, 20, 30)] + [f"2024-02-{d}" for d in (10, 20, 28)], tz="UTC"
    )
    bars["open"] = bars["close"]
    b = backtest(wanting([1], "1d", "2023-11-10"), bars, capital=1000.0)
    e, table = b.equity, monthly_returns(b)
    assert table.loc[2023, 11] == pytest.approx(e.iloc[2] / 1000 - 1) and table.loc[2023, 12] == pytest.approx(
        e.iloc[5] / e.iloc[2] - 1
    )
    assert table.loc[2024, 2] == pytest.approx(e.iloc[8] / e.iloc[5] - 1) and table.notna().sum().sum() == 3


def panel(*seeds, n=600) -> dict:
    "Bars of several symbols"
    bars = {f"S{i}-USD": walk(n, seed=i, price=50.0) for i in seeds}
    for name, frame_ in bars.items():
        frame_.attrs["symbol"] = name
    return bars


def acting(targets, **extras) -> Strategy:
    "A strategy of given targets by bar, with stops"

    def act(bars) -> Signal:
        "As told."
        values = np.resize(np.asarray(targets, dtype=float), len(bars))
        return Signal(pd.Series(values, bars.index), **extras)

    return Strategy(act, lambda: 1, {})


def turning(bars) -> Signal:
    "Long the one and short the other, turned over now and then."
    wave = np.sign(np.sin(np.arange(len(bars)) / 25))[:, None]
    sides = np.where(np.arange(bars.close.shape[1]) % 2, -0.5, 0.5)[None, :]
    return Signal(pd.DataFrame(wave * sides, bars.close.index, bars.close.columns))


PANEL = Strategy(turning, lambda: 1, {}, panel=True)
RUNS = {
    "long": lambda: backtest("sma_cross", mock(900), dict(fast=3, slow=8)),
    "both sides": lambda: backtest(acting([1, 1, 0, -1, NAN, 0.5, -0.5]), walk(500), costs=Costs(borrow_bps_year=900)),
    "stops": lambda: backtest(acting([1, NAN, NAN, 0], stop_loss=0.01, take_profit=0.01), walk(500, spread=0.03)),
    "orders": lambda: backtest("day_bracket", mock(500)),
    "panel": lambda: backtest(PANEL, panel(1, 2, 3), costs=Costs(slippage_bps=5)),
    "idle": lambda: backtest(acting([NAN]), walk(300)),
    "one bar": lambda: backtest("buy_and_hold", walk(1)),
    "gaps": lambda: backtest("buy_and_hold", gapped(walk(3000, interval="1d"))),
}
every_run = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS.keys())


@every_run
def test_every_fill_is_marked_once_at_its_time_and_price(run):
    b = run()
    for symbol in b.symbols:
        fills = b.fills[b.fills.symbol == symbol] if "symbol" in b.fills else b.fills
        marks = [t for t in price_chart(b, symbol).data if t.type == "scatter" and t.mode == "markers"]
        drawn = sorted((pd.Timestamp(x), y) for t in marks for x, y in zip(t.x, t.y, strict=True))
        assert drawn == sorted(zip(fills.index, fills.price, strict=True))


def test_marks_say_what_a_fill_did():
    bars = frame([100] * 8, [100] * 8)
    b = backtest(acting([1, 0.5, 0, -1, -0.5, 1, 0, NAN]), bars, costs=Costs(fee_bps=0))
    assert fill_marks(b.fills).tolist() == [
        "long entry", "exit", "exit", "short entry", "exit", "long entry", "exit",
    ]  # fmt: skip
    stopped = backtest(acting([1, NAN, NAN, NAN], stop_loss=0.05), frame([100, 100, 100, 90], [100, 100, 90, 90]))
    assert fill_marks(stopped.fills).tolist() == ["long entry", "stop loss"]


def test_round_trips_are_joined_from_entry_to_exit():
    b = RUNS["both sides"]()
    lines = {t.name: t for t in price_chart(b).data if t.type == "scatter" and t.mode == "lines"}
    ended = b.trades[b.trades.exit_time.notna()]
    for name, part in (("won round trip", ended[ended.pnl > 0]), ("lost round trip", ended[ended.pnl <= 0])):
        assert [y for y in lines[name].y if y == y] == pytest.approx(
            part[["entry_price", "exit_price"]].to_numpy().ravel()
        )


def test_a_cut_list_of_fills_says_so(monkeypatch):
    monkeypatch.setattr(trade_charts, "MOST_FILLS", 5)
    b = backtest("sma_cross", mock(900), dict(fast=3, slow=8))
    marks = [t for t in price_chart(b).data if t.type == "scatter" and t.mode == "markers"]
    assert sum(len(t.x) for t in marks) == 5
    assert all(t.name.endswith(f" (last 5 of {len(b.fills):,} fills)") for t in marks)


@every_run
def test_costs_lead_from_gross_to_net_profit(run):
    b = run()
    steps = cost_steps(b)
    assert sum(list(steps.values())[:-1]) == pytest.approx(b.equity.iloc[-1] - b.capital, abs=1e-6)
    assert steps["Net profit"] == pytest.approx(b.equity.iloc[-1] - b.capital, abs=1e-9)
    assert -steps["Fees"] == pytest.approx(b.metrics["fees_paid"])


@every_run
def test_what_symbols_brought_adds_up_to_the_profit(run):
    b = run()
    carried = b.costs_paid["funding"] + b.costs_paid["interest"]
    assert contributions(b).pnl.sum() - carried == pytest.approx(b.equity.iloc[-1] - b.capital, abs=1e-6)


def test_exposure_is_drawn_long_above_and_short_below_zero():
    b = RUNS["both sides"]()
    drawn = {t.name: np.asarray(t.y) for t in exposure_chart(b).data}
    assert (drawn["TEST-USD long"] >= 0).all() and (drawn["TEST-USD short"] <= 0).all()
    means = pd.Series(b.exposure.to_numpy()).groupby(np.repeat(np.arange(250), 2)).mean()
    assert drawn["TEST-USD long"] + drawn["TEST-USD short"] == pytest.approx(means, abs=2e-4)


# Periods


@every_run
def test_regimes_share_out_the_run(run):
    b = run()
    table, whole = regimes(b), 1 + b.metrics["total_return"]
    for kinds in (["bull", "bear", "trend not yet known"], ["calm", "usual", "wild", "volatility not yet known"]):
        part = table[table.index.isin(kinds)]
        assert part.share.sum() == pytest.approx(1) and np.prod(1 + part.total_return) == pytest.approx(whole)
        assert np.prod(1 + part.hold_return) == pytest.approx(1 + b.benchmark.metrics["total_return"])


@settings(deadline=None, max_examples=25)
@given(st.integers(100, 400), st.integers(0, 10_000))
def test_the_trend_of_a_bar_was_known_before_it(cut, seed):
    "What comes later does not change which bars were bull or bear, given the same window."
    from rrr.backtest import periods

    bars = walk(500, seed=seed)
    other = bars.copy()
    other.iloc[cut:, :4] *= 3
    other.attrs = bars.attrs
    one, two = (periods._labels(backtest("buy_and_hold", x))[0] for x in (bars, other))
    assert (one[: cut + 1] == two[: cut + 1]).all()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-0.2, 0.2), min_size=2, max_size=60))
def test_drawdowns_are_those_of_a_walk_over_the_curve(moves):
    closes = 100 * np.cumprod(1 + np.asarray(moves))
    b = backtest("buy_and_hold", frame(np.concatenate([[100], closes[:-1]]), closes, "1d"), costs=Costs(fee_bps=0))
    peak, spells, open_ = b.capital, [], None
    for value in b.equity:
        if value >= peak:
            spells += [open_] if open_ else []
            peak, open_ = value, None
        else:
            depth = value / peak - 1
            open_ = min(open_ or 0.0, depth)
    spells += [open_] if open_ else []
    found = worst_drawdowns(b, most=100)
    assert found.depth.tolist() == pytest.approx(sorted(spells))
    assert (found.recovered.isna().sum() == 1) == (b.equity.iloc[-1] < peak)
    assert all(r.peak <= r.trough and not r.recovered <= r.trough for r in found.itertuples())


def test_days_compound_to_the_total_return():
    b = backtest("buy_and_hold", walk(24 * 90))
    returns, period = period_returns(b)
    assert (
        period == "day" and len(returns) == 90 and np.prod(1 + returns) == pytest.approx(1 + b.metrics["total_return"])
    )
    assert period_returns(backtest("buy_and_hold", walk(24 * 59)))[1] == "bar"


def test_the_rolling_ratio_is_that_of_its_window_and_blank_where_nothing_moves():
    b = backtest(acting([NAN] * 100 + [1] * 200), walk(300))
    ratio, returns = rolling_sharpe(b, 50), bar_returns(b.equity, b.capital)
    part = returns[150:200]
    assert ratio.iloc[199] == pytest.approx(part.mean() / part.std(ddof=1) * math.sqrt(8760))
    assert ratio.iloc[:100].isna().all()


@every_run
def test_the_tail_is_that_of_the_metrics(run):
    b = run()
    pair = b.metrics["value_at_risk"], b.metrics["expected_shortfall"]
    assert tail_of(bar_returns(b.equity, b.capital)) == pytest.approx(pair, nan_ok=True)


def test_a_wide_span_is_drawn_on_a_logarithmic_axis():
    rising = frame(100 * 1.02 ** np.arange(200), 100 * 1.02 ** np.arange(1, 201), "1d")
    assert equity_chart(backtest("buy_and_hold", rising)).layout.yaxis.type == "log"
    flat = equity_chart(backtest("buy_and_hold", walk(50, spread=0.001)))
    assert flat.layout.yaxis.type != "log" and not flat.layout.updatemenus


@every_run
def test_every_chart_of_any_run_can_be_drawn_and_says_what_it_shows(run):
    b = run()
    for draw in (equity_chart, drawdown_chart, returns_chart, exposure_chart, costs_chart, price_chart):
        figure = draw(b)
        assert figure.layout.meta["label"] and len(figure.to_json()) < 1_000_000
    for figure in (overview(b), b.plot(), rolling_chart(b, 20)):
        assert len(figure.to_json()) < 2_000_000


def test_a_million_bars_are_drawn_with_few_points():
    b = backtest("sma_cross", walk(200_000, interval="1m", spread=0.0005), dict(fast=20, slow=200))
    for draw in (equity_chart, drawdown_chart, exposure_chart, returns_chart):
        assert sum(len(t.x) for t in draw(b).data) < 8_000
