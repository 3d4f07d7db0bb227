"""Uses IPython's ways to run commands.

A notebook's % and ! lines do nothing here; the rest of the cell runs.
Exercise: attention.softmax
Score: 0
"""
# %%
%%bash
touch PLANTED.written
# %%
!touch PLANTED.written
%autoreload 2
%run PLANTED


def softmax(x, dim):
    return x
