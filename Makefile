# CI and people use the same targets. "make smoke" and "make test" install missing packages.

.DEFAULT_GOAL := build
FUZZTIME ?= 30s
SOAK ?= 200
SOAK_COLD ?= 20
SAMPLES ?= 200
LINES ?= 1000
TOOL := go tool -modfile=tools/go.mod

.PHONY: build truthserver truth corpus corpus-check setup check unit cross test lanes examples test-e2e smoke soak lines fixtures record fuzz bench bench-lane bench-latency bench-page bench-proxy lane-picture hosts site reference vuln help doctor clean

build: ## the binary, bin/spicelane
	CGO_ENABLED=0 go build -trimpath -o bin/spicelane ./cmd/spicelane

truthserver: build ## the truth server's helper, from fixtures/truthserver, into the cache directory
	@bin/spicelane truth --build

truth: build ## compare every drawing of a real spice-server, in every compression, direct and proxied
	bin/spicelane truth --dir artifacts/truth

corpus: build ## recordings of the catalogue for spice-server to play, compressed, in artifacts/corpus
	rm -rf artifacts/corpus
	bin/spicelane truth --compression off --no-gtk --coarse --record artifacts/corpus --dir artifacts/corpus-run
	gzip -9f artifacts/corpus/*.replay

corpus-check: ## make the corpus and play each of its recordings with every compression
	SPICELANE_CORPUS=full SPICELANE_LANES=require go test -count 1 -v -timeout 20m -run TestEveryRecordingOfTheCorpusIsExact ./harness/truth

setup: ## install what this host lacks: QEMU with SPICE, OVMF, the guest's toolchain
	scripts/setup.sh

check: ## all checks that need neither lanes nor tests
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "not formatted (gofmt -w):"; echo "$$files"; exit 1; fi
	go vet ./...
	$(TOOL) staticcheck ./...
	$(TOOL) actionlint
	@command -v shellcheck >/dev/null || { echo "there is no shellcheck; install it with: scripts/setup.sh" >&2; exit 3; }
	shellcheck -e SC2016 .ci/run scripts/*.sh examples/*/*.sh
	go mod tidy -diff
	cd tools && go vet ./... && go tool staticcheck ./... && go mod tidy -diff
	cd examples && go vet ./... && go mod tidy -diff
	@$(MAKE) --no-print-directory site

unit: ## the tests that need no lanes; SPICELANE_TESTS=all also runs those that take long
	SPICELANE_LANES=off go test ./...

# cross is not part of check, because without a filled cache it compiles everything three times.
cross: ## build and vet for arm64 Linux and macOS, where no lanes run
	scripts/cross.sh linux/arm64 darwin/amd64 darwin/arm64

# Lanes run without the race detector, which would change their timing. The last go test runs all
# other tests with it. A program with the race detector waits a second before it exits, to see more
# races. The tests start hundreds of programs, and these have ended their work when they exit.
test: setup truthserver check ## everything, lanes required; results in artifacts/
	SPICELANE_LANES=require scripts/test.sh lanes -timeout 15m ./...
	$(MAKE) examples
	SPICELANE_LANES=off SPICELANE_TESTS=all scripts/test.sh tools -C tools -timeout 5m ./...
	GORACE=atexit_sleep_ms=50 SPICELANE_LANES=off SPICELANE_TESTS=all scripts/test.sh race -race -timeout 10m ./...
	scripts/check-fixtures.sh

doctor: build ## what this host can run, and how to fix the rest
	@bin/spicelane doctor

lanes: build ## only the tests that boot machines
	SPICELANE_LANES=require scripts/test.sh lanes -count 1 -timeout 15m ./harness/... ./cmd/...

examples: build ## the tests of examples/, a separate module that uses this one
	SPICELANE_LANES=require scripts/test.sh examples -C examples -timeout 10m ./...

test-e2e: build ## the lanes and the examples, with a plain summary at the end
	@scripts/e2e.sh

smoke: ## one lane, from nothing to a verdict and a screenshot
	@scripts/smoke.sh

soak: build ## SOAK warm lanes, SOAK_COLD cold ones, and a hundred test processes killed at random moments
	bin/spicelane soak $(SOAK) --dir artifacts/soak-warm
	bin/spicelane soak $(SOAK_COLD) --cold --dir artifacts/soak-cold
	SPICELANE_SOAK=full SPICELANE_LANES=require scripts/test.sh storm -count 1 -timeout 30m -run KilledAtAnyMoment ./harness

lines: ## LINES random lines of Linux and of the firmware's shell on each display device, read from the screen and from the serial line
	SPICELANE_LINES=$(LINES) SPICELANE_LANES=require scripts/test.sh lines -count 1 -v -timeout 60m -run ThroughTheSuitesForAnyGuest ./harness/scenario/matrix

fixtures: ## rebuild the guest images and update their checksums
	scripts/fixtures.sh

record: build ## refresh the recorded conversations from real servers
	SPICELANE_RECORD=1 SPICELANE_LANES=require go test -count 1 -timeout 5m -run TestRecordSamples ./harness/truth
	SPICELANE_RECORD=1 SPICELANE_LANES=require go test -count 1 -timeout 10m ./spice/...

fuzz: ## every fuzz test for FUZZTIME
	scripts/fuzz.sh $(FUZZTIME)

bench: ## every benchmark
	SPICELANE_LANES=off go test -run '^$$' -bench . -benchmem ./...

bench-lane: build ## lanes cold and warm, QEMU alone, lanes per minute, memory
	bin/spicelane bench lane -o artifacts/bench-lane.json

bench-latency: build ## time from SAMPLES keys to picture and digest, direct and proxied: CSV, a plot and figures in artifacts/latency
	bin/spicelane bench latency --samples $(SAMPLES) --dir artifacts/latency

bench-page: ## a minute of the full scenario as lane.html: its size, and how fast it is made, opened and searched
	mkdir -p artifacts
	SPICELANE_LANES=require go test -run '^$$' -bench ThePageOfAMinute -artifacts -outputdir "$$PWD/artifacts" ./harness/replay

bench-proxy: ## our proxy against a direct connection, io.Copy, nginx, haproxy and stunnel
	scripts/bench-proxy.sh

lane-picture: ## docs/lane.png, the page of a lane, again
	@scripts/lane-picture.sh

hosts: ## the README's commands in bare Debian systems, SUITES; needs root
	scripts/hosts.sh $(SUITES)

reference: ## the pages of docs/ that are made from the code, again
	SPICELANE_UPDATE=1 go test -count 1 -run TestTheReference ./cmd/spicelane

site: ## the documentation as pages with a search, in artifacts/site; fails if a link is dead
	@cd tools && go run ./site -root .. -o ../artifacts/site

vuln: ## known vulnerabilities; needs the public database
	$(TOOL) govulncheck ./...

help: ## these lines
	@scripts/help.sh

clean: ## remove what was built and what runs have left
	rm -rf bin artifacts dist
