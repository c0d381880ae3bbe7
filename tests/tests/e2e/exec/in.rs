//! `ncaas-exec in`: streams, signals and exit status of a command in a running container.

use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ncaas_tests::dev_container::DevContainer;
use ncaas_tests::engine::{CleanUp, FIXTURE, docker, is_remote};
use ncaas_tests::ssh::{Loopback, with_remote_engine};
use ncaas_tests::tcp_engine::tcp_engine_with_switch;
use ncaas_tests::workspace::Workspace;
use ncaas_tests::{Run, tools, unique, wait_until};

#[test]
fn in_passes_both_streams_byte_for_byte_and_exits_with_the_commands_status() {
    let dev = DevContainer::new();
    let ran = dev.exec_in(&[], &["sh", "-c", r"printf 'a\000\377\r\n'; echo no >&2; exit 42"]).run();
    assert_eq!((ran.status, ran.stdout.as_slice(), ran.stderr.as_str()), (42, &b"a\0\xff\r\n"[..], "no\n"));
    for code in [125, 126, 127] {
        let ran = dev.exec_in(&[], &["sh", "-c", &format!("echo OCI runtime exec failed; exit {code}")]).run();
        assert_eq!((ran.text().as_str(), ran.stderr.as_str()), ("OCI runtime exec failed\n", ""));
        assert_eq!(ran.status, code);
    }
}

#[test]
fn in_forwards_stdin_to_its_end_only_with_interactive() {
    let dev = DevContainer::new();
    let bytes: Vec<u8> = (0..2_000_000_u32).map(|n| (n.wrapping_mul(7919) >> 3) as u8).collect();
    assert!(dev.exec_in(&["-i"], &["cat"]).stdin(bytes.clone()).run().ok().stdout == bytes);
    assert!(dev.exec_in(&[], &["cat"]).stdin(bytes).run().ok().stdout.is_empty());
}

#[test]
fn in_exits_125_with_the_reason_when_the_tool_itself_fails() {
    let dev = DevContainer::new();
    dev.exec_in(&[], &["nothere"]).run().ended_saying(125, "cannot start `nothere`");
    dev.exec_in(&[], &["/etc/passwd"]).run().ended_saying(125, "it is not executable");
    let nowhere = Run::tool("ncaas-exec").args(["in", "no-such-container", "--", "ls"]).run();
    nowhere.ended_saying(125, "container `no-such-container` does not exist on this engine");
    docker(&["kill", &dev.name]);
    dev.exec_in(&[], &["ls"]).run().ended_saying(125, "is not running");
}

#[test]
fn in_and_shell_advise_no_second_run_of_an_ended_job() {
    let workspace = Workspace::new();
    let started = workspace.start(&[], &["true"]);
    let name = workspace.exec(&["wait", "-q"]).stdin(started).run().record().container.unwrap().name;
    let ended = Run::tool("ncaas-exec").args(["in", &name, "--", "ls"]).run();
    let hint = format!("is not running\nhint: `ncaas-sync diff {name}` lists the files that its job wrote, and ");
    assert!(!ended.ended_saying(125, &hint).stderr.contains("docker start"));
}

#[test]
fn in_timeout_ends_the_process_and_its_children() {
    let dev = DevContainer::new();
    let began = Instant::now();
    let ran = dev.exec_in(&["--timeout", "1"], &["sh", "-c", "sleep 7777 & sleep 7777"]).run();
    ran.ended_saying(125, "exceeded its time limit of 1 s and was stopped");
    assert!(began.elapsed() < Duration::from_secs(8));
    assert_eq!(dev.count_processes("sleep 7777"), 0);
}

#[test]
fn ctrl_c_ends_the_process_within_a_second_even_if_it_ignores_signals() {
    let dev = DevContainer::new();
    let mut command = dev.exec_in(&[], &["sh", "-c", "trap '' INT TERM; sleep 8888 & echo up; wait"]).into_command();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the command", Duration::from_secs(30), || dev.count_processes("sleep 8888") > 0);
    let began = Instant::now();
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    // A connection by ssh is a login.
    let limit = Duration::from_millis(if is_remote() { 4000 } else { 1500 });
    assert!(began.elapsed() < limit, "{:?}", began.elapsed());
    wait_until("its end", Duration::from_secs(30), || dev.count_processes("sleep 8888") == 0);
}

#[test]
fn in_ends_quietly_when_its_reader_closes_the_pipe() {
    let dev = DevContainer::new();
    let line = format!("set -o pipefail; {}/ncaas-exec in {} -- yes | head -1", tools().display(), dev.name);
    let output = Command::new("bash").args(["-c", &line]).output().unwrap();
    assert_eq!(output.stdout, b"y\n");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    wait_until("its end", Duration::from_secs(30), || dev.count_processes("yes") == 0);
}

#[test]
fn a_command_that_prints_nothing_more_ends_when_the_reader_closes_the_pipe() {
    let dev = DevContainer::new();
    let line = format!("{}/ncaas-exec in {} -- sh -c 'echo a; sleep 7070' | head -1", tools().display(), dev.name);
    let began = Instant::now();
    let output = Command::new("bash").args(["-c", &line]).output().unwrap();
    assert_eq!(output.stdout, b"a\n");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    wait_until("its end", Duration::from_secs(30), || dev.count_processes("sleep 7070") == 0);
}

#[test]
fn a_detached_command_keeps_its_output_and_exit_code() {
    let dev = DevContainer::new();
    let started = dev.exec_in(&["--detach"], &["sh", "-c", "echo out; echo err >&2; sleep 1; exit 9"]).run().ok();
    let value = &started.json()[0];
    assert_eq!(value["exec"]["exit_code"], serde_json::Value::Null);
    let ended = Run::tool("ncaas-exec").arg("wait").stdin(started.stdout.clone()).run().ok();
    assert_eq!(ended.json()[0]["exec"]["exit_code"], 9);
    assert_eq!(docker(&["logs", &dev.name]), "out");
    // Another user than the container's own cannot write to its log.
    let other = dev.exec_in(&["--detach", "--user", "0"], &["sh", "-c", "echo elsewhere"]).run().ok();
    let ended = Run::tool("ncaas-exec").arg("wait").stdin(other.stdout).run().ok().json().remove(0);
    let output = ended["exec"]["output"].as_str().unwrap();
    assert_eq!(docker(&["exec", &dev.name, "cat", output]), "elsewhere");
}

#[test]
fn in_on_a_remote_engine_passes_streams_and_status_and_reports_a_broken_connection() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Loopback::new());
    let name = unique("dev");
    let mut clean_up = CleanUp::new();
    clean_up.container(&name);
    let exec =
        |arguments: &[&str]| with_remote_engine(Run::tool("ncaas-exec").args(arguments).dir(folder.path()), &remote);
    let hint = format!("ncaas-exec: started `{name}`; `ncaas-exec shell {name}` opens a shell in it\n");
    exec(&["start", FIXTURE, "--name", &name]).run().ended(0, &hint);
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(7919) >> 3) as u8).collect();
    let ran = exec(&["in", "-i", &name, "--", "sh", "-c", "cat; echo no >&2; exit 42"]).stdin(bytes.clone()).run();
    assert_eq!((ran.status, ran.stderr.as_str(), ran.stdout == bytes), (42, "no\n", true));

    // An interrupted command has no known exit code, and its processes are ended.
    let mut command = exec(&["in", &name, "--", "sh", "-c", "echo up; sleep 7771"]).into_command();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let runs = || docker(&["exec", &name, "ps", "-o", "args"]).contains("sleep 7771");
    wait_until("the command", Duration::from_secs(30), runs);
    remote.break_off();
    let output = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(125), &b"up\n"[..]), "{words}");
    let expected = format!(
        "ncaas-exec: lost the connection to the process in `{name}`, and it was ended\n\
         hint: run it again; a command started with `--detach` survives a lost connection\n"
    );
    assert_eq!(words, expected);
    wait_until("its end", Duration::from_secs(30), || !runs());
}

#[test]
fn in_timeout_ends_a_process_that_replaced_its_environment() {
    let dev = DevContainer::new();
    for command in [&["env", "-i", "/bin/sleep", "3117"][..], &["sh", "-c", "env -i /bin/sleep 3117 & wait"]] {
        let ran = dev.exec_in(&["--timeout", "1s"], command).run();
        assert_eq!(ran.status, 125, "{}", ran.stderr);
        assert!(ran.stderr.contains("was stopped"), "{}", ran.stderr);
        assert!(!docker(&["top", &dev.name]).contains("sleep 3117"), "{command:?}");
    }
}

#[test]
fn in_names_the_state_and_the_working_directory_that_keep_a_command_from_starting() {
    let dev = DevContainer::new();
    docker(&["pause", &dev.name]);
    let paused = dev.exec_in(&[], &["true"]).run();
    docker(&["unpause", &dev.name]);
    assert!(paused.status == 125 && paused.stderr.contains("is paused"), "{}", paused.stderr);
    assert!(paused.stderr.contains("docker unpause"), "{}", paused.stderr);
    let missing = dev.exec_in(&["--workdir", "/no/such"], &["true"]).run();
    assert!(missing.status == 125 && missing.stderr.contains("`/no/such` does not exist"), "{}", missing.stderr);
}

#[test]
fn an_interrupted_in_says_that_the_command_may_still_run_if_the_engine_does_not_answer() {
    let dev = DevContainer::new();
    let (host, is_held) = tcp_engine_with_switch();
    let mut command = dev.exec_in(&[], &["sleep", "3118"]).env("DOCKER_HOST", host).into_command();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the command", Duration::from_secs(20), || dev.count_processes("sleep 3118") == 1);
    is_held.store(true, Ordering::Relaxed);
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let ended = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(130), "{words}");
    assert!(words.contains("could not stop the command in `"), "{words}");
}
