"Look-ahead checks: every planted leak is found and placed, no clean function is accused, whatever it returns."

import os
from collections import namedtuple
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from markets import mock

import rrr.strategy.library  # noqa: F401 registers the strategies
from rrr.core.errors import ParameterError
from rrr.features.causal import LookAheadError, UnrepeatableError, assert_causal, check_causal, measure_warmup
from rrr.features.indicators import INDICATORS
from rrr.strategy.contract import REGISTRY, Signal, strategy

signal = pytest.importorskip("scipy.signal")
linear = pytest.importorskip("sklearn.linear_model")
preprocessing = pytest.importorskip("sklearn.preprocessing")
decomposition = pytest.importorskip("sklearn.decomposition")
SMALL = mock(160)
LEAKS, CLEAN = {}, {}


def leak(f):
    LEAKS[f.__name__] = f
    return f


def clean(f):
    CLEAN[f.__name__] = f
    return f


def returns(bars):
    return bars.close.pct_change()


# leaks


@leak
def next_close(b):
    return b.close.shift(-1)


@leak
def forward_return_filled(b):
    return returns(b).shift(-1).fillna(0.0)


@leak
def centred_window(b):
    return b.close.rolling(7, center=True).mean()


@leak
def centred_window_filled(b):
    return b.close.rolling(3, center=True, min_periods=1).mean()


@leak
def filled_backwards(b):
    return b.close.rolling(10).mean().bfill()


@leak
def filled_backwards_in_rare_holes(b):
    return b.close.where(b.close.pct_change().abs() < 0.02).bfill()


@leak
def filled_backwards_only_where_missing(b):
    return b.bfill()


@leak
def interpolated(b):
    return b.close.where(np.arange(len(b)) % 5 == 0).interpolate()


@leak
def interpolated_only_where_missing(b):
    return b.close.interpolate()


@leak
def full_sample_zscore(b):
    return (b.close - b.close.mean()) / b.close.std()


@leak
def full_sample_demeaned(b):
    return b.close - b.close.mean()


@leak
def min_max_normalised(b):
    return (b.close - b.close.min()) / (b.close.max() - b.close.min())


@leak
def normalised_by_a_later_bar(b):
    return b.close / b.close.iloc[100]


@leak
def normalised_by_the_last_bar(b):
    return b.close / b.close.iloc[-1]


@leak
def rank_over_all(b):
    return b.close.rank(pct=True)


@leak
def quantile_over_all(b):
    return b.close > b.close.quantile(0.9)


@leak
def buckets_over_all(b):
    return pd.qcut(b.close, 4, labels=["low", "lower", "higher", "high"])


@leak
def winsorised_over_all(b):
    r = returns(b)
    return r.clip(r.quantile(0.01), r.quantile(0.99))


@leak
def pca_over_all(b):
    x = b.pct_change().fillna(0).to_numpy()
    return decomposition.PCA(2).fit_transform(x)


@leak
def scaler_over_all(b):
    return preprocessing.StandardScaler().fit_transform(b[["close", "volume"]])


@leak
def model_over_all(b):
    x = returns(b).fillna(0).to_numpy()[:, None]
    return linear.LinearRegression().fit(x, b.close).predict(x)


@leak
def label_among_features(b):
    return pd.DataFrame({"momentum": b.close.diff(5), "up": (b.close.shift(-3) > b.close).astype(int)})


@leak
def target_encoding(b):
    return returns(b).groupby(b.index.hour).transform("mean")


@leak
def resampled_under_its_open(b):
    return b.close.resample("1D").last().reindex(b.index, method="ffill")


@leak
def day_range_from_its_start(b):
    return b.high.groupby(b.index.floor("D")).transform("max")


@leak
def joined_forwards(b):
    daily = b.close.resample("6h").mean().rename("six").reset_index()
    return pd.merge_asof(b.reset_index(), daily, on="timestamp", direction="forward").set_index("timestamp")["six"]


@leak
def joined_to_the_nearest(b):
    daily = b.close.iloc[::4].rename("other").reset_index()
    return pd.merge_asof(b.reset_index(), daily, on="timestamp", direction="nearest").set_index("timestamp")["other"]


@leak
def detrended(b):
    return signal.detrend(b.close.to_numpy())


@leak
def filtered_both_ways(b):
    return signal.filtfilt(*signal.butter(2, 0.1), b.close.to_numpy())


@leak
def savitzky_golay(b):
    return signal.savgol_filter(b.close.to_numpy(), 7, 2)


@leak
def gradient(b):
    return np.gradient(b.close.to_numpy())


@leak
def fourier_lowpass(b):
    spectrum = np.fft.rfft(b.close.to_numpy())
    spectrum[10:] = 0
    return np.fft.irfft(spectrum, len(b))


@leak
def hilbert_envelope(b):
    return np.abs(signal.hilbert(b.close.to_numpy()))


@leak
def moving_mean_of_numpy(b):
    return np.convolve(b.close.to_numpy(), np.ones(5) / 5, mode="same")


@leak
def smoothed_backwards(b):
    return b.close[::-1].ewm(span=10).mean()[::-1]


@leak
def pivots(b):
    return [(t, "high") for t, p, c, n in zip(b.index[1:], b.high, b.high[1:], b.high[2:], strict=False) if p < c > n]


@leak
def peak_numbers(b):
    return signal.find_peaks(b.close.to_numpy())[0]


@leak
def drawdown_of_the_deepest(b):
    d = b.close / b.close.cummax() - 1
    return d == d.min()


@leak
def seasonal_means(b):
    return b.close - b.close.groupby(b.index.hour).transform("mean")


@leak
def kalman_smoother(b):
    x = b.close.to_numpy()
    filtered, smooth = x.copy(), x.copy()
    for i in range(1, len(x)):
        filtered[i] = filtered[i - 1] + 0.2 * (x[i] - filtered[i - 1])
    smooth[-1] = filtered[-1]
    for i in range(len(x) - 2, -1, -1):
        smooth[i] = filtered[i] + 0.3 * (smooth[i + 1] - filtered[i])
    return smooth


@leak
def best_window_of_the_sample(b):
    n = max((3, 8, 21), key=lambda n: (np.sign(b.close.diff(n)).shift() * returns(b)).sum())
    return b.close.rolling(n).mean()


@leak
def only_at_the_end_of_a_day(b):
    last = b.index.hour == 23
    return returns(b).where(~last, b.close.shift(-1) / b.close - 1)


@leak
def only_before_a_spike(b):
    return (b.close.shift(-1) > 1.1 * b.close).astype(float)


@leak
def only_before_a_crash(b):
    return np.where(b.low.shift(-1) < 0.7 * b.close, 0.0, 1.0)


@leak
def only_without_volume(b):
    return b.close.where(b.volume > 0, b.close.shift(-1))


@leak
def only_after_bar_120(b):
    out = b.close.copy()
    out.iloc[120:] = b.close.shift(-1).iloc[120:]
    return out


@leak
def only_on_the_last_bar(b):
    out = b.close.rolling(3).mean()
    out.iloc[-1] = 0.0
    return out


@leak
def only_before_a_gap(b):
    return (b.index.to_series().diff().shift(-1) > pd.Timedelta("1h")).astype(int)


@leak
def by_length(b):
    return b.close * len(b)


@leak
def by_the_parity_of_the_length(b):
    return b.close * (len(b) % 2)


@leak
def by_the_last_time(b):
    return (b.index[-1] - b.index).total_seconds().to_numpy() * 1.0


@leak
def tiny(b):
    return b.close.rolling(5).mean() + 1e-9 * b.close.shift(-1).fillna(0)


@leak
def tiny_full_mean(b):
    return b.close.rolling(5).mean() + 1e-8 * b.close.mean()


@leak
def far_ahead(b):
    return b.close.shift(-40).notna().astype(float)


@leak
def rows_without_a_future_are_gone(b):
    return b.assign(later=b.close.shift(-2)).dropna()[["close"]]


@leak
def text_of_tomorrow(b):
    return pd.Series(np.where(b.close.shift(-1) > b.close, "up", "down"), b.index)


@leak
def time_of_the_next_high(b):
    at = b.index.to_series().where(b.high == b.high.rolling(9, center=True).max())
    return at.bfill()


@leak
def scaler_kept_between_calls_of_its_own(b):
    return lazily_fitted(b)


def _make_lazy():
    kept = {}

    def lazily_fitted(b):
        if not kept:
            kept["mean"] = b.close.mean()
        return b.close - kept["mean"]

    return lazily_fitted


lazily_fitted = _make_lazy()


class Lazy:
    "A scaler fitted at its first call"

    def __init__(self):
        self.mean = None

    def __call__(self, b):
        self.mean = b.close.mean() if self.mean is None else self.mean
        return b.close - self.mean


LEAKS["closure_fitted_at_its_first_call"] = _make_lazy()
LEAKS["object_fitted_at_its_first_call"] = Lazy()


@leak
def signal_of_tomorrow(b):
    return Signal(np.sign(b.close.shift(-1) - b.close))


@leak
def fails_on_a_signal_at_the_end(b):
    entries = np.flatnonzero(b.close.to_numpy() > b.close.rolling(5).mean().to_numpy())
    return pd.Series([b.open.to_numpy()[i + 1] for i in entries], b.index[entries])


# clean functions of the same kinds


@clean
def expanding_zscore(b):
    return (b.close - b.close.expanding().mean()) / b.close.expanding().std()


@clean
def exponential(b):
    return b.close.ewm(span=12).mean()


@clean
def rolling_moments(b):
    r = returns(b)
    return pd.DataFrame({"std": r.rolling(20).std(), "skew": r.rolling(20).skew(), "kurt": r.rolling(20).kurt()})


@clean
def rolling_rank(b):
    return b.close.rolling(30).rank(pct=True)


@clean
def rolling_min_max(b):
    low, high = b.low.rolling(20).min(), b.high.rolling(20).max()
    return (b.close - low) / (high - low)


@clean
def rolling_beta(b):
    return b.close.rolling(20).cov(b.volume) / b.volume.rolling(20).var()


@clean
def online_scaler(b):
    mean, out = 0.0, []
    for i, x in enumerate(b.close):
        mean += (x - mean) / (i + 1)
        out.append(x - mean)
    return out


@clean
def walk_forward_model(b):
    x, y = returns(b).fillna(0).to_numpy()[:, None], returns(b).shift(-1).to_numpy()
    out = np.full(len(b), np.nan)
    for i in range(40, len(b), 20):
        model = linear.LinearRegression().fit(x[: i - 1], y[: i - 1])
        out[i : i + 20] = model.predict(x[i : i + 20])
    return pd.Series(out, b.index)


@clean
def walk_forward_scaler(b):
    x = b[["close", "volume"]].to_numpy()
    out = np.full(x.shape, np.nan)
    for i in range(30, len(b), 30):
        out[i : i + 30] = preprocessing.StandardScaler().fit(x[:i]).transform(x[i : i + 30])
    return out


@clean
def resampled_and_used_after_its_close(b):
    daily = b.close.resample("6h").last().shift(1)
    return daily.reindex(b.index, method="ffill")


@clean
def resampled_under_its_close(b):
    return b.close.resample("6h", label="right", closed="left").last()


@clean
def running_high_of_the_day(b):
    return b.high.groupby(b.index.floor("D")).cummax()


@clean
def joined_backwards(b):
    other = b.close.iloc[::4].rename("other").reset_index()
    return pd.merge_asof(b.reset_index(), other, on="timestamp").set_index("timestamp")["other"]


@clean
def fails_on_short_input(b):
    if len(b) < 30:
        raise ValueError("too short")
    return b.close.rolling(10).mean()


@clean
def fails_on_short_input_though_early_values_exist(b):
    if len(b) < 30:
        raise ValueError("too short")
    return b.close.expanding().mean()


@clean
def empty_on_short_input(b):
    if len(b) < 30:
        return pd.Series(dtype=float)
    return b.close.rolling(5).mean()


@clean
def empty_array_on_short_input(b):
    return np.array([]) if len(b) < 25 else b.close.rolling(25).mean().to_numpy()


@clean
def none_on_short_input(b):
    return None if len(b) < 12 else b.close.expanding().max()


@clean
def missing_on_short_input_though_early_values_exist(b):
    return b.close * np.nan if len(b) < 20 else b.close.expanding().mean()


@clean
def without_warmup_rows(b):
    return b.close.rolling(20).mean().dropna()


@clean
def frame_without_warmup_rows(b):
    return pd.DataFrame({"a": b.close.diff(3), "b": b.close.rolling(9).std()}).dropna()


@clean
def array_without_warmup(b):
    return (
        np.lib.stride_tricks.sliding_window_view(b.close.to_numpy(), 10).mean(axis=1) if len(b) >= 10 else np.array([])
    )


@clean
def differences(b):
    return np.diff(b.close.to_numpy())


@clean
def fourier_convolution(b):
    return signal.fftconvolve(b.close.to_numpy(), np.exp(-np.arange(30) / 8.0))[: len(b)]


@clean
def one_sided_filter(b):
    return signal.lfilter(*signal.butter(2, 0.1), b.close.to_numpy())


@clean
def triangular_weights(b):
    lag = np.subtract.outer(np.arange(len(b)), np.arange(len(b)))
    weights = np.where(lag >= 0, 0.9 ** np.maximum(lag, 0), 0.0)
    return weights @ b.close.to_numpy()


@clean
def variance_by_running_sums(b):
    x = b.close.to_numpy()
    x = x - x.mean()  # for precision: the result does not depend on it
    one, two = np.cumsum(x), np.cumsum(x * x)
    mean = (one[20:] - one[:-20]) / 20
    return pd.Series((two[20:] - two[:-20]) / 20 - mean**2, b.index[20:])


@clean
def seeded_noise(b):
    return b.close + np.random.default_rng(5).normal(size=len(b))


@clean
def writes_into_its_input(b):
    b["close"] = b["close"].cumsum()
    b.drop(columns="open", inplace=True)
    return b["close"]


Pair = namedtuple("Pair", "fast slow")


@clean
def named_tuple(b):
    return Pair(b.close.rolling(3).mean(), b.close.rolling(9).mean().to_numpy())


@clean
def plain_tuple(b):
    return b.close.diff(), b.volume.to_numpy()


@clean
def dictionary(b):
    return {"a": b.close, "b": {"c": b.volume.rolling(3).sum()}, "n": 3}


@clean
def whole_numbers(b):
    return (b.close.diff() > 0).astype(int).rolling(3).sum().fillna(0).astype("int32")


@clean
def truths(b):
    return b.close > b.close.shift(1)


@clean
def text(b):
    return pd.Series(np.where(b.close > b.close.shift(1), "up", "down"), b.index)


@clean
def categories(b):
    return pd.cut(b.close.pct_change(), [-np.inf, 0, np.inf], labels=["down", "up"])


@clean
def times_of_the_last_high(b):
    return b.index.to_series().where(b.high == b.high.cummax()).ffill()


@clean
def list_of_times(b):
    return list(b.index[b.close > b.close.rolling(5).mean()])


@clean
def sparse_events(b):
    return [(t.to_pydatetime(), "cross", float(c)) for t, c in b.close[b.close > b.close.rolling(9).mean()].items()]


@clean
def sparse_series(b):
    return b.close[b.close.pct_change() > 0.005]


@clean
def several_events_at_one_time(b):
    hits = b.close[b.close.diff() > 0]
    return pd.concat([hits, hits + 1]).sort_index(kind="stable")


@dataclass
class Trade:
    at: datetime
    price: float


@clean
def event_objects(b):
    return [Trade(t, float(c)) for t, c in b.close[b.close.diff() > 0].items()]


@clean
def events_by_time(b):
    return {t: float(c) for t, c in b.close[b.close.diff() > 0].items()}


@clean
def numbers_of_bars(b):
    return np.flatnonzero(b.close.diff() > 0)


@clean
def a_single_number(b):
    return float(b.close.iloc[-1])


@clean
def a_single_decision(b):
    return {"side": "buy", "at": b.index[-1], "sure": True, "size": 3}


@clean
def signal_of_yesterday(b):
    return Signal(np.sign(b.close - b.close.shift(1)))


@clean
def infinities(b):
    return np.log(b.volume * 0.0) + b.close


@clean
def single_precision(b):
    return b.close.to_numpy(dtype=np.float32).cumsum(dtype=np.float32)


@clean
def wide_outputs(b):
    return np.stack([b.close.to_numpy(), b.volume.to_numpy()])


@clean
def rows_of_a_long_table(b):
    return pd.concat({"a": b.close, "b": b.volume}, names=["field"]).swaplevel().sort_index()


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_is_found(name):
    with pytest.raises(LookAheadError):
        assert_causal(LEAKS[name], SMALL)


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_function_is_not_accused(name):
    assert assert_causal(CLEAN[name], SMALL).causal


@pytest.mark.parametrize(
    ("name", "bar", "ahead"),
    [
        ("next_close", 0, 1),
        ("far_ahead", 0, 40),
        ("centred_window", 3, 3),
        ("only_after_bar_120", 120, 1),
        ("by_length", 0, 159),
        ("full_sample_demeaned", 0, 159),
        ("filled_backwards", 0, 9),
        ("tiny", 4, 1),
        ("only_before_a_spike", 0, 1),
        ("gradient", 1, 1),
    ],
)
def test_the_first_bar_and_the_reach_are_told(name, bar, ahead):
    report = check_causal(LEAKS[name], SMALL)
    assert (report.causal, report.bar, report.ahead) == (False, bar, ahead)
    assert report.time == SMALL.index[bar]
    assert report.to_end == (name in ("by_length", "full_sample_demeaned"))


def test_the_column_and_both_values_are_told():
    report = check_causal(label_among_features, SMALL)
    assert report.column == "up" and report.known != report.alone
    assert "up at bar" in report.sentence() and "up at bar" in report._repr_html_()
    assert report.plot().data[0].y is not None
    assert report.to_dict()["causal"] is False


def test_a_leak_in_one_symbol_of_a_panel_is_told_by_its_column():
    panel = pd.DataFrame({s: mock(120, symbol=s).close for s in ("BTC-USD", "ETH-USD", "SOL-USD")})
    assert assert_causal(lambda p: p.rank(axis=1), panel).causal
    report = check_causal(lambda p: p.assign(**{"ETH-USD": p["ETH-USD"].shift(-2)}), panel)
    assert (report.column, report.bar, report.ahead) == ("ETH-USD", 0, 2)
    with pytest.raises(LookAheadError):
        assert_causal(lambda p: p[(p.iloc[-1] / p.iloc[0]).nlargest(2).index], panel)
    with pytest.raises(LookAheadError):
        assert_causal(lambda p: p.dropna(axis=1), panel)


def test_symbols_as_a_dict_of_frames_are_a_panel():
    frames = {s: mock(100, symbol=s) for s in ("BTC-USD", "ETH-USD")}
    assert assert_causal(lambda d: d["BTC-USD"].close - d["ETH-USD"].close, frames).causal
    with pytest.raises(LookAheadError):
        assert_causal(lambda d: d["BTC-USD"].close - d["ETH-USD"].close.shift(-1), frames)


@pytest.fixture(scope="module")
def intervals():
    hourly = mock(200)
    return {"1h": hourly, "4h": hourly.resample("4h").agg({"close": "last", "volume": "sum"})}


def test_a_join_of_intervals_may_use_a_long_bar_after_its_close_only(intervals):
    def joined(d, hours):
        fine, coarse = d["1h"], d["4h"].close
        known = coarse.set_axis(coarse.index + pd.Timedelta(hours=hours))
        return known.reindex(known.index.union(fine.index)).ffill().reindex(fine.index)

    assert assert_causal(joined, intervals, dict(hours=3)).causal  # the last hour in it closes with it
    with pytest.raises(LookAheadError):
        assert_causal(joined, intervals, dict(hours=2))
    with pytest.raises(LookAheadError):
        assert_causal(joined, intervals, dict(hours=0))


def test_randomness_that_cannot_be_held_still_is_another_error():
    with pytest.raises(UnrepeatableError, match="two answers"):
        assert_causal(lambda b: b.close + np.random.default_rng().normal(size=len(b)), SMALL)


def test_common_generators_are_held_still_and_left_as_they_were():
    np.random.seed(1)
    expected = np.random.random()
    np.random.seed(1)
    report = assert_causal(lambda b: b.close + np.random.normal(size=len(b)), SMALL)
    assert report.causal and "not seeded" in repr(report)
    assert np.random.random() != expected  # the first call drew from it as it pleased
    with pytest.raises(LookAheadError):
        assert_causal(lambda b: b.close.to_numpy()[np.random.permutation(len(b))], SMALL)


def test_a_proof_of_nothing_says_so():
    assert "proves little" in repr(check_causal(lambda b: b.close.rolling(500).mean(), SMALL))
    assert "proves little" not in repr(check_causal(lambda b: b.close.rolling(50).mean(), SMALL))


def test_a_finding_is_a_failed_assertion():
    with pytest.raises(AssertionError, match="1 bar ahead"):
        assert_causal(next_close, SMALL)


def test_parameters_are_a_dict_or_words_and_windows_have_a_default():
    f = INDICATORS["sma"]
    assert assert_causal(f, SMALL, dict(n=9)) == assert_causal(f, SMALL, n=9)
    assert assert_causal(f, SMALL).causal
    with pytest.raises(ParameterError, match="unexpected keyword"):
        assert_causal(lambda b: b.close, SMALL, windows=3)


def test_a_length_that_is_refused_whatever_the_bars_is_no_leak():
    def whole_days(b):
        if len(b) % 24:
            raise ValueError("whole days are wanted")
        return b.close.rolling(24).mean()

    assert check_causal(whole_days, SMALL.iloc[:144]).causal
    assert "whatever they hold" in repr(check_causal(whole_days, SMALL.iloc[:150]))
    with pytest.raises(LookAheadError):
        assert_causal(lambda b: whole_days(b) + b.close.groupby(b.index.date).transform("max"), SMALL.iloc[:144])


def test_every_bar_is_cut_at_up_to_two_thousand():
    bars = mock(1500)

    def at_one_bar(b):
        out = b.close.diff()
        if len(b) > 1234:
            out.iloc[1233] = b.close.iloc[1234]
        return out

    report = check_causal(at_one_bar, bars)
    assert (report.causal, report.bar, report.ahead) == (False, 1233, 1)


def test_what_a_function_does_to_its_input_stays_with_it():
    before = SMALL.copy()
    assert_causal(writes_into_its_input, SMALL)
    pd.testing.assert_frame_equal(SMALL, before)


def test_what_cannot_be_checked_is_refused():
    with pytest.raises(ParameterError, match="too few"):
        check_causal(next_close, SMALL.iloc[:5])
    with pytest.raises(ParameterError, match="fails on the 160 bars"):
        check_causal(lambda b: b.nothing, SMALL)
    with pytest.raises(ParameterError, match="must be a frame"):
        check_causal(next_close, "bars")


@pytest.mark.parametrize("kind", ["array", "series"])
def test_arrays_and_series_are_histories_too(kind):
    x = SMALL.close.to_numpy() if kind == "array" else SMALL.close
    assert assert_causal(np.cumsum, x).causal
    with pytest.raises(LookAheadError):
        assert_causal(lambda x: x - np.mean(x), x)


def test_columns_are_fed_by_the_names_of_parameters():
    assert assert_causal(lambda high, low, close: (high + low + close) / 3, SMALL).causal
    with pytest.raises(LookAheadError):
        assert_causal(lambda close, volume: np.roll(close * volume, -1), SMALL)


def test_warm_up_is_measured():
    assert measure_warmup(lambda x: x.rolling(17).mean(), SMALL.close) == 17
    assert measure_warmup(lambda x: x.diff(5), SMALL.close) == 6
    assert measure_warmup(lambda x: x.cumsum(), SMALL.close) is None
    spans = {n: measure_warmup(lambda x, n: x.ewm(span=n).mean(), mock(600).close, dict(n=n)) for n in (3, 9)}
    assert 20 < spans[3] < 40 and 70 < spans[9] < 110  # (n + 1) / 2 * ln(1e9)


def for_strategy(made, n=260):
    "Bars as a strategy wants them: of several symbols, with the columns it reads"
    if made.panel:
        return {s: mock(n, symbol=s) for s in ("BTC-USD", "ETH-USD")}
    rng = np.random.default_rng(0)
    return mock(n).assign(**{k: 50 + rng.normal(0, 3, n).cumsum() for k in made.fields})


def with_book(bars):
    "Bars with sizes of an order book, for the indicator that reads them"
    return bars.assign(bid_size=bars.volume + 1.0, ask_size=bars.volume.shift(1, fill_value=5.0) + 2.0)


LOOKBACKS = dict(pairs=dict(n=60), strongest=dict(n=48, hold=24), calm_trend=dict(n=50))
OURS = [k for k, s in REGISTRY.items() if s.function.__module__.startswith("rrr.")]


@pytest.mark.parametrize("name", INDICATORS)
def test_every_indicator_is_causal(name):
    assert assert_causal(INDICATORS[name], with_book(SMALL)).causal


@pytest.mark.parametrize("name", OURS)
def test_every_strategy_is_causal(name):
    assert assert_causal(REGISTRY[name], for_strategy(REGISTRY[name]), LOOKBACKS.get(name)).causal


def test_a_strategy_that_looks_ahead_is_found():
    def clairvoyant(bars) -> Signal:
        return Signal(np.sign(bars.close.shift(-1) - bars.close))

    made = strategy()(clairvoyant)
    REGISTRY.pop("clairvoyant")
    report = check_causal(made, SMALL)
    assert (report.causal, report.column, report.ahead) == (False, "target", 1)


@pytest.fixture(scope="module")
def real():
    folder = Path(os.environ.get("TEST_MARKET_DATA") or Path(__file__).parents[2] / "shared" / "data")
    files = sorted(folder.glob("ohlcv/**/*BTC*1h*.parquet"))
    if not files:
        pytest.skip(f"no real market data in {folder} (set TEST_MARKET_DATA)")
    bars = pd.read_parquet(files[0]).set_index("ts")[["open", "high", "low", "close", "volume"]]
    return bars.rename_axis("timestamp").iloc[:220]


@pytest.mark.parametrize("name", INDICATORS)
def test_every_indicator_is_causal_on_real_bars(name, real):
    assert assert_causal(INDICATORS[name], with_book(real)).causal


REAL_LEAKS = ["next_close", "centred_window", "only_before_a_crash", "only_without_volume", "tiny", "target_encoding"]
REAL_CLEAN = ["expanding_zscore", "walk_forward_model", "fourier_convolution", "rolling_moments", "sparse_events"]


@pytest.mark.parametrize("name", REAL_LEAKS)
def test_a_leak_is_found_on_real_bars(name, real):
    assert not check_causal(LEAKS[name], real).causal


@pytest.mark.parametrize("name", REAL_CLEAN)
def test_a_clean_function_is_not_accused_on_real_bars(name, real):
    assert check_causal(CLEAN[name], real, warmup=False).causal
