from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from itertools import islice

import pytest

from gt.data.conversations import SKILLS, Example, Material, examples, mixture

COPYING = [name for name in SKILLS if name not in ("unknown", "small-talk", "selective", "collection", "constraints")]
"""Skills whose answers stand word for word in what was said before."""


def text(example: Example) -> str:
    return "".join(span.text for span in example)


def answers(example: Example) -> list[str]:
    return [span.text for span in example if span.answer]


@pytest.mark.parametrize("skill", SKILLS)
def test_every_example_is_a_conversation_in_the_format_of_the_evaluation(skill: str) -> None:
    for example in islice(examples(skill, seed=1), 100):
        whole = text(example)
        assert whole.startswith("User: ")
        assert whole.endswith("\n")
        assert not re.search(r"  |\n\n|\{|\}|None", whole), whole
        speakers = re.findall(r"^(User|Assistant):", whole, flags=re.MULTILINE)
        assert speakers == ["User", "Assistant"] * (len(speakers) // 2)
        for span in example:
            if span.text.startswith("User:"):
                assert span.text.endswith("\nAssistant:")
                assert not span.answer
            else:
                assert span.text[0] in " \n"


@pytest.mark.parametrize("skill", COPYING)
def test_answers_can_be_copied(skill: str) -> None:
    for example in islice(examples(skill, seed=2), 100):
        said = ""
        for span in example:
            if span.answer:
                for line in span.text.strip().removesuffix(".").splitlines():
                    value = re.sub(r"^(- |\d\. )", "", line).removesuffix(", isn't it?").rstrip("!")
                    for part in re.split(r", | and ", value) if skill == "formats" else [value]:
                        assert part in said, (span.text, text(example))
            said += span.text


def test_an_example_depends_on_skill_seed_and_number_alone() -> None:
    for skill in SKILLS:
        whole = list(islice(examples(skill, seed=3), 6))
        assert list(islice(examples(skill, seed=3, start=4), 2)) == whole[4:]
        assert list(islice(examples(skill, seed=4), 6)) != whole
    mixed = list(islice(mixture(None, seed=3), 20))
    assert list(islice(mixture(None, seed=3, start=15), 5)) == mixed[15:]


def test_examples_are_the_same_in_another_process() -> None:
    """Nothing hangs on the order of a set: another hash seed changes no letter."""
    code = (
        "from itertools import islice; from gt.data.conversations import mixture\n"
        "print(''.join(span.text for _, example in islice(mixture(None, 5), 60) for span in example), end='')"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert outputs[0] == outputs[1] == "".join(text(example) for _, example in islice(mixture(None, 5), 60))


def test_a_mixture_has_the_shares_that_were_asked_for() -> None:
    counts = Counter(name for name, _ in islice(mixture({"copy": 3, "recall": 1, "mqar": 0}, seed=0), 2000))
    assert set(counts) == {"copy", "recall"}
    assert counts["copy"] / 2000 == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("weights", [{"copy": 0.0}, {"copy": -1.0, "recall": 1.0}, {}, {"recal": 1.0}])
def test_weights_that_mean_nothing_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="weights: got"):
        mixture(weights, seed=0)


def test_an_unknown_skill_is_refused() -> None:
    with pytest.raises(ValueError, match="'recal', expected one of copy, "):
        examples("recal", seed=0)


def test_conversations_hardly_repeat() -> None:
    recall = [text(example) for example in islice(examples("recall", seed=0), 2000)]
    assert len(set(recall)) == len(recall)
    asked = Counter(turn for one in recall for turn in re.findall(r"^User: (.*\?)$", one, flags=re.MULTILINE))
    assert max(asked.values()) <= 25


def test_most_answers_say_nothing_about_what_was_asked() -> None:
    """A model that learned which colors there are must fail: most colors that are answered are none."""
    said = [text(example) for example in islice(examples("recall", seed=6), 6000)]
    pairs = [pair for one in said for pair in re.findall(r"hich color .*\?\nAssistant: (.*)\.\n", one)]
    assert len(pairs) > 60
    assert len(set(pairs)) > 0.7 * len(pairs)


def test_fillers_stand_between_a_fact_and_its_question() -> None:
    for skill, least in (("recall-1-3", 1), ("recall-4-6", 4), ("recall-7-12", 7)):
        for example in islice(examples(skill, seed=0), 50):
            before = next(place for place, span in enumerate(example) if span.answer)
            assert before // 2 >= least + 1


def test_bullets_are_kept_after_the_instruction_and_only_then() -> None:
    kinds = Counter()
    for example in islice(examples("formats", seed=0), 300):
        said, lists = text(example), [answer for answer in answers(example) if " and " in answer or "\n" in answer[:1]]
        if not re.search(r"bullet|dash|number|count the items|list", said.split("Assistant:")[0], re.IGNORECASE):
            assert not any(answer.startswith("\n") for answer in lists), said
            kinds["plain"] += 1
        elif lists and lists[0].startswith("\n- "):
            assert re.fullmatch(r"(\n- [^\n]+)+\n", lists[0])
            kinds["bullets"] += 1
    assert kinds["plain"] > 20
    assert kinds["bullets"] > 60


def test_material_brings_words_and_sentences_of_a_text() -> None:
    pages = ["The steamship left the quay. Mr. Brown saw it go; he did not wave back to them."] * 3 + ["quay quay"]
    material = Material.of(pages, words=3)
    assert material.words[0] == "quay"
    assert len(material.words) == 3
    assert material.prose == ("The steamship left the quay.",)
    told = [text(example) for example in islice(examples("recall-1-3", seed=0, material=material), 200)]
    assert sum("The steamship left the quay." in one for one in told) > 60
    assert sum("quay" in one.split("\nUser:")[-1] for one in told) > 8
