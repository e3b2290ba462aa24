/* A loop that never waits for room: it publishes to another process, is told by
   a descriptor or a callback when there may be room, and learns which
   subscribers are refused and why. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mycelium/capi/check.h"
#include "mycelium/capi/mycelium.h"

enum { kMessages = 500, kBytes = 1000, kRetainMs = 100 };

typedef mycelium_status (*Meet)(MyceliumRuntime* runtime, const char* path);

static mycelium_status ListenShm(MyceliumRuntime* runtime, const char* path) {
  return mycelium_runtime_listen_shm(runtime, path, 65536);
}

/* A way for two processes to meet. */
typedef struct Way {
  Meet listen;
  Meet connect;
} Way;
static const Way kShm = {ListenShm, mycelium_runtime_connect_shm};
static const Way kUnix = {mycelium_runtime_listen_unix,
                          mycelium_runtime_connect_unix};

static MyceliumRuntime* MakeNode(const char* node) {
  MyceliumSettings settings = MYCELIUM_SETTINGS_INIT;
  settings.lane_bytes = 65536; /* A few messages fill it. */
  settings.retain_ms = kRetainMs;
  MyceliumLimits limits = MYCELIUM_LIMITS_INIT;
  limits.frame_bytes_max = 4096;
  MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.node = node;
  options.settings = &settings;
  options.limits = &limits;
  MyceliumRuntime* const runtime = mycelium_runtime_create(&options);
  CHECK(runtime != NULL);
  return runtime;
}

static MyceliumStats StatsOf(const MyceliumRuntime* runtime) {
  MyceliumStats stats = MYCELIUM_STATS_INIT;
  CHECK_OK(mycelium_runtime_stats(runtime, &stats));
  return stats;
}

/* Whether the descriptor is readable, or becomes so in time. */
static int IsReadable(int descriptor, int timeout_ms) {
  struct pollfd watched = {descriptor, POLLIN, 0};
  return poll(&watched, 1, timeout_ms) == 1;
}

static void Tell(int pipe) { CHECK(write(pipe, "x", 1) == 1); }

static void AwaitTold(int pipe) {
  char byte;
  CHECK(IsReadable(pipe, kLongMs) && read(pipe, &byte, 1) == 1);
}

/* A process that subscribes, and receives once it is told to. */
typedef struct Reader {
  pid_t process;
  int told;
} Reader;

static void Read(const Way* way, const char* path, int told) {
  MyceliumRuntime* const runtime = MakeNode("reader");
  MyceliumType* const type = MakeType(kOneDigest);
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(runtime, type, NULL);
  CHECK(subscriber != NULL);
  CHECK_OK(way->connect(runtime, path));
  AwaitTold(told);
  for (uint32_t i = 0; i < kMessages; ++i) {
    const MyceliumMessage* message;
    uint32_t got;
    mycelium_status received =
        mycelium_subscriber_receive(subscriber, kLongMs, &message);
    if (received == MYCELIUM_FAILED_PRECONDITION) { /* Said once. */
      received = mycelium_subscriber_receive(subscriber, kLongMs, &message);
    }
    CHECK_OK(received);
    CHECK(message->size == kBytes);
    memcpy(&got, message->data, sizeof got);
    CHECK(got == i);
  }
  CHECK_OK(mycelium_subscriber_finish(subscriber));
  const MyceliumStats stats = StatsOf(runtime);
  CHECK(stats.delivered == kMessages && stats.dropped == 0);
  mycelium_subscriber_destroy(subscriber);
  mycelium_type_destroy(type);
  mycelium_runtime_destroy(runtime);
}

/* Called before this process has a runtime. */
static Reader StartReader(const Way* way, const char* path) {
  int pipes[2];
  CHECK(pipe(pipes) == 0);
  const Reader reader = {fork(), pipes[1]};
  CHECK(reader.process >= 0);
  if (reader.process == 0) {
    close(pipes[1]);
    Read(way, path, pipes[0]);
    exit(0);
  }
  close(pipes[0]);
  return reader;
}

static void AwaitExit(Reader reader) {
  int status;
  CHECK(waitpid(reader.process, &status, 0) == reader.process);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  close(reader.told);
}

static mycelium_status TryPublish(MyceliumPublisher* publisher,
                                  uint32_t number) {
  char data[kBytes] = {0};
  memcpy(data, &number, sizeof number);
  return mycelium_publisher_try_publish(publisher, data, sizeof data);
}

/* Publishes from `number` on until there is no room. Returns the next. */
static uint32_t Fill(MyceliumPublisher* publisher, uint32_t number) {
  while (number < kMessages) {
    const mycelium_status sent = TryPublish(publisher, number);
    if (sent == MYCELIUM_RESOURCE_EXHAUSTED) return number;
    CHECK_OK(sent);
    ++number;
  }
  return number;
}

/* The publishing process of the pair. */
typedef struct Writer {
  char folder[32];
  char path[64];
  Reader reader;
  MyceliumRuntime* runtime;
  MyceliumType* type;
  MyceliumPublisher* publisher;
} Writer;

static Writer Begin(const Way* way) {
  Writer writer = {"/tmp/myc-capi-XXXXXX", "", {0, 0}, NULL, NULL, NULL};
  CHECK(mkdtemp(writer.folder) != NULL);
  snprintf(writer.path, sizeof writer.path, "%s/s", writer.folder);
  writer.reader = StartReader(way, writer.path);
  writer.runtime = MakeNode("writer");
  CHECK_OK(way->listen(writer.runtime, writer.path));
  writer.type = MakeType(kOneDigest);
  writer.publisher =
      mycelium_publisher_create(writer.runtime, writer.type, NULL, NULL);
  CHECK(writer.publisher != NULL);
  CHECK_OK(
      mycelium_publisher_wait_for_subscribers(writer.publisher, 1, kLongMs));
  return writer;
}

static void End(Writer writer) {
  mycelium_publisher_destroy(writer.publisher);
  mycelium_type_destroy(writer.type);
  mycelium_runtime_destroy(writer.runtime);
  CHECK(rmdir(writer.folder) == 0);
}

static void EndWhenAllIsHandled(Writer writer) {
  CHECK_OK(mycelium_runtime_flush(writer.runtime, kLongMs));
  AwaitExit(writer.reader);
  const MyceliumStats stats = StatsOf(writer.runtime);
  CHECK(stats.accepted == kMessages && stats.dropped == 0);
  CHECK(stats.in_flight == 0);
  End(writer);
}

static void TestDescriptorIsReadableWhenAnotherProcessMakesRoom(
    const Way* way) {
  const Writer writer = Begin(way);
  uint32_t number = Fill(writer.publisher, 0);
  CHECK(number > 5 && number < kMessages);
  /* Made after the first refusal, but tells of it all the same. */
  int descriptor = -1, again = -1;
  CHECK_OK(mycelium_publisher_room_descriptor(writer.publisher, &descriptor));
  CHECK_OK(mycelium_publisher_room_descriptor(writer.publisher, &again));
  CHECK(descriptor >= 0 && again == descriptor);
  CHECK(!IsReadable(descriptor, 0));
  Tell(writer.reader.told);
  // [room]
  while (number < kMessages) {
    CHECK(IsReadable(descriptor, kLongMs));
    number = Fill(writer.publisher, number);
  }
  // [/room]
  EndWhenAllIsHandled(writer);
}

static void OnRoom(void* user) { Tell(*(int*)user); }

static void TestCallbackComesWhenAnotherProcessMakesRoom(const Way* way) {
  const Writer writer = Begin(way);
  int room[2];
  CHECK(pipe(room) == 0);
  CHECK_OK(
      mycelium_publisher_call_when_room(writer.publisher, OnRoom, &room[1]));
  AwaitTold(room[0]); /* At once: nothing was refused. */
  uint32_t number = Fill(writer.publisher, 0);
  CHECK_OK(
      mycelium_publisher_call_when_room(writer.publisher, OnRoom, &room[1]));
  CHECK(!IsReadable(room[0], 0));
  Tell(writer.reader.told);
  while (number < kMessages) {
    AwaitTold(room[0]);
    number = Fill(writer.publisher, number);
    if (number == kMessages) break;
    CHECK_OK(
        mycelium_publisher_call_when_room(writer.publisher, OnRoom, &room[1]));
  }
  EndWhenAllIsHandled(writer);
  close(room[0]);
  close(room[1]);
}

static void TestDescriptorIsReadableOnceAKilledReaderIsGivenUp(const Way* way) {
  const Writer writer = Begin(way);
  const uint32_t number = Fill(writer.publisher, 0);
  int descriptor = -1;
  CHECK_OK(mycelium_publisher_room_descriptor(writer.publisher, &descriptor));
  CHECK(!IsReadable(descriptor, 0));
  CHECK(kill(writer.reader.process, SIGKILL) == 0);
  CHECK(waitpid(writer.reader.process, NULL, 0) == writer.reader.process);
  close(writer.reader.told);
  CHECK(IsReadable(descriptor, kLongMs));
  CHECK_OK(TryPublish(writer.publisher, number)); /* To nobody any more. */
  const MyceliumStats stats = StatsOf(writer.runtime);
  CHECK(stats.accepted == number + 1 && stats.dropped == number + 1);
  CHECK(stats.in_flight == 0);
  End(writer);
}

/* Refusals */

typedef struct Refusals {
  int count;
  mycelium_status status;
  char message[256];
} Refusals;

static void OnRefusal(const MyceliumRefusal* refusal, void* user) {
  Refusals* const refusals = user;
  ++refusals->count;
  refusals->status = refusal->status;
  snprintf(refusals->message, sizeof refusals->message, "%s", refusal->message);
  CHECK(refusal->mismatch != NULL);
  CHECK(strcmp(refusal->mismatch->remote_node, "reader") == 0);
  CHECK(memcmp(refusal->mismatch->local_digest, kOtherDigest, 32) == 0);
  CHECK(memcmp(refusal->mismatch->remote_digest, kOneDigest, 32) == 0);
}

static void TestRefusalsSayWhoAndWhyAsLongAsItHolds(const Way* way) {
  const Writer writer = Begin(way);
  size_t count = 99;
  CHECK_OK(mycelium_publisher_subscriber_count(writer.publisher, &count));
  CHECK(count == 1);
  Refusals refusals = {0, MYCELIUM_OK, ""};
  CHECK_OK(mycelium_publisher_refusals(writer.publisher, OnRefusal, &refusals));
  CHECK(refusals.count == 0);
  MyceliumType* const type = MakeType(kOtherDigest);
  MyceliumPublisher* const other =
      mycelium_publisher_create(writer.runtime, type, NULL, NULL);
  CHECK_STATUS(mycelium_publisher_wait_for_subscribers(other, 1, kLongMs),
               MYCELIUM_FAILED_PRECONDITION);
  CHECK_OK(mycelium_publisher_subscriber_count(other, &count));
  CHECK(count == 0);
  CHECK_OK(mycelium_publisher_refusals(other, OnRefusal, &refusals));
  CHECK(refusals.count == 1);
  CHECK(refusals.status == MYCELIUM_FAILED_PRECONDITION);
  CHECK(strstr(refusals.message, "plant.Reading") != NULL);
  mycelium_publisher_destroy(other);
  mycelium_type_destroy(type);
  /* What the reader waits for. */
  Tell(writer.reader.told);
  MyceliumPublisherOptions waiting = MYCELIUM_PUBLISHER_OPTIONS_INIT;
  waiting.publish_timeout_ms = kLongMs;
  MyceliumPublisher* const patient =
      mycelium_publisher_create(writer.runtime, writer.type, NULL, &waiting);
  for (uint32_t i = 0; i < kMessages; ++i) {
    char data[kBytes] = {0};
    memcpy(data, &i, sizeof i);
    CHECK_OK(mycelium_publisher_publish(patient, data, sizeof data));
  }
  CHECK_OK(mycelium_runtime_flush(writer.runtime, kLongMs));
  mycelium_publisher_destroy(patient);
  AwaitExit(writer.reader);
  const MyceliumStats stats = StatsOf(writer.runtime);
  CHECK(stats.accepted == kMessages && stats.dropped == 0);
  CHECK(stats.in_flight == 0);
  End(writer);
}

int main(void) {
  const Way* const ways[] = {&kShm, &kUnix};
  for (size_t i = 0; i < sizeof ways / sizeof *ways; ++i) {
    TestDescriptorIsReadableWhenAnotherProcessMakesRoom(ways[i]);
    TestCallbackComesWhenAnotherProcessMakesRoom(ways[i]);
    TestRefusalsSayWhoAndWhyAsLongAsItHolds(ways[i]);
  }
  /* Over a socket, part of it was on its way. */
  TestDescriptorIsReadableOnceAKilledReaderIsGivenUp(&kShm);
  return 0;
}
