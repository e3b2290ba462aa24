#ifndef MYCELIUM_TESTING_GATHERING_CHANNEL_H_
#define MYCELIUM_TESTING_GATHERING_CHANNEL_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/testing/simulated_sys.h"
#include "mycelium/transport/channel.h"

namespace mycelium {

// The part below a GatheringChannel, which lives on when the channel is closed:
// batches over another channel, which is a simulated socket.
//
// Sending. One batch is under way; what is sent meanwhile gathers in the next
// batch, which is bounded in bytes and in pieces. A batch is under way until
// the peer says that it has taken it.
//
// Receiving. A batch counts once all of it has arrived, so that a connection
// that ends loses what was under way. The batch is taken at once.
//
// On the wire: a word of four bytes. It is the size of the batch that follows,
// or 0 to say that the other side's batch was taken.
//
// Thread safety: none.
class GatheringStream final
    : public Channel::Handler,
      public std::enable_shared_from_this<GatheringStream> {
 public:
  static constexpr size_t kBatchBytesMax = 8 * 1024;
  static constexpr size_t kBatchPiecesMax = 8;

  class Owner {
   public:
    virtual ~Owner() = default;
    // A batch has arrived, or the stream is over.
    virtual void OnStream() = 0;
    virtual void OnRoom() = 0;
  };

  // `sys`: of the process, for its trace; outlives the stream.
  GatheringStream(SimulatedSys& sys, std::unique_ptr<Channel> inner)
      : sys_(sys), inner_(std::move(inner)) {}

  // Sets the owner that is told from here on. Null: nobody.
  void SetOwner(Owner* owner) { owner_ = owner; }
  void Start();

  absl::StatusOr<size_t> Send(absl::Span<const iovec> pieces);
  bool IsWriting();

  // The bytes that have arrived; Use() says that so many of them are done with.
  absl::Span<const std::byte> Arrived() const;
  void Use(size_t bytes);
  // Not OK once nothing more will arrive; says why.
  const absl::Status& end() const { return end_; }

  // Ends the stream when what was sent is written; `on_end` is called then,
  // perhaps at once. Bytes that arrive meanwhile are taken and forgotten.
  void Finish(std::function<void()> on_end);
  // Ends the stream now; of what is left the socket gets what it takes at once.
  void Abandon();

  const std::string& peer() const { return inner_->peer_description(); }

 private:
  // Channel::Handler, for the socket:
  size_t OnBytes(absl::Span<const std::byte> bytes) override;
  void OnWritable() override { Flush(); }
  void OnClosed(const absl::Status& status) override;

  size_t Gather(absl::Span<const iovec> pieces, size_t skip);
  void StartBatch();
  void OnTaken();
  void SayTaken();
  void WriteWord(uint32_t word);
  void Flush();
  void EndIfWritten();

  SimulatedSys& sys_;
  const std::unique_ptr<Channel> inner_;
  Owner* owner_ = nullptr;
  std::string out_;       // What the socket has not taken.
  std::string gathered_;  // The next batch.
  size_t gathered_pieces_ = 0;
  bool writing_ = false;
  bool wants_room_ = false;
  bool has_room_ = false;
  std::string arrived_;
  bool took_batch_ = false;  // And has not said so yet.
  absl::Status end_;
  std::function<void()> on_end_;  // Set by Finish().
};

// A channel of a simulated world that gathers as gRPC's channels do: see
// Channel for the contract and GatheringStream for the behaviour.
class GatheringChannel final : public Channel, private GatheringStream::Owner {
 public:
  // Gets the stream when the channel is closed.
  using Finish = std::function<void(std::shared_ptr<GatheringStream>)>;

  GatheringChannel(EventLoop& loop, std::shared_ptr<GatheringStream> stream,
                   Finish finish)
      : loop_(loop), stream_(std::move(stream)), finish_(std::move(finish)) {}
  ~GatheringChannel() override;

  void Start(Channel::Handler& handler) override;
  absl::StatusOr<size_t> Send(absl::Span<const iovec> pieces) override {
    return stream_->Send(pieces);
  }
  void Close() override;
  bool gathers() const override { return true; }
  bool IsWriting() override { return stream_->IsWriting(); }
  const std::string& peer_description() const override {
    return stream_->peer();
  }

 private:
  // GatheringStream::Owner:
  void OnStream() override;
  void OnRoom() override;

  void PostOffer();

  EventLoop& loop_;
  const std::shared_ptr<GatheringStream> stream_;
  const Finish finish_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  Channel::Handler* handler_ = nullptr;
  bool told_end_ = false;  // That handler.
  bool closed_ = false;
};

}  // namespace mycelium

#endif  // MYCELIUM_TESTING_GATHERING_CHANNEL_H_
