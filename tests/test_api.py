"The API tells what the store holds, digit for digit, to this machine only, and changes nothing."

import hashlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal

import psutil
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from stores import KINDS, dump, store_url

import rrr
from rrr.api.app import MOST, ROUTES, create_app
from rrr.backtest.run import backtest, save
from rrr.core.trading import Portfolio
from rrr.data.ingest import import_mock
from rrr.engine.replay import replay
from rrr.execution.costs import Costs
from rrr.store import accounts, runs
from rrr.store.bars import epoch_ms, read_bars
from rrr.store.db import Database
from rrr.store.schema import BacktestRunRow
from rrr.strategy.library import sma_cross

D = Decimal
PARAMS = dict(fast=5, slow=20)


def client_of(db: Database) -> TestClient:
    return TestClient(create_app(db), base_url="http://127.0.0.1:8000")


@pytest.fixture(scope="module", params=KINDS)
def filled(request, tmp_path_factory):
    "A store with synthetic bars, two backtests, a replay, and an account with odd amounts; and the replay's name."
    with store_url(request.param, request, tmp_path_factory.mktemp("api"), tables=True) as url:
        db = Database(url)
        import_mock(db, "BTC-USD", "1h", 600)
        bars = read_bars(db, "BTC-USD", "1h")
        for capital in (100_000.0, 50_000.0):
            save(backtest(sma_cross, bars, PARAMS, Costs(fee_bps=10), capital), db)
        accounts.open_account(db, "odd", D("12345678901234567890.123456789012345678"), 0)
        odd = (86_400_000, D("0.000000000000000001"), D("99999999999999999999.999999999999999999"))
        accounts.record_marks(db, "odd", [odd], Portfolio(odd[1]), {})
        start = int(epoch_ms(bars.index)[100])
        account = replay(sma_cross, PARAMS, bars, start, Costs(fee_bps=10), D(100_000), db)
        yield db, client_of(db), account
        db.close()


def every_path(db: Database) -> list[str]:
    _, found = runs.list_backtests(db)
    return ["/", *(path.replace("{run_id}", found[0]["run_id"] if found else "none") for path in ROUTES)]


def amounts(row: dict, names: str) -> dict[str, Decimal]:
    return {name: D(row[name]) for name in names.split()}


def everything(client: TestClient, path: str, **params) -> list[dict]:
    "All items of a list, page by page."
    items = []
    for offset in itertools.count(0, 7):
        page = client.get(path, params={"limit": 7, "offset": offset} | params).json()
        assert (page["limit"], page["offset"]) == (7, offset)
        assert len(page["items"]) == max(0, min(7, page["total"] - offset))
        items += page["items"]
        if offset > page["total"]:
            return items


# What is there


def test_an_empty_store_answers_with_zeros_and_empty_lists(db):
    client = client_of(db)
    portfolio = client.get("/api/portfolio").json()
    assert {k: v for k, v in portfolio.items() if v is not None} == {
        "cash": "0", "equity": "0", "positions_value": "0", "opening_cash": "0", "total_pnl": "0", "daily_pnl": "0",
        "total_return": 0.0, "daily_return": 0.0,
    }  # fmt: skip
    for status in ("open", "closed", "all"):
        assert client.get("/api/portfolio/positions", params={"status": status}).json() == []
    for path in ("/api/trades", "/api/performance/equity-curve", "/api/backtests"):
        page = client.get(path).json()
        assert (page["total"], page["offset"], page["items"]) == (0, 0, [])
    health = client.get("/health").json()
    assert (health["status"], health["version"]) == ("ok", rrr.__version__)
    assert health["database"] == db.url.get_backend_name()
    assert client.get("/").json() == {"service": "RRR", "routes": list(ROUTES)}


def test_the_portfolio_is_the_one_in_the_store(filled):
    db, client, account = filled
    told, last = client.get("/api/portfolio").json(), accounts.last_snapshot(db, account)
    session = dict(account=account, strategy="sma_cross", status="done", synthetic=True)
    assert {k: told[k] for k in session} == session
    assert amounts(told, "cash equity") == {"cash": last["cash"], "equity": last["equity"]}
    assert D(told["positions_value"]) == last["equity"] - last["cash"] and D(told["opening_cash"]) == D(100_000)
    assert D(told["total_pnl"]) == last["equity"] - D(100_000)
    assert D(told["daily_pnl"]) == last["daily_pnl"] and told["daily_return"] == last["daily_return"]
    assert told["total_return"] == float((last["equity"] - D(100_000)) / D(100_000)) != 0.0
    assert datetime.fromisoformat(told["as_of"]) == last["timestamp"] == datetime(2025, 1, 1, tzinfo=UTC)
    assert client.get("/api/portfolio", params={"account": account}).json() == told


def test_holdings_are_those_in_the_store_the_open_ones_unless_others_are_asked_for(filled):
    db, client, account = filled
    money = "quantity entry_price current_price unrealized_pnl realized_pnl total_pnl fees"
    times = ("opened_at", "closed_at", "updated_at")
    for asked, status in ((None, "open"), ("open", "open"), ("closed", "closed"), ("all", None)):
        params = {"account": account} | ({"status": asked} if asked else {})
        told = client.get("/api/portfolio/positions", params=params).json()
        stored = accounts.list_positions(db, account, status)
        assert [amounts(p, money) for p in told] == [amounts(p, money) for p in stored]
        for p, row in zip(told, stored, strict=True):
            assert [p[k] and datetime.fromisoformat(p[k]) for k in times] == [row[k] for k in times]
            same = p.keys() - set(times) - set(money.split())
            assert {k: p[k] for k in same} == {k: row[k] for k in same}
            assert {"position_id", "symbol", "side", "status", "strategy_id", "open_order_id", "close_order_id"} == same
    assert len(accounts.list_positions(db, account, "closed")) > 3
    assert len(stored) == len(accounts.list_positions(db, account, "closed")) + len(
        accounts.list_positions(db, account, "open")
    )
    for wrong in ("", "OPEN", "short", "open,closed"):
        assert client.get("/api/portfolio/positions", params={"status": wrong}).status_code == 422


def test_fills_and_curve_are_those_in_the_store(filled):
    db, client, account = filled
    told, (total, stored) = everything(client, "/api/trades"), accounts.list_fills(db, account)
    assert len(told) == total > 7
    for fill, row in zip(told, stored, strict=True):
        assert amounts(fill, "quantity price value fee") == amounts(row, "quantity price value fee")
        same = ("fill_id", "order_id", "symbol", "side")
        assert [fill[k] for k in same] == [row[k] for k in same]
        assert datetime.fromisoformat(fill["timestamp"]) == row["timestamp"] and fill["timestamp"].endswith("Z")
    told, (total, stored) = everything(client, "/api/performance/equity-curve"), accounts.equity_curve(db, account)
    assert [amounts(p, "cash equity") for p in told] == [amounts(p, "cash equity") for p in stored]
    assert [datetime.fromisoformat(p["timestamp"]) for p in told] == [p["timestamp"] for p in stored]
    assert len(told) == total == 500


def test_backtests_are_those_in_the_store(filled):
    db, client, _ = filled
    page, (total, stored) = client.get("/api/backtests").json(), runs.list_backtests(db)
    assert page["total"] == total == 2
    for told, row in zip(page["items"], stored, strict=True):
        detail = client.get(f"/api/backtests/{row['run_id']}").json()
        run, trips = runs.get_backtest(db, row["run_id"])
        assert detail["equity"] == run["equity"] and len(run["equity"]) == 300
        assert {k: v for k, v in detail.items() if k not in ("equity", "trades", "inputs")} == told
        assert detail["inputs"] == run["inputs"] and {x["symbol"] for x in run["inputs"]} == {"BTC-USD"}
        for key in set(told) - {"capital", "created_at"}:
            assert told[key] == row[key], key
        assert D(told["capital"]) == row["capital"]
        assert datetime.fromisoformat(told["created_at"]) == row["created_at"]
        seen = [t | {"run_id": row["run_id"]} for t in detail["trades"]["items"]]
        assert seen == trips and detail["trades"]["total"] == len(trips) > 3
        path, size = f"/api/backtests/{row['run_id']}", {"limit": 2, "offset": 1}
        assert client.get(path, params=size).json()["trades"]["items"] == detail["trades"]["items"][1:3]


def test_amounts_keep_all_their_digits_and_have_no_exponent(filled):
    _, client, _ = filled
    told = client.get("/api/portfolio", params={"account": "odd"}).json()
    assert told["cash"] == "0.000000000000000001" and told["equity"] == "99999999999999999999.999999999999999999"
    assert told["opening_cash"] == "12345678901234567890.123456789012345678"
    assert told["positions_value"] == "99999999999999999999.999999999999999998"
    assert told["total_pnl"] == "87654321098765432109.876543210987654321"
    for path in ("/api/trades", "/api/performance/equity-curve"):
        for item in client.get(path, params={"limit": MOST}).json()["items"]:
            texts = [v for v in item.values() if isinstance(v, str) and v.replace(".", "").isdigit()]
            assert all(not (t.endswith("0") and "." in t) for t in texts)


def test_each_account_is_shown_apart(filled):
    _, client, account = filled
    assert client.get("/api/trades", params={"account": "odd"}).json()["total"] == 0
    assert client.get("/api/portfolio/positions", params={"account": "odd", "status": "all"}).json() == []
    assert client.get("/api/performance/equity-curve", params={"account": account}).json()["total"] == 500


def test_an_account_opened_without_cash_is_no_error(db):
    accounts.open_account(db, "empty", D(0), 0)
    told = client_of(db).get("/api/portfolio").json()
    assert (told["account"], told["cash"], told["total_return"], told["strategy"]) == ("empty", "0", 0.0, None)


def test_many_requests_at_once_get_the_same_answers(filled):
    db, client, _ = filled
    paths = [p for p in every_path(db) if p != "/health"]
    alone = [client.get(p).text for p in paths]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda p: client.get(p).text, paths * 4)) == alone * 4


# What is refused

BAD = [
    "", "-1", "+5", " 5", "5 ", "1.0", "1e2", "1_0", "0x10", "NaN", "nan", "inf", "-inf", "true", "null", "[]", "٣",
    "１２", "²", "10" * 15, "9" * 5000, "5\0", "5;--",
]  # fmt: skip


def test_bounds_of_a_page_are_plain_whole_numbers_in_range(filled):
    db, client, _ = filled
    paged = [p for p in every_path(db) if p in ("/api/trades", "/api/backtests") or "curve" in p or "backtests/" in p]
    assert len(paged) == 4
    for path in paged:
        for params in [{"limit": v} for v in [*BAD, "0", str(MOST + 1)]] + [
            {"offset": v} for v in [*BAD, str(2**53 + 1)]
        ]:
            answer = client.get(path, params=params)
            assert answer.status_code == 422, params
            (problem,) = answer.json()["detail"]
            assert problem["loc"] == ["query", *params] and problem["msg"]
        for params in ({"limit": 1}, {"limit": MOST}, {"offset": 0}, {"offset": 2**53}, {"limit": "007"}):
            assert client.get(path, params=params).status_code == 200, params


def test_an_unknown_run_or_account_is_a_404_with_a_sentence(filled):
    _, client, _ = filled
    accounts_of = ("/api/portfolio", "/api/portfolio/positions", "/api/trades", "/api/performance/equity-curve")
    for name in ("nobody", "' OR 1=1 --", "%", "ä€😀", "\\", "ODD", "odd "):
        for path in accounts_of:
            answer = client.get(path, params={"account": name})
            assert answer.status_code == 404 and answer.json() == {"detail": f"no account {name!r} in the store."}
    answer = client.get("/api/backtests/none")
    assert answer.status_code == 404 and answer.json() == {"detail": "no backtest run 'none' in the store."}
    for path in accounts_of:
        for name in ("", "a" * 65, "a\0b", "a\nb", "\x7f"):  # what a database may refuse is not asked of it
            assert client.get(path, params={"account": name}).status_code == 422, repr(name)
    for name in ("a%00b", "%0a", "a" * 65):
        assert client.get(f"/api/backtests/{name}").status_code == 422
    for path in ("/api", "/api/portfolios", "/docs", "/redoc", "/api/backtests/a/b", "/../etc/passwd", "/static/x"):
        assert client.get(path).status_code == 404, path


def test_a_request_for_another_host_is_refused(filled):
    db, client, _ = filled
    hostile = (
        "evil.example", "127.0.0.1.evil.example", "evil.example:8000", "evil@127.0.0.1", "127.0.0.1@evil.example", "",
        "127.0.0.1:80@evil.example", "localhost.evil.example", "0.0.0.0", "[::1", "127.0.0.1, evil.example", "*",
        "127.0.0.2", "127.1", "2130706433", "127.0.0.1/evil", "local host",
    )  # fmt: skip
    for path in [*every_path(db), "/openapi.json", "/nowhere"]:
        for host in hostile:
            assert client.get(path, headers={"host": host}).status_code == 400, host
    for host in ("127.0.0.1", "127.0.0.1:8000", "localhost", "localhost:1234", "LOCALHOST", "[::1]:8000", "[::1]"):
        assert client.get("/health", headers={"host": host}).status_code == 200, host


def test_no_other_site_is_let_in_by_the_browser(filled):
    _, client, _ = filled
    answer = client.get("/api/portfolio", headers={"origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answer.headers["content-type"] == "application/json"


def test_there_is_no_way_to_write(filled):
    db, client, _ = filled
    for path in [*every_path(db), "/openapi.json"]:
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"):
            assert client.request(method, path, json={"cash": 1}).status_code == 405, (method, path)


# What it promises


def test_every_route_has_a_typed_answer_and_is_in_the_reference(filled):
    _, client, _ = filled
    reference = client.get("/openapi.json").json()
    assert set(reference["paths"]) == set(ROUTES) and len(ROUTES) == 7
    for path in ROUTES:
        assert list(reference["paths"][path]) == ["get"]
        answer = reference["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert "$ref" in answer or "$ref" in answer["items"], path
    portfolio = reference["components"]["schemas"]["PortfolioOut"]["properties"]
    assert portfolio["cash"]["type"] == "string" and "http" not in client.get("/openapi.json").text


def test_no_request_changes_the_database(filled):
    db, client, account = filled

    def state():
        if db.is_sqlite:
            return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in db.path.parent.iterdir()}
        return dump(db)

    before = state()
    for path in [*every_path(db), "/openapi.json", "/api/backtests/none", "/api/trades?limit=-1", "/nowhere"]:
        for params in ({}, {"account": account}, {"account": "x'; DROP TABLE trades; --"}, {"limit": 1, "offset": 3}):
            client.get(path, params=params)
        client.post(path, json={})
    assert state() == before


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_a_database_that_goes_away_is_a_503_that_tells_nothing(db, request, how):
    client = client_of(db)
    paths = every_path(db)[1:]
    assert {client.get(p).status_code for p in paths} == {200, 404}
    if not db.is_sqlite:
        postgres = request.getfixturevalue("postgres")
        if how == "gone":
            postgres.drop(db.url.database)
        else:
            postgres.execute(f'alter database "{db.url.database}" with allow_connections false')
            others = f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{db.url.database}'"
            postgres.execute(others)
    elif how == "gone":
        db.path.unlink()
    else:
        db.path.write_bytes(b"\xff" * db.path.stat().st_size)
    for path in paths:
        answer = client.get(path)
        assert answer.status_code == 503 and answer.json() == {"detail": "the database does not answer"}, path
    assert client.get("/").status_code == 200
    if db.is_sqlite and how == "gone":
        assert not db.path.exists()


def test_what_is_not_in_the_store_is_not_made_up(db):
    "A row that is not what the API promises is an error of ours, told without its inside."
    import_mock(db, "BTC-USD", "1h", 60)
    save(backtest(sma_cross, read_bars(db, "BTC-USD", "1h"), PARAMS), db, "r1")
    with db.write() as c:
        c.execute(sa.update(BacktestRunRow).values(metrics={"sharpe": "secret text"}))
    client = TestClient(create_app(db), base_url="http://127.0.0.1", raise_server_exceptions=False)
    answer = client.get("/api/backtests/r1")
    assert answer.status_code == 500 and answer.text == "Internal Server Error"


def test_the_command_serves_this_machine_and_no_other(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = "import sys; from rrr.app.cli import main; sys.exit(main())"
    line = [sys.executable, "-c", command, "--home", str(tmp_path), "serve", "--port", str(port)]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        try:
            said = []
            for text in server.stderr:
                said.append(text)
                if "running on" in text:
                    break
            assert f"http://127.0.0.1:{port} " in said[-1], "".join(said)
            listening = [c.laddr for c in psutil.Process(server.pid).net_connections() if c.status == "LISTEN"]
            assert [(a.ip, a.port) for a in listening] == [("127.0.0.1", port)]
            with socket.create_connection(("127.0.0.1", port), 10) as s:
                s.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                head, _, body = b"".join(iter(lambda: s.recv(65536), b"")).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ") and b"\r\nserver:" not in head.lower()
            assert json.loads(body)["status"] == "ok"
        finally:
            os.kill(server.pid, signal.SIGTERM)
            server.communicate(timeout=20)
