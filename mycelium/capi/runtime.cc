// The functions of mycelium.h on types and runtimes.
#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "mycelium/base/fork_guard.h"
#include "mycelium/bus/shm_endpoint.h"
#include "mycelium/bus/unix_endpoint.h"
#include "mycelium/capi/events.h"
#include "mycelium/capi/handles.h"
#include "mycelium/capi/status.h"
#include "mycelium/message/described_type.h"
#include "mycelium/version.h"

using mycelium::CheckGiven;
using mycelium::CheckRuntime;
using mycelium::Digest;
using mycelium::EndpointHandle;
using mycelium::MessageBus;
using mycelium::Returned;
using mycelium::ReturnedNull;
using mycelium::TextFrom;

namespace mycelium {
namespace {

MyceliumRuntime* RuntimeOf(absl::StatusOr<std::unique_ptr<MessageBus>> bus,
                           const BusOptions& options) {
  if (!bus.ok()) return ReturnedNull<MyceliumRuntime>(bus.status());
  auto* const runtime = new MyceliumRuntime;
  runtime->bus = *std::move(bus);
  runtime->schema_digest = options.schema_digest;
  return runtime;
}

// Calls `function` with the bus and the timeout once both are good.
template <typename Function>
mycelium_status WithTimeout(MyceliumRuntime* runtime, int64_t timeout_ms,
                            Function function) {
  if (absl::Status given = CheckRuntime(runtime); !given.ok()) {
    return Returned(given);
  }
  const absl::StatusOr<absl::Duration> timeout = TimeoutFrom(timeout_ms);
  if (!timeout.ok()) return Returned(timeout.status());
  return Returned(function(*runtime->bus, *timeout));
}

MyceliumType* TypeOf(absl::StatusOr<MessageType> type) {
  if (!type.ok()) return ReturnedNull<MyceliumType>(type.status());
  return new MyceliumType{*std::move(type)};
}

// An endpoint that listens ends with the runtime, which a callback may have
// destroyed meanwhile.
mycelium_status Keep(absl::StatusOr<EndpointHandle> endpoint,
                     Endpoints& endpoints) {
  if (!endpoint.ok()) return Returned(endpoint.status());
  if (endpoints.Add(*std::move(endpoint))) return MYCELIUM_OK;
  return Returned(
      absl::FailedPreconditionError("the runtime was closed meanwhile"));
}

// Not BindGrpcEndpoint(), which would link gRPC into every program with this.
absl::StatusOr<EndpointHandle> BindRemote(const char* address,
                                          const MyceliumRuntime& runtime) {
  const std::shared_ptr<NodeRuntime> node = runtime.bus->runtime();
  EndpointOptions options;
  options.stats = runtime.endpoint_stats;
  absl::StatusOr<NodeRuntime::BoundListener> listener =
      node->ListenRemote(address, std::move(options));
  if (!listener.ok()) return listener.status();
  return EndpointHandle(node, listener->id, std::move(listener->address));
}

// The port of "host:port"; 0 if there is none, as in "unix:///path".
int32_t PortOf(const std::string& address) {
  int32_t port = 0;
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port)) {
    return 0;
  }
  return port;
}

// Whether the runtime may still do what an open one does.
absl::Status CheckOpen(const MyceliumRuntime* runtime) {
  if (absl::Status good = CheckRuntime(runtime); !good.ok()) return good;
  if (!runtime->bus->closed()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "the runtime of service \"", runtime->bus->service(), "\" is closed"));
}

absl::Status CheckName(const char* name) {
  if (absl::Status given = CheckGiven(name, "name"); !given.ok()) return given;
  if (*name != '\0') return absl::OkStatus();
  return absl::InvalidArgumentError("name is empty");
}

}  // namespace
}  // namespace mycelium

// Versions

uint32_t mycelium_abi_version(void) { return MYCELIUM_ABI_VERSION; }

const char* mycelium_version(void) { return mycelium::Version(); }

// Message types

MyceliumType* mycelium_type_create_raw(const char* name) {
  if (absl::Status named = mycelium::CheckName(name); !named.ok()) {
    return ReturnedNull<MyceliumType>(named);
  }
  return mycelium::TypeOf(mycelium::RawMessageType(name));
}

MyceliumType* mycelium_type_create(const char* name, const uint8_t* digest,
                                   size_t digest_size) {
  if (absl::Status named = mycelium::CheckName(name); !named.ok()) {
    return ReturnedNull<MyceliumType>(named);
  }
  const absl::StatusOr<Digest> known =
      mycelium::DigestFrom(digest, digest_size);
  if (!known.ok()) return ReturnedNull<MyceliumType>(known.status());
  return mycelium::TypeOf(mycelium::RawMessageType(name, *known));
}

MyceliumType* mycelium_type_create_from_descriptors(const char* name,
                                                    const void* descriptors,
                                                    size_t descriptors_size) {
  absl::Status good = mycelium::CheckName(name);
  if (good.ok()) good = mycelium::CheckBuffer(descriptors, descriptors_size);
  if (!good.ok()) return ReturnedNull<MyceliumType>(good);
  return mycelium::TypeOf(mycelium::DescribedMessageType(
      name, absl::string_view(static_cast<const char*>(descriptors),
                              descriptors_size)));
}

mycelium_status mycelium_type_digest(const MyceliumType* type, uint8_t* digest,
                                     size_t digest_size) {
  absl::Status good = CheckGiven(type, "type");
  if (good.ok()) good = CheckGiven(digest, "digest");
  if (good.ok() && digest_size != MYCELIUM_DIGEST_BYTES) {
    good = absl::InvalidArgumentError(
        absl::StrCat("a digest has 32 bytes, not ", digest_size));
  }
  if (!good.ok()) return Returned(good);
  const auto& bytes = type->type.digest.array();
  std::copy(bytes.begin(), bytes.end(), digest);
  return MYCELIUM_OK;
}

void mycelium_type_destroy(MyceliumType* type) { delete type; }

// Runtimes

MyceliumRuntime* mycelium_runtime_create(
    const MyceliumRuntimeOptions* options) {
  const absl::StatusOr<mycelium::BusOptions> made =
      mycelium::OptionsFrom(options);
  if (!made.ok()) return ReturnedNull<MyceliumRuntime>(made.status());
  return mycelium::RuntimeOf(MessageBus::Create(*made), *made);
}

MyceliumRuntime* mycelium_runtime_create_from_topology(
    const char* topology_path, const char* service_name) {
  return mycelium_runtime_create_from_topology_with(topology_path, service_name,
                                                    nullptr);
}

MyceliumRuntime* mycelium_runtime_create_from_topology_with(
    const char* topology_path, const char* service_name,
    const MyceliumRuntimeOptions* options) {
  if (absl::Status given = CheckGiven(service_name, "service_name");
      !given.ok()) {
    return ReturnedNull<MyceliumRuntime>(given);
  }
  const absl::StatusOr<mycelium::BusOptions> made =
      mycelium::OptionsFrom(options);
  if (!made.ok()) return ReturnedNull<MyceliumRuntime>(made.status());
  return mycelium::RuntimeOf(
      MessageBus::FromTopology(TextFrom(topology_path), service_name, *made),
      *made);
}

MyceliumRuntime* mycelium_runtime_create_of_process(
    const char* service_name, const MyceliumRuntimeOptions* options) {
  const absl::StatusOr<mycelium::BusOptions> made =
      mycelium::OptionsFrom(options);
  if (!made.ok()) return ReturnedNull<MyceliumRuntime>(made.status());
  return mycelium::RuntimeOf(
      MessageBus::OfProcess(TextFrom(service_name), *made), *made);
}

void mycelium_runtime_destroy(MyceliumRuntime* runtime) {
  if (runtime != nullptr && !CheckRuntime(runtime).ok()) {
    // Another thread may have been changing its table of publishers.
    mycelium::ForkGuard::KeepForEver(runtime);
    return;
  }
  if (runtime == nullptr) return;
  // A call that is running may still add an endpoint, which ends with the last
  // share of the table.
  std::vector<EndpointHandle> ended = runtime->endpoints->TakePresent();
  (void)EndpointHandle::StopAll(ended, EndpointHandle::kStopsIn);
  delete runtime;
}

const char* mycelium_runtime_service(const MyceliumRuntime* runtime) {
  return runtime == nullptr ? nullptr : runtime->bus->service().c_str();
}

const char* mycelium_runtime_node(const MyceliumRuntime* runtime) {
  return runtime == nullptr ? nullptr : runtime->bus->node().c_str();
}

mycelium_status mycelium_runtime_close(MyceliumRuntime* runtime,
                                       int64_t timeout_ms) {
  if (absl::Status good = CheckRuntime(runtime); !good.ok()) {
    return Returned(good);
  }
  // If the call runs callbacks, one of them may destroy the runtime.
  const std::shared_ptr<mycelium::Endpoints> endpoints = runtime->endpoints;
  const mycelium_status closed = mycelium::WithTimeout(
      runtime, timeout_ms, [](MessageBus& bus, absl::Duration timeout) {
        return bus.Close(timeout);
      });
  if (closed != MYCELIUM_OK && closed != MYCELIUM_DEADLINE_EXCEEDED) {
    return closed;
  }
  std::vector<EndpointHandle> ended = endpoints->TakeAll();
  (void)EndpointHandle::StopAll(ended, closed == MYCELIUM_OK
                                           ? EndpointHandle::kStopsIn
                                           : EndpointHandle::kStopsInAtLeast);
  return closed;
}

mycelium_status mycelium_runtime_closed(const MyceliumRuntime* runtime,
                                        int32_t* closed) {
  absl::Status good = CheckRuntime(runtime);
  if (good.ok()) good = CheckGiven(closed, "closed");
  if (good.ok()) *closed = runtime->bus->closed() ? 1 : 0;
  return Returned(good);
}

mycelium_status mycelium_runtime_shutdown(MyceliumRuntime* runtime,
                                          int64_t timeout_ms) {
  return mycelium::WithTimeout(runtime, timeout_ms,
                               [](MessageBus& bus, absl::Duration timeout) {
                                 return bus.Shutdown(timeout);
                               });
}

mycelium_status mycelium_runtime_flush(MyceliumRuntime* runtime,
                                       int64_t timeout_ms) {
  return mycelium::WithTimeout(runtime, timeout_ms,
                               [](MessageBus& bus, absl::Duration timeout) {
                                 return bus.Flush(timeout);
                               });
}

mycelium_status mycelium_runtime_verify_digest(const MyceliumRuntime* runtime,
                                               const uint8_t* digest,
                                               size_t digest_size) {
  if (absl::Status given = CheckRuntime(runtime); !given.ok()) {
    return Returned(given);
  }
  const absl::StatusOr<Digest> theirs =
      mycelium::DigestFrom(digest, digest_size);
  if (!theirs.ok()) return Returned(theirs.status());
  if (runtime->schema_digest == *theirs) return MYCELIUM_OK;
  return Returned(absl::FailedPreconditionError(absl::StrCat(
      "service \"", runtime->bus->service(), "\" has ",
      runtime->schema_digest.has_value()
          ? absl::StrCat("schema digest ", runtime->schema_digest->ToHex())
          : "no schema digest",
      ", not ", theirs->ToHex())));
}

mycelium_status mycelium_runtime_listen_unix(MyceliumRuntime* runtime,
                                             const char* path) {
  absl::Status good = mycelium::CheckOpen(runtime);
  if (good.ok()) good = CheckGiven(path, "path");
  if (!good.ok()) return Returned(good);
  const auto endpoints = runtime->endpoints;
  return mycelium::Keep(
      mycelium::BindUnixEndpoint(path, *runtime->bus, runtime->endpoint_stats),
      *endpoints);
}

mycelium_status mycelium_runtime_connect_unix(MyceliumRuntime* runtime,
                                              const char* path) {
  absl::Status good = mycelium::CheckOpen(runtime);
  if (good.ok()) good = CheckGiven(path, "path");
  if (good.ok()) good = mycelium::DialUnixEndpoint(path, *runtime->bus);
  return Returned(good);
}

mycelium_status mycelium_runtime_listen_shm(MyceliumRuntime* runtime,
                                            const char* path, size_t capacity) {
  absl::Status good = mycelium::CheckOpen(runtime);
  if (good.ok()) good = CheckGiven(path, "path");
  if (!good.ok()) return Returned(good);
  const auto endpoints = runtime->endpoints;
  return mycelium::Keep(mycelium::BindShmEndpoint(
                            path, *runtime->bus, std::nullopt,
                            capacity == 0 ? mycelium::kShmCapacity : capacity,
                            runtime->endpoint_stats),
                        *endpoints);
}

mycelium_status mycelium_runtime_connect_shm(MyceliumRuntime* runtime,
                                             const char* path) {
  return mycelium_runtime_connect_shm_with(runtime, path, /*capacity=*/0);
}

mycelium_status mycelium_runtime_connect_shm_with(MyceliumRuntime* runtime,
                                                  const char* path,
                                                  size_t capacity) {
  absl::Status good = mycelium::CheckOpen(runtime);
  if (good.ok()) good = CheckGiven(path, "path");
  if (good.ok()) {
    good = mycelium::DialShmEndpoint(path, *runtime->bus, capacity);
  }
  return Returned(good);
}

mycelium_status mycelium_runtime_listen_grpc(MyceliumRuntime* runtime,
                                             const char* address,
                                             int32_t* port) {
  absl::Status good = mycelium::CheckOpen(runtime);
  if (good.ok()) good = CheckGiven(address, "address");
  if (!good.ok()) return Returned(good);
  const auto endpoints = runtime->endpoints;
  absl::StatusOr<mycelium::EndpointHandle> bound =
      mycelium::BindRemote(address, *runtime);
  if (bound.ok() && port != nullptr) *port = mycelium::PortOf(bound->address());
  return mycelium::Keep(std::move(bound), *endpoints);
}

mycelium_status mycelium_runtime_connect_grpc(MyceliumRuntime* runtime,
                                              const char* address) {
  absl::Status good = mycelium::CheckOpen(runtime);
  if (good.ok()) good = CheckGiven(address, "address");
  if (!good.ok()) return Returned(good);
  const auto node = runtime->bus->runtime();
  return Returned(node->DialRemote(address));
}

mycelium_status mycelium_runtime_stop_listening(MyceliumRuntime* runtime,
                                                const char* address) {
  absl::Status good = CheckRuntime(runtime);
  if (good.ok()) good = CheckGiven(address, "address");
  if (good.ok()) {
    good = runtime->bus->runtime()->CheckOutsideHandlers(
        "mycelium_runtime_stop_listening()");
  }
  if (!good.ok()) return Returned(good);
  std::vector<EndpointHandle> ended = runtime->endpoints->Take(address);
  if (ended.empty()) {
    return Returned(absl::NotFoundError(
        absl::StrCat("this runtime does not listen at ", address)));
  }
  return Returned(EndpointHandle::StopAll(ended, EndpointHandle::kStopsIn));
}

mycelium_status mycelium_runtime_poll(MyceliumRuntime* runtime,
                                      int64_t timeout_ms, int32_t* ran) {
  return mycelium::WithTimeout(
      runtime, timeout_ms, [ran](MessageBus& bus, absl::Duration timeout) {
        const absl::StatusOr<bool> something = bus.Poll(timeout);
        if (something.ok() && ran != nullptr) *ran = *something ? 1 : 0;
        return something.status();
      });
}

mycelium_status mycelium_runtime_descriptor(const MyceliumRuntime* runtime,
                                            int* descriptor) {
  absl::Status good = CheckRuntime(runtime);
  if (good.ok()) good = CheckGiven(descriptor, "descriptor");
  if (good.ok()) *descriptor = runtime->bus->poll_descriptor();
  return Returned(good);
}

// Counts

const char* mycelium_drop_reason_name(size_t reason) {
  if (reason >= mycelium::kDropReasonCount) return nullptr;
  // A literal, so NUL follows it.
  return mycelium::DropReasonWord(static_cast<mycelium::DropReason>(reason))
      .data();
}

mycelium_status mycelium_runtime_ledger(
    const MyceliumRuntime* runtime,
    void (*callback)(const MyceliumFlow* flow, void* user), void* user) {
  absl::Status good = CheckRuntime(runtime);
  if (good.ok()) good = mycelium::CheckCallback(callback != nullptr);
  if (!good.ok()) return Returned(good);
  for (const mycelium::FlowReport& report : runtime->bus->FlowReports()) {
    const MyceliumFlow flow = mycelium::FlowOf(report);
    callback(&flow, user);
  }
  return MYCELIUM_OK;
}

mycelium_status mycelium_runtime_links(
    const MyceliumRuntime* runtime,
    void (*callback)(const MyceliumLink* link, void* user), void* user) {
  absl::Status good = CheckRuntime(runtime);
  if (good.ok()) good = mycelium::CheckCallback(callback != nullptr);
  if (!good.ok()) return Returned(good);
  for (const mycelium::LinkReport& report : runtime->bus->LinkReports()) {
    MyceliumLink link = {};
    link.peer = report.peer.c_str();
    link.transport = report.transport.c_str();
    link.address = report.address.c_str();
    link.rule = report.rule.c_str();
    link.is_up = report.is_up ? 1 : 0;
    link.last_error = report.last_error.c_str();
    link.fallback = report.fallback.c_str();
    callback(&link, user);
  }
  return MYCELIUM_OK;
}

mycelium_status mycelium_runtime_stats(const MyceliumRuntime* runtime,
                                       MyceliumStats* stats) {
  absl::Status good = CheckRuntime(runtime);
  if (good.ok()) good = CheckGiven(stats, "stats");
  if (good.ok()) {
    good =
        mycelium::CheckStructSize(stats->struct_size, mycelium::kStatsBytesMin,
                                  sizeof *stats, "MyceliumStats");
  }
  if (!good.ok()) return Returned(good);
  MyceliumStats sums = MYCELIUM_STATS_INIT;
  for (const mycelium::FlowReport& report : runtime->bus->FlowReports()) {
    sums.accepted += report.ledger.accepted;
    sums.delivered += report.ledger.delivered;
    sums.in_flight += report.ledger.in_flight;
    sums.dropped += report.ledger.dropped_total();
  }
  for (const mycelium::LinkReport& link : runtime->bus->LinkReports()) {
    ++sums.links;
    if (link.is_up) ++sums.links_up;
  }
  mycelium::WriteStruct(sums, stats);
  return MYCELIUM_OK;
}

mycelium_status mycelium_runtime_endpoint_stats(const MyceliumRuntime* runtime,
                                                MyceliumEndpointStats* stats) {
  absl::Status good = CheckRuntime(runtime);
  if (good.ok()) good = CheckGiven(stats, "stats");
  if (good.ok()) {
    good = mycelium::CheckStructSize(stats->struct_size,
                                     mycelium::kEndpointStatsBytesMin,
                                     sizeof *stats, "MyceliumEndpointStats");
  }
  if (!good.ok()) return Returned(good);
  const mycelium::EndpointCounts counts = runtime->endpoint_stats->Read();
  MyceliumEndpointStats made = MYCELIUM_ENDPOINT_STATS_INIT;
  made.connections = counts.connections;
  made.handshake_failures = counts.handshake_failures;
  made.frames_sent = counts.traffic.frames_sent;
  made.bytes_sent = counts.traffic.bytes_sent;
  made.frames_received = counts.traffic.frames_received;
  made.bytes_received = counts.traffic.bytes_received;
  made.stalls = counts.traffic.stalls;
  for (const uint64_t dropped : counts.dropped) made.dropped += dropped;
  mycelium::WriteStruct(made, stats);
  return MYCELIUM_OK;
}
