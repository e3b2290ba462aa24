"""System calls are made in base/sys; everything else asks mycelium::Sys.

Only so can a test make the n-th call fail, or kill a process there, and another
platform bring its own. What only Linux has, a header or a name, stays in two
folders, and where tests play the kernel. Tests may call what they like. What a
library calls, to read a file or to resolve a name, is the library's.

Time comes from mycelium::Clock: absl::Now() is the wall clock, and a deadline on
it moves when somebody sets that.
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
# Names that other things have too: members, which are called as such, and what
# the file itself declares.
_FREE = [
    "accept", "bind", "chmod", "close", "connect", "dup", "flock", "fork",
    "fcntl", "getpid", "getrandom", "ioctl", "kill", "listen", "lstat",
    "mkdir", "open", "pipe2", "poll", "read", "recv", "send", "shutdown",
    "socket", "stat", "unlink", "write",
]  # fmt: skip
_CALL = re.compile(
    r"(?<![\w.>:])(::)?(%s)\s*\(" % "|".join(_UNMISTAKABLE + _FREE)
)
# What stands before a name that is declared, not called: `int close(`,
# `const Fd socket(`.
_TYPE_BEFORE = re.compile(
    r"\b(?:auto|bool|int|int64_t|void|[A-Z]\w*(?:<[^<>]*>)?)[&*]?\s+[&*]?$"
)
# Lambdas and members of a structured binding: `auto read =`, `Read read)`,
# `[link, read]`, `[accept = `.
_DECLARED = re.compile(
    r"\b(?:auto&?|[A-Z]\w+)\s+(%s)\s*[=)]|\bauto&?\s*\[[^\]]*\b(%s)\]|"
    r"[\[,]\s*(%s)\s*="
    % ("|".join(_FREE), "|".join(_FREE), "|".join(_FREE))
)
_WALL_CLOCK = re.compile(r"\babsl::(Now|GetCurrentTimeNanos)\s*\(")
# What runs where there is no Sys to ask.
_ALLOWED_CALLS = {
    # In the child of a fork, before anything else.
    ("mycelium/base/own_descriptors.cc", "close"),
    # There, and when the program is loaded.
    ("mycelium/base/fork_guard.cc", "getpid"),
    # Of tests.
    ("mycelium/schema/proto_source.cc", "getpid"),
    ("mycelium/base/event_loop_fakes.h", "close"),
    ("mycelium/base/event_loop_fakes.h", "write"),
}

_SYS = "mycelium/base/sys.h"
_POINTS = "tests/crash/crash_points.cc"
_MEMBER = re.compile(r"^\s*virtual\s[^~(]*?(\w+)\(")
# Each is a point: PassCall() is the first that it does.
_POINT = re.compile(r"CrashSys::(\w+)\([^{]*\{\s*PassCall\(\);")
_NO_POINTS = ("MonotonicNs", "RealtimeNs")


def _calls_that_are_no_points(tree):
    if _SYS not in tree.with_suffix(".h"):
        return
    is_there = _POINTS in tree.with_suffix(".cc")
    points = set(_POINT.findall(tree.text(_POINTS))) if is_there else set()
    for number, line in tree.lines(_SYS):
        match = _MEMBER.match(line)
        if match and match.group(1) not in points.union(_NO_POINTS):
            message = f"{match.group(1)} is no point where {_POINTS} kills"
            yield Finding(_SYS, number, message)


def check(tree):
    findings = list(_calls_that_are_no_points(tree))
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
        lines = list(code_lines(tree.lines(path)))
        declared = {
            name
            for _, code in lines
            for names in _DECLARED.findall(code)
            for name in names
        }
        for number, code in lines:
            for call in _CALL.finditer(code):
                name = call.group(2)
                is_global = call.group(1) is not None
                if (path, name) in _ALLOWED_CALLS:
                    continue
                if not is_global and (
                    name in declared or _TYPE_BEFORE.search(code[: call.start()])
                ):
                    continue
                message = f"calls {name}(); use mycelium::Sys"
                findings.append(Finding(path, number, message))
            clock = _WALL_CLOCK.search(code)
            if clock:
                message = f"calls absl::{clock.group(1)}(); use mycelium::Clock"
                findings.append(Finding(path, number, message))
            name = _LINUX_NAMES.search(code)
            if name and not path.startswith(tuple(LINUX_FOLDERS)):
                message = f"{name.group(1)} is of Linux; keep it behind mycelium::Sys"
                findings.append(Finding(path, number, message))
    return findings
