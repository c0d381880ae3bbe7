//! The labels by which the author of an image says how its jobs are run.
//!
//! They are read by `run` and written by `image` and `commit`. Other labels belong to the tools, which find their
//! containers by them: with one of them, an image could make any of its containers look like a job.

use std::collections::HashMap;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::failure::{Failure, Kind, Result};
use crate::globs;

/// The labels that the tools set on containers.
const TOOL_KEYS: [&str; 7] = [TOOL, JOB, RECORD, TIMEOUT, GPU, HELPER, PLACEMENT];
/// On every container of the tools: the tool that created it, for example `ncaas-exec`.
pub const TOOL: &str = "org.neurocaas.tool";
/// On a job's container: the job's id. The datasets of one submission share it.
pub const JOB: &str = "org.neurocaas.job";
/// On a job's container: the record that it was started from, one JSON object.
pub const RECORD: &str = "org.neurocaas.record";
/// On a job's container: how long it may run, in whole seconds from its start.
pub const TIMEOUT: &str = "org.neurocaas.timeout";
/// On a job's container: the engine's id of the GPU that the container has to itself.
pub const GPU: &str = "org.neurocaas.gpu";
/// On a job's container: the scheduler's job in which it runs, for example `slurm:720`.
pub const PLACEMENT: &str = "org.neurocaas.placement";
/// On a container that a tool needs only briefly: its purpose.
pub const HELPER: &str = "org.neurocaas.helper";
/// On an image that was committed from a container: the container's id.
pub const COMMITTED: &str = "org.neurocaas.committed";
/// Where the io-dir is mounted, if not in the home directory of the contributor.
pub const IO_DIR: &str = "org.neurocaas.io-dir";
/// The results that every job has to have: globs, one on a line.
pub const EXPECT: &str = "org.neurocaas.expect";
/// The command line of a job, with placeholders: a JSON array of words, or words as a shell takes them apart.
pub const COMMAND: &str = "org.neurocaas.command";
/// Where the parts of the io-dir are mounted: `data=/input,results=/output`.
pub const MOUNTS: &str = "org.neurocaas.mounts";
/// How the command gets its dataset and config: see [`Protocol`].
pub const PROTOCOL: &str = "org.neurocaas.protocol";

/// The folders at the root of a container that the engine mounts for the kernel.
const KERNEL_FOLDERS: [&str; 3] = ["dev", "proc", "sys"];
/// The longest glob of a label, in characters.
const MAX_GLOB: usize = 1000;
/// The labels that the author of an image may set.
const AUTHOR_KEYS: [&str; 5] = [IO_DIR, EXPECT, COMMAND, MOUNTS, PROTOCOL];
/// The placeholders that a command may have in braces.
pub const PLACEHOLDERS: [&str; 10] =
    ["data", "config", "results", "out", "inputs", "logs", "dataset", "job", "cpus", "memory"];

/// How the command of an image gets its dataset and config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// As the last two arguments, and in the variables `data` and `config`.
    #[default]
    Arguments,
    /// In the variables `data` and `config` alone.
    Environment,
    /// By the workflow commands of the platform's client, which read two files in the container.
    Workflow,
}

impl Protocol {
    /// The protocol of that name.
    ///
    /// # Errors
    /// A message with the valid names.
    pub fn parse(name: &str) -> Result<Self, String> {
        ValueEnum::from_str(name, false)
            .map_err(|_| format!("`{name}` is not a valid protocol: use `arguments`, `environment` or `workflow`"))
    }
}

/// Absolute paths in a container; a part without a path is in the io-dir.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MountPaths {
    /// Path of a dataset that is a folder, or of the folder that contains a dataset that is a file.
    pub data: Option<String>,
    /// Path of the folder that contains the config.
    pub config: Option<String>,
    /// Path of the folder for results.
    pub results: Option<String>,
    /// Path of the folder for logs; empty if the container gets none.
    pub logs: Option<String>,
}

/// The labels of an image about its jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageLabels {
    /// Absolute path of the io-dir in the container.
    pub io_dir: Option<String>,
    /// Globs of the results that every job has to have.
    pub expect: Vec<String>,
    /// The words of the command, with placeholders.
    pub command: Option<Vec<String>>,
    /// Where the parts of the io-dir are mounted.
    pub mounts: Option<MountPaths>,
    /// None if the image does not say.
    pub protocol: Option<Protocol>,
}

impl ImageLabels {
    /// Reads and validates the labels of an image.
    ///
    /// # Errors
    /// [`Kind::Usage`] with the key of a label that is invalid, or that is reserved for the tools.
    pub fn parse(labels: &HashMap<String, String>) -> Result<Self> {
        for key in TOOL_KEYS {
            // `commit` can only empty a label that the container has.
            if labels.get(key).is_some_and(|value| !value.is_empty()) {
                return Err(Failure::new(
                    Kind::Usage,
                    format!("the label `{key}` is reserved for the tools: an image must not have it"),
                )
                .hint(format!("an image may have {}", AUTHOR_KEYS.map(|key| format!("`{key}`")).join(", "))));
            }
        }
        Ok(ImageLabels {
            io_dir: parse_label(labels, IO_DIR, parse_path)?,
            expect: parse_label(labels, EXPECT, parse_globs)?.unwrap_or_default(),
            command: parse_label(labels, COMMAND, parse_command)?,
            mounts: parse_label(labels, MOUNTS, parse_mounts)?,
            protocol: parse_label(labels, PROTOCOL, Protocol::parse)?,
        })
    }
}

/// The value of a label; none if it is missing or empty.
fn parse_label<T>(
    labels: &HashMap<String, String>,
    key: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>> {
    let value = labels.get(key).map(|value| value.trim()).filter(|value| !value.is_empty());
    let invalid = |reason| Failure::new(Kind::Usage, format!("the label `{key}` is not valid: {reason}"));
    value.map(parse).transpose().map_err(invalid)
}

fn parse_globs(text: &str) -> Result<Vec<String>, String> {
    let globs = text.lines().map(str::trim).filter(|line| !line.is_empty());
    globs
        .map(|glob| {
            if glob.chars().count() > MAX_GLOB {
                return Err(format!("a glob is longer than {MAX_GLOB} characters"));
            }
            globs::parse_globs([glob]).map(|_| glob.to_owned()).map_err(|failure| failure.message)
        })
        .collect()
}

/// Whether a label is reserved for the tools, and not for the author of an image.
pub fn is_of_the_tools(key: &str) -> bool {
    TOOL_KEYS.contains(&key)
}

/// An absolute path in a container, without `..`, that is not in a folder of the kernel.
///
/// # Errors
/// A message that says what is wrong.
pub fn parse_path(path: &str) -> Result<String, String> {
    let is_plain = !path.chars().any(|c| c.is_control() || matches!(c, ',' | ':'));
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if !path.starts_with('/') || !is_plain || parts.is_empty() || parts.contains(&"..") {
        return Err(format!("`{path}` is not an absolute path below `/`"));
    }
    if KERNEL_FOLDERS.contains(&parts[0]) {
        return Err(format!("`{path}` is in `/{}`, a file system of the kernel", parts[0]));
    }
    Ok(format!("/{}", parts.join("/")))
}

/// The words of a command: a JSON array, or words as a shell splits them. Only known placeholders are allowed in
/// braces.
///
/// # Errors
/// A message that says what is wrong.
pub fn parse_command(text: &str) -> Result<Vec<String>, String> {
    let words: Vec<String> = match serde_json::from_str(text) {
        Ok(words) => words,
        Err(_) => shlex::split(text).ok_or_else(|| format!("`{text}` has a quote that is not closed"))?,
    };
    if words.is_empty() {
        return Err("the command is empty".to_owned());
    }
    for word in &words {
        for name in word.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name) {
            let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase());
            if is_name && !word.contains(&format!("${{{name}}}")) && !PLACEHOLDERS.contains(&name) {
                let known = PLACEHOLDERS.map(|name| format!("{{{name}}}")).join(" ");
                return Err(format!("`{{{name}}}` is not a placeholder: use {known}"));
            }
        }
    }
    Ok(words)
}

/// The paths in `data=/input,results=/output`. `logs=` mounts no folder for logs.
///
/// # Errors
/// A message that says what is wrong.
pub fn parse_mounts(text: &str) -> Result<MountPaths, String> {
    let mut mounts = MountPaths::default();
    for mount in text.split(',').map(str::trim) {
        let (part, path) = mount.split_once('=').ok_or_else(|| format!("`{mount}` is not `PART=PATH`"))?;
        let known = match part {
            "data" => &mut mounts.data,
            "config" => &mut mounts.config,
            "results" => &mut mounts.results,
            "logs" => &mut mounts.logs,
            _ => {
                return Err(format!("`{part}` is not a part of the io-dir: use `data`, `config`, `results` or `logs`"));
            }
        };
        let path = if part == "logs" && path.is_empty() { String::new() } else { parse_path(path)? };
        if known.replace(path).is_some() {
            return Err(format!("the path of `{part}` is set twice"));
        }
    }
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(labels: &[(&str, &str)]) -> Result<ImageLabels> {
        ImageLabels::parse(&labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn an_author_says_how_jobs_are_run() {
        let labels = [
            (COMMAND, "run --in {data} --out '{results}' \"a b\""),
            (MOUNTS, "data=/input, results=/output/"),
            (PROTOCOL, "workflow"),
            (EXPECT, "*.npy\n*.csv"),
            ("org.opencontainers.image.title", "x"),
        ];
        let parsed = parse(&labels).unwrap();
        assert_eq!(parsed.command.unwrap(), ["run", "--in", "{data}", "--out", "{results}", "a b"]);
        let (data, results) = (Some("/input".to_owned()), Some("/output".to_owned()));
        assert_eq!(parsed.mounts, Some(MountPaths { data, results, ..MountPaths::default() }));
        assert_eq!((parsed.protocol, parsed.expect.len()), (Some(Protocol::Workflow), 2));
        assert_eq!(parse(&[(COMMAND, r#"["sh","-c","x ${data} {}"]"#)]).unwrap().command.unwrap().len(), 3);
    }

    #[test]
    fn invalid_labels_and_those_of_the_tools_are_refused() {
        for (key, value) in [
            ("org.neurocaas.record", "{}"),
            ("org.neurocaas.tool", "ncaas-exec"),
            (IO_DIR, "io-dir"),
            (IO_DIR, "/"),
            (IO_DIR, "//./"),
            (IO_DIR, "/proc"),
            (IO_DIR, "/./sys/fs"),
            (IO_DIR, "//dev/"),
            (MOUNTS, "results=/proc/self/cwd"),
            (MOUNTS, "data=/a/../b"),
            (MOUNTS, "all=/x"),
            (MOUNTS, "data"),
            (MOUNTS, "data=/a,data=/b"),
            (COMMAND, "run {dat}"),
            (COMMAND, "run 'x"),
            (COMMAND, "[]"),
            (PROTOCOL, "magic"),
            (EXPECT, "*.npy\n[a"),
            // `collect` could not use these.
            (EXPECT, &format!("{}x{}", "{".repeat(260), "}".repeat(260))),
            (EXPECT, &"x".repeat(1001)),
        ] {
            let failure = parse(&[(key, value)]).unwrap_err();
            assert!(failure.kind == Kind::Usage && failure.message.contains(key), "{key}={value}: {failure}");
        }
        assert_eq!(parse(&[("org.neurocaas.record", "")]).unwrap(), ImageLabels::default(), "an empty label is none");
    }
}
