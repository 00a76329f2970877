"The cache in memory and in Redis: the same answers, and none of them wrong when Redis is lost, slow, full or poisoned."

import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis_server import PASSWORD, RedisServer

import rrr
from rrr.core.errors import ConfigError, ParameterError
from rrr.core.settings import load_settings
from rrr.store.cache import Cache, MemoryCache, RedisCache, cached, get_cache


class Clock:
    "Time that passes when the test says so"

    def __init__(self):
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(redis_server) -> RedisServer:
    "A running Redis without keys"
    if not redis_server.running:
        assert redis_server.start()
    with redis_server.admin() as admin:
        admin.flushall()
    return redis_server


@pytest.fixture
def shared(server, clock) -> RedisCache:
    return RedisCache(server.url, clock=clock, timeout=0.1, backoff=5)


@pytest.fixture(params=["memory", "redis"])
def cache(request, clock) -> Cache:
    return MemoryCache(clock=clock) if request.param == "memory" else request.getfixturevalue("shared")


@pytest.fixture
def admin(server) -> Iterator:
    with server.admin() as client:
        yield client


@pytest.fixture
def slow_mget(server, monkeypatch) -> SimpleNamespace:
    "Reads of `a` and `b` that end when the test says so, with an error if they are in `broken`"
    events = lambda: {f"rrr:{key}": threading.Event() for key in "ab"}  # noqa: E731
    control = SimpleNamespace(server=server, entered=events(), leave=events(), broken=set())
    mget = redis.Redis.mget

    def slow(client, name):
        answer = mget(client, name)
        if name in control.leave:
            control.entered[name].set()
            control.leave[name].wait()
        if name in control.broken:
            raise redis.ConnectionError("lost")
        return answer

    monkeypatch.setattr(redis.Redis, "mget", slow)
    return control


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


class TestBothBackends:
    def test_what_was_set_is_there_until_it_is_deleted(self, cache):
        assert cache.get("a") is None
        cache.set("a", {"close": [1.5, 2]})
        cache.set("b", 0)
        assert cache.get("a") == {"close": [1.5, 2]}
        assert cache.get("b") == 0
        cache.set("a", "newer")
        assert cache.get("a") == "newer"
        cache.delete("a")
        cache.delete("never there")
        assert cache.get("a") is None
        assert cache.get("b") == 0

    def test_clear_forgets_everything(self, cache):
        for i in range(1500):
            cache.set(f"key {i}", i)
        cache.clear()
        assert [i for i in range(1500) if cache.get(f"key {i}") is not None] == []

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(value=JSON.filter(lambda v: v is not None), key=st.text(min_size=1))
    def test_any_json_value_comes_back_the_same(self, cache, value, key):
        cache.set(key, value)
        back = cache.get(key)
        assert back == value
        assert repr(back) == repr(value)  # 1, 1.0 and true are not the same

    def test_changing_a_value_does_not_change_what_is_kept(self, cache):
        mine = [1, [2]]
        cache.set("a", mine)
        mine[1].append(3)
        cache.get("a").append(4)
        assert cache.get("a") == [1, [2]]

    @pytest.mark.parametrize(
        "value",
        [float("nan"), [float("inf")], {"a": -float("inf")}, None, (1, 2), [(1,)], {1: "a"}, {None: 1}, {1: 1, "1": 2},
         {1, 2}, b"bytes", Decimal("0.1"), object(), np.float32(1.5), np.int64(1), np.zeros(2), [np.nan], 10**5000,
         float],
        ids=lambda v: type(v).__name__,
    )  # fmt: skip
    def test_what_would_not_come_back_the_same_is_refused_and_the_old_value_stays(self, cache, value):
        cache.set("a", "old")
        with pytest.raises(ParameterError, match="^the cache "):
            cache.set("a", value)
        assert cache.get("a") == "old"

    def test_a_value_that_holds_itself_or_is_too_deep_is_refused(self, cache):
        loop, deep = [], []
        loop.append(loop)
        for _ in range(100_000):
            deep = [deep]
        for value in (loop, deep):
            with pytest.raises(ParameterError, match="^the cache "):
                cache.set("a", value)

    @pytest.mark.parametrize("key", ["", None, 1, b"a", ["a"], "lone \ud800 surrogate"], ids=repr)
    def test_a_key_that_is_not_text_is_refused(self, cache, key):
        for use in (cache.get, cache.delete, lambda key: cache.set(key, 1)):
            with pytest.raises(ParameterError, match="cache key"):
                use(key)

    @pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 1e10])
    def test_a_time_to_live_that_is_none_is_refused(self, cache, ttl):
        with pytest.raises(ParameterError, match="time to live"):
            cache.set("a", 1, ttl=ttl)

    def test_stats_count_hits_and_misses(self, cache):
        cache.set("a", 1)
        for key in ("a", "a", "b"):
            cache.get(key)
        stats = cache.stats()
        assert (stats.pop("backend"), stats.pop("reason")) in [("memory", ""), ("redis", "")]
        assert stats == dict(hits=2, misses=1, errors=0, degraded=False)

    def test_cached_makes_a_value_once(self, cache):
        made = []
        make = lambda: made.append(1) or {"n": len(made)}  # noqa: E731
        assert [cached(cache, "a", make) for _ in range(3)] == [{"n": 1}] * 3
        cache.delete("a")
        assert cached(cache, "a", make) == {"n": 2}

    def test_cached_hands_on_none_and_does_not_keep_it(self, cache):
        made = []
        assert [cached(cache, "a", lambda: made.append(1)) for _ in range(2)] == [None, None]
        assert len(made) == 2

    def test_cached_hands_on_the_error_of_make_and_tries_again_next_time(self, cache):
        with pytest.raises(ZeroDivisionError):
            cached(cache, "a", lambda: 1 / 0)
        assert cached(cache, "a", lambda: 7) == 7

    def test_cached_refuses_a_value_that_cannot_be_kept(self, cache):
        for _ in range(2):
            with pytest.raises(ParameterError):
                cached(cache, "a", lambda: {1, 2})

    def test_of_many_threads_that_ask_at_once_one_makes_the_value(self, cache):
        made, asked = [], threading.Barrier(9, timeout=60)

        def make():
            made.append(1)
            asked.wait()  # the others are at least on their way
            return 5

        def ask(first: bool):
            if not first:
                asked.wait()
            return cached(cache, "a", make)

        for rounds in (1, 2):
            with ThreadPoolExecutor(9) as pool:
                assert list(pool.map(ask, [True] + [False] * 8)) == [5] * 9
            assert len(made) == rounds
            cache.delete("a")

    def test_eight_threads_hammering_see_only_whole_values_of_their_key(self, cache):
        def hammer(seed: int) -> int:
            draw, seen = random.Random(seed), 0
            for n in range(400):
                key = f"k{draw.randrange(10)}"
                action = draw.random()
                if action < 0.4:
                    cache.set(key, {"key": key, "n": [n] * 50})
                elif action < 0.5:
                    cache.delete(key)
                elif action < 0.51:
                    cache.clear()
                elif (value := cache.get(key)) is not None:
                    assert value["key"] == key and value["n"] == value["n"][:1] * 50
                    seen += 1
            return seen

        with ThreadPoolExecutor(8) as pool:
            seen = sum(pool.map(hammer, range(8)))
        stats = cache.stats()
        assert stats["hits"] == seen > 0
        assert (stats["errors"], stats["degraded"]) == (0, False)


KEYS = st.sampled_from("abcdef")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, st.sampled_from([None, 1.0, 5.0])),
        st.tuples(st.just("get"), KEYS),
        st.tuples(st.just("delete"), KEYS),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 1.0, 4.0])),
        st.tuples(st.just("clear")),
    ),
    max_size=60,
)


class TestMemory:
    @given(size=st.integers(1, 5), steps=STEPS)
    def test_it_keeps_the_latest_used_for_their_time_like_a_simple_list(self, size, steps):
        clock = Clock()
        cache, model = MemoryCache(size, ttl=3.0, clock=clock), []  # model: (key, value, until), latest used last
        for n, (what, *arguments) in enumerate(steps):
            key = arguments[0] if arguments else None
            if what == "set":
                cache.set(key, n, ttl=arguments[1])
                model = [e for e in model if e[0] != key] + [(key, n, clock.now + (arguments[1] or 3.0))]
                model = model[-size:]
            elif what == "get":
                held = [e for e in model if e[0] == key and clock.now < e[2]]
                assert cache.get(key) == (held[0][1] if held else None)
                model = [e for e in model if e[0] != key] + held
            elif what == "delete":
                cache.delete(key)
                model = [e for e in model if e[0] != key]
            elif what == "clear":
                cache.clear()
                model = []
            else:
                clock.now += key
        assert {k: cache.get(k) for k in "abcdef"} == {
            k: next((v for key, v, until in model if key == k and clock.now < until), None) for k in "abcdef"
        }

    @pytest.mark.parametrize("use", [lambda cache: cache.get("a"), lambda cache: cache.set("a", 0)], ids=["get", "set"])
    def test_what_was_unused_for_longest_makes_room(self, use):
        cache = MemoryCache(size=2)
        cache.set("a", 0)
        cache.set("b", 1)
        use(cache)
        cache.set("c", 2)
        assert [cache.get(key) for key in "abc"] == [0, None, 2]

    def test_a_value_is_gone_at_the_end_of_its_time(self, clock):
        cache = MemoryCache(ttl=10, clock=clock)
        cache.set("a", 1)
        cache.set("b", 1, ttl=20)
        clock.now += 9.999
        assert cache.get("a") == 1
        clock.now += 0.001
        assert (cache.get("a"), cache.get("b")) == (None, 1)

    def test_a_cache_without_room_or_time_is_refused(self):
        for wrong in (dict(size=0), dict(ttl=0), dict(ttl=-1)):
            with pytest.raises(ParameterError):
                MemoryCache(**wrong)


class TestRedis:
    def test_two_processes_share_values(self, shared, server):
        shared.set("a", [1])
        code = "import sys, rrr.store.cache as c; print(c.RedisCache(sys.argv[1], timeout=10).get('a'))"
        out = subprocess.run([sys.executable, "-c", code, server.url], check=True, capture_output=True, text=True)
        assert out.stdout.strip() == "[1]"

    @pytest.mark.parametrize(("ttl", "ms"), [(None, 300_000), (2.5, 2500), (1e-9, 1), (1e9, 10**12)])
    def test_the_server_is_told_the_time_to_live(self, shared, admin, ttl, ms):
        with admin.monitor() as monitor:
            shared.set("a", 1, ttl=ttl)
            said = next(c["command"] for c in monitor.listen() if c["command"].startswith("SET "))
        assert said.endswith(f" PX {ms}")

    def test_a_value_is_gone_when_the_server_says_so(self, shared, admin):
        shared.set("a", 1)
        assert 0 < admin.pttl("rrr:a") <= 300_000
        admin.pexpireat("rrr:a", 1)
        assert shared.get("a") is None

    def test_values_are_json_with_a_version(self, shared, admin):
        shared.set("a", {"b": 1.5})
        assert json.loads(admin.get("rrr:a")) == {"version": rrr.__version__, "value": {"b": 1.5}}

    def test_another_version_is_a_miss_both_ways(self, server):
        old, new = RedisCache(server.url, version=1), RedisCache(server.url, version=2)
        old.set("a", "old")
        assert (old.get("a"), new.get("a")) == ("old", None)
        new.set("a", "new")
        assert (old.get("a"), new.get("a")) == (None, "new")

    @pytest.mark.parametrize(
        "poison",
        [b"", b"{", b"null", b"[]", b"7", b'"text"', b"{}", b'{"value": 1}', b'{"version": "0.0.1"}', b"\xff\xfe{\x00",
         b"\x80\x04K\x01.", b"[" * 200_000, b'{"version": "0", "value": 1}', b'{"version": null, "value": 1}',
         b"9" * 10_000, '{"version": "0.0.1", "value": 1}'.encode("utf-16"), b'{"version": {"a": []}, "value": 1}'],
        ids=lambda p: repr(p[:30]),
    )  # fmt: skip
    def test_bytes_that_are_not_ours_are_a_miss(self, server, admin, poison):
        cache = RedisCache(server.url, version="0.0.1")
        admin.set("rrr:a", poison)
        assert cache.get("a") is None
        assert cache.stats()["errors"] == 0
        cache.set("a", "good")
        assert cache.get("a") == "good"

    def test_another_type_under_our_key_is_a_miss_and_can_be_overwritten_and_deleted(self, shared, admin):
        def spoil():
            admin.flushall()
            admin.rpush("rrr:list", 1)
            admin.sadd("rrr:set", 1)
            admin.hset("rrr:hash", "a", 1)
            admin.zadd("rrr:zset", {"a": 1})
            admin.xadd("rrr:stream", {"a": 1})

        spoil()
        kinds = ("list", "set", "hash", "zset", "stream")
        assert [shared.get(kind) for kind in kinds] == [None] * 5
        assert shared.stats()["errors"] == 0
        for kind in kinds:
            shared.set(kind, kind)
        assert [shared.get(kind) for kind in kinds] == list(kinds)
        spoil()
        for kind in kinds:
            shared.delete(kind)
        assert admin.dbsize() == 0
        spoil()
        shared.clear()
        assert admin.dbsize() == 0

    def test_clear_leaves_the_keys_of_others(self, server, admin, clock):
        for key in ("other:a", "rrr", "rr:a", "Rrr:a", "a:rrr:b", "x*y:", "xay:b", "x*y?[z]\\:b"):
            admin.set(key, 1)
        mine, odd = RedisCache(server.url), RedisCache(server.url, prefix="x*y?[z]\\:")
        for i in range(3000):
            mine.set(f"{i}", i)
        odd.set("c", 1)
        mine.clear()
        odd.clear()
        assert {k.decode() for k in admin.keys()} == {"other:a", "rrr", "rr:a", "Rrr:a", "a:rrr:b", "x*y:", "xay:b"}

    def test_an_empty_prefix_is_refused_because_clear_would_delete_everything(self):
        with pytest.raises(ParameterError):
            RedisCache("redis://127.0.0.1", prefix="")

    def test_a_flush_by_somebody_else_is_a_miss(self, shared, admin):
        shared.set("a", 1)
        admin.flushall()
        assert shared.get("a") is None
        shared.set("a", 2)
        assert shared.get("a") == 2
        assert shared.stats()["errors"] == 0

    def test_connections_that_the_server_closed_are_opened_again(self, shared, admin):
        shared.set("a", 1)
        admin.client_kill_filter(_type="normal", skipme=True)
        assert shared.get("a") == 1
        assert shared.stats()["errors"] == 0

    def test_two_connections_are_enough_for_eight_threads(self, server, admin):
        before = admin.info("clients")["connected_clients"]
        cache = RedisCache(server.url, max_connections=2, timeout=5)
        cache.set("a", 1)
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda _: cache.get("a"), range(800))) == [1] * 800
        assert admin.info("clients")["connected_clients"] <= before + 2
        assert cache.stats()["errors"] == 0


class TestRedisInTrouble:
    def test_killed_it_is_missed_and_used_again_when_it_is_back(self, shared, server, clock):
        shared.set("a", 1)
        assert shared.get("a") == 1
        server.kill()
        made = []
        for n in range(5):
            assert cached(shared, "b", lambda n=n: made.append(n) or n) == n
            clock.now += 10
        assert made == [0, 1, 2, 3, 4]
        assert shared.get("a") is None
        shared.delete("a")
        shared.clear()
        stats = shared.stats()
        assert stats["degraded"] and stats["errors"] >= 5 and "refused" in stats["reason"]

        assert server.start()
        assert shared.get("b") is None  # left alone a little longer
        clock.now += 10
        assert shared.get("b") is None
        shared.set("b", 9)
        assert shared.get("b") == 9
        assert not shared.stats()["degraded"] and shared.stats()["reason"] == ""

    def test_killed_in_the_middle_of_eight_threads_nobody_sees_an_error_or_a_wrong_value(self, shared, server, clock):
        started, killed = threading.Barrier(9), threading.Event()

        def work(seed: int) -> None:
            draw, after = random.Random(seed), 0
            for n in range(50):
                shared.set(f"k{n % 10}", n % 10)
            started.wait()
            while after < 50:
                key = draw.randrange(10)
                if draw.random() < 0.3:
                    shared.set(f"k{key}", key)
                assert shared.get(f"k{key}") in (key, None)
                after += killed.is_set()

        with ThreadPoolExecutor(8) as pool:
            work_done = [pool.submit(work, seed) for seed in range(8)]
            started.wait()
            server.kill()
            killed.set()
            for done in work_done:
                done.result()
        assert shared.stats()["degraded"]
        assert server.start()
        clock.now += 10
        shared.set("a", 1)
        assert shared.get("a") == 1

    def test_after_an_error_it_is_left_alone_until_the_back_off_is_over(self, shared, server, clock):
        server.kill()
        for _ in range(100):
            shared.get("a")
            shared.set("a", 1)
            clock.now += 1 / 32  # 3.125 of 5 seconds in all
        assert shared.stats()["errors"] == 1
        clock.now += 2
        shared.get("a")
        assert shared.stats()["errors"] == 2

    def test_a_server_that_hangs_is_waited_for_once_and_not_long(self, shared, server, clock):
        shared.set("a", 1)
        with server.paused():
            start = time.monotonic()
            for _ in range(1000):
                assert shared.get("a") is None
            assert time.monotonic() - start < 5  # 1,000 waits would be 100 s
            assert shared.stats()["errors"] == 1
        clock.now += 10
        assert shared.get("a") == 1

    def test_a_server_that_hangs_at_a_first_connection_is_not_waited_for_long(self, server, clock):
        fresh = RedisCache(server.url, clock=clock, timeout=0.1)
        with server.paused():
            start = time.monotonic()
            assert fresh.get("a") is None
            assert time.monotonic() - start < 5
        clock.now += 10
        fresh.set("a", 1)
        assert fresh.get("a") == 1

    def test_when_the_back_off_is_over_one_thread_tries_for_all(self, shared, server, clock):
        with server.paused():
            shared.get("a")
            clock.now += 10
            together = threading.Barrier(8)

            def ask(_):
                together.wait()
                return shared.get("a")

            with ThreadPoolExecutor(8) as pool:
                assert list(pool.map(ask, range(8))) == [None] * 8
            assert shared.stats()["errors"] == 2

    @pytest.mark.parametrize("change", ["set", "delete", "clear"])
    @pytest.mark.parametrize("noticed", [True, False], ids=["in the back-off", "at the change"])
    def test_a_value_that_could_not_be_replaced_is_not_served_later(self, shared, server, clock, change, noticed):
        shared.set("a", "old")
        shared.set("b", "other")
        with server.paused():
            if noticed:
                shared.get("b")
            {"set": lambda: shared.set("a", "new"), "delete": lambda: shared.delete("a"), "clear": shared.clear}[
                change
            ]()
            assert shared.get("a") is None
        assert shared.get("a") is None
        clock.now += 10
        assert shared.get("a") is None
        assert shared.get("b") == (None if change == "clear" else "other")
        shared.set("a", "newest")
        assert shared.get("a") == "newest"

    def test_an_outage_with_very_many_writes_ends_with_a_clear(self, shared, server, admin, clock):
        shared.set("a", "old")
        admin.set("other", 1)
        with server.paused():
            for i in range(10_001):
                shared.set(f"{i}", i)
        clock.now += 10
        assert shared.get("a") is None
        assert admin.keys() == [b"other"]

    def test_a_failing_clean_up_is_tried_again(self, shared, server, admin, clock):
        shared.set("a", "old")
        with server.paused():
            shared.set("a", "new")
            for _ in range(3):
                clock.now += 10
                assert shared.get("b") is None
        clock.now += 10
        assert shared.get("a") is None
        assert admin.keys() == []

    def test_an_interrupted_call_leaves_the_cache_working(self, shared, clock, monkeypatch):
        shared.set("a", "old")

        def interrupt(*_, **__):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(redis.Redis, "set", interrupt)
            with pytest.raises(KeyboardInterrupt):
                shared.set("a", "new")
        clock.now += 10
        assert shared.get("a") is None
        shared.set("a", "newer")
        assert shared.get("a") == "newer"

    def test_an_answer_that_was_under_way_does_not_end_the_degraded_state(self, shared, clock, slow_mget):
        shared.set("a", 1)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(shared.get, "a")
            slow_mget.entered["rrr:a"].wait()
            with slow_mget.server.paused():
                shared.set("b", 1)
            slow_mget.leave["rrr:a"].set()
            assert answer.result() == 1
        assert shared.stats()["degraded"]

    def test_a_late_error_does_not_let_others_in_beside_the_one_that_tries(self, shared, clock, slow_mget):
        for key in "abc":
            shared.set(key, 1)
        with ThreadPoolExecutor(2) as pool:
            late = pool.submit(shared.get, "a")
            slow_mget.entered["rrr:a"].wait()
            with slow_mget.server.paused():
                shared.set("x", 1)
            clock.now += 10
            trying = pool.submit(shared.get, "b")
            slow_mget.entered["rrr:b"].wait()
            slow_mget.broken.add("rrr:a")
            slow_mget.leave["rrr:a"].set()
            assert late.result() is None
            clock.now += 10
            assert shared.get("c") is None
            slow_mget.leave["rrr:b"].set()
            assert trying.result() == 1
        assert shared.get("c") == 1
        assert shared.stats()["errors"] == 2

    def test_a_full_server_still_answers_what_it_has_and_never_an_old_value(self, shared, admin):
        shared.set("a", "old")
        shared.set("b", "kept")
        admin.config_set("maxmemory", "1")
        try:
            shared.set("a", "new")
            assert shared.stats()["degraded"] and "memory" in shared.stats()["reason"].lower()
            assert shared.get("a") is None
            assert shared.get("b") == "kept"
        finally:
            admin.config_set("maxmemory", "0")
        shared.set("a", "new")
        assert shared.get("a") == "new"
        assert shared.stats()["errors"] == 1 and not shared.stats()["degraded"]

    def test_a_server_that_may_only_be_read_serves_what_it_has(self, server, admin, clock):
        admin.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@read")
        try:
            reader = RedisCache(f"redis://reader:pw@127.0.0.1:{server.port}/0", clock=clock)
            RedisCache(server.url).set("a", 1)
            assert reader.get("a") == 1
            reader.set("b", 2)
            assert reader.stats()["degraded"]
            assert reader.get("b") is None
        finally:
            admin.execute_command("ACL", "DELUSER", "reader")

    def test_something_else_on_the_port_is_a_miss(self, clock):
        def greet(listener):
            for _ in range(3):
                with listener.accept()[0] as peer:
                    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
            done = pool.submit(greet, listener)
            cache = RedisCache(f"redis://127.0.0.1:{listener.getsockname()[1]}", clock=clock, timeout=2)
            while not done.done():
                assert cache.get("a") is None
                clock.now += 10
        assert cache.stats()["degraded"]

    def test_a_missing_unix_socket_is_a_miss(self, tmp_path):
        cache = RedisCache(f"unix://{tmp_path}/no.sock")
        assert cache.get("a") is None
        assert str(tmp_path) in repr(cache)


class TestSecrets:
    def test_the_password_is_never_shown(self, server, clock, capfd):
        wrong = RedisCache(f"redis://desk:wrong-horse@127.0.0.1:{server.port}/0", clock=clock)
        good = RedisCache(server.url, clock=clock)
        for cache in (wrong, good):
            cache.set("a", 1)
            cache.get("a")
        server.kill()
        clock.now += 10
        good.get("a")
        assert "AuthenticationError" in wrong.stats()["reason"]
        shown = f"{wrong!r}{wrong}{wrong.stats()}{good!r}{good.stats()}{capfd.readouterr()}"
        assert PASSWORD not in shown and "wrong-horse" not in shown and "desk" not in shown

    @pytest.mark.parametrize(
        "url",
        ["", "hunter2", "http://:hunter2@host", "redis://:hunter2@host:port", "redis://:hunter2@host:99999",
         "redis://:p@hunter2/word@host", "redis://:hunter2@host/0?nonsense=hunter2", "redis://:x@host/0?db=hunter2",
         "redis://:hunter2@host/zero", "redis://[hunter2", f"redis://{'hunter2' * 20}"],
    )  # fmt: skip
    def test_a_url_that_cannot_be_used_is_refused_at_once_and_not_repeated(self, url):
        with pytest.raises(ConfigError, match="the Redis URL cannot be used") as caught:
            RedisCache(url)
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None and caught.value.__suppress_context__

    def test_options_of_the_url_cannot_change_how_values_are_read(self, server):
        cache = RedisCache(f"{server.url}?decode_responses=true&protocol=3&socket_timeout=5&max_connections=3")
        cache.set("a", 1)
        assert cache.get("a") == 1


class TestOfTheProcess:
    def test_without_a_url_it_is_in_memory_and_opened_once(self, tmp_path):
        first, again = (get_cache(load_settings(tmp_path)) for _ in range(2))
        assert first is again and repr(first) == "MemoryCache(size=1024, ttl=300)"

    def test_with_a_url_it_is_in_redis_and_opened_once(self, server, tmp_path):
        asked = dict(redis_url=server.url, redis_max_connections=7)
        first, again = (get_cache(load_settings(tmp_path, **asked)) for _ in range(2))
        assert first is again and isinstance(first, RedisCache)
        assert get_cache(load_settings(tmp_path, **asked | {"redis_max_connections": 8})) is not first
        first.set("a", 1)
        assert first.get("a") == 1

    def test_it_follows_the_environment(self, tmp_path):
        code = (
            "import rrr.store.cache as c, sys; assert 'redis' not in sys.modules and 'pydantic' not in sys.modules;"
            "print(c.get_cache())"
        )
        env = {**os.environ, "REDIS_URL": "redis://:hunter2@127.0.0.1:1/3"}
        out = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True)
        assert out.stdout.strip() == "RedisCache(127.0.0.1:1, db=3, prefix='rrr:')"
