//! Linear: `shaders/linear.wgsl`.

use super::{Step, vectors};
use crate::kernel::{kernel, uniform};

uniform! {
    /// Sizes of a linear layer.
    pub struct Shape {
        /// Pictures in a batch.
        pub n: u32,
        /// Vectors of inputs.
        pub inputs: u32,
        /// Vectors of outputs.
        pub outputs: u32,
    }
}

impl Shape {
    /// Shape for `n` pictures. `inputs` is a multiple of four where it counts the padded channels of a map.
    ///
    /// # Panics
    /// When there are more inputs or pictures than the sums can take.
    pub fn new(n: usize, inputs: usize, outputs: usize) -> Self {
        // A software driver stops an invocation's loops after 65,535 turns in all.
        assert!(vectors(inputs.max(outputs)).max(n) <= 60_000, "linear: {n} x {inputs} x {outputs} is too large");
        let [n, inputs, outputs] = [n, vectors(inputs), vectors(outputs)].map(|size| size as u32);
        Self { n, inputs, outputs }
    }

    fn flops(&self) -> u64 {
        2 * 16 * u64::from(self.n) * u64::from(self.inputs) * u64::from(self.outputs)
    }
}

kernel! {
    /// `y = x * weight + bias`
    Forward("linear", forward) {
        constant shape: Shape,
        read x,
        read weight,
        read bias,
        write y,
    }
    threads |shape| u64::from(shape.n) * u64::from(shape.outputs);
    flops |shape| shape.flops();
}

kernel! {
    /// `dx =` gradient of the input
    BackwardInput("linear", backward_input) {
        constant shape: Shape,
        read weight,
        read dy,
        write dx,
    }
    threads |shape| u64::from(shape.n) * u64::from(shape.inputs);
    flops |shape| shape.flops();
}

kernel! {
    /// `dweight =` gradient of the weight
    BackwardWeight("linear", backward_weight) {
        constant shape: Shape,
        uniform step: Step,
        read x,
        read dy,
        write dweight,
    }
    threads |shape| u64::from(shape.inputs) * u64::from(shape.outputs);
    flops |shape| shape.flops();
}

kernel! {
    /// `dbias =` gradient of the bias
    BackwardBias("linear", backward_bias) {
        constant shape: Shape,
        uniform step: Step,
        read dy,
        write dbias,
    }
    threads |shape| shape.outputs.into();
    flops |shape| 4 * u64::from(shape.n) * u64::from(shape.outputs);
}
