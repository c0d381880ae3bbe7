//! `ncaas-logs lines --follow`.

use std::time::Duration;

use ncaas_tests::engine::{CleanUp, docker, is_podman};
use ncaas_tests::logs::{logs_lines, start_container, text_fields};
use serde_json::Value;

#[test]
fn follow_misses_no_line_when_the_log_rotates_or_the_container_pauses() {
    let mut clean_up = CleanUp::new();
    let script = "for i in $(busybox seq 1 2000); do echo line $i; (( i % 50 )) || busybox usleep 20000; done";
    let unrotated = ["--log-opt=max-size=10m", "--log-opt=max-file=1"];
    // Where Podman is told to bound a log it throws away what there was.
    let first = if is_podman() { unrotated } else { ["--log-opt=max-size=20k", "--log-opt=max-file=3"] };
    for options in [first, unrotated] {
        let name = start_container(&mut clean_up, &options, script);
        let follower = std::thread::spawn({
            let name = name.clone();
            move || logs_lines(&["--follow", &name])
        });
        std::thread::sleep(Duration::from_millis(200));
        docker(&["pause", &name]);
        std::thread::sleep(Duration::from_millis(500));
        docker(&["unpause", &name]);
        let records = follower.join().unwrap().ok().json();
        let expected: Vec<String> = (1..=2000).map(|number| format!("line {number}")).collect();
        assert_eq!(text_fields(&records, "line"), expected);
    }
}

#[test]
fn follow_from_the_middle_of_a_log_has_no_gap_and_no_repeat() {
    let mut clean_up = CleanUp::new();
    // Equal lines, and many at once: only the order tells them apart.
    let script = "for i in $(busybox seq 1 4000); do echo same; echo $i; done; sleep 1; echo end";
    let name = start_container(&mut clean_up, &[], script);
    for arguments in [&["--follow"][..], &["--follow", "--tail=1000000"]] {
        let records = logs_lines(&[arguments, &[&name]].concat()).ok().json();
        let expected: Vec<String> = (1..=4000).flat_map(|number| ["same".to_owned(), number.to_string()]).collect();
        let printed = text_fields(&records, "line");
        assert_eq!(printed.len(), expected.len() + 1, "{arguments:?}");
        assert!(printed[..expected.len()] == expected, "{arguments:?}");
    }
}

#[test]
fn follow_interleaves_several_containers_and_labels_each_line() {
    let mut clean_up = CleanUp::new();
    let names: Vec<String> = (0..3)
        .map(|number| {
            start_container(&mut clean_up, &[], &format!("for i in 1 2 3; do echo {number}-$i; sleep 0.3; done"))
        })
        .collect();
    let arguments: Vec<&str> = names.iter().map(String::as_str).collect();
    let records = logs_lines(&[&["--follow"], &arguments[..]].concat()).ok().json();
    assert_eq!(records.len(), 9);
    for (number, name) in names.iter().enumerate() {
        let own: Vec<&Value> = records.iter().filter(|line| line["container"] == name.as_str()).collect();
        assert!(
            own.len() == 3 && own.iter().all(|line| line["line"].as_str().unwrap().starts_with(&number.to_string()))
        );
    }
    let numbers: Vec<&str> = text_fields(&records, "line").iter().map(|line| line.split('-').next().unwrap()).collect();
    assert_ne!(numbers, ["0", "0", "0", "1", "1", "1", "2", "2", "2"], "they come as they are printed");
}
