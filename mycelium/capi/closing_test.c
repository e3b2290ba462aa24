/* A callback that does not return keeps no caller beyond the deadline, in a
   runtime that listens by hand, too: the callback runs on the thread that would
   stop the listening. */
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "mycelium/capi/check.h"
#include "mycelium/capi/mycelium.h"

enum { kMoreAddresses = 20 };

static double Seconds(void) {
  struct timespec now;
  CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static sem_t is_in_callback, may_return;

static void Wait(const MyceliumMessage* message, void* user) {
  IgnoreMessage(message, user);
  sem_post(&is_in_callback);
  sem_wait(&may_return);
}

int main(void) {
  CHECK(sem_init(&is_in_callback, 0, 0) == 0);
  CHECK(sem_init(&may_return, 0, 0) == 0);
  char folder[] = "/tmp/myc-capi-XXXXXX";
  CHECK(mkdtemp(folder) != NULL);
  char socket[64];
  snprintf(socket, sizeof socket, "%s/s", folder);
  MyceliumRuntime* const listening = MakeRuntime();
  MyceliumRuntime* const dialling = MakeRuntime();
  MyceliumType* const type =
      mycelium_type_create("plant.Reading", kOneDigest, sizeof kOneDigest);
  CHECK_OK(mycelium_runtime_listen_unix(listening, socket));
  char another[64];
  for (int i = 0; i < kMoreAddresses; ++i) {
    snprintf(another, sizeof another, "%s/%d", folder, i);
    CHECK_OK(mycelium_runtime_listen_unix(listening, another));
  }
  CHECK_OK(mycelium_runtime_connect_unix(dialling, socket));
  MyceliumSubscription* const subscription =
      mycelium_subscribe(listening, type, &Wait, NULL, NULL);
  MyceliumPublisher* const publisher =
      mycelium_publisher_create(dialling, type, NULL, NULL);
  CHECK(subscription != NULL && publisher != NULL);
  CHECK_OK(mycelium_publisher_wait_for_subscribers(publisher, 1, kLongMs));
  CHECK_OK(mycelium_publisher_publish(publisher, "x", 1));
  CHECK(sem_wait(&is_in_callback) == 0);

  CHECK_STATUS(mycelium_runtime_stop_listening(listening, another),
               MYCELIUM_DEADLINE_EXCEEDED);
  /* Nor does it wait a while for each address. If this waits for the callback
     itself, it never ends, and the test's own time limit reports that. */
  const double begin = Seconds();
  CHECK_STATUS(mycelium_runtime_close(listening, 100),
               MYCELIUM_DEADLINE_EXCEEDED);
  CHECK(Seconds() - begin < kMoreAddresses / 2);
  CHECK_STATUS(mycelium_unsubscribe_within(subscription, 10),
               MYCELIUM_DEADLINE_EXCEEDED);
  CHECK_STATUS(mycelium_unsubscribe_within(subscription, -1),
               MYCELIUM_INVALID_ARGUMENT);
  CHECK(sem_post(&may_return) == 0);
  CHECK_OK(mycelium_runtime_flush(dialling, kLongMs));
  MyceliumStats sent = MYCELIUM_STATS_INIT;
  CHECK_OK(mycelium_runtime_stats(dialling, &sent));
  CHECK(sent.accepted == 1 && sent.dropped == 0 && sent.in_flight == 0);

  mycelium_publisher_destroy(publisher);
  CHECK_OK(mycelium_unsubscribe_within(subscription, kLongMs));
  mycelium_runtime_destroy(dialling);
  mycelium_runtime_destroy(listening);
  mycelium_type_destroy(type);
  CHECK(rmdir(folder) == 0); /* The sockets are gone. */
  return 0;
}
