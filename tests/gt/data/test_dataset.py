import logging

import pytest

from gt.data.batches import MixtureBatches
from gt.data.config import DataSource
from gt.data.dataset import prepare
from gt.data.shards import build_store
from gt.tokenizers import train_bpe, train_char

LICENCE = " ".join(f"You may copy this text {i} times if you keep the notice number {i * i}." for i in range(12))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_bpe(["Document 12 has the sentence number 345. "], 290, path)
    return path


def write(path, first, count=300, extra=None):
    """A file of documents numbered from `first` on; `extra` maps some of them to text at their end."""
    texts = [" ".join(f"{i} is {i * j}, so {j}." for j in range(20)) for i in range(first, first + count)]
    for index, text in (extra or {}).items():
        texts[index] += f" {text}"
    path.write_text("\n<|endoftext|>\n".join(texts))
    return DataSource(path=str(path))


@pytest.fixture
def train(tmp_path):
    return write(tmp_path / "train.txt", 0)


@pytest.fixture
def valid(tmp_path):
    return write(tmp_path / "valid.txt", 5000, 40)


def test_a_share_of_each_source_is_held_out(train, valid, tokenizer, tmp_path):
    sources = [train, DataSource(path=valid.path, weight=3, start="document")]
    dataset = prepare(sources, tokenizer, tmp_path / "s", valid_share=0.2)
    assert [(part.weight, part.start) for part in dataset.train] == [(1, "anywhere"), (3, "document")]
    assert [part.tokens.name for part in dataset.valid] == [f"{train.path} (valid)", f"{valid.path} (valid)"]
    assert dataset.leaks == ()
    counts = [part.tokens.documents for part in (*dataset.train, *dataset.valid)]
    assert 200 < counts[0] < 280
    assert counts[0] + counts[2] == 300
    assert MixtureBatches(dataset.train, 4, 32, 0).batch(0).tokens_BT.shape == (4, 33)


def test_texts_of_their_own_are_held_out_as_a_whole(train, valid, tokenizer, tmp_path):
    dataset = prepare([train], tokenizer, tmp_path / "s", valid=[valid])
    assert [part.tokens.documents for part in (*dataset.train, *dataset.valid)] == [300, 40]
    assert dataset.valid[0].tokens.name == valid.path


def test_shared_text_is_refused_unless_it_is_allowed(train, tokenizer, tmp_path, caplog):
    train = write(tmp_path / "train.txt", 0, extra={7: LICENCE, 90: LICENCE})
    valid = write(tmp_path / "valid.txt", 5000, 40, extra={3: LICENCE})
    with pytest.raises(
        ValueError, match=r"validation text occurs in training: 2 passages of 64 tokens or more"
    ) as caught:
        prepare([train], tokenizer, tmp_path / "s", valid=[valid])
    message = str(caught.value)
    assert f"of {train.path} are in {valid.path}, the first in training document 7 and validation document 3" in message
    assert "You may copy this text" in message
    assert message.endswith("hold other text out, or allow leaks if that is a licence or the like")
    assert "\n" not in message
    with caplog.at_level(logging.WARNING):
        dataset = prepare([train], tokenizer, tmp_path / "s", valid=[valid], allow_leaks=True)
    assert dataset.leaks[0].passages == 2
    assert "You may copy this text" in caplog.text


def test_what_was_looked_for_once_is_known(train, valid, tokenizer, tmp_path, monkeypatch):
    first = prepare([train], tokenizer, tmp_path / "s", valid=[valid])
    monkeypatch.setattr("gt.data.dataset.find_leaks", pytest.fail)
    assert prepare([train], tokenizer, tmp_path / "s", valid=[valid]).sha256 == first.sha256
    monkeypatch.undo()
    renamed = DataSource(path=str((tmp_path / "train.txt").rename(tmp_path / "renamed.txt")))
    assert prepare([renamed], tokenizer, tmp_path / "s", valid=[valid]).sha256 == first.sha256
    (tmp_path / "renamed.txt").rename(tmp_path / "train.txt")
    write(tmp_path / "valid.txt", 200, 40)
    with pytest.raises(ValueError, match=r"validation text occurs in training: .* the first in training document 200"):
        prepare([train], tokenizer, tmp_path / "s", valid=[valid])


def test_training_text_is_no_validation_text(train, tokenizer, tmp_path):
    with pytest.raises(ValueError, match="validation text occurs in training"):
        prepare([train], tokenizer, tmp_path / "s", valid=[train])


def test_conversations_beside_prose(train, tokenizer, tmp_path):
    talk = DataSource(path="conversations:", count=400, weight=0.5)
    dataset = prepare([train, talk], tokenizer, tmp_path / "s")
    assert [(part.weight, part.start) for part in dataset.train] == [(1, "anywhere"), (0.5, "document")]
    assert dataset.train[1].tokens.generated
    batches = MixtureBatches(dataset.train, 8, 200, 0)
    assert max(batches.batch(number).weights_BT.max() for number in range(4)) == 4
    with pytest.raises(ValueError, match=r"validation text occurs in training: 50 documents of conversations: are in"):
        prepare([talk], tokenizer, tmp_path / "s", valid=[DataSource(path="conversations:", count=50)])


def test_built_shards_need_no_text(train, valid, tokenizer, tmp_path):
    stores = [build_store(source, tokenizer, tmp_path / name) for source, name in ((train, "a"), (valid, "b"))]
    for name in ("train.txt", "valid.txt"):
        (tmp_path / name).unlink()
    paths = [DataSource(path=str(store.folder)) for store in stores]
    dataset = prepare(paths[:1], tokenizer, tmp_path / "s", valid=paths[1:])
    assert dataset.valid[0].tokens.documents == 40
    train_char(["other"], tmp_path / "other.json")
    with pytest.raises(ValueError, match=r"a holds tokens of tokenizer .* was asked for"):
        prepare(paths[:1], tmp_path / "other.json", tmp_path / "s", valid=paths[1:])


@pytest.mark.parametrize(
    ("sources", "share", "problem"),
    [([], 0.1, "nothing to train on"), (["one"], 0.3, "no such file"), (["short"], 0.5, "nothing was held out")],
)
def test_what_is_refused(tokenizer, tmp_path, sources, share, problem):
    (tmp_path / "short").write_text("x")
    sources = [DataSource(path=str(tmp_path / name)) for name in sources]
    with pytest.raises(ValueError, match=problem):
        prepare(sources, tokenizer, tmp_path / "s", valid_share=share)
