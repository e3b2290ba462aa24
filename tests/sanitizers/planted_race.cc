// Two threads raise a count without synchronisation, which ThreadSanitizer must
// report. With "ordered" as the argument they do it one after the other.

#include <cstdio>
#include <cstring>
#include <thread>

int main(int argc, char** argv) {
  const bool ordered = argc > 1 && std::strcmp(argv[1], "ordered") == 0;
  int count = 0;
  std::thread other([&] { ++count; });
  if (ordered) other.join();
  ++count;
  if (!ordered) other.join();
  std::printf("counted to %d\n", count);
  return 0;
}
