"""One table of names, and a strict fill."""

import pytest
import torch
from small_models import small_config, small_model

from clearhead.model import Decoder
from clearhead.model.names import GGUF, HUGGING_FACE, empty, fill, rename

ALL = dict(qkv_bias=True, qk_norm=True)


def fill_small(state, **changes):
    model = empty(lambda: Decoder(small_config(**changes)))
    fill(model, state, state.__getitem__, style=HUGGING_FACE, source="here")
    return model


def small_state(**changes):
    return {
        rename(n, HUGGING_FACE): p.detach() for n, p in small_model(**changes).named_parameters()
    }


def test_every_parameter_has_its_own_name_in_both_styles():
    names = [name for name, _ in small_model(**ALL).named_parameters()]
    for style in (HUGGING_FACE, GGUF):
        assert len({rename(name, style) for name in names}) == len(names)
    ours = "blocks.1.attention.query.bias"
    assert rename(ours, HUGGING_FACE) == "model.layers.1.self_attn.q_proj.bias"
    assert rename(ours, GGUF) == "blk.1.attn_q.bias"


def test_a_filled_model_computes_what_the_source_computes(ids):
    model = fill_small(small_state(**ALL), **ALL)
    with torch.no_grad():
        assert torch.equal(model(ids), small_model(**ALL)(ids))


def test_missing_tensors_are_named():
    state = small_state()
    del state["model.layers.0.mlp.up_proj.weight"]
    message = r"here lacks 1 tensors \(model.layers.0.mlp.up_proj.weight\): it does not fit"
    with pytest.raises(ValueError, match=message):
        fill_small(state)


def test_unexpected_tensors_are_named_and_long_lists_cut():
    message = r"here has unexpected 10 tensors \(model.layers.0.self_attn.k_norm.weight, .*, …\)"
    with pytest.raises(ValueError, match=message):
        fill_small(small_state(**ALL))


def test_a_wrong_shape_is_named():
    state = small_state()
    state["model.norm.weight"] = torch.ones(31)
    with pytest.raises(ValueError, match=r"model.norm.weight with shape \(31,\).*asks for \(32,\)"):
        fill_small(state)


def test_nothing_is_read_when_a_name_is_missing():
    state, reads = small_state(), []
    del state["lm_head.weight"]
    model = empty(lambda: Decoder(small_config()))
    with pytest.raises(ValueError):
        fill(model, state, reads.append, style=HUGGING_FACE, source="here")
    assert reads == []
