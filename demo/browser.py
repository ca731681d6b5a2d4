"""A very small browser: one server, one jar of cookies."""

from __future__ import annotations

from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse

# A request that takes longer than this, in seconds, hangs.
_TIMEOUT = 30.0


@dataclass
class Answer:
    """What came back.

    :param set_cookies: the values of the Set-Cookie headers.
    """

    status: int
    text: str
    headers: list[tuple[str, str]]
    set_cookies: list[str]

    def header(self, name: str) -> str | None:
        """Return the value of the first header of that name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass
class Browser:
    """Sends requests to a port of this machine and keeps the cookies that it is given.

    It keeps no attributes but an end in the past, and returns cookies over plain http, Secure or not.
    """

    port: int
    cookies: dict[str, str] = field(default_factory=dict)
    timeout: float = _TIMEOUT

    def get(self, path: str = "/", headers: dict[str, str] | None = None) -> Answer:
        """Send a GET request."""
        return self.request("GET", path, headers)

    def post(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        """Send a POST request with an empty body."""
        return self.request("POST", path, headers)

    def request(self, method: str, path: str, headers: dict[str, str] | None = None) -> Answer:
        """Send a request with the cookies of the jar, each time over a connection of its own.

        :raises OSError: if there is no server.
        :raises http.client.HTTPException: if there is no answer, or none that is HTTP.
        """
        connection = HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
        try:
            connection.request(
                method, path, headers={"Connection": "close", **self._cookie_header(), **(headers or {})}
            )
            with connection.getresponse() as response:
                answer = _read(response)
        finally:
            connection.close()
        for header in answer.set_cookies:
            self._keep(header)
        return answer

    def copy(self) -> Browser:
        """Return another browser with the same cookies: what a thief would have."""
        return Browser(self.port, dict(self.cookies), self.timeout)

    def _cookie_header(self) -> dict[str, str]:
        pairs = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {"Cookie": pairs} if pairs else {}

    def _keep(self, header: str) -> None:
        pair, *attributes = header.split(";")
        name, _, value = pair.partition("=")
        if any(attribute.strip().lower() == "max-age=0" for attribute in attributes):
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = value


def _read(response: HTTPResponse) -> Answer:
    headers = response.getheaders()
    set_cookies = [value for name, value in headers if name.lower() == "set-cookie"]
    return Answer(response.status, response.read().decode(), headers, set_cookies)
