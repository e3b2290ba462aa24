// The structs of mycelium_options.h as the options of C++, which check them.
#include <optional>

#include "mycelium/capi/enums.h"
#include "mycelium/capi/events.h"
#include "mycelium/capi/handles.h"
#include "mycelium/capi/status.h"
#include "mycelium/topology/topology.h"

namespace mycelium {
namespace {

// What stands in a field for "as configured".
constexpr int64_t kDefault = -1;

std::optional<int64_t> UnlessZero(int64_t number) {
  return number == 0 ? std::nullopt : std::make_optional(number);
}

void SetCount(int64_t given, int64_t* made) {
  if (given != kDefault) *made = given;
}

void SetDuration(int64_t given, absl::Duration unit, absl::Duration* made) {
  if (given != kDefault) *made = given * unit;
}

absl::Status SetSettings(const MyceliumSettings* given, RouteSettings* made) {
  if (given == nullptr) return absl::OkStatus();
  MyceliumSettings read = MYCELIUM_SETTINGS_INIT;
  if (absl::Status known =
          ReadStruct(given, kSettingsBytesMin, "MyceliumSettings", &read);
      !known.ok()) {
    return known;
  }
  const absl::StatusOr<std::optional<Overflow>> overflow =
      OverflowFrom(read.overflow);
  if (!overflow.ok()) return overflow.status();
  const absl::StatusOr<std::optional<WaitMode>> wait = WaitFrom(read.wait);
  if (!wait.ok()) return wait.status();
  made->overflow = overflow->value_or(made->overflow);
  made->wait = wait->value_or(made->wait);
  SetCount(read.depth, &made->depth);
  SetCount(read.window, &made->window);
  SetCount(read.lane_bytes, &made->lane_bytes);
  SetDuration(read.publish_timeout_ms, absl::Milliseconds(1),
              &made->publish_timeout);
  SetDuration(read.retain_ms, absl::Milliseconds(1), &made->retain);
  SetDuration(read.spin_us, absl::Microseconds(1), &made->spin);
  return absl::OkStatus();
}

absl::Status SetLimits(const MyceliumLimits* given, Limits* made) {
  if (given == nullptr) return absl::OkStatus();
  MyceliumLimits read = MYCELIUM_LIMITS_INIT;
  if (absl::Status known =
          ReadStruct(given, kLimitsBytesMin, "MyceliumLimits", &read);
      !known.ok()) {
    return known;
  }
  const absl::Duration ms = absl::Milliseconds(1);
  SetDuration(read.handshake_ms, ms, &made->handshake);
  SetCount(read.frame_bytes_max, &made->frame_bytes_max);
  SetCount(read.links, &made->links);
  SetDuration(read.reconnect_min_ms, ms, &made->reconnect_min);
  SetDuration(read.reconnect_max_ms, ms, &made->reconnect_max);
  SetDuration(read.keepalive_ms, ms, &made->keepalive);
  SetCount(read.redeliver_max, &made->redeliver_max);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<BusOptions> OptionsFrom(const MyceliumRuntimeOptions* given) {
  BusOptions made;
  if (given == nullptr) return made;
  MyceliumRuntimeOptions read = MYCELIUM_RUNTIME_OPTIONS_INIT;
  if (absl::Status known = ReadStruct(given, kRuntimeOptionsBytesMin,
                                      "MyceliumRuntimeOptions", &read);
      !known.ok()) {
    return known;
  }
  const MyceliumRuntimeOptions* const options = &read;
  if (options->schema_digest != nullptr || options->schema_digest_size != 0) {
    absl::StatusOr<Digest> digest =
        DigestFrom(options->schema_digest, options->schema_digest_size);
    if (!digest.ok()) return digest.status();
    made.schema_digest = *digest;
  }
  made.node = TextFrom(options->node);
  if (options->poll_by_caller != 0) made.poll = PollMode::kCaller;
  made.tls.certificate = TextFrom(options->tls_certificate);
  made.tls.key = TextFrom(options->tls_key);
  made.tls.ca = TextFrom(options->tls_ca);
  made.tls.require_client_certificate =
      options->tls_require_client_certificate != 0;
  made.insecure = options->insecure != 0;
  made.allow_anonymous = options->allow_anonymous != 0;
  if (options->allow_uids == nullptr && options->allow_uids_size != 0) {
    return absl::InvalidArgumentError("allow_uids is NULL and has a size");
  }
  if (options->allow_uids_size > kAllowUidsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("allow_uids_size is ", options->allow_uids_size,
                     "; at most ", kAllowUidsMax));
  }
  made.allow_uids.assign(options->allow_uids,
                         options->allow_uids + options->allow_uids_size);
  const absl::StatusOr<std::optional<WaitMode>> wait = WaitFrom(options->wait);
  if (!wait.ok()) return wait.status();
  made.wait = *wait;
  const absl::StatusOr<SchemaPolicy> schema = SchemaFrom(options->schema);
  if (!schema.ok()) return schema.status();
  made.schema = *schema;
  made.delivers_locally = options->delivers_locally != 0;
  absl::Status good = SetSettings(options->settings, &made.settings);
  if (good.ok()) good = SetLimits(options->limits, &made.limits);
  if (!good.ok()) return good;
  SetCallbacks(*options, &made);
  return made;
}

absl::StatusOr<SubscriberOptions> OptionsFrom(
    const MyceliumSubscriberOptions* given) {
  SubscriberOptions made;
  if (given == nullptr) return made;
  MyceliumSubscriberOptions read = MYCELIUM_SUBSCRIBER_OPTIONS_INIT;
  if (absl::Status known = ReadStruct(given, kSubscriberOptionsBytesMin,
                                      "MyceliumSubscriberOptions", &read);
      !known.ok()) {
    return known;
  }
  const MyceliumSubscriberOptions* const options = &read;
  made.topic = TextFrom(options->topic);
  made.name = TextFrom(options->name);
  const absl::StatusOr<DeliveryMode> delivery = DeliveryFrom(options->delivery);
  if (!delivery.ok()) return delivery.status();
  made.delivery = *delivery;
  const absl::StatusOr<std::optional<Overflow>> overflow =
      OverflowFrom(options->overflow);
  if (!overflow.ok()) return overflow.status();
  made.overflow = *overflow;
  made.depth = UnlessZero(options->depth);
  made.window = UnlessZero(options->window);
  SetCallbacks(*options, &made);
  return made;
}

absl::StatusOr<PublisherOptions> OptionsFrom(
    const MyceliumPublisherOptions* given) {
  PublisherOptions made;
  if (given == nullptr) return made;
  MyceliumPublisherOptions read = MYCELIUM_PUBLISHER_OPTIONS_INIT;
  if (absl::Status known = ReadStruct(given, kPublisherOptionsBytesMin,
                                      "MyceliumPublisherOptions", &read);
      !known.ok()) {
    return known;
  }
  const MyceliumPublisherOptions* const options = &read;
  made.topic = TextFrom(options->topic);
  made.publish_time = options->publish_time != 0;
  made.require_subscriber = options->require_subscriber != 0;
  if (options->publish_timeout_ms != -1) {
    absl::StatusOr<absl::Duration> timeout =
        TimeoutFrom(options->publish_timeout_ms);
    if (!timeout.ok()) return timeout.status();
    made.publish_timeout = *timeout;
  }
  return made;
}

}  // namespace mycelium
