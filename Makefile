# make        what there is to run
# make check  what to run before a commit; .ci/run is the same and more
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Packages to work on: make test PKG=./crdt/...
PKG ?= ./...
# Extra flags for go test: make test TESTFLAGS='-run TestI04 -v'
TESTFLAGS ?=
# How long each fuzz target runs, and which ones
FUZZTIME ?= 20s
FUZZ ?= ^Fuzz
# Which benchmarks run
BENCH ?= .
# The output of an earlier bench/run, to compare with
BASE ?= $(wildcard bench/stages.txt)
# What the image is called, which version it says it is, and what builds it
IMAGE ?= localhost/meridian:latest
VERSION ?= $(shell git describe --tags --always --dirty)
BUILDER ?=
# Flags for the demo: make demo ARGS='--regions 5 --topology ring'
ARGS ?=

CONCURRENT := region transport api
PURE := crdt conflict topology region/core

.PHONY: help
help: ## show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: check
check: fmt-check vet lint test ## formatting, vet, lint and tests

.PHONY: build
build: ## compile everything, and ./meridian
	go build ./...
	go build -o meridian .

.PHONY: fmt
fmt: ## format the Go files in place
	gofmt -w . .ci
	.ci/golangci-lint fmt ./...

.PHONY: fmt-check
fmt-check:
	@unformatted="$$(gofmt -l . .ci)"; \
	if [[ -n "$$unformatted" ]]; then echo "not formatted, run 'make fmt':"; echo "$$unformatted"; exit 1; fi

.PHONY: vet
vet: ## go vet
	go vet $(PKG)

.PHONY: lint
lint: ## golangci-lint (compiled once), and the rule of the pure packages
	go run ./.ci/pure $(PURE)
	.ci/golangci-lint run $(PKG)

.PHONY: test
test: ## all tests
	go test -timeout 10m $(TESTFLAGS) $(PKG)

.PHONY: race
race: ## tests of the concurrent packages under the race detector
	go test -race -timeout 15m $(TESTFLAGS) $(foreach d,$(wildcard $(CONCURRENT)),./$(d)/...)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME each (FUZZ=regexp and PKG=… choose)
	@go test -list '$(FUZZ)' $(PKG) | \
	  awk '/^Fuzz/ {t[n++] = $$1} $$1 == "ok" {for (i = 0; i < n; i++) print $$2, t[i]} /^(ok|\?|FAIL)/ {n = 0}' | \
	  while read -r pkg target; do \
	    echo "==> $$pkg $$target"; \
	    go test -run '^$$' -fuzz "^$$target\$$" -fuzztime '$(FUZZTIME)' "$$pkg" </dev/null; \
	  done

.PHONY: bench
bench: ## the stages of a write and a read (BASE=file compares), then Meridian against a bare pipe
	bench/run > bench.out
	go tool benchstat $(BASE) bench.out
	go run ./e2e/limit

.PHONY: bench-some
bench-some: ## benchmarks (BENCH=regexp and PKG=… choose)
	go test -run '^$$' -bench '$(BENCH)' -benchmem $(PKG)

.PHONY: demo
demo: ## three regions on this machine, and a walk through what they do
	go run . demo $(ARGS)

# Of podman and buildah the format has to be docker's, or the health check is lost.
define build-image
builder='$(BUILDER)'; \
if [[ -z "$$builder" ]]; then builder="$$(command -v docker || command -v podman || command -v buildah || true)"; fi; \
[[ -n "$$builder" ]] || { echo "install docker, podman or buildah, or set BUILDER" >&2; exit 1; }; \
format=(--format docker); if [[ "$$builder" == *docker ]]; then format=(); fi; \
"$$builder" build "$${format[@]}" -t '$(IMAGE)' --build-arg VERSION='$(VERSION)' --build-arg REVISION="$$(git rev-parse HEAD)"
endef

.PHONY: image
image: ## the image, by docker, podman or buildah (IMAGE=name:tag BUILDER=… VERSION=…)
	@$(build-image) -f deploy/Dockerfile .

.PHONY: image-prebuilt
image-prebuilt: ## the same of a binary built here: needs no registry
	VERSION='$(VERSION)' deploy/build-static dist/image/meridian
	deploy/root-fs dist/image
	@$(build-image) -f deploy/prebuilt.Dockerfile dist/image

.PHONY: clean
clean: ## remove what was built
	rm -rf meridian dist bench.out
	find . -name '*.test' -type f -delete
