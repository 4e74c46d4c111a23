//! Sets a shader's tile constants and unrolls its constant-bound loops before the driver sees them.
//!
//! The kernels keep their tiles in local arrays and walk them with plain `for` loops. Those arrays live in registers
//! only if every index is known when the driver compiles, and not every driver unrolls on its own: lavapipe leaves
//! them in memory, where the convolution runs many times slower. So
//! `for (var i = 0u; i < N; i++) { body }`, with N one of the given constants or a number, becomes N blocks
//! `{ const i = 0u; body }`, `{ const i = 1u; body }` and so on. All other loops stay as they are.

/// The text with `const NAME = ..;` set to what `constant` says of NAME, and with its constant-bound loops unrolled.
///
/// # Panics
/// When braces do not match or an unrolled body would break or continue its loop: mistakes in this crate's shaders.
pub fn unroll(text: &str, constant: &impl Fn(&str) -> Option<u32>) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .map(|line| match const_name(line).and_then(|name| Some((name, constant(name)?))) {
            Some((name, value)) => format!("const {name} = {value}u;"),
            None => line.into(),
        })
        .collect();
    unroll_lines(&lines.join("\n"), constant)
}

fn const_name(line: &str) -> Option<&str> {
    Some(line.strip_prefix("const ")?.split_once(" = ")?.0)
}

fn unroll_lines(mut text: &str, constant: &impl Fn(&str) -> Option<u32>) -> String {
    let mut unrolled = String::new();
    while let Some(start) = text.find("for (") {
        let (before, statement) = text.split_at(start);
        unrolled.push_str(before);
        let open = statement.find('{').expect("a for statement has a body");
        let (header, block) = statement.split_at(open);
        let (body, rest) = split_block(block);
        let body = unroll_lines(body, constant);
        if let Some((counter, turns)) = counted(header, constant) {
            for word in ["break;", "continue;"] {
                assert!(!body.contains(word), "`{header}` is unrolled and must not contain `{word}`");
            }
            for turn in 0..turns {
                unrolled.push_str(&format!("{{ const {counter} = {turn}u;{body}}}\n"));
            }
        } else {
            unrolled.push_str(&format!("{header}{{{body}}}"));
        }
        text = rest;
    }
    unrolled.push_str(text);
    unrolled
}

/// Splits `{ body } rest` into body and rest.
fn split_block(text: &str) -> (&str, &str) {
    let mut depth = 0;
    for (position, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (&text[1..position], &text[position + 1..]);
        }
    }
    panic!("a brace is never closed: {text}")
}

/// Counter and number of turns of `for (var i = 0u; i < N; i++)` with a constant N.
fn counted<'a>(header: &'a str, constant: &impl Fn(&str) -> Option<u32>) -> Option<(&'a str, u32)> {
    let (counter, rest) = header.strip_prefix("for (var ")?.split_once(" = 0u; ")?;
    let bound = rest.strip_prefix(counter)?.strip_prefix(" < ")?;
    let bound = bound.trim_end().strip_suffix(&format!("; {counter}++)"))?;
    let turns = bound.strip_suffix('u').and_then(|number| number.parse().ok()).or_else(|| constant(bound))?;
    Some((counter, turns))
}

#[cfg(test)]
mod tests {
    use super::unroll;

    fn compact(text: &str) -> String {
        unroll(text, &|name| (name == "N").then_some(2)).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn nested_constant_loops_become_blocks() {
        let text = "for (var i = 0u; i < N; i++) { for (var j = 0u; j < 1u; j++) { a[i] += b[j]; } }";
        assert_eq!(
            compact(text),
            "{ const i = 0u; { const j = 0u; a[i] += b[j]; } } { const i = 1u; { const j = 0u; a[i] += b[j]; } }"
        );
    }

    #[test]
    fn constants_are_set() {
        assert_eq!(compact("const N = 8u; // so many\nconst M = N * 2u;"), "const N = 2u; const M = N * 2u;");
    }

    #[test]
    fn loops_bounded_by_a_variable_stay() {
        let text = "for (var i = 0u; i < n; i++) { if a { break; } for (var j = 0u; j < N; j++) { f(); } }";
        assert_eq!(
            compact(text),
            "for (var i = 0u; i < n; i++) { if a { break; } { const j = 0u; f(); } { const j = 1u; f(); } }"
        );
    }

    #[test]
    #[should_panic(expected = "must not contain `break;`")]
    fn a_break_in_an_unrolled_loop_is_refused() {
        compact("for (var i = 0u; i < N; i++) { if a { break; } }");
    }
}
