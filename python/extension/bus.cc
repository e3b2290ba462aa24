// Buses, and the sockets that are bound or dialled by hand.
#include <algorithm>
#include <deque>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "mycelium/base/event_count.h"
#include "mycelium/bus/grpc_endpoint.h"
#include "mycelium/bus/shm_endpoint.h"
#include "mycelium/bus/unix_endpoint.h"
#include "python/extension/convert.h"
#include "python/extension/define.h"
#include "python/extension/options.h"
#include "python/extension/publisher.h"
#include "python/extension/subscriber.h"
#include "python/extension/subscription.h"

namespace py = pybind11;

namespace mycelium {
namespace {

// What became of the links of one bus.
//
// Thread safety: all members may be called from any thread.
class ConnectionWatch final {
 public:
  explicit ConnectionWatch(Waiter& waiter) : waiter_(waiter) {}

  void Report(const ConnectionEvent& event) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      const bool is_refusal = event.state == ConnectionEvent::State::kRefused;
      // Who listens is not to blame for whoever came and was nobody.
      if (is_refusal && event.peer.empty() && !dials_) return;
      if (event.state == ConnectionEvent::State::kConnected ||
          event.state == ConnectionEvent::State::kReconnected) {
        ++up_;
      }
      refused_ = is_refusal ? event.status : absl::OkStatus();
    }
    changed_.Notify(waiter_);
  }
  // From here on the bus asks others by hand, whose names it may not learn.
  void NoteDialling() {
    const std::lock_guard<std::mutex> lock(mutex_);
    dials_ = true;
  }

  // Whether there has been a link, or one was refused.
  bool HasNews() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return up_ > 0 || !refused_.ok();
  }
  // Notified when that may have become true.
  EventCount& changed() { return changed_; }

  // OK if there has been a link, else what refused the last one, once.
  absl::Status TakeStatus() {
    const std::lock_guard<std::mutex> lock(mutex_);
    const absl::Status refused = std::exchange(refused_, absl::OkStatus());
    return up_ > 0 ? absl::OkStatus() : refused;
  }

 private:
  Waiter& waiter_;
  EventCount changed_;
  std::mutex mutex_;
  int up_ = 0;
  bool dials_ = false;
  absl::Status refused_;  // The last that happened.
};

// A bus with what was bound for it.
class PythonBus final {
 public:
  PythonBus(std::unique_ptr<MessageBus> bus,
            std::shared_ptr<ConnectionWatch> watch)
      : bus_(std::move(bus)), watch_(std::move(watch)) {
    Interpreter::CountOpenBus(1);
  }
  // In that time for all of them; each would take its own.
  ~PythonBus() {
    (void)EndpointHandle::StopAll(endpoints_, EndpointHandle::kStopsIn);
  }

  MessageBus& bus() { return *bus_; }

  void WaitForLink(double seconds) {
    const absl::Duration timeout = TimeoutOf(seconds);
    NodeRuntime& node = *bus_->runtime();
    const auto is_over = [&] {
      return bus_->closed() || node.has_ended() || watch_->HasNews() ||
             HasLink();
    };
    auto outcome = NodeRuntime::Outcome::kDeadline;
    WaitInParts(timeout, [&](absl::Duration part) {
      outcome =
          node.WaitFor(watch_->changed(), is_over,
                       DeadlineAfter(node.environment().clock.NowNs(), part));
      return outcome != NodeRuntime::Outcome::kDeadline;
    });
    if (outcome == NodeRuntime::Outcome::kWouldDeadlock) {
      Raise(absl::FailedPreconditionError(
          "wait_for_link() was called from a handler, which it would wait "
          "for"));
    }
    if (bus_->closed() || node.has_ended()) {
      Raise(absl::FailedPreconditionError(
          absl::StrCat("the bus of service ", bus_->service(), " is closed")));
    }
    if (outcome == NodeRuntime::Outcome::kDeadline) {
      std::string text =
          absl::StrCat("no link within ", absl::FormatDuration(timeout));
      for (const LinkReport& link : bus_->LinkReports()) {
        if (link.last_error.empty()) continue;
        absl::StrAppend(&text, "; ", link.last_error);
      }
      Raise(absl::DeadlineExceededError(text));
    }
    if (!HasLink()) RaiseUnlessOk(watch_->TakeStatus());
  }

  bool Poll(double seconds) {
    absl::StatusOr<bool> ran = false;
    WaitInParts(TimeoutOf(seconds), [&](absl::Duration part) {
      ran = bus_->Poll(part);
      return !ran.ok() || *ran;
    });
    return ValueOrRaise(std::move(ran));
  }

  void Close(double seconds) {
    End(seconds, [this](absl::Duration timeout, const KeepWaiting& keep) {
      return bus_->Close(timeout, keep);
    });
  }

  // From now on a fork is harmless, as far as this bus goes.
  void CountAsClosed() {
    if (std::exchange(is_open_, false)) Interpreter::CountOpenBus(-1);
  }

  // The same for every service of the node in this process.
  void Shutdown(double seconds) {
    End(seconds, [this](absl::Duration timeout, const KeepWaiting& keep) {
      absl::Status ended = bus_->Shutdown(timeout, keep);
      if (absl::IsFailedPrecondition(ended)) return ended;  // In a callback.
      const absl::Status closed = bus_->Close(absl::ZeroDuration());
      return ended.ok() ? closed : ended;
    });
  }

  void ListenUnix(const std::string& path) {
    KeepListening(
        [&] { return BindUnixEndpoint(path, *bus_, endpoint_stats_); });
  }

  void ListenShm(const std::string& path, size_t capacity) {
    KeepListening([&] {
      return BindShmEndpoint(path, *bus_, std::nullopt, capacity,
                             endpoint_stats_);
    });
  }

  void ConnectShm(const std::string& path, size_t capacity) {
    CheckOpen();
    watch_->NoteDialling();
    RaiseUnlessOk(
        WithoutGil([&] { return DialShmEndpoint(path, *bus_, capacity); }));
  }

  // Returns the address with the port that the system chose for 0.
  std::string ListenTcp(const std::string& address) {
    return KeepListening(
        [&] { return BindGrpcEndpoint(address, *bus_, endpoint_stats_); });
  }

  void StopListening(const std::string& address) {
    RaiseUnlessOk(WithoutGil([&] {
      return bus_->runtime()->CheckOutsideHandlers("stop_listening()");
    }));
    std::deque<EndpointHandle> ended, kept;
    for (EndpointHandle& endpoint : endpoints_) {
      auto& to = endpoint.address() == address ? ended : kept;
      to.push_back(std::move(endpoint));
    }
    endpoints_ = std::move(kept);
    if (ended.empty()) {
      Raise(absl::NotFoundError(
          absl::StrCat("this bus does not listen at ", address)));
    }
    RaiseUnlessOk(WithoutGil([&ended] {
      return EndpointHandle::StopAll(ended, EndpointHandle::kStopsIn);
    }));
  }

  py::dict EndpointStats() const {
    return DictOf(WithoutGil([&] { return endpoint_stats_->Read(); }));
  }

  void ConnectTcp(const std::string& address) {
    CheckOpen();
    watch_->NoteDialling();
    RaiseUnlessOk(WithoutGil([&] { return DialGrpcEndpoint(address, *bus_); }));
  }

  void ConnectUnix(const std::string& path) {
    CheckOpen();
    watch_->NoteDialling();
    RaiseUnlessOk(WithoutGil([&] { return DialUnixEndpoint(path, *bus_); }));
  }

 private:
  // `end` runs without the GIL. On top of another such call of the thread it
  // does not, and nothing is done. What a signal handler raises is raised when
  // the bus has ended, which it then does at once.
  void End(
      double seconds,
      absl::FunctionRef<absl::Status(absl::Duration, const KeepWaiting&)> end) {
    const absl::Duration timeout = TimeoutOf(seconds);
    const std::thread::id thread = std::this_thread::get_id();
    if (enders_.count(thread) != 0) {
      // A callback that the other call runs, or a signal handler, which must
      // not wait for what it interrupts.
      RaiseUnlessOk(WithoutGil(
          [&] { return bus_->runtime()->CheckOutsideHandlers("close()"); }));
      return;
    }
    enders_.insert(thread);
    absl::Status ended;
    try {
      ended = WaitForRuntime(
          [&](const KeepWaiting& keep) { return end(timeout, keep); });
      enders_.erase(thread);
    } catch (const py::error_already_set&) {
      enders_.erase(thread);
      Interpreter::LeaveCallback();
      try {
        LetGo(EndpointHandle::kStopsInAtLeast);
      } catch (const py::error_already_set&) {
        // A callback's, which ran meanwhile. The first one is raised.
      }
      throw;
    }
    if (absl::IsDeadlineExceeded(ended)) Interpreter::LeaveCallback();
    LetGo(ended.ok() ? EndpointHandle::kStopsIn
                     : EndpointHandle::kStopsInAtLeast);
    RaiseUnlessOk(ended);
  }

  // Of what a bus that is closed does not need.
  void LetGo(absl::Duration timeout) {
    if (!bus_->closed()) return;
    CountAsClosed();
    std::deque<EndpointHandle> endpoints = std::move(endpoints_);
    WithoutGil([&] {
      (void)EndpointHandle::StopAll(endpoints, timeout);
      endpoints.clear();
    });
  }

  void CheckOpen() const {
    if (!bus_->closed()) return;
    Raise(absl::FailedPreconditionError(
        absl::StrCat("the bus of service ", bus_->service(), " is closed")));
  }

  // Binds an endpoint that lasts as long as the bus is open. Its address.
  template <typename Bind>
  std::string KeepListening(Bind bind) {
    CheckOpen();
    absl::StatusOr<EndpointHandle> bound = WithoutGil(bind);
    if (bound.ok() && bus_->closed()) {  // By another thread, just now.
      WithoutGil([&bound] { bound = absl::CancelledError(); });
      CheckOpen();
    }
    endpoints_.push_back(ValueOrRaise(std::move(bound)));
    return endpoints_.back().address();
  }

  // Of links, the watch of the first bus of a node is told, and no other.
  bool HasLink() const {
    const std::vector<LinkReport> links = bus_->LinkReports();
    return std::any_of(links.begin(), links.end(),
                       [](const LinkReport& link) { return link.is_up; });
  }

  const std::unique_ptr<MessageBus> bus_;
  const std::shared_ptr<ConnectionWatch> watch_;
  // Guarded by the GIL.
  bool is_open_ = true;
  std::set<std::thread::id> enders_;  // In close() or shutdown().
  std::deque<EndpointHandle> endpoints_;
  const std::shared_ptr<mycelium::EndpointStats> endpoint_stats_ =
      std::make_shared<mycelium::EndpointStats>();
};

class DeleteBus final {
 public:
  void operator()(PythonBus* bus) const {
    bus->CountAsClosed();
    if (delete_.keeps()) return;
    if (!Interpreter::HasLeftCallback()) return delete_(bus);
    // The service is free at once; the node ends when the callback has.
    std::shared_ptr<NodeRuntime> node = bus->bus().runtime();
    delete_.Now(bus);
    DestroyAside([node = std::move(node)]() mutable { node.reset(); });
  }

 private:
  DeleteWithoutGil delete_;
};
using OwnedBus = std::unique_ptr<PythonBus, DeleteBus>;

// Makes a bus by `make`, which gets options with a watch in them.
template <typename Make>
OwnedBus MakeBus(const py::kwargs& keywords, Make make) {
  BusOptions options = BusOptionsOf(keywords);
  auto watch = std::make_shared<ConnectionWatch>(options.environment->waiter);
  options.on_connection = [watch, then = std::move(options.on_connection)](
                              const ConnectionEvent& event) {
    watch->Report(event);
    if (then != nullptr) then(event);
  };
  std::unique_ptr<MessageBus> bus =
      ValueOrRaise(WithoutGil([&] { return make(options); }));
  return OwnedBus(new PythonBus(std::move(bus), std::move(watch)));
}

OwnedBus FromTopology(const std::string& path, const std::string& service,
                      const py::kwargs& options) {
  return MakeBus(options, [&](const BusOptions& made) {
    return MessageBus::FromTopology(path, service, made);
  });
}

OwnedBus Create(const py::kwargs& options) {
  return MakeBus(
      options, [](const BusOptions& made) { return MessageBus::Create(made); });
}

OwnedBus OfProcess(const std::string& service, const py::kwargs& options) {
  return MakeBus(options, [&](const BusOptions& made) {
    return MessageBus::OfProcess(service, made);
  });
}

template <typename Reports>
py::list ListOf(const Reports& reports) {
  py::list list;
  for (const auto& report : reports) list.append(DictOf(report));
  return list;
}

}  // namespace

void DefineBus(py::module_& module) {
  py::class_<PythonBus, OwnedBus>(module, "Bus")
      .def_property_readonly(
          "service", [](PythonBus& self) { return self.bus().service(); })
      .def_property_readonly("node",
                             [](PythonBus& self) { return self.bus().node(); })
      // Tells two nodes of one name apart while both live.
      .def_property_readonly(
          "runtime_id",
          [](PythonBus& self) {
            return reinterpret_cast<uintptr_t>(self.bus().runtime().get());
          })
      .def("listen_unix", &PythonBus::ListenUnix, MayWait())
      .def("connect_unix", &PythonBus::ConnectUnix, MayWait())
      .def("listen_shm", &PythonBus::ListenShm, MayWait())
      .def("connect_shm", &PythonBus::ConnectShm, MayWait())
      .def("listen_tcp", &PythonBus::ListenTcp, MayWait())
      .def("connect_tcp", &PythonBus::ConnectTcp, MayWait())
      .def("stop_listening", &PythonBus::StopListening, MayWait())
      .def("endpoint_stats", &PythonBus::EndpointStats, MayWait())
      .def("wait_for_link", &PythonBus::WaitForLink, MayWait())
      .def("poll", &PythonBus::Poll, MayWait())
      .def_property_readonly(
          "polled_by_caller",
          [](PythonBus& self) {
            return self.bus().runtime()->is_polled_by_caller();
          })
      .def(
          "poll_descriptor",
          [](PythonBus& self) {
            RaiseUnlessOk(self.bus().CheckNotForked());
            return self.bus().poll_descriptor();
          },
          MayWait())
      .def(
          "publisher",
          [](PythonBus& self, const MessageType& type,
             const std::string& service, const py::kwargs& options) {
            return PublisherOf(self.bus(), type, service, options);
          },
          MayWait())
      .def(
          "subscriber",
          [](PythonBus& self, const MessageType& type,
             const py::kwargs& options) {
            return SubscriberOf(self.bus(), type, options);
          },
          MayWait())
      .def(
          "subscribe",
          [](PythonBus& self, const MessageType& type, const py::object& owner,
             const py::kwargs& options) {
            return SubscriptionOf(self.bus(), type, owner, options);
          },
          MayWait())
      .def(
          "flush",
          [](PythonBus& self, double seconds) {
            const absl::Duration timeout = TimeoutOf(seconds);
            RaiseUnlessOk(WaitForRuntime([&](const KeepWaiting& keep_waiting) {
              return self.bus().Flush(timeout, keep_waiting);
            }));
          },
          MayWait())
      .def("close", &PythonBus::Close, MayWait())
      .def("shutdown", &PythonBus::Shutdown, MayWait())
      .def_property_readonly(
          "closed", [](PythonBus& self) { return self.bus().closed(); })
      .def(
          "ledger",
          [](PythonBus& self) {
            return ListOf(WithoutGil([&] { return self.bus().FlowReports(); }));
          },
          MayWait())
      .def(
          "links",
          [](PythonBus& self) {
            return ListOf(WithoutGil([&] { return self.bus().LinkReports(); }));
          },
          MayWait());
  module.def("bus_from_topology", &FromTopology, MayWait());
  module.def("create_bus", &Create, MayWait());
  module.def("bus_of_process", &OfProcess, MayWait());
}

}  // namespace mycelium
