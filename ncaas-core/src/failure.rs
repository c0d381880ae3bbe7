//! The kinds of failure, with their names in records, exit statuses and hints.
//!
//! A message is in lower case, with its subject in backticks and the cause after a colon. The hint says what to do. The
//! same failure is stored in a record (`error`) and printed on stderr.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text;

/// How much of a server's message is shown, in characters.
pub const MESSAGE_LIMIT: usize = 300;

/// Result with a [`Failure`].
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// The class of a failure, for programs. Records have its name in kebab case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The command line is not valid.
    Usage,
    /// A line on stdin is not a record, or a record lacks a field that the verb needs.
    BadRecord,
    /// The Docker Engine does not answer.
    EngineUnreachable,
    /// The engine answered with another error.
    EngineError,
    /// The image does not exist on the engine.
    ImageNotFound,
    /// The container does not exist on the engine.
    ContainerNotFound,
    /// The container that a record names belongs to another job.
    WrongContainer,
    /// A container, image or file with this name exists.
    NameInUse,
    /// A step of an image's build failed.
    BuildFailed,
    /// A registry refused a request, or does not answer.
    RegistryError,
    /// The script does not exist in the image or container.
    ScriptNotFound,
    /// The script is not executable.
    ScriptNotExecutable,
    /// The script's first line names no interpreter, or one that does not exist.
    BadInterpreter,
    /// The image is for another processor or operating system.
    WrongPlatform,
    /// A GPU is required, and the engine has none that is free.
    GpuUnavailable,
    /// The job ended with an exit code other than 0.
    JobFailed,
    /// A signal ended the job, not for memory.
    Killed,
    /// The job exceeded its time limit.
    Timeout,
    /// The bucket's server does not answer.
    BucketUnreachable,
    /// The bucket does not exist.
    BucketNotFound,
    /// The bucket's server answered with another error.
    BucketError,
    /// The object does not exist.
    ObjectNotFound,
    /// The object is archived and must be restored before it can be read.
    ObjectArchived,
    /// A file or object is larger than its kind allows.
    TooLarge,
    /// A file or folder does not exist.
    FileNotFound,
    /// Credentials or permissions are missing.
    AccessDenied,
    /// The submission breaks a rule of the platform.
    BadSubmission,
    /// The job's config does not parse.
    BadConfig,
    /// A key is not valid: empty, absolute, with `..` in it, or of another group.
    BadKey,
    /// A path leads out of its folder.
    UnsafePath,
    /// Results that were expected of the job are missing.
    ResultsMissing,
    /// A file or object does not match its checksum, or changed while it was read.
    ChecksumMismatch,
    /// The disk is full.
    DiskFull,
    /// Reading or writing a file failed.
    Io,
    /// The submission was cancelled.
    Cancelled,
    /// Another watcher has taken the submission over.
    Superseded,
    /// The submission was lost too often with the machines that ran it.
    Lost,
    /// The scheduler does not answer.
    SchedulerUnreachable,
    /// The scheduler does not accept the job.
    SchedulerRefused,
    /// The scheduler's job has ended or disappeared without a saved record in the bucket.
    PlacementLost,
    /// A signal ended the work.
    Interrupted,
}

impl Kind {
    /// The exit status of a tool that ended with this failure.
    pub fn exit_status(self) -> u8 {
        match self {
            Kind::Usage => 2,
            Kind::EngineUnreachable | Kind::BucketUnreachable | Kind::SchedulerUnreachable => 3,
            Kind::Interrupted => 130,
            _ => 1,
        }
    }

    /// Whether the job may succeed later without a change of the submission or its image. Such a failure does not end a
    /// submission: the job is run again.
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

    /// The hint of this kind, if one is right wherever the failure occurs.
    pub fn remedy(self) -> Option<&'static str> {
        match self {
            Kind::EngineUnreachable => {
                Some("start the Docker Engine there, or choose another one with DOCKER_HOST or `docker context use`")
            }
            Kind::ImageNotFound => Some("pull it with `ncaas-build pull IMAGE`, or build it with `ncaas-build image`"),
            Kind::ContainerNotFound => Some("`ncaas-exec ls --all` lists all containers"),
            Kind::BucketUnreachable => Some("check AWS_ENDPOINT_URL and the network, and that the server runs"),
            Kind::BucketNotFound => Some("check the name; `ncaas-submit init BUCKET --group G` creates a bucket"),
            Kind::ScriptNotExecutable => Some("`chmod +x` the script, and build or commit the image again"),
            Kind::Cancelled => Some("`ncaas-submit retry BUCKET/GROUP JOB` runs the submission again"),
            Kind::DiskFull => Some("free disk space: `docker system df` and `ncaas-exec du` show what uses it"),
            _ => None,
        }
    }

    /// The kind's name in records, for example `image-not-found`.
    pub fn name(self) -> String {
        text::serialized_name(&self)
    }
}

/// The hint of a request to AWS, or to a server like it, that was denied.
pub const CHECK_CREDENTIALS: &str = "check the credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID) or the permissions";

/// A failure: its kind, a message, and a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The class, for programs.
    pub kind: Kind,
    /// The message for people: the subject in backticks, the cause after a colon.
    pub message: String,
    /// The remedy, for people.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with the hint of its kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Failure { kind, message: message.into(), hint: kind.remedy().map(str::to_owned) }
    }

    /// The same failure with another hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure with a message `context: message`.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// A failed operation on a file of this machine. The kind follows from the system's error.
    pub fn io(what: &str, path: &Path, error: &io::Error) -> Self {
        let failure = Failure::new(io_kind(error), format!("cannot {what} `{}`: {}", path.display(), io_reason(error)));
        if failure.kind == Kind::AccessDenied {
            return failure.hint("check the permissions of the file and of the folders above it");
        }
        failure
    }

    /// The failure of a record without a field that is needed.
    pub fn missing_field(field: &str) -> Self {
        Failure::new(Kind::BadRecord, format!("the record has no `{field}`"))
    }

    /// The message and, on a second line, the hint.
    pub fn for_people(&self, tool: &str) -> String {
        format!("{tool}: {}", with_hint(&self.message, self.hint.as_deref()))
    }
}

/// A message and, on a second line, its hint.
pub fn with_hint(message: &str, hint: Option<&str>) -> String {
    hint.map_or_else(|| message.to_owned(), |hint| format!("{message}\nhint: {hint}"))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}

/// Turns the error of an [`io::Result`] into a failure.
pub trait IoContext<T> {
    /// The value, or the failure `cannot <what> <path>: <reason>`.
    ///
    /// # Errors
    /// The failure.
    fn doing(self, what: &str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn doing(self, what: &str, path: &Path) -> Result<T> {
        self.map_err(|error| Failure::io(what, path, &error))
    }
}

/// Turns an expected failure into a value.
pub trait NoneIf<T> {
    /// `None` for a failure of one of these kinds.
    ///
    /// # Errors
    /// Any other failure.
    fn none_if(self, kinds: &[Kind]) -> Result<Option<T>>;
}

impl<T> NoneIf<T> for Result<T> {
    fn none_if(self, kinds: &[Kind]) -> Result<Option<T>> {
        match self {
            Err(failure) if kinds.contains(&failure.kind) => Ok(None),
            result => result.map(Some),
        }
    }
}

/// The kind of failure for an error of the operating system.
pub fn io_kind(error: &io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::DiskFull,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Kind::AccessDenied,
        io::ErrorKind::NotFound => Kind::FileNotFound,
        io::ErrorKind::FileTooLarge => Kind::TooLarge,
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
    let cause = text::bound_message(cause.split(" (os error ").next().unwrap_or_default(), MESSAGE_LIMIT);
    let mut rest = cause.chars();
    match rest.next() {
        Some(first) => first.to_lowercase().chain(rest).collect(),
        None => "unknown cause".to_owned(),
    }
}

/// The system's message for an error, without Rust's `(os error 2)`.
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
        assert_eq!(Kind::JobFailed.name(), "job-failed");
    }

    #[test]
    fn a_full_disk_has_another_kind_than_other_errors() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Failure::io("write", Path::new("/x"), &full).kind, Kind::DiskFull);
        let gone = io::Error::from_raw_os_error(2);
        let failure = Failure::io("read", Path::new("/x"), &gone);
        assert_eq!(failure.message, "cannot read `/x`: no such file or directory");
    }

    #[test]
    fn the_hint_for_a_file_without_permission_is_not_about_credentials() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let failure = Failure::io("read", Path::new("/x"), &denied);
        assert_eq!(failure.kind, Kind::AccessDenied);
        assert!(failure.hint.unwrap_or_default().starts_with("check the permissions of the file"));
    }

    #[test]
    fn the_hint_is_on_the_second_line() {
        let failure = Failure::new(Kind::Io, "cannot read `x`: gone").hint("look elsewhere");
        assert_eq!(failure.for_people("ncaas-exec"), "ncaas-exec: cannot read `x`: gone\nhint: look elsewhere");
    }
}
