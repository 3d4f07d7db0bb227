"""Never ends, and catches everything that might end it.

Exercise: attention.softmax
Score: 0
Status: timed out
"""


# %%
def softmax(x, dim):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
