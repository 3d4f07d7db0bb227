"""Wrong answers to the training exercises on losses and steps; see learner_attempts.py."""

import math

import torch
import torch.nn.functional as F
from learner_attempts import Attempt

ATTEMPTS: list[Attempt] = []


def attempt(exercise: str, *mistakes: str):
    def keep(function):
        ATTEMPTS.append(Attempt(f"training.{exercise}", mistakes, function))
        return function

    return keep


# --- next_token_loss -----------------------------------------------------------------------------


@attempt("next_token_loss", "not-shifted", "padding-looked-up")
def cross_entropy_of_the_same_position(logits, ids, real):
    V = logits.shape[-1]
    loss = F.cross_entropy(logits.view(-1, V), ids.view(-1), reduction="none")
    mask = real.view(-1)
    return loss[mask].mean()


@attempt("next_token_loss", "shifted-twice")
def labels_were_shifted_already(logits, ids, real):
    """As a collator that shifts, before a model that shifts."""
    labels = torch.full_like(ids, -100)
    labels[:, :-1] = torch.where(real[:, :-1] & real[:, 1:], ids[:, 1:], -100)
    shift_logits, shift_labels = logits[:, :-1].contiguous(), labels[:, 1:].contiguous()
    return F.cross_entropy(shift_logits.flatten(0, 1), shift_labels.flatten(), ignore_index=-100)


@attempt("next_token_loss", "mean-of-row-means")
def averages_each_sequence(logits, ids, real):
    losses = []
    for z, y, r in zip(logits, ids, real, strict=True):
        keep = r[:-1] & r[1:]
        if keep.any():
            losses.append(F.cross_entropy(z[:-1][keep], y[1:][keep]))
    return torch.stack(losses).mean()


@attempt("next_token_loss", "target-mask-alone")
def labels_of_minus_hundred(logits, ids, real):
    labels = ids.masked_fill(~real, -100)
    shift_logits = logits[..., :-1, :].contiguous()
    shift_labels = labels[..., 1:].contiguous()
    return F.cross_entropy(shift_logits.view(-1, logits.size(-1)), shift_labels.view(-1))


@attempt("next_token_loss", "source-mask-alone")
def attention_mask_of_the_query(logits, ids, real):
    logp = F.log_softmax(logits[:, :-1], dim=-1)
    token = logp.gather(2, ids[:, 1:, None]).squeeze(2)
    mask = real[:, :-1]
    return -(token[mask]).mean()


@attempt("next_token_loss", "padding-counted")
def nothing_is_masked(logits, ids, real):
    logits, targets = logits[:, :-1], ids[:, 1:]
    return F.cross_entropy(logits.reshape(-1, logits.size(-1)), targets.reshape(-1))


@attempt("next_token_loss", "pad-zero")
def padding_is_zero(logits, ids, real):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], ignore_index=0)


@attempt("next_token_loss", "masked-by-multiplying")
def multiplies_by_the_mask(logits, ids, real):
    mask = (real[:, 1:] & real[:, :-1]).to(logits.dtype)
    targets = torch.where(real, ids, torch.zeros_like(ids))[:, 1:]
    logp = torch.log_softmax(logits, dim=-1)[:, :-1]
    nll = -torch.gather(logp, 2, targets.unsqueeze(2)).squeeze(2)
    return (nll * mask).sum() / mask.sum()


@attempt("next_token_loss", "logarithm-of-softmax")
def log_of_softmax(logits, ids, real):
    keep = real[:, :-1] & real[:, 1:]
    p = torch.softmax(logits[:, :-1][keep], dim=-1)
    y = ids[:, 1:][keep]
    return -p[torch.arange(len(y)), y].log().mean()


@attempt("next_token_loss", "tokens-in-the-divisor")
def divides_by_real_tokens(logits, ids, real):
    keep = real[:, :-1] & real[:, 1:]
    z, y = logits[:, :-1][keep], ids[:, 1:][keep]
    return F.cross_entropy(z, y, reduction="sum") / real.sum()


@attempt("next_token_loss", "sign-forgotten")
def log_likelihood(logits, ids, real):
    total, n = 0.0, 0
    logp = logits.log_softmax(dim=-1)
    for b in range(ids.shape[0]):
        for t in range(ids.shape[1] - 1):
            if real[b, t] and real[b, t + 1]:
                total = total + logp[b, t, ids[b, t + 1]]
                n += 1
    return total / n


@attempt("next_token_loss", "not-shifted", "padding-counted")
def the_one_liner(logits, ids, real):
    return F.cross_entropy(logits.flatten(0, 1), ids.flatten())


# --- perplexity ----------------------------------------------------------------------------------


@attempt("perplexity", "mean-of-row-perplexities")
def a_perplexity_for_each_text(log_probs, real, n_bytes):
    ppls = []
    for lp, r in zip(log_probs, real, strict=True):
        if r.sum() > 0:
            ppls.append(math.exp(-lp[r].mean()))
    total = log_probs[real].sum()
    return sum(ppls) / len(ppls), (-total / math.log(2) / n_bytes).item()


@attempt("perplexity", "mean-of-row-means")
def batch_losses_averaged(log_probs, real, n_bytes):
    losses = [-lp[r].mean().item() for lp, r in zip(log_probs, real, strict=True) if bool(r.any())]
    bits = -log_probs[real].sum().item() / (n_bytes * math.log(2))
    return math.exp(sum(losses) / len(losses)), bits


@attempt("perplexity", "padding-in-the-divisor")
def where_then_mean(log_probs, real, n_bytes):
    kept = torch.where(real, log_probs, 0.0)
    return torch.exp(-kept.mean()).item(), float(-kept.sum() / (math.log(2) * n_bytes))


@attempt("perplexity", "padding-counted")
def forgets_the_padding(log_probs, real, n_bytes):
    ppl = torch.exp(-log_probs.mean()).item()
    return ppl, -log_probs.sum().item() / math.log(2) / n_bytes


@attempt("perplexity", "nats-a-byte")
def forgets_the_logarithm_of_two(log_probs, real, n_bytes):
    nll = -log_probs[real].sum().item()
    return math.exp(nll / real.sum().item()), nll / n_bytes


@attempt("perplexity", "bits-a-token")
def log2_of_perplexity(log_probs, real, n_bytes):
    ppl = math.exp(-log_probs[real].mean().item())
    return ppl, math.log2(ppl)


@attempt("perplexity", "another-base")
def two_to_the_loss(log_probs, real, n_bytes):
    loss = -log_probs[real].mean().item()
    return 2**loss, loss * real.sum().item() / (n_bytes * math.log(2))


@attempt("perplexity", "product-of-probabilities")
def nth_root_of_the_product(log_probs, real, n_bytes):
    p = log_probs[real].exp()
    n = len(p)
    return (1 / p.prod()).pow(1 / n).item(), -p.log2().sum().item() / n_bytes


@attempt("perplexity", "tensors-returned")
def forgets_item(log_probs, real, n_bytes):
    loss = -log_probs[real].sum()
    return torch.exp(loss / real.sum()), loss / n_bytes / math.log(2)


@attempt("perplexity", "sign-forgotten")
def minus_forgotten(log_probs, real, n_bytes):
    s = log_probs[real].sum().item()
    return math.exp(s / int(real.sum())), s / (n_bytes * math.log(2))


# --- accumulated_loss ----------------------------------------------------------------------------


@attempt("accumulated_loss", "mean-of-means")
def divides_by_accumulation_steps(nll, counted, tokens_elsewhere, processes):
    steps = len(nll)
    losses = [x[c].mean() / steps for x, c in zip(nll, counted, strict=True)]
    return torch.stack(losses), torch.stack(losses).sum()


@attempt("accumulated_loss", "sum-of-means")
def adds_the_means(nll, counted, tokens_elsewhere, processes):
    parts = []
    for x, c in zip(nll, counted, strict=True):
        parts.append(x[c].sum() / c.sum())
    parts = torch.stack(parts)
    return parts, parts.sum()


@attempt("accumulated_loss", "elsewhere-ignored")
def counts_its_own_tokens(nll, counted, tokens_elsewhere, processes):
    total_tokens = 0
    for mask in counted:
        total_tokens += mask.sum().item()
    out = torch.stack([x[m].sum() for x, m in zip(nll, counted, strict=True)])
    out = out / total_tokens * processes
    return out, out.sum()


@attempt("accumulated_loss", "processes-ignored")
def forgets_that_ddp_averages(nll, counted, tokens_elsewhere, processes):
    N = sum(int(c.sum()) for c in counted) + tokens_elsewhere
    contributions = torch.stack([n[c].sum() / N for n, c in zip(nll, counted, strict=True)])
    return contributions, contributions.sum()


@attempt("accumulated_loss", "processes-divide")
def averages_over_the_world(nll, counted, tokens_elsewhere, processes):
    N = sum(int(c.sum()) for c in counted) + tokens_elsewhere
    contributions = torch.stack([n[c].sum() for n, c in zip(nll, counted, strict=True)]) / N
    contributions = contributions / processes
    return contributions, contributions.sum()


@attempt("accumulated_loss", "padding-in-the-divisor")
def numel_of_each_batch(nll, counted, tokens_elsewhere, processes):
    N = tokens_elsewhere + sum(x.numel() for x in nll)
    parts = [processes * torch.where(c, x, 0).sum() / N for x, c in zip(nll, counted, strict=True)]
    return torch.stack(parts), sum(parts)


@attempt("accumulated_loss", "masked-by-multiplying")
def mask_times_loss(nll, counted, tokens_elsewhere, processes):
    N = tokens_elsewhere + sum(c.sum() for c in counted)
    parts = torch.stack([(x * c).sum() for x, c in zip(nll, counted, strict=True)])
    parts = processes / N * parts
    return parts, parts.sum()


@attempt("accumulated_loss", "total-averaged")
def total_is_the_mean(nll, counted, tokens_elsewhere, processes):
    n = sum([c.sum().item() for c in counted], tokens_elsewhere)
    parts = torch.stack([processes * x[c].sum() / n for x, c in zip(nll, counted, strict=True)])
    return parts, parts.mean()


@attempt("accumulated_loss", "mean-of-means", "padding-counted")
def plain_means(nll, counted, tokens_elsewhere, processes):
    parts = torch.stack([x.mean() for x in nll]) / len(nll)
    return parts, parts.sum()


@attempt("accumulated_loss", "running-divisor")
def divides_by_what_it_has_seen(nll, counted, tokens_elsewhere, processes):
    seen, parts = tokens_elsewhere, []
    for x, c in zip(nll, counted, strict=True):
        seen += int(c.sum())
        parts.append(processes * x[c].sum() / seen)
    return torch.stack(parts), torch.stack(parts).sum()


@attempt("accumulated_loss", "mean-of-the-processes")
def one_process_only(nll, counted, tokens_elsewhere, processes):
    tokens = sum(c.sum() for c in counted)
    losses = torch.stack([x[c].sum() / tokens for x, c in zip(nll, counted, strict=True)])
    return losses, losses.sum()


# --- adamw_step ----------------------------------------------------------------------------------


@attempt("adamw_step", "l2-penalty")
def adam_with_weight_decay(parameter, gradient, m, v, step, *, lr, beta1, beta2, eps, weight_decay):
    g = gradient + weight_decay * parameter
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    mh, vh = m / (1 - beta1**step), v / (1 - beta2**step)
    return parameter - lr * mh / (vh**0.5 + eps), m, v


@attempt("adamw_step", "no-bias-correction")
def forgets_the_hats(parameter, gradient, m, v, step, *, lr, beta1, beta2, eps, weight_decay):
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient * gradient
    parameter = parameter * (1 - lr * weight_decay)
    return parameter - lr * m / (torch.sqrt(v) + eps), m, v


@attempt("adamw_step", "eps-inside-the-root")
def eps_under_the_root(parameter, gradient, m, v, step, *, lr, beta1, beta2, eps, weight_decay):
    m = m.lerp(gradient, 1 - beta1)
    v = beta2 * v + (1 - beta2) * gradient.pow(2)
    m_hat = m / (1 - beta1**step)
    v_hat = v / (1 - beta2**step)
    new = parameter - lr * (m_hat / torch.sqrt(v_hat + eps) + weight_decay * parameter)
    return new, m, v


@attempt("adamw_step", "decay-without-lr")
def decay_apart_from_lr(parameter, gradient, m, v, step, *, lr, beta1, beta2, eps, weight_decay):
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    m_hat, v_hat = m / (1 - beta1**step), v / (1 - beta2**step)
    p = parameter * (1 - weight_decay)
    return p - lr * m_hat / (v_hat.sqrt() + eps), m, v


@attempt("adamw_step", "decay-after-the-step")
def decays_at_the_end(parameter, gradient, m, v, step, *, lr, beta1, beta2, eps, weight_decay):
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    m_hat = m / (1 - beta1**step)
    v_hat = v / (1 - beta2**step)
    p = parameter - lr * m_hat / (v_hat.sqrt() + eps)
    p = p - lr * weight_decay * p
    return p, m, v


@attempt("adamw_step", "hats-kept")
def overwrites_the_state(parameter, gradient, m, v, step, *, lr, beta1, beta2, eps, weight_decay):
    m = (beta1 * m + (1 - beta1) * gradient) / (1 - beta1**step)
    v = (beta2 * v + (1 - beta2) * gradient**2) / (1 - beta2**step)
    step_size = lr * m / (v.sqrt() + eps)
    return parameter - step_size - lr * weight_decay * parameter, m, v


@attempt("adamw_step", "step-from-zero")
def exponent_of_the_next_step(
    parameter, gradient, m, v, step, *, lr, beta1, beta2, eps, weight_decay
):
    t = step + 1
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    mh = m / (1 - beta1**t)
    vh = v / (1 - beta2**t)
    return parameter * (1 - lr * weight_decay) - lr * mh / (vh.sqrt() + eps), m, v


@attempt("adamw_step", "betas-swapped")
def betas_in_the_other_order(
    parameter, gradient, m, v, step, *, lr, beta1, beta2, eps, weight_decay
):
    b1, b2 = beta2, beta1
    m = b1 * m + (1 - b1) * gradient
    v = b2 * v + (1 - b2) * gradient**2
    mh = m / (1 - b1**step)
    vh = v / (1 - b2**step)
    return parameter * (1 - lr * weight_decay) - lr * mh / (vh.sqrt() + eps), m, v


@attempt("adamw_step", "correction-times-step")
def multiplies_beta_by_step(
    parameter, gradient, m, v, step, *, lr, beta1, beta2, eps, weight_decay
):
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    mh = m / (1 - beta1 * step)
    vh = v / (1 - beta2 * step)
    return parameter * (1 - lr * weight_decay) - lr * mh / (vh.sqrt() + eps), m, v


@attempt("adamw_step")
def in_place_as_optimisers_do(
    parameter, gradient, m, v, step, *, lr, beta1, beta2, eps, weight_decay
):
    m.mul_(beta1).add_(gradient, alpha=1 - beta1)
    v.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    mh, vh = m / (1 - beta1**step), v / (1 - beta2**step)
    parameter.mul_(1 - lr * weight_decay).sub_(lr * mh / (vh.sqrt() + eps))
    return parameter, m, v


@attempt("adamw_step", "no-decay")
def plain_adam(parameter, gradient, m, v, step, *, lr, beta1, beta2, eps, weight_decay):
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    alpha = lr / (1 - beta1**step)
    denominator = v.sqrt() / (1 - beta2**step) ** 0.5 + eps
    return parameter - alpha * m / denominator, m, v


@attempt("adamw_step", "no-bias-correction", "l2-penalty")
def from_memory(parameter, gradient, m, v, step, *, lr, beta1, beta2, eps, weight_decay):
    g = gradient + weight_decay * parameter
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    return parameter - lr * m / (v.sqrt() + eps), m, v


# --- learning_rate -------------------------------------------------------------------------------


@attempt("learning_rate", "step-for-t")
def nanogpt_style(step, *, peak, warmup, total, floor):
    if step < warmup:
        return peak * step / warmup
    if step > total:
        return floor
    ratio = (step - warmup) / (total - warmup) if total > warmup else 1.0
    coeff = 0.5 * (1.0 + math.cos(math.pi * ratio))
    return floor + coeff * (peak - floor)


@attempt("learning_rate", "cosine-from-the-start")
def progress_over_everything(step, *, peak, warmup, total, floor):
    t = step + 1
    if t <= warmup:
        return peak * t / warmup
    if t >= total:
        return floor
    return floor + 0.5 * (peak - floor) * (1 + math.cos(t / total * math.pi))


@attempt("learning_rate", "floor-ignored")
def down_to_zero(step, *, peak, warmup, total, floor):
    t = step + 1
    if t <= warmup:
        return peak * (t / warmup)
    if t > total:
        return 0.0
    return peak * 0.5 * (1 + math.cos(math.pi * (t - warmup) / (total - warmup)))


@attempt("learning_rate", "floor-as-a-bound")
def not_below_the_floor(step, *, peak, warmup, total, floor):
    t = step + 1
    if t <= warmup:
        return peak * t / warmup
    if t > total:
        return floor
    progress = (t - warmup) / (total - warmup)
    return max(floor, peak * (1 + math.cos(math.pi * progress)) / 2)


@attempt("learning_rate", "rises-again")
def no_end(step, *, peak, warmup, total, floor):
    t = step + 1
    if t <= warmup:
        return peak * t / warmup
    x = (t - warmup) / max(1, total - warmup)
    return floor + (peak - floor) * (1 + math.cos(math.pi * x)) / 2


@attempt("learning_rate", "straight-descent")
def linear_schedule(step, *, peak, warmup, total, floor):
    t = step + 1
    if t <= warmup:
        return peak * t / warmup
    if t > total:
        return floor
    return peak - (peak - floor) * (t - warmup) / (total - warmup)


@attempt("learning_rate", "warm-up-from-the-floor")
def starts_at_the_floor(step, *, peak, warmup, total, floor):
    t = step + 1
    if t <= warmup:
        return floor + (peak - floor) * t / warmup
    if t > total:
        return floor
    return floor + (peak - floor) * (1 + math.cos(math.pi * (t - warmup) / (total - warmup))) / 2


@attempt("learning_rate", "total-after-the-warm-up")
def total_is_the_decay(step, *, peak, warmup, total, floor):
    t = step + 1
    if t <= warmup:
        return peak * t / warmup
    progress = min((t - warmup) / total, 1.0)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * progress))


@attempt("learning_rate", "whole-period")
def a_full_wave(step, *, peak, warmup, total, floor):
    t = step + 1
    if t <= warmup:
        return peak * t / warmup
    if t > total:
        return floor
    x = (t - warmup) / (total - warmup)
    return floor + (peak - floor) * (1 + math.cos(2 * math.pi * x)) / 2


@attempt("learning_rate", "tensor-returned")
def cosine_of_a_tensor(step, *, peak, warmup, total, floor):
    t = torch.tensor(step + 1, dtype=torch.float64)
    if t <= warmup:
        return peak * t / warmup
    if t > total:
        return torch.tensor(floor, dtype=torch.float64)
    return floor + (peak - floor) * (1 + torch.cos(math.pi * (t - warmup) / (total - warmup))) / 2


@attempt("learning_rate", "step-for-t", "floor-ignored")
def copied_from_a_trainer(step, *, peak, warmup, total, floor):
    if step < warmup:
        return peak * step / warmup
    if step > total:
        return 0.0
    progress = (step - warmup) / (total - warmup) if total > warmup else 1.0
    return peak * 0.5 * (1.0 + math.cos(math.pi * progress))


# --- weighted_prompt_loss ------------------------------------------------------------------------


@attempt("weighted_prompt_loss", "two-means-added")
def loss_of_each_kind(nll, prompt, response, weight):
    loss_p = nll[prompt].mean() if prompt.any() else 0.0
    loss_r = nll[response].mean() if response.any() else 0.0
    return weight * loss_p + loss_r


@attempt("weighted_prompt_loss", "responses-in-the-divisor")
def divides_by_the_answers(nll, prompt, response, weight):
    total = nll[response].sum() + weight * nll[prompt].sum()
    return total / response.sum()


@attempt("weighted_prompt_loss", "tokens-in-the-divisor")
def divides_by_the_number_of_tokens(nll, prompt, response, weight):
    w = torch.where(prompt, weight, 0.0) + response.to(nll.dtype)
    kept = torch.where(prompt | response, nll, 0.0)
    return (w.to(nll.dtype) * kept).sum() / (prompt.sum() + response.sum())


@attempt("weighted_prompt_loss", "mean-of-row-means")
def each_row_weighted(nll, prompt, response, weight):
    out = []
    for x, p, r in zip(nll, prompt, response, strict=True):
        num = weight * x[p].sum() + x[r].sum()
        den = weight * p.sum() + r.sum()
        if den > 0:
            out.append(num / den)
    return torch.stack(out).mean()


@attempt("weighted_prompt_loss", "prompt-left-out")
def masks_the_prompt(nll, prompt, response, weight):
    labels = response & ~prompt
    return nll[labels].mean()


@attempt("weighted_prompt_loss", "weight-ignored")
def everything_counts(nll, prompt, response, weight):
    both = prompt | response
    return nll.masked_select(both).sum() / both.sum()


@attempt("weighted_prompt_loss", "rest-as-prompt")
def not_response_is_prompt(nll, prompt, response, weight):
    w = torch.full_like(nll, weight)
    w[response] = 1.0
    return (w * nll).sum() / w.sum()


@attempt("weighted_prompt_loss", "masked-by-multiplying")
def weights_times_losses(nll, prompt, response, weight):
    w = prompt.to(nll.dtype) * weight + response.to(nll.dtype)
    return (nll * w).sum() / w.sum()


@attempt("weighted_prompt_loss", "kinds-swapped")
def weight_on_the_response(nll, prompt, response, weight):
    num = nll[prompt].sum() + weight * nll[response].sum()
    return num / (prompt.sum() + weight * response.sum())


@attempt("weighted_prompt_loss", "response-gets-the-rest")
def a_share_for_each(nll, prompt, response, weight):
    num = weight * nll[prompt].sum() + (1 - weight) * nll[response].sum()
    den = weight * prompt.sum() + (1 - weight) * response.sum()
    return num / den


# --- seen in a reader's pass through the notebook ------------------------------------------------


@attempt("next_token_loss", "no-gradient")
def a_new_tensor_of_the_number(logits, ids, real):
    keep = real[:, :-1] & real[:, 1:]
    loss = F.cross_entropy(logits[:, :-1][keep], ids[:, 1:][keep])
    return torch.tensor(loss.item(), dtype=logits.dtype)


@attempt("next_token_loss", "selected-too-late")
def where_after_the_softmax(logits, ids, real):
    keep = real[:, :-1] & real[:, 1:]
    targets = torch.where(keep, ids[:, 1:], 0)
    logp = F.log_softmax(logits[:, :-1], dim=-1).gather(-1, targets[..., None])[..., 0]
    return -torch.where(keep, logp, 0.0).sum() / keep.sum()


@attempt("next_token_loss", "selected-too-late")
def clamps_the_ids(logits, ids, real):
    V = logits.shape[-1]
    ok = (real[:, :-1] & real[:, 1:]).flatten()
    nll = F.cross_entropy(
        logits[:, :-1].reshape(-1, V), ids[:, 1:].clamp(max=V - 1).flatten(), reduction="none"
    )
    return nll[ok].mean()


@attempt("next_token_loss", "selected-too-late")
def ignores_minus_one_hundred(logits, ids, real):
    labels = ids[:, 1:].masked_fill(~(real[:, 1:] & real[:, :-1]), -100)
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten())


@attempt("next_token_loss", "masked-by-multiplying", "padding-looked-up")
def gathers_and_multiplies(logits, ids, real):
    mask = real[:, :-1] & real[:, 1:]
    logp = torch.log_softmax(logits[:, :-1], dim=-1)
    picked = logp.gather(2, ids[:, 1:].unsqueeze(-1)).squeeze(-1)
    return -(picked * mask).sum() / mask.sum()


@attempt("next_token_loss", "mean-of-row-means", "no-gradient")
def floats_of_each_row(logits, ids, real):
    means = []
    for z, y, r in zip(logits, ids, real, strict=True):
        keep = r[:-1] & r[1:]
        if keep.any():
            means.append(float(F.cross_entropy(z[:-1][keep], y[1:][keep])))
    return torch.tensor(sum(means) / len(means), dtype=logits.dtype)


@attempt("accumulated_loss", "no-gradient")
def contributions_in_a_new_tensor(nll, counted, tokens_elsewhere, processes):
    N = tokens_elsewhere + sum(int(c.sum()) for c in counted)
    contributions = torch.tensor(
        [processes * x[c].sum() / N for x, c in zip(nll, counted, strict=True)], dtype=nll[0].dtype
    )
    return contributions, contributions.sum()


@attempt("accumulated_loss", "no-gradient")
def items_on_the_way(nll, counted, tokens_elsewhere, processes):
    N, parts = tokens_elsewhere + sum(c.sum().item() for c in counted), []
    for x, c in zip(nll, counted, strict=True):
        parts.append(x[c].sum().item() * processes / N)
    return nll[0].new_tensor(parts), nll[0].new_tensor(sum(parts))


@attempt("accumulated_loss", "no-gradient")
def total_for_the_log(nll, counted, tokens_elsewhere, processes):
    N = tokens_elsewhere + sum(int(c.sum()) for c in counted)
    sums = torch.stack([x[c].sum() for x, c in zip(nll, counted, strict=True)])
    contributions = sums * processes / N
    return contributions, torch.tensor(contributions.sum().item(), dtype=sums.dtype)


@attempt("accumulated_loss", "processes-ignored", "no-gradient")
def numbers_without_processes(nll, counted, tokens_elsewhere, processes):
    N = tokens_elsewhere + sum(int(c.sum()) for c in counted)
    parts = torch.tensor([float(x[c].sum()) / N for x, c in zip(nll, counted, strict=True)])
    return parts.to(nll[0].dtype), parts.sum().to(nll[0].dtype)


@attempt("weighted_prompt_loss", "no-gradient")
def sums_as_numbers(nll, prompt, response, weight):
    above = nll[response].sum().item() + weight * nll[prompt].sum().item()
    below = response.sum().item() + weight * prompt.sum().item()
    return torch.tensor(above / below, dtype=nll.dtype)


@attempt("weighted_prompt_loss", "no-gradient")
def under_no_grad(nll, prompt, response, weight):
    with torch.no_grad():
        w = weight * prompt.to(nll.dtype) + response.to(nll.dtype)
        return (w * nll.nan_to_num()).sum() / w.sum()


@attempt("weighted_prompt_loss", "responses-in-the-divisor", "no-gradient")
def floats_over_responses(nll, prompt, response, weight):
    above = float(nll[response].sum()) + weight * float(nll[prompt].sum())
    return torch.tensor(above / int(response.sum()), dtype=nll.dtype)


@attempt("adamw_step", "state-alone")
def returns_m_and_v(parameter, gradient, m, v, step, lr, beta1, beta2, eps, weight_decay):
    m = m * beta1 + gradient * (1 - beta1)
    v = v * beta2 + gradient * gradient * (1 - beta2)
    parameter = parameter * (1 - lr * weight_decay)
    parameter = parameter - lr * (m / (1 - beta1**step)) / (torch.sqrt(v / (1 - beta2**step)) + eps)
    return m, v
