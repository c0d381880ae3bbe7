//! Every way in which a tool can fail, in one place: its name in a record, its exit status, and its remedy.
//!
//! A failure is worded for the person who reads it: lower case, the subject in backticks, the cause after a colon;
//! what to do about it stands apart, in the hint. The same failure goes into a record (`error`) and onto stderr.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text;

/// Result with a [`Failure`].
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// What went wrong, as programs are to tell it apart. In a record it is written in kebab case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The command line asks for something that cannot be.
    Usage,
    /// A line on stdin that is not a record, or a record without what the verb needs.
    BadRecord,
    /// No Docker Engine answers.
    EngineUnreachable,
    /// The engine answered with an error that has no kind of its own.
    EngineError,
    /// The engine has no such image.
    ImageNotFound,
    /// The engine has no such container.
    ContainerNotFound,
    /// The container that a record names belongs to another job.
    WrongContainer,
    /// A container, image or file of that name is there already.
    NameInUse,
    /// A step of an image's build failed.
    BuildFailed,
    /// A registry refused, or does not answer.
    RegistryError,
    /// The script is not in the image or container.
    ScriptNotFound,
    /// The script is there, but is not executable.
    ScriptNotExecutable,
    /// The script's first line names an interpreter that is not there, or names none.
    BadInterpreter,
    /// The image is for another processor or operating system.
    WrongPlatform,
    /// A GPU was asked for and the engine has none to give.
    GpuUnavailable,
    /// The job ended with an exit code other than 0.
    JobFailed,
    /// The job was ended by a signal, without being out of memory.
    Killed,
    /// The engine ended the job because it was out of memory.
    OutOfMemory,
    /// The job ran longer than it may.
    Timeout,
    /// The bucket's server does not answer.
    BucketUnreachable,
    /// There is no such bucket.
    BucketNotFound,
    /// The bucket's server answered with an error that has no kind of its own.
    BucketError,
    /// Nothing is in the bucket under that key.
    ObjectNotFound,
    /// The object is archived: it has to be restored before it can be read.
    ObjectArchived,
    /// An object is larger than what it is said to be can be.
    TooLarge,
    /// A file or folder that is needed is not there.
    FileNotFound,
    /// Credentials or permissions do not suffice.
    AccessDenied,
    /// The submission breaks a rule of the platform.
    BadSubmission,
    /// The job's config does not parse.
    BadConfig,
    /// A key that cannot be one: empty, absolute, with `..` in it, or of another group.
    BadKey,
    /// A path that leads out of the folder it belongs into.
    UnsafePath,
    /// What was expected of the job is not among its results.
    ResultsMissing,
    /// A file or object is not what its checksum says, or changed while it was read.
    ChecksumMismatch,
    /// The disk is full.
    DiskFull,
    /// Reading or writing a file failed.
    Io,
    /// Somebody has cancelled the submission.
    Cancelled,
    /// Another watcher has taken the submission over: this work no longer counts.
    Superseded,
    /// The submission was lost too often with the machines that ran it.
    Lost,
    /// The scheduler does not answer.
    SchedulerUnreachable,
    /// The scheduler does not accept the job.
    SchedulerRefused,
    /// The scheduler's job has ended or disappeared without a saved record in the bucket.
    PlacementLost,
    /// Ended by a signal before it was done.
    Interrupted,
}

impl Kind {
    /// Exit status of a tool whose whole work ended in this failure.
    pub fn exit_status(self) -> u8 {
        match self {
            Kind::Usage => 2,
            Kind::EngineUnreachable | Kind::BucketUnreachable | Kind::SchedulerUnreachable => 3,
            Kind::Interrupted => 130,
            _ => 1,
        }
    }

    /// Whether the same job may well succeed later without anybody changing the submission or its image. Such a
    /// failure does not end a submission: it is taken up again.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Kind::EngineUnreachable
                | Kind::SchedulerUnreachable
                | Kind::EngineError
                | Kind::BucketUnreachable
                | Kind::BucketNotFound
                | Kind::BucketError
                | Kind::AccessDenied
                | Kind::RegistryError
                | Kind::DiskFull
                | Kind::Io
                | Kind::Interrupted
                | Kind::Superseded
        )
    }

    /// The remedy that is right wherever this failure occurs, for failures that have one.
    fn remedy(self) -> Option<&'static str> {
        match self {
            Kind::EngineUnreachable => {
                Some("start the Docker Engine there, or choose another one with DOCKER_HOST or `docker context use`")
            }
            Kind::ImageNotFound => Some("pull it with `ncaas-build pull IMAGE`, or build it with `ncaas-build image`"),
            Kind::ContainerNotFound => Some("`ncaas-exec ls --all` lists all containers"),
            Kind::BucketUnreachable => Some("check AWS_ENDPOINT_URL and the network; is the server running?"),
            Kind::BucketNotFound => Some("check the name; `ncaas-submit init BUCKET --group G` creates a bucket"),
            Kind::AccessDenied => Some("check the credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID) or the permissions"),
            Kind::ScriptNotExecutable => Some("`chmod +x` the script, and build or commit the image again"),
            Kind::Cancelled => Some("`ncaas-submit retry` runs the submission again"),
            Kind::DiskFull => Some("free disk space, and run the same command again: it resumes"),
            Kind::OutOfMemory => Some("give the job more memory (`--memory`), or make it use less"),
            _ => None,
        }
    }

    /// The kind's name as it stands in records, for example `image-not-found`.
    pub fn name(self) -> String {
        text::word(&self)
    }
}

/// One failure: its kind, what happened in words, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong, for programs.
    pub kind: Kind,
    /// What went wrong, for people: the subject in backticks, the cause after a colon.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure of a kind, with the kind's own remedy as its hint.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Failure { kind, message: message.into(), hint: kind.remedy().map(str::to_owned) }
    }

    /// The same failure with a remedy that fits the case better.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure seen from further out: `context: message`.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// A failed operation on a file of this machine. The kind follows from the operating system's reason.
    pub fn io(what: &str, path: &Path, error: &io::Error) -> Self {
        let failure = Failure::new(io_kind(error), format!("cannot {what} `{}`: {}", path.display(), io_reason(error)));
        if failure.kind == Kind::AccessDenied {
            // The remedy of the kind is about credentials for a bucket.
            return failure.hint("check the permissions of the file and of the folders above it");
        }
        failure
    }

    /// The failure of a record without a field that is needed.
    pub fn missing_field(field: &str) -> Self {
        Failure::new(Kind::BadRecord, format!("the record has no `{field}`"))
    }

    /// The failure as one or two lines for people.
    pub fn for_people(&self, tool: &str) -> String {
        match &self.hint {
            Some(hint) => format!("{tool}: {}\nhint: {hint}", self.message),
            None => format!("{tool}: {}", self.message),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}

/// Adds to an [`io::Result`] what was being done to which file.
pub trait IoContext<T> {
    /// `cannot <what> <path>: <reason>`, as a [`Failure`].
    fn doing(self, what: &str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn doing(self, what: &str, path: &Path) -> Result<T> {
        self.map_err(|error| Failure::io(what, path, &error))
    }
}

/// Which kind of failure an error of the operating system is.
pub fn io_kind(error: &io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::DiskFull,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Kind::AccessDenied,
        io::ErrorKind::NotFound => Kind::FileNotFound,
        _ => Kind::Io,
    }
}

/// An error and the errors that led to it, outermost first.
pub fn error_chain<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The innermost cause of an error, such as `connection refused`, on one line and without Rust's `(os error 111)`.
pub fn innermost_cause(error: &(dyn Error + 'static)) -> String {
    let cause = error_chain(error).last().map(ToString::to_string).unwrap_or_default();
    let cause = text::bound_message(cause.split(" (os error ").next().unwrap_or_default());
    let mut rest = cause.chars();
    match rest.next() {
        Some(first) => first.to_lowercase().chain(rest).collect(),
        None => "unknown cause".to_owned(),
    }
}

/// The system's words for the error, without Rust's `(os error 2)`.
fn io_reason(error: &io::Error) -> String {
    let words = error.to_string();
    match words.find(" (os error ") {
        Some(end) => words[..end].to_lowercase(),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_kebab_case_in_records() {
        assert_eq!(Kind::ImageNotFound.name(), "image-not-found");
        assert_eq!(Kind::OutOfMemory.name(), "out-of-memory");
    }

    #[test]
    fn a_full_disk_is_told_apart_from_other_io() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Failure::io("write", Path::new("/x"), &full).kind, Kind::DiskFull);
        let gone = io::Error::from_raw_os_error(2);
        let failure = Failure::io("read", Path::new("/x"), &gone);
        assert_eq!(failure.message, "cannot read `/x`: no such file or directory");
    }

    #[test]
    fn a_file_without_permission_has_no_hint_at_credentials() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let failure = Failure::io("read", Path::new("/x"), &denied);
        assert_eq!(failure.kind, Kind::AccessDenied);
        assert!(failure.hint.unwrap_or_default().starts_with("check the permissions of the file"));
    }

    #[test]
    fn the_hint_stands_on_a_line_of_its_own() {
        let failure = Failure::new(Kind::Io, "cannot read `x`: gone").hint("look elsewhere");
        assert_eq!(failure.for_people("ncaas-exec"), "ncaas-exec: cannot read `x`: gone\nhint: look elsewhere");
    }
}
