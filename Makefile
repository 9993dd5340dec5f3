# The front door. `make demo` shows a failover on this machine; `make test` passes the tests. Both set up what they need.
.PHONY: help deps demo test test-unit test-api test-host test-lab test-long lint format generate bench search image model clean

NODE := node_modules/.bin/node --disable-warning=ExperimentalWarning

help:
	@echo 'make demo      real Kubernetes nodes with corosync and ZFS on this machine, and a failover shown'
	@echo 'make test      all tests (test-unit, test-api, test-host, test-lab: one tier)'
	@echo 'make test-long the outages of parts on real hosts, each for minutes'
	@echo 'make lint      types, format, lint'
	@echo 'make generate  what is generated from crds/: types, reference, the CRDs of the chart'
	@echo 'make image     the container image, as an OCI archive'
	@echo 'make bench     measurements, beside what else one would use'
	@echo 'make search    a million random faults in virtual time, chunk by chunk (SEED=1)'
	@echo 'make clean     what was built here (not the cache in ~/.cache/quorate)'

deps: node_modules/.installed

node_modules/.installed: package.json package-lock.json
	npm ci --no-audit --no-fund --loglevel=error
	@touch $@

demo: deps
	$(NODE) e2e/demo.ts

test: deps
	$(NODE) e2e/test/run.ts

test-unit test-api test-host test-lab: deps
	$(NODE) e2e/test/run.ts $(patsubst test-%,%,$@)

# Outages of parts as long as an administrator would call them one: about 25 minutes.
test-long: deps
	QUORATE_LONG=1 $(NODE) --test e2e/scenarios/outages.lab.test.ts

lint: deps
	node_modules/.bin/tsc --noEmit -p .
	node_modules/.bin/biome check .

format: deps
	node_modules/.bin/biome check --write .

generate: deps
	$(NODE) crds/generate.ts
	$(NODE) charts/quorate/generate.ts

model: deps
	$(NODE) --test e2e/test/fencing-model.host.test.ts

bench: deps
	$(NODE) bench/run.ts

# Ten chunks, so that what is found in one is written before the next begins; each takes minutes.
SEED ?= 1
search: deps
	@for chunk in 0 1 2 3 4 5 6 7 8 9; do \
		$(NODE) main.ts search --faults 100000 --seed $$(($(SEED) * 10 + chunk)) --out build/search || exit 1; \
	done

image: deps
	$(NODE) e2e/image/command.ts

clean:
	rm -rf build
