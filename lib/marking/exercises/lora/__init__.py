"""The exercises of chapter 2, in the order of the book."""

from marking.exercises.lora.best_rank_r import BEST_RANK_R
from marking.exercises.lora.forward import FORWARD_PASS
from marking.exercises.lora.gradients import GRADIENTS_OF_FACTORS
from marking.exercises.lora.initialise import INITIALISE
from marking.exercises.lora.merge import MERGE_WEIGHT
from marking.exercises.lora.trainable_parameters import TRAINABLE_PARAMETERS

EXERCISES = (
    BEST_RANK_R,
    INITIALISE,
    FORWARD_PASS,
    GRADIENTS_OF_FACTORS,
    TRAINABLE_PARAMETERS,
    MERGE_WEIGHT,
)
