"""Wrong answers to the preference exercises on sampling and policies; see learner_attempts.py."""

import torch
from learner_attempts import Attempt

ATTEMPTS: list[Attempt] = []


def attempt(exercise: str, *mistakes: str):
    def keep(function):
        ATTEMPTS.append(Attempt(f"preference.{exercise}", mistakes, function))
        return function

    return keep


# --- kl_estimators -------------------------------------------------------------------------------


@attempt("kl_estimators", "ratio-upside-down")
def ratio_of_ppo(policy, reference):
    """The ratio of policy to reference, as everywhere else."""
    logratio = policy - reference
    ratio = logratio.exp()
    k1 = logratio
    k2 = logratio**2 / 2
    k3 = (ratio - 1) - logratio
    return k1, k2, k3


@attempt("kl_estimators", "k1-turned-round")
def schulmans_logr(policy, reference):
    """logr = log p − log q, as the blog post has it, and k1 is logr."""
    logr = reference - policy
    return logr, logr.pow(2) / 2, (logr.exp() - 1) - logr


@attempt("kl_estimators", "half-forgotten")
def square_without_a_half(policy, reference):
    k1 = policy - reference
    k2 = k1.square()
    k3 = torch.exp(-k1) - 1 + k1
    return k1, k2, k3


@attempt("kl_estimators", "averaged")
def three_numbers(policy, reference):
    d = policy - reference
    k3 = torch.exp(-d) + d - 1
    return d.mean(), (d**2 / 2).mean(), k3.mean()


@attempt("kl_estimators", "weighed-by-the-policy")
def formula_of_kl(policy, reference):
    """KL = sum p (log p − log q)."""
    p = policy.exp()
    d = policy - reference
    return p * d, p * d**2 / 2, p * ((-d).exp() - 1 + d)


@attempt("kl_estimators", "logarithm-taken-again")
def arguments_are_probabilities(policy, reference):
    logr = torch.log(reference / policy)
    return -logr, 0.5 * logr**2, torch.exp(logr) - 1 - logr


@attempt("kl_estimators", "k3-sign-inside")
def plus_for_minus(policy, reference):
    logr = reference - policy
    k3 = logr.exp() - 1 + logr
    return -logr, 0.5 * logr**2, k3


@attempt("kl_estimators", "one-not-subtracted")
def no_minus_one(policy, reference):
    logr = reference - policy
    return -logr, logr**2 / 2, torch.exp(logr) - logr


@attempt("kl_estimators", "without-gradient")
@torch.no_grad()
def decorated(policy, reference):
    d = policy - reference
    return d, d.pow(2).div(2), torch.expm1(-d) + d


@attempt("kl_estimators", "without-gradient")
def detached_policy(policy, reference):
    d = policy.detach() - reference
    return d, d * d / 2, (-d).exp() - 1 + d


@attempt("kl_estimators", "k1-made-positive")
def distance_is_positive(policy, reference):
    d = policy - reference
    return d.abs(), d.square() / 2, torch.exp(-d) - 1 + d


@attempt("kl_estimators", "half-forgotten", "ratio-upside-down")
def square_and_ratio(policy, reference):
    log_ratio = policy - reference
    return log_ratio, log_ratio**2, log_ratio.exp() - 1 - log_ratio


@attempt("kl_estimators", "k2-of-the-ratio")
def squares_the_ratio_minus_one(policy, reference):
    r = torch.exp(reference - policy)
    return -r.log(), 0.5 * (r - 1) ** 2, r - 1 - r.log()


@attempt("kl_estimators", "averaged")
def summed_over_the_answer(policy, reference):
    delta = policy - reference
    k3 = (-delta).exp() - 1 + delta
    return delta.sum(), delta.pow(2).sum() / 2, k3.sum()


@attempt("kl_estimators", "not-three")
def grpo_needs_k3_alone(policy, reference):
    return torch.exp(reference - policy) - (reference - policy) - 1


@attempt("kl_estimators", "ratio-detached")
def ratio_held_fixed(policy, reference):
    log_r = reference - policy
    r = log_r.exp().detach()
    return -log_r, 0.5 * log_r**2, r - 1 - log_r


@attempt("kl_estimators", "models-swapped", "half-forgotten")
def kl_of_the_reference(policy, reference):
    d = reference - policy
    return d, d * d, torch.exp(-d) - 1 + d


@attempt("kl_estimators", "without-gradient")
def squared_part_only_watched(policy, reference):
    """k2 is for the log, so no gradient."""
    log_r = reference - policy
    with torch.no_grad():
        k2 = log_r**2 / 2
    return -log_r, k2, torch.exp(log_r) - 1 - log_r


# --- gae -----------------------------------------------------------------------------------------


@attempt("gae", "done-ignored")
def without_dones(rewards, values, done, gamma, lam):
    T = rewards.shape[1]
    advantages = torch.zeros_like(rewards)
    last = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(T)):
        delta = rewards[:, t] + gamma * values[:, t + 1] - values[:, t]
        last = delta + gamma * lam * last
        advantages[:, t] = last
    return advantages, advantages + values[:, :-1]


@attempt("gae", "carry-not-cut")
def done_in_delta_alone(rewards, values, done, gamma, lam):
    not_done = 1.0 - done.to(rewards.dtype)
    delta = rewards + gamma * values[:, 1:] * not_done - values[:, :-1]
    out, running = [], 0.0
    for t in range(rewards.size(1) - 1, -1, -1):
        running = delta[:, t] + gamma * lam * running
        out.insert(0, running)
    adv = torch.stack(out, dim=1)
    return adv, adv + values[:, :-1]


@attempt("gae", "bootstrap-not-cut")
def done_in_the_carry_alone(rewards, values, done, gamma, lam):
    mask = (~done).to(rewards.dtype)
    advantages = torch.empty_like(rewards)
    gae = torch.zeros(rewards.shape[0], dtype=rewards.dtype)
    for t in range(rewards.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * values[:, t + 1] - values[:, t]
        gae = delta + gamma * lam * mask[:, t] * gae
        advantages[:, t] = gae
    return advantages, advantages + values[:, : rewards.shape[1]]


@attempt("gae", "done-a-step-late")
def done_of_the_next_step(rewards, values, done, gamma, lam):
    """As in code whose dones[t] say that observation t begins an episode."""
    B, T = rewards.shape
    advantages = torch.zeros_like(rewards)
    lastgaelam = 0
    for t in reversed(range(T)):
        if t == T - 1:
            nextnonterminal = torch.ones(B, dtype=rewards.dtype)
        else:
            nextnonterminal = 1.0 - done[:, t + 1].to(rewards.dtype)
        delta = rewards[:, t] + gamma * values[:, t + 1] * nextnonterminal - values[:, t]
        lastgaelam = delta + gamma * lam * nextnonterminal * lastgaelam
        advantages[:, t] = lastgaelam
    return advantages, advantages + values[:, :T]


@attempt("gae", "last-value-ignored")
def nothing_after_the_last(rewards, values, done, gamma, lam):
    T = rewards.shape[1]
    advantages_reversed, lastgaelam = [], 0
    for t in reversed(range(T)):
        nextvalues = values[:, t + 1] if t < T - 1 else 0.0
        keep = (~done[:, t]).to(rewards.dtype)
        delta = rewards[:, t] + gamma * nextvalues * keep - values[:, t]
        lastgaelam = delta + gamma * lam * keep * lastgaelam
        advantages_reversed.append(lastgaelam)
    advantages = torch.stack(advantages_reversed[::-1], dim=1)
    return advantages, advantages + values[:, :T]


@attempt("gae", "gamma-missing-in-the-carry")
def lambda_alone(rewards, values, done, gamma, lam):
    keep = 1 - done.to(rewards.dtype)
    delta = rewards + gamma * keep * values[:, 1:] - values[:, :-1]
    adv = delta.clone()
    for t in range(adv.shape[1] - 2, -1, -1):
        adv[:, t] = delta[:, t] + lam * keep[:, t] * adv[:, t + 1]
    return adv, adv + values[:, :-1]


@attempt("gae", "lambda-missing")
def one_lambda_too_few(rewards, values, done, gamma, lam):
    keep = 1 - done.to(rewards.dtype)
    adv = torch.zeros_like(rewards)
    carry = torch.zeros_like(rewards[:, 0])
    for t in range(rewards.shape[1])[::-1]:
        delta = rewards[:, t] + gamma * values[:, t + 1] * keep[:, t] - values[:, t]
        carry = delta + gamma * carry * keep[:, t]
        adv[:, t] = carry
    return adv, adv + values[:, :-1]


@attempt("gae", "returns-are-rewards-to-go")
def returns_summed_apart(rewards, values, done, gamma, lam):
    T = rewards.shape[1]
    keep = (~done).to(rewards.dtype)
    adv, ret = torch.zeros_like(rewards), torch.zeros_like(rewards)
    a = 0.0
    g = values[:, T]
    for t in reversed(range(T)):
        delta = rewards[:, t] + gamma * values[:, t + 1] * keep[:, t] - values[:, t]
        a = delta + gamma * lam * keep[:, t] * a
        g = rewards[:, t] + gamma * keep[:, t] * g
        adv[:, t], ret[:, t] = a, g
    return adv, ret


@attempt("gae", "values-of-the-next-step")
def returns_with_shifted_values(rewards, values, done, gamma, lam):
    T = rewards.shape[1]
    keep = (~done).to(rewards.dtype)
    deltas = rewards + gamma * values[:, 1:] * keep - values[:, :-1]
    adv = [None] * T
    after = 0
    for t in reversed(range(T)):
        after = deltas[:, t] + gamma * lam * keep[:, t] * after
        adv[t] = after
    adv = torch.stack(adv, 1)
    return adv, adv + values[:, 1:]


@attempt("gae", "advantages-normalised")
def whitened(rewards, values, done, gamma, lam):
    T = rewards.shape[1]
    keep = (~done).to(rewards.dtype)
    adv = torch.zeros_like(rewards)
    last = 0
    for t in reversed(range(T)):
        delta = rewards[:, t] + gamma * keep[:, t] * values[:, t + 1] - values[:, t]
        last = delta + gamma * lam * keep[:, t] * last
        adv[:, t] = last
    returns = adv + values[:, :-1]
    return (adv - adv.mean()) / (adv.std() + 1e-8), returns


@attempt("gae", "forwards")
def loops_forwards(rewards, values, done, gamma, lam):
    keep = (~done).to(rewards.dtype)
    last = torch.zeros_like(rewards[:, 0])
    out = []
    for t in range(rewards.shape[1]):
        delta = rewards[:, t] + gamma * keep[:, t] * values[:, t + 1] - values[:, t]
        last = delta + gamma * lam * keep[:, t] * last
        out.append(last)
    advantages = torch.stack(out, dim=1)
    return advantages, advantages + values[:, :-1]


@attempt("gae", "done-inverted")
def multiplies_by_done(rewards, values, done, gamma, lam):
    d = done.to(rewards.dtype)
    adv = torch.zeros_like(rewards)
    last = 0
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * values[:, t + 1] * d[:, t] - values[:, t]
        last = delta + gamma * lam * d[:, t] * last
        adv[:, t] = last
    return adv, adv + values[:, :-1]


@attempt("gae", "whole-row-cut")
def one_done_for_all(rewards, values, done, gamma, lam):
    """`if done` asks about the whole column."""
    adv = torch.zeros_like(rewards)
    last = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        if done[:, t].any():
            delta = rewards[:, t] - values[:, t]
            last = delta
        else:
            delta = rewards[:, t] + gamma * values[:, t + 1] - values[:, t]
            last = delta + gamma * lam * last
        adv[:, t] = last
    return adv, adv + values[:, :-1]


@attempt("gae", "value-not-subtracted")
def no_baseline(rewards, values, done, gamma, lam):
    cont = (~done).double().to(rewards.dtype)
    targets = rewards + gamma * cont * values[:, 1:]
    A = torch.zeros_like(rewards)
    running = torch.zeros_like(rewards[:, 0])
    for t in range(rewards.shape[1] - 1, -1, -1):
        running = targets[:, t] + gamma * lam * cont[:, t] * running
        A[:, t] = running
    return A, A + values[:, :-1]


@attempt("gae", "not-accumulated")
def td_errors(rewards, values, done, gamma, lam):
    nxt = values[:, 1:].masked_fill(done, 0.0)
    adv = rewards + gamma * nxt - values[:, :-1]
    return adv, adv + values[:, :-1]


@attempt("gae", "not-put-back")
def appended_and_stacked(rewards, values, done, gamma, lam):
    acc, out = 0.0, []
    for t in reversed(range(rewards.shape[1])):
        live = (~done[:, t]).to(rewards.dtype)
        delta = rewards[:, t] + gamma * live * values[:, t + 1] - values[:, t]
        acc = delta + gamma * lam * live * acc
        out.append(acc)
    adv = torch.stack(out, dim=1)
    return adv, adv + values[:, :-1]


@attempt("gae", "nothing-after-the-first-end")
def masked_after_the_first_done(rewards, values, done, gamma, lam):
    alive = (done.long().cumsum(dim=1) == 0).to(rewards.dtype)
    delta = rewards + gamma * alive * values[:, 1:] - values[:, :-1]
    adv, carry = torch.zeros_like(delta), 0.0
    for t in reversed(range(delta.shape[1])):
        carry = delta[:, t] + gamma * lam * alive[:, t] * carry
        adv[:, t] = carry
    return adv, adv + values[:, :-1]


@attempt("gae", "last-value-ignored", "done-ignored")
def plain_text_of_one_answer(rewards, values, done, gamma, lam):
    """As for one answer that always ends."""
    T = rewards.shape[1]
    adv, last = torch.zeros_like(rewards), 0.0
    for t in reversed(range(T)):
        v_next = values[:, t + 1] if t + 1 < T else torch.zeros_like(values[:, 0])
        last = rewards[:, t] + gamma * v_next - values[:, t] + gamma * lam * last
        adv[:, t] = last
    return adv, adv + values[:, :T]


@attempt("gae", "nothing-after-the-first-end")
def rest_is_padding(rewards, values, done, gamma, lam):
    B, T = rewards.shape
    out = torch.zeros_like(rewards)
    returns = torch.zeros_like(rewards)
    for b in range(B):
        ends = done[b].nonzero().flatten()
        last = int(ends[0]) if len(ends) else T - 1
        carry = 0.0
        for t in range(last, -1, -1):
            after = 0.0 if done[b, t] else values[b, t + 1]
            carry = rewards[b, t] + gamma * after - values[b, t] + gamma * lam * carry
            out[b, t] = carry
            returns[b, t] = carry + values[b, t]
    return out, returns


# --- group_advantages ----------------------------------------------------------------------------


@attempt("group_advantages", "batch-for-group")
def normalised_over_the_batch(rewards, group_size, eps, scale):
    adv = rewards - rewards.mean()
    if scale:
        adv = adv / (rewards.std() + eps)
    return adv


@attempt("group_advantages", "std-of-the-batch")
def whiten_after_centring(rewards, group_size, eps, scale):
    groups = rewards.view(-1, group_size)
    adv = (groups - groups.mean(dim=1, keepdim=True)).view(-1)
    return adv / (rewards.std() + eps) if scale else adv


@attempt("group_advantages", "biased-std")
def population_std(rewards, group_size, eps, scale):
    g = rewards.reshape(-1, group_size)
    a = g - g.mean(1, keepdim=True)
    if scale:
        a = a / (g.std(1, keepdim=True, unbiased=False) + eps)
    return a.flatten()


@attempt("group_advantages", "wrong-reshape")
def group_size_first(rewards, group_size, eps, scale):
    g = rewards.view(group_size, -1)
    a = g - g.mean(dim=0)
    if scale:
        a = a / (g.std(dim=0) + eps)
    return a.reshape(-1)


@attempt("group_advantages", "scale-ignored")
def always_divided(rewards, group_size, eps, scale=True):
    g = rewards.view(-1, group_size)
    mean, std = g.mean(-1, keepdim=True), g.std(-1, keepdim=True)
    return ((g - mean) / (std + eps)).view(-1)


@attempt("group_advantages", "eps-forgotten")
def no_epsilon(rewards, group_size, eps, scale):
    g = rewards.view(-1, group_size)
    adv = g - g.mean(dim=1, keepdim=True)
    if scale:
        adv /= g.std(dim=1, keepdim=True)
    return adv.view(-1)


@attempt("group_advantages", "eps-under-the-root")
def like_layer_norm(rewards, group_size, eps, scale):
    g = rewards.view(-1, group_size)
    centred = g - g.mean(dim=1, keepdim=True)
    if scale:
        centred = centred * torch.rsqrt(g.var(dim=1, keepdim=True) + eps)
    return centred.view(-1)


@attempt("group_advantages", "variance-for-std")
def divided_by_the_variance(rewards, group_size, eps, scale):
    g = rewards.view(-1, group_size)
    centred = g - g.mean(dim=1, keepdim=True)
    return (centred / (g.var(dim=1, keepdim=True) + eps) if scale else centred).view(-1)


@attempt("group_advantages", "groups-kept-apart")
def forgets_to_flatten(rewards, group_size, eps, scale):
    g = rewards.view(-1, group_size)
    a = g - g.mean(dim=1, keepdim=True)
    if scale:
        a = a / (g.std(dim=1, keepdim=True) + eps)
    return a


@attempt("group_advantages", "mean-left-in")
def scaled_not_centred(rewards, group_size, eps, scale):
    g = rewards.view(-1, group_size)
    return (g / (g.std(dim=1, keepdim=True) + eps) if scale else g).flatten()


@attempt("group_advantages", "mean-of-the-others")
def leave_one_out(rewards, group_size, eps, scale):
    g = rewards.view(-1, group_size)
    baseline = (g.sum(dim=1, keepdim=True) - g) / (group_size - 1)
    a = g - baseline
    if scale:
        a = a / (g.std(dim=1, keepdim=True) + eps)
    return a.flatten()


@attempt("group_advantages", "scale-inverted")
def no_std_when_scale(rewards, group_size, eps, scale):
    g = rewards.view(-1, group_size)
    a = g - g.mean(dim=1, keepdim=True)
    if not scale:
        a = a / (g.std(dim=1, keepdim=True) + eps)
    return a.flatten()


@attempt("group_advantages", "batch-for-group")
def whitened_batch(rewards, group_size, eps, scale):
    m = torch.mean(rewards)
    return (rewards - m) / (torch.std(rewards) + eps) if scale else rewards - m


@attempt("group_advantages", "groups-kept-apart", "biased-std")
def numpy_habit(rewards, group_size, eps, scale):
    r = rewards.reshape(len(rewards) // group_size, group_size)
    adv = r - r.mean(dim=-1, keepdim=True)
    if scale:
        adv = adv / (torch.sqrt((adv**2).mean(dim=-1, keepdim=True)) + eps)
    return adv


@attempt("group_advantages", "eps-forgotten")
def where_the_std_is_zero(rewards, group_size, eps, scale):
    out = []
    for g in rewards.split(group_size):
        a = g - g.mean()
        if scale and g.std() > 0:
            a = a / g.std()
        out.append(a)
    return torch.cat(out)


@attempt("group_advantages", "mean-of-the-batch")
def global_baseline(rewards, group_size, eps, scale):
    std = rewards.view(-1, group_size).std(dim=1).repeat_interleave(group_size)
    adv = rewards - rewards.mean()
    return adv / (std + eps) if scale else adv


@attempt("group_advantages", "eps-without-scale")
def divided_by_one_and_eps(rewards, group_size, eps, scale):
    g = rewards.reshape(-1, group_size)
    std = g.std(dim=1, keepdim=True) if scale else torch.ones_like(g[:, :1])
    return ((g - g.mean(dim=1, keepdim=True)) / (std + eps)).reshape(-1)


@attempt("group_advantages", "eps-fixed")
def eps_of_trl(rewards, group_size, eps, scale):
    g = rewards.reshape(-1, group_size)
    a = g - g.mean(dim=1, keepdim=True)
    if scale:
        a /= g.std(dim=1, keepdim=True) + 1e-4
    return a.reshape(-1)


# --- clipped_surrogate ---------------------------------------------------------------------------


@attempt("clipped_surrogate", "sign-forgotten")
def objective_for_loss(new, old, advantages, low, high):
    old, advantages = old.detach(), advantages.detach()
    ratio = (new - old).exp()
    return torch.min(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)


@attempt("clipped_surrogate", "max-for-min")
def minus_of_the_larger(new, old, advantages, low, high):
    old, advantages = old.detach(), advantages.detach()
    ratio = torch.exp(new - old)
    unclipped = ratio * advantages
    clipped = torch.clamp(ratio, 1 - low, 1 + high) * advantages
    return -torch.max(unclipped, clipped)


@attempt("clipped_surrogate", "max-for-min", "others-learn-too")
def min_of_the_losses(new, old, advantages, low, high):
    """PPO code takes the maximum where both terms have their minus already."""
    ratio = torch.exp(new - old)
    pg_loss1 = -advantages * ratio
    pg_loss2 = -advantages * torch.clamp(ratio, 1 - low, 1 + high)
    return torch.min(pg_loss1, pg_loss2)


@attempt("clipped_surrogate", "clip-alone", "others-learn-too")
def no_minimum(new, old, advantages, low, high):
    r = torch.exp(new - old)
    return -torch.clamp(r, 1.0 - low, 1.0 + high) * advantages


@attempt("clipped_surrogate", "minimum-of-the-ratios")
def min_before_the_product(new, old, advantages, low, high):
    old, advantages = old.detach(), advantages.detach()
    r = torch.exp(new - old)
    return -torch.min(r, r.clamp(1 - low, 1 + high)) * advantages


@attempt("clipped_surrogate", "not-clipped", "others-learn-too")
def plain_importance_sampling(new, old, advantages, low, high):
    return -(new - old).exp() * advantages


@attempt("clipped_surrogate", "bounds-swapped")
def high_below(new, old, advantages, low, high):
    old, advantages = old.detach(), advantages.detach()
    ratio = torch.exp(new - old)
    surr1 = ratio * advantages
    surr2 = torch.clamp(ratio, 1 - high, 1 + low) * advantages
    return -torch.min(surr1, surr2)


@attempt("clipped_surrogate", "one-bound-for-both", "others-learn-too")
def one_epsilon(new, old, advantages, low, high):
    eps = low
    ratio = torch.exp(new - old)
    return -torch.minimum(ratio * advantages, ratio.clip(1 - eps, 1 + eps) * advantages)


@attempt("clipped_surrogate", "ratio-upside-down")
def old_over_new(new, old, advantages, low, high):
    old, advantages = old.detach(), advantages.detach()
    ratio = torch.exp(old - new)
    return -torch.minimum(ratio * advantages, ratio.clip(1 - low, 1 + high) * advantages)


@attempt("clipped_surrogate", "ratio-always-one")
def open_r1_line(new, old, advantages, low, high):
    old, advantages = old.detach(), advantages.detach()
    ratio = torch.exp(new - new.detach())
    clipped = torch.clamp(ratio, 1 - low, 1 + high)
    return -torch.min(ratio * advantages, clipped * advantages)


@attempt("clipped_surrogate", "exp-forgotten", "others-learn-too")
def difference_as_ratio(new, old, advantages, low, high):
    ratio = new - old
    return -torch.min(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)


@attempt("clipped_surrogate", "averaged")
def mean_at_the_end(new, old, advantages, low, high):
    old, advantages = old.detach(), advantages.detach()
    ratio = torch.exp(new - old)
    clipped = torch.clamp(ratio, 1 - low, 1 + high)
    return -torch.min(ratio * advantages, clipped * advantages).mean()


@attempt("clipped_surrogate", "without-gradient")
def ratio_under_no_grad(new, old, advantages, low, high):
    with torch.no_grad():
        ratio = torch.exp(new - old)
    clipped = torch.clamp(ratio, 1 - low, 1 + high)
    return -torch.min(ratio * advantages.detach(), clipped * advantages.detach())


@attempt("clipped_surrogate", "logarithm-clipped")
def clamps_the_difference(new, old, advantages, low, high):
    old, advantages = old.detach(), advantages.detach()
    log_ratio = new - old
    clipped = torch.exp(torch.clamp(log_ratio, -low, high))
    return -torch.min(log_ratio.exp() * advantages, clipped * advantages)


@attempt("clipped_surrogate", "ratio-of-the-answer")
def gspo_ratio(new, old, advantages, low, high):
    old, advantages = old.detach(), advantages.detach()
    log_ratio = (new - old).mean(dim=-1, keepdim=True)
    ratio = log_ratio.exp()
    return -torch.min(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)


@attempt("clipped_surrogate", "others-learn-too")
def right_but_for_the_detach(new, old, advantages, low, high):
    ratio = torch.exp(new - old)
    clipped = torch.clamp(ratio, 1 - low, 1 + high)
    return -torch.min(ratio * advantages, clipped * advantages)


@attempt("clipped_surrogate", "others-learn-too")
def detaches_old_alone(new, old, advantages, low, high):
    ratio = torch.exp(new - old.detach())
    return torch.max(-advantages * ratio, -advantages * ratio.clamp(1 - low, 1 + high))


@attempt("clipped_surrogate", "one-side-alone")
def only_the_upper_clip(new, old, advantages, low, high):
    A = advantages.detach()
    r = (new - old.detach()).exp()
    return -torch.min(r * A, torch.clamp(r, max=1 + high) * A)


@attempt("clipped_surrogate", "sign-forgotten")
def minus_twice(new, old, advantages, low, high):
    A = advantages.detach()
    r = (new - old.detach()).exp()
    l1, l2 = -A * r, -A * r.clamp(1 - low, 1 + high)
    return -torch.max(l1, l2)


@attempt("clipped_surrogate", "averaged", "one-bound-for-both")
def ppo_from_memory(new, old, advantages, low, high):
    adv = advantages.detach()
    ratio = torch.exp(new - old.detach())
    return -torch.min(ratio * adv, torch.clamp(ratio, 1 - low, 1 + low) * adv).mean()


@attempt("clipped_surrogate", "clip-alone", "bounds-swapped")
def clip_with_swapped_bounds(new, old, advantages, low, high):
    ratio = torch.exp(new - old.detach())
    return -ratio.clamp(1 - high, 1 + low) * advantages.detach()


@attempt("clipped_surrogate", "old-ignored")
def probability_in_place_of_the_ratio(new, old, advantages, low, high):
    p = torch.exp(new)
    A = advantages.detach()
    return -torch.minimum(p * A, p.clamp(1 - low, 1 + high) * A)


@attempt("clipped_surrogate", "dual-clip")
def as_in_verl_with_clip_ratio_c(new, old, advantages, low, high):
    advantages = advantages.detach()
    ratio = torch.exp(new - old.detach())
    first = -advantages * ratio
    second = -advantages * torch.clamp(ratio, 1 - low, 1 + high)
    clipped = torch.maximum(first, second)
    return torch.where(advantages < 0, torch.min(-advantages * 3.0, clipped), clipped)


@attempt("clipped_surrogate", "dual-clip")
def ratio_never_above_ten(new, old, advantages, low, high):
    a = advantages.detach()
    ratio = torch.exp(new - old.detach()).clamp(max=10)
    return -torch.min(ratio * a, ratio.clamp(1 - low, 1 + high) * a)


@attempt("clipped_surrogate", "ratio-capped")
def difference_held(new, old, advantages, low, high):
    a = advantages.detach()
    ratio = torch.exp(torch.clamp(new - old.detach(), min=-1.5, max=1.5))
    return torch.max(-ratio * a, -ratio.clamp(1 - low, 1 + high) * a)


# --- aggregate_loss ------------------------------------------------------------------------------


@attempt("aggregate_loss", "mean-over-places")
def mask_then_mean(losses, mask, how, length):
    x = torch.where(mask, losses, 0.0)
    if how == "sequence":
        return x.mean(dim=1).mean()
    if how == "token":
        return x.mean()
    return x.sum() / (x.shape[0] * length)


@attempt("aggregate_loss", "token-is-mean-of-means")
def both_the_same(losses, mask, how, length):
    x = losses.masked_fill(~mask, 0)
    n = mask.sum(dim=1).clamp(min=1)
    if how in ("sequence", "token"):
        return (x.sum(1) / n).mean()
    return x.sum() / (len(x) * length)


@attempt("aggregate_loss", "empty-answer-left-out")
def drops_empty_rows(losses, mask, how, length):
    if not mask.any():
        return losses.masked_fill(~mask, 0).sum()
    if how == "sequence":
        rows = [row[m].mean() for row, m in zip(losses, mask, strict=True) if m.any()]
        return torch.stack(rows).mean()
    if how == "token":
        return losses[mask].mean()
    return losses[mask].sum() / (losses.shape[0] * length)


@attempt("aggregate_loss", "empty-is-nan")
def divides_by_zero(losses, mask, how, length):
    x = losses.masked_fill(~mask, 0.0)
    if how == "sequence":
        return (x.sum(-1) / mask.sum(-1)).mean()
    if how == "token":
        return x.sum() / mask.sum()
    return x.sum() / (x.size(0) * length)


@attempt("aggregate_loss", "masked-by-multiplying")
def times_the_mask(losses, mask, how, length):
    m = mask.to(losses.dtype)
    if how == "sequence":
        return ((losses * m).sum(-1) / m.sum(-1).clamp(min=1.0)).mean()
    if how == "token":
        return (losses * m).sum() / m.sum().clamp(min=1.0)
    return (losses * m).sum() / (losses.size(0) * length)


@attempt("aggregate_loss", "constant-without-the-answers")
def constant_is_the_length(losses, mask, how, length):
    x = losses.masked_fill(~mask, 0)
    if how == "sequence":
        return (x.sum(-1) / mask.sum(-1).clamp(min=1)).mean()
    if how == "token":
        return x.sum() / mask.sum().clamp(min=1)
    return x.sum() / length


@attempt("aggregate_loss", "width-for-length")
def constant_is_the_batchs_width(losses, mask, how, length):
    x = torch.where(mask, losses, torch.zeros_like(losses))
    if how == "sequence":
        return (x.sum(-1) / mask.sum(-1).clamp(min=1)).mean()
    if how == "token":
        return x.sum() / mask.sum().clamp(min=1)
    B, T = losses.shape
    return x.sum() / (B * T)


@attempt("aggregate_loss", "mask-ignored")
def no_mask(losses, mask, how, length):
    if how == "sequence":
        return losses.mean(dim=-1).mean()
    if how == "token":
        return losses.mean()
    return losses.sum() / (losses.size(0) * length)


@attempt("aggregate_loss", "summed")
def answers_summed(losses, mask, how, length):
    x = losses.masked_fill(~mask, 0)
    if how == "sequence":
        return (x.sum(-1) / mask.sum(-1).clamp(min=1)).sum()
    if how == "token":
        return x.sum() / mask.sum().clamp(min=1)
    return (x.sum(-1) / length).mean()


@attempt("aggregate_loss", "token-divided-by-answers")
def token_sum_over_answers(losses, mask, how, length):
    x = losses.masked_fill(~mask, 0)
    if how == "sequence":
        return (x.sum(-1) / mask.sum(-1).clamp(min=1)).mean()
    if how == "token":
        return x.sum() / losses.shape[0]
    return x.sum() / (losses.shape[0] * length)


@attempt("aggregate_loss", "sequence-and-token-swapped")
def names_swapped(losses, mask, how, length):
    x = losses.masked_fill(~mask, 0)
    per_answer = x.sum(-1) / mask.sum(-1).clamp(min=1)
    match how:
        case "token":
            return per_answer.mean()
        case "sequence":
            return x.sum() / mask.sum().clamp(min=1)
        case _:
            return x.sum() / (len(losses) * length)


@attempt("aggregate_loss", "empty-is-nan")
def boolean_indexing(losses, mask, how, length):
    """A mean of nothing is NaN; so is the mean of a list that holds one."""
    if how == "sequence":
        rows = []
        for i in range(losses.shape[0]):
            rows.append(losses[i, mask[i]].mean())
        return sum(rows) / len(rows)
    if how == "token":
        return losses[mask].mean()
    return losses[mask].sum() / (losses.shape[0] * length)


@attempt("aggregate_loss", "sequence-is-token")
def one_masked_mean(losses, mask, how, length):
    total = losses.masked_fill(~mask, 0.0).sum()
    if how == "constant":
        return total / (losses.shape[0] * length)
    return total / mask.sum().clamp(min=1)


@attempt("aggregate_loss", "longest-for-length")
def longest_answer_is_the_length(losses, mask, how, length):
    lens = mask.sum(dim=1)
    x = losses.masked_fill(~mask, 0.0)
    if how == "sequence":
        return (x.sum(1) / lens.clamp(min=1)).mean()
    if how == "token":
        return x.sum() / lens.sum().clamp(min=1)
    return x.sum() / (len(x) * lens.max())


@attempt("aggregate_loss", "masked-by-multiplying", "empty-is-nan")
def masked_mean_of_cs336(losses, mask, how, length):
    if how == "sequence":
        return ((losses * mask).sum(1) / mask.sum(1)).mean()
    if how == "token":
        return (losses * mask).sum() / mask.sum()
    return (losses * mask).sum() / (length * losses.shape[0])


@attempt("aggregate_loss", "token-divided-by-answers", "empty-is-nan")
def sum_over_len(losses, mask, how, length):
    x = torch.where(mask, losses, 0.0)
    if how == "sequence":
        return (x.sum(1) / mask.sum(1)).mean()
    if how == "token":
        return x.sum() / len(x)
    return x.sum() / (len(x) * length)


@attempt("aggregate_loss", "columns-for-rows")
def sums_over_dim_zero(losses, mask, how, length):
    x = torch.where(mask, losses, 0.0)
    if how == "sequence":
        return (x.sum(dim=0) / mask.sum(dim=0).clamp(min=1)).mean()
    if how == "token":
        return x.sum() / mask.sum().clamp(min=1)
    return x.sum() / (x.shape[0] * length)


@attempt("aggregate_loss", "masked-by-multiplying")
def numbers_made_of_nan(losses, mask, how, length):
    x = torch.where(losses.isnan(), torch.zeros_like(losses), losses) * mask
    n = mask.sum(1)
    if how == "sequence":
        return (x.sum(1) / n.clamp(min=1)).mean()
    if how == "token":
        return x.sum() / n.sum().clamp(min=1)
    return x.sum() / (x.shape[0] * length)


@attempt("aggregate_loss", "masked-by-multiplying")
def constant_multiplied(losses, mask, how, length):
    if how == "constant":
        return (losses * mask).sum() / (losses.size(0) * length)
    x = losses.masked_fill(~mask, 0.0)
    if how == "token":
        return x.sum() / mask.sum().clamp(min=1)
    return (x.sum(1) / mask.sum(1).clamp(min=1)).mean()


# --- dynamic_sampling ----------------------------------------------------------------------------


@attempt("dynamic_sampling", "by-the-rewards")
def std_is_not_zero(correct, rewards, wanted):
    keep = rewards.std(dim=1) > 0
    kept = keep.nonzero().squeeze(1)[:wanted]
    return kept, rewards[kept], wanted - len(kept)


@attempt("dynamic_sampling", "by-the-rewards")
def positive_rewards_are_right(correct, rewards, wanted):
    """The shaped reward of a right, overlong answer may be anything."""
    accuracy = (rewards > 0).to(torch.float32).mean(dim=1)
    kept = torch.where((accuracy > 0) & (accuracy < 1))[0][:wanted]
    return kept, rewards[kept], wanted - kept.shape[0]


@attempt("dynamic_sampling", "all-right-kept")
def drops_hopeless_only(correct, rewards, wanted):
    kept = correct.any(dim=1).nonzero().flatten()[:wanted]
    return kept, rewards[kept], wanted - len(kept)


@attempt("dynamic_sampling", "all-wrong-kept")
def drops_solved_only(correct, rewards, wanted):
    kept = [i for i in range(len(correct)) if not correct[i].all()][:wanted]
    kept = torch.tensor(kept, dtype=torch.int64)
    return kept, rewards[kept], wanted - len(kept)


@attempt("dynamic_sampling", "all-kept")
def all_or_nothing_or(correct, rewards, wanted):
    acc = correct.float().mean(dim=1)
    kept = torch.nonzero((acc > 0) | (acc < 1)).squeeze(-1)[:wanted]
    return kept, rewards[kept], wanted - kept.numel()


@attempt("dynamic_sampling", "wanted-ignored")
def all_that_are_mixed(correct, rewards, wanted):
    n = correct.sum(dim=1)
    kept = ((n > 0) & (n < correct.shape[1])).nonzero().squeeze(1)
    return kept, rewards[kept], max(0, wanted - len(kept))


@attempt("dynamic_sampling", "first-taken-before-the-choice")
def slices_first(correct, rewards, wanted):
    c, r = correct[:wanted], rewards[:wanted]
    acc = c.to(torch.float64).mean(1)
    kept = ((acc > 0) & (acc < 1)).nonzero().flatten()
    return kept, r[kept], wanted - len(kept)


@attempt("dynamic_sampling", "mask-for-indices")
def boolean_mask_returned(correct, rewards, wanted):
    keep = correct.any(1) & ~correct.all(1)
    keep = keep & (keep.cumsum(0) <= wanted)
    return keep, rewards[keep], wanted - int(keep.sum())


@attempt("dynamic_sampling", "missing-no-int")
def tensor_of_missing(correct, rewards, wanted):
    keep = correct.any(1) & ~correct.all(1)
    kept = keep.nonzero()[:, 0][:wanted]
    return kept, rewards[kept], wanted - keep.sum().clamp(max=wanted)


@attempt("dynamic_sampling", "missing-counts-the-dropped")
def how_many_were_dropped(correct, rewards, wanted):
    keep = correct.any(1) & ~correct.all(1)
    kept = keep.nonzero().squeeze(1)[:wanted]
    return kept, rewards[kept], len(correct) - len(kept)


@attempt("dynamic_sampling", "missing-negative")
def counts_before_it_cuts(correct, rewards, wanted):
    mixed = [q for q, row in enumerate(correct.tolist()) if 0 < sum(row) < len(row)]
    missing = wanted - len(mixed)
    kept = torch.tensor(mixed[:wanted], dtype=torch.long)
    return kept, rewards[kept], missing


@attempt("dynamic_sampling", "answers-dropped")
def only_the_right_answers(correct, rewards, wanted):
    keep = correct.any(1) & ~correct.all(1)
    kept = keep.nonzero().squeeze(1)[:wanted]
    return kept, rewards[kept][correct[kept]], wanted - len(kept)


@attempt("dynamic_sampling", "condition-inverted")
def keeps_what_teaches_nothing(correct, rewards, wanted):
    same = correct.all(dim=1) | (~correct).all(dim=1)
    kept = same.nonzero().squeeze(1)[:wanted]
    return kept, rewards[kept], wanted - len(kept)


@attempt("dynamic_sampling", "squeezed")
def nonzero_squeeze(correct, rewards, wanted):
    acc = correct.float().mean(1)
    kept = ((acc > 0) & (acc < 1)).nonzero().squeeze()
    kept = kept[:wanted]
    return kept, rewards[kept], wanted - len(kept)


@attempt("dynamic_sampling", "by-the-majority")
def half_right(correct, rewards, wanted):
    acc = correct.float().mean(1)
    kept = ((acc >= 0.5) & (acc < 1)).nonzero().flatten()[:wanted]
    return kept, rewards[kept], wanted - len(kept)


@attempt("dynamic_sampling", "missing-counted-wrongly")
def returns_how_many(correct, rewards, wanted):
    ok = correct.any(-1) & (~correct).any(-1)
    kept = torch.where(ok)[0][:wanted]
    return kept, rewards[kept], len(kept)


@attempt("dynamic_sampling", "by-the-rewards", "wanted-ignored")
def by_std_and_all(correct, rewards, wanted):
    keep = rewards.std(dim=1) > 1e-6
    kept = torch.arange(len(rewards))[keep]
    return kept, rewards[kept], max(0, wanted - len(kept))


@attempt("dynamic_sampling", "other-rewards")
def forgets_to_index(correct, rewards, wanted):
    kept = torch.tensor([q for q in range(len(correct)) if 0 < correct[q].sum() < correct.shape[1]])
    kept = kept[:wanted].long()
    return kept, rewards, wanted - len(kept)


@attempt("dynamic_sampling", "most-mixed-first")
def most_informative(correct, rewards, wanted):
    p = correct.float().mean(1)
    var = p * (1 - p)
    order = torch.argsort(var, descending=True)
    kept = order[var[order] > 0][:wanted]
    return kept, rewards[kept], wanted - len(kept)


@attempt("dynamic_sampling", "by-the-majority")
def between_five_and_ninety_five(correct, rewards, wanted):
    p = correct.float().mean(1)
    kept = ((p > 0.05) & (p < 0.95)).nonzero()[:, 0][:wanted]
    return kept, rewards[kept], wanted - len(kept)


# --- overlong_penalty ----------------------------------------------------------------------------


@attempt("overlong_penalty", "ramp-behind-the-limit")
def cache_comes_after(lengths, longest, cache):
    """As the README of a library words it."""
    over = (lengths - longest).to(torch.float32)
    return -(over / cache).clamp(0.0, 1.0)


@attempt("overlong_penalty", "not-bounded")
def verl_line(lengths, longest, cache):
    expected = longest - cache
    return torch.clamp(-(lengths - expected) / cache, max=0.0)


@attempt("overlong_penalty", "hard-limit-alone")
def minus_one_beyond(lengths, longest, cache):
    return torch.where(lengths >= longest, -1.0, 0.0)


@attempt("overlong_penalty", "hard-limit-alone")
def minus_one_from_the_ramp(lengths, longest, cache):
    return torch.where(lengths > longest - cache, -1.0, 0.0)


@attempt("overlong_penalty", "positive")
def sign_of_the_ramp(lengths, longest, cache):
    over = (lengths - (longest - cache)).float() / cache
    return over.clamp(min=0.0, max=1.0)


@attempt("overlong_penalty", "divided-by-the-limit")
def share_of_the_limit(lengths, longest, cache):
    start = longest - cache
    out = torch.zeros(len(lengths))
    for i, n in enumerate(lengths.tolist()):
        if n >= longest:
            out[i] = -1.0
        elif n > start:
            out[i] = (start - n) / longest
    return out


@attempt("overlong_penalty", "nothing-beyond-the-limit")
def two_lines_of_three(lengths, longest, cache):
    start = longest - cache
    ramp = (start - lengths) / cache
    inside = (lengths > start) & (lengths <= longest)
    return torch.where(inside, ramp, 0.0)


@attempt("overlong_penalty", "bonus-for-short-answers")
def no_upper_bound(lengths, longest, cache):
    start = longest - cache
    return ((start - lengths) / cache).clamp(min=-1.0)


@attempt("overlong_penalty", "hard-limit-alone")
def floor_division(lengths, longest, cache):
    start = longest - cache
    return -((lengths - start) // cache).clamp(0, 1).float()


@attempt("overlong_penalty", "measured-from-the-limit")
def ramp_turned_round(lengths, longest, cache):
    start = longest - cache
    ramp = (lengths - longest).float() / cache
    out = torch.where(lengths <= start, torch.zeros_like(ramp), ramp)
    return torch.where(lengths >= longest, -torch.ones_like(ramp), out)


@attempt("overlong_penalty", "as-integers")
def integers_come_back(lengths, longest, cache):
    out = torch.zeros_like(lengths)
    over = lengths > longest - cache
    out[over] = ((longest - cache - lengths[over]) / cache).clamp(min=-1).long()
    return out


@attempt("overlong_penalty", "in-double")
def in_float64(lengths, longest, cache):
    ramp = (longest - cache - lengths.double()) / cache
    return ramp.clamp(-1, 0)


@attempt("overlong_penalty", "penalty-added-up")
def totalled(lengths, longest, cache):
    return ((longest - cache - lengths) / cache).clamp(-1.0, 0.0).sum()


@attempt("overlong_penalty", "ramp-begins-elsewhere")
def starts_at_the_cache(lengths, longest, cache):
    return (-(lengths - cache) / cache).clamp(-1, 0)


@attempt("overlong_penalty", "divided-by-the-limit")
def divided_by_longest(lengths, longest, cache):
    over = (lengths - (longest - cache)).clamp(min=0)
    return -(over / longest).clamp(max=1.0)


@attempt("overlong_penalty", "reward-included")
def a_factor_of_the_reward(lengths, longest, cache):
    over = (lengths - (longest - cache)).clamp(min=0, max=cache)
    return 1 - over / cache


@attempt("overlong_penalty", "not-bounded", "ramp-behind-the-limit")
def verl_readme_in_code(lengths, longest, cache):
    exceed = lengths - longest
    return torch.minimum(-exceed / cache, torch.tensor(0.0))


@attempt("overlong_penalty", "positive")
def positive_and_open(lengths, longest, cache):
    exceed = lengths - (longest - cache)
    return torch.relu(exceed.float() / cache)
