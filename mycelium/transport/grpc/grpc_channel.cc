#include "mycelium/transport/grpc/grpc_channel.h"

#include <utility>

namespace mycelium {
namespace {

// How long a peer has to take what was sent before Close(), or before it ended
// its own direction.
constexpr int64_t kLingerNs = 1'000'000'000;

}  // namespace

GrpcChannel::GrpcChannel(Environment& environment,
                         std::shared_ptr<GrpcStream> stream,
                         CheckName check_name)
    : environment_(environment),
      stream_(std::move(stream)),
      check_name_(std::move(check_name)) {
  stream_->SetOwner(this);
}

GrpcChannel::~GrpcChannel() { Close(); }

void GrpcChannel::Start(Channel::Handler& handler) {
  handler_ = &handler;
  told_end_ = false;
  if (closed_.load(std::memory_order_relaxed)) return;
  // The first handler is the handshake; the one that follows has accepted the
  // peer.
  if (++starts_ == 2) stream_->NoteHandshaken();
  stream_->TellOwner();
}

void GrpcChannel::Close() {
  if (closed_.exchange(true)) return;
  stream_->SetOwner(nullptr);
  stream_->Close();
  stream_->LingerUntil(environment_.clock.NowNs() + kLingerNs);
}

void GrpcChannel::OnStream(bool is_writable) {
  if (handler_ == nullptr || told_end_) return;
  if (is_writable) handler_->OnWritable();
  if (!closed_.load(std::memory_order_relaxed)) Offer();
}

void GrpcChannel::Offer() {
  while (true) {
    if (used_ == offered_.size()) {
      if (!offered_.empty()) stream_->GiveBack(std::move(offered_));
      offered_ = ByteSink();
      used_ = 0;
      if (!stream_->Take(&offered_)) break;
    }
    const size_t used = handler_->OnBytes(offered_.span().subspan(used_));
    used_ += used;
    if (closed_.load(std::memory_order_relaxed)) return;
    if (used == 0) return;  // Start() follows.
  }
  absl::Status status;
  if (!stream_->IsOver(&status)) {
    if (stream_->HasHalfEnded()) {
      stream_->LingerUntil(environment_.clock.NowNs() + kLingerNs);
    }
    return;
  }
  told_end_ = true;
  handler_->OnClosed(status);
}

}  // namespace mycelium
