#ifndef MYCELIUM_SCHEMA_SCHEMA_MUTATION_H_
#define MYCELIUM_SCHEMA_SCHEMA_MUTATION_H_

#include <string>
#include <vector>

#include "mycelium/schema/schema_model.h"

namespace mycelium {

// For tests: one change of a schema that changes its meaning.
struct Mutation {
  std::string kind;  // Empty: the change that was drawn could not be made.
  // What a report has to name, as seen from the schema before the change, and
  // from the one after it.
  std::string named;
  std::string named_by_the_other;
};

// The kinds that there are.
std::vector<std::string> MutationKinds();

// Makes one change somewhere in the types that the root reaches. The change may
// break a rule of Protobuf; WriteSchema() shows that.
Mutation MutateReached(SchemaModel& schema, Random& random);

// Changes a type that the root does not reach; false if the root reaches all.
bool MutateUnreached(SchemaModel& schema, Random& random);

}  // namespace mycelium

#endif  // MYCELIUM_SCHEMA_SCHEMA_MUTATION_H_
