"Vectorbt 1.2 fills the same orders: targets, amounts, shorts, stops, targets and trailing stops, shared cash."

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rrr.execution.costs import Costs, cost_table
from rrr.execution.inputs import market, wishes
from rrr.execution.kernel import new_trader, run_targets
from rrr.execution.loop import new_book, run_orders
from rrr.execution.orders import FILL, FILL_REASONS, FLAT, ORDER, SIBLING, TAKE_PROFIT, order_rows
from rrr.execution.risk import Risk
from rrr.execution.sizing import Sizing

vbt = pytest.importorskip("vectorbt")
pytestmark = pytest.mark.filterwarnings("ignore")  # vectorbt's own calls
NAN, FREE = math.nan, Risk(max_leverage=1e6)
FEW = settings(deadline=None, max_examples=60)


def bars_of(seed: int, n: int, symbols: int = 1, spread: float = 0.03) -> tuple:
    "open, high, low, close of random walks with gaps, shape (n, symbols)"
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, spread, (n, symbols)), axis=0))
    open_ = np.vstack([close[:1], close[:-1]]) * np.exp(rng.normal(0, spread / 3, (n, symbols)))
    wide = np.exp(np.abs(rng.normal(0, spread / 2, (n, symbols))))
    return open_, np.maximum(open_, close) * wide, np.minimum(open_, close) / wide, close


def general(bars, asked, costs, risk=FREE, capital=10_000.0, orders=None):
    n, symbols = bars[0].shape
    m = market(*bars, np.full((n, symbols), 1e9), 3_600_000 * np.arange(n))
    book, curves = run_orders(new_book(capital, costs, symbols, 3_600_000, risk=risk), m, asked)
    if orders is not None:
        orders.extend(book.orders[: book.account[0]["orders"]])
    return book.fills[: book.account[0]["fills"]], curves


def assert_same(fills, cash, equity, p):
    theirs = p.orders.records.sort_values(["idx", "id"])
    fills, theirs = fills[fills["value"] > 1e-9], theirs[theirs["size"] * theirs["price"] > 1e-9]  # the digits of cash
    assert fills["bar"].tolist() == theirs["idx"].tolist()
    sign = np.where(theirs["side"] == 0, 1.0, -1.0)
    np.testing.assert_allclose(fills["quantity"], theirs["size"] * sign, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(fills["price"], theirs["price"], rtol=1e-9)
    np.testing.assert_allclose(fills["fee"], theirs["fees"], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(cash, np.asarray(p.cash()), rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(equity, np.asarray(p.value()), rtol=1e-9, atol=1e-6)


SEED, N = st.integers(0, 10**6), st.integers(3, 60)
FEE, SLIPPAGE = st.sampled_from([0.0, 10.0, 150.0]), st.sampled_from([0.0, 7.5, 100.0])


def later(x):
    "What is decided at a close, in the row of the next open"
    return np.vstack([np.full((1, x.shape[1]), NAN), x[:-1]])


@FEW
@given(SEED, N, FEE, SLIPPAGE)
def test_amounts_in_both_directions(seed, n, fee, slippage):
    "from_orders with sizes: long, short, and from one to the other in one order"
    bars, rng = bars_of(seed, n), np.random.default_rng(seed)
    size = np.where(rng.random((n, 1)) < 0.4, rng.normal(0, 20, (n, 1)), NAN)
    size[-1] = NAN
    rows = order_rows([dict(decided=t, quantity=float(size[t, 0])) for t in range(n) if size[t, 0] == size[t, 0]])
    costs = Costs(fee_bps=fee, slippage_bps=slippage)
    fills, curves = general(bars, wishes(requests=rows), costs)
    p = vbt.Portfolio.from_orders(
        bars[3][:, 0], later(size)[:, 0], price=bars[0][:, 0], fees=costs.fee, slippage=costs.slippage,
        init_cash=1e4, freq="1h",
    )  # fmt: skip
    cash = p.cash()
    if (np.asarray(cash) > 1).all():  # vectorbt refuses what cash cannot pay, we were given credit
        assert_same(fills, curves.cash, curves.equity, p)


@FEW
@given(SEED, N, FEE, SLIPPAGE)
def test_purchases_that_cash_cuts_short(seed, n, fee, slippage):
    "from_orders, long only: what is not affordable is filled as far as cash goes"
    bars, rng = bars_of(seed, n), np.random.default_rng(seed)
    size = np.where(rng.random((n, 1)) < 0.5, rng.normal(20, 80, (n, 1)), NAN)
    size[-1] = NAN
    rows = order_rows(
        [dict(decided=t, quantity=float(size[t, 0]), reduce_only=bool(size[t, 0] < 0)) for t in range(n) if size[t, 0] == size[t, 0]]
    )  # fmt: skip
    costs = Costs(fee_bps=fee, slippage_bps=slippage)
    fills, curves = general(bars, wishes(requests=rows), costs, Risk())
    p = vbt.Portfolio.from_orders(
        bars[3][:, 0], later(size)[:, 0], price=bars[0][:, 0], fees=costs.fee, slippage=costs.slippage,
        direction="longonly", init_cash=1e4, freq="1h",
    )  # fmt: skip
    assert_same(fills, curves.cash, curves.equity, p)


@FEW
@given(SEED, N, FEE, SLIPPAGE)
def test_the_fast_loop_with_longs_and_shorts(seed, n, fee, slippage):
    "from_orders with target amounts of what we decided: longs, shorts and reversals"
    bars, rng = bars_of(seed, n, spread=0.01), np.random.default_rng(seed)
    target = rng.choice([NAN, NAN, 0.0, 0.5, -0.5, 0.25, -0.25], (n, 1))
    costs, trader = Costs(fee_bps=fee, slippage_bps=slippage), new_trader(1e4)
    cash, position, equity = np.empty(n), np.empty(n), np.empty(n)
    orders, fills = run_targets(
        bars[0][:, 0].copy(), bars[3][:, 0].copy(), target[:, 0].copy(), cost_table(costs), 1.0, trader,
        np.empty(9, ORDER), np.empty(9, FILL), cash, position, equity,
    )  # fmt: skip
    orders, fills = orders[: trader[0]["orders"]], fills[: trader[0]["fills"]]
    size = np.full((n, 1), NAN)
    size[orders["decided"], 0] = orders["quantity"]
    p = vbt.Portfolio.from_orders(
        bars[3][:, 0], later(size)[:, 0], price=bars[0][:, 0], fees=costs.fee, slippage=costs.slippage,
        init_cash=1e4, freq="1h",
    )  # fmt: skip
    assert_same(fills, cash, equity, p)
    close, held, money = bars[3][:, 0], np.r_[0.0, position], np.r_[1e4, cash]
    for o in orders:  # and the sizes are those that vectorbt's targetpercent would ask for at that close
        t = o["decided"]
        assert o["quantity"] == pytest.approx(
            target[t, 0] * (money[t + 1] + held[t + 1] * close[t]) / close[t] - held[t + 1]
        )


@FEW
@given(
    SEED, st.integers(5, 60), FEE, SLIPPAGE, st.sampled_from([0.0, 0.02, 0.05]), st.sampled_from([0.0, 0.03, 0.08]),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_stop_loss_take_profit_and_trailing_stop(seed, n, fee, slippage, stop, profit, trailing, short):
    "from_signals with sl_stop, sl_trail and tp_stop, which work from the bar after the entry"
    bars, rng = bars_of(seed, n), np.random.default_rng(seed)
    events = rng.choice([0] * 9 + [1, 1, 1, -1], n)
    events[-1] = 0
    entries, exits = events == 1, events == -1
    wish = np.full((n, 1), NAN)
    wish[entries, 0], wish[exits, 0] = -0.4 if short else 1.0, 0.0
    costs = Costs(fee_bps=fee, slippage_bps=slippage, bracket_delay_bars=1)
    shares = {("trailing" if trailing else "stop_loss"): np.full((n, 1), stop), "take_profit": np.full((n, 1), profit)}
    placed = []
    fills, curves = general(bars, wishes(wish, **shares), costs, FREE if short else Risk(), orders=placed)
    for o in placed:  # what fills at the open precedes a stop inside the bar; vectorbt takes the stop
        beaten = o["reason"] == FLAT or (o["reason"] == SIBLING and o["type"] != TAKE_PROFIT)
        low, high = bars[2][o["ended"], 0], bars[1][o["ended"], 0]
        assume(o["parent"] < 0 or not beaten or not low <= o["stop"] <= high)
    # vectorbt enters again after a stop as soon as a signal comes; ours after a bar without one: it gets what we acted on
    keep = np.zeros(n, dtype=bool)
    keep[[int(o["decided"]) for o in placed if o["parent"] < 0 and o["target"] != 0]] = True
    x = pd.DataFrame(dict(zip("ohlc", (b[:, 0] for b in bars), strict=True)))
    side = (
        dict(short_entries=shift(keep), short_exits=shift(exits))
        if short
        else dict(entries=shift(keep), exits=shift(exits))
    )
    none = np.zeros(n, dtype=bool)
    share = 0.4 if short else 1.0
    size = np.r_[NAN, np.maximum(0.0, share * curves.equity[:-1] / bars[3][:-1, 0])]
    p = vbt.Portfolio.from_signals(
        x.c, **({"entries": none, "exits": none} | side), price=x.o, open=x.o, high=x.h, low=x.l, size=size,
        fees=costs.fee, slippage=costs.slippage, init_cash=1e4, sl_stop=stop or NAN, sl_trail=trailing,
        tp_stop=profit or NAN, stop_entry_price="fillprice", stop_exit_price="stopmarket", freq="1h",
        upon_long_conflict="exit", upon_short_conflict="exit", use_stops=bool(stop or profit),
    )  # fmt: skip
    assert_same(fills, curves.cash, curves.equity, p)


def shift(x):
    return np.r_[False, x[:-1]]


@FEW
@given(SEED, N, FEE, SLIPPAGE)
def test_three_symbols_with_shared_cash(seed, n, fee, slippage):
    "from_orders, grouped, cash shared, sales before purchases: cash runs out on the same symbol"
    bars, rng = bars_of(seed, n, 3), np.random.default_rng(seed)
    size = np.where(rng.random((n, 3)) < 0.4, rng.normal(20, 60, (n, 3)), NAN)
    size[-1] = NAN
    at = [(t, s) for t in range(n) for s in range(3) if size[t, s] == size[t, s]]
    rows = order_rows(
        [dict(decided=t, symbol=s, quantity=float(size[t, s]), reduce_only=bool(size[t, s] < 0)) for t, s in at]
    )
    costs = Costs(fee_bps=fee, slippage_bps=slippage)
    fills, curves = general(bars, wishes(requests=rows, symbols=3), costs, Risk())
    given_ = later(size)
    sequence = np.argsort(np.where(given_ < 0, 0, 1), axis=1, kind="stable")  # sales first, then by column
    p = vbt.Portfolio.from_orders(
        bars[3], given_, price=bars[0], fees=costs.fee, slippage=costs.slippage, direction="longonly",
        init_cash=1e4, group_by=True, cash_sharing=True, call_seq=sequence, freq="1h",
    )  # fmt: skip
    np.testing.assert_allclose(curves.cash, np.asarray(p.cash()).ravel(), rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(curves.equity, np.asarray(p.value()).ravel(), rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(curves.position, np.asarray(p.assets()), rtol=1e-9, atol=1e-9)
    assert set(fills["reason"]) <= {FILL_REASONS.index("order")}


@FEW
@given(SEED, N, FEE, SLIPPAGE, st.sampled_from(["targetpercent", "targetvalue", "value"]), st.booleans())
def test_shares_and_values_that_vectorbt_sizes_by_itself(seed, n, fee, slippage, kind, short):
    "from_orders sized at the close of the decision: shares of equity, fixed amounts, and amounts on top"
    bars, rng = bars_of(seed, n, spread=0.01), np.random.default_rng(seed)
    close, sizing = bars[3][:, 0], Sizing("cash", cash=2000.0) if kind == "targetvalue" else None
    target = rng.choice([NAN, NAN, 0.0, 0.5, 0.25, 0.9] + [-0.5, -0.25] * short, (n, 1))
    target[-1] = NAN
    costs, size = Costs(fee_bps=fee, slippage_bps=slippage), target[:, 0] * (1.0 if kind == "targetpercent" else 2000.0)
    if kind == "value":
        size[~(size > 0)] = NAN
        asked = wishes(
            requests=order_rows([dict(decided=t, quantity=size[t] / close[t]) for t in np.flatnonzero(size == size)])
        )
    else:
        asked, standing = wishes(target), 0.0
        for t in range(n):  # a target is ordered when it changes
            size[t] = NAN if target[t, 0] == standing else size[t]
            standing = standing if math.isnan(target[t, 0]) else target[t, 0]
    m = market(*bars, np.full((n, 1), 1e9), 3_600_000 * np.arange(n))
    book, curves = run_orders(new_book(1e4, costs, 1, sizing=sizing), m, asked)
    before = np.r_[close[:1], close[:-1]]
    p = vbt.Portfolio.from_orders(
        close, np.r_[NAN, size[:-1]], size_type=kind, price=bars[0][:, 0], val_price=before, fees=costs.fee,
        slippage=costs.slippage, init_cash=1e4, freq="1h",
    )  # fmt: skip
    assume((np.asarray(p.cash()) > 1).all())  # where cash is short, vectorbt and a margin account differ
    assert_same(book.fills[: book.account[0]["fills"]], curves.cash, curves.equity, p)


@FEW
@given(SEED, st.integers(5, 60), FEE, SLIPPAGE)
def test_signals_in_both_directions(seed, n, fee, slippage):
    "from_signals with entries and exits of longs and shorts, which turn a position over; nothing accumulates"
    bars, rng = bars_of(seed, n, spread=0.01), np.random.default_rng(seed)
    close = bars[3][:, 0]
    target = rng.choice([NAN] * 6 + [0.0, 0.4, -0.4], (n, 1))
    target[-1] = NAN
    costs = Costs(fee_bps=fee, slippage_bps=slippage)
    fills, curves = general(bars, wishes(target), costs)
    long, short, out = (shift(target[:, 0] == x) for x in (0.4, -0.4, 0.0))
    size = np.r_[NAN, np.maximum(0.0, 0.4 * curves.equity[:-1] / close[:-1])]
    p = vbt.Portfolio.from_signals(
        close, entries=long, exits=out, short_entries=short, short_exits=out, price=bars[0][:, 0], size=size,
        fees=costs.fee, slippage=costs.slippage, init_cash=1e4, freq="1h", upon_opposite_entry="reverse",
        accumulate=False,
    )  # fmt: skip
    assert_same(fills, curves.cash, curves.equity, p)
