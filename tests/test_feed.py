"A live source goes into the store bar by bar; what no market can have made is refused, counted and told."

import asyncio
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import DataError
from rrr.data.faults import StreamFaults
from rrr.data.feed import CONTEXT, Feed, TickGate, batched, refresh_quality
from rrr.data.mock import MockDataSource
from rrr.data.tradebars import time_bars
from rrr.store.bars import bars_frame, data_hash, get_series, read_bars
from rrr.store.db import Database
from rrr.store.records import find_records
from rrr.store.schema import SystemEventRow
from rrr.store.writer import write_bars

START = datetime(2025, 1, 1, tzinfo=UTC)


def tick(second: float, price: float = 100.0, symbol="BTC-USD", **more) -> dict:
    return dict(symbol=symbol, price=price, volume=1.0, timestamp=START + timedelta(seconds=second)) | more


async def told(items):
    for item in items:
        yield item


def feed(db, items, most=500):
    return asyncio.run(Feed(db, "1m", "test", clock=None).run(told(items), most))


REFUSED = [
    (dict(price=math.nan), "not_finite"), (dict(price=math.inf), "not_finite"), (dict(price=0), "price_not_positive"),
    (dict(price=-5), "price_not_positive"), (dict(volume=-1), "negative_volume"), (dict(price=None), "schema"),
    (dict(price="a lot"), "schema"), (dict(timestamp=datetime(2025, 1, 1)), "schema"), (dict(timestamp=5), "schema"),
    (dict(price=1001.0), "bad_print"), (dict(price=9.0), "bad_print"), (dict(trade_id=7), "duplicate"),
    (dict(trade_id=8, price=100.5), "conflicting_duplicate"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "code"), REFUSED)
def test_a_tick_that_no_market_can_have_made_is_refused_with_its_code(change, code):
    gate = TickGate()
    for k in range(10):
        assert gate.put(tick(k, trade_id=k)) == ([tick(k, trade_id=k)], [])
    at = 7 if code == "duplicate" else 8 if "conflicting" in code else 10
    assert gate.put(tick(at, trade_id=10) | change) == ([], [code])
    assert gate.put(tick(11, trade_id=11))[1] == []


def test_a_tick_far_ahead_of_our_clock_is_refused():
    now = START.timestamp() * 1000
    assert TickGate().put(tick(61), now)[1] == ["clock_offset"] and TickGate().put(tick(59), now)[1] == []


def test_a_far_price_waits_for_the_next_tick_to_confirm_it():
    gate = TickGate()
    passed = [
        [t["price"] for t in gate.put(tick(k, price))[0]] for k, price in enumerate([100, 100, 110, 110.5, 130, 110.4])
    ]
    assert passed == [[100], [100], [], [110, 110.5], [], [110.4]]


@settings(max_examples=30, deadline=None)
@given(n=st.integers(0, 40), most=st.integers(1, 7))
def test_batches_hold_every_item_once_and_in_order(n, most):
    async def take():
        return [b async for b in batched(told(range(n)), most, wait=0.5)]

    batches = asyncio.run(take())
    assert [x for b in batches for x in b] == list(range(n)) and all(1 <= len(b) <= most for b in batches)


def test_a_source_that_fails_fails_the_feed_and_what_was_stored_stays(db):
    async def source():
        for k in range(130):
            yield tick(k, 100 + k % 3)
        raise DataError("the venue hung up")

    running = Feed(db, "1m", "test", clock=None)
    with pytest.raises(DataError, match="hung up"):
        asyncio.run(running.run(source()))
    assert running.report.bars["BTC-USD"] <= 1


def test_bars_of_a_feed_are_those_of_its_ticks(db):
    ticks = [tick(k, 100 + (k * 7 % 11) / 10) for k in range(200)]
    report = feed(db, ticks)
    import pandas as pd

    index = pd.DatetimeIndex([t["timestamp"] for t in ticks], name="timestamp").as_unit("ns")
    trades = pd.DataFrame(dict(price=[t["price"] for t in ticks], size=1.0, trade_id=range(200)), index=index)
    want = time_bars(trades, "1m").iloc[1:3]  # the first may have begun before the feed, the last is not over
    stored = read_bars(db, "BTC-USD", "1m", extra=["vwap", "trade_count"])
    assert (
        report.bars == {"BTC-USD": 2} and stored.to_numpy().tolist() == want[list(stored.columns)].to_numpy().tolist()
    )
    series = get_series(db, "BTC-USD", "1m")
    assert series["quality"]["rows"] == 2 and series["data_hash"] == data_hash(stored)


@pytest.mark.parametrize("most", [1, 500])
def test_a_feed_that_is_taken_up_again_changes_nothing_and_goes_on(db, most):
    ticks = [tick(k, 100 + k % 5) for k in range(400)]
    feed(db, ticks[:250], most)
    before = read_bars(db, "BTC-USD", "1m")
    report = feed(db, ticks[100:], most)
    stored = read_bars(db, "BTC-USD", "1m")
    assert len(before) == 3 and stored[:3].equals(before) and len(stored) == 5
    assert report.bars == {"BTC-USD": 2} and report.partial == 1 and report.refused == {"duplicate": 2}


def test_repeats_late_ticks_and_bad_prints_do_not_reach_the_bars(db):
    async def source(faults, count=900):
        market = MockDataSource(["BTC-USD"], seed=3)
        async for item in market.ticks(interval=0, faults=faults):
            yield item
            count -= 1
            if not count:
                market.stop()

    faults = StreamFaults(duplicate=0.05, bad_print=0.03, seed=5)
    undisturbed = Database("sqlite://")
    dirty, clean = (Feed(to, "1m", "mock", synthetic=True, clock=None) for to in (db, undisturbed))
    report = asyncio.run(dirty.run(source(faults)))
    bars = read_bars(db, "BTC-USD", "1m")
    bad = sum(kind == "bad_print" for _, kind in faults.injected)
    repeats = sum(kind == "duplicate" for _, kind in faults.injected)
    assert bad > 10 and repeats > 20
    assert abs(report.refused["bad_print"] - bad) <= 1 and abs(report.refused["duplicate"] - repeats) <= 1
    asyncio.run(clean.run(source(None)))
    want = read_bars(undisturbed, "BTC-USD", "1m")
    undisturbed.close()
    assert ((bars["high"] / want["high"].reindex(bars.index) - 1).abs() < 0.001).all()


def test_a_finished_bar_that_cannot_be_is_recorded_and_not_stored(db):
    calm = [tick(10 * k, 100 + k % 2 / 10) for k in range(6 * (CONTEXT // 8))]
    seconds = 10 * len(calm)
    jump = [tick(seconds + k, 9.999) for k in range(60)]
    report = feed(db, [*calm, *jump, tick(seconds + 61, 100.0), tick(seconds + 130, 100.0)])
    assert report.refused["bad_print"] >= 49  # tick by tick
    assert find_records(db, SystemEventRow) == []
    running = Feed(db, "1m", "test", clock=None)
    kept = running._judge(("ETH-USD", bar := read_bars(db, "BTC-USD", "1m").iloc[:1].assign(high=1.0)))
    assert kept == [] and running.report.refused["high_below_low"] == 1
    (event,) = find_records(db, SystemEventRow)
    assert event["component"] == "feed" and "bar of ETH-USD 1m at 2025-01-01 00:01 is not stored" in event["message"]
    assert bar["high"].iloc[0] == 1.0


def test_late_ticks_are_counted_and_change_no_closed_bar(db):
    ticks = [tick(k) for k in range(130)]
    report = feed(db, [*ticks, tick(63.5, 101.0), tick(125.5, 101.5), tick(200)], most=1)
    assert report.late == 1 and read_bars(db, "BTC-USD", "1m")["high"].tolist() == [100.0, 101.5]


def test_listeners_hear_ticks_and_bars(db):
    running = Feed(db, "1m", "test", clock=None)
    with running.news.listen("trades") as trades, running.news.listen("market") as market:
        asyncio.run(running.run(told([tick(k) for k in range(125)])))
        assert len(trades.taken()) == 125
        assert sum(item["rows"] for item in market.taken()) == 1


def test_the_venues_clock_is_measured(db):
    now = START.timestamp() + 200
    running = Feed(db, "1m", "test", clock=lambda: now)
    report = asyncio.run(running.run(told([tick(k) for k in range(101)])))
    assert report.clock_offset_ms == 150_000


def test_several_symbols_and_nonsense_beside_them(db):
    ticks = [tick(k, 100 if s == "BTC-USD" else 5, s) for k in range(130) for s in ("BTC-USD", "ETH-USD")]
    report = feed(db, [*ticks, {}, dict(symbol="?"), tick(131)])
    assert report.bars == {"BTC-USD": 1, "ETH-USD": 1} and report.refused == {"schema": 2} and report.ticks == 263


def test_judging_anew_keeps_what_was_accepted(db):
    feed(db, [tick(k) for k in range(200)])
    with pytest.raises(DataError, match="no bars of BTC-USD 1h"):
        refresh_quality(db, "BTC-USD", "1h")
    assert refresh_quality(db, "btc/usd", "1m")["rows"] == 2


def test_no_single_tick_ends_a_feed(db):
    good = [tick(k, trade_id=None) for k in range(130)]
    nonsense = [
        tick(5, price=10**400), tick(6) | dict(timestamp=datetime(1, 1, 1, tzinfo=UTC)),
        tick(7) | dict(timestamp=datetime(2300, 1, 1, tzinfo=UTC)), tick(8, trade_id=[1]),
    ]  # fmt: skip
    report = feed(db, [*good[:50], *nonsense, *good[50:]])
    assert report.bars == {"BTC-USD": 1} and report.refused == {"schema": 4}


def test_a_market_that_moved_beyond_ten_times_is_followed_after_a_while():
    gate = TickGate()
    for k in range(100):
        gate.put(tick(k))
    passed = [bool(gate.put(tick(100 + k, 9.0 + k % 2 / 100))[0]) for k in range(200)]
    assert not any(passed[:49]) and all(passed[52:])


def test_synthetic_bars_of_another_source_make_way_and_are_counted(db):
    ticks = [tick(k, 100 + k % 5) for k in range(400)]
    first, other = (Feed(db, "1m", name, synthetic=True, clock=None) for name in ("one", "other"))
    asyncio.run(first.run(told(ticks)))
    report = asyncio.run(other.run(told(ticks)))
    assert report.dropped_synthetic == 5 and report.bars == {"BTC-USD": 5} and not report.refused


def test_a_series_that_takes_no_ticks_does_not_end_the_feed_of_others(db):
    write_bars(db, "ETH-USD", "1m", read_frame(), "long.csv", more=True)
    report = feed(db, [tick(k, 100, s) for k in range(130) for s in ("BTC-USD", "ETH-USD")])
    assert report.bars == {"BTC-USD": 1} and report.refused == {"series": 130}


def read_frame():
    return bars_frame([0, 60_000], [[1, 1, 1, 1, 1]] * 2)


def test_what_was_judged_is_stored_when_the_feed_is_cancelled(db):
    running = Feed(db, "1m", "test", clock=None)
    judged = asyncio.Event()

    async def source():
        for k in range(400):
            yield tick(k, 100 + k % 5)
        judged.set()
        await asyncio.Event().wait()

    async def main():
        task = asyncio.create_task(running.run(source(), most=1))
        await judged.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    of = running._symbols["BTC-USD"]
    stored = read_bars(db, "BTC-USD", "1m")
    assert of.tail.index[-1] == stored.index[-1] and len(of.tail) == len(stored) == running.report.bars["BTC-USD"] > 0


def test_bars_that_are_stored_with_a_warning_are_counted(db):
    ticks = [tick(k, 100 + k * 7 % 5 / 50 if k < 6000 else 130 + k * 7 % 5 / 50) for k in range(6200)]
    report = feed(db, ticks)
    assert report.bars["BTC-USD"] == 102 and sum(report.findings.values()) >= 1
    assert report.to_dict()["findings"] == dict(report.findings)


def test_ticks_without_volume_are_refused_one_by_one(db):
    ticks = [tick(k, 100 + k % 5) | (dict(volume=0.0) if k % 50 == 49 else {}) for k in range(200)]
    report = feed(db, [*ticks, dict(symbol="BTC-USD", price=100.0, timestamp=START)])
    assert report.refused == {"zero_volume": 4, "schema": 1} and report.bars == {"BTC-USD": 2}
