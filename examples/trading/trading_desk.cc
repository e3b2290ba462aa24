// The market's process, with or without the model inside it:
//
//   trading_desk TOPOLOGY COUNT embed      runs the model in this process
//   trading_desk TOPOLOGY COUNT            meets it wherever the topology says
//
// Prints how many messages travelled, and how. Fails unless all were delivered
// as far as this node counted; only the model's node knows what reached the
// model.
#include <pybind11/embed.h>

#include <iostream>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/time/time.h"
#include "examples/trading/market.h"
#include "mycelium/bus/message_bus.h"

namespace py = pybind11;

namespace trading {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(20);

absl::Status Ask(mycelium::MessageBus& bus, uint64_t count) {
  Market market(bus);
  if (absl::Status done = market.Run(count, kPatience); !done.ok()) return done;
  std::cout << count << " signals over " << market.transport() << " in "
            << market.took() << std::endl;
  return absl::OkStatus();
}

// Checks that nothing was dropped or is in flight and, where this node counted
// both ends, that all accepted messages were delivered.
absl::Status CheckLedger(const mycelium::MessageBus& bus) {
  for (const mycelium::FlowReport& flow : bus.FlowReports()) {
    std::cout << flow.topic << ": accepted " << flow.ledger.accepted
              << ", delivered " << flow.ledger.delivered << ", dropped "
              << flow.ledger.dropped_total() << ", in flight "
              << flow.ledger.in_flight << std::endl;
    const bool has_both = flow.transport == "inproc";
    if (flow.ledger.dropped_total() + flow.ledger.in_flight != 0 ||
        (has_both && flow.ledger.accepted != flow.ledger.delivered)) {
      return absl::InternalError("not every message was delivered");
    }
  }
  return absl::OkStatus();
}

// [embed]
absl::Status RunEmbedded(mycelium::MessageBus& bus, const std::string& topology,
                         uint64_t count) {
  // Modules are found by PYTHONPATH, not in the folder of this program.
  const py::scoped_interpreter interpreter(true, 0, nullptr, false);
  try {
    const py::object runtime =
        py::module_::import("examples.trading.model").attr("start")(topology);
    absl::Status asked;
    {
      // Whoever publishes to Python must not hold the GIL.
      const py::gil_scoped_release release;
      asked = Ask(bus, count);
    }
    runtime.attr("close")();
    return asked;
  } catch (const py::error_already_set& error) {
    return absl::InternalError(error.what());
  }
}
// [/embed]

absl::Status Run(const std::string& topology, uint64_t count, bool embed) {
  auto bus = mycelium::MessageBus::FromTopology(topology, "market");
  if (!bus.ok()) return bus.status();
  absl::Status done =
      embed ? RunEmbedded(**bus, topology, count) : Ask(**bus, count);
  // The interpreter is gone; the node still runs.
  done.Update((*bus)->Shutdown(kPatience));
  done.Update(CheckLedger(**bus));
  return done;
}

}  // namespace
}  // namespace trading

int main(int argc, char** argv) {
  uint64_t count = 0;
  const bool embed = argc == 4 && std::string(argv[3]) == "embed";
  if ((argc != 3 && !embed) || !absl::SimpleAtoi(argv[2], &count)) {
    std::cerr << "usage: trading_desk TOPOLOGY COUNT [embed]" << std::endl;
    return 2;
  }
  const absl::Status done = trading::Run(argv[1], count, embed);
  if (done.ok()) return 0;
  std::cerr << "trading_desk: " << done << std::endl;
  return 1;
}
