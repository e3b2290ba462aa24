/* What the C tests check with: a failed CHECK names its line and ends the
   program, so that nothing after it has to cope. */
#ifndef MYCELIUM_CAPI_CHECK_H_
#define MYCELIUM_CAPI_CHECK_H_

#include <stdio.h>
#include <stdlib.h>

#include "mycelium/capi/mycelium.h"

#define CHECK(condition)                                                \
  do {                                                                  \
    if (!(condition)) {                                                 \
      fprintf(stderr, "%s:%d: not so: %s (last error: %s)\n", __FILE__, \
              __LINE__, #condition, mycelium_last_error());             \
      exit(1);                                                          \
    }                                                                   \
  } while (0)

#define CHECK_STATUS(call, expected)                                       \
  do {                                                                     \
    const mycelium_status got_ = (call);                                   \
    if (got_ != (expected)) {                                              \
      fprintf(stderr, "%s:%d: %s: %s is %s, expected %s\n", __FILE__,      \
              __LINE__, #call, mycelium_last_error(),                      \
              mycelium_status_name(got_), mycelium_status_name(expected)); \
      exit(1);                                                             \
    }                                                                      \
  } while (0)

#define CHECK_OK(call) CHECK_STATUS(call, MYCELIUM_OK)

/* Longer than anything takes. */
enum { kLongMs = 20000 };

static const uint8_t kOneDigest[MYCELIUM_DIGEST_BYTES] = {1};
static const uint8_t kOtherDigest[MYCELIUM_DIGEST_BYTES] = {2};

static inline void IgnoreMessage(const MyceliumMessage* message, void* user) {
  (void)message;
  (void)user;
}
static inline void IgnoreFlow(const MyceliumFlow* flow, void* user) {
  (void)flow;
  (void)user;
}
static inline void IgnoreLink(const MyceliumLink* link, void* user) {
  (void)link;
  (void)user;
}
static inline void IgnoreRefusal(const MyceliumRefusal* refusal, void* user) {
  (void)refusal;
  (void)user;
}

static inline MyceliumRuntime* MakeRuntime(void) {
  MyceliumRuntime* const runtime = mycelium_runtime_create(NULL);
  CHECK(runtime != NULL);
  return runtime;
}

static inline MyceliumType* MakeType(const uint8_t* digest) {
  MyceliumType* const type =
      mycelium_type_create("plant.Reading", digest, MYCELIUM_DIGEST_BYTES);
  CHECK(type != NULL);
  return type;
}

/* Checks the ledger of a runtime in which nothing moves any more. */
static inline void CheckLedger(const MyceliumRuntime* runtime,
                               uint64_t accepted, uint64_t delivered) {
  MyceliumStats stats = MYCELIUM_STATS_INIT;
  CHECK_OK(mycelium_runtime_stats(runtime, &stats));
  CHECK(stats.accepted == accepted);
  CHECK(stats.delivered == delivered);
  CHECK(stats.accepted == stats.delivered + stats.dropped + stats.in_flight);
  CHECK(stats.in_flight == 0);
}

#endif /* MYCELIUM_CAPI_CHECK_H_ */
