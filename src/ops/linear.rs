//! Linear: `shaders/linear.wgsl`.

use super::{Step, vectors};
use crate::gpu::kernel::{WORKGROUP, kernel, uniform};

uniform! {
    /// Sizes of a linear layer.
    pub struct Shape {
        /// Images in a batch.
        pub n: u32,
        /// Vectors of inputs.
        pub inputs: u32,
        /// Vectors of outputs.
        pub outputs: u32,
        /// Vectors of y that one workgroup of [`Forward`] makes: a power of two, at most 64.
        pub columns: u32,
        /// Blocks of four inputs and one vector of outputs that one workgroup of [`BackwardWeight`] makes, likewise.
        pub gradient_columns: u32,
    }
}

impl Shape {
    /// Shape for `n` images. `inputs` is a multiple of four where it counts the padded channels of a map.
    ///
    /// # Panics
    /// When there are more inputs or images than the sums can take.
    pub fn new(n: usize, inputs: usize, outputs: usize) -> Self {
        // A software driver stops an invocation's loops after 65,535 turns in all.
        assert!(vectors(inputs.max(outputs)).max(n) <= 60_000, "linear: {n} x {inputs} x {outputs} is too large");
        // Of many terms, an invocation adds up about eight.
        let columns = |terms: u32| WORKGROUP as u32 / terms.div_ceil(8).next_power_of_two().min(16);
        let [n, inputs, outputs] = [n, vectors(inputs), vectors(outputs)].map(|size| size as u32);
        Self { n, inputs, outputs, columns: columns(inputs), gradient_columns: columns(n) }
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
    workgroups |shape| (u64::from(shape.n) * u64::from(shape.outputs)).div_ceil(shape.columns.into());
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
    /// `dweight =` gradient of the weight; `dbias =` gradient of the bias
    BackwardWeight("linear", backward_weight) {
        constant shape: Shape,
        uniform step: Step,
        read x,
        read dy,
        write dweight,
        write dbias,
    }
    workgroups |shape| (u64::from(shape.inputs) * u64::from(shape.outputs)).div_ceil(shape.gradient_columns.into());
    flops |shape| shape.flops() + 4 * u64::from(shape.n) * u64::from(shape.outputs);
}
