"""Names of models."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest

from gt import registry


@pytest.mark.parametrize(
    ("name", "scale", "expected"),
    [
        ("GF-MH", None, "GF-MH@3.5M"),
        ("gf-mh", None, "GF-MH@3.5M"),
        (" GF-MH@8m ", None, "GF-MH@8M"),
        ("gf-mh@tiny", None, "GF-MH@TINY"),
        ("GF-MH@5M", None, "GF-MH@3.5M"),
        ("GF-MH@0.5m", None, "GF-MH@TINY"),
        ("rwkv6", "8M", "RWKV6@8M"),
        ("MAMBA2@tiny", "0.5M", "Mamba2@TINY"),
        ("TINY", None, "HY@TINY"),
        ("small", None, "HY@3.5M"),
        ("5M", "3.5M", "HY@3.5M"),
        ("Medium", None, "GF-MH@8M"),
        ("8M", "8M", "GF-MH@8M"),
        ("gpt2-3m", None, "GPT2@3.5M"),
        ("GPT2-8M", None, "GPT2@8M"),
        ("HGF-RH@125m", None, "HGF-RH@125M"),
    ],
)
def test_names_in_any_case_with_aliases(name: str, scale: str | None, expected: str) -> None:
    assert registry.resolve(name, scale).name == expected


@pytest.mark.parametrize(
    ("name", "scale", "message"),
    [
        ("GF-MX", None, "unknown model 'GF-MX': did you mean .*GF-MH"),
        ("FG-MH@8M", None, "unknown model 'FG-MH@8M': did you mean .*GF-MH"),
        ("rwkv", None, "did you mean RWKV6"),
        ("zzzzqqq", None, "unknown model 'zzzzqqq': there are: HY, GF, GF-MH"),
        ("", None, "unknown model ''"),
        ("GF-MH@3M", None, "unknown scale '3M' of model 'GF-MH@3M': did you mean .*3.5M"),
        ("GF-MH", "huge", "unknown scale 'huge'"),
        ("GF-MH@8M", "3.5M", "names the scale 8M, but 3.5M was asked for"),
        ("MEDIUM", "3.5M", "model 'MEDIUM' names the scale 8M, but 3.5M was asked for"),
        ("SMALL@8M", None, "unknown model 'SMALL@8M'"),
    ],
)
def test_unknown_names_offer_the_nearest(name: str, scale: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        registry.resolve(name, scale)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["GF-MH@", "GF-MH@@8M", "GF-MH@8M@8M", "@8M"])
def test_malformed_names_are_refused_or_taken_for_what_they_say(name: str) -> None:
    with contextlib.suppress(ValueError):
        assert registry.resolve(name).name == "GF-MH@3.5M"


def test_a_variant_is_a_row_not_a_copy() -> None:
    assert registry.resolve("GF-RH").config().gate_init == 0.7
    assert registry.resolve("GF-MH").config().gate_init == 0.3
    assert registry.resolve("RWKV6").config().mixers == ("rwkv",)
    assert "two_components" not in registry.resolve("Mamba2").capabilities
    assert "two_components" in registry.resolve("GF").capabilities


def test_every_scale_says_how_much_is_measured() -> None:
    for scale in set(registry.scale_names().values()):
        assert registry.scale_sizes(scale)["canary_items"] >= 400
        assert registry.scale_sizes(scale)["canary_controls"] >= 100
        assert registry.scale_sizes(scale)["g3_steps"] >= 200


def test_listing_and_inspecting_need_no_torch() -> None:
    code = (
        "import sys, gt.registry, gt.checkpoint, gt.subject, gt.sabotage, gt.measurement; gt.registry.resolve('GF-MH');"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
