# What a person or CI calls. `make` alone lists the targets.

MONGO_PORT ?= 27017
NATS_PORT ?= 4222
export MONGO_PORT NATS_PORT

# A port chosen on the command line goes before the address in .env: the environment wins over that file.
ifneq ($(MONGO_PORT),27017)
export MONGO_URI ?= mongodb://127.0.0.1:$(MONGO_PORT)/tickets?replicaSet=rs0
endif
ifneq ($(NATS_PORT),4222)
export NATS_URL ?= nats://127.0.0.1:$(NATS_PORT)
endif

TEST_MONGO_URI ?= mongodb://127.0.0.1:$(MONGO_PORT)/?replicaSet=rs0
TEST_NATS_URL ?= nats://127.0.0.1:$(NATS_PORT)
test: export TEST_MONGO_URI := $(TEST_MONGO_URI)
test: export TEST_NATS_URL := $(TEST_NATS_URL)

.PHONY: help run test check bench fuzz mutants faults docs-page alerts openapi chaos chaos-short chaos-convict services down .env

help: ## list the targets
	@sed -nE 's/^([a-z.-]+):.*## (.*)/\1\t\2/p' Makefile | while IFS="	" read -r target text; do \
		printf '  make %-13s %s\n' "$$target" "$$text"; done

run: services .env ## start MongoDB and NATS, then the service, in the foreground (a debug build: it answers soonest)
	@cargo run --locked

test: services ## start MongoDB and NATS, then run all tests, a short run of chaos among them
	@if command -v cargo-nextest >/dev/null; then \
		cargo nextest run --workspace --locked && cargo test --locked --doc; \
	else \
		cargo test --workspace --locked; \
	fi
	@FUZZ_EXAMPLES=10 FUZZ_SEED=7 scripts/fuzz
	@scripts/try-docs-page
	@$(MAKE) --no-print-directory alerts chaos-short chaos-convict

fuzz: services ## requests made from the OpenAPI document (schemathesis); FUZZ_EXAMPLES, FUZZ_SEED
	cargo build --locked
	scripts/fuzz

mutants: ## change the code in one place at a time, and see a test fail each time; FILE=src/outbox/lease.rs for a part
	@scripts/mutants $(FILE)

faults: ## put in the faults of tests/faults/, each alone, and see its test fail; NAME=…, FAULTS_ALL=1 for all tests
	@scripts/faults $(NAME)

docs-page: services ## create a ticket on the page /docs, in a real browser; target/docs-page.png is how it looks
	cargo build --locked
	scripts/try-docs-page

alerts: ## check the alert rules, with Prometheus's own promtool
	@scripts/promtool check rules deploy/alerts.yml
	@scripts/promtool test rules deploy/alerts_test.yml

openapi: ## write docs/openapi.json anew
	cargo run --locked --quiet -- openapi > docs/openapi.json

# Cargo puts programs elsewhere where CARGO_TARGET_DIR says so. Only what runs is built: bench is not.
chaos chaos-short chaos-convict chaos-broken: PROGRAMS := $(or $(CARGO_TARGET_DIR),target)
chaos chaos-short chaos-convict chaos-broken: SERVERS := $(or $(SERVICES_DIR),.services)/bin

chaos: ## faults under load on clusters of three, then the verdict; CHAOS_SECONDS, CHAOS_RATE, CHAOS_SEED, CHAOS_SMALL
	@scripts/services bin >/dev/null
	cargo build --locked --release -p tickets -p chaos
	$(PROGRAMS)/release/chaos run --program $(PROGRAMS)/release/tickets --servers $(SERVERS)

chaos-short: ## the same for half a minute on one of each, with a fixed seed and the debug build
	@scripts/services bin >/dev/null
	cargo build --locked -p tickets -p chaos
	CHAOS_SMALL=1 CHAOS_SECONDS=35 CHAOS_GAP=2 CHAOS_RATE=60 CHAOS_SEED=175 \
		$(PROGRAMS)/debug/chaos run --program $(PROGRAMS)/debug/tickets --servers $(SERVERS) --json $(PROGRAMS)/chaos-short.json

chaos-convict: ## builds with a defect on purpose, each of which the checker must convict
	@scripts/services bin >/dev/null
	cargo build --locked -p tickets -p chaos --features tickets/sabotage
	cp $(PROGRAMS)/debug/tickets $(PROGRAMS)/debug/tickets-sabotaged
	cargo build --locked -p tickets -p chaos
	$(PROGRAMS)/debug/chaos convict --program $(PROGRAMS)/debug/tickets-sabotaged --servers $(SERVERS)

.PHONY: chaos-broken
chaos-broken: ## runs that can't prove anything, each of which must fail and say why
	@scripts/services bin >/dev/null
	cargo build --locked -p tickets -p chaos
	$(PROGRAMS)/debug/chaos broken --program $(PROGRAMS)/debug/tickets --servers $(SERVERS)

bench: ## each figure beside its limit, measured in the same run; BENCH_ONLY and BENCH_ROUNDS choose
	@scripts/services bin >/dev/null
	cargo build --locked --release --workspace
	target/release/bench

check: ## formatting, lints, documentation, dependencies
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items
	@if command -v cargo-deny >/dev/null; then \
		echo "cargo deny check"; cargo deny --locked check; \
	else \
		echo "cargo deny check: skipped, cargo-deny is not installed (cargo install --locked cargo-deny)"; \
	fi

services: ## start MongoDB (replica set) and NATS (JetStream); MONGO_PORT and NATS_PORT choose other ports
	@scripts/services up

down: ## stop what scripts/services started; the data stays under .services/
	@scripts/services down

.env: ## make .env from .env.example, with a fresh random JWT_KEY where there is none
	@scripts/dotenv
