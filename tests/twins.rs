//! Every backward twin against central differences of its forward twin, in `f64`.
//!
//! The objective is `sum dy * y` with a random dy: with a constant one, a batch normalization whose
//! gradient is zero would pass. Shapes have sizes of 1, primes, and heights that differ from
//! widths.

use convscope::reference::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn random(rng: &mut ChaCha8Rng, len: usize) -> Vec<f64> {
    (0..len).map(|_| rng.random_range(-2.0..2.0)).collect()
}

fn dot(dy: &[f64], y: &Summed<f64>) -> f64 {
    assert_eq!(dy.len(), y.value.len());
    dy.iter().zip(&y.value).map(|(dy, y)| dy * y).sum()
}

/// Checks `gradient` against the central differences of `objective` at `x`, every element.
fn check(what: &str, x: &[f64], gradient: &Summed<f64>, objective: impl Fn(&[f64]) -> f64) {
    const STEP: f64 = 1e-5;
    assert_eq!(x.len(), gradient.value.len(), "{what}: a gradient has the shape of its variable");
    let largest = gradient.value.iter().fold(0f64, |largest, g| largest.max(g.abs()));
    let mut moved = x.to_vec();
    for i in 0..x.len() {
        moved[i] = x[i] + STEP;
        let above = objective(&moved);
        moved[i] = x[i] - STEP;
        let below = objective(&moved);
        moved[i] = x[i];
        let (got, want) = (gradient.value[i], (above - below) / (2.0 * STEP));
        let error = (got - want).abs();
        assert!(error <= 1e-8 * (1.0 + largest), "{what}, element {i}: {got}, by differences {want}");
    }
}

#[test]
fn conv2d() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for [n, cin, h, w, cout, kh, kw, stride, padding] in [
        [1, 1, 1, 1, 1, 1, 1, 1, 0],
        [2, 3, 7, 5, 2, 3, 3, 2, 1],
        [2, 3, 8, 6, 5, 3, 3, 2, 1],
        [1, 2, 5, 8, 3, 3, 2, 1, 0],
        [1, 1, 4, 6, 2, 5, 3, 3, 2],
        [3, 2, 1, 11, 5, 1, 3, 2, 1],
    ] {
        let shape = conv2d::Shape { n, cin, h, w, cout, kernel: [kh, kw], stride, padding };
        let [x, weight, dy] = shape.lens().map(|len| random(&mut rng, len));
        let dx = conv2d::backward_input(shape, &weight, &dy);
        check(&format!("dx of {shape:?}"), &x, &dx, |x| dot(&dy, &conv2d::forward(shape, x, &weight)));
        let dw = conv2d::backward_weight(shape, &x, &dy);
        check(&format!("dw of {shape:?}"), &weight, &dw, |w| dot(&dy, &conv2d::forward(shape, &x, w)));
    }
}

#[test]
fn batch_norm() {
    use batch_norm::{Shape, Statistics, backward, backward_eval, forward, statistics};
    const EPS: f64 = 0.1;
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for [n, c, hw] in [[1, 1, 1], [1, 1, 2], [2, 3, 1], [3, 2, 5], [1, 5, 7], [7, 1, 11]] {
        let shape = Shape { n, c, hw };
        let [x, dy] = [(); 2].map(|()| random(&mut rng, shape.elements()));
        let [gamma, beta, mean] = [(); 3].map(|()| random(&mut rng, c));
        let variance = (0..c).map(|_| rng.random_range(0.1..2.0)).collect();

        let training = |x: &[f64], gamma: &[f64], beta: &[f64]| {
            dot(&dy, &forward(shape, x, &statistics(shape, x), gamma, beta, EPS))
        };
        let got = backward(shape, &x, &statistics(shape, &x), &gamma, EPS, &dy);
        check(&format!("dx of {shape:?}"), &x, &got.dx, |x| training(x, &gamma, &beta));
        check(&format!("dgamma of {shape:?}"), &gamma, &got.dgamma, |gamma| training(&x, gamma, &beta));
        check(&format!("dbeta of {shape:?}"), &beta, &got.dbeta, |beta| training(&x, &gamma, beta));

        let running = Statistics::exact(mean, variance);
        let evaluation =
            |x: &[f64], gamma: &[f64], beta: &[f64]| dot(&dy, &forward(shape, x, &running, gamma, beta, EPS));
        let got = backward_eval(shape, &x, &running, &gamma, EPS, &dy);
        check(&format!("dx in evaluation of {shape:?}"), &x, &got.dx, |x| evaluation(x, &gamma, &beta));
        check("dgamma in evaluation", &gamma, &got.dgamma, |gamma| evaluation(&x, gamma, &beta));
        check("dbeta in evaluation", &beta, &got.dbeta, |beta| evaluation(&x, &gamma, beta));
    }
}

#[test]
fn relu() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for len in [1, 7, 64] {
        let [mut x, dy] = [(); 2].map(|()| random(&mut rng, len));
        // Differences mean nothing across the kink at 0.
        x.iter_mut().for_each(|x| *x += 0.01 * x.signum());
        check("relu", &x, &relu::backward(&x, &dy), |x| dot(&dy, &relu::forward(x)));
    }
}

#[test]
fn dropout() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for [n, c, hw] in [[1, 1, 1], [2, 3, 5], [3, 7, 2], [1, 8, 13]] {
        for whole_channels in [false, true] {
            let shape = dropout::Shape { n, c, hw };
            let options = dropout::Options { seed: 1, step: 2, layer: 3, p: 0.4, whole_channels };
            let [x, dy] = [(); 2].map(|()| random(&mut rng, n * c * hw));
            let dx = dropout::backward(shape, options, &dy);
            check(&format!("{shape:?}"), &x, &dx, |x| dot(&dy, &dropout::forward(shape, options, x)));
        }
    }
}

#[test]
fn adaptive_avg_pool2d() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for [n, c, h, w, oh, ow] in
        [[1, 1, 1, 1, 1, 1], [2, 3, 4, 6, 2, 3], [1, 2, 7, 5, 3, 2], [3, 1, 5, 11, 1, 1], [1, 2, 2, 3, 5, 4]]
    {
        let shape = adaptive_avg_pool2d::Shape { n, c, h, w, oh, ow };
        let [x, dy] = shape.lens().map(|len| random(&mut rng, len));
        let dx = adaptive_avg_pool2d::backward(shape, &dy);
        check(&format!("{shape:?}"), &x, &dx, |x| dot(&dy, &adaptive_avg_pool2d::forward(shape, x)));
    }
}

#[test]
fn linear() {
    use linear::{Shape, backward_bias, backward_input, backward_weight, forward};
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    for [n, inputs, outputs] in [[1, 1, 1], [2, 3, 5], [7, 11, 1], [1, 5, 13]] {
        let shape = Shape { n, inputs, outputs };
        let [x, w, dy] = shape.lens().map(|len| random(&mut rng, len));
        let b = random(&mut rng, outputs);
        let dx = backward_input(shape, &w, &dy);
        check(&format!("dx of {shape:?}"), &x, &dx, |x| dot(&dy, &forward(shape, x, &w, &b)));
        let dw = backward_weight(shape, &x, &dy);
        check(&format!("dw of {shape:?}"), &w, &dw, |w| dot(&dy, &forward(shape, &x, w, &b)));
        let db = backward_bias(shape, &dy);
        check(&format!("db of {shape:?}"), &b, &db, |b| dot(&dy, &forward(shape, &x, &w, b)));
    }
}

/// The last operation: its gradient starts from the mean of the losses, so there is no dy to
/// choose.
#[test]
fn cross_entropy() {
    use cross_entropy::{Shape, backward, forward};
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for [n, classes] in [[1, 1], [1, 2], [5, 2], [3, 7], [11, 10]] {
        let shape = Shape { n, classes };
        let logits = random(&mut rng, n * classes);
        let labels: Vec<u32> = (0..n).map(|_| rng.random_range(0..classes as u32)).collect();
        let mean_loss = |z: &[f64]| forward(shape, z, &labels).value.iter().sum::<f64>() / n as f64;
        check(&format!("{shape:?}"), &logits, &backward(shape, &logits, &labels), mean_loss);
    }
}
