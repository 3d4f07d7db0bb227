"""Leaves a thread that goes on writing into the answer after it was returned.

Only the bytes at the time of the answer count.
Exercise: attention.softmax
Score: 0
"""
# %%
import threading


def softmax(x, dim):
    out = torch.zeros_like(x)

    def later():
        while True:
            out.copy_((x - x.amax(dim, True)).exp() * 0.1)

    threading.Thread(target=later, daemon=True).start()
    return out
