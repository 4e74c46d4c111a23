//! Names of files, folders and classes: as text, compared, and told from what systems leave lying about.

use std::ffi::OsStr;
use std::fmt::Write;
use std::path::{MAIN_SEPARATOR, Path};

use unicode_normalization::UnicodeNormalization;

use crate::terminal::is_obeyed;

/// Files and folders that systems and programs make by themselves, in lower case; besides those whose names start with a dot.
const SYSTEM: [&str; 26] = [
    // macOS and its network folders.
    "__macosx",
    "icon\r",
    "network trash folder",
    "temporary items",
    "thevolumesettingsfolder",
    // Windows.
    "$recycle.bin",
    "recycler",
    "recycled",
    "system volume information",
    "thumbs.db",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "desktop.ini",
    "iconcache.db",
    // Linux.
    "lost+found",
    // Storage servers: Synology, QNAP.
    "@eadir",
    "@tmp",
    "@sharebin",
    "#recycle",
    "#snapshot",
    "@recycle",
    "@recently-snapshot",
    "@__thumb",
    // Programs.
    "__pycache__",
    "cvs",
    "picasa.ini",
];

/// Endings of the images that can be read.
const READ: [&str; 3] = ["jpg", "jpeg", "png"];
/// Endings of images that cannot be read, so that a folder of these is not taken for one without images.
const NOT_READ: [&str; 11] = ["gif", "bmp", "webp", "tif", "tiff", "heic", "heif", "avif", "jfif", "jxl", "ppm"];

/// A path as text, the same on every system and different for different paths: folders are separated by `/`, a backslash in
/// a name is doubled, and a byte that is no UTF-8, or part of a character that is obeyed instead of shown, is written as `\xE0`.
pub fn path_text(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == MAIN_SEPARATOR {
                text.push('/');
            } else if c == '\\' {
                text.push_str(r"\\");
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            push_byte(&mut text, *byte);
        }
    }
    legible(&text)
}

/// Text without characters that are obeyed instead of shown: their bytes are written as [`path_text`] does.
pub fn legible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_obeyed(c) {
            true => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| push_byte(&mut shown, byte)),
            false => shown.push(c),
        }
    }
    shown
}

fn push_byte(text: &mut String, byte: u8) {
    write!(text, r"\x{byte:02X}").expect("text can always be written to a string");
}

/// What names of the same class have in common: without regard to case, and whether accents are composed with their letters
/// (as most systems write them) or not (as macOS does).
pub fn class_key(name: &str) -> String {
    let lower = name.nfd().collect::<String>().to_lowercase();
    lower.nfc().collect()
}

/// A class's name as it is shown and recorded: with composed accents.
pub(super) fn class_name(name: &str) -> String {
    name.nfc().collect()
}

/// Whether this is a hidden file or folder, or one that a system or program has made by itself.
pub(super) fn is_system(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_lowercase();
    // Pieces of files that Windows' repair of a disk leaves in FOUND.000 and so on.
    let found = name.strip_prefix("found.").is_some_and(|number| number.len() == 3 && number.parse::<u16>().is_ok());
    name.starts_with('.') || found || SYSTEM.contains(&name.as_str())
}

/// Whether a file is named like an image that can be read.
pub(super) fn is_readable(path: &Path) -> bool {
    has_ending(path, &READ)
}

/// Whether a file is named like an image of any kind.
pub fn is_image(path: &Path) -> bool {
    is_readable(path) || has_ending(path, &NOT_READ)
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().unwrap_or_default();
    endings.iter().any(|known| ending.eq_ignore_ascii_case(known))
}

/// The class that an image's own name tells: `cat` for `cat.0.jpg`, none for `holiday.jpg`.
pub(super) fn class_in_name(path: &Path) -> Option<&[u8]> {
    let stem = path.file_stem()?.as_encoded_bytes();
    let dot = stem.iter().position(|&byte| byte == b'.')?;
    (is_readable(path) && dot > 0).then(|| &stem[..dot])
}

/// The last part of a path as text.
pub(super) fn name_of(path: &Path) -> String {
    path_text(Path::new(path.file_name().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_are_written_as_they_are() {
        for path in ["cat/1.jpg", "/photos/Čapek 100 %.png", "猫/1.jpg", ""] {
            assert_eq!(path_text(Path::new(path)), path);
        }
    }

    /// The inverse of [`path_text`], which shows that no two paths are written alike.
    #[cfg(unix)]
    fn path_of(text: &str) -> std::path::PathBuf {
        use std::os::unix::ffi::OsStringExt;
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let [first, after @ ..] = rest {
            (bytes, rest) = match (first, after) {
                (b'\\', [b'\\', after @ ..]) => ([bytes, vec![b'\\']].concat(), after),
                (b'\\', [b'x', high, low, after @ ..]) => {
                    let digits = String::from_utf8(vec![*high, *low]).unwrap();
                    ([bytes, vec![u8::from_str_radix(&digits, 16).unwrap()]].concat(), after)
                }
                _ => ([bytes, vec![*first]].concat(), after),
            };
        }
        std::ffi::OsString::from_vec(bytes).into()
    }

    #[cfg(unix)]
    #[test]
    fn every_path_can_be_told_from_its_text() {
        use rand::{Rng, RngExt, SeedableRng};
        use std::os::unix::ffi::OsStringExt;
        for text in [r"foto\xE0.jpg", r"a\x1B[2J\x07\x0Ab\x7F.jpg", r"\xC2\x85\xE2\x80\xAEgpj.exe"] {
            assert_eq!(path_text(&path_of(text)), text);
        }
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        for _ in 0..2000 {
            // Mostly what could be confused: backslashes, digits, halves of letters, what is not shown.
            let any = |rng: &mut rand_chacha::ChaCha8Rng| match rng.random_range(0..4) {
                0 => b"\\xE0/"[rng.random_range(0..5)],
                1 => [0xC3, 0xA9, 0xE7, 0x8C, 0xAB][rng.random_range(0..5)],
                2 => b"\n\x1B\x7F\xE2\x80\xAE"[rng.random_range(0..6)],
                _ => rng.next_u32().to_le_bytes()[0].max(1),
            };
            let bytes: Vec<u8> = (0..rng.random_range(0..9)).map(|_| any(&mut rng)).collect();
            let path = std::path::PathBuf::from(std::ffi::OsString::from_vec(bytes));
            let text = path_text(&path);
            assert_eq!(path_of(&text), path, "{text}");
            assert!(!text.chars().any(is_obeyed), "{text:?}");
            assert_eq!(legible(&text), text);
        }
    }

    #[test]
    fn classes_are_one_whatever_the_case_and_the_accents() {
        for (one, other) in [
            ("cat", "CAT"),
            ("caf\u{e9}", "Cafe\u{301}"),
            ("\u{d55c}", "\u{1112}\u{1161}\u{11ab}"),
            ("ÅS", "a\u{30a}s"),
        ] {
            assert_eq!(class_key(one), class_key(other));
            assert_eq!(class_name(one).to_lowercase(), class_name(other).to_lowercase());
        }
        assert_ne!(class_key("cafe"), class_key("café"));
        assert_ne!(class_key("cat"), class_key("cats"));
    }

    #[test]
    fn what_systems_make_is_known_and_nothing_else() {
        for name in
            [".DS_Store", "@eaDir", "$RECYCLE.BIN", "Thumbs.db", "FOUND.001", "lost+found", "__MACOSX", ".Trash-1000"]
        {
            assert!(is_system(OsStr::new(name)), "{name}");
        }
        for name in ["cat", "lost", "#1", "@home", "found.me", "found.0001", "recycle", "tmp", "macosx", "$5"] {
            assert!(!is_system(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn classes_in_file_names() {
        let class = |path: &'static str| class_in_name(Path::new(path)).map(|class| str::from_utf8(class).unwrap());
        assert_eq!(class("a/cat.0.jpg"), Some("cat"));
        assert_eq!(class("a.b/holiday.jpg"), None);
        assert_eq!(class("cat.notes.txt"), None);
        assert_eq!(class("cat.1.2.PNG"), Some("cat"));
    }
}
