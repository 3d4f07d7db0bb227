"""The bubblewrap command: what student code sees of this machine, which is Python and torch.

Everything is taken away first; what follows is the whole list of what comes back. `canary.prove`
tries the result at every start of grading.
"""

import importlib.metadata
import os
import re
import shutil
import sys
import sysconfig
from pathlib import Path

from marking.errors import CourseError

HERE = Path(__file__).parent
NEEDED = ("torch", "safetensors", "numpy", "pyseccomp")
NO_SOCKETS = (
    "This system lacks the sockets that grading needs: use Linux, or the container image "
    "(Containerfile)."
)
SMALL = str(64 << 20)  # of /tmp and of /dev/shm, in bytes
# Kernel facts that no answer needs; the container has no rights to most of them anyway.
MASKED_FILES = ("kallsyms", "kcore", "kmsg", "config.gz", "keys", "key-users", "timer_list")
MASKED_FILES += ("cmdline", "interrupts", "iomem", "ioports", "modules", "sched_debug", "slabinfo")
MASKED_FOLDERS = ("acpi", "scsi", "driver", "fs")


class SandboxError(CourseError):
    """The container cannot be had, or did not behave: nothing may be graded with it."""


def bubblewrap() -> list[str]:
    """The command that makes the container and starts Python in it. Raises `SandboxError`."""
    program = shutil.which("bwrap")
    if program is None:
        raise SandboxError(
            "Grading needs bubblewrap, which is not here: on Debian or Ubuntu run 'sudo apt-get "
            "install bubblewrap'; on macOS and Windows use the container image (Containerfile)."
        )
    command = [program, "--unshare-user", "--disable-userns", "--unshare-pid", "--unshare-ipc"]
    command += ["--unshare-uts", "--unshare-cgroup-try", "--unshare-net", "--die-with-parent"]
    # The forkserver is process 1: no signal from inside ends it, and all inside ends with it.
    command += ["--as-pid-1", "--new-session", "--uid", "65534", "--gid", "65534"]
    command += ["--hostname", "sandbox", "--cap-drop", "ALL", "--clearenv"]
    command += ["--setenv", "PATH", "/usr/bin", "--setenv", "HOME", "/tmp"]
    command += ["--setenv", "OMP_NUM_THREADS", "1"]
    command += system_binds() + course_binds() + proc_binds()
    command += ["--dev", "/dev", "--size", SMALL, "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    command += ["--size", SMALL, "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp"]
    return [*command, "--", interpreter(), "-I", "-S", "-B"]


def interpreter() -> str:
    """The Python under this one: of a virtual environment, the one that it was made from."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def system_binds() -> list[str]:
    """The shared libraries, this Python and its standard library; no installed packages."""
    command, shown = [], []
    for folder in ("/lib", "/lib64", "/lib32"):
        path = Path(folder)
        if path.is_symlink():
            command += ["--symlink", os.readlink(path), folder]
        elif path.exists():
            shown.append(path)
    shown += [Path(name) for name in ("/usr/lib", "/usr/lib64", "/usr/lib32")]
    base = Path(sys.base_prefix)
    shown += [base / "lib", base / "lib64", Path(sysconfig.get_path("stdlib"))]
    roots = sorted({path for path in shown if path.is_dir() and not path.is_symlink()})
    for path in roots:
        if not any(parent in roots for parent in path.parents):
            command += ["--ro-bind", str(path), str(path)]
    command += ["--ro-bind", interpreter(), interpreter()]
    for root in roots:  # what is installed beside the standard library is not shown
        for folder in [root] if "python" in root.name else sorted(root.glob("python*")):
            for site in installed_below(folder):
                command += ["--tmpfs", site]
    return command


def installed_below(folder: Path) -> list[str]:
    """The folders of installed packages below this one; what lies in them is not looked at."""
    found = []
    for here, names, _ in os.walk(folder):
        sites = [name for name in names if name in ("site-packages", "dist-packages")]
        found += [os.path.join(here, name) for name in sites]
        names[:] = [name for name in names if name not in sites]
    return sorted(found)


def course_binds() -> list[str]:
    """The forkserver's own files, and torch with what it needs."""
    command = []
    for source, name in site_entries():
        command += ["--ro-bind", source, f"/course/site/{name}"]
    for file in course_files():
        command += ["--ro-bind", str(file), f"/course/{file.name}"]
    return command


def course_files() -> list[Path]:
    """What the forkserver is made of: these files know torch and nothing of the grader."""
    files = sorted((HERE / "container").glob("*.py"))
    return [*files, HERE / "wire.py", HERE.parent / "limits.py", HERE.parent / "unchanged.py"]


def proc_binds() -> list[str]:
    command = ["--proc", "/proc"]
    for name in MASKED_FILES:
        if Path("/proc", name).exists():
            command += ["--ro-bind", "/dev/null", f"/proc/{name}"]
    for name in MASKED_FOLDERS:
        if Path("/proc", name).is_dir():
            command += ["--tmpfs", f"/proc/{name}", "--remount-ro", f"/proc/{name}"]
    return command


def site_entries() -> list[tuple[str, str]]:
    """(path, name) of everything that torch, safetensors and what they need installed."""
    entries: dict[str, str] = {}
    for name in requirement_closure(NEEDED):
        distribution = importlib.metadata.distribution(name)
        for top in tops(distribution):
            if top not in ("..", "__pycache__") and not top.endswith(".pth"):
                entries[top] = str(distribution.locate_file(top))
    return sorted((path, top) for top, path in entries.items() if Path(path).exists())


def tops(distribution: importlib.metadata.Distribution) -> set[str]:
    """The first part of each of its files' paths; torch alone has 20,000."""
    record = distribution.read_text("RECORD")
    if record is None:
        return {file.parts[0] for file in distribution.files or ()}
    return {line.lstrip('"').partition("/")[0].partition(",")[0] for line in record.splitlines()}


def requirement_closure(names) -> list[str]:
    """The installed distributions that these need, themselves included, extras aside."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in found:
            continue
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        todo += [re.match(r"[\w.-]+", need)[0] for need in needs if "extra ==" not in need]
    return sorted(found)


def explain(words: str) -> str:
    """One sentence about why bubblewrap or the server in it did not start."""
    blocked = ("setting up uid map", "creating new namespace", "no permissions to create")
    if any(text in words.lower() for text in blocked) or "Operation not permitted" in words:
        return (
            "This system does not let bubblewrap make a container (user namespaces are blocked, as "
            "by Ubuntu 24.04's AppArmor or inside a container): see 'Ubuntu 23.10 and later' on "
            "the book's page 'Teaching with it' for the setting, or grade on another machine. It "
            f"said: {words}."
        )
    return f"The sandbox did not start: {words}."
