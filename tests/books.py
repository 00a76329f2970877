"What holds in the rows of every account, whatever it did; and a process that ends in the middle of a write."

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import time
from decimal import Decimal, localcontext
from itertools import count, pairwise

import sqlalchemy as sa

from rrr.core.money import rounded
from rrr.core.trading import EXACT
from rrr.store import accounts
from rrr.store.db import Database
from rrr.store.schema import SnapshotRow, SymbolRow


def add_symbols(db: Database, *symbols: str) -> None:
    with db.write() as c:
        for symbol in symbols:
            base, quote = symbol.split("-")
            c.execute(sa.insert(SymbolRow), dict(symbol=symbol, base=base, quote=quote))


def snapshots(db: Database, account: str) -> list[dict]:
    "All snapshots of an account, in the order they were written."
    t = SnapshotRow.__table__
    with db.read() as c:
        query = sa.select(t).where(t.c.account == account).order_by(t.c.snapshot_id)
        return [dict(row) for row in c.execute(query).mappings()]


def check_snapshots(db: Database, account: str) -> None:
    "P&L and returns follow from the equities, row by row."
    rows = snapshots(db, account)
    assert [row["cause"] for row in rows].count("open") == 1 and rows[0]["cause"] == "open"
    assert rows[0]["cash"] == rows[0]["equity"]
    with localcontext(EXACT):
        for i, row in enumerate(rows):
            midnight = row["timestamp"].combine(row["timestamp"].date(), time(), row["timestamp"].tzinfo)
            earlier = [r["equity"] for r in rows[:i] if r["timestamp"] < midnight]
            opening, day = rows[0]["equity"], earlier[-1] if earlier else rows[0]["equity"]
            assert row["total_value"] == row["equity"] and row["timestamp"] >= rows[max(0, i - 1)]["timestamp"]
            assert (row["total_pnl"], row["daily_pnl"]) == (row["equity"] - opening, row["equity"] - day)
            assert row["total_return"] == (float((row["equity"] - opening) / opening) if opening else 0.0)
            assert row["daily_return"] == (float((row["equity"] - day) / day) if day else 0.0)


def check_holdings(db: Database, account: str) -> None:
    "Holdings follow each other from flat to flat, and together they account for every fill."
    held, fills = accounts.list_positions(db, account), accounts.list_fills(db, account)[1]
    orders = {o["order_id"]: o for o in accounts.list_orders(db, account)[1]}
    with localcontext(EXACT):
        for symbol in {f["symbol"] for f in fills} | {p["symbol"] for p in held}:
            ours = [p for p in held if p["symbol"] == symbol]
            theirs = [f for f in fills if f["symbol"] == symbol]
            moved = {s: sum(f["value"] for f in theirs if f["side"] == s) for s in ("buy", "sell")}
            amount = {s: sum(f["quantity"] for f in theirs if f["side"] == s) for s in ("buy", "sell")}
            assert sum(p["realized_pnl"] - p["cost"] for p in ours) == moved["sell"] - moved["buy"]
            assert sum(p["quantity"] for p in ours) == amount["buy"] - amount["sell"]
            assert sum(p["fees"] for p in ours) == sum(f["fee"] for f in theirs)
            assert all(p["status"] == "closed" for p in ours[:-1])
            assert all(a["closed_at"] <= b["opened_at"] for a, b in pairwise(ours))
        for p in held:
            assert p["total_pnl"] == p["realized_pnl"] + p["unrealized_pnl"]
            assert p["unrealized_pnl"] == rounded(p["quantity"] * p["current_price"] - p["cost"])
            assert p["side"] == "long" and p["metadata"] == {} and p["entry_price"] > 0
            opener, closer = orders[p["open_order_id"]], orders.get(p["close_order_id"])
            assert (opener["side"], opener["filled_at"]) == ("buy", p["opened_at"])
            assert p["strategy_id"] == opener["strategy_id"] and p["opened_at"] <= p["updated_at"]
            if p["status"] == "closed":
                assert p["quantity"] == p["cost"] == p["unrealized_pnl"] == 0
                assert (closer["side"], closer["filled_at"]) == ("sell", p["closed_at"])
            else:
                assert p["status"] == "open" and p["quantity"] > 0 and closer is p["closed_at"] is None


def check_orders(db: Database, account: str) -> None:
    "An order is filled exactly when there is its fill, and cancelled exactly when it has the time of it."
    fills = {f["order_id"]: f for f in accounts.list_fills(db, account)[1]}
    orders = accounts.list_orders(db, account)[1]
    assert fills.keys() == {o["order_id"] for o in orders if o["status"] == "filled"}
    for o in orders:
        f = fills.get(o["order_id"])
        assert (o["filled_quantity"], o["average_fill_price"]) == ((f["quantity"], f["price"]) if f else (0, None))
        assert o["filled_at"] == (f["timestamp"] if f else None)
        assert (o["cancelled_at"] is not None) == (o["status"] == "cancelled")


def check_account(db: Database, account: str) -> None:
    "Snapshots, holdings, orders; and the cash is what the fills left of the opening balance."
    check_snapshots(db, account)
    check_holdings(db, account)
    check_orders(db, account)
    with localcontext(EXACT):
        signs = {"buy": -1, "sell": 1}
        flows = [signs[f["side"]] * f["value"] - f["fee"] for f in accounts.list_fills(db, account)[1]]
        assert snapshots(db, account)[-1]["cash"] == accounts.opening_cash(db, account) + sum(flows, Decimal(0))


class Crash(BaseException):
    "The process ends here"


@contextmanager
def crash_at(db: Database, statement: int) -> Iterator[None]:
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
