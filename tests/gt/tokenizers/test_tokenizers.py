import json
import subprocess
import sys

import pytest

from gt.checkpoint import tokenizer_vocab_size
from gt.tokenizers import END_OF_TEXT, UNKNOWN, Tokenizer, train_bpe, train_char

TEXT = "Ünïcode and plain words,\n\tlines  and 1234 digits.\n"


@pytest.fixture
def characters(tmp_path):
    train_char([TEXT], tmp_path / "chars" / "tokenizer.json")
    return Tokenizer(tmp_path / "chars" / "tokenizer.json")


class TestCharacters:
    def test_known_text_comes_back(self, characters):
        ids = characters.encode(TEXT)
        assert len(ids) == len(TEXT)
        assert characters.decode(ids) == TEXT

    def test_what_it_says_of_itself(self, characters, tmp_path):
        path = tmp_path / "chars" / "tokenizer.json"
        assert characters.kind == "character"
        assert characters.vocab_size == len(set(TEXT)) + 2 == tokenizer_vocab_size(path)
        assert characters.end_of_text == 0
        assert characters.encode(f"a{END_OF_TEXT}b") == [characters.encode("a")[0], 0, characters.encode("b")[0]]

    def test_unknown_characters_are_one_token_each(self, characters):
        assert characters.encode("a中文a") == [*characters.encode("a"), 1, 1, *characters.encode("a")]
        assert characters.decode(characters.encode("a中")) == f"a{UNKNOWN}"

    def test_the_order_of_the_text_does_not_matter(self, characters, tmp_path):
        train_char(reversed(TEXT), tmp_path / "other.json")
        assert Tokenizer(tmp_path / "other.json").sha256 == characters.sha256
        train_char([TEXT, "!"], tmp_path / "more.json")
        assert Tokenizer(tmp_path / "more.json").sha256 != characters.sha256

    def test_a_limit_keeps_the_commonest(self, tmp_path):
        train_char(["aaaabbbccd"], tmp_path / "few.json", vocab_size=4)
        tokenizer = Tokenizer(tmp_path / "few.json")
        assert tokenizer.vocab_size == 4
        assert tokenizer.decode(tokenizer.encode("abcd")) == f"ab{UNKNOWN}{UNKNOWN}"

    @pytest.mark.parametrize(("texts", "size", "problem"), [([], None, "no text"), (["a"], 2, "vocab_size is 2")])
    def test_what_it_refuses(self, tmp_path, texts, size, problem):
        with pytest.raises(ValueError, match=problem):
            train_char(texts, tmp_path / "none.json", size)


@pytest.mark.parametrize("train", [lambda texts, path: train_bpe(texts, 300, path), train_char])
class TestBoth:
    def test_batches_and_documents_are_encoded_as_single_texts(self, train, tmp_path):
        train([TEXT], tmp_path / "t.json")
        tokenizer = Tokenizer(tmp_path / "t.json")
        texts = [TEXT, "", "plain words"]
        assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]
        stream = [id_ for text in texts for id_ in [*tokenizer.encode(text), tokenizer.end_of_text]]
        assert tokenizer.encode_documents(texts) == stream

    def test_text_is_read_once(self, train, tmp_path):
        train(iter([TEXT] * 3), tmp_path / "t.json")
        assert Tokenizer(tmp_path / "t.json").decode(Tokenizer(tmp_path / "t.json").encode(TEXT)) == TEXT
        assert [path.name for path in tmp_path.iterdir()] == ["t.json"]


def test_a_byte_level_vocabulary_holds_every_byte(tmp_path):
    with pytest.raises(ValueError, match="vocab_size is 256: bytes and end of text alone are 257"):
        train_bpe([TEXT], 256, tmp_path / "t.json")
    train_bpe([TEXT], 257, tmp_path / "t.json")
    assert Tokenizer(tmp_path / "t.json").kind == "character"
    train_bpe([TEXT] * 9, 262, tmp_path / "t.json")
    assert Tokenizer(tmp_path / "t.json").kind == "subword"


GROWTH = """
import random, resource, sys
from pathlib import Path
from gt.tokenizers import train_bpe, train_char
words = ["".join(random.Random(i).choices("abcdefghij", k=6)) for i in range(500)]
def texts(megabytes):
    for i in range(megabytes * 16):
        yield " ".join(random.Random(i).choices(words, k=9362))
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
train = {"bpe": lambda t: train_bpe(t, 400, Path(sys.argv[2])), "char": lambda t: train_char(t, Path(sys.argv[2]))}
run = train[sys.argv[1]]
run(texts(8))
before = peak()
run(texts(32))
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="measures with the resource module")
@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_training_does_not_hold_its_text(tmp_path, kind):
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, kind, str(tmp_path / "t.json")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 12  # MiB, of 32 that went through
    assert json.loads((tmp_path / "t.json").read_text())["model"]["vocab"]
