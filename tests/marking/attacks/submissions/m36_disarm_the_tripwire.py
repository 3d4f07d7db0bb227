"""Searches the process for the tripwire, to take it apart.

A deterrent, not a boundary: these attempts fail, and their traces put it on the staff's list.
Exercise: attention.softmax
Score: 0
Status: forbidden
Smells: gc, sys.modules, weakref
"""
# %%
import gc
import sys
import weakref

for module in list(sys.modules):
    if "tripwire" in module:
        for library in vars(sys.modules[module]).values():
            library._destroy()
gc.unfreeze()
found = [f.peek()[0] for f in list(weakref.finalize._registry) if f.peek()]
for thing in [*found, *gc.get_objects()]:
    holder = thing if isinstance(thing, dict) else getattr(thing, "__dict__", {})
    if isinstance(holder, dict) and holder.get("ns") == "aten" and holder.get("m") is not None:
        holder["m"].reset()


def softmax(x, dim):
    return torch.ops.aten._softmax(x, dim, False)
