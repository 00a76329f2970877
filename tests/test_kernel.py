"The kernel does what its prose says, for any prices, costs and targets, and never invents money."

import math
from decimal import Decimal
from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rrr.execution.kernel import (
    exact,
    run_bars,
)

NAN = math.nan


# The rules once more, in exact fractions, from the words of the notebook.


def digits(x: F) -> F:
    "The nearest number of 15 significant digits and 18 places, half to even"
    if x == 0:
        return F(0)
    top = math.floor(math.log10(abs(x)))
    top += (abs(x) >= F(10) ** (top + 1)) - (abs(x) < F(10) ** top)
    step = F(10) ** max(top - 14, -18)
    return round(x / step) * step


def whole(x: F, lot: F) -> F:
    "Rounded down to what can be traded, with a hair for prices that are floats"
    if lot:
        return x * (1 + F(1e-15)) // lot * lot
    rounded = digits(x)
    if rounded > x:
        rounded -= F(10) ** max(math.floor(math.log10(rounded)) - 14, -18)
    return rounded


def by_rule(opens, closes, targets, capital, fee, slippage, lot, least):
    "Orders as [decided, filled at, asked, filled, fee], and cash and position at each close"
    fee, slippage, lot, least = (F(repr(x)) for x in (fee, slippage, lot, least))
    cash, held, standing, pending, orders, path = F(repr(capital)), F(0), F(0), None, [], []
    for t, (open_, close) in enumerate(zip(map(F, map(repr, opens)), map(F, map(repr, closes)), strict=True)):
        if pending:
            price = open_ * (1 + slippage) if pending[2] > 0 else open_ * (1 - slippage)
            afforded = whole(cash / price / (1 + fee), lot)
            moved = min(pending[2], afforded) if pending[2] > 0 else max(pending[2], -held)
            after, paid = digits(held + moved), digits(abs(moved) * price * fee)
            pending[1] = t
            if after != held and abs(moved) * price > cash / 10**13:
                cash, pending[3], pending[4] = max(F(0), digits(cash - moved * price - paid)), after - held, paid
                held = after
            pending = None
        wish = targets[t]
        if not math.isnan(wish) and F(repr(wish)) != standing:
            wish = F(repr(wish))
            asked = digits(whole(wish * (cash + held * close) / close, lot) - held)
            if asked and abs(asked) * close >= least:
                pending = [t, -1, asked, F(0), F(0)]
                orders.append(pending)
            if pending or wish == held == 0:
                standing = wish
        path.append((cash, held))
    return orders, path


# Worlds

PRICE = st.floats(1e-8, 1e7) | st.sampled_from([1e-8, 1e-5, 0.1, 0.3, 1.0, 99.99, 100.0, 5e4, 1e7])
TARGET = st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0, NAN]) | st.floats(1e-3, 1.0)
CAPITAL = st.sampled_from([1e-6, 0.01, 50.0, 1000.0, 100_000.0, 5e7, 999_999_999.0]) | st.integers(1, 10**9 - 1).map(
    float
)
LOT = st.sampled_from([0.0, 0.0, 1e-8, 1e-4, 0.01, 0.5, 1.0, 10.0, 1000.0])
FEE = st.sampled_from([0.0, 0.0001, 0.001, 0.01, 0.5, 0.9999])
SLIPPAGE = st.sampled_from([0.0, 0.0005, 0.01, 0.5, 0.9999])
LEAST = st.sampled_from([0.0, 0.0, 1.0, 1e5])


@st.composite
def worlds(draw, near=False):
    "opens, closes, targets, capital, fee, slippage, lot, min_notional; `near`: prices within a factor of ten"
    n = draw(st.integers(1, 14))
    base = draw(PRICE) if near else None
    price = st.floats(0.3, 3.0).map(lambda x: x * base) if near else PRICE
    bars = draw(st.lists(st.tuples(price, price, TARGET), min_size=n, max_size=n))
    opens, closes, targets = zip(*bars, strict=True)
    return opens, closes, targets, draw(CAPITAL), draw(FEE), draw(SLIPPAGE), draw(LOT), draw(LEAST)


def run(world):
    opens, closes, targets, *rest = world
    return run_bars(*(np.array(x, dtype=float) for x in (opens, closes, targets)), *rest)


MANY = settings(deadline=None, max_examples=300)


@MANY
@given(worlds())
def test_cash_and_position_are_never_negative_and_always_numbers(world):
    orders, cash, position = run(world)
    for balance in (cash, position):
        assert np.isfinite(balance).all() and (balance >= 0).all()
    assert np.isfinite(orders["filled"]).all() and np.isfinite(orders["fee"]).all() and (orders["fee"] >= 0).all()


@MANY
@given(worlds())
def test_balances_have_15_digits_so_that_float_and_decimal_name_each_other(world):
    _, cash, position = run(world)
    for x in {x for x in [*cash.tolist(), *position.tolist()] if x < 1e30}:
        d = Decimal(repr(x)).normalize()
        assert len(d.as_tuple().digits) <= 15 and d.as_tuple().exponent >= -18
        assert exact(x) == x == float(d)


@MANY
@given(worlds())
def test_a_fill_costs_the_fee_and_nothing_else(world):
    orders, cash, position = run(world)
    opens, capital, slippage = world[0], world[3], world[5]
    before = [(F(capital), F(0)), *((F(c), F(p)) for c, p in zip(cash, position, strict=True))]
    filled_at = {int(o["filled_at"]): o for o in orders if o["filled_at"] >= 0}
    for t in range(len(cash)):
        (c0, p0), (c1, p1) = before[t], before[t + 1]
        if t not in filled_at or filled_at[t]["filled"] == 0:
            assert (c0, p0) == (c1, p1), "balances move by fills alone"
            continue
        o = filled_at[t]
        price = F(opens[t]) * (1 + F(slippage) * (1 if o["filled"] > 0 else -1))
        rounding = F(1e-14) * (c0 + c1 + (p0 + p1) * price) + F(10) ** -18 * (1 + price)
        assert abs(F(float(o["price"])) - price) <= F(1e-15) * F(opens[t])
        assert abs((c0 + p0 * price) - (c1 + p1 * price) - F(float(o["fee"]))) <= rounding
        assert abs(F(float(o["filled"])) - (p1 - p0)) <= F(1e-14) * max(p0, p1)
        assert abs(F(float(o["value"])) - abs(p1 - p0) * price) <= rounding
        assert abs(F(float(o["fee"])) - F(float(o["value"])) * F(world[4])) <= rounding


@MANY
@given(worlds())
def test_an_order_fills_at_the_next_bar_or_stays_open_at_the_end(world):
    orders, cash, position = run(world)
    last = len(cash) - 1
    for i, o in enumerate(orders):
        if o["decided"] == last:
            assert o["filled_at"] == -1 and o["filled"] == o["fee"] == o["value"] == 0 and i == len(orders) - 1
        else:
            assert o["filled_at"] == o["decided"] + 1
        assert o["filled"] * o["quantity"] >= 0 and abs(o["filled"]) <= abs(o["quantity"]) + 1e-14 * position.max()
    assert (np.diff(orders["decided"]) > 0).all()


@MANY
@given(worlds())
def test_targets_that_are_nan_place_no_order_and_the_same_target_is_ordered_once(world):
    orders, *_ = run(world)
    targets, standing = world[2], 0.0
    for o in orders:
        assert o["target"] == targets[o["decided"]] and not math.isnan(o["target"])
        assert o["target"] != standing or o["target"] != 0
        standing = o["target"]
    silent = (*world[:2], (NAN,) * len(targets), *world[3:])
    orders, cash, position = run(silent)
    assert len(orders) == 0 and (cash == world[3]).all() and (position == 0).all()


@MANY
@given(worlds())
def test_going_flat_sells_exactly_what_is_held(world):
    orders, _, position = run(world)
    for o in orders:
        if o["target"] == 0:
            assert o["quantity"] == -position[o["decided"]]
            if o["filled"]:
                assert position[o["filled_at"]] == 0


@MANY
@given(worlds())
def test_quantities_are_whole_lots(world):
    lot = world[6]
    orders, _, position = run(world)
    assume(lot and len(orders) and position.max() / lot < 1e14 and np.abs(orders["quantity"]).max() / lot < 1e14)
    for q in np.concatenate([orders["quantity"], orders["filled"], position]):
        n = F(repr(float(q))) / F(repr(lot))
        assert abs(n - round(n)) <= F(1e-15) * abs(n)


@MANY
@given(worlds())
def test_an_order_is_worth_the_least_that_the_venue_takes(world):
    orders, *_ = run(world)
    closes, least = world[1], world[7]
    for o in orders:
        assert abs(o["quantity"]) * closes[o["decided"]] >= least and o["quantity"] != 0


@MANY
@given(worlds(), st.integers(0, 14))
def test_the_future_changes_nothing_of_the_past(world, cut):
    orders, cash, position = run(world)
    early = tuple(x[:cut] for x in world[:3]) + world[3:]
    if cut and cut <= len(cash):
        was, cash_was, position_was = run(early)
        np.testing.assert_array_equal(cash[:cut], cash_was)
        np.testing.assert_array_equal(position[:cut], position_was)
        known = orders[: len(was)].copy()
        open_then = known["filled_at"] >= cut
        for name in ("filled", "price", "value", "fee"):
            known[name][open_then] = 0
        known["filled_at"][open_then] = -1
        np.testing.assert_array_equal(known, was)


@settings(deadline=None, max_examples=400)
@given(worlds(near=True))
def test_runs_agree_with_the_rules_in_exact_fractions(world):
    lot, least = world[6], max(world[7], 1e-9 * world[3])  # two roundings may disagree on an order for dust
    assume(world[4] <= 0.01 and world[3] / max(world[0] + world[1]) > 1e-3)  # and where few digits are left
    world = (*world[:7], least)
    orders, cash, position = run(world)
    expected, path = by_rule(*world)
    most = max(held for _, held in path)
    assume(not lot or most / F(lot) < 10**14)
    scale = max([F(world[3]), *(c + p * F(x) for (c, p), x in zip(path, world[1], strict=True))])
    assert [(o["decided"], o["filled_at"], np.sign(o["quantity"])) for o in orders] == [
        (decided, at, np.sign(float(asked))) for decided, at, asked, *_ in expected
    ]
    for o, (_, _, asked, filled, fee) in zip(orders, expected, strict=True):
        assert float(o["quantity"]) == pytest.approx(float(asked), rel=1e-10)
        assert float(o["filled"]) == pytest.approx(float(filled), rel=1e-10, abs=float(most) * 1e-14)
        assert abs(F(float(o["fee"])) - fee) <= F(1e-12) * scale
    for got, mine, price in zip(zip(cash, position, strict=True), path, world[1], strict=True):
        assert abs(F(got[0]) - mine[0]) <= F(1e-12) * scale and abs(F(got[1]) - mine[1]) * F(price) <= F(1e-12) * scale
