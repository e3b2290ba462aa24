#ifndef MYCELIUM_TRANSPORT_GRPC_CLIENT_STREAM_H_
#define MYCELIUM_TRANSPORT_GRPC_CLIENT_STREAM_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_callback.h>

#include <memory>
#include <string>

#include "mycelium/transport/grpc/grpc_stream.h"
#include "mycelium/transport/grpc/stream_set.h"
#include "mycelium/transport/remote_transport.h"

namespace mycelium {

// The dialling end of a stream.
class ClientStream final
    : public GrpcStream,
      private ::grpc::ClientBidiReactor<::grpc::ByteBuffer,
                                        ::grpc::ByteBuffer> {
 public:
  // `streams` holds it until gRPC lets go of it.
  ClientStream(EventLoop& loop, std::shared_ptr<StreamSet> streams,
               size_t frame_bytes_max, const std::string& address,
               std::shared_ptr<::grpc::Channel> channel)
      : GrpcStream(loop, streams->loans(), frame_bytes_max, address),
        streams_(std::move(streams)),
        channel_(std::move(channel)) {}

  // Once, when `streams` has it.
  void Begin();

  void Cancel() override { context_.TryCancel(); }
  absl::Status CheckConnected() const override;

 private:
  // GrpcStream:
  void StartReading(::grpc::ByteBuffer* message) override {
    StartRead(message);
  }
  void StartWriting(const ::grpc::ByteBuffer* message) override {
    StartWrite(message);
  }
  void StartEnding() override;

  // ClientBidiReactor:
  void OnReadDone(bool ok) override { ReadDone(ok); }
  void OnWriteDone(bool ok) override { WriteDone(ok); }
  void OnDone(const ::grpc::Status& status) override;

  const std::shared_ptr<StreamSet> streams_;
  const std::shared_ptr<::grpc::Channel> channel_;
  ::grpc::ClientContext context_;
};

// How channels are set up, besides credentials.
::grpc::ChannelArguments ClientArguments(const RemoteOptions& options);

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_GRPC_CLIENT_STREAM_H_
