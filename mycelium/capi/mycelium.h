/* clang-format off */
/* C interface to Mycelium, in libmycelium.so. Conventions:
   (1) Handles are opaque. Each ..._create...() has one ..._destroy(), which
       takes NULL too. Handles may be destroyed in any order: each keeps what it
       needs of the others.
   (2) Functions that can fail return mycelium_status: 0 is OK, other values
       equal those of absl::StatusCode and of gRPC; a create function returns
       NULL instead.
   (3) After NULL or a status that is not 0, mycelium_last_error() is this
       thread's message text, valid until the thread's next mycelium_ call.
   (4) Buffers and strings that are passed are borrowed for the call. Strings
       end with NUL and are UTF-8.
   (5) Unless a comment says otherwise, a handle may be used from any thread,
       but destroyed only while no other call uses it.
   (6) Times are in milliseconds and not negative; 0 does not wait.
   (7) Structs that the caller fills begin with struct_size, which its ..._INIT
       sets. Fields are only ever added, at the end. A library takes structs of
       older headers, and what these lack has its default; one of a newer header
       is an error.
   (8) NULL where something is needed, a wrong size, a number that is none of an
       enum and a call at the wrong time are errors, never crashes. A handle
       that was destroyed must not be used again.

   Guide, with an example that a test runs: docs/c_abi.md. */
/* clang-format on */
#ifndef MYCELIUM_CAPI_MYCELIUM_H_
#define MYCELIUM_CAPI_MYCELIUM_H_

#include <stddef.h>
#include <stdint.h>

#include "mycelium/capi/mycelium_errors.h"
#include "mycelium/capi/mycelium_events.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Versions */

/* Raised only when a program that was compiled before no longer works. */
#define MYCELIUM_ABI_VERSION 1

/* MYCELIUM_ABI_VERSION of the library that runs. */
uint32_t mycelium_abi_version(void);

/* The release of the library that runs, as "1.2.3". */
const char* mycelium_version(void);

/* Message types */

/* The name of a type and its digest, which both sides compare. */
typedef struct MyceliumType MyceliumType;

/* Bytes that only publishers and subscribers without a digest get. */
MyceliumType* mycelium_type_create_raw(const char* name);

/* A Protobuf type whose digest is known, as mycelium_schema generates it. A
   mismatch is noticed but not explained. `digest_size` is 32. */
MyceliumType* mycelium_type_create(const char* name, const uint8_t* digest,
                                   size_t digest_size);

/* A Protobuf type from a serialised google.protobuf.FileDescriptorSet with its
   file and all that this imports. NOT_FOUND: something is not in the set. */
MyceliumType* mycelium_type_create_from_descriptors(const char* name,
                                                    const void* descriptors,
                                                    size_t descriptors_size);

/* Copies the digest; a raw type's is of its name. `digest_size` is 32. */
mycelium_status mycelium_type_digest(const MyceliumType* type, uint8_t* digest,
                                     size_t digest_size);

void mycelium_type_destroy(MyceliumType* type);

/* Runtimes */

/* One service's end of the bus. */
typedef struct MyceliumRuntime MyceliumRuntime;

typedef struct MyceliumRuntimeOptions {
  size_t struct_size;
  /* 32 bytes, or NULL: a service that was given another one is refused. */
  const uint8_t* schema_digest;
  size_t schema_digest_size;
  /* Without a topology: the name of this process; NULL makes one up. */
  const char* node;
  /* Not 0: no thread is started. mycelium_runtime_poll(), and whatever waits,
     run the node. */
  int32_t poll_by_caller;
  /* Without a topology, for what leaves this machine. PEM files, or NULL: who
     listens needs a certificate with its key, who connects the CA that signed
     it. */
  const char* tls_certificate;
  const char* tls_key;
  const char* tls_ca;
  /* Not 0: who listens refuses peers without a certificate. */
  int32_t tls_require_client_certificate;
  /* Not 0: it may be in the clear. */
  int32_t insecure;
  /* Not 0: peers of other machines that show no certificate may connect. */
  int32_t allow_anonymous;
  /* Each may be NULL; without `log`, the log is on standard error. */
  mycelium_on_connection on_connection;
  void* on_connection_user;
  mycelium_on_flow on_flow;
  void* on_flow_user;
  mycelium_log log;
  void* log_user;
} MyceliumRuntimeOptions;
#define MYCELIUM_RUNTIME_OPTIONS_INIT                                         \
  {                                                                           \
    sizeof(MyceliumRuntimeOptions), NULL, 0, NULL, 0, NULL, NULL, NULL, 0, 0, \
        0, NULL, NULL, NULL, NULL, NULL, NULL                                 \
  }

/* Without a topology: within the process, plus the sockets that are listened
   at or dialled by hand. `options` may be NULL. */
MyceliumRuntime* mycelium_runtime_create(const MyceliumRuntimeOptions* options);

/* A service of a topology file; other runtimes of its node in this process, in
   any language, share the node and exchange pointers. NULL as the path stands
   for the file that MYCELIUM_TOPOLOGY names.
     INVALID_ARGUMENT     the file has errors; lists all of them
     NOT_FOUND            no such file, or no such service in it
     ALREADY_EXISTS       another process, or another runtime, is that service
     FAILED_PRECONDITION  the file has changed since this process loaded it */
MyceliumRuntime* mycelium_runtime_create_from_topology(
    const char* topology_path, const char* service_name);
MyceliumRuntime* mycelium_runtime_create_from_topology_with(
    const char* topology_path, const char* service_name,
    const MyceliumRuntimeOptions* options);

/* Does not wait for what is in flight: see mycelium_runtime_shutdown(). The
   node ends with the last handle that uses it. */
void mycelium_runtime_destroy(MyceliumRuntime* runtime);

/* Waits for what this service published and what came for it, and ends it; with
   the last runtime of a node in this process, the node ends too. Otherwise as
   mycelium_runtime_shutdown(). */
mycelium_status mycelium_runtime_close(MyceliumRuntime* runtime,
                                       int64_t timeout_ms);

/* Waits for what is in flight and ends the node, for every service of it in
   this process. Not from a callback (FAILED_PRECONDITION). DEADLINE_EXCEEDED:
   it ended, but some messages were not handled and count as dropped. */
mycelium_status mycelium_runtime_shutdown(MyceliumRuntime* runtime,
                                          int64_t timeout_ms);

/* Waits until what this node has published so far was handled. Not from a
   callback. */
mycelium_status mycelium_runtime_flush(MyceliumRuntime* runtime,
                                       int64_t timeout_ms);

/* FAILED_PRECONDITION, with both digests in the text, unless `digest` is the
   schema digest that the runtime was given. `digest_size` is 32. */
mycelium_status mycelium_runtime_verify_digest(const MyceliumRuntime* runtime,
                                               const uint8_t* digest,
                                               size_t digest_size);

/* Accepts peers at the path of a Unix socket until the runtime is closed, shut
   down or destroyed, or keeps dialling there. Both ends publish and subscribe.
 */
mycelium_status mycelium_runtime_listen_unix(MyceliumRuntime* runtime,
                                             const char* path);
mycelium_status mycelium_runtime_connect_unix(MyceliumRuntime* runtime,
                                              const char* path);

/* The same through shared memory: the path is that of the socket over which the
   two sides meet. `capacity` is the size of each lane in bytes; a message takes
   at most half of it; 0 stands for 1 MiB. Where one side cannot share memory, a
   link goes over the socket. */
mycelium_status mycelium_runtime_listen_shm(MyceliumRuntime* runtime,
                                            const char* path, size_t capacity);
mycelium_status mycelium_runtime_connect_shm(MyceliumRuntime* runtime,
                                             const char* path);

/* The same between machines, over gRPC: `address` is "host:port", as gRPC takes
   it; port 0: one that is free. `*port`, which may be NULL, becomes the one
   that is listened at. A link that may not be in the clear, or is refused, is
   logged and counts in MyceliumStats as one that is not up.
     INVALID_ARGUMENT     no port, or none up to 65535
     ALREADY_EXISTS       it is taken, or no address of this machine
     FAILED_PRECONDITION  to listen would be in the clear beyond this machine
     UNIMPLEMENTED        the program was linked without gRPC */
mycelium_status mycelium_runtime_listen_grpc(MyceliumRuntime* runtime,
                                             const char* address,
                                             int32_t* port);
mycelium_status mycelium_runtime_connect_grpc(MyceliumRuntime* runtime,
                                              const char* address);

/* With poll_by_caller: runs what is due, waiting for it up to `timeout_ms`.
   `*ran`, which may be NULL, becomes 1 if there was something, else 0. */
mycelium_status mycelium_runtime_poll(MyceliumRuntime* runtime,
                                      int64_t timeout_ms, int32_t* ran);
/* For an epoll of the caller's: readable when mycelium_runtime_poll() would
   find something. It stays the runtime's. */
mycelium_status mycelium_runtime_descriptor(const MyceliumRuntime* runtime,
                                            int* descriptor);

/* Publishing */

/* Publishes to every subscription of the type, or to those of one service. OK:
   accepted, which is to say delivered to each subscription that is matched now,
   or counted with the reason why not. Anything else: nobody got it.
     RESOURCE_EXHAUSTED   a subscription has had no room for long enough
     UNAVAILABLE          the service, or the subscriber of a full lane, is not
                          connected
     NOT_FOUND            the topology has no such service
     INVALID_ARGUMENT     larger than a frame may be
     FAILED_PRECONDITION  the types differ, or the runtime was shut down
   The first call for a type makes a publisher; a MyceliumPublisher saves the
   look-up. */
mycelium_status mycelium_publish(MyceliumRuntime* runtime,
                                 const MyceliumType* type, const void* data,
                                 size_t size);
mycelium_status mycelium_publish_to(MyceliumRuntime* runtime,
                                    const char* service_name,
                                    const MyceliumType* type, const void* data,
                                    size_t size);

typedef struct MyceliumPublisher MyceliumPublisher;

typedef struct MyceliumPublisherOptions {
  size_t struct_size;
  const char* topic;          /* NULL: the name of the type */
  int32_t publish_time;       /* not 0: stamp each message with the time */
  int64_t publish_timeout_ms; /* -1: as the topology says */
} MyceliumPublisherOptions;
#define MYCELIUM_PUBLISHER_OPTIONS_INIT \
  { sizeof(MyceliumPublisherOptions), NULL, 0, -1 }

/* `service_name` NULL: reaches every subscription. `options` may be NULL. */
MyceliumPublisher* mycelium_publisher_create(
    MyceliumRuntime* runtime, const MyceliumType* type,
    const char* service_name, const MyceliumPublisherOptions* options);
void mycelium_publisher_destroy(MyceliumPublisher* publisher);

/* As mycelium_publish(). */
mycelium_status mycelium_publisher_publish(MyceliumPublisher* publisher,
                                           const void* data, size_t size);

/* Waits until at least `count` subscriptions get what is published. */
mycelium_status mycelium_publisher_wait_for_subscribers(
    MyceliumPublisher* publisher, size_t count, int64_t timeout_ms);

/* Room for one message, to be written to and then published. A loan belongs to
   one thread at a time. */
typedef struct MyceliumLoan MyceliumLoan;

/* `*data` becomes where to write `size` bytes. */
MyceliumLoan* mycelium_loan_create(MyceliumPublisher* publisher, size_t size,
                                   void** data);
/* After OK the data is gone; after anything else it may be published again. */
mycelium_status mycelium_loan_publish(MyceliumLoan* loan);
/* Unpublished, it leaves no trace. */
void mycelium_loan_destroy(MyceliumLoan* loan);

/* Subscribing */

typedef struct MyceliumMessage {
  const uint8_t* data;
  size_t size;
  const char* topic;
  const char* type_name;
  const char* publisher_node;
  const char* publisher_service;
  uint64_t sequence;       /* counts the messages of that publisher from 1 */
  int64_t publish_time_ns; /* since the Unix epoch; 0: not stamped */
  uint64_t lost_before;    /* dropped by this subscription's overflow policy */
  int32_t redelivered;     /* an earlier process may have handled it */
} MyceliumMessage;

/* Where a callback runs. */
enum {
  MYCELIUM_INLINE = 0, /* on the thread that publishes, or the node's */
  MYCELIUM_QUEUED = 1  /* on a thread of its own */
};

/* What happens when a subscription has no room. */
enum {
  MYCELIUM_OVERFLOW_CONFIGURED = 0, /* as the topology says */
  MYCELIUM_OVERFLOW_BLOCK = 1,
  MYCELIUM_OVERFLOW_FAIL = 2,
  MYCELIUM_OVERFLOW_DROP_NEWEST = 3,
  MYCELIUM_OVERFLOW_DROP_OLDEST = 4,
  MYCELIUM_OVERFLOW_LATEST = 5,
  MYCELIUM_OVERFLOW_DISCONNECT = 6
};

typedef struct MyceliumSubscriberOptions {
  size_t struct_size;
  const char* topic; /* NULL: the name of the type */
  const char* name;  /* tells two subscriptions to one topic apart; or NULL */
  int32_t delivery;  /* of a callback */
  int32_t overflow;
  int64_t depth;  /* of a lossy policy, in messages; 0: as configured */
  int64_t window; /* the same */
  /* Or NULL: a publisher that it was matched with is gone, and will not come
     back as the same process. */
  mycelium_on_publisher_gone on_publisher_gone;
  void* on_publisher_gone_user;
} MyceliumSubscriberOptions;
#define MYCELIUM_SUBSCRIBER_OPTIONS_INIT \
  { sizeof(MyceliumSubscriberOptions), NULL, NULL, 0, 0, 0, 0, NULL, NULL }

/* The message and what it points at are valid until the callback returns. */
typedef void (*mycelium_callback)(const MyceliumMessage* message, void* user);

typedef struct MyceliumSubscription MyceliumSubscription;

/* Calls `callback` for every message, never on two threads at once. It may call
   everything but what says "not from a callback". `options` may be NULL. */
MyceliumSubscription* mycelium_subscribe(
    MyceliumRuntime* runtime, const MyceliumType* type,
    mycelium_callback callback, void* user,
    const MyceliumSubscriberOptions* options);

/* Ends and destroys the subscription. When this returns, no callback is under
   way and none will come, so that `user` may go; called from the callback
   itself, that is the last one. What is queued counts as dropped. */
void mycelium_unsubscribe(MyceliumSubscription* subscription);

/* OK, or why some publisher's messages do not come. */
mycelium_status mycelium_subscription_status(
    const MyceliumSubscription* subscription);

/* A queue that the caller takes messages from. One thread at a time receives;
   it may be another one each time. */
typedef struct MyceliumSubscriber MyceliumSubscriber;

MyceliumSubscriber* mycelium_subscriber_create(
    MyceliumRuntime* runtime, const MyceliumType* type,
    const MyceliumSubscriberOptions* options);
void mycelium_subscriber_destroy(MyceliumSubscriber* subscriber);

/* The next message, waiting for one. `*message` is valid until the next receive
   of this subscriber, which is also when the message counts as handled.
     DEADLINE_EXCEEDED    none came in time; also under a timeout of 0
     FAILED_PRECONDITION  none came, and a publisher was refused since its type
                          differs (said once); or the runtime was shut down */
mycelium_status mycelium_subscriber_receive(MyceliumSubscriber* subscriber,
                                            int64_t timeout_ms,
                                            const MyceliumMessage** message);

/* Says that the last message is handled, before the next receive would. */
mycelium_status mycelium_subscriber_finish(MyceliumSubscriber* subscriber);

/* For an epoll of the caller's: readable once a message came after a receive
   with timeout 0 that found none. It stays the subscriber's. */
mycelium_status mycelium_subscriber_descriptor(MyceliumSubscriber* subscriber,
                                               int* descriptor);

/* Counts */

/* "no_subscriber", "subscriber_gone", ...; NULL if there is no such reason. */
const char* mycelium_drop_reason_name(size_t reason);

/* Calls `callback` on this thread for each flow, valid for the call. */
mycelium_status mycelium_runtime_ledger(
    const MyceliumRuntime* runtime,
    void (*callback)(const MyceliumFlow* flow, void* user), void* user);

/* The way to another node: whether it is up, over what, and why not. */
typedef struct MyceliumLink {
  const char* peer; /* "" while nobody has answered at `address` */
  const char* transport;
  const char* address; /* what is dialled; "" if it is up and the peer did */
  const char* rule;    /* why this transport */
  int32_t is_up;
  const char* last_error; /* why it is not up; "" while it is */
  const char* fallback;   /* why memory is not shared that was to be, or "" */
} MyceliumLink;

/* Calls `callback` on this thread for each link, valid for the call. */
mycelium_status mycelium_runtime_links(
    const MyceliumRuntime* runtime,
    void (*callback)(const MyceliumLink* link, void* user), void* user);

/* The sums over all flows, and the links to other nodes. */
typedef struct MyceliumStats {
  size_t struct_size;
  uint64_t accepted;
  uint64_t delivered;
  uint64_t in_flight;
  uint64_t dropped;
  uint64_t links;    /* known, whether up or not */
  uint64_t links_up; /* of them */
} MyceliumStats;
#define MYCELIUM_STATS_INIT \
  { sizeof(MyceliumStats), 0, 0, 0, 0, 0, 0 }

mycelium_status mycelium_runtime_stats(const MyceliumRuntime* runtime,
                                       MyceliumStats* stats);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* MYCELIUM_CAPI_MYCELIUM_H_ */
