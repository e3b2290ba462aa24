#ifndef MYCELIUM_ROUTING_LOCAL_FRAME_H_
#define MYCELIUM_ROUTING_LOCAL_FRAME_H_

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>

#include "mycelium/codec/frame_decoder.h"
#include "mycelium/codec/frame_format.h"
#include "mycelium/message/message_info.h"
#include "mycelium/message/payload.h"

namespace mycelium {

// Frames of rings that only this process sees. They name the publisher by an
// address, and may hold a pointer in place of bytes:
//   digest_prefix   the address of the Origin, which the subscription keeps
//   flags           kFrameObject: the payload is an ObjectPayload. If the
//                   object is bytes, the payload has their length, though it
//                   fills less, so that a lane bounds them all the same.
//                   kFrameElsewhere, in a ring that buffers a link's lane: the
//                   payload is the address and size of the bytes
//   lane_sequence   in a ring that buffers a link's lane: where the frame ends
//                   in that lane, which is what is acknowledged
//   lost_before     in such a ring: how many messages of that lane were dropped
//                   right before this one, at most 2^32 - 1
//   extension       in a frame that an inline subscription keeps for later: a
//                   word of the SpillTracker, if the frame came over a link
inline constexpr uint16_t kLocalFrameFlags =
    kFrameObject | kFramePublishTime | kFrameRedelivered;

inline uint32_t LostBeforeWord(const FrameView& frame) {
  return static_cast<uint32_t>(std::min<uint64_t>(
      frame.lost_before, std::numeric_limits<uint32_t>::max()));
}

inline uint64_t OriginWord(const Origin& origin) {
  return reinterpret_cast<uint64_t>(&origin);
}

inline const Origin& OriginOf(const FrameView& frame) {
  return *reinterpret_cast<const Origin*>(frame.header.digest_prefix);
}

// The object that a frame holds, or nullptr if it holds bytes. The code that
// finishes the frame destroys the object with DestroyObject().
inline ObjectPayload* ObjectOf(const FrameView& frame) {
  if ((frame.header.flags & kFrameObject) == 0) return nullptr;
  return reinterpret_cast<ObjectPayload*>(
      const_cast<std::byte*>(frame.payload.data()));
}

inline void DestroyObject(const FrameView& frame) {
  if (ObjectPayload* object = ObjectOf(frame)) std::destroy_at(object);
}

// The payload of a local frame. `bytes_type` describes it if it is bytes.
inline Payload PayloadOf(const FrameView& frame,
                         const MessageType& bytes_type) {
  if (const ObjectPayload* object = ObjectOf(frame)) {
    if (object->type == nullptr) {
      const auto* bytes = static_cast<const std::byte*>(object->object.get());
      return Payload::Bytes(bytes_type, {bytes, frame.payload.size()},
                            &object->object);
    }
    return Payload::Object(*object->type, object->object.get(),
                           &object->object);
  }
  return Payload::Bytes(bytes_type, frame.payload);
}

inline MessageInfo InfoOf(const FrameView& frame, const Origin& origin) {
  return MessageInfo(origin, frame.header.publisher_sequence,
                     frame.publish_time_ns, frame.lost_before,
                     (frame.header.flags & kFrameRedelivered) != 0);
}

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_LOCAL_FRAME_H_
