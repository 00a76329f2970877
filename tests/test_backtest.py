"A backtest is refused or right: causal, repeatable, and its figures are those of the formulas."

import hashlib
import json
import math
import os
import statistics
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markets import frame, gapped, mock, store, ticks, walk, wanting

import rrr
from rrr.backtest.metrics import drawdown, longest_drawdown_days, performance, round_trips, sharpe_ratio, sortino_ratio
from rrr.backtest.run import backtest, code_hash, run_row, save, thin
from rrr.core.errors import DataError, NotFoundError, ParameterError
from rrr.core.market import interval_ms
from rrr.execution.kernel import Costs
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
    assert undefined == {"sharpe", "sortino", "calmar", "hit_rate", "profit_factor", "expectancy", "holding_days"}
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
        (lambda: backtest(wanting([0.5, -0.1]), walk(20)), ParameterError, "wants -0.1 at 2024-01-01 01:00.*only long"),
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
    assert b.metrics == pytest.approx(by_formula(b), rel=1e-9)


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
    assert run["costs"] == {"fee_bps": 10.0, "slippage_bps": 0.0, "lot": 0.001, "min_notional": 0.0}
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
