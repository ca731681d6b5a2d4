"""Runs the benchmarks and prints their tables: ``python -m benchmarks [section...] [--rounds N]``."""

from __future__ import annotations

import argparse
import importlib.metadata
import logging
import os
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import concurrency, engines, imports, integrations, memory, millions, requests, servers
from benchmarks.driver import ROUNDS
from benchmarks.report import Table

SECTIONS = {
    "requests": requests.tables,
    "memory": memory.tables,
    "concurrency": concurrency.tables,
    "engines": engines.tables,
    "imports": imports.tables,
    "integrations": integrations.tables,
    "millions": millions.tables,
    "servers": servers.tables,
}
PACKAGES = (
    *("msgspec", "werkzeug", "itsdangerous", "cryptography", "cachelib", "gunicorn"),
    *("sqlalchemy", "psycopg", "pymysql", "redis", "hiredis", "pymemcache"),
    *("beaker", "bottle", "django", "flask", "flask-session", "flask-sqlalchemy", "pyramid", "pyramid_session_redis"),
)


def main() -> None:
    """Run the sections that were asked for, all of them by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("sections", nargs="*", metavar="section", help=", ".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="batches of each function")
    arguments = parser.parse_args()
    unknown = set(arguments.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}: the sections are {', '.join(SECTIONS)}")
    # Beside others that drop what they are told to, ours would fill the terminal with warnings of what it refused.
    logging.getLogger("wsgi_sessions").setLevel(logging.ERROR)
    print(_machine())
    for table in _tables(arguments.sections or list(SECTIONS), arguments.rounds):
        print(table, flush=True)


def _tables(names: list[str], rounds: int) -> Iterator[Table]:
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            yield from SECTIONS[name](Path(folder), rounds)


def _machine() -> str:
    versions = ", ".join(_version(package) for package in PACKAGES)
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores; {versions}.\n"
    )


def _version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"no {package}"


if __name__ == "__main__":
    main()
