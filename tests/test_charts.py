"Charts are thinned but keep what matters: extremes, ends, every month, every shown fill."

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markets import frame, gapped, mock, walk, wanting

from rrr.backtest import charts
from rrr.backtest.charts import coarser, envelope, monthly_chart, monthly_returns, overview, price_chart
from rrr.backtest.run import backtest

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


def test_every_fill_is_marked_at_its_time_and_price():
    b = backtest("sma_cross", mock(900), dict(fast=3, slow=8))
    _, buys, sells = price_chart(b).data
    for trace, side in ((buys, "buy"), (sells, "sell")):
        part = b.fills[b.fills.side == side]
        assert list(trace.x) == list(part.index) and list(trace.y) == part.price.tolist() and trace.name == side
    assert len(buys.x) > 10


def test_a_cut_list_of_fills_says_so(monkeypatch):
    monkeypatch.setattr(charts, "MOST_FILLS", 5)
    b = backtest("sma_cross", mock(900), dict(fast=3, slow=8))
    _, buys, sells = price_chart(b).data
    assert len(buys.x) + len(sells.x) == 5 and buys.name == f"buy (last 5 of {len(b.fills)})"


@pytest.mark.parametrize("bars", [walk(1), walk(2), mock(5000, 60, "1m"), gapped(walk(3000, interval="1d"))])
def test_every_chart_of_any_run_can_be_drawn(bars):
    for b in (backtest("buy_and_hold", bars), backtest(wanting([NAN], bars.attrs["interval"]), bars)):
        for figure in (overview(b), monthly_chart(b), b.plot()):
            assert len(figure.to_json()) < 1_000_000
