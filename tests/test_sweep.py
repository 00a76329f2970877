"A sweep is the backtest of every combination, whatever the number of workers, and survives being killed."

import _thread
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markets import gapped, mock, ticks, walk
from numba import njit

from rrr.backtest.evaluate import DONE, depends, make_study
from rrr.backtest.fast_metrics import NAMES
from rrr.backtest.grid import Grid, make_grid, shuffled, spread
from rrr.backtest.run import backtest
from rrr.backtest.sweep import STATUSES, in_parts, save, sweep
from rrr.core.errors import ConfigError, DataError, ParameterError, StoreError
from rrr.execution.costs import Costs
from rrr.execution.risk import Risk
from rrr.execution.sizing import Sizing
from rrr.features.indicators import sma
from rrr.store.trials import count_trials, save_trials
from rrr.strategy.contract import Float, Int, Signal, Strategy, get_strategy
from rrr.strategy.library import sma_cross

FEW = {"fast": [3, 5, 9], "slow": [5, 12]}


def made(function, space, **more) -> Strategy:
    return Strategy(function, lambda: 1, space, **more)


def always(bars, share: float = 0.5):
    return Signal(bars.close * 0 + share)


HOLD = made(always, {"share": Float(0.1, 1.0)})


def tidy(done) -> pd.DataFrame:
    return done.frame.drop(columns="reason")


# Rows


def assert_rows_are_backtests(strategy, bars, grid, **terms):
    done = sweep(strategy, bars, grid, cache=False, workers=2, **terms)
    assert done.count(DONE)
    for i in np.flatnonzero(done.status == STATUSES.index(DONE)).tolist():
        metrics = backtest(strategy, bars, done.params(i), **terms).metrics
        assert np.array_equal(done.values[i], list(metrics.values()), equal_nan=True), (i, done.params(i))
    return done


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 999),
    n=st.integers(1, 300),
    coarse=st.booleans(),
    fee=st.sampled_from([0.0, 10.0, 250.0]),
    lot=st.sampled_from([0.0, 0.01]),
    skip=st.integers(0, 40),
)
def test_a_row_is_the_backtest_of_its_combination_to_the_last_bit(seed, n, coarse, fee, lot, skip):
    bars = (ticks if coarse else walk)(n, seed)
    start = int(bars.index[min(skip, n - 1)].timestamp() * 1000)
    assert_rows_are_backtests(sma_cross, bars, FEW, costs=Costs(fee_bps=fee, lot=lot), start_ms=start)


@pytest.mark.parametrize(
    "name", ["breakout", "chandelier", "momentum_long_short", "bollinger_reversion", "grid", "day_bracket"]
)
def test_so_it_is_for_stops_limits_and_shorts(name):
    assert_rows_are_backtests(name, mock(900), make_grid(get_strategy(name), sample=6))


@pytest.mark.parametrize(
    "terms",
    [
        dict(costs=Costs(latency_bars=2, borrow_bps_year=500.0, spread_bps=4.0)),
        dict(sizing=Sizing(method="volatility", volatility=0.3)),
        dict(risk=Risk(max_drawdown=0.1)),
        dict(tiers=((0, 10, 20), (1e5, 5, 10))),
    ],
    ids=lambda t: next(iter(t)),
)
def test_so_it_is_under_other_terms(terms):
    assert_rows_are_backtests("sma_cross", gapped(walk(500, 3)), FEW, **terms)


@njit
def _subtract(values, price):
    for i in range(len(values)):
        values[i] -= price[i]


def below_mean(bars, n: int = 5, compiled: int = 0):
    price = bars.close.to_numpy()
    mean = sma(price, n)
    if compiled:
        _subtract(mean, price)
    else:
        mean -= price
    return Signal(pd.Series((mean > 0) * 1.0, bars.index))


def test_so_it_is_for_a_strategy_that_writes_into_what_an_indicator_gave_it():
    strategy = made(below_mean, {"n": Int(2, 9), "compiled": Int(0, 1)})
    done = assert_rows_are_backtests(strategy, walk(300), {"n": [3, 5, 9], "compiled": [0, 1]})
    assert done.count(DONE) == 6


def test_so_it_is_for_several_symbols():
    bars = {s: walk(400, k) for k, s in enumerate(("AAA-USD", "BBB-USD", "CCC-USD"))}
    bars["CCC-USD"] = bars["CCC-USD"].iloc[50:350]
    done = assert_rows_are_backtests(HOLD, bars, {"share": [0.1, 0.3]}, costs=Costs(fee_bps=3.0))
    assert done.study.symbol == "AAA-USD,BBB-USD,CCC-USD"


def test_every_count_of_workers_gives_the_same(tmp_path):
    bars = walk(2000, 1)
    runs = [sweep(sma_cross, bars, cache=False, workers=n) for n in (1, 2, 5)]
    assert runs[0].done == 100 and all(tidy(r).equals(tidy(runs[0])) for r in runs)


def picky(bars, n: int = 3):
    if n == 4:
        raise ParameterError("picky: n must not be 4.")
    if n == 5:
        raise ZeroDivisionError("n is 5")
    return Signal(bars.close * 0 + (1.0 if n < 6 else 2.0))


def test_what_refuses_or_raises_is_a_row_with_its_reason():
    done = sweep(made(picky, {"n": Int(1, 9)}), walk(50), {"n": [3, 4, 5, 6]}, cache=False)
    assert done.frame.status.tolist() == ["done", "refused", "failed", "refused"]
    assert done.frame.reason.tolist()[:3] == ["", "picky: n must not be 4.", "ZeroDivisionError: n is 5"]
    assert "beyond [-1, 1]" in done.frame.reason[3] and done.frame.sharpe.isna().tolist()[1:] == [True] * 3
    assert (done.done, done.count("done"), done.computed) == (4, 1, 2)
    assert "1 done, 2 refused, 1 failed" in repr(done)


def test_bars_that_cannot_be_run_are_refused_before_anything_is_tried():
    with pytest.raises(DataError):
        sweep(sma_cross, walk(30).assign(close=-1.0), cache=False)
    with pytest.raises(ParameterError, match="calm_trend reads the column sentiment"):
        sweep("calm_trend", walk(300), cache=False)
    with pytest.raises(ParameterError, match="strongest trades several symbols"):
        sweep("strongest", walk(300), cache=False)
    with pytest.raises(ParameterError, match="workers"):
        sweep(sma_cross, walk(30), workers=0, cache=False)
    with pytest.raises(ParameterError, match="quick"):
        sweep(sma_cross, walk(30), {"quick": [1]}, cache=False)


# Grid


def test_a_grid_of_any_size_is_counted_without_being_listed():
    strategy = made(lambda bars, a=1, b=1, c=1: None, {k: Int(0, 10**6) for k in "abc"})
    huge = Grid(("a", "b", "c"), (range(10**6),) * 3)
    assert huge.size == 10**18 and huge[10**18 - 1] == {"a": 999_999, "b": 999_999, "c": 999_999}
    drawn = make_grid(strategy, {k: range(0, 1000) for k in "abc"}, sample=5)
    assert len({tuple(c.values()) for c in drawn}) == len(drawn) == 5
    with pytest.raises(ParameterError, match="sample="):
        make_grid(strategy, {k: range(0, 1000) for k in "abc"})


@settings(deadline=None, max_examples=40)
@given(size=st.integers(1, 500), seed=st.integers(0, 10**6))
def test_a_sample_never_repeats_a_combination(size, seed):
    assert sorted(shuffled(i, size, seed) for i in range(size)) == list(range(size))


def test_a_sample_is_the_same_again_and_another_with_another_seed():
    draw = lambda seed: list(make_grid(sma_cross, sample=20, seed=seed))  # noqa: E731
    assert draw(1) == draw(1) != draw(2)


def test_ranges_are_spread_from_end_to_end():
    assert spread(Int(5, 50)) == [5, 10, 15, 20, 25, 30, 35, 40, 45, 50] and spread(Float(0, 1), 3) == [0.0, 0.5, 1.0]
    assert make_grid(sma_cross).size == 100 and make_grid(sma_cross, sample=10**9).size == 46 * 181


@pytest.mark.parametrize("axis", ["5", 5, [], {"a": 1}, [1.5], [True], None])
def test_values_that_are_none_of_the_parameter_are_refused(axis):
    with pytest.raises(ParameterError, match="fast"):
        make_grid(sma_cross, {"fast": axis})


def test_a_range_of_another_kind_is_read_as_the_parameter_is():
    with pytest.raises(ParameterError, match="grid: fast must be a whole number, not 5.0"):
        make_grid(sma_cross, {"fast": Float(5, 9)})
    real = Strategy(always, lambda: 1, {"share": Float(0, 1)})
    assert [type(x) for x in make_grid(real, {"share": Int(0, 1)}).values[0]] == [float, float]
    with pytest.raises(ParameterError, match="grid must be a dict"):
        make_grid(sma_cross, [5, 6])


# What is kept


def test_a_second_run_reads_all_of_it_back_and_a_wider_one_what_it_shares(tmp_path):
    bars = walk(300)
    first = sweep(sma_cross, bars, FEW, cache=tmp_path)
    again = sweep(sma_cross, bars, FEW, cache=tmp_path)
    assert (first.computed, first.reused, again.computed, again.reused) == (4, 0, 0, 4)
    assert again.frame.equals(first.frame)
    wider = sweep(sma_cross, bars, {"fast": [3, 4], "slow": [5, 12, 20]}, cache=tmp_path)
    assert (wider.computed, wider.reused) == (4, 2)


def test_other_bars_costs_capital_or_code_share_nothing(tmp_path):
    bars, other = (
        walk(300),
        made(lambda bars, share=0.5: Signal(bars.close * 0 + share / 2), {"share": Float(0.1, 1.0)}),
    )
    cases = [
        (HOLD, bars, {}),
        (HOLD, walk(300, 1), {}),
        (HOLD, bars, dict(costs=Costs(fee_bps=1.0))),
        (HOLD, bars, dict(capital=5.0)),
        (HOLD, bars, dict(start_ms=int(bars.index[9].timestamp() * 1000))),
        (HOLD, bars, dict(sizing=Sizing(fraction=0.5))),
        (other, bars, {}),
    ]
    keys = {make_study(s, b, **terms).key for s, b, terms in cases}
    assert len(keys) == len(cases)
    assert all(sweep(s, b, {"share": [0.5]}, cache=tmp_path, **terms).computed == 1 for s, b, terms in cases)


def test_rows_that_a_disk_has_spoilt_are_computed_again(tmp_path):
    bars = walk(300)
    first = sweep(sma_cross, bars, FEW, cache=tmp_path, workers=1)
    (path,) = tmp_path.glob("*/*.rows")
    text = bytearray(path.read_bytes())
    text[30] ^= 255
    path.write_bytes(text[:-1])
    again = sweep(sma_cross, bars, FEW, cache=tmp_path)
    assert (again.computed, again.reused) == (2, 2) and again.frame.equals(first.frame)


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cache=False"):
        sweep(sma_cross, walk(100), FEW, cache=tmp_path / "file")


def closing_over(level):
    def hold(bars, share: float = 0.5):
        return Signal(bars.close * 0 + share * level)

    return made(hold, {"share": Float(0.1, 1.0)})


def test_what_a_strategy_closes_over_is_part_of_it(tmp_path):
    a, b = (sweep(closing_over(x), walk(100), {"share": [0.5]}, cache=tmp_path) for x in (0.4, 0.8))
    assert b.computed == 1 and a.frame.exposure.equals(b.frame.exposure) and a.frame.sharpe[0] != b.frame.sharpe[0]
    level = SimpleNamespace(value=0.4)
    nameless = made(lambda bars, share=0.5: Signal(bars.close * 0 + share * level.value), {"share": Float(0.1, 1.0)})
    assert depends(nameless.function) is None
    assert [sweep(nameless, walk(100), {"share": [0.5]}, cache=tmp_path).computed for _ in range(2)] == [1, 1]


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
from markets import walk
from rrr.backtest.sweep import sweep
from rrr.strategy.contract import Int, Signal, Strategy
from pathlib import Path

def calls(bars, n: int = 1):
    with open(os.environ["CALLS"], "a") as f:
        f.write("x")
        if f.tell() == int(os.environ.get("KILL_AT", 0)):
            os.kill(os.getpid(), signal.SIGKILL)
    return Signal(bars.close * 0 + n / 1000)

strategy = Strategy(calls, lambda: 1, {"n": Int(1, 1000)})
done = sweep(strategy, walk(200), {"n": range(1, 1001)}, cache=Path(sys.argv[1]), workers=int(sys.argv[2]))
print(done.computed, done.reused, repr(done.values.tobytes().__hash__() != 0))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_sweep_killed_halfway_recomputes_less_than_one_percent(tmp_path, workers):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    call = [sys.executable, script, tmp_path / "cache", str(workers), Path(__file__).parent]
    environment = os.environ | {"CALLS": str(tmp_path / "calls")}
    killed = subprocess.run(call, env=environment | {"KILL_AT": "500"}, capture_output=True, check=False)
    assert killed.returncode == -9
    resumed = subprocess.run(call, env=environment, capture_output=True, check=True, text=True)
    computed, reused = map(int, resumed.stdout.split()[:2])
    calls = (tmp_path / "calls").stat().st_size
    assert computed + reused == 1000 and reused >= 500 - 2 * workers
    assert calls - 1000 <= 2 * workers < 10


def test_an_interrupt_keeps_what_is_done_and_the_same_call_goes_on(tmp_path):
    def stopped(bars, n: int = 1):
        if n == 30:
            _thread.interrupt_main()
        return Signal(bars.close * 0 + n / 100_000)

    strategy = made(stopped, {"n": Int(1, 100_000)})
    first = sweep(strategy, walk(100), {"n": range(1, 100_001)}, cache=tmp_path, workers=2)
    assert first.interrupted and 29 <= first.done < 100_000 and first.count("waiting") == 100_000 - first.done
    assert repr(first).startswith("interrupted: ") and len(first.ranked()) == first.done
    again = sweep(strategy, walk(100), {"n": range(1, 25)}, cache=tmp_path)
    assert (again.interrupted, again.computed, again.reused) == (False, 0, 24)


MEMORY = """
import sys
sys.path.insert(0, sys.argv[2])
from markets import walk
from rrr.app.bench_sweep import peak_mb
from rrr.backtest.sweep import sweep
from rrr.strategy.library import sma_cross
sweep(sma_cross, walk(30_000), {"fast": range(2, 2 + int(sys.argv[1])), "slow": range(100, 200)}, cache=False)
print(peak_mb())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_does_not_grow_with_the_grid():
    call = lambda n: [sys.executable, "-c", MEMORY, str(n), Path(__file__).parent]  # noqa: E731
    run = lambda n: int(subprocess.run(call(n), capture_output=True, check=True, text=True).stdout)  # noqa: E731
    run(1)
    few, many = run(2), run(12)
    assert many <= 1.05 * few


# Trials


def test_every_combination_is_one_trial_however_often_it_is_swept(db):
    bars = walk(300)
    done = sweep(sma_cross, bars, FEW, cache=False, db=db)
    assert count_trials(db, "sma_cross") == count_trials(db, "sma_cross", done.study.data_hash) == 4
    assert save(done, db) == 0
    sweep(sma_cross, bars, {"fast": [3, 4], "slow": [12]}, cache=False, db=db)
    assert count_trials(db, "sma_cross", done.study.data_hash) == 5
    sweep(sma_cross, bars, {"fast": [3], "slow": [12]}, Costs(fee_bps=50), cache=False, db=db)
    assert count_trials(db, "sma_cross", done.study.data_hash) == 6
    assert count_trials(db, "sma_cross", "elsewhere") == count_trials(db, "breakout") == 0


def test_the_same_outcome_under_other_code_is_no_further_trial(db):
    facts = dict(study="0" * 32, strategy="s", data_hash="d", code_hash="c")
    assert save_trials(db, trials=[({"n": 1}, {"sharpe": 0.5, "calmar": None}, "done")], **facts) == 1
    other = facts | dict(study="f" * 32, code_hash="e")
    assert save_trials(db, trials=[({"n": 1}, {"sharpe": 0.5, "calmar": None}, "done")], **other) == 1
    assert count_trials(db, "s") == 1
    assert (
        save_trials(db, trials=[({"n": 1}, {"sharpe": 0.6, "calmar": None}, "done")], **facts | {"study": "a" * 32})
        == 1
    )
    assert count_trials(db, "s") == 2


# Charts and the plateau


def surface_of(function, xs=7, ys=6):
    "A sweep whose Sharpe ratios are a given function of two parameters"
    space = {"x": Int(0, xs - 1), "y": Int(0, ys - 1)}
    strategy = made(lambda bars, x=0, y=0: Signal(bars.close * 0 + 1), space)
    done = sweep(strategy, walk(30), {"x": range(xs), "y": range(ys)}, cache=False)
    x, y = np.meshgrid(range(xs), range(ys), indexing="ij")
    done.values[:, NAMES.index("sharpe")] = np.asarray(function(x, y), dtype=float).ravel()
    return done


@pytest.mark.parametrize(
    ("function", "verdict"),
    [
        (lambda x, y: -((x - 3) ** 2) - (y - 2) ** 2, "plateau"),
        (lambda x, y: -50 * (x != 3) - (y - 2) ** 2, "ridge"),
        (lambda x, y: (x == 3) & (y == 2), "spike"),
        (lambda x, y: x * 0 + 1, "plateau"),
    ],
    ids=["hill", "wall", "peak", "level"],
)
def test_the_best_point_is_judged_by_its_neighbours(function, verdict):
    found = surface_of(function).plateau()
    assert found.verdict == verdict and repr(found).startswith(verdict)
    assert ("steep in" in repr(found)) == (verdict != "plateau") and (
        verdict != "ridge" or "steep in x;" in repr(found) + ";"
    )
    if verdict != "plateau" or found.best != 1:
        assert found.params == {"x": 3, "y": 2} and found.edges == () and len(found.neighbours) == 8


def test_a_best_point_at_the_edge_is_told_and_has_fewer_neighbours():
    found = surface_of(lambda x, y: x + y).plateau()
    assert found.edges == ("x", "y") and len(found.neighbours) == 3 and "widen the grid" in repr(found)


def test_a_sample_is_judged_by_its_nearest_draws():
    done = sweep(sma_cross, walk(1000), sample=60, seed=3, cache=False)
    found = done.plateau()
    assert found.verdict in ("plateau", "ridge", "spike") and 1 <= len(found.neighbours) <= 4
    assert done.plateau("max_drawdown").best == done.frame.max_drawdown.max()


def test_a_single_combination_is_alone():
    done = sweep(sma_cross, walk(200), {"fast": [5], "slow": [9]}, cache=False)
    assert done.plateau().verdict == "alone" and done.plateau().edges == ()
    with pytest.raises(ParameterError, match="turnover"):
        done.best("turnover")
    with pytest.raises(ParameterError, match="no combination"):
        sweep(sma_cross, walk(200), {"fast": [9], "slow": [9]}, cache=False).best()


def test_a_heat_map_shows_the_metric_of_each_pair_and_marks_the_best():
    done = surface_of(lambda x, y: 10 * x - y)
    heat, mark = done.heatmap("x", "y").data
    assert np.asarray(heat.z)[2, 5] == 48 and np.asarray(heat.z).shape == (6, 7)
    assert (mark.x[0], mark.y[0]) == ("6", "0")
    with pytest.raises(ParameterError, match="z"):
        done.heatmap("x", "z")


def test_pictures_stay_small_whatever_the_sweep():
    done = sweep(sma_cross, walk(120), {"fast": range(2, 40), "slow": range(40, 100)}, cache=False)
    figure = done.parallel()
    assert len(done.grid) == 2280 and sum(len(t.x) for t in figure.data) < 3000
    assert sum(len(t.x) for t in done.plateau().plot(done).data) < 500
    assert len(done._repr_html_()) < 10_000


# Elsewhere


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, protocol="tcp", host="127.0.0.1", dashboard_address=None
    ) as started:
        yield started.scheduler_address


def test_a_cluster_gives_the_rows_that_threads_give(cluster, tmp_path):
    bars = walk(500)
    here = sweep(sma_cross, bars, cache=False)
    there = sweep(sma_cross, bars, cluster=cluster, cache=tmp_path)
    assert there.frame.equals(here.frame) and (there.computed, there.reused) == (here.computed, 0)
    assert sweep(sma_cross, bars, cluster=cluster, cache=tmp_path).reused == there.computed
    panel = {"AAA-USD": walk(200), "BBB-USD": walk(200, 1)}
    sides = [sweep(HOLD, panel, cluster=at, cache=False).frame for at in (None, cluster)]
    assert sides[0].equals(sides[1])


def test_a_cluster_that_is_not_there_is_said():
    pytest.importorskip("distributed")
    with pytest.raises(ConfigError, match="rrr cluster"):
        sweep(sma_cross, walk(50), FEW, cluster="tcp://127.0.0.1:1", cache=False)


ASKED = []


def another_each_time() -> int:
    ASKED.append(1)
    return len(ASKED)


def test_a_cluster_with_other_code_is_refused(cluster, monkeypatch):
    import rrr.backtest.sweep as module

    monkeypatch.setattr(module, "package_hash", another_each_time)
    with pytest.raises(ConfigError, match="another version"):
        sweep(sma_cross, walk(50), FEW, cluster=cluster, cache=False)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 7), min_size=0, max_size=3), st.integers(1, 10**8))
def test_every_combination_is_handed_out_once(sides, bars):
    grid = Grid(tuple("abc"[: len(sides)]), tuple(tuple(range(n)) for n in sides))
    assert sorted(in_parts(grid, bars)) == list(range(len(grid)))
