"""Refuses the import where the extension cannot work or aborts the program."""

import _mycelium_guard

if _mycelium_guard.has_runtime_of_its_own():
  raise ImportError(
      'this program has Mycelium linked into it statically, and would have it '
      'twice; link it with @mycelium//mycelium:shared instead of '
      '@mycelium//mycelium')

import _mycelium  # isort:skip pylint: disable=wrong-import-position

_mycelium.check_interpreter()
