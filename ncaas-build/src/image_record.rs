//! The fields of a record about an image, and the JSON Schema that `--schema` prints.

use schemars::JsonSchema;
use serde::Serialize;
use serde_with::skip_serializing_none;

use ncaas_core::failure::Result;
use ncaas_core::pipe::Input;
use ncaas_core::quantity::{format_bytes, format_count};
use ncaas_core::record::Record;
use ncaas_core::record::fields::ErrorInfo;
use ncaas_core::tool::Tool;

/// A record about an image, as the verbs write it. A record from a pipe keeps its other fields.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub(crate) struct Image {
    /// Name of the image.
    pub(crate) image: Option<String>,
    /// Id of the image on the engine, `sha256:...`.
    pub(crate) image_id: Option<String>,
    /// Digest in the registry, `sha256:...`, after a push or pull.
    pub(crate) digest: Option<String>,
    /// Name of the analysis, from the tag.
    pub(crate) analysis: Option<String>,
    /// The git commit that it was built from, with `-dirty` if files differed from it.
    pub(crate) commit: Option<String>,
    /// Size of all layers in bytes; for `save`, size of the file.
    pub(crate) size: Option<u64>,
    /// Time of its creation, RFC 3339 in UTC.
    pub(crate) created: Option<String>,
    /// Seconds since its creation.
    pub(crate) age_s: Option<i64>,
    /// Id of the container that it was committed from.
    pub(crate) container_id: Option<String>,
    /// The file that it was saved to or loaded from.
    pub(crate) file: Option<String>,
    /// Statistics of the build.
    pub(crate) build: Option<BuildStatistics>,
    /// Volumes and mounts of the container whose files are not in the image.
    pub(crate) left_out: Option<Vec<LeftOut>>,
    /// Warnings for the user.
    pub(crate) warnings: Option<Vec<String>>,
}

/// The records that a verb works on: one for each image on the command line, otherwise those from stdin.
pub(crate) fn image_records(tool: Tool, images: &[String], usage: &str) -> Result<Input> {
    if images.is_empty() {
        return Input::stdin(tool, usage);
    }
    let record = |image: &String| Record::new(&Image { image: Some(image.clone()), ..Image::default() });
    Ok(Input::records(images.iter().map(record)))
}

/// Statistics of a build.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct BuildStatistics {
    /// `buildkit` or `classic`.
    pub(crate) builder: String,
    /// Number of files in the context.
    pub(crate) context_files: u64,
    /// Size of those files in bytes.
    pub(crate) context_bytes: u64,
    /// Bytes sent to the engine, which may have some files from an earlier build.
    pub(crate) sent_bytes: u64,
    /// Duration of the build in seconds.
    pub(crate) duration_s: f64,
}

/// A volume or mount whose files a commit does not save.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct LeftOut {
    /// Path in the container.
    pub(crate) path: String,
    /// Type: `bind`, `volume` or `tmpfs`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Name of the volume.
    pub(crate) name: Option<String>,
    /// Folder or file on the machine of the engine.
    pub(crate) source: Option<String>,
    /// Number of files; null if they cannot be counted here within two seconds.
    pub(crate) files: Option<u64>,
    /// Size of the files in bytes; null as `files`.
    pub(crate) bytes: Option<u64>,
    /// How to get its files into the image.
    pub(crate) hint: String,
}

impl LeftOut {
    pub(crate) fn warning(&self) -> String {
        let kind = if self.kind == "volume" { "volume".to_owned() } else { format!("{} mount", self.kind) };
        let count = match (self.files, self.bytes) {
            (Some(files), Some(bytes)) => format!(" ({}, {})", format_count(files, "file"), format_bytes(bytes)),
            _ => String::new(),
        };
        format!("`{}`{count} is a {kind}, so its files are not in the image; {}", self.path, self.hint)
    }
}

/// The step of a Dockerfile that failed: additional fields of `error` if its kind is `build-failed`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct FailedStep {
    /// Number of the step, `3/5`.
    pub(crate) step: Option<String>,
    /// Its instruction, `RUN make`.
    pub(crate) command: Option<String>,
    /// Exit code of a `RUN`.
    pub(crate) exit_code: Option<i64>,
    /// The last lines of its output, at most 20.
    pub(crate) output: Vec<String>,
}

/// A record that a verb writes: `T`, and the error.
#[derive(Debug, JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct WrittenRecord<T> {
    #[schemars(flatten)]
    known: T,
    /// The failure that ended the work on this record; null if there is none.
    error: Option<Failed>,
}

#[derive(Debug, JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Failed {
    #[schemars(flatten)]
    error: ErrorInfo,
    #[schemars(flatten)]
    step: Option<FailedStep>,
}
