"""The exercises of chapter 5, in the order of the book."""

from marking.exercises.preference.add_noise import ADD_NOISE
from marking.exercises.preference.aggregate_loss import AGGREGATE_LOSS
from marking.exercises.preference.bradley_terry_loss import BRADLEY_TERRY_LOSS
from marking.exercises.preference.clipped_surrogate import CLIPPED_SURROGATE
from marking.exercises.preference.diffusion_dpo_loss import DIFFUSION_DPO_LOSS
from marking.exercises.preference.dpo_loss import DPO_LOSS
from marking.exercises.preference.dynamic_sampling import DYNAMIC_SAMPLING
from marking.exercises.preference.gae import GAE
from marking.exercises.preference.group_advantages import GROUP_ADVANTAGES
from marking.exercises.preference.ipo_loss import IPO_LOSS
from marking.exercises.preference.kl_estimators import KL_ESTIMATORS
from marking.exercises.preference.kto_loss import KTO_LOSS
from marking.exercises.preference.overlong_penalty import OVERLONG_PENALTY
from marking.exercises.preference.sequence_log_prob import SEQUENCE_LOG_PROB
from marking.exercises.preference.simpo_loss import SIMPO_LOSS

EXERCISES = (
    SEQUENCE_LOG_PROB,
    BRADLEY_TERRY_LOSS,
    DPO_LOSS,
    IPO_LOSS,
    SIMPO_LOSS,
    KTO_LOSS,
    KL_ESTIMATORS,
    GAE,
    GROUP_ADVANTAGES,
    CLIPPED_SURROGATE,
    AGGREGATE_LOSS,
    DYNAMIC_SAMPLING,
    OVERLONG_PENALTY,
    ADD_NOISE,
    DIFFUSION_DPO_LOSS,
)
