#include "mycelium/transport/kept_frames.h"

namespace mycelium {

std::vector<uint32_t> KeptFrames::Lanes() const {
  std::vector<uint32_t> lanes;
  for (const auto& [lane, kept] : lanes_) lanes.push_back(lane);
  return lanes;
}

uint64_t KeptFrames::CountFrames() const {
  uint64_t frames = 0;
  for (const auto& [lane, kept] : lanes_) frames += kept.frames;
  return frames;
}

uint64_t KeptFrames::End(uint32_t lane) const {
  const Run& last = lanes_.at(lane).runs.back();
  return last.position + last.bytes.size();
}

void KeptFrames::Add(uint32_t lane, uint64_t position,
                     absl::Span<const std::byte> frame) {
  Lane& kept = lanes_[lane];
  if (kept.runs.empty() || End(lane) != position) {
    kept.runs.push_back({position, {}});
  }
  kept.runs.back().bytes.append(reinterpret_cast<const char*>(frame.data()),
                                frame.size());
  ++kept.frames;
  untold_bytes_ += frame.size();
}

KeptFrames::First KeptFrames::Front(uint32_t lane) const {
  const Run& run = lanes_.at(lane).runs.front();
  return {run.position + run.taken,
          absl::MakeConstSpan(
              reinterpret_cast<const std::byte*>(run.bytes.data()) + run.taken,
              run.bytes.size() - run.taken)};
}

void KeptFrames::Pop(uint32_t lane, size_t bytes) {
  const auto entry = lanes_.find(lane);
  if (entry == lanes_.end()) return;
  Lane& kept = entry->second;
  Run& run = kept.runs.front();
  run.taken += bytes;
  --kept.frames;
  if (run.taken == run.bytes.size()) kept.runs.pop_front();
  if (kept.runs.empty()) lanes_.erase(entry);
}

}  // namespace mycelium
