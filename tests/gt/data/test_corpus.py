import gzip
import hashlib
import json
import lzma
import os
import re
import subprocess
import sys

import pytest

from gt.data.corpus import MIN_CHARACTERS, check_text_file, python_reference, text_file
from gt.data.reference import _prose_paragraphs, reference_paragraphs
from gt.data.reference_text import DIGITS, paragraph_hash
from gt.resources import fixtures_dir
from tests.gt.data.test_sources import zstd_open


def documents(count, separator="\n<|endoftext|>\n"):
    """A text of distinct documents of about a thousand characters."""
    sentence = "Document {} has a sentence with the number {}. "
    return separator.join("".join(sentence.format(i, j) for j in range(22)).strip() for i in range(count))


class TestPythonReference:
    def test_size_and_division(self):
        corpus = python_reference()
        assert corpus.name == "python-reference"
        assert corpus.characters > 600_000
        assert sum(map(len, corpus.valid)) == pytest.approx(0.1 * corpus.characters, rel=0.1)
        assert len(corpus.valid) >= 10

    def test_no_paragraph_is_in_both_parts_or_twice(self):
        corpus = python_reference()
        paragraphs = [p for document in corpus.train + corpus.valid for p in document.split("\n")]
        assert len(set(paragraphs)) == len(paragraphs)

    def test_reads_as_prose(self):
        text = "\n".join(python_reference().train)
        letters = sum(character.isalpha() or character in " \n" for character in text)
        assert letters > 0.93 * len(text)
        assert not re.search(r"(?m)>>>|::(?=\s)|^\.\. |```|={3}|-{4}|~{3}|\n\n|  ", text)
        assert not [line for line in text.split("\n") if line[-1] not in ".!?)\"'\u201d\u2019"]

    def test_is_the_same_in_another_process(self):
        code = "from gt.data.corpus import python_reference; print(python_reference().sha256)"
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": "1"},
        )
        assert done.stdout.strip() == python_reference().sha256

    def test_is_what_the_list_names(self):
        corpus = python_reference()
        listed = json.loads((fixtures_dir() / "reference_text.json").read_text(encoding="utf-8"))
        assert corpus.share is not None
        assert corpus.share > 0.9, "a Python that rewords so much needs another list"
        for documents, own in ((corpus.train, listed["train"]), (corpus.valid, listed["valid"])):
            hashes = [paragraph_hash(p) for document in documents for p in document.split("\n")]
            of_list = re.findall("." * DIGITS, "".join(own.values()))
            assert hashes == [digest for digest in of_list if digest in set(hashes)]
            if corpus.share == 1.0 and documents is corpus.valid:
                assert hashes == of_list
                assert len(documents) == len(own)

    def test_a_python_that_words_some_paragraphs_otherwise_has_the_rest_in_the_same_parts(self, monkeypatch):
        def reworded():
            for number, (name, paragraphs) in enumerate(reference_paragraphs()):
                yield name, [f"{p} Or so." if (number + i) % 100 == 0 else p for i, p in enumerate(paragraphs)]

        corpus = python_reference()
        monkeypatch.setattr("gt.data.reference_text.reference_paragraphs", reworded)
        other = python_reference.__wrapped__()
        assert other.share is not None
        assert corpus.share is not None
        assert 0.97 < other.share < corpus.share
        assert other.sha256 != corpus.sha256
        for mine, its in ((corpus.train, other.train), (corpus.valid, other.valid)):
            mine, its = ([p for document in documents for p in document.split("\n")] for documents in (mine, its))
            assert set(its) < set(mine)
            assert its == [p for p in mine if p in set(its)]

    def test_a_python_without_its_texts_says_so(self, monkeypatch, tmp_path):
        monkeypatch.setattr("gt.data.reference.sysconfig.get_path", lambda name: str(tmp_path))
        monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
        with pytest.raises(ValueError, match=r"got 0 characters, expected at least 50,000 .*--gt-corpus"):
            python_reference.__wrapped__()


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("Title\n=====\n\nThis is a paragraph that is\nbroken over two lines.", ["two lines."]),
        ("Here is how it is done:\n\n   for x in y: print(x)\n   a, b = b, a\n", []),
        ("This sentence stays in the text. An example of it:\n\n  >>> f(1)\n  2\n", ["in the text."]),
        ("* The first item of this list is kept.\n* The second item of it\n  is kept too.", ["is kept.", "kept too."]),
        ("   pattern ::= or_pattern | closed_pattern and so on it is.", []),
        ("New in version 3.8: The function takes a value for the key.", ["The function takes a value for the key."]),
        (
            "It uses ``spam`` and :class:`~spam.Ham` and *eggs* in **all** of them.",
            ["uses spam and spam.Ham and eggs in"],
        ),
        (".. note:: This is a directive and it is not to be kept.", []),
        ("name      size     the date of it\nfoo       12       it is 2020", []),
    ],
)
def test_cleaning(source, kept):
    found = list(_prose_paragraphs(source))
    assert len(found) == len(kept)
    assert all(part in paragraph for part, paragraph in zip(kept, found, strict=True))
    assert not any("\n" in paragraph for paragraph in found)


class TestTextFile:
    @pytest.mark.parametrize("separator", ["\n<|endoftext|>\n", "\n\n", "\r\n \r\n"])
    def test_documents(self, tmp_path, separator):
        path = tmp_path / "mine.txt"
        path.write_bytes(documents(100, separator).encode())
        check_text_file(path)
        corpus = text_file(path)
        assert corpus.share is None
        assert corpus.name == "mine.txt"
        assert len(corpus.train) + len(corpus.valid) == 100
        assert not set(corpus.train) & set(corpus.valid)
        assert 5 <= len(corpus.valid) <= 10
        assert all(document.startswith("Document ") for document in corpus.train)

    def test_blank_lines_stay_inside_marked_documents(self, tmp_path):
        path = tmp_path / "mine.txt"
        path.write_text(documents(60).replace("number 3.", "number 3.\n\n"))
        corpus = text_file(path)
        assert len(corpus.train) + len(corpus.valid) == 60
        assert "\n\n" in corpus.train[0]

    @pytest.mark.parametrize(("opener", "suffix"), [(gzip.open, ".gz"), (lzma.open, ".xz"), (zstd_open, ".zst")])
    def test_packed_files(self, tmp_path, opener, suffix):
        plain, packed = tmp_path / "a.txt", tmp_path / f"a.txt{suffix}"
        plain.write_text(documents(60))
        with opener(packed, "wt") as stream:
            stream.write(documents(60))
        check_text_file(packed)
        assert text_file(packed).sha256 == text_file(plain).sha256

    def test_one_long_document_loses_its_tail_to_validation(self, tmp_path):
        path = tmp_path / "book.txt"
        path.write_text(documents(60, " "))
        corpus = text_file(path)
        assert len(corpus.train) == len(corpus.valid) == 1
        assert len(corpus.valid[0]) == pytest.approx(0.1 * corpus.characters, rel=0.1)
        assert corpus.train[0].endswith(".")
        assert f"{corpus.train[0]} {corpus.valid[0]}" == documents(60, " ")

    def test_the_hash_knows_content_and_division(self, tmp_path):
        path = tmp_path / "mine.txt"
        path.write_text(documents(60))
        before = text_file(path).sha256
        assert text_file(path).sha256 == before
        assert re.fullmatch("[0-9a-f]{64}", before)
        assert hashlib.sha256(path.read_bytes()).hexdigest() != before
        path.write_text(documents(60).replace("number 7.", "number eight."))
        assert text_file(path).sha256 != before

    def test_a_byte_order_mark_is_no_text(self, tmp_path):
        path = tmp_path / "mine.txt"
        path.write_text(documents(60), encoding="utf-8-sig")
        corpus = text_file(path)
        assert not any("\ufeff" in document for document in corpus.train + corpus.valid)


def refuse(path, problem):
    """Both functions refuse the file in one line that names it, what was expected, and the problem."""
    for function in (check_text_file, text_file):
        with pytest.raises(ValueError, match=problem) as caught:
            function(path)
        message = str(caught.value)
        assert "\n" not in message
        assert str(path) in message
        assert f"{MIN_CHARACTERS:,}" in message


class TestRefusedFiles:
    def test_missing(self, tmp_path):
        refuse(tmp_path / "none.txt", "no such file")

    def test_directory(self, tmp_path):
        refuse(tmp_path, "is a directory")

    def test_not_utf8(self, tmp_path):
        path = tmp_path / "latin.txt"
        path.write_bytes(b"caf\xe9 " * 20_000)
        refuse(path, "not UTF-8")

    def test_too_short(self, tmp_path):
        path = tmp_path / "short.txt"
        path.write_text("Too short. " * 100)
        refuse(path, "got 1,100 characters")

    @pytest.mark.parametrize("suffix", [".gz", ".xz"])
    def test_not_packed_as_its_name_says(self, tmp_path, suffix):
        path = tmp_path / f"a.txt{suffix}"
        path.write_text(documents(60))
        refuse(path, "cannot be read")

    @pytest.mark.parametrize(("pack", "suffix"), [(gzip.compress, ".gz"), (lzma.compress, ".xz")])
    def test_truncated_package(self, tmp_path, pack, suffix):
        path = tmp_path / f"a.txt{suffix}"
        path.write_bytes(pack(os.urandom(60_000).hex().encode())[:-2000])
        with pytest.raises(ValueError, match="cannot be read"):
            text_file(path)

    def test_repetition_is_no_text(self, tmp_path):
        path = tmp_path / "again.txt"
        path.write_text("The same line again.\n\n" * 5000)
        check_text_file(path)
        with pytest.raises(ValueError, match=r"got 20 characters, .*repeated documents count once"):
            text_file(path)
