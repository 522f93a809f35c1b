# make study   set up, run the main job, say where the results lie
# make test    set up, run every test
# make site    build the documentation into _docs/html
# make bench   compare speed with peers (installs them in an environment of their own)

VENV ?= .venv
OUT  ?= results
BIN  := $(VENV)/bin
export PIP_REQUIRE_VIRTUALENV := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Raw data sets are read from the folder PLCAL_DATA; one that lies beside the checkout is taken when the variable is not set.
export PLCAL_DATA ?= $(abspath $(firstword $(wildcard data/raw ../shared/data)))

.PHONY: study test site bench clean

study: $(VENV)/ready
	$(BIN)/plcal study --out $(OUT)

test: $(VENV)/ready
	$(BIN)/python docs/nbtool.py check
	$(BIN)/python docs/nbtool.py readme --check
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy --no-error-summary
	$(BIN)/nbdev_test --n_workers 2
	$(MAKE) --no-print-directory site
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

site: $(VENV)/ready
	$(BIN)/sphinx-build -W --keep-going -q -c docs -d _docs/doctrees nbs _docs/html
	@echo "The site is at _docs/html/index.html"

bench: $(VENV)/ready
	$(BIN)/python benchmarks/run.py

# Made again only when what is to be installed has changed, so that a second run needs no network.
$(VENV)/ready: constraints.txt settings.ini setup.py
	test -x $(BIN)/python || python3 -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt setuptools
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[lm,dev,docs]'
	touch $@

clean:
	rm -rf $(VENV) _docs $(OUT) jupyter_execute
