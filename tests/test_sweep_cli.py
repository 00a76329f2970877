"`rrr sweep`, `rrr cluster` and the report of a sweep: what they answer, refuse and leave behind."

import _thread
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from browser import browser

from rrr.app.cli import main
from rrr.app.desk import Desk
from rrr.app.jobs import find_job, run_job
from rrr.app.sweep_cli import read_grid
from rrr.core.errors import ParameterError
from rrr.data.ingest import import_mock
from rrr.store.trials import count_trials
from rrr.strategy.contract import REGISTRY, Int, Signal, Strategy

GRID = ("--symbol", "BTC-USD", "-g", "fast=5,10,20", "-g", "slow=20:60:20")


@pytest.fixture
def rrr(monkeypatch, capsys, tmp_path):
    "Run a command in this process with a home of its own, in which are 600 hours of BTC-USD; returns (code, out, err)"
    import_mock(Desk(tmp_path).db, "BTC-USD", "1h", 600)

    def run(*args) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rrr", "--home", str(tmp_path), *map(str, args)])
        code = 0
        try:
            main()
        except SystemExit as e:
            code = e.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    run.home = tmp_path
    return run


def test_a_sweep_says_the_best_the_verdict_and_the_count_of_trials(rrr):
    code, out, err = rrr("sweep", "sma_cross", *GRID)
    assert (code, err) == (0, "")
    for said in (
        "9 combinations, 8 done, 1 refused",
        "best sharpe",
        "SYNTHETIC",
        "trials of sma_cross on these data: 8, 8",
    ):
        assert said in out
    code, out, _ = rrr("sweep", "sma_cross", *GRID, "--json", "--metric", "max_drawdown")
    value = json.loads(out)
    assert (value["computed"], value["reused"], value["new_trials"], value["trials"]) == (0, 8, 0, 8)
    assert value["best"][0]["max_drawdown"] == max(b["max_drawdown"] for b in value["best"])
    assert value["verdict"] in ("plateau", "ridge", "spike") and value["refused"] == 1
    assert len(list((rrr.home / "data" / "cache" / "sweeps").iterdir())) == 1


def test_a_sample_is_drawn_from_the_declared_ranges(rrr):
    code, out, _ = rrr("sweep", "sma_cross", "--symbol", "BTC-USD", "--sample", 12, "--seed", 5, "--json")
    value = json.loads(out)
    assert code == 0 and value["combinations"] == 12
    assert all(5 <= b["params"]["fast"] <= 50 and 20 <= b["params"]["slow"] <= 200 for b in value["best"])


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("-g", "fast"), "name=values"),
        (("-g", "fast=5:x"), "not a number"),
        (("-g", "fast=5:9:0"), "steps of 0"),
        (("-g", "fast=5", "-g", "fast=6"), "twice"),
        (("-g", "quick=5"), "quick"),
        (("--metric", "luck"), "luck"),
        (("--cluster", "tcp://127.0.0.1:1"), "rrr cluster"),
    ],
    ids=lambda a: " ".join(a) if isinstance(a, tuple) else "",
)
def test_what_cannot_be_meant_is_refused(rrr, args, said):
    code, out, err = rrr("sweep", "sma_cross", "--symbol", "BTC-USD", *args)
    assert code == 1 and out == "" and "error: " in err and said in err
    assert count_trials(Desk(rrr.home).db, "sma_cross") == 0


def test_axes_are_read_as_they_are_written():
    assert read_grid(["a=1:10:4", "b=0.1:0.5:0.2", "c=3", "d=1:3"]) == {
        "a": [1, 5, 9],
        "b": [0.1, 0.3, 0.5],
        "c": [3],
        "d": [1, 2, 3],
    }
    with pytest.raises(ParameterError):
        read_grid(["a=1:2:3:4"])


def test_an_interrupted_sweep_answers_with_what_it_has_and_code_130(rrr, monkeypatch):
    calls = iter(range(10**6))

    def stopped(bars, n: int = 1):
        "Is interrupted at the 20th call."
        if next(calls) == 20:
            _thread.interrupt_main()
        return Signal(bars.close * 0 + n / 100_000)

    monkeypatch.setitem(REGISTRY, "stopped", Strategy(stopped, lambda: 1, {"n": Int(1, 100_000)}))
    code, out, err = rrr("sweep", "stopped", "--symbol", "BTC-USD", "-g", "n=1:100000:1", "--json")
    value = json.loads(out)
    assert code == 130 and value["interrupted"] and 20 <= value["done"] < 100_000
    assert "goes on from there" in err and value["trials"] == value["done"]


def test_a_cluster_starts_serves_a_sweep_and_stops(rrr):
    pytest.importorskip("distributed")
    call = [sys.executable, "-c", "from rrr.app.cli import main; main()", "cluster", "--workers", "1", "--json"]
    started = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = json.loads(started.stdout.readline())["address"]
        code, out, err = rrr("sweep", "sma_cross", *GRID, "--cluster", address, "--json")
        assert code == 0, err
        there = json.loads(out)
        assert (there["computed"], there["reused"]) == (8, 0)
        assert json.loads(rrr("sweep", "sma_cross", *GRID, "--json")[1])["best"] == there["best"]
    finally:
        os.kill(started.pid, signal.SIGINT)
        _, err = started.communicate(timeout=60)
    assert started.returncode == 0 and err.strip() == "cluster stopped"


def test_the_report_of_a_sweep_is_one_readable_page(rrr):
    assert [p.name for p in find_job("sweep").parameters][:4] == ["symbol", "interval", "strategy", "grid"]
    grid = {"fast": [5, 10, 15, 20], "slow": [30, 40, 60]}
    result = run_job("sweep", {"grid": grid}, rrr.home / "reports", home=rrr.home)
    assert (result.status, result.error) == ("done", None)
    page = result.report.read_text()
    for said in (
        "SYNTHETIC",
        "of 12 combinations",
        "judge the best as the best of so many",
        "buy and hold",
        "Kept beside it",
    ):
        assert said in page
    for width in (1280, 390):
        with browser(width) as b:
            b.page.goto(result.report.as_uri(), wait_until="load")
            b.page.wait_for_selector(".main-svg")
            assert (b.fetched, b.complaints, b.overflow) == ([], [], 0)
            assert b.page.locator(".js-plotly-plot").count() == 4
    assert count_trials(Desk(rrr.home).db, "sma_cross") == 12


def test_hourly_bitcoin_is_swept_for_real(shared_data, tmp_path):
    from rrr.backtest.run import backtest
    from rrr.backtest.sweep import sweep
    from rrr.data.files import read_bars

    bars = read_bars(shared_data / "ohlcv" / "binance_spot_BTCUSDT_1h.parquet").frame
    done = sweep("sma_cross", bars, {"fast": [10, 30, 50], "slow": [100, 150]}, cache=Path(tmp_path), interval="1h")
    assert done.count("done") == 6 and done.frame.trades.min() > 50
    best = int(done.best().name)
    assert backtest("sma_cross", bars, done.params(best), interval="1h").metrics["sharpe"] == done.best().sharpe
