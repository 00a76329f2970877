"The data quality job says of a stored series what the gate says, in words, tables and pictures."

import re

import pandas as pd
import plotly.graph_objects as go
import pytest
from browser import browser

from rrr.app.jobs import find_job, run_job
from rrr.core.settings import load_settings
from rrr.data import quality_charts as charts
from rrr.data.mock import MockDataSource
from rrr.data.quality import check_bars
from rrr.store.bars import get_series
from rrr.store.db import get_db
from rrr.store.writer import write_bars

HOURS = MockDataSource(seed=2).get_historical_data("ETH-USD", 24 * 70, 3600)


def flawed() -> pd.DataFrame:
    "Ten weeks of hours with a gap, a wick and a level jump"
    frame = HOURS.drop(HOURS.index[200:230]).copy()
    frame.iloc[700, 1] *= 1.2
    frame.iloc[1000:, :4] *= 1.6
    return frame


def test_the_job_is_found_with_its_parameters():
    spec = find_job("data_quality")
    assert spec.title == "Data quality" and [p.name for p in spec.parameters] == ["symbol", "interval", "start", "end"]


def test_the_job_reports_findings_pictures_and_decisions(tmp_path):
    db = get_db(load_settings(rrr_home=str(tmp_path)))
    frame = flawed()
    decided = {
        "repairs": [
            {"name": "sort", "rows": 2, "first": "2024-10-23T00:00:00+00:00", "last": "2024-10-24T00:00:00+00:00"}
        ],
        "accepted": ["stale"],
    }
    write_bars(db, "ETH-USD", "1h", frame, "bars<1>.csv", False, lambda *_: decided)
    assert get_series(db, "ETH-USD", "1h")["rows"] == len(frame)
    result = run_job("data_quality", {"symbol": "ETH-USD"}, tmp_path / "reports", home=tmp_path)
    assert (result.status, result.error) == ("done", None)
    page = result.report.read_text()
    for said in (
        "holds 1,650 bars and lacks 1.79% of its bars",
        "1 gap with 30 of 1,680 bars absent",
        "bars&lt;1&gt;.csv",
    ):
        assert said in page
    for code in ("bad print", "jump", "gap"):
        assert f"<br>{code}</td>" in page
    assert "repair sort: 2 rows, 2024-10-23T00:00 to 2024-10-24T00:00" in page and "accepted: stale" in page
    for width in (1280, 390):
        with browser(width) as b:
            b.page.goto(result.report.as_uri(), wait_until="load")
            b.page.wait_for_selector(".main-svg")
            assert (b.fetched, b.complaints, b.overflow) == ([], [], 0)


@pytest.mark.parametrize(
    "interval, step, rows", [("1m", 60, 5000), ("1h", 3600, 2000), ("1d", 86_400, 3000), ("1w", 604_800, 300)]
)
def test_coverage_is_whole_for_whole_bars_and_not_where_some_are_absent(interval, step, rows):
    frame = MockDataSource(seed=1).get_historical_data("BTC-USD", rows, step)
    assert charts.coverage(frame, interval).min().min() == pytest.approx(1)
    cut = frame.drop(frame.index[rows // 2 : rows // 2 + max(30, 20_000 // step)])
    assert charts.coverage(cut, interval).min().min() < 1


def test_the_longest_gaps_come_first_and_outliers_are_marked_where_they_stand_out():
    frame = flawed()
    gaps = charts.longest_gaps(frame, "1h")
    assert gaps["bars"].tolist() == [30] == [check_bars(frame).missing]
    found = charts.outliers(frame, "1h")
    assert found[["code", "row"]].to_numpy().tolist() == [["bad_print", 701], ["jump", 1001]]
    assert found["price"].tolist() == [frame.high.iloc[700], frame.open.iloc[1000]]


def test_pictures_are_drawn_of_clean_thin_and_impossible_bars_too():
    odd = flawed()
    odd.iloc[5, 3] = float("nan")
    for frame in (HOURS, odd, HOURS.iloc[:2]):
        for draw in (charts.coverage_chart, charts.gaps_chart, charts.outlier_chart):
            assert isinstance(draw(frame, "1h"), go.Figure)


def test_the_verdict_forbids_what_blocks_and_only_that():
    bad = HOURS.copy()
    bad.iloc[800:, :4] *= 100
    assert "Do not rely on it</b>: price unit" in charts.verdict(check_bars(bad), "ETH-USD 1h")
    clean = charts.verdict(check_bars(HOURS), "<b>")
    assert "has no gap. Nothing forbids its use. Nothing else was found." in clean and not re.search("<b><b>", clean)
