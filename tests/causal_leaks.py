"Functions that look ahead, as they are really written: each states at some bar what only later bars can tell."

from typing import NamedTuple

import numpy as np
import pandas as pd
from causal_clean import features, folds, hp_matrix, kalman, ridge, sma_cross, triple_barrier, walk_forward, zigzag
from numba import njit
from scipy import interpolate, ndimage, signal

from rrr.features.indicators import atr, ema, rsi, sma
from rrr.strategy.contract import Signal

LEAKS = {}  # name -> (function, kind of bars it takes)


def leak(kind="bars"):
    "Add a function to the corpus."

    def add(f):
        assert f.__name__ not in LEAKS
        LEAKS[f.__name__] = (f, kind)
        return f

    return add


# Plain shifts


@leak()
def next_close(bars):
    return bars["close"].shift(-1)


@leak()
def next_return_among_features(bars):
    r = bars["close"].pct_change()
    return pd.DataFrame({"ret": r, "vol": r.rolling(24).std(), "label": r.shift(-1)})


@leak()
def next_close_as_array(bars):
    c = bars["close"].to_numpy()
    return np.append(c[1:], np.nan)


@leak()
def rolled_back_array(bars):
    return np.roll(bars["close"].to_numpy(), -1)


@leak()
def rolled_forward_array_wraps_at_the_first_bar(bars):
    return np.diff(bars["close"].to_numpy(), prepend=bars["close"].iloc[-1])


@leak()
def negative_pct_change(bars):
    return -bars["close"].pct_change(-3)


@leak()
def volatility_of_the_next_day(bars):
    return bars["close"].pct_change().rolling(24).std().shift(-24)


@leak()
def long_mean_one_bar_early(bars):
    return bars["close"].rolling(200).mean().shift(-1)


@leak()
def long_mean_of_next_closes_by_own_indicator(bars):
    return sma(bars["close"].shift(-1).ffill(), 150)


@leak()
def ema_one_bar_early(bars):
    return ema(bars["close"], 100).shift(-1)


@leak()
def atr_with_next_high(bars):
    return atr(bars["high"].shift(-1).fillna(bars["high"]), bars["low"], bars["close"], 14)


@leak()
def limit_filled_if_the_next_low_reaches_it(bars):
    limit = bars["close"] * 0.999
    return pd.DataFrame({"limit": limit, "filled": bars["low"].shift(-1) < limit})


@leak()
def forward_window(bars):
    ahead = pd.api.indexers.FixedForwardWindowIndexer(window_size=6)
    return bars["high"].rolling(ahead, min_periods=1).max() / bars["close"]


@leak()
def reversed_rolling(bars):
    return bars["close"][::-1].rolling(10, min_periods=1).mean()[::-1]


@leak()
def reversed_running_high(bars):
    return bars["high"][::-1].cummax()[::-1]


@leak()
def smoothed_forth_and_back(bars):
    c = bars["close"]
    return (c.ewm(span=10).mean() + c[::-1].ewm(span=10).mean()[::-1]) / 2


@njit(cache=True)
def _peek(close):
    out = np.zeros(len(close))
    for i in range(len(close) - 1):
        out[i] = out[i - 1] * 0.9 + (close[i + 1] > close[i])
    return out


@leak()
def compiled_loop_peeks_one_bar(bars):
    return pd.Series(_peek(bars["close"].to_numpy()), bars.index)


# Windows around the bar


@leak()
def centred_mean(bars):
    return bars["close"].rolling(11, center=True).mean()


@leak()
def centred_mean_lagged_one_bar_too_few(bars):
    return bars["close"].rolling(11, center=True).mean().shift(4)


@leak()
def centred_time_window(bars):
    return bars["volume"].rolling("5h", center=True).sum()


@leak()
def convolution_of_mode_same(bars):
    return np.convolve(bars["close"].to_numpy(), np.ones(5) / 5, "same")


@leak()
def central_difference(bars):
    return np.gradient(bars["close"].to_numpy())


@leak()
def savitzky_golay(bars):
    return pd.Series(
        signal.savgol_filter(bars["close"], 11, 3, mode="nearest") if len(bars) > 11 else np.nan, bars.index
    )


@leak()
def zero_phase_butterworth(bars):
    b, a = signal.butter(2, 0.1)
    return pd.Series(signal.filtfilt(b, a, bars["close"].to_numpy()), bars.index)


@leak()
def fft_low_pass(bars):
    spectrum = np.fft.rfft(bars["close"].to_numpy())
    spectrum[10:] = 0
    return pd.Series(np.fft.irfft(spectrum, len(bars)), bars.index)


@leak()
def gaussian_smooth(bars):
    return ndimage.gaussian_filter1d(np.log(bars["close"].to_numpy()), 2)


@leak()
def median_filter(bars):
    return signal.medfilt(bars["close"].to_numpy(), 5)


@leak()
def hilbert_envelope(bars):
    r = bars["close"].pct_change().fillna(0).to_numpy()
    return {"amplitude": np.abs(signal.hilbert(r)), "return": r}


@leak()
def hodrick_prescott_trend(bars):
    if len(bars) < 10:
        raise ValueError("too few bars for a trend")
    return pd.Series(np.linalg.solve(hp_matrix(len(bars), 1600), np.log(bars["close"].to_numpy())), bars.index)


@leak()
def kalman_smoother(bars):
    level, before, _, spread = kalman(np.log(bars["close"].to_numpy()))
    smooth = level.copy()
    for i in range(len(level) - 2, -1, -1):
        smooth[i] += spread[i] / (spread[i] + 1e-5) * (smooth[i + 1] - before[i + 1])
    return pd.Series(smooth, bars.index)


@leak()
def spline_through_all_bars(bars):
    x = np.arange(len(bars))
    return interpolate.UnivariateSpline(x, bars["close"], s=len(bars))(x)


@leak()
def line_taken_off(bars):
    return signal.detrend(np.log(bars["close"].to_numpy()))


@leak()
def distance_to_the_whole_samples_trend(bars):
    x, y = np.arange(len(bars)), np.log(bars["close"].to_numpy())
    if len(x) < 3:
        return np.full(len(x), np.nan)
    return y - np.polyval(np.polyfit(x, y, 1), x)


# Holes filled from later bars


@leak()
def quiet_bars_filled_from_the_next(bars):
    return bars["close"].where(bars["volume"] > 0).bfill()


@leak()
def quiet_bars_interpolated(bars):
    return bars["close"].where(bars["volume"] > 0).interpolate()


@leak()
def quiet_volume_filled_by_the_mean(bars):
    v = bars["volume"].where(bars["volume"] > 0)
    return v.fillna(v.mean())


@leak()
def warm_up_filled_from_the_first_value(bars):
    return bars["close"].rolling(20).mean().bfill()


@leak()
def missing_hours_filled_from_the_next(bars):
    grid = pd.date_range(bars.index[0], bars.index[-1], freq="1h")
    return bars["close"].reindex(grid, method="bfill")


@leak()
def missing_hours_filled_from_the_nearest(bars):
    grid = pd.date_range(bars.index[0], bars.index[-1], freq="20min")
    return bars["close"].reindex(grid, method="nearest").rolling(30, center=True).mean().reindex(bars.index)


@leak()
def nearest_bar_to_three_quarters_past(bars):
    return bars["close"].reindex(bars.index + pd.Timedelta("45min"), method="nearest").set_axis(bars.index)


@leak()
def daily_line_interpolated_in_time(bars):
    daily = bars["open"].resample("1D").first()
    return daily.reindex(daily.index.union(bars.index)).interpolate("time").reindex(bars.index)


@leak()
def scores_filled_by_median_per_column(bars):
    f = pd.DataFrame({"ret": bars["close"].pct_change(24), "vol": bars["close"].pct_change().rolling(24).std()})
    return f.fillna(f.median())


# Statistics of the whole sample


@leak()
def zscore(bars):
    c = bars["close"]
    return (c - c.mean()) / c.std()


@leak()
def minmax(bars):
    c = bars["close"]
    return (c - c.min()) / (c.max() - c.min())


@leak()
def percentile_rank(bars):
    return bars["volume"].rank(pct=True)


@leak()
def robust_scale(bars):
    r = bars["close"].diff()
    return (r - r.median()) / (r.quantile(0.75) - r.quantile(0.25))


@leak()
def winsorised_returns(bars):
    r = bars["close"].pct_change()
    return r.clip(r.quantile(0.005), r.quantile(0.995))


@leak()
def loud_bar_by_full_quantile(bars):
    return bars["volume"] > bars["volume"].quantile(0.9)


@leak()
def quintile_of_the_sample(bars):
    if len(bars) < 10:
        raise ValueError("qcut needs ten bars")
    return pd.qcut(bars["close"], 5, labels=list("abcde"))


@leak()
def equal_bins_over_the_samples_range(bars):
    return pd.cut(bars["close"], 8, labels=False)


@leak()
def principal_component(bars):
    x = features(bars).to_numpy()
    x = x - x.mean(axis=0)
    _, _, v = np.linalg.svd(x, full_matrices=False)
    return x @ (v[0] * np.sign(v[0, 0]))


@leak()
def whitened_features(bars):
    x = features(bars).to_numpy()
    if len(x) < 60:
        return np.full(x.shape, np.nan)
    return x @ np.linalg.cholesky(np.linalg.inv(np.cov(x.T)))


@leak()
def scaled_to_unit_risk(bars):
    r = np.log(bars["close"]).diff()
    return r / r.std()


@leak()
def indexed_to_the_last_close(bars):
    return bars["close"] / bars["close"].iloc[-1] * 100


@leak()
def vol_regime_around_full_median(bars):
    vol = bars["close"].pct_change().rolling(24).std()
    return pd.Series(np.where(vol > vol.median(), "wild", "calm"), bars.index)


@leak()
def outliers_dropped_by_full_sigma(bars):
    r = bars["close"].pct_change()
    return r[(r - r.mean()).abs() < 2 * r.std()]


@leak()
def scaler_of_the_first_seventy_percent(bars):
    c = bars["close"]
    train = c.iloc[: int(len(c) * 0.7)]
    return (c - train.mean()) / train.std()


@leak()
def scaler_of_the_first_hundred_shown_from_the_first_bar(bars):
    c = bars["close"]
    return (c - c.iloc[:100].mean()) / c.iloc[:100].std()


@leak()
def autocorrelation_scaled_lookback(bars):
    r = bars["close"].pct_change().fillna(0)
    rho = np.corrcoef(r[1:], r[:-1])[0, 1] if len(r) > 30 else 0.1
    return bars["close"].ewm(span=10 + 20 * abs(rho)).mean()


@leak()
def clusters_of_the_whole_sample(bars):
    x = bars["close"].pct_change().rolling(12).std().fillna(0).to_numpy()
    centres = np.linspace(x.min(), x.max(), 3)
    for _ in range(10):
        mine = np.abs(x[:, None] - centres).argmin(axis=1)
        centres = np.array([x[mine == k].mean() if (mine == k).any() else centres[k] for k in range(3)])
    return pd.Series(mine, bars.index).astype("int8")


@leak()
def weekday_codes_of_sorted_names(bars):
    names = pd.Series(bars.index.day_name(), bars.index)
    return names.astype("category").cat.codes


# Seasons, days and sessions


@leak()
def seasonal_mean_of_the_hour(bars):
    r = bars["close"].pct_change()
    return r - r.groupby(r.index.hour).transform("mean")


@leak()
def classical_decomposition(bars):
    x = np.log(bars["close"])
    trend = ((x.rolling(24).mean() + x.shift(-1).rolling(24).mean()) / 2).shift(-11)
    return (x - trend).groupby(x.index.hour).transform("mean")


@leak()
def hours_encoded_by_their_targets(bars):
    target = bars["close"].shift(-1) / bars["close"] - 1
    return target.groupby(target.index.hour).transform("mean")


@leak()
def hours_encoded_by_targets_so_far_with_the_open_one(bars):
    target = bars["close"].shift(-1) / bars["close"] - 1
    return target.groupby(target.index.hour).transform(lambda s: s.expanding().mean())


@leak()
def high_of_the_day(bars):
    return bars["high"].groupby(bars.index.floor("D")).transform("max")


@leak()
def close_of_the_day(bars):
    return bars["close"].groupby(bars.index.date).transform("last")


@leak()
def vwap_of_the_day(bars):
    day = bars.index.floor("D")
    return (bars["close"] * bars["volume"]).groupby(day).transform("sum") / bars["volume"].groupby(day).transform("sum")


@leak()
def share_of_the_days_volume_so_far(bars):
    by_day = bars["volume"].groupby(bars.index.floor("D"))
    return by_day.cumsum() / by_day.transform("sum")


@leak()
def opening_range_known_from_midnight(bars):
    early = bars["high"].where(bars.index.hour < 3)
    return early.groupby(bars.index.floor("D")).transform("max")


@leak()
def bars_in_the_day(bars):
    return bars["close"].groupby(bars.index.floor("D")).transform("size")


@leak()
def time_of_the_days_high(bars):
    at = bars["high"].groupby(bars.index.floor("D")).transform("idxmax")
    return pd.DataFrame({"high_at": pd.to_datetime(at, utc=True)})


# Coarser bars


@leak()
def daily_close_from_the_days_start(bars):
    return bars["close"].resample("1D").last().reindex(bars.index, method="ffill")


@leak()
def daily_close_from_the_days_start_one_hour_late(bars):
    return bars["close"].resample("1D").last().reindex(bars.index, method="ffill").shift(1)


@leak()
def four_hour_rsi_at_open_time(bars):
    coarse = bars["close"].resample("4h").last().ffill()
    if len(coarse) < 16:
        raise ValueError("needs 16 coarse bars")
    return rsi(coarse, 14).reindex(bars.index, method="ffill")


@leak()
def bins_closed_right_labelled_left(bars):
    return bars["close"].resample("6h", closed="right", label="left").mean().reindex(bars.index, method="ffill")


@leak()
def daily_table_stamped_by_open(bars):
    return bars.resample("1D").agg({"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"})


@leak()
def bins_counted_from_the_end(bars):
    means = bars["close"].resample("7h", origin="end", closed="right", label="right").mean()
    return means.reindex(bars.index, method="ffill")


@leak()
def upsampled_daily_range(bars):
    d = bars.resample("1D").agg({"high": "max", "low": "min"})
    joined = pd.merge_asof(bars[["close"]], (d["high"] / d["low"]).rename("range"), left_index=True, right_index=True)
    return joined


# As-of joins


def _marks(bars):
    return bars["close"].iloc[::8].rename("mark").reset_index()


@leak()
def asof_forward(bars):
    joined = pd.merge_asof(bars.reset_index(), _marks(bars), on="timestamp", direction="forward")
    return joined.set_index("timestamp")["mark"]


@leak()
def asof_nearest(bars):
    joined = pd.merge_asof(bars.reset_index(), _marks(bars), on="timestamp", direction="nearest")
    return joined.set_index("timestamp")["mark"]


@leak()
def searchsorted_on_the_right_side(bars):
    stamps = bars.index[::6]
    at = np.minimum(stamps.searchsorted(bars.index, side="right"), len(stamps) - 1)
    return bars["close"].iloc[::6].to_numpy()[at]


# Turning points and labels


@leak()
def peaks_written_at_the_peak(bars):
    out = pd.Series(0, bars.index)
    out.iloc[signal.find_peaks(bars["close"].to_numpy(), distance=5)[0]] = 1
    return out


@leak()
def relative_minima_forward_filled(bars):
    low = bars["low"].to_numpy()
    at = signal.argrelextrema(low, np.less, order=4)[0]
    return pd.Series(low[at], bars.index[at]).reindex(bars.index, method="ffill")


@leak()
def fractal_at_its_middle(bars):
    h = bars["high"]
    return (h.rolling(5, center=True).max() == h).astype(int)


@leak()
def zigzag_at_the_extreme(bars):
    return pd.Series({bars.index[at]: price for at, _, price in zigzag(bars, 0.02)}, dtype=float)


@leak()
def zigzag_event_list(bars):
    return [(bars.index[at], price) for at, _, price in zigzag(bars, 0.02)]


@leak()
def triple_barrier_among_features(bars):
    return pd.DataFrame(
        {"ret": bars["close"].pct_change(), "side": triple_barrier(bars["close"].to_numpy(), 12)}, bars.index
    )


@leak()
def label_lagged_less_than_its_horizon(bars):
    return pd.Series(triple_barrier(bars["close"].to_numpy(), 12), bars.index).shift(8)


@leak()
def rows_without_a_label_dropped(bars):
    f = features(bars)
    f["label"] = bars["close"].shift(-6) / bars["close"] - 1
    return f.dropna().drop(columns="label")


@leak()
def bars_until_the_next_new_high(bars):
    c, out = bars["close"].to_numpy(), np.full(len(bars), -1)
    for i in range(len(c)):
        above = np.flatnonzero(c[i + 1 : i + 40] > c[i])
        out[i] = above[0] + 1 if len(above) else -1
    return out


@leak()
def drawdown_spell_worst_point(bars):
    c = bars["close"]
    spell = (c == c.cummax()).cumsum()
    return (c / c.cummax() - 1).groupby(spell).transform("min")


@leak()
def trade_result_known_at_entry(bars):
    c = bars["close"]
    side = np.sign(c - c.rolling(20).mean()).fillna(0)
    trade = (side != side.shift()).cumsum()
    return (side * c.diff().shift(-1)).groupby(trade).transform("sum")


@leak()
def exit_at_the_best_price_of_the_trade(bars):
    c = bars["close"].to_numpy()
    out = np.zeros(len(c))
    for i in range(0, len(c), 10):
        best = i + int(c[i : i + 10].argmax())
        out[i : best + 1] = 1
    return Signal(pd.Series(out, bars.index))


# Choices made on the whole sample


@leak()
def window_chosen_by_full_profit(bars):
    c = bars["close"]
    r = c.pct_change().fillna(0)
    profit = {n: (np.sign(c - c.rolling(n).mean()).shift().fillna(0) * r).sum() for n in (5, 10, 20, 40, 60)}
    return c / c.rolling(max(profit, key=profit.get)).mean() - 1


@leak()
def threshold_chosen_by_full_profit(bars):
    r = bars["close"].pct_change().fillna(0)
    best = max(np.linspace(-0.01, 0.01, 21), key=lambda level: r.shift(-1)[r > level].sum())
    return Signal((r > best).astype(float))


@leak()
def feature_chosen_by_full_correlation(bars):
    f = features(bars)
    target = bars["close"].shift(-1) / bars["close"] - 1
    return f[f.corrwith(target).abs().fillna(0).idxmax()].rename("chosen")


@leak()
def sign_flipped_by_full_information_coefficient(bars):
    x = bars["close"].pct_change(5).fillna(0)
    ic = np.corrcoef(x.iloc[:-5], bars["close"].pct_change(5).shift(-5).iloc[:-5].fillna(0))[0, 1] if len(x) > 20 else 1
    return x * np.sign(ic)


@leak()
def strongest_period_of_the_spectrum(bars):
    r = bars["close"].pct_change().fillna(0).to_numpy()
    k = 1 + np.abs(np.fft.rfft(r))[1:].argmax() if len(r) > 3 else 1
    return np.sin(2 * np.pi * k * np.arange(len(r)) / len(r))


# Models


@leak()
def regression_fitted_on_all(bars):
    x = features(bars).to_numpy()
    y = bars["close"].pct_change().shift(-1).fillna(0).to_numpy()
    return pd.Series(x @ ridge(x, y), bars.index)


@leak()
def walk_forward_without_purge(bars):
    return walk_forward(bars, horizon=6, gap=0)


@leak()
def walk_forward_purged_one_bar_too_few(bars):
    return walk_forward(bars, horizon=6, gap=4)


@leak()
def out_of_fold_predictions(bars):
    x = features(bars).to_numpy()
    y = bars["close"].pct_change().shift(-1).fillna(0).to_numpy()
    out = np.full(len(x), np.nan)
    for held in np.array_split(np.arange(len(x)), 5):
        rest = np.setdiff1d(np.arange(len(x)), held)
        if len(rest):
            out[held] = x[held] @ ridge(x[rest], y[rest])
    return out


@leak()
def walk_forward_folds_cut_by_length(bars):
    return folds(bars, max(1, len(bars) // 6))


@leak()
def refits_counted_back_from_the_end(bars):
    x = features(bars).to_numpy()
    y = bars["close"].pct_change().fillna(0).to_numpy()
    out = np.full(len(x), np.nan)
    for end in range(len(x), 60, -20):
        start = max(end - 20, 60)
        out[start:end] = x[start:end] @ ridge(x[: start - 1], y[1:start])
    return pd.Series(out, bars.index)


@leak()
def gradient_descent_over_all_epochs(bars):
    x = features(bars).to_numpy() * 100
    up = (bars["close"].shift(-1) > bars["close"]).to_numpy(float)
    w = np.zeros(x.shape[1])
    for _ in range(20):
        w += 0.1 * x.T @ (up - 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))) / len(x)
    return {"probability": pd.Series(1 / (1 + np.exp(-np.clip(x @ w, -30, 30))), bars.index)}


@leak()
def transition_matrix_of_the_sample(bars):
    up = (bars["close"].diff() > 0).astype(int).to_numpy()
    counts = np.ones((2, 2))
    np.add.at(counts, (up[:-1], up[1:]), 1)
    return (counts / counts.sum(axis=1, keepdims=True))[up, 1]


# The length and the end of the sample


@leak()
def share_of_the_sample_passed(bars):
    return np.arange(len(bars)) / len(bars)


@leak()
def weights_rising_to_the_end(bars):
    return bars["close"] * 0.99 ** np.arange(len(bars))[::-1]


@leak()
def time_to_the_end(bars):
    return pd.DataFrame({"left": bars.index[-1] - bars.index, "close": bars["close"]}, bars.index)


@leak()
def flat_at_the_last_bar(bars):
    target = pd.Series(np.where(bars["close"] > bars["close"].rolling(20).mean(), 1.0, 0.0), bars.index)
    target.iloc[-1] = 0.5
    return Signal(target)


@leak()
def parity_of_the_length_shifts_the_grid(bars):
    return bars["close"].iloc[::-5][::-1]


@leak()
def age_from_the_last_stamp_as_text(bars):
    days = (bars.index[-1].normalize() - bars.index.normalize()).days
    return pd.Series(np.where(days < 7, "recent", "old"), bars.index)


@leak()
def noise_drawn_column_by_column(bars):
    noise = np.random.default_rng(3).normal(size=(2, len(bars)))
    return noise.T


@leak()
def shuffled_by_a_seed(bars):
    return bars["close"].to_numpy()[np.random.default_rng(1).permutation(len(bars))]


@leak()
def volume_bars_cut_into_fifty(bars):
    total = bars["volume"].cumsum()
    return np.minimum((total / total.iloc[-1] * 50).fillna(0), 49).astype(int)


@leak()
def bucket_vwap_on_all_its_bars(bars):
    bucket = bars["volume"].cumsum() // (bars["volume"].iloc[0] * 10)
    return bars["close"].groupby(bucket).transform("mean")


# Rare and small


@leak()
def month_end_told_by_the_next_stamp(bars):
    month = bars.index.month.to_numpy()
    return pd.Series(np.append(month[1:] != month[:-1], False), bars.index)


@leak()
def next_close_only_at_month_end(bars):
    c = bars["close"]
    last = (bars.index.day == bars.index.days_in_month) & (bars.index.hour == 23)
    return c.where(~last, c.shift(-1))


@leak()
def gap_ahead_told_by_the_next_stamp(bars):
    return pd.Series(np.append(np.diff(bars.index) > pd.Timedelta("1h"), False), bars.index)


@leak()
def spike_replaced_by_its_neighbours(bars):
    c = bars["close"]
    r = c.pct_change()
    spike = r.abs() > 4 * r.rolling(100).std().shift()
    return c.mask(spike, (c.shift() + c.shift(-1)) / 2)


@leak()
def quiet_bar_takes_the_next_open(bars):
    return bars["close"].mask(bars["volume"] == 0, bars["open"].shift(-1))


@leak()
def next_close_only_after_bar_200(bars):
    c = bars["close"]
    return c.where(np.arange(len(c)) < 200, c.shift(-1).fillna(c))


@leak()
def next_close_only_at_bar_137(bars):
    c = bars["close"].copy()
    if len(c) > 138:
        c.iloc[137] = c.iloc[138]
    return c


@leak()
def one_of_twelve_columns(bars):
    c = bars["close"]
    out = pd.DataFrame({f"mean_{n}": c.rolling(n).mean() for n in range(2, 14)})
    out["mean_9"] = c.rolling(9, center=True).mean()
    return out


@leak()
def one_column_of_a_matrix(bars):
    c = bars["close"].to_numpy()
    out = np.column_stack([np.append(np.full(k, np.nan), c[: max(len(c) - k, 0)])[: len(c)] for k in range(6)])
    out[:-2, 4] = c[2:]
    return out


@leak()
def truth_column(bars):
    c = bars["close"]
    return pd.DataFrame({"up": c > c.shift(), "will_rise": c.shift(-1) > c})


@leak()
def text_column(bars):
    ahead = bars["close"].shift(-2) > bars["close"]
    return pd.DataFrame({"close": bars["close"], "view": np.where(ahead, "buy", "sell")}, bars.index)


@leak()
def whole_number_column(bars):
    return np.sign(bars["close"].diff().shift(-1)).fillna(0).astype("int8")


@leak()
def category_column(bars):
    ahead = np.where(bars["close"].shift(-3) > bars["close"], "long", "short")
    return pd.DataFrame({"side": pd.Categorical(ahead, ["long", "short"])}, bars.index)


@leak()
def time_column(bars):
    return pd.DataFrame({"next_bar": bars.index.to_series().shift(-1)})


@leak()
def a_ten_thousandth_of_the_future(bars):
    c = bars["close"]
    return c * (1 + 1e-4 * np.sign(c.shift(-1) - c).fillna(0))


@leak()
def a_trace_of_the_future_in_a_mean(bars):
    c = bars["close"]
    return c.rolling(50).mean() + 1e-2 * c.diff().shift(-1).fillna(0)


@leak()
def rare_alert_on_the_next_move(bars):
    r = bars["close"].pct_change()
    return (r.shift(-1).abs() > 3.5 * r.rolling(100).std()).astype(int)


@leak()
def flag_flipped_once_by_the_samples_high(bars):
    return bars["high"] == bars["high"].max()


@leak()
def running_high_with_the_first_bar_told_all(bars):
    out = bars["high"].cummax()
    out.iloc[0] = bars["high"].max()
    return out


# Other shapes


class Bands(NamedTuple):
    middle: pd.Series
    width: pd.Series


@leak()
def named_tuple_with_one_bad_field(bars):
    c = bars["close"]
    return Bands(c.rolling(20).mean(), c.rolling(20).std() / c.std())


@leak()
def tuple_with_one_bad_array(bars):
    c = bars["close"].to_numpy()
    return np.maximum.accumulate(c), np.maximum.accumulate(c[::-1])[::-1]


@leak()
def dict_with_one_bad_array(bars):
    c = bars["close"].to_numpy()
    return {"low": np.minimum.accumulate(c), "scaled": c / c.max()}


@leak()
def changes_its_input_and_leaks(bars):
    bars["ret"] = bars["close"].pct_change()
    bars["ahead"] = bars["ret"].shift(-1)
    return bars


@leak()
def refuses_short_input_and_leaks(bars):
    if len(bars) < 250:
        raise ValueError(f"needs 250 bars, got {len(bars)}")
    return bars["close"].rolling(20).mean() - bars["close"].mean()


@leak()
def drops_its_warm_up_and_leaks(bars):
    f = pd.DataFrame({"slow": bars["close"].rolling(100).mean(), "ahead": bars["close"].shift(-1)})
    return f.ffill().dropna()


@leak()
def signal_of_the_next_move(bars):
    return Signal(np.sign(bars["close"].shift(-1) - bars["close"]).fillna(0.0))


@leak()
def signal_shifted_the_wrong_way(bars):
    return Signal(sma_cross(bars).shift(-1).fillna(0.0))


@leak()
def signal_scaled_to_the_samples_risk(bars):
    vol = bars["close"].pct_change().rolling(24).std()
    return Signal((sma_cross(bars) * vol.min() / vol).fillna(0.0))


@leak()
def purchases_at_the_next_low(bars):
    at = bars["low"].shift(-1).dropna()[::2]
    return Signal(orders=pd.DataFrame({"decided": at.index, "quantity": 1.0, "type": "limit", "limit": at.to_numpy()}))


@leak()
def bracket_around_the_range_of_its_own_day(bars):
    day = bars.groupby(bars.index.floor("D"))
    up, down = day["high"].transform("max")[::6], day["low"].transform("min")[::6]
    sides = [
        pd.DataFrame(
            {"decided": x.index, "quantity": q, "type": "stop", "stop": x.to_numpy(), "oco": np.arange(len(x)) + 1}
        )
        for q, x in ((1.0, up), (-1.0, down))
    ]
    return Signal(orders=pd.concat(sides))


@leak()
def orders_that_will_win(bars):
    wins = bars.index[bars["close"].shift(-6) > bars["close"] * 1.01]
    return Signal(orders=pd.DataFrame({"decided": wins, "quantity": 1.0, "stop_loss": 0.02}))


@leak()
def stop_losses_from_the_samples_range(bars):
    wide = float((bars["high"] / bars["low"] - 1).max())
    return Signal(orders=pd.DataFrame({"decided": bars.index[::5], "quantity": 1.0, "stop_loss": wide}))


@leak()
def events_without_an_index_of_bars(bars):
    c = bars["close"]
    hit = c[(c.shift(-1) / c - 1).abs() > 0.012]
    return pd.DataFrame({"at": hit.index, "price": hit.to_numpy()}).set_index("at")


# Many symbols


@leak("panel")
def universe_of_the_final_winners(bars):
    gain = bars.ffill().iloc[-1] / bars.bfill().iloc[0]
    return bars[gain.nlargest(3).index].pct_change(fill_method=None)


@leak("panel")
def universe_of_the_survivors(bars):
    return bars.dropna(axis=1).pct_change()


@leak("panel")
def weights_only_for_those_still_listed(bars):
    alive = bars.notna() & bars.iloc[-1].notna()
    return alive.div(alive.sum(axis=1), axis=0)


@leak("panel")
def listings_filled_backwards(bars):
    return bars.bfill().rank(axis=1)


@leak("panel")
def market_mode_of_the_whole_sample(bars):
    r = bars.pct_change(fill_method=None).fillna(0)
    _, v = np.linalg.eigh(r.cov().fillna(0))
    return r @ np.abs(v[:, -1])


@leak("panel")
def hedge_ratio_of_the_whole_sample(bars):
    a, b = np.log(bars.iloc[:, 0]), np.log(bars.iloc[:, 1])
    return a - (a.cov(b) / b.var()) * b


@leak("panel")
def spread_zscored_over_the_sample(bars):
    spread = np.log(bars.iloc[:, 0] / bars.iloc[:, 1])
    return (spread - spread.mean()) / spread.std()


@leak("panel")
def one_symbol_of_the_panel_leads(bars):
    out = bars.pct_change(fill_method=None)
    out.iloc[:, 2] = out.iloc[:, 2].shift(-1)
    return out


@leak("panel")
def long_table_demeaned_by_symbol(bars):
    r = bars.pct_change(fill_method=None).stack().rename("ret")
    return r - r.groupby(level=1).transform("mean")


@leak("panel")
def dispersion_rank_across_time(bars):
    return bars.pct_change(fill_method=None).std(axis=1).rank(pct=True)


@leak("frames")
def best_performer_of_the_sample(bars):
    best = max(bars, key=lambda s: bars[s]["close"].iloc[-1] / bars[s]["close"].iloc[0])
    return {s: f["close"].pct_change() * (s == best) for s, f in bars.items()}


@leak("frames")
def weights_by_the_samples_turnover(bars):
    turnover = {s: (f["close"] * f["volume"]).sum() for s, f in bars.items()}
    return {s: f["close"].pct_change() * turnover[s] / sum(turnover.values()) for s, f in bars.items()}


@leak("frames")
def beta_to_the_market_of_the_sample(bars):
    r = pd.DataFrame({s: f["close"].pct_change() for s, f in bars.items()})
    market = r.mean(axis=1)
    return {s: r[s] - r[s].cov(market) / market.var() * market for s in r}


@leak("frames")
def volume_share_of_the_day(bars):
    v = pd.DataFrame({s: f["volume"] for s, f in bars.items()})
    whole = v.groupby(v.index.floor("D")).transform("sum")
    return whole.div(whole.sum(axis=1), axis=0)


@leak("frames")
def lead_of_one_symbol_over_another(bars):
    a, b = list(bars)[:2]
    return Signal(pd.DataFrame({a: np.sign(bars[b]["close"].diff().shift(-1)), b: 0.0}).fillna(0.0))


# Several timeframes


@leak("timeframes")
def daily_close_joined_at_open_time(bars):
    return bars["1d"]["close"].reindex(bars["1h"].index, method="ffill")


@leak("timeframes")
def daily_range_joined_one_hour_late(bars):
    d = bars["1d"]
    return (d["high"] - d["low"]).reindex(bars["1h"].index, method="ffill").shift(1)


@leak("timeframes")
def daily_asof_at_open_time(bars):
    return pd.merge_asof(
        bars["1h"][["close"]], bars["1d"][["close"]].add_suffix("_day"), left_index=True, right_index=True
    )


@leak("timeframes")
def daily_close_mapped_by_date(bars):
    day = bars["1d"]["close"]
    return pd.Series(bars["1h"].index.floor("D"), bars["1h"].index).map(day)


@leak("timeframes")
def signal_by_the_days_direction(bars):
    up = (bars["1d"]["close"] > bars["1d"]["open"]).astype(float)
    return Signal(up.reindex(bars["1h"].index, method="ffill").fillna(0.0))


# Stamps


@leak()
def stamped_one_hour_early(bars):
    return bars["close"].shift(freq="-1h")


@leak()
def zigzag_table_with_a_stamp_column(bars):
    points = [(bars.index[at], price) for at, price, _ in zigzag(bars, 0.02)]
    return pd.DataFrame(
        {"timestamp": pd.DatetimeIndex([t for t, _ in points], tz="UTC"), "price": [p for _, p in points]}
    )


@leak()
def asof_forward_without_its_index(bars):
    return pd.merge_asof(bars.reset_index(), _marks(bars), on="timestamp", direction="forward")[["close", "mark"]]


@leak()
def new_york_day_total(bars):
    local = bars["volume"].tz_convert("America/New_York")
    return local.groupby(local.index.date).transform("sum")


@leak()
def quiet_bar_ahead(bars):
    return (bars["volume"].shift(-1) == 0).to_numpy()


@leak()
def network_with_batch_normalisation(bars):
    rng, x = np.random.default_rng(0), features(bars).to_numpy("float32")
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + np.float32(1e-6))
    return np.tanh(x @ rng.normal(size=(4, 8)).astype("float32")) @ rng.normal(size=8).astype("float32")
