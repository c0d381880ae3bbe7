//! Reads a Dockerfile, and takes it apart into its instructions, base images and copied files.

use std::io::Read;
use std::path::{Path, PathBuf};

use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::files;

/// Name of the Dockerfile if the command line names none.
pub(crate) const DOCKERFILE: &str = "Dockerfile";
/// Name of the file that excludes files from a context.
pub(crate) const DOCKERIGNORE: &str = ".dockerignore";
/// The largest Dockerfile that is read, in bytes.
const MAX_SIZE: u64 = 16 << 20;

/// A Dockerfile with its content: a file of the context or elsewhere, a pipe, or stdin.
#[derive(Debug)]
pub(crate) struct Dockerfile {
    pub(crate) content: Vec<u8>,
    /// Its path relative to the context, links resolved; none for one that is not a file of the context.
    pub(crate) path_in_context: Option<String>,
    /// The `.dockerignore` that belongs to this Dockerfile alone, `<name>.dockerignore`.
    pub(crate) own_ignore: Option<PathBuf>,
}

impl Dockerfile {
    /// Reads the Dockerfile at `path`; `-` is stdin. A stream is read once, to its end.
    pub(crate) fn read(path: &Path, context: &Path) -> Result<Self> {
        let mut content = Vec::new();
        let is_stdin = path == Path::new("-");
        let limit = MAX_SIZE + 1;
        let read = if is_stdin {
            std::io::stdin().lock().take(limit).read_to_end(&mut content).doing("read", path)
        } else {
            files::open_named(path).and_then(|file| file.take(limit).read_to_end(&mut content).doing("read", path))
        };
        read.map_err(|failure| {
            if failure.kind == Kind::FileNotFound {
                return failure.hint("name a Dockerfile elsewhere with `-f FILE`");
            }
            failure
        })?;
        files::check_not_utf16(path, &content)?;
        if content.len() as u64 > MAX_SIZE {
            let message = format!("`{}` is larger than {} MiB", path.display(), MAX_SIZE >> 20);
            return Err(Failure::new(Kind::Usage, message));
        }
        if is_stdin {
            return Ok(Dockerfile { content, path_in_context: None, own_ignore: None });
        }
        let path_in_context = path
            .canonicalize()
            .ok()
            .filter(|file| file.is_file())
            .and_then(|file| Some(file.strip_prefix(context.canonicalize().ok()?).ok()?.to_str()?.to_owned()));
        let mut own_ignore = path.as_os_str().to_owned();
        own_ignore.push(DOCKERIGNORE);
        let own_ignore = Some(PathBuf::from(own_ignore)).filter(|file| file.exists());
        Ok(Dockerfile { content, path_in_context, own_ignore })
    }

    pub(crate) fn instructions(&self) -> Vec<Instruction> {
        instructions(&String::from_utf8_lossy(&self.content))
    }
}

/// One instruction, on however many lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// Number of its first line, from 1.
    pub(crate) line: usize,
    /// `FROM`, `RUN`, ..., in capitals.
    pub(crate) word: String,
    /// Its arguments, joined on one line.
    pub(crate) rest: String,
    /// Whether a heredoc (`<<EOF`) belongs to it.
    pub(crate) has_document: bool,
}

pub(crate) fn instructions(text: &str) -> Vec<Instruction> {
    let text = text.trim_start_matches('\u{feff}');
    let escape = if directive(text, "escape").as_deref() == Some("`") { '`' } else { '\\' };
    let mut instructions = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut whole = line.to_owned();
        while let Some(open) = whole.strip_suffix(escape).map(str::to_owned) {
            whole = open;
            let more =
                lines.by_ref().map(|(_, line)| line.trim()).find(|line| !line.is_empty() && !line.starts_with('#'));
            match more {
                Some(more) => whole.push_str(more),
                None => break,
            }
        }
        let (word, rest) = whole.split_once(char::is_whitespace).unwrap_or((&whole, ""));
        let word = word.to_ascii_uppercase();
        let documents = if matches!(word.as_str(), "RUN" | "COPY" | "ADD") { documents(rest) } else { Vec::new() };
        for end in &documents {
            // Its lines are not instructions.
            lines.by_ref().take_while(|(_, line)| line.trim_start_matches('\t') != end).for_each(drop);
        }
        let (rest, has_document) = (rest.trim().to_owned(), !documents.is_empty());
        instructions.push(Instruction { line: at + 1, word, rest, has_document });
    }
    instructions
}

/// The terminators of the heredocs that a line begins: `EOF` of `<<EOF`, `<<-EOF`, `3<<"EOF"`. As in BuildKit
/// (`parser.ParseHeredoc`), only a separate word begins one: `$((a<<b))` is arithmetic, `"<<EOF"` a string, `<<<` a
/// here-string of the shell.
fn documents(rest: &str) -> Vec<String> {
    let begun = |word: String| {
        let after = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
        let end = after.strip_prefix('-').unwrap_or(after).replace(['"', '\''], "");
        (!end.is_empty() && !end.contains('<')).then_some(end)
    };
    words(rest).into_iter().filter_map(begun).collect()
}

fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut escaped = false;
    for c in line.chars() {
        if c.is_whitespace() && quote.is_none() && !escaped {
            words.push(std::mem::take(&mut word));
            continue;
        }
        match quote {
            _ if escaped => {}
            Some(open) if open == c => quote = None,
            None if matches!(c, '"' | '\'') => quote = Some(c),
            _ => {}
        }
        escaped = c == '\\' && !escaped && quote != Some('\'');
        word.push(c);
    }
    words.push(word);
    words
}

/// The value of a parser directive at the beginning of the file, for example `# escape=`.
fn directive(text: &str, name: &str) -> Option<String> {
    let head = text.lines().map_while(|line| line.trim().strip_prefix('#'));
    let mut pairs = head.map_while(|line| line.split_once('='));
    pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

/// The images that the Dockerfile builds on, without its own stages.
pub(crate) fn base_images(instructions: &[Instruction]) -> Vec<String> {
    let mut stages: Vec<String> = Vec::new();
    let mut images = Vec::new();
    for instruction in instructions.iter().filter(|instruction| instruction.word == "FROM") {
        let mut words = instruction.rest.split_whitespace().filter(|word| !word.starts_with("--"));
        let Some(image) = words.next() else { continue };
        if !stages.iter().any(|stage| stage.eq_ignore_ascii_case(image)) && image != "scratch" {
            images.push(image.to_owned());
        }
        if words.next().is_some_and(|word| word.eq_ignore_ascii_case("as")) {
            stages.extend(words.next().map(str::to_owned));
        }
    }
    images
}

/// The sources of a COPY or ADD that are in the context, and apart from them the quoted names with spaces, which the
/// builder splits at the spaces.
pub(crate) fn copy_sources(rest: &str) -> (Vec<String>, Vec<String>) {
    let mut names = rest.trim();
    while names.starts_with("--") {
        let (flag, after) = names.split_once(char::is_whitespace).unwrap_or((names, ""));
        if flag.starts_with("--from") {
            return Default::default();
        }
        names = after.trim_start();
    }
    let local = |mut words: Vec<String>| {
        words.pop();
        words.retain(|word| !word.contains("://") && !word.starts_with("git@"));
        words
    };
    if let Ok(words) = serde_json::from_str(names) {
        return (local(words), Vec::new());
    }
    let words = || names.split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect();
    local(shlex::split(names).unwrap_or_else(words)).into_iter().partition(|word| !word.contains(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_may_have_many_lines() {
        let text = "# syntax=docker/dockerfile:1\n\nfrom a as b\nRUN x \\\n  # a comment\n\n  && y\nCOPY <<EOF /f\nRUN no\nEOF\nCMD z";
        let words: Vec<(usize, String, String)> =
            instructions(text).into_iter().map(|i| (i.line, i.word, i.rest)).collect();
        let expected = [(3, "FROM", "a as b"), (4, "RUN", "x && y"), (8, "COPY", "<<EOF /f"), (11, "CMD", "z")];
        assert_eq!(words, expected.map(|(line, word, rest)| (line, word.to_owned(), rest.to_owned())));
    }

    #[test]
    fn only_a_separate_word_begins_a_heredoc() {
        assert_eq!(documents("cat <<-\"END\" 3<<TWO"), ["END", "TWO"]);
        for none in
            ["x=$((a<<b))", "echo \"see <<EOF there\"", "echo '<<A'", "cat <<<word", "x=$((1 << 3))", "a\\ <<EOF"]
        {
            assert!(documents(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn base_images_are_not_stages() {
        let text = "FROM --platform=linux/amd64 r:5000/a AS one\nFROM one\nFROM scratch\nFROM debian";
        assert_eq!(base_images(&instructions(text)), ["r:5000/a", "debian"]);
    }

    #[test]
    fn copy_sources_are_those_in_the_context() {
        let none = Vec::<String>::new();
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(copy_sources("--chown=1:1 a b /c/"), (of(&["a", "b"]), none.clone()));
        assert_eq!(copy_sources(r#"["with space", "/c"]"#), (of(&["with space"]), none.clone()));
        assert_eq!(copy_sources(r#""a" "with space" /c"#), (of(&["a"]), of(&["with space"])));
        assert_eq!(copy_sources("--from=build /x /y"), (none.clone(), none.clone()));
        assert_eq!(copy_sources("https://host/x /y"), (none.clone(), none));
    }
}
