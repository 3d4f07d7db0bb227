"""Takes all the memory it can get, in torch and in Python.

Exercise: attention.softmax
Score: 0
Status: crashed
"""


# %%
def softmax(x, dim):
    kept = []
    while True:
        kept.append(torch.zeros(1 << 31))
