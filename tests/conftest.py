"What tests share: where real market data lies, when it is there, and real databases."

import os
from pathlib import Path

import pytest
from hypothesis import settings
from redis_server import RedisServer
from stores import KINDS, Postgres, store_url

from rrr.store.db import Database

# The same examples in every run, so that a failure is the change's doing. `--hypothesis-profile=hunt` draws new ones.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("hunt", deadline=None, print_blob=True)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    "Folder of real exchange files; the test is skipped where there is none."
    folder = Path(os.environ.get("TEST_MARKET_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real market data in {folder} (set TEST_MARKET_DATA)")
    return folder


@pytest.fixture(scope="session")
def postgres():
    "A PostgreSQL server; tests that need it fail where it cannot be started."
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_server():
    "A Redis server; tests that need it fail where it cannot be started."
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture(params=KINDS)
def url(request, tmp_path) -> str:
    "The URL of an empty database, once SQLite and once PostgreSQL."
    with store_url(request.param, request, tmp_path) as url:
        yield url


@pytest.fixture(params=KINDS)
def db_url(request, tmp_path) -> str:
    "The URL of a database that a store can be opened on, once SQLite and once PostgreSQL."
    with store_url(request.param, request, tmp_path, tables=True) as url:
        yield url


@pytest.fixture
def db(db_url) -> Database:
    "A fresh store, once on SQLite and once on PostgreSQL."
    database = Database(db_url)
    yield database
    database.close()
