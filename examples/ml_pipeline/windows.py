"""What the steps in Python share: the bytes exchanged, and how they end."""

import sys
import threading

import numpy

import mycelium

SAMPLES = 1024
BANDS = 16
FAULTS = 4
PATIENCE = 30.0

# As vibration.h has it.
WINDOW = numpy.dtype([('id', '<u8'), ('fault', '<u4'), ('unused', '<u4'),
                      ('samples', '<f4', (SAMPLES,))])
FEATURES = numpy.dtype([('id', '<u8'), ('fault', '<u4'), ('unused', '<u4'),
                        ('bands', '<f4', (BANDS,))])
WINDOWS = mycelium.RawType('ml_pipeline.Window')
FEATURE_ROWS = mycelium.RawType('ml_pipeline.Features')


def say_flows(bus):
  """Prints this node's counts, as numbers that the demo adds up."""
  for flow in bus.ledger():
    print('flow', flow['topic'], flow['transport'], flow['accepted'],
          flow['delivered'], sum(flow['dropped'].values()), flow['in_flight'],
          flush=True)


def run_step(bus, work):
  """Calls `work` on a thread until the input ends; then prints the counts.

  `work` returns when the bus is closed.
  """
  raised = []

  def run():
    try:
      work()
    except BaseException as error:  # pylint: disable=broad-except
      raised.append(error)
      raise  # Python prints it; this step has failed all the same.

  thread = threading.Thread(target=run)
  thread.start()
  try:
    print('ready', flush=True)
    sys.stdin.read()
    bus.flush(PATIENCE)
    say_flows(bus)
  finally:
    # Close in any case: the thread waits in a receive until the bus is closed,
    # and the process would wait for the thread.
    bus.close()
    thread.join()
  if raised:
    sys.exit('the step has failed')
