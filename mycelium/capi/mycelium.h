/* clang-format off */
/* C interface to Mycelium, in libmycelium.so. Conventions:
   (1) Handles are opaque. Each ..._create...() has one ..._destroy(), which
       accepts NULL too. Handles may be destroyed in any order: each keeps what
       it needs of the others.
   (2) Functions that can fail return mycelium_status: 0 is OK, other values
       equal those of absl::StatusCode and of gRPC; a create function returns
       NULL instead.
   (3) After NULL or a status that is not 0, mycelium_last_error() is this
       thread's message text, valid until the thread's next mycelium_ call.
   (4) Buffers and strings that are passed are borrowed for the call. Strings
       end with NUL and are UTF-8.
   (5) Unless a comment says otherwise, several threads may use a handle at
       once; destroy it only while no other call uses it. Only one thread at a
       time may use a loan, or receive from a subscriber. Callbacks may call
       every function, those that destroy handles included, except those that
       say "not from a callback": these would wait for the callback, so they
       return FAILED_PRECONDITION. Nothing here may be called from a signal
       handler. In the child of a fork() a call with a handle from before the
       fork returns FAILED_PRECONDITION; destroying such a handle does nothing,
       and its memory is not freed. The child may create runtimes of its own,
       which work over gRPC only if the parent had not used it. A child that was
       forked in a callback must not return from it.
   (6) Times are in milliseconds and not negative; 0 does not wait.
   (7) Initialise a struct that you fill with its ..._INIT, which sets
       struct_size and the defaults; not all defaults are 0. New fields are only
       ever added at the end. The library takes structs of older headers: a
       field that such a struct lacks has its default. A struct of a newer
       header is an error.
   (8) NULL where a value is needed, a wrong size, a negative time and a number
       that is no value of an enum are INVALID_ARGUMENT everywhere, and crash
       nothing. The other errors of a function are listed there; if none are,
       it has none. A handle that was destroyed must not be used again.

   Guide, with an example that a test runs: docs/c_abi.md. */
/* clang-format on */
#ifndef MYCELIUM_CAPI_MYCELIUM_H_
#define MYCELIUM_CAPI_MYCELIUM_H_

#include <stddef.h>
#include <stdint.h>

#include "mycelium/capi/mycelium_errors.h"
#include "mycelium/capi/mycelium_events.h"
#include "mycelium/capi/mycelium_handles.h"
#include "mycelium/capi/mycelium_options.h"
#include "mycelium/capi/mycelium_publisher.h"
#include "mycelium/capi/mycelium_subscriber.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Versions */

/* Raised only when programs that were compiled before no longer work. */
#define MYCELIUM_ABI_VERSION 1

/* MYCELIUM_ABI_VERSION of the library that runs. */
uint32_t mycelium_abi_version(void);

/* The release of the library that runs, as "1.2.3". */
const char* mycelium_version(void);

/* Message types */

/* Bytes that only publishers and subscribers without a digest exchange.
   INVALID_ARGUMENT: the name is empty. */
MyceliumType* mycelium_type_create_raw(const char* name);

/* A Protobuf type whose digest is known, as mycelium_schema generates it. A
   mismatch is noticed but not explained. `digest_size` is 32.
   INVALID_ARGUMENT: the name is empty. */
MyceliumType* mycelium_type_create(const char* name, const uint8_t* digest,
                                   size_t digest_size);

/* A Protobuf type from a serialised google.protobuf.FileDescriptorSet that has
   its file and everything that this file imports.
     INVALID_ARGUMENT  the name is empty, the set does not parse, or files of it
                       import one another in a circle or a chain of over 256
     NOT_FOUND         the type, or something that it needs, is not in the set
 */
MyceliumType* mycelium_type_create_from_descriptors(const char* name,
                                                    const void* descriptors,
                                                    size_t descriptors_size);

/* Copies the digest; that of a raw type is the digest of its name.
   `digest_size` is 32. */
mycelium_status mycelium_type_digest(const MyceliumType* type, uint8_t* digest,
                                     size_t digest_size);

void mycelium_type_destroy(MyceliumType* type);

/* Runtimes */

/* Without a topology: within the process, plus the sockets at which the runtime
   listens, or that it dials, by hand. `options` may be NULL.
     INVALID_ARGUMENT    a name is not valid, or a limit or setting is out of
                         bounds, which the message says
     RESOURCE_EXHAUSTED  no file descriptor or no thread was available */
MyceliumRuntime* mycelium_runtime_create(const MyceliumRuntimeOptions* options);

/* A service of a topology file. Other runtimes of its node in this process, in
   any language, share the node and exchange pointers. NULL as the path stands
   for the file that MYCELIUM_TOPOLOGY names.
     INVALID_ARGUMENT     the file has errors; the message lists all of them
     NOT_FOUND            no such file, or no such service in it
     ALREADY_EXISTS       another process, or another runtime, is that service
     PERMISSION_DENIED    the folder of sockets belongs to another user
     FAILED_PRECONDITION  the file has changed since this process loaded it
     UNAVAILABLE          the node of this process is ending; try again when
                          the call that ends it has returned
     RESOURCE_EXHAUSTED   no file descriptor or no thread was available */
MyceliumRuntime* mycelium_runtime_create_from_topology(
    const char* topology_path, const char* service_name);
MyceliumRuntime* mycelium_runtime_create_from_topology_with(
    const char* topology_path, const char* service_name,
    const MyceliumRuntimeOptions* options);

/* Without a topology, on the one node that all such runtimes of this process
   share, in any language: how a program meets the Python that it embeds. The
   options of the first runtime apply to all of them, except the schema digest.
   NULL as the name: one is made up. Errors as for the two functions above. */
MyceliumRuntime* mycelium_runtime_create_of_process(
    const char* service_name, const MyceliumRuntimeOptions* options);

/* Does not wait for what is in flight: see mycelium_runtime_shutdown(). The
   node ends with the last handle that uses it. */
void mycelium_runtime_destroy(MyceliumRuntime* runtime);

/* The names of the service and of its node, made up if none was given. Valid as
   long as the runtime; NULL for NULL. */
const char* mycelium_runtime_service(const MyceliumRuntime* runtime);
const char* mycelium_runtime_node(const MyceliumRuntime* runtime);

/* Waits for what this service published and what came for it, then ends the
   service: from then on its calls return FAILED_PRECONDITION, except those for
   counts. With the last runtime of a node in this process, the node ends too.
   Not from a callback. DEADLINE_EXCEEDED: the service ended, but some messages
   were not handled and count as dropped. A second call waits for the end of the
   first. */
mycelium_status mycelium_runtime_close(MyceliumRuntime* runtime,
                                       int64_t timeout_ms);

/* `*closed` becomes 1 if mycelium_runtime_close() is done, else 0. A shutdown
   does not count. */
mycelium_status mycelium_runtime_closed(const MyceliumRuntime* runtime,
                                        int32_t* closed);

/* Waits in the same way for every service of the node in this process, and ends
   the node. Not from a callback. */
mycelium_status mycelium_runtime_shutdown(MyceliumRuntime* runtime,
                                          int64_t timeout_ms);

/* Waits until what this node has published so far was handled. Not from a
   callback. DEADLINE_EXCEEDED: it was not handled in time; the message names a
   lane that still has messages. */
mycelium_status mycelium_runtime_flush(MyceliumRuntime* runtime,
                                       int64_t timeout_ms);

/* FAILED_PRECONDITION, with both digests in the text, unless `digest` is the
   schema digest that the runtime was given. `digest_size` is 32. */
mycelium_status mycelium_runtime_verify_digest(const MyceliumRuntime* runtime,
                                               const uint8_t* digest,
                                               size_t digest_size);

/* The first accepts peers at the path of a Unix socket until the runtime is
   closed, shut down or destroyed. The second keeps dialling that path. Both
   ends publish and subscribe.
     INVALID_ARGUMENT     the path is empty or longer than 107 bytes
     ALREADY_EXISTS       to listen: another socket listens there, or the file
                          is no socket
     UNAVAILABLE          to listen: there is no such directory
     PERMISSION_DENIED    to listen: this user may not listen there
     RESOURCE_EXHAUSTED   to listen: no file descriptor was available, or other
                          processes keep the directory locked
     FAILED_PRECONDITION  the node was shut down
     DEADLINE_EXCEEDED    a callback has kept the node's thread for 10 s;
                          nothing was done */
mycelium_status mycelium_runtime_listen_unix(MyceliumRuntime* runtime,
                                             const char* path);
mycelium_status mycelium_runtime_connect_unix(MyceliumRuntime* runtime,
                                              const char* path);

/* The same through shared memory: the path is that of the socket over which the
   two sides meet. `capacity` is the size of each lane in bytes, of which a
   message takes at most half. To listen, 0 stands for 1 MiB. To connect, 0
   stands for any capacity up to 64 MiB; with another number a peer that has a
   different capacity is refused. If one side cannot share memory, the link goes
   over the socket. Errors as above, and:
     INVALID_ARGUMENT     the capacity is less than 4 KiB or more than 1 GiB
     UNAVAILABLE          to listen: this system lacks what sharing memory
                          needs */
mycelium_status mycelium_runtime_listen_shm(MyceliumRuntime* runtime,
                                            const char* path, size_t capacity);
mycelium_status mycelium_runtime_connect_shm(MyceliumRuntime* runtime,
                                             const char* path);
mycelium_status mycelium_runtime_connect_shm_with(MyceliumRuntime* runtime,
                                                  const char* path,
                                                  size_t capacity);

/* The same between machines, over gRPC: `address` is "host:port", as gRPC takes
   it. To listen, port 0 stands for any free port, and an address without a host
   for all interfaces. `*port` becomes the port at which the node listens;
   `port` may be NULL. A link that may not be in the clear, or is refused, is
   logged and counts in MyceliumStats as one that is not up.
     INVALID_ARGUMENT     no port, or none up to 65535; or, to listen, no such
                          host, or a file of `tls_...` cannot be read
     ALREADY_EXISTS       another socket listens there
     FAILED_PRECONDITION  it is no address of this machine; or, to listen, what
                          goes beyond this machine would be in the clear; or the
                          node was shut down
     PERMISSION_DENIED    this user may not listen there
     UNAVAILABLE          gRPC cannot listen there, as the message says
     UNIMPLEMENTED        the program was linked without gRPC
     DEADLINE_EXCEEDED    as above */
mycelium_status mycelium_runtime_listen_grpc(MyceliumRuntime* runtime,
                                             const char* address,
                                             int32_t* port);
mycelium_status mycelium_runtime_connect_grpc(MyceliumRuntime* runtime,
                                              const char* address);

/* Stops listening at `address`: the path, or "host:port" with the port that was
   chosen for 0. Links that were accepted stay. Not from a callback.
     NOT_FOUND          this runtime does not listen there
     DEADLINE_EXCEEDED  a callback has kept the node's thread for a second: the
                        node listens there until that callback returns */
mycelium_status mycelium_runtime_stop_listening(MyceliumRuntime* runtime,
                                                const char* address);

/* With poll_by_caller: runs what is due, waiting for it up to `timeout_ms`.
   `*ran` becomes 1 if there was something, else 0; `ran` may be NULL.
   FAILED_PRECONDITION: the node has a thread for that, or has ended, or a
   callback that this function runs calls it. */
mycelium_status mycelium_runtime_poll(MyceliumRuntime* runtime,
                                      int64_t timeout_ms, int32_t* ran);
/* For an epoll of the caller's: readable when mycelium_runtime_poll() would
   find something. The runtime keeps owning it. */
mycelium_status mycelium_runtime_descriptor(const MyceliumRuntime* runtime,
                                            int* descriptor);

/* Publishing: publishers and loans are in mycelium_publisher.h. */

/* Publishes to every subscription of the type, or to those of one service. OK:
   the message is accepted. It will be delivered to each subscription that is
   matched now, or counted with the reason why not. Any other status: no
   subscription got it.
     RESOURCE_EXHAUSTED   a subscription had no room for long enough. The call
                          waits for it once; after that calls fail at once until
                          the subscription has made some room, which
                          mycelium_publisher_call_when_room() tells
     UNAVAILABLE          the service, or the subscriber of a full lane, is not
                          connected
     NOT_FOUND            the topology has no such service
     INVALID_ARGUMENT     larger than a frame may be; or `service_name` is empty
     FAILED_PRECONDITION  the types differ, or the runtime was closed
   The first call for a type makes a publisher, which each later call looks up;
   a MyceliumPublisher, of mycelium_publisher.h, saves the look-up. */
mycelium_status mycelium_publish(MyceliumRuntime* runtime,
                                 const MyceliumType* type, const void* data,
                                 size_t size);
mycelium_status mycelium_publish_to(MyceliumRuntime* runtime,
                                    const char* service_name,
                                    const MyceliumType* type, const void* data,
                                    size_t size);

/* Counts */

/* "no_subscriber", "subscriber_gone", ...; NULL if there is no such reason. */
const char* mycelium_drop_reason_name(size_t reason);

/* Calls `callback` on this thread for each flow; `flow` is valid for the call.
 */
mycelium_status mycelium_runtime_ledger(
    const MyceliumRuntime* runtime,
    void (*callback)(const MyceliumFlow* flow, void* user), void* user);

/* The way to another node: whether it is up, over what, and why not. */
typedef struct MyceliumLink {
  const char* peer; /* "" while no node has answered at `address` */
  const char* transport;
  const char* address; /* dialled; "" if it is up and the peer dialled us */
  const char* rule;    /* why this transport */
  int32_t is_up;
  const char* last_error; /* why it is not up; "" while it is */
  const char* fallback;   /* why memory is not shared as configured, or "" */
} MyceliumLink;

/* Calls `callback` on this thread for each link; `link` is valid for the call.
 */
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

/* What happened to the links that were accepted where this runtime listens by
   hand. A frame is a message, which may be for several subscriptions of the
   peer; bytes are those that frames take in lanes, headers included. */
typedef struct MyceliumEndpointStats {
  size_t struct_size;
  uint64_t connections;        /* whose handshake has succeeded */
  uint64_t handshake_failures; /* refused, unless connected already or its
                                  name is taken; or garbage; or silent */
  uint64_t frames_sent;
  uint64_t bytes_sent;
  uint64_t frames_received;
  uint64_t bytes_received;
  uint64_t stalls;  /* how often a publisher waited for room in vain */
  uint64_t dropped; /* accepted, and not delivered, by this side */
} MyceliumEndpointStats;
#define MYCELIUM_ENDPOINT_STATS_INIT \
  { sizeof(MyceliumEndpointStats), 0, 0, 0, 0, 0, 0, 0, 0 }

/* Takes locks that publishers take: for monitoring, a few times a second at
   most. */
mycelium_status mycelium_runtime_endpoint_stats(const MyceliumRuntime* runtime,
                                                MyceliumEndpointStats* stats);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* MYCELIUM_CAPI_MYCELIUM_H_ */
