"""The files of a source tree, and what a check says about them."""

import collections
import fnmatch
import os

# One thing that is wrong. `line` counts from 1; 0 means the whole file.
Finding = collections.namedtuple("Finding", ["path", "line", "message"])

_NEVER_ENTERED = {".git", "__pycache__", "node_modules"}


class SourceTree:
    """Every file below `root` that is not ignored, by its relative path.

    Ignored are the names in the root's .gitignore (plain names and patterns, no
    negation), Bazel's convenience links and anything that is not a regular
    file.
    """

    def __init__(self, root):
        self.root = root
        self._ignored = _ignore_patterns(os.path.join(root, ".gitignore"))
        self.paths = sorted(self._walk())
        self._texts = {}

    def with_suffix(self, *suffixes):
        """The paths that end with one of `suffixes`."""
        return [path for path in self.paths if path.endswith(suffixes)]

    def text(self, path):
        """The content, or "" if the file is not UTF-8 text."""
        if path not in self._texts:
            with open(os.path.join(self.root, path), "rb") as file:
                content = file.read()
            try:
                self._texts[path] = content.decode("utf-8")
            except UnicodeDecodeError:
                self._texts[path] = ""
        return self._texts[path]

    def lines(self, path):
        """(number from 1, line without its end) for each line."""
        return list(enumerate(self.text(path).splitlines(), start=1))

    def exists(self, path):
        return os.path.exists(os.path.join(self.root, path))

    def _walk(self):
        for folder, folders, files in os.walk(self.root):
            relative = os.path.relpath(folder, self.root)
            prefix = "" if relative == "." else relative + "/"
            folders[:] = [
                name for name in folders if not self._skips(folder, name, prefix)
            ]
            for name in files:
                if not self._skips(folder, name, prefix):
                    yield prefix + name

    def _skips(self, folder, name, prefix):
        if name in _NEVER_ENTERED or name == ".git":
            return True
        if os.path.islink(os.path.join(folder, name)):
            return True
        return any(
            fnmatch.fnmatch(prefix + name if rooted else name, pattern)
            for rooted, pattern in self._ignored
        )


def _ignore_patterns(path):
    if not os.path.exists(path):
        return []
    patterns = []
    with open(path, encoding="utf-8") as file:
        for line in file.read().splitlines():
            if line.strip() and not line.startswith("#"):
                rooted = line.startswith("/")
                patterns.append((rooted, line.strip().strip("/")))
    return patterns
