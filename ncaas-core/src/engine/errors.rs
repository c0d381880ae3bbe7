//! What the engine answers when it does not do what it was asked, as a [`Failure`].
//!
//! Engines word the same error differently from version to version, so the kind follows from the status code and from
//! what was asked about, never from the words; they are kept, bounded, for the person who reads them. The one
//! exception is a full disk on the engine's side, which has no status of its own.

use std::error::Error as _;
use std::io;

use bollard::errors::Error;

use crate::failure::{Failure, Kind, Result};

/// How much of the engine's own words a failure carries, in characters, and how much of that from their beginning. The
/// cause stands at their end.
const MESSAGE_LIMIT: usize = 1000;
const MESSAGE_BEGINNING: usize = 400;

/// What a request to the engine was about. It decides what a 404 or a 409 means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// The engine itself: ping, info, lists.
    Engine,
    /// An image, by name or id.
    Image(&'a str),
    /// A container, by name or id.
    Container(&'a str),
    /// A container that is to be made: a 404 is about its image, a 409 about its name.
    NewContainer {
        /// Name that the container is to have.
        name: &'a str,
        /// Image that it is to be made from.
        image: &'a str,
    },
}

impl Subject<'_> {
    fn subject(self) -> String {
        match self {
            Subject::Engine => "the engine".to_owned(),
            Subject::Image(name) | Subject::Container(name) | Subject::NewContainer { name, .. } => format!("`{name}`"),
        }
    }
}

/// Adds to the client's result what was being done to what, as [`crate::failure::IoContext`] does for files.
pub trait EngineContext<T> {
    /// `cannot <verb> <subject>: <reason>`, as a [`Failure`].
    fn engine_context(self, verb: &str, about: Subject<'_>) -> Result<T>;
}

impl<T> EngineContext<T> for std::result::Result<T, Error> {
    fn engine_context(self, verb: &str, about: Subject<'_>) -> Result<T> {
        self.map_err(|error| failure(&error, verb, about))
    }
}

/// The failure that an error of the client is, given what was being done to what.
pub fn failure(error: &Error, verb: &str, about: Subject<'_>) -> Failure {
    let cannot = format!("cannot {verb} {}", about.subject());
    match error {
        Error::DockerResponseServerError { status_code, message } => {
            refusal(*status_code, &bounded(message), &cannot, about)
        }
        Error::DockerStreamError { error } => refusal(500, &bounded(error), &cannot, about),
        Error::RequestTimeoutError => {
            Failure::new(Kind::EngineUnreachable, format!("{cannot}: the engine did not answer in time"))
        }
        Error::SocketNotFoundError(path) => {
            Failure::new(Kind::EngineUnreachable, format!("{cannot}: there is no socket `{path}`"))
        }
        other => match cause::<io::Error>(other) {
            Some(cause) => broken_connection(cause, &cannot),
            // A web server, or on the way through ssh a login shell that greets.
            None if cause::<hyper::Error>(other).is_some_and(hyper::Error::is_parse) => Failure::new(
                Kind::EngineUnreachable,
                format!("{cannot}: the server at this address is not a Docker Engine"),
            ),
            None if is_connection(other) => {
                Failure::new(Kind::EngineUnreachable, format!("{cannot}: {}", innermost(other)))
            }
            None => Failure::new(Kind::EngineError, format!("{cannot}: {}", innermost(other))),
        },
    }
}

/// An answer with an HTTP status that is no success.
fn refusal(status: u16, message: &str, cannot: &str, about: Subject<'_>) -> Failure {
    match (status, about) {
        (404, Subject::Image(image)) => image_not_found(image),
        (404, Subject::NewContainer { image, .. }) => image_not_found(image).context(cannot),
        (404, Subject::Container(name)) => container_not_found(name),
        (409, Subject::NewContainer { .. }) => {
            Failure::new(Kind::NameInUse, format!("{cannot}: a container of that name is there already"))
                .hint("choose another name, or remove that container with `ncaas-exec rm`")
        }
        (401 | 403, _) => Failure::new(Kind::AccessDenied, format!("{cannot}: {message}")),
        _ if message.contains("no space left on device") => {
            Failure::new(Kind::DiskFull, format!("{cannot}: the engine's disk is full: {message}"))
                .hint("make room where the engine keeps its data; `docker system df` shows what takes it")
        }
        _ => Failure::new(Kind::EngineError, format!("{cannot}: {message}")),
    }
}

/// The failure of an image that is not on the engine.
pub fn image_not_found(image: &str) -> Failure {
    Failure::new(Kind::ImageNotFound, format!("no image `{image}` on this engine"))
        .hint(format!("`ncaas-build pull {image}`, or build it with `ncaas-build image`"))
}

/// The failure of a container that is not on the engine.
pub fn container_not_found(name: &str) -> Failure {
    Failure::new(Kind::ContainerNotFound, format!("no container `{name}` on this engine"))
}

fn broken_connection(cause: &io::Error, cannot: &str) -> Failure {
    let reason = cause.to_string();
    let reason = reason.split(" (os error ").next().unwrap_or(&reason).trim();
    if cause.kind() == io::ErrorKind::PermissionDenied {
        return Failure::new(Kind::AccessDenied, format!("{cannot}: no permission to use the engine's socket"))
            .hint("`sudo usermod -aG docker $USER` and log in again, or run a rootless engine");
    }
    Failure::new(Kind::EngineUnreachable, format!("{cannot}: {}", bounded(reason)))
}

/// Whether the error is about the connection, not about what came over it.
fn is_connection(error: &Error) -> bool {
    matches!(error, Error::HyperLegacyError { .. } | Error::HyperResponseError { .. } | Error::IOError { .. })
}

/// The first error of this type among those that led to this one.
fn cause<E: std::error::Error + 'static>(error: &Error) -> Option<&E> {
    if let Error::IOError { err } = error {
        return (err as &dyn std::error::Error).downcast_ref();
    }
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(found) = inner.downcast_ref() {
            return Some(found);
        }
        source = inner.source();
    }
    None
}

fn innermost(error: &Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        words = inner.to_string();
        source = inner.source();
    }
    bounded(&words)
}

/// The engine's words on one line, no longer than a person reads.
fn bounded(message: &str) -> String {
    let mut words = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let length = words.chars().count();
    if length > MESSAGE_LIMIT {
        let left_out = length - (MESSAGE_LIMIT - MESSAGE_BEGINNING);
        let end: String = words.chars().skip(left_out).collect();
        words = words.chars().take(MESSAGE_BEGINNING).chain(['…']).collect::<String>() + &end;
    }
    if words.is_empty() {
        words.push_str("the engine gives no reason");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status_code: u16, about: Subject<'_>) -> Failure {
        failure(&Error::DockerResponseServerError { status_code, message: "Some\nwords".to_owned() }, "start", about)
    }

    #[test]
    fn a_404_is_about_what_was_asked_for() {
        assert_eq!(answered(404, Subject::Image("a")).kind, Kind::ImageNotFound);
        assert_eq!(answered(404, Subject::Container("a")).message, "no container `a` on this engine");
        let new = answered(404, Subject::NewContainer { name: "pca", image: "i:1" });
        assert_eq!(new.kind, Kind::ImageNotFound);
        assert_eq!(new.message, "cannot start `pca`: no image `i:1` on this engine");
    }

    #[test]
    fn a_409_is_a_taken_name_only_where_a_name_was_asked_for() {
        assert_eq!(answered(409, Subject::NewContainer { name: "a", image: "i" }).kind, Kind::NameInUse);
        assert_eq!(answered(409, Subject::Container("a")).kind, Kind::EngineError);
    }

    #[test]
    fn the_engines_words_come_on_one_line_and_bounded() {
        assert_eq!(answered(500, Subject::Container("a")).message, "cannot start `a`: Some words");
        let long = Error::DockerStreamError { error: "é".repeat(5000) + ": no such file" };
        let message = failure(&long, "start", Subject::Engine).message;
        assert!(message.chars().count() < MESSAGE_LIMIT + 50 && message.ends_with(": no such file"), "{message}");
    }

    #[test]
    fn a_refused_socket_is_no_unreachable_engine() {
        let denied = Error::from(io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(failure(&denied, "reach", Subject::Engine).kind, Kind::AccessDenied);
        let refused = Error::from(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(failure(&refused, "reach", Subject::Engine).kind, Kind::EngineUnreachable);
    }

    #[test]
    fn the_engines_full_disk_is_a_full_disk() {
        let full = Error::DockerResponseServerError {
            status_code: 500,
            message: "write /var/lib/docker/x: no space left on device".to_owned(),
        };
        assert_eq!(failure(&full, "commit", Subject::Container("a")).kind, Kind::DiskFull);
    }
}
