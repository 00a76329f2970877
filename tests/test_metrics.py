"Every figure of a run is that of its formula, of other libraries, and the same in a sweep as in a single run."

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markets import walk
from numba import njit
from scipy import stats

from rrr.backtest.fast_metrics import NAMES, metric_row, scratch, shared
from rrr.backtest.metrics import (
    METRICS,
    bar_returns,
    drawdown,
    longest_drawdown_days,
    performance,
    round_trips,
    sharpe_ratio,
    sortino_ratio,
)
from rrr.backtest.moments import ratios, sample_moments
from rrr.backtest.row import figures_of_fills
from rrr.backtest.run import backtest
from rrr.core.errors import DataError
from rrr.execution.costs import Costs
from rrr.execution.orders import FILL as FILL_LOG

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import empyrical
    import vectorbt as vbt

NAN, DAY = math.nan, 86_400_000
FILL = np.dtype(
    [("order", "i8"), ("bar", "i8"), ("symbol", "i8"), ("quantity", "f8"), ("price", "f8"), ("value", "f8")]
    + [("fee", "f8"), ("slippage", "f8"), ("maker", "?"), ("reason", "i1"), ("position", "f8")]
)
FIELDS = ("bar", "symbol", "quantity", "value", "fee", "slippage", "position")


# A market, fills and what they make of the capital


def account(seed=0, n=500, each=9, symbols=1, capital=10_000.0, spread=0.01, fee=0.001):
    "Closes (n, symbols), equity, positions and FILL records of random orders, long, short and through zero"
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, spread, (n, symbols)), axis=0))
    held, cash, fills = np.zeros(symbols), capital, []
    equity, position = np.empty(n), np.empty((n, symbols))
    for t in range(n):
        for s in range(symbols):
            if t and rng.random() < 1 / each:
                wanted = float(rng.integers(-3, 4)) * 10 / symbols
                q = float(wanted - held[s])
                if q:
                    price = close[t, s] * (1 + 0.0005 * np.sign(q))
                    value, paid = abs(q) * price, abs(q) * price * fee
                    cash, held[s] = cash - q * price - paid, wanted
                    slipped = abs(q) * abs(price - close[t, s])
                    fills.append((len(fills), t, s, q, price, value, paid, slipped, False, 0, wanted))
        position[t], equity[t] = held, cash + held @ close[t]
    return close, equity, position, np.array(fills, FILL)


def frames(close, equity, position, fills, step_ms=DAY, start="2021-01-01"):
    "The same as pandas, the way a run holds it"
    index = pd.date_range(start, periods=len(equity), freq=pd.Timedelta(milliseconds=step_ms), tz="UTC").as_unit("ms")
    table = pd.DataFrame({k: fills[k] for k in FIELDS if k != "bar"}, index[fills["bar"]])
    return pd.Series(close, index), pd.Series(equity, index), pd.DataFrame(position, index), table


def measured(seed=0, step_ms=DAY, capital=10_000.0, **kind):
    "The metrics of a random account of one symbol, and its parts"
    close, equity, position, fills = account(seed, capital=capital, **kind)
    c, e, p, f = frames(close[:, 0], equity, position, fills, step_ms)
    return performance(e, capital, step_ms, p, f, close=c), c, e, p, f


# The row once more, slowly


def by_definition(equity, held, times, fills, close, capital, step_ms) -> dict[str, float]:
    "All metrics in plain NumPy and loops, for one symbol or many"
    n, year = len(equity), 365 * DAY
    e = np.concatenate([[capital], equity])
    span = times[-1] - times[0] + step_ms
    growth = e[-1] / capital
    m = dict.fromkeys(NAMES, NAN)
    with np.errstate(all="ignore"):
        m["annual_return"] = float(np.power(growth, year / span)) - 1 if growth > 0 else -1.0
    peaks = np.maximum.accumulate(e)[1:]
    m |= dict(final_equity=e[-1], total_return=growth - 1, max_drawdown=min(0.0, float((equity / peaks - 1).min())))
    since, longest = times[0], 0
    for t in range(n):
        since = times[t] if equity[t] >= peaks[t] else since
        longest = max(longest, times[t] - since)
    m |= dict(max_drawdown_days=longest / DAY, exposure=float(np.mean(held != 0)))
    m["calmar"] = m["annual_return"] / -m["max_drawdown"] if m["max_drawdown"] else NAN
    if equity.min() > 0:
        m |= of_returns(np.diff(e) / e[:-1], np.diff(close) / close[:-1], year / step_ms)
    return m | of_fills(fills, times, float(np.mean(equity)), year / span)


def of_returns(r, b, per_year) -> dict[str, float]:
    n, root, m = len(r), math.sqrt(per_year), {}
    r = r.astype(np.longdouble)
    deviation = float(np.std(r, ddof=1)) if n > 1 else NAN
    mean, down = float(r.mean()), math.sqrt(float(np.mean(np.minimum(r, 0) ** 2)))
    m["annual_volatility"] = 0.0 if deviation <= 1e-15 else deviation * root
    m["sortino"] = mean / down * root if down > 0 else NAN
    if deviation > 1e-15:
        s, sd = mean / deviation, np.sqrt(np.mean((r - r.mean()) ** 2))
        skew, kurt = (float(np.mean((r - r.mean()) ** k) / sd**k) for k in (3, 4))
        error = math.sqrt(max(0.0, 1 - skew * s + (kurt - 1) / 4 * s * s) / (n - 1))
        m |= dict(sharpe=s * root, sharpe_error=error * root, skew=skew, kurtosis=kurt - 3)
        m["probabilistic_sharpe"] = float(stats.norm.cdf(s / error)) if error else NAN
    r = r.astype(float)
    gains, losses = math.fsum(r[r > 0]), -math.fsum(r[r < 0])
    low, high = np.quantile(r, [0.05, 0.95])
    m |= dict(
        omega=gains / losses if losses else NAN, value_at_risk=low, tail_ratio=abs(high) / abs(low) if low else NAN
    )
    m["expected_shortfall"] = float(np.mean(np.sort(r)[: math.floor(0.05 * (n - 1)) + 1]))
    if n > 1 and np.std(b) > 1e-15:
        m["beta"] = float(np.mean((r[1:] - r[1:].mean()) * (b - b.mean())) / np.var(b))
        m["alpha"] = float(r[1:].mean() - m["beta"] * b.mean()) * per_year
    return m


def of_fills(fills, times, mean_equity, years) -> dict[str, float]:
    "Round trips by taking fills apart into single units of a thousandth"
    pnls, spans, state = [], [], {}
    for f in fills:
        before, cash, since = state.get(f["symbol"], (0.0, 0.0, 0))
        flow, after = -math.copysign(f["value"], f["quantity"]) - f["fee"], f["position"]
        if before == 0:
            since = times[f["bar"]]
        if before * after < 0:  # a share of the fill ends the trip, the rest begins another
            share = abs(before) / abs(f["quantity"])
            pnls.append(cash + flow * share)
            spans.append(times[f["bar"]] - since)
            state[f["symbol"]] = after, flow * (1 - share), times[f["bar"]]
            continue
        state[f["symbol"]] = after, cash + flow, since
        if after == 0:
            pnls.append(cash + flow)
            spans.append(times[f["bar"]] - since)
            state[f["symbol"]] = 0.0, 0.0, 0
    won, lost = [p for p in pnls if p > 0], [-p for p in pnls if p <= 0]
    runs = "".join("w" if p > 0 else "l" for p in pnls).split("w")
    m = dict(fills=len(fills), trades=len(pnls), longest_losing_run=max(map(len, runs)))
    m |= dict(fees_paid=math.fsum(fills["fee"]), slippage_paid=math.fsum(fills["slippage"]))
    m["turnover"] = math.fsum(fills["value"]) / mean_equity * years if mean_equity else NAN
    m["profit_factor"] = sum(won) / sum(lost) if sum(lost) else NAN
    m["payoff"] = np.mean(won) / np.mean(lost) if won and sum(lost) else NAN
    count = len(pnls)
    m |= {k: NAN for k in ("hit_rate", "expectancy", "holding_days") if not count}
    if count:
        m |= dict(hit_rate=len(won) / count, expectancy=sum(pnls) / count, holding_days=float(np.mean(spans)) / DAY)
    return m


def row(equity, held, times, fills, close, capital, step_ms, symbols=1, buffers=None) -> dict[str, float]:
    "The kernel's row, by name"
    out = np.full(len(NAMES), 7e77)
    buffers = buffers or scratch(len(equity), len(fills), symbols)
    columns = [np.ascontiguousarray(fills[k]) for k in FIELDS]
    metric_row(equity, held, *columns, np.ones(symbols), shared(times, close, capital, step_ms), buffers, out)
    return dict(zip(NAMES, out.tolist(), strict=True))


def close_to(want: dict, rel=1e-9, abs=1e-12):
    return pytest.approx({k: float(v) for k, v in want.items()}, rel=rel, abs=abs, nan_ok=True)


CURVES = st.fixed_dictionaries(
    dict(
        n=st.sampled_from([1, 2, 3, 21, 41, 127, 128, 129, 255, 256, 257, 700, 1500]),
        seed=st.integers(0, 10_000),
        kind=st.sampled_from(["walk", "ticks", "held at times", "rarely held", "jump", "rising", "constant", "ruin"]),
        scale=st.sampled_from([1e-4, 1e-2]),
        capital=st.sampled_from([1.0, 1e5]),
    )
)


def curve(n, seed, kind, scale, capital) -> np.ndarray:
    rng = np.random.default_rng(seed)
    r = rng.standard_t(3, n) * scale
    if kind == "ticks":
        r = rng.integers(-2, 3, n) * scale
    if kind in ("held at times", "rarely held"):
        share = 0.5 if kind == "held at times" else 0.03
        r = r * np.repeat(rng.random(n // 50 + 1) < share, 50)[:n]
    if kind == "rising":
        r = np.abs(r)
    if kind == "constant":
        r = np.zeros(n)
    if kind == "jump":
        r[rng.integers(n)] = 50.0
    equity = np.empty(n)
    before = capital
    for t in range(n):  # a return of nothing leaves the very same equity
        before = before * (1 + max(r[t], -0.5))
        equity[t] = before
    if kind == "ruin":
        equity[rng.integers(n) :] -= equity[-1] * rng.choice([1.0, 2.0])
    return equity


@settings(deadline=None, max_examples=150)
@given(c=CURVES)
def test_the_row_of_any_curve_is_that_of_the_definitions(c):
    equity, rng = curve(**c), np.random.default_rng(c["seed"] + 1)
    times = np.cumsum(rng.integers(1, 4, len(equity))) * 3_600_000  # with gaps
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.01, len(equity))))
    held = (rng.random(len(equity)) < 0.5) * -1.5
    args = equity, held, times, np.empty(0, FILL), close, c["capital"], 3_600_000
    got, want = row(*args), by_definition(*args)
    # far moments of nearly nothing, and ratios to it, rest on the rounding of the equity itself
    assert got == close_to(want, rel=1e-8, abs=1e-10)
    for k in ("value_at_risk", "max_drawdown", "max_drawdown_days", "final_equity", "exposure"):
        assert got[k] == want[k] or math.isnan(want[k])


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), symbols=st.integers(1, 3), n=st.sampled_from([2, 20, 300]), each=st.integers(1, 20))
def test_the_row_of_any_fills_is_that_of_the_definitions(seed, symbols, n, each):
    close, equity, position, fills = account(seed, n, each, symbols, capital=1e6)
    args = equity, np.abs(position).sum(axis=1), np.arange(n) * DAY, fills, close[:, 0].copy(), 1e6, DAY
    assert row(*args, symbols=symbols) == close_to(by_definition(*args))


@pytest.mark.parametrize(("mean", "spread"), [(0, 1e-4), (1e-4, 1e-6), (1e-2, 1e-5), (-1e-3, 1e-2)])
def test_moments_keep_ten_digits(mean, spread):
    r = np.random.default_rng(3).normal(mean, spread, 100_000)
    exact = r.astype(np.longdouble)
    centre = exact.mean()
    (n, got, *powers), squares = sample_moments(r)
    assert n == len(r) and got == pytest.approx(float(centre), rel=1e-12, abs=1e-18)
    want = [float(np.sum((exact - centre) ** k)) for k in (2, 3, 4)]
    assert powers[::2] == pytest.approx(want[::2], rel=1e-11)
    assert powers[1] == pytest.approx(want[1], rel=1e-9, abs=1e-12 * n * spread**3)
    assert squares == pytest.approx(float(np.sum(np.minimum(exact, 0) ** 2)), rel=1e-12)


def test_the_row_of_a_long_quiet_curve_keeps_ten_digits():
    equity = 1e5 * np.cumprod(1 + np.random.default_rng(5).normal(1e-6, 1e-4, 200_000))
    times = np.arange(len(equity)) * 60_000
    args = equity, np.ones(len(equity)), times, np.empty(0, FILL), equity[::-1].copy(), 1e5, 60_000
    assert row(*args) == close_to(by_definition(*args), rel=1e-10, abs=0)


# Other libraries


@pytest.mark.parametrize("case", ["random", "hourly", "real"])
def test_figures_of_returns_are_empyricals(case, request):
    step, capital = DAY if case == "random" else 3_600_000, 10_000.0
    if case == "real":  # on a regular grid: empyrical counts bars, not days
        file = request.getfixturevalue("shared_data") / "ohlcv" / "binance_spot_BTCUSDT_1h.parquet"
        price = pd.read_parquet(file)["close"].to_numpy(dtype=float)[:20_000]
        equity, close = (pd.Series(x, pd.date_range("2022-01-01", periods=len(price), freq="1h", tz="UTC"))
                         for x in (price * capital / price[0] * 0.5 + 4_000, price))  # fmt: skip
        m = bare(equity.to_numpy(), capital, price, step)
    else:
        m, close, equity, *_ = measured(4, step)
    r, per_year = pd.Series(bar_returns(equity, capital), equity.index), 365 * DAY / step
    pair = r.iloc[1:], close.pct_change().iloc[1:]
    year = dict(annualization=per_year)
    theirs = {
        "total_return": empyrical.cum_returns_final(r),
        "annual_return": empyrical.annual_return(r, **year),
        "annual_volatility": empyrical.annual_volatility(r, **year),
        "sharpe": empyrical.sharpe_ratio(r, **year),
        "sortino": empyrical.sortino_ratio(r, **year),
        "calmar": empyrical.calmar_ratio(r, **year),
        "omega": empyrical.omega_ratio(r),
        "max_drawdown": empyrical.max_drawdown(r),
        "value_at_risk": empyrical.value_at_risk(r),
        "expected_shortfall": empyrical.conditional_value_at_risk(r),
        "tail_ratio": empyrical.tail_ratio(r),
        "beta": empyrical.beta_aligned(*pair),
    }
    assert {k: m[k] for k in theirs} == close_to(theirs)
    compounded = (1 + m["alpha"] / per_year) ** per_year - 1
    assert compounded == pytest.approx(empyrical.alpha_aligned(*pair, **year), rel=1e-8)


def test_shape_regression_and_chance_are_scipys():
    m, close, equity, *_ = measured(8)
    r = bar_returns(equity, 10_000.0)
    assert m["skew"] == pytest.approx(stats.skew(r), rel=1e-10)
    assert m["kurtosis"] == pytest.approx(stats.kurtosis(r), rel=1e-10)
    line = stats.linregress(close.pct_change().iloc[1:], r[1:])
    assert (m["beta"], m["alpha"]) == pytest.approx((line.slope, line.intercept * 365), rel=1e-9)
    assert m["probabilistic_sharpe"] == pytest.approx(stats.norm.cdf(m["sharpe"] / m["sharpe_error"]), rel=1e-12)


def stored(seed, n, each, capital) -> tuple:
    "Closes, log of fills of one symbol, equity and position at each close: long, short, and flat for long"
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, n)))
    cash, held, fills = capital, 0.0, []
    equity, position = np.empty(n), np.empty(n)
    for t in range(n):
        while rng.random() < 1 / each:  # the first bar as well, and several in a bar
            wanted = float(rng.choice([0, 0, 0, 10, -5]))
            q, price = wanted - held, close[t] * (1 + rng.normal(0, 0.005))
            if q:
                cash, held = cash - q * price - abs(q) * price * 0.001, wanted
                fills.append((t, q, abs(q) * price, abs(q) * price * 0.001, abs(q) * 0.01, held, cash))
        position[t], equity[t] = held, cash + held * close[t]
    log = np.zeros(len(fills), FILL_LOG)
    names = ["bar", "quantity", "value", "fee", "slippage", "position", "cash"]
    for k, name in enumerate(names):
        log[name] = [f[k] for f in fills]
    return close, log, equity, position


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 10_000),
    n=st.sampled_from([1, 2, 7, 8, 9, 64, 511, 512, 513, 1024, 1030, 2600]),
    each=st.sampled_from([1.5, 3, 40, 700]),
    capital=st.sampled_from([1e6, 1500.0]),  # the smaller one is ruined at times, and goes on
)
def test_the_fills_of_one_symbol_say_everything(seed, n, each, capital):
    close, fills, equity, position = stored(seed, n, each, capital)
    times = np.cumsum(np.random.default_rng(seed + 1).integers(1, 4, n)) * 3_600_000
    want = by_definition(equity, position, times, fills, close, capital, 3_600_000)
    assert figures_of_fills(close, fills, shared(times, close, capital, 3_600_000)) == close_to(want, rel=1e-8)


def portfolio(close, fills, capital, step_ms):
    "The same fills in vectorbt"
    size, price, fees = (pd.Series(NAN, close.index) for _ in range(3))
    size[fills.index], fees[fills.index] = fills.quantity, fills.fee
    price[fills.index] = fills.value / fills.quantity.abs()
    parts = [x.tz_localize(None) for x in (close, size, price, fees.fillna(0.0))]
    keys = ("close", "size", "price", "fixed_fees")
    freq = pd.Timedelta(milliseconds=step_ms)
    return vbt.Portfolio.from_orders(**dict(zip(keys, parts, strict=True)), init_cash=capital, freq=freq)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_figures_of_a_long_and_short_account_are_vectorbts(seed):
    m, close, equity, position, fills = measured(seed)
    p = portfolio(close, fills, 10_000.0, DAY)
    np.testing.assert_allclose(p.value(), equity, rtol=1e-10)
    closed, returns = p.positions.closed, p.returns_acc
    theirs = {
        "final_equity": p.final_value(), "total_return": p.total_return(), "annual_return": p.annualized_return(),
        "annual_volatility": p.annualized_volatility(), "sharpe": p.sharpe_ratio(), "sortino": p.sortino_ratio(),
        "calmar": p.calmar_ratio(), "omega": p.omega_ratio(), "max_drawdown": p.max_drawdown(),
        "value_at_risk": returns.value_at_risk(), "expected_shortfall": returns.cond_value_at_risk(),
        "tail_ratio": returns.tail_ratio(), "fills": p.orders.count(), "trades": closed.count(),
        "hit_rate": closed.win_rate(), "profit_factor": closed.profit_factor(), "expectancy": closed.expectancy(),
        "holding_days": closed.avg_duration() / pd.Timedelta("1D"), "fees_paid": p.orders.fees.sum(),
        "longest_losing_run": closed.losing_streak.max(),
        "payoff": closed.winning.pnl.mean() / -closed.losing.pnl.mean(),
        "exposure": (p.assets() != 0).mean(),
        "turnover": (p.orders.size.values * p.orders.price.values).sum() / p.value().mean() * 365 / len(equity),
    }  # fmt: skip
    assert {k: m[k] for k in theirs} == close_to(theirs)
    assert m["trades"] > 10 and (fills.position < 0).any() and (fills.position > 0).any()
    downs = p.drawdowns
    bars = downs.duration.values - (downs.status.values == 1)  # theirs includes the bar of the recovery
    assert m["max_drawdown_days"] == bars.max()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_round_trips_through_zero_are_vectorbts_positions(seed):
    _, close, _, _, fills = measured(seed)
    ours = round_trips(fills.drop(columns="symbol"), float(close.iloc[-1]))
    theirs = portfolio(close, fills, 10_000.0, DAY).positions.records_readable
    assert theirs["Status"].str.lower().tolist() == ours.status.tolist()
    sign = np.where(theirs["Direction"] == "Long", 1, -1)
    np.testing.assert_allclose(ours.quantity, sign * theirs["Size"], rtol=1e-9)
    for name, column in (("entry_price", "Avg Entry Price"), ("pnl", "PnL")):
        np.testing.assert_allclose(ours[name], theirs[column], rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(ours.fees, theirs["Entry Fees"] + theirs["Exit Fees"], rtol=1e-9)
    np.testing.assert_allclose(ours.return_pct, 100 * theirs["Return"], rtol=1e-9, atol=1e-9)
    done = ours.status == "closed"
    assert ours.entry_time.dt.tz_localize(None).tolist() == theirs["Entry Timestamp"].tolist()
    assert ours.exit_time[done].dt.tz_localize(None).tolist() == theirs["Exit Timestamp"][done].tolist()


# The Sharpe ratio's error


def test_the_probabilistic_sharpe_ratio_is_that_of_the_paper():
    "Bailey and López de Prado (2012): 24 months, mean 0.036, deviation 0.079, with and without skew and kurtosis"
    for skew, kurtosis, chance in ((-2.448, 10.164, 0.913), (0.0, 3.0, 0.982)):
        m2 = 0.079**2 * 23
        moments = (24.0, 0.036, m2, skew * (m2 / 24) ** 1.5 * 24, kurtosis * (m2 / 24) ** 2 * 24)
        _, sharpe, error, likely, *_ = ratios(moments, 1.0, 12.0)
        assert sharpe == pytest.approx(1.585, abs=0.01) and likely == pytest.approx(chance, abs=0.002)
        assert error == pytest.approx(sharpe / stats.norm.ppf(likely), rel=1e-9)


def test_the_standard_error_is_the_spread_of_sharpe_ratios_over_many_samples():
    rng = np.random.default_rng(11)
    skewed = (rng.exponential(1.0, (4000, 400)) - 0.7) * 0.01  # skew 2, kurtosis 9
    found = np.array([ratios(*sample_moments(x), 365.0)[1:3] for x in skewed])
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.06)
    iid = math.sqrt((1 + (found[:, 0].mean() ** 2 / 365) / 2) / 400) * math.sqrt(365)  # Lo, 2002, for normal returns
    assert abs(iid / found[:, 0].std() - 1) > 0.1


# One core for a run and a sweep


@njit
def sweep(curves, held, columns, last_close, given, buffers, out):
    for k in range(len(curves)):
        metric_row(curves[k], held, *columns, last_close, given, buffers, out[k])


def test_a_run_and_a_sweep_agree_to_the_last_bit():
    close, equity, position, fills = account(7, n=3000, spread=0.001)
    c, e, p, f = frames(close[:, 0], equity, position, fills)
    curves = np.array([equity, equity[::-1] + 5, np.full(3000, 1e4), equity * 1.5])
    columns = tuple(np.ascontiguousarray(fills[k]) for k in FIELDS)
    buffers, out = scratch(5000, 2000), np.empty((4, len(NAMES)))  # larger than needed
    for x in buffers:
        x.view(np.uint8)[:] = 0xFF
    sweep(
        curves,
        position[:, 0],
        columns,
        close[-1],
        shared(np.arange(3000) * DAY + int(e.index.asi8[0]), c.to_numpy(), 1e4, DAY),
        buffers,
        out,
    )
    for k, values in enumerate(curves):
        single = performance(pd.Series(values, e.index), 1e4, DAY, p, f, close=c)
        np.testing.assert_array_equal(out[k], list(single.values()))


def test_views_of_a_structured_array_serve_as_well():
    close, equity, position, fills = account(7)
    args = equity, position[:, 0].copy(), np.arange(500) * DAY, fills, close[:, 0].copy(), 1e4, DAY
    out = np.empty(len(NAMES))
    views = [fills[k] for k in FIELDS]
    metric_row(*args[:2], *views, close[-1], shared(args[2], *args[4:]), scratch(500, len(fills)), out)
    assert dict(zip(NAMES, out.tolist(), strict=True)) == row(*args)


def test_blocks_of_the_single_figures_are_those_of_the_set():
    m, _, equity, *_ = measured(9)
    r, down = bar_returns(equity, 10_000.0), drawdown(equity, 10_000.0)
    assert sharpe_ratio(r, 365) == pytest.approx(m["sharpe"], rel=1e-12)
    assert sortino_ratio(r, 365) == pytest.approx(m["sortino"], rel=1e-12)
    assert down.min() == m["max_drawdown"] and longest_drawdown_days(down) == m["max_drawdown_days"]


def test_many_symbols_have_their_own_round_trips():
    close, equity, position, fills = account(3, symbols=3)
    c, e, p, f = frames(close[:, 0], equity, position, fills)
    names = np.array(["BTC-USD", "ETH-USD", "SOL-USD"])
    f["symbol"] = names[f["symbol"]]
    last = pd.Series(close[-1], names)
    trips = round_trips(f, last)
    apart = [round_trips(f[f.symbol == s].drop(columns="symbol"), last[s]) for s in names]
    for s, alone in zip(names, apart, strict=True):
        own = trips[trips.symbol == s].drop(columns="symbol").reset_index(drop=True)
        pd.testing.assert_frame_equal(own, alone)
    m = performance(e, 10_000.0, DAY, p, f, close=c)
    closed = trips[trips.status == "closed"]
    assert m["trades"] == len(closed) and m["expectancy"] == pytest.approx(closed.pnl.mean(), rel=1e-12)
    assert m["exposure"] == (position != 0).any(axis=1).mean()
    assert closed.exit_time.is_monotonic_increasing
    assert equity[-1] == pytest.approx(10_000 + trips.pnl.sum(), rel=1e-12)


def test_a_run_of_the_backtest_has_every_figure():
    b = backtest("sma_cross", walk(2000, seed=4), dict(fast=3, slow=8), Costs(slippage_bps=2))
    fills = b.fills.assign(slippage=1.0)
    m = performance(b.equity, b.capital, 3_600_000, b.position, fills, close=b.bars["close"])
    assert tuple(m) == NAMES and all(math.isfinite(v) for v in m.values())
    assert m["slippage_paid"] == len(fills)
    assert {k: v for k, v in m.items() if METRICS[k].unit == "count"} == {
        "fills": len(b.fills), "trades": (b.trades.status == "closed").sum(),
        "longest_losing_run": max(map(len, "".join("wl"[x] for x in (b.trades.pnl[b.trades.status == "closed"] <= 0)).split("w"))),
    }  # fmt: skip


# The edges


def bare(values, capital=100.0, close=None, step_ms=DAY):
    "Metrics of a curve without fills"
    index = pd.date_range("2024-01-01", periods=len(values), freq=pd.Timedelta(milliseconds=step_ms), tz="UTC")
    none = pd.DataFrame({k: [] for k in ("quantity", "value", "fee", "position")}, index[:0], dtype=float)
    close = None if close is None else pd.Series(close, index, dtype=float)
    return performance(
        pd.Series(values, index, dtype=float), capital, step_ms, pd.Series(0.0, index), none, close=close
    )


TRIPS = {"hit_rate", "profit_factor", "payoff", "expectancy", "holding_days"}
SHAPE = {"sharpe", "sharpe_error", "probabilistic_sharpe", "skew", "kurtosis"}


def undefined(m: dict) -> set[str]:
    return {k for k, v in m.items() if math.isnan(v)}


def test_a_curve_that_never_moves_has_no_ratios():
    m = bare([100.0] * 600, close=np.arange(1, 601))
    assert undefined(m) == TRIPS | SHAPE | {"sortino", "calmar", "omega", "tail_ratio"}
    assert {v for k, v in m.items() if k not in undefined(m)} == {0.0, 100.0}


def test_equal_returns_do_not_vary():
    m = bare(100 * 1.01 ** np.arange(1, 400))
    assert m["annual_volatility"] == 0 and undefined(m) >= SHAPE
    assert m["value_at_risk"] == pytest.approx(0.01) and m["annual_return"] == pytest.approx(1.01**365 - 1)


def test_a_drawdown_begins_at_the_last_bar_of_a_long_peak():
    m = bare([100.0] * 640 + [99.0] * 3)
    assert m["max_drawdown_days"] == 3 and m["max_drawdown"] == 99 / 100 - 1


def test_one_bar_has_a_return_and_no_spread():
    m = bare([90.0], close=[5.0])
    assert m["total_return"] == m["max_drawdown"] == pytest.approx(-0.1)
    assert m["value_at_risk"] == m["expected_shortfall"] == pytest.approx(-0.1)
    assert undefined(m) == TRIPS | SHAPE | {"annual_volatility", "alpha", "beta"}


@pytest.mark.parametrize("last", [0.0, -50.0, 70.0])
@pytest.mark.filterwarnings("error")
def test_after_ruin_there_are_no_returns(last):
    m = bare([100.0, 110, 0 if last == 70 else last, last], close=[1, 2, 3, 4])
    of_returns = SHAPE | {"annual_volatility", "sortino", "omega", "value_at_risk", "expected_shortfall", "tail_ratio"}
    assert undefined(m) == TRIPS | of_returns | {"alpha", "beta"}
    assert m["total_return"] == last / 100 - 1 and m["max_drawdown"] == min(last, 0) / 110 - 1
    assert (m["annual_return"] == -1) == (last <= 0)


def test_without_a_market_or_with_one_that_stands_still_there_is_no_beta():
    assert undefined(bare([100, 101, 99.0])) >= {"alpha", "beta"}
    assert undefined(bare([100, 101, 99.0], close=[5, 5, 5])) >= {"alpha", "beta"}


def test_slippage_that_is_not_known_is_not_nothing():
    _, c, e, p, f = measured(1)
    m = performance(e, 10_000.0, DAY, p, f.drop(columns="slippage"), close=c)
    assert undefined(m) == {"slippage_paid"}


@pytest.mark.parametrize(
    ("values", "close", "said"),
    [
        ([], None, "equity at one bar or more"),
        ([100, NAN, 99.0], None, "a finite number at each"),
        ([100, math.inf], None, "a finite number at each"),
        ([100, 101.0], [1, NAN], "one positive close for each of the 2 bars"),
        ([100, 101.0], [1, 0], "one positive close"),
    ],
)
def test_what_cannot_be_measured_is_refused(values, close, said):
    with pytest.raises(DataError, match=said):
        bare(values, close=close)


def test_times_must_rise_and_positions_must_match():
    with pytest.raises(DataError, match="times that rise"):
        shared(np.array([0, 0]), None, 1.0, DAY)
    _, c, e, p, f = measured(1)
    with pytest.raises(DataError, match="at each of the 500 bars, not at 499"):
        performance(e, 10_000.0, DAY, p.iloc[1:], f)


def test_the_kernel_says_nan_for_equity_that_is_not_a_number():
    equity = np.full(600, 100.0)
    equity[300] = NAN
    m = row(equity, np.ones(600), np.arange(600) * DAY, np.empty(0, FILL), np.ones(600), 100.0, DAY)
    assert undefined(m) >= set(NAMES[: NAMES.index("turnover") + 1])


def test_every_figure_is_described():
    assert tuple(METRICS) == NAMES and len({m.label for m in METRICS.values()}) == len(NAMES)
    for name, m in METRICS.items():
        assert m.name == name and m.label and m.formula and m.source
        assert m.unit in ("fraction", "ratio", "quote", "days", "count") and m.better in ("higher", "lower", "")
