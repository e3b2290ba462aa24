"""For the tests of services: what became of every message.

The counts are the nodes' own, so check when nothing moves any more, as after a
flush() of each bus that publishes. What a callback publishes is for the
callback's bus to flush. Give a bus of every node that took part: with two nodes,
one counts what it accepted and the other what it delivered. For a transport, give
its `bus`. A node that was started again is another node.

`topics` limits the check to these topics; on each of them a message has to have
been published. Without `topics` the check is for all, and at least one message
has to have been published.

A message whose callback raised was delivered all the same: look at
Subscription.callback_errors, too.
"""

from typing import Any, Callable, Dict, List, Sequence, Set

from mycelium.bus import MessageBus

_ENDS = ('topic', 'publisher_node', 'publisher_service', 'subscriber_node',
         'subscriber_service', 'subscription_name')
_COUNTS = ('accepted', 'delivered', 'in_flight')


def check_ledger(*buses: MessageBus, topics: Sequence[str] = ()) -> None:
  """Each message that was accepted was delivered, dropped for a reason, or is
  in flight.

  Raises:
    AssertionError: a line for each flow that is not as it should be, with its
      counts and, if those of a node are missing, which node; and a line for each
      topic of which nothing was accepted, so that there is nothing to check.
  """
  _check(buses, topics, _balances)


def check_all_delivered(*buses: MessageBus,
                        topics: Sequence[str] = ()) -> None:
  """Each message that was accepted was delivered.

  Raises:
    AssertionError: as check_ledger().
  """
  _check(buses, topics, _was_delivered)


def _open_or_dropped(flow: Dict[str, Any]) -> int:
  return int(flow['in_flight']) + sum(
      int(number) for number in flow['dropped'].values())


def _balances(flow: Dict[str, Any]) -> bool:
  return int(flow['accepted']) == int(flow['delivered']) + _open_or_dropped(flow)


def _was_delivered(flow: Dict[str, Any]) -> bool:
  return _open_or_dropped(flow) == 0 and _balances(flow)


def _check(buses: Sequence[MessageBus], topics: Sequence[str],
           is_right: Callable[[Dict[str, Any]], bool]) -> None:
  nodes = {bus.node for bus in buses}
  flows = _merge(buses, topics)
  wrong = [_describe(flow, nodes) for flow in flows if not is_right(flow)]
  where = (f' was accepted by {", ".join(sorted(nodes))}: there is nothing to '
           'check')
  carried = {flow['topic'] for flow in flows if flow['accepted']}
  if not wrong and not topics and not carried:
    wrong.append('no message' + where)
  wrong += [f'no message of {topic}{where}'
            for topic in topics if topic not in carried]
  if wrong:
    raise AssertionError('\n'.join(wrong))


def _merge(buses: Sequence[MessageBus],
           topics: Sequence[str]) -> List[Dict[str, Any]]:
  """The flows of all nodes, each once, with the counts of both ends."""
  merged: Dict[Any, Dict[str, Any]] = {}
  seen: Set[int] = set()
  for bus in buses:
    runtime = bus._native.runtime_id  # pylint: disable=protected-access
    if runtime in seen:
      continue
    seen.add(runtime)
    for flow in bus.ledger():
      if topics and flow['topic'] not in topics:
        continue
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
  to = (f'{flow["subscriber_node"]}/{flow["subscriber_service"]}'
        if flow['subscriber_node'] else 'nobody')
  name = f' ({flow["subscription_name"]})' if flow['subscription_name'] else ''
  dropped = ''.join(f', dropped[{reason}] {number}'
                    for reason, number in flow['dropped'].items() if number)
  missing = ''.join(
      f'; what {node} counted is missing: its bus is not among those given'
      for node in (flow['publisher_node'], flow['subscriber_node'])
      if node and node not in nodes)
  return (f'{flow["topic"]}, {flow["publisher_node"]}/'
          f'{flow["publisher_service"]} -> {to}{name}: accepted '
          f'{flow["accepted"]}, delivered {flow["delivered"]}{dropped}, in '
          f'flight {flow["in_flight"]}{missing}')
