"What tests share: where real market data lies, when it is there."

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    "Folder of real exchange files; the test is skipped where there is none."
    folder = Path(os.environ.get("TEST_MARKET_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real market data in {folder} (set TEST_MARKET_DATA)")
    return folder
