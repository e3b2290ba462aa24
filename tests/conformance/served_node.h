#ifndef TESTS_CONFORMANCE_SERVED_NODE_H_
#define TESTS_CONFORMANCE_SERVED_NODE_H_

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/conformance/raw_peer.h"
#include "tests/support/short_temp_dir.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium::test {

// A bus that keeps to the rules while a peer at its socket does not. It has an
// inline and a queued subscription to Note, publishes Note itself, and
// remembers what it was told of its connections.
//
// Thread safety: the members that wait may be called from one thread.
class ServedNode final {
 public:
  // `transport`: the transport that carries its links, "unix" or "shm".
  explicit ServedNode(const std::string& transport,
                      BusOptions options = BusOptions());
  ~ServedNode();

  const std::string& path() const { return path_; }
  MessageBus& bus() { return *bus_; }
  Publisher<Note>& publisher() { return *publisher_; }

  // The ids of the notes of `node` that the subscription of that name got.
  std::multiset<uint64_t> IdsFrom(const std::string& node,
                                  const std::string& subscription) const;
  // Waits until a note of `node` has come.
  bool HasGotFrom(const std::string& node);

  // Makes the queued subscription's handler wait, with the note that it has
  // just got, or lets it go on.
  void SetQueuedHeld(bool held);

  // A connection on which both sides have said Hello. `shares`: the peer's
  // Hello says that it would read lanes in shared memory.
  RawPeer Greeted(const std::string& node, uint64_t incarnation = 1,
                  bool shares = false);

  // The same, with lane 0 open and publisher 1 of Note declared and matched to
  // the inline subscription. What it publishes is delivered.
  RawPeer Publishing(const std::string& node);

  // The ids of the subscriptions, as peers are told them.
  uint32_t inline_id() const { return inline_id_; }
  uint32_t queued_id() const { return queued_id_; }

  // Waits until a log line or connection event contains `text`. False after a
  // long time.
  bool WasTold(const std::string& text);
  std::optional<ConnectionEvent> EventWith(ConnectionEvent::State state,
                                           const std::string& peer);
  std::string Told() const;  // For messages.

  // Fails the test unless a new, well-behaved node can connect, exchange
  // messages both ways and leave, with ledgers and ids that agree.
  void ExpectServesOthers();

  // Ends the bus; the socket is removed with it.
  void Shutdown();

 private:
  struct Got {
    std::string node, subscription;
    uint64_t id;
  };

  void OnConnection(const ConnectionEvent& event);

  ShortTempDir dir_;
  const std::string transport_;
  const std::string path_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> told_;
  std::vector<ConnectionEvent> events_;
  std::vector<Got> got_;
  bool queued_held_ = false;
  int guests_ = 0;

  std::unique_ptr<MessageBus> bus_;
  std::optional<UnixEndpointHandle> endpoint_;
  std::vector<SubscriptionHandle> subscriptions_;
  std::optional<Publisher<Note>> publisher_;
  uint32_t inline_id_ = 0;
  uint32_t queued_id_ = 0;
};

// Control messages by hand.
v1::Control LaneOpenOf(uint32_t lane, uint32_t subscription,
                       uint64_t capacity_bytes = 1 << 16, uint64_t position = 0,
                       uint64_t next_sequence = 1);
v1::Control DeclareOf(uint32_t publisher);
v1::Control MatchOf(uint32_t publisher, uint32_t subscription, uint32_t lane);
v1::Control SubscribeOf(uint32_t subscription);

// A frame of Note with that id.
RawFrame NoteFrame(uint64_t sequence);

Note MakeNote(uint64_t id);

// How many descriptors this process has open.
size_t OpenDescriptors();

}  // namespace mycelium::test

#endif  // TESTS_CONFORMANCE_SERVED_NODE_H_
