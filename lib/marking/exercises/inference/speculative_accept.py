"""inference.speculative_accept: which of a draft's tokens stay, and the model's own after them."""

from functools import partial

import torch

from clearhead.inference import speculative_accept
from marking.exercise import Exercise, Mistake
from marking.exercises.inference._proposals import (
    LUCKY,
    NEVER,
    SURE,
    UNLUCKY,
    proposals,
)

# --- situations: a mistake shows in one always or never ------------------------------------------


def all_accepted(draw):
    return proposals(draw, SURE, LUCKY, *draw.choice((), (SURE,), (SURE, LUCKY)))


def first_rejected(draw):
    return proposals(draw, UNLUCKY, SURE, *draw.choice((), (SURE,), (SURE, LUCKY)))


def middle_rejected(draw):
    return proposals(draw, *draw.choice((SURE, LUCKY), (LUCKY, SURE)), UNLUCKY, SURE, SURE)


def last_rejected(draw):
    return proposals(draw, *draw.choice((SURE, LUCKY), (LUCKY, SURE)), UNLUCKY)


def two_rejections(draw):
    before = draw.choice((SURE, LUCKY), (LUCKY, SURE))
    return proposals(draw, *before, UNLUCKY, *draw.choice((), (SURE,)), UNLUCKY, SURE)


def one_accepted(draw):
    return proposals(draw, SURE)


def one_rejected(draw):
    return proposals(draw, UNLUCKY)


def only_lucky(draw):
    """The draft is too sure of each token, and each number is small enough all the same."""
    return proposals(draw, *[LUCKY] * draw.size(2, 4))


def exactly_zero(draw):
    """The model never says what the draft proposed, and both numbers are 0."""
    return proposals(draw, *draw.choice((SURE, LUCKY), (LUCKY, SURE)), NEVER)


def certain_draft(draw):
    """A draft that looks its words up has all of its probability on one token."""
    more = draw.choice((), (LUCKY,))
    return proposals(draw, LUCKY, *more, UNLUCKY, LUCKY, certain=True)


# --- mistakes: one change each to `_accept`, or a function of their own -------------------------


def _left(p, q, x):
    return (p - q).clamp(min=0)


def _first_rejection(ok):
    """How many are accepted before it."""
    return ok.index(False) if False in ok else len(ok)


def _draw(weights, u):
    return int((weights.cumsum(0) > u * weights.sum()).int().argmax())


def _accept(
    draft_tokens,
    draft_probs,
    target_probs,
    uniforms,
    *,
    accepts=lambda u, q, p: u * q < p,
    row=0,
    count=_first_rejection,
    weights=_left,
    weights_row=0,
    draw=_draw,
    number=lambda uniforms, place: uniforms[-1],
    rejected=lambda x, own: [own],
    bonus=lambda target_probs, draft_probs: target_probs[-1],
    bonus_number=lambda uniforms: uniforms[-1],
    all_accepted=lambda own: [own],
    finish=lambda new, ok: torch.tensor(new, dtype=torch.int64),
):
    """As it stands it is right."""
    tokens = draft_tokens.tolist()
    ok = [
        bool(accepts(uniforms[i], draft_probs[i, x], target_probs[i + row, x]))
        for i, x in enumerate(tokens)
    ]
    n = count(ok)
    new = tokens[:n]
    if n < len(tokens):
        left = weights(target_probs[n + weights_row], draft_probs[n], tokens[n])
        new += rejected(tokens[n], draw(left, number(uniforms, n)))
    else:
        own = draw(bonus(target_probs, draft_probs), bonus_number(uniforms))
        new += all_accepted(own)
    return finish(new, ok)


def _accepts(accepts):
    return partial(_accept, accepts=accepts)


def _weights(weights):
    return partial(_accept, weights=weights)


def _number(number):
    return partial(_accept, number=number)


def _bonus(bonus):
    return partial(_accept, bonus=bonus)


def _finish(finish):
    return partial(_accept, finish=finish)


likelier_only = _accepts(lambda u, q, p: p >= q)
likelier_only_strictly = _accepts(lambda u, q, p: p > q)
ratio_upside_down = _accepts(lambda u, q, p: u * p < q)
number_against_target = _accepts(lambda u, q, p: u < p)
number_against_draft = _accepts(lambda u, q, p: u < q)
comparison_turned_round = _accepts(lambda u, q, p: u * q >= p)
equal_accepted = _accepts(lambda u, q, p: u * q <= p)
all_taken = _accepts(lambda u, q, p: True)
none_taken = _accepts(lambda u, q, p: False)
row_after = partial(_accept, row=1)
row_after_throughout = partial(_accept, row=1, weights_row=1)

accepted_anywhere = partial(_accept, count=sum)
all_or_none = partial(_accept, count=lambda ok: len(ok) if all(ok) else 0)

from_target = _weights(lambda p, q, x: p)
from_draft = _weights(lambda p, q, x: q)
from_draft_less_target = _weights(lambda p, q, x: (q - p).clamp(min=0))
from_difference = _weights(lambda p, q, x: (p - q).abs())
from_target_without_it = _weights(lambda p, q, x: p.index_fill(0, torch.tensor(x), 0.0))
row_after_for_rest = partial(_accept, weights_row=1)


def _highest(weights, u):
    return int(weights.argmax())


def _searched(weights, u):
    """A search among sums that need not reach 1 may end behind the last."""
    return int(torch.searchsorted(weights.cumsum(0), u, right=True))


def _searched_and_clamped(weights, u):
    return min(_searched(weights, u), len(weights) - 1)


def _argmax_of_none(weights, u):
    return int((weights.cumsum(0) > u).int().argmax())


def _first_of_none(weights, u):
    return int((weights.cumsum(0) > u).nonzero()[0])


def _reaching(weights, u):
    return int((weights.cumsum(0) >= u * weights.sum()).int().argmax())


highest = partial(_accept, draw=_highest)
rest_not_normalised = tuple(
    partial(_accept, draw=draw)
    for draw in (_searched_and_clamped, _searched, _argmax_of_none, _first_of_none)
)
reaching = partial(_accept, draw=_reaching)
one_id_later = partial(_accept, draw=lambda weights, u: _draw(weights, u) + 1)
one_id_earlier = partial(_accept, draw=lambda weights, u: _draw(weights, u) - 1)
raw_difference = partial(
    _accept, weights=lambda p, q, x: p - q, draw=lambda weights, u: _argmax_of_none(weights, u)
)

number_of_the_rejected = _number(lambda uniforms, place: uniforms[place])
number_of_the_next = _number(lambda uniforms, place: uniforms[place + 1])
number_of_the_first = _number(lambda uniforms, place: uniforms[0])
bonus_with_first = partial(_accept, bonus_number=lambda uniforms: uniforms[0])
bonus_with_last_but_one = partial(_accept, bonus_number=lambda uniforms: uniforms[-2])

replacement_dropped = partial(_accept, rejected=lambda x, own: [])
rejected_kept = partial(_accept, rejected=lambda x, own: [x])
rejected_kept_too = partial(_accept, rejected=lambda x, own: [x, own])

no_bonus = partial(_accept, all_accepted=lambda own: [])
bonus_row_before = _bonus(lambda target_probs, draft_probs: target_probs[-2])
bonus_from_draft = _bonus(lambda target_probs, draft_probs: draft_probs[-1])
bonus_from_rest = _bonus(lambda p, q: (p[-1] - q[-1]).clamp(min=0))
bonus_highest = partial(
    _accept,
    bonus=lambda target_probs, draft_probs: torch.nn.functional.one_hot(
        target_probs[-1].argmax(), target_probs.shape[1]
    ).to(target_probs.dtype),
)

a_list = _finish(lambda new, ok: list(new))
as_float = _finish(lambda new, ok: torch.tensor(new, dtype=torch.float32))
int32 = _finish(lambda new, ok: torch.tensor(new, dtype=torch.int32))
a_row = _finish(lambda new, ok: torch.tensor([new]))
the_count = _finish(lambda new, ok: _first_rejection(ok))
the_count_as_tensor = _finish(lambda new, ok: torch.tensor(_first_rejection(ok)))
the_mask = _finish(lambda new, ok: torch.tensor(ok))
own_alone = _finish(lambda new, ok: torch.tensor(new[-1:]))
with_count = _finish(lambda new, ok: (torch.tensor(new), _first_rejection(ok)))
padded = tuple(
    _finish(partial(lambda by, new, ok: torch.tensor(new + [by] * (len(ok) + 1 - len(new))), fill))
    for fill in (-1, 0)
)


def nothing_as_float(draft_tokens, draft_probs, target_probs, uniforms):
    """torch.tensor([]) is a tensor of floats."""
    new = replacement_dropped(draft_tokens, draft_probs, target_probs, uniforms)
    return new if len(new) else torch.tensor([])


def bonus_after_rejection(draft_tokens, draft_probs, target_probs, uniforms):
    """The last row's token is added whatever happened before."""
    inputs = (draft_tokens, draft_probs, target_probs, uniforms)
    new, own = _accept(*inputs), _draw(target_probs[-1], uniforms[-1])
    rejected = not all(_accept(*inputs, finish=lambda new, ok: ok))
    return torch.cat([new, torch.tensor([own])]) if rejected else new


def _on_and_on(draft_tokens, draft_probs, target_probs, uniforms, replaced, bonus):
    new, stopped = [], False
    for i, x in enumerate(draft_tokens.tolist()):
        p, q = target_probs[i], draft_probs[i]
        if uniforms[i] * q[x] < p[x]:
            new.append(x)
        else:
            stopped = True
            new += [_draw(_left(p, q, x), uniforms[-1])] if replaced else []
    if bonus or not stopped:
        new.append(_draw(target_probs[-1], uniforms[-1]))
    return torch.tensor(new, dtype=torch.int64)


goes_on = tuple(
    partial(_on_and_on, replaced=replaced, bonus=bonus)
    for replaced, bonus in ((True, False), (True, True), (False, True), (False, False))
)


# --- other right answers -------------------------------------------------------------------------


def token_by_token(draft_tokens, draft_probs, target_probs, uniforms):
    new = []
    for i in range(len(draft_tokens)):
        x = int(draft_tokens[i])
        ratio = min(1.0, float(target_probs[i][x] / draft_probs[i][x]))
        if float(uniforms[i]) < ratio:
            new.append(x)
            continue
        rest = torch.relu(target_probs[i] - draft_probs[i])
        rest = rest / rest.sum()
        break
    else:
        rest = target_probs[len(draft_tokens)]
    total = 0.0
    for x, share in enumerate(rest.tolist()):
        total += share
        if total > float(uniforms[-1]):
            return torch.tensor([*new, x])
    return torch.tensor([*new, len(rest) - 1])


def searchsorted(draft_tokens, draft_probs, target_probs, uniforms):
    n, V = draft_probs.shape
    ratio = target_probs[:n].gather(1, draft_tokens[:, None]) / draft_probs.gather(
        1, draft_tokens[:, None]
    )
    refused = (uniforms[:n, None] >= ratio).flatten().nonzero()
    stop = int(refused[0]) if len(refused) else n
    padded = torch.cat([draft_probs, draft_probs.new_zeros(1, V)])  # nothing is taken at the end
    rest = torch.maximum(target_probs[stop] - padded[stop], torch.zeros(V).to(target_probs))
    sums = (rest / rest.sum()).cumsum(0)
    own = torch.searchsorted(sums, uniforms[n:], right=True).clamp(max=V - 1)
    return torch.cat((draft_tokens[:stop], own))


def less_what_both_share(draft_tokens, draft_probs, target_probs, uniforms):
    """p less min(p, q) is what remains of p."""
    n = len(draft_tokens)
    picked = torch.arange(n), draft_tokens
    stays = uniforms[:-1] * draft_probs[picked] < target_probs[:-1][picked]
    kept = int(torch.cumprod(stays.to(torch.int64), 0).sum())
    left = target_probs[kept].clone()
    if kept != n:
        left -= torch.minimum(left, draft_probs[kept])
    below = left.cumsum(0) <= uniforms[n] * left.sum()
    return torch.cat([draft_tokens[:kept], below.sum().view(1)])


SPEAK = "inference/03_choosing_tokens#can-a-small-model-speak-for-a-large-one"
EXACT = "inference/03_choosing_tokens#why-is-the-distribution-exact"

SPECULATIVE_ACCEPT = Exercise(
    id="inference.speculative_accept",
    title="What the model keeps of a draft",
    returns="a 1-D tensor of token ids (int64): those accepted and one of the model's own",
    points=4,
    difficulty=3,
    minutes=35,
    reference=speculative_accept,
    cases={
        "one proposal, accepted": one_accepted,
        "one proposal, rejected": one_rejected,
        "all accepted": all_accepted,
        "the first rejected": first_rejected,
        "rejected in the middle": middle_rejected,
        "the last rejected": last_rejected,
        "two rejections": two_rejections,
        "all accepted by luck": only_lucky,
        "numbers of exactly 0": exactly_zero,
        "a certain draft": certain_draft,
    },
    mistakes=(
        Mistake(
            "likelier-only",
            likelier_only,
            "a token stays only when the model finds it at least as likely as the draft did; where "
            "it is less likely it still stays with probability p/q, which its uniform number "
            "decides.",
            EXACT,
            also=(likelier_only_strictly,),
        ),
        Mistake(
            "ratio-upside-down",
            ratio_upside_down,
            "the uniform number is compared with q/p; the acceptance probability is p/q, the "
            "model's over the draft's.",
            EXACT,
        ),
        Mistake(
            "number-against-target",
            number_against_target,
            "the uniform number is compared with the model's probability itself; the draft has "
            "chosen the token with probability q already, so compare with p/q.",
            EXACT,
        ),
        Mistake(
            "number-against-draft",
            number_against_draft,
            "the uniform number is compared with the draft's own probability; it is the model's "
            "over the draft's that decides.",
            EXACT,
        ),
        Mistake(
            "comparison-turned-round",
            comparison_turned_round,
            "tokens are kept where they should be rejected, and rejected where they should be "
            "kept; one stays when its number is below p/q.",
            SPEAK,
        ),
        Mistake(
            "equal-accepted",
            equal_accepted,
            "a token stays when u·q equals p, so one that the model never says (p = 0) gets "
            "through with u = 0; the comparison is <.",
            SPEAK,
        ),
        Mistake(
            "all-accepted",
            all_taken,
            "every proposal is kept; then the draft speaks, and not the model.",
            SPEAK,
        ),
        Mistake(
            "none-accepted",
            none_taken,
            "no proposal is kept; then nothing is gained by the draft.",
            SPEAK,
        ),
        Mistake(
            "target-row-after",
            row_after,
            "proposal i is judged by row i + 1 of target_probs; row i is the model's distribution "
            "for the place where the draft wrote token i.",
            SPEAK,
            also=(row_after_throughout,),
        ),
        Mistake(
            "rest-of-row-after",
            row_after_for_rest,
            "after a rejection the model's next row is taken; the replacement stands at the "
            "rejected place, so it comes from that place's rows.",
            SPEAK,
        ),
        Mistake(
            "accepted-anywhere",
            accepted_anywhere,
            "accepted proposals are counted wherever they stand; only those before the first "
            "rejection stay, for the later ones were written after a token that is gone.",
            SPEAK,
        ),
        Mistake(
            "all-or-none",
            all_or_none,
            "one rejection throws all proposals away; those before it stay.",
            SPEAK,
        ),
        Mistake(
            "goes-on-after-rejection",
            goes_on[0],
            "the walk goes on after a rejection; the later proposals were written after a token "
            "that is gone, so stop there.",
            SPEAK,
            also=goes_on[1:],
        ),
        Mistake(
            "replacement-from-target",
            from_target,
            "the replacement is drawn from the model's whole distribution; what the draft "
            "already gets accepted would be counted twice. Draw from max(p − q, 0), normalised.",
            EXACT,
        ),
        Mistake(
            "replacement-from-draft",
            from_draft,
            "the replacement is drawn from the draft's distribution; it comes from what the draft "
            "leaves of the model's.",
            EXACT,
        ),
        Mistake(
            "difference-upside-down",
            from_draft_less_target,
            "the replacement is drawn from max(q − p, 0), the tokens that the draft says too "
            "often; it has to make up for those that it says too rarely.",
            EXACT,
        ),
        Mistake(
            "difference-not-clamped",
            from_difference,
            "negative differences are not set to 0 (their size is taken, or they stand among the "
            "sums); a token that the draft says often enough needs no more.",
            EXACT,
            also=(raw_difference,),
        ),
        Mistake(
            "only-the-rejected-removed",
            from_target_without_it,
            "only the rejected token is taken out of the model's distribution; subtract the "
            "draft's whole row. The two agree when the draft is certain.",
            EXACT,
        ),
        Mistake(
            "rest-not-normalised",
            rest_not_normalised[0],
            "max(p − q, 0) does not add up to 1, and the uniform number is compared with its sums "
            "as they are; divide by their total first.",
            EXACT,
            also=rest_not_normalised[1:],
        ),
        Mistake(
            "likeliest-taken",
            highest,
            "the model's own token is the likeliest one, not drawn; take the smallest id whose "
            "cumulative probability exceeds the last uniform number.",
            SPEAK,
        ),
        Mistake(
            "likeliest-bonus",
            bonus_highest,
            "when all are accepted, the additional token is the likeliest, not drawn; use the last "
            "uniform number for it as well.",
            SPEAK,
        ),
        Mistake(
            "sum-reaches",
            reaching,
            "the smallest id whose sum reaches the number is taken, so that 0 draws token 0 even "
            "if its probability is 0; the sum has to exceed it.",
            SPEAK,
        ),
        Mistake(
            "one-id-off",
            one_id_later,
            "the drawn id is next to the right one; it is the first place where the cumulative sum "
            "exceeds the number, counted from 0.",
            SPEAK,
            also=(one_id_earlier,),
        ),
        Mistake(
            "number-of-the-rejected",
            number_of_the_rejected,
            "the replacement is drawn with a number that has been used (or is not meant for it); "
            "having led to a rejection, it is no longer uniform. Use the last one.",
            EXACT,
            also=(number_of_the_next, number_of_the_first),
        ),
        Mistake(
            "bonus-with-a-used-number",
            bonus_with_first,
            "the additional token is drawn with a number that a proposal has used; use the last.",
            EXACT,
            also=(bonus_with_last_but_one,),
        ),
        Mistake(
            "replacement-dropped",
            replacement_dropped,
            "after a rejection nothing is put in the place; a pass of the model always gives a "
            "token of its own, so there is at least one.",
            SPEAK,
            also=(nothing_as_float,),
        ),
        Mistake(
            "rejected-kept",
            rejected_kept,
            "the rejected token stays in the result; its replacement takes its place.",
            SPEAK,
            also=(rejected_kept_too,),
        ),
        Mistake(
            "no-bonus",
            no_bonus,
            "when all proposals are accepted, one more token is due: the model's pass has given "
            "its distribution after the last of them.",
            SPEAK,
        ),
        Mistake(
            "bonus-after-rejection",
            bonus_after_rejection,
            "after a rejection the additional token is drawn too; the model's last row was "
            "computed after tokens that are gone.",
            SPEAK,
        ),
        Mistake(
            "bonus-from-the-row-before",
            bonus_row_before,
            "the additional token comes from the row of the last proposal; target_probs has one "
            "row more, which is for it.",
            SPEAK,
        ),
        Mistake(
            "bonus-from-draft",
            bonus_from_draft,
            "the additional token is drawn from the draft's last row; it is the model's own.",
            SPEAK,
        ),
        Mistake(
            "bonus-from-the-rest",
            bonus_from_rest,
            "the additional token is drawn from a difference to the draft; the draft has no row "
            "for that place, so the model's distribution is taken whole.",
            EXACT,
        ),
        Mistake(
            "not-a-row-of-ids",
            a_list,
            "the ids do not come back as a 1-D tensor of int64.",
            SPEAK,
            also=(as_float, int32, a_row, with_count),
        ),
        Mistake(
            "not-the-tokens",
            the_count,
            "what comes back says which proposals stay, or how many (or only the model's own "
            "token); return all new tokens.",
            SPEAK,
            also=(the_count_as_tensor, the_mask, own_alone),
        ),
        Mistake(
            "padded",
            padded[0],
            "the result is filled up to n + 1; return the new tokens alone.",
            SPEAK,
            also=padded[1:],
        ),
    ),
    alternatives=(token_by_token, searchsorted, less_what_both_share),
    hints=(
        "Take three tokens, q = (0.5, 0.3, 0.2) and p = (0.2, 0.3, 0.5), on paper. How often does "
        "the draft say each, how often may it, and which of them has to come more often?",
        "Walk through the proposals until one fails or all have passed. Either way exactly one "
        "more token is due, and there is one uniform number that nobody has used.",
        "A token that is rejected has been said too often by the draft. Look at the sign of the "
        "difference at every id, and at what your weights add up to before you compare sums with "
        "a number. Which of target_probs' rows belongs to no proposal?",
    ),
    read=SPEAK,
)
