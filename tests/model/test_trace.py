"""trace shows what forward computes; greedy takes the likeliest token each time."""

import pytest
import torch
from small_models import small_model

from clearhead.attention import rotary
from clearhead.model import greedy, trace


@pytest.mark.parametrize("variant", [{}, {"tied": True, "qkv_bias": True}, {"qk_norm": True}])
def test_trace_ends_in_the_logits_of_forward(variant, ids):
    model = small_model(**variant)
    with torch.no_grad():
        torch.testing.assert_close(trace(model, ids).logits, model(ids), atol=1e-5, rtol=0)


def test_trace_has_one_entry_a_layer_and_one_more_hidden_state(ids):
    seen = trace(small_model(), ids)
    shapes = dict(queries=(2, 4, 13, 8), keys=(2, 2, 13, 8), values=(2, 2, 13, 8))
    for name, shape in {**shapes, "weights": (2, 4, 13, 13)}.items():
        assert [tuple(x.shape) for x in getattr(seen, name)] == [shape] * 2, name
    assert [tuple(x.shape) for x in seen.hidden] == [(2, 13, 32)] * 3
    assert seen.logits.shape == (2, 13, 264)


def test_traced_weights_are_causal_and_sum_to_one(ids):
    for weights in trace(small_model(), ids).weights:
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 13))
        assert weights.triu(1).abs().max() == 0


def test_traced_queries_and_keys_are_after_the_rotation(ids):
    model = small_model()
    seen = trace(model, ids)
    block, positions = model.blocks[1], torch.arange(13).expand(2, 13)
    x = block.attention_norm(seen.hidden[1])
    q = block.attention.query(x).unflatten(-1, (4, 8)).transpose(1, 2)
    k = block.attention.key(x).unflatten(-1, (2, 8)).transpose(1, 2)
    torch.testing.assert_close(seen.queries[1], rotary(q, positions, theta=5000.0))
    torch.testing.assert_close(seen.keys[1], rotary(k, positions, theta=5000.0))
    scores = seen.queries[1][:, 3] @ seen.keys[1][:, 1].mT / 8**0.5  # head 3 reads k/v head 1
    scores = scores.masked_fill(torch.ones(13, 13).triu(1).bool(), -torch.inf)
    torch.testing.assert_close(seen.weights[1][:, 3], scores.softmax(-1))


def test_trace_keeps_no_graph(ids):
    assert not trace(small_model(), ids).logits.requires_grad


def test_greedy_appends_the_argmax_of_the_last_position():
    model = small_model()
    ids = torch.tensor([[5, 9, 200]])
    got = greedy(model, ids, 4)
    assert got[:, :3].tolist() == ids.tolist()
    for t in range(3, 7):
        with torch.no_grad():
            assert got[0, t] == model(got[:, :t])[0, -1].argmax()


def test_greedy_of_nothing_is_the_prompt():
    ids = torch.tensor([[5, 9]])
    assert greedy(small_model(), ids, 0).tolist() == ids.tolist()


def test_greedy_refuses_a_negative_count():
    with pytest.raises(ValueError, match="n is -1"):
        greedy(small_model(), torch.tensor([[5]]), -1)
