# Two commands do all set-up: `make demo` and `make test`. Everything lands in .venv and .venv-peer; `make clean` undoes it.
PYTHON ?= python3
PIP = .venv/bin/python -m pip --quiet --disable-pip-version-check install
SOURCES = pyproject.toml setup.py $(wildcard _ext/*.pyx _ext/*.h _ext/*/*.[ch])

.PHONY: demo test test-fast peer models bench web fuzz conformance clean

demo: .venv/demo.done          ## install, then encode and decode a real photograph on every engine
	.venv/bin/python examples/demo.py $(or $(IMAGE),.venv/sample/skimage/data/coffee.png)

test: .venv/test.done peer     ## install, then run every check and test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/python -m pytest

test-fast: .venv/test.done     ## the checks and the tests that need no browser, emulator, peer or training: under 2 minutes
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/python -m pytest -q -n auto -m "not slow"

peer:                          ## a venv with CompressAI, which tests and benchmarks compare against (never a dependency)
	@scripts/setup-peer.sh

models: .venv/test.done        ## make the embedded models again: make models CHECKPOINTS="low.pth.tar high.pth.tar" (needs ../shared)
	scripts/export-ladder.sh $(CHECKPOINTS)

bench: .venv/test.done peer    ## print the figures of the README (needs ../shared for real models and pictures)
	$(PIP) ".[bench]"
	.venv/bin/python benchmarks/conversion.py
	.venv/bin/python benchmarks/speed.py
	.venv/bin/python benchmarks/coder.py

fuzz: .venv/test.done          ## fuzz every target for TIME seconds each, then kill commands at 200 moments (docs/hostile.md)
	scripts/setup-fuzz.sh
	fuzz/run.sh $(or $(TIME),60)
	.venv/bin/python fuzz/kill.py

web: .venv/test.done           ## build the decoder for browsers and Node into web/dist
	scripts/build-web.sh
	@echo "web: built; try it: .venv/bin/python -m http.server --bind 127.0.0.1 --directory web/dist"

conformance: .venv/test.done   ## replay the conformance vectors on every device that can be set up here (.conformance/)
	scripts/setup-emulators.sh matrix
	.venv/bin/python scripts/conformance/matrix.py --markdown docs/matrix.md
	@echo "conformance: scripts/conformance/kodak.py does the same with real pictures and models (hours; docs/conformance.md)"

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
	scripts/setup-web.sh
	touch $@

clean:
	rm -rf .venv .venv-peer .conformance build web/dist intcodec/*.so intcodec.egg-info
