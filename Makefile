# Two commands for a fresh machine with Rust, a C++ compiler, make and Python 3 with pip:
#   make demo    fetch libtorch once, build, trace a prompt on the embedded model
#   make test    the whole test suite
# After either, plain `cargo build`, `cargo run` and `cargo test` work too.

CARGO ?= cargo
PYTHON ?= python3
PROMPT ?= a red apple on a blue background

.PHONY: demo test kill lint libtorch libtorch-cuda parity parity-full bench clean-libtorch icons hostile

demo: libtorch
	$(CARGO) build
	$(CARGO) run --quiet -- trace --prompt "$(PROMPT)" --out run --force
	$(CARGO) run --quiet -- shapes run
	@echo
	@echo "The record is in run/: final.png is the picture, steps/ has every step, run.json says how it was made."

test: libtorch
	$(CARGO) test

# Kills trace, sweep, train and export at every call that changes a file; the suite tries some. Takes a while.
kill: libtorch
	KILLS=all $(CARGO) test --test kills

lint: libtorch
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings

libtorch:
	@$(PYTHON) scripts/setup_libtorch.py

libtorch-cuda:
	@$(PYTHON) scripts/setup_libtorch.py --cuda

# The drawings that `sdviz dataset build` composes pictures of; assets/LICENSES.md says whose they are.
icons:
	npm install --no-save --no-audit --no-fund --prefix icons @iconify-json/fluent-emoji-flat@1.2.6 \
		@iconify-json/fluent-emoji@1.2.7 @iconify-json/noto@1.2.9 @iconify-json/twemoji@1.2.5

# The agreement with diffusers as a table.
parity: libtorch
	$(CARGO) test --test parity -- --nocapture --test-threads 1

# The same for any model: make parity-full MODEL=folder GOLDENS=file (tests/goldens/README.md says how to make them).
parity-full: libtorch
	MODEL="$(MODEL)" GOLDENS="$(GOLDENS)" $(CARGO) test --test parity -- --ignored --nocapture

# 10,000 damaged files, each read by a verb that reads such files: none may end the program otherwise than by its own
# error, which names the file. Another seed damages otherwise: make hostile HOSTILE_SEED=2
HOSTILE_SEED ?= 1
HOSTILE_CASES ?= 0-9999
hostile: libtorch
	HOSTILE_SEED=$(HOSTILE_SEED) HOSTILE_CASES=$(HOSTILE_CASES) $(CARGO) test --test hostile damaged -- --nocapture

# sdviz and diffusers side by side, and what recording costs. Needs a Python with diffusers (tests/goldens/README.md):
#   make bench BENCH_PYTHON=venv/bin/python [BENCH="--model FOLDER --steps 2 --dtype bf16"]
BENCH_PYTHON ?= $(PYTHON)
bench: libtorch
	$(CARGO) build --example bench
	$(BENCH_PYTHON) scripts/bench.py $(BENCH)
