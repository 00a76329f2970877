"A cached kernel is renewed when anything that it was compiled from changes, and kept when nothing did."

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import rrr
from rrr.core import caches

HERE = Path(rrr.__file__).parent
INNER = "from numba import njit\n\n@njit(cache=True)\ndef inner(x):\n    return x + {step}\n"
OUTER = "from numba import njit\nfrom {where} import inner\n\n@njit(cache=True)\ndef outer(x):\n    return inner(x)\n"


@pytest.fixture
def package(tmp_path) -> Path:
    "A package called rrr with the guard and nothing else of ours: a kernel that calls one in another module"
    for name in ("__init__.py", "core/__init__.py", "core/caches.py"):
        (tmp_path / "rrr" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / name, tmp_path / "rrr" / name)
    for folder in ("deep", "top"):
        (tmp_path / "rrr" / folder).mkdir()
        (tmp_path / "rrr" / folder / "__init__.py").touch()
    (tmp_path / "rrr" / "deep" / "inner.py").write_text(INNER.format(step=1))
    (tmp_path / "rrr" / "middle.py").write_text("from .deep.inner import inner\n")
    (tmp_path / "rrr" / "top" / "outer.py").write_text(OUTER.format(where="..middle"))
    (tmp_path / "desk.py").write_text(OUTER.format(where="rrr.middle"))
    (tmp_path / "alone.py").write_text("from numba import njit\n\n@njit(cache=True)\ndef outer(x):\n    return x\n")
    return tmp_path


def call(package: Path, module: str, first: str = "import rrr") -> tuple[int, int]:
    "The answer of the kernel in a fresh process, and whether it came from the cache"
    code = f"{first}\nfrom {module} import outer\nprint(outer(0), sum(outer.stats.cache_hits.values()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=package, capture_output=True, text=True, check=True)
    return tuple(int(x) for x in done.stdout.split())


@pytest.mark.parametrize("first", ["import rrr", "import numba, rrr"])
@pytest.mark.parametrize("module", ["rrr.top.outer", "desk"])
def test_a_kernel_is_renewed_when_one_that_it_calls_changes(package, module, first):
    "The package's own, and a desk's that uses it; whichever of numba and the package is imported first."
    assert call(package, module, first) == (1, 0)
    assert call(package, module, first) == (1, 1)
    (package / "rrr" / "deep" / "inner.py").write_text(INNER.format(step=20))
    assert call(package, module, first) == (20, 0)
    assert call(package, module, first) == (20, 1)


def test_a_change_elsewhere_renews_nothing(package):
    call(package, "rrr.top.outer"), call(package, "alone")
    (package / "rrr" / "deep" / "other.py").write_text("x = 1\n")
    (package / "rrr" / "top" / "__init__.py").write_text("y = 1\n")
    assert call(package, "rrr.top.outer") == (1, 1) and call(package, "alone") == (0, 1)


def test_a_kernel_is_made_of_all_modules_that_it_reaches():
    names = {p.relative_to(HERE).as_posix() for p in caches.sources(HERE / "execution" / "loop.py")}
    assert names >= {
        "core/errors.py",
        *(f"execution/{m}.py" for m in ("book", "match", "orders", "quantities", "risk")),
    }
    assert not any(n.startswith(("strategy", "app")) for n in names)


def test_other_libraries_keep_their_own_stamp():
    assert caches.stamp(Path(pytest.__file__)) == ""


def test_importing_the_package_is_quick_and_brings_no_numba():
    code = (
        "import time; t = time.process_time(); import rrr, sys; print(time.process_time() - t, 'numba' in sys.modules)"
    )
    took, there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert float(took) < 0.2 and there == "False"


def test_stamping_every_module_takes_no_time_to_speak_of():
    modules = [p for p in HERE.rglob("*.py")]
    [caches.stamp(p) for p in modules]
    began = time.process_time()
    [caches.stamp(p) for p in modules]
    assert (time.process_time() - began) / len(modules) < 0.02
