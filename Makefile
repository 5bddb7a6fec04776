# Two commands for a stranger: `make demo` and `make test`. Both set everything up in .venv first.
#
# Without a GPU, take the small CPU build of torch:
#     make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TORCH := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)
SOURCES := pyproject.toml constraints.txt setup.py $(wildcard src/espalier/*.c src/espalier/*.h)

# What some tests need beyond Python: command or file:package, installed by `make ci-deps` where missing.
APT_TOOLS := gcc:gcc g++:g++ clang:clang chromium:chromium npm:npm valgrind:valgrind \
  qemu-system-arm:qemu-system-arm arm-none-eabi-gcc:gcc-arm-none-eabi \
  /usr/lib/arm-none-eabi/newlib/libc.a:libnewlib-arm-none-eabi qemu-aarch64:qemu-user \
  aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu /usr/aarch64-linux-gnu/lib/libc.a:libc6-dev-arm64-cross
WEB := examples/browser/node_modules/.package-lock.json

.PHONY: demo test test-all lint format ci-deps tools wheel clean

demo: $(READY)
	$(BIN)/espalier demo

test: lint
	$(BIN)/python -m pytest -q -m "not slow"

test-all: lint
	ESPALIER_REQUIRE_ALL=1 $(BIN)/python -m pytest -q

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check -q .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format -q .

$(READY): $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

ci-deps: tools
	$(MAKE) $(WEB)

tools:
	@missing=""; for tool in $(APT_TOOLS); do \
	  command -v $${tool%%:*} >/dev/null || test -e $${tool%%:*} || missing="$$missing $${tool##*:}"; done; \
	if [ -z "$$missing" ]; then echo "all tools are there"; \
	else apt-get update -q && apt-get install -q -y --no-install-recommends $$missing; fi

$(WEB): examples/browser/package-lock.json # onnxruntime-web, for the browser example and its test
	npm ci --prefix examples/browser --ignore-scripts --no-audit --no-fund
	touch $@

wheel: $(READY)
	$(BIN)/python -m pip wheel -q --no-deps -w dist .

clean:
	rm -rf build dist demo src/*.egg-info src/espalier/*.so .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
