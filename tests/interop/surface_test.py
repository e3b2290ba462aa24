"""The guide's table that compares the three surfaces.

Everything that the table names exists, a member in the class that is named with
it. Every function of C and every public name of the Python classes is in the
table; nobody looks for names of C++ that the table lacks.
"""

import ast
import inspect
import os
import re
import unittest

import mycelium
import mycelium_native

COMMENT = re.compile(r'/\*.*?\*/|//[^\n]*', re.DOTALL)
C_FUNCTION = re.compile(r'\bmycelium_(\w+)\s*\(')
CODE = re.compile(r'`([^`]+)`')
# Names that belong to no class and to no function of C.
ELSEWHERE = {'absl::Status', 'mycelium topology', 'logging', 'schema_digest',
             'publish_timeout', 'on_error'}


def text_of(paths):
  text = ''
  for path in paths.split():
    with open(path, encoding='utf-8') as file:
      text += COMMENT.sub('', file.read())
  return text


def words_of(paths):
  return set(re.findall(r'\w+', text_of(paths)))


def public_words_of(cls, text):
  """The words in the public part of a class of C++; none if it is not there."""
  head = re.search(rf'^(?:class|struct) {cls}\b[^;{{]*{{', text, re.MULTILINE)
  if head is None:
    return set()
  body = text[head.end():].partition('\n};')[0]
  return set(re.findall(r'\w+', body.partition('\n private:')[0]))


def rows():
  """The names in the cells of each row."""
  with open(os.environ['GUIDE'], encoding='utf-8') as guide:
    table = guide.read().partition('<!-- surfaces -->')[2].partition(
        '<!-- /surfaces -->')[0]
  lines = table.strip().splitlines()[2:]
  return [[set(CODE.findall(cell)) - ELSEWHERE
           for cell in line.strip('| ').split(' | ')] for line in lines]


def named(column):
  return set().union(*(row[column] for row in rows()))


def public_names(cls):
  """The public names of a class; for a transport, those that its bus lacks."""
  names = {name for name, _ in inspect.getmembers(cls)
           if not name.startswith('_')}
  if issubclass(cls, mycelium.UnixTransport.__base__):
    names -= set(dir(mycelium.MessageBus)) | {'bus'}
  return {f'{cls.__name__}.{name}' for name in names}


class SurfaceTest(unittest.TestCase):

  def test_every_row_has_a_cell_for_each_language(self):
    self.assertGreater(len(rows()), 50)
    for row in rows():
      self.assertEqual(len(row), 3, row)

  def test_names_of_cpp_are_in_its_headers(self):
    text = text_of(os.environ['CPP_HEADERS'])
    words = set(re.findall(r'\w+', text))
    for name in named(0):
      cls, _, member = name.rpartition('::')
      self.assertIn(member, public_words_of(cls, text) if cls else words, name)

  def test_member_of_one_class_of_cpp_is_none_of_another(self):
    text = text_of(os.environ['CPP_HEADERS'])
    self.assertIn('Finish', public_words_of('SubscriberBase', text))
    self.assertNotIn('Finish', public_words_of('MessageBus', text))

  def test_functions_of_c_are_those_of_its_headers(self):
    functions = set(C_FUNCTION.findall(text_of(os.environ['C_HEADERS'])))
    self.assertEqual(functions - named(1), set(), 'not in the table')
    fields_and_structs = named(1) - functions
    self.assertEqual(
        fields_and_structs - words_of(os.environ['C_HEADERS']), set())

  def test_names_of_python_are_there(self):
    for name in named(2):
      found = mycelium_native if name.startswith('Runtime') else mycelium
      for part in name.split('.'):
        self.assertTrue(hasattr(found, part), name)
        found = getattr(found, part)

  def test_every_name_of_the_python_classes_is_in_the_table(self):
    classes = (
        mycelium.MessageBus, mycelium.Publisher, mycelium.Subscriber,
        mycelium.Subscription, mycelium.Loan, mycelium.Payload,
        mycelium.Topology, mycelium.RawType, mycelium.UnixTransport,
        mycelium.SharedMemoryTransport, mycelium.TcpTransport,
        mycelium_native.Runtime)
    for cls in classes:
      self.assertEqual(public_names(cls) - named(2), set())

  def test_stub_has_what_the_extension_has(self):
    with open(os.environ['STUB'], encoding='utf-8') as file:
      stub = ast.parse(file.read())
    import _mycelium  # pylint: disable=import-outside-toplevel
    stubbed = {}
    for node in stub.body:
      if isinstance(node, ast.ClassDef):
        stubbed[node.name] = {
            item.name if isinstance(item, ast.FunctionDef) else item.target.id
            for item in node.body
            if isinstance(item, (ast.FunctionDef, ast.AnnAssign))}
      elif isinstance(node, ast.FunctionDef):
        stubbed[node.name] = None
    extension = {name for name in dir(_mycelium) if not name.startswith('_')}
    self.assertEqual(set(stubbed), extension)
    for name, members in stubbed.items():
      if members is None:
        continue
      cls = getattr(_mycelium, name)
      there = {member for member, _ in inspect.getmembers(cls)
               if not member.startswith('_')}
      self.assertEqual(
          {member for member in members if not member.startswith('_')}, there,
          name)


if __name__ == '__main__':
  unittest.main()
