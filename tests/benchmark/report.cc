#include "tests/benchmark/report.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "mycelium/base/json_writer.h"
#include "tests/benchmark/statistics.h"

namespace mycelium::bench {
namespace {

// The median of the probes of the report's class; a mean over both classes
// would describe neither.
std::optional<double> MedianHandoverNs(const Report& report) {
  std::vector<double> of_class;
  for (const double ns : report.tally.handover_ns) {
    if (ClassOf(ns) == report.floor_class) of_class.push_back(ns);
  }
  if (of_class.empty()) return std::nullopt;
  return Median(of_class);
}

void WriteRow(const Row& row, JsonWriter* json) {
  auto number = [&](absl::string_view key, std::optional<double> value) {
    json->Name(key);
    json->Number(value);
  };
  auto text = [&](absl::string_view key, absl::string_view value) {
    json->Name(key);
    value.empty() ? json->Null() : json->String(value);
  };
  json->Begin('{');
  text("system", row.system);
  text("variant", row.variant);
  text("transport", row.what.transport);
  text("kind", Name(row.what.kind));
  text("mode", Name(row.what.mode));
  text("wait", Name(row.what.wait));
  json->Name("bytes");
  json->Number(static_cast<int64_t>(row.what.bytes));
  number("p50_ns", row.p50_ns);
  number("p99_ns", row.p99_ns);
  number("p999_ns", row.p999_ns);
  number("max_ns", row.max_ns);
  number("msgs_per_s", row.msgs_per_s);
  text("floor", row.floor);
  number("floor_ratio", row.floor_ratio);
  number("over_floor_ns", row.over_floor_ns);
  number("allocations_per_msg", row.allocations_per_msg);
  number("syscalls_per_msg", row.syscalls_per_msg);
  number("cpu_ns_per_msg", row.cpu_ns_per_msg);
  json->Name("rounds");
  json->Number(int64_t{row.rounds});
  json->End('}');
}

void WriteRows(absl::string_view key, const std::vector<Row>& rows,
               JsonWriter* json) {
  json->Name(key);
  json->Begin('[');
  for (const Row& row : rows) WriteRow(row, json);
  json->End(']');
}

void WriteMachine(const Report& report, JsonWriter* json) {
  auto count = [&](absl::string_view key, int64_t value) {
    json->Name(key);
    json->Number(value);
  };
  json->Begin('{');
  json->Name("cpu");
  json->String(report.machine.cpu_model);
  json->Name("kernel");
  json->String(report.machine.kernel);
  json->Name("pinned_cpus");
  json->Begin('[');
  json->Number(int64_t{report.cpus.first});
  json->Number(int64_t{report.cpus.second});
  json->End(']');
  json->Name("floor_class");
  json->String(Name(report.floor_class));
  json->Name("handover_ns");
  json->Number(MedianHandoverNs(report));
  count("near_rounds", report.tally.near_rounds);
  count("far_rounds", report.tally.far_rounds);
  count("changed_rounds", report.tally.changed_rounds);
  count("dropped_rounds", report.tally.dropped_rounds);
  count("dropped_runs", report.tally.dropped_runs);
  count("late_wakes", report.tally.late_wakes);
  count("errors", static_cast<int64_t>(report.tally.errors.size()));
  WriteRows("other_class_rows", report.other_class_rows, json);
  json->End('}');
}

// Three figures or so, with a unit that fits; "-" for nothing.
std::string Scaled(std::optional<double> value) {
  if (!value.has_value()) return "-";
  const double size = std::abs(*value);
  if (size >= 9.995e6) return absl::StrFormat("%.1fM", *value / 1e6);
  if (size >= 99'950) return absl::StrFormat("%.0fk", *value / 1e3);
  if (size >= 9'995) return absl::StrFormat("%.1fk", *value / 1e3);
  if (size >= 100) return absl::StrFormat("%.0f", *value);
  return absl::StrFormat("%.3g", *value);
}

std::string TableOf(const std::vector<Row>& rows) {
  std::string text = absl::StrFormat(
      "%-10s %-11s %-7s %-8s %-7s %-5s %8s %8s %8s %8s %8s %8s %7s %8s %7s "
      "%7s %8s %s\n",
      "system", "variant", "transp", "kind", "mode", "wait", "bytes", "p50 ns",
      "p99 ns", "p99.9 ns", "max ns", "msg/s", "ratio", "+ns", "alloc", "sysc",
      "cpu ns", "rounds");
  bool after_candidate = false;
  for (const Row& row : rows) {
    // A second floor may come after candidates that have the same floor as it.
    const bool begins_contest = row.system == "floor" &&
                                (row.floor.empty() || row.floor == row.variant);
    if (begins_contest && after_candidate) text += '\n';
    after_candidate = row.system != "floor";
    absl::StrAppendFormat(
        &text,
        "%-10s %-11s %-7s %-8s %-7s %-5s %8d %8s %8s %8s %8s %8s %7s %8s %7s "
        "%7s %8s %d\n",
        row.system, row.variant, row.what.transport, Name(row.what.kind),
        Name(row.what.mode), Name(row.what.wait), row.what.bytes,
        Scaled(row.p50_ns), Scaled(row.p99_ns), Scaled(row.p999_ns),
        Scaled(row.max_ns), Scaled(row.msgs_per_s), Scaled(row.floor_ratio),
        Scaled(row.over_floor_ns), Scaled(row.allocations_per_msg),
        Scaled(row.syscalls_per_msg), Scaled(row.cpu_ns_per_msg), row.rounds);
  }
  return text;
}

}  // namespace

Report MakeReport(const Machine& machine, const CpuPair& cpus,
                  const Comparison& comparison) {
  Report report;
  report.machine = machine;
  report.cpus = cpus;
  report.floor_class = comparison.main_class();
  report.tally = comparison.tally();
  report.rows = comparison.Rows(report.floor_class);
  const FloorClass other = report.floor_class == FloorClass::kNear
                               ? FloorClass::kFar
                               : FloorClass::kNear;
  const std::vector<Row> other_rows = comparison.Rows(other);
  std::copy_if(other_rows.begin(), other_rows.end(),
               std::back_inserter(report.other_class_rows),
               [](const Row& row) { return row.rounds > 0; });
  // Both classes have the same rows, in the same order.
  for (size_t i = 0; i < report.rows.size(); ++i) {
    const Row& row = report.rows[i];
    if (row.rounds > 0 || other_rows[i].rounds > 0) continue;
    report.missing.push_back(
        absl::StrCat(row.system, " ", row.variant, " ", Describe(row.what)));
  }
  return report;
}

std::string ToJson(const Report& report) {
  JsonWriter json(JsonWriter::Layout::kOneLine);
  json.Begin('{');
  json.Name("machine");
  WriteMachine(report, &json);
  WriteRows("rows", report.rows, &json);
  json.End('}');
  return json.text() + "\n";
}

std::string ToText(const Report& report) {
  const Tally& tally = report.tally;
  std::string text = absl::StrFormat(
      "machine: %s, %s, pinned to CPUs %d and %d, %s (hand-over %s ns)\n",
      report.machine.cpu_model, report.machine.kernel, report.cpus.first,
      report.cpus.second, Name(report.floor_class),
      Scaled(MedianHandoverNs(report)));
  absl::StrAppend(&text, TableOf(report.rows));
  if (!report.other_class_rows.empty()) {
    absl::StrAppend(&text, "\nrounds of the other class:\n",
                    TableOf(report.other_class_rows));
  }
  absl::StrAppendFormat(
      &text,
      "\nrounds: %d near, %d far, %d changed class meanwhile, %d dropped; "
      "%d disturbed runs repeated or dropped\n",
      tally.near_rounds, tally.far_rounds, tally.changed_rounds,
      tally.dropped_rounds, tally.dropped_runs);
  if (tally.late_wakes > 0) {
    absl::StrAppend(&text, tally.late_wakes,
                    " sleepers were told a second time, after 5 ms\n");
  }
  for (const std::string& error : tally.errors) {
    absl::StrAppend(&text, "error: ", error, "\n");
  }
  for (const std::string& row : report.missing) {
    absl::StrAppend(&text, "no round counted: ", row, "\n");
  }
  return text;
}

}  // namespace mycelium::bench
