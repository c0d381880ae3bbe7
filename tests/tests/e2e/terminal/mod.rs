//! What people see on a terminal: summaries and tables, each failure once, and containers by the names that people
//! know.

mod interruption;
mod status_line;

use std::fs;
use std::path::Path;

use ncaas_tests::dev_container::DevContainer;
use ncaas_tests::engine::FIXTURE;
use ncaas_tests::verbs::{TOOLS, verbs_of};
use ncaas_tests::workspace::Workspace;
use ncaas_tests::{Ran, Run, pipe_in, unique};

/// The columns of the terminal.
const WIDTH: usize = 80;

/// Runs a command on a terminal; stdout has what the terminal shows.
fn on_terminal(folder: &Path, command: &str) -> Ran {
    pipe_in(folder, &format!("script --quiet --return --command \"stty cols {WIDTH}; {command}\" /dev/null"), &[])
}

/// What the terminal shows, line by line.
fn shown(folder: &Path, command: &str) -> Vec<String> {
    let text = on_terminal(folder, command).text();
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// Whether a line is a record as JSON.
fn is_json(line: &str) -> bool {
    line.starts_with('{')
}

#[test]
fn every_verb_that_writes_records_has_an_option_for_json() {
    for tool in TOOLS {
        for verb in verbs_of(tool) {
            let help = Run::tool(tool).args([&verb.name, "--help"]).run().ok().text();
            // A shell leaves no record on a terminal.
            assert!(help.contains("--json") || verb.name == "shell", "{tool} {}", verb.name);
        }
    }
}

#[test]
fn the_io_dir_has_its_default_from_the_environment_in_every_verb() {
    // In `ncaas-build` it is a path in the container, in `place` one on a node.
    for tool in ["ncaas-exec", "ncaas-logs", "ncaas-sync"] {
        for verb in verbs_of(tool) {
            let help = Run::tool(tool).args([&verb.name, "--help"]).run().ok().text();
            // The lines are wrapped.
            let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(help.contains("--io-dir <"), help.contains("[env: NCAAS_IO_DIR="), "{tool} {}", verb.name);
        }
    }
}

#[test]
fn verbs_of_buckets_show_no_json_on_a_terminal_unless_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("a.npy"), "a").unwrap();
    fs::write(path.join("c.yaml"), "a: 1\n").unwrap();
    let cases = [
        ("ncaas-submit init ./pca --group lab", "pca: groups lab"),
        ("ncaas-submit send ./pca/lab --data a.npy --config c.yaml --timestamp 1", "job__pca_1"),
        ("ncaas-submit check pca/lab/submissions/1_submit.json", "  a.npy"),
        ("ncaas-submit watch ./pca --once", "  a.npy"),
        ("ncaas-sync pull ./pca/lab", " files, "),
        ("ncaas-sync pull ./pca/lab --files", "inputs/a.npy: unchanged, 1 B"),
        ("ncaas-sync push io-dir/lab/inputs pca/lab/inputs/more", ": 1 file, 1 new, 1 B"),
    ];
    for (command, expected) in cases {
        let lines = shown(path, command);
        assert!(lines.iter().any(|line| line.contains(expected)), "{command}: {lines:#?}");
        assert!(!lines.iter().any(|line| is_json(line)), "{command}: {lines:#?}");
        if command.contains("watch") {
            assert!(lines.iter().any(|line| line.contains("released 1 claimed submission")), "{lines:#?}");
            assert_eq!(pipe_in(path, "ncaas-submit ls ./pca", &[]).json()[0]["state"], "waiting");
        }
        let in_a_pipe = pipe_in(path, &format!("{command} | cat"), &[]);
        assert!(in_a_pipe.text().lines().all(is_json), "{command}: {}", in_a_pipe.text());
        if command.contains("watch") {
            assert_eq!(in_a_pipe.text().lines().count(), 1, "the next watcher gets it at once");
        }
    }
    let sent = shown(path, "ncaas-submit send ./pca/lab --data a.npy --config c.yaml --timestamp 2").join("");
    assert!(sent.contains("pca/lab job__pca_2` waits until its jobs have ended"), "{sent}");
    let waited = pipe_in(path, "timeout 20 ncaas-submit wait ./pca/lab 2 2>&1 | head -1", &[]).text();
    assert!(waited.contains("no watcher has claimed `job__pca_2`"), "{waited}");
    let lines = shown(path, "ncaas-submit init ./pca --group lab --json");
    assert!(lines.iter().any(|line| is_json(line)), "{lines:#?}");
}

#[test]
fn verbs_of_images_show_no_json_on_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let tag = format!("ncaas/terminal:{}", unique("tag"));
    let tagged = shown(folder.path(), &format!("ncaas-build tag {FIXTURE} {tag}"));
    assert!(tagged.len() == 1 && tagged[0].starts_with(&format!("{tag}: ")), "{tagged:#?}");
    let saved = shown(folder.path(), &format!("ncaas-build save {tag} --output image.tar"));
    assert!(saved.iter().any(|line| line.contains(&tag)) && !saved.iter().any(|line| is_json(line)), "{saved:#?}");
    let removed = shown(folder.path(), &format!("ncaas-build rm {tag}"));
    assert!(removed.len() == 1 && removed[0].starts_with(&tag), "{removed:#?}");
}

#[test]
fn a_dry_run_on_a_terminal_says_what_would_run() {
    let workspace = Workspace::new();
    workspace.write("a.npy", "a");
    let lines = shown(workspace.path(), &format!("ncaas-exec run {FIXTURE} --data a.npy --dry-run -- true"));
    for expected in ["would start `job__", "a.npy` is mounted at `", "limits of `a.npy`: ", "docker run --detach"] {
        assert!(lines.iter().any(|line| line.contains(expected)), "{expected}: {lines:#?}");
    }
    assert!(!lines.iter().any(|line| is_json(line)), "{lines:#?}");
}

#[test]
fn a_failure_is_shown_once_on_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("Dockerfile"), "FROM x\nCOPY missing.py /\n").unwrap();
    fs::create_dir_all(path.join("pca/lab/submissions")).unwrap();
    for submit_file in ["submit.json", "pca/lab/submissions/1_submit.json"] {
        fs::write(path.join(submit_file), r#"{"dataname":"lab/inputs/a","timestamp":"1"}"#).unwrap();
    }
    let cases = [
        ("ncaas-logs state nowhere", "does not exist on this engine"),
        ("ncaas-logs lines nowhere", "does not exist on this engine"),
        ("ncaas-exec stop nowhere", "does not exist on this engine"),
        ("ncaas-sync diff nowhere", "does not exist on this engine"),
        ("ncaas-sync collect nowhere", "does not exist on this engine"),
        ("ncaas-build commit nowhere --tag x:y", "does not exist on this engine"),
        ("ncaas-build check .", "cannot be copied"),
        ("ncaas-build tag nowhere x:y", "does not exist on this engine"),
        ("ncaas-submit check submit.json", "configname"),
        ("ncaas-submit watch ./pca --once --hold 0s", "configname"),
    ];
    for (command, words) in cases {
        for command in [command.to_owned(), format!("{command} --json")] {
            let lines = shown(path, &command);
            let with_words = lines.iter().filter(|line| line.contains(words)).count();
            assert_eq!(with_words, 1, "{command}: {lines:#?}");
            assert!(!lines.iter().any(|line| line.contains("error ") || line.starts_with("NAME")), "{lines:#?}");
        }
    }
}

#[test]
fn a_container_is_named_by_its_job_or_dataset_in_every_tool() {
    let workspace = Workspace::new();
    let (job, data) = (unique("named"), format!("{}.npy", unique("data")));
    workspace.write(&data, "1");
    let command = ["sh", "-c", "echo hello; echo 1 >result.txt"];
    let started = workspace.start(&["--name", &job, "--data", &data], &command);
    let waited = workspace.exec(&["wait"]).stdin(started).run().ended_saying(0, "succeeded");
    let container = waited.record().container.unwrap().name;
    let folder = format!("io-dir/results/{job}/");
    for name in [job.as_str(), data.as_str(), folder.as_str()] {
        let run = |tool: &str, verb: &str| Run::tool(tool).args([verb, name]).dir(workspace.path()).run();
        assert_eq!(run("ncaas-logs", "lines").ok().json()[0]["line"], "hello", "{name}");
        assert_eq!(run("ncaas-logs", "state").ok().json()[0]["job"]["id"], job.as_str(), "{name}");
        let diff = run("ncaas-sync", "diff").ok().json();
        assert!(diff.iter().any(|change| change["path"].as_str().unwrap().ends_with("/result.txt")), "{name}");
    }
    Run::tool("ncaas-logs").args(["save", &data]).dir(workspace.path()).run().ended_saying(0, "succeeded");
    Run::tool("ncaas-sync").args(["collect", &data]).dir(workspace.path()).run().ok();
    Run::tool("ncaas-exec").args(["rm", &data]).dir(workspace.path()).run().ok();
    // The files that `save` wrote stand for the job without its container.
    let record = format!("{folder}logs/{data}.record.json");
    for name in [job.as_str(), data.as_str(), folder.as_str(), record.as_str(), container.as_str()] {
        let run = |tool: &str, verb: &str| Run::tool(tool).args([verb, name]).dir(workspace.path()).run();
        assert_eq!(run("ncaas-logs", "lines").ok().json()[0]["line"], "hello", "{name}");
        for (tool, verb) in [("ncaas-logs", "state"), ("ncaas-exec", "wait"), ("ncaas-sync", "collect")] {
            let ran = run(tool, verb);
            assert_eq!(ran.status, 0, "{tool} {verb} {name}: {}", ran.stderr);
            let found = ran.json();
            assert_eq!(found[0]["job"]["id"], job.as_str(), "{tool} {verb} {name}");
            assert_eq!(found[0]["container"]["exit_code"], 0, "{tool} {verb} {name}");
        }
        let stopped = run("ncaas-exec", "stop").json();
        assert_eq!(stopped[0]["error"]["kind"], "container-not-found", "{name}: {stopped:?}");
        let compared = Run::tool("ncaas-logs").args(["compare", name, &folder]).dir(workspace.path()).run().ok();
        assert_eq!(compared.json()[0]["same"], true, "{name}");
        let plot = Run::tool("ncaas-logs").args(["plot", &folder]).dir(workspace.path()).run().ok();
        assert_eq!(plot.json()[0]["jobs"], 1);
    }
}

#[test]
fn a_dataset_names_the_job_that_runs_and_not_one_of_several() {
    let workspace = Workspace::new();
    let data = format!("{}.npy", unique("data"));
    workspace.write(&data, "1");
    let stop = |name: &str| workspace.exec(&["stop", "--grace", "1s", name]).run();
    let start = |command: &[&str]| -> String {
        let started: serde_json::Value = serde_json::from_slice(&workspace.start(&["--data", &data], command)).unwrap();
        started["container"]["name"].as_str().unwrap().to_owned()
    };
    let names = [start(&["sh", "-c", "sleep 60"]), start(&["sh", "-c", "sleep 60"])];
    let refused = stop(&data).json()[0]["error"]["message"].to_string();
    assert!(refused.contains(&format!("several running jobs have the dataset `{data}`: ")), "{refused}");
    stop(&names[1]);
    let ended = workspace.start(&["--data", &data], &["sh", "-c", "true"]);
    workspace.exec(&["wait"]).stdin(ended).run();
    assert_eq!(stop(&data).json()[0]["container"]["name"], names[0].as_str());
}

#[test]
fn a_development_container_is_compared_and_collected_from() {
    let dev = DevContainer::new();
    dev.exec_in(&[], &["sh", "-c", "echo 1 >~/result.txt"]).run().ok();
    let diff = Run::tool("ncaas-sync").args(["diff", &dev.name]).dir(dev.dir.path()).run().ok().json();
    assert!(diff.iter().any(|change| change["path"].as_str().unwrap().ends_with("/result.txt")), "{diff:?}");
    Run::tool("ncaas-exec").args(["stop", "--grace", "1", &dev.name]).run();
    let collected = Run::tool("ncaas-sync").args(["collect", &dev.name]).dir(dev.dir.path()).run();
    let results = collected.json()[0]["results"].to_string();
    assert!(results.contains("result.txt"), "{results} {}", collected.stderr);
}

#[test]
fn a_stopped_development_container_is_called_stopped_and_is_removed_by_name() {
    let dev = DevContainer::new();
    let (path, name) = (dev.dir.path(), &dev.name);
    assert_eq!(shown(path, &format!("ncaas-exec stop --grace 1 {name}")), [format!("{name}: stopped")]);
    let listed = shown(path, "ncaas-exec ls --all");
    assert!(listed.iter().any(|line| line.contains("stopped")), "{listed:#?}");
    let command = format!("ncaas-exec ls --all | grep -F {name} | ncaas-exec rm");
    let kept = shown(path, &command).concat();
    assert!(
        kept.contains(&format!("kept `{name}`, a development container: `ncaas-exec rm {name}` removes it")),
        "{kept}"
    );
    let hint = shown(path, &format!("ncaas-exec in {name} -- true")).concat();
    assert!(hint.contains(&format!("`ncaas-exec start --name {name}` starts it again")), "{hint}");
}

#[test]
fn a_stage_that_cannot_work_on_its_input_names_the_command_that_continues() {
    let line = r#"{"job":{"id":"j","dataset":1},"line":"x","stream":"stdout","time":"t"}"#;
    let refused = Run::tool("ncaas-sync").arg("collect").stdin(line).run();
    refused.ended_saying(1, "hint: this is a line of output: use `ncaas-logs save` in place of `ncaas-logs lines`");
    let workspace = Workspace::new();
    let id = unique("left");
    fs::write(workspace.path().join("started"), workspace.start(&["--name", &id], &["sleep", "60"])).unwrap();
    let rest = "`ncaas-exec ls --all --mine | ncaas-logs save | ncaas-sync collect | ncaas-exec rm` completes";
    let screen = shown(workspace.path(), "ncaas-exec rm <started").concat();
    assert!(screen.contains(rest), "{screen}");
    let removed = shown(workspace.path(), &format!("ncaas-exec rm --force {id}")).concat();
    assert!(
        removed.contains("stopped and removed `left") && removed.contains("its log and files are discarded"),
        "{removed}"
    );
}

#[test]
fn a_command_that_runs_in_the_background_says_so_on_a_terminal() {
    let dev = DevContainer::new();
    let lines = shown(dev.dir.path(), &format!("ncaas-exec in --detach {} -- true", dev.name));
    assert!(lines.iter().any(|line| line.contains("contains its exit code")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with(&dev.name)) && !lines.iter().any(|line| is_json(line)));
}

#[test]
fn rm_says_on_a_terminal_what_it_has_removed() {
    let workspace = Workspace::new();
    let job = unique("removed");
    let started = workspace.start(&["--name", &job], &["true"]);
    workspace.exec(&["wait"]).stdin(started).run();
    let lines = shown(workspace.path(), &format!("ncaas-exec rm {job}"));
    assert!(lines.len() == 1 && lines[0].starts_with(&format!("ncaas-exec: removed `{job}-1-")), "{lines:#?}");
}

#[test]
fn rm_says_once_on_a_terminal_what_it_keeps() {
    let workspace = Workspace::new();
    let job = unique("kept");
    let started = workspace.start(&["--name", &job], &["sh", "-c", "echo 1 >result"]);
    workspace.exec(&["wait"]).stdin(started).run();
    for json in ["", "--json"] {
        let screen = shown(workspace.path(), &format!("ncaas-exec rm {job} {json}")).concat();
        assert_eq!(screen.matches("kept the container").count(), 1, "{json}: {screen}");
    }
    let more = [format!("ncaas-logs save {job}"), format!("ncaas-sync collect {job}"), format!("ncaas-exec rm {job}")];
    assert_eq!(on_terminal(workspace.path(), &more.join(" && ")).status, 0);
}

#[test]
fn lines_are_text_on_a_terminal() {
    let workspace = Workspace::new();
    let job = unique("lines");
    let started = workspace.start(&["--name", &job], &["sh", "-c", "echo hello"]);
    workspace.exec(&["wait"]).stdin(started).run();
    let text = shown(workspace.path(), &format!("NO_COLOR=1 ncaas-logs lines {job}"));
    assert!(text.len() == 1 && text[0].ends_with(" hello") && !is_json(&text[0]), "{text:#?}");
    assert!(is_json(&shown(workspace.path(), &format!("ncaas-logs lines {job} --json"))[0]));
}

#[test]
fn a_file_that_would_block_or_is_in_utf_16_is_refused_by_name() {
    let workspace = Workspace::new();
    let path = workspace.path();
    make_fifo(&path.join("fifo"));
    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain("A=1\n".encode_utf16().flat_map(u16::to_le_bytes)).collect();
    fs::write(path.join("utf16"), &utf16).unwrap();
    fs::create_dir(path.join("context")).unwrap();
    fs::write(path.join("context/Dockerfile"), format!("FROM {FIXTURE}\n")).unwrap();
    fs::write(path.join("context/.dockerignore"), &utf16).unwrap();
    let cases = [
        (format!("ncaas-exec run {FIXTURE} --env-file fifo -- true"), "`fifo`: it is a pipe, not a regular file"),
        (format!("ncaas-exec run {FIXTURE} --env-file utf16 -- true"), "`utf16` is encoded in UTF-16"),
        (format!("ncaas-exec run {FIXTURE} --data <(echo 1) -- true"), "is a pipe, not a file or folder"),
        ("ncaas-build image context --file fifo --tag x:y".to_owned(), "`fifo`: it is a pipe, not a regular file"),
        ("ncaas-build image context --file utf16 --tag x:y".to_owned(), "`utf16` is encoded in UTF-16"),
        ("ncaas-build image context --tag x:y".to_owned(), ".dockerignore` is encoded in UTF-16"),
        ("ncaas-exec rm <utf16".to_owned(), "the line is encoded in UTF-16"),
        ("ncaas-logs plot utf16".to_owned(), "`utf16` is encoded in UTF-16"),
        ("ncaas-logs report fifo".to_owned(), "`fifo`: it is a pipe, not a regular file"),
        ("ncaas-exec run --replay utf16".to_owned(), "`utf16` is encoded in UTF-16"),
    ];
    for (command, words) in cases {
        let ran = pipe_in(path, &format!("timeout 20 {command}"), &[]);
        assert!(
            (1..=2).contains(&ran.status) && ran.stderr.contains(words),
            "{command}: {} {}",
            ran.status,
            ran.stderr
        );
    }
    // A shell's own stream ends by itself.
    let command = format!("ncaas-exec run {FIXTURE} --env-file <(echo A=5) -- sh -c 'exit $A' | ncaas-exec wait -q");
    assert_eq!(pipe_in(path, &command, &[]).json()[0]["container"]["exit_code"], 5);
}

fn make_fifo(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[test]
fn advice_and_limits_have_units_and_commands_that_work() {
    let uploads = Run::tool("ncaas-sync").args(["uploads", "s3://x", "--older-than", "7"]).run();
    uploads.ended_saying(2, "`7` has no unit: write for example `7d` or `7h`");
    let workspace = Workspace::new();
    let home = workspace.exec(&["run", FIXTURE, "--data", "~/s.csv", "--", "true"]).run();
    home.ended_saying(2, "`~/s.csv` is not a path: the shell did not expand `~`");
    let placement = unique("slurm:1");
    workspace.start(&["--placement", &placement], &["sleep", "60"]);
    let kept = workspace.exec(&["rm", "--placement", &placement]).run();
    kept.ended_saying(1, &format!("`ncaas-exec stop --placement {placement}` stops them"));
    workspace.exec(&["stop", "--grace", "1", "--placement", &placement]).run();
    assert_eq!(workspace.exec(&["rm", "--placement", &placement]).run().status, 1, "the job was killed");
    assert!(!workspace.exec(&["ls", "--all"]).run().text().contains(&placement));
}

#[test]
fn run_names_the_running_jobs_if_no_other_program_reads_its_records() {
    let workspace = Workspace::new();
    let run = |flag: &str, output: &str| {
        pipe_in(workspace.path(), &format!("ncaas-exec run {FIXTURE} {flag} -- sleep 60 >{output}"), &[])
    };
    for output in ["record.json", "/dev/null"] {
        run("", output).ended_saying(0, "1 job is running in the background: `ncaas-exec wait last` waits for it");
        run("--quiet", output).ok();
    }
}

#[test]
fn run_and_wait_say_on_a_terminal_how_to_save_what_ended_jobs_wrote() {
    let workspace = Workspace::new();
    workspace.write("c.json", r#"{"__duration__": 0.02}"#);
    let job = format!("ncaas-exec run {FIXTURE} -- true");
    let slow = format!("ncaas-exec run {FIXTURE} --config c.json --follow -- sh -c 'sleep 60; true'");
    for (command, is_unsaved) in [
        (format!("{job} | ncaas-exec wait"), true),
        (slow.clone(), true),
        (format!("{job} | ncaas-exec wait >records"), false),
    ] {
        let screen = shown(workspace.path(), &command).join("\n");
        let advice = "results and logs are not saved yet: `ncaas-exec ls --all --mine | ncaas-logs save | ";
        assert_eq!(screen.contains(advice), is_unsaved, "{command}: {screen}");
        let remedy = "exceeded its time limit of 2.0 s and was stopped after ";
        assert_eq!(
            screen.contains(remedy) && screen.contains("; raise `__duration__` in its config"),
            command == slow,
            "{screen}"
        );
    }
}
