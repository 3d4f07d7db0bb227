"""Raises an error whose name and words are code of its own.

Exercise: attention.softmax
Score: 0
Status: crashed
"""


# %%
class Odd(Exception):
    def __str__(self):
        raise Odd

    forbidden = property(lambda self: 1 / 0)


def softmax(x, dim):
    raise Odd
