"`rrr data`, `rrr db` and `rrr audit` do what they say, on both databases, and refuse in a sentence."

import json
import sys

import pytest
import sqlalchemy as sa

from rrr.app import console
from rrr.app.cli import main
from rrr.store.db import Database

HEADER = "timestamp,open,high,low,close,volume"


@pytest.fixture
def rrr(tmp_path, url, monkeypatch, capsys):
    "Run a command in a fresh home on either database; its exit code, output and errors."
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setattr(console, "HOME", console.HOME)

    def rrr(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rrr", "--home", str(tmp_path / "home"), *args])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as e:
            code = e.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return rrr


@pytest.fixture
def csv(tmp_path):
    rows = [f"2024-01-01 00:{m:02},10,12,9,11,{1 + m % 7}" for m in range(40)]
    path = tmp_path / "bars.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return str(path)


@pytest.fixture
def stocked(rrr, csv):
    assert rrr("db", "upgrade")[0] == 0
    assert rrr("data", "import", csv, "--symbol", "BTC-USD")[0] == 0
    return rrr


def test_a_postgresql_store_waits_for_the_upgrade_and_an_sqlite_one_does_not(rrr, url):
    code, out, err = rrr("data", "list")
    if url.startswith("sqlite"):
        assert code == 0 and "nothing stored yet" in out
    else:
        assert code == 1 and "run `rrr db upgrade`" in err
        assert rrr("db", "check")[0] == 1
    assert rrr("db", "upgrade")[0] == 0
    code, out, _ = rrr("db", "current")
    assert code == 0 and out == "revision 0004 of 0004\n"
    assert rrr("db", "check")[:2] == (0, "the database is as it should be\n")
    assert "market_data" in rrr("db", "info")[1]


def test_tables_go_back_and_forth_and_not_without_a_yes(stocked):
    code, _, err = stocked("db", "downgrade", "0001")
    assert code == 1 and "say --yes" in err
    assert stocked("db", "downgrade", "0001", "--yes")[1] == "revision 0001\n"
    assert stocked("db", "upgrade")[1] == "revision 0004\n"
    rows = json.loads(stocked("data", "list", "--json")[1])["series"]
    assert [(r["symbol"], r["rows"]) for r in rows] == [("BTC-USD", 40)]


def test_bars_go_into_the_lake_and_are_dropped_from_both(stocked):
    first = json.loads(stocked("data", "export", "--json")[1])
    again = json.loads(stocked("data", "export", "BTC-USD", "--interval", "1m", "--json")[1])
    assert (first["written"], first["rows"], again["written"], again["kept"]) == (1, 40, 0, 1)
    assert stocked("data", "compact")[0] == 0
    code, _, err = stocked("data", "drop", "BTC-USD", "--interval", "1m")
    assert code == 1 and "say --yes" in err
    assert stocked("data", "drop", "BTC-USD", "--interval", "1m", "--yes")[1] == "40 bars of BTC-USD 1m removed\n"
    assert "nothing stored yet" in stocked("data", "list")[1]
    code, _, err = stocked("data", "drop", "BTC-USD", "--interval", "1m", "--yes")
    assert code == 1 and "no bars of BTC-USD 1m" in err
    assert [r["action"] for r in json.loads(stocked("audit", "list", "--json")[1])["rows"]][:2] == [
        "data drop",
        "data import",
    ]


def test_rows_removed_from_the_end_of_the_log_are_found_also_after_further_commands(stocked, url, csv):
    assert stocked("data", "import", csv, "--symbol", "ETH-USD")[0] == 0
    code, out, _ = stocked("audit", "verify")
    assert code == 0 and "it holds the head noted before" in out
    db = Database(url)
    with db.write() as c:
        for name in ("no_update", "no_delete", "no_replace", "no_truncate"):
            on = "" if db.is_sqlite else " ON audit_log"
            c.exec_driver_sql(f"DROP TRIGGER IF EXISTS audit_log_{name}{on}")
        last = c.exec_driver_sql("SELECT max(seq) FROM audit_log").scalar()
        c.execute(sa.text("DELETE FROM audit_log WHERE seq = :seq"), dict(seq=last))
    db.close()
    for _ in range(2):
        code, _, err = stocked("audit", "verify")
        assert code == 1 and "the audit log is not whole" in err
        assert stocked("data", "import", csv, "--symbol", "SOL-USD")[0] == 0


def test_a_damaged_note_of_heads_is_named(stocked, tmp_path):
    heads = tmp_path / "home" / "data" / "audit-heads.json"
    heads.write_text("{")
    code, _, err = stocked("audit", "verify")
    assert code == 1 and f"{heads} cannot be read" in err
