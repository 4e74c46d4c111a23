//! How much memory this process has and can have, where the system tells: on Linux.

use std::fs;

use anyhow::{Result, bail, ensure};

/// Address space that a driver takes before anything is computed, in bytes: Mesa's software driver, given less, ends the program by a
/// signal, and others take more.
const DRIVER: u64 = 1 << 30;
/// Address space that a thread takes beside what it uses, in bytes: its stack, and room for its allocations.
const THREAD: u64 = 66 << 20;

/// What this process has, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// In the machine's memory.
    pub resident: u64,
    /// The most that this has been.
    pub peak: u64,
    /// In its address space.
    pub address: u64,
}

/// What this process has.
pub fn held() -> Option<Held> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let of = |name| bytes(&status, name);
    Some(Held { resident: of("VmRSS:")?, peak: of("VmHWM:")?, address: of("VmSize:")? })
}

/// Bytes that programs can still get on this machine.
fn available() -> Option<u64> {
    let found = fs::read_to_string("/proc/meminfo").ok()?;
    Some(bytes(&found, "MemAvailable:")? + bytes(&found, "SwapFree:")?)
}

/// Bytes that all programs of this container may have.
fn container_limit() -> Option<u64> {
    let files = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    // Where there is no limit, the file has a word, or a number beyond all memory.
    files.iter().find_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok())
}

/// Bytes that the address space of this process may have (`ulimit -v`).
fn address_limit() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        rustix::process::getrlimit(rustix::process::Resource::As).current
    }
    #[cfg(not(target_os = "linux"))]
    {
        None
    }
}

/// Checks that a driver can begin within the limit on the address space.
///
/// # Errors
/// When it cannot.
pub fn check_driver() -> Result<()> {
    if let Some(limit) = address_limit() {
        ensure!(
            limit >= DRIVER,
            "the limit on this program's memory (`ulimit -v`) is {}, but the GPU's driver alone may need {}: raise it",
            shown(limit),
            shown(DRIVER)
        );
    }
    Ok(())
}

/// Checks that there is memory for `more` bytes beside what the program has, and that it can start so many threads with it. `what` is what
/// needs that, and `remedy` what lowers it.
///
/// # Errors
/// When there is not, as far as the system tells.
pub fn check(what: &str, more: u64, threads: usize, remedy: &str) -> Result<()> {
    let held = held();
    let all = more + held.map_or(0, |held| held.resident);
    let needs = format!("{what} needs about {} of memory", shown(all));
    if let Some(available) = available()
        && more > available
    {
        bail!("{needs}, {} more than the program has, but only {} are free: {remedy}", shown(more), shown(available));
    }
    if let Some(limit) = container_limit()
        && all > limit
    {
        bail!("{needs}, but all programs of this container may have {}: raise that limit, or {remedy}", shown(limit));
    }
    if let (Some(limit), Some(held)) = (address_limit(), held) {
        let address = held.address + more + THREAD * threads as u64;
        ensure!(
            address <= limit,
            "{needs} and {} of address space, but the limit on that (`ulimit -v`) is {}: raise it, or {remedy}",
            shown(address),
            shown(limit)
        );
    }
    Ok(())
}

/// "35 MB", "1.2 GB"
pub fn shown(bytes: u64) -> String {
    let megabytes = bytes as f64 / 1e6;
    if megabytes < 999.5 { format!("{megabytes:.0} MB") } else { format!("{:.1} GB", megabytes / 1e3) }
}

/// The bytes that stand in a line of the system, which counts in KiB.
fn bytes(lines: &str, name: &str) -> Option<u64> {
    let kib = lines.lines().find_map(|line| line.strip_prefix(name)?.strip_suffix("kB"))?;
    kib.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_and_shown() {
        assert_eq!(bytes("VmPeak:\t 5 kB\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12 * 1024));
        assert_eq!(bytes("VmRSS:\t12 kB\n", "VmSize:"), None);
        for (bytes, expected) in
            [(0, "0 MB"), (34_600_000, "35 MB"), (999_600_000, "1.0 GB"), (5_250_000_000, "5.2 GB")]
        {
            assert_eq!(shown(bytes), expected);
        }
        let held = held();
        assert_eq!(
            held.is_some_and(|held| held.resident > 1 << 20 && held.peak >= held.resident),
            cfg!(target_os = "linux")
        );
        assert_eq!(available().is_some(), cfg!(target_os = "linux"));
        check("this", 0, 0, "lower it").unwrap();
        // No machine has so much.
        let error = check("this", 1 << 60, 0, "lower it").err();
        let refused = error.is_some_and(|error| error.to_string().ends_with(" are free: lower it"));
        assert_eq!(refused, cfg!(target_os = "linux"));
    }
}
