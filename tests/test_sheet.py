"The words of a report: escaped, honest about chance, equal to the figures, and a dash for what is not defined."

import json
import math
import re
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import browser
from hypothesis import given, settings
from hypothesis import strategies as st
from markets import frame, mock, walk, wanting
from test_charts import PANEL, RUNS, acting, every_run, panel

from rrr.backtest import sheet, tables, words
from rrr.backtest.metrics import METRICS, bar_returns
from rrr.backtest.run import backtest
from rrr.backtest.words import FEW, beyond_chance, fewest_that_matter, headline, sharpe_gap, verdict
from rrr.execution.costs import Costs
from rrr.strategy.contract import Signal, Strategy

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")  # vectorbt's own calls
NAN = math.nan
EVIL = "<script>alert(1)</script>&-USD"
FREE = Costs(fee_bps=0)
ALL = [
    words.verdict,
    tables.cards,
    tables.metrics_table,
    tables.monthly_table,
    tables.drawdowns_table,
    tables.regimes_table,
    tables.extremes_table,
    tables.trades_table,
    tables.costs_table,
    tables.symbols_table,
    sheet.findings_table,
    lambda b: sheet.provenance_table(b, {"Run": EVIL}),
]


def text(html: str) -> str:
    "What a reader reads"
    return unescape(re.sub(r"<[^>]+>", " ", html)).replace("\xa0", " ")


def steady(up: float, n=400, noise=0.01, seed=0) -> pd.DataFrame:
    "A market that rises by `up` a bar on average"
    rng = np.random.default_rng(seed)
    moves = rng.normal(0, noise, n)
    closes = 100 * np.cumprod(1 + up + moves - moves.mean())
    return frame(np.concatenate([[100], closes[:-1]]), closes, "1d")


# Numbers as text


@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf])
def test_undefined_figures_are_dashes(value):
    assert words.money(value) == words.percent(value) == words.number(value) == words.figure("sharpe", value) == "–"


def test_figures_as_text():
    assert sheet.money(-1234567.891) == "-1,234,567.89" and sheet.money(0) == "0.00"
    assert sheet.percent(0.12345) == "12.3 %" and sheet.percent(-12.5, 0) == "-1,250 %"
    assert sheet.number(1234.5) == "1,234.50" and sheet.number(3, 0) == "3"


@given(st.floats(-0.004, 0.004))
def test_nothing_is_never_negative(value):
    assert words.number(value) == words.money(value) == "0.00" and words.percent(value / 100, 0) == "0 %"


# Escaping and completeness


@pytest.mark.parametrize("piece", ALL)
def test_text_from_data_is_escaped(piece):
    html = piece(backtest("sma_cross", mock(300), dict(fast=3, slow=8), symbol=EVIL))
    assert "<script>" not in html and html.startswith("<")


def test_text_from_the_store_is_escaped():
    series = dict(source=EVIL, synthetic=True, rows=5, first_ms=0, last_ms=3_600_000, quality={"warnings": [EVIL]})
    html = sheet.quality_table(series)
    assert "<script>" not in html and html.count("&lt;script&gt;") == 2 and "(SYNTHETIC)" in html
    assert "1970-01-01 00:00 to 1970-01-01 01:00 UTC" in html
    assert sheet.table({EVIL: EVIL}).count("&lt;script&gt;") == 2


@every_run
def test_any_run_reads_without_a_nan(run):
    b = run()
    read = text("".join(piece(b) for piece in ALL))
    assert not re.search(r"\b(nan|NaN|inf|NaT|None)\b", read)
    assert "-0.00 " not in read and "-0.0 %" not in read


def test_every_header_cell_says_what_it_heads():
    b = RUNS["panel"]()
    for html in (piece(b) for piece in ALL):
        assert not re.findall(r"<th(?=[ >])(?![^>]*scope=)", html)


def test_a_run_without_fills_says_so():
    for b in (RUNS["idle"](), backtest("buy_and_hold", walk(1))):
        assert headline(b) == "It never traded"
        assert "No fills: the strategy never held anything." in tables.trades_table(b) + tables.extremes_table(b)


# The verdict


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: backtest("buy_and_hold", walk(300)), "It did what buying and holding did"),
        (lambda: backtest(acting([0, 0, 1]), steady(0.004), costs=FREE), "It made money, but less than buying and holding and"),
        (lambda: backtest(acting([-1]), steady(0.001, 300), costs=FREE), "It lost money where buying and holding made money"),
        (lambda: backtest(acting([0.3]), steady(-0.001), costs=FREE), "It lost money, though less than buying and holding"),
        (lambda: backtest(acting([1, 0]), steady(-0.001), costs=Costs(fee_bps=100)), "It lost money"),
        (lambda: backtest(acting([-1]), steady(-0.001), costs=FREE), "It made more than buying and holding, but by no more than"),
        (lambda: backtest(acting([-1]), steady(0.05, 60, 0.001), costs=FREE), "Ruined"),
    ],
)  # fmt: skip
def test_headlines_of_plain_cases(make, said):
    assert headline(make()).startswith(said)


def foreseeing(bars: pd.DataFrame, share: float, seed: int = 1):
    "A strategy that knows a share of the coming moves: far more than chance"
    ahead = (bars.close.shift(-1) > bars.close).to_numpy()
    guess = np.random.default_rng(seed).random(len(bars)) < 0.5
    known = np.random.default_rng(seed + 1).random(len(bars)) < share
    return acting(np.where(known, ahead, guess).astype(float))


def test_only_a_lead_beyond_chance_over_many_trades_is_called_one():
    bars = steady(0.0, 2000)
    bars["open"] = bars["close"].shift(1, fill_value=100.0)
    seer = backtest(foreseeing(bars, 0.6), bars, costs=FREE)
    assert beyond_chance(seer) and "by more than chance explains in this one sample" in headline(seer)
    few = backtest(
        acting([0] * 1500 + [-1] * 500),
        frame(*[np.r_[np.full(1500, 100.0), 100 * 0.999 ** np.arange(500)]] * 2, "1d"),
        costs=FREE,
    )
    assert few.metrics["trades"] < FEW and not beyond_chance(few)
    assert "by no more than chance could explain" in headline(few)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_noise_is_not_praised(seed):
    "Coin tosses on a walk without drift: at most about one in forty would pass two standard errors, none here by three"
    bars = walk(400, seed=seed, interval="1d")
    tosses = np.random.default_rng(seed).integers(0, 2, 400).astype(float)
    b = backtest(acting(tosses), bars, costs=Costs(fee_bps=10))
    gap, error = sharpe_gap(b)
    if abs(gap) <= 2 * error or b.metrics["sharpe"] <= 2 * b.metrics["sharpe_error"]:
        assert "by more than chance explains" not in headline(b)
    assert ("cannot be told from zero" in words.chance(b)) == (
        abs(b.metrics["sharpe"]) <= 2 * b.metrics["sharpe_error"]
    )


def test_the_error_of_a_gap_is_that_of_a_bootstrap():
    b = backtest("sma_cross", walk(1500, interval="1d"), dict(fast=5, slow=20), costs=FREE)
    r, h = (bar_returns(x.equity, b.capital) for x in (b, b.benchmark))
    rng = np.random.default_rng(0)
    gaps = []
    for _ in range(2000):
        i = rng.integers(0, len(r), len(r))
        gaps.append(r[i].mean() / r[i].std(ddof=1) - h[i].mean() / h[i].std(ddof=1))
    gap, error = sharpe_gap(b)
    assert gap == pytest.approx(b.metrics["sharpe"] - b.benchmark.metrics["sharpe"])
    assert error == pytest.approx(np.std(gaps) * math.sqrt(365), rel=0.15)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000))
def test_what_the_profit_hangs_on_is_the_fewest(seed):
    b = backtest(acting([1, NAN, 0]), walk(120, seed=seed), costs=FREE)
    pnl = sorted(b.trades.pnl, reverse=True)
    k = fewest_that_matter(b)
    if sum(pnl) <= 0:
        assert k is None and words.few_told(b) == ""
    else:
        assert sum(pnl[k:]) <= 1e-6 < sum(pnl[k - 1 :]) + 1e-6
        assert (f"best {k} of" if k > 1 else "best of") in words.few_told(b)


def test_a_best_trade_that_is_still_open_is_called_so():
    b = backtest(acting([1, 0, 1, 0, 1, 0, 1, 0, 1] + [NAN] * 391), steady(0.01), costs=FREE)
    assert "still open: its profit is not yet made" in words.few_told(b)
    assert "It said nothing after 2024-01-09" in words.data_told(b)


@pytest.mark.parametrize(
    ("targets", "closes", "bps", "said"),
    [
        ([1, 0], [100, 100, 110, 110], 100, "of the gross profit of"),
        ([1, 0], [100, 100, 101, 101], 100, "turned a gross profit of"),
        ([1, 0], [100, 100, 90, 90], 100, "It lost before costs as well"),
        ([1, 0], [100, 100, 110, 110], 0, "No cost was charged: no account can trade like that."),
    ],
)
def test_costs_are_set_beside_the_gross_profit(targets, closes, bps, said):
    bars = frame([100, 100, closes[2], closes[3]], closes)
    assert said in words.costs_told(backtest(acting([*targets, NAN, NAN]), bars, costs=Costs(fee_bps=bps)))


def test_the_worst_drawdown_is_told_with_whether_it_is_over():
    up = frame([100, 100, 50, 120], [100, 50, 120, 130], "1d")
    assert "made up on 2024-01-03" in words.drawdown_told(backtest("buy_and_hold", up, costs=FREE))
    down = frame([100, 100, 50, 60], [100, 50, 60, 70], "1d")
    told = words.drawdown_told(backtest("buy_and_hold", down, costs=FREE))
    assert "not made up by the end" in told and "It ends 30.0 % below its highest equity" in told


def test_what_a_venue_would_charge_and_was_left_out_is_told():
    b = backtest(acting([-1, 1]), walk(200))
    told = words.tradable_told(b)
    assert "spread and slippage" in told and "interest and funding of its shorts" in told
    assert "of the volume of their bar" in told, "a volume of 1 is far below any fill"
    full = Costs(slippage_bps=1, borrow_bps_year=100, root_impact=0.1)
    assert words.tradable_told(backtest(acting([-1, 1]), walk(200), costs=full)) == ""


def test_labels_stand_above_everything():
    made_up = backtest("buy_and_hold", walk(9))
    assert "SYNTHETIC" in words.synthetic_banner(made_up) and "(SYNTHETIC data)" in verdict(made_up)
    assert words.synthetic_banner(backtest("buy_and_hold", walk(9), synthetic=False)) == ""
    bad = walk(9)
    bad.attrs["blocked"] = ("price_unit",)
    b = backtest("buy_and_hold", bad, accept_blocked=True)
    assert (
        "BLOCKED" in words.blocked_banner(b)
        and "price unit" in words.blocked_banner(b)
        and "(BLOCKED data)" in verdict(b)
    )
    assert words.blocked_banner(made_up) == ""


# Tables


@every_run
def test_the_table_of_figures_is_that_of_the_metrics(run):
    b = run()
    rows = re.findall(r"<tr><th scope='row'><abbr title='(.*?)'>(.*?)</abbr></th>(.*?)</tr>", tables.metrics_table(b))
    assert [unescape(label) for _, label, _ in rows] == [m.label for m in METRICS.values()]
    for (formula, _, cells), (name, metric) in zip(rows, METRICS.items(), strict=True):
        assert unescape(formula) == metric.formula
        values = [text(c).strip() for c in re.findall(r"<td.*?</td>", cells)]
        assert values == [words.figure(name, x.metrics[name]) for x in (b, b.benchmark)]


def test_the_calendar_holds_the_months_and_their_year():
    b = backtest("buy_and_hold", steady(0.001, 500))
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", tables.monthly_table(b))
    assert len(cells) == 2 * 13
    months = [1 + float(c) / 100 for c in cells[:12]]
    assert np.prod(months) == pytest.approx(1 + float(cells[12]) / 100, abs=5e-3)


def test_a_long_list_of_trades_is_cut_to_the_latest():
    b = backtest("sma_cross", mock(2000), dict(fast=3, slow=8))
    html, n = tables.trades_table(b, most=5), len(b.trades)
    numbers = re.findall(r"<th scope='row'>(\d+)</th>", html)
    assert f"the latest 5 of {n:,}" in html and numbers == [str(n - i) for i in range(5)]
    assert f"all {n}" in tables.trades_table(b, most=n)


def test_best_and_worst_trades_are_those():
    b = backtest("sma_cross", mock(2000), dict(fast=3, slow=8))
    numbers = re.findall(r"<th scope='row'>(\d+)</th>", tables.extremes_table(b, 3))
    order = (b.trades.pnl.sort_values(ascending=False, kind="stable").index + 1).astype(str)
    assert numbers == [*order[:3], *order[::-1][:3]]


def test_what_ended_a_trade_is_told():
    b = RUNS["stops"]()
    told = [tables.exit_reason(b, t) for _, t in b.trades.iterrows()]
    assert {"stop loss", "take profit"} <= set(told) <= {"stop loss", "take profit", "decision", "open"}
    won = [t.pnl > 0 for _, t in b.trades.iterrows()]
    assert all(w for w, why in zip(won, told, strict=True) if why == "take profit")


def test_a_trade_that_ends_in_a_bar_of_several_fills_has_its_own_reason():
    "Out by the stop inside the bar at whose open it was turned: the one trade by decision, the other by its stop."
    bars = frame([100, 100, 100, 120], [100, 100, 120, 120])
    b = backtest(acting([1, -1, NAN, NAN], stop_loss=0.05), bars, costs=FREE)
    assert [tables.exit_reason(b, t) for _, t in b.trades.iterrows()] == ["decision", "stop loss"]


def test_costs_are_told_as_what_they_came_to():
    "Bought at 101 for 100, sold at 148.5 for 150, half a percent of fee each way."
    bars = frame([100, 100, 150], [100, 100, 150])
    b = backtest(wanting([1, 0, NAN]), bars, costs=Costs(fee_bps=50, slippage_bps=100, lot=1), capital=1000)
    html = tables.costs_table(b)
    assert b.fills.quantity.tolist() == [9, -9] and b.fills.price.tolist() == [101, 148.5]
    fees, slipped = 0.005 * 9 * (101 + 148.5), 9 * (1 + 1.5)
    for value in (fees, slipped, 9 * (101 + 148.5), b.equity.iloc[-1] + fees + slipped):
        assert f"<td class='num'>{value:,.2f}</td>" in html, value
    assert b.equity.iloc[-1] + fees + slipped == pytest.approx(1000 + 9 * 50)


def test_orders_are_told_by_type_by_what_came_of_them_and_one_by_one():
    b = RUNS["orders"]()
    outcomes, rows = tables.orders_table(b, 5).split("<details>")
    count = b.orders.groupby(["type", "tif", "status", "reason"], observed=True).size()
    assert outcomes.count("<tr>") == len(count) + 1 and all(f"<td class='num'>{n:,}</td>" in outcomes for n in count)
    assert "its sibling filled" in outcomes and "stop loss" in outcomes and "<td class='text'>day</td>" in outcomes
    assert rows.count("<tr>") == 6 and f"the latest 5 of {len(b.orders):,}" in rows
    last = b.orders.iloc[-1]
    assert f"{last.decided_at:%Y-%m-%d %H:%M}" in rows and f"<td class='num'>{last.stop:,.8g}</td>" in rows
    assert tables.orders_table(RUNS["long"]()) == "" != tables.orders_table(RUNS["stops"]())


def test_a_strategy_of_orders_alone_is_silent_when_it_gives_no_more():
    early = lambda bars: Signal(orders=pd.DataFrame(dict(decided=bars.index[:40:2], quantity=[0.01, -0.01] * 10)))  # noqa: E731
    b = backtest(Strategy(early, lambda: 1, {}), walk(300))
    assert any(f"It said nothing after {b.bars.index[38]:%Y-%m-%d}" in s for s in words.silence(b))
    assert words.silence(RUNS["orders"]()) == []


def test_vectorbt_is_asked_only_what_it_can_answer():
    assert "vectorbt alone" in sheet.second_opinion(RUNS["long"]())
    assert not [c for c in sheet.second_opinion(RUNS["stops"]()) if "alone" in c]
    assert sheet.second_opinion(RUNS["both sides"]()).startswith("Left out: ")


@pytest.mark.parametrize("name", ["long", "stops", "panel"])
def test_vectorbt_agrees_where_it_is_asked(name):
    said = sheet.second_opinion(RUNS[name]())
    assert "The accounts agree" in sheet.crosscheck_table(said) if not isinstance(said, str) else "vectorbt" in said


# The page

SECTIONS = ("Equity", "Drawdown", "Calendar", "Rolling Sharpe ratio", "Distribution of returns", "Regimes", "Trades on the price",
            "Exposure", "Costs", "Best and worst round trips", "Data quality", "To repeat this run")  # fmt: skip


@every_run
def test_every_section_of_any_run_has_a_heading_a_guide_and_content(run):
    html = sheet.page(run())
    heads = re.findall(r"<h3>(.*?)</h3><p class='how'>(.+?)</p>", html)
    assert [h for h, _ in heads if h not in ("Symbols", "Orders")] == list(SECTIONS)
    assert re.findall("<h2>(.*?)</h2>", html) == list(sheet.CHAPTERS)


def test_the_job_shows_the_chapters_of_the_page_in_order():
    cells = json.loads((Path(__file__).parents[1] / "nbs" / "jobs" / "backtest.ipynb").read_text())["cells"]
    heads = [
        c
        for cell in cells
        if cell["cell_type"] == "markdown"
        for c in re.findall(r"^## (.+)", "".join(cell["source"]), re.M)
    ]
    assert heads == list(sheet.CHAPTERS)


def test_the_same_run_gives_the_same_page():
    assert sheet.page(RUNS["stops"]()) == sheet.page(RUNS["stops"]())


def test_the_page_of_a_long_run_stays_small():
    b = backtest("sma_cross", walk(200_000, interval="1m", spread=0.0005), dict(fast=20, slow=200))
    assert len(sheet.page(b).encode()) < 8_000_000


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_sheet_without_network_complaint_or_overflow(tmp_path, width):
    path = backtest(PANEL, panel(1, 2, 3), costs=Costs(slippage_bps=5)).report(tmp_path / "sheet.html")
    with browser(width) as b:
        b.page.goto(path.as_uri())
        b.page.wait_for_function("document.documentElement.dataset.drawn > 0")
        assert b.fetched == [] and b.complaints == [] and b.overflow == 0
        shown = b.page.inner_text("main")
        assert all(title in shown for title in SECTIONS) and "S1-USD" in shown
        charts = b.page.locator(".chart[role=img][aria-label]")
        assert charts.count() == b.page.locator(".chart").count() == 9
        for i in range(charts.count()):
            box = charts.nth(i).bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= width and charts.nth(i).locator(".main-svg").count()


def test_on_paper_no_chart_is_cut_and_no_row_is_split(tmp_path):
    path = RUNS["long"]().report(tmp_path / "sheet.html")
    with browser(1280) as b:
        b.page.goto(path.as_uri())
        b.page.wait_for_function("document.documentElement.dataset.drawn > 0")
        b.page.emulate_media(media="print")
        style = "[...document.querySelectorAll('{}')].every(e => getComputedStyle(e).breakInside === 'avoid')"
        assert b.page.evaluate(style.format(".chart, tr, .card"))
        b.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        b.page.wait_for_function(
            "[...document.querySelectorAll('.main-svg')].every(e => e.getBoundingClientRect().width <= 688)"
        )
        tall = "Math.max(...[...document.querySelectorAll('.chart')].map(e => e.offsetHeight))"
        assert b.page.evaluate(tall) < 400
        pdf = b.page.pdf(prefer_css_page_size=True)
        assert 3 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 12
