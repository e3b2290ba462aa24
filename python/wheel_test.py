"""The wheel is installed with pip, and used and type-checked in a venv."""

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import unittest
import zipfile

PROGRAM = '''
import mycelium, mycelium_native, sys
assert mycelium.__file__.startswith(sys.prefix), mycelium.__file__
from google.protobuf.timestamp_pb2 import Timestamp
with mycelium.MessageBus() as bus:
  times = bus.subscriber(Timestamp)
  bus.publisher(Timestamp).publish(Timestamp(seconds=7))
  print(times.recv(5).seconds, mycelium.version())
  times.finish()
runtime = mycelium_native.Runtime()
runtime.subscribe(Timestamp, lambda time: print(time.seconds))
runtime.publish(Timestamp(seconds=8))
'''

MYPY_CONFIG = '''
[mypy]
strict = True
[mypy-google.*]
ignore_missing_imports = True
'''
# Loan and Payload are classes of the extension, which has stubs of its own.
RIGHT = '''
import mycelium
import mycelium_native

def use(frames: mycelium.Publisher[object], frame: mycelium.Payload) -> bool:
  with frames.loan(8) as loan:
    loan.publish()
  return frame.valid
'''
WRONG = '''
import mycelium

def use(frames: mycelium.Publisher[object], frame: mycelium.Payload) -> int:
  frames.loan(8).send()
  frame.valid()
  return len(frame)
'''

# The packages that every C++ program needs.
BASE = {'libc6', 'libgcc-s1', 'libstdc++6'}


def packages_of(libraries):
  """The Debian packages that the shared libraries of a folder need."""
  own = {os.path.basename(library) for library in libraries}
  needed = set()
  for library in libraries:
    dynamic = subprocess.run(
        ['readelf', '--dynamic', '--wide', library], check=True,
        stdout=subprocess.PIPE, encoding='utf-8').stdout
    needed.update(re.findall(r'\(NEEDED\).*\[(.*)\]', dynamic))
  folder = f'lib/{sysconfig.get_config_var("MULTIARCH")}'
  packages = set()
  for name in needed - own:
    paths = [f'/usr/{folder}/{name}', f'/{folder}/{name}']
    found = subprocess.run(  # Fails, since one of the paths is in no package.
        ['dpkg', '--search', *paths], check=False, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, encoding='utf-8').stdout
    packages.add(found.split(':')[0] or name)
  return packages - BASE


class WheelTest(unittest.TestCase):

  @classmethod
  def setUpClass(cls):
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.folder = folder.name
    cls.environment = {
        name: value for name, value in os.environ.items()
        if not name.startswith('PYTHON')}
    cls.environment['HOME'] = cls.folder
    venv = os.path.join(cls.folder, 'venv')
    # Protobuf is Debian's: pip must not look for it elsewhere.
    cls.run_here(sys.executable, '-m', 'venv', '--system-site-packages', venv)
    cls.python = os.path.join(venv, 'bin', 'python')
    cls.run_here(
        cls.python, '-m', 'pip', 'install', '--no-index', '--quiet',
        os.path.abspath(os.environ['WHEEL']))

  @classmethod
  def run_here(cls, *command, check=True):
    return subprocess.run(
        command, check=check, cwd=cls.folder, env=cls.environment,
        stdout=subprocess.PIPE, encoding='utf-8').stdout

  def mypy(self, name, program):
    for file_name, text in (('mypy.ini', MYPY_CONFIG), (name, program)):
      with open(os.path.join(self.folder, file_name), 'w',
                encoding='utf-8') as file:
        file.write(text)
    return self.run_here(
        sys.executable, '-m', 'mypy', '--no-incremental', '--python-executable',
        self.python, name, check=False)

  def test_wheel_works_in_a_venv(self):
    printed = self.run_here(self.python, '-c', PROGRAM)
    self.assertEqual(printed.split(), ['7', '0.3.0', '8'])

  def test_users_see_the_types(self):
    self.assertIn('Success', self.mypy('right.py', RIGHT))

  def test_users_mistakes_are_seen(self):
    checked = self.mypy('wrong.py', WRONG)
    self.assertIn('"Loan" has no attribute "send"', checked)
    self.assertIn('"bool" not callable', checked)
    self.assertEqual(checked.count('error:'), 2, checked)

  def test_wheel_says_what_it_needs(self):
    with zipfile.ZipFile(os.environ['WHEEL']) as wheel:
      names = wheel.namelist()
      metadata = wheel.read('mycelium-0.3.0.dist-info/METADATA').decode()
      with tempfile.TemporaryDirectory() as folder:
        needed = packages_of([
            wheel.extract(name, folder) for name in names
            if name.endswith('.so')])
    with open(os.environ['GUIDE'], encoding='utf-8') as guide:
      for text in (metadata, guide.read()):
        command = re.search('apt-get install ([^`\n]*)', text)
        self.assertEqual(set(command[1].split()), needed)


if __name__ == '__main__':
  unittest.main()
