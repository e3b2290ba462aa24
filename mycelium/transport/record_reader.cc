#include "mycelium/transport/record_reader.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace mycelium {
namespace {

absl::Status CheckHeader(const RecordHeader& header) {
  if (header.magic != kRecordMagic) {
    return absl::DataLossError(
        absl::StrFormat("record starts with 0x%04x, expected 0x%04x",
                        header.magic, kRecordMagic));
  }
  if (header.reserved != 0 || header.reserved2 != 0) {
    return absl::DataLossError("reserved bytes of a record are not zero");
  }
  switch (static_cast<RecordKind>(header.kind)) {
    case RecordKind::kData:
      return absl::OkStatus();
    case RecordKind::kControl:
    case RecordKind::kAck:
      if (header.body_bytes <= kControlBytesMax) return absl::OkStatus();
      return absl::DataLossError(
          absl::StrCat("record announces ", header.body_bytes,
                       " bytes of control, at most ", kControlBytesMax));
  }
  return absl::DataLossError(absl::StrCat("unknown record kind ", header.kind));
}

}  // namespace

absl::Status RecordReader::Read(absl::Span<const std::byte> bytes,
                                Handler& handler, size_t* used) {
  while (true) {
    absl::Span<const std::byte> rest = bytes.subspan(*used);
    if (rest.empty()) return absl::OkStatus();
    if (body_left_ > 0) {
      const FrameStep step = handler.OnFrameBytes(
          rest.subspan(0, std::min<uint64_t>(rest.size(), body_left_)));
      switch (step.what) {
        case FrameStep::What::kTook:
          *used += step.bytes;
          body_left_ -= step.bytes;
          continue;
        case FrameStep::What::kNeedMore:
          if (rest.size() >= body_left_) {
            return absl::DataLossError(
                absl::StrCat("a frame goes beyond its record, which has ",
                             body_left_, " bytes left"));
          }
          return absl::OkStatus();
        case FrameStep::What::kError:
          return step.error;
      }
    }
    if (rest.size() < sizeof(RecordHeader)) return absl::OkStatus();
    RecordHeader header;
    std::memcpy(&header, rest.data(), sizeof header);
    if (absl::Status checked = CheckHeader(header); !checked.ok()) {
      return checked;
    }
    const size_t before = *used;
    if (absl::Status read =
            ReadHeader(header, rest.subspan(sizeof header), handler, used);
        !read.ok() || *used == before) {
      return read;
    }
  }
}

absl::Status RecordReader::ReadHeader(const RecordHeader& header,
                                      absl::Span<const std::byte> body,
                                      Handler& handler, size_t* used) {
  if (static_cast<RecordKind>(header.kind) == RecordKind::kData) {
    *used += sizeof header;
    body_left_ = header.body_bytes;
    return handler.OnDataRecord(header.lane, header.position);
  }
  if (body.size() < header.body_bytes) return absl::OkStatus();
  *used += sizeof header + header.body_bytes;
  body = body.subspan(0, header.body_bytes);
  return static_cast<RecordKind>(header.kind) == RecordKind::kControl
             ? handler.OnControlRecord(body)
             : handler.OnAckRecord(body);
}

absl::Status CheckControlHeader(absl::Span<const std::byte> bytes,
                                size_t body_bytes_max, bool* complete,
                                size_t* body_bytes) {
  *complete = false;
  RecordHeader header = {};
  header.magic = kRecordMagic;
  header.kind = static_cast<uint8_t>(RecordKind::kControl);
  // What has not arrived is taken to be right, so that garbage shows early.
  std::memcpy(&header, bytes.data(), std::min(bytes.size(), sizeof header));
  if (bytes.size() >= sizeof header.magic) {
    if (absl::Status checked = CheckHeader(header); !checked.ok()) {
      return checked;
    }
  }
  if (bytes.size() < sizeof header) return absl::OkStatus();
  if (static_cast<RecordKind>(header.kind) != RecordKind::kControl) {
    return absl::DataLossError(absl::StrCat("record of kind ", header.kind,
                                            " before the handshake is over"));
  }
  if (header.body_bytes > body_bytes_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat("handshake announces ", header.body_bytes,
                     " bytes, at most ", body_bytes_max));
  }
  *body_bytes = header.body_bytes;
  *complete = bytes.size() >= sizeof header + header.body_bytes;
  return absl::OkStatus();
}

}  // namespace mycelium
