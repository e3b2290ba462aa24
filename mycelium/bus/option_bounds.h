#ifndef MYCELIUM_BUS_OPTION_BOUNDS_H_
#define MYCELIUM_BUS_OPTION_BOUNDS_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mycelium/bus/options.h"

namespace mycelium {

// Whether `limits` and `settings` of a bus without a topology lie within the
// bounds that a topology file has for them, and two of the largest frames fit
// into a lane. Lanes may be smaller than in a file: as small as a ring can be.
//   INVALID_ARGUMENT  names the first value that is out of bounds
absl::Status CheckOptionBounds(const BusOptions& options);

// The same for a publisher's own `publish_timeout`.
absl::Status CheckPublishTimeout(absl::Duration timeout);

// Whether no option is given that the topology at `path` sets.
//   INVALID_ARGUMENT  names the first option that is given
absl::Status CheckOptionsBesideTopology(const BusOptions& options,
                                        absl::string_view path);

}  // namespace mycelium

#endif  // MYCELIUM_BUS_OPTION_BOUNDS_H_
