//! `ncaas-logs lines --since`, `--until`, `--tail`, `--grep`, `--stdout`.

use ncaas_tests::engine::{CleanUp, is_podman};
use ncaas_tests::logs::{logs_lines, logs_without_file_access, run_container, text_fields};

#[test]
fn since_and_until_are_exact_to_the_nanosecond() {
    let mut clean_up = CleanUp::new();
    let name = run_container(&mut clean_up, &[], "busybox seq 1 50");
    let all = logs_lines(&[&name]).ok().json();
    let times = text_fields(&all, "time");
    // Podman's stream knows whole seconds only.
    let by_stream = if is_podman() {
        logs_lines
    } else {
        |arguments: &[&str]| logs_without_file_access(&[&["lines"], arguments].concat())
    };
    for run in [logs_lines, by_stream] {
        let some = run(&["--since", times[10], "--until", times[20], &name]).ok().json();
        let expected: Vec<&str> =
            times.iter().filter(|time| **time >= times[10] && **time <= times[20]).copied().collect();
        assert_eq!(text_fields(&some, "time"), expected);
    }
}

#[test]
fn tail_prints_whole_lines_of_any_length() {
    let mut clean_up = CleanUp::new();
    let name = run_container(
        &mut clean_up,
        &[],
        "echo first; head -c 2000000 /dev/zero | tr '\\0' z; echo; for i in 1 2 3; do echo $i; echo e$i >&2; done",
    );
    let last = |arguments: &[&str]| {
        let records = logs_lines(&[arguments, &[&name]].concat()).ok().json();
        text_fields(&records, "line").iter().map(|line| line.len()).collect::<Vec<_>>()
    };
    assert_eq!(last(&["--tail=3", "--stdout"]), [1, 1, 1]);
    assert_eq!(last(&["--tail=4", "--stdout"]), [2_000_000, 1, 1, 1]);
    assert_eq!(last(&["--tail=100", "--stdout"]), [5, 2_000_000, 1, 1, 1]);
    assert_eq!(last(&["--tail=100"]).len(), 8);
    assert_eq!(last(&["--tail=0"]), Vec::<usize>::new());
}

#[test]
fn stream_and_grep_select_lines_that_keep_their_numbers() {
    let mut clean_up = CleanUp::new();
    let name = run_container(&mut clean_up, &[], "echo ok; echo Error one >&2; echo error two; echo last");
    let errors = logs_lines(&["--grep", "(?i)^error", "--stdout", &name]).ok().json();
    assert_eq!(text_fields(&errors, "line"), ["error two"]);
    assert_eq!(errors[0]["seq"], 2, "counted among the lines of its stream");
    logs_lines(&["--grep", "(", &name]).ended_saying(2, "invalid value '('");
}
