//! The layers of an image that is pulled or pushed: a bar for each on a terminal, elsewhere a line now and then.

use std::collections::HashMap;
use std::time::Instant;

use crate::engine_stream::Message;
use crate::progress::{Bar, LINE_INTERVAL, Progress};
use ncaas_core::quantity::{format_bytes, format_count};

/// The progress of the layers of one image.
#[derive(Debug)]
pub(crate) struct Layers<'a> {
    progress: &'a Progress,
    /// The transfer, `pulling debian:bookworm`.
    name: String,
    layers: HashMap<String, LayerBar<'a>>,
    written: Instant,
    digest: Option<String>,
    /// The longest delay before a retry that the engine has announced, in seconds.
    delay: u64,
}

#[derive(Debug, Default)]
struct LayerBar<'a> {
    current: u64,
    total: u64,
    bar: Option<Bar<'a>>,
}

impl<'a> Layers<'a> {
    pub(crate) fn new(progress: &'a Progress, name: String) -> Self {
        Layers { progress, name, layers: HashMap::new(), written: Instant::now(), digest: None, delay: 0 }
    }

    /// The image's digest in the registry, once it is known.
    pub(crate) fn digest(&self) -> Option<String> {
        self.digest.clone()
    }

    pub(crate) fn add(&mut self, message: &Message) {
        let pushed = message.aux.as_ref().and_then(|aux| aux.get("Digest")).and_then(|digest| digest.as_str());
        let status = message.status.as_deref().unwrap_or_default();
        if let Some(digest) = pushed.or_else(|| status.strip_prefix("Digest: ")) {
            self.digest = Some(digest.to_owned());
        }
        if let Some(seconds) = retry_delay(status).filter(|seconds| *seconds > self.delay) {
            // Each layer counts down by itself, from a larger number in each round: one line a round is enough.
            self.delay = seconds;
            self.progress.print(&format!("{}: the registry failed; the engine retries in {seconds} s\n", self.name));
        }
        let Some(id) = &message.id else { return };
        match &message.progress {
            Some(progress) if progress.total > 0 => self.advance(id, progress.current, progress.total),
            _ => {
                let restarts = retry_delay(status).is_some();
                if let Some(layer) = self.layers.get_mut(id).filter(|_| restarts || is_done(status)) {
                    layer.current = if restarts { 0 } else { layer.total };
                    layer.bar = None;
                }
            }
        }
        self.write_line();
    }

    fn advance(&mut self, id: &str, current: u64, total: u64) {
        let layer = self.layers.entry(id.to_owned()).or_default();
        // A push may send more than it announces.
        (layer.current, layer.total) = (current.min(total), total);
        if self.progress.is_terminal() {
            layer.bar.get_or_insert_with(|| self.progress.bar(id, total)).set(layer.current);
        }
    }

    fn write_line(&mut self) {
        if self.progress.is_terminal() || self.written.elapsed() < LINE_INTERVAL {
            return;
        }
        self.written = Instant::now();
        let sum = |bytes: fn(&LayerBar<'_>) -> u64| self.layers.values().map(bytes).sum::<u64>();
        let [done, all] = [sum(|layer| layer.current), sum(|layer| layer.total)].map(format_bytes);
        let layers = format_count(self.layers.len(), "layer");
        self.progress.print(&format!("{}: {done} of {all} in {layers}\n", self.name));
    }
}

/// The seconds in `Retrying in 5 seconds`.
fn retry_delay(status: &str) -> Option<u64> {
    status.strip_prefix("Retrying in ")?.split(' ').next()?.parse().ok()
}

fn is_done(status: &str) -> bool {
    status.starts_with("Pull complete")
        || status.starts_with("Pushed")
        || status.contains("lready exists")
        || status.starts_with("Mounted from")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ncaas_core::tool::Tool;

    #[test]
    fn each_longer_delay_is_printed_once_and_the_layer_restarts() {
        let progress = Progress::new(Tool::named("ncaas-build"));
        let mut layers = Layers::new(&progress, "pushing x".to_owned());
        let mut add = |text: &str| {
            layers.add(&serde_json::from_str(text).unwrap());
            (layers.delay, layers.layers["a"].current)
        };
        assert_eq!(add(r#"{"id":"a","status":"Pushing","progressDetail":{"current":5,"total":9}}"#), (0, 5));
        assert_eq!(add(r#"{"id":"a","status":"Retrying in 5 seconds","progressDetail":{}}"#), (5, 0));
        assert_eq!(add(r#"{"id":"a","status":"Retrying in 1 second","progressDetail":{}}"#), (5, 0));
        assert_eq!(add(r#"{"id":"a","status":"Retrying in 10 seconds","progressDetail":{}}"#), (10, 0));
        assert_eq!(add(r#"{"id":"a","status":"Pushed","progressDetail":{}}"#), (10, 9));
    }
}
