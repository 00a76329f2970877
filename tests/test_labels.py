"Labels are what a patient reader of the chart would write down, and weights count what is shared."

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markets import frame, walk

from rrr.core.errors import DataError, ParameterError
from rrr.core.market import OHLCV
from rrr.features.labels import (
    direction,
    fixed_horizon,
    forward_return,
    forward_volatility,
    sample_weights,
    triple_barrier,
    uniqueness,
)
from rrr.features.timeframes import as_bars
from rrr.strategy.contract import Bars

NAN = math.nan


def bars_of(*rows, interval="1h") -> pd.DataFrame:
    "Bars from (open, high, low, close)"
    bars = frame(np.ones(len(rows)), np.ones(len(rows)), interval)
    bars[OHLCV[:4]] = np.array(rows, dtype=float).reshape(-1, 4)
    return bars


def rough(n=120, seed=0, spread=0.02, holes=0.0) -> pd.DataFrame:
    "Bars with wicks and gaps, some of them missing"
    rng = np.random.default_rng(seed)
    bars = walk(n, seed, spread=spread)
    bars["high"] *= np.exp(np.abs(rng.normal(0, spread, n)))
    bars["low"] *= np.exp(-np.abs(rng.normal(0, spread, n)))
    bars.loc[rng.random(n) < holes, OHLCV] = NAN
    return bars


def by_reading(bars, up, down, horizon, volatility=None, entry="open", sign=False) -> list[tuple]:
    "Label, return, end row and barrier of each bar, by following the trade bar by bar"
    o, h, lo, c = (bars[k].tolist() for k in OHLCV[:4])
    out = []
    for t in range(len(bars)):
        none = (NAN, NAN, None, None)
        scale = 1.0 if volatility is None else volatility.iloc[t]
        if t + horizon >= len(bars) or not scale > 0:
            out.append(none)
            continue
        paid = o[t + 1] if entry == "open" else c[t]
        target = math.inf if up is None else paid * (1 + up * scale)
        stop = -math.inf if down is None else paid * (1 - down * scale)
        found = none
        for i in range(t + 1, t + horizon + 1):
            if math.isnan(paid) or any(math.isnan(v) for k in (o, h, lo, c) for v in k[t : t + horizon + 1]):
                break
            got = None
            if o[i] <= stop:
                got = (-1, o[i], "down")
            elif o[i] >= target:
                got = (1, o[i], "up")
            elif lo[i] <= stop:
                got = (-1, stop, "down")
            elif h[i] >= target:
                got = (1, target, "up")
            elif i == t + horizon:
                got = (np.sign(c[i] - paid) if sign else 0, c[i], "time")
            if got:
                found = (got[0], got[1] / paid - 1, i, got[2])
                break
        out.append(found)
    return out


def same(made: pd.DataFrame, read: list[tuple], index) -> None:
    label, moves, rows, touched = zip(*read, strict=True)
    np.testing.assert_array_equal(made["label"], label)
    np.testing.assert_allclose(made["return"], moves, rtol=1e-12, atol=1e-15)
    ends = [None if row is None else index[row] for row in rows]
    assert [None if pd.isna(e) else e for e in made["end"]] == ends
    assert [None if pd.isna(k) else k for k in made["touched"]] == list(touched)


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 60),
    up=st.sampled_from([None, 0.001, 0.02, 0.1]),
    down=st.sampled_from([None, 0.001, 0.02, 0.1]),
    horizon=st.integers(1, 12),
    entry=st.sampled_from(["open", "close"]),
    sign=st.booleans(),
    holes=st.sampled_from([0.0, 0.1]),
    scaled=st.booleans(),
)
def test_the_triple_barrier_is_what_reading_bar_by_bar_gives(seed, n, up, down, horizon, entry, sign, holes, scaled):
    bars, volatility = rough(n, seed, holes=holes), None
    if scaled:
        volatility = pd.Series(np.random.default_rng(seed).choice([NAN, 0.0, 0.5, 1.0, 20.0], n), bars.index)
    made = triple_barrier(bars, up, down, horizon, volatility, entry, "sign" if sign else "zero")
    same(made, by_reading(bars, up, down, horizon, volatility, entry, sign), bars.index)


def one(*rows, up=0.1, down=0.1, **options) -> tuple:
    got = triple_barrier(bars_of((100, 100, 100, 100), *rows), up, down, len(rows), **options).iloc[0]
    return got["label"], round(got["return"], 9), got["touched"]


def test_nothing_fills_at_the_close_that_decides():
    assert one((110, 111, 109, 110)) == (0, 0, "time")
    assert one((110, 111, 109, 110), entry="close") == (1, 0.1, "up")


def test_a_bar_that_spans_both_barriers_hit_the_stop_first():
    assert one((100, 120, 80, 119)) == (-1, -0.1, "down")


def test_a_gap_through_a_barrier_fills_at_the_open():
    assert one((100, 101, 99, 100), (80, 85, 75, 80)) == (-1, -0.2, "down")
    assert one((100, 101, 99, 100), (130, 140, 60, 61)) == (1, 0.3, "up")


def test_a_barrier_that_is_just_touched_is_touched():

    assert one((64, 80, 64, 70), up=0.25) == (1, 0.25, "up")
    assert one((64, 70, 48, 70), down=0.25) == (-1, -0.25, "down")
    assert one((64, 79.99, 48.01, 70), up=0.25, down=0.25)[2] == "time"


def test_the_last_bar_of_the_horizon_ends_the_trade_at_its_close():
    rows = [(100, 101, 99, 100), (100, 104, 99, 103)]
    assert one(*rows) == (0, 0.03, "time") and one(*rows, at_horizon="sign") == (1, 0.03, "time")


def test_labels_whose_horizon_runs_beyond_the_data_are_undefined_even_if_hit_before():
    bars = bars_of(*[(100, 100, 100, 100)] * 3, (100, 200, 100, 200))
    made = triple_barrier(bars, 0.1, 0.1, 3)
    assert made["label"].iloc[0] == 1 and made["label"].iloc[1:].isna().all() and made["end"].iloc[1:].isna().all()


def test_a_label_depends_on_nothing_after_its_end_but_that_the_horizon_has_passed():
    bars = rough(200, 3)
    made = triple_barrier(bars, 0.03, 0.03, 10)
    other = bars.copy()
    other.iloc[100:, :4] *= 3
    again = triple_barrier(other, 0.03, 0.03, 10)
    early = made["end"] < bars.index[100]
    assert 80 < early.sum() < 100
    pd.testing.assert_frame_equal(made[early], again[early])


def test_a_volatility_makes_barriers_multiples():
    bars = rough(100, 4)
    flat = pd.Series(0.02, bars.index)
    pd.testing.assert_frame_equal(triple_barrier(bars, 2, 1, 8, flat), triple_barrier(bars, 0.04, 0.02, 8))


@pytest.mark.parametrize("form", [lambda bars: bars, Bars])
def test_bars_of_a_strategy_give_the_same_labels(form):
    bars = rough(60)
    pd.testing.assert_frame_equal(triple_barrier(form(bars), 0.02, 0.02, 5), triple_barrier(bars, 0.02, 0.02, 5))


def test_each_symbol_of_a_panel_is_labelled_as_it_is_alone():
    a, b = rough(80, 1), rough(60, 2)
    panel = as_bars({"B": b, "A": a})
    volatility = panel.close.pct_change().rolling(5).std()
    for call in (
        lambda bars, v: triple_barrier(bars, 2, 2, 6, v),
        lambda bars, v: fixed_horizon(bars, 6, v),
    ):
        long = call(panel, volatility)
        assert long.index.names == ["timestamp", "symbol"] and len(long) == 160
        assert long.index[:4].get_level_values(1).tolist() == ["B", "A", "B", "A"]
        for symbol, bars in (("A", a), ("B", b)):
            own = long.xs(symbol, level="symbol").loc[bars.index]
            pd.testing.assert_frame_equal(own, call(bars, volatility[symbol][bars.index]), check_freq=False)


def test_empty_single_and_constant_bars_have_no_surprises():
    for n in (0, 1):
        made = triple_barrier(rough(200).iloc[:n], 0.1, 0.1, 3)
        assert len(made) == n and made.isna().all().all()
    flat = triple_barrier(bars_of(*[(5, 5, 5, 5)] * 10), 0.1, 0.1, 3)
    assert (flat["label"].iloc[:7] == 0).all() and (flat["return"].iloc[:7] == 0).all()
    assert triple_barrier(rough(10), 0.1, 0.1, 50).isna().all().all()


# Fixed horizons.


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 1000), n=st.integers(0, 40), horizon=st.integers(1, 45), threshold=st.floats(0, 0.05))
def test_fixed_horizons_are_read_off_the_closes(seed, n, horizon, threshold):
    close = rough(40, seed, holes=0.1)["close"].iloc[:n]
    moves, signs, noise = [], [], []
    for t in range(n):
        part = close.to_numpy()[t : t + horizon + 1]
        whole = len(part) == horizon + 1
        move = part[-1] / part[0] - 1 if whole else NAN
        moves.append(move)
        signs.append(NAN if math.isnan(move) else float(move > threshold) - float(move < -threshold))
        noise.append(math.sqrt(np.mean(np.diff(np.log(part)) ** 2)) if whole else NAN)
    np.testing.assert_allclose(forward_return(close, horizon), moves, rtol=1e-12)
    np.testing.assert_allclose(forward_return(close, horizon, log=True), np.log1p(moves), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(direction(close, horizon, threshold), signs)
    np.testing.assert_allclose(forward_volatility(close, horizon), noise, rtol=1e-9, atol=1e-15)


def test_labels_come_back_in_the_kind_that_was_given():
    close = rough(30).close
    wide = pd.DataFrame({"A": close, "B": close * 2})
    for f in (forward_return, direction, forward_volatility):
        assert isinstance(f(close.to_numpy(), 3), np.ndarray)
        assert f(wide, 3).columns.tolist() == ["A", "B"]
        np.testing.assert_allclose(f(wide, 3)["B"], f(close, 3), rtol=1e-12)


def test_a_threshold_can_be_one_a_bar():
    close = pd.Series([100.0, 101, 103, 100])
    assert direction(close, 1, pd.Series([0.02, 0.01, NAN, 0])).tolist()[:2] == [0, 1]
    assert np.isnan(direction(close, 1, pd.Series([0.02, 0.01, NAN, 0])).iloc[2])


def test_a_fixed_horizon_knows_its_end():
    bars = rough(20)
    made = fixed_horizon(bars, 4, 0.01)
    assert made["end"].iloc[3] == bars.index[7] and made["end"].iloc[16:].isna().all()
    np.testing.assert_array_equal(made["label"], direction(bars.close, 4, 0.01))
    np.testing.assert_array_equal(made["return"], forward_return(bars.close, 4))


def test_every_label_says_that_it_looks_ahead():
    for f in (forward_return, direction, forward_volatility, fixed_horizon, triple_barrier):
        assert f.label is True


# Uniqueness and weights.


def shared(start, end) -> list[float]:
    "Average uniqueness by counting the labels on every bar of every span"
    spans = [range(s + 1, e + 1) if e >= 0 else range(0) for s, e in zip(start, end, strict=True)]
    out = []
    for span in spans:
        shares = [1 / sum(t in other for other in spans) for t in span]
        out.append(float(np.mean(shares)) if shares else NAN)
    return out


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(-1, 12).filter(bool)), max_size=25))
def test_uniqueness_is_what_counting_gives(spans):
    start = np.array([s for s, _ in spans], dtype=int)
    end = np.array([s + k if k > 0 else -1 for s, k in spans], dtype=int)
    np.testing.assert_allclose(uniqueness(start, end), shared(start, end), rtol=1e-12)


def test_labels_one_after_the_other_are_unique_and_twins_share():
    assert uniqueness(np.array([0, 2, 4]), np.array([2, 4, 6])).tolist() == [1, 1, 1]
    assert uniqueness(np.array([3, 3, 3, 3]), np.array([5, 5, 5, 5])).tolist() == [0.25] * 4


def test_times_and_rows_give_the_same_uniqueness():
    bars = rough(150, 5)
    made = triple_barrier(bars, 0.03, 0.03, 12)
    row = pd.Series(np.arange(150.0), bars.index)
    by_row = uniqueness(np.arange(150), row.reindex(made["end"]).to_numpy())
    np.testing.assert_array_equal(uniqueness(bars.index, made["end"], bars.index), by_row)
    some = made[made["touched"] == "up"]
    got = uniqueness(some.index, some["end"], bars.index)
    wanted = shared(row[some.index].astype(int), row[some["end"]].astype(int))
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_weights_have_mean_one_and_follow_uniqueness_and_return():
    made = triple_barrier(rough(150, 6), 0.03, 0.03, 12)
    own, by_return = sample_weights(made), sample_weights(made, by_return=True)
    known = made["label"].notna()
    assert own.notna().equals(known) and by_return.notna().equals(known)
    assert own.mean() == pytest.approx(1) and by_return.mean() == pytest.approx(1)
    ratio = (by_return / own / made["return"].abs())[known]
    assert ratio.max() == pytest.approx(ratio.min())


def test_symbols_are_weighed_among_their_own():
    a, b = rough(60, 1), rough(60, 2)
    long = triple_barrier(as_bars({"A": a, "B": b}), 0.03, 0.03, 12)
    weights = sample_weights(long)
    assert weights.mean() == pytest.approx(1)
    for symbol, bars in (("A", a), ("B", b)):
        alone = sample_weights(triple_barrier(bars, 0.03, 0.03, 12))
        ratio = (weights.xs(symbol, level="symbol") / alone).dropna()
        assert len(ratio) == 48 and ratio.max() == pytest.approx(ratio.min())


def test_labels_without_a_single_end_have_no_weights():
    made = triple_barrier(rough(5), 0.1, 0.1, 20)
    assert sample_weights(made).isna().all() and len(sample_weights(made.iloc[:0])) == 0


# What is refused.


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda b: forward_return(b.close, 0), ParameterError, "horizon must be a whole number"),
        (lambda b: forward_return(-b.close, 1), DataError, "close of bar 1 is -.*positive prices"),
        (lambda b: forward_return(b.close.where(b.close.index != b.index[4], 0), 1), DataError, "bar 5 is 0"),
        (lambda b: forward_return(b.close.iloc[::-1], 1), DataError, "not after the bar before"),
        (lambda b: forward_return(b.close.iloc[[0, 0]], 1), DataError, "not after the bar before"),
        (lambda b: direction(b.close, 1, -0.1), ParameterError, "cannot be negative"),
        (lambda b: direction(b.close, 1, b.close.iloc[1:]), ParameterError, "share one shape"),
        (lambda b: triple_barrier(b.iloc[::-1], 1, 0.5, 3), DataError, "not after the bar before"),
        (lambda b: triple_barrier(b.iloc[[0, 0]], 1, 0.5, 3), DataError, "not after the bar before"),
        (lambda b: triple_barrier(b * 0, 1, 0.5, 3), DataError, "open of bar 1 is 0"),
        (lambda b: triple_barrier(b.assign(high=np.inf), 1, 0.5, 3), DataError, "high of bar 1 is inf"),
        (lambda b: triple_barrier(b.assign(high=1e-9), 1, 0.5, 3), DataError, "high below its low"),
        (lambda b: triple_barrier(b[["close"]], 1, 0.5, 3), DataError, "lack open, high, low"),
        (lambda b: triple_barrier(b, 0, 0.5, 3), ParameterError, "up must be positive, or None"),
        (lambda b: triple_barrier(b, 1, 1.5, 3), ParameterError, "fraction of the price below 1"),
        (lambda b: triple_barrier(b, 1, -0.1, 3), ParameterError, "down must be a number"),
        (lambda b: triple_barrier(b, 1, 0.5, 2.5), ParameterError, "horizon must be"),
        (lambda b: triple_barrier(b, 1, 0.5, 3, entry="now"), ParameterError, "entry is open or close"),
        (lambda b: triple_barrier(b, 1, 0.5, 3, at_horizon="x"), ParameterError, "at_horizon is zero or sign"),
        (lambda b: triple_barrier(b, 1, 0.5, 3, b.close.iloc[1:]), ParameterError, "share one shape"),
        (lambda b: uniqueness(np.array([1]), np.array([1])), ParameterError, "must end after"),
        (lambda b: uniqueness(np.array([1]), np.array([2, 3])), ParameterError, "as many starts as ends"),
        (lambda b: sample_weights(b), ParameterError, "lack end"),
        (lambda b: sample_weights(fixed_horizon(b, 3).dropna()), DataError, "give the index of all bars"),
        (lambda b: sample_weights(fixed_horizon(b * 0 + 1, 3), by_return=True), DataError, "every return is zero"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(call, error, text):
    with pytest.raises(error, match=text):
        call(rough(30))


def test_labels_of_missing_bars_are_undefined_and_the_others_stand():
    bars = rough(100, 7)
    holed = bars.copy()
    holed.iloc[50] = NAN
    made, whole = triple_barrier(holed, 0.02, 0.02, 5), triple_barrier(bars, 0.02, 0.02, 5)
    assert made["label"].iloc[45:51].isna().all()
    far = [*range(45), *range(51, 95)]
    pd.testing.assert_frame_equal(made.iloc[far], whole.iloc[far])
