"""The upstream label of py_proto_library, for Bazel 4 and Debian's protoc."""

# The generated modules below one proto_library, and the roots from which they
# are imported.
_PyProtoInfo = provider(fields = ["imports", "sources"])

# Their modules are in Debian's python3-protobuf.
_WELL_KNOWN_TYPES = "com_google_protobuf"

def _import_name(source, root):
    """Returns the path of a .proto file as other .proto files import it."""
    path = source.path
    if root != "." and path.startswith(root + "/"):
        return path[len(root) + 1:]
    return path

def _module_path(name):
    """Returns where protoc writes the module of a .proto file."""
    stem = name[:-len(".proto")]
    return stem.replace("-", "_").replace(".", "/") + "_pb2.py"

def _py_proto_aspect_impl(target, ctx):
    below = [
        dep[_PyProtoInfo]
        for dep in ctx.rule.attr.deps
        if _PyProtoInfo in dep
    ]
    info = target[ProtoInfo]
    sources = []
    imports = []
    if info.direct_sources and target.label.workspace_name != _WELL_KNOWN_TYPES:
        root = info.proto_source_root

        # The root as seen from the folder of generated files.
        out_root = root
        if out_root.startswith(ctx.bin_dir.path + "/"):
            out_root = out_root[len(ctx.bin_dir.path) + 1:]
        names = [_import_name(file, root) for file in info.direct_sources]
        out = ctx.bin_dir.path
        if out_root != ".":
            out += "/" + out_root

        package = "/".join([
            part
            for part in [target.label.workspace_root, target.label.package]
            if part
        ])
        for name in names:
            path = _module_path(name)
            if out_root != ".":
                path = out_root + "/" + path
            if package:
                path = path[len(package) + 1:]
            sources.append(ctx.actions.declare_file(path))

        descriptors = info.transitive_descriptor_sets
        arguments = ctx.actions.args()
        arguments.add_joined(
            "--descriptor_set_in",
            descriptors,
            join_with = ctx.configuration.host_path_separator,
        )
        arguments.add("--python_out=" + out)
        arguments.add_all(names)
        ctx.actions.run(
            arguments = [arguments],
            executable = ctx.executable._protoc,
            inputs = descriptors,
            mnemonic = "PyProto",
            outputs = sources,
        )
        if out_root.startswith("external/"):
            imports.append(out_root[len("external/"):])
        elif out_root == ".":
            imports.append(ctx.workspace_name)
        else:
            imports.append(ctx.workspace_name + "/" + out_root)
    return [_PyProtoInfo(
        imports = depset(imports, transitive = [dep.imports for dep in below]),
        sources = depset(sources, transitive = [dep.sources for dep in below]),
    )]

_py_proto_aspect = aspect(
    implementation = _py_proto_aspect_impl,
    attr_aspects = ["deps"],
    attrs = {
        "_protoc": attr.label(
            cfg = "exec",
            default = "@com_google_protobuf//:protoc",
            executable = True,
        ),
    },
)

def _py_proto_library_impl(ctx):
    below = [dep[_PyProtoInfo] for dep in ctx.attr.deps]
    sources = depset(transitive = [dep.sources for dep in below])
    return [
        DefaultInfo(
            files = sources,
            runfiles = ctx.runfiles(transitive_files = sources),
        ),
        PyInfo(
            imports = depset(transitive = [dep.imports for dep in below]),
            transitive_sources = sources,
        ),
    ]

py_proto_library = rule(
    implementation = _py_proto_library_impl,
    doc = "The Python modules of proto_library targets and all below them.",
    attrs = {
        "deps": attr.label_list(
            aspects = [_py_proto_aspect],
            providers = [ProtoInfo],
        ),
    },
    provides = [PyInfo],
)
