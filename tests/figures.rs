//! The images, looked at through the public interface only.

use convscope::figures::{
    FeatureMaps, FigureError, Filters, Heat, Kind, LayerMaps, Order, Scale, ScaleBy, Shown, Span, bare, columns, over,
    sheet, tap,
};
use image::{Rgb, RgbImage};

const LOWEST: Rgb<u8> = Rgb([68, 1, 84]); // The first colour of viridis,
const MIDDLE: Rgb<u8> = Rgb([32, 144, 140]); // its middle,
const HIGHEST: Rgb<u8> = Rgb([253, 231, 37]); // and its last.
const BLUE: Rgb<u8> = Rgb([4, 47, 96]); // The first colour of the scale for signed values,
const NEUTRAL: Rgb<u8> = Rgb([241, 239, 237]); // its middle,
const RED: Rgb<u8> = Rgb([103, 0, 31]); // and its last.
const WHITE: Rgb<u8> = Rgb([255, 255, 255]);
const LINE: Rgb<u8> = Rgb([188, 191, 197]); // Hatching.
const GREEN: Rgb<u8> = Rgb([0, 255, 0]); // In no scale.

fn maps(values: &[f32], (channels, height, width): (usize, usize, usize)) -> FeatureMaps<'_> {
    FeatureMaps {
        name: "Block 1 after ReLU".into(),
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

fn layer(maps: FeatureMaps<'_>) -> LayerMaps<'_> {
    LayerMaps { maps, order: Order::Strongest }
}

/// What is shown of a layer beside an image of 64 x 64 px.
fn show(layer: &LayerMaps, span: Span) -> Result<Vec<Shown>, FigureError> {
    layer.check((64, 64))?;
    layer.shown(span)
}

/// The map of a channel, which has something to show.
fn image_of(shown: &[Shown], channel: usize) -> &RgbImage {
    let map = shown.iter().find(|map| map.channel == channel).unwrap();
    map.image.as_ref().unwrap_or_else(|| panic!("channel {channel} is not drawn"))
}

fn has(image: &RgbImage, colour: Rgb<u8>) -> bool {
    image.pixels().any(|&pixel| pixel == colour)
}

#[test]
fn a_value_is_a_pixel_of_its_exact_colour() {
    let values = [0.0, 5.0, 2.5, 5.0, 5.0, 0.0, 5.0, 0.0];
    let shown = show(&layer(maps(&values, (1, 2, 4))), Span::Map).unwrap();
    let pixels: Vec<Rgb<u8>> = image_of(&shown, 0).pixels().copied().collect();
    assert_eq!(image_of(&shown, 0).dimensions(), (4, 2));
    assert_eq!(pixels, [LOWEST, HIGHEST, MIDDLE, HIGHEST, HIGHEST, LOWEST, HIGHEST, LOWEST]);
}

#[test]
fn signed_maps_diverge_about_zero() {
    let values = [-4.0, 0.0, 4.0, -1.0];
    let signed = FeatureMaps { signed: true, ..maps(&values, (1, 1, 4)) };
    let shown = show(&layer(signed), Span::Map).unwrap();
    let [below, zero, above, little] = [0, 1, 2, 3].map(|x| *image_of(&shown, 0).get_pixel(x, 0));
    assert_eq!([below, zero, above], [BLUE, NEUTRAL, RED]);
    // 0 is white even where the largest value is not as far from it as the least.
    assert!(little[2] > little[0] && little != NEUTRAL, "{little:?}");
}

/// The fault that maps are almost black: one channel is a hundred times as strong as the others.
#[test]
fn every_live_map_reaches_the_last_colour_unless_asked_otherwise() {
    let values: Vec<f32> = (0..8 * 9).map(|i| (i % 9) as f32 * if i < 9 { 100.0 } else { 1.0 }).collect();
    let layer = layer(maps(&values, (8, 3, 3)));
    let bright = |by: ScaleBy| {
        let shown = show(&layer, by.span(std::slice::from_ref(&layer))).unwrap();
        assert_eq!(shown[0].channel, 0, "the strongest comes first");
        assert_eq!(shown.iter().map(|map| (map.least, map.most)).collect::<Vec<_>>()[..2], [(0.0, 800.0), (0.0, 8.0)]);
        shown.iter().filter(|map| has(map.image.as_ref().unwrap(), HIGHEST)).count()
    };
    assert_eq!(bright(ScaleBy::default()), 8);
    assert_eq!(bright(ScaleBy::Layer), 1);
}

#[test]
fn colours_span_a_map_a_layer_or_all_layers() {
    let (faint, strong) = ([0.0, 1.0, 0.0, 2.0], [0.0, 4.0]);
    let layers = [layer(maps(&faint, (2, 1, 2))), layer(maps(&strong, (1, 1, 2)))];
    let last = |by: ScaleBy| -> [Vec<Rgb<u8>>; 2] {
        let shown = |layer| show(layer, by.span(&layers)).unwrap();
        let colours = |layer| shown(layer).iter().map(|map| *map.image.as_ref().unwrap().get_pixel(1, 0)).collect();
        [colours(&layers[0]), colours(&layers[1])]
    };
    assert_eq!(last(ScaleBy::Map), [vec![HIGHEST; 2], vec![HIGHEST]]);
    assert_eq!(last(ScaleBy::Layer), [vec![HIGHEST, MIDDLE], vec![HIGHEST]]);
    let [faint, strong] = last(ScaleBy::Global);
    assert_eq!((faint[0], strong), (MIDDLE, vec![HIGHEST]));
    assert!(ScaleBy::Map.span(&layers).scale(&layers[0].maps).is_none());
    assert_eq!(ScaleBy::Global.span(&layers).scale(&layers[0].maps), Some(Scale { limit: 4.0, signed: false }));
}

#[test]
fn a_common_limit_must_cover_the_values() {
    let values = [0.0, 1.0, 0.0, 2.0];
    for limit in [1.5, f32::NAN, f32::INFINITY] {
        let error = show(&layer(maps(&values, (2, 1, 2))), Span::Common(limit)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("Block 1 after ReLU: the colours end at {limit}")), "{error}");
    }
}

#[test]
fn only_flat_maps_are_not_drawn() {
    for (values, shape, kind) in [
        (&[0.0; 9][..], (1, 3, 3), Kind::Dead),
        (&[2.0; 9], (1, 3, 3), Kind::Constant),
        (&[0.0], (1, 1, 1), Kind::Dead),
        (&[2.0], (1, 1, 1), Kind::Live),
        (&[0.0, 0.0, 0.0, 1e-9], (1, 2, 2), Kind::Live),
    ] {
        let layer = layer(maps(values, shape));
        let shown = show(&layer, Span::Map).unwrap();
        assert_eq!((shown[0].kind, shown[0].image.is_some()), (kind, kind == Kind::Live), "{values:?}");
        let expected = [Kind::Dead, Kind::Constant].map(|flat| usize::from(flat == kind));
        assert_eq!(layer.flat(), expected, "{values:?}");
    }
}

#[test]
fn a_value_without_a_colour_is_named() {
    for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0] {
        let mut values = vec![1.0; 3 * 4 * 5];
        values[2 * 20 + 3 * 5 + 1] = value;
        let broken = layer(maps(&values, (3, 4, 5)));
        let place = format!("Block 1 after ReLU, channel 2, row 3, column 1: the value is {value};");
        for error in [show(&broken, Span::Map).unwrap_err(), broken.shown(Span::Map).unwrap_err()] {
            assert!(error.to_string().starts_with(&place), "{error}");
        }
    }
}

#[test]
fn wrong_arguments_are_errors() {
    let values = [1.0; 4];
    for shape in [(1, 2, 3), (0, 2, 2), (usize::MAX, 2, 2)] {
        let error = show(&layer(maps(&values, shape)), Span::Map).unwrap_err().to_string();
        assert!(error.contains("4 values cannot be drawn"), "{error}");
    }
    assert!(show(&layer(maps(&[], (0, 0, 0))), Span::Map).is_err());
    for (receptive_field, stride) in [(0, 2), (3, 64)] {
        let far = FeatureMaps { receptive_field, stride, ..maps(&values, (1, 2, 2)) };
        let error = show(&layer(far), Span::Map).unwrap_err().to_string();
        assert!(error.contains("image of 64 x 64 px"), "{error}");
    }
    for (contributions, expected) in [
        (vec![1.0], "Block 1 after ReLU: 1 contributions for 2 maps"),
        (vec![1.0, f64::NAN], "Block 1 after ReLU, channel 1: the contribution is NaN"),
    ] {
        let layer = LayerMaps { maps: maps(&values, (2, 1, 2)), order: Order::Contribution(contributions) };
        let error = show(&layer, Span::Map).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn the_middle_value_sees_what_padding_lets_it_see_of_the_image() {
    // The middle value of 31 x 31 is value 15.
    let values = vec![0.0; 31 * 31];
    assert_eq!(maps(&values, (1, 31, 31)).middle((64, 64)), [30..33, 30..33]);
    let wide = FeatureMaps { receptive_field: 63, offset: 31, stride: 32, ..maps(&values[..4], (1, 2, 2)) };
    assert_eq!(wide.middle((64, 64)), [1..64, 1..64]);
}

#[test]
fn maps_come_in_the_order_that_was_asked_for() {
    let values = [0.0, 1.0, 0.0, 9.0, 0.0, 3.0];
    let order = |order| {
        let layer = LayerMaps { maps: maps(&values, (3, 1, 2)), order };
        show(&layer, Span::Map).unwrap().iter().map(|map| map.channel).collect::<Vec<_>>()
    };
    assert_eq!(order(Order::Strongest), [1, 2, 0]);
    // The largest magnitude first, whichever way.
    assert_eq!(order(Order::Contribution(vec![-2.0, 0.5, 1.0])), [0, 2, 1]);
}

fn heat(values: &[f32], signed: bool) -> Heat<'_> {
    Heat { values, height: 64, width: 64, signed }
}

#[test]
fn a_few_strong_pixels_do_not_hide_the_others() {
    // One pixel of a hundred times the others: they have the last colour too.
    let mut values = vec![1.0; 64 * 64];
    values[0] = 100.0;
    values[64 * 64 - 1] = 0.0;
    let map = heat(&values, false);
    let drawn = bare("Gradient", &map, Scale::of_saliency(&map)).unwrap();
    assert_eq!((*drawn.get_pixel(0, 0), *drawn.get_pixel(9, 9), *drawn.get_pixel(63, 63)), (HIGHEST, HIGHEST, LOWEST));
    // A map of zeros, but for so few pixels that the hundredth is 0, still shows these.
    let mut sparse = vec![0.0; 64 * 64];
    sparse[5] = 2.0;
    assert_eq!(Scale::of_saliency(&heat(&sparse, true)), Scale { limit: 2.0, signed: true });
    assert_eq!(Scale::of_saliency(&heat(&[0.0; 64 * 64], true)).limit, 0.0);
}

/// A map that is 0 but for single pixels, laid over a photo of two greys.
#[test]
fn a_map_laid_over_a_photo_leaves_it_where_it_says_nothing() {
    let photo = RgbImage::from_fn(64, 64, |x, _| if x < 32 { Rgb([200; 3]) } else { Rgb([40; 3]) });
    let mut values = vec![0.0; 64 * 64];
    (values[0], values[1], values[2], values[63]) = (2.0, -2.0, 1.0, 2.0);
    for signed in [true, false] {
        let values: Vec<f32> = if signed { values.clone() } else { values.iter().map(|value| value.abs()).collect() };
        let scale = Scale { limit: 2.0, signed };
        let laid = over("Occlusion", &heat(&values, signed), scale, &photo).unwrap();
        let changed: Vec<_> = laid.enumerate_pixels().filter(|&(x, y, pixel)| pixel != photo.get_pixel(x, y)).collect();
        assert_eq!(changed.iter().map(|(x, y, _)| (*x, *y)).collect::<Vec<_>>(), [(0, 0), (1, 0), (2, 0), (63, 0)]);
        let [strong, other, half, dark] = [0, 1, 2, 63].map(|x| laid.get_pixel(x, 0).0.map(i32::from));
        // Red above 0 and blue below; unsigned, the last colour of viridis, which is yellow.
        let warmth = |[red, _, blue]: [i32; 3]| red - blue;
        assert!(warmth(strong) > 40, "{strong:?}");
        assert!(if signed { warmth(other) < -40 } else { other == strong }, "{other:?}");
        assert!(
            warmth(dark) > 40 && (0..3).all(|i| strong[i] > dark[i]),
            "the photo shows through: {strong:?}, {dark:?}"
        );
        let change = |pixel: [i32; 3]| pixel.iter().map(|value| (value - 200).abs()).sum::<i32>();
        assert!(0 < change(half) && change(half) < change(strong), "half as strong, more of the photo");
    }
}

#[test]
fn a_coloured_photo_is_laid_under_in_grey() {
    let photo = RgbImage::from_pixel(64, 64, GREEN);
    let laid = over("evidence", &heat(&[0.0; 64 * 64], true), Scale { limit: 1.0, signed: true }, &photo).unwrap();
    assert!(laid.pixels().all(|Rgb([r, g, b])| r == g && g == b), "colours belong to the map");
}

#[test]
fn a_map_that_does_not_fit_the_photo_is_refused_and_named() {
    let photo = RgbImage::new(64, 64);
    let refused = |map: Heat| over("Occlusion", &map, Scale::of_saliency(&map), &photo).unwrap_err().to_string();
    let mut broken = vec![1.0; 64 * 64];
    broken[2 * 64 + 5] = f32::NAN;
    assert!(refused(heat(&broken, false)).starts_with("Occlusion, row 2, column 5: the value is NaN;"));
    broken[2 * 64 + 5] = -1.0;
    assert!(refused(heat(&broken, false)).starts_with("Occlusion, row 2, column 5: the value is -1; "));
    for wrong in [Heat { height: 32, width: 128, ..heat(&broken, true) }, heat(&broken[1..], true), heat(&[], true)] {
        assert!(refused(wrong).contains("a value for each pixel"));
    }
}

#[test]
fn colour_bars_run_from_the_first_colour_to_the_last() {
    let ends = |signed| {
        let ramp = Scale { limit: 3.0, signed }.ramp();
        [*ramp.get_pixel(0, 0), *ramp.get_pixel(ramp.width() - 1, 0)]
    };
    assert_eq!((ends(false), ends(true)), ([LOWEST, HIGHEST], [BLUE, RED]));
    assert_eq!([false, true].map(|signed| Scale { limit: 3.0, signed }.low()), [0.0, -3.0]);
}

/// Whether the square with the given corner and side has one colour.
fn uniform(image: &RgbImage, (x, y): (u32, u32), side: u32, colour: Rgb<u8>) -> bool {
    (0..side).all(|dy| (0..side).all(|dx| *image.get_pixel(x + dx, y + dy) == colour))
}

#[test]
fn a_sheet_has_its_images_in_rows_enlarged_by_a_whole_number() {
    let mut images = vec![Some(RgbImage::from_pixel(3, 3, GREEN)); 10];
    images[1] = None;
    images[9] = Some(RgbImage::from_pixel(3, 3, RED));
    // 128 / 3 = 42 times as large: 126 px, and 4 between them.
    let sheet = sheet(&images, [3, 3]);
    assert_eq!(columns(10), 8);
    assert_eq!(sheet.dimensions(), (8 * 126 + 7 * 4, 2 * 126 + 4));
    assert!(uniform(&sheet, (0, 0), 126, GREEN) && uniform(&sheet, (7 * 130, 0), 126, GREEN));
    assert!(uniform(&sheet, (130, 130), 126, RED), "the tenth stands in the second row");
    assert!(uniform(&sheet, (2 * 130, 130), 126, WHITE), "nothing stands behind the last");
    let hatched: Vec<Rgb<u8>> = (130..146).map(|x| *sheet.get_pixel(x, 60)).collect();
    assert_eq!(hatched.iter().filter(|&&pixel| pixel == LINE).count(), 4, "two pixels of eight: {hatched:?}");
    assert!(hatched.iter().all(|&pixel| pixel == LINE || pixel == WHITE));
}

#[test]
fn sheets_of_all_shapes_stay_moderate() {
    for (count, [width, height]) in
        [(1, [1, 1]), (16, [63, 63]), (16, [127, 127]), (64, [15, 15]), (256, [3, 3]), (12, [40, 9]), (7, [2, 90])]
    {
        let sheet = sheet(&vec![Some(RgbImage::from_pixel(width, height, GREEN)); count], [width, height]);
        assert!((90..=1500).contains(&sheet.width().max(sheet.height())), "{count}: {:?}", sheet.dimensions());
        let green = sheet.pixels().filter(|&&pixel| pixel == GREEN).count();
        assert_eq!(green % (count * (width * height) as usize), 0, "all are whole");
        assert!(green > 0);
    }
    assert_eq!([0, 1, 8, 64, 65, 256].map(columns), [1, 1, 8, 8, 16, 16]);
}

#[test]
fn a_tap_has_the_colour_of_its_weights() {
    // Two filters of 1 x 2 taps, (red, green, blue) each; the second is a tenth of the first. Then one of zeros.
    let first = [0.5, 0.0, 0.0, -0.25, -0.5, 0.0];
    let weights: Vec<f32> = first.into_iter().chain(first.map(|weight| weight / 10.0)).chain([0.0; 6]).collect();
    let shown = Filters { name: "Block 1", weights: &weights, height: 1, width: 2 }.shown().unwrap();
    for (filter, limit) in [(0, 0.5), (1, 0.05)] {
        let image = shown[filter].0.as_ref().unwrap();
        assert_eq!(image.dimensions(), (2, 1));
        assert_eq!(image.pixels().copied().collect::<Vec<_>>(), [Rgb([255, 128, 0]), Rgb([128, 64, 128])]);
        assert_eq!(shown[filter].1, limit);
    }
    assert_eq!(shown[2], (None, 0.0));
    assert_eq!(tap([0.0, 1.0, -1.0]), Rgb([128, 255, 0]));
}

#[test]
fn filters_that_cannot_be_drawn_are_errors() {
    let error = |weights: &[f32]| {
        let broken = Filters { name: "Block 1", weights, height: 1, width: 2 };
        broken.shown().unwrap_err().to_string()
    };
    assert!(error(&[]).starts_with("Block 1: 0 weights cannot be drawn"));
    assert!(error(&[1.0; 7]).starts_with("Block 1: 7 weights cannot be drawn"));
    let mut weights = [0.5; 12];
    weights[6 + 5] = f32::INFINITY;
    let infinite = error(&weights);
    assert!(infinite.starts_with("Block 1, filter 1, colour 2, row 0, column 1: the weight is inf;"), "{infinite}");
}
