# Sublet: a full Kubernetes cluster for each tenant, inside yours.
# `make help` lists the targets.

# Every target shares one build cache: with other flags, Kubernetes is compiled twice.
export CGO_ENABLED := 0
export GOFLAGS := -buildvcs=false -trimpath

GO ?= go
ARGS ?=
KUBERNETES_VERSION := $(shell sed -n 's/^\tk8s.io\/kubernetes v/v/p' go.mod)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo v0.0.0)
COMMIT := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
IMAGE ?= ghcr.io/sublet-dev/sublet:$(shell sed -n 's/^appVersion: "\{0,1\}\([^"]*\)"\{0,1\}/\1/p' chart/Chart.yaml 2>/dev/null)

minor := $(word 2,$(subst ., ,$(KUBERNETES_VERSION)))
version_flags = -X $(1).gitVersion=$(KUBERNETES_VERSION)+sublet -X $(1).gitMajor=1 -X $(1).gitMinor=$(minor) \
	-X $(1).gitCommit=$(COMMIT) -X $(1).gitTreeState=clean
LDFLAGS := -s -w $(call version_flags,k8s.io/component-base/version) \
	-X github.com/sublet-dev/sublet/pkg/app.version=$(VERSION)

# Packages whose tests do not compile k8s.io/kubernetes, which takes minutes.
LIGHT = $$($(GO) list -test -f '{{.ImportPath}} {{join .Deps " "}}' ./... | grep -v ' k8s.io/kubernetes/' | sed -n 's/\.test .*//p')

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: bin/sublet-server bin/sublet ## Build server and command line into bin/

.PHONY: bin/sublet-server
bin/sublet-server:
	$(GO) build -ldflags '$(LDFLAGS)' -o $@ ./cmd/sublet-server

CLI_LDFLAGS := -s -w -X github.com/sublet-dev/sublet/pkg/cli.version=$(VERSION)
.PHONY: bin/sublet
bin/sublet:
	$(GO) build -ldflags '$(CLI_LDFLAGS)' -o $@ ./cmd/sublet

.PHONY: demo
demo: build ## A virtual cluster on a throw-away host, no root (ARGS=--once checks and ends)
	$(GO) run -ldflags '$(call version_flags,k8s.io/component-base/version)' ./hack/demo $(ARGS)

.PHONY: test
test: build databases ## Everything that can be tested without root
	$(GO) test -timeout 30m ./...

.PHONY: test-unit
test-unit: databases ## The tests that do not compile Kubernetes, a minute when warm
	packages="$(LIGHT)"; [ -n "$$packages" ] && $(GO) test $$packages

.PHONY: databases
databases: ## Install the database servers that tests start, if this is root on Debian
	hack/databases.sh

# The race detector needs cgo, and with it another compile of everything. Its build cache is apart, so that
# neither cache pushes the other out. Kubernetes itself is left out: it would take half an hour more. So are
# the tests of the chart: they render it hundreds of times, which takes longer than all others together.
RACE_CACHE ?= $(shell $(GO) env GOCACHE)-race
.PHONY: race
race: databases ## The same with the race detector (needs a C compiler), the engine's property tests among them
	packages="$$(printf '%s\n' "$(LIGHT)" | grep -v /chart$$)"; [ -n "$$packages" ] && CGO_ENABLED=1 GOCACHE=$(RACE_CACHE) $(GO) test -race -timeout 10m $$packages $(ARGS)

bin/helm: go.mod
	$(GO) build -o $@ helm.sh/helm/v4/cmd/helm

HOSTCTL := $(GO) run ./hostlab/cmd/hostctl
.PHONY: software
software: ## Build the software of others that end-to-end tests use; its first build takes up to half an hour
	$(HOSTCTL) build-software

.PHONY: e2e
e2e: image bin/helm bin/sublet ## Test the installed chart on a real node (root; ARGS='-run NAME' for some of it)
	$(HOSTCTL) up
	$(HOSTCTL) load-image out/sublet.tar
	$(if $(ARGS),:,$(HOSTCTL) build-software) # Not in the time of the tests.
	status=$$($(HOSTCTL) status) && \
	SUBLET_HOST_KUBECONFIG=$$(echo "$$status" | sed -n 's/^kubeconfig *//p') \
	PATH="$$PATH:$$(echo "$$status" | sed -n 's|^kubectl *\(.*\)/kubectl$$|\1|p')" \
		$(GO) test -tags e2e -p 1 -count=1 -parallel 2 -timeout 60m -v ./hostlab ./test/e2e $(ARGS)

# Its first run builds the suite, which takes some minutes more than the host alone.
.PHONY: conformance
conformance: image bin/helm ## Run Kubernetes' conformance suite on the host and in a virtual cluster (root)
	$(HOSTCTL) up
	$(HOSTCTL) load-image out/sublet.tar
	status=$$($(HOSTCTL) status) && \
	PATH="$$PATH:$$(echo "$$status" | sed -n 's|^kubectl *\(.*\)/kubectl$$|\1|p')" \
		$(GO) run ./hostlab/cmd/conformance --kubeconfig "$$(echo "$$status" | sed -n 's/^kubeconfig *//p')" $(ARGS)

.PHONY: host-up
host-up: ## Start a real host on this machine (root)
	$(HOSTCTL) up $(ARGS)

.PHONY: host-down
host-down: ## Stop it and clean up
	$(HOSTCTL) down $(ARGS)

.PHONY: bench
bench: build ## Print every figure as `bench NAME VALUE UNIT`
	$(GO) run ./hack/bench $(ARGS)

PLATFORMS ?= linux/amd64 linux/arm64
.PHONY: image
image: ## Write out/sublet.tar, an OCI archive for amd64 and arm64 (PLATFORMS=linux/amd64 for one)
	@mkdir -p out
	@for p in $(PLATFORMS); do \
		echo "building out/$$p/sublet-server"; \
		GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build -ldflags '$(LDFLAGS)' -o out/$$p/sublet-server ./cmd/sublet-server || exit 1; \
	done
	$(GO) run ./hack/image --tag $(IMAGE) --out out/sublet.tar $(foreach p,$(PLATFORMS),--binary $(p)=out/$(p)/sublet-server)

.PHONY: update
update: ## Rewrite whatever is generated
	$(GO) mod tidy
	$(GO) run ./hack/gen-chart
	$(GO) run ./hack/gen-cli
	gofmt -w $$(git ls-files '*.go')

.PHONY: verify
verify: ## Check whatever is generated, the formatting and the scripts
	$(GO) run ./hack/gen-chart --check
	$(GO) run ./hack/gen-cli --check
	@bad=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$bad" ] || { echo "not formatted (make update): $$bad" >&2; exit 1; }
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(GO) vet -tags e2e ./hostlab ./test/e2e
	if command -v shellcheck >/dev/null; then shellcheck hack/*.sh .ci/run; fi

.PHONY: lint
lint: ## golangci-lint with the limits of the house
	$(GO) tool -modfile=go.tools.mod golangci-lint run ./...

.PHONY: vuln
vuln: ## Known vulnerabilities in what we call
	$(GO) tool -modfile=go.tools.mod govulncheck ./...

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin out
