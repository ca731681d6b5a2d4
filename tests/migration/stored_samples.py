"""What the tests of Django, Werkzeug, CherryPy and Bottle have in common."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from flask_pyramid_samples import JSON, RICH, SAMPLES

from wsgi_sessions.legacy import LegacyError, Reason
from wsgi_sessions.migration.base import Source

#: What each data set reads back to.
DATA: dict[str, Any] = {
    "json": JSON,
    "rich": RICH,
    "rich-naive": {key: value for key, value in RICH.items() if getattr(value, "tzinfo", None) is None},
    "small": {"user_id": 7},
}


def samples(*names: str) -> list[dict[str, Any]]:
    return [entry for name in names for entry in json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))]


def refused(source: Source, cookie: str) -> LegacyError:
    """Return the error with which a cookie is refused; it does not hold the cookie."""
    with pytest.raises(LegacyError) as caught:
        source.open(cookie)
    assert len(cookie) < 20 or cookie not in repr(caught.value)
    return caught.value


def outcome(source: Source, cookie: str) -> Reason | None:
    """Return why a cookie is refused; None if it is read."""
    try:
        source.open(cookie)
    except LegacyError as error:
        return error.reason
    return None


def place(directory: Path, name: str, contents: bytes, at: float) -> Path:
    """Write a file as if it had been written at a time, Unix seconds."""
    path = directory / name
    path.write_bytes(contents)
    os.utime(path, (at, at))
    return path


def planted(directory: Path, name: str) -> list[str]:
    """Put what is no file there under names of sessions, and return what stands for ``%s`` in those.

    :param name: with one ``%s`` for 40 hex digits.
    """
    (directory / "elsewhere").write_bytes(b"\x80\x04}\x94\x8c\x01k\x94K\x01s.")
    ids = [digit * 40 for digit in "1234"]
    (directory / (name % ids[0])).symlink_to(directory / "elsewhere")
    os.mkfifo(directory / (name % ids[1]))
    (directory / (name % ids[2])).mkdir()
    os.mknod(directory / (name % ids[3]), stat.S_IFSOCK | 0o600)
    return ids
