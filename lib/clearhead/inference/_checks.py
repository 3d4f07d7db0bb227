r"""Refuse what does not fit a cache or a padded batch, in one sentence that says what came.

Each function returns nothing and raises `TypeError` (wrong kind or dtype) or `ValueError` (wrong
shape, size or device); nothing has been written by then.
"""

import torch
from torch import Tensor

from clearhead._checks import require_floating, require_integer
from clearhead.model._checks import check_ids

INTEGERS = (torch.int64, torch.int32)  # smaller ones overflow when a length is added


def require_integers(axes: str, **tensors: Tensor) -> None:
    """Every argument is a tensor of integers with these axes, say "B T"."""
    shape = f"({', '.join(axes.split())}{',' if ' ' not in axes else ''})"
    for name, x in tensors.items():
        if not isinstance(x, Tensor):
            raise TypeError(
                f"{name} is a {type(x).__name__}; give a tensor of integers, shape {shape}."
            )
        if x.dtype not in INTEGERS:
            raise TypeError(
                f"{name} is {x.dtype}; give a tensor of integers, shape {shape}, int64 or int32."
            )
        if x.ndim != len(axes.split()):
            raise ValueError(f"{name} has shape {tuple(x.shape)}; expected {shape}.")


def require_token_ids(**tensors: Tensor) -> None:
    """Every argument is a tensor of integers, of any size and shape."""
    for name, x in tensors.items():
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} is a {type(x).__name__}; give a tensor of integers.")
        if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
            raise TypeError(f"{name} is {x.dtype}; give integers, the ids of tokens.")


def require_counts(B: int, **tensors: Tensor) -> None:
    """Every argument holds B integers, none of them negative."""
    for name, x in tensors.items():
        require_integers("B", **{name: x})
        if len(x) != B:
            raise ValueError(f"{name} has {len(x)} entries for a batch of {B}; give one a row.")
        if B and int(x.min()) < 0:
            raise ValueError(f"{name} holds {int(x.min())}; give counts of 0 or more.")


def require_rows(k: Tensor, v: Tensor) -> None:
    """New keys and values are both (B, K, T, D), with one dtype and one device."""
    require_floating(k=k, v=v)
    if k.ndim != 4 or k.shape != v.shape:
        raise ValueError(
            f"Given k {tuple(k.shape)} and v {tuple(v.shape)}; expected (B, K, T, D) for both."
        )


def require_same_sequences(k: Tensor, held: Tensor) -> None:
    """New rows fit those that the cache holds: equal B, K, D, dtype and device."""
    sizes = [(x.shape[0], x.shape[1], x.shape[3]) for x in (k, held)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"New rows have (B, K, D) = {sizes[0]} and the cache holds {sizes[1]}; "
            "one cache serves one batch of one model."
        )
    if k.dtype != held.dtype or k.device != held.device:
        raise ValueError(
            f"New rows are {k.dtype} on {k.device} and the cache is {held.dtype} on "
            f"{held.device}; make the cache with the model's dtype and device."
        )


def require_layer(layer: int, layers: int) -> None:
    """The layer is one that the cache has."""
    if not 0 <= layer < layers:
        raise ValueError(f"layer is {layer}; the cache has {layers} layers, 0 to {layers - 1}.")


def require_length(n: int, length: int) -> None:
    """A cache of `length` slots can be cut to `n`."""
    require_integer(0, n=n)
    if n > length:
        raise ValueError(f"n is {n}; the cache holds {length} slots and can only be cut down.")


def require_ids(ids: Tensor, model) -> None:
    """Token ids (B, T), T of 1 or more, in the model's vocabulary and on its device."""
    require_integers("B T", ids=ids)
    if ids.numel() == 0:
        raise ValueError(
            f"ids has shape {tuple(ids.shape)}: there is no token to read; give at least one a row."
        )
    device = model.embedding.weight.device
    if ids.device != device:
        raise ValueError(f"ids are on {ids.device} and the model on {device}; move one of them.")
    check_ids(ids, model.config.vocab_size)


def require_pads(pads: Tensor | None, B: int, slots: int) -> None:
    """Each row has fewer pads than the slots that it will have filled: a real token at the end."""
    if pads is None:
        return
    require_counts(B, pads=pads)
    if B and int(pads.max()) >= slots:
        b = int(pads.argmax())
        raise ValueError(
            f"Row {b} is all padding: pads is {int(pads[b])} of {slots} slots; "
            "each row needs a token."
        )


def require_mask(mask: Tensor | None, B: int, T: int, past: int) -> None:
    """A boolean mask for T new queries over the cached slots and their own."""
    if mask is None:
        return
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, Tensor) else f"a {type(mask).__name__}"
        raise TypeError(f"mask is {kind}; give a boolean tensor, True = may attend.")
    if tuple(mask.shape) not in ((T, past + T), (1, T, past + T), (B, T, past + T)):
        raise ValueError(
            f"mask has shape {tuple(mask.shape)}; expected (T, past + T) = ({T}, {past + T}), "
            f"or with B = {B} in front."
        )


def require_room(cache, T: int, n: int) -> None:
    """A cache of fixed size holds a prompt of T and n more tokens; the last one is never read."""
    size, used = getattr(cache, "max_length", None), cache.length
    needed = used + T + max(n, 1) - 1
    if size is not None and needed > size:
        held = f"{used} are used, " if used else ""
        written = f" and {n} are to be written" if n else ""
        raise ValueError(
            f"The cache has {size} slots and {needed} are needed: {held}the prompt has {T} "
            f"tokens{written}. Make it with max_length={needed} or more."
        )


def require_stop(stop, ids: Tensor) -> Tensor | None:
    """The ids that end a row as a tensor, or None when there are none."""
    ends = list(require_stop_ids(stop))
    return torch.tensor(ends, dtype=ids.dtype, device=ids.device) if ends else None


def require_stop_ids(stop) -> frozenset[int]:
    """The ids that end a text as a set."""
    ends = [] if isinstance(stop, int | str) or stop is None else list(stop)
    if isinstance(stop, int | str) or stop is None or not all(type(i) is int for i in ends):
        raise TypeError(
            f"stop is {stop!r}; give a set of token ids, such as {{2}}, or leave it out."
        )
    return frozenset(ends)


def require_choice(chosen: Tensor, ids: Tensor) -> None:
    """What `choose` gave is one token id a row."""
    if isinstance(chosen, Tensor) and chosen.dtype in INTEGERS and chosen.shape == ids.shape[:1]:
        return
    given = f"a {type(chosen).__name__}"
    if isinstance(chosen, Tensor):
        given = f"{chosen.dtype} of shape {tuple(chosen.shape)}"
    raise ValueError(
        f"choose gave {given}; expected one token id a row, shape ({len(ids)},), int64 or int32."
    )


def require_at_least_one(**values: int | None) -> None:
    """Every argument that is given is an integer of 1 or more."""
    require_integer(1, **{name: x for name, x in values.items() if x is not None})


def require_static(cache) -> None:
    """A cache whose tensors a `FastDecoder` may write itself."""
    if not hasattr(cache, "mark_used"):
        raise TypeError(
            f"cache is a {type(cache).__name__}; a FastDecoder writes into a StaticCache, which "
            "its new_cache(batch, max_length) makes."
        )


def require_static_like(cache, like: Tensor, B: int) -> None:
    """Such a cache for B rows, with the dtype and device of `like`."""
    require_static(cache)
    held = cache.keys[0]
    if cache.batch != B:
        raise ValueError(f"ids has {B} rows and the cache was made for {cache.batch}.")
    if held.dtype != like.dtype or held.device != like.device:
        raise ValueError(
            f"The cache is {held.dtype} on {held.device} and the model {like.dtype} on "
            f"{like.device}; make it by the model's new_cache(batch, max_length)."
        )


def require_step(ids: Tensor, cache) -> None:
    """One id a row of the cache, and a slot left: what costs no look at the numbers."""
    require_static(cache)
    if ids.ndim != 1 or len(ids) != cache.batch:
        raise ValueError(
            f"ids has shape {tuple(ids.shape)} and the cache {cache.batch} rows; give one id a row."
        )
    if cache.length >= cache.max_length:
        raise ValueError(
            f"The cache has {cache.max_length} slots, all of them used; 1 more does not fit. "
            f"Make it with max_length={cache.max_length + 1} or more."
        )
