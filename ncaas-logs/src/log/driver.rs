//! The log driver of a container, and its options.

use bollard::models::{ContainerInspectResponse, HostConfigLogConfig};

fn config(inspected: &ContainerInspectResponse) -> Option<&HostConfigLogConfig> {
    inspected.host_config.as_ref()?.log_config.as_ref()
}

pub(super) fn driver(inspected: &ContainerInspectResponse) -> &str {
    config(inspected).and_then(|config| config.typ.as_deref()).unwrap_or_default()
}

/// The value of one of its options.
pub(super) fn option<'i>(inspected: &'i ContainerInspectResponse, name: &str) -> Option<&'i str> {
    config(inspected)?.config.as_ref()?.get(name).map(String::as_str)
}

/// Whether the engine starts a new file when the log has become long.
pub(super) fn rotates(inspected: &ContainerInspectResponse) -> bool {
    option(inspected, "max-size").is_some()
}

/// Whether the engine compresses the files that the log was rotated into.
pub(super) fn compresses(inspected: &ContainerInspectResponse) -> bool {
    option(inspected, "compress") == Some("true")
}
