"Indicators of volume are TA-Lib's and those of the definition, in whatever unit volume comes."

import math

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import ParameterError
from rrr.features.statistics import zscore
from rrr.features.volume import ad, adosc, amihud, book_imbalance, cmf, mfi, obv, volume_zscore

NAN = math.nan
CASES = {  # of high, low, close, volume
    "obv": lambda h, low, c, v: obv(c, v),
    "ad": lambda h, low, c, v: ad(h, low, c, v),
    "adosc": lambda h, low, c, v: adosc(h, low, c, v),
    "cmf": lambda h, low, c, v: cmf(h, low, c, v, 12),
    "mfi": lambda h, low, c, v: mfi(h, low, c, v, 12),
    "amihud": lambda h, low, c, v: amihud(c, v, 12),
    "book_imbalance": lambda h, low, c, v: book_imbalance(c, v),
    "volume_zscore": lambda h, low, c, v: volume_zscore(v, 12),
}
FIRST = {"obv": 0, "ad": 0, "adosc": 9, "cmf": 11, "mfi": 12, "amihud": 12, "book_imbalance": 0, "volume_zscore": 11}
EACH = pytest.mark.parametrize("name", CASES)


def bars(n=700, seed=0, price=100.0, unit=1000.0):
    rng = np.random.default_rng(seed)
    close = price * np.exp(np.cumsum(rng.normal(0, 0.01, n)))
    high, low = close * np.exp(np.abs(rng.normal(0, 0.005, n))), close * np.exp(-np.abs(rng.normal(0, 0.005, n)))
    return high, low, close, rng.uniform(0.1, 1, n) * unit


def cut(arrays, stop):
    return [a[:stop] for a in arrays]


# Independent references, written from the definitions.


def places(h, low, c):
    return np.array([((y - b) - (a - y)) / (a - b) if a > b else 0.0 for a, b, y in zip(h, low, c, strict=True)])


def by_cmf(h, low, c, v, n):
    out, flow = np.full(len(c), NAN), places(h, low, c) * v
    for i in range(n - 1, len(c)):
        whole = math.fsum(v[i - n + 1 : i + 1])
        out[i] = math.fsum(flow[i - n + 1 : i + 1]) / whole if whole else NAN
    return out


def by_mfi(h, low, c, v, n):
    out, price = np.full(len(c), NAN), (h + low + c) / 3
    for i in range(n, len(c)):
        window = range(i - n + 1, i + 1)
        up = math.fsum(price[j] * v[j] for j in window if price[j] > price[j - 1])
        down = math.fsum(price[j] * v[j] for j in window if price[j] < price[j - 1])
        out[i] = 100 * up / (up + down) if up + down else 0.0
    return out


def by_amihud(c, v, n):
    out = np.full(len(c), NAN)
    for i in range(n, len(c)):
        traded = [j for j in range(i - n + 1, i + 1) if v[j] > 0]
        moves = [abs(c[j] / c[j - 1] - 1) / (c[j] * v[j]) for j in traded]
        out[i] = math.fsum(moves) / len(moves) if moves else NAN
    return out


@pytest.mark.parametrize("n", [2, 3, 5, 8, 14, 50, 300])
@pytest.mark.parametrize("price", [1e-6, 100.0, 6e4])
def test_values_are_those_of_talib(n, price):
    h, low, c, v = bars(price=price)
    np.testing.assert_array_equal(obv(c, v), talib.OBV(c, v))
    scale = 1e-9 * v.max()
    np.testing.assert_allclose(ad(h, low, c, v), talib.AD(h, low, c, v), rtol=1e-9, atol=scale)
    np.testing.assert_allclose(adosc(h, low, c, v, n, 20), talib.ADOSC(h, low, c, v, n, 20), rtol=1e-9, atol=scale)
    np.testing.assert_allclose(mfi(h, low, c, v, n), talib.MFI(h, low, c, v, n), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [2, 3, 8, 20, 300])
@pytest.mark.parametrize("price", [1e-6, 100.0, 6e4])
def test_values_are_those_of_the_definition(n, price):
    h, low, c, v = bars(price=price)
    v[100:110] = 0.0
    np.testing.assert_allclose(cmf(h, low, c, v, n), by_cmf(h, low, c, v, n), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(mfi(h, low, c, v, n), by_mfi(h, low, c, v, n), rtol=1e-9)
    np.testing.assert_allclose(amihud(c, v, n), by_amihud(c, v, n), rtol=1e-9)
    np.testing.assert_array_equal(volume_zscore(v, n, 1), zscore(v, n, 1))


ROWS = st.lists(
    st.tuples(st.floats(0.01, 1e6), st.floats(0, 5), st.floats(0, 1), st.one_of(st.just(0.0), st.floats(1e-3, 1e9))),
    min_size=1,
    max_size=50,
)


@settings(deadline=None, max_examples=120)
@given(rows=ROWS, n=st.integers(2, 30))
def test_any_bars_give_the_value_of_the_definition(rows, n):
    low, reach, place, v = (np.array(a) for a in zip(*rows, strict=True))
    h, c = low * (1 + reach), low * (1 + reach * place)
    np.testing.assert_allclose(cmf(h, low, c, v, n), by_cmf(h, low, c, v, n), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(mfi(h, low, c, v, n), by_mfi(h, low, c, v, n), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(amihud(c, v, n), by_amihud(c, v, n), rtol=1e-9)
    np.testing.assert_array_equal(obv(c, v), talib.OBV(c, v))
    np.testing.assert_allclose(ad(h, low, c, v), np.cumsum(places(h, low, c) * v), rtol=1e-9, atol=1e-9 * v.max())


def test_the_unit_of_volume_does_not_matter():
    h, low, c, v = bars(100)
    for f in (mfi, cmf):
        np.testing.assert_allclose(f(h, low, c, v * 2.0**-60), f(h, low, c, v), rtol=1e-15)
    np.testing.assert_allclose(mfi(h, low, c, v * 1e-9), talib.MFI(h, low, c, v * 1e-9), rtol=1e-9)


def test_what_left_the_window_leaves_no_trace():
    h, low, c, v = bars(60)
    v[0] = 1e18
    for f in (cmf, mfi):
        np.testing.assert_allclose(f(h, low, c, v, 10)[12:], f(h[1:], low[1:], c[1:], v[1:], 10)[11:], rtol=1e-12)


def test_the_range_of_a_money_flow_index():
    c, v = np.arange(1.0, 40), np.full(39, 3.0)
    assert (mfi(c, c, c, v)[14:] == 100).all() and (mfi(c[::-1], c[::-1], c[::-1], v)[14:] == 0).all()
    assert (mfi(np.ones(39), np.ones(39), np.ones(39), v)[14:] == 0).all()  # TA-Lib's word for no move at all


def test_where_nothing_was_traded():
    h, low, c, _ = bars(40)
    none = np.zeros(40)
    assert np.isnan(cmf(h, low, c, none, 5)).all() and np.isnan(amihud(c, none, 5)).all()
    assert np.isnan(volume_zscore(none, 5)).all() and (mfi(h, low, c, none, 5)[5:] == 0).all()
    assert (obv(c, none) == 0).all() and (ad(h, low, c, none) == 0).all() and (adosc(h, low, c, none)[9:] == 0).all()


def test_bars_without_range_count_for_nothing():
    c, v = np.array([1.0, 2, 3]), np.array([5.0, 5, 5])
    assert ad(c, c, c, v).tolist() == [0, 0, 0] and cmf(c, c, c, v, 2)[1:].tolist() == [0, 0]


@pytest.mark.parametrize("bad", [0.0, -5.0])
def test_amihud_is_undefined_over_prices_that_are_not_above_zero(bad):
    h, low, c, v = bars(60)
    c[30] = bad
    out = np.isnan(amihud(c, v, 10))
    assert out[:10].all() and not out[10:30].any() and out[30:41].all() and not out[41:].any()


def test_imbalance_of_a_book():
    bid, ask = np.array([3.0, 1, 0, 4, 0, -1]), np.array([1.0, 1, 2, 0, 0, 5])
    np.testing.assert_array_equal(book_imbalance(bid, ask), [0.5, 0, -1, 1, NAN, NAN])
    levels = np.random.default_rng(1).uniform(0, 9, (20, 5))
    deep = book_imbalance(levels.sum(1), levels[:, ::-1].sum(1) * 3)
    np.testing.assert_allclose(deep, -0.5, rtol=1e-12)
    panel = book_imbalance(pd.DataFrame({"A": bid, "B": ask}), pd.DataFrame({"A": ask, "B": bid}))
    np.testing.assert_array_equal(panel["A"], -panel["B"])


@EACH
def test_the_future_changes_nothing(name):
    f, columns = CASES[name], bars(1500, price=6e4)
    whole = f(*columns)
    for stop in (0, 1, 2, 9, 11, 12, 13, 24, 255, 256, 263, 264, 300, 512, 777, 1037, 1499):
        np.testing.assert_array_equal(f(*cut(columns, stop)), whole[:stop])


@EACH
@pytest.mark.parametrize("hole", [NAN, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, 7, 60, 131, 279])
def test_a_hole_in_any_input_starts_a_new_history(name, hole, at):
    f, clean = CASES[name], bars(280)
    used = {"obv": (2, 3), "amihud": (2, 3), "book_imbalance": (2, 3), "volume_zscore": (3,)}.get(name, (0, 1, 2, 3))
    split = np.concatenate([f(*cut(clean, at)), [NAN], f(*(a[at + 1 :] for a in clean))])
    for which in used:
        columns = [a.copy() for a in clean]
        columns[which][at] = hole
        np.testing.assert_array_equal(f(*columns), split)


@EACH
def test_the_first_value_is_where_it_says(name):
    out = CASES[name](*bars(60))
    assert np.isnan(out[: FIRST[name]]).all() and np.isfinite(out[FIRST[name] :]).all()


def test_each_says_its_first_bar():
    assert [f.first() for f in (obv, ad, adosc, cmf, mfi, amihud)] == [0, 0, 9, 19, 14, 20]
    assert adosc.first(fast=30) == 29 and book_imbalance.first() == 0 and volume_zscore.first() == 19


@EACH
def test_little_strange_and_labelled_input(name):
    f, columns = CASES[name], bars(60)
    for few in ([], [NAN] * 30, [math.inf] * 30):
        out = f(*[np.array(few)] * 4)
        assert len(out) == len(few) and np.isnan(out).all()
    assert np.isnan(f(*[np.ones(1)] * 4)).all() == (FIRST[name] > 0)
    whole = [np.round(a).astype(int) for a in columns]
    np.testing.assert_array_equal(f(*whole), f(*(a.astype(float) for a in whole)))
    wide = np.column_stack(columns)
    np.testing.assert_array_equal(f(*(wide[:, i] for i in range(4))), f(*columns))
    days = pd.date_range("2024-01-01", periods=60, tz="UTC")
    panel = f(*(pd.DataFrame({"A": a, "B": a[::-1]}, days) for a in columns))
    assert type(panel) is pd.DataFrame and panel.index.equals(days)
    np.testing.assert_array_equal(panel["B"], f(*(a[::-1].copy() for a in columns)))


def test_wrong_parameters_are_refused():
    h, low, c, v = bars(30)
    for call, message in (
        (lambda: mfi(h, low, c, v, 1), "mfi: n must be a whole number of bars from 2"),
        (lambda: cmf(h, low, c, v, 0), "cmf: n"),
        (lambda: amihud(c, v, 2.5), "amihud: n"),
        (lambda: adosc(h, low, c, v, 1), "adosc: fast"),
        (lambda: adosc(h, low, c, v, 3, 1), "adosc: slow"),
        (lambda: volume_zscore(v, 5, 2), "volume_zscore: ddof"),
        (lambda: obv(c, v[1:]), "shape"),
    ):
        with pytest.raises(ParameterError, match=message):
            call()
