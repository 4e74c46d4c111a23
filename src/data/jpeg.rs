//! What a JPEG file is made of, and whether all of its image is there.
//!
//! The decoders fill what is missing with grey and say nothing, so [`inspect`] first walks through the entropy-coded data as a
//! decoder does, block by block, without making pixels. An encoder writes every bit that a decoder reads; a file in which one
//! must be read beyond the end of a scan was cut, whatever was appended to it.
//!
//! References are to ISO/IEC 10918-1 (ITU-T T.81).

use std::iter::repeat_n;

use image::{DynamicImage, GrayImage, RgbImage};
use jpeg_decoder::{Decoder, PixelFormat};

use super::prepare::check_size;

/// How a JPEG file is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanLayout {
    /// As nearly all files are: the colours side by side in one scan unless it is progressive, the first at full resolution and
    /// the others at full or half of it, each way.
    Common,
    /// Otherwise.
    Uncommon,
}

/// Decodes a file that is not laid out as nearly all are, for which the usual decoder makes stripes or nothing. Returns the EXIF
/// segment with it, if there is one.
///
/// # Errors
/// The reason why the file cannot be decoded.
pub(super) fn decode_uncommon(bytes: &[u8]) -> Result<(DynamicImage, Option<Vec<u8>>), String> {
    let mut decoder = Decoder::new(bytes);
    let pixels = decoder.decode().map_err(|error| format!("cannot be decoded: {error}"))?;
    let info = decoder.info().ok_or(DAMAGED_HEADER)?;
    let (width, height) = (info.width.into(), info.height.into());
    let image = match info.pixel_format {
        PixelFormat::L8 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
        PixelFormat::RGB24 => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
        PixelFormat::CMYK32 => RgbImage::from_raw(width, height, without_ink(&pixels)).map(DynamicImage::from),
        PixelFormat::L16 => return Err(DAMAGED_HEADER.into()),
    };
    Ok((image.ok_or(DAMAGED_HEADER)?, decoder.exif_data().map(<[u8]>::to_vec)))
}

/// The light that four inks leave: of each colour what its own ink and black let through.
fn without_ink(pixels: &[u8]) -> Vec<u8> {
    let (pixels, _) = pixels.as_chunks::<4>();
    let rgb = |&[cyan, magenta, yellow, black]: &[u8; 4]| {
        [cyan, magenta, yellow].map(|ink| (u16::from(255 - ink) * u16::from(255 - black) / 255) as u8)
    };
    pixels.iter().flat_map(rgb).collect()
}

/// Bytes that are needed at most to decode a file of this size and so many blocks of 8 x 8 values, to turn it upright and to make
/// RGB of it: the decoded image; the image as RGB; and beside them the values of all colours, with twice their bytes and a
/// mask for each block where the file is progressive, or else the copy that is turned.
fn memory([width, height]: [u64; 2], colours: usize, blocks: u64, progressive: bool) -> u64 {
    let pixels = width * height;
    let decoded = if colours == 1 { pixels + 3 * pixels } else { 3 * pixels };
    let of_block = if progressive { 64 + 128 + 8 } else { 64 };
    decoded + (of_block * blocks).max(3 * pixels)
}

/// Reads a file's structure and checks that nothing of the image is missing.
///
/// # Errors
/// The reason why the file cannot be used, worded to follow its name.
pub(super) fn inspect(bytes: &[u8]) -> Result<ScanLayout, String> {
    let mut file = File::default();
    let mut at = 0;
    loop {
        let (code, content) =
            next_marker(bytes, at).ok_or("is cut short: the JPEG's end-of-image marker is missing")?;
        at = content;
        match code {
            END => return file.finish(),
            // Markers that stand alone: start of image, restart, TEM.
            0x01 | 0xD0..=0xD8 => continue,
            _ => {}
        }
        let segment = segment(&bytes[at..]).ok_or("is cut short: a segment of the JPEG ends too early")?;
        at += 2 + segment.len();
        match code {
            0xC4 => file.read_huffman_tables(segment)?,
            0xC0..=0xC2 => file.read_frame(code, segment)?,
            0xC3 | 0xC5..=0xCF => return Err(refused_kind(code).into()),
            0xDD => file.restart_interval = usize::from(number(segment).ok_or(DAMAGED_HEADER)?),
            0xDA => at += file.walk_scan(segment, &bytes[at..])?,
            _ => {}
        }
    }
}

/// The end-of-image marker.
const END: u8 = 0xD9;
/// The most bits that a value can have after its code; those of AC coefficients have four bits for their number.
const MOST_BITS: u8 = 15;
const DAMAGED_HEADER: &str = "is damaged: a segment of the JPEG makes no sense";
const DAMAGED_DATA: &str = "is damaged: the JPEG's data make no sense";
const CUT: &str = "is cut short: the JPEG's data end before the image does";

fn refused_kind(code: u8) -> &'static str {
    match code {
        0xC3 | 0xC7 | 0xCB | 0xCF => "is a lossless JPEG, which is not read: save it as an ordinary JPEG or as PNG",
        0xC5 | 0xC6 | 0xCD | 0xCE => "is a hierarchical JPEG, which is not read: save it as an ordinary JPEG or as PNG",
        _ => "is a JPEG with arithmetic coding, which is not read: save it as an ordinary JPEG or as PNG",
    }
}

/// The next marker's code, and where what follows it begins. Bytes between segments are skipped, as all decoders do.
fn next_marker(bytes: &[u8], from: usize) -> Option<(u8, usize)> {
    // FF 00 is a byte FF of the image's data, and a further FF before the code is padding.
    let is_marker = |pair: &[u8]| pair[0] == 0xFF && pair[1] != 0x00 && pair[1] != 0xFF;
    let start = from + bytes.get(from..)?.windows(2).position(is_marker)?;
    Some((bytes[start + 1], start + 2))
}

/// The content of a segment, whose first two bytes are its length with them.
fn segment(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(2..usize::from(number(bytes)?))
}

fn number(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|pair| u16::from_be_bytes(*pair))
}

/// What the segments have told so far.
#[derive(Default)]
struct File {
    frame: Option<Frame>,
    /// Tables of the DC and of the AC coefficients.
    tables: [[Option<Table>; 4]; 2],
    /// Minimum coded units between two restart markers; 0 where there are none.
    restart_interval: usize,
}

struct Frame {
    progressive: bool,
    width: usize,
    height: usize,
    components: Vec<Component>,
    /// Scans so far.
    scans: usize,
}

struct Component {
    id: u8,
    /// Sampling factors, across and down.
    factors: [usize; 2],
    /// Blocks of a line, and lines of them, where the component has a scan of its own.
    alone: [usize; 2],
    /// Blocks of a line where the component shares a scan.
    stride: usize,
    /// Of each block, which coefficients are not zero so far: bit k stands for the k-th in zigzag order. Only in progressive files,
    /// where later scans depend on it.
    nonzero: Vec<u64>,
    /// Whether a scan has had its mean values.
    begun: bool,
}

impl File {
    /// B.2.2
    fn read_frame(&mut self, code: u8, segment: &[u8]) -> Result<(), String> {
        let &[precision, h1, h2, w1, w2, count, ref rest @ ..] = segment else { return Err(DAMAGED_HEADER.into()) };
        let [height, width] = [[h1, h2], [w1, w2]].map(|pair| usize::from(u16::from_be_bytes(pair)));
        if precision != 8 {
            return Err(format!("is a JPEG of {precision} bits a colour; only those of 8 bits are read"));
        }
        if height == 0 || width == 0 {
            return Err("is a JPEG whose size is not in its header, which is not read: save it anew".into());
        }
        if !matches!(count, 1 | 3 | 4) {
            return Err(format!("is a JPEG of {count} colours; only those of 1, 3 or 4 are read"));
        }
        let (described, _) = rest.as_chunks::<3>();
        if self.frame.is_some() || described.len() != usize::from(count) {
            return Err(DAMAGED_HEADER.into());
        }
        let factors: Vec<[usize; 2]> =
            described.iter().map(|[_, both, _]| [usize::from(both >> 4), usize::from(both & 15)]).collect();
        if factors.as_flattened().iter().any(|factor| !(1..=4).contains(factor)) {
            return Err(DAMAGED_HEADER.into());
        }
        let most = [0, 1].map(|way| factors.iter().map(|both| both[way]).max().unwrap_or(1));
        let progressive = code == 0xC2;
        let size = [width, height];
        let of = |factors: [usize; 2]| [0, 1].map(|way| size[way].div_ceil(8 * most[way]) * factors[way]);
        let blocks: usize = factors.iter().map(|&factors| of(factors).iter().product::<usize>()).sum();
        // Before anything is allocated.
        let memory = memory([width as u64, height as u64], usize::from(count), blocks as u64, progressive);
        check_size(width as u32, height as u32, memory)?;
        let components = described.iter().zip(factors).map(|(&[id, ..], factors)| {
            let alone = [0, 1].map(|way| (size[way] * factors[way]).div_ceil(most[way]).div_ceil(8));
            let [stride, lines] = of(factors);
            let nonzero = if progressive { vec![0; stride * lines] } else { Vec::new() };
            Component { id, factors, alone, stride, nonzero, begun: false }
        });
        self.frame = Some(Frame { progressive, width, height, components: components.collect(), scans: 0 });
        Ok(())
    }

    /// B.2.4.2
    fn read_huffman_tables(&mut self, mut segment: &[u8]) -> Result<(), String> {
        while let Some((&place, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or(DAMAGED_HEADER)?;
            let symbols = counts.iter().map(|&count| usize::from(count)).sum();
            let symbols_given = rest.get(..symbols).ok_or(DAMAGED_HEADER)?;
            segment = &rest[symbols..];
            let table =
                self.tables.get_mut(usize::from(place >> 4)).and_then(|kind| kind.get_mut(usize::from(place & 15)));
            *table.ok_or(DAMAGED_HEADER)? = Some(Table::new(counts, symbols_given).ok_or(DAMAGED_HEADER)?);
        }
        Ok(())
    }

    /// Walks through the data that follow a scan's header (B.2.3). Returns their length.
    fn walk_scan(&mut self, header: &[u8], data: &[u8]) -> Result<usize, String> {
        let frame = self.frame.as_mut().ok_or(DAMAGED_HEADER)?;
        let (&count, rest) = header.split_first().ok_or(DAMAGED_HEADER)?;
        let count = usize::from(count);
        let (chosen, rest) = rest.split_at_checked(2 * count).ok_or(DAMAGED_HEADER)?;
        let &[first, last, approximation, ..] = rest else { return Err(DAMAGED_HEADER.into()) };
        let band = if frame.progressive {
            Band { first, last, refines: approximation >> 4 > 0 }
        } else {
            Band { first: 0, last: 63, refines: false }
        };
        // G.1.1.1.1: mean values come by themselves, and the rest of each component in scans of its own.
        let fits = !frame.progressive || if first == 0 { last == 0 } else { first <= last && last < 64 && count == 1 };
        if count == 0 || !fits {
            return Err(DAMAGED_HEADER.into());
        }
        let mut parts = Vec::with_capacity(count);
        for pair in chosen.as_chunks::<2>().0 {
            let [id, places] = *pair;
            let index = frame.components.iter().position(|component| component.id == id).ok_or(DAMAGED_HEADER)?;
            let [dc, ac] = [(0, places >> 4), (1, places & 15)]
                .map(|(kind, place)| self.tables[kind].get(usize::from(place)).and_then(Option::as_ref));
            let needs = [band.first == 0 && !band.refines, band.last > 0];
            if needs[0] && dc.is_none()
                || needs[1] && ac.is_none()
                || parts.iter().any(|part: &Part| part.index == index)
            {
                return Err(DAMAGED_HEADER.into());
            }
            frame.components[index].begun |= band.first == 0;
            parts.push(Part { index, dc, ac });
        }
        frame.scans += 1;
        let units = if let [Part { index, .. }] = parts[..] {
            frame.components[index].alone
        } else {
            let factors = |way: usize| frame.components.iter().map(|component| component.factors[way]).max();
            [(frame.width, 0), (frame.height, 1)].map(|(side, way)| side.div_ceil(8 * factors(way).unwrap_or(1)))
        };
        let mut walk = Walk { bits: Bits::new(data), band, end_of_band: 0 };
        for unit in 0..units[0] * units[1] {
            if unit > 0 && unit.is_multiple_of(self.restart_interval) {
                walk.restart()?;
            }
            let [x, y] = [unit % units[0], unit / units[0]];
            for part in &parts {
                let component = &mut frame.components[part.index];
                let [across, down] = if count == 1 { [1, 1] } else { component.factors };
                for row in 0..down {
                    for column in 0..across {
                        let block = (y * down + row) * component.stride + x * across + column;
                        walk.block(part, component.nonzero.get_mut(block))?;
                    }
                }
            }
        }
        Ok(walk.bits.at)
    }

    /// What the file is, when its end was reached.
    fn finish(self) -> Result<ScanLayout, String> {
        let frame = self.frame.ok_or(DAMAGED_HEADER)?;
        if frame.components.iter().any(|component| !component.begun) {
            return Err(CUT.into());
        }
        let [first, others @ ..] = frame.components.as_slice() else { unreachable!("a frame has components") };
        let halves = [[1, 1], [2, 1], [1, 2], [2, 2]].contains(&first.factors);
        let common = halves && others.iter().all(|component| component.factors == [1, 1]);
        if common && (frame.progressive || frame.scans == 1) {
            Ok(ScanLayout::Common)
        } else {
            Ok(ScanLayout::Uncommon)
        }
    }
}

/// A component in a scan, with its tables.
struct Part<'a> {
    index: usize,
    dc: Option<&'a Table>,
    ac: Option<&'a Table>,
}

/// The coefficients that a scan holds, in zigzag order, the last with them.
#[derive(Clone, Copy)]
struct Band {
    first: u8,
    last: u8,
    /// Whether it adds a bit to values whose higher bits are known.
    refines: bool,
}

/// On the way through the data of a scan.
struct Walk<'a> {
    bits: Bits<'a>,
    band: Band,
    /// Blocks of which no further coefficient is coded in this scan (EOBRUN).
    end_of_band: u32,
}

impl Walk<'_> {
    fn block(&mut self, part: &Part, nonzero: Option<&mut u64>) -> Result<(), String> {
        let Band { first, last, refines } = self.band;
        if first == 0 {
            if refines {
                self.bits.take(1)?;
            } else {
                let size = self.bits.symbol(part.dc)?;
                if size > MOST_BITS {
                    return Err(DAMAGED_DATA.into());
                }
                self.bits.take(size)?;
            }
        }
        if last == 0 {
            return Ok(());
        }
        let mut unused = 0;
        let nonzero = nonzero.unwrap_or(&mut unused);
        if refines { self.refinement(part, nonzero) } else { self.coefficients(part, nonzero) }
    }

    /// F.2.2.2 and G.1.2.2
    fn coefficients(&mut self, part: &Part, nonzero: &mut u64) -> Result<(), String> {
        if self.end_of_band > 0 {
            self.end_of_band -= 1;
            return Ok(());
        }
        let last = u32::from(self.band.last);
        let mut place = u32::from(self.band.first.max(1));
        while place <= last {
            let symbol = self.bits.symbol(part.ac)?;
            let (run, size) = (u32::from(symbol >> 4), symbol & 15);
            if size == 0 {
                if run < 15 {
                    self.end_of_band = (1 << run) - 1 + self.bits.take(run as u8)?;
                    break;
                }
                place += 16;
                continue;
            }
            place += run;
            if place > last {
                return Err(DAMAGED_DATA.into());
            }
            *nonzero |= 1 << place;
            self.bits.take(size)?;
            place += 1;
        }
        Ok(())
    }

    /// G.1.2.3
    fn refinement(&mut self, part: &Part, nonzero: &mut u64) -> Result<(), String> {
        let last = u32::from(self.band.last);
        let mut place = u32::from(self.band.first);
        if self.end_of_band == 0 {
            while place <= last {
                let symbol = self.bits.symbol(part.ac)?;
                let (mut zeros, size) = (symbol >> 4, symbol & 15);
                if size == 0 && zeros < 15 {
                    self.end_of_band = (1 << zeros) + self.bits.take(zeros)?;
                    break;
                }
                // The sign of a value that has been zero so far.
                self.bits.take(u8::from(size > 0))?;
                // A bit for each value on the way that is not zero.
                while place <= last {
                    if *nonzero >> place & 1 == 1 {
                        self.bits.take(1)?;
                    } else if zeros == 0 {
                        break;
                    } else {
                        zeros -= 1;
                    }
                    place += 1;
                }
                if size > 0 && place <= last {
                    *nonzero |= 1 << place;
                }
                place += 1;
            }
        }
        if self.end_of_band > 0 {
            for place in place..=last {
                if *nonzero >> place & 1 == 1 {
                    self.bits.take(1)?;
                }
            }
            self.end_of_band -= 1;
        }
        Ok(())
    }

    /// Goes on behind the restart marker, which must come next.
    fn restart(&mut self) -> Result<(), String> {
        match next_marker(self.bits.data, self.bits.at) {
            Some((0xD0..=0xD7, content)) => {
                self.bits = Bits { data: self.bits.data, at: content, held: 0, count: 0 };
                self.end_of_band = 0;
                Ok(())
            }
            _ => Err(CUT.into()),
        }
    }
}

/// A reader of single bits, up to the next marker.
struct Bits<'a> {
    data: &'a [u8],
    /// The next byte that is not held yet.
    at: usize,
    /// The bits that are held, the next one highest.
    held: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, held: 0, count: 0 }
    }

    /// Holds as many bits as there is room for; fewer at the end.
    fn fill(&mut self) {
        while self.count <= 56 {
            let Some(&byte) = self.data.get(self.at) else { return };
            if byte == 0xFF {
                // F.1.2.3: a zero byte follows an FF of the data; anything else makes it a marker.
                if self.data.get(self.at + 1) != Some(&0) {
                    return;
                }
                self.at += 1;
            }
            self.at += 1;
            self.held |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The next up to 16 bits as a number.
    fn take(&mut self, length: u8) -> Result<u32, String> {
        let length = u32::from(length);
        if self.count < length {
            self.fill();
            if self.count < length {
                return Err(CUT.into());
            }
        }
        let value = if length == 0 { 0 } else { (self.held >> (64 - length)) as u32 };
        self.held <<= length;
        self.count -= length;
        Ok(value)
    }

    fn symbol(&mut self, table: Option<&Table>) -> Result<u8, String> {
        let table = table.ok_or(DAMAGED_HEADER)?;
        if self.count < 16 {
            self.fill();
        }
        let next = (self.held >> 48) as u16;
        match table.find(next) {
            Some((length, symbol)) if u32::from(length) <= self.count => {
                self.take(length)?;
                Ok(symbol)
            }
            // What is read beyond the end counts as zeros here, which may be no code at all.
            _ if self.count < 16 => Err(CUT.into()),
            _ => Err(DAMAGED_DATA.into()),
        }
    }
}

/// Bits of a code that are looked up at once.
const AT_ONCE: u32 = 9;

/// A Huffman table (annex C).
struct Table {
    /// For each value of the next [`AT_ONCE`] bits the length of the code that they begin with and its symbol; length 0 for
    /// longer codes.
    short: Vec<(u8, u8)>,
    /// For each length from 1 to 16, in the top bits of 16: the first code that is longer. As wide as to hold 65,536.
    ends: [u32; 16],
    /// For each length: the place of its first symbol, less the value of its first code.
    starts: [i32; 16],
    symbols: Vec<u8>,
}

impl Table {
    /// From the number of codes of each length. `None` where there are more than can be.
    fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let (mut ends, mut starts) = ([0; 16], [0; 16]);
        let (mut code, mut place) = (0u32, 0usize);
        let mut short = Vec::with_capacity(1 << AT_ONCE);
        for (length, &count) in (1..).zip(counts) {
            starts[length as usize - 1] = place as i32 - code as i32;
            code += u32::from(count);
            if code > 1 << length {
                return None;
            }
            for &symbol in &symbols[place..place + usize::from(count)] {
                if length <= AT_ONCE {
                    short.extend(repeat_n((length as u8, symbol), 1 << (AT_ONCE - length)));
                }
            }
            place += usize::from(count);
            ends[length as usize - 1] = code << (16 - length);
            code <<= 1;
        }
        short.resize(1 << AT_ONCE, (0, 0));
        Some(Self { short, ends, starts, symbols: symbols.to_vec() })
    }

    /// Length and symbol of the code that the next 16 bits begin with.
    fn find(&self, next: u16) -> Option<(u8, u8)> {
        let (length, symbol) = self.short[usize::from(next >> (16 - AT_ONCE))];
        if length > 0 {
            return Some((length, symbol));
        }
        let index = self.ends.iter().position(|&end| u32::from(next) < end)?;
        let code = i32::from(next >> (15 - index));
        let symbol = self.symbols.get(usize::try_from(self.starts[index] + code).ok()?)?;
        Some((index as u8 + 1, *symbol))
    }
}

#[cfg(test)]
mod tests;
