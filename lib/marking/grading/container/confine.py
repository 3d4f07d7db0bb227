"""Inside the container: the last door shut before student code runs.

bubblewrap has already taken the network, the files and the privileges away. This filter takes away
what a container still leaves: new processes, other programs, sockets, tracing, and every call that
reaches another process of the same user, which the forkserver is. Threads stay. Calls by another
machine's numbers (32-bit, x32) end the process: libseccomp's own rule.
"""

import ctypes.util
import errno
import os
import sys
import tempfile

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

_program: bytes | None = None  # the filter, compiled, with a mark where a process's number goes
MARK = 0x7A3B5C1D  # larger than any process number
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 4, 22, 38
FILTER_MODE, STEP_BYTES = 2, 8


class Program(ctypes.Structure):
    """struct sock_fprog: a filter as the kernel takes it."""

    _fields_ = (("steps", ctypes.c_ushort), ("code", ctypes.c_char_p))


def load() -> None:
    """Compile the filter before the fork, once; without libseccomp there is none, and the canary
    says so."""
    global _program
    search = ctypes.util.find_library
    # The search runs ldconfig, which the container does not have; these names never change.
    ctypes.util.find_library = {"c": "libc.so.6", "seccomp": "libseccomp.so.2"}.get
    try:
        import pyseccomp
    except (ImportError, OSError, RuntimeError):
        return
    finally:
        ctypes.util.find_library = search
    _program = _compiled(pyseccomp)


def _compiled(seccomp) -> bytes:
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
    for name in ("kill", "tgkill"):
        filter.add_rule(refuse, name, seccomp.Arg(0, seccomp.NE, MARK))
    filter.add_rule(refuse, "prlimit64", seccomp.Arg(0, seccomp.NE, 0))  # another's limits
    for command in (8, 10, 15):  # fcntl's F_SETOWN, F_SETSIG, F_SETOWN_EX: a signal by detour
        filter.add_rule(refuse, "fcntl", seccomp.Arg(1, seccomp.EQ, command))
    with tempfile.TemporaryFile() as file:
        filter.export_bpf(file)
        file.seek(0)
        return file.read()


def hide() -> None:
    """Close /proc/<this process>/mem and fd to others of the same user; a child inherits it."""
    prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def confine() -> bool:
    """Put the filter in force for this process; False if this system has no libseccomp."""
    if _program is None:
        return False
    mark, mine = (number.to_bytes(4, sys.byteorder) for number in (MARK, os.getpid()))
    code = _program.replace(mark, mine)
    program = Program(len(code) // STEP_BYTES, code)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(
        PR_SET_SECCOMP, FILTER_MODE, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "the seccomp filter was refused")
    return True
