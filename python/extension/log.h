#ifndef PYTHON_EXTENSION_LOG_H_
#define PYTHON_EXTENSION_LOG_H_

#include <pybind11/pybind11.h>

#include "mycelium/base/log.h"

namespace mycelium {

// The log of every node of this process that Python has made, through Python's
// logging.
//
// Handlers of logging take locks, write to networks and may use a bus, so none
// runs on the threads that log, which may hold locks of the runtime. A thread
// writes what waits here; it is started by the first record, so that a process
// where nothing goes wrong has none. At most kRecordsMax wait; how many more
// there were is the last record. What logging raises goes to
// sys.unraisablehook, and the record to standard error.
//
// Thread safety: the sink may be called from any thread, with any lock held;
// the rest with the GIL.
class PythonLog final {
 public:
  static constexpr size_t kRecordsMax = 1024;

  static LogSink Sink();

  // What writes: (level, format, text), as of a logging.Logger. REQUIRES:
  // called once, before the first Sink().
  static void SetWriter(const pybind11::object& writer);

  // Waits until all was written. From then on the sink writes to standard
  // error.
  static void End(double seconds);

  // The thread is gone, and what waited is written by the parent.
  static void AfterForkInChild();
};

}  // namespace mycelium

#endif  // PYTHON_EXTENSION_LOG_H_
