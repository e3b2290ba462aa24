"""Digests of message types as constants, and Python code for the types.

    load(
        "@mycelium//mycelium/schema:mycelium_schema.bzl",
        "mycelium_py_proto_library",
        "mycelium_schema",
    )

    mycelium_schema(
        name = "market_schema",
        deps = [":market_proto"],
    )

    cc_binary(..., deps = [":market_schema"])   # "path/market_schema.h"
    py_binary(..., deps = [":market_schema"])   # path.market_schema
"""

load("@rules_proto//proto:defs.bzl", "ProtoInfo")

# Digests

def _mycelium_schema_impl(ctx):
    header = ctx.actions.declare_file(ctx.label.name + ".h")
    module = ctx.actions.declare_file(ctx.label.name + ".py")
    protos = [dep[ProtoInfo] for dep in ctx.attr.deps]
    direct = [proto.direct_descriptor_set for proto in protos]
    transitive = depset(
        transitive = [proto.transitive_descriptor_sets for proto in protos],
    )

    args = ctx.actions.args()
    args.use_param_file("--flagfile=%s", use_always = True)
    args.set_param_file_format("multiline")
    args.add_joined(
        direct,
        join_with = ",",
        format_joined = "--descriptor_sets=%s",
    )
    args.add_joined(
        transitive,
        join_with = ",",
        format_joined = "--imported_descriptor_sets=%s",
    )
    args.add_joined(
        ctx.attr.messages,
        join_with = ",",
        format_joined = "--messages=%s",
        omit_if_empty = True,
    )
    args.add(header, format = "--cc_out=%s")
    args.add(header.short_path, format = "--cc_include_path=%s")
    args.add(
        ctx.attr.cc_namespace or ctx.label.name,
        format = "--cc_namespace=%s",
    )
    args.add(module, format = "--py_out=%s")
    ctx.actions.run(
        executable = ctx.executable._tool,
        arguments = [args],
        inputs = depset(direct, transitive = [transitive]),
        outputs = [header, module],
        mnemonic = "MyceliumSchema",
        progress_message = "Digesting the schema %s" % ctx.label,
    )

    root = ctx.bin_dir.path
    if ctx.label.workspace_root:
        root += "/" + ctx.label.workspace_root
    return [
        DefaultInfo(
            files = depset([header, module]),
            runfiles = ctx.runfiles(files = [module]),
        ),
        CcInfo(
            compilation_context = cc_common.create_compilation_context(
                headers = depset([header]),
                quote_includes = depset([root]),
            ),
        ),
        PyInfo(transitive_sources = depset([module])),
    ]

mycelium_schema = rule(
    implementation = _mycelium_schema_impl,
    doc = """The digests of a set of message types, as constants.

One target for both languages: as a dependency of a C++ target it is the header
<name>.h with kSchemaDigest and kTypeDigests; of a Python target, the module
<name>.py with SCHEMA_DIGEST and TYPE_DIGESTS.""",
    attrs = {
        "deps": attr.label_list(
            doc = "The proto_library targets of the schema.",
            mandatory = True,
            allow_empty = False,
            providers = [ProtoInfo],
        ),
        "messages": attr.string_list(
            doc = "Full names of the messages of the schema. By default " +
                  "every top-level message in the sources of deps.",
        ),
        "cc_namespace": attr.string(
            doc = "Namespace of the C++ constants. By default the name.",
        ),
        "_tool": attr.label(
            default = Label("//mycelium/schema:schema_digest_tool"),
            executable = True,
            cfg = "exec",
        ),
    },
    provides = [CcInfo, PyInfo],
)

# Python code for message types

_PyProtoInfo = provider(
    doc = "Modules generated for a proto_library and all that it imports.",
    fields = {
        "modules": "depset of files",
        "imports": "depset of paths below the runfiles to search for modules",
        "links": "depset of structs: a module, and its path in the runfiles",
    },
)

# Protobuf's own types come with its Python package.
_RUNTIME_FOLDER = "google/protobuf/"

def _import_path(file, proto):
    """The path by which other .proto files import this one."""
    path = file.path
    for root in [proto.proto_source_root, file.root.path]:
        if root and root != "." and path.startswith(root + "/"):
            path = path[len(root) + 1:]
    workspace = file.owner.workspace_root
    if workspace and path.startswith(workspace + "/"):
        path = path[len(workspace) + 1:]
    return path

def _module_path(path):
    """Where protoc writes the module of a .proto file."""
    name = path[:-len(".proto")].replace("-", "_").replace(".", "/")
    return name + "_pb2.py"

def _all_below(folder, paths):
    return not folder or all([path.startswith(folder + "/") for path in paths])

def _py_proto_aspect_impl(target, ctx):
    proto = target[ProtoInfo]
    deps = [
        dep[_PyProtoInfo]
        for dep in ctx.rule.attr.deps
        if _PyProtoInfo in dep
    ]
    paths = [_import_path(file, proto) for file in proto.direct_sources]
    if not paths or paths[0].startswith(_RUNTIME_FOLDER):
        return [_PyProtoInfo(
            modules = depset(transitive = [dep.modules for dep in deps]),
            imports = depset(transitive = [dep.imports for dep in deps]),
            links = depset(transitive = [dep.links for dep in deps]),
        )]

    # A rule may write only below its own package. A module that is imported
    # from there needs no search path; one with another prefix gets a folder of
    # its own. So does a module in a package whose name is not a name in Python.
    # Such a module is linked to where the packages above it are, because Python
    # finds those in one place only.
    package = ctx.label.package
    workspace = ctx.label.workspace_name or ctx.workspace_name
    names = [_module_path(path) for path in paths]
    in_package = _all_below(package, names)
    has_prefix = not in_package and not _all_below(package, paths)
    folder = "" if in_package else "_py_proto/%s/" % ctx.label.name
    modules = []
    links = []
    for name in names:
        if in_package and package:
            name = name[len(package) + 1:]
        module = ctx.actions.declare_file(folder + name)
        modules.append(module)
        if not in_package and not has_prefix:
            links.append(struct(module = module, path = workspace + "/" + name))

    out = [ctx.bin_dir.path, ctx.label.workspace_root]
    search = [workspace]
    if not in_package:
        out += [package, folder[:-1]]
    if has_prefix:
        search += [package, folder[:-1]]
    args = ctx.actions.args()
    args.add_joined(
        proto.transitive_descriptor_sets,
        join_with = ctx.configuration.host_path_separator,
        format_joined = "--descriptor_set_in=%s",
    )
    args.add("/".join([part for part in out if part]), format = "--python_out=%s")
    args.add_all(paths)
    ctx.actions.run(
        executable = ctx.executable._protoc,
        arguments = [args],
        inputs = proto.transitive_descriptor_sets,
        outputs = modules,
        mnemonic = "MyceliumPyProto",
        progress_message = "Generating Python code for %s" % ctx.label,
    )
    return [_PyProtoInfo(
        modules = depset(
            modules,
            transitive = [dep.modules for dep in deps],
        ),
        imports = depset(
            ["/".join([part for part in search if part])],
            transitive = [dep.imports for dep in deps],
        ),
        links = depset(links, transitive = [dep.links for dep in deps]),
    )]

_py_proto_aspect = aspect(
    implementation = _py_proto_aspect_impl,
    attr_aspects = ["deps"],
    attrs = {
        "_protoc": attr.label(
            default = Label("@com_google_protobuf//:protoc"),
            executable = True,
            cfg = "exec",
        ),
    },
)

def _mycelium_py_proto_library_impl(ctx):
    protos = [dep[_PyProtoInfo] for dep in ctx.attr.deps]
    modules = depset(transitive = [proto.modules for proto in protos])
    links = depset(transitive = [proto.links for proto in protos]).to_list()
    return [
        DefaultInfo(
            files = modules,
            runfiles = ctx.runfiles(
                transitive_files = modules,
                root_symlinks = {link.path: link.module for link in links},
            ),
        ),
        PyInfo(
            transitive_sources = modules,
            imports = depset(transitive = [proto.imports for proto in protos]),
        ),
    ]

mycelium_py_proto_library = rule(
    implementation = _mycelium_py_proto_library_impl,
    doc = """Python code (a/b_pb2.py for a/b.proto) for proto_library targets.

Of a name that Python does not have protoc makes another one: my_svc/quote/v1_pb2
of my-svc/quote.v1.proto. What is in a package with such a name is not part of
what --build_python_zip makes.

It covers everything that these import, but for Protobuf's own types. The
protobuf package itself has to be in the interpreter.""",
    attrs = {
        "deps": attr.label_list(
            mandatory = True,
            aspects = [_py_proto_aspect],
            providers = [ProtoInfo],
        ),
    },
    provides = [PyInfo],
)
