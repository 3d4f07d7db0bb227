r"""Build a byte-level BPE tokenizer from the three lists that a GGUF file holds.

Before any merge, a pattern cuts the text; merges never cross a cut. The pattern is not in the file,
only its name is (`tokenizer.ggml.pre`), so the patterns of the supported families stand here. They
matter: SmolLM2 cuts out every digit first, so `"a  1"` is `a`, two spaces, `1`; without that cut
the pattern would give `a`, space, space, `1`: other ids than the model was trained on.

Source: `llama_vocab` in llama.cpp (`src/llama-vocab.cpp`) and the `tokenizer.json` of each family.
"""

from clearhead.model.packages import need

CONTROL, USER_DEFINED = 3, 4  # token types of the GGUF specification

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


def byte_level_bpe(
    pieces: list[str],
    *,
    merges: list[str],
    kinds: list[int],
    pattern: str,
    bos: str | None,
    source: str,
):
    r"""A `tokenizers.Tokenizer`.

    `pieces[i]` is the text of token i, `kinds[i]` its type, `merges` the pairs ("Ġ t") in the
    order of the training, `pattern` the name of the pattern, `bos` a token to put before each text.
    Raises `ValueError` when the pattern is not known; `source` names the file in the message.
    """
    tokenizers = need("tokenizers")
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            vocab={piece: i for i, piece in enumerate(pieces)},
            merges=[tuple(merge.split(" ", 1)) for merge in merges],
            ignore_merges=pattern == "llama-bpe",
        )
    )
    tokenizer.pre_tokenizer = _pre_tokenizer(pattern, source)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    if pattern == "qwen2":
        tokenizer.normalizer = tokenizers.normalizers.NFC()
    tokenizer.add_special_tokens(
        [
            tokenizers.AddedToken(piece, normalized=False, special=kind == CONTROL)
            for piece, kind in zip(pieces, kinds, strict=True)
            if kind in (CONTROL, USER_DEFINED)
        ]
    )
    if bos is not None:
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    return tokenizer


def _pre_tokenizer(pattern: str, source: str):
    pre = need("tokenizers").pre_tokenizers
    gpt2 = pre.ByteLevel(add_prefix_space=False, use_regex=True)
    to_bytes = pre.ByteLevel(add_prefix_space=False, use_regex=False)
    known = {
        "smollm": [pre.Digits(individual_digits=True), gpt2],
        "gpt-2": [gpt2],
        "default": [gpt2],
        "qwen2": [_cut(QWEN2), to_bytes],
        "llama-bpe": [_cut(LLAMA3), to_bytes],
    }
    if pattern not in known:
        raise ValueError(
            f"{source} cuts text by the pattern {pattern!r}; known are {', '.join(known)}"
        )
    return pre.Sequence(known[pattern])


def _cut(regex: str):
    tokenizers = need("tokenizers")
    return tokenizers.pre_tokenizers.Split(tokenizers.Regex(regex), behavior="isolated")
