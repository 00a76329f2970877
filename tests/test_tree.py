"The tree keeps its promises: notebooks and package agree, notebooks are clean, imports point one way, sizes hold."

import ast
import filecmp
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = "core store data features models strategy execution backtest validation engine api app".split()
TOP = {"nbs", "rrr", "tests", "data", "settings.ini", "pyproject.toml", "constraints.txt", "README.md", "Makefile"}
NOTEBOOKS = [p for p in sorted((ROOT / "nbs").rglob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts]
BY_HAND = "rrr/store/migrations"  # Alembic's folder; no notebook exports it
MODULES = [p for p in sorted((ROOT / "rrr").rglob("*.py")) if p.name != "_modidx.py"]


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text())["cells"]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def exported_as(path: Path) -> list[str]:
    return [
        line.split()[-1]
        for c in cells(path)
        for line in source(c).splitlines()
        if c["cell_type"] == "code" and line.startswith("#| default_exp")
    ]


def files(folder: Path) -> set[str]:
    found = (p.relative_to(folder) for p in folder.rglob("*") if p.suffix in (".py", ".ipynb"))
    return {p.as_posix() for p in found if ".ipynb_checkpoints" not in p.parts and p.name != "_modidx.py"}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    "A copy of the notebooks, cleaned and exported from nothing"
    folder = tmp_path_factory.mktemp("fresh")
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copytree(ROOT / "nbs", folder / "nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__"))
    (folder / "rrr").mkdir()
    shutil.copy(ROOT / "rrr" / "__init__.py", folder / "rrr")
    shutil.copytree(ROOT / BY_HAND, folder / BY_HAND, ignore=shutil.ignore_patterns("__pycache__"))
    for command in ("nbdev-clean", "nbdev-export"):
        subprocess.run([Path(sys.executable).parent / command], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("part", ["rrr", "nbs"])
def test_export_and_clean_would_change_nothing(fresh, part):
    want, have = files(fresh / part), files(ROOT / part)
    assert have == want, "orphan or missing files: run make sync"
    changed = [f for f in sorted(want) if not filecmp.cmp(fresh / part / f, ROOT / part / f, shallow=False)]
    assert changed == [], "out of sync: run make sync"


def test_one_notebook_per_module():
    counts = Counter(name for p in NOTEBOOKS for name in exported_as(p))
    assert [name for name, n in counts.items() if n > 1] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.relative_to(ROOT / "nbs").as_posix())
def test_notebook_path_is_module_path(path):
    folder = path.parent.name
    if folder in ("jobs", "explore"):
        assert exported_as(path) == []
    else:
        plain = [re.sub(r"^\d\d_", "", part) for part in (folder, path.stem)]
        assert exported_as(path) == [".".join(plain)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.relative_to(ROOT / "nbs").as_posix())
def test_notebook_reads_as_a_chapter(path):
    "A title and one line at the top, at most 60 cells, exported cells of at most 60 lines of code, prose before each"
    found = cells(path)
    assert re.match(r"# .+\n\n> .+", source(found[0])), "starts with '# Title' and '> one line'"
    assert len(found) <= 60
    wrong = []
    for before, cell in zip(found, found[1:], strict=False):
        text, above = source(cell), source(before)
        if cell["cell_type"] == "code" and text.startswith("#| export"):
            lines = [line for line in text.splitlines()[1:] if line.strip()]
            only_imports = all(isinstance(n, ast.Import | ast.ImportFrom) for n in ast.parse(text).body)
            if len(lines) > 60:
                wrong.append(f"{len(lines)} lines from {lines[0]!r}")
            if before["cell_type"] == "code" and not above.startswith("#|") and not only_imports:
                wrong.append(f"no prose before {lines[0]!r}")
    assert wrong == []


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT / "rrr").as_posix())
def test_module_is_at_most_400_lines_of_code(path):
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(lines) <= 400


def imported(path: Path) -> set[str]:
    "Absolute names of what a module imports, wherever in it"
    package = ["rrr", *path.relative_to(ROOT / "rrr").parts[:-1]]
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            head = package[: len(package) - node.level + 1] if node.level else []
            names.add(".".join([*head, *([node.module] if node.module else [])]))
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT / "rrr").as_posix())
def test_imports_point_up_the_list_of_layers(path):
    parts = path.relative_to(ROOT / "rrr").parts
    if len(parts) == 1:
        return
    layer = LAYERS.index(parts[0])
    for name in imported(path):
        words = name.split(".")
        if words[0] == "rrr" and len(words) > 1:
            assert LAYERS.index(words[1]) <= layer, f"{parts[0]} imports {name}"


def test_heavy_libraries_live_in_their_layer_alone():
    home = {
        "vectorbt": "backtest",
        "torch": "models",
        "lightning": "models",
        "optuna": "validation",
        "papermill": "app",
    }
    for path in MODULES:
        layer = path.relative_to(ROOT / "rrr").parts[0]
        for name in imported(path):
            library = name.split(".")[0]
            assert home.get(library, layer) == layer or (library == "vectorbt" and path.name.startswith("bench")), (
                path,
                name,
            )


def test_the_engine_and_the_api_import_no_research():
    barred = {"backtest", "validation", "app"}
    for path in MODULES:
        if path.relative_to(ROOT / "rrr").parts[0] in ("engine", "api"):
            assert not {n.split(".")[1] for n in imported(path) if n.startswith("rrr.")} & barred, path


@pytest.mark.parametrize(
    ("statement", "barred"),
    [
        ("import rrr", "vectorbt torch pandas numpy pydantic"),
        ("import rrr.app.cli", "vectorbt torch pandas papermill fastapi sqlalchemy"),
        ("import rrr.engine.replay, rrr.strategy.library, rrr.api.app",
         "vectorbt torch optuna lightning papermill plotly IPython jupyter_client nbconvert rrr.backtest rrr.app"),
    ],
)  # fmt: skip
def test_imports_stay_light(statement, barred):
    code = f"{statement}\nimport sys\nprint(*[m for m in '{barred}'.split() if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == ""


def test_nothing_else_at_the_top_level():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not tracked:
        pytest.skip("not a git checkout")
    top = {name.split("/")[0] for name in tracked.splitlines()}
    assert {name for name in top if not name.startswith(".")} <= TOP


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_stored_outputs_are_small(path):
    "A figure shown by another renderer than plotly_mimetype stores all of plotly.js, five megabytes."
    assert path.stat().st_size < 300_000, "run it again with PLOTLY_RENDERER=plotly_mimetype"
