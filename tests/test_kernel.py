"The kernel does what its prose says, for any prices, costs and targets, and never invents money."

import math
from decimal import Decimal
from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rrr.core.errors import ParameterError
from rrr.execution.costs import Costs, cost_table
from rrr.execution.kernel import new_trader, run_bars, run_targets
from rrr.execution.match import fill_market
from rrr.execution.orders import FILL, ORDER
from rrr.execution.quantities import exact, held_after, opening_cash, tradable
from rrr.execution.sizing import decide, order_quantity

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
            after = F(0) if abs(after) < held / 10**13 else after
            pending[1] = t
            if after != held and abs(moved) * price > max(cash, abs(pending[2]) * price) / 10**13:
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


MANY = settings(deadline=None, max_examples=200)


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
        for name in ("filled", "price", "value", "fee", "status", "reason"):
            known[name][open_then] = 0
        known["filled_at"][open_then] = known["ended"][open_then] = -1
        for name in known.dtype.names:
            np.testing.assert_array_equal(known[name], was[name])


@settings(deadline=None, max_examples=250)
@given(worlds(near=True))
def test_runs_agree_with_the_rules_in_exact_fractions(world):
    lot, least = F(world[6]), max(0.9973 * world[7], 1e-9 * world[3])  # two roundings may disagree on dust,
    assume(max(world[4:6]) <= 0.01 and world[3] / max(world[0] + world[1]) > 1e-3)  # or where few digits are left,
    world = (*world[:7], least)
    orders, cash, position = run(world)
    expected, path = by_rule(*world)
    most, dearest = max(held for _, held in path), F(max(world[0] + world[1]))
    assume(not lot or most / lot < 10**14)
    slack = 2 * lot if lot and most / lot > 10**8 else 0  # or on one of very many lots
    scale = max([F(world[3]), *(c + p * F(x) for (c, p), x in zip(path, world[1], strict=True))])

    def close(mine: float, theirs: F, size: F, slack: F) -> bool:
        return abs(F(float(mine)) - theirs) <= F(1e-12) * size + slack

    assert [(o["decided"], o["filled_at"], np.sign(o["quantity"])) for o in orders] == [
        (decided, at, np.sign(float(asked))) for decided, at, asked, *_ in expected
    ]
    for o, (_, _, asked, filled, fee) in zip(orders, expected, strict=True):
        assert close(o["quantity"], asked, most + abs(asked), slack) and close(o["filled"], filled, most, slack)
        assert close(o["fee"], fee, scale, slack * dearest)
    for mine_cash, mine_held, (their_cash, their_held), price in zip(cash, position, path, world[1], strict=True):
        assert close(mine_cash, their_cash, scale, slack * dearest)
        assert close(mine_held * price, their_held * F(price), scale, slack * dearest)


# Cases by hand


def test_four_bars_by_hand():
    "All in at 100 with a fee of 1 %: 1000 / 101 units; out at 120."
    orders, cash, position = run(
        ([100, 100, 110, 120], [100, 105, 115, 118], [1, 1, 0, NAN], 1000.0, 0.01, 0.0, 1e-8, 0.0)
    )
    buy, sell = orders
    assert (buy["decided"], buy["filled_at"], buy["quantity"], buy["filled"], buy["price"]) == (
        0,
        1,
        10,
        9.90099009,
        100,
    )
    assert (sell["decided"], sell["filled_at"], sell["quantity"], sell["filled"]) == (2, 3, -9.90099009, -9.90099009)
    assert buy["value"] == pytest.approx(990.099009) and buy["fee"] == 9.90099009
    assert sell["value"] == pytest.approx(1188.1188108) and sell["fee"] == pytest.approx(11.881188108)
    assert cash[0] == 1000 and cash[1] == cash[2] == pytest.approx(9.1e-7, rel=1e-6)
    assert cash[3] == pytest.approx(1000 - 990.099009 - 9.90099009 + 1188.1188108 - 11.881188108)
    assert position.tolist() == [0, 9.90099009, 9.90099009, 0]


def test_slippage_is_against_us_both_ways():
    for quantity, price in ((1.0, 101.0), (-1.0, 99.0)):
        assert fill_market(quantity, 1000.0, 1.0, 100.0, 0.0, 0.01, 0.0)[0] == price


def test_a_target_is_asked_again_until_it_comes_to_an_order():
    "A lot costs more than there is at first; nothing is missed when it becomes affordable."
    orders, *_ = run(([200, 200, 90, 90], [200, 150, 90, 90], [1, 1, 1, 1], 100.0, 0.0, 0.0, 1.0, 0.0))
    assert [(o["decided"], o["filled_at"], o["filled"]) for o in orders] == [(2, 3, 1)]


def test_an_order_that_affords_nothing_does_not_bar_the_next_entry():
    "One lot at 99 is ordered, the open asks 101: nothing is bought. Flat, then in again: that is a new order."
    orders, cash, position = run(([99, 101, 50, 50], [99, 101, 50, 50], [1, 0, 1, NAN], 100.0, 0.0, 0.0, 1.0, 0.0))
    assert [(o["decided"], o["filled_at"], o["filled"]) for o in orders] == [(0, 1, 0), (2, 3, 2)]
    assert cash[-1] == 0 and position[-1] == 2


def test_a_sale_below_the_least_notional_waits_until_it_is_worth_it():
    orders, _, position = run(
        ([10, 10, 1, 1, 10, 10], [10, 10, 1, 1, 10, 10], [1, NAN, 0, 0, 0, 0], 10.0, 0.0, 0.0, 1.0, 5.0)
    )
    assert [(o["decided"], o["filled"]) for o in orders] == [(0, 1), (4, -1)] and position[-1] == 0


@pytest.mark.parametrize(("lot", "cash", "price"), [(1.0, 49_999.96, 50_000.0), (0.01, 999.9999, 100_000.0)])
def test_what_is_almost_affordable_is_not_bought(lot, cash, price):
    assert fill_market(lot, cash, 0.0, price, 0.0, 0.0, lot) == (price, 0.0, cash, 0.0)


def test_what_is_exactly_affordable_is_bought():
    assert fill_market(10.0, 1001.0, 0.0, 100.0, 0.001, 0.0, 1.0) == (100.0, 1.0, 0.0, 10.0)
    assert order_quantity(0.29, 100.0, 0.0, 1.0, 1.0, 0.0) == 29.0


def test_more_lots_than_integers_are_counted():
    "A position of 1e12 units in steps of 1e-8 are 1e20 lots."
    orders, cash, position = run(([1e-6] * 3, [1e-6] * 3, [1, 0, NAN], 1e6, 0.0, 0.0, 1e-8, 0.0))
    assert position.tolist() == [0, 1e12, 0] and cash.tolist() == [1e6, 0, 1e6]


def test_a_moving_lot_leaves_no_dust():
    "0.3 and 0.7 of an account in lots of 0.1: every sum is a whole lot, and flat is flat."
    targets = [0.3, 0.7, 0.3, 0.5, 0.2, 0.0] * 50
    prices = 100 + np.sin(np.arange(300.0))
    orders, _, position = run((prices, prices, targets, 1e5, 0.001, 0.0, 0.1, 0.0))
    assert all(x == round(x, 1) for x in [*position.tolist(), *orders["quantity"].tolist(), *orders["filled"].tolist()])
    assert (position[6::6] == 0).all() and len(orders) == 300


def test_a_purchase_too_small_for_the_books_is_dropped_whole():
    "It would change cash but not the position: then neither changes."
    assert fill_market(1e-9, 100.0, 1e9, 1.0, 0.0, 0.0, 0.0) == (1.0, 0.0, 100.0, 1e9)
    assert fill_market(-1e-9, 100.0, 1e9, 1.0, 0.0, 0.0, 0.0) == (1.0, 0.0, 100.0, 1e9)
    assert fill_market(1e-9, 1e9, 0.0, 1e-9, 0.0, 0.0, 0.0) == (1e-9, 0.0, 1e9, 0.0)


def test_a_sale_never_exceeds_what_is_held():
    price, fee, cash, position = fill_market(-10.0, 0.0, 4.0, 100.0, 0.001, 0.0, 0.0)
    assert (fee, cash, position) == (0.4, 399.6, 0.0)


@pytest.mark.parametrize(
    ("target", "standing", "position", "decision"),
    [
        (NAN, 0.0, 0.0, (0.0, 0.0)),
        (NAN, 0.5, 5.0, (0.0, 0.5)),
        (0.5, 0.5, 1.0, (0.0, 0.5)),  # drift is not rebalanced
        (0.5, 0.0, 0.0, (5.0, 0.5)),
        (0.0, 0.5, 5.0, (-5.0, 0.0)),
        (0.0, 1.0, 0.0, (0.0, 0.0)),
        (-0.0, 0.0, 0.0, (0.0, 0.0)),
        (0.01, 0.0, 0.0, (0.0, 0.0)),  # less than a lot
    ],
)
def test_decisions_by_hand(target, standing, position, decision):
    assert decide(target, standing, 1000.0 - 100 * position, position, 100.0, 1.0, 0.0) == decision


@settings(deadline=None, max_examples=200)
@given(st.integers(-(10**15) + 1, 10**15 - 1), st.integers(-12, 18))
def test_every_decimal_of_15_digits_is_exact(digits, places):
    x = float(Decimal(digits).scaleb(-places))
    assert exact(x) == x and exact(-x) == -x


@settings(deadline=None, max_examples=200)
@given(st.floats(1e-9, 1e15), st.sampled_from([0.0, 1e-8, 0.001, 0.5, 1.0, 25.0]))
def test_tradable_rounds_down_to_the_nearest(x, lot):
    q = tradable(x, lot)
    step = lot or 1.01 * 10.0 ** (max(math.floor(math.log10(x)) - 14, -18))
    assert q <= x * (1 + 2e-15) and x - q <= step * (1 + 1e-9) + x * 1e-14


# Refusals


@pytest.mark.parametrize("name", ["fee_bps", "slippage_bps", "lot", "min_notional"])
@pytest.mark.parametrize("value", [-1e-9, -1, NAN, math.inf, -math.inf, True, "10", None, Decimal(1), 1j], ids=str)
def test_costs_refuse_what_is_no_number_from_zero_on(name, value):
    with pytest.raises(ParameterError, match=f"{name} must be a number from 0 on"):
        Costs(**{name: value})


@pytest.mark.parametrize("name", ["fee_bps", "slippage_bps"])
def test_costs_refuse_to_take_all_of_the_value(name):
    assert getattr(Costs(**{name: 9999}), name) == 9999
    with pytest.raises(ParameterError, match="below 10000"):
        Costs(**{name: 10_000})


@pytest.mark.parametrize("lot", [0.3, 1.5, 0.7, 2.000001, 1e-19, 1e-300, 5e-324])
def test_costs_refuse_a_lot_that_divides_nothing(lot):
    with pytest.raises(ParameterError, match="lot must be a whole number or one over a whole number"):
        Costs(lot=lot)


@pytest.mark.parametrize("lot", [0, 1e-18, 1e-8, 0.001, 0.05, 0.125, 0.5, 1, 7, 1000, 1e6])
def test_costs_take_the_lots_of_venues(lot):
    assert Costs(lot=lot).lot == lot


def test_costs_are_plain_floats():
    c = Costs(fee_bps=np.int64(10), slippage_bps=np.float64(5), lot=1)
    assert {type(x) for x in (c.fee_bps, c.slippage_bps, c.lot, c.min_notional)} == {float}
    assert (c.fee, c.slippage) == (0.001, 0.0005)


@pytest.mark.parametrize(
    "capital",
    [0, -1, NAN, math.inf, 1e9, 10**400, 1 / 3, 1e-19, True, "1000", None, Decimal("NaN"), Decimal("1e9")],
    ids=lambda v: str(v)[:9],
)
def test_capital_that_no_book_can_hold_is_refused(capital):
    with pytest.raises(ParameterError, match="capital must be above 0 and below 1e9, with at most 15 digits"):
        opening_cash(capital)


@pytest.mark.parametrize(
    "capital", [1e-18, 50, 100_000.0, 5e7, 999_999_999.999999, 9_999_999.99999999, Decimal("0.1"), np.int64(7)]
)
def test_capital_of_15_digits_is_taken_as_it_is(capital):
    assert opening_cash(capital) == float(capital) and type(opening_cash(capital)) is float


@given(st.floats(1e-6, 1e9), st.floats(-3, 3), st.sampled_from([1e-15, 1e-14, 1e-6, 0.5]))
def test_a_sale_that_leaves_the_last_digits_of_a_position_leaves_nothing(position, way, left):
    position = exact(position) * (1 if way > 0 else -1)
    after = held_after(position, -position * (1 - left), 0.0)
    assert after == 0.0 if left < 1e-13 else after == pytest.approx(position * left, rel=1e-6)
    assert held_after(position, 0.0, 0.0) == position


def test_an_account_is_carried_on_with_its_logs_alone():
    "Shorter logs were written beyond their end, and later waited for forever."
    price, target = np.full(20, 100.0), np.arange(20) % 2.0
    args, none = (price, price, target, cost_table(Costs()), 1.0, new_trader(1000.0)), np.empty(0)
    orders, fills = run_targets(*args, np.empty(2, ORDER), np.empty(2, FILL), none, none, none)
    count = args[-1][0]["orders"], args[-1][0]["fills"]
    assert count == (19, 18) and len(orders) >= 19 and len(fills) >= 18
    for logs in ((np.empty(2, ORDER), fills), (orders, np.empty(2, FILL))):
        with pytest.raises(ValueError, match="carried on with its logs"):
            run_targets(*args, *logs, none, none, none)
    run_targets(*args, orders, fills, none, none, none)
    assert args[-1][0]["orders"] == 39
