# `make` lists the targets. The scripts in tests/services provide what builds and tests need and a machine may lack: a Docker
# Engine, LocalStack, images.

PREFIX ?= /usr/local
BINDIR  = $(DESTDIR)$(PREFIX)/bin
LIBEXEC = $(DESTDIR)$(PREFIX)/libexec/ncaas
MANDIR  = $(DESTDIR)$(PREFIX)/share/man/man1
DOCDIR  = $(DESTDIR)$(PREFIX)/share/doc/ncaas
BASHDIR = $(DESTDIR)$(PREFIX)/share/bash-completion/completions
ZSHDIR  = $(DESTDIR)$(PREFIX)/share/zsh/site-functions
FISHDIR = $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
UNITDIR = $(DESTDIR)$(PREFIX)/lib/systemd/system
RELEASE ?= target/$(TARGET)/release
DOCUMENTS = target/documents
ALL_FEATURES  = ncaas-submit/batch
STATIC_TARGET = $(or $(TARGET),$(shell rustc -vV | sed -n 's/^host: //p'))
TOOLS   = ncaas-build ncaas-exec ncaas-logs ncaas-sync ncaas-submit
SCRIPTS = .ci/run .ci/generate .ci/licences .ci/package .ci/image tests/demo tests/archive tests/package tests/fixture/rootfs tests/analyses/pca/run.sh ncaas-submit/serve/serve ncaas-submit/serve/job tests/engines \
          $(filter-out %.Dockerfile %.txt %.py,$(wildcard tests/services/*)) \
          $(shell grep -rlE '^.!/usr/bin/env bash' tests/bench)
# nextest runs the tests of all crates side by side (.config/nextest.toml says how many of a kind); cargo's own runner takes one crate
# after the other.
NEXTEST = nextest run --config-file target/nextest.toml --test-threads $(shell expr 3 \* $$(nproc) - 1)
RUNNER  = $(if $(shell command -v cargo-nextest),$(NEXTEST),test --lib --bins --tests) --no-fail-fast

.PHONY: help build demo test test-engines test-endurance test-cluster check format lint docs generate generated bench install install-files uninstall package \
        test-package archive test-archive static serve image clean services stop

help: ## list these targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 22

build: ## build the five tools, optimised, into target/release; FEATURES=ncaas-submit/batch adds `place --on batch:...`
	cargo build --workspace --exclude ncaas-tests --release $(if $(TARGET),--target $(TARGET)) $(if $(FEATURES),--features $(FEATURES))

# Static tools with all features, which run on any Linux. The target is named so that macros and build scripts, which run here, are built
# without the flag.
static:
	@$(MAKE) build FEATURES=$(ALL_FEATURES) TARGET=$(STATIC_TARGET) RUSTFLAGS="-C target-feature=+crt-static"

demo: ## run an analysis from a submit file to its results; sets up all it needs
	@tests/demo

test: ## run all tests against a real engine and LocalStack; sets up both
	cargo build --workspace --all-targets
	cargo test --workspace --doc --quiet
	@sed "s/^computing = .*/computing = { max-threads = $$(expr 2 \* $$(nproc) - 1) }/" .config/nextest.toml >target/nextest.toml
	tests/services/with cargo $(RUNNER) --workspace

test-engines: ## run the tests of containers and the pipe on a modern engine, on one reached by ssh, and on Podman
	@tests/engines

test-endurance: ## run 150 submissions on three pipes whose stages are killed every two seconds, in three settings; needs root, ends within thirty minutes
	cargo build --workspace
	NCAAS_ENDURANCE_SUBMISSIONS=150 timeout 1800 tests/services/with cargo $(if $(findstring nextest,$(RUNNER)),nextest run --no-capture,test) --no-fail-fast --workspace --test e2e killed_stages_lose

test-cluster: ## run the tests of a cluster whose machines, network and daemons fail; needs root, ends within ten minutes
	cargo build --workspace
	timeout 600 tests/services/with cargo $(firstword $(RUNNER)) $(if $(findstring nextest,$(RUNNER)),run) --workspace --test cluster

# The services are installed, which waits for downloads, while the compiler works.
check: ## everything that must pass before a change lands
	@mkdir -p target; tests/services/with true >target/services.log 2>&1 & services=$$!; \
	$(MAKE) format lint docs && { wait $$services || { cat target/services.log >&2; exit 1; }; } && $(MAKE) test generated

format: ## check the formatting
	cargo fmt --all --check

lint: ## clippy and shellcheck, without warnings
	cargo clippy --workspace --all-targets -- --deny warnings
	cargo check --workspace --exclude ncaas-tests # without the features that the tests ask for
	@if command -v shellcheck >/dev/null; then set -x; shellcheck --external-sources $(SCRIPTS); \
	else echo "make: shellcheck is not installed: the scripts stay unchecked" >&2; fi

docs: ## check that the documentation of the code builds without warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --workspace --no-deps --document-private-items --quiet

bench: build ## measure against the docker CLI, s5cmd and rclone, side by side
	@tests/bench/all

generate: ## write schemas/ anew from the code
	cargo build --workspace
	@.ci/generate schemas

generated: # the same without a change: fails if schemas/ is out of date
	cargo build --workspace
	@.ci/generate schemas --check

install: build install-files ## install tools, man pages, completions and the systemd unit below $(PREFIX)

install-files: # the same, of the tools in $(RELEASE)
	@.ci/generate documents $(RELEASE) $(DOCUMENTS)
	install -d $(BINDIR) $(LIBEXEC) $(MANDIR) $(DOCDIR) $(BASHDIR) $(ZSHDIR) $(FISHDIR) $(UNITDIR)
	install $(TOOLS:%=$(RELEASE)/%) $(BINDIR)
	install ncaas-submit/serve/serve ncaas-submit/serve/job $(LIBEXEC)
	install -m 644 $(DOCUMENTS)/man/*.1 $(MANDIR)
	install -m 644 $(DOCUMENTS)/completions/_* $(ZSHDIR)
	install -m 644 $(DOCUMENTS)/completions/*.fish $(FISHDIR)
	@for tool in $(TOOLS); do install -m 644 $(DOCUMENTS)/completions/$$tool.bash $(BASHDIR)/$$tool; done
	@sed 's|/usr/local|$(PREFIX)|' ncaas-submit/serve/ncaas@.service >$(DOCUMENTS)/ncaas@.service
	install -m 644 $(DOCUMENTS)/ncaas@.service $(UNITDIR)
	install -m 644 *.md LICENSE-MIT LICENSE-APACHE ncaas-submit/serve/example.env $(DOCDIR)
	install -d $(DOCDIR)/docs && install -m 644 docs/*.md $(DOCDIR)/docs

uninstall: ## remove all that `make install` put there
	rm -f $(TOOLS:%=$(BINDIR)/%) $(TOOLS:%=$(MANDIR)/%.1) $(TOOLS:%=$(MANDIR)/%-*.1) $(TOOLS:%=$(BASHDIR)/%)
	rm -f $(TOOLS:%=$(ZSHDIR)/_%) $(TOOLS:%=$(FISHDIR)/%.fish) $(UNITDIR)/ncaas@.service
	rm -rf $(LIBEXEC) $(DOCDIR)

package: ## make a Debian package in target/package
	@$(MAKE) build FEATURES=$(ALL_FEATURES)
	@.ci/package deb

test-package: package ## install the package into a bare Debian root and use the tools there; needs root
	@tests/package

archive: static ## make a tar archive of static tools in target/package
	@TARGET=$(STATIC_TARGET) .ci/package tar

test-archive: archive ## run the tools of the archive in an image that has nothing else
	tests/services/with tests/archive

serve: build ## run the platform here until ^C: make serve BUCKET=./pca IMAGE=neurocaas/contrib:pca.demo
	@PATH="$(CURDIR)/target/release:$$PATH" ncaas-submit/serve/serve "$(BUCKET)" "$(IMAGE)" $(WATCH)

image: static ## make an image of the five tools for AWS Batch: make image NAME=ncaas/tools
	.ci/image target/$(STATIC_TARGET)/release $(or $(NAME),ncaas/tools)

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
