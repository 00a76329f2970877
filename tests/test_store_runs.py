"Runs of backtests and jobs come back as they were stored, newest first, and a job that was killed is seen as such."

import math
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import sqlalchemy as sa
from stores import dump

from rrr.core.errors import NotFoundError
from rrr.store import runs
from rrr.store.checks import BatchError
from rrr.store.schema import SymbolRow

RUN = dict(
    run_id="r1", strategy="sma_cross", params={"fast": 10, "slow": 50}, symbol="BTC-USD", interval="1h", first_ms=0,
    last_ms=2**42, bars=3, capital=Decimal("100000.12345678"), costs={"fee_bps": 10.0},
    metrics={"sharpe": 0.1 + 0.2, "calmar": None, "tiny": 5e-324, "most": 1.7976931348623157e308},
    equity=[[0, 100000.12345678], [3600000, 0.1 + 0.2]], data_hash="a" * 16, code_hash="b" * 16, synthetic=True,
    as_of_ms=2**42, read_from_ms=-1, seed=2**63 - 1,
    inputs=[dict(symbol="BTC-USD", interval="1h", first_ms=-1, last_ms=2**42, as_of_ms=2**42)],
)  # fmt: skip
TRIP = dict(
    number=1, symbol="BTC-USD", entry_ms=0, exit_ms=None, quantity=0.1 + 0.2, entry_price=1e-9, exit_price=3.3, fees=0.0, pnl=-1.5,
    return_pct=-0.25, status="open",
)  # fmt: skip


@pytest.fixture
def db(db):
    with db.write() as c:
        c.execute(sa.insert(SymbolRow), [dict(symbol=f"{x}-USD", base=x, quote="USD") for x in ("BTC", "SOL", "XRP")])
    return db


def test_a_run_comes_back_digit_for_digit(db):
    began = datetime.now(UTC)
    assert runs.save_backtest(db, RUN, [TRIP | dict(number=2, exit_ms=2**42), TRIP]) == "r1"
    run, trips = runs.get_backtest(db, "r1")
    assert began <= run.pop("created_at") <= datetime.now(UTC) and run == RUN
    assert list(run["metrics"]) == list(RUN["metrics"])  # in the order they were given
    assert [t.pop("run_id") for t in trips] == ["r1", "r1"] and trips == [TRIP, TRIP | dict(number=2, exit_ms=2**42)]


def test_a_run_over_several_symbols_keeps_their_order_and_the_symbol_of_each_round_trip(db):
    names = ["XRP-USD", "BTC-USD", "SOL-USD"]
    read = [RUN["inputs"][0] | dict(symbol=x, interval=i, as_of_ms=i and None) for i in ("1h", "5m") for x in names]
    run = RUN | dict(symbol=",".join(names), inputs=read)
    trips = [TRIP | dict(number=i, symbol=names[i % 3]) for i in range(12)]
    runs.save_backtest(db, run, trips)
    found, traded = runs.get_backtest(db, "r1")
    assert {k: found[k] for k in run} == run and [t["symbol"] for t in traded] == [t["symbol"] for t in trips]
    (listed,) = runs.list_backtests(db)[1]
    assert listed["symbol"] == "XRP-USD,BTC-USD,SOL-USD" and "inputs" not in listed


def test_a_run_and_its_round_trips_are_stored_together_or_not_at_all(db):
    before = dump(db)
    for run, trips, refusal in (
        (RUN, [TRIP, TRIP], "row 1: run_id, number r1, 1 repeats row 0"),
        (RUN, [TRIP, TRIP | dict(number=2, pnl=math.nan)], "row 1: pnl nan should be a finite number"),
        (RUN | dict(inputs=[RUN["inputs"][0] | dict(symbol="ETH-USD")]), [], "unknown symbol ETH-USD: add it first"),
        (RUN, [TRIP, TRIP | dict(number=2, symbol="ETH-USD")], "row 1: unknown symbol ETH-USD: add it first"),
        (RUN, [{k: v for k, v in TRIP.items() if k != "symbol"}], "row 0: symbol"),
        (RUN | dict(inputs=[RUN["inputs"][0] | dict(start=1)]), [], "start is no column of backtest_inputs"),
        (RUN | dict(metrics={"sharpe": math.nan}), [], "metrics .* finite numbers only"),
        (RUN | dict(equity=[[0, math.inf]]), [], "equity .* finite numbers only"),
        (RUN | dict(params={"fast": {1, 2}}), [], "params .* plain values"),
        (RUN | dict(seeds=1), [], "seeds is no column of backtest_runs, did you mean seed?"),
    ):
        with pytest.raises(BatchError, match=refusal):
            runs.save_backtest(db, run, trips)
        assert dump(db) == before
    runs.save_backtest(db, RUN, [])
    with pytest.raises(BatchError, match="run_id r1 is in the store already"):
        runs.save_backtest(db, RUN, [])


def test_a_run_may_be_without_a_seed_and_on_the_latest_bars(db):
    runs.save_backtest(db, {k: v for k, v in RUN.items() if k not in ("seed", "as_of_ms")}, [])
    run = runs.get_backtest(db, "r1")[0]
    assert run["seed"] is None and run["as_of_ms"] is None


def test_lists_of_runs_are_newest_first_in_pages_and_without_curves(db):
    assert runs.list_backtests(db) == (0, [])
    for i in range(5):
        runs.save_backtest(db, RUN | dict(run_id=f"r{i}"), [TRIP])
    names = lambda *page: [r["run_id"] for r in runs.list_backtests(db, *page)[1]]  # noqa: E731
    assert names() == ["r4", "r3", "r2", "r1", "r0"] and names(2, 0) + names(2, 2) + names(2, 4) == names()
    total, (row,) = runs.list_backtests(db, 1, 4)
    assert total == 5 and "equity" not in row and row["metrics"] == RUN["metrics"] and names(3, 9) == []


def test_what_is_not_there_is_said_to_be_missing(db):
    with pytest.raises(NotFoundError, match="no backtest run 'r9' in the store"):
        runs.get_backtest(db, "r9")
    with pytest.raises(NotFoundError, match="no job run 'r9' in the store"):
        runs.finish_job(db, "r9", "done")
    assert runs.get_job(db, "r9") is None and runs.list_jobs(db) == []


def test_a_job_is_running_until_it_has_finished(db):
    runs.start_job(db, "j1", "backtest", {"symbol": "BTC-USD", "params": {"fast": 10}, "note": "ä€😀"})
    killed = runs.get_job(db, "j1")
    assert (killed["status"], killed["finished_at"], killed["params"]["note"]) == ("running", None, "ä€😀")
    runs.start_job(db, "j2", "replay", {})
    runs.finish_job(db, "j2", "failed", error="ValueError: no bars", failed_cell="3: Data")
    ended = runs.get_job(db, "j2")
    assert (ended["status"], ended["failed_cell"], ended["report"]) == ("failed", "3: Data", None)
    assert ended["started_at"] <= ended["finished_at"] <= datetime.now(UTC)
    assert [j["run_id"] for j in runs.list_jobs(db)] == ["j2", "j1"] and runs.get_job(db, "j1") == killed
    assert [j["run_id"] for j in runs.list_jobs(db, "backtest")] == ["j1"] and len(runs.list_jobs(db, limit=1)) == 1
    with pytest.raises(BatchError, match="run_id j1 is in the store already"):
        runs.start_job(db, "j1", "backtest", {})
    with pytest.raises(BatchError, match="JSON takes plain values and finite numbers only"):
        runs.start_job(db, "j3", "backtest", {"a": math.nan})
    assert len(runs.list_jobs(db)) == 2


def test_run_ids_sort_by_time_and_do_not_repeat():
    ids = [runs.new_run_id() for _ in range(200)]
    assert len(set(ids)) == 200 and [i[:16] for i in ids] == sorted(i[:16] for i in ids)
