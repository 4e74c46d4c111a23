//! An explanation as pictures.

use image::RgbImage;

use super::ledger::Share;
use super::saliency::{Completeness, Map, Method};
use super::trust::Score;
use super::{Explanation, Finding, Lens};
use crate::inspect::Stage;
use crate::report::{self, Card, CardRow, FeatureMaps, Heat, Layer, Order, PictureError, ScaleBy, Triptych};
use crate::spec::Block;

/// Channels that the index names; the others are summed up.
const NAMED: usize = 8;

/// The pages of an explanation.
pub struct Pages<'a> {
    lens: &'a Lens<'a>,
    explanation: &'a Explanation,
    /// Names of the classes.
    classes: &'a [String],
    /// Printed on every page.
    facts: &'a [String],
    by: ScaleBy,
    /// Of each finding.
    cards: Vec<Card>,
    names: Vec<String>,
    /// Of each block, each channel's contribution.
    contributions: Vec<Vec<f64>>,
}

impl<'a> Pages<'a> {
    /// Pages with these facts on each; `by` says what the colours of feature maps span.
    pub fn new(
        lens: &'a Lens<'a>,
        explanation: &'a Explanation,
        classes: &'a [String],
        facts: &'a [String],
        by: ScaleBy,
    ) -> Self {
        let contributions =
            explanation.channels.iter().map(|block| block.iter().map(|channel| channel.contribution).collect());
        Self {
            cards: explanation.findings.iter().map(|finding| card(lens, explanation, finding)).collect(),
            names: explanation.findings.iter().map(|finding| finding.method.name()).collect(),
            contributions: contributions.collect(),
            lens,
            explanation,
            classes,
            facts,
            by,
        }
    }

    /// The lens that made the explanation.
    pub fn lens(&self) -> &'a Lens<'a> {
        self.lens
    }

    fn title(&self) -> String {
        let [target, against] = self.sides();
        format!("Why {target} rather than {against}?")
    }

    fn sides(&self) -> [&'a str; 2] {
        let question = self.explanation.question;
        [question.target, question.against].map(|class| self.classes[class].as_str())
    }

    /// The page to open first.
    ///
    /// # Errors
    /// When a value is not finite.
    pub fn index(&self) -> Result<RgbImage, PictureError> {
        let ledger = &self.explanation.ledger;
        let pair = |share: &Share| (share.index, share.share);
        let (named, rest) = ledger.channels.split_at(NAMED.min(ledger.channels.len()));
        let named: Vec<_> = named.iter().map(pair).collect();
        let [class, against] = self.sides();
        let names = self.layer_names(Stage::Relu);
        report::index(&report::Index {
            title: &self.title(),
            facts: self.facts,
            input: &self.explanation.input,
            evidence: heat(&self.explanation.evidence),
            evidence_note: &coarse(self.lens.blocks().last().expect("there is a block"), self.lens.spec().input),
            ledger: report::Ledger {
                class,
                against,
                gap: ledger.logit_gap,
                bias: ledger.bias,
                channels: &named,
                rest: (rest.len(), rest.iter().map(|share| share.share).sum()),
                residual: ledger.residual,
            },
            methods: &self.triptychs(),
            layers: &self.layers(Stage::Relu, &names),
            by: self.by,
        })
    }

    /// A page for each method, in their order.
    ///
    /// # Errors
    /// When a value is not finite.
    pub fn methods(&self) -> Result<Vec<RgbImage>, PictureError> {
        let page = |triptych: &Triptych<'_>| {
            let [target, against] = self.sides();
            let title = format!("{}: why {target} rather than {against}?", triptych.name);
            report::triptych(&title, triptych, &self.explanation.input, self.facts)
        };
        self.triptychs().iter().map(page).collect()
    }

    /// A page for each block with all its maps, those first that contribute most.
    ///
    /// # Errors
    /// When a value is not finite.
    pub fn maps(&self, stage: Stage) -> Result<Vec<RgbImage>, PictureError> {
        let names = self.layer_names(stage);
        let layers = self.layers(stage, &names);
        let span = self.by.span(&layers);
        layers.iter().map(|layer| report::grid(layer, span, &self.explanation.input, self.facts)).collect()
    }

    fn triptychs(&self) -> Vec<Triptych<'_>> {
        let of = |((finding, card), name): ((&'a Finding, _), _)| Triptych {
            name,
            map: heat(&finding.map),
            control: heat(&finding.control),
            similarity: finding.trust.similarity,
            card,
        };
        let findings: &'a [Finding] = &self.explanation.findings;
        findings.iter().zip(&self.cards).zip(self.names.iter().map(String::as_str)).map(of).collect()
    }

    fn layer_names(&self, stage: Stage) -> Vec<String> {
        (1..=self.lens.blocks().len()).map(|number| format!("Block {number} {}", stage.name())).collect()
    }

    fn layers<'b>(&'b self, stage: Stage, names: &'b [String]) -> Vec<Layer<'b>> {
        let blocks = self.lens.blocks().iter().zip(&self.explanation.inside.blocks);
        blocks
            .zip(names.iter().zip(&self.contributions))
            .map(|((geometry, inside), (name, contributions))| {
                let values = match stage {
                    Stage::Conv => &inside.conv,
                    Stage::Norm => &inside.norm,
                    Stage::Relu => &inside.relu,
                };
                let maps = FeatureMaps::new(name, values, geometry, stage != Stage::Relu);
                Layer { maps, order: Order::Contribution(contributions) }
            })
            .collect()
    }
}

fn heat(map: &Map) -> Heat<'_> {
    Heat { values: &map.values, height: map.height, width: map.width, signed: map.signed }
}

/// What the values of a coarse map see.
fn coarse(block: &Block, [_, rows, columns]: [usize; 3]) -> String {
    let [_, height, width] = block.output;
    let field = block.receptive_field;
    let unread = match block.unread_border([rows, columns]) {
        [0, 0] => String::new(),
        [below, right] => format!("; {below} px at the bottom and {right} px at the right are never read"),
    };
    format!("{height} x {width} values, each drawn where the {field} x {field} px that it sees are centred{unread}.")
}

/// The trust card of a finding.
fn card(lens: &Lens, explanation: &Explanation, finding: &Finding) -> Card {
    let mut lines = vec![explanation.verdict(finding).to_string()];
    lines.push(finding.method.meaning().into());
    if let Some(Completeness { grey, map, gap }) = finding.completeness {
        let total = explanation.ledger.logit_gap;
        lines.push(format!(
            "The decision's {total:+.4} logits are {grey:+.4} that a grey picture gets already, {map:+.4} in the map, and \
             {gap:+.4} left over (the completeness gap)."
        ));
    }
    if let Some(block) = finding.method.block() {
        lines.push(coarse(&lens.blocks()[block], lens.spec().input));
    }
    if finding.method.block().is_none() && finding.method != Method::Occlusion {
        lines.push(
            "Blurring single pixels leaves speckles that no photo has and to which networks are oversensitive, so that maps of \
             single pixels pass deletion and insertion more easily than coarse maps do."
                .into(),
        );
    }
    let row = |name: &str, Score { deletion, insertion }| CardRow { name: name.into(), deletion, insertion };
    let mut rows = vec![row("this map", finding.trust.score)];
    rows.extend(explanation.baselines.rows().into_iter().map(|(name, score)| row(&name, score)));
    Card { lines, rows }
}
