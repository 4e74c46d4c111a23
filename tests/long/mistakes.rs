//! Mistakes that a program makes: of a shader, all texts that differ in one place, as a slip of the pen would.
//!
//! The shader compiler's parser says where expressions and statements begin and end.

use std::collections::BTreeSet;
use std::ops::Range;

use naga::{Expression, Function, Span, Statement};

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `workgroupBarrier();` is left out.
    Barrier,
    /// `<` becomes `<=`, `==` becomes `!=`, and so on.
    Comparison,
    /// A condition is turned round, or never true.
    Condition,
    /// `+` becomes `-`, `+=` becomes `=`, and so on.
    Operator,
    /// A number is one more, or one less.
    Constant,
    /// `min` becomes `max`, and so on.
    Builtin,
    /// What `select` chooses between changes places, or it always chooses the same.
    Select,
    /// An index is one more, indices change places, `.x` becomes `.y`.
    Index,
    /// An assignment is left out.
    Assignment,
}

/// One mistake.
#[derive(Clone, Debug)]
pub struct Mutant {
    pub kind: Kind,
    /// The entry point or function that it is in.
    pub function: String,
    /// The line, from 1.
    pub line: usize,
    /// That line, before and after.
    pub change: [String; 2],
    /// The whole module with it.
    pub module: String,
}

/// All mistakes within a part of a module's text that the compiler accepts.
pub fn mutants(text: &str, part: &Range<usize>) -> Vec<Mutant> {
    let module = naga::front::wgsl::parse_str(text).expect("the module is valid");
    let mut changes = Changes { text, found: BTreeSet::new() };
    let entries = module.entry_points.iter().map(|entry| &entry.function);
    for function in module.functions.iter().map(|(_, function)| function).chain(entries) {
        changes.expressions(function);
        changes.statements(&function.body, function, false);
    }
    changes.logic();
    let wanted = |range: &Range<usize>| part.start <= range.start && range.end <= part.end;
    let found = changes.found.into_iter().filter(|(start, end, ..)| wanted(&(*start..*end)));
    found.filter_map(|(start, end, kind, new)| Mutant::new(text, kind, start..end, &new)).collect()
}

impl Mutant {
    /// If the compiler accepts it.
    fn new(text: &str, kind: Kind, range: Range<usize>, new: &str) -> Option<Self> {
        let module = format!("{}{new}{}", &text[..range.start], &text[range.end..]);
        let parsed = naga::front::wgsl::parse_str(&module).ok()?;
        naga::valid::Validator::new(Default::default(), naga::valid::Capabilities::all()).validate(&parsed).ok()?;
        let before = &text[..range.start];
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line_of = |text: &str| text[start..].lines().next().unwrap_or_default().trim().to_string();
        let function = before.lines().rev().find_map(|line| line.strip_prefix("fn ")?.split('(').next());
        Some(Self {
            kind,
            function: function?.to_string(),
            line: before.matches('\n').count() + 1,
            change: [line_of(text), line_of(&module)],
            module,
        })
    }
}

struct Changes<'a> {
    text: &'a str,
    /// From, to, kind, new text.
    found: BTreeSet<(usize, usize, Kind, String)>,
}

impl Changes<'_> {
    fn add(&mut self, kind: Kind, range: Range<usize>, new: impl Into<String>) {
        self.found.insert((range.start, range.end, kind, new.into()));
    }

    /// Where an expression or a statement lies.
    fn at(&self, span: Span) -> Option<Range<usize>> {
        span.to_range().filter(|range| !range.is_empty() && range.end <= self.text.len())
    }

    fn expressions(&mut self, function: &Function) {
        for (handle, expression) in function.expressions.iter() {
            let Some(range) = self.at(function.expressions.get_span(handle)) else { continue };
            let place = |other| self.at(function.expressions.get_span(other));
            let inside = self.text[range.clone()].to_string();
            match *expression {
                Expression::Binary { left, right, .. } => {
                    if let (Some(left), Some(right)) = (place(left), place(right)) {
                        self.operator(left.end, right.start);
                    }
                }
                Expression::Literal(_) => self.number(range, &inside),
                Expression::Math { .. } => {
                    let swaps = [
                        ("min(", "max("),
                        ("max(", "min("),
                        ("inverseSqrt(", "sqrt("),
                        ("sqrt(", "inverseSqrt("),
                        ("exp(", "exp2("),
                        ("log(", "log2("),
                    ];
                    for (old, new) in swaps {
                        if inside.starts_with(old) {
                            self.add(Kind::Builtin, range.start..range.start + old.len(), new);
                        }
                    }
                }
                Expression::Select { accept, reject, .. } => {
                    if let (Some(accept), Some(reject)) = (place(accept), place(reject)) {
                        let [yes, no] = [&accept, &reject].map(|range| self.text[range.clone()].to_string());
                        self.add(Kind::Select, range.clone(), yes.clone());
                        self.add(Kind::Select, range, no.clone());
                        let (first, second) =
                            if accept.start < reject.start { (accept, reject) } else { (reject, accept) };
                        let between = &self.text[first.end..second.start];
                        let [a, b] = [&first, &second].map(|range| self.text[range.clone()].to_string());
                        let swapped = format!("{b}{between}{a}");
                        self.add(Kind::Select, first.start..second.end, swapped);
                    }
                }
                Expression::Access { base, index } => {
                    let Some(index) = self.at(function.expressions.get_span(index)) else { continue };
                    let text = self.text[index.clone()].to_string();
                    self.add(Kind::Index, index.clone(), format!("({text}) + 1u"));
                    if let Expression::Access { index: outer, .. } = function.expressions[base]
                        && let Some(outer) = self.at(function.expressions.get_span(outer))
                        && outer.end < index.start
                    {
                        let between = &self.text[outer.end..index.start];
                        let swapped = format!("{text}{between}{}", &self.text[outer.clone()]);
                        self.add(Kind::Index, outer.start..index.end, swapped);
                    }
                }
                Expression::AccessIndex { .. } => {
                    for (old, new) in [(".x", ".y"), (".y", ".x"), (".z", ".w"), (".w", ".z")] {
                        if inside.ends_with(old) {
                            self.add(Kind::Index, range.end - 2..range.end, new);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// What stands between two operands.
    fn operator(&mut self, from: usize, to: usize) {
        let Some(between) = self.text.get(from..to) else { return };
        let operator = between.trim_matches(|c: char| c.is_whitespace() || "()".contains(c));
        let (kind, new): (_, &[&str]) = match operator {
            "<" => (Kind::Comparison, &["<=", ">="]),
            "<=" => (Kind::Comparison, &["<"]),
            ">" => (Kind::Comparison, &[">=", "<="]),
            ">=" => (Kind::Comparison, &[">", "<"]),
            "==" => (Kind::Comparison, &["!="]),
            "!=" => (Kind::Comparison, &["=="]),
            "+" => (Kind::Operator, &["-"]),
            "-" | "*" => (Kind::Operator, &["+"]),
            "/" => (Kind::Operator, &["*"]),
            "%" => (Kind::Operator, &["/"]),
            "&" => (Kind::Operator, &["|"]),
            ">>" => (Kind::Operator, &["<<"]),
            "+=" => (Kind::Operator, &["=", "-="]),
            "-=" | "*=" | "^=" => (Kind::Operator, &["=", "+="]),
            _ => return,
        };
        let start = from + between.find(operator).expect("it is in there");
        for new in new {
            self.add(kind, start..start + operator.len(), *new);
        }
    }

    fn number(&mut self, range: Range<usize>, text: &str) {
        if let Some(number) = text.strip_suffix('u').and_then(|digits| digits.parse::<u32>().ok()) {
            self.add(Kind::Constant, range.clone(), format!("{}u", number.wrapping_add(1)));
            if number > 0 {
                self.add(Kind::Constant, range, format!("{}u", number - 1));
            }
        } else if let Ok(number) = text.parse::<f64>()
            && text.contains(['.', 'e'])
        {
            self.add(Kind::Constant, range, format!("{:?}", number + 1.0));
        }
    }

    fn statements(&mut self, block: &naga::Block, function: &Function, in_header: bool) {
        for (statement, span) in block.span_iter() {
            let range = self.at(*span);
            match statement {
                Statement::Block(block) => self.statements(block, function, in_header),
                Statement::If { condition, accept, reject } => {
                    if let Some(range) = self.at(function.expressions.get_span(*condition)) {
                        let text = self.text[range.clone()].to_string();
                        self.add(Kind::Condition, range.clone(), format!("!({text})"));
                        self.add(Kind::Condition, range, format!("({text}) && false"));
                    }
                    self.statements(accept, function, false);
                    self.statements(reject, function, false);
                }
                Statement::Loop { body, continuing, .. } => {
                    self.statements(body, function, false);
                    // Without its step a loop does not end.
                    self.statements(continuing, function, true);
                }
                Statement::ControlBarrier(_) => {
                    if let Some(range) = range {
                        self.add(Kind::Barrier, range, "");
                    }
                }
                Statement::Store { .. } if !in_header => {
                    if let Some(range) = range
                        && self.text[range.clone()].contains('=')
                        && !self.text[range.clone()].starts_with("var")
                    {
                        self.add(Kind::Assignment, range, "");
                    }
                }
                _ => {}
            }
        }
    }

    /// `&&` and `||`, which the parser turns into branches.
    fn logic(&mut self) {
        let mut start = 0;
        for line in self.text.split_inclusive('\n') {
            let code = line.split("//").next().unwrap_or_default();
            for (old, new) in [(" && ", " || "), (" || ", " && ")] {
                for (at, _) in code.match_indices(old) {
                    self.add(Kind::Condition, start + at..start + at + old.len(), new);
                }
            }
            start += line.len();
        }
    }
}
