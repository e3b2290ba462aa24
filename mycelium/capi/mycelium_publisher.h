/* Publishers and loans. Programs include mycelium.h, whose conventions hold
   here. */
#ifndef MYCELIUM_CAPI_MYCELIUM_PUBLISHER_H_
#define MYCELIUM_CAPI_MYCELIUM_PUBLISHER_H_

#include <stddef.h>
#include <stdint.h>

#include "mycelium/capi/mycelium_errors.h"
#include "mycelium/capi/mycelium_events.h"
#include "mycelium/capi/mycelium_handles.h"
#include "mycelium/capi/mycelium_options.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct MyceliumPublisher MyceliumPublisher;

/* With NULL as `service_name` it reaches every subscription. `options` may be
   NULL.
     INVALID_ARGUMENT     a name has more than 255 bytes or is not UTF-8, or the
                          name of the service is empty; or the timeout is out of
                          its bounds
     NOT_FOUND            the topology has no such service
     FAILED_PRECONDITION  the runtime was closed */
MyceliumPublisher* mycelium_publisher_create(
    MyceliumRuntime* runtime, const MyceliumType* type,
    const char* service_name, const MyceliumPublisherOptions* options);
void mycelium_publisher_destroy(MyceliumPublisher* publisher);

/* The topic: the name of the type, unless another one was given. Valid as long
   as the publisher; NULL for NULL. */
const char* mycelium_publisher_topic(const MyceliumPublisher* publisher);

/* As mycelium_publish(). */
mycelium_status mycelium_publisher_publish(MyceliumPublisher* publisher,
                                           const void* data, size_t size);

/* The same, but never waits for room: RESOURCE_EXHAUSTED at once. */
mycelium_status mycelium_publisher_try_publish(MyceliumPublisher* publisher,
                                               const void* data, size_t size);

/* The same as these two, with fewer copies of a message that several
   subscriptions read. From 16 KiB on they make one copy for all of them, in a
   loan, instead of one in each lane, if two or more queues can have a share of
   it: queues of this process, or of others that read in shared memory. */
mycelium_status mycelium_publisher_publish_shared(MyceliumPublisher* publisher,
                                                  const void* data,
                                                  size_t size);
mycelium_status mycelium_publisher_try_publish_shared(
    MyceliumPublisher* publisher, const void* data, size_t size);

/* Waits until at least `count` subscriptions get what is published.
     DEADLINE_EXCEEDED    there were fewer; the message says which node is not
                          connected
     FAILED_PRECONDITION  a subscription was refused, because its type or schema
                          digest differs; or the runtime was closed; or a
                          callback calls this on the thread that would bring
                          the subscriptions
     RESOURCE_EXHAUSTED   there were fewer, because one had no lane; if it is of
                          another node, until the end of the timeout */
mycelium_status mycelium_publisher_wait_for_subscribers(
    MyceliumPublisher* publisher, size_t count, int64_t timeout_ms);

/* `*count` becomes how many subscriptions get what is published now. */
mycelium_status mycelium_publisher_subscriber_count(
    const MyceliumPublisher* publisher, size_t* count);

/* Calls `callback` on this thread for each subscription to the topic that does
   not get what is published, as long as the reason holds. The refusal is valid
   for the call, and its message says whose subscription it is:
     FAILED_PRECONDITION  its type, or the schema digest that its service was
                          given, differs
     RESOURCE_EXHAUSTED   there is no memory for its lane, or no lane left; if
                          it is of another node, this node tries again */
mycelium_status mycelium_publisher_refusals(
    const MyceliumPublisher* publisher,
    void (*callback)(const MyceliumRefusal* refusal, void* user), void* user);

/* For an event loop that never waits for room: it uses
   mycelium_publisher_try_...() or a publish_timeout_ms of 0. `*descriptor` is
   for poll() or epoll: readable when there may be room for the last message
   that was refused with RESOURCE_EXHAUSTED or UNAVAILABLE, and from then on
   until another one is refused. The publisher keeps owning it, and it is always
   the same one. With poll_by_caller, watch mycelium_runtime_descriptor() as
   well. RESOURCE_EXHAUSTED: no descriptor was available. */
mycelium_status mycelium_publisher_room_descriptor(MyceliumPublisher* publisher,
                                                   int* descriptor);

/* The same as a callback: calls `callback` once, as soon as there may be room
   for that message. It is called at once, on this thread, if there is room or
   no message was refused; else on the thread that made the room, maybe with
   locks held. So it must not wait, and must call nothing of this header. It and
   `user` must stay valid until it was called, or the last handle that uses the
   node is destroyed; destroying the publisher does not cancel it. */
mycelium_status mycelium_publisher_call_when_room(MyceliumPublisher* publisher,
                                                  void (*callback)(void* user),
                                                  void* user);

/* Room for one message, to be written to and then published. It may outlive its
   publisher, but cannot be published then. */
typedef struct MyceliumLoan MyceliumLoan;

/* The address at which a loan begins is a multiple of this. */
#define MYCELIUM_LOAN_ALIGNMENT 64

/* `*data` becomes the address to write `size` bytes to, valid until the loan is
   published or destroyed; for a size of 0, any value. INVALID_ARGUMENT: larger
   than a frame may be. */
MyceliumLoan* mycelium_loan_create(MyceliumPublisher* publisher, size_t size,
                                   void** data);
/* As mycelium_publish(). After OK the data is gone, and publishing again is
   FAILED_PRECONDITION; after any other status the loan may be published again.
 */
mycelium_status mycelium_loan_publish(MyceliumLoan* loan);
/* `*in_place` becomes 1 if every present subscriber would read the data where
   they are, and 0 if mycelium_loan_publish() would copy them for some. */
mycelium_status mycelium_loan_in_place(const MyceliumLoan* loan,
                                       int32_t* in_place);
/* A loan that was not published leaves no trace. */
void mycelium_loan_destroy(MyceliumLoan* loan);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* MYCELIUM_CAPI_MYCELIUM_PUBLISHER_H_ */
