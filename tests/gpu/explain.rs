//! Explanations against PyTorch, and against what was planted.
//!
//! `tests/golden/make_saliency.py` made the files and describes their format and definitions.

use approx::assert_abs_diff_eq;
use convscope::data::drawn::{Drawn, Subject};
use convscope::explain::learned::survey;
use convscope::explain::ledger::Ledger;
use convscope::explain::saliency::{self, Map, Method};
use convscope::explain::trust;
use convscope::explain::{Explanation, Hover, Inside, Lens, Options, Question};
use convscope::gpu::{Gpu, Kernels};
use convscope::nn::checkpoint::Weights;
use convscope::nn::layout::{padded, unpack_images};
use convscope::nn::{Head, Network, Normalize, Preparation, Strided};
use convscope::nn::{Keep, Model, Optimizer};
use convscope::ops::relu::Rule;
use convscope::stats::standing;
use libtest_mimic::Trial;
use pollster::block_on;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::common::trial;
use crate::golden::{Golden, compare, formula};
use crate::{KERNELS, gpu, gpu_with};

/// Largest difference allowed, relative to the tensor's largest value. Differences of logits cancel: PyTorch's own float32
/// results differ from the float64 values in the files by up to 1.2e-5.
const TOLERANCE: f64 = 5e-5;

pub fn tests() -> Vec<Trial> {
    let files = [
        ("odd", include_str!("../golden/odd.json"), include_str!("../golden/saliency_odd.json")),
        ("flat", include_str!("../golden/flat.json"), include_str!("../golden/saliency_flat.json")),
        ("exact", include_str!("../golden/exact.json"), include_str!("../golden/saliency_exact.json")),
    ];
    let mut tests = Vec::new();
    for (name, network, saliency) in files {
        for kernels in KERNELS {
            // On a software driver they take half a minute for the largest; what they make of it, golden::exact holds.
            if (name, kernels) == ("exact", Kernels::Tiled) {
                continue;
            }
            let name = format!("explain::{name}::{kernels}");
            tests.push(trial(name, move || against_pytorch(gpu_with(kernels), network, saliency)));
        }
    }
    tests.push(trial("explain::planted_patch", planted_patch));
    tests.push(trial("explain::a_silenced_channel_is_dead", silenced_channel));
    tests.push(trial("explain::the_batch_changes_nothing", batches));
    tests.push(trial("explain::single_values_add_up", single_values));
    tests.push(trial("explain::smooth_gradient", smooth_gradient));
    tests.push(trial("explain::occlusion_treats_all_borders_alike", symmetric_occlusion));
    tests
}

/// Every map, ledger and ablation of every image of a file.
fn against_pytorch(gpu: &'static Gpu, network: &str, saliency: &str) {
    let golden = Golden::new(network, gpu, Keep::Everything);
    let file: Value = serde_json::from_str(saliency).unwrap();
    let mut weights = golden.weights();
    for (name, stored) in file["running_stats"].as_object().unwrap() {
        let salt = stored["salt"].as_u64().unwrap() as u32;
        let values: Vec<f32> = (0..weights.get(name).len() as u32)
            .map(|i| if name.ends_with("mean") { 0.2 * formula(i, salt) } else { 1.0 + 0.5 * formula(i, salt) })
            .collect();
        compare(name, &values, stored, 1e-8);
        weights.tensors.insert(name.clone(), values);
    }
    // A batch that divides none of the counts.
    let lens = block_on(Lens::new(gpu, &golden.network, 7, |_, _| {})).unwrap();
    lens.load(&weights);
    let images = golden.images();
    let setting = |key: &str| file["settings"][key].as_u64().unwrap() as usize;
    let numbers =
        |key: &str| -> Vec<f64> { file[key].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect() };
    let [_, height, width] = golden.network.input();

    let mut found: std::collections::BTreeMap<String, Vec<f32>> = Default::default();
    let mut add = |name: &str, values: Vec<f32>| found.entry(name.into()).or_default().extend(values);
    let differences = numbers("gap");
    let largest = differences.iter().fold(0.0, |most: f64, difference| most.max(difference.abs()));
    for (n, image) in images.chunks(lens.image_len()).enumerate() {
        let class = |key: &str| numbers(key)[n] as usize;
        let question = Question { target: class("target"), against: class("against") };
        let (_, inside) = block_on(lens.inside(image, |_| question)).unwrap();
        let near = |what: &str, found: f64, expected: f64| {
            assert!((found - expected).abs() <= TOLERANCE * largest, "{what} of image {n}: {found}, {expected}");
        };
        near("logit difference", question.logit_difference(&inside.logits), differences[n]);
        let map = |method: Method| block_on(method.map(&lens, image, &inside, question)).unwrap().values;

        for (name, rule) in
            [("gradient", Rule::Gradient), ("guided_backprop", Rule::Guided), ("deconvnet", Rule::Deconvnet)]
        {
            let gradient = block_on(saliency::gradient(&lens, image, question, rule)).unwrap();
            add(name, unpack_images(&gradient, 1, 3, height * width));
        }
        add("gradient_map", map(Method::Gradient));
        add("gradient_x_input", map(Method::GradientTimesInput));
        if n < setting("path_images") {
            let steps = setting("path_steps");
            let values = block_on(saliency::integrated_gradients(&lens, image, question, steps)).unwrap();
            let gap = block_on(saliency::Completeness::of(&lens, &values, image, question)).unwrap().gap;
            near("completeness gap", gap, numbers("completeness_gap")[n]);
            add("integrated_gradients", values);
        }
        if n < setting("occluded_images") {
            add("occlusion", block_on(saliency::occlusion(&lens, image, question, setting("patch") / 2)).unwrap());
        }
        for block in 0..lens.blocks().len() {
            let number = block + 1;
            add(&format!("grad_cam {number}"), map(Method::GradCam { block }));
            add(&format!("hirescam {number}"), map(Method::HiResCam { block }));
            add(&format!("layercam {number}"), map(Method::LayerCam { block }));
            let channels = lens.blocks()[block].output[0];
            let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
            add(&format!("contribution {number}"), narrow(saliency::contributions(&inside.blocks[block], channels)));
            if file["settings"]["ablated_blocks"].as_array().unwrap().contains(&number.into()) {
                let means: Vec<f32> =
                    (0..channels as u32).map(|c| 0.5 * (1.0 + formula(c, 900 + number as u32))).collect();
                let drops = block_on(saliency::channel_ablation(&lens, block, &inside, &means, question)).unwrap();
                add(&format!("channel_ablation {number}"), narrow(drops));
            }
        }
        let ledger =
            Ledger::exact(&golden.network, &weights, question, &inside.logits, &inside.blocks.last().unwrap().relu)
                .unwrap();
        near("bias", ledger.bias, numbers("bias")[n]);
        assert!(
            ledger.residual.abs() <= 1e-5 * ledger.logit_difference.abs(),
            "image {n}: residual {}",
            ledger.residual
        );
        let sum = ledger.bias + ledger.evidence.iter().map(|&part| f64::from(part)).sum::<f64>();
        near("evidence and bias", sum, ledger.logit_difference);
        let mut shares = vec![0.0; ledger.channels.len()];
        ledger.channels.iter().for_each(|channel| shares[channel.index] = channel.share as f32);
        add("share", shares);
        add("evidence", ledger.evidence);
    }

    let expected = file["tensors"].as_object().unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "everything is compared");
    for (name, values) in &found {
        compare(name, values, &expected[name], TOLERANCE);
    }
}

/// Side of the images of the planted test, and of the patch that alone makes class 1.
const SIDE: usize = 64;
const PATCH: usize = patch(SIDE);

/// Side of the patch in images of this side: it covers 3.5 %.
const fn patch(side: usize) -> usize {
    side * 3 / 16
}

/// An image of noise, and the patch's corner (row, column) where it has one.
pub fn planted(random: &mut ChaCha8Rng, side: usize, class: u32) -> (Vec<f32>, [usize; 2]) {
    let mut image: Vec<f32> = (0..side * side)
        .flat_map(|_| {
            [random.random_range(-0.5..0.5), random.random_range(-0.5..0.5), random.random_range(-0.5..0.5), 0.0]
        })
        .collect();
    let patch = patch(side);
    let corner = [0; 2].map(|_| random.random_range(2..(side - patch - 2) as u32) as usize);
    if class == 1 {
        for i in 0..patch * patch {
            let (row, column) = (corner[0] + i / patch, corner[1] + i % patch);
            // Stripes of two colours.
            let colour = if row % 4 < 2 { [0.5, -0.5, 0.0] } else { [-0.5, 0.5, 0.0] };
            image[4 * (row * side + column)..][..3].copy_from_slice(&colour);
        }
    }
    (image, corner)
}

/// The share of a map's positive part that lies on the patch, divided by the patch's share of the image.
fn on_patch(map: &Map, [top, left]: [usize; 2]) -> f64 {
    let part = |inside: bool| -> f64 {
        let on = |i: usize| (top..top + PATCH).contains(&(i / SIDE)) && (left..left + PATCH).contains(&(i % SIDE));
        let values = map.values.iter().enumerate().filter(|&(i, _)| !inside || on(i));
        values.map(|(_, &value)| f64::from(value.max(0.0))).sum()
    };
    part(true) / part(false) / ((PATCH * PATCH) as f64 / (SIDE * SIDE) as f64)
}

/// Trains on images whose classes differ by a patch only; evidence, occlusion and integrated gradients must lie on it, and
/// must not for an untrained network.
fn planted_patch() {
    let network = Strided { channels: vec![8, 16, 32], hidden: 16, dropout: 0.0, ..Strided::dogs_vs_cats(SIDE, 2) }
        .build()
        .unwrap();
    let batch = 32;
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let weights = trained(&network, batch, 150, &mut random);
    let lens = block_on(Lens::new(gpu(), &network, batch, |_, _| {})).unwrap();
    let question = Question { target: 1, against: 0 };

    let mean = |weights: &Weights| -> [f64; 3] {
        lens.load(weights);
        let mut random = ChaCha8Rng::seed_from_u64(2);
        let images = 8;
        let mut sums = [0.0; 3];
        for _ in 0..images {
            let (image, corner) = planted(&mut random, SIDE, 1);
            let (_, inside) = block_on(lens.inside(&image, |_| question)).unwrap();
            let methods = [Method::HiResCam { block: 2 }, Method::Occlusion, Method::IntegratedGradients];
            for (sum, method) in sums.iter_mut().zip(methods) {
                let map = block_on(method.map(&lens, &image, &inside, question)).unwrap();
                let map = if method.block().is_some() { map.enlarged(&lens.blocks()[2], [SIDE; 2]) } else { map };
                *sum += on_patch(&map, corner) / f64::from(images);
            }
        }
        sums
    };
    let found = mean(&weights);
    let control = mean(&Weights::initial(&network, 5));
    println!(
        "mass on the patch, in multiples of its area, by evidence, occlusion, integrated gradients: {found:.1?}, untrained {control:.1?}"
    );
    assert!(found.iter().all(|&times| times >= 5.0), "{found:?}");
    assert!(control.iter().all(|&times| times < 2.5), "untrained: {control:?}");
    lens.load(&weights);
    true_map_wins(&lens);
}

/// A map that names the patch and nothing else scores better than every simple guess; its opposite, worse.
fn true_map_wins(lens: &Lens) {
    let (image, [top, left]) = planted(&mut ChaCha8Rng::seed_from_u64(3), SIDE, 1);
    let grey = vec![0.0; image.len()];
    let trial = block_on(trust::Trial::new(lens, &image, &grey, Question { target: 1, against: 0 })).unwrap();
    let on = |i: usize| (top..top + PATCH).contains(&(i / SIDE)) && (left..left + PATCH).contains(&(i % SIDE));
    let mask: Vec<f32> = (0..SIDE * SIDE).map(|i| f32::from(on(i))).collect();
    let opposite: Vec<f32> = mask.iter().map(|value| -value).collect();
    let scores = block_on(trial.scores(&[&mask, &opposite])).unwrap();
    let [truth, lie] = scores[..] else { panic!("a score for each map") };
    let baselines = block_on(trial.baselines()).unwrap();
    println!("the patch itself: {truth:?}; everything but the patch: {lie:?}; {baselines:?}");
    for (name, best) in baselines.rows() {
        assert!(truth.deletion < best.deletion && truth.insertion > best.insertion, "{name}");
        assert!(lie.deletion > best.deletion && lie.insertion < best.insertion, "{name}");
    }
    let share = |score: f64| (score - baselines.blurred_logit_difference) / baselines.span();
    assert!(share(truth.deletion) < 0.2 && share(truth.insertion) > 0.8, "{truth:?}");
}

/// Weights after some steps on planted images.
pub fn trained(network: &Network, batch: usize, steps: u32, random: &mut ChaCha8Rng) -> Weights {
    let model = Model::new(gpu(), network, batch, Keep::Needed).unwrap();
    model.load(gpu(), &Weights::initial(network, 0));
    let adam = Optimizer::Adam { weight_decay: 0.0 };
    let step = model.training_step(gpu(), &adam);
    let [_, side, _] = network.input();
    for number in 1..=steps {
        let labels: Vec<u32> = (0..batch).map(|_| random.next_u32() & 1).collect();
        let images: Vec<f32> = labels.iter().flat_map(|&class| planted(random, side, class).0).collect();
        model.set_batch(gpu(), &images, &labels);
        model.set_step(gpu(), &adam, 1e-3, batch, 0, number);
        step.submit(gpu()).unwrap();
        if number == steps - 20 {
            model.clear_metrics(gpu());
        }
    }
    let accuracy = block_on(model.metrics(gpu())).unwrap().accuracy();
    assert!(accuracy > 0.95, "it has not learned the patch: {accuracy}");
    block_on(model.weights(gpu(), steps.into())).unwrap()
}

/// Where batch norm's scale and shift are zero, a channel says nothing, and is reported dead.
fn silenced_channel() {
    let network = Strided { channels: vec![5, 6], ..Strided::dogs_vs_cats(20, 2) }.build().unwrap();
    let mut weights = Weights::initial(&network, 0);
    for key in ["2.weight", "2.bias"] {
        weights.tensors.get_mut(key).unwrap()[3] = 0.0;
    }
    let lens = block_on(Lens::new(gpu(), &network, 2, |_, _| {})).unwrap();
    let pixels: Vec<u8> = (0..20 * 20 * 3).map(|i| ((formula(i, 7) + 1.0) * 127.0) as u8).collect();
    let options = Options { against: None, methods: vec![], means: None, standing: standing::Verdict::Unknown };
    let explanation =
        block_on(Explanation::new(&lens, &weights, &Weights::initial(&network, 1), &pixels, &options)).unwrap();
    let dead: Vec<bool> = explanation.channels[0].iter().map(|channel| channel.maximum == 0.0).collect();
    assert_eq!(dead, [false, false, false, true, false]);
    assert_eq!(explanation.channels[0][3].contribution, 0.0);
    assert!(explanation.channels[0][0].contribution != 0.0);

    lens.load(&weights);
    let images = Drawn::new(Subject::Pets, 0, 0, 6, 20, 1 << 20);
    let order: Vec<usize> = (0..6).collect();
    let survey = survey(&lens, &images, &order, 1, |_| {}).unwrap();
    assert!(survey.blocks[0].channels[3].is_dead());
    assert_eq!(survey.blocks[0].dead(), 1);
}

/// Where image and network look the same in a mirror, so does the occlusion map: upside down, and left to right.
fn symmetric_occlusion() {
    const SIDE: usize = 63;
    let network = Strided { channels: vec![5, 6], ..Strided::dogs_vs_cats(SIDE, 2) }.build().unwrap();
    let mut weights = Weights::initial(&network, 0);
    for key in ["1.weight", "5.weight"] {
        weights.tensors.get_mut(key).unwrap().chunks_mut(9).for_each(|filter| filter.fill(filter[0]));
    }
    let lens = block_on(Lens::new(gpu(), &network, 16, |_, _| {})).unwrap();
    lens.load(&weights);
    let question = Question { target: 0, against: 1 };
    let folded = |at: usize| at.min(SIDE - 1 - at) as u32;
    let pixel = |i: usize| {
        let place = folded(i / SIDE) * SIDE as u32 + folded(i % SIDE);
        [formula(place, 0), formula(place, 1), formula(place, 2), 0.0]
    };
    let image: Vec<f32> = (0..SIDE * SIDE).flat_map(pixel).collect();
    let map = block_on(saliency::occlusion(&lens, &image, question, 3)).unwrap();
    let largest = map.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
    assert!(largest > 0.0);
    for (i, value) in map.iter().enumerate() {
        let (y, x) = (i / SIDE, i % SIDE);
        for mirrored in [map[(SIDE - 1 - y) * SIDE + x], map[y * SIDE + SIDE - 1 - x]] {
            assert_abs_diff_eq!(*value, mirrored, epsilon = 1e-3 * largest);
        }
    }
}

/// SmoothGrad's noise is in proportion to the span of the colours: of an image of one colour it is the gradient.
fn smooth_gradient() {
    let network = Strided { channels: vec![5, 6], ..Strided::dogs_vs_cats(20, 2) }.build().unwrap();
    let lens = block_on(Lens::new(gpu(), &network, 8, |_, _| {})).unwrap();
    lens.load(&Weights::initial(&network, 0));
    let question = Question { target: 0, against: 1 };
    let both = |image: &[f32]| {
        let smooth = block_on(saliency::smooth_gradient(&lens, image, question)).unwrap();
        (smooth, block_on(saliency::gradient(&lens, image, question, Rule::Gradient)).unwrap())
    };
    let (smooth, gradient) = both(&[0.7, 0.7, 0.7, 0.0].repeat(20 * 20));
    let largest = gradient.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
    assert!(largest > 0.0);
    smooth
        .iter()
        .zip(&gradient)
        .for_each(|(smooth, gradient)| assert_abs_diff_eq!(smooth, gradient, epsilon = 1e-6 * largest));
    // With colours that differ, noise flips some ReLUs.
    let image: Vec<f32> = (0..20 * 20).flat_map(|i| [formula(i, 0), formula(i, 1), formula(i, 2), 0.0]).collect();
    let (smooth, gradient) = both(&image);
    assert!(smooth.iter().zip(&gradient).any(|(smooth, gradient)| (smooth - gradient).abs() > 0.01 * largest));
}

/// Every value that `hover.json` takes apart is the sum of its products, normalised and cut off at zero.
fn single_values() {
    single_values_by(Normalize::HALF);
    single_values_by(Normalize::IMAGENET);
}

fn single_values_by(normalize: Normalize) {
    let network = Strided { channels: vec![5, 6, 7], padding: 1, ..Strided::dogs_vs_cats(24, 2) }.build().unwrap();
    let network = network.prepared(Preparation { normalize, resize_crop: None });
    let mut weights = Weights::initial(&network, 0);
    for (key, values) in &mut weights.tensors {
        if key.ends_with("running_mean") {
            values.iter_mut().enumerate().for_each(|(i, value)| *value = 0.02 * i as f32);
        }
    }
    let lens = block_on(Lens::new(gpu(), &network, 4, |_, _| {})).unwrap();
    let pixels: Vec<u8> = (0..24 * 24 * 3).map(|i| ((formula(i, 7) + 1.0) * 127.0) as u8).collect();
    let options =
        Options { against: None, methods: vec![Method::Gradient], means: None, standing: standing::Verdict::Unknown };
    let explanation =
        block_on(Explanation::new(&lens, &weights, &Weights::initial(&network, 1), &pixels, &options)).unwrap();
    let hover = serde_json::to_value(Hover::new(&lens, &weights, &explanation)).unwrap();
    let mut checked = 0;
    for (number, block) in hover["blocks"].as_array().unwrap().iter().enumerate() {
        let inputs = lens.blocks()[number].input[0];
        for made in block["values"].as_array().unwrap() {
            let number = |key: &str| made[key].as_f64().unwrap();
            let list = |key: &str| -> Vec<f64> {
                made[key].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
            };
            let (values, filter) = (list("inputs"), list("weights"));
            assert_eq!([values.len(), filter.len()], [9 * inputs; 2]);
            assert!(values.iter().any(|&value| value != 0.0));
            let conv: f64 = values.iter().zip(&filter).map(|(x, w)| x * w).sum();
            assert_abs_diff_eq!(conv, number("conv"), epsilon = 1e-5);
            let norm = (conv - number("mean")) / (number("variance") + 1e-5).sqrt() * number("gamma") + number("beta");
            assert_abs_diff_eq!(norm, number("norm"), epsilon = 1e-5);
            assert_abs_diff_eq!(norm.max(0.0), number("relu"), epsilon = 1e-5);
            checked += 1;
        }
    }
    assert_eq!(checked, 12);
}

/// What an image gets does not depend on those beside it, nor on the batch's size.
fn batches() {
    let network =
        Strided { channels: vec![5, 6], head: Head::Flatten, ..Strided::dogs_vs_cats(20, 3) }.build().unwrap();
    let weights = Weights::initial(&network, 0);
    let value = |image: usize, i: usize| if i % padded(3) < 3 { formula(i as u32, image as u32) } else { 0.0 };
    let fill = |image: usize, place: &mut [f32]| (0..place.len()).for_each(|i| place[i] = value(image, i));
    let question = Question { target: 2, against: 0 };
    let results: Vec<_> = [1, 3, 8]
        .into_iter()
        .map(|batch| {
            let lens = block_on(Lens::new(gpu(), &network, batch, |_, _| {})).unwrap();
            lens.load(&weights);
            let logits = block_on(lens.logits(7, fill)).unwrap();
            let mut gradients = vec![Vec::new(); 7];
            block_on(lens.gradients(7, question, Rule::Gradient, fill, |i, gradient| gradients[i] = gradient.to_vec()))
                .unwrap();
            let mut image = vec![0.0; lens.image_len()];
            fill(4, &mut image);
            let (_, Inside { logits: alone, .. }) = block_on(lens.inside(&image, |_| question)).unwrap();
            assert_eq!(logits[4], alone);
            (logits, gradients)
        })
        .collect();
    assert_ne!(results[0].0[0], results[0].0[1]);
    for (batch, other) in [3, 8].iter().zip(&results[1..]) {
        assert!(results[0] == *other, "batches of 1 and of {batch} differ");
    }
}
