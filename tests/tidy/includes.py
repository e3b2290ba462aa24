"""Includes point one way: from a folder to what lies below it."""

import re

from tests.tidy.source_tree import Finding

# Which folder may include which. A folder may always include itself; its
# subfolders are folders of their own. To let one folder see another, add it
# here, and keep the picture in docs/architecture.md true.
_BELOW_CODEC = ["base", "message", "schema", "topology", "proto"]
_BELOW_LINKS = _BELOW_CODEC + ["codec", "transport/lane"]
_TRANSPORT = _BELOW_LINKS + ["transport"]
_TRANSPORTS = [
    "transport/inproc",
    "transport/shm",
    "transport/uds",
    "transport/grpc",
]
_BELOW_BUS = _TRANSPORT + _TRANSPORTS + ["transport/local_socket", "routing"]
_EVERYTHING = _BELOW_BUS + ["bus", "service", "capi"]

ALLOWED = {
    "base": [],
    "message": ["base", "schema", "proto"],
    "schema": ["base", "proto"],
    "topology": ["base", "schema", "proto"],
    "codec": _BELOW_CODEC,
    "transport/lane": _BELOW_CODEC + ["codec"],
    "transport": _BELOW_LINKS,
    "transport/local_socket": _TRANSPORT,
    # No transport sees another one.
    "transport/inproc": _TRANSPORT,
    "transport/shm": _TRANSPORT + ["transport/local_socket"],
    "transport/uds": _TRANSPORT + ["transport/local_socket"],
    "transport/grpc": _TRANSPORT,
    "routing": _TRANSPORT,
    "bus": _BELOW_BUS,
    "service": _BELOW_BUS + ["bus"],
    # version.h is in mycelium/ itself, which does not see capi/.
    "capi": _BELOW_BUS + ["bus", "service", ""],
    "cli": _EVERYTHING,
    "testing": _EVERYTHING,
    # Files in mycelium/ itself.
    "": _BELOW_BUS + ["bus", "service", "cli", "testing"],
}

# Folders outside mycelium/ that must not see the project at all.
WITHOUT_PROJECT = ["tests/benchmark/floors"]

_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def check(tree, allowed=None):
    allowed = ALLOWED if allowed is None else allowed
    findings = []
    for path in tree.with_suffix(".h", ".cc", ".c"):
        for number, line in tree.lines(path):
            match = _INCLUDE.match(line)
            if match:
                message = _wrong(path, match.group(1), allowed)
                if message:
                    findings.append(Finding(path, number, message))
    return findings


def _wrong(path, included, allowed):
    target = _folder(included)
    if target is None:
        return None
    for folder in WITHOUT_PROJECT:
        if path.startswith(folder + "/"):
            return f"includes {included}: nothing of mycelium/ belongs here"
    source = _folder(path)
    if source is None or source == target:
        return None
    for folder in (source, target):
        if folder not in allowed and folder != "proto":
            return f"mycelium/{folder} has no row in tests/tidy/includes.py"
    if target in allowed.get(source, []):
        return None
    return f"{source or 'mycelium'} may not include {target}: {included}"


def _folder(path):
    """The folder below mycelium/, "proto", or None for what is not ours."""
    if path.startswith("proto/mycelium/"):
        return "proto"
    if not path.startswith("mycelium/"):
        return None
    folder = "/".join(path.split("/")[1:-1])
    # Files made for a folder's tests belong to that folder.
    return folder[: -len("/testdata")] if folder.endswith("/testdata") else folder
