#include "tests/benchmark/floors/codec.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tests/benchmark/clock.h"
#include "tests/benchmark/pinned_run.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium::bench {
namespace {

constexpr int64_t kBatch = 64;

absl::Status Code(Stage& stage, const Case& what) {
  constexpr size_t kIdAndTags = 8;
  test::Note sent, got;
  sent.set_blob(std::string(what.bytes - kIdAndTags, 'x'));
  std::vector<uint8_t> bytes(what.bytes + 64);
  int64_t number = 0;
  const auto code = [&] {
    sent.set_id(static_cast<uint64_t>(number++));
    const size_t size = sent.ByteSizeLong();
    if (size > bytes.size()) return false;
    sent.SerializeWithCachedSizesToArray(bytes.data());
    Consume(bytes.data());
    const bool parsed =
        got.ParseFromArray(bytes.data(), static_cast<int>(size));
    Consume(got.blob().data());
    return parsed && got.id() == sent.id();
  };
  bool right = true;
  while (number < what.warm_up) right &= code();
  if (!stage.Begin()) return absl::AbortedError("the run was given up");
  int64_t last_ns = NowNs();
  stage.MarkFirst(last_ns);
  for (int64_t done = 0; done < what.messages;) {
    const int64_t count = std::min(kBatch, what.messages - done);
    for (int64_t i = 0; i < count; ++i) right &= code();
    done += count;
    const int64_t now_ns = NowNs();
    stage.AddSample((now_ns - last_ns) / count);
    last_ns = now_ns;
  }
  stage.End();
  stage.AddSyscalls(0);
  stage.MarkLast(last_ns, what.messages);
  if (right) return absl::OkStatus();
  return absl::DataLossError("a message was not parsed as it was sent");
}

}  // namespace

bool CodecFloor::Supports(const Case& what) const {
  return what.transport == "shm" && what.kind == Kind::kProtobuf &&
         what.mode == Mode::kLatency && what.wait == Wait::kSpin;
}

absl::StatusOr<RoundResult> CodecFloor::Run(const Case& what,
                                            const CpuPair& cpus) {
  PinnedRun run;
  run.cpus = {cpus.first};
  run.deadline_ms = what.deadline_ms;
  run.samples_max = what.messages / kBatch + 1;
  run.roles = {[&](Stage& stage) { return Code(stage, what); }};
  absl::StatusOr<RoundResult> result = RunPinned(run);
  if (result.ok()) result->messages_per_sample = kBatch;
  return result;
}

}  // namespace mycelium::bench
