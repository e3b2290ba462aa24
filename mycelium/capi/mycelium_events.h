/* What a runtime reports besides messages. Programs include mycelium.h, whose
   conventions hold here. */
#ifndef MYCELIUM_CAPI_MYCELIUM_EVENTS_H_
#define MYCELIUM_CAPI_MYCELIUM_EVENTS_H_

#include <stddef.h>
#include <stdint.h>

#include "mycelium/capi/mycelium_errors.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Callbacks that options may have, besides those for messages. Each is called
   with the `user` field that follows it, on the thread that runs the node, one
   at a time, and must not wait. Its arguments are valid for the call. It may
   call every function except those that say "not from a callback". If several
   runtimes share a node, the callbacks of the first one are called. Callbacks
   and `user` must stay valid until the last handle that uses the node is
   destroyed. */

/* What became of the link to another node. */
enum {
  MYCELIUM_CONNECTED = 0,
  MYCELIUM_RECONNECTED = 1,  /* to the same process; nothing was lost */
  MYCELIUM_DISCONNECTED = 2, /* and tried again */
  MYCELIUM_REFUSED = 3,      /* one side does not want the other */
  MYCELIUM_GONE = 4          /* it left, or did not come back in time */
};
typedef struct MyceliumConnectionEvent {
  const char* peer; /* "" if it never said its name */
  const char* transport;
  int32_t state;
  mycelium_status status; /* why it is not up, if so */
  const char* message;    /* the text of `status`, or "" */
} MyceliumConnectionEvent;
typedef void (*mycelium_on_connection)(const MyceliumConnectionEvent* event,
                                       void* user);

/* What this node has counted of one publisher's messages to one subscription.
   Between two nodes, the publisher's node counts `accepted`, the subscriber's
   node `delivered`. Once nothing moves,
   accepted = delivered + sum of dropped + in_flight. */
typedef struct MyceliumFlow {
  const char* topic;
  const char* publisher_node;
  const char* publisher_service;
  const char* subscriber_node; /* "" if nobody was subscribed */
  const char* subscriber_service;
  const char* subscription_name;
  const char* transport; /* "inproc", "unix", ... */
  uint64_t accepted;
  uint64_t delivered;
  uint64_t in_flight;
  const uint64_t* dropped; /* by reason */
  size_t dropped_count;    /* how many reasons there are */
} MyceliumFlow;

/* Something that a flow of messages suffered. Called soon after the first time,
   then at most once a second with all that happened meanwhile. */
enum {
  MYCELIUM_DROPPED = 0, /* accepted messages will not be delivered */
  MYCELIUM_STALLED = 1  /* a publisher waited for room in vain */
};
typedef struct MyceliumFlowEvent {
  int32_t kind;
  const MyceliumFlow* flow; /* MYCELIUM_DROPPED: whose messages, else NULL */
  size_t reason;            /* of mycelium_drop_reason_name() */
  uint64_t messages;        /* since the event before */
  const char* lane;         /* MYCELIUM_STALLED: where, else "" */
} MyceliumFlowEvent;
typedef void (*mycelium_on_flow)(const MyceliumFlowEvent* event, void* user);

/* A publisher of another node from which a subscription gets no more messages.
 */
typedef struct MyceliumPublisherGone {
  const char* node;
  const char* service;
  const char* topic;
} MyceliumPublisherGone;
typedef void (*mycelium_on_publisher_gone)(const MyceliumPublisherGone* gone,
                                           void* user);

/* Why messages do not come from one side to the other. */
typedef struct MyceliumRefusal {
  mycelium_status status;
  const char* message;
  /* NULL: the reason is not that types, or digests of two services, differ. */
  const MyceliumSchemaMismatch* mismatch;
} MyceliumRefusal;
/* Unlike the others, this callback is called on the thread that found out,
   which may be one that publishes or makes a publisher. */
typedef void (*mycelium_on_error)(const MyceliumRefusal* refusal, void* user);

/* What a node writes to its log. Unlike the others, this callback is called on
   any thread, maybe with locks held, and must call nothing of this header. */
enum {
  MYCELIUM_LOG_INFO = 0,
  MYCELIUM_LOG_WARNING = 1,
  MYCELIUM_LOG_ERROR = 2
};
typedef void (*mycelium_log)(int32_t level, const char* message, void* user);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* MYCELIUM_CAPI_MYCELIUM_EVENTS_H_ */
