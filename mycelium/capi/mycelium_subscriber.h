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
     INVALID_ARGUMENT     a name has more than 255 bytes or is not UTF-8; or
                          `depth` or `window` is out of its bounds
     RESOURCE_EXHAUSTED   there is no memory for its lane or, if it is queued,
                          no thread for it
     FAILED_PRECONDITION  the runtime was closed */
MyceliumSubscription* mycelium_subscribe(
    MyceliumRuntime* runtime, const MyceliumType* type,
    mycelium_callback callback, void* user,
    const MyceliumSubscriberOptions* options);

/* The same for a callback that parses the message. It returns 0 if it could
   not: the message counts as dropped, undecodable. */
typedef int32_t (*mycelium_parsing_callback)(const MyceliumMessage* message,
                                             void* user);
MyceliumSubscription* mycelium_subscribe_parsing(
    MyceliumRuntime* runtime, const MyceliumType* type,
    mycelium_parsing_callback callback, void* user,
    const MyceliumSubscriberOptions* options);

/* Ends and destroys the subscription. When this returns, no callback is under
   way and none will come, so `user` may be freed. If the callback itself calls
   this, that is its last call. What is queued counts as dropped.

   If callbacks unsubscribe one another, the last of them does not wait: the
   other callback, which waits for it, is still under way when this returns, and
   uses its `user`. To free that, unsubscribe outside the callbacks, or in them
   with mycelium_unsubscribe_within(), which returns an error in that case. */
void mycelium_unsubscribe(MyceliumSubscription* subscription);

/* The same, but waits at most that long for a callback that is under way on
   another thread.
     DEADLINE_EXCEEDED  the callback still runs. That call is its last, and the
                        subscription is not destroyed: call this again, or
                        mycelium_unsubscribe(), which waits for it */
mycelium_status mycelium_unsubscribe_within(MyceliumSubscription* subscription,
                                            int64_t timeout_ms);

/* OK, or why some publisher's messages do not come, as long as the reason
   holds:
     FAILED_PRECONDITION  the publisher's type, or its service's schema digest,
                          differs; see mycelium_last_schema_mismatch()
     RESOURCE_EXHAUSTED   this subscription fell behind, and its overflow policy
                          is to disconnect. Or the publisher's node has no
                          memory for its lane, and tries again. Or that node has
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

/* Waits for the next message. `*message` is valid until the next receive of
   this subscriber, which is also when the message counts as handled.
     DEADLINE_EXCEEDED    none came in time; also with a timeout of 0
     FAILED_PRECONDITION  none came, and a publisher was refused because its
                          type or schema digest differs (returned once); or the
                          runtime was closed; or a callback calls this on the
                          thread that would bring the message
     RESOURCE_EXHAUSTED   none came, and the subscriber was disconnected
                          (returned once) */
mycelium_status mycelium_subscriber_receive(MyceliumSubscriber* subscriber,
                                            int64_t timeout_ms,
                                            const MyceliumMessage** message);

/* As mycelium_subscription_status(). */
mycelium_status mycelium_subscriber_status(
    const MyceliumSubscriber* subscriber);

/* Says that the last message is handled, without waiting for the next receive.
 */
mycelium_status mycelium_subscriber_finish(MyceliumSubscriber* subscriber);

/* For a program that parses the messages.
   mycelium_subscriber_count_undecodable() says that the last one could not be
   parsed: it counts as dropped, undecodable, and not as delivered. Only the
   thread that receives may call it, and only after
   mycelium_subscriber_leave_counting(). From then on a message counts when the
   next one is received, at mycelium_subscriber_finish() or when the subscriber
   is destroyed. FAILED_PRECONDITION: that function was not called, or there is
   no message that has not counted yet. */
mycelium_status mycelium_subscriber_leave_counting(
    MyceliumSubscriber* subscriber);
mycelium_status mycelium_subscriber_count_undecodable(
    MyceliumSubscriber* subscriber);

/* Ends the subscription but does not destroy the subscriber: nothing comes any
   more, and what is queued counts as dropped. A receive that waits on another
   thread, and every later one, returns FAILED_PRECONDITION. The last message
   stays valid until mycelium_subscriber_finish(). Any thread, one at a time. */
mycelium_status mycelium_subscriber_unsubscribe(MyceliumSubscriber* subscriber);

/* `*closed` becomes 1 if no message will come any more, because the function
   above was called or the runtime was closed; else 0. */
mycelium_status mycelium_subscriber_closed(const MyceliumSubscriber* subscriber,
                                           int32_t* closed);

/* For an epoll of the caller's: readable once a message came after a receive
   with timeout 0 that found none. The subscriber keeps owning it.
   RESOURCE_EXHAUSTED: no descriptor was available. */
mycelium_status mycelium_subscriber_descriptor(MyceliumSubscriber* subscriber,
                                               int* descriptor);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* MYCELIUM_CAPI_MYCELIUM_SUBSCRIBER_H_ */
