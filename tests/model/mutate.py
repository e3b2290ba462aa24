"""Shows that the checker goes red for each change in mutations.py.

First checks that every mutation applies to the source as it is, even those that
are not chosen. Then makes programs that each hold one checker for each of
several mutations, in namespaces of their own, so that the common part is
compiled once, and runs the scenarios that these are about. Beside that it
checks that the code as it is passes them. A mutation counts as found when a
scenario names the broken law: neither a crash, nor an incomplete scenario, nor
one that there is not counts.

By hand, all of them: `python3 -m tests.model.mutate` in the root, or with
words of the names of some.
"""

import argparse
from concurrent import futures
import os
import re
import subprocess
import sys
import tempfile

from tests.model import mutations

# The files of a checker, in an order in which each can follow the one before.
_SOURCES = [
    "mycelium/testing/fiber.cc",
    "tests/model/memory.cc",
    "tests/model/explorer.cc",
    "tests/model/hooks.cc",
    "mycelium/codec/frame_decoder.cc",
    "mycelium/transport/lane/drop_reason.cc",
    "mycelium/transport/lane/ring.cc",
    "mycelium/transport/lane/lossy_ring.cc",
    "mycelium/transport/lane/lossy_stage.cc",
    "mycelium/transport/inbound_ring.cc",
    "tests/model/bias_scenarios.cc",
    "tests/model/lossless_scenarios.cc",
    "tests/model/lossy_scenarios.cc",
    "tests/model/check_model.cc",
]
_COMPILE = [
    "g++", "-std=c++17", "-w", "-DMYCELIUM_SHARED_WORD_HOOKS",
    "-DMYCELIUM_FRAME_ALIGNMENT=8",
]  # fmt: skip
_LIBRARIES = [
    "-labsl_status", "-labsl_strings", "-labsl_base", "-labsl_throw_delegate",
    "-labsl_raw_logging_internal",
]  # fmt: skip
_RUN_SECONDS = 600
_PER_PROGRAM = 10
_AT_ONCE = 2
_FOUND = "found"
_GUARD = re.compile(r"^#ifndef (\w+_H_)$", re.MULTILINE)
# What the checker says of each scenario.
_RESULT = re.compile(r"\w+: \d+ executions, \d+ states: ")
_INCLUDE = re.compile(r'#include "((?:mycelium|tests)/[^"]+)"')


def real_root():
    """The root of the tree that this file really lies in."""
    here = os.path.dirname(os.path.realpath(__file__))
    return os.path.dirname(os.path.dirname(here))


class Tree:
    """The source tree, with some files changed."""

    def __init__(self, root, changed):
        self._root = root
        self._changed = changed

    def text(self, path):
        if path in self._changed:
            return self._changed[path]
        with open(os.path.join(self._root, path)) as file:
            return file.read()

    def joined(self, path, seen):
        """The lines of a file, with those of its project headers that are new."""
        for number, line in enumerate(self.text(path).split("\n"), 1):
            include = _INCLUDE.match(line)
            if not include:
                yield line
            elif include.group(1) not in seen:
                header = include.group(1)
                seen.add(header)
                yield "#undef " + _GUARD.search(self.text(header)).group(1)
                yield f'#line 1 "{header}"'
                yield from self.joined(header, seen)
                yield f'#line {number + 1} "{path}"'


def checker_text(tree, index):
    """The whole checker, under names that no other checker has."""
    lines = [f"#define mycelium mycelium_{index}", f"#define main main_{index}"]
    seen = set()
    for source in _SOURCES:
        lines.append(f'#line 1 "{source}"')
        lines += tree.joined(source, seen)
    lines += ["#undef mycelium", "#undef main"]
    return "\n".join(lines)


def changed_text(root, mutation):
    with open(os.path.join(root, mutation.file)) as file:
        text = file.read()
    for old, new in [
        (mutation.old, mutation.new),
        *mutations.ALSO.get(mutation.name, []),
    ]:
        if text.count(old) != 1:
            raise ValueError(
                f"{mutation.name}: {text.count(old)} times in {mutation.file}: "
                f"{old}"
            )
        text = text.replace(old, new)
    return text


def faults(root, all_mutations):
    """The faults of mutations that do not apply, or change nothing."""
    names = [mutation.name for mutation in all_mutations]
    found = [f"{name}: no mutation" for name in mutations.ALSO.keys() - names]
    found += [f"{name}: twice" for name in set(names) if names.count(name) > 1]
    for mutation in all_mutations:
        try:
            changed = changed_text(root, mutation)
        except (OSError, ValueError) as error:
            found.append(str(error))
            continue
        if changed == Tree(root, {}).text(mutation.file):
            found.append(f"{mutation.name}: changes nothing")
    return found


def build(folder, trees, optimisation):
    """A program; its first argument says which of the checkers it is."""
    texts = [checker_text(tree, index) for index, tree in enumerate(trees)]
    cases = "".join(
        f"    case {index}: return main_{index}(argc - 1, argv + 1);\n"
        for index in range(len(trees))
    )
    texts.append(
        "int main(int argc, char** argv) {\n"
        f"  switch (std::atoi(argv[1])) {{\n{cases}  }}\n  return 2;\n}}\n"
    )
    source = os.path.join(folder, "checkers.cc")
    with open(source, "w") as file:
        file.write("\n".join(texts))
    program = os.path.join(folder, "checkers")
    subprocess.run(
        [*_COMPILE, optimisation, source, "-o", program, *_LIBRARIES],
        check=True,
    )
    return program


def run(program, index, scenarios):
    done = subprocess.run(
        [program, str(index), *scenarios],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_RUN_SECONDS,
    )
    return done.returncode, done.stdout


def broken_law(status, output):
    """The message of the first scenario that fails."""
    if status != 1:
        return None
    for line in output.splitlines():
        if not _RESULT.match(line) or line.endswith(": all laws hold"):
            continue
        return None if line.endswith(": NOT COMPLETE") else line
    return None


def all_hold(status, output):
    """Whether some scenarios were explored, and no law was broken."""
    return status == 0 and any(map(_RESULT.match, output.splitlines()))


def unmutated(root, scenarios):
    """What the checker of the code as it is says of these, if not all hold."""
    with tempfile.TemporaryDirectory() as folder:
        # Optimised, since nothing ends these scenarios early.
        program = build(folder, [Tree(root, {})], "-O2")
        status, output = run(program, 0, scenarios)
    return None if all_hold(status, output) else output


def try_some(root, chosen):
    """What became of each, as lines."""
    lines = []
    trees = [
        Tree(root, {mutation.file: changed_text(root, mutation)})
        for mutation in chosen
    ]
    with tempfile.TemporaryDirectory() as folder:
        program = build(folder, trees, "-O0")
        for index, mutation in enumerate(chosen):
            status, output = run(program, index, ["--first", *mutation.scenarios])
            law = broken_law(status, output)
            mark = "NOT FOUND" if law is None else _FOUND
            said = law or f"status {status}"
            lines.append(f"{mark}: {mutation.name}: {said}")
    return lines


def try_all(root, chosen):
    """How many are found, and what is wrong without any, if something is."""
    scenarios = {word for mutation in chosen for word in mutation.scenarios}
    parts = [
        chosen[start : start + _PER_PROGRAM]
        for start in range(0, len(chosen), _PER_PROGRAM)
    ]
    found = 0
    with futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        without_any = pool.submit(unmutated, root, sorted(scenarios))
        for lines in pool.map(lambda part: try_some(root, part), parts):
            print("\n".join(lines), flush=True)
            found += sum(line.startswith(_FOUND) for line in lines)
        return found, without_any.result()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    wrong = faults(real_root(), mutations.ALL)
    if wrong:
        print("\n".join(f"FAIL: {fault}" for fault in wrong))
        return 1
    print(f"all {len(mutations.ALL)} mutations apply")
    words = " ".join(arguments.words)
    chosen = [mutation for mutation in mutations.ALL if words in mutation.name]
    found, output = try_all(real_root(), chosen)
    print(f"{found} of {len(chosen)} mutations found")
    if output is not None:
        print(f"FAIL: not green without any mutation:\n{output}")
        return 1
    return 0 if chosen and found == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
