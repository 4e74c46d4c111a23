//! Every backward CPU reference against central differences of its forward pass, in `f64`; and those of single operations against
//! what PyTorch makes of the same numbers (golden/make_operations.py).
//!
//! The objective is `sum dy * y` with a random dy: with a constant one, a batch normalization whose
//! gradient is zero would pass. Shapes have sizes of 1, primes, and heights that differ from
//! widths.

use convscope::reference::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

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
        // From -8 to 8, and 0.01 or more away from the kink at 6, too.
        x.iter_mut().for_each(|x| *x = 4.0 * *x + 0.02 * (4.0 * *x - 6.0).signum());
        check("relu6", &x, &relu::backward6(&x, &dy), |x| dot(&dy, &relu::forward6(x)));
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

/// Images, channels, height, width, kernel, stride, padding; of windows that padding fills at most half of.
const WINDOWS: [[usize; 7]; 7] = [
    [1, 1, 1, 1, 1, 1, 0],
    [1, 2, 1, 1, 3, 1, 1],
    [2, 3, 7, 5, 3, 2, 1],
    [1, 2, 6, 9, 2, 2, 0],
    [1, 1, 5, 4, 4, 1, 2],
    [1, 3, 4, 8, 5, 3, 2],
    [2, 1, 8, 7, 2, 3, 1],
];

#[test]
fn avg_pool2d() {
    use avg_pool2d::{Shape, backward, forward};
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    for [n, c, h, w, kernel, stride, padding] in WINDOWS {
        let shape = Shape { n, c, h, w, kernel, stride, padding };
        let [x, dy] = shape.lens().map(|len| random(&mut rng, len));
        check(&format!("{shape:?}"), &x, &backward(shape, &dy), |x| dot(&dy, &forward(shape, x)));
    }
}

#[test]
fn max_pool2d() {
    use max_pool2d::{Shape, backward, forward};
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    for [n, c, h, w, kernel, stride, padding] in WINDOWS {
        let shape = Shape { n, c, h, w, kernel, stride, padding };
        let [x_len, y_len] = shape.lens();
        // Differences mean nothing where two values are nearly equal: these are a hundredth apart, in random order.
        let mut x: Vec<f64> = (0..x_len).map(|i| 0.01 * i as f64).collect();
        (1..x_len).rev().for_each(|i| x.swap(i, rng.random_range(0..=i)));
        let dy = random(&mut rng, y_len);
        let (_, indices) = forward(shape, &x);
        let objective = |x: &[f64]| dot(&dy, &Summed::exact(forward(shape, x).0));
        check(&format!("{shape:?}"), &x, &backward(shape, &indices, &dy), objective);
    }
}

#[test]
fn depthwise() {
    use depthwise::{Shape, backward_input, backward_weight, forward};
    let mut rng = ChaCha8Rng::seed_from_u64(10);
    // Padding of a convolution may be as large as one likes.
    for [n, c, h, w, kernel, stride, padding] in
        WINDOWS.into_iter().chain([[1, 2, 3, 4, 2, 2, 3], [2, 3, 5, 4, 1, 2, 1]])
    {
        let shape = Shape { n, c, h, w, kernel, stride, padding };
        let [x, weight, dy] = shape.lens().map(|len| random(&mut rng, len));
        let dx = backward_input(shape, &weight, &dy);
        check(&format!("dx of {shape:?}"), &x, &dx, |x| dot(&dy, &forward(shape, x, &weight)));
        let dw = backward_weight(shape, &x, &dy);
        check(&format!("dw of {shape:?}"), &weight, &dw, |w| dot(&dy, &forward(shape, &x, w)));
    }
}

#[test]
fn bias() {
    use bias::{Shape, backward, forward};
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    for [n, c, hw] in [[1, 1, 1], [2, 3, 1], [3, 2, 5], [1, 5, 7]] {
        let shape = Shape { n, c, hw };
        let [x, dy] = [(); 2].map(|()| random(&mut rng, shape.elements()));
        let bias = random(&mut rng, c);
        let of_bias = |bias: &[f64]| dot(&dy, &forward(shape, &x, bias));
        check(&format!("dbias of {shape:?}"), &bias, &backward(shape, &dy), of_bias);
        let dx = Summed::exact(dy.clone());
        check(&format!("dx of {shape:?}"), &x, &dx, |x| dot(&dy, &forward(shape, x, &bias)));
    }
}

#[test]
fn add() {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let [a, b, dy] = [(); 3].map(|()| random(&mut rng, 7));
    check("a", &a, &Summed::exact(dy.clone()), |a| dot(&dy, &add::forward(a, &b)));
    check("b", &b, &Summed::exact(dy.clone()), |b| dot(&dy, &add::forward(&a, b)));
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
    use cross_entropy::{Shape, Targets, backward, backward_weighted, forward, forward_weighted};
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for [n, classes] in [[1, 1], [1, 2], [5, 2], [3, 7], [11, 10]] {
        let shape = Shape { n, classes };
        let logits = random(&mut rng, n * classes);
        let labels: Vec<u32> = (0..n).map(|_| rng.random_range(0..classes as u32)).collect();
        let mean_loss = |z: &[f64]| forward(shape, z, &labels).value.iter().sum::<f64>() / n as f64;
        check(&format!("{shape:?}"), &logits, &backward(shape, &logits, &labels), mean_loss);
        let weights: Vec<f64> = (0..classes).map(|_| rng.random_range(0.1..3.0)).collect();
        for smoothing in [0.0, 0.2] {
            let targets = Targets { smoothing, weights: &weights };
            let gradient = backward_weighted(shape, &logits, &labels, targets);
            let loss = |z: &[f64]| forward_weighted(shape, z, &labels, targets);
            check(&format!("{shape:?}, {targets:?}"), &logits, &gradient, loss);
        }
    }
}

/// A tensor of golden/operations.json: one text, its numbers in a row.
fn tensor(case: &Value, name: &str) -> Vec<f64> {
    let text = case[name].as_str().unwrap_or_else(|| panic!("{} has no {name}", case["operation"]));
    text.split(' ').map(|number| number.parse().unwrap()).collect()
}

fn assert_close(case: &Value, name: &str, got: &[f64]) {
    let want = tensor(case, name);
    assert_eq!(got.len(), want.len(), "{name} of {case}");
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        // PyTorch adds in another order; what is no number and what is infinite must be the same.
        let same = got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() <= 1e-13 * (1.0 + want.abs());
        assert!(same, "{name}, element {i}: {got}, in PyTorch {want}, of {case}");
    }
}

#[test]
fn single_operations_are_those_of_pytorch() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("golden/operations.json")).unwrap();
    let mut seen = std::collections::BTreeMap::new();
    for case in &cases {
        let operation = case["operation"].as_str().unwrap();
        *seen.entry(operation).or_insert(0) += 1;
        let sizes: Vec<usize> = match &case["shape"] {
            Value::Null => vec![],
            shape => serde_json::from_value(shape.clone()).unwrap(),
        };
        let [x, dy] = ["x", "dy"].map(|name| tensor(case, name));
        match (operation, &sizes[..]) {
            ("max_pool2d", &[n, c, h, w, kernel, stride, padding]) => {
                let shape = max_pool2d::Shape { n, c, h, w, kernel, stride, padding };
                let (y, indices) = max_pool2d::forward(shape, &x);
                assert_close(case, "y", &y);
                let wanted: Vec<u32> = tensor(case, "indices").iter().map(|&index| index as u32).collect();
                assert_eq!(indices, wanted, "{case}");
                assert_close(case, "dx", &max_pool2d::backward(shape, &indices, &dy).value);
            }
            ("avg_pool2d", &[n, c, h, w, kernel, stride, padding]) => {
                let shape = avg_pool2d::Shape { n, c, h, w, kernel, stride, padding };
                assert_close(case, "y", &avg_pool2d::forward(shape, &x).value);
                assert_close(case, "dx", &avg_pool2d::backward(shape, &dy).value);
            }
            ("depthwise", &[n, c, h, w, kernel, stride, padding]) => {
                let shape = depthwise::Shape { n, c, h, w, kernel, stride, padding };
                let weight = tensor(case, "weight");
                assert_close(case, "y", &depthwise::forward(shape, &x, &weight).value);
                assert_close(case, "dx", &depthwise::backward_input(shape, &weight, &dy).value);
                assert_close(case, "dweight", &depthwise::backward_weight(shape, &x, &dy).value);
            }
            ("relu6", &[]) => {
                assert_close(case, "y", &relu::forward6(&x).value);
                assert_close(case, "dx", &relu::backward6(&x, &dy).value);
            }
            ("bias", &[n, c, hw]) => {
                let shape = bias::Shape { n, c, hw };
                assert_close(case, "y", &bias::forward(shape, &x, &tensor(case, "bias")).value);
                assert_close(case, "dbias", &bias::backward(shape, &dy).value);
            }
            _ => panic!("there is no reference for {case}"),
        }
    }
    let expected = [("avg_pool2d", 5), ("bias", 1), ("depthwise", 5), ("max_pool2d", 8), ("relu6", 1)];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
}
