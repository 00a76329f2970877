"`rrr check causal`: what it checks, how it answers, what it refuses."

import json
import sys

import pytest
from markets import mock

from rrr.app.cli import main
from rrr.app.desk import Desk
from rrr.data.ingest import import_mock

FEATURES = """
def momentum(bars):
    return bars.close.diff(3)

def tomorrow(bars):
    return bars.close.shift(-1)

def spread(high, low, k=1.0):
    return k * (high - low)

def nothing_for_bars(a, b):
    return a + b
"""


@pytest.fixture
def rrr(monkeypatch, capsys, tmp_path):
    "Run a command in this process with a home of its own; returns (code, out, err)"

    def run(*args) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rrr", "--home", str(tmp_path / "home"), *map(str, args)])
        code = 0
        try:
            main()
        except SystemExit as e:
            code = e.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    run.home = tmp_path / "home"
    return run


@pytest.fixture
def features(tmp_path):
    file = tmp_path / "features_to_check.py"
    file.write_text(FEATURES)
    return file


@pytest.mark.parametrize("target", ["sma_cross", "atr", "rrr.strategy.library:buy_and_hold"])
def test_what_is_registered_or_exported_is_checked_on_synthetic_bars(rrr, target):
    code, out, _ = rrr("check", "causal", target, "--bars", 120)
    assert code == 0
    assert "is causal" in out and "SYNTHETIC" in out


@pytest.mark.parametrize(
    ("target", "said"), [("pairs", "of two symbols"), ("calm_trend", "with sentiment made up"), ("strongest", "causal")]
)
def test_what_a_strategy_wants_besides_bars_is_made_up(rrr, target, said):
    code, out, _ = rrr(
        "check", "causal", target, "--bars", 100, "-p", "n=50", *(["-p", "hold=24"] * (target == "strongest"))
    )
    assert code == 0 and "is causal" in out and said in out


def test_several_symbols_are_not_made_up_beside_bars_of_one(rrr, tmp_path):
    mock(90).to_csv(tmp_path / "bars.csv")
    code, out, err = rrr("check", "causal", "pairs", "--data", tmp_path / "bars.csv")
    assert code == 1 and out == "" and "several symbols" in err and "assert_causal" in err


def test_a_leak_is_told_with_bar_column_and_reach_and_code_1(rrr, features):
    code, out, err = rrr("check", "causal", f"{features}:tomorrow", "--bars", 120)
    assert code == 1
    for text in (out, err):
        assert "tomorrow looks ahead" in text and "at bar 0" in text and "1 bar ahead" in text


def test_json_is_one_object_also_on_a_leak(rrr, features):
    code, out, _ = rrr("check", "causal", f"{features}:tomorrow", "--bars", 120, "--json")
    value = json.loads(out)
    assert code == 1 and value["causal"] is False
    assert value["reports"][0]["bar"] == 0 and value["reports"][0]["ahead"] == 1


def test_all_functions_of_a_module_are_checked_and_those_that_take_no_bars_named(rrr, features):
    code, out, _ = rrr("check", "causal", f"{features}:", "--bars", 100)
    assert code == 1
    assert "momentum is causal" in out and "spread is causal" in out
    assert "not checked: nothing_for_bars" in out


def test_stored_bars_and_bars_of_a_file(rrr, features, tmp_path):
    import_mock(Desk(rrr.home).db, "BTC-USD", "1h", 200)
    code, out, _ = rrr("check", "causal", f"{features}:momentum", "--symbol", "BTC-USD", "--bars", 100)
    assert code == 0 and "on BTC-USD 1h" in out and "100 bars" in out
    mock(90).to_csv(tmp_path / "bars.csv")
    code, out, _ = rrr("check", "causal", f"{features}:spread", "--data", tmp_path / "bars.csv", "-p", "k=2.5")
    assert code == 0 and "bars.csv" in out and "90 bars" in out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["smaa"], "did you mean 'sma'"),
        (["no_such_module:f"], "no module 'no_such_module'"),
        (["no_such_file.py:f"], "no file"),
        (["rrr.features.indicators:smaa"], "did you mean 'sma'"),
        (["sma", "-p", "n=fast"], "not a number"),
        (["sma", "--symbol", "BTC-USD", "--data", "x.csv"], "not both"),
    ],
)
def test_a_refusal_is_one_sentence_that_says_what_would_be_right(rrr, args, said):
    code, out, err = rrr("check", "causal", *args)
    assert code == 1 and out == ""
    assert err.startswith("error: ") and said in err and "Traceback" not in err


def test_help_teaches_by_an_example(rrr):
    code, out, _ = rrr("check", "causal", "--help")
    assert code == 0 and "Example: rrr check causal" in " ".join(out.split())
