"The paper venue fills as the backtest's loop does, order by order and bar by bar, for all types and times in force."

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import ExchangeError
from rrr.core.trading import Order, OrderStatus, OrderType, Side, TimeInForce
from rrr.engine.exchange import Bar, PaperExchange
from rrr.execution.costs import Costs
from rrr.execution.inputs import market, wishes
from rrr.execution.loop import new_book, run_orders
from rrr.execution.orders import order_rows

D = Decimal
MINUTE = 60_000
BUY, SELL = Side.buy, Side.sell


def order(number, side=BUY, quantity="1", kind=OrderType.market, tif=TimeInForce.gtc, limit=None, stop=None) -> Order:
    limit, stop = (None if x is None else D(str(x)) for x in (limit, stop))
    return Order(f"o{number}", "BTC-USD", side, D(quantity), 0, D(0), kind, "", tif, limit, stop)


def show(venue, *bars):
    "Lead the venue through (open, high, low, close, volume)"
    for k, (open_, high, low, close, volume) in enumerate(bars):
        venue.on_bar(Bar(k * MINUTE, (k + 1) * MINUTE, open_, close, high, low, volume))


@st.composite
def sessions(draw):
    n, price, bars = draw(st.integers(2, 25)), 100, []
    for _ in range(n):
        open_ = max(5, price + draw(st.integers(-6, 6)))
        price = max(5, open_ + draw(st.integers(-6, 6)))
        high, low = max(open_, price) + draw(st.integers(0, 4)), min(open_, price) - draw(st.integers(0, 4))
        bars.append((open_, high, max(1, low), price, draw(st.sampled_from([0, 20, 500]))))
    asked, level = [], st.integers(80, 120)
    for number in range(draw(st.integers(0, 10))):
        kind = draw(st.sampled_from(list(OrderType)))
        limit = draw(level) if kind in ("limit", "stop_limit") else None
        stop = draw(level) if kind not in ("market", "limit") else None
        side, tif = draw(st.sampled_from([BUY, SELL])), draw(st.sampled_from(list(TimeInForce)))
        quantity = draw(st.sampled_from(["1", "2.5", "8", "40", "0.3"]))
        asked.append((draw(st.integers(0, n - 2)), order(number, side, quantity, kind, tif, limit, stop)))
    costs = Costs(
        fee_bps=draw(st.sampled_from([0, 10, 100])), maker_bps=draw(st.sampled_from([None, 0, 2])),
        slippage_bps=draw(st.sampled_from([0, 5])), root_impact=draw(st.sampled_from([0, 0.5])),
        participation=draw(st.sampled_from([0, 0.1])), lot=draw(st.sampled_from([0, 0.1])),
        tick=draw(st.sampled_from([0, 1])), latency_bars=draw(st.sampled_from([0, 0, 1])),
    )  # fmt: skip
    return bars, sorted(asked, key=lambda x: x[0]), costs, draw(st.sampled_from([D(1000), D("99999.99")]))


@settings(deadline=None, max_examples=150)
@given(sessions())
def test_the_venue_and_the_loop_fill_alike(session):
    bars, asked, costs, cash = session
    venue = PaperExchange("BTC-USD", cash, costs)
    for t, bar in enumerate(bars):
        show_at = Bar(t * MINUTE, (t + 1) * MINUTE, bar[0], bar[3], bar[1], bar[2], bar[4])
        venue.on_bar(show_at)
        for _, o in (x for x in asked if x[0] == t):
            venue.submit(o)
    rows = [
        dict(decided=t, quantity=float(o.signed_quantity), type=o.order_type.value, tif=o.time_in_force.value,
             reduce_only=o.side == SELL) | {k: float(x) for k, x in (("limit", o.limit_price), ("stop", o.stop_price)) if x}
        for t, o in asked
    ]  # fmt: skip
    m = market(*np.array(bars, dtype=float).T, MINUTE * np.arange(len(bars)))
    book, curves = run_orders(new_book(float(cash), costs), m, wishes(requests=order_rows(rows)))
    fills, told = book.fills[: book.account[0]["fills"]], venue.fills_since(0)
    names = [asked[k][1].order_id for k in fills["order"]]
    assert [(f.order_id, f.time_ms // MINUTE) for f in told] == list(zip(names, fills["bar"].tolist(), strict=True))
    assert [float(f.signed_quantity) for f in told] == pytest.approx(fills["quantity"].tolist(), rel=1e-12)
    assert [float(f.price) for f in told] == fills["price"].tolist()
    assert [float(f.fee) for f in told] == fills["fee"].tolist()
    assert {k: float(x) for k, x in venue.balances().items()} == {
        "BTC": curves.position[-1, 0], "USD": curves.cash[-1],
    }  # fmt: skip
    open_ = [asked[k][1].order_id for k in book.live[: book.account[0]["live"]]]
    assert [o.order_id for o in venue.open_orders()] == open_
    money = cash - sum((f.value if f.side == BUY else -f.value) + f.fee for f in told)
    assert venue.balances()["USD"] == money and sum(f.signed_quantity for f in told) == venue.balances()["BTC"]
    filled = {f.order_id for f in told}
    assert set(venue.dropped_orders()) == {o.order_id for _, o in asked} - filled - set(open_)


def test_a_venue_that_lends_nothing_sells_what_is_held():
    venue = PaperExchange("BTC-USD", D(1000), Costs(fee_bps=0))
    venue.submit(order(1, SELL, "2"))
    show(venue, (100, 100, 100, 100, 9))
    assert venue.dropped_orders() == {"o1": (OrderStatus.rejected, "1000 USD and 0 BTC afford nothing")}
    venue.submit(order(2, BUY, "3"))
    show(venue, (100, 100, 100, 100, 9))
    venue.submit(order(3, SELL, "5"))
    show(venue, (110, 110, 110, 110, 9))
    assert venue.balances() == {"BTC": 0, "USD": 1030}


@pytest.mark.parametrize(
    ("kind", "limit", "stop", "price"),
    [
        (OrderType.limit, 104, None, 104),
        (OrderType.stop, None, 97, 97),
        (OrderType.stop_limit, 96, 97, 97),
        (OrderType.stop_loss, None, 97, 97),
        (OrderType.take_profit, None, 104, 104),
        (OrderType.limit, 90, None, 100),
        (OrderType.stop, None, 103, 100),
    ],
)
def test_every_type_sells_at_its_price(kind, limit, stop, price):
    venue = PaperExchange("BTC-USD", D(1000), Costs(fee_bps=0))
    venue.submit(order(1, BUY, "2"))
    show(venue, (100, 100, 100, 100, 9))
    venue.submit(order(2, SELL, "2", kind, limit=limit, stop=stop))
    show(venue, (100, 105, 95, 100, 9))
    assert [(f.order_id, f.price) for f in venue.fills_since(1)] == [("o2", price)]


def test_a_day_order_ends_with_its_day_and_says_so():
    venue = PaperExchange("BTC-USD", D(1000), Costs())
    venue.submit(order(1, BUY, "1", OrderType.limit, TimeInForce.day, limit=50))
    day = 86_400_000
    for ms in (0, MINUTE, day):
        venue.on_bar(Bar(ms, ms + MINUTE, 100.0, 100.0))
    assert venue.open_orders() == [] and venue.dropped_orders() == {"o1": (OrderStatus.cancelled, "time in force")}


def test_an_order_that_waits_can_be_cancelled_once():
    venue = PaperExchange("BTC-USD", D(1000), Costs())
    venue.submit(order(1, BUY, "1", OrderType.limit, limit=50))
    venue.submit(order(2, BUY, "1"))
    assert venue.cancel("o1") and not venue.cancel("o1") and not venue.cancel("o9")
    show(venue, (40, 40, 40, 40, 9))
    assert [f.order_id for f in venue.fills_since(0)] == ["o2"] and not venue.cancel("o2")


def test_what_is_too_small_is_refused():
    venue = PaperExchange("BTC-USD", D(1000), Costs(lot=0.1, min_notional=20))
    with pytest.raises(ExchangeError, match="o1: a quantity of 0.05 is less than a lot of 0.1"):
        venue.submit(order(1, BUY, "0.05"))
    show(venue, (100, 100, 100, 100, 9))
    with pytest.raises(ExchangeError, match="o2: it is worth 10, less than 20"):
        venue.submit(order(2, BUY, "0.19"))
    venue.submit(order(3, BUY, "0.29"))
    show(venue, (100, 100, 100, 100, 9))
    assert venue.fills_since(0)[0].quantity == D("0.2")


@pytest.mark.parametrize(
    ("kind", "prices", "message"),
    [
        (OrderType.limit, {}, "needs a limit_price"),
        (OrderType.market, dict(limit=1), "has no limit_price"),
        (OrderType.stop_limit, dict(limit=1), "needs a stop_price"),
        (OrderType.limit, dict(limit=1, stop=1), "has no stop_price"),
        (OrderType.stop, dict(stop=0), "stop_price 0 must be a positive number"),
        (OrderType.limit, dict(limit="NaN"), "limit_price NaN must be a positive number"),
    ],
)
def test_an_order_has_the_prices_of_its_type(kind, prices, message):
    with pytest.raises(ExchangeError, match=message):
        order(1, BUY, "1", kind, **prices)
