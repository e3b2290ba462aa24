"""Files and functions that grow lack a noun. Reported early, refused late."""

import re

from tests.tidy.source_tree import Finding

HEADER_USUAL, HEADER_MAX = 200, 400
SOURCE_USUAL, SOURCE_MAX = 400, 700
FUNCTION_USUAL = 60

_NO_FUNCTION = re.compile(r"^(?:namespace|class|struct|union|enum|extern)\b")


def check(tree):
    findings = []
    for path, lines, _, maximum in _measured(tree):
        if lines > maximum:
            message = f"{lines} lines, more than {maximum}: split it"
            findings.append(Finding(path, 0, message))
    return findings


def report(tree):
    """What is larger than usual, for people to read; no check fails by it."""
    notes = []
    for path, lines, usual, _ in _measured(tree):
        if lines > usual:
            notes.append(f"{path}: {lines} lines (usual: under {usual})")
        if not path.endswith(".py"):
            notes.extend(_long_functions(tree, path))
    return notes


def _measured(tree):
    for path in tree.with_suffix(".h", ".cc", ".c", ".py"):
        lines = len(tree.lines(path))
        if path.endswith(".h"):
            yield path, lines, HEADER_USUAL, HEADER_MAX
        else:
            yield path, lines, SOURCE_USUAL, SOURCE_MAX


def _long_functions(tree, path):
    """Functions that start in the first column: all except inline ones."""
    start = None
    for number, line in tree.lines(path):
        if start is None:
            if _NO_FUNCTION.match(line):
                continue
            if line.endswith("{") and line[:1].strip():
                start = number
            elif line.endswith("{") and line.startswith("    "):
                start = number  # The last line of a wrapped signature.
        elif line.startswith("}"):
            if number - start + 1 > FUNCTION_USUAL:
                yield (
                    f"{path}:{start}: function of {number - start + 1} lines "
                    f"(usual: under {FUNCTION_USUAL})"
                )
            start = None
