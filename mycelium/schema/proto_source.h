#ifndef MYCELIUM_SCHEMA_PROTO_SOURCE_H_
#define MYCELIUM_SCHEMA_PROTO_SOURCE_H_

#include <string>

#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"

namespace mycelium {

// For tests: types written as the text of one .proto file without imports, so
// that a test shows the types it is about. Runs the protoc that the environment
// variable PROTOC names, and leaves files in TEST_TMPDIR.
//
// Example:
//   ProtoSource source("syntax = 'proto3'; message A { int32 x = 1; }");
//   CanonicalText(source.Type("A"));
class ProtoSource final {
 public:
  // If the text does not compile, the process ends with the error.
  explicit ProtoSource(absl::string_view text);

  // The same, with `file_name` as the name of the file.
  ProtoSource(absl::string_view text, const std::string& file_name);

  // A name that is not in the text ends the process.
  const google::protobuf::Descriptor& Type(const std::string& full_name) const;

 private:
  google::protobuf::DescriptorPool pool_;
};

}  // namespace mycelium

#endif  // MYCELIUM_SCHEMA_PROTO_SOURCE_H_
