"An account's books are exact, written whole or not at all, and apart from every other account's."

from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from stores import dump

from rrr.core.errors import DataError, NotFoundError, StoreError
from rrr.core.trading import Fill, Order, OrderStatus, Portfolio, Side
from rrr.engine.exchange import PaperExchange
from rrr.engine.replay import replay
from rrr.execution.kernel import Costs
from rrr.store import accounts
from rrr.store.bars import bars_frame
from rrr.store.db import Database
from rrr.store.schema import SnapshotRow, SymbolRow
from rrr.strategy.library import buy_and_hold

D = Decimal
MINUTE = 60_000
per_store = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
fresh = count()


def order(name: str, side: Side = Side.buy, quantity: str = "2", ms: int = 0) -> Order:
    return Order(name, "BTC-USD", side, D(quantity), ms, D(1), strategy_id="sma_cross")


def fill(name: str, of: str, side: Side = Side.buy, quantity: str = "2", ms: int = MINUTE, price: str = "100") -> Fill:
    value = D(quantity) * D(price)
    return Fill(name, of, "BTC-USD", side, D(quantity), D(price), value, value / 1000, ms)


def mark(ms: int, portfolio: Portfolio, price: str = "100") -> tuple[int, Decimal, Decimal]:
    return ms, portfolio.cash, portfolio.equity({"BTC-USD": D(price)})


@pytest.fixture
def db(db):
    with db.write() as c:
        c.execute(sa.insert(SymbolRow), dict(symbol="BTC-USD", base="BTC", quote="USD"))
    return db


@pytest.fixture
def opened(db):
    "A store with one account that has sent one order."
    accounts.open_account(db, "paper", D(1000), 0)
    accounts.record_order(db, "paper", order("o1"))
    accounts.record_status(db, "o1", OrderStatus.open)
    return db


class Crash(BaseException):
    "The process ends here"


@contextmanager
def crash_at(db: Database, statement: int):
    "End the process, as it were, before the n-th statement that the database would see."
    seen = count(1)

    def before(*args):
        if next(seen) == statement:
            raise Crash

    sa.event.listen(db.engine, "before_cursor_execute", before)
    try:
        yield
    finally:
        sa.event.remove(db.engine, "before_cursor_execute", before)


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
    assert booked >= 6  # marks, trade, order, position out, position in, snapshot
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
    assert crashes(opened, lambda: accounts.record_status(opened, "o2", OrderStatus.rejected, "no money")) >= 1
    after = Portfolio(D(1000)).apply(fill("f1", "o1"))
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
    with opened.write() as c:
        c.execute(sa.insert(SymbolRow), dict(symbol="ETH-USD", base="ETH", quote="USD"))
    accounts.open_account(opened, "other", D(1000), 0)
    before = dump(opened)
    for account, wrong in {
        "unknown order": ("paper", fill("f2", "o9")),
        "order of another account": ("other", fill("f2", "o1")),
        "other side": ("paper", fill("f2", "o1", Side.sell)),
        "other symbol": ("paper", Fill("f2", "o1", "ETH-USD", Side.buy, D(2), D(100), D(200), D(0), MINUTE)),
    }.values():
        with pytest.raises(StoreError):
            accounts.record_fill(opened, account, wrong, Portfolio(D(1000)))
    assert dump(opened) == before


def test_an_order_that_is_filled_takes_no_second_fill(opened):
    after = Portfolio(D(1000)).apply(fill("f1", "o1"))
    accounts.record_fill(opened, "paper", fill("f1", "o1"), after)
    before = dump(opened)
    with pytest.raises(StoreError, match="fill f2: account 'paper' has no buy order o1 of BTC-USD that is not filled"):
        accounts.record_fill(opened, "paper", fill("f2", "o1"), after.apply(fill("f2", "o1")))
    assert dump(opened) == before


def test_a_fill_after_a_cancellation_is_booked(opened):
    accounts.record_status(opened, "o1", OrderStatus.cancelled)
    accounts.record_fill(opened, "paper", fill("f1", "o1"), Portfolio(D(1000)).apply(fill("f1", "o1")))
    assert accounts.list_orders(opened, "paper")[1][0]["status"] == "filled"


@pytest.mark.parametrize("ended", [OrderStatus.filled, OrderStatus.cancelled, OrderStatus.rejected])
def test_an_order_that_is_done_keeps_its_status(opened, ended):
    if ended == OrderStatus.filled:
        accounts.record_fill(opened, "paper", fill("f1", "o1"), Portfolio(D(1000)).apply(fill("f1", "o1")))
    else:
        accounts.record_status(opened, "o1", ended, "as the venue says")
    before = dump(opened)
    for status in (OrderStatus.open, OrderStatus.rejected):
        with pytest.raises(StoreError, match=f"order o1 is unknown or done: it cannot become {status}"):
            accounts.record_status(opened, "o1", status)
    with pytest.raises(StoreError, match="order o9 is unknown or done"):
        accounts.record_status(opened, "o9", OrderStatus.open)
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
    row = dict(account="a", cause="open", timestamp=datetime(2024, 1, 1), cash=D(1), equity=D(1))
    with pytest.raises(StoreError, match="naive time 2024-01-01"), db.write() as c:
        c.execute(sa.insert(SnapshotRow), row)
    assert dump(db)["portfolio_snapshots"] == []


def test_an_account_opens_once_even_if_two_open_it_at_the_same_moment(db):
    accounts.open_account(db, "paper", D(1000), 0)
    with pytest.raises(StoreError, match="account 'paper' exists already"):
        accounts.open_account(db, "paper", D(2000), 0)
    row = dict(account="paper", cause="open", timestamp=datetime.now(UTC), cash=D(2000), equity=D(2000))
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
        accounts.record_fill(db, "paper", one, portfolio, [mark(i * MINUTE, portfolio)])
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


def test_a_position_is_revalued_and_closed(opened):
    bought = Portfolio(D(1000)).apply(fill("f1", "o1"))
    accounts.record_fill(opened, "paper", fill("f1", "o1"), bought)
    accounts.record_marks(opened, "paper", [mark(2 * MINUTE, bought, "110.5")], bought, {"BTC-USD": D("110.5")})
    (held,) = accounts.list_positions(opened, "paper")
    assert (held["current_price"], held["unrealized_pnl"], held["entry_price"]) == (D("110.5"), D(21), D(100))
    assert held["opened_at"] == datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
    accounts.record_order(opened, "paper", order("o2", Side.sell))
    sale = fill("f2", "o2", Side.sell, ms=3 * MINUTE, price="90")
    accounts.record_fill(opened, "paper", sale, bought.apply(sale))
    (closed,) = accounts.list_positions(opened, "paper")
    assert (closed["quantity"], closed["realized_pnl"], closed["unrealized_pnl"]) == (D(0), D(-20), D(0))
    assert closed["opened_at"] is None and closed["fees"] == D("0.38")
    last = accounts.last_snapshot(opened, "paper")
    assert last["cash"] == last["equity"] == D(1000) - D(20) - D("0.38")
