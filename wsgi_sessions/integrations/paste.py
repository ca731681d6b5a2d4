"""PasteDeploy: the middleware as a filter of an ini file, ``use = egg:wsgi-sessions``.

Not for applications that are built by code: they wrap themselves in SessionMiddleware.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..middleware import SessionMiddleware
from .base import OPTIONS, read_options

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["filter_factory"]


# Positional, so that no option of the file can take its place.
def filter_factory(
    global_conf: Mapping[str, str] | None, /, **local_conf: str
) -> Callable[[WSGIApplication], SessionMiddleware]:
    """Return what wraps an application in the middleware that a section describes.

    :param global_conf: what PasteDeploy passes to every factory; no option is taken from it.
    :param local_conf: the options of the section, as docs/paste.rst lists them.
    :raises ValueError: if an option is missing, unknown or wrong, or stands where PasteDeploy hides it.
    """
    _refuse_hidden(global_conf or {}, local_conf)
    store, arguments = read_options(local_conf)

    def wrap(app: WSGIApplication) -> SessionMiddleware:
        return SessionMiddleware(app, store, **arguments)

    return wrap


def _refuse_hidden(global_conf: Mapping[str, str], local_conf: Mapping[str, str]) -> None:
    """Refuse what would have no effect: PasteDeploy leaves out of a section what [DEFAULT] has too."""
    for name in global_conf:
        if name not in local_conf and (name in OPTIONS or name.startswith("store.")):
            raise ValueError(
                f"{name} is a global setting (of [DEFAULT], a 'set' line or --paste-global), and PasteDeploy gives a "
                f"filter none of these: rename it there, or write 'get {name} = {name}' in the section of the filter"
            )
