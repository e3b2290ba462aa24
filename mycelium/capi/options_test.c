/* What the structs of mycelium_options.h do, and what is refused. */
#include <stddef.h>
#include <string.h>

#include "mycelium/capi/check.h"
#include "mycelium/capi/mycelium.h"

static MyceliumType* MakeRawType(void) {
  MyceliumType* const type = mycelium_type_create_raw("plant.reading");
  CHECK(type != NULL);
  return type;
}

/* A runtime with a lane that takes frames of 2 KiB, and soon is full. */
static MyceliumRuntime* MakeSmallRuntime(int32_t overflow) {
  // [settings]
  MyceliumSettings settings = MYCELIUM_SETTINGS_INIT;
  settings.lane_bytes = 4096;
  settings.publish_timeout_ms = 0;
  settings.overflow = overflow;
  MyceliumLimits limits = MYCELIUM_LIMITS_INIT;
  limits.frame_bytes_max = 2048;
  MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.settings = &settings;
  options.limits = &limits;
  MyceliumRuntime* const runtime = mycelium_runtime_create(&options);
  // [/settings]
  CHECK(runtime != NULL);
  return runtime;
}

static void TestSettingsAndLimitsHold(void) {
  static const char message[2048];
  MyceliumType* const type = MakeRawType();
  MyceliumRuntime* const runtime =
      MakeSmallRuntime(MYCELIUM_OVERFLOW_CONFIGURED);
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(runtime, type, NULL);
  CHECK(subscriber != NULL);
  CHECK_STATUS(mycelium_publish(runtime, type, message, sizeof message),
               MYCELIUM_INVALID_ARGUMENT);
  int accepted = 0;
  mycelium_status sent = MYCELIUM_OK;
  while (accepted < 100 && sent == MYCELIUM_OK) {
    sent = mycelium_publish(runtime, type, message, 900);
    if (sent == MYCELIUM_OK) ++accepted;
  }
  CHECK_STATUS(sent, MYCELIUM_RESOURCE_EXHAUSTED);
  CHECK(accepted > 0 && accepted <= 4);
  const MyceliumMessage* got;
  for (int i = 0; i < accepted; ++i) {
    CHECK_OK(mycelium_subscriber_receive(subscriber, 0, &got));
  }
  CHECK_OK(mycelium_subscriber_finish(subscriber));
  MyceliumStats stats = MYCELIUM_STATS_INIT;
  CHECK_OK(mycelium_runtime_stats(runtime, &stats));
  CHECK(stats.accepted == (uint64_t)accepted);
  CHECK(stats.delivered == stats.accepted && stats.in_flight == 0);
  mycelium_subscriber_destroy(subscriber);
  mycelium_runtime_destroy(runtime);
  mycelium_type_destroy(type);
}

static void TestOverflowOfTheSettingsHolds(void) {
  MyceliumType* const type = MakeRawType();
  MyceliumRuntime* const runtime = MakeSmallRuntime(MYCELIUM_OVERFLOW_LATEST);
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(runtime, type, NULL);
  for (char i = 0; i < 10; ++i) {
    CHECK_OK(mycelium_publish(runtime, type, &i, 1));
  }
  const MyceliumMessage* got;
  CHECK_OK(mycelium_subscriber_receive(subscriber, 0, &got));
  CHECK(got->data[0] == 9 && got->lost_before == 9);
  mycelium_subscriber_destroy(subscriber);
  mycelium_runtime_destroy(runtime);
  mycelium_type_destroy(type);
}

/* A field of one of the two structs, and the error for -2 in it. */
static const struct {
  int is_limit;
  size_t offset;
  const char* text;
} kFields[] = {
    {0, offsetof(MyceliumSettings, depth),
     "BusOptions: settings.depth is -2; 1 to 1048576 are allowed"},
    {0, offsetof(MyceliumSettings, window),
     "BusOptions: settings.window is -2; 1 to 65536 are allowed"},
    {0, offsetof(MyceliumSettings, lane_bytes),
     "BusOptions: settings.lane_bytes is -2; 4KiB to 1GiB are allowed"},
    {0, offsetof(MyceliumSettings, publish_timeout_ms),
     "BusOptions: settings.publish_timeout is -2ms; 0 to 1h are allowed"},
    {0, offsetof(MyceliumSettings, retain_ms),
     "BusOptions: settings.retain is -2ms; 0 to 24h are allowed"},
    {0, offsetof(MyceliumSettings, spin_us),
     "BusOptions: settings.spin is -2us; 0 to 10ms are allowed"},
    {1, offsetof(MyceliumLimits, handshake_ms),
     "BusOptions: limits.handshake is -2ms; 10ms to 1m are allowed"},
    {1, offsetof(MyceliumLimits, frame_bytes_max),
     "BusOptions: limits.frame_bytes_max is -2; 1KiB to 256MiB are allowed"},
    {1, offsetof(MyceliumLimits, links),
     "BusOptions: limits.links is -2; 1 to 4096 are allowed"},
    {1, offsetof(MyceliumLimits, reconnect_min_ms),
     "BusOptions: limits.reconnect_min is -2ms; 1ms to 1m are allowed"},
    {1, offsetof(MyceliumLimits, reconnect_max_ms),
     "BusOptions: limits.reconnect_max is -2ms; 1ms to 1h are allowed"},
    {1, offsetof(MyceliumLimits, keepalive_ms),
     "BusOptions: limits.keepalive is -2ms; 100ms to 1h are allowed"},
    {1, offsetof(MyceliumLimits, redeliver_max),
     "BusOptions: limits.redeliver_max is -2; 0 to 1000000 are allowed"},
};

static void TestNumbersOutOfBoundsAreNamedAsInCpp(void) {
  for (size_t i = 0; i < sizeof kFields / sizeof *kFields; ++i) {
    MyceliumSettings settings = MYCELIUM_SETTINGS_INIT;
    MyceliumLimits limits = MYCELIUM_LIMITS_INIT;
    MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
    options.settings = &settings;
    options.limits = &limits;
    char* const given = kFields[i].is_limit ? (char*)&limits : (char*)&settings;
    const int64_t wrong[] = {-2, INT64_MIN, INT64_MAX};
    for (size_t j = 0; j < 3; ++j) {
      memcpy(given + kFields[i].offset, &wrong[j], sizeof wrong[j]);
      CHECK(mycelium_runtime_create(&options) == NULL);
      const char* const text = kFields[i].text;
      const size_t same = j == 0 ? strlen(text) : strcspn(text, "-");
      CHECK(strncmp(mycelium_last_error(), text, same) == 0);
    }
  }
  MyceliumSettings settings = MYCELIUM_SETTINGS_INIT;
  settings.lane_bytes = 1 << 20;
  MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.settings = &settings;
  CHECK(mycelium_runtime_create(&options) == NULL);
  CHECK(strstr(mycelium_last_error(), "takes frames of at most") != NULL);
}

static void TestWhatIsNoOptionIsRefused(void) {
  MyceliumSettings settings = MYCELIUM_SETTINGS_INIT;
  MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.settings = &settings;
  settings.struct_size = 63;
  CHECK(mycelium_runtime_create(&options) == NULL);
  settings.struct_size = sizeof settings;
  settings.overflow = 7;
  CHECK(mycelium_runtime_create(&options) == NULL);
  settings.overflow = 0;
  settings.wait = 4;
  CHECK(mycelium_runtime_create(&options) == NULL);
  CHECK(strcmp(mycelium_last_error(), "wait is 4, which is no way to wait") ==
        0);
  MyceliumLimits limits = MYCELIUM_LIMITS_INIT;
  options = (MyceliumRuntimeOptions)MYCELIUM_RUNTIME_OPTIONS_INIT;
  limits.struct_size = sizeof limits + 1;
  options.limits = &limits;
  CHECK(mycelium_runtime_create(&options) == NULL);
  options = (MyceliumRuntimeOptions)MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.wait = -1;
  CHECK(mycelium_runtime_create(&options) == NULL);
  options.wait = MYCELIUM_WAIT_BLOCK;
  options.allow_uids_size = 1;
  CHECK(mycelium_runtime_create(&options) == NULL);
  const int64_t uid = 1;
  options.allow_uids = &uid;
  options.allow_uids_size = (size_t)-1; /* As from a call that failed. */
  CHECK(mycelium_runtime_create(&options) == NULL);
  CHECK(strstr(mycelium_last_error(), "at most 256") != NULL);
  options.allow_uids_size = 1;
  MyceliumRuntime* const runtime = mycelium_runtime_create(&options);
  CHECK(runtime != NULL);
  mycelium_runtime_destroy(runtime);
}

/* As compiled before settings existed: what lies behind is not part of it. */
static void TestOlderStructHasNoSettings(void) {
  MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.struct_size = 128;
  options.settings = (const MyceliumSettings*)1;
  options.limits = (const MyceliumLimits*)1;
  options.delivers_locally = 0;
  MyceliumRuntime* const runtime = mycelium_runtime_create(&options);
  CHECK(runtime != NULL);
  MyceliumType* const type = MakeRawType();
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(runtime, type, NULL);
  CHECK_OK(mycelium_publish(runtime, type, "x", 1));
  const MyceliumMessage* got;
  CHECK_OK(mycelium_subscriber_receive(subscriber, 0, &got));
  mycelium_subscriber_destroy(subscriber);
  mycelium_runtime_destroy(runtime);
  mycelium_type_destroy(type);
}

static void TestNodeThatDoesNotDeliverLocally(void) {
  MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.delivers_locally = 0;
  MyceliumRuntime* const runtime = mycelium_runtime_create(&options);
  MyceliumType* const type = MakeRawType();
  MyceliumSubscriber* const subscriber =
      mycelium_subscriber_create(runtime, type, NULL);
  CHECK_OK(mycelium_publish(runtime, type, "x", 1));
  const MyceliumMessage* got;
  CHECK_STATUS(mycelium_subscriber_receive(subscriber, 0, &got),
               MYCELIUM_DEADLINE_EXCEEDED);
  mycelium_subscriber_destroy(subscriber);
  mycelium_runtime_destroy(runtime);
  mycelium_type_destroy(type);
}

static void TestPublisherThatRequiresASubscriber(void) {
  MyceliumRuntime* const runtime = mycelium_runtime_create(NULL);
  MyceliumType* const type = MakeRawType();
  MyceliumPublisherOptions publishing = MYCELIUM_PUBLISHER_OPTIONS_INIT;
  publishing.require_subscriber = 1;
  MyceliumPublisher* const publisher =
      mycelium_publisher_create(runtime, type, NULL, &publishing);
  CHECK_STATUS(mycelium_publisher_publish(publisher, "x", 1),
               MYCELIUM_UNAVAILABLE);
  mycelium_publisher_destroy(publisher);
  mycelium_runtime_destroy(runtime);
  mycelium_type_destroy(type);
}

int main(void) {
  TestSettingsAndLimitsHold();
  TestOverflowOfTheSettingsHolds();
  TestNumbersOutOfBoundsAreNamedAsInCpp();
  TestWhatIsNoOptionIsRefused();
  TestOlderStructHasNoSettings();
  TestNodeThatDoesNotDeliverLocally();
  TestPublisherThatRequiresASubscriber();
  return 0;
}
