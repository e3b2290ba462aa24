"""For the tests of services: what became of every message.

The counts are the nodes' own, so ask when nothing moves any more, as after
flush() of those who publish; and give a bus of every node that took part, since
of two nodes the one counts what it accepted and the other what it delivered.
"""

from typing import Any, Callable, Dict, List, Set

from mycelium.bus import MessageBus

_ENDS = ('topic', 'publisher_node', 'publisher_service', 'subscriber_node',
         'subscriber_service', 'subscription_name')
_COUNTS = ('accepted', 'delivered', 'in_flight')


def check_ledger(*buses: MessageBus) -> None:
  """Each message that was accepted was delivered, dropped for a reason, or is
  in flight.

  Raises:
    AssertionError: a line for each flow that is not as it should be, with its
      counts and, if a node's are missing, which. Or nothing was published at
      all, which shows nothing.
  """
  _check(buses, _balances)


def check_all_delivered(*buses: MessageBus) -> None:
  """Each message that was accepted was delivered.

  Raises:
    AssertionError: as check_ledger().
  """
  _check(buses, _was_delivered)


def _open_or_dropped(flow: Dict[str, Any]) -> int:
  return int(flow['in_flight']) + sum(
      int(number) for number in flow['dropped'].values())


def _balances(flow: Dict[str, Any]) -> bool:
  return int(flow['accepted']) == int(flow['delivered']) + _open_or_dropped(flow)


def _was_delivered(flow: Dict[str, Any]) -> bool:
  return _open_or_dropped(flow) == 0 and _balances(flow)


def _check(buses: Any, is_right: Callable[[Dict[str, Any]], bool]) -> None:
  nodes: Set[str] = set()
  flows = _merge(buses, nodes)
  wrong = [_describe(flow, nodes) for flow in flows if not is_right(flow)]
  if wrong:
    raise AssertionError('\n'.join(wrong))
  if not any(flow['accepted'] for flow in flows):
    raise AssertionError(
        f'no message was accepted by {", ".join(sorted(nodes))}: there is '
        'nothing to check')


def _merge(buses: Any, nodes: Set[str]) -> List[Dict[str, Any]]:
  """The flows of all nodes, each once, with the counts of both ends."""
  merged: Dict[Any, Dict[str, Any]] = {}
  for bus in buses:
    if bus.node in nodes:
      continue
    nodes.add(bus.node)
    for flow in bus.ledger():
      key = tuple(flow[end] for end in _ENDS)
      known = merged.setdefault(key, flow)
      if known is flow:
        continue
      for count in _COUNTS:
        known[count] += flow[count]
      for reason, number in flow['dropped'].items():
        known['dropped'][reason] = known['dropped'].get(reason, 0) + number
  return list(merged.values())


def _describe(flow: Dict[str, Any], nodes: Set[str]) -> str:
  dropped = ''.join(f', dropped[{reason}] {number}'
                    for reason, number in flow['dropped'].items() if number)
  missing = ''.join(
      f'; what {node} counted is missing: its bus is not among those given'
      for node in (flow['publisher_node'], flow['subscriber_node'])
      if node and node not in nodes)
  return (f'{flow["topic"]}, {flow["publisher_node"]}/'
          f'{flow["publisher_service"]} -> {flow["subscriber_node"]}/'
          f'{flow["subscriber_service"]}: accepted {flow["accepted"]}, '
          f'delivered {flow["delivered"]}{dropped}, in flight '
          f'{flow["in_flight"]}{missing}')
