//! What channels have learned: the survey, what a value sees, and the images that activate a channel most.

use std::ops::Range;

use approx::assert_relative_eq;
use convscope::data::drawn::{Drawn, Subject};
use convscope::data::{Images, pixels};
use convscope::explain::learned::{Ascent, Place, maximise, survey};
use convscope::explain::{Lens, Question};
use convscope::gpu::Tensor;
use convscope::nn::checkpoint::Weights;
use convscope::nn::layout::{padded, unpack_images};
use convscope::nn::{Mode, Network, Strided};
use libtest_mimic::Trial;
use pollster::block_on;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::trial;
use crate::gpu;
use crate::vanishing::Vanishing;

pub fn tests() -> Vec<Trial> {
    vec![
        trial("learned::a_survey_adds_up_what_single_images_show", survey_adds_up),
        trial("learned::a_value_sees_its_window_and_nothing_else", window_and_nothing_else),
        trial("learned::maximised_images_beat_noise", maximised_images_beat_noise),
        trial("learned::a_planted_filter_is_found", planted_filter_is_found),
        trial("learned::a_value_that_sees_more_than_the_image_is_driven_up", wide_value_is_driven_up),
    ]
}

fn lens(network: &Network, weights: &Weights, batch: usize) -> Lens<'static> {
    let lens = block_on(Lens::new(gpu(), network, batch, |_, _| ())).unwrap();
    lens.load(weights);
    lens
}

fn read(tensor: &Tensor) -> Vec<f32> {
    block_on(tensor.read(gpu())).unwrap()
}

/// Against the maps of one image at a time; with a dead channel and a batch that is not full.
fn survey_adds_up() {
    let network = Strided { channels: vec![5, 6], hidden: 7, ..Strided::dogs_vs_cats(24, 2) }.build().unwrap();
    let mut weights = Weights::initial(&network, 0);
    weights.tensors.get_mut("6.bias").unwrap()[2] = -100.0;
    let gone = 5;
    let images = Vanishing::new(Drawn::new(Subject::Pets, 0, 0, 11, 24, 1 << 20));
    images.only(|index| index != gone);
    let lens = lens(&network, &weights, 4);
    let mut done = Vec::new();
    let order: Vec<usize> = (0..images.len()).collect();
    let found = survey(&lens, &images, &order, 3, |images| done.push(images)).unwrap();
    assert_eq!((found.images, done), (10, vec![4, 8, 11]));
    let [rejected] = &found.rejected[..] else { panic!("one image has gone") };
    assert_eq!(rejected.file, images.name(gone));
    assert_eq!([found.blocks[0].dead(), found.blocks[1].dead()], [0, 1]);
    assert!(found.blocks[1].channels[2].is_dead());

    let readable: Vec<usize> = (0..images.len()).filter(|index| *index != gone).collect();
    let insides: Vec<_> = readable
        .iter()
        .map(|&index| {
            let mut image = vec![0.0; lens.image_len()];
            pixels::to_tensor(&images.pixels(index).unwrap(), false, &mut image);
            block_on(lens.inside(&image, |logits| Question::of(logits, None))).unwrap().1
        })
        .collect();
    for (number, block) in lens.blocks().iter().enumerate() {
        let [_, height, width] = block.output;
        for (channel, found) in found.blocks[number].channels.iter().enumerate() {
            let mut places = Vec::new();
            let mut sum = 0.0;
            for (&image, inside) in readable.iter().zip(&insides) {
                let map = &inside.blocks[number].relu[channel * height * width..][..height * width];
                sum += map.iter().copied().map(f64::from).sum::<f64>();
                let value = map.iter().copied().fold(0.0, f32::max);
                let position = map.iter().position(|other| *other == value).unwrap();
                places.push(Place { image, value, y: position / width, x: position % width });
            }
            places.retain(|place| place.value > 0.0);
            places.sort_by(|a, b| b.value.total_cmp(&a.value));
            assert_eq!(found.max, places.first().map_or(0.0, |place| place.value));
            assert_eq!(found.share, places.len() as f64 / 10.0);
            assert_relative_eq!(found.mean, sum / (10 * height * width) as f64, max_relative = 1e-12);
            places.truncate(3);
            assert_eq!(found.strongest, places);
        }
    }
}

/// Every pixel of an image is changed by itself. The values of a position change if its window holds the pixel, and stay
/// the same to the last bit otherwise; the logits change unless the pixel lies in the border that the last block does not see.
fn window_and_nothing_else() {
    let geometries = [(17, 3, 0), (17, 3, 1), (17, 5, 0), (17, 5, 1), (16, 3, 0), (18, 3, 0)];
    for (size, kernel, padding) in geometries {
        let network = Strided { channels: vec![5, 6], hidden: 7, kernel, padding, ..Strided::dogs_vs_cats(size, 2) }
            .build()
            .unwrap();
        let mut weights = Weights::initial(&network, 1);
        // Every value passes ReLU, so that each pixel has its way through all channels.
        for bias in ["2.bias", "6.bias"] {
            weights.tensors.get_mut(bias).unwrap().fill(5.0);
        }
        let lens = lens(&network, &weights, 32);
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let base: Vec<[f32; 3]> = (0..size * size).map(|_| [(); 3].map(|()| rng.random_range(-1.0..1.0))).collect();
        let write = |place: &mut [f32], changed: Option<usize>| {
            for (pixel, (place, colours)) in place.chunks_mut(4).zip(&base).enumerate() {
                let change = if changed == Some(pixel) { 0.5 } else { 0.0 };
                place[..3].copy_from_slice(&colours.map(|colour| colour + change));
                place[3] = 0.0;
            }
        };
        let values = || {
            let model = lens.model();
            let convs = lens.blocks().iter().map(|block| read(model.value(Mode::Eval, block.conv)));
            let mut all: Vec<Vec<f32>> = convs.collect();
            all.push(read(model.logits()));
            all
        };
        block_on(lens.forward(1, |_, place| write(place, None), async |_| Ok(()))).unwrap();
        let unchanged = values();
        let look = async |range: Range<usize>| {
            let values = values();
            for (i, pixel) in range.enumerate() {
                let [row, column] = [pixel / size, pixel % size];
                let what = format!("{size} px, filters of {kernel}, padding {padding}: pixel {row}, {column}");
                for (number, block) in lens.blocks().iter().enumerate() {
                    let [channels, height, width] = block.output;
                    let lanes = padded(channels);
                    for (position, before) in unchanged[number].chunks(lanes).take(height * width).enumerate() {
                        let after = &values[number][(i * height * width + position) * lanes..][..lanes];
                        let place = [position / width, position % width];
                        let [rows, columns] = block.receptive_window(place, [size, size]);
                        let inside = rows.contains(&row) && columns.contains(&column);
                        assert_eq!(before != after, inside, "{what}, block {}, value {place:?}", number + 1);
                    }
                }
                let [bottom, right] = lens.blocks()[1].unread_border([size, size]);
                let read = row + bottom < size && column + right < size;
                let logits = &values[2][4 * i..][..2];
                assert_eq!(logits != &unchanged[2][..2], read, "{what}, logits");
            }
            Ok(())
        };
        block_on(lens.forward(size * size, |pixel, place| write(place, Some(pixel)), look)).unwrap();
    }
}

/// Every channel of every block, above its start and above the best of 32 whole images of noise; and the value is the one
/// that the whole network has for the image, wherever that stands.
fn maximised_images_beat_noise() {
    for padding in [0, 1] {
        let network =
            Strided { channels: vec![5, 6, 9], hidden: 7, padding, ..Strided::dogs_vs_cats(48, 2) }.build().unwrap();
        let mut weights = Weights::initial(&network, 2);
        for (name, values) in &mut weights.tensors {
            // Statistics about as large as the values, each its own, and biases that leave most channels alive.
            let (first, step) = match name.rsplit('.').next() {
                Some("running_mean") => (0.0, 0.02),
                Some("running_var") => (0.05, 0.01),
                Some("bias") => (0.2, 0.05),
                _ => continue,
            };
            values.iter_mut().enumerate().for_each(|(i, value)| *value = first + step * i as f32);
        }
        let lens = lens(&network, &weights, 32);
        let norm = |number: usize| {
            let block = &lens.blocks()[number];
            let [channels, height, width] = block.output;
            unpack_images(&read(lens.model().value(Mode::Eval, block.norm)), 32, channels, height * width)
        };
        for (number, block) in lens.blocks().iter().enumerate() {
            let [channels, height, width] = block.output;
            let all: Vec<usize> = (0..channels).collect();
            let made = maximise(&lens, number, &all, &Ascent::default(), |_| ()).unwrap();
            if number == 0 {
                assert_eq!(made, maximise(&lens, number, &all, &Ascent::default(), |_| ()).unwrap());
            }

            let mut best = vec![f32::NEG_INFINITY; channels];
            let mut rng = ChaCha8Rng::seed_from_u64(3);
            let noise = |_, place: &mut [f32]| {
                place.chunks_mut(4).for_each(|pixel| pixel[..3].fill_with(|| rng.random_range(-1.0..1.0)));
            };
            block_on(lens.forward(32, noise, async |_| {
                for (map, channel) in norm(number).chunks(height * width).zip((0..channels).cycle()) {
                    best[channel] = map.iter().copied().fold(best[channel], f32::max);
                }
                Ok(())
            }))
            .unwrap();

            // A value in the midst of the map, whose window lies within the image.
            let [y, x] = [height / 2, width / 2];
            let [rows, columns] = block.receptive_window([y, x], [48, 48]);
            let side = block.receptive_field;
            assert_eq!([rows.len(), columns.len()], [side, side]);
            for made in &made {
                let what = format!("padding {padding}, block {}, channel {}", number + 1, made.channel);
                assert!(made.value > made.start, "{what}: from {} to {}", made.start, made.value);
                let best = best[made.channel];
                assert!(made.value > best, "{what}: {} is not above {best}, which noise has", made.value);
                assert!(made.image.iter().all(|value| value.abs() <= 1.0), "{what}");
                assert_eq!(made.image().dimensions(), (side as u32, side as u32));

                let put = |_, place: &mut [f32]| {
                    place.fill(0.0);
                    for (row, pixels) in rows.clone().zip(made.image.chunks(4 * side)) {
                        place[4 * (row * 48 + columns.start)..][..4 * side].copy_from_slice(pixels);
                    }
                };
                block_on(lens.forward(1, put, async |_| Ok(()))).unwrap();
                let value = norm(number)[(made.channel * height + y) * width + x];
                assert_relative_eq!(value, made.value, max_relative = 1e-4);
            }
        }
    }
}

/// A channel that adds up its window by a filter of plus and minus one wants exactly that image, and by the negative
/// scale of batch norm the opposite one.
fn planted_filter_is_found() {
    let network = Strided { channels: vec![4, 5], hidden: 7, ..Strided::dogs_vs_cats(24, 2) }.build().unwrap();
    let mut weights = Weights::initial(&network, 0);
    // (output, input, row, column); channels 0 and 1 have the same filter.
    let filter: Vec<f32> = (0..27u32).map(|i| if (i * i / 3) % 2 == 0 { 1.0 } else { -1.0 }).collect();
    assert!(filter.contains(&1.0) && filter.contains(&-1.0));
    for channel in [0, 1] {
        weights.tensors.get_mut("1.weight").unwrap()[27 * channel..][..27].copy_from_slice(&filter);
    }
    weights.tensors.get_mut("2.weight").unwrap()[1] = -1.0;
    let lens = lens(&network, &weights, 1);
    for made in maximise(&lens, 0, &[1, 0], &Ascent::default(), |_| ()).unwrap() {
        let sign = if made.channel == 1 { -1.0 } else { 1.0 };
        let colours = unpack_images(&made.image, 1, 3, 9);
        for (colour, tap) in colours.iter().zip(&filter) {
            assert_eq!(colour.signum(), sign * tap, "channel {}: {colours:?}", made.channel);
        }
        // Not grey: well on the way to the ends of the range.
        assert!(made.value > 0.5 * 27.0, "{}", made.value);
    }
}

/// Padding lets values see more than there is.
fn wide_value_is_driven_up() {
    let network =
        Strided { channels: vec![4, 4, 4, 6], hidden: 7, padding: 1, ..Strided::dogs_vs_cats(20, 2) }.build().unwrap();
    let lens = lens(&network, &Weights::initial(&network, 0), 2);
    assert_eq!(lens.blocks()[3].receptive_field, 31);
    let mut done = Vec::new();
    let made = maximise(&lens, 3, &[5, 2], &Ascent::default(), |channels| done.push(channels)).unwrap();
    assert_eq!(done, [2]);
    assert_eq!(made.iter().map(|made| made.channel).collect::<Vec<_>>(), [5, 2]);
    for made in made {
        assert_eq!(made.image().dimensions(), (20, 20));
        assert!(made.value > made.start, "from {} to {}", made.start, made.value);
    }
    assert!(maximise(&lens, 3, &[], &Ascent::default(), |_| ()).unwrap().is_empty());
}
