//! Lines and progress on the terminal.
//!
//! All that the program prints goes through here; clippy's `print_stdout` and `print_stderr` forbid the ways around it. Names of
//! files, classes and devices come from elsewhere and may hold anything, so whatever a terminal would obey instead of show is
//! made visible here, and no caller can forget it.

use std::fmt::{self, Display};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// Why the first line that could not be printed was not.
static LOST: Mutex<Option<io::Error>> = Mutex::new(None);

/// Whether standard output is for results alone.
static RESULTS_ALONE: AtomicBool = AtomicBool::new(false);

/// Whether nothing is said beside results and errors.
static QUIET: AtomicBool = AtomicBool::new(false);

/// A word as it is typed in a POSIX shell. A path that begins like an option is told apart from one.
pub fn quoted(word: &str) -> String {
    if word.starts_with('-') {
        return quoted(&format!("./{word}"));
    }
    shell_words::quote(word).into_owned()
}

/// Keeps standard output for results, which another program may read: what is said goes to standard error from now on.
pub fn keep_for_results() {
    RESULTS_ALONE.store(true, Ordering::Relaxed);
}

/// From now on nothing is said, and no progress is shown: only results and errors are printed.
pub fn quieten() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Prints one line, on standard error after [`keep_for_results`], and nowhere after [`quieten`].
pub fn say(line: impl Display) {
    if RESULTS_ALONE.load(Ordering::Relaxed) {
        note(line);
    } else if !QUIET.load(Ordering::Relaxed) {
        print(line);
    }
}

/// Prints one line of the results on standard output. Where that is impossible the work goes on, and [`all_printed`] tells of it.
pub fn print(line: impl Display) {
    if let Err(error) = writeln!(io::stdout(), "{}", visible(&line.to_string())) {
        LOST.lock().expect("no thread panics here").get_or_insert(error);
    }
}

/// Prints a text of the program's own as it is.
pub fn print_file(text: &[u8]) {
    if let Err(error) = io::stdout().write_all(text) {
        LOST.lock().expect("no thread panics here").get_or_insert(error);
    }
}

/// Prints an empty line and one line.
pub fn say_apart(line: impl Display) {
    say("");
    say(line);
}

/// Prints one line on standard error, beside results on standard output that another program may read; nothing after [`quieten`].
pub fn note(line: impl Display) {
    if QUIET.load(Ordering::Relaxed) {
        return;
    }
    // Nothing depends on it, and there is no other place to tell of it.
    let _ = writeln!(io::stderr(), "{}", visible(&line.to_string()));
}

/// Whether every line could be printed.
///
/// # Errors
/// Why the first that was lost could not.
pub fn all_printed() -> Result<()> {
    let flushed = io::stdout().flush();
    let lost = LOST.lock().expect("no thread panics here").take();
    match lost.map_or(flushed, Err) {
        // Whoever read it, such as `head`, has enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("the output could not be written"),
    }
}

/// Prints an error. Lines after the first are set in, so that none of them looks like another message.
pub fn fail(error: &anyhow::Error) {
    let text = without_jargon(&format!("{error:#}"));
    let lines: Vec<String> = text.lines().map(visible).collect();
    let _ = writeln!(io::stderr(), "error: {}", lines.join("\n  "));
}

/// What the standard library says of text that is no number, in words of people who write no programs.
const NO_NUMBERS: [(&str, &str); 6] = [
    ("invalid digit found in string", "expected a whole number, 0 or more"),
    ("cannot parse integer from empty string", "expected a whole number, 0 or more"),
    ("number too large to fit in target type", "this number is too large"),
    ("number too small to fit in target type", "this number is too small"),
    ("invalid float literal", "expected a number"),
    ("cannot parse float from empty string", "expected a number"),
];

fn without_jargon(text: &str) -> String {
    NO_NUMBERS.iter().fold(text.to_string(), |text, (theirs, ours)| text.replace(theirs, ours))
}

/// An error with its causes, as a part of a line.
pub fn one_line(error: &anyhow::Error) -> String {
    without_jargon(&format!("{error:#}")).replace('\n', "; ")
}

/// Prints what the parser of the command line has to tell, a mistake or the help that was asked for.
pub fn tell_usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        // It repeats what was typed.
        let text = without_jargon(&error.to_string());
        let _ = writeln!(io::stderr(), "{}", text.trim_end().lines().map(visible).collect::<Vec<_>>().join("\n"));
        return ExitCode::from(2);
    }
    let printed = error.print().and_then(|()| io::stdout().flush()).context("the output could not be written");
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            fail(&error);
            ExitCode::FAILURE
        }
    }
}

/// The text as one line that a terminal shows and does not obey. Control characters, line breaks and marks that turn the
/// direction of writing become JSON's escapes (`\n`, `\u001b`), so that JSON stays what it is.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            _ if is_obeyed(character) => {
                shown.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => shown.push(character),
        }
    }
    shown
}

/// Whether a character is not shown but obeyed: a control character, Unicode's line or paragraph separator, one of its twelve
/// marks of direction (UAX #9, section 2), which can show a name's letters in another order, or the byte-order mark.
pub fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// "1 image", "2 images"
pub fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A progress bar on a terminal; nothing where the output goes elsewhere. Beside the library's own keys, the template knows
/// `{rate}`, the steps a second.
pub fn bar(template: &str, len: u64) -> Bar {
    if QUIET.load(Ordering::Relaxed) || !io::stderr().is_terminal() {
        return Bar(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template(template)
        .expect("the template is valid")
        .with_key("rate", |state: &ProgressState, line: &mut dyn fmt::Write| {
            // A line that cannot be written is not shown; nothing depends on it.
            let _ = write!(line, "{:.0}", state.per_sec());
        })
        .progress_chars("=> ");
    // One of length 0 would look done.
    let bar = ProgressBar::new(len.max(1)).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    Bar(bar)
}

/// A progress bar whose message is made visible.
pub struct Bar(ProgressBar);

impl Bar {
    /// The same with a message.
    pub fn with_message(self, message: impl Display) -> Self {
        self.set_message(message);
        self
    }

    /// What is being done.
    pub fn set_message(&self, message: impl Display) {
        self.0.set_message(visible(&message.to_string()));
    }

    /// How many steps there are.
    pub fn set_length(&self, steps: u64) {
        self.0.set_length(steps);
    }

    /// How many steps are done.
    pub fn set_position(&self, steps: u64) {
        self.0.set_position(steps);
    }

    /// Draws the bar anew.
    pub fn tick(&self) {
        self.0.tick();
    }

    /// Takes the bar away while something is printed.
    pub fn suspend(&self, print: impl FnOnce()) {
        self.0.suspend(print);
    }

    /// Takes the bar away for good.
    pub fn finish_and_clear(&self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_made_visible() {
        for (text, shown) in [
            ("\x1b[2J\x1b]0;title\x07", "\\u001b[2J\\u001b]0;title\\u0007"),
            ("a\nb\r\tc\0", "a\\nb\\r\\tc\\u0000"),
            ("\u{9b}31m\u{7f}\u{85}", "\\u009b31m\\u007f\\u0085"),
            ("cat\u{202e}gpj.exe\u{2066}\u{200f}\u{61c}", "cat\\u202egpj.exe\\u2066\\u200f\\u061c"),
            ("a\u{2028}b\u{2029}\u{feff}", "a\\u2028b\\u2029\\ufeff"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    /// Letters of every script stay as they are, joiners too, without which some are misspelt.
    #[test]
    fn what_a_terminal_shows_stays_as_it_is() {
        for text in
            ["", "Кот 猫 คน कुत्ता", "C:\\photos\\n", "می\u{200c}خواهم", "👩\u{200d}🚀 e\u{301} ~", "{\"a\": \"\\n\"}"]
        {
            assert_eq!(visible(text), text);
        }
    }

    #[test]
    fn json_means_the_same_afterwards() {
        let text = serde_json::to_string("a\u{1b}\u{7f}\u{202e}\n\"\\ é").unwrap();
        let shown = visible(&text);
        assert!(!shown.contains('\u{7f}') && !shown.contains('\u{202e}'));
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), serde_json::from_str::<String>(&text).unwrap());
    }
}
