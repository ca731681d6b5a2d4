"""Beaker's options, as they stand in a configuration: with a prefix, and often as text."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from ._beaker_containers import Container, DBMContainer, FileContainer
from ._beaker_servers import MemcachedContainer, RedisContainer, SQLContainer

_PREFIXES = ("beaker.session.", "session.", "session_")
_TRUE = frozenset(("true", "yes", "on", "y", "t", "1"))
_FALSE = frozenset(("false", "no", "off", "n", "f", "0"))
# What has no counterpart, and why that is no loss.
_NOT_NEEDED = {
    "lock_dir": "nothing is locked",
    "log_file": "Beaker does not use it either",
    "id": "an id comes from a cookie only",
    "use_cookies": "sessions are found by their cookie",
    "crypto_type": "each cipher that it can name is tried, except nss",
    "memcache_module": "pymemcache is used",
    "save_accessed_time": "the time of the last access is read where it is there",
    "invalidate_corrupt": "a session that cannot be read is counted, and a new one begins",
    "session_class": "classes of Beaker are not used",
    "namespace_class": "classes of Beaker are not used",
    "webtest_varname": "use wsgi_sessions.testing",
    "sa_opts": "make a BeakerSource of an SQLContainer with an Engine of your own",
    "dbmmodule": "what kind of dbm it is, can be seen from the file",
}
_UNREADABLE = {
    "memory": "sessions in memory end with their process",
    "ext:mongodb": "sessions in MongoDB are not read",
    "ext:google": "sessions in the Datastore are not read",
    "ext:rediscluster": "make a BeakerSource of a RedisContainer with your RedisCluster",
}
# Of every other option, None is as if it was not given.
_READ_ALSO_AS_NONE = frozenset(("key", "data_serializer", "cookie_expires", "samesite"))


class BeakerOptions(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Options of Beaker's sessions, by their own names, each of the type that Beaker makes of it.

    :param type: the kind of storage, such as ``file`` or ``ext:redis``.
    :param timeout: seconds.
    :param cookie_expires: True for as long as the browser is open, False for ever.
    :param url: a URL; a client of Redis where that is what Beaker was given.
    :param bind: an Engine of SQLAlchemy, and a Table of it in ``table``: for ``ext:sqla``.
    :param unused: the options that are neither here nor otherwise of use, each with the reason.
    """

    type: str
    key: str = "beaker.session.id"
    secret: str | None = None
    timeout: int | None = None
    cookie_expires: bool | timedelta | datetime = True
    cookie_domain: str | None = None
    cookie_path: str = "/"
    secure: bool = False
    httponly: bool = False
    samesite: str | None = "Lax"
    auto: bool = False
    data_serializer: str = "pickle"
    encrypt_key: str | None = None
    validate_key: str | None = None
    encrypt_nonce_bits: int | None = None
    data_dir: str | None = None
    file_dir: str | None = None
    dbm_dir: str | None = None
    url: Any = None
    bind: Any = None
    table: Any = None
    table_name: str = "beaker_cache"
    schema_name: str | None = None
    unused: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(type={self.type!r})"

    @property
    def is_readable(self) -> bool:
        """Whether sessions of this type can be read."""
        return self.type == "cookie" or self.type in _CONTAINERS

    def container(self) -> Container | None:
        """Return where the sessions are; None if they are in cookies, or cannot be read.

        :raises ValueError: if an option that tells where is missing or wrong, or there is no such type.
        """
        make = _CONTAINERS.get(self.type)
        if make is None and self.type != "cookie" and self.type not in _UNREADABLE:
            raise ValueError(f"session.type must be one of {', '.join(('cookie', *_CONTAINERS))}, not {self.type!r}")
        return None if make is None else make(self)


def read_options(configuration: Mapping[str, Any], **options: Any) -> BeakerOptions:
    """Return the options of Beaker's sessions in a configuration, which may hold others.

    >>> options = read_options({"session.type": "file", "session.data_dir": "data", "session.timeout": "300"})
    >>> options.timeout
    300

    :param configuration: keys begin with ``beaker.session.``, ``session.`` or ``session_``.
    :param options: options that take precedence, with or without prefix, as Beaker's middleware takes them.
    :raises ValueError: if the value of an option cannot be what Beaker makes of it.
    """
    found = {**_prefixed(configuration), **_prefixed(options)}
    unprefixed = () if found else (name for name in configuration if name in _READERS)
    unused = [(name, "it has no prefix, without which Beaker ignores it, too") for name in unprefixed]
    found.update((name, value) for name, value in options.items() if not name.startswith(_PREFIXES))
    if "sa.url" in found:
        found.setdefault("url", found.pop("sa.url"))
    values: dict[str, Any] = {}
    for name, value in found.items():
        if reader := _READERS.get(name):
            if value is not None or name in _READ_ALSO_AS_NONE:
                values[name] = _read(reader, name, value)
        else:
            unused.append((name, _reason(name)))
    values.setdefault("type", "file" if values.get("data_dir") else "memory")
    if reason := _type_reason(values["type"]):
        unused.append(("type", reason))
    return BeakerOptions(**values, unused=tuple(unused))


def _prefixed(configuration: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for key, value in configuration.items():
        for prefix in _PREFIXES:
            if key.startswith(prefix):
                found[key.removeprefix(prefix)] = value
                break
    return found


def _reason(name: str) -> str:
    if name.startswith("sa."):
        name = "sa_opts"
    return _NOT_NEEDED.get(name, "no option of Beaker's sessions has this name")


def _type_reason(kind: str) -> str | None:
    if kind == "cookie" or kind in _CONTAINERS:
        return None
    return _UNREADABLE.get(kind, "sessions of this type are not read")


def _read(reader: Callable[[Any], Any], name: str, value: Any) -> Any:
    try:
        return reader(value)
    except (ValueError, TypeError, OverflowError):
        pass
    # Without the value, which may be a key.
    raise ValueError(f"session.{name} must be {_READERS_TELL[reader]}")


def _text(value: Any) -> str:
    """Read a text; of what is none, str() makes one, as Beaker does: a key may be given as True, 12345 or bytes."""
    text = str(os.fspath(value) if isinstance(value, os.PathLike) else value)
    if value is None or not text.strip():
        raise ValueError
    return text


def _boolean(value: Any) -> bool:
    if not isinstance(value, str):
        return bool(value)
    word = value.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError
    return word in _TRUE


def _seconds(value: Any) -> int:
    if isinstance(value, bool) or not (isinstance(value, int) or str(value).isdecimal()):
        raise ValueError
    seconds = int(value)
    if timedelta(seconds=seconds) <= timedelta(0):
        raise ValueError
    return seconds


def _bits(value: Any) -> int:
    bits = int(value)
    if bits < 0 or bits % 8:
        raise ValueError
    return bits


def _expiry(value: Any) -> bool | timedelta | datetime:
    """Read ``cookie_expires``. Beaker takes "1" and "0" for truth, too, and None for False."""
    if value is None:
        return False
    if isinstance(value, timedelta) and value <= timedelta(0):
        raise ValueError
    if isinstance(value, bool | timedelta | datetime):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE:
        return _boolean(value)
    return timedelta(seconds=_seconds(value))


def _samesite(value: Any) -> str | None:
    """Read ``samesite``, of which None stands for a cookie without, and the text None for what browsers call so."""
    return None if value in (None, False) else _text(value)


def _anything(value: Any) -> Any:
    return value


_TEXTS = (
    *("type", "key", "secret", "cookie_domain", "cookie_path", "data_serializer", "encrypt_key", "validate_key"),
    *("data_dir", "file_dir", "dbm_dir", "table_name", "schema_name"),
)
_READERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(_TEXTS, _text),
    **dict.fromkeys(("secure", "httponly", "auto"), _boolean),
    "timeout": _seconds,
    "encrypt_nonce_bits": _bits,
    "cookie_expires": _expiry,
    "samesite": _samesite,
    **dict.fromkeys(("url", "bind", "table"), _anything),
}
_READERS_TELL: dict[Callable[[Any], Any], str] = {
    _text: "a text with anything in it",
    _boolean: "true or false",
    _bits: "a number of bits, a multiple of 8",
    _seconds: "a number of seconds, more than 0 and no more than a timedelta holds",
    _expiry: "true, false, a number of seconds or a timedelta, more than 0, or a datetime",
    _samesite: "Lax, Strict, or None in quotes or not",
}


def _directory(chosen: str | None, parent: str | None, name: str) -> str:
    if chosen is None and parent is None:
        raise ValueError("session.data_dir is missing: write the directory that Beaker's sessions are in")
    return chosen or os.path.join(parent or "", name)


def _sql(options: BeakerOptions) -> Container:
    if options.bind is not None and options.table is not None:
        return SQLContainer(options.bind, table=options.table.name, schema=options.table.schema)
    return SQLContainer(_url(options), table=options.table_name, schema=options.schema_name)


def _url(options: BeakerOptions) -> Any:
    if options.url is None:
        raise ValueError(f"session.url is missing: session.type = {options.type} needs it")
    return options.url


_CONTAINERS: dict[str, Callable[[BeakerOptions], Container]] = {
    "file": lambda options: FileContainer(_directory(options.file_dir, options.data_dir, "container_file")),
    "dbm": lambda options: DBMContainer(_directory(options.dbm_dir, options.data_dir, "container_dbm")),
    "ext:database": _sql,
    "ext:sqla": _sql,
    "ext:redis": lambda options: RedisContainer(_url(options)),
    "ext:memcached": lambda options: MemcachedContainer(_url(options)),
}
