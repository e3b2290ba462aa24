"""The common part of the tests of the checks."""

import os
import tempfile
import unittest

from tests.tidy.source_tree import SourceTree


class TreeTest(unittest.TestCase):
    """Builds small trees."""

    def tree(self, files):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        for path, text in files.items():
            full = os.path.join(folder.name, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            mode = "wb" if isinstance(text, bytes) else "w"
            with open(full, mode) as file:
                file.write(text)
        return SourceTree(folder.name)

    def found(self, check, files):
        """(path, line) of each finding."""
        return [(f.path, f.line) for f in check(self.tree(files))]

    def assert_found(self, check, files, *places):
        self.assertEqual(sorted(self.found(check, files)), sorted(places))
