//! What this tool knows of an image beyond the fields of every record. Also the JSON Schema that `--schema` prints.

use schemars::JsonSchema;
use serde::Serialize;

use ncaas_core::failure::Result;
use ncaas_core::pipe::Input;
use ncaas_core::record::Record;
use ncaas_core::record::fields::ErrorInfo;
use ncaas_core::tool::Tool;

use crate::progress::in_words;

/// A record about an image, as the verbs write it. One that came from a pipe keeps all that it held before.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub(crate) struct Image {
    /// The image as it is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<String>,
    /// Its id on the engine, `sha256:...`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image_id: Option<String>,
    /// Its digest in the registry, `sha256:...`: known once it was pushed or pulled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<String>,
    /// The analysis in it, by its tag or label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) analysis: Option<String>,
    /// The commit it was made from, `-dirty` where files were changed since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) commit: Option<String>,
    /// Bytes of all its layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u64>,
    /// When it was made, RFC 3339 in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
    /// Seconds since it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) age_s: Option<i64>,
    /// The container that it was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) container_id: Option<String>,
    /// The archive that it was saved into or loaded from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    /// How it was built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) build: Option<BuildStatistics>,
    /// The volumes and mounts of the container whose files are not in the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) left_out: Option<Vec<LeftOut>>,
    /// Things the user should know that are no errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) warnings: Option<Vec<String>>,
}

impl Image {
    /// A record of this image alone.
    pub(crate) fn record(&self) -> Record {
        let mut record = Record::default();
        self.merge_into(&mut record);
        record
    }

    /// Sets what is known here, and nothing else.
    pub(crate) fn merge_into(&self, record: &mut Record) {
        if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(self) {
            for (name, value) in &fields {
                record.set(name, value);
            }
        }
    }
}

/// The records that a verb works on: those of the images that it was given, else those from stdin.
pub(crate) fn images(tool: Tool, images: &[String], usage: &str) -> Result<Input> {
    if images.is_empty() {
        return Input::stdin(tool, usage);
    }
    let record = |image: &String| Image { image: Some(image.clone()), ..Image::default() }.record();
    Ok(Input::records(images.iter().map(record)))
}

/// How an image was built.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct BuildStatistics {
    /// `buildkit` or `classic`.
    pub(crate) builder: String,
    /// Files in the context.
    pub(crate) context_files: u64,
    /// Bytes of those files.
    pub(crate) context_bytes: u64,
    /// Bytes of them that the engine did not have yet.
    pub(crate) sent_bytes: u64,
    /// Seconds from the first byte to the finished image.
    pub(crate) duration_s: f64,
}

/// A volume or mount with files in it, which a commit leaves out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct LeftOut {
    /// Where it is in the container.
    pub(crate) path: String,
    /// Its type, in the engine's words: `bind`, `volume`, `tmpfs`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The volume's name.
    pub(crate) name: Option<String>,
    /// The folder or file on the engine's machine.
    pub(crate) source: Option<String>,
    /// Number of files in it; null where they cannot be counted from here, or not within two seconds.
    pub(crate) files: Option<u64>,
    /// Bytes of those files; null as `files`.
    pub(crate) bytes: Option<u64>,
    /// How its files get into the image all the same.
    pub(crate) hint: String,
}

impl LeftOut {
    /// What to tell a person.
    pub(crate) fn in_words(&self) -> String {
        let what = if self.kind == "volume" { "volume".to_owned() } else { format!("{} mount", self.kind) };
        let count = match (self.files, self.bytes) {
            (Some(1), Some(bytes)) => format!(" (1 file, {})", in_words(bytes)),
            (Some(files), Some(bytes)) => format!(" ({files} files, {})", in_words(bytes)),
            _ => String::new(),
        };
        format!("the files in `{}`{count} are not in the image: it is a {what}; {}", self.path, self.hint)
    }
}

/// The step of a Dockerfile that failed: what `error` holds in addition where its kind is `build-failed`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct FailedStep {
    /// Which of the steps, `3/5`.
    pub(crate) step: Option<String>,
    /// The instruction, `RUN make`.
    pub(crate) command: Option<String>,
    /// Its exit code, of a `RUN`.
    pub(crate) exit_code: Option<i64>,
    /// The last lines it printed, at most 20.
    pub(crate) output: Vec<String>,
}

/// A record that a verb writes: `T`, and how it went.
#[derive(Debug, JsonSchema)]
#[expect(dead_code, reason = "only its schema is of use")]
pub(crate) struct Written<T> {
    #[schemars(flatten)]
    known: T,
    /// The failure that ended the work on it; null while all is well.
    error: Option<Failed>,
}

#[derive(Debug, JsonSchema)]
#[expect(dead_code, reason = "only its schema is of use")]
struct Failed {
    #[schemars(flatten)]
    error: ErrorInfo,
    #[schemars(flatten)]
    step: Option<FailedStep>,
}
