"""Beaker: middleware around the plain pages, which call save() as its documentation has it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from beaker.middleware import SessionMiddleware

from benchmarks import systems
from benchmarks.driver import Environ
from benchmarks.engines.peer import Peer
from benchmarks.payload import small
from benchmarks.systems import Application, System

_SMALL = small()


def peer(kind: str, url: str, folder: Path) -> Peer:
    """Return it over one of its containers; its lock files go below a folder."""
    options = {
        "session.type": kind,
        "session.url": url,
        "session.data_dir": str(folder / "beaker"),
        "session.key": "id",
    }
    system = System("Beaker", lambda app: SessionMiddleware(app, options), lambda environ: environ["beaker.session"])
    pages: dict[str, Application] = {"bare": systems.page}
    for name, page in {"read": systems.reading(system), "write": _write, "create": _create}.items():
        pages[name] = system.wrap(page)
    return Peer(system.name, pages)


def _write(environ: Environ, start_response: Any) -> Iterable[bytes]:
    session = environ["beaker.session"]
    session["counter"] = session["counter"] + 1
    session.save()
    return systems.page(environ, start_response)


def _create(environ: Environ, start_response: Any) -> Iterable[bytes]:
    session = environ["beaker.session"]
    session.update(_SMALL)
    session.save()
    return systems.page(environ, start_response)
