"""Wrong answers to the first half of chapter 4's exercises; see learner_attempts.py.

From text to labels: merges, packed rows, masks, conversations.
"""

# ruff: noqa: RUF005, RUF007, RUF017 -- as learners write it
from collections import Counter, defaultdict

import torch
import torch.nn.functional as F
from learner_attempts import Attempt

ATTEMPTS: list[Attempt] = []


def attempt(exercise: str, *mistakes: str):
    def keep(function):
        ATTEMPTS.append(Attempt(f"training.{exercise}", mistakes, function))
        return function

    return keep


# --- bpe_train -----------------------------------------------------------------------------------


def get_stats(words):
    counts = {}
    for ids, n in words:
        for pair in zip(ids, ids[1:], strict=False):
            counts[pair] = counts.get(pair, 0) + n
    return counts


def merge(ids, pair, idx):
    newids = []
    i = 0
    while i < len(ids):
        if i < len(ids) - 1 and ids[i] == pair[0] and ids[i + 1] == pair[1]:
            newids.append(idx)
            i += 2
        else:
            newids.append(ids[i])
            i += 1
    return newids


@attempt("bpe_train", "ties-to-first-seen")
def max_of_the_dict(words, merges):
    learned = []
    for i in range(merges):
        stats = get_stats(words)
        if not stats:
            break
        top = max(stats, key=stats.get)
        words = [(merge(ids, top, 256 + i), n) for ids, n in words]
        learned.append(top)
    return learned


@attempt("bpe_train", "ties-to-first-seen", "raises-at-the-end")
def as_in_the_video(words, merges):
    result = []
    for i in range(merges):
        stats = get_stats(words)
        pair = max(stats, key=stats.get)
        words = [(merge(ids, pair, 256 + i), n) for ids, n in words]
        result.append(pair)
    return result


@attempt("bpe_train", "ties-to-largest")
def max_of_count_and_pair(words, merges):
    pairs = []
    while len(pairs) < merges:
        stats = get_stats(words)
        if len(stats) == 0:
            return pairs
        best = max(stats.items(), key=lambda item: (item[1], item[0]))[0]
        words = [(merge(w, best, 256 + len(pairs)), c) for w, c in words]
        pairs.append(best)
    return pairs


@attempt("bpe_train", "ties-by-bytes")
def lexicographically_greater(words, merges):
    vocab = {i: bytes([i]) for i in range(256)}
    out = []
    for step in range(merges):
        stats = get_stats(words)
        if not stats:
            break
        a, b = max(stats, key=lambda p: (stats[p], vocab[p[0]], vocab[p[1]]))
        vocab[256 + step] = vocab[a] + vocab[b]
        words = [(merge(w, (a, b), 256 + step), c) for w, c in words]
        out.append((a, b))
    return out


@attempt("bpe_train", "word-counts-ignored")
def forgot_the_count(words, merges):
    corpus = [list(ids) for ids, _ in words]
    out = []
    for i in range(merges):
        c = Counter()
        for w in corpus:
            c.update(zip(w[:-1], w[1:], strict=True))
        if not c:
            break
        best = sorted(c, key=lambda p: (-c[p], p))[0]
        corpus = [merge(w, best, 256 + i) for w in corpus]
        out.append(best)
    return out


@attempt("bpe_train", "across-words")
def one_long_text(words, merges):
    text = []
    for ids, n in words:
        text.extend(list(ids) * n)
    out = []
    for i in range(merges):
        c = Counter(zip(text, text[1:], strict=False))
        if not c:
            break
        best = min(c, key=lambda p: (-c[p], p))
        text = merge(text, best, 256 + i)
        out.append(best)
    return out


@attempt("bpe_train", "counted-once")
def most_common_pairs(words, merges):
    c = Counter()
    for ids, n in words:
        for i in range(len(ids) - 1):
            c[ids[i], ids[i + 1]] += n
    ranked = sorted(c.items(), key=lambda kv: (-kv[1], kv[0]))
    return [pair for pair, _ in ranked[:merges]]


@attempt("bpe_train", "first-place-only")
def replaces_one(words, merges):
    def put(ids, pair, new):
        for i in range(len(ids) - 1):
            if (ids[i], ids[i + 1]) == pair:
                return ids[:i] + [new] + ids[i + 2 :]
        return ids

    out = []
    while len(out) < merges:
        stats = get_stats(words)
        if not stats:
            break
        pair = min(stats, key=lambda p: (-stats[p], p[0], p[1]))
        words = [(put(ids, pair, 256 + len(out)), n) for ids, n in words]
        out.append(pair)
    return out


@attempt("bpe_train", "runs-counted-without-overlap")
def skips_after_a_pair(words, merges):
    out = []
    for step in range(merges):
        c = Counter()
        for ids, n in words:
            last = None
            for i in range(len(ids) - 1):
                p = (ids[i], ids[i + 1])
                if last == (i - 1, p):
                    last = None
                    continue
                c[p] += n
                last = (i, p)
        if not c:
            break
        best = min(c, key=lambda p: (-c[p], p))
        words = [(merge(ids, best, 256 + step), n) for ids, n in words]
        out.append(best)
    return out


@attempt("bpe_train", "merges-as-vocabulary-size")
def counts_the_bytes_in(words, merges):
    vocab_size, out = 256, []
    while vocab_size < merges:
        stats = get_stats(words)
        if not stats:
            break
        best = min(stats, key=lambda p: (-stats[p], p))
        words = [(merge(ids, best, vocab_size), n) for ids, n in words]
        out.append(best)
        vocab_size += 1
    return out


@attempt("bpe_train", "stops-at-pairs-seen-once")
def frequency_two_at_least(words, merges):
    out = []
    for i in range(merges):
        stats = get_stats(words)
        if not stats:
            break
        best = min(stats, key=lambda p: (-stats[p], p))
        if stats[best] < 2:
            break
        words = [(merge(ids, best, 256 + i), n) for ids, n in words]
        out.append(best)
    return out


@attempt("bpe_train", "new-ids-elsewhere")
def next_free_number(words, merges):
    nxt = max((b for ids, _ in words for b in ids), default=0) + 1
    out = []
    for _ in range(merges):
        stats = get_stats(words)
        if not stats:
            break
        best = min(stats, key=lambda p: (-stats[p], p))
        words = [(merge(ids, best, nxt), n) for ids, n in words]
        nxt += 1
        out.append(best)
    return out


@attempt("bpe_train", "a-dict")
def dict_like_minbpe(words, merges):
    table = {}
    for i in range(merges):
        stats = get_stats(words)
        if not stats:
            break
        best = min(stats, key=lambda p: (-stats[p], p))
        words = [(merge(ids, best, 256 + i), n) for ids, n in words]
        table[best] = 256 + i
    return table


@attempt("bpe_train", "bytes-returned")
def pairs_of_bytes(words, merges):
    vocab = [bytes([i]) for i in range(256)]
    out = []
    for i in range(merges):
        stats = get_stats(words)
        if not stats:
            break
        a, b = min(stats, key=lambda p: (-stats[p], p))
        words = [(merge(ids, (a, b), 256 + i), n) for ids, n in words]
        vocab.append(vocab[a] + vocab[b])
        out.append((vocab[a], vocab[b]))
    return out


@attempt("bpe_train", "list-shrinks-in-the-loop")
def deletes_while_looping(words, merges):
    words = [(list(ids), n) for ids, n in words]
    out = []
    for step in range(merges):
        stats = get_stats(words)
        if not stats:
            break
        best = min(stats, key=lambda p: (-stats[p], p))
        for ids, _ in words:
            for i in range(len(ids) - 1):
                if ids[i] == best[0] and ids[i + 1] == best[1]:
                    ids[i] = 256 + step
                    del ids[i + 1]
        out.append(best)
    return out


@attempt("bpe_train", "word-listed-twice-lost")
def dict_of_words(words, merges):
    vocab = {tuple(ids): n for ids, n in words}
    out = []
    for i in range(merges):
        c = defaultdict(int)
        for w, n in vocab.items():
            for p in zip(w, w[1:], strict=False):
                c[p] += n
        if not c:
            break
        best = min(c, key=lambda p: (-c[p], p))
        vocab = {tuple(merge(w, best, 256 + i)): n for w, n in vocab.items()}
        out.append(best)
    return out


@attempt("bpe_train")
def changes_its_input(words, merges):
    out = []
    for i in range(merges):
        stats = get_stats(words)
        if not stats:
            break
        best = min(stats, key=lambda p: (-stats[p], p))
        for k, (ids, n) in enumerate(words):
            words[k] = (merge(ids, best, 256 + i), n)
        out.append(best)
    return out


# --- bpe_encode ----------------------------------------------------------------------------------


@attempt("bpe_encode", "leftmost-first")
def any_known_pair(ids, merges):
    ids = list(ids)
    table = {pair: 256 + i for i, pair in enumerate(merges)}
    i = 0
    while i < len(ids) - 1:
        pair = (ids[i], ids[i + 1])
        if pair in table:
            ids[i : i + 2] = [table[pair]]
            i = 0
        else:
            i += 1
    return ids


@attempt("bpe_encode", "longest-token-first")
def maximal_munch(ids, merges):
    vocab = [bytes([i]) for i in range(256)]
    for a, b in merges:
        vocab.append(vocab[a] + vocab[b])
    lookup = {token: i for i, token in enumerate(vocab)}
    text, out, start = bytes(ids), [], 0
    while start < len(text):
        end = len(text)
        while text[start:end] not in lookup:
            end -= 1
        out.append(lookup[text[start:end]])
        start = end
    return out


@attempt("bpe_encode", "first-place-only")
def each_merge_once(ids, merges):
    ids = list(ids)
    for i, (a, b) in enumerate(merges):
        for j in range(len(ids) - 1):
            if ids[j] == a and ids[j + 1] == b:
                ids = ids[:j] + [256 + i] + ids[j + 2 :]
                break
    return ids


@attempt("bpe_encode", "raises-on-short-words")
def min_over_no_pairs(ids, merges):
    ids = list(ids)
    rank = {pair: i for i, pair in enumerate(merges)}
    while True:
        stats = set(zip(ids, ids[1:], strict=False))
        pair = min(stats, key=lambda p: rank.get(p, float("inf")))
        if pair not in rank:
            return ids
        ids = merge(ids, pair, 256 + rank[pair])


@attempt("bpe_encode", "rank-for-id")
def the_rank_itself(ids, merges):
    ids = list(ids)
    order = {pair: i for i, pair in enumerate(merges)}
    while len(ids) > 1:
        pair = min(zip(ids, ids[1:], strict=False), key=lambda p: order.get(p, 10**9))
        if pair not in order:
            break
        ids = merge(ids, pair, order[pair])
    return ids


@attempt("bpe_encode", "latest-first")
def biggest_merge_first(ids, merges):
    ids = list(ids)
    order = {pair: 256 + i for i, pair in enumerate(merges)}
    while len(ids) > 1:
        pair = max(zip(ids, ids[1:], strict=False), key=lambda p: order.get(p, -1))
        if pair not in order:
            break
        ids = merge(ids, pair, order[pair])
    return ids


@attempt("bpe_encode", "most-frequent-first")
def counts_again(ids, merges):
    ids = list(ids)
    order = {pair: 256 + i for i, pair in enumerate(merges)}
    while True:
        c = Counter(p for p in zip(ids, ids[1:], strict=False) if p in order)
        if not c:
            return ids
        best = min(c, key=lambda p: (-c[p], order[p]))
        ids = merge(ids, best, order[best])


@attempt("bpe_encode", "first-merge-missed")
def zero_is_false(ids, merges):
    rank = {pair: i for i, pair in enumerate(merges)}
    ids = list(ids)
    while True:
        best = None
        for p in zip(ids, ids[1:], strict=False):
            r = rank.get(p)
            if r and (best is None or r < best):
                best = r
        if best is None:
            return ids
        ids = merge(ids, merges[best], 256 + best)


@attempt("bpe_encode", "one-pass")
def a_single_sweep(ids, merges):
    table = {pair: 256 + i for i, pair in enumerate(merges)}
    out, i = [], 0
    while i < len(ids):
        pair = tuple(ids[i : i + 2])
        if pair in table:
            out.append(table[pair])
            i += 2
        else:
            out.append(ids[i])
            i += 1
    return out


@attempt("bpe_encode", "new-ids-elsewhere")
def counts_from_one(ids, merges):
    ids = list(ids)
    for number, pair in enumerate(merges, start=1):
        ids = merge(ids, pair, 256 + number)
    return ids


@attempt("bpe_encode", "stops-at-an-absent-pair")
def break_instead_of_continue(ids, merges):
    ids = list(ids)
    for i, pair in enumerate(merges):
        if tuple(pair) not in set(zip(ids, ids[1:], strict=False)):
            break
        ids = merge(ids, pair, 256 + i)
    return ids


@attempt("bpe_encode", "last-token-lost")
def loop_ends_early(ids, merges):
    ids = list(ids)
    for i, (a, b) in enumerate(merges):
        out, j = [], 0
        while j < len(ids) - 1:
            if ids[j] == a and ids[j + 1] == b:
                out.append(256 + i)
                j += 2
            else:
                out.append(ids[j])
                j += 1
        ids = out
    return ids


@attempt("bpe_encode", "list-shrinks-in-the-loop")
def pops_inside_for(ids, merges):
    ids = ids[:]
    for k, (a, b) in enumerate(merges):
        for j in range(len(ids) - 1):
            if ids[j] == a and ids[j + 1] == b:
                ids[j] = 256 + k
                ids.pop(j + 1)
    return ids


# --- pack_documents ------------------------------------------------------------------------------


def restart(docs):
    pos = torch.zeros_like(docs)
    for r in range(docs.shape[0]):
        for t in range(1, docs.shape[1]):
            if docs[r, t] == docs[r, t - 1]:
                pos[r, t] = pos[r, t - 1] + 1
    return pos


@attempt("pack_documents", "no-end-token")
def only_concatenates(documents, length, eos):
    ids = [i for doc in documents for i in doc]
    who = [n for n, doc in enumerate(documents) for _ in doc]
    n = len(ids) // length
    ids = torch.tensor(ids[: n * length]).reshape(n, length)
    who = torch.tensor(who[: n * length]).reshape(n, length)
    return ids, who, restart(who)


@attempt("pack_documents", "positions-of-the-row")
def arange_everywhere(documents, length, eos):
    ids, who = [], []
    for n, doc in enumerate(documents):
        ids.extend(doc)
        ids.append(eos)
        who.extend([n] * (len(doc) + 1))
    rows = len(ids) // length
    ids, who = ids[: rows * length], who[: rows * length]
    positions = torch.arange(length).repeat(rows, 1)
    return torch.tensor(ids).view(-1, length), torch.tensor(who).view(-1, length), positions


@attempt("pack_documents", "positions-go-on")
def positions_of_the_whole_document(documents, length, eos):
    ids, who, pos = [], [], []
    for n, doc in enumerate(documents):
        whole = doc + [eos]
        ids += whole
        who += [n for _ in whole]
        pos += list(range(len(whole)))
    keep = len(ids) - len(ids) % length
    return tuple(torch.tensor(x[:keep]).view(-1, length) for x in (ids, who, pos))


@attempt("pack_documents", "documents-from-end-tokens")
def cumsum_of_eos(documents, length, eos):
    flat = torch.cat([torch.tensor([*doc, eos]) for doc in documents])
    is_end = (flat == eos).long()
    docs = is_end.cumsum(0) - is_end
    n = flat.numel() // length
    flat, docs = flat[: n * length].view(n, length), docs[: n * length].view(n, length)
    return flat, docs, restart(docs)


@attempt("pack_documents", "end-token-to-the-next")
def cumsum_without_a_shift(documents, length, eos):
    ids, who = [], []
    for n, doc in enumerate(documents):
        ids += doc
        who += [n] * len(doc)
        ids.append(eos)
        who.append(n + 1)
    n = len(ids) // length
    ids = torch.tensor(ids[: n * length]).view(n, length)
    who = torch.tensor(who[: n * length]).view(n, length)
    return ids, who, restart(who)


@attempt("pack_documents", "last-row-padded")
def pads_the_rest(documents, length, eos):
    ids, who = [], []
    for n, doc in enumerate(documents):
        ids += list(doc) + [eos]
        who += [n] * (len(doc) + 1)
    while len(ids) % length != 0:
        ids.append(eos)
        who.append(-1)
    ids, who = torch.tensor(ids).view(-1, length), torch.tensor(who).view(-1, length)
    pos = restart(who)
    pos[who == -1] = 0
    return ids, who, pos


@attempt("pack_documents", "end-token-in-front")
def bos_style(documents, length, eos):
    ids, who = [], []
    for n, doc in enumerate(documents):
        ids += [eos] + doc
        who += [n] * (1 + len(doc))
    n = len(ids) // length
    ids = torch.tensor(ids[: n * length]).view(n, length)
    who = torch.tensor(who[: n * length]).view(n, length)
    return ids, who, restart(who)


@attempt("pack_documents", "full-last-row-lost")
def range_stops_short(documents, length, eos):
    ids, who = [], []
    for n, doc in enumerate(documents):
        ids += list(doc) + [eos]
        who += [n] * (len(doc) + 1)
    starts = range(0, len(ids) - length, length)
    a = torch.tensor([ids[s : s + length] for s in starts])
    b = torch.tensor([who[s : s + length] for s in starts])
    if a.numel() == 0:
        a = b = torch.zeros(0, length, dtype=torch.long)
    return a, b, restart(b)


@attempt("pack_documents", "full-last-row-lost")
def joins_with_eos(documents, length, eos):
    ids, who = list(documents[0]), [0] * len(documents[0])
    for n, doc in enumerate(documents[1:], 1):
        ids.append(eos)
        who.append(n - 1)
        ids.extend(doc)
        who.extend([n] * len(doc))
    n = len(ids) // length
    ids = torch.tensor(ids[: n * length]).view(n, length)
    who = torch.tensor(who[: n * length]).view(n, length)
    return ids, who, restart(who)


@attempt("pack_documents", "numbers-of-the-row")
def counts_documents_in_each_row(documents, length, eos):
    ids, who = [], []
    for n, doc in enumerate(documents):
        ids += list(doc) + [eos]
        who += [n] * (len(doc) + 1)
    n = len(ids) // length
    ids = torch.tensor(ids[: n * length]).view(n, length)
    who = torch.tensor(who[: n * length]).view(n, length)
    return ids, who - who[:, :1], restart(who)


@attempt("pack_documents", "empty-document-skipped")
def if_doc(documents, length, eos):
    ids, who = [], []
    for n, doc in enumerate(documents):
        if not doc:
            continue
        ids += list(doc) + [eos]
        who += [n] * (len(doc) + 1)
    n = len(ids) // length
    ids = torch.tensor(ids[: n * length]).view(n, length)
    who = torch.tensor(who[: n * length]).view(n, length)
    return ids, who, restart(who)


@attempt("pack_documents", "no-end-token", "positions-of-the-row")
def neither_eos_nor_restart(documents, length, eos):
    ids = torch.tensor(sum(documents, []))
    who = torch.cat([torch.full((len(d),), i) for i, d in enumerate(documents)])
    n = len(ids) // length
    pos = torch.arange(length).expand(n, length)
    return ids[: n * length].view(n, length), who[: n * length].view(n, length), pos


# --- document_mask -------------------------------------------------------------------------------


@attempt("document_mask", "causal-only")
def plain_tril(documents):
    B, T = documents.shape
    causal = torch.tril(torch.ones(T, T)).bool().repeat(B, 1, 1)
    pad = documents == -1
    return causal & ~pad[:, None, :] & ~pad[:, :, None]


@attempt("document_mask", "not-causal")
def block_diagonal(documents):
    same = documents.unsqueeze(1) == documents.unsqueeze(2)
    return same & documents.ge(0).unsqueeze(1)


@attempt("document_mask", "padding-sees-padding")
def minus_one_is_a_document(documents):
    T = documents.size(1)
    i = torch.arange(T)
    return documents[:, :, None].eq(documents[:, None, :]) & (i[None, :] <= i[:, None])


@attempt("document_mask", "document-0-hidden")
def greater_than_zero(documents):
    same = documents[:, :, None] == documents[:, None, :]
    valid = documents > 0
    return (same & valid[:, None, :]).tril()


@attempt("document_mask", "hides-itself")
def strictly_before(documents):
    B, T = documents.shape
    out = torch.zeros(B, T, T, dtype=torch.bool)
    for b in range(B):
        for q in range(T):
            for k in range(q):
                out[b, q, k] = documents[b, q] == documents[b, k] and documents[b, q] != -1
    return out


@attempt("document_mask", "looks-ahead")
def keys_first(documents):
    B, T = documents.shape
    out = torch.zeros(B, T, T, dtype=torch.bool)
    for b in range(B):
        for k in range(T):
            for q in range(k, T):
                if documents[b, q] >= 0 and documents[b, q] == documents[b, k]:
                    out[b, k, q] = True
    return out


@attempt("document_mask", "axis-for-heads")
def ready_for_sdpa(documents):
    T = documents.shape[-1]
    d = documents[:, None]
    m = (d[..., None] == d[..., None, :]) & torch.ones(T, T, dtype=torch.bool).tril()
    return m & (d >= 0)[..., None]


@attempt("document_mask", "additive")
def zero_and_minus_infinity(documents):
    T = documents.shape[1]
    ok = (documents[:, :, None] == documents[:, None]) & (documents[:, None] >= 0)
    ok = ok & torch.tril(torch.ones(T, T, dtype=torch.bool))
    return torch.where(ok, 0.0, float("-inf"))


@attempt("document_mask", "padding-sees-itself")
def diagonal_against_nan(documents):
    T = documents.shape[1]
    ok = (documents[:, :, None] == documents[:, None]) & (documents[:, None] >= 0)
    ok = ok.tril() | torch.eye(T, dtype=torch.bool)
    return ok


@attempt("document_mask", "one-mask-for-all")
def uses_the_first_row(documents):
    d = documents[0]
    T = d.numel()
    m = (d[:, None] == d[None, :]).tril() & (d >= 0)[:, None]
    return m.expand(documents.shape[0], T, T)


@attempt("document_mask", "not-causal", "padding-sees-padding")
def only_equality(documents):
    return documents[:, :, None] == documents[:, None, :]


# --- render_chat ---------------------------------------------------------------------------------


@attempt("render_chat", "line-break-after-the-role-missing")
def role_and_content_together(messages, *, default_system="", add_generation_prompt=False):
    text = ""
    if messages[0]["role"] != "system" and default_system:
        text += "<|im_start|>system" + default_system + "<|im_end|>\n"
    for m in messages:
        text += "<|im_start|>" + m["role"] + m["content"] + "<|im_end|>\n"
    if add_generation_prompt:
        text += "<|im_start|>assistant\n"
    return text


@attempt("render_chat", "last-line-break-missing")
def joined_by_newlines(messages, *, default_system="", add_generation_prompt=False):
    parts = []
    if default_system and messages[0]["role"] != "system":
        parts.append(f"<|im_start|>system\n{default_system}<|im_end|>")
    for m in messages:
        parts.append(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>")
    if add_generation_prompt:
        parts.append("<|im_start|>assistant\n")
    return "\n".join(parts)


@attempt("render_chat", "any-system-message")
def looks_for_one_anywhere(messages, *, default_system="", add_generation_prompt=False):
    roles = [m["role"] for m in messages]
    if "system" not in roles and default_system != "":
        messages = [dict(role="system", content=default_system)] + messages
    s = "".join(
        "<|im_start|>%s\n%s<|im_end|>\n" % (m["role"], m["content"])  # noqa: UP031
        for m in messages
    )
    return s + ("<|im_start|>assistant\n" if add_generation_prompt else "")


@attempt("render_chat", "empty-system-message")
def without_asking_whether_empty(messages, *, default_system="", add_generation_prompt=False):
    if messages[0]["role"] != "system":
        messages = [{"role": "system", "content": default_system}, *messages]
    s = ""
    for m in messages:
        s += f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n"
    if add_generation_prompt:
        s += "<|im_start|>assistant\n"
    return s


@attempt("render_chat", "content-stripped")
def tidy(messages, *, default_system="", add_generation_prompt=False):
    out = []
    if messages[0]["role"] != "system" and default_system:
        out += ["<|im_start|>system\n", default_system.strip(), "<|im_end|>\n"]
    for m in messages:
        out += ["<|im_start|>", m["role"], "\n", m["content"].strip(), "<|im_end|>\n"]
    if add_generation_prompt:
        out += ["<|im_start|>assistant\n"]
    return "".join(out)


@attempt("render_chat", "prompt-only-after-the-user")
def when_it_is_the_models_turn(messages, *, default_system="", add_generation_prompt=False):
    text = ""
    if default_system and messages[0]["role"] != "system":
        text = f"<|im_start|>system\n{default_system}<|im_end|>\n"
    for m in messages:
        text += f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n"
    if add_generation_prompt and messages[-1]["role"] == "user":
        text += "<|im_start|>assistant\n"
    return text


@attempt("render_chat", "prompt-without-line-break")
def prompt_cut_short(messages, *, default_system="", add_generation_prompt=False):
    lines = ""
    if default_system and messages[0]["role"] != "system":
        lines = "<|im_start|>system\n" + default_system + "<|im_end|>\n"
    for msg in messages:
        lines = lines + "<|im_start|>" + msg["role"] + "\n" + msg["content"] + "<|im_end|>\n"
    return lines + "<|im_start|>assistant" if add_generation_prompt else lines


@attempt("render_chat", "prompt-always")
def always_asks(messages, *, default_system="", add_generation_prompt=False):
    def one(role, content):
        return f"<|im_start|>{role}\n{content}<|im_end|>\n"

    start = ""
    if default_system and messages[0]["role"] != "system":
        start = one("system", default_system)
    body = "".join(one(m["role"], m["content"]) for m in messages)
    return start + body + "<|im_start|>assistant\n"


@attempt("render_chat", "begin-token-in-front")
def llama_habit(messages, *, default_system="", add_generation_prompt=False):
    s = "<s>"
    if default_system and messages[0]["role"] != "system":
        s += f"<|im_start|>system\n{default_system}<|im_end|>\n"
    for m in messages:
        s += f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n"
    if add_generation_prompt:
        s += "<|im_start|>assistant\n"
    return s


@attempt("render_chat", "default-always", "prompt-missing")
def forgets_both(messages, *, default_system="", add_generation_prompt=False):
    s = ""
    if default_system:
        s += f"<|im_start|>system\n{default_system}<|im_end|>\n"
    for m in messages:
        s += f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n"
    return s


@attempt("render_chat")
def inserts_into_the_list(messages, *, default_system="", add_generation_prompt=False):
    if default_system and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": default_system})
    s = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    return s + "<|im_start|>assistant\n" * add_generation_prompt


# --- sft_labels ----------------------------------------------------------------------------------


@attempt("sft_labels", "pad-id-hidden-everywhere")
def collator_style(ids, header, end, pad):
    labels = torch.full_like(ids, -100)
    h = header.tolist()
    for b, row in enumerate(ids.tolist()):
        t = 0
        while t < len(row):
            if row[t : t + len(h)] == h:
                t += len(h)
                while t < len(row):
                    labels[b, t] = row[t]
                    t += 1
                    if row[t - 1] == end:
                        break
            else:
                t += 1
    labels[ids == pad] = -100
    return labels


@attempt("sft_labels", "prompt-not-masked")
def labels_are_the_ids(ids, header, end, pad):
    return ids.clone()


@attempt("sft_labels", "end-not-learned")
def stops_before_the_end(ids, header, end, pad):
    labels = torch.full(ids.shape, -100)
    n = len(header)
    for b in range(len(ids)):
        inside = False
        for t in range(ids.shape[1]):
            if t >= n and torch.equal(ids[b, t - n : t], header):
                inside = True
            if ids[b, t] == end or ids[b, t:].eq(pad).all():
                inside = False
            if inside:
                labels[b, t] = ids[b, t]
    return labels


@attempt("sft_labels", "first-answer-only")
def index_of_the_first_header(ids, header, end, pad):
    labels = torch.full_like(ids, -100)
    h = len(header)
    for b in range(ids.shape[0]):
        windows = ids[b].unfold(0, h, 1)
        found = (windows == header).all(1).nonzero()
        if len(found) == 0:
            continue
        start = found[0].item() + h
        for t in range(start, ids.shape[1]):
            if ids[b, t] == pad and pad != end and (ids[b, t:] == pad).all():
                break
            labels[b, t] = ids[b, t]
            if ids[b, t] == end:
                break
    return labels


@attempt("sft_labels", "from-the-first-header-on")
def completion_only(ids, header, end, pad):
    labels = ids.clone()
    n = header.numel()
    for b in range(ids.size(0)):
        start = None
        for t in range(ids.size(1) - n + 1):
            if (ids[b, t : t + n] == header).all():
                start = t + n
                break
        if start is None:
            labels[b] = -100
        else:
            labels[b, :start] = -100
    keep = torch.ones_like(ids, dtype=torch.bool)
    for b, row in enumerate(ids.tolist()):
        real = len(row)
        while real and row[real - 1] == pad:
            real -= 1
        if pad == end and real < len(row):
            real += 1
        keep[b, real:] = False
    return labels.masked_fill(~keep, -100)


@attempt("sft_labels", "header-learned")
def keeps_the_header(ids, header, end, pad):
    labels = torch.full_like(ids, -100)
    h = header.tolist()
    for b, row in enumerate(ids.tolist()):
        real = len(row)
        while pad != end and real and row[real - 1] == pad:
            real -= 1
        t = 0
        while t < real:
            if row[t : t + len(h)] == h:
                stop = row.index(end, t) + 1 if end in row[t:] else real
                labels[b, t:stop] = ids[b, t:stop]
                t = stop
            else:
                t += 1
    return labels


def answers(row, header, end, pad):
    """Where each answer begins and ends (behind its end token), in one row."""
    real = len(row)
    while pad != end and real and row[real - 1] == pad:
        real -= 1
    t, n, found = 0, len(header), []
    while t + n <= real:
        if row[t : t + n] == header:
            first = t + n
            last = first
            while last < real and row[last] != end:
                last += 1
            found.append((first, min(last + 1, real)))
            t = last
        t += 1
    return found


@attempt("sft_labels", "shifted-here")
def shifts_them_already(ids, header, end, pad):
    labels = torch.full_like(ids, -100)
    for b, row in enumerate(ids.tolist()):
        for first, last in answers(row, header.tolist(), end, pad):
            labels[b, first:last] = ids[b, first:last]
    return F.pad(labels[:, 1:], (0, 1), value=-100)


@attempt("sft_labels", "one-token-late")
def start_plus_one(ids, header, end, pad):
    labels = torch.full_like(ids, -100)
    for b, row in enumerate(ids.tolist()):
        for first, last in answers(row, header.tolist(), end, pad):
            labels[b, first + 1 : last] = ids[b, first + 1 : last]
    return labels


@attempt("sft_labels", "one-token-early")
def start_minus_one(ids, header, end, pad):
    labels = torch.full_like(ids, -100)
    for b, row in enumerate(ids.tolist()):
        for first, last in answers(row, header.tolist(), end, pad):
            labels[b, first - 1 : last] = ids[b, first - 1 : last]
    return labels


@attempt("sft_labels", "line-break-learned")
def one_more_at_the_end(ids, header, end, pad):
    labels = torch.full_like(ids, -100)
    for b, row in enumerate(ids.tolist()):
        for first, last in answers(row, header.tolist(), end, pad):
            whole = row[last - 1] == end
            stop = last + 1 if whole and last < len(row) and row[last] != pad else last
            labels[b, first:stop] = ids[b, first:stop]
    return labels


@attempt("sft_labels", "zero-for-ignored")
def multiplies_by_the_mask(ids, header, end, pad):
    mask = torch.zeros_like(ids)
    for b, row in enumerate(ids.tolist()):
        for first, last in answers(row, header.tolist(), end, pad):
            mask[b, first:last] = 1
    return ids * mask


@attempt("sft_labels", "a-mask")
def which_tokens(ids, header, end, pad):
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for b, row in enumerate(ids.tolist()):
        for first, last in answers(row, header.tolist(), end, pad):
            mask[b, first:last] = True
    return mask


@attempt("sft_labels", "cut-off-answer-dropped")
def needs_an_end(ids, header, end, pad):
    labels = torch.full_like(ids, -100)
    n = len(header)
    for b, row in enumerate(ids.tolist()):
        for t in range(len(row) - n + 1):
            if row[t : t + n] == header.tolist() and end in row[t + n :]:
                stop = row.index(end, t + n)
                labels[b, t + n : stop + 1] = ids[b, t + n : stop + 1]
    return labels


@attempt("sft_labels", "raises-without-an-end")
def index_raises(ids, header, end, pad):
    labels = torch.full_like(ids, -100)
    n = len(header)
    for b, row in enumerate(ids.tolist()):
        for t in range(len(row) - n + 1):
            if row[t : t + n] == header.tolist():
                stop = row.index(end, t + n)
                labels[b, t + n : stop + 1] = ids[b, t + n : stop + 1]
    return labels


@attempt("sft_labels", "open-across-rows")
def flag_outside_the_loop(ids, header, end, pad):
    labels = torch.full_like(ids, -100)
    h, learning = header.tolist(), False
    for b, row in enumerate(ids.tolist()):
        real = len(row)
        while pad != end and real and row[real - 1] == pad:
            real -= 1
        for t in range(real):
            if t >= len(h) and row[t - len(h) : t] == h:
                learning = True
            if learning:
                labels[b, t] = row[t]
                if row[t] == end:
                    learning = False
    return labels


@attempt("sft_labels", "every-turn-learned")
def any_im_start(ids, header, end, pad):
    labels = torch.full_like(ids, -100)
    start, n = int(header[0]), len(header)
    for b, row in enumerate(ids.tolist()):
        real = len(row)
        while pad != end and real and row[real - 1] == pad:
            real -= 1
        opened = None
        for t in range(real):
            if row[t] == start:
                opened = t
            if opened is not None and t >= opened + n:
                labels[b, t] = row[t]
                if row[t] == end:
                    opened = None
    return labels


@attempt("sft_labels", "last-answer-only", "end-not-learned")
def the_last_one_without_its_end(ids, header, end, pad):
    labels = torch.full_like(ids, -100)
    for b, row in enumerate(ids.tolist()):
        found = answers(row, header.tolist(), end, pad)
        if found:
            first, last = found[-1]
            last -= row[last - 1] == end
            labels[b, first:last] = ids[b, first:last]
    return labels


# --- seen in a reader's pass through the notebook ------------------------------------------------


@attempt("bpe_encode", "nothing-merged")
def forgets_to_keep_the_new_list(ids, merges):
    for i, pair in enumerate(merges):
        merge(ids, pair, 256 + i)
    return ids


@attempt("pack_documents", "last-row-padded")
def fills_up_with_the_end_token(documents, length, eos):
    ids, numbers, positions = [], [], []
    for n, document in enumerate(documents):
        for x in document + [eos]:
            ids.append(x)
            numbers.append(n)
    while len(ids) % length:
        ids.append(eos)
        numbers.append(-1)
    for i in range(len(ids)):
        new = i % length == 0 or numbers[i] != numbers[i - 1]
        positions.append(0 if new or numbers[i] < 0 else positions[-1] + 1)
    return tuple(torch.tensor(x).view(-1, length) for x in (ids, numbers, positions))


@attempt("pack_documents", "last-row-padded")
def pads_each_part_with_zeros(documents, length, eos):
    ids, numbers = [], []
    for n, document in enumerate(documents):
        ids += [*document, eos]
        numbers += [n] * (len(document) + 1)
    positions = []
    for i in range(len(ids)):
        start = i % length == 0 or numbers[i] != numbers[i - 1]
        positions.append(0 if start else positions[i - 1] + 1)
    pad = -len(ids) % length
    return [
        F.pad(torch.tensor(part), (0, pad)).reshape(-1, length)
        for part in (ids, numbers, positions)
    ]


@attempt("sft_labels", "from-the-first-header-on")
def all_after_its_own_first_header(ids, header, end, pad):
    labels = torch.full_like(ids, -100)
    h = len(header)
    for b in range(ids.shape[0]):
        for t in range(h, ids.shape[1] + 1):
            if torch.equal(ids[b, t - h : t], header):
                labels[b, t:] = ids[b, t:]
                break
    return labels


@attempt("sft_labels", "from-the-first-header-on")
def from_the_first_header_up_to_the_padding(ids, header, end, pad):
    labels = torch.full_like(ids, -100)
    for b, row in enumerate(ids.tolist()):
        stop = len(row)
        while stop and row[stop - 1] == pad:
            stop -= 1
        for t in range(len(header), stop):
            if row[t - len(header) : t] == header.tolist():
                labels[b, t:stop] = ids[b, t:stop]
                break
    return labels


@attempt("sft_labels", "from-the-first-header-on")
def first_header_and_no_padding(ids, header, end, pad):
    labels = ids.clone()
    for b in range(len(ids)):
        windows = ids[b].unfold(0, len(header), 1)
        found = (windows == header).all(-1).nonzero()
        start = int(found[0]) + len(header) if len(found) else ids.shape[1]
        labels[b, :start] = -100
    labels[ids == pad] = -100
    return labels


@attempt("render_chat", "prompt-without-line-break")
def prompt_line_and_insert(messages, default_system, add_generation_prompt):
    if default_system and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": default_system})
    text = ""
    for m in messages:
        text += f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n"
    return text + "<|im_start|>assistant" if add_generation_prompt else text


@attempt("render_chat", "line-break-after-the-role-missing")
def no_break_and_insert(messages, default_system, add_generation_prompt):
    if default_system and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": default_system})
    text = ""
    for m in messages:
        text += "<|im_start|>" + m["role"] + m["content"] + "<|im_end|>\n"
    if add_generation_prompt:
        text += "<|im_start|>assistant\n"
    return text


@attempt("render_chat", "last-line-break-missing", "default-always")
def joined_by_breaks_and_always_a_system(messages, default_system, add_generation_prompt):
    turns = [{"role": "system", "content": default_system}] + messages
    out = [f"<|im_start|>{t['role']}\n{t['content']}<|im_end|>" for t in turns]
    if add_generation_prompt:
        out.append("<|im_start|>assistant\n")
    return "\n".join(out)


@attempt("render_chat", "last-line-break-missing", "default-always")
def joined_and_system_if_given(messages, default_system, add_generation_prompt):
    turns = [(m["role"], m["content"]) for m in messages]
    if default_system:
        turns = [("system", default_system)] + turns
    text = "\n".join(f"<|im_start|>{r}\n{c}<|im_end|>" for r, c in turns)
    return text + "\n<|im_start|>assistant\n" if add_generation_prompt else text
