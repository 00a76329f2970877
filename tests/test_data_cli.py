"`rrr data import`, `check` and `feed`, and a run that is repeated after its bars were restated, as a user types them."

import json
import sys

import pandas as pd
import pytest

from rrr.app import console
from rrr.app.cli import main
from rrr.core.market import OHLCV
from rrr.data.faults import inject
from rrr.data.mock import MockDataSource
from rrr.data.resample import resample


@pytest.fixture
def rrr(tmp_path, monkeypatch, capsys):
    "Run a command in a fresh home; its exit code, output and errors."
    monkeypatch.setattr(console, "HOME", console.HOME)

    def rrr(*args) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rrr", "--home", str(tmp_path / "home"), *map(str, args)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as e:
            code = e.code or 0
        return code, *capsys.readouterr()

    return rrr


@pytest.fixture
def bars() -> pd.DataFrame:
    return MockDataSource(seed=4).get_historical_data("BTC-USD", 600, 3600)


@pytest.fixture
def csv(tmp_path):
    def csv(frame: pd.DataFrame, name: str = "bars.csv"):
        frame[OHLCV].to_csv(tmp_path / name)
        return tmp_path / name

    return csv


def test_several_files_are_imported_and_those_before_a_refused_one_stay(rrr, bars, csv):
    good, more, bad = (
        csv(bars[:300], "a.csv"),
        csv(bars[300:], "b.csv"),
        csv(inject(bars, "high_below_low")[0], "c.csv"),
    )
    code, out, err = rrr("data", "import", good, more, bad, "--symbol", "BTC-USD", "--json")
    told = json.loads(out)["imports"]
    assert code == 1 and [i["written"]["new"] for i in told] == [300, 300] and "high below low" in err
    assert "600" in rrr("data", "list")[1]


def test_what_is_let_through_by_name_stamps_series_list_backtest_and_check(rrr, bars, csv):
    path = csv(inject(bars, "symbol_reuse")[0])
    code, _, err = rrr("data", "import", path, "--symbol", "BTC-USD")
    assert code == 1 and "--accept symbol_reuse" in err and "Traceback" not in err
    code, out, _ = rrr("data", "import", path, "--symbol", "BTC-USD", "--accept", "symbol_reuse")
    assert code == 0 and "STAMPED as blocked: symbol_reuse" in out
    assert "symbol_reuse" in rrr("data", "list")[1]
    code, _, err = rrr("backtest", "buy_and_hold", "--symbol", "BTC-USD")
    assert code == 1 and "symbol_reuse" in err and "accept_blocked" in err
    assert rrr("backtest", "buy_and_hold", "--symbol", "BTC-USD", "--accept-blocked")[0] == 0
    code, out, _ = rrr("data", "check", "BTC-USD")
    assert code == 0 and "block: another asset under the same symbol" in out  # told, and let through before


def test_repairs_are_told(rrr, bars, csv):
    code, out, _ = rrr("data", "import", csv(inject(bars, "nan")[0]), "--symbol", "BTC-USD", "--repair", "drop-bad")
    assert (code == 0 and "drop-bad: 1 row" in out) or code == 1  # an empty cell is refused by the reader already
    code, out, _ = rrr(
        "data",
        "import",
        csv(inject(bars, "duplicate")[0]),
        "--symbol",
        "ETH-USD",
        "--repair",
        "drop-duplicates,fill-flat",
    )
    assert code == 0 and "drop-duplicates: " in out


def test_a_check_looks_beside_other_intervals_and_other_sources(rrr, bars, csv):
    daily = resample(bars, "1d")
    daily.iloc[5, daily.columns.get_loc("high")] *= 1.05
    rrr("data", "import", csv(bars), "--symbol", "BTC-USD")
    rrr("data", "import", csv(daily, "daily.csv"), "--symbol", "BTC-USD")
    code, out, _ = rrr("data", "check", "BTC-USD", "--interval", "1h", "--json")
    found = {f["code"] for f in json.loads(out)["findings"]}
    assert code == 0 and "cross_interval" in found
    other = bars.copy()
    other.index = other.index + pd.Timedelta("1h")
    out = rrr("data", "check", "BTC-USD", "--interval", "1h", "--beside", csv(other, "other.csv"), "--json")[1]
    assert "clock_offset" in {f["code"] for f in json.loads(out)["findings"]}


def test_a_feed_stores_synthetic_bars(rrr):
    code, out, _ = rrr("data", "feed", "mock", "--symbol", "BTC-USD", "--ticks", "200", "--json")
    told = json.loads(out)
    assert code == 0 and told["ticks"] == 200 and told["bars"] == {"BTC-USD": 2} and told["partial"] == 1
    assert "SYNTHETIC" in rrr("data", "list")[1]
    code, _, err = rrr("data", "feed", "mock", "--symbol", "SOL-USD", "--ticks", "20")
    assert code == 1 and "no bar of 1m was over after 20 ticks" in err
    assert rrr("data", "feed", "coinbase")[0] == 1


def test_a_run_is_repeated_after_its_bars_were_restated(rrr, bars, csv):
    rrr("data", "import", csv(bars), "--symbol", "BTC-USD")
    run = json.loads(rrr("backtest", "sma_cross", "--symbol", "BTC-USD", "--json")[1])
    restated = bars.copy()
    restated.iloc[200:260, :4] *= 1.01
    code, out, _ = rrr("data", "import", csv(restated, "restated.csv"), "--symbol", "BTC-USD")
    assert code == 0 and "60 changed" in out
    code, out, _ = rrr("check", "repeat", run["run_id"])
    assert code == 0 and f"data {run['data_hash']}" in out
    again = json.loads(rrr("backtest", "sma_cross", "--symbol", "BTC-USD", "--json")[1])
    assert again["data_hash"] != run["data_hash"] and again["as_of_ms"] > run["as_of_ms"]
    from rrr.core.market import to_datetime

    then = to_datetime(run["as_of_ms"]).isoformat()
    past = json.loads(rrr("backtest", "sma_cross", "--symbol", "BTC-USD", "--as-of", then, "--json")[1])
    assert past["data_hash"] == run["data_hash"] and past["metrics"] == run["metrics"]


def test_a_run_over_several_symbols_is_stored_listed_shown_and_repeated(rrr, bars, csv):
    other = MockDataSource(seed=5).get_historical_data("ETH-USD", 600, 3600)
    for symbol, frame in (("BTC-USD", bars), ("ETH-USD", other), ("SOL-USD", other.iloc[100:] * 2)):
        assert rrr("data", "import", csv(frame, f"{symbol}.csv"), "--symbol", symbol)[0] == 0
    named = ("--symbol", "SOL-USD", "--symbol", "BTC-USD", "--symbol", "ETH-USD")
    code, out, _ = rrr("backtest", "strongest", *named, "-p", "n=24", "-p", "hold=24", "--from", "2024-12-10", "--json")
    run = json.loads(out)
    assert (
        code == 0 and run["symbol"] == "SOL-USD,BTC-USD,ETH-USD" and {t["symbol"] for t in run["trades"]} <= set(named)
    )
    restated = bars.copy()
    restated.iloc[200:260, :4] *= 1.01
    assert "60 changed" in rrr("data", "import", csv(restated, "restated.csv"), "--symbol", "BTC-USD")[1]
    code, out, err = rrr("check", "repeat", run["run_id"])
    assert (code, err) == (0, "") and f"data {run['data_hash']}" in out
    assert rrr("backtest", "pairs", "--symbol", "BTC-USD,ETH-USD", "-p", "n=50")[0] == 0
    code, out, _ = rrr("runs")
    latest, first = out.splitlines()[1:]
    assert code == 0 and "BTC-USD,ETH-USD" in latest and run["run_id"] in first and run["symbol"] in first
    assert len(json.loads(rrr("runs", "--limit", "1", "--json")[1])["runs"]) == 1
    code, out, _ = rrr("runs", run["run_id"])
    assert code == 0 and all(out.count(x) > 1 for x in ("SOL-USD", "BTC-USD", "ETH-USD")) and run["data_hash"] in out
    told = json.loads(rrr("runs", run["run_id"], "--json")[1])
    assert [x["symbol"] for x in told["inputs"]] == list(named[1::2]) and told["metrics"] == run["metrics"]
    assert rrr("runs", "nope")[0] == 1
    for args, said in (
        (("backtest", "pairs", "--symbol", "BTC-USD", "--symbol", "BTC-USD"), "BTC-USD is named twice"),
        (("backtest", "pairs", "--symbol", "BTC-USD", "--symbol", "XRP-USD"), "Stored of every one: none"),
        (("backtest", "strongest", "--symbol", "BTC-USD"), "several symbols"),
        (("trade", "--replay", "BTC-USD,ETH-USD"), "one symbol at a time"),
    ):
        code, out, err = rrr(*args)
        assert (code, out) == (1, "") and said in err and len(err.splitlines()) == 1, err


def test_a_home_without_runs_says_how_to_make_one(rrr):
    assert rrr("runs")[:2] == (0, "no runs yet; try: rrr backtest --help\n")


def test_other_kinds_of_data_go_in_by_name(rrr, tmp_path):
    path = tmp_path / "fng.csv"
    path.write_text("date,value,classification\n2023-01-01,26.0,Fear\n2023-01-02,60.0,Greed\n")
    assert "2 new, 0 known" in rrr("data", "import", path, "--kind", "sentiment")[1]
    assert "0 new, 2 known" in rrr("data", "import", path, "--kind", "sentiment")[1]
    code, _, err = rrr("data", "import", path, "--kind", "stars")
    assert code == 1 and "--kind is one of bars, trades" in err
