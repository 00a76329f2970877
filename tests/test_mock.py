"Mock data are possible bars, the same for the same seed and symbol, and marked SYNTHETIC."

import hashlib
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import ParameterError
from rrr.core.market import OHLCV
from rrr.data.mock import BASE_PRICES, BASE_VOLUMES, MockDataSource
from rrr.data.quality import check_bars


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
        assert bars.volume.mean() == pytest.approx(volumes[symbol], rel=0.15)


def test_output_is_marked_synthetic():
    source = MockDataSource()
    assert MockDataSource.synthetic is True
    assert source.get_historical_data("BTC-USD").attrs == {"synthetic": True, "symbol": "BTC-USD", "seed": 7}
    assert source.get_latest_data("BTC-USD")["synthetic"] is True


@settings(deadline=None, max_examples=60)
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
    assert quality.problems == quality.warnings == () and quality.rows == periods
    assert bars.index[-1].timestamp() + seconds == datetime(2025, 1, 1, tzinfo=UTC).timestamp()


@settings(deadline=None, max_examples=30)
@given(short=st.integers(1, 300), more=st.integers(0, 300), seconds=st.sampled_from([60, 3600]))
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
    assert hashlib.sha256(content(bars)).hexdigest()[:16] == "f45b030df30e18da"


def test_seeds_symbols_and_intervals_differ():
    def returns(symbol="BTC-USD", seconds=3600, seed=7):
        bars = MockDataSource(seed=seed).get_historical_data(symbol, 2000, seconds)
        return np.log(bars.close).diff().dropna().to_numpy()

    base = returns()
    for other in (returns("ETH-USD"), returns(seed=8), returns(seconds=60)):
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.1


def test_the_end_moves_the_stamps_and_not_the_prices():
    source = MockDataSource()
    default, moved = (source.get_historical_data("BTC-USD", 10, 60, **end) for end in ({}, {"end": "2020-06-01T12:00"}))
    assert (default.to_numpy() == moved.to_numpy()).all()
    assert moved.index[-1].isoformat() == "2020-06-01T11:59:00+00:00"


@pytest.mark.parametrize(("seconds", "volatility"), [(3600, 0.02), (86_400, 0.02), (3600, 0.05)])
def test_volatility_is_that_of_a_days_log_return(seconds, volatility):
    a_day = 86_400 // seconds
    source = MockDataSource(volatility=volatility, trend_strength=0)
    for symbol in source.symbols:
        bars = source.get_historical_data(symbol, 2000 * a_day, seconds)
        daily = np.log(bars.close).diff(a_day).iloc[a_day::a_day]
        assert daily.std() == pytest.approx(volatility, rel=0.15)


def test_returns_have_fat_tails_and_clustered_volatility_but_no_memory_of_sign():
    bars = MockDataSource(trend_strength=0).get_historical_data("BTC-USD", 20_000, 3600)
    returns = np.log(bars.close).diff().dropna()
    assert returns.kurt() > 3
    assert returns.abs().autocorr(1) > 0.1 and returns.abs().autocorr(12) > 0.05
    assert abs(returns.autocorr(1)) < 0.05
    assert (bars.open / bars.close.shift() - 1).abs().mean() < 0.1 * returns.abs().mean()


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
        (lambda: MockDataSource().get_historical_data("BTC-USD", end="soon"), "time 'soon' is not an ISO date"),
    ],
)
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(ParameterError, match=said):
        make()
