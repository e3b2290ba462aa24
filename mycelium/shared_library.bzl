"""Making one shared library of many libraries, and depending on it."""

load("@bazel_tools//tools/cpp:toolchain_utils.bzl", "find_cpp_toolchain")

def _has_archive(library):
    return bool(library.static_library or library.pic_static_library)

def _whole(ctx, library, cc_toolchain, features):
    """Returns `library` such that the linker takes all of its archive."""
    if not _has_archive(library):
        return library  # A shared library of the system.
    return cc_common.create_library_to_link(
        actions = ctx.actions,
        alwayslink = True,
        cc_toolchain = cc_toolchain,
        feature_configuration = features,
        pic_static_library = library.pic_static_library,
        static_library = library.static_library,
    )

def _cc_whole_archives_impl(ctx):
    cc_toolchain = find_cpp_toolchain(ctx)
    features = cc_common.configure_features(
        cc_toolchain = cc_toolchain,
        ctx = ctx,
        requested_features = ctx.features,
        unsupported_features = ctx.disabled_features,
    )
    merged = cc_common.merge_cc_infos(
        cc_infos = [library[CcInfo] for library in ctx.attr.libraries],
    )
    inputs = []
    for input in merged.linking_context.linker_inputs.to_list():
        inputs.append(cc_common.create_linker_input(
            owner = input.owner,
            additional_inputs = depset(input.additional_inputs),
            libraries = depset([
                _whole(ctx, library, cc_toolchain, features)
                for library in input.libraries
            ]),
            user_link_flags = depset(input.user_link_flags),
        ))
    return [CcInfo(
        compilation_context = merged.compilation_context,
        linking_context = cc_common.create_linking_context(
            linker_inputs = depset(inputs, order = "topological"),
        ),
    )]

cc_whole_archives = rule(
    implementation = _cc_whole_archives_impl,
    doc = """`libraries` and all that they depend on, to be linked in whole.

For a shared library: what nothing in it calls is called from outside, and the
linker would leave it out.
""",
    attrs = {
        "libraries": attr.label_list(providers = [CcInfo]),
        "_cc_toolchain": attr.label(
            default = "@bazel_tools//tools/cpp:current_cc_toolchain",
        ),
    },
    fragments = ["cpp"],
    incompatible_use_toolchain_transition = True,
    provides = [CcInfo],
    toolchains = ["@bazel_tools//tools/cpp:toolchain_type"],
)

_FOREIGN_ARCHIVES = """%s: %s: built from source.
The .so hides its copy of what is linked into it, so a program that uses it
would not find what the headers call there. C++ programs depend on
@mycelium//mycelium or @mycelium//mycelium:local instead. This target, and with
it the Python package, needs shared libraries of the system, as those of Debian
that mycelium_repositories() declares.
"""

def _refuse_foreign_archives(ctx, inputs):
    """Stops the build if code that is not of this repository would be hidden."""
    foreign = {
        input.owner.workspace_name: None
        for input in inputs
        for library in input.libraries
        if _has_archive(library) and
           input.owner.workspace_name != ctx.label.workspace_name
    }
    if foreign:
        names = ["@" + name for name in sorted(foreign)]
        fail(_FOREIGN_ARCHIVES % (ctx.label, ", ".join(names)))

def _cc_shared_view_impl(ctx):
    headers = cc_common.merge_cc_infos(
        cc_infos = [library[CcInfo] for library in ctx.attr.libraries],
    )

    inputs = headers.linking_context.linker_inputs.to_list()
    _refuse_foreign_archives(ctx, inputs)

    # Inline functions of a system's library are compiled into the program too.
    system = [
        cc_common.create_linker_input(
            owner = input.owner,
            libraries = depset([
                library
                for library in input.libraries
                if not _has_archive(library)
            ]),
            user_link_flags = depset(input.user_link_flags),
        )
        for input in inputs
    ]
    shared = ctx.attr.shared_library[CcInfo].linking_context.linker_inputs
    return [
        CcInfo(
            compilation_context = headers.compilation_context,
            linking_context = cc_common.create_linking_context(
                linker_inputs = depset(
                    shared.to_list() + system,
                    order = "topological",
                ),
            ),
        ),
        ctx.attr.shared_library[DefaultInfo],
    ]

cc_shared_view = rule(
    implementation = _cc_shared_view_impl,
    doc = """What a C++ target depends on to use libraries through a .so.

It offers the headers of `libraries` and the system's libraries below them, as a
dependency on them would, but `shared_library` instead of their archives. A plain
cc_library cannot do that: whoever depends on it links the archives of all that
is below it, which would be a second copy of what is in the .so.
""",
    attrs = {
        "libraries": attr.label_list(
            doc = "The libraries that are linked into `shared_library`.",
            providers = [CcInfo],
        ),
        "shared_library": attr.label(
            doc = "A cc_import of the .so.",
            mandatory = True,
            providers = [CcInfo],
        ),
    },
    provides = [CcInfo],
)
