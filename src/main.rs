//! The program `convscope`.

use std::process::ExitCode;

use clap::Parser;
use convscope::cli::Cli;

fn main() -> ExitCode {
    match convscope::commands::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
