"The store keeps all of a write or nothing, says in one sentence what it cannot do, and never shows a password."

import hashlib
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from datetime import UTC, datetime
from decimal import Decimal

import psycopg
import pytest
import sqlalchemy as sa
from stores import dump

from rrr.core.errors import ConfigError, StoreError
from rrr.core.settings import load_settings
from rrr.core.trading import Order, Side
from rrr.store.accounts import record_order
from rrr.store.bars import bars_frame, data_hash, get_series, read_bars
from rrr.store.db import Database, get_database_client, get_db, sqlite_pragmas
from rrr.store.migrate import VERSION_TABLE
from rrr.store.schema import BacktestInputRow, BacktestTradeRow, BarRow, SymbolRow, Table, TradeRow
from rrr.store.writer import write_bars

BTC = dict(symbol="BTC-USD", base="BTC", quote="USD")
WRITER = """
import sys
import numpy as np
from rrr.store.bars import bars_frame
from rrr.store.writer import write_bars
from rrr.store.db import Database

def bars(first, count):
    at = np.arange(first, first + count)
    return bars_frame(60_000 * at, np.column_stack([at + k for k in (10.0, 12.0, 9.0, 11.0, 1.0)]))
"""


@pytest.fixture
def process():
    "Start Python processes that talk over pipes, and wait until they say that they are ready."
    started = []

    def process(code: str, *args: str) -> subprocess.Popen:
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(subprocess.Popen([sys.executable, "-c", code, *args], **pipes))
        return started[-1]

    yield process
    for one in started:
        one.kill()
        one.communicate()


def ready(*processes: subprocess.Popen) -> None:
    for one in processes:
        assert one.stdout.readline() == "ready\n", one.communicate()


def end_well(*processes: subprocess.Popen) -> None:
    "Let waiting processes go on, all at once, and end."
    for one in processes:
        one.stdin.write("go\n")
        one.stdin.flush()
    for one in processes:
        _, err = one.communicate(timeout=60)
        assert one.returncode == 0, err


def insert(db: Database, row: dict = BTC) -> None:
    with db.write() as c:
        c.execute(sa.insert(SymbolRow), row)


def files(folder) -> dict[str, str]:  # name -> hash of the content
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture
def file(tmp_path):
    "An SQLite store that gives up waiting soon."
    database = Database(f"sqlite:///{tmp_path}/trading.db", pool_timeout=0.1)
    yield database
    database.close()


# Connections


def test_every_sqlite_connection_has_its_pragmas_in_force(file):
    wal = sqlite3.sqlite_version_info >= (3, 51, 3)
    asked = ("foreign_keys", "journal_mode", "synchronous", "busy_timeout", "temp_store")
    for use in (file.read, file.write, file.read):
        with use() as c:
            found = [c.exec_driver_sql(f"PRAGMA {name}").scalar() for name in asked]
        assert found == [1, "wal" if wal else "truncate", 2 if wal else 3, 100, 2]


def test_the_write_ahead_log_waits_for_the_version_without_its_flaw():
    versions = ((3, 40, 1), (3, 51, 2), (3, 51, 3), (3, 52, 0))
    journal = [[sqlite_pragmas(v)[k][0] for k in ("journal_mode", "synchronous")] for v in versions]
    assert journal == [["TRUNCATE", "EXTRA"], ["TRUNCATE", "EXTRA"], ["WAL", "FULL"], ["WAL", "FULL"]]


def test_no_row_stands_without_what_it_refers_to(db):
    bar = dict(symbol="BTC-USD", interval="1m", timestamp=0, open=1, high=1, low=1, close=1, volume=1, available_ms=0)
    order = Order("o1", "BTC-USD", Side.buy, Decimal(1), 0, Decimal(1))
    trip = dict(number=1, entry_ms=0, exit_ms=None, quantity=1, entry_price=1, exit_price=1, fees=0, pnl=0)
    trade = dict(account="a", fill_id="f", order_id="o1", symbol="BTC-USD", side="buy", timestamp=datetime.now(UTC))
    trade |= dict.fromkeys(("quantity", "price", "value", "fee"), Decimal(1))

    def put(row_of, row):
        with db.write() as c:
            c.execute(sa.insert(row_of), row)

    before = dump(db)
    for orphan in (
        lambda: put(BarRow, bar),
        lambda: record_order(db, "a", order),
        lambda: put(TradeRow, trade),
        lambda: put(BacktestTradeRow, trip | dict(run_id="r", symbol="BTC-USD", return_pct=0, status="open")),
        lambda: put(
            BacktestInputRow, dict(run_id="r", number=1, symbol="BTC-USD", interval="1m", first_ms=0, last_ms=0)
        ),
    ):
        with pytest.raises(StoreError, match="(?i)foreign key"):
            orphan()
        assert dump(db) == before


def test_a_read_cannot_write(db):
    with pytest.raises(StoreError, match="(?i)read-?only"), db.read() as c:
        c.execute(sa.insert(SymbolRow), BTC)
    insert(db)
    assert dump(db)["symbols"] == [("BTC-USD", "BTC", "USD")]


def test_a_read_sees_one_moment_whatever_is_written_meanwhile(db):
    other = Database(db.url, pool_timeout=0.1)
    count = sa.select(sa.func.count()).select_from(SymbolRow.__table__)
    with db.read() as c:
        assert c.execute(count).scalar() == 0
        try:
            insert(other)  # PostgreSQL keeps both versions, SQLite's rollback journal makes the writer wait
        except StoreError as e:
            assert "locked" in str(e)
        assert c.execute(count).scalar() == 0
    other.close()


def test_a_memory_store_is_one_store_under_either_name():
    for url in ("sqlite://", "sqlite:///:memory:"):
        db = Database(url)
        assert db.path is None
        insert(db)
        assert dump(db)["symbols"] == [("BTC-USD", "BTC", "USD")]
        db.close()


def test_settings_name_the_database_that_is_opened_once(tmp_path):
    settings = load_settings(rrr_home=str(tmp_path))
    db = get_db(settings)
    assert get_database_client is get_db and get_db(settings) is db
    assert db.path == settings.data_dir / "db" / "trading.db" and db.path.is_file() == db.is_sqlite
    db.close()


# Whole or not at all


def test_a_write_that_raises_leaves_nothing(db):
    before = dump(db)
    with pytest.raises(RuntimeError, match="in the middle"), db.write() as c:
        c.execute(sa.insert(SymbolRow), BTC)
        raise RuntimeError("in the middle")
    with pytest.raises(StoreError, match="(?i)unique"), db.write() as c:
        for _ in range(2):
            c.execute(sa.insert(SymbolRow), BTC)
    assert dump(db) == before
    insert(db)


def test_a_writer_killed_in_the_middle_leaves_the_old_state(db_url, process):
    db = Database(db_url)
    write_bars(db, "BTC-USD", "1m", bars_frame([0], [[1, 2, 0.5, 1.5, 10]]), "old.csv")
    before = dump(db)
    writer = process(
        WRITER + "def hang(*_):\n    print('ready', flush=True)\n    sys.stdin.read()\n"
        "write_bars(Database(sys.argv[1]), 'BTC-USD', '1m', bars(0, 40_000), 'new.csv', assess=hang)\n",
        db_url,
    )
    ready(writer)
    if db.is_sqlite:
        beside = [path for path in db.path.parent.iterdir() if path != db.path]
        assert sum(path.stat().st_size for path in beside) > 0  # a journal: the file itself is half written
        assert db.path.stat().st_size > 300_000 or list(db.path.parent.glob("*-wal"))
    writer.send_signal(signal.SIGKILL)
    assert writer.wait(30) == -signal.SIGKILL
    assert dump(db) == before
    write_bars(db, "BTC-USD", "1m", bars_frame([60_000], [[1, 2, 0.5, 1.5, 10]]), "next.csv")
    assert get_series(db, "BTC-USD", "1m")["data_hash"] == data_hash(read_bars(db, "BTC-USD", "1m"))
    db.close()


def test_two_processes_that_open_a_store_and_write_one_series_at_once_both_succeed(db_url, process):
    code = WRITER + (
        "print('ready', flush=True)\nsys.stdin.readline()\ndb = Database(sys.argv[1])\n"
        "for k in range(6):\n"
        "    write_bars(db, 'BTC-USD', '1m', bars(1500 * k + int(sys.argv[2]), 1000), f'{sys.argv[2]}.csv')\n"
    )
    both = [process(code, db_url, offset) for offset in ("0", "500")]
    ready(*both)
    end_well(*both)
    db = Database(db_url)
    series, stored = get_series(db, "BTC-USD", "1m"), read_bars(db, "BTC-USD", "1m")
    assert len(stored) == series["rows"] == 9000 and series["data_hash"] == data_hash(stored)
    with db.read() as c:
        assert set(sa.inspect(c).get_table_names()) == {*Table.metadata.tables, VERSION_TABLE}
    db.close()


# What SQLite refuses


def test_a_read_only_folder_is_named_and_its_file_left_alone(file):
    insert(file)
    folder = file.path.parent
    file.close()
    before = files(folder)
    folder.chmod(0o555)
    try:
        with pytest.raises(StoreError, match=f"{folder}"):
            other = Database(file.url)
            insert(other, BTC | {"symbol": "ETH-USD"})
        with pytest.raises(StoreError, match=f"folder {folder} is read-only: make it writable, or use --home"):
            insert(file, BTC | {"symbol": "ETH-USD"})
        with pytest.raises(StoreError, match=f"folder {folder} is read-only"):
            Database(f"sqlite:///{folder}/other.db")
        assert files(folder) == before
    finally:
        folder.chmod(0o755)
    insert(file, BTC | {"symbol": "ETH-USD"})


def test_a_store_without_some_tables_in_a_read_only_folder_gets_none(tmp_path):
    path = tmp_path / "trading.db"
    path.touch()
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(StoreError, match=f"{tmp_path}"):
            Database(f"sqlite:///{path}")
        assert path.read_bytes() == b""
    finally:
        tmp_path.chmod(0o755)


def test_a_place_where_no_folder_can_be_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=f"cannot create folder {tmp_path}/file/db: Not a directory"):
        Database(f"sqlite:///{tmp_path}/file/db/trading.db")
    with pytest.raises(StoreError, match="unable to open database file"):
        Database(f"sqlite:///{tmp_path}")


def test_a_locked_database_is_refused_after_the_wait(file):
    insert(file)
    holder = sqlite3.connect(file.path, isolation_level=None)
    try:
        for lock in ("IMMEDIATE", "EXCLUSIVE"):
            holder.execute(f"BEGIN {lock}")
            began = time.monotonic()
            with pytest.raises(StoreError, match="trading.db.* refused: database is locked.$"):
                insert(file, BTC | {"symbol": "ETH-USD"})
            assert time.monotonic() - began < 5
            holder.execute("ROLLBACK")
    finally:
        holder.close()
    assert len(dump(file)["symbols"]) == 1
    insert(file, BTC | {"symbol": "ETH-USD"})


@pytest.mark.parametrize("content", [b"not a database, but long enough to look like a header " * 20, b"\0" * 4096])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "trading.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="trading.db.* refused: file is not a database.$"):
        Database(f"sqlite:///{path}")
    assert files(tmp_path) == {"trading.db": hashlib.sha256(content).hexdigest()}


def test_a_damaged_file_is_refused(file):
    insert(file)
    file.close()
    content = bytearray(file.path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    file.path.write_bytes(content)
    with pytest.raises(StoreError, match="malformed"):
        insert(file)


@pytest.mark.parametrize("replace", [False, True], ids=["moved", "replaced"])
def test_a_file_that_is_gone_is_noticed_and_not_made_anew(file, tmp_path, replace):
    insert(file)
    file.path.rename(tmp_path / "away.db")
    if replace:
        Database(file.url).close()
    before = files(tmp_path)
    for use in (file.read, file.write):
        with pytest.raises(StoreError, match=f"database file {file.path} was moved or replaced while it was open"):
            with use():
                pass
    assert files(tmp_path) == before


def test_a_used_up_pool_is_a_refusal(tmp_path):
    db = Database(f"sqlite:///{tmp_path}/trading.db", pool_min=1, pool_max=1, pool_timeout=0.05)
    with db.read():
        with (
            pytest.raises(StoreError, match="all 1 connections of .* are in use and none came free within 0.05 s"),
            db.read(),
        ):
            pass
    db.close()


# What PostgreSQL refuses


@pytest.fixture
def served(postgres):
    "A store on PostgreSQL."
    database = Database(postgres.url(name := postgres.create(postgres.with_tables)))
    yield database
    database.close()
    postgres.drop(name)


def test_a_server_that_ends_the_connection_is_a_refusal_and_the_next_write_goes_through(served, postgres):
    db = served
    for raw in (False, True):
        with pytest.raises(StoreError, match="refused: .*(terminat|lost)"), db.write() as c:
            c.execute(sa.insert(SymbolRow), BTC)
            postgres.execute(f"select pg_terminate_backend({c.exec_driver_sql('select pg_backend_pid()').scalar()})")
            if raw:  # as COPY does, past SQLAlchemy
                c.connection.cursor().execute("select 1")
            c.execute(sa.insert(SymbolRow), BTC | {"symbol": "ETH-USD"})
    assert dump(db)["symbols"] == []
    insert(db)


def test_a_copy_that_is_cut_off_leaves_nothing(served, monkeypatch):
    def cut(*args):
        raise psycopg.OperationalError("the connection is lost\nin a second line")

    monkeypatch.setattr(psycopg.Copy, "write", cut)
    before = dump(served)
    with pytest.raises(StoreError, match="refused: the connection is lost.$"):
        write_bars(served, "BTC-USD", "1m", bars_frame([0], [[1, 2, 0.5, 1.5, 10]]), "file.csv")
    assert dump(served) == before


# Secrets


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://quant:hunter2secret@127.0.0.1:1/rrr",
        "postgresql+psycopg://quant@127.0.0.1:1/rrr?password=hunter2secret",
        "postgresql+psycopg://quant@127.0.0.1:1/rrr?password=hunter2secret&password=hunter2secret",
        "postgresql+psycopg://quant:hunter2secret@127.0.0.1:port/rrr",
        "postgresql+psycopg://quant:a@b:hunter2secret@127.0.0.1/rrr",
        "postgresql+psycopg://quant:p@hunter2secret@127.0.0.1/rrr",
        "postgresql+psycopg://quant@127.0.0.1:1/rrr?sslpassword=hunter2secret",
        "mysql://quant:hunter2secret@127.0.0.1/rrr",
        "postgresql+asyncpg://quant:hunter2secret@127.0.0.1/rrr",
        "quant:hunter2secret@127.0.0.1",
    ],
)
def test_no_refusal_tells_a_password(url):
    with pytest.raises((StoreError, ConfigError)) as caught:
        Database(url)
    shown = [str(caught.value), repr(caught.value), "".join(traceback.format_exception(caught.value))]
    assert "hunter2" not in "".join(shown).replace(repr(url), "")
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_a_store_does_not_show_its_password(postgres):
    name = postgres.create(postgres.with_tables)
    plain = postgres.url(name)
    for url in (plain.replace("postgres:@", "postgres:hunter2secret@"), plain + "&password=hunter2secret"):
        db = Database(url)
        insert(db, BTC | {"symbol": f"X{len(url)}-USD"})
        with pytest.raises(StoreError) as caught:
            insert(db, BTC | {"symbol": f"X{len(url)}-USD"})
        assert "***" in repr(db) and "***" in str(caught.value)
        for text in (repr(db), str(db), str(db.url), db.url.render_as_string(), str(caught.value)):
            assert "hunter2" not in text
        assert db.url.password == "hunter2secret"
        db.close()
    postgres.drop(name)


def test_the_stores_of_these_tests_are_what_they_say(db):
    with db.read() as c:
        version = c.exec_driver_sql("SELECT sqlite_version()" if db.is_sqlite else "SHOW server_version").scalar()
    assert int(version.split(".")[0]) in ([3] if db.is_sqlite else range(14, 30))
