//! The bounds of the CPU references, tried without a device: every operation computed in `f32` must stay within
//! the bound that its `f64` CPU reference gives, at every element; and not so far within that the bound
//! would say nothing.
//!
//! Run with `--nocapture` to see the largest error of every operation in units of its bound.

use convscope::reference::batch_norm::Statistics;
use convscope::reference::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The largest error over bound that an operation has shown.
struct Worst(&'static str, f64);

impl Worst {
    fn see(&mut self, reference: &Summed<f64>, got: &[f32]) {
        self.see_ratio(reference.worst(got).1);
    }

    fn see_ratio(&mut self, ratio: f64) {
        assert!(ratio <= 1.0, "{}: an error is {ratio} times its bound", self.0);
        self.1 = self.1.max(ratio);
    }
}

impl Drop for Worst {
    fn drop(&mut self) {
        println!("{:32} {:.4}", self.0, self.1);
        if !std::thread::panicking() {
            assert!(self.1 >= 1e-3, "{}: a bound that is never nearly reached says nothing", self.0);
        }
    }
}

/// Numbers around `offset` that `f32` holds exactly.
fn random(rng: &mut ChaCha8Rng, len: usize, offset: f32, spread: f32) -> Vec<f32> {
    (0..len).map(|_| offset + rng.random_range(-spread..spread)).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

#[test]
fn conv2d() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut worst = ["conv2d y", "conv2d dx", "conv2d dw"].map(|name| Worst(name, 0.0));
    for [n, cin, h, w, cout, k, stride, padding] in
        [[1, 1, 1, 1, 1, 1, 1, 0], [2, 3, 17, 13, 16, 3, 2, 1], [3, 5, 7, 11, 4, 5, 1, 2], [1, 64, 6, 8, 32, 3, 2, 1]]
    {
        let shape = conv2d::Shape { n, cin, h, w, cout, kernel: [k, k], stride, padding };
        let [x, weight, dy] = shape.lens().map(|len| random(&mut rng, len, 0.0, 1.0));
        let [wide_x, wide_w, wide_dy] = [&x, &weight, &dy].map(|x| wide(x));
        worst[0].see(&conv2d::forward(shape, &wide_x, &wide_w), &conv2d::forward(shape, &x, &weight).value);
        let dx = conv2d::backward_input(shape, &weight, &dy).value;
        worst[1].see(&conv2d::backward_input(shape, &wide_w, &wide_dy), &dx);
        let dw = conv2d::backward_weight(shape, &x, &dy).value;
        worst[2].see(&conv2d::backward_weight(shape, &wide_x, &wide_dy), &dw);
    }
}

/// Integers whose sums stay below 2^24 are exact in `f32`, in any order: not a bit may differ.
#[test]
fn conv2d_of_integers_is_exact() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let shape = conv2d::Shape { n: 2, cin: 7, h: 13, w: 9, cout: 5, kernel: [3, 3], stride: 2, padding: 1 };
    let mut integers = |len| -> Vec<f32> {
        let sign = |negative| if negative { -1.0 } else { 1.0 };
        (0..len).map(|_| sign(rng.random()) * rng.random_range(1..=8) as f32).collect()
    };
    let [x, w, dy] = shape.lens().map(&mut integers);
    let [wide_x, wide_w, wide_dy] = [&x, &w, &dy].map(|x| wide(x));
    let narrow = conv2d::forward(shape, &x, &w).value;
    assert_eq!(wide(&narrow), conv2d::forward(shape, &wide_x, &wide_w).value);
    let narrow = conv2d::backward_input(shape, &w, &dy).value;
    assert_eq!(wide(&narrow), conv2d::backward_input(shape, &wide_w, &wide_dy).value);
    let narrow = conv2d::backward_weight(shape, &x, &dy).value;
    assert_eq!(wide(&narrow), conv2d::backward_weight(shape, &wide_x, &wide_dy).value);
}

/// Mean and variance of one channel as a GPU computes them: chunks shifted by their first element,
/// then combined in pairs (Chan, Golub and LeVeque, 1983). Returns the length of the longest chain
/// of additions too.
fn chunked_statistics(x: &[f32], chunk: usize) -> (f32, f32, usize) {
    let mut parts: Vec<(f32, f32, f32)> = x
        .chunks(chunk)
        .map(|x| {
            let (n, first) = (x.len() as f32, x[0]);
            let (mut sum, mut squares) = (0.0, 0.0);
            for x in x {
                sum += x - first;
                squares += (x - first) * (x - first);
            }
            (n, first + sum / n, squares - sum * sum / n)
        })
        .collect();
    let mut chain = chunk.min(x.len());
    while parts.len() > 1 {
        let combine = |pair: &[(f32, f32, f32)]| match *pair {
            [(na, a, squares_a), (nb, b, squares_b)] => {
                let (n, delta) = (na + nb, b - a);
                (n, a + delta * (nb / n), squares_a + squares_b + delta * delta * (na * nb / n))
            }
            _ => pair[0],
        };
        parts = parts.chunks(2).map(combine).collect();
        chain += 1;
    }
    let (n, mean, squares) = parts[0];
    (mean, squares / n, chain)
}

#[test]
fn batch_norm_in_chunks() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let names = ["chunked mean", "chunked variance", "chunked y", "chunked dx", "chunked dgamma"];
    let mut worst = names.map(|name| Worst(name, 0.0));
    for count in [1, 2, 3, 7, 64, 127, 1000, 20_011] {
        for chunk in [1, 2, 16, 61, 256] {
            for (offset, spread) in [(0.0, 1.0), (3.0, 1.0), (-100.0, 0.5), (1000.0, 1.0), (0.3, 1e-3)] {
                let shape = batch_norm::Shape { n: 1, c: 1, hw: count };
                let [x, dy] = [offset, 0.1].map(|offset| random(&mut rng, count, offset, spread));
                let (mean, variance, chain) = chunked_statistics(&x, chunk);
                let narrow = Statistics::exact(vec![mean], vec![variance]);
                let mut reference = batch_norm::statistics(shape, &wide(&x));
                reference.mean.terms = chain;
                reference.variance.terms = chain;
                worst[0].see(&reference.mean, &[mean]);
                worst[1].see(&reference.variance, &[variance]);
                let y = batch_norm::forward(shape, &x, &narrow, &[1.5], &[0.5], 1e-5);
                let want = batch_norm::forward(shape, &wide(&x), &reference, &[1.5], &[0.5], 1e-5);
                worst[2].see(&want, &y.value);
                let got = batch_norm::backward(shape, &x, &narrow, &[1.5], 1e-5, &dy);
                let want = batch_norm::backward(shape, &wide(&x), &reference, &[1.5], 1e-5, &wide(&dy));
                worst[3].see(&want.dx, &got.dx.value);
                worst[4].see(&want.dgamma, &got.dgamma.value);
            }
        }
    }
}

/// The kernels one by one, each handed the statistics that it needs.
#[test]
fn batch_norm_of_given_statistics() {
    use batch_norm::{Shape, backward, backward_eval, forward, statistics, update_running};
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let names = ["mean", "variance", "running mean", "running variance", "y", "dx", "dx in evaluation"];
    let mut worst = names.map(|name| Worst(name, 0.0));
    let mut worst_dgamma = Worst("dgamma", 0.0);
    let mut worst_dbeta = Worst("dbeta", 0.0);
    for [n, c, hw] in [[1, 1, 1], [2, 1, 1], [3, 5, 7], [2, 3, 64], [7, 2, 143]] {
        for offset in [0.0, 3.0, -200.0] {
            let shape = Shape { n, c, hw };
            let [x, dy] = [offset, 0.1].map(|offset| random(&mut rng, shape.elements(), offset, 1.0));
            let [gamma, beta, running] = [(); 3].map(|()| random(&mut rng, c, 0.0, 2.0));
            let [wide_x, wide_dy, wide_gamma, wide_beta, wide_running] =
                [&x, &dy, &gamma, &beta, &running].map(|x| wide(x));

            let (got, want) = (statistics(shape, &x), statistics(shape, &wide_x));
            worst[0].see(&want.mean, &got.mean.value);
            worst[1].see(&want.variance, &got.variance.value);
            let count = shape.count();
            let updated = update_running(&running, &running, &got, 0.1, count);
            let wanted = update_running(&wide_running, &wide_running, &want, 0.1, count);
            worst[2].see(&wanted.mean, &updated.mean.value);
            worst[3].see(&wanted.variance, &updated.variance.value);

            let given = Statistics::exact(wide(&got.mean.value), wide(&got.variance.value));
            let want = forward(shape, &wide_x, &given, &wide_gamma, &wide_beta, 1e-5);
            worst[4].see(&want, &forward(shape, &x, &got, &gamma, &beta, 1e-5).value);
            let want = backward(shape, &wide_x, &given, &wide_gamma, 1e-5, &wide_dy);
            let gradients = backward(shape, &x, &got, &gamma, 1e-5, &dy);
            worst[5].see(&want.dx, &gradients.dx.value);
            worst_dgamma.see(&want.dgamma, &gradients.dgamma.value);
            worst_dbeta.see(&want.dbeta, &gradients.dbeta.value);
            let want = backward_eval(shape, &wide_x, &given, &wide_gamma, 1e-5, &wide_dy);
            worst[6].see(&want.dx, &backward_eval(shape, &x, &got, &gamma, 1e-5, &dy).dx.value);
        }
    }
}

#[test]
fn relu_is_exact() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let [x, dy] = [(); 2].map(|()| random(&mut rng, 100, 0.0, 1.0));
    assert_eq!(relu::forward(&wide(&x)).worst(&relu::forward(&x).value).1, 0.0);
    assert_eq!(relu::backward(&wide(&x), &wide(&dy)).worst(&relu::backward(&x, &dy).value).1, 0.0);
    let x: Vec<f32> = x.iter().map(|x| 8.0 * x).collect();
    assert_eq!(relu::forward6(&wide(&x)).worst(&relu::forward6(&x).value).1, 0.0);
    assert_eq!(relu::backward6(&wide(&x), &wide(&dy)).worst(&relu::backward6(&x, &dy).value).1, 0.0);
}

#[test]
fn dropout() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut worst = Worst("dropout y", 0.0);
    let shape = dropout::Shape { n: 3, c: 7, hw: 11 };
    let options = dropout::Options { seed: 1, step: 2, layer: 3, p: 0.1, whole_channels: false };
    let x = random(&mut rng, 3 * 7 * 11, 0.0, 1.0);
    worst.see(&dropout::forward(shape, options, &wide(&x)), &dropout::forward(shape, options, &x).value);
}

#[test]
fn adaptive_avg_pool2d() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut worst = ["adaptive_avg_pool2d y", "adaptive_avg_pool2d dx"].map(|name| Worst(name, 0.0));
    for [n, c, h, w, oh, ow] in [[1, 1, 1, 1, 1, 1], [2, 3, 7, 5, 3, 2], [3, 5, 4, 4, 1, 1], [1, 2, 2, 3, 5, 4]] {
        let shape = adaptive_avg_pool2d::Shape { n, c, h, w, oh, ow };
        let [x, dy] = shape.lens().map(|len| random(&mut rng, len, 0.1, 1.0));
        worst[0].see(&adaptive_avg_pool2d::forward(shape, &wide(&x)), &adaptive_avg_pool2d::forward(shape, &x).value);
        worst[1]
            .see(&adaptive_avg_pool2d::backward(shape, &wide(&dy)), &adaptive_avg_pool2d::backward(shape, &dy).value);
    }
}

/// Images, channels, height, width, kernel, stride, padding.
const WINDOWS: [[usize; 7]; 5] = [
    [1, 1, 1, 1, 1, 1, 0],
    [2, 3, 7, 5, 3, 2, 1],
    [1, 2, 13, 9, 5, 1, 2],
    [3, 5, 8, 6, 2, 2, 0],
    [1, 4, 17, 11, 7, 2, 3],
];

#[test]
fn avg_pool2d() {
    use avg_pool2d::{Shape, backward, forward};
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let mut worst = ["avg_pool2d y", "avg_pool2d dx"].map(|name| Worst(name, 0.0));
    for [n, c, h, w, kernel, stride, padding] in WINDOWS {
        let shape = Shape { n, c, h, w, kernel, stride, padding };
        let [x, dy] = shape.lens().map(|len| random(&mut rng, len, 0.1, 1.0));
        worst[0].see(&forward(shape, &wide(&x)), &forward(shape, &x).value);
        worst[1].see(&backward(shape, &wide(&dy)), &backward(shape, &dy).value);
    }
}

#[test]
fn max_pool2d() {
    use max_pool2d::{Shape, backward, forward};
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    let mut worst = Worst("max_pool2d dx", 0.0);
    for [n, c, h, w, kernel, stride, padding] in WINDOWS {
        let shape = Shape { n, c, h, w, kernel, stride, padding };
        let [x, dy] = shape.lens().map(|len| random(&mut rng, len, 0.1, 1.0));
        let (y, indices) = forward(shape, &x);
        assert_eq!((wide(&y), indices.clone()), forward(shape, &wide(&x)), "nothing is rounded");
        worst.see(&backward(shape, &indices, &wide(&dy)), &backward(shape, &indices, &dy).value);
    }
}

#[test]
fn depthwise() {
    use depthwise::{Shape, backward_input, backward_weight, forward};
    let mut rng = ChaCha8Rng::seed_from_u64(14);
    let mut worst = ["depthwise y", "depthwise dx", "depthwise dw"].map(|name| Worst(name, 0.0));
    for [n, c, h, w, kernel, stride, padding] in WINDOWS {
        let shape = Shape { n, c, h, w, kernel, stride, padding };
        let [x, weight, dy] = shape.lens().map(|len| random(&mut rng, len, 0.0, 1.0));
        let [wide_x, wide_w, wide_dy] = [&x, &weight, &dy].map(|x| wide(x));
        worst[0].see(&forward(shape, &wide_x, &wide_w), &forward(shape, &x, &weight).value);
        worst[1].see(&backward_input(shape, &wide_w, &wide_dy), &backward_input(shape, &weight, &dy).value);
        worst[2].see(&backward_weight(shape, &wide_x, &wide_dy), &backward_weight(shape, &x, &dy).value);
    }
}

#[test]
fn bias_and_add() {
    let mut rng = ChaCha8Rng::seed_from_u64(15);
    let mut worst = ["bias y", "bias db", "add y"].map(|name| Worst(name, 0.0));
    for [n, c, hw] in [[1, 1, 1], [2, 3, 17], [7, 5, 64]] {
        let shape = bias::Shape { n, c, hw };
        let [x, dy] = [(); 2].map(|()| random(&mut rng, shape.elements(), 0.1, 1.0));
        let bias = random(&mut rng, c, 0.0, 1.0);
        worst[0].see(&bias::forward(shape, &wide(&x), &wide(&bias)), &bias::forward(shape, &x, &bias).value);
        worst[1].see(&bias::backward(shape, &wide(&dy)), &bias::backward(shape, &dy).value);
        worst[2].see(&add::forward(&wide(&x), &wide(&dy)), &add::forward(&x, &dy).value);
    }
}

#[test]
fn linear() {
    use linear::{Shape, backward_bias, backward_input, backward_weight, forward};
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let mut worst = ["linear y", "linear dx", "linear dw", "linear db"].map(|name| Worst(name, 0.0));
    for [n, inputs, outputs] in [[1, 1, 1], [7, 5, 3], [17, 256, 64], [64, 64, 2]] {
        let shape = Shape { n, inputs, outputs };
        let [x, w, dy] = shape.lens().map(|len| random(&mut rng, len, 0.0, 1.0));
        let b = random(&mut rng, outputs, 0.0, 1.0);
        let [wide_x, wide_w, wide_b, wide_dy] = [&x, &w, &b, &dy].map(|x| wide(x));
        worst[0].see(&forward(shape, &wide_x, &wide_w, &wide_b), &forward(shape, &x, &w, &b).value);
        worst[1].see(&backward_input(shape, &wide_w, &wide_dy), &backward_input(shape, &w, &dy).value);
        worst[2].see(&backward_weight(shape, &wide_x, &wide_dy), &backward_weight(shape, &x, &dy).value);
        worst[3].see(&backward_bias(shape, &wide_dy), &backward_bias(shape, &dy).value);
    }
}

#[test]
fn cross_entropy() {
    use cross_entropy::{Shape, Targets, backward, backward_weighted, forward};
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let names = ["cross_entropy loss", "cross_entropy dlogits", "cross_entropy dlogits, weighted"];
    let mut worst = names.map(|name| Worst(name, 0.0));
    for [n, classes] in [[1, 1], [64, 2], [13, 7], [5, 100]] {
        for spread in [0.01, 1.0, 20.0, 150.0] {
            let shape = Shape { n, classes };
            let logits = random(&mut rng, n * classes, 0.0, spread);
            let labels: Vec<u32> = (0..n).map(|_| rng.random_range(0..classes as u32)).collect();
            let losses = forward(shape, &logits, &labels).value;
            worst[0].see(&forward(shape, &wide(&logits), &labels), &losses);
            let dlogits = backward(shape, &logits, &labels).value;
            worst[1].see(&backward(shape, &wide(&logits), &labels), &dlogits);
            let weights = random(&mut rng, classes, 1.5, 1.4);
            let targets = Targets { smoothing: 0.1, weights: &weights };
            let dlogits = backward_weighted(shape, &logits, &labels, targets).value;
            let wide_targets = Targets { smoothing: 0.1, weights: &wide(&weights) };
            worst[2].see(&backward_weighted(shape, &wide(&logits), &labels, wide_targets), &dlogits);
        }
    }
}

/// Gradients from 1e-12 to 1e2 in size, and one in ten exactly zero.
fn gradients(rng: &mut ChaCha8Rng, len: usize) -> Vec<f32> {
    let scale = |decade: f32| {
        if decade < -10.6 { 0.0 } else { 10f32.powf(decade) }
    };
    (0..len).map(|_| rng.random_range(-1.0..1.0) * scale(rng.random_range(-12.0..2.0))).collect()
}

#[test]
fn adam() {
    let mut rng = ChaCha8Rng::seed_from_u64(10);
    let mut worst = ["adam param", "adam m", "adam v"].map(|name| Worst(name, 0.0));
    for weight_decay in [0.0, 0.01] {
        let options = adam::Options { lr: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay };
        let mut param = random(&mut rng, 500, 0.0, 1.0);
        let (mut m, mut v) = (vec![0.0; 500], vec![0.0; 500]);
        for t in 1..=20 {
            let grad = gradients(&mut rng, 500);
            let mut want = [&param, &m, &v].map(|x| wide(x));
            let [want_param, want_m, want_v] = &mut want;
            let bounds = adam::step(options, t, want_param, &wide(&grad), want_m, want_v);
            adam::step(options, t, &mut param, &grad, &mut m, &mut v);
            for i in 0..500 {
                worst[0].see_ratio(ratio(f64::from(param[i]), want_param[i], bounds.param[i]));
                worst[1].see_ratio(ratio(f64::from(m[i]), want_m[i], bounds.m[i]));
                worst[2].see_ratio(ratio(f64::from(v[i]), want_v[i], bounds.v[i]));
            }
        }
    }
}

#[test]
fn sgd() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut worst = ["sgd param", "sgd momentum"].map(|name| Worst(name, 0.0));
    for weight_decay in [0.0, 0.01] {
        let options = sgd::Options { lr: 0.05, momentum: 0.9, weight_decay };
        let (mut param, mut momentum) = (random(&mut rng, 500, 0.0, 1.0), vec![0.0; 500]);
        for _ in 0..20 {
            let grad = gradients(&mut rng, 500);
            let (mut want_param, mut want_momentum) = (wide(&param), wide(&momentum));
            let bounds = sgd::step(options, &mut want_param, &wide(&grad), &mut want_momentum);
            sgd::step(options, &mut param, &grad, &mut momentum);
            for i in 0..500 {
                worst[0].see_ratio(ratio(f64::from(param[i]), want_param[i], bounds.param[i]));
                worst[1].see_ratio(ratio(f64::from(momentum[i]), want_momentum[i], bounds.momentum[i]));
            }
        }
    }
}
