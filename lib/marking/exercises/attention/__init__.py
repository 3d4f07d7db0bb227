"""The exercises of chapter 1, in the order of the book."""

from marking.exercises.attention.softmax import SOFTMAX

EXERCISES = (SOFTMAX,)
