"""The packages that Mycelium builds with, under their upstream names.

A monorepo that has its own absl, protobuf or gRPC declares them first;
mycelium_repositories() skips every name that is declared already. What remains
is taken from Debian's packages, which tools/setup installs.
"""

_ABSL_TARGETS = {
    "absl/algorithm": ["algorithm", "container"],
    "absl/base": ["core_headers", "base"],
    "absl/cleanup": ["cleanup"],
    "absl/container": [
        "btree",
        "fixed_array",
        "flat_hash_map",
        "flat_hash_set",
        "inlined_vector",
        "node_hash_map",
    ],
    "absl/flags": ["flag", "parse", "usage"],
    "absl/functional": ["any_invocable", "bind_front", "function_ref"],
    "absl/hash": ["hash"],
    "absl/memory": ["memory"],
    "absl/meta": ["type_traits"],
    "absl/random": ["random", "bit_gen_ref", "distributions"],
    "absl/status": ["status", "statusor"],
    "absl/strings": ["strings", "cord", "str_format"],
    "absl/synchronization": ["synchronization"],
    "absl/time": ["time"],
    "absl/types": ["any", "optional", "span", "variant"],
    "absl/utility": ["utility"],
}

# Debian ships Abseil as many shared libraries whose headers call into one
# another, so every target links all of them. The linker is not asked to keep
# only the needed ones: gold would drop a library that a shared library of the
# build calls and the program itself does not, and the program would stop at
# that call.
_ABSL_LIBRARIES = [
    "flags_parse",
    "flags_usage",
    "flags_usage_internal",
    "flags_internal",
    "flags_marshalling",
    "flags_reflection",
    "flags_config",
    "flags_program_name",
    "flags_private_handle_accessor",
    "flags_commandlineflag",
    "flags_commandlineflag_internal",
    "random_distributions",
    "random_seed_sequences",
    "random_seed_gen_exception",
    "random_internal_pool_urbg",
    "random_internal_randen",
    "random_internal_randen_hwaes",
    "random_internal_randen_hwaes_impl",
    "random_internal_randen_slow",
    "random_internal_seed_material",
    "random_internal_platform",
    "hash",
    "city",
    "low_level_hash",
    "raw_hash_set",
    "hashtablez_sampler",
    "statusor",
    "status",
    "cord",
    "cordz_info",
    "cordz_handle",
    "cordz_functions",
    "cord_internal",
    "exponential_biased",
    "synchronization",
    "graphcycles_internal",
    "time",
    "civil_time",
    "time_zone",
    "str_format_internal",
    "strings",
    "strings_internal",
    "int128",
    "bad_optional_access",
    "bad_variant_access",
    "bad_any_cast_impl",
    "stacktrace",
    "symbolize",
    "debugging_internal",
    "demangle_internal",
    "malloc_internal",
    "base",
    "spinlock_wait",
    "throw_delegate",
    "raw_logging_internal",
    "log_severity",
]

_PUBLIC = 'package(default_visibility = ["//visibility:public"])\n'

def _library(name, link_libraries, deps = []):
    return 'cc_library(name = "{}", linkopts = {}, deps = {})\n'.format(
        name,
        repr(["-l" + lib for lib in link_libraries]),
        repr(deps),
    )

def _absl_files():
    files = {"BUILD": _PUBLIC + _library(
        "all",
        ["absl_" + lib for lib in _ABSL_LIBRARIES],
    )}
    for package, names in _ABSL_TARGETS.items():
        files[package + "/BUILD"] = _PUBLIC + "".join([
            _library(name, [], ["//:all"])
            for name in names
        ])
    return files

def _generated_repository_impl(repository_ctx):
    repository_ctx.file("WORKSPACE", 'workspace(name = "{}")\n'.format(
        repository_ctx.name,
    ))
    for path, content in repository_ctx.attr.files.items():
        repository_ctx.file(path, content)
    for label, path in repository_ctx.attr.links.items():
        repository_ctx.symlink(label, path)
    for path, target in repository_ctx.attr.system_links.items():
        repository_ctx.symlink(target, path)

# A repository made of generated BUILD files, files of this repository and
# directories of the system.
_generated_repository = repository_rule(
    implementation = _generated_repository_impl,
    attrs = {
        "files": attr.string_dict(doc = "path -> content"),
        "links": attr.label_keyed_string_dict(
            allow_files = True,
            doc = "file of this workspace -> path",
        ),
        "system_links": attr.string_dict(doc = "path -> absolute path"),
    },
    local = True,
)

def _declare(rule, name, **kwargs):
    if not native.existing_rule(name):
        rule(name = name, **kwargs)

def mycelium_repositories():
    """Declares what Mycelium needs, except what is declared already."""
    _declare(
        _generated_repository,
        "rules_cc",
        files = {"BUILD": "", "cc/BUILD": ""},
        links = {"@mycelium//third_party/rules_cc:defs.bzl": "cc/defs.bzl"},
    )
    _declare(
        _generated_repository,
        "rules_python",
        files = {"BUILD": "", "python/BUILD": ""},
        links = {
            "@mycelium//third_party/rules_python:defs.bzl": "python/defs.bzl",
            "@mycelium//third_party/rules_python:proto.bzl": "python/proto.bzl",
        },
    )

    # Bazel looks for this repository at every test; the real one is a download.
    _declare(
        _generated_repository,
        "remote_coverage_tools",
        files = {"BUILD": _PUBLIC +
                          'filegroup(name = "coverage_report_generator")\n'},
    )
    _declare(
        native.local_repository,
        "rules_java",
        path = "/usr/share/bazel/rules/java",
    )
    _declare(
        native.local_repository,
        "rules_proto",
        path = "/usr/share/bazel/rules/proto",
    )
    _declare(
        native.local_repository,
        "bazel_skylib",
        path = "/usr/share/bazel/tools/skylib",
    )
    _declare(
        native.local_repository,
        "platforms",
        path = "/usr/share/bazel/platforms",
    )
    _declare(
        _generated_repository,
        "com_google_absl",
        files = _absl_files(),
    )
    _declare(
        _generated_repository,
        "com_google_protobuf",
        links = {"@mycelium//third_party:protobuf.BUILD": "BUILD"},
        system_links = {"google": "/usr/include/google"},
        files = {"protoc.sh": '#!/bin/sh\nexec /usr/bin/protoc "$@"\n'},
    )
    _declare(
        _generated_repository,
        "com_github_grpc_grpc",
        files = {
            "BUILD": _PUBLIC +
                     _library("grpc++", ["grpc++", "grpc", "gpr"], [
                         "@com_google_absl//:all",
                         "@com_google_protobuf//:protobuf",
                     ]) +
                     _library("grpc++_reflection", ["grpc++_reflection"], [
                         ":grpc++",
                     ]),
            "src/compiler/BUILD": _PUBLIC +
                                  'sh_binary(name = "grpc_cpp_plugin", ' +
                                  'srcs = ["grpc_cpp_plugin.sh"])\n',
            "src/compiler/grpc_cpp_plugin.sh": "#!/bin/sh\n" +
                                               'exec /usr/bin/grpc_cpp_plugin "$@"\n',
            "bazel/BUILD": "",
        },
        links = {
            "@mycelium//third_party/grpc:cc_grpc_library.bzl": "bazel/cc_grpc_library.bzl",
        },
    )
    _declare(
        _generated_repository,
        "com_google_googletest",
        files = {"BUILD": _PUBLIC +
                          _library("gtest", ["gmock", "gtest", "pthread"]) +
                          _library("gtest_main", ["gmock_main"], [":gtest"])},
    )
    _declare(
        _generated_repository,
        "com_github_google_benchmark",
        files = {"BUILD": _PUBLIC +
                          _library("benchmark", ["benchmark", "pthread"]) +
                          _library("benchmark_main", ["benchmark_main"], [
                              ":benchmark",
                          ])},
    )
    _declare(
        _generated_repository,
        "boringssl",
        files = {"BUILD": _PUBLIC + _library("crypto", ["crypto"]) +
                          _library("ssl", ["ssl"], [":crypto"])},
    )
    _declare(
        _generated_repository,
        "tomlplusplus",
        files = {"BUILD": _PUBLIC + _library("tomlplusplus", [])},
    )
    _declare(
        _generated_repository,
        "pybind11",
        files = {"BUILD": _PUBLIC +
                          "cc_library(name = \"pybind11\", " +
                          "hdrs = glob([\"python3/**/*.h\"]), " +
                          "includes = [\"python3\"])\n"},
        system_links = {"python3": "/usr/include/python3.11"},
    )
