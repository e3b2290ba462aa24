/* A service that ends well when it is told to: docs/stopping.md. */
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "mycelium/capi/mycelium.h"

static int Fail(const char* what) {
  fprintf(stderr, "%s: %s\n", what, mycelium_last_error());
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  // [run]
  /* Before the runtime: its threads inherit that no signal interrupts them. */
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, NULL);

  MyceliumRuntime* runtime =
      mycelium_runtime_create_from_topology(argv[1], "sampler");
  if (runtime == NULL) return Fail("create");
  MyceliumType* tick = mycelium_type_create_raw("plant.tick");
  MyceliumPublisher* ticks =
      mycelium_publisher_create(runtime, tick, "watch", NULL);
  if (ticks == NULL) return Fail("publisher");

  if (mycelium_publisher_wait_for_subscribers(ticks, 1, 10000) != MYCELIUM_OK) {
    return Fail("wait");
  }
  int32_t number = 0;
  const struct timespec period = {0, 1000000};
  while (sigtimedwait(&ends, NULL, &period) < 0) {
    ++number;
    if (mycelium_publisher_publish(ticks, &number, sizeof number) !=
        MYCELIUM_OK) {
      Fail("not sent");
    }
  }
  /* From here on nothing is published. */
  printf("stopping after %d\n", (int)number);
  fflush(stdout);
  mycelium_status handled = mycelium_runtime_flush(runtime, 10000);
  if (handled != MYCELIUM_OK) Fail("flush");
  mycelium_status closed = mycelium_runtime_close(runtime, 5000);
  if (closed != MYCELIUM_OK) Fail("close");
  MyceliumStats stats = MYCELIUM_STATS_INIT;
  mycelium_runtime_stats(runtime, &stats);
  printf("lost: %d\n", (int)(stats.dropped + stats.in_flight));
  mycelium_publisher_destroy(ticks);
  mycelium_type_destroy(tick);
  mycelium_runtime_destroy(runtime);
  return handled == MYCELIUM_OK && closed == MYCELIUM_OK ? 0 : 1;
  // [/run]
}
