"""What docs/diagnosis.md shows as output of `mycelium status` is its output.

The page's blocks are compared with the command's output for two real nodes,
once process numbers, times and the directory are the same word in both.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import mycelium
from tests.docs import plant_pb2

PAGE = "docs/diagnosis.md"
COMMAND = "mycelium/cli/mycelium"
PLANT = "tests/docs/plant.toml"
SHOWN_DIRECTORY = "/run/user/1000/mycelium"
LONG = 20.0


def watch():
    """The process of the node `control`: says that it is there, and stays."""
    with mycelium.MessageBus.from_topology(PLANT, "watch") as bus:
        bus.subscribe(plant_pb2.Reading, lambda reading: None)
        print("ready", flush=True)
        sys.stdin.read()


def comparable(text, directory):
    text = text.replace(directory, "DIR")
    text = re.sub(r"pid \d+", "pid N", text)
    text = re.sub(r"mycelium \d+\.\d+\.\d+", "mycelium V", text)
    # Times stand at the end of "up" and "for".
    return re.sub(
        r"\b(up|for) (\d+(\.\d+)?(ms|h|m|s))+", r"\1 T", text
    ).strip()


def shown_blocks():
    """The page's commands, each with its output."""
    with open(PAGE, encoding="utf-8") as page:
        blocks = re.findall(r"```console\n(.*?)```", page.read(), re.DOTALL)
    return [block.split("\n", 1) for block in blocks]


class DiagnosisTest(unittest.TestCase):

    def setUp(self):
        directory = tempfile.TemporaryDirectory(dir="/tmp")
        self.addCleanup(directory.cleanup)
        os.environ["XDG_RUNTIME_DIR"] = directory.name
        self.directory = os.path.join(directory.name, "mycelium")

    def status(self, *flags):
        return subprocess.run(
            [COMMAND, "status", "--topology", PLANT, *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
        )

    def start_watch(self):
        process = subprocess.Popen(
            [sys.executable, __file__, "--watch"],
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), "ready\n")
        return process

    def expect_shown(self, shown, exit_status):
        """Looks until it is as shown: nodes learn of each other one by one."""
        deadline = time.monotonic() + LONG
        while True:
            found = self.status()
            text = comparable(found.stdout, self.directory)
            if text == shown or time.monotonic() > deadline:
                break
        self.maxDiff = None
        self.assertEqual(text, shown)
        self.assertEqual(found.returncode, exit_status)

    def test_page_shows_what_the_command_prints(self):
        commands = [command for command, _ in shown_blocks()]
        self.assertEqual(
            commands, ["$ mycelium status --topology plant.toml"] * 2
        )
        talking, killed = (
            comparable(output, SHOWN_DIRECTORY) for _, output in shown_blocks()
        )
        with mycelium.MessageBus.from_topology(PLANT, "sampler") as bus:
            readings = bus.publisher_to("watch", plant_pb2.Reading)
            process = self.start_watch()
            readings.wait_for_subscribers(1, timeout=LONG)
            for _ in range(3):
                readings.publish(plant_pb2.Reading(sensor="boiler"))
            bus.flush(timeout=LONG)
            self.expect_shown(talking, exit_status=0)
            self.expect_members(json.loads(self.status("--json").stdout))
            process.send_signal(signal.SIGKILL)
            self.expect_shown(killed, exit_status=1)
            flows = bus.ledger()
        self.assertEqual(sum(flow["accepted"] for flow in flows), 3)
        self.assertEqual(sum(flow["in_flight"] for flow in flows), 0)

    def expect_members(self, status):
        """The JSON has all members that the page's table names."""
        with open(PAGE, encoding="utf-8") as page:
            rows = re.findall(r"^\| `([^`]+)` \| `(.+?)` \|", page.read(), re.M)
        self.assertGreater(len(rows), 3)
        for where, members in rows:
            entries = [status]
            for part in where.split("."):
                if part != "top":
                    entries = [one for e in entries for one in e[part]]
            for entry in entries:
                self.assertEqual(set(entry), set(members.split("`, `")), where)


if __name__ == "__main__":
    if sys.argv[1:] == ["--watch"]:
        watch()
    else:
        unittest.main()
