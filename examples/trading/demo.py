"""Runs the model inside the market's process, then in one of its own."""

import os
import subprocess
import sys
import tempfile

FOLDER = os.path.dirname(__file__)
DEADLINE_S = 60


class Failure(Exception):
  """A process did not do its work; the text has what it said."""


def environment(folder):
  """Where the embedded Python finds what this one has."""
  return dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path),
              XDG_RUNTIME_DIR=folder)


def run_desk(topology, count, *arguments, program='trading_desk', folder):
  """Runs the market's process; returns what it printed."""
  desk = subprocess.run(
      [os.path.join(FOLDER, program), os.path.join(FOLDER, topology),
       str(count), *arguments],
      env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
      timeout=DEADLINE_S, encoding='utf-8', check=False)
  if desk.returncode != 0:
    raise Failure(desk.stdout)
  return desk.stdout


def embedded(count):
  """The model in the market's process."""
  with tempfile.TemporaryDirectory(prefix='tr-', dir='/tmp') as folder:
    return run_desk('embedded.toml', count, 'embed', folder=folder)


def separate(count):
  """The same model in a process of its own."""
  with tempfile.TemporaryDirectory(prefix='tr-', dir='/tmp') as folder:
    with subprocess.Popen(
        [sys.executable, os.path.join(FOLDER, 'model.py'),
         os.path.join(FOLDER, 'separate.toml')],
        env=environment(folder), stdin=subprocess.PIPE) as model:
      try:
        return run_desk('separate.toml', count, folder=folder)
      finally:
        model.stdin.close()


def main():
  for name, run in (('embedded', embedded), ('separate', separate)):
    print(f'{name}:')
    print(run(10000), end='')


if __name__ == '__main__':
  main()
