//! `data synth`: the drawn images as files.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::cli::SynthArgs;
use crate::data::drawn::{self, FIRST_VAL_IMAGE};
use crate::data::in_parallel;
use crate::disk;
use crate::terminal::{quoted, say};
use crate::train::run_dir::{self, RunDir};

pub(super) fn synth(arguments: &SynthArgs) -> Result<()> {
    arguments.check()?;
    let SynthArgs { dir, subject, train_images, val_images, size, seed } = arguments;
    let shown = dir.display();
    ensure!(disk::is_free(dir), "{shown}: exists already and is not an empty folder; name a new one");
    run_dir::check_place(dir).with_context(|| format!("{shown}: cannot be made; name another place"))?;
    let folder = RunDir::create(Some(dir))?;
    for (part, first, images) in [("train", 0, *train_images), ("val", FIRST_VAL_IMAGE, *val_images)] {
        for class in subject.classes().iter().filter(|_| images > 0) {
            let below = folder.file(&format!("{part}/{class}"));
            fs::create_dir_all(&below).with_context(|| format!("cannot make the folder {}", below.display()))?;
        }
        in_parallel(images, |index| {
            let drawing = first + index as u64;
            let class = subject.classes()[subject.class(drawing) as usize];
            let image = super::square(*size, subject.draw(*seed, drawing, *size));
            folder.write_image(&format!("{part}/{class}/{class}-{index:06}.png"), &image)
        })?;
    }
    let val = if *val_images > 0 { format!(" + {val_images}") } else { String::new() };
    say(format!("wrote {shown}: {train_images}{val} images of {}", subject.classes().join(", ")));
    let size = if *size == drawn::SIZE as u32 { String::new() } else { format!(" --size {size}") };
    say(format!("train on them: convscope train --data {}{size}", quoted(&shown.to_string())));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::drawn::Subject;
    use crate::data::fit::Fit;
    use crate::data::folder::{Choices, scan};
    use crate::data::prepare;

    /// What `train --data` makes of the files is what `train` draws.
    #[test]
    fn the_files_are_the_drawings_to_the_pixel() {
        for (subject, counts, size) in [(Subject::Pets, [6, 4], 40), (Subject::Digits, [20, 10], 28)] {
            let root = tempfile::tempdir().unwrap();
            let dir = root.path().join("drawn");
            let [train_images, val_images] = counts;
            let arguments = SynthArgs { dir: dir.clone(), subject, train_images, val_images, size, seed: 3 };
            synth(&arguments).unwrap();
            let found = scan(&dir, &Choices::default()).unwrap();
            assert_eq!(
                (found.classes, found.rejected),
                (subject.classes().iter().map(|class| class.to_string()).collect(), vec![])
            );
            for (files, first, count) in
                [(&found.train, 0, train_images), (found.val.as_ref().unwrap(), FIRST_VAL_IMAGE, val_images)]
            {
                assert_eq!(files.len(), count);
                for file in files {
                    let name = file.path.file_stem().unwrap().to_str().unwrap();
                    let index: u64 = name.rsplit_once('-').unwrap().1.parse().unwrap();
                    assert_eq!(file.class, subject.class(first + index));
                    let pixels = prepare::load(&dir.join(&file.path), Fit::to(size)).unwrap();
                    assert_eq!(pixels, subject.draw(3, first + index, size), "{name}");
                }
            }
            let error = synth(&arguments).unwrap_err().to_string();
            assert!(error.starts_with(&dir.display().to_string()) && error.contains("not an empty folder"), "{error}");
        }
    }

    #[test]
    fn without_validation_images_there_is_no_folder_for_them() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().to_path_buf();
        let arguments = SynthArgs { dir, subject: Subject::Pets, train_images: 4, val_images: 0, size: 16, seed: 0 };
        synth(&arguments).unwrap();
        assert!(!root.path().join("val").exists());
        assert_eq!(scan(root.path(), &Choices::default()).unwrap().val, None);
    }
}
