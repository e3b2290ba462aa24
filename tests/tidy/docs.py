"""Documents keep their word: links lead somewhere, code was really run.

A block of code in README.md or docs/ stands under one of these comments:

    <!-- from: examples/x/main.cc#publish -->  equals the region between
        `// [publish]` and `// [/publish]` (`#` in Python and TOML) of a file
        that a test covers, without its indentation; without `#region`, the
        whole file
    <!-- checked by: //mycelium/topology:examples_test -->  a test reads it here,
        which has this page among its data
    <!-- untested: why -->

Blocks in a language that is not listed in LANGUAGES (sh, text, ...) need none.

The title of a link to a C++ test names a test case there, as gtest prints it.
Of the parameter's name its first words are enough:

    [all](../tests/x_test.cc "Cells/MatrixTest.EachArrives/block_slow")
"""

import ast
import posixpath
import re
import textwrap

from tests.tidy.source_tree import Finding

LANGUAGES = {"cpp", "c++", "cc", "c", "python", "py", "toml", "proto"}

_FENCE = re.compile(r"^(\s*)(```+|~~~+)\s*([\w+-]*)")
_LINK = re.compile(r"(?<!!)\[[^\]\[]*\]\(([^)\s]+)(?:\s+\"([^\"]*)\")?\)")
_CODE_SPAN = re.compile(r"`[^`]*`")
_REFERENCE = re.compile(r"^\s*<!--\s*(from|checked by|untested):\s*(.*?)\s*-->")
_HEADING = re.compile(r"^#+\s+(.*?)\s*#*\s*$")
_MARKER = re.compile(r"^\s*(?://|#)\s*\[/?[\w-]+\]\s*$")


def check(tree):
    findings = []
    for path in tree.with_suffix(".md"):
        prose, blocks = _split(tree.lines(path))
        findings.extend(_check_links(tree, path, prose))
        if path == "README.md" or path.startswith("docs/"):
            for block in blocks:
                message = _check_block(tree, path, block)
                if message:
                    findings.append(Finding(path, block.line, message))
    return findings


class _Block:
    """A fenced block, with the reference comment above it if there is one."""

    def __init__(self, line, language, reference):
        self.line = line
        self.language = language.lower()
        self.reference = reference
        self.text = []


def _split(lines):
    """Numbered lines outside fences, and the fenced blocks."""
    prose, blocks = [], []
    fence, block, reference = None, None, None
    for number, line in lines:
        match = _FENCE.match(line)
        if fence is not None:
            if match and match.group(2).startswith(fence) and not match.group(3):
                fence = None
            else:
                block.text.append(line)
            continue
        if match:
            fence = match.group(2)
            block = _Block(number, match.group(3), reference)
            blocks.append(block)
            reference = None
            continue
        prose.append((number, line))
        found = _REFERENCE.match(line)
        if found:
            reference = (found.group(1), found.group(2))
        elif line.strip():
            reference = None
    return prose, blocks


def _check_block(tree, path, block):
    if block.reference is None:
        if block.language not in LANGUAGES:
            return None
        return (
            f"{block.language} block without <!-- from: file#region -->, "
            "<!-- checked by: //test --> or <!-- untested: reason -->"
        )
    kind, value = block.reference
    if not value:
        return f"<!-- {kind}: --> says nothing"
    if kind == "untested":
        return None
    if kind == "checked by":
        return _check_label(tree, path, value)
    file, _, region = value.partition("#")
    if not tree.exists(file):
        return f"{file}: no such file"
    wanted = _region(tree.text(file), region)
    if wanted is None:
        return f"{file} has no region [{region}]"
    if wanted == "\n".join(block.text).strip("\n"):
        return None
    return f"differs from {value}"


def _check_label(tree, path, label):
    package = label[2:].partition(":")[0]
    name = label.partition(":")[2] or posixpath.basename(package)
    build = posixpath.join(package, "BUILD")
    if not label.startswith("//") or not tree.exists(build):
        return f"{label}: no such target"
    for call in ast.walk(ast.parse(tree.text(build))):
        if not isinstance(call, ast.Call):
            continue
        values = {
            keyword.arg: [
                constant.value
                for constant in ast.walk(keyword.value)
                if isinstance(constant, ast.Constant)
            ]
            for keyword in call.keywords
        }
        if values.get("name") != [name]:
            continue
        rule = call.func.id if isinstance(call.func, ast.Name) else ""
        if not rule.endswith("_test"):
            return f"{label}: no test"
        if _label_of(tree, path) in values.get("data", []):
            return None
        return f"{label}: does not read this page"
    return f"{label}: no such target"


def _label_of(tree, path):
    """The file's label, as BUILD files of other packages write it."""
    package = posixpath.dirname(path)
    while package and not tree.exists(posixpath.join(package, "BUILD")):
        package = posixpath.dirname(package)
    return f"//{package}:{posixpath.relpath(path, package or '.')}"


def _region(text, name):
    lines = text.splitlines()
    if name:
        comment = r"^\s*(?://|#)\s*\[%s%s\]\s*$"
        opens = re.compile(comment % ("", re.escape(name)))
        closes = re.compile(comment % ("/", re.escape(name)))
        starts = [i for i, line in enumerate(lines) if opens.match(line)]
        ends = [i for i, line in enumerate(lines) if closes.match(line)]
        if len(starts) != 1 or len(ends) != 1 or ends[0] < starts[0]:
            return None
        lines = lines[starts[0] + 1 : ends[0]]
    kept = [line for line in lines if not _MARKER.match(line)]
    return textwrap.dedent("\n".join(kept)).strip("\n")


def _check_links(tree, path, prose):
    findings = []
    # In one piece, since a link may continue in the next line.
    text = "\n".join(_CODE_SPAN.sub("", line) for _, line in prose)
    for link in _LINK.finditer(text):
        number = prose[text.count("\n", 0, link.start())][0]
        target, title = link.groups()
        if re.match(r"^[a-z][a-z0-9+.-]*:", target):
            continue
        file, _, anchor = target.partition("#")
        base = "" if file.startswith("/") else posixpath.dirname(path)
        linked = path
        if file:
            linked = posixpath.normpath(
                posixpath.join(base, file.lstrip("/"))
            )
        if not tree.exists(linked):
            message = f"link to {target}: no such file"
            findings.append(Finding(path, number, message))
        elif anchor and linked.endswith(".md"):
            if anchor not in _anchors(tree, linked):
                message = f"link to {target}: no such heading"
                findings.append(Finding(path, number, message))
        elif title and linked.endswith("_test.cc"):
            if not _has_test_case(tree.text(linked), title):
                message = f"link to {target}: no test case {title}"
                findings.append(Finding(path, number, message))
    return findings


def _has_test_case(text, name):
    match = re.fullmatch(r"(?:(\w+)/)?(\w+)\.(\w+)(?:/(\w+))?", name)
    if not match:
        return False
    instance, suite, case, parameter = match.groups()
    if not re.search(rf"\bTEST(?:_[FP])?\(\s*{suite},\s*{case}\s*\)", text):
        return False
    if instance and not re.search(
        rf"\bINSTANTIATE_TEST_SUITE_P\(\s*{instance},\s*{suite}\b", text
    ):
        return False
    return not parameter or _starts_a_name(parameter, text)


def _starts_a_name(parameter, text):
    """Whether `parameter` is made of strings of `text` with "_" between."""
    words = set(re.findall(r'"(\w+)"', text))
    if parameter in words:
        return True
    return any(
        parameter.startswith(word + "_")
        and _starts_a_name(parameter[len(word) + 1 :], text)
        for word in words
    )


def _anchors(tree, path):
    anchors = set()
    prose, _ = _split(tree.lines(path))
    for _, line in prose:
        match = _HEADING.match(line)
        if match:
            words = re.sub(r"[^\w\- ]", "", match.group(1).lower())
            anchors.add(words.replace(" ", "-"))
    return anchors
