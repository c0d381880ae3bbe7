//! The files by which the platform's `neurocaas-contrib workflow` commands find the inputs of a job.
//!
//! `~/.neurocaas_contrib_storageloc.json` names a folder, and `registration.json` in it the dataset, the config and the
//! folder for results, of which the commands use the subfolder `process_results`.

use ncaas_core::engine::Engine;
use ncaas_core::failure::{IoContext, Result};
use ncaas_core::layout::WORKFLOW_LOCATION;
use ncaas_core::record::Record;
use serde_json::json;

use crate::container_spec::ContainerSpec;
use crate::container_user::ContainerUser;
use crate::run_settings::AWS_CREDENTIALS;

/// The folder in the container that the commands keep their copies in.
pub(super) const WORKFLOW_FOLDER: &str = "/tmp/neurocaas_contrib";

/// Writes the files into a created container.
pub(super) async fn write_workflow_files(
    engine: &Engine,
    container: &str,
    spec: &ContainerSpec,
    record: &Record,
    user: &ContainerUser,
) -> Result<()> {
    let variable = |variables: &[String], name: &str| {
        let prefix = format!("{name}=");
        variables.iter().rev().find_map(|text| text.strip_prefix(&prefix)).map(str::to_owned)
    };
    let has_credentials = spec.settings.secret_env.iter().flatten().any(|name| name == AWS_CREDENTIALS[0]);
    let bucket =
        record.job().and_then(|job| job.bucket).filter(|bucket| has_credentials && bucket.starts_with("s3://"));
    let dataname = record.dataname().and_then(|names| names.first().map(str::to_owned));
    let source = |name: &str, key: Option<&str>| match (&bucket, key, variable(&spec.environment.public, name)) {
        (Some(_), Some(key), _) if key.starts_with("s3://") => json!({"s3": key}),
        (Some(bucket), Some(key), _) => json!({"s3": format!("{bucket}/{key}")}),
        (_, _, Some(path)) => json!({"localsource": path}),
        // An input that is not registered.
        (_, _, None) => json!({}),
    };
    let registration = json!({
        "data": source("data", dataname.as_deref()),
        "config": source("config", record.text("configname")),
        "additional_files": {},
        "resultpath": {"localsource": WORKFLOW_FOLDER},
    });
    // The container has the image's variables as well.
    let variables = engine.inspect(container).await?.config.and_then(|config| config.env).unwrap_or_default();
    let home = match variable(&variables, "HOME") {
        Some(home) => home,
        None => user.home(engine, container).await,
    };
    let location = json!({"path": WORKFLOW_FOLDER});
    engine
        .upload(container, "/", move |archive| {
            let mut append = |kind: tar::EntryType, path: &str, mode: u32, content: &[u8]| {
                let mut header = tar::Header::new_gnu();
                header.set_entry_type(kind);
                header.set_mode(mode);
                header.set_size(content.len() as u64);
                archive.append_data(&mut header, path.trim_start_matches('/'), content).doing("write", path.as_ref())
            };
            // The commands write their copies there, whichever user they run as.
            for folder in ["", "/inputs", "/configs", "/results", "/logs"] {
                append(tar::EntryType::Directory, &format!("{WORKFLOW_FOLDER}{folder}/"), 0o1777, b"")?;
            }
            let path = format!("{WORKFLOW_FOLDER}/registration.json");
            append(tar::EntryType::Regular, &path, 0o666, registration.to_string().as_bytes())?;
            let path = format!("{}/{WORKFLOW_LOCATION}", home.trim_end_matches('/'));
            append(tar::EntryType::Regular, &path, 0o666, location.to_string().as_bytes())
        })
        .await
}
