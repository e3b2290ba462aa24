#include "mycelium/message/described_type.h"

#include <vector>

#include "mycelium/schema/canonical_text.h"
#include "mycelium/schema/descriptor_set.h"

namespace mycelium {

absl::StatusOr<MessageType> DescribedMessageType(
    const std::string& full_name, absl::string_view descriptor_set) {
  DescriptorSet files;
  absl::StatusOr<std::vector<std::string>> added = files.Add(descriptor_set);
  if (!added.ok()) return added.status();
  absl::StatusOr<const google::protobuf::Descriptor*> message =
      files.Message(full_name);
  if (!message.ok()) return message.status();
  MessageType type;
  type.name = full_name;
  type.canonical_text = CanonicalText(**message);
  type.digest = Digest::Of(type.canonical_text);
  return type;
}

}  // namespace mycelium
