//! The classic builder, which every engine has: it takes the whole context as an archive, and runs a container for each
//! step.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use ncaas_core::engine::Engine;
use ncaas_core::failure::Result;
use tokio::sync::mpsc;

use super::context_archive::{self, Contents};
use super::options::{BuildOptions, request_build};
use super::outcome::{BuildFailure, BuiltImage, Tail};
use crate::engine_stream::{Body, Message};
use crate::image_record::FailedStep;
use crate::progress::{Bar, Progress};

/// How often the bar of the bytes sent is drawn.
const SENT_REFRESH: Duration = Duration::from_millis(200);
/// How often the time of the current step is drawn.
const STEP_REFRESH: Duration = Duration::from_millis(500);

pub(crate) async fn build(
    engine: &Engine,
    options: &BuildOptions,
    contents: Contents,
    registries: Option<&str>,
    progress: &Progress,
    size: u64,
) -> Result<BuiltImage, BuildFailure> {
    let sent = Arc::new(AtomicU64::new(0));
    let body = body(context_archive::stream(contents), Arc::clone(&sent));
    let mut bar = progress.bar("sending the build context", size);
    let query = options.query(&[]);
    let request = request_build(engine, &query, registries, body);
    let mut messages = show_sent(request, &sent, &mut bar).await?;
    drop(bar);
    let mut build = BuildOutput { step: FailedStep::default(), tail: Tail::default(), image_id: None, progress };
    let mut tick = tokio::time::interval(STEP_REFRESH);
    loop {
        tokio::select! {
            biased;
            message = messages.next() => match message? {
                Some(message) => build.add(message)?,
                None => break,
            },
            _ = tick.tick() => progress.refresh(),
        }
    }
    progress.set_step(None);
    match build.image_id {
        Some(image_id) => Ok(BuiltImage { builder: "classic", image_id, sent: sent.load(Ordering::Relaxed) }),
        None => Err(build.failed(None, "the engine ended the build without an image")),
    }
}

/// Shows how much of the context is sent, until the engine answers.
async fn show_sent<T>(request: impl Future<Output = T>, sent: &AtomicU64, bar: &mut Bar<'_>) -> T {
    let mut request = std::pin::pin!(request);
    let mut tick = tokio::time::interval(SENT_REFRESH);
    loop {
        tokio::select! {
            biased;
            answer = &mut request => return answer,
            _ = tick.tick() => bar.set(sent.load(Ordering::Relaxed)),
        }
    }
}

fn body(archive: mpsc::Receiver<Result<bytes::Bytes>>, sent: Arc<AtomicU64>) -> Body {
    let frames = stream::unfold((archive, sent), async |(mut archive, sent)| {
        let piece = archive.recv().await?;
        if let Ok(bytes) = &piece {
            sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Some((piece.map(Frame::data), (archive, sent)))
    });
    StreamBody::new(frames).boxed_unsync()
}

struct BuildOutput<'a> {
    step: FailedStep,
    tail: Tail,
    image_id: Option<String>,
    progress: &'a Progress,
}

impl BuildOutput<'_> {
    fn add(&mut self, message: Message) -> Result<(), BuildFailure> {
        if let Some(text) = &message.stream {
            self.progress.print(text);
            self.add_text(text);
        }
        if let Some(status) = &message.status {
            // The progress of a pull comes many times a second, as a bar drawn in text; only its states are shown.
            if !matches!(status.as_str(), "Downloading" | "Extracting" | "Waiting") {
                let id = message.id.as_deref().map(|id| format!("{id}: ")).unwrap_or_default();
                self.progress.print(&format!("{id}{status}\n"));
            }
        }
        if let Some(id) = message.aux.as_ref().and_then(|aux| aux.get("ID")).and_then(|id| id.as_str()) {
            self.image_id = Some(id.to_owned());
        }
        if let Some(reason) = message.failure() {
            self.progress.print(&format!("{reason}\n"));
            let code = message.error_detail.as_ref().and_then(|detail| detail.code).filter(|code| *code != 0);
            return Err(self.failed(code, reason));
        }
        Ok(())
    }

    fn add_text(&mut self, text: &str) {
        let step = text.strip_prefix("Step ").and_then(|rest| rest.split_once(" : "));
        if let Some((number, command)) = step.filter(|(number, _)| is_step_number(number)) {
            self.progress.set_step(Some(&format!("[{number}] {}", command.trim())));
            self.step.step = Some(number.to_owned());
            self.step.command = Some(command.trim().to_owned());
            self.tail = Tail::default();
        } else if !text.starts_with(" ---> ") && text != "\n" && !text.starts_with("Removing intermediate container ") {
            self.tail.push(text);
        }
    }

    fn failed(&mut self, exit_code: Option<i64>, reason: &str) -> BuildFailure {
        self.progress.set_step(None);
        let output = std::mem::take(&mut self.tail).into_lines();
        let step = FailedStep { exit_code, output, ..std::mem::take(&mut self.step) };
        BuildFailure::of_step(step, reason)
    }
}

fn is_step_number(text: &str) -> bool {
    text.split_once('/').is_some_and(|(at, all)| at.parse::<u32>().is_ok() && all.parse::<u32>().is_ok())
}
