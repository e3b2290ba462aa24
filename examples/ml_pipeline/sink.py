"""The service `sink`: how often the model is right.

    sink.py TOPOLOGY COUNT AT

It prints `at AT` when it has AT predictions (0: never), and the share that is
right when it has COUNT. A prediction comes again if a model was killed before
it had said that it was done; such predictions are counted apart.
"""

import sys

from examples.ml_pipeline.pipeline_pb2 import Prediction
from examples.ml_pipeline.windows import PATIENCE
from examples.ml_pipeline.windows import say_flows
from mycelium import MessageBus


def main(topology, count, announced):
  bus = MessageBus.from_topology(topology, 'sink')
  predictions = bus.subscriber(Prediction)
  print('ready', flush=True)
  seen = {}
  again = 0
  while len(seen) < count:
    prediction = predictions.recv(PATIENCE)
    again += prediction.id in seen
    seen[prediction.id] = prediction.fault == prediction.truth
    if len(seen) == announced:
      print(f'at {announced}', flush=True)
      announced = 0
  predictions.finish()
  assert sorted(seen) == list(range(1, count + 1)), 'a window is missing'
  print(f'{count} windows, {100 * sum(seen.values()) / count:.1f} % right, '
        f'{again} again', flush=True)
  sys.stdin.read()
  say_flows(bus)
  bus.close()


if __name__ == '__main__':
  main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
