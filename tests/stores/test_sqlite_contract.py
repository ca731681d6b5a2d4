from pathlib import Path

import pytest

from wsgi_sessions.stores.sqlite import SQLiteStore
from wsgi_sessions.testing import StoreContract


class TestSQLiteStoreContract(StoreContract):
    @pytest.fixture(autouse=True)
    def _make_path(self, tmp_path: Path) -> None:
        self.path = tmp_path / "sessions.db"

    def make_store(self) -> SQLiteStore:
        return SQLiteStore(self.path)
