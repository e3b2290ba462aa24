#include "python/extension/log.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/base/start_thread.h"
#include "python/extension/callback.h"
#include "python/extension/calls.h"
#include "python/extension/convert.h"

namespace py = pybind11;

namespace mycelium {
namespace {

struct Record {
  LogLevel level;
  std::string text;
};

// What waits to be written.
struct Queue {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Record> records;
  uint64_t lost = 0;  // There was no room for.
  bool has_thread = false;
  bool ending = false;
  bool ended = false;
};

// Neither is ever let go of: threads may log while the process ends.
PyObject* writer = nullptr;
Queue* queue = new Queue;

// As logging numbers them.
int NumberOf(LogLevel level) {
  switch (level) {
    case LogLevel::kInfo:
      return 20;
    case LogLevel::kWarning:
      return 30;
    case LogLevel::kError:
      return 40;
  }
  return 40;
}

void WriteAll(const std::deque<Record>& records) {
  const CallIntoPython call;
  if (!call) {
    for (const Record& record : records) {
      StderrLog()(record.level, record.text);
    }
    return;
  }
  const GilTaken gil;
  const auto write = py::reinterpret_borrow<py::object>(writer);
  for (const Record& record : records) {
    try {
      CallPython(write, py::make_tuple(NumberOf(record.level), "%s",
                                       ReplacingTextOf(record.text)));
    } catch (py::error_already_set& raised) {
      raised.discard_as_unraisable(write);
      StderrLog()(record.level, record.text);
    }
  }
}

void Run(Queue& waiting) {
  std::unique_lock<std::mutex> lock(waiting.mutex);
  while (true) {
    waiting.changed.wait(
        lock, [&] { return !waiting.records.empty() || waiting.ending; });
    if (waiting.records.empty()) break;
    std::deque<Record> records = std::exchange(waiting.records, {});
    if (const uint64_t lost = std::exchange(waiting.lost, 0); lost > 0) {
      records.push_back(
          {LogLevel::kError,
           absl::StrCat(lost, " records of the log were lost: more than ",
                        PythonLog::kRecordsMax, " waited to be written")});
    }
    lock.unlock();
    WriteAll(records);
    lock.lock();
  }
  waiting.ended = true;
  waiting.changed.notify_all();
}

void Write(LogLevel level, absl::string_view text) {
  Queue& waiting = *queue;
  const std::lock_guard<std::mutex> lock(waiting.mutex);
  if (waiting.ending) {
    StderrLog()(level, text);
    return;
  }
  if (waiting.records.size() >= PythonLog::kRecordsMax) {
    ++waiting.lost;
    return;
  }
  waiting.records.push_back({level, std::string(text)});
  if (!waiting.has_thread) {
    absl::StatusOr<std::thread> thread =
        StartThread("log", [&waiting] { Run(waiting); });
    if (!thread.ok()) {
      // The next record tries it again.
      waiting.records.pop_back();
      StderrLog()(level, text);
      return;
    }
    thread->detach();
    waiting.has_thread = true;
  }
  waiting.changed.notify_all();
}

}  // namespace

LogSink PythonLog::Sink() { return &Write; }

void PythonLog::SetWriter(const py::object& function) {
  writer = py::object(function).release().ptr();
}

void PythonLog::End(double seconds) {
  if (Interpreter::forked()) return;
  const absl::Duration timeout = TimeoutOf(seconds);
  const GilReleased released;
  std::unique_lock<std::mutex> lock(queue->mutex);
  queue->ending = true;
  queue->changed.notify_all();
  if (!queue->has_thread) return;
  queue->changed.wait_for(lock, absl::ToChronoNanoseconds(timeout),
                          [] { return queue->ended; });
}

void PythonLog::AfterForkInChild() { queue = new Queue; }

}  // namespace mycelium
