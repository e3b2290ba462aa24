// Reads the byte behind the end of an array, which AddressSanitizer must
// report. With "within" as the argument it reads the last byte.

#include <cstdio>
#include <cstring>
#include <memory>

int main(int argc, char** argv) {
  const bool within = argc > 1 && std::strcmp(argv[1], "within") == 0;
  const std::unique_ptr<char[]> bytes(new char[16]());
  const volatile size_t at = within ? 15 : 16;
  std::printf("read %d\n", bytes[at]);
  return 0;
}
