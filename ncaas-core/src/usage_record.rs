//! The usage record of a job, `logs/<group>/i-<id>.json` in its bucket: the platform's tools for users, parallelism and
//! cost read these files.

use jiff::Timestamp;
use serde::Serialize;

use crate::layout::{LOGS, RESULTS};
use crate::record::Record;
use crate::record::fields::{Container, Datasets};

/// The fields that the platform's tools read, in its order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct UsageRecord<'a> {
    instance_id: &'a str,
    instance_type: &'a str,
    #[serde(rename = "spot")]
    is_spot: bool,
    price: f64,
    databucket: &'a str,
    datapath: &'a str,
    jobpath: &'a str,
    start: String,
    end: String,
}

/// The key and content of the usage record of an ended job; none for a job of no bucket, or one that never started.
pub fn usage_record(record: &Record) -> Option<(String, Vec<u8>)> {
    let job = record.job()?;
    let (bucket, group) = (job.bucket?, job.group?);
    let container = record.container().filter(Container::has_ended)?;
    let start: Timestamp = container.started_at.as_deref()?.parse().ok()?;
    let end: Timestamp = container.finished_at.as_deref()?.parse().ok()?;
    // The container's id is unique, so that each attempt has a separate record.
    let id = format!("i-{}", container.id.get(..17).unwrap_or(&container.id));
    let datapath = record.dataname();
    let content = UsageRecord {
        instance_id: &id,
        instance_type: record.text("instance_type").unwrap_or("local"),
        is_spot: false,
        price: 0.0,
        databucket: bucket.trim_end_matches('/').rsplit('/').next().unwrap_or(&bucket),
        datapath: datapath.as_ref().and_then(Datasets::first).unwrap_or_default(),
        jobpath: &format!("{group}/{RESULTS}/{}", job.id),
        start: whole_seconds(start),
        end: whole_seconds(end),
    };
    let is_name = !container.id.is_empty() && container.id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_name.then(|| (format!("{LOGS}/{group}/{id}.json"), serde_json::to_vec(&content).unwrap_or_default()))
}

/// A time as the platform writes it: UTC, whole seconds, with `Z`.
pub(crate) fn whole_seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_job_of_a_bucket_has_a_usage_record() {
        let line = |job: &str, state: &str| {
            format!(
                r#"{{"job":{{"id":"job__pca_1"{job},"dataset":1,"datasets":1}},"dataname":"lab/inputs/a.npy","container":
                {{"id":"0af1bc2d3e4f5061728394","state":"{state}","started_at":"2026-11-22T10:24:55.999Z",
                "finished_at":"2026-11-22T10:25:55.1Z"}}}}"#
            )
        };
        let of_bucket = r#","bucket":"s3://pca","group":"lab""#;
        let record = Record::parse(line(of_bucket, "exited").as_bytes()).unwrap();
        let (key, content) = usage_record(&record).unwrap();
        assert_eq!(key, "logs/lab/i-0af1bc2d3e4f50617.json");
        let expected = concat!(
            r#"{"instance-id":"i-0af1bc2d3e4f50617","instance-type":"local","spot":false,"price":0.0,"databucket":"pca","#,
            r#""datapath":"lab/inputs/a.npy","jobpath":"lab/results/job__pca_1","start":"2026-11-22T10:24:55Z","#,
            r#""end":"2026-11-22T10:25:55Z"}"#
        );
        assert_eq!(String::from_utf8(content).unwrap(), expected);
        for other in [line(of_bucket, "running"), line("", "exited")] {
            assert_eq!(usage_record(&Record::parse(other.as_bytes()).unwrap()), None);
        }
    }
}
