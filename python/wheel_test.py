"""The wheel is installed with pip and used in a venv of its own."""

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

# What every C++ program needs.
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
    found = subprocess.run(  # Fails, as one of the paths is not in any.
        ['dpkg', '--search', *paths], check=False, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, encoding='utf-8').stdout
    packages.add(found.split(':')[0] or name)
  return packages - BASE


class WheelTest(unittest.TestCase):

  def test_wheel_works_in_a_venv(self):
    with tempfile.TemporaryDirectory() as folder:
      venv = os.path.join(folder, 'venv')
      environment = {
          name: value for name, value in os.environ.items()
          if not name.startswith('PYTHON')}
      environment['HOME'] = folder

      def run(*command):
        return subprocess.run(
            command, check=True, cwd=folder, env=environment,
            stdout=subprocess.PIPE, encoding='utf-8').stdout

      # Protobuf is Debian's: pip must not look for it elsewhere.
      run(sys.executable, '-m', 'venv', '--system-site-packages', venv)
      python = os.path.join(venv, 'bin', 'python')
      run(python, '-m', 'pip', 'install', '--no-index', '--quiet',
          os.path.abspath(os.environ['WHEEL']))
      self.assertEqual(run(python, '-c', PROGRAM).split(), ['7', '0.3.0', '8'])

  def test_wheel_has_types_and_says_what_it_needs(self):
    with zipfile.ZipFile(os.environ['WHEEL']) as wheel:
      names = wheel.namelist()
      self.assertIn('mycelium/py.typed', names)
      self.assertIn('_mycelium.pyi', names)
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
