#include "mycelium/schema/schema_model.h"

namespace mycelium {
namespace {

using MessageVisitor = absl::FunctionRef<void(MessageModel&)>;

void VisitMessages(std::vector<MessageModel>& messages, MessageVisitor visit) {
  for (MessageModel& message : messages) {
    visit(message);
    VisitMessages(message.messages, visit);
  }
}

}  // namespace

void ForEachMessage(SchemaModel& schema,
                    absl::FunctionRef<void(LayerModel&, MessageModel&)> visit) {
  for (LayerModel& layer : schema.layers) {
    VisitMessages(layer.messages,
                  [&](MessageModel& message) { visit(layer, message); });
  }
}

MessageModel* FindMessage(SchemaModel& schema, const std::string& name) {
  MessageModel* found = nullptr;
  ForEachMessage(schema, [&](LayerModel&, MessageModel& message) {
    if (message.name == name) found = &message;
  });
  return found;
}

EnumModel* FindEnum(SchemaModel& schema, const std::string& name) {
  EnumModel* found = nullptr;
  const auto search = [&](std::vector<EnumModel>& enums) {
    for (EnumModel& enumeration : enums) {
      if (enumeration.name == name) found = &enumeration;
    }
  };
  for (LayerModel& layer : schema.layers) search(layer.enums);
  ForEachMessage(schema, [&](LayerModel&, MessageModel& message) {
    search(message.enums);
  });
  return found;
}

}  // namespace mycelium
