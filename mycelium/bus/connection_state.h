#ifndef MYCELIUM_BUS_CONNECTION_STATE_H_
#define MYCELIUM_BUS_CONNECTION_STATE_H_

#include "absl/strings/string_view.h"
#include "mycelium/bus/options.h"

namespace mycelium {

// "connected", "reconnected", "disconnected", "refused" or "gone".
inline absl::string_view ConnectionStateWord(ConnectionEvent::State state) {
  switch (state) {
    case ConnectionEvent::State::kConnected:
      return "connected";
    case ConnectionEvent::State::kReconnected:
      return "reconnected";
    case ConnectionEvent::State::kDisconnected:
      return "disconnected";
    case ConnectionEvent::State::kRefused:
      return "refused";
    case ConnectionEvent::State::kGone:
      return "gone";
  }
  return "unknown";
}

}  // namespace mycelium

#endif  // MYCELIUM_BUS_CONNECTION_STATE_H_
