"""A shell script ends at the first command that fails, in a pipe, too.

So the first line of each that is a command is `set -euo pipefail`, which needs
bash.
"""

from tests.tidy.source_tree import Finding

_SHELLS = ("#!/bin/bash", "#!/bin/sh", "#!/usr/bin/env bash", "#!/usr/bin/env sh")
_FIRST = "set -euo pipefail"


def is_script(tree, path):
    if path.endswith(".sh"):
        return True
    folder, _, name = path.rpartition("/")
    if "." in name or folder not in ("tools", ".ci"):
        return False
    return tree.text(path).startswith(_SHELLS)


def check(tree):
    findings = []
    for path in tree.paths:
        if not is_script(tree, path):
            continue
        lines = tree.lines(path)
        if not lines or not lines[0][1].startswith("#!/bin/bash"):
            findings.append(Finding(path, 1, "does not begin with #!/bin/bash"))
        commands = [
            (number, line)
            for number, line in lines
            if line.strip() and not line.startswith("#")
        ]
        if not commands or commands[0][1].rstrip() != _FIRST:
            number = commands[0][0] if commands else 0
            findings.append(Finding(path, number, f"begins without `{_FIRST}`"))
    return findings
