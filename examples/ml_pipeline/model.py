"""The service `model`: learns from recorded windows, then names faults.

    model.py TOPOLOGY RECORDED
"""

import sys

import numpy

from examples.ml_pipeline.features import bands_of
from examples.ml_pipeline.pipeline_pb2 import Prediction
from examples.ml_pipeline.windows import FAULTS
from examples.ml_pipeline.windows import FEATURE_ROWS
from examples.ml_pipeline.windows import FEATURES
from examples.ml_pipeline.windows import PATIENCE
from examples.ml_pipeline.windows import run_step
from examples.ml_pipeline.windows import WINDOW
from mycelium import MessageBus


class Model:
  """Softmax regression on the bands."""

  def __init__(self, bands, faults, steps=300, rate=0.5):
    self._mean = bands.mean(axis=0)
    self._scale = bands.std(axis=0) + 1e-6
    inputs = self._inputs(bands)
    wanted = numpy.eye(FAULTS)[faults]
    self._weights = numpy.zeros((inputs.shape[1], FAULTS))
    for _ in range(steps):
      error = self._softmax(inputs) - wanted
      self._weights -= rate * inputs.T @ error / len(inputs)

  def predict(self, bands):
    """The most likely fault, and its probability."""
    chances = self._softmax(self._inputs(bands[numpy.newaxis]))[0]
    fault = int(chances.argmax())
    return fault, float(chances[fault])

  def _inputs(self, bands):
    normed = (bands - self._mean) / self._scale
    return numpy.hstack([normed, numpy.ones((len(bands), 1))])

  def _softmax(self, inputs):
    scores = inputs @ self._weights
    powers = numpy.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def learn(recorded):
  """A model of the windows in that file."""
  windows = numpy.fromfile(recorded, WINDOW)
  return Model(bands_of(windows['samples']), windows['fault'])


def main(topology, recorded):
  model = learn(recorded)
  bus = MessageBus.from_topology(topology, 'model')
  rows = bus.subscriber(FEATURE_ROWS)
  predictions = bus.publisher_to('sink', Prediction, publish_timeout=PATIENCE)
  predictions.wait_for_subscribers(1, PATIENCE)

  def work():
    for payload in rows:
      # A copy: the row is small, and a view would have to end before the next.
      row = numpy.frombuffer(bytes(payload), FEATURES)[0]
      fault, confidence = model.predict(row['bands'])
      predictions.publish(Prediction(
          id=int(row['id']), fault=fault, truth=int(row['fault']),
          confidence=confidence))

  run_step(bus, work)


if __name__ == '__main__':
  main(*sys.argv[1:])
