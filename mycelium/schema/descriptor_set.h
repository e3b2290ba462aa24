#ifndef MYCELIUM_SCHEMA_DESCRIPTOR_SET_H_
#define MYCELIUM_SCHEMA_DESCRIPTOR_SET_H_

#include <cstddef>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "google/protobuf/descriptor.h"

namespace mycelium {

// What Protobuf can parse at once.
inline constexpr size_t kDescriptorSetBytesMax =
    std::numeric_limits<int>::max();

// The longest chain of files that import one another. Protobuf follows
// `import public` with one call within another.
inline constexpr size_t kImportsDepthMax = 256;

// The files that protoc compiled, as descriptors. A program reads them if it
// does not link the code of the messages.
//
// Thread safety: thread-compatible. Owns every descriptor that it returns.
class DescriptorSet final {
 public:
  DescriptorSet();
  ~DescriptorSet();

  // Adds every file of a serialised FileDescriptorSet. A file may come several
  // times, in any order, and before what it imports. Returns the names of the
  // files, or INVALID_ARGUMENT if `bytes` are not such a set, are more than
  // kDescriptorSetBytesMax, or have another file of a name that was added.
  absl::StatusOr<std::vector<std::string>> Add(absl::string_view bytes);

  // The message `full_name`. NOT_FOUND if there is none, or if something that
  // its file imports is missing; INVALID_ARGUMENT if its file begins a circle
  // of imports, or a chain of more than kImportsDepthMax. The error says which.
  absl::StatusOr<const google::protobuf::Descriptor*> Message(
      const std::string& full_name) const;

  // The top-level messages of `file_names`, which must have been added.
  // Errors as in Message().
  absl::StatusOr<std::vector<const google::protobuf::Descriptor*>>
  TopLevelMessages(absl::Span<const std::string> file_names) const;

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace mycelium

#endif  // MYCELIUM_SCHEMA_DESCRIPTOR_SET_H_
