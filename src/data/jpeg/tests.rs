//! JPEGs of every layout, written here by a small encoder whose codes all have one length.

use std::f64::consts::PI;

use super::*;
use crate::data::fit::Fit;
use crate::data::prepare;

/// Side of the images, which leaves the last blocks of every layout half filled.
const SIDE: usize = 45;
/// Every coefficient is a multiple of this.
const QUANTUM: f64 = 2.0;
const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];
/// Progressive, of four colours, in many scans.
const PROGRESSIVE: &[u8] = include_bytes!("../../../tests/fixtures/cmyk.jpg");

/// How a file is to be laid out.
struct Form {
    /// Sampling factors of each colour, across and down.
    factors: Vec<[usize; 2]>,
    /// The colours in each scan.
    scans: Vec<Vec<usize>>,
    restart_interval: usize,
}

/// The value of a colour (luma and the two of chroma) at a place of the image: smooth, so that it survives being sampled.
fn value(colour: usize, x: f64, y: f64) -> f64 {
    let phase = 1.7 * colour as f64;
    let strength = if colour == 0 { 90.0 } else { 35.0 };
    128.0 + strength * (0.045 * x + 0.06 * y + phase).sin()
}

/// A place of the image as RGB, by JFIF's formula.
fn rgb(colours: usize, x: usize, y: usize) -> [f64; 3] {
    let of = |colour| value(colour, x as f64, y as f64);
    let luma = of(0);
    if colours == 1 {
        return [luma; 3];
    }
    let [blue, red] = [of(1) - 128.0, of(2) - 128.0];
    [luma + 1.402 * red, luma - 0.344_14 * blue - 0.714_14 * red, luma + 1.772 * blue]
}

struct Writer {
    bytes: Vec<u8>,
    held: u64,
    count: u32,
}

impl Writer {
    fn put(&mut self, bits: u64, length: u32) {
        self.held = self.held << length | bits;
        self.count += length;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.held >> self.count) as u8;
            self.bytes.push(byte);
            if byte == 0xFF {
                self.bytes.push(0);
            }
        }
    }

    /// Fills the last byte with ones.
    fn align(&mut self) {
        let rest = (8 - self.count % 8) % 8;
        self.put((1 << rest) - 1, rest);
    }

    /// A size of so many bits, as a code of its own, then the bits themselves.
    fn number(&mut self, value: i64, code: impl Fn(u64) -> (u64, u32)) {
        let size = 64 - value.unsigned_abs().leading_zeros();
        let (bits, length) = code(size.into());
        self.put(bits, length);
        let shown = if value < 0 { value + (1 << size) - 1 } else { value };
        self.put(shown as u64, size);
    }
}

/// Symbols of the AC table in the order of their codes of 8 bits: end of block, 16 zeros, and 10 sizes after each run.
fn ac_symbols() -> Vec<u8> {
    let pairs = (0..16).flat_map(|run| (1..=10).map(move |size| run << 4 | size));
    [0x00, 0xF0].into_iter().chain(pairs).collect()
}

fn encode(form: &Form) -> Vec<u8> {
    let most = [0, 1].map(|way| form.factors.iter().map(|both| both[way]).max().unwrap());
    let mut bytes = vec![0xFF, 0xD8];
    let mut segment = |code: u8, content: &[u8]| {
        bytes.extend([0xFF, code]);
        bytes.extend((content.len() as u16 + 2).to_be_bytes());
        bytes.extend(content);
    };
    segment(0xDB, &[&[0][..], &[QUANTUM as u8; 64]].concat());
    let side = SIDE as u8;
    let mut frame = vec![8, 0, side, 0, side, form.factors.len() as u8];
    for (id, both) in (1..).zip(&form.factors) {
        frame.extend([id, (both[0] << 4 | both[1]) as u8, 0]);
    }
    segment(0xC0, &frame);
    // 12 codes of 4 bits for the sizes of mean values, and 162 of 8 bits.
    let mut counts = [0; 16];
    counts[3] = 12;
    segment(0xC4, &[&[0x00][..], &counts, &(0..12).collect::<Vec<u8>>()].concat());
    counts = [0; 16];
    counts[7] = 162;
    segment(0xC4, &[&[0x10][..], &counts, &ac_symbols()].concat());
    segment(0xDD, &(form.restart_interval as u16).to_be_bytes());
    for scan in &form.scans {
        let mut header = vec![scan.len() as u8];
        header.extend(scan.iter().flat_map(|&colour| [colour as u8 + 1, 0]));
        header.extend([0, 63, 0]);
        let mut whole = vec![0xFF, 0xDA];
        whole.extend((header.len() as u16 + 2).to_be_bytes());
        whole.extend(header);
        let mut writer = Writer { bytes: Vec::new(), held: 0, count: 0 };
        encode_scan(form, scan, most, &mut writer);
        bytes.extend(whole);
        bytes.extend(writer.bytes);
    }
    bytes.extend([0xFF, 0xD9]);
    bytes
}

fn encode_scan(form: &Form, scan: &[usize], most: [usize; 2], writer: &mut Writer) {
    let units = if let [colour] = *scan {
        [0, 1].map(|way| (SIDE * form.factors[colour][way]).div_ceil(most[way]).div_ceil(8))
    } else {
        most.map(|most| SIDE.div_ceil(8 * most))
    };
    let mut means = vec![0; form.factors.len()];
    for unit in 0..units[0] * units[1] {
        if unit > 0 && unit.is_multiple_of(form.restart_interval) {
            writer.align();
            writer.bytes.extend([0xFF, 0xD0 + (unit / form.restart_interval - 1) as u8 % 8]);
            means.fill(0);
        }
        for &colour in scan {
            let factors = form.factors[colour];
            let [across, down] = if scan.len() == 1 { [1, 1] } else { factors };
            for block in 0..across * down {
                let column = unit % units[0] * across + block % across;
                let row = unit / units[0] * down + block / across;
                let scale = [0, 1].map(|way| most[way] as f64 / factors[way] as f64);
                let sample = |x: usize, y: usize| {
                    let [x, y] = [(column * 8 + x, 0), (row * 8 + y, 1)]
                        .map(|(place, way)| (place as f64 + 0.5) * scale[way] - 0.5);
                    value(colour, x, y) - 128.0
                };
                encode_block(&transformed(sample), &mut means[colour], writer);
            }
        }
    }
    writer.align();
}

/// The quantised coefficients of a block, in zigzag order (A.3.3).
fn transformed(sample: impl Fn(usize, usize) -> f64) -> [i64; 64] {
    let half = |k: usize| if k == 0 { 0.5f64.sqrt() } else { 1.0 };
    let wave = |place: usize, k: usize| ((2 * place + 1) as f64 * k as f64 * PI / 16.0).cos();
    ZIGZAG.map(|index| {
        let (u, v) = (index % 8, index / 8);
        let places = (0..64).map(|place| (place % 8, place / 8));
        let sum: f64 = places.map(|(x, y)| sample(x, y) * wave(x, u) * wave(y, v)).sum();
        (0.25 * half(u) * half(v) * sum / QUANTUM).round() as i64
    })
}

fn encode_block(coefficients: &[i64; 64], mean: &mut i64, writer: &mut Writer) {
    writer.number(coefficients[0] - *mean, |size| (size, 4));
    *mean = coefficients[0];
    let mut run = 0;
    for &coefficient in &coefficients[1..] {
        if coefficient == 0 {
            run += 1;
            continue;
        }
        while run > 15 {
            writer.put(1, 8);
            run -= 16;
        }
        writer.number(coefficient, |size| (2 + 10 * run + size - 1, 8));
        run = 0;
    }
    if run > 0 {
        writer.put(0, 8);
    }
}

/// Sampling factors that are common, and others that are legal.
fn all_factors() -> Vec<Vec<[usize; 2]>> {
    let common = [[1, 1], [2, 1], [1, 2], [2, 2]].map(|luma| vec![luma, [1, 1], [1, 1]]);
    let odd = [
        [[4, 1], [1, 1], [1, 1]],
        [[1, 4], [1, 1], [1, 1]],
        [[3, 1], [1, 1], [1, 1]],
        [[2, 2], [2, 1], [1, 2]],
        [[2, 2], [2, 2], [1, 1]],
        [[2, 2], [2, 2], [2, 2]],
        [[1, 1], [2, 2], [1, 1]],
        [[1, 1], [1, 1], [2, 1]],
    ];
    common.into_iter().chain(odd.map(Vec::from)).chain([vec![[1, 1]], vec![[3, 2]]]).collect()
}

/// Every combination of factors, scans and restart markers.
fn forms() -> Vec<Form> {
    let mut forms = Vec::new();
    for factors in all_factors() {
        let apart: Vec<Vec<usize>> = (0..factors.len()).map(|colour| vec![colour]).collect();
        let mut layouts = vec![apart.clone()];
        if factors.len() == 3 {
            layouts.extend([vec![vec![0], vec![1, 2]], vec![vec![2], vec![0], vec![1]]]);
            // A unit has at most ten blocks (B.2.3).
            if factors.iter().map(|both| both[0] * both[1]).sum::<usize>() <= 10 {
                layouts.push(vec![vec![0, 1, 2]]);
            }
        }
        for scans in layouts {
            for restart_interval in [0, 1, 4] {
                forms.push(Form { factors: factors.clone(), scans: scans.clone(), restart_interval });
            }
        }
    }
    forms
}

fn load(bytes: &[u8], size: usize) -> Result<Vec<u8>, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    prepare::load(file.path(), Fit::to(size as u32))
}

#[test]
fn every_legal_layout_shows_the_image() {
    for form in forms() {
        let Form { factors, scans, restart_interval } = &form;
        let shown = format!("{factors:?} in scans {scans:?}, restart {restart_interval}");
        let pixels = load(&encode(&form), SIDE).unwrap_or_else(|reason| panic!("{shown}: {reason}"));
        for (place, pixel) in pixels.as_chunks::<3>().0.iter().enumerate() {
            let expected = rgb(factors.len(), place % SIDE, place / SIDE);
            let worst = expected.iter().zip(pixel).map(|(e, p)| (e.clamp(0.0, 255.0) - f64::from(*p)).abs());
            let worst = worst.fold(0.0, f64::max);
            // Quantisation, and chroma that has a quarter of the resolution, which some decoders do not smooth.
            assert!(worst < 12.0, "{shown}: {worst} grey levels off at {place}");
        }
    }
}

#[test]
fn the_usual_decoder_has_the_usual_files() {
    let layout = |factors: &[[usize; 2]], scans: &[&[usize]]| {
        let scans = scans.iter().map(|scan| scan.to_vec()).collect();
        inspect(&encode(&Form { factors: factors.to_vec(), scans, restart_interval: 0 })).unwrap()
    };
    for luma in [[1, 1], [2, 1], [1, 2], [2, 2]] {
        assert_eq!(layout(&[luma, [1, 1], [1, 1]], &[&[0, 1, 2]]), ScanLayout::Common);
        assert_eq!(layout(&[luma, [1, 1], [1, 1]], &[&[0], &[1], &[2]]), ScanLayout::Uncommon);
    }
    assert_eq!(layout(&[[1, 1]], &[&[0]]), ScanLayout::Common);
    assert_eq!(layout(&[[1, 1], [2, 1], [1, 1]], &[&[0, 1, 2]]), ScanLayout::Uncommon);
    assert_eq!(inspect(PROGRESSIVE), Ok(ScanLayout::Common));
}

/// Cut at every byte, with an end marker put where the cut is.
#[test]
fn what_was_cut_is_refused_whatever_is_appended() {
    let form = |scans: &[&[usize]], restart_interval| Form {
        factors: vec![[2, 2], [1, 1], [1, 1]],
        scans: scans.iter().map(|scan| scan.to_vec()).collect(),
        restart_interval,
    };
    let together = encode(&form(&[&[0, 1, 2]], 0));
    let restarted = encode(&form(&[&[0, 1, 2]], 2));
    let apart = encode(&form(&[&[0], &[1], &[2]], 0));
    for whole in [together, restarted, apart] {
        assert!(inspect(&whole).is_ok());
        for kept in 2..whole.len() - 2 {
            let cut = [&whole[..kept], &[0xFF, 0xD9]].concat();
            let reason = inspect(&cut).expect_err(&format!("{kept} of {} bytes", whole.len()));
            assert!(reason.starts_with("is cut short") || reason.starts_with("is damaged"), "{reason}");
        }
        let half = [&whole[..whole.len() / 2], &[0xFF, 0xD9]].concat();
        assert_eq!(inspect(&half).unwrap_err(), CUT);
    }
}

/// A progressive file may end after any scan, if there was one of mean values: the image is whole, if coarse.
#[test]
fn a_progressive_file_ends_between_scans_alone() {
    let scans = PROGRESSIVE.windows(2).filter(|pair| pair == &[0xFF, 0xDA]).count();
    assert!(scans > 5, "{scans}");
    let mut accepted = 0;
    for kept in 2..PROGRESSIVE.len() - 2 {
        let cut = [&PROGRESSIVE[..kept], &[0xFF, 0xD9]].concat();
        if inspect(&cut).is_ok() {
            // Before a marker, or behind the byte that begins it.
            let next = if PROGRESSIVE[kept] == 0xFF { PROGRESSIVE[kept + 1] } else { PROGRESSIVE[kept] };
            assert!(matches!(next, 0xC4 | 0xDA), "{kept}: {next:02x}");
            accepted += 1;
        }
    }
    assert!(accepted > 0);
}

#[test]
fn kinds_that_are_not_read_are_named() {
    let good = encode(&Form { factors: vec![[1, 1]], scans: vec![vec![0]], restart_interval: 0 });
    let frame = good.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    let with = |place: usize, value: u8| {
        let mut changed = good.clone();
        changed[frame + place] = value;
        inspect(&changed).unwrap_err()
    };
    for (code, kind) in [(0xC3, "lossless"), (0xC5, "hierarchical"), (0xC9, "arithmetic"), (0xCA, "arithmetic")] {
        assert!(with(1, code).contains(kind), "{}", with(1, code));
    }
    assert!(with(4, 12).contains("12 bits a colour"));
    assert!(with(6, 0).contains("not in its header"));
    assert!(with(9, 2).contains("2 colours"));
    assert!(with(5, 0xFF).starts_with("is too large"));
}

/// A table may say that a mean value has up to 255 bits, more than there is room for.
#[test]
fn values_of_too_many_bits_are_refused() {
    let good = encode(&Form { factors: vec![[1, 1]], scans: vec![vec![0]], restart_interval: 0 });
    let table = good.windows(2).position(|pair| pair == [0xFF, 0xC4]).unwrap();
    // Behind the marker: the length, the table's place, and how many codes there are of each length.
    let symbols = table + 2 + 2 + 1 + 16;
    assert_eq!(good[symbols..symbols + 12], (0..12).collect::<Vec<u8>>());
    for bits in 0..=255 {
        let mut changed = good.clone();
        changed[symbols..symbols + 12].fill(bits);
        let told = load(&changed, 16);
        assert!(bits < 16 || told.is_err_and(|reason| reason.starts_with("is damaged")), "{bits} bits");
    }
}

/// Whatever stands in a file, it is refused or read, and nothing panics.
#[test]
fn damaged_files_do_no_harm() {
    let apart = Form { factors: vec![[2, 1], [1, 1], [1, 1]], scans: vec![vec![0], vec![1, 2]], restart_interval: 3 };
    for whole in [&encode(&apart)[..], PROGRESSIVE] {
        for place in (2..whole.len()).step_by(3) {
            for value in [0x3F, 0xFF, whole[place] ^ 0x10] {
                let mut changed = whole.to_vec();
                changed[place] = value;
                let _ = load(&changed, 16);
            }
        }
    }
}
