//! How an image goes to or comes from a registry: layer by layer, on a terminal a bar each, elsewhere a line now and
//! then.

use std::collections::HashMap;
use std::time::Instant;

use crate::engine_stream::Message;
use crate::progress::{NOW_AND_THEN, Progress, Terminal, in_words};

/// The layers of one image on their way.
#[derive(Debug)]
pub(crate) struct Layers<'a> {
    terminal: &'a Terminal,
    /// What is being done, `pulling debian:bookworm`.
    what: String,
    layers: HashMap<String, Layer>,
    said: Instant,
    digest: Option<String>,
    /// The longest that the engine was heard to wait before it asks the registry again, in seconds.
    waited: u64,
}

#[derive(Debug, Default)]
struct Layer {
    current: u64,
    total: u64,
    bar: Option<Progress>,
}

impl<'a> Layers<'a> {
    pub(crate) fn new(terminal: &'a Terminal, what: String) -> Self {
        Layers { terminal, what, layers: HashMap::new(), said: Instant::now(), digest: None, waited: 0 }
    }

    /// The image's digest in the registry, once it is known.
    pub(crate) fn digest(&self) -> Option<String> {
        self.digest.clone()
    }

    /// Takes in the next message.
    pub(crate) fn hear(&mut self, message: &Message) {
        let pushed = message.aux.as_ref().and_then(|aux| aux.get("Digest")).and_then(|digest| digest.as_str());
        let status = message.status.as_deref().unwrap_or_default();
        if let Some(digest) = pushed.or_else(|| status.strip_prefix("Digest: ")) {
            self.digest = Some(digest.to_owned());
        }
        if let Some(seconds) = wait(status).filter(|seconds| *seconds > self.waited) {
            // Every layer counts down on its own, from more in each round: one line a round.
            self.waited = seconds;
            let what = &self.what;
            self.terminal.print(&format!("{what}: the registry fails; the engine tries again in {seconds} s\n"));
        }
        let Some(id) = &message.id else { return };
        match &message.progress {
            Some(progress) if progress.total > 0 => self.advance(id, progress.current, progress.total),
            _ => {
                let again = wait(status).is_some();
                if let Some(layer) = self.layers.get_mut(id).filter(|_| again || ends(status)) {
                    layer.current = if again { 0 } else { layer.total };
                    layer.bar = None;
                }
            }
        }
        self.say_now_and_then();
    }

    fn advance(&mut self, id: &str, current: u64, total: u64) {
        let layer = self.layers.entry(id.to_owned()).or_default();
        // A push may send more than it announced.
        (layer.current, layer.total) = (current.min(total), total);
        if self.terminal.is_terminal() {
            let bar = layer.bar.get_or_insert_with(|| self.terminal.progress(id, total));
            bar.set(self.terminal, layer.current, total);
        }
    }

    fn say_now_and_then(&mut self) {
        if self.terminal.is_terminal() || self.said.elapsed() < NOW_AND_THEN {
            return;
        }
        self.said = Instant::now();
        let sum = |of: fn(&Layer) -> u64| self.layers.values().map(of).sum::<u64>();
        let [done, all] = [sum(|layer| layer.current), sum(|layer| layer.total)].map(in_words);
        self.terminal.print(&format!("{}: {done} of {all} in {} layers\n", self.what, self.layers.len()));
    }
}

/// How long the engine waits for the registry: `Retrying in 5 seconds`.
fn wait(status: &str) -> Option<u64> {
    status.strip_prefix("Retrying in ")?.split(' ').next()?.parse().ok()
}

/// Whether nothing more is to be heard of a layer.
fn ends(status: &str) -> bool {
    status.starts_with("Pull complete")
        || status.starts_with("Pushed")
        || status.contains("lready exists")
        || status.starts_with("Mounted from")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "the messages are this test's own")]
mod tests {
    use super::*;

    #[test]
    fn each_longer_wait_is_told_once_and_a_layer_begins_anew() {
        let terminal = Terminal::new();
        let mut layers = Layers::new(&terminal, "pushing x".to_owned());
        let mut hear = |text: &str| {
            layers.hear(&serde_json::from_str(text).unwrap());
            (layers.waited, layers.layers["a"].current)
        };
        assert_eq!(hear(r#"{"id":"a","status":"Pushing","progressDetail":{"current":5,"total":9}}"#), (0, 5));
        assert_eq!(hear(r#"{"id":"a","status":"Retrying in 5 seconds","progressDetail":{}}"#), (5, 0));
        assert_eq!(hear(r#"{"id":"a","status":"Retrying in 1 second","progressDetail":{}}"#), (5, 0));
        assert_eq!(hear(r#"{"id":"a","status":"Retrying in 10 seconds","progressDetail":{}}"#), (10, 0));
        assert_eq!(hear(r#"{"id":"a","status":"Pushed","progressDetail":{}}"#), (10, 9));
    }
}
