from __future__ import annotations

import doctest
import threading
import time
from datetime import timedelta

import pytest

import wsgi_sessions.testing.clock
from wsgi_sessions import clock
from wsgi_sessions.testing import ReplacedClock


def test_it_starts_at_the_real_time() -> None:
    before = time.time_ns() // 1_000_000
    with ReplacedClock():
        now = clock.now()
    assert before <= now <= time.time_ns() // 1_000_000


def test_it_starts_at_a_given_moment_and_stands_still() -> None:
    with ReplacedClock(start=123_456):
        assert [clock.now() for _ in range(3)] == [123_456] * 3
        assert clock.monotonic() == clock.monotonic()


def test_advance_moves_both_clocks() -> None:
    with ReplacedClock(start=0) as replaced:
        before = clock.monotonic()
        replaced.advance(timedelta(minutes=1, milliseconds=1))
        assert clock.now() == 60_001
        assert clock.monotonic() - before == pytest.approx(60.001)


def test_advance_backwards_says_what_to_do_instead() -> None:
    with ReplacedClock() as replaced, pytest.raises(ValueError, match=r"set\(\)"):
        replaced.advance(timedelta(milliseconds=-1))


def test_set_forwards_lets_time_pass() -> None:
    with ReplacedClock(start=1_000) as replaced:
        before = clock.monotonic()
        replaced.set(3_000)
        assert clock.now() == 3_000
        assert clock.monotonic() - before == pytest.approx(2)


def test_set_backwards_moves_the_wall_clock_only() -> None:
    with ReplacedClock(start=5_000) as replaced:
        before = clock.monotonic()
        replaced.set(1_000)
        assert clock.now() == 1_000
        assert clock.monotonic() == before


def test_a_sleep_passes_without_a_wait() -> None:
    started = time.monotonic()
    with ReplacedClock(start=0):
        before = clock.monotonic()
        clock.sleep(3_600)
        assert clock.now() == 3_600_000
        assert clock.monotonic() - before == pytest.approx(3_600)
    assert time.monotonic() - started < 60


def test_many_short_sleeps_add_up() -> None:
    with ReplacedClock(start=0):
        for _ in range(10):
            clock.sleep(0.0005)
        assert clock.now() == 5


def test_no_sleep_of_many_threads_is_lost() -> None:
    def sleep() -> None:
        for _ in range(100):
            clock.sleep(0.001)

    with ReplacedClock(start=0):
        threads = [threading.Thread(target=sleep) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert clock.now() == 400


def test_the_real_clock_is_back_afterwards() -> None:
    real = (clock.now, clock.monotonic, clock.sleep)
    with ReplacedClock():
        assert clock.now != real[0]
    assert (clock.now, clock.monotonic, clock.sleep) == real


def test_the_real_clock_is_back_after_an_error() -> None:
    real = clock.now
    with pytest.raises(RuntimeError, match="of the test"):
        with ReplacedClock():
            raise RuntimeError("of the test")
    assert clock.now is real


def test_blocks_may_be_nested() -> None:
    with ReplacedClock(start=1):
        with ReplacedClock(start=2):
            assert clock.now() == 2
        assert clock.now() == 1


def test_one_clock_may_be_used_again_but_not_within_itself() -> None:
    replaced = ReplacedClock(start=1)
    with replaced, pytest.raises(RuntimeError, match="second one"):
        with replaced:
            pass
    with replaced:
        assert clock.now() == 1


def test_the_examples_in_its_documentation_run() -> None:
    assert doctest.testmod(wsgi_sessions.testing.clock).failed == 0
