//! Event files of TensorBoard.
//!
//! A file is a row of records: the length of a message as 64 bits, a checksum of these, the message, and a checksum of that. The messages
//! are those of event.proto and summary.proto of TensorFlow.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use image::{ImageFormat, RgbImage};

use crate::disk::Part;
use crate::protobuf::Message;

/// Of what a histogram counts, in so many parts of equal width.
const BUCKETS: usize = 64;

/// What the name of an event file begins and ends with: between lies the time of its making, in seconds.
const PREFIX: &str = "events.out.tfevents.";
const SUFFIX: &str = ".convscope";

/// An event file that is being written. What is recorded is on the disk at once, so that TensorBoard can show it.
pub struct Events {
    file: Part,
}

impl Events {
    /// A new file in this folder, under a name that TensorBoard knows.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        // Behind those that are there, whose time is part of their name too: a clock may have been put back since.
        let newest = std::fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| {
            entry.file_name().to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse::<u64>().ok()
        });
        let time = newest.max().map_or(0, |newest| newest + 1).max(now() as u64);
        let mut file = Part::create(&folder.join(format!("{PREFIX}{time}{SUFFIX}")))?;
        file.append(&record(&event().text(3, "brain.Event:2").into_bytes()))?;
        Ok(Self { file })
    }

    /// Records what was found after so many steps.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn record(&mut self, step: u64, summary: Summary) -> Result<()> {
        let event = event().number(2, step).message(5, &summary.0);
        self.file.append(&record(&event.into_bytes()))?;
        self.file.sync()
    }
}

/// What is recorded together. Parts of a name before a slash are the groups that TensorBoard shows it in.
#[derive(Default)]
pub struct Summary(Message);

impl Summary {
    /// Adds a number.
    pub fn scalar(self, name: &str, value: f64) -> Self {
        self.value(Message::default().text(1, name).float(2, value as f32))
    }

    /// Adds an image.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn image(self, name: &str, image: &RgbImage) -> Result<Self> {
        const RGB: u64 = 3;
        let mut png = std::io::Cursor::new(Vec::new());
        image.write_to(&mut png, ImageFormat::Png)?;
        let encoded = Message::default()
            .number(1, image.height().into())
            .number(2, image.width().into())
            .number(3, RGB)
            .bytes(4, png.get_ref());
        Ok(self.value(Message::default().text(1, name).message(4, &encoded)))
    }

    /// Adds the distribution of numbers; of none of them, nothing. What is not finite is left out.
    pub fn histogram(self, name: &str, numbers: &[f32]) -> Self {
        let numbers: Vec<f64> =
            numbers.iter().filter(|number| number.is_finite()).map(|&number| number.into()).collect();
        if numbers.is_empty() {
            return self;
        }
        let min = numbers.iter().copied().fold(f64::INFINITY, f64::min);
        let max = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let width = (max - min) / BUCKETS as f64;
        let mut counts = vec![0.0; BUCKETS];
        for number in &numbers {
            // All are in the first bucket where all are equal.
            let bucket = if width > 0.0 { ((number - min) / width) as usize } else { 0 };
            counts[bucket.min(BUCKETS - 1)] += 1.0;
        }
        // A bucket reaches from the limit of the one before to its own.
        let limits: Vec<f64> =
            (1..=BUCKETS).map(|bucket| if bucket == BUCKETS { max } else { min + width * bucket as f64 }).collect();
        let histogram = Message::default()
            .double(1, min)
            .double(2, max)
            .double(3, numbers.len() as f64)
            .double(4, numbers.iter().sum())
            .double(5, numbers.iter().map(|number| number * number).sum())
            .doubles(6, &limits)
            .doubles(7, &counts);
        self.value(Message::default().text(1, name).message(5, &histogram))
    }

    fn value(self, value: Message) -> Self {
        Self(self.0.message(1, &value))
    }
}

/// An event of this moment.
fn event() -> Message {
    Message::default().double(1, now())
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    [&length[..], &checksum(&length), message, &checksum(message)].concat()
}

/// CRC-32C, turned and shifted as TensorFlow's records have it.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::protobuf::fields;

    #[test]
    fn a_file_comes_behind_those_that_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let later = now() as u64 + 1000;
        let name = |time: u64| folder.path().join(format!("{PREFIX}{time}{SUFFIX}"));
        Part::create(&name(later)).unwrap();
        for number in 1..=2 {
            Events::create(folder.path()).unwrap();
            assert!(name(later + number).is_file());
        }
    }

    /// The messages of a file, whose checksums are right.
    fn messages(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            assert_eq!(bytes[8..12], checksum(&bytes[..8]));
            let message = &bytes[12..][..length];
            assert_eq!(bytes[12 + length..][..4], checksum(message));
            found.push(message.to_vec());
            bytes = &bytes[16 + length..];
        }
        found
    }

    fn of(found: &[(u64, &[u8], u64)], field: u64) -> Vec<u8> {
        found.iter().find(|(number, ..)| *number == field).unwrap().1.to_vec()
    }

    fn double(bytes: &[u8]) -> f64 {
        f64::from_le_bytes(bytes.try_into().unwrap())
    }

    /// The example of the CRC catalogue, and the first record that TensorFlow writes of a length of 24.
    #[test]
    fn checksums_are_those_of_tensorflow() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(checksum(&24u64.to_le_bytes()), [0xa3, 0x7f, 0x4b, 0x22]);
    }

    #[test]
    fn what_is_recorded_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = Events::create(folder.path()).unwrap();
        let image = RgbImage::from_pixel(3, 2, image::Rgb([1, 2, 3]));
        let summary = Summary::default()
            .scalar("loss/train", 0.5)
            .image("maps/block 1", &image)
            .unwrap()
            .histogram("weights/0.weight", &[-1.0, 0.0, 0.0, 2.0, f32::NAN])
            .histogram("none", &[])
            .histogram("equal", &[3.0; 5]);
        events.record(7, summary).unwrap();
        let path = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        assert!(path.file_name().unwrap().to_str().unwrap().starts_with("events.out.tfevents."));
        let found = messages(&fs::read(path).unwrap());
        assert_eq!(found.len(), 2);
        assert_eq!(of(&fields(&found[0]), 3), b"brain.Event:2");
        let event = fields(&found[1]);
        assert!(event.iter().any(|&(field, _, number)| (field, number) == (2, 7)));
        let summary = of(&event, 5);
        let values: Vec<_> = fields(&summary).into_iter().map(|(_, value, _)| fields(value)).collect();
        let names: Vec<_> = values.iter().map(|value| String::from_utf8(of(value, 1)).unwrap()).collect();
        assert_eq!(names, ["loss/train", "maps/block 1", "weights/0.weight", "equal"]);
        assert_eq!(of(&values[0], 2), 0.5f32.to_le_bytes());
        let shown = of(&fields(&of(&values[1], 4)), 4);
        assert_eq!(image::load_from_memory(&shown).unwrap().to_rgb8(), image);

        let histogram = of(&values[2], 5);
        let histogram = fields(&histogram);
        assert_eq!([1, 2, 3, 4, 5].map(|field| double(&of(&histogram, field))), [-1.0, 2.0, 4.0, 1.0, 5.0]);
        let [limits, counts] = [6, 7].map(|field| of(&histogram, field).chunks(8).map(double).collect::<Vec<_>>());
        assert_eq!((limits.len(), counts.iter().sum::<f64>()), (BUCKETS, 4.0));
        assert_eq!((counts[0], counts[BUCKETS - 1], limits[BUCKETS - 1]), (1.0, 1.0, 2.0));
        let zero = counts.iter().position(|&count| count == 2.0).unwrap();
        assert!(limits[zero - 1] <= 0.0 && 0.0 <= limits[zero]);
        let equal = of(&values[3], 5);
        assert_eq!(of(&fields(&equal), 7).chunks(8).map(double).sum::<f64>(), 5.0);
    }
}
