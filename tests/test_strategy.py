"A strategy is refused when it breaks the contract, and the library's strategies keep it."

import copy
import math
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markets import frame, mock, ticks, walk

import rrr.strategy.library  # noqa: F401 registers the strategies
from rrr.core.errors import ParameterError
from rrr.core.market import OHLCV
from rrr.strategy.contract import (
    REGISTRY,
    Bars,
    Float,
    Int,
    Signal,
    Strategy,
    get_strategy,
    strategy,
    strategy_source,
)

SHORT = {
    "sma_cross": [dict(fast=2, slow=5), dict(fast=3, slow=4), dict(fast=5, slow=20)],
    "breakout": [dict(entry=9, leave=5)],
    "chandelier": [dict(entry=7, n=3, ranges=2.0)],
    "momentum_long_short": [dict(n=12, calm=0.5)],
    "volatility_target": [dict(n=12, percent=1.0)],
    "bollinger_reversion": [dict(n=8, k=1.2)],
    "rsi_pullback": [dict(n=2, trend=20)],
    "grid": [dict(n=12, step=0.7, steps=3)],
    "ridge_forecast": [dict(train=60, refit=10, horizon=3, hurdle=0.05)],
    "calm_trend": [dict(n=9, greed=70.0)],
    "pairs": [dict(n=15, enter=1.2)],
    "strongest": [dict(n=10, hold=6, most=1)],
}
EVERY = [(name, p) for name in sorted(REGISTRY) for p in SHORT.get(name, [{}]) if not REGISTRY[name].panel]
PANELS = [(name, p) for name in sorted(REGISTRY) for p in SHORT.get(name, [{}]) if REGISTRY[name].panel]
ALL = pytest.mark.parametrize(("name", "params"), EVERY)


def fed(bars: pd.DataFrame) -> pd.DataFrame:
    "The bars with a sentiment that changes once a day"
    mood = np.random.default_rng(8).integers(20, 95, len(bars) // 24 + 1).repeat(24)[: len(bars)]
    return bars.assign(sentiment=mood.astype(float))


@pytest.fixture
def registry():
    "The registry, put back as it was"
    before = dict(REGISTRY)
    yield REGISTRY
    REGISTRY.clear()
    REGISTRY.update(before)


def returning(make) -> Strategy:
    "A strategy whose function answers `make(bars)`"
    return Strategy(lambda bars: make(bars), lambda: 1, {})


# Parameters


def test_defaults_are_completed_and_kept_in_order():
    s = get_strategy("sma_cross")
    assert s.params() == s.params(None) == s.params({}) == {"fast": 10, "slow": 50}
    assert (
        s.params({"slow": np.int64(30)}) == {"fast": 10, "slow": 30}
        and type(s.params({"slow": np.int64(30)})["slow"]) is int
    )
    assert s.warmup(slow=30) == 30 and s.warmup() == 50


@pytest.mark.parametrize("value", [2.5, 10.0, True, np.True_, "10", None, math.nan, [10]], ids=str)
def test_an_ill_typed_whole_number_is_refused_by_name(value):
    with pytest.raises(ParameterError, match="sma_cross: fast must be a whole number"):
        get_strategy("sma_cross").params({"fast": value})


@pytest.mark.parametrize(
    "value", [True, "1.0", None, math.nan, math.inf, -math.inf, 10**400, 1 + 0j], ids=lambda v: str(v)[:9]
)
def test_an_ill_typed_real_number_is_refused_by_name(value):
    with pytest.raises(ParameterError, match="k must be a finite number"):
        Float(0.0, 1.0).read("k", value)
    assert Float(0.0, 1.0).read("k", 3) == 3.0 and type(Float(0.0, 1.0).read("k", np.float32(0.5))) is float


def test_an_unknown_parameter_is_refused_with_the_nearest_name():
    with pytest.raises(ParameterError, match="unknown parameter 'fats' in strategy sma_cross; did you mean 'fast'"):
        get_strategy("sma_cross").params({"fats": 3})
    with pytest.raises(ParameterError, match="unknown parameter"):
        get_strategy("buy_and_hold").warmup(n=3)


def test_parameters_that_are_no_dict_are_refused():
    with pytest.raises(ParameterError, match="must be a dict"):
        get_strategy("sma_cross").params([1, 2])


def test_a_declared_range_is_where_to_search_and_no_limit():
    assert get_strategy("sma_cross").params({"fast": 2, "slow": 1000}) == {"fast": 2, "slow": 1000}


@pytest.mark.parametrize(
    "params", [dict(fast=5, slow=5), dict(fast=6, slow=5), dict(fast=0, slow=5), dict(fast=-3, slow=5)]
)
def test_means_of_impossible_lengths_are_refused(params):
    with pytest.raises(ParameterError, match="fast must be shorter than slow"):
        get_strategy("sma_cross")(walk(30), **params)


def test_parameters_need_a_default_and_a_range():
    for function, space in (
        (lambda bars, n=3: None, {}),
        (lambda bars, n: None, {"n": Int(1, 5)}),
        (lambda bars: None, {"n": Int(1, 5)}),
    ):
        with pytest.raises(ParameterError, match="every parameter needs a default and a declared range"):
            Strategy(function, lambda: 1, space)


def test_a_window_is_at_least_one_bar():
    assert Strategy(lambda bars: None, lambda: 0, {}).warmup() == 1


# Answers


@pytest.mark.parametrize("target", [1.0000001, -1.5, math.inf, -math.inf])
def test_a_target_beyond_the_account_is_refused(target):
    with pytest.raises(ParameterError, match="beyond"):
        returning(lambda bars: Signal(bars.close * 0 + target))(walk(5))


@pytest.mark.parametrize("target", [-1.0, -0.5, 0.0, 0.3, 1.0, math.nan])
def test_a_target_within_the_account_is_passed_on(target):
    assert returning(lambda bars: Signal(bars.close * 0 + target))(walk(5)).target.equals(walk(5).close * 0 + target)


@pytest.mark.parametrize(
    "make",
    [
        lambda bars: Signal(bars.close.iloc[1:]),
        lambda bars: Signal(bars.close.iloc[:0]),
        lambda bars: Signal(pd.concat([bars.close, bars.close])),
        lambda bars: Signal(bars.close.reset_index(drop=True)),
        lambda bars: Signal(bars.close.shift(freq="1h")),
    ],
)
def test_targets_for_other_times_are_refused(make):
    with pytest.raises(ParameterError, match="not at the times of the 5 bars"):
        returning(lambda bars: make(bars))(walk(5, price=0.5))


@pytest.mark.parametrize(
    "make",
    [
        lambda bars: None,
        lambda bars: bars.close * 0,
        lambda bars: Signal((bars.close * 0).to_numpy()),
        lambda bars: Signal((bars.close * 0).to_frame()),
        lambda bars: Signal(1.0),
    ],
)
def test_what_is_no_signal_of_a_series_is_refused(make):
    with pytest.raises(ParameterError, match=r"must return Signal\(target\) with a Series"):
        returning(make)(walk(5))


# Registry


def test_targets_of_a_panel_are_told_by_the_names_of_their_columns():
    bars = {k: walk(30, seed=i) for i, k in enumerate(("A-USD", "B-USD", "C-USD"))}

    def columns(names, **more):
        return Strategy(lambda b: Signal(pd.DataFrame({k: 0.1 * i for i, k in enumerate(names)}, b.index), **more),
                        lambda: 1, {})  # fmt: skip

    told = columns(["C-USD", "A-USD", "B-USD"], stop_loss=0.1)(Bars(bars))
    assert list(told.target) == list(told.stop_loss) == list(bars)
    assert told.target.iloc[0].tolist() == pytest.approx([0.1, 0.2, 0.0]) and (told.stop_loss == 0.1).all(axis=None)
    for names in (["A-USD", "B-USD"], ["A-USD", "B-USD", "X-USD"], [0, 1, 2]):
        with pytest.raises(ParameterError, match="target has the columns .*; the symbols are A-USD, B-USD, C-USD"):
            columns(names)(Bars(bars))


def test_a_strategy_is_found_by_its_name(registry):
    @strategy(warmup=lambda n: n, n=Int(1, 9))
    def flat(bars: Bars, n: int = 2) -> Signal:
        "Never hold."
        return Signal(bars.close * 0.0)

    assert get_strategy("flat") is flat is registry["flat"]
    assert flat.name == "flat" and flat.__doc__ == "Never hold." and repr(flat) == "flat(n=2 in 1..9)"


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(
        ParameterError, match="unknown strategy 'sma_cros'; did you mean 'sma_cross'.*buy_and_hold, calm_trend"
    ):
        get_strategy("sma_cros")


# Identity


def test_the_source_is_the_text_of_the_function():
    assert "sma_cross: fast must be shorter" in strategy_source(get_strategy("sma_cross"))


def typed(body: str) -> str:
    "The identity of a strategy that was typed at a prompt, where there is no file to read"
    space = {"Signal": Signal}
    exec(f"def typed(bars):\n    {body}", space)
    return strategy_source(Strategy(space["typed"], lambda: 1, {}))


def test_without_a_source_any_change_of_the_code_shows():
    bodies = [
        "return Signal(bars.close > 1)",
        "return Signal(bars.close > 2)",
        "return Signal(bars.open > 1)",
        "return Signal(bars.close < 1)",
        "return Signal([x > 1 for x in bars.close])",
        "return Signal([x > 2 for x in bars.close])",
    ]
    assert len({typed(b) for b in bodies}) == len(bodies) and typed(bodies[0]) == typed(bodies[0])


def test_without_a_source_every_process_sees_the_same_code():
    code = (
        "from rrr.strategy.contract import Strategy, strategy_source\n"
        "def f(bars): return [x for x in bars if x in {'a', 'b', 'c', 'd'}]\n"
        "print(strategy_source(Strategy(f, lambda: 1, {})))"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": s}
        ).stdout
        for s in "12"
    }
    assert len(runs) == 1 and " at 0x" not in runs.pop()


# Bars


def test_fields_of_one_symbol_are_series_and_of_many_frames():
    one, other = walk(20, seed=1), walk(20, seed=2)
    assert Bars(one).close.equals(one.close) and len(Bars(one)) == 20 and Bars(one).index is one.index
    many = Bars({"A-USD": one, "B-USD": other})
    assert list(many.close.columns) == ["A-USD", "B-USD"] and many.close["B-USD"].equals(other.close.rename("B-USD"))
    assert set(OHLCV) <= set(dir(many))
    with pytest.raises(AttributeError, match="open, high, low, close, volume, not 'vwap'"):
        many.vwap  # noqa: B018


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda b: pickle.loads(pickle.dumps(b))], ids=["copy", "deep", "pickle"]
)
def test_bars_that_were_copied_or_sent_are_remembered_as_well(again):
    frame, name = walk(50), "close"
    bars = Bars(frame)
    first = getattr(bars, name)
    other = again(bars)
    pd.testing.assert_series_equal(other.close, first)
    assert np.shares_memory(other.close.to_numpy(), other._frame[name].to_numpy())
    assert len(pickle.dumps(bars)) == len(pickle.dumps(Bars(frame)))


def test_bars_stay_what_they_were_when_the_frame_is_changed():
    frame = walk(50)
    want = frame.copy()
    bars = Bars(frame)
    assert len(bars.close)
    frame.loc[frame.index[3], ["open", "close"]] = 1.0
    frame["high"] = 2.0
    for field in OHLCV:
        pd.testing.assert_series_equal(getattr(bars, field), want[field])


@ALL
def test_many_symbols_are_traded_as_each_alone(name, params):
    s, frames = (
        get_strategy(name),
        {"A-USD": fed(walk(60, seed=1)), "B-USD": fed(ticks(60, seed=2)), "C-USD": fed(walk(60, price=1e-5))},
    )
    together = s(Bars(frames), **params).target
    assert list(together.columns) == list(frames)
    for symbol, bars in frames.items():
        np.testing.assert_array_equal(together[symbol], s(bars, **params).target)


# The library: causal, and the same over a trailing window


@ALL
@pytest.mark.parametrize(
    "bars", [mock(120), mock(120, 60, "1m", "MATIC-USD"), ticks(120), ticks(120, tick=1e-5, price=1e-3)], ids=range(4)
)
def test_a_prefix_of_the_bars_gives_a_prefix_of_the_targets(name, params, bars):
    s, bars = get_strategy(name), fed(bars)
    whole = s(bars, **params).target
    for t in range(1, len(bars) + 1, 7):
        pd.testing.assert_series_equal(s(bars.iloc[:t], **params).target, whole.iloc[:t], check_freq=False)


def assert_trailing_window_is_enough(s, bars, params):
    bars, window = fed(bars), s.warmup(**params)
    whole = s(bars, **params).target.to_numpy()
    last = [s(bars.iloc[max(0, t + 1 - window) : t + 1], **params).target.iloc[-1] for t in range(len(bars))]
    np.testing.assert_array_equal(last, whole)


@ALL
@pytest.mark.parametrize(
    "bars", [mock(400), mock(400, 60, "1m", "MATIC-USD"), ticks(400), ticks(400, tick=0.1, price=1e5)], ids=range(4)
)
def test_the_trailing_window_gives_the_last_row_of_the_history(name, params, bars):
    assert_trailing_window_is_enough(get_strategy(name), bars, params)


@settings(deadline=None, max_examples=30)
@given(
    moves=st.lists(st.integers(-1, 1), min_size=30, max_size=80),
    tick=st.sampled_from([1e-8, 1e-5, 0.01, 0.1, 0.5, 1.0, 1e4]),
    case=st.sampled_from(EVERY),
)
def test_equal_means_fall_the_same_way_in_any_window(moves, tick, case):
    closes = (np.abs(np.cumsum(moves)) + 1) * tick
    assert_trailing_window_is_enough(get_strategy(case[0]), frame(closes, closes), case[1])


def test_equal_means_are_no_signal():
    closes = [0.1, 0.2, 0.3, 0.2, 0.2, 0.2, 0.2, 0.2]
    target = get_strategy("sma_cross")(frame(closes, closes), fast=2, slow=4).target
    assert target.tolist()[3:] == [1.0, 0.0, 0.0, 0.0, 0.0]
    still = frame([0.3] * 60, [0.3] * 60)
    assert get_strategy("sma_cross")(still).target.iloc[49:].eq(0).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_crash_by_ten_orders_of_magnitude_leaves_no_trace_in_the_targets(seed):
    before, after = walk(200, seed, 1e5).close.to_numpy(), ticks(8, seed, 1e-6, 1e-5).close.to_numpy()
    closes = np.concatenate([before, np.repeat(after, 30)])
    assert_trailing_window_is_enough(get_strategy("sma_cross"), frame(closes, closes), dict(fast=5, slow=20))


def test_the_crossover_by_hand():
    closes = [10, 10, 10, 13, 16, 10, 4, 4]
    target = get_strategy("sma_cross")(frame(closes, closes), fast=1, slow=3).target
    means = [11, 13, 13, 10, 6]  # of three, from the fourth on
    assert target.iloc[:2].isna().all() and target.iloc[2] == 0
    assert target.iloc[3:].tolist() == [float(c > m) for c, m in zip(closes[3:], means, strict=True)]


def test_buy_and_hold_wants_everything_on_every_bar():
    assert get_strategy("buy_and_hold")(walk(9)).target.tolist() == [1.0] * 9
