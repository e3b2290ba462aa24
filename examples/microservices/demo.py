"""Runs the same services in one process, then in three."""

import json
import os
import subprocess
import sys
import tempfile

FOLDER = os.path.dirname(__file__)
DEADLINE_S = 60
# Which services share a process, as the topology files say.
PROCESSES = {
    'together.toml': [['gateway', 'python-processor', 'execution-service']],
    'apart.toml': [['gateway'], ['python-processor'], ['execution-service']],
}


class Failure(Exception):
  """A message was lost; the text says on which topic."""


def check(flows):
  """Raises Failure unless all that was accepted was delivered."""
  for topic, sums in flows.items():
    if (sums['accepted'] != sums['delivered'] or sums['dropped']
        or sums['in_flight']):
      raise Failure(f'{topic}: not all was delivered: {sums}')


def run(topology):
  """What the gateway said, and the sums of all ledgers by topic."""
  with tempfile.TemporaryDirectory(prefix='ms-', dir='/tmp') as folder:
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path),
                       XDG_RUNTIME_DIR=folder)
    processes = [
        subprocess.Popen(
            [sys.executable, os.path.join(FOLDER, 'services.py'),
             os.path.join(FOLDER, topology), *services],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            encoding='utf-8')
        for services in PROCESSES[topology]]
    try:
      said, flows = _work(processes)
    finally:
      for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()
  check(flows)
  return said, flows


def _work(processes):
  for process in processes:
    assert process.stdout.readline() == 'ready\n'
  for process in processes:
    process.stdin.write('go\n')
    process.stdin.flush()
  said = processes[0].stdout.readline().strip()
  flows = {}
  for process in processes:
    process.stdin.close()
    output = process.stdout.read()
    assert process.wait(DEADLINE_S) == 0, process.args
    for flow in json.loads(output):
      sums = flows.setdefault(flow['topic'], {
          'transport': flow['transport'], 'accepted': 0, 'delivered': 0,
          'in_flight': 0, 'dropped': 0})
      for key in ('accepted', 'delivered', 'in_flight'):
        sums[key] += flow[key]
      sums['dropped'] += sum(flow['dropped'].values())
  return said, flows


def main():
  for topology in PROCESSES:
    said, flows = run(topology)
    print(f'{topology}: {said}')
    for topic, sums in flows.items():
      print(f'  {topic}: {sums}')


if __name__ == '__main__':
  main()
