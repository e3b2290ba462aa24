"""A service in Python: prints the version of Mycelium."""

import mycelium

print('mycelium', mycelium.__version__)
