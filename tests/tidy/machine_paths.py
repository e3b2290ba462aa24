"""No file names a place that exists on one machine only."""

import re

from tests.tidy.source_tree import Finding

_PLACES = ["work", "root", "home", "Users"]
_PATH = re.compile(r"(?<![\w.~$})-])/(?:%s)/" % "|".join(_PLACES))


def check(tree):
    findings = []
    for path in tree.paths:
        for number, line in tree.lines(path):
            match = _PATH.search(line)
            if match:
                message = f"names {match.group(0)}..., a path of one machine"
                findings.append(Finding(path, number, message))
    return findings
