// A service in C++: prints the version of Mycelium and the order it made.
#include <iostream>

#include "mycelium/base/sys.h"
#include "mycelium/version.h"
#include "order.pb.h"

int main() {
  consumer::Order order;
  order.set_symbol("MYC");
  constexpr int64_t kNsPerSecond = 1'000'000'000;
  order.mutable_created()->set_seconds(mycelium::Sys::Real().RealtimeNs() /
                                       kNsPerSecond);
  std::cout << "mycelium " << mycelium::Version() << ", order of "
            << order.symbol() << (order.has_created() ? " with" : " without")
            << " a time" << std::endl;
}
