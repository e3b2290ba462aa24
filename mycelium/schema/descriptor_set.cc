#include "mycelium/schema/descriptor_set.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.pb.h"
#include "google/protobuf/descriptor_database.h"

namespace mycelium {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::FileDescriptor;
using google::protobuf::FileDescriptorProto;
using google::protobuf::FileDescriptorSet;
using google::protobuf::SimpleDescriptorDatabase;

namespace {

// Remembers what the pool complains about.
class ErrorText final : public DescriptorPool::ErrorCollector {
 public:
  void AddError(const std::string& file, const std::string& element,
                const google::protobuf::Message*, ErrorLocation,
                const std::string& message) override {
    if (!text_.empty()) text_.append("; ");
    absl::StrAppend(&text_, file, ": ", element, ": ", message);
  }

  std::string Take() { return std::exchange(text_, ""); }

 private:
  std::string text_;
};

// But for comments and where things stand, which some sets bring along.
bool IsSame(FileDescriptorProto one, FileDescriptorProto other) {
  one.clear_source_code_info();
  other.clear_source_code_info();
  return one.SerializeAsString() == other.SerializeAsString();
}

}  // namespace

struct DescriptorSet::State {
  absl::Status NotFound(absl::string_view what, absl::string_view name) {
    const std::string reason = errors.Take();
    return absl::NotFoundError(absl::StrCat(
        "no ", what, " ", name, reason.empty() ? "" : ": ", reason));
  }

  SimpleDescriptorDatabase database;
  ErrorText errors;
  DescriptorPool pool{&database, &errors};
};

DescriptorSet::DescriptorSet() : state_(std::make_unique<State>()) {}
DescriptorSet::~DescriptorSet() = default;

absl::StatusOr<std::vector<std::string>> DescriptorSet::Add(
    absl::string_view bytes) {
  FileDescriptorSet set;
  if (!set.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::InvalidArgumentError("not a FileDescriptorSet");
  }
  std::vector<std::string> names;
  for (const FileDescriptorProto& file : set.file()) {
    names.push_back(file.name());
    FileDescriptorProto known;
    if (state_->database.FindFileByName(file.name(), &known)) {
      if (IsSame(std::move(known), file)) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("has another ", file.name(), " than a set before it"));
    }
    if (!state_->database.Add(file)) {
      return absl::InvalidArgumentError(
          absl::StrCat(file.name(), " defines what a file before it defines"));
    }
  }
  return names;
}

absl::StatusOr<const Descriptor*> DescriptorSet::Message(
    const std::string& full_name) const {
  const Descriptor* type = state_->pool.FindMessageTypeByName(full_name);
  if (type == nullptr) return state_->NotFound("message", full_name);
  return type;
}

absl::StatusOr<std::vector<const Descriptor*>> DescriptorSet::TopLevelMessages(
    absl::Span<const std::string> file_names) const {
  std::vector<const Descriptor*> types;
  for (const std::string& name : file_names) {
    const FileDescriptor* file = state_->pool.FindFileByName(name);
    if (file == nullptr) return state_->NotFound("file", name);
    for (int i = 0; i < file->message_type_count(); ++i) {
      types.push_back(file->message_type(i));
    }
  }
  return types;
}

}  // namespace mycelium
