"""Each check goes red on what it is for, and stays green on what it is not."""

import os
import unittest

from tests.tidy import determinism
from tests.tidy import formatting
from tests.tidy import includes
from tests.tidy import machine_paths
from tests.tidy import names
from tests.tidy import scripts
from tests.tidy import shared_words
from tests.tidy import sizes
from tests.tidy import system_calls
from tests.tidy import targets
from tests.tidy.source_tree import SourceTree
from tests.tidy.tree_test_case import TreeTest


class SourceTreeTest(TreeTest):
    def test_ignored_files_and_links_are_not_seen(self):
        tree = self.tree(
            {
                ".gitignore": "/out-*\n__pycache__/\n*.o\n",
                "out-1/a.cc": "",
                "sub/out-1/a.cc": "",
                "sub/b.o": "",
                "__pycache__/x.py": "",
                ".git/config": "",
            }
        )
        os.symlink(tree.root, os.path.join(tree.root, "link"))
        seen = SourceTree(tree.root).paths
        self.assertEqual(seen, [".gitignore", "sub/out-1/a.cc"])

    def test_binary_files_have_no_lines(self):
        tree = self.tree({"x.bin": b"\xff\xfe\x00"})
        self.assertEqual(tree.lines("x.bin"), [])


class SharedWordsTest(TreeTest):
    def test_other_ways_to_shared_memory_are_found(self):
        self.assert_found(
            shared_words.check,
            {
                "mycelium/transport/lane/ring.cc": (
                    "void F() {\n"
                    "  std::memcpy(room, bytes, 8);\n"
                    "  std::memset(room, 0, 8);\n"
                    "  *reinterpret_cast<uint32_t*>(room) = 1;\n"
                    "  __atomic_store_n(word, 1, __ATOMIC_RELAXED);\n"
                    "}\n"
                ),
                "mycelium/transport/lane/x.h": (
                    "struct XPositions {\n"
                    "  alignas(64) std::atomic<uint64_t> next{0};\n"
                    "};\n"
                    "std::atomic<bool> of_this_process;\n"
                ),
                "mycelium/transport/inbound_ring.cc": "memcpy(a, b, 1);\n",
                "mycelium/bus/x.cc": "__sync_synchronize();\n",
            },
            ("mycelium/transport/lane/ring.cc", 2),
            ("mycelium/transport/lane/ring.cc", 3),
            ("mycelium/transport/lane/ring.cc", 4),
            ("mycelium/transport/lane/ring.cc", 5),
            ("mycelium/transport/lane/x.h", 2),
            ("mycelium/transport/inbound_ring.cc", 1),
            ("mycelium/bus/x.cc", 1),
        )

    def test_the_seam_and_everything_else_are_not(self):
        self.assert_found(
            shared_words.check,
            {
                "mycelium/base/shared_word.h": "__atomic_load_n(w, 0);\n",
                "mycelium/transport/lane/ring.cc": (
                    "// std::memcpy(a, b, 1);\n"
                    "CopyToShared(room, bytes, 8);\n"
                ),
                "mycelium/transport/lane/ring_test.cc": "memcpy(a, b, 1);\n",
                "mycelium/bus/x.cc": "std::memcpy(a, b, 1);\n",
            },
        )


class IncludesTest(TreeTest):
    def including(self, path, *headers):
        lines = [f'#include "{header}"\n' for header in headers]
        return self.found(includes.check, {path: "".join(lines)})

    def test_downwards_and_sideways_in_a_folder_are_allowed(self):
        self.assertEqual(
            self.including(
                "mycelium/bus/bus.cc",
                "mycelium/bus/bus.h",
                "mycelium/routing/router.h",
                "mycelium/base/clock.h",
                "absl/status/status.h",
            ),
            [],
        )

    def test_base_sees_nothing_else(self):
        path = "mycelium/base/x.h"
        self.assertEqual(
            self.including(path, "mycelium/message/topic.h"), [(path, 1)]
        )
        generated = "proto/mycelium/v1/envelope.pb.h"
        self.assertEqual(self.including(path, generated), [(path, 1)])

    def test_nothing_below_bus_sees_routing(self):
        for folder in ("codec", "transport", "transport/lane", "transport/uds"):
            path = f"mycelium/{folder}/x.cc"
            with self.subTest(folder):
                self.assertEqual(
                    self.including(path, "mycelium/routing/router.h"),
                    [(path, 1)],
                )

    def test_transports_do_not_see_each_other(self):
        folders = ["inproc", "shm", "uds", "grpc"]
        for one in folders:
            for other in folders:
                path = f"mycelium/transport/{one}/x.cc"
                header = f"mycelium/transport/{other}/y.h"
                wanted = [] if one == other else [(path, 1)]
                with self.subTest(one=one, other=other):
                    self.assertEqual(self.including(path, header), wanted)

    def test_upwards_is_refused_for_every_row(self):
        for folder, allowed in includes.ALLOWED.items():
            for below in allowed:
                if below != "proto":
                    with self.subTest(folder=folder, below=below):
                        self.assertNotIn(folder, includes.ALLOWED[below])

    def test_folder_without_a_row_is_named(self):
        path = "mycelium/novel/x.cc"
        self.assertEqual(
            self.including(path, "mycelium/base/clock.h"), [(path, 1)]
        )

    def test_testdata_belongs_to_its_folder(self):
        path = "mycelium/schema/a_test.cc"
        header = "mycelium/schema/testdata/x.pb.h"
        self.assertEqual(self.including(path, header), [])
        header = "mycelium/routing/testdata/x.pb.h"
        self.assertEqual(self.including(path, header), [(path, 1)])

    def test_floors_see_nothing_of_the_project(self):
        path = "tests/benchmark/floors/x.cc"
        self.assertEqual(
            self.including(path, "mycelium/base/clock.h"), [(path, 1)]
        )
        self.assertEqual(self.including(path, "tests/benchmark/clock.h"), [])


class NamesTest(TreeTest):
    def test_banned_words_in_declarations_are_found(self):
        declarations = [
            "class LinkManager final {",
            "struct ParseHelper {",
            "enum class UtilKind { kA };",
            "class RouterImpl;",
            "template <typename T> class [[nodiscard]] StringUtils {",
        ]
        for declaration in declarations:
            with self.subTest(declaration):
                self.assert_found(
                    names.check, {"a.h": declaration + "\n"}, ("a.h", 1)
                )

    def test_banned_words_in_file_names_are_found(self):
        self.assert_found(
            names.check,
            {"mycelium/string_util.h": "", "x/helper.py": "", "utility.cc": ""},
            ("mycelium/string_util.h", 0),
            ("x/helper.py", 0),
        )

    def test_service_impls_and_longer_words_are_allowed(self):
        self.assert_found(
            names.check,
            {
                "a.h": "class LinkServiceImpl final {\n"
                "class Implementation;\n"
                "class UtilityCurve;\n"
                "  Manager manager;\n"
            },
        )


class TargetsTest(TreeTest):
    def test_file_of_no_target_is_found(self):
        self.assert_found(
            targets.check,
            {
                "p/BUILD": 'cc_library(name = "a", srcs = ["a.cc"])\n',
                "p/a.cc": "",
                "p/dead.cc": "",
                "q/dead.py": "",
            },
            ("p/dead.cc", 0),
            ("q/dead.py", 0),
        )

    def test_test_that_never_runs_is_found(self):
        self.assert_found(
            targets.check,
            {
                "p/BUILD": 'sh_test(name = "a", srcs = ["a_test.sh"])\n'
                'sh_test(name = "b", srcs = ["a_test.sh"], args = ["b"])\n'
                'cc_test(name = "c", data = ["c_test.cc", "d_test.sh"])\n',
                "p/a_test.sh": "",
                "p/c_test.cc": "",
                "p/d_test.sh": "",
                "p/e_test.sh": "",
            },
            ("p/c_test.cc", 0),
            ("p/d_test.sh", 0),
            ("p/e_test.sh", 0),
        )

    def test_what_was_left_behind_is_found(self):
        self.assert_found(
            targets.check,
            {"a.cc.orig": "", "b.md~": "", "c.bak": "", "d.rej": ""},
            ("a.cc.orig", 0),
            ("b.md~", 0),
            ("c.bak", 0),
            ("d.rej", 0),
        )

    def test_file_of_two_targets_is_found(self):
        self.assert_found(
            targets.check,
            {
                "p/BUILD": 'cc_library(name = "a", srcs = ["a.cc"])\n'
                'cc_test(name = "b", srcs = ["b.cc", "a.cc"])\n',
                "q/BUILD": 'cc_test(name = "c", srcs = ["//p:b.cc"])\n',
                "p/a.cc": "",
                "p/b.cc": "",
            },
            ("p/a.cc", 0),
            ("p/b.cc", 0),
        )

    def test_file_that_is_listed_as_compiled_twice_is_fine(self):
        path = sorted(targets.COMPILED_TWICE)[0]
        package, name = os.path.split(path)
        rules = "".join(
            f'cc_binary(name = "{rule}", srcs = ["{name}"])\n' for rule in "ab"
        )
        self.assert_found(targets.check, {path: "", package + "/BUILD": rules})

    def test_named_and_added_lists_are_understood(self):
        self.assert_found(
            targets.check,
            {
                "p/BUILD": '_S = ["a.cc"]\n'
                'cc_library(name = "a", srcs = _S + ["b.cc"], hdrs = ["c.h"])\n'
                'exports_files(["d.py"])\n'
                'py_test(name = "t", srcs = [":e.py"], data = ["f.proto"])\n',
                "p/a.cc": "",
                "p/b.cc": "",
                "p/c.h": "",
                "p/d.py": "",
                "p/e.py": "",
                "p/f.proto": "",
            },
        )

    def test_glob_of_sources_is_found(self):
        self.assert_found(
            targets.check,
            {"p/BUILD": '\ncc_library(name = "a", srcs = glob(["*.cc"]))\n'},
            ("p/BUILD", 2),
        )

    def test_labels_of_a_nested_workspace_are_its_own(self):
        self.assert_found(
            targets.check,
            {
                "tests/consumer/WORKSPACE": "",
                "tests/consumer/BUILD": 'x(name = "a", srcs = ["//p:a.cc"])\n',
                "tests/consumer/p/a.cc": "",
                "p/a.cc": "",
            },
            ("p/a.cc", 0),
        )


class SystemCallsTest(TreeTest):
    def test_calls_and_headers_are_found(self):
        for line in (
            "#include <sys/epoll.h>",
            "#include <linux/futex.h>",
            "  x = mmap(nullptr, 1, 2, 3, 4, 5);",
            "  ::close(fd);",
            "  if (fd >= 0) close(fd);",
            "  const int id = getpid();",
            "  return ::recvmsg(fd, &m, 0);",
        ):
            with self.subTest(line):
                path = "mycelium/bus/a.cc"
                self.assert_found(
                    system_calls.check, {path: line + "\n"}, (path, 1)
                )

    def test_members_comments_and_literals_are_no_calls(self):
        self.assert_found(
            system_calls.check,
            {
                "mycelium/bus/a.cc": "sys.Read(fd); link.close(); Link::open(x);\n"
                "// mmap(x) would do\n"
                'Log("munmap(x)");\n'
                "/* ::close(1)\n ::close(2) */\n"
                "int my_mmap(int); stream->write(1); sys->madvise(2);\n"
                "const auto read = [&] { return 1; };\nreturn read();\n"
                "const Fd socket(sys, made);\n"
            },
        )

    def test_what_a_file_declares_hides_no_call_of_the_kernel(self):
        self.assert_found(
            system_calls.check,
            {"mycelium/bus/a.cc": "auto read = 1;\nint x = ::read(1, b, 2);\n"},
            ("mycelium/bus/a.cc", 2),
        )

    def test_each_member_of_sys_is_a_point_where_the_crash_test_kills(self):
        self.assert_found(
            system_calls.check,
            {
                "mycelium/base/sys.h": "  virtual ~Sys() = default;\n"
                "  virtual int64_t Open(int x);\n"
                "  virtual void* Map(int x);\n"
                "  virtual bool Seal(int x);\n"
                "  virtual int64_t MonotonicNs();\n",
                "tests/crash/crash_points.cc": "int64_t CrashSys::Open(int x,\n"
                "    int y) {\n  PassCall();\n  return 1;\n}\n"
                "void* CrashSys::Map(int x) {\n  PassCall();\n}\n"
                "bool CrashSys::Seal(int x) {\n  return Sys::Seal(x);\n}\n",
            },
            ("mycelium/base/sys.h", 4),
        )

    def test_each_call_of_a_line_is_judged_by_itself(self):
        for line in (
            "auto read = 1;\nif (read()) close(fd);\n",
            "const Fd socket(sys, m);\nint x = socket(AF_UNIX, 1, 0);\n",
            "x = v[read];\nread(fd, b, 1);\n",
        ):
            with self.subTest(line):
                self.assert_found(
                    system_calls.check,
                    {"mycelium/bus/a.cc": line},
                    ("mycelium/bus/a.cc", 2),
                )

    def test_members_that_are_declared_are_no_calls(self):
        self.assert_found(
            system_calls.check,
            {"mycelium/bus/a.h": "int close(int fd) override;\nvoid write();\n"},
        )

    def test_who_has_no_sys_may_call_what_it_says(self):
        text = "int x = getpid();\nclose(x);\n"
        self.assert_found(
            system_calls.check,
            {"mycelium/base/fork_guard.cc": text},
            ("mycelium/base/fork_guard.cc", 2),
        )

    def test_what_only_linux_has_stays_behind_sys(self):
        for name in ["F_SEAL_SHRINK", "MFD_CLOEXEC", "EPOLLIN", "SO_PEERCRED"]:
            with self.subTest(name=name):
                self.assert_found(
                    system_calls.check,
                    {
                        "mycelium/transport/shm/a.cc": f"int x = {name};\n",
                        "mycelium/base/a.cc": f"int x = {name};\n",
                        "mycelium/testing/a.cc": f"int x = {name};\n",
                        "mycelium/bus/a.cc": f"// {name}\nint MY_{name};\n",
                    },
                    ("mycelium/transport/shm/a.cc", 1),
                )

    def test_wall_clock_of_abseil_is_found(self):
        text = "// absl::Now()\nconst absl::Time end = absl::Now() + wait;\n"
        self.assert_found(
            system_calls.check,
            {
                "python/extension/a.cc": text,
                "mycelium/base/a.h": text,
                "mycelium/bus/a_test.cc": text,
                "examples/a.cc": text,
            },
            ("mycelium/base/a.h", 2),
            ("python/extension/a.cc", 2),
        )

    def test_one_file_and_tests_may_call(self):
        text = "#include <sys/epoll.h>\nint x = ::close(1);\n"
        self.assert_found(
            system_calls.check,
            {
                "mycelium/base/sys.cc": text,
                "mycelium/bus/a_test.cc": text,
                "tests/x.cc": text,
                "mycelium/base/fd.cc": text,
                "mycelium/transport/local_socket/dialler.cc": text,
            },
            ("mycelium/base/fd.cc", 2),
            ("mycelium/transport/local_socket/dialler.cc", 2),
        )


class FormattingTest(TreeTest):
    STYLE = "BasedOnStyle: Google\n"

    def test_misformatted_file_is_found_once(self):
        self.assert_found(
            formatting.check,
            {
                ".clang-format": self.STYLE,
                "a.cc": "int  a;\nint  b;\n",
                "b.h": "int a;\n",
            },
            ("a.cc", 1),
        )

    def test_missing_program_is_a_finding(self):
        tree = self.tree({"a.cc": "int a;\n"})
        findings = formatting.check(tree, program="no-such-clang-format")
        self.assertEqual(len(findings), 1)
        self.assertIn("not installed", findings[0].message)


class DeterminismTest(TreeTest):
    def test_sleeps_in_tests_are_found(self):
        for line in (
            "std::this_thread::sleep_for(1ms);",
            "absl::SleepFor(x);",
            "usleep(5);",
            "time.sleep(1)",
        ):
            with self.subTest(line):
                self.assert_found(
                    determinism.check, {"a_test.cc": line}, ("a_test.cc", 1)
                )

    def test_sleep_with_a_reason_or_outside_tests_is_fine(self):
        self.assert_found(
            determinism.check,
            {
                "a_test.cc": "usleep(5);  // waits: the kernel has no event\n"
                "// waits: same\nusleep(5);\n",
                "tests/b.py": "time.sleep(1)  # waits: no event\n",
                "mycelium/base/waiter.cc": "usleep(5);\n",
            },
        )

    def test_empty_reason_is_none(self):
        self.assert_found(
            determinism.check,
            {"a_test.cc": "usleep(5);  // waits:\n"},
            ("a_test.cc", 1),
        )

    def test_fixed_ports_are_found(self):
        self.assert_found(
            determinism.check,
            {
                "a_test.cc": 'Dial("127.0.0.1:9001");\n'
                'Bind("localhost:0");\n'
                "x = htons(80);\n"
                'Parse("localhost:70");  // port: never bound\n'
            },
            ("a_test.cc", 1),
            ("a_test.cc", 3),
        )


    def test_tests_in_c_and_in_a_shell_are_tests(self):
        self.assert_found(
            determinism.check,
            {
                "a_test.c": 'Dial("localhost:1"); /* port: never bound */\n'
                '\nDial("localhost:1");\n',
                "a_test.sh": "sleep 1\n# waits: same\nsleep 0.5\n",
                "tests/a.toml": 'addr = "127.0.0.1:9001"\n',
                "b.sh": "sleep 1\n",
                "tests/b.cc": "// Does it sleep 5 times?\n",
            },
            ("a_test.c", 3),
            ("a_test.sh", 1),
            ("tests/a.toml", 1),
        )

    def test_addresses_in_tests_of_the_topology_are_text(self):
        text = 'Parse("localhost:70");\nusleep(5);\n'
        path = "mycelium/topology/a_test.cc"
        self.assert_found(determinism.check, {path: text}, (path, 2))


class ScriptsTest(TreeTest):
    def test_script_that_goes_on_after_a_failure_is_found(self):
        good = "#!/bin/bash\n# Does it.\n\nset -euo pipefail\n"
        self.assert_found(
            scripts.check,
            {
                "a.sh": good,
                "tools/a": good,
                "b.sh": "#!/bin/sh\nset -euo pipefail\n",
                "c.sh": "#!/bin/bash\nset -eu\nset -euo pipefail\n",
                "tools/c": "#!/bin/bash\ncd /\n",
                ".ci/c": "#!/bin/bash\n",
                "d.sh": "",
                "tools/list": "set -eu\n",
            },
            (".ci/c", 0),
            ("b.sh", 1),
            ("c.sh", 2),
            ("d.sh", 0),
            ("d.sh", 1),
            ("tools/c", 2),
        )


class SizesTest(TreeTest):
    def test_hard_caps_fail_and_one_line_less_does_not(self):
        for suffix, maximum in ((".h", 400), (".cc", 700)):
            with self.subTest(suffix):
                path = "a" + suffix
                self.assert_found(
                    sizes.check, {path: "//\n" * (maximum + 1)}, (path, 0)
                )
                self.assert_found(sizes.check, {path: "//\n" * maximum})

    def test_unusual_sizes_are_reported(self):
        body = "  x();\n" * 60
        tree = self.tree(
            {
                "a.h": "//\n" * 201,
                "b.cc": "namespace n {\n"
                + f"void Long() {{\n{body}}}\n"
                + f"int Wrapped(int a,\n            int b) {{\n{body}}}\n"
                + "void Short() {\n  x();\n}\n}\n",
                "c.h": "//\n" * 200,
            }
        )
        notes = sizes.report(tree)
        self.assertEqual(
            [note.split(" ")[0] for note in notes],
            ["a.h:", "b.cc:2:", "b.cc:65:"],
        )


class MachinePathsTest(TreeTest):
    def test_paths_of_one_machine_are_found(self):
        # Put together here; otherwise the check would find this file itself.
        for place in ("work", "root", "home"):
            with self.subTest(place):
                line = "cd " + "/" + place + "/x\n"
                self.assert_found(
                    machine_paths.check, {"a.sh": line}, ("a.sh", 1)
                )

    def test_relative_and_common_paths_are_fine(self):
        text = "a/work" + "/b\n/usr/bin/x\n/tmp/y\n$X/root" + "/z\n"
        self.assert_found(machine_paths.check, {"a.sh": text})


if __name__ == "__main__":
    unittest.main()
