import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gt.data import conversations
from gt.data.config import DataSource
from gt.data.generated import text_of
from gt.data.shards import build_store, store_folder
from gt.data.sources import PIECE
from gt.data.split import FEW_DOCUMENTS, held_out
from gt.data.store import WEIGHT_UNIT, Store
from gt.tokenizers import Tokenizer, train_bpe, train_char

SMALL = 20_000  # characters of a shard


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_bpe(["Document 12 has the sentence number 345. "], 290, path)
    return path


def document(index, sentences=30):
    return " ".join(f"Document {index} has the sentence number {index * j}." for j in range(sentences))


@pytest.fixture
def source(tmp_path):
    """A file of 300 documents."""
    path = tmp_path / "source.txt"
    path.write_text("\n<|endoftext|>\n".join(map(document, range(300))))
    return DataSource(path=str(path))


def content(folder):
    """Bytes of all files of a store."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".lock"}


def texts(tokens, tokenizer):
    """Documents of a part as text; what precedes the first is checked to be nothing."""
    ends = [tokens.document_start(i) for i in range(1, tokens.documents)] + [len(tokens)]
    starts = [0, *ends[:-1]]
    stream = tokens.read(0, len(tokens))
    assert tokens.documents == 0 or tokens.document_start(0) == 0
    assert all(stream[end - 1] == tokenizer.end_of_text for end in ends)
    return [tokenizer.decode(stream[start:end].tolist()) for start, end in zip(starts, ends, strict=True)]


class TestContent:
    def test_every_document_once_in_one_part(self, source, tokenizer, tmp_path):
        store = build_store(source, tokenizer, tmp_path / "s", valid_share=0.1, shard_characters=SMALL)
        reader = Tokenizer(tokenizer)
        train, valid = texts(store.train, reader), texts(store.valid, reader)
        assert sorted(train + valid) == sorted(map(document, range(300)))
        assert valid == [text for text in map(document, range(300)) if held_out(text, 0.1)]
        assert 10 < len(valid) < 60
        assert len(store.manifest.shards) > 5
        assert store.manifest.tokens == {"train": len(store.train), "valid": len(store.valid)}
        assert store.manifest.documents == {"train": len(train), "valid": len(valid)}
        assert len(store.manifest.plan.files[0].sha256) == 64

    def test_the_size_of_a_shard_changes_no_token(self, source, tokenizer, tmp_path):
        few = build_store(source, tokenizer, tmp_path / "few")
        many = build_store(source, tokenizer, tmp_path / "many", shard_characters=SMALL)
        assert len(few.manifest.shards) == 1 < len(many.manifest.shards)
        assert np.array_equal(few.train.read(0, len(few.train)), many.train.read(0, len(many.train)))
        starts = [[store.train.document_start(i) for i in range(300)] for store in (few, many)]
        assert starts[0] == starts[1]
        places = [starts[0][7], starts[0][7] + 5, starts[0][8] - 1]
        assert [many.train.document_at(place) for place in places] == [7, 7, 7]

    def test_a_document_longer_than_a_piece_and_a_shard(self, tokenizer, tmp_path):
        (tmp_path / "book.txt").write_text(text := document(7, 10_000))
        store = build_store(
            DataSource(path=str(tmp_path / "book.txt")), tokenizer, tmp_path / "s", shard_characters=PIECE
        )
        assert len(store.manifest.shards) > 3
        assert texts(store.train, Tokenizer(tokenizer)) == [text]
        assert store.train.document_at(len(store.train) - 1) == 0

    @pytest.mark.parametrize("count", [1, 3, 100])
    def test_of_few_documents_the_tail_is_held_out(self, tokenizer, tmp_path, count):
        assert count < FEW_DOCUMENTS / 0.1
        paths = [tmp_path / "in" / f"{i:03}.txt" for i in range(count)]
        paths[0].parent.mkdir()
        for i, path in enumerate(paths):
            path.write_text("\n".join(document(i * 100 + j) for j in range(300 // count)))
        store = build_store(
            DataSource(path=str(paths[0].parent)), tokenizer, tmp_path / "s", valid_share=0.1, shard_characters=SMALL
        )
        train, valid = (texts(part, Tokenizer(tokenizer)) for part in (store.train, store.valid))
        whole = "\n".join(path.read_text() for path in paths)
        assert "\n".join(train + valid).split() == whole.split()
        assert sum(map(len, valid)) == pytest.approx(0.1 * len(whole), rel=0.05)

    @pytest.mark.parametrize(("size", "dtype"), [(65_535, np.uint16), (65_536, np.uint32)])
    def test_a_token_takes_two_bytes_or_four(self, tmp_path, size, dtype):
        train_char([map(chr, range(0x10000, 0x10000 + size - 2))], tmp_path / "t.json")
        (tmp_path / "a.txt").write_text(chr(0x10000 + size - 3) * 5)
        store = build_store(DataSource(path=str(tmp_path / "a.txt")), tmp_path / "t.json", tmp_path / "s")
        assert store.train.arrays[0].dtype == dtype
        assert store.train.read(0, 6).tolist() == [size - 1] * 5 + [0]

    def test_conversations_carry_weights(self, tokenizer, tmp_path, monkeypatch):
        monkeypatch.setattr("gt.data.shards.SHARD_EXAMPLES", 70)
        source = DataSource(path="conversations:", count=500, seed=4, skills={"recall": 1, "several": 2}, user_weight=8)
        store = build_store(source, tokenizer, tmp_path / "s", valid_share=0.2)
        assert store.generated
        assert store.train.weighted
        reader = Tokenizer(tokenizer)
        train, valid = texts(store.train, reader), texts(store.valid, reader)
        expected = [
            "".join(span.text for span in example)
            for _, example in itertools.islice(conversations.mixture(source.skills, 4), 500)
        ]
        assert train == [text for text in expected if not held_out(text, 0.2)]
        assert valid == [text for text in expected if held_out(text, 0.2)]
        assert 60 < len(valid) < 140
        weights, ids = (read(0, len(store.train)) for read in (store.train.read_weights, store.train.read))
        assert set(weights.tolist()) == {8, 16, 64}
        assert (weights[ids == reader.end_of_text] == WEIGHT_UNIT).all()
        example = next(
            example for _, example in conversations.mixture(source.skills, 4) if text_of(example) == train[0]
        )
        first = store.train.document_start(1)
        answers = "".join(span.text for span in example if span.answer)
        assert reader.decode(ids[:first][weights[:first] == 64].tolist()) == answers

    def test_conversations_take_words_and_sentences_from_prose(self, tokenizer, tmp_path):
        sentences = [f"The {word} of the old house was never seen again." for word in ("gardener", "cellar", "owner")]
        (tmp_path / "prose.txt").write_text(" ".join(sentences))
        source = DataSource(
            path="conversations:", count=200, skills={"recall-7-12": 1}, prose=str(tmp_path / "prose.txt")
        )
        store = build_store(source, tokenizer, tmp_path / "s")
        found = "".join(texts(store.train, Tokenizer(tokenizer)))
        assert all(sentence in found for sentence in sentences)
        assert [file.path for file in store.manifest.plan.files] == [source.prose]

    def test_an_unknown_skill(self, tokenizer, tmp_path):
        with pytest.raises(ValueError, match="got juggling, expected skills among copy"):
            build_store(DataSource(path="conversations:", skills={"juggling": 1}), tokenizer, tmp_path / "s")


class TestRebuilding:
    def test_what_is_there_is_opened(self, source, tokenizer, tmp_path):
        reports = []
        first = build_store(source, tokenizer, tmp_path / "s", shard_characters=SMALL, report=reports.append)
        assert [report.tokens for report in reports][-1] == len(first.train)
        assert reports[-1].done == reports[-1].total == Path(source.path).stat().st_size
        before = content(tmp_path / "s")
        build_store(source, tokenizer, tmp_path / "s", shard_characters=SMALL, report=pytest.fail)
        os.utime(source.path)
        build_store(source, tokenizer, tmp_path / "s", shard_characters=SMALL, report=pytest.fail)
        assert content(tmp_path / "s") == before

    @pytest.mark.parametrize("change", ["text", "tokenizer", "share", "count", "damage", "manifest"])
    def test_what_changed_is_built_again(self, source, tokenizer, tmp_path, change):
        build_store(source, tokenizer, tmp_path / "s", shard_characters=SMALL)
        options = {"shard_characters": SMALL}
        if change == "text":
            Path(source.path).write_text(Path(source.path).read_text().replace("sentence number 28.", "sentence."))
        elif change == "tokenizer":
            train_char(["other"], tokenizer := tmp_path / "other.json")
        elif change == "share":
            options["valid_share"] = 0.3
        elif change == "count":
            source = DataSource(path=source.path, count=20)
        elif change == "damage":
            os.truncate(tmp_path / "s" / "00001.train.tokens.npy", 500)
        else:
            (tmp_path / "s" / "manifest.json").write_text("{}")
        again = build_store(source, tokenizer, tmp_path / "s", **options)
        assert again.manifest.plan.tokenizer_sha256 == Tokenizer(tokenizer).sha256
        build_store(source, tokenizer, tmp_path / "new", **options)
        assert content(tmp_path / "s") == content(tmp_path / "new")

    def test_a_tokenizer_may_be_trained_again_in_one_process(self, source, tmp_path):
        for seen in ("other", "quite another"):
            train_char([seen], path := tmp_path / "tokenizer.json")
            assert build_store(source, path, tmp_path / "s").manifest.plan.vocab_size == len(set(seen)) + 2

    def test_opening_refuses_what_does_not_fit(self, source, tokenizer, tmp_path):
        with pytest.raises(ValueError, match=r"has no manifest.json: expected a folder of finished shards"):
            Store(tmp_path)
        build_store(source, tokenizer, tmp_path / "s")
        with pytest.raises(ValueError, match=r"holds tokens of tokenizer [0-9a-f]{12}, but 0000 was asked for"):
            Store(tmp_path / "s", "0000")
        (tmp_path / "s" / "00000.train.tokens.npy").unlink()
        with pytest.raises(ValueError, match=r"00000.train.tokens.npy is damaged .*: build the shards again"):
            Store(tmp_path / "s")

    def test_sources_do_not_share_a_folder(self, tmp_path):
        sources = [
            DataSource(path="a/b.txt"),
            DataSource(path="c/b.txt"),
            DataSource(path="a/b.txt", field="x"),
            DataSource(path="conversations:"),
            DataSource(path="conversations:", seed=1),
        ]
        found = {store_folder(source, tmp_path, "0") for source in sources}
        found |= {store_folder(sources[0], tmp_path, "1"), store_folder(sources[0], tmp_path, "0", 0.1)}
        assert len(found) == 7
        same = DataSource(path="a/b.txt", weight=3, start="document")
        assert store_folder(same, tmp_path, "0") == store_folder(sources[0], tmp_path, "0")

    @pytest.mark.parametrize(
        ("options", "problem"),
        [({"valid_share": 1}, "valid_share is 1"), ({"workers": 0}, "workers is 0"), ({"shard_characters": 0}, "is 0")],
    )
    def test_what_is_refused(self, source, tokenizer, tmp_path, options, problem):
        with pytest.raises(ValueError, match=problem):
            build_store(source, tokenizer, tmp_path / "s", **options)

    def test_an_empty_source(self, tokenizer, tmp_path):
        (tmp_path / "a.txt").write_text(" \n")
        with pytest.raises(ValueError, match=r"a.txt: got no text, expected at least one document"):
            build_store(DataSource(path=str(tmp_path / "a.txt")), tokenizer, tmp_path / "s")


BUILD = """
import multiprocessing, sys, time
from pathlib import Path
from gt.data.config import DataSource
from gt.data.shards import build_store

def report(progress):
    report.calls += 1
    if report.calls == int(stop):
        print(*[child.pid for child in multiprocessing.active_children()], flush=True)
        time.sleep(60)

if __name__ == "__main__":
    source, tokenizer, folder, workers, stop = sys.argv[1:]
    report.calls = 0
    build_store(DataSource(path=source), Path(tokenizer), Path(folder), valid_share=0.1, workers=int(workers),
                shard_characters=20_000, report=report)
"""


def build(script, *arguments):
    script.write_text(BUILD)
    return subprocess.Popen([sys.executable, str(script), *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform == "win32", reason="kills with a signal")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_build_is_taken_up_where_it_was(source, tokenizer, tmp_path, workers):
    expected = build_store(source, tokenizer, tmp_path / "whole", valid_share=0.1, shard_characters=SMALL)
    assert len(expected.manifest.shards) > 10
    process = build(tmp_path / "build.py", source.path, tokenizer, tmp_path / "s", workers, 4)
    children = list(map(int, process.stdout.readline().split()))
    assert len(children) == (workers if workers > 1 else 0)
    process.kill()
    process.communicate()
    if sys.platform == "linux":
        until = time.monotonic() + 20
        while any(map(is_running, children)) and time.monotonic() < until:
            time.sleep(0.05)
        assert not any(map(is_running, children))
    folder = tmp_path / "s"
    assert not (folder / "manifest.json").exists()
    kept = folder / "00000.train.tokens.npy"
    written = kept.stat().st_mtime_ns
    os.truncate(folder / "00001.train.tokens.npy", 999)
    (folder / "00002.json").unlink()
    (folder / "00009.train.tokens.npy.partial").write_bytes(b"torn")
    store = build_store(source, tokenizer, folder, valid_share=0.1, shard_characters=SMALL)
    assert kept.stat().st_mtime_ns == written
    assert store.manifest == expected.manifest
    assert content(folder) == content(tmp_path / "whole")


@pytest.mark.parametrize("generated", [False, True])
def test_many_processes_write_the_same_bytes_as_one(source, tokenizer, tmp_path, monkeypatch, generated):
    monkeypatch.setattr("gt.data.shards.SHARD_EXAMPLES", 50)
    options = {"valid_share": 0.1, "shard_characters": SMALL}
    if generated:
        source = DataSource(path="conversations:", count=220)
    build_store(source, tokenizer, tmp_path / "one", **options)
    build_store(source, tokenizer, tmp_path / "many", workers=3, **options)
    assert content(tmp_path / "one") == content(tmp_path / "many")


GROWTH = """
import resource, sys
from pathlib import Path
from gt.data.config import DataSource
from gt.data.shards import build_store

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

tokenizer, folder, *sources = map(Path, sys.argv[1:])
for source in sources:
    before = peak()
    build_store(DataSource(path=str(source)), tokenizer, folder / source.name, valid_share=0.1,
                shard_characters=1 << 19)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="measures with the resource module")
def test_memory_does_not_grow_with_the_text(tokenizer, tmp_path):
    for name, count in (("warm.txt", 1_000), ("large.txt", 7_000)):
        texts = [document(i % 500) for i in range(count)]
        separated = "\n<|endoftext|>\n".join(texts)
        (tmp_path / name).write_text(f"{' '.join(texts)}\n<|endoftext|>\n{separated}")
    large = tmp_path / "large.txt"
    assert large.stat().st_size > 15 << 20
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, tokenizer, tmp_path / "s", tmp_path / "warm.txt", large],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 12  # MiB, of 15 that went through, and their tokens
