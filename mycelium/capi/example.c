/* The program of docs/c_abi.md: one service that hears itself. */
#include <stdio.h>

#include "mycelium/capi/mycelium.h"

// [callback]
static void OnReading(const MyceliumMessage* message, void* user) {
  int* const readings = user;
  ++*readings;
  printf("%d reading: %.*s\n", *readings, (int)message->size,
         (const char*)message->data);
}
// [/callback]

static int Fail(const char* what) {
  fprintf(stderr, "%s: %s\n", what, mycelium_last_error());
  return 1;
}

int main(void) {
  printf("mycelium %s\n", mycelium_version());
  // [run]
  MyceliumRuntime* runtime = mycelium_runtime_create(NULL);
  if (runtime == NULL) return Fail("create");
  MyceliumType* reading = mycelium_type_create_raw("plant.reading");
  int readings = 0;
  MyceliumSubscription* subscription =
      mycelium_subscribe(runtime, reading, OnReading, &readings, NULL);
  if (subscription == NULL) return Fail("subscribe");

  mycelium_status sent = mycelium_publish(runtime, reading, "81.5", 4);
  if (sent != MYCELIUM_OK) return Fail(mycelium_status_name(sent));

  mycelium_unsubscribe(subscription); /* No callback from here on. */
  mycelium_type_destroy(reading);
  mycelium_runtime_destroy(runtime);
  // [/run]
  return readings == 1 ? 0 : 1;
}
