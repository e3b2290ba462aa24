// Topologies, read by the one parser that there is.
#include "mycelium/topology/topology.h"

#include <string>

#include "mycelium/base/sys.h"
#include "mycelium/topology/environment.h"
#include "mycelium/topology/route_rules.h"
#include "mycelium/topology/topology_loader.h"
#include "python/extension/convert.h"
#include "python/extension/define.h"

namespace py = pybind11;

namespace mycelium {
namespace {

// A node of this machine that is in no file; no name in a file has a space.
constexpr char kAnyNode[] = "any other node of this machine";

Connection ConnectionInfo(const Topology& topology, const std::string& to,
                          const std::string& from) {
  if (!from.empty()) return ValueOrRaise(Explain(topology, from, to));
  Topology extended = topology;
  TopologyNode any;
  any.name = kAnyNode;
  extended.nodes.push_back(any);
  return ValueOrRaise(Explain(extended, kAnyNode, to));
}

py::list NodesOf(const Topology& topology) {
  py::list nodes;
  for (const TopologyNode& node : topology.nodes) {
    nodes.append(py::dict(
        py::arg("name") = node.name, py::arg("services") = node.services,
        py::arg("host") = node.host, py::arg("port") = node.port));
  }
  return nodes;
}

}  // namespace

void DefineTopology(py::module_& module) {
  py::class_<Topology>(module, "Topology")
      .def(py::init([](const std::string& path) {
             return ValueOrRaise(WithoutGil([&] {
               return LoadTopology(Sys::Real(), path, ProcessEnvironment());
             }));
           }),
           MayWait())
      .def_readonly("path", &Topology::path)
      .def_property_readonly("digest", &ContentDigest)
      .def_property_readonly("nodes", &NodesOf)
      .def("connection_info", [](const Topology& self, const std::string& to,
                                 const std::string& from) {
        const Connection connection = ConnectionInfo(self, to, from);
        const TopologyNode* const node = self.FindServiceOrNode(to);
        return py::dict(
            py::arg("transport") = TextOf(WordOf(connection.transport)),
            py::arg("address") = connection.address,
            py::arg("node") = node == nullptr ? "" : node->name,
            py::arg("rule") = connection.rule);
      });
}

}  // namespace mycelium
