"""Options and fixtures: the patched schemas, and those of libvirt without the series."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from schema import SCHEMAS, TEST_SCHEMAS, Schemas
from virschematest import entries


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say where libvirt is."""
    libvirt = Path(__file__).resolve().parent.parent / "libvirt"
    parser.addoption("--libvirt", type=Path, default=libvirt, help="patched libvirt source tree [%(default)s]")
    parser.addoption("--stock", default="v11.3.0", help="its revision without the series [%(default)s]")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for every directory that virschematest.c lists: all, or those of domains."""
    wanted = {"entry", "domain_entry"}.intersection(metafunc.fixturenames)
    for name in wanted:
        root: Path = metafunc.config.getoption("--libvirt")
        if not (root / "tests/virschematest.c").exists():
            raise pytest.UsageError(f"{root} is not a libvirt source tree: run make source")
        found = list(entries(root))
        if name == "domain_entry":
            found = [e for e in found if e.schema == "domain.rng" and e.files(root)]
        metafunc.parametrize(name, found, ids=[f"{e.schema}-{e.directory}" for e in found])


@pytest.fixture(scope="session")
def libvirt(request: pytest.FixtureRequest) -> Path:
    """Return the patched source tree."""
    root: Path = request.config.getoption("--libvirt")
    return root


@pytest.fixture(scope="session")
def patched(libvirt: Path) -> Schemas:
    """Return the schemas with the series."""
    return Schemas(libvirt / SCHEMAS)


@pytest.fixture(scope="session")
def internal(libvirt: Path, tmp_path_factory: pytest.TempPathFactory) -> Schemas:
    """Return the schemas that only libvirt's tests use, filled in as its build does it."""
    directory = tmp_path_factory.mktemp("internal")
    for template in (libvirt / TEST_SCHEMAS).glob("*.in"):
        text = template.read_text().replace("@SCHEMADIR@", str((libvirt / SCHEMAS).resolve()))
        (directory / template.stem).write_text(text)
    return Schemas(directory)


@pytest.fixture(scope="session")
def stock(libvirt: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Schemas:
    """Return the schemas without the series, to show that the cases test something."""
    revision: str = request.config.getoption("--stock")
    archive = subprocess.run(
        ["git", "-C", str(libvirt), "archive", revision, str(SCHEMAS)],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    directory = tmp_path_factory.mktemp("stock")
    subprocess.run(["tar", "-x", "-C", directory], input=archive, check=True)
    return Schemas(directory / SCHEMAS)
