"""training.adamw_step: one step of AdamW, with torch's conventions."""

from functools import partial

import torch

from clearhead.training import adamw_step
from marking.exercise import Exercise, Mistake, Tolerance

# --- situations: a mistake shows in one always or never ------------------------------------------

LITTLE = 1e-12  # an eps that is in no sum: gradients and states are far above it


def _away_from_zero(draw, shape):
    """0.3 to 2.3, with a sign, so that no root or quotient gets near to nothing."""
    x = draw.normal(*shape).clamp(-2.0, 2.0)
    return x + torch.where(x < 0, -0.3, 0.3).to(x.dtype)


def _shape(draw):
    return draw.choice((draw.size(3, 6, small=2),), tuple(draw.sizes(2, 2, 4)))


def _inputs(draw, *, step, empty=False, shape=None, **others):
    shape = shape or _shape(draw)
    state = {"m": 0.3 * _away_from_zero(draw, shape), "v": _away_from_zero(draw, shape).square()}
    if empty:
        state = {name: torch.zeros_like(x) for name, x in state.items()}
    return {
        "parameter": _away_from_zero(draw, shape),
        "gradient": _away_from_zero(draw, shape),
        **state,
        "step": step,
        "lr": draw.choice(0.05, 0.1, 0.2),
        "beta1": draw.choice(0.8, 0.9),
        "beta2": draw.choice(0.95, 0.97, 0.98),
        "eps": LITTLE,
        "weight_decay": draw.choice(0.1, 0.2, 0.5),
    } | others


def first_step(draw):
    """Both means start at zero."""
    return _inputs(draw, step=1, empty=True)


def later_step(draw):
    return _inputs(draw, step=draw.size(3, 9))


def late_step(draw):
    """Nothing is left to correct: β to the power of the step is zero."""
    return _inputs(draw, step=100_000 + draw.size(0, 1000))


def no_gradient_yet(draw):
    """Some weights have had no gradient, as rows of an embedding have: 0 / (0 + eps)."""
    inputs = _inputs(draw, step=draw.size(2, 5), empty=True)
    gradient = inputs["gradient"].clone()
    gradient[0] = 0.0
    return inputs | {"gradient": gradient}


def large_eps(draw):
    return _inputs(draw, step=draw.size(2, 5), eps=draw.choice(0.2, 0.5), lr=0.2)


def no_decay_asked(draw):
    """And an axis of size 1, which stays."""
    shape = (1, draw.size(3, 6, small=2))
    return _inputs(draw, step=draw.size(2, 6), weight_decay=0.0, shape=shape)


def rate_zero(draw):
    """The weights stay, the means move on."""
    return _inputs(draw, step=draw.size(2, 6), lr=0.0)


def one_number(draw):
    """A parameter without axes, as a learned temperature is."""
    return _inputs(draw, step=draw.size(2, 6), shape=())


# --- mistakes: one change each to `_step` --------------------------------------------------------


def _mean(old, new, beta):
    return beta * old + (1 - beta) * new


def _left(beta, t):
    return 1 - beta**t


def _quotient(m, v, eps, *_):
    return m / (v.sqrt() + eps)


def _apart(p, direction, lr, wd):
    return p - lr * wd * p - lr * direction


def _step(
    parameter,
    gradient,
    m,
    v,
    step,
    lr,
    beta1,
    beta2,
    eps,
    weight_decay,
    *,
    betas=lambda b1, b2: (b1, b2),
    time=lambda step: step,
    grad=lambda g, p, wd: g,
    mean=_mean,
    squared=lambda g, m: g.square(),
    square_mean=_mean,
    used=lambda old, new: new,
    left1=_left,
    left2=_left,
    quotient=_quotient,
    apply=_apart,
    finish=lambda p, m, v, hats: (p, m, v),
):
    """As it stands it is right."""
    b1, b2 = betas(beta1, beta2)
    t = time(step)
    g = grad(gradient, parameter, weight_decay)
    new_m = mean(m, g, b1)
    new_v = square_mean(v, squared(g, new_m), b2)
    one, two = torch.tensor([left1(b1, t), left2(b2, t)], dtype=m.dtype)
    hats = used(m, new_m) / one, used(v, new_v) / two
    direction = quotient(*hats, eps, g, new_m, two, one, b1)
    return finish(apply(parameter, direction, lr, weight_decay), new_m, new_v, hats)


def _quotients(quotient):
    return partial(_step, quotient=quotient)


def _apply(apply):
    return partial(_step, apply=apply)


def _finish(finish):
    return partial(_step, finish=finish)


def _without_decay(p, direction, lr, wd):
    return p - lr * direction


def _with_penalty(g, p, wd):
    return g + wd * p


l2_penalty = partial(_step, grad=_with_penalty, apply=_without_decay)
decayed_twice = partial(_step, grad=_with_penalty)
no_decay = _apply(_without_decay)
decay_without_lr = _apply(lambda p, d, lr, wd: p - wd * p - lr * d)
decay_after = _apply(lambda p, d, lr, wd: (p - lr * d) * (1 - lr * wd))
decay_adds = _apply(lambda p, d, lr, wd: p + lr * wd * p - lr * d)
ascends = _apply(lambda p, d, lr, wd: p - lr * wd * p + lr * d)
lr_left_out = _apply(lambda p, d, lr, wd: p - lr * wd * p - d)
lr_nowhere = _apply(lambda p, d, lr, wd: p - wd * p - d)
lr_twice = _apply(lambda p, d, lr, wd: p - lr * wd * p - lr * lr * d)
constant_decay = _apply(lambda p, d, lr, wd: p - lr * wd - lr * d)
decays_to_the_sign = _apply(lambda p, d, lr, wd: p - lr * wd * p.sign() - lr * d)
change_alone = _apply(lambda p, d, lr, wd: -lr * wd * p - lr * d)
change_without_sign = _apply(lambda p, d, lr, wd: lr * wd * p + lr * d)

betas_swapped = partial(_step, betas=lambda b1, b2: (b2, b1))
beta1_for_both = partial(_step, betas=lambda b1, b2: (b1, b1))
beta2_for_both = partial(_step, betas=lambda b1, b2: (b2, b2))


def _turned(old, new, beta):
    return (1 - beta) * old + beta * new


shares_swapped = partial(_step, mean=_turned, square_mean=_turned)
shares_swapped_in_m = partial(_step, mean=_turned)
shares_swapped_in_v = partial(_step, square_mean=_turned)


def _undamped(old, new, beta):
    return beta * old + new


m_undamped = partial(_step, mean=_undamped)
v_undamped = partial(_step, square_mean=_undamped)
both_undamped = partial(_step, mean=_undamped, square_mean=_undamped)
adagrad = partial(_step, square_mean=lambda old, new, beta: old + new)
m_not_kept = partial(_step, mean=lambda old, new, beta: (1 - beta) * new)
m_is_the_gradient = partial(_step, mean=lambda old, new, beta: new)

not_squared = partial(_step, squared=lambda g, m: g)
size_alone = partial(_step, squared=lambda g, m: g.abs())
square_of_m = partial(_step, squared=lambda g, m: m.square())
square_of_all = partial(_step, squared=lambda g, m: g.square().sum().expand_as(g))
mean_square_of_all = partial(_step, squared=lambda g, m: g.square().mean().expand_as(g))
old_state = partial(_step, used=lambda old, new: old)

no_correction = partial(_step, left1=lambda beta, t: 1.0, left2=lambda beta, t: 1.0)
no_correction_of_m = partial(_step, left1=lambda beta, t: 1.0)
no_correction_of_v = partial(_step, left2=lambda beta, t: 1.0)


def _times_step(beta, t):
    return 1 - beta * t


def _power_of_the_rest(beta, t):
    return (1 - beta) ** t


def _first_step_always(beta, t):
    return 1 - beta


def _only_power(beta, t):
    return beta**t


times_step, power_of_the_rest, first_step_always, only_power = (
    partial(_step, left1=left, left2=left)
    for left in (_times_step, _power_of_the_rest, _first_step_always, _only_power)
)
step_from_zero = partial(_step, time=lambda step: step - 1)
step_too_far = partial(_step, time=lambda step: step + 1)

eps_inside = _quotients(lambda m, v, eps, *_: m / (v + eps).sqrt())
eps_inside_squared = _quotients(lambda m, v, eps, *_: m / (v + eps**2).sqrt())
eps_before_correction = _quotients(
    lambda m, v, eps, g, new_m, two, *_: m / ((v * two).sqrt() + eps) * two.sqrt()
)
eps_left_out = _quotients(lambda m, v, eps, *_: m / v.sqrt())
eps_as_a_bound = _quotients(lambda m, v, eps, *_: m / v.sqrt().clamp(min=eps))
eps_added_to_the_quotient = _quotients(lambda m, v, eps, *_: m / v.sqrt() + eps)
root_left_out = _quotients(lambda m, v, eps, *_: m / (v + eps))
root_of_all = _quotients(lambda m, v, eps, *_: (m / (v + eps)).abs().sqrt() * m.sign())
multiplied = _quotients(lambda m, v, eps, *_: m * (v.sqrt() + eps))
sign_alone = _quotients(lambda m, v, eps, *_: m.sign())
sign_of_gradient = _quotients(lambda m, v, eps, g, *_: g.sign())
momentum_alone = _quotients(lambda m, v, eps, *_: m)
gradient_alone = _quotients(lambda m, v, eps, g, *_: g)
rmsprop = _quotients(lambda m, v, eps, g, *_: g / (v.sqrt() + eps))
nesterov = _quotients(
    lambda m, v, eps, g, new_m, two, one, b1: (b1 * m + (1 - b1) * g / one) / (v.sqrt() + eps)
)

hats_kept = _finish(lambda p, m, v, hats: (p, *hats))
v_before_m = _finish(lambda p, m, v, hats: (p, v, m))
state_first = _finish(lambda p, m, v, hats: (m, v, p))
parameter_alone = _finish(lambda p, m, v, hats: p)
state_alone = _finish(lambda p, m, v, hats: (m, v))
root_kept = _finish(lambda p, m, v, hats: (p, m, v.sqrt()))


def old_state_returned(parameter, m, v, **others):
    return _step(parameter=parameter, m=m, v=v, **others)[0], m.clone(), v.clone()


# --- other right answers -------------------------------------------------------------------------


def as_torch_does(parameter, gradient, m, v, step, *, lr, beta1, beta2, eps, weight_decay):
    """torch.optim.AdamW line by line: the weights shrink first, the corrections go into numbers."""
    p = parameter.clone().mul_(1 - lr * weight_decay)
    m = m.clone().lerp_(gradient, 1 - beta1)
    v = v.clone().mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    step_size = lr / (1 - beta1**step)
    denom = v.sqrt() / (1 - beta2**step) ** 0.5 + eps
    return p.addcdiv_(m, denom, value=-step_size), m, v


def number_by_number(parameter, gradient, m, v, step, *, lr, beta1, beta2, eps, weight_decay):
    parts = [x.flatten().tolist() for x in (parameter, gradient, m, v)]
    out = []
    for p, g, a, b in zip(*parts, strict=True):
        a = a + (1 - beta1) * (g - a)
        b = b + (1 - beta2) * (g * g - b)
        size = (a / (1 - beta1**step)) / ((b / (1 - beta2**step)) ** 0.5 + eps)
        out.append((p - lr * (size + weight_decay * p), a, b))
    columns = torch.tensor(out, dtype=parameter.dtype).T
    return tuple(column.reshape(parameter.shape) for column in columns)


def with_a_rescaled_eps(parameter, gradient, m, v, step, *, lr, beta1, beta2, eps, weight_decay):
    """Both corrections in one factor, as in the paper's section 2; eps is scaled to match."""
    m = m * beta1 + gradient * (1 - beta1)
    v = v * beta2 + gradient**2 * (1 - beta2)
    root = (1 - beta2**step) ** 0.5
    factor = lr * root / (1 - beta1**step)
    return parameter - lr * weight_decay * parameter - factor * m / (v**0.5 + eps * root), m, v


STEP = "training/02_batches_that_mean_it#what-does-adamw-do-in-one-step"

ADAMW_STEP = Exercise(
    id="training.adamw_step",
    title="One step of AdamW",
    returns="three new tensors: parameter, m, v",
    outputs=("parameter", "m", "v"),
    points=4,
    difficulty=2,
    minutes=25,
    reference=adamw_step,
    tolerance=Tolerance(fp32=5e-6, fp64=1e-6),
    cases={
        "the first step": first_step,
        "a later step": later_step,
        "the hundred-thousandth step": late_step,
        "weights without a gradient": no_gradient_yet,
        "a large eps": large_eps,
        "no weight decay": no_decay_asked,
        "a learning rate of zero": rate_zero,
        "one number": one_number,
    },
    mistakes=(
        Mistake(
            "l2-penalty",
            l2_penalty,
            "the decay is added to the gradient, which is Adam with an L2 penalty: it goes through "
            "both means and is divided by the root, so weights with large gradients hardly decay. "
            "Take lr · weight_decay · parameter off the weight itself.",
            STEP,
        ),
        Mistake(
            "decayed-twice",
            decayed_twice,
            "the decay is in the gradient and is taken off the weight as well; the gradient stays "
            "as it is.",
            STEP,
        ),
        Mistake(
            "no-decay",
            no_decay,
            "this is Adam, without weight decay; take lr · weight_decay · parameter off as well.",
            STEP,
        ),
        Mistake(
            "decay-without-lr",
            decay_without_lr,
            "the decay is not multiplied by lr; with torch's convention, which is asked for here, "
            "it is lr · weight_decay · parameter.",
            STEP,
        ),
        Mistake(
            "decay-after-the-step",
            decay_after,
            "the weight decays after it has moved; both terms use the old parameter.",
            STEP,
        ),
        Mistake(
            "decay-adds",
            decay_adds,
            "the decay is added, so the weight grows; take it off.",
            STEP,
        ),
        Mistake(
            "decay-not-of-the-weight",
            constant_decay,
            "the decay is the same whatever the weight's size; it is a share of the weight, "
            "lr · weight_decay · parameter.",
            STEP,
            also=(decays_to_the_sign,),
        ),
        Mistake(
            "ascends",
            ascends,
            "the weight moves along the gradient, which makes the loss larger; subtract the step.",
            STEP,
        ),
        Mistake(
            "lr-left-out",
            lr_left_out,
            "the step is multiplied by lr not at all, or twice; it is lr · m̂ / (√v̂ + eps).",
            STEP,
            also=(lr_nowhere, lr_twice),
        ),
        Mistake(
            "no-bias-correction",
            no_correction,
            "m and v are used as they are; they started at zero and are too small at first. Divide "
            "them by 1 − β^step.",
            STEP,
        ),
        Mistake(
            "m-not-corrected",
            no_correction_of_m,
            "m is used as it is and only v is corrected; divide m by 1 − beta1^step too.",
            STEP,
        ),
        Mistake(
            "v-not-corrected",
            no_correction_of_v,
            "v is used as it is and only m is corrected; divide v by 1 − beta2^step too.",
            STEP,
        ),
        Mistake(
            "correction-times-step",
            times_step,
            "β is multiplied by the step; the correction is 1 − β to the power of step.",
            STEP,
        ),
        Mistake(
            "correction-of-another-form",
            power_of_the_rest,
            "the correction divides by another number than 1 − β^step; in m, the shares of the "
            "gradients so far add up to that.",
            STEP,
            also=(first_step_always, only_power),
        ),
        Mistake(
            "step-from-zero",
            step_from_zero,
            "the step is counted from another number; it is 1 at the first step, when 1 − β^1 "
            "makes m̂ the gradient itself. Use step as it comes.",
            STEP,
            also=(step_too_far,),
        ),
        Mistake(
            "hats-kept",
            hats_kept,
            "the corrected means come back as the new state and would be corrected again at the "
            "next step; return m and v themselves.",
            STEP,
        ),
        Mistake(
            "old-state-returned",
            old_state_returned,
            "m and v come back as they were; return the new ones.",
            STEP,
        ),
        Mistake(
            "old-state-used",
            old_state,
            "the step is made with m and v from before this gradient; move them on first.",
            STEP,
        ),
        Mistake(
            "eps-inside-the-root",
            eps_inside,
            "eps is added beneath the root; with torch's convention it is added to the root.",
            STEP,
            also=(eps_inside_squared,),
        ),
        Mistake(
            "eps-before-the-correction",
            eps_before_correction,
            "eps is added to the root of v and both are corrected; correct v first, take the root, "
            "then add eps as it is.",
            STEP,
        ),
        Mistake(
            "eps-left-out",
            eps_left_out,
            "eps is not in the divisor, and a weight that has had no gradient gets 0/0, NaN.",
            STEP,
            also=(eps_added_to_the_quotient,),
        ),
        Mistake(
            "eps-as-a-bound",
            eps_as_a_bound,
            "eps is taken as a lower bound of the root; it is added to it.",
            STEP,
        ),
        Mistake(
            "root-left-out",
            root_left_out,
            "m̂ is divided by v̂ itself; divide by its root, so that the step does not depend on "
            "the size of the gradients.",
            STEP,
            also=(root_of_all,),
        ),
        Mistake(
            "multiplied-by-the-root",
            multiplied,
            "m̂ is multiplied by √v̂ + eps; divide by it.",
            STEP,
        ),
        Mistake(
            "not-squared",
            not_squared,
            "v averages the gradient itself, not its square; the root of a negative one is NaN.",
            STEP,
            also=(size_alone,),
        ),
        Mistake(
            "square-of-m",
            square_of_m,
            "v averages the square of m; it averages the square of the gradient.",
            STEP,
        ),
        Mistake(
            "one-size-for-all",
            square_of_all,
            "v holds the norm of the whole gradient; every weight has a v of its own, from its own "
            "gradient.",
            STEP,
            also=(mean_square_of_all,),
        ),
        Mistake(
            "betas-swapped",
            betas_swapped,
            "beta1 and beta2 have changed places; beta1 is that of m, beta2 that of v.",
            STEP,
        ),
        Mistake(
            "one-beta-for-both",
            beta1_for_both,
            "one beta is used for both means; beta1 is that of m, beta2 that of v.",
            STEP,
            also=(beta2_for_both,),
        ),
        Mistake(
            "shares-swapped",
            shares_swapped,
            "the old mean gets 1 − β and the gradient β; the old mean is kept with β.",
            STEP,
            also=(shares_swapped_in_m, shares_swapped_in_v),
        ),
        Mistake(
            "gradient-undamped",
            both_undamped,
            "the gradient (or its square) is added whole, as in SGD with momentum; in a running "
            "mean it has the share 1 − β.",
            STEP,
            also=(m_undamped, v_undamped, adagrad),
        ),
        Mistake(
            "past-forgotten",
            m_not_kept,
            "m holds nothing of the gradients before; keep β of the old mean.",
            STEP,
            also=(m_is_the_gradient,),
        ),
        Mistake(
            "gradient-for-m",
            rmsprop,
            "the gradient itself is divided by the root, as RMSprop does; AdamW divides m̂, the "
            "mean of the gradients (alone, without a look ahead).",
            STEP,
            also=(nesterov,),
        ),
        Mistake(
            "not-scaled",
            momentum_alone,
            "the step is not divided by √v̂ + eps; each weight's own step size comes from that.",
            STEP,
            also=(gradient_alone,),
        ),
        Mistake(
            "sign-alone",
            sign_alone,
            "every weight moves by lr, in the direction of a sign; only at the first step that is "
            "what AdamW does.",
            STEP,
            also=(sign_of_gradient,),
        ),
        Mistake(
            "change-returned",
            change_alone,
            "the change comes back in place of the weight; return the new parameter.",
            STEP,
            also=(change_without_sign,),
        ),
        Mistake(
            "order-swapped",
            v_before_m,
            "the three have changed places; parameter comes first, then m, then v.",
            STEP,
            also=(state_first,),
        ),
        Mistake(
            "parameter-alone",
            parameter_alone,
            "the parameter alone comes back; return m and v too, or the next step starts anew.",
            STEP,
        ),
        Mistake(
            "state-alone",
            state_alone,
            "m and v come back alone; return the new parameter in front of them.",
            STEP,
        ),
        Mistake(
            "root-kept",
            root_kept,
            "the root of v comes back as the new state; return v itself.",
            STEP,
        ),
    ),
    alternatives=(as_torch_does, number_by_number, with_a_rescaled_eps),
    hints=(
        "Three things are kept for each weight: itself, a mean of its gradients, a mean of their "
        "squares. Write the two means first; what share does the newest gradient get in each?",
        "At the first step m is only 1 − beta1 of the gradient. By what must it be divided to be "
        "the whole gradient, and by what at the second step, if the gradient stays the same?",
        "The weight moves for two reasons, which know nothing of each other. One looks only at the "
        "old weight, one only at the corrected means. Keep them apart, and return the means "
        "uncorrected.",
    ),
    read=STEP,
)
