#ifndef MYCELIUM_TOPOLOGY_ROUTE_READER_H_
#define MYCELIUM_TOPOLOGY_ROUTE_READER_H_

#include "mycelium/topology/diagnostics.h"
#include "mycelium/topology/environment.h"
#include "mycelium/topology/table_reader.h"
#include "mycelium/topology/toml_document.h"
#include "mycelium/topology/topology.h"

namespace mycelium {

// Reads one [[routes]] table. Reports what is wrong within the table; errors
// between routes and nodes are for the validator.
Route ReadRoute(const TomlValue& table, const EnvLookup& env,
                Diagnostics& diagnostics);

// Reads the settings that [defaults] and [[routes]] share.
RouteOverrides ReadOverrides(TableReader& reader);

// The route as error messages name it: route "feed -> strategy".
std::string RouteName(const Route& route);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_ROUTE_READER_H_
