//! MaxPool2d: `shaders/max_pool2d.wgsl`.

use super::vectors;
use crate::gpu::kernel::{kernel, uniform};

uniform! {
    /// Sizes of a pooling with square windows.
    pub struct Shape {
        /// Images in a batch.
        pub n: u32,
        /// Height of the input.
        pub h: u32,
        /// Width of the input.
        pub w: u32,
        /// Vectors of channels.
        pub channels: u32,
        /// Height of the output.
        pub oh: u32,
        /// Width of the output.
        pub ow: u32,
        /// Height and width of a window.
        pub kernel: u32,
        /// Stride in both directions.
        pub stride: u32,
        /// Rows and columns on every side.
        pub padding: u32,
    }
}

impl Shape {
    /// Shape for `n` images of `channels` x `h` x `w`.
    ///
    /// # Panics
    /// When the padding is more than half of the window, as PyTorch demands too, when the window does not fit the padded input,
    /// or when it is so large that a software driver would not walk all of it.
    pub fn new(n: usize, [channels, h, w]: [usize; 3], kernel: usize, stride: usize, padding: usize) -> Self {
        assert!(padding <= kernel / 2, "pooling: a padding of {padding} is more than half of a window of {kernel}");
        assert!(
            kernel <= h.min(w) + 2 * padding,
            "pooling: a window of {kernel} does not fit {h} x {w} with a padding of {padding}"
        );
        // A software driver stops an invocation's loops after 65,535 turns in all.
        assert!(kernel <= 240, "pooling: a window of {kernel} is too large");
        let [oh, ow] = [h, w].map(|size| (size + 2 * padding - kernel) / stride + 1);
        let [n, h, w, channels, oh, ow, kernel, stride, padding] =
            [n, h, w, vectors(channels), oh, ow, kernel, stride, padding].map(|size| size as u32);
        Self { n, h, w, channels, oh, ow, kernel, stride, padding }
    }

    /// 32-bit numbers of the output, and of the indices.
    pub fn output_len(&self) -> usize {
        (4 * self.outputs()) as usize
    }

    pub(super) fn inputs(&self) -> u64 {
        u64::from(self.n) * u64::from(self.h) * u64::from(self.w) * u64::from(self.channels)
    }

    pub(super) fn outputs(&self) -> u64 {
        u64::from(self.n) * u64::from(self.oh) * u64::from(self.ow) * u64::from(self.channels)
    }

    /// One for each value in each window.
    pub(super) fn flops(&self) -> u64 {
        4 * self.outputs() * u64::from(self.kernel) * u64::from(self.kernel)
    }
}

kernel! {
    /// `y =` the largest value of each window, `index =` the pixel where it lies, `iy * w + ix`
    Forward("max_pool2d", forward) {
        constant shape: Shape,
        read x,
        write y,
        write index,
    }
    threads |shape| shape.outputs();
    flops |shape| shape.flops();
}

kernel! {
    /// `dx =` gradient of the input
    Backward("max_pool2d", backward) {
        constant shape: Shape,
        read indices,
        read dy,
        write dx,
    }
    threads |shape| shape.inputs();
    flops |shape| shape.flops();
}

#[cfg(test)]
mod tests {
    use super::Shape;

    #[test]
    fn windows_at_the_limits_are_taken() {
        let sizes = |shape: Shape| [shape.oh, shape.ow];
        assert_eq!(sizes(Shape::new(1, [3, 1, 2], 3, 1, 1)), [1, 2]);
        assert_eq!(sizes(Shape::new(1, [3, 240, 241], 240, 5, 0)), [1, 1]);
    }

    #[test]
    #[should_panic(expected = "a padding of 2 is more than half of a window of 3")]
    fn padding_beyond_half_of_the_window_is_refused() {
        Shape::new(1, [3, 8, 8], 3, 2, 2);
    }

    #[test]
    #[should_panic(expected = "a window of 4 does not fit 3 x 8 with a padding of 0")]
    fn a_window_larger_than_the_map_is_refused() {
        Shape::new(1, [3, 3, 8], 4, 1, 0);
    }

    #[test]
    #[should_panic(expected = "a window of 241 is too large")]
    fn a_window_with_too_many_turns_is_refused() {
        Shape::new(1, [3, 300, 300], 241, 1, 0);
    }
}
