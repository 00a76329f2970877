"Every kind of fault put into real and mock bars is found under its own code; clean bars are never refused."

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import DataError, ParameterError
from rrr.core.market import OHLCV, interval_ms
from rrr.data.faults import FAULTS, inject
from rrr.data.mock import MockDataSource
from rrr.data.quality import CODES, Checker, Quality, check_bars, raise_if_blocked

KINDS = [kind for kind in FAULTS if kind != "clock_offset"]  # that one shows against a second source alone
INTERVALS = {"1m": 60, "15m": 900, "1h": 3600, "1d": 86_400}


@cache
def mock(symbol: str, interval: str, rows: int = 800) -> pd.DataFrame:
    "Clean synthetic bars"
    return MockDataSource(seed=rows).get_historical_data(symbol, rows, INTERVALS[interval])


MOCKS = [(symbol, interval) for symbol in ("BTC-USD", "SOL-USD", "MATIC-USD") for interval in INTERVALS]
check_bars(mock("BTC-USD", "1h"))  # compiled before hypothesis measures time


def codes(quality: Quality) -> set[str]:
    return {finding.code for finding in quality.findings}


def faulty(frame: pd.DataFrame, kind: str, seed: int) -> Quality | None:
    "What is said of bars with a fault; None where these bars cannot show it"
    try:
        bad, _ = inject(frame, kind, seed)
    except ParameterError:
        return None
    step = int(np.median(np.diff(frame.index.asi8)))
    now = int(bad.index.asi8[-1]) + step - 1 if kind == "unfinished_bar" else int(bad.index.asi8.max()) + step
    return check_bars(bad, now_ms=now)


def real_series(folder: Path) -> dict[str, pd.DataFrame]:
    "Parts of real series in which nothing blocks"
    found = {}
    for path in sorted((folder / "ohlcv").glob("*.parquet")):
        if "universe" not in path.name:
            frame = pd.read_parquet(path, columns=["ts", *OHLCV]).set_index("ts")
            frame.index = frame.index.as_unit("ms")
            for part in range(0, len(frame) - 1500, max(1500, len(frame) // 4)):
                found[f"{path.stem} {part}"] = frame.iloc[part : part + 1500]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_in_mock_bars_is_found_under_its_code(kind):
    missed = []
    for i, (symbol, interval) in enumerate(MOCKS):
        quality = faulty(mock(symbol, interval), kind, i)
        if quality and FAULTS[kind] not in codes(quality):
            missed.append((symbol, interval, codes(quality)))
    assert missed == []


def test_faults_in_real_bars_are_found_under_their_code(shared_data):
    series, missed, tried = real_series(shared_data), [], 0
    for i, (name, frame) in enumerate(series.items()):
        for j, kind in enumerate(KINDS[i % 3 :: 3]):
            if quality := faulty(frame, kind, i * 100 + j):
                tried += 1
                if FAULTS[kind] not in codes(quality):
                    missed.append((name, kind, codes(quality)))
    assert tried > 300 and len(missed) <= 0.01 * tried, missed


@pytest.mark.parametrize("symbol, interval", MOCKS)
def test_clean_mock_bars_are_never_refused(symbol, interval):
    for rows in (100, 3000):
        quality = check_bars(mock(symbol, interval, rows), interval)
        assert quality.blocked == () and codes(quality) <= {"bad_print"}


def test_clean_real_bars_are_never_refused_and_warnings_are_few(shared_data):
    for path in sorted((shared_data / "ohlcv").glob("*.parquet")):
        frame = pd.read_parquet(path, columns=["ts", *OHLCV] + (["symbol"] if "universe" in path.name else []))
        parts = frame.groupby("symbol") if "symbol" in frame else [(path.stem, frame)]
        for name, part in parts:
            quality = check_bars(part.set_index("ts")[OHLCV])
            assert quality.blocked == (() if name != "LUNA/USDT" else ("symbol_reuse",)), name
            outliers = quality.count("bad_print") + quality.count("jump")
            assert outliers <= 5 + len(part) / 1000, (name, outliers)
            assert codes(quality) <= {
                "gap",
                "off_grid",
                "zero_volume",
                "bad_print",
                "jump",
                "volume_unit",
                "symbol_reuse",
            }


def test_swapped_volume_columns_of_a_real_file_are_found_where_they_change(shared_data):
    path = shared_data / "raw" / "cryptodatadownload_csv" / "Bitstamp_BTCUSD_d.csv"
    table = pd.read_csv(path, skiprows=1)[::-1]
    table.index = pd.to_datetime(table.unix, unit="s", utc=True)
    quality = check_bars(table.rename(columns={"Volume BTC": "volume"})[OHLCV], "1d")
    (finding,) = [f for f in quality.findings if f.severity == "block"]
    assert (
        finding.code == "volume_unit"
        and abs(pd.Timestamp(finding.first_ms, unit="ms") - pd.Timestamp("2018-02-28")).days < 16
    )


def test_what_a_venue_fills_a_pause_with_is_no_stale_feed():
    frame = mock("BTC-USD", "1m").copy()
    frame.iloc[300:400, :4] = frame.iloc[299, 3]
    frame.iloc[300:400, 4] = 0.0
    quality = check_bars(frame, "1m")
    assert codes(quality) == {"zero_volume"} and quality.blocked == () and "100 of them flat" in quality.warnings[0]


# Streaming says the same


@given(
    st.sampled_from([None, *KINDS]),
    st.sampled_from(MOCKS),
    st.lists(st.integers(0, 800), max_size=6),
    st.integers(0, 99),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_blocks_of_any_size_say_what_the_whole_says(kind, market, cuts, seed, named):
    frame = mock(*market)
    try:
        frame = inject(frame, kind, seed)[0] if kind else frame
    except ParameterError:
        pass
    interval, now = market[1] if named else None, int(frame.index.asi8.max())
    checker = Checker(interval, now)
    edges = [0, *sorted(cuts), len(frame)]
    for start, stop in zip(edges, edges[1:], strict=False):
        checker.feed(frame.iloc[start:stop])
    assert checker.result() == check_bars(frame, interval, now)


@cache
def long_faulty() -> pd.DataFrame:
    "Twelve thousand minutes with several faults on both sides of the first bars that are read"
    frame = mock("ETH-USD", "1m", 12_000)
    for i, kind in enumerate(
        ["bad_print_up", "price_in_cents", "volume_in_quote", "stale_run", "late_row", "nan", "gap"]
    ):
        half, rest = (frame.iloc[:5000], frame.iloc[5000:]) if i % 2 else (frame.iloc[:0], frame)
        frame = pd.concat([half, inject(rest, kind, i)[0]])
    return frame.iloc[[*range(6000), 5000, 4000, *range(6000, len(frame))]]


@given(st.lists(st.integers(0, 12_000), max_size=8))
@settings(max_examples=15, deadline=None)
def test_long_series_say_the_same_in_blocks(cuts):
    frame, checker = long_faulty(), Checker()
    edges = [0, *sorted(cuts), len(frame)]
    for start, stop in zip(edges, edges[1:], strict=False):
        checker.feed(frame.iloc[start:stop])
    quality = checker.result()
    assert quality == check_bars(frame)
    assert {"duplicate", "unsorted", "not_finite", "price_unit", "stale", "volume_unit", "gap"} <= codes(quality)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_order_and_gaps_are_those_of_all_stamps_however_they_come(data):
    count = data.draw(st.integers(2, 60))
    chosen = data.draw(st.lists(st.integers(0, count), min_size=2, max_size=count))
    frame = mock("BTC-USD", "1h", 100).iloc[chosen]
    quality = check_bars(frame, "1h")
    stamps = frame.index.asi8
    steps = np.diff(np.unique(stamps)) // 3_600_000
    if quality.interval == "1h":
        assert (quality.gaps, quality.missing) == (int((steps > 1).sum()), int((steps - 1).sum()))
    assert quality.count("duplicate") == int(pd.Index(stamps).duplicated().sum())
    assert quality.count("unsorted") == int((np.diff(stamps) < 0).sum())
    assert [quality.first_ms, quality.last_ms] == [stamps.min(), stamps.max()]


def test_a_checker_keeps_little_however_long_the_series():
    checker = Checker("1m")
    block = mock("BTC-USD", "1m", 12_000)
    for i in range(8):
        later = block.set_axis(block.index + pd.Timedelta(minutes=13_000 * i))
        checker.feed(later)
    kept = sum(x.nbytes for x in checker._outliers.waiting) + checker._walk.breaks.nbytes + checker._walk.late.nbytes
    assert kept < 10_000 and not checker._head and checker.result().gaps == 7


# What is said


@pytest.mark.parametrize("code", CODES)
def test_every_code_says_what_to_do(code):
    kind = CODES[code]
    assert kind.advice and not kind.advice.endswith(".") and kind.severity in ("block", "warn")


def test_a_finding_names_places_severity_and_advice():
    frame = mock("BTC-USD", "1h").copy()
    frame.iloc[[200, 400], 1] *= 1.3
    (finding,) = check_bars(frame).findings
    assert (finding.code, finding.severity, finding.rows, finding.first_row) == ("bad_print", "warn", 2, 201)
    assert (
        len(finding.sample) == 2
        and "row 401 (" in finding.sample[1]
        and "above the bars beside it" in finding.sample[1]
    )
    assert "--repair drop-bad" in finding.advice


def test_what_is_grave_enough_blocks():
    frame = mock("BTC-USD", "1h")
    for kind in (
        "price_in_cents",
        "decimal_shift",
        "volume_in_quote",
        "symbol_reuse",
        "interval_change",
        "unfinished_bar",
    ):
        assert FAULTS[kind] in faulty(frame, kind, 1).blocked, kind
    for kind in ("gap", "off_grid", "bad_print_up", "level_jump", "stale_run", "zero_volume_run"):
        assert faulty(frame, kind, 1).blocked == (), kind


def test_many_bars_off_the_grid_or_stale_block():
    frame = mock("BTC-USD", "1h").copy()
    late = frame.set_axis(frame.index + pd.to_timedelta(30 * (np.arange(len(frame)) > 600), unit="min"))
    assert "off_grid" in check_bars(late).blocked and "time zone" in check_bars(late).problems[0]
    frame.iloc[300:600] = frame.iloc[299].to_numpy()
    assert check_bars(frame).blocked == ("stale",)


def test_a_bar_is_unfinished_until_its_close():
    frame = mock("BTC-USD", "1h", 100)
    close = int(frame.index.asi8[-1]) + interval_ms("1h")
    assert check_bars(frame, "1h", close).findings == ()
    (finding,) = check_bars(frame, "1h", close - 1).findings
    assert (finding.code, finding.rows, finding.first_row) == ("unfinished", 1, 100)
    assert check_bars(frame, "1h", close - 3 * interval_ms("1h")).count("unfinished") == 3


def test_accepted_findings_let_bars_through_but_not_those_the_store_cannot_hold():
    frame = mock("BTC-USD", "1h")
    quality = faulty(frame, "price_in_cents", 0)
    with pytest.raises(DataError, match="--accept price_unit"):
        raise_if_blocked(quality, "bars")
    raise_if_blocked(quality, "bars", ("price_unit",))
    with pytest.raises(ParameterError, match="unsorted cannot be accepted.*--repair sort"):
        raise_if_blocked(quality, "bars", ("unsorted",))
    with pytest.raises(ParameterError, match="did you mean 'price_unit'"):
        raise_if_blocked(quality, "bars", ("price_units",))


def test_thin_seconds_are_gaps_and_no_other_interval():
    stamps = 1_704_067_200_000 + 1000 * np.cumsum(np.random.default_rng(1).geometric(0.05, 3000))
    frame = mock("BTC-USD", "1m", 3000)
    frame = frame.set_axis(pd.DatetimeIndex(stamps.astype("datetime64[ms]"), tz="UTC"))
    for named in (None, "1s"):
        quality = check_bars(frame, named)
        assert quality.interval == "1s" and codes(quality) <= {"gap", "bad_print"}


# Faults that were missed or named wrongly once


def grave(frame: pd.DataFrame, interval: str | None = None) -> dict[str, str]:
    "The codes found, with their severity"
    return {f.code: f.severity for f in check_bars(frame, interval).findings}


def scaled(rows, factor: float, columns: str = "ohlc", interval: str = "1h", count: int = 800) -> pd.DataFrame:
    "Mock bars with some prices of some rows multiplied, still possible bars"
    frame = mock("SOL-USD", interval, count).copy()
    for name in ("open", "high", "low", "close"):
        if name[0] in columns:
            frame.iloc[rows, OHLCV.index(name)] *= factor
    frame["high"] = frame[OHLCV[:4]].max(axis=1)
    frame["low"] = frame[OHLCV[:4]].min(axis=1)
    return frame


def shifted(interval: str, ms: int) -> pd.DataFrame:
    frame = mock("BTC-USD", interval)
    return frame.set_axis(frame.index + pd.Timedelta(ms, unit="ms"))


@pytest.mark.parametrize(
    "interval, ms, closes",
    [
        ("1m", 7_000, False),
        ("1m", 30_000, False),
        ("1m", 59_999, True),
        ("1m", 59_000, True),
        ("15m", 60_000, False),
        ("1h", 17 * 60_000, False),
        ("1h", 30 * 60_000, False),
        ("1h", 3_599_999, True),
        ("1d", 86_399_999, True),
    ],
)
def test_a_grid_that_starts_at_no_full_minute_or_hour_is_a_warning(interval, ms, closes):
    (found,) = [f for f in check_bars(shifted(interval, ms)).findings if f.code == "clock_offset"]
    assert found.severity == "warn" and ("look like close times" in found.text) == closes


@pytest.mark.parametrize("interval, hours", [("1m", 0), ("1h", 1), ("1d", 16), ("1d", 8)])
def test_a_grid_that_starts_at_a_full_hour_is_none(interval, hours):
    assert "clock_offset" not in grave(shifted(interval, hours * 3_600_000))


def test_a_step_that_no_venue_uses_is_refused_until_the_interval_is_named():
    frame = mock("BTC-USD", "1m").iloc[np.cumsum(np.tile([7, 7, 11, 7, 13], 15))]
    (problem,) = check_bars(frame).problems
    assert "step is 7m, which no venue uses" in problem and "--interval 1m" in problem
    quality = check_bars(frame, "1m")
    assert quality.interval == "1m" and quality.blocked == ()
    assert check_bars(mock("BTC-USD", "1m").iloc[::7], "7m").blocked == ()


@pytest.mark.parametrize("columns, factor", [("h", 10), ("l", 0.1), ("ohlc", 10), ("ohlc", 0.1), ("hc", 10)])
def test_the_first_bar_is_judged_by_the_next(columns, factor):
    (found,) = check_bars(scaled([0], factor, columns)).findings
    assert (found.code, found.first_row, found.rows) == ("bad_print", 1, 1)


@pytest.mark.parametrize("columns", ["hc", "ohlc", "oh"])
@pytest.mark.parametrize("row", [400, 798, 799])
def test_one_slipped_price_is_a_bad_print_alone_wherever_it_stands(columns, row):
    found = grave(scaled([row], 10, columns))
    if (columns, row) == ("ohlc", 799):
        assert found == {"price_unit": "block"}  # nothing after it tells that it is one bar
    else:
        assert found == {"bad_print": "block"}


@pytest.mark.parametrize("every", [2, 3, 4])
@pytest.mark.parametrize("factor", [10, 0.1, 1.5, 1.05])
def test_every_few_bars_on_another_level_block(every, factor):
    assert grave(scaled(np.arange(0, 800, every), factor, interval="1m"), "1m").get("jump") == "block"


def test_two_feeds_two_percent_apart_are_found():
    assert grave(scaled(np.arange(0, 800, 2), 1.02, interval="1m"))["jump"] == "block"


@pytest.mark.parametrize("columns, factor", [("cl", 0.1), ("hc", 1.08), ("oh", 10)])
def test_one_odd_bar_is_no_exchange_of_open_and_close(columns, factor):
    for row in (100, 300, 500):
        assert "swapped" not in grave(scaled([row], factor, columns))


@pytest.mark.parametrize("factor", [1e-8, 1e8])
@pytest.mark.parametrize("start", [300, 780, 797])
def test_prices_in_satoshi_are_another_unit(factor, start):
    assert grave(scaled(np.arange(start, 800), factor))["price_unit"] == "block"


@pytest.mark.parametrize("count", [3, 5, 10, 19])
def test_short_series_are_judged_for_powers_of_ten(count):
    frame = scaled(np.arange(2, count), 100, count=800).iloc[:count]
    assert set(grave(frame, "1h")) & {"price_unit", "bad_print"} and check_bars(frame, "1h").blocked == ()
    assert grave(scaled([], 1).iloc[:count], "1h") == {}


def test_volume_a_thousand_times_larger_is_a_warning_whatever_the_price():
    frame = mock("MATIC-USD", "1h").copy()
    frame.iloc[400:, 4] *= 3e3
    assert grave(frame) == {"volume_unit": "warn"}
    frame = mock("MATIC-USD", "1h").copy()
    frame.iloc[[401], 4] *= 1e6
    (found,) = check_bars(frame).findings
    assert (found.code, found.severity, found.first_row) == ("volume_unit", "warn", 402)


def test_four_equal_bars_with_range_and_volume_are_told():
    frame = mock("BTC-USD", "1h").copy()
    frame.iloc[401:403] = frame.iloc[400].to_numpy()
    assert grave(frame) == {}
    frame.iloc[403] = frame.iloc[400].to_numpy()
    assert grave(frame) == {"stale": "warn"}


@pytest.mark.parametrize("flat", [True, False])
def test_prices_that_stand_still_while_volumes_differ_never_block(flat):
    frame = mock("BTC-USD", "1h").copy()
    level = 1 + 1e-4 * (np.arange(800) // 200)
    for name, more in (("open", 0), ("high", 1e-4), ("low", -1e-4), ("close", 0)):
        frame[name] = 1.0 if flat else level + more
    quality = check_bars(frame)
    assert quality.blocked == () and (not flat or any("the same prices" in text for text in quality.warnings))


@given(
    st.sampled_from(
        [
            ([0], 10, "ohlc"),
            ([0], 0.1, "l"),
            ([400], 10, "hc"),
            ([799], 10, "hc"),
            (range(0, 800, 2), 10, "ohlc"),
            (range(300, 800, 3), 1.5, "ohlc"),
            (range(770, 800), 1e-8, "ohlc"),
            ([], 1, "v"),
        ]
    ),
    st.lists(st.integers(0, 800), max_size=6),
)
@settings(max_examples=40, deadline=None)
def test_blocks_say_the_same_of_these_faults_too(fault, cuts):
    rows, factor, columns = fault
    frame = scaled(list(rows), factor, columns)
    if columns == "v":
        frame.iloc[[5, 797], 4] *= 1e6
    frame.iloc[500:504] = frame.iloc[500].to_numpy()
    checker, edges = Checker("1h"), [0, *sorted(cuts), 800]
    for start, stop in zip(edges, edges[1:], strict=False):
        checker.feed(frame.iloc[start:stop])
    assert checker.result() == check_bars(frame, "1h")
