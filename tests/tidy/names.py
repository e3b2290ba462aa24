"""Names say what a thing is. A word that fits anything says nothing."""

import os
import re

from tests.tidy.source_tree import Finding

_BANNED = ["Manager", "Helper", "Helpers", "Util", "Utils", "Impl"]
# gRPC's own convention for the class that implements a service.
_EXEMPT = re.compile(r"ServiceImpl$")

_DECLARATION = re.compile(
    r"^\s*(?:template\s*<.*>\s*)?(?:class|struct|union|enum(?:\s+class|\s+struct)?)"
    r"\s+(?:\[\[\w+\]\]\s*|alignas\([^)]*\)\s*|[A-Z_]+\s+)*([A-Za-z_]\w*)"
)
_WORD = re.compile(r"(?:%s)(?![a-z])" % "|".join(_BANNED))
_STEM_WORDS = {word.lower() for word in _BANNED}


def check(tree):
    findings = []
    for path in tree.with_suffix(".h", ".cc", ".c", ".py", ".proto"):
        stem = os.path.basename(path).split(".")[0]
        for word in _STEM_WORDS.intersection(stem.lower().split("_")):
            findings.append(Finding(path, 0, f'file name with "{word}"'))
        for number, line in tree.lines(path):
            match = _DECLARATION.match(line)
            if not match or _EXEMPT.search(match.group(1)):
                continue
            word = _WORD.search(match.group(1))
            if word:
                findings.append(
                    Finding(
                        path,
                        number,
                        f'{match.group(1)}: name with "{word.group(0)}"',
                    )
                )
    return findings
