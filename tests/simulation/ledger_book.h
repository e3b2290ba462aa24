#ifndef TESTS_SIMULATION_LEDGER_BOOK_H_
#define TESTS_SIMULATION_LEDGER_BOOK_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "mycelium/routing/flow_report.h"

namespace mycelium::test {

// The test's own record of every message, kept beside the counts of the buses,
// and the laws that hold between the two:
//
//   once       a subscription gets a message of a publisher at most once; more
//              often only if the two had given each other up, and marked
//   order      it gets those of one publisher in the order of their acceptance
//   no loss    a lossless one misses none between two that it gets, nor before
//              the first, once its publisher was seen to reach it, unless the
//              two processes had given each other up in between
//   told       what a lossy one misses, `lost_before` has told it
//   ledger     accepted = delivered + dropped + in flight, over both sides;
//              what comes again after a parting or a crash counts once
//   agreement  buses count as delivered what was delivered
//   somewhere  buses count as accepted, for somebody or for nobody, no less
//              than what Publish() took; what is for nobody is dropped
//
// A life is one run of one publisher or subscription: of one process, and of
// one Subscribe() call in it.
class LedgerBook final {
 public:
  using PublisherLife = uint32_t;
  using SubscriptionLife = uint32_t;

  // What one subscription got from one publisher.
  struct Received {
    uint64_t first = 0;
    uint64_t last = 0;
    uint64_t count = 0;
    uint64_t missing = 0;  // Between the first and the last.
    uint64_t gaps = 0;
    std::set<uint64_t> ids;
  };
  struct Subscription {
    int place;
    int incarnation;
    std::string node, service, topic, name;
    bool lossy = false;
    bool open = true;
    std::map<PublisherLife, Received> received;
    std::map<int, uint64_t> lost_before;  // As the bus said, by place.
  };
  struct Publisher {
    int place;
    int incarnation;
    std::string node, service, topic, target;
    uint64_t accepted = 0;
    // A matching subscription has ended since this publisher came: the number
    // that it reaches does not tell any more which ones it reaches.
    bool saw_an_end = false;
    size_t looked_at = 0;  // The number of subscriptions when it reached all.
    // How many messages it had had accepted when it was first seen to reach
    // each of them.
    std::map<SubscriptionLife, uint64_t> reached_at = {};

    bool Matches(const Subscription& subscription) const {
      return subscription.topic == topic &&
             (target.empty() || target == subscription.service);
    }
  };

  PublisherLife AddPublisher(Publisher publisher);
  SubscriptionLife AddSubscription(Subscription subscription);
  void EndSubscription(SubscriptionLife life);
  // Notes how many subscriptions the publisher reaches, as the bus says.
  void NoteReached(PublisherLife life, size_t count);

  uint64_t NextId(PublisherLife life) const {
    return publishers_[life].accepted + 1;
  }
  void CountAccepted(PublisherLife life) { ++publishers_[life].accepted; }
  // The last three arguments are as the bus says.
  void CountDelivered(SubscriptionLife to, PublisherLife from, uint64_t id,
                      uint64_t sequence, uint64_t lost_before,
                      bool redelivered);

  // One of the two has given the other one up: what was between them may be
  // lost. The caller has checked that there was a reason to.
  void NotePart(int place, int other) {
    ++partings_[std::minmax(place, other)];
  }
  // A process at `place` begins to leave. left_at(): when one did so last.
  void NoteLeaves(int place, int64_t now) { left_at_[place] = now; }
  std::optional<int64_t> left_at(int place) const {
    const auto entry = left_at_.find(place);
    if (entry == left_at_.end()) return std::nullopt;
    return entry->second;
  }

  // The counts of the buses of a process when it ended. `inside`: the number of
  // handlers that had not returned.
  void AddReports(int place, int incarnation, bool crashed, uint64_t inside,
                  const std::vector<FlowReport>& reports);

  // To be called after the last process has ended.
  void CheckLedger();

  // Whether the last message that the publisher has had accepted has come to
  // the subscription.
  bool HasLast(SubscriptionLife to, PublisherLife from) const;

  void Fail(std::string what) { violations_.push_back(std::move(what)); }
  const std::vector<std::string>& violations() const { return violations_; }
  const std::vector<Publisher>& publishers() const { return publishers_; }
  const std::vector<Subscription>& subscriptions() const {
    return subscriptions_;
  }
  // How many pairs of nodes there are between which nothing may be lost, and
  // how many pairs in all.
  uint64_t strict_flows() const { return strict_flows_; }
  uint64_t flows() const { return flows_; }

 private:
  // Over all lives: topic, publisher's service, subscriber's service, name.
  struct FlowKey {
    std::string topic, from, to, name;
    bool operator<(const FlowKey& other) const {
      return std::tie(topic, from, to, name) <
             std::tie(other.topic, other.from, other.to, other.name);
    }
  };
  struct FlowSum {
    int from_place = -1;
    int to_place = -1;
    uint64_t accepted = 0;
    uint64_t dropped = 0;
    uint64_t lost_in_crash = 0;
    uint64_t in_flight = 0;
    uint64_t delivered = 0;            // By the test's own count.
    uint64_t distinct = 0;             // The same without what came again.
    std::vector<std::string> reasons;  // Of `dropped`, for people.
    bool half_published = false;       // A publisher died within Publish().
  };

  // Counts what came, over all lives.
  void CountMessages();
  void CheckLostBefore();
  void CheckAccepted();
  void CheckSomewhere();
  // A publisher that left in good order had handed its messages over. They are
  // the subscriber's, and die with it: nobody is left to count them.
  bool DiedWithTakenOver(const FlowSum& sum);
  bool NeverParted(int place, int other);
  uint64_t PartingsOf(int place, int other) const;
  int PlaceOf(const std::string& node) const;
  void CheckAgreement(int place, int incarnation, uint64_t inside,
                      const std::vector<FlowReport>& reports);

  std::vector<Publisher> publishers_;
  std::vector<Subscription> subscriptions_;
  std::map<std::pair<int, int>, uint64_t> partings_;
  std::map<int, int64_t> left_at_;
  std::map<FlowKey, FlowSum> sums_;
  // Messages accepted for nobody, by topic and publisher's service.
  std::map<std::pair<std::string, std::string>, uint64_t> for_nobody_;
  std::map<int, int> incarnations_;  // By place, the last one.
  std::set<int> crashed_;            // Places.
  std::vector<std::string> violations_;
  uint64_t strict_flows_ = 0;
  uint64_t flows_ = 0;
};

}  // namespace mycelium::test

#endif  // TESTS_SIMULATION_LEDGER_BOOK_H_
