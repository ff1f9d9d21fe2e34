# The few verbs people need. cargo, lab/setup and the lab do the work; this file only gives it names.
.DEFAULT_GOAL := help
.PHONY: help demo demo-down test test-all test-production lint fmt audit lab-up lab-down lab-status bench-lab bench-page
.PHONY: bench-operator screenshots setup deny

CARGO ?= cargo
# Another version may judge by other rules.
CARGO_DENY = 0.20.2
LAB = $(CARGO) run --quiet --locked --package fairlead-lab --
# nextest where it is there; it knows no doc tests, so those follow.
RUN_TESTS = if $(CARGO) nextest --version >/dev/null 2>&1; \
	then $(CARGO) nextest run --locked --workspace --no-fail-fast && $(CARGO) test --locked --workspace --doc; \
	else $(CARGO) test --locked --workspace --no-fail-fast; fi
# As the tests share one Fairlead, one after the other also without nextest.
E2E = if $(CARGO) nextest --version >/dev/null 2>&1; \
	then $(CARGO) nextest run --locked --package fairlead-server --test it --no-fail-fast -E 'test(/^e2e::/)'; \
	else $(CARGO) test --locked --package fairlead-server --test it e2e::; fi

help: ## Show these lines
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  make %-15s %s\n", $$1, $$2 }'

demo: setup ## Cluster, Fairlead in it, a notebook, and who gets into it by ssh (root)
	$(CARGO) build --locked --package fairlead-server
	$(LAB) demo

demo-down: ## Remove the demo and its cluster
	$(LAB) demo-down

test: setup ## What CI runs, with a real cluster; ends the cluster unless it was up before (root)
	$(CARGO) build --locked --workspace --all-targets
	@up_before=no; if $(LAB) status >/dev/null; then up_before=yes; fi; \
	code=0; \
	if [ $$up_before = no ]; then lab/test-down target/debug/fairlead-lab || code=$$?; fi; \
	$(LAB) up || exit 1; \
	{ $(RUN_TESTS); } || code=$$?; \
	if [ $$up_before = no ]; then $(LAB) down || code=1; fi; \
	exit $$code

test-all: export FAIRLEAD_TEST_FULL = 1
test-all: test test-production ## All at full length, as in production too, on each of FAIRLEAD_KUBE_BINS (root)
	@[ -n "$(FAIRLEAD_KUBE_BINS)" ] || echo 'FAIRLEAD_KUBE_BINS names no folders: nothing beyond one Kubernetes was run'
	@$(LAB) down
	@set -e; for bin in $(FAIRLEAD_KUBE_BINS); do \
	echo "make test with $$bin"; FAIRLEAD_KUBE_BIN=$$bin $(MAKE) --no-print-directory test test-production; done

test-production: setup ## The end-to-end tests with Fairlead installed as in production; ends a running cluster (root)
	$(CARGO) build --locked --workspace --all-targets
	@$(LAB) down
	@code=0; export FAIRLEAD_LAB_INSTALLATION=production; $(LAB) up || exit 1; \
	$(E2E) || code=$$?; \
	$(LAB) down || code=1; \
	exit $$code

lint: deny ## Format, clippy, licences and sources of dependencies, shell scripts
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) deny check --hide-inclusion-graph bans licenses sources
	@command -v shellcheck >/dev/null || { echo 'shellcheck is not installed: lab/setup installs it' >&2; exit 1; }
	grep -rlE '^#!/(usr/)?bin/(env )?(ba)?sh|^#!/command/with-contenv|^# shellcheck shell=' .ci images lab \
		--exclude-dir=downloads | xargs shellcheck --external-sources --source-path=SCRIPTDIR

fmt: ## Format the Rust code
	$(CARGO) fmt --all

audit: deny ## Known vulnerabilities of dependencies; fetches their database
	$(CARGO) deny check advisories

lab-up: setup ## Start a real Kubernetes on this machine (root)
	$(LAB) up

lab-down: ## End it and leave nothing (root)
	$(LAB) down

lab-status: ## Show what of it runs
	@$(LAB) status

bench-lab: setup ## Measure the lab and the demo, for docs/benchmarks.md (root)
	$(CARGO) build --locked --package fairlead-server
	$(LAB) bench

screenshots: setup ## Pictures of the page into docs/screenshots, of the demo where it runs
	$(CARGO) run --quiet --locked --package fairlead-server --example screenshots -- docs/screenshots

bench-page: setup ## Measure the page on 2,000 notebooks and 200 event streams, for docs/benchmarks.md
	$(CARGO) build --locked --release --package fairlead-server --package fairlead-lab
	target/release/fairlead-lab bench-page --server target/release/fairlead-server

bench-operator: setup ## Measure the operator on 500, 2,000 and 8,000 notebooks, for docs/benchmarks.md (some minutes)
	$(CARGO) build --locked --release --package fairlead-server --package fairlead-lab
	target/release/fairlead-lab bench-operator --server target/release/fairlead-server

setup:
	@lab/setup

deny:
	@[ "$$($(CARGO) deny --version 2>/dev/null)" = 'cargo-deny $(CARGO_DENY)' ] || { \
	echo 'installing cargo-deny $(CARGO_DENY), which checks dependencies (some minutes, once)'; \
	$(CARGO) install --locked --version $(CARGO_DENY) cargo-deny; }
