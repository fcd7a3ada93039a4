# Everything a person needs. Each target makes what it needs, says what it does, and is quick the second time.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
N ?= 10
SEED ?= 0
GROUPS_TRIED ?= 20000
BOOKS ?= ../shared/data/books/weather

.DEFAULT_GOAL := help
.PHONY: help env run crash chaos dislocations deploy-local bench-feed bench-relations bench-detect bench-startup bench-latency bench-journal week exact recordings fuzz test check lint types lock clean

help:  ## what can be done here
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

env:
	@$(PYTHON) infra/env/bootstrap.py .venv

run: env  ## the whole system on this machine: embedded exchange, embedded AWS, no account, no key (ARGS="--help")
	@exec $(BIN)/kalshi-arb run $(ARGS)

crash: env  ## kill everything N times at random moments, start again, count what was lost (N=100)
	@exec $(BIN)/python -m infra.local.crash --kills $(N) $(ARGS)

chaos: env  ## N seeded fault schedules in virtual time (N=10000 SEED=0; N=1 shows one run; ARGS="--only NAME")
	@exec $(BIN)/python -m infra.chaos --runs $(N) --seed $(SEED) $(ARGS)

dislocations: env  ## dislocations planted in recorded books: every basket explained, every loss beside its bound (needs ../shared)
	@exec $(BIN)/python -m infra.bench.dislocations $(BOOKS) --docs infra/docs $(ARGS)

deploy-local:  ## the real sam build and sam deploy against the embedded AWS: smoke test, update, refusal, rollback
	@$(PYTHON) infra/env/bootstrap.py .venv .venv-sam
	@exec $(BIN)/python -m infra.local.deploy_check $(ARGS)

bench-feed:  ## our stream, book and screen beside pykalshi and nautilus_trader, on the same frames (JSON)
	@$(PYTHON) infra/env/bootstrap.py .venv .venv-bench
	@PYTHONPATH=.:shared:feed_container .venv-bench/bin/python -m infra.bench.feed --json $(ARGS)

bench-relations: env  ## what discovery finds, believes wrongly and costs: 96 cases, 4,000 worlds, 75,000 markets
	@exec $(BIN)/python -m infra.bench.relations $(ARGS)

bench-detect: env  ## exact solvers and screen beside PuLP+CBC and HiGHS, on the same books (JSON)
	@$(BIN)/python -m infra.bench.detect --json $(ARGS)
	@$(BIN)/python -m infra.bench.detect_universe --json --plot infra/docs $(ARGS)

bench-startup: env  ## how long the detection handler takes to import, in fresh processes (JSON)
	@exec $(BIN)/python -m infra.bench.startup --json $(ARGS)

bench-latency: env  ## candidate to first order, cold and warm, in code and in the local cloud; an estimate for AWS (JSON)
	@exec $(BIN)/python -m infra.bench.latency --json $(ARGS)

bench-journal: env  ## what a journal of 100,000 entries costs: append, verify, report, keep (JSON)
	@exec $(BIN)/python -m infra.bench.journal --json $(ARGS)

week: env  ## a week in virtual time: 200 baskets, disputes, amendments, a void, a fee change; every difference explained
	@exec $(BIN)/python -m infra.chaos.week $(ARGS)

exact: env  ## random groups against an independent integer program (GROUPS_TRIED=20000)
	@KALSHI_ARB_EXACT=$(GROUPS_TRIED) $(BIN)/pytest --quiet -s tests/property/test_solvers_exact.py

recordings: env  ## every recording of the exchange beside what is known of it (needs ../shared)
	@KALSHI_ARB_RECORDINGS=full $(BIN)/pytest --quiet -s tests/contract/test_relations_truth.py \
	  tests/contract/test_relations_baseline.py tests/contract/test_relations_catalogue.py

fuzz: env  ## 100,000 mutated frames and 20,000 mutated replies: the long form of what the tests try
	@KALSHI_ARB_FUZZ=full $(BIN)/pytest --quiet tests/property/test_stream_fuzz.py tests/property/test_rest_fuzz.py

test:  ## environment, lint, types, all tests with coverage
	@$(PYTHON) infra/env/bootstrap.py .venv .venv-sam .venv-sdk
	@$(MAKE) --no-print-directory check
	@echo "tests ..."
	@$(BIN)/coverage erase
	@$(BIN)/pytest --numprocesses 3 --cov --cov-report=term:skip-covered --quiet $(ARGS)
	@for room in domain detection execution risk; do \
	  $(BIN)/coverage report --include="shared/kalshi_arb/$$room/*" --format=total | \
	    awk -v room=$$room '{ print "branch coverage of " room ": " $$1 " %"; exit ($$1 < 90) }' || exit 1; done

check: env lint types  ## lint and types only

lint:
	@echo "lint ..."
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "formatting differs: run $(BIN)/ruff format ."; exit 1; }

types:
	@echo "types ..."
	@$(BIN)/mypy

lock:  ## resolve the requirements again (needs uv) into hashed files that name no package index
	@for name in 3.11:infra/env/requirements 3.11:infra/env/sam 3.13:infra/env/sdk 3.12:infra/env/bench; do \
	  uv pip compile --quiet --universal --python-version $${name%%:*} --generate-hashes --no-emit-index-url \
	    --no-emit-find-links --no-header --no-annotate $${name#*:}.in -o $${name#*:}.txt; done
	@uv pip compile --quiet --python-version 3.13 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-header --no-annotate -c infra/env/requirements.txt infra/solver_layer/requirements.in -o infra/solver_layer/requirements.txt
	@for name in shared/requirements feed_container/requirements; do \
	  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-emit-find-links --no-header --no-annotate -c infra/env/requirements.txt $$name.in -o $$name.txt; done

clean:  ## remove everything that was made here, the local run's state included
	@rm -rf .venv .venv-sam .venv-sdk .venv-bench .local .aws-sam .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage infra/env/.lock
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
