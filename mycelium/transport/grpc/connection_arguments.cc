#include "mycelium/transport/grpc/connection_arguments.h"

#include <grpc/grpc.h>

#include <algorithm>
#include <limits>

#include "mycelium/transport/grpc/link_message_format.h"

namespace mycelium {

void SetConnectionArguments(
    const RemoteOptions& options,
    const std::function<void(const char* name, int value)>& set) {
  const size_t largest = options.frame_bytes_max + kLinkMessageRestBytesMax;
  set(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, static_cast<int>(largest));
  set(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, -1);
  // Nobody compresses here, and what a stranger has compressed would grow a
  // thousand times before its length is looked at.
  set(GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION, 0);
  set(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  // A ping after half the time without a sign of life, and the other half for
  // its answer.
  const int64_t half =
      std::clamp<int64_t>(absl::ToInt64Milliseconds(options.keepalive) / 2, 1,
                          std::numeric_limits<int>::max());
  set(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(half));
  set(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, static_cast<int>(half));
  set(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // The other end may be configured otherwise and ping more often than this
  // one: no reason to throw it out.
  set(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  set(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1);
  set(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
}

}  // namespace mycelium
