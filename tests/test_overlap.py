"""Threads beside the main one: order, bounds, errors, and none left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from stmask.overlap import Stage, read_ahead


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


def test_items_come_in_order_from_another_thread() -> None:
    def numbers() -> Iterator[tuple[int, int]]:
        for i in range(20):
            yield i, threading.get_ident()

    read = list(read_ahead(numbers(), most=3, name="test"))
    assert [i for i, _ in read] == list(range(20))
    assert threading.get_ident() not in {thread for _, thread in read}
    assert list(read_ahead([], most=3, name="test")) == []


def test_no_more_is_read_ahead_than_allowed() -> None:
    taken: list[int] = []
    closed: list[bool] = []

    def numbers() -> Iterator[int]:
        try:
            for i in range(100):
                taken.append(i)
                yield i
        finally:
            closed.append(True)

    read = read_ahead(numbers(), most=2, name="test")
    for i in range(5):
        assert next(read) == i
        assert len(taken) <= i + 4
    read.close()
    assert closed
    assert len(taken) < 10


def test_an_error_comes_after_the_items_before_it() -> None:
    def numbers() -> Iterator[int]:
        yield from range(3)
        raise OSError("broken")

    got = []
    with pytest.raises(OSError, match="broken"):
        for i in read_ahead(numbers(), most=5, name="test"):
            got.append(i)
    assert got == [0, 1, 2]


def test_a_stage_does_all_in_order_and_in_one_thread() -> None:
    done: list[tuple[int, int, int]] = []
    threads = torch.get_num_threads()
    with Stage("test") as stage:
        for i in range(20):
            stage.do(lambda i=i: done.append((i, threading.get_ident(), torch.get_num_threads())))  # type: ignore[misc]
        assert torch.get_num_threads() == threads
    assert [i for i, _, _ in done] == list(range(20))
    assert len({thread for _, thread, _ in done} - {threading.get_ident()}) == 1
    assert {n for _, _, n in done} == {1}


def test_who_gives_a_stage_too_much_waits() -> None:
    go = threading.Event()
    given: list[int] = []
    with Stage("test", most=2) as stage:

        def give() -> None:
            for i in range(10):
                stage.do(lambda: assert_(go.wait(30)))
                given.append(i)

        giver = threading.Thread(target=give)
        giver.start()
        time.sleep(0.2)
        assert len(given) == 3  # one is being done, two wait
        go.set()
        giver.join()
    assert len(given) == 10


def assert_(value: bool) -> None:
    assert value


def fail(what: BaseException) -> None:
    raise what


def test_the_first_error_of_a_stage_is_raised_and_what_waits_is_left_out() -> None:
    go = threading.Event()
    done: list[int] = []

    def first() -> None:
        go.wait(30)
        raise OSError("first")

    with pytest.raises(OSError, match="first"), Stage("test", most=5) as stage:
        stage.do(first)
        stage.do(lambda: fail(OSError("second")))
        go.set()
        for _ in range(1000):
            time.sleep(0.001)
            stage.do(lambda: done.append(1))
    assert len(done) < 10


def test_what_was_given_before_an_error_elsewhere_comes_first() -> None:
    done: list[int] = []
    with pytest.raises(ValueError, match="elsewhere"), Stage("test") as stage:
        stage.do(lambda: done.append(1))
        fail(ValueError("elsewhere"))
    assert done == [1]
    with pytest.raises(OSError, match="before"), Stage("test") as stage:
        stage.do(lambda: (time.sleep(0.05), fail(OSError("before")))[0])
        fail(ValueError("elsewhere"))


def test_an_interruption_waits_for_nothing_but_what_is_being_done() -> None:
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt), Stage("test", most=50) as stage:
        stage.do(lambda: time.sleep(0.1))
        for _ in range(40):
            stage.do(lambda: done.append(1))
        fail(KeyboardInterrupt())
    assert not done
