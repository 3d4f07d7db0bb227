"""What crosses between the grader and the container: bounded frames of JSON and safetensors.

The file is read on both sides, so it knows torch, safetensors and the standard library alone.
Nothing here is ever unpickled or evaluated. A frame is two lengths, a JSON text and a safetensors
block; both lengths are checked before a byte of either is read.

A value travels as a description that refers to tensors by number: `[“tensor”, 0]`, `["int", "12"]`,
`["tuple", […]]`. What has no description (an object, a generator, a sparse tensor) travels as its
type's name, `["other", "Foo"]`, which no answer is ever equal to.
"""

import json
import math
import socket
import struct
import time

import safetensors
import safetensors.torch
import torch

MOST_JSON = 64 * 1024  # of an answer
MOST_JOB = 4 * 1024 * 1024  # of a job: a student's cells
MOST_TENSORS = 32 * 1024 * 1024
MOST_HEADER = 256 * 1024  # of a safetensors block: its names and shapes
MOST_DEPTH = 8
MOST_ITEMS = 4096
LENGTHS = struct.Struct(">II")


class WireError(Exception):
    """What came is no frame of ours: too long, cut short, late, or malformed."""


def send(
    connection: socket.socket,
    message: dict,
    tensors: dict[str, torch.Tensor],
    most_json: int = MOST_JSON,
) -> None:
    """Write one frame. Raises `WireError` if it would be too long."""
    text = _ENCODER.encode(message).encode()
    block = _block(tensors) if tensors else b""
    if len(text) > most_json or len(block) > MOST_TENSORS:
        raise WireError(f"the answer takes {len(text) + len(block):,} bytes, which is too many")
    connection.sendall(LENGTHS.pack(len(text), len(block)) + text + block)


def _block(tensors: dict[str, torch.Tensor]) -> bytes:
    """What `safetensors.torch.save` gives for plain contiguous tensors, in a twentieth of its time:
    it looks for tensors that share memory, and ours, being copies, do not."""
    return safetensors.serialize(
        {
            name: safetensors.TensorSpec(
                dtype=str(tensor.dtype).removeprefix("torch."),
                shape=tensor.shape,
                data_ptr=tensor.data_ptr(),
                data_len=tensor.nbytes,
            )
            for name, tensor in tensors.items()
        }
    )


def receive(
    connection: socket.socket, deadline: float | None = None, most_json: int = MOST_JSON
) -> tuple[dict, dict[str, torch.Tensor]]:
    """Read one frame, until `deadline` (a `time.monotonic()`). Raises `WireError`."""
    sizes = LENGTHS.unpack(_exactly(connection, LENGTHS.size, deadline))
    if sizes[0] > most_json or sizes[1] > MOST_TENSORS:
        raise WireError(f"a frame of {sizes[0]:,} + {sizes[1]:,} bytes was announced")
    both = _exactly(connection, sum(sizes), deadline)
    return parse(both[: sizes[0]], both[sizes[0] :])


def parse(text: bytes, block: bytes) -> tuple[dict, dict[str, torch.Tensor]]:
    """The message and the tensors of one frame. Raises `WireError`."""
    try:
        message = _DECODER.decode(text.decode())
        if block and int.from_bytes(block[:8], "little") > MOST_HEADER:
            raise ValueError("a long header")
        tensors = safetensors.torch.load(block) if block else {}
    except WireError:
        raise
    except Exception as error:  # whatever it is, it is the sender's fault
        raise WireError(f"a frame could not be read: {type(error).__name__}") from None
    if not isinstance(message, dict):
        raise WireError("a frame held no message")
    return message, tensors


def _once(pairs: list) -> dict:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise WireError("a frame said one thing twice")
    return found


# Made once: `json.dumps` and `json.loads` make one at every call that asks for anything.
_ENCODER = json.JSONEncoder(allow_nan=False)
_DECODER = json.JSONDecoder(object_pairs_hook=_once)


def _exactly(connection: socket.socket, size: int, deadline: float | None) -> bytes:
    parts, left = [], size
    while left:
        if deadline is not None:
            wait = deadline - time.monotonic()
            if wait <= 0:
                raise WireError("no answer in time")
            connection.settimeout(wait)
        try:
            part = connection.recv(min(left, 1 << 20))
        except TimeoutError:
            raise WireError("no answer in time") from None
        except OSError as error:
            raise WireError(f"the connection broke: {error.strerror}") from None
        if not part:
            raise WireError("the connection was closed")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def encode(value) -> tuple[list, dict[str, torch.Tensor]]:
    """The description of a value, and the tensors that it refers to."""
    tensors: dict[str, torch.Tensor] = {}
    return _encode(value, tensors, 0), tensors


def _encode(value, tensors: dict, depth: int) -> list:
    if depth > MOST_DEPTH or len(tensors) > MOST_ITEMS:
        return ["other", "too deep"]
    if value is None:
        return ["none"]
    if type(value) is bool:
        return ["bool", value]
    if isinstance(value, int):
        return ["int", str(int(value))] if abs(int(value)) < 10**4000 else ["other", "int"]
    if isinstance(value, float):
        return ["float", float(value).hex()]
    if isinstance(value, str):
        return ["str", str(value)]
    if isinstance(value, torch.Tensor):
        return _encode_tensor(value, tensors)
    if isinstance(value, list | tuple) and len(value) <= MOST_ITEMS:
        kind = "list" if isinstance(value, list) else "tuple"
        return [kind, [_encode(item, tensors, depth + 1) for item in value]]
    if isinstance(value, dict) and len(value) <= MOST_ITEMS:
        items = [(key, item) for key, item in value.items() if isinstance(key, str)]
        return ["dict", [[key, _encode(item, tensors, depth + 1)] for key, item in items]]
    return ["other", type(value).__name__[:80]]


def _encode_tensor(value: torch.Tensor, tensors: dict) -> list:
    if value.layout != torch.strided or value.device.type == "meta" or value.is_quantized:
        return ["other", f"tensor ({value.layout}, {value.device.type})"]
    # A plain copy: its own storage, no subclass, no gradient; not what a subclass says it is.
    with torch._C.DisableTorchFunctionSubclass():
        plain = value.detach().as_subclass(torch.Tensor).cpu().contiguous().clone()
    name = str(len(tensors))
    tensors[name] = plain
    return ["tensor", name, value.device.type]


def decode(description, tensors: dict[str, torch.Tensor]):
    """The value of a description. Raises `WireError` for anything that is not one.

    A tensor that was on another device than the CPU comes back as `Other`, like every value that
    has no description.
    """
    return _decode(description, tensors, 0)


class Other:
    """Stands for a value that cannot be an answer; `name` says what it was."""

    def __init__(self, name: str):
        self.name = name


def _decode(description, tensors: dict, depth: int):
    if depth > MOST_DEPTH or not isinstance(description, list) or not description:
        raise WireError("a value was described wrongly")
    kind, *rest = description
    try:
        if kind == "none" and not rest:
            return None
        if kind == "bool" and type(rest[0]) is bool:
            return rest[0]
        if kind == "int" and isinstance(rest[0], str) and len(rest[0]) < 4002:
            return int(rest[0])
        if kind == "float" and isinstance(rest[0], str):
            return float.fromhex(rest[0]) if rest[0] != "nan" else math.nan
        if kind in ("str", "other") and isinstance(rest[0], str):
            return rest[0] if kind == "str" else Other(rest[0][:80])
        if kind == "tensor" and isinstance(rest[0], str):
            return tensors[rest[0]] if rest[1] == "cpu" else Other(f"a tensor on {rest[1]}"[:80])
        if kind in ("list", "tuple") and len(rest[0]) <= MOST_ITEMS:
            items = [_decode(item, tensors, depth + 1) for item in rest[0]]
            return items if kind == "list" else tuple(items)
        if kind == "dict" and len(rest[0]) <= MOST_ITEMS:
            return {str(key): _decode(item, tensors, depth + 1) for key, item in rest[0]}
    except (IndexError, KeyError, TypeError, ValueError, OverflowError):
        pass
    raise WireError("a value was described wrongly")
