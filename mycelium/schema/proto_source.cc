#include "mycelium/schema/proto_source.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.pb.h"

namespace mycelium {
namespace {

[[noreturn]] void Die(absl::string_view reason, absl::string_view text) {
  std::cerr << "ProtoSource: " << reason << ": " << text << std::endl;
  std::abort();
}

std::string TemporaryFolder() {
  const char* folder = std::getenv("TEST_TMPDIR");
  return folder == nullptr ? "/tmp" : folder;
}

}  // namespace

ProtoSource::ProtoSource(absl::string_view text)
    : ProtoSource(text, "source.proto") {}

ProtoSource::ProtoSource(absl::string_view text, const std::string& file_name) {
  static std::atomic<int> count{0};
  const std::string name =
      absl::StrCat("proto_source_", getpid(), "_", count++, ".proto");
  const std::string path = absl::StrCat(TemporaryFolder(), "/", name);
  std::ofstream(path) << text;
  const char* protoc = std::getenv("PROTOC");
  if (protoc == nullptr) Die("no PROTOC in the environment", text);
  const std::string command = absl::StrCat(
      protoc, " --include_source_info --proto_path=", TemporaryFolder(),
      " --descriptor_set_out=", path, ".set ", path);
  if (std::system(command.c_str()) != 0) Die("does not compile", text);

  std::ifstream compiled(absl::StrCat(path, ".set"), std::ios::binary);
  google::protobuf::FileDescriptorSet set;
  if (!set.ParseFromIstream(&compiled) || set.file_size() != 1) {
    Die("unreadable descriptor", text);
  }
  set.mutable_file(0)->set_name(file_name);
  if (pool_.BuildFile(set.file(0)) == nullptr) Die("does not link", text);
}

const google::protobuf::Descriptor& ProtoSource::Type(
    const std::string& full_name) const {
  const auto* type = pool_.FindMessageTypeByName(full_name);
  if (type == nullptr) Die("no such type", full_name);
  return *type;
}

}  // namespace mycelium
