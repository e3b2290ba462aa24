"""libmycelium.so shows what it says: the C interface, versioned, and no more."""

import os
import re
import subprocess
import unittest

C_FUNCTION = re.compile(r'\b(mycelium_\w+)\s*\(')
COMMENT = re.compile(r'/\*.*?\*/', re.DOTALL)


def declared():
  """The functions that mycelium.h declares, and what it includes."""
  functions = set()
  for path in os.environ['HEADERS'].split():
    with open(path, encoding='utf-8') as header:
      functions.update(C_FUNCTION.findall(COMMENT.sub('', header.read())))
  return functions


def exported():
  """The defined symbols of the library: version -> names."""
  lines = subprocess.run(
      ['readelf', '--wide', '--dyn-syms', os.environ['LIBRARY']],
      check=True, stdout=subprocess.PIPE, encoding='utf-8').stdout.splitlines()
  found = {}
  for line in lines:
    # Number, value, size, type, binding, visibility, section, name.
    fields = line.split()
    if len(fields) < 8 or not fields[0][:-1].isdigit():
      continue
    if fields[4] == 'LOCAL' or fields[6] in ('UND', 'ABS'):
      continue
    name, _, version = fields[7].partition('@@')
    found.setdefault(version, set()).add(name)
  return found


class ExportsTest(unittest.TestCase):

  def test_c_interface_is_what_the_header_declares(self):
    self.assertGreater(len(declared()), 30)
    self.assertEqual(exported()['MYCELIUM_1'], declared())

  def test_every_symbol_has_a_version(self):
    self.assertEqual(set(exported()), {'MYCELIUM_1', 'MYCELIUM_CXX'})

  def test_nothing_of_other_projects_is_shown(self):
    foreign = [
        name for name in exported()['MYCELIUM_CXX'] if 'mycelium' not in name
    ]
    self.assertEqual(foreign, [])


if __name__ == '__main__':
  unittest.main()
