/* What mycelium.h promises of handles in the child of a fork(). */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mycelium/capi/check.h"
#include "mycelium/capi/mycelium.h"

enum { kForks = 20, kHangSeconds = 60 };

typedef struct Handles {
  MyceliumRuntime* runtime;
  MyceliumType* type;
  MyceliumPublisher* publisher;
  MyceliumLoan* loan;
  MyceliumSubscription* subscription;
  MyceliumSubscriber* subscriber;
} Handles;

static int32_t NotParsed(const MyceliumMessage* message, void* user) {
  (void)message;
  (void)user;
  return 0;
}

static void Forbid(void* user) {
  (void)user;
  CHECK(!"called");
}

static Handles MakeHandles(void) {
  Handles made;
  void* data = NULL;
  made.runtime = mycelium_runtime_create(NULL);
  made.type = mycelium_type_create_raw("plant.Reading");
  made.publisher =
      mycelium_publisher_create(made.runtime, made.type, NULL, NULL);
  made.loan = mycelium_loan_create(made.publisher, 4096, &data);
  made.subscription =
      mycelium_subscribe(made.runtime, made.type, &IgnoreMessage, NULL, NULL);
  MyceliumSubscriberOptions options = MYCELIUM_SUBSCRIBER_OPTIONS_INIT;
  options.name = "pull";
  /* A queue that others fill must not stop a publisher. */
  options.overflow = MYCELIUM_OVERFLOW_LATEST;
  made.subscriber =
      mycelium_subscriber_create(made.runtime, made.type, &options);
  CHECK(made.runtime && made.type && made.publisher && made.loan);
  CHECK(made.subscription && made.subscriber);
  return made;
}

static void DestroyHandles(Handles* made) {
  mycelium_loan_destroy(made->loan);
  mycelium_publisher_destroy(made->publisher);
  mycelium_unsubscribe(made->subscription);
  mycelium_subscriber_destroy(made->subscriber);
  mycelium_runtime_destroy(made->runtime);
  mycelium_type_destroy(made->type);
}

#define CHECK_FORKED(call)                                         \
  do {                                                             \
    CHECK_STATUS(call, MYCELIUM_FAILED_PRECONDITION);              \
    CHECK(strstr(mycelium_last_error(), "before fork()") != NULL); \
  } while (0)
#define CHECK_NOT_MADE(call)                                       \
  do {                                                             \
    CHECK((call) == NULL);                                         \
    CHECK(strstr(mycelium_last_error(), "before fork()") != NULL); \
  } while (0)

static void CheckRuntimeCalls(const Handles* made) {
  MyceliumRuntime* const runtime = made->runtime;
  uint8_t digest[MYCELIUM_DIGEST_BYTES] = {1};
  MyceliumStats stats = MYCELIUM_STATS_INIT;
  MyceliumEndpointStats endpoint_stats = MYCELIUM_ENDPOINT_STATS_INIT;
  int descriptor = -1;
  int32_t closed = 0;
  CHECK_FORKED(mycelium_publish(runtime, made->type, "x", 1));
  CHECK_FORKED(mycelium_publish_to(runtime, "reader", made->type, "x", 1));
  CHECK_FORKED(mycelium_runtime_flush(runtime, kLongMs));
  CHECK_FORKED(mycelium_runtime_poll(runtime, kLongMs, NULL));
  CHECK_FORKED(mycelium_runtime_descriptor(runtime, &descriptor));
  CHECK_FORKED(mycelium_runtime_verify_digest(runtime, digest, sizeof digest));
  CHECK_FORKED(mycelium_runtime_listen_unix(runtime, "/nowhere/u"));
  CHECK_FORKED(mycelium_runtime_connect_unix(runtime, "/nowhere/u"));
  CHECK_FORKED(mycelium_runtime_listen_shm(runtime, "/nowhere/s", 0));
  CHECK_FORKED(mycelium_runtime_connect_shm(runtime, "/nowhere/s"));
  CHECK_FORKED(mycelium_runtime_connect_shm_with(runtime, "/nowhere/s", 4096));
  CHECK_FORKED(mycelium_runtime_listen_grpc(runtime, "127.0.0.1:0", NULL));
  CHECK_FORKED(mycelium_runtime_connect_grpc(runtime, "localhost:http"));
  CHECK_FORKED(mycelium_runtime_stop_listening(runtime, "/nowhere/u"));
  CHECK_FORKED(mycelium_runtime_closed(runtime, &closed));
  CHECK_FORKED(mycelium_runtime_endpoint_stats(runtime, &endpoint_stats));
  CHECK(mycelium_runtime_service(runtime)[0] != '\0');
  CHECK(mycelium_runtime_node(runtime)[0] != '\0');
  CHECK_FORKED(mycelium_runtime_ledger(runtime, &IgnoreFlow, NULL));
  CHECK_FORKED(mycelium_runtime_links(runtime, &IgnoreLink, NULL));
  CHECK_FORKED(mycelium_runtime_stats(runtime, &stats));
  CHECK_FORKED(mycelium_runtime_shutdown(runtime, kLongMs));
  CHECK_FORKED(mycelium_runtime_close(runtime, kLongMs));
  CHECK_NOT_MADE(mycelium_publisher_create(runtime, made->type, NULL, NULL));
  CHECK_NOT_MADE(
      mycelium_subscribe(runtime, made->type, &IgnoreMessage, NULL, NULL));
  CHECK_NOT_MADE(
      mycelium_subscribe_parsing(runtime, made->type, &NotParsed, NULL, NULL));
  CHECK_NOT_MADE(mycelium_subscriber_create(runtime, made->type, NULL));
}

static void CheckEndCalls(const Handles* made) {
  const MyceliumMessage* message = NULL;
  void* data = NULL;
  int descriptor = -1;
  size_t count = 0;
  int32_t flag = 0;
  MyceliumPublisher* const publisher = made->publisher;
  MyceliumSubscriber* const subscriber = made->subscriber;
  CHECK_FORKED(mycelium_publisher_publish(publisher, "x", 1));
  CHECK_FORKED(mycelium_publisher_try_publish(publisher, "x", 1));
  CHECK_FORKED(mycelium_publisher_publish_shared(publisher, "x", 1));
  CHECK_FORKED(mycelium_publisher_try_publish_shared(publisher, "x", 1));
  CHECK_FORKED(mycelium_publisher_subscriber_count(publisher, &count));
  CHECK_FORKED(mycelium_publisher_refusals(publisher, &IgnoreRefusal, NULL));
  CHECK_FORKED(mycelium_publisher_room_descriptor(publisher, &descriptor));
  CHECK_FORKED(mycelium_publisher_call_when_room(publisher, &Forbid, NULL));
  CHECK(strcmp(mycelium_publisher_topic(publisher), "plant.Reading") == 0);
  CHECK_FORKED(mycelium_publisher_wait_for_subscribers(publisher, 1, kLongMs));
  CHECK_NOT_MADE(mycelium_loan_create(publisher, 4096, &data));
  CHECK_FORKED(mycelium_loan_publish(made->loan));
  CHECK_FORKED(mycelium_loan_in_place(made->loan, &flag));
  CHECK_FORKED(mycelium_subscription_status(made->subscription));
  CHECK_FORKED(mycelium_subscriber_receive(subscriber, kLongMs, &message));
  CHECK_FORKED(mycelium_subscriber_status(subscriber));
  CHECK_FORKED(mycelium_subscriber_finish(subscriber));
  CHECK_FORKED(mycelium_subscriber_descriptor(subscriber, &descriptor));
  CHECK_FORKED(mycelium_subscriber_leave_counting(subscriber));
  CHECK_FORKED(mycelium_subscriber_count_undecodable(subscriber));
  CHECK_FORKED(mycelium_subscriber_unsubscribe(subscriber));
  CHECK_FORKED(mycelium_subscriber_closed(subscriber, &flag));
}

static void CheckOwnRuntime(void) {
  Handles made = MakeHandles();
  const MyceliumMessage* message = NULL;
  CHECK_OK(mycelium_publish(made.runtime, made.type, "own", 3));
  CHECK_OK(mycelium_subscriber_receive(made.subscriber, kLongMs, &message));
  CHECK(message->size == 3 && memcmp(message->data, "own", 3) == 0);
  DestroyHandles(&made);
}

static volatile int stop = 0;
static Handles shared;

/* Makes a publisher of the runtime for each type, and so changes its table. */
static void* PublishMany(void* user) {
  uint64_t* const sent = user;
  for (int i = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); ++i) {
    char name[32];
    snprintf(name, sizeof name, "plant.Reading%d", i % 500);
    MyceliumType* const type =
        mycelium_type_create_raw(i % 8 == 0 ? name : "plant.Reading");
    CHECK(type != NULL);
    CHECK_OK(mycelium_publish(shared.runtime, type, &i, sizeof i));
    mycelium_type_destroy(type);
    ++*sent;
  }
  return NULL;
}

int main(void) {
  shared = MakeHandles();
  uint64_t sent = 0;
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, &PublishMany, &sent) == 0);
  for (int i = 0; i < kForks; ++i) {
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      alarm(kHangSeconds);
      CheckRuntimeCalls(&shared);
      CheckEndCalls(&shared);
      CheckOwnRuntime();
      DestroyHandles(&shared);
      exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  }
  __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
  CHECK(pthread_join(thread, NULL) == 0);
  MyceliumStats stats = MYCELIUM_STATS_INIT;
  CHECK_OK(mycelium_subscriber_finish(shared.subscriber));
  CHECK_OK(mycelium_runtime_stats(shared.runtime, &stats));
  /* One for the handler, and one for the queue, or for no subscriber. */
  CHECK(stats.accepted >= sent);
  CHECK(stats.accepted == stats.delivered + stats.dropped + stats.in_flight);
  DestroyHandles(&shared);
  return 0;
}
