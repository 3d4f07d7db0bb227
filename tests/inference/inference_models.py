"""Small decoders of all three families whose attention is far from uniform and whose words vary."""

import torch

from clearhead.model import Config, Decoder

FAMILIES = {
    "llama": {},
    "llama-tied": {"tied": True, "rope_scale": (0.5, 0.25, 1.0, 0.125)},
    "qwen2": {"qkv_bias": True},
    "qwen3": {"qk_norm": True, "kv_heads": 1},
}
V = 53


def sharp_model(family: str = "llama", dtype=torch.float64, **changes) -> Decoder:
    """H = 6 query heads of D = 8 share K = 2 (Qwen3: 1); H · D is not C; norms are not ones."""
    torch.manual_seed(0)
    sizes = dict(vocab_size=V, width=20, layers=3, heads=6, kv_heads=2, head_size=8)
    config = Config(
        **{**sizes, "feed_forward": 28, "rope_theta": 500.0, **FAMILIES[family], **changes}
    )
    model = Decoder(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "bias" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
            elif name != "embedding.weight":
                parameter.mul_(3)
    return model.to(dtype)


def prompts(*lengths: int) -> list[list[int]]:
    """Prompts of these lengths, without id 0, which pads."""
    generator = torch.Generator().manual_seed(sum(lengths))
    return [torch.randint(1, V, (n,), generator=generator).tolist() for n in lengths]
