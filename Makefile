# What CI runs and what people run are the same targets. "make smoke" and "make test" install what is missing themselves.

.DEFAULT_GOAL := build
FUZZTIME ?= 30s
TOOL := go tool -modfile=tools/go.mod

.PHONY: build setup check test lanes smoke fixtures record fuzz bench vuln clean

build: ## the binary, bin/spicelane
	CGO_ENABLED=0 go build -trimpath -o bin/spicelane ./cmd/spicelane

setup: ## install what this host lacks: QEMU with SPICE, OVMF, the guest's toolchain
	scripts/setup.sh

check: ## everything that needs no lane and no test run
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "not formatted (gofmt -w):"; echo "$$files"; exit 1; fi
	go vet ./...
	$(TOOL) staticcheck ./...
	$(TOOL) actionlint
	@for s in scripts/*.sh .ci/run; do sh -n "$$s" || exit 1; done
	go mod tidy -diff
	cd tools && go mod tidy -diff

# The lanes run without the race detector, under which their timing would be another; what they run inside the test process
# is raced by the packages' own tests.
test: setup build check ## everything, lanes required
	mkdir -p artifacts
	SPICELANE_LANES=require go test -timeout 15m -artifacts -outputdir $(CURDIR)/artifacts ./...
	SPICELANE_LANES=off go test -race -timeout 10m ./...
	scripts/check-fixtures.sh

lanes: build ## only the tests that boot machines
	mkdir -p artifacts
	SPICELANE_LANES=require go test -count 1 -timeout 15m -artifacts -outputdir $(CURDIR)/artifacts ./harness/... ./cmd/...

smoke: ## one lane from nothing to a verdict and a screenshot
	@scripts/smoke.sh

fixtures: ## rebuild the guest images and note their checksums
	scripts/fixtures.sh

record: build ## refresh the recorded conversations from real servers
	SPICELANE_RECORD=1 SPICELANE_LANES=require go test -count 1 -timeout 10m ./spice/...

fuzz: ## every fuzz test for FUZZTIME
	scripts/fuzz.sh $(FUZZTIME)

bench: ## every benchmark
	SPICELANE_LANES=off go test -run '^$$' -bench . -benchmem ./...

vuln: ## known vulnerabilities; needs the public database
	$(TOOL) govulncheck ./...

clean:
	rm -rf bin artifacts
