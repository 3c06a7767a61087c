# The commands of this project. `make demo` shows it at work, `make test` proves it.

CARGO ?= cargo
LIBRARY := $(if $(filter Darwin,$(shell uname -s)),dylib,so)
PLUGINS := ratelimiter tikv

# What `make demo` shows: ratelimiter or tikv.
SUBJECT ?= ratelimiter
DEMO_PROGRAMS_ratelimiter := ratelimiter-service
DEMO_PROGRAMS_tikv := pd-sim

.PHONY: demo test lint conformance plugins servers test-servers bench soak clean

## A live cluster, watched; ctrl-C ends all of it. SUBJECT=ratelimiter (the default) or tikv.
demo: servers
	$(CARGO) build --profile demo --locked -p operator -p operator-demo -p $(SUBJECT)-plugin -p $(DEMO_PROGRAMS_$(SUBJECT))
	chmod go-w target target/demo target/demo/lib$(SUBJECT).$(LIBRARY)
	target/demo/operator-demo --subject $(SUBJECT) --plugin target/demo/lib$(SUBJECT).$(LIBRARY) --folder target/demo-files

## Everything that is proven by running it.
test: test-servers
	$(CARGO) build --workspace --locked
	$(CARGO) test --workspace --exclude operator-demo --locked
	# These wait for clusters, most of their time.
	RUST_TEST_THREADS=4 $(CARGO) test --package operator-demo --locked

## Formatting, lints, and what a plugin author reads, with warnings denied.
lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	# The daemon alone: without the loader's feature that only the conformance suite has.
	$(CARGO) clippy -p operator-service --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc -p operator-plugin-api -p operator-plugin-fakes -p operator-plugin-kit --no-deps --locked

## Every plugin of this repository through the whole suite.
conformance:
	$(CARGO) build --locked -p operator $(PLUGINS:%=-p %-plugin)
	chmod go-w target target/debug $(PLUGINS:%=target/debug/lib%.$(LIBRARY))
	for plugin in $(PLUGINS); do \
		target/debug/operator conformance target/debug/lib$$plugin.$(LIBRARY) || exit 1; \
	done

## target/lib<plugin>.so, each built by itself. Nobody but the owner may write to a plugin or its folder.
plugins:
	for plugin in $(PLUGINS); do \
		$(CARGO) build --release --locked -p $$plugin-plugin && \
		install -m 0755 target/release/lib$$plugin.$(LIBRARY) target/lib$$plugin.$(LIBRARY) || exit 1; \
	done
	chmod go-w target

## The servers that the tests and the demo run: from the system's packages, where they are not there yet.
servers:
	examples/demo/install-servers.sh redis-server prometheus

test-servers: servers
	examples/demo/install-servers.sh postgresql sqlite3

## Ratios measured in one run.
bench: servers
	$(CARGO) bench --locked -p operator --bench ratios
	$(CARGO) bench --locked -p ratelimiter-service --bench checks
	$(CARGO) build --release --locked -p operator -p tikv-plugin -p pd-sim
	$(CARGO) bench --locked -p operator-demo --bench tikv

## Ten minutes of a healthy cluster at 1,000 checks/s: no ticket.
soak: servers plugins
	$(CARGO) build --release --locked -p operator -p ratelimiter-service -p operator-demo
	target/release/operator-soak --plugin target/libratelimiter.$(LIBRARY) --folder target/soak

clean:
	$(CARGO) clean
