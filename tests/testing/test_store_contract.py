"""The suite finds what is wrong with a store, and accepts what is right."""

from __future__ import annotations

import functools
import subprocess
import sys
import unittest
from pathlib import Path

import pytest
from broken_stores import FOUND_BY
from one_file_store import OneFileStore, UnlockedFileStore

from wsgi_sessions.record import Record
from wsgi_sessions.stores.base import SessionStore
from wsgi_sessions.stores.memory import MemoryStore
from wsgi_sessions.testing import StoreContract

_CHECKS = frozenset(name for name in dir(StoreContract) if name.startswith("test_"))
_OF_PROCESSES = frozenset(name for name in _CHECKS if "processes" in name)
# These take their time over a store that passes them: only those who break them run them.
_COMPETING = frozenset(name for name in _CHECKS if "threads" in name or "fork" in name) | _OF_PROCESSES
# A race is lost sooner or later: one that a busy machine hides is looked for again.
_ATTEMPTS = 3


class TestOneFileStore(StoreContract):
    """A store that processes share passes every check that a store can pass."""

    @pytest.fixture(autouse=True)
    def _make_path(self, tmp_path: Path) -> None:
        self.path = tmp_path / "records"

    def make_store(self) -> OneFileStore:
        return OneFileStore(self.path)


class _Promising(MemoryStore):
    """Keeps the promises that the least of stores keep."""

    atomic = False
    enumerable = False
    expires_itself = True
    scan = SessionStore.scan
    find_by_owner = SessionStore.find_by_owner

    def delete_expired(self, limit: int = 500) -> list[Record]:
        return []


def _outcomes(store: type[MemoryStore], checks: frozenset[str]) -> dict[str, str]:
    """Return for each check ``"passed"``, ``"failed"`` or the reason why it was skipped."""

    class Contract(StoreContract):
        timeout = 1.0

        def make_store(self) -> MemoryStore:
            return store()

    outcomes = {}
    for name in sorted(checks):
        try:
            getattr(Contract(), name)()
        except unittest.SkipTest as skipped:
            outcomes[name] = str(skipped)
        except Exception:
            outcomes[name] = "failed"
        else:
            outcomes[name] = "passed"
    return outcomes


@functools.cache
def _failed(store: type[MemoryStore]) -> frozenset[str]:
    failed = _failed_once(store, (_CHECKS - _COMPETING) | FOUND_BY[store])
    for _attempt in range(1, _ATTEMPTS):
        if FOUND_BY[store] <= failed:
            break
        failed |= _failed_once(store, FOUND_BY[store] - failed)
    return failed


def _failed_once(store: type[MemoryStore], checks: frozenset[str]) -> frozenset[str]:
    return frozenset(name for name, outcome in _outcomes(store, checks).items() if outcome == "failed")


@pytest.mark.parametrize("store", FOUND_BY, ids=lambda store: store.__name__)
def test_a_broken_store_fails_the_checks_that_name_its_fault(store: type[MemoryStore]) -> None:
    assert FOUND_BY[store] <= _failed(store)


def test_every_check_can_fail() -> None:
    found = frozenset[str]().union(*(_failed(store) for store in FOUND_BY))
    assert _CHECKS - _OF_PROCESSES - found == set()


@pytest.mark.parametrize("check", sorted(_OF_PROCESSES))
def test_a_check_with_processes_finds_a_store_that_lacks_a_lock(check: str, tmp_path: Path) -> None:
    class Contract(StoreContract):
        timeout = 1.0

        def make_store(self) -> UnlockedFileStore:
            return UnlockedFileStore(tmp_path / "records")

    assert any(_fails(Contract(), check) for _attempt in range(_ATTEMPTS))


def _fails(contract: StoreContract, check: str) -> bool:
    try:
        getattr(contract, check)()
    except AssertionError:
        return True
    return False


def test_no_check_fails_for_the_least_of_stores() -> None:
    outcomes = _outcomes(_Promising, _CHECKS - _COMPETING)
    assert "failed" not in outcomes.values()


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        ("test_of_threads_that_create_one_id_one_wins", "_Promising.atomic is False"),
        ("test_of_processes_that_create_one_id_one_wins", "_Promising.shared is False"),
        ("test_scan_yields_no_expired_record", "_Promising.enumerable is False"),
        ("test_delete_expired_returns_what_it_removed", "_Promising.expires_itself is True"),
    ],
)
def test_a_skipped_check_names_the_attribute_that_skips_it(check: str, reason: str) -> None:
    assert _outcomes(_Promising, frozenset({check})) == {check: reason}


def test_the_suite_runs_under_unittest() -> None:
    class Case(StoreContract, unittest.TestCase):
        def make_store(self) -> MemoryStore:
            return MemoryStore()

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
    assert (result.testsRun, result.errors, result.failures) == (len(_CHECKS), [], [])
    assert len(result.skipped) == 1 + 1 + len(_OF_PROCESSES)


def test_a_contract_without_make_store_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match="make_store"):
        StoreContract().test_load_of_a_missing_record_is_none()


def test_the_package_for_tests_needs_no_pytest() -> None:
    code = "import sys; sys.modules['pytest'] = None; import wsgi_sessions.testing"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=30)
