//! The line that says how many jobs wait, run and have ended.

use std::fs;
use std::path::PathBuf;

use ncaas_tests::engine::FIXTURE;
use ncaas_tests::terminal::Terminal;
use ncaas_tests::workspace::Workspace;
use ncaas_tests::{pipe_in, unique};

/// What no line on the screen has when a pipe has ended: the line is removed.
const RUNNING: &str = " running, ";

/// A command that runs four jobs, one after the other, of which the third fails. The first two end when there is a file
/// with the name of their dataset in the folder `end`.
fn run_jobs(workspace: &Workspace, flags: &str) -> String {
    for name in ["a", "b", "c", "d"] {
        workspace.write(&format!("{name}.npy"), name);
    }
    let end = close_gates(workspace);
    let wait = "until [ -e /end/$(basename $1) ]; do sleep 0.1; done";
    let job = format!(
        "case $1 in *a.npy|*b.npy) {wait};; *c.npy) echo broken >&2; exit 3;; esac; echo out >io-dir/results/x"
    );
    let volume = format!("--volume {}:/end", end.display());
    format!("ncaas-exec run {FIXTURE} --data a.npy b.npy c.npy d.npy -j 1 {volume} {flags} -- sh -c '{job}' x")
}

/// Makes the first two jobs wait. The folder whose files end them.
fn close_gates(workspace: &Workspace) -> PathBuf {
    let end = workspace.path().join("end");
    fs::create_dir_all(&end).unwrap();
    for file in fs::read_dir(&end).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    end
}

/// Runs a line on a terminal, and checks that waiting jobs were shown and that the line is gone. The screen.
fn run_on_terminal(workspace: &Workspace, width: usize, line: &str) -> Vec<String> {
    let mut terminal = Terminal::start(workspace.path(), width, line);
    terminal.wait_for("3 waiting, 1 running, 0 ended");
    workspace.write("end/a.npy", "");
    terminal.wait_for("2 waiting, 1 running, 1 ended");
    workspace.write("end/b.npy", "");
    let screen = terminal.screen();
    assert!(!screen.iter().any(|line| line.contains(RUNNING)), "{line}: {screen:#?}");
    screen
}

#[test]
fn the_stage_that_waits_for_jobs_shows_how_many_wait_run_and_have_ended() {
    let workspace = Workspace::new();
    let run = run_jobs(&workspace, "");
    let rest = "ncaas-logs save --live=0.1 | ncaas-sync collect | ncaas-exec rm >records";
    let follow = run_jobs(&workspace, "--follow");
    for (line, stage) in [
        (format!("{run} | ncaas-exec wait >records"), "ncaas-exec"),
        (format!("{run} | {rest}"), "ncaas-sync"),
        (format!("{run} | ncaas-exec wait | jq -c . | {rest}"), "ncaas-sync"),
        (format!("{follow} >records"), "ncaas-exec"),
        (format!("{follow} | ncaas-logs save | ncaas-exec wait >records"), "ncaas-logs"),
        (format!("{follow} | {rest}"), "ncaas-sync"),
    ] {
        close_gates(&workspace);
        let screen = run_on_terminal(&workspace, 80, &line);
        let ended: Vec<&String> = screen.iter().filter(|line| line.contains(".npy succeeded in ")).collect();
        assert_eq!(ended.len(), 3, "{line}: {screen:#?}");
        assert!(ended.iter().all(|line| line.starts_with(stage)), "{line}: {screen:#?}");
        let failed: Vec<&String> = screen.iter().filter(|line| line.contains("c.npy failed (exit 3) after ")).collect();
        // A failure does not wait for the results.
        let first = if line.contains("ncaas-logs save") { "ncaas-logs" } else { "ncaas-exec" };
        assert!(failed.len() == 1 && failed[0].starts_with(first), "{line}: {screen:#?}");
        let with_results = ended.iter().filter(|line| line.contains(": 1 result, 4 B in io-dir/results/")).count();
        assert_eq!(with_results, if stage == "ncaas-sync" { 3 } else { 0 }, "{line}: {screen:#?}");
        let total = format!("{stage}: 4 jobs ended: 3 succeeded, 1 failed");
        assert_eq!(screen.last(), Some(&total), "{line}: {screen:#?}");
    }
}

#[test]
fn run_shows_how_many_wait_if_no_stage_behind_it_does() {
    let workspace = Workspace::new();
    run_on_terminal(&workspace, 60, &format!("{} >records", run_jobs(&workspace, "")));
    let records = fs::read_to_string(workspace.path().join("records")).unwrap();
    assert_eq!(records.lines().count(), 4);
    assert!(!records.contains("jobs_waiting"), "{records}");
}

#[test]
fn no_program_behind_a_stage_prints_beside_the_line() {
    let workspace = Workspace::new();
    // Longer than the line, which may be drawn again before `jq` prints.
    let line = format!("{} | ncaas-exec wait | jq -c '[.dataname, .container.name]'", run_jobs(&workspace, ""));
    let screen = run_on_terminal(&workspace, 200, &line);
    let names = screen.iter().filter(|line| line.starts_with("[\"/") && line.ends_with("\"]")).count();
    assert_eq!(names, 4, "{screen:#?}");
}

#[test]
fn the_line_is_neither_in_a_log_file_nor_shown_if_quiet() {
    let workspace = Workspace::new();
    let run = run_jobs(&workspace, "");
    let quiet = run_jobs(&workspace, "-q");
    workspace.write("end/a.npy", "");
    workspace.write("end/b.npy", "");
    let mut terminal = Terminal::start(workspace.path(), 80, &format!("{quiet} | ncaas-exec wait -q >records"));
    let screen = terminal.screen();
    assert!(screen.len() == 1 && screen[0].starts_with("ncaas-exec: c.npy failed (exit 3) after "), "{screen:#?}");
    assert!(!terminal.written().contains(RUNNING), "{}", terminal.written());
    let in_file = pipe_in(workspace.path(), &format!("({run}) 2>log | ncaas-exec wait 2>>log"), &[]);
    assert!(in_file.text().lines().count() == 4 && !in_file.text().contains("jobs_waiting"));
    let log = fs::read_to_string(workspace.path().join("log")).unwrap();
    assert!(log.contains("succeeded in") && !log.contains(RUNNING) && !log.contains('\u{1b}'), "{log}");
}

#[test]
fn one_of_two_pipes_on_a_terminal_draws_the_line() {
    let workspace = Workspace::new();
    let wait =
        |name: &str| format!("ncaas-exec run {FIXTURE} --name {} -- sleep 4 | ncaas-exec wait >{name}", unique(name));
    let mut terminal =
        Terminal::start(workspace.path(), 80, &format!("({}) & {}; wait", wait("first"), wait("second")));
    terminal.wait_for("1 running, 0 ended");
    let screen = terminal.screen();
    assert_eq!(screen.len(), 2, "{screen:#?} {:?}", terminal.written());
}
