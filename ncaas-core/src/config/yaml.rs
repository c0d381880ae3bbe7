//! YAML as PyYAML's `safe_load` reads it: YAML 1.1 with its numbers and merge keys, and no tags but the standard ones.
//!
//! The parser reports events. They become nodes of one list, in which an alias is the index of the node that it stands
//! for: memory grows with the text, not with what its aliases unfold to.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::fields::{ConfigFields, Value};
use super::json::replace_surrogates;
use super::yaml_scalar::{ScalarKind, number, scalar_kind};

/// How deep a config may be nested, aliases included. Python's own limit is not much higher.
const MAX_DEPTH: usize = 200;
/// How many nodes a config may unfold to.
const MAX_UNFOLDED: u64 = 10_000_000;

const BYTE_ORDER_MARK: char = '\u{feff}';

/// The standard tags that a scalar, a sequence and a mapping may have.
const SCALAR_TAGS: [&str; 7] = ["null", "bool", "int", "float", "binary", "timestamp", "str"];
const SEQUENCE_TAGS: [&str; 3] = ["seq", "omap", "pairs"];
const MAPPING_TAGS: [&str; 2] = ["map", "set"];

/// The fields of a YAML mapping.
///
/// # Errors
/// The cause, with its line.
pub(super) fn parse(text: &str) -> Result<ConfigFields, String> {
    let is_refused = |character: &char| {
        character.is_control() && !"\t\n\r\u{85}".contains(*character) || "\u{fffe}\u{ffff}".contains(*character)
    };
    if let Some(character) = text.chars().find(is_refused) {
        return Err(format!("it contains the control character U+{:04X}", u32::from(character)));
    }
    if text.starts_with("%YAML ") && !text.starts_with("%YAML 1.") {
        return Err("its YAML version is not 1".to_owned());
    }
    // A string may have them, and nothing here depends on its content.
    let text = replace_surrogates(text, false);
    // For PyYAML, a byte order mark within the text is a letter.
    let text = &text.replace(BYTE_ORDER_MARK, "\u{a0}");
    let has_anchors = text.contains('&');
    let characters: Vec<char> = text.chars().take_while(|_| has_anchors).collect();
    let mut anchors = HashSet::new();
    let mut document = Document::default();
    let mut documents = 0;
    let mut quoted = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            format!("{} at line {}, column {}", error.info(), error.marker().line(), error.marker().col() + 1)
        })?;
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
            if documents > 1 {
                return Err("it has more than one document".to_owned());
            }
        }
        if matches!(event, Event::Scalar(_, style, ..) if style != ScalarStyle::Plain) {
            quoted.push(span.start.index()..span.end.index());
        }
        if let Some(name) = anchor_name(&event, characters.get(span.start.index()..).unwrap_or_default())
            && let Some(name) = anchors.replace(name)
        {
            return Err(format!("it has the anchor `&{name}` twice, again at line {}", span.start.line()));
        }
        document.add(event).map_err(|cause| format!("{cause} at line {}", span.start.line()))?;
    }
    refuse_tabs(text, &quoted)?;
    document.fields()
}

/// The name of an event's anchor. `text` begins with the event.
fn anchor_name(event: &Event<'_>, text: &[char]) -> Option<String> {
    match event {
        Event::Scalar(_, _, 1.., _) | Event::SequenceStart(1.., _) | Event::MappingStart(1.., _) => {
            let from = text.iter().position(|character| *character == '&')? + 1;
            let is_end = |character: &char| character.is_whitespace() || ",[]{}".contains(*character);
            Some(text.get(from..)?.iter().take_while(|character| !is_end(character)).collect())
        }
        _ => None,
    }
}

/// Refuses a tab that is neither in a comment nor in a quoted scalar, one of `quoted` (in characters): for PyYAML, a
/// tab does not separate anything.
fn refuse_tabs(text: &str, quoted: &[Range<usize>]) -> Result<(), String> {
    let (mut line, mut is_comment, mut before) = (1, false, '\n');
    for (at, character) in text.chars().enumerate() {
        if character == '\n' {
            (line, is_comment) = (line + 1, false);
        } else if matches!(character, '\t' | '#') && !is_comment {
            let following = quoted.partition_point(|range| range.end <= at);
            let is_quoted = quoted.get(following).is_some_and(|range| range.contains(&at));
            if character == '\t' && !is_quoted {
                return Err(format!("it has a tab outside quotes at line {line}: use spaces"));
            }
            is_comment = character == '#' && !is_quoted && before.is_whitespace();
        }
        before = character;
    }
    Ok(())
}

/// A node, by its index in [`Document::nodes`].
type Id = usize;

#[derive(Debug)]
enum NodeContent {
    Scalar { text: String, kind: ScalarKind },
    Sequence(Vec<Id>),
    Mapping(Vec<(Id, Id)>),
}

#[derive(Debug)]
struct Node {
    content: NodeContent,
    /// How many nodes it unfolds to, and how deep they are nested.
    unfolded: u64,
    depth: usize,
}

/// A sequence or mapping whose end has not come.
#[derive(Debug)]
struct OpenCollection {
    is_mapping: bool,
    anchor: usize,
    children: Vec<Id>,
}

#[derive(Debug, Default)]
struct Document {
    nodes: Vec<Node>,
    open: Vec<OpenCollection>,
    anchors: HashMap<usize, Id>,
    duplicates: Vec<String>,
    root: Option<Id>,
}

impl Document {
    fn add(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                check_tag(tag.as_deref(), &SCALAR_TAGS)?;
                let tag = tag.as_deref().and_then(standard_tag);
                let kind = scalar_kind(&text, style == ScalarStyle::Plain, tag.as_deref())?;
                self.finish(NodeContent::Scalar { text: text.into_owned(), kind }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                check_tag(tag.as_deref(), &SEQUENCE_TAGS)?;
                self.begin(false, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(tag.as_deref(), &MAPPING_TAGS)?;
                if self.open.is_empty() && tag.as_deref().and_then(standard_tag).is_some_and(|name| name == "set") {
                    return Err("it is a set, and a config must be a mapping of names to values".to_owned());
                }
                self.begin(true, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(OpenCollection { is_mapping, anchor, children }) = self.open.pop() else { return Ok(()) };
                let content = if is_mapping {
                    self.complete_mapping(&children)?
                } else {
                    children.iter().try_for_each(|item| self.check_value(*item))?;
                    NodeContent::Sequence(children)
                };
                self.finish(content, anchor)
            }
            Event::Alias(anchor) => {
                match self.anchors.get(&anchor) {
                    Some(id) => self.attach(*id),
                    // It stands for a value that contains it, and ends the text there.
                    None => self.finish(NodeContent::Mapping(Vec::new()), 0)?,
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, is_mapping: bool, anchor: usize) -> Result<(), String> {
        if self.open.len() >= MAX_DEPTH {
            return Err("it is nested too deeply".to_owned());
        }
        self.open.push(OpenCollection { is_mapping, anchor, children: Vec::new() });
        Ok(())
    }

    /// Adds a node that is complete.
    fn finish(&mut self, content: NodeContent, anchor: usize) -> Result<(), String> {
        let children: Vec<Id> = match &content {
            NodeContent::Scalar { .. } => Vec::new(),
            NodeContent::Sequence(items) => items.clone(),
            NodeContent::Mapping(entries) => entries.iter().flat_map(|(key, value)| [*key, *value]).collect(),
        };
        let children = children.iter().filter_map(|id| self.nodes.get(*id));
        let (mut unfolded, mut depth) = (1_u64, 0);
        for child in children {
            unfolded = unfolded.saturating_add(child.unfolded);
            depth = depth.max(child.depth + 1);
        }
        if unfolded > MAX_UNFOLDED || depth > MAX_DEPTH {
            return Err("its aliases unfold to too many or too deeply nested values".to_owned());
        }
        let id = self.nodes.len();
        self.nodes.push(Node { content, unfolded, depth });
        // 0 stands for no anchor.
        if anchor != 0 {
            self.anchors.insert(anchor, id);
        }
        self.attach(id);
        Ok(())
    }

    /// Makes a node the child of the one that is open.
    fn attach(&mut self, id: Id) {
        match self.open.last_mut() {
            Some(open) => open.children.push(id),
            None => self.root = Some(id),
        }
    }

    /// Refuses a value that can only be a key.
    fn check_value(&self, id: Id) -> Result<(), String> {
        match &self.nodes[id].content {
            NodeContent::Scalar { text, kind: ScalarKind::Merge | ScalarKind::Default } => {
                Err(format!("`{text}` cannot be used as a value: write it in quotes"))
            }
            _ => Ok(()),
        }
    }

    /// A mapping of keys and values in turn.
    fn complete_mapping(&mut self, children: &[Id]) -> Result<NodeContent, String> {
        let entries: Vec<(Id, Id)> = children.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        let mut seen = HashSet::new();
        let mut duplicates = Vec::new();
        for (key, value) in &entries {
            let NodeContent::Scalar { text, kind } = &self.nodes[*key].content else {
                return Err("a key is a sequence or mapping".to_owned());
            };
            self.check_value(*value)?;
            if *kind == ScalarKind::Merge {
                self.merged_mappings(*value)?;
            } else if !seen.insert((text, *kind)) {
                duplicates.push(text.clone());
            }
        }
        self.duplicates.extend(duplicates);
        Ok(NodeContent::Mapping(entries))
    }

    /// The mappings that a merge key adds, the one that counts most last.
    fn merged_mappings(&self, value: Id) -> Result<Vec<&[(Id, Id)]>, String> {
        let mapping = |id: Id| match &self.nodes[id].content {
            NodeContent::Mapping(entries) => Ok(entries.as_slice()),
            _ => Err("the value of `<<` is neither a mapping nor a list of mappings".to_owned()),
        };
        match &self.nodes[value].content {
            NodeContent::Sequence(items) => items.iter().rev().map(|item| mapping(*item)).collect(),
            _ => Ok(vec![mapping(value)?]),
        }
    }

    fn fields(self) -> Result<ConfigFields, String> {
        let root = self.root.map(|id| &self.nodes[id].content);
        let Some(NodeContent::Mapping(entries)) = root else {
            let words = match root {
                None => "is empty",
                Some(NodeContent::Scalar { kind: ScalarKind::Null, .. }) => "is empty",
                Some(NodeContent::Scalar { .. }) => "is a single value",
                Some(_) => "is a list",
            };
            return Err(format!("it {words}, and a config must be a mapping of names to values"));
        };
        let mut fields = Vec::new();
        self.flatten(entries, &mut fields)?;
        Ok(ConfigFields { fields, duplicates: self.duplicates })
    }

    /// Adds a mapping's fields: those of its merge keys first, which its own override.
    fn flatten(&self, entries: &[(Id, Id)], fields: &mut Vec<(String, Value)>) -> Result<(), String> {
        let kind_of = |id: Id| match &self.nodes[id].content {
            NodeContent::Scalar { text, kind } => Some((text, *kind)),
            _ => None,
        };
        for (key, value) in entries {
            if let Some((_, ScalarKind::Merge)) = kind_of(*key) {
                for merged in self.merged_mappings(*value)? {
                    self.flatten(merged, fields)?;
                }
            }
        }
        for (key, value) in entries {
            if let Some((text, ScalarKind::Text)) = kind_of(*key) {
                fields.push((text.clone(), self.simplify(*value)));
            }
        }
        Ok(())
    }

    fn simplify(&self, id: Id) -> Value {
        match &self.nodes[id].content {
            NodeContent::Scalar { kind: ScalarKind::Null, .. } => Value::Null,
            NodeContent::Scalar { kind: ScalarKind::Number, text } => {
                number(text).or_else(|| text.parse().ok()).map_or_else(|| Value::Other(text.clone()), Value::Number)
            }
            NodeContent::Scalar { kind: ScalarKind::Text, text } => Value::Other(format!("the string `{text}`")),
            NodeContent::Scalar { text, .. } => Value::Other(text.clone()),
            NodeContent::Sequence(_) => Value::Other("a list".to_owned()),
            NodeContent::Mapping(_) => Value::Other("a mapping".to_owned()),
        }
    }
}

/// Whether a node may have its tag: none, or a standard one of its kind.
fn check_tag(tag: Option<&Tag>, standard: &[&str]) -> Result<(), String> {
    let Some(tag) = tag else { return Ok(()) };
    let is_plain = tag.handle.is_empty() && tag.suffix == "!" || tag.handle == "!" && tag.suffix.is_empty();
    if is_plain || standard_tag(tag).is_some_and(|name| standard.contains(&name.as_ref())) {
        return Ok(());
    }
    let name = standard_tag(tag).map_or_else(|| format!("{}{}", tag.handle, tag.suffix), |name| format!("!!{name}"));
    Err(format!("the tag `{name}` is not supported"))
}

/// The name of a standard tag: `int` for `!!int`.
fn standard_tag(tag: &Tag) -> Option<Cow<'_, str>> {
    if tag.is_yaml_core_schema() {
        return Some(Cow::Borrowed(&tag.suffix));
    }
    format!("{}{}", tag.handle, tag.suffix).strip_prefix("tag:yaml.org,2002:").map(|name| Cow::Owned(name.to_owned()))
}
