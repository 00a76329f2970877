"The general loop does what a slow, obvious account does, and keeps its promises about money, time and symmetry."

import numpy as np
import pytest
from execution_reference import Reference
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import DataError, ParameterError
from rrr.execution.costs import Costs, cost_table, tier_table
from rrr.execution.inputs import market, wishes
from rrr.execution.kernel import new_trader, run_targets
from rrr.execution.loop import new_book, run_orders, step_bar
from rrr.execution.orders import FILL, FILL_REASONS, ORDER, REASONS, STATUSES, order_rows
from rrr.execution.risk import Risk
from rrr.execution.sizing import Sizing

NAN = float("nan")
HOUR = 3_600_000
MANY = settings(deadline=None, max_examples=60)
TICKS = st.integers(-6, 6)
TARGET = st.sampled_from([NAN, NAN, NAN, 0.0, 0.5, 1.0, -0.5, -1.0, 0.3])


@st.composite
def bars(draw, n, symbols, gaps=True):
    "Bars on a grid of whole prices, so that levels are touched exactly; shape (n, symbols, 5)"
    out = np.full((n, symbols, 5), NAN)
    for s in range(symbols):
        price = draw(st.sampled_from([40, 100]))
        for t in range(n):
            open_ = max(5, price + draw(TICKS))
            close = max(5, open_ + draw(TICKS))
            high = max(open_, close) + draw(st.integers(0, 4))
            low = max(1, min(open_, close) - draw(st.integers(0, 4)))
            out[t, s] = open_, high, low, close, draw(st.sampled_from([0.0, 20.0, 500.0]))
            price = close
            if gaps and t and draw(st.integers(0, 9)) == 0:
                out[t, s] = NAN
    return out


COSTS = st.builds(
    Costs,
    fee_bps=st.sampled_from([0.0, 10.0, 100.0]),
    maker_bps=st.sampled_from([None, 0.0, -1.0, 2.0]),
    slippage_bps=st.sampled_from([0.0, 5.0]),
    spread_bps=st.sampled_from([0.0, 3.0]),
    volume_impact=st.sampled_from([0.0, 0.1]),
    root_impact=st.sampled_from([0.0, 0.5]),
    participation=st.sampled_from([0.0, 0.0, 0.1]),
    lot=st.sampled_from([0.0, 1.0, 0.1]),
    min_notional=st.sampled_from([0.0, 0.0, 50.0]),
    tick=st.sampled_from([0.0, 1.0]),
    latency_bars=st.sampled_from([0, 0, 1, 2]),
    bracket_delay_bars=st.sampled_from([0, 0, 1]),
    borrow_bps_year=st.sampled_from([0.0, 100_000.0]),
)
RISK = st.builds(
    Risk,
    max_leverage=st.sampled_from([1.0, 1.0, 0.5, 3.0]),
    max_position=st.sampled_from([0.0, 0.0, 0.4]),
    max_daily_loss=st.sampled_from([0.0, 0.0, 0.05]),
    max_drawdown=st.sampled_from([0.0, 0.0, 0.2]),
    cooldown_bars=st.sampled_from([0, 3]),
    guard_stops=st.sampled_from([0, 1, 2]),
    guard_window_bars=st.just(6),
    guard_bars=st.just(4),
)
TIERS = st.sampled_from([(), ((0, 5, 20), (3000, 1, 10))])
KINDS = ("market", "limit", "stop", "stop_limit", "stop_loss", "take_profit", "trailing_stop")


@st.composite
def requests(draw, n, symbols):
    out = []
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(KINDS))
        o = dict(decided=draw(st.integers(0, n - 1)), symbol=draw(st.integers(0, symbols - 1)), type=kind)
        o["quantity"] = draw(st.sampled_from([-5.0, -2.0, 1.0, 3.0, 8.0]))
        o["tif"] = draw(st.sampled_from(["gtc", "gtc", "ioc", "fok", "day"]))
        level = st.integers(30, 120).map(float)
        if kind in ("limit", "stop_limit"):
            o["limit"] = draw(level)
        if kind in ("stop", "stop_limit", "stop_loss", "take_profit"):
            o["stop"] = draw(level)
        if kind == "trailing_stop":
            o["trail"] = draw(st.sampled_from([0.02, 0.1]))
        o["reduce_only"] = draw(st.booleans()) if kind in ("market", "limit") else KINDS.index(kind) >= 4
        o["oco"] = draw(st.sampled_from([0, 0, 1, 2]))
        for name in ("stop_loss", "take_profit", "trailing"):
            o[name] = draw(st.sampled_from([0.0, 0.0, 0.05]))
        out.append(o)
    return sorted(out, key=lambda o: o["decided"])


@st.composite
def worlds(draw, symbols=None, n=None):
    symbols, n = symbols or draw(st.integers(1, 3)), n or draw(st.integers(2, 40))
    w = dict(bars=draw(bars(n, symbols)), costs=draw(COSTS), risk=draw(RISK), tiers=draw(TIERS))
    w["targets"] = np.array(
        draw(st.lists(st.lists(TARGET, min_size=symbols, max_size=symbols), min_size=n, max_size=n))
    )
    share = st.sampled_from([0.0, 0.0, 0.03, 0.06])
    w["brackets"] = draw(st.tuples(share, share, share))
    w["limits"] = draw(st.sampled_from([None, 0.99]))
    w["requests"] = draw(requests(n, symbols))
    w["funding"] = np.array(draw(st.sampled_from([0.0, 0.0, 0.001, -0.002]))) * np.ones((n, symbols))
    w["step_ms"], w["capital"] = draw(st.sampled_from([HOUR, 6 * HOUR])), 10_000.0
    w["stake"] = draw(st.sampled_from([0.0, 0.0, 2000.0]))
    return w


def inputs(w, order=None, scale=1.0):
    "Market and wishes, columns in `order`, prices times `scale`"
    b = w["bars"] if order is None else w["bars"][:, order]
    n, symbols = b.shape[:2]
    times = w["step_ms"] * np.arange(n)
    o, h, low, c = (b[:, :, k] * scale for k in range(4))
    m = market(o, h, low, c, b[:, :, 4] / scale, times, funding=w["funding"])
    targets = w["targets"] if order is None else w["targets"][:, order]
    shares = [np.full((n, symbols), x) for x in w["brackets"]]
    limit = None if w["limits"] is None else c * w["limits"]
    rows = order_rows(w["requests"])
    if order is not None:
        rows["symbol"] = np.argsort(order)[rows["symbol"]]
    for name in ("limit", "stop"):
        rows[name] *= scale
    rows["quantity"] /= scale
    return m, wishes(targets, limit, *shares, requests=rows)


def account(w, sequence=None, scale=1.0, room=256):
    sizing = Sizing("cash", cash=w["stake"]) if w["stake"] else None
    costs = w["costs"]
    return new_book(
        w["capital"], costs, w["bars"].shape[1], w["step_ms"], w["tiers"], w["risk"], sizing, sequence, room
    )


def by_reference(w):
    r = Reference(w["capital"], w["costs"], w["bars"].shape[1], w["step_ms"], w["tiers"], w["risk"], w["stake"])
    equity, cash, position = [], [], []
    for t, row in enumerate(w["bars"]):
        bar = [None if np.isnan(x[0]) else tuple(x.tolist()) for x in row]
        asked = []
        for o in w["requests"]:
            if o["decided"] == t:
                given = {k: v for k, v in o.items() if k not in ("decided", "stop_loss", "take_profit", "trailing")}
                given["oco"] = given["oco"] or None
                asked.append(given | dict(brackets=(o["stop_loss"], o["take_profit"], o["trailing"])))
        limits = None if w["limits"] is None else [x and x[3] * w["limits"] for x in bar]
        targets, funding = w["targets"][t].tolist(), w["funding"][t].tolist()
        r.step(bar, t * w["step_ms"], targets, asked, funding, (), w["brackets"], limits)
        cash.append(r.cash), equity.append(r.equity), position.append(list(r.position))
    return r, np.array(cash), np.array(equity), np.array(position)


def fills_of(book):
    return book.fills[: book.account[0]["fills"]]


@settings(deadline=None, max_examples=150)
@given(worlds())
def test_the_loop_does_what_the_reference_does(w):
    r, cash, equity, position = by_reference(w)
    book, curves = run_orders(account(w), *inputs(w))
    fills = fills_of(book)
    assert [(f["order"], f["bar"], f["symbol"], FILL_REASONS[f["reason"]], f["maker"]) for f in fills] == [
        (f[0], f[1], f[2], f[8], f[7]) for f in r.fills
    ]
    for name, k in (("quantity", 3), ("price", 4), ("fee", 5), ("slippage", 6)):
        np.testing.assert_allclose(fills[name], [f[k] for f in r.fills], rtol=1e-9, atol=1e-9)
    scale = np.abs(equity).max() + 1
    for mine, theirs in ((curves.cash, cash), (curves.equity, equity), (curves.position, position)):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12 * scale)
    orders = book.orders[: book.account[0]["orders"]]
    assert [STATUSES[o["status"]] for o in orders] == [o.status for o in r.tickets]
    np.testing.assert_allclose(orders["filled"], [o.filled for o in r.tickets], rtol=1e-9)
    assert (book.account[0]["halted"], book.account[0]["stops"]) == (r.halted, len(r.stops))


@MANY
@given(worlds())
def test_money_is_conserved_at_every_bar(w):
    "Equity changes by what positions gained, less fees, slippage, funding and interest, and by nothing else."
    m, asked = inputs(w)
    book, curves = run_orders(account(w), m, asked)
    fills, equity, carry, gross = fills_of(book), w["capital"], 0.0, np.abs(curves.equity).max() + 1
    mark, held = np.zeros(m.close.shape[1]), np.zeros(m.close.shape[1])
    for t in range(len(m.close)):
        mine = fills[fills["bar"] == t]
        close = np.where(np.isnan(m.close[t]), mark, m.close[t])
        reference = mine["price"] - mine["slippage"] / mine["quantity"]
        gained = (held * (close - mark)).sum() + (mine["quantity"] * (close[mine["symbol"]] - reference)).sum()
        equity += gained - mine["fee"].sum() - mine["slippage"].sum() - (curves.carry[t] - carry)
        np.testing.assert_allclose(curves.equity[t], equity, atol=1e-9 * gross)
        np.testing.assert_allclose(curves.equity[t], curves.cash[t] + curves.position[t] @ close, atol=1e-9 * gross)
        mark, held, carry = close, curves.position[t], curves.carry[t]
    a = book.account[0]
    assert a["fees"] == pytest.approx(fills["fee"].sum()) and a["slippage"] == pytest.approx(fills["slippage"].sum())


@MANY
@given(worlds(), st.integers(1, 39))
def test_a_history_split_at_any_bar_and_carried_on_is_the_same_to_the_bit(w, cut):
    cut = min(cut, len(w["bars"]) - 1)
    m, asked = inputs(w)
    whole, curves = run_orders(account(w), m, asked)
    first, second = ([x[part] if len(x) == len(m.close) else x for x in m] for part in (np.s_[:cut], np.s_[cut:]))
    early, late = (
        [x[part] if len(x) == len(m.close) else x for x in asked[:-1]] for part in (np.s_[:cut], np.s_[cut:])
    )
    rows = asked.requests
    book, before = run_orders(account(w), type(m)(*first), type(asked)(*early, rows))
    book, after = run_orders(book, type(m)(*second), type(asked)(*late, rows))
    for name in curves._fields:
        np.testing.assert_array_equal(
            np.concatenate([getattr(before, name), getattr(after, name)]), getattr(curves, name)
        )
    assert fills_of(book).tobytes() == fills_of(whole).tobytes()


@MANY
@given(worlds())
def test_bar_by_bar_is_the_same_as_all_at_once(w):
    "Also where nothing happens, which the loop runs through by a shorter way."
    m, asked = inputs(w)
    whole, curves = run_orders(account(w, room=1), m, asked)
    book = account(w, room=2000)
    for t in range(len(m.close)):
        step_bar(book, m, asked, t)
        assert book.account[0]["equity"] == curves.equity[t] and book.account[0]["cash"] == curves.cash[t]
    assert fills_of(book).tobytes() == fills_of(whole).tobytes()
    assert book.account.tobytes() == whole.account.tobytes()
    for name in ("position", "mark", "close", "standing", "entry", "variance", "cooled_at"):
        np.testing.assert_array_equal(book.holdings[name], whole.holdings[name])


@MANY
@given(worlds(symbols=3), st.permutations([0, 1, 2]))
def test_the_order_of_the_columns_changes_nothing(w, order):
    order = np.array(order)
    _, curves = run_orders(account(w), *inputs(w))
    _, moved = run_orders(account(w, sequence=np.argsort(order)), *inputs(w, order))
    np.testing.assert_array_equal(moved.position, curves.position[:, order])
    np.testing.assert_array_equal(moved.equity, curves.equity)


@MANY
@given(worlds(), st.sampled_from([0.25, 4.0, 1024.0]))
def test_prices_in_another_unit_trade_the_same_money(w, scale):
    "Powers of two, so that no digit moves; without lots, ticks and caps, where one digit decides."
    plain = {**w["costs"].__dict__, "lot": 0.0, "tick": 0.0, "participation": 0.0}
    w = w | dict(costs=Costs(**plain))
    _, curves = run_orders(account(w), *inputs(w))
    _, scaled = run_orders(account(w), *inputs(w, scale=scale))
    size = 1e-9 * np.abs(curves.equity).max() + 1e-9
    np.testing.assert_allclose(scaled.equity, curves.equity, atol=size)
    np.testing.assert_allclose(scaled.position * scale, curves.position, rtol=1e-9, atol=1e-9)


def test_orders_on_their_way_leave_no_last_digit_behind():
    "A closing order decided while two others are on their way; the digit it left was closed by a trailing stop once."
    targets, costs = np.array([-1.0, 0.0, 0.5, 0.0] + [NAN] * 6), Costs(fee_bps=10, latency_bars=2)
    m = market(*([np.full(10, 10.0)] * 4), np.zeros(10), HOUR * np.arange(10))
    book, curves = run_orders(new_book(10_000.0, costs, 1, HOUR), m, wishes(targets))
    assert len(fills_of(book)) == 4 and curves.position[-1, 0] == 0.0


@settings(deadline=None, max_examples=80)
@given(worlds(symbols=1))
def test_the_fast_loop_is_the_general_one_where_both_apply(w):
    keep = ("fee_bps", "slippage_bps", "lot", "min_notional")
    costs = Costs(**{k: v for k, v in w["costs"].__dict__.items() if k in keep})
    w = w | dict(costs=costs, risk=Risk(max_leverage=w["risk"].max_leverage), tiers=(), requests=[], stake=0.0)
    w |= dict(brackets=(0.0, 0.0, 0.0), limits=None, funding=0 * w["funding"])
    w["bars"] = w["bars"][~np.isnan(w["bars"][:, 0, 0])]
    w["targets"], w["funding"] = w["targets"][: len(w["bars"])], w["funding"][: len(w["bars"])]
    m, asked = inputs(w)
    book, curves = run_orders(account(w), m, asked)
    n, trader = len(m.close), new_trader(w["capital"])
    cash, position, equity = np.empty(n), np.empty(n), np.empty(n)
    columns = (np.ascontiguousarray(x[:, 0]) for x in (m.open, m.close, asked.target))
    orders, fills = run_targets(
        *columns, cost_table(costs), w["risk"].max_leverage, trader, np.empty(2, ORDER), np.empty(2, FILL), cash,
        position, equity,
    )  # fmt: skip
    np.testing.assert_array_equal(cash, curves.cash)
    np.testing.assert_array_equal(position, curves.position[:, 0])
    np.testing.assert_array_equal(equity, curves.equity)
    assert fills[: trader[0]["fills"]].tobytes() == fills_of(book).tobytes()
    theirs = book.orders[: book.account[0]["orders"]]
    for name in ("id", "decided", "quantity", "target", "filled", "price", "value", "fee"):
        np.testing.assert_array_equal(orders[: trader[0]["orders"]][name], theirs[name])


def test_ruin_is_booked_by_the_fast_loop_as_by_the_general_one():
    ruined = 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        close = rng.uniform(1e-3, 1e3) * np.cumprod(1 + rng.normal(0.1, 0.3, 30).clip(-0.9))
        costs, target, none = (
            Costs(fee_bps=35),
            np.where(rng.random(30) < 0.3, rng.choice([-1.0, 1.0], 30), NAN),
            np.zeros(30),
        )
        m = market(close, close, close, close, none, HOUR * np.arange(30))
        book, curves = run_orders(new_book(1000.0, costs, 1, HOUR, risk=Risk(max_leverage=3.0)), m, wishes(target))
        trader, cash, logs = new_trader(1000.0), np.empty(30), (np.empty(2, ORDER), np.empty(2, FILL))
        _, fills = run_targets(close, close, target, cost_table(costs), 3.0, trader, *logs, cash, none[:0], none[:0])
        assert fills[: trader[0]["fills"]].tobytes() == fills_of(book).tobytes()
        np.testing.assert_array_equal(cash, curves.cash)
        ruined += trader[0]["ruined"]
    assert 20 < ruined < 80


# Cases by hand


def one(prices, costs=None, risk=None, detail=None, **asked):
    "Run bars of (open, high, low, close, volume) of one symbol on 1000 of cash; the fills and the equity"
    bars_, n = np.array(prices, dtype=float), len(prices)
    m = market(*bars_.T, HOUR * np.arange(n), detail=detail, step_ms=HOUR)
    asked["requests"] = order_rows(asked.get("requests", []))
    book, curves = run_orders(new_book(1000.0, costs or Costs(fee_bps=0), 1, HOUR, risk=risk), m, wishes(**asked))
    rows = [(int(f["bar"]), float(f["quantity"]), float(f["price"]), FILL_REASONS[f["reason"]]) for f in fills_of(book)]
    return rows, curves.equity.tolist(), book


def flat(*closes, volume=1000.0):
    return [(c, c, c, c, volume) for c in closes]


def test_a_stop_comes_before_a_target_unless_finer_bars_decide():
    prices = [*flat(100, 100), (100, 112, 94, 99, 1000.0)]
    asked = dict(target=[1.0, 1, 1], stop_loss=[0.05] * 3, take_profit=[0.1] * 3)
    assert one(prices, **asked)[0][1] == (2, -10.0, 95.0, "stop_loss")
    fine = ([100.0, 108], [112.0, 108], [100.0, 94], [9.0, 9], [2 * HOUR, 2 * HOUR + 60_000])
    assert one(prices, detail=fine, **asked)[0][1] == (2, -10.0, pytest.approx(110.0), "take_profit")


def test_a_gap_fills_at_the_open():
    prices = [*flat(100, 100), (80, 82, 79, 81, 1000.0)]
    assert one(prices, target=[1.0, 1, 1], stop_loss=[0.05] * 3)[0][1] == (2, -10.0, 80.0, "stop_loss")


def test_a_stop_and_an_exit_in_one_bar_sell_once():
    prices = [*flat(100, 100), (80, 82, 79, 81, 1000.0)]
    fills, _, book = one(prices, target=[1.0, 0, 0], stop_loss=[0.05] * 3)
    assert len(fills) == 2 and book.holdings["position"][0] == 0


@pytest.mark.parametrize(("low", "filled"), [(94.99, True), (95.0, False), (96.0, False)])
def test_a_limit_must_be_traded_through_by_a_tick(low, filled):
    prices = [*flat(100), (100, 100, low, 100, 1000.0)]
    asked = [dict(decided=0, quantity=1.0, type="limit", limit=95.0)]
    assert one(prices, Costs(fee_bps=0, tick=0.01), requests=asked)[0] == ([(1, 1.0, 95.0, "order")] if filled else [])


def test_a_limit_that_the_open_has_passed_fills_at_the_open():
    asked = [dict(decided=0, quantity=1.0, type="limit", limit=95.0)]
    assert one([*flat(100), (90, 91, 89, 90, 1000.0)], requests=asked)[0] == [(1, 1.0, 90.0, "order")]


@pytest.mark.parametrize(("tif", "quantities"), [("gtc", [2.0, 2.0, 1.0]), ("ioc", [2.0]), ("fok", [])])
def test_a_participation_cap_fills_in_parts(tif, quantities):
    asked = [dict(decided=0, quantity=5.0, tif=tif)]
    fills, _, book = one(flat(100, 100, 100, 100, volume=20.0), Costs(fee_bps=0, participation=0.1), requests=asked)
    assert [f[1] for f in fills] == quantities


def test_a_day_order_ends_with_its_day():
    asked = [dict(decided=22, quantity=1.0, type="limit", limit=95.0, tif="day")]
    _, _, book = one([*flat(*[100] * 24), (90, 90, 90, 90, 1.0)], requests=asked)
    assert STATUSES[book.orders[0]["status"]] == "expired" and REASONS[book.orders[0]["reason"]] == "time in force"


def test_one_of_two_siblings_fills():
    asked = [
        dict(decided=0, quantity=1.0, type="stop", stop=105.0, oco=1),
        dict(decided=0, quantity=-1.0, type="stop", stop=95.0, oco=1),
    ]
    fills, _, book = one([*flat(100), (100, 106, 100, 106, 1.0), (90, 90, 90, 90, 1.0)], requests=asked)
    assert fills == [(1, 1.0, 105.0, "order")] and STATUSES[book.orders[1]["status"]] == "cancelled"


def test_a_trailing_stop_follows_the_high_of_closed_bars():
    prices = [*flat(100, 100), (100, 120, 100, 119, 1.0), (115, 116, 107, 110, 1.0)]
    assert one(prices, target=[1.0] * 4, trailing=[0.1] * 4)[0][1] == (3, -10.0, 108.0, "trailing_stop")


def test_a_short_at_twice_the_price_is_ruin():
    fills, equity, book = one(flat(100, 100, 210, 50), target=[-1.0, -1, -1, 1])
    assert fills[-1][3] == "ruin" and equity[-2:] == [-100.0, -100.0] and book.account[0]["halted"]


def test_a_drawdown_stop_sells_at_the_next_open_and_ends_trading():
    fills, equity, _ = one(flat(100, 100, 85, 84, 100), risk=Risk(max_drawdown=0.1), target=[1.0, 1, 1, 1, 0.5])
    assert fills[1] == (3, -10.0, 84.0, "risk") and len(fills) == 2


def test_funding_is_paid_by_longs_and_interest_by_shorts():
    m = market(*[[100.0] * 3] * 4, [1.0] * 3, HOUR * np.arange(3), funding=[0.0, 0.0, 0.01])
    _, curves = run_orders(new_book(1000.0, Costs(fee_bps=0)), m, wishes(target=[1.0, 1, 1]))
    assert curves.equity.tolist() == [1000, 1000, 990] and curves.carry.tolist() == [0, 0, 10]
    year = 365 * 24
    book, curves = run_orders(
        new_book(1000.0, Costs(fee_bps=0, borrow_bps_year=100 * year), step_ms=HOUR), m._replace(funding=np.empty((0, 1))),
        wishes(target=[-1.0, -1, -1]),
    )  # fmt: skip
    assert curves.equity.tolist() == [1000, 1000, 990]


def test_tiers_lower_the_fee_from_the_next_day_on():
    m = market(*[[100.0] * 30] * 4, [1.0] * 30, HOUR * np.arange(30))
    asked = wishes(requests=order_rows([dict(decided=t, quantity=1.0) for t in (0, 1, 25)]))
    book, _ = run_orders(new_book(1000.0, Costs(), tiers=((0, 5, 20), (150, 1, 10))), m, asked)
    assert fills_of(book)["fee"].tolist() == [0.2, 0.2, 0.1]


# Refusals


@pytest.mark.parametrize("tiers", [((5, 1, 2),), ((0, 1, 2), (0, 1, 2)), ((0, 1, -2),), ((0, 1, 20_000),)])
def test_tiers_that_make_no_sense_are_refused(tiers):
    with pytest.raises(ParameterError, match="tier"):
        tier_table(tiers)


@pytest.mark.parametrize(
    "order",
    [dict(type="limit"), dict(type="stop", stop=-1.0), dict(quantity=0.0), dict(type="x"), dict(colour=1)],
    ids=str,
)
def test_orders_that_make_no_sense_are_refused(order):
    with pytest.raises(ParameterError):
        order_rows([dict(decided=0, quantity=1.0) | order])


def test_bars_that_the_loop_cannot_trust_are_refused():
    good = [np.ones(3)] * 5
    for wrong in ([np.zeros(3), *good[1:]], [np.array([1, NAN, 1]), *good[1:]], [np.ones(2), *good[1:]]):
        with pytest.raises(DataError):
            market(*wrong, np.arange(3))
    with pytest.raises(DataError):
        market(*good, np.array([0, 0, 1]))


@pytest.mark.parametrize("field", [f for f in Risk.__dataclass_fields__])
def test_risk_refuses_what_is_no_number_from_zero_on(field):
    for value in (-1, NAN, "1", True):
        with pytest.raises(ParameterError, match=field):
            Risk(**{field: value})
