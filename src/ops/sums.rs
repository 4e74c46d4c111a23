//! Sums over pixels, for each channel, that workgroups share: `shaders/common/sums.wgsl`.

/// Workgroups that give a large GPU work everywhere.
const ENOUGH: usize = 1024;
/// Pixels that an invocation adds up at least, so that little is left to add up afterwards.
const LEAST: usize = 4;
/// Invocations of a workgroup.
const INVOCATIONS: usize = 64;

/// How sums over pixels are divided among workgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    /// Vectors of channels that one workgroup takes: a power of two. Eight of them are read side by side.
    pub columns: u32,
    /// Pixels that it takes.
    pub chunk: u32,
}

impl Division {
    /// For so many pixels, of so many vectors of channels.
    pub fn new(pixels: usize, channels: usize) -> Self {
        let columns = channels.next_power_of_two().min(8);
        let chunks = ENOUGH.div_ceil(channels.div_ceil(columns));
        let least = LEAST * INVOCATIONS / columns;
        // A software driver stops an invocation's loops after 65,535 turns in all.
        let chunk = pixels.div_ceil(chunks).max(least).min(60_000);
        Self { columns: columns as u32, chunk: chunk as u32 }
    }

    /// Chunks of so many pixels.
    pub fn chunks(&self, pixels: u64) -> u64 {
        pixels.div_ceil(self.chunk.into())
    }

    /// Workgroups that take so many pixels of so many vectors of channels.
    pub fn workgroups(&self, pixels: u64, channels: u32) -> u64 {
        self.chunks(pixels) * u64::from(channels.div_ceil(self.columns))
    }
}
