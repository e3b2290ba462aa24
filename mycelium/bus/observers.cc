#include "mycelium/bus/observers.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/transport/handshake.h"
#include "mycelium/transport/outgoing.h"
#include "proto/mycelium/v1/control.pb.h"

namespace mycelium {

// One connection, from its Hello to the last byte of its answer.
class Observers::Observer final : public Channel::Handler {
 public:
  Observer(Observers& owner, std::unique_ptr<Channel> channel)
      : owner_(owner), channel_(std::move(channel)) {
    timer_ = owner_.loop_.RunAt(
        DeadlineAfter(owner_.environment_.clock.NowNs(), owner_.deadline_),
        [this] { owner_.Remove(this); });
  }
  ~Observer() override {
    *alive_ = false;
    owner_.loop_.Cancel(timer_);
    channel_->Close();
  }

  void Start() { channel_->Start(*this); }

  bool is_answered() const { return answer_ != nullptr; }
  void Answer(std::shared_ptr<const std::string> record) {
    answer_ = std::move(record);
    OnWritable();
  }

  // Channel::Handler:
  size_t OnBytes(absl::Span<const std::byte> bytes) override {
    return bytes.size();  // An observer has nothing more to say.
  }
  void OnWritable() override {
    while (answer_ != nullptr && sent_ < answer_->size()) {
      // Send() only reads them.
      const iovec piece = {const_cast<char*>(answer_->data()) + sent_,
                           answer_->size() - sent_};
      const absl::StatusOr<size_t> sent =
          channel_->Send(absl::MakeConstSpan(&piece, 1));
      // OnClosed() reports a connection that broke.
      if (!sent.ok() || *sent == 0) return;
      sent_ += *sent;
    }
    if (answer_ != nullptr) RemoveLater();
  }
  void OnClosed(const absl::Status&) override { RemoveLater(); }

 private:
  // Later, since the channel may be calling us.
  void RemoveLater() {
    owner_.loop_.Post([this, alive = alive_] {
      if (*alive) owner_.Remove(this);
    });
  }

  Observers& owner_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::unique_ptr<Channel> channel_;
  uint64_t timer_ = 0;
  std::shared_ptr<const std::string> answer_;  // Null: not yet.
  size_t sent_ = 0;
};

Observers::Observers(Environment& environment, EventLoop& loop,
                     absl::Duration deadline,
                     std::function<v1::NodeStatus()> status)
    : environment_(environment),
      loop_(loop),
      deadline_(deadline),
      status_(std::move(status)) {}

Observers::~Observers() { Close(); }

void Observers::Close() {
  loop_.Cancel(timer_);
  timer_ = 0;
  observers_.clear();
}

void Observers::Remove(Observer* observer) {
  observers_.remove_if(
      [&](const auto& known) { return known.get() == observer; });
}

void Observers::Add(std::unique_ptr<Channel> channel) {
  if (!channel->may_observe()) {
    SendReject(*channel,
               MakeReject(v1::Reject::NOT_ALLOWED,
                          "only a process of this host, of the node's user or "
                          "of root, is told what it is doing"));
    channel->Close();
    return;
  }
  if (observers_.size() >= kObserversMax) {
    SendReject(*channel,
               MakeReject(v1::Reject::TOO_MANY_OBSERVERS,
                          absl::StrCat("this node has ", observers_.size(),
                                       " observers; try again")));
    channel->Close();
    return;
  }
  observers_.push_back(std::make_unique<Observer>(*this, std::move(channel)));
  observers_.back()->Start();
  const TimeNs now = environment_.clock.NowNs();
  if (now >= next_answer_) {
    AnswerAll();
  } else if (timer_ == 0) {
    timer_ = loop_.RunAt(next_answer_, [this] {
      timer_ = 0;
      AnswerAll();
    });
  }
}

void Observers::AnswerAll() {
  const TimeNs began = environment_.clock.NowNs();
  v1::Control control;
  *control.mutable_node_status() = status_();
  auto record = std::make_shared<std::string>();
  AppendControlRecord(control.SerializeAsString(), record.get());
  for (const auto& observer : observers_) {
    if (!observer->is_answered()) observer->Answer(record);
  }
  const TimeNs now = environment_.clock.NowNs();
  next_answer_ = now + std::min(kRest * (now - began), kRestMaxNs);
}

}  // namespace mycelium
