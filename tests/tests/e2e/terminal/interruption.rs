//! What ^C says: each command that it advises works.

use std::ffi::OsStr;
use std::fs;

use ncaas_tests::engine::FIXTURE;
use ncaas_tests::own_engine::OwnEngine;
use ncaas_tests::pipe_in;
use ncaas_tests::terminal::Terminal;

/// Presses ^C when a text has appeared. The screen, without line breaks.
fn interrupt_after(mut terminal: Terminal, text: &str) -> String {
    terminal.wait_for(text);
    terminal.interrupt();
    let screen = terminal.screen().concat();
    assert!(!screen.contains(" running, "), "the line about running jobs is left: {screen}");
    screen
}

/// The commands in backticks that need nothing else to be typed.
fn commands(screen: &str) -> Vec<&str> {
    let quoted = screen.split('`').skip(1).step_by(2);
    quoted.filter(|text| text.starts_with("ncaas-") && !text.contains("NAME")).collect()
}

#[test]
fn an_interrupted_pipe_of_run_names_a_command_that_saves_the_results() {
    // The command is about all jobs of an engine.
    let engine = OwnEngine::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let host = engine.host();
    let environment = [("DOCKER_HOST", OsStr::new(&host))];
    fs::write(folder.path().join("a.npy"), "a").unwrap();
    fs::write(folder.path().join("b.npy"), "b").unwrap();
    let run = |data: &str, flags: &str| {
        let job = "sleep 4; echo out >io-dir/results/x";
        format!("export DOCKER_HOST={host}; ncaas-exec run {FIXTURE} --data {data} -j 1 {flags} -- sh -c '{job}'")
    };
    let saved_before = format!("{} >started; ncaas-exec wait <started >records", run("a.npy", ""));
    let not_started = "; 1 was not started: run the same command with `--data b.npy`";
    for (line, seen, not_started) in [
        (format!("{} >records", run("a.npy b.npy", "")), "1 waiting, 1 running", not_started),
        (format!("{} | ncaas-exec wait >records", run("a.npy b.npy", "")), "1 waiting, 1 running", not_started),
        (format!("{} | ncaas-exec wait >records", run("a.npy", "")), "1 running", ""),
        (format!("{} >records", run("a.npy", "--follow")), "1 running", ""),
        (format!("{} | ncaas-logs save >records", run("a.npy", "")), "1 running", ""),
        (format!("{} | ncaas-logs save >records", run("a.npy", "--follow")), "1 running", ""),
        (saved_before, "1 running, 0 ended", ""),
        (
            format!("{} >/dev/null; ncaas-exec ls | ncaas-exec wait >records", run("a.npy", "")),
            "1 running, 0 ended",
            "",
        ),
    ] {
        let screen = interrupt_after(Terminal::start(folder.path(), 110, &line), seen);
        let words = format!("interrupted: 1 job is running in the background{not_started}; `");
        assert!(screen.matches("interrupted").count() == 1 && screen.contains(&words), "{line}: {screen}");
        let advised = commands(&screen);
        assert!(advised.contains(&"ncaas-exec ls"), "{line}: {screen}");
        let listed = pipe_in(folder.path(), "ncaas-exec ls", &environment).ok().json();
        assert_eq!(listed.len(), 1, "{line}: {listed:?}");
        let save = advised.iter().find(|command| command.contains("save")).unwrap();
        let saved = pipe_in(folder.path(), save, &environment);
        assert_eq!(saved.status, 0, "{line}: {save}: {}", saved.stderr);
        assert_eq!(saved.json()[0]["results"].as_array().map(Vec::len), Some(1), "{line}: {save}: {}", saved.stderr);
    }
}

#[test]
fn an_interrupted_wait_for_a_submission_names_the_command_that_waits_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for file in ["a.npy", "b.npy", "c.yaml"] {
        fs::write(path.join(file), "a: 1\n").unwrap();
    }
    pipe_in(path, "ncaas-submit init './my pca' --group lab", &[]).ok();
    let send = |name: &str| format!("ncaas-submit send './my pca/lab' --data {name} --config c.yaml");
    for line in [
        format!("{} | ncaas-submit wait", send("a.npy")),
        format!("{} --wait", send("b.npy")),
        "ncaas-submit ls './my pca' | ncaas-submit wait".to_owned(),
    ] {
        let screen = interrupt_after(Terminal::start(path, 300, &line), "no watcher has claimed");
        let advised = commands(&screen);
        let wait = advised.last().unwrap();
        assert!(wait.starts_with("ncaas-submit wait ") && screen.contains(" waits again"), "{line}: {screen}");
        let again = pipe_in(path, &format!("timeout 20 {wait} 2>&1 | head -1"), &[]).text();
        assert!(again.contains("`: a pipe that begins with `ncaas-submit watch '"), "{line}: {wait}: {again}");
    }
    let sent = pipe_in(path, "ncaas-submit ls './my pca'", &[]).ok().json();
    assert_eq!(sent.len(), 2, "nothing was sent again");
}

#[test]
fn an_interrupted_pipe_of_watch_resumes_when_it_is_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("a.npy"), "a").unwrap();
    fs::write(path.join("c.yaml"), "a: 1\n").unwrap();
    pipe_in(path, "ncaas-submit init ./pca --group lab", &[]).ok();
    pipe_in(path, "ncaas-submit send ./pca/lab --data a.npy --config c.yaml", &[]).ok();
    let line = format!(
        "ncaas-submit watch ./pca --once | ncaas-sync pull | ncaas-exec run --image {FIXTURE} -- \
         sh -c 'sleep 3; echo out >io-dir/results/x' | ncaas-logs save | ncaas-sync collect | ncaas-sync push | \
         ncaas-exec rm >records"
    );
    let screen = interrupt_after(Terminal::start(path, 110, &line), "1 running, 0 ended");
    assert!(screen.contains("; run the same pipe again to resume"), "{screen}");
    pipe_in(path, &line, &[]).ended_saying(0, "a.npy succeeded in 3.");
    let ls = pipe_in(path, "ncaas-submit ls ./pca", &[]).ok().json();
    assert_eq!((ls.len(), &ls[0]["state"]), (1, &serde_json::json!("success")), "{ls:?}");
}
