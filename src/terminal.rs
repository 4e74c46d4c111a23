//! Lines and progress on the terminal.

use std::fmt::{self, Display};
use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// Prints a line. Where nobody reads any more, as behind `| head`, the work goes on without.
pub fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A progress bar on a terminal; nothing where the output goes elsewhere. Beside the library's own keys, the template knows
/// `{rate}`, the steps a second.
pub fn bar(template: &str, len: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template)
        .expect("the template is valid")
        .with_key("rate", |state: &ProgressState, line: &mut dyn fmt::Write| {
            // A line that cannot be written is not shown; nothing depends on it.
            let _ = write!(line, "{:.0}", state.per_sec());
        })
        .progress_chars("=> ");
    let bar = ProgressBar::new(len).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
