//! Podman's answers about a container between two states.

use std::time::Duration;

use bollard::errors::Error;

/// Between two requests, and how many there are at most.
const PAUSE: Duration = Duration::from_millis(50);
const REQUESTS: u32 = 100;

/// Makes a request about containers, and repeats it while Podman is between two states of one of them.
pub(super) async fn request_settled<T, F>(request: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut answer = request().await;
    for _ in 1..REQUESTS {
        if !is_between_states(&answer) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        answer = request().await;
    }
    answer
}

/// Whether Podman has found the process ended, and has not yet stored its exit. It reports `stopped` then, a state that
/// the Docker Engine does not have and the client cannot parse; or that it cannot read the process's `/proc/N/cgroup`.
fn is_between_states<T>(answer: &Result<T, Error>) -> bool {
    match answer {
        Err(Error::JsonDataError { message, .. }) => message.contains("`stopped`"),
        Err(Error::DockerResponseServerError { status_code: 500, message }) => {
            message.contains("/cgroup: no such process") || message.contains("/cgroup: no such file")
        }
        _ => false,
    }
}
