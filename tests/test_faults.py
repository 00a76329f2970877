"A fault is the one that was asked for, in the rows that it says, and nothing else is touched."

import asyncio
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import ParameterError
from rrr.core.market import OHLCV
from rrr.data.faults import FAULTS, LEAST, STREAM_FAULTS, StreamFaults, faulty, inject
from rrr.data.mock import MockDataSource
from rrr.data.quality import check_bars

MOCK = MockDataSource()
BARS = {
    (symbol, seconds): MOCK.get_historical_data(symbol, 700, seconds)
    for symbol in ("BTC-USD", "MATIC-USD")
    for seconds in (60, 3600, 86_400)
}


def good(symbol="BTC-USD", seconds=3600, n=300, extra=True) -> pd.DataFrame:
    bars = BARS[symbol, seconds].tail(n).copy()
    if extra:
        bars["vwap"] = bars[["high", "low", "close"]].mean(axis=1)
        bars["trade_count"] = pd.array(np.arange(n) + 1, dtype="Int64")
    return bars


def put_in(bars, kind, seed=0):
    "The fault, or none where the bars cannot show it: volume in quote at a price of about one"
    if kind == "volume_in_quote" and bars.close.median() < 10:
        with pytest.raises(ParameterError, match="cannot be told from volume in base"):
            inject(bars, kind, seed)
        return None
    return inject(bars, kind, seed)


anything = given(
    kind=st.sampled_from(list(FAULTS)),
    seed=st.integers(0, 10_000),
    symbol=st.sampled_from(["BTC-USD", "MATIC-USD"]),
    seconds=st.sampled_from([60, 3600, 86_400]),
    n=st.sampled_from([LEAST, 137, 700]),
    extra=st.booleans(),
)


@settings(deadline=None, max_examples=80)
@anything
def test_the_rows_it_names_are_spoilt_and_all_others_are_as_they_were(kind, seed, symbol, seconds, n, extra):
    bars = good(symbol, seconds, n, extra).assign(row=np.arange(n))
    before = bars.copy()
    if not (made := put_in(bars, kind, seed)):
        return
    spoilt, rows = made
    pd.testing.assert_frame_equal(bars, before)
    assert rows == sorted(set(rows)) and 0 <= rows[0] and rows[-1] < len(spoilt)
    assert spoilt.index.dtype == bars.index.dtype and spoilt.index.name == "timestamp"
    assert (spoilt.dtypes == bars.dtypes).all() and spoilt.attrs == bars.attrs
    kept = spoilt[~np.isin(np.arange(len(spoilt)), rows)]
    assert kept.row.is_monotonic_increasing
    pd.testing.assert_frame_equal(kept, bars.iloc[kept.row])
    if kind not in ("gap", "long_gap", "interval_change"):
        assert len(kept) >= n - len(rows)
    assert not spoilt.equals(bars)
    again, same_rows = inject(bars, kind, seed)
    pd.testing.assert_frame_equal(again, spoilt)
    assert same_rows == rows


@settings(deadline=None, max_examples=60)
@anything
def test_faults_lie_in_the_interior_with_good_bars_on_both_sides(kind, seed, symbol, seconds, n, extra):
    if kind in ("clock_offset", "unfinished_bar") or not (made := put_in(good(symbol, seconds, n), kind, seed)):
        return
    spoilt, rows = made
    assert rows[0] >= n // 4
    for_good = kind in ("price_in_cents", "level_jump", "volume_in_quote", "symbol_reuse", "interval_change")
    assert for_good == (rows[-1] == len(spoilt) - 1)


SEEN_TODAY = [kind for kind, code in FAULTS.items() if code in (
    "duplicate", "unsorted", "off_grid", "not_finite", "price_not_positive", "negative_volume", "high_below_low",
    "high_too_low", "low_too_high", "zero_volume",
)]  # fmt: skip


@pytest.mark.parametrize("kind", SEEN_TODAY)
def test_a_row_that_cannot_be_is_found_where_it_was_put(kind):
    for seed in range(20):
        spoilt, rows = inject(good(), kind, seed)
        finding = next(f for f in check_bars(spoilt).findings if f.code == FAULTS[kind])
        assert finding.first_row - 1 in rows


@pytest.mark.parametrize("kind", ["gap", "long_gap", "symbol_reuse"])
def test_a_gap_is_a_gap(kind):
    for seed in range(20):
        spoilt, rows = inject(good(), kind, seed)
        steps = np.diff(spoilt.index.asi8) // 3_600_000
        assert steps[rows[0] - 1] > 1 and (np.delete(steps, rows[0] - 1) == 1).all()
        if kind == "symbol_reuse":
            assert steps[rows[0] - 1] == 18 * 24 + 1
        else:
            assert steps[rows[0] - 1] - 1 == 300 - len(spoilt)


def test_sizes_are_those_of_real_faults():
    bars = good()
    for seed in range(30):
        up, [i] = inject(bars, "bad_print_up", seed)
        assert 1.08 <= up.high.iloc[i] / max(bars.open.iloc[i], bars.close.iloc[i]) <= 1.4
        assert up.close.equals(bars.close)
        down, [i] = inject(bars, "bad_print_down", seed)
        assert 1 / 1.4 <= down.low.iloc[i] / min(bars.open.iloc[i], bars.close.iloc[i]) <= 1 / 1.08
        shifted, [i] = inject(bars, "decimal_shift", seed)
        assert (shifted.iloc[i][OHLCV[:4]] / bars.iloc[i][OHLCV[:4]]).round(9).unique().tolist() in ([10], [0.1])
        cents, rows = inject(bars, "price_in_cents", seed)
        assert np.allclose(cents.close.iloc[rows], bars.close.iloc[rows] * 100)
        assert np.allclose(cents.vwap.iloc[rows], bars.vwap.iloc[rows] * 100)
        stale, rows = inject(bars, "stale_run", seed)
        assert len(rows) >= 30 and (stale.close.iloc[rows] == bars.close.iloc[rows[0] - 1]).all()
        assert stale.volume.iloc[rows].unique().tolist() in ([0], [bars.volume.iloc[rows[0] - 1]])
        quote, rows = inject(bars, "volume_in_quote", seed)
        assert np.allclose(quote.volume.iloc[rows], bars.volume.iloc[rows] * bars.close.iloc[rows])


def test_a_wick_stands_out_of_bars_whose_range_is_wide():
    bars = good(seconds=86_400)
    usual = ((bars.high - bars.low) / bars.close).median()
    spoilt, [i] = inject(bars, "bad_print_up")
    assert spoilt.high.iloc[i] / max(bars.open.iloc[i], bars.close.iloc[i]) - 1 >= 10 * usual * 0.999


def test_longer_bars_are_made_of_the_shorter_ones():
    bars = good()
    for seed in range(10):
        spoilt, rows = inject(bars, "interval_change", seed)
        late, long = bars.iloc[rows[0] :], spoilt.iloc[rows]
        assert long.volume.sum() == pytest.approx(late.volume.sum())
        assert long.trade_count.sum() == late.trade_count.sum()
        assert (long.high.max(), long.low.min()) == (late.high.max(), late.low.min())
        assert (long.open.iloc[0], long.close.iloc[-1]) == (late.open.iloc[0], late.close.iloc[-1])
        assert len(set(np.diff(long.index.asi8))) == 1 and np.diff(long.index.asi8)[0] in range(7_200_000, 18_000_001)


def test_a_fault_is_the_same_in_another_process():
    code = "import sys; sys.path.insert(0, 'tests'); from test_faults import digest; print(digest())"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == digest()


def digest() -> str:
    bars, values = good(), []
    for kind in FAULTS:
        spoilt, rows = inject(bars, kind, 5)
        values += [
            hash(tuple(rows)),
            round(float(np.nan_to_num(spoilt[OHLCV].to_numpy(), posinf=7, neginf=-7).sum()), 4),
        ]
    return str(values)


def test_microseconds_and_another_zone_are_kept():
    bars = good()
    bars.index = bars.index.as_unit("us").tz_convert("Europe/Berlin")
    for kind in FAULTS:
        assert inject(bars, kind)[0].index.dtype == bars.index.dtype


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: inject(good(), "gaps"), "unknown fault 'gaps'; did you mean 'gap'"),
        (lambda: inject(good(n=LEAST - 1), "gap"), "99 bars are too few for a fault: at least 100 are needed"),
        (lambda: inject(good().assign(high=1.0, low=1.0), "swapped_high_low"), "no bar in the middle half has them apart"),
        (lambda: StreamFaults(gap=-0.1), "must be zero or more and at most 1 together"),
        (lambda: StreamFaults(gap=0.6, late=0.6), "must be zero or more and at most 1 together"),
        (lambda: StreamFaults(bad_print=1).put(object()), "a object cannot be misprinted"),
        (lambda: StreamFaults(bad_print=1).put({"size": 1}), "a dict cannot be misprinted"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(ParameterError, match=said):
        make()


rates = st.fixed_dictionaries({name: st.sampled_from([0.0, 0.02, 0.15]) for name in STREAM_FAULTS})


def run(n, **settings):
    faults = StreamFaults(**settings)
    out = [item for i in range(n) for item in faults.put({"n": i, "price": 100.0})] + faults.flush()
    return faults, out


@settings(deadline=None, max_examples=60)
@given(rates=rates, seed=st.integers(0, 1000), n=st.integers(0, 200))
def test_what_arrives_is_what_was_sent_but_for_the_faults_noted(rates, seed, n):
    faults, out = run(n, **rates, seed=seed)
    kinds = dict(faults.injected)
    assert len(kinds) == len(faults.injected) and all(rates[kind] for kind in kinds.values())
    times = {"gap": 0, "duplicate": 2}
    numbers = [item["n"] for item in out]
    assert sorted(numbers) == [i for i in range(n) for _ in range(times.get(kinds.get(i), 1))]
    for item in out:
        moved = max(item["price"] / 100, 100 / item["price"])
        assert 1.08 <= moved <= 1.4 if kinds.get(item["n"]) == "bad_print" else moved == 1
    behind = [i for i, kind in kinds.items() if kind in ("late", "out_of_order")]
    on_time = [i for i in numbers if i not in behind]
    assert on_time == sorted(on_time)
    again, same = run(n, **rates, seed=seed)
    assert (again.injected, same) == (faults.injected, out)


def test_late_items_wait_for_three_to_ten_and_the_disordered_for_one():
    for kind, least, most in (("late", 3, 10), ("out_of_order", 1, 1)):
        faults, out = run(1000, **{kind: 0.02}, seed=1)
        numbers = [item["n"] for item in out]
        behind = {i for i, _ in faults.injected}
        assert len(behind) > 8
        for i in behind - set(range(980, 1000)):
            overtaken = [j for j in numbers[: numbers.index(i)] if j > i and j not in behind]
            assert least <= len(overtaken) <= most


def test_rates_are_kept_and_no_rate_is_no_fault():
    faults, _ = run(20_000, late=0.05, duplicate=0.03, bad_print=0.02)
    counts = {kind: sum(k == kind for _, k in faults.injected) / 20_000 for kind in STREAM_FAULTS}
    assert counts == pytest.approx(dict(gap=0, late=0.05, duplicate=0.03, out_of_order=0, bad_print=0.02), abs=0.005)
    none, out = run(100)
    assert none.injected == [] and [item["n"] for item in out] == list(range(100))


@dataclass(frozen=True)
class Bar:
    high: Decimal
    low: Decimal


@dataclass(frozen=True)
class Quote:
    bid: float
    ask: float


def test_bars_quotes_and_exact_prices_can_be_misprinted():
    faults = StreamFaults(bad_print=1, seed=2)
    for _ in range(20):
        [bar] = faults.put(Bar(Decimal(100), Decimal(90)))
        assert isinstance(bar.high, Decimal) and (bar.high >= 108) != (bar.low <= Decimal(90) / Decimal("1.08"))
        [quote] = faults.put(Quote(99.0, 101.0))
        assert (quote.bid < 95) != (quote.ask > 105)


def test_a_live_feed_comes_through_with_its_faults():
    async def feed():
        for i in range(300):
            yield {"n": i, "price": 100.0}

    async def collect(faults):
        return [item async for item in faulty(feed(), faults)]

    rates = dict(gap=0.01, late=0.05, duplicate=0.05, out_of_order=0.05, bad_print=0.05, seed=3)
    assert asyncio.run(collect(StreamFaults(**rates))) == run(300, **rates)[1]
