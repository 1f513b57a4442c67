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

.PHONY: help run test check services down .env

help: ## list the targets
	@sed -nE 's/^([a-z.]+):.*## (.*)/\1\t\2/p' Makefile | while IFS="	" read -r target text; do \
		printf '  make %-10s %s\n' "$$target" "$$text"; done

run: services .env ## start MongoDB and NATS, then the service, in the foreground (a debug build: it answers soonest)
	@cargo run --locked

test: services ## start MongoDB and NATS, then run all tests against them
	@if command -v cargo-nextest >/dev/null; then \
		cargo nextest run --locked && cargo test --locked --doc; \
	else \
		cargo test --locked; \
	fi

check: ## formatting, lints, documentation, dependencies
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
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
