"""training.sft_labels: which tokens of a conversation are learned."""

import itertools
from functools import partial
from typing import NamedTuple

import torch

from clearhead.training import sft_labels as reference
from marking.exercise import Exercise, Mistake

IGNORED = -100

# --- situations: conversations of ids ----------------------------------------------------------


class Ids(NamedTuple):
    """The ids of a template, and of the words that a conversation is made of."""

    start: int
    line: int
    roles: dict[str, list[int]]
    end: int
    pad: int
    words: list[int]


def _ids(draw, *, names=1, pad_is_end=False):
    """All different, none 0; a role's name takes so many ids."""
    if draw.level is not None:
        ids = list(range(1, 60))
    else:
        ids = draw.sizes(60, 1, 400)
    take = iter(ids)
    start, line, end, pad = (next(take) for _ in range(4))
    roles = {role: [next(take) for _ in range(names)] for role in "sua"}
    return Ids(start, line, roles, end, end if pad_is_end else pad, list(take))


def _header(ids, role):
    return [ids.start, *ids.roles[role], ids.line]


def _words(draw, ids, low=2, high=5):
    return [draw.choice(*ids.words) for _ in range(draw.size(low, high, small=min(low, 2)))]


def _turn(draw, ids, role, words=None):
    words = _words(draw, ids) if words is None else words
    return [*_header(ids, role), *words, ids.end, ids.line]


def _talk(draw, ids, roles):
    return [token for role in roles for token in _turn(draw, ids, role)]


def _inputs(ids, *rows, pads=0):
    """The rows filled up at the right to the longest, and with `pads` more."""
    longest = max(map(len, rows)) + pads
    return {
        "ids": torch.tensor([row + [ids.pad] * (longest - len(row)) for row in rows]),
        "header": torch.tensor(_header(ids, "a")),
        "end": ids.end,
        "pad": ids.pad,
    }


def one_answer(draw):
    ids = _ids(draw)
    return _inputs(ids, _talk(draw, ids, "ua"))


def several_answers(draw):
    ids = _ids(draw)
    return _inputs(ids, _talk(draw, ids, "uaua" if draw.level is not None else "suaua"))


def a_padded_batch(draw):
    """Rows that differ, and padding in all of them."""
    ids = _ids(draw)
    rows = _talk(draw, ids, "uaua"), _talk(draw, ids, "ua")
    return _inputs(ids, *rows, pads=draw.size(2, 4, small=2))


def padded_with_the_end(draw):
    ids = _ids(draw, pad_is_end=True)
    rows = _talk(draw, ids, "ua"), _talk(draw, ids, "uaua")
    return _inputs(ids, *rows, pads=draw.size(2, 4, small=2))


def end_before_the_padding(draw):
    """No line break between the end of the answer and the padding, which is the end token too."""
    ids = _ids(draw, pad_is_end=True)
    rows = _talk(draw, ids, "ua")[:-1], _talk(draw, ids, "sua")[:-1]
    return _inputs(ids, *rows, pads=draw.size(2, 4, small=2))


def cut_off(draw):
    """The first row ends within its answer, and the next begins another conversation."""
    ids = _ids(draw)
    first = [*_talk(draw, ids, "u"), *_header(ids, "a")]
    second = _talk(draw, ids, "ua")
    words = [draw.choice(*ids.words) for _ in range(max(2, len(second) - len(first)))]
    row = first + words
    return _inputs(ids, row, second + _turn(draw, ids, "u")[: len(row) - len(second)])


def cut_off_and_padded(draw):
    ids = _ids(draw)
    first = [*_talk(draw, ids, "ua"), *_talk(draw, ids, "u"), *_header(ids, "a")]
    first += _words(draw, ids)
    return _inputs(ids, first, pads=draw.size(2, 5, small=2))


def no_answer(draw):
    """One row holds no assistant turn."""
    ids = _ids(draw)
    rows = _talk(draw, ids, "su"), _talk(draw, ids, "ua")
    return _inputs(ids, *rows, pads=2)


def ends_with_a_header(draw):
    """The model's turn begins, and nothing of it is there."""
    ids = _ids(draw)
    return _inputs(ids, [*_talk(draw, ids, "uau"), *_header(ids, "a")])


def holds_the_padding(draw):
    """An answer in which the id of the padding, and id 0, stand as words."""
    ids = _ids(draw)
    words = _words(draw, ids)
    answer = [*words, ids.pad, *_words(draw, ids), 0, words[0]]
    row = [*_talk(draw, ids, "u"), *_turn(draw, ids, "a", answer)]
    return _inputs(ids, row, pads=draw.size(2, 4, small=2))


def names_in_the_question(draw):
    """The word "assistant" stands in a question, at a line's end too, and "user" in the answer."""
    ids = _ids(draw)
    name, line = ids.roles["a"], ids.line
    asked = [*_words(draw, ids), *name, *_words(draw, ids), *name, line, *_words(draw, ids)]
    answer = [*_words(draw, ids), *ids.roles["u"], line, *_words(draw, ids)]
    return _inputs(ids, _turn(draw, ids, "u", asked) + _turn(draw, ids, "a", answer))


def a_longer_header(draw):
    """A name of two or three ids."""
    ids = _ids(draw, names=draw.size(2, 3, small=2))
    return _inputs(ids, _talk(draw, ids, "uaua"))


def an_empty_answer(draw):
    """Its end is all there is to learn."""
    ids = _ids(draw)
    row = [*_talk(draw, ids, "u"), *_turn(draw, ids, "a", []), *_talk(draw, ids, "ua")]
    return _inputs(ids, row)


def less_than_a_header(draw):
    """The last word of a conversation and its end, and a row of padding alone."""
    ids = _ids(draw)
    return _inputs(ids, [*_words(draw, ids, 1, 1), ids.end], [])


# --- mistakes: one change each to `_labels` ------------------------------------------------------


class Answer(NamedTuple):
    """Where the words of an answer begin, and the place behind them and their end token."""

    first: int
    behind: int
    closed: bool


def _real(row, end, pad):
    """Tokens before the padding."""
    real = len(row)
    while pad != end and real and row[real - 1] == pad:
        real -= 1
    return real


def _begins(row, header, t):
    """Do the header's tokens stand right before t?"""
    return t >= len(header) and row[t - len(header) : t] == header


def _answers(row, header, end, real, begins):
    """A header at the very end opens one without a token."""
    found, first = [], None
    for t in range(real + 1):
        if first is None and begins(row, header, t):
            first = t
        if first is not None and t < real and row[t] == end:
            found.append(Answer(first, t + 1, True))
            first = None
    return found if first is None else [*found, Answer(first, real, False)]


def _spans(answers, row, header, end, real):
    return [(a.first, a.behind) for a in answers]


def _labels(
    ids,
    header,
    end,
    pad,
    *,
    real=_real,
    begins=_begins,
    chosen=lambda answers: answers,
    spans=_spans,
    ignored=IGNORED,
    hide=lambda labels, ids, end, pad: labels,
    finish=lambda labels, ids, pad: labels,
):
    """As it stands it is right."""
    header, rows = header.tolist(), []
    for row in ids.tolist():
        n, labels = real(row, end, pad), [ignored] * len(row)
        answers = chosen(_answers(row, header, end, n, begins))
        for first, behind in spans(answers, row, header, end, n):
            labels[max(first, 0) : behind] = row[max(first, 0) : behind]
        rows.append(labels)
    return finish(hide(torch.tensor(rows), ids, end, pad), ids, pad)


def _change(name, *changes):
    return tuple(partial(_labels, **{name: change}) for change in changes)


def _moved(before, behind, when=lambda a: True):
    """Spans that begin and end so many places later."""

    def spans(answers, row, header, end, real):
        return [(a.first + before, a.behind + behind * when(a)) for a in answers]

    return spans


def _with_header(answers, row, header, end, real):
    return [(a.first - len(header), a.behind) for a in answers]


def _with_name(answers, row, header, end, real):
    return [(a.first - len(header) + 1, a.behind) for a in answers]


def _and_one_more(answers, row, header, end, real):
    """One token behind the end, if it is no padding."""
    return [(a.first, min(a.behind + 1, _text(row, end, real))) for a in answers]


def _from_first_on(answers, row, header, end, real):
    """All that follows the first header, but the padding."""
    return [(answers[0].first, _text(row, end, real))] if answers else []


def _from_last_on(answers, row, header, end, real):
    return [(answers[-1].first, _text(row, end, real))] if answers else []


def _text(row, end, real):
    """`real` less the end tokens at the right but one, which are padding if there are several."""
    while real > 1 and row[real - 2 : real] == [end, end]:
        real -= 1
    return real


def _turned(answers, row, header, end, real):
    """All but the answers."""
    inside = {t for a in answers for t in range(a.first, a.behind)}
    return [(t, t + 1) for t in range(_text(row, end, real)) if t not in inside]


def _and_other_ends(answers, row, header, end, real):
    others = [(t, t + 1) for t in range(_text(row, end, real)) if row[t] == end]
    return [*_spans(answers, row, header, end, real), *others]


def _by_part(part):
    """A header is found by some of its tokens alone."""

    def begins(row, header, t):
        return t >= len(header) and part(row[t - len(header) : t]) == part(header)

    return begins


def _by_name(row, header, t):
    """The token before the last is the role, and that is enough."""
    return t >= 2 and row[t - 2] == header[-2]


def _three(row, header, t):
    """The header of ChatML has three tokens."""
    return t >= 3 and row[t - 3 : t] == header[:3]


def _prompt_of_first_row(ids, header, end, pad):
    """How long the prompt is, counted in row 0."""
    row = ids[0].tolist()
    n = _real(row, end, pad)
    answers = _answers(row, header.tolist(), end, n, _begins)
    labels = ids.clone()
    labels[:, : answers[0].first if answers else n] = IGNORED
    return labels


def _all(answers, row, header, end, real):
    return [(0, len(row))]


def _all_real(answers, row, header, end, real):
    return [(0, real)]


def _all_text(answers, row, header, end, real):
    return [(0, _text(row, end, real))]


def _mask_pad(labels, ids, end, pad):
    return labels.masked_fill(ids == pad, IGNORED)


def _shifted(labels, ids, pad):
    return torch.cat((labels[:, 1:], torch.full_like(labels[:, :1], IGNORED)), dim=1)


def _shifted_right(labels, ids, pad):
    return torch.cat((torch.full_like(labels[:, :1], IGNORED), labels[:, :-1]), dim=1)


def _mask(kind):
    return lambda labels, ids, pad: (labels != IGNORED).to(kind)


def _closed(a):
    return a.closed


not_masked = (
    *_change("spans", _all, _all_real, _all_text),
    partial(_labels, spans=_all, hide=_mask_pad),
)
roles_turned = _change("spans", _turned)
shifted = _change(
    "finish",
    _shifted,
    _shifted_right,
    lambda labels, ids, pad: labels.roll(-1, dims=1),
    lambda labels, ids, pad: labels[:, 1:],
)
early = _change("spans", _moved(-1, 0))
late = _change("spans", _moved(1, 0))
header_learned = _change("spans", _with_header)
name_learned = _change(
    "spans",
    lambda answers, row, header, end, real: [
        (a.first - len(header) + 1, a.behind) for a in answers
    ],
)
window_moved = _change("spans", _moved(-1, -1), _moved(1, 1))
end_not_learned = _change("spans", _moved(0, -1, _closed))
last_word_lost = _change("spans", _moved(0, -2, _closed))
one_more = _change("spans", _moved(0, 1, _closed), _and_one_more)
cut_off_dropped = _change("chosen", lambda answers: [a for a in answers if a.closed])
cut_off_shortened = _change("spans", _moved(0, -1, lambda a: not a.closed))
last_always_lost = _change("spans", _moved(0, -1))
first_only = _change("chosen", lambda answers: answers[:1])
last_only = _change("chosen", lambda answers: answers[-1:])
from_first_on = _change("spans", _from_first_on)


def _to_the_end(answers, row, header, end, real):
    return [(answers[0].first, len(row))] if answers else []


def _to_the_padding(answers, row, header, end, real):
    return [(answers[0].first, real)] if answers else []


def _or_all(answers, row, header, end, real):
    """Where there is no header, nothing is left out."""
    return [(answers[0].first if answers else 0, len(row))]


def _without_right_pads(row, end, pad):
    real = len(row)
    while real and row[real - 1] == pad:
        real -= 1
    return real


def to_the_first_pad(ids, header, end, pad):
    """From the first header to the first token of padding behind it, wherever that stands."""
    labels = torch.full_like(ids, IGNORED)
    for b, row in enumerate(ids.tolist()):
        for t in range(len(row)):
            if _begins(row, header.tolist(), t):
                stop = row.index(pad, t) if pad in row[t:] else len(row)
                labels[b, t:stop] = ids[b, t:stop]
                break
    return labels


from_first_on += (
    *_change("spans", _to_the_end, _to_the_padding, _or_all),
    *(partial(_labels, spans=spans, hide=_mask_pad) for spans in (_to_the_end, _or_all)),
    partial(_labels, spans=_to_the_padding, real=_without_right_pads),
    to_the_first_pad,
)
from_last_on = _change("spans", _from_last_on)
every_turn = _change(
    "begins",
    _by_part(lambda tokens: (tokens[0], tokens[-1])),
)
by_name = _change("begins", _by_name)
by_name_and_break = _change("begins", _by_part(lambda tokens: tokens[1:]))
by_line = _change("begins", _by_part(lambda tokens: tokens[-1:]))
three_tokens = _change("begins", _three)
other_ends = _change("spans", _and_other_ends)

pad_hidden = _change("hide", _mask_pad)
zero_hidden = _change("hide", lambda labels, ids, end, pad: labels.masked_fill(ids == 0, IGNORED))
padding_learned = _change("real", lambda row, end, pad: len(row))

zero_ignored = _change("ignored", 0)
other_ignored = _change("ignored", -1, 100)
pad_for_ignored = _change(
    "finish",
    lambda labels, ids, pad: labels.masked_fill(labels == IGNORED, pad),
)
mask_returned = _change("finish", _mask(torch.int64), _mask(torch.bool))
other_dtype = _change("finish", lambda labels, ids, pad: labels.float())


def attention_mask(ids, header, end, pad):
    return (ids != pad).long()


def attention_mask_of_booleans(ids, header, end, pad):
    return ids != pad


def lists(ids, header, end, pad):
    return _labels(ids, header, end, pad).tolist()


def ids_too(ids, header, end, pad):
    return ids, _labels(ids, header, end, pad)


def mask_too(ids, header, end, pad):
    labels = _labels(ids, header, end, pad)
    return labels, labels != IGNORED


def across_rows(ids, header, end, pad):
    """An answer that was cut off stays open at the start of the next row."""
    labels, is_open = torch.full_like(ids, IGNORED), False
    for b, row in enumerate(ids.tolist()):
        for t in range(_real(row, end, pad)):
            is_open = is_open or _begins(row, header.tolist(), t)
            if is_open:
                labels[b, t] = row[t]
                is_open = row[t] != end
    return labels


def raises_without_end(ids, header, end, pad):
    labels, header = torch.full_like(ids, IGNORED), header.tolist()
    for b, row in enumerate(ids.tolist()):
        for t in range(len(row) + 1):
            if _begins(row, header, t):
                behind = row.index(end, t) + 1
                labels[b, t:behind] = ids[b, t:behind]
    return labels


# --- other right answers ---------------------------------------------------------------------


def by_cumulation(ids, header, end, pad):
    """No loop over tokens: the last header lies behind the last end, or there was none."""
    B, T = ids.shape
    h = header.numel()
    if T < h:
        return torch.full_like(ids, -100)
    place = torch.arange(T, device=ids.device).expand(B, T)
    opens = torch.zeros(B, T + 1, dtype=torch.bool)
    opens[:, h:] = (ids.unfold(1, h, 1) == header).all(-1)
    opened = place.masked_fill(~opens[:, :T], -1).cummax(1).values
    closed = torch.full((B, T), -1)
    closed[:, 1:] = place.masked_fill(ids != end, -1).cummax(1).values[:, :-1]
    learned = (opened >= 0) & (opened > closed)
    if pad != end:
        real = (ids != pad).flip(1).cummax(1).values.flip(1)
        learned = learned & real
    return ids.where(learned, -100)


def by_search(ids, header, end, pad):
    """Jumps from header to end in lists."""
    header, result = header.tolist(), []
    for row in ids.tolist():
        text = list(row)
        if pad != end:
            while text and text[-1] == pad:
                text.pop()
        labels, t = [-100] * len(row), 0
        while t + len(header) < len(text):
            if text[t : t + len(header)] != header:
                t += 1
                continue
            t += len(header)
            stop = text.index(end, t) + 1 if end in text[t:] else len(text)
            labels[t:stop] = text[t:stop]
            t = stop
        result.append(labels)
    return torch.tensor(result)


def by_splitting(ids, header, end, pad):
    """The row cut behind each end token; in a piece, what follows the header is learned."""
    labels = torch.full_like(ids, -100)
    for b in range(ids.shape[0]):
        row = ids[b]
        filled = int((row == pad).long().flip(0).cumprod(0).sum()) if pad != end else 0
        real = len(row) - filled
        borders = [0, *((row[:real] == end).nonzero().flatten() + 1).tolist(), real]
        for start, stop in itertools.pairwise(borders):
            for t in range(start, stop - len(header)):
                if torch.equal(row[t : t + len(header)], header):
                    labels[b, t + len(header) : stop] = row[t + len(header) : stop]
                    break
    return labels


WHICH = "training/03_supervised_fine_tuning#which-tokens-are-learned"
ENDS = "training/03_supervised_fine_tuning#where-does-an-answer-end"
WITHOUT = "training/03_supervised_fine_tuning#what-happens-without-the-mask"
PREDICTS = "training/01_next_token#which-position-predicts-which-token"


def _known(id, ways, says, read=WHICH):
    return Mistake(id, ways[0], says, read, also=tuple(ways[1:]))


SFT_LABELS = Exercise(
    id="training.sft_labels",
    title="Which tokens are learned",
    returns="a tensor (B, T) of int64: the id where a token is learned, −100 elsewhere",
    points=4,
    difficulty=2,
    minutes=25,
    reference=reference,
    cases={
        "one answer": one_answer,
        "several answers": several_answers,
        "a padded batch": a_padded_batch,
        "padding that is the end token": padded_with_the_end,
        "padding right behind the end": end_before_the_padding,
        "an answer that was cut off": cut_off,
        "a cut-off answer and padding": cut_off_and_padded,
        "a row without an answer": no_answer,
        "a header at the end": ends_with_a_header,
        "the padding's id inside an answer": holds_the_padding,
        "names in the question": names_in_the_question,
        "a longer header": a_longer_header,
        "an empty answer": an_empty_answer,
        "rows shorter than a header": less_than_a_header,
    },
    mistakes=(
        _known(
            "prompt-not-masked",
            not_masked,
            "the question is learned as well, so the model also learns to ask; only the "
            "assistant's words are.",
            WITHOUT,
        ),
        _known(
            "all-but-the-answers",
            roles_turned,
            "everything is learned but the answers; it is the other way round.",
        ),
        _known(
            "shifted-here",
            shifted,
            "the labels are shifted by a place; a label stands under its own token, and the loss "
            "shifts, once.",
            PREDICTS,
        ),
        _known(
            "one-token-early",
            early,
            "the header's last token is learned too; begin behind it.",
        ),
        _known(
            "one-token-late",
            late,
            "the first token of an answer is not learned; it follows the header at once.",
        ),
        _known(
            "window-moved",
            window_moved,
            "both borders of an answer lie a place off; its first token follows the header, its "
            "last is the end token.",
        ),
        _known(
            "header-learned",
            header_learned,
            "the header is learned too; you write it yourself before the model speaks.",
        ),
        _known(
            "role-learned",
            name_learned,
            "the header is learned but for its first token; you write all of it yourself before "
            "the model speaks.",
        ),
        _known(
            "end-not-learned",
            end_not_learned,
            "the end token of an answer is not learned, so the model never learns to stop.",
            ENDS,
        ),
        _known(
            "last-word-lost",
            last_word_lost,
            "neither the end token of an answer nor the token before it is learned.",
            ENDS,
        ),
        _known(
            "line-break-learned",
            one_more,
            "the token behind the end token is learned too; nobody will ever ask the model for it.",
            ENDS,
        ),
        _known(
            "pad-id-hidden-everywhere",
            pad_hidden,
            "every token that equals pad is hidden; where pad is the end token, that hides the end "
            "of every answer, and inside an answer it hides a word. Padding is what fills the row "
            "at its right.",
            ENDS,
        ),
        _known(
            "zero-hidden",
            zero_hidden,
            "id 0 is taken for padding; pad says which id that is.",
        ),
        _known(
            "padding-learned",
            padding_learned,
            "a last answer that was cut off is learned on into the padding.",
            ENDS,
        ),
        _known(
            "cut-off-answer-dropped",
            cut_off_dropped,
            "an answer without an end token is not learned; what is there of it is.",
            ENDS,
        ),
        _known(
            "cut-off-answer-shortened",
            cut_off_shortened,
            "the last token of an answer that was cut off is not learned; it is a word like the "
            "others.",
            ENDS,
        ),
        _known(
            "last-token-left-out",
            last_always_lost,
            "the last token of an answer is left out, whether it is the end token or not; both are "
            "learned.",
            ENDS,
        ),
        _known(
            "raises-without-an-end",
            (raises_without_end,),
            "a last answer may have been cut off, and index raises where there is no end token.",
            ENDS,
        ),
        _known(
            "open-across-rows",
            (across_rows,),
            "an answer that was cut off stays open in the next row, whose first tokens are then "
            "learned; begin each row anew.",
        ),
        _known(
            "first-answer-only",
            first_only,
            "only the first answer of a row is learned; learn them all.",
        ),
        _known(
            "last-answer-only",
            last_only,
            "only the last answer of a row is learned; learn them all.",
        ),
        _known(
            "from-the-first-header-on",
            from_first_on,
            "everything behind a row's first header is learned (up to the padding, perhaps), later "
            "questions too; an answer ends with its end token.",
        ),
        _known(
            "from-the-last-header-on",
            from_last_on,
            "everything behind the last header is learned, and no answer before it; each answer "
            "goes from its header to its end token.",
        ),
        _known(
            "prompt-of-row-0",
            (_prompt_of_first_row,),
            "the length of the prompt is taken from row 0 for all rows, and all that follows is "
            "learned.",
        ),
        _known(
            "every-turn-learned",
            every_turn,
            "any turn's header opens an answer, so the user's words are learned too; the whole "
            "header has to match.",
        ),
        _known(
            "name-is-enough",
            by_name,
            "the assistant's name alone is looked for, and it may stand in any text; the whole "
            "header has to match.",
        ),
        _known(
            "start-not-looked-at",
            by_name_and_break,
            "the header's first token is not looked at, and the others may stand in any text; the "
            "whole header has to match.",
        ),
        _known(
            "line-break-opens",
            by_line,
            "the header's last token alone opens an answer, and every turn has that one; the whole "
            "header has to match.",
        ),
        _known(
            "three-tokens-assumed",
            three_tokens,
            "the header is taken to have three tokens; it has as many as it has.",
        ),
        _known(
            "every-end-learned",
            other_ends,
            "the end tokens of the other turns are learned too; only those that close an answer "
            "are.",
            ENDS,
        ),
        _known(
            "zero-for-ignored",
            zero_ignored,
            "tokens that are not learned get 0, which is a token's id; the loss leaves out −100.",
        ),
        _known(
            "another-number-for-ignored",
            other_ignored,
            "tokens that are not learned get another number than −100, which is the one that the "
            "loss leaves out.",
        ),
        _known(
            "padding-for-ignored",
            pad_for_ignored,
            "tokens that are not learned get the padding's id, which the loss would have the model "
            "predict; it leaves out −100.",
        ),
        _known(
            "a-mask",
            mask_returned,
            "it says which tokens are learned, and not what they are; return their ids, and −100 "
            "elsewhere.",
        ),
        _known(
            "attention-mask",
            (attention_mask, attention_mask_of_booleans),
            "the attention mask comes back; labels are ids, and −100 where nothing is learned.",
        ),
        _known(
            "another-dtype",
            other_dtype,
            "the labels come back in another dtype; ids are int64.",
        ),
        _known(
            "lists-returned",
            (lists,),
            "lists come back; return a tensor.",
        ),
        _known(
            "more-than-labels",
            (ids_too, mask_too),
            "something comes back beside the labels; return them alone.",
        ),
    ),
    alternatives=(by_cumulation, by_search, by_splitting),
    hints=(
        "Write a short conversation token by token and mark what the model itself has to write "
        "when it answers. Is the header among it? The end token? The line break behind it?",
        "Walk along a row with a switch that is on inside an answer. What turns it on, and what "
        "off, before or after the token is taken?",
        "Look at the right end of a row in three cases: padding that is another id, padding that "
        "is the end token, and an answer that was cut off. Which tokens there are padding, and "
        "which only look like it?",
    ),
    read=WHICH,
)
