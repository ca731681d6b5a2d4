"""What a session adds to one request, in process, beside the work that cannot be avoided and beside Beaker."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from benchmarks import systems
from benchmarks.driver import compare, drive
from benchmarks.payload import large, small
from benchmarks.report import Table, ratio
from benchmarks.systems import System

Functions = dict[str, Callable[[], object]]
_LAZY = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encoded = msgspec.json.Encoder().encode(small())
_encoded_large = msgspec.json.Encoder().encode(large())


def tables(folder: Path, rounds: int) -> Iterator[Table]:
    """Yield one table for each scenario."""
    known = systems.all_systems(folder)
    yield _untouched(known, rounds)
    yield _in_memory(known, rounds)
    yield _large(known, rounds)
    yield _in_files(known, folder, rounds)
    yield _cookies(known, rounds)


def _untouched(known: dict[str, System], rounds: int) -> Table:
    with_cookie = systems.template("id=" + "A" * 22 + "." + "A" * 22)
    without = systems.template()
    functions: Functions = {
        "bare": drive(systems.page, with_cookie),
        "closure": drive(systems.forwarding, with_cookie),
    }
    for name in ("memory", "file", "Beaker memory"):
        app = known[name].wrap(systems.page)
        functions[name] = drive(app, with_cookie)
        functions[f"{name}, no cookie"] = drive(app, without)
    times = _over_bare(compare(functions, rounds))
    table = Table(
        "Untouched: a request that does not look at its session",
        ["system", "session time, us", "x forwarding closure", "x Beaker", "budget"],
    )
    for name, time in times.items():
        budget = "<= 5.5 x closure, <= 0.33 x Beaker" if name.startswith(("memory", "file")) else ""
        table.add(name, time, ratio(time, times["closure"]), ratio(time, times["Beaker memory"]), budget)
    return table


def _in_memory(known: dict[str, System], rounds: int) -> Table:
    table = Table(
        "In memory: the ten-key session of 1 KB",
        ["scenario", "decode, us", "ours, us", "x decode", "budget", "Beaker, us", "ours / Beaker", "budget"],
    )
    for scenario, limit in (("read", 2.8), ("write", 4.2), ("create", 6.0)):
        functions = _scenario(scenario, [known["memory"], known["Beaker memory"]])
        functions["decode"] = lambda: msgspec.json.decode(_encoded)
        times = compare(functions, rounds)
        ours, peer = times["memory"] - times["bare"], times["Beaker memory"] - times["bare"]
        decode = times["decode"]
        fastest = "<= 0.2 x the fastest"
        table.add(scenario, decode, ours, ratio(ours, decode), f"<= {limit} x", peer, ratio(ours, peer), fastest)
    return table


def _large(known: dict[str, System], rounds: int) -> Table:
    table = Table(
        "In memory: one key read of 50 KB",
        ["lazy decode, us", "ours, us", "x lazy decode", "budget", "Beaker, us", "ours / Beaker", "budget"],
    )
    functions = _scenario("read", [known["memory"], known["Beaker memory"]], systems.new_large_session)
    functions["lazy"] = lambda: _LAZY.decode(_encoded_large)
    times = compare(functions, rounds)
    ours, peer = times["memory"] - times["bare"], times["Beaker memory"] - times["bare"]
    table.add(
        times["lazy"], ours, ratio(ours, times["lazy"]), "<= 1.4 x", peer, ratio(ours, peer), "<= 0.5 x the fastest"
    )
    return table


def _in_files(known: dict[str, System], folder: Path, rounds: int) -> Table:
    table = Table(
        "In files: the ten-key session of 1 KB",
        ["scenario", "floor", "floor, us", "ours, us", "x floor", "budget", "Beaker, us", "ours / Beaker", "budget"],
    )
    floors = _file_floors(folder)
    for scenario, floor, limit in (
        ("read", "open().read()", 2.8),
        ("write", "temp + replace", 1.5),
        ("create", "temp + link", 3.0),
    ):
        functions = _scenario(scenario, [known["file"], known["Beaker file"]])
        functions[floor] = floors[floor]
        times = compare(functions, rounds)
        ours, peer = times["file"] - times["bare"], times["Beaker file"] - times["bare"]
        table.add(
            scenario,
            floor,
            times[floor],
            ours,
            ratio(ours, times[floor]),
            f"<= {limit} x",
            peer,
            ratio(ours, peer),
            "below every peer",
        )
    return table


def _cookies(known: dict[str, System], rounds: int) -> Table:
    table = Table(
        "Signed and encrypted cookies, over the same store",
        ["scenario", "plain, us", "signed: more, us", "budget", "encrypted: more, us", "budget"],
    )
    names = ["memory", "memory, signed", "memory, encrypted"]
    for scenario in ("read", "write", "create"):
        times = compare(_scenario(scenario, [known[name] for name in names]), rounds)
        plain, signed, encrypted = (times[name] for name in names)
        table.add(scenario, plain - times["bare"], signed - plain, "<= 3", encrypted - plain, "<= 4")
    return table


def _scenario(
    scenario: str, compared: list[System], new_session: Callable[[System], str] = systems.new_session
) -> Functions:
    """Return the bare page and each system's page of a scenario."""
    make = {"read": systems.reading, "write": systems.writing, "create": systems.creating}[scenario]
    functions: Functions = {}
    for system in compared:
        environ = systems.template(None if scenario == "create" else new_session(system))
        functions.setdefault("bare", drive(systems.page, environ))
        functions[system.name] = drive(system.wrap(make(system)), environ)
    return functions


def _over_bare(times: dict[str, float]) -> dict[str, float]:
    return {name: time - times["bare"] for name, time in times.items() if name != "bare"}


def _file_floors(folder: Path) -> Functions:
    """Return what the file system's part of a read, a save and a creation costs without anything around it."""
    path = folder / "floor"
    path.write_bytes(_encoded)
    names = (str(folder / f"floor-{number}") for number in itertools.count())

    def read() -> None:
        with open(path, "rb") as file:
            file.read()

    def write_temporary() -> str:
        name = next(names)
        descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        os.write(descriptor, _encoded)
        os.close(descriptor)
        return name

    def replace() -> None:
        os.replace(write_temporary(), path)

    def link() -> None:
        name = write_temporary()
        os.link(name, name + ".linked")
        os.unlink(name)

    return {"open().read()": read, "temp + replace": replace, "temp + link": link}
