"""What may import what, and what no module of the package may contain."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import wsgi_sessions

ROOT = Path(wsgi_sessions.__file__).parent
_COMMAND_LINE = [
    *("_cli_commands", "_cli_faults", "_cli_import", "_cli_progress", "_cli_storages", "_cli_systems", "_cli_values")
]
#: Lower ones never import higher ones. A folder stands for all of its modules that are not named themselves.
LAYERS = [
    {"exceptions", "clock"},
    {"expiry", "token", "moments", "codec", "conversion", "record", "mutations", "values"},
    {"stores/base", "cookies", "response", "headers"},
    {"stores", "sweeper", "settings", "legacy", "notes", "operations"},
    {"presented", "arrival", "takeover", "state", "saving", "mapping", "session", "commit"},
    {"request_sessions", "middleware", "buckets", "flash", "csrf", "_store_commands"},
    {"integrations", "migration", "testing"},
    {*_COMMAND_LINE},
    {"cli", "__main__", "__init__"},
]
#: A folder in which a new file adds something, and the one module of it that the rest of the package may know.
PLUG_INS = {
    "stores": "stores/base",
    "cookies": "cookies/cookie",
    "integrations": "integrations/base",
    "migration": "migration/base",
}
#: Folders whose modules choose a store and a cookie by a configuration, among those that are public.
CHOOSERS = {"integrations", "migration", *_COMMAND_LINE}
REQUIRED = {"werkzeug", "itsdangerous", "cachelib", "msgspec"}
_DJANGO = ("_django_middleware", "_django_session", "_django_store")
#: Optional clients, each in the module named after it.
EXTRAS = {
    "cookies/encrypted": {"cryptography"},
    "stores/_memcached": {"pymemcache"},
    **{f"integrations/{name}": {"flask"} for name in ("flask", "_flask_config", "_flask_interface", "_flask_session")},
    "integrations/_flask_values": {"markupsafe"},
    "migration/_beaker_format": {"cryptography"},
    "migration/_beaker_servers": {"sqlalchemy", "redis", "pymemcache"},
    **{f"_cli_{name}": {"click", "rich"} for name in ("commands", "import", "progress", "values")},
    "_cli_storages": {"click", "redis", "sqlalchemy"},
    "_store_commands": {"click"},
    "integrations/_flask_commands": {"flask"},
    "integrations/bottle": {"bottle"},
    **{f"integrations/{name}": {"django", "asgiref"} for name in ("django", *_DJANGO)},
    "integrations/pyramid": {"pyramid", "zope"},
    "integrations/_pyramid_answer": {"pyramid", "pyramid_retry"},
    **{f"stores/{name}": {"redis"} for name in ("redis", "_redis_connections", "_redis_opening", "_redis_server")},
    **{
        f"stores/{name}": {"sqlalchemy"}
        for name in ("sql", "_sql_connections", "_sql_database", "_sql_engine", "_sql_schema", "_sql_statements")
    },
}
#: Imported inside of a function, when a value of theirs turns up.
LAZY = {
    "codec": {"markupsafe"},
    "stores/_sql_engine": {"psycopg", "pymysql"},
    **{f"migration/{name}": {"markupsafe"} for name in ("flask", "_pickle_classes")},
    "migration/_redis_values": {"redis"},
    "integrations/_beaker_stores": {"redis"},
    "migration/_sql_rows": {"sqlalchemy"},
}
#: These stand in for the clock, and wait for real processes.
READS_TIME = {"clock", "testing/clock", "testing/parallel"}
LONGEST = 300


@cache
def paths() -> dict[str, Path]:
    """Return every module by its path in the package without the ending; a folder's own is named after it."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        found["/".join(parts)] = path
    return found


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(paths()[module].read_text(encoding="utf-8"))


def layer_of(module: str) -> int:
    """Return the number of a module's layer."""
    for name in (module, module.partition("/")[0]):
        for number, names in enumerate(LAYERS):
            if name in names:
                return number
    raise AssertionError(f"give {module} a layer in LAYERS")


def imported_by(module: str) -> Iterator[tuple[str, str]]:
    """Yield what a module imports from the package, wherever in it: a module or folder, and a name in it."""
    package = paths()[module].parent.relative_to(ROOT).parts
    for node in ast.walk(tree_of(module)):
        if not isinstance(node, ast.ImportFrom) or node.level == 0:
            continue
        base = package[: len(package) - node.level + 1]
        target = [*base, *(node.module.split(".") if node.module else ())]
        yield from (("/".join(target), alias.name) for alias in node.names)


def imports_of(module: str) -> Iterator[str]:
    """Yield the modules of the package that a module imports."""
    for target, name in imported_by(module):
        deeper = f"{target}/{name}" if target else name
        yield deeper if deeper in paths() else target or "__init__"


def foreign_imports_of(tree: ast.AST) -> Iterator[str]:
    """Yield the top-level names of what is imported from outside of the package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


MODULES = sorted(paths())


class TestLayers:
    """Section 1 of the design."""

    @pytest.mark.parametrize("module", MODULES)
    def test_no_module_imports_a_higher_one(self, module: str) -> None:
        higher = [name for name in imports_of(module) if layer_of(name) > layer_of(module)]
        assert higher == []

    def test_there_is_no_cycle(self) -> None:
        graph = {module: set(imports_of(module)) - {module} for module in MODULES}
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            pytest.fail(f"modules import each other: {' > '.join(error.args[1])}")

    @pytest.mark.parametrize("module", MODULES)
    def test_plug_in_folders_are_known_by_their_base_only(self, module: str) -> None:
        """So that one new file adds one store or cookie form, and edits nothing else."""
        folder = module.partition("/")[0]
        known = [
            name
            for name in imports_of(module)
            if name.partition("/")[0] in PLUG_INS
            and name.partition("/")[0] != folder
            and name != PLUG_INS[name.partition("/")[0]]
        ]
        if folder in CHOOSERS:
            known = [name for name in known if name.rpartition("/")[2].startswith("_")]
        assert known == [] or module == "__init__"

    @pytest.mark.parametrize("module", [module for module in MODULES if module.partition("/")[0] in PLUG_INS])
    def test_plug_in_folders_import_nothing_of_each_other(self, module: str) -> None:
        folder = module.partition("/")[0]
        if folder in CHOOSERS:
            return
        assert {name.partition("/")[0] for name in imports_of(module)} & (PLUG_INS.keys() - {folder}) == set()

    @pytest.mark.parametrize("module", MODULES)
    def test_the_package_imports_itself_relatively(self, module: str) -> None:
        """Or the tests above would not see it."""
        assert "wsgi_sessions" not in foreign_imports_of(tree_of(module))

    @pytest.mark.parametrize("module", MODULES)
    def test_only_what_is_installed_with_it_is_imported(self, module: str) -> None:
        """Extras are imported only in the file named after them."""
        foreign = set(foreign_imports_of(tree_of(module))) - set(sys.stdlib_module_names) - {"_typeshed"}
        assert foreign <= REQUIRED | EXTRAS.get(module, set()) | LAZY.get(module, set())
        at_the_top = [node for node in tree_of(module).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert set(foreign_imports_of(ast.Module(at_the_top, []))) & LAZY.get(module, set()) == set()

    def test_the_graph_is_not_empty(self) -> None:
        """The tests above would pass over one."""
        assert {"mapping", "session", "commit", "cookies/cookie"} <= set(imports_of("request_sessions"))
        assert "record" in set(imports_of("stores/base"))
        assert "clock" in set(imports_of("testing/clock"))


def run(code: str) -> str:
    """Run code in an interpreter of its own, warnings being errors, and return what it printed."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT.parent,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


class TestImport:
    def test_importing_the_package_imports_nothing_optional(self) -> None:
        """What werkzeug itself needs, such as markupsafe, is not optional."""
        code = """
import sys
import werkzeug.exceptions, werkzeug.datastructures, werkzeug.http, itsdangerous, msgspec, cachelib
before = set(sys.modules)
import wsgi_sessions
new = {name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
print(*sorted(name for name in new if not name.startswith("_sysconfigdata")))
"""
        assert run(code) == "wsgi_sessions"

    def test_importing_it_starts_no_thread(self) -> None:
        """T-68."""
        assert run("import threading, wsgi_sessions; print(threading.active_count())") == "1"

    def test_it_works_without_fcntl(self, tmp_path: Path) -> None:
        """Section 1: it imports everywhere; what needs POSIX says so in its constructor."""
        code = f"""
import sys
sys.modules["fcntl"] = None
from wsgi_sessions import FileStore, MemoryStore, SessionMiddleware, get_session
def app(environ, start_response):
    get_session(environ)["k"] = 1
    start_response("200 OK", [])
    return []
SessionMiddleware(app, MemoryStore())({{}}, lambda status, headers: print(status))
try:
    FileStore({str(tmp_path / "sessions")!r})
except Exception as error:
    print(type(error).__name__, error)
"""
        first, _, second = run(code).partition("\n")
        assert first == "200 OK"
        assert "POSIX" in second or "fcntl" in second

    def test_it_works_where_there_is_no_fork(self) -> None:
        """As on Windows."""
        code = """
import os
del os.fork, os.register_at_fork
from wsgi_sessions import MemoryStore, open_session
with open_session(MemoryStore()) as session:
    session["k"] = 1
print(session._state.record is not None)
"""
        assert run(code) == "True"


FORBIDDEN_MODULES = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "yaml"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}


def dangers_in(tree: ast.AST) -> list[str]:
    """Return what could run code that came out of a store."""
    found = [name for name in foreign_imports_of(tree) if name in FORBIDDEN_MODULES]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
            found.append(node.func.id)
        elif isinstance(node, ast.Attribute) and node.attr == "import_module":
            found.append(node.attr)
    return found


def clocks_in(tree: ast.AST) -> list[str]:
    """Return where the time is read without the clock."""
    found = [name for name in foreign_imports_of(tree) if name == "time"]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", None)
        if owner in {"datetime", "date"} and node.attr in {"now", "utcnow", "today"}:
            found.append(f"{owner}.{node.attr}")
    return found


class TestContents:
    @pytest.mark.parametrize("module", MODULES)
    def test_nothing_can_run_what_a_store_returns(self, module: str) -> None:
        """T-42: no pickle, marshal, shelve, yaml, eval or exec."""
        assert dangers_in(tree_of(module)) == []

    @pytest.mark.parametrize("module", MODULES)
    def test_the_time_is_read_in_the_clock_only(self, module: str) -> None:
        """T-21: so that a test that replaces it replaces all of it."""
        assert clocks_in(tree_of(module)) == [] or module in READS_TIME

    @pytest.mark.parametrize("module", MODULES)
    def test_the_clock_is_called_through_its_module(self, module: str) -> None:
        """A name imported from it would not be replaced."""
        assert [name for target, name in imported_by(module) if target == "clock"] == []

    @pytest.mark.parametrize("module", MODULES)
    def test_no_module_is_longer_than_fits_in_a_head(self, module: str) -> None:
        assert len(paths()[module].read_text(encoding="utf-8").splitlines()) <= LONGEST

    @pytest.mark.parametrize(
        ("check", "source"),
        [
            (dangers_in, "import pickle"),
            (dangers_in, "def f():\n    from marshal import loads"),
            (dangers_in, "import yaml.loader"),
            (dangers_in, "x = eval('1')"),
            (dangers_in, "importlib.import_module(name)"),
            (clocks_in, "import time"),
            (clocks_in, "from time import monotonic"),
            (clocks_in, "datetime.now(UTC)"),
            (clocks_in, "x = datetime.datetime.utcnow"),
            (clocks_in, "date.today()"),
        ],
    )
    def test_the_checks_find_what_they_look_for(self, check: Callable[[ast.AST], list[str]], source: str) -> None:
        assert check(ast.parse(source)) != []

    @pytest.mark.parametrize(
        ("check", "source"),
        [(dangers_in, "re.compile('x')"), (clocks_in, "from datetime import time"), (clocks_in, "clock.now()")],
    )
    def test_the_checks_find_nothing_else(self, check: Callable[[ast.AST], list[str]], source: str) -> None:
        assert check(ast.parse(source)) == []


def undocumented_in(source: str) -> list[str]:
    """Return the public classes, functions and methods without a docstring.

    An overload says nothing that its implementation does not, a setter nothing
    that its property does not, and the name of a test is its sentence. An
    attribute that a protocol asks for has a ``#:`` comment.
    """
    tree, lines = ast.parse(source), source.splitlines()
    found = [] if ast.get_docstring(tree) or not tree.body else ["the module"]
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            found.append(node.name)
        members = node.body if isinstance(node, ast.ClassDef) else []
        found.extend(
            f"{node.name}.{member.name}"
            for member in members
            if isinstance(member, ast.FunctionDef)
            and not member.name.startswith(("_", "test_"))
            and not any(_is_repetition(decorator) for decorator in member.decorator_list)
            and not _has_comment(member, lines)
            and not ast.get_docstring(member)
        )
    return found


def _is_repetition(decorator: ast.expr) -> bool:
    if isinstance(decorator, ast.Attribute):
        return decorator.attr == "setter"
    return isinstance(decorator, ast.Name) and decorator.id == "overload"


def _has_comment(member: ast.FunctionDef, lines: list[str]) -> bool:
    first = min([member.lineno, *[decorator.lineno for decorator in member.decorator_list]])
    return lines[first - 2].strip().startswith("#:")


class TestDocstrings:
    @pytest.mark.parametrize("module", MODULES)
    def test_everything_public_has_one(self, module: str) -> None:
        assert undocumented_in(paths()[module].read_text(encoding="utf-8")) == []

    def test_the_check_finds_a_missing_one(self) -> None:
        source = "class A:\n    def f(self): ...\ndef g(): ...\ndef _h(): ...\n"
        assert undocumented_in(source) == ["the module", "A", "A.f", "g"]
