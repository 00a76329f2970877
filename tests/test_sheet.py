"The words of a report: escaped, and a dash for what is not defined."

import math

import pytest
from markets import frame, mock, walk, wanting

from rrr.backtest import sheet
from rrr.backtest.run import backtest
from rrr.execution.kernel import Costs

NAN = math.nan
EVIL = "<script>alert(1)</script>&-USD"
ALL = [
    sheet.verdict,
    sheet.cards,
    sheet.metrics_table,
    sheet.trades_table,
    sheet.costs_table,
    lambda b: sheet.provenance_table(b, {"Run": EVIL}),
]


@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf])
def test_undefined_figures_are_dashes(value):
    assert sheet.money(value) == sheet.percent(value) == sheet.number(value) == "–"


def test_figures_as_text():
    assert sheet.money(-1234567.891) == "-1,234,567.89" and sheet.money(0) == "0.00"
    assert sheet.percent(0.12345) == "12.3 %" and sheet.percent(-12.5, 0) == "-1,250 %"
    assert sheet.number(1234.5) == "1,234.50" and sheet.number(3, 0) == "3"


@pytest.mark.parametrize("piece", ALL)
def test_text_from_data_is_escaped(piece):
    page = piece(backtest("sma_cross", mock(300), dict(fast=3, slow=8), symbol=EVIL))
    assert "<script>" not in page and page.startswith("<")


def test_text_from_the_store_is_escaped():
    series = dict(source=EVIL, synthetic=True, rows=5, first_ms=0, last_ms=3_600_000, quality={"warnings": [EVIL]})
    page = sheet.quality_table(series)
    assert "<script>" not in page and page.count("&lt;script&gt;") == 2 and "(SYNTHETIC)" in page
    assert "1970-01-01 00:00 to 1970-01-01 01:00 UTC" in page
    assert sheet.table({EVIL: EVIL}).count("&lt;script&gt;") == 2


@pytest.mark.parametrize(
    "b", [backtest(wanting([NAN]), walk(30)), backtest("buy_and_hold", walk(1))], ids=["idle", "one bar"]
)
def test_a_run_without_fills_reads_well(b):
    page = "".join(piece(b) for piece in ALL[:5])
    assert "nan" not in page.lower().replace("finance", "") and "inf" not in page.lower() and "–" in page
    assert "No fills: the strategy never held anything." in page


def test_the_benchmark_of_one_bar_has_no_round_trip():
    assert "still open" not in sheet.cards(backtest("buy_and_hold", walk(1)))
    assert "1, still open" in sheet.cards(backtest("buy_and_hold", walk(9)))


def test_synthetic_data_carry_a_banner_and_real_data_do_not():
    assert "SYNTHETIC" in sheet.synthetic_banner(backtest("buy_and_hold", walk(9)))
    assert sheet.synthetic_banner(backtest("buy_and_hold", walk(9), synthetic=False)) == ""


def test_a_long_list_of_trades_is_cut_to_the_latest():
    b = backtest("sma_cross", mock(2000), dict(fast=3, slow=8))
    page, n = sheet.trades_table(b, most=5), len(b.trades)
    assert (
        f"the latest 5 of {n:,}" in page
        and page.count("<tr>") == 5
        and f"<th>{n}</th>" in page
        and "<th>1</th>" not in page
    )
    assert f"all {n}" in sheet.trades_table(b, most=n)


def test_costs_are_told_as_what_they_came_to():
    "Bought at 101 for 100, sold at 148.5 for 150, half a percent of fee each way."
    bars = frame([100, 100, 150], [100, 100, 150])
    b = backtest(wanting([1, 0, NAN]), bars, costs=Costs(fee_bps=50, slippage_bps=100, lot=1), capital=1000)
    page = sheet.costs_table(b)
    assert b.fills.quantity.tolist() == [9, -9] and b.fills.price.tolist() == [101, 148.5]
    fees, slipped = 0.005 * 9 * (101 + 148.5), 9 * (1 + 1.5)
    for value in (fees, slipped, 9 * (101 + 148.5), b.equity.iloc[-1] + fees + slipped):
        assert f"<td class='num'>{value:,.2f}</td>" in page, value
    assert b.equity.iloc[-1] + fees + slipped == pytest.approx(1000 + 9 * 50)
