//! `predict`: which class each of some images shows.

use std::time::Instant;

use anyhow::{Result, bail};
use serde::{Serialize, Serializer};

use super::named::{Named, NamedImages, named};
use crate::cli::PredictArgs;
use crate::data::Rejected;
use crate::data::names::path_text;
use crate::disk;
use crate::explain::Question;
use crate::figures::words::count;
use crate::nn::checkpoint::Checkpoint;
use crate::reading::no_file;
use crate::stats;
use crate::terminal::{counted, keep_for_results, print, say};
use crate::train::Run;
use crate::train::predictions::Prediction;

pub(super) fn predict(arguments: &PredictArgs) -> Result<()> {
    keep_for_results();
    let run = Run::open(&arguments.run)?;
    let Checkpoint { meta, weights, .. } = run.checkpoint(arguments.weights)?;
    let all = named(&arguments.images)?;
    let count_all = all.len();
    // What is not there is told before the device is opened.
    let (missing, named): (Vec<Named>, Vec<Named>) = all.into_iter().partition(|named| no_file(&named.file).is_some());
    for named in &missing {
        say(format!("note: {}: {}", named.told(), no_file(&named.file).unwrap_or_default()));
    }
    if named.is_empty() {
        return tell_unread(missing.len(), count_all);
    }

    let validation = super::to_be_counted(&run, None);
    super::say_standing(&run, arguments.weights, meta.epoch, validation.as_deref());
    if meta.drawn {
        say(format!("note: {}", crate::report::DRAWN));
    }
    let gpu = super::open(&arguments.device)?;
    super::say_adapter(&gpu);
    let predictor = super::predictor(&gpu, &run, arguments.weights, &weights, arguments.batch)?;

    let form = if arguments.json {
        Form::Json
    } else if arguments.csv {
        Form::Csv
    } else {
        Form::table(&named, &meta.classes)
    };
    let images = NamedImages { named, fit: run.fit() };
    if let Some(heading) = form.heading(&meta.classes) {
        print(heading);
    }
    let started = Instant::now();
    let (mut read, mut unread, mut broken) = (0, missing.len(), Ok(()));
    predictor.predict(&images, arguments.tta, |predictions, rejected| {
        for prediction in &predictions {
            let line = Line::new(&images.named[prediction.index], prediction, &meta.classes);
            match form.line(&line) {
                Ok(line) => print(line),
                Err(error) => broken = Err(error),
            }
        }
        for Rejected { file, reason } in &rejected {
            say(format!("note: {file}: {reason}"));
        }
        read += predictions.len();
        unread += rejected.len();
    })?;
    broken?;
    let seconds = started.elapsed().as_secs_f64();
    if read > 0 {
        let rate = count((read as f64 / seconds).round() as usize);
        say(format!("{} in {seconds:.2} s: {rate} images/s, reading and network together", counted(read, "image")));
    }
    tell_unread(unread, count_all)
}

/// One error for all images that could not be read; each has been named.
fn tell_unread(unread: usize, all: usize) -> Result<()> {
    match unread {
        0 => Ok(()),
        _ => bail!("{unread} of {} could not be read; the notes name each and why", counted(all, "image")),
    }
}

/// What is said of an image.
#[derive(Serialize)]
struct Line<'a> {
    path: String,
    class: &'a str,
    /// Of that class, 0 to 1.
    probability: f64,
    /// The class that comes next.
    runner_up: &'a str,
    runner_up_probability: f64,
    /// Of every class.
    #[serde(serialize_with = "by_class")]
    probabilities: Vec<(&'a str, f64)>,
}

impl<'a> Line<'a> {
    fn new(named: &Named, prediction: &Prediction, classes: &'a [String]) -> Self {
        let probabilities = stats::probabilities(&prediction.logits);
        let Question { target, against } = Question::of(&prediction.logits, None);
        Self {
            path: path_text(&named.file),
            class: &classes[target],
            probability: probabilities[target],
            runner_up: &classes[against],
            runner_up_probability: probabilities[against],
            probabilities: classes.iter().map(String::as_str).zip(probabilities).collect(),
        }
    }
}

/// Pairs as a JSON object, in their order.
fn by_class<S: Serializer>(pairs: &[(&str, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().copied())
}

/// How the lines are printed.
enum Form {
    Json,
    Csv,
    /// In columns, of which the paths and the classes have these widths.
    Table {
        path: usize,
        class: usize,
    },
}

impl Form {
    /// A table that is wide enough for these images and classes.
    fn table(named: &[Named], classes: &[String]) -> Self {
        let width = |text: &str| text.chars().count();
        let path = named.iter().map(|named| width(&path_text(&named.file))).max().unwrap_or_default();
        let class = classes.iter().map(|class| width(class)).max().unwrap_or_default();
        Self::Table { path: path.max("file".len()), class: class.max("runner-up".len()) }
    }

    fn heading(&self, classes: &[String]) -> Option<String> {
        match *self {
            Self::Json => None,
            Self::Csv => {
                let columns = ["path", "class", "probability", "runner_up", "runner_up_probability"].map(String::from);
                let of_classes = classes.iter().map(|class| format!("probability_{class}"));
                csv_line(columns.into_iter().chain(of_classes)).ok()
            }
            Self::Table { path, class } => {
                Some(format!("{:path$}  {:class$}  probability  {:class$}  probability", "file", "class", "runner-up"))
            }
        }
    }

    fn line(&self, line: &Line) -> Result<String> {
        let percent = |share: f64| format!("{:9.1} %", 100.0 * share);
        Ok(match *self {
            Self::Json => serde_json::to_string(line)?,
            Self::Csv => {
                let Line { path, class, probability, runner_up, runner_up_probability, probabilities } = line;
                let first = [path, *class, &probability.to_string(), *runner_up, &runner_up_probability.to_string()]
                    .map(String::from);
                csv_line(first.into_iter().chain(probabilities.iter().map(|(_, share)| share.to_string())))?
            }
            Self::Table { path, class } => format!(
                "{:path$}  {:class$}  {}  {:class$}  {}",
                line.path,
                line.class,
                percent(line.probability),
                line.runner_up,
                percent(line.runner_up_probability)
            ),
        })
    }
}

/// A line of a CSV table, without its end.
fn csv_line(fields: impl Iterator<Item = String>) -> Result<String> {
    let bytes = disk::table(|table| table.write_record(fields.collect::<Vec<_>>()))?;
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSES: [&str; 3] = ["cat, \"tabby\"", "dog", "猫"];

    fn lines(form: impl Fn(&[Named], &[String]) -> Form) -> (Option<String>, Vec<String>) {
        let classes = CLASSES.map(String::from);
        let named = named(&["a \"b\", c.jpg", "b/d\u{e9}j\u{e0}.png"].map(Into::into)).unwrap();
        let logits = [[0.0, 1.0, -1.0], [3.0, 3.0, 3.0]];
        let form = form(&named, &classes);
        let line = |(index, logits): (usize, &[f32; 3])| {
            let prediction = Prediction { index, truth: 0, logits: logits.to_vec() };
            form.line(&Line::new(&named[index], &prediction, &classes)).unwrap()
        };
        (form.heading(&classes), logits.iter().enumerate().map(line).collect())
    }

    #[test]
    fn json_has_a_line_an_image_with_all_probabilities_in_order() {
        let (heading, lines) = lines(|_, _| Form::Json);
        assert_eq!(heading, None);
        let first: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(first["path"], "a \"b\", c.jpg");
        assert_eq!((&first["class"], &first["runner_up"]), (&"dog".into(), &CLASSES[0].into()));
        let of_class = |class: &str| first["probabilities"][class].as_f64().unwrap();
        assert_eq!(first["probability"].as_f64().unwrap(), of_class("dog"));
        assert_eq!(first["runner_up_probability"].as_f64().unwrap(), of_class(CLASSES[0]));
        assert!((CLASSES.map(of_class).iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let places = ["tabby", "\"dog\":", "猫"].map(|name| lines[1].rfind(name).unwrap());
        assert!(places.is_sorted(), "{}", lines[1]);
    }

    #[test]
    fn csv_reads_back() {
        let (heading, lines) = lines(|_, _| Form::Csv);
        let text = [heading.unwrap()].into_iter().chain(lines).map(|line| line + "\n").collect::<String>();
        let mut table = csv::Reader::from_reader(text.as_bytes());
        let header = table.headers().unwrap().clone();
        assert_eq!(header.iter().skip(5).collect::<Vec<_>>(), CLASSES.map(|class| format!("probability_{class}")));
        let rows: Vec<csv::StringRecord> = table.records().collect::<Result<_, _>>().unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!([&rows[0][0], &rows[0][1], &rows[0][3]], ["a \"b\", c.jpg", "dog", CLASSES[0]]);
        assert_eq!((&rows[0][2], &rows[0][4]), (&rows[0][6], &rows[0][5]));
        assert_eq!([&rows[1][1], &rows[1][3]], [CLASSES[0], "dog"], "of equal ones the first");
    }

    #[test]
    fn a_table_has_its_columns_below_each_other() {
        let (heading, lines) = lines(Form::table);
        let lines: Vec<String> = heading.into_iter().chain(lines).collect();
        let place =
            |line: &String, text: &str| line.chars().count() - line[line.rfind(text).unwrap()..].chars().count();
        assert_eq!(place(&lines[0], "runner-up"), place(&lines[1], "cat, "));
        assert_eq!(place(&lines[0], "class"), place(&lines[2], "cat, "));
        assert!(lines[1].contains("66.5 %") && lines[2].ends_with("33.3 %"), "{lines:?}");
    }
}
