"""System calls are made in base/sys; everything else asks mycelium::Sys.

Only so can a test make the n-th call fail, or kill a process there, and another
platform bring its own. What only Linux has, a header or a name, stays in two
folders, and where tests play the kernel. Tests may call what they like.
"""

import re

from tests.tidy.cpp_text import code_lines
from tests.tidy.source_tree import Finding

CALLING_FILES = ("mycelium/base/sys.cc", "mycelium/base/sys.h")
ALLOWED_FOLDERS = ["mycelium/base/", "mycelium/transport/local_socket/"]
# Plays the kernel, so it speaks its language, but never asks it.
LINUX_FOLDERS = ALLOWED_FOLDERS + ["mycelium/testing/"]
_SCOPE = ("mycelium/", "python/")

_HEADERS = re.compile(
    r"^\s*#\s*include\s+<((?:(?:linux|asm)/.*|sys/(?:epoll|eventfd|fanotify|"
    r"inotify|memfd|mount|personality|pidfd|prctl|ptrace|random|sendfile|"
    r"signalfd|statfs|syscall|sysinfo|timerfd|vfs|xattr)\.h))>"
)
# Of headers that other systems have as well.
_LINUX_NAMES = re.compile(
    r"\b(F_SEAL_\w+|F_ADD_SEALS|F_GET_SEALS|MFD_\w+|MADV_\w+|FALLOC_\w+|"
    r"FUTEX_\w+|EPOLL\w+|EFD_\w+|TFD_\w+|MREMAP_\w+|MAP_POPULATE|O_PATH|"
    r"O_TMPFILE|SO_PEERCRED|SCM_CREDENTIALS|MSG_CMSG_CLOEXEC|SYS_\w+)\b"
)
# Names that mean the kernel wherever they stand.
_UNMISTAKABLE = [
    "accept4", "clock_gettime", "clock_nanosleep", "epoll_create1", "epoll_ctl",
    "epoll_pwait", "epoll_wait", "eventfd", "fallocate", "fstat", "ftruncate",
    "geteuid", "gethostname", "getsockopt", "inotify_init1", "madvise",
    "memfd_create", "mmap", "mprotect", "munmap", "nanosleep", "pidfd_open",
    "posix_fallocate", "prctl", "pread", "pwrite", "readv", "recvfrom",
    "recvmsg", "sched_yield", "sendmmsg", "sendmsg", "sendto", "setsockopt",
    "signalfd", "socketpair", "syscall", "timerfd_create", "usleep", "writev",
]  # fmt: skip
# Names that a class of ours may have too: only the global ones count.
_ONLY_GLOBAL = [
    "accept", "bind", "chmod", "close", "connect", "dup", "flock", "fork",
    "fcntl", "getpid", "getrandom", "ioctl", "kill", "listen", "lstat",
    "mkdir", "open", "pipe2", "poll", "read", "recv", "send", "shutdown",
    "socket", "stat", "unlink", "write",
]  # fmt: skip
_CALL = re.compile(
    r"(?<![\w.>:])(?:::)?(%s)\s*\(|(?<![\w>:])::(%s)\s*\("
    % ("|".join(_UNMISTAKABLE), "|".join(_ONLY_GLOBAL))
)


def check(tree):
    findings = []
    for path in tree.with_suffix(".h", ".cc", ".c"):
        if not path.startswith(_SCOPE) or "_test." in path:
            continue
        if path in CALLING_FILES:
            continue
        may_be_of_linux = path.startswith(tuple(ALLOWED_FOLDERS))
        for number, line in tree.lines(path):
            header = _HEADERS.match(line)
            if header and not may_be_of_linux:
                message = f"includes <{header.group(1)}>; use mycelium::Sys"
                findings.append(Finding(path, number, message))
        for number, code in code_lines(tree.lines(path)):
            call = _CALL.search(code)
            if call:
                name = call.group(1) or call.group(2)
                message = f"calls {name}(); use mycelium::Sys"
                findings.append(Finding(path, number, message))
            name = _LINUX_NAMES.search(code)
            if name and not path.startswith(tuple(LINUX_FOLDERS)):
                message = f"{name.group(1)} is of Linux; keep it behind mycelium::Sys"
                findings.append(Finding(path, number, message))
    return findings
