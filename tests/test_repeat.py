"A stored run is done again from the store alone: the bars of each symbol as they were known to it, finer ones too."

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from markets import walk

from rrr.app.desk import Desk, Request, repeat
from rrr.backtest.ladder import COSTS, DETAIL
from rrr.backtest.run import backtest, run_row, save
from rrr.core.errors import DataError, ParameterError
from rrr.data.resample import resample
from rrr.execution.costs import Costs
from rrr.execution.risk import Risk
from rrr.store.bars import epoch_ms, read_bars, read_symbols, split_symbols
from rrr.store.checks import BatchError
from rrr.store.runs import get_backtest, list_backtests, save_backtest
from rrr.store.writer import write_bars
from rrr.strategy.contract import REGISTRY, Signal, strategy

A, B, C = NAMES = ("A-USD", "B-USD", "C-USD")
CHOICE = dict(n=24, hold=24, most=2)


@pytest.fixture
def listed(db):
    "A store with three symbols: one whole, one listed late, one that died"
    fine = {k: walk(1200, seed=i, price=10.0 + i, interval="15m") for i, k in enumerate(NAMES)}
    for name, of in zip(NAMES, (slice(None), slice(320, None), slice(None, 800)), strict=True):
        part = fine[name].iloc[of]
        write_bars(db, name, "15m", part, "made up")
        write_bars(db, name, "1h", resample(part, "1h"), "made up")
    return db


def restate(db, *names, interval="1h"):
    for name in names:
        bars = read_bars(db, name, interval)
        bars.iloc[100:150, :4] *= 1.02
        write_bars(db, name, interval, bars, "restated")


def panel(db, *names, **asked):
    return {k: read_bars(db, k, "1h", **asked) for k in names or NAMES}


def repeats(db, run_id) -> bool:
    b, differs = repeat(db, run_id)
    return differs == {} and b.hashes["data"] == get_backtest(db, run_id)[0]["data_hash"]


def test_a_run_over_several_symbols_is_stored_with_the_symbol_of_each_round_trip_and_repeated(listed):
    bars = panel(listed, C, A, B)
    b = backtest("strongest", bars, CHOICE, Costs(fee_bps=7, slippage_bps=2), 50_000.0, risk=Risk(max_drawdown=0.9))
    run_id = save(b, listed)
    run, trips = get_backtest(listed, run_id)
    assert run["symbol"] == b.symbol == "C-USD,A-USD,B-USD" and [x["symbol"] for x in run["inputs"]] == [C, A, B]
    assert [t["symbol"] for t in trips] == b.trades.symbol.tolist() and {t["symbol"] for t in trips} == set(NAMES)
    assert [t["pnl"] for t in trips] == b.trades.pnl.tolist()
    for x in run["inputs"]:
        first, last = epoch_ms(bars[x["symbol"]].index)[[0, -1]].tolist()
        assert (x["interval"], x["first_ms"], x["last_ms"]) == ("1h", first, last)
        assert x["as_of_ms"] == bars[x["symbol"]].attrs["as_of_ms"] <= run["as_of_ms"]
    assert list_backtests(listed)[1][0]["symbol"] == b.symbol and repeats(listed, run_id)


def test_it_is_repeated_after_some_of_its_symbols_were_restated(listed):
    run_id = save(backtest("strongest", panel(listed), CHOICE), listed)
    restate(listed, A, C)
    later = save(backtest("strongest", panel(listed), CHOICE), listed)
    assert repeats(listed, run_id) and repeats(listed, later)
    data = [get_backtest(listed, x)[0]["data_hash"] for x in (run_id, later)]
    assert data[0] != data[1]


def test_each_symbol_is_read_as_of_its_own_moment_and_over_its_own_span(listed):
    then = read_bars(listed, B, "1h").attrs["as_of_ms"]
    restate(listed, A, B)
    bars = panel(listed, A) | panel(listed, B, as_of_ms=then)
    bars[A] = bars[A].iloc[20:250]
    start = int(epoch_ms(bars[B].index)[30])
    b = backtest("pairs", bars, dict(n=50, enter=1.0), start_ms=start)
    run_id = save(b, listed)
    assert len(b.fills) > 4 and b.skip and repeats(listed, run_id)


def test_costs_by_symbol_and_a_panel_of_one_are_repeated(listed):
    costs = {A: Costs(fee_bps=1), B: Costs(fee_bps=20), C: Costs(lot=0.01)}
    assert repeats(listed, save(backtest("strongest", panel(listed), CHOICE, costs), listed))
    one = backtest("sma_cross", panel(listed, A), dict(fast=5, slow=20))
    run_id = save(one, listed)
    assert not one.data.bars.single and not repeat(listed, run_id)[0].data.bars.single and repeats(listed, run_id)


@pytest.mark.parametrize("names", [(A,), (A, C)], ids=["one", "several"])
def test_a_run_inside_finer_bars_of_the_store_is_repeated(listed, names):
    bars, fine = panel(listed, *names), {k: read_bars(listed, k, "15m") for k in names}
    if len(names) == 1:
        b = backtest("chandelier", bars[A], detail=fine[A])
    else:
        b = backtest("strongest", bars, dict(CHOICE, most=1), detail=fine)
    run_id = save(b, listed)
    run = get_backtest(listed, run_id)[0]
    assert [(x["symbol"], x["interval"]) for x in run["inputs"]] == [(x, i) for i in ("1h", "15m") for x in names]
    restate(listed, *names, interval="15m")
    assert len(b.fills) and repeats(listed, run_id)


def test_finer_bars_from_elsewhere_are_not_taken_for_those_of_the_store(listed):
    bars, fine = panel(listed, A, C), {k: read_bars(listed, k, "15m") for k in (A, C)}
    fine[C].attrs.clear()
    run_id = save(backtest("strongest", bars, dict(CHOICE, most=1), detail=fine), listed)
    with pytest.raises(DataError, match="cannot be repeated from it"):
        repeat(listed, run_id)
    fine = fine[A] * 1.01
    assert fine.attrs["as_of_ms"]
    _, differs = repeat(listed, save(backtest("chandelier", bars[A], detail=fine), listed))
    assert "data_hash" in differs
    paid = pd.Series(1e-4, index=bars[A].index[::8])
    with pytest.raises(DataError, match="cannot be repeated from it"):
        repeat(listed, save(backtest("sma_cross", bars[A], dict(fast=5, slow=20), funding=paid), listed))


def test_bars_that_are_not_from_the_store_are_said_to_be_unknown(listed):
    bars = panel(listed, A, C)
    for other in (bars[C].copy(), resample(bars[C], "2h"), bars[A]):
        other = other if other is bars[A] else other.set_axis(bars[C].index[: len(other)])
        other.attrs = {} if len(other) == len(bars[C]) else other.attrs
        with pytest.raises(DataError, match="does not say which bars it used"):
            repeat(listed, save(backtest("pairs", {A: bars[A], C: other}, dict(n=50)), listed))
    with pytest.raises(BatchError, match="unknown symbol X-USD"):
        save(backtest("pairs", {A: bars[A], "X-USD": bars[C]}, dict(n=50)), listed)


def test_a_column_that_the_store_has_is_read_again(db):
    @strategy(warmup=lambda: 1, fields=("vwap",))
    def near_vwap(bars) -> Signal:
        return Signal((bars.close < bars.vwap).astype(float))

    try:
        bars = walk(300)
        bars["vwap"] = bars.close.rolling(5, min_periods=1).mean()
        write_bars(db, A, "1h", bars, "made up")
        b = backtest("near_vwap", read_bars(db, A, "1h", extra=["vwap"]))
        assert len(b.fills) > 10 and repeats(db, save(b, db))
    finally:
        del REGISTRY["near_vwap"]


def test_a_run_that_says_no_start_is_refused(listed):
    b = backtest("strongest", panel(listed), CHOICE)
    run, trips = run_row(b, "old")
    save_backtest(listed, run | dict(read_from_ms=None), trips)
    with pytest.raises(DataError, match="older than this"):
        repeat(listed, "old")


# By name


def test_symbols_are_named_by_commas_each_once(listed):
    assert split_symbols("a/usd, B-USD") == [A, B]
    with pytest.raises(ParameterError, match="A-USD is named twice"):
        split_symbols("A-USD,B-USD,a/usd")
    for wrong in ("", "A-USD,", ",A-USD", "AUSD,B-USD"):
        with pytest.raises(ParameterError):
            split_symbols(wrong)
    assert isinstance(read_symbols(listed, "A-USD", "1h"), pd.DataFrame)
    assert list(read_symbols(listed, "B-USD,A-USD", "1h")) == [B, A]


@pytest.fixture
def desk(listed, tmp_path):
    made = Desk(tmp_path)
    made.__dict__["db"] = listed
    return made


def test_a_desk_runs_several_symbols_on_the_interval_that_all_have(desk):
    with pytest.raises(DataError, match="A-USD,C-USD: name the interval with --interval. Stored of every one: 15m, 1h"):
        desk.backtest(Request("pairs", "A-USD,C-USD"))
    with pytest.raises(DataError, match="no bars of X-USD 1h"):
        desk.backtest(Request("pairs", "A-USD,X-USD", "1h"))
    with pytest.raises(DataError, match="Stored of every one: none"):
        desk.backtest(Request("pairs", "A-USD,X-USD"))
    b, run_id = desk.backtest(Request("pairs", "A-USD,C-USD", "1h", start="2024-01-03", params=dict(n=50)))
    assert b.symbols == (A, C) and repeats(desk.db, run_id)
    with pytest.raises(ParameterError, match="one symbol at a time"):
        desk.replay(Request("sma_cross", "A-USD,C-USD", "1h"))


def test_a_ladder_of_several_symbols_descends_into_finer_bars_of_all(desk):
    steps = desk.ladder(Request("strongest", "A-USD,C-USD", "1h", params=dict(CHOICE, most=1)))
    assert any("15m" in x or "finer" in x or "inside" in x for x in steps.runs), list(steps.runs)
    assert np.isfinite(steps.table.costs).all()
    with pytest.raises(DataError, match="no 5m bars of A-USD,C-USD below 1h are stored: 15m"):
        desk.ladder(Request("strongest", "A-USD,C-USD", "1h", params=CHOICE), "5m")


FINE = Request("chandelier", A, "1h", start="2024-01-03", params=dict(entry=10, n=5, ranges=1.0))


def test_a_desk_trades_inside_finer_bars_of_the_store_and_repeats_it(desk):
    b, run_id = desk.backtest(FINE, "15m")
    start, end = int(b.data.times_ms[0]), int(b.data.times_ms[-1]) + 3_600_000
    own = backtest(
        "chandelier",
        read_bars(desk.db, A, "1h"),
        FINE.params,
        start_ms=start,
        detail=read_bars(desk.db, A, "15m", start, end),
    )
    assert b.equity.equals(own.equity) and b.hashes == own.hashes and not b.equity.equals(desk.backtest(FINE)[0].equity)
    read = get_backtest(desk.db, run_id)[0]["inputs"]
    assert [(x["interval"], x["first_ms"]) for x in read] == [("1h", int(b.given.times_ms[0])), ("15m", start)]
    restate(desk.db, A, interval="15m")
    restate(desk.db, A)
    assert repeats(desk.db, run_id) and not desk.backtest(FINE, "15m")[0].equity.equals(b.equity)


def test_a_desk_reads_finer_bars_as_of_the_moment_that_is_asked_for(desk):
    before = desk.backtest(FINE, "15m")[0]
    then = pd.Timestamp(max(x["as_of_ms"] for x in before.inputs), unit="ms", tz="UTC").isoformat()
    asked = replace(FINE, as_of=then)
    restate(desk.db, A, interval="15m")
    b, run_id = desk.backtest(asked, "15m")
    assert b.equity.equals(before.equity) and repeats(desk.db, run_id)


def test_finer_bars_of_several_symbols_are_those_of_all(desk):
    asked = Request("strongest", "A-USD,C-USD", "1h", params=dict(CHOICE, most=1))
    b, run_id = desk.backtest(asked, "15m")
    assert [c.symbol for c in b.covers] == [A, C] and repeats(desk.db, run_id)
    assert not any(f.code == "detail" for f in b.findings)
    write_bars(desk.db, A, "30m", walk(100, interval="30m"), "made up")
    for detail in ("30m", "1h", "4h", "5m"):
        with pytest.raises(DataError, match=f"no {detail} bars of A-USD,C-USD below 1h are stored: 15m"):
            desk.backtest(asked, detail)
    with pytest.raises(ParameterError, match="interval"):
        desk.backtest(asked, "quarter")
    part, _ = desk.backtest(FINE, "30m")
    assert [f.code for f in part.findings] == ["detail"] and part.covers[0].without == 300 - 50
    with pytest.raises(DataError, match="no bars of A-USD 30m in the asked span"):
        desk.backtest(replace(FINE, start="2024-01-08"), "30m")


def test_finer_bars_that_are_barred_or_made_up_bar_and_mark_the_run(desk):
    barred = dict(blocked=["price_unit"])
    write_bars(desk.db, A, "30m", walk(600, interval="30m"), "made up", True, assess=lambda rows, blocks: barred)
    with pytest.raises(DataError, match="A-USD inside them have problems that bar them from use .price_unit"):
        desk.backtest(FINE, "30m")
    with pytest.raises(DataError, match="the 30m bars of A-USD have problems"):
        desk.ladder(FINE, "30m")
    b, _ = desk.backtest(replace(FINE, accept_blocked=True), "30m")
    assert b.blocked == ("price_unit",) and b.synthetic and "blocked" in {f.code for f in b.findings}
    steps = desk.ladder(replace(FINE, accept_blocked=True), "30m").runs
    assert steps[DETAIL].blocked == ("price_unit",) and steps[DETAIL].synthetic and not steps[COSTS].blocked
    assert not desk.ladder(FINE).runs[DETAIL].blocked  # takes the 15m bars
