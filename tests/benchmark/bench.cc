// Measures Mycelium through its public API beside the limits of the machine.
// Method and how to read the answer: docs/benchmarks.md.
//
//   bazel run -c opt //tests/benchmark:bench -- --transports=inproc,unix

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "tests/benchmark/comparison.h"
#include "tests/benchmark/contests.h"
#include "tests/benchmark/floors/codec.h"
#include "tests/benchmark/floors/futex_wake.h"
#include "tests/benchmark/floors/grpc_callback.h"
#include "tests/benchmark/floors/grpc_stream.h"
#include "tests/benchmark/floors/handover.h"
#include "tests/benchmark/floors/socketpair.h"
#include "tests/benchmark/floors/spsc_ring.h"
#include "tests/benchmark/floors/tcp.h"
#include "tests/benchmark/mycelium/inline_system.h"
#include "tests/benchmark/mycelium/queued_system.h"
#include "tests/benchmark/mycelium/unix_system.h"
#include "tests/benchmark/mycelium/wake_system.h"
#include "tests/benchmark/report.h"
#include "tests/benchmark/statistics.h"

using Words = mycelium::bench::Words;

ABSL_FLAG(Words, transports, Words({"inproc", "unix"}),
          "of inproc, shm, unix, grpc; or the word floor: floors only, of all");
ABSL_FLAG(Words, sizes, Words({"64", "1024", "65536", "1048576"}),
          "payload bytes");
ABSL_FLAG(Words, modes, Words({"latency", "flood", "open", "wake"}),
          "of latency, flood, open, wake");
ABSL_FLAG(Words, kinds, Words({"raw", "protobuf"}), "of raw, protobuf, loan");
ABSL_FLAG(Words, wait, Words({"spin", "block"}), "of spin, block, adaptive");
ABSL_FLAG(Words, variants, Words({}),
          "of the candidates, as the table calls them; none: all");
ABSL_FLAG(int, rounds, 5, "how often floor and candidate take turns");
ABSL_FLAG(int64_t, messages, 0,
          "per run; 0: as many as take about --run_ms at the floor's speed");
ABSL_FLAG(int64_t, run_ms, 200, "see --messages");
ABSL_FLAG(double, open_rate, 10'000,
          "messages a second in open mode; fewer where that were more than "
          "512 MiB a second");
ABSL_FLAG(int64_t, ring_bytes, 4 << 20,
          "room between two sides in memory, or of a lane");
ABSL_FLAG(int64_t, deadline_ms, 30'000, "for one run");
ABSL_FLAG(Words, cpus, Words({}), "the two to pin to; none: the first two");
ABSL_FLAG(bool, keep_disturbed, false,
          "use runs during which others used the CPUs, for a quick look only");
ABSL_FLAG(std::string, json, "", "file to write the rows to");
ABSL_FLAG(int64_t, soak, 0,
          "no comparison: flood each candidate with so many messages "
          "and print how its memory grows");
ABSL_FLAG(bool, list, false, "print the contests and stop");

namespace mycelium::bench {
namespace {

Systems MakeFloors() {
  Systems floors;
  floors.push_back(std::make_unique<HandoverFloor>());
  floors.push_back(std::make_unique<SpscRingFloor>());
  floors.push_back(std::make_unique<SocketpairFloor>());
  floors.push_back(std::make_unique<GrpcStreamFloor>());
  floors.push_back(std::make_unique<FutexWakeFloor>());
  return floors;
}

// Floors that are shown beside the contest's own floor and are compared with
// it, too.
Systems MakeSecondFloors() {
  Systems floors;
  floors.push_back(std::make_unique<CodecFloor>());
  floors.push_back(std::make_unique<TcpFloor>());
  floors.push_back(std::make_unique<GrpcCallbackFloor>());
  return floors;
}

// The systems that are compared with the floors.
Systems MakeCandidates(bool log_memory) {
  Systems systems;
  for (const InlineSystem::Publish publish :
       {InlineSystem::Publish::kByReference,
        InlineSystem::Publish::kByPointer}) {
    systems.push_back(std::make_unique<InlineSystem>(publish, log_memory));
  }
  for (const QueuedSystem::Pull pull :
       {QueuedSystem::Pull::kReceive, QueuedSystem::Pull::kTryReceive}) {
    systems.push_back(std::make_unique<QueuedSystem>(pull, log_memory));
  }
  for (const UnixSystem::Polling polling :
       {UnixSystem::Polling::kCaller, UnixSystem::Polling::kThread}) {
    systems.push_back(std::make_unique<UnixSystem>(polling, log_memory));
  }
  for (const WakeSystem::Path path :
       {WakeSystem::Path::kInproc, WakeSystem::Path::kLinkCaller,
        WakeSystem::Path::kLinkThread}) {
    systems.push_back(std::make_unique<WakeSystem>(path));
  }
  return systems;
}

Request RequestFromFlags() {
  Request request;
  request.transports = absl::GetFlag(FLAGS_transports);
  request.sizes = absl::GetFlag(FLAGS_sizes);
  request.modes = absl::GetFlag(FLAGS_modes);
  request.kinds = absl::GetFlag(FLAGS_kinds);
  request.waits = absl::GetFlag(FLAGS_wait);
  request.variants = absl::GetFlag(FLAGS_variants);
  request.rounds = absl::GetFlag(FLAGS_rounds);
  request.messages = absl::GetFlag(FLAGS_messages);
  request.run_ms = absl::GetFlag(FLAGS_run_ms);
  request.open_rate = absl::GetFlag(FLAGS_open_rate);
  request.ring_bytes = absl::GetFlag(FLAGS_ring_bytes);
  request.deadline_ms = absl::GetFlag(FLAGS_deadline_ms);
  request.soak = absl::GetFlag(FLAGS_soak);
  return request;
}

absl::StatusOr<double> ProbeHandoverNs(const CpuPair& cpus) {
  Case what;
  what.transport = "shm";
  what.messages = 20'000;
  what.warm_up = 2'000;
  what.deadline_ms = absl::GetFlag(FLAGS_deadline_ms);
  const absl::StatusOr<RoundResult> result = HandoverFloor().Run(what, cpus);
  if (!result.ok()) return result.status();
  return static_cast<double>(PercentilesOf(result->latencies_ns).p50);
}

void PrintContests(const std::vector<Contest>& contests) {
  for (const Contest& contest : contests) {
    const System* floor = contest.floor.system;
    const std::string floor_name = floor == nullptr ? "none" : floor->variant();
    std::printf("%s: %lld messages, floor %s\n",
                Describe(contest.floor.what).c_str(),
                static_cast<long long>(contest.floor.what.messages),
                floor_name.c_str());
    for (const Comparison::Entrant& candidate : contest.candidates) {
      std::printf("  %s %s (%s)\n", candidate.system->name().c_str(),
                  candidate.system->variant().c_str(),
                  std::string(Name(candidate.what.kind)).c_str());
    }
  }
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "bench: %s\n", status.ToString().c_str());
  return 2;
}

// Floods for --soak; returns the exit status.
int Soak(const CpuPair& cpus) {
  const Systems systems = MakeCandidates(/*log_memory=*/true);
  const absl::StatusOr<std::vector<Contest>> contests = ContestsOf(
      RequestFromFlags(), /*floors=*/{}, /*second_floors=*/{}, systems);
  if (!contests.ok()) return Fail(contests.status());
  int status = 0;
  for (const Contest& contest : *contests) {
    for (const Comparison::Entrant& candidate : contest.candidates) {
      std::printf("%s (%s)\n", Describe(candidate.what).c_str(),
                  candidate.system->variant().c_str());
      const absl::StatusOr<RoundResult> result =
          candidate.system->Run(candidate.what, cpus);
      if (result.ok()) continue;
      std::printf("error: %s\n", result.status().ToString().c_str());
      status = 1;
    }
  }
  return status;
}

int Main() {
#ifndef NDEBUG
  std::fprintf(stderr, "bench: built without -c opt: the figures mislead\n");
#endif
  const Machine machine = ThisMachine();
  const absl::StatusOr<CpuPair> cpus =
      CpusOf(absl::GetFlag(FLAGS_cpus), machine.cpus_allowed);
  if (absl::GetFlag(FLAGS_soak) > 0) {
    return cpus.ok() ? Soak(*cpus) : Fail(cpus.status());
  }
  const Systems floors = MakeFloors();
  const Systems second_floors = MakeSecondFloors();
  const Systems candidates = MakeCandidates(/*log_memory=*/false);
  const absl::StatusOr<std::vector<Contest>> contests =
      ContestsOf(RequestFromFlags(), floors, second_floors, candidates);
  if (!contests.ok()) return Fail(contests.status());
  if (absl::GetFlag(FLAGS_list)) {
    PrintContests(*contests);
    return 0;
  }
  if (!cpus.ok()) return Fail(cpus.status());
  const std::string json_path = absl::GetFlag(FLAGS_json);
  std::ofstream json;
  if (!json_path.empty()) {
    json.open(json_path);  // Now, not after minutes of measuring.
    if (!json) {
      return Fail(absl::NotFoundError(absl::StrCat("open ", json_path)));
    }
  }

  ComparisonOptions options;
  options.cpus = *cpus;
  options.rounds = absl::GetFlag(FLAGS_rounds);
  options.keep_disturbed = absl::GetFlag(FLAGS_keep_disturbed);
  Comparison comparison(options, [&] { return ProbeHandoverNs(*cpus); });
  for (const Contest& contest : *contests) {
    comparison.AddContest(contest.floor, contest.candidates);
  }
  comparison.Run([](const std::string& line) {
    std::fprintf(stderr, "%s\n", line.c_str());
  });
  const Report report = MakeReport(machine, *cpus, comparison);
  std::fputs(ToText(report).c_str(), stdout);
  if (json.is_open()) json << ToJson(report) << std::flush;
  if (json_path.empty() || json.good()) return report.is_complete() ? 0 : 1;
  return Fail(absl::DataLossError(absl::StrCat("write ", json_path)));
}

}  // namespace
}  // namespace mycelium::bench

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "measures Mycelium beside what the machine allows");
  absl::ParseCommandLine(argc, argv);
  return mycelium::bench::Main();
}
