"Each fault put into clean bars is found, counted and placed; clean bars have none."

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import DataError, ParameterError
from rrr.core.market import OHLCV, format_time, interval_ms
from rrr.data.quality import IMPOSSIBLE, check_bars, raise_if_blocked

INTERVALS = ["1s", "1m", "15m", "1h", "4h", "1d", "1w"]


def clean(rows: int, interval: str = "1h", start_ms: int = 1_704_067_200_000, seed: int = 0) -> pd.DataFrame:
    "Possible bars without a fault"
    random = np.random.default_rng(seed)
    stamps = start_ms + interval_ms(interval) * np.arange(rows)
    open_, close = random.uniform(10, 11, (2, rows))
    values = np.column_stack(
        [
            open_,
            np.maximum(open_, close) + random.uniform(0, 0.1, rows),
            np.minimum(open_, close) - random.uniform(0, 0.1, rows),
            close,
            random.uniform(1, 100, rows),
        ]
    )
    index = pd.DatetimeIndex(stamps.astype("datetime64[ms]"), tz="UTC", name="timestamp")
    return pd.DataFrame(values, index=index, columns=OHLCV)


check_bars(clean(30))  # compiled before hypothesis measures time


@st.composite
def bars_and_row(draw, least: int = 5):
    "Clean bars and the position of one of them"
    rows = draw(st.integers(least, 200))
    start = draw(st.integers(262_968, 555_555)) * 3_600_000
    return clean(rows, draw(st.sampled_from(INTERVALS)), start, draw(st.integers(0, 9))), draw(st.integers(0, rows - 1))


def only(quality, kind: str):
    "The one finding there is"
    (finding,) = quality.findings
    assert finding.code == kind
    return finding


@given(bars_and_row(), st.booleans())
def test_clean_bars_have_no_problem_and_no_warning(case, named):
    frame, _ = case
    interval = check_bars(frame).interval
    quality = check_bars(frame, interval if named else None)
    assert (quality.problems, quality.warnings, quality.findings, quality.gaps) == ((), (), (), 0)
    assert quality.rows == len(frame) and quality.interval == interval
    assert [quality.first_ms, quality.last_ms] == frame.index.asi8[[0, -1]].tolist()
    raise_if_blocked(quality, "bars")


FAULTS = {
    "not_finite": [("open", lambda bar: np.nan), ("close", lambda bar: np.inf), ("volume", lambda bar: np.nan)],
    "price_not_positive": [("low", lambda bar: 0.0), ("open", lambda bar: -bar.open), ("close", lambda bar: -0.0)],
    "negative_volume": [("volume", lambda bar: -1e-9)],
    "high_below_low": [("high", lambda bar: bar.low / 2), ("low", lambda bar: bar.high * 2)],
    "high_too_low": [("high", lambda bar: (max(bar.open, bar.close) + bar.low) / 2)],
    "low_too_high": [("low", lambda bar: (min(bar.open, bar.close) + bar.high) / 2)],
}


@given(bars_and_row(), st.sampled_from([(kind, *fault) for kind, faults in FAULTS.items() for fault in faults]))
def test_an_impossible_bar_is_counted_once_and_named(case, fault):
    frame, row = case
    kind, column, value = fault
    frame.iloc[row, OHLCV.index(column)] = value(frame.iloc[row])
    quality = check_bars(frame)
    finding = only(quality, kind)
    assert (finding.rows, finding.first_row, finding.first_ms) == (1, row + 1, frame.index.asi8[row])
    assert quality.impossible == 1 and quality.warnings == ()
    (problem,) = quality.problems
    assert f"in 1 row, first in row {row + 1} ({format_time(finding.first_ms)}, open " in problem


@given(bars_and_row(), st.data())
def test_duplicate_stamps_are_counted_and_the_first_repeat_named(case, data):
    frame, row = case
    copies = data.draw(st.integers(1, 3))
    order = [*range(row), *[row] * (copies + 1), *range(row + 1, len(frame))]
    quality = check_bars(frame.iloc[order])
    finding = only(quality, "duplicate")
    assert (finding.rows, finding.first_row, finding.first_ms) == (copies, row + 2, frame.index.asi8[row])
    assert quality.gaps == 0 and quality.rows == len(frame) + copies and len(quality.problems) == 1


@given(bars_and_row(), st.data())
def test_a_row_out_of_order_is_named_and_hides_no_gap(case, data):
    frame, row = case
    to = data.draw(st.integers(0, len(frame) - 1).filter(lambda to: to != row))
    order = [i for i in range(len(frame)) if i != row]
    order.insert(to, row)
    quality = check_bars(frame.iloc[order])
    finding = only(quality, "unsorted")
    assert finding.rows == 1
    assert finding.first_row == next(i for i in range(1, len(order)) if order[i] < order[i - 1]) + 1
    assert quality.gaps == 0 and [quality.first_ms, quality.last_ms] == frame.index.asi8[[0, -1]].tolist()


@given(bars_and_row())
def test_bars_newest_first_are_unsorted_in_all_rows_but_the_first(case):
    frame, _ = case
    assert only(check_bars(frame.iloc[::-1]), "unsorted").rows == len(frame) - 1


@given(bars_and_row(least=12), st.data())
def test_gaps_are_counted_and_the_longest_named(case, data):
    frame, _ = case
    start = data.draw(st.integers(1, len(frame) - 9))
    length = data.draw(st.integers(1, 4))
    cut = list(range(start, start + length))
    quality = check_bars(frame.drop(frame.index[cut]), check_bars(frame).interval)
    assert (quality.gaps, quality.missing, quality.problems) == (1, length, ())
    assert only(quality, "gap").rows == length
    (gap,) = quality.longest_gaps
    assert [gap.start_ms, gap.end_ms, gap.bars] == [*frame.index.asi8[[start, start + length]], length]
    assert f"the longest of {length} from {format_time(gap.start_ms)}" in quality.warnings[0]


def test_only_the_five_longest_gaps_are_listed_longest_first():
    frame = clean(300)
    starts, lengths = np.array([10, 30, 60, 100, 150, 200, 250]), np.array([3, 1, 7, 2, 9, 5, 9])
    cut = np.concatenate([np.arange(s, s + n) for s, n in zip(starts, lengths, strict=True)])
    quality = check_bars(frame.drop(frame.index[cut]))
    assert (quality.gaps, quality.missing) == (7, 36)
    assert [gap.bars for gap in quality.longest_gaps] == [9, 9, 7, 5, 3]
    assert quality.longest_gaps[0].start_ms < quality.longest_gaps[1].start_ms
    assert "7 gaps with 36 of 300 bars absent" in quality.warnings[0]


@given(bars_and_row(), st.integers(1, 400))
def test_a_bar_off_the_grid_is_a_warning(case, shift_ms):
    frame, row = case
    stamps = frame.index.asi8.copy()
    stamps[row] += shift_ms
    frame.index = pd.DatetimeIndex(stamps.astype("datetime64[ms]"), tz="UTC")
    quality = check_bars(frame)
    finding = only(quality, "off_grid")
    assert (finding.rows, finding.first_row, finding.first_ms) == (1, row + 1, stamps[row])
    assert quality.problems == () and quality.gaps == 0


@given(bars_and_row())
def test_a_bar_without_volume_is_a_warning(case):
    frame, row = case
    frame.iloc[row, 4] = 0.0
    quality = check_bars(frame)
    assert only(quality, "zero_volume").first_row == row + 1 and quality.problems == () and len(quality.warnings) == 1


@given(st.sampled_from(INTERVALS), st.sampled_from(INTERVALS), st.integers(2, 50))
def test_an_interval_that_the_data_contradict_is_a_problem_saying_both(given_interval, true_interval, rows):
    quality = check_bars(clean(rows, true_interval), given_interval)
    if given_interval == true_interval:
        assert quality.problems == ()
    else:
        (problem,) = quality.problems
        assert f"interval {given_interval} was given but the most common step is {true_interval}" in problem
    assert quality.interval == true_interval


def test_an_interval_may_be_spelled_in_any_unit():
    quality = check_bars(clean(5, "1d"), "24h")
    assert quality.problems == () and quality.interval == "1d"
    assert check_bars(clean(1), "60m").interval == "1h"
    with pytest.raises(ParameterError, match="interval 'hourly' is not"):
        check_bars(clean(5), "hourly")


def test_too_few_bars_to_tell_an_interval_are_refused_unless_it_is_given():
    assert "does not tell the interval" in check_bars(clean(1)).problems[0]
    assert check_bars(clean(1), "1h").problems == ()
    assert check_bars(clean(0)).problems == check_bars(clean(0), "1h").problems == ("there are no bars",)
    same = check_bars(clean(1).iloc[[0, 0]])
    assert len(same.problems) == 2 and same.count("duplicate") == 1


def test_a_step_that_is_no_whole_second_is_refused():
    frame = clean(5)
    frame.index = pd.date_range("2024-01-01", periods=5, freq="250ms", tz="UTC", unit="ms")
    quality = check_bars(frame)
    assert quality.interval is None and "the most common step is 250 ms" in quality.problems[0]


def test_daily_bars_of_another_midnight_are_on_their_own_grid():
    assert check_bars(clean(30, "1d", 1_704_067_200_000 + 8 * 3_600_000)).warnings == ()


def test_every_problem_is_in_the_refusal():
    frame = clean(10)
    frame.iloc[2, 1] = 0.1
    frame.iloc[4, 4] = -1.0
    frame = frame.iloc[[0, 1, 2, 3, 3, 5, 4, 6, 7, 8, 9]]
    quality = check_bars(frame, "1d")
    assert {finding.code for finding in quality.findings} == {
        "interval",
        "duplicate",
        "unsorted",
        "high_below_low",
        "negative_volume",
    }
    with pytest.raises(DataError) as caught:
        raise_if_blocked(quality, "BTC-USD")
    text = str(caught.value)
    assert text.startswith("BTC-USD: interval 1d was given but the most common step is 1h; ")
    for said in ("duplicate time stamps in 1 row, first in row 5", "first in row 7", "row 3 (", "row 7 ("):
        assert said in text
    for advice in ("--repair drop-duplicates", "--repair sort", "--repair drop-bad", "--accept interval"):
        assert advice in text
    assert "\n" not in text and text.endswith(".")


@given(bars_and_row())
@settings(max_examples=20)
def test_the_check_changes_nothing(case):
    frame, _ = case
    before = frame.copy()
    check_bars(frame)
    pd.testing.assert_frame_equal(frame, before)


def test_a_frame_that_is_no_bars_is_refused():
    frame = clean(5)
    for wrong, said in [
        (frame.drop(columns="volume"), "the bars lack volume"),
        (frame.reset_index(drop=True), "indexed by RangeIndex"),
        (frame.tz_localize(None), "a DatetimeIndex in UTC is needed"),
        (frame.set_index(frame.index.where(frame.index != frame.index[2])), "row 3 of the bars has no time stamp"),
    ]:
        with pytest.raises(DataError, match=said):
            check_bars(wrong)


def test_the_result_shows_itself_in_text_json_and_html():
    frame = clean(10).drop(clean(10).index[4])
    frame.iloc[1, 1] = 0.1
    quality = check_bars(frame)
    plain = json.loads(json.dumps(quality.to_dict(), allow_nan=False))
    assert (plain["rows"], plain["interval"], plain["gaps"], plain["missing_bars"], plain["impossible"]) == (
        9,
        "1h",
        1,
        1,
        1,
    )
    assert plain["first"] == "2024-01-01T00:00:00+00:00" and plain["findings"][0]["first_row"] == 2
    text, html = quality.summary(), quality._repr_html_()
    assert text.startswith(
        "rows 9, span 2024-01-01 00:00 to 2024-01-01 09:00 UTC, interval 1h, gaps 1 (bars missing: 1)"
    )
    for sentence in (*quality.problems, *quality.warnings):
        assert sentence in text and sentence in html
    json.dumps(check_bars(clean(0)).to_dict())
    assert "rows 0, span none" in check_bars(clean(0)).summary()
    frame.iloc[:, 0] = np.nan
    json.dumps(check_bars(frame).to_dict(), allow_nan=False)


def test_each_impossible_kind_is_put_to_the_test():
    assert set(FAULTS) == set(IMPOSSIBLE)
