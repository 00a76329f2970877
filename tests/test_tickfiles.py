"Trades and quotes of every vendor's file are read to the digit, or refused with the line, the column and the reason."

import gzip
import hashlib
import io
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import DataError, ParameterError
from rrr.data.tickcolumns import FAMILIES
from rrr.data.tickfiles import made_ids, read_quotes, read_trades
from rrr.data.tradebars import read_tape

MS, S = 1_704_067_200_123, 1_704_067_200  # 2024-01-01
NS = MS * 1_000_000


@pytest.fixture
def save(tmp_path):
    "Write a file under any name: the content tells what it is."

    def write(content, name="data"):
        path = tmp_path / name
        if isinstance(content, pd.DataFrame):
            content.to_parquet(path)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def zipped(name, text) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, text)
    return stream.getvalue()


def rows(file) -> list[tuple]:
    frame = file.frame
    assert str(frame.index.dtype) == "datetime64[ns, UTC]" and frame.index.name == "timestamp"
    sides = [s if isinstance(s, str) else None for s in frame["side"]]
    return list(zip(frame.index.asi8.tolist(), frame["trade_id"], frame["price"], frame["size"], sides, strict=True))


TWO = [(NS, "7", 42000.5, 0.25, "sell"), (NS + 10**6, "8", 42001.0, 0.125, "buy")]
UM_AGG = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"
UM_TRADES = "id,price,qty,quote_qty,time,is_buyer_maker\n"
AGG = f"7,42000.5,0.25,1,2,{MS},true\n8,42001.0,0.125,3,3,{MS + 1},false\n"
TRADES = f"7,42000.5,0.25,10500.125,{MS},true\n8,42001.0,0.125,5250.125,{MS + 1},false\n"
SPOT_AGG = f"7,42000.5,0.25,1,2,{MS}000,True,True\n8,42001.0,0.125,3,3,{MS + 1}000,False,True\n"
SPOT_TRADES = f"7,42000.5,0.25,10500.125,{MS}000,True,True\n8,42001.0,0.125,5250.125,{MS + 1}000,False,True\n"
KRAKEN = {"error": [], "result": {"XXBTZUSD": [
    ["42000.5", "0.25", 1704067200.123, "s", "l", "", 7], ["42001.0", "0.125", 1704067200.124, "b", "m", "", 8]],
    "last": "1704067200124000000"}}  # fmt: skip
FREQTRADE = [[MS, "7", None, "sell", 42000.5, 0.25, 10500.125], [MS + 1, "8", None, "buy", 42001.0, 0.125, 5250.125]]
COINBASE = [
    {"trade_id": 8, "side": "sell", "size": "0.12500000", "price": "42001.0", "time": "2024-01-01T00:00:00.124Z"},
    {"trade_id": 7, "side": "buy", "size": "0.25000000", "price": "42000.5", "time": "2024-01-01T00:00:00.123000Z"},
]
ADVANCED = {
    "trades": [r | {"product_id": "BTC-USD", "side": r["side"].upper()} for r in COINBASE],
    "best_bid": "1",
    "best_ask": "2",
}
REST = [
    {
        "id": 7,
        "price": "42000.5",
        "qty": "0.25",
        "quoteQty": "10500.125",
        "time": MS,
        "isBuyerMaker": True,
        "isBestMatch": True,
    },
    {
        "id": 8,
        "price": "42001.0",
        "qty": "0.125",
        "quoteQty": "5250.125",
        "time": MS + 1,
        "isBuyerMaker": False,
        "isBestMatch": True,
    },
]
REST_AGG = [
    {"a": 7, "p": "42000.5", "q": "0.25", "f": 1, "l": 2, "T": MS, "m": True, "M": True},
    {"a": 8, "p": "42001.0", "q": "0.125", "f": 3, "l": 3, "T": MS + 1, "m": False, "M": True},
]
TARDIS = (
    "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n"
    f"binance,BTCUSDT,{MS}000,{MS + 5}000,7,sell,42000.5,0.25\nbinance,BTCUSDT,{MS + 1}000,{MS + 6}000,8,buy,42001,0.125\n"
)
OURS = pd.DataFrame({"exch_ms": [MS, MS + 1], "local_ns": [NS + 5, NS + 10**6 + 6], "trade_id": [7, 8], "price": [42000.5, 42001.0],
                     "qty": [0.25, 0.125], "buyer_is_maker": [True, False]})  # fmt: skip
NAUTILUS = pd.DataFrame(
    {"timestamp": pd.to_datetime([MS, MS + 1], unit="ms", utc=True), "trade_id": [7, 8], "price": [42000.5, 42001.0],
     "quantity": [0.25, 0.125], "buyer_maker": ["True", "False"]})  # fmt: skip
PLAIN = "Time,Trade ID,Price,Size,Side\n2024-01-01T00:00:00.123Z,7,42000.5,0.25,SELL\n2024-01-01T00:00:00.124Z,8,42001,0.125,Buy\n"
LEAN = zipped("20240101_btcusd_tick_trade.csv", "123,42000.5,0.25\n124,42001.0,0.125\n")


@pytest.mark.parametrize(
    ("content", "format", "symbol", "venue"),
    [
        (AGG, "binance csv", None, "binance"),
        (UM_AGG + AGG, "binance csv", None, "binance"),
        (SPOT_AGG, "binance csv", None, "binance"),
        (TRADES, "binance csv", None, "binance"),
        (UM_TRADES + TRADES, "binance csv", None, "binance"),
        (SPOT_TRADES, "binance csv", None, "binance"),
        (gzip.compress(AGG.encode(), mtime=0), "binance csv.gz", None, "binance"),
        (zipped("BTCUSDT-aggTrades-2024-01-01.csv", AGG), "binance csv.zip", None, "binance"),
        (REST, "binance json", None, "binance"),
        (REST_AGG, "binance json", None, "binance"),
        (KRAKEN, "kraken json", "BTC-USD", "kraken"),
        (FREQTRADE, "freqtrade json", None, None),
        (COINBASE, "coinbase json", None, "coinbase"),
        (ADVANCED, "coinbase json", "BTC-USD", "coinbase"),
        (TARDIS, "tardis csv", "BTC-USDT", "binance"),
        (gzip.compress(TARDIS.encode(), mtime=0), "tardis csv.gz", "BTC-USDT", "binance"),
        (OURS, "plain parquet", None, None),
        (NAUTILUS, "plain parquet", None, None),
        (PLAIN, "plain csv", None, None),
    ],
)
def test_two_trades_read_the_same_from_every_vendor(save, content, format, symbol, venue):
    path = save(content)
    file = read_trades(path)
    assert rows(file) == TWO
    assert (file.format, file.symbol, file.venue) == (format, symbol, venue)
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() and file.path == path
    assert len(read_tape(file.frame).ns) == 2


def test_freqtrade_feather_reads_as_its_json(save, tmp_path):
    names = ["timestamp", "id", "type", "side", "price", "amount", "cost"]
    pd.DataFrame(FREQTRADE, columns=names).to_feather(tmp_path / "f")
    file = read_trades(tmp_path / "f")
    assert rows(file) == TWO and file.format == "freqtrade arrow"


def test_lean_ticks_take_day_and_pair_from_the_part_in_the_zip(save):
    file = read_trades(save(LEAN))
    assert [r[:1] + r[2:4] for r in rows(file)] == [r[:1] + r[2:4] for r in TWO]
    assert file.symbol == "BTC-USD" and file.format == "lean csv.zip"


def test_no_digit_of_a_time_is_lost(save):
    kraken = json.loads(json.dumps(KRAKEN))
    kraken["result"]["XXBTZUSD"][0][2] = 1704067200.1234567
    assert read_trades(save(kraken)).frame.index.asi8[0] == 1704067200123456700
    csv = "timestamp,price,size,trade_id\n1704067200.123456789,1,1,a\n"
    assert read_trades(save(csv)).frame.index.asi8[0] == 1704067200123456789


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(946_684_800 * 10**9, 4_102_000_000 * 10**9), min_size=1, max_size=5),
    st.sampled_from([1, 10**3, 10**6, 10**9]),
)
def test_epochs_of_any_unit_give_their_nanoseconds(tmp_path_factory, times, size):
    times = sorted(times)
    step = 10**9 // size
    lines = [f"{t // step}.{t % step:0{len(str(step)) - 1}d}" if step > 1 else str(t) for t in times]
    path = tmp_path_factory.mktemp("t") / "t.csv"
    path.write_text("ts,price,size,id\n" + "".join(f"{line},1.5,2,{i}\n" for i, line in enumerate(lines)))
    assert read_trades(path).frame.index.asi8.tolist() == times


def test_trades_without_ids_get_ids_of_time_and_place(save):
    file = read_trades(save(f"{S},42000.5,0.25\n{S},42000.5,0.25\n{S + 1},42001,1\n"))
    assert file.format == "kraken csv" and any("no trade ids" in n for n in file.notes)
    assert file.frame["trade_id"].tolist() == [
        f"{S}000000000-000000",
        f"{S}000000000-000001",
        f"{S + 1}000000000-000000",
    ]
    assert read_tape(pd.concat([file.frame, file.frame.iloc[1:]])).duplicates == 2


@given(st.lists(st.integers(0, 5), max_size=50).map(sorted))
def test_made_ids_are_unique_and_sort_as_their_trades(places):
    ids = made_ids(np.array(places, dtype=np.int64) + NS).tolist()
    assert len(set(ids)) == len(ids) and ids == sorted(ids)


def test_newest_first_is_turned_round_and_disorder_is_left_and_told(save):
    assert any("newest first" in n for n in read_trades(save(COINBASE)).notes)
    mixed = "ts,price,size,id\n" + "".join(f"{S + i},1,1,{n}\n" for i, n in ((0, 1), (2, 2), (1, 3), (3, 3)))
    file = read_trades(save(mixed))
    assert file.frame["trade_id"].tolist() == ["1", "2", "3", "3"]
    assert "1 rows earlier than the row before" in file.notes and "1 trade ids that repeat one above" in file.notes


def test_a_maker_side_is_turned_round_where_the_vendor_or_the_caller_says_so(save):
    text = "time,trade_id,price,size,side\n2024-01-01T00:00:00Z,1,2,3,buy\n"
    assert read_trades(save(text)).frame["side"].tolist() == ["buy"]
    assert "the side is read as the taker's" in read_trades(save(text)).notes
    assert read_trades(save(text), format="coinbase").frame["side"].tolist() == ["sell"]


def test_unknown_sides_are_none(save):
    file = read_trades(save(TARDIS.replace("sell", "unknown")))
    assert rows(file)[0][-1] is None and rows(file)[1][-1] == "buy"


def test_receipt_is_kept_and_no_trade_is_known_before_it_happened(save):
    frame = read_trades(save(OURS)).frame
    assert frame["received_ns"].tolist() == frame["available_ns"].tolist() == [NS + 5, NS + 10**6 + 6]
    early = read_trades(save(OURS.assign(local_ns=OURS["local_ns"] - 10**9)))
    assert early.frame["available_ns"].tolist() == [NS, NS + 10**6]
    assert early.frame["received_ns"].tolist() == [NS + 5 - 10**9, NS + 10**6 + 6 - 10**9]
    assert any("clock runs behind" in n for n in early.notes)


def test_size_of_contracts_gives_way_to_base_currency(save):
    text = (
        "timestamp,symbol,side,size,price,trdMatchID,homeNotional,foreignNotional\n"
        + f"{S},ETHUSD,Buy,100,50000,a,0.002,100\n"
    )
    file = read_trades(save(text))
    assert file.frame["size"].tolist() == [0.002] and file.symbol == "ETH-USD"


def test_contracts_of_coin_margined_futures_are_not_taken_for_coins(save):
    text = f"7,50000,100,0.2,{MS},true\n"
    file = read_trades(save("id,price,qty,base_qty,time,is_buyer_maker\n" + text))
    assert file.frame["size"].tolist() == [0.2] and "the size is base_qty" in file.notes[0]
    with pytest.raises(DataError, match="column 4 is not price x quantity"):
        read_trades(save(text))


# Quotes.


def quotes(file) -> list[tuple]:
    frame = file.frame
    return list(
        zip(frame.index.asi8.tolist(), *(frame[k] for k in ("bid", "bid_size", "ask", "ask_size")), strict=True)
    )


ONE = [(NS, 42000.5, 0.25, 42001.0, 0.125)]
TARDIS_QUOTES = (
    "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount\n"
    f"binance,BTCUSDT,{MS}000,{MS + 5}000,0.125,42001,42000.5,0.25\n"
)
SNAPSHOT = (
    "exchange,symbol,timestamp,local_timestamp,asks[0].price,asks[0].amount,bids[0].price,bids[0].amount,asks[1].price,asks[1].amount\n"
    f"binance,BTCUSDT,{MS}000,{MS + 5}000,42001,0.125,42000.5,0.25,42002,1\n"
)
TICKER = (
    "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time\n"
    f"1,42000.5,0.25,42001,0.125,{MS},{MS + 2}\n"
)
BBO = pd.DataFrame(
    {"local_ns": [NS], "update_id": [1], "bid": [42000.5], "bid_qty": [0.25], "ask": [42001.0], "ask_qty": [0.125]}
)


@pytest.mark.parametrize("content", [TARDIS_QUOTES, SNAPSHOT, TICKER, BBO, zipped("q.csv", TARDIS_QUOTES)])
def test_a_quote_reads_the_same_from_every_vendor(save, content):
    assert quotes(read_quotes(save(content))) == ONE


def test_lean_quote_bars_give_the_quote_at_their_close(save):
    line = "60000,1,3,0.5,2,10,5,6,4.5,5.5,20\n"
    file = read_quotes(save(zipped("20240101_btcusd_minute_quote.csv", line)))
    assert quotes(file) == [((S + 120) * 10**9, 2, 10, 5.5, 20)]
    assert "quotes are those at the close of bars of one minute" in file.notes[0]
    tick = read_quotes(save(zipped("20240101_btcusd_tick_quote.csv", "123,42000.5,0.25,42001,0.125\n")))
    assert quotes(tick) == ONE


def test_quotes_with_an_empty_side_are_left_out_and_crossed_ones_told(save):
    more = f"binance,BTCUSDT,{MS + 1}000,{MS + 6}000,,,42000.5,0.25\nbinance,BTCUSDT,{MS + 2}000,{MS + 7}000,1,42000,42000.5,0.25\n"
    file = read_quotes(save(TARDIS_QUOTES + more))
    assert len(file.frame) == 2
    assert "1 quotes with an empty side left out" in file.notes and "1 crossed quotes (bid above ask)" in file.notes


def test_quotes_without_a_time_of_the_exchange_say_so(save):
    file = read_quotes(save(BBO))
    assert "no time of the exchange: stamped by the time of receipt" in file.notes


# Several symbols.


SEVERAL = TARDIS + f"binance,ETHUSDT,{MS + 2}000,{MS + 7}000,9,buy,2300,1\n"


def test_one_symbol_of_several_is_picked_or_all_are_named(save):
    path = save(SEVERAL)
    assert rows(read_trades(path, symbol="BTC-USDT")) == TWO
    assert read_trades(path, symbol="ETHUSDT").symbol == "ETH-USDT"
    with pytest.raises(DataError, match=r"several symbols \(BTCUSDT, ETHUSDT\): name one"):
        read_trades(path)
    with pytest.raises(DataError, match="holds BTC-USDT, ETH-USDT, not SOL-USDT"):
        read_trades(path, symbol="SOL-USDT")


def test_a_swap_is_not_mixed_with_the_coins_of_its_name(save):
    path = save(TARDIS + TARDIS.splitlines()[1].replace("BTCUSDT", "BTC-USDT-SWAP") + "\n")
    assert rows(read_trades(path, symbol="BTCUSDT")) == TWO
    with pytest.raises(DataError, match="BTC-USDT could be BTCUSDT or BTC-USDT-SWAP"):
        read_trades(path, symbol="BTC-USDT")


# Refusals.


CSV = "timestamp,trade_id,price,size,side\n"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (
            CSV + f"{S},1,100,1,buy\n{S},2,abc,1,buy\n",
            "line 3, column 'price': 'abc' is not a finite number above zero",
        ),
        (CSV + f"{S},1,100,1,buy\n{S},2,,1,buy\n", "line 3, column 'price': the cell is empty"),
        (CSV + f"{S},1,100,1,buy\n{S},2,0,1,buy\n", "line 3, column 'price': '0.0' is not a finite number above zero"),
        (CSV + f"{S},1,100,-1,buy\n", "line 2, column 'size': '-1.0' is not a finite number from zero on"),
        (CSV + f"{S},1,inf,1,buy\n", "line 2, column 'price'"),
        (CSV + f"{S},1,100,1,long\n", "line 2, column 'side': 'long' is not buy or sell"),
        (CSV + f"{S},1,100,1,buy\n{S},,100,1,buy\n", "line 3, column 'trade_id': the cell is empty"),
        (CSV + f"{S},1,100,1,buy\n,2,100,1,buy\n", "line 3, column 'timestamp': the cell is empty"),
        (CSV + f"{S},1,100,1,buy\n{MS},2,100,1,buy\n", "line 3, column 'timestamp': times change from s to ms"),
        (CSV + f"{S},1,100,1,buy\n12,2,100,1,buy\n", "line 3, column 'timestamp': '12' is not a time in s"),
        (CSV + f"{S},1,100,1,buy\n{S}.12345678901,2,100,1,buy\n", "line 3, column 'timestamp': .* whole nanoseconds"),
        (CSV + f"{S},1,100,1,buy\n{S},2,100\n", "line 3 has 3 cells, not the 5 that the header names"),
        (CSV, "no rows"),
        ("", "the file is empty"),
        ("timestamp,price,amount,volume\n" + f"{S},1,2,3\n", "columns 'amount' and 'volume' could both be the size"),
        ("timestamp,trade_id,price\n" + f"{S},1,2\n", "no column for size"),
        ("trade_id,price,size\n1,2,3\n", "no column for the time"),
        (f"{S},1,2,3,4,5\n", "rows of 6 cells that begin with a time are bars, not trades"),
        ("1,2,3,4\n", "names no columns, and rows of 4 cells are no trades that are known"),
        ("timestamp,open,high,low,close,volume\n" + f"{S},1,1,1,1,1\n", "holds bars, not trades: `read_bars`"),
        (TARDIS_QUOTES, "holds quotes, not trades .*: `read_quotes` reads them"),
        (SNAPSHOT, "holds an order book, not trades"),
        (zipped("20240101_btcusd_minute_trade.csv", "0,1,1,1,1,1\n"), "bars of one minute, as Lean writes them"),
        (f"{S}.5: {{}}\n", "a websocket capture"),
        ({"asks": [], "bids": []}, "an order book"),
        ({"error": ["EQuery:Unknown asset pair"], "result": {}}, "vendor answered: EQuery:Unknown asset pair"),
        ({"status": "fine"}, "no trades that are known; its keys are 'status'"),
        ([], "the JSON holds no trades"),
        ([1, 2], "row 1 is 1|holds 1, no trades"),
        ([[]], "rows of 0 cells"),
        ("[[1, 2", "the JSON is damaged or cut off"),
        (REST + [5], "row 3 is 5, not a row as the first is"),
        (FREQTRADE + [[1]], "row 3 has 1 cells, not 7"),
        (OURS.assign(trade_id=[1.5, 2.5]), "column 'trade_id' holds floating point numbers"),
        (OURS.assign(price=["x", "y"]), "row 1, column 'price': 'x'"),
        (OURS.assign(price=[True, False]), "column 'price' holds bool, not numbers"),
        (b"\x00\x01\x02", "neither Parquet nor CSV text nor JSON nor Arrow"),
        (TARDIS + TARDIS.splitlines()[1].replace("binance", "okex") + "\n", "several venues"),
    ],
)
def test_what_cannot_be_read_is_refused_with_place_and_reason(save, content, why):
    path = save(content)
    with pytest.raises(DataError, match=why) as refusal:
        read_trades(path)
    assert str(refusal.value).startswith(f"{path}: ") and str(refusal.value).endswith(".")


def test_trades_are_no_quotes(save):
    with pytest.raises(DataError, match="holds trades, not quotes .*: `read_trades` reads them"):
        read_quotes(save(TARDIS))
    with pytest.raises(DataError, match="column 'ask_price': '0.0' is not a finite number above zero"):
        read_quotes(save(TARDIS_QUOTES.replace("42001", "0")))


def test_a_format_that_the_content_contradicts_is_refused(save):
    with pytest.raises(DataError, match="the content is binance, not kraken"):
        read_trades(save(AGG), format="kraken")
    with pytest.raises(ParameterError, match="unknown format 'binanse'; did you mean 'binance'"):
        read_trades(save(AGG), format="binanse")
    assert set(FAMILIES) >= {"binance", "kraken", "coinbase", "tardis", "freqtrade", "lean", "plain"}


def test_a_zip_of_several_files_is_refused(save):
    stream = io.BytesIO(zipped("a.csv", AGG))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("b.csv", AGG)
    with pytest.raises(DataError, match=r"the ZIP holds 2 files \(a.csv, b.csv"):
        read_trades(save(stream.getvalue()))


def test_a_file_of_many_blocks_names_the_line_far_down(save):
    lines = [f"{S + i},{i},100.5,0.25,buy\n" for i in range(150_000)]
    file = read_trades(save(CSV + "".join(lines)))
    assert len(file.frame) == 150_000 and file.frame["trade_id"].iloc[-1] == "149999"
    lines[140_000] = lines[140_000].replace("buy", "bye")
    with pytest.raises(DataError, match="line 140002, column 'side': 'bye'"):
        read_trades(save(CSV + "".join(lines)))


# Real files.


@pytest.mark.parametrize(
    ("name", "read", "count", "first"),
    [
        ("ticks/binance_spot_BTCUSDT_20240808-09_trades.parquet", read_trades, 19904, 1723161255342 * 10**6),
        ("ticks/binance_spot_BTCUSDT_20240808-09_bbo.parquet", read_quotes, 73174, 1723161254087891268),
        ("ticks/samples/btcusdt-trades.parquet", read_trades, 2001, 1610064000278 * 10**6),
        ("ticks/samples/btcusdt-quotes.parquet", read_quotes, 451, 1610064001076 * 10**6),
        ("ticks/samples/binance-futures_book_snapshot_5_BTCUSDT.csv", read_quotes, 10, 1598918403696 * 10**6),
        ("raw/kraken_rest_json/Trades_XBTUSDT.json", read_trades, 1000, 1762795433971744500),
        ("raw/freqtrade/XRP_ETH-trades.feather", read_trades, 12477, 1570752011620 * 10**6),
        ("raw/lean_zip/coinbase_minute_btcusd_20180404_quote.zip", read_quotes, 1437, 1522800060 * 10**9),
    ],
)
def test_real_files_are_read_whole(shared_data, name, read, count, first):
    frame = read(shared_data / name).frame
    assert len(frame) == count and frame.index.asi8[0] == first
    assert (np.diff(frame.index.asi8) >= 0).all()


def test_every_other_real_file_is_refused_as_what_it_is(shared_data):
    seen = 0
    for path in sorted(p for p in shared_data.rglob("*") if p.is_file() and p.suffix != ".md"):
        for read in (read_trades, read_quotes):
            try:
                read(path)
            except DataError as refusal:
                assert any(
                    word in str(refusal)
                    for word in ("bars", "quotes", "trades", "order book", "capture", "sentiment", "metrics")
                )
                seen += 1
    assert seen > 100


COINM = {"id": 28457, "price": "9635.0", "qty": "1", "baseQty": "0.01037883", "time": MS, "isBuyerMaker": True}


def test_sizes_of_coin_margined_trades_are_the_base_quantity_and_not_contracts(save):
    assert read_trades(save([COINM])).frame["size"].tolist() == [0.01037883]


def test_whole_sizes_are_said_to_perhaps_count_contracts(save):
    note = "all sizes are whole: they may count contracts"
    assert note in read_trades(save(UM_AGG + f"7,42000.5,3,1,2,{MS},true\n8,42001.0,12,3,3,{MS + 1},false\n")).notes
    assert note not in read_trades(save(UM_AGG + AGG)).notes
    assert note not in read_trades(save([COINM | {"baseQty": "2"}])).notes


@pytest.mark.parametrize("name", ["BTCUSD_PERP-aggTrades-2024-01.csv", "ETHUSD_240329-aggTrades-2024-01.csv"])
def test_trades_of_coin_margined_contracts_without_a_base_size_are_refused(save, name):
    with pytest.raises(DataError, match="sizes count contracts"):
        read_trades(save(UM_AGG + AGG, name))


@pytest.mark.parametrize("instrument", ["BTC-USDT-SWAP", "BTC-USD-240329"])
def test_trades_of_okx_derivatives_are_refused_as_their_sizes_are_contracts(save, instrument):
    row = {"instId": instrument, "tradeId": "7", "px": "42000.5", "sz": "0.25", "side": "sell", "ts": str(MS)}
    with pytest.raises(DataError, match=f"{instrument} is a derivative whose sizes count contracts"):
        read_trades(save({"code": "0", "data": [row]}))


def test_trades_of_coinbase_with_an_empty_bid_and_ask_are_trades(save):
    iso = "2024-01-01T00:00:00.123Z"
    row = {
        "trade_id": "7",
        "product_id": "BTC-USD",
        "price": "42000.5",
        "size": "0.25",
        "time": iso,
        "side": "BUY",
        "bid": "",
        "ask": "",
    }
    file = read_trades(save({"trades": [row]}))
    assert rows(file) == TWO[:1] and file.symbol == "BTC-USD"


def test_trades_and_quotes_of_polygon_are_read(save):
    trade = {"conditions": [1], "exchange": 1, "id": "7", "participant_timestamp": NS, "price": 42000.5, "size": 0.25}
    file = read_trades(save({"status": "OK", "results": [trade]}))
    assert [r[:4] for r in rows(file)] == [TWO[0][:4]] and file.venue is None
    quote = {"ask_price": 42001, "ask_size": 2, "bid_price": 42000, "bid_size": 1, "participant_timestamp": NS}
    frame = read_quotes(save({"status": "OK", "results": [quote]})).frame
    assert frame.index.asi8.tolist() == [NS] and frame.iloc[0][["bid", "ask"]].tolist() == [42000, 42001]


def test_what_bitfinex_sold_is_below_zero(save):
    file = read_trades(save([[8, MS + 1, 0.125, 42001.0], [7, MS, -0.25, 42000.5]]))
    assert rows(file) == TWO and file.venue == "bitfinex"


def test_days_and_times_of_bitmex_dumps_are_parted_by_a_d(save):
    header = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"
    row = "2024-01-01D00:00:00.123000000,XBTUSD,Sell,10500,42000.5,PlusTick,7,1,0.25,10500.125"
    assert rows(read_trades(save(f"{header}\n{row}\n"))) == TWO[:1]
