#include "mycelium/schema/descriptor_set.h"

#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.pb.h"
#include "google/protobuf/descriptor_database.h"

namespace mycelium {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::DescriptorProto;
using google::protobuf::FieldDescriptorProto;
using google::protobuf::FileDescriptor;
using google::protobuf::FileDescriptorProto;
using google::protobuf::FileDescriptorSet;
using google::protobuf::RepeatedPtrField;
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

void ClearJsonNames(RepeatedPtrField<FieldDescriptorProto>* fields) {
  for (FieldDescriptorProto& field : *fields) field.clear_json_name();
}

void ClearJsonNames(RepeatedPtrField<DescriptorProto>* messages) {
  for (DescriptorProto& message : *messages) {
    ClearJsonNames(message.mutable_field());
    ClearJsonNames(message.mutable_extension());
    ClearJsonNames(message.mutable_nested_type());
  }
}

// The file without what only some sets bring along: comments, where things
// stand, and the JSON names.
std::string Essence(FileDescriptorProto file) {
  file.clear_source_code_info();
  ClearJsonNames(file.mutable_extension());
  ClearJsonNames(file.mutable_message_type());
  return file.SerializeAsString();
}

}  // namespace

struct DescriptorSet::State {
  // Gives the pool that file after all that the file imports. The pool could
  // fetch them itself, but by one call within another, which bytes that are
  // not trusted could make too many of.
  absl::Status Build(const std::string& name);

  absl::Status NotFound(absl::string_view what, absl::string_view name) {
    const std::string reason = errors.Take();
    return absl::NotFoundError(absl::StrCat(
        "no ", what, " ", name, reason.empty() ? "" : ": ", reason));
  }

  SimpleDescriptorDatabase database;
  ErrorText errors;
  DescriptorPool pool;
  // Of the files that the pool was given: how many files the longest chain of
  // imports has that begins with that file.
  absl::flat_hash_map<std::string, size_t> depths;
};

absl::Status DescriptorSet::State::Build(const std::string& name) {
  struct Step {
    FileDescriptorProto file;
    int next = 0;  // Which import comes next.
    size_t depth = 1;
  };
  const auto too_deep = [&] {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " begins a chain of more than ", kImportsDepthMax,
                     " files that import one another"));
  };
  absl::flat_hash_map<std::string, size_t> failed;  // As `depths`.
  std::vector<Step> path(1);
  if (depths.contains(name) || !database.FindFileByName(name, &path[0].file)) {
    return absl::OkStatus();
  }
  while (!path.empty()) {
    Step& step = path.back();
    if (step.next < step.file.dependency_size()) {
      const std::string& import = step.file.dependency(step.next++);
      bool is_known = false;
      for (const auto* const seen : {&depths, &failed}) {
        const auto known = seen->find(import);
        if (known == seen->end()) continue;
        step.depth = std::max(step.depth, known->second + 1);
        is_known = true;
      }
      if (is_known) continue;
      if (absl::c_any_of(path, [&](const Step& earlier) {
            return earlier.file.name() == import;
          })) {
        return absl::InvalidArgumentError(
            absl::StrCat(import, " imports itself"));
      }
      Step next;
      // What is missing the pool complains of.
      if (!database.FindFileByName(import, &next.file)) continue;
      if (path.size() == kImportsDepthMax) return too_deep();
      path.push_back(std::move(next));
      continue;
    }
    if (step.depth > kImportsDepthMax) return too_deep();
    const size_t depth = step.depth;
    // A file that cannot be built is tried again by the next call: what it
    // imports may be added meanwhile.
    const bool is_built =
        pool.BuildFileCollectingErrors(step.file, &errors) != nullptr;
    (is_built ? depths : failed)[step.file.name()] = depth;
    path.pop_back();
    if (!path.empty()) {
      path.back().depth = std::max(path.back().depth, depth + 1);
    }
  }
  return absl::OkStatus();
}

DescriptorSet::DescriptorSet() : state_(std::make_unique<State>()) {}
DescriptorSet::~DescriptorSet() = default;

absl::StatusOr<std::vector<std::string>> DescriptorSet::Add(
    absl::string_view bytes) {
  if (bytes.size() > kDescriptorSetBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("a FileDescriptorSet of ", bytes.size(),
                     " bytes, at most ", kDescriptorSetBytesMax));
  }
  FileDescriptorSet set;
  if (!set.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::InvalidArgumentError("not a FileDescriptorSet");
  }
  std::vector<std::string> names;
  for (const FileDescriptorProto& file : set.file()) {
    names.push_back(file.name());
    FileDescriptorProto known;
    if (state_->database.FindFileByName(file.name(), &known)) {
      if (Essence(std::move(known)) == Essence(file)) continue;
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
  FileDescriptorProto file;
  if (state_->database.FindFileContainingSymbol(full_name, &file)) {
    const absl::Status built = state_->Build(file.name());
    if (!built.ok()) return built;
  }
  const Descriptor* type = state_->pool.FindMessageTypeByName(full_name);
  if (type == nullptr) return state_->NotFound("message", full_name);
  return type;
}

absl::StatusOr<std::vector<const Descriptor*>> DescriptorSet::TopLevelMessages(
    absl::Span<const std::string> file_names) const {
  std::vector<const Descriptor*> types;
  for (const std::string& name : file_names) {
    const absl::Status built = state_->Build(name);
    if (!built.ok()) return built;
    const FileDescriptor* file = state_->pool.FindFileByName(name);
    if (file == nullptr) return state_->NotFound("file", name);
    for (int i = 0; i < file->message_type_count(); ++i) {
      types.push_back(file->message_type(i));
    }
  }
  return types;
}

}  // namespace mycelium
