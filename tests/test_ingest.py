"A file or a mock source goes into the store whole, checked and named, or leaves it as it was."

import gzip
import json
import os

import pytest
from stores import dump

from rrr.core.errors import DataError, ParameterError, RRRError
from rrr.data.ingest import import_file, import_mock
from rrr.store.bars import data_hash, get_series, list_series, read_bars

HEADER = "timestamp,open,high,low,close,volume"


def row(minute: int, bar: str = "10,12,9,11,100") -> str:
    return f"2024-01-01 {minute // 60:02}:{minute % 60:02},{bar}"


def minutes(first: int, count: int) -> list[str]:
    return [row(m) for m in range(first, first + count)]


@pytest.fixture
def write(tmp_path):
    def write(rows: list[str] | bytes, name: str = "bars.csv"):
        path = tmp_path / name
        path.write_bytes(rows if isinstance(rows, bytes) else "\n".join([HEADER, *rows, ""]).encode())
        return path

    return write


BAD = {
    "missing": (None, "there is no such file"),
    "empty": (b"", "the file is empty"),
    "only a header": ([], "no rows"),
    "text price": ([row(0), row(1, "10,12,9,eleven,100")], "line 3, column 'close': 'eleven' is not a finite number"),
    "no price": ([row(0), row(1, "10,12,9,,100")], "the cell is empty"),
    "NaN": ([row(0), row(1, "10,12,9,nan,100")], "line 3, column 'close'"),
    "high below low": ([row(0), row(1, "10,9,12,11,100")], "high below low in 1 row, first in row 2"),
    "negative price": ([row(0), row(1, "-1,12,-2,11,100")], "price not above zero"),
    "duplicate stamps": ([row(0), row(1), row(1)], "duplicate time stamps in 1 row"),
    "unsorted rows": ([row(0), row(2), row(1)], "a time earlier than the row before"),
    "one bar": ([row(0)], "does not tell the interval"),
    "no bars at all": (b"PAR1 and then nothing that is Parquet", "cut off or damaged"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "neither Parquet nor CSV"),
    "a missing column": (b"timestamp,open,high,low,close\n2024-01-01,1,1,1,1\n", "no column for volume"),
}


def test_every_bad_file_leaves_the_store_as_it_was(db, write, tmp_path):
    import_file(db, write(minutes(0, 10)), "BTC-USD")
    import_mock(db, "ETH-USD", "1h", 20)
    before = dump(db)
    for content, says in BAD.values():
        path = tmp_path / "absent.csv" if content is None else write(content, "bad.csv")
        for symbol in ("BTC-USD", "ETH-USD", "SOL-USD"):
            with pytest.raises(DataError) as caught:
                import_file(db, path, symbol)
            text = str(caught.value)
            assert says in text and text.startswith(f"{path}: ") and text.endswith(".") and "\n" not in text
        assert dump(db) == before


def test_a_file_that_does_not_fit_the_stored_bars_is_refused(db, write):
    import_file(db, write(minutes(0, 4)), "BTC-USD")
    before = dump(db)
    between = write([r.replace(",", ":30,", 1) for r in minutes(0, 4)])
    with pytest.raises(DataError, match="BTC-USD 1m together with the stored bars: interval 1m was given but .* 30s"):
        import_file(db, between, "BTC-USD")
    assert dump(db) == before


def test_files_that_continue_a_series_become_one(db, write):
    one = import_file(db, write(minutes(0, 30), "a.csv"), "BTC-USD")
    two = import_file(db, write(minutes(25, 30), "b.csv"), "BTC-USD")
    late = import_file(db, write(minutes(60, 10), "c.csv.gz"), "BTC-USD")
    assert [(i.written.new, i.written.same, i.written.rows) for i in (one, two, late)] == [
        (30, 0, 30), (25, 5, 55), (10, 0, 65),
    ]  # fmt: skip
    series = get_series(db, "BTC-USD", "1m")
    assert (series["rows"], series["source"], series["synthetic"]) == (65, "c.csv.gz", False)
    whole = series["quality"]  # not that of the last file
    assert (whole["gaps"], whole["missing_bars"]) == (1, 5)
    assert series["data_hash"] == late.written.data_hash == data_hash(read_bars(db, "BTC-USD", "1m"))
    assert late.quality.rows == 10 and late.quality.gaps == 0


def test_the_order_of_files_does_not_matter(db, write):
    files = [write(minutes(k, 20), f"{k}.csv") for k in (0, 15, 30)]
    for path in files:
        import_file(db, path, "BTC-USD")
    for path in reversed(files):
        import_file(db, path, "ETH-USD")
    hashes = {s["data_hash"] for s in list_series(db)}
    assert len(hashes) == 1 and len(read_bars(db, "ETH-USD", "1m")) == 50


def test_the_same_file_under_its_gzip_changes_nothing(db, write):
    path = write(minutes(0, 10))
    import_file(db, path, "BTC-USD")
    again = import_file(db, write(gzip.compress(path.read_bytes()), "bars.csv.gz"), "BTC-USD").written
    assert (again.new, again.changed, again.same) == (0, 0, 10)


def test_an_interval_that_disagrees_is_refused_and_one_that_agrees_has_one_name(db, write):
    path, before = write(minutes(0, 10)), dump(db)
    with pytest.raises(DataError, match="interval 1h was given but the most common step is 1m"):
        import_file(db, path, "BTC-USD", "1h")
    for wrong in ("", "1", "1 minute", "0m", "-1m", "1M", "1h "):
        with pytest.raises(ParameterError, match="is not a count and a unit"):
            import_file(db, path, "BTC-USD", wrong)
    assert dump(db) == before
    assert import_file(db, path, "BTC-USD", "60s").interval == "1m"
    assert [(s["symbol"], s["interval"]) for s in list_series(db)] == [("BTC-USD", "1m")]
    assert import_file(db, write([row(0)]), "ETH-USD", "1h").interval == "1h"  # one bar, told what it is


def test_symbols_have_one_spelling(db, write):
    path = write(minutes(0, 10))
    for spelling in ("BTC-USD", "btc-usd", " btc/usd ", "BTC_USD"):
        assert import_file(db, path, spelling).symbol == "BTC-USD"
    assert import_mock(db, "eth/usd", "60m", 20).symbol == "ETH-USD"
    assert [(s["symbol"], s["interval"]) for s in list_series(db)] == [("BTC-USD", "1m"), ("ETH-USD", "1h")]
    before = dump(db)
    for wrong in ("", "BTCUSD", "BTC-", "BTC-USD-PERP", "BTC-USD; DROP TABLE symbols", "BTC-ÜSD", "B\0C-USD"):
        with pytest.raises(ParameterError, match="is not BASE-QUOTE"):
            import_file(db, path, wrong)
    assert dump(db) == before


def test_a_file_whose_name_is_not_utf8_is_imported(db, write, tmp_path):
    path = write(minutes(0, 10))
    odd = os.fsencode(tmp_path) + b"/b\xe4rs.csv"
    try:
        os.rename(path, odd)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert import_file(db, os.fsdecode(odd), "BTC-USD").source == "b�rs.csv"


def test_what_was_imported_is_json(db, write):
    done = import_file(db, write([*minutes(0, 10), row(12, "10,12,9,11,0")], "my bars.csv"), "BTC-USD")
    told = json.loads(json.dumps(done.to_dict(), allow_nan=False))
    assert told == done.to_dict()
    facts = dict(symbol="BTC-USD", interval="1m", source="my bars.csv", synthetic=False)
    assert {k: told[k] for k in facts} == facts
    assert told["written"] == {"new": 11, "changed": 0, "same": 0, "dropped_synthetic": 0}
    assert told["series"] == {"rows": 11, "data_hash": get_series(db, "BTC-USD", "1m")["data_hash"]}
    assert (told["quality"]["gaps"], told["quality"]["zero_volume"]) == (1, 1)
    assert told["notes"] == ["time stamps carry no zone: read as UTC"]
    assert json.loads(json.dumps(import_mock(db, "ETH-USD", "1h", 30).to_dict()))["synthetic"] is True


def test_real_bars_replace_synthetic_ones_and_are_never_mixed_with_them(db, write):
    mock = import_mock(db, "BTC-USD", "1m", 50)
    assert mock.synthetic and get_series(db, "BTC-USD", "1m")["synthetic"] is True
    real = import_file(db, write(minutes(0, 10), "real.csv"), "BTC-USD")
    assert (real.written.dropped_synthetic, real.written.new, real.written.rows, real.synthetic) == (50, 10, 10, False)
    assert len(read_bars(db, "BTC-USD", "1m")) == 10 and read_bars(db, "BTC-USD", "1m").attrs["synthetic"] is False
    before = dump(db)
    with pytest.raises(DataError) as caught:
        import_mock(db, "BTC-USD", "1m", 50)
    assert str(caught.value) == "BTC-USD 1m holds real bars (real.csv): synthetic bars are not mixed in."
    assert dump(db) == before


def test_a_bad_file_does_not_cost_the_synthetic_bars(db, write):
    import_mock(db, "BTC-USD", "1m", 50)
    before = dump(db)
    with pytest.raises(DataError):
        import_file(db, write([row(0), row(1, "10,9,12,11,100")]), "BTC-USD")
    assert dump(db) == before


def test_the_mock_source_is_the_same_every_time_and_one_seed_at_a_time(db):
    first = import_mock(db, "BTC-USD", "1h", 40)
    assert first.source == "MockDataSource(seed=7)" and first.written.new == 40
    assert import_mock(db, "BTC-USD", "1h", 40).written.same == 40
    longer = import_mock(db, "BTC-USD", "1h", 60).written
    assert (longer.new, longer.same, longer.dropped_synthetic) == (20, 40, 0)
    other = import_mock(db, "BTC-USD", "1h", 30, seed=8).written
    assert (other.dropped_synthetic, other.rows) == (60, 30)
    before = dump(db)
    for wrong in (lambda: import_mock(db, "XXX-USD", "1h", 10), lambda: import_mock(db, "BTC-USD", "1h", 0)):
        with pytest.raises(RRRError):
            wrong()
    assert dump(db) == before
