//! The files by which the platform's `neurocaas-contrib workflow` commands find the inputs of a job.
//!
//! `~/.neurocaas_contrib_storageloc.json` names a folder, and `registration.json` in it the dataset, the config and the
//! folder for results, of which the commands use the subfolder `process_results`.

use ncaas_core::engine::Engine;
use ncaas_core::failure::{IoContext, Result};
use serde_json::json;

use crate::container_spec::ContainerSpec;
use crate::container_user::ContainerUser;

/// The folder in the container that the commands keep their copies in.
pub(super) const WORKFLOW_FOLDER: &str = "/tmp/neurocaas_contrib";
/// How the commands find it.
const LOCATION_FILE: &str = ".neurocaas_contrib_storageloc.json";

/// Writes the files into a created container.
pub(super) async fn write_workflow_files(
    engine: &Engine,
    container: &str,
    spec: &ContainerSpec,
    user: &ContainerUser,
) -> Result<()> {
    let variable = |variables: &[String], name: &str| {
        let prefix = format!("{name}=");
        variables.iter().rev().find_map(|text| text.strip_prefix(&prefix)).map(str::to_owned)
    };
    let source = |name: &str| json!({"localsource": variable(&spec.environment.public, name)});
    let registration = json!({
        "data": source("data"),
        "config": source("config"),
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
            // The commands write their copies there, whoever they run as.
            for folder in ["", "/inputs", "/configs", "/results", "/logs"] {
                append(tar::EntryType::Directory, &format!("{WORKFLOW_FOLDER}{folder}/"), 0o1777, b"")?;
            }
            let path = format!("{WORKFLOW_FOLDER}/registration.json");
            append(tar::EntryType::Regular, &path, 0o666, registration.to_string().as_bytes())?;
            let path = format!("{}/{LOCATION_FILE}", home.trim_end_matches('/'));
            append(tar::EntryType::Regular, &path, 0o666, location.to_string().as_bytes())
        })
        .await
}
