# `make` lists what can be made. Everything that builds or tests need and a machine may lack (a Docker Engine, LocalStack,
# images) is brought by the scripts in tests/services.

PREFIX ?= /usr/local
TOOLS   = ncaas-build ncaas-exec ncaas-logs ncaas-sync ncaas-submit
SCRIPTS = .ci/run tests/demo tests/fixture/rootfs tests/analyses/pca/run.sh ncaas-submit/serve/serve tests/engines \
          $(filter-out %.Dockerfile %.txt,$(wildcard tests/services/*)) \
          $(shell grep -rlE '^.!/usr/bin/env bash' tests/bench)
# nextest runs the tests of all crates side by side; cargo's own runner takes one crate after the other.
RUNNER  = $(if $(shell command -v cargo-nextest),nextest run,test --lib --bins --tests) --no-fail-fast

.PHONY: help build demo test test-engines check format lint docs bench install serve clean services stop

help: ## list these targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 22

build: ## build the five tools, optimised, into target/release
	cargo build --workspace --release

demo: ## run an analysis from a submit file to its results; sets up all it needs
	@tests/demo

test: ## run all tests against a real engine and LocalStack; sets up both
	cargo build --workspace
	cargo test --workspace --doc --quiet
	tests/services/with cargo $(RUNNER) --workspace

test-engines: ## run the tests of containers and the pipe on a modern engine, on one reached by ssh, and on Podman
	@tests/engines

check: format lint docs test ## everything that must pass before a change lands

format: ## check the formatting
	cargo fmt --all --check

lint: ## clippy and shellcheck, without warnings
	cargo clippy --workspace --all-targets -- --deny warnings
	@if command -v shellcheck >/dev/null; then set -x; shellcheck --external-sources $(SCRIPTS); \
	else echo "make: shellcheck is not installed: the scripts stay unchecked" >&2; fi

docs: ## check that the library's documentation builds without warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --package ncaas-core --all-features --no-deps --document-private-items --quiet

bench: build ## measure against the docker CLI, s5cmd and rclone, side by side
	@tests/bench/all

install: build ## install the tools into $(PREFIX)/bin
	install -d $(DESTDIR)$(PREFIX)/bin
	install $(TOOLS:%=target/release/%) $(DESTDIR)$(PREFIX)/bin
	install -d $(DESTDIR)$(PREFIX)/libexec/ncaas
	install ncaas-submit/serve/serve $(DESTDIR)$(PREFIX)/libexec/ncaas

serve: build ## run the platform here until ^C: make serve BUCKET=./pca IMAGE=neurocaas/contrib:pca.demo
	@PATH="$(CURDIR)/target/release:$$PATH" ncaas-submit/serve/serve "$(BUCKET)" "$(IMAGE)" $(WATCH)

services: ## start an engine and LocalStack, and make the fixture image; for running single tests by hand
	@tests/services/engine start
	@tests/services/images fixture
	@tests/services/localstack start
	@echo "export AWS_ENDPOINT_URL=$$(tests/services/localstack url) AWS_REGION=us-east-1" \
	      "AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test"

stop: ## stop the services that were started here
	@tests/services/localstack stop
	@tests/services/engine stop

clean: stop ## remove all that was built
	cargo clean
