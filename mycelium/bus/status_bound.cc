#include "mycelium/bus/status_bound.h"

#include <cstdint>

#include "google/protobuf/repeated_field.h"

namespace mycelium {
namespace {

// What an entry's tag and length take at most, and the counters of what was
// left out.
constexpr size_t kEntryBytesMax = 16;
constexpr size_t kCountersBytesMax = 7 * 16;

// Keeps as many entries as `*bytes_left` has room for, and returns how many it
// left out. Once it has left out any, later lists keep nothing.
template <typename Entry>
uint64_t Keep(google::protobuf::RepeatedPtrField<Entry>* entries,
              size_t* bytes_left) {
  int kept = 0;
  for (const Entry& entry : *entries) {
    const size_t bytes = entry.ByteSizeLong() + kEntryBytesMax;
    if (bytes > *bytes_left) {
      *bytes_left = 0;
      break;
    }
    *bytes_left -= bytes;
    ++kept;
  }
  const int left_out = entries->size() - kept;
  entries->DeleteSubrange(kept, left_out);
  return static_cast<uint64_t>(left_out);
}

}  // namespace

void LeaveOutBeyond(size_t bytes_max, v1::NodeStatus* status) {
  if (status->ByteSizeLong() <= bytes_max) return;
  // Only the fields that are not lists, each of which has its own bound.
  v1::NodeStatus head = *status;
  head.clear_services();
  head.clear_endpoints();
  head.clear_links();
  head.clear_refusals();
  head.clear_publishers();
  head.clear_subscriptions();
  head.clear_flows();
  const size_t head_bytes = head.ByteSizeLong() + kCountersBytesMax;
  size_t left = bytes_max > head_bytes ? bytes_max - head_bytes : 0;
  status->set_endpoints_left_out(Keep(status->mutable_endpoints(), &left));
  status->set_refusals_left_out(Keep(status->mutable_refusals(), &left));
  status->set_links_left_out(Keep(status->mutable_links(), &left));
  status->set_services_left_out(Keep(status->mutable_services(), &left));
  status->set_publishers_left_out(Keep(status->mutable_publishers(), &left));
  status->set_subscriptions_left_out(
      Keep(status->mutable_subscriptions(), &left));
  status->set_flows_left_out(Keep(status->mutable_flows(), &left));
}

}  // namespace mycelium
