#ifndef EXAMPLES_TRADING_MARKET_H_
#define EXAMPLES_TRADING_MARKET_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mycelium/bus/message_bus.h"

namespace trading {

// The service "market": sends MarketData to the model and takes its signals.
// It does not know in which language or process the model is.
//
// Ownership: borrows the bus, which must outlive it.
class Market final {
 public:
  explicit Market(mycelium::MessageBus& bus) : bus_(bus) {}

  // Waits for the model, then asks it `count` times and waits for each answer.
  //   DATA_LOSS  an answer is not the mean of the features in the question
  absl::Status Run(uint64_t count, absl::Duration timeout);

  // How the messages travelled: "inproc", "unix", ….
  const std::string& transport() const { return transport_; }
  // From the first question to the last answer.
  absl::Duration took() const { return took_; }

 private:
  mycelium::MessageBus& bus_;
  std::string transport_;
  absl::Duration took_;
};

}  // namespace trading

#endif  // EXAMPLES_TRADING_MARKET_H_
