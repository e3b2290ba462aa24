#include "examples/trading/market.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "examples/trading/trading.pb.h"

namespace trading {

absl::Status Market::Run(uint64_t count, absl::Duration timeout) {
  auto signals = bus_.Subscriber<TradingSignal>();
  if (!signals.ok()) return signals.status();
  auto model = bus_.PublisherTo<MarketData>("ml-signals");
  if (!model.ok()) return model.status();
  if (absl::Status found = model->WaitForSubscribers(1, timeout); !found.ok()) {
    return found;
  }
  const absl::Time begin = absl::Now();
  MarketData data;
  for (uint64_t id = 1; id <= count; ++id) {
    data.set_id(id);
    data.clear_features();
    for (uint64_t i = 0; i < 3; ++i) {
      data.add_features(static_cast<double>(id + i));
    }
    absl::Status asked = model->Publish(data);
    if (!asked.ok()) return asked;
    auto signal = signals->Receive(timeout);
    if (!signal.ok()) return signal.status();
    if ((*signal)->id() != id ||
        (*signal)->signal() != static_cast<double>(id + 1)) {
      return absl::DataLossError(absl::StrCat("asked ", data.ShortDebugString(),
                                              ", was told ",
                                              (*signal)->ShortDebugString()));
    }
  }
  took_ = absl::Now() - begin;
  signals->Finish();
  if (absl::Status handled = bus_.Flush(timeout); !handled.ok()) return handled;
  for (const mycelium::FlowReport& flow : bus_.FlowReports()) {
    transport_ = flow.transport;
  }
  return absl::OkStatus();
}

}  // namespace trading
