"""What speculative decoding refuses; run by `test_bad_input`, without the jaxtyping hook."""

import pytest
import torch

import clearhead.inference as I
from clearhead.model import Config, Decoder

P = torch.full((3, 4), 0.25)
TOKENS, U = torch.tensor([0, 1]), torch.zeros(3)
MODEL = Decoder(
    Config(vocab_size=7, width=8, layers=2, heads=2, kv_heads=1, head_size=4, feed_forward=8)
)
IDS = torch.tensor([[1, 2]])


def write(ids=IDS, n=3, **options):
    return I.generate_speculative(MODEL, I.NgramDraft(7), ids, n, **options)


def used_cache():
    cache = I.KVCache(2)
    I.forward_cached(MODEL, IDS, cache)
    return cache


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (lambda: I.speculative_accept(TOKENS, P[:1], P, U), ValueError, r"\(n \+ 1, V\)"),
        (lambda: I.speculative_accept(TOKENS, P[:2], P[:2], U), ValueError, r"\(n \+ 1, V\)"),
        (lambda: I.speculative_accept(TOKENS, P[:2], P, U[:2]), ValueError, r"\(n \+ 1,\)"),
        (lambda: I.speculative_accept(TOKENS, P[:2, :3], P, U), ValueError, r"\(n, V\)"),
        (lambda: I.speculative_accept(TOKENS.float(), P[:2], P, U), TypeError, "integers"),
        (lambda: I.speculative_accept(TOKENS.bool(), P[:2], P, U), TypeError, "integers"),
        (lambda: I.speculative_accept(TOKENS.byte(), P[:2], P, U), TypeError, "integers"),
        (lambda: I.speculative_accept([0, 1], P[:2], P, U), TypeError, "list"),
        (lambda: I.speculative_accept(TOKENS, P[:2].double(), P, U), TypeError, "one dtype"),
        (lambda: I.speculative_accept(TOKENS + 3, P[:2], P, U), ValueError, "from 0 to 3"),
        (lambda: I.expected_tokens(1.1, 4), ValueError, "probability"),
        (lambda: I.expected_tokens(0.5, -1), ValueError, "0 or more"),
        (lambda: I.speedup(0.5, 4, -0.1), ValueError, "0 or more"),
        (lambda: write(torch.tensor([[1], [2]])), ValueError, "one sequence"),
        (lambda: write(IDS[:, :0]), ValueError, "one token or more"),
        (lambda: write(IDS[0]), ValueError, r"\(1, T\)"),
        (lambda: write(n=-1), ValueError, "0 or more"),
        (lambda: write(gamma=-1), ValueError, "0 or more"),
        (lambda: write(gamma=2.0), TypeError, "integer"),
        (lambda: write(cache=used_cache()), ValueError, "2 slots; give an empty one"),
        (lambda: write(IDS + 9), ValueError, "vocabulary"),
        (lambda: write(IDS + 9, n=0), ValueError, "vocabulary"),
        (lambda: write(IDS.tolist()), TypeError, "ids is a list"),
        (lambda: write(stop="ab"), TypeError, "set of token ids"),
        (lambda: I.early_exit(MODEL, 3), ValueError, "the model has 2"),
        (lambda: I.early_exit(MODEL, 0), ValueError, "1 or more"),
        (lambda: I.rounded_copy(MODEL, 1), ValueError, "2 or more"),
        (lambda: I.rounded_copy(MODEL, 2000), ValueError, "give fewer"),
        (lambda: I.NgramDraft(7, longest=1, shortest=2), ValueError, "2 or more"),
    ],
)
def test_what_does_not_fit_is_refused(wrong, error, says):
    with pytest.raises(error, match=says):
        wrong()
