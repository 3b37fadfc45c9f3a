PYTHON ?= python3
BIN = .venv/bin
READY = .venv/.ready

DOCS = docs/_build docs/auto_examples docs/reference
BENCHES = step inverse time_to_accuracy scaling

.PHONY: demo test bench docs lint clean

demo: $(READY)  ## four networks become four estimators; then real digits
	$(BIN)/python -m skinvbayes $(ARGS)

test: $(READY)  ## the test suite with the doctests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope $(ARGS)

bench: .venv/.ready-bench  ## speed, beside the packages one could take instead
	status=0; for name in $(BENCHES); do $(BIN)/python benchmarks/bench_$$name.py $(ARGS) || status=1; done; exit $$status

docs: .venv/.ready-docs  ## the site, docs/_build/html/index.html
	$(BIN)/sphinx-build -W --keep-going -b html $(ARGS) docs docs/_build/html
	$(BIN)/python docs/check_links.py docs/_build/html

lint: $(READY)  ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:  ## remove what the other targets made
	rm -rf .venv skinvbayes-demo skinvbayes-figures skinvbayes.egg-info build dist $(DOCS)

# torch first and pinned, so that no later package pulls another build of it
$(READY): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/pip install --quiet -c constraints.txt -e ".[test,dev]"
	touch $@

.venv/.ready-bench: $(READY)
	$(BIN)/pip install --quiet -c constraints.txt -e ".[bench]"
	touch $@

.venv/.ready-docs: $(READY)
	$(BIN)/pip install --quiet -c constraints.txt -e ".[docs]"
	touch $@
