//! How the kernel starts an executable file, judged from its first bytes.
//!
//! The rules are those of Linux (`fs/binfmt_script.c`, since 5.1): it reads 256 bytes; `#!` has to be the first two;
//! the interpreter is a path that ends at a space, a tab or the end of the line; all that follows is ONE argument, and
//! a carriage return is an ordinary character. The interpreter must not be cut off at the end of the 256 bytes.

use crate::failure::{Failure, Kind};

/// How much of a file the kernel reads to find its interpreter, in bytes.
pub const HEAD: usize = 256;
/// How many scripts may be the interpreters of one another: one more is refused by the kernel.
pub const MAX_SCRIPTS: usize = 5;

/// How the kernel executes a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Executable {
    /// Runs it as a program.
    Program,
    /// Starts an interpreter with the script.
    Script(Shebang),
}

/// The first line of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shebang {
    /// Path of the interpreter that the kernel starts.
    pub interpreter: String,
    /// The one argument that it gets before the script's path.
    pub argument: Option<String>,
}

/// Why a script cannot be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShebangDefect {
    /// The fault of the script: the predicate of a sentence, for example `has no #! line`.
    pub reason: String,
    /// How to repair it.
    pub remedy: String,
}

impl ShebangDefect {
    fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        ShebangDefect { reason: reason.into(), remedy: remedy.into() }
    }

    /// The defect as a failure: `context` names the script.
    pub fn failure(self, context: &str) -> Failure {
        Failure::new(Kind::BadInterpreter, format!("{context} {}", self.reason)).hint(self.remedy)
    }
}

impl Shebang {
    /// The program that runs the script in the end: a path, or a name that `env` looks up in PATH.
    pub fn program(&self) -> &str {
        self.env_words().and_then(|words| words.into_iter().find(|word| is_command(word))).unwrap_or(&self.interpreter)
    }

    /// The line as it is written, for messages.
    pub fn line(&self) -> String {
        match &self.argument {
            Some(argument) => format!("#!{} {argument}", self.interpreter),
            None => format!("#!{}", self.interpreter),
        }
    }

    fn name(&self) -> &str {
        self.interpreter.rsplit('/').next().unwrap_or(&self.interpreter)
    }

    fn is_shell(&self) -> bool {
        matches!(self.name(), "sh" | "bash" | "dash" | "ash" | "ksh" | "mksh" | "zsh")
    }

    /// The words that `env` works on, if the interpreter is `env`: `-S` splits its argument, nothing else does.
    fn env_words(&self) -> Option<Vec<&str>> {
        if self.name() != "env" {
            return None;
        }
        let argument = self.argument.as_deref().unwrap_or_default();
        let split =
            ["-S", "-vS", "--split-string=", "--split-string "].iter().find_map(|flag| argument.strip_prefix(flag));
        Some(match split {
            Some(rest) => rest.split_whitespace().collect(),
            None if argument.is_empty() => Vec::new(),
            None => vec![argument],
        })
    }
}

/// Whether a word of `env` is the command, and not an option or a variable.
fn is_command(word: &str) -> bool {
    !word.starts_with('-') && !word.contains('=')
}

/// Judges a file by its first bytes, at least [`HEAD`] of them or all that it has.
///
/// # Errors
/// The kernel would refuse it, or its interpreter would refuse the argument.
pub fn examine(head: &[u8]) -> Result<Executable, ShebangDefect> {
    if head.starts_with(b"\x7fELF") {
        return Ok(Executable::Program);
    }
    let begin = "begin the script with a line like `#!/bin/bash`";
    if head.strip_prefix(b"\xef\xbb\xbf").is_some_and(|rest| rest.starts_with(b"#!")) {
        let remedy = "save the script as UTF-8 without BOM: `sed -i '1s/^\\xef\\xbb\\xbf//' SCRIPT`";
        return Err(ShebangDefect::new("begins with a byte order mark (BOM) before `#!`", remedy));
    }
    if !head.starts_with(b"#!") {
        return Err(ShebangDefect::new("has no `#!` line", begin));
    }
    let shebang = parse(&head[..head.len().min(HEAD)])?;
    if [Some(&shebang.interpreter), shebang.argument.as_ref()].into_iter().flatten().any(|word| word.ends_with('\r')) {
        return Err(ShebangDefect::new("has Windows line endings (CR LF)", line_ending_remedy("SCRIPT")));
    }
    if !shebang.interpreter.starts_with('/') {
        let reason = format!("names the interpreter `{}`, which is not an absolute path", shebang.interpreter);
        return Err(ShebangDefect::new(reason, format!("write `#!/usr/bin/env {}`", shebang.interpreter)));
    }
    refuse_joined_options(&shebang)?;
    refuse_endless(&shebang)?;
    Ok(Executable::Script(shebang))
}

/// The remedy for Windows line endings in a script.
pub fn line_ending_remedy(script: &str) -> String {
    format!("convert the line endings: `sed -i 's/\\r$//' {script}`; in git: `*.sh text eol=lf` in .gitattributes")
}

/// The interpreter and its argument, as the kernel splits them.
fn parse(head: &[u8]) -> Result<Shebang, ShebangDefect> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let is_cut = head.len() == HEAD && !head.contains(&b'\n');
    let line = head[2..].split(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.contains(&0) {
        return Err(ShebangDefect::new("has a NUL character in its `#!` line", "write for example `#!/bin/bash`"));
    }
    let begin = line.iter().position(|byte| !is_blank(byte)).unwrap_or(line.len());
    let line = &line[begin..];
    let end = line.iter().position(is_blank);
    if is_cut && end.is_none() {
        let reason = format!("has a `#!` line whose interpreter does not end within {HEAD} bytes");
        return Err(ShebangDefect::new(reason, "use a shorter path, or `#!/usr/bin/env NAME`"));
    }
    let interpreter = &line[..end.unwrap_or(line.len())];
    if interpreter.is_empty() {
        return Err(ShebangDefect::new("names no interpreter after `#!`", "write for example `#!/bin/bash`"));
    }
    let argument = String::from_utf8_lossy(&line[interpreter.len()..]);
    let argument = argument.trim_matches([' ', '\t']);
    Ok(Shebang {
        interpreter: String::from_utf8_lossy(interpreter).into_owned(),
        argument: (!argument.is_empty()).then(|| argument.to_owned()),
    })
}

/// Refuses several words that an interpreter gets as one: `env` looks for a program of that whole name, shells and
/// Python read it as one option that they do not have. Other interpreters (Perl, awk) split such a word.
fn refuse_joined_options(shebang: &Shebang) -> Result<(), ShebangDefect> {
    let Some(argument) = shebang.argument.as_deref().filter(|argument| argument.contains([' ', '\t'])) else {
        return Ok(());
    };
    let one = format!("gives `{argument}` to `{}` as one argument", shebang.interpreter);
    if shebang.env_words().is_some_and(|words| words == [argument]) {
        let reason = format!("{one}, and no program has that name");
        return Err(ShebangDefect::new(reason, format!("write `#!{} -S {argument}`", shebang.interpreter)));
    }
    let name = shebang.name();
    let is_shell = shebang.is_shell();
    if is_shell || name.starts_with("python") {
        let remedy = format!("write `#!{}`, and set the options in the script", shebang.interpreter);
        let remedy = if is_shell { format!("{remedy} (`set -e -u`)") } else { remedy };
        return Err(ShebangDefect::new(format!("{one}, which it refuses"), remedy));
    }
    Ok(())
}

/// Refuses a line with which the script starts itself without end: the interpreter reads the script's path as a
/// command.
fn refuse_endless(shebang: &Shebang) -> Result<(), ShebangDefect> {
    if let Some(words) = shebang.env_words()
        && !words.iter().any(|word| is_command(word))
    {
        let reason = format!("names no program after `{}`", shebang.line());
        return Err(ShebangDefect::new(reason, "write for example `#!/usr/bin/env bash`"));
    }
    let is_cluster =
        |argument: &str| argument.starts_with('-') && !argument.starts_with("--") && argument.contains('c');
    if shebang.is_shell() && shebang.argument.as_deref().is_some_and(is_cluster) {
        let reason = format!("has the line `{}`, which starts the script itself, without end", shebang.line());
        return Err(ShebangDefect::new(reason, format!("write `#!{}`", shebang.interpreter)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(interpreter: &str, argument: Option<&str>) -> Result<Executable, ShebangDefect> {
        Ok(Executable::Script(Shebang { interpreter: interpreter.into(), argument: argument.map(str::to_owned) }))
    }

    fn reason(head: impl AsRef<[u8]>) -> String {
        examine(head.as_ref()).err().map(|defect| defect.reason).unwrap_or_default()
    }

    #[test]
    fn the_interpreter_and_one_argument_are_taken_from_the_first_line() {
        assert_eq!(examine(b"#!/bin/bash\necho"), script("/bin/bash", None));
        assert_eq!(examine(b"#!/bin/bash"), script("/bin/bash", None));
        assert_eq!(examine(b"#! \t/bin/sh -eu \t\n"), script("/bin/sh", Some("-eu")));
        assert_eq!(examine(b"#!/usr/bin/env python3\n"), script("/usr/bin/env", Some("python3")));
        assert_eq!(examine(b"#!/usr/bin/perl -w -T\n"), script("/usr/bin/perl", Some("-w -T")));
        assert_eq!(examine(b"\x7fELF\x02"), Ok(Executable::Program));
    }

    #[test]
    fn the_program_behind_env_is_the_one_that_runs() {
        let program = |line: &str| match examine(line.as_bytes()) {
            Ok(Executable::Script(shebang)) => shebang.program().to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(program("#!/bin/sh\n"), "/bin/sh");
        assert_eq!(program("#!/usr/bin/env bash\n"), "bash");
        assert_eq!(program("#!/usr/bin/env -S A=1 python3 -u\n"), "python3");
    }

    #[test]
    fn a_script_that_would_start_itself_again_is_refused() {
        for line in ["#!/usr/bin/env\n", "#!/usr/bin/env -S\n", "#!/usr/bin/env -S A=1\n"] {
            assert!(reason(line).starts_with("names no program after"), "{line}");
        }
        for line in ["#!/bin/bash -c\n", "#!/bin/sh -ec\n"] {
            assert!(reason(line).contains("starts the script itself"), "{line}");
        }
        assert_eq!(reason("#!/bin/bash --rcfile=x\n"), "");
        assert_eq!(reason("#!/bin/bash\0x\n"), "has a NUL character in its `#!` line");
    }

    #[test]
    fn scripts_that_the_kernel_or_the_interpreter_refuses_are_refused() {
        for (head, expected) in [
            ("", "has no `#!` line"),
            ("echo\n", "has no `#!` line"),
            (" #!/bin/sh\n", "has no `#!` line"),
            ("#!\n/bin/sh\n", "names no interpreter after `#!`"),
            ("#!  \t", "names no interpreter after `#!`"),
            ("\u{feff}#!/bin/sh\n", "begins with a byte order mark (BOM) before `#!`"),
            ("#!/bin/sh\r\n", "has Windows line endings (CR LF)"),
            ("#!/bin/bash -e\r\n", "has Windows line endings (CR LF)"),
            ("#!bash\n", "names the interpreter `bash`, which is not an absolute path"),
            (
                "#!/usr/bin/env bash -e\n",
                "gives `bash -e` to `/usr/bin/env` as one argument, and no program has that name",
            ),
            ("#!/bin/bash -e -u\n", "gives `-e -u` to `/bin/bash` as one argument, which it refuses"),
            (
                "#!/usr/bin/python3.11 -u\t-B\n",
                "gives `-u\t-B` to `/usr/bin/python3.11` as one argument, which it refuses",
            ),
        ] {
            assert_eq!(reason(head), expected, "{head:?}");
        }
    }

    #[test]
    fn an_interpreter_longer_than_the_kernel_reads_is_refused_and_a_long_argument_is_not() {
        let path = format!("/{}", "x".repeat(HEAD));
        assert!(reason(format!("#!{path}\n")).contains("does not end within 256 bytes"));
        assert!(reason(format!("#!{path}")).contains("does not end within 256 bytes"));
        assert!(reason(format!("#!{}", " ".repeat(HEAD))).contains("does not end within 256 bytes"));
        assert_eq!(reason(format!("#!/bin/awk {}", "x".repeat(HEAD))), "");
        // The line end is the last byte that is read.
        assert_eq!(reason(format!("#!/{}\n", "x".repeat(HEAD - 4))), "");
    }
}
