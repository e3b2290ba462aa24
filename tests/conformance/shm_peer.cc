// One process of shm_transport_process_test: one end of a
// SharedMemoryTransport, which publishes and subscribes. It does what the lines
// on its input say; each answer is a line.
//
//   shm_peer --create=PATH | --open=PATH  --run=N --page=FILE
//
// `wait`: for a subscriber; `publish N`: notes of this run, or up to the first
// that is refused; `await RUN N`: until so many of that run have come; `flush`;
// `ledger`. Unasked for: `ready`, or `failed CODE`.

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mycelium/bus/shared_memory_transport.h"
#include "tests/conformance/ledger_words.h"
#include "tests/conformance/peer_page.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium::test {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);

void Say(const std::string& line) {
  std::fputs((line + "\n").c_str(), stdout);
  std::fflush(stdout);
}

void Answer(const std::string& word, const absl::Status& status) {
  Say(absl::StrCat(word, " ", absl::StatusCodeToString(status.code())));
}

class Peer final {
 public:
  Peer(std::map<std::string, std::string> flags, PeerCounts& counts)
      : flags_(std::move(flags)), counts_(counts) {
    (void)absl::SimpleAtoi(flags_["run"], &run_);
  }

  int Run() {
    auto made = flags_["create"].empty()
                    ? SharedMemoryTransport::Open(flags_["open"])
                    : SharedMemoryTransport::Create(flags_["create"]);
    if (!made.ok()) {
      Answer("failed", made.status());
      return 1;
    }
    transport_ = *std::move(made);
    auto subscription = transport_->Subscribe<Note>(
        [this](const Note& note, const MessageInfo&) { Receive(note); });
    auto publisher = transport_->Publisher<Note>();
    Say("ready");
    for (std::string line; std::getline(std::cin, line);) {
      Obey(line, *publisher);
    }
    return 0;
  }

 private:
  void Receive(const Note& note) {
    uint64_t run = 0;
    (void)absl::SimpleAtoi(note.text(), &run);
    const std::lock_guard<std::mutex> lock(mutex_);
    counts_.received[run % PeerCounts::kRunsMax].Record(note.id());
    changed_.notify_all();
  }

  void Obey(const std::string& line, Publisher<Note>& publisher) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    uint64_t number = 0;
    (void)absl::SimpleAtoi(words.back(), &number);
    if (words[0] == "wait") {
      Answer("waited", publisher.WaitForSubscribers(1, kLong));
    } else if (words[0] == "publish") {
      Answer("published", Publish(publisher, number));
    } else if (words[0] == "await") {
      uint64_t run = 0;
      (void)absl::SimpleAtoi(words[1], &run);
      Say(Await(counts_.received[run].count, number) ? "reached" : "late");
    } else if (words[0] == "flush") {
      Answer("flushed", transport_->Flush(kLong));
    } else if (words[0] == "ledger") {
      Ledger sum;
      for (const FlowReport& flow : transport_->bus().FlowReports()) {
        sum += flow.ledger;
      }
      Say(LedgerWords(sum));
    }
  }

  bool Await(const std::atomic<uint64_t>& count, uint64_t wanted) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, absl::ToChronoSeconds(kLong),
                             [&] { return count >= wanted; });
  }

  absl::Status Publish(Publisher<Note>& publisher, uint64_t messages) {
    absl::Status sent;
    for (uint64_t i = 0; i < messages && sent.ok(); ++i) {
      Note note;
      note.set_id(counts_.accepted + 1);
      note.set_text(absl::StrCat(run_));
      sent = publisher.Publish(note);
      if (sent.ok()) ++counts_.accepted;
    }
    return sent;
  }

  std::map<std::string, std::string> flags_;
  PeerCounts& counts_;
  uint64_t run_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::unique_ptr<SharedMemoryTransport> transport_;
};

int Main(int argc, char** argv) {
  std::map<std::string, std::string> flags;
  for (int i = 1; i < argc; ++i) {
    const std::pair<std::string, std::string> flag =
        absl::StrSplit(argv[i], absl::MaxSplits('=', 1));
    flags[flag.first.substr(2)] = flag.second;
  }
  PeerPage page(flags["page"]);
  if (!page.ok()) return 1;
  return Peer(std::move(flags), page.counts()).Run();
}

}  // namespace
}  // namespace mycelium::test

int main(int argc, char** argv) { return mycelium::test::Main(argc, argv); }
