//! The pictures, looked at through the public interface only.

use convscope::report::{
    Card, CardRow, FeatureMaps, Filters, Heat, Index, Layer, Ledger, Order, PatchRow, PictureError, ScaleBy, Span,
    Triptych, filters, grid, index, overview, patches, triptych,
};
use image::{Rgb, RgbImage};

const LOWEST: Rgb<u8> = Rgb([68, 1, 84]); // The first colour of viridis,
const HIGHEST: Rgb<u8> = Rgb([253, 231, 37]); // and its last.
const BLUE: Rgb<u8> = Rgb([4, 47, 96]); // The first colour of the scale for signed values,
const NEUTRAL: Rgb<u8> = Rgb([241, 239, 237]); // its middle,
const RED: Rgb<u8> = Rgb([103, 0, 31]); // and its last.
const AGAINST: Rgb<u8> = Rgb([33, 102, 172]); // Bars to the left, and of the scores of a map;
const FOR: Rgb<u8> = Rgb([178, 24, 43]); // bars to the right.
const BAR: u32 = 14; // The height of a bar.
const WHITE: Rgb<u8> = Rgb([255, 255, 255]);
const LINE: Rgb<u8> = Rgb([188, 191, 197]); // Hatching.
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
    // 128 / 3 = 42 pixels a value.
    let (x, y) = squares(&picture, 42, NEUTRAL)[0];
    assert!(uniform(&picture, (x - 42, y + 42), 42, BLUE));
    assert!(uniform(&picture, (x + 42, y + 42), 42, RED));
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
        let line = |&x: &u32| *picture.get_pixel(x, y) == LINE;
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
            assert_eq!(*picture.get_pixel(x, y), WHITE);
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
    assert!(margin.into_iter().all(|(.., pixel)| *pixel == WHITE));
}

/// Whether the square with the given corner and side is hatched.
fn hatched(picture: &RgbImage, (x, y): (u32, u32), side: u32) -> bool {
    x + side <= picture.width()
        && y + side <= picture.height()
        && (0..side).all(|dy| {
            (0..side).all(|dx| {
                let ink = if (dx + dy) % 8 < 2 { LINE } else { WHITE };
                *picture.get_pixel(x + dx, y + dy) == ink
            })
        })
}

/// Lengths of the bars of one colour, from the top left on.
fn bars(picture: &RgbImage, colour: Rgb<u8>) -> Vec<u32> {
    let corners = squares(picture, BAR, colour);
    let begins = corners.iter().filter(|&&(x, y)| !corners.contains(&(x - 1, y)));
    begins.map(|&(x, y)| BAR - 1 + (x..).take_while(|&x| corners.contains(&(x, y))).count() as u32).collect()
}

#[test]
fn the_largest_contribution_comes_first_whatever_its_sign() {
    // Channel 1 is the one with the highest value.
    let values = [0.0, 1.0, 0.0, 9.0, 0.0, 1.0];
    let place = |contributions: [f64; 3]| {
        let layer = layer(maps(&values, (3, 1, 2)), Order::Contribution(&contributions));
        squares(&grid(&layer, Span::Layer, &input(), &[]).unwrap(), 64, HIGHEST)[0].0
    };
    let first = place([0.1, -5.0, 2.0]);
    let step = place([0.1, -1.0, 2.0]) - first;
    assert!(step > 128);
    assert_eq!(place([-0.3, 0.2, 2.0]) - first, 2 * step);
}

#[test]
fn a_contribution_is_printed_where_it_fits() {
    let values: Vec<f32> = (0..180).map(|i| i as f32).collect();
    let draw = |shape, contributions: [f64; 2]| {
        let layer = layer(maps(&values, shape), Order::Contribution(&contributions));
        grid(&layer, Span::Layer, &input(), &[]).unwrap()
    };
    let (wide, narrow) = ((2, 9, 10), (2, 30, 3));
    assert!(draw(wide, [2.0, 1.0]) != draw(wide, [2.0, -1.0]));
    assert!(draw(narrow, [2.0, 1.0]) == draw(narrow, [2.0, -1.0]));
}

#[test]
fn contributions_without_meaning_are_errors() {
    let values = [0.0, 1.0];
    let error = |contributions: &[f64]| {
        let layer = layer(maps(&values, (2, 1, 1)), Order::Contribution(contributions));
        let sheet = grid(&layer, Span::Layer, &input(), &[]).unwrap_err();
        assert_eq!(overview("One", &[layer], ScaleBy::Layer, &input(), &[]).unwrap_err(), sheet);
        sheet.to_string()
    };
    assert!(error(&[1.0]).starts_with("Block 1 after ReLU: 1 contributions for 2 maps"));
    assert!(error(&[1.0, f64::NAN]).starts_with("Block 1 after ReLU, channel 1: the contribution is NaN"));
}

#[test]
fn colours_span_a_map_a_layer_or_all_layers() {
    let (faint, strong) = ([0.0, 1.0, 0.0, 2.0], [0.0, 4.0]);
    let layers = [layer(maps(&faint, (2, 1, 2)), Order::Channel), layer(maps(&strong, (1, 1, 2)), Order::Channel)];
    let highest = |by: ScaleBy| {
        let sheet = grid(&layers[0], by.span(&layers), &input(), &[]).unwrap();
        let all = overview("All", &layers, by, &input(), &[]).unwrap();
        [sheet, all].map(|picture| squares(&picture, 64, HIGHEST).len())
    };
    assert_eq!(highest(ScaleBy::Map), [2, 3]);
    assert_eq!(highest(ScaleBy::Layer), [1, 2]);
    assert_eq!(highest(ScaleBy::Global), [0, 1]);
    // The larger faint value is half of the strong one: the middle of viridis.
    let sheet = grid(&layers[0], ScaleBy::Global.span(&layers), &input(), &[]).unwrap();
    assert_eq!(squares(&sheet, 64, Rgb([32, 144, 140])).len(), 1);
}

#[test]
fn a_common_limit_must_cover_the_values() {
    let values = [0.0, 1.0, 0.0, 2.0];
    let layer = layer(maps(&values, (2, 1, 2)), Order::Channel);
    for limit in [1.5, f32::NAN, f32::INFINITY] {
        let error = grid(&layer, Span::Common(limit), &input(), &[]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("Block 1 after ReLU: the colours end at {limit}")), "{error}");
    }
}

#[test]
fn a_scale_for_each_map_prints_each_limit() {
    let (one, other) = ([0.0, 1.0, 0.0, 2.0], [0.0, 1.5, 0.0, 2.0]);
    let draw = |values, span| grid(&layer(maps(values, (2, 1, 2)), Order::Channel), span, &input(), &[]).unwrap();
    // The maps look alike: nothing but the limit below the first differs.
    let (one, other, plain) = (draw(&one, Span::Map), draw(&other, Span::Map), draw(&one, Span::Layer));
    let (_, y) = squares(&one, 64, HIGHEST)[0];
    let differing = one.enumerate_pixels().filter(|&(x, y, pixel)| pixel != other.get_pixel(x, y));
    let rows: Vec<u32> = differing.map(|(_, y, _)| y).collect();
    assert!(!rows.is_empty() && rows.iter().all(|&row| row >= y + 64));
    assert!(one.height() > plain.height());
}

/// A saliency map of the input with one value for each quarter.
fn quarters(values: [f32; 4]) -> Vec<f32> {
    (0..64 * 64).map(|i| values[i / 64 / 32 * 2 + i % 64 / 32]).collect()
}

fn heat(values: &[f32], signed: bool) -> Heat<'_> {
    Heat { values, height: 64, width: 64, signed }
}

fn card(deletion: f64, insertion: f64) -> Card {
    let row = |name: &str, deletion, insertion| CardRow { name: name.into(), deletion, insertion };
    Card {
        lines: vec!["It can be trusted.".into(), "Reasons.".into()],
        rows: vec![row("this map", deletion, insertion), row("random pixels", 0.5, 0.5)],
    }
}

fn method<'a>(map: Heat<'a>, control: Heat<'a>, card: &'a Card) -> Triptych<'a> {
    Triptych { name: "Occlusion", map, control, similarity: Some(0.1), card }
}

#[test]
fn a_saliency_map_stands_between_the_input_and_its_control() {
    let (map, control) = (quarters([2.0, 0.0, -2.0, 0.0]), quarters([0.0, 0.01, 0.0, -0.01]));
    let card = card(0.2, 0.8);
    let picture = triptych("Why", &method(heat(&map, true), heat(&control, true), &card), &input(), &[]).unwrap();
    // 64 px are shown six times as large, and each map has its own scale.
    let (x, y) = squares(&picture, 384, GREEN)[0];
    let (second, third) = (x + 384 + 40, x + 2 * (384 + 40));
    assert_eq!(squares(&picture, 192, RED), [(second, y), (third + 192, y)]);
    assert_eq!(squares(&picture, 192, BLUE), [(second, y + 192), (third + 192, y + 192)]);
    for corner in [(second + 192, y), (second + 192, y + 192), (third, y), (third, y + 192)] {
        assert!(uniform(&picture, corner, 192, NEUTRAL));
    }
}

#[test]
fn a_saliency_map_of_zeros_is_hatched() {
    let (zeros, ones) = (vec![0.0; 64 * 64], quarters([0.0, 1.0, 1.0, 1.0]));
    let card = card(0.2, 0.8);
    let picture = triptych("Why", &method(heat(&zeros, true), heat(&ones, false), &card), &input(), &[]).unwrap();
    let (x, y) = squares(&picture, 384, GREEN)[0];
    assert!(hatched(&picture, (x + 424, y), 384));
    assert!(!hatched(&picture, (x + 848, y), 384));
}

#[test]
fn bars_are_as_long_as_the_scores() {
    let map = quarters([0.0, 1.0, 2.0, 3.0]);
    let lengths = |deletion, insertion| {
        let card = card(deletion, insertion);
        let picture = triptych("Why", &method(heat(&map, false), heat(&map, false), &card), &input(), &[]).unwrap();
        (bars(&picture, AGAINST), bars(&picture, Rgb([160, 175, 196])))
    };
    let (full, baseline) = lengths(1.0, 1.0);
    let [whole, _] = full[..] else { panic!("{full:?}") };
    assert_eq!(full, [whole; 2]);
    assert_eq!(baseline, [whole / 2; 2]);
    assert_eq!(lengths(0.25, 1.0).0, [whole / 4, whole]);
    assert_eq!(lengths(0.0, 1.0).0, [whole]);
    // The longest bar shows the largest score, and those of both signs share the room.
    assert_eq!(lengths(1.0, 2.0), (vec![whole / 2, whole], vec![whole / 4; 2]));
    assert_eq!(lengths(-1.0, 3.0), (vec![whole / 4, whole / 4 * 3], vec![whole / 8; 2]));
}

#[test]
fn a_saliency_map_without_a_colour_or_a_card_without_a_meaning_is_refused() {
    let fine = quarters([0.0, 1.0, 2.0, 3.0]);
    let mut broken = fine.clone();
    broken[2 * 64 + 5] = f32::NAN;
    let sound = card(0.2, 0.8);
    let refused = |method: Triptych| triptych("Why", &method, &input(), &[]).unwrap_err().to_string();
    let (map, damaged) = (heat(&fine, false), heat(&broken, false));

    let error = refused(method(damaged, map, &sound));
    assert!(error.starts_with("Occlusion, row 2, column 5: the value is NaN;"), "{error}");
    let error = refused(method(map, damaged, &sound));
    assert!(error.starts_with("Occlusion of the untrained network, row 2, column 5: the value is NaN;"), "{error}");
    let negative = quarters([0.0, 0.0, 0.0, -1.0]);
    let error = refused(method(heat(&negative, false), map, &sound));
    assert!(error.starts_with("Occlusion, row 32, column 32: the value is -1; "), "{error}");
    for wrong in [Heat { height: 32, width: 128, ..map }, heat(&fine[1..], false)] {
        assert!(refused(method(wrong, map, &sound)).contains("a value for each pixel"));
    }
    for score in [f64::NAN, f64::INFINITY] {
        let error = refused(method(map, map, &card(score, 0.5)));
        assert!(error.starts_with(&format!("Occlusion: the deletion score of \"this map\" is {score};")), "{error}");
    }
    let error = refused(Triptych { similarity: Some(f64::NAN), ..method(map, map, &sound) });
    assert!(error.starts_with("Occlusion: the similarity to the control is NaN;"), "{error}");
}

fn ledger(channels: &[(usize, f64)]) -> Ledger<'_> {
    Ledger { class: "dog", against: "cat", gap: 2.0, bias: 1.0, channels, rest: (254, 0.0), residual: 0.0 }
}

/// Calls `use_it` with an index page of two methods and two layers.
fn with_index<T>(use_it: impl FnOnce(Index) -> T) -> T {
    let (map, card) = (quarters([2.0, 0.0, -2.0, 1.0]), card(0.2, 0.8));
    let values: Vec<f32> = (0..20).map(|i| (i % 2) as f32).collect();
    let layer = layer(maps(&values, (10, 1, 2)), Order::Strongest);
    use_it(Index {
        evidence_note: "1 x 1 values",
        title: "Why",
        facts: &["image cat.jpg".to_string()],
        input: &input(),
        evidence: heat(&map, true),
        ledger: ledger(&[(7, 3.0), (2, -2.0)]),
        methods: &[method(heat(&map, true), heat(&map, true), &card); 2],
        layers: &[layer, layer],
        by: ScaleBy::Layer,
    })
}

#[test]
fn an_index_shows_the_evidence_each_method_and_each_layer() {
    let picture = with_index(|page| index(&page).unwrap());
    // 64 px are shown four times as large: a quarter has 128 px.
    let (x, y) = squares(&picture, 256, GREEN)[0];
    assert_eq!(squares(&picture, 128, RED), [(x + 300 + 40, y)]);
    assert_eq!(squares(&picture, 128, BLUE), [(x + 300 + 40, y + 128)]);
    // Two methods with two maps each, twice as large as the input: a quarter has 64 px.
    let small = squares(&picture, 64, RED).into_iter().filter(|corner| corner.1 > y + 256);
    assert_eq!(small.count(), 4);
    assert_eq!(squares(&picture, 64, HIGHEST).len(), 16);
    assert!(picture.width() < 1700);
}

#[test]
fn the_bars_of_a_ledger_are_as_long_as_its_numbers() {
    let picture = with_index(|page| index(&page).unwrap());
    // Bias 1, channel 3, gap 2; and a channel of -2 on the other side.
    let [bias, channel, gap] = bars(&picture, FOR)[..] else { panic!() };
    assert!(channel > 100);
    assert!(bias.abs_diff(channel / 3) <= 1 && gap.abs_diff(channel * 2 / 3) <= 1);
    assert_eq!(bars(&picture, AGAINST), [gap]);
    let (left, right) = (squares(&picture, BAR, AGAINST)[0], squares(&picture, BAR, FOR)[0]);
    assert_eq!(left.0 + gap, right.0);
}

#[test]
fn an_index_refuses_what_is_not_true_and_names_it() {
    let error = |page: Index| index(&page).unwrap_err().to_string();
    let short = with_index(|page| error(Index { ledger: ledger(&[(7, 3.0)]), ..page }));
    assert!(short.starts_with("ledger: the rows add up to 4, but the logit gap is 2;"), "{short}");
    let broken = with_index(|page| error(Index { ledger: ledger(&[(7, f64::NAN)]), ..page }));
    assert!(broken.starts_with("ledger, channel 7: the value is NaN;"), "{broken}");
    let broken = with_index(|page| error(Index { evidence: heat(&[f32::NAN; 64 * 64], true), ..page }));
    assert!(broken.starts_with("evidence map, row 0, column 0: the value is NaN;"), "{broken}");
    let broken = with_index(|page| {
        let wrong = Triptych { similarity: Some(2.0), ..page.methods[0] };
        error(Index { methods: &[page.methods[0], wrong], ..page })
    });
    assert!(broken.starts_with("Occlusion: the similarity to the control is 2;"), "{broken}");
    let broken = with_index(|page| {
        let wrong = layer(maps(&[f32::NAN], (1, 1, 1)), Order::Channel);
        error(Index { layers: &[page.layers[0], wrong], ..page })
    });
    assert!(broken.starts_with("Block 1 after ReLU, channel 0, row 0, column 0: the value is NaN;"), "{broken}");
}

fn patch_row(patches: Vec<RgbImage>) -> PatchRow {
    PatchRow { name: "channel 17".into(), note: String::new(), patches }
}

#[test]
fn patches_stand_in_threes_and_small_ones_are_enlarged() {
    // Four patches of 8 px, each pixel 4 times as large; the other five places are hatched.
    let patch = RgbImage::from_pixel(8, 8, GREEN);
    let picture = patches("Patches", &[], &[patch_row(vec![patch; 4])], 3).unwrap();
    let corners = squares(&picture, 32, GREEN);
    let (x, y) = corners[0];
    let step = corners[1].0 - x;
    assert_eq!(corners, [(x, y), (x + step, y), (x + 2 * step, y), (x, y + step)]);
    for place in [(1, 1), (2, 1), (0, 2), (1, 2), (2, 2)] {
        assert!(hatched(&picture, (x + place.0 * step, y + place.1 * step), 32));
    }
}

#[test]
fn channels_stand_in_order_and_a_channel_without_patches_is_hatched() {
    let patch = |colour| vec![RgbImage::from_pixel(32, 32, colour); 9];
    let rows = [patch_row(patch(GREEN)), patch_row(vec![]), patch_row(patch(RED))];
    let picture = patches("Patches", &[], &rows, 3).unwrap();
    let (first, third) = (squares(&picture, 32, GREEN)[0], squares(&picture, 32, RED)[0]);
    assert_eq!(first.1, third.1);
    assert!(hatched(&picture, ((first.0 + third.0) / 2, first.1), 3 * 32 + 2 * 3));
}

#[test]
fn pages_of_patches_stay_humane() {
    for (channels, side) in [(16, 3), (32, 7), (64, 15), (128, 31), (256, 63), (1, 200)] {
        // One patch is cut by the image's edge.
        let mut block = vec![RgbImage::from_pixel(side, side, GREEN); 8];
        block.push(RgbImage::from_pixel(side.div_ceil(2), side, GREEN));
        let picture = patches("Patches", &[], &vec![patch_row(block); channels], 3).unwrap();
        assert!((1200..=2600).contains(&picture.width()), "{channels}: {}", picture.width());
        assert!(picture.height() < 2 * picture.width(), "{channels}: {}", picture.height());
        assert!(squares(&picture, 28, GREEN).len() >= 8 * channels, "{channels}");
        assert!(squares(&picture, 49, GREEN).is_empty(), "{channels}");
    }
}

#[test]
fn patches_that_cannot_be_drawn_are_errors() {
    let error = |rows: &[PatchRow]| patches("Block 5", &[], rows, 3).unwrap_err().to_string();
    assert!(error(&[]).starts_with("Block 5: there is no channel"));
    assert!(error(&[patch_row(vec![RgbImage::new(1, 1); 10])]).starts_with("Block 5, channel 17: 10 patches"));
    assert!(error(&[patch_row(vec![RgbImage::new(0, 1)])]).starts_with("Block 5, channel 17: a patch has no pixels"));
}

#[test]
fn a_few_strong_pixels_do_not_hide_the_others() {
    // One pixel of a hundred times the others: they have the last colour too.
    let mut values = vec![1.0; 64 * 64];
    values[0] = 100.0;
    values[64 * 64 - 1] = 0.0;
    let card = Card { lines: vec!["verdict".into()], rows: vec![] };
    let heat = Heat { values: &values, height: 64, width: 64, signed: false };
    let map = Triptych { name: "Gradient", map: heat, control: heat, similarity: None, card: &card };
    let picture = triptych("Gradient", &map, &input(), &[]).unwrap();
    assert!(squares(&picture, 60, HIGHEST).len() > 2);
}

#[test]
fn a_tap_has_the_colour_of_its_weights() {
    // Two filters of 1 x 2 taps, (red, green, blue) each; the second is a tenth of the first.
    let first = [0.5, 0.0, 0.0, -0.25, -0.5, 0.0];
    let weights: Vec<f32> = first.into_iter().chain(first.map(|weight| weight / 10.0)).collect();
    let picture =
        filters("Filters", &[], &Filters { name: "Block 1", weights: &weights, height: 1, width: 2 }).unwrap();
    let (left, right) = (squares(&picture, 24, Rgb([255, 128, 0])), squares(&picture, 24, Rgb([128, 64, 128])));
    assert_eq!(left.len(), 2);
    assert_eq!(right, [(left[0].0 + 24, left[0].1), (left[1].0 + 24, left[1].1)]);
}

#[test]
fn a_filter_of_zeros_is_hatched() {
    let picture =
        |weights| filters("Filters", &[], &Filters { name: "Block 1", weights, height: 3, width: 3 }).unwrap();
    let shows_hatching = |picture: &RgbImage| picture.enumerate_pixels().any(|(x, y, _)| hatched(picture, (x, y), 72));
    assert!(shows_hatching(&picture(&[0.0; 27])));
    assert!(!shows_hatching(&picture(&[0.1; 27])));
}

#[test]
fn filters_that_cannot_be_drawn_are_errors() {
    let error = |weights: &[f32]| {
        let broken = Filters { name: "Block 1", weights, height: 1, width: 2 };
        filters("Filters", &[], &broken).unwrap_err().to_string()
    };
    assert!(error(&[]).starts_with("Block 1: 0 weights cannot be drawn"));
    assert!(error(&[1.0; 7]).starts_with("Block 1: 7 weights cannot be drawn"));
    let mut weights = [0.5; 12];
    weights[6 + 5] = f32::INFINITY;
    let infinite = error(&weights);
    assert!(infinite.starts_with("Block 1, filter 1, colour 2, row 0, column 1: the weight is inf;"), "{infinite}");
}
