#include "mycelium/transport/grpc/client_stream.h"

#include <grpc/grpc.h>
#include <grpcpp/generic/generic_stub.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/transport/grpc/connection_arguments.h"

namespace mycelium {
namespace {

constexpr char kConnectMethod[] = "/mycelium.v1.Link/Connect";

// A connection that broke has many names in gRPC, and one here.
absl::Status StatusFrom(const ::grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  switch (status.error_code()) {
    case ::grpc::StatusCode::PERMISSION_DENIED:
    case ::grpc::StatusCode::UNAUTHENTICATED:
    case ::grpc::StatusCode::RESOURCE_EXHAUSTED:
      return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                          status.error_message());
    case ::grpc::StatusCode::UNIMPLEMENTED:
      return absl::FailedPreconditionError(absl::StrCat(
          "who answers knows no mycelium.v1.Link: ", status.error_message()));
    default:
      return absl::UnavailableError(status.error_message());
  }
}

}  // namespace

void ClientStream::Begin() {
  ::grpc::GenericStub(channel_).PrepareBidiStreamingCall(
      &context_, kConnectMethod, ::grpc::StubOptions(), this);
  // Operations are started from threads that gRPC does not know of.
  AddHold();
  StartCall();
  Begun();
}

absl::Status ClientStream::CheckConnected() const {
  if (channel_->GetState(/*try_to_connect=*/false) == GRPC_CHANNEL_READY) {
    return absl::OkStatus();
  }
  return absl::UnavailableError(
      absl::StrCat("no connection to ", peer(),
                   " in time: nobody answers there, or not as gRPC does"));
}

void ClientStream::StartEnding() {
  StartWritesDone();
  RemoveHold();
}

void ClientStream::OnDone(const ::grpc::Status& status) {
  Ended(StatusFrom(status));
  streams_->Remove(*this);  // Nothing of this may be used any more.
}

::grpc::ChannelArguments ClientArguments(const RemoteOptions& options) {
  ::grpc::ChannelArguments arguments;
  // A connection of its own, tried once: the connector dials again.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  SetConnectionArguments(options, [&](const char* name, int value) {
    arguments.SetInt(name, value);
  });
  return arguments;
}

}  // namespace mycelium
