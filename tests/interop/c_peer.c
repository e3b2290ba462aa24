/* One side of an exchange, in C. peers.py describes what every language's peer
   does and prints. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mycelium/capi/mycelium.h"
#include "tests/interop/note_digest.h"

enum { kPatienceMs = 20000, kTransportBytes = 16 };

typedef struct Arguments {
  const char* role;
  const char* transport;
  const char* address;
  uint8_t schema_digest[MYCELIUM_DIGEST_BYTES];
  unsigned long long count;
  unsigned long long pause_at; /* 0: never */
} Arguments;

static int Fail(mycelium_status status) {
  printf("error %s %s\n", mycelium_status_name(status), mycelium_last_error());
  return 1;
}

/* The Note of that id, as Protobuf writes it: id (1), text (2). */
static size_t EncodeNote(unsigned long long id, uint8_t* out) {
  size_t size = 0;
  out[size++] = 1 << 3;
  unsigned long long rest = id;
  for (; rest >= 0x80; rest >>= 7) out[size++] = (uint8_t)(rest | 0x80);
  out[size++] = (uint8_t)rest;
  char text[32];
  const int text_size = snprintf(text, sizeof text, "note %llu", id);
  out[size++] = 2 << 3 | 2;
  out[size++] = (uint8_t)text_size;
  memcpy(out + size, text, (size_t)text_size);
  return size + (size_t)text_size;
}

/* The id, which is the first field of such a Note; 0 if there is none. */
static unsigned long long IdOf(const MyceliumMessage* message) {
  if (message->size < 2 || message->data[0] != 1 << 3) return 0;
  unsigned long long id = 0;
  for (size_t i = 1; i < message->size && i < 10; ++i) {
    id |= (unsigned long long)(message->data[i] & 0x7f) << (7 * (i - 1));
    if (message->data[i] < 0x80) return id;
  }
  return 0;
}

static void WaitForLine(void) {
  char line[8];
  if (fgets(line, sizeof line, stdin) == NULL) return;
}

static mycelium_status Open(MyceliumRuntime* runtime, const Arguments* given) {
  if (strcmp(given->transport, "shm") == 0) {
    return strcmp(given->role, "publish") == 0
               ? mycelium_runtime_connect_shm(runtime, given->address)
               : mycelium_runtime_listen_shm(runtime, given->address, 0);
  }
  if (strcmp(given->transport, "grpc") == 0) {
    return strcmp(given->role, "publish") == 0
               ? mycelium_runtime_connect_grpc(runtime, given->address)
               : mycelium_runtime_listen_grpc(runtime, given->address, NULL);
  }
  if (strcmp(given->transport, "topology") == 0) return MYCELIUM_OK;
  if (strcmp(given->transport, "unix") != 0) return MYCELIUM_INVALID_ARGUMENT;
  if (strcmp(given->role, "publish") == 0) {
    return mycelium_runtime_connect_unix(runtime, given->address);
  }
  return mycelium_runtime_listen_unix(runtime, given->address);
}

/* `user`: the transport of the flows, "mixed" if there are several. */
static void NoteTransport(const MyceliumFlow* flow, void* user) {
  char* const transport = user;
  if (*transport != '\0' && strcmp(transport, flow->transport) != 0) {
    strcpy(transport, "mixed");
  } else {
    snprintf(transport, kTransportBytes, "%s", flow->transport);
  }
}

static int SayLedger(const MyceliumRuntime* runtime) {
  MyceliumStats stats = MYCELIUM_STATS_INIT;
  char transport[kTransportBytes] = "";
  mycelium_status status = mycelium_runtime_stats(runtime, &stats);
  if (status == MYCELIUM_OK) {
    status = mycelium_runtime_ledger(runtime, NoteTransport, transport);
  }
  if (status != MYCELIUM_OK) return Fail(status);
  printf("ledger %llu %llu %llu %llu %s\n", (unsigned long long)stats.accepted,
         (unsigned long long)stats.delivered, (unsigned long long)stats.dropped,
         (unsigned long long)stats.in_flight, transport);
  return 0;
}

static int Publish(MyceliumRuntime* runtime, MyceliumPublisher* publisher,
                   const Arguments* given) {
  mycelium_status status =
      mycelium_publisher_wait_for_subscribers(publisher, 1, kPatienceMs);
  if (status == MYCELIUM_OK) printf("matched\n");
  for (unsigned long long id = 1; status == MYCELIUM_OK && id <= given->count;
       ++id) {
    uint8_t note[64];
    status = mycelium_publisher_publish(publisher, note, EncodeNote(id, note));
    if (id == given->pause_at) printf("at %llu\n", id);
  }
  if (status == MYCELIUM_OK) {
    status = mycelium_runtime_flush(runtime, kPatienceMs);
  }
  return status == MYCELIUM_OK ? SayLedger(runtime) : Fail(status);
}

static int Receive(MyceliumSubscriber* notes, const Arguments* given) {
  unsigned long long last = 0;
  while (last < given->count) {
    const MyceliumMessage* message;
    const mycelium_status status =
        mycelium_subscriber_receive(notes, kPatienceMs, &message);
    if (status != MYCELIUM_OK) return Fail(status);
    const unsigned long long id = IdOf(message);
    uint8_t note[64];
    if (message->size != EncodeNote(id, note) ||
        memcmp(message->data, note, message->size) != 0) {
      printf("error DATA_LOSS text of %llu\n", id);
      return 1;
    }
    /* The first id tells where the publisher is; 1 begins a new publisher. */
    if (last != 0 && id != last + 1 && id != 1) {
      printf("error DATA_LOSS %llu after %llu\n", id, last);
      return 1;
    }
    if (last == 0 || id != last + 1) printf("from %llu\n", id);
    last = id;
    if (given->pause_at != 0 && id % given->pause_at == 0) {
      printf("at %llu\n", id);
      WaitForLine();
    }
  }
  const mycelium_status status = mycelium_subscriber_finish(notes);
  if (status != MYCELIUM_OK) return Fail(status);
  printf("received %llu\n", last);
  return 0;
}

static MyceliumRuntime* MakeRuntime(const Arguments* given,
                                    const char* service) {
  MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.schema_digest = given->schema_digest;
  options.schema_digest_size = sizeof given->schema_digest;
  if (strcmp(given->transport, "topology") == 0) {
    return mycelium_runtime_create_from_topology_with(given->address, service,
                                                      &options);
  }
  options.node = service;
  return mycelium_runtime_create(&options);
}

static int RunOne(const Arguments* given, const MyceliumType* type) {
  MyceliumRuntime* const runtime = MakeRuntime(given, given->role);
  if (runtime == NULL) return Fail(MYCELIUM_INTERNAL);
  const int publishes = strcmp(given->role, "publish") == 0;
  MyceliumPublisher* const publisher =
      publishes ? mycelium_publisher_create(runtime, type, NULL, NULL) : NULL;
  MyceliumSubscriber* const notes =
      publishes ? NULL : mycelium_subscriber_create(runtime, type, NULL);
  if (publisher == NULL && notes == NULL) return Fail(MYCELIUM_INTERNAL);
  const mycelium_status opened = Open(runtime, given);
  if (opened != MYCELIUM_OK) return Fail(opened);
  printf("ready\n");
  int result =
      publishes ? Publish(runtime, publisher, given) : Receive(notes, given);
  /* Wait while the other side counts, or has not learnt why it is refused. */
  WaitForLine();
  if (result == 0 && !publishes) result = SayLedger(runtime);
  mycelium_publisher_destroy(publisher);
  mycelium_subscriber_destroy(notes);
  mycelium_runtime_destroy(runtime);
  return result;
}

typedef struct Publishing {
  MyceliumRuntime* runtime;
  MyceliumPublisher* publisher;
  const Arguments* given;
  int result;
} Publishing;

static void* PublishElsewhere(void* argument) {
  Publishing* const publishing = argument;
  publishing->result =
      Publish(publishing->runtime, publishing->publisher, publishing->given);
  return NULL;
}

static int RunBoth(const Arguments* given, const MyceliumType* type) {
  MyceliumRuntime* const publishing = MakeRuntime(given, "publish");
  MyceliumRuntime* const subscribing = MakeRuntime(given, "subscribe");
  if (publishing == NULL || subscribing == NULL) return Fail(MYCELIUM_INTERNAL);
  MyceliumSubscriber* const notes =
      mycelium_subscriber_create(subscribing, type, NULL);
  Publishing other = {publishing, NULL, given, 0};
  other.publisher = mycelium_publisher_create(publishing, type, NULL, NULL);
  if (notes == NULL || other.publisher == NULL) return Fail(MYCELIUM_INTERNAL);
  pthread_t thread;
  if (pthread_create(&thread, NULL, PublishElsewhere, &other) != 0) return 1;
  const int result = Receive(notes, given);
  pthread_join(thread, NULL);
  mycelium_publisher_destroy(other.publisher);
  mycelium_subscriber_destroy(notes);
  mycelium_runtime_destroy(publishing);
  mycelium_runtime_destroy(subscribing);
  return result != 0 ? result : other.result;
}

static int Run(const Arguments* given) {
  MyceliumType* const type = mycelium_type_create(
      "mycelium.test.Note", kNoteDigest, sizeof kNoteDigest);
  if (type == NULL) return Fail(MYCELIUM_INTERNAL);
  const int result = strcmp(given->role, "both") == 0 ? RunBoth(given, type)
                                                      : RunOne(given, type);
  mycelium_type_destroy(type);
  return result;
}

int main(int argc, char** argv) {
  Arguments given;
  if (argc != 7 || strlen(argv[4]) != 2 * MYCELIUM_DIGEST_BYTES) return 2;
  given.role = argv[1];
  given.transport = argv[2];
  given.address = argv[3];
  for (size_t i = 0; i < MYCELIUM_DIGEST_BYTES; ++i) {
    const char byte[3] = {argv[4][2 * i], argv[4][2 * i + 1], '\0'};
    given.schema_digest[i] = (uint8_t)strtoul(byte, NULL, 16);
  }
  given.count = strtoull(argv[5], NULL, 10);
  given.pause_at = strtoull(argv[6], NULL, 10);
  setvbuf(stdout, NULL, _IOLBF, 0);
  return Run(&given);
}
