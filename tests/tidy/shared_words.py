"""Memory that another process sees is touched through base/shared_word.h alone.

Only then does tests/model check the code that runs, and only then is each store
a place where a test can step in.
"""

import re

from tests.tidy.cpp_text import code_lines
from tests.tidy.source_tree import Finding

_SEAM = "mycelium/base/shared_word.h"
# The code of lanes, and the code that writes and reads the frames in them.
_SCOPE = (
    "mycelium/transport/lane/",
    "mycelium/transport/inbound_ring",
    "mycelium/codec/frame_encoder.",
)
_BUILTIN = re.compile(r"\b__(?:atomic|sync)_\w+")
_BYTES = re.compile(r"\b(?:std::)?mem(?:cpy|set|move)\s*\(")
_CAST = re.compile(r"\breinterpret_cast<(?:const |volatile )*(?:std::)?u?int\d")
_VOLATILE = re.compile(r"\bvolatile\b")
_POSITIONS = re.compile(r"^struct \w*Positions\b.*{")
_ATOMIC = re.compile(r"\bstd::atomic\b")


def _wrong(path, code, in_positions):
    if _BUILTIN.search(code):
        return _BUILTIN.search(code).group(0)
    if not path.startswith(_SCOPE):
        return None
    for pattern, what in (
        (_BYTES, "copies or fills bytes"),
        (_CAST, "makes bytes a word"),
        (_VOLATILE, "volatile"),
    ):
        if pattern.search(code):
            return what
    if in_positions and _ATOMIC.search(code):
        return "std::atomic in shared positions"
    return None


def check(tree):
    findings = []
    for path in tree.with_suffix(".h", ".cc"):
        if not path.startswith("mycelium/") or path == _SEAM:
            continue
        if "_test." in path:
            continue
        in_positions = False
        for number, code in code_lines(tree.lines(path)):
            if _POSITIONS.match(code):
                in_positions = True
            elif code.startswith("}"):
                in_positions = False
            what = _wrong(path, code, in_positions)
            if what:
                message = f"{what}; use {_SEAM}"
                findings.append(Finding(path, number, message))
    return findings
