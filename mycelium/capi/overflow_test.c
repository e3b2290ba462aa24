/* What becomes of messages for a subscriber that does not receive: what each
   policy does, given by its name, and that a stalled publisher is reported. */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mycelium/capi/check.h"
#include "mycelium/capi/mycelium.h"

/* A lane has room for kFit messages of kLarge bytes; the lossy one has it by
   its depth. */
enum { kLaneBytes = 4096, kLarge = 1500, kFit = 2, kMessages = 5 };

static MyceliumRuntime* MakeNode(int32_t overflow, mycelium_on_flow on_flow,
                                 void* user) {
  MyceliumSettings settings = MYCELIUM_SETTINGS_INIT;
  settings.overflow = overflow;
  settings.lane_bytes = kLaneBytes;
  settings.depth = kFit;
  settings.publish_timeout_ms = 1;
  MyceliumLimits limits = MYCELIUM_LIMITS_INIT;
  limits.frame_bytes_max = kLaneBytes / 2;
  MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.settings = &settings;
  options.limits = &limits;
  options.on_flow = on_flow;
  options.on_flow_user = user;
  MyceliumRuntime* const runtime = mycelium_runtime_create(&options);
  CHECK(runtime != NULL);
  return runtime;
}

static mycelium_status PublishNumber(MyceliumRuntime* runtime,
                                     const MyceliumType* type, uint8_t number,
                                     size_t size) {
  uint8_t data[kLarge] = {0};
  data[0] = number;
  return mycelium_publish(runtime, type, data, size);
}

/* What each policy does with messages 0 to kMessages - 1. */
typedef struct Policy {
  int32_t overflow;
  size_t size;         /* of each message; small: `depth` bounds them */
  const char* refused; /* why, from message kFit on; NULL: not refused */
  uint8_t first;       /* that is received, and all up to */
  uint8_t last;
  uint64_t lost_before;  /* the first one */
  uint64_t dropped;      /* of this subscription */
  mycelium_status ended; /* OK: it goes on */
} Policy;
static const Policy kPolicies[] = {
    {MYCELIUM_OVERFLOW_BLOCK, kLarge, "waited 1ms", 0, 1, 0, 0, MYCELIUM_OK},
    {MYCELIUM_OVERFLOW_FAIL, kLarge, "overflow is fail", 0, 1, 0, 0,
     MYCELIUM_OK},
    {MYCELIUM_OVERFLOW_DROP_NEWEST, 1, NULL, 0, 1, 0, 3, MYCELIUM_OK},
    {MYCELIUM_OVERFLOW_DROP_OLDEST, 1, NULL, 3, 4, 3, 3, MYCELIUM_OK},
    {MYCELIUM_OVERFLOW_LATEST, 1, NULL, 4, 4, 4, 4, MYCELIUM_OK},
    {MYCELIUM_OVERFLOW_DISCONNECT, kLarge, NULL, 0, 1, 0, 0,
     MYCELIUM_RESOURCE_EXHAUSTED},
};

typedef struct Errors {
  int count;
  mycelium_status status;
} Errors;

static void OnError(const MyceliumRefusal* refusal, void* user) {
  Errors* const errors = user;
  ++errors->count;
  errors->status = refusal->status;
  CHECK(refusal->mismatch == NULL);
  CHECK(strstr(refusal->message, "fell behind") != NULL);
}

/* Drops of the subscription, and not those for lack of a subscriber. */
static void CountOverflow(const MyceliumFlow* flow, void* user) {
  for (size_t i = 0; i < flow->dropped_count; ++i) {
    if (strcmp(mycelium_drop_reason_name(i), "overflow") == 0) {
      *(uint64_t*)user += flow->dropped[i];
    }
  }
}

static void PublishAll(MyceliumRuntime* runtime, const MyceliumType* type,
                       const Policy* policy) {
  for (uint8_t i = 0; i < kMessages; ++i) {
    const mycelium_status sent = PublishNumber(runtime, type, i, policy->size);
    if (policy->refused == NULL || i < kFit) {
      CHECK_OK(sent);
      continue;
    }
    CHECK_STATUS(sent, MYCELIUM_RESOURCE_EXHAUSTED);
    if (i == kFit) {
      CHECK(strstr(mycelium_last_error(), policy->refused) != NULL);
    }
  }
}

static void ReceiveAll(MyceliumSubscriber* subscriber, const Policy* policy) {
  const MyceliumMessage* message = NULL;
  for (uint8_t i = policy->first; i <= policy->last; ++i) {
    CHECK_OK(mycelium_subscriber_receive(subscriber, 0, &message));
    CHECK(message->size == policy->size && message->data[0] == i);
    CHECK(message->lost_before ==
          (i == policy->first ? policy->lost_before : 0));
  }
  CHECK_STATUS(mycelium_subscriber_receive(subscriber, 0, &message),
               policy->ended == MYCELIUM_OK ? MYCELIUM_DEADLINE_EXCEEDED
                                            : policy->ended);
  CHECK_STATUS(mycelium_subscriber_status(subscriber), policy->ended);
}

static void TestPolicyDoesWhatItsNameSays(const Policy* policy,
                                          int in_settings) {
  printf("policy %d, %s\n", (int)policy->overflow,
         in_settings ? "in the settings" : "of the subscriber");
  fflush(stdout);
  MyceliumRuntime* const runtime =
      MakeNode(in_settings ? policy->overflow : 0, NULL, NULL);
  MyceliumType* const type = MakeType(kOneDigest);
  Errors errors = {0, MYCELIUM_OK};
  MyceliumSubscriberOptions options = MYCELIUM_SUBSCRIBER_OPTIONS_INIT;
  options.overflow = in_settings ? 0 : policy->overflow;
  options.on_error = OnError;
  options.on_error_user = &errors;
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(runtime, type, &options);
  CHECK(subscriber != NULL);

  PublishAll(runtime, type, policy);
  ReceiveAll(subscriber, policy);
  CHECK(errors.count == (policy->ended == MYCELIUM_OK ? 0 : 1));
  CHECK(errors.status == policy->ended);

  uint64_t overflowed = 0;
  CHECK_OK(mycelium_runtime_ledger(runtime, CountOverflow, &overflowed));
  CHECK(overflowed == policy->dropped);
  CheckLedger(runtime, policy->refused == NULL ? kMessages : kFit,
              (uint64_t)(policy->last - policy->first + 1));
  mycelium_subscriber_destroy(subscriber);
  mycelium_type_destroy(type);
  mycelium_runtime_destroy(runtime);
}

/* Writes what it heard to the pipe, on the thread that runs the node. */
static void OnFlow(const MyceliumFlowEvent* event, void* user) {
  CHECK(event->kind == MYCELIUM_STALLED);
  CHECK(event->flow == NULL);
  CHECK(event->messages == 0);
  CHECK(strstr(event->lane, "plant.Reading") != NULL);
  CHECK(write(*(int*)user, "x", 1) == 1);
}

static void TestStalledPublisherIsToldOf(void) {
  int told[2];
  CHECK(pipe(told) == 0);
  MyceliumRuntime* const runtime =
      MakeNode(MYCELIUM_OVERFLOW_BLOCK, OnFlow, &told[1]);
  MyceliumType* const type = MakeType(kOneDigest);
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(runtime, type, NULL);
  CHECK(subscriber != NULL);
  for (uint8_t i = 0; i < kFit; ++i) {
    CHECK_OK(PublishNumber(runtime, type, i, kLarge));
  }
  struct pollfd watched = {told[0], POLLIN, 0};
  CHECK(poll(&watched, 1, 0) == 0);
  CHECK_STATUS(PublishNumber(runtime, type, kFit, kLarge),
               MYCELIUM_RESOURCE_EXHAUSTED);
  CHECK(poll(&watched, 1, kLongMs) == 1);
  char byte;
  CHECK(read(told[0], &byte, 1) == 1);

  const MyceliumMessage* message = NULL;
  for (uint8_t i = 0; i < kFit; ++i) {
    CHECK_OK(mycelium_subscriber_receive(subscriber, 0, &message));
    CHECK(message->data[0] == i);
  }
  CHECK_OK(mycelium_subscriber_finish(subscriber));
  CheckLedger(runtime, kFit, kFit);
  mycelium_subscriber_destroy(subscriber);
  mycelium_type_destroy(type);
  mycelium_runtime_destroy(runtime);
  close(told[0]);
  close(told[1]);
}

int main(void) {
  for (size_t i = 0; i < sizeof kPolicies / sizeof *kPolicies; ++i) {
    TestPolicyDoesWhatItsNameSays(&kPolicies[i], /*in_settings=*/0);
    TestPolicyDoesWhatItsNameSays(&kPolicies[i], /*in_settings=*/1);
  }
  TestStalledPublisherIsToldOf();
  return 0;
}
