//! Requests that the engine answers with a stream of messages: build, pull, push, load.
//!
//! Made without the client: that one drops the exit code of a failed step, which layer a push is at and its digest, and
//! speaks BuildKit only with a session of its own, which can bring neither secrets nor a context larger than memory.

use std::collections::VecDeque;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use ncaas_core::engine::{Engine, error_message};
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt};

/// How much of an answer that is no success is read, in bytes.
const REFUSAL_LIMIT: usize = 64 << 10;

/// How much of a file is sent at once, in bytes.
const PIECE: usize = 256 << 10;

/// What is sent along.
pub(crate) type Body = UnsyncBoxBody<Bytes, Failure>;

/// One message.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Message {
    /// Something that the classic builder says, or that a step printed.
    pub(crate) stream: Option<String>,
    /// Which layer `status` is about, or what BuildKit's message is about.
    pub(crate) id: Option<String>,
    /// How a pull or push fares.
    pub(crate) status: Option<String>,
    /// The bytes of that layer.
    #[serde(rename = "progressDetail")]
    pub(crate) progress: Option<LayerProgress>,
    pub(crate) error: Option<String>,
    #[serde(rename = "errorDetail")]
    pub(crate) error_detail: Option<ErrorDetail>,
    /// An image's id, a push's digest, or BuildKit's progress.
    pub(crate) aux: Option<serde_json::Value>,
}

/// How far a layer has come.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LayerProgress {
    pub(crate) current: u64,
    pub(crate) total: u64,
}

/// Why it failed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ErrorDetail {
    /// The exit code of a `RUN`.
    pub(crate) code: Option<i64>,
    pub(crate) message: Option<String>,
}

/// The messages as they come.
#[derive(Debug)]
pub(crate) struct Messages {
    body: Incoming,
    buffer: BytesMut,
    ready: VecDeque<Bytes>,
}

impl Message {
    /// The engine's words for why it failed, where it says so.
    pub(crate) fn failure(&self) -> Option<&str> {
        let detail = self.error_detail.as_ref().and_then(|detail| detail.message.as_deref());
        detail.or(self.error.as_deref())
    }
}

impl Messages {
    /// The next message; none at the end.
    ///
    /// # Errors
    /// Where the connection breaks, or what comes is no message.
    pub(crate) async fn next(&mut self) -> Result<Option<Message>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return serde_json::from_slice(&line).map(Some).map_err(|error| {
                    Failure::new(Kind::EngineError, format!("the engine's answer is not readable: {error}"))
                });
            }
            match self.body.frame().await {
                Some(frame) => {
                    let frame = frame.map_err(|error| broken(&error))?;
                    if let Ok(data) = frame.into_data() {
                        self.take(&data);
                    }
                }
                None if self.buffer.is_empty() => return Ok(None),
                None => self.ready.push_back(self.buffer.split().freeze()),
            }
        }
    }

    fn take(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
        while let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
            self.ready.push_back(self.buffer.split_to(end + 1).freeze());
        }
    }
}

/// Why a request came to nothing.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The engine's answer: an HTTP status, and its words.
    Answer(StatusCode, String),
    /// There was no answer.
    Failure(Failure),
}

impl Refusal {
    /// As a failure that says what was refused.
    pub(crate) fn failure(self, what: &str) -> Failure {
        match self {
            Refusal::Answer(status, message) => {
                let kind = if status.is_client_error() { Kind::BuildFailed } else { Kind::EngineError };
                Failure::new(kind, format!("{what}: {message}"))
            }
            Refusal::Failure(failure) => failure,
        }
    }
}

/// Posts a request that is answered with messages.
pub(crate) async fn post(
    engine: &Engine,
    uri: &str,
    headers: &[(&str, &str)],
    body: Body,
) -> Result<Messages, Refusal> {
    let mut request = Request::builder().method(Method::POST).uri(uri).header("Host", "docker");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body).map_err(|error| Refusal::Failure(broken(&error)))?;
    let response = send(engine, request).await.map_err(Refusal::Failure)?;
    if response.status() == StatusCode::OK {
        return Ok(Messages { body: response.into_body(), buffer: BytesMut::new(), ready: VecDeque::new() });
    }
    Err(refusal(response).await)
}

/// No body.
pub(crate) fn nothing() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// The content of a file or pipe as a body, a piece at a time.
pub(crate) fn body(source: impl AsyncRead + Unpin + Send + 'static, path: &Path) -> Body {
    let frames = stream::unfold((source, path.to_owned()), async |(mut source, path)| {
        let mut piece = Vec::with_capacity(PIECE);
        match (&mut source).take(PIECE as u64).read_to_end(&mut piece).await {
            Ok(0) => None,
            read => Some((read.map(|_| Frame::data(Bytes::from(piece))).doing("read", &path), (source, path))),
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

/// Sends a request over a connection of its own, which ends with the answer.
///
/// # Errors
/// Where there is no connection, it breaks, or the body cannot be had.
pub(crate) async fn send(engine: &Engine, request: Request<Body>) -> Result<Response<Incoming>> {
    let stream = engine.open_raw_connection().await?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .handshake(hyper_util::rt::TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    // Its failures reach whoever waits for the answer.
    tokio::spawn(async move { connection.with_upgrades().await.unwrap_or(()) });
    sender.send_request(request).await.map_err(|error| broken(&error))
}

async fn refusal(response: Response<Incoming>) -> Refusal {
    let status = response.status();
    let body = Limited::new(response.into_body(), REFUSAL_LIMIT).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    Refusal::Answer(status, error_message(&body))
}

/// A connection that ended before the answer did.
pub(crate) fn broken(error: &(dyn std::error::Error + 'static)) -> Failure {
    let mut cause = error;
    loop {
        // What was to be sent could not be had.
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.clone();
        }
        match cause.source() {
            Some(inner) => cause = inner,
            None => break,
        }
    }
    Failure::new(Kind::EngineError, format!("the connection to the engine broke: {cause}"))
}
