"""The distributions: they build, hold what they should, and work where nothing else is installed."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# What is no source; `.venv*` is large.
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "htmlcov")
_TIMEOUT = 120
# The extras' packages, and what they bring along.
_OPTIONAL = ["bottle", "click", "cryptography", "django", "flask", "paste", "pyramid", "redis", "rich", "sqlalchemy"]


def run(*command, **options):
    result = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def in_python(code):
    """Run code in a new interpreter that has what this one has."""
    return run(sys.executable, "-W", "error", "-c", code)


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """Build both, the wheel from the sdist, and return their paths."""
    source = tmp_path_factory.mktemp("source") / "wsgi_sessions"
    shutil.copytree(ROOT, source, ignore=_LEFT_OUT)
    shutil.copytree(ROOT / ".ci", source / ".ci")
    target = tmp_path_factory.mktemp("dist")
    # With the setuptools of the extra `test`: building it needs no network.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(source))
    return next(target.glob("*.whl")), next(target.glob("*.tar.gz"))


@pytest.mark.packaging
def test_the_wheel_holds_the_package_and_nothing_else(distributions):
    with zipfile.ZipFile(distributions[0]) as wheel:
        names = wheel.namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"wsgi_sessions"}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "wsgi_sessions").rglob("*.py")}
    assert modules <= set(names)
    assert "wsgi_sessions/py.typed" in names
    assert any(name.endswith("/LICENSE") for name in names)


@pytest.mark.packaging
def test_the_sdist_holds_what_make_test_needs(distributions):
    with tarfile.open(distributions[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for folder in ("demo", "examples", "tests"):
        sources = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.py")}
        assert sources <= names
    assert {"CHANGES.rst", "LICENSE", "Makefile", "README.rst", "ruff.toml", "setup.cfg", ".ci/run"} <= names
    assert "tests/lowest.txt" in names


@pytest.mark.packaging
def test_the_wheel_works_in_an_empty_environment(distributions, tmp_path):
    # Neither what measures this run nor what it imports is there.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("COVERAGE", "PYTHON"))}
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"))
    python = str(tmp_path / "venv" / "bin" / "python")
    command = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(distributions[0]))
    run(*command, cwd=tmp_path, env=environment)
    code = (
        "import wsgi_sessions, werkzeug.test\n"
        "def app(environ, start_response):\n"
        "    session = wsgi_sessions.get_session(environ)\n"
        "    session['n'] = session.get('n', 0) + 1\n"
        "    start_response('200 OK', [])\n"
        "    return [b'%d' % session['n']]\n"
        "client = werkzeug.test.Client(wsgi_sessions.SessionMiddleware(app, wsgi_sessions.MemoryStore()))\n"
        "client.get('/')\n"
        "print(client.get('/').text, wsgi_sessions.__file__)\n"
    )
    count, path = run(python, "-W", "error", "-c", code, cwd=tmp_path, env=environment).split()
    assert count == "2"
    assert path.startswith(str(tmp_path))


def test_importing_the_package_imports_nothing_optional():
    # Some packages have a hand in every interpreter's start.
    code = "import sys; before = set(sys.modules); import wsgi_sessions.testing; print(*set(sys.modules) - before)"
    loaded = in_python(code).split()
    assert "wsgi_sessions.stores.file" in loaded
    assert not set(loaded) & set(_OPTIONAL)


def test_the_package_can_be_imported_where_there_is_no_fcntl():
    """On Windows; FileStore says what it needs when one is made."""
    code = (
        "import sys\n"
        "sys.modules['fcntl'] = None\n"
        "import wsgi_sessions\n"
        "try:\n"
        "    wsgi_sessions.FileStore('sessions')\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    assert "POSIX" in in_python(code)


def test_a_missing_extra_is_named():
    code = (
        "import sys\n"
        "sys.modules['cryptography'] = sys.modules['cryptography.exceptions'] = None\n"
        "try:\n"
        "    import wsgi_sessions.cookies.encrypted\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    assert "pip install wsgi-sessions[encrypted]" in in_python(code)
