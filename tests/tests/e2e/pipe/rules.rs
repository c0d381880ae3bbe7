//! The rules of the pipe that hold for every filter of every tool.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use ncaas_tests::verbs::{TOOLS, Verb, verbs_of};
use ncaas_tests::{Run, pipe, tools};
use serde_json::Value;

/// Filters that emit other records instead of the job records that they read, or start something for each of them.
const OTHER_RECORDS: [[&str; 2]; 7] = [
    ["ncaas-exec", "start"],
    ["ncaas-logs", "lines"],
    ["ncaas-logs", "plot"],
    ["ncaas-logs", "report"],
    ["ncaas-logs", "state"],
    ["ncaas-logs", "usage"],
    ["ncaas-sync", "diff"],
];

/// Filters that report a record's error to the submitter, and so may add fields to it.
const REPORTS: [[&str; 2]; 2] = [["ncaas-logs", "save"], ["ncaas-sync", "push"]];

/// A tool and one of its verbs.
type ToolVerb = [&'static str; 2];

/// Every verb that reads job records and emits them again.
static FILTERS: LazyLock<Vec<ToolVerb>> = LazyLock::new(|| {
    let filters = tool_verbs(|verb| verb.is_filter);
    assert!(OTHER_RECORDS.iter().all(|verb| filters.contains(verb)), "{filters:?}");
    filters.into_iter().filter(|verb| !OTHER_RECORDS.contains(verb)).collect()
});

fn tool_verbs(is_wanted: fn(&Verb) -> bool) -> Vec<ToolVerb> {
    let of_tool = |tool: &'static str| {
        let names = verbs_of(tool).into_iter().filter(is_wanted).map(|verb| verb.name.leak());
        names.map(move |name| -> ToolVerb { [tool, name] })
    };
    TOOLS.into_iter().flat_map(of_tool).collect()
}

fn filter([tool, verb]: ToolVerb) -> Run {
    Run::tool(tool).arg(verb).dir(std::env::temp_dir())
}

#[test]
fn an_empty_input_gives_an_empty_output() {
    for &verb in FILTERS.iter() {
        let ran = filter(verb).run().ok();
        assert_eq!(ran.text(), "", "{verb:?}");
    }
}

#[test]
fn a_malformed_line_becomes_an_error_record_and_the_next_line_is_read() {
    for &verb in FILTERS.iter() {
        let ran = filter(verb).stdin("not json\n\n[1,2]\n\"text\"\n{\"command\":7}").run();
        let records = ran.records();
        assert_eq!((ran.status, records.len()), (1, 4), "{verb:?}: {}", ran.stderr);
        for record in &records {
            assert_eq!(record.error_kind(), "bad-record", "{verb:?}");
        }
        let starts: Vec<_> = records.iter().map(|record| record.line.as_deref().unwrap().trim_end()).collect();
        for start in ["not json", "[1,2]", "\"text\"", "{\"command\":7}"] {
            assert!(starts.contains(&start), "{verb:?}: {starts:?}");
        }
        assert_eq!(
            ran.stderr.matches("the line is an array, not a JSON object").count(),
            1,
            "{verb:?}: {}",
            ran.stderr
        );
    }
}

/// Names in a record become paths and keys: no verb may act on one that leads elsewhere.
#[test]
fn a_record_with_a_name_that_leads_elsewhere_is_refused_by_every_filter() {
    let lines = [
        r#"{"job":{"id":"../x"},"io_dir":"/tmp/ncaas-none"}"#,
        r#"{"job":{"id":"/etc"},"io_dir":"/tmp/ncaas-none"}"#,
        r#"{"job":{"id":"a\u001b]0;x"},"io_dir":"/tmp/ncaas-none"}"#,
        r#"{"job":{"id":""},"io_dir":"/tmp/ncaas-none"}"#,
        r#"{"job":{"id":"j","group":"../other"},"io_dir":"/tmp/ncaas-none"}"#,
        r#"{"job":{"id":"j","group":"results"},"io_dir":"/tmp/ncaas-none"}"#,
        r#"{"job":{"id":"j","bucket":"/tmp/../etc","group":"lab"}}"#,
        r#"{"job":{"id":"j","label":"a/../../b"},"io_dir":"/tmp/ncaas-none"}"#,
        r#"{"job":{"id":"j","bucket":"/tmp","group":"lab"},"dataname":"/etc/passwd"}"#,
        r#"{"job":{"id":"j","bucket":"/tmp","group":"lab"},"dataname":"lab/../other/x"}"#,
        r#"{"job":{"id":"j","bucket":"/tmp","group":"lab"},"dataname":"lab/x\u0000"}"#,
        r#"{"job":{"id":"j","bucket":"/tmp","group":"lab"},"configname":"lab/../../x"}"#,
        r#"{"container":{"id":"/tmp/ncaas-none/s1.record.json"}}"#,
    ];
    for &verb in FILTERS.iter() {
        let ran = filter(verb).stdin(lines.join("\n")).run();
        let kinds: Vec<String> = ran.records().iter().map(|record| record.error_kind().to_owned()).collect();
        assert_eq!((ran.status, kinds), (1, vec!["bad-record".to_owned(); lines.len()]), "{verb:?}: {}", ran.stderr);
    }
    assert!(!std::path::Path::new("/tmp/ncaas-none").exists());
}

#[test]
fn json_on_a_terminal_has_no_characters_that_the_terminal_acts_on() {
    let name = "\u{9b}2J\u{202e}\u{7f}";
    let line = format!(r#"{{"x":"{name}","error":{{"tool":"t","kind":"timeout","message":"m","hint":null}}}}"#);
    let on_terminal = pipe(&format!("echo '{line}' >record; script -qec 'ncaas-exec rm --json <record' /dev/null"));
    let text = on_terminal.text();
    assert!(text.contains(r#""x":"\u009b2J\u202e\u007f""#), "{text:?}");
    let in_a_pipe = filter(["ncaas-exec", "rm"]).stdin(format!("{line}\n")).run();
    assert_eq!(in_a_pipe.text(), format!("{line}\n"), "a program gets the record as it came");
}

#[test]
fn a_message_about_arguments_has_no_control_characters() {
    for tool in TOOLS {
        let hostile = "--\u{1b}]0;title\u{7}\u{9b}2J";
        for arguments in [vec![hostile], vec!["ls", hostile], vec!["\u{1b}[2J"]] {
            let ran = Run::tool(tool).args(&arguments).run();
            assert_eq!(ran.status, 2, "{tool}: {}", ran.stderr);
            assert!(!ran.stderr.chars().any(|c| c.is_control() && c != '\n'), "{tool}: {:?}", ran.stderr);
        }
    }
}

#[test]
fn a_record_with_an_error_passes_through_unchanged() {
    let line = r#"{"z":1.000000000000000000001,"a":{"y":1,"x":[]},"error":{"tool":"t","kind":"timeout","message":"m","hint":null}}"#;
    for &verb in FILTERS.iter() {
        let ran = filter(verb).stdin(format!("{line}\n")).run();
        if REPORTS.contains(&verb) {
            assert!(
                ran.text().starts_with(line.strip_suffix("}}").unwrap().split(",\"error\"").next().unwrap()),
                "{}",
                ran.text()
            );
        } else {
            assert_eq!(ran.text(), format!("{line}\n"), "{verb:?}");
        }
        assert_eq!(ran.status, 1, "{verb:?}: a record that carries an error is exit status 1");
    }
}

#[test]
fn a_line_of_ten_megabytes_passes_and_a_line_over_the_limit_becomes_an_error() {
    let error = r#""error":{"tool":"t","kind":"timeout","message":"m","hint":null}"#;
    let long = format!("{{\"x\":\"{}\",{error}}}\n", "y".repeat(10 << 20));
    let ran = filter(["ncaas-exec", "rm"]).stdin(long.clone()).run();
    assert!(ran.stdout == long.as_bytes());
    let too_long = format!("{{\"x\":\"{}\"}}\n{{{error}}}\n", "y".repeat(65 << 20));
    let ran = filter(["ncaas-exec", "rm"]).stdin(too_long).run();
    let kinds: Vec<_> = ran.records().iter().map(|record| record.error_kind().to_owned()).collect();
    assert_eq!((ran.status, kinds), (1, vec!["bad-record".to_owned(), "timeout".to_owned()]));
}

#[test]
fn a_record_that_lacks_a_required_field_gets_an_error_that_names_it() {
    // A job without a dataset has nothing to pull, and is a job all the same.
    for &verb in FILTERS.iter().filter(|verb| verb[1] != "pull") {
        let ran = filter(verb).stdin("{\"x\":1}\n").run();
        let record = &ran.json()[0];
        assert_eq!(record["error"]["kind"], "bad-record", "{verb:?}: {record}");
        assert_eq!(record["error"]["tool"], verb[0]);
        assert!(ran.stderr.starts_with(&format!("{}: ", verb[0])), "{verb:?}: {}", ran.stderr);
        assert_eq!(ran.status, 1, "{verb:?}");
    }
}

#[test]
fn a_filter_whose_stdin_is_a_terminal_prints_its_usage() {
    for &[tool, verb] in FILTERS.iter() {
        let ran = pipe(&format!("script --quiet --return --command '{tool} {verb}' /dev/null"));
        let text = ran.text();
        assert_eq!(ran.status, 2, "{tool} {verb}: {text}");
        assert!(text.contains("stdin is a terminal") && text.contains("hint: "), "{tool} {verb}: {text}");
    }
}

#[test]
fn a_filter_ends_quietly_when_its_reader_closes_the_pipe() {
    let error = r#"{"error":{"tool":"t","kind":"timeout","message":"m","hint":null}}"#;
    for &[tool, verb] in FILTERS.iter() {
        let ran = pipe(&format!("(yes '{error}' | {tool} {verb}; echo \"status ${{PIPESTATUS[1]}}\" >&2) | head -1"));
        assert_eq!(ran.json().len(), 1);
        assert_eq!(ran.stderr, "status 0\n", "{tool} {verb}");
    }
}

#[test]
fn a_filter_that_cannot_write_to_stdout_fails() {
    let error = r#"{"error":{"tool":"t","kind":"timeout","message":"m","hint":null}}"#;
    for &[tool, verb] in FILTERS.iter() {
        let ran = pipe(&format!("echo '{error}' | {tool} {verb} >/dev/full"));
        assert_eq!(ran.status, 1, "{tool} {verb}");
        assert!(ran.stderr.contains("cannot write to stdout"), "{tool} {verb}: {}", ran.stderr);
    }
}

#[test]
fn sigint_and_sigterm_end_a_filter_within_a_second() {
    for &[tool, verb] in FILTERS.iter() {
        for (signal, status) in [("INT", 130), ("TERM", 143)] {
            let mut child = Command::new(tools().join(tool))
                .arg(verb)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            // A record that comes back shows that it listens.
            let mut stdin = child.stdin.take().unwrap();
            stdin
                .write_all(b"{\"error\":{\"tool\":\"t\",\"kind\":\"timeout\",\"message\":\"m\",\"hint\":null}}\n")
                .unwrap();
            let mut line = String::new();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line)
                .unwrap();
            let start = Instant::now();
            Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
            let ended = child.wait().unwrap();
            assert_eq!(ended.code(), Some(status), "{tool} {verb}");
            assert!(start.elapsed() < Duration::from_millis(1500), "{tool} {verb} took {:?}", start.elapsed());
            drop(stdin);
        }
    }
}

#[test]
fn an_unreachable_engine_is_exit_status_3_and_loses_no_record() {
    let in_state = |state: &str| {
        format!(
            r#"{{"job":{{"id":"job__a_1"}},"io_dir":"/tmp/ncaas-none","image":"x","container":{{"id":"f00","state":"{state}"}},"mine":1}}"#
        )
    };
    for verb in [["ncaas-exec", "run"], ["ncaas-exec", "rm"], ["ncaas-exec", "wait"], ["ncaas-exec", "stop"]] {
        // Of a job that has ended only its container is left to ask about. Who says that one runs has seen the engine,
        // and would have it waited for.
        let record = in_state(if verb[1] == "rm" { "exited" } else { "" });
        let ran =
            filter(verb).env("DOCKER_HOST", "unix:///nonexistent.sock").stdin(format!("{record}\n{record}\n")).run();
        let records = ran.json();
        assert_eq!((ran.status, records.len()), (3, 2), "{verb:?}: {}", ran.stderr);
        for record in records {
            assert_eq!(record["error"]["kind"], "engine-unreachable", "{verb:?}");
            assert_eq!(record["mine"], Value::from(1));
        }
    }
}

#[test]
fn every_verb_prints_its_schema() {
    for verb in tool_verbs(|_| true) {
        let ran = filter(verb).arg("--schema").run().ok();
        assert!(ran.json()[0].get("$schema").is_some(), "{verb:?}: {}", ran.text());
        assert_eq!(ran.json()[0]["version"], 1, "{verb:?}");
    }
}
