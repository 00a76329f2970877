"Longer bars are used only after they closed, whatever is missing and however many symbols there are."

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markets import frame, gapped, mock, walk

from rrr.core.errors import DataError, ParameterError
from rrr.data.resample import resample
from rrr.features.indicators import ema, sma
from rrr.features.timeframes import Panel, as_bars, higher, join_available, on
from rrr.strategy.contract import Bars

HOUR, DAY = pd.Timedelta("1h"), pd.Timedelta("1D")


def prefix(bars, n):
    "The first n bars, of one symbol or of many"
    if isinstance(bars, Panel):
        return Panel({k: v.iloc[:n] for k, v in bars.fields.items()}, bars.interval)
    return bars.iloc[:n]


def panel(n=120, seed=0) -> Panel:
    "Three symbols: one whole, one listed late with holes, one that stops early"
    a, b, c = (walk(n, seed + i) for i in range(3))
    return as_bars({"A": a, "B": gapped(b.iloc[31:], 0.3, seed), "C": c.iloc[: n - 40]})


def mean_of_two(bars):
    return sma(bars.close, 2)


def by_definition(bars: pd.DataFrame, days: int) -> pd.Series:
    "Mean close of the last days that had closed by each hour's close, day by day and hour by hour"
    out = {}
    for opened in bars.index:
        now, closes = opened + HOUR, []
        day = bars.index[0].ceil("1D")
        while day + DAY <= now:
            inside = bars.close[(bars.index >= day) & (bars.index < day + DAY)].dropna()
            closes += [inside.iloc[-1]] if len(inside) else []
            day += DAY
        out[opened] = np.mean(closes[-days:]) if len(closes) >= days else np.nan
    return pd.Series(out)


@pytest.mark.parametrize("skip", [0, 1, 23])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_daily_value_stands_from_the_close_of_its_day(skip, share):
    bars = gapped(walk(130), share).iloc[skip:]
    bars.attrs["interval"] = "1h"
    got, wanted = on("1d", mean_of_two)(bars), by_definition(bars, 2)
    assert wanted.notna().any()
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_the_last_hour_of_a_day_is_the_first_that_knows_it():
    bars = walk(72)
    daily = on("1d", lambda b: b.close)(bars)
    assert daily.first_valid_index() == pd.Timestamp("2024-01-01 23:00", tz="UTC")
    assert daily.iloc[23] == bars.close.iloc[23] and daily.iloc[46] == bars.close.iloc[23]


def test_values_change_by_time_where_bars_are_missing():
    bars = walk(96).drop(pd.date_range("2024-01-02 20:00", "2024-01-03 04:00", freq="1h", tz="UTC"))
    daily = on("1d", lambda b: b.close)(bars)
    assert daily["2024-01-03 05:00+00:00"] == bars.close["2024-01-02 19:00+00:00"]  # the day closed at midnight
    assert daily["2024-01-02 19:00+00:00"] == bars.close["2024-01-01 23:00+00:00"]


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 120), seed=st.integers(0, 5), many=st.booleans(), coverage=st.sampled_from([0.0, 0.8]))
def test_more_bars_change_no_value_that_was_given(n, seed, many, coverage):
    bars = panel(120, seed) if many else gapped(walk(120, seed), 0.3, seed)
    feature = on("1d", mean_of_two, coverage=coverage)
    n = min(n, len(bars))
    whole, part = feature(bars).iloc[:n], feature(prefix(bars, n))
    (pd.testing.assert_frame_equal if many else pd.testing.assert_series_equal)(part, whole, check_freq=False)


def test_what_comes_later_cannot_leak_in():
    bars = walk(100)
    other = bars.copy()
    other.iloc[60:] *= 7
    feature = on("4h", lambda b: ema(b.close, 3) / b.high)
    pd.testing.assert_series_equal(feature(bars).iloc[:60], feature(other).iloc[:60])


def test_longer_bars_are_those_of_resampling():
    bars = mock(24 * 5)
    made = higher(bars, "1d")
    pd.testing.assert_frame_equal(made, resample(bars, "1d"), check_freq=False)
    assert made.attrs["interval"] == "1d"


def test_a_bucket_entered_midway_or_not_yet_closed_is_no_bar():
    bars = walk(72)
    assert list(higher(bars.iloc[1:], "1d").index.day) == [2, 3]
    assert list(higher(bars.iloc[:71], "1d").index.day) == [1, 2]
    assert len(higher(bars.iloc[1:30], "1d")) == 0


def test_a_day_counts_when_time_has_passed_it_even_without_its_last_hours():
    bars = walk(72).drop(pd.date_range("2024-01-02 22:00", "2024-01-02 23:00", freq="1h", tz="UTC"))
    assert len(higher(bars.iloc[:46], "1d")) == 1
    assert len(higher(bars.iloc[:47], "1d")) == 2  # the first bar of the third day


def test_thin_buckets_are_undefined_where_coverage_is_asked_for():
    bars = walk(72)
    bars = bars.drop(bars.index[26:40])  # 10 of 24 hours are left
    assert higher(bars, "1d").close.notna().all()
    assert list(higher(bars, "1d", coverage=0.5).close.isna()) == [False, True, False]
    assert higher(bars, "1d", coverage=10 / 24).close.notna().all()


def test_old_values_end_with_their_age():
    daily = pd.Series([1.0, 2.0], pd.DatetimeIndex(["2024-01-01", "2024-01-02"], tz="UTC"))
    hours = pd.date_range("2024-01-01", periods=24 * 6, freq="1h", tz="UTC")
    assert join_available(daily, "1d", hours, "1h").iloc[-1] == 2
    aged = join_available(daily, "1d", hours, "1h", max_age="2d")
    assert aged.last_valid_index() == pd.Timestamp("2024-01-04 23:00", tz="UTC")


def test_an_undefined_longer_value_is_not_papered_over_by_an_older_one():
    daily = pd.Series([1.0, np.nan], pd.DatetimeIndex(["2024-01-01", "2024-01-02"], tz="UTC"))
    hours = pd.date_range("2024-01-02", periods=24, freq="1h", tz="UTC")
    joined = join_available(daily, "1d", hours, "1h")
    assert (joined.iloc[:23] == 1).all() and np.isnan(joined.iloc[23])


def test_joining_nothing_gives_nothing():
    none = pd.Series([], pd.DatetimeIndex([], tz="UTC"), dtype=float)
    hours = pd.date_range("2024-01-02", periods=3, freq="1h", tz="UTC")
    assert join_available(none, "1d", hours, "1h", "1d").isna().all()
    assert len(join_available(pd.Series([1.0], hours[:1]), "1h", hours[:0], "1h")) == 0


def test_the_unit_of_the_index_does_not_matter():
    bars, feature = walk(72), on("1d", lambda b: b.close)
    for unit in ("s", "us", "ns"):
        other = bars.set_axis(bars.index.as_unit(unit), axis=0)
        assert (feature(other).to_numpy() == feature(bars).to_numpy()).sum() == 49


def test_each_symbol_of_a_panel_is_what_it_is_alone():
    bars = panel()
    got = on("1d", lambda b: b.close)(bars)
    for symbol in ("A", "C"):
        alone = bars.of(symbol).dropna()
        wanted = on("1d", lambda b: b.close)(alone).reindex(bars.index)
        np.testing.assert_array_equal(got[symbol], wanted)
    assert got["C"].iloc[80:].isna().all()  # it has no bars there, and no values


def test_a_symbol_without_a_single_bar_is_undefined():
    bars = as_bars({"A": walk(48), "B": walk(48) * np.nan})
    got = on("1d", lambda b: b.close)(bars)
    assert got["B"].isna().all() and got["A"].notna().sum() == 25


def test_bars_come_in_many_forms_and_mean_the_same():
    a, b = walk(48, 1), walk(48, 2)
    forms = [
        {"A": a, "B": b},
        pd.concat({"A": a, "B": b}, axis=1),
        pd.concat({"A": a, "B": b}, axis=1).swaplevel(axis=1),
        Bars({"A": a, "B": b}),
    ]
    for form in forms:
        made = as_bars(form)
        assert made.symbols == ["A", "B"] and made.high["B"].equals(b.high)
    single = as_bars(Bars(a))
    assert single.equals(a) and single.attrs["interval"] == "1h"


def test_the_interval_must_be_known_and_be_one():
    bars = walk(48)
    feature = on("1d", mean_of_two)
    with pytest.raises(DataError, match="bars of 1h, and bars of 4h"):
        feature(bars, "4h")
    bars.attrs = {}
    with pytest.raises(DataError, match="do not say their interval"):
        feature(bars)
    assert feature(bars, "1h").notna().sum() == 1
    with pytest.raises(DataError, match="one interval"):
        as_bars({"A": walk(5), "B": walk(5, interval="4h")})


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda b: as_bars(b.iloc[::-1]), DataError, "not after the bar before"),
        (lambda b: as_bars(b.iloc[[0, 0, 1]]), DataError, r"bar 2 \(2024-01-01 00:00:00"),
        (lambda b: as_bars({"A": b.iloc[[0, 0, 1]]}), DataError, "not after the bar before"),
        (lambda b: as_bars(b.reset_index(drop=True)), DataError, "DatetimeIndex"),
        (lambda b: as_bars(b.tz_localize(None)), DataError, "time zone"),
        (lambda b: as_bars(b.to_numpy()), DataError, "not ndarray"),
        (lambda b: as_bars({}), DataError, "one symbol or more"),
        (lambda b: higher(b, "90m"), ParameterError, "whole multiple of 1h"),
        (lambda b: higher(b, "1x"), ParameterError, "interval"),
        (lambda b: higher(b, "1d", coverage=2), ParameterError, "share"),
        (lambda b: higher(b[["close"]], "1d"), DataError, "lack"),
        (lambda b: on("1y", mean_of_two), ParameterError, "interval"),
        (lambda b: on("1d", (sma, 3))(b), ParameterError, "FeatureSet"),
        (lambda b: as_bars({"A": b}).of("B"), ParameterError, "unknown symbol 'B'"),
        (lambda b: as_bars({"A": b}).vwap, AttributeError, "unknown field 'vwap'"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(call, error, text):
    with pytest.raises(error, match=text):
        call(walk(48))


def test_one_bar_or_none_make_no_longer_bar():
    for n in (0, 1):
        bars = frame(np.ones(n), np.ones(n))
        assert len(higher(bars, "1d")) == 0
        assert on("1d", mean_of_two)(bars).isna().all()
