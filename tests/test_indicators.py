"Every registered indicator: kinds, holes, little and bad input, causality, where values begin."

import inspect
import math
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import ParameterError
from rrr.features.columns import LONGEST, check_number
from rrr.features.indicators import INDICATORS, atr, ema, sma

NAN = math.nan
EACH = pytest.mark.parametrize("name", sorted(INDICATORS))
TIMED = {"session_vwap"}  # they read the times of a Series
SHORTEST = {"hurst": 32}  # windows that may not be short
WINDOW = 5  # where there is no default


def bars(n=400, seed=0, price=100.0) -> pd.DataFrame:
    "Hourly bars that wander."
    rng = np.random.default_rng(seed)
    close = price * np.exp(np.cumsum(rng.normal(0, 0.02, n)))
    open_ = close * np.exp(rng.normal(0, 0.004, n))
    high = np.maximum(open_, close) * (1 + rng.uniform(0, 0.01, n))
    low = np.minimum(open_, close) * (1 - rng.uniform(0, 0.01, n))
    sizes = {k: rng.uniform(1, 50, n) for k in ("volume", "bid_size", "ask_size")}
    days = pd.date_range("2024-01-01", periods=n, freq="h", tz="UTC", name="timestamp")
    return pd.DataFrame({"open_": open_, "high": high, "low": low, "close": close, "x": close, **sizes}, days)


def params(name: str, small: bool = False) -> dict:
    "Parameters for a call: the defaults, or a third of each window."
    given = {}
    for key, value in INDICATORS[name].params.items():
        if value is inspect.Parameter.empty:
            given[key] = WINDOW
        elif small and isinstance(value, int) and value > 3:
            given[key] = SHORTEST.get(name, max(2, value // 3))
        else:
            given[key] = value
    return given


def call(name: str, frame: pd.DataFrame, kind=lambda s: s, small=False) -> list:
    "Outputs of an indicator on columns of a frame, each made a `kind`."
    f = INDICATORS[name]
    out = f(*(kind(frame[k]) for k in f.inputs), **params(name, small))
    return list(out) if len(f.outputs) > 1 else [out]


def values(name: str, frame: pd.DataFrame, small=False) -> list[np.ndarray]:
    return [np.asarray(out) for out in call(name, frame, small=small)]


def same(one: list[np.ndarray], two: list[np.ndarray], note="") -> None:
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=str(note))


def test_there_are_at_least_forty():
    assert len(INDICATORS) >= 40


@EACH
def test_each_says_what_it_is(name):
    f = INDICATORS[name]
    assert f.__name__ == name and f.__doc__ and f.inputs and f.outputs
    assert set(f.inputs) <= set(bars(1).columns), "inputs have the agreed names"


@EACH
@pytest.mark.parametrize("small", [False, True])
def test_values_begin_where_it_says_and_never_stop(name, small):
    f = INDICATORS[name]
    begin, outs = f.first(**params(name, small)), values(name, bars(700), small)
    for out in outs:
        assert np.isfinite(out[begin:]).all(), f"every value from bar {begin} on"
    assert begin == 0 or any(np.isnan(out[begin - 1]) for out in outs), f"none of all before bar {begin}"


# Kinds and labels


@EACH
def test_the_same_kind_comes_back(name):
    frame = bars(300)
    series = call(name, frame)
    assert all(type(s) is pd.Series and s.index.equals(frame.index) for s in series)
    panel = call(name, frame, lambda s: pd.DataFrame({"BTC-USD": s, "ETH-USD": s * 3}))
    alone = call(name, frame * 3)
    for one, both, other in zip(series, panel, alone, strict=True):
        assert type(both) is pd.DataFrame and list(both.columns) == ["BTC-USD", "ETH-USD"]
        same([both["BTC-USD"], both["ETH-USD"]], [one, other])
    if name not in TIMED:
        arrays = call(name, frame, lambda s: s.to_numpy())
        assert all(type(a) is np.ndarray for a in arrays)
        same(arrays, series)
        wide = call(name, frame, lambda s: np.column_stack([s, s * 3]))
        same([w[:, 1] for w in wide], alone)


@EACH
def test_integers_strides_and_order_in_memory_do_not_matter(name):
    whole = (bars(600) * 100).round().astype(int)
    expected = values(name, whole.iloc[::2].astype(float))
    same(values(name, whole.iloc[::2]), expected)
    if name not in TIMED:
        same(call(name, whole, lambda s: s.to_numpy()[::2]), expected)
        same(call(name, whole, lambda s: s.to_numpy(dtype=float)[::2][::-1][::-1]), expected)
        wide = call(name, whole, lambda s: np.ascontiguousarray(np.column_stack([s.to_numpy()[::2]] * 2)))
        same([w[:, 1] for w in wide], expected)


@EACH
def test_the_input_is_left_as_it_was(name):
    frame = bars(300)
    frame.iloc[150] = NAN
    before = frame.copy()
    call(name, frame)
    pd.testing.assert_frame_equal(frame, before)


@EACH
def test_nothing_but_the_outputs_is_allocated(name):
    frame, count = bars(200_000), len(INDICATORS[name].outputs)
    call(name, frame)
    tracemalloc.start()
    outs = call(name, frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(outs) == count and peak < 8 * len(frame) * (count + (0.3 if name not in TIMED else 2.3))


def test_threads_get_the_same_values():
    frame = bars(20_000)
    alone = {name: values(name, frame) for name in INDICATORS}
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda name: (name, values(name, frame)), [*INDICATORS] * 3))
    for name, outs in together:
        same(outs, alone[name], name)


# Holes


@EACH
@pytest.mark.parametrize("hole", [NAN, math.inf, -math.inf])
def test_each_run_of_finite_bars_is_a_history_of_its_own(name, hole):
    "TA-Lib answers an RSI of 0, the strongest of signals, for ever after a NaN."
    frame = bars(500)
    first, second = values(name, frame.iloc[:230]), values(name, frame.iloc[231:])
    for field in INDICATORS[name].inputs:
        broken = frame.copy()
        broken.iloc[230, broken.columns.get_loc(field)] = hole
        for out, a, b in zip(values(name, broken), first, second, strict=True):
            same([out[:230], out[231:]], [a, b], field)
            assert np.isnan(out[230]), field


@EACH
def test_many_holes_are_no_trouble(name):
    frame = bars(300)
    frame.loc[frame.index[::7], list(INDICATORS[name].inputs)[-1]] = NAN
    for out in values(name, frame):
        assert np.isnan(out[::7]).all()


@EACH
@pytest.mark.parametrize("lead", [NAN, math.inf])
def test_what_is_missing_at_the_start_only_delays(name, lead):
    frame = bars(300)
    late = frame.copy()
    late.iloc[:9] = lead
    for out, rest in zip(values(name, late), values(name, frame.iloc[9:]), strict=True):
        assert np.isnan(out[:9]).all()
        same([out[9:]], [rest])


@EACH
def test_the_last_bar_may_be_the_hole(name):
    frame = bars(300)
    late = frame.copy()
    late.iloc[-1] = NAN
    for out, rest in zip(values(name, late), values(name, frame.iloc[:-1]), strict=True):
        assert np.isnan(out[-1])
        same([out[:-1]], [rest])


def test_a_hole_in_one_symbol_leaves_the_others_alone():
    panel = pd.DataFrame({"A": bars(40).close, "B": bars(40, 1).close})
    panel.iloc[20, 0] = NAN
    out = ema(panel, 5)
    assert out["A"].iloc[20:25].isna().all() and out["A"].iloc[25:].notna().all() and out["B"].iloc[4:].notna().all()


# Little and bad input


@EACH
@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_too_little_is_undefined_and_no_error(name, n):
    frame, begin = bars(n), INDICATORS[name].first(**params(name))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outs = values(name, frame)
    for out in outs:
        assert out.shape == (n,) and (n > begin or np.isnan(out).any() or n == 0)


@EACH
def test_one_bar_less_than_needed_is_undefined(name):
    begin = INDICATORS[name].first(**params(name))
    assert begin == 0 or any(np.isnan(out).all() for out in values(name, bars(begin)))
    assert all(np.isfinite(out[-1]) for out in values(name, bars(begin + 1)))


@EACH
@pytest.mark.parametrize("fill", [NAN, math.inf])
def test_all_holes_are_undefined(name, fill):
    frame = bars(60)
    frame[:] = fill
    assert all(np.isnan(out).all() for out in values(name, frame))


@EACH
@pytest.mark.parametrize("level", [0.0, 1e-9, 0.1, 100.0, 1e9, -5.0])
def test_a_constant_market_gives_no_infinity_and_no_warning(name, level):
    frame = bars(400)
    frame[:] = level
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outs = values(name, frame)
    assert not any(np.isinf(out).any() for out in outs)


@EACH
def test_empty_panels_stay_empty(name):
    if name in TIMED:
        return
    empty = [pd.DataFrame({"A": [], "B": []}, dtype=float), pd.DataFrame(index=range(4), dtype=float), np.empty((0, 3))]
    f = INDICATORS[name]
    for x in empty:
        out = f(*[x] * len(f.inputs), **params(name))
        assert all(o.shape == x.shape for o in (out if len(f.outputs) > 1 else [out]))


ANY = st.one_of(st.floats(-1e9, 1e9), st.sampled_from([0.0, -0.0, 1e-300, NAN, math.inf, -math.inf]), st.just(100.0))


@settings(deadline=None, max_examples=400)
@given(data=st.data(), name=st.sampled_from(sorted(INDICATORS)), n=st.integers(0, 60))
def test_any_numbers_give_a_defined_result(data, name, n):
    frame = bars(n)
    for field in INDICATORS[name].inputs:
        frame[field] = np.array(data.draw(st.lists(ANY, min_size=n, max_size=n)), dtype=float)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outs = values(name, frame, small=True)
    finite = np.isfinite(frame[list(INDICATORS[name].inputs)].to_numpy()).all(axis=1)
    for out in outs:
        assert out.shape == (n,) and not np.isinf(out).any()
        assert np.isnan(out[~finite]).all()


def test_what_is_too_large_for_a_float_is_undefined_beside_a_hole_too():
    rows = [(2, 1, 1, 1e9), (1e-300, 0, 100, 1e9), (2, 1, 1, 1e9), (NAN, NAN, NAN, NAN), (2, 1, 1, 1e9)]
    columns = [np.array(x, dtype=float) for x in zip(*rows, strict=True)]
    for upto in (3, 5):
        out = INDICATORS["ad"](*(x[:upto] for x in columns))
        assert not np.isinf(out).any() and np.isnan(out[1:3]).all() and np.isfinite(out[0])


@settings(deadline=None, max_examples=400)
@given(
    name=st.sampled_from(sorted(INDICATORS)), n=st.integers(0, 300), cut=st.integers(0, 300), seed=st.integers(0, 99)
)
def test_the_future_changes_nothing(name, n, cut, seed):
    frame = bars(n, seed)
    same(values(name, frame.iloc[:cut], True), [out[:cut] for out in values(name, frame, True)])


@EACH
def test_long_histories_are_causal_to_the_last_bit(name):
    frame = bars(6_000)
    whole = values(name, frame)
    for cut in (1_023, 1_024, 1_300, 2_047, 4_099, 5_999):
        same(values(name, frame.iloc[:cut]), [out[:cut] for out in whole], cut)


WRONG = [0, -1, 1.5, True, None, "5", NAN, LONGEST + 1, 10**30]


@EACH
@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_wrong_windows_are_refused_in_a_sentence(name, wrong):
    f, frame = INDICATORS[name], bars(60)
    windows = [k for k, v in params(name).items() if isinstance(v, int) and not isinstance(v, bool) and v > 0]
    for key in windows:
        if wrong is None and f.params[key] is None:
            continue
        with pytest.raises(ParameterError, match=f"{name}.*{key}"):
            f(*(frame[k] for k in f.inputs), **params(name) | {key: wrong})


@EACH
@pytest.mark.parametrize("wrong", [NAN, math.inf, None, "2", True, -1.0], ids=str)
def test_wrong_numbers_are_refused_in_a_sentence(name, wrong):
    f, frame = INDICATORS[name], bars(60)
    for key in [k for k, v in f.params.items() if isinstance(v, float)]:
        with pytest.raises(ParameterError, match=f"{name}.*{key}"):
            f(*(frame[k] for k in f.inputs), **params(name) | {key: wrong})


def test_numbers_are_checked_in_a_range():
    assert check_number("bbands", 2, 0.0) == 2.0 and check_number("bbands", np.float64(0.5), 0, 1) == 0.5
    with pytest.raises(ParameterError, match="bbands: width must be a number from 0 to 1, not 2"):
        check_number("bbands", 2, 0, 1, "width")


DAYS = pd.date_range("2024-01-01", periods=30, tz="UTC")
NO_NUMBERS = [pd.Series(["1", "two"] * 15), ["a"] * 30, pd.Series(DAYS), DAYS - DAYS[0], np.arange(30) + 1j]
NO_NUMBERS += [pd.DataFrame({"A": np.arange(30.0), "B": DAYS}), pd.Series([1.0, {}] * 15)]


@pytest.mark.parametrize("wrong", NO_NUMBERS, ids=lambda x: type(x).__name__)
def test_what_is_no_number_is_refused_in_a_sentence(wrong):
    with pytest.raises(ParameterError, match="real numbers"):
        sma(wrong, 5)


def test_numbers_of_any_kind_are_taken_and_what_is_missing_is_a_hole():
    x = pd.Series(np.arange(30.0) ** 2 % 7)
    broken = x.where(x.index != 12)
    kinds = ["float32", "int", "Int64", "Float64", "double[pyarrow]", object]
    for kind in kinds:
        same([sma(x.astype(kind), 5)], [sma(x, 5)], kind)
    for kind in ["Int64", "Float64", "double[pyarrow]", object]:
        same([sma(broken.astype(kind), 5)], [sma(broken, 5)], kind)
    same([sma(np.ma.masked_array(x, x.index == 12), 5), sma(x.tolist(), 5)], [sma(broken, 5), sma(x, 5)])
    same([sma(x > 3, 5)], [sma((x > 3) * 1.0, 5)])


@EACH
@pytest.mark.parametrize("price", [1e307, 1e-320])
def test_prices_at_the_ends_of_what_a_float_holds_give_no_infinity(name, price):
    frame = bars(200, price=price)
    frame[["volume", "bid_size", "ask_size"]] *= min(price, 1e300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not any(np.isinf(out).any() for out in values(name, frame))


def test_no_output_shares_memory_with_another_or_with_an_input():
    frame = bars(60)
    for name, f in INDICATORS.items():
        arrays = [frame[k].to_numpy() for k in f.inputs] + values(name, frame)
        count = len(f.outputs)
        for i, out in enumerate(arrays[-count:], len(arrays) - count):
            assert not any(np.shares_memory(out, a) for j, a in enumerate(arrays) if i != j), name


def test_inputs_of_one_range_must_belong_together():
    x = bars(30).close
    panel = pd.DataFrame({"A": x, "B": x * 2})
    with pytest.raises(ParameterError, match="shape"):
        atr(x, x, x.iloc[1:], 5)
    with pytest.raises(ParameterError, match="labels"):
        atr(x, x, x.shift(freq="1D"), 5)
    with pytest.raises(ParameterError, match="labels"):
        atr(panel, panel[["B", "A"]], panel, 5)
    with pytest.raises(ParameterError, match="shape"):
        sma(np.zeros((2, 2, 2)), 2)
    np.testing.assert_array_equal(atr(x, x.to_numpy(), x, 5), atr(x, x, x, 5))


@pytest.mark.parametrize("n", [2, 10, 50])
def test_a_window_gives_the_same_mean_whatever_came_long_before_it(n):
    rng = np.random.default_rng(3)
    ticks = np.concatenate([rng.integers(9_999_000, 10_000_000, 800) / 100, rng.integers(1, 9, 1_600) / 1e6])
    whole, alone = sma(ticks, n), sma(ticks[1_300:], n)
    np.testing.assert_allclose(whole[1_300 + n :], alone[n:], rtol=1e-12)
