# make demo          starts the demo under gunicorn, visits it, and serves it until Ctrl-C
# make demo ONCE=1   the same, but ends after the visit: 0 if every step was as it should be (PORT= chooses a port,
#                    STORE= the URL of a store)
# make test          ruff, mypy and all tests, with branch coverage
# make test-lowest   the tests with the lowest versions of what the package needs
# make bench         the benchmarks, beside other session libraries
# make clean         removes all that these made
#
# Each needs Python 3.11 or newer with venv, and nothing else: what is missing goes into .venv. The tests of stores
# also talk to PostgreSQL, MariaDB, Redis and Memcached: to those that run on the standard ports of this machine, or
# to their own, from the installed programs (Debian: postgresql mariadb-server redis-server memcached). Those of the
# frameworks also look through a real browser (Debian: chromium chromium-driver). Where nothing of it is there they skip;
# REQUIRE_SERVICES=1 makes that a failure. TEST_POSTGRESQL_URL, TEST_MARIADB_URL, TEST_REDIS_URL and TEST_MEMCACHED_URL
# name other servers.

PYTHON ?= $(shell python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)
VENV := .venv
LOWEST := .venv-lowest
BIN := $(VENV)/bin

EXTRAS_demo := examples
EXTRAS_stores := redis,postgresql,mysql,memcached
EXTRAS_frameworks := flask,pyramid,bottle,django,paste,cli
EXTRAS_test := test,examples,encrypted,$(EXTRAS_stores),$(EXTRAS_frameworks)
EXTRAS_bench := benchmark,encrypted,cli,$(EXTRAS_stores)

# Branches, of the package alone, subprocesses included.
COVERAGE_AT_LEAST := 98

# Beside those of faults nothing runs, for they measure how long a request takes.
IN_PARALLEL := --numprocesses 2 --dist worksteal

# An older pip would take another way to install what has no pyproject.toml.
export PIP_USE_PEP517 := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP_INSTALL := pip install --quiet --editable

.PHONY: demo test test-lowest bench clean

demo: $(VENV)/.installed-demo
	@$(BIN)/python -m demo $(if $(filter-out 0,$(ONCE)),--once) $(if $(PORT),--port $(PORT)) $(if $(STORE),--store '$(STORE)')

test: $(VENV)/.installed-test
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q $(IN_PARALLEL) --ignore tests/faults
	$(BIN)/coverage run -m pytest -q tests/faults
	$(BIN)/coverage combine --quiet
	@rm -f .coverage.*  # what a process was writing when a test killed it
	@$(BIN)/coverage report --fail-under=$(COVERAGE_AT_LEAST)

test-lowest: $(LOWEST)/.installed-test
	$(LOWEST)/bin/python -m pytest -q $(IN_PARALLEL) --ignore tests/faults
	$(LOWEST)/bin/python -m pytest -q tests/faults

bench: $(VENV)/.installed-bench
	@$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) $(LOWEST) build dist htmlcov *.egg-info .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What was installed, in a file each, because a directory's time says nothing about that.
$(VENV)/.installed-%: setup.cfg setup.py | $(VENV)/.made
	@echo "installing wsgi-sessions[$(EXTRAS_$*)] into $(VENV)"
	@$(BIN)/$(PIP_INSTALL) '.[$(EXTRAS_$*)]'
	@touch $@

$(LOWEST)/.installed-%: setup.cfg setup.py tests/lowest.txt | $(LOWEST)/.made
	@echo "installing wsgi-sessions[$(EXTRAS_$*)] into $(LOWEST)"
	@$(LOWEST)/bin/$(PIP_INSTALL) '.[$(EXTRAS_$*)]' --constraint tests/lowest.txt
	@touch $@

$(VENV)/.made $(LOWEST)/.made:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11" \
	    if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(@D)
	@touch $@
