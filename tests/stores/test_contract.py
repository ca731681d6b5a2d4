"""Every store of the package passes the suite that stores of others are given; what is skipped names the attribute."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from backends import PLACES, Open

from wsgi_sessions import SessionStore
from wsgi_sessions.testing import StoreContract


@pytest.mark.parametrize("kind", PLACES)
class TestContract(StoreContract):
    open: Open

    @pytest.fixture(autouse=True)
    def _make_place(self, kind: str) -> Iterator[None]:
        with PLACES[kind]() as self.open:
            yield

    def make_store(self) -> SessionStore:
        return self.open()
