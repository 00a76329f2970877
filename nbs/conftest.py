"Let nbval run nbdev notebooks: honour nbdev's directives and its cleaned, count-less outputs."

import os

from fastcore.nbio import NbCell, does_cell_eval
from nbdev.config import get_config

os.environ["PLOTLY_RENDERER"] = "plotly_mimetype"


def pytest_collection_modifyitems(items):
    skip = set(get_config().tst_flags.split())
    for item in items:
        cell = getattr(item, "cell", None)
        if cell is None:
            continue
        nb_cell = NbCell(0, dict(cell))
        if skip & set(nb_cell.directives) or not does_cell_eval(nb_cell, True):
            item.options["skip"] = True
        elif cell.outputs and cell.execution_count is None:
            cell.execution_count = 0
