//! Ctrl-C, and what `kill` sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level;

use crate::terminal::say;

/// From now on whoever writes a file beyond the limit on the size of files (`ulimit -f`) gets an error, and the program goes on: it ends
/// with a signal otherwise, without a word.
///
/// # Errors
/// When the system does not allow that.
pub(super) fn outlive_large_files() -> Result<()> {
    #[cfg(unix)]
    flag::register(signal_hook::consts::SIGXFSZ, Arc::default()).context("signals cannot be listened to")?;
    Ok(())
}

/// From now on a signal stops the program as it always does, but says first what is kept.
///
/// # Errors
/// When the system does not allow that.
pub(super) fn say_when_stopped(kept: String) -> Result<()> {
    let stop = Stop::listen()?;
    thread::spawn(move || {
        while !stop.is_asked() {
            thread::sleep(Duration::from_millis(20));
        }
        say(format!("stopped  {kept}"));
        // Other threads may be anywhere, so nothing is tidied up.
        low_level::exit(stop.status().into());
    });
    Ok(())
}

/// Whether the user asked for a stop. The first signal asks for it, a second one stops the program at once.
pub(super) struct Stop {
    /// The signal that asked for it, or 0.
    signal: Arc<AtomicUsize>,
    /// Whether the next signal stops the program.
    at_once: Arc<AtomicBool>,
}

impl Stop {
    /// Nobody asks for it: a signal stops the program at once, as it always does.
    pub(super) fn never() -> Self {
        Self { signal: Arc::default(), at_once: Arc::default() }
    }

    /// From now on a signal only asks.
    ///
    /// # Errors
    /// When the system does not allow that.
    pub(super) fn listen() -> Result<Self> {
        let stop = Self::never();
        for signal in [SIGINT, SIGTERM] {
            // In this order: a signal is not to find its own mark.
            flag::register_conditional_default(signal, stop.at_once.clone())
                .and_then(|_| flag::register(signal, stop.at_once.clone()))
                .and_then(|_| flag::register_usize(signal, stop.signal.clone(), signal as usize))
                .context("signals cannot be listened to")?;
        }
        Ok(stop)
    }

    /// Whether a stop was asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.signal.load(Ordering::Relaxed) != 0
    }

    /// The status that the program is then to end with, as shells have it.
    pub(super) fn status(&self) -> u8 {
        128 + self.signal.load(Ordering::Relaxed) as u8
    }

    /// From now on a signal stops the program, as if nobody listened.
    pub(super) fn ignore(&self) {
        self.at_once.store(true, Ordering::Relaxed);
    }
}
