"Mock data are possible bars, the same for the same seed and symbol, and marked SYNTHETIC."

import asyncio
import hashlib
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import ParameterError
from rrr.core.market import OHLCV
from rrr.data.facts import (
    HOUR_VOLATILITY,
    HOUR_VOLUME,
    REAL,
    REAL_CORRELATION,
    REAL_LAGS,
    REAL_MEMORY,
    day_profile,
    memory,
    stylised_facts,
)
from rrr.data.faults import StreamFaults, faulty
from rrr.data.mock import BASE_PRICES, BASE_VOLUMES, MockDataSource
from rrr.data.quality import IMPOSSIBLE, check_bars


def content(frame) -> bytes:
    return frame.index.asi8.tobytes() + frame.to_numpy().tobytes()


def test_the_default_symbols_and_their_scale():
    prices = {"BTC-USD": 50_000, "ETH-USD": 3_000, "SOL-USD": 100, "MATIC-USD": 0.80, "AVAX-USD": 35}
    volumes = {"BTC-USD": 1_000_000, "ETH-USD": 500_000, "SOL-USD": 100_000, "MATIC-USD": 50_000, "AVAX-USD": 75_000}
    assert BASE_PRICES == prices and BASE_VOLUMES == volumes
    source = MockDataSource()
    assert source.symbols == list(prices)
    for symbol in source.symbols:
        bars = source.get_historical_data(symbol, 24 * 600, 3600)
        assert bars.close.iloc[-1] == prices[symbol]
        assert bars.volume.mean() == pytest.approx(volumes[symbol], rel=0.2)


def test_output_is_marked_synthetic():
    source = MockDataSource()
    assert MockDataSource.synthetic is True
    assert source.get_historical_data("BTC-USD").attrs == {"synthetic": True, "symbol": "BTC-USD", "seed": 7}
    assert source.get_latest_data("BTC-USD")["synthetic"] is True


@settings(deadline=None, max_examples=40)
@given(
    symbol=st.sampled_from(list(BASE_PRICES)),
    periods=st.integers(2, 400),
    seconds=st.sampled_from([1, 60, 900, 3600, 86_400, 604_800]),
    volatility=st.sampled_from([1e-6, 0.02, 1.0]),
    trend=st.sampled_from([0.0, 0.0001, 0.01]),
    seed=st.integers(0, 1000),
)
def test_bars_are_possible_complete_and_finite_for_any_settings(symbol, periods, seconds, volatility, trend, seed):
    source = MockDataSource(volatility=volatility, trend_strength=trend, seed=seed)
    bars = source.get_historical_data(symbol, periods, seconds)
    quality = check_bars(bars)
    assert list(bars.columns) == OHLCV and bars.index.name == "timestamp" and str(bars.index.tz) == "UTC"
    # A price that stands still at no volatility, or jumps at a huge one, is found and is right; these are never.
    never = (*IMPOSSIBLE, "duplicate", "unsorted", "off_grid", "gap", "interval", "zero_volume")
    assert not {finding.code for finding in quality.findings} & set(never)
    assert (quality.gaps, quality.rows) == (0, periods) and np.isfinite(bars.to_numpy()).all()
    assert bars.volume.min() > 0
    assert bars.index[-1].timestamp() + seconds == datetime(2025, 1, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("seconds", [60, 900, 3600, 86_400])
def test_bars_of_usual_settings_have_no_problems(seconds):
    for seed in range(3):
        source = MockDataSource(seed=seed)
        for symbol in source.symbols:
            quality = check_bars(source.get_historical_data(symbol, 1000, seconds))
            assert quality.problems == () and {finding.code for finding in quality.findings} <= {"bad_print"}


@settings(deadline=None, max_examples=30)
@given(short=st.integers(1, 300), more=st.integers(0, 300), seconds=st.sampled_from([15, 60, 3600, 86_400]))
def test_a_longer_history_is_the_shorter_one_with_more_past(short, more, seconds):
    source = MockDataSource()
    longer = source.get_historical_data("ETH-USD", short + more, seconds)
    assert content(longer.tail(short)) == content(source.get_historical_data("ETH-USD", short, seconds))


def test_nothing_asked_before_changes_the_bytes():
    alone = MockDataSource(symbols=["SOL-USD"]).get_historical_data("SOL-USD", 50)
    source = MockDataSource()
    for symbol in reversed(source.symbols):
        source.get_historical_data(symbol, 10)
        source.get_latest_data()
    assert content(source.get_historical_data("SOL-USD", 50)) == content(alone)
    assert content(source.get_historical_data("sol/usd", 50)) == content(alone)


def test_the_bytes_are_pinned():
    bars = MockDataSource().get_historical_data("BTC-USD", 1000, 3600)
    assert hashlib.sha256(content(bars)).hexdigest()[:16] == "5130681c5b7ab0d1"


@pytest.mark.parametrize(
    ("short", "long"), [(60, 900), (60, 3600), (900, 3600), (1, 60), (5, 15), (420, 2520), (3600, 86_400), (60, 86_400)]
)
def test_bars_of_all_lengths_show_one_path(short, long):
    source, size = MockDataSource(), long // short
    whole = source.get_historical_data("ETH-USD", 5, long)
    parts = source.get_historical_data("ETH-USD", 5 * size, short).groupby(np.arange(5 * size) // size)
    how = dict(open="first", high="max", low="min", close="last")
    assert (parts.agg(how).to_numpy() == whole[list(how)].to_numpy()).all()
    assert np.allclose(parts.volume.sum(), whole.volume, rtol=1e-12, atol=1e-6)


def test_seeds_differ():
    returns = [
        np.log(MockDataSource(seed=seed).get_historical_data("BTC-USD", 2000, 3600).close).diff() for seed in (7, 8)
    ]
    assert abs(returns[0].corr(returns[1])) < 0.1


def test_the_bytes_are_the_same_in_another_process_whatever_is_listed():
    code = "import sys; sys.path.insert(0, 'tests'); from test_mock import digest; print(digest(None))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == digest(["ETH-USD"])


def digest(symbols) -> str:
    source = MockDataSource(symbols)
    ticks = [source.get_latest_data("ETH-USD")["price"] for _ in range(5)]
    return hashlib.sha256(content(source.get_historical_data("ETH-USD", 300, 15)) + repr(ticks).encode()).hexdigest()


def test_an_end_moved_by_days_moves_the_stamps_and_not_the_prices():
    source = MockDataSource()
    default, moved = (source.get_historical_data("BTC-USD", 10, 60, **end) for end in ({}, {"end": "2020-06-01"}))
    assert (default.to_numpy() == moved.to_numpy()).all()
    assert moved.index[-1].isoformat() == "2020-05-31T23:59:00+00:00"


def test_the_day_goes_by_the_clock_wherever_the_history_ends():
    for end in ("2025-01-01", "2025-01-01T09:30"):
        bars = MockDataSource().get_historical_data("BTC-USD", 24 * 1500, 3600, end=end)
        assert day_profile(bars).volatility.idxmax() in (13, 14, 15)


@pytest.mark.parametrize(("seconds", "volatility"), [(3600, 0.02), (86_400, 0.02), (3600, 0.05)])
def test_volatility_is_that_of_a_days_log_return(seconds, volatility):
    a_day = 86_400 // seconds
    source = MockDataSource(volatility=volatility, trend_strength=0)
    for symbol in source.symbols:
        bars = source.get_historical_data(symbol, 2000 * a_day, seconds)
        daily = np.log(bars.close).diff(a_day).iloc[a_day::a_day]
        assert daily.std() == pytest.approx(volatility, rel=0.15)


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_prices_show_the_stylised_facts_of_coins(seed):
    source = MockDataSource(seed=seed)
    frames = {
        symbol: source.get_historical_data(symbol, 30_000, 3600) for symbol in ("BTC-USD", "ETH-USD", "MATIC-USD")
    }
    for bars in frames.values():
        facts = stylised_facts(bars)
        assert 6 < facts["excess_kurtosis"] < 60
        assert 1 < facts["excess_kurtosis_of_a_day"] < facts["excess_kurtosis"] / 1.5
        assert abs(facts["autocorrelation"]) < 0.04 and abs(facts["leverage"]) < 0.03
        assert 0.2 < facts["memory_1h"] < 0.4 and 0.1 < facts["memory_24h"] < 0.25 and facts["memory_168h"] > 0.04
        assert 0.3 < facts["volume_volatility"] < 0.6
        assert facts["busiest_hour"] in (13, 14, 15) and facts["calmest_hour"] in (3, 4, 5)
        profile = day_profile(bars)
        assert np.abs(profile.volatility - HOUR_VOLATILITY).max() < 0.25
        assert np.abs(profile.volume - HOUR_VOLUME).max() < 0.15
    returns = pd.DataFrame({symbol: np.log(bars.close).diff() for symbol, bars in frames.items()})
    assert returns.corr().loc["BTC-USD", "ETH-USD"] == pytest.approx(0.85, abs=0.02)
    assert returns.corr().loc["BTC-USD", "MATIC-USD"] == pytest.approx(0.74, abs=0.03)


def test_minutes_have_fat_tails_and_memory_and_no_reversal():
    bars = MockDataSource().get_historical_data("BTC-USD", 200_000, 60)
    returns = np.log(bars.close).diff().dropna()
    assert 6 < returns.kurt() < 80 and abs(returns.autocorr(1)) < 0.03
    assert [returns.abs().autocorr(lag) > least for lag, least in ((1, 0.25), (60, 0.12), (1440, 0.05))] == [True] * 3
    assert (bars.open / bars.close.shift() - 1).abs().mean() < 0.03 * returns.abs().mean()


def test_the_figures_of_real_coins_are_those_of_the_files(shared_data):
    files = {symbol: shared_data / "ohlcv" / f"binance_spot_{symbol[:3]}USDT_1h.parquet" for symbol in REAL}
    bars = {symbol: pd.read_parquet(path).set_index("ts") for symbol, path in files.items()}
    assert {str(b.index[0])[:16] for b in bars.values()} == {"2022-01-01 00:00"}
    assert {str(b.index[-1])[:16] for b in bars.values()} == {"2025-06-30 23:00"}
    for symbol, figures in REAL.items():
        assert stylised_facts(bars[symbol]) == pytest.approx(figures, abs=6e-4)
    assert memory(bars["BTC-USD"], REAL_LAGS) == pytest.approx(REAL_MEMORY, abs=6e-4)
    profile = day_profile(bars["BTC-USD"])
    assert profile.volatility.tolist() == pytest.approx(HOUR_VOLATILITY, abs=6e-3)
    assert profile.volume.tolist() == pytest.approx(HOUR_VOLUME, abs=6e-3)
    correlation = pd.DataFrame({symbol: np.log(b.close).diff() for symbol, b in bars.items()}).corr()
    assert {pair: correlation.loc[pair] for pair in REAL_CORRELATION} == pytest.approx(REAL_CORRELATION, abs=6e-4)


def test_trend_strength_makes_spells_of_trend():
    flat, trending = (
        np.log(MockDataSource(trend_strength=strength).get_historical_data("BTC-USD", 24 * 2000, 3600).close)
        for strength in (0.0, 0.001)
    )
    # Returns of one and the next five days go together where there are trends.
    memory = [path.diff(120).iloc[120::120].autocorr(1) for path in (flat, trending)]
    assert memory[0] < 0.1 and memory[1] > memory[0] + 0.1


def test_ticks_go_on_from_the_history_one_by_one_and_symbol_by_symbol():
    source = MockDataSource(update_interval=0.5)
    first = source.get_latest_data("BTC-USD")
    assert first["price"] == pytest.approx(50_000, rel=0.01)
    assert first["timestamp"] == datetime(2025, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)
    all_symbols = source.get_latest_data()
    assert list(all_symbols) == source.symbols
    assert all_symbols["BTC-USD"]["timestamp"] == datetime(2025, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert all_symbols["ETH-USD"]["timestamp"] == datetime(2025, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)
    again = MockDataSource(update_interval=0.5)
    assert [again.get_latest_data("BTC-USD") for _ in range(2)] == [first, all_symbols["BTC-USD"]]


def test_ticks_of_two_symbols_move_together_and_as_far_as_asked():
    source = MockDataSource(["BTC-USD", "ETH-USD"], update_interval=60)
    prices = pd.DataFrame([{k: t["price"] for k, t in source.get_latest_data().items()} for _ in range(5000)])
    returns = np.log(prices).diff().dropna()
    assert returns.corr().iloc[0, 1] == pytest.approx(0.85, abs=0.03)
    assert returns.std().to_numpy() * np.sqrt(1440) == pytest.approx([0.02, 0.02], rel=0.1)


def test_the_last_tick_is_told_without_going_on():
    source = MockDataSource()
    assert source.last_tick("BTC-USD")["price"] == 50_000 and source.last_tick("BTC-USD")["volume"] == 0
    tick = source.get_latest_data("btc/usd")
    assert source.last_tick("BTC-USD") == tick and tick["volume"] > 0


def test_a_stream_ends_when_the_callback_says_so_and_waits_between_rounds():
    pauses, seen = [], []
    source = MockDataSource(["BTC-USD", "ETH-USD"], update_interval=2)
    assert source.stream(lambda tick: seen.append(tick) or len(seen) < 5, sleep=pauses.append) == 5
    assert [tick["symbol"][:3] for tick in seen] == ["BTC", "ETH", "BTC", "ETH", "BTC"] and pauses == [2, 2]
    assert [tick["timestamp"].second for tick in seen] == [2, 2, 4, 4, 6]
    assert source.stream(lambda tick: False, interval=0.25, sleep=pauses.append) == 1 and pauses == [2, 2]


def test_stop_ends_a_stream_and_it_can_be_started_again():
    source, seen, pauses = MockDataSource(["BTC-USD"]), [], []

    def third(tick):
        seen.append(tick)
        if len(seen) % 3 == 0:
            source.stop()

    for _ in range(2):
        assert source.stream(third, interval=0.5, sleep=pauses.append) == 3
    assert pauses == [0.5] * 4
    assert [tick["timestamp"].second for tick in seen] == [1, 2, 3, 4, 5, 6]


def test_an_event_loop_gets_the_same_ticks():
    async def collect(source, n):
        ticks, waits = [], []

        async def sleep(seconds):
            waits.append(seconds)

        async for tick in source.ticks(interval=0.1, sleep=sleep):
            ticks.append(tick)
            if len(ticks) == n:
                source.stop()
        return ticks, waits

    async def first(source):
        async for tick in source:
            return tick

    seen = []
    MockDataSource().stream(lambda tick: seen.append(tick) or len(seen) < 12, sleep=lambda s: None)
    ticks, waits = asyncio.run(collect(MockDataSource(), 12))
    assert ticks == seen and waits == [0.1, 0.1]
    assert asyncio.run(first(MockDataSource())) == seen[0]


def test_faults_of_a_stream_spoil_what_arrives_and_not_the_walk():
    def arrived(faults):
        out = []
        MockDataSource(["BTC-USD"]).stream(
            lambda t: out.append(t) or len(out) < 200, faults=faults, sleep=lambda s: None
        )
        return out

    faults = StreamFaults(gap=0.02, duplicate=0.1, bad_print=0.05, seed=1)
    clean, spoilt = {t["timestamp"]: t for t in arrived(None)}, arrived(faults)
    wrong = [t for t in spoilt if t["timestamp"] in clean and t != clean[t["timestamp"]]]
    kinds = [kind for _, kind in faults.injected]
    assert 0 < len(wrong) <= kinds.count("bad_print") and "gap" in kinds and "duplicate" in kinds
    assert all(abs(np.log(t["price"] / 50_000)) > 0.07 for t in wrong)

    async def some():
        source, out = MockDataSource(["BTC-USD"]), []
        async for tick in faulty(source.ticks(0), StreamFaults(gap=0.02, duplicate=0.1, bad_print=0.05, seed=1)):
            out.append(tick)
            if len(out) == 200:
                return out

    assert asyncio.run(some()) == spoilt


def test_symbols_and_prices_of_ones_own():
    source = MockDataSource(symbols=["FOO-USD"], base_prices={"foo/usd": 0.000123456789})
    assert source.symbols == ["FOO-USD"]
    bars = source.get_historical_data("FOO-USD", 500, 3600)
    assert check_bars(bars).problems == () and bars.close.iloc[-1] == pytest.approx(0.000123456789, rel=1e-6)
    assert MockDataSource(base_prices={"FOO-USD": 5}).symbols == [*BASE_PRICES, "FOO-USD"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: MockDataSource(symbols=["DOGE-USD"]), "unknown symbol 'DOGE-USD'"),
        (lambda: MockDataSource(["BTC-USD"]).get_historical_data("ETH-USD"), "unknown symbol 'ETH-USD'"),
        (lambda: MockDataSource().get_latest_data("BTC-EUR"), "did you mean 'BTC-USD'"),
        (lambda: MockDataSource().get_historical_data("BTCUSD"), "is not BASE-QUOTE"),
        (lambda: MockDataSource(volatility=2), "volatility 2 is not a number from"),
        (lambda: MockDataSource(volatility=float("nan")), "volatility nan is not a number from"),
        (lambda: MockDataSource(trend_strength=-1), "trend_strength -1 is not"),
        (lambda: MockDataSource(update_interval=0), "update_interval 0 is not"),
        (lambda: MockDataSource(base_prices={"BTC-USD": 0}), "base price of BTC-USD 0.0 is not"),
        (lambda: MockDataSource().get_historical_data("BTC-USD", 0), "periods 0 is not"),
        (lambda: MockDataSource().get_historical_data("BTC-USD", 1.5), "periods 1.5 is not a whole number"),
        (lambda: MockDataSource().get_historical_data("BTC-USD", 1, 0.5), "interval_seconds 0.5 is not a whole number"),
        (lambda: MockDataSource().stream(print, interval=-1), "interval -1 is not a number from"),
        (lambda: MockDataSource().last_tick("DOGE-USD"), "unknown symbol 'DOGE-USD'"),
        (lambda: MockDataSource().get_historical_data("BTC-USD", end="soon"), "time 'soon' is not an ISO date"),
    ],
)
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(ParameterError, match=said):
        make()
