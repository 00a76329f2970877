"The ladder trades one signal ever less kindly, and each rung is what it says."

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markets import frame, gapped, mock, walk, wanting

from rrr.app.desk import Desk, Request
from rrr.backtest.ladder import (
    CLOSE,
    COSTS,
    DETAIL,
    DOUBLED,
    OPEN,
    Ladder,
    ladder,
    opening_at_the_close,
    scaled,
    scaled_tiers,
)
from rrr.backtest.run import backtest
from rrr.core.errors import DataError, ParameterError
from rrr.execution.costs import Costs
from rrr.store.writer import write_bars
from rrr.strategy.contract import Signal, Strategy

CROSS = dict(fast=3, slow=8)
PRICED = Costs(fee_bps=10, slippage_bps=5)
WISHES = st.lists(st.sampled_from([0.0, 0.5, 1.0, -1.0, np.nan]), min_size=2, max_size=12)


def bracketed(stop: float, target: float) -> Strategy:
    "Long from the first bar, with a stop and a target"

    def held(bars) -> Signal:
        "Long at once."
        return Signal(bars.close * 0 + 1, stop_loss=stop, take_profit=target)

    return Strategy(held, lambda: 1, {})


def test_the_rung_of_costs_is_the_backtest():
    steps, b = ladder("sma_cross", walk(400), CROSS, PRICED), backtest("sma_cross", walk(400), CROSS, PRICED)
    assert list(steps.runs) == [CLOSE, OPEN, COSTS, DOUBLED]
    assert steps.runs[COSTS].equity.equals(b.equity) and steps.runs[COSTS].metrics == b.metrics
    assert steps.runs[OPEN].equity.equals(backtest("sma_cross", walk(400), CROSS, Costs(0, 0)).equity)
    assert steps.runs[DOUBLED].equity.equals(backtest("sma_cross", walk(400), CROSS, Costs(20, 10)).equity)


def test_a_finished_run_climbs_the_ladder_as_the_call_does():
    b = backtest("sma_cross", walk(300), CROSS, PRICED, start_ms=int(walk(300).index[50].timestamp() * 1000))
    for rung, run in ladder(b).runs.items():
        assert len(run.bars) == 250 and run.target.equals(b.target), rung
    with pytest.raises(ParameterError, match="needs bars"):
        ladder("sma_cross")


@settings(deadline=None, max_examples=40)
@given(wishes=WISHES, seed=st.integers(0, 99))
def test_at_the_bar_close_an_order_fills_at_the_close_that_decided_it(wishes, seed):
    bars = walk(60, seed)
    b = ladder(wanting(wishes), bars, costs=PRICED).runs[CLOSE]
    done = b.orders[b.orders.status == "filled"]
    decided = bars["close"].to_numpy()[bars.index.searchsorted(done.decided_at) - 1]
    np.testing.assert_allclose(done.price, decided, rtol=1e-14)
    assert b.metrics["fees_paid"] == 0 and b.metrics["slippage_paid"] == 0


def test_only_the_first_rung_is_marked_as_not_tradable():
    table = ladder("sma_cross", walk(300), CROSS, PRICED).table
    assert table.index[0] == CLOSE and "NOT TRADABLE" in CLOSE
    assert table.tradable.tolist() == [False, True, True, True]


@settings(deadline=None, max_examples=30)
@given(wishes=WISHES, seed=st.integers(0, 99))
def test_steps_add_up_and_costs_never_help_a_trader_of_whole_positions(wishes, seed):
    steps = ladder(wanting([abs(w) for w in wishes]), walk(80, seed), costs=PRICED).table
    assert np.isnan(steps.step.iloc[0])
    assert steps.total_return.iloc[0] + steps.step.iloc[1:].sum() == pytest.approx(steps.total_return.iloc[-1])
    assert steps.costs.iloc[:2].tolist() == [0, 0] and (steps.costs.iloc[2:] >= 0).all()
    if set(wishes) <= {0.0, 1.0}:
        assert steps.total_return.iloc[1:].is_monotonic_decreasing


def test_rungs_without_costs_are_free_of_funding_interest_and_tiers():
    bars = walk(300, seed=3)
    paid = pd.Series(np.where(np.arange(38) % 3, 1e-3, -5e-4), bars.index[::8])  # longs pay more often than they get
    taken = Costs(fee_bps=10, slippage_bps=5, borrow_bps_year=800)
    terms = dict(funding=paid, tiers=((0, 8, 12), (50_000, 6, 9)), leverage=2)
    rule = wanting([-1, np.nan, -0.5, 1, 0, -1] * 50)
    steps = ladder(rule, bars, None, taken, **terms)
    table, own = steps.table, backtest(rule, bars, None, taken, **terms)
    assert (table[["costs", "funding", "interest"]].iloc[:2] == 0).all(axis=None)
    plain = backtest(rule, bars, costs=Costs(0, 0), leverage=2)
    assert steps.runs[OPEN].equity.equals(plain.equity) and steps.runs[OPEN].metrics == plain.metrics
    assert steps.runs[COSTS].equity.equals(own.equity) and own.costs_paid["funding"] != 0 < own.costs_paid["interest"]
    assert table.costs[COSTS] == pytest.approx(sum(own.costs_paid.values()))
    assert table.funding[COSTS] == own.costs_paid["funding"] and table.interest[COSTS] == own.costs_paid["interest"]
    twice = backtest(rule, bars, None, scaled(taken, 2), **terms | dict(tiers=((0, 16, 24), (50_000, 12, 18))))
    assert steps.runs[DOUBLED].equity.equals(twice.equity)
    assert table.interest[DOUBLED] == pytest.approx(2 * table.interest[COSTS], rel=0.2)
    assert table.funding[DOUBLED] == pytest.approx(table.funding[COSTS], rel=0.2)
    assert "funding" in repr(steps) and "interest" in steps._repr_html_()


def test_a_held_short_is_paid_for_by_hand():
    bars = frame([100, 100, 110, 120], [100, 100, 110, 120])
    paid = pd.Series([0.5, 0.01, -0.02], bars.index[1:])  # the first is due before the fill at the same open
    short = wanting([-1, np.nan, np.nan, np.nan])
    table = ladder(short, bars, costs=Costs(0, 0), capital=1000, funding=paid).table
    assert table.total_return.tolist() == pytest.approx([-0.2, -0.2, -0.2 + 0.011 - 0.024, -0.2 + 0.011 - 0.024])
    assert table.funding.tolist() == pytest.approx([0, 0, 24 - 11, 24 - 11]) and table.costs.equals(table.funding)


def test_a_rebate_does_not_grow():
    c = Costs(fee_bps=5, maker_bps=-1)
    assert (scaled(c, 2).fee_bps, scaled(c, 2).maker_bps, scaled(c, 0).maker_bps) == (10, -1, 0)
    assert scaled_tiers(((0, -1, 6000), (10, 1, 2)), 2) == ((0, -1, 9999), (10, 2, 4))
    assert scaled_tiers(((0, -1, 6000),), 0) == ((0, 0, 0),) and scaled_tiers((), 2) == ()


def test_what_finer_bars_leave_uncovered_is_told_below_the_table():
    bars, fine = walk(48), walk(48 * 4, interval="15m")
    steps = ladder("sma_cross", bars, CROSS, PRICED, detail=fine.iloc[:-8])
    (note,) = steps.notes
    assert note.startswith("TEST-USD: no finer bars in 2 bars of 48") and repr(steps).endswith(note)
    assert note in steps._repr_html_() and ladder("sma_cross", bars, CROSS, PRICED, detail=fine).notes == ()


def test_finer_bars_decide_what_came_first():
    "The hour reaches both stop and target; the minutes show the target first."
    bars = frame([100, 100, 100, 100], [100, 100, 100, 100])
    bars.loc[bars.index[2], ["high", "low"]] = [112.0, 88.0]
    minutes = frame([100] * 8, [100] * 8, "30m")
    minutes.loc[minutes.index[4], ["high"]] = 112.0
    minutes.loc[minutes.index[5], ["low"]] = 88.0
    steps = ladder(bracketed(0.05, 0.1), bars, costs=Costs(0, 0), detail=minutes)
    assert list(steps.runs) == [CLOSE, OPEN, COSTS, DETAIL, DOUBLED]
    assert steps.table.total_return[COSTS] == pytest.approx(-0.05) and steps.table.total_return[
        DETAIL
    ] == pytest.approx(0.1)
    assert steps.runs[DETAIL].fills.reason.tolist() == ["order", "take_profit"]


def test_what_is_paid_is_scaled_and_what_is_a_rule_is_not():
    c = Costs(10, 5, 0.1, 7, 4, 3, 0.2, 0.3, 0.5, 0.01, 2, 1, 500)
    twice = scaled(c, 2)
    assert (twice.fee_bps, twice.slippage_bps, twice.maker_bps, twice.spread_bps) == (20, 10, 8, 6)
    assert (twice.volume_impact, twice.root_impact, twice.borrow_bps_year) == (0.4, 0.6, 1000)
    assert (twice.lot, twice.min_notional, twice.participation, twice.tick) == (
        c.lot,
        c.min_notional,
        c.participation,
        c.tick,
    )
    assert (twice.latency_bars, twice.bracket_delay_bars) == (2, 1)
    assert scaled(Costs(fee_bps=9000), 2).fee_bps == 9999 and scaled({"A": c}, 0)["A"].fee_bps == 0


def test_bars_that_open_at_the_close_contain_their_open():
    bars = gapped(walk(200, spread=0.03))
    out = opening_at_the_close(bars)
    assert (out.open.iloc[1:].to_numpy() == bars.close.iloc[:-1].to_numpy()).all() and out.open.iloc[
        0
    ] == bars.open.iloc[0]
    assert (out.high >= out.open).all() and (out.low <= out.open).all() and out.close.equals(bars.close)


def test_several_symbols_climb_too():
    bars = {k: mock(600, symbol=k, seed=i) for i, k in enumerate(("BTC-USD", "ETH-USD"))}
    bars["ETH-USD"] = bars["ETH-USD"].iloc[200:]
    steps = ladder("pairs", bars, dict(n=50, enter=1.0), PRICED)
    assert len(steps.runs) == 4 and steps.runs[CLOSE].fills.symbol.nunique() == 2
    paid = steps.table.costs
    assert 0 == paid.iloc[1] < paid.iloc[2] < paid.iloc[3]


def test_a_finished_run_takes_no_other_terms():
    b = backtest("sma_cross", walk(200), CROSS)
    for more in (dict(bars=walk(200)), dict(costs=PRICED), dict(params=CROSS), dict(start_ms=0), dict(leverage=2)):
        with pytest.raises(ParameterError, match="a finished run has its own"):
            ladder(b, **more)


def test_stored_finer_bars_are_used_where_they_cover_the_run(tmp_path):
    desk, bars, fine = Desk(tmp_path), mock(100), mock(400, 900, "15m")
    asked = Request("sma_cross", bars.attrs["symbol"], "1h", params=CROSS)
    later = fine.set_index(fine.index + pd.Timedelta("900D"))
    for name, kept in (("1h", bars), ("15m", later), ("30m", mock(100, 1800, "30m"))):
        write_bars(desk.db, bars.attrs["symbol"], name, kept, "made up", synthetic=True)
    assert DETAIL not in desk.ladder(asked).runs
    with pytest.raises(DataError, match="no bars of"):
        desk.ladder(asked, "15m")
    assert DETAIL in desk.ladder(asked, "30m").runs
    write_bars(desk.db, bars.attrs["symbol"], "15m", fine, "made up", synthetic=True)
    assert DETAIL in desk.ladder(asked).runs


def test_a_ladder_shows_itself():
    steps = ladder("sma_cross", walk(300), CROSS, PRICED)
    assert isinstance(steps, Ladder) and "NOT TRADABLE" in repr(steps) and "nan" not in repr(steps)
    assert "<table" in steps._repr_html_() and "NOT TRADABLE" in steps._repr_html_()
    figure = steps.plot()
    assert [t.name for t in figure.data[:4]] == list(steps.runs)
    assert list(figure.data[4].y) == steps.table.total_return.tolist()
    assert isinstance(steps.table, pd.DataFrame)
