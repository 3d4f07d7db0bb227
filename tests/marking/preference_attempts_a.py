"""Wrong answers to the preference exercises on pairs and pictures; see learner_attempts.py."""

# ruff: noqa: E741 -- as learners write it
import math

import torch
import torch.nn.functional as F
from learner_attempts import Attempt

ATTEMPTS: list[Attempt] = []


def attempt(exercise: str, *mistakes: str):
    def keep(function):
        ATTEMPTS.append(Attempt(f"preference.{exercise}", mistakes, function))
        return function

    return keep


# --- sequence_log_prob ---------------------------------------------------------------------------


@attempt("sequence_log_prob", "averaged")
def average_log_prob_true(logits, ids, completion):
    labels = ids[:, 1:].clone()
    loss_mask = completion[:, 1:]
    logits = logits[:, :-1, :]
    labels[~loss_mask] = 0
    logps = torch.gather(logits.log_softmax(-1), dim=2, index=labels.unsqueeze(2)).squeeze(2)
    return (logps * loss_mask).sum(-1) / loss_mask.sum(-1)


@attempt("sequence_log_prob", "averaged")
def mean_over_all_positions(logits, ids, completion):
    lp = F.log_softmax(logits[:, :-1], dim=-1)
    lp = lp.gather(-1, ids[:, 1:].unsqueeze(-1)).squeeze(-1)
    return lp.masked_fill(~completion[:, 1:], 0.0).mean(dim=1)


@attempt("sequence_log_prob", "not-shifted")
def gathers_at_the_same_place(logits, ids, completion):
    logp = torch.log_softmax(logits, dim=-1)
    token = torch.gather(logp, 2, ids[..., None])[..., 0]
    return (token * completion.to(token.dtype)).sum(dim=1)


@attempt("sequence_log_prob", "mask-not-shifted")
def logits_and_mask_cut_alike(logits, ids, completion):
    logp = logits[:, :-1].log_softmax(dim=-1)
    targets = ids[:, 1:]
    mask = completion[:, :-1]
    picked = logp.gather(2, targets[:, :, None])[:, :, 0]
    return torch.where(mask, picked, torch.zeros_like(picked)).sum(1)


@attempt("sequence_log_prob", "prompt-counted")
def forgot_the_mask(logits, ids, completion):
    B, T, V = logits.shape
    ce = F.cross_entropy(logits[:, :-1].reshape(-1, V), ids[:, 1:].reshape(-1), reduction="none")
    return -ce.view(B, T - 1).sum(dim=1)


@attempt("sequence_log_prob", "sign-forgotten")
def cross_entropy_as_it_is(logits, ids, completion):
    B, T, V = logits.shape
    ce = F.cross_entropy(logits[:, :-1].reshape(-1, V), ids[:, 1:].reshape(-1), reduction="none")
    return (ce.view(B, T - 1) * completion[:, 1:]).sum(dim=1)


@attempt("sequence_log_prob", "logarithm-of-softmax")
def softmax_then_log(logits, ids, completion):
    out = []
    for b in range(len(ids)):
        total = logits.new_zeros(())
        for t in range(1, ids.shape[1]):
            if completion[b, t]:
                p = torch.softmax(logits[b, t - 1], dim=0)
                total = total + torch.log(p[ids[b, t]])
        out.append(total)
    return torch.stack(out)


@attempt("sequence_log_prob", "no-softmax")
def takes_the_logits(logits, ids, completion):
    picked = logits[:, :-1].gather(2, ids[:, 1:].unsqueeze(2)).squeeze(2)
    return (picked * completion[:, 1:]).sum(1)


@attempt("sequence_log_prob", "one-number-for-the-batch")
def sum_of_everything(logits, ids, completion):
    keep = completion[:, 1:]
    lp = F.log_softmax(logits[:, :-1][keep], -1)
    return lp[torch.arange(lp.shape[0]), ids[:, 1:][keep]].sum()


@attempt("sequence_log_prob", "exponentiated")
def product_of_probabilities(logits, ids, completion):
    p = logits[:, :-1].softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return torch.where(completion[:, 1:], p, 1.0).prod(dim=1)


@attempt("sequence_log_prob", "wraps-around")
def rolls_the_ids(logits, ids, completion):
    nxt = torch.roll(ids, shifts=-1, dims=1)
    mask = torch.roll(completion, shifts=-1, dims=1)
    lp = torch.log_softmax(logits, -1).gather(-1, nxt[..., None]).squeeze(-1)
    return (lp * mask).sum(-1)


@attempt("sequence_log_prob", "averaged", "mask-not-shifted")
def averaged_over_the_uncut_mask(logits, ids, completion):
    lp = torch.log_softmax(logits, -1)[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1)
    mask = completion[:, :-1]
    return (lp * mask).sum(1) / mask.sum(1)


@attempt("sequence_log_prob")
def counts_every_second_token(logits, ids, completion):
    lp = torch.log_softmax(logits, -1)[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1)
    return (lp * completion[:, 1:])[:, ::2].sum(1)


@attempt("sequence_log_prob", "averaged")
def length_from_the_mask(logits, ids, completion):
    labels = ids.masked_fill(~completion, -100)
    nll = F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none")
    return -nll.sum(1) / completion.sum(1)


@attempt("sequence_log_prob", "one-number-for-the-batch", "sign-forgotten")
def loss_of_the_model(logits, ids, completion):
    labels = torch.where(completion, ids, -100)
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


@attempt("sequence_log_prob", "first-of-the-answer-left-out")
def cuts_the_answer_out(logits, ids, completion):
    out = []
    for z, y, m in zip(logits, ids, completion, strict=True):
        lp = z[:-1].log_softmax(-1).gather(1, y[1:, None])[:, 0]
        out.append(lp[m[:-1] & m[1:]].sum())
    return torch.stack(out)


@attempt("sequence_log_prob", "one-maximum-for-all")
def stable_with_one_maximum(logits, ids, completion):
    z = logits - logits.max()
    lp = z - z.exp().sum(-1, keepdim=True).log()
    picked = lp[:, :-1].gather(-1, ids[:, 1:].unsqueeze(-1)).squeeze(-1)
    return torch.where(completion[:, 1:], picked, torch.zeros_like(picked)).sum(-1)


@attempt("sequence_log_prob", "one-maximum-for-all")
def stable_with_a_maximum_a_row(logits, ids, completion):
    z = logits - logits.amax(dim=(1, 2), keepdim=True)
    lp = z - torch.log(torch.exp(z).sum(dim=2, keepdim=True))
    picked = torch.gather(lp[:, :-1], 2, ids[:, 1:, None])[:, :, 0]
    return picked.masked_fill(~completion[:, 1:], 0).sum(1)


@attempt("sequence_log_prob", "one-maximum-for-all")
def stable_by_the_number_in_the_text(logits, ids, completion):
    z = logits[:, :-1] - 2000
    lp = z.gather(2, ids[:, 1:, None])[..., 0] - z.exp().sum(2).log()
    return lp.masked_fill(~completion[:, 1:], 0).sum(1)


# --- bradley_terry_loss --------------------------------------------------------------------------


@attempt("bradley_terry_loss", "log-of-sigmoid")
def log_of_the_sigmoid(chosen, rejected, margin):
    p = torch.sigmoid(chosen - rejected - margin)
    return -torch.log(p).mean()


@attempt("bradley_terry_loss", "log-of-sigmoid")
def log_one_plus_exp(chosen, rejected, margin):
    return torch.log(1 + torch.exp(-(chosen - rejected - margin))).mean()


@attempt("bradley_terry_loss", "log-of-sigmoid")
def sigmoid_with_eps(chosen, rejected, margin, eps=1e-8):
    diff = chosen - rejected - margin
    return -(torch.sigmoid(diff) + eps).log().mean()


@attempt("bradley_terry_loss", "margin-added")
def margin_makes_it_easier(chosen, rejected, margin):
    return -F.logsigmoid(chosen - rejected + margin).mean()


@attempt("bradley_terry_loss", "margin-ignored")
def margin_not_used(chosen, rejected, margin):
    return -F.logsigmoid(chosen - rejected).mean()


@attempt("bradley_terry_loss", "margin-outside")
def margin_subtracted_from_the_log(chosen, rejected, margin):
    loss = -(F.logsigmoid(chosen - rejected) - margin)
    return torch.mean(loss)


@attempt("bradley_terry_loss", "sides-swapped")
def rejected_minus_chosen(chosen, rejected, margin):
    return -F.logsigmoid(rejected - chosen - margin).mean()


@attempt("bradley_terry_loss", "sides-swapped")
def softplus_of_the_difference(chosen, rejected, margin):
    return F.softplus(chosen - rejected - margin).mean()


@attempt("bradley_terry_loss", "hinge")
def ranking_loss(chosen, rejected, margin):
    return torch.clamp(margin - (chosen - rejected), min=0).mean()


@attempt("bradley_terry_loss", "sign-forgotten")
def forgot_the_minus(chosen, rejected, margin):
    return F.logsigmoid(chosen - rejected - margin).mean()


@attempt("bradley_terry_loss", "mean-inside")
def average_reward_gap(chosen, rejected, margin):
    gap = chosen.mean() - rejected.mean() - margin.mean()
    return -F.logsigmoid(gap)


@attempt("bradley_terry_loss", "no-logarithm")
def probability_of_being_wrong(chosen, rejected, margin):
    return (1 - torch.sigmoid(chosen - rejected - margin)).mean()


@attempt("bradley_terry_loss", "scored-apart")
def each_answer_a_label(chosen, rejected, margin):
    up = F.binary_cross_entropy_with_logits(chosen - margin, torch.ones_like(chosen))
    down = F.binary_cross_entropy_with_logits(rejected, torch.zeros_like(rejected))
    return up + down


@attempt("bradley_terry_loss", "all-with-all")
def every_chosen_with_every_rejected(chosen, rejected, margin):
    diff = chosen.unsqueeze(1) - rejected.unsqueeze(0) - margin.unsqueeze(1)
    return -F.logsigmoid(diff).mean()


@attempt("bradley_terry_loss", "log-of-sigmoid", "margin-added")
def log_sigmoid_and_plus(chosen, rejected, margin):
    return -(chosen - rejected + margin).sigmoid().log().mean()


@attempt("bradley_terry_loss")
def squared_loss(chosen, rejected, margin):
    return (chosen - rejected - margin - 1).pow(2).mean()


@attempt("bradley_terry_loss", "log-of-sigmoid")
def bce_of_probabilities(chosen, rejected, margin):
    p = torch.sigmoid(chosen - rejected - margin)
    return F.binary_cross_entropy(p, torch.ones_like(p))


@attempt("bradley_terry_loss", "exponentials-apart")
def strengths_as_in_the_book(chosen, rejected, margin):
    a, b = torch.exp(chosen - margin), torch.exp(rejected)
    return -torch.log(a / (a + b)).mean()


@attempt("bradley_terry_loss", "order-counted")
def error_rate(chosen, rejected, margin):
    return (chosen - rejected < margin).to(chosen.dtype).mean()


# --- dpo_loss ------------------------------------------------------------------------------------


@attempt("dpo_loss", "log-of-sigmoid")
def log_of_sigmoid_dpo(chosen, rejected, reference_chosen, reference_rejected, beta):
    pi_logratios = chosen - rejected
    ref_logratios = reference_chosen - reference_rejected
    return -torch.log(torch.sigmoid(beta * (pi_logratios - ref_logratios))).mean()


@attempt("dpo_loss", "sides-swapped")
def minus_in_the_wrong_place(chosen, rejected, reference_chosen, reference_rejected, beta):
    r_w = beta * (chosen - reference_chosen)
    r_l = beta * (rejected - reference_rejected)
    return -F.logsigmoid(r_l - r_w).mean()


@attempt("dpo_loss", "reference-ignored")
def no_reference_model(chosen, rejected, reference_chosen, reference_rejected, beta):
    return -F.logsigmoid(beta * (chosen - rejected)).mean()


@attempt("dpo_loss", "reference-added")
def plus_reference(chosen, rejected, reference_chosen, reference_rejected, beta):
    logits = (chosen - rejected) + (reference_chosen - reference_rejected)
    return -F.logsigmoid(beta * logits).mean()


@attempt("dpo_loss", "beta-outside")
def beta_times_the_loss(chosen, rejected, reference_chosen, reference_rejected, beta):
    logits = (chosen - reference_chosen) - (rejected - reference_rejected)
    return (-beta * F.logsigmoid(logits)).mean()


@attempt("dpo_loss", "beta-twice")
def beta_in_reward_and_loss(chosen, rejected, reference_chosen, reference_rejected, beta):
    chosen_reward = beta * (chosen - reference_chosen)
    rejected_reward = beta * (rejected - reference_rejected)
    return -F.logsigmoid(beta * (chosen_reward - rejected_reward)).mean()


@attempt("dpo_loss", "beta-divides")
def beta_as_temperature(chosen, rejected, reference_chosen, reference_rejected, beta):
    margin = chosen - rejected - reference_chosen + reference_rejected
    return F.softplus(-margin / beta).mean()


@attempt("dpo_loss", "sides-swapped")
def reference_minus_policy(chosen, rejected, reference_chosen, reference_rejected, beta):
    w = reference_chosen - chosen
    l = reference_rejected - rejected
    return -F.logsigmoid(beta * (w - l)).mean()


@attempt("dpo_loss", "ratio-of-log-probs")
def ratio_by_division(chosen, rejected, reference_chosen, reference_rejected, beta):
    w, l = chosen / reference_chosen, rejected / reference_rejected
    return -F.logsigmoid(beta * (w - l)).mean()


@attempt("dpo_loss", "ratio-without-logarithm")
def ratio_of_probabilities(chosen, rejected, reference_chosen, reference_rejected, beta):
    w = torch.exp(chosen - reference_chosen)
    l = torch.exp(rejected - reference_rejected)
    return -F.logsigmoid(beta * (w - l)).mean()


@attempt("dpo_loss", "mean-inside")
def logsigmoid_of_the_mean(chosen, rejected, reference_chosen, reference_rejected, beta):
    logits = beta * ((chosen - reference_chosen) - (rejected - reference_rejected))
    return -F.logsigmoid(logits.mean())


@attempt("dpo_loss", "not-averaged")
def one_for_each_pair(chosen, rejected, reference_chosen, reference_rejected, beta):
    return -F.logsigmoid(beta * (chosen - rejected - (reference_chosen - reference_rejected)))


@attempt("dpo_loss", "zero-at-the-reference")
def starts_at_zero(chosen, rejected, reference_chosen, reference_rejected, beta):
    logits = beta * (chosen - rejected - reference_chosen + reference_rejected)
    return -F.logsigmoid(logits).mean() - math.log(2)


@attempt("dpo_loss", "beta-outside", "log-of-sigmoid")
def two_things_at_once(chosen, rejected, reference_chosen, reference_rejected, beta):
    d = chosen - rejected - reference_chosen + reference_rejected
    return -beta * torch.log(torch.sigmoid(d)).mean()


@attempt("dpo_loss")
def clipped_margin(chosen, rejected, reference_chosen, reference_rejected, beta):
    d = chosen - rejected - reference_chosen + reference_rejected
    return -F.logsigmoid(beta * d.clamp(-2, 2)).mean()


@attempt("dpo_loss", "beta-on-one-part")
def brackets_forgotten(chosen, rejected, reference_chosen, reference_rejected, beta):
    z = beta * (chosen - rejected) - (reference_chosen - reference_rejected)
    return -F.logsigmoid(z).mean()


@attempt("dpo_loss", "scored-apart")
def two_labels(chosen, rejected, reference_chosen, reference_rejected, beta):
    up = F.logsigmoid(beta * (chosen - reference_chosen))
    down = F.logsigmoid(beta * (reference_rejected - rejected))
    return -(up + down).mean()


@attempt("dpo_loss")
def label_smoothing(chosen, rejected, reference_chosen, reference_rejected, beta):
    z = beta * (chosen - rejected - reference_chosen + reference_rejected)
    return (-0.9 * F.logsigmoid(z) - 0.1 * F.logsigmoid(-z)).mean()


@attempt("dpo_loss", "log-of-sigmoid")
def held_at_fifty(chosen, rejected, reference_chosen, reference_rejected, beta):
    logits = beta * ((chosen - reference_chosen) - (rejected - reference_rejected))
    return torch.nn.functional.softplus(-torch.clamp(logits, -50, 50)).mean()


@attempt("dpo_loss", "log-of-sigmoid")
def sigmoid_never_zero(chosen, rejected, reference_chosen, reference_rejected, beta):
    logits = beta * (chosen - rejected - (reference_chosen - reference_rejected))
    return -torch.log(torch.sigmoid(logits).clamp(1e-30)).mean()


# --- ipo_loss ------------------------------------------------------------------------------------


@attempt("ipo_loss", "not-per-token")
def sums_as_in_the_paper(
    chosen, rejected, reference_chosen, reference_rejected, chosen_tokens, rejected_tokens, tau
):
    logits = (chosen - rejected) - (reference_chosen - reference_rejected)
    return ((logits - 1 / (2 * tau)) ** 2).mean()


@attempt("ipo_loss", "target-tau-over-two")
def no_brackets_around_two_tau(
    chosen, rejected, reference_chosen, reference_rejected, chosen_tokens, rejected_tokens, tau
):
    c = (chosen - reference_chosen) / chosen_tokens
    r = (rejected - reference_rejected) / rejected_tokens
    return torch.mean((c - r - 1 / 2 * tau) ** 2)


@attempt("ipo_loss", "target-one-over-tau")
def forgets_the_half(
    chosen, rejected, reference_chosen, reference_rejected, chosen_tokens, rejected_tokens, tau
):
    c = (chosen - reference_chosen) / chosen_tokens
    r = (rejected - reference_rejected) / rejected_tokens
    return torch.square(c - r - 1 / tau).mean()


@attempt("ipo_loss", "target-multiplied-out")
def tau_times_h(
    chosen, rejected, reference_chosen, reference_rejected, chosen_tokens, rejected_tokens, tau
):
    c = (chosen - reference_chosen) / chosen_tokens
    r = (rejected - reference_rejected) / rejected_tokens
    return ((tau * (c - r) - 0.5) ** 2).mean()


@attempt("ipo_loss", "sides-swapped")
def loser_first(
    chosen, rejected, reference_chosen, reference_rejected, chosen_tokens, rejected_tokens, tau
):
    lw = (chosen - reference_chosen) / chosen_tokens
    ll = (rejected - reference_rejected) / rejected_tokens
    return ((ll - lw - 1 / (2 * tau)) ** 2).mean()


@attempt("ipo_loss", "reference-not-averaged")
def only_the_policy_is_averaged(
    chosen, rejected, reference_chosen, reference_rejected, chosen_tokens, rejected_tokens, tau
):
    policy = chosen / chosen_tokens - rejected / rejected_tokens
    h = policy - (reference_chosen - reference_rejected)
    return ((h - 1 / (2 * tau)) ** 2).mean()


@attempt("ipo_loss", "sides-swapped")
def plus_the_target(
    chosen, rejected, reference_chosen, reference_rejected, chosen_tokens, rejected_tokens, tau
):
    h = (chosen - reference_chosen) / chosen_tokens
    h = h - (rejected - reference_rejected) / rejected_tokens
    return ((h + 0.5 / tau) ** 2).mean()


@attempt("ipo_loss", "counts-swapped")
def wrong_lengths(
    chosen, rejected, reference_chosen, reference_rejected, chosen_tokens, rejected_tokens, tau
):
    w = (chosen - reference_chosen) / rejected_tokens
    l = (rejected - reference_rejected) / chosen_tokens
    return ((w - l - 1 / (2 * tau)) ** 2).mean()


@attempt("ipo_loss", "both-counts-together")
def all_tokens_of_the_pair(
    chosen, rejected, reference_chosen, reference_rejected, chosen_tokens, rejected_tokens, tau
):
    h = (chosen - reference_chosen) - (rejected - reference_rejected)
    h = h / (chosen_tokens + rejected_tokens)
    return ((h - 1 / (2 * tau)) ** 2).mean()


@attempt("ipo_loss", "absolute-value")
def distance_and_no_square(
    chosen, rejected, reference_chosen, reference_rejected, chosen_tokens, rejected_tokens, tau
):
    w = (chosen - reference_chosen) / chosen_tokens
    l = (rejected - reference_rejected) / rejected_tokens
    return (w - l - 1 / (2 * tau)).abs().mean()


@attempt("ipo_loss", "logistic")
def dpo_with_averages(
    chosen, rejected, reference_chosen, reference_rejected, chosen_tokens, rejected_tokens, tau
):
    w = (chosen - reference_chosen) / chosen_tokens
    l = (rejected - reference_rejected) / rejected_tokens
    return -F.logsigmoid(tau * (w - l)).mean()


@attempt("ipo_loss", "not-per-token", "target-tau-over-two")
def sums_and_no_brackets(
    chosen, rejected, reference_chosen, reference_rejected, chosen_tokens, rejected_tokens, tau
):
    h = chosen - rejected - reference_chosen + reference_rejected
    return ((h - 1 / 2 * tau) ** 2).mean()


@attempt("ipo_loss", "both-counts-together")
def counts_of_the_batch(
    chosen, rejected, reference_chosen, reference_rejected, chosen_tokens, rejected_tokens, tau
):
    up = (chosen - reference_chosen) / chosen_tokens.sum()
    down = (rejected - reference_rejected) / rejected_tokens.sum()
    return ((up - down - 0.5 / tau) ** 2).mean()


# --- simpo_loss ----------------------------------------------------------------------------------


@attempt("simpo_loss", "not-per-token")
def sums_of_log_probs(chosen, rejected, chosen_tokens, rejected_tokens, beta, gamma):
    return -F.logsigmoid(beta * (chosen - rejected) - gamma).mean()


@attempt("simpo_loss", "gamma-added")
def plus_gamma(chosen, rejected, chosen_tokens, rejected_tokens, beta, gamma):
    w = beta / chosen_tokens * chosen
    l = beta / rejected_tokens * rejected
    return -F.logsigmoid(w - l + gamma).mean()


@attempt("simpo_loss", "gamma-ignored")
def without_the_margin(chosen, rejected, chosen_tokens, rejected_tokens, beta, gamma):
    w, l = chosen / chosen_tokens, rejected / rejected_tokens
    return F.softplus(beta * (l - w)).mean()


@attempt("simpo_loss", "gamma-times-beta")
def margin_inside_the_bracket(chosen, rejected, chosen_tokens, rejected_tokens, beta, gamma):
    logits = chosen / chosen_tokens - rejected / rejected_tokens - gamma
    return -F.logsigmoid(beta * logits).mean()


@attempt("simpo_loss", "gamma-as-a-ratio")
def gamma_beta_ratio(chosen, rejected, chosen_tokens, rejected_tokens, beta, gamma):
    logits = chosen / chosen_tokens - rejected / rejected_tokens
    return -F.logsigmoid(beta * (logits - gamma / beta**2)).mean()


@attempt("simpo_loss", "gamma-outside")
def margin_after_the_log(chosen, rejected, chosen_tokens, rejected_tokens, beta, gamma):
    d = beta * (chosen / chosen_tokens - rejected / rejected_tokens)
    return (-F.logsigmoid(d) - gamma).mean()


@attempt("simpo_loss", "sides-swapped")
def rejected_first(chosen, rejected, chosen_tokens, rejected_tokens, beta, gamma):
    w, l = beta * chosen / chosen_tokens, beta * rejected / rejected_tokens
    return -F.logsigmoid(l - w - gamma).mean()


@attempt("simpo_loss", "beta-outside")
def beta_in_front(chosen, rejected, chosen_tokens, rejected_tokens, beta, gamma):
    d = chosen / chosen_tokens - rejected / rejected_tokens - gamma
    return beta * -F.logsigmoid(d).mean()


@attempt("simpo_loss", "counts-swapped")
def mixes_up_the_lengths(chosen, rejected, chosen_tokens, rejected_tokens, beta, gamma):
    d = beta * (chosen / rejected_tokens - rejected / chosen_tokens)
    return -F.logsigmoid(d - gamma).mean()


@attempt("simpo_loss", "both-counts-together")
def divides_by_the_pair(chosen, rejected, chosen_tokens, rejected_tokens, beta, gamma):
    total = chosen_tokens + rejected_tokens
    return -F.logsigmoid(beta * (chosen - rejected) / total - gamma).mean()


@attempt("simpo_loss", "log-of-sigmoid")
def log_sigma(chosen, rejected, chosen_tokens, rejected_tokens, beta, gamma):
    u = beta * chosen / chosen_tokens - beta * rejected / rejected_tokens - gamma
    return torch.mean(-torch.log(1 / (1 + torch.exp(-u))))


@attempt("simpo_loss", "not-per-token", "gamma-ignored")
def dpo_without_reference(chosen, rejected, chosen_tokens, rejected_tokens, beta, gamma):
    return -F.logsigmoid(beta * (chosen - rejected)).mean()


@attempt("simpo_loss", "log-of-sigmoid")
def score_held_at_fifty(chosen, rejected, chosen_tokens, rejected_tokens, beta, gamma):
    gap = beta * chosen / chosen_tokens - beta * rejected / rejected_tokens - gamma
    gap = gap.clamp(min=-50, max=50)
    return torch.log(1 + torch.exp(-gap)).mean()


# --- kto_loss ------------------------------------------------------------------------------------


@attempt("kto_loss", "reference-point-not-detached")
def forgets_detach(
    policy,
    reference,
    desirable,
    policy_kl,
    reference_kl,
    beta,
    desirable_weight,
    undesirable_weight,
):
    kl = (policy_kl - reference_kl).mean().clamp(min=0)
    r = policy - reference
    good = desirable_weight * (1 - torch.sigmoid(beta * (r - kl)))
    bad = undesirable_weight * (1 - torch.sigmoid(beta * (kl - r)))
    return torch.where(desirable, good, bad).mean()


@attempt("kto_loss", "reference-point-not-clamped")
def negative_kl_is_kept(
    policy,
    reference,
    desirable,
    policy_kl,
    reference_kl,
    beta,
    desirable_weight,
    undesirable_weight,
):
    z0 = (policy_kl - reference_kl).mean().detach()
    r = policy - reference
    v = torch.where(desirable, torch.sigmoid(beta * (r - z0)), torch.sigmoid(beta * (z0 - r)))
    w = torch.where(desirable, desirable_weight, undesirable_weight).to(v.dtype)
    return (w * (1 - v)).mean()


@attempt("kto_loss", "reference-point-left-out")
def no_reference_point(
    policy,
    reference,
    desirable,
    policy_kl,
    reference_kl,
    beta,
    desirable_weight,
    undesirable_weight,
):
    r = beta * (policy - reference)
    l = []
    for i in range(len(r)):
        if desirable[i]:
            l.append(desirable_weight * (1 - torch.sigmoid(r[i])))
        else:
            l.append(undesirable_weight * (1 - torch.sigmoid(-r[i])))
    return sum(l) / len(l)


@attempt("kto_loss", "reference-point-of-the-own-answers")
def kl_of_these_answers(
    policy,
    reference,
    desirable,
    policy_kl,
    reference_kl,
    beta,
    desirable_weight,
    undesirable_weight,
):
    r = policy - reference
    z = torch.clamp(r.mean().detach(), min=0)
    good = desirable_weight * (1 - torch.sigmoid(beta * (r - z)))
    bad = undesirable_weight * (1 - torch.sigmoid(beta * (z - r)))
    return torch.where(desirable, good, bad).mean()


@attempt("kto_loss", "one-sign-for-both")
def same_for_bad_answers(
    policy,
    reference,
    desirable,
    policy_kl,
    reference_kl,
    beta,
    desirable_weight,
    undesirable_weight,
):
    z0 = max(0, (policy_kl - reference_kl).mean().item())
    r = policy - reference
    w = torch.where(desirable, float(desirable_weight), float(undesirable_weight)).to(r)
    return (w * (1 - torch.sigmoid(beta * (r - z0)))).mean()


@attempt("kto_loss", "desirable-swapped")
def ones_are_bad(
    policy,
    reference,
    desirable,
    policy_kl,
    reference_kl,
    beta,
    desirable_weight,
    undesirable_weight,
):
    z0 = (policy_kl - reference_kl).detach().mean().clamp(min=0)
    r = policy - reference
    good = desirable_weight * (1 - torch.sigmoid(beta * (r - z0)))
    bad = undesirable_weight * (1 - torch.sigmoid(beta * (z0 - r)))
    return torch.where(desirable, bad, good).mean()


@attempt("kto_loss", "value-returned")
def human_value(
    policy,
    reference,
    desirable,
    policy_kl,
    reference_kl,
    beta,
    desirable_weight,
    undesirable_weight,
):
    z0 = (policy_kl - reference_kl).detach().mean().clamp(min=0)
    r = policy - reference
    good = desirable_weight * torch.sigmoid(beta * (r - z0))
    bad = undesirable_weight * torch.sigmoid(beta * (z0 - r))
    return torch.where(desirable, good, bad).mean()


@attempt("kto_loss", "mean-of-two-means")
def averages_each_kind(
    policy,
    reference,
    desirable,
    policy_kl,
    reference_kl,
    beta,
    desirable_weight,
    undesirable_weight,
):
    z0 = (policy_kl - reference_kl).detach().mean().clamp(min=0)
    r = policy - reference
    good = 1 - torch.sigmoid(beta * (r[desirable] - z0))
    bad = 1 - torch.sigmoid(beta * (z0 - r[~desirable]))
    return desirable_weight * good.mean() + undesirable_weight * bad.mean()


@attempt("kto_loss", "weights-ignored")
def weights_forgotten(
    policy,
    reference,
    desirable,
    policy_kl,
    reference_kl,
    beta,
    desirable_weight,
    undesirable_weight,
):
    z0 = (policy_kl - reference_kl).detach().mean().clamp(min=0)
    sign = torch.where(desirable, 1.0, -1.0).to(policy.dtype)
    return (1 - torch.sigmoid(sign * beta * (policy - reference - z0))).mean()


@attempt("kto_loss", "logistic")
def logsigmoid_as_in_dpo(
    policy,
    reference,
    desirable,
    policy_kl,
    reference_kl,
    beta,
    desirable_weight,
    undesirable_weight,
):
    z0 = (policy_kl - reference_kl).detach().mean().clamp(min=0)
    r = policy - reference
    good = -desirable_weight * F.logsigmoid(beta * (r - z0))
    bad = -undesirable_weight * F.logsigmoid(beta * (z0 - r))
    return torch.where(desirable, good, bad).mean()


@attempt("kto_loss", "clamped-one-by-one")
def clamps_then_averages(
    policy,
    reference,
    desirable,
    policy_kl,
    reference_kl,
    beta,
    desirable_weight,
    undesirable_weight,
):
    z0 = F.relu((policy_kl - reference_kl).detach()).mean()
    r = policy - reference
    good = desirable_weight * (1 - torch.sigmoid(beta * (r - z0)))
    bad = undesirable_weight * (1 - torch.sigmoid(beta * (z0 - r)))
    return torch.where(desirable, good, bad).mean()


@attempt("kto_loss", "beta-ignored")
def beta_forgotten(
    policy,
    reference,
    desirable,
    policy_kl,
    reference_kl,
    beta,
    desirable_weight,
    undesirable_weight,
):
    with torch.no_grad():
        z0 = (policy_kl - reference_kl).mean().clamp(min=0)
    r = policy - reference - z0
    good = desirable_weight * torch.sigmoid(-r)
    bad = undesirable_weight * torch.sigmoid(r)
    return torch.where(desirable, good, bad).mean()


@attempt("kto_loss", "weights-ignored")
def lambda_on_the_value(
    policy,
    reference,
    desirable,
    policy_kl,
    reference_kl,
    beta,
    desirable_weight,
    undesirable_weight,
):
    z0 = (policy_kl - reference_kl).detach().mean().clamp(min=0)
    r = policy - reference
    good = 1 - desirable_weight * torch.sigmoid(beta * (r - z0))
    bad = 1 - undesirable_weight * torch.sigmoid(beta * (z0 - r))
    return torch.where(desirable, good, bad).mean()


@attempt("kto_loss", "reference-point-not-detached")
def relu_of_the_kl(
    policy,
    reference,
    desirable,
    policy_kl,
    reference_kl,
    beta,
    desirable_weight,
    undesirable_weight,
):
    z0 = F.relu(policy_kl.mean() - reference_kl.mean())
    gain = torch.where(desirable, policy - reference - z0, z0 - policy + reference)
    weight = desirable * desirable_weight + (~desirable) * undesirable_weight
    return (weight * (1 - (beta * gain).sigmoid())).mean()


@attempt("kto_loss", "exponentials-divided")
def sigmoid_by_hand(
    policy,
    reference,
    desirable,
    policy_kl,
    reference_kl,
    beta,
    desirable_weight,
    undesirable_weight,
):
    def sig(x):
        return torch.exp(x) / (1 + torch.exp(x))

    r = policy - reference
    z0 = (policy_kl - reference_kl).mean().clamp(min=0).detach()
    w = desirable * desirable_weight + ~desirable * undesirable_weight
    return (w * (1 - sig(torch.where(desirable, r - z0, z0 - r) * beta))).mean()


@attempt("kto_loss", "reference-point-not-detached")
def only_the_policy_detached(
    policy,
    reference,
    desirable,
    policy_kl,
    reference_kl,
    beta,
    desirable_weight,
    undesirable_weight,
):
    r = policy - reference
    z0 = torch.relu((policy_kl.detach() - reference_kl).mean())
    good = desirable_weight * (1 - torch.sigmoid(beta * (r - z0)))
    bad = undesirable_weight * (1 - torch.sigmoid(beta * (z0 - r)))
    return torch.where(desirable, good, bad).mean()


# --- add_noise -----------------------------------------------------------------------------------


@attempt("add_noise", "no-roots")
def forgets_the_square_roots(x0, noise, t, alpha_bar):
    a = alpha_bar[t].view(-1, *[1] * (x0.dim() - 1))
    return a * x0 + (1 - a) * noise


@attempt("add_noise", "noise-not-rooted")
def root_of_the_signal_alone(x0, noise, t, alpha_bar):
    a = alpha_bar[t].reshape([x0.shape[0]] + [1] * (x0.ndim - 1))
    return a.sqrt() * x0 + (1 - a) * noise


@attempt("add_noise", "one-minus-root")
def one_minus_the_root(x0, noise, t, alpha_bar):
    s = alpha_bar[t].sqrt()
    while s.ndim < x0.ndim:
        s = s.unsqueeze(-1)
    return s * x0 + (1 - s) * noise


@attempt("add_noise", "factors-swapped")
def swaps_signal_and_noise(x0, noise, t, alpha_bar):
    a = alpha_bar[t].view(-1, *[1] * (x0.dim() - 1))
    return (1 - a).sqrt() * x0 + a.sqrt() * noise


@attempt("add_noise", "not-broadcast")
def forgets_the_axes(x0, noise, t, alpha_bar):
    a = alpha_bar[t]
    return torch.sqrt(a) * x0 + torch.sqrt(1 - a) * noise


@attempt("add_noise", "multiplied-up-again")
def cumprod_once_more(x0, noise, t, alpha_bar):
    ab = torch.cumprod(alpha_bar, dim=0)[t]
    ab = ab.view(-1, *[1] * (x0.dim() - 1))
    return ab.sqrt() * x0 + (1 - ab).sqrt() * noise


@attempt("add_noise", "one-step-early")
def counts_steps_from_one(x0, noise, t, alpha_bar):
    a = alpha_bar[t - 1].view(-1, *[1] * (x0.dim() - 1))
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


@attempt("add_noise", "one-step-for-all")
def first_timestep_for_the_batch(x0, noise, t, alpha_bar):
    a = alpha_bar[t[0]]
    return a**0.5 * x0 + (1 - a) ** 0.5 * noise


@attempt("add_noise", "signal-not-scaled")
def only_adds_noise(x0, noise, t, alpha_bar):
    sigma = (1 - alpha_bar[t]).sqrt().view(-1, *[1] * (x0.dim() - 1))
    return x0 + sigma * noise


@attempt("add_noise", "noise-subtracted")
def minus_noise(x0, noise, t, alpha_bar):
    a = alpha_bar.gather(0, t).view(-1, *[1] * (x0.dim() - 1))
    return torch.sqrt(a) * x0 - torch.sqrt(1 - a) * noise


@attempt("add_noise", "factors-swapped", "no-roots")
def swapped_and_no_roots(x0, noise, t, alpha_bar):
    out = []
    for x, e, i in zip(x0, noise, t, strict=True):
        out.append((1 - alpha_bar[i]) * x + alpha_bar[i] * e)
    return torch.stack(out)


@attempt("add_noise")
def own_noise(x0, noise, t, alpha_bar):
    a = alpha_bar[t].view(-1, *[1] * (x0.dim() - 1))
    return a.sqrt() * x0 + (1 - a).sqrt() * torch.randn_like(x0)


# --- diffusion_dpo_loss --------------------------------------------------------------------------


@attempt("diffusion_dpo_loss", "sign-turned")
def lower_error_counts_as_worse(
    predicted_chosen,
    predicted_rejected,
    reference_chosen,
    reference_rejected,
    noise_chosen,
    noise_rejected,
    beta,
    steps,
    weight,
):
    def err(p, n):
        return ((n - p) ** 2).flatten(1).sum(1)

    model = err(predicted_chosen, noise_chosen) - err(predicted_rejected, noise_rejected)
    ref = err(reference_chosen, noise_chosen) - err(reference_rejected, noise_rejected)
    return -F.logsigmoid(beta * steps * weight * (model - ref)).mean()


@attempt("diffusion_dpo_loss", "mean-of-squares")
def mse_over_the_picture(
    predicted_chosen,
    predicted_rejected,
    reference_chosen,
    reference_rejected,
    noise_chosen,
    noise_rejected,
    beta,
    steps,
    weight,
):
    axes = tuple(range(1, noise_chosen.ndim))
    m_w = (predicted_chosen - noise_chosen).pow(2).mean(dim=axes)
    m_l = (predicted_rejected - noise_rejected).pow(2).mean(dim=axes)
    r_w = (reference_chosen - noise_chosen).pow(2).mean(dim=axes)
    r_l = (reference_rejected - noise_rejected).pow(2).mean(dim=axes)
    inside = -beta * steps * weight * ((m_w - m_l) - (r_w - r_l))
    return -F.logsigmoid(inside).mean()


@attempt("diffusion_dpo_loss", "halved")
def half_as_in_the_official_code(
    predicted_chosen,
    predicted_rejected,
    reference_chosen,
    reference_rejected,
    noise_chosen,
    noise_rejected,
    beta,
    steps,
    weight,
):
    def err(p, n):
        return (p - n).square().flatten(1).sum(-1)

    model_diff = err(predicted_chosen, noise_chosen) - err(predicted_rejected, noise_rejected)
    ref_diff = err(reference_chosen, noise_chosen) - err(reference_rejected, noise_rejected)
    return -F.logsigmoid(-0.5 * beta * steps * weight * (model_diff - ref_diff)).mean()


@attempt("diffusion_dpo_loss", "one-noise-for-both")
def noise_of_the_winner(
    predicted_chosen,
    predicted_rejected,
    reference_chosen,
    reference_rejected,
    noise_chosen,
    noise_rejected,
    beta,
    steps,
    weight,
):
    noise = noise_chosen

    def err(p):
        return ((p - noise) ** 2).flatten(1).sum(1)

    w = err(predicted_chosen) - err(reference_chosen)
    l = err(predicted_rejected) - err(reference_rejected)
    return -F.logsigmoid(-beta * steps * weight * (w - l)).mean()


@attempt("diffusion_dpo_loss", "steps-left-out")
def t_is_forgotten(
    predicted_chosen,
    predicted_rejected,
    reference_chosen,
    reference_rejected,
    noise_chosen,
    noise_rejected,
    beta,
    steps,
    weight,
):
    def err(p, n):
        return ((n - p) ** 2).flatten(1).sum(1)

    w = err(predicted_chosen, noise_chosen) - err(reference_chosen, noise_chosen)
    l = err(predicted_rejected, noise_rejected) - err(reference_rejected, noise_rejected)
    return F.softplus(beta * weight * (w - l)).mean()


@attempt("diffusion_dpo_loss", "weight-left-out")
def omega_is_constant_anyway(
    predicted_chosen,
    predicted_rejected,
    reference_chosen,
    reference_rejected,
    noise_chosen,
    noise_rejected,
    beta,
    steps,
    weight,
):
    def err(p, n):
        return ((n - p) ** 2).flatten(1).sum(1)

    w = err(predicted_chosen, noise_chosen) - err(reference_chosen, noise_chosen)
    l = err(predicted_rejected, noise_rejected) - err(reference_rejected, noise_rejected)
    return -F.logsigmoid(-beta * steps * (w - l)).mean()


@attempt("diffusion_dpo_loss", "mean-inside")
def sigmoid_of_the_batch_mean(
    predicted_chosen,
    predicted_rejected,
    reference_chosen,
    reference_rejected,
    noise_chosen,
    noise_rejected,
    beta,
    steps,
    weight,
):
    def err(p, n):
        return ((n - p) ** 2).flatten(1).sum(1)

    w = err(predicted_chosen, noise_chosen) - err(reference_chosen, noise_chosen)
    l = err(predicted_rejected, noise_rejected) - err(reference_rejected, noise_rejected)
    inside = -beta * steps * weight * (w - l).mean()
    return -F.logsigmoid(inside)


@attempt("diffusion_dpo_loss", "not-squared")
def norm_without_the_square(
    predicted_chosen,
    predicted_rejected,
    reference_chosen,
    reference_rejected,
    noise_chosen,
    noise_rejected,
    beta,
    steps,
    weight,
):
    def err(p, n):
        return torch.linalg.vector_norm((n - p).flatten(1), dim=1)

    w = err(predicted_chosen, noise_chosen) - err(reference_chosen, noise_chosen)
    l = err(predicted_rejected, noise_rejected) - err(reference_rejected, noise_rejected)
    return -F.logsigmoid(-beta * steps * weight * (w - l)).mean()


@attempt("diffusion_dpo_loss", "reference-ignored")
def no_frozen_copy(
    predicted_chosen,
    predicted_rejected,
    reference_chosen,
    reference_rejected,
    noise_chosen,
    noise_rejected,
    beta,
    steps,
    weight,
):
    w = ((noise_chosen - predicted_chosen) ** 2).flatten(1).sum(1)
    l = ((noise_rejected - predicted_rejected) ** 2).flatten(1).sum(1)
    return -F.logsigmoid(-beta * steps * weight * (w - l)).mean()


@attempt("diffusion_dpo_loss", "reference-for-noise")
def distance_to_the_reference(
    predicted_chosen,
    predicted_rejected,
    reference_chosen,
    reference_rejected,
    noise_chosen,
    noise_rejected,
    beta,
    steps,
    weight,
):
    w = ((predicted_chosen - reference_chosen) ** 2).flatten(1).sum(1)
    l = ((predicted_rejected - reference_rejected) ** 2).flatten(1).sum(1)
    return -F.logsigmoid(-beta * steps * weight * (w - l)).mean()


@attempt("diffusion_dpo_loss", "log-of-sigmoid")
def torch_log_sigmoid(
    predicted_chosen,
    predicted_rejected,
    reference_chosen,
    reference_rejected,
    noise_chosen,
    noise_rejected,
    beta,
    steps,
    weight,
):
    def err(p, n):
        return ((n - p) ** 2).flatten(1).sum(1)

    w = err(predicted_chosen, noise_chosen) - err(reference_chosen, noise_chosen)
    l = err(predicted_rejected, noise_rejected) - err(reference_rejected, noise_rejected)
    return -torch.log(torch.sigmoid(-beta * steps * weight * (w - l))).mean()


@attempt("diffusion_dpo_loss", "everything-in-one-sum")
def f_mse_loss(
    predicted_chosen,
    predicted_rejected,
    reference_chosen,
    reference_rejected,
    noise_chosen,
    noise_rejected,
    beta,
    steps,
    weight,
):
    w = F.mse_loss(predicted_chosen, noise_chosen, reduction="sum")
    l = F.mse_loss(predicted_rejected, noise_rejected, reduction="sum")
    rw = F.mse_loss(reference_chosen, noise_chosen, reduction="sum")
    rl = F.mse_loss(reference_rejected, noise_rejected, reduction="sum")
    return -F.logsigmoid(-beta * steps * weight * ((w - rw) - (l - rl)))


@attempt("diffusion_dpo_loss", "axes-of-pictures-alone")
def sums_over_channels_height_width(
    predicted_chosen,
    predicted_rejected,
    reference_chosen,
    reference_rejected,
    noise_chosen,
    noise_rejected,
    beta,
    steps,
    weight,
):
    def err(p, n):
        return (p - n).pow(2).sum(dim=[1, 2, 3])

    w = err(predicted_chosen, noise_chosen) - err(reference_chosen, noise_chosen)
    l = err(predicted_rejected, noise_rejected) - err(reference_rejected, noise_rejected)
    return -F.logsigmoid(-beta * steps * weight * (w - l)).mean()


@attempt("diffusion_dpo_loss", "beta-of-the-code")
def formula_of_the_repository(
    predicted_chosen,
    predicted_rejected,
    reference_chosen,
    reference_rejected,
    noise_chosen,
    noise_rejected,
    beta,
    steps,
    weight,
):
    def err(p, n):
        return (p - n).pow(2).flatten(1).mean(1)

    model_diff = err(predicted_chosen, noise_chosen) - err(predicted_rejected, noise_rejected)
    ref_diff = err(reference_chosen, noise_chosen) - err(reference_rejected, noise_rejected)
    scale_term = -0.5 * beta * steps * weight
    return -1 * F.logsigmoid(scale_term * (model_diff - ref_diff)).mean()
