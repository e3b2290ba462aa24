"""Every source file belongs to exactly one BUILD target.

A file without a target is dead, or not tested; a file of two targets is
compiled twice, except scripts. A test is a source of its target: as data of
another target it never runs. Files that an editor or a merge left behind do not
belong to the project. BUILD files are read as Python syntax, which Starlark is
a part of: lists that are written out, added up or named at the top of the file
are understood. There is no glob() to understand, because it is not used for
sources.
"""

import ast
import os
import posixpath
import re

from tests.tidy.source_tree import Finding

_SOURCES = (".h", ".cc", ".c", ".py", ".pyi", ".proto", ".sh")
_SCRIPT = ".sh"  # Several tests may run one with arguments of their own.
_LEFT_BEHIND = (".orig", ".rej", ".bak", "~")
_TEST = re.compile(r"_test\.(?:cc|c|py|sh)$")
# Attributes whose files a target owns, and those that only mention files.
_OWNING = {"srcs", "hdrs", "textual_hdrs"}
_MENTIONING = {"data", "main", "src", "deps"}
# Files that two targets compile for a reason.
COMPILED_TWICE = {
    # As a program on the libraries and as one on libmycelium.so.
    "tests/consumer/workspace/service.cc",
    # The same; the first program must work and the second must be refused.
    "examples/trading/market.cc",
    "examples/trading/market.h",
    "examples/trading/trading_desk.cc",
    # As a library and as a program.
    "examples/trading/model.py",
}

_BUILD_NAMES = {"BUILD", "BUILD.bazel"}


def check(tree):
    findings = []
    owners = {}
    mentioned = set()
    for path in tree.paths:
        if os.path.basename(path) not in _BUILD_NAMES:
            continue
        try:
            module = ast.parse(tree.text(path))
        except SyntaxError as error:
            findings.append(Finding(path, error.lineno or 0, "cannot be parsed"))
            continue
        reader = _BuildFile(tree, path, module)
        findings.extend(reader.findings)
        mentioned.update(reader.mentioned)
        for file, owner in reader.owned:
            owners.setdefault(file, []).append(owner)
    for file, owner_list in sorted(owners.items()):
        is_script = file.endswith(_SCRIPT)
        if len(owner_list) > 1 and not is_script and file not in COMPILED_TWICE:
            names = ", ".join(sorted(owner_list))
            findings.append(Finding(file, 0, f"in more than one target: {names}"))
    for path in tree.with_suffix(*_SOURCES):
        if path not in owners and path not in mentioned:
            findings.append(Finding(path, 0, "in no BUILD target"))
        elif path not in owners and _TEST.search(path):
            findings.append(Finding(path, 0, "a test that is no target's source"))
    for path in tree.with_suffix(*_LEFT_BEHIND):
        findings.append(Finding(path, 0, "left behind"))
    return findings


class _BuildFile:
    """The names in the calls of one BUILD file."""

    def __init__(self, tree, path, module):
        self.owned = []
        self.mentioned = set()
        self.findings = []
        self._tree = tree
        self._path = path
        self._package = posixpath.dirname(path)
        self._workspace = _workspace_of(tree, self._package)
        self._values = {}
        for node in module.body:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        self._values[target.id] = node.value
        for node in ast.walk(module):
            if isinstance(node, ast.Call):
                self._read_call(node)

    def _read_call(self, call):
        rule = call.func.id if isinstance(call.func, ast.Name) else ""
        if rule == "exports_files":
            for argument in call.args:
                self.mentioned.update(self._files(argument))
        name = next(
            (
                keyword.value.value
                for keyword in call.keywords
                if keyword.arg == "name"
                and isinstance(keyword.value, ast.Constant)
            ),
            rule,
        )
        for keyword in call.keywords:
            if keyword.arg in _OWNING:
                if self._globs(keyword.value):
                    self.findings.append(
                        Finding(
                            self._path, call.lineno, f"{name}: glob of sources"
                        )
                    )
                owner = f"//{self._package}:{name}"
                # Data is shared freely; a filegroup of sources is data too.
                for file in self._files(keyword.value):
                    if rule == "filegroup":
                        self.mentioned.add(file)
                    else:
                        self.owned.append((file, owner))
            elif keyword.arg in _MENTIONING:
                self.mentioned.update(self._files(keyword.value))

    def _globs(self, node):
        return any(
            isinstance(child, ast.Call)
            and isinstance(child.func, ast.Name)
            and child.func.id == "glob"
            for child in ast.walk(node)
        )

    def _files(self, node):
        """Paths of this tree that the strings below `node` name."""
        for child in ast.walk(node):
            if isinstance(child, ast.Name) and child.id in self._values:
                value = self._values[child.id]
                if value is not node:
                    yield from self._files(value)
            if not isinstance(child, ast.Constant):
                continue
            if isinstance(child.value, str):
                path = self._resolve(child.value)
                if path.endswith(_SOURCES) and self._tree.exists(path):
                    yield path

    def _resolve(self, label):
        if label.startswith("@"):
            return ""
        if label.startswith("//"):
            package, _, name = label[2:].partition(":")
            return posixpath.join(self._workspace, package, name)
        return posixpath.join(self._package, label.lstrip(":"))


def _workspace_of(tree, package):
    """The nearest folder at or above `package` with a WORKSPACE file."""
    while package and not tree.exists(posixpath.join(package, "WORKSPACE")):
        package = posixpath.dirname(package)
    return package
