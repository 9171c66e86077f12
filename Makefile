# Needs Python 3.11 to 3.13, git and make; all else is installed into .venv from the lock files, once.
#   make quickstart   train CML and MAML on real images, compare them, write runs/quickstart/report.html, serve
#   make test         lint, types and the fast tests, which every change must pass
#   make test-slow    the tests marked slow, except the long ones (minutes each)
#   make test-ci      lint, types, and both kinds, one after the other: all but the long ones
#   make test-all     lint, types, every test
#   make test-ray     install Ray apart, and run the tests of sweeps on it
#   make oracles      install JAX apart, and compare related systems with what it computes
#   make device-runtime  install LiteRT.js by its lock file, for pages that adapt in the browser (needs npm)
#   make soak         three minutes of load on the embedded server, every answer checked (SOAK="--seconds=30" ...)
#   make benchmark    speed and memory of the meta-step compared with PyTorch, 25 minutes (BENCHMARK="--only=28x28_1_step" ...)
#   make format       rewrite the sources to the house format
#   make lock         resolve the lock files again, keeping versions that still fit (UPGRADE=--upgrade: the newest)
#   make sbom         what is installed, as CycloneDX: build/sbom.json
#   make audit        the lock against the advisories of the package index
#   make clean        remove .venv, caches and build products; runs/ stays
# WORKERS=N runs the tests in N processes (3 keep two cores busy; each takes up to 5 GB, with what it starts).
# PYTHON=/path/to/python chooses the Python that .venv is made with.

SHELL := /bin/sh
PYTHON ?=
export PYTHON
# Tests and programs start many processes: what they import is compiled once.
unexport PYTHONDONTWRITEBYTECODE

VENV_PYTHON := .venv/bin/python
WORKERS ?= 3
UV_VERSION := 0.13.9
UPGRADE ?=
SOAK ?=
BENCHMARK ?=
# A file's tests share what is costly to make, so they stay in one process; tests/conftest.py says which begin.
PYTEST := $(VENV_PYTHON) -m pytest --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder
COMPILE := build/lock-tool/bin/uv pip compile --quiet --universal --python-version 3.11 --no-header \
	--no-emit-index-url $(UPGRADE)

.PHONY: help quickstart test test-slow test-ci fast-then-slow test-all test-ray oracles device-runtime soak benchmark lint format lock sbom audit clean force

help:
	@sed -n 's/^#   make/make/p' Makefile

# TensorFlow's native log tells a machine without a GPU several times that it has none; errors reach Python anyway.
quickstart: .venv/.installed-runtime
	TF_CPP_MIN_LOG_LEVEL=$${TF_CPP_MIN_LOG_LEVEL:-3} $(VENV_PYTHON) -m export.quickstart --workdir=runs/quickstart

test: lint
	$(PYTEST)

test-slow: .venv/.installed-dev
	$(PYTEST) -m "slow and not long"

# With --jobs=2 the types are checked while the tests run. Both kinds in one run would need more than 16 GB.
test-ci: lint fast-then-slow

fast-then-slow: .venv/.installed-dev
	$(PYTEST)
	$(PYTEST) -m "slow and not long"

test-all: lint
	$(PYTEST) -m ""

device-runtime:
	cd export/device/browser && npm ci --silent --no-audit --no-fund

soak: .venv/.installed-runtime
	TF_CPP_MIN_LOG_LEVEL=$${TF_CPP_MIN_LOG_LEVEL:-3} $(VENV_PYTHON) -m benchmarks.serving.soak $(SOAK)

benchmark: .venv/.installed-runtime build/peer-venv/.installed
	TF_CPP_MIN_LOG_LEVEL=$${TF_CPP_MIN_LOG_LEVEL:-3} $(VENV_PYTHON) -m benchmarks.performance.run $(BENCHMARK)

# The peer's framework has an environment of its own: nothing of ours depends on it.
build/peer-venv/.installed: benchmarks/peers/requirements.txt
	rm -rf build/peer-venv
	python=$$(sh tools/find_python.sh) && $$python -m venv build/peer-venv
	build/peer-venv/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers/requirements.txt
	touch $@

# So do the libraries that tests compare ours with.
oracles: .venv/.installed-dev build/oracle-venv/.installed
	$(PYTEST) -m slow tests/oracles

test-ray: build/ray-venv/.installed
	build/ray-venv/bin/python -m pytest -m "" tests/studies/test_ray_tasks.py

build/ray-venv/.installed: requirements-ray.txt requirements-dev.txt
	rm -rf build/ray-venv
	python=$$(sh tools/find_python.sh) && $$python -m venv build/ray-venv
	build/ray-venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-ray.txt \
		-r requirements-dev.txt
	touch $@

build/oracle-venv/.installed: tests/oracles/requirements.txt
	rm -rf build/oracle-venv
	python=$$(sh tools/find_python.sh) && $$python -m venv build/oracle-venv
	build/oracle-venv/bin/python -m pip install --quiet --disable-pip-version-check -r tests/oracles/requirements.txt
	touch $@

lint: .venv/.installed-dev
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m ruff format --check
	$(VENV_PYTHON) -m mypy

format: .venv/.installed-dev
	$(VENV_PYTHON) -m ruff check --fix
	$(VENV_PYTHON) -m ruff format

# The resolver has an environment of its own, so a lock that no longer installs can still be mended.
lock: build/lock-tool/.installed-$(UV_VERSION)
	$(COMPILE) pyproject.toml --output-file requirements.txt
	$(COMPILE) pyproject.toml --output-file requirements-dev.txt --extra dev --constraint requirements.txt
	$(COMPILE) pyproject.toml --output-file requirements-ray.txt --extra ray --constraint requirements.txt
	$(COMPILE) tests/oracles/requirements.in --output-file tests/oracles/requirements.txt

build/lock-tool/.installed-$(UV_VERSION):
	rm -rf build/lock-tool
	python=$$(sh tools/find_python.sh) && $$python -m venv build/lock-tool
	build/lock-tool/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	touch $@

sbom: .venv/.installed-runtime
	mkdir -p build
	$(VENV_PYTHON) tools/sbom.py requirements.txt >build/sbom.json

# The auditor has an environment of its own, as the resolver has. It fails where it can reach no advisories.
audit: build/audit-tool/.installed
	build/audit-tool/bin/pip-audit --strict --progress-spinner=off --disable-pip --no-deps --requirement requirements.txt

build/audit-tool/.installed:
	rm -rf build/audit-tool
	python=$$(sh tools/find_python.sh) && $$python -m venv build/audit-tool
	build/audit-tool/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	touch $@

.venv/.installed-runtime: requirements.txt
	@sh tools/install_lock.sh requirements.txt

.venv/.installed-dev: requirements-dev.txt requirements.txt
	@sh tools/install_lock.sh requirements-dev.txt

# The Python that .venv was made with may be gone by now.
ifneq ($(shell test -x $(VENV_PYTHON) && echo sound),sound)
.venv/.installed-runtime .venv/.installed-dev: force
endif
force:

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -path ./runs -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
