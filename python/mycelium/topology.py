"""Topology files: which transport carries what, without opening a bus."""

import os
from typing import Any, Dict, List, Optional, Union

import _mycelium

Path = Union[str, 'os.PathLike[str]']


class Topology:
  """A topology file that was read and found valid.

  It is a value: the file is not watched, and any thread may use it.
  """

  def __init__(self, native: '_mycelium.Topology') -> None:
    """Not for users: see load()."""
    self._native = native

  @classmethod
  def load(cls, path: Path) -> 'Topology':
    """Reads a file.

    Raises:
      InvalidArgument: the file has errors, all of which the text lists.
      NotFound: there is no such file.
      PermissionDenied: this user may not read it.
    """
    return cls(_mycelium.Topology(os.fspath(path)))

  @property
  def path(self) -> str:
    return self._native.path

  @property
  def digest(self) -> str:
    """The digest of what the file means, in hex; equal for equal files."""
    return self._native.digest

  @property
  def nodes(self) -> List[Dict[str, Any]]:
    """A dict for each node: name, services, host and port."""
    return self._native.nodes

  def connection_info(self, target_service: str,
                      from_service: Optional[str] = None) -> Dict[str, str]:
    """How messages reach a service, of whatever topic.

    Args:
      target_service: the name of a service, or of a node.
      from_service: the service that publishes. None: some node of this machine
        that is not in the file.

    Returns:
      transport: 'inproc', 'shm', 'unix' or 'grpc'.
      address: what is dialled: a path, a host:port, or '' in one process.
      node: the node that hosts the service.
      rule: what in the file decides this, for people.

    Raises:
      NotFound: there is no such service; the text names the nearest.
    """
    return self._native.connection_info(target_service, from_service or '')

  def explain(self, from_service: str, target_service: str) -> str:
    """The same in one line, for people."""
    info = self.connection_info(target_service, from_service)
    where = f' at {info["address"]}' if info['address'] else ''
    return (f'{from_service} -> {target_service}: {info["transport"]}{where} '
            f'({info["rule"]})')
