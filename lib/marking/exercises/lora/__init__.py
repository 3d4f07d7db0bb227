"""The exercises of chapter 2, in the order of the book."""

from marking.exercises.lora.apply_to_model import APPLY_TO_MODEL
from marking.exercises.lora.batched_adapters import BATCHED_ADAPTERS
from marking.exercises.lora.best_rank_r import BEST_RANK_R
from marking.exercises.lora.dora_forward import DORA_FORWARD
from marking.exercises.lora.forward import FORWARD_PASS
from marking.exercises.lora.gradients import GRADIENTS_OF_FACTORS
from marking.exercises.lora.initialise import INITIALISE
from marking.exercises.lora.merge import MERGE_WEIGHT
from marking.exercises.lora.nf4 import NF4
from marking.exercises.lora.scale import SCALE
from marking.exercises.lora.trainable_parameters import TRAINABLE_PARAMETERS
from marking.exercises.lora.unmerge import UNMERGE

EXERCISES = (
    BEST_RANK_R,
    INITIALISE,
    FORWARD_PASS,
    GRADIENTS_OF_FACTORS,
    TRAINABLE_PARAMETERS,
    MERGE_WEIGHT,
    UNMERGE,
    SCALE,
    APPLY_TO_MODEL,
    BATCHED_ADAPTERS,
    NF4,
    DORA_FORWARD,
)
