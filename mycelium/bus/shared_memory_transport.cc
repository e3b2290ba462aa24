#include "mycelium/bus/shared_memory_transport.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "mycelium/base/event_count.h"
#include "mycelium/base/mutex.h"
#include "mycelium/base/utf8.h"

namespace mycelium {

// What has become of connections, for WaitForPeer().
class SharedMemoryTransport::PeerWatch final {
 public:
  explicit PeerWatch(Waiter& waiter) : waiter_(waiter) {}

  void Note(const ConnectionEvent& event) {
    {
      MutexLock lock(mutex_);
      refused_ = event.state == ConnectionEvent::State::kRefused
                     ? event.status
                     : absl::OkStatus();
    }
    changed_.Notify(waiter_);
  }
  bool has_refusal() const {
    MutexLock lock(mutex_);
    return !refused_.ok();
  }
  absl::Status TakeRefusal() {
    MutexLock lock(mutex_);
    return std::exchange(refused_, absl::OkStatus());
  }
  EventCount& changed_event() { return changed_; }

 private:
  Waiter& waiter_;
  EventCount changed_;
  mutable Mutex mutex_;
  // OK: the last event was no refusal, or it was taken.
  absl::Status refused_ ABSL_GUARDED_BY(mutex_);
};

SharedMemoryTransport::SharedMemoryTransport(std::string path,
                                             std::unique_ptr<MessageBus> bus,
                                             std::shared_ptr<PeerWatch> watch)
    : path_(std::move(path)), bus_(std::move(bus)), watch_(std::move(watch)) {}

SharedMemoryTransport::~SharedMemoryTransport() = default;

absl::StatusOr<std::unique_ptr<SharedMemoryTransport>>
SharedMemoryTransport::Make(const std::string& path,
                            std::optional<Digest> digest, BusOptions options) {
  if (digest.has_value()) options.schema_digest = digest;
  options.delivers_locally = false;
  auto watch = std::make_shared<PeerWatch>(options.environment->waiter);
  options.on_connection = [watch, then = std::move(options.on_connection)](
                              const ConnectionEvent& event) {
    watch->Note(event);
    if (then != nullptr) then(event);
  };
  absl::StatusOr<std::unique_ptr<MessageBus>> bus = MessageBus::Create(options);
  if (!bus.ok()) return bus.status();
  return std::unique_ptr<SharedMemoryTransport>(
      new SharedMemoryTransport(path, *std::move(bus), std::move(watch)));
}

absl::StatusOr<std::unique_ptr<SharedMemoryTransport>>
SharedMemoryTransport::Create(const std::string& path,
                              std::optional<Digest> digest, size_t capacity,
                              BusOptions options) {
  // There is one creator at a time, and peers are to know the next one again.
  if (options.node.empty()) {
    options.node = absl::StrCat("shm:", EscapedUtf8(path));
  }
  auto made = Make(path, digest, std::move(options));
  if (!made.ok()) return made;
  SharedMemoryTransport& transport = **made;
  absl::StatusOr<ShmEndpointHandle> endpoint = BindShmEndpoint(
      path, *transport.bus_, digest, capacity, transport.stats_);
  if (!endpoint.ok()) return endpoint.status();
  transport.endpoint_.emplace(*std::move(endpoint));
  return made;
}

absl::StatusOr<std::unique_ptr<SharedMemoryTransport>>
SharedMemoryTransport::Open(const std::string& path,
                            std::optional<Digest> digest, size_t capacity,
                            BusOptions options) {
  auto made = Make(path, digest, std::move(options));
  if (!made.ok()) return made;
  if (absl::Status dialled = DialShmEndpoint(path, *(*made)->bus_, capacity);
      !dialled.ok()) {
    return dialled;
  }
  return made;
}

absl::Status SharedMemoryTransport::WaitForPeer(absl::Duration timeout) {
  // A handler that runs meanwhile may destroy this.
  const std::shared_ptr<NodeRuntime> node = bus_->runtime();
  const std::shared_ptr<PeerWatch> watch = watch_;
  const std::string path = path_;
  // A refusal ends the wait only on the side that opened the memory: its
  // creator is not to blame for a peer that may not open it.
  const bool opened = !endpoint_.has_value();
  const auto is_connected = [&] {
    const std::vector<LinkReport> links = node->LinkReports();
    return std::any_of(links.begin(), links.end(),
                       [](const LinkReport& link) { return link.is_up; });
  };
  const RoomWaiter::Outcome outcome = node->WaitFor(
      watch->changed_event(),
      [&] {
        return is_connected() || !node->CheckOpen().ok() ||
               (opened && watch->has_refusal());
      },
      DeadlineAfter(node->environment().clock.NowNs(), timeout));
  if (is_connected()) return absl::OkStatus();
  if (absl::Status open = node->CheckOpen(); !open.ok()) return open;
  if (outcome == RoomWaiter::Outcome::kWouldDeadlock) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": a handler cannot wait for who connects"));
  }
  if (absl::Status refused = watch->TakeRefusal(); opened && !refused.ok()) {
    return refused;
  }
  std::string why = "nobody has connected";
  for (const LinkReport& link : node->LinkReports()) {
    if (!link.last_error.empty()) why = link.last_error;
  }
  return absl::DeadlineExceededError(absl::StrCat(path, ": ", why));
}

}  // namespace mycelium
