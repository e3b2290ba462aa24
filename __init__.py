"""Leads `import mycelium` to python/mycelium.

Bazel puts the folder of all repositories first on sys.path and gives every
external repository an empty __init__.py where it has none. In the build of a
user who calls this repository `mycelium`, that empty module would hide the
package of the same name; so the repository brings this one.
"""

import importlib.util
import os
import sys

_PACKAGE = os.path.join(os.path.dirname(__file__), 'python', 'mycelium')


def _load():
  spec = importlib.util.spec_from_file_location(
      'mycelium',
      os.path.join(_PACKAGE, '__init__.py'),
      submodule_search_locations=[_PACKAGE])
  module = importlib.util.module_from_spec(spec)
  # The import statement returns what it finds here when this module is done.
  sys.modules['mycelium'] = module
  spec.loader.exec_module(module)


if __name__ == 'mycelium':
  _load()
