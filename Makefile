# What a person or CI calls. `make` alone lists the targets.

# Cargo knows it: CARGO_TARGET_DIR and cargo's own settings move it. Asked in the recipe, so that make's own variables count.
target_dir = $$(cargo metadata --locked --no-deps --format-version 1 | sed -nE 's/.*"target_directory":"([^"]+)".*/\1/p')
# The name of the package is that of the program and, where MONGO_URI names none, of the database.
program = $$(sed -n '/^\[package\]/,/^name/ s/^name = "\(.*\)"/\1/p' Cargo.toml)
# What runs side by side is printed one after the other, where make can.
in_blocks = $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)
# As the tests are built: a choice of packages would have other features of dependencies, and compile them anew.
build = cargo build --locked --workspace --bins --tests

.PHONY: help run test check bench bench-curves bench-history bench-three how-long fuzz mutants faults docs-page live-page walks alerts manifests rolling upgrade openapi asyncapi
.PHONY: asyncapi-valid new-service try-new-service chaos chaos-loop chaos-short chaos-convict chaos-broken chaos-power services down tools .env

help: ## list the targets
	@sed -nE 's/^([a-z.%-]+):.*## (.*)/\1\t\2/p' Makefile | while IFS="	" read -r target text; do \
		printf '  make %-13s %s\n' "$$target" "$$text"; done

run: tools .env services ## start MongoDB and NATS, then the service, in the foreground (a debug build: it answers soonest)
	@cargo run --locked

run-%: ## a service of siblings/ beside it, such as run-orders, with its own .env there
	@[ -d "siblings/$*" ] || { echo "there is no service $*; make run starts tickets, and there are:$$(cd siblings && printf ' make run-%s' */ | tr -d /)"; exit 2; }
	@$(MAKE) --no-print-directory tools .env services
	@scripts/dotenv siblings/$*
	@cd siblings/$* && env -u LISTEN_ADDR -u ADMIN_ADDR cargo run --locked

test: tools services ## start MongoDB and NATS, then run all tests, a short run of chaos among them
	@$(build)
	@if command -v cargo-nextest >/dev/null; then \
		cargo nextest run --workspace --locked; \
	else \
		env $$(scripts/services env) cargo test --workspace --all-targets --locked; \
	fi
	@scripts/fetch
	@echo "side by side, and printed when each has ended: the walks, the pages, requests from the document, what is published of it"
	@$(MAKE) --no-print-directory --jobs 3 $(in_blocks) FUZZ_EXAMPLES=10 FUZZ_HOSTILE=3000 FUZZ_SEED=7 LOOKS="--two-looks --seconds 1" \
		walks live-page fuzz docs-page asyncapi-valid alerts
# Beside others it would be too slow for its own limits.
	@$(MAKE) --no-print-directory chaos-short

fuzz: tools services ## requests made from the OpenAPI document (schemathesis), and hostile ones; FUZZ_EXAMPLES, FUZZ_HOSTILE, FUZZ_SEED
	scripts/fuzz

mutants: ## change the code in one place at a time, and see a test fail each time; FILE=crates/messaging/src/lease.rs for a part
	@scripts/mutants $(FILE)

faults: ## put in the faults of tests/faults/, each alone, and see its test fail; NAME=…, FAULTS_ALL=1 for all tests
	@scripts/faults $(NAME)

docs-page: tools services ## create a ticket on the page /docs, in a real browser; docs-page.png in cargo's target directory shows it
	scripts/try-docs-page

live-page: tools services ## look at the live page in a real browser while NATS goes and the service stops; live-page-….png in cargo's target directory; LOOKS are its arguments
	@scripts/try-live-page $(LOOKS)

walks: tools services ## go README's walks line by line, with services of this run's own
	@scripts/try-walks

alerts: ## check the alert rules, with Prometheus's own promtool
	@scripts/promtool check config deploy/prometheus.yml
	@scripts/promtool test rules deploy/alerts_test.yml

manifests: ## render deploy/k8s for each kind of cluster, and check it: schemas of Kubernetes, and what our services need
	@scripts/manifests

rolling: tools services ## replace two instances behind HAProxy and nginx, twenty times each, under load; ROLLING_ROUNDS
	@scripts/tools haproxy nginx
	cargo nextest run --locked -p "$(program)" --test it --run-ignored only --no-capture -E 'test(::behind_) & test(/^(rolling|proxies)::/)'

upgrade: ## replace two instances of an older build, COMMIT=…, by today's behind HAProxy under load, and step back; ROLLING_ROUNDS
	@scripts/upgrade "$(COMMIT)"

openapi: ## write docs/openapi.json and those of siblings/ anew
	cargo run --locked --quiet -- openapi > docs/openapi.json
	for sibling in siblings/*; do \
		cargo run --locked --quiet -p "$${sibling#siblings/}" -- openapi > "$$sibling/openapi.json" || exit 1; \
	done

asyncapi: ## write docs/asyncapi.json and those of siblings/ anew
	cargo run --locked --quiet -- asyncapi > docs/asyncapi.json
	for sibling in siblings/*; do \
		cargo run --locked --quiet -p "$${sibling#siblings/}" -- asyncapi > "$$sibling/asyncapi.json" || exit 1; \
	done

asyncapi-valid: ## check the AsyncAPI documents by AsyncAPI's own schema
	@scripts/asyncapi-valid docs/asyncapi.json siblings/*/asyncapi.json

chaos: ## faults under load on clusters of three, then the verdict and chaos.html to look at; CHAOS_SECONDS, CHAOS_RATE, CHAOS_SEED, CHAOS_SMALL
	@scripts/services bin >/dev/null
	cargo build --locked --release -p "$(program)" -p chaos
	"$(target_dir)/release/chaos" run --program "$(target_dir)/release/$(program)"

chaos-loop: ## the same with orders, which clients place and cancel at two instances of siblings/orders: each takes its ticket once, in time
	@scripts/services bin >/dev/null
	cargo build --locked --release -p "$(program)" -p orders -p chaos
	"$(target_dir)/release/chaos" run --program "$(target_dir)/release/$(program)" --orders "$(target_dir)/release/orders" --json "$(target_dir)/chaos-loop.json"

# The seed is fixed, so that a run can be repeated; 35 s hold twelve faults of this list. All of them can be had without root.
short_faults := kill-instance,kill-publisher,terminate-instance,pause-instance,pause-publisher,kill-nats,kill-all-nats,pause-nats,kill-primary,pause-primary,cut-nats,slow-nats,tear-nats,slow-mongo,tear-mongo,lose-history,poison,purge-key,skip,retry,replay
short_chaos = CHAOS_SMALL=1 CHAOS_SECONDS=35 CHAOS_GAP=2 CHAOS_RATE=60 CHAOS_SEED=175 \
	"$(target_dir)/debug/chaos" run --program "$(target_dir)/debug/$(program)" --faults $(short_faults)
chaos-short: ## chaos and chaos-loop for half a minute each on one of each server, with a fixed seed and the debug build
	@scripts/services bin >/dev/null
	$(build)
	$(short_chaos) --json "$(target_dir)/chaos-short.json"
	$(short_chaos) --rate 40 --orders "$(target_dir)/debug/orders" --json "$(target_dir)/chaos-loop-short.json"

chaos-power: ## what servers lose of what they acknowledged when their power fails, and what outbox replay brings back (needs root)
	@scripts/services bin >/dev/null
	$(build)
	"$(target_dir)/debug/chaos" power-loss --program "$(target_dir)/debug/$(program)"

chaos-convict: ## builds with a defect on purpose (chaos/defects/), each of which the checker must convict; NAME=…
	@scripts/convict $(NAME)

chaos-broken: ## runs that can't prove anything, each of which must fail and say why
	@scripts/services bin >/dev/null
	$(build)
	"$(target_dir)/debug/chaos" broken --program "$(target_dir)/debug/$(program)"

bench: tools ## each figure beside its limit, measured in the same run; BENCH_ONLY and BENCH_ROUNDS choose, BENCH_PLOTS is the plots' folder
	@scripts/services bin >/dev/null
	cargo build --locked --release -p "$(program)" -p bench
	"$(target_dir)/release/bench" --program "$(target_dir)/release/$(program)"

bench-history: export BENCH_ONLY = history
bench-history: export BENCH_JSON = bench-history.json
bench-history: bench ## what a long past costs; BENCH_OLD_EVENTS and BENCH_OLD_TICKETS choose how long

bench-curves: export BENCH_ONLY = load-curve,drain-curve,history-curve
bench-curves: export BENCH_JSON = bench-curves.json
bench-curves: bench ## the plots of docs/benchmarks.md, into BENCH_PLOTS

bench-three: export BENCH_ONLY = three-creates32,three-creates256,three-drain,three-lag
bench-three: export BENCH_JSON = bench-three.json
bench-three: bench ## three nodes of each server, beside raw loops on the same

how-long: tools ## make run from nothing, and a changed handler, each to a service that answers; ROUNDS, CHANGES
	scripts/how-long

check: tools ## formatting, lints, documentation, dependencies, manifests; whether each patch still applies
	cargo fmt --check
	@for fault in tests/faults/*.patch chaos/defects/*.patch; do patch -p1 --dry-run --forward --fuzz=0 --silent <"$$fault" || { echo "$$fault does not apply: write it anew"; exit 1; }; done
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items
	scripts/deny
	scripts/manifests

new-service: ## write a service of one resource into siblings/: NAME=payments, in the plural; SINGULAR=… where that is not without its s
	@scripts/new-service "$(NAME)" "$(SINGULAR)"

try-new-service: tools services ## make one in a copy of the tree, and run its tests there
	@scripts/try-new-service

services: ## start MongoDB (replica set) and NATS (JetStream); MONGO_PORT and NATS_PORT choose other ports
	@scripts/services up

down: ## stop what scripts/services started; the data stays under .services/
	@scripts/services down

tools:
	@scripts/tools cargo cc

.env: ## make .env from .env.example, with a random JWT_KEY and the ports chosen in the environment
	@scripts/dotenv
