"""The held response: PEP 3333 from both sides, without any session. P-rows: the protocol's rules, one by one."""

from __future__ import annotations

import gc
import io
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from typing import Any
from wsgiref.handlers import SimpleHandler
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest
from harness import TEXT, Exchange, Headers, call, garbage_of, make_environ, serve

from wsgi_sessions.response import HeldResponse


class Failure(Exception):
    """What another application answers."""


class AppError(Exception):
    """What passes through."""


class Held(HeldResponse, eq=False, kw_only=True):
    """Logs its steps, adds one header, and fails if it is told to."""

    log: list[str]
    failure: BaseException | None
    error_app: Any

    def before_head(self, status: str, headers: Headers, body_is_complete: bool) -> Headers:
        self.log.append("head")
        if self.failure is not None:
            raise self.failure
        if body_is_complete:
            self.log.append("end")
        return [*headers, ("X-Held", "yes")]

    def after_body(self) -> None:
        self.log.append("after_body")

    def end(self) -> None:
        self.log.append("end")

    def instead_of(self, error: Exception) -> Any:
        return self.error_app if isinstance(error, Failure) else None


class Middleware:
    """Holds the responses of an app.

    :param failure: raised when the head is about to leave.
    """

    def __init__(self, app: Callable[..., Any], failure: BaseException | None = None) -> None:
        self.app = app
        self.failure = failure
        self.log: list[str] = []
        self.replacements: list[Body] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        held = Held(environ, start_response, log=self.log, failure=self.failure, error_app=self.error_app)
        return held.run(self.app)

    def error_app(self, environ: dict[str, Any], start_response: Any) -> Body:
        start_response("503 Service Unavailable", list(TEXT))
        self.replacements.append(Body([b"sorry"]))
        return self.replacements[-1]


class Body:
    """An iterable whose iterator is another object, and which counts its closes."""

    def __init__(self, items: Any) -> None:
        self.items = items
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.items)

    def close(self) -> None:
        self.closed += 1


class SizedBody(Body):
    """The same, complete when it is returned."""

    def __len__(self) -> int:
        return len(self.items)


class IndexedBody:
    """Iterable only by the protocol before ``__iter__``."""

    def __getitem__(self, index: int) -> bytes:
        return [b"one", b"two"][index]


def answering(body: Any, status: str = "200 OK", headers: Headers | None = None) -> Callable[..., Any]:
    """Return an app that answers with this body."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(status, list(TEXT) if headers is None else headers)
        return body

    return app


def exc_info_of(error: Exception) -> Any:
    try:
        raise error
    except type(error):
        return sys.exc_info()


class TestCompleteBodies:
    @pytest.mark.parametrize("body", [[b"a", b"b"], (b"a", b"b"), [], SizedBody([b"a"])])
    def test_a_complete_body_is_returned_as_it_is_and_after_the_head(self, body: Any) -> None:
        """P-16."""
        middleware = Middleware(answering(body))
        exchange = Exchange(middleware, make_environ())
        assert exchange.body is body
        assert exchange.response is not None
        assert exchange.response.headers == [*TEXT, ("X-Held", "yes")]
        assert middleware.log == ["head", "end"]

    def test_a_one_item_list_gets_its_content_length_from_wsgiref(self) -> None:
        """P-16: the reference server sets it if the length is one."""
        output = io.BytesIO()
        handler = SimpleHandler(io.BytesIO(), output, io.StringIO(), make_environ())
        handler.run(Middleware(answering([b"hello"])))
        assert b"Content-Length: 5\r\n" in output.getvalue()

    def test_a_body_of_the_file_wrapper_class_is_returned_as_it_is(self) -> None:
        """P-19."""
        body = FileWrapper(io.BytesIO(b"file"))
        middleware = Middleware(answering(body))
        environ = make_environ(**{"wsgi.file_wrapper": FileWrapper})
        exchange = Exchange(middleware, environ)
        assert exchange.body is body
        assert middleware.log == ["head", "end"]
        assert environ["wsgi.file_wrapper"] is FileWrapper

    def test_a_file_that_a_file_wrapper_function_returns_is_returned_as_it_is(self) -> None:
        """P-19: uWSGI's file_wrapper is a function; it gives back the file, by whose identity it knows it."""

        def app(environ: dict[str, Any], start_response: Any) -> Any:
            start_response("200 OK", list(TEXT))
            return environ["wsgi.file_wrapper"](file, 4096)

        file = io.BytesIO(b"file")
        middleware = Middleware(app)
        exchange = Exchange(middleware, make_environ(**{"wsgi.file_wrapper": lambda file, size=8192: file}))
        assert exchange.body is file
        assert middleware.log == ["head", "end"]

    def test_an_object_from_a_file_wrapper_function_is_sent_whole_and_closed(self) -> None:
        """P-19: nobody can know such an object; it is a body as any other."""
        body = Body([b"fi", b"le"])
        environ = make_environ(**{"wsgi.file_wrapper": lambda file, size=8192: body})
        exchange = Exchange(Middleware(answering(body)), environ)
        assert exchange.response is None  # what it does until its first item counts
        assert exchange.finish().body == b"file"
        assert body.closed == 1

    def test_a_complete_body_without_close_gets_none(self) -> None:
        """P-18."""
        exchange = Exchange(Middleware(answering([b"a"])), make_environ())
        assert not hasattr(exchange.body, "close")

    def test_a_list_without_start_response_is_left_for_the_server_to_refuse(self) -> None:
        """P-26."""
        middleware = Middleware(lambda environ, start_response: [b"a"])
        exchange = Exchange(middleware, make_environ())
        with pytest.raises(AssertionError, match="before start_response"):
            exchange.next()
        exchange.close()
        assert middleware.log == ["end"]

    def test_none_as_a_body_is_left_for_the_server_to_refuse(self) -> None:
        """P-26."""
        middleware = Middleware(answering(None))
        exchange = Exchange(middleware, make_environ())
        with pytest.raises(TypeError, match="not iterable"):
            exchange.next()
        exchange.close()
        assert "after_body" not in middleware.log


class TestStartResponse:
    def test_it_takes_two_arguments_three_and_none(self) -> None:
        """P-01."""

        def app(environ: dict[str, Any], start_response: Any, /) -> list[bytes]:
            start_response("200 OK", list(TEXT), None)
            return [b"ok"]

        assert call(Middleware(app)).body == b"ok"
        assert call(Middleware(answering([b"ok"]))).body == b"ok"

    def test_it_returns_a_callable_that_writes(self) -> None:
        """P-06."""
        returned = []

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            returned.append(start_response("200 OK", list(TEXT)))
            return []

        call(Middleware(app))
        assert callable(returned[0])

    def test_a_second_call_without_exc_info_is_an_error(self) -> None:
        """P-09."""

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("200 OK", list(TEXT))
            start_response("404 Not Found", list(TEXT))
            return []

        with pytest.raises(AssertionError, match="called twice"):
            call(Middleware(app))

    def test_exc_info_before_the_head_replaces_it(self) -> None:
        """P-09: nothing of the first one remains, and the server hears of one only."""

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("200 OK", [*TEXT, ("X-Stale", "yes")])
            try:
                raise AppError
            except AppError:
                start_response("500 Oops", list(TEXT), sys.exc_info())
            return [b"oops"]

        middleware = Middleware(app)
        exchange = Exchange(middleware, make_environ())
        response = exchange.finish()
        assert (response.status, response.headers) == (500, [*TEXT, ("X-Held", "yes")])
        assert exchange.head_calls == 1
        assert middleware.log.count("head") == 1

    def test_exc_info_after_data_raises_the_error_itself(self) -> None:
        """P-10: the server does, with its traceback, and nothing traps it."""
        error = AppError()

        def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", list(TEXT))
            yield b"first"
            try:
                raise error
            except AppError:
                start_response("500 Oops", list(TEXT), sys.exc_info())
            yield b"never"

        middleware = Middleware(app)
        exchange = Exchange(middleware, make_environ())
        exchange.next()
        with pytest.raises(AppError) as raised:
            exchange.next()
        exchange.close()
        assert raised.value is error
        assert "app" in [entry.name for entry in raised.traceback]
        assert exchange.response is not None
        assert (exchange.response.status, exchange.response.body) == (200, b"first")
        assert "after_body" not in middleware.log

    def test_exc_info_after_a_head_without_data_is_the_servers_to_decide(self) -> None:
        """P-10: an empty item has released the head, but the server may not have transmitted it yet."""

        def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", list(TEXT))
            yield b""
            start_response("500 Oops", list(TEXT), exc_info_of(AppError()))
            yield b"oops"

        exchange = Exchange(Middleware(app), make_environ())
        assert exchange.finish().status == 500
        assert exchange.head_calls == 2

    @pytest.mark.parametrize("late", [False, True])
    def test_no_reference_to_exc_info_is_kept(self, late: bool) -> None:
        """P-11: its traceback holds our frame; with a reference back only the garbage collector would free it."""
        witness: list[weakref.ref[Any]] = []

        class Marker:
            pass

        def fail() -> None:
            marker = Marker()
            witness.append(weakref.ref(marker))
            raise AppError

        def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", list(TEXT))
            if late:
                yield b"first"
            try:
                fail()
            except AppError:
                start_response("500 Oops", list(TEXT), sys.exc_info())
            yield b"oops"

        middleware = Middleware(app)
        gc.collect()
        gc.disable()
        try:
            try:
                exchange = Exchange(middleware, make_environ())
                exchange.finish()
            except AppError:
                pass
            assert witness[0]() is None or late
            del exchange
            assert witness[0]() is None
        finally:
            gc.enable()


class TestWrite:
    def test_the_head_leaves_with_the_first_write_even_of_nothing(self) -> None:
        """P-08, P-12."""
        seen: list[list[str]] = []

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            write = start_response("200 OK", list(TEXT))
            seen.append(list(middleware.log))
            write(b"")
            seen.append(list(middleware.log))
            write(b"a")
            seen.append(list(middleware.log))
            return []

        middleware = Middleware(app)
        assert call(middleware).chunks == [("write", b""), ("write", b"a")]
        assert seen == [[], ["head"], ["head"]]
        assert middleware.log == ["head", "after_body", "end"]

    def test_writes_come_before_a_list_each_by_its_own_way(self) -> None:
        """P-06, P-07; P-16: and the list is still the very list."""
        body = [b"b", b"c"]

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("200 OK", list(TEXT))(b"a")
            return body

        middleware = Middleware(app)
        exchange = Exchange(middleware, make_environ())
        assert exchange.body is body
        response = exchange.finish()
        assert response.chunks == [("write", b"a"), ("item", b"b"), ("item", b"c")]
        assert response.header("X-Held") == "yes"

    def test_writes_come_before_a_generator(self) -> None:
        """P-06, P-07."""

        def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", list(TEXT))(b"a")
            return (item for item in [b"b", b"c"])

        middleware = Middleware(app)
        assert call(middleware).chunks == [("write", b"a"), ("item", b"b"), ("item", b"c")]
        assert middleware.log == ["head", "after_body", "end"]

    def test_writes_inside_a_generator_keep_their_place(self) -> None:
        """P-07, P-13."""

        def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            write = start_response("200 OK", list(TEXT))
            write(b"a")
            yield b"b"
            write(b"c")
            yield b"d"

        response = call(Middleware(app))
        assert response.chunks == [("write", b"a"), ("item", b"b"), ("write", b"c"), ("item", b"d")]
        assert response.header("X-Held") == "yes"

    def test_items_are_never_sent_by_write(self) -> None:
        """P-07."""
        response = call(Middleware(answering(Body([b"a", b"b"]))))
        assert response.chunks == [("item", b"a"), ("item", b"b")]

    def test_a_write_on_a_broken_connection_raises_what_the_server_raises(self) -> None:
        """T-74: and nothing counts as the end of a whole body."""

        def start_response(status: str, headers: Headers, exc_info: Any = None, /) -> Any:
            def write(data: bytes) -> None:
                raise BrokenPipeError

            return write

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("200 OK", list(TEXT))(b"a")
            return []

        middleware = Middleware(app)
        with pytest.raises(BrokenPipeError):
            middleware(make_environ(), start_response)
        assert middleware.log == ["head", "end"]


class TestBodiesThatAreStillToBeProduced:
    def test_nothing_is_read_ahead(self) -> None:
        """P-14: one item out for each item in, empty ones too, and the next is asked for only when it is wanted."""
        produced: list[bytes] = []

        def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", list(TEXT))
            for item in (b"1", b"", b"2"):
                produced.append(item)
                yield item

        exchange = Exchange(Middleware(app), make_environ())
        assert produced == []
        for expected in ([b"1"], [b"1", b""], [b"1", b"", b"2"]):
            assert exchange.next() == expected[-1]
            assert produced == expected
        assert exchange.finish().chunks == [("item", b"1"), ("item", b""), ("item", b"2")]

    def test_an_infinite_body_is_returned_at_once(self) -> None:
        """P-15."""
        body = Body(b"%d" % number for number in count())
        exchange = Exchange(Middleware(answering(body)), make_environ())
        assert [exchange.next(), exchange.next()] == [b"0", b"1"]
        exchange.close()
        assert body.closed == 1

    @pytest.mark.parametrize("first", [b"", b"a"])
    def test_the_head_leaves_before_the_first_item_even_an_empty_one(self, first: bytes) -> None:
        """P-12: gunicorn sends what head it has with the first item; the Exchange refuses data before one."""
        middleware = Middleware(answering(Body([first, b"b"])))
        exchange = Exchange(middleware, make_environ())
        assert exchange.response is None
        exchange.next()
        assert exchange.response is not None
        assert middleware.log == ["head"]

    def test_start_response_may_be_called_with_the_first_item(self) -> None:
        """P-13."""

        def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", list(TEXT))
            yield b"a"

        response = call(Middleware(app))
        assert (response.body, response.header("X-Held")) == (b"a", "yes")

    def test_a_sized_body_may_call_start_response_when_it_is_iterated(self) -> None:
        """P-13."""

        class Late(SizedBody):
            def __iter__(self) -> Iterator[bytes]:
                self.start_response("200 OK", list(TEXT))
                return super().__iter__()

        def app(environ: dict[str, Any], start_response: Any) -> Late:
            body.start_response = start_response
            return body

        body = Late([b"a"])
        response = call(Middleware(app))
        assert (response.body, response.header("X-Held"), body.closed) == (b"a", "yes", 1)

    def test_a_generator_that_never_calls_start_response_is_left_for_the_server_to_refuse(self) -> None:
        """P-26."""
        exchange = Exchange(Middleware(lambda environ, start_response: iter([b"a"])), make_environ())
        with pytest.raises(AssertionError, match="before start_response"):
            exchange.next()

    def test_a_body_with_getitem_only_is_iterated(self) -> None:
        """P-20."""
        assert call(Middleware(answering(IndexedBody()))).body == b"onetwo"

    def test_the_iterable_is_closed_and_not_its_iterator(self) -> None:
        """P-17."""

        def items() -> Iterator[bytes]:
            yield b"a"

        iterator = items()
        body = Body(iterator)
        call(Middleware(answering(body)))
        assert body.closed == 1

    def test_items_that_are_no_bytes_are_passed_for_the_server_to_refuse(self) -> None:
        """P-21."""
        body = Middleware(answering(Body(["text"])))(make_environ(), lambda *arguments: None)
        assert list(body) == ["text"]

    @pytest.mark.parametrize("empty", [list, tuple, lambda: iter([]), lambda: Body([]), lambda: SizedBody([])])
    @pytest.mark.parametrize("status", ["200 OK", "204 No Content", "304 Not Modified"])
    def test_an_empty_body_releases_the_head(self, empty: Callable[[], Any], status: str) -> None:
        """P-25."""
        response = call(Middleware(answering(empty(), status, [])))
        assert (response.status, response.headers, response.chunks) == (int(status[:3]), [("X-Held", "yes")], [])

    @pytest.mark.parametrize("empty", [list, lambda: iter([])])
    def test_the_answer_to_head_has_the_headers(self, empty: Callable[[], Any]) -> None:
        """P-25."""
        response = call(Middleware(answering(empty())), "HEAD")
        assert response.headers == [*TEXT, ("X-Held", "yes")]

    def test_what_the_checkers_on_both_sides_see_is_right(self) -> None:
        """P-12, P-14, P-17: wsgiref.validate around and inside."""

        def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", list(TEXT))
            yield b"a"
            yield b""
            yield b"b"

        assert call(validator(Middleware(validator(app)))).body == b"ab"


class TestClose:
    def test_it_comes_once_at_the_normal_end(self) -> None:
        """P-17."""
        body = Body([b"a", b"b"])
        middleware = Middleware(answering(body))
        exchange = Exchange(middleware, make_environ())
        exchange.finish()
        assert body.closed == 1
        assert middleware.log == ["head", "after_body", "end"]

    def test_a_second_close_by_the_server_does_nothing(self) -> None:
        """P-18."""
        body = Body([b"a"])
        middleware = Middleware(answering(body))
        exchange = Exchange(middleware, make_environ())
        exchange.finish()
        exchange.close()
        assert body.closed == 1
        assert middleware.log == ["head", "after_body", "end"]

    def test_it_comes_once_after_an_error_in_the_body(self) -> None:
        """P-17: what was done while it was sent is given up."""

        def items() -> Iterator[bytes]:
            yield b"a"
            raise AppError

        body = Body(items())
        middleware = Middleware(answering(body))
        with pytest.raises(AppError):
            call(middleware)
        assert body.closed == 1
        assert middleware.log == ["head", "end"]

    @pytest.mark.parametrize("read", [0, 1])
    def test_it_comes_once_when_the_client_disconnects(self, read: int) -> None:
        """P-17, T-74: what was done before that counts, if the head is out."""
        body = Body([b"a", b"b"])
        middleware = Middleware(answering(body))
        exchange = Exchange(middleware, make_environ())
        for _ in range(read):
            exchange.next()
        exchange.close()
        assert body.closed == 1
        assert middleware.log == (["head", "after_body", "end"] if read else ["end"])

    def test_an_error_in_close_passes_and_the_body_counts_as_failed(self) -> None:
        """P-10, P-17."""

        class Failing(Body):
            def close(self) -> None:
                raise AppError

        middleware = Middleware(answering(Failing([b"a"])))
        with pytest.raises(AppError):
            call(middleware)
        assert middleware.log == ["head", "end"]

    @pytest.mark.parametrize("kind", [Body, SizedBody])
    def test_it_comes_once_when_the_head_fails(self, kind: type[Body]) -> None:
        """P-17, T-54: an error that no other application answers."""
        body = kind([b"a"])
        middleware = Middleware(answering(body), AppError())
        with pytest.raises(AppError):
            call(middleware)
        assert body.closed == 1
        assert middleware.log == ["head", "end"]

    @pytest.mark.parametrize("kind", [Body, SizedBody])
    def test_it_comes_once_when_another_response_goes_out(self, kind: type[Body]) -> None:
        """P-17, T-54: for both bodies."""
        body = kind([b"a"])
        middleware = Middleware(answering(body), Failure())
        assert call(middleware).body == b"sorry"
        assert body.closed == 1
        assert middleware.replacements[0].closed == 1

    def test_a_generators_finally_runs_before_the_end(self) -> None:
        """P-17, P-30: what it does there is part of the response."""

        def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", list(TEXT))
            try:
                yield b"a"
                yield b"b"
            finally:
                middleware.log.append("finally")

        middleware = Middleware(app)
        exchange = Exchange(middleware, make_environ())
        exchange.next()
        exchange.close()
        assert middleware.log == ["head", "finally", "after_body", "end"]


class TestErrors:
    def test_an_error_before_the_head_is_the_apps_own(self) -> None:
        """P-26: the very object, its traceback ending in the app."""
        error = AppError()

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("200 OK", list(TEXT))
            raise error

        middleware = Middleware(app)
        with pytest.raises(AppError) as raised:
            call(middleware)
        assert raised.value is error
        assert raised.traceback[-1].name == "app"
        assert middleware.log == ["end"]

    def test_an_error_in_the_first_item_is_the_apps_own(self) -> None:
        """P-26."""
        error = AppError()

        def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", list(TEXT))
            raise error
            yield b""

        middleware = Middleware(app)
        with pytest.raises(AppError) as raised:
            call(middleware)
        assert raised.value is error
        assert raised.traceback[-1].name == "app"
        assert middleware.log == ["end"]

    @pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
    @pytest.mark.parametrize("position", ["app", "item", "head", "head of a generator"])
    def test_what_is_no_exception_passes(self, kind: type[BaseException], position: str) -> None:
        """P-26."""
        error = kind()

        def fail(*arguments: Any) -> Any:
            raise error

        def failing() -> Iterator[bytes]:
            raise error
            yield b""

        body = SizedBody([])
        middleware = {
            "app": Middleware(fail),
            "item": Middleware(answering(Body(failing()))),
            "head": Middleware(answering(body), error),
            "head of a generator": Middleware(answering(Body([b"a"])), error),
        }[position]
        with pytest.raises(kind) as raised:
            call(middleware)
        assert raised.value is error
        assert middleware.log[-1] == "end"
        assert middleware.replacements == []
        assert body.closed == (position == "head")

    @pytest.mark.parametrize("kind", [Body, SizedBody])
    def test_an_error_of_the_server_at_the_head_passes(self, kind: type[Body]) -> None:
        """P-10: and no other response is tried, for the server has seen this one."""

        def start_response(*arguments: Any) -> Any:
            raise Failure

        body = kind([b"a"])
        middleware = Middleware(answering(body))

        def run() -> None:
            with closing(middleware(make_environ(), start_response)) as answer:
                list(answer)

        with pytest.raises(Failure):
            run()
        assert body.closed == 1
        assert middleware.replacements == []
        assert "after_body" not in middleware.log


class TestReplacement:
    """T-54: another application answers, whatever position the failure came in."""

    def assert_replaced(self, middleware: Middleware) -> None:
        exchange = Exchange(middleware, make_environ())
        response = exchange.finish()
        assert (response.status, response.headers, response.body) == (503, TEXT, b"sorry")
        assert exchange.head_calls == 1
        assert [replacement.closed for replacement in middleware.replacements] == [1]
        assert "after_body" not in middleware.log
        assert middleware.log[-1] == "end"

    def test_when_the_head_of_a_list_fails(self) -> None:
        """T-54."""
        self.assert_replaced(Middleware(answering([b"a"], headers=[("X-App", "yes")]), Failure()))

    def test_when_the_head_of_a_generator_fails_at_its_first_item(self) -> None:
        """T-54."""
        body = Body([b"a", b"b"])
        self.assert_replaced(Middleware(answering(body), Failure()))
        assert body.closed == 1

    def test_when_the_head_of_a_generator_fails_at_its_end(self) -> None:
        """T-54."""
        body = Body([])
        self.assert_replaced(Middleware(answering(body), Failure()))
        assert body.closed == 1

    def test_when_the_app_raises(self) -> None:
        """T-54."""

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("200 OK", [("X-App", "yes")])
            raise Failure

        self.assert_replaced(Middleware(app))

    def test_when_the_first_item_raises(self) -> None:
        """T-54."""

        def items() -> Iterator[bytes]:
            raise Failure
            yield b""

        body = Body(items())
        self.assert_replaced(Middleware(answering(body)))
        assert body.closed == 1

    @pytest.mark.parametrize("rest", [[], [b"rest"], Body([]), Body([b"rest", b"more"])])
    def test_when_the_head_fails_in_write_and_later_writes_are_dropped(self, rest: Any) -> None:
        """T-54, P-08."""

        def app(environ: dict[str, Any], start_response: Any) -> Any:
            write = start_response("200 OK", [("X-App", "yes")])
            write(b"a")
            write(b"b")
            return rest

        middleware = Middleware(app, Failure())
        self.assert_replaced(middleware)
        assert middleware.log.count("head") == 1
        assert getattr(rest, "closed", 1) == 1

    def test_when_the_head_fails_in_a_write_inside_a_generator(self) -> None:
        """T-54."""

        def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            write = start_response("200 OK", [("X-App", "yes")])
            write(b"a")
            yield b"b"
            steps.append("never")

        steps: list[str] = []
        self.assert_replaced(Middleware(app, Failure()))
        assert steps == []

    def test_start_response_with_exc_info_after_it_raises_that_error(self) -> None:
        """P-10: the head of the other response is out."""

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("200 OK", list(TEXT))(b"a")
            start_response("500 Oops", list(TEXT), exc_info_of(AppError()))
            return [b"oops"]

        middleware = Middleware(app, Failure())
        with pytest.raises(AppError):
            call(middleware)
        assert middleware.log[-1] == "end"

    def test_a_replacement_is_closed_when_the_app_raises_after_it(self) -> None:
        """P-17: its body was never handed to the server, which could not close it."""

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("200 OK", list(TEXT))(b"a")
            raise AppError

        middleware = Middleware(app, Failure())
        with pytest.raises(AppError):
            call(middleware)
        assert [replacement.closed for replacement in middleware.replacements] == [1]

    def test_a_replacement_is_closed_when_the_server_reads_none_of_it(self) -> None:
        """P-17: the client went away between the write and the first item."""

        def app(environ: dict[str, Any], start_response: Any) -> Body:
            start_response("200 OK", list(TEXT))(b"a")
            return body

        body = Body([b"b"])
        middleware = Middleware(app, Failure())
        Exchange(middleware, make_environ()).close()
        assert body.closed == 1
        assert [replacement.closed for replacement in middleware.replacements] == [1]
        assert middleware.log == ["head", "end"]

    def test_a_failure_after_the_head_passes(self) -> None:
        """P-10: one response cannot become another half way."""

        def items() -> Iterator[bytes]:
            yield b"a"
            raise Failure

        body = Body(items())
        middleware = Middleware(answering(body))
        with pytest.raises(Failure):
            call(middleware)
        assert body.closed == 1
        assert middleware.replacements == []

    def test_an_error_of_the_replacement_passes_and_the_response_ends(self) -> None:
        """T-54."""

        class Broken(Middleware):
            def error_app(self, environ: dict[str, Any], start_response: Any) -> Body:
                raise AppError

        body = Body([b"a"])
        middleware = Broken(answering(body), Failure())
        with pytest.raises(AppError):
            call(middleware)
        assert body.closed == 1
        assert middleware.log[-1] == "end"


class TestHeaders:
    def test_the_apps_list_is_neither_changed_nor_replaced(self) -> None:
        """P-04."""
        headers = list(TEXT)
        middleware = Middleware(answering([], headers=headers))
        for _ in range(3):
            assert call(middleware).headers == [*TEXT, ("X-Held", "yes")]
        assert headers == TEXT

    def test_changes_to_the_list_until_the_head_leaves_count(self) -> None:
        """P-12: as they do on servers that hold the head."""

        def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            headers = list(TEXT)
            start_response("200 OK", headers)
            headers.append(("X-Late", "yes"))
            yield b"a"

        assert call(Middleware(app)).header("X-Late") == "yes"


class TestReferences:
    @pytest.mark.parametrize("body", [[b"a"], Body([b"a"]), iter([b"a"])])
    @pytest.mark.parametrize("failure", [None, Failure, AppError])
    def test_a_response_leaves_nothing_for_the_garbage_collector(self, body: Any, failure: Any) -> None:
        """P-11."""

        middleware = Middleware(answering(body), failure)
        assert garbage_of(lambda: serve(middleware, make_environ())) == 0

    def test_its_repr_shows_nothing_of_the_request(self) -> None:
        """T-72: debuggers show an app's start_response, which is a method of it."""
        held = HeldResponse(make_environ(HTTP_COOKIE="id=secret"), lambda *arguments: None)
        held.start_response("200 OK", list(TEXT))
        assert repr(held) == "<HeldResponse '200 OK'>"
        assert "secret" not in repr(held.start_response)

    def test_the_base_class_decides_nothing(self) -> None:
        """Each decision is the subclass's; a forgotten one is loud."""
        held = HeldResponse(make_environ(), lambda *arguments: None)
        for decide in (
            lambda: held.before_head("200 OK", [], True),
            held.after_body,
            held.end,
            lambda: held.instead_of(AppError()),
        ):
            with pytest.raises(NotImplementedError):
                decide()
