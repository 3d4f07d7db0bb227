"""trl's SFTTrainer learns the tokens that we label, has our loss, and fills rows as we do."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import warnings

import pytest
import torch

from clearhead.model import Decoder
from clearhead.model.hugging_face import convert_config
from clearhead.model.names import HUGGING_FACE, empty, fill
from clearhead.training import (
    IGNORED,
    ByteBPE,
    ChatTokenizer,
    encode_chats,
    pack_best_fit,
    per_token_loss,
    render_chat,
    sft_labels,
)
from clearhead.training.bpe import token_bytes
from clearhead.training.chat import END, SMOLLM2_SYSTEM, START

transformers = pytest.importorskip("transformers", reason="pip install 'clearhead[parity]'")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    trl = pytest.importorskip("trl", reason="pip install 'clearhead[parity]'")
    from datasets import Dataset

from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: E402

from clearhead.model.tokenizer import _byte_letters  # noqa: E402

PAD = "<|endoftext|>"
IN_FP32 = 1e-6  # trl sums the loss in fp32, whatever the model's dtype
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% endif %}"
)
MARKED = SMOLLM2.replace(
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}",
    "{{'<|im_start|>' + message['role'] + '\n'}}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{message['content'] + '<|im_end|>'}}{% endgeneration %}{% else %}"
    "{{message['content'] + '<|im_end|>'}}{% endif %}{{'\n'}}",
)


def turns(*texts, system=None):
    head = [{"role": "system", "content": system}] if system else []
    roles = ["user", "assistant"] * len(texts)
    return head + [{"role": r, "content": t} for r, t in zip(roles, texts, strict=False)]


CHATS = [
    turns("Hi there", "Hello, you."),
    turns("One?", "Two.", "And 你好?", "Three, four, five.\nSix."),
    turns("Short", "A long answer, longer than the others by far.", system="Be brief."),
    turns("A question with more words in it than there are in the answer", "No"),
]


@pytest.fixture(scope="module")
def ours():
    text = ["Hello, you there. One, two, three, four, five.", "system user assistant question"]
    bpe = ByteBPE.train(text, 290, (PAD, START, END))
    return ChatTokenizer(bpe, default_system=SMOLLM2_SYSTEM)


@pytest.fixture(scope="module")
def theirs(ours):
    """The same merges in a tokenizer of transformers, with SmolLM2's template."""
    letters = _byte_letters()
    merges = ours.bpe.merges
    pieces = ["".join(letters[byte] for byte in token) for token in token_bytes(merges)]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[(pieces[a], pieces[b]) for a, b in merges]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([PAD, START, END])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=PAD, eos_token=END
    )
    fast.chat_template = SMOLLM2
    return fast


@pytest.fixture(scope="module")
def pair(ours):
    """A small Llama of transformers and our decoder, from one state dict, in fp64."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=ours.vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=None,
        eos_token_id=ours.eos_id,
        pad_token_id=ours.bpe.eos_id,
    )
    model = transformers.LlamaForCausalLM(config).double()
    settings = {**model.config.to_dict(), "architectures": ["LlamaForCausalLM"]}
    state = dict(model.named_parameters())
    decoder = empty(lambda: Decoder(convert_config(settings, source="Llama")).double())
    fill(decoder, state, lambda n: state[n].detach().clone(), style=HUGGING_FACE, source="Llama")
    return model, decoder


def trainer(model, tokenizer, rows, tmp_path, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        args = trl.SFTConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=len(rows),
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to=[],
            dataloader_pin_memory=False,
            **settings,
        )
        return trl.SFTTrainer(
            model, args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
        )


def sorted_rows(ids, labels):
    """A batch without its order and padding: the trainer shuffles."""
    rows = zip(ids.tolist(), labels.tolist(), strict=True)
    return sorted([(i, label) for i, label in zip(*row, strict=True)] for row in rows)


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("answer", [False, True])
def test_a_conversation_is_rendered_as_by_the_template_of_smollm2(ours, theirs, chat, answer):
    expected = theirs.apply_chat_template(chat, tokenize=False, add_generation_prompt=answer)
    text = render_chat(chat, default_system=SMOLLM2_SYSTEM, add_generation_prompt=answer)
    assert text == ours.chat(chat, answer=answer) == expected
    assert ours.encode(text) == theirs(text)["input_ids"]


def test_the_answers_of_a_conversation_are_learned_and_the_loss_is_theirs(
    ours, theirs, pair, tmp_path
):
    """assistant_only_loss, with the marks in the template that it needs."""
    model, decoder = pair
    theirs.chat_template = MARKED
    rows = [{"messages": chat} for chat in CHATS]
    sft = trainer(model, theirs, rows, tmp_path, assistant_only_loss=True)
    theirs.chat_template = SMOLLM2
    batch = next(iter(sft.get_train_dataloader()))
    pad = ours.bpe.eos_id
    ids, labels = encode_chats(ours, CHATS, pad=pad, default_system=SMOLLM2_SYSTEM)
    assert sorted_rows(ids, labels) == sorted_rows(batch["input_ids"], batch["labels"])
    header = torch.tensor(ours.encode(f"{START}assistant\n"))
    assert sft_labels(batch["input_ids"], header, ours.eos_id, pad).equal(batch["labels"])
    nll, counted = per_token_loss(decoder(ids), labels)
    assert abs(nll.sum() / counted.sum() - sft.compute_loss(sft.model, batch)) < IN_FP32


def test_of_a_prompt_and_a_completion_they_learn_the_line_break_too(ours, theirs, pair, tmp_path):
    """completion_only_loss, on by itself here: all that follows the prompt is learned."""
    model, decoder = pair
    singles = [chat for chat in CHATS if len(chat) < 4]
    rows = [{"prompt": chat[:-1], "completion": chat[-1:]} for chat in singles]
    sft = trainer(model, theirs, rows, tmp_path)
    batch = next(iter(sft.get_train_dataloader()))
    pad = ours.bpe.eos_id
    ids, labels = encode_chats(ours, singles, pad=pad, default_system=SMOLLM2_SYSTEM)
    after_end = torch.zeros_like(labels, dtype=torch.bool)
    after_end[:, 1:] = labels[:, :-1] == ours.eos_id
    assert (ids[after_end] == ours.encode("\n")[0]).all()
    with_break = torch.where(after_end, ids, labels)
    assert sorted_rows(ids, with_break) == sorted_rows(batch["input_ids"], batch["labels"])
    nll, counted = per_token_loss(decoder(ids), with_break)
    assert abs(nll.sum() / counted.sum() - sft.compute_loss(sft.model, batch)) < IN_FP32


@pytest.mark.parametrize("seed", range(5))
def test_best_fit_fills_as_few_rows(seed):
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 17, (40,), generator=draw).tolist()
    documents = [[d + 1] * length for d, length in enumerate(lengths)]
    packed = trl.pack_dataset(Dataset.from_dict({"input_ids": documents}), 16, "bfd")
    numbers = pack_best_fit(documents, 16, IGNORED)[1]
    ours = [sorted((row[row >= 0].unique(return_counts=True)[1]).tolist()) for row in numbers]
    assert sorted(ours) == sorted(sorted(row) for row in packed["seq_lengths"])
