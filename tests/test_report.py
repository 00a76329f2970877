"""A report is one offline page: what a reader sees, what no browser may do, and how it is found again."""

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from browser import browser
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from rrr.app import report
from rrr.app.report import PLOTLY, find_report, list_reports, open_report, render_report
from rrr.core.errors import JobError, ParameterError

HOSTILE = "</script><script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>"


def shown(**data) -> nbformat.NotebookNode:
    return new_output("display_data", {k.replace("_", "/"): v for k, v in data.items()})


def chart(**layout) -> nbformat.NotebookNode:
    trace = {"type": "scatter", "x": ["2024-01-01", "2024-01-02", "2024-01-03"], "y": [1, 3, 2], "name": HOSTILE}
    return new_output("display_data", {PLOTLY: {"data": [trace], "layout": layout}, "text/plain": "Figure()"})


def code(*outputs, tags=(), source="SECRET_CODE = 1") -> nbformat.NotebookNode:
    return new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)})


WIDE = "<table border='1' class='dataframe'><thead><tr>{}</tr></thead><tbody><tr>{}</tr></tbody></table>".format(
    "".join(f"<th>column number {i}</th>" for i in range(30)), "".join(f"<td>{i}.00</td>" for i in range(30))
)


def sample() -> list:
    return [
        new_markdown_cell("# Old title\n\n> What this run looked at."),
        code(shown(text_plain="INJECTED"), tags=["injected-parameters"]),
        code(shown(text_html='<div class="banner">SYNTHETIC</div><div class="cards"><div class="card">9</div></div>')),
        new_markdown_cell("## Equity\n\nFrom $100 to $141."),
        code(
            new_output("stream", name="stdout", text="\x1b[31mrows < 9\x1b[0m"),
            new_output("stream", name="stderr", text="NOISE_ON_STDERR"),
            chart(title={"text": HOSTILE}, width=2000),
        ),
        code(chart(height=200)),
        code(shown(text_html=WIDE)),
    ]


def rendered(tmp_path: Path, cells: list, title: str = "Backtest & more") -> Path:
    source = tmp_path / "20260102T030405Z-1a2b3c4d.ipynb"
    nbformat.write(new_notebook(cells=cells), source)
    return render_report(source, tmp_path / "reports" / "page.html", title)


class Scripts(HTMLParser):
    """The scripts of a page, as a browser would cut them out."""

    def __init__(self, text: str):
        super().__init__()
        self.scripts, self.attributes, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag == "script":
            self.scripts.append("")
        self.inside = tag == "script"

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "script"

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data


def test_a_reader_sees_results_and_no_code(tmp_path):
    page = rendered(tmp_path, sample()).read_text()
    for seen in (
        "<h1>Backtest &amp; more</h1>",
        "What this run looked at.",
        "SYNTHETIC",
        "rows &lt; 9",
        "$100 to $141",
    ):
        assert seen in page
    for hidden in ("SECRET_CODE", "INJECTED", "NOISE_ON_STDERR", "Old title", "Figure()", "\x1b"):
        assert hidden not in page


def test_nothing_in_the_page_points_outside_it(tmp_path):
    page = Scripts(rendered(tmp_path, sample()).read_text())
    urls = [value for name, value in page.attributes if name in ("src", "href", "srcset", "action")]
    assert urls and all(url.startswith(("data:", "#")) for url in urls)
    assert not re.search(r"@import|url\(", report.page_html("", []))


def test_plotly_is_inlined_once_and_only_for_a_chart(tmp_path):
    with_charts = Scripts(rendered(tmp_path, sample()).read_text()).scripts
    assert [len(s) > 1_000_000 for s in with_charts].count(True) == 1
    page = rendered(tmp_path, [code(shown(text_plain="1"))])
    assert Scripts(page.read_text()).scripts == [] and page.stat().st_size < 20_000


@pytest.mark.parametrize(
    ("layout", "label"),
    [
        ({"meta": {"label": "Equity & more"}}, "Equity &amp; more"),
        ({"title": {"text": "<b>"}}, "&lt;b&gt;"),
        ({}, "Chart"),
    ],
)
def test_every_chart_says_what_it_shows_to_those_who_hear_the_page(tmp_path, layout, label):
    page = rendered(tmp_path, [code(chart(**layout))]).read_text()
    assert f'<div class="chart" role="img" aria-label="{label}"' in page


def test_a_table_can_be_reached_by_keyboard(tmp_path):
    page = rendered(tmp_path, [code(shown(text_html="<TABLE><tr><td>1</td></tr></table>"))]).read_text()
    assert page.count('class="scroll" tabindex="0" role="region"') == page.count("</table></div>") == 1


def test_a_finger_scrolls_the_page_and_zooms_no_chart(tmp_path):
    page = rendered(tmp_path, [code(chart())])
    with browser(390) as b:
        phone = b.page.context.browser.new_context(
            viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True
        )
        there = phone.new_page()
        there.goto(page.as_uri())
        there.wait_for_function("document.documentElement.dataset.drawn > 0")
        assert there.evaluate("document.querySelector('.chart').layout.dragmode") is False


def test_a_name_in_a_chart_cannot_end_its_data(tmp_path):
    page = Scripts(rendered(tmp_path, [code(chart(title={"text": HOSTILE}))]).read_text())
    assert len(page.scripts) == 3
    assert json.loads(page.scripts[0])["data"][0]["name"] == HOSTILE
    assert ("onerror", "window.pwned = 1") not in page.attributes


def test_a_failed_run_says_so_at_the_top_and_where_it_failed(tmp_path):
    error = new_output("error", ename="ValueError", evalue="no <bars>", traceback=["\x1b[31mline 1\x1b[0m"])
    cells = [code(new_output("stream", name="stderr", text="last words"), error), new_markdown_cell("## Not reached")]
    page = rendered(tmp_path, cells).read_text()
    assert page.index("This run failed") < page.index('id="error"') < page.index("<details>")
    assert page.count("no &lt;bars&gt;") == 2 and "no <bars>" not in page
    assert "last words" in page and "line 1" in page and "Not reached" not in page


def test_a_failure_in_a_left_out_cell_is_shown_and_nothing_else_of_it(tmp_path):
    error = new_output("error", ename="StoreError", evalue="no bars", traceback=[])
    cell = code(new_output("stream", name="stdout", text="LOADING"), error, tags=["remove_cell"])
    page = rendered(tmp_path, [cell]).read_text()
    assert page.count("no bars") == 2 and "LOADING" not in page


@pytest.mark.parametrize(
    "data, expected",
    [
        ({"text/markdown": "**bold**"}, "<strong>bold</strong>"),
        ({"image/png": "iVBOR\nw0=", "text/plain": "<Figure>"}, 'src="data:image/png;base64,iVBORw0="'),
        ({"image/svg+xml": "<svg/>"}, 'src="data:image/svg+xml;base64,PHN2Zy8+"'),
        ({"text/plain": "<b>"}, "<pre>&lt;b&gt;</pre>"),
        ({"application/vnd.jupyter.widget-view+json": {}, "text/plain": "0%|"}, '<div class="output"></div>'),
    ],
)
def test_each_kind_of_output_has_its_form(tmp_path, data, expected):
    assert expected in rendered(tmp_path, [code(new_output("display_data", data))]).read_text()


def test_the_same_notebook_gives_the_same_page(tmp_path):
    assert rendered(tmp_path, sample()).read_bytes() == rendered(tmp_path, sample()).read_bytes()


def test_a_page_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    page = rendered(tmp_path, [new_markdown_cell("first")])

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError):
        rendered(tmp_path, [new_markdown_cell("second")])
    assert "first" in page.read_text()


@pytest.mark.parametrize("text", [None, "", "not json"])
def test_what_is_no_notebook_is_refused(tmp_path, text):
    source = tmp_path / "x.ipynb"
    if text is not None:
        source.write_text(text)
    with pytest.raises(JobError, match="x.ipynb cannot be rendered"):
        render_report(source, tmp_path / "x.html", "x")
    assert not (tmp_path / "x.html").exists()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_page_without_network_or_complaint(tmp_path, width):
    page = rendered(tmp_path, sample())
    with browser(width) as b:
        b.page.goto(page.as_uri())
        b.page.wait_for_selector(".chart .main-svg")
        assert b.fetched == [] and b.complaints == []
        assert b.page.locator(".chart").count() == 2
        for box in (b.page.locator(".chart .main-svg").nth(i).bounding_box() for i in range(2)):
            assert 0.7 * min(width, 1100) < box["width"] <= width
        assert b.overflow == 0
        assert b.page.evaluate("document.querySelector('.scroll').scrollWidth") > width
        assert "SECRET_CODE" not in b.page.inner_text("body")
        assert b.page.evaluate("window.pwned") is None


def test_charts_fit_the_paper_while_printing_and_the_window_after(tmp_path):
    with browser(1280) as b:
        b.page.goto(rendered(tmp_path, sample()).as_uri())
        b.page.wait_for_selector(".chart .main-svg")
        width = "document.querySelector('.chart .main-svg').getBoundingClientRect().width"
        before = b.page.evaluate(width)
        b.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        b.page.wait_for_function(f"{width} <= 688")
        b.page.evaluate("dispatchEvent(new Event('afterprint'))")
        b.page.wait_for_function(f"{width} == {before}")


def test_the_browser_runs_no_script_of_the_notebook_and_loads_nothing(tmp_path):
    outside = '<img src="http://127.0.0.1:9/x.png"><link rel="stylesheet" href="http://127.0.0.1:9/x.css">'
    page = rendered(tmp_path, [code(shown(text_html=HOSTILE + outside)), new_markdown_cell(HOSTILE)])
    with browser() as b:
        answers = []
        b.page.on("response", lambda r: answers.append(r.url))
        b.page.on("requestfailed", lambda r: answers.append(r.failure))
        b.page.goto(page.as_uri(), wait_until="load")
        assert b.page.evaluate("window.pwned") is None
        assert {a for a in answers if not a.startswith("file:")} <= {"csp"}


@pytest.fixture
def reports(tmp_path) -> Path:
    names = [
        "backtest/20260102T030405Z-1a2b3c4d",
        "backtest/20260103T000000Z-1a99ffff",
        "data/20260101T000000Z-0000beef",
    ]
    for name in [*names, "data/notes", "data/.20260104T000000Z-00000000"]:
        path = tmp_path / f"{name}.html"
        path.parent.mkdir(exist_ok=True)
        path.write_text("page")
    return tmp_path


def test_reports_are_listed_newest_first_and_other_files_are_not(reports):
    rows = list_reports(reports)
    assert [r["run"][-8:] for r in rows] == ["1a99ffff", "1a2b3c4d", "0000beef"]
    assert rows[1] == {
        "job": "backtest",
        "run": "20260102T030405Z-1a2b3c4d",
        "created": "2026-01-02T03:04:05Z",
        "path": str(reports / "backtest" / "20260102T030405Z-1a2b3c4d.html"),
        "size": 4,
    }
    assert list_reports(reports / "absent") == []


@pytest.mark.parametrize(
    "which, run",
    [(None, "1a99ffff"), ("backtest", "1a99ffff"), ("data", "0000beef"), ("1a2b", "1a2b3c4d")]
    + [("20260102T030405Z-1a2b3c4d", "1a2b3c4d"), ("20260101", "0000beef")],
)
def test_a_report_is_found_by_job_or_by_how_its_run_begins(reports, which, run):
    assert find_report(reports, which).stem.endswith(run)


@pytest.mark.parametrize("which, why", [("1a", "ambiguous"), ("zz", "no report 'zz'"), ("", "no report ''")])
def test_a_report_that_is_not_exactly_one_is_refused(reports, which, why):
    with pytest.raises(ParameterError, match=why):
        find_report(reports, which)


def test_without_any_report_it_says_to_run_a_job(tmp_path):
    with pytest.raises(ParameterError, match="run a job first"):
        find_report(tmp_path)


@pytest.mark.parametrize("there", [True, False])
def test_opening_falls_back_to_the_path_without_a_browser(reports, monkeypatch, capsys, there):
    asked = []
    monkeypatch.setattr(report.webbrowser, "open", lambda url: asked.append(url) or there)
    path = find_report(reports)
    assert open_report(path) is there
    assert asked == [path.as_uri()]
    assert capsys.readouterr().out == ("" if there else f"{path}\n")
