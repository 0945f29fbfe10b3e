# Two commands on a fresh machine: `make run` and `make test`. Nothing else has to be done by hand.

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/ready
# Further arguments: `make test ARGS="-k partition"`.
ARGS :=
# Two at a time, each file by one of them, since its tests share what is costly to make: `make test PARALLEL=` for one.
PARALLEL := --numprocesses 2 --dist loadfile --no-loadscope-reorder
MODEL := resources/samples/digits.pb
# For `make texts`: a language that Qt knows.
LANGUAGE := de

# What Qt loads at run time and which Debian package has it. Found with ldd on PySide6's libQt6*.so and
# plugins/platforms/libqxcb.so. `make run LIBRARIES=` skips the check.
LIBRARIES := \
	libEGL.so.1:libegl1 libGL.so.1:libgl1 libglib-2.0.so.0:libglib2.0-0 libdbus-1.so.3:libdbus-1-3 \
	libfontconfig.so.1:libfontconfig1 libfreetype.so.6:libfreetype6 \
	libxkbcommon.so.0:libxkbcommon0 libxkbcommon-x11.so.0:libxkbcommon-x11-0 \
	libX11-xcb.so.1:libx11-xcb1 libxcb.so.1:libxcb1 libxcb-cursor.so.0:libxcb-cursor0 \
	libxcb-glx.so.0:libxcb-glx0 libxcb-icccm.so.4:libxcb-icccm4 libxcb-image.so.0:libxcb-image0 \
	libxcb-keysyms.so.1:libxcb-keysyms1 libxcb-randr.so.0:libxcb-randr0 libxcb-render.so.0:libxcb-render0 \
	libxcb-render-util.so.0:libxcb-render-util0 libxcb-shape.so.0:libxcb-shape0 libxcb-shm.so.0:libxcb-shm0 \
	libxcb-sync.so.1:libxcb-sync1 libxcb-xfixes.so.0:libxcb-xfixes0 libxcb-xkb.so.1:libxcb-xkb1

# Prints the first Python that fits; the pyenv and asdf stand-ins of absent versions fail here and are passed over.
FIND_PYTHON = for name in python3 python3.13 python3.12 python3.11; do \
	if $$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; \
	then echo $$name; break; fi; done

.DEFAULT_GOAL := help
.PHONY: bench-choice bench-graph bench-memory bench-shapes bench-window help run test test-fast setup lint faults snapshots fuzz soak conformance op-conformance bench bench-int8 gpu-check screenshot texts lock system

help: ## List the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | column -t -s '|' 2>/dev/null \
		|| sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1   \2/p' Makefile

run: setup ## Set up if need be, then open the app on a sample graph, or another: make run MODEL=…
	@if [ "$$(uname)" = Linux ] && [ -z "$$DISPLAY$$WAYLAND_DISPLAY" ]; then \
		echo "There is no display (DISPLAY and WAYLAND_DISPLAY are empty): converting the sample in the terminal."; \
		QT_QPA_PLATFORM=offscreen $(PY) -m icebreaker.cli demo $(ARGS); \
	else $(PY) -m icebreaker_gui $(MODEL) $(ARGS); fi

test: setup ## Set up if need be, then run all tests, offscreen
	QT_QPA_PLATFORM=offscreen $(PY) -m pytest $(PARALLEL) $(ARGS)

test-fast: setup ## Run the tests that need no TensorFlow: 90 seconds at most
	QT_QPA_PLATFORM=offscreen $(PY) -m pytest -m "not slow" $(PARALLEL) $(ARGS)

setup: $(READY) ## Create .venv with the locked versions

lint: setup ## Check style, format, types and the direction of imports
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m pyright
	$(VENV)/bin/lint-imports --no-cache

faults: setup ## Run all fault tests, the long ones too: engines that crash, hang, eat memory; full disks; kills
	ICEBREAKER_FAULTS=all QT_QPA_PLATFORM=offscreen $(PY) -m pytest tests/faults $(ARGS)

snapshots: setup ## Compare all that the command line prints with what is kept, the long commands too
	ICEBREAKER_SNAPSHOTS=all QT_QPA_PLATFORM=offscreen $(PY) -m pytest tests/integration/test_json_snapshots.py $(ARGS)

fuzz: setup ## Damage real inputs and read them, for ten minutes, or otherwise: make fuzz ARGS="--seconds 60"
	PYTHONPATH=tests $(PY) -m fuzz.fuzz --seconds 600 $(ARGS)

soak: setup ## Use the app for an hour and see whether anything piles up; make soak ARGS="--seconds 300"
	QT_QPA_PLATFORM=offscreen PYTHONPATH=tests $(PY) -m benchmarks.soak $(ARGS)

conformance: setup ## Convert real graphs and models, compare with references or the originals, and print one table
	PYTHONPATH=tests $(PY) -m benchmarks.conformance $(ARGS)

op-conformance: setup ## Try every op in every type on hard values, in each engine, and write docs/ops.md; takes half an hour
	PYTHONPATH=tests $(PY) -m op_conformance.run --table docs/ops.md $(ARGS)

bench: setup ## Measure the promises: speed-up, hand-over, conversion time
	PYTHONPATH=tests $(PY) -m benchmarks.bench $(ARGS)

bench-graph: setup ## Measure the graph view: layout, opening, frames, memory
	PYTHONPATH=tests $(PY) -m benchmarks.bench_graph $(ARGS)

bench-choice: setup ## Convert a graph ten times beside busy loops: nine must choose alike
	PYTHONPATH=tests $(PY) -m benchmarks.bench_choice $(ARGS)

bench-memory: setup ## Measure what big graphs take of memory; one of 2.7 GB: make bench-memory ARGS=--large
	PYTHONPATH=tests $(PY) -m benchmarks.bench_memory $(ARGS)

bench-shapes: setup ## Measure batches in turn and threads side by side, against TensorFlow: make bench-shapes ARGS=GRAPH.pb
	PYTHONPATH=tests $(PY) -m benchmarks.bench_shapes $(ARGS)

bench-window: setup ## Measure how long the window keeps its user waiting while it works
	PYTHONPATH=tests $(PY) -m benchmarks.bench_window

bench-int8: setup ## Measure what INT8 promises: accuracy on data that calibration has not seen, and speed
	PYTHONPATH=tests $(PY) -m benchmarks.bench_int8 $(ARGS)

gpu-check: setup ## On an NVIDIA GPU: convert and measure ResNet-50, or more: make gpu-check ARGS="--model FILE"
	PYTHONPATH=tests $(PY) -m benchmarks.gpu_check --json gpu-check.json --table gpu-check.md $(ARGS)

texts: setup ## Bring resources/translations/icebreaker_LANGUAGE.ts up to date: LANGUAGE=de
	mkdir -p resources/translations
	$(PY) -m icebreaker_gui.style.texts resources/translations/icebreaker_$(LANGUAGE).ts

screenshot: setup ## Remake the picture in the README: the app converts and measures the sample
	$(PY) -m icebreaker_gui $(MODEL) --screenshot docs/images/app.png --convert --theme light --size 1280x800

lock: setup ## Remake requirements.lock; `make lock ARGS=--upgrade` takes newer versions
	$(PY) -m pip install --quiet uv
	$(VENV)/bin/uv pip compile pyproject.toml --output-file requirements.lock --universal --python-version 3.11 \
		--fork-strategy fewest --extra rtx --extra dev --generate-hashes --no-annotate --quiet \
		--custom-compile-command "make lock" $(ARGS)

$(READY): requirements.lock pyproject.toml | system
	@$(PY) -c '' 2>/dev/null || $$($(FIND_PYTHON)) -m venv --clear $(VENV)
	@echo "Installing the locked versions into $(VENV): about 3 GB, a few minutes the first time."
	$(PY) -m pip install --require-hashes --no-deps --requirement requirements.lock
	$(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# Names what the system lacks; as root on Debian, installs it.
system:
	@lacking=; python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then lacking="python3 python3-venv"; \
	elif ! $$python -c 'import ensurepip, venv' 2>/dev/null; then lacking="python3-venv"; fi; \
	if known=$$(PATH="$$PATH:/usr/sbin:/sbin" ldconfig -p 2>/dev/null); then \
		for pair in $(LIBRARIES); do \
			case "$$known" in *"$${pair%%:*} "*) ;; *) lacking="$$lacking $${pair##*:}" ;; esac; \
		done; \
	fi; \
	[ -n "$(LIBRARIES)" ] && [ -d /usr/share ] && [ -z "$$(find -L /usr/share/fonts /usr/local/share/fonts ~/.fonts ~/.local/share/fonts \
		-name '*.[to]tf' 2>/dev/null | head -n 1)" ] && lacking="$$lacking fonts-dejavu-core"; \
	[ -n "$$lacking" ] || exit 0; \
	if [ "$$(id -u)" = 0 ] && [ -e /etc/debian_version ]; then \
		echo "Installing the Debian packages that are missing:" $$lacking; \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$lacking; \
	else \
		echo "These Debian packages are missing:" $$lacking >&2; \
		echo "Install them with: sudo apt-get install" $$lacking >&2; \
		echo "(Elsewhere: Python 3.11 to 3.13 with venv, and the libraries of the same names.)" >&2; \
		exit 1; \
	fi; \
	[ -n "$$($(FIND_PYTHON))" ] || { echo "No Python 3.11, 3.12 or 3.13 is here: install one." >&2; exit 1; }
