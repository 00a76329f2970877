"A memory of indicator values gives what computing gives, to every thread, within its bytes."

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from markets import walk

from rrr.features.columns import Memo, _memo
from rrr.features.indicators import atr, ema, rsi, sma


def test_what_is_remembered_is_what_was_computed():
    bars = walk(300)
    alone = sma(bars.close, 10), atr(bars.high, bars.low, bars.close, 5)
    with Memo(bars) as memo:
        for _ in range(2):
            pd.testing.assert_series_equal(sma(bars["close"], 10), alone[0])
            pd.testing.assert_series_equal(atr(bars["high"], bars["low"], bars["close"], 5), alone[1])
    assert memo.bytes == 2 * 300 * 8 and len(memo._values) == 2


def test_inputs_parameters_and_indicators_are_told_apart():
    bars = walk(100)
    with Memo(bars):
        got = [sma(bars.close, 5), sma(bars.close, 6), ema(bars.close, 5), sma(bars.open, 5), rsi(bars.close, 5)]
    want = [sma(bars.close, 5), sma(bars.close, 6), ema(bars.close, 5), sma(bars.open, 5), rsi(bars.close, 5)]
    for a, b in zip(got, want, strict=True):
        pd.testing.assert_series_equal(a, b)


def test_changing_what_one_got_changes_nothing_for_others():
    bars = walk(50)
    with Memo(bars):
        first = sma(bars.close, 3)
        first[:] = 7.0
        assert not (sma(bars.close, 3) == 7.0).any()


def test_what_is_not_a_column_of_the_frame_is_never_remembered():
    bars = walk(50)
    with Memo(bars) as memo:
        for k in range(3):
            changed = bars.close * (k + 1.0)
            np.testing.assert_allclose(sma(changed, 3).iloc[-1], changed.iloc[-3:].mean())
        sma(bars.close.to_numpy(), 3)
        sma(bars.close.iloc[10:], 3)
    assert memo.bytes == 0


def test_a_changed_series_is_computed_anew():
    bars = walk(50)
    with Memo(bars):
        before = sma(bars.close, 3)
        close = bars.close
        close.iloc[-1] = 1e6
        assert sma(close, 3).iloc[-1] > 1e5 and sma(bars.close, 3).iloc[-1] == before.iloc[-1]


def test_the_oldest_is_forgotten_when_the_bytes_are_spent():
    bars = walk(100)
    with Memo(bars, most_bytes=3 * 800) as memo:
        for n in range(2, 12):
            sma(bars.close, n)
            sma(bars.close, 2)
        assert memo.bytes == 3 * 800 and {k[2] for k in memo._values} == {(2,), (10,), (11,)}


def test_it_ends_with_its_block_even_when_that_fails():
    bars = walk(20)
    with pytest.raises(RuntimeError), Memo(bars):
        raise RuntimeError
    assert _memo.get() is None


def test_threads_share_one_memory():
    bars = walk(2_000)
    memo, want = Memo(bars), {n: sma(bars.close, n) for n in range(2, 40)}

    def work(seed):
        order = np.random.default_rng(seed).permutation(np.arange(2, 40))
        with memo:
            return all(sma(bars.close, int(n)).equals(want[int(n)]) for n in order)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(12)))
    assert memo.bytes == 38 * 16_000
