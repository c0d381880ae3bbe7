//! The script that a node runs for one record.

use ncaas_core::record::Record;

/// The node's part of the pipe, the same for every record. `make install` puts a copy into `libexec/ncaas/job`.
const NODE_SCRIPT: &str = include_str!("../../../serve/job");

/// How the node's part is run.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeOptions {
    /// The image for records that name none.
    pub(crate) image: Option<String>,
    /// The io-dir on the node.
    pub(crate) io_dir: Option<String>,
    /// `docker` or `podman`.
    pub(crate) engine: String,
    /// Runs instead of the pipe, with the record on stdin.
    pub(crate) command: Vec<String>,
}

/// The whole script for a record. The record travels in it.
pub(super) fn node_script(record: &Record, options: &NodeOptions) -> String {
    let mut lines = vec!["#!/usr/bin/env bash".to_owned()];
    let record = String::from_utf8_lossy(&record.to_line()).trim_end().to_owned();
    let mut set = |name: &str, value: &str| lines.push(format!("{name}={}", quoted(value)));
    set("ncaas_record", &record);
    set("ncaas_engine", &options.engine);
    set("ncaas_image", options.image.as_deref().unwrap_or_default());
    set("ncaas_io_dir", options.io_dir.as_deref().unwrap_or("io-dir"));
    let words: Vec<String> = options.command.iter().map(|word| quoted(word)).collect();
    lines.push(format!("ncaas_command=({})", words.join(" ")));
    // Without the first line, which must be the first of a script.
    lines.push(NODE_SCRIPT.split_once('\n').map_or(NODE_SCRIPT, |(_, rest)| rest).to_owned());
    lines.join("\n")
}

/// A word that bash takes as it stands.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn bash_reads_back_the_record_and_the_command_to_the_byte() {
        let hostile = r#"{"dataname":"lab/inputs/it's $(touch x) \"é\" `y` \\ .npy","error":null}"#;
        let record = Record::parse(hostile.as_bytes()).unwrap();
        let options = NodeOptions {
            command: vec!["a b".into(), "c'd".into()],
            engine: "docker".into(),
            ..NodeOptions::default()
        };
        let script = node_script(&record, &options);
        let head: Vec<&str> = script.lines().take(6).collect();
        let print = "printf '%s\\n' \"$ncaas_record\" \"${ncaas_command[@]}\"";
        let output = Command::new("bash").arg("-c").arg(format!("{}\n{print}", head.join("\n"))).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{hostile}\na b\nc'd\n"));
    }
}
