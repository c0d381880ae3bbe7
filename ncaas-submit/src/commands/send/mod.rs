//! `ncaas-submit send`: upload local datasets and config, then write the submit file. It comes last, so that a watcher
//! that sees it finds the rest.

mod duplicate;
mod upload;

use ncaas_core::bucket::{Bucket, Buckets, Key};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::group::open_group;
use ncaas_core::layout::{self, CONFIGS, INPUTS, SUBMISSIONS, SUBMIT_SUFFIX};
use ncaas_core::pipe::{Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::record::fields::RecordFields;
use ncaas_core::table::shows_table;
use ncaas_core::text::shell_line;
use ncaas_core::time::current_timestamp;
use ncaas_core::tool::{ExitStatus, Tool};
use serde_json::{Map, Value, json};

use crate::args::SendArgs;
use crate::bucket_job::submitted_job;
use crate::setup_log::SetupLog;
use crate::submission::{AllowedKeys, Submission};
use crate::validation;
use crate::waited_submissions::WaitedSubmissions;
use duplicate::find_unfinished;
use upload::{InputSource, Uploader};

pub(crate) async fn send(tool: Tool, args: SendArgs) -> Result<ExitStatus> {
    check_fields(&args.set)?;
    let (bucket, group) = open_group(&args.target, false).await?;
    let waits = WaitedSubmissions::default();
    let status = Pipe { notes_only: args.wait, ..Pipe::for_records(tool, &args.records) }
        .source(async |output: &Output| {
            let record = submit(tool, &args, &bucket, &group).await?;
            if !args.wait {
                output.emit(&record).await;
                if shows_table(args.records.json) {
                    let id = record.job().unwrap_or_default().id;
                    let wait = shell_line(["ncaas-submit", "wait", &args.target, &id]);
                    tool.note(&format!("`{wait}` waits until its jobs have ended"));
                }
                return Ok(());
            }
            for record in waits.wait_for_end(tool, &record, &Buckets::default()).await? {
                output.emit(&record).await;
            }
            Ok(())
        })
        .await?;
    waits.note_interruption(tool, status);
    Ok(status)
}

/// Uploads local files, validates the submission, and writes the submit file.
async fn submit(tool: Tool, args: &SendArgs, bucket: &Bucket, group: &str) -> Result<Record> {
    let timestamp = args.timestamp.clone().unwrap_or_else(current_timestamp);
    let id = layout::job_id(bucket.name(), &timestamp).map_err(|failure| Failure { kind: Kind::Usage, ..failure })?;
    let uploader = Uploader::new(tool, bucket, group, args.force);
    let datasets: Vec<InputSource> =
        args.data.iter().map(|name| uploader.find_source(name, INPUTS)).collect::<Result<_>>()?;
    let config = uploader.find_source(&args.config, CONFIGS)?;
    upload::check_distinct(datasets.iter().chain([&config]))?;

    let fields = submit_fields(args, &timestamp, &datasets, &config);
    // Whether `s3://` paths may name another bucket is decided by the watcher.
    let others: Vec<String> = other_buckets(&fields);
    let reach = AllowedKeys::new(bucket.address(), group, &others);
    let mut submission = Submission::from_fields(fields.clone(), &reach);
    submission.refusal().map_or(Ok(()), Err)?;
    let key = submit_key(group, &timestamp)?;
    // `--force` overwrites datasets: not those of the submission that exists.
    if args.timestamp.is_some() && bucket.head(&key).await?.is_some() {
        return Err(submission_exists(&key));
    }
    for source in datasets.iter().chain([&config]) {
        uploader.upload(source).await?;
    }
    let mut log = SetupLog::default();
    validation::validate(&mut submission, bucket, &mut log).await?;
    submission.refusal().map_or(Ok(()), Err)?;

    let mut content = serde_json::to_vec_pretty(&fields).unwrap_or_default();
    content.push(b'\n');
    let earlier = find_unfinished(bucket, group, &submission, (&key, content.len())).await?;
    if bucket.put_new(&key, content).await?.is_none() {
        return Err(submission_exists(&key));
    }
    if let Some(earlier) = earlier {
        let cancel = shell_line(["ncaas-submit", "cancel", &args.target, &id]);
        tool.note(&format!(
            "`{earlier}` has the same datasets and config and has not ended: both will run; `{cancel}` cancels this one"
        ));
    }
    Ok(submission.whole_record(&submitted_job(bucket, &key, id, Some(timestamp))))
}

fn submission_exists(key: &Key) -> Failure {
    Failure::new(Kind::NameInUse, format!("the submission `{key}` already exists"))
        .hint("use another `--timestamp`, or none for the current time")
}

fn submit_fields(
    args: &SendArgs,
    timestamp: &str,
    datasets: &[InputSource],
    config: &InputSource,
) -> Map<String, Value> {
    let mut fields = Map::new();
    let names: Vec<&str> = datasets.iter().map(InputSource::name).collect();
    let dataname = match names.as_slice() {
        [name] => json!(name),
        names => json!(names),
    };
    fields.insert("dataname".to_owned(), dataname);
    fields.insert("configname".to_owned(), json!(config.name()));
    fields.insert("timestamp".to_owned(), json!(timestamp));
    if let Some(path) = &args.result_path {
        fields.insert("resultpath".to_owned(), json!(path));
    }
    fields.extend(args.set.iter().cloned());
    fields
}

/// Refuses a field that is reserved for the tools, or that another flag sets.
fn check_fields(fields: &[(String, Value)]) -> Result<()> {
    for (name, _) in fields {
        if name == "timestamp" || RecordFields::has_field(name) {
            return Err(Failure::new(Kind::Usage, format!("`--set {name}=...`: this field is reserved"))
                .hint("`--data`, `--config`, `--timestamp` and `--result-path` set the platform's own fields"));
        }
    }
    Ok(())
}

fn other_buckets(fields: &Map<String, Value>) -> Vec<String> {
    let texts = fields.values().flat_map(|value| match value {
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
        value => value.as_str().into_iter().collect::<Vec<_>>(),
    });
    texts
        .filter_map(|text| text.strip_prefix("s3://"))
        .map(|path| path.split('/').next().unwrap_or_default().to_owned())
        .collect()
}

/// The key of the submit file. It begins with the timestamp, so that new submissions are listed after old ones.
fn submit_key(group: &str, timestamp: &str) -> Result<Key> {
    Key::new(format!("{group}/{SUBMISSIONS}/{timestamp}_{SUBMIT_SUFFIX}"))
}
