//! AvgPool2d, padding counted as zeros: `shaders/avg_pool2d.wgsl`.

pub use super::max_pool2d::Shape;
use crate::gpu::kernel::kernel;

kernel! {
    /// `y =` mean of each window
    Forward("avg_pool2d", forward) {
        constant shape: Shape,
        read x,
        write y,
    }
    threads |shape| shape.outputs();
    flops |shape| shape.flops();
}

kernel! {
    /// `dx =` gradient of the input
    Backward("avg_pool2d", backward) {
        constant shape: Shape,
        read dy,
        write dx,
    }
    threads |shape| shape.inputs();
    flops |shape| shape.flops();
}
