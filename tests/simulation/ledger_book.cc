#include "tests/simulation/ledger_book.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace mycelium::test {

LedgerBook::PublisherLife LedgerBook::AddPublisher(Publisher publisher) {
  publishers_.push_back(std::move(publisher));
  return static_cast<PublisherLife>(publishers_.size() - 1);
}

LedgerBook::SubscriptionLife LedgerBook::AddSubscription(
    Subscription subscription) {
  subscriptions_.push_back(std::move(subscription));
  return static_cast<SubscriptionLife>(subscriptions_.size() - 1);
}

void LedgerBook::EndSubscription(SubscriptionLife life) {
  subscriptions_[life].open = false;
  for (Publisher& publisher : publishers_) {
    publisher.saw_an_end |= publisher.Matches(subscriptions_[life]);
  }
}

void LedgerBook::NoteReached(PublisherLife life, size_t count) {
  Publisher& publisher = publishers_[life];
  if (publisher.saw_an_end || publisher.looked_at == subscriptions_.size()) {
    return;
  }
  std::vector<SubscriptionLife> matching;
  for (SubscriptionLife to = 0; to < subscriptions_.size(); ++to) {
    if (subscriptions_[to].open && publisher.Matches(subscriptions_[to])) {
      matching.push_back(to);
    }
  }
  // If the counts are equal, the subscriptions are the same ones: none that the
  // publisher may know has ended.
  if (matching.size() != count) return;
  for (const SubscriptionLife to : matching) {
    publisher.reached_at.emplace(to, publisher.accepted);
  }
  publisher.looked_at = subscriptions_.size();
}

uint64_t LedgerBook::PartingsOf(int place, int other) const {
  const auto entry = partings_.find(std::minmax(place, other));
  return entry == partings_.end() ? 0 : entry->second;
}

void LedgerBook::CountDelivered(SubscriptionLife to, PublisherLife from,
                                uint64_t id, uint64_t sequence,
                                uint64_t lost_before, bool redelivered) {
  if (from >= publishers_.size()) {
    Fail(absl::StrCat("a message of publisher ", from, ", who never was"));
    return;
  }
  const Publisher& publisher = publishers_[from];
  Subscription& subscription = subscriptions_[to];
  Received& received = subscription.received[from];
  const auto fail = [&](absl::string_view what) {
    Fail(absl::StrCat(what, ": ", publisher.node, ".", publisher.incarnation,
                      "/", publisher.service, " -> ", subscription.node, ".",
                      subscription.incarnation, "/", subscription.service, "/",
                      subscription.name, " \"", publisher.topic, "\" message ",
                      id, " after ", received.last));
  };
  if (!subscription.open) fail("delivered after the end");
  if (subscription.topic != publisher.topic ||
      (!publisher.target.empty() && publisher.target != subscription.service)) {
    fail("delivered to the wrong one");
  }
  if (sequence != id) {
    fail(absl::StrCat("sequence is ", sequence));
  }
  // One more is possible while its Publish() has not returned.
  if (id > publisher.accepted + 1) fail("delivered though not accepted");
  const uint64_t partings = PartingsOf(publisher.place, subscription.place);
  if (received.count == 0) {
    received.first = id;
    const auto reached = publisher.reached_at.find(to);
    if (reached != publisher.reached_at.end() && id > reached->second + 1 &&
        !subscription.lossy && partings == 0) {
      fail(absl::StrCat("lost before the first, since ", reached->second + 1));
    }
  } else if (id <= received.last && redelivered && partings > 0) {
    received.last = id;  // It goes on from there.
  } else if (id == received.last) {
    fail("delivered twice");
  } else if (id < received.last) {
    fail("delivered twice or out of order");
  } else if (id != received.last + 1 && !subscription.lossy &&
             received.gaps++ >= partings) {
    // Messages that came before a parting may be taken after it, so each
    // parting explains one gap, whenever the gap shows.
    fail("lost between living processes");
  }
  if (id > received.last + 1 && received.count > 0) {
    received.missing += id - received.last - 1;
  }
  if (lost_before > 0 && !subscription.lossy) {
    fail(absl::StrCat("lost before: ", lost_before));
  }
  subscription.lost_before[publisher.place] += lost_before;
  received.last = std::max(received.last, id);
  ++received.count;
  received.ids.insert(id);
}

bool LedgerBook::HasLast(SubscriptionLife to, PublisherLife from) const {
  const auto& received = subscriptions_[to].received;
  const auto entry = received.find(from);
  return entry != received.end() &&
         entry->second.last == publishers_[from].accepted;
}

int LedgerBook::PlaceOf(const std::string& node) const {
  int place = -1;
  const size_t dash = node.rfind('-');
  if (dash == std::string::npos ||
      !absl::SimpleAtoi(node.substr(dash + 1), &place)) {
    return -1;
  }
  return place;
}

void LedgerBook::AddReports(int place, int incarnation, bool crashed,
                            uint64_t inside,
                            const std::vector<FlowReport>& reports) {
  incarnations_[place] = incarnation;
  if (crashed) crashed_.insert(place);
  for (const FlowReport& report : reports) {
    if (report.subscriber_node.empty()) {
      const Ledger& ledger = report.ledger;
      for_nobody_[{report.topic, report.publisher_service}] += ledger.accepted;
      if (ledger.dropped_for(DropReason::kNoSubscriber) == ledger.accepted &&
          ledger.dropped_total() == ledger.accepted && ledger.Balances()) {
        continue;
      }
      Fail(absl::StrCat("ledger of nobody: ", report.publisher_service, " \"",
                        report.topic, "\": accepted ", ledger.accepted,
                        ", dropped ", ledger.dropped_total()));
      continue;
    }
    FlowSum& sum = sums_[{report.topic, report.publisher_service,
                          report.subscriber_service, report.subscription_name}];
    sum.from_place = PlaceOf(report.publisher_node);
    sum.to_place = PlaceOf(report.subscriber_node);
    sum.accepted += report.ledger.accepted;
    sum.dropped += report.ledger.dropped_total();
    for (size_t i = 0; i < kDropReasonCount; ++i) {
      if (report.ledger.dropped[i] == 0) continue;
      sum.reasons.push_back(
          absl::StrCat(DropReasonWord(static_cast<DropReason>(i)), " ",
                       report.ledger.dropped[i], " at ", place));
    }
    sum.half_published |= crashed && inside > 0 &&
                          report.publisher_node == report.subscriber_node;
    if (crashed) {
      sum.lost_in_crash += report.ledger.in_flight;
    } else {
      sum.in_flight += report.ledger.in_flight;
    }
  }
  CheckAgreement(place, incarnation, inside, reports);
}

void LedgerBook::CheckAgreement(int place, int incarnation, uint64_t inside,
                                const std::vector<FlowReport>& reports) {
  std::map<FlowKey, std::pair<uint64_t, uint64_t>> counts;  // Theirs, ours.
  for (const FlowReport& report : reports) {
    if (PlaceOf(report.subscriber_node) != place) continue;
    counts[{report.topic, report.publisher_service, report.subscriber_service,
            report.subscription_name}]
        .first += report.ledger.delivered;
  }
  for (const Subscription& subscription : subscriptions_) {
    if (subscription.place != place ||
        subscription.incarnation != incarnation) {
      continue;
    }
    for (const auto& [life, received] : subscription.received) {
      counts[{subscription.topic, publishers_[life].service,
              subscription.service, subscription.name}]
          .second += received.count;
    }
  }
  for (const auto& [key, count] : counts) {
    if (count.first <= count.second && count.second - count.first <= inside) {
      continue;
    }
    Fail(absl::StrCat("agreement: ", key.from, " -> ", key.to, "/", key.name,
                      " \"", key.topic, "\": the bus says delivered ",
                      count.first, ", there were ", count.second));
  }
}

bool LedgerBook::NeverParted(int place, int other) {
  return incarnations_[place] == 1 && incarnations_[other] == 1 &&
         PartingsOf(place, other) == 0;
}

bool LedgerBook::DiedWithTakenOver(const FlowSum& sum) {
  return incarnations_[sum.from_place] > 1 && crashed_.count(sum.to_place) != 0;
}

void LedgerBook::CheckLostBefore() {
  for (const Subscription& subscription : subscriptions_) {
    if (!subscription.lossy) continue;
    std::map<int, uint64_t> missing;  // By place.
    for (const auto& [life, received] : subscription.received) {
      missing[publishers_[life].place] += received.missing;
    }
    for (const auto& [place, count] : missing) {
      const auto told = subscription.lost_before.find(place);
      const uint64_t lost =
          told == subscription.lost_before.end() ? 0 : told->second;
      if (!NeverParted(place, subscription.place) || count <= lost) continue;
      Fail(absl::StrCat("told: ", subscription.service, "/", subscription.name,
                        " misses ", count, " messages of place ", place,
                        ", and was told of ", lost));
    }
  }
}

// Checks that the buses counted no more as accepted than Publish() took, for
// subscriptions that were made once. A subscription that takes the place of
// another one is announced while the other one is still known. Whether a
// process that was killed within Publish() had its message accepted, nobody
// knows.
void LedgerBook::CheckAccepted() {
  std::map<std::pair<std::string, std::string>, uint64_t> taken;
  for (const Publisher& publisher : publishers_) {
    taken[{publisher.topic, publisher.service}] +=
        publisher.accepted + (crashed_.count(publisher.place) != 0 ? 1 : 0);
  }
  std::map<std::tuple<std::string, std::string, std::string>, int> lives;
  for (const Subscription& subscription : subscriptions_) {
    ++lives[{subscription.topic, subscription.service, subscription.name}];
  }
  for (const auto& [key, sum] : sums_) {
    if (lives[{key.topic, key.to, key.name}] != 1) continue;
    const uint64_t most = taken[{key.topic, key.from}];
    if (sum.accepted <= most) continue;
    Fail(absl::StrCat("accepted: ", key.from, " -> ", key.to, "/", key.name,
                      " \"", key.topic, "\": the buses say ", sum.accepted,
                      ", Publish() took ", most));
  }
}

// Checks that all flows of a topic and service together, including the flow to
// nobody, have no less than Publish() took, and that the flow to nobody alone
// has no more.
void LedgerBook::CheckSomewhere() {
  struct Sum {
    uint64_t taken = 0, half_taken = 0, somewhere = 0;
  };
  std::map<std::pair<std::string, std::string>, Sum> sums;
  for (const Publisher& publisher : publishers_) {
    Sum& sum = sums[{publisher.topic, publisher.service}];
    sum.taken += publisher.accepted;
    sum.half_taken += crashed_.count(publisher.place);
  }
  for (const auto& [key, flow] : sums_) {
    sums[{key.topic, key.from}].somewhere += flow.accepted;
  }
  for (const auto& [key, sum] : sums) {
    const uint64_t nobody = for_nobody_[key];
    if (nobody <= sum.taken + sum.half_taken &&
        sum.taken <= sum.somewhere + nobody) {
      continue;
    }
    Fail(absl::StrCat("somewhere: ", key.second, " \"", key.first,
                      "\": Publish() took ", sum.taken,
                      ", the buses say for somebody ", sum.somewhere,
                      ", for nobody ", nobody));
  }
}

void LedgerBook::CountMessages() {
  std::map<std::pair<FlowKey, PublisherLife>, std::set<uint64_t>> ids;
  for (const Subscription& subscription : subscriptions_) {
    for (const auto& [life, received] : subscription.received) {
      const FlowKey key = {subscription.topic, publishers_[life].service,
                           subscription.service, subscription.name};
      sums_[key].delivered += received.count;
      ids[{key, life}].insert(received.ids.begin(), received.ids.end());
    }
  }
  for (const auto& [flow, came] : ids) {
    sums_[flow.first].distinct += came.size();
  }
}

void LedgerBook::CheckLedger() {
  CheckLostBefore();
  CheckAccepted();
  CheckSomewhere();
  CountMessages();
  for (const auto& [key, sum] : sums_) {
    ++flows_;
    const bool strict = NeverParted(sum.from_place, sum.to_place);
    const uint64_t rest = sum.dropped + sum.lost_in_crash + sum.in_flight;
    if (strict) ++strict_flows_;
    // What came again makes up for no message that is missing.
    if (strict ? sum.accepted == sum.delivered + rest
               : (sum.accepted <= sum.distinct + rest || sum.half_published ||
                  DiedWithTakenOver(sum)) &&
                     // Messages that the other side had when they parted may
                     // come again.
                     (sum.delivered <= sum.accepted ||
                      incarnations_[sum.to_place] > 1 ||
                      PartingsOf(sum.from_place, sum.to_place) > 0)) {
      continue;
    }
    Fail(absl::StrCat(
        "ledger", strict ? "" : " (of a pair that parted)", ": ", key.from,
        " -> ", key.to, "/", key.name, " \"", key.topic, "\": accepted ",
        sum.accepted, ", delivered ", sum.delivered, " (", sum.distinct,
        " different), dropped ", sum.dropped, " (",
        absl::StrJoin(sum.reasons, " "), ")", ", lost in crashes ",
        sum.lost_in_crash, ", in flight ", sum.in_flight));
  }
}

}  // namespace mycelium::test
