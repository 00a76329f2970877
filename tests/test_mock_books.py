"A mock book is never crossed and follows its price; a mock mood stays in range and comes back."

import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import ParameterError
from rrr.data.books import MockOrderBook, MockSentimentData, sentiment_label
from rrr.data.mock import BASE_PRICES, BASE_VOLUMES, MockDataSource
from rrr.data.orderbook import OrderBook
from rrr.store.schema import SentimentRow


@settings(deadline=None, max_examples=60)
@given(
    price=st.floats(1e-9, 1e9),
    volatility=st.sampled_from([1e-6, 0.02, 1.0]),
    levels=st.integers(1, 60),
    seed=st.integers(0, 1000),
    moves=st.integers(0, 5),
)
def test_a_book_is_sorted_positive_and_never_crossed_at_any_price(price, volatility, levels, seed, moves):
    source = MockDataSource(["X-USD"], {"X-USD": price}, volatility, update_interval=86_400, seed=seed)
    for _ in range(moves):
        source.get_latest_data()
    book = MockOrderBook("X-USD", source, seed).get_orderbook(
        levels
    )  # OrderBook itself refuses unsorted or empty sizes
    assert isinstance(book, OrderBook) and book.synthetic is True
    assert len(book.asks) == levels and len(book.bids) <= levels
    assert not book.crossed and (book.spread > 0 or not book.bids)
    last = source.last_tick("X-USD")
    assert (book.symbol, book.timestamp) == ("X-USD", last["timestamp"])
    if book.bids:
        assert book.bids[0][0] <= last["price"] <= book.asks[0][0]


@pytest.mark.parametrize("symbol", list(BASE_PRICES))
def test_spread_and_depth_are_plausible(symbol):
    source = MockDataSource()
    books = MockOrderBook(symbol, source)
    spreads, depths, spans = [], [], []
    for _ in range(300):
        price = source.get_latest_data(symbol)["price"]
        book = books.get_orderbook()
        assert (len(book.bids), len(book.asks)) == (10, 10)
        assert book.mid_price == pytest.approx(price, rel=5e-5)
        spreads.append(book.spread / price * 1e4)
        depths.append(sum(size for _, size in book.bids) / BASE_VOLUMES[symbol])
        spans.append((book.asks[-1][0] / book.asks[0][0] - 1) * 1e4)
    assert 0.4 < np.median(spreads) < 0.7 and max(spreads) < 5
    assert np.mean(depths) == pytest.approx(0.01, rel=0.15)
    assert np.mean(spans) == pytest.approx(4.5, rel=0.15)


def test_the_book_of_a_tick_is_the_same_however_often_it_is_asked_for():
    source = MockDataSource()
    books = MockOrderBook("ETH-USD", source)
    first = books.get_orderbook()
    assert books.get_orderbook() == first == MockOrderBook("ETH-USD", MockDataSource()).get_orderbook()
    source.get_latest_data("BTC-USD")
    assert books.get_orderbook() == first
    source.get_latest_data("ETH-USD")
    assert books.get_orderbook() != first
    assert MockOrderBook("ETH-USD", MockDataSource(), seed=8).get_orderbook() != first


def test_a_book_without_a_source_goes_on_by_a_tick_at_each_call():
    books = MockOrderBook()
    first, second = books.get_orderbook(), books.get_orderbook()
    assert first.symbol == "BTC-USD" and [b.timestamp.second for b in (first, second)] == [1, 2]
    assert first == MockOrderBook().get_orderbook()


def test_levels_and_symbols_that_cannot_be_are_refused():
    for levels in (0, 1001, 2.5, "10"):
        with pytest.raises(ParameterError, match="is not a whole number from 1 to 1000"):
            MockOrderBook().get_orderbook(levels)
    with pytest.raises(ParameterError, match="unknown symbol 'DOGE-USD'"):
        MockOrderBook("DOGE-USD")
    with pytest.raises(ParameterError, match="unknown symbol 'ETH-USD'"):
        MockOrderBook("ETH-USD", MockDataSource(["BTC-USD"]))


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10_000), calls=st.integers(1, 60), symbol=st.sampled_from(["BTC-USD", "eth/usd", "NEW-EUR"]))
def test_sentiment_stays_in_range_and_fits_its_row(seed, calls, symbol):
    crowd = MockSentimentData(seed)
    for hour in range(1, calls + 1):
        mood = crowd.get_sentiment(symbol)
        assert -1 <= mood.score <= 1 and 0 <= mood.confidence <= 1
        assert mood.label == sentiment_label(mood.score)
        assert 0 <= mood.bullish_count + mood.bearish_count <= mood.source_count
        assert mood.synthetic is True and "SYNTHETIC" in mood.text
        assert (mood.timestamp - datetime(2025, 1, 1, tzinfo=UTC)).total_seconds() == 3600 * hour
        assert mood.available_at > mood.timestamp
    row = SentimentRow.model_validate(asdict(mood))
    assert (row.asset, row.label, row.score) == (symbol[:3].upper(), mood.label, mood.score)


def test_the_mood_comes_back_to_its_mean_and_the_counts_go_with_it():
    crowd = MockSentimentData()
    moods = pd.DataFrame([asdict(crowd.get_sentiment("BTC-USD")) for _ in range(5000)])
    assert abs(moods.score.mean()) < 0.1 and 0.3 < moods.score.std() < 0.5
    assert moods.score.autocorr(1) > 0.9 and moods.score.autocorr(24) == pytest.approx(0.5, abs=0.1)
    assert abs(moods.score.autocorr(24 * 10)) < 0.1
    assert moods.score.corr((moods.bullish_count - moods.bearish_count) / moods.source_count) > 0.9
    assert moods.label.value_counts(normalize=True).min() > 0.15


def test_labels_turn_at_their_bounds():
    assert [sentiment_label(score) for score in (-1, -0.15, -0.1499, 0, 0.1499, 0.15, 1)] == [
        "bearish", "bearish", "neutral", "neutral", "neutral", "bullish", "bullish",
    ]  # fmt: skip


def test_books_and_moods_are_the_same_in_another_process():
    code = "import sys; sys.path.insert(0, 'tests'); from test_mock_books import digest; print(digest())"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == digest()


def digest() -> str:
    books, crowd = MockOrderBook("SOL-USD"), MockSentimentData(3)
    return str(
        [books.get_orderbook().bids for _ in range(3)] + [crowd.get_sentiment("SOL-USD").score for _ in range(3)]
    )
