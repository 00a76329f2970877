"Connections are counted, shared, given back and, when a server drops them, told apart: read again, look, or write again."

import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from stores import dump

from rrr.core.errors import StoreError
from rrr.core.settings import load_settings
from rrr.store import db as db_module
from rrr.store.bars import bars_frame, read_bars
from rrr.store.db import APPLICATION_ID, ConnectionLost, Database, UnknownOutcome, get_engine, make_engine
from rrr.store.schema import SymbolRow
from rrr.store.writer import write_bars

BTC = dict(symbol="BTC-USD", base="BTC", quote="USD")
SECONDS = float(os.environ.get("TEST_POOL_SECONDS", "5"))


def insert(db: Database, symbol: str = "BTC-USD") -> None:
    with db.write() as c:
        c.execute(sa.insert(SymbolRow), BTC | {"symbol": symbol})


def symbols(c: sa.Connection) -> list[str]:
    return list(c.execute(sa.select(SymbolRow.__table__.c.symbol).order_by("symbol")).scalars())


# The pool


def test_the_pool_says_its_bounds_and_what_is_in_use(db_url):
    db = Database(db_url, pool_min=2, pool_max=3, pool_timeout=0.05)
    assert {k: db.pool_stats()[k] for k in ("min", "max", "timeout_s", "in_use")} == dict(
        min=2, max=3, timeout_s=0.05, in_use=0
    )
    with db.read(), db.read(), db.read():
        assert db.pool_stats()["in_use"] == 3 and db.pool_stats()["idle"] == 0
        with pytest.raises(
            StoreError, match="all 3 connections of .* are in use and none came free within 0.05 s: .*DATABASE_POOL"
        ):
            with db.read():
                pass
    stats = db.pool_stats()
    assert (stats["in_use"], stats["peak"], stats["timeouts"], stats["idle"], stats["open"]) == (0, 3, 1, 2, 2)
    db.close()


def test_a_block_that_raises_gives_its_connection_back(db_url):
    db = Database(db_url, pool_min=1, pool_max=1, pool_timeout=0.05)
    for use in (db.read, db.write) * 3:
        with pytest.raises(RuntimeError), use():
            raise RuntimeError
    with pytest.raises(StoreError), db.write() as c:
        c.exec_driver_sql("select from where")
    assert db.pool_stats()["in_use"] == 0 and db.fetch(symbols) == []
    db.close()


def test_twenty_threads_on_a_small_pool_leak_nothing_and_do_not_lock_each_other_out(db_url):
    db = Database(db_url, pool_min=2, pool_max=6, pool_timeout=30)
    insert(db)
    frame = bars_frame(range(0, 6_000, 60), [[1, 2, 0.5, 1.5, 10]] * 100)
    write_bars(db, "BTC-USD", "1m", frame, "file.csv")
    end, done = time.monotonic() + SECONDS, [0] * 20

    def work(number: int) -> None:
        while time.monotonic() < end:
            if number % 4 == 0:
                insert(db, f"T{number}N{done[number]}-USD")
            elif number % 4 == 1:
                with pytest.raises(RuntimeError), db.write() as c:
                    c.execute(sa.insert(SymbolRow), BTC | {"symbol": f"LOST{number}-USD"})
                    raise RuntimeError
            else:
                assert len(read_bars(db, "BTC-USD", "1m")) == 100
            done[number] += 1

    with ThreadPoolExecutor(20) as threads:
        list(threads.map(work, range(20)))
    stats = db.pool_stats()
    assert (stats["in_use"], stats["timeouts"]) == (0, 0) and stats["peak"] <= 6 and stats["open"] <= 2
    assert min(done) > 0 and threading.active_count() < 20
    stored = db.fetch(symbols)
    assert len(stored) == 1 + sum(done[k] for k in range(0, 20, 4)) and not any("LOST" in s for s in stored)
    db.close()


def test_connections_are_given_in_the_order_in_which_they_are_asked_for(db_url):
    db = Database(db_url, pool_min=1, pool_max=1, pool_timeout=30)
    served, waiting = [], db._pool._turns._waiting

    def ask(number: int) -> None:
        with db.read():
            served.append(number)

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(8)]
    with db.read():
        for k, thread in enumerate(threads):
            thread.start()
            while len(waiting) <= k:
                pass
    for thread in threads:
        thread.join()
    assert served == list(range(8))
    db.close()


def test_an_interrupted_wait_costs_no_connection(db_url, monkeypatch):
    db = Database(db_url, pool_min=1, pool_max=1, pool_timeout=30)

    def interrupt(self, timeout=None):
        raise KeyboardInterrupt

    for _ in range(3):
        with db.read():
            with monkeypatch.context() as m:
                m.setattr(threading.Event, "wait", interrupt)
                with pytest.raises(KeyboardInterrupt), db.read():
                    pass
    assert db.fetch(symbols) == [] and db.pool_stats()["in_use"] == 0
    db.close()


def test_threads_share_a_store_in_memory_one_after_the_other():
    db = Database("sqlite://")
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda k: insert(db, f"T{k}-USD"), range(80)))
    assert len(db.fetch(symbols)) == 80
    db.close()


# SQLite's file


def test_a_new_file_and_its_folder_are_for_their_owner_alone(tmp_path):
    db = Database(f"sqlite:///{tmp_path}/data/db/trading.db")
    insert(db)
    assert stat.S_IMODE(db.path.stat().st_mode) == 0o600 and stat.S_IMODE(db.path.parent.stat().st_mode) == 0o700
    with db.read() as c:
        assert c.exec_driver_sql("PRAGMA application_id").scalar() == APPLICATION_ID
        assert c.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    db.close()


def test_the_file_of_another_program_is_refused_and_left_alone(tmp_path):
    import sqlite3

    path = tmp_path / "trading.db"
    other = sqlite3.connect(path)
    other.executescript("PRAGMA application_id = 77; CREATE TABLE mine (x)")
    other.close()
    before = path.read_bytes()
    settings = load_settings(tmp_path, database_url=f"sqlite:///{path}")
    for use in (lambda: Database(f"sqlite:///{path}"), lambda: get_engine(settings)):
        with pytest.raises(StoreError, match="the file of another program .application id 0x4d"):
            use()
    assert path.read_bytes() == before


def test_a_pragma_that_is_not_in_force_is_a_refusal(tmp_path, monkeypatch):
    asked = dict(db_module.sqlite_pragmas())
    monkeypatch.setattr(db_module, "sqlite_pragmas", lambda: asked | {"synchronous": ("OFF", 3)})
    with pytest.raises(StoreError, match="SQLite does not take synchronous = OFF .it says 0."):
        Database(f"sqlite:///{tmp_path}/trading.db")


# PostgreSQL's server


@pytest.fixture
def served(postgres):
    name = postgres.create(postgres.with_tables)
    db = Database(postgres.url(name))
    yield db
    db.close()
    postgres.drop(name)


def end_server_process(postgres, c: sa.Connection) -> None:
    postgres.execute(f"select pg_terminate_backend({c.exec_driver_sql('select pg_backend_pid()').scalar()})")


def test_a_read_that_loses_its_connection_is_repeated(served, postgres):
    insert(served)
    tries = []

    def query(c):
        tries.append(len(tries))
        if len(tries) < 3:
            end_server_process(postgres, c)
        return symbols(c)

    assert served.fetch(query, waits=(0, 0)) == ["BTC-USD"] and tries == [0, 1, 2]
    tries.clear()
    with pytest.raises(ConnectionLost):
        served.fetch(query, waits=(0,))
    assert served.pool_stats()["in_use"] == 0


def test_a_query_that_is_wrong_is_not_repeated(served):
    tries = []

    def query(c):
        tries.append(1)
        c.exec_driver_sql("select nothing from nowhere")

    with pytest.raises(StoreError, match="nowhere"):
        served.fetch(query, waits=(0, 0))
    assert len(tries) == 1


def test_a_connection_that_died_while_idle_is_replaced_unseen(served, postgres):
    insert(served)
    postgres.execute(f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{served.url.database}'")
    insert(served, "ETH-USD")
    assert served.fetch(symbols) == ["BTC-USD", "ETH-USD"]


def test_a_cancelled_query_is_not_taken_for_a_lost_connection(served):
    tries = []

    def query(c):
        tries.append(1)
        c.exec_driver_sql("set local statement_timeout = 50")
        c.exec_driver_sql("select pg_sleep(5)")

    with pytest.raises(StoreError, match="canceling statement") as caught:
        served.fetch(query, waits=(0, 0))
    assert len(tries) == 1 and type(caught.value) is StoreError


def test_a_write_that_loses_its_connection_wrote_nothing_and_is_not_repeated(served, postgres):
    tries = []
    with pytest.raises(ConnectionLost), served.write() as c:
        tries.append(1)
        c.execute(sa.insert(SymbolRow), BTC)
        end_server_process(postgres, c)
        c.execute(sa.insert(SymbolRow), BTC | {"symbol": "ETH-USD"})
    assert len(tries) == 1 and dump(served)["symbols"] == []


@pytest.mark.parametrize("arrives", [False, True])
def test_a_connection_lost_while_committing_leaves_the_outcome_open_and_says_so(served, postgres, monkeypatch, arrives):
    commit = served.engine.dialect.do_commit

    def cut(raw):
        with raw.cursor() as cursor:
            pid = cursor.execute("select pg_backend_pid()").fetchone()[0]
            if arrives:
                cursor.execute("commit")
        postgres.execute(f"select pg_terminate_backend({pid})")
        raw.execute("select 1")
        commit(raw)

    monkeypatch.setattr(served.engine.dialect, "do_commit", cut)
    with pytest.raises(UnknownOutcome, match="was lost while it committed .*: look whether the write is there"):
        insert(served)
    monkeypatch.undo()
    assert served.fetch(symbols) == (["BTC-USD"] if arrives else [])


def test_a_server_that_may_lose_what_it_confirmed_is_refused(postgres):
    name = postgres.create(postgres.with_tables)
    postgres.execute(f"alter database {name} set synchronous_commit = off")
    with pytest.raises(
        StoreError, match="may lose what it confirmed: synchronous_commit is off, not on or remote_apply"
    ):
        Database(postgres.url(name))
    postgres.drop(name)


def test_locks_and_idle_transactions_have_limits(served):
    other = Database(served.url, pool_timeout=0.2)
    with served.write() as c:
        c.exec_driver_sql("lock table symbols in access exclusive mode")
        with pytest.raises(StoreError, match="lock timeout"):
            other.fetch(symbols)
    with other.read() as c:
        assert c.exec_driver_sql("show idle_in_transaction_session_timeout").scalar() == "0"
    with other.write() as c:
        assert c.exec_driver_sql("show idle_in_transaction_session_timeout").scalar() == "10min"
    other.close()


def test_the_transaction_pooler_of_supabase_gets_no_pool_and_no_prepared_statements(served, monkeypatch):
    engine = make_engine("postgres://postgres.abc:secret@aws-0-eu.pooler.supabase.com:6543/postgres")
    assert isinstance(engine.pool, sa.pool.NullPool) and engine.url.drivername == "postgresql+psycopg"
    monkeypatch.setattr(db_module, "POOLER_PORT", served.url.port)
    db = Database(served.url)
    assert isinstance(db.engine.pool, sa.pool.NullPool)
    frame = bars_frame(range(0, 6_000, 60), [[1, 2, 0.5, 1.5, 10]] * 100)
    for _ in range(2):
        write_bars(db, "BTC-USD", "1m", frame, "file.csv")
    assert len(read_bars(db, "BTC-USD", "1m")) == 100 and db.pool_stats()["open"] == 0
    with db.read() as c:
        assert c.connection.driver_connection.prepare_threshold is None
    db.close()
