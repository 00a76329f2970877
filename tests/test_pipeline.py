"Items go through stages in order, none is lost and none waits for ever; a slow listener loses the oldest and no one else does."

import asyncio
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrr.core.errors import DataError, ParameterError
from rrr.data.pipeline import Broadcast, Stage, run_pipeline, wait_for


def run(source, *stages, **options) -> dict:
    return asyncio.run(run_pipeline(source, *stages, **options))


def keep(into: list) -> Stage:
    return Stage("keep", lambda x: into.append(x) or [])


@settings(max_examples=30, deadline=None)
@given(items=st.lists(st.integers()), size=st.integers(1, 3), threads=st.booleans())
def test_every_item_passes_every_stage_once_and_in_order(items, size, threads):
    seen = []
    twice = Stage("twice", lambda x: [x, -x], thread=threads)
    counts = run(items, twice, keep(seen), size=size)
    assert seen == [y for x in items for y in (x, -x)]
    assert counts == {"source": len(items), "twice": 2 * len(items), "keep": 0}


def test_what_a_stage_kept_back_comes_at_the_end():
    held, seen = [], []
    run(range(5), Stage("hold", lambda x: held.append(x) or [], lambda: [sum(held)]), keep(seen))
    assert seen == [10]


def test_a_source_may_be_asynchronous():
    async def source():
        for k in range(3):
            yield k

    seen = []
    run(source(), keep(seen))
    assert seen == [0, 1, 2]


def test_a_full_queue_holds_the_source_back():
    made, taken, go = [], [], threading.Event()

    def source():
        for k in range(100):
            made.append(k)
            yield k

    def slow(x):
        if not taken:
            go.wait(10)
        taken.append(x)
        return []

    async def main():
        work = asyncio.create_task(run_pipeline(source(), Stage("slow", slow), size=2))
        while len(made) < 4:
            await asyncio.sleep(0)
        for _ in range(2000):
            await asyncio.sleep(0)
        ahead = len(made)
        go.set()
        await work
        return ahead

    assert asyncio.run(main()) <= 5 and taken == list(range(100))


@pytest.mark.parametrize("where", ["source", "stage", "end"])
def test_the_first_error_ends_all_and_is_the_pipelines(where):
    def source():
        yield 1
        if where == "source":
            raise DataError("bad source")

    def work(x):
        if where == "stage":
            raise DataError("bad stage")
        return [x]

    def end():
        raise DataError("bad end")

    with pytest.raises(DataError, match=f"bad {where}"):
        run(source(), Stage("work", work, end if where == "end" else list), keep([]))


def test_stages_of_one_name_and_queues_without_room_are_refused():
    for stages, size in (([keep([]), keep([])], 1), ([keep([])], 0)):
        with pytest.raises(ParameterError):
            run([1], *stages, size=size)


def test_it_can_be_waited_for_with_and_without_a_running_loop():
    async def answer():
        return 42

    async def fails():
        raise DataError("no")

    async def inside():
        return wait_for(answer())

    assert wait_for(answer()) == 42 and asyncio.run(inside()) == 42
    with pytest.raises(DataError, match="no"):
        wait_for(fails())


def test_a_slow_listener_loses_the_oldest_and_no_one_else_notices():
    news = Broadcast()
    with news.listen("market") as quick, news.listen("market", size=2) as slow, news.listen("trades") as other:
        for k in range(5):
            news.publish("market", k)
        assert quick.taken() == [0, 1, 2, 3, 4] and quick.lost == 0
        assert slow.taken() == [3, 4] and slow.lost == 3 and other.taken() == []
    news.publish("market", 5)
    assert quick.taken() == []
    with pytest.raises(ParameterError), news.listen("market", size=0):
        pass


def test_a_listener_in_a_loop_hears_what_threads_say_until_it_closes():
    news = Broadcast()

    async def main():
        heard = []
        with news.listen("market") as listener:

            async def hear():
                async for item in listener:
                    heard.append(item)

            task = asyncio.create_task(hear())
            await asyncio.to_thread(lambda: [news.publish("market", k) for k in range(100)])
            while len(heard) < 100:
                await asyncio.sleep(0)
        await task
        return heard

    assert asyncio.run(main()) == list(range(100))
