from pathlib import Path

import pytest

from wsgi_sessions.stores.file import FileStore
from wsgi_sessions.testing import StoreContract


class TestFileStoreContract(StoreContract):
    @pytest.fixture(autouse=True)
    def _make_directory(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "sessions"

    def make_store(self) -> FileStore:
        return FileStore(self.directory)
