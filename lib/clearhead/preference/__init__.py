r"""Preferences: from pairs of answers to a policy, from rewards to a policy, and for diffusion."""

from .advantages import group_advantages
from .aggregate import aggregate_loss
from .bradley_terry import bradley_terry_loss, preference_probability
from .closed_form import log_partition, maximise, objective, optimal_policy, recovered_reward
from .dapo import dynamic_sampling, overlong_filter, overlong_penalty
from .diffusion import add_noise
from .diffusion_dpo import code_beta, diffusion_dpo_loss
from .dpo import dpo_loss, implicit_reward
from .gae import gae
from .ipo import ipo_loss
from .kl import kl_divergence, kl_estimators
from .kto import kto_loss
from .log_probs import completion_tokens, sequence_log_prob
from .orpo import orpo_loss
from .simpo import simpo_loss
from .surrogate import (
    clipped_share,
    clipped_surrogate,
    reinforce_loss,
    sequence_log_ratio,
    sequence_ratio,
)

__all__ = [
    "add_noise",
    "aggregate_loss",
    "bradley_terry_loss",
    "clipped_share",
    "clipped_surrogate",
    "code_beta",
    "completion_tokens",
    "diffusion_dpo_loss",
    "dpo_loss",
    "dynamic_sampling",
    "gae",
    "group_advantages",
    "implicit_reward",
    "ipo_loss",
    "kl_divergence",
    "kl_estimators",
    "kto_loss",
    "log_partition",
    "maximise",
    "objective",
    "optimal_policy",
    "orpo_loss",
    "overlong_filter",
    "overlong_penalty",
    "preference_probability",
    "recovered_reward",
    "reinforce_loss",
    "sequence_log_prob",
    "sequence_log_ratio",
    "sequence_ratio",
    "simpo_loss",
]
