import numpy as np
import pytest
import torch

from gt.data.batches import MixtureBatches, numbers, spaced_windows
from gt.data.store import Tokens, WeightedTokens


def prose(first, size=5000, pieces=3):
    """Tokens first, first + 1, ... in one document."""
    arrays = np.array_split(np.arange(first, first + size, dtype=np.uint16), pieces)
    return Tokens(arrays, [np.array([0])] + [np.zeros(0, dtype=np.uint32)] * (pieces - 1))


def talks(first, count=100, length=10):
    """Documents of ten tokens, of which the last has weight 64 and the others 16 but for the first, which has none."""
    weights = np.tile([0] + [16] * (length - 2) + [64], count).astype(np.uint8)
    array = np.arange(first, first + count * length, dtype=np.uint16)
    halves = [slice(0, 50 * length), slice(50 * length, None)]
    starts = np.arange(0, 50 * length, length)
    return Tokens(
        [array[h] for h in halves], [starts, np.arange(0, (count - 50) * length, length)], [weights[h] for h in halves]
    )


def test_windows_are_stretches_of_their_source():
    batches = MixtureBatches([WeightedTokens(prose(0))], batch_size=64, length=33, seed=0)
    batch = batches.batch(7)
    assert batch.tokens_BT.shape == (64, 34)
    assert batch.tokens_BT.dtype == torch.int64
    assert batch.weights_BT is None
    assert (batch.tokens_BT.diff() == 1).all()
    starts = torch.cat([batches.batch(step).tokens_BT[:, 0] for step in range(200)])
    assert starts.min() < 5
    assert 4960 <= starts.max() <= 5000 - 34
    assert torch.histc(starts.float(), 5).std() < 120  # of 2,560 in each fifth


def test_a_batch_depends_on_seed_and_step_alone():
    def batches(seed, size=4):
        return MixtureBatches([WeightedTokens(prose(0)), WeightedTokens(prose(6000), 2)], size, 8, seed)

    one, other = batches(1), batches(1)
    later = [other.batch(step).tokens_BT for step in (5, 0, 3)]
    assert all(torch.equal(one.batch(step).tokens_BT, tokens) for step, tokens in zip((5, 0, 3), later, strict=True))
    assert not torch.equal(one.batch(0).tokens_BT, one.batch(1).tokens_BT)
    assert not torch.equal(one.batch(0).tokens_BT, batches(2).batch(0).tokens_BT)
    assert not torch.equal(one.batch(1).tokens_BT, batches(0).batch(2).tokens_BT)
    assert torch.equal(one.batch(0).tokens_BT, batches(1, 9).batch(0).tokens_BT[:4])


def test_no_numbers_are_drawn_for_two_purposes():
    drawn = [numbers(seed, step, purpose).random(8) for seed in range(4) for step in range(4) for purpose in range(4)]
    assert len(np.unique(drawn)) == 8 * len(drawn)
    for step in range(4):  # of a dropout's draws, whatever its purpose, none chooses the places of a step
        places = MixtureBatches([WeightedTokens(prose(0, 50_001))], 8, 1, seed=3).batch(step).tokens_BT[:, 0].tolist()
        for other in [(3, s, purpose) for s in range(4) for purpose in range(1, 4)]:
            assert places != (numbers(*other).random((8, 2))[:, 1] * 50_000).astype(int).tolist()


def test_rows_are_shared_out_by_weight():
    sources = [WeightedTokens(prose(0), 1), WeightedTokens(prose(10_000), 5), WeightedTokens(prose(20_000), 2)]
    batches = MixtureBatches(sources, 100, 4, seed=3)
    first = torch.cat([batches.batch(step).tokens_BT[:, 0] for step in range(100)]) // 10_000
    assert first.bincount() / 10_000 == pytest.approx([1 / 8, 5 / 8, 2 / 8], abs=0.02)


def test_windows_from_documents_begin_with_one_and_carry_weights():
    batches = MixtureBatches([WeightedTokens(talks(0), start="document")], 256, 25, seed=0)
    batch = batches.batch(0)
    assert (batch.tokens_BT[:, 0] % 10 == 0).all()
    assert batch.tokens_BT[:, 0].max() == 970  # the last document from which 26 tokens follow
    assert (batch.tokens_BT.diff() == 1).all()
    expected = torch.tensor([0.0, *[1.0] * 8, 4.0])[batch.tokens_BT[:, 1:] % 10]
    assert torch.equal(batch.weights_BT, expected)
    assert batch.weights_BT.dtype == torch.float32


def test_prose_beside_weighted_sources_counts_once():
    sources = [WeightedTokens(prose(10_000)), WeightedTokens(talks(0), start="document")]
    batch = MixtureBatches(sources, 64, 25, seed=0).batch(0)
    is_prose = batch.tokens_BT[:, 0] >= 10_000
    assert 10 < is_prose.sum() < 54
    assert (batch.weights_BT[is_prose] == 1).all()
    assert (batch.weights_BT[~is_prose].max(dim=1).values == 4).all()


def test_spaced_windows_cover_a_source():
    windows = spaced_windows(WeightedTokens(prose(0)), count=5, length=99).tokens_BT
    assert windows[:, 0].tolist() == [0, 1225, 2450, 3675, 4900]
    assert windows[-1, -1] == 4999
    assert len(spaced_windows(WeightedTokens(prose(0, 102)), count=50, length=100).tokens_BT) == 2
    assert len(spaced_windows(WeightedTokens(prose(0)), count=1, length=100).tokens_BT) == 1
    talk = spaced_windows(WeightedTokens(talks(0), start="document"), count=4, length=9)
    assert talk.tokens_BT[:, 0].tolist() == [0, 330, 660, 990]
    assert (talk.weights_BT[:, -1] == 4).all()


@pytest.mark.parametrize("start", ["anywhere", "document"])
def test_a_source_of_exactly_one_window(start):
    tokens = WeightedTokens(prose(0, 10), start=start)
    assert MixtureBatches([tokens], 3, 9, 0).batch(0).tokens_BT[:, 0].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="tokens has 10 tokens, a window needs 11"):
        MixtureBatches([tokens], 3, 10, 0)
    with pytest.raises(ValueError, match="a window needs 11"):
        spaced_windows(tokens, 3, 10)


@pytest.mark.parametrize(
    ("sources", "size", "length", "seed", "problem"),
    [
        (0, 1, 1, 0, "nothing to draw"),
        (1, 0, 1, 0, "batch_size is 0"),
        (1, 1, 0, 0, "length is 0"),
        (1, 1, 1, -1, "seed is -1"),
    ],
)
def test_what_is_refused(sources, size, length, seed, problem):
    with pytest.raises(ValueError, match=problem):
        MixtureBatches([WeightedTokens(prose(0))] * sources, size, length, seed)


def test_no_two_purposes_share_random_numbers():
    drawn = [tuple(numbers(3, step, purpose).random(8)) for step in range(4) for purpose in range(4)]
    assert len({value for row in drawn for value in row}) == 4 * 4 * 8
    # A batch is of purpose 0, also that of the step whose number is another's purpose.
    starts = MixtureBatches([WeightedTokens(prose(0))], 8, 33, seed=3).batch(1).tokens_BT[:, 0].tolist()
    places = 5000 - 33
    assert starts == (numbers(3, 1).random((8, 2))[:, 1] * places).astype(int).tolist()
    assert starts != (numbers(3, 0, 1).random((8, 2))[:, 1] * places).astype(int).tolist()
