//! Small charts as SVG: lines, and rows of intervals ("forest plots").
//!
//! Colours come from `chart.css` by class, and from `chart-dark.css`, so that a chart is light or dark with the page that it stands on.
//! In a file of its own it carries the first along, and is always light.

use maud::{Markup, PreEscaped, html};

use super::words::{plain, signed};

/// The colours and letters of charts.
pub const STYLE: &str = concat!(include_str!("chart.css"), include_str!("chart-dark.css"));
/// What of it is light.
const LIGHT: &str = include_str!("chart.css");
/// Width of a chart, in its own units; it is shown as wide as there is room.
const WIDTH: f64 = 400.0;
/// Around a chart in a file of its own.
const MARGIN: f64 = 14.0;
/// Width of a letter, on the safe side.
const LETTER: f64 = 6.8;
/// Points up to which the points of a line are marked.
const DOTS: usize = 12;
/// Colours in `chart.css`.
const TONES: usize = 5;

/// A drawing.
pub struct Chart {
    /// What it shows, for those who cannot see it.
    label: String,
    height: f64,
    content: Markup,
}

impl Chart {
    /// As a part of a page.
    pub fn inline(&self) -> Markup {
        html! {
            svg class="chart" viewBox=(format!("0 0 {WIDTH} {}", self.height)) role="img" aria-label=(self.label) {
                (self.content)
            }
        }
    }

    /// As a file of its own.
    pub fn file(&self) -> String {
        file_of(std::slice::from_ref(self))
    }
}

/// Charts side by side, as a file.
pub fn file_of(charts: &[Chart]) -> String {
    let each = WIDTH + 2.0 * MARGIN;
    let width = each * charts.len() as f64;
    let height = charts.iter().map(|chart| chart.height).fold(0.0, f64::max) + 2.0 * MARGIN;
    let label = charts.iter().map(|chart| chart.label.as_str()).collect::<Vec<_>>().join("; ");
    let svg = html! {
        svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox=(format!("0 0 {width} {height}"))
            width=(2.0 * width) height=(2.0 * height) {
            title { (label) }
            style { (PreEscaped(plain_colours(LIGHT))) }
            rect width=(width) height=(height) fill="#fff" {}
            @for (chart, left) in charts.iter().zip((0..).map(|number| MARGIN + each * f64::from(number))) {
                g transform=(format!("translate({left} {MARGIN})")) { (chart.content) }
            }
        }
    };
    format!("{}\n", svg.into_string())
}

/// A style sheet with the colours themselves in the place of their names, which many programs that show images do not know.
fn plain_colours(sheet: &str) -> String {
    let (names, rules) = sheet.split_once("}\n").expect("the names come first");
    let named = names.split(';').filter_map(|line| line.trim().rsplit_once("--")?.1.split_once(": "));
    named.fold(rules.to_string(), |rules, (name, colour)| rules.replace(&format!("var(--{name})"), colour))
}

/// How a line of a chart looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineStyle {
    /// A line in a colour; there are five, which then come again with dashes.
    Solid(usize),
    /// The same with dashes.
    Dashed(usize),
    /// One of many that matter together.
    Thin,
}

impl LineStyle {
    fn class(self) -> String {
        match self {
            Self::Solid(tone) if tone >= TONES => Self::Dashed(tone).class(),
            Self::Solid(tone) => format!("line tone-{tone}"),
            Self::Dashed(tone) => format!("line dashed tone-{}", tone % TONES),
            Self::Thin => "line thin".into(),
        }
    }
}

/// A line of a [`LineChart`].
pub struct Series {
    /// Stands in the legend, unless it is empty.
    pub name: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
    /// How it looks.
    pub look: LineStyle,
}

/// Lines over two axes.
pub struct LineChart<'a> {
    /// What it shows, for those who cannot see it.
    pub label: &'a str,
    /// What the horizontal axis measures.
    pub x: &'a str,
    /// What the vertical axis measures.
    pub y: &'a str,
    /// Whether the horizontal axis counts whole things.
    pub whole: bool,
    /// Values that the vertical axis must hold beside those of the lines.
    pub holds: Vec<f64>,
    /// The lines; the last lies on top.
    pub series: Vec<Series>,
}

impl LineChart<'_> {
    /// Draws it. Points that are not finite are left out.
    pub fn draw(&self) -> Chart {
        self.draw_with(Axis::name)
    }

    /// The same where the horizontal axis has powers of ten, and the points their exponents.
    pub fn draw_powers(&self) -> Chart {
        self.draw_with(|_, exponent| format!("1e{exponent}"))
    }

    fn draw_with(&self, name: fn(&Axis, f64) -> String) -> Chart {
        const PLOT: f64 = 200.0;
        const ROW: f64 = 18.0;
        let [left, right, gap, below] = [44.0, WIDTH - 10.0, 30.0, 40.0];
        let named: Vec<&Series> = self.series.iter().filter(|series| !series.name.is_empty()).collect();
        let legend = legend(&named);
        let rows = legend.last().map_or(0, |(row, _)| row + 1);
        let top = gap + ROW * rows as f64;
        let bottom = top + PLOT;

        let points =
            || self.series.iter().flat_map(|series| &series.points).filter(|(x, y)| x.is_finite() && y.is_finite());
        let horizontal = Axis::around(points().map(|point| point.0), left, right, self.whole);
        let vertical =
            Axis::around(points().map(|point| point.1).chain(self.holds.iter().copied()), bottom, top, false).rounded();
        let path = |series: &Series| {
            let finite = series.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite());
            let place = |&(x, y): &(f64, f64)| format!("{:.1},{:.1}", horizontal.place(x), vertical.place(y));
            finite.map(place).collect::<Vec<_>>().join(" ")
        };
        let coloured = || self.series.iter().filter(|series| series.look != LineStyle::Thin);
        let dots = coloured().all(|series| series.points.len() <= DOTS);
        let content = html! {
            @for (series, (row, start)) in named.iter().zip(&legend) {
                @let y = 6.0 + ROW * *row as f64;
                polyline class=(series.look.class()) points=(format!("{start},{y} {},{y}", start + 20.0)) {}
                text class="name" x=(start + 26.0) y=(y + 4.0) { (series.name) }
            }
            text x="0" y=(top - 14.0) { (self.y) }
            @for tick in vertical.ticks() {
                @let y = rounded(vertical.place(tick));
                line class="grid" x1=(left) x2=(right) y1=(y) y2=(y) {}
                text class="end" x=(left - 8.0) y=(y + 4.0) { (vertical.name(tick)) }
            }
            line class="axis" x1=(left) x2=(right) y1=(bottom) y2=(bottom) {}
            @for tick in horizontal.ticks() {
                @let x = rounded(horizontal.place(tick));
                line class="axis" x1=(x) x2=(x) y1=(bottom) y2=(bottom + 4.0) {}
                text class="middle" x=(x) y=(bottom + 17.0) { (name(&horizontal, tick)) }
            }
            text class="end" x=(right) y=(bottom + 34.0) { (self.x) }
            @for series in &self.series {
                polyline class=(series.look.class()) points=(path(series)) {}
                @if dots && series.look != LineStyle::Thin {
                    @for &(x, y) in series.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()) {
                        circle class=(format!("dot {}", series.look.class())) cx=(rounded(horizontal.place(x)))
                            cy=(rounded(vertical.place(y))) r="3" {}
                    }
                }
            }
        };
        Chart { label: self.label.into(), height: bottom + below, content }
    }
}

/// The row and the left end of each entry of a legend.
fn legend(named: &[&Series]) -> Vec<(usize, f64)> {
    let (mut row, mut left) = (0, 0.0);
    let mut places = Vec::new();
    for series in named {
        let width = 44.0 + LETTER * series.name.chars().count() as f64;
        if left > 0.0 && left + width > WIDTH {
            (row, left) = (row + 1, 0.0);
        }
        places.push((row, left));
        left += width;
    }
    places
}

/// An interval with its middle.
pub struct ForestRow {
    /// Stands to the left.
    pub name: String,
    /// The estimate.
    pub middle: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Its colour, as in [`LineStyle::Solid`].
    pub tone: usize,
}

/// Rows of intervals over one axis.
pub struct Forest<'a> {
    /// What it shows, for those who cannot see it.
    pub label: &'a str,
    /// What the axis measures.
    pub axis: &'a str,
    /// The intervals, from top to bottom.
    pub rows: Vec<ForestRow>,
    /// Values that are marked by a line, with what stands above it; without a name the line is drawn through.
    pub marks: Vec<(f64, &'a str)>,
    /// Digits behind the point of the numbers to the right.
    pub digits: usize,
}

impl Forest<'_> {
    /// Draws it. Rows that are not finite are left out.
    pub fn draw(&self) -> Chart {
        self.draw_with(&[])
    }

    /// The same with more rows below, of which each has a name and, in place of an interval, why it has none.
    pub fn draw_with(&self, without: &[(String, &str)]) -> Chart {
        const ROW: f64 = 26.0;
        let finite = |row: &&ForestRow| row.middle.is_finite() && row.low.is_finite() && row.high.is_finite();
        let rows: Vec<&ForestRow> = self.rows.iter().filter(finite).collect();
        let digits = self.digits;
        let numbers = |row: &ForestRow| {
            let [middle, low, high] = [row.middle, row.low, row.high].map(|value| signed(value, digits));
            format!("{middle} ({low} to {high})")
        };
        let widest = |texts: &mut dyn Iterator<Item = String>| {
            LETTER * texts.map(|text| text.chars().count()).max().unwrap_or(0) as f64
        };
        let names = rows.iter().map(|row| &row.name).chain(without.iter().map(|(name, _)| name));
        let left = widest(&mut names.cloned()) + 14.0;
        let reasons = without.iter().map(|(_, why)| why.to_string());
        let right = WIDTH - widest(&mut rows.iter().map(|row| numbers(row)).chain(reasons)) - 10.0;
        let [top, below] = [24.0, 40.0];
        let bottom = top + ROW * (rows.len() + without.len()) as f64;
        let ends = rows.iter().flat_map(|row| [row.low, row.high]);
        let axis = Axis::around(ends.chain(self.marks.iter().map(|mark| mark.0)), left, right, false).rounded();
        let content = html! {
            @for tick in axis.ticks() {
                @let x = rounded(axis.place(tick));
                line class="grid" x1=(x) x2=(x) y1=(top) y2=(bottom) {}
                text class="middle" x=(x) y=(bottom + 17.0) { (axis.name(tick)) }
            }
            @for (value, name) in &self.marks {
                @let x = rounded(axis.place(*value));
                line class=(if name.is_empty() { "axis" } else { "mark" }) x1=(x) x2=(x) y1=(top - 4.0) y2=(bottom) {}
                text class="middle" x=(x) y=(top - 10.0) { (name) }
            }
            line class="axis" x1=(left) x2=(right) y1=(bottom) y2=(bottom) {}
            text class="end" x=(right) y=(bottom + 34.0) { (self.axis) }
            @for (number, row) in (0..).zip(&rows) {
                @let y = top + ROW * (f64::from(number) + 0.5);
                @let [low, middle, high] = [row.low, row.middle, row.high].map(|value| rounded(axis.place(value)));
                text class="name" x="0" y=(y + 4.0) { (row.name) }
                line class=(LineStyle::Solid(row.tone).class()) x1=(low) x2=(high) y1=(y) y2=(y) {}
                circle class=(format!("dot tone-{}", row.tone % TONES)) cx=(middle) cy=(y) r="4.5" {}
                text class="end" x=(WIDTH) y=(y + 4.0) {
                    (numbers(row))
                }
            }
            @for (number, (name, why)) in (rows.len()..).zip(without) {
                @let y = top + ROW * (number as f64 + 0.5) + 4.0;
                text class="name" x="0" y=(y) { (name) }
                text class="end" x=(WIDTH) y=(y) { (why) }
            }
        };
        Chart { label: self.label.into(), height: bottom + below, content }
    }
}

/// Images of similar confidence. All shares are 0 to 1.
pub struct ReliabilityBin {
    /// How many there are.
    pub images: usize,
    /// Their mean confidence.
    pub confidence: f64,
    /// The share of them that is right.
    pub middle: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// How often a classifier is right, by how sure it is, with a strip below that shows how many images stand behind each point.
pub struct Reliability<'a> {
    /// What it shows, for those who cannot see it.
    pub label: &'a str,
    /// The points, from left to right.
    pub bins: Vec<ReliabilityBin>,
}

impl Reliability<'_> {
    /// Draws it.
    pub fn draw(&self) -> Chart {
        const PLOT: f64 = 250.0;
        const STRIP: f64 = 44.0;
        let [left, right, top, gap, below] = [44.0, WIDTH - 10.0, 24.0, 12.0, 40.0];
        let [bottom, floor] = [top + PLOT, top + PLOT + gap + STRIP];
        let whole = [0.0, 100.0].into_iter();
        let horizontal = Axis::around(whole.clone(), left, right, false);
        let vertical = Axis::around(whole, bottom, top, false);
        let most = self.bins.iter().map(|bin| bin.images).max().unwrap_or(1);
        let content = html! {
            text x="0" y="12" { "% right" }
            @for tick in vertical.ticks() {
                @let y = rounded(vertical.place(tick));
                line class="grid" x1=(left) x2=(right) y1=(y) y2=(y) {}
                text class="end" x=(left - 8.0) y=(y + 4.0) { (vertical.name(tick)) }
            }
            line class="mark" x1=(left) x2=(right) y1=(bottom) y2=(top) {}
            @for bin in &self.bins {
                @let x = rounded(horizontal.place(100.0 * bin.confidence));
                @let [low, middle, high] = [bin.low, bin.middle, bin.high].map(|share| rounded(vertical.place(100.0 * share)));
                @let height = rounded((STRIP * bin.images as f64 / most as f64).max(1.0));
                line class=(LineStyle::Solid(0).class()) x1=(x) x2=(x) y1=(low) y2=(high) {}
                circle class="dot tone-0" cx=(x) cy=(middle) r="4" {}
                rect class="bar" x=(x - 4.0) width="8" y=(floor - height) height=(height) {
                    title { (bin.images) " images" }
                }
            }
            line class="axis" x1=(left) x2=(right) y1=(bottom) y2=(bottom) {}
            text class="end" x=(left - 8.0) y=(floor - STRIP + 10.0) { (most) }
            line class="axis" x1=(left) x2=(right) y1=(floor) y2=(floor) {}
            @for tick in horizontal.ticks() {
                text class="middle" x=(rounded(horizontal.place(tick))) y=(floor + 17.0) { (horizontal.name(tick)) }
            }
            text class="end" x=(right) y=(floor + 34.0) { "how sure it is, %" }
        };
        Chart { label: self.label.into(), height: floor + below, content }
    }
}

/// Places of values between two ends on the page.
struct Axis {
    least: f64,
    most: f64,
    /// Between two ticks.
    step: f64,
    /// On the page.
    ends: [f64; 2],
}

impl Axis {
    /// An axis that holds all values, with three to six ticks or so.
    fn around(values: impl Iterator<Item = f64>, first: f64, last: f64, whole: bool) -> Self {
        let ends =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let (least, most) = match ends {
            (low, high) if low > high => (0.0, 1.0),
            // One value, or so close that rounding would leave nothing between the ticks.
            (low, high) if high - low <= 1e-12 * low.abs().max(high.abs()).max(1.0) => {
                let around = (1e-3 * low.abs().max(high.abs())).max(0.5);
                (low - around, high + around)
            }
            ends => ends,
        };
        let rough = (most - least) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough * 0.999);
        let step = step.unwrap_or(rough);
        Self { least, most, step: if whole { step.ceil().max(1.0) } else { step }, ends: [first, last] }
    }

    /// The same from tick to tick.
    fn rounded(self) -> Self {
        let Self { least, most, step, ends } = self;
        Self { least: (least / step).floor() * step, most: (most / step).ceil() * step, step, ends }
    }

    fn place(&self, value: f64) -> f64 {
        let [first, last] = self.ends;
        first + (value - self.least) / (self.most - self.least) * (last - first)
    }

    fn ticks(&self) -> Vec<f64> {
        let small = 1e-6;
        let first = (self.least / self.step - small).ceil() as i64;
        let last = (self.most / self.step + small).floor() as i64;
        (first..=last).map(|number| number as f64 * self.step).collect()
    }

    fn name(&self, tick: f64) -> String {
        let digits = (-self.step.log10().floor()).clamp(0.0, 6.0) as usize;
        if tick == 0.0 { "0".into() } else { plain(tick, digits) }
    }
}

/// To a tenth, which no eye tells from more.
fn rounded(place: f64) -> f64 {
    (place * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(values: &[f64]) -> Axis {
        Axis::around(values.iter().copied(), 0.0, 100.0, false).rounded()
    }

    #[test]
    fn ticks_are_round_and_hold_all_values() {
        let names = |values: &[f64]| {
            let axis = axis(values);
            axis.ticks().iter().map(|tick| axis.name(*tick)).collect::<Vec<_>>()
        };
        assert_eq!(names(&[0.45, 0.67]), ["0.45", "0.50", "0.55", "0.60", "0.65", "0.70"]);
        assert_eq!(names(&[-2.0, 9.3]), ["−5", "0", "5", "10"]);
        assert_eq!(names(&[50.0, 100.0]), ["50", "60", "70", "80", "90", "100"]);
        assert!((axis(&[3.0]).place(3.0) - 50.0).abs() < 1e-9, "a single value stands in the middle");
        assert!(axis(&[]).ticks().len() > 1, "no value makes no broken axis");
        let epochs = Axis::around([1.0, 3.0].into_iter(), 0.0, 1.0, true);
        assert_eq!(epochs.ticks(), [1.0, 2.0, 3.0], "whole things have no halves");
    }

    #[test]
    fn what_is_not_finite_is_left_out() {
        let series = Series { name: "a".into(), points: vec![(1.0, f64::NAN), (2.0, 1.0)], look: LineStyle::Solid(0) };
        let row = |middle| ForestRow { name: "b".into(), middle, low: 0.0, high: 1.0, tone: 0 };
        let lines = LineChart { label: "l", x: "x", y: "y", whole: true, holds: Vec::new(), series: vec![series] }
            .draw()
            .file();
        let rows = vec![row(f64::INFINITY), row(0.5)];
        let forest = Forest { label: "l", axis: "x", rows, marks: Vec::new(), digits: 1 }.draw().file();
        for svg in [lines, forest] {
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn points_lie_where_sureness_and_share_are_the_same() {
        let bin = |share| ReliabilityBin { images: 3, confidence: share, middle: share, low: 0.0, high: 1.0 };
        let svg = Reliability { label: "l", bins: vec![bin(0.0), bin(1.0)] }.draw().file();
        // The dashed line's ends.
        assert!(svg.contains(r#"<line class="mark" x1="44" x2="390" y1="274" y2="24">"#), "{svg}");
        for ends in [r#"cx="44" cy="274""#, r#"cx="390" cy="24""#] {
            assert!(svg.contains(ends), "{ends}: {svg}");
        }
        assert!(!Reliability { label: "l", bins: Vec::new() }.draw().file().contains("NaN"));
    }

    #[test]
    fn charts_in_a_file_stand_side_by_side_on_white() {
        let chart = |points: Vec<(f64, f64)>| {
            let series = vec![Series { name: "a".into(), points, look: LineStyle::Solid(0) }];
            LineChart { label: "l", x: "x", y: "y", whole: true, holds: Vec::new(), series }
        };
        let [one, other] = [vec![(1.0, 2.0)], vec![(-3.0, 1.0), (0.0, 2.0)]].map(chart);
        let svg = file_of(&[one.draw(), other.draw_powers()]);
        assert!(svg.contains(r#"viewBox="0 0 856 "#) && svg.contains("translate(14 14)"), "{svg}");
        assert!(svg.contains("translate(442 14)") && svg.contains("<title>l; l</title>"), "{svg}");
        assert!(!svg.contains("prefers-color-scheme") && STYLE.contains("prefers-color-scheme"));
        assert!(!svg.contains("var(") && svg.contains("tone-4 { color: #7a6a00; }"), "{svg}");
        for exponent in ["1e-3", "1e-2", "1e-1", "1e0"] {
            assert!(svg.contains(&format!(">{exponent}</text>")), "{exponent}: {svg}");
        }
    }

    #[test]
    fn names_are_escaped() {
        let series = Series { name: "<b>&\"".into(), points: vec![(0.0, 1.0)], look: LineStyle::Thin };
        let svg = LineChart { label: "<i>", x: "<x>", y: "<y>", whole: false, holds: Vec::new(), series: vec![series] }
            .draw()
            .file();
        assert!(svg.contains("&lt;b&gt;&amp;") && !svg.contains("<b>") && !svg.contains("<i>"), "{svg}");
    }
}
