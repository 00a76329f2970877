"Longer bars are what their bars add up to, exactly, and nothing that the bars do not say."

import io
import math
import zipfile
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import DataError, ParameterError
from rrr.core.market import OHLCV, interval_ms
from rrr.data.resample import bucket_ms, exact_sums, resample, weighted_means
from rrr.store.bars import epoch_ms

MINUTE = 60_000
START = 1_704_067_200_000  # Monday 2024-01-01
DECIMALS = st.decimals(0, 10**6, places=8) | st.integers(0, 10**6).map(Decimal)
PRICES = st.integers(1, 10**7).map(lambda n: n / 100)


def series(ms, seed=0, **more) -> pd.DataFrame:
    "Possible bars at the given times"
    random = np.random.default_rng(seed)
    ends = random.integers(100, 200, (len(ms), 2)) / 10
    high, low = ends.max(axis=1) + 0.5, ends.min(axis=1) - 0.5
    values = np.column_stack([ends[:, 0], high, low, ends[:, 1], random.integers(0, 500, len(ms)) / 1000])
    index = pd.DatetimeIndex(np.array(ms, dtype="datetime64[ms]"), tz="UTC", name="timestamp")
    bars = pd.DataFrame(values, index=index, columns=OHLCV).assign(**more)
    bars["vwap"] = (high + low) / 2
    bars["trade_count"] = random.integers(1, 9, len(ms)).astype(float)
    return bars


def decimal_sum(values) -> float:
    return float(sum(map(Fraction, values), Fraction()))


@settings(deadline=None)
@given(st.lists(DECIMALS, min_size=1, max_size=30), st.data())
def test_a_sum_is_that_of_the_decimals_rounded_once_in_any_order(values, data):
    shuffled = data.draw(st.permutations(values))
    for numbers in (values, shuffled):
        floats = np.array([float(x) for x in numbers])
        assert exact_sums(floats, np.array([0, len(floats)])).tolist() == [decimal_sum(values)]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=30).map(np.array))
def test_a_sum_of_floats_that_are_no_decimals_is_rounded_once(values):
    got = exact_sums(values, np.array([0, len(values)]))[0]
    as_floats, as_decimals = math.fsum(values), decimal_sum(Decimal(repr(x)) for x in values.tolist())
    assert got in (as_floats, as_decimals)


def test_one_odd_number_spoils_only_its_own_bucket():
    values = np.array([0.1, 0.2, 1 / 3, 0.1, 0.2])
    assert exact_sums(values, np.array([0, 2, 3, 5])).tolist() == [0.3, 1 / 3, 0.3]


def test_totals_beyond_53_and_63_bits_are_rounded_once():
    long = [Decimal("9999999.12345678")] * 5000
    assert exact_sums(np.array([float(x) for x in long]), np.array([0, 5000])).tolist() == [decimal_sum(long)]
    huge = np.full(20_000, 999_999_999_999_999.0)
    assert exact_sums(huge, np.array([0, 20_000])).tolist() == [math.fsum(huge)]


@settings(deadline=None)
@given(st.lists(st.tuples(PRICES, st.floats(1e-8, 1e6)), min_size=1, max_size=30))
def test_a_weighted_mean_is_right_to_the_last_place(rows):
    values, weights = np.array(rows).T
    exact = sum(Fraction(v) * Fraction(w) for v, w in rows) / sum(Fraction(w) for _, w in rows)
    got = weighted_means(values, weights, np.array([0, len(rows)]))[0]
    assert abs(Fraction(float(got)) - exact) <= Fraction(math.ulp(float(exact))) / 2 * Fraction(1001, 1000)
    assert values.min() <= got <= values.max()


def test_a_mean_without_weight_is_undefined():
    assert np.isnan(weighted_means(np.ones(2), np.zeros(2), np.array([0, 2])))


@given(st.integers(0, 4_000_000_000_000), st.sampled_from(["1s", "7m", "4h", "1d", "3d", "1w", "2w"]))
def test_a_moment_lies_in_its_bucket_and_weeks_start_on_monday(ms, interval):
    start = int(bucket_ms(np.array([ms]), interval)[0])
    assert start <= ms < start + interval_ms(interval)
    if interval.endswith("w"):
        assert pd.Timestamp(start, unit="ms").day_name() == "Monday"


@st.composite
def gapped(draw):
    "Minutes of which some are absent, and the interval to resample to"
    first = draw(st.integers(0, 3000))
    kept = draw(st.lists(st.booleans(), min_size=1, max_size=200))
    minutes = [first + i for i, k in enumerate(kept) if k or not i]
    bars = series([START + MINUTE * m for m in minutes], seed=draw(st.integers(0, 99)))
    return bars, draw(st.sampled_from(["1m", "2m", "5m", "15m", "1h", "4h"]))


@given(gapped())
@settings(deadline=None, max_examples=60)
def test_a_bucket_is_what_its_bars_say(case):
    bars, interval = case
    got = resample(bars, interval, partial=True, source="1m")
    groups = [g for _, g in bars.groupby(bucket_ms(epoch_ms(bars.index), interval))]
    assert len(got) == len(groups)
    for (_, bar), g in zip(got.iterrows(), groups, strict=True):
        assert [bar["open"], bar["close"]] == [g["open"].iloc[0], g["close"].iloc[-1]]
        assert [bar["high"], bar["low"]] == [g["high"].max(), g["low"].min()]
        assert bar["volume"] == decimal_sum(Decimal(repr(v)) for v in g["volume"])
        assert bar["trade_count"] == g["trade_count"].sum()
        if bar["volume"] > 0:
            assert bar["vwap"] == pytest.approx(np.average(g["vwap"], weights=g["volume"]), rel=1e-14)
        else:
            assert np.isnan(bar["vwap"])
    size = interval_ms(interval) // MINUTE
    assert got.attrs["incomplete"] == sum(len(g) < size for g in groups)
    assert got.attrs["left_out"] == 0


@given(gapped())
@settings(deadline=None, max_examples=60)
def test_only_edges_that_the_bars_do_not_reach_are_left_out(case):
    bars, interval = case
    whole, got = resample(bars, interval, partial=True, source="1m"), resample(bars, interval, source="1m")
    size, stamps = interval_ms(interval), epoch_ms(bars.index)
    early, late = int(stamps[0] % size > 0), int((stamps[-1] + MINUTE) % size > 0)
    pd.testing.assert_frame_equal(got, whole.iloc[early:].head(len(whole) - early - late), check_exact=True)
    assert got.attrs["left_out"] == len(whole) - len(got)
    assert got.attrs["incomplete"] <= whole.attrs["incomplete"]


@given(st.integers(1, 400), st.integers(0, 400), st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_steps_upward_lead_where_one_stride_does(rows, first, seed):
    bars = series(START + MINUTE * np.arange(first, first + rows), seed)
    direct = resample(bars, "1h", partial=True, source="1m")
    stepwise = resample(resample(bars, "15m", partial=True, source="1m"), "1h", partial=True, source="15m")
    same = [*OHLCV, "trade_count"]
    pd.testing.assert_frame_equal(stepwise[same], direct[same], check_exact=True)
    np.testing.assert_allclose(stepwise["vwap"], direct["vwap"], rtol=1e-14)


def test_the_same_interval_gives_the_same_bars():
    bars = series(START + MINUTE * np.arange(10))
    pd.testing.assert_frame_equal(resample(bars, "1m")[OHLCV], bars[OHLCV], check_exact=True)


def test_weeks_run_from_monday_to_sunday():
    days = series(START + 86_400_000 * np.arange(15))
    weeks = resample(days, "1w")
    assert [f"{t:%a %F}" for t in weeks.index] == ["Mon 2024-01-01", "Mon 2024-01-08"]
    assert weeks.attrs["left_out"] == 1


def test_unknown_counts_and_buys_stay_unknown():
    bars = series(START + MINUTE * np.arange(4), buy_volume=[0.1, np.nan, 0.1, 0.2])
    bars["trade_count"] = pd.array([1, 2, None, 4], dtype="Int64")
    got = resample(bars, "2m")
    assert got["trade_count"].tolist()[0] == 3 and np.isnan(got["trade_count"].iloc[1])
    assert np.isnan(got["buy_volume"].iloc[0]) and got["buy_volume"].iloc[1] == 0.3


def test_a_vwap_that_one_bar_lacks_is_lacking_unless_that_bar_has_no_volume():
    bars = series(START + MINUTE * np.arange(4))
    bars["volume"], bars["vwap"] = [1.0, 1.0, 0.0, 2.0], [10.0, np.nan, np.nan, 11.0]
    got = resample(bars, "2m")["vwap"].tolist()
    assert np.isnan(got[0]) and got[1] == 11


def test_a_frame_that_knows_its_interval_is_believed():
    bars = series([START, START + 4 * MINUTE, START + 8 * MINUTE])
    bars.attrs = {"interval": "1m", "symbol": "BTC-USD"}
    got = resample(bars, "2m", partial=True)
    assert got.attrs == {"interval": "2m", "symbol": "BTC-USD", "incomplete": 3, "left_out": 0}


HOURS = START + 3_600_000 * np.arange(6)


@pytest.mark.parametrize(
    ("bars", "interval", "kind", "why"),
    [
        (series(HOURS), "15m", ParameterError, "bars of 1h do not make bars of 15m"),
        (series(HOURS), "90m", ParameterError, "a whole multiple of 1h"),
        (series(HOURS), "1y", ParameterError, "not a count and a unit"),
        (
            series(HOURS + 5000),
            "4h",
            DataError,
            r"bar 1 \(2024-01-01 00:00:05\) and 5 more are off the 1h grid, so a bar of 4h",
        ),
        (series(HOURS + [0, 0, 1, 0, 0, 0]), "4h", DataError, r"bar 3 \(.*\) is off the 1h grid"),
        (series(START + 7 * 86_400_000 * np.arange(3)), "7d", DataError, "is off|are off"),
        (series(HOURS)[::-1], "4h", DataError, "bar 2 .* is not after the bar before it"),
        (series(HOURS).iloc[[0, 1, 1]], "4h", DataError, "bar 3 .* is not after the bar before it"),
        (series(HOURS).iloc[:1], "4h", DataError, "do not tell their interval"),
        (series(HOURS).iloc[:0], "4h", DataError, "there are no bars"),
        (series(HOURS).drop(columns="volume"), "4h", DataError, "lack volume"),
        (series(HOURS).assign(close=[1, 2, np.nan, 4, 5, 6]), "4h", DataError, "bar 3 .*: close is nan"),
        (series(HOURS).assign(volume=[1, -2, 1, 4, 5, 6]), "4h", DataError, "bar 2 .*: volume is -2"),
        (series(HOURS).tz_localize(None), "4h", DataError, "DatetimeIndex with a zone"),
    ],
)
def test_what_cannot_be_resampled_is_refused_with_the_reason(bars, interval, kind, why):
    with pytest.raises(kind, match=why):
        resample(bars, interval)


# Real bars: the venue's own longer bars are the witness.


def binance(folder, symbol, interval) -> pd.DataFrame:
    bars = pd.read_parquet(folder / "ohlcv" / f"binance_spot_{symbol}_{interval}.parquet").set_index("ts")
    return bars.rename_axis("timestamp").rename(columns={"trades": "trade_count", "taker_buy_base": "buy_volume"})


BINANCE = pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT", "SOLUSDT", "AVAXUSDT"])
SAME = [*OHLCV, "trade_count", "buy_volume"]


@BINANCE
def test_binance_quarter_hours_make_the_hours_of_binance(shared_data, symbol):
    quarters, hours = binance(shared_data, symbol, "15m"), binance(shared_data, symbol, "1h")
    got = resample(quarters, "1h")
    both = got.index.intersection(hours.index)
    assert len(both) == 4392 and got.attrs["incomplete"] == got.attrs["left_out"] == 0
    got, want = got.loc[both, SAME], hours.loc[both, SAME].astype(float)
    exact = [*OHLCV[:4], "trade_count"]
    pd.testing.assert_frame_equal(got[exact], want[exact], check_exact=True, check_freq=False)
    for name in ("volume", "buy_volume"):
        assert np.array_equal(got[name], want[name])


@BINANCE
def test_binance_hours_make_the_days_of_binance(shared_data, symbol):
    hours, days = binance(shared_data, symbol, "1h"), binance(shared_data, symbol, "1d")
    got = resample(hours, "1d")
    assert got.attrs["incomplete"] == 1  # 2023-03-24 has 23 hours
    full = got.index.intersection(days.index).drop(pd.Timestamp("2023-03-24", tz="UTC"))
    assert len(full) == 1276
    pd.testing.assert_frame_equal(
        got.loc[full, SAME], days.loc[full, SAME].astype(float), check_exact=True, check_freq=False
    )


def test_hours_off_the_grid_are_refused_until_they_are_taken_out(shared_data):
    bars = binance(shared_data, "BTCUSDT", "1h_2017-2024_gapped")
    with pytest.raises(DataError, match=r"2018-02-09 09:28:14\) and 42 more are off the 1h grid"):
        resample(bars, "1d")
    kept = bars[epoch_ms(bars.index) % 3_600_000 == 0]
    assert resample(kept, "1d").attrs["incomplete"] > 20


@pytest.mark.parametrize(("day", "rows"), [("2016-10-07", 1419), ("2016-10-08", 1400)])
def test_lean_seconds_make_the_minutes_of_lean(shared_data, day, rows):
    def lean(size):
        path = shared_data / "raw" / "lean_zip" / f"coinbase_{size}_btcusd_{day.replace('-', '')}_trade.zip"
        with zipfile.ZipFile(path) as archive:
            text = archive.read(archive.namelist()[0]).decode()
        bars = pd.read_csv(io.StringIO(text), header=None, names=["ms", *OHLCV])
        index = pd.DatetimeIndex((pd.Timestamp(day).value // 10**6 + bars["ms"]).astype("datetime64[ms]"), tz="UTC")
        return bars[OHLCV].set_index(index.rename("timestamp"))

    got = resample(lean("second"), "1m", partial=True, source="1s")
    assert len(got) == rows
    pd.testing.assert_frame_equal(got, lean("minute"), check_exact=True)
