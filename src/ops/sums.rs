//! Sums over pixels, for each channel, which workgroups share on a GPU: `shaders/common/places.wgsl`.

use crate::gpu::Gpu;
use crate::gpu::kernel::{WORKGROUP, tile};

/// Workgroups that give a large GPU work everywhere.
const ENOUGH: usize = 1024;
/// Pixels that one of the invocations that share a sum adds up at least, so that little is left to add up afterwards.
const LEAST: usize = 4;

/// Chunks of pixels where nothing is shared, and their least size.
const CHUNKS: usize = 256;
const MIN_ALONE: usize = 64;

tile! {
    /// How many invocations of a workgroup share a sum: a power of two.
    pub struct Rows {
        /// 1: each invocation has its own. On a software driver a barrier keeps the values around it out of the registers.
        pub rows = ROWS,
    }
}

tile! {
    /// Whether the invocations of a workgroup share the sums of the parts of gradients.
    pub struct Shared {
        /// 1 where they do, 0 where each has its own.
        pub shared = SHARED,
    }
}

impl Shared {
    /// Where a device does.
    pub fn on(gpu: &Gpu) -> Self {
        Self { shared: gpu.shares_sums().into() }
    }
}

impl Rows {
    /// For so many vectors of channels, of which a GPU reads up to eight side by side; `shares` is [`Gpu::shares_sums`].
    ///
    /// [`Gpu::shares_sums`]: crate::gpu::Gpu::shares_sums
    pub fn new(shares: bool, channels: u32) -> Self {
        let rows = if shares { WORKGROUP as u32 / channels.next_power_of_two().min(8) } else { 1 };
        Self { rows }
    }

    /// For sums of parts: all invocations of a workgroup share one, or none does.
    pub fn of_parts(gpu: &Gpu) -> Self {
        Self { rows: if gpu.shares_sums() { WORKGROUP as u32 } else { 1 } }
    }

    /// Pixels that are added up to one part of a sum, of so many in all.
    pub fn chunk(self, pixels: usize, channels: u32) -> u32 {
        let rows = self.rows as usize;
        let (chunks, least) = match rows {
            1 => (CHUNKS, MIN_ALONE),
            _ => ((ENOUGH * WORKGROUP as usize).div_ceil(channels as usize * rows), LEAST * rows),
        };
        // A software driver stops an invocation's loops after 65,535 turns in all.
        pixels.div_ceil(chunks).max(least).min(60_000) as u32
    }

    /// Workgroups that make so many parts of sums.
    pub fn workgroups(self, parts: u64) -> u64 {
        (parts * u64::from(self.rows)).div_ceil(WORKGROUP)
    }
}
