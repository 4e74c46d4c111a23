//! Tensors, plans and the model around the kernels.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use approx::{assert_abs_diff_eq, assert_relative_eq};
use convscope::bench::fastest;
use convscope::bench::tune::tune;
use convscope::gpu::Kernels;
use convscope::gpu::{AdapterChoice, Gpu, GpuError, Plan, Tensor, TileLimits};
use convscope::nn::checkpoint::Weights;
use convscope::nn::layout::{pack_images, unpack_images};
use convscope::nn::{
    Architecture, Averages, Head, Keep, Known, Mode, Model, Name, Network, Op, Optimizer, Spec, StepOptions, Strided,
};
use convscope::ops::conv2d::{self, Conv2d, Parts, Pass};
use convscope::ops::together::Sums;
use convscope::ops::{adaptive_avg_pool2d, relu};
use convscope::reference::cross_entropy as reference;
use libtest_mimic::Trial;
use pollster::block_on;

use crate::common::trial;
use crate::{KERNELS, gpu, gpu_with, open};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("engine::numbers_survive_the_way_to_the_device_and_back", numbers_survive),
        trial("engine::parts_of_an_arena_keep_to_themselves", parts_of_an_arena),
        trial("engine::a_tensor_beyond_the_limits_is_refused", too_large),
        trial("engine::overlapping_writes_are_refused", overlapping_writes),
        trial("engine::more_workgroups_than_one_dimension_holds_are_folded", folded_workgroups),
        trial("engine::a_lost_device_is_an_error", lost_device),
        trial("engine::stale_images_do_not_count", stale_images),
        trial("engine::equal_seeds_give_equal_weights", equal_seeds),
        trial("engine::the_fastest_kernels_are_among_the_candidates", fastest_kernels),
        trial("engine::tiles_are_measured", tiles_are_measured),
        trial("engine::what_a_model_keeps_changes_nothing", keeping_changes_nothing),
        trial("engine::what_a_deep_model_keeps_changes_no_gradient", keeping_changes_no_gradient),
        trial("engine::frozen_blocks_stay_as_they_are", frozen_blocks_stay),
        trial("engine::what_follows_frozen_blocks_has_the_same_gradient", gradient_behind_frozen_blocks),
        trial("engine::the_gradient_of_the_images_in_evaluation", gradient_in_evaluation),
        trial("engine::a_large_linear_layer_is_the_sum_that_it_stands_for", a_large_linear_layer),
        trial("engine::what_is_off_costs_nothing", what_is_off_costs_nothing),
        trial("engine::targets_reach_the_gradient", targets_reach_the_gradient),
        trial("engine::a_clipped_gradient_has_the_norm", a_clipped_gradient_has_the_norm),
        trial("engine::kernels_are_compiled_once_with_progress", compile_progress),
        trial("engine::other_models_on_the_device_change_no_step", others_change_no_step),
        trial("engine::kernels_of_a_step", kernels_of_a_step),
        trial("engine::parts_wait_while_there_is_room", parts_wait_while_there_is_room),
    ]
}

fn read(tensor: &Tensor) -> Vec<f32> {
    block_on(tensor.read(gpu())).unwrap()
}

fn numbers_survive() {
    for len in [1, 3, 4, 1001] {
        let values: Vec<u32> = (0..len).map(|i| i * 7919 % 97).collect();
        let tensor = Tensor::from_slice(gpu(), "numbers", &values).unwrap();
        assert_eq!(block_on(tensor.read::<u32>(gpu())).unwrap(), values);
    }
    let tensor = Tensor::new(gpu(), "new", 5).unwrap();
    assert_eq!(read(&tensor), [0.0; 5]);
    assert_eq!(tensor.first(2).len(), 2);
}

fn parts_of_an_arena() {
    let sizes = [("a".to_string(), 3), ("b".to_string(), 70), ("c".to_string(), 1)];
    let (whole, parts) = Tensor::arena(gpu(), "arena", &sizes).unwrap();
    for (value, part) in (1u8..).zip(&parts) {
        part.write(gpu(), &vec![f32::from(value); part.len()]);
    }
    for (value, part) in (1u8..).zip(&parts) {
        assert_eq!(read(part), vec![f32::from(value); part.len()]);
    }
    assert_eq!(read(&whole).iter().filter(|value| **value != 0.0).count(), 74);
}

fn too_large() {
    let limit = gpu().limits().max_storage_buffer_binding_size;
    let error = Tensor::new(gpu(), "the maps", (limit / 4 + 1) as usize).unwrap_err();
    assert!(matches!(error, GpuError::TooLarge { .. }));
    assert!(error.to_string().contains("the maps") && error.to_string().contains("lower the batch"), "{error}");

    // The model as a whole: the largest batch whose images fit one buffer, and one image more.
    let network = Strided { channels: vec![1; 4], ..Strided::dogs_vs_cats(1024, 2) }.build().unwrap();
    let most = (limit / (1024 * 1024 * 16)) as usize;
    if most < 64 {
        let error = Model::new(gpu(), &network, most + 1, Keep::Needed).err().unwrap().to_string();
        assert!(error.contains("the images of a batch") && error.contains("max_"), "{error}");
    }
}

fn overlapping_writes() {
    let tensor = Tensor::new(gpu(), "both", 8).unwrap();
    let attempt = catch_unwind(AssertUnwindSafe(|| {
        Plan::new().add(
            gpu(),
            "test",
            &relu::Forward { shape: relu::Shape { len: 1 }, x: &tensor, y: &tensor.first(4) },
        );
    }));
    let message = *attempt.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(message, "relu.forward test: writes `both`, which overlaps its argument `both`");
}

fn folded_workgroups() {
    // 2,049 squared vectors, one an invocation: 65,602 workgroups of 64.
    let side = 2049;
    let values: Vec<f32> = (0..4 * side * side).map(|i| (i % 65_521) as f32).collect();
    let x = Tensor::from_slice(gpu(), "x", &values).unwrap();
    let y = Tensor::new(gpu(), "y", values.len()).unwrap();
    let mut plan = Plan::new();
    let shape = adaptive_avg_pool2d::Shape::new(1, [4, side, side], [side, side]);
    plan.add(gpu(), "test", &adaptive_avg_pool2d::Forward { shape, x: &x, y: &y });
    plan.submit(gpu()).unwrap();
    assert!(read(&y) == values, "pooling windows of one pixel copy");
}

fn lost_device() {
    let gpu = block_on(Gpu::open(&AdapterChoice::Best)).unwrap();
    let tensor = Tensor::from_slice(&gpu, "x", &[1.0f32; 4]).unwrap();
    gpu.device().destroy();
    let error = block_on(tensor.read::<f32>(&gpu)).unwrap_err();
    assert!(error.to_string().contains("the GPU stopped"), "{error}");
}

fn small(head: Head) -> Strided {
    Strided { channels: vec![5, 6], hidden: 7, head, ..Strided::dogs_vs_cats(17, 3) }
}

/// `n` images of 17 x 17 that differ from each other.
fn small_images(n: usize) -> Vec<f32> {
    images(n, 17)
}

/// `n` images of `size` x `size` that differ from each other.
fn images(n: usize, size: usize) -> Vec<f32> {
    let values: Vec<f32> = (0..n * 3 * size * size).map(|i| ((i * 7919) % 1013) as f32 / 506.0 - 1.0).collect();
    pack_images(&values, n, 3, size * size)
}

/// A narrow network with residual blocks, for images of 40 x 40.
fn residual(name: Name) -> Network {
    Architecture::Known(Known { name, input: [3, 40, 40], width: 0.1, classes: 3 }).build().unwrap()
}

const ADAM: Optimizer = Optimizer::Adam { weight_decay: 0.0 };

/// A batch that is not full trains exactly as a full batch of its images alone, whatever stands behind them.
fn stale_images() {
    let network = small(Head::AvgPool).build().unwrap();
    let step = |batch: usize, behind: f32| {
        let model = Model::new(gpu(), &network, batch, Keep::Needed).unwrap();
        model.load(gpu(), &Weights::initial(&network, 0));
        model.set_batch(gpu(), &vec![behind; batch * 17 * 17 * 4], &vec![2; batch]);
        model.set_batch(gpu(), &small_images(3), &[0, 1, 2]);
        model.set_step(gpu(), &ADAM, 1e-3, 3, 5, 1);
        model.training_step(gpu(), &ADAM).submit(gpu()).unwrap();
        (block_on(model.metrics(gpu())).unwrap(), block_on(model.weights(gpu(), 1)).unwrap())
    };
    let (metrics, weights) = step(3, 0.0);
    assert_eq!((metrics.seen, metrics.broken), (3, 0));
    assert_eq!(step(5, 100.0), step(5, -3.0), "what stands behind the live images changes nothing");
    let (larger_metrics, larger_weights) = step(5, 100.0);
    assert_abs_diff_eq!(metrics.loss(), larger_metrics.loss(), epsilon = 1e-6);
    for (name, values) in &weights.tensors {
        for (a, b) in values.iter().zip(&larger_weights.tensors[name]) {
            // The first step of Adam moves every weight by at most the learning rate of 1e-3.
            assert!((a - b).abs() < 1e-5, "{name}: {a} in a batch of 3, {b} in one of 5");
        }
    }
}

/// Bit for bit, with each set of kernels; and the sets agree but for rounding.
fn equal_seeds() {
    let network = Strided { dropout: 0.2, ..small(Head::AvgPool) }.build().unwrap();
    let train = |gpu: &Gpu| {
        let model = Model::new(gpu, &network, 3, Keep::Needed).unwrap();
        model.load(gpu, &Weights::initial(&network, 0));
        model.set_batch(gpu, &small_images(3), &[0, 1, 2]);
        let plan = model.training_step(gpu, &ADAM);
        for number in 1..=5 {
            model.set_step(gpu, &ADAM, 1e-3, 3, 5, number);
            plan.submit(gpu).unwrap();
        }
        block_on(model.weights(gpu, 5)).unwrap()
    };
    let weights = KERNELS.map(|kernels| {
        let weights = train(gpu_with(kernels));
        assert_eq!(weights, train(gpu_with(kernels)), "{kernels}");
        weights
    });
    for (name, values) in &weights[0].tensors {
        for others in &weights[1..] {
            for (a, b) in values.iter().zip(&others.tensors[name]) {
                // Five steps of Adam move a weight by at most 5e-3; a gradient near zero may decide its direction.
                assert_abs_diff_eq!(a, b, epsilon = 1e-3);
            }
        }
    }
}

fn fastest_kernels() {
    let open = || block_on(Gpu::open(&AdapterChoice::Best)).unwrap();
    for (tiled_ms, best) in [(1.0, Kernels::Tiled), (3.0, Kernels::Plain)] {
        let step_ms = |gpu: &Gpu| Ok(if gpu.kernels() == Kernels::Tiled { tiled_ms } else { 2.0 });
        let (gpu, steps) = fastest(open(), &[Kernels::Plain, Kernels::Tiled], step_ms).unwrap();
        assert_eq!(gpu.kernels(), best);
        assert_eq!(steps, [(Kernels::Plain, 2.0), (Kernels::Tiled, tiled_ms)]);
    }
}

/// Each convolution is timed with every tile that some limits choose, the rule's first.
fn tiles_are_measured() {
    let shapes = [
        // Which limits change nothing, by how many parts a sum is made in, and by which kernel.
        conv2d::Shape::new(1, [3, 5, 5], 4, [3, 3], 2, 0),
        conv2d::Shape::new(3, [130, 5, 5], 72, [3, 3], 1, 1),
        conv2d::Shape::new(2, [16, 31, 31], 32, [3, 3], 2, 0),
        // What no adapter holds.
        conv2d::Shape::new(60_000, [64, 1024, 1024], 64, [1, 1], 1, 0),
    ];
    for kernels in KERNELS {
        let gpu = gpu_with(kernels);
        let mut told = Vec::new();
        let tuned = tune(gpu, &shapes, |done, all| told.push((done, all))).unwrap();
        assert_eq!(told, [0, 1, 2, 3, 4].map(|done| (done, 4)));
        if kernels == Kernels::Plain {
            assert!(tuned.kernels.is_empty() && tuned.tiles == TileLimits::default(), "{tuned:?}");
            continue;
        }
        assert_eq!((tuned.kernels.len(), tuned.left_out.len()), (9, 1), "{tuned:?}");
        assert!(tuned.left_out[0].contains("MiB in one buffer"), "{tuned:?}");
        for timed in &tuned.kernels {
            let names: BTreeSet<_> = timed.candidates.iter().map(|(name, _)| name).collect();
            assert_eq!(names.len(), timed.candidates.len(), "{timed:?}");
            assert!(timed.candidates.iter().all(|(_, ms)| *ms > 0.0) && timed.rule == 0, "{timed:?}");
        }
        let most = tuned.kernels.iter().map(|timed| timed.candidates.len()).max().unwrap();
        assert!(most > 1, "there is something to choose: {tuned:?}");
        // The limits that were found choose what is said to be chosen.
        for timed in &tuned.kernels {
            let pass = match timed.kernel {
                "forward" => Pass::Forward,
                "input" => Pass::BackwardInput,
                _ => Pass::BackwardWeight,
            };
            let chosen = |limits| {
                let tiles = shapes[..3].iter().map(|shape| Conv2d::with_limits(gpu, *shape, limits).tile(pass));
                tiles.collect::<BTreeSet<_>>()
            };
            assert!(chosen(&tuned.tiles).contains(&timed.candidates[timed.chosen].0), "{timed:?}");
            assert!(chosen(&TileLimits::default()).contains(&timed.candidates[timed.rule].0), "{timed:?}");
        }
    }
}

/// Layers that are one kernel, or a kernel each, train alike; with dropout, whose mask both draw.
fn keeping_changes_nothing() {
    let network = Strided { dropout: 0.3, ..small(Head::AvgPool) }.build().unwrap();
    let train = |keep| {
        let model = Model::new(gpu(), &network, 3, keep).unwrap();
        model.load(gpu(), &Weights::initial(&network, 0));
        model.set_batch(gpu(), &small_images(3), &[0, 1, 2]);
        let sgd = Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0 };
        let plan = model.training_step(gpu(), &sgd);
        for number in 1..=5 {
            model.set_step(gpu(), &sgd, 0.05, 3, 5, number);
            plan.submit(gpu()).unwrap();
        }
        let weights = block_on(model.weights(gpu(), 5)).unwrap();
        let evaluation = model.forward(gpu(), Mode::Eval);
        evaluation.submit(gpu()).unwrap();
        (weights, read(model.logits()))
    };
    let (needed, everything) = (train(Keep::Needed), train(Keep::Everything));
    for (name, values) in &needed.0.tensors {
        for (a, b) in values.iter().zip(&everything.0.tensors[name]) {
            assert_abs_diff_eq!(a, b, epsilon = 1e-4);
        }
    }
    for (a, b) in needed.1.iter().zip(&everything.1) {
        assert_abs_diff_eq!(a, b, epsilon = 1e-4);
    }
}

/// The same where many layers would make of any difference a large one: one step, with dropout.
fn keeping_changes_no_gradient() {
    for name in [Name::ResNet18, Name::MobileNetV2] {
        let network = residual(name);
        let gradients = [Keep::Needed, Keep::Everything].map(|keep| {
            let model = Model::new(gpu(), &network, 4, keep).unwrap();
            model.load(gpu(), &Weights::initial(&network, 0));
            model.set_batch(gpu(), &images(4, 40), &[0, 1, 2, 1]);
            model.set_step(gpu(), &ADAM, 1e-3, 4, 5, 1);
            model.training_step(gpu(), &ADAM).submit(gpu()).unwrap();
            block_on(model.weight_gradients(gpu())).unwrap()
        });
        let largest = |values: &[f32]| values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        let of_all = gradients[0].iter().map(|(_, values)| largest(values)).fold(0.0, f32::max);
        for ((name, needed), (_, everything)) in gradients[0].iter().zip(&gradients[1]) {
            // Before a batch norm the gradients of biases are rounding alone.
            let allowed = 1e-3 * largest(needed).max(1e-3 * of_all);
            for (a, b) in needed.iter().zip(everything) {
                assert!((a - b).abs() <= allowed, "{name}: {a} against {b}, allowed {allowed:e}");
            }
        }
    }
}

/// Three steps with weight decay, which moves weights without a gradient, too.
fn frozen_blocks_stay() {
    let decaying = Optimizer::Adam { weight_decay: 0.1 };
    let strided = Strided { channels: vec![5, 6, 7], dropout: 0.5, ..Strided::dogs_vs_cats(40, 3) }.build().unwrap();
    let residual = [Name::ResNet18, Name::MobileNetV2].map(residual);
    for network in [strided].into_iter().chain(residual) {
        let blocks = network.blocks().len();
        for (frozen, keep) in [(1, Keep::Needed), (2, Keep::Everything), (blocks, Keep::Needed)] {
            let model = Model::new(gpu(), &network, 4, keep).unwrap().with_frozen(frozen);
            let training_step = model.training_step(gpu(), &decaying);
            let before = Weights::initial(&network, 0);
            model.load(gpu(), &before);
            model.set_batch(gpu(), &images(4, 40), &[0, 1, 2, 1]);
            for number in 1..=3 {
                model.set_step(gpu(), &decaying, 1e-3, 4, 5, number);
                training_step.submit(gpu()).unwrap();
            }
            let after = block_on(model.weights(gpu(), 3)).unwrap();
            let end = network.blocks()[frozen - 1].nodes.end;
            for (place, node) in network.nodes().iter().enumerate() {
                if let Some(counter) = node.counter() {
                    assert_eq!(after.counters[&counter], if place < end { 0 } else { 3 }, "{counter}");
                }
                for parameter in node.parameters().into_iter().chain(node.statistics()) {
                    let name = &parameter.name;
                    let stayed = after.get(name) == before.get(name);
                    assert_eq!(stayed, place < end, "{name}, {frozen} of {blocks} blocks frozen");
                }
            }
        }
    }
}

/// Without batch norm and dropout, blocks do the same in training and in evaluation.
fn gradient_behind_frozen_blocks() {
    let known = Known { name: Name::LeNet5, input: [3, 32, 32], width: 1.0, classes: 3 };
    let network = Architecture::Known(known).build().unwrap();
    let gradients = [0, 1, 2].map(|frozen| {
        let model = Model::new(gpu(), &network, 4, Keep::Needed).unwrap().with_frozen(frozen);
        model.load(gpu(), &Weights::initial(&network, 0));
        model.set_batch(gpu(), &images(4, 32), &[0, 1, 2, 1]);
        model.set_step(gpu(), &ADAM, 1e-3, 4, 5, 1);
        model.training_step(gpu(), &ADAM).submit(gpu()).unwrap();
        block_on(model.weight_gradients(gpu())).unwrap()
    });
    for frozen in [1, 2] {
        let weights = 2 * frozen;
        for ((name, all), (_, behind)) in gradients[0].iter().zip(&gradients[frozen]).skip(weights) {
            assert_eq!(all, behind, "{name}, {frozen} blocks frozen");
        }
        for (name, none) in &gradients[frozen][..weights] {
            assert!(none.iter().all(|value| *value == 0.0), "{name}, {frozen} blocks frozen");
        }
    }
}

/// The gradient with respect to the images, against the change of the loss along a direction.
fn gradient_in_evaluation() {
    for head in [Head::AvgPool, Head::Flatten] {
        let network = small(head).build().unwrap();
        let model = Model::new(gpu(), &network, 2, Keep::Everything).unwrap();
        let mut weights = Weights::initial(&network, 0);
        // Running statistics that a batch would not have.
        for (name, values) in &mut weights.tensors {
            for (i, value) in values.iter_mut().enumerate() {
                if name.ends_with("running_mean") {
                    *value = 0.05 * i as f32;
                } else if name.ends_with("running_var") {
                    *value = 0.1 + 0.05 * i as f32;
                }
            }
        }
        model.load(gpu(), &weights);
        check_gradient_in_evaluation(&model);
    }
    for name in [Name::ResNet18, Name::MobileNetV2] {
        let network = residual(name);
        let model = Model::new(gpu(), &network, 2, Keep::Everything).unwrap();
        model.load(gpu(), &Weights::initial(&network, 0));
        // Such running statistics would let nothing through so many layers: here, those of a batch.
        model.set_batch(gpu(), &images(2, 40), &[0, 2]);
        model.set_live(gpu(), 2);
        let plan = model.forward(gpu(), Mode::Train);
        for _ in 0..20 {
            plan.submit(gpu()).unwrap();
        }
        check_gradient_in_evaluation(&model);
    }
}

/// Of two images.
fn check_gradient_in_evaluation(model: &Model) {
    model.set_live(gpu(), 2);
    let mut plan = model.forward(gpu(), Mode::Eval);
    plan.extend(model.loss(gpu()));
    plan.extend(model.backward(gpu(), Mode::Eval, true));
    let loss = |images: &[f32]| {
        model.set_batch(gpu(), images, &[0, 2]);
        model.clear_metrics(gpu());
        plan.submit(gpu()).unwrap();
        block_on(model.metrics(gpu())).unwrap().loss()
    };
    let images = images(2, model.network().input()[1]);
    loss(&images);
    let gradient = read(model.gradient(Mode::Eval, 0));
    // Along the gradient itself the loss changes by its squared length.
    let squares: f64 = gradient.iter().map(|&value| f64::from(value).powi(2)).sum();
    assert!(squares > 1e-6, "the gradient is not zero");
    // So far that the loss moves by much more than rounding, and by less than the ReLUs of a deep network bend it; where the
    // gradient is small, no further than 0.01 in all.
    let length = squares.sqrt();
    let reach = (5e-4 / length).min(0.01) / length;
    let moved = |sign: f64| -> Vec<f32> {
        images.iter().zip(&gradient).map(|(x, g)| x + (sign * reach * f64::from(*g)) as f32).collect()
    };
    let slope = (loss(&moved(1.0)) - loss(&moved(-1.0))) / (2.0 * reach);
    assert_relative_eq!(slope, squares, max_relative = 0.02);
}

/// A linear layer so large that it runs as a convolution, against sums in f64; of a batch that is not full.
fn a_large_linear_layer() {
    let layers = [
        Op::Conv2d { out_channels: 6, kernel_size: 3, stride: 1, padding: 0, groups: 1, bias: true },
        Op::Flatten,
        Op::Linear { out_features: 301 },
        Op::Linear { out_features: 3 },
    ];
    let network = Spec { input: [3, 17, 17], layers: layers.map(Into::into).into() }.build().unwrap();
    let (inputs, outputs, batch, live) = (6 * 15 * 15, 301, 5, 3);
    for kernels in KERNELS {
        let gpu = gpu_with(kernels);
        let model = Model::new(gpu, &network, batch, Keep::Needed).unwrap();
        let weights = Weights::initial(&network, 0);
        model.load(gpu, &weights);
        model.set_batch(gpu, &small_images(batch), &[0, 1, 2, 0, 1]);
        model.set_step(gpu, &ADAM, 1e-3, live, 5, 1);
        let mut plan = model.forward(gpu, Mode::Train);
        plan.extend(model.loss(gpu));
        plan.extend(model.backward(gpu, Mode::Train, false));
        plan.submit(gpu).unwrap();

        let read = |tensor: &Tensor, channels, pixels| {
            unpack_images(&block_on(tensor.read::<f32>(gpu)).unwrap(), batch, channels, pixels)
        };
        let (x, y) = (read(model.value(Mode::Train, 2), 6, 225), read(model.value(Mode::Train, 3), outputs, 1));
        let (dx, dy) = (read(model.gradient(Mode::Train, 2), 6, 225), read(model.gradient(Mode::Train, 3), outputs, 1));
        let (weight, bias) = (weights.get("2.weight"), weights.get("2.bias"));
        let product = |a: f32, b: f32| f64::from(a) * f64::from(b);
        let gradients: BTreeMap<_, _> = block_on(model.weight_gradients(gpu)).unwrap().into_iter().collect();
        for output in 0..outputs {
            let row = &weight[output * inputs..][..inputs];
            for image in 0..live {
                let sum: f64 = row.iter().zip(&x[image * inputs..]).map(|(&w, &x)| product(w, x)).sum();
                assert_abs_diff_eq!(
                    y[image * outputs + output],
                    (sum + f64::from(bias[output])) as f32,
                    epsilon = 1e-5
                );
            }
            let sum: f64 = (0..live).map(|image| f64::from(dy[image * outputs + output])).sum();
            assert_abs_diff_eq!(gradients["2.bias"][output], sum as f32, epsilon = 1e-6);
        }
        for input in (0..inputs).step_by(7) {
            for image in 0..live {
                let sum: f64 = (0..outputs).map(|o| product(weight[o * inputs + input], dy[image * outputs + o])).sum();
                assert_abs_diff_eq!(dx[image * inputs + input], sum as f32, epsilon = 1e-6);
            }
            for output in (0..outputs).step_by(11) {
                let sum: f64 = (0..live).map(|i| product(dy[i * outputs + output], x[i * inputs + input])).sum();
                assert_abs_diff_eq!(gradients["2.weight"][output * inputs + input], sum as f32, epsilon = 1e-6);
            }
        }
        assert!(gradients["2.weight"].iter().any(|value| value.abs() > 1e-4), "they are not all zero");
    }
}

/// What may be added to a step adds only its own kernels, and nothing where it is not asked for.
fn what_is_off_costs_nothing() {
    let network = small(Head::AvgPool).build().unwrap();
    let model = Model::new(gpu(), &network, 3, Keep::Needed).unwrap();
    let mut parts = model.forward(gpu(), Mode::Train);
    parts.extend(model.loss(gpu()));
    parts.extend(model.backward(gpu(), Mode::Train, false));
    parts.extend(model.update(gpu(), &ADAM));
    let plain = model.training_step(gpu(), &ADAM);
    assert_eq!((plain.len(), plain.bytes()), (parts.len(), parts.bytes()));
    let with = |options: StepOptions| model.training_step_with(gpu(), &ADAM, &options).unwrap();
    let off = with(StepOptions::default());
    assert_eq!((off.len(), off.bytes()), (plain.len(), plain.bytes()));
    let options = StepOptions { label_smoothing: 0.1, class_weights: Some(vec![1.0; 3]), clip_grad_norm: None };
    let targets = with(options.clone());
    assert_eq!((targets.len(), targets.bytes()), (plain.len(), plain.bytes() + 3 * 4), "three weights more");
    assert_eq!(with(StepOptions { clip_grad_norm: Some(1.0), ..options }).len(), plain.len() + 2);
    assert_eq!(Averages::new(gpu(), &model).unwrap().update(gpu(), 0.9).len(), 2, "weights and statistics");
    let without_statistics = model_without_norm();
    assert_eq!(Averages::new(gpu(), &without_statistics).unwrap().update(gpu(), 0.9).len(), 1);
}

fn model_without_norm() -> Model {
    let conv = Op::Conv2d { out_channels: 4, kernel_size: 3, stride: 1, padding: 0, groups: 1, bias: true };
    let layers = [conv, Op::Flatten, Op::Linear { out_features: 3 }];
    let network = Spec { input: [3, 4, 4], layers: layers.map(Into::into).into() }.build().unwrap();
    Model::new(gpu(), &network, 2, Keep::Needed).unwrap()
}

/// The gradient of the last layer's bias is the sum of that by the logits, which the reference makes; of a batch that is not full.
fn targets_reach_the_gradient() {
    let network = small(Head::AvgPool).build().unwrap();
    let (batch, live, labels) = (4, 3, [0, 2, 2, 1]);
    let model = Model::new(gpu(), &network, batch, Keep::Needed).unwrap();
    for (label_smoothing, class_weights) in
        [(0.0, None), (0.2, None), (0.0, Some(vec![0.5, 1.0, 3.0])), (0.1, Some(vec![0.5, 1.0, 3.0]))]
    {
        let options = StepOptions { label_smoothing, class_weights: class_weights.clone(), clip_grad_norm: None };
        let plan = model.training_step_with(gpu(), &ADAM, &options).unwrap();
        model.load(gpu(), &Weights::initial(&network, 0));
        model.set_batch(gpu(), &small_images(batch), &labels);
        model.set_step(gpu(), &ADAM, 1e-3, live, 5, 1);
        plan.submit(gpu()).unwrap();
        let logits: Vec<f64> = unpack_images(&read(model.logits()), batch, 3, 1).into_iter().map(f64::from).collect();
        let weights = class_weights.unwrap_or(vec![1.0; 3]).into_iter().map(f64::from).collect::<Vec<_>>();
        let shape = reference::Shape { n: live, classes: 3 };
        let targets = reference::Targets { smoothing: label_smoothing, weights: &weights };
        let by_logits = reference::backward_weighted(shape, &logits[..3 * live], &labels[..live], targets).value;
        let gradients: BTreeMap<_, _> = block_on(model.weight_gradients(gpu())).unwrap().into_iter().collect();
        let bias = &gradients[&network.parameters().last().unwrap().name];
        assert_eq!(bias.len(), 3);
        for (class, got) in bias.iter().enumerate() {
            let want: f64 = (0..live).map(|image| by_logits[3 * image + class]).sum();
            assert_abs_diff_eq!(f64::from(*got), want, epsilon = 1e-6);
        }
        // What is measured is the plain loss.
        let plain = reference::forward(shape, &logits[..3 * live], &labels[..live]).value.iter().sum::<f64>();
        assert_relative_eq!(block_on(model.metrics(gpu())).unwrap().loss_sum, plain, max_relative = 1e-5);
    }
}

/// With SGD and a rate of 1 the weights move by the gradient; those of frozen blocks do not count.
fn a_clipped_gradient_has_the_norm() {
    let sgd = Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0 };
    let network = Strided { channels: vec![5, 6, 7], ..Strided::dogs_vs_cats(40, 3) }.build().unwrap();
    for frozen in [0, 1] {
        let model = Model::new(gpu(), &network, 4, Keep::Needed).unwrap().with_frozen(frozen);
        let initial = Weights::initial(&network, 0);
        let step = |clip_grad_norm| {
            let options = StepOptions { clip_grad_norm, ..StepOptions::default() };
            let plan = model.training_step_with(gpu(), &sgd, &options).unwrap();
            model.load(gpu(), &initial);
            model.set_batch(gpu(), &images(4, 40), &[0, 1, 2, 1]);
            model.set_step(gpu(), &sgd, 1.0, 4, 5, 1);
            plan.submit(gpu()).unwrap();
            block_on(model.weights(gpu(), 1)).unwrap()
        };
        let norm = |after: &Weights| {
            let trained = network.parameters().into_iter().map(|parameter| parameter.name);
            let moved = trained.flat_map(|name| {
                after
                    .get(&name)
                    .iter()
                    .zip(initial.get(&name))
                    .map(|(a, b)| f64::from(a - b).powi(2))
                    .collect::<Vec<_>>()
            });
            moved.sum::<f64>().sqrt()
        };
        let plain = step(None);
        let whole = norm(&plain);
        assert!(whole > 0.05, "{whole}");
        assert_eq!(step(Some(1e6)), plain, "what is within the limit is left as it is, bit for bit");
        let half = step(Some(whole as f32 / 2.0));
        assert_relative_eq!(norm(&half), whole / 2.0, max_relative = 1e-4);
        assert_eq!(step(Some(whole as f32 / 2.0)), half, "the same bits every time");
    }
}

/// A small kernel costs a GPU as much as a larger one: there are to be no more of them than there must.
fn kernels_of_a_step() {
    let gpu = gpu_with(Kernels::Plain);
    let network = Strided::dogs_vs_cats(128, 2).build().unwrap();
    let model = Model::new(gpu, &network, 32, Keep::Needed).unwrap();
    // A block: convolution, statistics in two steps, and what follows it; back: sums in two steps, and the gradients of what follows, of
    // the weight and, but in the first block, of the input.
    let blocks = 5 * 4 + 5 * 5 - 1;
    // Pooling and two linear layers, and back.
    let head = 3 + 5;
    // The loss in two, the transposed weights, the sums of the weights' gradients, and the update.
    assert_eq!(model.training_step(gpu, &ADAM).len(), blocks + head + 2 + 3);
    assert_eq!(model.forward(gpu, Mode::Eval).len(), 5 * 2 + 3);
}

/// Gradients' parts that have room for all, or hardly: what waits is added up before its room is used again, to the same bits.
fn parts_wait_while_there_is_room() {
    let gpu = gpu_with(Kernels::Plain);
    let layers = [[5, 3], [300, 2], [64, 40]].map(|[len, chunks]| Parts::new(len, chunks));
    let lens = layers.map(|parts| parts.partial_len());
    let values = lens.map(|len| (0..len).map(|i| (i * 7919 % 1013) as f32 / 3.0).collect::<Vec<f32>>());
    let sizes = layers.map(|parts| (format!("of {} vectors", parts.len), 4 * parts.len as usize));
    let (gradients, own) = Tensor::arena(gpu, "gradients", &sizes).unwrap();
    let enough = Sums::room_for(gpu, &lens);
    assert!(enough >= lens.iter().sum::<usize>() && Sums::room_for(gpu, &[]) == 0);
    assert_eq!(Sums::room_for(gpu, &[1 << 24, 3 << 24]), 3 << 24, "not all of what is large at once");
    let most = lens.into_iter().max().unwrap();
    let found = [enough, most].map(|len| {
        let room = Tensor::new(gpu, "parts", len).unwrap();
        gradients.write(gpu, &vec![f32::NAN; gradients.len()]);
        let mut sums = Sums::new(&room, &gradients);
        let mut early = 0;
        for ((parts, values), gradient) in layers.iter().zip(&values).zip(&own) {
            let mut plan = Plan::new();
            let partial = sums.room(gpu, &mut plan, *parts, gradient);
            early += plan.len();
            plan.submit(gpu).unwrap();
            partial.write(gpu, values);
        }
        let mut plan = Plan::new();
        sums.add_up(gpu, &mut plan);
        sums.add_up(gpu, &mut plan);
        assert_eq!((early, plan.len()), (usize::from(len == most), 1), "nothing waits any more");
        plan.submit(gpu).unwrap();
        own.iter().map(|gradient| block_on(gradient.read::<f32>(gpu)).unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(found[0], found[1]);
    assert!(found[0].iter().flatten().all(|value| value.is_finite()));
}

fn compile_progress() {
    let network = small(Head::AvgPool).build().unwrap();
    let model = Model::new(gpu(), &network, 2, Keep::Everything).unwrap();
    model.set_live(gpu(), 2);
    let plan = model.training_step(gpu(), &ADAM);
    let mut calls = Vec::new();
    block_on(plan.compile(gpu(), |done, all| calls.push((done, all)))).unwrap();
    let (last, all) = *calls.last().unwrap();
    assert_eq!(last, all);
    assert_eq!(calls.len(), all + 1);
    assert!(all < plan.len(), "{all} kernels serve {} dispatches", plan.len());
}

/// What is on the device from other models, in buffers and textures, and what compilation leaves there: no step depends on it.
fn others_change_no_step() {
    let options = StepOptions { clip_grad_norm: Some(0.1), ..StepOptions::default() };
    let sgd = Optimizer::Sgd { momentum: 0.9, weight_decay: 0.01 };
    // The plan is kept, and with it the textures that it reads from.
    let after_two_steps = |gpu: &Gpu, optimizer: &Optimizer, channels: [usize; 2]| {
        let network = Strided { channels: channels.into(), ..small(Head::Flatten) }.build().unwrap();
        let model = Model::new(gpu, &network, 4, Keep::Needed).unwrap();
        let plan = model.training_step_with(gpu, optimizer, &options).unwrap();
        block_on(plan.compile(gpu, |_, _| {})).unwrap();
        let compiled: Vec<f32> = block_on(model.gradient_numbers().read(gpu)).unwrap();
        assert!(compiled.iter().all(|value| *value == 0.0), "compilation leaves no gradient");
        model.load(gpu, &Weights::initial(&network, 2));
        for step in 1..=2 {
            model.set_batch(gpu, &small_images(4), &[0, 1, 2, 1]);
            model.set_step(gpu, optimizer, 0.1, 4, 5, step);
            plan.submit(gpu).unwrap();
        }
        ((block_on(model.weights(gpu, 2)).unwrap(), block_on(model.moments(gpu)).unwrap()), plan)
    };
    let open = || open().with_kernels(Kernels::Plain).unwrap();
    for optimizer in [ADAM, sgd] {
        let shared = open();
        let _others = [[3, 9], [13, 7], [23, 30]].map(|channels| after_two_steps(&shared, &optimizer, channels));
        let [alone, beside] = [&open(), &shared].map(|gpu| after_two_steps(gpu, &optimizer, [4, 4]).0);
        assert!(beside == alone, "{optimizer:?}");
    }
}
