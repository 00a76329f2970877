"Sentiment, on-chain figures and funding rates: read right or refused by line and column, stored once, never known too early."

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import DataError, ParameterError, RRRError
from rrr.data.altfiles import (
    ONCHAIN,
    SENTIMENT,
    import_onchain,
    import_sentiment,
    read_funding,
    read_onchain,
    read_sentiment,
)
from rrr.store.checks import BatchError
from rrr.store.db import Database
from rrr.store.records import count_records, find_records, records_frame
from rrr.store.schema import OnchainRow, SentimentRow

FEAR = "date,value,classification\n2018-02-01,30.0,Fear\n2018-02-02,15.0,Extreme Fear\n2018-02-03,50,Neutral\n"
CHAIN = "time,TxCnt,PriceUSD\n2010-07-16,411,\n2010-07-17,437,\n2010-07-18,402,0.08584\n"


def day(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz="UTC")


@pytest.fixture
def write(tmp_path):
    def put(content, name: str = "alt.csv"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return put


# sentiment


def test_a_fear_and_greed_csv_becomes_rows_of_the_store(write):
    file = read_sentiment(write(FEAR))
    assert list(file.frame) == SENTIMENT and file.format == "csv" and file.notes == ()
    first = file.frame.iloc[0].to_dict()
    assert first == dict(
        asset="BTC", source="alternative.me", timestamp=day("2018-02-01"), label="bearish", score=-0.4, confidence=1.0,
        text="30.0 Fear", available_at=day("2018-02-02"),
    )  # fmt: skip
    assert file.frame["score"].tolist() == [-0.4, -0.7, 0.0]
    assert file.frame["label"].tolist() == ["bearish", "bearish", "neutral"]


def test_the_vendors_json_reads_as_its_csv(write):
    body = {"name": "Fear and Greed Index", "metadata": {"error": None}, "data": [
        {"value": "40", "value_classification": "Fear", "timestamp": "1551139200", "time_until_update": "68499"},
        {"value": "90", "value_classification": "Extreme Greed", "timestamp": "1551052800"},
    ]}  # fmt: skip
    file = read_sentiment(write(body))
    assert file.frame["timestamp"].tolist() == [day("2019-02-25"), day("2019-02-26")]  # oldest first
    assert file.frame["label"].tolist() == ["bullish", "bearish"] and file.format == "json"


def test_a_value_is_known_when_its_day_is_over_and_later_by_the_lag(write):
    file = read_sentiment(write(FEAR), lag=timedelta(hours=6))
    assert file.frame["available_at"].iloc[0] == pd.Timestamp("2018-02-02 06:00", tz="UTC")
    with pytest.raises(ParameterError, match="lag .* is below zero"):
        read_sentiment(write(FEAR), lag=timedelta(hours=-1))


def test_absent_days_are_told(write):
    rows = "2018-04-12,18,Fear\n2018-04-13,25,Fear\n2018-04-17,54,Neutral\n2018-04-19,54,Neutral\n"
    (note,) = read_sentiment(write("date,value,classification\n" + rows)).notes
    assert note == "4 days are absent in 2 gaps, the longest 2018-04-14 to 2018-04-16"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("2018-02-04,130,Greed", "line 5, column 'value': '130' is not a finite number from 0 to 100"),
        ("2018-02-04,-1,Fear", "'-1' is not a finite number from 0 to 100"),
        ("2018-02-04,nan,Fear", "'nan' is not"),
        ("2018-02-04,1_0,Fear", "'1_0' is not"),
        ("2018-02-04,,Fear", "column 'value'"),
        ("2018-02-04,80,Fear", "column 'classification': Fear contradicts the value 80"),
        ("2018-02-04,20,Extreme Greed", "contradicts the value 20"),
        ("2018-02-04,20,Panic", "'Panic' is none of Extreme Fear, Fear, Neutral, Greed, Extreme Greed"),
        ("04/02/2018,20,Fear", "column 'date': '04/02/2018' is neither a date such as 2024-01-31 nor an epoch"),
        ("2018-02-30,20,Fear", "column 'date'"),
        ("9999-12-31,20,Fear", "'9999-12-31' is not of the years 2000 to 2100"),
        ("20180204,20,Fear", "'20180204' is neither"),
        ("2018-02-03,20,Fear", "stands in line 4 already"),
    ],
)
def test_bad_rows_are_named_by_line_and_column_and_nothing_is_written(write, row, told):
    db, path = Database("sqlite://"), write(FEAR + row + "\n")
    with pytest.raises(BatchError) as e:
        import_sentiment(db, path)
    assert told in str(e.value) and "alt.csv: 1 of 4 rows refused" in str(e.value)
    assert [p.row for p in e.value.problems] == [3]
    assert count_records(db, SentimentRow) == 0
    db.close()


def test_all_bad_rows_are_reported_at_once(write):
    with pytest.raises(BatchError) as e:
        read_sentiment(write(FEAR + "2018-02-04,999,Fear\n2018-02-05,1,Fear\nx,1,Fear\n"))
    assert [(p.row, p.column, p.value) for p in e.value.problems] == [(3, "value", "999"), (5, "date", "x")]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("date,value\n2018-02-01,30\n", "no column classification or value_classification"),
        ("date,value,value,classification\n", "column 'value' occurs twice"),
        ("date,value,classification\n", "holds no rows"),
        ("", "holds no rows"),
        (FEAR + "2018-02-04,1\n", "line 5 has 2 cells, but the header 3"),
        ({"data": 5}, "no list of objects"),
        ("[1, 2]", "no list of objects"),
        ('{"data": [', "neither CSV nor JSON"),
        ({"data": []}, "holds no rows"),
    ],
)
def test_files_of_another_shape_are_refused(write, content, told):
    with pytest.raises(DataError, match="alt.csv") as e:
        read_sentiment(write(content))
    assert told in str(e.value)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_sentiment(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="neither CSV nor JSON"):
        read_onchain(tmp_path / "bytes.csv", "BTC")


# on-chain


def test_a_wide_csv_gives_a_row_a_value_and_none_for_empty_cells(write):
    file = read_onchain(write(CHAIN), "btc")
    assert list(file.frame) == ONCHAIN
    assert file.frame[["metric", "value"]].values.tolist() == [
        ["TxCnt", 411], ["TxCnt", 437], ["TxCnt", 402], ["PriceUSD", 0.08584],
    ]  # fmt: skip
    assert set(file.frame["asset"]) == {"BTC"} and set(file.frame["source"]) == {"coinmetrics"}
    assert (file.frame["available_at"] - file.frame["timestamp"] == timedelta(days=1)).all()
    assert file.notes == ("2 empty cells hold no value; PriceUSD has the fewest values (1 in 3 days)",)


def test_long_and_wide_files_give_the_same_rows(write):
    long = "asset,metric,time,value\n" + "".join(
        f"btc,{m},{d}T00:00:00.000000000Z,{v}\n"
        for d, m, v in [("2010-07-16", "TxCnt", 411), ("2010-07-17", "TxCnt", 437), ("2010-07-18", "TxCnt", 402),
                        ("2010-07-18", "PriceUSD", 0.08584)]
    )  # fmt: skip
    a, b = read_onchain(write(long, "long.csv")), read_onchain(write(CHAIN), "BTC")
    pd.testing.assert_frame_equal(a.frame, b.frame)
    assert a.notes == ()


def test_an_asset_picks_its_rows(write):
    path = write("asset,time,TxCnt\nbtc,2020-01-01,5\neth,2020-01-01,7\n")
    assert sorted(read_onchain(path).frame["asset"]) == ["BTC", "ETH"]
    assert read_onchain(path, "eth").frame["value"].tolist() == [7]
    with pytest.raises(DataError, match="holds no value of XRP"):
        read_onchain(path, "XRP")


def test_a_file_that_does_not_name_its_asset_is_refused(write):
    with pytest.raises(DataError, match="does not say which asset it is about: give asset="):
        read_onchain(write(CHAIN))


def test_gaps_and_holes_are_told(write):
    rows = "time,A,B\n2020-01-01,1,1\n2020-01-02,1,\n2020-01-03,1,1\n2020-01-05,1,1\n"
    notes = read_onchain(write(rows), "BTC").notes
    assert notes[0] == "1 day is absent in 1 gap, the longest 2020-01-04"
    assert notes[1] == "1 empty cells hold no value; B has the fewest values (3 in 4 days)"
    assert notes[2] == "2 metrics lack days between their first and last, B most (2)"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("2010-07-19,abc,1", "line 5, column 'TxCnt': 'abc' is not a finite number"),
        ("2010-07-19,1,inf", "line 5, column 'PriceUSD': 'inf' is not"),
        ("2010-07-19 12:00,1,1", "column 'time': '2010-07-19 12:00' is not a day in UTC"),
        ("2010-07-19T00:00:00+01:00,1,1", "is not a day in UTC"),
        (",1,1", "column 'time'"),
        ("2010-07-18,1,1", "line 5, column 'time': 2010-07-18 stands in line 4 already"),
    ],
)
def test_bad_onchain_rows_are_named_and_nothing_is_written(write, row, told):
    db, path = Database("sqlite://"), write(CHAIN + row + "\n")
    with pytest.raises(BatchError) as e:
        import_onchain(db, path, asset="BTC")
    assert told in str(e.value)
    assert count_records(db, OnchainRow) == 0
    db.close()


def test_a_row_without_asset_or_metric_is_refused(write):
    with pytest.raises(BatchError, match="line 2, column 'asset': the cell is empty"):
        read_onchain(write("asset,time,A\n,2020-01-01,1\n"))
    with pytest.raises(BatchError, match="line 2, column 'metric': the cell is empty"):
        read_onchain(write("asset,metric,time,value\nbtc,,2020-01-01,1\n"))


@given(
    st.dictionaries(
        st.dates(datetime(2010, 1, 1).date(), datetime(2012, 1, 1).date()),
        st.lists(st.none() | st.floats(-1e30, 1e30), min_size=3, max_size=3),
        min_size=1,
        max_size=20,
    )
)
@settings(max_examples=40, deadline=None)
def test_every_figure_comes_back_and_nothing_else(tmp_path_factory, days):
    path = tmp_path_factory.mktemp("chain") / "x.csv"
    cells = ["" if v is None else repr(v) for values in days.values() for v in values]
    lines = [f"{d},{','.join(cells[3 * i : 3 * i + 3])}" for i, d in enumerate(days)]
    path.write_text("\n".join(["time,A,B,C", *lines]))
    want = {(m, str(d)): v for d, vs in days.items() for m, v in zip("ABC", vs, strict=True) if v is not None}
    if not want:
        with pytest.raises(DataError, match="holds no value"):
            read_onchain(path, "BTC")
        return
    frame = read_onchain(path, "BTC").frame
    assert frame["timestamp"].is_monotonic_increasing
    have = zip(frame["metric"], frame["timestamp"].dt.date.astype(str), frame["value"], strict=True)
    assert {(m, d): v for m, d, v in have} == want


# into the store


def test_what_was_read_is_what_the_store_gives_back(write, db):
    path, chain = write(FEAR), write(CHAIN, "chain.csv")
    assert import_sentiment(db, path).new == 3
    assert import_onchain(db, chain, asset="BTC").new == 4
    stored = records_frame(db, SentimentRow)[SENTIMENT]
    pd.testing.assert_frame_equal(stored, read_sentiment(path).frame, check_dtype=False)
    stored = records_frame(db, OnchainRow)[ONCHAIN].sort_values(["timestamp", "metric"], ignore_index=True)
    want = read_onchain(chain, "BTC").frame.sort_values(["timestamp", "metric"], ignore_index=True)
    pd.testing.assert_frame_equal(stored, want, check_dtype=False)


def test_the_same_file_twice_changes_nothing_and_a_longer_one_adds(write, db):
    assert import_onchain(db, write(CHAIN), asset="BTC").new == 4
    again = import_onchain(db, write(CHAIN), asset="BTC")
    assert (again.new, again.same) == (0, 4)
    longer = import_onchain(db, write(CHAIN + "2010-07-19,500,0.09\n"), asset="BTC")
    assert (longer.new, longer.same) == (2, 4)
    assert (import_sentiment(db, write(FEAR)).new, import_sentiment(db, write(FEAR)).same) == (3, 3)


@pytest.mark.parametrize(
    ("content", "reading", "told"),
    [
        (CHAIN.replace("437", "438") + "2010-07-19,500,0.09\n", {}, "value 438.0 of asset BTC, metric TxCnt"),
        (CHAIN, dict(lag=timedelta(hours=1)), "available_at 2010-07-17 01:00:00+00:00 of"),
    ],
)
def test_a_value_known_with_other_content_is_refused_with_both(write, db, content, reading, told):
    import_onchain(db, write(CHAIN), asset="BTC")
    with pytest.raises(DataError, match="is stored already as .* None written") as e:
        import_onchain(db, write(content), asset="BTC", **reading)
    assert told in str(e.value)
    assert count_records(db, OnchainRow) == 4


def test_other_sources_and_assets_stand_beside(write, db):
    path = write(CHAIN)
    for reading in (dict(asset="BTC"), dict(asset="ETH"), dict(asset="BTC", source="glassnode")):
        assert import_onchain(db, path, **reading).new == 4
    assert count_records(db, OnchainRow) == 12


def test_nothing_is_known_before_its_day_is_over(write, db):
    import_onchain(db, write(CHAIN), asset="BTC")
    noon, night = datetime(2010, 7, 17, 23, 59, tzinfo=UTC), datetime(2010, 7, 18, tzinfo=UTC)
    assert [r["value"] for r in find_records(db, OnchainRow, as_of=noon)] == [411]
    assert [r["value"] for r in find_records(db, OnchainRow, as_of=night)] == [411, 437]


# funding


def test_binance_json_and_both_of_its_csv_read_alike(write):
    rows = [(1698768000000, "0.0001"), (1698796800007, "-0.0000375"), (1698825600004, "0.0002")]
    files = [
        write([dict(symbol="BTCUSDT", fundingTime=t, fundingRate=r) for t, r in rows], "a.json"),
        write(
            "calc_time,funding_interval_hours,last_funding_rate\n" + "".join(f"{t},8,{r}\n" for t, r in rows), "b.csv"
        ),
        write("symbol,fundingTime,fundingRate\n" + "".join(f"BTCUSDT,{t},{r}\n" for t, r in reversed(rows)), "c.csv"),
    ]
    first, *others = (read_funding(path) for path in files)
    assert first.frame.index.as_unit("ms").asi8.tolist() == [t for t, _ in rows]
    assert first.frame["rate"].tolist() == [0.0001, -0.0000375, 0.0002]
    assert first.frame["slot"].tolist() == [pd.Timestamp(t // 3600000 * 3600000, unit="ms", tz="UTC") for t, _ in rows]
    assert first.notes == ("2 of 3 stamps are off the hour, by 7 ms at most: slot has the hour", "a rate every 8 hours")
    for other in others:
        pd.testing.assert_frame_equal(first.frame, other.frame)


def test_a_stamp_far_from_an_hour_has_no_slot_and_one_just_before_has_the_next(write):
    rows = [0, 8 * 3600_000 - 59_999, 16 * 3600_000 + 60_000]
    path = write([dict(fundingTime=1698768000000 + t, fundingRate="0.0001") for t in rows])
    file = read_funding(path)
    assert file.frame["slot"].isna().tolist() == [False, False, True]
    assert file.frame["slot"].iloc[1] == day("2023-11-01")
    assert any("1 stamps are a minute or more off the hour and have no slot" in note for note in file.notes)


def test_missing_slots_are_told_and_two_rates_of_one_refused(write):
    rows = [dict(fundingTime=1698768000000 + h * 3600_000, fundingRate="0.0001") for h in (0, 8, 16, 40, 48)]
    assert "1 gaps are longer, the longest 24 hours" in read_funding(write(rows)).notes
    with pytest.raises(DataError, match="two rates belong to 2023-10-31 16:00"):
        read_funding(write([*rows, dict(fundingTime=1698768000005, fundingRate="0.0002")]))


def test_mark_prices_are_kept_where_they_are_given(write):
    rows = [
        dict(fundingTime=1698768000000 + i * 28800000, fundingRate="0", markPrice=m) for i, m in enumerate(["1.5", ""])
    ]
    marks = read_funding(write(rows)).frame["mark_price"]
    assert marks.iloc[0] == 1.5 and np.isnan(marks.iloc[1])


def test_several_pairs_are_one_at_a_time(write):
    rows = [dict(symbol=s, fundingTime=1698768000000, fundingRate="0.0001") for s in ("BTCUSDT", "ETHUSDT")]
    path = write(rows)
    with pytest.raises(DataError, match=r"2 instruments \(BTCUSDT, ETHUSDT\)"):
        read_funding(path)
    assert len(read_funding(path, "ETHUSDT").frame) == 1
    with pytest.raises(ParameterError, match="holds no instrument 'XRPUSDT', but BTCUSDT, ETHUSDT"):
        read_funding(path, "XRPUSDT")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (dict(fundingTime=1698768000000, fundingRate="x"), "item 1, column 'fundingRate': 'x' is not a finite number"),
        (dict(fundingTime=1698768000000, fundingRate="1.5"), "not a fraction between -1 and 1"),
        (dict(fundingTime=12, fundingRate="0"), "column 'fundingTime': '12' is neither"),
        (dict(fundingTime=1698768000000, fundingRate=None), "column 'fundingRate': 'None'"),
        (dict(fundingTime=1698768000000, fundingRate=True), "'True' is not a finite number"),
    ],
)
def test_bad_rates_are_named(write, row, told):
    with pytest.raises(BatchError) as e:
        read_funding(write([row]))
    assert told in str(e.value)


def feather(path, **columns):
    zeros = dict.fromkeys(["high", "low", "close", "volume"], 0.0)
    stamps = pd.to_datetime([1698768000017, 1698796800000], unit="ms", utc=True)
    pd.DataFrame(dict(date=stamps, open=[0.0001, 0.0002]) | zeros | columns).to_feather(path)
    return path


def test_freqtrade_keeps_the_rate_in_open(tmp_path):
    file = read_funding(feather(tmp_path / "funding.feather"))
    assert file.format == "feather" and file.frame["rate"].tolist() == [0.0001, 0.0002]
    assert file.frame.index[0] == pd.Timestamp(1698768000017, unit="ms", tz="UTC")


def test_candles_and_damaged_feather_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="holds candles"):
        read_funding(feather(tmp_path / "candles.feather", high=[1.0, 2.0]))
    whole = feather(tmp_path / "x.feather").read_bytes()
    (tmp_path / "cut.feather").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cut off or damaged"):
        read_funding(tmp_path / "cut.feather")


# damage

WHOLE = {
    "sentiment": (read_sentiment, FEAR.encode()),
    "onchain": (lambda path: read_onchain(path, "BTC"), CHAIN.encode()),
    "funding": (
        read_funding,
        b'[{"fundingTime":1698768000000,"fundingRate":"0.1"},{"fundingTime":1698796800000,"fundingRate":"0"}]',
    ),
}
DAMAGE = st.sampled_from(
    [b"NaN", b"null", b"-1", b"1e999", b"", b"[]", b'"', b",", b"\n", b"9" * 20, b"\xff", b"9999-12-31"]
)


@pytest.mark.parametrize("kind", list(WHOLE))
@given(st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_is_damaged_is_read_or_refused_with_a_sentence(tmp_path_factory, kind, data):
    read, whole = WHOLE[kind]
    content = bytearray(whole)
    at, size = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 12))
    content[at : at + size] = data.draw(DAMAGE)
    (path := tmp_path_factory.mktemp("damage") / "x").write_bytes(content)
    try:
        read(path)
    except RRRError as e:
        assert str(e).endswith(".")


# real data


def test_the_real_fear_and_greed_index(shared_data):
    file = read_sentiment(shared_data / "alt" / "fear_greed_2018-02_2023-06.csv")
    assert len(file.frame) == 1973
    assert file.notes == ("3 days are absent in 1 gap, the longest 2018-04-14 to 2018-04-16",)
    assert file.frame["label"].value_counts().to_dict() == dict(bearish=1176, bullish=565, neutral=232)


def test_the_real_coin_metrics_file(shared_data):
    path = shared_data / "alt" / "coinmetrics_btc.csv"
    file, plain = read_onchain(path, "BTC"), pd.read_csv(path, index_col="time")
    assert len(file.frame) == plain.count().sum() and not any("absent" in note for note in file.notes)
    wide = file.frame.pivot(index="timestamp", columns="metric", values="value")
    assert wide.shape == plain.shape == (4224, 42)
    np.testing.assert_allclose(wide[plain.columns].to_numpy(), plain.to_numpy(), rtol=1e-15)
    assert wide["PriceUSD"].first_valid_index() == day("2010-07-18")


def test_the_real_index_goes_into_the_store_once(shared_data, db):
    path = shared_data / "alt" / "fear_greed_2018-02_2023-06.csv"
    assert import_sentiment(db, path).new == 1973
    assert import_sentiment(db, path).same == 1973


def test_the_real_funding_rates(shared_data):
    file = read_funding(shared_data / "raw" / "freqtrade" / "futures_XRP_USDT_USDT-8h-funding_rate.feather")
    assert len(file.frame) == 91 and (np.diff(file.frame["slot"]) == np.timedelta64(8, "h")).all()
    assert file.notes[0] == "59 of 91 stamps are off the hour, by 19 ms at most: slot has the hour"


@pytest.mark.parametrize("read", [read_sentiment, lambda p: read_onchain(p, "BTC"), read_funding])
def test_the_real_dictionary_of_metrics_is_no_data(shared_data, read):
    with pytest.raises(DataError, match="has no column"):
        read(shared_data / "alt" / "coinmetrics_metrics.csv")
