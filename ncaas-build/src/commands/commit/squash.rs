//! Saves a container as an image of one layer: its file system is exported, and imported with its settings.

use std::collections::BTreeMap;

use bollard::models::{ContainerConfig, ContainerInspectResponse};
use futures_util::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use ncaas_core::engine::{Engine, EngineContext, Subject};
use ncaas_core::failure::Result;
use ncaas_core::image_labels::is_of_the_tools;

use crate::image_import::import_image;

/// Makes the image, and returns its id. `changed` holds the settings that differ from those of the container.
pub(super) async fn squash(
    engine: &Engine,
    inspected: &ContainerInspectResponse,
    changed: &ContainerConfig,
    image: &str,
    message: Option<&str>,
) -> Result<String> {
    let id = inspected.id.clone().unwrap_or_default();
    let changes = changes(&inspected.config.clone().unwrap_or_default(), changed, message);
    let subject = format!("the container `{id}`");
    let pieces = engine.docker().export_container(&id);
    let pieces = pieces.map(move |piece| piece.engine_context("export", Subject::Container(&id)).map(Frame::data));
    import_image(engine, &subject, image, &changes, StreamBody::new(pieces).boxed_unsync()).await?;
    let inspected = engine.inspect_image(image).await?;
    Ok(inspected.id.unwrap_or_default())
}

/// The settings of the new image as instructions of a Dockerfile.
fn changes(container: &ContainerConfig, changed: &ContainerConfig, message: Option<&str>) -> Vec<String> {
    let mut changes = Vec::new();
    let variables = container.env.iter().chain(&changed.env).flatten().filter_map(|variable| variable.split_once('='));
    let variables: BTreeMap<&str, &str> = variables.collect();
    changes.extend(variables.into_iter().map(|(name, value)| format!("ENV {name}={}", quoted(value))));
    let labels = container.labels.iter().chain(&changed.labels).flatten();
    let labels: BTreeMap<&String, &String> = labels.filter(|(key, _)| !is_of_the_tools(key)).collect();
    changes.extend(labels.into_iter().map(|(key, value)| format!("LABEL {}={}", quoted(key), quoted(value))));
    for (word, value) in
        [("USER", &container.user), ("WORKDIR", &container.working_dir), ("STOPSIGNAL", &container.stop_signal)]
    {
        changes.extend(value.iter().filter(|value| !value.is_empty()).map(|value| format!("{word} {value}")));
    }
    changes.extend(container.exposed_ports.iter().flatten().map(|port| format!("EXPOSE {port}")));
    changes.extend(container.volumes.iter().flatten().map(|path| format!("VOLUME {}", json(&[path]))));
    for (word, words) in [("ENTRYPOINT", &changed.entrypoint), ("CMD", &changed.cmd)] {
        changes.extend(words.iter().map(|words| format!("{word} {}", json(words))));
    }
    // The history of an imported image has no comment.
    changes.extend(message.map(|message| format!("LABEL org.opencontainers.image.description={}", quoted(message))));
    changes
}

fn json<T: serde::Serialize + ?Sized>(words: &T) -> String {
    serde_json::to_string(words).unwrap_or_default()
}

/// A value in double quotes, as a Dockerfile reads it.
fn quoted(value: &str) -> String {
    let mut quoted = String::from("\"");
    for character in value.chars() {
        if matches!(character, '"' | '\\' | '$') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_settings_are_kept_as_dockerfile_instructions() {
        let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        let labels = |pairs: &[(&str, &str)]| {
            Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
        };
        let container = ContainerConfig {
            env: words(&["A=1", "B=$x \"y\""]),
            labels: labels(&[("k", "v"), ("org.neurocaas.record", "{}")]),
            user: Some("neurocaasdev".to_owned()),
            working_dir: Some("/w".to_owned()),
            ..ContainerConfig::default()
        };
        let changed =
            ContainerConfig { env: words(&["A=2"]), entrypoint: words(&["/run.sh"]), ..ContainerConfig::default() };
        assert_eq!(
            changes(&container, &changed, None),
            [
                "ENV A=\"2\"",
                "ENV B=\"\\$x \\\"y\\\"\"",
                "LABEL \"k\"=\"v\"",
                "USER neurocaasdev",
                "WORKDIR /w",
                "ENTRYPOINT [\"/run.sh\"]",
            ]
        );
    }
}
