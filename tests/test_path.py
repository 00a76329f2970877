"The whole path as a user walks it: one command from market data to a report, a paper portfolio and an API."

import json
import subprocess
import sys
from pathlib import Path

import pytest
from browser import browser
from fastapi.testclient import TestClient
from markets import walk

from rrr.api.app import create_app
from rrr.app.desk import Desk, repeat
from rrr.data.ingest import import_mock
from rrr.data.resample import resample
from rrr.store.accounts import list_fills
from rrr.store.runs import get_backtest, list_jobs
from rrr.store.writer import write_bars

RRR = Path(sys.executable).parent / "rrr"
SECTIONS = ["Returns", "Equity", "Drawdown", "Risk", "Trading", "All figures", "Data and provenance", "Second opinion",
            "To repeat this run"]  # fmt: skip


def demo(home: Path, *args: str) -> dict:
    "Run the demo as a process and return its answer"
    done = subprocess.run([RRR, "demo", "--home", home, "--json", *args], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def walked(tmp_path_factory) -> tuple[Path, dict]:
    "A home in which the demo ran on SYNTHETIC data, and what it answered"
    home = tmp_path_factory.mktemp("home")
    return home, demo(home)


def test_the_demo_imports_checks_backtests_stores_and_replays(walked):
    home, done = walked
    assert done["imported"]["synthetic"] and done["imported"]["written"]["new"] == 17_520
    assert done["imported"]["quality"]["problems"] == []
    parity = done["parity"]
    assert parity["holds"] and parity["identical_fills"] == parity["engine_fills"] == parity["backtest_fills"] > 20
    assert parity["cash_gap"] <= 1e-9 and parity["equity_gap"] <= 1e-9
    db = Desk(home).db
    run, trades = get_backtest(db, done["run_id"])
    assert run["bars"] == 17_520 and run["synthetic"] and len(trades) > 100
    assert {j["job"]: j["status"] for j in list_jobs(db)} == {"backtest": "done", "replay": "done"}
    assert list_fills(db, done["account"])[0] == parity["engine_fills"]


def test_the_report_is_offline_interactive_and_tells_the_numbers_of_the_store(walked):
    home, done = walked
    run, _ = get_backtest(Desk(home).db, done["run_id"])
    for width in (1280, 390):
        with browser(width) as b:
            b.page.goto(Path(done["report"]).as_uri())
            b.page.wait_for_function("document.querySelectorAll('.chart .main-svg').length >= 4")
            text = b.page.inner_text("body")
            assert b.fetched == [] and b.complaints == [] and b.overflow <= 0
    for section in SECTIONS:
        assert section in text
    assert "SYNTHETIC" in text and "from rrr." not in text and "agree" in text and "DIFFER" not in text
    for figure in (
        f"{run['metrics']['final_equity']:,.2f}", f"{100 * run['metrics']['total_return']:,.1f} %", run["data_hash"],
        run["code_hash"], done["run_id"], "fast=10, slow=50",
    ):  # fmt: skip
        assert figure in text


def test_the_api_serves_the_paper_portfolio_and_the_runs(walked):
    home, done = walked
    client = TestClient(create_app(Desk(home).db))
    portfolio = client.get("/api/portfolio").json()
    assert portfolio["account"] == done["account"] and portfolio["synthetic"] is True and portfolio["status"] == "done"
    curve = client.get("/api/performance/equity-curve", params={"limit": 1, "offset": 1999}).json()
    assert curve["total"] == 2000 and curve["items"][0]["equity"] == portfolio["equity"]
    assert client.get("/api/trades").json()["total"] == done["parity"]["engine_fills"]
    assert client.get("/api/backtests").json()["items"][0]["run_id"] == done["run_id"]
    detail = client.get(f"/api/backtests/{done['run_id']}").json()
    assert detail["metrics"]["fills"] > 200 and len(detail["equity"]) <= 500


def test_a_second_demo_changes_no_data_and_gives_the_same_numbers(walked):
    home, first = walked
    again = demo(home)
    assert again["imported"]["written"] == {"new": 0, "changed": 0, "same": 17_520, "dropped_synthetic": 0}
    assert again["parity"] == first["parity"]
    db = Desk(home).db
    one, two = (get_backtest(db, d["run_id"])[0] for d in (first, again))
    for key in ("metrics", "equity", "data_hash", "code_hash", "costs"):
        assert one[key] == two[key]


def test_the_demo_runs_the_same_path_on_a_real_file(tmp_path, shared_data):
    done = demo(tmp_path, "--data", str(shared_data / "ohlcv" / "binance_spot_BTCUSDT_1h.parquet"))
    assert done["imported"]["symbol"] == "BTC-USDT" and done["imported"]["quality"]["missing_bars"] == 1
    assert done["parity"]["holds"]
    page = Path(done["report"]).read_text()
    assert "SYNTHETIC</b> data" not in page and "The accounts agree" in page


def test_a_job_that_fails_says_in_which_cell_and_is_recorded(tmp_path):
    done = subprocess.run(
        [RRR, "job", "run", "backtest", "-p", "symbol=ETH-USD", "--home", tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 1 and "no bars of ETH-USD" in done.stderr and "cell" in done.stderr
    (job,) = list_jobs(Desk(tmp_path).db)
    assert job["status"] == "failed" and "DataError" in job["error"] and job["failed_cell"].startswith("cell ")
    assert Path(job["notebook"]).exists() and Path(job["report"]).exists()


def test_a_job_over_several_symbols_reports_them_all_and_its_run_is_repeated(tmp_path):
    for symbol in ("BTC-USD", "ETH-USD"):
        import_mock(Desk(tmp_path).db, symbol, "1h", 1_500)
    given = ["symbol=ETH-USD,BTC-USD", "strategy=pairs", "params.n=50", "start=2024-12-01"]
    pairs = [x for p in given for x in ("-p", p)]
    done = subprocess.run(
        [RRR, "job", "run", "backtest", *pairs, "--home", tmp_path, "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    run, trips = get_backtest(Desk(tmp_path).db, told["run_id"])
    assert run["symbol"] == "ETH-USD,BTC-USD" and {t["symbol"] for t in trips} == {"ETH-USD", "BTC-USD"}
    page = Path(told["report"]).read_text()
    assert all(f"<h3>{x} 1h</h3>" in page for x in ("ETH-USD", "BTC-USD")) and run["data_hash"] in page
    _, differs = repeat(Desk(tmp_path).db, told["run_id"])
    assert differs == {}


def test_a_job_trades_inside_finer_bars_and_its_report_says_what_they_leave_out(tmp_path):
    db, fine = Desk(tmp_path).db, walk(2_000, interval="15m")
    for interval, bars in (("1h", resample(fine, "1h")), ("15m", fine.iloc[400:])):
        write_bars(db, "ETH-USD", interval, bars, "made up")
    given = ["symbol=ETH-USD", "strategy=chandelier", "params.entry=10", "detail=15m", "crosscheck=false"]
    done = subprocess.run(
        [RRR, "job", "run", "backtest", *(x for p in given for x in ("-p", p)), "--home", tmp_path, "--json"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert "ETH-USD: no finer bars in 100 bars of 500, the first bar with some" in Path(told["report"]).read_text()
    assert repeat(db, told["run_id"])[1] == {}
