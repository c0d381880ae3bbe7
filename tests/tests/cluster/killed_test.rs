//! A test that is killed, or whose runner is, leaves no machine behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ncaas_tests::cluster::{CONTROLLER, Cluster};
use ncaas_tests::wait_until;

/// Set where this test runs as the one that is killed.
const VICTIM: &str = "NCAAS_KILLED_TEST";

#[test]
fn a_killed_test_or_runner_leaves_no_machine() {
    if std::env::var_os(VICTIM).is_some() {
        let cluster = Cluster::start(&["n1"]);
        println!("\nmachines: {} {}", std::process::id(), cluster.folder().display());
        std::thread::sleep(Duration::from_secs(600));
        return;
    }
    for kills_runner in [false, true] {
        let (mut runner, test, folder) = start_victim();
        let namespaces = [CONTROLLER, "n1"].map(|machine| namespace_of_machine(&folder, machine));
        let left = || processes_in(&namespaces);
        let daemons = left();
        for daemon in ["slurmctld", "slurmd", "munged", "dockerd"] {
            assert!(daemons.iter().any(|name| name == daemon), "{daemon} does not run: {daemons:?}");
        }
        let victim = if kills_runner { runner.id().to_string() } else { test };
        assert!(Command::new("kill").args(["-KILL", &victim]).status().unwrap().success());
        runner.wait().unwrap();
        wait_until("no process is left", Duration::from_secs(15), || left().is_empty());
        wait_until("the folder is removed", Duration::from_secs(15), || !folder.exists());
    }
}

/// Starts this test as another process. Its runner, its process id, and the folder of its machines.
fn start_victim() -> (Child, String, PathBuf) {
    let mut runner = Command::new("sh");
    runner.args(["-c", "\"$@\"; exit", "runner"]).arg(std::env::current_exe().unwrap());
    runner.args(["--exact", "killed_test::a_killed_test_or_runner_leaves_no_machine", "--nocapture"]);
    let mut runner = runner.env(VICTIM, "yes").stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(runner.stdout.take().unwrap()).lines().map_while(Result::ok);
    let line = lines.into_iter().find_map(|line| line.strip_prefix("machines: ").map(str::to_owned)).unwrap();
    let (test, folder) = line.split_once(' ').unwrap();
    (runner, test.to_owned(), folder.into())
}

fn namespace_of_machine(folder: &Path, machine: &str) -> PathBuf {
    let holder = fs::read_to_string(folder.join(machine).join("pid")).unwrap();
    fs::read_link(format!("/proc/{}/ns/pid", holder.trim())).unwrap()
}

/// The names of the processes of these namespaces.
fn processes_in(namespaces: &[PathBuf]) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let is_inside = |path: &PathBuf| fs::read_link(path.join("ns/pid")).is_ok_and(|link| namespaces.contains(&link));
    let name = |path: PathBuf| fs::read_to_string(path.join("comm")).ok().map(|name| name.trim().to_owned());
    processes.filter(is_inside).filter_map(name).collect()
}
