//! `ncaas-exec start`, `in` and `shell`: a development container, and commands in it as if they were run here.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ncaas_tests::engine::{CleanUp, FIXTURE, docker, is_remote};
use ncaas_tests::{Run, tools, unique, wait_until};
use tempfile::TempDir;

/// A development container of a test's own.
struct Dev {
    name: String,
    dir: TempDir,
    _clean_up: CleanUp,
}

impl Dev {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name = unique("dev");
        let mut clean_up = CleanUp::new();
        clean_up.container(&name);
        let run = Run::tool("ncaas-exec").args(["start", FIXTURE, "--name", &name]).dir(dir.path());
        let hint = format!("ncaas-exec: `{name}` is up: `ncaas-exec shell {name}` steps into it\n");
        let record = run.run().ended(0, &hint).record();
        assert_eq!(record.container.unwrap().state, "running");
        Dev { name, dir, _clean_up: clean_up }
    }

    fn inside(&self, flags: &[&str], command: &[&str]) -> Run {
        Run::tool("ncaas-exec").arg("in").args(flags).arg(&self.name).arg("--").args(command)
    }

    /// How many processes with these words in their command line the container has.
    fn processes(&self, words: &str) -> usize {
        docker(&["exec", &self.name, "ps", "-o", "args"]).lines().filter(|line| line.contains(words)).count()
    }
}

#[test]
fn streams_pass_apart_and_byte_for_byte_and_the_status_is_the_commands() {
    let dev = Dev::new();
    let ran = dev.inside(&[], &["sh", "-c", r"printf 'a\000\377\r\n'; echo no >&2; exit 42"]).run();
    assert_eq!((ran.status, ran.stdout.as_slice(), ran.stderr.as_str()), (42, &b"a\0\xff\r\n"[..], "no\n"));
    for code in [125, 126, 127] {
        let ran = dev.inside(&[], &["sh", "-c", &format!("echo OCI runtime exec failed; exit {code}")]).run();
        assert_eq!((ran.text().as_str(), ran.stderr.as_str()), ("OCI runtime exec failed\n", ""));
        assert_eq!(ran.status, code);
    }
}

#[test]
fn stdin_passes_on_with_its_end_and_only_where_it_is_wanted() {
    let dev = Dev::new();
    let bytes: Vec<u8> = (0..2_000_000_u32).map(|n| (n.wrapping_mul(7919) >> 3) as u8).collect();
    assert!(dev.inside(&["-i"], &["cat"]).stdin(bytes.clone()).run().ok().stdout == bytes);
    assert!(dev.inside(&[], &["cat"]).stdin(bytes).run().ok().stdout.is_empty());
}

#[test]
fn our_own_failures_are_125_and_say_why() {
    let dev = Dev::new();
    dev.inside(&[], &["nothere"]).run().ended_saying(125, "cannot start `nothere`");
    dev.inside(&[], &["/etc/passwd"]).run().ended_saying(125, "it is not executable");
    let nowhere = Run::tool("ncaas-exec").args(["in", "no-such-container", "--", "ls"]).run();
    nowhere.ended_saying(125, "no container `no-such-container` on this engine");
    docker(&["kill", &dev.name]);
    dev.inside(&[], &["ls"]).run().ended_saying(125, "does not run");
}

#[test]
fn a_timeout_ends_the_process_inside_and_its_children() {
    let dev = Dev::new();
    let began = Instant::now();
    let ran = dev.inside(&["--timeout", "1"], &["sh", "-c", "sleep 7777 & sleep 7777"]).run();
    ran.ended_saying(125, "ran longer than 1 s, and was ended");
    assert!(began.elapsed() < Duration::from_secs(8));
    assert_eq!(dev.processes("sleep 7777"), 0);
}

#[test]
fn ctrl_c_ends_the_process_inside_within_a_second_whatever_it_thinks_of_it() {
    let dev = Dev::new();
    let mut command = dev.inside(&[], &["sh", "-c", "trap '' INT TERM; sleep 8888 & echo up; wait"]).into_command();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the command", Duration::from_secs(10), || dev.processes("sleep 8888") > 0);
    let began = Instant::now();
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    // A connection by ssh is a login.
    let limit = Duration::from_millis(if is_remote() { 4000 } else { 1500 });
    assert!(began.elapsed() < limit, "{:?}", began.elapsed());
    wait_until("its end", Duration::from_secs(5), || dev.processes("sleep 8888") == 0);
}

#[test]
fn a_reader_that_has_gone_ends_the_command_quietly() {
    let dev = Dev::new();
    let line = format!("set -o pipefail; {}/ncaas-exec in {} -- yes | head -1", tools().display(), dev.name);
    let output = Command::new("bash").args(["-c", &line]).output().unwrap();
    assert_eq!(output.stdout, b"y\n");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    wait_until("its end", Duration::from_secs(5), || dev.processes("yes") == 0);
}

#[test]
fn a_detached_command_keeps_its_output_and_exit_code() {
    let dev = Dev::new();
    let started = dev.inside(&["--detach"], &["sh", "-c", "echo out; echo err >&2; sleep 1; exit 9"]).run().ok();
    let value = &started.json()[0];
    assert_eq!(value["exec"]["exit_code"], serde_json::Value::Null);
    let ended = Run::tool("ncaas-exec").arg("wait").stdin(started.stdout.clone()).run().ok();
    assert_eq!(ended.json()[0]["exec"]["exit_code"], 9);
    assert_eq!(docker(&["logs", &dev.name]), "out");
    // Another user than the container's own cannot write to its log.
    let other = dev.inside(&["--detach", "--user", "0"], &["sh", "-c", "echo elsewhere"]).run().ok();
    let ended = Run::tool("ncaas-exec").arg("wait").stdin(other.stdout).run().ok().json().remove(0);
    let output = ended["exec"]["output"].as_str().unwrap();
    assert_eq!(docker(&["exec", &dev.name, "cat", output]), "elsewhere");
}

#[test]
fn a_development_container_shares_the_whole_io_dir_ends_at_once_when_told_and_leaves_files_of_ours() {
    let dev = Dev::new();
    let results = dev.dir.path().join("io-dir/results");
    std::fs::create_dir(results.join("job__of_another")).unwrap();
    std::os::unix::fs::chown(results.join("job__of_another"), Some(4321), None).unwrap();
    let make = "cd io-dir/results; echo 1 > made; mkdir -m 700 deep; echo 2 > deep/made; echo 3 > ../logs/made";
    dev.inside(&["--user", "12345"], &["sh", "-c", make]).run().ok();
    let made = std::fs::read_to_string(results.join("made")).ok();
    assert_eq!(made.as_deref(), if is_remote() { None } else { Some("1\n") });
    let began = Instant::now();
    Run::tool("ncaas-exec").args(["stop", &dev.name]).run().ok();
    assert!(began.elapsed() < Duration::from_secs(8), "it did not hear the signal");
    let owner = |path: &str| std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(results.join(path)).unwrap());
    for path in ["made", "deep", "deep/made", "../logs/made"].into_iter().filter(|_| !is_remote()) {
        assert_eq!(owner(path), owner("."), "{path}");
    }
    assert_eq!(owner("job__of_another"), 4321, "a job may run in it");
    Run::tool("ncaas-exec").args(["rm", &dev.name]).run().ok();
}

#[test]
fn a_shell_has_a_real_terminal_also_at_the_end_of_a_pipe() {
    let dev = Dev::new();
    let tool = tools().join("ncaas-exec");
    let (tool, name) = (tool.display(), &dev.name);
    // `script` gives a terminal; stdin of the shell is a pipe all the same.
    let inner =
        format!("stty rows 33 cols 77; {tool} ls | grep {name} | {tool} shell; echo status $?; stty -a | head -1");
    let mut script = Command::new("script");
    script.args(["-qec", &inner, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = script.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, b"[ -t 0 ] && echo ter''minal; stty size; exit 7\n").unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("terminal") && text.contains("status 7"), "{text}");
    assert!(text.contains("rows 33; columns 77"), "the terminal is not as it was: {text}");
}

#[test]
fn a_shell_that_is_killed_leaves_the_terminal_as_it_was() {
    let dev = Dev::new();
    let tool = tools().join("ncaas-exec");
    let pid = dev.dir.path().join("pid");
    // The terminal's own shell is no interactive one, which would see to its terminal itself.
    let inner = format!(
        "before=$(stty -g); sh -c 'echo $$ >{}; exec {} shell {}'; echo status $?
         for _ in 1 2 3 4 5 6 7 8 9 10; do [ \"$before\" = \"$(stty -g)\" ] && echo as it was && exit; sleep 0.2; done",
        pid.display(),
        tool.display(),
        dev.name
    );
    let mut script = Command::new("script");
    script.args(["-qec", &inner, "/dev/null"]).env("SHELL", "/bin/sh").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = script.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, b"sleep 6666\n").unwrap();
    wait_until("the shell", Duration::from_secs(20), || dev.processes("sleep 6666") > 0);
    let pid = std::fs::read_to_string(pid).unwrap();
    Command::new("kill").args(["-KILL", pid.trim()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("status 137") && text.contains("as it was"), "{text}");
}

#[test]
fn a_shell_without_a_terminal_says_what_to_do() {
    let dev = Dev::new();
    let mut command = Command::new("setsid");
    command.arg("-w").arg(tools().join("ncaas-exec")).args(["shell", &dev.name]).stdin(Stdio::null());
    let output = command.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("a shell needs a terminal") && words.contains("ncaas-exec in"), "{words}");
    assert_eq!(output.status.code(), Some(1));
}
