"""Inside the container: the last door shut before student code runs.

bubblewrap has already taken the network, the files and the privileges away. This filter takes away
what a container still leaves: new processes, other programs, sockets, tracing. Threads stay.
"""

import ctypes.util
import errno
import os

CLONE_THREAD = 0x00010000
DENIED = (
    "execve",
    "execveat",
    "fork",
    "vfork",
    "socket",
    "socketpair",
    "connect",
    "bind",
    "listen",
    "accept",
    "accept4",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "mount",
    "umount2",
    "unshare",
    "setns",
    "pivot_root",
    "chroot",
    "bpf",
    "perf_event_open",
    "keyctl",
    "add_key",
    "request_key",
    "userfaultfd",
    "io_uring_setup",
    "tkill",
    "pidfd_open",
    "pidfd_send_signal",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "setrlimit",
    "kexec_load",
    "init_module",
    "finit_module",
    "personality",
    "memfd_create",
)


_seccomp = None


def load() -> None:
    """Find libseccomp before the fork; without it there is no filter, and the canary says so."""
    global _seccomp
    search = ctypes.util.find_library
    # The search runs ldconfig, which the container does not have; these names never change.
    ctypes.util.find_library = {"c": "libc.so.6", "seccomp": "libseccomp.so.2"}.get
    try:
        import pyseccomp

        _seccomp = pyseccomp
    except (ImportError, OSError, RuntimeError):
        _seccomp = None
    finally:
        ctypes.util.find_library = search


def confine() -> bool:
    """Put the filter in force for this process; False if this system has no libseccomp."""
    seccomp = _seccomp
    if seccomp is None:
        return False
    filter = seccomp.SyscallFilter(defaction=seccomp.ALLOW)
    refuse = seccomp.ERRNO(errno.EPERM)
    for name in DENIED:
        try:
            filter.add_rule(refuse, name)
        except (RuntimeError, OSError, ValueError):  # no such call on this machine
            continue
    missing = seccomp.ERRNO(errno.ENOSYS)  # glibc then falls back to clone, whose flags we see
    filter.add_rule(missing, "clone3")
    thread = seccomp.Arg(0, seccomp.MASKED_EQ, CLONE_THREAD, 0)
    filter.add_rule(refuse, "clone", thread)
    mine = os.getpid()
    for name in ("kill", "tgkill"):
        filter.add_rule(refuse, name, seccomp.Arg(0, seccomp.NE, mine))
    filter.load()
    return True
