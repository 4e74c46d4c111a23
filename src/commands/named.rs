//! The image files that a command is given: one by one, by folder or by list.

use std::borrow::Cow;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::data::fit::Fit;
use crate::data::names::path_text;
use crate::data::{Images, folder};
use crate::reading::no_file;

/// What stands for a list on standard input.
const STDIN: &str = "-";

/// An image file that was named.
#[derive(Debug, PartialEq)]
pub(super) struct Named {
    pub(super) file: PathBuf,
    /// The list that names it, as it is told, and its line there, from 1.
    listed: Option<(String, usize)>,
}

impl Named {
    /// How an error about it begins.
    pub(super) fn told(&self) -> String {
        let file = path_text(&self.file);
        match &self.listed {
            Some((list, line)) => format!("{list}, line {line}: {file}"),
            None => file,
        }
    }
}

/// Named images as a set. Their class is not known: each has the label 0.
pub(super) struct NamedImages {
    pub(super) named: Vec<Named>,
    /// Which square of them the network sees.
    pub(super) fit: Fit,
}

impl Images for NamedImages {
    fn len(&self) -> usize {
        self.named.len()
    }

    fn size(&self) -> u32 {
        self.fit.size
    }

    fn label(&self, _: usize) -> u32 {
        0
    }

    fn name(&self, index: usize) -> String {
        self.named[index].told()
    }

    fn pixels(&self, index: usize) -> Result<Cow<'_, [u8]>, String> {
        super::named_image(&self.named[index].file, self.fit).map(Cow::Owned)
    }
}

/// The image files that the arguments name, in their order; those of a folder are sorted by name.
pub(super) fn named(arguments: &[PathBuf]) -> Result<Vec<Named>> {
    let mut images = Vec::new();
    let unlisted = |file| Named { file, listed: None };
    for path in arguments {
        let shown = path_text(path);
        if path == Path::new(STDIN) {
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes).context("standard input cannot be read")?;
            images.extend(on_list("standard input", &bytes)?);
        } else if path.is_dir() {
            let found = folder::images_below(path)?;
            if found.is_empty() {
                bail!("{shown}: there is no image in this folder (expected .jpg, .jpeg or .png)");
            }
            images.extend(found.into_iter().map(unlisted));
        } else if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("txt")) {
            if let Some(problem) = no_file(path) {
                bail!("{shown}: {problem}");
            }
            let bytes = fs::read(path).map_err(|error| anyhow!("{shown}: cannot be read: {error}"))?;
            images.extend(on_list(&shown, &bytes)?);
        } else {
            images.push(unlisted(path.clone()));
        }
    }
    Ok(images)
}

/// The image files on a list: the path of one on each line.
fn on_list(list: &str, bytes: &[u8]) -> Result<Vec<Named>> {
    ensure!(
        image::guess_format(bytes).is_err(),
        "{list}: is an image, but a list of names is expected; name the image itself"
    );
    let text = text(bytes).with_context(|| format!("{list}: is no text in UTF-8 or UTF-16; save it as UTF-8"))?;
    let lines = (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| !line.is_empty());
    let images: Vec<Named> =
        lines.map(|(number, line)| Named { file: line.into(), listed: Some((list.to_string(), number)) }).collect();
    if images.is_empty() {
        bail!("{list}: names no image; expected the path of one on each line");
    }
    Ok(images)
}

/// The text of a file that a user wrote: UTF-8 with or without a byte-order mark, or UTF-16 with one, as Windows writes it.
fn text(bytes: &[u8]) -> Option<String> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().copied().map(unit).collect();
        rest.is_empty().then(|| String::from_utf16(&units).ok()).flatten()
    };
    match bytes {
        [0xEF, 0xBB, 0xBF, text @ ..] => String::from_utf8(text.to_vec()).ok(),
        [0xFF, 0xFE, text @ ..] => utf16(text, u16::from_le_bytes),
        [0xFE, 0xFF, text @ ..] => utf16(text, u16::from_be_bytes),
        text => String::from_utf8(text.to_vec()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_may_begin_with_a_byte_order_mark() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list.TXT");
        let text = "cat.jpg\r\n\r\n some/d\u{e9}j\u{e0} vu.png\n";
        let utf16 = |unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        for (mark, text) in [
            (&b""[..], text.as_bytes().to_vec()),
            (b"\xEF\xBB\xBF", text.as_bytes().to_vec()),
            (b"\xFF\xFE", utf16(u16::to_le_bytes)),
            (b"\xFE\xFF", utf16(u16::to_be_bytes)),
        ] {
            fs::write(&list, [mark, &text].concat()).unwrap();
            let found = named(std::slice::from_ref(&list)).unwrap();
            let line = |file: &str, line| Named { file: file.into(), listed: Some((path_text(&list), line)) };
            let expected = [line("cat.jpg", 1), line("some/d\u{e9}j\u{e0} vu.png", 3)];
            assert_eq!(found, expected, "mark {mark:x?}");
        }
        for (bytes, message) in [
            (&b"caf\xE9.jpg"[..], "is no text in UTF-8 or UTF-16"),
            (b"\x89PNG\r\n\x1A\n", "is an image, but a list of names is expected"),
            (b"\xFF\xFEa", "is no text in UTF-8 or UTF-16"),
            (b"\xEF\xBB\xBF\n", "names no image"),
            (b"", "names no image"),
        ] {
            fs::write(&list, bytes).unwrap();
            let error = named(std::slice::from_ref(&list)).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    /// Named by itself or on a list, in a folder that is there or not.
    #[test]
    fn an_image_that_is_not_there_is_told_with_its_place_and_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let [list, image, missing] = ["list.txt", "a.png", "b.png"].map(|name| folder.path().join(name));
        image::RgbImage::new(8, 8).save(&image).unwrap();
        fs::write(&list, format!("\n{}\n\n{}\n{}\n", image.display(), missing.display(), folder.path().display()))
            .unwrap();
        let problems = |arguments: &[PathBuf]| -> Vec<String> {
            let images = NamedImages { named: named(arguments).unwrap(), fit: Fit::to(8) };
            let told = |index| Some(format!("{}: {}", images.name(index), images.pixels(index).err()?));
            (0..images.len()).filter_map(told).collect()
        };
        let [shown, listed] = [&missing, &list].map(|path| path_text(path));
        let remedy = "there is no such file; check the path";
        assert_eq!(problems(&[image.clone(), missing.clone()]), [format!("{shown}: {remedy}")]);
        let below = image.join("c.png");
        assert_eq!(problems(std::slice::from_ref(&below)), [format!("{}: {remedy}", path_text(&below))]);
        assert_eq!(
            problems(std::slice::from_ref(&list)),
            [
                format!("{listed}, line 4: {shown}: {remedy}"),
                format!("{listed}, line 5: {}: is a folder; name a file", path_text(folder.path())),
            ]
        );
        let error = named(&[folder.path().join("no list.txt")]).unwrap_err().to_string();
        assert!(error.ends_with(&format!("no list.txt: {remedy}")), "{error}");
    }

    /// As given; the images of a folder by name, those in the folders below too, and no other file.
    #[test]
    fn images_come_in_the_order_in_which_they_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("b/deep")).unwrap();
        for name in ["z.png", "b/2.png", "b/10.jpg", "b/1.jpeg", "b/notes.md", "b/.hidden.png", "b/deep/3.png"] {
            fs::write(at(name), b"").unwrap();
        }
        fs::write(at("list.txt"), format!("{}\n", at("a.png").display())).unwrap();
        let files = |names: &[&str]| -> Vec<PathBuf> {
            let names: Vec<PathBuf> = names.iter().map(|name| at(name)).collect();
            named(&names).unwrap().into_iter().map(|named| named.file).collect()
        };
        let below = ["b/1.jpeg", "b/10.jpg", "b/2.png", "b/deep/3.png"];
        let expected = |names: &[&str]| names.iter().map(|name| at(name)).collect::<Vec<_>>();
        assert_eq!(files(&["z.png", "b", "list.txt"]), expected(&[&["z.png"][..], &below, &["a.png"]].concat()));
        assert_eq!(files(&["list.txt", "z.png", "z.png"]), expected(&["a.png", "z.png", "z.png"]));
        let error = named(&[at("b/deep/3.png"), at("b/none")]).unwrap();
        assert_eq!(error[1].told(), path_text(&at("b/none")), "what is not there is told when it is read");
    }
}
