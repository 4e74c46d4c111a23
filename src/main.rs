//! The program `convscope`.
#![warn(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr)]

use std::env;
use std::ffi::OsStr;
use std::process::ExitCode;

use clap::Parser;
use convscope::cli::{self, Cli};
use convscope::{commands, terminal};

fn main() -> ExitCode {
    quieten_driver();
    let (words, settings) = match cli::with_settings(env::args_os().collect()) {
        Ok(found) => found,
        Err(error) => {
            terminal::fail(&error);
            return ExitCode::from(commands::status(&error));
        }
    };
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(mut error) => {
            cli::suggest(&mut error);
            let code = terminal::tell_usage(&error);
            note_settings(settings.as_deref().filter(|_| error.use_stderr()));
            return code;
        }
    };
    match commands::run(cli).and_then(|code| terminal::all_printed().map(|()| code)) {
        Ok(code) => code,
        Err(error) => {
            terminal::fail(&error);
            note_settings(settings.as_deref());
            ExitCode::from(commands::status(&error))
        }
    }
}

/// Says where options are from that nobody typed.
fn note_settings(settings: Option<&OsStr>) {
    if let Some(settings) = settings {
        terminal::note(format!("note: some options are from --config {}", settings.display()));
    }
}

/// Mesa's device-select layer looks for a display and, where there is none, prints an error that means nothing here.
fn quieten_driver() {
    if cfg!(target_os = "linux") && env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: the program has only this one thread yet, so nobody reads the environment meanwhile.
        #[allow(unsafe_code)]
        unsafe {
            env::set_var("NODEVICE_SELECT", "1");
        }
    }
}
