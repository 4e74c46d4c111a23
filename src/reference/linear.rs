//! The fully connected layer, `torch.nn.Linear`: `y[n, o] = b[o] + sum over i of x[n, i] * w[o,
//! i]`.

use super::{Real, Summed, assert_fits, grid};

/// The sizes of a fully connected layer.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Rows in the batch.
    pub n: usize,
    /// Numbers in a row of x.
    pub inputs: usize,
    /// Numbers in a row of y.
    pub outputs: usize,
}

impl Shape {
    /// Elements of x, w and y.
    pub fn lens(&self) -> [usize; 3] {
        [self.n * self.inputs, self.outputs * self.inputs, self.n * self.outputs]
    }
}

/// y `=` `x w^T + b`, with x `(n, inputs)`, w `(outputs, inputs)` and b `(outputs)`: `(n,
/// outputs)`.
pub fn forward<T: Real>(shape: Shape, x: &[T], w: &[T], b: &[T]) -> Summed<T> {
    let [x_len, w_len, y_len] = shape.lens();
    assert_fits("x", x, x_len);
    assert_fits("w", w, w_len);
    assert_fits("b", b, shape.outputs);
    let mut y = Summed::zeros(y_len, shape.inputs + 1, 2);
    for (n, o) in grid(shape.n, shape.outputs) {
        y.add(n * shape.outputs + o, b[o]);
        for i in 0..shape.inputs {
            y.add(n * shape.outputs + o, x[n * shape.inputs + i] * w[o * shape.inputs + i]);
        }
    }
    y
}

/// dx `=` `dy w`: `dx[n, i] = sum over o of dy[n, o] * w[o, i]`.
pub fn backward_input<T: Real>(shape: Shape, w: &[T], dy: &[T]) -> Summed<T> {
    let [x_len, w_len, y_len] = shape.lens();
    assert_fits("w", w, w_len);
    assert_fits("dy", dy, y_len);
    let mut dx = Summed::zeros(x_len, shape.outputs, 2);
    for (n, i) in grid(shape.n, shape.inputs) {
        for o in 0..shape.outputs {
            dx.add(n * shape.inputs + i, dy[n * shape.outputs + o] * w[o * shape.inputs + i]);
        }
    }
    dx
}

/// dw `=` `dy^T x`: `dw[o, i] = sum over n of dy[n, o] * x[n, i]`.
pub fn backward_weight<T: Real>(shape: Shape, x: &[T], dy: &[T]) -> Summed<T> {
    let [x_len, w_len, y_len] = shape.lens();
    assert_fits("x", x, x_len);
    assert_fits("dy", dy, y_len);
    let mut dw = Summed::zeros(w_len, shape.n, 2);
    for (o, i) in grid(shape.outputs, shape.inputs) {
        for n in 0..shape.n {
            dw.add(o * shape.inputs + i, dy[n * shape.outputs + o] * x[n * shape.inputs + i]);
        }
    }
    dw
}

/// db `=` `db[o] = sum over n of dy[n, o]`.
pub fn backward_bias<T: Real>(shape: Shape, dy: &[T]) -> Summed<T> {
    assert_fits("dy", dy, shape.lens()[2]);
    let mut db = Summed::zeros(shape.outputs, shape.n, 2);
    for (n, o) in grid(shape.n, shape.outputs) {
        db.add(o, dy[n * shape.outputs + o]);
    }
    db
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows of three inputs, two outputs.
    const SHAPE: Shape = Shape { n: 2, inputs: 3, outputs: 2 };
    const X: [f64; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    const W: [f64; 6] = [1.0, 0.0, -1.0, 2.0, 1.0, 0.0];
    const DY: [f64; 4] = [1.0, 10.0, 100.0, 1000.0];

    #[test]
    fn forward_matches_values_worked_out_by_hand() {
        let y = forward(SHAPE, &X, &W, &[0.5, -1.0]);
        assert_eq!(y.value, [-1.5, 3.0, -1.5, 12.0]);
        assert_eq!(y.magnitude, [4.5, 5.0, 10.5, 14.0]);
    }

    #[test]
    fn backward_matches_values_worked_out_by_hand() {
        assert_eq!(backward_input(SHAPE, &W, &DY).value, [21.0, 10.0, -1.0, 2100.0, 1000.0, -100.0]);
        assert_eq!(backward_weight(SHAPE, &X, &DY).value, [401.0, 502.0, 603.0, 4010.0, 5020.0, 6030.0]);
        assert_eq!(backward_bias(SHAPE, &DY).value, [101.0, 1010.0]);
    }
}
