"""Typed publish/subscribe for services: the Python side of Mycelium."""

from _mycelium import version

__version__ = version()

__all__ = ['version']
