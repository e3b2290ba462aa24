/* The C sample of the release notes: a service of a topology. */
#include <stdint.h>
#include <stdio.h>

#include "mycelium/capi/mycelium.h"

enum { kPatienceMs = 20000 };

static int Fail(void) {
  fprintf(stderr, "%s\n", mycelium_last_error());
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const char* topology_path = argv[1];
  // [c-runtime]
  MyceliumRuntime* runtime =
      mycelium_runtime_create_from_topology(topology_path, "c-service");
  // [/c-runtime]
  if (runtime == NULL) return Fail();
  MyceliumType* type = mycelium_type_create_raw("samples.bytes");
  MyceliumPublisher* publisher =
      mycelium_publisher_create(runtime, type, "target-service", NULL);
  if (publisher == NULL) return Fail();
  if (mycelium_publisher_wait_for_subscribers(publisher, 1, kPatienceMs) != 0) {
    return Fail();
  }
  if (mycelium_publish_to(runtime, "target-service", type, "from C", 6) != 0) {
    return Fail();
  }
  if (mycelium_runtime_shutdown(runtime, kPatienceMs) != 0) return Fail();
  mycelium_publisher_destroy(publisher);
  mycelium_type_destroy(type);
  mycelium_runtime_destroy(runtime);
  return 0;
}
