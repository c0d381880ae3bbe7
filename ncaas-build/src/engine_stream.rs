//! Requests that the engine answers with a stream of JSON messages: build, pull, push, load, import.
//!
//! They do not go through bollard, which drops the exit code of a failed step and the digest and layers of a push. Its
//! BuildKit session supports neither secrets nor a context larger than memory.

use std::collections::VecDeque;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use ncaas_core::engine::{Engine, error_message};
use ncaas_core::failure::{Failure, IoContext, Kind, Result, error_chain, innermost_cause};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The largest error response that is read, in bytes.
const REFUSAL_LIMIT: usize = 64 << 10;

/// Size of the pieces in which a file is sent, in bytes.
const PIECE: usize = 256 << 10;

pub(crate) type Body = UnsyncBoxBody<Bytes, Failure>;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Message {
    /// Output of the classic builder or of a step.
    pub(crate) stream: Option<String>,
    /// The layer that `status` is about, or the kind of a BuildKit message.
    pub(crate) id: Option<String>,
    /// State of a layer of a pull or push.
    pub(crate) status: Option<String>,
    /// Transferred bytes of that layer.
    #[serde(rename = "progressDetail")]
    pub(crate) progress: Option<LayerProgress>,
    pub(crate) error: Option<String>,
    #[serde(rename = "errorDetail")]
    pub(crate) error_detail: Option<ErrorDetail>,
    /// The id of an image, the digest of a push, or the progress of BuildKit.
    pub(crate) aux: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LayerProgress {
    pub(crate) current: u64,
    pub(crate) total: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ErrorDetail {
    /// Exit code of a `RUN`.
    pub(crate) code: Option<i64>,
    pub(crate) message: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Messages {
    body: Incoming,
    buffer: BytesMut,
    ready: VecDeque<Bytes>,
}

impl Message {
    /// The reason of a failure, if the message is about one.
    pub(crate) fn failure(&self) -> Option<&str> {
        let detail = self.error_detail.as_ref().and_then(|detail| detail.message.as_deref());
        detail.or(self.error.as_deref())
    }
}

impl Messages {
    /// The next message; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Message>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return serde_json::from_slice(&line).map(Some).map_err(|error| {
                    Failure::new(Kind::EngineError, format!("cannot read the response of the engine: {error}"))
                });
            }
            match self.body.frame().await {
                Some(frame) => {
                    let frame = frame.map_err(|error| connection_failure(&error))?;
                    if let Ok(data) = frame.into_data() {
                        self.split_lines(&data);
                    }
                }
                None if self.buffer.is_empty() => return Ok(None),
                None => self.ready.push_back(self.buffer.split().freeze()),
            }
        }
    }

    fn split_lines(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
        while let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
            self.ready.push_back(self.buffer.split_to(end + 1).freeze());
        }
    }
}

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The engine refused it: HTTP status and message.
    Response(StatusCode, String),
    Failure(Failure),
}

impl Refusal {
    /// As a failure: `explain` makes it from the engine's status and message.
    pub(crate) fn into_failure(self, explain: impl FnOnce(StatusCode, &str) -> Failure) -> Failure {
        match self {
            Refusal::Response(status, message) => explain(status, message.trim()),
            Refusal::Failure(failure) => failure,
        }
    }
}

/// Posts a request whose response is a stream of messages.
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
    let request = request.body(body).map_err(|error| Refusal::Failure(connection_failure(&error)))?;
    let response = send(engine, request).await.map_err(Refusal::Failure)?;
    if response.status() == StatusCode::OK {
        return Ok(Messages { body: response.into_body(), buffer: BytesMut::new(), ready: VecDeque::new() });
    }
    Err(refusal(response).await)
}

pub(crate) fn empty_body() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that streams a file or pipe.
pub(crate) fn stream_body(source: impl AsyncRead + Unpin + Send + 'static, path: &Path) -> Body {
    let frames = stream::unfold((source, path.to_owned()), async |(mut source, path)| {
        let mut piece = Vec::with_capacity(PIECE);
        match (&mut source).take(PIECE as u64).read_to_end(&mut piece).await {
            Ok(0) => None,
            read => Some((read.map(|_| Frame::data(Bytes::from(piece))).doing("read", &path), (source, path))),
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

/// Sends a request over a new connection, which ends with the response.
pub(crate) async fn send(engine: &Engine, request: Request<Body>) -> Result<Response<Incoming>> {
    let (mut sender, connection) = engine.open_http_connection().await?;
    // Failures of the connection reach the request.
    tokio::spawn(async move { connection.with_upgrades().await.unwrap_or(()) });
    sender.send_request(request).await.map_err(|error| connection_failure(&error))
}

async fn refusal(response: Response<Incoming>) -> Refusal {
    let status = response.status();
    let body = Limited::new(response.into_body(), REFUSAL_LIMIT).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    Refusal::Response(status, error_message(&body))
}

/// The failure of a connection that broke, or of the body that was to be sent.
pub(crate) fn connection_failure(error: &(dyn std::error::Error + 'static)) -> Failure {
    // The body could not be read.
    let of_body = error_chain(error).find_map(|cause| cause.downcast_ref::<Failure>());
    let lost = || format!("lost the connection to the engine: {}", innermost_cause(error));
    of_body.cloned().unwrap_or_else(|| Failure::new(Kind::EngineError, lost()))
}
