"""The service `ml-signals`: a model in Python that answers market data.

The same file runs inside the market's process, which embeds Python, and as a
program of its own. The topology decides which of the two:

    model TOPOLOGY     runs until its standard input ends; prints what it counted
"""

import sys

from mycelium_native import Runtime

from examples.trading.trading_pb2 import MarketData
from examples.trading.trading_pb2 import TradingSignal

PATIENCE = 20.0


class Model:
  """Stands for a trained model: the mean of the features."""

  def predict(self, features):
    return sum(features) / len(features)


def start(topology):
  """Subscribes the model; it works until the returned runtime is closed."""
  model = Model()
  # [in-process]
  runtime = Runtime(
      topology_path=topology,
      service_name='ml-signals'
  )

  def on_market_data(msg):
    signal = model.predict(msg.features)
    runtime.publish(TradingSignal(id=msg.id, signal=signal))

  runtime.subscribe(MarketData, on_market_data)
  # [/in-process]
  return runtime


if __name__ == '__main__':
  with start(sys.argv[1]) as signals:
    sys.stdin.read()
    signals.flush(PATIENCE)
    for flow in signals.ledger():
      # In the format of trading_desk.
      print(f'{flow["topic"]}: accepted {flow["accepted"]}, '
            f'delivered {flow["delivered"]}, '
            f'dropped {sum(flow["dropped"].values())}, '
            f'in flight {flow["in_flight"]}')
