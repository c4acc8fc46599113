# See "make help". The work is in tools/.
MAKEFLAGS += --no-print-directory
export LIBVIRT_TARBALL LIBVIRT_GIT FORCE QEMU PREFIX DESTDIR QUICK NIGHTLY BEFORE
export XDG_CACHE_HOME := $(CURDIR)/build/cache

help:
	@cat tools/help.txt

deps:
	@tools/deps.sh

source: deps
	@tools/series.py source

export:
	@tools/series.py export

# libvirt/ as it is: only an empty one is filled first.
build: deps
	@./run --check-paths
	@tools/build.sh

# What it takes of all that, and no more; "make build" completes it.
demo:
	@tools/deps.sh $(if $(XML),,demo)
	@./run --check-paths
	@tools/build.sh demo
	@./run python3 -m integration.demo $(if $(XML),'$(XML)')

check: build
	@tools/check.py $(STAGES)

quick: build
	@tools/check.py lint schema definitions

# The long forms of the tests, and what takes long.
nightly: build
	@NIGHTLY=1 tools/check.py $(or $(STAGES),--nightly)

check-series: build
	@tools/check_series.py $(PATCHES)

install: build
	@tools/install.sh install

uninstall:
	@tools/install.sh uninstall

check-install: build
	@tools/test-install.sh

deb:
	@tools/deb.sh

qemu-cure: build
	@tools/qemu-cure.sh

# The README's, from real output.
picture: build
	@./run python3 -m integration.demo >build/demo.txt
	@tools/picture.py <build/demo.txt >integration/demo.svg

bench: build
	@tools/build.sh optimized
	@tools/stock.sh optimized
	@build/venv/bin/pip install -qq --disable-pip-version-check -r tools/requirements-bench.txt
	@./run --stock --optimized --host=st ./run --optimized python3 -m bench $(CASES)

# The private daemons end first; guests must be off, as their disks and sockets may be there.
clean:
	@./run --stop
	rm -rf build

.PHONY: help deps source export build demo check quick nightly check-series install uninstall check-install deb qemu-cure picture bench clean
