"""Runs the host monitor as one process, as three, and as three on three hosts.

    bazel run -c opt //examples/host_monitor:demo

Loads the CPU in each run. Shows what the reporter shows and, at the end of each
run, how the services were joined and what became of every message. Exits with 0
only if every run found the burst and no message is unaccounted for.
"""

import sys

from examples.host_monitor import monitor_run

# Seven seconds of samples.
_SAMPLES = 70

_TITLES = {
    "monolith.toml": "one process",
    "bundled.toml": "three processes",
    "distributed.toml": "three processes, each on a host of its own",
}


def demonstrate(topology, samples=_SAMPLES, flags=()):
    print(f"\n== {topology}: {_TITLES[topology]}", flush=True)
    with monitor_run.MonitorRun(topology, list(flags)) as run:
        run.start_all()
        print(run.wait_for_samples(1), flush=True)
        print(run.wait_for("detector", r"^detector: knows "), flush=True)
        print("-- loading the CPU", flush=True)
        print(run.find_anomaly(), flush=True)
        print(run.wait_for_samples(samples), flush=True)
        run.stop_all()
        for joint in run.joints():
            print(f"-- {joint}")
        print("-- stopped; the ledger of both sides:")
        for link in run.links():
            mark = "balances" if link.balances() else "DOES NOT BALANCE"
            print(f"{link}: {mark}", flush=True)
        monitor_run.check_did_its_work(run)


def main(samples=_SAMPLES, flags=()):
    try:
        for topology in _TITLES:
            demonstrate(topology, samples, flags)
    except monitor_run.Failure as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    print(
        "\nThe same services, one process, three, or three hosts:"
        " every message is accounted for."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
