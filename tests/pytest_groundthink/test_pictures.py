"""Pictures show what a scorecard holds, say it in words, and can be read on any ground."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_groundthink.pictures import Picture, draw
from pytest_groundthink.scorecard import MeasurementRecord, Scorecard

from .test_decision import card, result

NEEDLES = {
    "cells": [
        {"length": length, "depth": depth, "place": 3, "n": 5, "right": right, "likeliest": 5}
        for length, depth, right in [(512, 0.1, 5), (512, 0.9, 4), (1024, 0.1, 0), (1024, 0.9, 5)]
    ],
    "accuracy": {"512": 0.9},
    "judged_to": 512,
    "wrong": [],
}
CURVE = {
    "claimed": 16,
    "curve": [
        {"context": 8, "loss": 5.0, "ppl": 148.4, "ci95": [4.8, 5.2], "n": 64},
        {"context": 16, "loss": 4.5, "ppl": 90.0, "ci95": [4.2, 4.8], "n": 64},
        {"context": 32, "loss": None, "ppl": None, "ci95": None, "n": 64},
    ],
}
TURNS = {
    "curve": [
        {"turns": 1, "rate": 0.9, "ci95": [0.8, 0.95], "n": 40},
        {"turns": 20, "rate": 0.3, "ci95": [0.2, 0.4], "n": 40},
    ]
}
COURSE = {
    "rwkv": {"64": 3.0},
    "course": {
        "places": [32, 64, 128],
        "components": {
            "rwkv": {"norm": [[2.0, 4.0], [4.0, 8.0], [5.0, 9.0]], "cosine": [[0.9, 0.8], [0.7, 1.0]]},
            "mamba": {"norm": [[1.0, 1.0], [1.0, None], [1.0, 1.0]], "cosine": [[0.5, None], [0.5, 0.5]]},
        },
    },
}
LIVE = {"rwkv": 0.1, "live": {"rwkv": [[0, 10, 20], [90, 30, None]], "mamba": [[5, 5], [5, 0]]}}
GATE = {"mean": [0.5, 0.7], "spread": [0, 0], "by_position": {"tokens": 4, "layers": [[0.4, 0.6], [0.7, 0.7]]}}
KINDS = {"by_kind": {"number": {"n": 40, "rwkv": 0.5, "mamba": -0.1}, "space": {"n": 9, "rwkv": 0.1, "mamba": None}}}
LAYERS = {"by_layer": {"rwkv": [0.1, 0.3], "mamba": [0.02, 0.01]}}
INFLUENCE = {"tokens": 8, "influence": [[0.8, 0.2, 0.1], [None, 0.6, 0.4], [None, None, 0.7]]}
DETAILS: dict[str, dict[str, Any]] = {
    "NIAH": NEEDLES,
    "LRD": CURVE,
    "SPS": TURNS,
    "G4": GATE,
    "D1": COURSE,
    "D2": LIVE,
    "D3": KINDS,
    "D7": LAYERS,
}
DETAILS["D4"] = INFLUENCE
SAID = {
    "niah": ["512 tokens 9 of 10", "1,024 tokens 5 of 10", "worst cell is 1,024 tokens at depth 10%: 0 of 5"],
    "lrd": ["16 tokens are claimed", "8 tokens 5.000; 16 tokens 4.500", "lowest at 16 tokens (perplexity 90.0)"],
    "sps-turns": ["1 turns 90.0% of 40; 20 turns 30.0% of 40"],
    "g4-gate": ["layer 0 0.50; layer 1 0.70"],
    "d1-course": [
        "(3 places up to 128 tokens)",
        "rwkv: the mean norm goes from 3 to 7, and neighbours have a mean cosine of 0.85",
    ],
    "d2-live": [
        "rwkv: half of them vary by more than 20%, 1 of 5",
        "mamba: half of them vary by more than 5%, 1 of 4",
    ],
    "d3-kinds": ["rwkv: most at number (40) (+0.500), least at space (9) (+0.100)"],
    "d7-layers": ["rwkv: most at layer 1 (+0.300)", "mamba: most at layer 0 (+0.020)"],
    "d4-context": ["0 tokens on 70.00%; 8 tokens on 30.00%; 16 tokens on 10.00%"],
}


def with_details(details: dict[str, dict[str, Any]]) -> Scorecard:
    """A scorecard whose checks have a measurement with such a detail, and one without."""
    checks = [
        msgspec.structs.replace(
            result(id_),
            measurements=(
                MeasurementRecord(name="other", value=1.0, detail={"wrong": [], "curve": "mine"}),
                MeasurementRecord(name="one", value=1.0, detail=detail),
            ),
        )
        for id_, detail in details.items()
    ]
    return card(*checks)


@pytest.fixture(scope="module")
def pictures() -> dict[str, Picture]:
    return {picture.name: picture for picture in draw(with_details(DETAILS))}


def drawn(png: bytes) -> tuple[float, int]:
    """Share of an image that is not transparent, and the number of its colours."""
    import numpy as np
    from matplotlib import image

    pixels = image.imread(BytesIO(png))
    opaque = pixels[pixels[..., 3] > 0.5]
    colours = (opaque * 255).astype(int) @ [2**24, 2**16, 2**8, 1]
    return len(opaque) / pixels[..., 3].size, len(np.unique(colours))


def test_what_has_no_data_has_no_picture() -> None:
    assert draw(with_details({"D1": {}})) == []


def test_there_is_a_picture_of_everything_that_has_data(pictures: dict[str, Picture]) -> None:
    assert pictures.keys() == SAID.keys()


@pytest.fixture(scope="module")
def blank() -> float:
    """Share of a picture without data that is not transparent."""
    return drawn(draw(with_details({"LRD": {"claimed": 8, "curve": []}}))[0].png)[0]


@pytest.mark.parametrize("name", SAID)
def test_a_picture_is_not_empty_and_its_ground_is_transparent(
    pictures: dict[str, Picture], name: str, blank: float
) -> None:
    share, colors = drawn(pictures[name].png)
    assert 0.01 < share < 0.85
    assert colors > 10
    assert share > blank


@pytest.mark.parametrize("name", SAID)
def test_the_words_say_what_the_data_say(pictures: dict[str, Picture], name: str) -> None:
    for said in SAID[name]:
        assert said in pictures[name].alt


@pytest.mark.parametrize("name", SAID)
def test_a_picture_can_be_put_into_a_page(pictures: dict[str, Picture], name: str) -> None:
    svg = pictures[name].svg
    root = ET.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert [child.text for child in root[:2]] == [pictures[name].title, pictures[name].alt]
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    assert all(one.startswith(f"{name}-") for one in ids)
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', svg)) <= set(ids)
    # Text is black unless it, or the group of a formula that it belongs to, says otherwise.
    parents = {child: parent for parent in root.iter() for child in parent}
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        style = f"{text.get('style', '')} {parents[text].get('style', '')}"
        assert re.search(r"fill: #(7d7d7d|101010|f5f5f5)", style), style


def test_the_same_data_give_the_same_bytes(pictures: dict[str, Picture]) -> None:
    again = {picture.name: picture for picture in draw(with_details(DETAILS))}
    assert all(again[name].svg == pictures[name].svg for name in SAID)
    assert all(again[name].png == pictures[name].png for name in SAID)


def test_the_name_of_a_file_says_what_is_written(pictures: dict[str, Picture], tmp_path: Path) -> None:
    picture = pictures["lrd"]
    picture.write(tmp_path / "a.svg")
    picture.write(tmp_path / "a.png")
    assert (tmp_path / "a.svg").read_bytes().startswith(b"<svg")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"ends in \.svg or \.png"):
        picture.write(tmp_path / "a.pdf")


def test_without_matplotlib_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ValueError, match=r"pip install 'pytest-groundthink\[report\]'"):
        draw(with_details({"LRD": CURVE}))
