"""Counting: by hand, against published models, and against a counter that watches a model run."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import clearhead.inference as I
from clearhead.attention import scaled_dot_product
from clearhead.model import Config, Decoder, trace

TINY = Config(vocab_size=11, width=12, layers=2, heads=6, kv_heads=2, head_size=4, feed_forward=10)
WIDE_HEADS = Config(
    vocab_size=7, width=6, layers=3, heads=4, kv_heads=1, head_size=8, feed_forward=9, tied=True
)
CONFIGS = pytest.mark.parametrize("config", [TINY, WIDE_HEADS], ids=["tiny", "wide heads, tied"])


# --- the cache ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "each"),
    [
        (I.LLAMA_2_7B, 524_288),
        (I.LLAMA_3_1_8B, 131_072),
        (I.LLAMA_3_1_70B, 327_680),
        (I.LLAMA_3_1_405B, 516_096),
        (I.QWEN2_5_72B, 327_680),
    ],
)
def test_the_bytes_a_token_that_are_published_for_known_models(config, each):
    sizes = config.layers, config.kv_heads, config.head_size
    assert I.kv_cache_bytes(*sizes, [1]) == each
    assert I.kv_cache_bytes(*sizes, [1000, 24]) == 1024 * each


def test_each_sequence_is_rounded_up_to_whole_blocks():
    assert I.kv_cache_bytes(1, 1, 1, [0, 1, 16, 17], block=16) == 4 * (0 + 16 + 16 + 32)
    assert I.kv_cache_bytes(1, 1, 1, [33], block=16, bytes_per_value=1) == 2 * 48
    assert I.kv_cache_bytes(3, 2, 5, []) == 0


@CONFIGS
def test_the_bytes_are_those_that_a_cache_then_holds(config):
    cache = I.KVCache(config.layers)
    I.forward_cached(Decoder(config), torch.zeros(2, 9, dtype=torch.long), cache)
    sizes = config.layers, config.kv_heads, config.head_size
    assert cache.nbytes == I.kv_cache_bytes(*sizes, [9, 9], bytes_per_value=4)


def test_latent_attention_keeps_one_vector_a_layer_for_all_heads():
    assert I.mla_bytes_per_token(61, 512, 64) == 70_272  # DeepSeek-V3
    assert 327_680 / 70_272 == pytest.approx(4.66, abs=0.01)  # Qwen2.5-72B
    assert 516_096 / 70_272 == pytest.approx(7.34, abs=0.01)  # Llama-3.1-405B


# --- the weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "published"),
    [
        (I.SMOLLM2_135M, 134_515_008),
        (I.LLAMA_2_7B, 6_738_415_616),
        (I.LLAMA_3_1_8B, 8_030_261_248),
        (I.LLAMA_3_1_70B, 70_553_706_496),
        (I.LLAMA_3_1_405B, 405_853_388_800),
        (I.QWEN2_5_72B, 72_706_203_648),
    ],
)
def test_the_known_sizes_give_the_published_number_of_parameters(config, published):
    with torch.device("meta"):
        model = Decoder(config)
    assert sum(p.numel() for p in model.parameters()) == published
    block, head = I.matmul_weights(config)
    matrices = [p.numel() for p in model.blocks.parameters() if p.ndim == 2]
    assert block == sum(matrices) and head == config.vocab_size * config.width


# --- the operations -------------------------------------------------------------------------------


def test_both_phases_worked_by_hand():
    # 2 · 10 · 5 + 2 · 3 + 4 · 2 · 2 · 4 · 15, and 2 steps of 2 · 13 with 6 and 7 keys
    assert I.phase_flops(10, 3, 2, 2, 4, 5, 3) == (1066, 884)


def test_one_generated_token_comes_out_of_the_prefill():
    prefill, decode = I.phase_flops(10, 3, 2, 2, 4, 5, 1)
    assert decode == 0 and prefill == 1066


def counted(run) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def watched_step(model, ids, cache):
    """One token, with the plain attention: torch's counter does not see its own fused one."""
    turn = model.turn(ids, torch.tensor([[cache.length]]))
    x = model.embedding(ids)
    for layer, block in enumerate(model.blocks):
        q, k, v = block.attention.project(block.attention_norm(x), turn)
        k, v = cache.update(layer, k, v)
        group = q.shape[1] // k.shape[1]
        output, _ = scaled_dot_product(
            q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        )
        x = x + block.attention.merge(output)
        x = x + block.feed_forward(block.feed_forward_norm(x))
    return model.logits(x)


@CONFIGS
def test_a_counter_that_watches_every_matrix_product_counts_the_same(config):
    """Token by token no query meets a key that it may not see, so nothing is counted in vain."""
    model, T, n = Decoder(config), 5, 4
    block, head = I.matmul_weights(config)
    want = I.phase_flops(block, head, config.layers, config.heads, config.head_size, T, n)
    cache = I.KVCache(config.layers)
    one = torch.zeros(1, 1, dtype=torch.long)
    steps = [counted(lambda: watched_step(model, one, cache)) for _ in range(T + n - 1)]
    assert sum(steps[:T]) - 2 * head * (T - 1) == want.prefill  # the head ran at each of the T
    assert sum(steps[T:]) == want.decode


@CONFIGS
def test_a_whole_prompt_at_once_computes_the_forbidden_pairs_too(config):
    """The plain attention fills in the whole T × T; the count of the causal half is the least."""
    model, T = Decoder(config), 7
    block, head = I.matmul_weights(config)
    seen = counted(lambda: trace(model, torch.zeros(1, T, dtype=torch.long)))
    pair = 4 * config.layers * config.heads * config.head_size
    want = I.phase_flops(block, head, config.layers, config.heads, config.head_size, T, 1).prefill
    assert seen == want + 2 * head * (T - 1) + pair * T * (T - 1) // 2


# --- a byte and its operations --------------------------------------------------------------------


def test_a_step_reads_the_weights_once_and_every_cache():
    one, two = I.step_bytes(I.LLAMA_3_1_8B, [1000]), I.step_bytes(I.LLAMA_3_1_8B, [1000, 500])
    assert one.weights == two.weights == 2 * (6_979_321_856 + 525_336_576)
    assert (one.cache, two.cache) == (1000 * 131_072, 1500 * 131_072)
    assert one.total == one.weights + one.cache


@pytest.mark.parametrize(
    ("config", "each"), [(I.LLAMA_2_7B, 1), (I.LLAMA_3_1_8B, 4), (I.LLAMA_3_1_70B, 8)]
)
def test_attention_does_h_over_k_operations_a_byte_of_cache(config, each):
    assert I.attention_intensity(config) == each
    assert I.attention_intensity(config, bytes_per_value=1) == 2 * each
    assert I.attention_intensity(config, queries=5) == 5 * each


def test_a_weight_in_bf16_serves_one_operation_a_byte_and_token():
    assert I.weight_intensity(1) == 1 and I.weight_intensity(64) == 64
    assert I.weight_intensity(8, bytes_per_weight=4) == 4


def test_absorbed_latent_attention_is_far_from_either():
    assert I.mla_intensity(128, 512, 64) == pytest.approx(241.8, abs=0.05)
    by_hand = (2 * 128 * (512 + 64) + 2 * 128 * 512) / (2 * (512 + 64))
    assert I.mla_intensity(128, 512, 64) == by_hand


@pytest.mark.parametrize(
    ("config", "widths"),
    [(I.LLAMA_2_7B, 6.03), (I.LLAMA_3_1_8B, 6.50), (I.LLAMA_3_1_70B, 6.375)],
)
def test_the_crossover_lies_near_six_widths_and_twice_that_with_a_causal_mask(config, widths):
    C = config.width
    assert I.crossover_tokens(config, causal=False) / C == pytest.approx(widths, abs=0.005)
    assert (I.crossover_tokens(config) + 1) / C == pytest.approx(2 * widths, abs=0.01)


@pytest.mark.parametrize("config", [I.SMOLLM2_135M, I.LLAMA_3_1_8B])
def test_at_the_crossover_both_halves_of_a_prefill_are_level(config):
    block = I.matmul_weights(config).block
    T = round(I.crossover_tokens(config))
    sizes = config.layers, config.heads, config.head_size
    attention = I.phase_flops(0, 0, *sizes, T, 1).prefill
    assert attention / (2 * block * T) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("config", [I.SMOLLM2_135M, I.LLAMA_3_1_8B])
def test_the_crossovers_of_a_decode_step_are_level_too(config):
    block, head = I.matmul_weights(config)
    t = round(I.decode_crossover_tokens(config))
    sizes = config.layers, config.heads, config.head_size
    attention = I.phase_flops(0, 0, *sizes, t - 1, 2).decode
    assert attention / (2 * (block + head)) == pytest.approx(1, abs=1e-3)
    tokens = round(I.cache_crossover_tokens(config))
    held = I.step_bytes(config, [tokens])
    assert held.cache / held.weights == pytest.approx(1, abs=1e-3)
    assert I.cache_crossover_tokens(config, bytes_per_value=1) == pytest.approx(
        2 * tokens, rel=1e-3
    )
