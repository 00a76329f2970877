"Two series of one market agree, or what sets them apart is named."

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import DataError
from rrr.core.market import OHLCV
from rrr.data.compare import check_intervals, compare_bars
from rrr.data.faults import inject
from rrr.data.mock import MockDataSource
from rrr.data.resample import resample

BARS = MockDataSource(seed=11).get_historical_data("BTC-USD", 3000, 900)


def other_venue(seed: int, frame: pd.DataFrame = BARS) -> pd.DataFrame:
    "The same market with a premium, a little noise, other volumes, and some bars absent"
    random = np.random.default_rng(seed)
    away = 1.001 + random.normal(0, 2e-4, len(frame))
    out = frame.copy()
    out[OHLCV[:4]] = frame[OHLCV[:4]].mul(away, axis=0)
    out["volume"] *= random.uniform(0.2, 0.4, len(frame))
    return out.drop(out.index[random.choice(len(out), 30, replace=False)])


def codes(comparison) -> list[str]:
    return [finding.code for finding in comparison.findings]


@given(st.integers(0, 100))
@settings(max_examples=10, deadline=None)
def test_venues_of_one_market_agree(seed):
    told = compare_bars(BARS, other_venue(seed), "15m")
    assert (codes(told), told.lag, told.bars, told.missing) == ([], 0, 2970, 0)
    assert told.correlation > 0.8 and told.difference_bps == pytest.approx(-10, abs=0.5)


@given(st.integers(0, 500))
@settings(max_examples=20, deadline=None)
def test_stamps_of_another_clock_are_found_with_their_offset(seed):
    late, _ = inject(BARS, "clock_offset", seed)
    told = compare_bars(late, other_venue(seed), "15m")
    assert told.lag == (late.index[0] - BARS.index[0]) // pd.Timedelta(minutes=15)
    (finding,) = told.findings
    assert (finding.code, finding.severity) == ("clock_offset", "block")
    assert ("later" if told.lag > 0 else "earlier") in finding.text


@pytest.mark.parametrize("hours", [-8, -1, 1, 2, 9])
def test_a_time_zone_shows_as_whole_hours(hours):
    told = compare_bars(BARS.set_axis(BARS.index + pd.Timedelta(hours=hours)), BARS)
    assert told.lag == 4 * hours and f"{abs(hours)}h {'later' if hours > 0 else 'earlier'}" in told.findings[0].text


def test_single_bars_that_differ_are_named():
    bad = BARS.copy()
    bad.iloc[1000, 1] *= 1.05
    bad.iloc[2000, 2] *= 0.93
    told = compare_bars(bad, other_venue(1))
    (finding,) = told.findings
    assert (finding.code, finding.severity, finding.rows, finding.first_row) == ("cross_source", "warn", 2, 1001)
    assert "row 2001 (" in finding.text


@pytest.mark.parametrize("factor, code", [(100, "price_unit"), (0.001, "price_unit"), (2.5, "cross_source")])
def test_prices_in_another_unit_or_of_another_asset_block(factor, code):
    bad = BARS.copy()
    bad[OHLCV[:4]] *= factor
    (finding,) = compare_bars(bad, other_venue(2)).findings
    assert (finding.code, finding.severity) == (code, "block")


def test_volume_in_quote_units_throughout_blocks():
    (finding,) = compare_bars(BARS.assign(volume=BARS.volume * BARS.close), other_venue(3)).findings
    assert (finding.code, finding.severity) == ("volume_unit", "block")


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(DataError, match="share no time stamp"):
        compare_bars(BARS.iloc[:500], BARS.iloc[1000:])
    with pytest.raises(DataError, match="do not tell their interval"):
        compare_bars(BARS.iloc[:1], BARS)


def test_a_comparison_shows_itself_in_json_and_html():
    told = compare_bars(BARS.iloc[:30], BARS)
    assert json.loads(json.dumps(told.to_dict(), allow_nan=False))["correlation"] is None
    assert "30 bars of both" in told._repr_html_() and "Nothing was found" in told._repr_html_()


# Shorter bars


def test_longer_bars_agree_with_the_shorter_ones_they_are_made_of():
    hours = resample(BARS, "1h")
    assert check_intervals(BARS, hours) == [] and check_intervals(BARS.drop(BARS.index[5:9]), hours) == []


@pytest.mark.parametrize("column", OHLCV)
def test_a_longer_bar_that_differs_is_named_with_both_values(column):
    hours = resample(BARS, "1h")
    hours.loc[hours.index[100], column] *= 1.001
    (finding,) = check_intervals(BARS, hours)
    assert (finding.code, finding.rows, finding.first_row) == ("cross_interval", 1, 101)
    assert f"{column} {hours[column].iloc[100]:.10g} instead of" in finding.text


def test_real_bars_of_one_venue_agree_between_intervals(shared_data):
    def read(interval: str) -> pd.DataFrame:
        frame = pd.read_parquet(shared_data / "ohlcv" / f"binance_spot_ETHUSDT_{interval}.parquet").set_index("ts")
        return frame[OHLCV]

    assert check_intervals(read("15m"), read("1h")) == [] == check_intervals(read("1h"), read("1d"))
