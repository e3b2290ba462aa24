"""The upstream label of cc_grpc_library, for Bazel 4 and Debian's protoc."""

load("@rules_cc//cc:defs.bzl", "cc_library")

def _generated_files_impl(ctx):
    info = ctx.attr.proto[ProtoInfo]
    root = info.proto_source_root
    outputs = []
    names = []
    for source in info.direct_sources:
        path = source.path
        if root != "." and path.startswith(root + "/"):
            path = path[len(root) + 1:]
        names.append(path)

        # protoc writes its output beside the .proto file as it is imported, and
        # a rule writes only below its own package.
        if ctx.label.package:
            if not path.startswith(ctx.label.package + "/"):
                fail("cc_grpc_library: %s is imported from another folder than %s" %
                     (path, ctx.label.package))
            path = path[len(ctx.label.package) + 1:]
        stem = path[:-len(".proto")]
        for suffix in [".grpc.pb.h", ".grpc.pb.cc"]:
            outputs.append(ctx.actions.declare_file(stem + suffix))
    out = ctx.bin_dir.path
    if ctx.label.workspace_root:
        out += "/" + ctx.label.workspace_root
    descriptors = info.transitive_descriptor_sets
    arguments = ctx.actions.args()
    arguments.add_joined(
        "--descriptor_set_in",
        descriptors,
        join_with = ctx.configuration.host_path_separator,
    )
    arguments.add("--plugin=protoc-gen-grpc=" + ctx.executable._plugin.path)
    arguments.add("--grpc_out=" + out)
    arguments.add_all(names)
    ctx.actions.run(
        arguments = [arguments],
        executable = ctx.executable._protoc,
        inputs = descriptors,
        mnemonic = "CcGrpc",
        outputs = outputs,
        tools = [ctx.executable._plugin],
    )
    return [DefaultInfo(files = depset(outputs))]

_generated_files = rule(
    implementation = _generated_files_impl,
    attrs = {
        "proto": attr.label(mandatory = True, providers = [ProtoInfo]),
        "_plugin": attr.label(
            cfg = "exec",
            default = "@com_github_grpc_grpc//src/compiler:grpc_cpp_plugin",
            executable = True,
        ),
        "_protoc": attr.label(
            cfg = "exec",
            default = "@com_google_protobuf//:protoc",
            executable = True,
        ),
    },
    output_to_genfiles = True,
)

def cc_grpc_library(name, srcs, deps, grpc_only = False, **kwargs):
    """C++ classes for the services of one proto_library.

    Args:
      name: of the cc_library.
      srcs: one proto_library.
      deps: the cc_proto_library of the same.
      grpc_only: must be True, as upstream wants it for new targets.
      **kwargs: as for cc_library.
    """
    if not grpc_only or len(srcs) != 1:
        fail("cc_grpc_library: one proto_library, with grpc_only = True")
    generated = "_" + name + "_files"
    _generated_files(
        name = generated,
        proto = srcs[0],
        visibility = ["//visibility:private"],
    )
    cc_library(
        name = name,
        srcs = [":" + generated],
        hdrs = [":" + generated],
        deps = deps + ["@com_github_grpc_grpc//:grpc++"],
        **kwargs
    )
