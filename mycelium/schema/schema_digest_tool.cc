// Prints canonical texts and digests of compiled .proto files, and writes the
// constants of `mycelium_schema`. docs/schema.md shows its use.

#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "mycelium/base/typed_in.h"
#include "mycelium/schema/canonical_text.h"
#include "mycelium/schema/descriptor_set.h"
#include "mycelium/schema/generated_code.h"
#include "mycelium/schema/schema_digest.h"

ABSL_FLAG(std::vector<std::string>, descriptor_sets, {},
          "files that `protoc --descriptor_set_out --include_imports` wrote");
ABSL_FLAG(std::vector<std::string>, imported_descriptor_sets, {},
          "more such files, whose messages are not part of the schema by "
          "themselves");
ABSL_FLAG(std::vector<std::string>, messages, {},
          "full names of the messages of the schema; by default every "
          "top-level message of --descriptor_sets");
ABSL_FLAG(bool, text, false, "print the canonical text of each message");
ABSL_FLAG(std::string, cc_out, "", "C++ header to write");
ABSL_FLAG(std::string, cc_namespace, "", "its namespace");
ABSL_FLAG(std::string, cc_include_path, "", "how it is included");
ABSL_FLAG(std::string, py_out, "", "Python module to write");

namespace mycelium {
namespace {

using google::protobuf::Descriptor;
using Types = std::vector<const Descriptor*>;

absl::StatusOr<std::vector<std::string>> AddFile(const std::string& path,
                                                 DescriptorSet& set) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("no file ", path));
  std::string bytes;
  char part[1 << 16];
  while (file.read(part, sizeof part), file.gcount() > 0) {
    bytes.append(part, static_cast<size_t>(file.gcount()));
  }
  if (file.bad()) {  // A directory, for example.
    return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be read"));
  }
  absl::StatusOr<std::vector<std::string>> added = set.Add(bytes);
  if (added.ok()) return added;
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": ", added.status().message()));
}

absl::StatusOr<Types> ReadTypes(DescriptorSet& set) {
  std::vector<std::string> files;
  for (const std::string& path : absl::GetFlag(FLAGS_descriptor_sets)) {
    const auto added = AddFile(path, set);
    if (!added.ok()) return added.status();
    files.insert(files.end(), added->begin(), added->end());
  }
  for (const auto& path : absl::GetFlag(FLAGS_imported_descriptor_sets)) {
    const auto added = AddFile(path, set);
    if (!added.ok()) return added.status();
  }
  const std::vector<std::string> names = absl::GetFlag(FLAGS_messages);
  if (names.empty()) return set.TopLevelMessages(files);
  Types types;
  for (const std::string& name : names) {
    const absl::StatusOr<const Descriptor*> type = set.Message(name);
    if (!type.ok()) return type.status();
    types.push_back(*type);
  }
  return types;
}

absl::Status Write(const std::string& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary);
  file << content;
  file.close();
  if (!file) return absl::UnavailableError(absl::StrCat(path, ": not written"));
  return absl::OkStatus();
}

absl::Status Run() {
  DescriptorSet set;
  const absl::StatusOr<Types> types = ReadTypes(set);
  if (!types.ok()) return types.status();
  if (types->empty()) {
    return absl::InvalidArgumentError("the schema has no messages");
  }
  const std::string cc_out = absl::GetFlag(FLAGS_cc_out);
  if (!cc_out.empty()) {
    const absl::StatusOr<std::string> code =
        CcHeader(*types, absl::GetFlag(FLAGS_cc_namespace),
                 absl::GetFlag(FLAGS_cc_include_path));
    if (!code.ok()) return code.status();
    const absl::Status written = Write(cc_out, *code);
    if (!written.ok()) return written;
  }
  const std::string py_out = absl::GetFlag(FLAGS_py_out);
  if (!py_out.empty()) {
    const absl::Status written = Write(py_out, PyModule(*types));
    if (!written.ok()) return written;
  }
  if (absl::GetFlag(FLAGS_text)) {
    for (const Descriptor* type : *types) std::cout << CanonicalText(*type);
  } else if (cc_out.empty() && py_out.empty()) {
    std::cout << SchemaText(*types) << "schema "
              << SchemaDigestOf(*types).ToHex() << "\n";
  }
  std::cout.flush();
  if (!std::cout) return absl::UnavailableError("standard output: not written");
  return absl::OkStatus();
}

}  // namespace
}  // namespace mycelium

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "digests of Protobuf messages:\n"
      "  schema_digest_tool --descriptor_sets=FILE,... [--messages=NAME,...] "
      "[--text]");
  // Before --flagfile is read.
  if (const absl::Status entered = mycelium::EnterDirectoryTypedIn();
      !entered.ok()) {
    std::cerr << "schema_digest_tool: " << entered.message() << "\n";
    return EXIT_FAILURE;
  }
  const std::vector<char*> words = absl::ParseCommandLine(argc, argv);
  if (words.size() > 1) {
    std::cerr << "schema_digest_tool: \"" << words[1]
              << "\": only flags are expected; files of one flag have commas "
                 "between them\n";
    return EXIT_FAILURE;
  }
  const absl::Status status = mycelium::Run();
  if (status.ok()) return EXIT_SUCCESS;
  std::cerr << "schema_digest_tool: " << status.message() << "\n";
  return EXIT_FAILURE;
}
