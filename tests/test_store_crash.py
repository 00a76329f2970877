"However an import is cut off, repeated or doubled, the store ends with the rows of one clean import."

import os
import signal
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from children import ended, in_child
from stores import dump

from rrr.core.market import OHLCV
from rrr.data.ingest import import_file
from rrr.store.bars import bars_frame, data_hash, get_series, read_bars
from rrr.store.db import Database
from rrr.store.ticks import write_trades
from rrr.store.writer import write_bars

KILLS = 50
START = 1_704_067_200_000


def bars(first: int, count: int) -> pd.DataFrame:
    at = np.arange(first, first + count)
    return bars_frame(START + 60_000 * at, np.column_stack([at + k for k in (10.0, 12.0, 9.0, 11.0, 1.0)]))


def tape(first: int, count: int) -> pd.DataFrame:
    at = np.arange(first, first + count)
    index = pd.to_datetime(START * 1_000_000 + at, unit="ns", utc=True)
    return pd.DataFrame({"trade_id": at.astype(str), "price": 1 + at / 8, "size": 1.0, "side": "buy"}, index=index)


def content(db: Database) -> dict:
    "Everything in the store but the moments of the imports, which restated bars carry too."
    tables = dump(db)
    series = [[v for v in row if not hasattr(v, "tzinfo")] for row in tables["series"]]
    return tables | {"series": series} | {t: [row[:-1] for row in tables[t]] for t in ("market_data", "bar_versions")}


def killed_at(url: str, work: Callable[[Database], None], moment: int | None) -> list[int]:
    "Do the work; be killed as the given statement or commit starts. Count them when there is no such moment."
    db, seen = Database(url), [0]

    def step(*_):
        seen[0] += 1
        if seen[0] == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    for event in ("before_cursor_execute", "commit"):
        sa.event.listen(db.engine, event, step)
    work(db)
    db.close()
    return seen


@pytest.fixture
def csv(tmp_path):
    def csv(frame: pd.DataFrame, name: str):
        path = tmp_path / name
        table = frame[OHLCV].assign(timestamp=frame.index.as_unit("ms").asi8)
        table[["timestamp", *OHLCV]].to_csv(path, index=False)
        return path

    return csv


WORKS = {
    "a file": lambda db, path: import_file(db, path, "BTC-USD"),
    "a file over older bars": lambda db, path: import_file(db, path, "BTC-USD"),
    "parts": lambda db, path: [
        write_bars(db, "BTC-USD", "1m", bars(k, 1000), "long.csv", more=k < 4000) for k in range(0, 5000, 1000)
    ],
    "trades": lambda db, path: [write_trades(db, "BTC-USD", "coinbase", tape(k, 1000)) for k in range(0, 5000, 1000)],
}


def old_bars(db: Database) -> None:
    with db.write() as c:
        for table in ("market_data", "bar_versions", "trades_data", "series", "symbols"):
            c.exec_driver_sql(f"DELETE FROM {table}")
    write_bars(db, "ETH-USD", "1m", bars(0, 10), "eth.csv")
    write_bars(db, "BTC-USD", "1m", bars(1000, 500) * 1.5, "old.csv")


def no_bars(db: Database) -> None:
    old_bars(db)
    with db.write() as c:
        for table in ("market_data", "bar_versions", "series", "symbols"):
            c.exec_driver_sql(f"DELETE FROM {table}")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("what", WORKS)
def test_an_import_killed_anywhere_and_repeated_leaves_what_one_clean_import_leaves(db_url, csv, what):
    work = partial(WORKS[what], path=csv(bars(0, 5000), "bars.csv"))
    prepare = old_bars if what == "a file over older bars" else no_bars
    db, killed = Database(db_url), 0
    prepare(db)
    steps, clean = killed_at(db_url, work, None)[0], content(db)
    for moment in np.linspace(1, steps, KILLS).round().astype(int).tolist():
        prepare(db)
        before = content(db)
        code = ended(in_child(partial(killed_at, db_url, work, moment)))
        assert code in (0, -signal.SIGKILL)
        killed += code != 0
        if what.startswith("a file"):
            assert content(db) in (before, clean)  # whole or not at all
        work(db)
        assert content(db) == clean
    assert killed >= KILLS - 2
    if db.is_sqlite:
        with db.read() as c:
            assert c.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    db.close()


def test_processes_that_import_overlapping_files_at_once_leave_the_rows_of_both(db_url, csv):
    db = Database(db_url)
    paths = [csv(bars(first, 3000), f"{first}.csv") for first in (0, 1000, 2000)]
    ready, go = os.pipe()

    def child(path) -> None:
        os.read(ready, 1)
        store = Database(db_url)
        for _ in range(3):
            import_file(store, path, "BTC-USD")
        for first in range(0, 3000, 500):
            write_trades(store, "BTC-USD", "coinbase", tape(first + 100 * paths.index(path), 1000))
        store.close()

    pids = [in_child(partial(child, path)) for path in paths]
    os.write(go, b"ggg")
    assert [ended(pid) for pid in pids] == [0, 0, 0]
    stored = read_bars(db, "BTC-USD", "1m")
    assert stored.equals(bars(0, 5000)) and get_series(db, "BTC-USD", "1m")["data_hash"] == data_hash(stored)
    with db.read() as c:
        assert c.exec_driver_sql("select count(*), count(distinct trade_id) from trades_data").one() == (3700, 3700)
    db.close()
