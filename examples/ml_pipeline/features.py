"""The service `features`: how strong each window is in each band of frequencies.

    features.py TOPOLOGY
"""

import sys

import numpy

from examples.ml_pipeline.windows import BANDS
from examples.ml_pipeline.windows import FEATURE_ROWS
from examples.ml_pipeline.windows import FEATURES
from examples.ml_pipeline.windows import PATIENCE
from examples.ml_pipeline.windows import run_step
from examples.ml_pipeline.windows import SAMPLES
from examples.ml_pipeline.windows import WINDOW
from examples.ml_pipeline.windows import WINDOWS
from mycelium import MessageBus

_TAPER = numpy.hanning(SAMPLES).astype('f4')
# Where each band begins, in steps of 8 Hz: narrow where the shaft turns.
_EDGES = numpy.unique(
    numpy.geomspace(3, SAMPLES // 2, BANDS + 1).round().astype(int))


def bands_of(samples):
  """For each row of samples, the logarithm of the energy in each band."""
  energy = numpy.abs(numpy.fft.rfft(samples * _TAPER)) ** 2
  return numpy.log(numpy.add.reduceat(
      energy[..., :_EDGES[-1]], _EDGES[:-1], axis=-1) + 1e-9)


# [step]
def pass_on(payload, features):
  """Reads a window where it was received, writes a row where it is sent from."""
  window = numpy.frombuffer(payload, WINDOW)
  with features.loan(FEATURES.itemsize) as loan:
    row = numpy.frombuffer(loan, FEATURES)
    row['id'] = window['id']
    row['fault'] = window['fault']
    row['bands'] = bands_of(window['samples'])
    del row  # Nobody may have a view of a loan that is published.
    loan.publish()
# [/step]


def main(topology):
  bus = MessageBus.from_topology(topology, 'features')
  windows = bus.subscriber(WINDOWS)
  features = bus.publisher_to('model', FEATURE_ROWS, publish_timeout=PATIENCE)
  features.wait_for_subscribers(1, PATIENCE)

  def work():
    for payload in windows:
      pass_on(payload, features)

  run_step(bus, work)


if __name__ == '__main__':
  main(*sys.argv[1:])
