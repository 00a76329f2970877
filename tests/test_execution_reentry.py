"After a stop a position is entered again on a new decision, and only then."

import numpy as np
import pytest
from markets import frame

from rrr.backtest.run import backtest
from rrr.execution.costs import Costs
from rrr.strategy.contract import Signal, Strategy

NAN = np.nan
CLOSES = [100, 100, 90, 90, 90, 90, 90, 90]  # the third bar falls through a stop at 95


def run(targets):
    "A strategy of these targets with a stop 5 % below the entry"

    def wishes(bars):
        target = bars.close * 0 + np.asarray(targets, dtype=float)
        return Signal(target, stop_loss=0.05)

    bars = frame([100, 100, 100, 90, 90, 90, 90, 90], CLOSES)
    return backtest(Strategy(wishes, lambda: 1, {}), bars, costs=Costs(fee_bps=0), symbol="T-USD")


@pytest.mark.parametrize(
    ("targets", "entries"),
    [
        ([1, 1, 1, 1, 1, 1, 1, 1], 1),  # the same wish all along: stays out
        ([1, NAN, NAN, NAN, 1, NAN, NAN, NAN], 2),  # a new decision after silence
        ([1, 1, 1, NAN, 1, NAN, NAN, NAN], 2),
        ([1, 1, 1, 0, 1, NAN, NAN, NAN], 2),  # changed its mind, and back
        ([1, 1, 1, 0.5, NAN, NAN, NAN, NAN], 2),  # another target
        ([1, NAN, NAN, NAN, NAN, NAN, NAN, NAN], 1),
    ],
)
def test_a_stopped_position_comes_back_on_a_new_decision_only(targets, entries):
    fills = run(targets).fills
    assert (fills.quantity > 0).sum() == entries
    assert (fills.reason == "stop_loss").sum() == 1
