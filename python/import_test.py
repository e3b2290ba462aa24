"""`import mycelium` works, and its extension is thin."""

import os
import subprocess
import sys
import unittest

import _xxsubinterpreters  # The only way to make one from Python 3.11.

import _mycelium
import mycelium


def _readelf(option):
  return subprocess.run(
      ['readelf', '--wide', option, _mycelium.__file__],
      check=True, stdout=subprocess.PIPE, encoding='utf-8').stdout


class ImportTest(unittest.TestCase):

  def test_version_comes_from_the_runtime(self):
    self.assertRegex(mycelium.__version__, r'^\d+\.\d+\.\d+$')

  def test_runtime_is_mapped_once(self):
    with open('/proc/self/maps', encoding='utf-8') as maps:
      paths = {
          line.split()[-1] for line in maps if 'libmycelium.so' in line
      }
    self.assertEqual(len(paths), 1, paths)

  def test_extension_finds_the_runtime_beside_it_in_runfiles(self):
    self.assertIn('Shared library: [libmycelium.so]', _readelf('--dynamic'))
    beside = os.path.join(
        os.path.dirname(_mycelium.__file__), '../../mycelium/libmycelium.so')
    self.assertTrue(os.path.exists(beside))
    self.assertIn('$ORIGIN/../../mycelium', _readelf('--dynamic'))

  def test_extension_exports_its_init_function_only(self):
    exported = []
    for line in _readelf('--dyn-syms').splitlines():
      # Number, value, size, type, binding, visibility, section, name.
      fields = line.split()
      if len(fields) < 8 or not fields[0][:-1].isdigit():
        continue
      if fields[4] != 'LOCAL' and fields[6] != 'UND':
        exported.append(fields[7].split('@')[0])
    self.assertEqual(exported, ['PyInit__mycelium'])

  def test_other_interpreter_of_the_process_is_refused(self):
    interpreter = _xxsubinterpreters.create()
    self.addCleanup(_xxsubinterpreters.destroy, interpreter)
    with self.assertRaisesRegex(
        _xxsubinterpreters.RunFailedError, 'ImportError.*main interpreter'):
      _xxsubinterpreters.run_string(
          interpreter, f'import sys; sys.path = {sys.path}; import mycelium')

  def test_interpreter_after_one_that_has_ended_is_refused(self):
    # The state after atexit, as the next interpreter of a program finds it.
    code = ('import _mycelium, sys; import mycelium; _mycelium.end_calls(0); '
            'del sys.modules["mycelium"], sys.modules["mycelium._loading"]; '
            'import mycelium')
    ended = subprocess.run(
        [sys.executable, '-c', f'import sys; sys.path = {sys.path}; {code}'],
        stderr=subprocess.PIPE, encoding='utf-8', check=False)
    self.assertEqual(ended.returncode, 1)
    self.assertRegex(ended.stderr, 'ImportError: .*has ended; keep one')


if __name__ == '__main__':
  unittest.main()
