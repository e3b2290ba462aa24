#ifndef MYCELIUM_MESSAGE_DESCRIBED_TYPE_H_
#define MYCELIUM_MESSAGE_DESCRIBED_TYPE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mycelium/message/message_type.h"

namespace mycelium {

// The raw MessageType of a Protobuf message for which this process has no C++
// code, for example because another language publishes it. Its digest and
// canonical text come from the same functions as those of
// MessageTypeOf<Message>(). So the two types match, and a mismatch is
// explained.
//
// `descriptor_set` is a serialised google.protobuf.FileDescriptorSet: the file
// of the message and everything that it imports, in any order. Both parameters
// are borrowed for the call. Costs a parse and a descriptor pool: call it once
// per type.
//
// INVALID_ARGUMENT if the set cannot be parsed, or if files import one another
// in a circle or a chain of more than 256. NOT_FOUND if the message, or
// something that it needs, is not in the set; the error says what.
//
// Thread safety: may be called from any thread.
absl::StatusOr<MessageType> DescribedMessageType(
    const std::string& full_name, absl::string_view descriptor_set);

}  // namespace mycelium

#endif  // MYCELIUM_MESSAGE_DESCRIBED_TYPE_H_
