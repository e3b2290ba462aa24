/* What a closed runtime does not do any more, and a runtime that a callback
   destroys in one of its own calls. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "mycelium/capi/check.h"
#include "mycelium/capi/mycelium.h"

static void ClosedRuntimeNeitherListensNorConnects(const char* socket) {
  MyceliumRuntime* const closed =
      mycelium_runtime_create_of_process("closed", NULL);
  MyceliumRuntime* const other =
      mycelium_runtime_create_of_process("other", NULL);
  CHECK(closed != NULL && other != NULL);
  CHECK_OK(mycelium_runtime_close(closed, kLongMs));
  CHECK_STATUS(mycelium_runtime_listen_unix(closed, socket),
               MYCELIUM_FAILED_PRECONDITION);
  CHECK_STATUS(mycelium_runtime_connect_unix(closed, socket),
               MYCELIUM_FAILED_PRECONDITION);
  CHECK(access(socket, F_OK) != 0);
  /* The node goes on. */
  CHECK_OK(mycelium_runtime_listen_unix(other, socket));
  mycelium_runtime_destroy(closed);
  mycelium_runtime_destroy(other);
}

static MyceliumRuntime* polled;

static void DestroyRuntime(const MyceliumMessage* message, void* user) {
  IgnoreMessage(message, user);
  mycelium_runtime_destroy(polled);
  polled = NULL;
}

static void AwaitSubscriptionOfPolled(MyceliumPublisher* publisher) {
  while (mycelium_publisher_wait_for_subscribers(publisher, 1, 1) !=
         MYCELIUM_OK) {
    CHECK_OK(mycelium_runtime_poll(polled, 1, NULL));
  }
}

/* Checks that one message that `peer` has published is over. */
static void CheckOneIsOver(MyceliumRuntime* peer) {
  CHECK_OK(mycelium_runtime_flush(peer, kLongMs));
  MyceliumStats sent = MYCELIUM_STATS_INIT;
  CHECK_OK(mycelium_runtime_stats(peer, &sent));
  CHECK(sent.accepted == 1 && sent.in_flight == 0);
}

static void CallbackDestroysTheRuntimeThatIsClosed(const char* socket) {
  MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.poll_by_caller = 1;
  polled = mycelium_runtime_create(&options);
  MyceliumRuntime* const peer = MakeRuntime();
  MyceliumType* const notes =
      mycelium_type_create("plant.Note", kOneDigest, sizeof kOneDigest);
  MyceliumType* const replies =
      mycelium_type_create("plant.Reply", kOneDigest, sizeof kOneDigest);
  CHECK(polled != NULL && notes != NULL && replies != NULL);
  CHECK_OK(mycelium_runtime_listen_unix(polled, socket));
  CHECK_OK(mycelium_runtime_connect_unix(peer, socket));
  MyceliumSubscription* const subscription =
      mycelium_subscribe(polled, notes, &DestroyRuntime, NULL, NULL);
  MyceliumSubscriber* const slow =
      mycelium_subscriber_create(peer, replies, NULL);
  MyceliumPublisher* const to_peer =
      mycelium_publisher_create(polled, replies, NULL, NULL);
  MyceliumPublisher* const to_polled =
      mycelium_publisher_create(peer, notes, NULL, NULL);
  CHECK(subscription != NULL && slow != NULL);
  CHECK(to_peer != NULL && to_polled != NULL);
  CHECK_OK(mycelium_publisher_wait_for_subscribers(to_peer, 1, kLongMs));
  AwaitSubscriptionOfPolled(to_polled);
  /* What the call waits for, and what it runs meanwhile. */
  CHECK_OK(mycelium_publisher_publish(to_peer, "x", 1));
  CHECK_OK(mycelium_publisher_publish(to_polled, "x", 1));
  CHECK_STATUS(mycelium_runtime_close(polled, 200), MYCELIUM_DEADLINE_EXCEEDED);
  CHECK(polled == NULL);
  mycelium_unsubscribe(subscription);
  mycelium_publisher_destroy(to_peer);
  CHECK(access(socket, F_OK) != 0);

  CheckOneIsOver(peer);
  mycelium_publisher_destroy(to_polled);
  mycelium_subscriber_destroy(slow);
  mycelium_runtime_destroy(peer);
  mycelium_type_destroy(notes);
  mycelium_type_destroy(replies);
}

/* In one of the calls that make `polled` listen, as it waits for its loop. */
static void CallbackDestroysTheRuntimeThatListens(const char* socket,
                                                  int is_shm) {
  MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.poll_by_caller = 1;
  polled = mycelium_runtime_create(&options);
  MyceliumRuntime* const peer = MakeRuntime();
  MyceliumType* const notes =
      mycelium_type_create("plant.Note", kOneDigest, sizeof kOneDigest);
  CHECK(polled != NULL && notes != NULL);
  CHECK_OK(mycelium_runtime_listen_unix(polled, socket));
  CHECK_OK(mycelium_runtime_connect_unix(peer, socket));
  MyceliumSubscription* const subscription =
      mycelium_subscribe(polled, notes, &DestroyRuntime, NULL, NULL);
  MyceliumPublisher* const publisher =
      mycelium_publisher_create(peer, notes, NULL, NULL);
  CHECK(subscription != NULL && publisher != NULL);
  AwaitSubscriptionOfPolled(publisher);
  CHECK_OK(mycelium_publisher_publish(publisher, "x", 1));
  char path[80];
  for (int i = 0; polled != NULL; ++i) {
    snprintf(path, sizeof path, "%s-%d", socket, i);
    CHECK_OK(is_shm ? mycelium_runtime_listen_shm(polled, path, 0)
                    : mycelium_runtime_listen_unix(polled, path));
  }
  CHECK(access(path, F_OK) != 0);
  mycelium_unsubscribe(subscription);
  CheckOneIsOver(peer);
  mycelium_publisher_destroy(publisher);
  mycelium_runtime_destroy(peer);
  mycelium_type_destroy(notes);
}

int main(void) {
  /* A folder of its own: a killed run may have left a socket. */
  char folder[] = "/tmp/myc-letting-go-XXXXXX";
  CHECK(mkdtemp(folder) != NULL);
  char socket[64];
  snprintf(socket, sizeof socket, "%s/s", folder);
  ClosedRuntimeNeitherListensNorConnects(socket);
  CallbackDestroysTheRuntimeThatIsClosed(socket);
  CallbackDestroysTheRuntimeThatListens(socket, 0);
  CallbackDestroysTheRuntimeThatListens(socket, 1);
  CHECK(rmdir(folder) == 0);
  return 0;
}
