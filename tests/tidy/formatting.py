"""C++ is formatted by clang-format, so nobody discusses it."""

import os
import re
import shutil
import subprocess

from tests.tidy.source_tree import Finding

_WARNING = re.compile(r"^(.+?):(\d+):\d+: (?:warning|error): ")


def check(tree, program="clang-format"):
    paths = tree.with_suffix(".h", ".cc", ".c")
    if not paths:
        return []
    if shutil.which(program) is None:
        message = f"{program} is not installed; tools/setup installs it"
        return [Finding(".clang-format", 0, message)]
    result = subprocess.run(
        [program, "--dry-run", "--style=file"] + paths,
        cwd=tree.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        check=False,
    )
    findings = {}
    for line in result.stderr.splitlines():
        match = _WARNING.match(line)
        if match:
            path = os.path.normpath(match.group(1))
            # The first place is enough: one command corrects the whole file.
            findings.setdefault(
                path,
                Finding(path, int(match.group(2)), "run clang-format -i on it"),
            )
    if result.returncode != 0 and not findings:
        return [Finding(".clang-format", 0, result.stderr.strip())]
    return list(findings.values())
