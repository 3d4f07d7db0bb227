"""Ignores every signal that can be ignored, then never ends.

Exercise: attention.softmax
Score: 0
Status: timed out
"""
# %%
import signal

for number in signal.valid_signals():
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def softmax(x, dim):
    signal.sigwait([signal.SIGUSR1])
