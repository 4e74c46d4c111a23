//! The pictures of feature maps, looked at through the public interface only.

use convscope::report::{FeatureMaps, Layer, Order, PictureError, ScaleBy, Span, grid, overview};
use image::{Rgb, RgbImage};

const LOWEST: Rgb<u8> = Rgb([68, 1, 84]); // The first colour of viridis,
const HIGHEST: Rgb<u8> = Rgb([253, 231, 37]); // and its last.
const GREEN: Rgb<u8> = Rgb([0, 255, 0]); // In no scale: the colour of the test's input image.

fn maps(values: &[f32], (channels, height, width): (usize, usize, usize)) -> FeatureMaps<'_> {
    FeatureMaps {
        name: "Block 1 after ReLU",
        values,
        channels,
        height,
        width,
        signed: false,
        receptive_field: 3,
        stride: 2,
        offset: 0,
    }
}

fn layer<'a>(maps: FeatureMaps<'a>, order: Order<'a>) -> Layer<'a> {
    Layer { maps, order }
}

fn input() -> RgbImage {
    RgbImage::from_pixel(64, 64, GREEN)
}

fn draw(maps: &FeatureMaps) -> Result<RgbImage, PictureError> {
    grid(&layer(*maps, Order::Channel), Span::Layer, &input(), &[])
}

/// Whether the square with the given corner and side has one colour.
fn uniform(picture: &RgbImage, (x, y): (u32, u32), side: u32, colour: Rgb<u8>) -> bool {
    x + side <= picture.width()
        && y + side <= picture.height()
        && (0..side).all(|dy| (0..side).all(|dx| *picture.get_pixel(x + dx, y + dy) == colour))
}

/// The corners of all such squares, from the top left on.
fn squares(picture: &RgbImage, side: u32, colour: Rgb<u8>) -> Vec<(u32, u32)> {
    picture
        .enumerate_pixels()
        .map(|(x, y, _)| (x, y))
        .filter(|&corner| uniform(picture, corner, side, colour))
        .collect()
}

#[test]
fn a_value_is_a_uniform_square_of_its_exact_colour() {
    // 2 rows of 4 values: 128 / 4 = 32 pixels a value.
    let values = [0.0, 5.0, 0.0, 5.0, 5.0, 0.0, 5.0, 0.0];
    let picture = draw(&maps(&values, (1, 2, 4))).unwrap();
    // The values touch at their corners only, so that each colour has exactly four such squares.
    let (low, high) = (squares(&picture, 32, LOWEST), squares(&picture, 32, HIGHEST));
    let (x, y) = low[0];
    assert_eq!(low, [(x, y), (x + 64, y), (x + 32, y + 32), (x + 96, y + 32)]);
    assert_eq!(high, [(x + 32, y), (x + 96, y), (x, y + 32), (x + 64, y + 32)]);
}

#[test]
fn signed_maps_diverge_about_zero() {
    let values = [-2.0, 0.0, 2.0, -4.0, 1.0, 4.0];
    let signed = FeatureMaps { signed: true, ..maps(&values, (1, 2, 3)) };
    let picture = draw(&signed).unwrap();
    let (blue, neutral, red) = (Rgb([4, 47, 96]), Rgb([241, 239, 237]), Rgb([103, 0, 31]));
    // 128 / 3 = 42 pixels a value.
    let (x, y) = squares(&picture, 42, neutral)[0];
    assert!(uniform(&picture, (x - 42, y + 42), 42, blue));
    assert!(uniform(&picture, (x + 42, y + 42), 42, red));
}

#[test]
fn all_maps_of_a_layer_share_one_scale() {
    let picture = draw(&maps(&[0.0, 1.0, 0.0, 2.0], (2, 1, 2))).unwrap();
    assert_eq!(squares(&picture, 64, HIGHEST).len(), 1);
    assert_eq!(squares(&picture, 64, LOWEST).len(), 2);
}

#[test]
fn only_flat_maps_are_hatched() {
    let hatched = |values: &[f32], shape| {
        let picture = draw(&maps(values, shape)).unwrap();
        // Ten rows above the margin the map is cut: lines of 2 pixels every 8, or one colour.
        let y = picture.height() - 40 - 10;
        let line = |&x: &u32| *picture.get_pixel(x, y) == Rgb([188, 191, 197]);
        (48..80).filter(line).count() == 32 / 4
    };
    assert!(hatched(&[0.0; 9], (1, 3, 3)), "dead");
    assert!(hatched(&[2.0; 9], (1, 3, 3)), "constant");
    assert!(hatched(&[0.0], (1, 1, 1)), "a single dead value");
    assert!(!hatched(&[2.0], (1, 1, 1)), "a single live value");
    assert!(!hatched(&[0.0, 0.0, 0.0, 1.0], (1, 2, 2)), "live");
}

#[test]
fn a_value_without_a_colour_is_named() {
    for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0] {
        let mut values = vec![1.0; 3 * 4 * 5];
        values[2 * 20 + 3 * 5 + 1] = value;
        let error = draw(&maps(&values, (3, 4, 5))).unwrap_err().to_string();
        let place = "Block 1 after ReLU, channel 2, row 3, column 1: the value is ";
        assert!(error.starts_with(&format!("{place}{value};")), "{error}");
    }
}

#[test]
fn wrong_arguments_are_errors() {
    let values = [1.0; 4];
    for shape in [(1, 2, 3), (0, 2, 2), (usize::MAX, 2, 2)] {
        let error = draw(&maps(&values, shape)).unwrap_err().to_string();
        assert!(error.contains("4 values cannot be drawn"), "{error}");
    }
    assert!(draw(&maps(&[], (0, 0, 0))).is_err());
    for (receptive_field, stride) in [(0, 2), (3, 64)] {
        let far = FeatureMaps { receptive_field, stride, ..maps(&values, (1, 2, 2)) };
        let error = draw(&far).unwrap_err().to_string();
        assert!(error.contains("image of 64 x 64 px"), "{error}");
    }
}

#[test]
fn the_input_stands_on_the_page_with_a_frame() {
    // 64 px are shown four times as large; the middle value of 31 x 31 sees (30..33, 30..33).
    let values: Vec<f32> = (0..31 * 31).map(|i| i as f32).collect();
    let picture = draw(&maps(&values, (1, 31, 31))).unwrap();
    let (x, y) = squares(&picture, 24, GREEN)[0];
    let (left, top) = (x + 30 * 4, y + 30 * 4);
    assert!(uniform(&picture, (left, top), 12, GREEN));
    for i in 0..12 {
        for (dx, dy) in [(i, -1), (i, 12), (-1, i), (12, i)] {
            let (x, y) = (left.wrapping_add_signed(dx), top.wrapping_add_signed(dy));
            assert_eq!(*picture.get_pixel(x, y), Rgb([255, 255, 255]));
        }
    }
}

#[test]
fn what_padding_lets_a_value_see_is_framed_as_far_as_the_image_goes() {
    let values: Vec<f32> = (0..4).map(|i| i as f32).collect();
    let wide = FeatureMaps { receptive_field: 63, offset: 31, stride: 32, ..maps(&values, (1, 2, 2)) };
    assert!(draw(&wide).is_ok());
}

#[test]
fn pages_of_all_shapes_have_a_moderate_width_and_are_not_blank() {
    for shape in [(1, 1, 1), (16, 63, 63), (16, 127, 127), (256, 3, 3), (12, 9, 40), (7, 90, 2)] {
        let values: Vec<f32> = (0..shape.0 * shape.1 * shape.2).map(|i| (i % 7) as f32).collect();
        let maps = FeatureMaps { receptive_field: 1, stride: 1, ..maps(&values, shape) };
        let picture = grid(&layer(maps, Order::Strongest), Span::Layer, &RgbImage::new(128, 128), &[]).unwrap();
        assert!((1200..=1700).contains(&picture.width()), "{shape:?}: {}", picture.width());
        let text = picture.pixels().filter(|&&pixel| pixel == Rgb([32, 34, 40])).count();
        assert!(text > 100, "{shape:?}: {text} pixels of text");
    }
}

#[test]
fn the_strongest_map_comes_first() {
    let values = [0.0, 1.0, 0.0, 9.0];
    let maps = maps(&values, (2, 1, 2));
    let by = |order| squares(&grid(&layer(maps, order), Span::Layer, &input(), &[]).unwrap(), 64, HIGHEST)[0].0;
    assert!(by(Order::Strongest) < by(Order::Channel));
}

#[test]
fn an_overview_has_a_row_for_each_layer() {
    let values: Vec<f32> = (0..20).map(|i| (i % 2) as f32).collect();
    let ten = layer(maps(&values, (10, 1, 2)), Order::Strongest);
    let by = ScaleBy::Layer;
    let one = overview("One", &[ten], by, &input(), &[]).unwrap();
    let two = overview("Two", &[ten, ten], by, &input(), &[]).unwrap();
    // Of 10 maps it shows 8, each with one highest value of 64 x 64 pixels.
    assert_eq!(squares(&one, 64, HIGHEST).len(), 8);
    assert_eq!(squares(&two, 64, HIGHEST).len(), 16);

    let broken = [f32::NAN];
    let broken = FeatureMaps { name: "Block 2", ..maps(&broken, (1, 1, 1)) };
    let error = overview("Three", &[ten, layer(broken, Order::Strongest)], by, &input(), &[]).unwrap_err();
    assert!(error.to_string().starts_with("Block 2, channel 0, row 0, column 0"));
}

#[test]
fn long_facts_make_the_page_longer_not_wider() {
    let values = [0.0, 1.0];
    let maps = maps(&values, (1, 1, 2));
    let plain = draw(&maps).unwrap();
    let fact = format!("image {}.jpg {}", "ż".repeat(500), "a word ".repeat(200));
    let long = grid(&layer(maps, Order::Channel), Span::Layer, &input(), &[fact]).unwrap();
    assert_eq!(long.width(), plain.width());
    assert!(long.height() > plain.height());
    // The margin at the right stays empty.
    let margin = long.enumerate_pixels().filter(|(x, ..)| *x > long.width() - 40);
    assert!(margin.into_iter().all(|(.., pixel)| *pixel == Rgb([255, 255, 255])));
}
