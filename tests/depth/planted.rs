//! A planted truth: images whose classes no receptive field under 10 pixels can tell apart, and one of 15 can.
//!
//! Each image shows pairs of bright dots, 8 pixels apart: side by side in one class, one above the other in the other. A
//! window of 7 x 7 pixels, all that two blocks see, never holds more than one dot. Nor does the grid of such windows give the
//! class away, though it lies 4 pixels apart: both dots of a pair stand in the same place relative to it, that place has the
//! same distribution in both classes, and no dot is near the border. So one block and two are left with guessing, however
//! they are trained, and three, whose windows are 15 pixels wide and 8 apart, always have a window that holds a whole pair.
//!
//! `cargo test --release --test depth -- --ignored planted` runs it; `CONVSCOPE_PLANTED_SEEDS` sets how many seeds (10).

use std::fs;
use std::path::Path;

use image::{Rgb, RgbImage};
use libtest_mimic::Trial;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::trial;
use crate::study::{json, succeed};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("planted_dots_never_share_a_small_window", planted_dots_never_share_a_small_window),
        trial("planted_depth_is_found", planted_depth_is_found).with_ignored_flag(true),
    ]
}

const SIZE: usize = 48;
/// Distance of a pair's dots, and of the places where pairs may stand.
const APART: usize = 8;
/// Places in a row or column, from 1; the image's margin is beyond them.
const PLACES: usize = 4;
const PAIRS: usize = 2;
const IMAGES_A_CLASS: u64 = 250;

/// The study of the planted images.
const STUDY: &str = "depth --data dots --size 48 --channels 8,16,32,32 --depths 1..4 --folds 4 --repeats 1 --margin 5 \
                     --epochs 15 --batch 32 --lr 0.003 --dropout 0 --out study";

/// Upper left corners (x, y) of the dots' 2 x 2 pixels, two a pair.
fn dots(rng: &mut ChaCha8Rng, upright: bool) -> Vec<[usize; 2]> {
    // The first row of each pair: two apart, so that pairs keep their distance.
    let first = rng.random_range(1..=PLACES - 2);
    let mut dots = Vec::new();
    for row in [first, first + 2].into_iter().take(PAIRS) {
        let along = rng.random_range(1..PLACES);
        let shift = [rng.random_range(0..4), rng.random_range(0..4)];
        for place in [along, along + 1] {
            let [x, y] = [APART * place + shift[0], APART * row + shift[1]];
            dots.push(if upright { [y, x] } else { [x, y] });
        }
    }
    dots
}

fn draw(seed: u64, index: u64, upright: bool) -> RgbImage {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(2 * index + u64::from(upright));
    let ground: u8 = rng.random_range(40..80);
    let mut image = RgbImage::from_fn(SIZE as u32, SIZE as u32, |_, _| Rgb([ground + rng.random_range(0..8); 3]));
    for [x, y] in dots(&mut rng, upright) {
        let brightness = rng.random_range(170..=250);
        for [right, down] in [[0, 0], [1, 0], [0, 1], [1, 1]] {
            image.put_pixel((x + right) as u32, (y + down) as u32, Rgb([brightness; 3]));
        }
    }
    image
}

fn make_images(root: &Path, seed: u64) {
    for (class, upright) in [("beside", false), ("above", true)] {
        fs::create_dir_all(root.join(class)).unwrap();
        for index in 0..IMAGES_A_CLASS {
            draw(seed, index, upright).save(root.join(class).join(format!("{index:04}.png"))).unwrap();
        }
    }
}

/// The design holds: small windows hold one dot at most, pairs keep to one place of the grid and off the border, and a
/// window of three blocks holds each pair.
fn planted_dots_never_share_a_small_window() {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    for number in 0..2000 {
        let dots = dots(&mut rng, number % 2 == 1);
        assert_eq!(dots.len(), 2 * PAIRS);
        for (index, one) in dots.iter().enumerate() {
            assert!(one.iter().all(|&at| (7..=SIZE - 9).contains(&at)), "{one:?} is near the border");
            for other in &dots[..index] {
                let distance = (0..2).map(|axis| one[axis].abs_diff(other[axis])).max().unwrap();
                assert!(distance >= 8, "a window of 7 pixels can hold a pixel of {one:?} and one of {other:?}");
            }
        }
        for pair in dots.chunks(2) {
            for axis in 0..2 {
                assert_eq!(pair[0][axis] % 4, pair[1][axis] % 4, "{pair:?}");
                let (low, high) = (pair[0][axis].min(pair[1][axis]), pair[0][axis].max(pair[1][axis]) + 1);
                let window = low / 8 * 8;
                assert!(high < window + 15 && window + 15 < SIZE, "no window of three blocks holds {pair:?}");
            }
        }
    }
}

fn planted_depth_is_found() {
    let seeds: u64 =
        std::env::var("CONVSCOPE_PLANTED_SEEDS").map_or(10, |text| text.parse().expect("a number of seeds"));
    let mut found = Vec::new();
    for seed in 0..seeds {
        let folder = tempfile::tempdir().unwrap();
        make_images(&folder.path().join("dots"), seed);
        let options = format!("{STUDY} --seed {seed}");
        succeed(folder.path(), &options);
        let study = json(&folder.path().join("study/depth.json"));
        let errors: Vec<f64> =
            (0..4).map(|candidate| study["candidates"][candidate]["mean_error"].as_f64().unwrap()).collect();
        let answer = study["answer"].as_str().unwrap().to_string();
        println!("seed {seed}: {answer}; mean errors of depths 4 to 1: {errors:.2?}");
        found.push(answer);
    }
    let right = found.iter().filter(|answer| *answer == "d3").count();
    println!("depth 3 was found with {right} of {seeds} seeds");
    assert_eq!(right as u64, seeds, "{found:?}");
}
