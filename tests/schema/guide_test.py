"""Every code block of docs/schema.md is part of a file that a test checks."""

import re
import unittest

_SOURCES = [
    "mycelium/schema/testdata/quote.proto",
    "mycelium/schema/testdata/quote_differences.txt",
    "mycelium/schema/testdata/quote_text.txt",
    "tests/schema/BUILD",
    "tests/schema/generated_header_test.cc",
    "tests/schema/generated_module_test.py",
    "tests/schema/print_digests_test.sh",
]


def _read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


class GuideTest(unittest.TestCase):

    def setUp(self):
        self.blocks = re.findall(
            r"^```\w*\n(.*?)^```$", _read("docs/schema.md"), re.M | re.S
        )

    def test_every_block_is_in_a_tested_file(self):
        sources = [_read(path) for path in _SOURCES]
        for block in self.blocks:
            self.assertTrue(any(block in source for source in sources), block)

    def test_example_is_the_whole_canonical_text(self):
        self.assertIn(
            _read("mycelium/schema/testdata/quote_text.txt"), self.blocks
        )

    def test_every_kind_of_difference_is_shown(self):
        self.assertIn(
            _read("mycelium/schema/testdata/quote_differences.txt"),
            self.blocks,
        )


if __name__ == "__main__":
    unittest.main()
