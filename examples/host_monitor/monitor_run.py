"""Starts the processes of the host monitor, watches them, adds up their ledgers.

    with MonitorRun("bundled.toml") as run:
        run.start_all()
        run.wait_for_samples(1)
        run.find_anomaly()
        run.stop_all()
        for link in run.links():
            print(link)

Every wait has a deadline; on failure the error quotes what the processes
printed. Sockets and reports lie in a folder that only this run uses, so several
runs do not meet.
"""

import collections
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

# Upstream first: when a service is stopped, nobody sends to it any more.
SERVICES = ["sampler", "detector", "reporter"]
# Which of them share a process, as the topology files say.
PROCESSES = {
    "monolith.toml": [SERVICES],
    "bundled.toml": [[service] for service in SERVICES],
    "bundled_python.toml": [[service] for service in SERVICES],
    "distributed.toml": [[service] for service in SERVICES],
}
# Where those of distributed.toml listen.
_HOSTS = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]

# Long, because the machine may be busy with other work.
DEADLINE_S = 60
# Processes that the run leaves behind end by themselves.
LIFETIME_S = 300
BURN_S = 2.0
BURNERS_PER_CORE = 12

_FOLDER = os.path.dirname(os.path.abspath(__file__))


class Failure(Exception):
    """An expected event did not happen."""


class Link:
    """One publisher's messages to one subscriber, counted on both sides."""

    def __init__(self, topic, publisher, subscriber):
        self.topic = topic
        self.publisher = publisher
        self.subscriber = subscriber
        self.transport = ""
        self.accepted = self.delivered = self.in_flight = 0
        self.dropped = collections.Counter()

    def add(self, flow):
        self.transport = flow["transport"]
        self.accepted += int(flow["accepted"])
        self.delivered += int(flow["delivered"])
        self.in_flight += int(flow["in_flight"])
        for reason, messages in flow["dropped"].items():
            self.dropped[reason] += int(messages)

    def balances(self):
        """Whether every accepted message is accounted for, and none on its way."""
        ended = self.delivered + sum(self.dropped.values())
        return self.accepted == ended and self.in_flight == 0

    def __str__(self):
        dropped = ", ".join(f"{n} {why}" for why, n in self.dropped.items())
        return (
            f"{self.publisher} -> {self.subscriber or '(nobody)'}"
            f" [{self.topic}] over {self.transport}:"
            f" accepted {self.accepted}, delivered {self.delivered},"
            f" dropped {dropped or 0}, in flight {self.in_flight}"
        )


class Joint(collections.namedtuple("Joint", "node peer transport rule fallback")):
    """How one node was joined to another, as the node itself reported it."""

    def __str__(self):
        why = f"; not shared: {self.fallback}" if self.fallback else ""
        rule = self.rule or f"as {self.peer} has dialled"
        return f"{self.node} to {self.peer}: {self.transport} ({rule}{why})"


class _Process:
    """One process and the lines that it has printed so far."""

    def __init__(self, command, environment, report):
        self.report = report
        self.lines = []
        self.changed = threading.Condition()
        self.is_over = False  # It prints nothing more.
        self.popen = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.popen.stdout:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.is_over = True
            self.changed.notify_all()

    def wait(self):
        try:
            self.popen.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join()
        self.popen.stdout.close()
        return self.popen.returncode


def _free_port():
    """A port at which nobody listens on any of the hosts."""
    while True:
        with contextlib.ExitStack() as stack:
            port = 0
            try:
                for host in _HOSTS:
                    listener = stack.enter_context(socket.socket())
                    listener.bind((host, port))
                    port = listener.getsockname()[1]
            except OSError:
                continue
            return port


class MonitorRun:
    def __init__(self, topology, flags=()):
        self._topology = topology
        self._flags = list(flags)
        # Short: the path of a socket may have 107 bytes.
        self._folder = tempfile.mkdtemp(prefix="hm-", dir="/tmp")
        self._port = _free_port()
        self._by_service = {}  # The latest process of each service.
        self._started = []
        self._burners = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._end_burners()
        for process in self._started:
            if process.popen.poll() is None:
                process.popen.kill()
            process.popen.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start_all(self):
        for services in PROCESSES[self._topology]:
            self.start(services)

    def start(self, services):
        report = os.path.join(self._folder, f"{len(self._started)}.json")
        command = self._program(services) + [
            "--topology=" + os.path.join(_FOLDER, self._topology),
            "--services=" + ",".join(services),
            f"--report_json={report}",
            f"--run_for={LIFETIME_S}s",
        ]
        environment = dict(
            os.environ,
            XDG_RUNTIME_DIR=self._folder,
            MONITOR_PORT=str(self._port),
            PYTHONPATH=os.pathsep.join(sys.path),
        )
        process = _Process(command + self._flags, environment, report)
        self._started.append(process)
        for service in services:
            self._by_service[service] = process

    def _program(self, services):
        if self._topology == "bundled_python.toml" and services == ["detector"]:
            return [sys.executable, os.path.join(_FOLDER, "detector.py")]
        return [os.path.join(_FOLDER, "host_monitor")]

    def position(self, service):
        """For wait_for(): the place behind the lines printed so far."""
        process = self._by_service[service]
        with process.changed:
            return len(process.lines)

    def count(self, service, pattern):
        """How many lines that the service's process has printed match."""
        process = self._by_service[service]
        with process.changed:
            return sum(bool(re.search(pattern, line)) for line in process.lines)

    def wait_for(self, service, pattern, after=0, timeout=DEADLINE_S):
        """The first line that matches, after the first `after` lines."""
        process = self._by_service[service]
        line = self._find(process, re.compile(pattern).search, after, timeout)
        if line is None:
            self._fail(f"{service}: no line like {pattern!r}")
        return line

    def wait_for_samples(self, count, timeout=DEADLINE_S):
        """The reporter's line once it has shown `count` samples."""

        def has_so_many(line):
            sample = re.match(r"sample (\d+):", line)
            return sample is not None and int(sample.group(1)) >= count

        process = self._by_service["reporter"]
        line = self._find(process, has_so_many, 0, timeout)
        if line is None:
            self._fail(f"reporter: fewer than {count} samples")
        return line

    def _find(self, process, is_wanted, after, timeout):
        deadline = time.monotonic() + timeout
        with process.changed:
            while True:
                for line in process.lines[after:]:
                    if is_wanted(line):
                        return line
                after = len(process.lines)
                left = deadline - time.monotonic()
                if process.is_over or left <= 0:
                    return None
                process.changed.wait(left)

    def _fail(self, what):
        raise Failure(f"{self._topology}: {what}\n" + self.everything_said())

    def find_anomaly(self):
        """Loads the machine until the reporter shows an anomaly that the load
        caused, and returns its line."""
        told = re.compile(
            r"^anomaly: (cpu|processes\.(running|total))\S* .* above "
        )
        after = self.position("reporter")
        process = self._by_service["reporter"]
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            self.burn()
            # Other work may have hidden this burst; then the next burst counts.
            line = self._find(process, told.search, after, 2 * BURN_S)
            if line is not None:
                return line
            if process.is_over:
                break
        self._fail("no anomaly reported")

    def burn(self):
        """Loads all cores for a while, at the lowest priority. Ends an earlier
        load."""
        self._end_burners()
        code = (
            "import os, time; os.nice(19); end = time.monotonic() + %f\n"
            "while time.monotonic() < end: pass" % BURN_S
        )
        for _ in range(BURNERS_PER_CORE * (os.cpu_count() or 1)):
            self._burners.append(subprocess.Popen([sys.executable, "-c", code]))

    def _end_burners(self):
        for burner in self._burners:
            burner.kill()
        while self._burners:
            self._burners.pop().wait()

    def pause(self, service):
        """Stops the service's process and lets it go on, as Ctrl-Z and fg do."""
        popen = self._by_service[service].popen
        popen.send_signal(signal.SIGSTOP)
        os.waitpid(popen.pid, os.WUNTRACED)
        popen.send_signal(signal.SIGCONT)

    def kill(self, service):
        """Kills the service's process; it has no chance to report anything."""
        process = self._by_service[service]
        process.popen.send_signal(signal.SIGKILL)
        process.wait()

    def stop_all(self):
        """Ends every process that runs, upstream first, as a user would."""
        for service in SERVICES:
            process = self._by_service[service]
            if process.popen.poll() is None:
                process.popen.send_signal(signal.SIGTERM)
            status = process.wait()
            if status != 0:
                self._fail(f"{service}: exit status {status}")

    def links(self):
        """The counts of the processes that ended by themselves, added up."""
        links = {}
        for report in self._reports():
            for flow in report["flows"]:
                key = (flow["topic"], flow["publisher"], flow["subscriber"])
                links.setdefault(key, Link(*key)).add(flow)
        return [links[key] for key in sorted(links)]

    def joints(self):
        """How the processes that ended by themselves were joined."""
        return [
            Joint(
                report["node"],
                link["peer"],
                link["transport"],
                link["rule"],
                link["fallback"],
            )
            for report in self._reports()
            for link in report["links"]
        ]

    def _reports(self):
        for process in self._started:
            if not os.path.exists(process.report):
                continue  # It was killed.
            with open(process.report, encoding="utf-8") as file:
                yield json.load(file)

    def link(self, publisher, subscriber):
        """The link between two services."""
        for link in self.links():
            if link.publisher.endswith("/" + publisher) and (
                link.subscriber.endswith("/" + subscriber)
            ):
                return link
        raise Failure(f"{self._topology}: nothing from {publisher} to {subscriber}")

    def everything_said(self):
        return "\n".join(
            f"{' '.join(process.popen.args[2:3])}: {line}"
            for process in self._started
            for line in list(process.lines)  # It may go on printing.
        )


def check_did_its_work(run):
    """Raises Failure unless samples and anomalies arrived and nothing is lost."""
    for publisher, subscriber in [
        ("sampler", "detector"),
        ("sampler", "reporter"),
        ("detector", "reporter"),
    ]:
        if run.link(publisher, subscriber).delivered == 0:
            raise Failure(f"nothing reached {subscriber} from {publisher}")
    for link in run.links():
        if not link.balances():
            raise Failure(f"the ledger does not balance: {link}")
