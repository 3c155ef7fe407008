# The commands of this repository; what they do is in the scripts they name.

.DEFAULT_GOAL := help
SHELL := bash

# The operator's image. Without it: k6-operator.invalid/operator:dev, which only the
# embedded cluster has.
IMG ?=
# Several embedded clusters can run beside each other under different names.
CLUSTER_NAME ?= k6op
export IMG CLUSTER_NAME CLUSTER WATCH_NAMESPACES K8S

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Try it

.PHONY: demo
demo: ## Run the sample test in an embedded cluster (CLUSTER=current: in yours)
	@tests/cluster/demo

.PHONY: cluster-up
cluster-up: ## Start the embedded Kubernetes (needs root, Debian and Go; K8S=1.34.4: another version)
	@tests/cluster/up

.PHONY: cluster-down
cluster-down: ## End it and remove all it made
	@tests/cluster/down

.PHONY: kubeconfig
kubeconfig: ## Print the path of its kubeconfig
	@echo /run/k6-operator/$(CLUSTER_NAME)/admin.kubeconfig

##@ Use it

.PHONY: image
image: ## Build the operator's image (IMG=...), and load it if the embedded cluster is up
	@tests/cluster/image

.PHONY: images
images: ## Build it for amd64 and arm64: one OCI index, in the cache
	@tests/cluster/image all

.PHONY: push
push: ## Push that index to a registry (IMG=registry.example.com/k6-operator:TAG)
	@tests/cluster/image push

.PHONY: deploy
deploy: ## Deploy the operator with your kubectl (IMG=... outside the embedded cluster; WATCH_NAMESPACES=a,b: only for these)
	@tests/cluster/deploy apply

.PHONY: delete
delete: ## Delete it from there, with all K6 resources
	@tests/cluster/deploy delete

##@ Work on it

.PHONY: check
check: ## Format, lints and the fast tests: the two minutes before a push
	cargo fmt --check
	cargo clippy --all-targets --all-features --locked -- -D warnings
	cargo test --locked --quiet --lib --test core --test docs --test fields --test faults -- --skip planted_defect

.PHONY: hooks
hooks: ## Have git run `make check` before each push (git push --no-verify skips it)
	git config core.hooksPath .githooks

.PHONY: test
test: ## All tests, the end-to-end ones in an embedded cluster (K6_BIN=/path/to/k6: with this k6)
	@tests/cluster/check

.PHONY: test-k6
test-k6: ## The tests that depend on k6, with each of K6_BINS="/path/to/k6 ..." (K6_CLUSTER=no: without a cluster)
	@tests/cluster/matrix

.PHONY: helm
helm: ## Test the chart and install.yaml without a cluster (HELM=3: with Helm 3; else with 4)
	@tests/helm/check $(HELM)

.PHONY: helm-cluster
helm-cluster: ## Install, upgrade and remove with Helm in an embedded cluster without an operator (HELM=3)
	@tests/cluster/up && tests/cluster/image && tests/helm/e2e $(HELM)

.PHONY: monitoring
monitoring: ## Test the alerts and the dashboards without a cluster
	@tests/monitoring/check

.PHONY: monitoring-cluster
monitoring-cluster: ## The dashboards and alerts with a real Prometheus, in an embedded cluster
	@tests/cluster/up && tests/cluster/image && tests/monitoring/e2e

.PHONY: model
model: ## Check all that can happen to a run, up to MODEL_STATES states (4 million) of each configuration
	MODEL_STATES=$${MODEL_STATES:-4000000} cargo test --locked \
	    --config 'profile.dev.package.k6-operator.opt-level=2' --test model -- --nocapture --test-threads 1

.PHONY: gitops-cluster
gitops-cluster: ## Tests in Applications of a real Argo CD, in an embedded cluster
	@tests/cluster/argocd

.PHONY: rollouts-cluster
rollouts-cluster: ## Tests as the analysis of a canary in a real Argo Rollouts, in an embedded cluster
	@tests/cluster/canary

.PHONY: arm64
arm64: ## Try the program for arm64 without such a machine, under QEMU
	@tests/cluster/arm64

.PHONY: reproducible
reproducible: ## Build the operator's image twice, in two folders, and compare them
	@tests/cluster/reproducible

.PHONY: registry-cluster
registry-cluster: ## Build and push the images to a real registry, and run them from there in an embedded cluster
	@tests/cluster/registry

.PHONY: network-cluster
network-cluster: ## The network policies, enforced, in an embedded cluster
	@tests/cluster/network

.PHONY: torture-cluster
torture-cluster: ## The faults that take long, in an embedded cluster (K6OP_KILLS=50)
	@tests/cluster/torture

.PHONY: mutants
mutants: ## Plant defects into a copy of the code, and see each caught by a test (about an hour)
	@tests/mutants/run

.PHONY: fuzz
fuzz: export PROPTEST_CASES ?= 20000
fuzz: ## Try new bad input, and new runs of the state machine, for longer than `make test` does (PROPTEST_CASES=20000)
	cargo test --release --locked --test core properties
	cargo test --release --locked --test fuzz

.PHONY: torture
torture: ## Simulate runs with random faults on all cores until stopped (K6OP_SECONDS, K6OP_SEEDS=from..to)
	cargo test --release --locked --test simulation -- --ignored --nocapture torture

.PHONY: bench
bench: ## Run the benchmarks
	@tests/cluster/bench

.PHONY: fmt
fmt: ## Format the code
	cargo fmt

.PHONY: lint
lint: workflows ## Lint the code, the scripts and the workflows
	cargo clippy --all-targets --all-features --locked -- -D warnings
	@! command -v shellcheck >/dev/null || shellcheck -x -P SCRIPTDIR .ci/run tests/cluster/lib.sh $$(grep -ls '^#!.*bash' .github/* tests/cluster/* tests/workflows/* tests/argocd/* tests/mutants/* tests/report/* tests/helm/* tests/monitoring/*)

.PHONY: workflows
workflows: ## Lint the workflows of GitHub Actions with actionlint, and try what a release is made of
	@tests/workflows/check

.PHONY: sbom
sbom: ## Write the SBOM (CycloneDX) to k6-operator.cdx.json (installs cargo-cyclonedx)
	@.github/sbom k6-operator.cdx.json

.PHONY: deny
deny: ## Check licences and sources of the dependencies (installs cargo-deny)
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny --locked check --hide-inclusion-graph licenses bans sources

.PHONY: advisories
advisories: deny ## Check their advisories too (fetches the RustSec database)
	cargo deny --locked check advisories

.PHONY: manifests
manifests: ## Write the CRD, its JSON Schemas and the state diagrams anew from the code, and what the chart and install.yaml have of manifests/
	UPDATE=1 cargo test --locked --quiet --test core -- generated:: schemas::
	charts/generate

.PHONY: docs
docs: ## Write the tables of the book anew from the code
	UPDATE=1 cargo test --locked --quiet --test docs

.PHONY: book
book: ## Build the book of docs/ into book/ (needs mdBook)
	@command -v mdbook >/dev/null || { echo 'mdbook is needed: cargo install --locked mdbook' >&2; exit 1; }
	mdbook build docs

.PHONY: clean
clean: ## Remove what was built here (downloads and the cluster's parts stay in the cache)
	cargo clean
