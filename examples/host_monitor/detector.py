"""The service `detector` in Python; detector.cc is the same in C++.

    detector --topology bundled_python.toml

Subscribes to HostSample, keeps statistics of every figure and publishes an
Anomaly when one leaves its recent range. outlier_watch.h explains the measure.
"""

import argparse
import collections
import json
import signal
import statistics
import sys

import mycelium
from examples.host_monitor.host_monitor_pb2 import Anomaly
from examples.host_monitor.host_monitor_pb2 import HostSample

WINDOW = 60  # Values that a new one is compared with.
WARM_UP = 20  # Values that the watch needs before it judges one.
THRESHOLD = 3.5  # Of the score's absolute value.
RUN = 3  # Outliers in a row that make an event.
# Makes the MAD of a normal distribution equal its standard deviation.
MAD_TO_SCORE = 0.6745

Metric = collections.namedtuple('Metric', 'name unit value noise')


class OutlierWatch:
  """Watches one figure and reports when it leaves its recent range."""

  def __init__(self, mad_min):
    self._mad_min = mad_min  # A smaller deviation is noise.
    self._values = collections.deque(maxlen=WINDOW)
    self._run = 0

  def add(self, value):
    """Takes the next value; (median, score) if it makes an event."""
    event = None
    if len(self._values) >= WARM_UP:
      median, score = self._judge(value)
      self._run = self._run + 1 if abs(score) > THRESHOLD else 0
      if self._run == RUN:
        event = median, score
    self._values.append(value)
    return event

  def _judge(self, value):
    median = statistics.median(self._values)
    mad = max(self._mad_min,
              statistics.median(abs(each - median) for each in self._values))
    return median, MAD_TO_SCORE * (value - median) / mad


def metrics_of(sample):
  """All figures of a sample, as metrics.cc has them."""
  yield Metric('cpu.total', '%', sample.cpu.total_percent, 4)
  for core, percent in enumerate(sample.cpu.core_percent):
    yield Metric(f'cpu.core{core}', '%', percent, 8)
  memory = sample.memory
  if memory.total_bytes:
    used = 1 - memory.available_bytes / memory.total_bytes
    yield Metric('memory.used', '%', 100 * used, 0.5)
  network = sample.network
  yield Metric('network.received', 'B/s', network.received_bytes_per_second,
               65536)
  yield Metric('network.sent', 'B/s', network.sent_bytes_per_second, 65536)
  processes = sample.processes
  yield Metric('processes.total', '', processes.total, 3)
  yield Metric('processes.running', '', processes.running, 1.5)
  yield Metric('processes.started', '/s', processes.started_per_second, 20)


class Detector:
  """The service's work on samples; `publish` takes the anomalies."""

  def __init__(self, publish):
    self._publish = publish
    self._watches = {}
    self._samples = 0

  def on_sample(self, sample):
    for metric in metrics_of(sample):
      watch = self._watches.setdefault(metric.name, OutlierWatch(metric.noise))
      event = watch.add(metric.value)
      if event is not None:
        self._tell(Anomaly(
            time_ns=sample.time_ns, metric=metric.name, unit=metric.unit,
            value=metric.value, usual=event[0], score=event[1]))
    self._samples += 1
    if self._samples == WARM_UP:
      print(f'detector: knows {len(self._watches)} metrics after '
            f'{self._samples} samples', flush=True)

  def _tell(self, anomaly):
    try:
      self._publish(anomaly)
    except mycelium.MyceliumError as error:
      # Publishing is tried again with the next anomaly; what the detector knows
      # of the metrics stays.
      print(f'detector: {anomaly.metric} not told: {error}', file=sys.stderr,
            flush=True)


def report_of(bus):
  """The process's report at its end, as run_report.proto has it, in JSON."""
  flows = []
  for flow in bus.ledger():
    subscriber = flow['subscriber_node']
    if subscriber:
      subscriber += '/' + flow['subscriber_service']
    flows.append({
        'topic': flow['topic'],
        'publisher': f'{flow["publisher_node"]}/{flow["publisher_service"]}',
        'subscriber': subscriber,
        'transport': flow['transport'],
        'accepted': flow['accepted'],
        'delivered': flow['delivered'],
        'in_flight': flow['in_flight'],
        'dropped': {why: count for why, count in flow['dropped'].items()
                    if count},
    })
  links = [{key: link[key]
            for key in ('peer', 'transport', 'rule', 'fallback')}
           for link in bus.links()]
  return {'node': bus.node, 'links': links, 'flows': flows}


def seconds_of(duration):
  """A duration as the flags of the C++ program have it: '300s', '2m', '50ms'.

  For argparse, which names the flag that is wrong.
  """
  for unit, seconds in (('ms', 0.001), ('s', 1), ('m', 60), ('h', 3600)):
    if duration.endswith(unit):
      number = float(duration[:-len(unit)])
      if number < 0:
        raise argparse.ArgumentTypeError(f'{duration} is less than 0')
      return number * seconds
  raise argparse.ArgumentTypeError(
      f'{duration} has no unit of time: ms, s, m or h')


def arguments_of(words):
  """The flags; exits with what is wrong with them."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                   allow_abbrev=False)
  parser.add_argument('--topology', help='the topology file')
  parser.add_argument('--report_json', help='a file for the final ledger')
  parser.add_argument('--run_for', type=seconds_of,
                      help='stop after this time, if no signal comes before')
  for flag in ('--services', '--period', '--refresh'):
    parser.add_argument(flag, help='of host_monitor; means nothing here')
  return parser.parse_args(words)


def main():
  arguments = arguments_of(sys.argv[1:])
  # Before the bus is made, so that its threads inherit the blocked signals.
  ends = {signal.SIGINT, signal.SIGTERM}
  signal.pthread_sigmask(signal.SIG_BLOCK, ends)

  bus = mycelium.MessageBus.from_topology(arguments.topology, 'detector')
  anomalies = bus.publisher(Anomaly)
  detector = Detector(anomalies.publish)
  # On a thread of its own: the node's thread goes on reading meanwhile.
  samples = bus.subscribe(HostSample, detector.on_sample, queued=True)
  if arguments.run_for is None:
    signal.sigwait(ends)
  else:
    signal.sigtimedwait(ends, arguments.run_for)
  try:
    bus.close()
  finally:
    if arguments.report_json:
      with open(arguments.report_json, 'w', encoding='utf-8') as file:
        json.dump(report_of(bus), file)
  # Python has printed each of these errors; their samples count as delivered.
  if samples.callback_errors:
    sys.exit(f'detector: not handled, of samples: {samples.callback_errors}')


if __name__ == '__main__':
  main()
