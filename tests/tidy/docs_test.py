"""The check of the documents goes red on what it is for, and on nothing else."""

import unittest

from tests.tidy import docs
from tests.tidy.tree_test_case import TreeTest


class DocsTest(TreeTest):
    def test_broken_links_are_found(self):
        self.assert_found(
            docs.check,
            {
                "docs/a.md": "[x](b.md) [y](../README.md#try-it) [z](#here)\n"
                "# Here\n"
                "[gone](c.md)\n"
                "[no heading](b.md#nowhere)\n"
                "[web](https://example.com) `[code](gone.md)`\n",
                "docs/b.md": "",
                "README.md": "## Try it!\n",
            },
            ("docs/a.md", 3),
            ("docs/a.md", 4),
        )

    def test_broken_link_that_goes_on_in_the_next_line_is_found(self):
        text = "One `[` and\n[a\nb](gone.md). `x\n[c](#no)`\n"
        self.assert_found(
            docs.check, {"a.md": text}, ("a.md", 2), ("a.md", 4)
        )

    def test_titles_name_test_cases(self):
        link = '[x](x_test.cc "%s")\n'
        self.assert_found(
            docs.check,
            {
                "docs/a.md": link % "All/ATest.Law/slow_one"
                + link % "ATest.Law"
                + link % "ATest.Gone"
                + link % "None/ATest.Law"
                + link % "All/ATest.Law/fast"
                + link % "a law",
                "docs/x_test.cc": "TEST_P(ATest, Law) {}\n"
                'INSTANTIATE_TEST_SUITE_P(All, ATest, Values("slow", "one"));\n',
            },
            ("docs/a.md", 3),
            ("docs/a.md", 4),
            ("docs/a.md", 5),
            ("docs/a.md", 6),
        )

    def test_links_in_code_blocks_are_not_links(self):
        self.assert_found(docs.check, {"a.md": "```text\n[x](gone.md)\n```\n"})

    def page(self, comment, block):
        return {
            "docs/a.md": f"{comment}\n```cpp\n{block}\n```\n",
            "x/main.cc": "int a;\n"
            "  // [part]\n  int b;\n    int c;\n  // [/part]\n"
            "int d;\n",
            "x/BUILD": 'cc_test(name = "main_test", data = ["//:docs/a.md"])\n'
            'cc_test(name = "blind_test", data = ["//:docs/b.md"])\n'
            'cc_library(name = "main", data = ["//:docs/a.md"])\n',
        }

    def test_block_that_equals_its_region_is_fine(self):
        self.assert_found(
            docs.check,
            self.page("<!-- from: x/main.cc#part -->", "int b;\n  int c;"),
        )
        whole = "int a;\n  int b;\n    int c;\nint d;"
        self.assert_found(
            docs.check, self.page("<!-- from: x/main.cc -->", whole)
        )

    def test_block_that_differs_from_its_region_is_found(self):
        self.assert_found(
            docs.check,
            self.page("<!-- from: x/main.cc#part -->", "int b;\n  int e;"),
            ("docs/a.md", 2),
        )

    def test_reference_to_nothing_is_found(self):
        for comment in (
            "<!-- from: x/gone.cc -->",
            "<!-- from: x/main.cc#gone -->",
            "<!-- checked by: //x:gone -->",
            "<!-- checked by: //x:blind_test -->",
            "<!-- checked by: //x:main -->",
            "<!-- untested: -->",
        ):
            with self.subTest(comment):
                self.assert_found(
                    docs.check, self.page(comment, "int b;"), ("docs/a.md", 2)
                )

    def test_block_without_a_reference_is_found(self):
        for language in ("cpp", "python", "c", "toml", "proto"):
            text = f"text\n\n```{language}\nx\n```\n"
            with self.subTest(language):
                self.assert_found(
                    docs.check, {"README.md": text}, ("README.md", 3)
                )

    def test_reference_belongs_to_the_next_block_only(self):
        self.assert_found(
            docs.check,
            {
                "docs/a.md": "<!-- untested: a sketch -->\n```c\n```\n"
                "```c\n```\n"
                "<!-- untested: a sketch -->\nprose\n```c\n```\n"
            },
            ("docs/a.md", 4),
            ("docs/a.md", 8),
        )

    def test_other_references_and_languages_are_fine(self):
        self.assert_found(
            docs.check, self.page("<!-- checked by: //x:main_test -->", "int b;")
        )
        self.assert_found(
            docs.check, self.page("<!-- untested: a sketch -->", "int b;")
        )
        self.assert_found(docs.check, {"README.md": "```sh\nls\n```\n"})
        self.assert_found(docs.check, {"x/notes.md": "```cpp\nx\n```\n"})


if __name__ == "__main__":
    unittest.main()
