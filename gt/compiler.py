"""Builds our C++ kernels on first use and keeps them: a plain C interface compiles in seconds.

(A file that includes the framework's headers takes half a minute; these see only pointers and sizes.) Imports no torch,
so that a run may compile while it loads that.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

from filelock import FileLock

from gt.cache import cache_dir

log = logging.getLogger(__name__)

SOURCES = Path(__file__).parent / "kernels" / "cpp"

# OpenMP's runtime is the one that torch has loaded already (the same libgomp.so.1): one pool of threads, not two.
FLAGS = (
    "-O3 -march=native -std=c++17 -fPIC -shared -fopenmp "
    # The parts of -ffast-math that vectorise sums; the whole would set flush-to-zero for the process that loads it.
    "-fno-math-errno -fno-trapping-math -fno-signed-zeros -fassociative-math -freciprocal-math"
).split()


class CompilerMissing(RuntimeError):
    """There is no working C++ compiler; the message says what was tried."""


@cache
def library(source: Path) -> ctypes.CDLL:
    """The shared library of one source file, compiled unless an earlier run has.

    Raises:
        CompilerMissing: If there is no compiler or it fails; a reason for a slower backend, not an error of the user.
    """
    start_builds(source)  # who asks for one asks for its neighbours next: they are compiled meanwhile
    target = _builds[source].result()
    if isinstance(target, str):
        raise CompilerMissing(target)
    try:
        return ctypes.CDLL(str(target))
    except OSError as error:
        raise CompilerMissing(f"{target} cannot be loaded: {error}") from error


def start_builds(*first: Path) -> None:
    """Compile all sources in the background, unless an earlier run has.

    Args:
        first: Sources that are needed before the others.
    """
    # The smallest are single ops, which the larger ones are made of and which are asked for before them.
    for one in (*first, *sorted(SOURCES.glob("*.cpp"), key=lambda path: path.stat().st_size)):
        if one not in _builds:
            _builds[one] = _builders().submit(build, one)


_builds: dict[Path, Future[Path | str]] = {}


@cache
def _builders() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="compile")


def forget() -> None:
    """Look again, at the next call, for what is compiled and whether there is a compiler."""
    for running in _builds.values():
        running.result()
    _builds.clear()
    library.cache_clear()


def build(source: Path) -> Path | str:
    """The compiled file of one source, from an earlier run or now; or why there is none."""
    found = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    compiler = shlex.split(found or "")
    if not compiler:
        return "no C++ compiler found (c++, g++, clang++ or $CXX)"
    headers = sorted(source.parent.glob("*.h"))
    text = b"".join(path.read_bytes() for path in (source, *headers))
    # -march=native: another processor needs another build.
    about = (compiler, FLAGS, platform.machine(), _processor_flags())
    key = hashlib.sha256(text + repr(about).encode()).hexdigest()[:24]
    target = cache_dir() / "kernels" / f"{source.stem}-{key}.so"
    if not target.is_file():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(target.with_suffix(".lock")):  # of several processes one compiles, the others wait
                if not target.is_file():
                    _compile(compiler, source, target)
        except CompilerMissing as error:
            return str(error)
        except OSError as error:
            return f"cannot build into {target.parent}: {error}"
    return target


def _compile(compiler: list[str], source: Path, target: Path) -> None:
    log.info("compiling %s with %s (once; kept in %s)", source.name, compiler[0], target.parent)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        built = Path(folder) / target.name
        command = [*compiler, str(source), "-o", str(built), *FLAGS]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        except subprocess.TimeoutExpired as error:
            raise CompilerMissing(f"{compiler[0]} took longer than {error.timeout:.0f} s") from error
        if run.returncode != 0:
            first = (run.stderr.strip().splitlines() or ["no message"])[0]
            raise CompilerMissing(f"{compiler[0]} failed: {first}")
        built.replace(target)  # all or nothing


def _processor_flags() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
