#include <cstddef>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mycelium/bus/hello_rules.h"
#include "mycelium/routing/dispatcher.h"
#include "mycelium/routing/link_bounds.h"
#include "mycelium/routing/router.h"
#include "mycelium/transport/framed_link.h"
#include "mycelium/transport/inbound_lanes.h"

namespace mycelium {
namespace {

TEST(BoundsDocsTest, EachBoundOfAPeerHasItsRow) {
  std::ifstream file("docs/topology.md");
  std::stringstream page;
  page << file.rdbuf();
  for (const std::string& row :
       {absl::StrCat("| lanes of a link | ", InboundLanes::kLanesMax, " |"),
        absl::StrCat("| subscriptions of a peer | ", Router::kRemotesMax, " |"),
        absl::StrCat("| bytes of control messages that a peer has not read | ",
                     FramedLink::kControlBytesMax, " |"),
        absl::StrCat("| publishers of a link | ", kLinkPublishersMax, " |"),
        absl::StrCat("| matches of a publisher | ", kPublisherMatchesMax, " |"),
        absl::StrCat("| services and topics told apart | ",
                     Dispatcher::kOriginsMax, " |"),
        absl::StrCat("| bytes of the names and digests of a node's services ",
                     "| ", kServicesBytesMax, " |")}) {
    EXPECT_TRUE(absl::StrContains(page.str(), absl::StrCat("\n", row, "\n")))
        << row;
  }
}

}  // namespace
}  // namespace mycelium
