# Wayleave. `make` lists what can be done; demo and test install what they need by themselves.

.DEFAULT_GOAL := help
.PHONY: help demo test check bench setup format clean

# What is given to make (NODE=22, ONCE=1, JOB=buildkite, GATEWAY=mesh) reaches the recipes' environment by itself.

WITH_NODE := sh scripts/with-node.sh
STEP := sh scripts/step.sh

help: ## show this list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/\1~\2/p' Makefile | awk -F '~' '{ printf "  make %-8s %s\n", $$1, $$2 }'
	@printf '\n  NODE=22|24 with any of them runs it on that Node, fetched from npm.\n'

demo: setup ## tell the story: ONCE=1 then stop, JOB=gitlab|buildkite, GATEWAY=nginx|mesh|nats
	@exec bin/wayleave demo

test: setup static ## everything: format, lint, types, unused code, unit tests, real servers
	@$(WITH_NODE) vitest run

check: setup static ## what to run before a commit: as test, without the real servers
	@$(WITH_NODE) vitest run --project unit

bench: setup ## print the benchmarks' figures and the machine they ran on
	@$(WITH_NODE) node bench/run.ts

format: setup ## format every file, and fix what the linter can fix
	@$(WITH_NODE) biome check --write .

setup: ## only install: Node, npm packages, real servers
	@sh scripts/setup.sh

clean: ## remove everything that make installed or built
	@rm -rf .cache node_modules dist coverage .wayleave-demo

.PHONY: static
static: setup
	@$(STEP) biome "format and lint" biome check --error-on-warnings .
	@$(STEP) tsc "types" tsc --noEmit
	@$(STEP) knip "nothing unused" knip --no-progress
