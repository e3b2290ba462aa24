"""A program built so that it counts wrongly, to show that tests notice."""

def _miscounting_settings_impl(settings, _attr):
    return {
        "//command_line_option:copt": settings["//command_line_option:copt"] +
                                      ["-DMYCELIUM_MISCOUNT"],
    }

_miscounting_settings = transition(
    implementation = _miscounting_settings_impl,
    inputs = ["//command_line_option:copt"],
    outputs = ["//command_line_option:copt"],
)

def _miscounting_binary_impl(ctx):
    built = ctx.attr.binary[0][DefaultInfo]
    link = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.symlink(
        output = link,
        target_file = built.files_to_run.executable,
        is_executable = True,
    )
    runfiles = ctx.runfiles(files = [link]).merge(built.default_runfiles)
    return [DefaultInfo(executable = link, runfiles = runfiles)]

miscounting_binary = rule(
    doc = "`binary`, and all that it needs, with MYCELIUM_MISCOUNT defined.",
    implementation = _miscounting_binary_impl,
    attrs = {
        "binary": attr.label(
            cfg = _miscounting_settings,
            executable = True,
            mandatory = True,
        ),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
    executable = True,
)
