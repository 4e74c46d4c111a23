//! Works out a shader's constants and unrolls its constant-bound loops before the driver sees them.
//!
//! The kernels keep their tiles in local arrays and walk them with plain `for` loops. Those arrays live in registers
//! only if every index is known when the driver compiles, and not every driver unrolls on its own: lavapipe leaves
//! them in memory, where the convolution runs many times slower. So
//!
//! - `const N = expression;` or `let` over unsigned numbers becomes its value (or what the host says of N) wherever N is used,
//! - `for (var i = 0u; i < N; i++) { body }` with a constant N becomes N blocks `{ body }` with i's value in them,
//! - an index in brackets that is constant then becomes one number: naga's time grows with the square of what is left.
//!
//! All else stays as it is; a loop whose bound is not constant stays a loop. The other entry points of the file are left out.

/// Unrolls `text` for one entry point. `constants` are those that the host decides.
///
/// # Panics
/// When brackets do not match or an unrolled body would break or continue its loop: mistakes in this crate's shaders.
pub fn unroll(text: &str, entry: &str, constants: &[(&str, u32)]) -> String {
    let constant = &|name: &str| constants.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let mut unrolled = String::with_capacity(4 * text.len());
    expand(&without_other_entries(&tokens(&without_comments(text)), entry), constant, &mut Vec::new(), &mut unrolled);
    unrolled
}

/// The text without its comments.
pub(super) fn without_comments(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    lines.join("\n")
}

/// The module without its entry points but one.
fn without_other_entries<'a>(mut text: &[&'a str], entry: &str) -> Vec<&'a str> {
    let mut kept = Vec::with_capacity(text.len());
    while let Some(start) = text.windows(2).position(|pair| pair == ["@", "compute"]) {
        let (before, function) = text.split_at(start);
        kept.extend(before);
        let name = function.iter().position(|token| *token == "fn").expect("an entry point is a function") + 2;
        let open = function.iter().position(|token| *token == "{").expect("a function has a body");
        let (_, rest) = enclosed(&function[open..]);
        if function[name] == entry {
            kept.extend(&function[..function.len() - rest.len()]);
        }
        text = rest;
    }
    kept.extend(text);
    kept
}

/// Names that are known, the innermost last.
type Known<'a> = Vec<(&'a str, u32)>;

/// Splits into words (names and numbers), single other characters and runs of white space.
pub(super) fn tokens(text: &str) -> Vec<&str> {
    let kind = |c: char| {
        if c.is_alphanumeric() || c == '_' {
            0
        } else if c.is_whitespace() {
            1
        } else {
            2
        }
    };
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = match kind(first) {
            2 => first.len_utf8(),
            same => rest.find(|c| kind(c) != same).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(end);
        found.push(token);
        rest = after;
    }
    found
}

fn expand<'a>(mut text: &[&'a str], constant: &dyn Fn(&str) -> Option<u32>, known: &mut Known<'a>, out: &mut String) {
    let outside = known.len();
    let mut after_dot = false;
    while let Some(&token) = text.first() {
        if ["const", "let"].contains(&token)
            && let Some((name, value, rest)) = definition(text, constant, known)
        {
            known.push((name, value));
            text = rest;
            continue;
        }
        if token == "for"
            && let Some((counter, turns, body, rest)) = counted_loop(text, known)
        {
            for word in ["break", "continue"] {
                assert!(!body.contains(&word), "the loop over `{counter}` is unrolled and must not contain `{word}`");
            }
            for turn in 0..turns {
                known.push((counter, turn));
                out.push('{');
                expand(body, constant, known, out);
                out.push_str("}\n");
                known.pop();
            }
            text = rest;
            continue;
        }
        if token == "[" {
            let (inside, rest) = enclosed(text);
            if let Some(index) = evaluate(inside, known) {
                out.push_str(&format!("[{index}u]"));
                text = rest;
                continue;
            }
        }
        if token == "{" {
            let (body, rest) = enclosed(text);
            out.push('{');
            expand(body, constant, known, out);
            out.push('}');
            text = rest;
            continue;
        }
        match value(token, known).filter(|_| !after_dot) {
            Some(value) => out.push_str(&format!("{value}u")),
            None => out.push_str(token),
        }
        after_dot = token == ".";
        text = &text[1..];
    }
    known.truncate(outside);
}

/// Splits `const NAME = expression; rest`, or `let`, if the expression is constant.
fn definition<'t, 'a>(
    text: &'t [&'a str],
    constant: &dyn Fn(&str) -> Option<u32>,
    known: &Known<'_>,
) -> Option<(&'a str, u32, &'t [&'a str])> {
    let end = text.iter().position(|token| *token == ";")?;
    let equals = text[..end].iter().position(|token| *token == "=")?;
    let name = *text[1..equals].iter().find(|token| !token.trim().is_empty())?;
    let value = constant(name).or_else(|| evaluate(&text[equals + 1..end], known))?;
    Some((name, value, &text[end + 1..]))
}

/// Splits `for (var i = 0u; i < N; i++) { body } rest` into i, N, body and rest, if N is constant.
fn counted_loop<'t, 'a>(
    text: &'t [&'a str],
    known: &Known<'_>,
) -> Option<(&'a str, u32, &'t [&'a str], &'t [&'a str])> {
    let open = text.iter().position(|token| *token == "(")?;
    let (header, after) = enclosed(&text[open..]);
    let dense: Vec<&'a str> = header.iter().copied().filter(|token| !token.trim().is_empty()).collect();
    let ["var", counter, "=", "0u", ";", compared, "<", bound @ .., ";", counted, "+", "+"] = dense.as_slice() else {
        return None;
    };
    if counter != compared || counter != counted {
        return None;
    }
    let turns = evaluate(bound, known)?;
    let brace = after.iter().position(|token| *token == "{")?;
    let (body, rest) = enclosed(&after[brace..]);
    Some((counter, turns, body, rest))
}

/// Splits `( inside ) rest`, for any kind of bracket.
pub(super) fn enclosed<'t, 'a>(text: &'t [&'a str]) -> (&'t [&'a str], &'t [&'a str]) {
    let mut depth = 0;
    for (position, token) in text.iter().enumerate() {
        match *token {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (&text[1..position], &text[position + 1..]);
        }
    }
    panic!("a bracket is never closed: {}", text.concat())
}

/// The value of an expression of unsigned numbers, known names, `+ - * / %`, `min`, `max` and parentheses.
fn evaluate(expression: &[&str], known: &Known<'_>) -> Option<u32> {
    let dense: Vec<_> = expression.iter().copied().filter(|token| !token.trim().is_empty()).collect();
    let mut rest = dense.as_slice();
    let value = sum(&mut rest, known)?;
    rest.is_empty().then_some(value)
}

fn sum(rest: &mut &[&str], known: &Known<'_>) -> Option<u32> {
    let mut left = product(rest, known)?;
    while let Some(operator @ ("+" | "-")) = rest.first().copied() {
        *rest = &rest[1..];
        let right = product(rest, known)?;
        left = if operator == "+" { left.checked_add(right)? } else { left.checked_sub(right)? };
    }
    Some(left)
}

fn product(rest: &mut &[&str], known: &Known<'_>) -> Option<u32> {
    let mut left = factor(rest, known)?;
    while let Some(operator @ ("*" | "/" | "%")) = rest.first().copied() {
        *rest = &rest[1..];
        let right = factor(rest, known)?;
        left = match operator {
            "*" => left.checked_mul(right)?,
            "/" => left.checked_div(right)?,
            _ => left.checked_rem(right)?,
        };
    }
    Some(left)
}

fn factor(rest: &mut &[&str], known: &Known<'_>) -> Option<u32> {
    let first = *rest.first()?;
    if first == "(" {
        let (inside, after) = enclosed(rest);
        *rest = after;
        return evaluate(inside, known);
    }
    *rest = &rest[1..];
    if let "min" | "max" = first {
        let (mut arguments, after) = enclosed(rest);
        *rest = after;
        let left = sum(&mut arguments, known)?;
        arguments = arguments.strip_prefix(&[","])?;
        let right = evaluate(arguments, known)?;
        return Some(if first == "min" { left.min(right) } else { left.max(right) });
    }
    first.strip_suffix('u').and_then(|number| number.parse().ok()).or_else(|| value(first, known))
}

fn value(name: &str, known: &Known<'_>) -> Option<u32> {
    known.iter().rev().find(|(other, _)| *other == name).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::unroll;

    fn compact(text: &str) -> String {
        unroll(text, "main", &[("N", 2)]).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn nested_constant_loops_become_blocks() {
        let text = "const N = 8u; for (var i = 0u; i < N; i++) { for (var j = 0u; j < 1u; j++) { a[i * N] += b[j]; } }";
        assert_eq!(compact(text), "{ { a[0u] += b[0u]; } } { { a[2u] += b[0u]; } }");
    }

    #[test]
    fn constants_follow_from_the_hosts() {
        let text = "const N = 8u; // so many\nconst M = (N + 3u) / 2u * N - 1u;\nvar a: array<f32, M>;";
        assert_eq!(compact(text), "var a: array<f32, 3u>;");
    }

    #[test]
    fn local_constants_end_with_their_block() {
        let text = "const N = 8u; { let k = N % 2u; f(k, s.k, i[n + k]); } g(k);";
        assert_eq!(compact(text), "{ f(0u, s.k, i[n + 0u]); } g(k);");
    }

    #[test]
    fn what_is_not_constant_stays() {
        let text = "const e = 2.5; const N = 1u; for (var i = 0u; i < n; i++) { if a { break; } for (var j = 0u; j < N; j++) { f(); } }";
        assert_eq!(compact(text), "const e = 2.5; for (var i = 0u; i < n; i++) { if a { break; } { f(); } { f(); } }");
    }

    #[test]
    fn other_entry_points_are_left_out() {
        let text = "fn help() {} @compute @workgroup_size(64) fn other() { { a(); } } @compute fn main() { b(); }";
        assert_eq!(compact(text), "fn help() {} @compute fn main() { b(); }");
    }

    #[test]
    #[should_panic(expected = "must not contain `break`")]
    fn a_break_in_an_unrolled_loop_is_refused() {
        compact("const N = 1u; for (var i = 0u; i < N; i++) { if a { break; } }");
    }
}
