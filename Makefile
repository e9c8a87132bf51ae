# Two commands do all set-up: `make demo` and `make test`. Everything lands in .venv and .venv-peer; `make clean` undoes it.
PYTHON ?= python3
PIP = .venv/bin/python -m pip --quiet --disable-pip-version-check install
SOURCES = pyproject.toml setup.py $(wildcard _ext/*.pyx _ext/*.h _ext/kernels/*.[ch])

.PHONY: demo test check peer model bench clean

demo: .venv/demo.done          ## install, then encode and decode a real photograph on every engine
	.venv/bin/python examples/demo.py $(or $(IMAGE),.venv/sample/skimage/data/coffee.png)

test: .venv/test.done peer     ## install, then run every check and test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/python -m pytest

peer:                          ## a venv with CompressAI, which tests and benchmarks compare against (never a dependency)
	@scripts/setup-peer.sh

model: .venv/test.done         ## export the embedded default model again (needs ../shared)
	scripts/export-default.sh

bench: .venv/test.done peer    ## print the figures of the README (needs ../shared for real models and pictures)
	$(PIP) ".[bench]"
	.venv/bin/python benchmarks/conversion.py
	.venv/bin/python benchmarks/speed.py
	.venv/bin/python benchmarks/coder.py

.venv/bin/python:
	scripts/setup-system.sh
	$(PYTHON) -m venv .venv
	$(PIP) --upgrade pip

.venv/demo.done: .venv/bin/python $(SOURCES)
	$(PIP) .
	$(PIP) --no-deps --target .venv/sample "scikit-image>=0.22,<0.27"  # for its sample photographs only
	touch $@

.venv/test.done: .venv/bin/python $(SOURCES)
	$(PIP) --editable ".[test]"
	scripts/setup-emulators.sh
	touch $@

clean:
	rm -rf .venv .venv-peer build intcodec/*.so intcodec.egg-info
