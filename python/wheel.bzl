"""A wheel of the package, made of what was built."""

def _wheel_impl(ctx):
    wheel = ctx.actions.declare_file(ctx.attr.file_name)
    args = ctx.actions.args()
    args.add(wheel)
    inputs = []
    for target, path in ctx.attr.files.items():
        file = target.files.to_list()[0]
        inputs.append(file)
        args.add("%s=%s" % (path, file.path))
    ctx.actions.run(
        executable = ctx.executable._tool,
        arguments = [args],
        inputs = inputs,
        outputs = [wheel],
        mnemonic = "MyceliumWheel",
        use_default_shell_env = True,
    )
    return [DefaultInfo(
        files = depset([wheel]),
        runfiles = ctx.runfiles(files = [wheel]),
    )]

wheel = rule(
    implementation = _wheel_impl,
    doc = "One wheel for the interpreter and the machine of the build.",
    attrs = {
        "file_name": attr.string(mandatory = True),
        "files": attr.label_keyed_string_dict(
            allow_files = True,
            doc = "file -> path in the wheel",
        ),
        "_tool": attr.label(
            cfg = "exec",
            default = "//python:build_wheel",
            executable = True,
        ),
    },
)
