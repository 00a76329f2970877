"Finer bars, sizes, small orders and hard cases: the loop against the slow reference, and by hand."

import math
from decimal import Decimal

import numpy as np
import pytest
from execution_reference import Reference
from hypothesis import given, settings
from hypothesis import strategies as st
from test_execution_loop import HOUR, NAN, account, bars, fills_of, flat, inputs, one, worlds

from rrr.core.errors import DataError, ParameterError
from rrr.execution.costs import Costs
from rrr.execution.inputs import market, wishes
from rrr.execution.loop import new_book, run_orders
from rrr.execution.orders import FILL_REASONS, NONE, REASONS, STATUSES, order_rows
from rrr.execution.quantities import exact, on_tick
from rrr.execution.risk import Risk
from rrr.execution.sizing import Sizing, kelly_share, of_share, sized, volatility_share

MINUTE = 60_000

# Rounding


@settings(deadline=None, max_examples=500)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_places_found_by_bits_are_those_found_by_logarithms(x):
    top = math.floor(math.log10(abs(x))) if x else 0
    if x:
        top += (abs(x) >= float(f"1e{top + 1}") if top < 308 else 0) - (abs(x) < float(f"1e{top}"))
    places = min(18, 14 - top)
    with np.errstate(all="ignore"):
        if places >= 0:
            expected = np.rint(x * float(f"1e{places}")) / float(f"1e{places}")
        else:
            expected = np.rint(x / float(f"1e{-places}")) * float(f"1e{-places}")
    assert exact(x) == expected or (math.isnan(exact(x)) and math.isnan(expected))


# Finer bars


@settings(deadline=None, max_examples=100)
@given(worlds(), st.data())
def test_finer_bars_do_what_the_reference_does(w, data):
    "Some bars with finer ones, some without; some symbols without any inside a bar that others have"
    n, symbols = w["bars"].shape[:2]
    counts = data.draw(st.lists(st.sampled_from([0, 0, 1, 3]), min_size=n, max_size=n))
    fine = data.draw(bars(sum(counts), symbols)) if sum(counts) else np.empty((0, symbols, 5))
    starts = np.r_[0, np.cumsum(counts)]
    ms = [t * w["step_ms"] + k * MINUTE for t in range(n) for k in range(counts[t])]
    m, asked = inputs(w)
    detail = (*(fine[:, :, k] for k in (0, 1, 2, 4)), np.array(ms, dtype=np.int64))
    m = market(m.open, m.high, m.low, m.close, m.volume, m.open_ms, w["funding"], detail, w["step_ms"])
    book, curves = run_orders(account(w), m, asked)
    r = Reference(w["capital"], w["costs"], symbols, w["step_ms"], w["tiers"], w["risk"], w["stake"])
    for t, row in enumerate(w["bars"]):
        bar = [None if np.isnan(x[0]) else tuple(x.tolist()) for x in row]
        rows = [[None if np.isnan(x[0]) else tuple(x.tolist()) for x in y] for y in fine[starts[t] : starts[t + 1]]]
        rows = [[y if bar[s] else None for s, y in enumerate(row_)] for row_ in rows]  # what has no bar is not traded
        for s in range(symbols):
            if rows and bar[s] and not any(y[s] for y in rows):
                rows[0][s] = bar[s]
        given_ = [
            {k: v for k, v in o.items() if k not in ("decided", "stop_loss", "take_profit", "trailing")}
            | dict(oco=o["oco"] or None, brackets=(o["stop_loss"], o["take_profit"], o["trailing"]))
            for o in w["requests"] if o["decided"] == t
        ]  # fmt: skip
        limits = None if w["limits"] is None else [x and x[3] * w["limits"] for x in bar]
        r.step(
            bar,
            t * w["step_ms"],
            w["targets"][t].tolist(),
            given_,
            w["funding"][t].tolist(),
            rows,
            w["brackets"],
            limits,
        )
        assert curves.equity[t] == pytest.approx(r.equity, rel=1e-9, abs=1e-6)
    fills = fills_of(book)
    assert [(f["order"], f["bar"], FILL_REASONS[f["reason"]]) for f in fills] == [(f[0], f[1], f[8]) for f in r.fills]
    np.testing.assert_allclose(fills["price"], [f[4] for f in r.fills], rtol=1e-9)


def test_a_symbol_without_finer_bars_meets_its_own_bar():
    x = np.full((2, 2), 100.0)
    fine = ([[100.0, NAN]], [[100.0, NAN]], [[100.0, NAN]], [[1.0, NAN]], [HOUR])
    m = market(x, x, x, x, x, HOUR * np.arange(2), detail=fine, step_ms=HOUR)
    book, _ = run_orders(new_book(1000.0, Costs(fee_bps=0), 2), m, wishes(target=[[0.2, 0.3], [0.2, 0.3]]))
    assert fills_of(book)["quantity"].tolist() == [2.0, 3.0] and np.isnan(fine[0][0][1])


# Sizes


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(3, 40), st.integers(2, 12), st.sampled_from([0.5, 1.0, 3.0]))
def test_shares_are_those_of_plain_statistics(seed, n, window, cap):
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0.001, 0.02, n)))
    target = rng.choice([NAN, 0.0, 1.0, -0.5], n)
    change, held, earned = np.diff(np.log(close)), 0.0, []
    for t in range(1, n):
        held = held if math.isnan(target[t - 1]) else target[t - 1]
        earned.append(held * (close[t] / close[t - 1] - 1))
    mine, kelly = volatility_share(close, 0.4, 8760.0, window, cap), kelly_share(close, target, 0.5, window, cap)
    for t in range(n):
        if t < window:
            assert math.isnan(mine[t]) and math.isnan(kelly[t])
            continue
        assert mine[t] == pytest.approx(min(cap, 0.4 / (np.std(change[t - window : t], ddof=1) * math.sqrt(8760))))
        part = np.array(earned[t - window : t])
        spread = part.var(ddof=1)
        assert kelly[t] == pytest.approx(min(cap, max(0.0, 0.5 * part.mean() / spread)) if spread else 0.0, abs=1e-12)
    later = np.r_[close[:-1], 2 * close[-1]]
    np.testing.assert_array_equal(volatility_share(later, 0.4, 8760.0, window, cap)[:-1], mine[:-1])
    assert (sized(target, close, Sizing("kelly", window=window), 8760.0)[target == 0] == 0).all()


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(st.sampled_from([NAN, 0.0, 1.0, 0.5, -1.0, -0.3]), st.sampled_from([NAN, 0.0, 0.4, 1.2])), max_size=20
    )
)
def test_while_the_share_is_unknown_the_wanted_side_is_kept_and_any_other_closed(rows):
    target, share = (np.array(x, dtype=float) for x in zip(*rows, strict=True)) if rows else (np.empty(0), np.empty(0))
    held = 0.0  # what an account that fills at once would hold
    for wish, known, got in zip(target, share, of_share(target, share), strict=True):
        if math.isnan(wish):
            assert math.isnan(got)
        elif wish == 0:
            assert got == 0
        elif not math.isnan(known):
            assert got == wish * known
        else:
            assert math.isnan(got) if held * wish > 0 else got == 0
        held = held if math.isnan(got) else got
        if wish == wish:
            assert held * wish >= 0  # never against what was last wanted


# Explicit orders that are too fine, too small, or not of this market


def test_an_explicit_order_is_cut_to_whole_lots_and_refused_below_the_least():
    asked = [dict(decided=0, quantity=q) for q in (1.29, 0.05, -0.19)]
    fills, _, book = one(flat(100, 100), Costs(fee_bps=0, lot=0.1, min_notional=20), requests=asked)
    assert fills == [(1, 1.2, 100.0, "order")]
    ended = [(STATUSES[o["status"]], REASONS[o["reason"]]) for o in book.orders[1:3]]
    assert ended == [("rejected", "below the least")] * 2


@pytest.mark.parametrize("wrong", [dict(symbol=-1), dict(oco=-1)], ids=str)
def test_an_order_names_a_symbol_and_a_group(wrong):
    with pytest.raises(ParameterError, match="symbol and oco"):
        order_rows([dict(decided=0, quantity=1.0) | wrong])


def test_what_does_not_fit_the_market_is_refused_before_memory_is_read():
    m, hour = market(*[[100.0] * 3] * 5, HOUR * np.arange(3)), HOUR * np.arange(3)
    for asked in (
        wishes(requests=order_rows([dict(decided=0, quantity=1.0, symbol=1)])),
        wishes(target=[1.0, 1.0]), wishes(target=np.ones((3, 2))), wishes(target=[1.0] * 3, stop_loss=[0.1] * 2),
    ):  # fmt: skip
        with pytest.raises(DataError):
            run_orders(new_book(1000.0, Costs()), m, asked)
    with pytest.raises(DataError, match="the book must have"):
        run_orders(new_book(1000.0, Costs(), 2), m, wishes())
    for volume in ([-1.0, 1, 1], [np.inf, 1, 1]):
        with pytest.raises(DataError, match="volumes"):
            market(*[[100.0] * 3] * 4, volume, hour)
    with pytest.raises(DataError, match="prices"):
        market([np.inf, 1, 1], *[[100.0] * 3] * 4, hour)
    for more in (dict(symbols=2, sequence=[0, 0]), dict(symbols=3, costs=[Costs()] * 2)):
        with pytest.raises(ParameterError, match="symbols need costs"):
            new_book(1000.0, **{"costs": Costs()} | more)


# Price steps


@settings(deadline=None, max_examples=300)
@given(st.integers(1, 10**7), st.sampled_from(["0.01", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "0.00001"]), st.data())
def test_a_price_goes_to_a_step_of_the_venue_and_one_on_a_step_stays(steps, tick, data):
    on = Decimal(tick) * steps
    between = float(on + Decimal(tick) * Decimal(data.draw(st.sampled_from(["0.001", "0.4", "0.5", "0.999"]))))
    for up in (True, False):
        assert on_tick(float(on), float(tick), up) == float(on) == on_tick(float(on) * (1 + 2e-16), float(tick), up)
    assert on_tick(between, float(tick), False) == float(on)
    assert on_tick(between, float(tick), True) == float(on + Decimal(tick))


@pytest.mark.parametrize(
    ("asked", "booked"),
    [
        (dict(quantity=1.0, type="limit", limit=95.3), (95.25, NAN)),  # not dearer than asked
        (dict(quantity=-1.0, type="limit", limit=105.3), (105.5, NAN)),
        (dict(quantity=1.0, type="stop", stop=105.3), (NAN, 105.5)),  # later than asked
        (dict(quantity=-1.0, type="stop", stop=95.3), (NAN, 95.25)),
        (dict(quantity=1.0, type="stop_limit", stop=105.3, limit=106.3), (106.25, 105.5)),
        (dict(quantity=-1.0, type="stop_limit", stop=95.3, limit=94.3), (94.5, 95.25)),
        (dict(quantity=-1.0, type="stop_loss", stop=95.3, reduce_only=True), (NAN, 95.25)),
        (dict(quantity=-1.0, type="take_profit", stop=105.3, reduce_only=True), (NAN, 105.5)),
        (dict(quantity=1.0, type="take_profit", stop=95.3, reduce_only=True), (NAN, 95.25)),
        (dict(quantity=-1.0, type="trailing_stop", trail=0.047), (NAN, 95.25)),
        (dict(quantity=1.0, type="trailing_stop", trail=0.053), (NAN, 105.5)),
        (dict(quantity=1.0, type="limit", limit=95.25), (95.25, NAN)),
    ],
    ids=lambda x: f"{x['type']} {x['quantity']:+.0f}" if isinstance(x, dict) else "",
)
def test_prices_of_orders_are_put_on_the_steps_of_the_venue(asked, booked):
    _, _, book = one(flat(100, 100), Costs(fee_bps=0, tick=0.25), requests=[dict(decided=0, **asked)])
    np.testing.assert_array_equal([book.orders[0]["limit"], book.orders[0]["stop"]], booked)
    _, _, free = one(flat(100, 100), Costs(fee_bps=0), requests=[dict(decided=0, **asked)])
    np.testing.assert_array_equal(free.orders[0]["limit"], asked.get("limit", NAN))


def test_attached_and_trailing_stops_and_limits_of_targets_keep_to_the_steps():
    asked = [dict(decided=0, quantity=1.0, stop_loss=0.047, take_profit=0.053, trailing=0.1)]
    prices = [*flat(100, 100), (100, 104, 100, 104, 1.0), (104, 104, 104, 104, 1.0)]
    _, _, book = one(prices, Costs(fee_bps=0, tick=0.25), requests=asked)
    assert book.orders["stop"][1:4].tolist() == [95.25, 105.5, 93.5]  # 95.3 and 105.3 of 100, and 93.6 of 104
    for target, limit in ((1.0, 95.25), (-1.0, 95.5)):
        m = market(*[[100.0] * 2] * 5, HOUR * np.arange(2))
        book, _ = run_orders(new_book(1000.0, Costs(tick=0.25)), m, wishes([target, NAN], limit=[95.3, NAN]))
        assert book.orders[0]["limit"] == limit


@pytest.mark.parametrize("cents", [3, 6, 15, 10_006])
def test_one_step_through_is_enough_whatever_floats_make_of_it(cents):
    limit, low = cents / 100, (cents - 1) / 100
    prices = [*flat(cents / 100), (limit, limit, low, low, 1.0)]
    asked = [dict(decided=0, quantity=1.0, type="limit", limit=limit)]
    assert one(prices, Costs(fee_bps=0, tick=0.01), requests=asked)[0] == [(1, 1.0, limit, "order")]
    prices = [*flat(limit), (limit, limit, limit, limit, 1.0)]
    assert one(prices, Costs(fee_bps=0, tick=0.01), requests=asked)[0] == []


# Inside one bar


def test_a_trailing_stop_placed_inside_a_bar_does_not_follow_what_came_before_it():
    "A limit order buys at 95 in a bar that began at 120: the stop hangs at 95 less a tenth, not at 120 less a tenth."
    asked = [dict(decided=0, quantity=1.0, type="limit", limit=95.0, trailing=0.1)]
    prices = [*flat(120), (120, 120, 94, 96, 1.0), (97, 98, 96, 97, 1.0), (97, 97, 80, 80, 1.0)]
    assert one(prices, requests=asked)[0] == [(1, 1.0, 95.0, "order"), (3, -1.0, 98 * 0.9, "trailing_stop")]


def test_delayed_stops_and_targets_work_in_order_from_their_first_bar_on():
    asked = [dict(decided=0, quantity=1.0, type="limit", limit=95.0, take_profit=0.1)]
    prices = [*flat(100), (100, 100, 94, 96, 1.0), (96, 110, 96, 100, 1.0)]
    fills, *_ = one(prices, Costs(fee_bps=0, bracket_delay_bars=1), requests=asked)
    assert fills[1] == (2, -1.0, pytest.approx(104.5), "take_profit")


def test_a_stop_nearer_than_the_slippage_fills_at_the_open_not_above_it():
    fills, *_ = one(
        flat(100, 100, 100), Costs(fee_bps=0, slippage_bps=500), target=[0.5, NAN, NAN], stop_loss=[0.01] * 3
    )
    assert [f[3] for f in fills] == ["order", "stop_loss"] and fills[1][2] == pytest.approx(95.0)


def test_a_trailing_purchase_before_the_first_price_waits_for_one():
    x = np.array([[100.0, NAN], [100, 50], [100, 40], [100, 45]])
    m = market(x, x, x, x, np.ones((4, 2)), HOUR * np.arange(4))
    rows = order_rows([dict(decided=0, symbol=1, quantity=1.0, type="trailing_stop", trail=0.1)])
    rows["reduce_only"] = False
    book, _ = run_orders(new_book(1000.0, Costs(fee_bps=0), 2), m, wishes(requests=rows, symbols=2))
    assert [(f["bar"], f["price"]) for f in fills_of(book)] == [(3, 45.0)]


def test_a_bar_whose_volume_is_not_known_fills_nothing_under_a_cap():
    prices = [*flat(100), (100, 100, 100, 100, NAN), *flat(100)]
    fills, *_ = one(prices, Costs(fee_bps=0, participation=0.5), requests=[dict(decided=0, quantity=1.0)])
    assert fills == [(2, 1.0, 100.0, "order")]


# Accounts in trouble


def test_a_symbol_that_dies_keeps_its_last_price_and_its_orders_wait():
    x = np.array([[100.0, 10.0], [100, 10], [100, NAN], [100, NAN]])
    m = market(x, x, x, x, np.ones((4, 2)), HOUR * np.arange(4))
    book, curves = run_orders(
        new_book(1000.0, Costs(fee_bps=0), 2), m, wishes(target=[[NAN, 0.5], [NAN, 0], [NAN, 0], [NAN, 1]])
    )
    assert curves.position[:, 1].tolist() == [0, 50, 50, 50] and curves.equity.tolist() == [1000.0] * 4
    assert book.account[0]["live"] == 1


def test_little_cash_goes_to_the_first_in_the_sequence():
    x = np.full((2, 4), 100.0)
    m, target = market(x, x, x, x, x, HOUR * np.arange(2)), np.full((2, 4), 1.0)
    for sequence in ([0, 1, 2, 3], [2, 0, 1, 3]):
        _, curves = run_orders(new_book(150.0, Costs(fee_bps=0, lot=1), 4, sequence=sequence), m, wishes(target=target))
        assert curves.position[1].nonzero()[0].tolist() == sequence[:1] and curves.cash[1] == 50


@pytest.mark.parametrize("price", [1e-8, 1e7])
def test_extreme_prices_lose_no_money(price):
    target = [1.0, 0.0, -1.0, 0.0, 0.3, 0.0]
    _, equity, book = one([(price,) * 4 + (1.0,)] * 7, Costs(fee_bps=0), target=[*target, NAN])
    assert equity == pytest.approx([1000.0] * 7, rel=1e-12) and len(fills_of(book)) == 6
    assert book.holdings["position"][0] == 0


def test_a_reversal_pays_for_both_halves_and_turns_the_funding():
    funding = [0.0, 0.0, 0.01, 0.01]
    m = market(*[[100.0] * 4] * 5, HOUR * np.arange(4), funding=funding)
    book, curves = run_orders(new_book(1000.0, Costs(fee_bps=10)), m, wishes(target=[0.5, -0.5, NAN, NAN]))
    assert fills_of(book)["quantity"].tolist() == pytest.approx([5.0, -9.9975])
    assert curves.carry.tolist() == pytest.approx([0, 0, 5.0, 5.0 - 4.9975])  # the long pays, the short receives


def test_a_short_that_is_ruined_owes_the_rest_and_trades_no_more():
    prices = [*flat(100, 100), (300, 300, 300, 300, 1.0), *flat(50, 50)]
    fills, equity, book = one(prices, Costs(fee_bps=100), Risk(max_leverage=1.0), target=[-1.0, NAN, NAN, 1.0, 1.0])
    assert [f[3] for f in fills] == ["order", "ruin"] and equity[2] == equity[4] < 0
    assert book.account[0]["halted"] and book.holdings["position"][0] == 0


def test_fill_or_kill_is_not_killed_by_the_last_digit_of_a_position():
    "A position keeps 15 digits: -9.80392156862745 and -5 make -14.8039215686274, 5e-14 less."
    n = 4
    price, volume = np.full((n, 1), 102.0), np.zeros((n, 1))
    m = market(price, price, price, price, volume, np.arange(n) * 3_600_000)
    asked = [dict(decided=0, quantity=-9.80392156862745), dict(decided=1, quantity=-5.0, tif="fok")]
    book, _ = run_orders(new_book(10_000.0, Costs(fee_bps=0)), m, wishes(requests=order_rows(asked)))
    orders = book.orders[:2]
    assert [STATUSES[o["status"]] for o in orders] == ["filled", "filled"] and (orders["reason"] == NONE).all()
