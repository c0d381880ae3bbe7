//! A record on a terminal: one or two short lines.

use serde_json::Value;

use crate::layout::{JobFolder, PROCESS_RESULTS};
use crate::quantity::{format_age, format_bytes, format_count, format_duration};
use crate::record::Record;
use crate::text::{one_line, shorten_middle, word};

/// The most columns of a container's name beside the name of a dataset, unless the terminal is wide enough for both.
const LONGEST_NAME: usize = 44;
/// The fields that name the subject of a record without job and container, in the order of preference.
const SUBJECTS: [&str; 8] = ["path", "key", "image", "plot", "report", "file", "folder", "bucket"];
/// The fields whose text is a state, which needs no name.
const STATES: [&str; 5] = ["change", "kind", "outcome", "status", "state"];
/// The other fields with texts that a summary shows.
const TEXTS: [&str; 4] = ["groups", "queue", "io_dir", "bucket"];
/// How many hex digits of an id are shown, as the docker CLI does.
const SHORT_ID: usize = 12;

/// A record as lines of at most `width` characters, but for paths and commands, which stay whole. The state of a job, on a
/// second line its dataset and container, and where its results are:
///
/// ```text
/// job__pca_2026_11_27_10_00_00_123456: success
///   session01.npy  job__pca_2026_11_27_10_00_00_123456-1-aabbccdd
///   3 results in io-dir/results/job__pca_2026_11_27_10_00_00_123456/process_results
/// ```
///
/// Any other record as `SUBJECT: STATE, AMOUNT, ...`. A record of a dry run is followed by its `docker run` command.
pub(super) fn summarise(record: &Record, width: usize) -> String {
    let (job, container, error) = (record.job(), record.container(), record.error());
    let error = error.map(|error| format!("error {}", word(&error.kind)));
    if job.is_none() && container.is_none() {
        let subject = SUBJECTS.iter().find_map(|name| Some((*name, record.text(name)?)));
        let (name, subject) = subject.unwrap_or(("", "record"));
        let details = record.as_map().iter().filter(|(field, _)| *field != name);
        let details = details.filter_map(|(field, value)| describe_field(field, value)).chain(error);
        return title_line(&one_line(subject), &details.collect::<Vec<_>>().join(", "), width);
    }
    let container_name = container.as_ref().map(|container| {
        let name = if container.name.is_empty() { &container.id } else { &container.name };
        one_line(name)
    });
    let subject = job.map(|job| one_line(&job.id)).or_else(|| container_name.clone()).unwrap_or_default();
    let state = container.map(|container| container.status.map_or(container.state, |status| word(&status)));
    // A submission's own record has its state beside the job.
    let state = state.or_else(|| record.text("state").map(str::to_owned));
    let state = state.map(|state| one_line(&state)).filter(|state| !state.is_empty());
    let state = state.into_iter().chain(error).collect::<Vec<_>>().join(", ");
    let mut summary = title_line(&subject, &state, width);
    let name = container_name.filter(|name| !name.is_empty() && *name != subject);
    let dataset = datasets(record).unwrap_or_default();
    let name_room = LONGEST_NAME.max(width.saturating_sub(dataset.chars().count() + 4));
    let name = name.map(|name| shorten_middle(&name, name_room));
    let room = width.saturating_sub(name.as_ref().map_or(0, |name| name.chars().count() + 2) + 2);
    let dataset = Some(shorten_middle(&dataset, room)).filter(|dataset| !dataset.is_empty());
    let details = dataset.into_iter().chain(name).collect::<Vec<_>>().join("  ");
    if !details.is_empty() {
        summary.push_str(&format!("  {details}\n"));
    }
    if let Some(place) = results_folder(record) {
        let count = record.results().map_or(0, |results| results.len());
        summary.push_str(&format!("  {} in {}\n", format_count(count, "result"), one_line(&place)));
    }
    if let Some(command) = record.as_map().get("dry_run").and_then(|dry_run| dry_run["docker_run"].as_str()) {
        summary.push_str(&format!("{}\n", one_line(command)));
    }
    summary
}

/// `SUBJECT: DETAILS`, with the subject shortened.
fn title_line(subject: &str, details: &str, width: usize) -> String {
    let details = if details.is_empty() { String::new() } else { format!(": {details}") };
    let room = width.saturating_sub(details.chars().count());
    format!("{}{details}\n", shorten_middle(subject, room))
}

/// The folder with the results of a job, relative to the working directory; none if there are no results.
fn results_folder(record: &Record) -> Option<String> {
    record.results().filter(|results| !results.is_empty())?;
    let job = JobFolder::for_record(record).ok()?;
    let folder = job.root().join(PROCESS_RESULTS);
    let has_own_folder = record.job().is_some_and(|job| job.datasets > 1);
    let folder = if has_own_folder { folder.join(job.label()) } else { folder };
    let here = std::env::current_dir().ok();
    let shown = here.and_then(|here| folder.strip_prefix(here).ok()).unwrap_or(&folder);
    Some(shown.to_string_lossy().into_owned())
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
                count.map(|count| format!("{count} {}", field.replace('_', " ")))
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
        let expected = "job__pca_1\n  s1.npy\n  1 result in /io/results/job__pca_1/process_results\n";
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
    fn a_summary_is_within_80_columns_without_control_characters() {
        let long = "x".repeat(120);
        let line = format!(
            r#"{{"job":{{"id":"{long}"}},"dataname":"/d/a\u001b[2J{long}","container":{{"name":"{long}1","state":"running"}}}}"#
        );
        let summary = summary(&line);
        assert_eq!(summary.lines().count(), 2, "{summary}");
        assert!(summary.lines().all(|line| line.chars().count() <= 80), "{summary}");
        assert!(!summary.contains('\u{1b}'), "{summary}");
    }
}
