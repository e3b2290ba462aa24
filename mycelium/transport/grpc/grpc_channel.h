#ifndef MYCELIUM_TRANSPORT_GRPC_GRPC_CHANNEL_H_
#define MYCELIUM_TRANSPORT_GRPC_GRPC_CHANNEL_H_

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "mycelium/base/environment.h"
#include "mycelium/transport/channel.h"
#include "mycelium/transport/grpc/grpc_stream.h"

namespace mycelium {

// A gRPC stream as a channel. See Channel for the contract. On both sides of it
// the bytes are records (mycelium/codec/frame_format.h), and between them
// mycelium.v1.LinkMessage; so it is no pipe for other bytes. For (2), what has
// arrived is what gRPC has handed to this process: it gives up the rest if the
// connection breaks.
class GrpcChannel final : public Channel, private GrpcStream::Owner {
 public:
  using CheckName = std::function<absl::Status(const std::string& node)>;

  // `check_name`: whether the peer may be that node.
  GrpcChannel(Environment& environment, std::shared_ptr<GrpcStream> stream,
              CheckName check_name);
  ~GrpcChannel() override;

  void Start(Channel::Handler& handler) override;
  absl::StatusOr<size_t> Send(absl::Span<const iovec> pieces) override {
    return stream_->Send(pieces);
  }
  absl::StatusOr<size_t> SendKept(
      absl::Span<const iovec> pieces,
      absl::Span<const std::shared_ptr<const void>> keepers) override {
    return stream_->Send(pieces, keepers);
  }
  void Close() override;
  bool gathers() const override { return true; }
  bool IsWriting() override { return stream_->IsWriting(); }
  const std::string& peer_description() const override {
    return stream_->peer();
  }
  absl::Status CheckConnected() const override {
    return stream_->CheckConnected();
  }
  absl::Status CheckPeerName(const std::string& node) const override {
    return check_name_(node);
  }

 private:
  // GrpcStream::Owner:
  void OnStream(bool is_writable) override;

  void Offer();

  Environment& environment_;
  const std::shared_ptr<GrpcStream> stream_;
  const CheckName check_name_;

  // On the loop.
  Channel::Handler* handler_ = nullptr;
  int starts_ = 0;
  bool told_end_ = false;  // That handler.
  ByteSink offered_;       // What was taken from the stream,
  size_t used_ = 0;        // and how much of that the handler is done with.
  std::atomic<bool> closed_{false};
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_GRPC_GRPC_CHANNEL_H_
