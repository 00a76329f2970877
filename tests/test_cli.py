"The command line: what it does, what it refuses, and that a refusal leaves the store as it was."

import json
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from markets import walk

from rrr.app.cli import main
from rrr.app.desk import Desk
from rrr.data.ingest import import_mock
from rrr.data.resample import resample
from rrr.store.schema import Table
from rrr.store.writer import write_bars

HEAD = "timestamp,open,high,low,close,volume\n"
GOOD = [f"2024-01-01T{h:02d}:00Z,100,101,99,100,5\n" for h in range(24)]
COMMANDS = [
    "demo", "backtest", "ladder", "sweep", "cluster", "trade", "serve", "lab", "bench", "settings", "data import", "data list", "job list", "job run",
    "report list", "report open", "runs", "db info", "check parity", "check causal", "data export", "data compact", "data drop",
    "db current", "db upgrade", "db downgrade", "db check", "audit list", "audit verify",
]  # fmt: skip


@pytest.fixture
def rrr(monkeypatch, capsys, tmp_path):
    "Run a command in this process with a home of its own; returns (code, out, err)"

    def run(*args: str, home: Path | None = tmp_path / "home") -> tuple[int, str, str]:
        words = ["rrr", *(["--home", str(home)] if home else []), *map(str, args)]
        monkeypatch.setattr(sys, "argv", words)
        code = 0
        try:
            main()
        except SystemExit as e:
            code = e.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    run.home = tmp_path / "home"
    return run


def write(path: Path, rows: list[str], head: str = HEAD) -> Path:
    path.write_text(head + "".join(rows))
    return path


def dump(home: Path) -> dict:
    "Every row of every table"
    db = Desk(home).db
    with db.read() as c:
        return {name: sorted(map(repr, c.execute(sa.select(t)).all())) for name, t in Table.metadata.tables.items()}


@pytest.fixture
def filled(rrr, tmp_path):
    "A home with a day of real-looking bars and a month of SYNTHETIC ones"
    assert rrr("data", "import", write(tmp_path / "good.csv", GOOD), "--symbol", "BTC-USDT")[0] == 0
    import_mock(Desk(rrr.home).db, "BTC-USD", "1h", 24 * 60)
    return rrr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_itself_with_an_example(rrr, command):
    code, out, _ = rrr(*command.split(), "--help")
    assert code == 0 and "Example: rrr " + command in " ".join(out.split())


def test_help_answers_at_once_and_wrong_usage_is_exit_code_2(rrr):
    assert rrr("--help")[0] == 0
    assert rrr("nonsense")[0] == 2
    assert rrr("backtest")[0] == 2
    assert rrr("trade")[0] == 2
    assert rrr("data", "list", "--home")[0] == 2
    assert rrr("backtest", "sma_cross", "--symbol", "BTC-USD", "--fee-bps", "many")[0] == 2


BAD_FILES = {
    "missing file": (None, "no such file"),
    "empty file": ("", "empty"),
    "header only": (HEAD, "no"),
    "text price": (HEAD + GOOD[0] + GOOD[1].replace(",101,", ",abc,") + GOOD[2], "'abc'"),
    "high below low": (HEAD + GOOD[0] + GOOD[1].replace("101", "98") + GOOD[2], "high"),
    "duplicate stamps": (HEAD + GOOD[0] + GOOD[1] + GOOD[1] + GOOD[2], "duplicate"),
    "unsorted rows": (HEAD + GOOD[1] + GOOD[0] + GOOD[2], "oldest to newest"),
    "negative price": (HEAD + GOOD[0] + GOOD[1].replace("99", "-99") + GOOD[2], "low"),
    "empty cell": (HEAD + GOOD[0] + GOOD[1].replace(",101,", ",,") + GOOD[2], "empty"),
    "infinite price": (HEAD + GOOD[0] + GOOD[1].replace(",101,", ",inf,") + GOOD[2], "inf"),
    "no volume column": ("timestamp,open,high,low,close\n2024-01-01,1,1,1,1\n", "volume"),
    "no columns": ("just some words\nand more of them\n", "header"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_gets_one_sentence_and_leaves_the_store_as_it_was(filled, tmp_path, name):
    text, words = BAD_FILES[name]
    path = tmp_path / "bad.csv"
    if text is not None:
        path.write_text(text)
    before = dump(filled.home)
    code, out, err = filled("data", "import", path, "--symbol", "BTC-USDT")
    assert code == 1 and out == ""
    assert err.startswith("error: ") and words in err.lower() and str(path) in err
    assert len(err.splitlines()) == 1 and "Traceback" not in err
    assert dump(filled.home) == before


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["backtest", "sma_crss", "--symbol", "BTC-USD"], "did you mean 'sma_cross'"),
        (["backtest", "sma_cross", "--symbol", "BTC-USD", "-p", "fats=3"], "did you mean 'fast'"),
        (["backtest", "sma_cross", "--symbol", "BTC-USD", "-p", "fast=ten"], "not a number"),
        (["backtest", "sma_cross", "--symbol", "BTC-USD", "-p", "fast=2.5"], "whole number"),
        (["backtest", "sma_cross", "--symbol", "BTC-USD", "-p", "fast=60"], "shorter"),
        (["backtest", "sma_cross", "--symbol", "BTCUSD"], "BASE-QUOTE"),
        (["backtest", "sma_cross", "--symbol", "ETH-USD"], "import a file"),
        (["backtest", "sma_cross", "--symbol", "BTC-USD", "--interval", "5m"], "no bars of BTC-USD 5m"),
        (["backtest", "sma_cross", "--symbol", "BTC-USD", "--interval", "hourly"], "count and a unit"),
        (["backtest", "sma_cross", "--symbol", "BTC-USD", "--from", "yesterday"], "ISO"),
        (["backtest", "sma_cross", "--symbol", "BTC-USD", "--from", "2031-01-01"], "start"),
        (["backtest", "sma_cross", "--symbol", "BTC-USD", "--to", "2001-01-01"], "span"),
        (["backtest", "sma_cross", "--symbol", "BTC-USD", "--capital", "-5"], "capital"),
        (["backtest", "sma_cross", "--symbol", "BTC-USD", "--capital", "nan"], "capital"),
        (["backtest", "sma_cross", "--symbol", "BTC-USD", "--fee-bps", "-1"], "fee_bps"),
        (["backtest", "sma_cross", "--symbol", "BTC-USD", "--detail", "15m"], "no 15m bars of BTC-USD below 1h are stored"),
        (["backtest", "sma_cross", "--symbol", "BTC-USD", "--detail", "fine"], "count and a unit"),
        (["ladder", "sma_cross", "--symbol", "BTC-USD", "--detail", "15m"], "no 15m bars of BTC-USD below 1h are stored"),
        (["trade", "--replay", "BTC-USD", "--strategy", "nope"], "unknown strategy"),
        (["trade", "--replay", "BTC-USD", "--from", "2031-01-01"], "start"),
        (["job", "run", "backtst"], "did you mean 'backtest'"),
        (["job", "run", "backtest", "-p", "symbl=BTC-USD"], "did you mean 'symbol'"),
        (["job", "run", "backtest", "-p", "fee_bps=cheap"], "fee_bps"),
        (["job", "run", "backtest", "-p", "strategy=nope"], "unknown strategy"),
        (["job", "run", "backtest", "-p", "params.fats=3"], "did you mean 'fast'"),
        (["report", "open"], "no report"),
        (["bench", "backtst"], "did you mean 'backtest'"),
        (["data", "import", ".", "--symbol", "BTC-USD"], "folder"),
    ],
)  # fmt: skip
def test_a_refused_request_gets_one_sentence_and_leaves_the_store_as_it_was(filled, args, words):
    before = dump(filled.home)
    code, out, err = filled(*args)
    assert (code, out) == (1, "") and words in err and len(err.splitlines()) == 1, err
    assert dump(filled.home) == before


def test_a_read_only_data_folder_is_named_and_nothing_is_written(filled, tmp_path):
    folder = filled.home / "data" / "db"
    before = (folder / "trading.db").read_bytes()
    folder.chmod(0o555)
    try:
        for args in (
            ["data", "import", write(tmp_path / "more.csv", GOOD), "--symbol", "ETH-USDT"],
            ["backtest", "sma_cross", "--symbol", "BTC-USD"],
            ["trade", "--replay", "BTC-USD"],
            ["job", "run", "backtest"],
        ):
            code, out, err = filled(*args)
            assert code == 1 and "read-only" in err and str(folder) in err and len(err.splitlines()) == 1
        assert filled("data", "list")[0] == 0, "reading is still possible"
    finally:
        folder.chmod(0o755)
    assert (folder / "trading.db").read_bytes() == before


def test_a_bad_setting_stops_with_key_problem_and_place(rrr, monkeypatch):
    monkeypatch.setenv("DATABASE_POOL_MAX", "many")
    code, _, err = rrr("data", "list")
    assert code == 1 and "DATABASE_POOL_MAX" in err and "environment" in err


def test_home_may_stand_anywhere_and_rrr_home_does_the_same(filled, monkeypatch):
    for args in (["data", "list", "--home", filled.home], ["data", f"--home={filled.home}", "list"]):
        assert "BTC-USDT" in filled(*args, home=None)[1]
    monkeypatch.setenv("RRR_HOME", str(filled.home))
    assert "BTC-USDT" in filled("data", "list", home=None)[1]


@pytest.mark.parametrize(
    "args",
    [
        ["data", "list"], ["job", "list"], ["report", "list"], ["settings"], ["db", "info"],
        ["backtest", "sma_cross", "--symbol", "BTC-USD", "-p", "fast=5", "-p", "slow=20"],
        ["trade", "--replay", "BTC-USD", "--from", "2024-12-20"],
    ],
)  # fmt: skip
def test_json_is_exactly_one_strict_object_on_standard_output(filled, args):
    def refuse(constant):
        raise AssertionError(constant)

    code, out, _ = filled(*args, "--json")
    assert code == 0 and isinstance(json.loads(out, parse_constant=refuse), dict)


def test_import_says_what_it_found_and_what_it_changed(rrr, tmp_path):
    rows = [r for i, r in enumerate(GOOD) if i not in (5, 6)]
    rows[2] = rows[2].replace(",5\n", ",0\n")
    path = write(tmp_path / "gapped.csv", rows)
    code, out, _ = rrr("data", "import", path, "--symbol", "BTC-USD", "--interval", "1h")
    assert (
        code == 0 and "rows 22" in out and "bars missing: 2" in out and "zero volume 1" in out and "22 new bars" in out
    )
    again = json.loads(rrr("data", "import", path, "--symbol", "BTC-USD", "--json")[1])
    assert again["written"] == {"new": 0, "changed": 0, "same": 22, "dropped_synthetic": 0}
    assert rrr("data", "import", path, "--symbol", "BTC-USD", "--interval", "5m")[0] == 1


def test_synthetic_is_said_wherever_synthetic_data_is_shown(filled):
    for args in (["data", "list"], ["backtest", "sma_cross", "--symbol", "BTC-USD"]):
        assert "SYNTHETIC" in filled(*args)[1]
    assert json.loads(filled("backtest", "sma_cross", "--symbol", "BTC-USD", "--json")[1])["synthetic"] is True
    assert "SYNTHETIC" not in filled("backtest", "buy_and_hold", "--symbol", "BTC-USDT")[1]


def test_a_backtest_inside_finer_bars_says_what_they_leave_out_and_is_repeated(filled):
    fine = walk(40 * 24 * 4, interval="15m")
    bars = resample(fine, "1h")
    for interval, frame in (("1h", bars), ("15m", fine.iloc[:-96])):
        write_bars(Desk(filled.home).db, "ETH-USD", interval, frame, "made up")
    asked = ["chandelier", "--symbol", "ETH-USD", "--interval", "1h", "--detail", "15m"]
    code, out, _ = filled("backtest", *asked)
    note = "ETH-USD: no finer bars in 24 bars of 960, the first bar with some opens at 2024-01-01 00:00"
    assert code == 0 and f"note: {note}" in out
    run_id = out.split()[-1]
    assert "15m" in filled("runs", run_id)[1] and filled("check", "repeat", run_id)[0] == 0
    answer = json.loads(filled("backtest", *asked, "--json")[1])
    assert answer["notes"][0].startswith(note) and [x["interval"] for x in answer["inputs"]] == ["1h", "15m"]
    steps = json.loads(filled("ladder", *asked, "--json")[1])
    assert steps["notes"][0].startswith(note) and {"funding", "interest"} <= set(steps["rungs"]["next open, costs"])


def test_secrets_are_never_shown(rrr, monkeypatch):
    monkeypatch.setenv("COINBASE_API_SECRET", "hunter2hunter2")
    for flags in ([], ["--json"]):
        code, out, err = rrr("settings", *flags)
        assert code == 0 and "hunter2" not in out + err and "COINBASE_API_SECRET" in out


def test_replay_and_backtest_agree_from_the_command_line(filled):
    code, out, _ = filled(
        "trade",
        "--replay",
        "BTC-USD",
        "--interval",
        "1h",
        "--from",
        "2024-12-01",
        "-p",
        "fast=5",
        "-p",
        "slow=20",
        "--json",
    )  # noqa: E501
    parity = json.loads(out)["parity"]
    assert code == 0 and parity["holds"] and parity["identical_fills"] == parity["engine_fills"] > 3
    assert parity["cash_gap"] == 0 and parity["equity_gap"] <= 1e-9


def test_a_taken_port_is_refused_with_a_sentence(rrr):
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        code, _, err = rrr("serve", "--port", s.getsockname()[1])
    assert code == 1 and "--port" in err


def test_the_installed_command_works_from_another_folder(tmp_path):
    command = Path(sys.executable).parent / "rrr"
    done = subprocess.run([command, "data", "list", "--home", tmp_path], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "nothing stored yet" in done.stdout and done.stderr == ""
