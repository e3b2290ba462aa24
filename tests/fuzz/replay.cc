// Runs a fuzz target without a fuzzer: every file of its corpus, and a fixed
// number of mutations of them, which are the same each time.
//
//   replay CORPUS_DIR [FILE...]    with files: these only
//
// An input that crashes or hangs is kept in Bazel's test.outputs, or in /tmp.

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count);

namespace mycelium::test {
namespace {

constexpr uint64_t kMutations = 20'000;
constexpr uint64_t kSeed = 1;
constexpr unsigned kSecondsMax = 10;  // For one input.
constexpr size_t kInputBytesMax = 8192;
constexpr int kStepsMax = 6;

std::vector<std::filesystem::path> CorpusFiles(const std::string& directory) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string Read(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

void RunOne(const std::string& input) {
  alarm(kSecondsMax);  // Ends the process: a hang is a finding.
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()),
                         input.size());
}

// Changes bytes at random places, in ways that break lengths and positions.
class Mutator final {
 public:
  explicit Mutator(std::vector<std::string> seeds) : seeds_(std::move(seeds)) {}

  std::string Next() {
    std::string input = seeds_[random_() % seeds_.size()];
    const int steps = 1 + static_cast<int>(random_() % kStepsMax);
    for (int i = 0; i < steps; ++i) Change(&input);
    if (input.size() > kInputBytesMax) input.resize(kInputBytesMax);
    return input;
  }

 private:
  size_t Below(size_t count) { return count == 0 ? 0 : random_() % count; }

  void Change(std::string* input) {
    const size_t at = Below(input->size());
    switch (random_() % 7) {
      case 0:
        if (!input->empty()) (*input)[at] ^= static_cast<char>(1u << Below(8));
        break;
      case 1:
        if (!input->empty()) (*input)[at] = static_cast<char>(random_());
        break;
      case 2:
        PutNumber(input, at);
        break;
      case 3:
        input->erase(at, 1 + Below(32));
        break;
      case 4:
        input->insert(at, input->substr(Below(input->size()), 1 + Below(64)));
        break;
      case 5: {
        const std::string& other = seeds_[Below(seeds_.size())];
        *input = input->substr(0, at) + other.substr(Below(other.size()));
        break;
      }
      default:
        input->resize(at);
    }
  }

  // Puts a number that code often handles wrong, of 1, 2, 4 or 8 bytes.
  void PutNumber(std::string* input, size_t at) {
    static constexpr uint64_t kNumbers[] = {
        0,          1,          7,          8,          39,
        40,         41,         0x7f,       0xff,       0x7fff,
        0xffff,     4096,       0x7fffffff, 0x80000000, 0xffffffff,
        0xfffffff8, 1ull << 32, ~0ull,      ~0ull - 7};
    const uint64_t number = kNumbers[Below(std::size(kNumbers))];
    const size_t bytes = size_t{1} << Below(4);
    for (size_t i = 0; i < bytes && at + i < input->size(); ++i) {
      (*input)[at + i] = static_cast<char>(number >> (8 * i));
    }
  }

  const std::vector<std::string> seeds_;
  std::mt19937_64 random_{kSeed};
};

// Calls `visit` with each file's contents, and then with each mutation.
template <typename Visit>
void ForEachInput(const std::vector<std::string>& seeds, Visit visit) {
  for (const std::string& seed : seeds) visit(seed);
  Mutator mutator(seeds);
  for (uint64_t i = 0; i < kMutations; ++i) visit(mutator.Next());
}

// Runs all inputs in a child, so that an input that kills the child can be
// kept.
int RunAll(const std::vector<std::string>& seeds) {
  void* const page = mmap(nullptr, sizeof(uint64_t), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto* const started = static_cast<std::atomic<uint64_t>*>(page);
  const pid_t child = fork();
  if (child == 0) {
    ForEachInput(seeds, [&](const std::string& input) {
      ++*started;
      RunOne(input);
    });
    std::exit(0);  // Looks for leaks, if a leak checker is built in.
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return 1;
  if (status == 0) {
    std::cout << seeds.size() << " files and " << kMutations
              << " mutations of them (seed " << kSeed << ") ran\n";
    return 0;
  }
  const char* directory = std::getenv("TEST_UNDECLARED_OUTPUTS_DIR");
  const std::string kept =
      std::string(directory != nullptr ? directory : "/tmp") + "/crash";
  uint64_t number = 0;
  ForEachInput(seeds, [&](const std::string& input) {
    if (++number == *started) std::ofstream(kept, std::ios::binary) << input;
  });
  std::cerr << "input " << *started << " ends the process with status "
            << status << (WTERMSIG(status) == SIGALRM ? ", a hang" : "")
            << "; kept as " << kept << "\n";
  return 1;
}

int Main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: replay CORPUS_DIR [FILE...]\n";
    return 2;
  }
  for (int i = 2; i < argc; ++i) RunOne(Read(argv[i]));
  if (argc > 2) return 0;
  std::vector<std::string> seeds;
  for (const auto& path : CorpusFiles(argv[1])) seeds.push_back(Read(path));
  if (!seeds.empty()) return RunAll(seeds);
  std::cerr << argv[1] << ": no corpus\n";
  return 1;
}

}  // namespace
}  // namespace mycelium::test

int main(int argc, char** argv) { return mycelium::test::Main(argc, argv); }
