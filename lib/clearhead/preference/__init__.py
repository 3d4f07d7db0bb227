r"""Preferences: from pairs of answers to a policy, from rewards to a policy, and for diffusion."""

from .bradley_terry import bradley_terry_loss, preference_probability
from .diffusion import add_noise
from .diffusion_dpo import code_beta, diffusion_dpo_loss
from .dpo import dpo_loss, implicit_reward
from .ipo import ipo_loss
from .kto import kto_loss
from .log_probs import completion_tokens, sequence_log_prob
from .simpo import simpo_loss

__all__ = [
    "add_noise",
    "bradley_terry_loss",
    "code_beta",
    "completion_tokens",
    "diffusion_dpo_loss",
    "dpo_loss",
    "implicit_reward",
    "ipo_loss",
    "kto_loss",
    "preference_probability",
    "sequence_log_prob",
    "simpo_loss",
]
