# Two commands on a fresh machine: `make score` and `make test`. Everything goes into .venv; nothing else is touched.
PYTHON ?= python3
VENV   ?= .venv
INPUT  ?= data/samples/telegram-export/result.json
OUTPUT ?= out/scored.parquet

.PHONY: help score test lint train clean

help:
	@echo "make score                          install and score the sample dump"
	@echo "make score INPUT=dump OUTPUT=file   score another (.parquet, .jsonl or .csv)"
	@echo "make test                           install what tests need and run them all"
	@echo "make train                          train a bundle from data/posts, over the shipped one (its card has its own command)"

score: $(VENV)/.installed
	$(VENV)/bin/narratives score "$(INPUT)" -o "$(OUTPUT)"

test: $(VENV)/.installed-dev
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" sh .ci/checks

train: $(VENV)/.installed-dev
	$(VENV)/bin/python scripts/train.py

clean:
	rm -rf "$(VENV)" out build dist

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv "$(VENV)"

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable '.[fast]'
	touch $@

# The constraints pin torch: a range may pull gigabytes of CUDA.
$(VENV)/.installed-dev: pyproject.toml .ci/constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --constraint .ci/constraints.txt --editable '.[dev]'
	# Without its dependencies: they pin numpy to an older one. What its label_interface needs of them is in [dev].
	$(VENV)/bin/python -m pip install --quiet --no-deps 'label-studio-sdk>=2.1,<2.2'
	touch $@ $(VENV)/.installed
