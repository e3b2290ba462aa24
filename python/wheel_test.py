"""The wheel is installed with pip and used in a venv of its own."""

import os
import subprocess
import sys
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
    self.assertIn('libprotobuf32', metadata)


if __name__ == '__main__':
  unittest.main()
