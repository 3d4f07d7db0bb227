r"""Preferences: from pairs of answers to a policy, from rewards to a policy, and for diffusion."""

from .advantages import group_advantages
from .aggregate import aggregate_loss
from .bradley_terry import bradley_terry_loss, preference_probability
from .chunked_grpo import chunked_grpo_loss
from .chunked_log_prob import chunked_log_prob
from .chunked_preference import chunked_preference_loss
from .closed_form import log_partition, maximise, objective, optimal_policy, recovered_reward
from .collect import collect
from .dapo import (
    BatchNotFilledError,
    dynamic_sampling,
    fill_batch,
    overlong_filter,
    overlong_penalty,
)
from .denoiser import PointDenoiser, diffusion_loss, ring, sample, train_denoiser
from .diffusion import (
    add_noise,
    denoise_step,
    noise_schedule,
    predicted_start,
    step_distribution,
    velocity,
)
from .diffusion_dpo import code_beta, diffusion_dpo_loss
from .diffusion_policy_gradient import RewardStep, chain_log_probs, reward_samples, step_log_prob
from .dpo import dpo_loss, implicit_reward
from .gae import gae
from .ipo import ipo_loss
from .kl import kl_divergence, kl_estimators
from .kto import kto_loss
from .log_probs import completion_tokens, sequence_log_prob
from .losses import dapo_loss, dr_grpo_loss, grpo_loss, gspo_loss, token_losses
from .orpo import orpo_loss
from .pairs import Pairs, encode_pairs, pair_log_probs, pair_scores, reference_log_probs
from .prefer import Measured, measure_pairs, prefer
from .prefer_samples import SampleStep, pairs_by_reward, prefer_samples
from .reward_model import RewardModel, score_pairs, train_reward
from .rl import policy_loss, reinforce, success_rate
from .rollout import Rollout, answer_log_probs, answer_states, rollout
from .scores import Scores, pair_loss
from .settings import DAPO, DR_GRPO, GRPO, RLStep, Settings
from .simpo import simpo_loss
from .surrogate import (
    clipped_share,
    clipped_surrogate,
    reinforce_loss,
    sequence_log_ratio,
    sequence_ratio,
)
from .tasks import Board, starting_policy

__all__ = [
    "DAPO",
    "DR_GRPO",
    "GRPO",
    "BatchNotFilledError",
    "Board",
    "Measured",
    "Pairs",
    "PointDenoiser",
    "RLStep",
    "RewardModel",
    "RewardStep",
    "Rollout",
    "SampleStep",
    "Scores",
    "Settings",
    "add_noise",
    "aggregate_loss",
    "answer_log_probs",
    "answer_states",
    "bradley_terry_loss",
    "chain_log_probs",
    "chunked_grpo_loss",
    "chunked_log_prob",
    "chunked_preference_loss",
    "clipped_share",
    "clipped_surrogate",
    "code_beta",
    "collect",
    "completion_tokens",
    "dapo_loss",
    "denoise_step",
    "diffusion_dpo_loss",
    "diffusion_loss",
    "dpo_loss",
    "dr_grpo_loss",
    "dynamic_sampling",
    "encode_pairs",
    "fill_batch",
    "gae",
    "group_advantages",
    "grpo_loss",
    "gspo_loss",
    "implicit_reward",
    "ipo_loss",
    "kl_divergence",
    "kl_estimators",
    "kto_loss",
    "log_partition",
    "maximise",
    "measure_pairs",
    "noise_schedule",
    "objective",
    "optimal_policy",
    "orpo_loss",
    "overlong_filter",
    "overlong_penalty",
    "pair_log_probs",
    "pair_loss",
    "pair_scores",
    "pairs_by_reward",
    "policy_loss",
    "predicted_start",
    "prefer",
    "prefer_samples",
    "preference_probability",
    "recovered_reward",
    "reference_log_probs",
    "reinforce",
    "reinforce_loss",
    "reward_samples",
    "ring",
    "rollout",
    "sample",
    "score_pairs",
    "sequence_log_prob",
    "sequence_log_ratio",
    "sequence_ratio",
    "simpo_loss",
    "starting_policy",
    "step_distribution",
    "step_log_prob",
    "success_rate",
    "token_losses",
    "train_denoiser",
    "train_reward",
    "velocity",
]
