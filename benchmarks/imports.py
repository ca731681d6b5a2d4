"""What a bulk import of 100,000 files of Beaker takes, and whether its memory grows with their number."""

from __future__ import annotations

import base64
import hashlib
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.payload import small
from benchmarks.report import Table

_FEW, _MANY = 1000, 100_000
_STORES = {"SQLiteStore": "sqlite:///{}/{}.db", "FileStore": "file://{}/{}"}


def tables(folder: Path, rounds: int) -> Iterator[Table]:
    """Yield the table; each import is the command itself, in a process."""
    table = Table(
        "wsgi-sessions import of 100,000 files of Beaker",
        ["into", "seconds", "budget", "sessions a second", "most RSS, MB", "of 1000 files, MB", "disk, MB/s"],
    )
    sources = {count: folder / f"beaker-{count}" for count in (_FEW, _MANY)}
    for count, source in sources.items():
        _write(source, count)
    for name, url in _STORES.items():
        few, many = (_import(source, url.format(folder, count)) for count, source in sources.items())
        table.add(name, many[0], "< 120", f"{_MANY / many[0]:.0f}", many[1], few[1], _disk(folder))
    table.notes.append("The disk: files of 1 KB written and flushed one after the other, for a measure of the machine.")
    yield table


def _write(folder: Path, count: int) -> None:
    """Write files as Beaker 1.14 writes those of the usual session."""
    now = time.time()
    session = {"_creation_time": now, "_accessed_time": now, "_domain": None, "_path": "/", **small()}
    text = base64.b64encode(pickle.dumps(session, 2)).decode()
    content = pickle.dumps({"session": text})
    for number in range(count):
        id = hashlib.md5(b"%d" % number).hexdigest()
        path = folder / "container_file" / id[:1] / id[:2] / f"{id}.cache"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _import(source: Path, url: str) -> tuple[float, float]:
    """Return the seconds that an import took, and the most MB of memory."""
    options = ["--serializer", "pickle", "--no-timeout", "--to", url]
    command = [sys.executable, "-m", "benchmarks.imports", "beaker", str(source), *options]
    begin = time.perf_counter()
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds = time.perf_counter() - begin
    return seconds, int(output.rpartition("most KB: ")[2]) / 1000


def _disk(folder: Path) -> float:
    """Return how many MB a second can be written in small files that are flushed."""
    content, begin = b"x" * 1000, time.perf_counter()
    for number in range(500):
        with (folder / "flushed").open("wb") as file:
            file.write(content + b"%d" % number)
            file.flush()
            os.fsync(file.fileno())
    return 0.5 / (time.perf_counter() - begin)


def _run() -> None:
    """Be the command, and say how much memory it took."""
    import resource

    from wsgi_sessions.cli import main

    sys.argv[:1] = ["wsgi-sessions", "import"]
    try:
        main()
    finally:
        print("most KB:", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    _run()
