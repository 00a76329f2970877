"A repair does what it is named for, says so, and leaves every other row as it was."

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import DataError, ParameterError
from rrr.core.market import OHLCV
from rrr.data.faults import FAULTS, inject
from rrr.data.mock import MockDataSource
from rrr.data.quality import IMPOSSIBLE, check_bars
from rrr.data.repair import FILL_BARS, REPAIRS, Repair, repair

BARS = MockDataSource(seed=4).get_historical_data("ETH-USD", 600, 3600)
NOW = int(BARS.index.asi8[-1]) + 3_600_000
CURES = {code: ["drop-bad"] for code in IMPOSSIBLE} | {
    "unsorted": ["sort"],
    "duplicate": ["keep-last"],
    "off_grid": ["drop-off-grid"],
    "unfinished": ["drop-unfinished"],
}
CURABLE = [kind for kind, code in FAULTS.items() if code in CURES] + ["decimal_shift"]


@given(st.sampled_from(CURABLE), st.integers(0, 500))
@settings(max_examples=80, deadline=None)
def test_a_repair_removes_its_fault_and_touches_no_other_row(kind, seed):
    bad, rows = inject(BARS, kind, seed)
    code = FAULTS[kind]
    now = NOW - 1 if kind == "unfinished_bar" else NOW
    good, (done,) = repair(bad, CURES.get(code, ["drop-bad"]), "1h", now)
    assert check_bars(good, "1h", now).count(code) == 0
    assert done.rows == (len(bad) - len(good) if done.name != "sort" else 1)
    untouched = bad.drop(bad.index[rows])
    pd.testing.assert_frame_equal(good.loc[untouched.index], untouched)
    assert set(good.index) <= set(bad.index) and good.index.name == "timestamp"


@given(st.sets(st.sampled_from(sorted(set(REPAIRS) - {"keep-first"}))))
@settings(max_examples=30, deadline=None)
def test_clean_bars_are_returned_as_they_are(names):
    good, done = repair(BARS, names, "1h", NOW)
    pd.testing.assert_frame_equal(good, BARS)
    assert done == []


def test_nothing_is_repaired_that_was_not_asked_for():
    bad, _ = inject(BARS, "nan", 1)
    bad, _ = inject(bad, "duplicate", 1)
    good, done = repair(bad, [], "1h")
    pd.testing.assert_frame_equal(good, bad)
    good, done = repair(bad, ["drop-duplicates"], "1h")
    assert [d.name for d in done] == ["drop-duplicates"] and set(check_bars(good).blocked) <= {"not_finite"}


def test_repairs_are_done_in_a_sound_order_whatever_the_order_of_their_names():
    bad = BARS.iloc[[*range(100), 50, 30, *range(103, 600)]].copy()
    bad.iloc[300, :4] *= 10
    names = ["fill-flat", "drop-bad", "drop-duplicates", "sort"]
    good, done = repair(bad, names, "1h")
    again, _ = repair(bad, names[::-1], "1h")
    pd.testing.assert_frame_equal(good, again)
    assert [d.name for d in done] == ["sort", "drop-duplicates", "drop-bad", "fill-flat"]
    assert len(good) == 600 and check_bars(good).gaps == 0 and check_bars(good).blocked == ()


def test_rows_of_one_stamp_that_differ_stay_unless_one_is_chosen():
    bad, [row] = inject(BARS, "conflicting_duplicate", 3)
    same, done = repair(bad, ["drop-duplicates"], "1h")
    assert len(same) == len(bad) and done == []
    for name, kept in (("keep-first", row - 1), ("keep-last", row)):
        good, (done,) = repair(bad, [name], "1h")
        assert done.rows == 1 and good.loc[bad.index[row]].tolist() == bad.iloc[kept].tolist()
    with pytest.raises(ParameterError, match="exclude each other"):
        repair(bad, ["keep-first", "keep-last"], "1h")


@given(st.integers(1, 80), st.integers(1, 400))
@settings(max_examples=40, deadline=None)
def test_a_short_gap_is_filled_with_flat_bars_and_a_long_one_stays(length, start):
    minutes = BARS.set_axis(pd.date_range("2024-01-01", periods=600, freq="min", tz="UTC", unit="ms", name="timestamp"))
    bad = minutes.drop(minutes.index[start : start + length])
    good, done = repair(bad, ["fill-flat"], "1m")
    if length > FILL_BARS:
        assert done == [] and len(good) == len(bad)
        return
    added = good.loc[minutes.index[start : start + length]]
    assert (added[OHLCV[:4]].to_numpy() == bad.close.iloc[start - 1]).all() and (added.volume == 0).all()
    assert done == [Repair("fill-flat", length, *map(int, added.index.asi8[[0, -1]]))]
    pd.testing.assert_frame_equal(good.drop(added.index), bad)


def test_a_day_is_the_longest_gap_of_long_bars_that_is_filled():
    days = BARS.set_axis(pd.date_range("2020-01-01", periods=600, freq="D", tz="UTC", unit="ms", name="timestamp"))
    assert len(repair(days.drop(days.index[[10]]), ["fill-flat"], "1d")[0]) == 600
    assert len(repair(days.drop(days.index[[10, 11]]), ["fill-flat"], "1d")[0]) == 598


def test_further_columns_of_filled_bars_are_empty_and_keep_their_type():
    frame = BARS.assign(vwap=BARS.close, trade_count=pd.array(np.arange(600), dtype="Int64"))
    good, _ = repair(frame.drop(frame.index[[7, 8]]), ["fill-flat"], "1h")
    assert good.vwap.iloc[7:9].isna().all() and good.trade_count.iloc[7:9].tolist() == [0, 0]
    assert (good.dtypes == frame.dtypes).all()


def test_what_cannot_be_repaired_is_refused():
    with pytest.raises(ParameterError, match="unknown repair 'srot'; did you mean 'sort'"):
        repair(BARS, ["srot"])
    with pytest.raises(ParameterError, match="needs the time of the import"):
        repair(BARS, ["drop-unfinished"])
    with pytest.raises(DataError, match="ask for sort"):
        repair(BARS.iloc[::-1], ["fill-flat"], "1h")
    with pytest.raises(DataError, match="do not tell their interval"):
        repair(BARS.iloc[:1], ["drop-bad"])


def test_a_repair_is_recorded_as_plain_values():
    _, (done,) = repair(BARS.iloc[[0, 2, 1, *range(3, 600)]], ["sort"], "1h")
    assert json.loads(json.dumps(done.to_dict())) == {
        "name": "sort",
        "rows": 1,
        "first": BARS.index[1].isoformat(),
        "last": BARS.index[1].isoformat(),
    }
    assert "sort: 1 row" in done.sentence()
