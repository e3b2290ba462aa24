#ifndef MYCELIUM_MESSAGE_DESCRIBED_TYPE_H_
#define MYCELIUM_MESSAGE_DESCRIBED_TYPE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mycelium/message/message_type.h"

namespace mycelium {

// The raw MessageType of a Protobuf message that this process has no C++ code
// for, as when another language publishes it. It has the digest and the
// canonical text that MessageTypeOf<Message>() has, since both come from the
// same functions, so the two match and a mismatch is explained.
//
// `descriptor_set` is a serialised google.protobuf.FileDescriptorSet: the file
// of the message and all that it imports, in any order. Both parameters are
// borrowed for the call. Costs a parse and a descriptor pool: call it once per
// type.
//
// INVALID_ARGUMENT if the set cannot be parsed; NOT_FOUND if the message, or
// something that it needs, is not in the set: says what.
//
// Thread safety: may be called from any thread.
absl::StatusOr<MessageType> DescribedMessageType(
    const std::string& full_name, absl::string_view descriptor_set);

}  // namespace mycelium

#endif  // MYCELIUM_MESSAGE_DESCRIBED_TYPE_H_
