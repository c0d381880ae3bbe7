//! A Dockerfile as far as it has to be understood here: its instructions, and what they ask of the builder.

/// One instruction, on however many lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// The line it begins on, from 1.
    pub(crate) line: usize,
    /// `FROM`, `RUN`, ..., in capitals.
    pub(crate) word: String,
    /// What follows, on one line.
    pub(crate) rest: String,
    /// Whether the lines that follow are a document in it (`<<EOF`).
    pub(crate) has_document: bool,
}

/// The instructions of a Dockerfile.
pub(crate) fn instructions(text: &str) -> Vec<Instruction> {
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
            // Their lines are no instructions.
            lines.by_ref().take_while(|(_, line)| line.trim_start_matches('\t') != end).for_each(drop);
        }
        let (rest, has_document) = (rest.trim().to_owned(), !documents.is_empty());
        instructions.push(Instruction { line: at + 1, word, rest, has_document });
    }
    instructions
}

/// The words that end the documents which a line begins: `EOF` of `<<EOF`, `<<-EOF`, `3<<"EOF"`. Only a word of its own
/// begins one, as BuildKit has it (`parser.ParseHeredoc`): `$((a<<b))` is arithmetic, `"<<EOF"` a text, `<<<` for a shell.
fn documents(rest: &str) -> Vec<String> {
    let begun = |word: String| {
        let after = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
        let end = after.strip_prefix('-').unwrap_or(after).replace(['"', '\''], "");
        (!end.is_empty() && !end.contains('<')).then_some(end)
    };
    words(rest).into_iter().filter_map(begun).collect()
}

/// The words of a line, their quotes left where they are.
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

/// A parser directive at the head of the file, `# syntax=...`.
pub(crate) fn directive(text: &str, name: &str) -> Option<String> {
    let head = text.trim_start_matches('\u{feff}').lines().map_while(|line| line.trim().strip_prefix('#'));
    let mut pairs = head.map_while(|line| line.split_once('='));
    pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

/// The images that it builds on, but not its own earlier stages.
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
    fn only_a_word_of_its_own_begins_a_document() {
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
}
