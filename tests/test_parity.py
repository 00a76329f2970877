"The engine does the trades of the backtest, to the digit; and a difference, if there were one, is seen."

import math
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markets import gapped, mock, store, ticks, walk, wanting

from rrr.app.parity import compare
from rrr.backtest.run import backtest
from rrr.engine.replay import replay
from rrr.execution.costs import Costs
from rrr.store.bars import epoch_ms, read_bars
from rrr.store.schema import SnapshotRow, TradeRow
from rrr.strategy.contract import get_strategy


def both(bars, strategy="sma_cross", params=None, costs=None, capital=100_000.0, skip=0):
    "Replay and backtest the same; returns the database, the account and the backtest"
    db, params, costs = store(bars), params or {}, costs or Costs()
    bars = read_bars(db, bars.attrs["symbol"], bars.attrs["interval"])
    start = int(epoch_ms(bars.index)[skip])
    strategy = get_strategy(strategy) if isinstance(strategy, str) else strategy
    account = replay(strategy, params, bars, start, costs, Decimal(repr(capital)), db)
    return db, account, backtest(strategy, bars, params, costs, capital, start)


def assert_same(db, account, run, least=1, gap=1e-9):
    p = compare(run, db, account)
    assert p.holds and p.first_difference is None, str(p)
    assert p.identical_fills == p.engine_fills == p.backtest_fills >= least
    assert p.bars == len(run.bars) and p.cash_gap == 0.0 and p.equity_gap <= gap


CASES = {
    "hours": (mock(600), "sma_cross", dict(fast=5, slow=20), Costs(), 100_000.0, 100),
    "from the first bar": (mock(400), "sma_cross", dict(fast=5, slow=20), Costs(), 100_000.0, 0),
    "slippage": (walk(400), "sma_cross", dict(fast=3, slow=9), Costs(7.5, 12.0), 100_000.0, 50),
    "no costs": (walk(400), "sma_cross", dict(fast=3, slow=9), Costs(0.0, 0.0), 100_000.0, 50),
    "coarse ticks, many equal means": (ticks(600), "sma_cross", dict(fast=2, slow=5), Costs(), 100_000.0, 10),
    "missing bars": (gapped(walk(600)), "sma_cross", dict(fast=3, slow=9), Costs(), 100_000.0, 50),
    "tiny prices": (walk(300, price=1e-5), "sma_cross", dict(fast=3, slow=9), Costs(), 100_000.0, 20),
    "huge prices": (walk(300, price=1e5), "sma_cross", dict(fast=3, slow=9), Costs(), 100_000.0, 20),
    "lots": (walk(300), "sma_cross", dict(fast=3, slow=9), Costs(lot=0.001), 100_000.0, 20),
    "whole units": (walk(300), "sma_cross", dict(fast=3, slow=9), Costs(lot=1.0), 100_000.0, 20),
    "least order": (walk(300), "sma_cross", dict(fast=3, slow=9), Costs(min_notional=10.0), 60.0, 20),
    "small capital": (walk(300), "sma_cross", dict(fast=3, slow=9), Costs(), 50.0, 20),
    "ruin": (walk(400), "sma_cross", dict(fast=2, slow=4), Costs(fee_bps=900), 100_000.0, 20),
    "buy and hold": (walk(100), "buy_and_hold", {}, Costs(), 100_000.0, 0),
    "partial targets": (walk(300), wanting([0.3, math.nan, 0.7, 0.7, 0.1, 0.0, 1.0]), {}, Costs(), 100_000.0, 5),
    "partial targets in lots": (walk(300), wanting([0.3, 0.71, 0.1, 1.0]), {}, Costs(lot=1e-4), 99_999.99, 0),
}


@pytest.mark.parametrize("name", CASES)
def test_engine_and_backtest_do_the_same_trades(name):
    assert_same(*both(*CASES[name]))


def test_large_accounts_agree_to_1e_9_of_their_size():
    assert_same(*both(mock(400), params=dict(fast=5, slow=20), capital=5e8), gap=5e8 * 1e-9)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10_000),
    targets=st.lists(st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.9, 1.0, math.nan]), min_size=1, max_size=12),
    fee=st.sampled_from([0.0, 1.0, 10.0, 123.4]),
    slippage=st.sampled_from([0.0, 3.3]),
    price=st.sampled_from([3e-4, 1.0, 43_210.0]),
    capital=st.sampled_from([100.0, 99_999.99, 1e6]),
)
def test_parity_holds_for_any_targets_costs_and_prices(seed, targets, fee, slippage, price, capital):
    bars = walk(60, seed, price)
    assert_same(*both(bars, wanting(targets), {}, Costs(fee, slippage), capital), least=0, gap=1e-9 * max(1.0, capital))


@pytest.fixture
def done():
    return both(walk(300), params=dict(fast=3, slow=9), skip=50)


def changed(db, statement):
    with db.write() as c:
        assert c.execute(statement).rowcount == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("quantity", lambda q: q + Decimal("1e-12")),
        ("side", lambda s: "sell" if s == "buy" else "buy"),
        ("timestamp", lambda t: t.replace(minute=1)),
    ],
)
def test_a_changed_fill_is_named(done, column, value):
    db, account, run = done
    t = TradeRow.__table__
    third = (t.c.account == account, t.c.fill_id == "00000003")
    with db.read() as c:
        old = c.execute(sa.select(t.c[column]).where(*third)).scalar_one()
    changed(db, sa.update(t).where(*third).values({column: value(old)}))
    p = compare(run, db, account)
    assert not p.holds and p.identical_fills == 2 and p.first_difference.startswith("fill 3: the engine did 2024-")


def test_a_missing_fill_is_named(done):
    db, account, run = done
    t = TradeRow.__table__
    last = f"{len(run.fills):08d}"
    changed(db, sa.delete(t).where(t.c.account == account, t.c.fill_id == last))
    p = compare(run, db, account)
    assert not p.holds and "the engine did nothing" in p.first_difference


@pytest.mark.parametrize("column", ["cash", "equity"])
def test_money_off_by_two_in_a_billion_is_seen(done, column):
    db, account, run = done
    t = SnapshotRow.__table__
    with db.read() as c:
        marks = (t.c.account == account, t.c.cause == "mark")
        row = c.execute(sa.select(t).where(*marks).order_by(t.c.snapshot_id).limit(1)).mappings().one()
    here = t.c.snapshot_id == row["snapshot_id"]
    changed(db, sa.update(t).where(here).values({column: row[column] * (1 + Decimal("2e-9"))}))
    p = compare(run, db, account)
    assert not p.holds and p.first_difference is None and getattr(p, f"{column}_gap") > 1e-4


def test_a_missing_mark_is_named(done):
    db, account, run = done
    t = SnapshotRow.__table__
    with db.read() as c:
        last = c.execute(sa.select(sa.func.max(t.c.snapshot_id)).where(t.c.cause == "mark")).scalar_one()
    changed(db, sa.delete(t).where(t.c.snapshot_id == last))
    assert "valued 249 closes" in compare(run, db, account).first_difference


def test_a_backtest_with_other_costs_is_another_run(done):
    db, account, run = done
    other = backtest(run.strategy, run.bars, run.params, replace(run.costs, fee_bps=11.0), interval="1h")
    assert not compare(other, db, account).holds
    assert not np.array_equal(other.cash, run.cash)
