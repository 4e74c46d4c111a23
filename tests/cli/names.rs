//! Names of classes, files and folders are data: shown as they are where that is safe, never obeyed.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use convscope::data::names::path_text;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::common::trial;
use crate::program::program;
use crate::{convscope, make_photos, page, succeed, train_tiny};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("names_in_every_script_are_legible", names_in_every_script_are_legible),
        trial("names_do_not_command_the_terminal", names_do_not_command_the_terminal),
        trial("names_are_data", names_are_data),
        trial("typed_names_do_not_command_the_terminal", typed_names_do_not_command_the_terminal),
    ]
}

fn names_in_every_script_are_legible() {
    // As they are named on disk, and as they stand in HTML.
    let classes = [
        ("кошка", "кошка"),
        ("狗与猫", "狗与猫"),
        ("قطة", "قطة"),
        ("बिल्ली", "बिल्ली"),
        ("🐶 & <b>", "🐶 &amp; &lt;b&gt;"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("фото 写真");
    for (number, (class, _)) in (0u8..).zip(classes) {
        fs::create_dir_all(photos.join(class)).unwrap();
        for photo in 0..6u8 {
            let image = image::RgbImage::from_fn(40, 40, |x, y| {
                image::Rgb([40 * number, (x * 3 + y) as u8 % 50 + 8 * photo, 250 - 40 * number])
            });
            image.save(photos.join(class).join(format!("снимок 图 {photo}.png"))).unwrap();
        }
    }
    let tiny = ["--data", "фото 写真", "--size", "40", "--batch", "8", "--channels", "4,6", "--epochs", "1"];
    succeed(folder.path(), &[&["train", "--out", "r"][..], &tiny].concat());
    let one = format!("фото 写真/{}/снимок 图 3.png", classes[2].0);
    succeed(folder.path(), &["features", &one, "--run", "r", "--out", "f"]);
    succeed(folder.path(), &["explain", &one, "--run", "r", "--against", classes[0].0]);
    succeed(folder.path(), &["explain", &one, "--run", "r", "--against", classes[4].0]);
    succeed(folder.path(), &["learned", "--run", "r"]);
    succeed(folder.path(), &["report", "r"]);

    let read = |name: &str| page(&folder.path().join(name));
    let [report, own] = [read("r/report.html"), read("r/features/index.html")];
    for (class, escaped) in classes {
        assert!(report.contains(&format!("<bdi>{escaped}</bdi>")), "{class}");
    }
    assert!(classes.iter().any(|(_, escaped)| own.contains(&format!("<dd><bdi>{escaped}</bdi></dd>"))), "the label");
    let file = "снимок 图 3.png";
    let explained = [read("r/explain/снимок 图 3/index.html"), read("r/explain/снимок 图 3-2/index.html")];
    for page in explained.iter().chain([&report, &read("f/index.html")]) {
        assert!(page.contains(file) && page.contains(classes[2].1), "{file}");
    }
    let against =
        |class: usize| explained.iter().any(|page| page.contains(&format!("<bdi>{}</bdi>?</h1>", classes[class].1)));
    assert!(against(0) || against(4), "one of the two is not what the network says");
    for page in explained.iter().chain([&report, &own, &read("f/index.html"), &read("r/learned/index.html")]) {
        assert!(!page.contains("<b>") && !page.contains('\u{fffd}'), "a name breaks out or is lost");
    }
}

/// What would clear a screen, set a title, end a line, or turn the direction of writing.
const COMMANDS: &str = "x\u{1b}[2J\u{1b}]0;t\u{7}\n\u{9b}1m\u{202e}y";

const SHOWN: &str = "x\\u001b[2J\\u001b]0;t\\u0007\\n\\u009b1m\\u202ey";

/// Lines without anything that a terminal would obey.
fn assert_plain(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let obeyed = |character: char| character != '\n' && (character.is_control() || character == '\u{202e}');
    assert!(!text.chars().any(obeyed), "{text:?}");
    text
}

fn names_do_not_command_the_terminal() {
    if cfg!(windows) {
        // No file can have such a name there.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    make_photos(&photos);
    let class = "x\u{1b}[31my\u{202e}z";
    fs::rename(photos.join("red"), photos.join(class)).unwrap();
    fs::write(photos.join(format!("blue/{COMMANDS}.png")), b"no image").unwrap();
    let run = |arguments: &[&str]| {
        let output = convscope(folder.path(), arguments);
        (output.status.success(), assert_plain(&output.stdout), assert_plain(&output.stderr))
    };
    let (trained, _, error) = run(&["train", "--data", "photos", "--out", "r"]);
    assert!(!trained && error.contains(r"folder x\x1B[31my\xE2\x80\xAEz has a character that is not shown"), "{error}");
    fs::rename(photos.join(class), photos.join("red")).unwrap();
    train_tiny(folder.path(), &["--out", "r"]);
    let image = format!("{COMMANDS}.png");
    // Names of images as in tables, others as the terminal shows them.
    let written = path_text(Path::new(&image));
    fs::copy(photos.join("blue/1.png"), folder.path().join(&image)).unwrap();
    let (done, printed, error) = run(&["features", &image, "--run", "r", "--out", "maps"]);
    assert!(done && printed.contains(&written), "{printed}{error}");
    let (done, printed, error) = run(&["explain", &image, "--run", "r", "--out", COMMANDS]);
    assert!(done && printed.contains(&written) && printed.contains(SHOWN), "{printed}{error}");
    fs::write(folder.path().join(&image), b"no image").unwrap();
    for arguments in [["features", &image, "--run", "r"], ["explain", &image, "--run", "r"]] {
        let (done, _, error) = run(&arguments);
        assert!(!done && error.contains(&written), "{error}");
    }
}

/// Names of images that would be markup, options, commands, ways out, formulas, or too long, anywhere but in a name.
#[cfg(unix)]
const NAMES: [&[u8]; 14] = [
    b"<img src=x onerror=alert(1)>",
    b"&lt;i&gt;<i>&",
    b"\"quoted\" 'twice' `touch own` $(touch own); touch own",
    b"--help",
    b"-",
    b"a..",
    b"\\..\\..\\x",
    b"%2e%2e%2fx%00",
    b"line\nbreak\r\ttab",
    b"\x1b[2J\x1b]0;title\x07",
    b"caf\xe9",
    "\u{202e}gnp.x".as_bytes(),
    b"=1+1, {{7*7}} ${x} %s",
    // With its ending 250 bytes.
    &[b'l'; 246],
];

/// Whatever is in a name, every command takes it as one: it stays what it is in tables that programs read, is harmless on the terminal and
/// on pages, and leads nowhere else.
fn names_are_data() {
    #[cfg(unix)]
    {
        use std::ffi::{OsStr, OsString};
        use std::os::unix::ffi::OsStrExt;
        use std::path::PathBuf;

        let outer = tempfile::tempdir().unwrap();
        let folder = &outer.path().join("inner");
        let photos = Path::new("-photos <i>&\u{202e}");
        let classes = ["--run, <b>\"&'", "=a; ..\\b"];
        let mut images: Vec<PathBuf> = Vec::new();
        for (number, name) in (0u8..).zip(NAMES.iter().copied().chain([&b"\xff"[..], b"1", b"2", b"3"])) {
            let class = usize::from(number) % 2;
            let photo = image::RgbImage::from_fn(24, 24, |x, y| {
                let shade = (x * 3 + y * 2) as u8 % 50 + 4 * number;
                image::Rgb([40 + 120 * class as u8, shade, 200 - 120 * class as u8])
            });
            let path = photos.join(classes[class]).join(OsStr::from_bytes(&[name, b".png"].concat()));
            fs::create_dir_all(folder.join(&path).parent().unwrap()).unwrap();
            let mut bytes = std::io::Cursor::new(Vec::new());
            photo.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
            fs::write(folder.join(&path), bytes.into_inner()).unwrap();
            images.push(path);
        }
        // What cannot be used is named, too.
        let broken = folder.join(photos).join(classes[0]).join("<u>broken\u{1b}[1m.png");
        fs::write(&broken, b"no image").unwrap();
        // Each @ at the end of a word stands for the next of the paths.
        let run = |arguments: &str, paths: &[&Path]| {
            let mut paths = paths.iter();
            let word = |word: &str| match word.strip_suffix('@') {
                Some(option) => {
                    [OsStr::new(option), paths.next().unwrap().as_os_str()].into_iter().collect::<OsString>()
                }
                None => word.into(),
            };
            let words: Vec<OsString> = arguments.split_whitespace().map(word).collect();
            let output = program(folder, words).output().unwrap();
            let (printed, told) = (assert_plain(&output.stdout), assert_plain(&output.stderr));
            assert!(!told.contains("panicked"), "{arguments}: {told}");
            (output.status.code(), printed, told)
        };
        let succeed = |arguments: &str, paths: &[&Path]| {
            let (code, printed, told) = run(arguments, paths);
            assert_eq!(code, Some(0), "{arguments}: {told}");
            printed
        };
        let clean = |path: &Path| {
            let page = assert_plain(&fs::read(folder.join(path)).unwrap());
            for markup in ["<img src=x", "<i>&", "<b>\"", "<u>"] {
                assert!(!page.contains(markup), "{}: {markup}", path.display());
            }
            page
        };
        let shown: Vec<String> = images.iter().map(|path| path_text(path)).collect();

        let [made, back] = ["-r <u>\u{202e}", "--run"].map(Path::new);
        let tiny = "--size 24 --batch 8 --channels 4,4 --epochs 1 --val-share 0.4";
        succeed(&format!("train --data=@ --out=@ {tiny}"), &[photos, made]);
        clean(&made.join("report.html"));
        clean(&made.join("features/index.html"));

        let (code, _, told) = run("predict --run=@ -- @", &[made, photos]);
        assert!(code == Some(1) && told.contains(r"<u>broken\x1B[1m.png: is no JPEG or PNG image"), "{told}");
        fs::remove_file(&broken).unwrap();
        let printed = succeed("predict --run=@ -- @", &[made, photos]);
        let missing = shown.iter().filter(|name| !printed.contains(&name[..])).collect::<Vec<_>>();
        assert!(missing.is_empty(), "the table has not {missing:?}");
        let printed = succeed("predict --json --run=@ -- @", &[made, photos]);
        let lines: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let found: HashSet<&str> = lines.iter().map(|line| line["path"].as_str().unwrap()).collect();
        assert_eq!(found, shown.iter().map(String::as_str).collect());
        assert!(lines.iter().all(|line| classes.iter().all(|class| line["probabilities"][class].is_number())));
        let printed = succeed("predict --csv --run=@ -- @", &[made, photos]);
        let mut table = csv::Reader::from_reader(printed.as_bytes());
        let probabilities = classes.map(|class| format!("probability_{class}"));
        assert_eq!(table.headers().unwrap().iter().skip(5).collect::<Vec<_>>(), probabilities);
        let found: HashSet<String> = table.records().map(|row| row.unwrap()[0].to_string()).collect();
        assert_eq!(found, shown.iter().cloned().collect());

        let printed = succeed("evaluate --run=@ --data=@ --json=- --out=page.html", &[made, photos]);
        let evaluation: Value = serde_json::from_str(&printed).unwrap();
        assert!((0..2).all(|class| evaluation["classes"][class]["class"] == classes[class]), "{evaluation}");
        clean(Path::new("page.html"));
        let examined = Path::new("..d <i>&");
        fs::write(&broken, b"no image").unwrap();
        let (code, ..) = run("doctor --size=24 --out=@ -- @", &[examined, photos]);
        assert_eq!(code, Some(1), "a file cannot be used");
        let page = clean(&examined.join("index.html"));
        assert!(page.contains(r"&lt;u&gt;broken\x1B[1m.png"), "the file is named");

        let odd: Vec<&Path> = images[..NAMES.len()].iter().map(PathBuf::as_path).collect();
        succeed(&format!("explain --images-only --run=@ -- {}", "@ ".repeat(odd.len())), &[&[made][..], &odd].concat());
        let explained = fs::read_dir(folder.join(made).join("explain")).unwrap().count();
        assert_eq!(explained, odd.len(), "a folder an image");
        let maps = Path::new("f <i>&\u{7}");
        succeed("features --run=@ --out=@ -- @", &[made, maps, odd[0]]);
        clean(&maps.join("index.html"));
        succeed("report @", &[&Path::new(".").join(made)]);
        clean(&made.join("report.html"));

        let weights = Path::new("--w <b>\".safetensors");
        succeed("export --run=@ --safetensors=@ --torch=torch", &[made, weights]);
        succeed("import --out=@ -- @", &[back, weights]);
        let printed = succeed("predict --json --run=@ -- @", &[back, odd[0]]);
        let line: Value = serde_json::from_str(&printed).unwrap();
        assert!(classes.iter().all(|class| line["probabilities"][class].is_number()), "{line}");

        // Nothing lies outside, and no command in a name was run.
        let names = |path: &Path| {
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect::<HashSet<OsString>>()
        };
        assert_eq!(names(outer.path()).len(), 1);
        let expected = [photos, made, back, weights, examined, maps, Path::new("page.html"), Path::new("torch")];
        assert_eq!(names(folder), expected.iter().map(|path| path.as_os_str().into()).collect());
    }
}

fn typed_names_do_not_command_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let shown = "\\u001b[2J";
    // The parser of the command line leaves escape sequences out of what it repeats.
    for (arguments, shown) in [
        (&["train", "--data", COMMANDS][..], shown),
        (&["train", "--out", COMMANDS, "--data", COMMANDS], shown),
        (&["report", COMMANDS], shown),
        (&["train", "--lr", COMMANDS], "'--lr <LR>'"),
        (&["train", COMMANDS], "unexpected argument"),
        (&[COMMANDS], "unrecognized subcommand"),
    ] {
        let output = convscope(folder.path(), arguments);
        assert!(!output.status.success());
        assert_plain(&output.stdout);
        let error = assert_plain(&output.stderr);
        assert!(error.contains(shown) && error.starts_with("error: "), "{error}");
    }
}
