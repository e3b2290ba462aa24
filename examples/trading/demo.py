"""Runs the model inside the market's process, then in one of its own."""

import collections
import os
import re
import subprocess
import sys
import tempfile

FOLDER = os.path.dirname(__file__)
MODEL = os.path.join(FOLDER, 'model.py')
DEADLINE_S = 60


class Failure(Exception):
  """A process did not do its work; the text quotes what it printed."""


def environment(folder):
  """An environment in which the embedded Python finds this one's modules."""
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


def check(said):
  """Raises Failure unless the ledgers show all of both topics delivered."""
  sums = collections.defaultdict(lambda: [0, 0, 0, 0])
  for topic, *counts in re.findall(
      r'^(\S+): accepted (\d+), delivered (\d+), dropped (\d+), '
      r'in flight (\d+)$', said, re.MULTILINE):
    sums[topic] = [a + int(b) for a, b in zip(sums[topic], counts)]
  is_whole = all(
      accepted == delivered > 0 and dropped == in_flight == 0
      for accepted, delivered, dropped, in_flight in sums.values())
  if len(sums) != 2 or not is_whole:
    raise Failure(f'not all was delivered:\n{said}')


def embedded(count):
  """The model in the market's process."""
  with tempfile.TemporaryDirectory(prefix='tr-', dir='/tmp') as folder:
    said = run_desk('embedded.toml', count, 'embed', folder=folder)
  check(said)
  return said


def separate(count):
  """The same model in a process of its own; returns what both printed."""
  with tempfile.TemporaryDirectory(prefix='tr-', dir='/tmp') as folder:
    with subprocess.Popen(
        [sys.executable, MODEL, os.path.join(FOLDER, 'separate.toml')],
        env=environment(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        encoding='utf-8') as model:
      try:
        said = run_desk('separate.toml', count, folder=folder)
        # The end of its input ends the model.
        said += model.communicate(timeout=DEADLINE_S)[0]
      finally:
        model.kill()
  if model.returncode != 0:
    raise Failure(f'model: exit status {model.returncode}\n{said}')
  check(said)
  return said


def main():
  for name, run in (('embedded', embedded), ('separate', separate)):
    print(f'{name}:')
    print(run(10000), end='')


if __name__ == '__main__':
  main()
