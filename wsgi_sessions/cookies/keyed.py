"""What the cookies with keys have in common; not a form of cookie by itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from .cookie import SessionCookie
from .keys import check_keys, fingerprint


class KeyedCookie(SessionCookie):
    """A cookie whose value needs a key: the newest one writes, all of them read.

    :param keys: one to five, oldest first, of 32 random bytes or more each.
    :param name: this and all others: see :class:`SessionCookie`.
    :raises TypeError: if a value is of the wrong type.
    :raises ValueError: if a key is weak, or for what :class:`SessionCookie` refuses.
    """

    def __init__(
        self,
        keys: Sequence[str | bytes],
        name: str = "id",
        *,
        path: str = "/",
        domain: str | None = None,
        secure: bool = True,
        http_only: bool = True,
        same_site: str = "Lax",
        partitioned: bool = False,
    ) -> None:
        checked = check_keys(keys)
        super().__init__(
            name,
            path=path,
            domain=domain,
            secure=secure,
            http_only=http_only,
            same_site=same_site,
            partitioned=partitioned,
        )
        object.__setattr__(self, "_keyring", fingerprint(checked))
        self._use_keys(checked[::-1])

    @abstractmethod
    def _use_keys(self, newest_first: tuple[bytes, ...]) -> None:
        """Keep what the keys are needed for, not the keys: whoever prints the cookie must not see them."""
