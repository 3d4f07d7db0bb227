"""The loop: whole trajectories that must agree, bad steps that must not be made."""

import copy

import pytest
import torch
import torch.nn.functional as F
from training_models import LENGTHS, V, padded_rows, small_model, texts

from clearhead import lora
from clearhead.training import (
    IGNORED,
    Recipe,
    batch_rows,
    decay_groups,
    make_rows,
    pack_best_fit,
    progress,
    train,
)
from clearhead.training import loop as loop_module

ALL = len(LENGTHS)
RECIPE = Recipe(steps=6, batch=ALL, peak=0.02, warmup=2, floor=0.001, clip=2.0)


def changed(recipe=RECIPE, **changes):
    return Recipe(**{**recipe.__dict__, **changes})


def run(rows=None, recipe=RECIPE, **options):
    model = options.pop("model", None) or small_model()
    losses = train(model, padded_rows() if rows is None else rows, recipe, **options)
    return losses, [p.detach().clone() for p in model.parameters()]


def assert_same(a, b):
    torch.testing.assert_close(torch.tensor(a[0]), torch.tensor(b[0]), rtol=1e-10, atol=0)
    torch.testing.assert_close(a[1], b[1], rtol=1e-8, atol=1e-10)


def test_it_is_the_loop_one_would_write_by_hand():
    """torch's loss over all logits, its clipping, its AdamW, its schedule; batches of 3 of 8."""
    recipe = changed(batch=3, clip=0.3, weight_decay=0.2)
    model, rows = small_model(), padded_rows()
    optimiser = torch.optim.AdamW(
        decay_groups(model, 0.2), lr=1.0, betas=(0.9, 0.95), eps=1e-8, fused=False, foreach=False
    )
    losses = []
    for step in range(recipe.steps):
        index = batch_rows(recipe.seed, step, ALL, 3)
        logits = model(rows.ids[index])[:, :-1].flatten(0, 1)
        loss = F.cross_entropy(logits, rows.labels[index, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.3)
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate(step)
        optimiser.step()
        losses.append(loss.item())
    assert_same(run(recipe=recipe), (losses, [p.detach() for p in model.parameters()]))
    assert losses[-1] < losses[0]


@pytest.fixture(scope="module")
def whole():
    return run()


@pytest.mark.parametrize("micro_batch", [1, 3, 8, 50])
def test_one_batch_of_eight_is_eight_of_one(whole, micro_batch):
    assert_same(run(recipe=changed(micro_batch=micro_batch, chunk=5)), whole)


@pytest.mark.parametrize("micro_batch", [None, 1])
def test_packed_rows_give_the_trajectory_of_rows_apart(whole, micro_batch):
    """Eight texts in fewer rows, with mask and positions: the same losses, the same weights."""
    ids, documents, positions = pack_best_fit(texts(), 14, pad=0)
    rows = make_rows(ids, documents=documents, positions=positions)
    assert len(ids) < ALL
    packed = run(rows, changed(batch=len(ids), micro_batch=micro_batch))
    assert_same(packed, whole)


def test_packed_without_a_mask_is_another_trajectory(whole):
    ids, documents, positions = pack_best_fit(texts(), 14, pad=0)
    rows = make_rows(ids, documents=documents, positions=positions)
    blind = rows._replace(documents=None, positions=None)
    assert abs(run(blind, changed(batch=len(ids)))[0][-1] - whole[0][-1]) > 1e-3


def test_positions_are_used():
    """Rotary positions are relative: counted from anywhere they give the same, stretched not."""
    ids, documents, positions = pack_best_fit(texts(), 14, pad=0)
    rows = make_rows(ids, documents=documents, positions=positions)
    recipe = changed(batch=len(ids))
    want, _ = run(rows, recipe)
    moved, stretched = positions + 100, 3 * positions
    assert run(rows._replace(positions=moved), recipe)[0] == pytest.approx(want, rel=1e-9)
    assert abs(run(rows._replace(positions=stretched), recipe)[0][-1] - want[-1]) > 1e-3


def test_only_what_requires_a_gradient_is_trained():
    model = small_model()
    lora.apply(model, "all-linear", r=2)
    before = copy.deepcopy(model.state_dict())
    losses, _ = run(recipe=changed(peak=0.1, weight_decay=0.0), model=model)
    moved = {k for k, x in model.state_dict().items() if not torch.equal(x, before[k])}
    assert moved and all(".adapters." in name for name in moved)
    assert losses[-1] < losses[0]


def with_dropout(dropout=0.5):
    model = small_model()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        lora.apply(model, "all-linear", r=2, dropout=dropout)
    return model


@pytest.mark.parametrize("mode", [True, False])
def test_dropout_is_on_in_a_step_and_the_model_keeps_its_mode(mode):
    model, modes = with_dropout().train(mode), []
    losses = train(model, padded_rows(), RECIPE, watch=lambda step: modes.append(model.training))
    assert modes == [mode] * RECIPE.steps and model.training is mode
    assert losses != run(model=with_dropout(dropout=0.0))[0]


@pytest.mark.parametrize("mode", [True, False])
def test_the_mode_comes_back_when_a_step_fails(mode):
    model = small_model().train(mode)
    with pytest.raises(ValueError, match="out of range"):
        train(model, make_rows(torch.full((1, 3), 99)), changed(batch=1))
    assert model.training is mode


def test_a_run_on_the_cpu_leaves_every_gpu_s_noise_alone(monkeypatch):
    seeds = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    run()
    assert seeds == []


def test_neither_the_run_nor_watch_changes_what_the_other_draws_at_random():
    models, draws = [with_dropout() for _ in range(3)], []
    torch.manual_seed(1)
    want, _ = run(model=models[0])
    torch.manual_seed(2)
    losses, _ = run(model=models[1], watch=lambda step: draws.append(torch.rand(2)))
    assert losses == want
    torch.manual_seed(2)
    torch.testing.assert_close(draws, [torch.rand(2) for _ in draws])
    assert run(recipe=changed(seed=1), model=models[2])[0] != want


def test_gradients_from_before_the_run_are_not_used(whole):
    model = small_model()
    model(padded_rows().ids).sum().backward()
    assert_same(run(model=model), whole)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_is_not_made(where, monkeypatch):
    model, seen = small_model(), []
    states = []

    def watch(step):
        states.append(copy.deepcopy(model.state_dict()))
        if step.done == 4 and where == "loss":
            original = loop_module.chunked_loss
            monkeypatch.setattr(
                loop_module, "chunked_loss", lambda *a, **k: original(*a, **k) * torch.inf
            )
        if step.done == 4 and where == "gradient":
            model.norm.weight.register_hook(lambda g: g * torch.nan)
        seen.append(step.done)

    with pytest.raises(FloatingPointError, match=r"step 4 has loss .* so it was not made"):
        train(model, padded_rows(), RECIPE, watch=watch)
    assert seen == [1, 2, 3, 4]
    assert all(torch.equal(x, states[-1][name]) for name, x in model.state_dict().items())


def test_watch_hears_of_every_step(whole):
    steps = []
    losses, _ = run(watch=steps.append)
    assert [step.done for step in steps] == [1, 2, 3, 4, 5, 6] and steps[0].steps == 6
    assert [step.loss for step in steps] == losses == whole[0]
    assert [step.learning_rate for step in steps] == [RECIPE.rate(s) for s in range(6)]
    assert {step.labels for step in steps} == {sum(LENGTHS) - ALL}
    assert all(step.seconds > 0 and step.norm > 0 for step in steps)


def test_progress_writes_a_line_now_and_then_and_at_the_end():
    lines = []
    run(recipe=changed(steps=10), watch=progress(4, lines.append))
    assert [line[:14] for line in lines] == ["step  4 of 10 ", "step  8 of 10 ", "step 10 of 10 "]
    assert all("loss" in line and "labels/s" in line for line in lines)


def test_of_several_processes_one_writes(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    lines = []
    run(watch=progress(1, lines.append))
    assert lines == []


def test_a_straight_descent_in_place_of_the_cosine():
    recipe = changed(decay=2)
    rates = [recipe.rate(step) for step in range(6)]
    assert rates == pytest.approx([0.01, 0.02, 0.02, 0.02, 0.0105, 0.001])


def test_bf16_products_leave_weights_and_means_in_their_dtype():
    model = small_model(torch.float32)
    model_losses = train(model, padded_rows(), changed(steps=3, dtype=torch.bfloat16))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    plain = train(small_model(torch.float32), padded_rows(), changed(steps=3))
    assert model_losses != plain
    torch.testing.assert_close(torch.tensor(model_losses), torch.tensor(plain), rtol=2e-2, atol=0)


def test_answers_alone_are_learned():
    """With the labels of one token, it alone becomes likely."""
    rows = padded_rows()
    labels = torch.full_like(rows.labels, IGNORED)
    labels[:, 1] = 3
    model = small_model()
    train(model, make_rows(rows.ids, labels), changed(steps=30))
    p = model(rows.ids).softmax(-1)
    assert p.shape[-1] == V and (p[:, 0, 3] > 0.9).all()
