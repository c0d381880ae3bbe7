//! Certificates as the platform's client reads them.

use super::*;

fn entry(dataname: &str, last_command: &str) -> DatasetEntry {
    DatasetEntry {
        dataname: dataname.to_owned(),
        status: DatasetStatus::InProgress,
        time: Some("2026-11-22T10:24:55.9Z".parse().unwrap()),
        last_command: Some(last_command.to_owned()),
        cpu: Some(97.23),
        ..DatasetEntry::default()
    }
}

/// The text after a change to a certificate with this number of datasets.
fn changed(old: &str, datasets: usize, number: usize, entry: &DatasetEntry) -> String {
    let mut certificate = Certificate::parse(old);
    certificate.add_datasets(&[], datasets);
    certificate.set(number, entry);
    certificate.to_string()
}

/// The dataset lines, found as the platform's client finds them.
fn dataset_lines(certificate: &str) -> Vec<&str> {
    let lines: Vec<&str> = certificate.split('\n').collect();
    let dividers: Vec<usize> = (0..lines.len()).filter(|&at| lines[at] == "================").collect();
    assert_eq!(dividers.len(), 2, "{certificate}");
    lines[dividers[0] + 1..dividers[1]].to_vec()
}

#[test]
fn a_certificate_has_the_platforms_form() {
    let text = changed("", 1, 1, &entry("lab/inputs/session1.npy", "fitting 15 components"));
    let expected = "PER ENVIRONMENT MONITORING:\n================\nDATANAME: lab/inputs/session1.npy | STATUS: IN PROGRESS \
        | TIME: 2026_11_22_10_24_55 | LAST COMMAND: fitting 15 components | CPU_USAGE: 97.2\n================\n";
    assert!(text.starts_with(expected), "{text}");
    let done = DatasetEntry { status: DatasetStatus::Success, ..entry("x", "y") };
    assert!(changed(&text, 1, 1, &done).contains("| TIME: 2026_11_22_10_24_55 (finished) |"));
}

#[test]
fn text_from_outside_stays_in_its_field() {
    let hostile =
        ["a | STATUS: SUCCESS | b", "================", "\n================\n", "\r\u{1b}[31m\0\u{85}\u{2028}x"];
    for last_command in hostile {
        let text = changed("", 2, 2, &entry("a | b.npy", last_command));
        let lines = dataset_lines(&text);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1].split(" | ").count(), 5, "{}", lines[1]);
        assert!(lines[1].starts_with("DATANAME: a ¦ b.npy | STATUS: IN PROGRESS"), "{}", lines[1]);
    }
    let long = changed("", 1, 1, &entry("x", &"é".repeat(1_000_000)));
    assert!(long.len() < 3000);
}

#[test]
fn every_dataset_keeps_its_line_in_any_order_of_writing() {
    let mut text = String::new();
    for number in [3, 1, 5, 2, 4, 1, 3] {
        text = changed(&text, 5, number, &entry(&format!("d{number}"), "x"));
    }
    let names: Vec<&str> = dataset_lines(&text).iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(names, ["d1", "d2", "d3", "d4", "d5"]);
}

#[test]
fn a_dataset_without_a_writer_is_initializing() {
    let mut certificate = Certificate::default();
    certificate.add_datasets(&["lab/inputs/a.npy", "lab/inputs/b.npy"].map(str::to_owned), 2);
    certificate.set(2, &entry("lab/inputs/b.npy", "x"));
    assert_eq!(
        dataset_lines(&certificate.to_string())[0],
        "DATANAME: lab/inputs/a.npy | STATUS: INITIALIZING | TIME: N/A | LAST COMMAND: N/A | CPU_USAGE: N/A"
    );
}

#[test]
fn the_setup_log_and_the_failures_of_others_stay() {
    let event = |time: &str, event: &str| SetupEvent { time: time.to_owned(), event: event.to_owned() };
    let mut certificate = Certificate::default();
    certificate.add_datasets(&[], 2);
    certificate.set_setup(&[
        event("2026-11-22T10:00:00Z", "found the submission"),
        event("2026-11-22T11:01:02.345Z", "================"),
    ]);
    let failed = DatasetEntry {
        status: DatasetStatus::Failed,
        reason: Some("no config\n\nno dataset".to_owned()),
        ..entry("b", "x")
    };
    certificate.set(2, &failed);
    let mut certificate = Certificate::parse(&certificate.to_string());
    certificate.set(1, &entry("a", "y"));
    certificate.set_setup(&[]);
    let text = certificate.to_string();
    assert!(text.contains("\nENVIRONMENT SETUP LOG:\n[+0:00:00.00] found the submission\n[+1:01:02.34] ======"));
    assert!(text.ends_with("\nFAILURES:\ndataset 2: no config\ndataset 2: no dataset\n"), "{text}");
    assert_eq!(dataset_lines(&text).len(), 2);
    assert_eq!(Certificate::parse(&text), certificate);
    let again = changed(&text, 2, 2, &entry("b", "x"));
    assert!(!again.contains("FAILURES"));
}

#[test]
fn the_platforms_client_finds_the_container_of_each_dataset() {
    let started = |name: &str, id: &str| DatasetEntry { container: Some(id.to_owned()), ..entry(name, "x") };
    let mut certificate = Certificate::default();
    certificate.add_datasets(&["lab/inputs/a.npy".to_owned()], 3);
    certificate.set(3, &started("lab/inputs/set/", "c3"));
    certificate.set(1, &entry("lab/inputs/a.npy", "x"));
    let mut others = Certificate::default();
    others.set(2, &started("lab/inputs/b [+1].npy", "c2"));
    others.set(3, &started("lab/inputs/set/", "forged') created!"));
    certificate.merge(&others, 2..=2);
    let text = certificate.to_string();
    assert_eq!(Certificate::parse(&text), certificate);
    // The client counts the containers' lines, and then looks for each number.
    let between = |line: &str, before: &str, after: &str| {
        let rest = line.split(before).nth(1)?;
        Some(rest.split(after).next().unwrap().trim().to_owned())
    };
    let of_lines = |before: &str, after: &str| -> Vec<String> {
        text.lines().filter_map(|line| between(line, before, after)).collect()
    };
    assert_eq!(of_lines("[Utils] New instance ec2.Instance(id='", "') created!"), ["c2", "c3"]);
    assert_eq!(of_lines("Starting analysis ", " with parameter set "), ["1", "2"]);
    assert_eq!(of_lines(" with parameter set ", "[+"), ["b", "set"]);
    assert_eq!(dataset_lines(&text).len(), 3);
}

#[test]
fn merging_changes_the_lines_of_the_own_datasets_only() {
    let certificate = |words: [&str; 3], count: usize, failed: Option<usize>| {
        let mut certificate = Certificate::default();
        for (at, word) in words.iter().take(count).enumerate() {
            let reason = (failed == Some(at + 1)).then(|| format!("{word} failed"));
            certificate.set(at + 1, &DatasetEntry { reason, ..entry(&format!("d{}", at + 1), word) });
        }
        certificate
    };
    // The bucket's lines, ours, the own datasets; the words and failures expected.
    let cases = [
        (3, 3, 2..=2, ["theirs 1", "ours 2", "theirs 3"], vec![1]),
        (3, 3, 1..=1, ["ours 1", "theirs 2", "theirs 3"], vec![]),
        (3, 3, 1..=3, ["ours 1", "ours 2", "ours 3"], vec![3]),
        (0, 3, 2..=2, ["ours 1", "ours 2", "ours 3"], vec![3]),
        (3, 1, 2..=2, ["theirs 1", "theirs 2", "theirs 3"], vec![1]),
    ];
    for (at, (theirs, ours, own, words, failed)) in cases.into_iter().enumerate() {
        let mut bucket = certificate(["theirs 1", "theirs 2", "theirs 3"], theirs, Some(1));
        bucket.merge(&certificate(["ours 1", "ours 2", "ours 3"], ours, Some(3)), own);
        let lines = bucket.lines();
        assert_eq!(lines.iter().map(|line| line.last_command.as_str()).collect::<Vec<_>>(), words, "case {at}");
        assert_eq!(bucket.failures.iter().map(|(number, _)| *number).collect::<Vec<_>>(), failed, "case {at}");
    }
}

#[test]
fn a_record_is_about_its_own_dataset_or_all_of_a_refused_submission() {
    let datasets = |line: &str| datasets_of_record(&Record::parse(line.as_bytes()).unwrap());
    assert_eq!(datasets(r#"{"job":{"id":"x","dataset":3,"datasets":5},"dataname":"a"}"#), 3..=3);
    assert_eq!(datasets(r#"{"job":{"id":"x"},"dataname":["a","b"]}"#), 1..=2);
    assert_eq!(datasets("{}"), 1..=1);
}

#[test]
fn the_platforms_certificate_is_read_by_position() {
    let text = "PER ENVIRONMENT MONITORING:\r\n================\r\n\
        DATANAME: lab/inputs/a.npy | STATUS: IN PROGRESS | TIME: 2026_11_22_10_24_55 | LAST COMMAND: a | b | CPU_USAGE: 97.2\n\
        DATANAME: lab/inputs/b.npy | STATUS: SUCCESS | TIME: 2026_11_22_10_24_55 (finished)\n\
        ================\nDATANAME: not one | STATUS: X | TIME: y\n";
    let lines = Certificate::parse(text).lines();
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[0].status.as_str(), lines[0].last_command.as_str()), ("IN PROGRESS", "a | b"));
    assert_eq!((lines[1].dataname.as_str(), lines[1].last_command.as_str()), ("lab/inputs/b.npy", "N/A"));
    for text in ["", "================", "x\ny"] {
        assert!(Certificate::parse(text).lines().is_empty(), "{text}");
    }
}

#[test]
fn concurrent_writers_lose_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = Folder::create(&folder.path().join("logs")).and_then(|_| Folder::open(folder.path())).unwrap();
    std::thread::scope(|scope| {
        for number in 1..=40 {
            let folder = &folder;
            scope.spawn(move || {
                for turn in 0..3 {
                    let own = entry(&format!("d{number}"), &format!("{turn}"));
                    update(folder, |certificate| certificate.set(number, &own)).unwrap();
                }
            });
        }
    });
    let text = std::fs::read_to_string(folder.path().join("logs/certificate.txt")).unwrap();
    for (at, line) in dataset_lines(&text).iter().enumerate() {
        assert!(line.starts_with(&format!("DATANAME: d{} ", at + 1)) && line.contains("COMMAND: 2 "), "{line}");
    }
}
