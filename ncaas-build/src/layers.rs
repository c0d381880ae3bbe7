//! How an image goes to or comes from a registry: layer by layer, on a terminal a bar each, elsewhere a line now and
//! then.

use std::collections::HashMap;
use std::time::Instant;

use crate::messages::Message;
use crate::terminal::{NOW_AND_THEN, Progress, Terminal, in_words};

/// The layers of one image on their way.
#[derive(Debug)]
pub(crate) struct Layers<'a> {
    terminal: &'a Terminal,
    /// What is being done, `pulling debian:bookworm`.
    what: String,
    layers: HashMap<String, Layer>,
    said: Instant,
    digest: Option<String>,
    /// Whether the engine was last heard to wait for the registry.
    retrying: bool,
}

#[derive(Debug, Default)]
struct Layer {
    current: u64,
    total: u64,
    bar: Option<Progress>,
}

impl<'a> Layers<'a> {
    pub(crate) fn new(terminal: &'a Terminal, what: String) -> Self {
        Layers { terminal, what, layers: HashMap::new(), said: Instant::now(), digest: None, retrying: false }
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
        if status.starts_with("Retrying in ") && !self.retrying {
            self.terminal.print(&format!("{}: the registry does not answer; the engine tries again\n", self.what));
        }
        self.retrying = status.starts_with("Retrying in ");
        let Some(id) = &message.id else { return };
        match &message.progress {
            Some(progress) if progress.total > 0 => self.advance(id, progress.current, progress.total),
            _ if ends(status) => {
                if let Some(layer) = self.layers.get_mut(id) {
                    layer.current = layer.total;
                    layer.bar = None;
                }
            }
            _ => {}
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

/// Whether nothing more is to be heard of a layer.
fn ends(status: &str) -> bool {
    status.starts_with("Pull complete")
        || status.starts_with("Pushed")
        || status.contains("lready exists")
        || status.starts_with("Mounted from")
}
