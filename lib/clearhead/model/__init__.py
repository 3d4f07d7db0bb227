r"""A Llama-style decoder that loads real checkpoints: see `decoder`, `loading` and `trace`."""

from clearhead.model.config import Config
from clearhead.model.decoder import Decoder
from clearhead.model.loading import load, load_or_explain
from clearhead.model.packages import ModelNotFound
from clearhead.model.tokenizer import Tokenizer
from clearhead.model.trace import Trace, greedy, trace

__all__ = [
    "Config",
    "Decoder",
    "ModelNotFound",
    "Tokenizer",
    "Trace",
    "greedy",
    "load",
    "load_or_explain",
    "trace",
]
