"""The wire under fuzz: whatever comes, it is a frame of ours or a `WireError`, soon and small."""

import json
import socket
import struct
import threading
import time
import tracemalloc

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marking.grading import wire

FUZZ = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
TENSORS = {"0": torch.arange(6.0).reshape(2, 3), "1": torch.ones(2, dtype=torch.bool)}
VALUE = (TENSORS["0"], [TENSORS["1"], 3, -0.5, None, True, "x"], {"k": float("-inf")})


def receive(data: bytes, seconds: float = 2.0):
    """What the other end of a connection makes of these bytes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=_send, args=(theirs, data))
        sender.start()
        try:
            return wire.receive(ours, time.monotonic() + seconds)
        finally:
            ours.close()
            sender.join()


def _send(connection, data):
    try:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def frame() -> bytes:
    spec, tensors = wire.encode(VALUE)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire.send(theirs, {"id": "a", "value": spec}, tensors)
        theirs.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: ours.recv(65536), b""))


def packed(text: bytes, block: bytes = b"") -> bytes:
    return wire.LENGTHS.pack(len(text), len(block)) + text + block


def block_of(header, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def refused(data: bytes) -> None:
    with pytest.raises(wire.WireError):
        receive(data)


def understood(data: bytes) -> None:
    """It is read and decoded, or refused; nothing else happens."""
    try:
        message, tensors = receive(data)
        wire.decode(message.get("value"), tensors)
    except wire.WireError:
        pass


def test_a_value_comes_back_as_it_went():
    message, tensors = receive(frame())
    tensor, items, named = wire.decode(message["value"], tensors)
    assert torch.equal(tensor, TENSORS["0"])
    assert torch.equal(items[0], TENSORS["1"])
    assert items[1:] == [3, -0.5, None, True, "x"]
    assert named == {"k": float("-inf")}


@FUZZ
@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data):
    refused(data)


@FUZZ
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=50))
def test_a_frame_shorter_than_it_says_is_refused_and_takes_no_room(text, block, data):
    tracemalloc.start()
    try:
        understood(wire.LENGTHS.pack(text, block) + data)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@FUZZ
@given(st.data())
def test_a_frame_with_bytes_changed_is_read_or_refused(data):
    good = bytearray(frame())
    for _ in range(data.draw(st.integers(1, 6))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(good)))
    understood(bytes(good[:cut]) if data.draw(st.booleans()) else bytes(good))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=20,
)
KINDS = st.sampled_from(["none", "bool", "int", "float", "str", "other", "tensor", "list", "dict"])
DESCRIPTION = st.recursive(
    st.lists(KINDS | JSON, max_size=3), lambda inner: st.tuples(KINDS, inner | JSON), max_leaves=8
)


@FUZZ
@given(JSON | DESCRIPTION)
def test_any_description_is_decoded_or_refused(description):
    try:
        wire.decode(json.loads(json.dumps(description)), TENSORS)
    except wire.WireError:
        pass


@FUZZ
@given(
    st.dictionaries(
        st.text(max_size=3),
        st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["F32", "F64", "BOOL", "I64", "F8_E4M3", "X"]),
                "shape": st.lists(st.integers(-3, 2**63), max_size=4),
                "data_offsets": st.lists(st.integers(-8, 2**63), min_size=1, max_size=3),
            }
        ),
        max_size=3,
    ),
    st.binary(max_size=64),
)
def test_any_safetensors_header_is_read_or_refused(header, data):
    understood(packed(b"{}", block_of(header, data)))


F32 = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


@pytest.mark.parametrize(
    "block",
    [
        block_of({"a": F32, "b": F32}, bytes(24)),
        block_of({"a": F32 | {"shape": [-2, -3]}}, bytes(24)),
        block_of({"a": F32 | {"shape": [2**40, 2**40]}}, bytes(24)),
        block_of({"a": F32}, bytes(24) + b"more"),
        block_of({"a": F32}, bytes(20)),
        block_of({"a": F32 | {"data_offsets": [24, 0]}}, bytes(24)),
        block_of(b"[" * 10_000),
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", wire.MOST_HEADER + 1) + b" " * (wire.MOST_HEADER + 1),
    ],
    ids="overlap negative overflow longer shorter backwards deep huge-header long-header".split(),
)
def test_a_block_that_no_library_would_write_is_refused(block):
    refused(packed(b"{}", block))


@pytest.mark.parametrize(
    "text",
    [
        b'{"id": 1, "id": 2}',
        b"[" * 30_000 + b"]" * 30_000,
        b'{"a": ' * 20_000 + b"1" + b"}" * 20_000,
        b"[]",
        b"1" * 60_000,
        b"\xff\xfe{}",
        b"{}{}",
        b"",
    ],
    ids="twice deep-list deep-dict no-dict huge-number not-utf8 two empty".split(),
)
def test_a_text_that_is_no_message_is_refused(text):
    refused(packed(text))


def test_what_is_longer_than_allowed_is_refused_before_it_is_read():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(wire.LENGTHS.pack(wire.MOST_JSON + 1, 0))
        with pytest.raises(wire.WireError, match="announced"):
            wire.receive(ours, time.monotonic() + 60)


def test_an_answer_that_drips_is_late_whatever_each_byte_takes():
    ours, theirs = socket.socketpair()
    stop = threading.Event()

    def drip():
        while not stop.wait(0.02):
            theirs.send(b"\0")

    with ours, theirs:
        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(wire.WireError, match="in time"):
                wire.receive(ours, time.monotonic() + 0.1)
        finally:
            stop.set()
            thread.join()


class Odd(int):
    def __str__(self):
        return "1" * 10_000


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (object(), "other"),
        (torch.ones(2).to_sparse(), "other"),
        (torch.empty(2, device="meta"), "other"),
        (10**5000, "other"),
        (Odd(3), "int"),
        ({1: 2}, "dict"),
        (iter([]), "other"),
    ],
    ids="object sparse meta huge-int odd-int dict generator".split(),
)
def test_a_value_without_a_description_travels_as_its_name(value, kind):
    spec, tensors = wire.encode(value)
    assert spec[0] == kind
    wire.decode(spec, tensors)


def test_a_value_nested_without_end_is_cut_off():
    nested: list = []
    nested.append(nested)
    spec, tensors = wire.encode(nested)
    assert not tensors
    assert "too deep" in json.dumps(spec)
