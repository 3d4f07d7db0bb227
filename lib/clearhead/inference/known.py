r"""The sizes of models one can name, for counting without their weights.

**Source.** Each model's published `config.json`; the numbers of parameters that follow from these
sizes, norms and biases included, are those of the published checkpoints (a test counts them).
"""

from clearhead.model import Config

SMOLLM2_135M = Config(
    vocab_size=49_152,
    width=576,
    layers=30,
    heads=9,
    kv_heads=3,
    head_size=64,
    feed_forward=1536,
    rope_theta=100_000.0,
    tied=True,
    max_positions=8192,
)
LLAMA_2_7B = Config(
    vocab_size=32_000,
    width=4096,
    layers=32,
    heads=32,
    kv_heads=32,
    head_size=128,
    feed_forward=11_008,
    max_positions=4096,
)
LLAMA_3_1_8B = Config(
    vocab_size=128_256,
    width=4096,
    layers=32,
    heads=32,
    kv_heads=8,
    head_size=128,
    feed_forward=14_336,
    rope_theta=500_000.0,
    max_positions=131_072,
)
LLAMA_3_1_70B = Config(
    vocab_size=128_256,
    width=8192,
    layers=80,
    heads=64,
    kv_heads=8,
    head_size=128,
    feed_forward=28_672,
    rope_theta=500_000.0,
    max_positions=131_072,
)
LLAMA_3_1_405B = Config(
    vocab_size=128_256,
    width=16_384,
    layers=126,
    heads=128,
    kv_heads=8,
    head_size=128,
    feed_forward=53_248,
    rope_theta=500_000.0,
    max_positions=131_072,
)
QWEN2_5_72B = Config(
    vocab_size=152_064,
    width=8192,
    layers=80,
    heads=64,
    kv_heads=8,
    head_size=128,
    feed_forward=29_568,
    rope_theta=1_000_000.0,
    norm_eps=1e-6,
    qkv_bias=True,
    max_positions=131_072,
)
