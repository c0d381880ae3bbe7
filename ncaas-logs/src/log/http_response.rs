//! The engine's HTTP response to a request for a log, read as its bytes arrive.
//!
//! The engine sends each line as an HTTP chunk. A client that runs its connection in another task wakes up for one
//! chunk at a time, which costs more than the rest of the work on a line. Here one poll drives the connection and takes
//! all that the socket holds.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::Empty;
use hyper::body::{Body, Incoming};
use hyper::{Request, StatusCode};
use ncaas_core::engine::{Engine, HttpConnection, Subject, error_message, failure};
use ncaas_core::failure::{Failure, Result};

/// After this many bytes, a read gives other work a turn.
const MOST_AT_ONCE: usize = 128 << 10;
/// The maximum length of an error message of the engine that is read.
const LONGEST_MESSAGE: usize = 16 << 10;

/// A response that is being read.
pub(super) struct HttpResponse {
    id: String,
    /// None once the engine has closed it.
    connection: Option<HttpConnection<Empty<Bytes>>>,
    body: Incoming,
}

impl HttpResponse {
    /// Requests the log of a container with these query parameters.
    pub(super) async fn request_log(engine: &Engine, id: &str, query: &str) -> Result<Self> {
        let request =
            Request::get(format!("/containers/{id}/logs?{query}")).header("Host", "docker").body(Empty::new());
        let request = request.map_err(|err| failed(id, &bollard::errors::Error::HttpClientError { err }))?;
        let (mut sender, mut connection) = engine.open_http_connection().await?;
        let response = match select(Box::pin(sender.send_request(request)), &mut connection).await {
            Either::Left((response, _)) => response,
            // The reason reaches the request.
            Either::Right((_, sending)) => sending.await,
        };
        let (head, body) = response.map_err(|error| broken(id, error))?.into_parts();
        let mut response = HttpResponse { id: id.to_owned(), connection: Some(connection), body };
        if head.status == StatusCode::OK { Ok(response) } else { Err(response.read_failure(head.status).await) }
    }

    /// Waits for a part of the body and gives it. Returns false at its end. It may be dropped at any time and called
    /// again.
    pub(super) async fn read(&mut self, mut give: impl FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        let HttpResponse { id, connection, body } = self;
        poll_fn(|context| {
            let mut given = 0;
            while given < MOST_AT_ONCE {
                if connection.as_mut().is_some_and(|connection| Pin::new(connection).poll(context).is_ready()) {
                    *connection = None;
                }
                match Pin::new(&mut *body).poll_frame(context) {
                    Poll::Ready(Some(Ok(frame))) => {
                        let bytes = frame.into_data().unwrap_or_default();
                        given += bytes.len();
                        give(&bytes)?;
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(broken(id, error))),
                    Poll::Ready(None) => return Poll::Ready(Ok(false)),
                    Poll::Pending if given == 0 => return Poll::Pending,
                    Poll::Pending => break,
                }
            }
            Poll::Ready(Ok(true))
        })
        .await
    }

    /// The failure that the engine reports, with its message.
    async fn read_failure(&mut self, status: StatusCode) -> Failure {
        let mut body = Vec::new();
        let mut more = true;
        while more && body.len() < LONGEST_MESSAGE {
            let read = self.read(|bytes| {
                body.extend_from_slice(bytes);
                Ok(())
            });
            more = read.await.unwrap_or(false);
        }
        let (status_code, message) = (status.as_u16(), error_message(&body));
        failed(&self.id, &bollard::errors::Error::DockerResponseServerError { status_code, message })
    }
}

fn broken(id: &str, err: hyper::Error) -> Failure {
    failed(id, &bollard::errors::Error::HyperResponseError { err })
}

fn failed(id: &str, error: &bollard::errors::Error) -> Failure {
    failure(error, "read the log of", Subject::Container(id))
}
