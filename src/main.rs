//! The program `convscope`.

use std::process::ExitCode;

use clap::Parser;
use convscope::cli::Cli;

fn main() -> ExitCode {
    quieten_driver();
    match convscope::commands::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Mesa's device-select layer looks for a display and, where there is none, prints an error that means nothing here.
fn quieten_driver() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: the program has only this one thread yet, so nobody reads the environment meanwhile.
        #[allow(unsafe_code)]
        unsafe {
            std::env::set_var("NODEVICE_SELECT", "1");
        }
    }
}
