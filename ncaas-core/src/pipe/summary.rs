//! The summary of a record on a terminal, in a few lines.

use serde_json::Value;

use crate::duration::{format_age, format_duration};
use crate::outcome::{describe_results, describe_state, results_folder};
use crate::quantity::format_bytes;
use crate::record::Record;
use crate::text::{one_line, serialized_name, shorten_middle};

/// The fields that name the subject of a record without job and container, in the order of preference.
const SUBJECTS: [&str; 8] = ["path", "key", "image", "plot", "report", "file", "folder", "bucket"];
/// The fields whose text is a state, which needs no name.
const STATES: [&str; 5] = ["change", "kind", "outcome", "status", "state"];
/// The other fields with texts that a summary shows.
const TEXTS: [&str; 4] = ["groups", "queue", "io_dir", "bucket"];
/// The beginning of a further line, and the separator of two details.
const INDENT: &str = "  ";
/// How many hex digits of an id are shown, as the docker CLI does.
const SHORT_ID: usize = 12;

/// A record as lines of at most `width` characters, but for names, paths and commands, which stay whole because people
/// type them. The state of a job, its dataset and container on one or two more lines, and where its results are:
///
/// ```text
/// job__pca_2026_11_27_10_00_00_123456: success
///   session01.npy  job__pca_2026_11_27_10_00_00_123456-1-aabbccdd
///   3 results, 4.1 MB in io-dir/results/job__pca_2026_11_27_10_00_00_123456/process_results
/// ```
///
/// Any other record as `SUBJECT: STATE, AMOUNT, ...`. A record of a dry run is followed by its `docker run` command.
pub(super) fn summarise(record: &Record, width: usize) -> String {
    let (job, container, error) = (record.job(), record.container(), record.error());
    let error = error.map(|error| format!("error {}", serialized_name(&error.kind)));
    if job.is_none() && container.is_none() {
        let subject = SUBJECTS.iter().find_map(|name| Some((*name, record.text(name)?)));
        let (name, subject) = subject.unwrap_or(("", "record"));
        let details = record.as_map().iter().filter(|(field, _)| *field != name);
        let details = details.filter_map(|(field, value)| describe_field(field, value)).chain(error);
        return title_line(&one_line(subject), &details.collect::<Vec<_>>().join(", "));
    }
    let container_name = container.as_ref().map(|container| {
        let name = if container.name.is_empty() { &container.id } else { &container.name };
        one_line(name)
    });
    let dataset = datasets(record);
    let subject = job.map(|job| one_line(&job.id)).or_else(|| container_name.clone()).unwrap_or_default();
    let state = container.map(|container| describe_state(record, &container));
    // A submission's own record has its state beside the job.
    let state = state.or_else(|| record.text("state").map(str::to_owned));
    let state = state.map(|state| one_line(&state)).filter(|state| !state.is_empty());
    let state = state.into_iter().chain(error).collect::<Vec<_>>().join(", ");
    let mut summary = title_line(&subject, &state);
    let name = container_name.filter(|name| !name.is_empty() && *name != subject);
    let dataset = dataset.map(|dataset| shorten_middle(&dataset, width.saturating_sub(INDENT.len())));
    let details: Vec<String> = dataset.into_iter().chain(name).filter(|detail| !detail.is_empty()).collect();
    let characters: usize = details.iter().map(|detail| detail.chars().count() + INDENT.len()).sum();
    let lines = if characters > width { details } else { vec![details.join(INDENT)] };
    for line in lines.iter().filter(|line| !line.is_empty()) {
        summary.push_str(&format!("{INDENT}{line}\n"));
    }
    if let (Some(results), Some(folder)) = (describe_results(record), results_folder(record)) {
        summary.push_str(&format!("{INDENT}{results} in {folder}\n"));
    }
    if let Some(command) = record.as_map().get("dry_run").and_then(|dry_run| dry_run["docker_run"].as_str()) {
        summary.push_str(&format!("{}\n", one_line(command)));
    }
    summary
}

/// `SUBJECT: DETAILS`.
fn title_line(subject: &str, details: &str) -> String {
    if details.is_empty() { format!("{subject}\n") } else { format!("{subject}: {details}\n") }
}

/// The dataset of a job, or the datasets of a submission.
fn datasets(record: &Record) -> Option<String> {
    let names = record.dataname()?;
    match names.names() {
        names if names.len() > 1 => {
            Some(names.iter().map(|name| one_line(crate::text::base_name(name))).collect::<Vec<_>>().join(", "))
        }
        _ => record.dataset_name().map(|name| one_line(&name)),
    }
}

/// A field of a record without a job, if people look for it.
fn describe_field(field: &str, value: &Value) -> Option<String> {
    match value {
        Value::Bool(true) => Some(field.replace('_', " ")),
        Value::Number(number) => {
            let count = number.as_u64().filter(|count| *count > 0);
            if field == "size" || field == "bytes" {
                count.map(format_bytes)
            } else if field == "age_s" {
                number.as_i64().map(|seconds| format!("{} old", format_age(seconds)))
            } else if field.ends_with("_s") {
                number.as_f64().map(format_duration)
            } else {
                let words = field.replace('_', " ");
                count.map(|count| match words.strip_suffix('s').filter(|_| count == 1) {
                    Some(word) => format!("1 {word}"),
                    None => format!("{count} {words}"),
                })
            }
        }
        Value::String(id) if field == "image_id" => {
            Some(id.trim_start_matches("sha256:").chars().take(SHORT_ID).collect())
        }
        Value::String(text) if STATES.contains(&field) => Some(one_line(text)),
        Value::String(text) if TEXTS.contains(&field) && !text.starts_with('/') => {
            Some(format!("{field} {}", one_line(text)))
        }
        Value::Array(values) if TEXTS.contains(&field) && !values.is_empty() => {
            let texts = values.iter().filter_map(Value::as_str).map(one_line);
            Some(format!("{field} {}", texts.collect::<Vec<_>>().join(", ")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(line: &str) -> String {
        let mut record = Record::default();
        record.merge(&serde_json::from_str::<Value>(line).unwrap_or_default());
        summarise(&record, 80)
    }

    #[test]
    fn a_summary_names_job_state_dataset_and_container() {
        let job = r#""job":{"id":"job__pca_1"},"dataname":"/d/s1.npy""#;
        let container = r#""container":{"id":"ab","name":"job__pca_1-1-aabb","state":"exited","status":"failed"}"#;
        let error = r#""error":{"tool":"x","kind":"io","message":"m","hint":null}"#;
        let expected = "job__pca_1: failed, error io\n  s1.npy  job__pca_1-1-aabb\n";
        assert_eq!(summary(&format!("{{{job},{container},{error}}}")), expected);
        assert_eq!(summary(&format!("{{{error}}}")), "record: error io\n");
        assert_eq!(summary(r#"{"image":"i","container":{"name":"dev","state":"running"}}"#), "dev: running\n");
        assert_eq!(summary(&format!("{{{job}}}")), "job__pca_1\n  s1.npy\n");
        let results =
            r#""io_dir":"/io","results":[{"path":"results/job__pca_1/process_results/x","size":1,"source":"/x"}]"#;
        let expected = "job__pca_1\n  s1.npy\n  1 result, 1 B in /io/results/job__pca_1/process_results\n";
        assert_eq!(summary(&format!("{{{job},{results}}}")), expected);
        let one_of_two = r#""job":{"id":"job__pca_1","datasets":2,"label":"a\u0007.npy"}"#;
        let results = r#""io_dir":"/io","results":[{"path":"results/x","size":1,"source":"/x"}]"#;
        let summary_of_one = summary(&format!("{{{one_of_two},{results}}}"));
        assert!(summary_of_one.ends_with("in /io/results/job__pca_1/process_results/a_.npy\n"), "{summary_of_one}");
        let submission = r#"{"job":{"id":"job__pca_1"},"dataname":["lab/inputs/a.npy","lab/inputs/b.npy"]}"#;
        assert_eq!(summary(submission), "job__pca_1\n  a.npy, b.npy\n");
    }

    #[test]
    fn a_record_about_something_else_is_a_subject_with_its_states_and_amounts() {
        let cases = [
            (
                r#"{"image":"i:1","image_id":"sha256:0123456789abcdef","size":2000,"warnings":["w"]}"#,
                "i:1: 0123456789ab, 2.0 kB",
            ),
            (
                r#"{"container":"x","path":"/a","change":"added","kind":"file","size":3,"mtime":"t"}"#,
                "/a: added, file, 3 B",
            ),
            (
                r#"{"folder":"/f/","place":"s3://b/","files":8,"unchanged":0,"left_out":2,"bytes":10}"#,
                "/f/: 8 files, 2 left out, 10 B",
            ),
            (
                r#"{"key":"k","upload":"u","begun":"t","age_s":172800,"parts":3,"dropped":true}"#,
                "k: 2 d old, 3 parts, dropped",
            ),
            (r#"{"bucket":"./b","groups":["lab","x"],"queue":null}"#, "./b: groups lab, x"),
            (r#"{"path":"a","io_dir":"same","bucket":"missing"}"#, "a: io_dir same, bucket missing"),
            (r#"{"plot":"/p.svg","jobs":5,"without_a_run":0}"#, "/p.svg: 5 jobs"),
        ];
        for (line, expected) in cases {
            assert_eq!(summary(line).trim_end(), expected, "{line}");
        }
    }

    #[test]
    fn a_summary_has_whole_names_without_control_characters() {
        let (job, dataset) = ("job__pca_2026_11_27_10_00_00_123456", "x".repeat(120));
        let line = format!(
            r#"{{"job":{{"id":"{job}"}},"dataname":"/d/a\u001b[2J{dataset}","container":{{"name":"{job}-1-aabbccdd","state":"running"}}}}"#
        );
        let summary = summary(&line);
        let lines: Vec<&str> = summary.lines().collect();
        assert_eq!(lines.len(), 3, "{summary}");
        assert_eq!((lines[0], lines[2]), (format!("{job}: running").as_str(), format!("  {job}-1-aabbccdd").as_str()));
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{summary}");
        assert!(!summary.contains('\u{1b}'), "{summary}");
    }
}
