"Every figure that empyrical or vectorbt has too is compared with theirs, and every figure they list is accounted for."

import math
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from test_metrics import DAY, measured, portfolio

from rrr.backtest.fast_metrics import NAMES
from rrr.backtest.metrics import bar_returns

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import empyrical
    import vectorbt as vbt
    from empyrical import stats as listed

CAPITAL, YEAR = 10_000.0, dict(annualization=365)

# What is ours -> theirs on the same returns or fills, with the conventions of nbs/60_backtest/01_metrics.ipynb

EMPYRICAL = {
    "total_return": lambda c: empyrical.cum_returns_final(c.r),
    "annual_return": lambda c: empyrical.annual_return(c.r, **YEAR),
    "annual_volatility": lambda c: empyrical.annual_volatility(c.r, **YEAR),
    "sharpe": lambda c: empyrical.sharpe_ratio(c.r, **YEAR),
    "sortino": lambda c: empyrical.sortino_ratio(c.r, **YEAR),
    "calmar": lambda c: empyrical.calmar_ratio(c.r, **YEAR),
    "omega": lambda c: empyrical.omega_ratio(c.r),
    "max_drawdown": lambda c: empyrical.max_drawdown(c.r),
    "value_at_risk": lambda c: empyrical.value_at_risk(c.r),
    "expected_shortfall": lambda c: empyrical.conditional_value_at_risk(c.r),
    "tail_ratio": lambda c: empyrical.tail_ratio(c.r),
    "skew": lambda c: listed.stats.skew(c.r),
    "kurtosis": lambda c: listed.stats.kurtosis(c.r),
    "alpha": lambda c: simple(empyrical.alpha(*c.later, **YEAR)),
    "beta": lambda c: empyrical.beta(*c.later),
}
VECTORBT = {
    "final_equity": lambda c: c.p.final_value(),
    "total_return": lambda c: c.p.total_return(),
    "annual_return": lambda c: c.acc.annualized(),
    "annual_volatility": lambda c: c.acc.annualized_volatility(),
    "sharpe": lambda c: c.acc.sharpe_ratio(),
    "sortino": lambda c: c.acc.sortino_ratio(),
    "calmar": lambda c: c.acc.calmar_ratio(),
    "omega": lambda c: c.acc.omega_ratio(),
    "max_drawdown": lambda c: c.p.drawdowns.max_drawdown(),
    "max_drawdown_days": lambda c: longest(c.p.drawdowns),
    "value_at_risk": lambda c: c.acc.value_at_risk(),
    "expected_shortfall": lambda c: c.acc.cond_value_at_risk(),
    "tail_ratio": lambda c: c.acc.tail_ratio(),
    "skew": lambda c: c.acc.obj.skew() * (c.n - 2) / math.sqrt(c.n * (c.n - 1)),
    "kurtosis": lambda c: (c.acc.obj.kurtosis() * (c.n - 2) * (c.n - 3) / (c.n - 1) - 6) / (c.n + 1),
    "alpha": lambda c: simple(c.later_acc.alpha(c.later_market)),
    "beta": lambda c: c.later_acc.beta(c.later_market),
    "exposure": lambda c: c.p.positions.coverage(),
    "turnover": lambda c: (c.p.orders.size.values * c.p.orders.price.values).sum() / c.p.value().mean() * 365 / c.n,
    "fills": lambda c: c.p.orders.count(),
    "trades": lambda c: c.closed.count(),
    "hit_rate": lambda c: c.closed.win_rate(),
    "profit_factor": lambda c: c.closed.profit_factor(),
    "payoff": lambda c: c.closed.winning.pnl.mean() / -c.closed.losing.pnl.mean(),
    "expectancy": lambda c: c.closed.expectancy(),
    "holding_days": lambda c: c.closed.duration.mean(),
    "longest_losing_run": lambda c: c.closed.losing_streak.max(),
    "fees_paid": lambda c: c.p.orders.fees.sum(),
}
NEITHER = {  # and what they are checked against
    "sharpe_error": "the spread over many samples",
    "probabilistic_sharpe": "the table of the paper",
    "slippage_paid": "the definition",
}

# What they list -> what it is here; nothing where it is no figure of a run here

LISTED_BY_EMPYRICAL = {
    "cum_returns_final": "total_return", "annual_return": "annual_return", "cagr": "annual_return",
    "annual_volatility": "annual_volatility", "sharpe_ratio": "sharpe", "calmar_ratio": "calmar", "omega_ratio": "omega",
    "max_drawdown": "max_drawdown", "sortino_ratio": "sortino", "skew": "skew", "kurtosis": "kurtosis",
    "tail_ratio": "tail_ratio", "value_at_risk": "value_at_risk", "conditional_value_at_risk": "expected_shortfall",
    "alpha": "alpha", "beta": "beta",
    "stability_of_timeseries": "", "excess_sharpe": "", "beta_fragility_heuristic": "", "gpd_risk_estimates": "",
    "capture": "", "up_capture": "", "down_capture": "",
}  # fmt: skip
LISTED_BY_VECTORBT = {
    "end_value": "final_equity", "total_return": "total_return", "ann_return": "annual_return",
    "ann_volatility": "annual_volatility", "sharpe_ratio": "sharpe", "calmar_ratio": "calmar", "omega_ratio": "omega",
    "sortino_ratio": "sortino", "max_dd": "max_drawdown", "max_dd_duration": "max_drawdown_days", "skew": "skew",
    "kurtosis": "kurtosis", "tail_ratio": "tail_ratio", "value_at_risk": "value_at_risk", "alpha": "alpha", "beta": "beta",
    "coverage": "exposure", "total_fees_paid": "fees_paid", "total_closed_trades": "trades", "win_rate": "hit_rate",
    "profit_factor": "profit_factor", "expectancy": "expectancy", "losing_streak": "longest_losing_run",
    **dict.fromkeys((
        "start", "end", "period", "start_value", "benchmark_return", "max_gross_exposure", "total_trades",
        "total_open_trades", "open_trade_pnl", "best_trade", "worst_trade", "avg_winning_trade", "avg_losing_trade",
        "avg_winning_trade_duration", "avg_losing_trade_duration", "common_sense_ratio", "first_trade_start",
        "last_trade_end", "overlap_coverage", "total_records", "total_long_trades", "total_short_trades",
        "winning_streak", "sqn",
    ), ""),
}  # fmt: skip


def simple(yearly: float) -> float:
    "Alpha a year that was compounded, as a sum"
    return ((1 + yearly) ** (1 / 365) - 1) * 365


def longest(downs) -> float:
    "Days of the longest drawdown, without the bar of its recovery, which theirs includes"
    return (downs.duration.values - (downs.status.values == 1)).max()


@pytest.fixture(scope="module", params=[1, 2, 3])
def case(request):
    m, close, equity, _, fills = measured(request.param)
    p, r = portfolio(close, fills, CAPITAL, DAY), pd.Series(bar_returns(equity, CAPITAL), equity.index)
    market = close.pct_change().iloc[1:]
    later = r.iloc[1:].tz_localize(None)
    return SimpleNamespace(
        m=m, p=p, r=r, n=len(r), acc=p.returns_acc, closed=p.positions.closed, later=(r.iloc[1:], market),
        later_acc=later.vbt.returns(freq="1D"), later_market=market.tz_localize(None),
    )  # fmt: skip


@pytest.mark.parametrize("name", EMPYRICAL)
def test_a_figure_is_empyricals(case, name):
    assert case.m[name] == pytest.approx(float(EMPYRICAL[name](case)), rel=1e-8) and math.isfinite(case.m[name])


@pytest.mark.parametrize("name", VECTORBT)
def test_a_figure_is_vectorbts(case, name):
    assert case.m[name] == pytest.approx(float(VECTORBT[name](case)), rel=1e-8) and math.isfinite(case.m[name])


def test_no_figure_is_without_a_peer_but_those_that_no_library_has():
    assert {*EMPYRICAL, *VECTORBT, *NEITHER} == set(NAMES) and not NEITHER.keys() & {*EMPYRICAL, *VECTORBT}


def test_every_figure_that_the_libraries_list_is_compared_or_known_to_be_none_of_ours():
    theirs = {f.__name__ for f in listed.SIMPLE_STAT_FUNCS + listed.FACTOR_STAT_FUNCS}
    assert theirs == set(LISTED_BY_EMPYRICAL) and set(LISTED_BY_EMPYRICAL.values()) - {""} == set(EMPYRICAL)
    kinds = vbt.Portfolio, vbt.returns.accessors.ReturnsAccessor, vbt.portfolio.trades.Positions
    assert {k for kind in kinds for k in kind.metrics} == set(LISTED_BY_VECTORBT)
    assert set(LISTED_BY_VECTORBT.values()) - {""} <= set(VECTORBT)


def test_where_nothing_is_lost_or_varies_they_differ_as_is_told():
    "As the table of conventions in nbs/60_backtest/01_metrics.ipynb says"
    index = pd.date_range("2024-01-01", periods=50, freq="1D")
    rising = pd.Series(np.linspace(0.001, 0.002, 50), index)
    acc = rising.vbt.returns(freq="1D")
    assert acc.omega_ratio() == acc.sortino_ratio() == math.inf
    assert math.isnan(empyrical.omega_ratio(rising)) and empyrical.sortino_ratio(rising) == math.inf
    still = pd.Series(0.0, index)
    assert math.isnan(empyrical.sharpe_ratio(still)) and still.vbt.returns(freq="1D").sharpe_ratio() == math.inf
