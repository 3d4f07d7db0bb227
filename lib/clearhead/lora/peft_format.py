r"""PEFT's two files, read and written: the settings, the tensors, and what we do not implement.

`adapter_config.json` holds one rank $r$ and one $\alpha$ for all layers, and two tables of
exceptions, `rank_pattern` and `alpha_pattern`, whose keys are regular expressions for the end of a
module's name. The scale of a layer then is

$$
s = \frac{\alpha}{r} \quad\text{or, with } \texttt{use\_rslora},\quad s = \frac{\alpha}{\sqrt r}
\tag{1}
$$

**Refused.** A file that asks for more than a low-rank update on Linear, Embedding and Conv1D layers
is refused by the name of the setting, because ignoring it would give another model without a word.

**Source.** `LoraConfig` and `get_pattern_key` of PEFT.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from torch import Tensor

from .adapter import Adapter

CONFIG, WEIGHTS, PREFIX = "adapter_config.json", "adapter_model.safetensors", "base_model.model."
A, B, MAGNITUDE = "A", "B", "magnitude"
KEYS = {
    "lora_A.weight": A,
    "lora_B.weight": B,
    "lora_embedding_A": A,
    "lora_embedding_B": B,
    "lora_magnitude_vector": MAGNITUDE,
    "lora_magnitude_vector.weight": MAGNITUDE,
}

INITS = (True, False, "gaussian", "orthogonal", "pissa")  # "pissa" alone changes the base
IMPLEMENTED = {"bias": "none", "lora_bias": False}
ABSENT = (
    *("modules_to_save", "layer_replication", "trainable_token_indices", "target_parameters"),
    *("alora_invocation_tokens", "use_qalora", "use_bdlora", "arrow_config", "kasa_config"),
    *("velora_config", "monteclora_config"),
)


def write_config(adapters: Mapping[str, Adapter], *, fan_in_fan_out: bool) -> dict:
    """The settings of these adapters, one a module, by PEFT's names of the modules.

    Raises `ValueError` when they differ in what the file holds once for all.
    """
    first = next(iter(adapters.values()))
    for setting in ("rank_stabilized", "dropout"):
        if len({getattr(adapter, setting) for adapter in adapters.values()}) > 1:
            raise ValueError(f"The layers differ in {setting}, and a file holds one for all.")
    if len({adapter.magnitude is None for adapter in adapters.values()}) > 1:
        raise ValueError("Some layers use DoRA and some do not, and a file holds one for all.")

    def exceptions(setting: str) -> dict:
        common = getattr(first, setting)
        values = {path: getattr(adapter, setting) for path, adapter in adapters.items()}
        return {f"^{re.escape(path)}": v for path, v in values.items() if v != common}

    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "inference_mode": True,
        "target_modules": list(adapters),
        "r": first.r,
        "lora_alpha": first.alpha,
        "rank_pattern": exceptions("r"),
        "alpha_pattern": exceptions("alpha"),
        "use_rslora": first.rank_stabilized,
        "use_dora": first.magnitude is not None,
        "lora_dropout": first.dropout,
        "fan_in_fan_out": fan_in_fan_out,
        "init_lora_weights": True,
        "bias": "none",
        "modules_to_save": None,
    }


def require_implemented(config: Mapping, source: str) -> None:
    """Raise `ValueError` for a file that is no LoRA adapter's, or asks for what we do not have."""
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ValueError(f"{source} is a file for {kind!r}; clearhead.lora reads 'LORA'.")
    wrong = [name for name, value in IMPLEMENTED.items() if config.get(name, value) != value]
    wrong += [name for name in ABSENT if config.get(name)]
    if config.get("init_lora_weights", True) not in INITS:
        wrong.append("init_lora_weights")
    if wrong:
        asked = ", ".join(f"{name} = {config[name]!r}" for name in wrong)
        raise ValueError(f"{source} asks for {asked}, which clearhead.lora does not implement.")
    for name in ("r", "lora_alpha"):
        value = config.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{source} has {name} = {value!r}; expected a number.")


def of_module(config: Mapping, path: str) -> tuple[int, float | int]:
    """`(r, alpha)` of the module called `path`, by the patterns or else by the common setting."""

    def find(patterns: str, common: str):
        for pattern, value in (config.get(patterns) or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", path):
                return value
        return config[common]

    return find("rank_pattern", "r"), find("alpha_pattern", "lora_alpha")


def read_config(path: Path) -> dict:
    """The settings in adapter_config.json; `ValueError` when it is missing, damaged or refused."""
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path.parent} has no {path.name}, so it holds no adapter.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}).") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds a {type(config).__name__}; expected settings by name.")
    require_implemented(config, str(path))
    return config


def read_tensors(path: Path) -> dict[str, dict[str, Tensor]]:
    """The tensors by module and part; `ValueError` when the file is missing, damaged or other."""
    safetensors = need_safetensors()
    if not path.exists():
        raise ValueError(
            f"{path.parent} has no {path.name} (a pickled adapter_model.bin is not read: it can "
            "run code)."
        )
    try:
        tensors = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{path} is cut short or damaged ({error}).") from None
    modules: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        key = next((key for key in KEYS if name.endswith("." + key)), None)
        if key is None or not name.startswith(PREFIX):
            raise ValueError(f"{path} holds {name!r}, which is no part of a LoRA adapter.")
        modules.setdefault(name[len(PREFIX) : -len(key) - 1], {})[KEYS[key]] = tensor
    if not modules:
        raise ValueError(f"{path} holds no tensor at all.")
    return modules


def need_safetensors() -> ModuleType:
    """The package, or `ImportError` that says how to get it."""
    try:
        import safetensors
        import safetensors.torch
    except ImportError:
        raise ImportError(
            'Adapter files need the package safetensors: pip install "clearhead[model]" brings it.'
        ) from None
    return safetensors
