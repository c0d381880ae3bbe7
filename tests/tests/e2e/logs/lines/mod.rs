//! `ncaas-logs lines`, from log files and from the engine's API.

mod follow;
mod saved;
mod selection;

use std::cell::Cell;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use ncaas_tests::engine::{CleanUp, docker, driver_of_bytes, is_podman};
use ncaas_tests::logs::{
    LOGS_LIMIT, logs_lines, logs_without_file_access, run_container, start_container, text_fields,
};
use ncaas_tests::{Ran, Run, tools, wait_until};
use serde_json::Value;

/// What the docker CLI says, which is asked for each stream alone: its order between the two is not kept.
fn docker_logs(name: &str) -> (Vec<u8>, Vec<u8>) {
    let output = Command::new("docker").args(["logs", name]).output().unwrap();
    (output.stdout, output.stderr)
}

/// Whether the same lines came. Podman's stream knows whole seconds only, and the order of each stream alone.
fn have_same_lines(some: &Ran, others: &Ran) -> bool {
    if !is_podman() {
        return some.stdout == others.stdout;
    }
    let lines = |ran: &Ran, stream: &str| {
        let of_stream = |line: &Value| line["stream"] == stream;
        ran.json().into_iter().filter(of_stream).map(|line| line["line"].clone()).collect::<Vec<_>>()
    };
    ["stdout", "stderr"].iter().all(|stream| lines(some, stream) == lines(others, stream))
}

const VARIED: &str = r#"
echo 'plain "quoted" \back | = é 日本'; echo warning >&2
head -c 40000 /dev/zero | tr '\0' x; echo
head -c 32768 /dev/zero | tr '\0' y >&2; echo >&2
printf '10 %%\r50 %%\r100 %%\n'; printf '\t\033[31mred\001\n\n'
for i in $(busybox seq 1 200); do echo "out $i"; echo "err $i" >&2; done
printf 'no line break'"#;

#[test]
fn each_byte_is_read_once_and_in_order_from_log_files_and_from_the_api() {
    let mut clean_up = CleanUp::new();
    let name = run_container(&mut clean_up, &[], VARIED);
    let (stdout, stderr) = docker_logs(&name);
    for ran in [logs_lines(&[&name]), logs_without_file_access(&["lines", &name])] {
        let records = ran.ok().json();
        for (stream, printed) in [("stdout", &stdout), ("stderr", &stderr)] {
            let of_stream: Vec<&str> = records
                .iter()
                .filter(|line| line["stream"] == stream)
                .map(|line| line["line"].as_str().unwrap())
                .collect();
            assert_eq!(of_stream.join("\n"), String::from_utf8_lossy(printed).trim_end_matches('\n'), "{stream}");
        }
        let numbers: Vec<u64> = records.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
        assert!(text_fields(&records, "time").iter().all(|time| time.len() == 30 && time.ends_with('Z')));
        let keys: Vec<&String> = records[0].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["time", "stream", "seq", "line"]);
    }
}

#[test]
fn a_large_log_is_read_through_a_helper_container_that_is_removed() {
    let mut clean_up = CleanUp::new();
    let script = "busybox seq 1 60000; echo end >&2";
    let name = run_container(&mut clean_up, &[], script);
    let by_files = logs_lines(&[&name]).ok();
    let by_helper = logs_without_file_access(&["lines", &name]).ok();
    assert!(have_same_lines(&by_files, &by_helper), "both ways lead to the same lines");
    assert_eq!(by_files.json().len(), 60_001);
    if !is_podman() {
        let rotated = run_container(&mut clean_up, &["--log-opt=max-size=1m", "--log-opt=max-file=9"], script);
        assert!(logs_lines(&[&rotated]).ok().stdout == logs_without_file_access(&["lines", &rotated]).ok().stdout);
    }
    let helpers = || docker(&["ps", "-aq", "--filter", "label=org.neurocaas.helper=ncaas-logs"]);
    wait_until("the helper to be removed", LOGS_LIMIT, || helpers().is_empty());
}

#[test]
fn a_hundred_thousand_lines_from_the_api_are_read_once_and_in_order() {
    let mut clean_up = CleanUp::new();
    let script = "busybox seq 1 100000";
    // Podman's file can be read, and is: its stream is for whom that is not allowed.
    let run = if is_podman() {
        |arguments: &[&str]| logs_without_file_access(&[&["lines"], arguments].concat())
    } else {
        logs_lines
    };
    let name = start_container(&mut clean_up, &[driver_of_bytes(), "--log-opt=max-size=100m"], script);
    let is_whole = |arguments: &[&str]| {
        let text = run(&[arguments, &["--text", &name]].concat()).ok().text();
        let numbers = text.lines().map(|line| line.rsplit(' ').next().unwrap());
        assert!(numbers.eq((1..=100_000).map(|number| number.to_string())), "{arguments:?}");
    };
    is_whole(&["--follow"]);
    is_whole(&[]);
    if is_podman() {
        assert_eq!(logs_lines(&["--follow", "--tail=100000", &name]).ok().json().len(), 100_000, "by its file");
    } else {
        is_whole(&["--follow", "--tail=1000000"]);
    }
}

#[test]
fn memory_is_bounded_when_lines_are_long_and_nobody_reads_them() {
    let mut clean_up = CleanUp::new();
    let script = r#"head -c 1000000 /dev/zero | tr '\0' '"' > /tmp/l; for i in {1..30}; do cat /tmp/l; echo; done
        head -c 40000000 /dev/zero | tr '\0' x"#;
    let of_docker = ["--log-driver=json-file", "--log-driver=local"];
    for &driver in if is_podman() { &["--log-driver=k8s-file"][..] } else { &of_docker } {
        let name = run_container(&mut clean_up, &[driver, "--log-opt=max-size=1g"], script);
        let mut reader =
            Command::new(tools().join("ncaas-logs")).args(["lines", &name]).stdout(Stdio::piped()).spawn().unwrap();
        let process = reader.id();
        let about = |file: &str| std::fs::read_to_string(format!("/proc/{process}/{file}")).unwrap();
        // It has begun, nobody reads on, and when all that may wait does it takes no more time.
        reader.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let still = Cell::new((Vec::new(), 0));
        wait_until("it to stand still", LOGS_LIMIT, || {
            let taken: Vec<String> = about("stat").split(' ').skip(13).take(2).map(str::to_owned).collect();
            let (before, looks) = still.take();
            still.set(if before == taken { (taken, looks + 1) } else { (taken, 0) });
            looks > 15
        });
        let status = about("status");
        let memory = |name: &str| -> u64 {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.trim().split(' ').next());
            value.unwrap().parse().unwrap()
        };
        // Without the program itself, which is large in a development build.
        let peak = memory("VmHWM:") - memory("RssFile:");
        reader.kill().unwrap();
        reader.wait().unwrap();
        assert!(peak < 16 << 10, "{driver}: {peak} kB");
    }
}

#[test]
fn details_are_the_attributes_from_the_log_options() {
    let mut clean_up = CleanUp::new();
    let options = ["--label=lab=a b,=é", "--env=SEED=7", "--log-opt=labels=lab", "--log-opt=env=SEED"];
    let name =
        run_container(&mut clean_up, &options, "echo 'a=1 b'; head -c 40000 /dev/zero | tr '\\0' x; echo; echo >&2");
    // Podman's log has no attributes.
    let expected = match is_podman() {
        true => serde_json::json!({}),
        false => serde_json::json!({"SEED": "7", "lab": "a b,=é"}),
    };
    for ran in [logs_lines(&["--details", &name]), logs_without_file_access(&["lines", "--details", &name])] {
        let records = ran.ok().json();
        let of_stdout = records.iter().filter(|line| line["stream"] == "stdout");
        let lengths: Vec<usize> = of_stdout.map(|line| line["line"].as_str().unwrap().len()).collect();
        assert_eq!((lengths.as_slice(), records.len()), ([5, 40_000].as_slice(), 3));
        assert!(records.iter().all(|line| line["details"] == expected), "{}", records[0]);
    }
    let text = logs_lines(&["--details", "--text", "--stdout", &name]).ok().text();
    let end = if is_podman() { " a=1 b" } else { " SEED=7,lab=a+b%2C%3D%C3%A9 a=1 b" };
    assert!(text.lines().next().unwrap().ends_with(end), "{text:.200}");
    let without = run_container(&mut clean_up, &[driver_of_bytes()], "echo 'a=1 b'");
    let records = logs_lines(&["--details", &without]).ok().json();
    assert_eq!((&records[0]["line"], &records[0]["details"]), (&"a=1 b".into(), &serde_json::json!({})));
}

#[test]
fn compressed_files_of_a_rotated_log_leave_no_gap() {
    let mut clean_up = CleanUp::new();
    let options = ["--log-opt=max-size=100k", "--log-opt=max-file=9", "--log-opt=compress=true"];
    let script = "for i in $(busybox seq 1 6000); do echo line $i; (( i % 500 )) || busybox usleep 20000; done";
    let name = run_container(&mut clean_up, &options, script);
    let expected: Vec<String> = (1..=6000).map(|number| format!("line {number}")).collect();
    for ran in [logs_lines(&[&name]), logs_lines(&["--follow", &name]), logs_without_file_access(&["lines", &name])] {
        let records = ran.ok().json();
        let printed = text_fields(&records, "line");
        if is_podman() {
            // It has thrown the beginning away, and told nobody.
            assert!(
                !printed.is_empty()
                    && expected.ends_with(&printed.iter().map(|&line| line.to_owned()).collect::<Vec<_>>())
            );
            continue;
        }
        let different = printed.iter().zip(&expected).find(|(printed, expected)| printed != expected);
        assert_eq!((different, printed.len()), (None, expected.len()));
    }
}

#[test]
fn bytes_that_are_not_utf_8_are_printed_in_base64_if_the_driver_keeps_them() {
    let mut clean_up = CleanUp::new();
    let name = run_container(&mut clean_up, &[driver_of_bytes()], r"printf 'a\377\nplain\n'");
    let records = logs_lines(&[&name]).ok().json();
    assert_eq!((&records[0]["bytes"], &records[0]["line"]), (&"Yf8=".into(), &Value::Null));
    assert_eq!(records[1]["line"], "plain");
}

#[test]
fn text_uses_local_time_and_shows_the_last_state_of_a_progress_bar() {
    let mut clean_up = CleanUp::new();
    let name = run_container(&mut clean_up, &[], r"printf ' 10 %%\r 50 %%\r100 %%\r\n'; echo err >&2");
    let utc = logs_lines(&[&name]).ok().json();
    let text = |zone: &str| Run::tool("ncaas-logs").args(["lines", "--text", &name]).env("TZ", zone).run().ok().text();
    // The engine does not keep the order of the two streams.
    let bar = utc.iter().find(|line| line["stream"] == "stdout").unwrap()["time"].as_str().unwrap();
    let lines = text("UTC");
    assert!(lines.contains(&format!("{} {} 100 %\n", &bar[..10], &bar[11..23])), "{lines}");
    assert!(!lines.contains('\r') && !lines.contains('\u{1b}'), "{lines:?}");
    let nepal = text("Asia/Kathmandu");
    assert_ne!(nepal, lines);
    assert_eq!(nepal.lines().count(), 2);
}

#[test]
fn records_on_stdin_select_containers_and_label_lines_with_jobs() {
    let mut clean_up = CleanUp::new();
    let name = run_container(&mut clean_up, &[], "echo hello");
    let record = format!(r#"{{"job":{{"id":"job__a_1","dataset":2,"datasets":2}},"container":{{"name":"{name}"}}}}"#);
    let records = Run::tool("ncaas-logs").arg("lines").stdin(record).run().ok().json();
    assert_eq!(records[0]["job"], serde_json::json!({"id": "job__a_1", "dataset": 2}));
    assert_eq!(records[0]["line"], "hello");
}

#[test]
fn lines_ends_quietly_when_its_reader_closes_the_pipe() {
    let mut clean_up = CleanUp::new();
    let name = start_container(&mut clean_up, &[], "busybox seq 1 300000; sleep 600");
    let mut follower = Command::new(tools().join("ncaas-logs"))
        .args(["lines", "--follow", &name])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(follower.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("\"line\":\"1\""), "{first}");
    let output = follower.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn an_unreadable_log_is_an_error_record() {
    let mut clean_up = CleanUp::new();
    let kind = |ran: &Ran| ran.json()[0]["error"]["kind"].as_str().unwrap().to_owned();
    let missing = logs_lines(&["no-such-container"]);
    assert_eq!((missing.status, kind(&missing).as_str()), (1, "container-not-found"));
    let silent = run_container(&mut clean_up, &["--log-driver=none"], "echo lost");
    let ran = logs_lines(&[&silent]);
    assert_eq!((ran.status, kind(&ran).as_str()), (1, "engine-error"));
    assert!(ran.stderr.contains("its log driver is `none`"), "{}", ran.stderr);
    let away = Run::tool("ncaas-logs").args(["lines", &silent]).env("DOCKER_HOST", "unix:///nowhere").run();
    assert_eq!((away.status, kind(&away).as_str()), (3, "engine-unreachable"));
}

#[test]
fn output_of_a_terminal_is_read_from_log_files_and_from_the_api() {
    let mut clean_up = CleanUp::new();
    let name = run_container(
        &mut clean_up,
        &["-t"],
        r"printf '\001\001\001\001 eight\nline two\n'; head -c 20000 /dev/zero | tr '\0' q",
    );
    let by_files = logs_lines(&[&name]).ok();
    let by_stream = logs_without_file_access(&["lines", &name]).ok();
    if is_podman() {
        // It writes a time wherever it has read something, and nothing tells that from output.
        assert_eq!(by_stream.json()[1]["line"], "line two\r");
    } else {
        assert_eq!(by_stream.text(), by_files.text());
    }
    let records = by_files.json();
    assert_eq!(records[0]["line"], "\u{1}\u{1}\u{1}\u{1} eight\r");
    assert_eq!(records[2]["line"].as_str().unwrap().len(), 20_000);
}
