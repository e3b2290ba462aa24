#ifndef TESTS_CONFORMANCE_LEDGER_WORDS_H_
#define TESTS_CONFORMANCE_LEDGER_WORDS_H_

#include <string>

#include "absl/strings/str_cat.h"
#include "mycelium/transport/lane/ledger.h"

namespace mycelium::test {

// A peer process's answer to "ledger"; CountedOf() reads it.
inline std::string LedgerWords(const Ledger& sum) {
  return absl::StrCat("ledger ", sum.accepted, " ", sum.delivered, " ",
                      sum.in_flight, " ", sum.dropped_total(), " ",
                      sum.dropped_for(DropReason::kSubscriberGone), " ",
                      sum.dropped_for(DropReason::kPoison), " ",
                      sum.dropped_for(DropReason::kOverflow), " ",
                      sum.dropped_for(DropReason::kTooLarge));
}

}  // namespace mycelium::test

#endif  // TESTS_CONFORMANCE_LEDGER_WORDS_H_
