"""Puts a script, control characters and markup into the words that feedback repeats.

What leaves the judge has no control characters; whoever shows it escapes it.
Exercise: attention.softmax
Score: 0
Status: crashed
Not in says: \x1b
"""


# %%
def softmax(x, dim):
    raise ValueError("<script>alert(1)</script>\x1b]0;owned\x07[red]\r\u202e")
