"""Makes Triton kernels run on the CPU: its interpreter, with some of its defects mended."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when a function is decorated: Triton's own are when it is imported

triton = pytest.importorskip("triton", reason="the package triton is not installed")

from triton.language.extra.cuda import libdevice  # noqa: E402
from triton.runtime import interpreter  # noqa: E402

from gt.kernels import wkv6_kernels  # noqa: E402

INTERPRETED = isinstance(wkv6_kernels.updates_kernel, interpreter.InterpretedFunction)
DEVICE = "cpu" if INTERPRETED else "cuda"

if not INTERPRETED and not torch.cuda.is_available():
    pytest.skip("triton was imported before TRITON_INTERPRET could be set", allow_module_level=True)


def _fp32(handle: Any) -> Any:
    """The interpreter multiplies the bit patterns of bf16 operands."""
    if handle.dtype != triton.language.bfloat16:
        return handle
    return interpreter.TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), triton.language.float32)


if INTERPRETED:
    _dot, _patch = interpreter.InterpreterBuilder.create_dot, interpreter._patch_lang_tensor

    def _patch_index(tensor: Any, scope: Any) -> None:
        """The interpreter takes int() of an array of one element, which numpy 2.4 refuses."""
        _patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = _patch_index
    libdevice.exp2 = lambda x: triton.language.exp2(x)  # the interpreter has no functions of libdevice
    interpreter.InterpreterBuilder.create_dot = lambda self, a, b, *rest: _dot(self, _fp32(a), _fp32(b), *rest)
