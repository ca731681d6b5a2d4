"""The legacy systems whose storages can be imported: a table of what each is called, where it is, and how it is set."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ._cli_storages import FILES, REDIS, SQL, Storage, count_files, count_keys, count_rows
from ._cli_values import seconds, secret, zone
from .migration.base import Source

if TYPE_CHECKING:
    from .migration.beaker import Container

#: Options of a source, those that were given.
Options = dict[str, Any]


def _no_prefix(_options: Options) -> str:
    return ""


class Setting(NamedTuple):
    """An option that only some systems have.

    :param name: of the parameter that it becomes; the option is spelled with hyphens.
    :param help: what it is.
    :param kind: the type of its value, a function that reads it, or what it can be.
    :param unit: what help calls its value; None for the name of the type.
    :param is_required: whether nothing can be read without it.
    :param is_repeated: whether it may be given several times.
    :param is_limit: whether it says when sessions end, which their storage does not tell: it is given, or that there is
        no such limit, as ``--no-timeout``. Otherwise what had ended there would live again.
    """

    name: str
    help: str
    kind: Callable[[str], Any] | tuple[str, ...] = str
    unit: str | None = None
    is_required: bool = False
    is_repeated: bool = False
    is_limit: bool = False


class System(NamedTuple):
    """A legacy system.

    :param name: of its command.
    :param summary: of its command's help.
    :param storages: its kinds of storage.
    :param make: returns its source over a storage; raises ValueError if an option makes no sense.
    :param settings: its options.
    :param files: which names sessions' files have, to know how many there are.
    :param keys: returns what their keys in Redis begin with.
    :param table: their table, unless an option says otherwise.
    """

    name: str
    summary: str
    storages: tuple[str, ...]
    make: Callable[[Storage, Options], Source]
    settings: tuple[Setting, ...] = ()
    files: tuple[str, ...] = ("*",)
    keys: Callable[[Options], str] = _no_prefix
    table: str = ""

    def source(self, storage: Storage, options: Options) -> Source:
        """Return its source over a storage.

        :raises ValueError: if it has no such storage, or an option makes no sense.
        """
        if storage.kind not in self.storages:
            raise ValueError(f"there are no sessions of {self.name} in such a storage, or they cannot be listed")
        return self.make(storage, options)

    def estimate(self, storage: Storage, options: Options) -> int | None:
        """Return how many sessions there are, more or less; None if that cannot be told.

        :raises StoreError: if the table is missing.
        """
        if storage.kind == FILES:
            return count_files(storage.opened, self.files) or None
        if storage.kind == REDIS:
            return count_keys(storage.opened, self.keys(options))
        return count_rows(storage.opened, options.get("table", self.table), options.get("schema"))


def _beaker(storage: Storage, options: Options) -> Source:
    from .migration.beaker import BeakerSource, RedisContainer, SQLContainer

    where = {name: options[name] for name in ("table", "schema") if name in options}
    own = {name: value for name, value in options.items() if name not in where}
    container: Container
    if storage.kind == SQL:
        container = SQLContainer(storage.opened, **where)
    elif where:
        raise ValueError("--table and --schema are for sessions in a database")
    elif storage.kind == REDIS:
        container = RedisContainer(storage.opened)
    else:
        container = _beaker_files(Path(storage.opened).absolute())
    return BeakerSource(container, **own)


def _beaker_files(directory: Path) -> Container:
    """Return the container with sessions that a directory is, or holds as a data_dir does; caches have containers, too.

    :raises ValueError: if there are several.
    """
    from .migration.beaker import DBMContainer, FileContainer

    containers = [
        (path, kind(path))
        for name, kind in (("container_file", FileContainer), ("container_dbm", DBMContainer))
        for path in (directory / name, directory)
        if path.is_dir()
    ]
    found = [(path, container) for path, container in containers if any(True for _ in container.scan())]
    if len(found) > 1:
        names = " and ".join(path.name for path, _ in found)
        raise ValueError(f"there are sessions in both {names}: name the directory of those that are in use")
    return (found or containers)[0][1]


def _flask_session(storage: Storage, options: Options) -> Source:
    from .migration.flask_session import FlaskSessionSource

    return FlaskSessionSource(**{_PARAMETERS[storage.kind]: storage.opened}, **options)


def _django(storage: Storage, options: Options) -> Source:
    from .migration.django import DjangoSource

    if storage.kind == FILES and "cookie_age" not in options:
        raise ValueError("files do not tell when their sessions end: write --cookie-age, 1209600 if it was not set")
    return DjangoSource(**{_PARAMETERS[storage.kind]: storage.opened}, **options)


def _django_cache(storage: Storage, options: Options) -> Source:
    from .migration.django import DjangoCacheSource

    return DjangoCacheSource(**{_PARAMETERS[storage.kind]: storage.opened}, **options)


def _pyramid_session_redis(storage: Storage, options: Options) -> Source:
    from .migration.pyramid_session_redis import PyramidSessionRedisSource

    # It is needed for cookies only.
    return PyramidSessionRedisSource(secrets.token_hex(), storage.opened, **options)


def _werkzeug(storage: Storage, options: Options) -> Source:
    from .migration.werkzeug import WerkzeugSource

    return WerkzeugSource(storage.opened, **options)


def _cherrypy(storage: Storage, options: Options) -> Source:
    from .migration.cherrypy import CherryPySource

    return CherryPySource(storage.opened, **options)


# What most sources call the three kinds.
_PARAMETERS = {FILES: "directory", REDIS: "redis", SQL: "engine"}
_SECRET = "env:NAME|@FILE"
_PERSISTENT = "If their cookies outlive the browser."
_TABLE = Setting("table", "The table, if it has another name.")
_SCHEMA = Setting("schema", "The schema that the table is in.")
_ZONE = Setting("zone", "Its TIME_ZONE, if its USE_TZ is not set.", zone, "ZONE")
_AT_CLOSE = Setting("expire_at_browser_close", "Its SESSION_EXPIRE_AT_BROWSER_CLOSE is set.", bool)


def _serializer(help: str, *known: str) -> Setting:
    return Setting("serializer", f"{help} No class in a pickle is imported.", known, is_required=True)


#: Each becomes a command.
SYSTEMS = (
    System(
        "beaker",
        "Beaker: its data_dir or file_dir, its Redis, or its SQL database.",
        (FILES, REDIS, SQL),
        _beaker,
        (
            _serializer("'pickle' is Beaker's default, and reads both.", "json", "pickle"),
            Setting("timeout", "Its timeout.", int, "SECONDS", is_limit=True),
            Setting("encrypt_key", "If they are encrypted.", secret, _SECRET),
            Setting("validate_key", "If they are encrypted.", secret, _SECRET),
            Setting("persistent", f"{_PERSISTENT} Its cookie_expires is anything but true.", bool),
            _TABLE,
            _SCHEMA,
        ),
        files=("*.cache", "*.dbm", "*.dbm.dat"),
        keys=lambda _: "beaker_cache:",
        table="beaker_cache",
    ),
    System(
        "flask-session",
        "Flask-Session: its SESSION_FILE_DIR or cachelib's directory, its Redis, or its SQL database.",
        (FILES, REDIS, SQL),
        _flask_session,
        (
            _serializer("'pickle' for files, and before 0.7; reads all.", "msgpack", "json", "pickle"),
            Setting("key_prefix", "Its SESSION_KEY_PREFIX, if that was set."),
            _TABLE,
            _SCHEMA,
        ),
        files=("?" * 64, "?" * 32),
        keys=lambda options: str(options.get("key_prefix", "session:")),
        table="sessions",
    ),
    System(
        "django",
        "Django's engines db, cached_db and file: its database, or its SESSION_FILE_PATH.",
        (FILES, SQL),
        _django,
        (
            Setting("secret_key", "Its SECRET_KEY: what is stored is signed.", secret, _SECRET, is_required=True),
            Setting("fallbacks", "Its SECRET_KEY_FALLBACKS, each.", secret, _SECRET, is_repeated=True),
            _serializer("'pickle' reads both.", "json", "pickle"),
            Setting("cookie_name", "Its SESSION_COOKIE_NAME, with which names of files begin."),
            Setting("cookie_age", "Its SESSION_COOKIE_AGE: for files only, and needed.", seconds, "SECONDS"),
            Setting("store_class", "The name of its own SessionStore, if it has one."),
            _AT_CLOSE,
            _ZONE,
            _TABLE,
            _SCHEMA,
        ),
        files=("sessionid*",),
        table="django_session",
    ),
    System(
        "django-cache",
        "Django's engine cache: in Redis, a table, or files, as its own backends write them.",
        (FILES, REDIS, SQL),
        _django_cache,
        (
            _serializer("'pickle' unless a Redis backend was told to write JSON.", "json", "pickle"),
            Setting("key_prefix", "The cache's KEY_PREFIX, if that was set."),
            Setting("version", "The cache's VERSION, if that was set.", int),
            _AT_CLOSE,
            _ZONE,
            Setting("table", "The table, the cache's LOCATION."),
            _SCHEMA,
        ),
        files=("*.djcache",),
        keys=lambda options: f"{options.get('key_prefix', '')}:{options.get('version', 1)}:django.contrib.sessions.",
    ),
    System(
        "pyramid-session-redis",
        "pyramid_session_redis, and pyramid_redis_sessions before it: its Redis.",
        (REDIS,),
        _pyramid_session_redis,
        (
            _serializer("'pickle' is the libraries' default, and reads both.", "json", "pickle"),
            Setting("prefix", "What its ids begin with, if that was set."),
            Setting("persistent", f"{_PERSISTENT} It has a cookie_max_age.", bool),
        ),
        keys=lambda options: str(options.get("prefix", "")),
    ),
    System(
        "werkzeug",
        "FilesystemSessionStore of werkzeug.contrib.sessions or secure-cookie: its path.",
        (FILES,),
        _werkzeug,
        (
            _serializer("There is no other: say that you trust who could write there.", "pickle"),
            Setting("filename_template", "Its own, or secure_cookie_%s.session of secure-cookie."),
            Setting("lifetime", "How long after its last change a session ends.", seconds, "SECONDS", is_limit=True),
            Setting("persistent", _PERSISTENT, bool),
        ),
        files=("*.sess", "*.session"),
    ),
    System(
        "cherrypy",
        "CherryPy's FileSession: its storage_path.",
        (FILES,),
        _cherrypy,
        (
            _serializer("There is no other: say that you trust who could write there.", "pickle"),
            Setting("zone", "The time zone of the server, if it is not this machine's.", zone, "ZONE"),
        ),
        files=("session-" + "?" * 40,),
    ),
)
