"""Ends its process before any case. (Also n3: stock nbgrader loses the assignment's row.)

Exercise: attention.softmax
Score: 0
Status: crashed
"""
# %%
import os

os._exit(0)
