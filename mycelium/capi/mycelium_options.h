/* What runtimes, publishers and subscriptions can be made with. Programs
   include mycelium.h, whose conventions hold here. */
#ifndef MYCELIUM_CAPI_MYCELIUM_OPTIONS_H_
#define MYCELIUM_CAPI_MYCELIUM_OPTIONS_H_

#include <stddef.h>
#include <stdint.h>

#include "mycelium/capi/mycelium_events.h"

#ifdef __cplusplus
extern "C" {
#endif

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

/* How threads wait for the next message. */
enum {
  MYCELIUM_WAIT_CONFIGURED = 0, /* as the topology says */
  MYCELIUM_WAIT_SPIN = 1,
  MYCELIUM_WAIT_ADAPTIVE = 2, /* spin a while, then sleep */
  MYCELIUM_WAIT_BLOCK = 3
};

/* Which types of other nodes are taken for those of this one. */
enum {
  MYCELIUM_SCHEMA_EXACT = 0,
  MYCELIUM_SCHEMA_COMPATIBLE = 1 /* also compatible versions: docs/schema.md */
};

/* How messages travel without a topology: what [defaults] is in a topology.
   docs/topology.md has the meaning, default and bounds of each field under its
   name; lanes may be as small as 4 KiB here. -1, or 0 for the two words,
   stands for the default. */
typedef struct MyceliumSettings {
  size_t struct_size;
  int32_t overflow; /* MYCELIUM_OVERFLOW_... */
  int32_t wait;     /* MYCELIUM_WAIT_... */
  int64_t depth;
  int64_t window;
  int64_t lane_bytes;
  int64_t publish_timeout_ms;
  int64_t retain_ms;
  int64_t spin_us; /* microseconds */
} MyceliumSettings;
#define MYCELIUM_SETTINGS_INIT \
  { sizeof(MyceliumSettings), 0, 0, -1, -1, -1, -1, -1, -1 }

/* Bounds of a node without a topology: what [limits] is in a topology. Fields
   as above; two frames of `frame_bytes_max` must fit into `lane_bytes`. */
typedef struct MyceliumLimits {
  size_t struct_size;
  int64_t handshake_ms;
  int64_t frame_bytes_max;
  int64_t links;
  int64_t reconnect_min_ms;
  int64_t reconnect_max_ms;
  int64_t keepalive_ms;
  int64_t redeliver_max;
} MyceliumLimits;
#define MYCELIUM_LIMITS_INIT \
  { sizeof(MyceliumLimits), -1, -1, -1, -1, -1, -1, -1 }

/* If several runtimes share a node, the options of the first one apply, except
   the digest, which each has for itself. */
typedef struct MyceliumRuntimeOptions {
  size_t struct_size;
  /* 32 bytes, or NULL. A service that was given another digest is refused. */
  const uint8_t* schema_digest;
  size_t schema_digest_size;
  /* Without a topology: the name of this process; NULL makes one up. A process
     that is started again under the same name within `retain` gets what the
     process before it had not handled. With a topology, a name other than the
     one in its file is INVALID_ARGUMENT. */
  const char* node;
  /* Not 0: the node has no thread of its own. mycelium_runtime_poll(), and
     every call that waits, run the node. */
  int32_t poll_by_caller;
  /* Without a topology, for what leaves this machine. PEM files, or NULL. The
     side that listens needs a certificate with its key; the side that connects
     needs the CA that signed it. A side that listens without a CA asks for no
     certificate, so peers on other machines can connect only with
     `allow_anonymous`. */
  const char* tls_certificate;
  const char* tls_key;
  const char* tls_ca;
  /* Not 0: the side that listens refuses peers without a certificate. */
  int32_t tls_require_client_certificate;
  /* Not 0: what leaves this machine may be in the clear. */
  int32_t insecure;
  /* Not 0: peers of other machines that show no certificate may connect. */
  int32_t allow_anonymous;
  /* Each may be NULL; without `log`, the log goes to standard error. */
  mycelium_on_connection on_connection;
  void* on_connection_user;
  mycelium_on_flow on_flow;
  void* on_flow_user;
  mycelium_log log;
  void* log_user;
  /* Each may be NULL, for the defaults. With a topology its file sets them, and
     any value but the default is INVALID_ARGUMENT. */
  const MyceliumSettings* settings;
  const MyceliumLimits* limits;
  /* Without a topology, as settings: which users may connect besides this
     one. */
  const int64_t* allow_uids;
  size_t allow_uids_size;
  /* MYCELIUM_WAIT_...; not 0: overrides the topology, or `settings`. */
  int32_t wait;
  /* 0: no subscription of this node gets what the node publishes itself. */
  int32_t delivers_locally;
  /* Without a topology, as settings: MYCELIUM_SCHEMA_... Versions are compared
     only for types that were made from descriptors; other types match only if
     their digests are equal. */
  int32_t schema;
} MyceliumRuntimeOptions;
#define MYCELIUM_RUNTIME_OPTIONS_INIT                                         \
  {                                                                           \
    sizeof(MyceliumRuntimeOptions), NULL, 0, NULL, 0, NULL, NULL, NULL, 0, 0, \
        0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 1, 0   \
  }

/* The options of a publisher. */
typedef struct MyceliumPublisherOptions {
  size_t struct_size;
  const char* topic;          /* NULL: the name of the type */
  int32_t publish_time;       /* not 0: stamp each message with the time */
  int64_t publish_timeout_ms; /* -1: as the topology says; up to an hour */
  int64_t require_subscriber; /* not 0: UNAVAILABLE while there is none */
} MyceliumPublisherOptions;
#define MYCELIUM_PUBLISHER_OPTIONS_INIT \
  { sizeof(MyceliumPublisherOptions), NULL, 0, -1, 0 }

/* Where a callback runs. */
enum {
  MYCELIUM_INLINE = 0, /* on the thread that publishes, or the node's */
  MYCELIUM_QUEUED = 1  /* on a thread of its own */
};

/* The options of a subscription. */
typedef struct MyceliumSubscriberOptions {
  size_t struct_size;
  const char* topic; /* NULL: the name of the type */
  const char* name;  /* tells two subscriptions to one topic apart; or NULL */
  int32_t delivery;  /* of a callback */
  int32_t overflow;
  int64_t depth;  /* of a lossy policy, in messages; 0: as configured */
  int64_t window; /* the same */
  /* May be NULL. Called when a publisher that the subscription was matched with
     is gone, and will not come back as the same process. */
  mycelium_on_publisher_gone on_publisher_gone;
  void* on_publisher_gone_user;
  /* May be NULL. Called once for each reason that mycelium_subscriber_status()
     may give. */
  mycelium_on_error on_error;
  void* on_error_user;
} MyceliumSubscriberOptions;
#define MYCELIUM_SUBSCRIBER_OPTIONS_INIT                                   \
  {                                                                        \
    sizeof(MyceliumSubscriberOptions), NULL, NULL, 0, 0, 0, 0, NULL, NULL, \
        NULL, NULL                                                         \
  }

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* MYCELIUM_CAPI_MYCELIUM_OPTIONS_H_ */
