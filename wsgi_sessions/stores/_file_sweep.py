"""Walks over one shard of a FileStore, reading only the beginning of each file."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import closing, suppress

from .. import clock
from ..record import Record
from ._file_folder import READ, TEMPORARY, Folder
from ._file_format import CorruptFile, NewerFormat, Summary
from ._file_lock import ShardLocks

# A temporary file lives for milliseconds; a corrupt one may help an operator to find the cause.
# After an hour neither is missed. Milliseconds.
_LEFTOVER_AGE = 60 * 60 * 1000
_is_record = re.compile("[0-9a-f]{64}").fullmatch
_security_log = logging.getLogger("wsgi_sessions.security")


def live_summaries(shard: Folder) -> Iterator[Summary]:
    """Yield what the heads of the live records say; what is no record is passed over."""
    with closing(shard.names()) as names:
        for name in filter(_is_record, names):
            with suppress(CorruptFile, FileNotFoundError):
                summary = shard.summary(name)
                if summary.expires > clock.now():
                    yield summary


def remove_expired(shard: Folder, locks: ShardLocks, max_payload: int) -> Iterator[Record]:
    """Remove and yield the expired records; remove leftovers. Names of others are left alone."""
    with closing(shard.names()) as names:
        for name in names:
            if name.startswith(TEMPORARY):
                _remove_leftover(shard, name)
            elif _is_record(name) and _may_go(shard, name):
                with locks.hold(shard):
                    record = _remove_if_expired(shard, name, max_payload)
                if record is not None:
                    yield record


def _may_go(shard: Folder, name: str) -> bool:
    """Tell without the lock whether a second look is due: the record expired, or it looks corrupt."""
    try:
        return shard.summary(name).expires <= clock.now()
    except (FileNotFoundError, NewerFormat):
        return False
    except CorruptFile:
        return True


def _remove_if_expired(shard: Folder, name: str, max_payload: int) -> Record | None:
    """Look again, now that nobody can renew it, and remove it; the caller holds the lock."""
    try:
        summary = shard.summary(name)
        if summary.expires > clock.now():
            return None
        record, descriptor = shard.open_record(name, READ, summary.id, max_payload)
    except (FileNotFoundError, NewerFormat):
        return None
    except CorruptFile as error:
        if _remove_leftover(shard, name):
            _security_log.warning("removed the corrupt file %s/%s: %s", shard.path, name, error)
        return None
    os.close(descriptor)
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=shard.descriptor)
    return record


def _remove_leftover(shard: Folder, name: str) -> bool:
    """Remove what has not changed for an hour; return whether it was removed."""
    # Another sweep may remove it at the same time.
    with suppress(FileNotFoundError):
        status = os.stat(name, dir_fd=shard.descriptor, follow_symlinks=False)
        is_old = status.st_mtime_ns // 1_000_000 <= clock.now() - _LEFTOVER_AGE
        if is_old and not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=shard.descriptor)
            return True
    return False
