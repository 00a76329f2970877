"The same trades make the same bars, bit for bit, in any order, with repetitions and in any pieces."

import json
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import DataError, ParameterError
from rrr.core.market import OHLCV, interval_ms
from rrr.data.resample import bucket_ms, resample
from rrr.data.tickfiles import read_trades
from rrr.data.tradebars import BarBuilder, dollar_bars, fill_bars, read_tape, tick_bars, time_bars, volume_bars

START = 1_704_067_200_000_000_000  # Monday 2024-01-01, ns
KINDS = {
    "1s": lambda t: time_bars(t, "1s"),
    "1m": lambda t: time_bars(t, "1m", fill=True),
    "1h": lambda t: time_bars(t, "1h"),
    "tick": lambda t: tick_bars(t, 3),
    "volume": lambda t: volume_bars(t, "0.5"),
    "dollar": lambda t: dollar_bars(t, 40),
}
EACH_KIND = pytest.mark.parametrize("kind", KINDS)


def tape(rows) -> pd.DataFrame:
    "Trades from (ns after the start, price, size, side), numbered from 1"
    times = pd.DatetimeIndex(np.array([START + r[0] for r in rows], dtype="datetime64[ns]"), tz="UTC")
    columns = {"trade_id": [str(i + 1) for i in range(len(rows))]}
    columns |= {k: [r[i] for r in rows] for i, k in ((1, "price"), (2, "size"), (3, "side"))}
    return pd.DataFrame(columns, index=times.rename("timestamp"))


@st.composite
def tapes(draw, least: int = 1):
    "Trades in order, many at one time"
    steps = st.sampled_from([0, 0, 1, 10**6, 10**9, 7 * 10**9, 60 * 10**9, 200 * 10**9])
    row = st.tuples(
        steps,
        st.integers(9_900, 10_100).map(lambda n: n / 100),
        st.integers(1, 10**6).map(lambda n: n / 10**6),
        st.sampled_from(["buy", "sell", "sell", "buy", None]),
    )
    rows = draw(st.lists(row, min_size=least, max_size=60))
    at, moved = 0, []
    for step, *rest in rows:
        moved.append((at := at + step, *rest))
    return tape(moved)


def equal(got: pd.DataFrame, want: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(got, want, check_exact=True, check_freq=False)


def exact(values) -> float:
    return float(sum((Fraction(Decimal(repr(float(v)))) for v in values), Fraction()))


def assert_bar_of(bar, trades: pd.DataFrame) -> None:
    "A bar holds what its trades say, by the definitions."
    price, size = trades["price"], trades["size"]
    assert bar[["open", "high", "low", "close"]].tolist() == [price.iloc[0], price.max(), price.min(), price.iloc[-1]]
    assert bar["volume"] == exact(size) and bar["trade_count"] == len(trades)
    value = sum(Fraction(p) * Fraction(s) for p, s in zip(price, size, strict=True))
    assert bar["vwap"] == pytest.approx(float(value / sum(map(Fraction, size))), rel=3e-16)
    if trades["side"].isna().any():
        assert np.isnan(bar["buy_volume"])
    else:
        assert bar["buy_volume"] == exact(size[trades["side"] == "buy"])


# The invariants.


@EACH_KIND
@settings(deadline=None, max_examples=25)
@given(trades=tapes(), data=st.data())
def test_order_and_repetition_change_nothing(kind, trades, data):
    again = data.draw(st.lists(st.integers(0, len(trades) - 1), max_size=10))
    rows = data.draw(st.permutations([*range(len(trades)), *again]))
    try:
        want = KINDS[kind](trades)
    except DataError:
        with pytest.raises(DataError, match="do not fill one bar"):
            KINDS[kind](trades.iloc[rows])
        return
    got = KINDS[kind](trades.iloc[rows])
    equal(got, want)
    assert got.attrs == want.attrs | {"duplicates": len(again)}


@settings(deadline=None, max_examples=40)
@given(trades=tapes(), data=st.data())
def test_pieces_make_the_bars_of_the_whole(trades, data):
    interval = data.draw(st.sampled_from(["1s", "1m", "1h"]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(trades)), max_size=8)))
    builder, got = BarBuilder(interval), []
    for start, end in zip([0, *cuts], [*cuts, len(trades)], strict=True):
        again = data.draw(st.lists(st.integers(0, max(end - 1, 0)), max_size=4)) if end else []
        got.append(builder.feed(trades.iloc[data.draw(st.permutations([*range(start, end), *again]))]))
    equal(pd.concat([*got, builder.close()]), time_bars(trades, interval))


@settings(deadline=None, max_examples=25)
@given(tapes())
def test_a_time_bar_is_what_its_trades_say(trades):
    bars = time_bars(trades, "1m")
    groups = [g for _, g in trades.groupby(bucket_ms(trades.index.asi8 // 10**6, "1m"))]
    assert len(bars) == len(groups)
    for (stamp, bar), group in zip(bars.iterrows(), groups, strict=True):
        assert stamp == group.index[0].floor("1min")
        assert_bar_of(bar, group)


@pytest.mark.parametrize("kind", ["tick", "volume", "dollar"])
@settings(deadline=None, max_examples=25)
@given(trades=tapes(least=30))
def test_an_event_bar_closes_with_the_trade_that_reaches_the_threshold(kind, trades):
    amounts = {
        "tick": [Fraction(1)] * len(trades),
        "volume": [Fraction(Decimal(repr(s))) for s in trades["size"]],
        "dollar": [Fraction(Decimal(repr(p))) * Fraction(Decimal(repr(s))) for p, s in zip(trades["price"], trades["size"], strict=True)],
    }[kind]  # fmt: skip
    threshold = {"tick": 3, "volume": Fraction(1, 2), "dollar": 40}[kind]
    groups, start, total = [], 0, Fraction()
    for i, amount in enumerate(amounts):
        total += amount
        if total >= threshold:
            groups.append(trades.iloc[start : i + 1])
            start, total = i + 1, Fraction()
    if not groups:
        return
    bars = KINDS[kind](trades)
    assert len(bars) == len(groups) and bars.attrs["unfinished"] == len(trades) - start
    assert bars.index.is_monotonic_increasing and bars.index.is_unique
    for i, group in enumerate(groups):
        assert_bar_of(bars.iloc[i], group)
        late = bars.index[i] - group.index[0]
        assert pd.Timedelta(0) <= late <= pd.Timedelta(i, "ns")
        assert bars["close_time"].iloc[i] == max(group.index[-1], bars.index[i])


@settings(deadline=None, max_examples=25)
@given(tapes())
def test_minutes_of_trades_make_the_hours_of_trades(trades):
    minutes, hours = time_bars(trades, "1m"), time_bars(trades, "1h")
    same = [*OHLCV, "trade_count", "buy_volume"]
    equal(resample(minutes, "1h", partial=True)[same], hours[same])


@settings(deadline=None, max_examples=25)
@given(tapes(least=2))
def test_filled_bars_are_a_regular_series_with_flat_bars_between(trades):
    bars, filled = time_bars(trades, "1m"), time_bars(trades, "1m", fill=True)
    assert (np.diff(filled.index.asi8) == interval_ms("1m")).all()
    equal(filled.loc[bars.index], bars)
    flat = filled.drop(bars.index)
    before = bars["close"].reindex(filled.index, method="ffill")[flat.index]
    for name in OHLCV[:4]:
        assert (flat[name] == before).all()
    assert (flat[["volume", "trade_count", "buy_volume"]] == 0).all(axis=None) and flat["vwap"].isna().all()


# Ids.


@pytest.mark.parametrize("ids", [["9", "10", "11"], [9, 10, 11], ["9" * 20, "1" + "0" * 20, "1" + "0" * 19 + "1"]])
def test_whole_numbers_order_trades_of_one_time_as_numbers(ids):
    trades = tape([(0, 1, 1, None), (0, 2, 1, None), (0, 3, 1, None)]).assign(trade_id=ids)
    bars = time_bars(trades[::-1], "1m")
    assert (bars["open"].iloc[0], bars["close"].iloc[0]) == (1, 3) and bars.attrs["tied"] == 0


def test_bars_that_hang_on_the_order_of_text_ids_are_counted():
    minute = 60 * 10**9
    rows = [(0, 1, 1, None), (0, 2, 1, None), (5, 3, 1, None), (minute, 4, 1, None), (minute + 1, 5, 1, None)]
    trades = tape(rows).assign(trade_id=list("eadbc"))
    bars = time_bars(trades, "1m")
    assert bars["open"].tolist() == [2, 4] and bars.attrs["tied"] == 1
    assert time_bars(trades.assign(price=1.0), "1m").attrs["tied"] == 0


def test_a_tape_may_mix_numbers_and_text_as_ids():
    trades = tape([(0, 1, 1, None), (1, 2, 1, None)])
    mixed = pd.concat([trades, trades.assign(trade_id=[1, 2])])
    assert read_tape(mixed).duplicates == 2


TWO = tape([(0, 1.5, 1, "buy"), (10**9, 2, 1, "buy")])


@pytest.mark.parametrize("change", [{"price": 1.25}, {"size": 2.0}, {"side": "sell"}, {"side": None}])
def test_an_id_that_comes_again_with_other_content_is_refused_showing_both(change):
    with pytest.raises(DataError, match=r"trade 1 comes twice with different content: .* 1 at 1.5 \(buy\) and "):
        time_bars(pd.concat([TWO, TWO.iloc[:1].assign(**change)]), "1m")


def test_an_id_that_comes_again_at_another_time_is_refused_showing_both():
    moved = TWO.iloc[:1].set_index(TWO.index[:1] + pd.Timedelta("2h"))
    with pytest.raises(DataError, match=r"trade 1 comes twice .*00:00:00.* and .*02:00:00"):
        time_bars(pd.concat([TWO, moved]), "1m")


@pytest.mark.parametrize("ids", [None, [None] * 3])
def test_without_ids_each_trade_counts_and_an_unknown_order_is_refused(ids):
    trades = tape([(0, 1, 1, None), (0, 1, 1, None), (1, 2, 1, None)])
    trades = trades.drop(columns="trade_id") if ids is None else trades.assign(trade_id=ids)
    bars = time_bars(trades[::-1], "1m")
    assert bars["trade_count"].tolist() == [3] and bars["open"].tolist() == [1]
    with pytest.raises(
        DataError, match="which of two trades came first is unknown without trade_id: .* 1 at 1 and .* 1 at 2"
    ):
        time_bars(trades.set_index(trades.index[[0, 0, 0]]), "1m")


# What is no tape.


@pytest.mark.parametrize(
    ("trades", "why"),
    [
        (TWO.iloc[:0], "there are no trades"),
        (TWO.drop(columns="price"), "lack the column price"),
        (TWO.assign(price=[1, np.nan]), "trade 2 .*: price is nan, not a finite number above zero"),
        (TWO.assign(size=[1, np.inf]), "trade 2 .*: size is inf"),
        (TWO.assign(size=[0, 1]), "trade 1 .*: size is 0"),
        (TWO.assign(price=["1", "x"]), "trade 1 .*: price is 1, not a finite number"),
        (TWO.assign(side=["buy", "B"]), "trade 2 .*: side is 'B', neither buy nor sell"),
        (TWO.assign(trade_id=["1", None]), "trade 2 .* has no trade_id, though others have one"),
        (TWO.assign(trade_id=[1.0, 2.0]), "trade_id holds floating point numbers"),
        (TWO.tz_localize(None), "DatetimeIndex with a zone"),
        (TWO.reset_index(), "DatetimeIndex with a zone"),
        (TWO.set_index(TWO.index.where([True, False])), "no gaps in it"),
    ],
)
def test_what_is_no_tape_is_refused_naming_the_row(trades, why):
    with pytest.raises(DataError, match=why):
        time_bars(trades, "1m")


@pytest.mark.parametrize(
    "call",
    [lambda: tick_bars(TWO, 0), lambda: tick_bars(TWO, 1.5), lambda: volume_bars(TWO, 0), lambda: dollar_bars(TWO, "x"),
     lambda: dollar_bars(TWO, float("nan")), lambda: volume_bars(TWO, -1), lambda: time_bars(TWO, "1x"), lambda: BarBuilder("m")],
)  # fmt: skip
def test_a_size_that_is_none_is_refused(call):
    with pytest.raises(ParameterError):
        call()


def test_thresholds_are_met_in_decimals_of_any_length():
    long = tape([(i, 1.0, 0.1, "buy") for i in range(20)])
    assert volume_bars(long, 1)["trade_count"].tolist() == [10, 10]
    odd = pd.concat([long, tape([(99, 1e-9, 123456789012345.25, "buy")]).assign(trade_id="99")])
    assert volume_bars(odd, 1)["trade_count"].tolist() == [10, 10, 1]
    thirds = long.assign(size=1 / 3)
    assert volume_bars(thirds, "0.6666666666666666")["trade_count"].tolist() == [2] * 10
    assert volume_bars(thirds, "0.6666666666666667")["trade_count"].tolist() == [3] * 6


# Piece by piece.


def test_late_trades_are_kept_aside_and_change_nothing():
    trades = tape([(0, 1, 1, None), (61 * 10**9, 2, 1, None), (122 * 10**9, 3, 1, None)])
    builder = BarBuilder("1m")
    assert len(builder.feed(trades.iloc[[1]])) == 0
    done = builder.feed(trades.iloc[[0, 2]])
    assert done["open"].tolist() == [2] and builder.pending["open"].tolist() == [3]
    assert builder.late[0].equals(trades.iloc[[0]])
    assert builder.close()["open"].tolist() == [3] and len(builder.close()) == 0
    builder.feed(trades.iloc[[2]])
    assert len(builder.pending) == 0 and len(builder.late) == 2
    assert len(builder.feed(trades.iloc[:0])) == 0


def test_a_refused_piece_leaves_the_builder_as_it_was():
    builder = BarBuilder("1m")
    builder.feed(TWO)
    before = builder.pending
    for wrong in (TWO.assign(price=-1), TWO.set_index(TWO.index + pd.Timedelta("1h")).assign(side="x")):
        with pytest.raises(DataError):
            builder.feed(wrong)
        equal(builder.pending, before)
    builder.feed(TWO.assign(price=9))  # a clash is seen when the bar is made
    with pytest.raises(DataError, match="comes twice with different content"):
        builder.close()


def test_bars_off_the_grid_are_not_filled():
    with pytest.raises(DataError, match="no series of 1m"):
        fill_bars(time_bars(TWO, "1s").iloc[[0, 1]], "1m")


# Real tapes: the venue's own bars are the witness.


def test_trades_of_kraken_make_the_minutes_of_kraken(shared_data):
    folder = shared_data / "raw" / "kraken_rest_json"
    trades = read_trades(folder / "Trades_XBTUSDT.json").frame
    result = json.loads((folder / "OHLC_XBTUSDT_1m.json").read_text())["result"]
    rows = next(v for v in result.values() if isinstance(v, list))
    index = pd.DatetimeIndex(np.array([r[0] for r in rows], dtype="datetime64[s]"), tz="UTC").as_unit("ms")
    names = ["open", "high", "low", "close", "vwap", "volume", "trade_count"]
    want = pd.DataFrame([[float(x) for x in r[1:]] for r in rows], index=index.rename("timestamp"), columns=names)
    got = time_bars(trades, "1m", fill=True).iloc[1:-1]
    want = want.loc[got.index[0] : got.index[-1]]
    traded, same = got["trade_count"] > 0, [*OHLCV, "trade_count"]
    assert (traded.sum(), (~traded).sum()) == (272, 137)
    equal(got[same], want[same])
    assert (got["vwap"] - want["vwap"])[traded].abs().max() <= 0.1  # Kraken gives one decimal


def test_trades_of_binance_make_the_minutes_of_binance(shared_data):
    folder = shared_data / "raw" / "freqtrade"
    trades = read_trades(folder / "XRP_ETH-trades.feather").frame
    want = pd.read_feather(folder / "XRP_ETH-1m.feather").set_index("date").rename_axis("timestamp")
    want.index = want.index.as_unit("ms")
    got = time_bars(trades.sample(frac=1, random_state=0), "1m")
    assert len(want) == 2469
    equal(got[OHLCV], want[OHLCV])
