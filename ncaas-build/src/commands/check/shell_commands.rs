//! The commands of a shell script, without those in quotes, comments and heredocs (`<<EOF`).

use shlex::Shlex;

/// A quote that is open for more lines is not a quote, but for example an apostrophe in a pattern.
const LINES: usize = 200;
/// Keywords that a command may follow.
const BEFORE: [&str; 10] = ["if", "then", "elif", "else", "while", "until", "do", "!", "{", "time"];

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// Number of its first line, from 1.
    pub(super) line: usize,
    /// Its words without their quotes.
    pub(super) words: Vec<String>,
}

impl Command {
    /// The program and its arguments, without variable assignments.
    pub(super) fn program(&self) -> &[String] {
        let is_assignment = |word: &String| {
            word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        };
        let at = self.words.iter().position(|word| !is_assignment(word));
        at.map_or(&[], |at| &self.words[at..])
    }
}

/// The commands of a script. A command in quotes is a string, even if another shell executes it.
pub(super) fn commands(text: &str) -> Vec<Command> {
    let lines: Vec<&str> = text.lines().collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let (taken, words) = words(&lines[at..]);
        let ends = heredoc_ends(&words);
        commands.extend(split(at, words));
        at += taken;
        for end in ends {
            // Without its end it was something else, for example arithmetic.
            let length = lines[at..].iter().position(|line| line.trim_start_matches('\t') == end);
            at += length.map_or(0, |length| length + 1);
        }
    }
    commands
}

/// The number of lines until no quote is open, and their words, each with its line from 1.
fn words(lines: &[&str]) -> (usize, Vec<(usize, String)>) {
    let mut text = String::new();
    for (at, line) in lines.iter().take(LINES).enumerate() {
        text.push_str(line);
        let mut shlex = Shlex::new(&text);
        let mut words = Vec::new();
        while let Some(word) = shlex.next() {
            words.push((shlex.line_no, word));
        }
        if !shlex.had_error {
            return (at + 1, words);
        }
        text.push('\n');
    }
    let first = lines.first().copied().unwrap_or_default();
    (1, first.split_whitespace().map(|word| (1, word.to_owned())).collect())
}

/// Whether a word was in quotes: only such a word has blanks.
fn is_quoted(word: &str) -> bool {
    word.contains(char::is_whitespace)
}

/// The terminators of the heredocs that begin here: `EOF` of `<<EOF`, `<<-EOF`, `<< "EOF"`.
fn heredoc_ends(words: &[(usize, String)]) -> Vec<String> {
    let mut ends = Vec::new();
    for (at, (_, word)) in words.iter().enumerate().filter(|(_, (_, word))| !is_quoted(word)) {
        let Some((_, after)) = word.split_once("<<") else { continue };
        let end = match after.trim_start_matches('-') {
            "" => words.get(at + 1).map(|(_, next)| next.as_str()).unwrap_or_default(),
            end => end,
        };
        let end: String = end.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        ends.extend((!end.is_empty()).then_some(end));
    }
    ends
}

/// Splits words into commands. The first word is on the line after `above`.
fn split(above: usize, words: Vec<(usize, String)>) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut command = Command { line: 0, words: Vec::new() };
    for (line, word) in words {
        let parts: Vec<&str> =
            if is_quoted(&word) { vec![&word] } else { word.split([';', '&', '|', '(', ')', '`']).collect() };
        for (at, part) in parts.into_iter().enumerate() {
            if at > 0 {
                commands.push(std::mem::replace(&mut command, Command { line: 0, words: Vec::new() }));
            }
            let begins = command.words.is_empty();
            if part.is_empty() || begins && BEFORE.contains(&part) {
                continue;
            }
            if begins {
                command.line = above + line;
            }
            command.words.push(part.to_owned());
        }
    }
    commands.push(command);
    commands.retain(|command| !command.words.is_empty());
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(text: &str) -> Vec<(usize, String)> {
        let commands = commands(text).into_iter().filter(|command| !command.program().is_empty());
        commands.map(|command| (command.line, command.program().join("_"))).collect()
    }

    fn expected(commands: &[(usize, &str)]) -> Vec<(usize, String)> {
        commands.iter().map(|(line, words)| (*line, (*words).to_owned())).collect()
    }

    #[test]
    fn strings_and_comments_are_not_commands() {
        let text = "echo 'a; b' # c; d\nif x; then y z; fi\nA=1 b && \\\n  (c \"$d\")|e\n";
        let commands = [(1, "echo_a; b"), (2, "x"), (2, "y_z"), (2, "fi"), (3, "b"), (4, "c_$d"), (4, "e")];
        assert_eq!(programs(text), expected(&commands));
    }

    #[test]
    fn a_quote_may_span_lines_and_an_apostrophe_does_not_hide_the_rest() {
        assert_eq!(
            programs("python -c '\nconda activate\n'\nb"),
            expected(&[(1, "python_-c_\nconda activate\n"), (4, "b")])
        );
        assert_eq!(programs("echo it's\nb\n"), expected(&[(1, "echo_it's"), (2, "b")]));
    }

    #[test]
    fn heredocs_hold_no_commands_and_arithmetic_is_not_a_heredoc() {
        assert_eq!(
            programs("cat <<-'END' >f\na\n\tEND\nb\ncat << END\na\nEND\n"),
            expected(&[(1, "cat_<<-END_>f"), (4, "b"), (5, "cat_<<_END")])
        );
        assert_eq!(
            programs("y=$((1<<n))\nb\ncat <<<n\nc"),
            expected(&[(1, "1<<n"), (2, "b"), (3, "cat_<<<n"), (4, "c")])
        );
    }
}
