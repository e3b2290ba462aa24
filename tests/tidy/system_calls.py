"""System calls are made in two folders; everything else asks mycelium::Sys.

Only so can a test make the n-th call fail, and another platform bring its own.
Tests may call what they like.
"""

import re

from tests.tidy.cpp_text import code_lines
from tests.tidy.source_tree import Finding

ALLOWED_FOLDERS = ["mycelium/base/", "mycelium/transport/local_socket/"]
_SCOPE = ("mycelium/", "python/")

_HEADERS = re.compile(
    r"^\s*#\s*include\s+<((?:linux/.*|sys/(?:epoll|eventfd|inotify|pidfd|prctl|"
    r"signalfd|syscall|timerfd)\.h))>"
)
# Names that mean the kernel wherever they stand.
_UNMISTAKABLE = [
    "accept4", "clock_gettime", "clock_nanosleep", "epoll_create1", "epoll_ctl",
    "epoll_pwait", "epoll_wait", "eventfd", "fallocate", "fstat", "ftruncate",
    "getsockopt", "inotify_init1", "madvise", "memfd_create", "mmap",
    "mprotect", "munmap", "nanosleep", "pidfd_open", "posix_fallocate",
    "prctl", "pread", "pwrite", "readv", "recvfrom", "recvmsg", "sendmmsg",
    "sendmsg", "sendto", "setsockopt", "signalfd", "socketpair", "syscall",
    "timerfd_create", "usleep", "writev",
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
        if any(path.startswith(folder) for folder in ALLOWED_FOLDERS):
            continue
        for number, line in tree.lines(path):
            header = _HEADERS.match(line)
            if header:
                message = f"includes <{header.group(1)}>; use mycelium::Sys"
                findings.append(Finding(path, number, message))
        for number, code in code_lines(tree.lines(path)):
            call = _CALL.search(code)
            if call:
                name = call.group(1) or call.group(2)
                message = f"calls {name}(); use mycelium::Sys"
                findings.append(Finding(path, number, message))
    return findings
