//! Between PyTorch's layouts and the kernels': channels last, four to a vector, the last vector filled up with zeros.

/// Channels with their padding: the next multiple of four.
pub fn padded(channels: usize) -> usize {
    channels.next_multiple_of(4)
}

/// (N, C, H, W) to (N, H, W, padded C); `pixels` is H times W.
pub fn pack_images(values: &[f32], n: usize, channels: usize, pixels: usize) -> Vec<f32> {
    let width = padded(channels);
    let mut packed = vec![0.0; n * pixels * width];
    for image in 0..n {
        for channel in 0..channels {
            for pixel in 0..pixels {
                packed[(image * pixels + pixel) * width + channel] =
                    values[(image * channels + channel) * pixels + pixel];
            }
        }
    }
    packed
}

/// (N, H, W, padded C) to (N, C, H, W); the inverse of [`pack_images`].
pub fn unpack_images(packed: &[f32], n: usize, channels: usize, pixels: usize) -> Vec<f32> {
    let width = padded(channels);
    let mut values = Vec::with_capacity(n * channels * pixels);
    for image in 0..n {
        for channel in 0..channels {
            values.extend((0..pixels).map(|pixel| packed[(image * pixels + pixel) * width + channel]));
        }
    }
    values
}

/// How a parameter lies in PyTorch's file and on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One number a channel.
    Vector {
        /// Channels.
        len: usize,
    },
    /// The filters of a convolution: (outputs, inputs, taps) in the file, (taps, padded inputs, padded outputs) on the device.
    /// A linear layer is one whose filter covers the whole map, `taps` being its pixels.
    Filters {
        /// Output channels.
        outputs: usize,
        /// Input channels.
        inputs: usize,
        /// Height times width of a filter.
        taps: usize,
    },
    /// The filters of a depthwise convolution, one a channel: (channels, 1, taps) in the file, (taps, padded channels) on the device.
    Depthwise {
        /// Channels.
        channels: usize,
        /// Height times width of a filter.
        taps: usize,
    },
}

impl Layout {
    /// Numbers in PyTorch's file.
    pub fn len(&self) -> usize {
        match *self {
            Self::Vector { len } => len,
            Self::Filters { outputs, inputs, taps } => outputs * inputs * taps,
            Self::Depthwise { channels, taps } => channels * taps,
        }
    }

    /// Whether there are no numbers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers on the device.
    pub fn packed_len(&self) -> usize {
        match *self {
            Self::Vector { len } => padded(len),
            Self::Filters { outputs, inputs, taps } => taps * padded(inputs) * padded(outputs),
            Self::Depthwise { channels, taps } => taps * padded(channels),
        }
    }

    /// From the file's order to the device's.
    pub fn pack(&self, values: &[f32]) -> Vec<f32> {
        let mut packed = vec![0.0; self.packed_len()];
        self.for_each(|plain, place| packed[place] = values[plain]);
        packed
    }

    /// From the device's order to the file's; the inverse of [`Layout::pack`].
    pub fn unpack(&self, packed: &[f32]) -> Vec<f32> {
        let mut values = vec![0.0; self.len()];
        self.for_each(|plain, place| values[plain] = packed[place]);
        values
    }

    /// Calls `visit(index in the file, index on the device)` for every number.
    fn for_each(&self, mut visit: impl FnMut(usize, usize)) {
        match *self {
            Self::Vector { len } => (0..len).for_each(|i| visit(i, i)),
            Self::Filters { outputs, inputs, taps } => {
                for output in 0..outputs {
                    for input in 0..inputs {
                        for tap in 0..taps {
                            let plain = (output * inputs + input) * taps + tap;
                            visit(plain, (tap * padded(inputs) + input) * padded(outputs) + output);
                        }
                    }
                }
            }
            Self::Depthwise { channels, taps } => {
                for channel in 0..channels {
                    for tap in 0..taps {
                        visit(channel * taps + tap, tap * padded(channels) + channel);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_puts_each_number_in_its_place() {
        // Two channels of three pixels.
        let packed = pack_images(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 1, 2, 3);
        assert_eq!(packed, [1.0, 4.0, 0.0, 0.0, 2.0, 5.0, 0.0, 0.0, 3.0, 6.0, 0.0, 0.0]);
        // One output, two inputs, two taps.
        let filters = Layout::Filters { outputs: 1, inputs: 2, taps: 2 };
        let packed = filters.pack(&[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(packed.len(), 2 * 4 * 4);
        assert_eq!([packed[0], packed[16], packed[4], packed[20]], [1.0, 2.0, 3.0, 4.0]);
        // Three channels of two taps.
        let depthwise = Layout::Depthwise { channels: 3, taps: 2 };
        assert_eq!(depthwise.pack(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), [1.0, 3.0, 5.0, 0.0, 2.0, 4.0, 6.0, 0.0]);
    }

    #[test]
    fn unpacking_is_the_inverse() {
        let values: Vec<f32> = (1..=2 * 5 * 6).map(|i| i as f32).collect();
        assert_eq!(unpack_images(&pack_images(&values, 2, 5, 6), 2, 5, 6), values);
        let filters = Layout::Filters { outputs: 5, inputs: 3, taps: 4 };
        assert_eq!(filters.unpack(&filters.pack(&values)), values);
        for (channels, taps) in [(5, 12), (20, 3), (60, 1)] {
            let depthwise = Layout::Depthwise { channels, taps };
            let packed = depthwise.pack(&values);
            assert_eq!((depthwise.len(), packed.len()), (values.len(), taps * padded(channels)));
            assert_eq!(depthwise.unpack(&packed), values);
        }
        assert_eq!(Layout::Vector { len: 60 }.unpack(&Layout::Vector { len: 60 }.pack(&values)), values);
    }
}
