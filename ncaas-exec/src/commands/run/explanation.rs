//! `ncaas-exec run --verbose`: what is started, where its files are, and its limits.

use ncaas_core::duration::format_duration;
use ncaas_core::quantity::format_limit;
use ncaas_core::record::Record;
use ncaas_core::text::{one_line, shell_line};
use ncaas_core::tool::Tool;

use crate::container_spec::ContainerSpec;

/// Prints what a container is started with. `verb` says whether it is started now.
pub(super) fn explain_start(tool: Tool, verb: &str, record: &Record, spec: &ContainerSpec) {
    let name = spec.name.as_deref().unwrap_or("a container");
    let image = record.text("image").unwrap_or(&spec.image);
    tool.note(&format!("{verb} `{name}` from the image `{image}`, id {}", spec.image));
    // The container's name is long, and the lines are many.
    let name = record.dataset_name().map_or_else(|| name.to_owned(), |dataset| one_line(&dataset));
    let words: Vec<String> = spec.entrypoint.iter().chain(&spec.command).flatten().cloned().collect();
    if !words.is_empty() {
        tool.note(&format!("`{name}` runs: {}", shell_line(&words)));
    }
    for shared in &spec.shared {
        let access = if shared.read_only { "read-only" } else { "writable; `ncaas-sync collect` moves its files" };
        let host = shared.host.display();
        tool.note(&format!("`{name}`: `{host}` is mounted at `{}` ({access})", shared.container));
    }
    tool.note(&format!("limits of `{name}`: {}", describe_limits(spec)));
}

fn describe_limits(spec: &ContainerSpec) -> String {
    let settings = &spec.settings;
    let limit = |name: &str, value: Option<String>| format!("{name} {}", value.unwrap_or_else(|| "none".to_owned()));
    let above_zero = |value: Option<u64>| value.filter(|value| *value > 0);
    [
        limit("time", settings.timeout_s.map(|seconds| format_duration(seconds as f64))),
        limit("memory", settings.memory.map(format_limit)),
        limit("CPUs", settings.cpus.map(|cpus| cpus.to_string())),
        limit("processes", above_zero(settings.pids).map(|pids| pids.to_string())),
        limit("log", above_zero(settings.log_size).map(format_limit)),
    ]
    .join(", ")
}
