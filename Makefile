# Two commands for a fresh machine with Rust, a C++ compiler, make and Python 3 with pip:
#   make demo    fetch libtorch once, build, trace a prompt on the embedded model
#   make test    the whole test suite
# After either, plain `cargo build`, `cargo run` and `cargo test` work too.

CARGO ?= cargo
PYTHON ?= python3
PROMPT ?= a red apple on a blue background

.PHONY: demo test kill lint libtorch libtorch-cuda parity parity-full bench clean-libtorch icons hostile web web-check test-web other-browsers test-webuiapi

demo: libtorch
	$(CARGO) build
	$(CARGO) run --quiet -- trace --prompt "$(PROMPT)" --out run --force
	$(CARGO) run --quiet -- shapes run
	@echo
	@echo "The record is in run/: final.png is the picture, steps/ has every step, run.json says how it was made."

# As many files of tests at a time as there are cores. TESTS="edits eval" runs some; plain `cargo test` does without Python.
TESTS ?=
test: libtorch
	CARGO=$(CARGO) $(PYTHON) scripts/test.py $(TESTS)

# Kills trace, sweep, train and export at every call that changes a file; the suite tries some. Takes a while.
kill: libtorch
	KILLS=all $(CARGO) test --test suite kills::

lint: libtorch
	$(CARGO) fmt --all --check
	$(CARGO) clippy --all-targets -- -D warnings
	$(PYTHON) scripts/check_manifests.py

# Licences, sources and known holes of the dependencies, by deny.toml: needs cargo-deny and the network.
.PHONY: deny
deny:
	$(CARGO) deny check

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
	$(CARGO) test --test suite parity:: -- --nocapture --test-threads 1

# The same for any model: make parity-full MODEL=folder GOLDENS=file (tests/goldens/README.md says how to make them).
parity-full: libtorch
	MODEL="$(MODEL)" GOLDENS="$(GOLDENS)" $(CARGO) test --test suite parity:: -- --ignored --nocapture

# 10,000 damaged files, each read by a verb that reads such files: none may end the program otherwise than by its own
# error, which names the file. Another seed damages otherwise: make hostile HOSTILE_SEED=2
HOSTILE_SEED ?= 1
HOSTILE_CASES ?= 0-9999
hostile: libtorch
	HOSTILE_SEED=$(HOSTILE_SEED) HOSTILE_CASES=$(HOSTILE_CASES) $(CARGO) test --test suite hostile::damaged -- --nocapture

# sdviz and diffusers side by side, and what recording costs. Needs a Python with diffusers (tests/goldens/README.md):
#   make bench BENCH_PYTHON=venv/bin/python [BENCH="--model FOLDER --steps 2 --dtype bf16"]
BENCH_PYTHON ?= $(PYTHON)
bench: libtorch
	$(CARGO) build --example bench
	$(BENCH_PYTHON) scripts/bench.py $(BENCH)

# sdviz beside OpenVINO, stable-diffusion.cpp, candle, and diffusers with a callback that decodes every step:
#   make bench-peers BENCH_PYTHON=venv/bin/python BENCH="--model FOLDER --steps 3"
.PHONY: bench-peers
bench-peers: libtorch
	$(CARGO) build --bin sdviz --example bench
	$(BENCH_PYTHON) scripts/bench_peers.py $(BENCH)

# Checks and measures on this machine's GPU (docs/gpu.md); GPU_CHECK="--device cpu --quick" tries the script on any machine.
# gpu-check-pack packs the same, with the program, for a machine that has PyTorch and neither network nor Rust.
.PHONY: gpu-check gpu-check-pack
gpu-check: libtorch
	$(CARGO) build
	$(BENCH_PYTHON) scripts/gpu_check.py $(GPU_CHECK)

gpu-check-pack:
	$(PYTHON) scripts/gpu/pack.py $(GPU_PACK)

# The docs as a site with search, in target/site: MkDocs in a virtual environment of its own, a warning or dead link ends it.
.PHONY: site
site:
	$(PYTHON) -m venv target/site-venv
	target/site-venv/bin/pip install -q mkdocs-material==9.8.2 jieba==0.42.1
	target/site-venv/bin/python scripts/site.py

# The experiments of docs/gallery.md: figures, pictures, page. Goes on where it was stopped; GALLERY="--only 3,7" makes some.
GALLERY ?=
.PHONY: gallery
gallery: libtorch
	$(CARGO) run --example gallery -- $(GALLERY)

# What hangs on the embedded model, made again (CONTRIBUTING.md says in which order, when it has been exchanged).
# The pictures of README.md and docs/, by scripts/figures.toml: FIGURES="filmstrip samples" makes some, "--list" lists them.
# `make figures-check` says whether pictures, pages and table agree; the suite does too.
FIGURES ?=
.PHONY: figures figures-check card goldens-pocket exchange
figures: libtorch
	$(CARGO) build
	$(PYTHON) scripts/figures.py $(FIGURES)

figures-check: libtorch
	$(CARGO) test --test suite figures::

# The figures of the model's card, the judge's and the README; CARD=--quick prints rough ones in a few minutes.
CARD ?=
card: libtorch
	$(CARGO) build
	$(PYTHON) scripts/card.py $(CARD)

# What diffusers computes with it; GOLDENS_PYTHON is a Python that has diffusers (tests/goldens/README.md).
GOLDENS_PYTHON ?= $(BENCH_PYTHON)
GOLDENS_POCKET ?=
goldens-pocket: libtorch
	$(CARGO) build
	$(GOLDENS_PYTHON) tests/goldens/make_pocket_goldens.py target/debug/sdviz $(GOLDENS_POCKET)

# All of these, after the folder MODEL has taken the embedded model's place; without MODEL for the one that is there.
exchange: libtorch
	$(PYTHON) scripts/exchange.py $(MODEL) --goldens-python $(GOLDENS_PYTHON) --gallery="$(GALLERY)"

# A sweep as a job array on a Slurm cluster of two nodes on this machine: a task is requeued, a node dies, and the grid is
# that of an undisturbed sweep. Installs slurm-wlm and munge by apt-get where they are missing, as root. About a minute.
.PHONY: test-slurm
test-slurm: libtorch
	$(CARGO) build
	$(PYTHON) scripts/test_slurm.py

# The page's front end: web/src to web/dist, which is committed. Only who changes web/ needs Node, 20 or newer.
web:
	cd web && npm ci --no-audit --no-fund && npm run build

# Whether web/dist is what web/src gives, byte for byte.
web-check:
	cd web && npm ci --no-audit --no-fund && npx vite build --outDir ../target/web-check --emptyOutDir
	@cmp web/dist/page.js target/web-check/page.js && cmp web/dist/page.css target/web-check/page.css \
		|| { echo "web/dist is not what web/src gives: run 'make web' and commit it"; exit 1; }

# The page's own tests: types, units, and a browser with the network off on pages that the program makes.
CHROMIUM ?= /usr/bin/chromium
test-web: libtorch web-check
	@test -x $(CHROMIUM) || { apt-get update -q && apt-get install -qy chromium fonts-noto-cjk; }
	cd web && npm run check && npm test
	$(CARGO) build
	web/e2e/fixtures.sh target/debug/sdviz target/web-test
	cd web && CHROMIUM=$(CHROMIUM) npx playwright test

# A report in Firefox and in WebKitGTK, after test-web. Not part of the suite: it installs half a gigabyte.
other-browsers:
	@which firefox-esr WebKitWebDriver xvfb-run >/dev/null \
		|| { apt-get update -q && apt-get install -qy --no-install-recommends firefox-esr webkit2gtk-driver xvfb; }
	cd web && node e2e/other_browsers.mjs ../target/web-test/run/index.html

# The client webuiapi from PyPI, unchanged and with its default arguments, against `sdviz serve`.
test-webuiapi: libtorch
	$(CARGO) build
	$(PYTHON) -m venv target/webuiapi
	target/webuiapi/bin/pip install --quiet webuiapi==0.9.17
	target/webuiapi/bin/python scripts/check_webuiapi.py

# The lessons (notebooks-rs/README.md). The first call builds the Rust kernel, some minutes; LESSONS="01 05" names some.
LESSONS ?=
ANEW ?=
.PHONY: notebooks notebooks-reader test-lessons notebook-kernel test-notebooks notebook-python lessons lessons-check lesson-outputs
NOTEBOOK_PYTHON = notebooks-rs/.kernel/venv/bin/python
notebooks: notebook-kernel
	cd notebooks-rs && .kernel/venv/bin/jupyter lab

# The lesson that only reads a record, with a kernel that needs no libtorch.
notebooks-reader:
	$(PYTHON) notebooks-rs/tools/kernel.py --reader
	cd notebooks-rs && .kernel/venv/bin/jupyter lab 12-reading-a-record.ipynb

notebook-kernel: libtorch
	$(PYTHON) notebooks-rs/tools/kernel.py

# Executes the notebooks, and fails on the first error or claim that does not hold.
test-notebooks: notebook-kernel lessons-check
	$(NOTEBOOK_PYTHON) notebooks-rs/tools/lessons.py run $(LESSONS)

# Every lesson's cells compiled and run, every claim checked, without the kernel.
test-lessons: libtorch
	$(CARGO) test --test lessons -- --include-ignored

# After a change of a lesson's source: the notebooks and the programs, then their outputs; ANEW=--anew for another model.
lessons: notebook-python
	$(NOTEBOOK_PYTHON) notebooks-rs/tools/lessons.py make

lessons-check: notebook-python
	$(NOTEBOOK_PYTHON) notebooks-rs/tools/lessons.py check

lesson-outputs: libtorch notebook-python
	$(CARGO) build
	$(NOTEBOOK_PYTHON) notebooks-rs/tools/lessons.py outputs $(LESSONS) $(ANEW)
	$(NOTEBOOK_PYTHON) notebooks-rs/tools/lessons.py lecture
	$(NOTEBOOK_PYTHON) notebooks-rs/tools/lessons.py course

notebook-python:
	@$(PYTHON) notebooks-rs/tools/kernel.py --python-only

# Packages (docs/install.md). PROFILE=release packs the program of `cargo build --release`; the usual one is compiled with
# optimised dependencies too.
PROFILE ?= dev
PROGRAM = target/$(if $(filter release,$(PROFILE)),release,debug)/sdviz
.PHONY: package-program wheel test-wheel dist test-dist licences
package-program: libtorch
	$(CARGO) build --bin sdviz --profile $(PROFILE)

wheel: package-program
	$(PYTHON) scripts/wheel.py --program $(PROGRAM)

# In a fresh venv, with PyTorch from the network; TEST_WHEEL="--index URL" takes it from there,
# TEST_WHEEL="--torch SITE-PACKAGES" one that is there.
TEST_WHEEL ?=
test-wheel:
	$(PYTHON) scripts/test_packages.py wheel $(TEST_WHEEL)

DIST ?=
dist: package-program
	$(PYTHON) scripts/dist.py --program $(PROGRAM) $(DIST)

test-dist:
	$(PYTHON) scripts/test_packages.py dist

# Whether all that is linked in is under a licence that deny.toml allows.
licences:
	@cd scripts && $(PYTHON) -c "import packing, pathlib, tempfile; print(packing.write_licences(pathlib.Path(tempfile.mkdtemp())), 'crates, all with allowed licences')"

# The recorder for diffusers, tried with diffusers: BENCH_PYTHON is a Python that has it.
.PHONY: test-python
test-python:
	$(BENCH_PYTHON) tests/goldens/make_python_run.py --check
