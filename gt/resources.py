"""Where the data files are: beside the packages in a checkout, inside `pytest_groundthink` in a wheel.

Force-included files are absent from editable installs, so both places are known here and nowhere else.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def _locate(name: str) -> Path:
    beside = Path(__file__).resolve().parent.parent / name
    # A foreign `fixtures/` may lie beside an installed `gt` in site-packages: a checkout is known by its pyproject.
    if beside.is_dir() and (beside.parent / "pyproject.toml").is_file():
        return beside
    spec = find_spec("pytest_groundthink")  # finds without importing
    if spec is not None and spec.origin is not None:
        inside = Path(spec.origin).parent / name
        if inside.is_dir():
            return inside
    raise FileNotFoundError(
        f"pytest-groundthink's {name}/ was found neither at {beside} nor inside the installed package: reinstall it"
    )


def fixtures_dir() -> Path:
    """Folder of the shipped data: checks.yaml, scales.yaml, canaries, tokenizers, checkpoints.

    Raises:
        FileNotFoundError: If the installation is incomplete.
    """
    return _locate("fixtures")


def suites_dir() -> Path:
    """Folder of the shipped checks (a package: `suites` in a checkout, `pytest_groundthink.suites` in a wheel).

    Raises:
        FileNotFoundError: If the installation is incomplete.
    """
    return _locate("suites")


def configs_dir() -> Path:
    """Folder of the training presets.

    Raises:
        FileNotFoundError: If the installation is incomplete.
    """
    return _locate("configs")


def seen_from_here(path: Path) -> str:
    """A path as one would give it: a scorecard need not say where its folder lies on a machine."""
    here, path = Path.cwd(), path.absolute()
    return (path.relative_to(here) if path.is_relative_to(here) else path).as_posix()
