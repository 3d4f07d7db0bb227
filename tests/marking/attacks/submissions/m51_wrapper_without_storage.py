"""Returns a tensor that has no numbers until someone looks, and then runs code of its own.

The looking happens in the student's process.
Exercise: attention.softmax
Score: 0
"""


# %%
class Late(torch.Tensor):
    @staticmethod
    def __new__(cls, x):
        return torch.Tensor._make_wrapper_subclass(cls, x.shape, dtype=x.dtype)

    def __init__(self, x):
        self.kept = x

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        open("/tmp/ran", "w").close()
        return args[0].kept * 0


def softmax(x, dim):
    return Late(x)
