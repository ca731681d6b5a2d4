"""What requests must be like while a store is in trouble."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from harness import Site
from services import TIMEOUT

from wsgi_sessions import Record, SessionStore, clock

#: Seconds: the longest that a request may take whatever its store does.
LONGEST = 3.0


def new_record(id: str, payload: bytes = b"payload", expires: int = 0, **more: Any) -> Record:
    """Return a record that lives for an hour unless told otherwise."""
    return Record(id, payload, expires or clock.now() + 3_600_000, **more)


@contextmanager
def at_most(seconds: float = LONGEST) -> Iterator[None]:
    """See that the block takes no longer."""
    begun = time.monotonic()
    yield
    taken = time.monotonic() - begun
    assert taken <= seconds, f"it took {taken:.2f} seconds"


def assert_unavailable(response: Any) -> None:
    """See that an answer says: try again soon; and nothing about cookies."""
    assert response.status == 503
    assert response.header("Retry-After") is not None
    assert response.set_cookies == []


def assert_out(site: Site, visitor: Any) -> None:
    """See how a site answers whose store is gone: in time, and without the session's pages taking others along.

    :param visitor: one who has a session.
    """
    for session_page in (lambda: visitor.visit(len), lambda: visitor.set(late=1), lambda: site.visitor().set(new=1)):
        with at_most():
            assert_unavailable(session_page())
    with at_most(1.0):
        answer = visitor.visit()
    assert (answer.status, answer.set_cookies) == (200, [])


def payload_of(store: SessionStore, id: str) -> bytes | None:
    """Return what a store has under an id, None if it has nothing."""
    record = store.load(id)
    return None if record is None else record.payload


def in_background(work: Callable[[], Any]) -> Callable[[], Any]:
    """Begin it in a thread, and return what waits for its end and returns what it returned."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)

    def join() -> Any:
        pool.shutdown()
        return future.result(TIMEOUT)

    return join
