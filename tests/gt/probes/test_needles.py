"""NIAH: who finds the needle passes, who forgets fails; one pass gives what every prompt alone gives."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import torch

from gt import registry
from gt.data.dialogues import needle_data
from gt.data.needles import Haystack, needles, reserve
from gt.measurement import Measurement, Unmeasurable
from gt.models.build import build_model
from gt.probes.haystack import ANSWER_TOKENS, ask, hide, hide_all
from gt.probes.needles import claimed, grid
from gt.resources import fixtures_dir
from gt.sabotage import plant
from gt.scripted.needles import find_needle
from gt.session import Sessions
from pytest_groundthink.checks import load_checks
from tests.gt.probes.listener import TOKENIZER, finder

BOOK = load_checks(fixtures_dir() / "checks.yaml")
pytestmark = pytest.mark.usefixtures("own_cache")

PLACES = ("harbour", "mill", "orchard", "bridge", "market", "chapel", "garden", "station")
PROSE = tuple(
    " ".join(f"On day {day} of the {number}th journey they came past the {PLACES[(day + number) % 8]} and rested."
             for day in range(12))
    for number in range(12)
)  # fmt: skip
CORPUS = SimpleNamespace(valid=PROSE[:3], train=PROSE[3:])


def judged(measurements: tuple[Measurement, ...], check: str = "NIAH") -> tuple[str, dict[str, Measurement], str]:
    """Status, measurements by name, reason."""
    status, reason, _ = BOOK.checks[check].bands["default"].judge(measurements, BOOK.checks[check].metrics)
    return str(status), {one.metric: one for one in measurements}, reason


def test_who_finds_the_needle_passes() -> None:
    status, found, reason = judged(claimed(finder(find_needle, CORPUS)))
    assert status == "PASS", (reason, found["rate"].detail["wrong"][:2])
    assert set(found) == set(BOOK.checks["NIAH"].metrics)
    expected = {"rate": 1, "control_rate": 0, "other_key_rate": 0, "likelihood_rank_rate": 1, "multi_needle_rate": 1,
                "held_length": 512, "middle_gap": 0}  # fmt: skip
    assert {name: one.value for name, one in found.items()} == expected
    cells = found["rate"].detail["cells"]
    assert [(cell["length"], cell["depth"]) for cell in cells] == [
        (length, depth) for length in (256, 512) for depth in needle_data().depths
    ]
    assert all(cell["n"] == cell["right"] == 5 for cell in cells)
    for length in (256, 512):
        places = [cell["place"] for cell in cells if cell["length"] == length]
        assert places == sorted(places)
        shares = [place / (length - reserve(TOKENIZER, ANSWER_TOKENS)) for place in places]
        assert shares == pytest.approx(needle_data().depths, abs=0.07)
    assert found["rate"].n == 25
    assert found["multi_needle_rate"].n == 20
    assert "without a needle 0.0%, asked for another key 0.0%" in found["rate"].note


def any_code(text: str) -> str:
    """The code that was read last, whatever was asked."""
    found = re.findall(r"[A-Z]+-\d+", text)
    return f" {found[-1]}.\n" if found else " None.\n"


def test_naming_any_code_shows_in_the_controls() -> None:
    status, found, reason = judged(claimed(finder(any_code, CORPUS)))
    assert status == "WARN", reason
    assert (found["rate"].value, found["other_key_rate"].value, found["multi_needle_rate"].value) == (1.0, 1.0, 0.1)
    assert "of ten facts" in reason


def middle_lost(text: str) -> str:
    """Finds nothing in the middle of the prose."""
    prose, _, _ = text.rpartition("\nUser: ")
    place = re.search(r"[A-Z]+-\d+", prose)
    return " What?\n" if place is None or 0.4 < place.start() / len(prose) < 0.65 else find_needle(text)


def test_where_it_is_lost_is_told() -> None:
    status, found, _ = judged(claimed(finder(middle_lost, CORPUS)))
    assert (status, found["rate"].value) == ("WARN", 0.8), "a depth that is lost altogether does not pass"
    lost = {cell["depth"] for cell in found["rate"].detail["cells"] if cell["right"] == 0}
    assert lost == {0.5}
    assert found["middle_gap"].value == 1.0
    wrong = found["rate"].detail["wrong"]
    assert {(one["why"], one["depth"]) for one in wrong} == {("names no value", 0.5)}
    assert all(one["expected"][0] in one["said"] for one in wrong)


def short_sighted(text: str) -> str:
    """Finds one needle in 256 tokens and ten facts in 512, but not one in 512."""
    single = len(re.findall(r"[A-Z]+-\d+", text)) == 1
    return " What?\n" if single and len(TOKENIZER.encode(text)) > 300 else find_needle(text)


def test_beyond_the_claimed_context_is_recorded_and_not_judged() -> None:
    status, found, _ = judged(claimed(finder(short_sighted, CORPUS)))
    assert status == "PASS"
    assert found["held_length"].value == 256
    assert found["held_length"].note == "below 80% from 512 tokens"
    assert found["rate"].detail["accuracy"] == {"256": 1.0, "512": 0.0}


@pytest.mark.parametrize("fault", ["forgets-every-128", "state-reset", "forgets-every-64"])
def test_forgetting_fails(fault: str) -> None:
    forgetful = finder(find_needle, CORPUS)
    plant(fault, forgetful.model)
    status, found, reason = judged(claimed(forgetful))
    assert status == "FAIL", reason
    assert found["rate"].detail["wrong"]


def test_all_lengths_are_judged_in_the_extended_check(monkeypatch: pytest.MonkeyPatch) -> None:
    data = msgspec.structs.replace(needle_data(), lengths=(256, 512))
    monkeypatch.setattr("gt.probes.needles.needle_data", lambda: data)
    status, found, _ = judged(grid(finder(short_sighted, CORPUS)), "NIAH-16K")
    assert (status, found["rate"].value, found["rate"].detail["judged_to"]) == ("FAIL", 0.0, 512)


@pytest.mark.parametrize(("fault", "expected"), [(None, "PASS"), ("forgets-every-1024", "FAIL")])
def test_what_is_forgotten_after_more_than_is_claimed_shows_in_the_extended_check(
    fault: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = msgspec.structs.replace(needle_data(), lengths=(512, 2048))
    monkeypatch.setattr("gt.probes.needles.needle_data", lambda: data)
    reader = finder(find_needle, CORPUS)
    if fault is not None:
        plant(fault, reader.model)
    assert judged(claimed(reader))[0] == "PASS"
    assert judged(grid(reader), "NIAH-16K")[0] == expected


def test_a_second_run_reads_what_the_first_has_found(own_cache: Path) -> None:
    first = claimed(finder(find_needle, CORPUS))
    asked: list[str] = []

    def recorded(text: str) -> str:
        asked.append(text)
        return find_needle(text)

    assert claimed(finder(recorded, CORPUS)) == first
    assert asked == []
    longest = max(own_cache.glob("niah-*.safetensors"), key=lambda path: path.stat().st_size)
    longest.unlink()
    assert claimed(finder(recorded, CORPUS)) == first
    assert asked, "one length was read again"


def test_what_cannot_be_read_is_left_out_or_said() -> None:
    _, found, reason = judged(claimed(finder(find_needle, CORPUS, longest=300)))
    assert found["rate"].detail["accuracy"] == {"256": 1.0}
    assert "multi_needle_rate" not in found, "ten facts leave no room in 256 tokens"
    assert "no longer than 256 tokens: it has 300 learned positions" in reason
    with pytest.raises(Unmeasurable, match=r"the corpus has .* tokens, needed are 8,192"):
        claimed(finder(find_needle, CORPUS, claimed=8192))


@pytest.fixture(scope="module", params=["GF-MH", "GPT2"])
def real(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(1)
    model = build_model(registry.resolve(request.param, "TINY").config(TOKENIZER.vocab_size)).double().eval()
    with torch.no_grad():
        model.get_parameter("embedding.weight").mul_(20)  # an untrained model would answer the same to everything
    return SimpleNamespace(model=model, tokenizer=TOKENIZER, progress=lambda done, total, note: None)


def test_cached_is_uncached(real: Any) -> None:
    """Logits after a question: from one pass with snapshots, and of the plain model that reads each prompt alone."""
    haystack = Haystack(PROSE, TOKENIZER, 256)
    end = 200
    hidden = {haystack.nearest(share * end): needles(2, str(share), 0) for share in (0.1, 0.5, 0.9)}
    rows = hide(real, haystack, end, hidden)
    cells = [(place, needle) for place, own in hidden.items() for needle in own]
    asked = rows.take(range(1, len(cells) + 1))
    asked.feed([needle.query for _, needle in cells])
    logits = asked.save()["logits"]
    for row, (place, needle) in enumerate(cells):
        prompt = [*haystack.tokens[:place], *TOKENIZER.encode(needle.statement), *haystack.tokens[place:end],
                  *TOKENIZER.encode(needle.query)]  # fmt: skip
        with torch.no_grad():
            alone = real.model(torch.tensor([prompt]))[0, -1]
        assert torch.allclose(logits[row], alone, atol=1e-4)
        one = Sessions(real.model, TOKENIZER, 1)
        one.feed_tokens([prompt])
        assert ask(rows, [row + 1], [needle.query]) == one.generate(ANSWER_TOKENS, "\n")


def test_ten_facts_cached_are_ten_facts_uncached(real: Any) -> None:
    haystack = Haystack(PROSE, TOKENIZER, 200)
    facts = [needles(10, str(row), 0) for row in range(2)]
    rows = hide_all(real, haystack, 150, facts)
    places = [haystack.nearest((number + 0.5) / 10 * 150) for number in range(10)]
    for row, own in enumerate(facts):
        prompt: list[int] = []
        before = 0
        for place, needle in zip(places, own, strict=True):
            prompt += haystack.tokens[before:place] + TOKENIZER.encode(needle.statement)
            before = place
        prompt += haystack.tokens[before:150]
        with torch.no_grad():
            alone = real.model(torch.tensor([prompt]))[0, -1]
        assert torch.allclose(rows.save()["logits"][row], alone, atol=1e-4)


def test_a_prompt_is_as_long_as_it_is_called() -> None:
    longest = 0
    for cell in range(200):
        for needle in needles(8, str(cell), 0):
            parts = (needle.statement, needle.query)
            longest = max(longest, sum(len(TOKENIZER.encode(part)) for part in parts))
    assert reserve(TOKENIZER, 0) - 6 <= longest <= reserve(TOKENIZER, 0)
    assert all(len(TOKENIZER.encode(f" {value}.\n")) < ANSWER_TOKENS for value in needle_data().values)


def test_needles_lie_where_a_sentence_begins() -> None:
    haystack = Haystack(PROSE, TOKENIZER, 10_000)
    whole = TOKENIZER.decode(haystack.tokens)
    assert whole == "\n\n".join(PROSE)
    assert len(haystack.beginnings) == 12 * 12 - 1
    for place in haystack.beginnings:
        assert TOKENIZER.decode(haystack.tokens[:place]).endswith(".")
    assert haystack.nearest(-5) == haystack.beginnings[0] > 0
    assert haystack.nearest(1e9) == haystack.beginnings[-1]
    with pytest.raises(ValueError, match="no two sentences"):
        Haystack(["word " * 50], TOKENIZER, 10)


def test_needles_of_a_cell_differ_and_are_always_the_same() -> None:
    own = needles(8, "512/0.1", 0)
    assert own == needles(8, "512/0.1", 0) != needles(8, "512/0.25", 0)
    assert len({needle.key for needle in own}) == len({needle.value for needle in own}) == 8
    for needle in own:
        assert needle.other not in {one.key for one in own}
        assert needle.value not in needle.rivals
        assert needle.value in needle.statement
    with pytest.raises(ValueError, match="got 16, expected 1 to 15"):
        needles(16, "", 0)
