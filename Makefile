# The targets are what CI runs, one for one. A newcomer needs two: `make demo` and `make test`. Both install, or name, what they need.
#
# One cargo profile, `release`, serves them all, so that the dependencies are built once.

CARGO ?= cargo
KEYWAY := target/release/keyway

# How long `make fuzz` stays with each target.
SECONDS_EACH ?= 60

# What `make test` runs, cheap before dear.
STEPS := fmt clippy doc guests unit build languages e2e demo-run

.DEFAULT_GOAL := help
.PHONY: help setup-demo setup demo test fmt clippy doc unit guests build e2e demo-run deny bench fuzz languages generated

help: ## Show this list.
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: setup-demo guests build demo-run ## Watch records flow: a broker, sandboxed plugins and destinations in one process, for 30 seconds.

test: setup ## Everything below, on a real Kafka: about half an hour the first time on two cores.
	@scripts/test.sh $(STEPS)

setup-demo: ## Install, or name, what the demo needs: a C compiler, make, pkg-config, OpenSSL's headers.
	@scripts/setup.sh demo

setup: ## Install, or name, what the tests need: the same, a JDK and Maven.
	@scripts/setup.sh test

fmt: ## Check the format of the code.
	$(CARGO) fmt --all --check
	$(CARGO) fmt --all --check --manifest-path plugins/Cargo.toml

clippy: ## Lint everything; a warning is an error.
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings

doc: ## Build the documentation, that of private items too; a warning is an error.
	RUSTDOCFLAGS="-D warnings --document-private-items" $(CARGO) doc --release --locked --workspace --no-deps

unit: ## Run the tests that need no Kafka.
	$(CARGO) test --release --locked --workspace --exclude e2e

guests: ## Build the example plugins and the hostile ones.
	scripts/build-guests

build: ## Build `keyway`.
	$(CARGO) build --release --locked -p keyway

e2e: guests build ## Run the end-to-end tests on a real Kafka (KEYWAY_TEST_BROKERS, Kafka's jars, or Docker).
	$(CARGO) test --release --locked -p e2e

demo-run:
	$(KEYWAY) demo --plugins plugins/built

deny: ## Check licences, advisories and bans of the dependencies (needs cargo-deny).
	@$(CARGO) deny --version >/dev/null 2>&1 || { echo "deny: cargo-deny is not installed, so nothing was checked"; \
	  echo "  hint: cargo install --locked cargo-deny"; exit 1; }
	$(CARGO) deny check

fuzz: guests ## Throw bytes at the gate, the configuration, commit metadata and paths: SECONDS_EACH seconds each (60).
	scripts/fuzz $(SECONDS_EACH)

bench: guests build ## Measure: the parts by themselves, the whole beside a native twin, and what slow, hung and hostile parts cost.
	$(CARGO) bench --locked -p keyway
	$(CARGO) run --release --locked -p bench -- all

languages: ## Hold every language's SDK to the same requests, and build its examples (KEYWAY_LANGUAGES=all installs the tools, and requires them).
	@scripts/languages

generated: ## Compare the generated bindings in sdk/ with what the generators make of the contract.
	@scripts/setup-languages.sh generators
	@scripts/generated --check
