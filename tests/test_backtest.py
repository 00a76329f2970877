"A backtest is refused or right: causal, repeatable, and its figures are those of the formulas."

import hashlib
import json
import math
import os
import statistics
import subprocess
import sys
from dataclasses import asdict
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markets import frame, gapped, mock, store, ticks, walk, wanting

import rrr
from rrr.backtest.metrics import drawdown, longest_drawdown_days, performance, round_trips, sharpe_ratio, sortino_ratio
from rrr.backtest.run import again, backtest, code_hash, run_row, save, stored_terms, thin
from rrr.backtest.warm import PARTS, cold, warm
from rrr.core.errors import DataError, NotFoundError, ParameterError
from rrr.core.market import interval_ms
from rrr.execution.costs import Costs
from rrr.execution.risk import Risk
from rrr.execution.sizing import Sizing
from rrr.store.bars import epoch_ms
from rrr.store.runs import get_backtest, list_backtests
from rrr.strategy.contract import Signal, Strategy, get_strategy

NAN = math.nan
CROSS = dict(fast=3, slow=8)


def content(b) -> bytes:
    "Everything a run says, as bytes"
    parts = [b.cash, b.position, b.equity, b.target, *(b.orders[k] for k in b.orders.select_dtypes("number"))]
    times = [epoch_ms(pd.DatetimeIndex(b.orders[k].dropna())).tobytes() for k in ("decided_at", "filled_at")]
    text = json.dumps([b.params, b.metrics, b.hashes["data"], b.orders.side.tolist(), b.orders.status.tolist()])
    return b"".join(np.asarray(p, dtype="<f8").tobytes() for p in parts) + b"".join(times) + text.encode()


# By hand


def test_five_bars_by_hand():
    bars = frame([100, 101, 102, 110, 120], [100, 102, 108, 111, 119])
    b = backtest(wanting([1, 1, 0.5, 0, 1]), bars, costs=Costs(fee_bps=100, lot=1), capital=1000.0)
    buy, trim, out, again = b.orders.itertuples()
    hour = pd.Timedelta("1h")
    assert (buy.decided_at, buy.filled_at) == (bars.index[0] + hour, bars.index[1])
    assert (buy.side, buy.quantity, buy.filled, buy.price, buy.value, buy.fee) == ("buy", 10, 9, 101, 909, 9.09)
    # at the close of bar 2: equity 81.91 + 9 * 108 = 1053.91; half of it are 4.88 units, so 4
    assert (trim.side, trim.quantity, trim.filled, trim.price, trim.value, trim.fee) == ("sell", -5, -5, 110, 550, 5.5)
    assert (out.quantity, out.filled, out.price, out.value, out.fee) == (-4, -4, 120, 480, 4.8)
    assert (again.status, again.side, again.filled) == ("open", "buy", 0) and pd.isna(again.filled_at)
    assert b.orders.status.tolist() == ["filled", "filled", "filled", "open"]
    assert b.cash.tolist() == [1000, 81.91, 81.91, 626.41, 1101.61] and b.position.tolist() == [0, 9, 9, 4, 0]
    assert b.equity.tolist() == pytest.approx([1000, 999.91, 1053.91, 1070.41, 1101.61])
    (trip,) = b.trades.itertuples()
    assert (trip.entry_time, trip.exit_time, trip.quantity, trip.status) == (bars.index[1], bars.index[4], 9, "closed")
    assert (trip.entry_price, trip.exit_price) == pytest.approx((101, 1030 / 9))
    assert (trip.fees, trip.pnl, trip.return_pct) == pytest.approx((19.39, 101.61, 100 * 101.61 / 909))
    m = b.metrics
    assert m["final_equity"] == 1101.61 and m["total_return"] == pytest.approx(0.10161)
    assert (m["fills"], m["trades"], m["hit_rate"], m["fees_paid"]) == (3, 1, 1, pytest.approx(19.39))
    assert m["exposure"] == 3 / 5 and math.isnan(m["profit_factor"]) and m["expectancy"] == pytest.approx(101.61)
    assert m["holding_days"] == pytest.approx(3 / 24) and m["max_drawdown"] == pytest.approx(999.91 / 1000 - 1)


def test_a_single_bar_ends_with_an_open_order():
    b = backtest("buy_and_hold", walk(1))
    assert b.orders.status.tolist() == ["open"] and b.fills.empty and b.trades.empty
    assert b.metrics["total_return"] == 0 and math.isnan(b.metrics["sharpe"]) and math.isnan(b.metrics["hit_rate"])


def test_a_run_without_a_trade_has_undefined_figures_and_no_error():
    b = backtest(wanting([NAN]), walk(50))
    m = b.metrics
    assert len(b.orders) == len(b.fills) == len(b.trades) == 0 and (b.equity == 100_000).all()
    undefined = {k for k, v in m.items() if math.isnan(v)}
    ratios = {
        "sharpe",
        "sharpe_error",
        "probabilistic_sharpe",
        "sortino",
        "calmar",
        "omega",
        "tail_ratio",
        "skew",
        "kurtosis",
    }
    assert undefined == ratios | {"hit_rate", "profit_factor", "payoff", "expectancy", "holding_days"}
    assert b.trades.entry_time.dtype == b.trades.exit_time.dtype == "datetime64[ms, UTC]"


def test_an_order_that_affords_nothing_is_rejected():
    b = backtest(
        wanting([1, NAN, NAN]), frame([99, 101, 101], [99, 101, 101]), costs=Costs(fee_bps=0, lot=1), capital=100
    )
    assert b.orders.status.tolist() == ["rejected"] and b.fills.empty and (b.cash == 100).all()


# Refusals


def spoiled(**change):
    "Twenty bars with some cells of the tenth changed"
    bars = walk(20)
    for column, value in change.items():
        bars.loc[bars.index[9], column] = value
    return bars


def with_index(make):
    bars = walk(20)
    bars.index = make(bars.index)
    return bars


def texted(bars, column="close"):
    bars = bars.astype({column: object})
    bars.loc[bars.index[3], column] = "n/a"
    return bars


@pytest.mark.parametrize(
    ("bars", "said"),
    [
        (walk(20).drop(columns="volume"), "look at: volume"),
        (walk(20).drop(columns=["open", "high"]), "look at: open, high"),
        (pd.concat([walk(20), walk(20)[["close"]]], axis=1), "once each.*look at: close"),
        (walk(20).iloc[:0], "at least one row"),
        (with_index(lambda i: range(20)), "UTC DatetimeIndex"),
        (with_index(lambda i: i.tz_localize(None)), "UTC DatetimeIndex"),
        (with_index(lambda i: i.tz_convert("Europe/Berlin")), "UTC DatetimeIndex"),
        (walk(20).iloc[::-1], "time order"),
        (walk(20).iloc[[0, 1, 1, 2]], "duplicates"),
        (
            with_index(lambda i: i[0] + (i - i[0]) / 2),
            "2024-01-01 00:30:00.* opens before the 1h bar ahead of it has closed",
        ),
        (spoiled(open=NAN), "2024-01-01 09:00.* not a positive number"),
        (spoiled(close=0.0), "2024-01-01 09:00.* not a positive number"),
        (spoiled(close=-5.0), "2024-01-01 09:00.* not a positive number"),
        (spoiled(high=math.inf), "2024-01-01 09:00.* not a positive number"),
        (spoiled(low=NAN), "2024-01-01 09:00.* not a positive number"),
        (spoiled(volume=NAN), "2024-01-01 09:00.* no volume"),
        (texted(walk(20)), "not a number.*n/a"),
    ],
)
def test_bars_that_cannot_be_traded_are_refused(bars, said):
    with pytest.raises(DataError, match=said):
        backtest("buy_and_hold", bars, interval="1h")


@pytest.mark.parametrize("capital", [0, -1.0, NAN, math.inf, 1e9, "100", None, True, 1 / 3], ids=str)
def test_capital_that_cannot_be_held_is_refused(capital):
    with pytest.raises(ParameterError, match="capital must be above 0"):
        backtest("buy_and_hold", walk(5), capital=capital)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: backtest("sma_cros", walk(20)), ParameterError, "did you mean 'sma_cross'"),
        (lambda: backtest("sma_cross", walk(20), dict(fats=3)), ParameterError, "did you mean 'fast'"),
        (lambda: backtest("sma_cross", walk(20), dict(fast=2.5)), ParameterError, "whole number"),
        (lambda: backtest("sma_cross", walk(20), dict(fast=9, slow=3)), ParameterError, "shorter than slow"),
        (lambda: backtest(wanting([1.01]), walk(20)), ParameterError, "beyond"),
        (lambda: backtest("buy_and_hold", walk(20), interval="1x"), ParameterError, "interval '1x'"),
        (lambda: backtest("buy_and_hold", frame_without_attrs()), ParameterError, "interval is not known"),
        (
            lambda: backtest("buy_and_hold", walk(20), start_ms=4_000_000_000_000),
            DataError,
            "no bars from the asked start",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_sentence(call, error, said):
    with pytest.raises(error, match=said):
        call()


def frame_without_attrs():
    bars = walk(20)
    bars.attrs = {}
    return bars


def test_a_shorter_interval_than_the_steps_is_a_gap_and_fine():
    assert len(backtest("buy_and_hold", walk(20), interval="15m").bars) == 20


# What a run rests on


def test_names_come_with_the_bars_or_the_call():
    b = backtest("buy_and_hold", walk(20))
    assert (b.symbol, b.interval, b.synthetic) == ("TEST-USD", "1h", True) and "SYNTHETIC" in b.title
    b = backtest("buy_and_hold", walk(20), symbol="BTC-USD", interval="30m", synthetic=False)
    assert (b.symbol, b.interval, b.synthetic) == ("BTC-USD", "30m", False) and "SYNTHETIC" not in b.title
    assert backtest(get_strategy("buy_and_hold"), frame_without_attrs(), interval="1h").symbol == "?"


def test_whole_numbers_and_exact_capital_are_taken():
    bars = walk(20).round().astype(int)
    bars.attrs = walk(1).attrs
    a, b = (
        backtest("buy_and_hold", bars, capital=1000),
        backtest("buy_and_hold", bars.astype(float), capital=Decimal(1000)),
    )
    assert content(a) == content(b)


def test_the_bars_handed_in_are_left_alone():
    bars = walk(60)
    before = bars.copy()
    b = backtest("sma_cross", bars, CROSS)
    bars.iloc[:] = 1.0
    assert b.bars.equals(before) and b.hashes["data"] == backtest("buy_and_hold", before).hashes["data"]


def test_earlier_bars_only_warm_up():
    bars = walk(200, seed=4)
    start = int(epoch_ms(bars.index)[120])
    late, whole = backtest("sma_cross", bars, CROSS, start_ms=start), backtest("sma_cross", bars, CROSS)
    assert late.bars.index[0] == bars.index[120] and len(late.bars) == len(late.equity) == 80
    assert late.target.equals(whole.target.iloc[120:]) and late.target.notna().all()
    assert (late.orders.decided_at > bars.index[120]).all() and late.equity.iloc[0] == 100_000
    cold = backtest("sma_cross", bars.iloc[120:], CROSS)
    assert cold.target.iloc[:7].isna().all()
    between = backtest("sma_cross", bars, CROSS, start_ms=start - 1)
    assert content(between) == content(late)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 999), cut=st.integers(1, 149), coarse=st.booleans())
def test_the_future_changes_nothing_of_the_past(seed, cut, coarse):
    make = ticks if coarse else walk
    bars, other = make(150, seed=seed), make(150, seed=seed + 1)
    changed = pd.concat([bars.iloc[:cut], other.iloc[cut:] * 3.0])
    changed.attrs = bars.attrs
    a, b, c = (backtest("sma_cross", x, CROSS) for x in (bars, changed, bars.iloc[:cut]))
    for x in (b, c):
        np.testing.assert_array_equal(a.equity.iloc[:cut], x.equity.iloc[:cut])
        np.testing.assert_array_equal(a.target.iloc[:cut], x.target.iloc[:cut])
        known = a.orders.decided_at <= c.bars.index[-1] + pd.Timedelta("1h")
        placed = ["decided_at", "side", "target", "quantity"]
        pd.testing.assert_frame_equal(a.orders.loc[known, placed], x.orders.iloc[: known.sum()][placed])


def test_a_run_repeats_to_the_byte_in_any_process():
    code = (
        "from test_backtest import *\n"
        "print(hashlib.sha256(content(backtest('sma_cross', mock(500), CROSS, Costs(slippage_bps=3)))).hexdigest())"
    )
    env = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": os.path.dirname(__file__)}
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env).stdout
    for _ in range(2):
        b = backtest("sma_cross", mock(500), CROSS, Costs(slippage_bps=3))
        assert hashlib.sha256(content(b)).hexdigest() == other.strip()


# Identity


def test_the_data_hash_is_that_of_the_traded_bars():
    bars = walk(60)
    whole = backtest("buy_and_hold", bars).hashes["data"]
    assert backtest("sma_cross", bars, CROSS).hashes["data"] == whole
    late = backtest("buy_and_hold", bars, start_ms=int(epoch_ms(bars.index)[10]))
    assert late.hashes["data"] == backtest("buy_and_hold", bars.iloc[10:]).hashes["data"] != whole
    touched = bars.copy()
    touched.loc[bars.index[30], "volume"] += 1e-9
    assert backtest("buy_and_hold", touched).hashes["data"] != whole


def test_the_code_hash_changes_with_the_source_of_the_strategy(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    hashes = []
    for name, rule in (("ruled_a", "bars.close > 1"), ("ruled_b", "bars.close > 2"), ("ruled_c", "bars.close > 1")):
        (tmp_path / f"{name}.py").write_text(
            f"from rrr.strategy.contract import Signal\ndef rule(bars):\n    return Signal(({rule}).astype(float))\n"
        )
        hashes.append(code_hash(Strategy(__import__(name).rule, lambda: 1, {})))
    assert hashes[0] == hashes[2] != hashes[1] and all(len(h) == 16 for h in hashes)


def test_the_code_hash_changes_with_any_module_of_the_package(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    for name in ("__init__.py", "sub/rules.py", "_modidx.py"):
        (tmp_path / name).write_text("x = 1\n")
    monkeypatch.setattr(rrr, "__file__", str(tmp_path / "__init__.py"))
    s = get_strategy("buy_and_hold")
    before = code_hash(s)
    (tmp_path / "_modidx.py").write_text("x = 2\n")
    assert code_hash(s) == before
    (tmp_path / "sub/rules.py").write_text("x = 2\n")
    changed = code_hash(s)
    (tmp_path / "sub/rules.py").rename(tmp_path / "rules.py")
    assert len({before, changed, code_hash(s)}) == 3


# Figures


def by_formula(b) -> dict[str, float]:
    "The metrics once more, in plain loops"
    equity, capital, n = b.equity.tolist(), b.capital, len(b.equity)
    returns = [v / before - 1 for before, v in zip([capital, *equity], equity, strict=False)]
    step = interval_ms(b.interval) / 86_400_000
    root = math.sqrt(365 / step)
    days = (b.bars.index[-1] - b.bars.index[0]) / pd.Timedelta("1D") + step
    peak, depth, since, longest = capital, 0.0, b.bars.index[0], 0.0
    for t, v in zip(b.bars.index, equity, strict=True):
        if v >= peak:
            peak, since = v, t
        depth, longest = min(depth, v / peak - 1), max(longest, (t - since) / pd.Timedelta("1D"))
    pnls = b.trades[b.trades.status == "closed"].pnl.tolist()
    won, lost = [p for p in pnls if p > 0], [p for p in pnls if p <= 0]
    spans = b.trades[b.trades.status == "closed"]
    annual = (equity[-1] / capital) ** (365 / days) - 1
    return {
        "final_equity": equity[-1],
        "total_return": equity[-1] / capital - 1,
        "annual_return": annual,
        "annual_volatility": statistics.stdev(returns) * root,
        "sharpe": statistics.mean(returns) / statistics.stdev(returns) * root,
        "sortino": statistics.mean(returns) / math.sqrt(sum(min(r, 0) ** 2 for r in returns) / n) * root,
        "calmar": annual / -depth,
        "max_drawdown": depth,
        "max_drawdown_days": longest,
        "exposure": sum(p > 0 for p in b.position) / n,
        "turnover": sum(b.fills.value) / statistics.mean(equity) * 365 / days,
        "fills": len(b.fills),
        "trades": len(pnls),
        "hit_rate": len(won) / len(pnls),
        "profit_factor": sum(won) / -sum(lost),
        "expectancy": sum(pnls) / len(pnls),
        "holding_days": statistics.mean((spans.exit_time - spans.entry_time) / pd.Timedelta("1D")),
        "fees_paid": sum(b.fills.fee),
    }


@pytest.mark.parametrize(
    ("bars", "costs"),
    [
        (walk(400, seed=1), Costs()),
        (walk(400, seed=2, price=1e-5, interval="1d"), Costs(slippage_bps=5)),
        (gapped(walk(400, seed=3, interval="1m")), Costs(fee_bps=0)),
        (mock(600), Costs(lot=0.001)),
        (ticks(600, seed=8), Costs(fee_bps=1)),
    ],
    ids=["walk", "daily", "gapped", "mock", "ticks"],
)
def test_metrics_are_those_of_the_formulas(bars, costs):
    b = backtest("sma_cross", bars, CROSS, costs)
    plain = by_formula(b)
    assert {k: b.metrics[k] for k in plain} == pytest.approx(plain, rel=1e-9)


def test_ratios_of_returns_that_do_not_vary_are_undefined():
    assert math.isnan(sharpe_ratio(np.zeros(9), 365)) and math.isnan(sharpe_ratio(np.array([0.1]), 365))
    assert math.isnan(sharpe_ratio(np.array([]), 365)) and math.isnan(sortino_ratio(np.array([]), 365))
    assert math.isnan(sortino_ratio(np.array([0.0, 0.1]), 365))


def test_a_drawdown_counts_from_the_opening_capital_and_to_its_last_bar():
    days = pd.date_range("2024-01-01", periods=6, tz="UTC")
    down = drawdown(pd.Series([90.0, 95, 101, 100, 99, 102], days), 100.0)
    assert down.tolist() == pytest.approx([-0.1, -0.05, 0, 100 / 101 - 1, 99 / 101 - 1, 0])
    assert longest_drawdown_days(down) == 2.0
    assert longest_drawdown_days(drawdown(pd.Series([101.0, 102, 103], days[:3]), 100.0)) == 0.0
    assert longest_drawdown_days(drawdown(pd.Series([99.0, 98, 97], days[:3]), 100.0)) == 2.0


@pytest.mark.filterwarnings("error")
def test_ruin_and_riches_give_figures_and_no_warning():
    ruined = backtest(wanting([1, 0, NAN]), frame([1, 1, 1], [1, 1, 1]), costs=Costs(fee_bps=9999), capital=1e-6)
    assert ruined.metrics["final_equity"] < 1e-9 and ruined.metrics["annual_return"] == pytest.approx(-1)
    rich = backtest("buy_and_hold", frame([1, 1, 1e6], [1, 1e3, 1e6], "1m"))
    assert rich.metrics["annual_return"] == math.inf
    nothing = pd.Series([0.0, 0.0], pd.date_range("2024-01-01", periods=2, tz="UTC"))
    fills = pd.DataFrame(
        {k: [] for k in ("quantity", "value", "fee", "position")}, index=nothing.index[:0], dtype=float
    )
    m = performance(nothing, 100.0, 86_400_000, nothing, fills, round_trips(fills, 1.0))
    assert m["total_return"] == m["max_drawdown"] == -1 and math.isnan(m["sharpe"]) and math.isnan(m["turnover"])


# Round trips


WISHES = st.lists(st.sampled_from([0.0, 0.0, 0.2, 0.5, 0.7, 1.0, NAN]), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(
    wishes=WISHES,
    seed=st.integers(0, 99),
    price=st.sampled_from([1e-5, 1.0, 1e5]),
    capital=st.sampled_from([50.0, 1e5, 5e7]),
    lot=st.sampled_from([0.0, 0.0, 1e-8]),
    fee=st.sampled_from([0, 10, 500]),
    slip=st.sampled_from([0, 20]),
)
def test_equity_is_capital_plus_what_the_round_trips_earned(wishes, seed, price, capital, lot, fee, slip):
    bars = walk(60, seed, price, spread=0.05)
    b = backtest(wanting(wishes), bars, costs=Costs(fee, slip, lot), capital=capital)
    t = b.trades
    assert b.equity.iloc[-1] == pytest.approx(capital + t.pnl.sum(), rel=1e-11)
    assert t.fees.sum() == pytest.approx(b.fills.fee.sum(), rel=1e-11)
    assert (t.status == "open").sum() == (b.position.iloc[-1] > 0) and (t.status.iloc[:-1] == "closed").all()
    assert (t.quantity > 0).all() and (t.entry_price > 0).all() and (t.exit_price > 0).all()
    assert (t.exit_time.isna() == (t.status == "open")).all() and (t.exit_time > t.entry_time)[
        t.status == "closed"
    ].all()
    assert (t.entry_time.iloc[1:].to_numpy() > t.exit_time.iloc[:-1].to_numpy()).all()
    flat = int((b.fills.position == 0).sum())
    assert flat == (t.status == "closed").sum()
    assert float(sum(b.exact_quantities())) == pytest.approx(b.fills.quantity.abs().sum(), rel=1e-11)


def test_a_tiny_rest_is_still_a_position():
    "A hundred-millionth is kept and sold later: one round trip, not two."
    bars = frame([100] * 6, [100] * 6)
    b = backtest(wanting([1, 1e-8, NAN, 0, NAN, NAN]), bars, costs=Costs(fee_bps=0), capital=1e5)
    (trip,) = b.trades.itertuples()
    assert trip.status == "closed" and trip.exit_time == bars.index[4] and trip.quantity == 1000


def test_an_open_trip_is_valued_at_the_last_close():
    b = backtest("buy_and_hold", frame([100, 100, 100], [100, 100, 150]), costs=Costs(fee_bps=0), capital=1000)
    (trip,) = b.trades.itertuples()
    assert (trip.status, trip.exit_price, trip.pnl) == ("open", 150, 500) and pd.isna(trip.exit_time)
    assert b.metrics["trades"] == 0 and math.isnan(b.metrics["hit_rate"])


def test_the_benchmark_is_buy_and_hold_at_the_same_costs():
    b = backtest("sma_cross", walk(100), CROSS, Costs(fee_bps=30, slippage_bps=7, lot=0.5), capital=5000)
    held = b.benchmark
    assert held.strategy.name == "buy_and_hold" and held.costs == b.costs and held.capital == 5000
    assert held.bars.equals(b.bars) and len(held.fills) == 1 and held.title == "buy_and_hold() on TEST-USD 1h SYNTHETIC"


# Storage


def test_the_row_of_a_run_is_strict_json():
    for b in (
        backtest("sma_cross", mock(900), CROSS),
        backtest(wanting([NAN]), walk(5)),
        backtest("buy_and_hold", walk(1)),
    ):
        run, trades = run_row(b, "r1")
        text = json.dumps([run | {"capital": str(run["capital"])}, trades], allow_nan=False)
        assert json.loads(text)[0]["metrics"] == {k: v if math.isfinite(v) else None for k, v in b.metrics.items()}
        assert run["capital"] == Decimal(100_000) and run["bars"] == len(b.bars) and len(run["equity"]) <= 500
        assert run["equity"][-1] == [int(epoch_ms(b.bars.index)[-1]), float(b.equity.iloc[-1])]
        assert [t["number"] for t in trades] == list(range(1, len(b.trades) + 1))


def test_a_stored_run_comes_back_as_it_was():
    bars = mock(900)
    b, db = backtest("sma_cross", bars, CROSS, Costs(lot=0.001)), store(bars)
    name = save(b, db)
    run, trades = get_backtest(db, name)
    row, rows = run_row(b, name)
    assert {k: run[k] for k in row} == row and [{k: t[k] for k in r} for t, r in zip(trades, rows, strict=True)] == rows
    assert run["costs"] == asdict(Costs(lot=0.001)) and run["seed"] is None
    assert list_backtests(db)[0] == 1 and save(b, db, "mine") == "mine" and list_backtests(db)[0] == 2
    with pytest.raises(NotFoundError):
        get_backtest(db, "other")


@given(n=st.integers(1, 400), most=st.integers(1, 50))
def test_a_thinned_curve_keeps_its_end_and_its_order(n, most):
    short = thin(pd.Series(range(n)), most)
    assert len(short) <= most and short.iloc[-1] == n - 1 and short.is_monotonic_increasing


# For people


def test_a_run_says_what_it_is():
    b = backtest("sma_cross", walk(100), CROSS, symbol="<B>-USD")
    assert repr(b).startswith("sma_cross(fast=3, slow=8) on <B>-USD 1h SYNTHETIC: return ")
    assert "&lt;B&gt;-USD" in b._repr_html_() and "<B>" not in b._repr_html_()


def test_a_signal_of_whole_numbers_is_traded():
    s = Strategy(lambda bars: Signal(pd.Series(1, bars.index)), lambda: 1, {})
    assert len(backtest(s, walk(9)).fills) == 1


# More than targets of one symbol


LOOP = dict(risk=Risk(max_drawdown=0.999999))  # a rule that hardly ever acts, but that only the loop knows


@settings(deadline=None, max_examples=60)
@given(
    wishes=st.lists(st.sampled_from([0.0, 0.3, 0.5, 1.0, -0.4, -1.0, NAN]), min_size=1, max_size=12),
    seed=st.integers(0, 999),
    fee=st.sampled_from([0, 10, 300]),
    slip=st.sampled_from([0, 7]),
    spread=st.sampled_from([0, 4]),
    lot=st.sampled_from([0.0, 0.01, 1.0]),
    least=st.sampled_from([0.0, 500.0]),
)
def test_the_quick_way_and_the_loop_keep_the_same_books(wishes, seed, fee, slip, spread, lot, least):
    costs, bars = Costs(fee, slip, lot, least, spread_bps=spread), walk(60, seed, spread=0.03)
    a, b = backtest(wanting(wishes), bars, costs=costs), backtest(wanting(wishes), bars, costs=costs, **LOOP)
    assert a.quick and not b.quick
    if "ruin" in {f.code for f in a.findings} or b.drawdown.min() < -0.99:
        return
    for name in ("equity", "cash", "position"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.metrics == pytest.approx(b.metrics, rel=0, abs=0, nan_ok=True)
    pd.testing.assert_frame_equal(a.fills, b.fills)


def test_shorts_earn_from_a_fall_and_are_told_as_trips():
    bars = frame([100, 100, 90, 80], [100, 95, 85, 80])
    b = backtest(wanting([-1, NAN, 0, NAN]), bars, costs=Costs(0, 0), capital=1000)
    assert b.position.tolist() == [0, -10, -10, 0] and b.equity.tolist() == [1000, 1050, 1150, 1200]
    (trip,) = b.trades.itertuples()
    assert (trip.quantity, trip.entry_price, trip.exit_price, trip.pnl) == (-10, 100, 80, 200)
    assert b.exposure.tolist() == pytest.approx([0, -950 / 1050, -850 / 1150, 0])


def test_a_limit_waits_for_its_price_and_a_trailing_stop_follows():
    bars = frame([100, 101, 99, 105, 110, 104], [100, 101, 99, 108, 110, 100])

    def wish(b):
        "A limit below the market, then trail."
        return Signal(pd.Series(1.0, b.index), limit=99.5, trailing_stop=0.05)

    b = backtest(Strategy(wish, lambda: 1, {}), bars, costs=Costs(0, 0), capital=1000)
    bought, sold = b.fills.iloc[0], b.fills.iloc[1]
    assert bought.price == 99 and bought.reason == "order" and b.fills.index[0] == bars.index[2]
    assert sold.price == 104 and sold.reason == "trailing_stop" and b.fills.index[1] == bars.index[5]
    assert b.orders.type.tolist()[:2] == ["limit", "trailing_stop"] and b.orders.limit.iloc[0] == 99.5


@pytest.fixture
def panel():
    "Three symbols: one whole, one listed late, one that dies while it is held"
    bars = {k: walk(120, seed=i, price=10.0 + i) for i, k in enumerate(("A-USD", "B-USD", "C-USD"))}
    return bars | {"B-USD": bars["B-USD"].iloc[40:], "C-USD": bars["C-USD"].iloc[:80]}


def spread_out(bars):
    "A share of each symbol that steps up and down"
    step = np.where(np.arange(len(bars)) // 10 % 2, 0.3, 0.2)
    return Signal(pd.DataFrame({s: step for s in bars.symbols}, bars.index))


STEPPED = Strategy(spread_out, lambda: 1, {}, panel=True)


def test_a_dead_symbol_is_said_and_keeps_its_last_price(panel):
    b = backtest(STEPPED, panel, costs=Costs(slippage_bps=5))
    codes = [f.code for f in b.findings]
    assert codes.count("late") == codes.count("dead") == codes.count("stuck") == 1
    said = {f.code: f.text for f in b.findings}
    assert (
        "B-USD: no bars before 2024-01-02 16:00" in said["late"]
        and "C-USD: no bars after 2024-01-04 07:00" in said["dead"]
    )
    held = b.position["C-USD"]
    assert held.iloc[-1] == held.iloc[79] > 0 and (b.position["B-USD"].iloc[:41] == 0).all()
    last = panel["C-USD"].close.iloc[-1]
    value = b.cash + sum(b.position[s] * b.close[s].fillna(0) for s in b.symbols)
    np.testing.assert_allclose(b.equity, value, rtol=1e-12)
    assert b.close["C-USD"].iloc[-1] == last and b.symbol == "A-USD,B-USD,C-USD"


def test_no_symbol_trades_where_it_has_no_bar(panel):
    b = backtest(STEPPED, panel)
    for symbol, bars in panel.items():
        times = b.fills.index[b.fills.symbol == symbol]
        assert len(times) > 2 and times.isin(bars.index).all()
    assert set(b.orders.symbol) == set(panel) and set(b.trades.symbol) == set(panel)


def test_the_order_of_the_symbols_does_not_matter_where_cash_suffices(panel):
    a, b = backtest(STEPPED, panel), backtest(STEPPED, dict(reversed(panel.items())))
    np.testing.assert_allclose(a.equity, b.equity, rtol=1e-12)
    assert a.hashes["data"] != b.hashes["data"] or a.symbols == b.symbols


def test_a_panel_is_refused_where_one_of_it_is_wrong(panel):
    with pytest.raises(DataError, match="B-USD: bars must be in time order"):
        backtest(STEPPED, panel | {"B-USD": panel["B-USD"].iloc[::-1]})
    with pytest.raises(DataError, match="give bars as"):
        backtest(STEPPED, {}, interval="1h")
    with pytest.raises(ParameterError, match="costs are not given for C-USD"):
        backtest(STEPPED, panel, costs={"A-USD": Costs(), "B-USD": Costs()})
    with pytest.raises(DataError, match="no bars of C-USD from the asked start"):
        backtest(STEPPED, panel, start_ms=int(epoch_ms(panel["A-USD"].index)[100]))


def test_costs_may_differ_by_symbol(panel):
    b = backtest(
        STEPPED, panel, costs={"A-USD": Costs(fee_bps=0), "B-USD": Costs(fee_bps=50), "C-USD": Costs(fee_bps=0)}
    )
    paid = b.fills.groupby("symbol").fee.sum()
    assert paid["A-USD"] == paid["C-USD"] == 0 < paid["B-USD"] == pytest.approx(b.costs_paid["fees"])


def test_the_benchmark_of_a_panel_holds_equal_parts(panel):
    held = backtest(STEPPED, panel).benchmark
    assert len(held.fills) == 3 and held.orders.target.tolist() == pytest.approx([1 / 3] * 3)
    assert 0.95 < held.metrics["beta"] / held.metrics["exposure"] < 1.05 or held.metrics["beta"] > 0


def test_a_panel_warms_up_like_a_single_symbol(panel):
    whole = {k: walk(120, seed=i) for i, k in enumerate(("A-USD", "B-USD"))}
    b = backtest("pairs", whole, dict(n=50), start_ms=int(epoch_ms(whole["A-USD"].index)[60]))
    assert len(b.bars) == len(b.equity) == 60 and b.target.notna().all(axis=None) or b.target.isna().any(axis=None)
    assert b.bars.index[0] == whole["A-USD"].index[60] and (b.equity.iloc[0] == 100_000)


def test_funding_and_interest_are_paid_and_told_apart():
    bars = frame([100] * 6, [100] * 6)
    rates = pd.Series([0.01, 0.02], [bars.index[2], bars.index[3] + pd.Timedelta("30min")])
    b = backtest(wanting([1, *[NAN] * 5]), bars, costs=Costs(0, 0), capital=1000, funding=rates)
    assert b.cash.tolist() == [1000, 0, -10, -10, -30, -30] and b.equity.iloc[-1] == 970
    assert b.costs_paid == {"fees": 0, "slippage": 0, "funding": pytest.approx(30), "interest": pytest.approx(0)}
    year = Costs(0, 0, borrow_bps_year=876_000)  # a hundredth of the value an hour
    short = backtest(wanting([-1, *[NAN] * 5]), bars, costs=year, capital=1000)
    assert short.costs_paid["interest"] == pytest.approx(40) and short.equity.iloc[-1] == pytest.approx(960)
    with pytest.raises(ParameterError, match="funding is given for X-USD"):
        backtest("buy_and_hold", bars, funding=rates.to_frame("X-USD"))
    with pytest.raises(DataError, match="funding needs a UTC"):
        backtest("buy_and_hold", bars, funding=rates.tz_localize(None))
    for wrong in (0.01, rates.reset_index(drop=True)):
        with pytest.raises(DataError, match="funding must be a pandas object"):
            backtest("buy_and_hold", bars, funding=wrong)


def test_funding_of_a_panel_says_whose_it_is(panel):
    rates = pd.Series(0.001, panel["A-USD"].index[50:60])
    with pytest.raises(ParameterError, match="a column a symbol"):
        backtest(STEPPED, panel, funding=rates)
    b = backtest(STEPPED, panel, costs=Costs(0, 0), funding=rates.to_frame("B-USD"))
    held = b.position["B-USD"].shift().to_numpy()[50:60] * b.bars["open"]["B-USD"].to_numpy()[50:60]
    assert b.costs_paid["funding"] == pytest.approx(0.001 * held.sum()) and held.sum() > 0


def test_borrowed_money_enlarges_gain_and_loss():
    bars = frame([100, 100, 110], [100, 100, 110])
    b = backtest(
        wanting([1, NAN, NAN]), bars, costs=Costs(0, 0), capital=1000, sizing=Sizing(fraction=2, cap=2), leverage=2
    )
    assert b.position.iloc[-1] == 20 and b.cash.iloc[-1] == -1000 and b.equity.iloc[-1] == 1200 and b.quick


def test_sizing_is_a_share_an_amount_or_a_volatility():
    bars = walk(400, spread=0.02)
    half = backtest("buy_and_hold", bars, sizing=Sizing(fraction=0.5))
    assert half.exposure.iloc[1] == pytest.approx(0.5, abs=0.02) and half.target.eq(1).all()
    cash = backtest("buy_and_hold", bars, sizing=Sizing("cash", cash=5000))
    assert cash.fills.value.iloc[0] == pytest.approx(5000, rel=0.02) and not cash.quick
    calm = backtest("buy_and_hold", bars, sizing=Sizing("volatility", volatility=0.5, window=50))
    assert calm.fills.index[0] == bars.index[51] and calm.exposure.iloc[51:].max() < 0.5


@pytest.mark.parametrize("quick", [True, False], ids=["quick", "loop"])
@pytest.mark.parametrize("method", ["volatility", "kelly"])
def test_until_the_share_is_known_an_account_stays_flat(method, quick):
    bars = walk(80, seed=2, spread=0.02)
    more = {} if quick else dict(risk=Risk(max_drawdown=0.9))
    flips = wanting([1, 1, 0, -1, -1, 1] * 20)
    b = backtest(flips, bars, sizing=Sizing(method, window=20, fraction=0.05), **more)
    assert b.quick is quick and (b.position.iloc[:21] == 0).all() and (b.position < 0).any() and (b.position > 0).any()
    side = np.sign(b.target.shift()).to_numpy()  # what was wanted at the close before
    assert (b.position.to_numpy()[1:] * side[1:] >= 0).all()


@pytest.mark.parametrize(
    ("wishes", "signs"),
    [
        ([1] * 60, [1] * 60),  # on the wanted side all the time: held through the hole
        ([1] * 32 + [-1] * 28, [1] * 32 + [0] * 19 + [-1] * 9),  # turned while the share is unknown: closed, then short
        ([-1] * 33 + [1] * 4 + [-1] * 23, [-1] * 33 + [0] * 18 + [-1] * 9),  # and back again: still not known
        ([-1] * 33 + [0] * 4 + [1] * 23, [-1] * 33 + [0] * 18 + [1] * 9),  # out at once, in again once it is known
    ],
    ids=["kept", "turned", "turned twice", "left"],
)
def test_a_hole_in_the_prices_keeps_the_wanted_side_and_closes_any_other(wishes, signs):
    "Volatility over 20 bars; bar 50 of one symbol is absent, so that its share is unknown from there to bar 70."
    bars = {k: walk(100, seed=i, spread=0.01) for i, k in enumerate(("A-USD", "B-USD"))}
    bars["A-USD"] = bars["A-USD"].drop(bars["A-USD"].index[50])
    wished = np.array([wishes[0]] * 20 + wishes + [wishes[-1]] * 20, dtype=float)

    def both(x) -> Signal:
        "The same of both."
        return Signal(pd.DataFrame(np.column_stack([wished, wished]), x.close.index, x.close.columns))

    b = backtest(
        Strategy(both, lambda: 1, {}, panel=True), bars, interval="1h", sizing=Sizing("volatility", 1, 0, 0.3, 20, 0.4)
    )
    held = np.sign(b.position["A-USD"].to_numpy())[21:81]
    assert held.tolist() == signs
    assert (np.sign(b.position["B-USD"].to_numpy())[22:81] == np.sign(wished[21:80])).all()  # its share is always known


def test_a_risk_rule_sells_out_and_is_told():
    bars = frame([100, 100, 80, 80, 120], [100, 90, 75, 80, 120])
    b = backtest("buy_and_hold", bars, costs=Costs(0, 0), capital=1000, risk=Risk(max_drawdown=0.2))
    assert b.position.tolist() == [0, 10, 10, 0, 0] and b.equity.iloc[-1] == 800
    assert {"risk"} <= {f.code for f in b.findings} and "a risk rule sold out" in " ".join(f.text for f in b.findings)


def test_ruin_is_told():
    bars = frame([100, 100, 100, 300], [100, 100, 250, 300])
    b = backtest(wanting([-1, NAN, NAN, NAN]), bars, costs=Costs(0, 0), capital=1000)
    assert b.equity.tolist() == [1000, 1000, -500, -500] and [f.code for f in b.findings] == ["ruin"]
    assert math.isnan(b.metrics["sharpe"]) and b.metrics["total_return"] == -1.5


def test_orders_that_come_to_nothing_are_told():
    poor = backtest(wanting([1, NAN]), frame([99, 101], [99, 101]), costs=Costs(0, 0, lot=1), capital=100)
    assert [f.code for f in poor.findings] == ["unfilled"] and "1 order ended" in poor.findings[0].text
    silent = backtest("sma_cross", walk(20))
    assert [f.code for f in silent.findings] == ["silent"] and silent.metrics["total_return"] == 0


def test_gaps_are_counted():
    bars = walk(50)
    b = backtest("buy_and_hold", bars.drop(bars.index[[10, 11, 30]]))
    (gap,) = b.findings
    assert (gap.code, gap.rows, gap.first_ms) == ("gap", 3, int(epoch_ms(bars.index)[10]))
    assert "3 bars absent in 2 gaps, first at 2024-01-01 10:00" in gap.text and gap.text in b._repr_html_().replace(
        "&#x27;", "'"
    )


def test_blocked_data_are_told_on_the_run():
    bars = walk(20)
    bars.attrs = bars.attrs | {"blocked": ("price_unit",)}
    with pytest.raises(DataError, match="price_unit"):
        backtest("buy_and_hold", bars)
    b = backtest("buy_and_hold", bars, accept_blocked=True)
    assert b.blocked == ("price_unit",) and [f.code for f in b.findings] == ["blocked"] and b.benchmark.blocked


def test_columns_that_a_strategy_reads_belong_to_the_data():
    rule = Strategy(lambda bars: Signal((bars.mood > 0.5).astype(float)), lambda: 1, {}, fields=("mood",))
    bars = walk(60)
    moody, other = (bars.assign(mood=np.random.default_rng(i).random(60), more=1.0) for i in (0, 1))
    for x in (moody, other):
        x.attrs = bars.attrs
    a, b = backtest(rule, moody), backtest(rule, other)
    assert a.hashes["data"] != b.hashes["data"] and list(a.bars.columns) == [*bars.columns, "mood"]
    assert a.hashes["data"] == backtest(rule, moody).hashes["data"]
    assert a.findings == ()
    ends = moody.assign(mood=moody.mood.where(np.arange(60) < 50))
    ends.attrs = bars.attrs
    (told,) = backtest(rule, ends).findings
    assert (
        told.code == "column"
        and "mood: not known at 10 bars of 60, first at 2024-01-03 02:00, and not after" in told.text
    )
    with pytest.raises(ParameterError, match="reads the column mood"):
        backtest(rule, bars)


def test_detail_bars_of_no_use_are_refused():
    bars = walk(20)
    with pytest.raises(DataError, match="shorter interval"):
        backtest("buy_and_hold", bars, detail=bars)
    with pytest.raises(ParameterError, match="detail bars must be given for"):
        backtest("buy_and_hold", bars, detail={"X-USD": walk(20, interval="1m")})
    later = walk(20, interval="1m")
    with pytest.raises(DataError, match="different times"):
        backtest("buy_and_hold", bars, detail=later.set_index(later.index + pd.Timedelta("900D")))
    with pytest.raises(DataError, match="volume are absent"):
        backtest("buy_and_hold", bars, detail=later.drop(columns="volume"))


def test_detail_bars_that_cover_a_part_of_the_run_are_told(tmp_path):
    bars, fine = walk(48), walk(48 * 4, interval="15m")
    assert backtest("buy_and_hold", bars, detail=fine).findings == ()
    late = fine.iloc[42:-4].drop(fine.index[80:84])  # from 10:30 on, without 20:00, up to 22:45 of the second day
    b = backtest("buy_and_hold", bars, detail=late)
    (told,) = b.findings
    assert (told.code, told.rows, told.first_ms) == ("detail", 13, int(epoch_ms(bars.index)[0]))
    assert told.text == (
        "TEST-USD: no finer bars in 12 bars of 48 and fewer finer bars than fit in 1 bar of 48, the first bar with some "
        "opens at 2024-01-01 10:00, the last at 2024-01-02 22:00; a bar without is traded whole"
    )
    assert told.text in b.report(tmp_path / "run.html").read_text()
    start = int(epoch_ms(bars.index)[21])  # the bars that only warm up need none
    assert "in 1 bar of 27, the first" in backtest("buy_and_hold", bars, start_ms=start, detail=late).findings[0].text
    assert (
        again(b).findings == ()
        and again(b, detail=late).findings == b.findings == again(b, Costs(), detail=late).findings
    )


def test_detail_bars_are_counted_by_symbol_over_its_own_bars():
    bars = {k: walk(30, seed=i) for i, k in enumerate(("A-USD", "B-USD", "C-USD"))}
    bars["B-USD"] = bars["B-USD"].iloc[10:]
    fine = {"B-USD": walk(60, interval="30m").iloc[20:], "C-USD": walk(60, interval="30m").iloc[:4]}
    b = backtest("strongest", bars, dict(n=2, hold=2, most=1), interval="1h", detail=fine)
    assert [(c.symbol, c.bars, c.without, c.part) for c in b.covers] == [
        ("A-USD", 30, 30, 0), ("B-USD", 20, 0, 0), ("C-USD", 30, 28, 0),
    ]  # fmt: skip
    told = [f.text for f in b.findings if f.code == "detail"]
    assert told[0] == "A-USD: no finer bars in 30 bars of 30; a bar without is traded whole" and len(told) == 2
    assert told[1].startswith(
        "C-USD: no finer bars in 28 bars of 30, the first bar with some opens at 2024-01-01 00:00,"
    )


@pytest.mark.parametrize(
    "wrong",
    [dict(costs=10), dict(costs={"TEST-USD": 10}), dict(sizing="kelly"), dict(risk={"max_leverage": 2}),
     dict(start_ms="2023-01-02"), dict(start_ms=NAN), dict(tiers=(0, 1, 2)), dict(tiers=((0, 1),)), dict(strategy=None),
     dict(params=[3, 8])],
)  # fmt: skip
def test_what_is_of_the_wrong_kind_is_refused_by_name(wrong):
    asked = dict(strategy="sma_cross", bars=walk(20)) | wrong
    with pytest.raises(ParameterError, match="parameters" if "params" in wrong else next(iter(wrong))):
        backtest(**asked)


@pytest.mark.parametrize("bars", [None, [walk(20)], walk(20).to_numpy(), {"A-USD": walk(20).close}])
def test_what_are_no_bars_is_refused(bars):
    with pytest.raises(DataError, match="bars must be a DataFrame"):
        backtest("buy_and_hold", bars, interval="1h")


def test_bars_whose_high_or_low_cannot_be_are_told():
    bars = walk(20)
    assert not backtest("buy_and_hold", bars).findings
    bars.iloc[7, bars.columns.get_loc("high")] = bars.low.iloc[7] / 2
    (said,) = backtest("buy_and_hold", bars).findings
    assert (said.code, said.rows) == ("impossible", 1) and "the high or the low is inside" in said.text


def test_numbers_of_numpy_and_costs_by_symbol_are_stored_and_read_back():
    bars = mock(300)
    terms = dict(sizing=Sizing("volatility", window=np.int64(50)), risk=Risk(cooldown_bars=np.int64(3)))
    b = backtest("sma_cross", bars, CROSS, {bars.attrs["symbol"]: Costs(np.float64(5))}, **terms)
    db = store(bars)
    run, _ = get_backtest(db, save(b, db))
    assert stored_terms(run["costs"]) == {"costs": b.costs, "tiers": ()} | terms
    for wrong in (dict(fraction="1"), dict(window="a"), dict(cap=True)):
        with pytest.raises(ParameterError, match=next(iter(wrong))):
            Sizing(**wrong)


def test_a_run_under_rules_is_stored_and_read_back():
    bars = mock(900)
    rules = dict(sizing=Sizing(fraction=0.5), risk=Risk(max_drawdown=0.3), tiers=((0, 1, 2), (1e6, 0, 1)), seed=7)
    b, db = backtest("sma_cross", bars, CROSS, Costs(lot=0.001), **rules), store(bars)
    run, _ = get_backtest(db, save(b, db))
    assert run["seed"] == 7 and stored_terms(run["costs"]) == {
        "costs": b.costs, "tiers": [[0, 1, 2], [1e6, 0, 1]], "sizing": rules["sizing"], "risk": rules["risk"],
    }  # fmt: skip
    again = backtest("sma_cross", bars, CROSS, **stored_terms(run["costs"]))
    assert again.metrics == pytest.approx(b.metrics, rel=0, abs=0, nan_ok=True)
    with pytest.raises(DataError, match="cannot be repeated"):
        stored_terms(run["costs"] | {"inputs": ["0123"]})


def test_frames_of_the_log_say_what_happened():
    b = backtest(wanting([1, 0.5, 0, 1]), walk(40), costs=Costs(slippage_bps=20))
    fills = b.fills
    assert (
        fills.side.tolist()[:3] == ["buy", "sell", "sell"] and (fills.reason == "order").all() and not fills.maker.any()
    )
    opens = b.bars.open.reindex(fills.index)
    np.testing.assert_allclose(fills.slippage, (fills.price - opens).abs() * fills.quantity.abs(), rtol=1e-12)
    assert fills.position.tolist() == b.position.reindex(fills.index).tolist()
    assert b.metrics["slippage_paid"] == pytest.approx(b.costs_paid["slippage"])
    assert b.orders.decided_at.dtype == b.orders.filled_at.dtype == "datetime64[ms, UTC]"
    assert (b.orders.decided_at <= b.orders.filled_at)[b.orders.status != "open"].all() and (
        b.orders.type == "market"
    ).all()


def test_the_code_hash_is_read_once_while_nothing_changes(monkeypatch):
    s = get_strategy("buy_and_hold")
    before = code_hash(s)
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda _: pytest.fail("read again"))
    assert code_hash(s) == before


# Compiled ahead of time


def test_what_is_compiled_is_not_compiled_again_and_nothing_is_said(tmp_path):
    for part, _ in PARTS.values():
        part()
    said = []
    assert cold() == [] and warm(said.append) == 0.0 and said == []
    code = "from rrr.backtest.warm import cold; print(*sorted(cold()), sep=',')"
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env).stdout
    assert fresh.strip().split(",") == sorted(PARTS)
