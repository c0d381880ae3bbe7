//! `ncaas-exec shell`.

use std::process::{Command, Stdio};
use std::time::Duration;

use ncaas_tests::dev_container::DevContainer;
use ncaas_tests::engine::{CleanUp, FIXTURE, docker};
use ncaas_tests::ssh::{Loopback, with_remote_engine};
use ncaas_tests::{Run, tools, unique, wait_until};

#[test]
fn a_shell_has_a_real_terminal_even_at_the_end_of_a_pipe() {
    let dev = DevContainer::new();
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
fn a_killed_shell_restores_the_terminal() {
    let dev = DevContainer::new();
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
    wait_until("the shell", Duration::from_secs(20), || dev.count_processes("sleep 6666") > 0);
    let pid = std::fs::read_to_string(pid).unwrap();
    Command::new("kill").args(["-KILL", pid.trim()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("status 137") && text.contains("as it was"), "{text}");
}

#[test]
fn a_shell_without_a_terminal_fails_with_a_hint() {
    let dev = DevContainer::new();
    let mut command = Command::new("setsid");
    command.arg("-w").arg(tools().join("ncaas-exec")).args(["shell", &dev.name]).stdin(Stdio::null());
    let output = command.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("an interactive shell needs a terminal") && words.contains("ncaas-exec in"), "{words}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_shell_whose_connection_breaks_restores_the_terminal_and_reports_why() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Loopback::new());
    let name = unique("dev");
    let mut clean_up = CleanUp::new();
    clean_up.container(&name);
    let start = Run::tool("ncaas-exec").args(["start", FIXTURE, "--name", &name]).dir(folder.path());
    assert_eq!(with_remote_engine(start, &remote).run().status, 0);
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
        "ncaas-exec: lost the connection to the process in `{name}`, and it was ended\n\
         hint: run the same command again to open another shell\nstatus 1\nas it was\n"
    );
    assert!(text.ends_with(&expected), "{text}");
    wait_until("its end", Duration::from_secs(30), || !runs());
}
