//! An engine reached by ssh: no path of this machine means anything there, and the connection may break.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::engine::{CleanUp, FIXTURE, docker};
use ncaas_tests::ssh::Loopback;
use ncaas_tests::{Ran, Run, pipe_in, unique, wait_until};

use crate::exec_run::Place;
use crate::pipe::three_submissions_in_flight;

fn remotely(run: Run, remote: &Loopback) -> Run {
    remote.environment().into_iter().fold(run, |run, (name, value)| run.env(name, value))
}

#[test]
fn a_remote_engine_is_brought_its_inputs_and_sees_no_path_of_this_machine() {
    let (place, remote) = (Place::new(), Loopback::new());
    fs::create_dir_all(place.path().join("set/sub")).unwrap();
    fs::write(place.path().join("set/a"), "1\n").unwrap();
    fs::write(place.path().join("set/sub/b $(c)"), "2\n").unwrap();
    fs::write(place.path().join("c.yaml"), "n: 3\n").unwrap();
    fs::set_permissions(place.path().join("set/a"), fs::Permissions::from_mode(0o600)).unwrap();
    let script = r#"find "$1" -type f | sort | while read -r file; do cat "$file"; done; cat "$2"
                    echo r > io-dir/results/r && echo l > io-dir/logs/l"#;
    let exec = |arguments: &[&str]| remotely(place.exec(arguments), &remote);
    let started = exec(&["run", FIXTURE, "--data", "set", "--config", "c.yaml", "--", "bash", "-c", script]).run();
    let ended = exec(&["wait"]).stdin(started.stdout).run().ok();
    let container = ended.record().container.unwrap();
    assert_eq!(docker(&["logs", &container.id]), "1\n2\nn: 3");
    let inspected = docker(&["inspect", &container.id]);
    assert!(inspected.contains(r#""Mounts": []"#), "{inspected}");
    docker(&["cp", &format!("{}:/home/neurocaasdev/io-dir/results/r", container.id), "-"]);
    exec(&["rm"]).stdin(ended.stdout).run().ok();
    assert!(place.path().join("io-dir/results").exists());
}

#[test]
fn the_whole_pipe_runs_on_a_remote_engine() {
    let remote = Loopback::new();
    three_submissions_in_flight(&TestBucket::directory("pca"), &remote.environment());
}

#[test]
fn a_connection_that_breaks_in_mid_job_costs_no_line_and_no_result() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Loopback::new());
    let job = unique("job__broken");
    let mut clean_up = CleanUp::new();
    clean_up.labelled(&format!("org.neurocaas.job={job}"));
    let command = "i=0; while [ ! -e go ]; do i=$((i+1)); echo $i; sleep 0.01; done; echo $i > io-dir/results/last";
    let record = serde_json::json!({"image": FIXTURE, "command": ["sh", "-c", command], "job": {"id": job, "dataset": 1, "datasets": 1}});
    let run = Run::tool("ncaas-exec").arg("run").dir(folder.path()).stdin(record.to_string());
    let started = remotely(run, &remote).run().ok();
    let id = started.record().container.unwrap().id;

    fs::write(folder.path().join("started"), &started.stdout).unwrap();
    let stages = "ncaas-logs save --live < started | ncaas-sync collect | ncaas-exec rm";
    let ran: Ran = std::thread::scope(|scope| {
        let pipe = scope.spawn(|| pipe_in(folder.path(), stages, &remote.environment()));
        let log = folder.path().join("io-dir/results").join(&job).join("logs");
        for _ in 0..3 {
            let size = || {
                fs::read_dir(&log)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .filter(|entry| entry.file_name().to_string_lossy().ends_with(".log"))
                    .map(|entry| entry.metadata().unwrap().len())
                    .sum::<u64>()
            };
            let before = size();
            wait_until("the log to grow", Duration::from_secs(30), || size() > before);
            remote.break_off();
        }
        docker(&["exec", &id, "touch", "go"]);
        pipe.join().unwrap()
    });
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{}", ran.text());
    let last = ran.records().pop().unwrap();
    assert_eq!(last.container.unwrap().status.as_deref(), Some("success"));
    let logs = last.logs.unwrap();
    let results = folder.path().join("io-dir/results").join(&job).join("process_results");
    let count: u64 = fs::read_to_string(results.join("last")).unwrap().trim().parse().unwrap();
    assert_eq!(logs.lines, count, "each line once");
}

#[test]
fn a_command_on_a_remote_engine_has_its_streams_and_its_status() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Loopback::new());
    let name = unique("dev");
    let mut clean_up = CleanUp::new();
    clean_up.container(&name);
    let exec = |arguments: &[&str]| remotely(Run::tool("ncaas-exec").args(arguments).dir(folder.path()), &remote);
    let hint = format!("ncaas-exec: `{name}` is up: `ncaas-exec shell {name}` steps into it\n");
    exec(&["start", FIXTURE, "--name", &name]).run().ended(0, &hint);
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(7919) >> 3) as u8).collect();
    let ran = exec(&["in", "-i", &name, "--", "sh", "-c", "cat; echo no >&2; exit 42"]).stdin(bytes.clone()).run();
    assert_eq!((ran.status, ran.stderr.as_str(), ran.stdout == bytes), (42, "no\n", true));

    // What broke off has no exit code that could be told, and what ran inside is ended.
    let mut command = exec(&["in", &name, "--", "sh", "-c", "echo up; sleep 7771"]).into_command();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let runs = || docker(&["exec", &name, "ps", "-o", "args"]).contains("sleep 7771");
    wait_until("the command", Duration::from_secs(10), runs);
    remote.break_off();
    let output = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(125), &b"up\n"[..]), "{words}");
    let expected = format!(
        "ncaas-exec: the connection to the process in `{name}` broke off, and it was ended\n\
         hint: run it again; with `ncaas-exec in --detach` it would need no connection\n"
    );
    assert_eq!(words, expected);
    wait_until("its end", Duration::from_secs(10), || !runs());
}

#[test]
fn a_shell_whose_connection_breaks_gives_the_terminal_back_and_says_why() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Loopback::new());
    let name = unique("dev");
    let mut clean_up = CleanUp::new();
    clean_up.container(&name);
    let start = Run::tool("ncaas-exec").args(["start", FIXTURE, "--name", &name]).dir(folder.path());
    assert_eq!(remotely(start, &remote).run().status, 0);
    // The terminal's own shell is no interactive one, which would see to its terminal itself.
    let inner = format!(
        "before=$(stty -g); ncaas-exec shell {name}; echo status $?; [ \"$before\" = \"$(stty -g)\" ] && echo as it was"
    );
    let mut script = Command::new("script");
    script.args(["-qec", &inner, "/dev/null"]).env("SHELL", "/bin/sh").envs(remote.environment());
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, b"sleep 7772\n").unwrap();
    let runs = || docker(&["exec", &name, "ps", "-o", "args"]).contains("sleep 7772");
    wait_until("the shell", Duration::from_secs(20), runs);
    remote.break_off();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    assert!(!text.contains("\"error\""), "a record is not for the terminal: {text}");
    let expected = format!(
        "ncaas-exec: the connection to the process in `{name}` broke off, and it was ended\n\
         hint: the same command again opens another shell\nstatus 1\nas it was\n"
    );
    assert!(text.ends_with(&expected), "{text}");
    wait_until("its end", Duration::from_secs(10), || !runs());
}
