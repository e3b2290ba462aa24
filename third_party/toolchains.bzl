"""The Python toolchain: Debian's interpreter, whatever `python3` is on PATH."""

def mycelium_register_toolchains():
    """Registers the toolchains that Mycelium's own targets are tested with."""
    native.register_toolchains("@mycelium//third_party/python:toolchain")
