"""Inside the container: the last door shut before student code runs.

bubblewrap has already taken the network, the files and the privileges away. This filter takes away
what a container still leaves: new processes, other programs, sockets, tracing, and every call that
reaches another process of the same user, which the forkserver is. Threads stay. Calls by another
machine's numbers (32-bit, x32) end the process: libseccomp's own rule.
"""

import ctypes.util
import errno
import os

CLONE_THREAD = 0x00010000
DENIED = {
    "processes and programs": "execve execveat fork vfork",
    "sockets": "socket socketpair connect bind listen accept accept4 sendmmsg recvmmsg",
    "other processes": "ptrace process_vm_readv process_vm_writev process_madvise kcmp "
    "process_mrelease pidfd_open pidfd_getfd pidfd_send_signal tkill rt_sigqueueinfo "
    "rt_tgsigqueueinfo setpriority sched_setscheduler sched_setparam sched_setattr "
    "sched_setaffinity ioprio_set migrate_pages move_pages setpgid",
    "what would outlive the child": "shmget shmat shmctl shmdt msgget msgsnd msgrcv msgctl semget "
    "semop semctl semtimedop mq_open mq_unlink memfd_create memfd_secret add_key request_key "
    "keyctl",
    "namespaces and mounts": "mount umount umount2 unshare setns pivot_root chroot mount_setattr "
    "open_tree move_mount fsopen fsconfig fsmount fspick swapon swapoff quotactl quotactl_fd "
    "name_to_handle_at open_by_handle_at fanotify_init",
    "much of the kernel, little used": "bpf perf_event_open userfaultfd io_uring_setup "
    "io_uring_enter io_uring_register vmsplice splice tee modify_ldt iopl ioperm personality "
    "lookup_dcookie uselib ustat sysfs _sysctl acct syslog vhangup nfsservctl",
    "the machine": "reboot kexec_load kexec_file_load init_module finit_module delete_module "
    "settimeofday clock_settime clock_settime64 clock_adjtime adjtimex stime sethostname "
    "setdomainname setrlimit",
}

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


def hide() -> None:
    """Close /proc/<this process>/mem and fd to others of the same user; a child inherits it."""
    prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)
    if prctl is not None:
        prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE


def confine() -> bool:
    """Put the filter in force for this process; False if this system has no libseccomp."""
    seccomp = _seccomp
    if seccomp is None:
        return False
    filter = seccomp.SyscallFilter(defaction=seccomp.ALLOW)
    refuse = seccomp.ERRNO(errno.EPERM)
    for name in " ".join(DENIED.values()).split():
        try:
            filter.add_rule(refuse, name)
        except (RuntimeError, OSError, ValueError):  # no such call on this machine
            continue
    missing = seccomp.ERRNO(errno.ENOSYS)  # glibc then falls back to clone, whose flags we see
    filter.add_rule(missing, "clone3")
    filter.add_rule(refuse, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, CLONE_THREAD, 0))
    mine = os.getpid()
    for name in ("kill", "tgkill"):
        filter.add_rule(refuse, name, seccomp.Arg(0, seccomp.NE, mine))
    filter.add_rule(refuse, "prlimit64", seccomp.Arg(0, seccomp.NE, 0))  # another's limits
    for command in (8, 10, 15):  # fcntl's F_SETOWN, F_SETSIG, F_SETOWN_EX: a signal by detour
        filter.add_rule(refuse, "fcntl", seccomp.Arg(1, seccomp.EQ, command))
    filter.load()
    return True
