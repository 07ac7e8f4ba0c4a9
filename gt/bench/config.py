"""What a benchmark run is. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

BENCHMARKS = ("B1", "B2", "B3")


@dataclass(kw_only=True, slots=True)
class BenchConfig:
    """Settings of a benchmark run. The defaults are the documents' fixed configuration: batch 8, length 64, 100 steps.

    Attributes:
        batch: Batch sizes of the table, e.g. 1,8,32.
        length: Tokens per sequence of the table, e.g. 64,256,1024.
        only: Benchmarks to run, of B1 (throughput), B2 (memory) and B3 (stability).
        profile: Also measure the share of the training step that each part of the model takes.
        steps: Most training steps timed per cell of the table, and the steps of B3.
        repeats: Timings of which the median and the quartiles are taken; with several models they alternate.
        budget: Seconds to spend on one timing of one model (at least three repeats are taken even so).
        decode_batch: Batch sizes of token-by-token decoding.
        lr: Learning rate of B3.
        scale: Scale of a bare variant name.
        device: "auto", "cpu" or "cuda".
        dtype: Of parameters and activations in B1 and B2: "float32", "bfloat16" or "float64".
        threads: Threads of torch on the CPU; 0 leaves what torch chooses.
        graph: On a GPU, train by one CUDA graph per step, as `groundthink train` does.
        seed: Of the initialisation and of the data.
    """

    batch: str = "8"
    length: str = "64"
    only: str = "B1,B2,B3"
    profile: bool = False
    steps: int = 100
    repeats: int = 10
    budget: float = 60.0
    decode_batch: str = "1,64"
    lr: float = 1e-3
    scale: str | None = None
    device: str = "auto"
    dtype: str = "float32"
    threads: int = 0
    graph: bool = True
    seed: int = 0

    def check(self) -> None:
        """Find out whether the settings make sense.

        Raises:
            ValueError: If one does not: one line.
        """
        for name, least in (("steps", 2), ("repeats", 3), ("threads", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}: expected at least {least}")
        for name in ("budget", "lr"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected more than 0")
        for name in ("batch", "length", "decode_batch"):
            self.sizes(name)
        unknown = [name for name in self.chosen if name not in BENCHMARKS]
        if unknown or not self.chosen:
            raise ValueError(f"only is {self.only!r}: expected some of {', '.join(BENCHMARKS)}, such as B1,B2")

    def sizes(self, name: str) -> tuple[int, ...]:
        """The numbers of `batch`, `length` or `decode_batch`, in the order given, each once.

        Raises:
            ValueError: If it is no comma-separated list of numbers of at least 1.
        """
        text: str = getattr(self, name)
        parts = [part.strip() for part in text.split(",")]
        if not all(part.isdecimal() and int(part) > 0 for part in parts):
            raise ValueError(f"{name} is {text!r}: expected numbers of at least 1, such as 1,8,32")
        return tuple(dict.fromkeys(map(int, parts)))

    @property
    def chosen(self) -> frozenset[str]:
        """The benchmarks to run."""
        return frozenset(part.strip().upper() for part in self.only.split(",") if part.strip())
