"""Makes a wheel of the package: `build_wheel OUTPUT ARCHIVE_PATH=FILE ...`.

The wheel holds what this build made, for this interpreter and machine: the
package, the extension and, beside it, libmycelium.so. Equal inputs give equal
bytes.
"""

import base64
import hashlib
import os
import sys
import sysconfig
import zipfile

NAME = 'mycelium'
VERSION = '0.3.0'
# The Debian packages with the libraries that are linked, besides those of every
# C++ program. wheel_test checks this list; the guide names them, too.
PACKAGES = [
    'libabsl20220623', 'libgrpc++1.51', 'libgrpc29', 'libprotobuf32', 'libssl3']
METADATA = f'''Metadata-Version: 2.1
Name: {NAME}
Version: {VERSION}
Summary: Typed publish/subscribe for services
Requires-Python: >=3.7
Requires-Dist: protobuf>=3.19
Description-Content-Type: text/markdown

Typed publish/subscribe for services, in C++, Python and C.

This wheel was built on Debian 12; no other system is supported. It needs

    apt-get install {' '.join(PACKAGES)}
'''
# A zip file can hold no time before this.
EPOCH = (1980, 1, 1, 0, 0, 0)


def tag():
  version = f'cp{sys.version_info.major}{sys.version_info.minor}'
  platform = sysconfig.get_platform().replace('-', '_').replace('.', '_')
  return f'{version}-{version}-{platform}'


def record_of(path, data):
  digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
  return f'{path},sha256={digest.decode().rstrip("=")},{len(data)}\n'


def main(output, *files):
  info = f'{NAME}-{VERSION}.dist-info'
  contents = {}
  for pair in files:
    path, _, file = pair.partition('=')
    with open(file, 'rb') as data:
      contents[path] = data.read()
  contents[f'{info}/METADATA'] = METADATA.encode()
  contents[f'{info}/WHEEL'] = (
      'Wheel-Version: 1.0\nGenerator: build_wheel\nRoot-Is-Purelib: false\n'
      f'Tag: {tag()}\n').encode()
  record = ''.join(record_of(path, data) for path, data in contents.items())
  contents[f'{info}/RECORD'] = f'{record}{info}/RECORD,,\n'.encode()
  if not os.path.basename(output).endswith(f'{tag()}.whl'):
    raise SystemExit(f'{output}: expected a name that ends with {tag()}.whl')
  with zipfile.ZipFile(output, 'w', zipfile.ZIP_DEFLATED) as wheel:
    for path, data in contents.items():
      entry = zipfile.ZipInfo(path, EPOCH)
      entry.external_attr = 0o755 << 16 if path.endswith('.so') else 0o644 << 16
      entry.compress_type = zipfile.ZIP_DEFLATED
      wheel.writestr(entry, data)


if __name__ == '__main__':
  main(*sys.argv[1:])
