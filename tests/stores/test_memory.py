from wsgi_sessions.stores.memory import MemoryStore
from wsgi_sessions.testing import StoreContract


class TestMemoryStoreContract(StoreContract):
    def make_store(self) -> MemoryStore:
        return MemoryStore()
