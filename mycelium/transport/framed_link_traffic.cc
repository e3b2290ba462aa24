// The part of FramedLink that adds up what it has carried.
#include "mycelium/transport/framed_link.h"

namespace mycelium {

void FramedLink::AddTraffic(const OutLane& out, LinkTraffic* traffic) {
  const LanePublished published = out.lane->published();
  traffic->frames_sent += published.frames;
  traffic->bytes_sent += published.bytes;
  traffic->stalls += published.stalls;
}

LinkTraffic FramedLink::Traffic() const {
  LinkTraffic traffic;
  {
    MutexLock lock(lanes_mutex_);
    traffic += ended_out_;
    for (const auto& out : retired_) AddTraffic(*out, &traffic);
    for (const auto& [id, out] : out_lanes_) AddTraffic(*out, &traffic);
  }
  inbound_.AddTraffic(&traffic);
  MutexLock lock(rings_mutex_);
  traffic += ended_in_;
  for (const auto& [lane, ring] : rings_) ring->AddTraffic(&traffic);
  return traffic;
}

}  // namespace mycelium
