"Amounts, times and JSON come back from both databases as they went in, digit for digit."

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rrr.core.errors import DataError
from rrr.store.checks import BatchError
from rrr.store.records import add_records, find_records
from rrr.store.schema import RiskLimitRow, SystemEventRow

EACH = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NOW = datetime(2024, 1, 2, 3, 4, 5, 678901, UTC)


@st.composite
def amounts(draw) -> Decimal:  # 20 digits before the point, 18 after
    whole, places = draw(st.integers(0, 10**20 - 1)), draw(st.integers(0, 18))
    after = f".{draw(st.integers(0, 10**places - 1)):0{places}d}" if places else ""
    return Decimal(f"{draw(st.sampled_from(['', '-']))}{whole}{after}")


def digits(amount: Decimal) -> str:  # zero has no sign in the store
    return str(amount if amount else abs(amount))


def limits(values: list) -> list[dict]:
    row = dict(account="a", set_at=NOW, actor="ann", reason="test")
    return [row | dict(name=f"{i:03}", value=v) for i, v in enumerate(values)]


@EACH
@given(values=st.lists(amounts(), min_size=1, max_size=30))
def test_an_amount_comes_back_with_the_same_digits_also_through_json_text(db, values):
    for asked in (values, json.loads(json.dumps([str(v) for v in values]))):
        add_records(db, RiskLimitRow, limits(asked), on_conflict="replace")
        back = [r["value"] for r in find_records(db, RiskLimitRow, limit=len(values))]
        assert [str(b) for b in back] == [digits(v) for v in values]
        assert all(type(b) is Decimal for b in back)


def test_the_smallest_and_largest_amounts_fit_and_the_next_ones_do_not(db):
    fit = ["0", "0.000000000000000001", "-0.000000000000000001", "1.500", "99999999999999999999.999999999999999999"]
    add_records(db, RiskLimitRow, limits(fit))
    assert [format(r["value"], "f") for r in find_records(db, RiskLimitRow)] == fit
    with pytest.raises(BatchError, match=r"row 1: value 100000000000000000000: amount .* is too large"):
        add_records(db, RiskLimitRow, limits(["1", "100000000000000000000"]), on_conflict="replace")
    assert [format(r["value"], "f") for r in find_records(db, RiskLimitRow)] == fit


def test_more_than_18_places_are_rounded_half_to_even(db):
    add_records(db, RiskLimitRow, limits(["0.0000000000000000005", "0.0000000000000000015", "1e-30"]))
    assert [r["value"] for r in find_records(db, RiskLimitRow)] == [Decimal(0), Decimal("2e-18"), Decimal(0)]


offsets = st.integers(-86399, 86399).map(lambda seconds: timezone(timedelta(seconds=seconds)))


@EACH
@given(
    times=st.lists(
        st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=st.one_of(offsets, st.timezones())),
        min_size=1, max_size=20, unique_by=lambda t: t.astimezone(UTC),
    )
)  # fmt: skip
def test_a_time_comes_back_as_the_same_moment_in_utc_whatever_its_zone(db, times):
    account = str(times)
    for said in (times, [t.isoformat() for t in times]):
        if said is not times and any(t.utcoffset() % timedelta(minutes=1) for t in times):
            continue  # ISO text of such an offset is not read
        rows = [dict(account=account, name="x", set_at=t, value=0, actor="a", reason="r") for t in said]
        add_records(db, RiskLimitRow, rows, on_conflict="replace")
        back = [r["set_at"] for r in find_records(db, RiskLimitRow, account=account)]
        assert back == sorted(t.astimezone(UTC) for t in times) and {t.tzinfo for t in back} == {UTC}


@pytest.mark.parametrize(
    "time", [datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))), datetime.max.replace(tzinfo=timezone.min)]
)
def test_a_moment_outside_the_calendar_is_refused(db, time):
    with pytest.raises(BatchError, match="row 0: set_at"):
        add_records(db, RiskLimitRow, [limits([1])[0] | dict(set_at=time)])
    assert find_records(db, RiskLimitRow) == []


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12,
)  # fmt: skip


@EACH
@given(details=st.dictionaries(st.text(), values, max_size=5))
def test_json_comes_back_as_it_was_with_its_keys_in_order(db, details):
    event = dict(timestamp=NOW, level="info", component="test", message="m", details=details)
    add_records(db, SystemEventRow, [event])
    back = find_records(db, SystemEventRow, newest=True, limit=1)[0]["details"]
    assert json.dumps(back) == json.dumps(details)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, NOW, Decimal(1), object()])
def test_what_json_cannot_say_is_refused(db, value):
    with pytest.raises(DataError, match="row 0: details .*JSON takes plain values and finite numbers only"):
        add_records(
            db, SystemEventRow, [dict(timestamp=NOW, level="info", component="c", message="m", details={"x": value})]
        )
    assert find_records(db, SystemEventRow) == []
