"""mycelium.Topology says what the runtime will do."""

import pathlib
import unittest

import mycelium
from python.bus_case import BusCase

TEXT = '''
[[nodes]]
name = "field"
services = ["sampler", "logger"]

[[nodes]]
name = "control"
services = ["watch"]
'''


class TopologyTest(BusCase):

  def test_connection_info_names_transport_address_node_and_rule(self):
    topology = mycelium.Topology.load(pathlib.Path(self.topology(TEXT)))
    info = topology.connection_info('watch', from_service='sampler')
    self.assertEqual(info['transport'], 'unix')
    self.assertEqual(info['address'], self.path('control.sock'))
    self.assertEqual(info['node'], 'control')
    self.assertIn('same', info['rule'])
    inside = topology.connection_info('logger', 'sampler')
    self.assertEqual((inside['transport'], inside['address']), ('inproc', ''))

  def test_without_a_publisher_it_is_for_any_other_node(self):
    topology = mycelium.Topology.load(self.topology(TEXT))
    for service in ('watch', 'sampler'):
      self.assertEqual(
          topology.connection_info(service)['transport'], 'unix')

  def test_explain_is_one_line(self):
    topology = mycelium.Topology.load(self.topology(TEXT))
    self.assertRegex(
        topology.explain('sampler', 'watch'),
        r'^sampler -> watch: unix at /.*/control\.sock \(.*\)$')

  def test_nodes_and_digest(self):
    topology = mycelium.Topology.load(self.topology(TEXT))
    self.assertEqual(
        [(node['name'], node['services']) for node in topology.nodes],
        [('field', ['sampler', 'logger']), ('control', ['watch'])])
    self.assertRegex(topology.digest, '^[0-9a-f]{64}$')
    self.assertEqual(topology.path, self.path('topology.toml'))

  def test_errors_are_those_of_the_parser(self):
    with self.assertRaisesRegex(mycelium.NotFound, 'sampler'):
      mycelium.Topology.load(self.topology(TEXT)).connection_info('sampelr')
    with self.assertRaisesRegex(mycelium.InvalidArgument, r'toml:\d+:\d+'):
      mycelium.Topology.load(self.topology('[[node]]\nname = "x"'))
    with self.assertRaises(mycelium.NotFound):
      mycelium.Topology.load('/no/such.toml')


if __name__ == '__main__':
  unittest.main()
