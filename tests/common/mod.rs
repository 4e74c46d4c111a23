//! Shared by the tests that need a GPU: they are visibly ignored, with the remedy, where there is none.

use std::sync::OnceLock;

use convscope::gpu::{AdapterChoice, Gpu, GpuError};
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};

/// Set to 1 to fail instead of ignoring where no adapter is found.
const REQUIRE: &str = "CONVSCOPE_REQUIRE_GPU";

/// A device, opened once.
pub fn opened() -> &'static Result<Gpu, GpuError> {
    static GPU: OnceLock<Result<Gpu, GpuError>> = OnceLock::new();
    GPU.get_or_init(|| pollster::block_on(Gpu::open(&AdapterChoice::Best)))
}

/// Runs a binary's tests; those named in `needing_gpu` are ignored where no adapter can be opened.
pub fn run(needing_gpu: Vec<Trial>, others: Vec<Trial>) -> Conclusion {
    let mut trials = others;
    match opened() {
        Ok(_) => trials.extend(needing_gpu),
        Err(error) if std::env::var(REQUIRE).is_ok_and(|value| value == "1") => {
            let message = error.to_string();
            trials.push(Trial::test("an_adapter_is_there", move || Err(Failed::from(message))));
        }
        Err(error) => {
            eprintln!("The GPU tests are ignored: {error}");
            trials.extend(needing_gpu.into_iter().map(|trial| trial.with_ignored_flag(true)));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials)
}

/// A test from a function that panics when it fails.
pub fn trial(name: impl Into<String>, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}
