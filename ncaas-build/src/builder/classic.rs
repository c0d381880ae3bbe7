//! The builder that every engine has: it takes the whole context as an archive, and makes a container for each step.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use ncaas_core::engine::Engine;
use ncaas_core::failure::Result;
use tokio::sync::mpsc;

use super::context_archive::{self, Contents};
use super::options::{self, BuildOptions};
use super::outcome::Outcome;
use super::outcome::{BuildFailure, Tail};
use crate::engine_stream::{Body, Message};
use crate::image_record::FailedStep;
use crate::progress::{Progress, Terminal};

/// Builds an image.
pub(crate) async fn build(
    engine: &Engine,
    options: &BuildOptions,
    contents: Contents,
    registries: Option<&str>,
    terminal: &Terminal,
    size: u64,
) -> Result<Outcome, BuildFailure> {
    let sent = Arc::new(AtomicU64::new(0));
    let body = body(context_archive::stream(contents), Arc::clone(&sent));
    let mut progress = terminal.progress("sending the build context", size);
    let query = options.query(&[]);
    let request = options::build(engine, &query, registries, body);
    let mut messages = while_sending(request, &sent, terminal, &mut progress).await?;
    drop(progress);
    let mut said = Said::default();
    while let Some(message) = messages.next().await? {
        said.hear(message, terminal)?;
    }
    match said.image_id {
        Some(image_id) => Ok(Outcome { builder: "classic", image_id, sent: sent.load(Ordering::Relaxed) }),
        None => Err(said.failed(None, "the engine ended the build without an image")),
    }
}

/// Shows how much of the context has gone, until the engine answers.
async fn while_sending<T>(
    request: impl Future<Output = T>,
    sent: &AtomicU64,
    terminal: &Terminal,
    progress: &mut Progress,
) -> T {
    let mut request = std::pin::pin!(request);
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(200));
    let mut before = 0;
    loop {
        tokio::select! {
            biased;
            answered = &mut request => return answered,
            _ = tick.tick() => {
                let now = sent.load(Ordering::Relaxed);
                progress.advance(terminal, now - before);
                before = now;
            }
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

/// What the builder has said so far.
#[derive(Default)]
struct Said {
    step: FailedStep,
    tail: Tail,
    image_id: Option<String>,
}

impl Said {
    fn hear(&mut self, message: Message, terminal: &Terminal) -> Result<(), BuildFailure> {
        if let Some(text) = &message.stream {
            terminal.print(text);
            self.stream(text);
        }
        if let Some(status) = &message.status {
            // How a pull fares comes many times a second, with a bar drawn in text; its states are worth a line.
            if !matches!(status.as_str(), "Downloading" | "Extracting" | "Waiting") {
                let id = message.id.as_deref().map(|id| format!("{id}: ")).unwrap_or_default();
                terminal.print(&format!("{id}{status}\n"));
            }
        }
        if let Some(id) = message.aux.as_ref().and_then(|aux| aux.get("ID")).and_then(|id| id.as_str()) {
            self.image_id = Some(id.to_owned());
        }
        if let Some(reason) = message.failure() {
            terminal.print(&format!("{reason}\n"));
            let code = message.error_detail.as_ref().and_then(|detail| detail.code).filter(|code| *code != 0);
            return Err(self.failed(code, reason));
        }
        Ok(())
    }

    fn stream(&mut self, text: &str) {
        let step = text.strip_prefix("Step ").and_then(|rest| rest.split_once(" : "));
        if let Some((number, command)) = step.filter(|(number, _)| is_count(number)) {
            self.step.step = Some(number.to_owned());
            self.step.command = Some(command.trim().to_owned());
            self.tail = Tail::default();
        } else if !text.starts_with(" ---> ") && text != "\n" && !text.starts_with("Removing intermediate container ") {
            self.tail.push(text);
        }
    }

    fn failed(&mut self, exit_code: Option<i64>, reason: &str) -> BuildFailure {
        let output = std::mem::take(&mut self.tail).into_lines();
        let step = FailedStep { exit_code, output, ..std::mem::take(&mut self.step) };
        BuildFailure::of_step(step, reason)
    }
}

/// `3/5`.
fn is_count(text: &str) -> bool {
    text.split_once('/').is_some_and(|(at, of)| at.parse::<u32>().is_ok() && of.parse::<u32>().is_ok())
}
