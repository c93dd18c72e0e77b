# tape: the build system is Meson; this file gives its commands short names.
#
#   make               builds into build/
#   make demo          shows what tape does
#   make test          builds and runs the tests
#   make check         layers, style, and the tests of several builds and sanitizers
#   make check-full    the same with the thread sanitizer and long crash, simulation and fuzz runs
#   make bench         measures beside the peers
#   make coverage      of lines, at least 80 %
#   make install PREFIX=/usr/local DESTDIR=
#   make clean
#
# DUCKDB_ROOT=DIR uses an installed DuckDB; otherwise tools/setup.sh fetches one.

BUILD ?= build
MESON_OPTIONS := -Dlibdir=lib $(if $(PREFIX),-Dprefix=$(abspath $(PREFIX)))
export DUCKDB_ROOT

.PHONY: all setup demo test check check-full bench coverage install clean

all: setup
	ninja -C $(BUILD)

setup:
	@tools/setup.sh build
	@tools/configure.sh $(BUILD) $(MESON_OPTIONS)

demo: all
	@tools/demo.sh $(BUILD)/tape

test: setup
	@tools/run_tests.sh $(BUILD)

check: setup
	@tools/setup.sh check
	@tools/check.sh

check-full: setup
	@tools/setup.sh check
	@tools/check.sh full

bench:
	@tools/setup.sh bench
	@tools/configure.sh $(BUILD) $(MESON_OPTIONS) -Dbench=true
	ninja -C $(BUILD)
	bench/run --build $(BUILD)

coverage: setup
	@tools/setup.sh coverage
	@tools/coverage.sh

install: all
	meson install -C $(BUILD) --no-rebuild $(if $(DESTDIR),--destdir $(abspath $(DESTDIR)))

clean:
	rm -rf build build-check-* build-coverage
