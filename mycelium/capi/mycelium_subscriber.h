/* Subscriptions and subscribers. Programs include mycelium.h, whose conventions
   hold here. */
#ifndef MYCELIUM_CAPI_MYCELIUM_SUBSCRIBER_H_
#define MYCELIUM_CAPI_MYCELIUM_SUBSCRIBER_H_

#include <stddef.h>
#include <stdint.h>

#include "mycelium/capi/mycelium_errors.h"
#include "mycelium/capi/mycelium_handles.h"
#include "mycelium/capi/mycelium_options.h"

#ifdef __cplusplus
extern "C" {
#endif

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

/* The message and what it points at are valid until the callback returns. */
typedef void (*mycelium_callback)(const MyceliumMessage* message, void* user);

typedef struct MyceliumSubscription MyceliumSubscription;

/* Calls `callback` for every message, never on two threads at once. `options`
   may be NULL.
     INVALID_ARGUMENT     a name has more than 255 bytes or is no UTF-8; or
                          `depth` or `window` is out of its bounds
     RESOURCE_EXHAUSTED   no memory for its lane, or no thread for a queued one
     FAILED_PRECONDITION  the runtime was closed */
MyceliumSubscription* mycelium_subscribe(
    MyceliumRuntime* runtime, const MyceliumType* type,
    mycelium_callback callback, void* user,
    const MyceliumSubscriberOptions* options);

/* The same for a callback that parses the message. Where it returns 0 it could
   not: the message counts as dropped, undecodable. */
typedef int32_t (*mycelium_parsing_callback)(const MyceliumMessage* message,
                                             void* user);
MyceliumSubscription* mycelium_subscribe_parsing(
    MyceliumRuntime* runtime, const MyceliumType* type,
    mycelium_parsing_callback callback, void* user,
    const MyceliumSubscriberOptions* options);

/* Ends and destroys the subscription. When this returns, no callback is under
   way and none will come, so that `user` may go; called from the callback
   itself, that is the last one. What is queued counts as dropped.

   Where callbacks unsubscribe one another, the last to call does not wait: the
   other one, which waits for it, is still under way then, and uses its `user`.
   If that is to go, unsubscribe outside the callbacks, or in them with
   mycelium_unsubscribe_within(), which says so. */
void mycelium_unsubscribe(MyceliumSubscription* subscription);

/* The same, waiting at most so long for a callback that is under way on another
   thread.
     DEADLINE_EXCEEDED  it still runs. It is the last one, and the subscription
                        is not destroyed: call this again, or
                        mycelium_unsubscribe(), which waits for it */
mycelium_status mycelium_unsubscribe_within(MyceliumSubscription* subscription,
                                            int64_t timeout_ms);

/* OK, or why some publisher's messages do not come, as long as that holds:
     FAILED_PRECONDITION  its type, or its service's schema digest, is another
                          one; see mycelium_last_schema_mismatch()
     RESOURCE_EXHAUSTED   this one fell behind, and its overflow is to be
                          disconnected; or the publisher's node has no memory
                          for its lane, which is tried again; or that node has
                          too many subscriptions already */
mycelium_status mycelium_subscription_status(
    const MyceliumSubscription* subscription);

/* A queue that the caller takes messages from. One thread at a time receives;
   it may be another one each time. */
typedef struct MyceliumSubscriber MyceliumSubscriber;

/* As mycelium_subscribe(). */
MyceliumSubscriber* mycelium_subscriber_create(
    MyceliumRuntime* runtime, const MyceliumType* type,
    const MyceliumSubscriberOptions* options);
void mycelium_subscriber_destroy(MyceliumSubscriber* subscriber);

/* The next message, waiting for one. `*message` is valid until the next receive
   of this subscriber, which is also when the message counts as handled.
     DEADLINE_EXCEEDED    none came in time; also under a timeout of 0
     FAILED_PRECONDITION  none came, and a publisher was refused since its type
                          or schema digest differs (said once); the runtime was
                          closed; or called from a callback on the thread that
                          would bring it
     RESOURCE_EXHAUSTED   none came, and it was disconnected (said once) */
mycelium_status mycelium_subscriber_receive(MyceliumSubscriber* subscriber,
                                            int64_t timeout_ms,
                                            const MyceliumMessage** message);

/* As mycelium_subscription_status(). */
mycelium_status mycelium_subscriber_status(
    const MyceliumSubscriber* subscriber);

/* Says that the last message is handled, before the next receive would. */
mycelium_status mycelium_subscriber_finish(MyceliumSubscriber* subscriber);

/* For who parses the messages: the last one could not be parsed, and counts as
   dropped, undecodable, and not as delivered. For the thread that receives, and
   once mycelium_subscriber_leave_counting() was called, after which a message
   counts when the next one is received, at mycelium_subscriber_finish() or when
   the subscriber is destroyed. FAILED_PRECONDITION: it was not called, or there
   is no message that has not counted. */
mycelium_status mycelium_subscriber_leave_counting(
    MyceliumSubscriber* subscriber);
mycelium_status mycelium_subscriber_count_undecodable(
    MyceliumSubscriber* subscriber);

/* Ends the subscription before its destroying does: nothing comes any more, and
   what is queued counts as dropped. A receive that waits on another thread, and
   every later one, is FAILED_PRECONDITION. The last message stays valid until
   mycelium_subscriber_finish(). Any thread, one at a time. */
mycelium_status mycelium_subscriber_unsubscribe(MyceliumSubscriber* subscriber);

/* `*closed` becomes 1 if no message will come any more: that was called, or the
   runtime was closed; else 0. */
mycelium_status mycelium_subscriber_closed(const MyceliumSubscriber* subscriber,
                                           int32_t* closed);

/* For an epoll of the caller's: readable once a message came after a receive
   with timeout 0 that found none. It stays the subscriber's.
   RESOURCE_EXHAUSTED: none was to be had. */
mycelium_status mycelium_subscriber_descriptor(MyceliumSubscriber* subscriber,
                                               int* descriptor);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* MYCELIUM_CAPI_MYCELIUM_SUBSCRIBER_H_ */
