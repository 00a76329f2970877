"Books and captures: what a feed sent is read exactly, both clocks are kept, and no book is shown that cannot be proven."

import gzip
import json
import math
import tracemalloc
import zlib
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import DataError, ParameterError, RRRError
from rrr.data.bookfiles import read_book, read_books, read_updates
from rrr.data.captures import as_event_ns, iter_messages, read_capture
from rrr.data.orderbook import BookBuilder, DepthSnapshot, DepthUpdate, OrderBook, apply_depth, okx_checksum
from rrr.store.ticks import read_quotes, read_trades, write_quotes, write_trades

NOW = datetime(2024, 1, 31, 12, tzinfo=UTC)
T = 1_706_702_400_000  # the same in ms


def spot(ms: int, **data) -> str:  # a line; the local clock is right and a message takes 20 ms
    return f"{(T + ms + 20) * 10**6} {json.dumps({'stream': 'btcusdt@x', 'data': {'s': 'BTCUSDT', **data}})}"


def trade(i: int, ms: int | None = None, **other) -> str:
    ms = 10 * i if ms is None else ms
    return spot(ms, **dict(e="trade", E=T + ms, T=T + ms, t=i, p=f"{100 + i}.50", q="0.25", m=bool(i % 2)) | other)


def quote(i: int, **other) -> str:
    return spot(10 * i, **dict(u=i, b="99.5", B="1", a="100.5", A="2") | other)


def depth(first: int, last: int, bids=(), asks=(), **other) -> str:
    return spot(last, **dict(e="depthUpdate", E=T + last, U=first, u=last, b=list(bids), a=list(asks)) | other)


def rest(last: int, bids, asks, **other) -> str:
    return f"{T * 10**6} {json.dumps(dict(lastUpdateId=last, bids=bids, asks=asks) | other)}"


@pytest.fixture
def write(tmp_path):
    def put(*lines: str, name: str = "capture.txt", end: str = "\n"):
        (path := tmp_path / name).write_text("\n".join(lines) + end)
        return path

    return put


# the book as a value


def test_a_book_knows_spread_and_middle():
    book = OrderBook("btc/usd", NOW, [(99, 1), (98, 2)], [(101, 1)])
    assert (book.symbol, book.spread, book.mid_price, book.crossed) == ("BTC-USD", 2, 100, False)
    assert book.bids == ((99.0, 1.0), (98.0, 2.0))


def test_a_book_with_an_empty_side_has_no_spread_and_is_not_crossed():
    book = OrderBook("BTC-USD", NOW, [(99, 1)], [])
    assert math.isnan(book.spread) and math.isnan(book.mid_price) and not book.crossed
    assert "none" in repr(book)


@pytest.mark.parametrize("ask", [99, 98])
def test_a_crossed_or_locked_book_is_kept_and_flagged(ask):
    book = OrderBook("BTC-USD", NOW, [(99, 1)], [(ask, 1)])
    assert book.crossed and "crossed" in repr(book)


@pytest.mark.parametrize(
    ("bids", "asks", "told"),
    [
        ([(99, 1), (99, 1)], [], "bids, level 2: price 99 follows 99"),
        ([(98, 1), (99, 1)], [], "bids, level 2"),
        ([], [(101, 1), (100, 1)], "asks, level 2: price 100 follows 101"),
        ([(0, 1)], [], "price 0 is not"),
        ([(math.nan, 1)], [], "price nan is not"),
        ([], [(math.inf, 1)], "price inf"),
        ([(99, 0)], [], "size 0 is not"),
        ([(99, -1)], [], "size -1"),
        ([(99, math.nan)], [], "size nan"),
    ],
)
def test_levels_that_cannot_be_are_refused(bids, asks, told):
    with pytest.raises(DataError, match=told):
        OrderBook("BTC-USD", NOW, bids, asks)


def test_a_book_without_zone_is_refused():
    with pytest.raises(DataError, match="carries a zone"):
        OrderBook("BTC-USD", datetime(2024, 1, 1), [], [])


# the book that follows

SNAPSHOT = DepthSnapshot(
    100, ((99.0, 1.0), (98.0, 1.0), (97.0, 1.0)), ((101.0, 1.0), (102.0, 1.0), (103.0, 1.0)), 10**18
)


def update(first, last, pu=None, bids=(), asks=()):
    return DepthUpdate(first, last, pu, tuple(bids), tuple(asks), 10**18 + (last or 0))


def test_spot_updates_before_the_snapshot_are_passed_over_and_the_rest_is_a_chain():
    book = BookBuilder("BTC-USDT", SNAPSHOT)
    assert [book.apply(u) for u in (update(90, 99), update(95, 100), update(98, 103), update(104, 104))] == [0, 0, 1, 1]
    assert (book.last_id, book.updates) == (104, 2)


def test_the_first_spot_update_may_begin_right_after_the_snapshot():
    assert BookBuilder("BTC-USDT", SNAPSHOT).apply(update(101, 103))


@pytest.mark.parametrize("first", [102, 150])
def test_a_snapshot_too_old_for_the_updates_is_a_gap(first):
    with pytest.raises(DataError, match=f"ids {first} to 160 came after the snapshot that ends at id 100"):
        BookBuilder("BTC-USDT", SNAPSHOT).apply(update(first, 160))


@pytest.mark.parametrize("first", [103, 105, 106])
def test_a_spot_update_that_does_not_begin_after_the_last_is_a_gap_naming_both(first):
    with pytest.raises(DataError, match=f"ids {first} to 110 came after the update that ends at id 103"):
        apply_depth("BTC-USDT", SNAPSHOT, [update(101, 103), update(first, 110)])


def test_futures_are_chained_by_the_update_before():
    book = BookBuilder("BTC-USDT", SNAPSHOT)
    rows = [update(80, 99, 70), update(99, 140, 99), update(190, 200, 140)]
    assert [book.apply(u) for u in rows] == [0, 1, 1]
    with pytest.raises(DataError, match=r"ids 300 to 310 \(after 290\) came after the update that ends at id 200"):
        book.apply(update(300, 310, 290))


def test_a_futures_update_that_ends_at_the_snapshot_is_used_as_the_venue_documents():
    assert BookBuilder("BTC-USDT", SNAPSHOT).apply(update(99, 100, 98))


def test_a_futures_update_may_name_the_snapshot_itself_as_the_one_before():
    assert BookBuilder("BTC-USDT", SNAPSHOT).apply(update(150, 160, 100))


def test_a_size_of_zero_takes_a_level_away_even_one_never_seen():
    book = apply_depth("BTC-USDT", SNAPSHOT, [update(101, 102, bids=[(99, 0), (98.5, 0)], asks=[(100.5, 3)])])
    assert book.top().bids == ((98.0, 1.0),) and book.top().asks == ((100.5, 3.0),)


def test_a_book_that_crosses_is_refused():
    with pytest.raises(DataError, match=r"crossed after update 1 .*bid 101, ask 101"):
        apply_depth("BTC-USDT", SNAPSHOT, [update(101, 102, bids=[(101, 1)])])


def test_levels_beyond_the_snapshot_are_not_shown_and_a_market_that_leaves_it_is_refused():
    book = apply_depth("BTC-USDT", SNAPSHOT, [update(101, 102, bids=[(96, 5)], asks=[(104, 5)])])
    assert len(book.levels().bids) == len(book.levels().asks) == 3 and book.in_reach
    book.apply(update(103, 104, bids=[(99, 0), (98, 0), (97, 0)]))
    assert not book.in_reach
    with pytest.raises(DataError, match="left the levels of the snapshot .bids down to 97, asks up to 103"):
        book.top()


def test_a_book_without_ids_and_checksums_cannot_be_kept():
    with pytest.raises(DataError, match="neither ids nor checksums"):
        apply_depth("BTC-USDT", SNAPSHOT, [update(None, None)])


def test_a_book_without_any_time_is_refused():
    with pytest.raises(DataError, match="has no time"):
        BookBuilder("BTC-USDT", DepthSnapshot(1, SNAPSHOT.bids, SNAPSHOT.asks)).top()


def test_okx_checksum_is_that_of_its_documentation():
    assert okx_checksum(((3366.1, 7.0), (3366.0, 6.0)), ((3366.8, 9.0), (3368.0, 8.0))) == -1881014294


def test_where_one_side_has_fewer_levels_the_other_goes_on_alone():
    text = b"3366.1:7:3366.8:9:3368:8:3372:8"
    have = okx_checksum(((3366.1, 7.0),), ((3366.8, 9.0), (3368.0, 8.0), (3372.0, 8.0)))
    assert have % 2**32 == zlib.crc32(text)


def test_a_checksum_that_does_not_agree_is_a_gap():
    after = ((99.0, 1.0), (98.0, 1.0), (97.0, 2.0))
    good = DepthUpdate(None, None, None, ((97.0, 2.0),), (), 10**18, None, okx_checksum(after, SNAPSHOT.asks))
    start = DepthSnapshot(None, SNAPSHOT.bids, SNAPSHOT.asks)
    book = apply_depth("BTC-USDT", start, [good])
    with pytest.raises(DataError, match="gap before update 2 .*checksum"):
        book.apply(DepthUpdate(None, None, None, ((97.0, 3.0),), (), 10**18, None, good.checksum))


CHANGES = st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 3)), max_size=8)


@given(st.lists(CHANGES, max_size=12), st.data())
@settings(max_examples=60, deadline=None)
def test_a_book_is_the_last_size_of_each_level_however_the_changes_are_cut(batches, data):
    sides = [{p: 1.0 for p, _ in side} for side in (SNAPSHOT.bids, SNAPSHOT.asks)]
    updates, at = [], 100
    for changes in batches:
        rows = [[], []]
        for is_ask, step, size in changes:
            price = 101.0 + step if is_ask else 99.0 - step
            rows[is_ask].append((price, float(size)))
            sides[is_ask][price] = float(size)
        first, at = at + 1, at + data.draw(st.integers(1, 5))
        updates.append(update(first, at, None, *rows))
    want = [{p: q for p, q in side.items() if q} for side in sides]
    book = apply_depth("BTC-USDT", SNAPSHOT, updates)
    have = [dict(book._bids.levels(None)), dict(book._asks.levels(None))]
    assert have == want
    for i, side in enumerate((book._bids, book._asks)):
        assert [p for p, _ in side.levels(None)] == sorted(want[i], reverse=i == 0)
    if len(updates) > 2:  # any that is left out is noticed
        missing = data.draw(st.integers(1, len(updates) - 2))
        with pytest.raises(DataError, match="has a gap"):
            apply_depth("BTC-USDT", SNAPSHOT, updates[:missing] + updates[missing + 1 :])


# captures


def test_a_spot_capture_gives_trades_quotes_depth_and_snapshot(write):
    path = write(
        rest(10, [["99.5", "1"]], [["100.5", "2"]]), trade(1), quote(12), depth(11, 12, asks=[["100.5", "3"]]), trade(2)
    )
    c = read_capture(path)
    assert (c.venue, c.instrument) == ("binance", "BTCUSDT")
    assert c.counts == dict(snapshot=1, trade=2, quote=1, depth=1)
    assert c.trades.index.tolist() == [pd.Timestamp((T + ms) * 10**6, tz="UTC") for ms in (10, 20)]
    assert c.trades.index.dtype == "datetime64[ns, UTC]"
    assert c.trades[["trade_id", "price", "size", "side"]].values.tolist() == [
        ["1", 101.5, 0.25, "sell"],
        ["2", 102.5, 0.25, "buy"],
    ]
    assert c.trades["received_ns"].tolist() == [(T + 30) * 10**6, (T + 40) * 10**6]
    assert c.quotes[["bid", "bid_size", "ask", "ask_size", "update_id"]].values.tolist() == [[99.5, 1, 100.5, 2, 12]]
    assert c.clock_offset_ms == 20
    assert apply_depth("BTC-USDT", c.snapshots[0], c.updates).top().asks == ((100.5, 3.0),)
    assert len(c.notes) == 1 and "1 quotes carry no exchange time" in c.notes[0]


def test_spot_quotes_are_stamped_with_the_local_clock_and_futures_quotes_with_the_exchanges(write):
    at = read_capture(write(quote(1))).quotes.index[0]
    assert at == pd.Timestamp((T + 30) * 10**6, tz="UTC")
    futures = read_capture(write(quote(1, e="bookTicker", T=T + 9, E=T + 10)))
    assert futures.quotes.index[0] == pd.Timestamp((T + 9) * 10**6, tz="UTC")
    assert futures.venue == "binance-futures" and futures.notes == ()


def test_a_futures_capture_has_its_own_fields(write):
    start = rest(10, [["99.5", "1"]], [["100.5", "2"]], E=T, T=T - 1)
    path = write(start, trade(1, X="MARKET"), trade(2, X="INSURANCE_FUND"), depth(9, 12, pu=8, T=T + 11))
    c = read_capture(path)
    assert c.venue == "binance-futures" and c.trades["trade_id"].tolist() == ["1"]
    assert c.counts["trade INSURANCE_FUND"] == 1 and "trade INSURANCE_FUND 1" in c.notes[-1]
    assert c.updates[0].previous_id == 8 and c.updates[0].event_ns == (T + 11) * 10**6
    assert c.snapshots[0].event_ns == (T - 1) * 10**6


def test_a_clock_that_runs_behind_is_measured_told_and_not_mended(write):
    lines = [f"{(T + 10 * i - 1250 + i) * 10**6} {trade(i).split(' ', 1)[1]}" for i in range(1, 6)]
    c = read_capture(write(*lines))
    assert c.clock_offset_ms == -1247
    assert c.trades["received_ns"].tolist() == [(T + 11 * i - 1250) * 10**6 for i in range(1, 6)]
    assert (c.trades["available_ns"] == c.trades.index.asi8).all()
    (note,) = c.notes
    assert "5 of 5 messages" in note and "by 1,249 ms at least" in note and "-1,247 ms" in note


def test_available_time_is_receive_time_where_that_is_later(write):
    c = read_capture(write(trade(1)))
    assert c.trades["available_ns"].tolist() == c.trades["received_ns"].tolist() == [(T + 30) * 10**6]


def test_missing_repeated_and_late_trades_are_told(write):
    notes = " ".join(read_capture(write(trade(1), trade(5), trade(5), trade(6, ms=20))).notes)
    assert "3 trades are missing in 1 places" in notes
    assert "1 trades repeat an id" in notes and "1 trades are earlier than the one before them" in notes


def test_a_broken_chain_of_depth_is_told_with_both_ids(write):
    notes = " ".join(read_capture(write(depth(1, 5), depth(6, 9), depth(12, 14))).notes)
    assert "broken in 1 places, first between the update to id 9 and that from id 12" in notes
    assert "without a snapshot" in notes


def test_a_snapshot_too_old_for_the_updates_is_told(write):
    notes = read_capture(write(rest(3, [], []), depth(6, 9), depth(10, 11))).notes
    assert notes == ("the snapshot to id 3 ends before the first update, from id 6, begins",)


def test_unknown_messages_are_counted_and_told(write):
    c = read_capture(write(trade(1), spot(5, e="kline", k={}), spot(6, e="kline", k={}), f"{T * 10**6} [1,2]"))
    assert c.counts == {"trade": 1, "kline": 2, "other": 1}
    assert c.notes == ("messages of other kinds were left out: kline 2, other 1",)


def test_gzip_and_plain_read_alike(write, tmp_path):
    plain = write(trade(1), quote(2), trade(3))
    (packed := tmp_path / "x.gz").write_bytes(gzip.compress(plain.read_bytes()))
    a, b = read_capture(plain), read_capture(packed)
    pd.testing.assert_frame_equal(a.trades, b.trades)
    pd.testing.assert_frame_equal(a.quotes, b.quotes)
    assert a.notes == b.notes and a.sha256 != b.sha256


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("nonsense", "a local time of 19 digits"),
        (trade(2)[:60], "line 2 is no message of a known feed"),
        (trade(2).replace('"p": "102.50", ', ""), "it lacks 'p'"),
        (trade(2, p="-1"), "price '-1' is not"),
        (trade(2, q="NaN"), "size 'NaN' is not"),
        (trade(2, p="abc"), "could not convert"),
        (trade(2, T=1706702400), "neither milliseconds nor microseconds"),
        (trade(2, T=9_999_999_999_999), "to a year from 2000 to 2100"),
        (trade(2, T=math.inf), "cannot convert float infinity"),
        ("9" * 19 + trade(2)[19:], "its local time is not of the years 2000 to 2100"),
        ("[" * 9 + trade(2), "a local time"),
        (f"{T * 10**6} " + "[" * 99_999, "recursion"),
        (trade(2, m=None), "m None is neither true nor false"),
        (depth(1, 2, bids=[["1"]]), "index out of range"),
        ("1652459225.5: garbage", "Expecting value"),
        ("1652459225.5", "a local time"),
        ("\ufffd\x00", "a local time"),
    ],
)
def test_a_damaged_line_in_the_middle_is_refused_with_its_number(write, line, told):
    with pytest.raises(DataError, match="capture.txt, line 2 is no message") as e:
        read_capture(write(trade(1), line, trade(3)))
    assert told in str(e.value)


@given(st.integers(0, 400))
@settings(max_examples=80, deadline=None)
def test_a_capture_cut_off_anywhere_gives_all_whole_messages_before(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cut") / "capture.txt"
    whole = "\n".join([trade(1), trade(2), "1652459225.5037491: pong", trade(3)])
    path.write_text(whole[: len(whole) - cut])
    messages = list(iter_messages(path, notes := []))
    lines = path.read_text().split("\n")
    rest_is_whole = lines[-1] == whole.split("\n")[len(lines) - 1]
    assert len(messages) == len(lines) - (not rest_is_whole)
    assert len(notes) == (not rest_is_whole and lines[-1] != "")


def test_a_damaged_last_line_that_is_not_cut_off_is_refused(write):
    with pytest.raises(DataError, match="line 2"):
        read_capture(write(trade(1), trade(2)[:60], end="\n"))


def test_a_gzip_cut_off_is_told_and_a_damaged_one_refused(write, tmp_path):
    content = gzip.compress(write(*(trade(i) for i in range(1, 2000))).read_bytes())
    (cut := tmp_path / "cut.gz").write_bytes(content[:-200])
    c = read_capture(cut)
    assert 1000 < len(c.trades) < 1999 and "the gzip file is cut off after line" in c.notes[0]
    (bad := tmp_path / "bad.gz").write_bytes(content[:200] + b"\0\0\0\0" + content[204:])
    with pytest.raises(DataError, match="bad.gz"):
        read_capture(bad)


def test_several_instruments_are_one_at_a_time(write):
    path = write(trade(1), trade(1, s="ETHUSDT"), trade(2), rest(1, [], []))
    with pytest.raises(DataError, match=r"holds 2 instruments \(BTCUSDT, ETHUSDT\)"):
        read_capture(path)
    c = read_capture(path, "BTCUSDT")
    assert c.trades["trade_id"].tolist() == ["1", "2"] and c.snapshots == ()
    assert c.notes == ("1 snapshots name no instrument and were left out",)
    with pytest.raises(ParameterError, match="holds no instrument 'XRPUSDT', but BTCUSDT, ETHUSDT"):
        read_capture(path, "XRPUSDT")


def test_spot_and_futures_in_one_file_are_refused(write):
    with pytest.raises(DataError, match="mixes BTCUSDT of binance and binance-futures"):
        read_capture(write(trade(1), trade(1, X="MARKET")))


@pytest.mark.parametrize("lines", [[""], [spot(1, e="kline")]])
def test_a_file_without_any_known_message_is_refused(write, lines):
    with pytest.raises(DataError, match="holds no trades, quotes or depth"):
        read_capture(write(*lines))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_capture(tmp_path / "none.gz")


OKX = [
    "wss://ws.okx.com:8443/ws/v5/public <-> 1652459224.5300605",
    'wss://ws.okx.com:8443/ws/v5/public <- 1652459225.2987883: {"op":"subscribe","args":[]}',
    '1652459225.5037491: {"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT"}}',
    '1652459225.5070758: {"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"78",'
    '"px":"30218.8","sz":"1","side":"sell","ts":"1652459225400"},{"instId":"BTC-USDT","tradeId":"79",'
    '"px":"30218.9","sz":"2","side":"buy","ts":"1652459225401"}]}',
    '1652459225.5073643: {"arg":{"channel":"books","instId":"BTC-USDT"},"action":"snapshot","data":[{"asks":'
    '[["30219","2","0","1"]],"bids":[["30218","1","0","1"]],"ts":"1652459225405","checksum":1}]}',
    '1652459225.6: {"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"askPx":"30219","askSz":"2",'
    '"bidPx":"30218","bidSz":"1","ts":"1652459225500"}]}',
    "1652459225.7: pong",
]


def test_a_cryptofeed_capture_of_okx(write):
    c = read_capture(write(*OKX))
    assert c.counts == dict(connected=1, sent=1, subscribe=1, trade=2, snapshot=1, quote=1, pong=1)
    assert c.venue == "okx" and c.trades["side"].tolist() == ["sell", "buy"]
    assert c.trades["received_ns"].tolist() == [1652459225507075800] * 2
    assert c.quotes["bid"].tolist() == [30218] and c.quotes["update_id"].isna().all()
    assert c.snapshots[0].bids == ((30218.0, 1.0),)


@given(st.lists(st.tuples(st.integers(1, 10**9), st.integers(1, 10**9), st.booleans()), min_size=1, max_size=20))
@settings(max_examples=40, deadline=None)
def test_prices_and_sizes_come_back_as_they_were_sent(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("c") / "capture.txt"
    text = [(f"{p / 1e8:.8f}", f"{q / 1e8:.8f}", m) for p, q, m in rows]
    path.write_text("\n".join(trade(i, p=p, q=q, m=m) for i, (p, q, m) in enumerate(text)))
    c = read_capture(path)
    assert c.trades["price"].tolist() == [float(p) for p, _, _ in text]
    assert c.trades["size"].tolist() == [float(q) for _, q, _ in text]
    assert c.trades["side"].tolist() == ["sell" if m else "buy" for _, _, m in text]


def test_messages_are_read_in_memory_that_does_not_grow(write):
    path = write(*(trade(i) for i in range(5000)))
    tracemalloc.start()
    assert sum(1 for _ in iter_messages(path)) == 5000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400_000 < path.stat().st_size


def test_ticks_of_a_capture_go_into_the_store(write, db):
    c = read_capture(write(trade(1), quote(1), trade(2), quote(2)))
    assert write_trades(db, "BTC-USDT", c.venue, c.trades).new == 2
    assert write_quotes(db, "BTC-USDT", c.venue, c.quotes).new == 2
    assert read_trades(db, "BTC-USDT", "binance")["price"].tolist() == [101.5, 102.5]
    assert len(read_quotes(db, "BTC-USDT", "binance")) == 2


@pytest.mark.parametrize("number", ["1706702400", "abc", 17067024000000])
def test_times_in_other_units_are_refused(number):
    with pytest.raises(ValueError):
        as_event_ns(number)


# books in files

DEPTH = "symbol,timestamp,first_update_id,last_update_id,side,update_type,price,qty,pu\n"


def test_a_tardis_file_holds_a_book_a_row(write):
    head = "exchange,symbol,timestamp,local_timestamp,asks[0].price,asks[0].amount,bids[0].price,bids[0].amount"
    more = ",asks[1].price,asks[1].amount,bids[1].price,bids[1].amount"
    row = "binance-futures,BTCUSDT,1598918403696000,1598918403810979,101,1,100,2"
    path = write(head + more, row + ",102,3,99,4", row + ",,,,")
    first, second = read_books(path)
    assert first.symbol == "BTC-USDT" and first.asks == ((101.0, 1.0), (102.0, 3.0))
    assert first.timestamp == datetime(2020, 9, 1, 0, 0, 3, 696000, tzinfo=UTC)
    assert second.bids == ((100.0, 2.0),)
    with pytest.raises(DataError, match="holds 2 order books"):
        read_book(path)
    with pytest.raises(DataError, match="line 3: asks, level 2"):
        read_books(write(head + more, row + ",102,3,99,4", row + ",100,1,,"))


def test_depth_files_of_books_and_of_updates_are_told_apart(write):
    rows = "BTCUSDT,1667346579146,7,7,b,{0},20377.00,1.770,-1\nBTCUSDT,1667346579146,7,7,a,{0},20378.00,2,-1"
    book = read_book(write(DEPTH + rows.format("snap")))
    assert (book.bids, book.asks) == (((20377.0, 1.77),), ((20378.0, 2.0),))
    (change,) = read_updates(write(DEPTH + rows.format("set")))
    assert (change.first_id, change.last_id, change.previous_id, change.bids) == (7, 7, -1, ((20377.0, 1.77),))
    with pytest.raises(DataError, match="line 2, column 'update_type': it holds updates of a book"):
        read_book(write(DEPTH + rows.format("set")))
    with pytest.raises(DataError, match="line 2, column 'update_type': it holds books"):
        read_updates(write(DEPTH + rows.format("snap")))
    with pytest.raises(DataError, match="'x', which is unknown"):
        read_book(write(DEPTH + rows.format("x")))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (DEPTH + "BTCUSDT,1667346579146,7,7,c,snap,1,1,-1", "line 2, column 'side': 'c' is neither a nor b"),
        (DEPTH + "BTCUSDT,1667346579146,7,7,a,snap,-1,1,-1", "line 2: price '-1'"),
        (DEPTH + "BTCUSDT,1667346579146,7,7,a,snap,1,1", "line 2: the row does not have the cells"),
        (DEPTH + "WEIRD,1667346579146,7,7,a,snap,1,1,-1", "the symbol 'WEIRD' does not show base and quote"),
        (DEPTH, "holds no rows"),
        (DEPTH.replace("last_update_id", "x") + "BTCUSDT,1,7,7,a,snap,1,1,-1", "lacks the columns last_update_id of T_DEPTH"),
        ("a,b\n1,2", "has columns a, b"),
        ('{"status":"OK"}', "'data' is missing"),
        ('{"pricebook":{"product_id":"BTC-USD","bids":[{"price":"1","size":"x"}],"asks":[],"time":"2024-01-01T00:00:00Z"}}',
         "could not convert"),
        ("{", "Expecting property name"),
    ],
)  # fmt: skip
def test_files_that_hold_no_book_are_refused_by_place(write, text, told):
    with pytest.raises(DataError, match="capture.txt") as e:
        read_book(write(text))
    assert told in str(e.value)


@pytest.mark.parametrize("read", [read_books, read_book, read_updates])
def test_files_that_are_not_there_are_refused(tmp_path, read):
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "none.csv")


DAMAGE = st.sampled_from(
    [b"NaN", b"null", b"-1", b"1e999", b"", b"[]", b'"', b",", b"\n", b"9" * 20, b"\xff", b"Infinity"]
)
WHOLE = {
    read_capture: "\n".join(
        [trade(1, X="MARKET"), quote(1, T=T), depth(1, 2, [["1", "2"]], pu=0), trade(2, X="MARKET"), ""]
    ),
    read_books: DEPTH + "BTCUSDT,1667346579146,7,7,b,snap,20377.00,1.770,-1\n",
    read_updates: DEPTH + "BTCUSDT,1667346579146,7,7,b,set,20377.00,1.770,-1\n",
    read_book: '{"data":{"ticker":"X:BTCUSD","updated":1605295074162,"bids":[{"p":1,"x":{"2":1}}],"asks":[]}}',
}


@pytest.mark.parametrize("read", list(WHOLE), ids=lambda f: f.__name__)
@given(st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_is_damaged_is_read_or_refused_with_a_sentence(tmp_path_factory, read, data):
    content = bytearray(WHOLE[read].encode())
    at, size = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 12))
    content[at : at + size] = data.draw(DAMAGE)
    (path := tmp_path_factory.mktemp("damage") / "x").write_bytes(content)
    try:
        read(path)
    except RRRError as e:
        assert str(e).endswith(".")


def test_a_symbol_that_is_given_goes_before_the_files(write):
    path = write(DEPTH + "WEIRD,1667346579146,7,7,a,snap,1,1,-1")
    assert read_book(path, "weird-usd").symbol == "WEIRD-USD"


# real data


@pytest.fixture(scope="module")
def spot_files(shared_data):
    folder = shared_data / "ticks" / "raw_ws"
    return [read_capture(folder / f"spot_btcusdt_202408{day}.gz") for day in ("08", "09")]


@pytest.fixture(scope="module")
def futures_file(shared_data):
    return read_capture(shared_data / "ticks" / "raw_ws" / "usdm_btcusdt_20240808.gz")


def follow(snapshot, updates, quotes) -> tuple[int, int, int]:  # states in reach, the same as the quote, used
    "Compare the best of the rebuilt book with the latest quote at its id."
    ids, best = quotes["update_id"].to_numpy("int64"), quotes[["bid", "bid_size", "ask", "ask_size"]].to_numpy()
    book, seen, same = BookBuilder("BTC-USDT", snapshot), 0, 0
    for u in updates:
        i = int(np.searchsorted(ids, u.last_id, "right")) - 1
        if book.apply(u) and i >= 0 and book.in_reach:
            top = book.top()
            assert not top.crossed
            seen += 1
            same += top.bids[0] + top.asks[0] == tuple(best[i])
    return seen, same, book.updates


def test_real_spot_capture_is_the_tape_it_was_published_as(spot_files, shared_data):
    trades = pd.concat([c.trades for c in spot_files])
    want = pd.read_parquet(shared_data / "ticks" / "binance_spot_BTCUSDT_20240808-09_trades.parquet")
    assert len(trades) == 19904
    assert (np.diff(trades["trade_id"].astype(int)) == 1).all()
    assert (trades.index.asi8 == want["exch_ms"] * 10**6).all() and (
        trades["received_ns"].values == want["local_ns"]
    ).all()
    for ours, theirs in (("price", "price"), ("size", "qty")):
        assert (trades[ours].values == want[theirs]).all()
    assert ((trades["side"].values == "sell") == want["buyer_is_maker"]).all()
    assert (trades["trade_id"].astype(int).values == want["trade_id"]).all()


def test_real_spot_quotes_are_those_published_and_never_crossed(spot_files, shared_data):
    quotes = pd.concat([c.quotes for c in spot_files])
    want = pd.read_parquet(shared_data / "ticks" / "binance_spot_BTCUSDT_20240808-09_bbo.parquet")
    assert len(quotes) == 73174 and (quotes["bid"] < quotes["ask"]).all()
    for ours, theirs in dict(
        received_ns="local_ns", update_id="update_id", bid="bid", bid_size="bid_qty", ask="ask", ask_size="ask_qty"
    ).items():
        assert (quotes[ours].values == want[theirs]).all()


def test_the_clock_of_the_real_captures_runs_behind_and_is_told(spot_files, futures_file):
    for c in (*spot_files, futures_file):
        assert -1275 < c.clock_offset_ms < -1265
        assert any("the local clock runs behind" in note for note in c.notes)
        stamps = c.trades.index.asi8
        assert (c.trades["received_ns"] < stamps).all() and (c.trades["available_ns"] == stamps).all()


def test_the_real_spot_book_is_rebuilt_and_its_best_is_the_venues(spot_files):
    updates = [u for c in spot_files for u in c.updates]
    assert len(updates) == 6495
    assert all(b.first_id == a.last_id + 1 for a, b in zip(updates, updates[1:], strict=False))
    assert len(spot_files[0].snapshots[0].bids) == len(spot_files[0].snapshots[0].asks) == 1000
    quotes = pd.concat([c.quotes for c in spot_files])
    seen, same, used = follow(spot_files[0].snapshots[0], updates, quotes)
    assert used == 6493 and seen == same > 5000


def test_the_real_futures_book_is_rebuilt_and_its_best_is_the_venues(futures_file):
    updates = futures_file.updates
    assert len(updates) == 6551
    assert all(b.previous_id == a.last_id for a, b in zip(updates, updates[1:], strict=False))
    seen, same, used = follow(futures_file.snapshots[0], updates, futures_file.quotes)
    assert used == 6547 and seen == same > 5000


@pytest.mark.parametrize(("instrument", "updates"), [("BTC-USDT", 97), ("UNI-USD-SWAP", 92), ("BTC-USD-220527", 98)])
def test_every_checksum_of_the_real_okx_capture_agrees(shared_data, instrument, updates):
    c = read_capture(shared_data / "ticks" / "raw_ws" / "cryptofeed_OKX.ws.1.0.txt", instrument)
    assert apply_depth("BTC-USDT", c.snapshots[0], c.updates).updates == updates


def test_real_books_in_files(shared_data):
    samples = shared_data / "ticks" / "samples"
    assert len(read_books(samples / "binance-futures_book_snapshot_5_BTCUSDT.csv")) == 10
    assert len(read_book(samples / "btcusdt-depth-snap.csv").bids) == 100
    (change,) = read_updates(samples / "btcusdt-depth-update.csv")
    assert change.previous_id == 2098041693400 and len(change.bids) == 23
    coinbase = read_book(shared_data / "raw" / "coinbase_json" / "advanced_trade_product_book.json")
    assert (
        coinbase.symbol == "BTC-USD"
        and abs(coinbase.spread - 0.01) < 1e-9
        and coinbase.mid_price == pytest.approx(68923.665)
    )
    blended = read_book(shared_data / "raw" / "polygon_json" / "crypto_book_X_BTCUSD.json")
    assert (
        blended.crossed and blended.spread == 11454 - 16303.17 and blended.bids[1] == (16302.94, 0.02859424 + 0.023455)
    )


def test_a_price_of_null_and_a_page_instead_of_a_capture_are_said_in_words(write):
    trade = dict(e="trade", E=T, T=T, s="BTCUSDT", t=1, p=None, q="1", m=True)
    with pytest.raises(DataError, match="line 1 is no message of a known feed: price None is not a finite number"):
        read_capture(write(f"{T * 10**6} {json.dumps(trade)}"))
    with pytest.raises(DataError, match="capture.txt: the file is an HTML or XML page"):
        read_capture(write("<!DOCTYPE html>", "<html><title>502</title></html>"))
