"""Confinement of this process: limits on memory, time and files, no network, no other programs. There is no way back.

The stand-ins of `inert` are what keeps a file from running code; this is the wall behind them, for errors of ours and
of the parsers below us.
"""

import ctypes
import os
import platform
import resource
import struct
import sys
from typing import Any

from veriward.adapters.scan.words import words

_PR_SET_NO_NEW_PRIVS, _SET_MODE_FILTER, _ALL_THREADS = 38, 1, 1  # linux/prctl.h, linux/seccomp.h (FILTER_FLAG_TSYNC)
# Classic BPF (linux/bpf_common.h): load a word of seccomp_data, compare, return.
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050001  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with EPERM
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4  # offsets in seccomp_data
_X32 = 0x40000000  # calls of the x32 ABI have this bit, and other numbers for the same work
# audit architecture, then: socket connect sendto bind listen socketpair execve execveat ptrace process_vm_writev bpf
# io_uring_setup kill pidfd_send_signal pidfd_getfd (the files of another process), and fork and vfork where they exist
# (linux/asm/unistd.h)
_CALLS: dict[str, tuple[int, tuple[int, ...]]] = {
    "x86_64": (0xC000003E, (41, 42, 44, 49, 50, 53, 59, 322, 101, 311, 321, 425, 62, 424, 438, 57, 58)),
    "aarch64": (0xC00000B7, (198, 203, 206, 200, 201, 199, 221, 281, 117, 271, 280, 425, 129, 424, 438)),
}
_SECCOMP = {"x86_64": 317, "aarch64": 277}  # the number of seccomp(2), which libc has no function for
_REFUSED = words(
    """
    os.system os.exec os.fork os.forkpty os.posix_spawn os.spawn os.remove os.rename os.mkdir os.rmdir os.link
    os.symlink os.truncate os.chmod os.chown os.putenv os.kill os.utime os.setxattr os.removexattr pty.spawn
    sqlite3.connect sys.addaudithook
    """
)
_REFUSED_FAMILIES = ("socket.", "subprocess.", "ctypes.", "shutil.", "webbrowser.", "urllib.", "http.", "ftplib.")
_WRITING = frozenset("wax+")
_WRITING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def confine(*, more_memory_bytes: int, cpu_seconds: int, file_bytes: int) -> list[str]:
    """Give up what a conversion does not need; returns the names of the walls that stand.

    `more_memory_bytes` beyond what the process has mapped by now; `file_bytes` for the largest file it may write. What
    is to be imported must be imported before, and files to be written must be open.
    """
    walls = [*_limit(more_memory_bytes, cpu_seconds, file_bytes), *_filter_calls()]
    sys.addaudithook(_refuse)
    return [*walls, "audit"]


def _limit(more_memory_bytes: int, cpu_seconds: int, file_bytes: int) -> list[str]:
    limits = [
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ]
    mapped = _mapped_bytes()
    if mapped is not None:
        limits.append((resource.RLIMIT_AS, mapped + more_memory_bytes))
    for kind, amount in limits:
        highest = resource.getrlimit(kind)[1]
        least = amount if highest == resource.RLIM_INFINITY else min(amount, highest)
        resource.setrlimit(kind, (least, least))
    return ["limits"]


def _mapped_bytes() -> int | None:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:  # no /proc: macOS, whose limit on address space is not enforced anyway
        return None


def _filter_calls() -> list[str]:
    """Let the kernel refuse sockets and other programs. Empty where there is no seccomp, or no table for this machine.

    For all threads at once: the libraries imported by now have started some, which prctl(2) would leave outside.
    """
    architecture, numbers = _CALLS.get(platform.machine(), (0, ()))
    if not sys.platform.startswith("linux") or not numbers:
        return []
    program = _program(architecture, numbers)
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    call = ctypes.c_long(_SECCOMP[platform.machine()])
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(call, _SET_MODE_FILTER, _ALL_THREADS, header):
        return []
    return ["seccomp"]


def _program(architecture: int, numbers: tuple[int, ...]) -> bytes:
    """Return the filter: a foreign architecture, the x32 ABI and each of the numbers is refused, all else allowed."""
    count = len(numbers)
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 0, count + 3, architecture),  # else: to the refusal
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_AT_LEAST, count + 1, 0, _X32),
        *((_JUMP_EQUAL, count - i, 0, number) for i, number in enumerate(numbers)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if (event == "open" and _writes(*arguments[1:3])) or event in _REFUSED or event.startswith(_REFUSED_FAMILIES):
        raise PermissionError(f"{event}: a conversion may not do this")


def _writes(mode: object, flags: object) -> bool:
    """Whether a file is opened for more than reading; os.open has flags and no mode."""
    by_mode = isinstance(mode, str) and bool(_WRITING & set(mode))
    return by_mode or (isinstance(flags, int) and bool(flags & _WRITING_FLAGS))
