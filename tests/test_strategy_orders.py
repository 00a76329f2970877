"Explicit orders of a strategy: refused where they make no sense, traded as the slow reference trades them, and causal."

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from execution_reference import DAY_MS
from hypothesis import given, settings
from hypothesis import strategies as st
from markets import frame, mock, walk
from test_execution_loop import by_reference, worlds

import rrr.strategy.library  # noqa: F401 registers the strategies
from rrr.backtest.ladder import ladder
from rrr.backtest.run import backtest
from rrr.backtest.sweep import sweep
from rrr.core.errors import ParameterError
from rrr.core.market import OHLCV
from rrr.engine.engine import Books, Engine
from rrr.engine.exchange import Bar, PaperExchange
from rrr.execution.costs import Costs
from rrr.execution.orders import FILL_REASONS, TIMES_IN_FORCE, TYPES
from rrr.execution.risk import Risk
from rrr.execution.sizing import Sizing
from rrr.features.causal import LookAheadError, assert_causal, check_causal
from rrr.store.db import Database
from rrr.strategy.contract import Bars, Int, Signal, Strategy, get_strategy
from rrr.strategy.orders import ORDER_COLUMNS, ORDER_TIMES, ORDER_TYPES

FREE = Costs(fee_bps=0)


def asking(make) -> Strategy:
    "A strategy that gives the orders that `make(bars)` tells, and nothing else"
    return Strategy(lambda bars: Signal(orders=make(bars)), lambda: 1, {})


def told(bars, *orders: dict) -> pd.DataFrame:
    "Orders whose deciding bars are given by number"
    return pd.DataFrame([o | {"decided": bars.index[o["decided"]]} for o in orders])


def placed(bars: pd.DataFrame, *orders: dict, **more):
    "A backtest of orders, free of costs"
    return backtest(asking(lambda b: told(b, *orders)), bars, costs=FREE, capital=10_000.0, **more)


def flat(*closes) -> pd.DataFrame:
    return frame(closes, closes)


def fills_of(b) -> list[tuple]:
    return [(int(f["bar"]), float(f["quantity"]), float(f["price"]), FILL_REASONS[f["reason"]]) for f in b.books.fills]


# The table


def test_the_words_are_those_of_the_kernel_and_what_is_left_out_stands_for_its_default():
    assert set(ORDER_TYPES) == set(TYPES) and set(ORDER_TIMES) == set(TIMES_IN_FORCE)
    signal = asking(lambda b: told(b, dict(decided=2, quantity=1.0)))(walk(5))
    assert not signal.market_only and signal.target.isna().all() and signal.target.index.equals(walk(5).index)
    (row,) = signal.orders.reset_index().to_dict("records")
    blank = {k: v for k, v in row.items() if not (isinstance(v, float) and np.isnan(v))}
    assert blank == dict(decided=walk(5).index[2], type="market", quantity=1.0, tif="gtc", reduce_only=False, oco=0)
    assert set(signal.orders) == set(ORDER_COLUMNS) - {"symbol"}


def test_orders_are_put_in_time_order_and_keep_that_of_their_rows_inside_a_bar():
    orders = asking(lambda b: told(b, *(dict(decided=d, quantity=q) for d, q in ((3, 1), (1, 2), (3, 3), (1, 4)))))(
        walk(5)
    )
    assert orders.orders["quantity"].tolist() == [2, 4, 1, 3] and orders.orders.index.is_monotonic_increasing
    again = asking(lambda b: orders.orders)(walk(5)).orders
    pd.testing.assert_frame_equal(again, orders.orders)


def test_what_closes_by_its_type_only_reduces():
    rows = [dict(decided=0, quantity=-1.0, type=k, stop=5.0) for k in ("stop_loss", "take_profit")]
    rows.append(dict(decided=0, quantity=-1.0, type="trailing_stop", trail=0.1))
    assert asking(lambda b: told(b, *rows))(walk(5)).orders["reduce_only"].all()


def test_columns_filled_in_part_stand_for_their_defaults_elsewhere():
    one = dict(decided=0, quantity=1.0, type="limit", limit=9.0, tif="ioc", reduce_only=True, oco=3, stop_loss=0.1)
    orders = asking(lambda b: told(b, one, dict(decided=0, quantity=1.0)))(walk(5)).orders
    assert orders["type"].tolist() == ["limit", "market"] and orders["tif"].tolist() == ["ioc", "gtc"]
    assert orders["reduce_only"].tolist() == [True, False] and orders["oco"].tolist() == [3, 0]


LIMIT = dict(type="limit", limit=5.0)
WRONG = {
    "type": (dict(type="stopp"), "row 1 of its orders .*type must be one of market, limit"),
    "tif": (dict(tif="gtd"), "tif must be one of gtc, ioc, fok, day"),
    "no limit": (dict(type="limit"), "its type needs limit, a price above 0"),
    "limit below 0": (LIMIT | dict(limit=-5.0), "its type needs limit, a price above 0"),
    "no stop": (dict(type="stop"), "its type needs stop, a price above 0"),
    "half a stop limit": (LIMIT | dict(type="stop_limit"), "its type needs stop, a price above 0"),
    "infinite stop": (dict(type="stop_loss", stop=np.inf), "its type needs stop"),
    "no trail": (dict(type="trailing_stop"), "its type needs trail, a distance between 0 and 1"),
    "trail of all": (dict(type="trailing_stop", trail=1.0), "its type needs trail"),
    "limit at the market": (dict(limit=5.0), "limit is for limit, stop_limit orders alone"),
    "stop of a limit": (LIMIT | dict(stop=4.0), "stop is for stop, stop_limit, stop_loss, take_profit orders alone"),
    "trail of a stop": (dict(type="stop", stop=5.0, trail=0.1), "trail is for trailing_stop orders alone"),
    "no quantity": (dict(quantity=np.nan), "quantity must be a number of base units, not 0"),
    "quantity 0": (dict(quantity=0.0), "quantity must be a number of base units, not 0"),
    "infinite quantity": (dict(quantity=np.inf), "quantity must be a number of base units"),
    "word for a quantity": (dict(quantity="all"), "the column quantity of its orders must hold numbers"),
    "stop loss of all": (dict(stop_loss=1.0), "stop_loss must be a fraction of the entry price above 0 and below 1"),
    "target of nothing": (dict(take_profit=0.0), "take_profit must be a fraction of the entry price above 0, or NaN"),
    "half a group": (dict(oco=1.5), "oco must be the number of a group"),
    "group below 0": (dict(oco=-1), "oco must be the number of a group"),
    "reduce_only": (dict(reduce_only=2), "reduce_only must be True or False"),
    "between bars": (dict(decided=pd.Timestamp("2024-01-01 00:30", tz="UTC")), "open time of one of the bars"),
    "after the bars": (dict(decided=pd.Timestamp("2025-01-01", tz="UTC")), "open time of one of the bars"),
    "no zone": (dict(decided=pd.Timestamp("2024-01-01 01:00")), "decided must"),
    "no time": (dict(decided=pd.NaT), "open time of one of the bars"),
    "symbol": (dict(symbol="BTC-USD"), "the bars are of one symbol, so its orders need no column symbol"),
    "column": (dict(trailing=0.1), "unknown column 'trailing' in the orders of strategy .*did you mean 'trail"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_order_that_makes_no_sense_is_refused_by_its_row(case):
    change, match = WRONG[case]

    def make(bars):
        good = dict(decided=bars.index[1], quantity=1.0)
        return pd.DataFrame([good, good | change])

    with pytest.raises(ParameterError, match=match):
        asking(make)(walk(5))


@pytest.mark.parametrize("orders", [[], {}, 1, "buy", [dict(decided=0, quantity=1.0)]], ids=str)
def test_orders_that_are_no_table_are_refused(orders):
    with pytest.raises(ParameterError, match="orders must be a DataFrame"):
        asking(lambda b: orders)(walk(5))


@pytest.mark.parametrize("lacking", ["decided", "quantity"])
def test_a_table_without_times_or_quantities_is_refused(lacking):
    with pytest.raises(ParameterError, match=f"its orders lack the column {lacking}"):
        asking(lambda b: told(b, dict(decided=1, quantity=1.0)).drop(columns=lacking))(walk(5))


def test_orders_of_a_panel_name_its_symbols():
    bars = Bars({k: walk(5, i) for i, k in enumerate(("A-USD", "B-USD"))})
    signal = asking(lambda b: told(b, dict(decided=1, symbol="B-USD", quantity=1.0)))(bars)
    assert list(signal.target) == ["A-USD", "B-USD"] and signal.orders["symbol"].tolist() == ["B-USD"]
    for symbol in ("X-USD", None):
        with pytest.raises(ParameterError, match="symbol must be one of A-USD, B-USD"):
            asking(lambda b: told(b, dict(decided=1, symbol=symbol, quantity=1.0)))(bars)  # noqa: B023
    with pytest.raises(ParameterError, match="lack the column symbol"):
        asking(lambda b: told(b, dict(decided=1, quantity=1.0)))(bars)


def test_no_orders_at_all_are_orders_too():
    empty = pd.DataFrame({"decided": walk(5).index[:0], "quantity": []})
    b = backtest(asking(lambda bars: empty), walk(5))
    assert len(b.orders) == 0 and (b.equity == b.capital).all() and [f.code for f in b.findings] == ["silent"]
    assert len(asking(lambda bars: pd.DataFrame(columns=["decided", "quantity"]))(walk(5)).orders) == 0


def test_without_orders_a_target_is_still_wanted():
    with pytest.raises(ParameterError, match=r"must return Signal\(target\) with a Series"):
        Strategy(lambda bars: Signal(), lambda: 1, {})(walk(5))


# Trading


def traded(w: dict, start: int = 0):
    "A world as the reference sees it, and the backtest of the same"
    there = ~np.isnan(w["bars"][:, :, 3]).all(axis=1)
    n = int(there.sum())
    w = w | {k: w[k][there] for k in ("bars", "targets", "funding")}
    w["requests"] = sorted(
        (o | dict(decided=min(o["decided"], n - 1)) for o in w["requests"]), key=lambda o: o["decided"]
    )
    symbols = [f"S{k}-USD" for k in range(w["bars"].shape[1])]
    index = pd.DatetimeIndex(w["step_ms"] * np.arange(n) * 10**6, tz="UTC", name="timestamp").as_unit("ms")
    frames = {s: pd.DataFrame(w["bars"][:, k], index, list(OHLCV)).dropna() for k, s in enumerate(symbols)}
    single = len(symbols) == 1

    def wants(bars) -> Signal:
        target = pd.DataFrame(w["targets"], index, symbols)
        exits = {
            k: v or None for k, v in zip(("stop_loss", "take_profit", "trailing_stop"), w["brackets"], strict=True)
        }
        limit = None if w["limits"] is None else bars.close * w["limits"]
        orders = pd.DataFrame(w["requests"]).rename(columns={"trailing": "trailing_stop"}) if w["requests"] else None
        if orders is not None:
            exits_of = ["stop_loss", "take_profit", "trailing_stop"]
            orders[exits_of] = orders[exits_of].replace(0.0, np.nan)
            orders["decided"], orders["symbol"] = index[orders["decided"]], [symbols[k] for k in orders["symbol"]]
            orders = orders.drop(columns="symbol") if single else orders
        return Signal(target[symbols[0]] if single else target, limit, **exits, orders=orders)

    b = backtest(
        Strategy(wants, lambda: 1, {}), frames[symbols[0]] if single else frames, costs=w["costs"], capital=w["capital"],
        symbol=symbols[0] if single else None, interval=f"{w['step_ms'] // 3_600_000}h", risk=w["risk"], tiers=w["tiers"],
        sizing=Sizing("cash", cash=w["stake"]) if w["stake"] else None,
        funding=pd.DataFrame(w["funding"], index, symbols) if w["funding"].any() else None,
    )  # fmt: skip
    return w, b


@settings(deadline=None, max_examples=120)
@given(worlds())
def test_a_backtest_of_orders_is_what_the_reference_does(w):
    w, b = traded(w)
    r, cash, equity, position = by_reference(w)
    fills = b.books.fills
    assert [(f["order"], f["bar"], f["symbol"], FILL_REASONS[f["reason"]], f["maker"]) for f in fills] == [
        (f[0], f[1], f[2], f[8], f[7]) for f in r.fills
    ]
    for name, k in (("quantity", 3), ("price", 4), ("fee", 5), ("slippage", 6)):
        np.testing.assert_allclose(fills[name], [f[k] for f in r.fills], rtol=1e-9, atol=1e-9)
    scale = np.abs(equity).max() + 1
    for mine, theirs in ((b.cash, cash), (b.equity, equity), (b.position, position)):
        mine = mine.to_numpy().reshape(theirs.shape)
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12 * scale)
    assert b.orders["status"].tolist() == [o.status for o in r.tickets]
    assert b.orders["type"].tolist() == [o.type for o in r.tickets]
    assert b.orders["tif"].tolist() == [o.tif for o in r.tickets]


def test_the_log_of_orders_tells_type_prices_time_in_force_and_why_each_ended():
    pair = [dict(decided=0, quantity=q, type="stop", stop=s, oco=1, tif="day") for q, s in ((1.0, 105.0), (-1.0, 95.0))]
    b = placed(flat(100, 100, 106, 106), *pair, dict(decided=0, quantity=1.0, type="limit", limit=90.0))
    assert fills_of(b) == [(2, 1.0, 106.0, "order")]
    assert b.orders[["type", "limit", "stop", "tif", "status", "reason"]].fillna(0).values.tolist() == [
        ["stop", 0, 105.0, "day", "filled", ""],
        ["stop", 0, 95.0, "day", "cancelled", "its sibling filled"],
        ["limit", 90.0, 0, "gtc", "open", ""],
    ]
    assert b.findings == ()


def test_a_bracket_places_its_exits_and_one_ends_the_other():
    entry = dict(decided=0, quantity=10.0, type="stop", stop=101.0, stop_loss=0.05, take_profit=0.1)
    b = placed(flat(100, 101, 102, 112, 90), entry)
    assert fills_of(b) == [(1, 10.0, 101.0, "order"), (3, -10.0, 112.0, "take_profit")]
    assert b.orders["type"].tolist() == ["stop", "stop_loss", "take_profit"] and b.equity.iloc[-1] == 10_110.0


@pytest.mark.parametrize(
    ("order", "fills", "status"),
    [
        (dict(type="limit", limit=95.0), [(2, 1.0, 94.0, "order")], "filled"),
        (dict(type="limit", limit=95.0, tif="ioc"), [], "cancelled"),
        (dict(type="stop_limit", stop=97.0, limit=95.0, quantity=-1.0), [(1, -1.0, 96.0, "order")], "filled"),
        (dict(type="stop_limit", stop=96.0, limit=97.0, quantity=-1.0), [], "open"),
        (dict(type="trailing_stop", trail=0.03, quantity=-1.0), [], "cancelled"),
    ],
    ids=lambda v: str(v) if isinstance(v, str) else None,
)
def test_every_type_meets_the_bars(order, fills, status):
    b = placed(flat(100, 96, 94, 93), dict(decided=0, quantity=1.0) | order)
    assert fills_of(b) == fills and b.orders["status"].tolist() == [status]


def test_orders_decided_before_the_start_are_left_out_and_told():
    bars = flat(100, 101, 102, 103, 104)
    start = int(bars.index[2].timestamp() * 1000)
    orders = [dict(decided=k, quantity=1.0) for k in (0, 1, 2, 3)]
    b = placed(bars, *orders, start_ms=start)
    assert fills_of(b) == [(1, 1.0, 103.0, "order"), (2, 1.0, 104.0, "order")]
    assert [(f.code, f.rows) for f in b.findings] == [("early", 2)] and "2 orders left out" in b.findings[0].text
    assert b.orders["decided_at"].tolist() == [t + pd.Timedelta("1h") for t in bars.index[2:4]]
    nothing = placed(bars, *orders[:1], start_ms=start)
    assert {f.code for f in nothing.findings} == {"early", "silent"} and len(nothing.orders) == 0


def test_an_order_at_the_last_close_stays_open():
    b = placed(flat(100, 101), dict(decided=1, quantity=1.0))
    assert len(b.fills) == 0 and b.orders["status"].tolist() == ["open"]


def test_targets_and_orders_share_the_position():
    bars = flat(*[100] * 6)

    def both(b) -> Signal:
        target = pd.Series([np.nan, np.nan, 0.5, np.nan, np.nan, np.nan], b.index)
        return Signal(
            target, orders=told(b, dict(decided=0, quantity=20.0), dict(decided=3, quantity=-50.0, reduce_only=True))
        )

    b = backtest(Strategy(both, lambda: 1, {}), bars, costs=FREE, capital=10_000.0)
    assert fills_of(b) == [(1, 20.0, 100.0, "order"), (3, 30.0, 100.0, "order"), (4, -50.0, 100.0, "order")]
    assert b.orders["target"].isna().tolist() == [True, False, True]


def test_a_drawdown_stop_ends_explicit_orders_too():
    orders = [dict(decided=0, quantity=90.0), dict(decided=2, quantity=1.0), dict(decided=3, quantity=1.0)]
    b = placed(flat(100, 100, 80, 80, 80, 80), *orders, risk=Risk(max_drawdown=0.1))
    assert [f[3] for f in fills_of(b)] == ["order", "risk"]
    assert b.orders["status"].tolist() == ["filled", "filled", "rejected", "rejected"]


def test_the_daily_loss_rule_cancels_open_orders_and_lets_new_ones_in():
    waiting = dict(decided=0, quantity=1.0, type="limit", limit=10.0)
    orders = [dict(decided=0, quantity=90.0), waiting, dict(decided=3, quantity=1.0)]
    b = placed(flat(100, 100, 90, 90, 90, 90), *orders, risk=Risk(max_daily_loss=0.05))
    assert [f[3] for f in fills_of(b)] == ["order", "risk", "order"]
    assert b.orders["reason"].tolist() == ["", "risk rule", "", ""]


def test_sizing_leaves_quantities_as_they_are():
    assert fills_of(placed(flat(*[100] * 4), dict(decided=0, quantity=3.0), sizing=Sizing(fraction=0.1)))[0][1] == 3.0


def test_symbols_of_a_panel_are_traded_by_name_and_a_pair_may_span_two():
    bars = {k: flat(*v) for k, v in {"B-USD": (10, 10, 12, 12), "A-USD": (100, 100, 100, 80)}.items()}
    pair = [
        dict(decided=0, symbol="A-USD", quantity=-1.0, type="stop", stop=90.0, oco=7),
        dict(decided=0, symbol="B-USD", quantity=2.0, type="stop", stop=11.0, oco=7),
    ]
    b = placed(bars, *pair, interval="1h")
    assert [(f.symbol, f.quantity) for f in b.fills.itertuples()] == [("B-USD", 2.0)]
    assert b.orders["symbol"].tolist() == ["A-USD", "B-USD"] and b.orders["status"].tolist() == ["cancelled", "filled"]


def test_the_same_orders_trade_the_same_to_the_byte_and_leave_the_hash_of_the_data_alone():
    bars = mock(600)
    a, b = (backtest("day_bracket", bars) for _ in range(2))
    assert a.books.orders.tobytes() == b.books.orders.tobytes() and a.equity.equals(b.equity)
    assert a.hashes["data"] == backtest("sma_cross", bars).hashes["data"]


def test_finer_bars_decide_which_of_two_comes_first():
    hours = frame([100, 100, 100], [100, 100, 100])
    hours.loc[hours.index[1], ["high", "low"]] = 106.0, 94.0
    fine = frame([100, 100, 100, 95, 100, 100], [100, 100, 95, 106, 100, 100], "30m")
    pair = [dict(decided=0, quantity=q, type="stop", stop=s, oco=1) for q, s in ((1.0, 105.0), (-1.0, 96.0))]
    assert fills_of(placed(hours, *pair, detail=fine)) == [(1, -1.0, 96.0, "order")]


# Sweep, ladder, engine


def stepping(bars, n: int = 5, width: int = 10) -> Signal:
    "A pair of stops every n bars"
    at = bars.close.iloc[::n]
    sides = [dict(decided=at.index, quantity=float(q), type="stop", stop=at.to_numpy() * (1 + q * width / 1000), tif="day",
                  oco=np.arange(len(at)) + 1, stop_loss=0.01) for q in (1, -1)]  # fmt: skip
    return Signal(orders=pd.concat([pd.DataFrame(x) for x in sides], ignore_index=True))


SPACE = {"n": Int(2, 9), "width": Int(1, 30)}


@pytest.mark.parametrize("name", ["stepping", "day_bracket"])
def test_a_row_of_a_sweep_is_the_backtest(name, tmp_path):
    s = Strategy(stepping, lambda n: n, SPACE) if name == "stepping" else get_strategy(name)
    grid = {"n": [3, 5], "width": [2, 9]} if name == "stepping" else {"n": [12, 24], "loss": [0.3, 0.6], "stake": [5e4]}
    bars = mock(700)
    start = int(bars.index[100].timestamp() * 1000)
    done = sweep(s, bars, grid, costs=Costs(fee_bps=10), start_ms=start, cache=tmp_path)
    assert done.done == 4 and done.frame["trades"].gt(0).all()
    for row in done.frame.to_dict("records"):
        b = backtest(s, bars, {k: row[k] for k in grid}, Costs(fee_bps=10), start_ms=start)
        assert {k: row[k] for k in b.metrics} == pytest.approx(b.metrics, rel=1e-12, nan_ok=True)


def test_a_wrong_order_is_a_row_of_the_sweep_with_its_reason(tmp_path):
    def picky(bars, n: int = 1) -> Signal:
        return Signal(orders=told(bars, dict(decided=0, quantity=float(n - 2))))

    done = sweep(Strategy(picky, lambda: 1, {"n": Int(1, 3)}), walk(50), {"n": [1, 2, 3]}, cache=tmp_path)
    assert done.count("done") == 2 and "quantity must be a number" in next(iter(done.reasons.values()))


def test_the_ladder_trades_the_orders_on_every_rung():
    rungs = ladder("day_bracket", mock(700), costs=Costs(fee_bps=10)).table
    assert (rungs["trades"] > 0).all() and rungs["total_return"].iloc[1] > rungs["total_return"].iloc[-1]


def test_the_engine_refuses_a_strategy_of_orders_by_name():
    bars = mock(80)
    bars.attrs["symbol"] = "BTC-USD"
    venue, s = PaperExchange("BTC-USD", 10_000, FREE), get_strategy("day_bracket")
    engine = Engine(s, {}, venue, FREE, Books(Database("sqlite://"), "a", "BTC-USD", 10_000, 0))
    open_, high, low, close, volume = bars[OHLCV].iloc[-1].tolist()
    ms = int(bars.index[-1].timestamp() * 1000)
    with pytest.raises(ParameterError, match="day_bracket asks for"):
        engine.on_bar(Bar(ms, ms + 3_600_000, open_, close, high, low, volume), bars)


# Causality


def limits(bars, price) -> Signal:
    "A purchase at a limit price at every third close"
    at = price.dropna().iloc[::3]
    return Signal(orders=pd.DataFrame(dict(decided=at.index, quantity=1.0, type="limit", limit=at.to_numpy())))


LEAKY = {
    "a limit at the next low": lambda bars: limits(bars, bars.low.shift(-1)),
    "a limit at the low of the day itself": lambda bars: limits(
        bars, bars.low.groupby(bars.index.floor("D")).transform("min")
    ),
    "orders before rises alone": lambda bars: limits(bars, bars.close.where(bars.close.shift(-2) > bars.close)),
    "the side of the next move": lambda bars: Signal(
        orders=pd.DataFrame(dict(decided=bars.index[:-1], quantity=np.sign(np.diff(bars.close)) + 0.5))
    ),
    "a stop loss from the risk of the whole sample": lambda bars: Signal(
        orders=pd.DataFrame(dict(decided=bars.index[::9], quantity=1.0, stop_loss=bars.close.pct_change().std()))
    ),
    "an order at the last bar alone": lambda bars: Signal(
        orders=pd.DataFrame(dict(decided=bars.index[-1:], quantity=1.0))
    ),
    "orders beside a clean target": lambda bars: replace(
        limits(bars, bars.low.shift(-1)), target=(bars.close > bars.close.rolling(20).mean()).astype(float)
    ),
}
CLEANLY = {
    "a limit at the last low": lambda bars: limits(bars, bars.low.shift(1)),
    "a limit at the low of the day so far": lambda bars: limits(bars, bars.low.groupby(bars.index.floor("D")).cummin()),
    "orders after rises alone": lambda bars: limits(bars, bars.close.where(bars.close.shift(2) < bars.close)),
    "pairs, bought and sold in blocks": lambda bars: stepping(bars),
    "rows from the last to the first": lambda bars: Signal(
        orders=pd.DataFrame(dict(decided=bars.index[::4][::-1], quantity=1.0))
    ),
    "none before the hundredth bar": lambda bars: Signal(
        bars.close * np.nan,
        orders=pd.DataFrame(dict(decided=bars.index[100::7], quantity=1.0)) if len(bars) > 100 else None,
    ),
}


@pytest.mark.parametrize("case", LEAKY)
def test_a_leak_through_orders_is_found(case):
    with pytest.raises(LookAheadError) as e:
        assert_causal(Strategy(LEAKY[case], lambda: 1, {}), mock(500), most=60)
    assert "orders." in str(e.value)


@pytest.mark.parametrize("case", CLEANLY)
def test_clean_orders_are_not_accused(case):
    assert check_causal(Strategy(CLEANLY[case], lambda: 1, {}), mock(500), most=60, warmup=False).causal


def test_a_leak_in_the_orders_of_a_panel_is_found():
    bars = {k: mock(300, seed=i) for i, k in enumerate(("A-USD", "B-USD"))}

    def late(b, lag: int = 1) -> Signal:
        up = (b.close["A-USD"].shift(-lag) > b.close["A-USD"]) & b.close["B-USD"].notna()
        at = b.index[up.to_numpy()]
        return Signal(orders=pd.DataFrame(dict(decided=at, symbol="B-USD", quantity=1.0)))

    s = Strategy(late, lambda: 1, {"lag": Int(-5, 5)})
    with pytest.raises(LookAheadError, match="orders.symbol at bar"):
        assert_causal(s, bars, most=40)
    assert_causal(s, bars, {"lag": -1}, most=40)


# The day's bracket


def test_the_days_bracket_by_hand():
    prices = np.full(24 * 3 + 2, 100.0)
    prices[24 + 5 : 24 + 9], prices[24 + 9 : 48] = 104.0, 108.0  # up on the second day
    prices[48:] = 108.0
    bars = frame(prices, prices)
    wide = np.where(np.arange(len(bars)) < 24, 1.0, 0.5)
    bars["high"], bars["low"] = bars["high"] + wide, bars["low"] - wide
    b = backtest("day_bracket", bars, dict(stake=1010.0), FREE, capital=10_000.0)
    first = b.orders.iloc[:4]
    assert first["type"].tolist() == ["market", "market", "stop", "stop"]
    assert first["stop"].tolist()[2:] == [101.0, 99.0] and first["tif"].tolist()[2:] == ["day", "day"]
    assert fills_of(b)[:2] == [(29, 10.0, 104.0, "order"), (49, -10.0, 108.0, "order")]
    assert first["reason"].tolist() == ["no position to reduce"] * 2 + ["", "its sibling filled"]


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 99), n=st.sampled_from([12, 24, 30]), seconds=st.sampled_from([900, 3600]))
def test_the_days_bracket_is_the_same_on_prefixes_and_trailing_windows(seed, n, seconds):
    s, bars = (
        get_strategy("day_bracket"),
        mock(400, seconds, f"{seconds // 60}m" if seconds < 3600 else "1h", seed=seed),
    )
    whole, window = s(bars, n=n).orders, s.warmup(n=n)
    for t in [*range(1, 400, 57), *np.flatnonzero(np.diff(bars.index.as_unit("ms").asi8 // DAY_MS) > 0) + 2]:
        part = s(bars.iloc[:t], n=n).orders
        pd.testing.assert_frame_equal(part, whole[whole.index < bars.index[t]] if t < 400 else whole)
        if t >= window:
            last = s(bars.iloc[t - window : t], n=n).orders
            now = bars.index[t - 1]
            pd.testing.assert_frame_equal(last[last.index == now], whole[whole.index == now])


def test_the_days_bracket_of_a_panel_is_that_of_each_symbol():
    s, frames = get_strategy("day_bracket"), {k: mock(300, symbol=k) for k in ("BTC-USD", "ETH-USD")}
    together = s(Bars(frames)).orders
    for symbol, bars in frames.items():
        mine = together[together["symbol"] == symbol].drop(columns=["symbol", "oco"])
        pd.testing.assert_frame_equal(mine, s(bars).orders.drop(columns="oco"), check_freq=False)
    assert together.loc[together["oco"] > 0, ["oco", "symbol"]].drop_duplicates().groupby("oco").size().eq(1).all()
