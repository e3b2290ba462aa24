"""A fuzz target that is a test with any compiler, and a fuzzer with clang."""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_test")

def fuzz_target(name, srcs, deps):
    """Declares a test and a fuzzer made of LLVMFuzzerTestOneInput().

    NAME_test runs every file of corpus/NAME and seeded mutations of them. NAME
    is a libFuzzer program, which only `--config=fuzz` can build.

    Args:
      name: ends with _fuzz.
      srcs: define the function.
      deps: of the sources.
    """
    corpus = native.glob(["corpus/%s/*" % name])
    directory = "%s/corpus/%s" % (native.package_name(), name)
    cc_library(
        name = name + "_entry",
        testonly = True,
        srcs = srcs,
        deps = deps,
        alwayslink = True,
    )
    cc_test(
        name = name + "_test",
        size = "medium",
        args = [directory],
        data = corpus,
        deps = [
            ":%s_entry" % name,
            ":replay",
        ],
    )
    cc_binary(
        name = name,
        testonly = True,
        linkopts = ["-fsanitize=fuzzer"],
        # gcc has no libFuzzer.
        tags = ["manual"],
        deps = [":%s_entry" % name],
    )
