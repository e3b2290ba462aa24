#ifndef MYCELIUM_TOPOLOGY_SOURCE_POSITION_H_
#define MYCELIUM_TOPOLOGY_SOURCE_POSITION_H_

namespace mycelium {

// Where something stands in a file; both count from 1. A line of 0 means that
// it was not read from a file.
struct SourcePosition {
  int line = 0;
  int column = 0;
};

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_SOURCE_POSITION_H_
