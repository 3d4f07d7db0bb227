"""Speculative decoding: the rule by hand, and a distribution that no draft can change."""

import math
from itertools import product

import pytest
import torch
from chi_square import p_value

import clearhead.inference as I
from clearhead.inference import drafts as drafts_module
from clearhead.inference import speculate
from clearhead.model import Config, Decoder


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


P = tensor([0.5, 0.3, 0.2, 0.0], [0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 0.5, 0.5])
Q = tensor([0.25, 0.25, 0.25, 0.25], [0.7, 0.1, 0.1, 0.1])


def accept(tokens, uniforms, q=Q, p=P):
    return I.speculative_accept(
        torch.tensor(tokens, dtype=torch.long), q, p, torch.tensor(uniforms).double()
    ).tolist()


# --- one pass, by hand ----------------------------------------------------------------------------


def test_a_proposal_that_the_model_likes_better_is_always_accepted():
    assert accept([0, 1], [0.999, 0.999, 0.0]) == [0, 1, 2]


def test_after_all_proposals_the_model_adds_a_token_of_its_last_distribution():
    assert accept([0, 1], [0.0, 0.0, 0.49]) == [0, 1, 2]
    assert accept([0, 1], [0.0, 0.0, 0.5]) == [0, 1, 3]


def test_a_proposal_is_accepted_with_the_ratio_of_the_two_probabilities():
    assert accept([2, 3], [0.79, 0.0, 0.0])[:2] == [2, 3]  # 0.2 / 0.25 is 0.8
    assert accept([2, 3], [0.81, 0.0, 0.0]) == [0]
    assert accept([2, 3], [0.8, 0.0, 0.0]) == [0]  # at the ratio itself: rejected


def test_the_first_rejection_ends_the_pass_and_is_drawn_from_what_the_draft_left():
    # first place: max(p − q, 0) = (0.25, 0.05, 0, 0), that is 5/6 and 1/6
    assert accept([3, 1], [0.0, 0.0, 0.83]) == [0]
    assert accept([3, 1], [0.0, 0.0, 0.84]) == [1]
    # second place: (0, 0.1, 0.2, 0.3), that is 1/6, 2/6 and 3/6
    assert accept([0, 0], [0.0, 0.5, 0.16]) == [0, 1]
    assert accept([0, 0], [0.0, 0.5, 0.49]) == [0, 2]
    assert accept([0, 0], [0.0, 0.5, 0.51]) == [0, 3]


def test_what_the_model_never_says_is_rejected_even_by_0():
    assert accept([3, 1], [0.0, 0.0, 0.0]) == [0]


def test_without_proposals_the_model_draws_alone():
    assert accept([], [0.6], q=Q[:0], p=P[:1]) == [1]


def test_a_rejection_by_a_rounding_alone_is_drawn_from_the_model():
    p = tensor([0.5, 0.5], [1.0, 0.0])
    q = tensor([0.5 + 1e-16 * 2, 0.5])  # above p at token 0, below it nowhere
    assert accept([0], [1 - 2**-53, 0.7], q=q, p=p) == [1]


def test_a_certain_draft_is_accepted_with_the_models_own_probability():
    q = tensor([0.0, 1.0, 0.0, 0.0])
    assert accept([1], [0.29, 0.0], q=q, p=P[:2]) == [1, 0]
    # rejected: the model's distribution without that token, 0.5 to 0.2
    assert accept([1], [0.31, 0.7], q=q, p=P[:2]) == [0]
    assert accept([1], [0.31, 0.72], q=q, p=P[:2]) == [2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precisions_are_taken(dtype):
    new = I.speculative_accept(torch.tensor([0, 1]), Q.to(dtype), P.to(dtype), torch.rand(3))
    assert new.dtype == torch.int64 and 1 <= len(new) <= 3


# --- the distribution -----------------------------------------------------------------------------


def two_tokens(rule, draws: int) -> torch.Tensor:
    """How often each pair of tokens comes out, one token a pass if need be; P's rows in turn."""
    u = torch.rand(draws, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    proposals = I.draw(Q.expand(draws, 2, 4), u[:, 3:5])
    alone = I.draw(P[1].expand(draws, 4), u[:, 5]).tolist()  # the next pass, without a draft
    counts = torch.zeros(4, 4)
    for i in range(draws):
        first, *rest = rule(proposals[i], Q, P, u[i, :3]).tolist()
        counts[first, rest[0] if rest else alone[i]] += 1
    return counts


EXACT = P[0][:, None] * P[1][None, :]
DRAWS = 1500


def test_a_chi_square_test_finds_the_models_distribution():
    assert p_value(two_tokens(I.speculative_accept, DRAWS), EXACT) > 0.01


def accept_always(tokens, q, p, u):
    return torch.cat([tokens, I.draw(p[len(tokens)], u[-1])[None]])


def draw_again_from_p(tokens, q, p, u):
    for i, x in enumerate(tokens):
        if u[i] * q[i, x] >= p[i, x]:
            return torch.cat([tokens[:i], I.draw(p[i], u[-1])[None]])
    return accept_always(tokens, q, p, u)


def draw_again_from_the_absolute_difference(tokens, q, p, u):
    for i, x in enumerate(tokens):
        if u[i] * q[i, x] >= p[i, x]:
            return torch.cat([tokens[:i], I.draw((p[i] - q[i]).abs(), u[-1])[None]])
    return accept_always(tokens, q, p, u)


def accept_by_the_model_alone(tokens, q, p, u):
    for i, x in enumerate(tokens):
        if u[i] >= p[i, x]:
            return torch.cat([tokens[:i], I.draw((p[i] - q[i]).clamp(min=0), u[-1])[None]])
    return accept_always(tokens, q, p, u)


def draw_again_from_the_last_row(tokens, q, p, u):
    for i, x in enumerate(tokens):
        if u[i] * q[i, x] >= p[i, x]:
            return torch.cat([tokens[:i], I.draw(p[len(tokens)], u[-1])[None]])
    return accept_always(tokens, q, p, u)


WRONG = [
    accept_always,
    draw_again_from_p,
    draw_again_from_the_absolute_difference,
    accept_by_the_model_alone,
    draw_again_from_the_last_row,
]


@pytest.mark.parametrize("rule", WRONG, ids=lambda rule: rule.__name__)
def test_the_same_chi_square_test_finds_a_broken_rule(rule):
    assert p_value(two_tokens(rule, DRAWS), EXACT) < 1e-6


def test_the_share_of_accepted_proposals_is_the_overlap_of_the_two():
    overlap = I.acceptance(Q[:1], P[:1])
    assert overlap.tolist() == pytest.approx([0.25 + 0.25 + 0.2])
    u = torch.rand(1000, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    tokens = I.draw(Q[:1].expand(1000, 4), u[:, 0])[:, None]
    new = [I.speculative_accept(t, Q[:1], P[:2], r[1:]) for t, r in zip(tokens, u, strict=True)]
    accepted = sum(len(x) - 1 for x in new) / 1000
    assert accepted == pytest.approx(overlap.item(), abs=4 * math.sqrt(0.21 / 1000))


# --- how many tokens, how much faster -------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.8, 0.99])
@pytest.mark.parametrize("gamma", [0, 1, 4, 10])
def test_the_expected_tokens_are_the_closed_form(alpha, gamma):
    want = (1 - alpha ** (gamma + 1)) / (1 - alpha)
    assert I.expected_tokens(alpha, gamma) == pytest.approx(want)


def test_certain_acceptance_gives_all_proposals_and_one_token_more():
    assert I.expected_tokens(1.0, 5) == 6


def test_the_expected_tokens_are_what_a_simulation_counts():
    alpha, gamma = 0.7, 3
    accepted = (torch.rand(200_000, gamma) < alpha).long().cumprod(1).sum(1)
    assert I.expected_tokens(alpha, gamma) == pytest.approx(
        1 + accepted.double().mean().item(), abs=0.01
    )


def test_the_speed_up_weighs_tokens_against_the_drafts_time():
    assert I.speedup(0.8, 4, 0.0) == pytest.approx(3.3616)
    assert I.speedup(0.8, 4, 0.05) == pytest.approx(3.3616 / 1.2)
    assert I.speedup(1.0, 4, 1.0) == 1  # a draft as slow as the model gains nothing
    assert I.speedup(0.5, 4, 0.5) < 1


# --- writing text ---------------------------------------------------------------------------------

SMALL = dict(width=16, heads=4, kv_heads=2, head_size=4, feed_forward=24)


def small_model(vocab_size: int, *, layers: int = 3, seed: int = 0) -> Decoder:
    torch.manual_seed(seed)
    model = Decoder(Config(vocab_size=vocab_size, layers=layers, **SMALL)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # far from uniform
    return model.requires_grad_(False)


def drafts(model):
    V = model.config.vocab_size
    return {
        "n-gram": I.NgramDraft(V),
        "one layer": I.ModelDraft(I.early_exit(model, 1)),
        "all layers": I.ModelDraft(I.early_exit(model, model.config.layers)),
        "3 bits": I.ModelDraft(I.rounded_copy(model, 3)),
        "a stranger": I.ModelDraft(small_model(V, layers=1, seed=9)),
    }


DRAFTS = pytest.mark.parametrize("name", list(drafts(small_model(5))))


@DRAFTS
@pytest.mark.parametrize("gamma", [0, 1, 5])
def test_greedy_text_is_the_models_own_token_by_token(name, gamma):
    model, ids = small_model(13), torch.tensor([[1, 2, 3, 1, 2]])
    got = I.generate_speculative(model, drafts(model)[name], ids, 20, gamma=gamma)
    assert got.ids.tolist() == I.generate(model, ids, 20).tolist()
    assert len(got.statistics.passes) + got.statistics.accepted == 20


@DRAFTS
def test_a_repetition_penalty_sees_the_proposals_before_it(name):
    model, ids = small_model(13), torch.tensor([[4, 4, 2]])
    greedy = I.Sampler(temperature=0.0, repetition_penalty=1.7)
    got = I.generate_speculative(model, drafts(model)[name], ids, 20, gamma=4, sampler=greedy)
    assert got.ids.tolist() == I.generate(model, ids, 20, choose=greedy).tolist()


def test_the_model_as_its_own_draft_is_never_rejected():
    model, ids = small_model(13), torch.tensor([[1, 2, 3]])
    own = drafts(model)["all layers"]
    for sampler in (I.Sampler(temperature=0.0), I.Sampler(temperature=1.5, p=0.9, seed=0)):
        done = I.generate_speculative(model, own, ids, 20, gamma=4, sampler=sampler).statistics
        assert done.acceptance == 1 and len(done.passes) == 4
        assert done.passes[0] == (4, 4) and done.tokens_per_pass == 5


class Bigrams(Decoder):
    """A model so small that every text can be enumerated: the last token decides the logits."""

    def __init__(self, *rows):
        sizes = dict(width=2, layers=1, heads=1, kv_heads=1, head_size=2, feed_forward=1)
        super().__init__(Config(vocab_size=3, **sizes))
        self.table = tensor(*rows).log()

    def forward(self, ids):
        return self.table[ids]


class Counter(I.KVCache):
    """A cache that holds nothing but its length."""

    length = 0

    def __init__(self):
        super().__init__(1)

    def truncate(self, n):
        assert 0 <= n <= self.length
        self.length = n


def read(model, ids, cache, *, last_only=False):
    cache.length += ids.shape[1]
    logits = model(ids)
    return logits[:, -1:] if last_only else logits


@pytest.fixture
def bigrams(monkeypatch):
    """`write(draft_model_or_draft, sampler) -> ids`, 3 tokens after a prompt, and the model."""
    for module in (speculate, drafts_module):
        monkeypatch.setattr(module, "forward_cached", read)
    return Bigrams([0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.3, 0.4, 0.3])


PROMPT = torch.tensor([[0, 2, 1, 0, 1, 2]])
GUESSES = {
    "n-gram": lambda: I.NgramDraft(3, longest=1),
    "another model": lambda: I.ModelDraft(
        Bigrams([0.1, 0.4, 0.5], [0.3, 0.4, 0.3], [0.8, 0.1, 0.1]), Counter()
    ),
}


def chain(model, sampler):
    """The exact probability of each text of 3 tokens, as the model alone would write it."""
    exact = torch.zeros(3, 3, 3, dtype=torch.float64)
    for text in product(range(3), repeat=3):
        so_far, chance = PROMPT, 1.0
        for token in text:
            row = sampler.probabilities(model(so_far)[:, -1], so_far)[0]
            chance *= float(row[token])
            so_far = torch.cat([so_far, torch.tensor([[token]])], dim=1)
        exact[text] = chance
    return exact


def written(model, guess, sampler, runs):
    """How often each text comes out, and the share of proposals that was accepted."""
    draft, counts, tested, accepted = GUESSES[guess](), torch.zeros(3, 3, 3), 0, 0
    for _ in range(runs):
        got = I.generate_speculative(
            model, draft, PROMPT, 3, gamma=2, sampler=sampler, cache=Counter()
        )
        counts[tuple(got.ids[0, -3:].tolist())] += 1
        tested += got.statistics.tested
        accepted += got.statistics.accepted
    return counts, accepted / tested


@pytest.mark.parametrize("guess", GUESSES)
def test_sampled_text_has_the_models_distribution_whatever_the_draft(guess, bigrams):
    sampler = I.Sampler(temperature=1.2, repetition_penalty=1.2, seed=11)
    counts, share = written(bigrams, guess, sampler, 600)
    assert 0.2 < share < 0.8  # both branches were taken, often
    assert p_value(counts, chain(bigrams, sampler)) > 0.01


@pytest.mark.parametrize("rule", WRONG, ids=lambda r: r.__name__)
def test_a_broken_rule_shows_in_the_text(rule, bigrams, monkeypatch):
    monkeypatch.setattr(speculate, "speculative_accept", rule)
    sampler = I.Sampler(temperature=1.2, repetition_penalty=1.2, seed=11)
    counts, _ = written(bigrams, "another model", sampler, 600)
    assert p_value(counts, chain(bigrams, sampler)) < 1e-4


def test_writing_stops_after_a_token_of_stop_and_the_cache_fits_the_text():
    model, ids = small_model(13), torch.tensor([[1, 2, 3, 1, 2]])
    whole = I.generate(model, ids, 20)[0].tolist()
    end = whole[12]
    first = whole.index(end, 5)
    for name, draft in drafts(model).items():
        cache = I.KVCache(3)
        got = I.generate_speculative(model, draft, ids, 20, stop={end}, cache=cache)
        assert got.ids[0].tolist() == whole[: first + 1], name
        assert cache.length == first


def test_a_static_cache_serves_and_no_slot_too_many_is_asked_for():
    model, ids = small_model(13), torch.tensor([[1, 2, 3]])
    cache = I.StaticCache.for_model(model, batch=1, max_length=3 + 20 - 1)
    got = I.generate_speculative(model, drafts(model)["3 bits"], ids, 20, gamma=7, cache=cache)
    assert got.ids.tolist() == I.generate(model, ids, 20).tolist()


def test_one_draft_can_write_one_text_after_another():
    model = small_model(13)
    draft = drafts(model)["3 bits"]
    for prompt in ([[1, 2, 3]], [[1, 2, 7, 7]], [[5]], [[1, 2]]):
        ids = torch.tensor(prompt)
        got = I.generate_speculative(model, draft, ids, 9)
        assert got.ids.tolist() == I.generate(model, ids, 9).tolist()


def test_no_tokens_asked_for_none_written():
    model, ids = small_model(13), torch.tensor([[1, 2, 3]])
    got = I.generate_speculative(model, drafts(model)["n-gram"], ids, 0)
    assert got.ids.tolist() == ids.tolist() and got.statistics.passes == ()
    assert got.ids.data_ptr() != ids.data_ptr()
    assert math.isnan(got.statistics.acceptance) and math.isnan(got.statistics.tokens_per_pass)


def test_the_statistics_leave_out_what_was_not_tested():
    done = I.Statistics(((4, 4), (4, 1), (4, 0), (0, 0)))
    assert (done.proposed, done.accepted, done.tested) == (12, 5, 4 + 2 + 1)
    assert done.acceptance == 5 / 7 and done.tokens_per_pass == 1 + 5 / 4


# --- the drafts -----------------------------------------------------------------------------------


def proposed(text, n=4, **options):
    tokens, q = I.NgramDraft(10, **options).propose(torch.tensor([text]), n, I.Sampler())
    assert q.shape == (len(tokens), 10) and torch.equal(q.argmax(-1), tokens)
    assert (q.sum(-1) == 1).all()
    return tokens.tolist()


def test_an_n_gram_draft_proposes_what_followed_the_last_words():
    assert proposed([1, 2, 3, 4, 5, 9, 1, 2, 3]) == [4, 5, 9, 1]
    assert proposed([1, 2, 3, 4, 5, 9, 1, 2, 3], n=2) == [4, 5]
    assert proposed([3, 4, 1, 2, 3, 5, 2, 3])[:3] == [5, 2, 3]  # two words say more than one
    assert proposed([3, 7, 3, 8, 3], n=2) == [8, 3]  # the last time counts
    assert proposed([1, 2, 3]) == proposed([1]) == []


def test_what_repeats_is_proposed_round_after_round():
    assert proposed([7, 7]) == [7, 7, 7, 7]
    assert proposed([4, 1, 2, 3, 1, 2], n=7) == [3, 1, 2, 3, 1, 2, 3]


def test_it_looks_no_further_than_it_is_told():
    assert proposed([1, 2, 3, 9, 2, 3], shortest=3) == []
    assert proposed([1, 2, 5, 2, 6, 1, 2], longest=1) == [6, 1, 2, 6]


def test_an_early_exit_shares_its_weights_and_leaves_the_model_alone():
    model = small_model(13)
    short = I.early_exit(model, 2)
    assert len(short.blocks) == short.config.layers == 2 and len(model.blocks) == 3
    assert {id(p) for p in short.parameters()} < {id(p) for p in model.parameters()}
    ids = torch.tensor([[1, 2, 3]])
    x = model.embedding(ids)
    for block in list(model.blocks)[:2]:
        x = block(x, model.turn(ids), None)
    assert torch.equal(short(ids), model.logits(x))


def test_an_early_exit_of_a_tied_model_has_the_tied_head():
    model = Decoder(Config(vocab_size=13, layers=3, tied=True, **SMALL)).double()
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(I.early_exit(model, 3)(ids), model(ids))


def test_a_rounded_copy_has_few_levels_a_row_and_leaves_the_model_alone():
    model = small_model(13)
    before = [p.clone() for p in model.parameters()]
    rounded = I.rounded_copy(model, 3)
    w, r = model.blocks[0].feed_forward.up.weight, rounded.blocks[0].feed_forward.up.weight
    step = w.abs().amax(1, keepdim=True) / 3
    assert ((r / step).round() - r / step).abs().max() < 1e-9
    assert (r - w).abs().max() <= step.max() / 2 + 1e-12 and not torch.equal(r, w)
    assert torch.equal(rounded.embedding.weight, model.embedding.weight)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_rounded_copy_in_half_precision_keeps_a_row_of_zeros():
    torch.manual_seed(0)
    config = Config(
        vocab_size=7, width=8, layers=1, heads=2, kv_heads=1, head_size=4, feed_forward=8
    )
    model = Decoder(config).half()
    with torch.no_grad():
        model.blocks[0].attention.query.weight[0] = 0
    rounded = I.rounded_copy(model, 8)
    assert all(p.isfinite().all() for p in rounded.parameters())
    assert (rounded.blocks[0].attention.query.weight[0] == 0).all()
