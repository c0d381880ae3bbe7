"""Runs the seven stages as processes, and reads their memory and processor time from the kernel."""
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
STAGES = {
    "watch": "ncaas-submit watch bucket",
    "pull": "ncaas-sync pull",
    "run": "ncaas-exec run -j 8 --image ncaas/fixture:latest -- true",
    "save": "ncaas-logs save",
    "collect": "ncaas-sync collect",
    "push": "ncaas-sync push",
    "rm": "ncaas-exec rm -j 8",
}


class Pipe:
    """A pipe over the bucket `folder`/bucket. `once` ends it when all submissions have ended."""

    def __init__(self, folder, once):
        environment = dict(os.environ, PATH=f"{REPOSITORY}/target/release:{os.environ['PATH']}")
        self.stderr = tempfile.TemporaryFile()
        self.processes = {}
        source = subprocess.DEVNULL
        for stage, command in STAGES.items():
            words = command.split() + (["--once"] if once and stage == "watch" else [])
            last = stage == "rm"
            process = subprocess.Popen(
                words, cwd=folder, env=environment, stdin=source, stderr=self.stderr,
                stdout=subprocess.DEVNULL if last else subprocess.PIPE,
            )
            if source is not subprocess.DEVNULL:
                source.close()
            source = process.stdout
            self.processes[stage] = process

    def end(self):
        """Asks `watch` to end; the others end after it."""
        self.processes["watch"].send_signal(signal.SIGINT)

    def wait(self):
        """Waits for all stages. Returns for each its most memory in MiB and its processor time in seconds."""
        usage, failed = {}, []
        for stage, process in self.processes.items():
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            usage[stage] = (used.ru_maxrss / 1024, used.ru_utime + used.ru_stime)
            if process.returncode not in (0, 130):
                failed.append(f"{stage} ended with {process.returncode}")
        if failed:
            self.stderr.seek(0)
            sys.exit(f"{', '.join(failed)}:\n{self.stderr.read()[-2000:].decode()}")
        return usage


def create_bucket(folder, submissions):
    """A bucket in which one group has that many submissions of one dataset."""
    group = Path(folder, "bucket", "lab")
    for part in ("inputs", "configs", "submissions"):
        (group / part).mkdir(parents=True)
    (group / "inputs" / "x").write_text("data\n")
    (group / "configs" / "c.yaml").write_text("n: 1\n")
    for number in range(submissions):
        (group / "submissions" / f"{number}_submit.json").write_text(
            f'{{"dataname":"lab/inputs/x","configname":"lab/configs/c.yaml","timestamp":"{number}"}}\n'
        )


def add_row(what, ours):
    """Adds a row without a peer to the table of all benches."""
    subprocess.run([REPOSITORY / "tests" / "bench" / "row", what, ours, "-", "-"], check=True)
