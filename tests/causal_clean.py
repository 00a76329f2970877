"Functions that do not look ahead, many near a leak of the same kind: each states at a bar what is known at its close."

from typing import NamedTuple

import numpy as np
import pandas as pd
from numba import njit
from scipy import signal, stats

from rrr.features.indicators import atr, ema, rsi, sma
from rrr.strategy.contract import Signal

CLEAN = {}  # name -> (function, kind of bars it takes)


def clean(kind="bars"):
    "Add a function to the corpus."

    def add(f):
        assert f.__name__ not in CLEAN
        CLEAN[f.__name__] = (f, kind)
        return f

    return add


# What both corpora use


def features(bars) -> pd.DataFrame:
    "Four causal features, 0 while they warm up."
    r = bars["close"].pct_change()
    f = {
        "last": r,
        "before": r.shift(),
        "vol": r.rolling(12).std(),
        "away": bars["close"] / bars["close"].ewm(span=24).mean() - 1,
    }
    return pd.DataFrame(f).fillna(0.0)


def ridge(x, y, penalty=1e-4):
    return np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)


def walk_forward(bars, horizon, gap, every=20, first=60) -> pd.Series:
    "Predictions refitted every few bars, on rows up to `gap` before the bar predicted: clean where gap + 1 >= horizon."
    x = features(bars).to_numpy()
    y = (bars["close"].shift(-horizon) / bars["close"] - 1).to_numpy()
    out = np.full(len(x), np.nan)
    for k in range(first, len(x), every):
        known = np.arange(k - gap)
        known = known[np.isfinite(y[known])]
        out[k : k + every] = x[k : k + every] @ ridge(x[known], y[known])
    return pd.Series(out, bars.index)


def folds(bars, size) -> pd.Series:
    "Predictions of the next return, each fold by the folds before it."
    x = features(bars).to_numpy()
    y = bars["close"].pct_change().fillna(0).to_numpy()
    out = np.full(len(x), np.nan)
    for k in range(size, len(x), size):
        out[k : k + size] = x[k : k + size] @ ridge(x[: k - 1], y[1:k])
    return pd.Series(out, bars.index)


def hp_matrix(n, penalty):
    d = np.diff(np.eye(n), 2, axis=0)
    return np.eye(n) + penalty * d.T @ d


@njit(cache=True)
def kalman(x, q=1e-5, noise=1e-4):
    "Local level: filtered level, level predicted before the bar, gain, filtered variance."
    level, before, gain, spread = np.zeros(len(x)), np.zeros(len(x)), np.zeros(len(x)), np.zeros(len(x))
    a, p = x[0], noise
    for i in range(len(x)):
        before[i] = a
        p += q
        gain[i] = p / (p + noise)
        a += gain[i] * (x[i] - a)
        p *= 1 - gain[i]
        level[i], spread[i] = a, p
    return level, before, gain, spread


def triple_barrier(close, horizon, width=0.01):
    "First barrier touched within the horizon: 1, -1 or 0."
    out = np.zeros(len(close))
    for i in range(len(close)):
        path = close[i + 1 : i + 1 + horizon] / close[i] - 1
        hit = np.flatnonzero(np.abs(path) > width)
        out[i] = np.sign(path[hit[0]]) if len(hit) else 0
    return out


def zigzag(bars, turn):
    "Turning points (bar, price, bar at which it was confirmed)."
    c, out = bars["close"].to_numpy(), []
    up, at = True, 0
    for i in range(1, len(c)):
        if (c[i] > c[at]) == up and c[i] != c[at]:
            at = i
        elif abs(c[i] / c[at] - 1) > turn:
            out.append((at, c[at], i))
            up, at = not up, i
    return out


def sma_cross(bars):
    return (bars["close"].rolling(10).mean() > bars["close"].rolling(30).mean()).astype(float)


# Shifts and windows


@clean()
def last_return(bars):
    return bars["close"].pct_change()


@clean()
def previous_close_as_array(bars):
    c = bars["close"].to_numpy()
    return np.append(np.nan, c[:-1])


@clean()
def shifted_ahead_and_back(bars):
    return bars["close"].shift(-3).shift(3)


@clean()
def label_lagged_by_its_horizon(bars):
    return (bars["close"].shift(-6) / bars["close"] - 1).shift(6)


@clean()
def triple_barrier_once_it_is_known(bars):
    return pd.Series(triple_barrier(bars["close"].to_numpy(), 12), bars.index).shift(12)


@clean()
def centred_mean_lagged_by_half_its_window(bars):
    return bars["close"].rolling(11, center=True).mean().shift(5)


@clean()
def forward_window_lagged_by_its_length(bars):
    ahead = pd.api.indexers.FixedForwardWindowIndexer(window_size=6)
    return bars["high"].rolling(ahead).max().shift(5)


@clean()
def volatility_of_a_day(bars):
    return bars["close"].pct_change().rolling(24).std()


@clean()
def volume_of_24_hours(bars):
    return bars["volume"].rolling("24h").sum()


@clean()
def ema_spread(bars):
    return bars["close"].ewm(span=12).mean() - bars["close"].ewm(span=26, adjust=False).mean()


@clean()
def ewm_by_half_life_in_time(bars):
    return bars["close"].ewm(halflife="6h", times=bars.index).mean()


@clean()
def growth_of_one(bars):
    return (1 + bars["close"].pct_change().fillna(0)).cumprod()


@clean()
def on_balance_volume(bars):
    return (np.sign(bars["close"].diff()).fillna(0) * bars["volume"]).cumsum()


@clean()
def drawdown(bars):
    return bars["close"] / bars["close"].cummax() - 1


@clean()
def own_indicators(bars):
    out = {"sma": sma(bars["close"], 20), "ema": ema(bars["close"], 20), "rsi": rsi(bars["close"], 14)}
    return pd.DataFrame(out | {"atr": atr(bars["high"], bars["low"], bars["close"], 14)})


@clean()
def long_mean(bars):
    return bars["close"].rolling(200).mean()


@clean()
def rolling_rank_and_skew(bars):
    r = bars["close"].pct_change()
    return pd.DataFrame(
        {"rank": r.rolling(50).rank(pct=True), "skew": r.rolling(50).skew(), "kurt": r.rolling(50).kurt()}
    )


@clean()
def weighted_by_apply(bars):
    w = np.arange(1, 11) / 55
    return bars["close"].rolling(10).apply(lambda x: x @ w, raw=True)


@clean()
def every_fifth_bar_from_the_first(bars):
    return bars["close"].iloc[::5]


@clean()
def half_life_by_rolling_autocorrelation(bars):
    r = bars["close"].pct_change()
    return r.rolling(60).corr(r.shift())


@clean()
def causal_convolution(bars):
    return np.convolve(bars["close"].to_numpy(), np.ones(5) / 5, "full")[: len(bars)]


@clean()
def convolution_by_fft(bars):
    return signal.fftconvolve(bars["close"].to_numpy(), 0.9 ** np.arange(60))[: len(bars)]


@clean()
def windows_of_one_matrix_product(bars):
    c = np.log(bars["close"].to_numpy())
    x = np.lib.stride_tricks.sliding_window_view(np.append(np.full(31, c[0]), c), 32)
    return x @ np.random.default_rng(0).normal(size=(32, 7))


@clean()
def rolling_sum_by_cumsum_difference(bars):
    total = np.append(0.0, np.cumsum(bars["volume"].to_numpy() * 1e6))
    out = np.full(len(bars), np.nan)
    out[9:] = (total[10:] - total[:-10]) / 1e6 if len(bars) > 9 else out[9:]
    return out


@clean()
def rolling_variance_by_moments(bars):
    r = bars["close"].pct_change()
    return (r**2).rolling(30).mean() - r.rolling(30).mean() ** 2


@clean()
def rolling_mean_summed_from_the_right(bars):
    "The window of each bar summed newest first: another rounding, no later bar."
    c = bars["close"].to_numpy()
    x = np.lib.stride_tricks.sliding_window_view(c, 8) if len(c) >= 8 else np.empty((0, 8))
    return pd.Series(np.append(np.full(len(c) - len(x), np.nan), x[:, ::-1].sum(axis=1) / 8), bars.index)


# One-sided filters


@clean()
def butterworth_one_way(bars):
    b, a = signal.butter(2, 0.1)
    x = bars["close"].to_numpy()
    return signal.lfilter(b, a, x, zi=signal.lfilter_zi(b, a) * x[0])[0]


@clean()
def savitzky_golay_at_the_last_point(bars):
    weights = signal.savgol_coeffs(11, 3, pos=10, use="dot")
    return bars["close"].rolling(11).apply(lambda x: x @ weights, raw=True)


@clean()
def hodrick_prescott_of_the_last_forty(bars):
    weights = np.linalg.inv(hp_matrix(40, 1600))[-1]
    return np.log(bars["close"]).rolling(40).apply(lambda x: x @ weights, raw=True)


@clean()
def kalman_filter(bars):
    return pd.Series(kalman(np.log(bars["close"].to_numpy()))[0], bars.index)


@clean()
def fft_low_pass_of_the_trailing_window(bars):
    def last(x):
        spectrum = np.fft.rfft(x)
        spectrum[5:] = 0
        return np.fft.irfft(spectrum, len(x))[-1]

    return bars["close"].rolling(64).apply(last, raw=True)


@clean()
def trend_of_the_trailing_window(bars):
    x = np.arange(48) - 23.5
    return np.log(bars["close"]).rolling(48).apply(lambda y: x @ y / (x @ x), raw=True)


@clean()
def backward_difference(bars):
    return np.diff(bars["close"].to_numpy(), prepend=np.nan)


@clean()
def median_of_the_last_five(bars):
    return bars["close"].rolling(5, min_periods=1).median()


@clean()
def fractionally_differenced(bars):
    w = np.cumprod(np.append(1.0, [(k - 1 - 0.4) / k for k in range(1, 40)]))
    return pd.Series(np.convolve(np.log(bars["close"].to_numpy()), w)[: len(bars)], bars.index)


# Holes filled from earlier bars


@clean()
def quiet_bars_filled_from_the_last(bars):
    return bars["close"].where(bars["volume"] > 0).ffill()


@clean()
def quiet_volume_filled_by_the_mean_so_far(bars):
    v = bars["volume"].where(bars["volume"] > 0)
    return v.fillna(v.expanding().mean())


@clean()
def missing_hours_filled_from_the_last(bars):
    grid = pd.date_range(bars.index[0], bars.index[-1], freq="1h")
    return bars["close"].reindex(grid, method="ffill")


@clean()
def fine_grid_by_nearest_read_at_the_bars(bars):
    "Between two bars the grid does peek, but rows at bars only average points up to the bar."
    grid = pd.date_range(bars.index[0], bars.index[-1], freq="20min")
    return bars["close"].reindex(grid, method="nearest").rolling(30).mean().reindex(bars.index)


@clean()
def quiet_bars_left_out(bars):
    return bars.loc[bars["volume"] > 0, "close"].rolling(10).mean()


@clean()
def hours_since_the_last_bar(bars):
    return pd.DataFrame({"since": bars.index.to_series().diff()})


@clean()
def bars_since_the_last_gap(bars):
    gap = bars.index.to_series().diff() > pd.Timedelta("1h")
    return gap.groupby(gap.cumsum()).cumcount()


# Statistics so far


@clean()
def zscore_so_far(bars):
    c = bars["close"]
    return (c - c.expanding(20).mean()) / c.expanding(20).std()


@clean()
def zscore_of_the_trailing_window(bars):
    c = bars["close"]
    return (c - c.rolling(50).mean()) / c.rolling(50).std()


@clean()
def minmax_so_far(bars):
    low, high = bars["low"].cummin(), bars["high"].cummax()
    return (bars["close"] - low) / (high - low)


@clean()
def rank_so_far(bars):
    return bars["volume"].expanding().rank(pct=True)


@clean()
def winsorised_by_quantiles_so_far(bars):
    r = bars["close"].pct_change()
    return r.clip(r.expanding(30).quantile(0.01), r.expanding(30).quantile(0.99))


@clean()
def loud_bar_by_quantile_so_far(bars):
    return bars["volume"] > bars["volume"].expanding(30).quantile(0.9).shift()


@clean()
def scaler_of_a_fixed_first_span(bars):
    c = bars["close"]
    fitted = c.iloc[:100]
    return ((c - fitted.mean()) / fitted.std()).where(np.arange(len(c)) >= 100)


@clean()
def principal_component_of_a_fixed_first_span(bars):
    x = features(bars).to_numpy()
    if len(x) < 120:
        raise ValueError("needs 120 bars to fit")
    centre = x[:120].mean(axis=0)
    v = np.linalg.svd(x[:120] - centre, full_matrices=False)[2][0]
    out = (x - centre) @ (v * np.sign(v[0]))
    out[:119] = np.nan
    return out


@clean()
def bins_fixed_beforehand(bars):
    r = bars["close"].pct_change()
    return pd.cut(r, [-np.inf, -0.01, -0.002, 0.002, 0.01, np.inf], labels=list("abcde"))


@clean()
def names_as_a_category(bars):
    "The list of categories grows with the sample, the value at a bar does not change."
    return pd.Series(bars.index.day_name(), bars.index).astype("category")


@clean()
def codes_in_order_of_appearance(bars):
    return pd.factorize(bars.index.day_name())[0]


@clean()
def regime_as_text(bars):
    vol = bars["close"].pct_change().rolling(24).std()
    return pd.Series(np.where(vol > vol.expanding().median(), "wild", "calm"), bars.index)


@clean()
def outliers_dropped_by_sigma_so_far(bars):
    r = bars["close"].pct_change()
    return r[r.abs() < 3 * r.expanding(20).std().shift()]


@clean()
def welford_online(bars):
    out, mean, m2 = np.zeros((len(bars), 2)), 0.0, 0.0
    for i, x in enumerate(bars["close"].to_numpy()):
        step = x - mean
        mean += step / (i + 1)
        m2 += step * (x - mean)
        out[i] = mean, m2 / (i + 1)
    return out


@clean()
def indexed_to_the_first_close(bars):
    return bars["close"] / bars["close"].iloc[0] * 100


@clean()
def rank_in_the_window_by_scipy(bars):
    r = bars["close"].pct_change()
    return r.rolling(60).apply(lambda x: stats.rankdata(x)[-1], raw=True)


# Seasons, days and sessions


@clean()
def mean_of_the_hour_so_far(bars):
    r = bars["close"].pct_change()
    return r - r.groupby(r.index.hour).transform(lambda s: s.expanding().mean().shift())


@clean()
def hours_encoded_by_known_targets(bars):
    target = bars["close"].shift(-1) / bars["close"] - 1
    return target.groupby(target.index.hour).transform(lambda s: s.expanding().mean().shift())


@clean()
def seasonal_mean_of_the_trailing_days(bars):
    x = np.log(bars["close"])
    return (x - x.rolling(24).mean()).groupby(x.index.hour).transform(lambda s: s.rolling(5, min_periods=1).mean())


@clean()
def session_vwap(bars):
    day = bars.index.floor("D")
    return (bars["close"] * bars["volume"]).groupby(day).cumsum() / bars["volume"].groupby(day).cumsum()


@clean()
def day_high_so_far(bars):
    return bars["high"].groupby(bars.index.floor("D")).cummax()


@clean()
def open_of_the_day(bars):
    return bars["open"].groupby(bars.index.floor("D")).transform("first")


@clean()
def bar_of_the_day(bars):
    return bars["close"].groupby(bars.index.floor("D")).cumcount()


@clean()
def high_of_yesterday(bars):
    day = bars.index.floor("D")
    return pd.Series(day, bars.index).map(bars["high"].groupby(day).max().shift())


@clean()
def opening_range_once_it_is_over(bars):
    early = bars["high"].where(bars.index.hour < 3)
    return early.groupby(bars.index.floor("D")).transform("max").where(bars.index.hour >= 3)


@clean()
def calendar(bars):
    i = bars.index
    angle = 2 * np.pi * i.hour / 24
    left = i.days_in_month - i.day
    return pd.DataFrame({"sin": np.sin(angle), "cos": np.cos(angle), "weekday": i.day_name(), "days_left": left}, i)


@clean()
def month_end_by_the_clock(bars):
    return pd.Series((bars.index + pd.Timedelta("1h")).month != bars.index.month, bars.index)


@clean()
def time_since_the_first_bar(bars):
    return pd.DataFrame({"age": bars.index - bars.index[0]}, bars.index)


# Coarser bars


@clean()
def daily_close_from_the_next_day(bars):
    return bars["close"].resample("1D", label="right").last().reindex(bars.index, method="ffill")


@clean()
def daily_close_shifted_a_day(bars):
    return bars["close"].resample("1D").last().shift(1).reindex(bars.index, method="ffill")


@clean()
def daily_open_from_the_days_start(bars):
    return bars["open"].resample("1D").first().reindex(bars.index, method="ffill")


@clean()
def bins_closed_right_labelled_right(bars):
    return bars["close"].resample("6h", closed="right", label="right").mean().reindex(bars.index, method="ffill")


@clean()
def daily_table_stamped_by_close(bars):
    return bars.resample("1D", label="right").agg({"high": "max", "low": "min", "close": "last", "volume": "sum"})


@clean()
def bins_counted_from_the_first_bar(bars):
    means = bars["close"].resample("7h", origin="start", label="right").mean()
    return means.reindex(bars.index, method="ffill")


@clean()
def four_hour_rsi_after_the_close(bars):
    coarse = bars["close"].resample("4h", label="right").last().ffill()
    if len(coarse) < 16:
        raise ValueError("needs 16 coarse bars")
    return rsi(coarse, 14).reindex(bars.index, method="ffill")


@clean()
def month_to_date(bars):
    month = bars.index.tz_localize(None).to_period("M")
    return bars["close"] / bars["open"].groupby(month).transform("first") - 1


# As-of joins


@clean()
def asof_backward(bars):
    marks = bars["close"].iloc[::8].rename("mark").reset_index()
    return pd.merge_asof(bars.reset_index(), marks, on="timestamp").set_index("timestamp")["mark"]


@clean()
def asof_without_exact_matches(bars):
    marks = bars["close"].rename("mark").reset_index()
    joined = pd.merge_asof(bars.reset_index(), marks, on="timestamp", allow_exact_matches=False)
    return joined.set_index("timestamp")[["mark"]]


@clean()
def searchsorted_of_the_last_stamp(bars):
    at = bars.index[::6].searchsorted(bars.index, side="right") - 1
    return bars["close"].iloc[::6].to_numpy()[at]


# Turning points and positions


@clean()
def fractal_when_confirmed(bars):
    h = bars["high"]
    return (h.rolling(5, center=True).max() == h).shift(2, fill_value=False)


@clean()
def zigzag_at_its_confirmation(bars):
    points = [(bars.index[seen], price) for _, price, seen in zigzag(bars, 0.02)]
    return pd.Series([p for _, p in points], pd.DatetimeIndex([t for t, _ in points], tz="UTC"), dtype=float)


@clean()
def zigzag_event_list_confirmed(bars):
    return [(bars.index[seen], price) for _, price, seen in zigzag(bars, 0.02)]


@clean()
def breakout_events(bars):
    c = bars["close"]
    return bars.loc[c > c.shift().rolling(20).max(), ["close", "volume"]]


@clean()
def bars_since_the_last_high(bars):
    new = (bars["close"] == bars["close"].cummax()).cumsum()
    return new.groupby(new).cumcount()


@clean()
def cusum_filter(bars):
    out, up, down = np.zeros(len(bars), dtype=int), 0.0, 0.0
    for i, r in enumerate(np.log(bars["close"]).diff().fillna(0)):
        up, down = max(0.0, up + r), min(0.0, down + r)
        if up > 0.02:
            out[i], up = 1, 0.0
        elif down < -0.02:
            out[i], down = -1, 0.0
    return pd.Series(out, bars.index)


@njit(cache=True)
def _trail(high, low, close, width):
    out, stop, held = np.zeros(len(close)), 0.0, False
    for i in range(len(close)):
        if held:
            stop = max(stop, high[i] * (1 - width))
            held = low[i] > stop
        elif i >= 10 and close[i] > close[i - 10]:
            held, stop = True, close[i] * (1 - width)
        out[i] = 1.0 if held else 0.0
    return out


@clean()
def trailing_stop(bars):
    held = _trail(bars["high"].to_numpy(), bars["low"].to_numpy(), bars["close"].to_numpy(), 0.015)
    return Signal(pd.Series(held, bars.index))


@clean()
def position_machine(bars):
    z = (bars["close"] - bars["close"].rolling(20).mean()) / bars["close"].rolling(20).std()
    out, at = [], 0
    for x in z:
        at = 1 if x < -1.5 else -1 if x > 1.5 else 0 if abs(x) < 0.3 else at
        out.append(at)
    return pd.Series(out, bars.index, dtype="int8")


@clean()
def supertrend_side(bars):
    middle, width = (bars["high"] + bars["low"]) / 2, 2 * atr(bars["high"], bars["low"], bars["close"], 10)
    side = np.where(
        bars["close"] > (middle + width).shift(), 1.0, np.where(bars["close"] < (middle - width).shift(), -1.0, np.nan)
    )
    return pd.Series(side, bars.index).ffill()


@clean()
def result_of_the_trade_so_far(bars):
    c = bars["close"]
    side = np.sign(c - c.rolling(20).mean()).fillna(0)
    trade = (side != side.shift()).cumsum()
    return (side.shift() * c.diff()).groupby(trade).cumsum()


# Choices and models, walk-forward


@clean()
def window_chosen_by_profit_so_far(bars):
    c = bars["close"]
    r = c.pct_change().fillna(0)
    windows = (5, 10, 20, 40)
    away = np.column_stack([(c / c.rolling(n).mean() - 1).to_numpy() for n in windows])
    held = np.nan_to_num(np.sign(np.vstack([np.zeros(4), away[:-1]])))
    best = (held * r.to_numpy()[:, None]).cumsum(axis=0).argmax(axis=1)
    return pd.Series(away[np.arange(len(c)), best], bars.index)


@clean()
def threshold_chosen_each_week(bars):
    r = bars["close"].pct_change().fillna(0).to_numpy()
    out = np.full(len(r), np.nan)
    for k in range(100, len(r), 50):
        level = max(np.linspace(-0.01, 0.01, 21), key=lambda x: r[1:k][r[: k - 1] > x].sum())
        out[k : k + 50] = r[k : k + 50] > level
    return Signal(pd.Series(out, bars.index))


@clean()
def feature_chosen_by_correlation_so_far(bars):
    f = features(bars)
    r = bars["close"].pct_change()
    known = pd.DataFrame({k: f[k].shift().expanding(30).corr(r).abs() for k in f}).fillna(0)
    return pd.Series(f.to_numpy()[np.arange(len(f)), known.to_numpy().argmax(axis=1)], bars.index)


@clean()
def walk_forward_purged(bars):
    return walk_forward(bars, horizon=6, gap=5)


@clean()
def walk_forward_with_embargo(bars):
    return {"prediction": walk_forward(bars, horizon=6, gap=12)}


@clean()
def walk_forward_of_fixed_folds(bars):
    return folds(bars, 60)


@clean()
def rolling_regression(bars):
    x, y = bars["volume"], bars["close"].pct_change().abs()
    return x.rolling(60).cov(y) / x.rolling(60).var()


@clean()
def recursive_least_squares(bars):
    x, r = features(bars).to_numpy() * 100, bars["close"].pct_change().fillna(0).to_numpy() * 100
    w, p, out = np.zeros(x.shape[1]), np.eye(x.shape[1]) * 10, np.zeros(len(x))
    for i in range(len(x)):
        if i:
            k = p @ x[i - 1] / (1 + x[i - 1] @ p @ x[i - 1])
            w = w + k * (r[i] - x[i - 1] @ w)
            p = p - np.outer(k, x[i - 1] @ p)
        out[i] = x[i] @ w
    return pd.Series(out, bars.index)


@clean()
def online_logistic(bars):
    x, c = features(bars).to_numpy() * 100, bars["close"].to_numpy()
    w, out = np.zeros(x.shape[1]), np.zeros(len(x))
    for i in range(len(x)):
        if i:
            w += 0.1 * x[i - 1] * ((c[i] > c[i - 1]) - out[i - 1])
        out[i] = 1 / (1 + np.exp(-np.clip(x[i] @ w, -30, 30)))
    return out


@clean()
def transition_rate_so_far(bars):
    up = (bars["close"].diff() > 0).astype(int)
    stayed = (up * up.shift().fillna(0)).cumsum()
    return (1 + stayed) / (2 + up.shift().fillna(0).cumsum())


@clean()
def volume_bars_of_a_fixed_size(bars):
    size = bars["volume"].iloc[:30].sum()
    bucket = np.floor(bars["volume"].cumsum() / size)
    return bucket.where(np.arange(len(bars)) >= 29)


@clean()
def bucket_vwap_so_far(bars):
    dollars = (bars["close"] * bars["volume"]).cumsum()
    by = dollars // (bars["close"].iloc[0] * bars["volume"].iloc[0] * 10)
    return bars["close"].groupby(by).transform(lambda s: s.expanding().mean())


# Seeds, short input and odd shapes


@clean()
def noise_drawn_bar_by_bar(bars):
    return np.random.default_rng(3).normal(size=(len(bars), 2))


@clean()
def noise_seeded_by_the_stamp(bars):
    return pd.Series([np.random.default_rng(int(t.timestamp())).normal() for t in bars.index], bars.index)


@clean()
def index_of_the_bar(bars):
    return np.arange(len(bars))


@clean()
def constant_with_holes(bars):
    return pd.Series(np.where(np.arange(len(bars)) % 3 == 0, np.nan, 1.0), bars.index)


@clean()
def refuses_short_input(bars):
    if len(bars) < 100:
        raise ValueError(f"needs 100 bars, got {len(bars)}")
    return bars["close"].rolling(20).mean()


@clean()
def empty_for_short_input(bars):
    if len(bars) < 50:
        return pd.Series(dtype=float, index=bars.index[:0])
    return bars["close"].rolling(50).mean().iloc[49:]


@clean()
def drops_its_warm_up(bars):
    c = bars["close"]
    return pd.DataFrame({"fast": c.rolling(10).mean(), "slow": c.rolling(100).mean()}).dropna()


@clean()
def drops_its_warm_up_as_array(bars):
    return np.diff(bars["close"].to_numpy(), n=2)


@clean()
def changes_its_input(bars):
    bars["ret"] = bars["close"].pct_change()
    bars["close"] = 0.0
    return bars["ret"].rolling(5).sum()


@clean()
def returns_its_input_with_more_columns(bars):
    bars["typical"] = (bars["high"] + bars["low"] + bars["close"]) / 3
    bars["side"] = np.where(bars["close"] > bars["open"], "up", "down")
    bars["at"] = bars.index
    return bars


class Channel(NamedTuple):
    upper: pd.Series
    lower: pd.Series


@clean()
def named_tuple(bars):
    return Channel(bars["high"].rolling(20).max(), bars["low"].rolling(20).min())


@clean()
def tuple_of_arrays(bars):
    c = bars["close"].to_numpy()
    return np.maximum.accumulate(c), np.minimum.accumulate(c), np.sign(np.diff(c, prepend=c[0])).astype(int)


@clean()
def dict_of_mixed_kinds(bars):
    c = bars["close"]
    return {"series": c.diff(), "array": c.to_numpy() ** 0.5, "table": pd.DataFrame({"z": c.rolling(9).std()})}


@clean()
def matrix_of_lags(bars):
    c = bars["close"].to_numpy()
    return np.column_stack([np.append(np.full(k, np.nan), c[: max(len(c) - k, 0)])[: len(c)] for k in range(6)])


@clean()
def list_of_numbers(bars):
    return list(bars["close"].pct_change().fillna(0))


@clean()
def table_without_stamps(bars):
    return pd.DataFrame({"ret": bars["close"].pct_change()}).reset_index(drop=True)


@clean()
def signal_of_a_cross(bars):
    return Signal(sma_cross(bars))


@clean()
def signal_scaled_to_trailing_risk(bars):
    vol = bars["close"].pct_change().rolling(24).std()
    return Signal((sma_cross(bars) * (0.005 / vol).clip(upper=1)).fillna(0.0))


@clean()
def flat_over_the_weekend_by_the_clock(bars):
    target = sma_cross(bars)
    target[bars.index.weekday >= 5] = 0.0
    return Signal(target)


@clean()
def purchases_at_the_last_low(bars):
    at = bars["low"].shift(1).dropna()[::2]
    return Signal(orders=pd.DataFrame({"decided": at.index, "quantity": 1.0, "type": "limit", "limit": at.to_numpy()}))


@clean()
def bracket_around_yesterdays_range(bars):
    day = bars.index.floor("D")
    first = np.append(False, day[1:] != day[:-1])
    daily = bars.groupby(day).agg({"high": "max", "low": "min"}).shift(1)
    up, down = (daily[k].reindex(day)[first].set_axis(bars.index[first]).dropna() for k in ("high", "low"))
    sides = [
        pd.DataFrame(
            {"decided": x.index, "quantity": q, "type": "stop", "stop": x.to_numpy(), "oco": np.arange(len(x)) + 1}
        )
        for q, x in ((1.0, up), (-1.0, down))
    ]
    return Signal(orders=pd.concat(sides))


@clean()
def orders_after_a_win(bars):
    won = bars.index[bars["close"] > bars["close"].shift(6) * 1.01]
    return Signal(orders=pd.DataFrame({"decided": won, "quantity": 1.0, "stop_loss": 0.02}))


@clean()
def integers_and_truths(bars):
    c = bars["close"]
    up = (c > c.shift()).astype("int64")
    return pd.DataFrame({"streak": up.groupby((up == 0).cumsum()).cumsum(), "quiet": bars["volume"] == 0})


@clean()
def text_of_the_bar(bars):
    return pd.Series([f"{a:.2f}>{b:.2f}" for a, b in zip(bars["open"], bars["close"], strict=True)], bars.index)


@clean()
def spike_held_at_the_last_close(bars):
    c = bars["close"]
    r = c.pct_change()
    return c.mask(r.abs() > 4 * r.rolling(100).std().shift(), c.shift())


# Many symbols


@clean("panel")
def momentum_rank_across_symbols(bars):
    return bars.pct_change(24, fill_method=None).rank(axis=1, pct=True)


@clean("panel")
def universe_of_the_winners_so_far(bars):
    gain = bars / bars.shift(48) - 1
    return bars.pct_change(fill_method=None).where(gain.rank(axis=1, ascending=False) <= 3)


@clean("panel")
def weights_of_those_listed(bars):
    listed = bars.notna()
    return listed.div(listed.sum(axis=1), axis=0)


@clean("panel")
def cross_section_demeaned(bars):
    r = bars.pct_change(fill_method=None)
    return r.sub(r.mean(axis=1), axis=0)


@clean("panel")
def long_table(bars):
    return bars.pct_change(fill_method=None).stack().rename("ret")


@clean("panel")
def rolling_hedge_ratio(bars):
    a, b = np.log(bars.iloc[:, 0]), np.log(bars.iloc[:, 1])
    return a - a.rolling(60).cov(b) / b.rolling(60).var() * b


@clean("panel")
def market_mode_of_the_trailing_window(bars):
    r = bars.pct_change(fill_method=None).fillna(0).to_numpy()
    out = np.full(len(r), np.nan)
    for k in range(60, len(r), 24):
        v = np.abs(np.linalg.eigh(np.cov(r[k - 60 : k].T))[1][:, -1])
        out[k : k + 24] = r[k : k + 24] @ v
    return pd.Series(out, bars.index)


@clean("frames")
def most_traded_so_far(bars):
    turnover = pd.DataFrame({s: (f["close"] * f["volume"]).rolling(48).sum() for s, f in bars.items()})
    return turnover.rank(axis=1, ascending=False) == 1


@clean("frames")
def rolling_beta(bars):
    r = pd.DataFrame({s: f["close"].pct_change() for s, f in bars.items()})
    market = r.mean(axis=1)
    return {s: r[s].rolling(60).cov(market) / market.rolling(60).var() for s in r}


@clean("frames")
def features_per_symbol(bars):
    return {s: features(f) for s, f in bars.items()}


@clean("frames")
def bars_common_to_all(bars):
    return pd.concat({s: f["close"] for s, f in bars.items()}, axis=1, join="inner").pct_change()


@clean("frames")
def signal_for_all(bars):
    c = pd.DataFrame({s: f["close"] for s, f in bars.items()})
    return Signal((c > c.rolling(20).mean()).astype(float) / c.shape[1])


# Several timeframes


@clean("timeframes")
def daily_close_joined_at_close_time(bars):
    day = bars["1d"]["close"].set_axis(bars["1d"].index + pd.Timedelta("1D"))
    return day.reindex(bars["1h"].index + pd.Timedelta("1h"), method="ffill").set_axis(bars["1h"].index)


@clean("timeframes")
def daily_asof_at_close_time(bars):
    hour, day = bars["1h"][["close"]].copy(), bars["1d"][["close"]].copy()
    hour["known"], day["known"] = hour.index + pd.Timedelta("1h"), day.index + pd.Timedelta("1D")
    return pd.merge_asof(hour, day, on="known", suffixes=("", "_day")).set_axis(hour.index)


@clean("timeframes")
def yesterdays_range_by_date(bars):
    span = (bars["1d"]["high"] - bars["1d"]["low"]).set_axis(bars["1d"].index + pd.Timedelta("1D"))
    return pd.Series(bars["1h"].index.floor("D"), bars["1h"].index).map(span)


@clean("timeframes")
def signal_by_yesterdays_direction(bars):
    up = (bars["1d"]["close"] > bars["1d"]["open"]).astype(float).set_axis(bars["1d"].index + pd.Timedelta("1D"))
    return Signal(up.reindex(bars["1h"].index, method="ffill").fillna(0.0))


# Stamps and rounding


@clean()
def stamped_by_close_time(bars):
    return bars["close"].shift(freq="1h")


@clean()
def breakout_table_with_a_stamp_column(bars):
    c = bars["close"]
    return bars.loc[c > c.shift().rolling(20).max(), ["close", "volume"]].reset_index()


@clean()
def asof_backward_without_its_index(bars):
    marks = bars["close"].iloc[::8].rename("mark").reset_index()
    return pd.merge_asof(bars.reset_index(), marks, on="timestamp")[["close", "mark"]]


@clean()
def new_york_day_total_so_far(bars):
    local = bars["volume"].tz_convert("America/New_York")
    return local.groupby(local.index.date).cumsum()


@clean()
def stamps_without_a_zone(bars):
    return bars["close"].tz_localize(None).rolling("6h").mean()


@clean()
def volume_divided_by_may_be_infinite(bars):
    with np.errstate(divide="ignore", invalid="ignore"):
        return pd.DataFrame({"impact": bars["close"].diff() / bars["volume"], "log": np.log(bars["volume"])})


@clean()
def network_in_single_precision(bars):
    "Rounding of single precision depends on the size of the batch."
    rng, x = np.random.default_rng(0), features(bars).to_numpy("float32") * np.float32(100)
    for wide in (64, 64, 64):
        x = np.tanh(x @ rng.normal(0, 0.3, (x.shape[1], wide)).astype("float32"))
    return x @ rng.normal(size=64).astype("float32")


@clean()
def difference_by_fft(bars):
    "Rounding stands where a close repeats, on a difference of 0."
    return signal.fftconvolve(bars["close"].to_numpy(), [1.0, -1.0])[: len(bars)]


@clean()
def remainder_that_is_only_rounding(bars):
    c = bars["close"].to_numpy()
    return pd.DataFrame(
        {"close": c, "left": signal.fftconvolve(c, [0.5, 0.25])[: len(c)] - signal.lfilter([0.5, 0.25], 1, c)},
        bars.index,
    )
