"""A program built with a sanitizer, however the rest is built."""

# The flags that --config=asan with --config=ubsan, and --config=tsan, set in
# .bazelrc.
_COMMON = ["-fno-omit-frame-pointer", "-O1", "-g1", "-DMYCELIUM_SANITIZER"]
_FLAGS = {
    "address": [
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=undefined",
    ],
    "thread": ["-fsanitize=thread"],
}
_COPTS = {
    "address": [],
    "thread": ["-Wno-error=tsan"],
}

# Debian's gRPC is not instrumented, so ThreadSanitizer sees none of the locks
# inside it, and reports the accesses that they guard as races.
_ENVIRONMENT = {
    "address": {},
    "thread": {"GTEST_FILTER": "-*grpc*"},
}

def _sanitizing_settings_impl(settings, attr):
    flags = _FLAGS[attr.sanitizer]
    return {
        "//command_line_option:copt": settings["//command_line_option:copt"] +
                                      _COMMON + flags + _COPTS[attr.sanitizer],
        "//command_line_option:linkopt": settings["//command_line_option:linkopt"] +
                                         flags,
        "//command_line_option:strip": "never",
    }

_sanitizing_settings = transition(
    implementation = _sanitizing_settings_impl,
    inputs = [
        "//command_line_option:copt",
        "//command_line_option:linkopt",
    ],
    outputs = [
        "//command_line_option:copt",
        "//command_line_option:linkopt",
        "//command_line_option:strip",
    ],
)

def _sanitized_test_impl(ctx):
    built = ctx.attr.binary[0][DefaultInfo]
    link = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.symlink(
        output = link,
        target_file = built.files_to_run.executable,
        is_executable = True,
    )
    runfiles = ctx.runfiles(files = [link]).merge(built.default_runfiles)
    return [
        DefaultInfo(executable = link, runfiles = runfiles),
        testing.TestEnvironment(_ENVIRONMENT[ctx.attr.sanitizer]),
    ]

_ATTRS = {
    "binary": attr.label(
        cfg = _sanitizing_settings,
        executable = True,
        mandatory = True,
    ),
    "sanitizer": attr.string(
        mandatory = True,
        values = ["address", "thread"],
    ),
    "_allowlist_function_transition": attr.label(
        default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
    ),
}

sanitized_test = rule(
    doc = "The test `binary`, and all that it needs, with a sanitizer.",
    implementation = _sanitized_test_impl,
    attrs = _ATTRS,
    test = True,
)

sanitized_binary = rule(
    doc = "The program `binary`, and all that it needs, with a sanitizer.",
    implementation = _sanitized_test_impl,
    attrs = _ATTRS,
    executable = True,
)
