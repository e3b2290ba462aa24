"""Checks that the package makes before it loads the extension."""

def has_runtime_of_its_own() -> bool:
  """Whether this program has Mycelium linked into it."""
