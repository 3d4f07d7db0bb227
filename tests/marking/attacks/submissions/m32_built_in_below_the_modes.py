"""Switches torch's modes off and calls the operation itself, and its relatives.

Exercise: attention.softmax
Score: 0
Status: forbidden
Smells: torch._C
"""
# %%
count = iter(range(10**6))


def softmax(x, dim):
    calls = (
        lambda: torch._C._VariableFunctions.softmax(x, dim),
        lambda: torch.ops.aten._log_softmax(x, dim, False).exp(),
        lambda: torch.ops.aten._softmax.out(x, dim, False, out=torch.empty_like(x)),
        lambda: torch._masked_softmax(x, torch.zeros_like(x, dtype=torch.bool), dim),
        lambda: torch._refs.softmax(x, dim),
        lambda: torch.sparse.softmax(x.to_sparse(), dim).to_dense(),
        lambda: torch.nn.Softmax(dim)(x),
    )
    with torch._C.DisableTorchFunction():
        return calls[next(count) % len(calls)]()
