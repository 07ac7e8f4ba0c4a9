"""Checks of our own; what they are held to is in checks.yaml."""

import torch
from gt.measurement import measured
from pytest_groundthink import check


@check("BUDGET")
def test_the_state_fits(subject, judge):
    """The state of one conversation stays within the budget."""
    with torch.no_grad():
        _, state = subject.model(subject.windows(1, 64), return_states=True)
    numbers = sum(part.numel() for part in state.values())
    judge(measured("state_kib", 4 * numbers / 1024, unit="KiB", note=f"{numbers} numbers"))
