//! The line that says how many jobs wait, run and have ended.

use ncaas_tests::engine::FIXTURE;
use ncaas_tests::terminal::Terminal;
use ncaas_tests::workspace::Workspace;
use ncaas_tests::{pipe_in, unique};

/// What no line on the screen has when a pipe has ended: the line is removed.
const RUNNING: &str = " running, ";

/// A command that runs four jobs, one after the other, of which the third fails.
fn run_jobs(workspace: &Workspace, flags: &str) -> String {
    for name in ["a", "b", "c", "d"] {
        workspace.write(&format!("{name}.npy"), name);
    }
    let job = "case $1 in *c.npy) echo broken >&2; exit 3;; *) sleep 0.7; echo out >io-dir/results/x;; esac";
    format!("ncaas-exec run {FIXTURE} --data a.npy b.npy c.npy d.npy -j 1 {flags} -- sh -c '{job}' x")
}

/// Runs a line on a terminal, and checks that waiting jobs were shown and that the line is gone. The screen.
fn run_on_terminal(workspace: &Workspace, width: usize, line: &str) -> Vec<String> {
    let terminal = Terminal::start(workspace.path(), width, line);
    terminal.wait_for("3 waiting, 1 running, 0 ended");
    terminal.wait_for("1 waiting, ");
    let screen = terminal.screen();
    assert!(!screen.iter().any(|line| line.contains(RUNNING)), "{line}: {screen:#?}");
    screen
}

#[test]
fn the_stage_that_waits_for_jobs_shows_how_many_wait_run_and_have_ended() {
    let workspace = Workspace::new();
    let run = run_jobs(&workspace, "");
    for (line, stage) in [
        (format!("{run} | ncaas-exec wait >records"), "ncaas-exec"),
        (format!("{run} | ncaas-logs save --live=0.1 | ncaas-sync collect | ncaas-exec rm >records"), "ncaas-logs"),
        (format!("{} >records", run_jobs(&workspace, "--follow")), "ncaas-exec"),
        (format!("{} | ncaas-logs save | ncaas-exec wait >records", run_jobs(&workspace, "--follow")), "ncaas-exec"),
    ] {
        let screen = run_on_terminal(&workspace, 80, &line);
        let ended: Vec<&String> = screen.iter().filter(|line| line.contains(".npy succeeded in ")).collect();
        assert_eq!(ended.len(), 3, "{line}: {screen:#?}");
        assert!(ended.iter().all(|line| line.starts_with(stage)), "{line}: {screen:#?}");
        let failed = screen.iter().filter(|line| line.contains("c.npy failed (exit 3) after ")).count();
        assert_eq!(failed, 1, "{line}: {screen:#?}");
        let total = format!("{stage}: 4 jobs ended: 3 succeeded, 1 failed");
        assert_eq!(screen.last(), Some(&total), "{line}: {screen:#?}");
    }
}

#[test]
fn run_shows_how_many_wait_if_no_stage_behind_it_does() {
    let workspace = Workspace::new();
    let screen = run_on_terminal(&workspace, 60, &format!("{} >records", run_jobs(&workspace, "")));
    assert!(screen.concat().contains("1 job runs in the background"), "{screen:#?}");
    let records = std::fs::read_to_string(workspace.path().join("records")).unwrap();
    assert_eq!(records.lines().count(), 4);
    assert!(!records.contains("jobs_waiting"), "{records}");
}

#[test]
fn no_program_behind_a_stage_prints_beside_the_line() {
    let workspace = Workspace::new();
    let line = format!("{} | ncaas-exec wait | jq -c .dataname", run_jobs(&workspace, ""));
    let screen = run_on_terminal(&workspace, 80, &line);
    let names = screen.iter().filter(|line| line.starts_with('"') && line.ends_with(".npy\"")).count();
    assert_eq!(names, 4, "{screen:#?}");
}

#[test]
fn the_line_is_neither_in_a_log_file_nor_shown_if_quiet() {
    let workspace = Workspace::new();
    let run = run_jobs(&workspace, "");
    let quiet = run_jobs(&workspace, "-q");
    let shown = Terminal::start(workspace.path(), 80, &format!("{quiet} | ncaas-exec wait -q >records"));
    let written = shown.written();
    assert_eq!(shown.screen(), Vec::<String>::new());
    assert!(!written.contains(RUNNING), "{written}");
    let in_file = pipe_in(workspace.path(), &format!("({run}) 2>log | ncaas-exec wait 2>>log"), &[]);
    assert!(in_file.text().lines().count() == 4 && !in_file.text().contains("jobs_waiting"));
    let log = std::fs::read_to_string(workspace.path().join("log")).unwrap();
    assert!(log.contains("succeeded in") && !log.contains(RUNNING) && !log.contains('\u{1b}'), "{log}");
}

#[test]
fn one_of_two_pipes_on_a_terminal_draws_the_line() {
    let workspace = Workspace::new();
    let wait =
        |name: &str| format!("ncaas-exec run {FIXTURE} --name {} -- sleep 2 | ncaas-exec wait >{name}", unique(name));
    let terminal = Terminal::start(workspace.path(), 80, &format!("({}) & {}; wait", wait("first"), wait("second")));
    terminal.wait_for("1 running, 0 ended");
    let written = terminal.written();
    let screen = terminal.screen();
    assert_eq!(screen.len(), 2, "{screen:#?} {written:?}");
}
