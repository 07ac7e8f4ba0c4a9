import numpy as np
import pytest

from gt.data import leaks
from gt.data.leaks import WINDOW, LeakedShares, find_leaks, leaked_shares
from gt.data.store import Tokens

RANDOM = np.random.default_rng(0)


def tokens(array, every=1000, pieces=1, **options):
    """Tokens in documents of equal length, in several arrays."""
    arrays = np.array_split(np.asarray(array, dtype=np.uint16), pieces)
    ends = np.cumsum([len(part) for part in arrays])
    starts = np.arange(0, len(array), every)
    per_array = [
        starts[(starts >= end - len(part)) & (starts < end)] - (end - len(part))
        for part, end in zip(arrays, ends, strict=True)
    ]
    return Tokens(arrays, per_array, **options)


def planted(length, at, source):
    """Training and validation text that share a passage of exactly this length."""
    train, valid = RANDOM.integers(1, 60, 5000), RANDOM.integers(1, 60, 3000)
    train[at : at + length] = valid[source : source + length]
    train[at - 1], train[at + length] = 0, 0
    return train, valid


@pytest.mark.parametrize("trial", range(30))
def test_every_passage_of_64_tokens_is_found_and_no_shorter_one(trial):
    at, source = RANDOM.integers(1, 4900), RANDOM.integers(0, 2900)
    train, valid = planted(WINDOW, at, source)
    (leak,) = find_leaks([tokens(train, pieces=3)], [tokens(valid, pieces=2)])
    assert leak.passages == 1
    assert leak.documents == 0
    assert leak.tokens == tuple(valid[source : source + WINDOW])
    assert (leak.train_document, leak.valid_document) == (at // 1000, source // 1000)
    train, valid = planted(WINDOW - 1, at, source)
    assert find_leaks([tokens(train)], [tokens(valid)]) == []


@pytest.mark.parametrize("at", ["begin", "end"])
def test_at_the_ends_of_both(at):
    train, valid = RANDOM.integers(0, 60, 999), RANDOM.integers(0, 60, 300)
    where = slice(0, WINDOW) if at == "begin" else slice(-WINDOW, None)
    train[where] = valid[where]
    (leak,) = find_leaks([tokens(train)], [tokens(valid)])
    assert leak.passages == 1


def test_across_the_portions_in_which_it_is_looked_for(monkeypatch):
    monkeypatch.setattr("gt.data.leaks._CHUNK", 100)
    for at in range(150, 260, 7):
        train, valid = planted(WINDOW, at, 2 * at)
        (leak,) = find_leaks([tokens(train)], [tokens(valid)])
        assert leak.passages == 1


def test_separate_passages_are_counted_and_sources_named():
    train, valid = RANDOM.integers(0, 60, 9000), RANDOM.integers(0, 60, 3000)
    for at in (100, 2000, 7000):
        train[at : at + 200] = valid[at // 3 : at // 3 + 200]
    clean = RANDOM.integers(0, 60, 9000)
    (leak,) = find_leaks([tokens(clean, name="clean"), tokens(train, name="dirty")], [tokens(valid, name="held out")])
    assert (leak.train, leak.valid, leak.passages) == ("dirty", "held out", 3)
    assert leak.tokens == tuple(train[100:164])


def test_short_documents():
    document = RANDOM.integers(0, 60, 20)
    train, valid = RANDOM.integers(0, 60, 2000), RANDOM.integers(0, 60, 1000)
    train[400:420], valid[60:80] = document, document
    (leak,) = find_leaks([tokens(train, every=20, pieces=4)], [tokens(valid, every=20)])
    assert (leak.documents, leak.passages) == (1, 0)
    assert (leak.train_document, leak.valid_document) == (20, 3)
    assert leak.tokens == tuple(document)
    train[400:420] = document[::-1]
    assert find_leaks([tokens(train, every=20)], [tokens(valid, every=20)]) == []


def test_of_generated_text_whole_documents_count_alone():
    train, valid = RANDOM.integers(0, 60, 3000), RANDOM.integers(0, 60, 1000)
    train[120:190] = valid[20:90]
    made = {"every": 100, "generated": True}
    assert find_leaks([tokens(train, **made)], [tokens(valid, **made)]) == []
    assert find_leaks([tokens(train, every=100)], [tokens(valid, **made)])[0].passages == 1
    train[500:600] = valid[300:400]
    (leak,) = find_leaks([tokens(train, **made)], [tokens(valid, **made)])
    assert (leak.documents, leak.train_document, leak.valid_document) == (1, 5, 3)


def test_text_that_repeats_itself_costs_no_more():
    same = np.ones(200_000)
    assert find_leaks([tokens(same)], [tokens(same[:50_000])])[0].passages == 1


def with_header(count, header, length=90):
    """Documents that begin alike."""
    documents = RANDOM.integers(0, 50_000, (count, length))
    documents[:, : len(header)] = header
    return documents


def test_what_all_documents_begin_with_is_not_compared_pair_by_pair(monkeypatch):
    compared = 0

    def counting(*arguments):
        nonlocal compared
        compared += len(arguments[3])
        return []

    header = RANDOM.integers(0, 50_000, 60)
    train, valid = with_header(400, header), with_header(200, header)
    found = [tokens(train.ravel(), every=90)], [tokens(valid.ravel(), every=90)]
    assert find_leaks(*found) == []
    monkeypatch.setattr(leaks._Index, "_extended", counting)
    monkeypatch.setattr(leaks._Index, "_compared", counting)
    assert find_leaks(*found) == []
    assert compared < 1_000  # of 80,000 pairs of documents


@pytest.mark.parametrize("chunk", [1 << 17, 250])
def test_a_passage_among_documents_that_begin_alike_is_found(monkeypatch, chunk):
    monkeypatch.setattr("gt.data.leaks._CHUNK", chunk)
    header = RANDOM.integers(0, 50_000, 60)
    for extra, count in ((4, 1), (3, 0)):
        for document in range(0, 100, 9):
            train, valid = with_header(100, header), with_header(50, header)
            train[document, 60 : 60 + extra] = valid[37, 60 : 60 + extra]
            found = find_leaks([tokens(train.ravel(), every=90)], [tokens(valid.ravel(), every=90)])
            assert [leak.passages for leak in found] == [1] * count
            if count:
                assert (found[0].train_document, found[0].valid_document) == (document, 37)
                assert found[0].tokens == tuple(valid[37, :64])


def test_a_long_passage_is_one_however_it_falls_into_portions(monkeypatch):
    train, valid = RANDOM.integers(0, 60, 3000), RANDOM.integers(0, 60, 1000)
    train[700:1700] = valid
    for chunk in range(90, 130, 7):
        monkeypatch.setattr("gt.data.leaks._CHUNK", chunk)
        (leak,) = find_leaks([tokens(train)], [tokens(valid)])
        assert leak.passages == 1
        assert leak.tokens == tuple(valid[:64])


def test_nothing_to_compare():
    some = tokens(RANDOM.integers(0, 60, 500))
    assert find_leaks([some], []) == find_leaks([], [some]) == []
    assert find_leaks([some], [Tokens([], [])]) == find_leaks([Tokens([], [])], [some]) == []


def test_different_documents_and_stretches_have_different_hashes():
    documents = np.unique(RANDOM.integers(0, 3, (6_000, 40), dtype=np.uint16), axis=0)
    made = tokens(documents.ravel(), every=40, pieces=1, generated=True)
    ((numbers, hashes),) = leaks._document_hashes(made, 40)
    assert len(set(hashes.tolist())) == len(numbers) == len(documents) > 5_900
    stretches = np.unique(np.lib.stride_tricks.sliding_window_view(documents.ravel(), 32), axis=0)
    rolling = leaks._rolling(documents.ravel().astype(np.int64))
    assert len(set(rolling.tolist())) == len(stretches) > 200_000


def test_the_share_of_validation_text_that_training_has():
    train, valid = RANDOM.integers(1, 60, 5000), RANDOM.integers(1, 60, 3200)
    assert leaked_shares([tokens(train)], [tokens(valid)]) == LeakedShares()
    train[100:900] = valid[1600:2400]
    found = leaked_shares([tokens(train, pieces=3)], [tokens(valid, pieces=2)])
    assert found.text == pytest.approx(800 / 3200, abs=0.011)
    assert found.documents == 2 / 4, "those from 1,000 to 3,000"
    half = [tokens(train), tokens(valid)], [tokens(valid), tokens(RANDOM.integers(1, 60, 3200))]
    assert leaked_shares(*half).text == pytest.approx(0.5, abs=0.02)
    assert leaked_shares(*half).documents == 4 / 8
    assert leaked_shares([tokens(train)], [tokens(valid[:20])]) == LeakedShares()


def test_the_share_of_windows_is_of_those_that_are_validated_on():
    train, valid = RANDOM.integers(1, 60, 5000), RANDOM.integers(1, 60, 3200)
    train[100:900] = valid[1600:2400]
    clean, leaky = valid[:800].reshape(8, 100), valid[1600:2400].reshape(8, 100)
    for windows, share in ((clean, 0), (leaky, 1), (np.concatenate([clean, leaky, clean]), 8 / 24)):
        assert leaked_shares([tokens(train)], [tokens(valid)], [windows]).windows == share
    two = leaked_shares([tokens(train)], [tokens(valid), tokens(valid[:1000])], [None, leaky])
    assert two.windows == 1, "a source without windows counts for none"
    assert leaked_shares([tokens(train)], [tokens(valid)], [leaky[:, :31]]).windows == 0, "too short for a stretch"


def test_short_and_generated_documents_leak_as_wholes():
    train, valid = RANDOM.integers(1, 60, 400), RANDOM.integers(1, 60, 200)
    train[200:240] = valid[60:100]
    short = {"every": 20}
    assert leaked_shares([tokens(train, **short)], [tokens(valid, **short)]).documents == 2 / 10
    composed = [tokens(valid, **short, generated=True)]
    assert leaked_shares(composed, composed) == LeakedShares(documents=1), "passages recur there by design"
