"""A job takes what its parameters cell declares, runs in a kernel of its own, and leaves a record whatever happens."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from rrr.app import jobs
from rrr.app.jobs import JobResult, check_params, find_job, list_jobs, parse_params, run_job
from rrr.app.params import JobParameter, JobSpec
from rrr.app.report import find_report
from rrr.core.errors import JobError, ParameterError, StoreError

KERNEL = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
PARAMETERS = """# What the job takes
symbol: str = "BTC-USD"  # BASE-QUOTE
n: int = 3  # how often
fee_bps: float = 10  # of the traded value
deep: bool = True
params: dict[str, float] = {
    "fast": 10,
}  # of the strategy
days = []
"""
HOSTILE = '\'; import os\n""" \\ {x} </script> \u2028 é 🙂'


def write_job(folder: Path, *cells: str, name: str = "job", parameters: str = PARAMETERS) -> Path:
    """A job notebook in `folder`: title, parameters, and the cells; a cell that begins with # and a space is prose."""
    made = [new_markdown_cell("# A job\n\n> What it does.\n\nMore words.")]
    made.append(new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    made += [new_markdown_cell(c) if re.match("#+ ", c) else new_code_cell(c) for c in cells]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=made, metadata=KERNEL), path)
    return path


@pytest.fixture
def spec(tmp_path):
    write_job(tmp_path)
    return find_job("job", tmp_path)


class Recorder:
    def __init__(self):
        self.calls = []

    def started(self, run_id, job, params, started_ms):
        self.calls.append(("running", run_id, job, params, started_ms))

    def finished(self, result: JobResult):
        self.calls.append((result.status, result))


# What a job is


def test_a_job_is_read_from_its_notebook_without_running_it(spec):
    assert (spec.name, spec.title, spec.description) == ("job", "A job", "What it does.")
    assert [(p.name, p.type, p.default, p.help) for p in spec.parameters] == [
        ("symbol", "str", "BTC-USD", "BASE-QUOTE"),
        ("n", "int", 3, "how often"),
        ("fee_bps", "float", 10.0, "of the traded value"),
        ("deep", "bool", True, ""),
        ("params", "dict", {"fast": 10}, "of the strategy"),
        ("days", "list", [], ""),
    ]


def test_jobs_are_listed_by_name_and_drafts_are_not(tmp_path):
    for name in ("b", "a", "_draft", ".hidden"):
        write_job(tmp_path, name=name)
    assert [j.name for j in list_jobs(tmp_path)] == ["a", "b"]
    assert list_jobs(tmp_path / "absent") == []


@pytest.mark.parametrize("name", ["jobb", "../job", "", "job.ipynb"])
def test_an_unknown_job_is_refused_with_those_that_exist(tmp_path, name):
    write_job(tmp_path)
    with pytest.raises(ParameterError, match="unknown job .* Known: job"):
        find_job(name, tmp_path)


@pytest.mark.parametrize(
    "cell, why",
    [
        ("import os", "line 1 is not `name: type = value`"),
        ("n: int", "line 1 is not"),
        ("a = b = 1", "line 1 is not"),
        ("a, b = 1, 2", "line 1 is not"),
        ("a.b = 1", "line 1 is not"),
        ("n += 1", "line 1 is not"),
        ("n: int = len('abc')", "malformed"),
        ("n: int = 1.5", "1.5 is no int"),
        ("n: int = {1}", "is no int"),
        ("x: float = 1e999", "inf is no float"),
        ("x: Decimal = 1", "x is a Decimal, not one of bool"),
        ("x = None", "x is a NoneType"),
        ("x = (1, 2)", "x is a tuple"),
        ("x: int = ", "invalid syntax"),
        ("x = '''", "unterminated|multi-line"),
    ],
)
def test_a_parameters_cell_that_is_more_than_plain_values_is_refused(tmp_path, cell, why):
    write_job(tmp_path, parameters=cell)
    with pytest.raises(JobError, match=f"job.ipynb cannot be read: .*({why})"):
        list_jobs(tmp_path)


def test_a_file_that_is_no_notebook_is_named(tmp_path):
    (tmp_path / "bad.ipynb").write_text("{}")
    with pytest.raises(JobError, match="bad.ipynb cannot be read"):
        list_jobs(tmp_path)


# What it takes


@pytest.mark.parametrize(
    "pair, expected",
    [
        ("symbol=ETH-USD", "ETH-USD"),
        ("symbol=", ""),
        ("symbol=a=b", "a=b"),
        ("symbol=20", "20"),
        ("n=-7", -7),
        ("n=+007", 7),
        ("fee_bps=5", 5.0),
        ("fee_bps=1e-3", 0.001),
        ("fee_bps=.5", 0.5),
        ("deep=false", False),
        ("deep=True", True),
        ('params={"slow": 50}', {"slow": 50}),
        ("days=[1, 2.5, null]", [1, 2.5, None]),
        ("params.fast=20", {"fast": 20}),
        ("params.slow=0.5", {"fast": 10, "slow": 0.5}),
        ("params.mode=true", {"fast": 10, "mode": True}),
        ("params.mode=fast", {"fast": 10, "mode": "fast"}),
        ('params.mode="20"', {"fast": 10, "mode": "20"}),
        ("params.mode=", {"fast": 10, "mode": ""}),
        ("params.mode=[1]", {"fast": 10, "mode": "[1]"}),
    ],
)
def test_a_text_becomes_a_value_of_the_declared_type(spec, pair, expected):
    (value,) = parse_params(spec, [pair]).values()
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize(
    "pair",
    ["n=1.0", "n=1_000", "n=١٢", "n=0x10", "n= 1", "n=", "n=true", "n=1e3", "n=" + "9" * 5000]
    + [
        "fee_bps=nan",
        "fee_bps=inf",
        "fee_bps=-inf",
        "fee_bps=1e999",
        "fee_bps=1_0.5",
        "fee_bps=1,5",
        "fee_bps=.",
        "fee_bps=١",
    ]
    + ["deep=1", "deep=yes", "deep="]
    + ["params=[1]", "params=x", 'params={"a": NaN}', 'params={"a": 1e999}', "days={}", "days=" + "[" * 100_000]
    + [
        "params.fast=nan",
        "params.fast=NaN",
        "params.fast=-Infinity",
        "params.fast=1_0",
        "params.fast=1e999",
        "params.fast=١",
    ]
    + ["symbol=a\0b", "symbol=\udcff"],
)
def test_a_text_that_is_no_such_value_is_refused(spec, pair):
    with pytest.raises(ParameterError, match=r"^parameter .* is not an? "):
        parse_params(spec, [pair])


@pytest.mark.parametrize(
    "pairs, why",
    [
        (["symbl=x"], "did you mean 'symbol'"),
        (["symbol"], "'symbol' is not name=value"),
        (["=1"], "unknown parameter ''"),
        (["n.x=1"], "unknown parameter 'n.x'"),
        (["params.=1"], "unknown parameter 'params.'"),
        (["params.a-b=1"], "unknown parameter 'params.a-b'"),
        (["n=1", "n=1"], "n is given twice"),
        (["params.fast=1", "params.fast=2"], "params.fast is given twice"),
        (["params.fast=1", "params={}"], "params is given twice"),
    ],
)
def test_a_name_that_cannot_be_meant_is_refused(spec, pairs, why):
    with pytest.raises(ParameterError, match=why):
        parse_params(spec, pairs)


def test_keys_add_to_a_dict_and_never_to_its_default(spec):
    assert parse_params(spec, ['params={"a": 1}', "params.b=2"]) == {"params": {"a": 1, "b": 2}}
    parse_params(spec, ["params.fast=99"])
    assert parse_params(spec, ["params.slow=1"]) == {"params": {"fast": 10, "slow": 1}}


@pytest.mark.parametrize(
    "params",
    [
        {"n": True},
        {"n": 1.0},
        {"n": "1"},
        {"deep": 1},
        {"symbol": None},
        {"symbol": Path("x")},
        {"fee_bps": float("nan")},
    ]
    + [
        {"fee_bps": 10**400},
        {"params": {1: 2}},
        {"params": {"a": (1, 2)}},
        {"params": {"a": [float("inf")]}},
        {"days": (1,)},
    ],
)
def test_a_python_value_of_another_type_is_refused(spec, params):
    with pytest.raises(ParameterError, match="is not an? "):
        check_params(spec, params)


NUMBERS = JobSpec(
    "j",
    "",
    "",
    Path(),
    tuple(JobParameter(n, t, d) for n, t, d in [("n", "int", 0), ("x", "float", 0.0), ("b", "bool", False)]),
)


@given(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans())
def test_what_python_prints_is_read_back_exactly(n, x, b):
    assert parse_params(NUMBERS, [f"n={n}", f"x={x!r}", f"b={b}"]) == {"n": n, "x": x, "b": b}


@given(st.text())
def test_no_name_that_is_not_declared_ever_passes(name):
    if name not in ("n", "x", "b"):
        with pytest.raises(ParameterError):
            check_params(NUMBERS, {name: 1})


# Running it


@pytest.mark.parametrize(
    "name", ["n=1\nimport os; os.mkdir('pwned')\nn", "n;x", "__import__('os')", "class", "params.x"]
)
def test_a_hostile_parameter_name_never_reaches_a_kernel(tmp_path, monkeypatch, name):
    write_job(tmp_path / "jobs", "1")
    monkeypatch.setattr(jobs, "_execute", lambda *_: pytest.fail("a kernel would have started"))
    recorder = Recorder()
    with pytest.raises(ParameterError, match="unknown parameter"):
        run_job("job", {name: 1}, tmp_path / "reports", record=recorder, jobs_dir=tmp_path / "jobs")
    assert recorder.calls == [] and not (tmp_path / "reports").exists()


def test_a_run_gets_its_parameters_exactly_and_leaves_notebook_report_and_record(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("RRR_HOME", str(tmp_path / "elsewhere"))
    reads = f"""import json, os
values = [symbol, n, fee_bps, deep, params, days, os.environ["RRR_HOME"], os.environ["RRR_RUN_ID"], os.getcwd()]
with open({str(tmp_path / "seen.json")!r}, "w") as f:
    json.dump(values, f)"""
    folder = tmp_path / "odd {name}"
    write_job(folder / "jobs", "## Work", reads, "print(n)")
    before, cwd, told, recorder = dict(os.environ), os.getcwd(), [], Recorder()
    params = {"symbol": HOSTILE, "n": -5, "fee_bps": 7, "deep": False, "params": {HOSTILE: [1, None]}, "days": [[], {}]}
    result = run_job(
        "job",
        params,
        folder / "reports",
        on_progress=lambda *step: told.append(step),
        record=recorder,
        home=tmp_path / "home",
        jobs_dir=folder / "jobs",
    )
    assert (result.status, result.error, result.failed_cell) == ("done", None, None)
    *values, home, run_id, kernel_cwd = json.loads((tmp_path / "seen.json").read_text())
    assert values == [HOSTILE, -5, 7.0, False, {HOSTILE: [1, None]}, [[], {}]]
    assert (home, run_id) == (str(tmp_path / "home"), result.run_id)
    assert kernel_cwd == str(Path(__file__).parents[1])
    assert told == [(i, 6, "A job" if i < 4 else "Work") for i in range(1, 7)]
    assert result.notebook == folder / "reports" / "job" / f"{result.run_id}.ipynb" and result.notebook.exists()
    assert find_report(folder / "reports", "job") == result.report
    assert "<h1>A job</h1>" in result.report.read_text() and "<pre>-5" in result.report.read_text()
    assert recorder.calls[0] == ("running", result.run_id, "job", {**params, "fee_bps": 7.0}, result.started_ms)
    assert recorder.calls[1:] == [("done", result)] and result.started_ms <= result.finished_ms
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", result.run_id)
    assert dict(os.environ) == before and os.getcwd() == cwd
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "code, error, timeout",
    [
        ("raise ValueError('no <bars>')", "ValueError: no <bars>", 60),
        ("import time; time.sleep(60)", "CellTimeoutError: the cell took longer than 1 s", 1),
        ("import os; os._exit(9)", "DeadKernelError: the kernel died: killed, or out of memory", 60),
        ("raise SystemExit", "SystemExit: the notebook left before its last cell", 60),
    ],
)
def test_a_failed_run_tells_which_cell_and_why_and_still_has_a_report(tmp_path, capfd, code, error, timeout):
    write_job(tmp_path / "jobs", "## First", "print('got so far')", "## Then", code, "print('never reached')")
    recorder = Recorder()
    reports = tmp_path / "reports"
    result = run_job("job", {"n": 1}, reports, record=recorder, jobs_dir=tmp_path / "jobs", execution_timeout=timeout)
    assert (result.status, result.error) == ("failed", error)
    assert str(result.failed_cell) == "cell 6 (Then)"
    assert recorder.calls[1] == ("failed", result)
    page = result.report.read_text()
    assert "This run failed" in page and "got so far" in page and "never reached" not in page
    assert error.partition(":")[0] in page and "no <bars>" not in page
    notebook = nbformat.read(result.notebook, 4)
    assert notebook.metadata.papermill.exception is True and len(notebook.cells) == 8
    assert notebook.cells[6].metadata.papermill.status == "failed"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "raised, status, seen",
    [(KeyboardInterrupt, "interrupted", KeyboardInterrupt), (OSError("disk full"), "failed", JobError)],
)
def test_a_run_that_is_cut_short_closes_its_record(tmp_path, raised, status, seen):
    write_job(tmp_path / "jobs", "## Work", "1")

    def stop(done, *_):
        if done == 4:
            raise raised

    recorder = Recorder()
    with pytest.raises(seen):
        run_job("job", {}, tmp_path / "reports", on_progress=stop, record=recorder, jobs_dir=tmp_path / "jobs")
    (_, result) = recorder.calls[1]
    assert (result.status, str(result.failed_cell), result.report) == (status, "cell 4 (Work)", None)
    assert result.notebook.exists()


def test_a_run_whose_report_cannot_be_made_has_failed(tmp_path, monkeypatch):
    write_job(tmp_path / "jobs", "1")
    monkeypatch.setattr(jobs, "_execute", lambda *_: None)
    result = run_job("job", {}, tmp_path / "reports", jobs_dir=tmp_path / "jobs")
    assert (result.status, result.report) == ("failed", None)
    assert result.error.startswith("report: JobError: notebook ")


def test_a_reports_folder_that_cannot_be_made_is_refused_before_the_run(tmp_path):
    write_job(tmp_path / "jobs", "1")
    (tmp_path / "reports").write_text("a file")
    recorder = Recorder()
    with pytest.raises(StoreError, match="the reports folder .* cannot be written"):
        run_job("job", {}, tmp_path / "reports", record=recorder, jobs_dir=tmp_path / "jobs")
    assert recorder.calls == []


def test_importing_jobs_is_light():
    heavy = "papermill nbclient nbconvert nbformat plotly jinja2 pandas sqlmodel"
    check = f"import sys, rrr.app.jobs; print([m for m in {heavy!r}.split() if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True).stdout == "[]\n"
