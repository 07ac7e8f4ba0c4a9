"""Settings of torch for a run, and those from before after it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch

from gt.training.machine import repeatable


def settings() -> tuple[bool, bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )


@pytest.fixture
def restored() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("before", [(False, False), (True, False), (True, True)], ids=str)
def test_steps_repeat_inside_and_torch_is_as_before_after_it(before: tuple[bool, bool], restored: None) -> None:
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])

    def fail() -> None:
        assert settings() == (True, True, False)
        raise KeyError

    with pytest.raises(KeyError), repeatable(torch.device("cuda")):
        fail()
    assert settings() == (*before, True)
    with repeatable(torch.device("cpu")):
        assert settings() == (*before, True), "a CPU repeats its bits without"


def test_of_what_cannot_repeat_nothing_is_said_and_of_all_else_it_is() -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with repeatable(torch.device("cuda")):
            warnings.warn("Deterministic behavior was enabled with either ... but it uses CuBLAS", stacklevel=1)
            warnings.warn("cumsum_cuda_kernel\nhas no deterministic implementation", stacklevel=1)
            warnings.warn("something else", stacklevel=1)
    assert [str(one.message) for one in said] == ["something else"]
