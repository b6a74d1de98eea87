# The build needs Go 1.26 and nothing else: no C compiler, no running broker.
export CGO_ENABLED = 0
GO ?= go
FUZZTIME ?= 20s
FUZZBYTES ?= 10_000_000

.PHONY: build test race fuzz mutants lint bench up image clean

build: ## the program, ./freshet
	$(GO) build -trimpath -o freshet ./cmd/freshet

test: ## what CI runs
	$(GO) vet ./...
	$(GO) test ./...

race: ## the same under the race detector, which needs a C compiler
	CGO_ENABLED=1 $(GO) test -race ./...

fuzz: ## every fuzz target for FUZZTIME each
	@grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do \
	  for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$file); do \
	    echo "$$(dirname $$file) $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$(dirname $$file) || exit 1; \
	  done; \
	done

mutants: ## FUZZBYTES bytes of mutated seeds through every fuzz target, the same on every machine (schema/fuzz)
	@set -e; for dir in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n 1 dirname | sort -u); do \
	  $(GO) test -c -o mutants.test $$dir; \
	  (cd $$dir && FRESHET_FUZZ_BYTES=$(FUZZBYTES) $(CURDIR)/mutants.test -test.run '^Fuzz' -test.timeout 0 -test.v >$(CURDIR)/mutants.out 2>&1) || { tail -n 100 mutants.out; exit 1; }; \
	  sed -n "s|.*mutants: |$$dir |p" mutants.out; \
	done; rm -f mutants.test mutants.out

lint: ## needs golangci-lint v2
	golangci-lint run

bench: ## every benchmark, with allocations
	$(GO) test -run '^$$' -bench . -benchmem ./...

up: build ## everything in one process, with a simulated shop
	./freshet up

image: ## the container image of every role
	docker build -f deploy/Dockerfile -t freshet:local .

clean:
	rm -f freshet *.test *.prof *.out
