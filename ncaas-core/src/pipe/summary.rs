//! A job record on a terminal: one or two short lines.

use crate::record::Record;
use crate::text::{one_line, shorten_middle, word};

/// The most columns of a summary.
pub(super) const LONGEST_LINE: usize = 80;
/// The most columns of a container's name beside the name of a dataset.
const LONGEST_NAME: usize = 44;

/// The state of a record's job and, on a second line, its dataset and container. Lines have at most `width` characters. None
/// for a record without job, container and error.
///
/// ```text
/// job__pca_2026_11_27_10_00_00_123456: failed
///   session01.npy  job__pca_2026_11_27_10_00_00_123456-1-aabbccdd
/// ```
pub(super) fn summarise(record: &Record, width: usize) -> Option<String> {
    let (job, container) = (record.job(), record.container());
    let error = record.fields().ok().and_then(|known| known.error);
    if job.is_none() && container.is_none() && error.is_none() {
        return None;
    }
    let container_name = container.as_ref().map(|container| {
        let name = if container.name.is_empty() { &container.id } else { &container.name };
        one_line(name)
    });
    let subject = job.map(|job| one_line(&job.id)).or_else(|| container_name.clone());
    let subject = subject.or_else(|| record.text("image").map(one_line)).unwrap_or_else(|| "record".to_owned());
    let state = container.map(|container| container.status.map_or(container.state, |status| word(&status)));
    // A submission's own record has its state beside the job.
    let state = state.or_else(|| record.text("state").map(str::to_owned));
    let state = state.map(|state| one_line(&state)).filter(|state| !state.is_empty());
    let error = error.map(|error| format!("error {}", word(&error.kind)));
    let state = state.into_iter().chain(error).collect::<Vec<_>>().join(", ");
    let state = if state.is_empty() { state } else { format!(": {state}") };
    let room = width.saturating_sub(state.chars().count());
    let mut summary = format!("{}{state}\n", shorten_middle(&subject, room));
    let name = container_name.filter(|name| !name.is_empty() && *name != subject);
    let name = name.map(|name| shorten_middle(&name, LONGEST_NAME));
    let room = width.saturating_sub(name.as_ref().map_or(0, |name| name.chars().count() + 2) + 2);
    let dataset = record.dataset_name().map(|dataset| shorten_middle(&one_line(&dataset), room));
    let details = dataset.into_iter().chain(name).collect::<Vec<_>>().join("  ");
    if !details.is_empty() {
        summary.push_str(&format!("  {details}\n"));
    }
    Some(summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(line: &str) -> Option<String> {
        summarise(&Record::parse(line.as_bytes()).unwrap_or_default(), 80)
    }

    #[test]
    fn a_summary_names_job_state_dataset_and_container() {
        let job = r#""job":{"id":"job__pca_1"},"dataname":"/d/s1.npy""#;
        let container = r#""container":{"id":"ab","name":"job__pca_1-1-aabb","state":"exited","status":"failed"}"#;
        let error = r#""error":{"tool":"x","kind":"io","message":"m","hint":null}"#;
        let expected = "job__pca_1: failed, error io\n  s1.npy  job__pca_1-1-aabb\n";
        assert_eq!(summary(&format!("{{{job},{container},{error}}}")).as_deref(), Some(expected));
        assert_eq!(summary(&format!("{{{error}}}")).as_deref(), Some("record: error io\n"));
        assert_eq!(
            summary(r#"{"image":"i","container":{"name":"dev","state":"running"}}"#).as_deref(),
            Some("dev: running\n")
        );
        assert_eq!(summary(&format!("{{{job}}}")).as_deref(), Some("job__pca_1\n  s1.npy\n"));
        assert_eq!(summary(r#"{"image":"i"}"#), None);
    }

    #[test]
    fn a_summary_is_within_80_columns_without_control_characters() {
        let long = "x".repeat(120);
        let line = format!(
            r#"{{"job":{{"id":"{long}"}},"dataname":"/d/a\u001b[2J{long}","container":{{"name":"{long}1","state":"running"}}}}"#
        );
        let summary = summary(&line).unwrap_or_default();
        assert_eq!(summary.lines().count(), 2, "{summary}");
        assert!(summary.lines().all(|line| line.chars().count() <= 80), "{summary}");
        assert!(!summary.contains('\u{1b}'), "{summary}");
    }
}
