"An account's books are exact, written whole or not at all, and apart from every other account's."

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from itertools import count

import pytest
import sqlalchemy as sa
from books import Crash, add_symbols, check_account, check_snapshots, crash_at
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from stores import dump

from rrr.core.errors import DataError, NotFoundError, StoreError
from rrr.core.money import rounded
from rrr.core.trading import EXACT, Fill, Order, OrderStatus, Portfolio, Side
from rrr.engine.exchange import PaperExchange
from rrr.engine.replay import replay
from rrr.execution.costs import Costs
from rrr.store import accounts
from rrr.store.bars import bars_frame
from rrr.store.db import Database
from rrr.store.schema import SnapshotRow
from rrr.strategy.library import buy_and_hold

D = Decimal
MINUTE, DAY = 60_000, 86_400_000
START = datetime(1970, 1, 1, tzinfo=UTC)
per_store = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
fresh = count()


def order(
    name: str, side: Side = Side.buy, quantity: str = "2", ms: int = 0, symbol: str = "BTC-USD", by: str = "sma_cross"
) -> Order:
    return Order(name, symbol, side, D(quantity), ms, D(1), strategy_id=by)


def fill(
    name: str,
    of: str,
    side: Side = Side.buy,
    quantity: str = "2",
    ms: int = MINUTE,
    price: str = "100",
    symbol: str = "BTC-USD",
) -> Fill:
    value = D(quantity) * D(price)
    return Fill(name, of, symbol, side, D(quantity), D(price), value, value / 1000, ms)


def mark(ms: int, portfolio: Portfolio, price: str = "100") -> accounts.Mark:
    return ms, portfolio.cash, portfolio.equity({"BTC-USD": D(price)})


@pytest.fixture
def db(db):
    add_symbols(db, "BTC-USD", "ETH-USD", "SOL-USD")
    return db


@pytest.fixture
def opened(db):
    "A store with one account that has sent one order."
    accounts.open_account(db, "paper", D(1000), 0)
    accounts.record_order(db, "paper", order("o1"))
    accounts.record_status(db, "o1", OrderStatus.open, 0)
    return db


def crashes(db: Database, action) -> int:
    "Let an action crash before each of its statements in turn; nothing of it may remain. How often it crashed."
    before = dump(db)
    for statement in count(1):
        try:
            with crash_at(db, statement):
                action()
        except Crash:
            assert dump(db) == before, f"before statement {statement}"
        else:
            assert dump(db) != before
            return statement - 1


def test_a_fill_is_booked_whole_or_not_at_all_wherever_it_is_cut_off(opened):
    after = Portfolio(D(1000)).apply(fill("f1", "o1"))
    marks = [mark(k * MINUTE, Portfolio(D(1000))) for k in (1, 2)]
    booked = crashes(opened, lambda: accounts.record_fill(opened, "paper", fill("f1", "o1"), after, marks))
    assert booked >= 5  # last snapshot, snapshots, trade, order, position
    (stored,) = accounts.list_orders(opened, "paper")[1]
    assert (stored["status"], stored["filled_quantity"], stored["average_fill_price"]) == ("filled", D(2), D(100))
    assert stored["filled_at"] == datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
    assert accounts.list_fills(opened, "paper")[0] == 1 and accounts.equity_curve(opened, "paper")[0] == 2
    (held,) = accounts.list_positions(opened, "paper")
    assert (held["quantity"], held["cost"], held["fees"]) == (D(2), D(200), D("0.2"))
    last = accounts.last_snapshot(opened, "paper")
    assert (last["cause"], last["cash"], last["equity"]) == ("fill", D("799.8"), D("999.8"))


def test_opening_ordering_and_marking_are_whole_or_nothing_too(opened):
    assert crashes(opened, lambda: accounts.open_account(opened, "other", D(5), 0)) >= 2
    assert crashes(opened, lambda: accounts.record_order(opened, "paper", order("o2"))) >= 1
    refuse = lambda: accounts.record_status(opened, "o2", OrderStatus.rejected, MINUTE, "no money")  # noqa: E731
    assert crashes(opened, refuse) >= 1
    after = Portfolio(D(1000)).apply(fill("f1", "o1"))
    accounts.record_fill(opened, "paper", fill("f1", "o1"), after)
    marks = [mark(2 * MINUTE, after, "110")]
    assert crashes(opened, lambda: accounts.record_marks(opened, "paper", marks, after, {"BTC-USD": D(110)})) >= 3


def test_the_same_fill_is_refused_the_second_time_with_all_that_comes_with_it(opened):
    after = Portfolio(D(1000)).apply(fill("f1", "o1"))
    accounts.record_fill(opened, "paper", fill("f1", "o1"), after)
    before = dump(opened)
    with pytest.raises(StoreError, match="(?i)unique"):
        accounts.record_fill(opened, "paper", fill("f1", "o1"), after, [mark(2 * MINUTE, after)])
    assert dump(opened) == before


def test_a_fill_that_fits_no_order_is_refused_and_changes_nothing(opened):
    accounts.open_account(opened, "other", D(1000), 0)
    before = dump(opened)
    for account, wrong in {
        "unknown order": ("paper", fill("f2", "o9")),
        "order of another account": ("other", fill("f2", "o1")),
        "other side": ("paper", fill("f2", "o1", Side.sell)),
        "other symbol": ("paper", Fill("f2", "o1", "ETH-USD", Side.buy, D(2), D(100), D(200), D(0), MINUTE)),
    }.values():
        with pytest.raises(StoreError, match="(?i)foreign key|that is not filled yet"):
            accounts.record_fill(opened, account, wrong, Portfolio(D(1000)))
    assert dump(opened) == before


def test_an_order_that_is_filled_takes_no_second_fill(opened):
    after = Portfolio(D(1000)).apply(fill("f1", "o1"))
    accounts.record_fill(opened, "paper", fill("f1", "o1"), after)
    before = dump(opened)
    with pytest.raises(StoreError, match="fill f2: account 'paper' has no buy order o1 of BTC-USD that is not filled"):
        accounts.record_fill(opened, "paper", fill("f2", "o1"), after.apply(fill("f2", "o1")))
    assert dump(opened) == before


def test_a_fill_after_a_cancellation_is_booked_and_takes_it_back(opened):
    accounts.record_status(opened, "o1", OrderStatus.cancelled, MINUTE, "on request")
    (stored,) = accounts.list_orders(opened, "paper")[1]
    assert (stored["cancelled_at"], stored["reason"]) == (START + timedelta(minutes=1), "on request")
    accounts.record_fill(opened, "paper", fill("f1", "o1"), Portfolio(D(1000)).apply(fill("f1", "o1")))
    (stored,) = accounts.list_orders(opened, "paper")[1]
    assert (stored["status"], stored["cancelled_at"], stored["reason"]) == ("filled", None, "")
    check_account(opened, "paper")


@pytest.mark.parametrize("status", [OrderStatus.open, OrderStatus.rejected])
def test_only_a_cancellation_has_a_time_of_cancellation(opened, status):
    accounts.record_status(opened, "o1", status, MINUTE, "as the venue says")
    (stored,) = accounts.list_orders(opened, "paper")[1]
    assert (stored["status"], stored["cancelled_at"], stored["reason"]) == (status, None, "as the venue says")


@pytest.mark.parametrize("ended", [OrderStatus.filled, OrderStatus.cancelled, OrderStatus.rejected])
def test_an_order_that_is_done_keeps_its_status(opened, ended):
    if ended == OrderStatus.filled:
        accounts.record_fill(opened, "paper", fill("f1", "o1"), Portfolio(D(1000)).apply(fill("f1", "o1")))
    else:
        accounts.record_status(opened, "o1", ended, MINUTE, "as the venue says")
    before = dump(opened)
    for status in (OrderStatus.open, OrderStatus.rejected):
        with pytest.raises(StoreError, match=f"order o1 is unknown or done: it cannot become {status}"):
            accounts.record_status(opened, "o1", status, 2 * MINUTE)
    with pytest.raises(StoreError, match="order o9 is unknown or done"):
        accounts.record_status(opened, "o9", OrderStatus.open, 2 * MINUTE)
    assert dump(opened) == before


def test_an_order_stands_in_the_store_before_it_is_sent(db):
    accounts.open_account(db, "paper", D(1000), 0)
    accounts.record_order(db, "paper", order("o1", quantity="0.123456789012345678", ms=90_000))
    other = Database(db.url)  # what another process sees
    total, (stored,) = accounts.list_orders(other, "paper")
    other.close()
    assert (total, stored["status"], stored["filled_quantity"]) == (1, "new", D(0))
    assert (stored["side"], stored["order_type"], stored["strategy_id"]) == ("buy", "market", "sma_cross")
    assert stored["quantity"] == D("0.123456789012345678") and stored["average_fill_price"] is None
    assert stored["created_at"] == datetime(1970, 1, 1, 0, 1, 30, tzinfo=UTC)
    assert (stored["time_in_force"], stored["metadata"], stored["reason"]) == ("gtc", {}, "")
    later = ("exchange_id", "price", "stop_price", "signal_id", "filled_at", "cancelled_at")
    assert [stored[k] for k in later] == [None] * 6
    with pytest.raises(StoreError, match="(?i)unique"):
        accounts.record_order(db, "paper", order("o1"))


def test_the_engine_records_an_order_before_the_venue_hears_of_it(db, monkeypatch):
    submit, heard = PaperExchange.submit, []

    def asking(venue, order):
        (stored,) = accounts.list_orders(db, accounts.latest_account(db))[1]
        heard.append((stored["order_id"] == order.order_id, stored["status"]))
        submit(venue, order)

    monkeypatch.setattr(PaperExchange, "submit", asking)
    bars = bars_frame([0, MINUTE, 2 * MINUTE], [[10, 11, 9, 10, 1]] * 3)
    bars.attrs = dict(symbol="BTC-USD", interval="1m", synthetic=True)
    account = replay(buy_and_hold, {}, bars, 0, Costs(), D(1000), db)
    assert heard == [(True, "new")] and accounts.list_orders(db, account)[1][0]["status"] == "filled"


# 20 digits before the point and 18 behind it, of either sign
amounts = st.integers(-(10**38) + 1, 10**38 - 1).map(lambda n: D(f"{n}e-18"))
places = st.integers(0, 18).flatmap(lambda k: st.integers(-(10**12), 10**12).map(lambda n: D(f"{n}e-{k}")))


@settings(per_store, max_examples=60)
@given(cash=amounts | places, ms=st.integers(0, 4_102_444_800_000))
@example(cash=D("-0"), ms=0)
@example(cash=D("1e-18"), ms=1)
@example(cash=D("99999999999999999999.999999999999999999"), ms=999)
@example(cash=D("1E+19"), ms=1_704_067_199_999)
def test_money_and_time_come_back_as_they_were(db, cash, ms):
    name = f"a{next(fresh)}"
    accounts.open_account(db, name, cash, ms)
    last = accounts.last_snapshot(db, name)
    assert last["cash"] == last["equity"] == accounts.opening_cash(db, name) == cash
    assert isinstance(last["cash"], Decimal) and not (cash == 0 and last["cash"].is_signed())
    since = last["timestamp"] - datetime(1970, 1, 1, tzinfo=UTC)
    assert last["timestamp"].utcoffset().total_seconds() == 0 and round(since.total_seconds() * 1000) == ms


def test_an_amount_that_the_store_cannot_hold_is_refused(db):
    before = dump(db)
    for amount in ("1e20", "-1e20", "1e60", "NaN", "Infinity", "-Infinity"):
        with pytest.raises(DataError, match="too large|not a finite number"):
            accounts.open_account(db, "paper", D(amount), 0)
    assert dump(db) == before


def test_places_beyond_the_eighteenth_are_rounded_half_to_even(db):
    for i, (given_, kept) in enumerate({"1.5e-18": "2e-18", "2.5e-18": "2e-18", "-4e-19": "0"}.items()):
        accounts.open_account(db, f"a{i}", D(given_), 0)
        assert accounts.opening_cash(db, f"a{i}") == D(kept)


def test_a_time_without_zone_is_refused(db):
    row = accounts._snapshot("a", "open", datetime(2024, 1, 1), D(1), D(1), D(1), D(1))
    with pytest.raises(StoreError, match="naive time 2024-01-01"), db.write() as c:
        c.execute(sa.insert(SnapshotRow), row)
    assert dump(db)["portfolio_snapshots"] == []


def test_an_account_opens_once_even_if_two_open_it_at_the_same_moment(db):
    accounts.open_account(db, "paper", D(1000), 0)
    with pytest.raises(StoreError, match="account 'paper' exists already"):
        accounts.open_account(db, "paper", D(2000), 0)
    row = accounts._snapshot("paper", "open", START, D(2000), D(2000), D(2000), D(2000))
    with pytest.raises(StoreError, match="(?i)unique"), db.write() as c:  # as who had not seen the first would do
        c.execute(sa.insert(SnapshotRow), row)
    assert accounts.opening_cash(db, "paper") == D(1000)


def test_pages_have_the_total_and_cover_everything_once(db):
    accounts.open_account(db, "paper", D(100_000), 0)
    portfolio = Portfolio(D(100_000))
    for i in range(11):
        one = fill(f"f{i:02}", f"o{i:02}", ms=(11 - i // 2) * MINUTE)
        accounts.record_order(db, "paper", order(f"o{i:02}", ms=(11 - i // 2) * MINUTE))
        portfolio = portfolio.apply(one)
        accounts.record_fill(db, "paper", one, portfolio, [mark((11 + i) * MINUTE, portfolio)])
    for listing, key, order_by in (
        (accounts.list_orders, "order_id", "created_at"),
        (accounts.list_fills, "fill_id", "timestamp"),
        (accounts.equity_curve, "snapshot_id", "snapshot_id"),
    ):
        total, everything = listing(db, "paper")
        assert total == len(everything) == 11
        assert everything == sorted(everything, key=lambda row: (row[order_by], row[key]))
        for size in (1, 4, 11, 12):
            pages = [listing(db, "paper", size, offset) for offset in range(0, 14, size)]
            assert {total for total, _ in pages} == {11}
            assert [row for _, page in pages for row in page] == everything
        assert listing(db, "paper", 5, 2**53) == (11, [])
        assert listing(db, "nobody") == (0, [])


def test_accounts_do_not_see_each_other(db):
    for name, cash in (("a", D(1000)), ("b", D(5000))):
        accounts.open_account(db, name, cash, 0)
        accounts.record_order(db, name, order(f"o-{name}"))
    bought = Portfolio(D(1000)).apply(fill("f1", "o-a"))
    accounts.record_fill(db, "a", fill("f1", "o-a"), bought, [mark(MINUTE, bought)])
    untouched = Portfolio(D(5000))
    accounts.record_marks(db, "b", [mark(MINUTE, untouched)], untouched, {})
    assert [o["order_id"] for o in accounts.list_orders(db, "b")[1]] == ["o-b"]
    assert accounts.list_orders(db, "b")[1][0]["status"] == "new"
    assert accounts.list_fills(db, "b") == (0, []) and accounts.list_positions(db, "b") == []
    assert accounts.last_snapshot(db, "b")["equity"] == D(5000) == accounts.equity_curve(db, "b")[1][0]["equity"]
    assert accounts.opening_cash(db, "a") == D(1000) and len(accounts.list_positions(db, "a")) == 1
    sold = untouched.apply(fill("f1", "o-b"))  # the venue numbers each account's fills for itself
    accounts.record_fill(db, "b", fill("f1", "o-b"), sold)
    assert [accounts.list_fills(db, n)[0] for n in ("a", "b")] == [1, 1]


def test_the_account_that_did_something_last_comes_first(db):
    assert accounts.list_accounts(db) == [] and accounts.latest_account(db) is None
    for name in ("a", "b", "c"):
        accounts.open_account(db, name, D(1000), 0)
    assert accounts.list_accounts(db) == ["c", "b", "a"] and accounts.latest_account(db) == "c"
    accounts.record_marks(db, "a", [mark(0, Portfolio(D(1000)))], Portfolio(D(1000)), {})
    assert accounts.list_accounts(db) == ["a", "c", "b"] and accounts.latest_account(db) == "a"


def test_an_account_that_does_not_exist_has_nothing(db):
    assert accounts.last_snapshot(db, "nobody") is None and accounts.list_positions(db, "nobody") == []
    with pytest.raises(NotFoundError, match="no account 'nobody' in the store"):
        accounts.opening_cash(db, "nobody")


# Holdings


def trade(db, account: str, portfolio: Portfolio, one: Fill, marks=(), prices=None, by: str = "sma_cross") -> Portfolio:
    "Order, fill, books; the portfolio afterwards."
    asked = Order(one.order_id, one.symbol, one.side, one.quantity, one.time_ms - 1, D(1), strategy_id=by)
    accounts.record_order(db, account, asked)
    after = portfolio.apply(one)
    accounts.record_fill(db, account, one, after, marks, prices)
    return after


def test_a_holding_is_revalued_and_closed(opened):
    bought = Portfolio(D(1000)).apply(fill("f1", "o1"))
    accounts.record_fill(opened, "paper", fill("f1", "o1"), bought)
    accounts.record_marks(opened, "paper", [mark(2 * MINUTE, bought, "110.5")], bought, {"BTC-USD": D("110.5")})
    (held,) = accounts.list_positions(opened, "paper")
    assert (held["current_price"], held["unrealized_pnl"], held["entry_price"]) == (D("110.5"), D(21), D(100))
    assert (held["realized_pnl"], held["total_pnl"], held["fees"]) == (D(0), D(21), D("0.2"))
    assert (held["status"], held["side"], held["strategy_id"]) == ("open", "long", "sma_cross")
    assert (held["open_order_id"], held["close_order_id"], held["closed_at"]) == ("o1", None, None)
    assert held["opened_at"] == START + timedelta(minutes=1) and held["updated_at"] == START + timedelta(minutes=2)
    trade(opened, "paper", bought, fill("f2", "o2", Side.sell, ms=3 * MINUTE, price="90"), by="stop")
    (closed,) = accounts.list_positions(opened, "paper")
    assert closed["position_id"] == held["position_id"] and closed["status"] == "closed"
    assert (closed["quantity"], closed["cost"], closed["unrealized_pnl"]) == (D(0), D(0), D(0))
    assert (closed["realized_pnl"], closed["total_pnl"], closed["fees"]) == (D(-20), D(-20), D("0.38"))
    assert (closed["entry_price"], closed["current_price"]) == (D(100), D(90))
    assert (closed["open_order_id"], closed["close_order_id"], closed["strategy_id"]) == ("o1", "o2", "sma_cross")
    assert closed["opened_at"] == held["opened_at"]
    assert closed["closed_at"] == closed["updated_at"] == START + timedelta(minutes=3)
    last = accounts.last_snapshot(opened, "paper")
    assert last["cash"] == last["equity"] == D(1000) - D(20) - D("0.38")
    check_account(opened, "paper")


def test_buying_more_and_selling_a_part_change_the_row_of_the_holding(opened):
    p = Portfolio(D(1000)).apply(fill("f1", "o1"))
    accounts.record_fill(opened, "paper", fill("f1", "o1"), p)
    p = trade(opened, "paper", p, fill("f2", "o2", quantity="1", price="130", ms=2 * MINUTE))
    p = trade(opened, "paper", p, fill("f3", "o3", Side.sell, "1", price="140", ms=3 * MINUTE))
    (held,) = accounts.list_positions(opened, "paper")
    assert (held["quantity"], held["cost"], held["entry_price"]) == (D(2), D(220), D(110))
    assert (held["realized_pnl"], held["unrealized_pnl"], held["total_pnl"]) == (D(30), D(60), D(90))
    assert (held["status"], held["open_order_id"], held["fees"]) == ("open", "o1", D("0.47"))
    check_account(opened, "paper")


def test_the_next_purchase_after_a_sale_of_all_is_another_holding(opened):
    p = Portfolio(D(1000)).apply(fill("f1", "o1"))
    accounts.record_fill(opened, "paper", fill("f1", "o1"), p)
    p = trade(opened, "paper", p, fill("f2", "o2", Side.sell, ms=2 * MINUTE, price="90"))
    p = trade(opened, "paper", p, fill("f3", "o3", quantity="1", ms=2 * MINUTE, price="91"), by="rebound")
    accounts.record_marks(opened, "paper", [mark(3 * MINUTE, p, "95")], p, {"BTC-USD": D(95)})
    first, second = accounts.list_positions(opened, "paper")
    assert accounts.list_positions(opened, "paper", "closed") == [first]
    assert accounts.list_positions(opened, "paper", "open") == [second]
    assert (first["realized_pnl"], first["fees"], first["current_price"]) == (D(-20), D("0.38"), D(90))
    assert (second["realized_pnl"], second["fees"], second["unrealized_pnl"]) == (D(0), D("0.091"), D(4))
    assert (second["strategy_id"], second["open_order_id"]) == ("rebound", "o3")
    check_account(opened, "paper")


def test_the_same_history_gives_the_same_ids_and_another_account_others(db):
    def ids(account):
        return [p["position_id"] for p in accounts.list_positions(db, account)]

    for account, prefix in (("paper", "a"), ("other", "b")):
        accounts.open_account(db, account, D(1000), 0)
        p = Portfolio(D(1000))
        for k, symbol in enumerate(("BTC-USD", "ETH-USD")):
            one = fill(f"f{k}", f"{prefix}{k}", quantity="1", ms=(k + 1) * MINUTE, symbol=symbol)
            p = trade(db, account, p, one, prices={"BTC-USD": D(100)})
    named = ("paper|BTC-USD|a0", "paper|ETH-USD|a1")
    assert ids("paper") == [str(uuid.uuid5(accounts.NAMESPACE, text)) for text in named]
    assert len({*ids("paper"), *ids("other")}) == 4


def test_books_without_the_fill_are_refused(opened):
    before = dump(opened)
    with pytest.raises(StoreError, match="account 'paper' has no open position in BTC-USD that order None opened"):
        accounts.record_fill(opened, "paper", fill("f1", "o1"), Portfolio(D(1000)))
    assert dump(opened) == before
    never = Portfolio(D(1000)).apply(fill("f1", "o1"))
    with pytest.raises(StoreError, match="account 'paper' has no open position in BTC-USD that order o1 opened"):
        accounts.record_marks(opened, "paper", [mark(MINUTE, never)], never, {"BTC-USD": D(100)})
    assert dump(opened) == before


def test_a_holding_that_is_closed_stays_as_it_is(opened):
    p = Portfolio(D(1000)).apply(fill("f1", "o1"))
    accounts.record_fill(opened, "paper", fill("f1", "o1"), p)
    trade(opened, "paper", p, fill("f2", "o2", Side.sell, ms=2 * MINUTE))
    accounts.record_order(opened, "paper", order("o3", Side.sell))
    before, again = dump(opened), fill("f3", "o3", Side.sell, "1", ms=3 * MINUTE)
    with pytest.raises(StoreError, match="account 'paper' has no open position in BTC-USD that order o1 opened"):
        accounts.record_fill(opened, "paper", again, p.apply(again))
    with pytest.raises(StoreError, match="account 'paper' has no open position in BTC-USD that order o1 opened"):
        accounts.record_marks(opened, "paper", [mark(3 * MINUTE, p)], p, {"BTC-USD": D(100)})
    assert dump(opened) == before


def test_a_fill_values_the_other_symbols_at_the_prices_that_are_given(opened):
    p = Portfolio(D(1000)).apply(fill("f1", "o1"))
    accounts.record_fill(opened, "paper", fill("f1", "o1"), p)
    one = fill("f2", "o2", quantity="3", price="10", ms=2 * MINUTE, symbol="ETH-USD")
    before = dump(opened)
    accounts.record_order(opened, "paper", order("o2", quantity="3", symbol="ETH-USD"))
    with pytest.raises(DataError, match="no price is known of BTC-USD, which is held"):
        accounts.record_fill(opened, "paper", one, p.apply(one))
    assert accounts.list_fills(opened, "paper")[0] == 1 and dump(opened)["positions"] == before["positions"]
    p = p.apply(one)
    accounts.record_fill(opened, "paper", one, p, prices={"BTC-USD": D(120), "ETH-USD": D(999)})
    last = accounts.last_snapshot(opened, "paper")
    assert last["cash"] == D(1000) - D("200.2") - D("30.03") and last["equity"] == last["cash"] + 2 * 120 + 3 * 10
    with pytest.raises(DataError, match="no price is known of ETH-USD, which is held"):
        accounts.record_marks(opened, "paper", [(3 * MINUTE, p.cash, p.cash)], p, {"BTC-USD": D(120)})
    prices = {"BTC-USD": D(130), "ETH-USD": D(9)}
    accounts.record_marks(opened, "paper", [(3 * MINUTE, p.cash, p.equity(prices))], p, prices)
    assert [h["current_price"] for h in accounts.list_positions(opened, "paper")] == [D(130), D(9)]
    check_account(opened, "paper")


# Snapshots


def test_the_day_begins_anew_at_midnight_also_within_a_batch_and_on_days_without_a_snapshot(db):
    accounts.open_account(db, "paper", D(1000), 12 * 60 * MINUTE)
    flat = Portfolio(D(1000))
    hours = {13: 1010, 23: 1020, 24: 1015, 30: 1030, 47: 990, 6 * 24 + 1: 1000}
    marks = [(h * 60 * MINUTE, D(1000), D(equity)) for h, equity in hours.items()]
    accounts.record_marks(db, "paper", marks[:2], flat, {})
    accounts.record_marks(db, "paper", marks[2:], flat, {})
    stored = accounts.equity_curve(db, "paper")[1]
    assert [m["total_pnl"] for m in stored] == [10, 20, 15, 30, -10, 0]
    assert [m["daily_pnl"] for m in stored] == [10, 20, -5, 10, -30, 10]
    assert stored[-1]["daily_return"] == float(D(10) / D(990)) and stored[1]["total_return"] == 0.02
    check_snapshots(db, "paper")


def test_an_account_without_money_has_no_return(db):
    accounts.open_account(db, "paper", D(0), 0)
    accounts.record_marks(db, "paper", [(MINUTE, D(0), D(0)), (DAY, D(5), D(5))], Portfolio(D(0)), {})
    assert [(m["total_return"], m["daily_return"]) for m in accounts.equity_curve(db, "paper")[1]] == [(0.0, 0.0)] * 2
    check_snapshots(db, "paper")


def test_a_fill_reported_late_is_in_the_account_from_then_on(opened):
    accounts.record_marks(opened, "paper", [(DAY, D(1000), D(1000))], Portfolio(D(1000)), {})
    late = fill("f1", "o1", ms=DAY - 1)
    accounts.record_fill(opened, "paper", late, Portfolio(D(1000)).apply(late))
    last = accounts.last_snapshot(opened, "paper")
    assert (last["timestamp"], last["daily_pnl"]) == (START + timedelta(days=1), D("-0.2"))
    assert accounts.list_fills(opened, "paper")[1][0]["timestamp"] == START + timedelta(days=1, milliseconds=-1)
    check_account(opened, "paper")


def test_a_mark_out_of_order_is_refused_with_all_that_comes_with_it(opened):
    flat = Portfolio(D(1000))
    accounts.record_marks(opened, "paper", [mark(5 * MINUTE, flat)], flat, {})
    before = dump(opened)
    for marks in ([mark(4 * MINUTE, flat)], [mark(7 * MINUTE, flat), mark(6 * MINUTE, flat)]):
        with pytest.raises(StoreError, match="account 'paper': a mark at .* cannot follow the snapshot at"):
            accounts.record_marks(opened, "paper", marks, flat, {})
        with pytest.raises(StoreError, match="cannot follow the snapshot at"):
            accounts.record_fill(opened, "paper", fill("f1", "o1"), flat.apply(fill("f1", "o1")), marks)
    assert dump(opened) == before


def test_nothing_is_booked_for_an_account_that_was_never_opened(db):
    with pytest.raises(NotFoundError, match="no account 'nobody' in the store"):
        accounts.record_marks(db, "nobody", [mark(0, Portfolio(D(1000)))], Portfolio(D(1000)), {})
    accounts.record_order(db, "nobody", order("o1"))
    before = dump(db)
    with pytest.raises(NotFoundError, match="no account 'nobody' in the store"):
        accounts.record_fill(db, "nobody", fill("f1", "o1"), Portfolio(D(1000)).apply(fill("f1", "o1")))
    assert dump(db) == before


# Anything an account may do

SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD")
steps = st.lists(
    st.tuples(
        st.sampled_from(SYMBOLS),
        st.sampled_from(["buy", "buy", "part", "all", "look"]),
        st.integers(0, 20 * 60 * MINUTE),  # later than the last step
        st.integers(1, 10**7).map(lambda n: D(n) / 10**6),  # price
        st.integers(1, 10**8).map(lambda n: D(n) / 10**8),  # quantity, or share of what is held
        st.integers(0, 10**9).map(lambda n: D(n) / 10**9),  # fee
        st.booleans(),  # marks are written at once
    ),
    max_size=14,
)


@dataclass
class Running:
    "Realised P&L at average cost and fees of a symbol, over all of its holdings"

    quantity: Decimal = D(0)
    cost: Decimal = D(0)
    realized: Decimal = D(0)
    fees: Decimal = D(0)

    def add(self, f: Fill) -> None:
        with localcontext(EXACT):
            self.fees += f.fee
            if f.side == Side.sell:
                sold = rounded(self.cost * f.quantity / self.quantity)
                self.realized += f.value - sold
            self.cost += f.value if f.side == Side.buy else -sold
            self.quantity += f.signed_quantity


@settings(per_store, max_examples=60)
@given(capital=st.integers(1_000, 10**9).map(lambda n: D(n) / 100), done=steps)
@example(capital=D("1000000000000000.000000000000000001"), done=[("BTC-USD", k, 0, D("0.7"), D(1) / 8, D("1e-18"), False) for k in
         ("buy", "part", "buy", "part", "all", "buy", "all")])  # fmt: skip
def test_whatever_an_account_does_its_rows_add_up(db, capital, done):
    name, now, marks, prices = f"a{next(fresh)}", 0, [], {}
    portfolio, running = Portfolio(capital), {s: Running() for s in SYMBOLS}
    accounts.open_account(db, name, capital, 0)
    for i, (symbol, action, later, price, share, fee, at_once) in enumerate(done):
        now, prices[symbol] = now + later, price
        held = portfolio.position(symbol)
        if action in ("part", "all"):
            side, quantity = (
                Side.sell,
                held.quantity if action == "all" else (held.quantity * share).quantize(D("1e-8")),
            )
        else:
            side, quantity = Side.buy, share
        one = quantity and Fill(f"{i}", f"{name}-{i}", symbol, side, quantity, price, quantity * price, fee, now)
        if action != "look" and one and not (side == Side.buy and one.value + fee > portfolio.cash):
            portfolio, marks = trade(db, name, portfolio, one, marks, prices, by=f"s{i}"), []
            running[symbol].add(one)
        marks.append((now, portfolio.cash, portfolio.equity(prices)))
        if at_once:
            accounts.record_marks(db, name, marks, portfolio, prices)
            marks = []
    if marks:
        accounts.record_marks(db, name, marks, portfolio, prices)
    check_account(db, name)
    rows = accounts.list_positions(db, name)
    with localcontext(EXACT):
        for symbol, r in running.items():
            assert sum(p["realized_pnl"] for p in rows if p["symbol"] == symbol) == r.realized
            assert sum(p["fees"] for p in rows if p["symbol"] == symbol) == r.fees
        profit = sum(p["total_pnl"] - p["fees"] for p in rows)
    assert accounts.last_snapshot(db, name)["total_pnl"] == profit
