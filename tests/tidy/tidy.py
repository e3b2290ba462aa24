"""Holds the whole source tree to the rules that a machine can check.

Bazel shows a test only the files that it names, and this test is about files
that somebody forgot to name. So it looks at the real tree: its own file is a
link into it, and the tree is what lies above the link's target. Such a test
cannot be cached; a tag makes it run every time.

Run it alone with `bazel test //tests/tidy`, or without Bazel, from the root:
`python3 -m tests.tidy.tidy`.
"""

import os
import sys

from tests.tidy import determinism
from tests.tidy import docs
from tests.tidy import formatting
from tests.tidy import includes
from tests.tidy import machine_paths
from tests.tidy import names
from tests.tidy import scripts
from tests.tidy import shared_words
from tests.tidy import sizes
from tests.tidy import system_calls
from tests.tidy import targets
from tests.tidy.source_tree import SourceTree

CHECKS = [
    ("include direction", includes.check),
    ("names", names.check),
    ("one target per file", targets.check),
    ("documents", docs.check),
    ("system calls", system_calls.check),
    ("shared memory", shared_words.check),
    ("format", formatting.check),
    ("deterministic tests", determinism.check),
    ("shell scripts", scripts.check),
    ("sizes", sizes.check),
    ("paths of one machine", machine_paths.check),
]


def real_root():
    """The root of the tree that this file really lies in."""
    here = os.path.dirname(os.path.realpath(__file__))
    return os.path.dirname(os.path.dirname(here))


def main():
    root = real_root()
    tree = SourceTree(root)
    # A check that looks at no file finds nothing.
    for expected in ("WORKSPACE", "tests/tidy/BUILD"):
        if expected not in tree.paths:
            print(f"tidy: {root} is not the source tree: no {expected}")
            return 1
    failed = 0
    for title, check in CHECKS:
        findings = check(tree)
        print(f"{title}: {len(findings)} found")
        for finding in findings:
            place = finding.path
            if finding.line:
                place += f":{finding.line}"
            print(f"  {place}: {finding.message}")
        failed += len(findings)
    notes = sizes.report(tree)
    print(f"larger than usual: {len(notes)} (a note, no failure)")
    for note in notes:
        print(f"  {note}")
    print(f"{len(tree.paths)} files, {failed} findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
