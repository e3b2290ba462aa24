"""The use cases of the release notes, as the table of the guide: each is run."""

import os
import re
import unittest

from examples.microservices import demo as microservices
from examples.ml_pipeline import demo as ml_pipeline
from examples.trading import demo as trading

COUNT = 1000


def trading_flows(said):
  """Transport and sums, as the other examples give them, of what it printed."""
  transport = re.search(r'signals over (\w+) ', said).group(1)
  return [
      dict(transport=transport, accepted=int(accepted), delivered=int(delivered),
           dropped=int(dropped))
      for accepted, delivered, dropped in re.findall(
          r'accepted (\d+), delivered (\d+), dropped (\d+)', said)]


def run_trading(run):
  return trading_flows(run(COUNT))


def run_pipeline(topology):
  return ml_pipeline.run(topology, COUNT)[1].values()


def run_microservices(topology):
  return microservices.run(topology)[1].values()


# Use case, topology, and the function that runs it.
USE_CASES = [
    ('Trading, the model inside the C++ program',
     'examples/trading/embedded.toml', lambda: run_trading(trading.embedded)),
    ('Trading, the model in a process of its own',
     'examples/trading/separate.toml', lambda: run_trading(trading.separate)),
    ('Machine learning, each step a process',
     'examples/ml_pipeline/processes.toml',
     lambda: run_pipeline('processes.toml')),
    ('The same, the model on another machine',
     'examples/ml_pipeline/remote_model.toml',
     lambda: run_pipeline('remote_model.toml')),
    ('Microservices, in one process', 'examples/microservices/together.toml',
     lambda: run_microservices('together.toml')),
    ('Microservices, in three', 'examples/microservices/apart.toml',
     lambda: run_microservices('apart.toml')),
]


class UseCasesTest(unittest.TestCase):

  def row(self, use_case, topology, run):
    flows = list(run())
    transports = sorted({flow['transport'] for flow in flows}, reverse=True)
    accepted = sum(flow['accepted'] for flow in flows)
    delivered = sum(flow['delivered'] for flow in flows)
    self.assertEqual(sum(flow['dropped'] for flow in flows), 0, flows)
    self.assertGreaterEqual(accepted, COUNT)
    print(f'{use_case}: accepted {accepted}, delivered {delivered}')
    whole = accepted == delivered
    return [use_case, f'`{topology}`', ', '.join(transports),
            'all' if whole else f'{delivered} of {accepted}']

  def test_guide_has_the_table_of_what_was_run(self):
    rows = [['Use case', 'Topology', 'Messages over', 'Delivered'], ['---'] * 4]
    rows += [self.row(*use_case) for use_case in USE_CASES]
    lines = ['| ' + ' | '.join(row) + ' |' for row in rows]
    lines[1] = lines[1].replace(' ', '')
    table = '\n'.join(lines)
    print(table)
    with open(os.environ['GUIDE'], encoding='utf-8') as guide:
      text = guide.read()
    shown = text.split('<!-- use cases -->\n')[1].split(
        '\n<!-- /use cases -->')[0]
    self.assertEqual(shown, table)


if __name__ == '__main__':
  unittest.main()
