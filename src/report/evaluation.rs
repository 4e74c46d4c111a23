//! The page of `evaluate`: how a network does on labelled images.

use maud::html;

use super::{Head, document, training};
use crate::explain::Judged;
use crate::figures::words::{name, percent, plain};
use crate::train::evaluation::Evaluation;

/// How a network does on labelled images.
pub struct EvaluationPage<'a> {
    /// The weights, as they are told.
    pub weights: &'a str,
    /// The images, as they are told.
    pub images: &'a str,
    /// What a reader must know first.
    pub notes: &'a [String],
    /// Names of the classes.
    pub classes: &'a [String],
    /// The figures.
    pub evaluation: &'a Evaluation,
    /// The worst mistakes, each with its name.
    pub worst: &'a [(String, Judged)],
}

impl EvaluationPage<'_> {
    /// The page.
    pub fn page(&self) -> String {
        let Self { classes, evaluation, .. } = self;
        let mut facts = vec![
            ("Images", name(self.images)),
            ("Right", html! { (evaluation.standing.to_string()) }),
            ("Weights", name(self.weights)),
        ];
        if let Some(auc) = evaluation.auc {
            let [low, high] = [auc.interval.0, auc.interval.1].map(|end| plain(end, 3));
            let area = plain(auc.area, 3);
            facts.push(("Area under the ROC curve", html! { (area) " (95 % interval " (low) " to " (high) ")" }));
        }
        let title = html! { "How the network does on labelled images" };
        let head = Head { command: "evaluate", title, notes: self.notes, facts };
        let body = html! {
            (head.markup())
            section {
                h2 { "Which class was taken for which" }
                (training::confusion(classes, &evaluation.confusion))
            }
            section {
                h2 { "Whether its probabilities mean what they say" }
                (training::calibration(&evaluation.calibration, evaluation.log_loss, evaluation.log_loss_of_shares))
            }
            section {
                h2 { "The worst mistakes" }
                @if self.worst.is_empty() {
                    p { "None: every image is right." }
                } @else {
                    p { "Wrong, and most confident." }
                    div.scroll {
                        table {
                            thead { tr { th { "file" } th { "is" } th { "taken for" } th.number { "probability" } } }
                            tbody {
                                @for (file, judged) in self.worst {
                                    tr {
                                        td { (name(file)) }
                                        td { (name(&classes[judged.truth])) }
                                        td { (name(&classes[judged.predicted])) }
                                        td.number { (percent(judged.probability)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        };
        document("How the network does on labelled images", &body)
    }
}
