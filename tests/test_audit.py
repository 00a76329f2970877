"The audit log only grows, in one chain without a gap, and whatever a tamperer does to it is found and located."

import hashlib
import json
import math
import signal
import subprocess
import sys
import threading
import tracemalloc
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import KINDS, dump, store_url

from rrr.core.errors import DataError, ParameterError, StoreError
from rrr.store import audit
from rrr.store.audit import START, AuditProblem, AuditReport, list_audit, record_audit, verify_audit
from rrr.store.db import Database
from rrr.store.schema import AuditRow, SymbolRow

LOG = AuditRow.__table__
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
TEXTS = [
    "limit.set",
    "ünïcödé €😀",
    'say "no"\n\ttwice',
    "it's; DROP TABLE audit_log --",
    "\\u0041 \\",
    "\x01\x7f\u2028",
]
DETAILS = [
    {},
    {"old": "0.10", "new": "0.15"},
    {"z": 0.1 + 0.2, "a": [5e-324, 1.7976931348623157e308, -0.0, 1e16, 1e-7, 1.0], "m": 2**200, "n": -(2**63)},
    {"ä€😀": {"b": None, "a": [True, False, [], {}]}, "": 'quote " \\ / \n \u2028', "nul": "a\0b"},
]


def fill(db: Database, rows: int = 200) -> None:
    "A log of odd rows, a microsecond and more apart."
    with db.write() as c:
        for k in range(rows):
            texts = [TEXTS[(k + i) % len(TEXTS)] for i in range(4)]
            record_audit(c, *texts[:3], subject=texts[3] * (k % 3), details=DETAILS[k % 4],
                         at=NOON + timedelta(microseconds=k * 1_000_003))  # fmt: skip


def rows_of(db: Database) -> list[dict]:
    with db.read() as c:
        return [dict(r) for r in c.execute(sa.select(LOG).order_by(LOG.c.seq)).mappings()]


@contextmanager
def tampering(db: Database):
    "A connection that may do everything, as the owner of the database can."
    with db.write() as c:
        if db.is_sqlite:
            triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_log'"
            for name in c.exec_driver_sql(triggers).scalars().all():
                c.exec_driver_sql(f"DROP TRIGGER {name}")
        else:
            c.exec_driver_sql("ALTER TABLE audit_log DISABLE TRIGGER ALL")
        yield c


def put(c: sa.Connection, rows: list[dict]) -> None:
    "Make the log hold these rows."
    c.execute(sa.delete(LOG))
    if rows:
        c.execute(sa.insert(LOG), rows)


def found(report: AuditReport) -> list[tuple[int, str]]:
    assert report.ok == (not report.problems)
    return [(p.seq, p.kind) for p in report.problems]


def hash_by_the_book(row: dict) -> str:
    "The hash as it is documented, from the columns as they come out of the store."
    at = row["timestamp"].isoformat(" ", "microseconds")
    body = {k: row[k] for k in ("seq", "actor", "action", "subject", "cause")}
    text = json.dumps(body | {"timestamp": at, "details": json.dumps(row["details"])}, sort_keys=True)
    return hashlib.sha256(f"{row['prev_hash']}\n{text}".encode()).hexdigest()


def rehashed(row: dict, **other) -> dict:
    "A forged row whose hash fits."
    forged = row | other
    return forged | {"hash": hash_by_the_book(forged)}


# What is written


def test_an_empty_log_is_intact(db):
    assert verify_audit(db) == AuditReport(0, f"0:{START}", ()) and list_audit(db) == (0, [])
    assert verify_audit(db, head=f"0:{START}").ok


def test_a_row_comes_back_as_it_was_given(db):
    began = datetime.now(UTC)
    details = {"b": [1, 0.1 + 0.2], "a": {"d": None, "c": "€"}}
    assert record_audit(db, "ana", "limit.set", "calmer market", "max_drawdown", details) == 1
    at = datetime(2026, 1, 31, 1, 2, 3, 456789, timezone(timedelta(hours=5, minutes=30)))
    assert record_audit(db, "engine", "order.deny", "position limit", at=at) == 2
    total, (second, first) = list_audit(db)
    assert total == 2 and began <= first.pop("timestamp") <= datetime.now(UTC)
    assert second.pop("timestamp") == at and (second["subject"], second["details"]) == ("", {})
    told = dict(actor="ana", action="limit.set", cause="calmer market", subject="max_drawdown", details=details)
    assert {k: first[k] for k in told} == told and first["prev_hash"] == START and second["prev_hash"] == first["hash"]


def test_the_hash_is_the_documented_one_and_stays(db):
    fill(db, 24)
    rows = rows_of(db)
    assert [r["hash"] for r in rows] == [hash_by_the_book(r) for r in rows]
    assert [r["prev_hash"] for r in rows] == [START, *(r["hash"] for r in rows[:-1])]
    assert rows[-1]["hash"] == "39144f1723500db620a628340692e90d8eec75aee1bbd3ee9b56a729bc397a8f"


def test_the_same_rows_have_the_same_hashes_on_both_databases(request, tmp_path):
    logs = []
    for kind in KINDS:
        with store_url(kind, request, tmp_path, tables=True) as url:
            db = Database(url)
            fill(db)
            logs.append(rows_of(db))
            assert verify_audit(db).head == f"200:{logs[0][-1]['hash']}"
            db.close()
    assert logs[0] == logs[1] and len({r["hash"] for r in logs[0]}) == 200


def test_a_report_names_the_head_and_reads_as_a_table(db):
    fill(db, 3)
    report = verify_audit(db)
    last = rows_of(db)[-1]["hash"]
    assert report == AuditReport(3, f"3:{last}", ()) and repr(report) == f"3 rows, intact, head 3:{last}"
    with tampering(db) as c:
        c.execute(sa.update(LOG).where(LOG.c.seq == 2).values(actor="eve"))
    problem = AuditProblem(2, "changed", "row 2 was changed or put there: the hash does not fit.")
    report = verify_audit(db)
    assert report.problems == (problem,) and repr(report).splitlines() == [
        f"3 rows, 1 problem(s), head 3:{last}",
        "        2  changed     row 2 was changed or put there: the hash does not fit.",
    ]


def test_lists_are_newest_first_in_pages_and_by_actor_action_and_subject(db):
    for k in range(12):
        record_audit(db, "ana" if k % 2 else "ben", f"a{k % 3}", "why", f"s{k % 4}")
    numbers = lambda *a, **k: [r["seq"] for r in list_audit(db, *a, **k)[1]]  # noqa: E731
    assert numbers() == list(range(12, 0, -1)) and numbers(5, 10) == [2, 1] and numbers(3, 2) == [10, 9, 8]
    assert list_audit(db, limit=2, actor="ana")[0] == 6 and numbers(limit=2, actor="ana") == [12, 10]
    assert numbers(actor="ben", action="a2", subject="s2") == [3] and numbers(subject="s9") == []
    assert numbers(actor="Ana") == [] and numbers(subject="") == []


class Action(StrEnum):
    HALT = "halt"


def test_words_of_an_enumeration_are_stored_as_they_read(db):
    record_audit(db, "engine", Action.HALT, "drawdown", details={"action": Action.HALT, "steps": (1, 2)})
    (row,) = rows_of(db)
    assert row["action"] == "halt" and row["details"] == {"action": "halt", "steps": [1, 2]} and verify_audit(db).ok


# What is refused


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"actor": ""}, "an audit row needs actor as text that is not empty, not ''."),
        ({"action": " \n"}, "needs action as text that is not empty"),
        ({"cause": ""}, "needs cause as text that is not empty"),
        ({"cause": None}, "needs cause as text that is not empty, not None"),
        ({"subject": None}, "needs subject as text"),
        ({"actor": b"ana"}, "needs actor as text"),
        ({"cause": "a\0b"}, r"cause 'a\\x00b' of an audit row holds NUL, which PostgreSQL cannot store"),
        ({"subject": "\0"}, "subject .* holds NUL"),
        ({"cause": "\ud83d"}, "cause .* holds half a character"),
        ({"subject": "s" * 501}, "subject of an audit row has 501 characters: 500 at most"),
        ({"details": [1]}, "details of an audit row are a dict .* not list"),
        ({"details": {"a": math.nan}}, "finite numbers"),
        ({"details": {"a": {"b": [-math.inf]}}}, "finite numbers"),
        ({"details": {"a": Decimal("0.1")}}, "plain values and finite numbers .*Decimal is not JSON serializable"),
        ({"details": {"a": NOON}}, "plain values"),
        ({"details": {1: 1, "1": 2}}, "a dict with text for keys"),
        ({"details": {"a": "\udc00"}}, "surrogates not allowed"),
        ({"at": datetime(2026, 1, 31)}, "time 2026-01-31 00:00:00 of an audit row has no zone"),
    ],
)
def test_what_a_row_cannot_hold_is_refused(db, other, said):
    good = dict(actor="ana", action="limit.set", cause="calmer market")
    with pytest.raises(DataError, match=said):
        record_audit(db, **good | other)
    assert list_audit(db) == (0, [])
    assert record_audit(db, **good) == 1


def test_details_that_go_round_or_too_deep_are_refused(db):
    deep: dict = {}
    for _ in range(100_000):
        deep = {"a": deep}
    around: dict = {}
    around["a"] = around
    for details in (deep, around):
        with pytest.raises(DataError, match="details of an audit row are"):
            record_audit(db, "a", "b", "c", details=details)


def test_the_longest_words_are_taken_by_both_databases(db):
    wide = "".join(chr(0x20000 + k) for k in range(500))  # nothing that could be compressed
    record_audit(db, wide, wide, wide * 100, subject=wide)
    assert verify_audit(db).ok and list_audit(db, subject=wide)[0] == 1


@pytest.mark.parametrize("change", ["UPDATE audit_log SET cause = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"])
def test_the_database_refuses_to_change_or_remove_rows(db, change):
    if db.is_sqlite and change.startswith("TRUNCATE"):
        pytest.skip("SQLite has no TRUNCATE")
    fill(db, 3)
    before = dump(db)
    for statement in (change, change + " WHERE seq = 2" if not change.startswith("TRUNCATE") else change):
        with pytest.raises(StoreError, match="(?i)audit"), db.write() as c:
            c.exec_driver_sql(statement)
    assert dump(db) == before and verify_audit(db).rows == 3


def test_a_reading_connection_appends_nothing(db):
    with pytest.raises(StoreError, match="(?i)read-?only"), db.read() as c:
        record_audit(c, "ana", "limit.set", "calmer market")
    assert list_audit(db) == (0, [])


# With the change it speaks of


def test_a_row_commits_with_the_change_it_speaks_of_or_not_at_all(db):
    record_audit(db, "ana", "start", "first")
    for k in range(3):
        with pytest.raises(RuntimeError), db.write() as c:
            c.execute(sa.insert(SymbolRow), dict(symbol="BTC-USD", base="BTC", quote="USD"))
            assert record_audit(c, "ana", "symbol.add", f"try {k}", "BTC-USD") == 2
            assert record_audit(c, "ana", "symbol.add", f"try {k} again", "BTC-USD") == 3
            raise RuntimeError
    assert len(dump(db)["symbols"]) == 0
    with db.write() as c:
        c.execute(sa.insert(SymbolRow), dict(symbol="BTC-USD", base="BTC", quote="USD"))
        assert record_audit(c, "ana", "symbol.add", "now", "BTC-USD") == 2
    assert len(dump(db)["symbols"]) == 1 and verify_audit(db).ok and list_audit(db)[0] == 2


WRITER = """
import sys
from rrr.store.audit import record_audit
from rrr.store.db import Database
db = Database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
"""
LOOP = "for k in range(int(sys.argv[2])):\n    print(record_audit(db, f'p{sys.argv[3]}', 'step', 'why', str(k)), flush=True)\n"
HANG = """
with db.write() as c:
    record_audit(c, "killed", "step", "why")
    print("inside", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def process(db):
    "Start Python code that gets the store's URL; what still runs is killed afterwards."
    started = []

    def process(code: str, *args) -> subprocess.Popen:
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        address = db.url.render_as_string(hide_password=False)
        started.append(subprocess.Popen([sys.executable, "-c", WRITER + code, address, *map(str, args)], **pipes))
        return started[-1]

    yield process
    for p in started:
        p.kill()
        p.communicate()


def go(p: subprocess.Popen) -> None:
    p.stdin.write("go\n")
    p.stdin.flush()


def test_threads_and_processes_append_one_chain_without_a_gap(db, process):
    both = [process(LOOP, 50, k) for k in range(2)]
    assert [p.stdout.readline() for p in both] == ["ready\n"] * 2
    numbers: dict[str, list[int]] = {}

    def append(name: str) -> None:
        numbers[name] = [record_audit(db, name, "step", "why", str(k)) for k in range(50)]

    threads = [threading.Thread(target=append, args=(f"t{k}",)) for k in range(4)]
    for p in both:
        go(p)
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    numbers |= {f"p{k}": [int(x) for x in p.communicate(timeout=120)[0].split()] for k, p in enumerate(both)}
    report = verify_audit(db)
    assert report.ok and report.rows == 300 and sorted(sum(numbers.values(), [])) == list(range(1, 301))
    for row in rows_of(db):  # everyone was told the number that the row has
        assert numbers[row["actor"]][int(row["subject"])] == row["seq"]


def test_a_writer_waits_for_the_transaction_before_it(db):
    inside, told = threading.Event(), []
    with db.write() as c:
        first = record_audit(c, "ana", "step", "why")

        def append() -> None:
            inside.set()
            told.append(record_audit(db, "ben", "step", "why"))

        other = threading.Thread(target=append)
        other.start()
        inside.wait(30)
        other.join(0.2)
        assert told == [] and first == 1
    other.join(30)
    assert told == [2] and verify_audit(db).ok


def test_a_writer_killed_in_the_middle_leaves_no_gap_and_no_lock(db, process):
    for k in range(3):
        p = process(HANG)
        assert p.stdout.readline() == "ready\n"
        go(p)
        assert p.stdout.readline() == "inside\n"
        p.send_signal(signal.SIGKILL)
        assert p.wait(30) == -signal.SIGKILL
        assert record_audit(db, "ana", "step", "why") == k + 1
    assert verify_audit(db).ok and list_audit(db, actor="killed")[0] == 0


def test_what_was_told_to_be_written_outlives_kills(db, process):
    told: list[int] = []
    for k in range(5):
        p = process(LOOP, 100_000, k)
        assert p.stdout.readline() == "ready\n"
        go(p)
        said = [p.stdout.readline() for _ in range(1 + 7 * k)]
        p.send_signal(signal.SIGKILL)
        p.wait(30)
        told += [int(x) for x in said + p.stdout.read().splitlines(True) if x.endswith("\n")]
    report = verify_audit(db)
    assert report.ok and told == sorted(set(told)) and set(told) <= set(range(1, report.rows + 1))
    assert report.rows <= len(told) + 5  # at most the one that was not told any more


# What a tamperer does


def one_bit_other(value):
    "The value with a small change."
    if isinstance(value, datetime):
        return value + timedelta(microseconds=1)
    if isinstance(value, dict):
        return value | {"z": value.get("z", 0) + 1e-9}
    return value[:-1] + chr(ord(value[-1]) ^ 1) if value else "x"


@pytest.mark.parametrize("field", [c.name for c in LOG.c if c.name != "seq"])
def test_any_changed_field_of_any_row_is_located(db, field):
    fill(db)
    rows = rows_of(db)
    for start in range(3):  # every row once, in three goes
        changed = range(start, 200, 3)
        with tampering(db) as c:
            for k in changed:
                c.execute(sa.update(LOG).where(LOG.c.seq == k + 1).values({field: one_bit_other(rows[k][field])}))
        report = verify_audit(db)
        assert found(report) == [(k + 1, "changed") for k in changed] and report.rows == 200
        with tampering(db) as c:
            put(c, rows)
    assert verify_audit(db).ok


def test_a_single_changed_row_is_the_only_one_reported(db):
    fill(db)
    rows, fields = rows_of(db), [c.name for c in LOG.c if c.name != "seq"]
    for k, row in enumerate(rows):
        field = fields[k % len(fields)]
        with tampering(db) as c:
            if k:
                c.execute(sa.update(LOG).where(LOG.c.seq == k).values(rows[k - 1]))
            c.execute(sa.update(LOG).where(LOG.c.seq == k + 1).values({field: one_bit_other(row[field])}))
        assert found(verify_audit(db)) == [(k + 1, "changed")], field


def test_any_changed_number_is_located(db):
    fill(db)
    rows = rows_of(db)
    for start in range(3):
        changed = range(1 + start, 201, 3)
        with tampering(db) as c:
            c.execute(sa.update(LOG).where(LOG.c.seq.in_(changed)).values(seq=1000 - LOG.c.seq))
        report = verify_audit(db)
        assert found(report) == [(1000 - k, "moved") for k in reversed(changed)]
        assert report.problems[0].text == f"row {1000 - changed[-1]} was written as row {changed[-1]}."
        with tampering(db) as c:
            put(c, rows)
    assert verify_audit(db).ok


def test_numbers_far_off_and_below_one_are_located(db):
    fill(db, 20)
    for new in (0, -3, 10**6, 2**62):
        with tampering(db) as c:
            c.execute(sa.update(LOG).where(LOG.c.seq == 5).values(seq=new))
        assert found(verify_audit(db)) == [(new, "moved")]
        with tampering(db) as c:
            c.execute(sa.update(LOG).where(LOG.c.seq == new).values(seq=5))
    assert verify_audit(db).ok


@pytest.mark.parametrize("gone", [[1], [1, 2, 3], [77], [77, 78, 79], [50, 52], [2], [199]])
def test_removed_rows_are_located(db, gone):
    fill(db)
    with tampering(db) as c:
        c.execute(sa.delete(LOG).where(LOG.c.seq.in_(gone)))
    report = verify_audit(db)
    starts = [k for k in gone if k - 1 not in gone]
    assert found(report) == [(k, "missing") for k in starts] and report.rows == 200 - len(gone)
    if len(gone) == 3:
        assert report.problems[0].text == f"rows {gone[0]} to {gone[2]} were removed."


@pytest.mark.parametrize(("first", "last"), [(1, 1), (1, 30), (77, 77), (60, 150), (199, 199)])
def test_rows_removed_and_the_rest_renumbered_are_located(db, first, last):
    fill(db)
    rows, gone = rows_of(db), last - first + 1
    with tampering(db) as c:
        put(c, rows[: first - 1] + [r | dict(seq=r["seq"] - gone) for r in rows[last:]])
    report = verify_audit(db)
    assert found(report) in ([(first, "missing"), (first, "moved")], [(first, "moved"), (first, "missing")])
    texts = {p.kind: p.text for p in report.problems}
    assert texts["missing"].startswith(f"row {first} was" if gone == 1 else f"rows {first} to {last} were")
    assert f"as row{'s' if last < 199 else ''} {last + 1}" in texts["moved"]


@pytest.mark.parametrize(("i", "j"), [(1, 2), (1, 200), (50, 51), (50, 150), (199, 200)])
def test_swapped_rows_are_located(db, i, j):
    fill(db)
    rows = rows_of(db)
    rows[i - 1], rows[j - 1] = rows[j - 1] | dict(seq=i), rows[i - 1] | dict(seq=j)
    with tampering(db) as c:
        put(c, rows)
    report = verify_audit(db)
    assert found(report) == [(i, "moved"), (j, "moved")]
    assert [p.text for p in report.problems] == [f"row {i} was written as row {j}.", f"row {j} was written as row {i}."]


@pytest.mark.parametrize("place", [1, 100, 200])
@pytest.mark.parametrize("fits", [True, False], ids=["with a hash that fits", "with any hash"])
def test_an_inserted_row_is_located_when_the_rest_was_renumbered(db, place, fits):
    fill(db)
    rows = rows_of(db)
    forged = rehashed(rows[place - 1], actor="eve") if fits else rows[place - 1] | dict(actor="eve", hash="f" * 64)
    with tampering(db) as c:
        put(c, rows[: place - 1] + [forged] + [r | dict(seq=r["seq"] + 1) for r in rows[place - 1 :]])
    report = verify_audit(db)
    assert found(report) == [(place, "inserted" if fits else "changed"), (place + 1, "moved")]
    assert report.rows == 201


@pytest.mark.parametrize("place", [1, 2, 100, 198])
@pytest.mark.parametrize("linked", [True, False], ids=["linked", "not linked"])
def test_a_row_written_anew_with_a_hash_that_fits_is_located(db, place, linked):
    fill(db)
    row = rows_of(db)[place - 1]
    forged = rehashed(row, cause="nothing to see", prev_hash=row["prev_hash"] if linked else "a" * 64)
    with tampering(db) as c:
        c.execute(sa.update(LOG).where(LOG.c.seq == place).values(forged))
    assert found(verify_audit(db)) == [(place, "replaced")]


def test_a_forged_row_at_number_zero_or_with_no_number_is_found(db):
    fill(db, 10)
    forged = rehashed(rows_of(db)[0], seq=0, actor="eve")
    with tampering(db) as c:
        c.execute(sa.insert(LOG), forged)
    assert found(verify_audit(db)) == [(0, "changed")]
    if db.is_sqlite:
        with tampering(db) as c:
            c.exec_driver_sql("UPDATE audit_log SET seq = 'zero' WHERE seq = 0")
        report = verify_audit(db)
        assert found(report) == [(0, "unnumbered")] and report.rows == 11
        with tampering(db) as c:
            c.exec_driver_sql("UPDATE audit_log SET seq = 5.5 WHERE seq = 5")
        assert found(verify_audit(db)) == [(0, "unnumbered"), (5, "missing")]


def test_a_number_given_twice_is_found(db):
    fill(db, 10)
    forged = rehashed(rows_of(db)[4], actor="eve")
    with tampering(db) as c:
        if db.is_sqlite:
            c.exec_driver_sql("ALTER TABLE audit_log RENAME TO former")
            c.exec_driver_sql("CREATE TABLE audit_log AS SELECT * FROM former")
        else:
            c.exec_driver_sql("ALTER TABLE audit_log DROP CONSTRAINT pk_audit_log")
        c.execute(sa.insert(LOG), forged)
    report = verify_audit(db)
    assert report.rows == 11 and (5, "inserted") in found(report)
    assert {seq for seq, _ in found(report)} <= {4, 5}


def test_several_damages_are_reported_each_once(db):
    fill(db)
    rows = rows_of(db)
    with tampering(db) as c:
        c.execute(sa.delete(LOG).where(LOG.c.seq.between(1, 4)))
        c.execute(sa.update(LOG).where(LOG.c.seq.between(20, 29)).values(actor="eve"))
        c.execute(sa.update(LOG).where(LOG.c.seq == 60).values(hash="0" * 64))
        c.execute(sa.delete(LOG).where(LOG.c.seq == 61))
        c.execute(sa.update(LOG).where(LOG.c.seq == 90).values(rehashed(rows[89], actor="eve")))
        c.execute(sa.update(LOG).where(LOG.c.seq == 120).values(seq=500))
    report = verify_audit(db)
    assert found(report) == [
        (1, "missing"), (20, "changed"), (60, "changed"), (61, "missing"), (90, "replaced"), (500, "moved"),
    ]  # fmt: skip
    assert report.problems[1].text == "rows 20 to 29 were changed or put there: the hash does not fit."


def test_times_that_only_look_alike_are_found(db):
    fill(db, 10)
    with tampering(db) as c:
        if db.is_sqlite:
            c.exec_driver_sql("UPDATE audit_log SET timestamp = replace(timestamp, ' ', 'T') WHERE seq = 3")
            c.exec_driver_sql("UPDATE audit_log SET timestamp = 'soon' WHERE seq = 5")
            c.exec_driver_sql("UPDATE audit_log SET timestamp = 5 WHERE seq = 7")
        else:
            c.exec_driver_sql("UPDATE audit_log SET timestamp = (timestamp::text || ' BC')::timestamptz WHERE seq = 3")
            c.exec_driver_sql("UPDATE audit_log SET timestamp = 'infinity' WHERE seq = 5")
            c.exec_driver_sql("UPDATE audit_log SET timestamp = '-infinity' WHERE seq = 7")
    assert found(verify_audit(db)) == [(3, "changed"), (5, "changed"), (7, "changed")]


def test_details_that_mean_the_same_but_were_written_otherwise_are_found(db):
    fill(db, 10)
    before = [r["details"] for r in rows_of(db)]
    with tampering(db) as c:
        for seq, text in (
            (2, '{"old": "0.10", "new": "0.15"}'),
            (5, "{ }"),
            (7, '{"m": 1, ' + json.dumps(before[6])[1:]),  # a key twice: the second counts
            (10, '{"new": "0.15", "old": "0.1\\u0030"}'),
        ):
            value = f"'{text}'" if db.is_sqlite else f"'{text}'::json"
            c.exec_driver_sql(f"UPDATE audit_log SET details = {value} WHERE seq = {seq}")
    assert [r["details"] for r in rows_of(db)] == before
    assert found(verify_audit(db)) == [(2, "changed"), (5, "changed"), (7, "changed"), (10, "changed")]


def test_every_flipped_bit_of_a_row_in_sqlite_is_located():
    db = Database("sqlite://")
    fill(db, 5)
    columns = [c.name for c in LOG.c if c.name != "seq"]
    with db.read() as c:
        stored = c.exec_driver_sql(
            f"SELECT {', '.join(f'CAST({x} AS BLOB)' for x in columns)} FROM audit_log WHERE seq = 3"
        ).one()
    for name, value in zip(columns, stored, strict=True):
        for place in range(len(value)):
            flipped = bytearray(value)
            flipped[place] ^= 1 << place % 8
            with tampering(db) as c:
                c.exec_driver_sql(f"UPDATE audit_log SET {name} = CAST(? AS TEXT) WHERE seq = 3", (bytes(flipped),))
            assert found(verify_audit(db)) == [(3, "changed")], (name, place)
        with tampering(db) as c:
            c.exec_driver_sql(f"UPDATE audit_log SET {name} = CAST(? AS TEXT) WHERE seq = 3", (value,))
    assert verify_audit(db).ok
    db.close()


def test_columns_without_a_value_are_found(db):
    fill(db, 20)
    columns = [c.name for c in LOG.c if c.name != "seq"]
    with tampering(db) as c:
        if db.is_sqlite:
            c.exec_driver_sql("ALTER TABLE audit_log RENAME TO former")
            c.exec_driver_sql("CREATE TABLE audit_log AS SELECT * FROM former")
        for k, name in enumerate(columns):
            if not db.is_sqlite:
                c.exec_driver_sql(f"ALTER TABLE audit_log ALTER {name} DROP NOT NULL")
            c.exec_driver_sql(f"UPDATE audit_log SET {name} = NULL WHERE seq = {2 * k + 5}")
    assert found(verify_audit(db)) == [(2 * k + 5, "changed") for k in range(len(columns))]


def test_a_last_hash_that_is_no_text_can_be_shown():
    db = Database("sqlite://")
    fill(db, 5)
    with tampering(db) as c:
        c.exec_driver_sql("UPDATE audit_log SET hash = CAST(x'ff1b0a' AS TEXT) WHERE seq = 5")
    report = verify_audit(db)
    assert found(report) == [(5, "changed")] and report.head == r"5:\udcff\x1b\n"
    assert repr(report).isascii()


def test_a_row_that_cannot_be_read_is_said_and_located(tmp_path):
    db = Database(f"sqlite:///{tmp_path}/trading.db")
    fill(db, 5)
    for broken in ("details = '{'", "timestamp = 'soon'", "cause = CAST(x'ff' AS TEXT)"):
        with tampering(db) as c:
            c.exec_driver_sql(f"UPDATE audit_log SET {broken} WHERE seq = 3")
        with pytest.raises(StoreError, match="a row of the audit log cannot be read|refused: Could not decode"):
            list_audit(db)
        assert found(verify_audit(db)) == [(3, "changed")]
    db.close()


NUMBER = st.integers(1, 12)
STEP = st.one_of(
    st.tuples(st.just("remove"), NUMBER),
    st.tuples(st.just("renumber"), NUMBER, st.integers(-2, 15)),
    st.tuples(st.just("swap"), NUMBER, NUMBER),
    st.tuples(st.just("change"), NUMBER, st.sampled_from([c.name for c in LOG.c if c.name != "seq"])),
    st.tuples(st.just("forge"), NUMBER, st.integers(-2, 15)),
)


@pytest.fixture
def small():
    "A log of 12 rows in memory, and these rows."
    db = Database("sqlite://")
    fill(db, 12)
    yield db, rows_of(db)
    db.close()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, min_size=1, max_size=5))
def test_whatever_was_done_is_found_unless_only_the_end_is_missing(small, steps):
    db, before = small
    rows = {r["seq"]: r for r in before}
    for kind, k, *more in steps:
        row = rows.pop(k, None)
        if row is None or kind == "remove":
            continue
        rows[k] = row
        if kind == "swap" and more[0] in rows:
            rows[k], rows[more[0]] = rows[more[0]], row
        elif kind == "change":
            rows[k] = row | {more[0]: one_bit_other(row[more[0]])}
        elif kind == "renumber":
            rows[more[0]] = rows.pop(k)
        elif kind == "forge":
            rows[more[0]] = rehashed(row, seq=more[0], actor="eve")
    after = [r | {"seq": k} for k, r in sorted(rows.items())]
    hashes = [r["hash"] for r in after]
    with tampering(db) as c:
        put(c, [r for i, r in enumerate(after) if r["hash"] not in hashes[:i]])
    left = rows_of(db)
    report = verify_audit(db)
    forged_end = any(s[0] == "forge" for s in steps) and left[:-1] == before[: len(left) - 1]
    assert report.rows == len(left) and (report.ok == (left == before[: len(left)]) or forged_end)


# The head that was kept


def test_a_head_that_was_kept_stays_in_a_log_that_grew(db):
    fill(db, 20)
    heads = [f"{r['seq']}:{r['hash']}" for r in rows_of(db)]
    assert heads[-1] == verify_audit(db).head
    record_audit(db, "ana", "step", "why")
    assert all(verify_audit(db, head=h).ok for h in heads)


@pytest.mark.parametrize("left", [0, 1, 150, 199])
def test_a_log_that_was_cut_off_is_found_with_the_head(db, left):
    fill(db)
    head = verify_audit(db).head
    with tampering(db) as c:
        c.execute(sa.delete(LOG).where(LOG.c.seq > left))
    assert verify_audit(db).ok
    report = verify_audit(db, head=head)
    assert found(report) == [(200, "head")] and f"the log ends at row {left}" in report.problems[0].text
    for _ in range(200 - left):
        record_audit(db, "eve", "step", "why")
    report = verify_audit(db, head=head)
    assert found(report) == [(200, "head")] and "row 200 has another hash" in report.problems[0].text


def test_a_log_written_anew_is_found_with_the_head(db):
    fill(db)
    head, rows = verify_audit(db).head, rows_of(db)
    rows[49] = rehashed(rows[49], actor="eve")
    for k in range(50, 200):
        rows[k] = rehashed(rows[k], prev_hash=rows[k - 1]["hash"])
    with tampering(db) as c:
        put(c, rows)
    assert verify_audit(db).ok and found(verify_audit(db, head=head)) == [(200, "head")]
    assert verify_audit(db, head=f"49:{rows[48]['hash']}").ok


@pytest.mark.parametrize(
    "head", ["", "200", "x:" + START, "5:abc", "5:" + "g" * 64, "-1:" + START, "٣:" + START, "5:" + START + "0"]
)
def test_a_head_that_is_none_is_refused(db, head):
    with pytest.raises(ParameterError, match="is not a number and a hash of 64 hex digits"):
        verify_audit(db, head=head)


# Any text, any details, any size


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
WORD = TEXT.filter(str.strip)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), x, max_size=4),
    max_leaves=10,
)  # fmt: skip
MOMENT = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=st.timezones())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actor=WORD, action=WORD, cause=WORD, subject=TEXT, at=MOMENT, details=st.dictionaries(TEXT, PLAIN, max_size=4))
def test_any_text_and_any_details_come_back_and_keep_their_hash(db, actor, action, cause, subject, at, details):
    head = verify_audit(db).head
    seq = record_audit(db, actor, action, cause, subject, details, at)
    total, (row,) = list_audit(db, 1)
    assert total == seq and row["details"] == details and row["timestamp"] == at.astimezone(UTC)
    assert (row["actor"], row["action"], row["cause"], row["subject"]) == (actor, action, cause, subject)
    report = verify_audit(db, head=head)
    assert report.ok and report.head == f"{seq}:{row['hash']}" == f"{seq}:{hash_by_the_book(row)}"


def test_pages_join_without_a_seam(db, monkeypatch):
    fill(db, 30)
    want = verify_audit(db)
    for size in (1, 7, 10, 30, 31):
        monkeypatch.setattr(audit, "_PAGE", size)
        assert verify_audit(db) == want
        with tampering(db) as c:
            c.execute(sa.update(LOG).where(LOG.c.seq == 10).values(seq=100))
        assert found(verify_audit(db)) == [(100, "moved")]
        with tampering(db) as c:
            c.execute(sa.update(LOG).where(LOG.c.seq == 100).values(seq=10))


def test_memory_stays_flat_on_a_long_log(tmp_path, monkeypatch):
    db = Database(f"sqlite:///{tmp_path}/trading.db")
    monkeypatch.setattr(audit, "_PAGE", 250)
    peaks = []
    for rows in (1_000, 5_000):
        fill(db, rows)
        verify_audit(db)
        tracemalloc.start()
        assert verify_audit(db).ok
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
    db.close()
