"Functions and bars of odd forms: whatever a quant calls a feature, with whatever bars, is judged right."

import functools
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from markets import mock
from numba import njit
from scipy import signal, stats
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestRegressor
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, MinMaxScaler, QuantileTransformer, StandardScaler

from rrr.features.causal import LookAheadError, assert_causal

B = mock(240)
NAIVE = B.tz_localize(None)
RANGE = B.reset_index(drop=True)
INTS = (B * 100).round().astype("int64")
F32 = B.astype("float32")
EXTRA = B.assign(symbol="BTC", trades=(B.volume * 7).round().astype(int), flag=B.close > B.open, note=None)
DAILY = mock(260, seconds=86400, interval="1d")
TITLE = B.rename(columns=str.title)
MI = pd.concat({s: mock(200, symbol=s) for s in ("BTC-USD", "ETH-USD", "SOL-USD")}, axis=1)
LONG = (
    pd.concat({s: mock(150, symbol=s) for s in ("BTC-USD", "ETH-USD", "SOL-USD")}, names=["symbol"])
    .swaplevel()
    .sort_index()
)
FLATLONG = pd.concat([mock(120, symbol=s).assign(symbol=s) for s in ("BTC-USD", "ETH-USD")]).sort_index(kind="stable")
PANEL = pd.DataFrame({s: mock(200, symbol=s).close for s in ("BTC-USD", "ETH-USD", "SOL-USD")})
STAMP = B.reset_index()  # RangeIndex and a timestamp column
NANS = B.copy()
NANS.iloc[[50, 51, 99, 150], 3] = np.nan
MIN = mock(400, seconds=300, interval="5m")
LEAKS = {}
CLEAN = {}


def leak(bars=B):
    def add(f):
        LEAKS[f.__name__] = (f, bars)
        return f

    return add


def clean(bars=B):
    def add(f):
        CLEAN[f.__name__] = (f, bars)
        return f

    return add


def L(name, f, bars=B):
    LEAKS[name] = (f, bars)


def C(name, f, bars=B):
    CLEAN[name] = (f, bars)


# Leaks

L("lambda_shift", lambda b: b.close.shift(-1))
L("close_only", lambda close: close.shift(-2).fillna(close))
L("ohlcv_fn", lambda open_, high, low, close, volume: (high.shift(-1) - low) / close)
L("partial", functools.partial(lambda b, n: b.close.rolling(n, center=True).mean(), n=21))


class Scaler:
    def fit(self, x):
        self.m, self.s = x.mean(), x.std()
        return self

    def transform(self, x):
        return (x - self.m) / self.s

    def fit_transform(self, x):
        return self.fit(x).transform(x)


L("bound_fit_transform", Scaler().fit_transform, B[["close", "volume"]])
L("object_with_fit_transform", Scaler(), B[["close", "volume"]])
L("sklearn_scaler_object", StandardScaler(), B[["close", "volume"]])
L("sklearn_pipeline_object", make_pipeline(StandardScaler(), PCA(2)), B)
L("sklearn_bound", MinMaxScaler().fit_transform, B)


class Model:
    def __init__(self):
        self.w = None

    def predict(self, b):
        x = b.close.pct_change().fillna(0).to_numpy()[:, None]
        y = b.close.pct_change().shift(-1).fillna(0)
        return Ridge().fit(x, y).predict(x)


L("model_predict_bound", Model().predict)
L("model_object_predict", Model())


@leak()
def quantile_transformer(b):
    return QuantileTransformer(n_quantiles=20).fit_transform(b[["volume"]])


@leak()
def kbins(b):
    return (
        KBinsDiscretizer(4, encode="ordinal", strategy="quantile").fit_transform(b[["close"]])
        if len(b) > 10
        else np.full((len(b), 1), np.nan)
    )


@leak()
def cv_predict(b):
    x = np.column_stack([b.close.pct_change(k).fillna(0) for k in (1, 2, 3)])
    y = b.close.pct_change().shift(-1).fillna(0)
    return cross_val_predict(Ridge(), x, y, cv=KFold(5, shuffle=True, random_state=0))


@leak()
def forest_on_all(b):
    x = np.column_stack([b.close.pct_change(k).fillna(0) for k in (1, 2, 3)])
    y = b.close.pct_change().shift(-1).fillna(0)
    return RandomForestRegressor(5, random_state=0, max_depth=3).fit(x, y).predict(x)


@leak()
def forest_unseeded(b):
    x = np.column_stack([b.close.pct_change(k).fillna(0) for k in (1, 2, 3)])
    y = b.close.pct_change().shift(-1).fillna(0)
    return RandomForestRegressor(5, max_depth=3).fit(x, y).predict(x)


@leak()
def kmeans(b):
    return (
        KMeans(3, n_init=1, random_state=0).fit_predict(b[["close", "volume"]])
        if len(b) > 10
        else np.zeros(len(b), int)
    )


@leak()
def gmm(b):
    r = b.close.pct_change().fillna(0).to_numpy()[:, None]
    return GaussianMixture(2, random_state=0).fit(r).predict_proba(r)


@leak(NANS)
def knn_impute(b):
    return KNNImputer(n_neighbors=2).fit_transform(b[["close", "volume"]])


@leak(NANS)
def mean_impute(b):
    return SimpleImputer().fit_transform(b[["close"]])


@leak(NANS)
def bfill_native(b):
    return b.close.bfill()


@leak(NANS)
def interp_native(b):
    return b.close.interpolate(limit=1)


@njit
def _centre(x, n):
    out = np.full(len(x), np.nan)
    for i in range(n, len(x) - n):
        out[i] = x[i - n : i + n + 1].mean()
    return out


@leak()
def njit_centre(close):
    return _centre(close.to_numpy(), 5)


@leak()
def column_n1(b):
    return b.close.shift(-1).to_numpy().reshape(-1, 1)


@leak()
def range_index_series(b):
    return b.close.shift(-1).reset_index(drop=True)


@leak(RANGE)
def range_bars(b):
    return b.close.shift(-1)


@leak(STAMP)
def stamp_column(b):
    return b.set_index("timestamp").close.resample("1D").transform("max").reset_index(drop=True)


@leak(NAIVE)
def naive_day(b):
    return b.close.groupby(b.index.date).transform("mean")


@leak(INTS)
def ints_mean(b):
    return b.close - int(b.close.mean())


@leak(F32)
def f32_zscore(b):
    return (b.close - b.close.mean()) / b.close.std()


@leak(F32)
def f32_shift(b):
    return b.close.shift(-1)


@leak(EXTRA)
def extra_cols_rank(b):
    return b.trades.rank()


@leak(EXTRA)
def extra_flag(b):
    return b.flag.shift(-1, fill_value=False)


@leak(TITLE)
def title_cols(b):
    return b.Close.shift(-1) / b.Close


@leak(MI)
def multiindex_columns(b):
    return b.xs("close", axis=1, level=1).pct_change().shift(-1)


@leak(MI)
def multiindex_one_symbol_demean(b):
    c = b.xs("close", axis=1, level=1).copy()
    c["ETH-USD"] -= c["ETH-USD"].mean()
    return c


@leak(LONG)
def long_group_shift(b):
    return b.groupby(level="symbol").close.shift(-1)


@leak(LONG)
def long_shift_across_symbols(b):
    return b.close.shift(-3)


@leak(FLATLONG)
def flat_long_zscore(b):
    return b.groupby("symbol").close.transform(lambda s: (s - s.mean()) / s.std())


@leak(PANEL)
def cointegration(b):
    k = np.polyfit(b.iloc[:, 0], b.iloc[:, 1], 1)[0] if len(b) > 2 else 1.0
    return b.iloc[:, 1] - k * b.iloc[:, 0]


@leak(PANEL)
def filter_by_final_vol(b):
    return b.loc[:, b.pct_change().std() > b.pct_change().std().median()].pct_change() if len(b) > 3 else b.pct_change()


@leak(DAILY)
def weekly_close(b):
    return b.close.resample("W").last().reindex(b.index, method="bfill")


@leak(DAILY)
def weekly_label_left(b):
    return b.close.resample("W-MON", label="left", closed="left").last().reindex(b.index, method="ffill")


@leak(DAILY)
def monthly_vol(b):
    return b.close.pct_change().groupby([b.index.year, b.index.month]).transform("std")


@leak(DAILY)
def month_start_resample(b):
    return b.resample("MS").agg({"high": "max"}).reindex(b.index, method="ffill")


@leak(MIN)
def hour_range(b):
    return b.high.groupby(b.index.floor("h")).transform("max") - b.low.groupby(b.index.floor("h")).transform("min")


@leak()
def generator(b):
    c = b.close.to_numpy()
    for i in range(len(c)):
        yield c[min(i + 1, len(c) - 1)]


@leak()
def list_of_dicts(b):
    c = b.close
    return [{"t": t, "x": float(x)} for t, x in c.shift(-1).dropna().items()]


@leak()
def ewm_reversed(b):
    return b.close.iloc[::-1].ewm(alpha=0.5).mean().iloc[::-1]


@leak()
def wavelet_like(b):
    x = b.close.to_numpy()
    m = len(x) // 2 * 2
    a = (x[:m:2] + x[1:m:2]) / 2
    return np.append(np.repeat(a, 2), x[m:])


@leak()
def stop_loss_lookahead(b):
    e = b.close > b.close.rolling(10).mean()
    nxt = b.low.shift(-1)
    return pd.Series(
        np.where(e & (nxt < b.close * 0.99), -0.01, np.where(e, b.close.shift(-1) / b.close - 1, 0)), b.index
    )


@leak()
def sl_same_bar_equity(b):
    pos = np.sign(b.close.diff()).fillna(0)
    return (1 + pos * b.close.pct_change().shift(-1).fillna(0)).cumprod()


@leak()
def sharpe_scaled(b):
    r = b.close.pct_change().fillna(0)
    return r / r.std() * 0.1


@leak()
def kelly(b):
    r = b.close.pct_change().dropna()
    k = r.mean() / r.var() if len(r) > 2 else 0.0
    return pd.Series(k, b.index) * np.sign(b.close.diff()).fillna(0)


@leak()
def argmax_bar(b):
    o = np.zeros(len(b))
    o[int(np.argmax(b.close.to_numpy()))] = 1
    return o


@leak()
def cum_share(b):
    return b.volume.cumsum() / b.volume.sum()


@leak()
def boxcox(b):
    return stats.boxcox(b.close.to_numpy())[0] if len(b) > 10 else np.full(len(b), np.nan)


@leak()
def zscore_scipy(b):
    return stats.zscore(b.close.to_numpy())


@leak()
def rankdata(b):
    return stats.rankdata(b.close) / len(b)


@leak()
def rolling_then_zscore(b):
    x = b.close.rolling(50).mean()
    return (x - x.mean()) / x.std()


@leak()
def dropna_then_len_scale(b):
    x = b.close.diff().dropna()
    return x * np.linspace(0, 1, len(x))


@leak()
def vol_target_first_value(b):
    v = b.close.pct_change().rolling(20).std()
    return (v.iloc[-1] / v).clip(upper=1)


@leak()
def fixed_date_regime(b):
    return b.close > b.close.iloc[min(180, len(b) - 1)]


@leak()
def tz_ny_day(b):
    x = b.close.tz_convert("America/New_York")
    return x.groupby(x.index.normalize()).transform("last")


@leak()
def one_ppm(b):
    return b.close.rolling(10).mean() * (1 + 1e-7 * np.sign(b.close.diff().shift(-1)).fillna(0))


@leak()
def tiny_len(b):
    return b.close.rolling(10).mean() * (1 + 1e-9 * len(b))


@leak()
def rare_three_down(b):
    d = (b.close.diff() < 0).astype(int)
    return d.shift(-1) + d.shift(-2) + d.shift(-3) + d.shift(-4) + d.shift(-5) == 5


@leak()
def friday_gap(b):
    return b.close.where(b.index.dayofweek != 4, b.close.shift(-1))


@leak()
def cusum_backward(b):
    return (b.close.pct_change()[::-1] > 0.03).cumsum()[::-1]


@leak()
def np_mean_subtract_arr(close, volume):
    return close.to_numpy() - np.average(close, weights=volume)


@dataclass
class Res:
    a: object
    b: object


@leak()
def dataclass_second(b):
    return Res(b.close, b.close.shift(-1))


@leak()
def nested(b):
    return {"x": {"y": [b.close, {"z": b.close.shift(-1)}]}}


CACHE = {}


@leak()
def module_cache(b):
    if "m" not in CACHE:
        CACHE["m"] = b.close.mean()
    return b.close - CACHE["m"]


@leak()
def func_attr(b):
    if not hasattr(func_attr, "m"):
        func_attr.m = b.close.mean()
    return b.close - func_attr.m


_M = None


@leak()
def global_var(b):
    global _M
    if _M is None:
        _M = b.close.mean()
    return b.close - _M


class ClassState:
    m = None

    def __call__(self, b):
        if ClassState.m is None:
            ClassState.m = b.close.mean()
        return b.close - ClassState.m


L("class_attribute_state", ClassState())


def make_lru():
    @functools.cache
    def mean_once():
        return [None]

    def f(b):
        k = mean_once()
        if k[0] is None:
            k[0] = b.close.mean()
        return b.close - k[0]

    return f


L("lru_state", make_lru())


def default_state(b, kept=[]):  # noqa: B006
    if not kept:
        kept.append(b.close.mean())
    return b.close - kept[0]


L("default_state", default_state)
FITTED = StandardScaler().fit(B[["close"]].to_numpy())

# Clean functions

C("lambda_diff", lambda b: b.close.diff())
C("close_only", lambda close: close.ewm(5).mean())
C("ohlcv_fn", lambda open_, high, low, close, volume: (high - low) / close * volume.rolling(3).mean())
C("ohlcv_kw", lambda open, high, low, close, volume, n=3: close.rolling(n).mean())
C("partial", functools.partial(lambda b, n: b.close.rolling(n).mean(), n=21))


class Online:
    def __init__(self):
        self.n = 0
        self.m = 0.0

    def update(self, x):
        self.n += 1
        self.m += (x - self.m) / self.n
        return self.m

    def __call__(self, b):
        return pd.Series([self.update(x) for x in b.close], b.index)


C("online_object", Online())


class WalkScaler:
    def fit_transform(self, x):
        return (x - x.expanding().mean()) / x.expanding().std()


C("walk_scaler_object", WalkScaler(), B[["close", "volume"]])


@clean()
def np_generator(b):
    m = 0.0
    for x in b.close:
        m = 0.9 * m + 0.1 * x
        yield m


@clean()
def clean_column_n1(b):
    return b.close.diff().to_numpy().reshape(-1, 1)


@clean()
def rangeindex(b):
    return b.close.diff().reset_index(drop=True)


@clean(RANGE)
def clean_range_bars(b):
    return b.close.diff()


@clean(STAMP)
def clean_stamp_column(b):
    return b.set_index("timestamp").close.groupby(b.timestamp.dt.date.to_numpy()).cummax().reset_index(drop=True)


@clean(STAMP)
def stamp_column_out(b):
    return b.assign(r=b.close.pct_change())[["timestamp", "r"]]


@clean(NAIVE)
def clean_naive_day(b):
    return b.close.groupby(b.index.date).cummax()


@clean(INTS)
def ints(b):
    return b.close.diff()


@clean(INTS)
def ints_roll(b):
    return b.rolling(5).mean()


@clean(F32)
def f32(b):
    return (b.close - b.close.rolling(20).mean()) / b.close.rolling(20).std()


@clean(F32)
def f32_cumsum(b):
    return b.close.to_numpy().cumsum()


@clean(EXTRA)
def extra(b):
    return b.assign(x=b.trades.rolling(5).sum())


@clean(EXTRA)
def extra_text(b):
    return b.symbol + "-" + np.where(b.flag, "up", "down")


@clean(TITLE)
def title(b):
    return b.Close.pct_change()


@clean(MI)
def mi(b):
    return b.xs("close", axis=1, level=1).pct_change().rank(axis=1)


@clean(MI)
def mi_same(b):
    return b.rolling(5).mean()


@clean(LONG)
def long_group(b):
    return b.groupby(level="symbol").close.pct_change()


@clean(LONG)
def long_rank(b):
    return b.groupby(level=0).close.rank()


@clean(FLATLONG)
def flat_long(b):
    return b.groupby("symbol").close.diff()


@clean(FLATLONG)
def flat_long_frame(b):
    return b.assign(r=b.groupby("symbol").close.pct_change())[["symbol", "r"]]


@clean(PANEL)
def panel_beta(b):
    return b.pct_change().rolling(30).corr()


@clean(PANEL)
def panel_stack(b):
    return b.pct_change().stack()


@clean(PANEL)
def panel_best(b):
    return b.pct_change(10).fillna(0).idxmax(axis=1)


@clean(DAILY)
def weekly_prev(b):
    return b.close.resample("W").last().shift(1).reindex(b.index, method="bfill")


@clean(DAILY)
def weekly_closed_known(b):
    return b.close.resample("W").last().reindex(b.index, method="ffill")


@clean(DAILY)
def month_prev(b):
    m = b.close.groupby(b.index.tz_localize(None).to_period("M")).last().shift(1)
    return pd.Series(m.reindex(b.index.tz_localize(None).to_period("M")).to_numpy(), b.index)


@clean(DAILY)
def turn_of_month(b):
    return pd.Series(b.index.day <= 3, b.index)


@clean(DAILY)
def days_to_month_end(b):
    return pd.Series(b.index.days_in_month - b.index.day, b.index)


@clean(MIN)
def hour_so_far(b):
    return b.high.groupby(b.index.floor("h")).cummax()


@clean(MIN)
def session_open(b):
    return b.open.groupby(b.index.normalize()).transform("first")


@clean()
def ts_split(b):
    x = np.column_stack([b.close.pct_change(k).fillna(0) for k in (1, 2, 3)])
    y = b.close.pct_change().shift(-1).to_numpy()
    out = np.full(len(b), np.nan)
    for k in range(50, len(b), 50):
        out[k : k + 50] = Ridge().fit(x[: k - 1], y[: k - 1]).predict(x[k : k + 50])
    return out


@clean()
def logistic_walk(b):
    x = np.column_stack([b.close.pct_change(k).fillna(0) * 100 for k in (1, 2)])
    y = (b.close.diff().shift(-1) > 0).to_numpy()
    out = np.full(len(b), np.nan)
    for k in range(60, len(b), 60):
        out[k : k + 60] = LogisticRegression().fit(x[: k - 1], y[: k - 1]).predict_proba(x[k : k + 60])[:, 1]
    return out


@clean()
def forest_walk(b):
    x = np.column_stack([b.close.pct_change(k).fillna(0) for k in (1, 2, 3)])
    y = b.close.pct_change().shift(-1).to_numpy()
    out = np.full(len(b), np.nan)
    for k in range(80, len(b), 80):
        out[k : k + 80] = (
            RandomForestRegressor(5, random_state=0, max_depth=3).fit(x[: k - 1], y[: k - 1]).predict(x[k : k + 80])
        )
    return out


@clean()
def unseeded_global_noise(b):
    np.random.seed(3)
    return b.close + np.random.normal(size=len(b))


@clean()
def unseeded_global_truly(b):
    return b.close * (1 + 1e-3 * np.random.normal(size=len(b)))


C("fitted_scaler_transform", lambda b: FITTED.transform(b[["close"]].to_numpy()))
C("fitted_scaler_bound", FITTED.transform, B[["close"]].to_numpy())
C("fixed_constants", lambda b: (b.close - 40000.0) / 1234.5)


@clean()
def deque_window(b):
    d = deque(maxlen=5)
    out = []
    for x in b.close:
        d.append(x)
        out.append(sum(d) / len(d))
    return np.array(out)


@clean()
def needs_24_multiple(b):
    if len(b) % 24:
        raise ValueError("whole days wanted")
    return b.close.rolling(24).mean()


@leak()
def truncates_to_whole_days(b):
    k = len(b) // 24 * 24
    return b.close.iloc[:k].rolling(24).mean()


@clean()
def even_only(b):
    assert len(b) % 2 == 0
    return b.close.diff()


@clean()
def none_until(b):
    return None if len(b) < 100 else b.close.rolling(100).mean()


@clean()
def trades_list(b):
    out = []
    pos = None
    z = (b.close - b.close.rolling(20).mean()) / b.close.rolling(20).std()
    for t, x, p in zip(b.index, z, b.close, strict=True):
        if pos is None and x < -1:
            pos = (t, p)
        elif pos and x > 1:
            out.append({"entry": pos[0], "exit": t, "pnl": p - pos[1]})
            pos = None
    return out


@clean()
def trades_frame_by_exit(b):
    out = []
    pos = None
    z = (b.close - b.close.rolling(20).mean()) / b.close.rolling(20).std()
    for t, x, p in zip(b.index, z, b.close, strict=True):
        if pos is None and x < -1:
            pos = (t, p)
        elif pos and x > 1:
            out.append({"exit": t, "entry_price": pos[1], "pnl": p - pos[1]})
            pos = None
    return pd.DataFrame(out, columns=["exit", "entry_price", "pnl"]).set_index("exit")


@clean()
def dtype_mix(b):
    return pd.DataFrame(
        {
            "a": pd.array((b.close > b.open).astype(int), dtype="Int64"),
            "b": (b.close > b.open).astype("boolean"),
            "c": b.close.astype("float32"),
            "d": pd.Series(np.where(b.close > b.open, "x", "y"), b.index, dtype="string"),
        },
        b.index,
    )


@clean()
def period_index(b):
    return b.close.diff().set_axis(b.index.tz_localize(None).to_period("h"))


@clean()
def other_index_name(b):
    return b[["close"]].rename_axis("date").rename(columns={"close": "px"})


@clean()
def reversed_order(b):
    return b.close.diff()[::-1]


@clean()
def dict_of_floats(b):
    return {"last": float(b.close.iloc[-1]), "mean": float(b.close.mean())}


@clean()
def float_scalar(b):
    return b.close.mean()


@clean()
def complex_out(b):
    return np.cumsum(b.close.to_numpy()) * (1 + 1j)


@clean()
def bool_array(b):
    return (b.close > b.close.shift()).to_numpy()


@clean()
def datetimes_array(b):
    return b.index.to_numpy()


@clean()
def timedeltas(b):
    return b.index.to_series().diff()


@clean()
def inf_division(b):
    return b.close / (b.close - b.close)


@clean()
def sorted_window_median(b):
    return b.close.rolling(9).apply(lambda s: np.sort(s)[4])


@clean()
def hurst_like(b):
    return (
        np.log(b.close)
        .diff()
        .rolling(64)
        .apply(lambda s: np.log((s.cumsum().max() - s.cumsum().min()) / s.std()) / np.log(64))
    )


@clean()
def lfilter(b):
    return signal.lfilter([0.1], [1, -0.9], b.close)


@clean()
def sosfilt(b):
    sos = signal.butter(4, 0.1, output="sos")
    return signal.sosfilt(sos, b.close, zi=signal.sosfilt_zi(sos) * b.close.iloc[0])[0]


@clean()
def oaconvolve(b):
    return signal.oaconvolve(b.close.to_numpy(), np.ones(20) / 20)[: len(b)] - b.close.to_numpy()


@clean()
def fft_zscore(b):
    x = np.log(b.close.to_numpy())
    m = signal.fftconvolve(x, np.ones(20) / 20)[: len(x)]
    q = signal.fftconvolve(x * x, np.ones(20) / 20)[: len(x)]
    return (x - m) / np.sqrt(np.maximum(q - m * m, 1e-12))


@clean()
def cumsum_var(b):
    x = b.close.to_numpy()
    s = np.cumsum(x)
    q = np.cumsum(x * x)
    out = np.full(len(x), np.nan)
    n = 10
    out[n:] = (q[n:] - q[:-n]) / n - ((s[n:] - s[:-n]) / n) ** 2
    return out


@clean()
def demeaned_for_precision(b):
    x = b.close.to_numpy()
    x = x - x.mean()
    return pd.Series(x).rolling(10).var().to_numpy()


@clean()
def matmul_toeplitz(b):
    from scipy.linalg import toeplitz

    k = np.zeros(len(b))
    k[:5] = 0.2
    return toeplitz(k, np.zeros(len(b))) @ b.close.to_numpy()


@clean()
def lstsq_rolling(b):
    x = np.log(b.close.to_numpy())
    out = np.full(len(x), np.nan)
    if len(x) >= 30:
        w = np.lib.stride_tricks.sliding_window_view(x, 30)
        A = np.column_stack([np.ones(30), np.arange(30)])
        out[29:] = np.linalg.lstsq(A, w.T, rcond=None)[0][1]
    return out


@clean()
def residual_tiny(b):
    x = b.close.to_numpy()
    return x - np.exp(np.log(x))


@clean()
def mutate_inplace(b):
    b.loc[:, "close"] = b.close.shift(1)
    return b


@clean()
def sorts_index(b):
    return b.sort_index(ascending=False).sort_index().close.diff()


@clean()
def drop_dups(b):
    return b[~b.index.duplicated()].close.diff()


@clean()
def between_time(b):
    return b.between_time("09:00", "16:00").close.pct_change()


@clean()
def asfreq(b):
    return b.close.asfreq("30min").ffill().rolling(4).mean()


@clean()
def resample_ohlc_prev(b):
    return b.close.resample("4h").ohlc().shift(1).reindex(b.index, method="ffill")


@clean()
def groupby_rolling(b):
    return b.close.groupby(b.index.date).rolling(3).mean().droplevel(0)


@clean()
def pivot_days(b):
    return b.assign(d=b.index.date, h=b.index.hour).groupby("d").close.transform(lambda s: s.expanding().mean())


@clean()
def expanding_apply_quantile(b):
    return b.close.expanding(20).quantile(0.9)


@clean()
def stateful_gen_object(b):
    it = iter(b.close)
    return [next(it) for _ in range(len(b))]


@clean(NANS)
def ffill_native(b):
    return b.close.ffill()


@clean(NANS)
def rolling_min_periods(b):
    return b.close.rolling(10, min_periods=1).mean()


@clean(NANS)
def expanding_impute(b):
    return b.close.fillna(b.close.expanding().mean())


@clean()
def amihud(b):
    return (b.close.pct_change().abs() / (b.close * b.volume * 1e6)).rolling(10).mean()


L("amihud_leak", lambda b: (b.close.pct_change().abs() / (b.close * b.volume * 1e6)).rolling(10).mean().shift(-1))
L(
    "amihud_tiny_leak_filled",
    lambda b: (b.close.pct_change().abs() / (b.close * b.volume * 1e6)).rolling(11, center=True, min_periods=1).mean(),
)
L("njit_direct", lambda x: _centre(x, 3), B.close.to_numpy())


@njit
def _cum(x):
    o = np.empty_like(x)
    m = 0.0
    for i in range(len(x)):
        m = 0.9 * m + 0.1 * x[i]
        o[i] = m
    return o


C("njit_direct", _cum, B.close.to_numpy())


@clean()
def whole_day_or_nothing(b):
    "the row of a day appears under its date once its last hour is there: labelled by the close of the day"
    d = b.close.resample("1D").agg(["last", "size"])
    d = d[d["size"] == 24]["last"]
    return d.set_axis(d.index + pd.Timedelta("23h"))


@clean()
def dummies(b):
    return pd.get_dummies(b.index.day_name()).set_axis(b.index)


@clean()
def dummies_regime(b):
    v = b.close.pct_change().rolling(20).std()
    return pd.get_dummies(pd.cut(v, [-1, 0.002, 0.004, 0.008, 9], labels=list("abcd")).astype(object))


CACHE2 = {}


class MethodCache:
    def __call__(self, b):
        if "m" not in CACHE2:
            CACHE2["m"] = b.close.mean()
        return b.close - CACHE2["m"]


L("method_cache", MethodCache())


class Counting:
    calls = 0

    def __call__(self, b):
        Counting.calls += 1
        return b.close.diff()


C("class_counter", Counting())
memo = {}


@clean()
def memo_by_length(b):
    k = (len(b), float(b.close.iloc[-1]))
    if k not in memo:
        memo[k] = b.close.ewm(9).mean()
    return memo[k]


@functools.lru_cache
def weights(n):
    return np.arange(1, n + 1) / n


@clean()
def lru_weights(b):
    return b.close.rolling(5).apply(lambda x: x @ weights(5), raw=True)


@leak()
def zigzag_trade_table(b):
    c = b.close
    hits = c[c.shift(-5) > c * 1.002]
    return [{"entry": t, "price": float(p)} for t, p in hits.items()]


@leak(STAMP)
def next_stamp(b):
    return b.assign(nxt=b.timestamp.shift(-1))[["timestamp", "nxt"]].iloc[:-1]


@clean()
def tz_paris(b):
    return b.close.tz_convert("Europe/Paris").diff()


@leak()
def upsampled_interp(b):
    return b.close.resample("30min").interpolate()


@clean()
def close_stamped(b):
    return b.close.diff().set_axis(b.index + pd.Timedelta("59min59s"))


@leak()
def close_stamped_leak(b):
    return b.close.shift(-1).set_axis(b.index + pd.Timedelta("59min59s"))


# Answers of odd forms


class Event(NamedTuple):
    bar: int
    price: float


def breakouts(b):
    "Numbers of the bars that close above the five before."
    c = b.close.to_numpy()
    return [i for i in range(5, len(c)) if c[i] > c[i - 5 : i].max()]


def peaks(b):
    "Numbers of the bars that close above both neighbours."
    c = b.close.to_numpy()
    return [i for i in range(1, len(c) - 1) if c[i - 1] < c[i] > c[i + 1]]


TOLD = {
    "tuples": lambda b: [(i, float(b.close.iloc[i])) for i in breakouts(b)],
    "lists": lambda b: [[i, float(b.close.iloc[i])] for i in breakouts(b)],
    "dicts": lambda b: [{"bar": i, "p": float(b.close.iloc[i])} for i in breakouts(b)],
    "named": lambda b: [Event(i, float(b.close.iloc[i])) for i in breakouts(b)],
    "intdict": lambda b: {i: float(b.close.iloc[i]) for i in breakouts(b)},
    "strtuples": lambda b: [(str(b.index[i]), "buy") for i in breakouts(b)],
    "array2": lambda b: np.array([(i, float(b.close.iloc[i])) for i in breakouts(b)]),
    "ints": breakouts,
    "frame": lambda b: pd.DataFrame({"bar": breakouts(b)}).assign(p=lambda d: b.close.to_numpy()[d.bar]),
    "set": lambda b: set(breakouts(b)),
    "list_of_series": lambda b: [b.close.diff(), b.close.ewm(3).mean()],
    "dict_by_day": lambda b: {str(d): float(g.close.iloc[0]) for d, g in b.groupby(b.index.date)},
    "series_of_lists": lambda b: pd.Series(
        [list(b.close.to_numpy()[max(0, i - 2) : i + 1]) for i in range(len(b))], b.index
    ),
    "series_by_bar": lambda b: pd.Series({i: b.close.iloc[i] for i in breakouts(b)}, dtype=float),
    "masked": lambda b: np.ma.masked_invalid(b.close.diff().to_numpy()),
    "records": lambda b: b.assign(r=b.close.diff())[["r"]].to_records(),
    "structured": lambda b: np.array([(c, c * 2) for c in b.close], dtype=[("a", float), ("b", float)]),
    "3d": lambda b: (
        np.lib.stride_tricks.sliding_window_view(b[["close", "volume"]].to_numpy(), 5, axis=0)
        if len(b) >= 5
        else np.empty((0, 2, 5))
    ),
    "sparse": lambda b: pd.arrays.SparseArray(b.close.diff().to_numpy()),
    "interval": lambda b: pd.cut(b.close.pct_change(), [-1, -0.005, 0.005, 1]),
    "dropna_thresh": lambda b: b.rolling(20).mean().dropna(how="any").reset_index(),
    "get_dummies_hour": lambda b: pd.get_dummies(b.index.hour, prefix="h").set_axis(b.index),
    "get_dummies_arr": lambda b: pd.get_dummies(b.index.hour).to_numpy(),
    "corr_summary": lambda b: b.corr(),
    "describe": lambda b: b.describe(),
    "pivot_hour": lambda b: b.close.groupby(b.index.hour).mean(),
    "polars_like_none": lambda b: None,
    "nan_scalar": lambda b: float("nan"),
    "string": lambda b: "buy" if b.close.iloc[-1] > b.close.mean() else "sell",
    "right": lambda b: b.close.resample("4h", label="right").last().reindex(b.index, method="ffill"),
    "right_raw": lambda b: b.close.resample("4h", label="right").last(),
    "rightclosed": lambda b: b.close.resample("4h", label="right", closed="right").last(),
}


FORETOLD = {
    "tuples": lambda b: [(i, float(b.close.iloc[i])) for i in peaks(b)],
    "lists": lambda b: [[i, float(b.close.iloc[i])] for i in peaks(b)],
    "dicts": lambda b: [{"bar": i, "p": float(b.close.iloc[i])} for i in peaks(b)],
    "named": lambda b: [Event(i, float(b.close.iloc[i])) for i in peaks(b)],
    "intdict": lambda b: {i: float(b.close.iloc[i]) for i in peaks(b)},
    "array2": lambda b: np.array([(i, float(b.close.iloc[i])) for i in peaks(b)]),
    "ints": peaks,
    "frame": lambda b: pd.DataFrame({"bar": peaks(b)}).assign(p=lambda d: b.close.to_numpy()[d.bar]),
    "series_by_bar": lambda b: pd.Series({i: b.close.iloc[i] for i in peaks(b)}, dtype=float),
    "fulldict": lambda b: {i: float(x) for i, x in enumerate(b.close.shift(-1))},
    "dictbar": lambda b: {t: float(x) for t, x in b.close.shift(-1).items()},
    "listlists": lambda b: [[float(x), float(y)] for x, y in zip(b.close, b.close.shift(-1), strict=True)],
    "listdicts": lambda b: [{"x": float(x), "y": float(y)} for x, y in zip(b.close, b.close.shift(-1), strict=True)],
    "series_of_lists": lambda b: pd.Series([list(b.close.to_numpy()[i : i + 3]) for i in range(len(b))], b.index),
    "masked": lambda b: np.ma.masked_invalid(b.close.shift(-1).to_numpy()),
    "structured": lambda b: np.array(
        [(c, d) for c, d in zip(b.close, b.close.shift(-1), strict=True)], dtype=[("a", float), ("b", float)]
    ),
    "records": lambda b: b.assign(r=b.close.shift(-1))[["r"]].to_records(),
    "3d": lambda b: np.stack([b[["close", "volume"]].shift(-1).to_numpy()] * 2, axis=2),
    "interval": lambda b: pd.cut(b.close.pct_change().shift(-1), [-1, -0.005, 0.005, 1]),
    "qcut": lambda b: pd.qcut(b.close.pct_change(), 5, labels=False, duplicates="drop"),
    "rightbf": lambda b: b.close.resample("4h", label="right").last().reindex(b.index, method="bfill"),
    "dummies": lambda b: pd.get_dummies(np.where(b.close.shift(-1) > b.close, "u", "d")).set_axis(b.index),
    "columns_by_future": lambda b: pd.DataFrame(
        {f"c{k}": b.close.diff(k) for k in range(1, 4) if k < 3 or b.close.iloc[-1] > b.close.iloc[0]}
    ),
}

LEAKS |= {f"answer_{k}": (f, B) for k, f in FORETOLD.items()}
CLEAN |= {f"answer_{k}": (f, B) for k, f in TOLD.items()}


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_of_any_form_is_found(name):
    f, bars = LEAKS[name]
    with pytest.raises(LookAheadError):
        assert_causal(f, bars)


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_function_of_any_form_is_not_accused(name):
    f, bars = CLEAN[name]
    assert assert_causal(f, bars).causal
