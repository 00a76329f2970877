"The engine books what the venue did and nothing else, stops when they disagree, and says how every order ended."

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from books import Crash, add_symbols, check_account, crash_at, snapshots
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markets import frame, walk, wanting
from stores import dump

from rrr.core.errors import DataError, ExchangeError, ParameterError
from rrr.core.trading import Fill, Order, OrderStatus, OrderType, Portfolio, Position, Side, TimeInForce
from rrr.engine.engine import FLUSH, Books, Engine, order_id
from rrr.engine.exchange import Bar, PaperExchange
from rrr.engine.replay import replay
from rrr.execution.costs import Costs
from rrr.store import accounts, runs
from rrr.store.bars import epoch_ms
from rrr.store.db import Database

D = Decimal
HOUR = 3_600_000
START = datetime(2024, 1, 1, tzinfo=UTC)
SYMBOL = "TEST-USD"


@pytest.fixture
def db(db):
    add_symbols(db, SYMBOL)
    return db


class Session:
    "An engine on the paper venue, led bar by bar"

    def __init__(self, db: Database, targets: list, bars=None, capital="1000", costs=None, venue=PaperExchange):
        self.bars = walk(len(targets) + 1) if bars is None else bars
        self.opens = epoch_ms(self.bars.index).tolist()
        self.db, costs = db, costs or Costs()
        self.venue = venue(SYMBOL, D(capital), costs)
        self.books = Books(db, "session", SYMBOL, D(capital), self.opens[0])
        self.engine = Engine(wanting(targets), {}, self.venue, costs, self.books)
        self.at = 0

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            i, self.at = self.at, self.at + 1
            bar = Bar(
                self.opens[i], self.opens[i] + HOUR, float(self.bars.open.iloc[i]), float(self.bars.close.iloc[i])
            )
            self.venue.on_bar(bar)
            self.engine.on_bar(bar, self.bars.iloc[: i + 1])

    def orders(self) -> list[dict]:
        return accounts.list_orders(self.db, "session")[1]


def sessions(db: Database) -> list[str]:
    return [name for name in accounts.list_accounts(db) if name.startswith("replay-")]


# What the venue says


def test_a_fill_that_nobody_awaits_stops_the_engine_and_is_not_booked(db):
    s = Session(db, [1.0, 1.0, 0.0])
    s.step(2)
    before = dump(db)
    s.venue.submit(Order("foreign", SYMBOL, Side.sell, D("0.5"), 0, D(0)))
    with pytest.raises(ExchangeError, match="reports fill 00000002 of order foreign, which our books do not await"):
        s.step()
    assert dump(db) == before


def test_a_fill_told_twice_stops_the_engine(db):
    class Repeating(PaperExchange):
        def fills_since(self, seen):
            return self._fills[max(0, seen - 1) :]

    s = Session(db, [1.0, 1.0, 1.0], venue=Repeating)
    s.step(2)
    with pytest.raises(ExchangeError, match="do not await"):
        s.step()
    assert accounts.list_fills(db, "session")[0] == 1


@pytest.mark.parametrize("currency", ["TEST", "USD"])
def test_balances_that_differ_from_our_books_stop_the_engine(db, currency):
    class Leaking(PaperExchange):
        leak = D(0)

        def balances(self):
            told = super().balances()
            return told | {currency: told[currency] - self.leak}

    s = Session(db, [1.0, 1.0, 1.0], venue=Leaking)
    s.step(2)
    s.venue.leak = D("1e-18")
    with pytest.raises(ExchangeError, match="our books say .*, the venue says .*Trading stopped"):
        s.step()


def test_a_currency_that_the_venue_does_not_name_is_none_of_it(db):
    class Silent(PaperExchange):
        def balances(self):
            return {k: v for k, v in super().balances().items() if v}

    s = Session(db, [0.0, 1.0, 1.0], venue=Silent)
    s.step(3)
    assert [o["status"] for o in s.orders()] == ["filled"]


# How an order ends


def test_an_order_that_the_venue_refuses_is_recorded_with_its_reason(db):
    class Refusing(PaperExchange):
        def submit(self, order):
            raise ExchangeError("the market is closed.")

    s = Session(db, [1.0, 1.0], venue=Refusing)
    s.step(2)
    (order,) = s.orders()
    assert (order["status"], order["reason"]) == ("rejected", "the market is closed.")
    assert order["cancelled_at"] is order["filled_at"] is None and order["filled_quantity"] == 0
    s.books.flush()
    assert accounts.list_fills(db, "session")[0] == 0 and accounts.last_snapshot(db, "session")["cash"] == D(1000)
    check_account(db, "session")


def test_an_order_that_cash_does_not_afford_any_more_is_rejected(db):
    "A lot costs 100 at the decision and 2000 at the next open."
    bars = frame([100.0, 2000.0, 100.0], [100.0, 2000.0, 100.0])
    s = Session(db, [1.0, 1.0, 1.0], bars=bars, costs=Costs(lot=1.0))
    s.step(2)
    (order,) = s.orders()
    assert order["status"] == "rejected" and order["reason"] == "1000 USD and 0 TEST afford nothing"
    assert order["cancelled_at"] is None
    s.books.flush()
    check_account(db, "session")


def test_an_order_that_was_cancelled_is_recorded_with_the_close_that_showed_it(db):
    s = Session(db, [1.0, 1.0, 0.5, 0.5])
    s.step()
    (waiting,) = s.venue.open_orders()
    assert [o["status"] for o in s.orders()] == ["open"]
    assert s.venue.cancel(waiting.order_id) and not s.venue.cancel(waiting.order_id)
    s.step()
    (order,) = s.orders()
    assert (order["status"], order["reason"]) == ("cancelled", "cancelled on request")
    assert order["cancelled_at"] == START + timedelta(hours=2) and order["filled_at"] is None
    s.step(2)  # the next wish is another order
    assert [o["status"] for o in s.orders()] == ["cancelled", "filled"]
    s.books.flush()
    check_account(db, "session")


def test_what_ended_is_recorded_once(db):
    s = Session(db, [1.0, 1.0, 1.0, 1.0])
    s.step()
    s.venue.cancel(s.venue.open_orders()[0].order_id)
    s.step(3)
    assert s.orders()[0]["cancelled_at"] == START + timedelta(hours=2)
    assert s.venue.dropped_orders() == {s.orders()[0]["order_id"]: (OrderStatus.cancelled, "cancelled on request")}


def test_an_order_sent_twice_is_one_order(db):
    s = Session(db, [1.0, 1.0])
    s.step()
    (waiting,) = s.venue.open_orders()
    s.venue.submit(waiting)
    s.step()
    s.venue.submit(waiting)
    assert s.venue.open_orders() == [] and len(s.venue.fills_since(0)) == 1


def test_the_venue_trades_its_own_symbol_only():
    venue = PaperExchange(SYMBOL, D(1000), Costs())
    with pytest.raises(ExchangeError, match="order o1: this venue trades TEST-USD, not BTC-USD"):
        venue.submit(Order("o1", "BTC-USD", Side.buy, D(1), 0, D(1)))


def test_a_wish_to_be_short_is_refused_before_anything_is_ordered(db):
    s = Session(db, [-0.5])
    with pytest.raises(ParameterError, match="only long positions"):
        s.step()
    assert s.orders() == []


@pytest.mark.parametrize("name", ["limit", "stop_loss", "take_profit", "trailing_stop"])
def test_a_signal_with_more_than_targets_is_refused_before_anything_is_ordered(db, name):
    s, plain = Session(db, [1.0]), wanting([1.0])
    asking = lambda bars, **params: replace(plain(bars, **params), **{name: bars.close * 0.01})  # noqa: E731
    asking.name = "asking"
    s.engine.strategy = asking
    with pytest.raises(ParameterError, match="asking asks for limits, stops or targets of its orders"):
        s.step()
    assert s.orders() == []


@pytest.mark.parametrize("costs", [Costs(participation=0.1), Costs(latency_bars=1)], ids=["participation", "latency"])
def test_costs_that_the_engine_cannot_trade_under_are_refused(db, costs):
    with pytest.raises(ParameterError, match="participation and latency_bars must be 0"):
        Session(db, [1.0], costs=costs)


# What is written


def test_an_order_carries_what_decided_it(db):
    s = Session(db, [0.25, 0.25])
    s.step()
    (order,) = s.orders()
    assert order["order_id"] == order_id("session", SYMBOL, s.opens[0] + HOUR)
    assert (order["strategy_id"], order["target"], order["side"]) == ("wishful", D("0.25"), "buy")
    assert (order["order_type"], order["time_in_force"], order["price"]) == ("market", "gtc", None)
    assert order["created_at"] == START + timedelta(hours=1)


def test_an_order_of_any_type_is_recorded_with_its_prices_and_time_in_force(db):
    accounts.open_account(db, "session", D(1000), 0)
    name, stop_limit = order_id("session", SYMBOL, HOUR), OrderType.stop_limit
    order = Order(name, SYMBOL, Side.buy, D(1), HOUR, D(1), stop_limit, "", TimeInForce.day, D("101.5"), D("100.25"))
    accounts.record_order(db, "session", order)
    (row,) = accounts.list_orders(db, "session")[1]
    assert (row["order_type"], row["time_in_force"]) == ("stop_limit", "day")
    assert (row["price"], row["stop_price"]) == (D("101.5"), D("100.25"))


def test_the_same_session_gives_the_same_rows_again(db):
    written = []
    for store in (db, Database("sqlite://")):
        if store is not db:
            add_symbols(store, SYMBOL)
        s = Session(store, [1.0, 0.5, 0.0, 0.7, 0.7, 0.0])
        s.step(6)
        s.books.flush()
        rows = snapshots(store, "session")
        for row in rows:
            del row["snapshot_id"]
        written.append(
            (s.orders(), accounts.list_fills(store, "session"), accounts.list_positions(store, "session"), rows)
        )
    assert written[0] == written[1] and len(written[0][2]) == 2


def test_every_close_is_marked_once_whenever_the_marks_are_written(db):
    n = FLUSH + 30
    s = Session(db, [0.0] * (FLUSH + 10) + [1.0] * 20)
    s.step(FLUSH - 1)
    assert accounts.equity_curve(db, "session")[0] == 0
    s.step()
    assert accounts.equity_curve(db, "session")[0] == FLUSH
    s.step(n - FLUSH)
    assert accounts.equity_curve(db, "session")[0] == FLUSH + 11  # with the fill
    s.books.flush()
    s.books.flush()
    total, marks = accounts.equity_curve(db, "session")
    assert [m["timestamp"] for m in marks] == [START + timedelta(hours=k + 1) for k in range(n)] and total == n
    (held,) = accounts.list_positions(db, "session", "open")
    assert held["current_price"] == D(str(s.bars.close.iloc[n - 1])) and held["updated_at"] == marks[-1]["timestamp"]
    assert marks[-1]["equity"] - marks[-1]["cash"] == pytest.approx(held["quantity"] * held["current_price"])
    check_account(db, "session")


@pytest.mark.parametrize("capital", ["1000", "999999999.999999"])
def test_the_rows_of_a_replayed_session_add_up(db, capital):
    targets = [0.3, math.nan, 0.7, 0.1, 0.0, 1.0, 0.0, 0.5, 0.5]
    name = replay(wanting(targets), {}, walk(120), int(epoch_ms(walk(120).index)[7]), Costs(7.5, 3.0), D(capital), db)
    check_account(db, name)
    held, fills = accounts.list_positions(db, name), accounts.list_fills(db, name)[1]
    assert len(held) > 20 and {p["status"] for p in held} == {"open", "closed"} and len(fills) > 2 * len(held)
    assert runs.get_job(db, name)["status"] == "done"


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    targets=st.lists(st.sampled_from([0.0, 0.0, 0.25, 1 / 3, 0.9, 1.0, math.nan]), min_size=1, max_size=9),
    seed=st.integers(0, 10_000),
    fee=st.sampled_from([0.0, 10.0, 900.0]),
    lot=st.sampled_from([0.0, 0.001, 1.0]),
    price=st.sampled_from([3e-4, 1.0, 43_210.0]),
)
@example(targets=[0.25], seed=0, fee=10.0, lot=0.0, price=3e-4)  # prices of more than 18 places
def test_the_rows_of_any_session_add_up(db, targets, seed, fee, lot, price):
    bars = walk(24, seed, price)
    check_account(
        db, replay(wanting(targets), {}, bars, int(epoch_ms(bars.index)[0]), Costs(fee, 1.0, lot), D(5000), db)
    )


# Where it ends too early


def test_wherever_a_session_is_cut_off_its_rows_fit_together(db):
    bars, targets = walk(9), [0.5, 0.5, 0.0, 0.9, 0.3, 0.0, 0.0]
    start, seen = int(epoch_ms(bars.index)[0]), []
    run = lambda: replay(wanting(targets), {}, bars, start, Costs(), D(1000), db)  # noqa: E731
    listener = lambda *args: seen.append(1)  # noqa: E731
    sa.event.listen(db.engine, "before_cursor_execute", listener)
    whole = run()
    sa.event.remove(db.engine, "before_cursor_execute", listener)
    check_account(db, whole)
    states = set()
    for statement in range(1, len(seen), 2):
        known = set(sessions(db))
        with pytest.raises(Crash), crash_at(db, statement):
            run()
        for name in set(sessions(db)) - known:
            check_account(db, name)
            orders = accounts.list_orders(db, name)[1]
            assert all(o["status"] == "filled" for o in orders[:-1])
            states |= {orders[-1]["status"]} if orders else set()
            held = accounts.list_positions(db, name)
            assert [p["opened_at"] for p in held] == [p["opened_at"] for p in accounts.list_positions(db, whole)][
                : len(held)
            ]
    assert states == {"new", "open", "filled"}


def test_a_session_that_fails_keeps_what_it_had_booked_and_says_why(db, monkeypatch):
    meet = PaperExchange.on_bar

    def failing(venue, bar):
        meet(venue, bar)
        if len(venue._fills) == 3:
            venue._cash += 1

    monkeypatch.setattr(PaperExchange, "on_bar", failing)
    bars = walk(30)
    with pytest.raises(ExchangeError, match="our books say"):
        replay(wanting([1.0, 0.0]), {}, bars, int(epoch_ms(bars.index)[0]), Costs(), D(1000), db)
    (name,) = sessions(db)
    job = runs.get_job(db, name)
    assert job["status"] == "failed" and job["error"].startswith("ExchangeError: account replay-")
    check_account(db, name)
    assert accounts.list_fills(db, name)[0] == 3


def test_a_start_after_the_last_bar_is_refused_and_leaves_no_session(db):
    bars, before = walk(5), dump(db)
    with pytest.raises(DataError, match="no bars of TEST-USD 1h from the asked start on"):
        replay(wanting([1.0]), {}, bars, int(epoch_ms(bars.index)[-1]) + 1, Costs(), D(1000), db)
    assert dump(db) == before


# The books by hand


def fill(side: Side, quantity: str, value: str, fee: str = "0", ms: int = 0, of: str = "o") -> Fill:
    return Fill("f", of, SYMBOL, side, D(quantity), D("1.5"), D(value), D(fee), ms)


def test_a_holding_begins_flat_and_keeps_its_price_when_it_is_sold():
    p = Position(SYMBOL)
    for one in (fill(Side.buy, "3", "30", "1", 5, "a"), fill(Side.buy, "1", "14", "1", 6, "b")):
        p = p.apply(one)
    assert (p.quantity, p.cost, p.entry_price, p.opened_by, p.opened_ms) == (4, 44, 11, "a", 5)
    p = p.apply(fill(Side.sell, "1", "20", "1", 7, "c"))
    assert (p.quantity, p.cost, p.entry_price, p.realized_pnl, p.fees) == (3, 33, 11, 9, 3)
    assert p.unrealized_pnl(D(10)) == -3
    p = p.apply(fill(Side.sell, "3", "30", "1", 8, "d"))
    assert (p.quantity, p.cost, p.entry_price, p.realized_pnl, p.fees) == (0, 0, 11, 6, 4)
    assert p.unrealized_pnl(D(10)) == 0 and p.opened_by == "a"
    p = p.apply(fill(Side.buy, "2", "10", "1", 9, "e"))
    assert p == Position(SYMBOL, D(2), D(10), D(5), D(0), D(1), "e", 9)


def test_thirds_of_a_cost_lose_nothing():
    p = Position(SYMBOL).apply(fill(Side.buy, "3", "100"))
    for _ in range(3):
        p = p.apply(fill(Side.sell, "1", "0"))
    assert p.cost == 0 and p.realized_pnl == -100


def test_amounts_of_thirty_eight_digits_are_reckoned_exactly():
    much = D("99999999999999999999.999999999999999999")
    p = Portfolio(much).apply(fill(Side.buy, "1", "1e-18"))
    assert p.cash == D("99999999999999999999.999999999999999998")
    p = p.apply(fill(Side.buy, "1", "12345678901234567890.123456789012345678"))
    assert p.position(SYMBOL).cost == D("12345678901234567890.123456789012345679")
    assert p.equity({SYMBOL: D("1e-18")}) == D("87654321098765432109.876543210987654322")
    assert p.position(SYMBOL).unrealized_pnl(D("1e-18")) == D("-12345678901234567890.123456789012345677")
    with pytest.raises(ExchangeError, match="but cash is 87654321098765432109.87654321098765432"):
        p.apply(fill(Side.buy, "1", str(much)))


def test_what_is_not_held_cannot_be_sold_nor_what_has_no_price_be_valued():
    p = Portfolio(D(100)).apply(fill(Side.buy, "1", "10"))
    with pytest.raises(ExchangeError, match="fill f sells 2 TEST-USD but 1 are held"):
        p.apply(fill(Side.sell, "2", "20"))
    with pytest.raises(DataError, match="no price is known of TEST-USD, which is held"):
        p.equity({"BTC-USD": D(1)})
    assert p.apply(fill(Side.sell, "1", "10")).equity({}) == 100
