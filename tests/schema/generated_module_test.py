"""The generated Python constants are the pinned ones, the same as in C++."""

import unittest

from tests.schema.dotted import v2_pb2
from tests.schema import golden_schema
from tests.schema import importing_pb2
from tests.schema import quote_schema

_GOLDEN = "mycelium/schema/testdata/golden_digests.txt"


def _golden_digests():
    with open(_GOLDEN, encoding="utf-8") as lines:
        return {
            name: bytes.fromhex(digest)
            for name, digest in (line.split() for line in lines)
        }


class GeneratedModuleTest(unittest.TestCase):

    def test_schema_digest_is_the_pinned_one(self):
        self.assertEqual(golden_schema.SCHEMA_DIGEST, _golden_digests()["schema"])

    def test_type_digests_are_the_pinned_ones(self):
        pinned = _golden_digests()
        del pinned["schema"]
        self.assertEqual(golden_schema.TYPE_DIGESTS, pinned)

    def test_messages_narrows_the_schema(self):
        self.assertEqual(list(quote_schema.TYPE_DIGESTS), ["market.Quote"])
        self.assertNotEqual(
            quote_schema.SCHEMA_DIGEST, golden_schema.SCHEMA_DIGEST
        )


class PyProtoLibraryTest(unittest.TestCase):

    def test_message_with_imports_comes_back_as_it_went(self):
        message = importing_pb2.Importing()
        message.moved.name = "m"
        message.imports.at.seconds = 7
        message.imports.quote.price = 1.5
        read = importing_pb2.Importing.FromString(message.SerializeToString())
        self.assertEqual(read, message)
        self.assertEqual(read.imports.quote.price, 1.5)

    def test_names_that_python_does_not_have_are_those_of_protoc(self):
        page = v2_pb2.Page()
        page.lines.second.text = "of another package"
        self.assertEqual(v2_pb2.Page.FromString(page.SerializeToString()), page)


if __name__ == "__main__":
    unittest.main()
