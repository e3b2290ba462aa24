"""Runs the pipeline: on one machine, with the model elsewhere, with it killed."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile

FOLDER = os.path.dirname(__file__)
DEADLINE_S = 60
FEATURES = 'ml_pipeline.Features'
PREDICTIONS = 'ml_pipeline.Prediction'
RECORDED = 400
COUNT = 2000


class Failure(Exception):
  """A step did not do its work; the text says which."""


def free_ports(host, count):
  """Ports at which nobody listens."""
  with contextlib.ExitStack() as stack:
    sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
    for one in sockets:
      one.bind((host, 0))
    return [str(one.getsockname()[1]) for one in sockets]


class Pipeline:
  """The processes of one run."""

  def __init__(self, topology, count, announced):
    self._folder = tempfile.TemporaryDirectory(prefix='ml-', dir='/tmp')
    ports = free_ports('0.0.0.0', 3)
    self._environment = dict(
        os.environ, PYTHONPATH=os.pathsep.join(sys.path),
        XDG_RUNTIME_DIR=self._folder.name, OPENBLAS_NUM_THREADS='1',
        PIPELINE_PORT=ports[0], PIPELINE_PORT_2=ports[1],
        PIPELINE_PORT_3=ports[2])
    self._topology = os.path.join(FOLDER, topology)
    self._recorded = os.path.join(self._folder.name, 'recorded')
    source = os.path.join(FOLDER, 'source')
    subprocess.run([source, 'record', self._recorded, str(RECORDED)],
                   check=True, timeout=DEADLINE_S)
    # Downstream first; end() ends them in the opposite order.
    self.steps = {}
    self.start('sink', str(count), str(announced))
    self.start('model', self._recorded)
    self.start('features')
    self.steps['source'] = self._popen(
        source, 'publish', self._topology, str(count))

  def _popen(self, *command):
    return subprocess.Popen(
        command, env=self._environment, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, encoding='utf-8')

  def start(self, name, *arguments):
    self.steps[name] = self._popen(
        sys.executable, os.path.join(FOLDER, f'{name}.py'), self._topology,
        *arguments)

  def line(self, name):
    line = self.steps[name].stdout.readline()
    if not line:
      raise Failure(f'{name} ended with {self.steps[name].wait(DEADLINE_S)}')
    return line.strip()

  def begin(self):
    for name in self.steps:
      assert self.line(name) == 'ready'
    self.steps['source'].stdin.write('go\n')
    self.steps['source'].stdin.flush()

  def restart_model(self):
    """Kills the model, whatever it is doing, and starts the next one."""
    killed = self.steps['model']
    killed.kill()
    killed.communicate()
    self.start('model', self._recorded)

  def end(self):
    """The counts of all steps: topic -> transport and sums of both sides."""
    flows = {}
    for name in ('source', 'features', 'model', 'sink'):
      output, _ = self.steps[name].communicate(timeout=DEADLINE_S)
      if self.steps[name].returncode != 0:
        raise Failure(f'{name}: {output}')
      for line in output.splitlines():
        word, topic, transport, *counts = line.split()
        if word != 'flow':
          continue
        sums = flows.setdefault(topic, {
            'transport': transport, 'accepted': 0, 'delivered': 0,
            'dropped': 0, 'in_flight': 0})
        for key, count in zip(
            ('accepted', 'delivered', 'dropped', 'in_flight'), counts):
          sums[key] += int(count)
    return flows

  def __enter__(self):
    return self

  def __exit__(self, *exception):
    for process in self.steps.values():
      process.kill()
      process.wait()
      process.stdout.close()
      process.stdin.close()
    self._folder.cleanup()


def check(flows, uncounted=()):
  """Raises Failure unless all that was accepted was delivered.

  Args:
    uncounted: the topics whose sums lack the counts of a killed process.
  """
  for topic, sums in flows.items():
    is_whole = sums['accepted'] == sums['delivered'] or topic in uncounted
    if sums['dropped'] or sums['in_flight'] or not is_whole:
      raise Failure(f'{topic}: not all was delivered: {sums}')


def run(topology, count=COUNT, kill_model=False):
  """What the sink said, and the sums of all ledgers by topic.

  The sums of FEATURES and PREDICTIONS lack the counts of a model that was
  killed.
  """
  with Pipeline(topology, count, count // 4 if kill_model else 0) as pipeline:
    pipeline.begin()
    if kill_model:
      assert pipeline.line('sink') == f'at {count // 4}'
      pipeline.restart_model()
      assert pipeline.line('model') == 'ready'
    said = pipeline.line('sink')
    flows = pipeline.end()
  check(flows, (FEATURES, PREDICTIONS) if kill_model else ())
  return said, flows


def main():
  for topology, kill_model in (('processes.toml', False),
                               ('remote_model.toml', False),
                               ('processes.toml', True)):
    said, flows = run(topology, kill_model=kill_model)
    print(f'{topology}{", model killed" if kill_model else ""}: {said}')
    for topic, sums in flows.items():
      print(f'  {topic}: {sums}')
    if kill_model:
      print('  Gone is what the killed model had counted: features that were '
            'delivered, predictions that were accepted.')


if __name__ == '__main__':
  main()
