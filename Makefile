# make demo   everything on the miniature, no GPU needed; ends with the report's path
# make test   all tests
# make bits   tests that compare results to the last bits, as on other processors
# make test-browser   the report's page in Chromium
# make screenshots    those of the README, made anew by the same tests
# make import says what the benchmark of config/config.yaml holds
# make flash  FlashAttention 4, for Hopper GPUs and later
# Each sets up .venv from envs/requirements.txt by itself, once.

SHELL := /bin/bash
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# nothing here needs a model hub, and nothing may wait for one
export HF_HUB_OFFLINE := 1

.PHONY: setup flash demo import test bits formats fuzz hostile test-browser screenshots hosts test-cluster chaos lint format lock clean

setup: .venv/.done

.venv/.done: envs/requirements.txt pyproject.toml
	test -x $(BIN)/python || python3 -m venv .venv
	command -v uv >/dev/null || $(BIN)/python -m pip install --quiet uv
	uv pip install --quiet --python $(BIN)/python --compile-bytecode -r envs/requirements.txt
	uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

demo: setup
	snakemake --configfile config/demo.yaml
	@echo results/demo/report/report.html

# of another configuration: make import CONFIG=my.yaml
CONFIG ?= config/config.yaml
import: setup
	snakemake import --configfile $(CONFIG)

# in two processes: tests mostly wait for those that they start
test: setup
	@echo "all tests: 15 to 25 minutes on 2 cores"
	pytest --numprocesses 2 --dist worksteal

# With narrow instructions alone, and with what the libraries take by themselves on this processor.
BITS := tests/unit/test_adapters.py tests/unit/test_diffusers_editor.py tests/unit/test_float8.py \
  tests/unit/test_judges.py tests/unit/test_kernels.py tests/unit/test_qwen_image.py \
  tests/unit/test_qwen_vl.py \
  tests/workflow/test_workflow.py::test_results_are_the_same_for_one_two_and_three_devices
NARROW := MKL_ENABLE_INSTRUCTIONS=SSE4_2 MKL_CBWR=AUTO ONEDNN_MAX_CPU_ISA=SSE41 \
  ATEN_CPU_CAPABILITY=default
WIDE := MKL_CBWR=AUTO ONEDNN_MAX_CPU_ISA=DEFAULT
bits: setup
	env $(NARROW) pytest --numprocesses 2 --dist worksteal $(BITS)
	env $(WIDE) pytest --numprocesses 2 --dist worksteal $(BITS)

# kills, stops and hangs of the processes that hold models; eight minutes
hosts: setup
	pytest tests/hosts

# needs Chromium (Debian: apt-get install chromium fonts-noto-cjk; elsewhere its path in CHROMIUM)
test-browser: .venv/.browser
	pytest tests/browser

screenshots: .venv/.browser demo
	pytest tests/browser -k readme --fix

.venv/.browser: .venv/.done envs/browser.txt
	uv pip install --quiet --python $(BIN)/python -r envs/browser.txt
	touch $@

# runs on a Slurm that the tests start; needs root, and munge and slurm-wlm from Debian
test-cluster: setup
	pytest tests/cluster --durations=0

# the demo as the README shows it, and other people's benchmarks, each the whole way on the tiny
# models; some minutes
formats: setup
	pytest --numprocesses 2 --dist worksteal tests/whole

# an hour of broken benchmarks, replies, rubrics, records, tables and scores, or FOR seconds
FOR ?= 3600
fuzz: setup
	python -m tests.fuzz $(FOR)

# of all tests, the attacks that once broke something; and a minute of `fuzz`; up to five minutes
HOSTILE := $(addprefix tests/unit/,test_corpus.py test_foreign_files.py test_hostile.py \
  test_joblog.py test_links.py test_quarantine.py \
  test_media.py test_redaction.py test_replies.py test_sandbox.py test_transport.py test_waves.py \
  test_yaml_files.py)
hostile: setup
	pytest --numprocesses 2 --dist worksteal $(HOSTILE)
	python -m tests.fuzz 60

# random kills and stops, a minute for each of two schedules
chaos: setup
	pytest tests/chaos -s

lint: setup
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile rules
	snakemake --configfile config/demo.yaml --lint
	python -m tests.prose

format: setup
	ruff check --fix .
	ruff format .
	snakefmt Snakefile rules

# a faster attention kernel for Hopper GPUs and later
flash: setup
	uv pip install --quiet --python $(BIN)/python --compile-bytecode -r envs/flash.txt

# renew the locks after a change of envs/*.in
lock: setup
	uv pip compile --quiet --no-emit-index-url --python-version 3.11 \
	  envs/requirements.in --output-file envs/requirements.txt
	uv pip compile --quiet --no-emit-index-url --python-version 3.11 \
	  envs/flash.in --output-file envs/flash.txt
	uv pip compile --quiet --no-emit-index-url --python-version 3.11 \
	  envs/browser.in --output-file envs/browser.txt

clean:
	rm -rf .venv .snakemake results
