"""A program built so that it has a fault, to show that tests notice."""

# Every fault that the code has for this purpose. Each has to be switched on
# when the program runs. There is one list for all of them, so that what lies
# below is built once. It is optimised, since that makes a seed of the
# simulation four times as fast.
FAULTS = ["-DMYCELIUM_MISCOUNT", "-DMYCELIUM_PLANTED_BUGS", "-O2"]

def _settings_impl(settings, attr):
    return {
        "//command_line_option:copt": settings["//command_line_option:copt"] +
                                      attr.added_copts,
    }

_settings = transition(
    implementation = _settings_impl,
    inputs = ["//command_line_option:copt"],
    outputs = ["//command_line_option:copt"],
)

def _binary_built_with_impl(ctx):
    built = ctx.attr.binary[0][DefaultInfo]
    link = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.symlink(
        output = link,
        target_file = built.files_to_run.executable,
        is_executable = True,
    )
    runfiles = ctx.runfiles(files = [link]).merge(built.default_runfiles)
    return [DefaultInfo(executable = link, runfiles = runfiles)]

binary_built_with = rule(
    doc = "`binary`, and all that it needs, compiled with more options.",
    implementation = _binary_built_with_impl,
    attrs = {
        "added_copts": attr.string_list(mandatory = True),
        "binary": attr.label(
            cfg = _settings,
            executable = True,
            mandatory = True,
        ),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
    executable = True,
)
