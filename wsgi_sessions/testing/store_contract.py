"""The suite that every store of this package passes, for stores of others to pass as well.

In a test module of your own, with pytest::

    class TestYourStore(StoreContract):
        def make_store(self):
            return YourStore(...)

With unittest name both: ``class TestYourStore(StoreContract, unittest.TestCase)``.
``pytest.register_assert_rewrite("wsgi_sessions.testing")`` in ``conftest.py``,
before anything imports this package, makes pytest show the values of what failed.
"""

from __future__ import annotations

from .store_owners import StoreOwners


class StoreContract(StoreOwners):
    """Checks a store against the contract of :class:`~wsgi_sessions.stores.base.SessionStore`.

    Subclass it and define ``make_store(self)``, which returns a store:

    - Every test begins with an empty store. Where the data outlives the store, in
      a directory or a database, have a fixture (pytest: ``autouse``; unittest:
      ``setUp``) make a fresh place, keep it in an attribute such as
      ``self.directory``, and open the store there.
    - A ``shared`` store is asked for several times within one test and gives
      stores over the same data; forked children call ``make_store`` as well.
    - The suite closes what it was given.

    The class attributes of the store, and nothing else, say what is left out;
    each such test is skipped and names the attribute:

    - ``shared = False``: several stores over the same data, and the checks with processes
      (a fork must leave every store usable);
    - ``atomic = False``: the checks in which threads or processes compete. A save of an
      old version one after the other is refused by every store;
    - ``enumerable = False``: ``scan`` and ``find_by_owner``, which must then raise NotImplementedError;
    - ``expires_itself = True``: what ``delete_expired`` removes, and that the id of an expired record
      is still taken. No operation may find an expired record all the same.

    The default ``touch`` is a save and counts as one; another one leaves the version alone.

    Time is replaced through :mod:`wsgi_sessions.clock`, so a store that reads it
    elsewhere fails. The checks with processes and forks are skipped where there is no fork.
    """
