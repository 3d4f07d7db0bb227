"""training.render_chat: a conversation as the text that the model reads."""

import json
from functools import partial
from itertools import groupby

from clearhead.training import render_chat as reference
from marking.exercise import Exercise, Mistake

START, END = "<|im_start|>", "<|im_end|>"
TEXTS = {
    "system": (
        "Answer in one sentence.",
        "You are a poet.",
        "Be brief, and cite.",
        "用中文回答。",
    ),
    "user": (
        "What is a token?",
        "Where does a row end?",
        "Is 7 a prime?",
        "什么是注意力?",
        "Name a river in {country}.",
        "100 % of what?",
        "user or assistant?",
    ),
    "assistant": (
        "A piece of text.",
        "At the last column.",
        "Yes, it is.",
        "一种加权平均。",
        "The Rhine <river>.",
        "Of everything.",
    ),
}
SHORT = {"system": ("Be brief.",), "user": ("Why?", "Who?", "How?"), "assistant": ("So.", "I.")}
DEFAULTS = ("You are a helpful assistant.", "You answer questions.", "你是一个助手。")

# --- situations ------------------------------------------------------------------------------


def _messages(draw, roles):
    """A message for each of s, u, a; no two of one role are alike."""
    texts = TEXTS if draw.level is None else SHORT
    names = {role[0]: role for role in texts}
    left = {
        letter: draw.sizes(roles.count(letter), 0, len(texts[role]) - 1)
        for letter, role in names.items()
    }
    return [
        {"role": names[letter], "content": texts[names[letter]][left[letter].pop()]}
        for letter in roles
    ]


def _inputs(draw, *roles, default=False, prompt=False):
    """One of the rows of roles, the first if small."""
    roles, defaults = (
        (draw.choice(*roles), DEFAULTS) if draw.level is None else (roles[0], ("Help.",))
    )
    return {
        "messages": _messages(draw, roles),
        "default_system": draw.choice(*defaults) if default else "",
        "add_generation_prompt": prompt,
    }


def a_question(draw):
    return _inputs(draw, "u", prompt=True)


def question_and_answer(draw):
    return _inputs(draw, "ua")


def several_turns(draw):
    return _inputs(draw, "uaua", "uauaua")


def own_system_message(draw):
    return _inputs(draw, "suau", "suauau", default=True, prompt=True)


def no_system_message(draw):
    return _inputs(draw, "ua", "uaua", default=True)


def system_message_later(draw):
    return _inputs(draw, "uasu", "uausu", default=True, prompt=True)


def answer_first(draw):
    return _inputs(draw, "au", "auau", default=True, prompt=True)


def after_an_answer(draw):
    """The model is to speak again."""
    return _inputs(draw, "ua", "uaua", prompt=True)


def question_without_prompt(draw):
    return _inputs(draw, "uau", "uauau")


def two_in_a_row(draw):
    return _inputs(draw, "uu", "uauu", prompt=True)


def empty_contents(draw):
    """An empty system message is one too; so is an empty answer."""
    inputs = _inputs(draw, "sua", "suaua", default=True)
    for i in (0, 2):
        inputs["messages"][i]["content"] = ""
    return inputs


def blanks_at_the_borders(draw):
    inputs = _inputs(draw, "ua", "uaua", prompt=True)
    first, second, *_ = inputs["messages"]
    first["content"] = draw.choice(" ", "\n", "\n\n") + first["content"] + draw.choice(" ", "  ")
    second["content"] = draw.choice(" ", "  ") + second["content"] + draw.choice("\n", "\n\n")
    return inputs


# --- mistakes: one change each to `_chat` --------------------------------------------------------


def _placed(turns, default):
    """The default system message, if there is any, before a first message that is none."""
    own = turns[0][0] == "system"
    return turns if own or not default else [("system", default), *turns]


def _turn(role, content):
    return f"{START}{role}\n{content}{END}\n"


def _prompt(turns, add):
    return f"{START}assistant\n" if add else ""


def _chat(
    messages,
    *,
    default_system,
    add_generation_prompt,
    placed=_placed,
    chosen=lambda turns: turns,
    turn=_turn,
    prompt=_prompt,
    finish=lambda texts, prompt, turns: "".join(texts) + prompt,
):
    """As it stands it is right."""
    turns = chosen(placed([(m["role"], m["content"]) for m in messages], default_system))
    texts = [turn(role, content) for role, content in turns]
    return finish(texts, prompt(turns, add_generation_prompt), turns)


def _change(name, *changes):
    return tuple(partial(_chat, **{name: change}) for change in changes)


def _if(holds):
    """The default message put first where `holds(roles, default)`."""

    def placed(turns, default):
        roles = [role for role, _ in turns]
        return [("system", default), *turns] if holds(roles, default) else turns

    return placed


def _empty_replaced(turns, default):
    if default and turns[0][0] == "system" and not turns[0][1]:
        return [("system", default), *turns[1:]]
    return _placed(turns, default)


def _before_an_empty_one(turns, default):
    if default and not (turns[0][0] == "system" and turns[0][1]):
        return [("system", default), *turns]
    return turns


def _in_place_of_own(turns, default):
    if default and turns[0][0] == "system":
        return [("system", default), *turns[1:]]
    return _placed(turns, default)


def _behind(turns, default):
    return [*turns, ("system", default)] if _placed(turns, default) != turns else turns


def _before_the_last(turns, default):
    new = [("system", default)] if _placed(turns, default) != turns else []
    return [*turns[:-1], *new, turns[-1]]


def _into_the_first(between):
    def placed(turns, default):
        if _placed(turns, default) == turns:
            return turns
        (role, content), *rest = turns
        return [(role, default + between + content), *rest]

    return placed


def _merged(between):
    def chosen(turns):
        groups = groupby(turns, key=lambda turn: turn[0])
        return [(role, between.join(content for _, content in group)) for role, group in groups]

    return chosen


def _system_first(turns):
    return sorted(turns, key=lambda turn: turn[0] != "system")


def _other_roles(names):
    return lambda role, content: _turn(names.get(role, role), content)


def _around(text):
    return lambda texts, prompt, turns: text.format("".join(texts) + prompt)


def _left_open(last):
    """An answer at the end is not closed, so that the model may go on with it."""

    def finish(texts, prompt, turns):
        if turns[-1][0] == "assistant" and (prompt or not last):
            texts = [*texts[:-1], texts[-1].removesuffix(f"{END}\n")]
            return "".join(texts)
        return "".join(texts) + prompt

    return finish


default_always = _change(
    "placed", _if(lambda roles, default: default), _if(lambda roles, default: True)
)
default_never = _change("placed", lambda turns, default: turns)
empty_system = _change("placed", _if(lambda roles, default: roles[0] != "system"))
any_system = _change("placed", _if(lambda roles, default: default and "system" not in roles))
before_a_user = _change("placed", _if(lambda roles, default: default and roles[0] == "user"))
empty_replaced = _change("placed", _empty_replaced, _before_an_empty_one)
in_place_of_own = _change("placed", _in_place_of_own)
in_the_wrong_place = _change("placed", _behind, _before_the_last)
into_the_question = _change(
    "placed", _into_the_first("\n\n"), _into_the_first("\n"), _into_the_first(" ")
)

system_dropped = _change("chosen", lambda turns: [turn for turn in turns if turn[0] != "system"])
system_moved = _change("chosen", _system_first)
empty_skipped = _change("chosen", lambda turns: [turn for turn in turns if turn[1]])
merged = _change("chosen", _merged("\n"), _merged("\n\n"), _merged(" "), _merged(""))
last_only = _change("chosen", lambda turns: turns[-1:])

no_break_after_role = _change("turn", lambda role, content: f"{START}{role}{content}{END}\n")
other_break_after_role = _change(
    "turn",
    lambda role, content: f"{START}{role} {content}{END}\n",
    lambda role, content: f"{START}{role}: {content}{END}\n",
    lambda role, content: f"{START}{role}:\n{content}{END}\n",
    lambda role, content: f"{START}{role}\n\n{content}{END}\n",
    lambda role, content: f"{START} {role}\n{content}{END}\n",
)
break_before_end = _change(
    "turn",
    lambda role, content: f"{START}{role}\n{content}\n{END}\n",
    lambda role, content: f"{START}{role}\n{content} {END}\n",
)
no_break_after_end = _change("turn", lambda role, content: f"{START}{role}\n{content}{END}")
blank_line = _change("turn", lambda role, content: f"{START}{role}\n{content}{END}\n\n")
not_closed = _change("turn", lambda role, content: f"{START}{role}\n{content}\n")
role_missing = _change("turn", lambda role, content: f"{START}{content}{END}\n")
other_end = _change(
    "turn",
    lambda role, content: f"{START}{role}\n{content}<|endoftext|>\n",
    lambda role, content: f"{START}{role}\n{content}</s>\n",
    lambda role, content: f"{START}{role}\n{content}<|eot_id|>\n",
)
role_renamed = _change(
    "turn",
    lambda role, content: _turn(role.capitalize(), content),
    lambda role, content: _turn(role.upper(), content),
    _other_roles({"user": "human", "assistant": "gpt"}),
    _other_roles({"assistant": "model"}),
    _other_roles({"assistant": "bot"}),
)
stripped = _change(
    "turn",
    lambda role, content: _turn(role, content.strip()),
    lambda role, content: _turn(role, content.rstrip()),
    lambda role, content: _turn(role, content.lstrip()),
    lambda role, content: _turn(role, content.strip("\n")),
)
quoted = _change(
    "turn",
    lambda role, content: _turn(role, repr(content)),
    lambda role, content: _turn(role, json.dumps(content)),
    lambda role, content: _turn(role, json.dumps(content, ensure_ascii=False)),
)
lines_not_breaks = _change("turn", lambda role, content: f"{START}{role}\\n{content}{END}\\n")

prompt_missing = _change("prompt", lambda turns, add: "")
prompt_always = _change("prompt", lambda turns, add: f"{START}assistant\n")
prompt_the_other_way = _change("prompt", lambda turns, add: _prompt(turns, not add))
only_after_user = _change(
    "prompt",
    lambda turns, add: _prompt(turns, add and turns[-1][0] == "user"),
    lambda turns, add: _prompt(turns, add and turns[-1][0] != "assistant"),
)
whenever_user = _change(
    "prompt",
    lambda turns, add: _prompt(turns, turns[-1][0] == "user"),
    lambda turns, add: _prompt(turns, add or turns[-1][0] == "user"),
)
prompt_without_break = _change(
    "prompt",
    lambda turns, add: f"{START}assistant" if add else "",
    lambda turns, add: f"{START}assistant " if add else "",
    lambda turns, add: f"{START}assistant: " if add else "",
)
prompt_without_role = _change("prompt", lambda turns, add: START if add else "")
prompt_without_marker = _change("prompt", lambda turns, add: "assistant\n" if add else "")
prompt_closed = _change(
    "prompt",
    lambda turns, add: _turn("assistant", "") if add else "",
    lambda turns, add: f"{START}assistant{END}\n" if add else "",
)

last_break_missing = _change(
    "finish",
    lambda texts, prompt, turns: "\n".join(
        [*(text[:-1] for text in texts), *([prompt] * bool(prompt))]
    ),
    lambda texts, prompt, turns: "\n".join(text[:-1] for text in texts) + prompt,
)
text_stripped = _change("finish", lambda texts, prompt, turns: ("".join(texts) + prompt).strip())
left_open = _change("finish", _left_open(True), _left_open(False))
begin_in_front = _change(
    "finish",
    *map(_around, ("<s>{}", START + "{}", "<|endoftext|>{}", "<bos>{}", "<|begin_of_text|>{}")),
)
end_behind = _change("finish", *map(_around, ("{}<|endoftext|>", "{}</s>", "{}" + END)))
no_text = _change(
    "finish",
    lambda texts, prompt, turns: {"text": "".join(texts) + prompt},
    lambda texts, prompt, turns: {"input_ids": "".join(texts) + prompt},
    lambda texts, prompt, turns: {"prompt": "".join(texts) + prompt},
    lambda texts, prompt, turns: texts + [prompt] * bool(prompt),
    lambda texts, prompt, turns: list(("".join(texts) + prompt).encode()),
    lambda texts, prompt, turns: ("".join(texts) + prompt).encode(),
)


# --- other right answers ---------------------------------------------------------------------


def line_by_line(messages, *, default_system, add_generation_prompt):
    """Pieces gathered in a list."""
    pieces = []
    if default_system and messages[0]["role"] != "system":
        pieces += ["<|im_start|>system", "\n", default_system, "<|im_end|>", "\n"]
    for message in messages:
        pieces += ["<|im_start|>", message["role"], "\n"]
        pieces += [message["content"], "<|im_end|>", "\n"]
    if add_generation_prompt:
        pieces += ["<|im_start|>", "assistant", "\n"]
    return "".join(pieces)


def from_the_end(messages, *, default_system, add_generation_prompt):
    """The text grows at its front: each turn calls for the one before it."""
    if not messages:
        return ""
    *before, last = messages
    text = "<|im_start|>{role}\n{content}<|im_end|>\n".format(**last)
    if not before and default_system and last["role"] != "system":
        text = f"<|im_start|>system\n{default_system}<|im_end|>\n{text}"
    head = from_the_end(before, default_system=default_system, add_generation_prompt=False)
    return head + text + ("<|im_start|>assistant\n" if add_generation_prompt else "")


def by_join(messages, *, default_system, add_generation_prompt):
    """Every turn begins with a marker, so the text is what a split at the marker would give."""
    turns = [(m["role"], m["content"]) for m in messages]
    if turns[0][0] != "system" and default_system != "":
        turns.insert(0, ("system", default_system))
    bodies = [role + "\n" + content + "<|im_end|>\n" for role, content in turns]
    return "<|im_start|>".join(["", *bodies, *(["assistant\n"] if add_generation_prompt else [])])


LOOKS = "training/03_supervised_fine_tuning#what-does-a-conversation-look-like-to-the-model"
ENDS = "training/03_supervised_fine_tuning#where-does-an-answer-end"


def _known(id, ways, says, read=LOOKS):
    return Mistake(id, ways[0], says, read, also=tuple(ways[1:]))


RENDER_CHAT = Exercise(
    id="training.render_chat",
    title="A conversation as text",
    returns="a str",
    points=2,
    difficulty=1,
    minutes=15,
    reference=reference,
    cases={
        "one question": a_question,
        "a question and an answer": question_and_answer,
        "several turns": several_turns,
        "a system message of its own": own_system_message,
        "no system message": no_system_message,
        "a system message later on": system_message_later,
        "an answer that comes first": answer_first,
        "a prompt after an answer": after_an_answer,
        "a question without a prompt": question_without_prompt,
        "two questions in a row": two_in_a_row,
        "empty messages": empty_contents,
        "blanks at the borders": blanks_at_the_borders,
    },
    mistakes=(
        _known(
            "last-line-break-missing",
            last_break_missing,
            "line breaks stand between the turns, and the last turn has none; one follows each.",
        ),
        _known(
            "default-always",
            default_always,
            "the default system message is put first even if the conversation begins with one of "
            "its own.",
        ),
        _known(
            "line-break-after-the-role-missing",
            no_break_after_role,
            "nothing stands between the role and the content; a line break does.",
        ),
        _known(
            "role-set-off-otherwise",
            other_break_after_role,
            "something else than the role and one line break stands between <|im_start|> and the "
            "content; a model that was trained on the template knows only that.",
        ),
        _known(
            "line-break-before-the-end",
            break_before_end,
            "something stands between the content and <|im_end|>; the marker follows at once.",
        ),
        _known(
            "line-break-after-the-end-missing",
            no_break_after_end,
            "no line break stands behind <|im_end|>; one follows each turn.",
        ),
        _known(
            "blank-line-between-turns",
            blank_line,
            "two line breaks stand behind <|im_end|>; one follows each turn.",
        ),
        _known(
            "prompt-without-line-break",
            prompt_without_break,
            "the generation prompt does not end with its line break, so the model would have to "
            "write that first.",
        ),
        _known(
            "text-stripped",
            text_stripped,
            "the text is stripped at its end, which takes away the last line break, that of the "
            "generation prompt too.",
        ),
        _known(
            "line-breaks-spelled-out",
            lines_not_breaks,
            'a backslash and an n stand in the text where a line break should; write "\\n", not '
            '"\\\\n".',
        ),
        _known(
            "turn-not-closed",
            not_closed,
            "no <|im_end|> closes a turn, so nothing tells a model where it ends.",
            ENDS,
        ),
        _known(
            "another-end-marker",
            other_end,
            "turns are closed by the marker of another template; here it is <|im_end|>.",
            ENDS,
        ),
        _known(
            "role-missing",
            role_missing,
            "a turn does not say who speaks; the role stands behind <|im_start|>.",
        ),
        _known(
            "role-renamed",
            role_renamed,
            "the roles are written otherwise than they came; the model knows system, user and "
            "assistant, in small letters.",
        ),
        _known(
            "content-stripped",
            stripped,
            "blanks at the borders of a content are taken away; here it stays as it came.",
        ),
        _known(
            "content-quoted",
            quoted,
            "a content stands in quotation marks, as repr or json.dumps write it.",
        ),
        _known(
            "default-never",
            default_never,
            "default_system is not used; where the first message is not a system one, it goes "
            "first.",
        ),
        _known(
            "empty-system-message",
            empty_system,
            "an empty default_system makes an empty system turn; then there is none at all.",
        ),
        _known(
            "any-system-message",
            any_system,
            "a system message anywhere keeps the default away; only the first message is asked.",
        ),
        _known(
            "default-before-a-user-only",
            before_a_user,
            "the default system message is put only before a user's message; an assistant's may "
            "come first as well.",
        ),
        _known(
            "empty-one-replaced",
            empty_replaced,
            "an empty system message counts as none, and the default comes before it or in its "
            "place; whoever writes an empty one means it.",
        ),
        _known(
            "own-system-message-replaced",
            in_place_of_own,
            "the default takes the place of the conversation's own system message.",
        ),
        _known(
            "default-in-the-wrong-place",
            in_the_wrong_place,
            "the default system message stands further behind; it goes before all others.",
        ),
        _known(
            "default-in-the-first-message",
            into_the_question,
            "the default is written into the first message; it is a turn of its own.",
        ),
        _known(
            "system-messages-dropped",
            system_dropped,
            "system messages are left out; they are turns like the others.",
        ),
        _known(
            "system-messages-moved",
            system_moved,
            "a later system message is moved to the front; every message stays in its place.",
        ),
        _known(
            "empty-message-skipped",
            empty_skipped,
            "a message without content is left out; it is a turn too.",
        ),
        _known(
            "same-role-merged",
            merged,
            "two messages of one role become one turn; each message is a turn.",
        ),
        _known(
            "last-message-only",
            last_only,
            "only the last message is written; the model has no other memory than this text.",
        ),
        _known(
            "prompt-missing",
            prompt_missing,
            "add_generation_prompt is not used, so a model may go on with the user's words.",
        ),
        _known(
            "prompt-always",
            prompt_always,
            "the generation prompt is always there; a conversation to be learned from has none.",
        ),
        _known(
            "prompt-the-other-way-round",
            prompt_the_other_way,
            "the generation prompt is there when it is not asked for, and not there when it is.",
        ),
        _known(
            "prompt-only-after-the-user",
            only_after_user,
            "behind an assistant's message no generation prompt is added; here it is whenever "
            "add_generation_prompt says so.",
        ),
        _known(
            "prompt-whenever-the-user-is-last",
            whenever_user,
            "the generation prompt is added because the user spoke last; add_generation_prompt "
            "alone decides.",
        ),
        _known(
            "prompt-without-role",
            prompt_without_role,
            "the generation prompt does not say who is to speak.",
        ),
        _known(
            "prompt-closed",
            prompt_closed,
            "the generation prompt is closed by <|im_end|>, an empty answer; it is left open for "
            "the model to go on.",
        ),
        _known(
            "last-answer-left-open",
            left_open,
            "an answer at the end is not closed, so that a model would go on with it; every "
            "message is a whole turn.",
            ENDS,
        ),
        _known(
            "begin-token-in-front",
            begin_in_front,
            "a token for the beginning stands in front; this template has none, and a tokenizer "
            "that adds one as well would make two.",
        ),
        _known(
            "end-token-behind",
            end_behind,
            "a token for the end stands behind everything; each turn has its own, and that is all.",
            ENDS,
        ),
        _known(
            "not-a-text",
            no_text,
            "what comes back is not the text itself; return a str.",
        ),
    ),
    alternatives=(line_by_line, from_the_end, by_join),
    hints=(
        "Write out the text of one question by hand, every line break as a mark you can see. How "
        "many are there, and what stands before and behind each?",
        "A turn looks the same whoever speaks, so one function of role and content writes them "
        "all. Two things are left: what goes before the first turn, and what behind the last?",
        "The first message alone decides about the default; it may be empty, and so may the "
        "default. The last argument alone decides about the generation prompt: is it a whole turn?",
    ),
    read=LOOKS,
)
