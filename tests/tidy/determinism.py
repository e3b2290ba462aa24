"""Tests wait for events, not for time, and leave ports to the kernel.

A line that must do otherwise says why, on it or on the line above:
`// waits: ...` or `// port: ...` (`/*` in C, `#` in Python, shell and TOML).
"""

import re

from tests.tidy.source_tree import Finding

_SLEEP = re.compile(
    r"\b(?:sleep_for|sleep_until|SleepFor|usleep|nanosleep|sleep)\s*\("
)
_SLEEP_OF_SHELL = re.compile(r"^[^#]*\bsleep\s+[\d.$\"]")
_PORT = re.compile(
    r"(?:127\.0\.0\.1|localhost|0\.0\.0\.0|\[::1?\]):[1-9]\d*"
    r"|\bhtons\s*\(\s*[1-9]"
)
_RULES = [
    (_SLEEP, "waits", "sleeps; wait for what the test is about"),
    (_PORT, "port", "names a port; bind port 0 and ask which it became"),
]
# This folder has the words above as data.
_EXEMPT = "tests/tidy/"
# Reads addresses and never opens one: those in its tests are text.
_ADDRESSES_ARE_TEXT = "mycelium/topology/"


def is_test(path):
    return path.startswith("tests/") or bool(
        re.search(r"_test\.(?:cc|c|py|sh)$", path)
    )


def check(tree):
    findings = []
    for path in tree.with_suffix(
        ".h", ".cc", ".c", ".py", ".sh", ".toml"
    ):
        if not is_test(path) or path.startswith(_EXEMPT):
            continue
        previous = ""
        for number, line in tree.lines(path):
            for pattern, word, message in _RULES:
                if pattern is _SLEEP and path.endswith(".sh"):
                    pattern = _SLEEP_OF_SHELL
                reason = re.compile(r"(?://|/\*|#)\s*%s: \S" % word)
                text = word == "port" and path.startswith(_ADDRESSES_ARE_TEXT)
                excused = text or reason.search(line) or reason.search(previous)
                if pattern.search(line) and not excused:
                    findings.append(Finding(path, number, message))
            previous = line
    return findings
