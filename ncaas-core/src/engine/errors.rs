//! The engine's errors as [`Failure`]s.
//!
//! The kind of a failure follows from the HTTP status and the subject of the request, not from the engine's message:
//! engines change their messages from version to version. Only a full disk, and a name in use on Podman, are recognised
//! by the message, because no status stands for them.

use std::io;

use bollard::errors::Error;

use super::missing_image::image_not_found;
use crate::failure::{Failure, Kind, Result, error_chain, innermost_cause};
use crate::text::bound_message;

/// How much of the engine's message is shown, in characters: it may quote the output of other programs.
const MESSAGE_LIMIT: usize = 1000;

/// The subject of a request to the engine. It decides what a 404 or a 409 means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// The engine itself: ping, info, lists.
    Engine,
    /// An image, by name or id.
    Image(&'a str),
    /// A container, by name or id.
    Container(&'a str),
    /// A container that is to be created: a 404 is about its image, a 409 about its name.
    NewContainer {
        /// The name of the new container.
        name: &'a str,
        /// Its image.
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

/// Turns an error of the client into a failure, as [`crate::failure::IoContext`] does for files.
pub trait EngineContext<T> {
    /// `cannot <verb> <subject>: <reason>`, as a [`Failure`].
    ///
    /// # Errors
    /// The failure.
    fn engine_context(self, verb: &str, about: Subject<'_>) -> Result<T>;
}

impl<T> EngineContext<T> for std::result::Result<T, Error> {
    fn engine_context(self, verb: &str, about: Subject<'_>) -> Result<T> {
        self.map_err(|error| failure(&error, verb, about))
    }
}

/// The failure for an error of the client: `cannot <verb> <subject>: <reason>`.
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
            Failure::new(Kind::EngineUnreachable, format!("{cannot}: the socket `{path}` does not exist"))
        }
        other => match cause::<io::Error>(other) {
            Some(cause) => broken_connection(cause, &cannot),
            // A web server, or a login shell that prints a greeting through ssh.
            None if cause::<hyper::Error>(other).is_some_and(hyper::Error::is_parse) => Failure::new(
                Kind::EngineUnreachable,
                format!("{cannot}: the server at this address is not a Docker Engine"),
            ),
            None if is_connection(other) => {
                Failure::new(Kind::EngineUnreachable, format!("{cannot}: {}", innermost_cause(other)))
            }
            None => Failure::new(Kind::EngineError, format!("{cannot}: {}", innermost_cause(other))),
        },
    }
}

/// The failure for a response with the status of an error.
fn refusal(status: u16, message: &str, cannot: &str, about: Subject<'_>) -> Failure {
    match (status, about) {
        (404, Subject::Image(image)) => image_not_found(image),
        (404, Subject::NewContainer { image, .. }) => image_not_found(image).context(cannot),
        (404, Subject::Container(name)) => container_not_found(name),
        // Podman (4.3) reports a name in use with status 500.
        (status, Subject::NewContainer { name, .. })
            if status == 409 || status == 500 && message.contains("is already in use") =>
        {
            Failure::new(Kind::NameInUse, format!("{cannot}: a container with this name exists"))
                .hint(format!("choose another name, or remove that container with `ncaas-exec rm {name}`"))
        }
        (401 | 403, _) => Failure::new(Kind::AccessDenied, format!("{cannot}: {message}"))
            .hint("an authorization plugin of the engine, or a proxy before it, does not allow this"),
        _ if is_disk_full(message) => {
            Failure::new(Kind::DiskFull, format!("{cannot}: the engine's disk is full: {message}"))
        }
        _ => Failure::new(Kind::EngineError, format!("{cannot}: {message}")),
    }
}

/// Whether a message of the engine means that its disk is full. No status stands for that.
pub fn is_disk_full(message: &str) -> bool {
    message.contains("no space left on device")
}

/// The failure for a container that does not exist on the engine.
pub(crate) fn container_not_found(name: &str) -> Failure {
    Failure::new(Kind::ContainerNotFound, format!("container `{name}` does not exist on this engine"))
}

fn broken_connection(cause: &io::Error, cannot: &str) -> Failure {
    if cause.kind() == io::ErrorKind::PermissionDenied {
        return Failure::new(
            Kind::AccessDenied,
            format!("{cannot}: you have no permission to use the engine's socket"),
        )
        .hint("run `sudo usermod -aG docker $USER` and log in again, or use a rootless engine");
    }
    Failure::new(Kind::EngineUnreachable, format!("{cannot}: {}", innermost_cause(cause)))
}

/// Whether the error is about the connection, not about the response.
fn is_connection(error: &Error) -> bool {
    matches!(error, Error::HyperLegacyError { .. } | Error::HyperResponseError { .. } | Error::IOError { .. })
}

/// The first error of this type among those that led to this one.
fn cause<E: std::error::Error + 'static>(error: &Error) -> Option<&E> {
    if let Error::IOError { err } = error {
        return (err as &dyn std::error::Error).downcast_ref();
    }
    error_chain(error).skip(1).find_map(|error| error.downcast_ref())
}

/// The engine's message on one line.
fn bounded(message: &str) -> String {
    Some(bound_message(message, MESSAGE_LIMIT))
        .filter(|words| !words.is_empty())
        .unwrap_or("the engine did not give a reason".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status_code: u16, about: Subject<'_>) -> Failure {
        failure(&Error::DockerResponseServerError { status_code, message: "Some\nwords".to_owned() }, "start", about)
    }

    #[test]
    fn a_404_is_about_the_subject_of_the_request() {
        assert_eq!(answered(404, Subject::Image("a")).kind, Kind::ImageNotFound);
        assert_eq!(answered(404, Subject::Container("a")).message, "container `a` does not exist on this engine");
        let new = answered(404, Subject::NewContainer { name: "pca", image: "i:1" });
        assert_eq!(new.kind, Kind::ImageNotFound);
        assert_eq!(new.message, "cannot start `pca`: image `i:1` does not exist on this engine");
    }

    #[test]
    fn a_409_is_a_name_in_use_only_for_a_new_container() {
        assert_eq!(answered(409, Subject::NewContainer { name: "a", image: "i" }).kind, Kind::NameInUse);
        assert_eq!(answered(409, Subject::Container("a")).kind, Kind::EngineError);
    }

    #[test]
    fn the_engines_message_is_on_one_line_and_bounded() {
        assert_eq!(answered(500, Subject::Container("a")).message, "cannot start `a`: Some words");
        let long = Error::DockerStreamError { error: "é".repeat(5000) + ": no such file" };
        let message = failure(&long, "start", Subject::Engine).message;
        assert!(message.chars().count() < MESSAGE_LIMIT + 50 && message.ends_with(": no such file"), "{message}");
    }

    #[test]
    fn a_socket_without_permission_is_not_an_unreachable_engine() {
        let denied = Error::from(io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(failure(&denied, "reach", Subject::Engine).kind, Kind::AccessDenied);
        let refused = Error::from(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(failure(&refused, "reach", Subject::Engine).kind, Kind::EngineUnreachable);
        let by_plugin = answered(403, Subject::Engine);
        assert_eq!(by_plugin.kind, Kind::AccessDenied);
        assert!(by_plugin.hint.is_some_and(|hint| hint.contains("authorization plugin")), "not about AWS");
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
